/* The world, simulated: time, clocks, a network with faults, processes that crash.
 *
 * One thread, one seed: the same seed gives the same run, frame by frame, and the same trace
 * hash. The nodes are the shipped ones; only their ports are ours. Links keep what nng gives
 * (order, reconnects, a bounded queue) and take what networks take: in a hostile world frames
 * are lost, repeated, damaged, and overtake each other; nodes are slow, stand still, lose their
 * memory and come back; clocks are wrong. */
#ifndef ANNEAL_SIM_WORLD_H
#define ANNEAL_SIM_WORLD_H

#include "core/rng.h"
#include "net/node.h"
#include "sim/disk.h"
#include "sim/store.h"
#include "sim/swarm.h"

#define WORLD_STATS(X)                                                 \
    X(events, "events")                                                \
    X(frames, "frames")                                                \
    X(lost, "lost")                                                    \
    X(duplicated, "repeated")                                          \
    X(reordered, "overtook")                                           \
    X(corrupted, "damaged")                                            \
    X(refused_busy, "refused by a full queue")                         \
    X(cuts, "partitions into two sides")                               \
    X(cuts_one_way, "partitions of one direction")                     \
    X(cuts_bridged, "partitions with a bridge")                        \
    X(cuts_uneven, "partitions of single directions")                  \
    X(crashes, "crashes")                                              \
    X(stops, "nodes that stood still")                                 \
    X(slows, "nodes that became slow")                                 \
    X(skewed, "clocks that were off from the start")                   \
    X(drifting, "clocks that drifted")                                 \
    X(jumps, "clock jumps")                                            \
    X(joins, "nodes that joined late")                                     \
    X(power_lost, "crashes that took what was not synced")                 \
    X(ooms_step, "nodes whose memory ran out while they gossiped")         \
    X(ooms_command, "nodes whose memory ran out in a command")             \
    X(ooms_keeper, "nodes whose memory ran out while they kept what they have") \
    X(ooms_start, "nodes whose memory ran out while they started")         \
    X(crashes_all, "crashes of all nodes at once")                         \
    X(fulls, "disks that were full")                                       \
    X(rots, "bits that flipped on disks")                                  \
    X(disk_stops, "nodes that stopped well, with a disk")                  \
    X(recovered_images, "recoveries from images")                          \
    X(recovered_messages, "recoveries from messages")                      \
    X(recovered_gaps, "recoveries that left out what follows a gap")       \
    X(recovered_torn, "recoveries that skipped a torn tail")               \
    X(recovered_damage, "recoveries that skipped damage")                  \
    X(recovered_gone, "recovered nodes that had been declared gone")       \
    X(starts_failed, "starts that failed, by the disk")                    \
    X(checkpoints, "checkpoints that were finished")                       \
    X(checkpoints_failed, "checkpoints that failed")                       \
    X(segments, "segments that were stored")                               \
    X(store_images, "images that were streamed")                           \
    X(store_tails, "tails of the dead that were streamed by others")       \
    X(store_checkpoints, "checkpoints that were stored")                   \
    X(store_merged, "manifests that somebody else made first")             \
    X(store_given_up, "checkpoints that somebody else's made useless")     \
    X(store_deleted, "objects deleted as garbage")                         \
    X(store_compared, "objects in our place that were compared with ours") \
    X(store_again, "readings of the store that began anew")                \
    X(store_read, "objects read back")                                     \
    X(store_outs, "times that the store was away")                         \
    X(disks_lost, "disks that were lost with their machine")               \
    X(ooms_archive, "nodes whose memory ran out while they streamed")      \
    X(disk_failures, "nodes that refused writes, by the disk")             \
    X(blackouts, "nodes that ended between two operations on their disk")   \
    X(dying, "nodes that crashed right after their disk had failed")        \
    X(disk_heals, "nodes that took writes again")

