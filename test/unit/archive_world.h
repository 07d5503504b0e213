/* For tests of the archive: nodes without gossip in one thread, on a simulated store; what they write, what they hear of each other. */
#ifndef ANNEAL_TEST_ARCHIVE_WORLD_H
#define ANNEAL_TEST_ARCHIVE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/rng.h"
#include "persist/archive.h"
#include "persist/layout.h"
#include "persist/replay.h"
#include "sim/store.h"

enum { SHARDS = 3, KEYS = 12, NODES = 3 };
#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define KEY_B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define SECOND INT64_C(1000000)

struct site;
struct world {
    struct rng rng;
    struct bucket_sim *bucket, *other;
    int64_t now_us;
    uint64_t incarnations;
    struct archive_config options; /* of all that start */
    struct site *sites[NODES + 2];
    struct vclock promised[SHARDS]; /* what was flushed, in the indexes of `all` */
    struct replicas *all;
    bool blind; /* HEAD finds nothing, as in no store that keeps its promises */
};

struct site {
    struct world *world;
    struct replica_id id;
    struct replicas *replicas;
    struct shard *shards[SHARDS];
    struct store store;
    struct archive *archive;
    int64_t due_us;
    uint64_t heard;
    uint32_t closed; /* times that we were held for gone */
    bool starts_over; /* in its next step, */
    bool starts_over_late; /* or when the parts of a checkpoint are stored, and are to be named */
};

/* ------------------------------------------------------------------- world */

static inline struct now now_of(const struct world *w) { return (struct now){1700000000000 + w->now_us / 1000, w->now_us}; }
static inline struct now clock_now(void *self) { return now_of(self); }
static inline uint64_t clock_entropy(void *self) { return rng_next(&((struct world *)self)->rng); }
static inline void on_closed(void *arg, struct replica_id self) {
    struct site *s = arg;
    uint16_t index;
    assert_int_equal(replica_id_compare(self, s->id), 0);
    s->closed++;
    s->id = (struct replica_id){s->id.node, ++s->world->incarnations};
    assert_int_equal(replicas_intern(s->replicas, s->id, &index), STATUS_OK);
    for (uint32_t i = 0; i < SHARDS; i++) shard_reset(s->shards[i], index);
    archive_reset(s->archive, s->id);
}
static inline void on_heard(void *arg, struct bytes table) { ((struct site *)arg)->heard += table.len; }

static inline void open_world(struct world *w, uint64_t seed) {
    *w = (struct world){.now_us = SECOND};
    rng_seed(&w->rng, seed);
    w->bucket = bucket_sim_new(seed);
    w->all = replicas_new();
    w->options = (struct archive_config){ARCHIVE_CONFIG_DEFAULT};
    w->options.settings.segment_us = 100000;
    w->options.segment_bytes = 300;
    w->options.part_bytes = 200;
    w->options.poll_us = SECOND;
    w->options.settings.rewrite_bytes_min = 3000;
    w->options.place = "here";
    keyring_cluster(&w->options.keys, bytes_str("c"), SHARDS);
}

static inline void write_key(struct site *s, uint64_t which, const char *value);

static inline enum status submit_through(void *self, struct store_request *request) {
    struct store *store = &((struct site *)self)->store;
    return store->submit(store->self, request);
}

/* As another thread could, in the midst of a step. */
static inline struct store_request *poll_through(void *self) {
    struct site *s = self;
    if (s->starts_over) {
        s->starts_over = false;
        on_closed(s, s->id);
        write_key(s, 2, "since");
    }
    struct store_request *request = store_poll(&s->store);
    struct archive_status status;
    archive_status(s->archive, s->world->now_us, &status);
    if (s->starts_over_late && request && status.checkpointing && bytes_equal(request->key, bytes_str("manifest/"))) {
        s->starts_over_late = false;
        on_closed(s, s->id);
    }
    if (request && request->op == STORE_HEAD && s->world->blind) request->result = STORE_MISSING;
    return request;
}

static inline struct site *start(struct world *w, uint32_t place, uint64_t node) {
    struct site *s = mem_zero(1, sizeof *s);
    uint16_t self;
    s->world = w;
    s->id = (struct replica_id){node, ++w->incarnations};
    s->replicas = replicas_new();
    assert_int_equal(replicas_intern(s->replicas, s->id, &self), STATUS_OK);
    struct shard_config shard = {.replicas = s->replicas, .self = self, .log_bytes_max = 400}; /* so that images are needed */
    for (uint32_t i = 0; i < SHARDS; i++) s->shards[i] = shard_new(i, &shard);
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    settings.deadline_ms = 2000;
    s->store = store_sim_open(w->bucket, &settings);
    struct archive_config config = w->options;
    config.store = s->store;
    config.store.submit = submit_through;
    config.store.poll = poll_through;
    config.store.self = s;
    config.clock = (struct clock_port){clock_now, clock_entropy, w};
    config.shards = s->shards;
    config.shard_count = SHARDS;
    config.replicas = s->replicas;
    config.self = s->id;
    config.heard = on_heard;
    config.closed = on_closed;
    config.arg = s;
    s->archive = archive_new(&config);
    s->due_us = w->now_us;
    w->sites[place] = s;
    return s;
}

