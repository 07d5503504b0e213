/* anneal-sim: whole clusters in one thread from one seed.
 *
 *   faults, while clients write and read on every node -> heal -> all nodes equal, and equal
 *   to what the naive model (model.h) allows
 *
 * README.md says what is checked. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "sim/command_line.h"
#include "sim/run.h"

#define SEED_SECONDS 60 /* of the processor, and as many again for */
#define SEED_OPS 2000   /* so many commands */

struct total {
    uint64_t seeds, failed, trace;
    struct world_stats world;
    struct run_counts counts;
    struct shard_facts facts;
    struct shard_paths paths;
    struct gossip_stats gossip;
};

/* -------------------------------------------------------------------- a run */

static void add_all(void *into, const void *from, size_t size) {
    uint64_t *to = into;
    for (size_t i = 0; i < size / sizeof *to; i++) to[i] += ((const uint64_t *)from)[i];
}

/* What a node counted goes with its memory. */
static void collect(struct run *r, uint32_t index) {
    const struct node *node = world_node(r->world, index);
    struct gossip_stats stats;
    struct replica_id none = {0};
    uint16_t known = 0;
    gossip_stats(node->gossip, &stats);
    add_all(&r->gossip, &stats, sizeof stats);
    for (uint32_t s = 0; s < node->shard_count; s++) add_all(&r->paths, shard_paths(node->shards[s]), sizeof r->paths);
    if (replicas_intern(node->replicas, none, &known) == STATUS_OK && known > 256) r->counts.chunks++;
}

static void on_restart(void *arg, uint32_t node, enum world_change change) {
    struct run *r = arg;
    if (change == WORLD_UP) {
        r->standings[node].self = self_of(world_node(r->world, node));
        if (r->swarm.disks) promises_checked(r, node);
        else if (r->swarm.stores) wholes_checked(r, node);
        if (r->swarm.stores) stored_checked(r, node);
        return;
    }
    if (r->swarm.stores) r->standings[node].behind = true;
    if (r->swarm.disks || r->swarm.stores) promises_lost(r, node, change);
    if (change != WORLD_DIED) collect(r, node);
    client_lost(r, node, change == WORLD_DIED);
}

static void on_kept(void *arg, uint32_t node, bool well) { promises_kept(arg, node, well); }

static void on_loads(void *arg, uint32_t node) { stored_due(arg, node); }

static void on_stored(void *arg, uint32_t node) { stored_promised(arg, node); }

static void on_stopped(void *arg, uint32_t node, const char *why) { run_fail(arg, node, "its archive has stopped: %s", why); }

static void on_step(void *arg, uint32_t node, const struct gossip_event *event) { watch(arg, node, event); }

static void run_seed(struct run *r) {
    struct world_ports ports = {on_restart, on_kept, on_loads, on_stored, on_stopped, r->watch ? on_step : NULL, r};
    r->world = world_new(r->seed, &r->swarm, &ports);
    r->model = model_new();
    world_verbose(r->world, r->verbose);
    world_run(r->world, 500000);
    world_faults_begin(r->world);
    for (int64_t i = 0; i < r->swarm.ops && !r->failed; i++) {
        client_acts(r);
        world_run(r->world, world_now_us(r->world) + (int64_t)rng_below(world_rng(r->world), (uint64_t)r->swarm.pause_us));
    }
    if (!r->failed) check_settled(r);
    check_ended(r);
    if (!r->failed && r->swarm.stores) check_comes_back(r);
    world_clear_up(r->world);
    for (uint32_t i = 0; i < world_node_count(r->world); i++)
        if (world_node(r->world, i)) on_restart(r, i, WORLD_DOWN);
    if (r->gossip.audit_mismatches) run_fail(r, 0, "an audit found equal vectors with unequal content");
}

static void run_free(struct run *r) {
    for (int i = 0; i < WORLD_NODES_MAX; i++) buf_fini(&r->watched[i]);
    buf_fini(&r->whole);
    checks_fini(r);
    promises_fini(r);
    world_free(r->world);
    model_free(r->model);
}

static struct {
    uint64_t seed;
    const struct swarm *given;
} now_running;

/* An assertion of the shipped code, or worse: what was running is the last that can be said. It may have been saying something. */
static void on_crash(int number) {
    signal(number, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    alarm(5);
    if (number == SIGPROF) printf("seed %llu: no end in sight\n", (unsigned long long)now_running.seed);
    else printf("seed %llu: signal %d\n", (unsigned long long)now_running.seed, number);
    command_line_replay(now_running.seed, now_running.given);
    raise(number);
}

static void catch_crashes(void) {
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTERM, SIGPROF};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) signal(numbers[i], on_crash);
}

