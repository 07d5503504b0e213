/* The shard: one unit of ownership, locking, causality and replication.
 *
 * A map lattice from key to value, with the causal context that judges its joins and the log
 * of what was touched. See README.md for the shape, DESIGN decisions included.
 *
 * Ownership: the shard owns everything in it; names and values given are copied.
 * Threads: every call below needs the shard's lock held, unless it says otherwise; pointers
 * returned live until the lock is released or the shard is changed.
 * Time: `now_ms` is Unix time in milliseconds; it hides expired keys and feeds the hybrid
 * logical clock. */
#ifndef ANNEAL_LATTICE_SHARD_H
#define ANNEAL_LATTICE_SHARD_H

#include "core/bytes.h"
#include "core/rng.h"
#include "core/status.h"
#include "core/table.h"
#include "lattice/dot.h"
#include "lattice/element.h"
#include "lattice/hash.h"
#include "lattice/wire.h"

struct shard;
struct key;
struct field; /* a member of a set, or a field of a hash */

enum key_type { KEY_NONE, KEY_STRING, KEY_SET, KEY_HASH };

#define EXPIRY_NEVER INT64_MAX
#define SHARD_CELLS 256u                      /* cells that a shard keeps sums of */
#define SHARD_CELLS_BYTES (SHARD_CELLS / 8)   /* a set of them, as bits */
#define SHARD_FINE_BITS_MOST 12u              /* of a cell that is cut finer: 4,096 parts */

struct shard_config {
    struct replicas *replicas; /* shared by all shards of the node; outlives them */
    struct hash_seed seed;     /* of the cluster: the same on every node */
    uint16_t self;             /* this process's replica index */
    uint64_t log_bytes_max;    /* beyond it the oldest records are forgotten */
    bool shared;               /* between threads: builds that check locks do so here */
};

struct shard *shard_new(uint32_t index, const struct shard_config *config);
void shard_free(struct shard *shard);
/* Forgets everything, and goes on as another replica: for one that was declared gone. */
void shard_reset(struct shard *shard, uint16_t self);

void shard_lock(struct shard *shard);
/* What was written since shard_lock is one group: it arrives whole or not at all. */
void shard_unlock(struct shard *shard);
/* How often it was locked, if this build checks locks (LOCKS_CHECKED: sanitizers, planted faults), else 0: whoever has
 * not given the lock back finds what there was. Such a build ends where a shared shard is used without its lock. */
#ifdef LOCKS_CHECKED
uint64_t shard_lock_count(const struct shard *shard);
#else
static inline uint64_t shard_lock_count(const struct shard *shard) { return (void)shard, 0; }
#endif
/* For writers of several elements, who want to win or lose against concurrent ones as a whole: a
 * clock past all that was written here, and the one that all writes carry until shard_unlock. */
uint64_t shard_tick(struct shard *shard, int64_t now_ms);
void shard_write_at(struct shard *shard, uint64_t clock);

/* ---------------------------------------------------------------- reading */

/* A key by name, with its hash computed once. */
struct key_ref {
    struct bytes name;
    uint64_t hash;
};
struct key_ref shard_ref(const struct shard *shard, struct bytes name);

/* Hints: keys with these hashes will be asked for. Looked up one by one, each waits for memory; many that were hinted at arrive
 * together. In three steps, each for all of them: where a key is; the key; what it holds. */
enum shard_hint { SHARD_HINT_PLACE, SHARD_HINT_KEY, SHARD_HINT_CONTENT, SHARD_HINTS };
void shard_hint(const struct shard *shard, uint64_t key_hash, enum shard_hint step);

/* NULL when nothing is to be seen: absent, removed or expired. */
struct key *shard_find(struct shard *shard, struct key_ref ref, int64_t now_ms);
enum key_type key_type(const struct shard *shard, const struct key *key);
struct bytes key_name(const struct key *key);
int64_t key_expiry(const struct key *key); /* EXPIRY_NEVER when it has none */

/* Room for a number as text. */
struct scratch {
    char text[64];
};
/* The string as clients see it: the newest sibling, plus the increments if it is a number. */
struct bytes key_string(const struct shard *shard, const struct key *key, struct scratch *scratch);

uint64_t key_field_count(const struct key *key, enum key_type type); /* live ones */
struct field *key_field(const struct shard *shard, const struct key *key, enum key_type type,
                        struct bytes name);
