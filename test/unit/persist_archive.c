/* What was streamed comes back: nodes that write, hear of each other now and then, die, and start again with what the store has,
 * on a store that fails in every way it may. */
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

static struct now now_of(const struct world *w) { return (struct now){1700000000000 + w->now_us / 1000, w->now_us}; }
static struct now clock_now(void *self) { return now_of(self); }
static uint64_t clock_entropy(void *self) { return rng_next(&((struct world *)self)->rng); }
static void on_closed(void *arg, struct replica_id self) {
    struct site *s = arg;
    uint16_t index;
    assert_int_equal(replica_id_compare(self, s->id), 0);
    s->closed++;
    s->id = (struct replica_id){s->id.node, ++s->world->incarnations};
    assert_int_equal(replicas_intern(s->replicas, s->id, &index), STATUS_OK);
    for (uint32_t i = 0; i < SHARDS; i++) shard_reset(s->shards[i], index);
    archive_reset(s->archive, s->id);
}
static void on_heard(void *arg, struct bytes table) { ((struct site *)arg)->heard += table.len; }

static void open_world(struct world *w, uint64_t seed) {
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

static void write_key(struct site *s, uint64_t which, const char *value);

static enum status submit_through(void *self, struct store_request *request) {
    struct store *store = &((struct site *)self)->store;
    return store->submit(store->self, request);
}

/* As another thread could, in the midst of a step. */
static struct store_request *poll_through(void *self) {
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

static struct site *start(struct world *w, uint32_t place, uint64_t node) {
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

static void stop(struct site *s) {
    for (int i = 0; i < NODES + 2; i++)
        if (s->world->sites[i] == s) s->world->sites[i] = NULL;
    store_close(&s->store);
    archive_free(s->archive);
    for (int i = 0; i < SHARDS; i++) shard_free(s->shards[i]);
    replicas_free(s->replicas);
    mem_free(s);
}

static void close_world(struct world *w) {
    for (int i = 0; i < NODES + 2; i++)
        if (w->sites[i]) stop(w->sites[i]);
    bucket_sim_free(w->bucket);
    if (w->other) bucket_sim_free(w->other);
    for (int i = 0; i < SHARDS; i++) vclock_fini(&w->promised[i]);
    replicas_free(w->all);
}

static void run(struct world *w, int64_t us) {
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

static bool reaches(struct world *w, struct site *s, enum archive_phase phase, int64_t within_us) {
    for (int64_t end_us = w->now_us + within_us; w->now_us < end_us && archive_phase(s->archive) != phase;) run(w, 10000);
    return archive_phase(s->archive) == phase;
}

static bool flushes(struct world *w, struct site *s, int64_t within_us) {
    archive_flush(s->archive);
    for (int64_t end_us = w->now_us + within_us; w->now_us < end_us && !archive_is_flushed(s->archive);) run(w, 10000);
    return archive_is_flushed(s->archive);
}

/* ------------------------------------------------------------------ content */

static void write_key(struct site *s, uint64_t which, const char *value) {
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

static bool has(struct site *s, uint64_t which, const char *value) {
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

/* One learns all that the other has. */
static void hear(struct site *to, struct site *from) {
    struct replay source = {from->shards, SHARDS, from->replicas};
    struct replay_counts counts = {0};
    struct replay_sink sink = {.to = {to->shards, SHARDS, to->replicas}, .now_ms = now_of(to->world).wall_ms, .counts = &counts};
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct buf image = {0};
        replay_write_image(&source, i, &image, NULL);
        replay_read_image(&sink, buf_bytes(&image));
        buf_fini(&image);
    }
    assert_int_equal(counts.images, SHARDS);
}

static void raise_promise(struct world *w, const struct site *s) {
    for (int i = 0; i < SHARDS; i++) {
        uint16_t here = shard_self(s->shards[i]), index;
        assert_int_equal(replicas_intern(w->all, s->id, &index), STATUS_OK);
        vclock_raise(&w->promised[i], index, vclock_get(shard_applied(s->shards[i]), here));
    }
}

static void has_promised(struct world *w, const struct site *s) {
    for (int i = 0; i < SHARDS; i++)
        for (uint16_t r = 1; r < w->promised[i].count; r++) {
            uint16_t here;
            assert_int_equal(replicas_intern(s->replicas, replicas_id(w->all, r), &here), STATUS_OK);
            assert_true(vclock_get(shard_applied(s->shards[i]), here) >= vclock_get(&w->promised[i], r));
        }
}

static void same(const struct site *a, const struct site *b) {
    for (int i = 0; i < SHARDS; i++) assert_int_equal(shard_digest(a->shards[i]), shard_digest(b->shards[i]));
}

/* -------------------------------------------------------------------- tests */

static void set_faults(struct world *w, uint32_t rate, int64_t list_lag_us) {
    struct bucket_faults faults = {.fail = rate, .lose = rate, .late = rate, .slow = rate, .list_lag_us = list_lag_us};
    bucket_sim_faults(w->bucket, &faults);
}

/* One of them dies, and starts again with nothing but the store; all write, and hear of each other. */
static void live(struct world *w, int rounds) {
    for (int round = 0; round < rounds; round++) {
        uint64_t i = rng_below(&w->rng, NODES);
        struct site *s = w->sites[i];
        if (archive_phase(s->archive) == ARCHIVE_STREAMING) {
            for (uint64_t n = rng_below(&w->rng, 20); n; n--) write_key(s, rng_below(&w->rng, KEYS), NULL);
            if (rng_below(&w->rng, 4) == 0) hear(w->sites[rng_below(&w->rng, NODES)], s);
        }
        assert_int_not_equal(archive_phase(s->archive), ARCHIVE_STOPPED);
        run(w, (int64_t)rng_below(&w->rng, 300000));
        if (archive_is_flushed(s->archive)) raise_promise(w, s);
        if (rng_below(&w->rng, 40) == 0) {
            stop(s);
            s = start(w, (uint32_t)i, i + 1);
        }
    }
}

static void write_and_flush(struct world *w) {
    for (uint32_t i = 0; i < NODES; i++) {
        struct site *s = w->sites[i];
        assert_true(reaches(w, s, ARCHIVE_STREAMING, 60 * SECOND));
        for (uint64_t k = 0; k < KEYS; k++) write_key(s, k, NULL);
        assert_true(flushes(w, s, 60 * SECOND));
        raise_promise(w, s);
    }
}

static void random_lives(uint64_t seed, uint32_t rate, int64_t list_lag_us) {
    struct world w;
    open_world(&w, seed);
    set_faults(&w, rate, list_lag_us);
    for (uint32_t i = 0; i < NODES; i++) start(&w, i, i + 1);
    for (uint32_t i = 0; i < NODES; i++) assert_true(reaches(&w, w.sites[i], ARCHIVE_STREAMING, 600 * SECOND));
    live(&w, 150);
    set_faults(&w, 0, list_lag_us);
    write_and_flush(&w);
    run(&w, list_lag_us); /* of each stream something is listed, of what follows nothing */
    write_and_flush(&w);
    struct site *reader = start(&w, NODES, 9);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 60 * SECOND));
    has_promised(&w, reader);
    /* What nodes heard of those that died before they streamed it is in no store. */
    for (uint32_t i = 0; i < NODES; i++) hear(reader, w.sites[i]);
    for (uint32_t i = 0; i < NODES; i++) hear(w.sites[i], reader);
    for (uint32_t i = 0; i < NODES; i++) same(w.sites[i], reader);
    close_world(&w);
}

static void comes_back(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) random_lives(seed, 0, 0);
}
static void comes_back_from_a_bad_store(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) random_lives(seed, 100000, 0);
}
static void comes_back_from_one_that_lists_late(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) random_lives(seed, seed % 2 ? 0 : 100000, 3 * SECOND);
}

