#include "sim/swarm.h"

#include "core/rng.h"

const struct swarm_field swarm_table[] = {
#define X(name, least, most, help) {#name, least, most, help},
    SWARM(X)
#undef X
};
const int swarm_count = sizeof swarm_table / sizeof *swarm_table;

int64_t *swarm_at(struct swarm *s, int field) { return (int64_t *)s + field; }

void swarm_unset(struct swarm *s) {
    for (int i = 0; i < swarm_count; i++) *swarm_at(s, i) = SWARM_UNSET;
}

void swarm_print(const struct swarm *given) {
    for (int i = 0; i < swarm_count; i++) {
        int64_t value = *swarm_at((struct swarm *)(uintptr_t)given, i);
        if (value != SWARM_UNSET) printf(" --%s %lld", swarm_table[i].name, (long long)value);
    }
}

static int64_t upto(struct rng *rng, int64_t most) { return (int64_t)rng_below(rng, (uint64_t)most + 1); }

/* Off, or anything up to `most`. */
static int64_t maybe(struct rng *rng, unsigned percent, int64_t most) {
    int on = rng_percent(rng, percent);
    int64_t value = 1 + upto(rng, most - 1);
    return on ? value : 0;
}

/* Of all sizes alike: 1 to 2^bits. */
static int64_t any_size(struct rng *rng, unsigned bits) {
    uint64_t size = UINT64_C(1) << rng_below(rng, bits);
    return (int64_t)(size + rng_below(rng, size));
}

static void pick_cluster(struct rng *rng, struct swarm *s) {
    static const int64_t sizes[] = {1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 9};
    s->nodes = sizes[rng_below(rng, sizeof sizes / sizeof *sizes)];
    s->ops = 2000;
    s->shards = INT64_C(1) << rng_below(rng, 4);
    s->log_bytes = rng_percent(rng, 50) ? 200 + any_size(rng, 11) : 1 << 22;
    int quick = rng_percent(rng, 30); /* members are soon down, and gone */
    s->heartbeat_ms = quick ? 100 + upto(rng, 200) : 1000;
    s->gone_ms = quick && rng_percent(rng, 70) ? 1000 + upto(rng, 5000) : INT64_C(86400000);
    s->batch_us = rng_percent(rng, 70) ? 2000 : upto(rng, 20000);
    s->past = rng_percent(rng, 10) ? 240 + upto(rng, 40) : maybe(rng, 20, 10);
    s->late = maybe(rng, 20, 3);
    if (s->late >= s->nodes) s->late = s->nodes - 1;
}

static void pick_workload(struct rng *rng, struct swarm *s) {
    s->pause_us = rng_percent(rng, 50) ? any_size(rng, 16) : 1 + upto(rng, rng_percent(rng, 30) ? 200000 : 50000);
    s->keys = rng_percent(rng, 30) ? 1 + upto(rng, 2) : 1 + upto(rng, 23);
    s->typed = rng_percent(rng, 50);
    s->strings = maybe(rng, 85, 20);
    s->counters = maybe(rng, 75, 30);
    s->deletes = maybe(rng, 75, 20);
    s->sets = maybe(rng, 65, 20);
    s->hashes = maybe(rng, 65, 20);
    if (!(s->strings + s->counters + s->sets + s->hashes)) s->strings = 1;
    s->flushes = maybe(rng, 40, rng_percent(rng, 30) ? 30 : 4);
    s->others = maybe(rng, 60, 50);
    s->expiries = maybe(rng, 50, 80);
    s->big = rng_percent(rng, 10) ? 5 + upto(rng, 30) : 0;
    s->waits = maybe(rng, 30, 10);
}

static void pick_network(struct rng *rng, struct swarm *s) {
    s->latency_us = 100 + upto(rng, rng_percent(rng, 30) ? 300000 : 3000);
    s->loss = maybe(rng, 50, 30);
    s->duplicates = maybe(rng, 40, 30);
    s->reorders = maybe(rng, 40, 50);
    s->corrupts = maybe(rng, 20, 5);
}

static void pick_faults(struct rng *rng, struct swarm *s) {
    s->cuts = maybe(rng, 60, rng_percent(rng, 50) ? 30 : 300);
    s->crashes = maybe(rng, 45, rng_percent(rng, 50) ? 8 : 60);
    s->stops = maybe(rng, 25, 30);
    s->slows = maybe(rng, 20, 20);
    s->leaves = maybe(rng, 25, 30);
    s->forgets = maybe(rng, 20, 200);
    if (s->forgets && s->heartbeat_ms == 1000) s->heartbeat_ms = 100; /* or nobody is ever down */
    s->jumps = maybe(rng, 35, 40);
    s->skew_ms = rng_percent(rng, 50) ? any_size(rng, 25) : 0;
    s->drift = maybe(rng, 20, 100);
}

