#include "persist/replay.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/mem.h"

static const struct shard_summary NOTHING; /* an answer to one who has nothing is everything */

/* ----------------------------------------------------------------- writing */

void replay_write_image(const struct replay *r, uint32_t index, struct buf *out, struct vclock *applied) {
    shard_lock(r->shards[index]);
    replay_write_locked_image(r, index, out, applied);
    shard_unlock(r->shards[index]);
}

void replay_write_locked_image(const struct replay *r, uint32_t index, struct buf *out, struct vclock *applied) {
    struct shard *shard = r->shards[index];
    struct wire_writer w;
    wire_init(&w, r->replicas);
    wire_u64(&w, index + 1);
    enum status status = shard_write_answer(shard, &w, &NOTHING);
    if (applied) {
        vclock_fini(applied);
        vclock_copy(applied, shard_applied(shard));
    }
    assert(status == STATUS_OK);
    (void)status;
    wire_finish(&w, out);
    wire_fini(&w);
}

void replay_deltas_begin(struct replay_deltas *d, const struct replay *r) {
    wire_init(&d->wire, r->replicas);
    wire_u64(&d->wire, 0);
    d->empty = d->wire.body.len;
}

bool replay_deltas_add(struct replay_deltas *d, const struct replay *r, uint32_t index, enum shard_holder holder, uint64_t *after) {
    shard_lock(r->shards[index]);
    bool reached = replay_deltas_add_locked(d, r, index, holder, after);
    shard_unlock(r->shards[index]);
    return reached;
}

bool replay_deltas_add_locked(struct replay_deltas *d, const struct replay *r, uint32_t index, enum shard_holder holder, uint64_t *after) {
    struct shard *shard = r->shards[index];
    uint64_t upto;
    size_t before = d->wire.body.len;
    wire_u64(&d->wire, index + 1);
    enum status status = shard_write_delta(shard, &d->wire, *after, &upto);
    if (status != STATUS_OK) d->wire.body.len = before;
    *after = shard_own(shard);
    shard_hold(shard, holder, *after);
    return status != STATUS_ERR_GAP;
}

bool replay_deltas_end(struct replay_deltas *d, struct buf *out) {
    bool any = d->wire.body.len > d->empty;
    if (any) {
        wire_u64(&d->wire, 0);
        wire_finish(&d->wire, out);
    }
    wire_fini(&d->wire);
    return any;
}

/* ----------------------------------------------------------------- reading */

/* Reads a shard's part with its lock, and tells if that was news. */
static enum status apply(const struct replay_sink *s, struct wire_reader *reader, uint64_t number, bool image) {
    if (number < 1 || number > s->to.shard_count) return STATUS_ERR_MALFORMED;
    struct shard *shard = s->to.shards[number - 1];
    struct vclock before = {0};
    shard_lock(shard);
    if (s->changed || s->changing) vclock_copy(&before, shard_applied(shard));
    enum status status = image ? shard_read_answer(shard, reader, &NOTHING, s->now_ms) : shard_read_delta(shard, reader, s->now_ms);
    bool news = (s->changed || s->changing) && !vclock_covers(&before, shard_applied(shard));
    if (news && s->changing) s->changing(s->arg, (uint32_t)(number - 1));
    shard_unlock(shard);
    vclock_fini(&before);
    if (news && s->changed) s->changed(s->arg, (uint32_t)(number - 1));
    return status;
}

void replay_read_image(const struct replay_sink *s, struct bytes payload) {
    struct wire_reader reader;
    enum status status = wire_open(&reader, payload, s->to.replicas);
    if (status == STATUS_OK) {
        uint64_t number = wire_read_u64(&reader);
        status = reader.bad ? STATUS_ERR_MALFORMED : apply(s, &reader, number, true);
        wire_close(&reader);
    }
    *(status == STATUS_OK ? &s->counts->images : &s->counts->malformed) += 1;
}

void replay_read_deltas(const struct replay_sink *s, struct bytes payload) {
    struct wire_reader reader;
    if (wire_open(&reader, payload, s->to.replicas) != STATUS_OK) {
        s->counts->malformed++;
        return;
    }
    uint64_t number = wire_read_u64(&reader);
    while (!reader.bad && (number = wire_read_u64(&reader)) != 0) {
        enum status status = apply(s, &reader, number, false);
        s->counts->gaps += status == STATUS_ERR_GAP;
        if (status != STATUS_OK && status != STATUS_ERR_GAP) reader.bad = true;
    }
    *(reader.bad ? &s->counts->malformed : &s->counts->messages) += 1;
    wire_close(&reader);
}

/* ------------------------------------------------------------------ batches */

void replay_batch_add(struct replay_batch *b, struct bytes payload) {
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->images = mem_realloc(b->images, b->cap * sizeof *b->images);
    }
    b->images[b->count++] = payload;
}

struct reading {
    struct replay_batch *batch;
    atomic_size_t *next;
    struct replay_counts counts;
    struct replay_sink sink;
};

static void *read_some(void *arg) {
    struct reading *r = arg;
    for (size_t i; (i = atomic_fetch_add(r->next, 1)) < r->batch->count;) replay_read_image(&r->sink, r->batch->images[i]);
    return NULL;
}

void replay_batch_read(struct replay_batch *b, const struct replay_sink *s, uint32_t threads) {
    struct reading readings[REPLAY_THREADS_MAX];
    pthread_t others[REPLAY_THREADS_MAX];
    atomic_size_t next = 0;
    uint32_t started = 1;
    if (threads > REPLAY_THREADS_MAX) threads = REPLAY_THREADS_MAX;
    if (threads > b->count) threads = (uint32_t)b->count;
    for (uint32_t i = 0; i < threads || i == 0; i++) {
        readings[i] = (struct reading){.batch = b, .next = &next, .sink = *s};
        readings[i].sink.counts = &readings[i].counts;
    }
    while (started < threads && pthread_create(&others[started], NULL, read_some, &readings[started]) == 0) started++;
    read_some(&readings[0]);
    for (uint32_t i = 0; i < started; i++) {
        if (i) pthread_join(others[i], NULL);
        s->counts->images += readings[i].counts.images;
        s->counts->malformed += readings[i].counts.malformed;
    }
    mem_free(b->images);
    *b = (struct replay_batch){0};
}
