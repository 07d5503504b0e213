/* What was committed comes back, whatever the disk did meanwhile.
 *
 * One origin writes at random; the state after each commit that succeeded is known by its
 * digests. After a crash the recovered shards must be that state, if nothing was written since. */
#define _GNU_SOURCE /* memmem, RTLD_NEXT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "core/mem.h"
#include "persist/disk_posix.h"
#include "persist/keeper.h"
#include "sim/disk.h"
#include "test/exchange.h"

enum { SHARDS = 3, KEYS = 12 };

struct world {
    struct rng rng;
    struct disk_sim *sim;
    struct disk_port disk;
    struct replicas *replicas;
    struct shard *shards[SHARDS];
    struct keeper *keeper;
    uint64_t incarnation;
    struct now now;
    struct keeper_recovery recovery;
    enum keeper_sync sync;
    uint64_t image_bytes_max;
    bool no_logs;
};

static enum status try_start(struct world *w) {
    struct buf error = {0};
    uint16_t self;
    w->replicas = replicas_new();
    assert_int_equal(replicas_intern(w->replicas, (struct replica_id){1, ++w->incarnation}, &self), STATUS_OK);
    struct shard_config shard = {.replicas = w->replicas, .self = self, .log_bytes_max = 400}; /* so that images are needed */
    for (uint32_t s = 0; s < SHARDS; s++) w->shards[s] = shard_new(s, &shard);
    struct keeper_config config = {.disk = w->disk, .shards = w->shards, .shard_count = SHARDS, .replicas = w->replicas, .cluster = "c",
                                   .logs = !w->no_logs, .sync = w->sync, .image_bytes_max = w->image_bytes_max, .rewrite_percent = 100, .rewrite_bytes_min = 3000,
                                   .threads = w->incarnation % 8 ? 1 : 3}; /* several are slow to start */
    w->keeper = keeper_new(&config);
    enum status status = keeper_recover(w->keeper, w->now.wall_ms, &w->recovery, &error);
    buf_fini(&error);
    return status;
}

static void start(struct world *w) { assert_int_equal(try_start(w), STATUS_OK); }

static void stop(struct world *w) {
    keeper_free(w->keeper);
    for (int s = 0; s < SHARDS; s++) shard_free(w->shards[s]);
    replicas_free(w->replicas);
}

static void open_world(struct world *w, uint64_t seed, enum keeper_sync sync) {
    *w = (struct world){.now = {1000000, 1000000}, .sync = sync};
    rng_seed(&w->rng, seed);
    w->sim = disk_sim_new(seed);
    disk_sim_holes(w->sim, 50);
    w->disk = disk_sim_port(w->sim);
    start(w);
}

static void restart(struct world *w) {
    stop(w);
    disk_sim_kill(w->sim);
    start(w);
}

/* What was not synced is lost. */
static void restart_machine(struct world *w) {
    stop(w);
    disk_sim_crash(w->sim);
    start(w);
}

static void close_world(struct world *w) {
    stop(w);
    disk_sim_free(w->sim);
}

static uint64_t digest(const struct world *w) {
    uint64_t sum = 0;
    for (uint32_t s = 0; s < SHARDS; s++) {
        uint64_t state = shard_digest(w->shards[s]) ^ (s + 1) * UINT64_C(0x9e3779b97f4a7c15);
        sum += rng_mix(&state);
    }
    return sum;
}

static void write_something(struct world *w) {
    struct shard *shard = w->shards[rng_below(&w->rng, SHARDS)];
    uint64_t number = rng_below(&w->rng, KEYS);
    char name[16], value[64];
    snprintf(name, sizeof name, "k%d", (int)number);
    snprintf(value, sizeof value, "%.*s%d", (int)rng_below(&w->rng, 40), "valuevaluevaluevaluevaluevaluevaluevalue", (int)rng_below(&w->rng, 99));
    struct key_ref ref = shard_ref(shard, bytes_str(name));
    int64_t now = w->now.wall_ms;
    shard_lock(shard);
    switch (rng_below(&w->rng, 9)) {
    case 0: shard_increase(shard, ref, FIXED_ONE * 3, now); break;
    case 1: shard_add_member(shard, ref, bytes_str(value), now); break;
    case 2: shard_set_field(shard, ref, bytes_str("f"), bytes_str(value), now); break;
    case 3: (void)shard_delete(shard, ref, now); break;
    case 4: shard_expire(shard, ref, now + 100000, now); break;
    case 5: if (rng_percent(&w->rng, 10)) shard_flush(shard, now); break;
    case 6: shard_increase_field(shard, ref, bytes_str("n"), FIXED_ONE, now); break;
    default: shard_set(shard, ref, bytes_str(value), rng_percent(&w->rng, 30), now);
    }
    shard_unlock(shard);
    for (uint32_t s = 0; s < SHARDS; s++)
        if (w->shards[s] == shard) keeper_dirty(w->keeper, s);
}