/* By numbers of their own: a seed without disks runs as it always did. */
static void pick_disks(uint64_t seed, struct swarm *s) {
    struct rng rng;
    rng_seed(&rng, seed ^ 0xd15c);
    s->disks = rng_percent(&rng, 35);
    s->sync = upto(&rng, 2);
    s->rewrite_bytes = rng_percent(&rng, 70) ? 500 + any_size(&rng, 14) : 1 << 26;
    s->power = rng_percent(&rng, 50) ? 50 : upto(&rng, 100);
    s->crashes_all = maybe(&rng, 40, 20);
    s->fulls = maybe(&rng, 30, 20);
    s->rots = maybe(&rng, 15, 20);
    s->disk_fails = maybe(&rng, 30, 20000);
    int64_t crashes = maybe(&rng, 90, 40);
    if (s->disks && !s->crashes) s->crashes = crashes;
    s->dying = maybe(&rng, 60, 100);
    s->holes = maybe(&rng, 70, 100);
    s->blackouts = maybe(&rng, 50, 40);
}

/* Likewise. */
static void pick_memory(uint64_t seed, struct swarm *s) {
    struct rng rng;
    rng_seed(&rng, seed ^ 0x003);
    s->ooms = maybe(&rng, 30, rng_percent(&rng, 50) ? 20 : 200);
}

/* Likewise. */
static void pick_writers(uint64_t seed, struct swarm *s) {
    struct rng rng;
    rng_seed(&rng, seed ^ 0x3417e);
    s->writers = rng_percent(&rng, 50);
}

/* Likewise. */
static void pick_store(uint64_t seed, struct swarm *s) {
    struct rng rng;
    rng_seed(&rng, seed ^ 0x570e);
    s->stores = rng_percent(&rng, 25);
    s->segment_ms = rng_percent(&rng, 50) ? 500 : 1 + upto(&rng, 2000);
    s->waiting_bytes = rng_percent(&rng, 50) ? 1 << 26 : 100 + any_size(&rng, 14);
    s->store_fails = maybe(&rng, 50, 200000);
    s->store_outs = maybe(&rng, 40, 10);
    s->disks_lost = maybe(&rng, 60, 20);
    int64_t crashes = maybe(&rng, 90, 40);
    if (s->stores && !s->crashes) s->crashes = crashes;
    s->list_lag_ms = maybe(&rng, 40, rng_percent(&rng, 70) ? 2000 : 30000);
}

/* Sets without a log to speak of, far from each other: what is learned while an answer by cells is
 * under way. */
static void shape_late_answers(struct swarm *s) {
    s->nodes = 4;
    s->shards = 1;
    s->log_bytes = 100;
    s->pause_us = 20000;
    s->keys = 2;
    s->latency_us = 300000;
    s->reorders = 50;
    s->sets = s->deletes = 20;
    s->counters = s->strings = s->hashes = s->typed = s->others = s->flushes = s->crashes = s->big = 0;
}

/* One counter, nodes that are slow now and then: deltas that come long after digests about them. */
static void shape_late_deltas(struct swarm *s) {
    s->nodes = 3;
    s->heartbeat_ms = 100;
    s->pause_us = 100000;
    s->keys = 1;
    s->slows = 60;
    s->reorders = 50;
    s->counters = 30;
    s->strings = s->deletes = 10;
    s->sets = s->hashes = s->typed = s->others = s->flushes = s->crashes = s->big = 0;
}

void swarm_pick(uint64_t seed, const struct swarm *given, struct swarm *out) {
    struct rng rng;
    rng_seed(&rng, seed ^ 0x5eed);
    pick_cluster(&rng, out);
    pick_workload(&rng, out);
    pick_network(&rng, out);
    pick_faults(&rng, out);
    pick_disks(seed, out);
    pick_memory(seed, out);
    pick_store(seed, out);
    pick_writers(seed, out);
    uint64_t shape = rng_below(&rng, 100);
    if (shape < 10) shape_late_answers(out);
    else if (shape < 15) shape_late_deltas(out);
    for (int i = 0; i < swarm_count; i++) {
        int64_t value = *swarm_at((struct swarm *)(uintptr_t)given, i);
        if (value != SWARM_UNSET) *swarm_at(out, i) = value;
    }
    if (!out->disks) out->power = out->fulls = out->rots = out->disk_fails = out->dying = out->holes = out->blackouts = out->disks_lost = 0;
    if (!out->stores) out->store_fails = out->store_outs = out->disks_lost = out->list_lag_ms = 0;
    if (!out->disks && !out->stores) out->crashes_all = 0;
    if (out->late >= out->nodes) out->late = out->nodes - 1;
}
