/* The world, simulated: time, clocks, a network with faults, processes that crash.
 *
 * One thread, one seed: the same seed gives the same run, frame by frame, and the same trace
 * hash. The nodes are the shipped ones; only their ports are ours. Links keep what nng gives
 * (order, reconnects, a bounded queue) and take what networks take: in a hostile world frames
 * are lost, repeated, and overtake each other. */
#ifndef ANNEAL_SIM_WORLD_H
#define ANNEAL_SIM_WORLD_H

#include "core/rng.h"
#include "net/node.h"

#define WORLD_NODES_MAX 9

struct world_faults {
    unsigned loss_percent, duplicate_percent, reorder_percent, corrupt_percent;
    int64_t latency_us_min, latency_us_max;
    unsigned partitions; /* per simulated minute, as are crashes and jumps */
    unsigned crashes;
    unsigned clock_jumps;
    int64_t skew_ms_max; /* of clocks, either way */
};

struct world_stats {
    uint64_t events, frames, lost, duplicated, reordered, corrupted, refused_busy, partitions, crashes, jumps;
};

struct world;

/* Nodes are named n0:1, n1:1 ... as addresses. */
struct world *world_new(uint64_t seed, uint32_t nodes, uint32_t shards, uint64_t log_bytes_max);
void world_free(struct world *w);

/* NULL while it is down. */
struct node *world_node(struct world *w, uint32_t index);
uint32_t world_node_count(const struct world *w);
struct rng *world_rng(struct world *w);
int64_t world_now_us(const struct world *w);
void world_faults(struct world *w, const struct world_faults *faults);

/* Runs what is due until the time has come. */
void world_run(struct world *w, int64_t until_us);
/* No more faults: links heal, all nodes are up, clocks agree. */
void world_heal(struct world *w);
/* Loses its memory; comes back, empty and as another replica, after down_us. */
void world_crash(struct world *w, uint32_t index, int64_t down_us);
/* Called before a node's memory is lost, and when it is there again. */
void world_on_restart(struct world *w, void (*fn)(void *arg, uint32_t node, bool up), void *arg);

void world_stats(const struct world *w, struct world_stats *out);
uint64_t world_trace_hash(const struct world *w);
void world_trace_add(struct world *w, struct bytes bytes); /* what callers do is in it too */
/* Prints what happens to nodes and network. */
void world_verbose(struct world *w, bool verbose);
/* Called after each step of a node, with what it was about. */
void world_on_step(struct world *w, void (*fn)(void *arg, uint32_t node, const struct gossip_event *event), void *arg);

#endif