static inline void stop(struct site *s) {
    for (int i = 0; i < NODES + 2; i++)
        if (s->world->sites[i] == s) s->world->sites[i] = NULL;
    store_close(&s->store);
    archive_free(s->archive);
    for (int i = 0; i < SHARDS; i++) shard_free(s->shards[i]);
    replicas_free(s->replicas);
    mem_free(s);
}

static inline void close_world(struct world *w) {
    for (int i = 0; i < NODES + 2; i++)
        if (w->sites[i]) stop(w->sites[i]);
    bucket_sim_free(w->bucket);
    if (w->other) bucket_sim_free(w->other);
    for (int i = 0; i < SHARDS; i++) vclock_fini(&w->promised[i]);
    replicas_free(w->all);
}

static inline void run(struct world *w, int64_t us) {
    int64_t end_us = w->now_us + us;
    while (w->now_us < end_us) {
        int64_t next_us = bucket_sim_next_us(w->bucket);
        if (w->other && bucket_sim_next_us(w->other) < next_us) next_us = bucket_sim_next_us(w->other);
        for (int i = 0; i < NODES + 2; i++)
            if (w->sites[i] && w->sites[i]->due_us < next_us) next_us = w->sites[i]->due_us;
        if (next_us > end_us) next_us = end_us;
        if (next_us > w->now_us) w->now_us = next_us;
        bucket_sim_now(w->bucket, w->now_us);
        bool other = w->other && bucket_sim_next_us(w->other) <= w->now_us;
        if (w->other) bucket_sim_now(w->other, w->now_us);
        for (int i = 0; i < NODES + 2; i++) {
            struct site *s = w->sites[i];
            if (!s || (s->due_us > w->now_us && store_sim_next_us(&s->store) > w->now_us && !other)) continue;
            int64_t wait_us = archive_step(s->archive, now_of(w));
            s->due_us = w->now_us + (wait_us > 0 ? wait_us : 1);
        }
    }
}

static inline bool reaches(struct world *w, struct site *s, enum archive_phase phase, int64_t within_us) {
    for (int64_t end_us = w->now_us + within_us; w->now_us < end_us && archive_phase(s->archive) != phase;) run(w, 10000);
    return archive_phase(s->archive) == phase;
}

static inline bool flushes(struct world *w, struct site *s, int64_t within_us) {
    archive_flush(s->archive);
    for (int64_t end_us = w->now_us + within_us; w->now_us < end_us && !archive_is_flushed(s->archive);) run(w, 10000);
    return archive_is_flushed(s->archive);
}

/* ------------------------------------------------------------------ content */

static inline void write_key(struct site *s, uint64_t which, const char *value) {
    char name[32];
    uint32_t shard = (uint32_t)(which % SHARDS);
    struct shard *to = s->shards[shard];
    int64_t now_ms = now_of(s->world).wall_ms;
    snprintf(name, sizeof name, "k%llu", (unsigned long long)which);
    shard_lock(to);
    struct key_ref ref = shard_ref(to, bytes_str(name));
    switch (value ? 0 : rng_below(&s->world->rng, 8)) {
    case 1: case 2: shard_increase(to, ref, (__int128)(rng_below(&s->world->rng, 100) + 1), now_ms); break;
    case 3: shard_delete(to, ref, now_ms); break;
    case 4: shard_add_member(to, ref, bytes_str(rng_below(&s->world->rng, 2) ? "a" : "b"), now_ms); break;
    case 5:
        if (rng_below(&s->world->rng, 10) == 0) shard_flush(to, now_ms);
        break;
    default: shard_set(to, ref, bytes_str(value ? value : "some value"), false, now_ms);
    }
    shard_unlock(to);
    archive_dirty(s->archive, shard);
}

static inline bool has(struct site *s, uint64_t which, const char *value) {
    char name[32];
    struct scratch scratch;
    struct shard *in = s->shards[which % SHARDS];
    snprintf(name, sizeof name, "k%llu", (unsigned long long)which);
    shard_lock(in);
    struct key *key = shard_find(in, shard_ref(in, bytes_str(name)), now_of(s->world).wall_ms);
    bool same = key ? bytes_equal(key_string(in, key, &scratch), bytes_str(value)) : false;
    shard_unlock(in);
    return same;
}

