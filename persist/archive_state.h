/* What an archive is made of; shared by its files, included by nobody else. */
#ifndef ANNEAL_PERSIST_ARCHIVE_STATE_H
#define ANNEAL_PERSIST_ARCHIVE_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/mem.h"
#include "core/mutant.h"
#include "persist/archive.h"
#include "persist/layout.h"
#include "persist/object.h"
#include "persist/replay.h"

#define SETTLE_US INT64_C(10000000)             /* until one who was declared gone has been told */
#define AT_ONCE 8u                              /* requests of one kind under way */
#define ORPHAN_US (INT64_C(6) * 3600 * 1000000) /* an object that nothing names may still be about to be named */
#define CHECKPOINT_US (ORPHAN_US / 2)           /* so no checkpoint takes longer than this */
#define VANISHED_MAX 3u /* times that what is listed or named is not there, before it is given up */
#define KEPT_SEGMENTS 2u                        /* buffers of objects keep the memory of so many segments for the next one */

/* ---- archive_exchange.c: requests that are repeated until the store has a last word ---- */

struct fetch {
    enum { FETCH_IDLE, FETCH_DUE, FETCH_OUT, FETCH_OVER } state;
    struct store_request request; /* over: DONE, EXISTS, MISSING, UNCONDITIONAL or TOO_LARGE */
    const struct store *store;
    char key[LAYOUT_KEY_BYTES];
    int64_t at_us;
    uint32_t failures;
};
void fetch_begin(struct archive *a, struct fetch *f, const struct store *store, enum store_op op, const char *key);
void fetch_get(struct archive *a, struct fetch *f, const struct store *store, const char *key, uint64_t offset, uint64_t len, uint64_t bytes_max);
bool fetch_over(struct archive *a, struct fetch *f); /* submits what is due; true once it is over */
void fetch_answered(struct archive *a, struct fetch *f);
void fetch_fini(struct fetch *f);

/* An object of a name that nobody else may give. */
struct creation {
    enum { CREATION_IDLE, CREATION_LOOKING, CREATION_SENDING, CREATION_COMPARING, CREATION_MADE, CREATION_TAKEN } state;
    struct fetch fetch;
    char key[LAYOUT_KEY_BYTES];
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct buf object;
};
void creation_begin(struct archive *a, struct creation *c, const char *key, enum object_kind kind, struct bytes head, struct bytes plain);
bool creation_over(struct archive *a, struct creation *c);
void creation_fini(struct creation *c);

/* ---- archive_listing.c: many objects ---- */

/* All keys under a prefix, in order. A store may be late to list what it has: who has to know where rows of claims, segments or
 * manifests end begins with listing_begin_exact, which looks for what follows the last that is listed of each.
 * `first`: of a row of which nothing may be listed, though it is there; or NULL. Whoever deletes leaves something listed in each row. */
struct listed {
    char key[LAYOUT_KEY_BYTES];
    uint64_t size;
};
struct listing {
    struct fetch fetch;
    char after[STORE_KEY_BYTES_MAX];
    size_t after_len;
    struct listed *keys;
    size_t count, cap;
    struct rows *beyond; /* owned; what is looked for by name; NULL: nothing, or no more */
    char first[LAYOUT_KEY_BYTES];
    bool paging;
};
void listing_begin(struct archive *a, struct listing *l, const struct store *store, const char *prefix);
void listing_begin_exact(struct archive *a, struct listing *l, const struct store *store, const char *prefix, const char *first);
void listing_begin_row(struct archive *a, struct listing *l, const struct store *store, const char *first, bool exact); /* of that one alone */
bool listing_over(struct archive *a, struct listing *l);
void listing_add(struct listing *l, struct bytes key, uint64_t size);
void listing_fini(struct listing *l);

