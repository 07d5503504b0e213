/* anneal-inspect: what is stored, whether it is whole, and what it says. Shared by its files, included by nobody else.
 *
 * It only reads. What is damaged is judged by what it costs: everything is replayed into shards in memory, as a node would do it,
 * and compared with what heads, deltas and manifests say that there should be. Threads: one. */
#ifndef ANNEAL_NET_INSPECT_H
#define ANNEAL_NET_INSPECT_H

#include <jansson.h>

#include "core/keyring.h"
#include "lattice/shard.h"
#include "persist/options.h"

enum inspect_exit { INSPECT_WELL, INSPECT_DAMAGED, INSPECT_UNREADABLE };
enum inspect_action { INSPECT_LIST, INSPECT_VERIFY, INSPECT_DUMP };

struct inspect {
    enum inspect_action action;
    const char *where;  /* a URL, or a directory */
    const char *object; /* to be dumped alone; NULL: the state */
    bool json, expired;
    uint64_t manifest;   /* 0: the newest that is old enough, and segments */
    int64_t until_ms;    /* INT64_MAX: all */
    uint32_t shards;     /* 0: as many as the files say */
    struct buf cluster;  /* its name; empty: whatever the files say */
    struct keyring keys; /* none: sealed bodies stay closed */
    struct store_options store;
    struct buf error; /* why it is INSPECT_UNREADABLE */
    uint64_t found;   /* how much is damaged or missing */
};

enum inspect_exit inspect_store(struct inspect *i); /* inspect_store.c */
enum inspect_exit inspect_dir(struct inspect *i);   /* inspect_dir_posix.c */

/* ---- inspect_text.c ---- */

/* One thing that is damaged or missing, and what it costs. It goes to standard output, or to standard error if that has values. */
void inspect_found(struct inspect *i, const char *object, const char *what, const char *cost);
/* A line of text for people; nothing under --json. */
void inspect_say(const struct inspect *i, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of JSON; takes the value. */
void inspect_line(json_t *value);
/* Text where the bytes are UTF-8, {"base64": "..."} where they are not. */
json_t *inspect_json(struct bytes bytes);
json_t *inspect_json_writer(struct replica_id writer);
/* {"node-incarnation": counter} of what is not 0. */
json_t *inspect_json_vclock(const struct replicas *replicas, const struct vclock *v);
json_t *inspect_json_time(int64_t unix_ms);
#define INSPECT_TIME_BYTES 32
#define INSPECT_WRITER_BYTES 40
void inspect_time(char out[INSPECT_TIME_BYTES], int64_t unix_ms); /* ISO 8601 */
bool inspect_read_time(const char *text, int64_t *unix_ms);       /* that, or milliseconds */
void inspect_writer(char out[INSPECT_WRITER_BYTES], struct replica_id writer);

/* ---- inspect_state.c: shards, and what should be in them ---- */

struct state {
    struct replicas *replicas;
    struct shard **shards; /* NULL: how many there are is not known yet */
    uint32_t shard_count;
    struct vclock *stored; /* by shard: what the files say that there is */
    int64_t now_ms;
};
struct tally {
    uint64_t images, messages, gaps, malformed;
};
void state_init(struct state *s, uint32_t shard_count, struct replicas *replicas);
void state_fini(struct state *s); /* not the replicas */
void state_reset(struct state *s);
void state_image(struct state *s, struct bytes payload, struct tally *tally);
void state_deltas(struct state *s, struct bytes payload, struct tally *tally);
/* The shard that a message is an image of; false if it is none. */
bool state_image_shard(const struct state *s, struct bytes payload, uint32_t *shard);
uint64_t state_keys(const struct state *s, int64_t now_ms);

struct loss {
    uint64_t mutations;
    uint32_t shards;
};
/* What of `of` the shard does not have, added up. */
void state_lacks(const struct state *s, uint32_t shard, const struct vclock *of, struct loss *loss);
/* Of everything stored, by writer; the sum is returned. */
struct loss state_losses(const struct state *s, void (*say)(void *arg, struct replica_id writer, struct loss loss), void *arg);
/* "nothing is lost", or how much. */
void state_cost(const struct loss *loss, struct buf *out);
/* A line for every key. */
void state_dump(const struct state *s, int64_t now_ms);

#endif