/* As gossip does when nobody else is there: logs are cut. */
static void forget_logs(struct world *w) {
    for (int s = 0; s < SHARDS; s++) {
        shard_lock(w->shards[s]);
        shard_stable(w->shards[s], shard_applied(w->shards[s]));
        shard_unlock(w->shards[s]);
    }
}

static void steps(struct world *w, int count) {
    for (int i = 0; i < count; i++) {
        w->now.mono_us += 150000;
        w->now.wall_ms += 150;
        keeper_step(w->keeper, w->now);
    }
}

static void some_writes(struct world *w) {
    uint64_t many = rng_percent(&w->rng, 5) ? 300 : 6; /* more than a log of mutations takes */
    for (uint64_t n = rng_below(&w->rng, many); n > 0; n--) write_something(w);
    if (rng_percent(&w->rng, 40)) forget_logs(w);
    if (rng_percent(&w->rng, 40)) steps(w, 1 + (int)rng_below(&w->rng, 4));
}

static void what_was_committed_comes_back(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct world w;
        open_world(&w, seed, seed % 2 ? SYNC_ALWAYS : SYNC_NO);
        for (int round = 0; round < 8; round++) {
            for (int i = 0; i < 30; i++) {
                some_writes(&w);
                assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
            }
            uint64_t before = digest(&w);
            stop(&w);
            if (w.sync == SYNC_ALWAYS)
                disk_sim_crash(w.sim); /* the machine */
            else
                disk_sim_kill(w.sim); /* the process */
            start(&w);
            assert_int_equal(digest(&w), before);
            assert_int_equal(w.recovery.gaps + w.recovery.malformed + w.recovery.damaged, 0);
        }
        assert_true(disk_sim_bytes(w.sim) < 100000); /* logs are compacted */
        close_world(&w);
    }
}

/* A commit that says OK is kept, between all that fail. */
static void a_disk_that_fails_costs_what_was_refused(void **state) {
    (void)state;
    uint64_t refused = 0, healed = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct world w;
        open_world(&w, seed, SYNC_ALWAYS);
        bool failing = false;
        for (int i = 0; i < 150; i++) {
            if (rng_percent(&w.rng, 10)) disk_sim_fail(w.sim, (uint32_t)rng_below(&w.rng, 2) * 300000, (uint32_t)rng_below(&w.rng, 2) * 300000);
            if (rng_percent(&w.rng, 5)) disk_sim_limit(w.sim, disk_sim_bytes(w.sim) + rng_below(&w.rng, 200));
            if (rng_percent(&w.rng, 20)) disk_sim_limit(w.sim, UINT64_MAX);
            if (!failing) some_writes(&w);
            bool ok = keeper_commit(w.keeper) == STATUS_OK;
            if (failing && ok) healed++;
            if (!failing && !ok) refused++;
            failing = !ok;
            assert_int_equal(failing, keeper_failure(w.keeper) != STATUS_OK);
            if (failing) steps(&w, 10);
        }
        disk_sim_fail(w.sim, 0, 0);
        disk_sim_limit(w.sim, UINT64_MAX);
        steps(&w, 40);
        assert_int_equal(keeper_commit(w.keeper), STATUS_OK); /* it heals */
        uint64_t before = digest(&w);
        restart_machine(&w);
        assert_int_equal(digest(&w), before);
        close_world(&w);
    }
    assert_true(refused > 100);
    assert_true(healed > 100);
}

static void count_log(void *count, const char *name, uint64_t size) {
    (void)size;
    *(int *)count += strncmp(name, "anneal-log.", 11) == 0;
}

/* It is tried each second whether the disk is well, perhaps for days. */
static void a_disk_that_stays_full_gets_no_more_files(void **state) {
    (void)state;
    for (uint64_t room = 0; room <= 100; room += 100) { /* for a log that says nothing as well */
        struct world w;
        int logs = 0;
        open_world(&w, 9, SYNC_ALWAYS);
        for (int i = 0; i < 20; i++) write_something(&w);
        assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
        disk_sim_limit(w.sim, disk_sim_bytes(w.sim));
        for (uint64_t before = digest(&w); digest(&w) == before;) write_something(&w);
        assert_int_equal(keeper_commit(w.keeper), STATUS_ERR_FULL);
        disk_sim_limit(w.sim, disk_sim_bytes(w.sim) + room);
        steps(&w, 200);
        assert_int_equal(keeper_failure(w.keeper), STATUS_ERR_FULL);
        struct keeper_status status;
        keeper_status(w.keeper, &status);
        assert_true(status.commits_failed > 0);
        assert_int_equal(w.disk.list(w.disk.self, count_log, &logs), STATUS_OK);
        assert_in_range(logs, 1, 2);
        disk_sim_limit(w.sim, UINT64_MAX);
        steps(&w, 20);
        assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
        uint64_t before = digest(&w);
        restart_machine(&w);
        assert_int_equal(digest(&w), before);
        close_world(&w);
    }
}