/* Many objects, some at once, visited in order. */
struct sweep {
    struct listing items;
    size_t asked, visited;
    struct fetch slots[AT_ONCE];
};
/* Empties it; then listing_add to items. */
void sweep_begin(struct sweep *s);
/* DELETE, HEAD, or GET of whole objects, of each; `visit`, if not NULL, gets those that are over. True once all are visited. HEAD makes
 * `size` of each what it is, or SWEEP_MISSING. */
#define SWEEP_MISSING UINT64_MAX
bool sweep_over(struct archive *a, struct sweep *s, const struct store *store, enum store_op op,
                void (*visit)(struct archive *a, const struct listed *item, struct fetch *f));
void sweep_fini(struct sweep *s);

/* ---- archive_search.c: how much of each stream is covered by vectors ---- */

struct search {
    const struct listing *segments; /* lent, as all here */
    const struct store *store;
    const struct vclock *covered;   /* by shard */
    size_t from, to;                /* the stream at hand, in segments */
    size_t low, high, middle, asked; /* asked: beyond the middle, if that cannot be read; or before it, for images */
    size_t reached;
    bool covers;                    /* the middle is covered but for the images that are before it */
    bool vanished;                  /* some segment has, meanwhile */
    struct fetch fetch;
};
/* The key at i is that of a stream's newest segment: then which. */
bool search_is_newest(const struct listing *segments, size_t i, struct replica_id *writer, uint64_t *number);
bool search_same_stream(const struct listed *x, const struct listed *y);
void search_begin(struct search *s, const struct listing *segments, const struct store *store, const struct vclock *covered);
/* `visit` gets every stream: segments [from, covered) are covered, [covered, to) are not, or cannot be read. `saw`, if not NULL,
 * every head that was read, the newest of each stream among them. True once all streams are visited. */
bool search_over(struct archive *a, struct search *s, void (*visit)(struct archive *a, size_t from, size_t covered, size_t to),
                 void (*saw)(struct archive *a, const struct segment_head *head));

/* ---- archive_claim.c ---- */

struct claim {
    enum { CLAIM_BEGIN, CLAIM_LISTING, CLAIM_LOOKING, CLAIM_LOOKING_CLOSER, CLAIM_MAKING, CLAIM_CHECKING, CLAIM_WAITING, CLAIM_JUDGING,
           CLAIM_READING_VERDICT, CLAIM_OURS, CLAIM_WATCHING, CLAIM_OBJECTING, CLAIM_READING_ANSWER, CLAIM_LISTING_OURS, CLAIM_SWEEPING,
           CLAIM_LOOKING_FOR_OURS, CLAIM_LISTING_GREATER } step;
    struct listing listing;
    struct fetch fetch;
    struct creation creation;
    struct sweep old;
    uint64_t number;  /* of our claim */
    uint64_t before;  /* of the one that is looked at */
    uint64_t watched; /* of the one that may come */
    int64_t at_us;
    int64_t asked_us, watched_us; /* the watch under way; the last that found nobody else */
    uint32_t watches;
    bool from_here;   /* the last claim was */
    bool at_once;     /* whoever made it is dead */
};
bool claim_step(struct archive *a);  /* true once this process is the node */
void claim_watch(struct archive *a); /* from then on */
/* Where we have stood still for hours, our place in the stream may be free again behind its end: nothing is sent before a watch. */
bool claim_is_fresh(const struct archive *a);

/* ---- archive_read.c ---- */

