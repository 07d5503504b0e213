/* One anneal node without the world: shards, replicas, gossip, the cluster's seed, and the
 * ports it was given. Both mains host one: the server and the simulator.
 *
 * Threads: everything here is constant after node_new but the shards, which have their locks,
 * and gossip, which has its own. */
#ifndef ANNEAL_NET_NODE_H
#define ANNEAL_NET_NODE_H

#include <stdatomic.h>

#include "core/port.h"
#include "gossip/gossip.h"
#include "lattice/shard.h"

#define NODE_SHARDS_MAX 4096u

struct node_config {
    struct clock_port clock;
    uint32_t shards;          /* a constant of the cluster; 1 to NODE_SHARDS_MAX */
    const char *cluster_name; /* likewise */
    uint64_t node_id;         /* of this node, over its restarts */
    uint64_t log_bytes_max;   /* of all shards together */
    /* The rest is filled in by node_new: clock, replicas, shards, self, the keyring's cluster.
     * Without keys the well-known one seals. */
    struct gossip_config gossip;
};

struct archive;
struct keeper;
struct node {
    struct clock_port clock;
    struct hash_seed seed;
    struct replicas *replicas;
    struct shard **shards;
    uint32_t shard_count;
    uint64_t *locked_at; /* by shard: our counter when clients locked it; with its lock */
    struct gossip *gossip;
    struct keeper *_Atomic keeper; /* NULL: nothing is kept, or not yet: clients may ask while main loads */
    struct archive *_Atomic archive; /* likewise: nothing is streamed */
    _Atomic uint64_t expired; /* keys removed since the start, or since CONFIG RESETSTAT */
};

struct node *node_new(const struct node_config *config);
void node_free(struct node *node);
/* From here on the keeper hears of everything that is applied. It outlives the node's use;
 * `recovered` says that it has put something into the shards. Before the first step of gossip. */
void node_keep(struct node *node, struct keeper *keeper, bool recovered);
/* Likewise for what streams to an object store. What it reads of that is no secret to keeper and gossip: */
void node_stream(struct node *node, struct archive *archive);
/* Tells the archive who is up; to be called every second or so. */
void node_tell_alive(struct node *node);
void node_reads_shard(void *node, uint32_t shard);        /* archive_config.changing */
void node_read_shard(void *node, uint32_t shard);         /* archive_config.changed */
void node_heard_members(void *node, struct bytes table);  /* archive_config.heard */
void node_was_closed(void *node, struct replica_id self); /* archive_config.closed */
void node_judged(void *node);                             /* archive_config.judged */
struct now node_now(const struct node *node);
/* After a batch of commands, when what is to be told of them has been told: peers, and the disk, hear of what nobody waits for. */
void node_flush(struct node *node);
/* Which shard holds the key: by its {tag}, if it has one. */
uint32_t node_shard_of(const struct node *node, struct bytes key);
/* The same, and the key's hash, which most keys have in common with their tag. */
uint32_t node_locate(const struct node *node, struct bytes key, struct key_ref *ref);
uint64_t node_key_count(const struct node *node);
uint64_t node_expiring_count(const struct node *node); /* of these, with a time to live */
/* Around every use of a shard by clients; gossip learns of what was written. Several are
 * locked in the order of their indexes. */
void node_lock(struct node *node, uint32_t shard);
bool node_unlock(struct node *node, uint32_t shard); /* true: it was written */

/* Removes what has expired from the shards first, first + step, ...; some of it, if it is much:
 * to be called about every 100 ms. Returns how many keys. */
size_t node_expire(struct node *node, uint32_t first, uint32_t step);

#endif
