/* anneal-sim: whole clusters in one thread from one seed.
 *
 *   faults, while clients write and read on every node -> heal -> all nodes equal, and equal
 *   to what the naive model (model.h) allows
 *
 * README.md says what is checked. Of the simulator, only this file touches the operating system. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/run.h"

#define SHRINK_SECONDS 60 /* a try that takes longer counts as a failure: nothing may hang */

struct total {
    uint64_t seeds, failed, trace;
    struct world_stats world;
    struct run_counts counts;
    struct shard_facts facts;
    struct shard_paths paths;
    struct gossip_stats gossip;
};

struct command_line {
    uint64_t seed, seeds;
    struct swarm given;
    bool verbose, shrink, speed, stop, progress, show;
    const char *watch;
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

static void on_restart(void *arg, uint32_t node, bool up) {
    struct run *r = arg;
    if (up) return;
    collect(r, node);
    client_lost(r, node);
}

static void on_step(void *arg, uint32_t node, const struct gossip_event *event) { watch(arg, node, event); }

static void run_seed(struct run *r) {
    struct world_ports ports = {on_restart, r->watch ? on_step : NULL, r};
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
    for (uint32_t i = 0; i < world_node_count(r->world); i++)
        if (world_node(r->world, i)) on_restart(r, i, false);
    if (r->gossip.audit_mismatches) run_fail(r, 0, "an audit found equal vectors with unequal content");
}

static void run_free(struct run *r) {
    for (int i = 0; i < WORLD_NODES_MAX; i++) buf_fini(&r->watched[i]);
    buf_fini(&r->whole);
    checks_fini(r);
    world_free(r->world);
    model_free(r->model);
}

static void replay_line(uint64_t seed, const struct swarm *given) {
    printf("replay: build/anneal-sim --seed %llu", (unsigned long long)seed);
    swarm_print(given);
    printf("\n");
    fflush(stdout);
}

static struct {
    uint64_t seed;
    const struct swarm *given;
} now_running;

/* An assertion of the shipped code, or worse: what was running is the last that can be said. */
static void on_crash(int number) {
    signal(number, SIG_DFL);
    printf("seed %llu: signal %d\n", (unsigned long long)now_running.seed, number);
    replay_line(now_running.seed, now_running.given);
    raise(number);
}

static bool run_one(const struct command_line *line, uint64_t seed, struct config *config, struct total *total) {
    struct run *run = mem_zero(1, sizeof *run);
    struct world_stats stats;
    run->seed = seed;
    run->config = config;
    run->verbose = line->verbose;
    run->watch = line->watch;
    swarm_pick(seed, &line->given, &run->swarm);
    now_running.seed = seed;
    now_running.given = &line->given;
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

/* ---------------------------------------------------------------- shrinking */

static bool still_fails(const struct command_line *line, const struct swarm *given, struct config *config) {
    pid_t child = fork();
    if (child == 0) {
        struct command_line one = *line;
        struct total total = {0};
        one.given = *given;
        one.verbose = false;
        one.watch = NULL;
        if (!freopen("/dev/null", "w", stdout)) _exit(2);
        alarm(SHRINK_SECONDS);
        _exit(!run_one(&one, line->seed, config, &total));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return false;
    return !WIFEXITED(status) || WEXITSTATUS(status) == 1;
}

/* Sets the field to the value if the seed still fails with it. */
static bool try_value(const struct command_line *line, struct swarm *given, int field, int64_t value, struct config *config) {
    struct swarm trial = *given;
    *swarm_at(&trial, field) = value;
    if (!still_fails(line, &trial, config)) return false;
    *given = trial;
    return true;
}

/* Everything that can be left out, then ever smaller numbers of what cannot. */
static bool shrink_once(const struct command_line *line, struct swarm *given, struct config *config) {
    bool any = false;
    struct swarm now;
    for (int f = 0; f < swarm_count; f++) {
        swarm_pick(line->seed, given, &now);
        int64_t least = swarm_table[f].least, value = *swarm_at(&now, f);
        if (value > least && try_value(line, given, f, least, config)) {
            any = true;
            continue;
        }
        for (int64_t gap = (value - least) / 2; gap > 0 && value - least > value / 20; gap /= 2)
            while (value - gap > least && try_value(line, given, f, value - gap, config)) {
                value -= gap;
                any = true;
            }
    }
    return any;
}

static int shrink(const struct command_line *line, struct config *config) {
    struct swarm given = line->given;
    if (!still_fails(line, &given, config)) {
        printf("seed %llu does not fail\n", (unsigned long long)line->seed);
        return 1;
    }
    for (int rounds = 0; rounds < 4 && shrink_once(line, &given, config); rounds++) replay_line(line->seed, &given);
    printf("smallest ");
    replay_line(line->seed, &given);
    return 0;
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
    printf("%llu client operations in %.1f s of one core: %.0f a second\n", (unsigned long long)ops, seconds, seconds > 0 ? (double)ops / seconds : 0.0);
    printf("%llu seeds, %llu failed, trace %016llx\n", (unsigned long long)t->seeds, (unsigned long long)t->failed, (unsigned long long)t->trace);
}

/* ------------------------------------------------------------------ options */

static int usage(int code) {
    printf("anneal-sim: a cluster of the shipped code in a simulated world\n\n"
           "  --seed N     first seed (1)\n"
           "  --seeds N    how many (1)\n"
           "  --shrink     of the first seed, which fails: the smallest command that still does\n"
           "  --stop       after the first seed that fails\n"
           "  --speed      three nodes, all faults on: client operations a second\n"
           "  --watch KEY  print what each node shows for a key whenever it changes\n"
           "  --show       print what each seed picked\n"
           "  --progress   a byte to standard error for each seed\n"
           "  --verbose    print what happens to nodes and network\n\n"
           "What the seed picks, unless it is given:\n");
    for (int i = 0; i < swarm_count; i++)
        printf("  --%-13s %s (%lld to %lld)\n", swarm_table[i].name, swarm_table[i].help, (long long)swarm_table[i].least,
               (long long)swarm_table[i].most);
    return code;
}

/* Exactly three nodes with some of everything, so that the number can be compared. */
static void set_speed(struct command_line *line) {
    struct swarm *s = &line->given;
    line->seeds = 20;
    s->nodes = 3;
    s->loss = s->duplicates = s->reorders = 5;
    s->cuts = s->crashes = s->jumps = 5;
    s->skew_ms = 10000;
    s->latency_us = 1000;
    s->big = 0;
}

static bool read_number(const char *text, int64_t least, int64_t most, int64_t *out) {
    char *end;
    *out = strtoll(text, &end, 10);
    return *text && !*end && *out >= least && *out <= most;
}

enum { OPT_SEED = 1000, OPT_SEEDS, OPT_SHRINK, OPT_STOP, OPT_SPEED, OPT_WATCH, OPT_SHOW, OPT_PROGRESS, OPT_VERBOSE, OPT_HELP };

static bool take_option(struct command_line *line, int c, const char *text) {
    int64_t number = 0;
    switch (c) {
    case OPT_SEED: line->seed = strtoull(text, NULL, 10); return true;
    case OPT_SEEDS: line->seeds = strtoull(text, NULL, 10); return line->seeds > 0;
    case OPT_SHRINK: return line->shrink = true;
    case OPT_STOP: return line->stop = true;
    case OPT_SPEED: set_speed(line); return line->speed = true;
    case OPT_WATCH: line->watch = text; return true;
    case OPT_SHOW: return line->show = true;
    case OPT_PROGRESS: return line->progress = true;
    case OPT_VERBOSE: return line->verbose = true;
    default:
        if (c < 0 || c >= swarm_count || !read_number(text, swarm_table[c].least, swarm_table[c].most, &number)) return false;
        *swarm_at(&line->given, c) = number;
        return true;
    }
}

static bool read_options(int argc, char **argv, struct command_line *line, bool *help) {
    static const struct option fixed[] = {
        {"seed", 1, 0, OPT_SEED}, {"seeds", 1, 0, OPT_SEEDS}, {"shrink", 0, 0, OPT_SHRINK}, {"stop", 0, 0, OPT_STOP},
        {"speed", 0, 0, OPT_SPEED}, {"watch", 1, 0, OPT_WATCH}, {"show", 0, 0, OPT_SHOW}, {"progress", 0, 0, OPT_PROGRESS},
        {"verbose", 0, 0, OPT_VERBOSE}, {"help", 0, 0, OPT_HELP}};
    enum { FIXED = sizeof fixed / sizeof *fixed };
    struct option options[128] = {{0}};
    char names[64][32];
    for (int i = 0; i < FIXED; i++) options[i] = fixed[i];
    for (int i = 0; i < swarm_count; i++) {
        snprintf(names[i], sizeof names[i], "%s", swarm_table[i].name);
        options[FIXED + i] = (struct option){names[i], 1, 0, i};
    }
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        *help = c == OPT_HELP;
        if (*help || !take_option(line, c, optarg)) return false;
    }
    return optind == argc;
}

static void show(const struct command_line *line, uint64_t seed) {
    struct swarm s;
    swarm_pick(seed, &line->given, &s);
    printf("seed %llu:", (unsigned long long)seed);
    swarm_print(&s);
    printf("\n");
}

int main(int argc, char **argv) {
    struct command_line line = {.seed = 1, .seeds = 1};
    bool help = false;
    swarm_unset(&line.given);
    if (!read_options(argc, argv, &line, &help)) return usage(!help);
    struct config *config = client_config();
    if (line.shrink) return shrink(&line, config);
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    struct total total = {0};
    clock_t start = clock();
    for (uint64_t i = 0; i < line.seeds; i++) {
        if (line.show) show(&line, line.seed + i);
        bool right = run_one(&line, line.seed + i, config, &total);
        if (!right) replay_line(line.seed + i, &line.given);
        if (line.progress) fputc('.', stderr);
        if (!right && line.stop) break;
    }
    print_summary(&total, (double)(clock() - start) / CLOCKS_PER_SEC);
    config_free(config);
    return total.failed != 0;
}