/* Many overwrites of few keys: checkpoints take their place, and the number of objects stays small. */
static void stays_small_with(int64_t list_lag_us) {
    struct world w;
    struct bucket_stats stats;
    struct archive_status status;
    open_world(&w, 1);
    set_faults(&w, 0, list_lag_us);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    for (int i = 0; i < 3000; i++) {
        for (int n = 0; n < 5; n++) write_key(s, rng_below(&w.rng, KEYS), "x");
        run(&w, 100000);
    }
    run(&w, 60 * SECOND);
    archive_status(s->archive, w.now_us, &status);
    bucket_sim_stats(w.bucket, &stats);
    assert_true(status.checkpoints > 10);
    assert_true(status.segments > 1000);
    assert_int_equal(status.behind_us, 0);
    assert_true(stats.objects < 200);
    struct site *reader = start(&w, 1, 2);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    same(s, reader);
    close_world(&w);
}
static void stays_small(void **state) {
    (void)state;
    stays_small_with(0);
    stays_small_with(5 * SECOND);
}

/* A process that lived for a moment, of which nothing is listed yet when another starts. */
static void what_is_listed_late_is_read_then(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    set_faults(&w, 0, 20 * SECOND);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(s, 1, "x");
    assert_true(flushes(&w, s, 10 * SECOND));
    stop(s);
    s = start(&w, 0, 2);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    assert_false(has(s, 1, "x"));
    run(&w, 60 * SECOND);
    assert_true(has(s, 1, "x"));
    close_world(&w);
}

/* A store that is away holds nobody up, and all is there when it is back. */
static void waits_for_the_store(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    open_world(&w, 1);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    struct bucket_faults out = {.out = true};
    bucket_sim_faults(w.bucket, &out);
    for (int i = 0; i < 500; i++) {
        write_key(s, rng_below(&w.rng, KEYS), NULL);
        run(&w, 100000);
    }
    archive_status(s->archive, w.now_us, &status);
    assert_true(status.behind_us > 40 * SECOND);
    assert_true(status.failures > 0);
    assert_false(archive_is_flushed(s->archive));
    set_faults(&w, 0, 0);
    assert_true(flushes(&w, s, 30 * SECOND));
    struct site *reader = start(&w, 1, 2);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    same(s, reader);
    close_world(&w);
}

