/* What was streamed comes back: nodes that write, hear of each other now and then, die, and start again with what the store has,
 * on a store that fails in every way it may. */
#include "test/unit/archive_world.h"

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

/* More than its log holds, so that an image of the shard is streamed. */
static void write_much(struct site *s, uint32_t shard) {
    for (uint32_t i = 1; i < 60; i++) write_key(s, shard + i * SHARDS, "x");
}

/* What one wrote that is no more is in one of its peer's images alone. Who has all of that peer's own, and the other images, and what
 * it streamed later, has not got it: neither does he take it for read when he starts, nor does his checkpoint cover it. */
static void an_image_holds_more_than_its_writers_own(void **state) {
    (void)state;
    for (int later = 0; later < 2; later++) {
        struct world w;
        open_world(&w, 1);
        w.options.segment_bytes = 100000; /* both images in one */
        w.options.settings.rewrite_bytes_min = UINT64_MAX; /* no checkpoint but those that are asked for */
        struct site *a = start(&w, 0, 1), *b = start(&w, 1, 2), *c = start(&w, 2, 3);
        for (int i = 0; i < 3; i++) assert_true(reaches(&w, w.sites[i], ARCHIVE_STREAMING, 20 * SECOND));
        archive_alive(b->archive, &a->id, 1);
        run(&w, 5 * SECOND);
        write_much(a, 0);
        write_much(a, 1);
        hear(b, a);
        write_key(c, 1, "of the dead");
        hear(a, c);
        stop(c);
        assert_true(flushes(&w, a, 10 * SECOND));
        if (later) {
            write_key(a, 0, "later");
            assert_true(flushes(&w, a, 10 * SECOND));
            hear_shard(b, a, 0);
        }
        stop(a);
        struct site *had = start(&w, 2, 4);
        hear(had, b); /* as from its disk */
        assert_true(reaches(&w, had, ARCHIVE_STREAMING, 10 * SECOND));
        assert_true(has(had, 1, "of the dead"));
        stop(had);
        nine_hours_of_checkpoints(&w, b);
        assert_false(has(b, 1, "of the dead"));
        struct site *reader = start(&w, 3, 5);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        assert_true(has(reader, 1, "of the dead"));
        close_world(&w);
    }
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
        cmocka_unit_test(comes_back), cmocka_unit_test(comes_back_from_a_bad_store), cmocka_unit_test(comes_back_from_one_that_lists_late),
        cmocka_unit_test(stays_small), cmocka_unit_test(what_is_listed_late_is_read_then), cmocka_unit_test(waits_for_the_store),
        cmocka_unit_test(stops_where_conditions_are_ignored), cmocka_unit_test(sealed_objects_need_their_key),
        cmocka_unit_test(the_past_comes_back), cmocka_unit_test(damage_is_survived), cmocka_unit_test(covered_twice_is_safe),
        cmocka_unit_test(keeps_what_it_was_told_to), cmocka_unit_test(a_checkpoint_waits_for_what_is_not_streamed),
        cmocka_unit_test(parts_of_the_dead_stay_named), cmocka_unit_test(what_checkpoints_cover_of_the_dead_is_read),
        cmocka_unit_test(an_emptied_store_is_filled_again), cmocka_unit_test(the_rest_is_owed),
        cmocka_unit_test(behind_until_all_is_stored), cmocka_unit_test(what_is_here_is_not_read), cmocka_unit_test(tails_are_streamed),
        cmocka_unit_test(an_image_holds_more_than_its_writers_own), cmocka_unit_test(tables_of_members_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