/* Clients decide how large it gets. */
static void a_shard_that_no_record_holds_fails_what_needs_its_image(void **state) {
    (void)state;
    struct world w;
    struct keeper_status status;
    open_world(&w, 11, SYNC_ALWAYS);
    for (int i = 0; i < 20; i++) write_something(&w);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    stop(&w);
    disk_sim_kill(w.sim);
    w.image_bytes_max = 100;
    start(&w);
    uint64_t before = digest(&w);
    keeper_save(w.keeper, false);
    steps(&w, 10);
    keeper_status(w.keeper, &status);
    assert_int_equal(status.saves, 1);
    assert_int_equal(status.last_save, STATUS_ERR_TOO_LARGE);
    assert_false(disk_sim_has(w.sim, "anneal-checkpoint.tmp")); /* what there is of it would fill the disk */
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK); /* deltas are logged all the same */
    keeper_changed(w.keeper, 0);
    keeper_changed(w.keeper, 1);
    keeper_changed(w.keeper, 2);
    steps(&w, 10);
    assert_int_equal(keeper_failure(w.keeper), STATUS_ERR_TOO_LARGE);
    assert_int_equal(keeper_commit(w.keeper), STATUS_ERR_TOO_LARGE);
    w.image_bytes_max = 0;
    restart(&w);
    assert_int_equal(digest(&w), before);
    steps(&w, 20);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    close_world(&w);
}

/* A sync fails, and the process ends before it made up for it. The next one reads what was to be synced, and can sync it, and
 * still it is not on the disk: that one must not take it for kept before it has written it anew. */
static void what_a_failed_sync_lost_is_written_anew_by_the_next_process(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world w;
        bool at_start = seed % 2; /* the sync that fails is that of the logs that a start has read */
        open_world(&w, seed, at_start ? SYNC_NO : SYNC_ALWAYS);
        some_writes(&w);
        for (uint64_t empty = digest(&w); digest(&w) == empty;) write_something(&w);
        disk_sim_fail(w.sim, 0, at_start ? 0 : 1000000);
        assert_int_equal(keeper_commit(w.keeper) == STATUS_OK, at_start);
        uint64_t before = digest(&w);
        stop(&w);
        disk_sim_kill(w.sim);
        if (at_start) {
            disk_sim_fail(w.sim, 0, 1000000);
            assert_int_equal(try_start(&w), STATUS_ERR_IO);
            stop(&w);
            disk_sim_kill(w.sim);
        }
        disk_sim_fail(w.sim, 0, 0);
        start(&w);
        assert_int_equal(digest(&w), before);
        assert_int_not_equal(keeper_failure(w.keeper), STATUS_OK);
        steps(&w, 40);
        assert_int_equal(keeper_failure(w.keeper), STATUS_OK);
        restart_machine(&w);
        assert_int_equal(digest(&w), before);
        assert_int_equal(keeper_failure(w.keeper), STATUS_OK);
        close_world(&w);
    }
}

/* The disk fails while a checkpoint begins: the new log must not hide what the old one lacks. */
static void a_checkpoint_that_fails_hides_nothing(void **state) {
    (void)state;
    uint64_t failed = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world w;
        struct keeper_status status;
        open_world(&w, seed, SYNC_EVERYSEC);
        for (int i = 0; i < 10; i++) {
            some_writes(&w);
            assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
        }
        steps(&w, 40);
        write_something(&w);
        assert_int_equal(keeper_commit(w.keeper), STATUS_OK); /* it waits for its sync */
        disk_sim_fail(w.sim, (uint32_t)rng_below(&w.rng, 2) * 500000, (uint32_t)rng_below(&w.rng, 2) * 500000);
        keeper_save(w.keeper, false);
        steps(&w, 6);
        keeper_status(w.keeper, &status);
        failed += status.last_save != STATUS_OK;
        disk_sim_fail(w.sim, 0, 0);
        steps(&w, 40);
        assert_int_equal(keeper_failure(w.keeper), STATUS_OK);
        uint64_t before = digest(&w);
        restart_machine(&w);
        assert_int_equal(w.recovery.gaps, 0);
        assert_int_equal(digest(&w), before);
        close_world(&w);
    }
    assert_true(failed > 50);
}

