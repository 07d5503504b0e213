/* What one seed turns on, and how strongly (swarm testing: Groce, Zhang, Eide, Chen, Regehr 2012).
 * Runs that each leave most things out reach states that a run with everything in it hardly ever
 * does: a world without deletes grows large, one without loss fills its queues.
 *
 * One table: options of the command line, what a seed picks and what the shrinker takes away all
 * follow from it. */
#ifndef ANNEAL_SIM_SWARM_H
#define ANNEAL_SIM_SWARM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define WORLD_NODES_MAX 9
#define SWARM_UNSET (-1)

/* name, least, most, help */
#define SWARM(X)                                                                              \
    X(nodes, 1, WORLD_NODES_MAX, "nodes of the cluster")                                      \
    X(ops, 0, 10000000, "commands that clients send")                                         \
    X(shards, 1, 256, "parts of the key space")                                               \
    X(log_bytes, 0, 1 << 30, "most bytes of each shard's log")                                \
    X(heartbeat_ms, 50, 10000, "between two heartbeats; suspect and down follow from it")     \
    X(gone_ms, 1000, INT64_C(86400000), "silence after which a majority declares one gone")   \
    X(batch_us, 0, 1000000, "least time between two sends")                                   \
    X(writers, 0, 1, "whoever writes publishes, and writes to the log what nobody waits for, if it may")  \
    X(past, 0, 2000, "former replicas that nodes have heard of when they start")              \
    X(pause_us, 1, 10000000, "most time between two commands")                                \
    X(keys, 1, 24, "keys that the model judges")                                              \
    X(typed, 0, 1, "each key is used as one type only")                                       \
    X(strings, 0, 100, "weight of SET")                                                       \
    X(counters, 0, 100, "weight of INCRBY, HINCRBY")                                          \
    X(deletes, 0, 100, "weight of DEL, SREM, HDEL")                                           \
    X(sets, 0, 100, "weight of SADD")                                                         \
    X(hashes, 0, 100, "weight of HSET")                                                       \
    X(flushes, 0, 1000, "FLUSHALL, of 1000 commands")                                         \
    X(others, 0, 100, "percent of commands that the model does not know")                     \
    X(expiries, 0, 100, "percent of those that make keys expire")                             \
    X(big, 0, 100, "percent of commands that add to large collections")                       \
    X(waits, 0, 100, "percent of commands that wait for peers")                               \
    X(latency_us, 1, 10000000, "most latency")                                                \
    X(loss, 0, 100, "percent of frames lost")                                                 \
    X(duplicates, 0, 100, "percent repeated")                                                 \
    X(reorders, 0, 100, "percent that overtake others")                                       \
    X(corrupts, 0, 100, "percent damaged")                                                    \
    X(cuts, 0, 1000, "changes of partitions, a minute; as all below")                         \
    X(crashes, 0, 1000, "nodes that lose their memory")                                       \
    X(ooms, 0, 1000, "nodes whose memory runs out, in the midst of anything")                 \
    X(stops, 0, 1000, "nodes that stand still for a while")                                   \
    X(slows, 0, 1000, "nodes that become slow, or quick again")                               \
    X(leaves, 0, 1000, "nodes that leave, and join later: empty, or with what their disk has") \
    X(forgets, 0, 1000, "members that an operator declares gone")                             \
    X(jumps, 0, 1000, "clocks that jump")                                                     \
    X(skew_ms, 0, INT64_C(100000000), "most that clocks are off, either way")                 \
    X(drift, 0, 500, "most that clocks drift, in 1/1000")                                     \
    X(late, 0, WORLD_NODES_MAX - 1, "nodes that join after the others have begun")            \
    X(disks, 0, 1, "nodes keep what they have on disks")                                      \
    X(sync, 0, 2, "when they sync: never, every second, always")                              \
    X(rewrite_bytes, 1, 1 << 30, "a log of so many bytes is compacted")                       \
    X(power, 0, 100, "percent of crashes that take what was not synced")                      \
    X(crashes_all, 0, 1000, "crashes of all nodes at once, a minute; as all below")           \
    X(fulls, 0, 1000, "disks that are full for a while")                                      \
    X(rots, 0, 1000, "bits that flip on disks")                                               \
    X(disk_fails, 0, 1000000, "of a million writes and syncs, those that fail")               \
    X(dying, 0, 100, "percent of disks that fail and take their node with them, once or more often") \
    X(holes, 0, 100, "percent of files that were not synced and keep later parts without earlier ones") \
    X(blackouts, 0, 1000, "nodes that end in the midst of what they do to their disk, a minute") \
    X(stores, 0, 1, "nodes stream to an object store")                                        \
    X(segment_ms, 1, 100000, "how often")                                                     \
    X(waiting_bytes, 1, 1 << 30, "of writes that may wait for it")                            \
    X(store_fails, 0, 1000000, "of a million requests to it, those that go wrong, of each kind") \
    X(store_outs, 0, 1000, "times that it is away for a while, a minute; as below")           \
    X(disks_lost, 0, 1000, "machines that are lost with their disks, if there is a store")    \
    X(list_lag_ms, 0, 1000000, "until what is stored is listed")

struct swarm {
#define X(name, least, most, help) int64_t name;
    SWARM(X)
#undef X
};

/* Everything from the seed, but what is set in `given`. */
void swarm_pick(uint64_t seed, const struct swarm *given, struct swarm *out);
/* All SWARM_UNSET. */
void swarm_unset(struct swarm *s);

/* The table by number, for options and the shrinker. */
struct swarm_field {
    const char *name; /* as an option, without the dashes */
    int64_t least, most;
    const char *help;
};
extern const struct swarm_field swarm_table[];
extern const int swarm_count;
int64_t *swarm_at(struct swarm *s, int field);
/* " --nodes 3 ...": what is set. */
void swarm_print(const struct swarm *given);

#endif
