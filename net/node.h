/* One anneal node without the world: shards, replicas, the cluster's seed, and the ports it
 * was given. Both mains host one: the server and the simulator.
 *
 * Threads: everything here is constant after node_new but the shards, which have their locks. */
#ifndef ANNEAL_NET_NODE_H
#define ANNEAL_NET_NODE_H

#include "core/port.h"
#include "lattice/shard.h"

#define NODE_SHARDS_MAX 4096u

struct node_config {
    struct clock_port clock;
    uint32_t shards;        /* a constant of the cluster; 1 to NODE_SHARDS_MAX */
    struct hash_seed seed;  /* a constant of the cluster */
    uint64_t node_id;       /* of this node, over its restarts */
    uint64_t log_bytes_max; /* of all shards together */
};

struct node {
    struct node_config config;
    struct replicas *replicas;
    struct replica_id self;
    struct shard **shards;
};

struct node *node_new(const struct node_config *config);
void node_free(struct node *node);
struct now node_now(const struct node *node);
/* Which shard holds the key: by its {tag}, if it has one. */
uint32_t node_shard_of(const struct node *node, struct bytes key);
uint64_t node_key_count(const struct node *node);

#endif