/* Next live field at or after *at (start with 0), NULL at the end. */
struct field *key_field_next(const struct key *key, enum key_type type, size_t *at);
struct bytes field_name(const struct field *field);
struct bytes field_value(const struct shard *shard, const struct field *field,
                         struct scratch *scratch);

uint64_t shard_key_count(const struct shard *shard); /* lock not needed */
uint64_t shard_expiring_count(const struct shard *shard); /* keys with a time to live; likewise */
/* Next visible key at or after *at (start with 0), NULL at the end. */
struct key *shard_key_next(struct shard *shard, size_t *at, int64_t now_ms);

/* A visible key, or a live field, at random; NULL if there is none. Nearly uniform: where what
 * is hidden outnumbers the rest, the first one at or after a random place. */
struct key *shard_key_random(struct shard *shard, struct rng *rng, int64_t now_ms);
struct field *key_field_random(const struct key *key, enum key_type type, struct rng *rng);
/* Visits at least `want` from the cursor (0 to TABLE_TAGS) on, if there are so many, and returns
 * the next cursor, TABLE_TAGS at the end. What is there during a whole scan is visited. */
uint32_t shard_key_scan(struct shard *shard, uint32_t cursor, size_t want, int64_t now_ms,
                        void (*visit)(struct key *key, void *arg), void *arg);
uint32_t key_field_scan(const struct key *key, enum key_type type, uint32_t cursor, size_t want,
                        void (*visit)(struct field *field, void *arg), void *arg);

/* ---------------------------------------------------------------- writing
 * Each takes one or more dots. A key that is expired is first removed as observed. */

void shard_set(struct shard *shard, struct key_ref ref, struct bytes value, bool keep_ttl,
               int64_t now_ms);
/* Adds `by` (fixed point) to the string's increments; the caller has checked the range. */
void shard_increase(struct shard *shard, struct key_ref ref, __int128 by, int64_t now_ms);
void shard_add_member(struct shard *shard, struct key_ref ref, struct bytes member, int64_t now_ms);
void shard_set_field(struct shard *shard, struct key_ref ref, struct bytes field,
                     struct bytes value, int64_t now_ms);
void shard_increase_field(struct shard *shard, struct key_ref ref, struct bytes field, __int128 by,
                          int64_t now_ms);
/* True if it was there. */
bool shard_remove_field(struct shard *shard, struct key_ref ref, enum key_type type,
                        struct bytes name, int64_t now_ms);
/* Absolute; EXPIRY_NEVER is PERSIST, which wins over concurrent expiries. */
void shard_expire(struct shard *shard, struct key_ref ref, int64_t at_ms, int64_t now_ms);
/* True if it was visible. Takes a dot whenever anything at all is left of the key. */
bool shard_delete(struct shard *shard, struct key_ref ref, int64_t now_ms);
/* Removes the shard's whole context: what it covers and arrives later is dead on arrival. */
void shard_flush(struct shard *shard, int64_t now_ms);

/* Removes keys that have expired, as observed: those whose expiry we wrote ourselves, and after
 * grace_ms more those of others as well, in case they are gone. At most `max` keys; returns how
 * many, and in *next_ms when it will have something to do again. Reads hide such keys anyway.
 * An expiry that outlived its key, by a concurrent DEL, goes the same way. */
size_t shard_expire_due(struct shard *shard, int64_t now_ms, int64_t grace_ms, size_t max, int64_t *next_ms);

/* ------------------------------------------------------------ replication */

/* The gapless prefix applied here, per replica index. */
const struct vclock *shard_applied(const struct shard *shard);
/* Whoever writes own mutations to where they last. Records beyond this counter stay in the log, however
 * stable, and so does what they reset: it is still to be written as a delta. Nobody holds any at first. */
enum shard_holder { HOLDER_DISK, HOLDER_STORE, SHARD_HOLDERS };
void shard_hold(struct shard *shard, enum shard_holder holder, uint64_t counter);
uint16_t shard_self(const struct shard *shard);
/* The counter of our own last mutation. */
uint64_t shard_own(const struct shard *shard);
/* Equal on shards that hold the same live state; lock needed. */
uint64_t shard_digest(const struct shard *shard);
uint64_t shard_mem_bytes(const struct shard *shard);