struct reader {
    enum { READ_BEGIN, READ_CHECKING, READ_LISTING_OWN, READ_OWN_HEADS, READ_CLOSING, READ_LISTING_SEGMENTS, READ_LISTING, READ_MANIFEST, READ_PARTS, READ_SEARCHING, READ_SEGMENTS } step;
    struct listing manifests, segments;
    struct fetch fetch;
    struct sweep sweep;
    struct search search;
    struct vclock *had;       /* by shard: what was here before; NULL: nothing */
    struct creation creation; /* closing streams of our predecessors: */
    struct replica_id predecessor;
    struct replica_id handled; /* streams beyond are closed, or given up */
    uint64_t *upto, images_before;
    bool is_closed, by_others;
    char taken[LAYOUT_KEY_BYTES]; /* the last place for a closing segment that was taken; or "" */
    size_t next;              /* manifests before this one are left */
    uint64_t oldest;          /* number of the first there is; 0: none */
    uint64_t used;            /* number of the newest that was good */
    struct manifest manifest; /* the one at hand, and its text */
    struct buf text;
    bool parts_damaged, vanished;
    uint64_t gaps, images;    /* of the segments */
    bool second;              /* they are read again: an image may have filled a gap */
    bool broken;              /* something is lost to whoever reads the store */
    bool judged;              /* what processes before this one left is not void, or has been voided */
    bool again;               /* all was begun anew, when again_from was the newest that was good */
    uint64_t again_from;
    struct vclock *stored;    /* by shard: what the store has */
    struct end {              /* closing segments that were read: who they are of counts as closed once all is read, if it is the last */
        struct replica_id writer;
        uint64_t number;
        bool by_others;
    } *ends;
    size_t end_count;
    bool is_void;             /* all is, that was here when it began: it begins anew */
};
/* What was fetched of one, applied; `saw` gets its head. What is not there any more makes reader.vanished true. */
void read_segment(struct archive *a, const struct listed *item, struct fetch *f, void (*saw)(struct archive *a, const struct segment_head *head));
bool read_part(struct archive *a, const struct listed *item, struct fetch *f); /* of a checkpoint; likewise: true if it was whole */
bool read_step(struct archive *a); /* true once all is read; then what the store lacks is owed */

/* ---- archive_stream.c ---- */

struct stream {
    uint64_t number, images_before; /* of the next segment */
    uint64_t bytes;  /* of the one before */
    bool ends;       /* one is wanted, with nothing in it if need be */
    bool out;        /* one is on its way */
    bool stale;      /* it is of the replica we were */
    bool closed;     /* others have ended our stream */
    struct fetch fetch;
    struct creation creation;
    struct buf body;            /* of the segment that is being built; its memory stays for the next */
    uint64_t *sending, *stored; /* by shard: own mutations up to here are in the segment on its way, in one that is stored */
    int64_t next_us;
    atomic_bool any_owed;
    pthread_mutex_t lock; /* of what is below; within a shard's */
    struct replay_deltas pending; /* captured, not yet sent */
    uint64_t *flushed; /* by shard: captured up to here, or in an image */
    uint64_t *owed;    /* bits: shards of which an image is to be sent */
};
void stream_step(struct archive *a);
/* What is stored is covered by a checkpoint. The last segment of a stream stays, so if it is large another one follows. Returns
 * the number of segments that there will be then. */
uint64_t stream_covered(struct archive *a);
bool stream_has_stored(struct archive *a, uint64_t segments);
void stream_owe(struct archive *a, uint32_t shard);
bool stream_is_idle(struct archive *a);

/* ---- archive_tail.c ---- */