static inline void hear_shard(struct site *to, struct site *from, uint32_t shard) {
    struct replay source = {from->shards, SHARDS, from->replicas};
    struct replay_counts counts = {0};
    struct replay_sink sink = {.to = {to->shards, SHARDS, to->replicas}, .now_ms = now_of(to->world).wall_ms, .counts = &counts};
    struct buf image = {0};
    replay_write_image(&source, shard, &image, NULL);
    replay_read_image(&sink, buf_bytes(&image));
    buf_fini(&image);
    assert_int_equal(counts.images, 1);
}

/* One learns all that the other has. */
static inline void hear(struct site *to, struct site *from) {
    for (uint32_t i = 0; i < SHARDS; i++) hear_shard(to, from, i);
}

static inline void raise_promise(struct world *w, const struct site *s) {
    for (int i = 0; i < SHARDS; i++) {
        uint16_t here = shard_self(s->shards[i]), index;
        assert_int_equal(replicas_intern(w->all, s->id, &index), STATUS_OK);
        vclock_raise(&w->promised[i], index, vclock_get(shard_applied(s->shards[i]), here));
    }
}

static inline void has_promised(struct world *w, const struct site *s) {
    for (int i = 0; i < SHARDS; i++)
        for (uint16_t r = 1; r < w->promised[i].count; r++) {
            uint16_t here;
            assert_int_equal(replicas_intern(s->replicas, replicas_id(w->all, r), &here), STATUS_OK);
            assert_true(vclock_get(shard_applied(s->shards[i]), here) >= vclock_get(&w->promised[i], r));
        }
}

static inline void same(const struct site *a, const struct site *b) {
    for (int i = 0; i < SHARDS; i++) assert_int_equal(shard_digest(a->shards[i]), shard_digest(b->shards[i]));
}

static inline void set_faults(struct world *w, uint32_t rate, int64_t list_lag_us) {
    struct bucket_faults faults = {.fail = rate, .lose = rate, .late = rate, .slow = rate, .list_lag_us = list_lag_us};
    bucket_sim_faults(w->bucket, &faults);
}

/* One request, by somebody else. */
static inline void ask(struct world *w, struct store_request *r) {
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    struct store store = store_sim_open(w->bucket, &settings);
    struct store_request *answered;
    assert_int_equal(store_submit(&store, r), STATUS_OK);
    while (!(answered = store_poll(&store))) run(w, 100000);
    assert_ptr_equal(answered, r);
    assert_int_equal(r->result, STORE_DONE);
    store_close(&store);
}

static inline void put(struct world *w, const char *key, const char *text) {
    struct store_request r = {.op = STORE_PUT, .key = bytes_str(key), .body = bytes_str(text)};
    ask(w, &r);
    store_request_fini(&r);
}

static inline size_t count_of(struct world *w, const char *prefix, uint64_t *bytes) {
    struct store_request list = {.op = STORE_LIST, .key = bytes_str(prefix), .limit = STORE_PAGE_MAX};
    ask(w, &list);
    size_t count = list.count;
    *bytes = 0;
    for (size_t i = 0; i < count; i++) *bytes += list.entries[i].size;
    store_request_fini(&list);
    return count;
}

/* As if its disk had brought back all that `was` had. */
static inline struct site *start_again(struct world *w, uint32_t place, struct site *was) {
    w->options.before = was->id;
    struct site *s = start(w, place, was->id.node);
    w->options.before = (struct replica_id){0};
    hear(s, was);
    return s;
}

/* Whoever asks again and again finds out, if it is so, or comes to be. */
static inline bool finds_closed(struct world *w, struct site *by, struct replica_id id, bool close, bool for_good, int64_t within_us) {
    for (int64_t us = 0; us < within_us && !archive_is_closed(by->archive, id, close, for_good); us += SECOND / 10) run(w, SECOND / 10);
    return archive_is_closed(by->archive, id, close, for_good);
}

/* Two nodes, of which the first has written and streamed. */
static inline void start_two(struct world *w, struct site **a, struct site **b) {
    *a = start(w, 0, 1);
    *b = start(w, 1, 2);
    assert_true(reaches(w, *a, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(reaches(w, *b, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(*a, 1, "streamed");
    assert_true(flushes(w, *a, 10 * SECOND));
}

/* It is down; what its disk has, some of it not streamed, is in its memory. */
static inline void goes_down_with_more(struct world *w, struct site *a) {
    write_key(a, 2, "on the disk alone");
    a->due_us = INT64_MAX;
    w->sites[0] = NULL;
}

/* Longer than garbage waits. */
static inline void nine_hours_of_checkpoints(struct world *w, struct site *by) {
    for (int hour = 0; hour < 9; hour++) {
        write_key(by, 5, "x");
        run(w, 10 * SECOND);
        archive_save(by->archive);
        run(w, 3590 * SECOND);
    }
}

#endif