/* A seed that goes round in circles is ended by SIGPROF. Time of the processor, not of the day, so that a busy machine changes
 * nothing; ordinary seeds take less than a twentieth of it, or of a tenth if sanitized. */
static void limit_time(int64_t ops) {
    struct itimerval limit = {.it_value.tv_sec = SEED_SECONDS + SEED_SECONDS * ops / SEED_OPS};
    setitimer(ITIMER_PROF, &limit, NULL);
}

static bool run_one(const struct command_line *line, uint64_t seed, struct total *total) {
    struct run *run = mem_zero(1, sizeof *run);
    struct world_stats stats;
    run->seed = seed;
    run->verbose = line->verbose;
    run->watch = line->watch;
    swarm_pick(seed, &line->given, &run->swarm);
    now_running.seed = seed;
    now_running.given = &line->given;
    limit_time(run->swarm.ops);
    run_seed(run);
    bool failed = run->failed;
    world_stats(run->world, &stats);
    total->seeds++;
    total->failed += failed;
    total->trace ^= world_trace_hash(run->world);
    add_all(&total->world, &stats, sizeof stats);
    add_all(&total->counts, &run->counts, sizeof run->counts);
    add_all(&total->facts, &run->facts, sizeof run->facts);
    add_all(&total->paths, &run->paths, sizeof run->paths);
    add_all(&total->gossip, &run->gossip, sizeof run->gossip);
    run_free(run);
    mem_free(run);
    return !failed;
}

/* ------------------------------------------------------------------ summary */

/* "took" lines: over many seeds none of them may be 0 (test/sim.sh). */
static void print_taken(uint64_t count, const char *what) { printf("%14llu took: %s\n", (unsigned long long)count, what); }
static void print_also(uint64_t count, const char *what) {
    if (count) printf("%14llu also: %s\n", (unsigned long long)count, what);
}

static void print_total(const struct total *t) {
#define X(name, help) print_taken(t->counts.name, help);
    RUN_COUNTS(X)
#undef X
#define X(name, help) print_taken(t->world.name, help);
    WORLD_STATS(X)
#undef X
#define X(name, help) print_taken(t->world.disks.name, help);
    DISK_STATS(X)
#undef X
#define X(name, help) print_taken(t->world.bucket.name, help);
    BUCKET_RUN_STATS(X)
#undef X
#define X(name, help) print_taken(t->paths.name, help);
    SHARD_PATHS(X)
#undef X
#define X(name, help) print_taken(t->facts.name, help ", seen when shards were counted again");
    SHARD_FACTS(X)
#undef X
    print_taken(t->gossip.deltas_gap, "batches that did not continue what was applied");
    print_taken(t->gossip.resets, "nodes that were declared gone and started over");
    print_taken(t->gossip.pulls_failed, "pulls without an answer in time");
    print_taken(t->gossip.frames_key, "frames that no key opened");
#define X(name, help) print_also(t->gossip.name, help);
    GOSSIP_STATS(X)
#undef X
}

static void print_summary(const struct total *t, double seconds) {
    print_total(t);
    uint64_t ops = t->counts.commands + 2 * t->counts.waits;
    uint64_t all = ops + t->counts.questions;
    double per = seconds > 0 ? 1 / seconds : 0;
    printf("%llu client operations in %.1f s of one core: %.0f a second, %.0f with what the judge asks\n", (unsigned long long)ops, seconds,
           (double)ops * per, (double)all * per);
    printf("%llu seeds, %llu failed, trace %016llx\n", (unsigned long long)t->seeds, (unsigned long long)t->failed, (unsigned long long)t->trace);
}

static bool seed_fails(const struct command_line *line, void *arg) {
    struct total total = {0};
    (void)arg;
    return !run_one(line, line->seed, &total);
}

static void show(const struct command_line *line, uint64_t seed) {
    struct swarm s;
    swarm_pick(seed, &line->given, &s);
    printf("seed %llu:", (unsigned long long)seed);
    swarm_print(&s);
    printf("\n");
}

int main(int argc, char **argv) {
    struct command_line line;
    bool help;
    if (!command_line_read(argc, argv, &line, &help)) return command_line_usage(!help);
    if (line.shrink) return shrink(&line, seed_fails, NULL);
    catch_crashes();
    struct total total = {0};
    clock_t start = clock();
    for (uint64_t i = 0; i < line.seeds; i++) {
        if (line.show) show(&line, line.seed + i);
        bool right = run_one(&line, line.seed + i, &total);
        if (!right) command_line_replay(line.seed + i, &line.given);
        if (line.progress) fputc('.', stderr);
        if (!right && line.stop) break;
    }
    print_summary(&total, (double)(clock() - start) / CLOCKS_PER_SEC);
    return total.failed != 0;
}