struct tails {
    enum { TAIL_IDLE, TAIL_LISTING, TAIL_SEARCHING, TAIL_READING, TAIL_MANIFESTS, TAIL_MANIFEST, TAIL_PARTS, TAIL_CLOSING, TAIL_CLOSED } step;
    struct replica_id id;     /* whose tail it is about */
    bool close;               /* it is to be closed, if it is not yet, */
    bool for_good;            /* or only by its next process */
    bool is_closed, by_others;
    bool owes;                /* what is here of it and not there is to be stored */
    bool collected;           /* nothing is there any more, if nothing is: a segment under way would have arrived */
    char taken[LAYOUT_KEY_BYTES]; /* as the reader's */
    uint64_t next, images_before; /* number in its stream, and what its head says */
    struct creation creation;
    uint64_t *stored;         /* of it, by shard */
    struct vclock *had;
    struct listing listing, manifests;
    size_t look;              /* manifests before this one are left to be looked at */
    bool second;              /* segments are read again: images have filled what was missing before them, */
    bool is_damaged;          /* but some of these could not be read */
    bool turn;                /* who is lost comes first */
    struct search search;
    struct sweep sweep;
    struct fetch fetch;
    struct replica_id *alive; /* with the archive's lock, as the next */
    size_t alive_count;
    uint64_t *sums;           /* by replica: mutations of it when we looked last, while it was up: then */
    uint32_t sum_count;
    int64_t look_at_us;
    struct asked {            /* by replica's index; with the lock, as the next two */
        int64_t asked_us;     /* when gossip asked last; 0: never */
        bool close, for_good; /* it wants that; */
        bool closed, by_others; /* it is so */
        int64_t since_us;     /* looked at first; 0: not yet */
        int64_t at_us;        /* to be looked at again, if it is not */
        uint64_t segments;    /* of its stream that have been looked at */
        uint32_t vanished;    /* looks at it, of which some was missing */
    } *asked;
    uint32_t asked_count;
    bool stale;               /* all is void that was here when this one was begun */
    struct lost {
        struct replica_id id;
        int64_t at_us; /* to be looked at then */
        bool owes;     /* as above */
    } *lost;
    size_t lost_count;
};
/* The last segment of a stream, with nothing in it; of a process of our own node, we are the next. */
void close_stream(struct archive *a, struct creation *c, struct replica_id writer, uint64_t number, const uint64_t *upto, uint64_t images_before);
void tail_begin(struct archive *a); /* what is here now is in the store, or owed */
void tail_was_read(struct archive *a, struct replica_id id, uint64_t segments); /* so many of its stream */
/* What is listed that is new, of processes that are not up, is to be read. It may have been listed late, or have arrived when its
 * writer was dead. */
void tail_look_at(struct archive *a, const struct listing *segments);
void tail_was_closed(struct archive *a, struct replica_id id, bool by_others); /* its stream, and was read */
void tail_step(struct archive *a);
void tail_fini(struct archive *a);

/* ---- archive_compact.c, archive_garbage.c ---- */

struct seen {
    char key[LAYOUT_KEY_BYTES];
    int64_t since_us;
    uint64_t round;
};
struct compactor {
    enum { COMPACT_IDLE, COMPACT_LISTING, COMPACT_LISTING_MANIFESTS, COMPACT_MISSING, COMPACT_READING, COMPACT_JITTER, COMPACT_PARTS, COMPACT_STREAM, COMPACT_STREAM_END,
           COMPACT_MERGE, COMPACT_MERGE_READ, COMPACT_NAMING, GARBAGE_WAITING, GARBAGE_LISTED, GARBAGE_MANIFESTS, GARBAGE_SEGMENTS, GARBAGE_HEADS,
           GARBAGE_PARTS, GARBAGE_DELETING } step;
    int64_t at_us;
    int64_t until_us;         /* the last manifest may take so long to be listed */
    struct listing segments, manifests, parts;
    struct fetch fetch;
    struct creation creation;
    struct sweep sweep;
    bool second_look;
    size_t look;              /* manifests before this one are left to be looked at */
    uint64_t was_stored;      /* segments of ours, at the last look */
    uint64_t known;           /* the newest manifest that was read, the bytes of its parts, its marks */
    uint64_t manifest_bytes;
    struct manifest_mark *marks, *here; /* owned; here: where the streams are now */
    uint32_t mark_count, here_count;
    /* The checkpoint under way. */
    int64_t began_ms, began_us, last_began_ms;
    uint64_t began_at;        /* the newest manifest then */
    uint32_t shard;           /* the next one */
    uint32_t vanished;        /* manifests that were listed and not there */
    uint64_t end;             /* segments that are to be stored before it is named */
    uint16_t self_index;      /* who we were when it began */
    struct manifest mine;
    struct buf keys;          /* of its parts, LAYOUT_KEY_BYTES each */
    struct buf newest_text;
    struct manifest newest;   /* to be merged with; number 0: none */
    bool has_newest;
    /* Garbage. */
    struct buf *texts;
    struct manifest *all;     /* of all manifests, in order; number 0: not readable */
    size_t all_count, base;   /* what is before `base` goes */
    struct vclock *covered;   /* by shard, of base */
    struct search search;
    struct replica_id closed; /* the last of whom it was seen that his stream is closed, */
    bool by_next;             /* and by whom */
    struct seen *seen;
    size_t seen_count;
    uint64_t round;
    struct sweep doomed;
};
void compact_step(struct archive *a);
void compact_idle(struct archive *a); /* until it is time for the next look */
void compact_fini(struct archive *a);
/* Manifests: all there are, however late they are listed. */
void manifests_list(struct archive *a, struct listing *l, const struct store *store);
uint64_t manifests_newest(const struct listing *manifests); /* its number; 0: there is none */
/* Fetches the newest of the first `left`, which it lessens; false: there is none. Whatever else is listed there is not ours. */
bool manifests_fetch(struct archive *a, struct fetch *f, const struct store *store, const struct listing *manifests, size_t *left);
/* What a manifest covers, by shard; see archive_free_vectors. */
struct vclock *compact_coverage(struct archive *a, const struct manifest *m);
void garbage_begin(struct archive *a);
void garbage_step(struct archive *a);
void garbage_fini(struct archive *a);