/* Appends all own mutations beyond `after` as an exact delta; the range's end goes to *upto.
 * A range is never cut: elements are sent as they are now, so a range that ended earlier would
 * show its receiver what lies beyond it, and what it then removes would not have been seen.
 * STATUS_OK; STATUS_ERR_NOT_FOUND when there is nothing beyond; STATUS_ERR_GAP when the log
 * no longer reaches back to `after`. */
enum status shard_write_delta(struct shard *shard, struct wire_writer *writer, uint64_t after,
                              uint64_t *upto) MUST_CHECK;
/* Applies a delta whole or not at all. STATUS_ERR_GAP: it does not continue what was applied
 * (pull); STATUS_ERR_MALFORMED: nothing was changed. */
enum status shard_read_delta(struct shard *shard, struct wire_reader *reader, int64_t now_ms) MUST_CHECK;

/* Some cells, and into how many parts (1 << bits) each of them is cut. */
struct shard_refinement {
    uint8_t bits;
    uint8_t cells[SHARD_CELLS_BYTES];
};

/* What one side of a pull holds: its context, and optionally its cells, made under one hold
 * of the lock. On the wire only `context.applied` and the cells travel; the asker keeps the
 * rest until the answer is here. */
struct shard_summary {
    struct context context;
    bool has_cells;
    uint64_t cells[SHARD_CELLS]; /* only the high halves travel if there are finer ones */
    struct shard_refinement refinement; /* no bits, no finer ones */
    uint32_t *fine;                     /* owned: low halves, part by part of the cells refined */
};
void shard_summarise(const struct shard *shard, bool cells, struct shard_summary *out);
/* Cells, and those that the answer to the last summary asked for cut finer. Looks at every key. */
void shard_summarise_finely(struct shard *shard, const struct shard_refinement *refinement, struct shard_summary *out);
void shard_summary_fini(struct shard_summary *summary);
void shard_write_summary(struct wire_writer *writer, const struct shard_summary *summary);
/* False, and the reader is bad, if it is malformed; out needs no fini then. */
bool shard_read_summary(struct wire_reader *reader, struct shard_summary *out);

/* True if the asker had better ask again with finer cells, which would save it most of the
 * answer; the answer may be written all the same. Under the same hold of the lock as the answer. */
bool shard_wants_finer(struct shard *shard, const struct shard_summary *asker, struct shard_refinement *out);
void shard_write_refinement(struct wire_writer *writer, const struct shard_refinement *refinement);
bool shard_read_refinement(struct wire_reader *reader, struct shard_refinement *out);

/* Appends the answer to a pull: all that the asker lacks, of every origin, in one step.
 * STATUS_ERR_GAP: the log does not reach back, and the summary had no cells: ask with them. */
enum status shard_write_answer(struct shard *shard, struct wire_writer *writer,
                               const struct shard_summary *asker) MUST_CHECK;
/* `asked` is the summary that this node sent for this answer. Whole or not at all. */
enum status shard_read_answer(struct shard *shard, struct wire_reader *reader,
                              const struct shard_summary *asked, int64_t now_ms) MUST_CHECK;

/* How often rare ways were taken, since the shard was made. */
#define SHARD_PATHS(X)                                                      \
    X(answers_named, "answers by names, read")                              \
    X(answers_cells, "answers by cells, read")                              \
    X(answers_finer, "answers by finer cells, read")                        \
    X(answers_whole, "answers with everything, read")                       \
    X(learned_late, "writes dropped for an answer, learned since it was asked") \
    X(flushes_heard, "flushes of others")                                   \
    X(flush_resets, "keys with increments that a flush here reset")         \
    X(graves_forgotten, "elements whose dead increments were forgotten")    \
    X(records_cut, "records cut from the log before they were stable")
struct shard_paths {
#define X(name, help) uint64_t name;
    SHARD_PATHS(X)
#undef X
};
const struct shard_paths *shard_paths(const struct shard *shard);

/* All members have applied `stable`: logs are cut, and resets that were here two calls ago
 * are forgotten with their dead increments. */
void shard_stable(struct shard *shard, const struct vclock *stable);
bool shard_remembers(const struct shard *shard); /* anything that shard_stable may forget, now or later */

#endif
