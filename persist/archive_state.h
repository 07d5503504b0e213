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

#define AT_ONCE 8u                              /* requests of one kind under way */
#define ORPHAN_US (INT64_C(6) * 3600 * 1000000) /* an object that nothing names may still be about to be named */
#define CHECKPOINT_US (ORPHAN_US / 2)           /* so no checkpoint takes longer than this */

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

/* All keys under a prefix. */
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
};
void listing_begin(struct archive *a, struct listing *l, const struct store *store, const char *prefix);
bool listing_over(struct archive *a, struct listing *l);
void listing_add(struct listing *l, struct bytes key, uint64_t size);
void listing_fini(struct listing *l);

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

/* Many objects, some at once, visited in order. */
struct sweep {
    struct listing items;
    size_t asked, visited;
    struct fetch slots[AT_ONCE];
};
/* Empties it; then listing_add to items. */
void sweep_begin(struct sweep *s);
/* DELETE, or GET of whole objects, of each; `visit`, if not NULL, gets those that are over. True once all are visited. */
bool sweep_over(struct archive *a, struct sweep *s, const struct store *store, enum store_op op,
                void (*visit)(struct archive *a, const struct listed *item, struct fetch *f));
void sweep_fini(struct sweep *s);

/* ---- archive_claim.c ---- */

struct claim {
    enum { CLAIM_BEGIN, CLAIM_LISTING, CLAIM_LOOKING, CLAIM_LOOKING_CLOSER, CLAIM_MAKING, CLAIM_WAITING, CLAIM_JUDGING, CLAIM_READING_VERDICT, CLAIM_OURS,
           CLAIM_WATCHING, CLAIM_OBJECTING, CLAIM_READING_ANSWER, CLAIM_SWEEPING } step;
    struct listing listing;
    struct fetch fetch;
    struct creation creation;
    struct sweep old;
    uint64_t number;  /* of our claim */
    uint64_t watched; /* of the one that may come */
    int64_t at_us;
    bool from_here;   /* the last claim was */
    bool at_once;     /* whoever made it is dead */
};
bool claim_step(struct archive *a);  /* true once this process is the node */
void claim_watch(struct archive *a); /* from then on */

/* ---- archive_read.c ---- */

struct reader {
    enum { READ_BEGIN, READ_CHECKING, READ_LISTING, READ_MANIFEST, READ_PARTS, READ_LISTING_SEGMENTS, READ_SEGMENTS } step;
    struct listing manifests;
    struct fetch fetch;
    struct sweep sweep;
    size_t next;              /* manifests before this one are left */
    uint64_t used;            /* number of the first that was good */
    struct manifest manifest; /* the one at hand, and its text */
    struct buf text;
    bool parts_damaged, vanished;
    bool broken;              /* something is lost to whoever reads the store */
    bool again;               /* all was begun anew, when again_from was the newest that was good */
    uint64_t again_from;
    struct vclock *stored;    /* by shard: what the store has */
};
bool read_step(struct archive *a); /* true once all is read; then what the store lacks is owed */

/* ---- archive_stream.c ---- */

struct stream {
    uint64_t number; /* of the next segment */
    uint64_t *flushed;
    uint64_t *owed;  /* bits: shards of which an image is to be sent */
    bool any_owed, out; /* out: a segment is on its way */
    struct creation creation;
    int64_t next_us;
};
void stream_step(struct archive *a);
bool stream_is_idle(struct archive *a);

/* ---- archive_compact.c ---- */

struct seen {
    char key[LAYOUT_KEY_BYTES];
    int64_t since_us;
    uint64_t round;
};
struct compactor {
    enum { COMPACT_IDLE, COMPACT_LISTING, COMPACT_LISTING_MANIFESTS, COMPACT_READING, COMPACT_JITTER, COMPACT_PARTS, COMPACT_MERGE, COMPACT_MERGE_READ,
           COMPACT_NAMING, GARBAGE_MANIFESTS, GARBAGE_SEGMENTS, GARBAGE_HEADS, GARBAGE_PARTS, GARBAGE_DELETING } step;
    int64_t at_us;
    struct listing segments, manifests, parts;
    struct fetch fetch;
    struct creation creation;
    struct sweep sweep;
    bool second_look;
    size_t look;              /* manifests before this one are left to be looked at */
    uint64_t known;           /* the newest manifest that was read, the bytes of its parts, its marks */
    uint64_t manifest_bytes;
    struct manifest_mark *marks, *here; /* owned; here: where the streams are now */
    uint32_t mark_count, here_count;
    /* The checkpoint under way. */
    int64_t began_ms, began_us, last_began_ms;
    uint64_t began_at;        /* the newest manifest then */
    uint32_t shard;           /* the next one */
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
    size_t stream_from, stream_to, low, high; /* the stream that is searched, in segments */
    size_t middle, asked;
    struct seen *seen;
    size_t seen_count;
    uint64_t round;
    struct sweep doomed;
};
void compact_step(struct archive *a);
void compact_fini(struct archive *a);

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
    struct compactor compactor;
    int64_t noted_us; /* the last failure */

    _Atomic uint64_t *dirty; /* bits */
    atomic_bool any_dirty, flushing, save;
    _Atomic int64_t dirty_us, out_us; /* since when: something is dirty, is on its way; 0: nothing is */
    _Atomic int64_t segment_us, keep_ms;
    _Atomic uint64_t rewrite_percent, rewrite_bytes_min;

    pthread_mutex_t lock; /* of what is below */
    struct buf members;
    bool members_new; /* since they were last streamed */
    bool reset;       /* self is new */
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
/* What object_read says of one whole object, with what follows from it: another cluster or key stops; damage is counted and noted. */
bool archive_open(struct archive *a, const char *key, struct bytes bytes, struct object *out, struct buf *plain);

#endif