/* ---- archive.c ---- */

struct archive {
    struct archive_config config;
    struct now now; /* of the step under way */
    bool progress;  /* in it */
    int64_t due_us; /* of the next, mono_us */
    _Atomic int phase;
    uint16_t self_index;
    const struct store *source; /* that is read */
    struct replay shards;
    struct store_probe probe;
    bool probing;
    int64_t probe_at_us;
    struct claim claim;
    struct reader reader;
    struct stream stream;
    struct tails tails;
    struct compactor compactor;
    int64_t noted_us; /* the last failure */
    int64_t settled_us; /* until then what was here at the start may turn out to be void: it is not passed on */

    _Atomic uint64_t *dirty; /* bits */
    atomic_bool any_dirty, flushing, save;
    atomic_bool reset; /* self is new, and nothing is to be streamed in the name of the one before; set with the stream's lock */
    _Atomic int64_t dirty_us, out_us; /* since when: something is dirty, is on its way; 0: nothing is */
    _Atomic int64_t segment_us, keep_ms;
    _Atomic uint32_t checkpoints;
    _Atomic uint64_t rewrite_percent, rewrite_bytes_min;

    pthread_mutex_t lock; /* of what is below */
    struct buf members;
    bool members_new; /* since they were last streamed */
    struct replica_id next_self;
    struct archive_status status;
};

/* One more, or so many, of ARCHIVE_COUNTS. */
#define archive_count(a, name, n)                                              \
    do {                                                                       \
        pthread_mutex_lock(&(a)->lock);                                        \
        (a)->status.name += (n);                                               \
        pthread_mutex_unlock(&(a)->lock);                                      \
    } while (0)

void archive_note(struct archive *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void archive_stop(struct archive *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void archive_wants(struct archive *a, int64_t at_us); /* to be called by then */
int64_t archive_random(struct archive *a, int64_t below);
/* What is applied now, by shard; freed by: */
struct vclock *archive_applied(struct archive *a);
void archive_free_vectors(struct archive *a, struct vclock *vectors); /* NULL is none */
/* What object_read says of one whole object, with what follows from it: another cluster or key stops; damage is counted and noted. */
bool archive_open(struct archive *a, const char *key, enum object_kind kind, struct bytes bytes, struct object *out, struct buf *plain);
/* The head is that of the segment which the key names. */
bool archive_read_head(struct archive *a, const char *key, const struct object *object, struct segment_head *out);
/* Likewise; `out` views the text. */
bool archive_read_manifest(struct archive *a, const char *key, struct bytes text, struct manifest *out);
bool archive_open_manifest(struct archive *a, const struct fetch *f, struct buf *text, struct manifest *out); /* that was fetched */

#endif
