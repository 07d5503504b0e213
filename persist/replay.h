/* What was applied, as bytes that can be applied again: images of shards, and messages of deltas as peers get them.
 *
 *   image    (shard + 1, answer)             everything that the shard holds, judged by its context
 *   deltas   0 (shard + 1, delta)* 0         own mutations of some shards
 *
 * both as messages of wire.h. They are joined: in any order, any number of times. A delta whose predecessor is missing is
 * left out and counted.
 *
 * Threads: any, without a shard's lock but where it says otherwise. */
#ifndef ANNEAL_PERSIST_REPLAY_H
#define ANNEAL_PERSIST_REPLAY_H

#include "lattice/shard.h"

struct replay {
    struct shard *const *shards;
    uint32_t shard_count;
    struct replicas *replicas;
};

/* Appends an image; `applied`, if not NULL, is overwritten with what it covers. */
void replay_write_image(const struct replay *r, uint32_t shard, struct buf *out, struct vclock *applied);
void replay_write_locked_image(const struct replay *r, uint32_t shard, struct buf *out, struct vclock *applied); /* with its lock */

/* Own mutations of many shards, in one message. */
struct replay_deltas {
    struct wire_writer wire;
    size_t empty;
};
void replay_deltas_begin(struct replay_deltas *d, const struct replay *r);
/* All beyond *after, which becomes what they reach to; `holder` now holds what comes later. False: the shard's log does not
 * reach back to `after`, an image must take its place. */
bool replay_deltas_add(struct replay_deltas *d, const struct replay *r, uint32_t shard, enum shard_holder holder, uint64_t *after);
bool replay_deltas_add_locked(struct replay_deltas *d, const struct replay *r, uint32_t shard, enum shard_holder holder, uint64_t *after);
/* Appends the message, if there is anything in it; true if so. */
bool replay_deltas_end(struct replay_deltas *d, struct buf *out);

struct replay_counts {
    uint64_t images, messages; /* applied */
    uint64_t gaps;             /* deltas whose predecessors are not here */
    uint64_t malformed;        /* images and messages that make no sense */
};
#define REPLAY_THREADS_MAX 16u
/* `changing` and `changed`, if not NULL, are called for every shard that something was applied to: with its lock, and without. */
struct replay_sink {
    struct replay to;
    int64_t now_ms;
    struct replay_counts *counts;
    void (*changing)(void *arg, uint32_t shard);
    void (*changed)(void *arg, uint32_t shard);
    void *arg;
};
void replay_read_image(const struct replay_sink *s, struct bytes payload);
void replay_read_deltas(const struct replay_sink *s, struct bytes payload);

/* Images that wait to be read together, by several threads. Starts as {0}. */
struct replay_batch {
    struct bytes *images; /* views, which must live until they are read */
    size_t count, cap;
};
void replay_batch_add(struct replay_batch *b, struct bytes payload);
/* Reads and forgets them. By the caller alone if threads is 1; else they are called from several. */
void replay_batch_read(struct replay_batch *b, const struct replay_sink *s, uint32_t threads);

#endif