static void rot_is_put_aside_and_the_rest_is_there(void **state) {
    (void)state;
    uint64_t damaged = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world w;
        open_world(&w, seed, SYNC_ALWAYS);
        for (int i = 0; i < 40; i++) {
            some_writes(&w);
            assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
        }
        stop(&w);
        disk_sim_crash(w.sim);
        assert_true(disk_sim_rot(w.sim));
        start(&w);
        damaged += w.recovery.damaged + (w.recovery.torn_bytes > 0);
        write_something(&w);
        assert_int_equal(keeper_commit(w.keeper), STATUS_OK); /* it goes on */
        close_world(&w);
    }
    assert_true(damaged > 150);
}

static void sum_damage(void *sum, const char *name, uint64_t size) {
    uint64_t *bytes = sum;
    if (strncmp(name, "anneal-damage.", 14) == 0) *bytes += size;
}

/* Until a checkpoint covers its file: a node that is started again and again has no more of it. */
static void the_same_damage_is_put_aside_once(void **state) {
    (void)state;
    uint64_t before = 0, places = 0;
    struct world w;
    for (uint64_t seed = 1; !before; seed++) { /* that rots in the midst */
        open_world(&w, seed, SYNC_ALWAYS);
        for (int i = 0; i < 20; i++) {
            write_something(&w);
            assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
        }
        stop(&w);
        disk_sim_kill(w.sim);
        assert_true(disk_sim_rot(w.sim));
        start(&w);
        places = w.recovery.damaged;
        assert_int_equal(w.disk.list(w.disk.self, sum_damage, &before), STATUS_OK);
        if (!before) close_world(&w);
    }
    for (int i = 0; i < 3; i++) {
        uint64_t after = 0;
        restart(&w);
        assert_int_equal(w.recovery.damaged, places);
        assert_int_equal(w.disk.list(w.disk.self, sum_damage, &after), STATUS_OK);
        assert_int_equal(after, before);
    }
    close_world(&w);
}

static void files_of_another_cluster_are_refused(void **state) {
    (void)state;
    struct world w;
    struct buf error = {0};
    open_world(&w, 1, SYNC_ALWAYS);
    write_something(&w);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    struct keeper_config config = {.disk = w.disk, .shards = w.shards, .shard_count = SHARDS - 1, .replicas = w.replicas, .cluster = "c", .logs = true};
    struct keeper *other = keeper_new(&config);
    assert_int_equal(keeper_recover(other, 0, &w.recovery, &error), STATUS_ERR_CLUSTER);
    assert_non_null(memmem(error.data, error.len, "3 shards", 8));
    keeper_free(other);
    buf_fini(&error);
    close_world(&w);
}

static void a_checkpoint_leaves_one_file_and_an_empty_log(void **state) {
    (void)state;
    struct world w;
    struct keeper_status status;
    open_world(&w, 5, SYNC_EVERYSEC);
    for (int i = 0; i < 20; i++) write_something(&w);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    uint64_t number = keeper_save(w.keeper, false);
    assert_int_equal(number, 1);
    keeper_status(w.keeper, &status);
    assert_true(status.saving);
    assert_int_equal(keeper_save(w.keeper, false), 0);
    assert_int_equal(keeper_save(w.keeper, true), 1);
    steps(&w, 2);
    assert_int_equal(keeper_save(w.keeper, true), 2);
    steps(&w, 20);
    keeper_status(w.keeper, &status);
    assert_int_equal(status.saves, 2);
    assert_int_equal(status.last_save, STATUS_OK);
    assert_in_range(status.saved_at_ms, 1000001, w.now.wall_ms);
    uint64_t before = digest(&w);
    restart(&w);
    assert_int_equal(digest(&w), before);
    assert_int_equal(w.recovery.checkpoints, 1);
    assert_int_equal(w.recovery.logs, 1);
    assert_int_equal(w.recovery.images, SHARDS);
    assert_int_equal(w.recovery.messages, 0);
    close_world(&w);
}

/* After it there would be no number for a log of ours. */
static void a_stray_file_with_the_greatest_number_hides_no_log(void **state) {
    (void)state;
    static const char *const names[] = {"anneal-log.18446744073709551615", "anneal-log.99999999999999999999", "anneal-checkpoint.18446744073709551614",
                                        "anneal-damage.18446744073709551613"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct world w;
        int file;
        open_world(&w, 12, SYNC_ALWAYS);
        assert_int_equal(w.disk.open(w.disk.self, names[i], &file), STATUS_OK);
        w.disk.close(w.disk.self, file);
        for (int round = 0; round < 3; round++) {
            for (uint64_t before = digest(&w); digest(&w) == before;) write_something(&w);
            assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
            uint64_t before = digest(&w);
            restart(&w);
            assert_int_equal(digest(&w), before);
        }
        close_world(&w);
    }
}