static void stops_where_conditions_are_ignored(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct bucket_faults faults = {.conditions = BUCKET_CONDITIONS_IGNORED};
    bucket_sim_faults(w.bucket, &faults);
    assert_true(reaches(&w, start(&w, 0, 1), ARCHIVE_STOPPED, 10 * SECOND));
    w.options.unconditional = true;
    struct site *s = start(&w, 1, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(s, 1, "x");
    assert_true(flushes(&w, s, 10 * SECOND));
    struct site *reader = start(&w, 2, 2);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(reader, 1, "x"));
    close_world(&w);
}

static void second_process_stops_with(int64_t list_lag_us) {
    struct world w;
    open_world(&w, 1);
    set_faults(&w, 0, list_lag_us);
    struct site *first = start(&w, 0, 1);
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, 10 * SECOND));
    w.options.place = "elsewhere";
    assert_true(reaches(&w, start(&w, 1, 1), ARCHIVE_STOPPED, 20 * SECOND));
    assert_int_equal(archive_phase(first->archive), ARCHIVE_STREAMING);
    stop(first);
    w.options.place = "here";
    first = start(&w, 0, 1); /* from its own place at once: who claimed since was refused */
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, SECOND));
    stop(first); /* dead: the next one from elsewhere waits a little, then is the node */
    w.options.place = "elsewhere";
    struct site *third = start(&w, 0, 1);
    assert_false(reaches(&w, third, ARCHIVE_READING, SECOND));
    assert_true(reaches(&w, third, ARCHIVE_STREAMING, 20 * SECOND));
    stop(third);
    struct site *fourth = start(&w, 0, 1); /* from the same place, at once */
    assert_true(reaches(&w, fourth, ARCHIVE_STREAMING, SECOND));
    /* One that slept while another became the node stops when it wakes. */
    w.sites[0] = NULL;
    w.options.place = "a third place";
    struct site *fifth = start(&w, 2, 1);
    assert_true(reaches(&w, fifth, ARCHIVE_STREAMING, 20 * SECOND));
    w.sites[0] = fourth;
    assert_true(reaches(&w, fourth, ARCHIVE_STOPPED, 20 * SECOND));
    assert_int_equal(archive_phase(fifth->archive), ARCHIVE_STREAMING);
    close_world(&w);
}
static void second_process_of_a_node_stops(void **state) {
    (void)state;
    second_process_stops_with(0);
    second_process_stops_with(3 * SECOND);
    second_process_stops_with(1000 * SECOND);
}

/* The image of a virtual machine, started twice: even the replica is the same. */
static void copies_of_a_process_stop(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *first = start(&w, 0, 1);
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, 10 * SECOND));
    w.incarnations--;
    struct site *copy = start(&w, 1, 1);
    assert_true(reaches(&w, copy, ARCHIVE_STREAMING, 10 * SECOND));
    for (int i = 0; i < 20; i++) {
        write_key(first, 1, "x");
        write_key(copy, 2, "y");
        run(&w, SECOND);
    }
    assert_true(archive_phase(first->archive) == ARCHIVE_STOPPED || archive_phase(copy->archive) == ARCHIVE_STOPPED);
    close_world(&w);
}

static void sealed_objects_need_their_key(void **state) {
    (void)state;
    struct world w;
    struct buf error = {0};
    open_world(&w, 1);
    assert_int_equal(keyring_parse(&w.options.keys, KEYRING_OBJECTS, bytes_str(KEY_A), &error), STATUS_OK);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(s, 1, "x");
    assert_true(flushes(&w, s, 10 * SECOND));
    struct keyring good = w.options.keys;
    assert_int_equal(keyring_parse(&w.options.keys, KEYRING_OBJECTS, bytes_str(KEY_B), &error), STATUS_OK);
    assert_true(reaches(&w, start(&w, 1, 2), ARCHIVE_STOPPED, 10 * SECOND));
    w.options.keys = good;
    struct site *reader = start(&w, 2, 3);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(reader, 1, "x"));
    keyring_cluster(&w.options.keys, bytes_str("another"), SHARDS);
    assert_true(reaches(&w, start(&w, 3, 4), ARCHIVE_STOPPED, 10 * SECOND));
    close_world(&w);
}

