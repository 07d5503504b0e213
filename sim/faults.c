/* What goes wrong, and how often: the swarm says. */
#include <stdio.h>
#include <string.h>

#include "sim/world_state.h"

/* -------------------------------------------------------------- partitions */

static void cut_sides(struct world *w, const bool *side, bool one_way) {
    for (uint32_t a = 0; a < w->node_count; a++)
        for (uint32_t b = 0; b < w->node_count; b++) w->cut[a][b] = side[a] != side[b] && (!one_way || side[a]);
}

/* One node that both sides can still reach. */
static void leave_a_bridge(struct world *w) {
    uint32_t bridge = (uint32_t)rng_below(&w->rng, w->node_count);
    for (uint32_t i = 0; i < w->node_count; i++) w->cut[i][bridge] = w->cut[bridge][i] = false;
}

static void cut_at_random(struct world *w) {
    unsigned percent = 10 + (unsigned)rng_below(&w->rng, 60);
    for (uint32_t a = 0; a < w->node_count; a++)
        for (uint32_t b = 0; b < w->node_count; b++) w->cut[a][b] = a != b && rng_percent(&w->rng, percent);
}

static void change_partition(struct world *w) {
    static const char *const names[] = {"heals", "is cut in two", "is cut one way", "is cut but for a bridge", "is cut here and there"};
    uint64_t *const counts[] = {NULL, &w->stats.cuts, &w->stats.cuts_one_way, &w->stats.cuts_bridged, &w->stats.cuts_uneven};
    uint64_t kind = rng_percent(&w->rng, 35) ? 0 : 1 + rng_below(&w->rng, 4);
    bool side[WORLD_NODES_MAX] = {0};
    unsigned share = 20 + (unsigned)rng_below(&w->rng, 31);
    memset(w->cut, 0, sizeof w->cut);
    for (uint32_t i = 0; i < w->node_count; i++) side[i] = rng_percent(&w->rng, share);
    if (kind >= 1 && kind <= 3) cut_sides(w, side, kind == 2);
    if (kind == 3) leave_a_bridge(w);
    if (kind == 4) cut_at_random(w);
    if (kind) ++*counts[kind];
    if (w->verbose) printf("%10lld network %s\n", (long long)w->now_us, names[kind]);
}

/* ------------------------------------------------------------------- nodes */

static struct sim_node *any_node(struct world *w) { return &w->nodes[rng_below(&w->rng, w->node_count)]; }

static void crash(struct world *w) {
    struct sim_node *n = any_node(w);
    world_crash(w, n->index, world_between(w, 1000, rng_percent(&w->rng, 50) ? 1000000 : 20000000));
}

/* Of the allocations that it makes from now on, soon or late, one is refused; or of those of its
 * keeper alone, which are few. */
static void run_out(struct world *w) {
    struct sim_node *n = any_node(w);
    bool keeps = rng_percent(&w->rng, 40);
    n->only = n->disk && keeps ? &w->stats.ooms_keeper : NULL;
    memory_arm(n->memory, 1 + rng_below(&w->rng, UINT64_C(1) << rng_below(&w->rng, keeps ? 7 : 12)));
}

static void stop(struct world *w) {
    struct sim_node *n = any_node(w);
    n->stopped_until_us = w->now_us + world_between(w, 1000, rng_percent(&w->rng, 50) ? 1000000 : 15000000);
    w->stats.stops++;
    if (w->verbose) printf("%10lld n%u stands still until %lld\n", (long long)w->now_us, n->index, (long long)n->stopped_until_us);
}

static void slow(struct world *w) {
    struct sim_node *n = any_node(w);
    n->slow_us = n->slow_us ? 0 : world_between(w, 1000, 3000000);
    w->stats.slows += n->slow_us != 0;
}

static void jump(struct world *w) {
    struct sim_node *n = any_node(w);
    int64_t before_ms = n->skew_ms;
    n->skew_ms = world_between(w, -w->swarm->skew_ms, w->swarm->skew_ms);
    w->stats.jumps += n->skew_ms != before_ms;
}

/* -------------------------------------------------------------------- disks */

static void crash_all(struct world *w) {
    if (w->verbose) printf("%10lld all nodes crash\n", (long long)w->now_us);
    for (uint32_t i = 0; i < w->node_count; i++) world_crash(w, i, world_between(w, 1000, 3000000));
    w->stats.crashes_all++;
}

static void fill(struct world *w) { disk_fills(w, any_node(w)); }

/* At one of the next operations on its disk: between two of a checkpoint, after the sync of a write and before its answer. */
static void black_out(struct world *w) {
    struct sim_node *n = any_node(w);
    if (!n->disk) return;
    n->dark_power = rng_percent(&w->rare, (unsigned)w->swarm->power);
    disk_sim_dark(n->disk, 1 + rng_below(&w->rare, UINT64_C(1) << rng_below(&w->rare, 8)));
}

static void rot(struct world *w) {
    struct sim_node *n = any_node(w);
    if (!n->disk || !disk_sim_rot(n->disk)) return;
    n->rotten = true;
    w->stats.rots++;
}

/* The machine and all: what it had is in the store, or nowhere. */
static void lose_disk(struct world *w) {
    struct sim_node *n = any_node(w);
    world_lose(w, n->index, world_between(w, 1000, 3000000));
}

static void store_out(struct world *w) {
    if (w->store_out) return;
    w->stats.store_outs++;
    store_goes_out(w);
}

/* ------------------------------------------------------------------- rates */

void fault_happens(struct world *w) {
    const struct swarm *s = w->swarm;
    const struct {
        int64_t rate;
        void (*happen)(struct world *w);
    } table[] = {{s->cuts, change_partition}, {s->crashes, crash}, {s->ooms, run_out}, {s->stops, stop}, {s->slows, slow}, {s->jumps, jump},
                 {s->crashes_all, crash_all}, {s->fulls, fill}, {s->rots, rot}, {s->store_outs, store_out},
                 {s->disks_lost, lose_disk}, {s->blackouts, black_out}};
    int64_t all = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) all += table[i].rate;
    if (!w->hostile || !all) return;
    int64_t pick = (int64_t)rng_below(&w->rng, (uint64_t)all);
    size_t i = 0;
    while (pick >= table[i].rate) pick -= table[i++].rate;
    table[i].happen(w);
    event_push(w, (struct event){.at_us = w->now_us + world_between(w, 1, 2 * MINUTE_US / all), .kind = EVENT_FAULT});
}

void world_faults_begin(struct world *w) {
    w->hostile = true;
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *n = &w->nodes[i];
        n->skew_ms = world_between(w, -w->swarm->skew_ms, w->swarm->skew_ms);
        n->drift = world_between(w, -w->swarm->drift, w->swarm->drift);
        w->stats.skewed += n->skew_ms != 0;
        w->stats.drifting += n->drift != 0;
        disk_heals(n);
    }
    store_faults(w);
    event_push(w, (struct event){.at_us = w->now_us + world_between(w, 1, 1000000), .kind = EVENT_FAULT});
}

void world_heal(struct world *w) {
    memset(w->cut, 0, sizeof w->cut);
    w->hostile = false;
    store_faults(w);
    world_clear_up(w);
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *n = &w->nodes[i];
        n->skew_ms = n->drift = n->slow_us = n->stopped_until_us = 0;
        disk_heals(n);
        if (n->memory) memory_arm(n->memory, 0);
        if (!n->node) node_start(n);
    }
}