/* Each process has a log of its own, none of which may ever be long enough. */
static void logs_of_many_processes_are_compacted_as_one_would_be(void **state) {
    (void)state;
    struct world w;
    struct keeper_status status = {0};
    open_world(&w, 10, SYNC_ALWAYS);
    for (int i = 0; i < 30 && !status.saves; i++) {
        for (int n = 0; n < 5; n++) write_something(&w);
        assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
        steps(&w, 1);
        keeper_status(w.keeper, &status);
        assert_true(status.log_bytes <= disk_sim_bytes(w.sim));
        if (status.saving) steps(&w, 10);
        else restart(&w);
        keeper_status(w.keeper, &status);
    }
    assert_int_equal(status.saves, 1);
    assert_true(disk_sim_bytes(w.sim) < 3 * 3000);
    steps(&w, 40);
    keeper_status(w.keeper, &status);
    assert_int_equal(status.saves, 1); /* what it covers counts no more */
    assert_true(status.log_bytes < 500);
    close_world(&w);
}

/* It is removed as what says nothing is: what a log says must not depend on whether it is still there. */
static void an_empty_checkpoint_covers_no_log(void **state) {
    (void)state;
    struct world w;
    int file;
    open_world(&w, 6, SYNC_ALWAYS);
    uint64_t nothing = digest(&w);
    for (int i = 0; i < 20; i++) write_something(&w);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    assert_int_not_equal(digest(&w), nothing);
    keeper_reset_begin(w.keeper);
    keeper_reset(w.keeper);
    assert_int_equal(w.disk.open(w.disk.self, "anneal-checkpoint.00000000000000000009", &file), STATUS_OK);
    w.disk.close(w.disk.self, file);
    for (int i = 0; i < 2; i++) {
        restart(&w);
        assert_int_equal(w.recovery.checkpoints, i == 0);
        assert_int_equal(digest(&w), nothing);
    }
    close_world(&w);
}

/* A node that starts over does so once: what came before is void, were it kept by a log, or by the checkpoint of that log's number. */
static void what_is_void_stays_so_when_the_machine_stops(void **state) {
    (void)state;
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        struct world w;
        open_world(&w, 21, SYNC_NO);
        uint64_t nothing = digest(&w);
        while (digest(&w) == nothing) write_something(&w);
        assert_int_equal(keeper_sync(w.keeper), STATUS_OK);
        if (checkpoint) {
            assert_int_equal(keeper_save(w.keeper, false), 1);
            steps(&w, 8);
        }
        keeper_reset_begin(w.keeper);
        keeper_reset(w.keeper);
        restart_machine(&w);
        assert_int_equal(w.recovery.checkpoints, checkpoint);
        assert_int_equal(digest(&w), nothing);
        close_world(&w);
    }
}

static void members_are_there_when_the_machine_stops(void **state) {
    (void)state;
    static const char *const tables[] = {"a longer table", "another"};
    struct world w;
    open_world(&w, 22, SYNC_NO);
    for (size_t i = 0; i < 2; i++) {
        keeper_members(w.keeper, bytes_str(tables[i]));
        restart_machine(&w);
        assert_true(bytes_equal(keeper_members_found(w.keeper), bytes_str(tables[i])));
    }
    close_world(&w);
}

static void who_stops_in_peace_loses_nothing_of_anybody(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 23, SYNC_NO);
    uint64_t nothing = digest(&w);
    while (digest(&w) == nothing) write_something(&w);
    uint64_t before = digest(&w);
    assert_int_equal(keeper_close(w.keeper), STATUS_OK);
    restart_machine(&w);
    assert_int_equal(digest(&w), before);
    shard_lock(w.shards[1]); /* as by a pull: it is dirty to nobody */
    shard_set(w.shards[1], shard_ref(w.shards[1], bytes_str("of others")), bytes_str("v"), false, w.now.wall_ms);
    shard_unlock(w.shards[1]);
    keeper_changed(w.keeper, 1);
    before = digest(&w);
    assert_int_equal(keeper_close(w.keeper), STATUS_OK);
    restart_machine(&w);
    assert_int_equal(digest(&w), before);
    close_world(&w);
}

/* Whatever was killed before, and however often: what a start has read is kept. */
static void what_a_start_has_read_is_there_when_the_machine_stops(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        open_world(&w, seed, SYNC_NO);
        for (int i = 0; i < 4; i++) {
            for (uint64_t before = digest(&w); digest(&w) == before;) write_something(&w);
            assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
            restart(&w);
        }
        uint64_t before = digest(&w);
        restart_machine(&w);
        assert_int_equal(digest(&w), before);
        close_world(&w);
    }
}