/* A cluster as it was: by time, by manifest; into another bucket. */
static void the_past_comes_back(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    open_world(&w, 1);
    w.options.settings.keep_ms = 3600000;
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(s, 1, "old");
    run(&w, 5 * SECOND);
    archive_save(s->archive);
    run(&w, 10 * SECOND);
    archive_status(s->archive, w.now_us, &status);
    assert_int_equal(status.manifest, 1);
    write_key(s, 1, "middle");
    run(&w, 5 * SECOND);
    int64_t then_ms = now_of(&w).wall_ms;
    run(&w, SECOND);
    write_key(s, 1, "new");
    for (int i = 0; i < 3; i++) {
        archive_save(s->archive);
        run(&w, 20 * SECOND);
    }
    struct bucket_sim *source = w.bucket;
    struct store past = store_sim_open(source, &settings);
    w.other = source;
    w.options.source.store = past;
    /* Not into where it comes from. */
    assert_true(reaches(&w, start(&w, 1, 2), ARCHIVE_STOPPED, 10 * SECOND));
    w.bucket = bucket_sim_new(2);
    w.options.source.until_ms = then_ms;
    struct site *restored = start(&w, 2, 3);
    assert_true(reaches(&w, restored, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(restored, 1, "middle"));
    assert_true(flushes(&w, restored, 10 * SECOND));
    /* What was restored is in the new bucket. */
    w.options.source = (struct archive_source){.until_ms = INT64_MAX};
    struct site *next = start(&w, 3, 4);
    assert_true(reaches(&w, next, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(next, 1, "middle"));
    stop(restored);
    stop(next);
    bucket_sim_free(w.bucket);
    w.bucket = bucket_sim_new(3);
    w.options.source = (struct archive_source){.store = past, .manifest = 1, .until_ms = INT64_MAX};
    struct site *oldest = start(&w, 2, 5);
    assert_true(reaches(&w, oldest, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(oldest, 1, "old"));
    stop(oldest);
    store_close(&past);
    close_world(&w);
}

/* Whatever one flipped bit takes away, the node starts, says so, and what a checkpoint covers twice is whole. */
static void damage_is_survived(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world w;
        struct archive_status status;
        open_world(&w, seed);
        struct site *s = start(&w, 0, 1);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        for (int i = 0; i < 100; i++) {
            write_key(s, rng_below(&w.rng, KEYS), NULL);
            run(&w, 200000);
        }
        assert_true(flushes(&w, s, 10 * SECOND));
        assert_true(bucket_sim_rot(w.bucket));
        struct site *reader = start(&w, 1, 2);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        archive_status(reader->archive, w.now_us, &status);
        assert_true(status.read_damaged <= 2);
        /* It heals: the node that has all makes the store whole again. */
        hear(reader, s);
        archive_save(reader->archive);
        run(&w, 30 * SECOND);
        assert_true(flushes(&w, reader, 10 * SECOND));
        struct site *after = start(&w, 2, 3);
        assert_true(reaches(&w, after, ARCHIVE_STREAMING, 10 * SECOND));
        same(s, after);
        close_world(&w);
    }
}

/* What two manifests cover is there, whichever one object rots. */
static void covered_twice_is_safe(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world w;
        open_world(&w, seed);
        struct site *s = start(&w, 0, 1);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        for (int i = 0; i < 4; i++) {
            for (int n = 0; n < 10; n++) write_key(s, rng_below(&w.rng, KEYS), NULL);
            run(&w, SECOND);
            archive_save(s->archive);
            run(&w, 10 * SECOND);
        }
        assert_true(bucket_sim_rot(w.bucket));
        struct site *reader = start(&w, 1, 2);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        same(s, reader);
        close_world(&w);
    }
}

/* One request, by somebody else. */
static void ask(struct world *w, struct store_request *r) {
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    struct store store = store_sim_open(w->bucket, &settings);
    struct store_request *answered;
    assert_int_equal(store_submit(&store, r), STATUS_OK);
    while (!(answered = store_poll(&store))) run(w, 100000);
    assert_ptr_equal(answered, r);
    assert_int_equal(r->result, STORE_DONE);
    store_close(&store);
}

static void put(struct world *w, const char *key, const char *text) {
    struct store_request r = {.op = STORE_PUT, .key = bytes_str(key), .body = bytes_str(text)};
    ask(w, &r);
    store_request_fini(&r);
}

static size_t count_of(struct world *w, const char *prefix, uint64_t *bytes) {
    struct store_request list = {.op = STORE_LIST, .key = bytes_str(prefix), .limit = STORE_PAGE_MAX};
    ask(w, &list);
    size_t count = list.count;
    *bytes = 0;
    for (size_t i = 0; i < count; i++) *bytes += list.entries[i].size;
    store_request_fini(&list);
    return count;
}

/* As many checkpoints as were asked for, and next to nothing of what they cover: of the node that makes them, and of another. */
static void keeps_what_it_was_told_to(void **state) {
    (void)state;
    static char large[100000];
    for (uint32_t checkpoints = 1; checkpoints <= 3; checkpoints++) {
        struct world w;
        uint64_t bytes, part_bytes;
        open_world(&w, checkpoints);
        w.options.settings.checkpoints = checkpoints;
        w.options.settings.rewrite_percent = 0; /* but for those that are asked for */
        struct site *s = start(&w, 0, 1), *other = start(&w, 1, 2);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        assert_true(reaches(&w, other, ARCHIVE_STREAMING, 10 * SECOND));
        for (int i = 0; i < 5; i++) {
            for (size_t k = 0; k + 1 < sizeof large; k++) large[k] = (char)(1 + rng_below(&w.rng, 255)); /* does not compress */
            write_key(s, 1, large);
            write_key(other, 2, large);
            hear(s, other);
            hear(other, s);
            run(&w, 5 * SECOND);
            archive_save(s->archive);
            run(&w, 20 * SECOND);
        }
        for (uint32_t i = 0; i < checkpoints; i++) { /* until the oldest that is kept covers all, and the other one has seen it */
            archive_save(s->archive);
            run(&w, 20 * SECOND);
        }
        assert_int_equal(count_of(&w, "manifest/", &bytes), checkpoints);
        count_of(&w, "checkpoint/", &part_bytes);
        assert_true(part_bytes > checkpoints * sizeof large);
        count_of(&w, "segment/", &bytes);
        assert_true(bytes < sizeof large);
        close_world(&w);
    }
}

/* If the process dies first, and others close its stream, what is not in there is void; no checkpoint may have it. */
static void a_checkpoint_waits_for_what_is_not_streamed(void **state) {
    (void)state;
    struct world w;
    uint64_t bytes;
    open_world(&w, 1);
    w.options.settings.segment_us = 30 * SECOND;
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(s, 1, "streamed");
    run(&w, SECOND);
    write_key(s, 1, "not yet");
    archive_save(s->archive);
    run(&w, 15 * SECOND);
    assert_int_equal(count_of(&w, "manifest/", &bytes), 0);
    run(&w, 40 * SECOND);
    assert_int_equal(count_of(&w, "manifest/", &bytes), 1);
    close_world(&w);
}

/* Two checkpoints of one that is dead now are named on by one that never heard of it, though the second manifest is damaged, or
 * somebody else's object is listed behind it. */
static void parts_of_the_dead_stay_named(void **state) {
    (void)state;
    static const char *const damage[] = {"manifest/00000000000000000002", "manifest/not-ours", NULL};
    for (int what = 0; what < 3; what++) {
        struct world w;
        open_world(&w, 1);
        struct site *lives = start(&w, 0, 1);
        assert_true(reaches(&w, lives, ARCHIVE_STREAMING, 10 * SECOND));
        struct site *dies = start(&w, 1, 2);
        assert_true(reaches(&w, dies, ARCHIVE_STREAMING, 10 * SECOND));
        for (int i = 0; i < 2; i++) {
            for (uint64_t k = 0; k < KEYS; k++) write_key(dies, k, "of the dead");
            run(&w, SECOND);
            archive_save(dies->archive);
            run(&w, 20 * SECOND);
        }
        stop(dies);
        if (damage[what]) put(&w, damage[what], "rot");
        for (int i = 0; i < 4; i++) {
            write_key(lives, KEYS + 1, "x");
            archive_save(lives->archive);
            run(&w, 20 * SECOND);
        }
        struct site *reader = start(&w, 2, 3);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        for (uint64_t k = 0; k < KEYS; k++) assert_true(has(reader, k, "of the dead"));
        close_world(&w);
    }
}

/* The ends of the streams of two that were this node are there, and cannot be had: a start gives both up, and asks for neither again. */
static void hidden_ends_are_not_asked_for_without_end(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct replica_id dead[2] = {{1, 1000}, {1, 1001}};
    for (uint64_t number = 0; number < 2; number++) {
        for (int i = 0; i < 2; i++) {
            char key[LAYOUT_KEY_BYTES];
            layout_segment_key(key, dead[i], number);
            put(&w, key, "rot");
        }
        run(&w, 100 * SECOND * (number == 0));
    }
    set_faults(&w, 0, 50 * SECOND);
    w.blind = true;
    struct site *s = start(&w, 0, 1);
    struct bucket_stats before, after;
    bucket_sim_stats(w.bucket, &before);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    bucket_sim_stats(w.bucket, &after);
    assert_true(after.hidden > before.hidden);
    assert_true(after.requests - before.requests < 100);
    close_world(&w);
}

/* One that nobody has heard of writes, makes checkpoints, which take the place of its segments, and dies. */
static void what_checkpoints_cover_of_the_dead_is_read(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    open_world(&w, 1);
    struct site *lives = start(&w, 0, 1), *dies = start(&w, 1, 2);
    assert_true(reaches(&w, lives, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(reaches(&w, dies, ARCHIVE_STREAMING, 10 * SECOND));
    for (uint64_t n = 0; n < 4; n++) {
        for (uint64_t k = 0; k < SHARDS; k++) write_key(dies, n * SHARDS + k, "x");
        assert_true(flushes(&w, dies, SECOND));
        if (n < 3) archive_save(dies->archive);
        run(&w, SECOND);
    }
    archive_status(dies->archive, w.now_us, &status);
    assert_true(status.deleted > 0);
    stop(dies);
    assert_false(has(lives, 0, "x"));
    run(&w, 30 * SECOND);
    for (uint64_t k = 0; k < 4 * SHARDS; k++) assert_true(has(lives, k, "x"));
    close_world(&w);
}

static void empty(struct world *w) {
    struct store_request list = {.op = STORE_LIST, .limit = STORE_PAGE_MAX};
    ask(w, &list);
    assert_true(list.count > 2);
    for (size_t i = 0; i < list.count; i++) {
        struct store_request r = {.op = STORE_DELETE, .key = list.entries[i].key};
        ask(w, &r);
        store_request_fini(&r);
    }
    store_request_fini(&list);
}

/* Somebody deletes everything, under a node that runs, after its first checkpoint or before: it sees that, and its next one has all. */
static void an_emptied_store_is_filled_again(void **state) {
    (void)state;
    for (int checkpoints = 0; checkpoints < 2; checkpoints++) {
        struct world w;
        struct archive_status status;
        open_world(&w, 1);
        w.options.settings.rewrite_bytes_min = 1 << 20;
        struct site *s = start(&w, 0, 1);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        for (uint64_t k = 0; k < KEYS; k++) write_key(s, k, "x");
        if (checkpoints) archive_save(s->archive);
        run(&w, 20 * SECOND);
        archive_status(s->archive, w.now_us, &status);
        assert_int_equal(status.checkpoints, checkpoints);
        empty(&w);
        run(&w, 20 * SECOND);
        archive_status(s->archive, w.now_us, &status);
        assert_int_equal(status.checkpoints, checkpoints + 1);
        struct site *reader = start(&w, 1, 2);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        same(s, reader);
        close_world(&w);
    }
}

/* What a node has from its disk and the store lacks is streamed by its next process. */
static void the_rest_is_owed(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    struct bucket_faults out = {.out = true};
    bucket_sim_faults(w.bucket, &out);
    for (int i = 0; i < 50; i++) write_key(s, rng_below(&w.rng, KEYS), NULL);
    run(&w, 10 * SECOND);
    set_faults(&w, 0, 0);
    struct site *next = start(&w, 1, 7);
    hear(next, s); /* as from a log */
    w.sites[0] = NULL;
    assert_true(reaches(&w, next, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(flushes(&w, next, 10 * SECOND));
    struct site *reader = start(&w, 2, 8);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    same(next, reader);
    same(s, reader);
    w.sites[0] = s;
    close_world(&w);
}

static int64_t behind_us(struct world *w, struct site *s) {
    struct archive_status status;
    archive_status(s->archive, w->now_us, &status);
    return status.behind_us;
}

/* Whoever reads 0 may switch the machine off: not in the moment of the write, nor between two of many segments. */
static void behind_until_all_is_stored(void **state) {
    (void)state;
    struct world w;
    char value[4096];
    open_world(&w, 1);
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    for (int big = 0; big < 2; big++) { /* big: the log forgets, and shards are owed */
        int64_t last_us = 0;
        for (uint64_t k = 0; k < KEYS; k++) write_key(s, k, big ? value : "some value");
        assert_true(behind_us(&w, s) > 0);
        for (int step = 0; step < 20000 && !archive_is_flushed(s->archive); step++) {
            last_us = behind_us(&w, s);
            run(&w, 100);
            assert_true(archive_is_flushed(s->archive) || behind_us(&w, s) > last_us);
        }
        assert_true(last_us > 1000);
        assert_int_equal(behind_us(&w, s), 0);
    }
    close_world(&w);
}

/* Who has it all from its disk reads heads, and what came since. */
static void what_is_here_is_not_read(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    struct bucket_stats stats;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1 << 20;
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    for (int i = 0; i < 300; i++) {
        write_key(s, rng_below(&w.rng, KEYS), NULL);
        run(&w, 200000);
        if (i == 200) archive_save(s->archive);
    }
    assert_true(flushes(&w, s, 10 * SECOND));
    struct site *next = start(&w, 1, 2);
    hear(next, s);
    for (int i = 0; i < 10; i++) {
        write_key(s, rng_below(&w.rng, KEYS), "since");
        run(&w, 200000 * (i > 0)); /* the first is written before the other one has looked */
    }
    assert_true(flushes(&w, s, 10 * SECOND));
    assert_true(reaches(&w, next, ARCHIVE_STREAMING, 10 * SECOND));
    archive_status(next->archive, w.now_us, &status);
    bucket_sim_stats(w.bucket, &stats);
    assert_true(stats.objects > 150);
    assert_true(status.read_objects < 20);
    assert_true(status.read_messages > 0);
    assert_int_equal(status.segment_images, 0);
    hear(next, s);
    same(next, s);
    struct site *reader = start(&w, 2, 3);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    same(reader, s);
    close_world(&w);
}

/* One that dies before it has streamed what others heard of it: they do. */
static void tails_are_streamed(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    open_world(&w, 1);
    struct site *a = start(&w, 0, 1), *b = start(&w, 1, 2);
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(reaches(&w, b, ARCHIVE_STREAMING, 10 * SECOND));
    for (int round = 0; round < 2; round++) { /* with a stream and a manifest that tell of it, the second time */
        archive_alive(a->archive, &b->id, 1);
        write_key(b, 1, round ? "y" : "x");
        hear(a, b);
        struct replica_id other = {7, 7};
        if (round) {
            stop(b);
        } else {
            assert_true(flushes(&w, b, 10 * SECOND));
            archive_save(b->archive);
            run(&w, 5 * SECOND);
        }
        archive_alive(a->archive, &other, 1);
        run(&w, 20 * SECOND);
        archive_status(a->archive, w.now_us, &status);
        assert_int_equal(status.tails, round);
    }
    struct site *reader = start(&w, 2, 3);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(reader, 1, "y"));
    same(a, reader);
    close_world(&w);
}

/* As if its disk had brought back all that `was` had. */
static struct site *start_again(struct world *w, uint32_t place, struct site *was) {
    w->options.before = was->id;
    struct site *s = start(w, place, was->id.node);
    w->options.before = (struct replica_id){0};
    hear(s, was);
    return s;
}

/* The cluster may say that what a node brings back is void: it is not passed on before there was time to, unless the node ends. */
static void what_a_start_brings_waits_to_be_called_void(void **state) {
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        struct world w;
        open_world(&w, 1);
        struct site *was = start(&w, 0, 1);
        assert_true(reaches(&w, was, ARCHIVE_STREAMING, 10 * SECOND));
        was->due_us = INT64_MAX; /* it streams no more */
        w.sites[0] = NULL;
        write_key(was, 1, "on the disk alone");
        struct site *s = start_again(&w, 1, was);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        run(&w, 5 * SECOND);
        struct site *reader = start(&w, 2, 3);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        assert_false(has(reader, 1, "on the disk alone"));
        stop(reader);
        if (ends) assert_true(flushes(&w, s, SECOND));
        else run(&w, 7 * SECOND);
        reader = start(&w, 2, 4);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        assert_true(has(reader, 1, "on the disk alone"));
        w.sites[0] = was;
        close_world(&w);
    }
}

/* Whoever asks again and again finds out, if it is so, or comes to be. */
static bool finds_closed(struct world *w, struct site *by, struct replica_id id, bool close, bool for_good, int64_t within_us) {
    for (int64_t us = 0; us < within_us && !archive_is_closed(by->archive, id, close, for_good); us += SECOND / 10) run(w, SECOND / 10);
    return archive_is_closed(by->archive, id, close, for_good);
}

/* Two nodes, of which the first has written and streamed. */
static void start_two(struct world *w, struct site **a, struct site **b) {
    *a = start(w, 0, 1);
    *b = start(w, 1, 2);
    assert_true(reaches(w, *a, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(reaches(w, *b, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(*a, 1, "streamed");
    assert_true(flushes(w, *a, 10 * SECOND));
}

/* It is down; what its disk has, some of it not streamed, is in its memory. */
static void goes_down_with_more(struct world *w, struct site *a) {
    write_key(a, 2, "on the disk alone");
    a->due_us = INT64_MAX;
    w->sites[0] = NULL;
}

/* Longer than garbage waits. */
static void nine_hours_of_checkpoints(struct world *w, struct site *by) {
    for (int hour = 0; hour < 9; hour++) {
        write_key(by, 5, "x");
        run(w, 10 * SECOND);
        archive_save(by->archive);
        run(w, 3590 * SECOND);
    }
}

/* What it had read of them is void with all the rest: it must not count them as read before it has done so again. */
static void who_starts_over_reads_the_dead_anew(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *a, *b;
    start_two(&w, &a, &b);
    struct replica_id dead = a->id;
    stop(a);
    for (int again = 0; again < 2; again++) {
        assert_false(archive_is_closed(b->archive, dead, true, true));
        assert_true(finds_closed(&w, b, dead, true, true, 10 * SECOND));
        assert_true(has(b, 1, "streamed"));
        on_closed(b, b->id);
        assert_false(has(b, 1, "streamed"));
    }
    close_world(&w);
}

/* Resets may be forgotten that it never heard of: had it been up, it would have been told so. */
static void whose_stream_was_closed_while_it_was_down_starts_over(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct world w;
        open_world(&w, 1);
        struct site *a, *b;
        start_two(&w, &a, &b);
        goes_down_with_more(&w, a);
        if (closed) assert_true(finds_closed(&w, b, a->id, true, true, 10 * SECOND));
        for (int again = 0; again < 3; again++) { /* it closes the stream itself, if nobody else has; and again it ends before it is up */
            struct site *next = start_again(&w, 2, a);
            assert_true(reaches(&w, next, ARCHIVE_STREAMING, 30 * SECOND));
            assert_int_equal(next->closed, closed);
            assert_true(has(next, 1, "streamed"));
            assert_int_equal(has(next, 2, "on the disk alone"), !closed);
            stop(next);
        }
        w.sites[0] = a;
        close_world(&w);
    }
}

static void that_a_stream_was_closed_is_found_long_after(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1;
    struct site *a, *b;
    start_two(&w, &a, &b);
    goes_down_with_more(&w, a);
    assert_true(finds_closed(&w, b, a->id, true, true, 10 * SECOND));
    nine_hours_of_checkpoints(&w, b);
    struct site *next = start_again(&w, 2, a);
    assert_true(reaches(&w, next, ARCHIVE_STREAMING, 30 * SECOND));
    assert_int_equal(next->closed, 1);
    assert_false(has(next, 2, "on the disk alone"));
    w.sites[0] = a;
    close_world(&w);
}

/* What its next process closed is garbage some hours later, and tells a node that comes then nothing else. */
static void what_was_closed_and_collected_is_closed(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1;
    struct site *a = start(&w, 0, 1);
    struct replica_id first = a->id;
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(a, 1, "streamed");
    assert_true(flushes(&w, a, 10 * SECOND));
    stop(a);
    a = start(&w, 0, 1);
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
    nine_hours_of_checkpoints(&w, a);
    struct site *b = start(&w, 1, 2);
    assert_true(reaches(&w, b, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(b, 1, "streamed"));
    assert_false(archive_is_closed(b->archive, first, false, false));
    assert_true(finds_closed(&w, b, first, false, false, 30 * SECOND));
    assert_false(archive_is_closed(b->archive, first, false, true));
    close_world(&w);
}

static void who_starts_over_in_the_midst_of_a_step_streams_all_of_it(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct world w;
        struct archive_status status;
        open_world(&w, 1);
        struct site *a = start(&w, 0, 1), *b = start(&w, 1, 2);
        assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
        assert_true(reaches(&w, b, ARCHIVE_STREAMING, 10 * SECOND));
        for (uint64_t i = 0; i < 12; i++) write_key(a, i % 3, "before");
        run(&w, 5 * SECOND);
        if (closed) assert_true(finds_closed(&w, b, a->id, true, true, 10 * SECOND));
        run(&w, SECOND);
        a->starts_over = true;
        run(&w, 30 * SECOND);
        assert_true(has(a, 2, "since"));
        struct site *reader = start(&w, 2, 3);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 30 * SECOND));
        assert_true(has(reader, 2, "since"));
        archive_status(reader->archive, w.now_us, &status);
        assert_int_equal(status.read_gaps, 0);
        close_world(&w);
    }
}

static void a_checkpoint_of_who_starts_over_is_not_named(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    open_world(&w, 1);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    for (uint64_t k = 0; k < SHARDS; k++) write_key(s, k, "x");
    assert_true(flushes(&w, s, 10 * SECOND));
    s->starts_over_late = true;
    archive_save(s->archive);
    run(&w, 2 * SECOND);
    assert_int_equal(s->closed, 1);
    archive_status(s->archive, w.now_us, &status);
    assert_int_equal(status.checkpoints, 0);
    archive_save(s->archive);
    run(&w, 5 * SECOND);
    archive_status(s->archive, w.now_us, &status);
    assert_int_equal(status.checkpoints, 1);
    close_world(&w);
}

static void looking_does_not_close(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *a, *b;
    start_two(&w, &a, &b);
    struct replica_id first = a->id;
    for (int i = 0; i < 100; i++, run(&w, SECOND / 10)) assert_false(archive_is_closed(b->archive, first, false, false));
    assert_true(has(b, 1, "streamed"));
    stop(a);
    a = start(&w, 0, 1); /* it closes what it wrote before */
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(finds_closed(&w, b, first, false, false, 10 * SECOND));
    for (int i = 0; i < 100; i++, run(&w, SECOND / 10)) assert_false(archive_is_closed(b->archive, first, false, true));
    assert_true(finds_closed(&w, b, first, true, true, 10 * SECOND));
    close_world(&w);
}

static void tables_of_members_come_back(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    archive_members(s->archive, bytes_str("table"));
    run(&w, SECOND);
    struct site *reader = start(&w, 1, 2);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    assert_int_equal(reader->heard, 5);
    close_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back), cmocka_unit_test(comes_back_from_a_bad_store),
        cmocka_unit_test(comes_back_from_one_that_lists_late), cmocka_unit_test(stays_small), cmocka_unit_test(what_is_listed_late_is_read_then),
        cmocka_unit_test(waits_for_the_store), cmocka_unit_test(stops_where_conditions_are_ignored),
        cmocka_unit_test(second_process_of_a_node_stops), cmocka_unit_test(copies_of_a_process_stop),
        cmocka_unit_test(sealed_objects_need_their_key), cmocka_unit_test(the_past_comes_back), cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(covered_twice_is_safe), cmocka_unit_test(keeps_what_it_was_told_to),
        cmocka_unit_test(a_checkpoint_waits_for_what_is_not_streamed), cmocka_unit_test(parts_of_the_dead_stay_named),
        cmocka_unit_test(hidden_ends_are_not_asked_for_without_end), cmocka_unit_test(what_checkpoints_cover_of_the_dead_is_read),
        cmocka_unit_test(an_emptied_store_is_filled_again), cmocka_unit_test(the_rest_is_owed), cmocka_unit_test(what_is_here_is_not_read),
        cmocka_unit_test(tails_are_streamed), cmocka_unit_test(behind_until_all_is_stored), cmocka_unit_test(tables_of_members_come_back),
        cmocka_unit_test(what_a_start_brings_waits_to_be_called_void), cmocka_unit_test(who_starts_over_reads_the_dead_anew),
        cmocka_unit_test(whose_stream_was_closed_while_it_was_down_starts_over),
        cmocka_unit_test(that_a_stream_was_closed_is_found_long_after), cmocka_unit_test(what_was_closed_and_collected_is_closed),
        cmocka_unit_test(who_starts_over_in_the_midst_of_a_step_streams_all_of_it), cmocka_unit_test(looking_does_not_close),
        cmocka_unit_test(a_checkpoint_of_who_starts_over_is_not_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