struct world_stats {
#define X(name, help) uint64_t name;
    WORLD_STATS(X)
#undef X
    struct disk_stats disks;
    struct bucket_stats bucket;
};

struct world;

/* STOPPED: it closed what it keeps, and well. DIED: in the midst of something, its locks may be held and
 * nothing may be asked of it. */
enum world_change { WORLD_UP, WORLD_DOWN, WORLD_STOPPED, WORLD_DIED };

/* What the world asks of whoever runs it; any may be NULL. */
struct world_ports {
    /* Before a node's memory is lost, and when it is there again. */
    void (*restart)(void *arg, uint32_t node, enum world_change change);
    /* After each step of its keeper; well: the log could be written all along. */
    void (*kept)(void *arg, uint32_t node, bool well);
    /* It begins to read the object store. */
    void (*loads)(void *arg, uint32_t node);
    /* All that a node has written is in the object store. */
    void (*stored)(void *arg, uint32_t node);
    /* Its archive will not go on. */
    void (*stopped)(void *arg, uint32_t node, const char *why);
    /* After each step of a node, with what it was about. */
    void (*step)(void *arg, uint32_t node, const struct gossip_event *event);
    void *arg;
};

/* Nodes are named n0:1, n1:1 ... as addresses. The swarm outlives it. No faults yet. */
struct world *world_new(uint64_t seed, const struct swarm *swarm, const struct world_ports *ports);
void world_free(struct world *w);

/* NULL while it is down. */
struct node *world_node(struct world *w, uint32_t index);
/* Runs code of a node's process. False: it is down, or its memory has run out in the midst of it, and
 * world_node is NULL from now on; what it was lives on until the world does. */
bool world_enter(struct world *w, uint32_t index, void (*code)(void *arg), void *arg);
bool world_stands_still(const struct world *w, uint32_t index);
uint32_t world_node_count(const struct world *w);
struct rng *world_rng(struct world *w);
int64_t world_now_us(const struct world *w);

/* What dead nodes had is given back. Part of world_run and world_heal. */
void world_clear_up(struct world *w);
/* Runs what is due until the time has come. */
void world_run(struct world *w, int64_t until_us);
/* From now on the swarm's faults happen. */
void world_faults_begin(struct world *w);
/* No more faults: links heal, all nodes are up, clocks agree. */
void world_heal(struct world *w);
/* Its last crash took what was not synced; its disk has rotted. */
bool world_lost_power(const struct world *w, uint32_t index);
bool world_has_rotted(const struct world *w, uint32_t index);
/* What its disk brought back was void, by the object store's word: it started over before it was up, perhaps several times. */
bool world_is_void(const struct world *w, uint32_t index);
/* An operator or a node says that it is gone, or has left. */
void world_gives_up(struct world *w, uint32_t index);
/* Others have ended its stream in the object store, and nobody had given it up. */
bool world_was_ended_alive(const struct world *w, uint32_t index);
/* Since it was last up its machine has stopped while it started, before what a process before had not synced was, or before what
 * that had failed to sync was written anew. */
bool world_lost_doubted(const struct world *w, uint32_t index);
/* Ends well, and comes back as after a crash. */
void world_stop(struct world *w, uint32_t index, int64_t down_us);
/* Loses its memory; comes back, empty and as another replica, after down_us. With a disk: with what is on it. */
void world_crash(struct world *w, uint32_t index, int64_t down_us);

/* With its disk. */
void world_lose(struct world *w, uint32_t index, int64_t down_us);
/* Everything is to be in the object store soon; and is. */
void world_flush(struct world *w);
bool world_is_flushed(struct world *w);

void world_stats(const struct world *w, struct world_stats *out);
uint64_t world_trace_hash(const struct world *w);
void world_trace_add(struct world *w, struct bytes bytes); /* what callers do is in it too */
/* Prints what happens to nodes and network. */
void world_verbose(struct world *w, bool verbose);

#endif