static void what_is_saved_without_logs_comes_back(void **state) {
    (void)state;
    struct world w = {.now = {1000000, 1000000}, .no_logs = true};
    rng_seed(&w.rng, 24);
    w.sim = disk_sim_new(24);
    w.disk = disk_sim_port(w.sim);
    start(&w);
    for (int i = 0; i < 3; i++) {
        for (uint64_t before = digest(&w); digest(&w) == before;) write_something(&w);
        uint64_t before = digest(&w);
        assert_int_equal(keeper_save(w.keeper, false), 1);
        steps(&w, 8);
        restart_machine(&w);
        assert_int_equal(w.recovery.checkpoints, 1);
        assert_int_equal(digest(&w), before);
    }
    close_world(&w);
}

/* Somebody's copy, say. */
static void a_checkpoint_removes_no_file_that_is_not_ours(void **state) {
    (void)state;
    static const char *const names[] = {"anneal-log.00000000000000000001.bak", "anneal-log.0000000000000000001", "anneal-checkpoint.000000000000000000001",
                                        "anneal-log", "anneal-logs.00000000000000000001", "anneal-damage.00000000000000000001"};
    struct world w;
    open_world(&w, 25, SYNC_ALWAYS);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int file;
        assert_int_equal(w.disk.open(w.disk.self, names[i], &file), STATUS_OK);
        w.disk.close(w.disk.self, file);
    }
    restart(&w);
    write_something(&w);
    assert_int_equal(keeper_save(w.keeper, false), 1);
    steps(&w, 8);
    assert_false(disk_sim_has(w.sim, "anneal-log.00000000000000000001"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_true(disk_sim_has(w.sim, names[i]));
    close_world(&w);
}

/* A disk that holds one file back, or what is behind so many bytes of any. */
struct reluctant {
    struct disk_port disk;
    const char *name;
    uint64_t bytes;
};

static enum status reluctant_open(void *self, const char *name, int *file) {
    const struct reluctant *r = self;
    return strcmp(name, r->name) == 0 ? STATUS_ERR_IO : r->disk.open(r->disk.self, name, file);
}
static void reluctant_close(void *self, int file) {
    const struct reluctant *r = self;
    r->disk.close(r->disk.self, file);
}
static enum status reluctant_read(void *self, int file, uint64_t at, size_t len, struct buf *out) {
    const struct reluctant *r = self;
    if (at < r->bytes && r->disk.read(r->disk.self, file, at, len < r->bytes - at ? len : (size_t)(r->bytes - at), out) != STATUS_OK) return STATUS_ERR_IO;
    return at + len <= r->bytes ? STATUS_OK : STATUS_ERR_IO;
}
static enum status reluctant_list(void *self, void (*visit)(void *arg, const char *name, uint64_t size), void *arg) {
    const struct reluctant *r = self;
    return r->disk.list(r->disk.self, visit, arg);
}

#define SECOND_CHECKPOINT "anneal-checkpoint.00000000000000000002"

static void open_world_with_checkpoint(struct world *w, uint64_t seed) {
    open_world(w, seed, SYNC_ALWAYS);
    for (int i = 0; i < 20; i++) write_something(w);
    assert_int_equal(keeper_save(w->keeper, false), 1);
    steps(w, 8);
    assert_true(disk_sim_has(w->sim, SECOND_CHECKPOINT));
}

/* The checkpoint after that would remove it. */
static void a_file_that_cannot_be_opened_ends_the_start(void **state) {
    (void)state;
    struct world w;
    open_world_with_checkpoint(&w, 7);
    uint64_t before = digest(&w);
    struct reluctant r = {.disk = w.disk, .name = SECOND_CHECKPOINT, .bytes = UINT64_MAX};
    stop(&w);
    disk_sim_kill(w.sim);
    w.disk = (struct disk_port){.open = reluctant_open, .close = reluctant_close, .read = reluctant_read, .list = reluctant_list, .self = &r};
    assert_int_equal(try_start(&w), STATUS_ERR_IO);
    stop(&w);
    w.disk = r.disk;
    start(&w);
    assert_int_equal(digest(&w), before);
    close_world(&w);
}

/* Nor is what the disk does not give taken for lost: it may give it again, or to a copy. */
static void a_file_that_cannot_be_read_to_its_end_ends_the_start(void **state) {
    (void)state;
    for (uint64_t bytes = 0; bytes < 200; bytes += 50) {
        struct world w;
        open_world_with_checkpoint(&w, 9);
        uint64_t before = digest(&w), size = disk_sim_bytes(w.sim);
        struct reluctant r = {.disk = w.disk, .name = "", .bytes = bytes};
        stop(&w);
        disk_sim_kill(w.sim);
        w.disk = (struct disk_port){.open = reluctant_open, .close = reluctant_close, .read = reluctant_read, .list = reluctant_list, .self = &r};
        assert_int_equal(try_start(&w), STATUS_ERR_IO);
        assert_int_equal(disk_sim_bytes(w.sim), size);
        stop(&w);
        w.disk = r.disk;
        start(&w);
        assert_int_equal(digest(&w), before);
        close_world(&w);
    }
}

/* It is complete before it has its name, so this is no write that never ended. */
static void a_checkpoint_that_ends_early_is_damage(void **state) {
    (void)state;
    for (uint64_t size = 0; size <= 100; size += 50) {
        struct world w;
        int file;
        open_world_with_checkpoint(&w, 8);
        stop(&w);
        disk_sim_kill(w.sim);
        assert_int_equal(w.disk.open(w.disk.self, SECOND_CHECKPOINT, &file), STATUS_OK);
        assert_int_equal(w.disk.cut(w.disk.self, file, size), STATUS_OK);
        w.disk.close(w.disk.self, file);
        start(&w);
        assert_int_equal(w.recovery.damaged, 1);
        assert_int_equal(w.recovery.torn_bytes, 0);
        close_world(&w);
    }
}

static void *commit(void *keeper) {
    assert_int_equal(keeper_commit(keeper), STATUS_OK);
    return NULL;
}

static int entries_left = -1; /* until a directory cannot be read; -1: it can */

/* In place of libc's. */
struct dirent *readdir(DIR *directory) {
    if (entries_left == 0) {
        errno = EIO;
        return NULL;
    }
    if (entries_left > 0) entries_left--;
    struct dirent *(*original)(DIR *);
    *(void **)&original = dlsym(RTLD_NEXT, "readdir");
    return original(directory);
}

/* What is not listed would not be read, and yet removed by the next checkpoint. */
static void a_directory_of_which_a_part_is_listed_ends_the_start(void **state) {
    (void)state;
    struct world w = {.now = {1000000, 1000000}, .sync = SYNC_ALWAYS};
    struct buf error = {0};
    char dir[] = "/tmp/anneal-keeper-XXXXXX", command[64];
    assert_non_null(mkdtemp(dir));
    struct disk *disk = disk_open(dir, &error);
    assert_non_null(disk);
    w.disk = disk_port(disk);
    rng_seed(&w.rng, 4);
    start(&w);
    write_something(&w);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    for (entries_left = 2; entries_left >= 0;) {
        int left = entries_left;
        stop(&w);
        assert_int_equal(try_start(&w), STATUS_ERR_IO);
        entries_left = left - 1;
    }
    stop(&w);
    start(&w);
    stop(&w);
    disk_close(disk);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    buf_fini(&error);
}

/* A client of another thread writes and commits while all starts over: on a real disk, as threads are real. */
static void what_is_written_while_all_starts_over_comes_back(void **state) {
    (void)state;
    struct world w = {.now = {1000000, 1000000}, .sync = SYNC_ALWAYS};
    struct buf error = {0};
    char dir[] = "/tmp/anneal-keeper-XXXXXX", command[64];
    assert_non_null(mkdtemp(dir));
    struct disk *disk = disk_open(dir, &error);
    assert_non_null(disk);
    w.disk = disk_port(disk);
    rng_seed(&w.rng, 3);
    start(&w);
    for (int i = 0; i < 50; i++) write_something(&w);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    uint16_t self;
    pthread_t client;
    assert_int_equal(replicas_intern(w.replicas, (struct replica_id){1, ++w.incarnation}, &self), STATUS_OK);
    keeper_reset_begin(w.keeper);
    for (uint32_t s = 0; s < SHARDS; s++) {
        shard_lock(w.shards[s]);
        shard_reset(w.shards[s], self);
        shard_unlock(w.shards[s]);
    }
    for (int i = 0; i < 10; i++) write_something(&w);
    assert_int_equal(pthread_create(&client, NULL, commit, w.keeper), 0);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    keeper_reset(w.keeper);
    pthread_join(client, NULL);
    uint64_t before = digest(&w);
    stop(&w);
    start(&w);
    assert_int_equal(digest(&w), before);
    assert_int_equal(w.recovery.gaps + w.recovery.malformed + w.recovery.damaged, 0);
    stop(&w);
    disk_close(disk);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    buf_fini(&error);
}

/* The one asks the other for what it lacks. */
static void pull(struct shard *to, struct replicas *to_replicas, struct shard *from, struct replicas *from_replicas, int64_t now_ms) {
    struct shard_summary asked, heard;
    struct wire_writer writer;
    struct wire_reader reader;
    struct buf bytes = {0};
    shard_summarise(to, true, &asked);
    exchange_summary(to_replicas, &asked, from_replicas, &heard);
    wire_init(&writer, from_replicas);
    assert_int_equal(shard_write_answer(from, &writer, &heard), STATUS_OK);
    wire_finish(&writer, &bytes);
    wire_fini(&writer);
    assert_int_equal(wire_open(&reader, buf_bytes(&bytes), to_replicas), STATUS_OK);
    assert_int_equal(shard_read_answer(to, &reader, &asked, now_ms), STATUS_OK);
    wire_close(&reader);
    buf_fini(&bytes);
    shard_summary_fini(&asked);
    shard_summary_fini(&heard);
}

static struct key_ref key_named(struct world *w, const char *name) { return shard_ref(w->shards[0], bytes_str(name)); }

static void set_key(struct world *w, struct shard *shard, const char *value) {
    shard_set(shard, key_named(w, "k"), bytes_str(value), false, w->now.wall_ms);
}

/* Of a value that another replaced and we delete in its place nothing is back. */
static void write_upon(void (*came)(struct keeper *k, uint32_t shard)) {
    struct world w;
    struct replicas *replicas = replicas_new();
    uint16_t self;
    open_world(&w, 1, SYNC_ALWAYS);
    assert_int_equal(replicas_intern(replicas, (struct replica_id){2, 1}, &self), STATUS_OK);
    struct shard *other = shard_new(0, &(struct shard_config){.replicas = replicas, .self = self, .log_bytes_max = 400});
    set_key(&w, w.shards[0], "old");
    keeper_dirty(w.keeper, 0);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    restart(&w);
    pull(other, replicas, w.shards[0], w.replicas, w.now.wall_ms);
    set_key(&w, other, "new");
    pull(w.shards[0], w.replicas, other, replicas, w.now.wall_ms);
    came(w.keeper, 0);
    assert_true(shard_delete(w.shards[0], key_named(&w, "k"), w.now.wall_ms));
    keeper_dirty(w.keeper, 0);
    assert_int_equal(keeper_commit(w.keeper), STATUS_OK);
    uint64_t before = digest(&w);
    restart(&w);
    assert_null(shard_find(w.shards[0], key_named(&w, "k"), w.now.wall_ms));
    assert_int_equal(digest(&w), before);
    shard_free(other);
    replicas_free(replicas);
    close_world(&w);
}
static void what_a_write_came_upon_comes_back_with_it(void **state) {
    (void)state;
    write_upon(keeper_changed);
    write_upon(keeper_arriving); /* and the process is killed before it could log the message */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_committed_comes_back),
        cmocka_unit_test(a_disk_that_fails_costs_what_was_refused),
        cmocka_unit_test(a_disk_that_stays_full_gets_no_more_files),
        cmocka_unit_test(a_shard_that_no_record_holds_fails_what_needs_its_image),
        cmocka_unit_test(what_a_failed_sync_lost_is_written_anew_by_the_next_process),
        cmocka_unit_test(a_checkpoint_that_fails_hides_nothing),
        cmocka_unit_test(rot_is_put_aside_and_the_rest_is_there),
        cmocka_unit_test(what_a_write_came_upon_comes_back_with_it),
        cmocka_unit_test(the_same_damage_is_put_aside_once),
        cmocka_unit_test(files_of_another_cluster_are_refused),
        cmocka_unit_test(a_checkpoint_leaves_one_file_and_an_empty_log),
        cmocka_unit_test(a_stray_file_with_the_greatest_number_hides_no_log),
        cmocka_unit_test(logs_of_many_processes_are_compacted_as_one_would_be),
        cmocka_unit_test(an_empty_checkpoint_covers_no_log),
        cmocka_unit_test(what_is_void_stays_so_when_the_machine_stops),
        cmocka_unit_test(members_are_there_when_the_machine_stops),
        cmocka_unit_test(who_stops_in_peace_loses_nothing_of_anybody),
        cmocka_unit_test(what_a_start_has_read_is_there_when_the_machine_stops),
        cmocka_unit_test(what_is_saved_without_logs_comes_back),
        cmocka_unit_test(a_checkpoint_removes_no_file_that_is_not_ours),
        cmocka_unit_test(a_file_that_cannot_be_opened_ends_the_start),
        cmocka_unit_test(a_file_that_cannot_be_read_to_its_end_ends_the_start),
        cmocka_unit_test(a_checkpoint_that_ends_early_is_damage),
        cmocka_unit_test(a_directory_of_which_a_part_is_listed_ends_the_start),
        cmocka_unit_test(what_is_written_while_all_starts_over_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
