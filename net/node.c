#include "net/node.h"

#include <assert.h>

struct node *node_new(const struct node_config *config) {
    assert(config->shards >= 1);
    assert(config->shards <= NODE_SHARDS_MAX);
    struct node *node = mem_zero(1, sizeof *node);
    node->config = *config;
    node->replicas = replicas_new();
    /* Fresh at every start: a dot that repeats would read as seen and removed. */
    node->self = (struct replica_id){config->node_id, config->clock.entropy(config->clock.self)};
    uint16_t self;
    if (replicas_intern(node->replicas, node->self, &self) != STATUS_OK) assert(false);
    struct shard_config shard = {node->replicas, config->seed, self, config->log_bytes_max / config->shards};
    node->shards = mem_zero(config->shards, sizeof *node->shards);
    for (uint32_t i = 0; i < config->shards; i++) node->shards[i] = shard_new(i, &shard);
    return node;
}

void node_free(struct node *node) {
    for (uint32_t i = 0; i < node->config.shards; i++) shard_free(node->shards[i]);
    mem_free(node->shards);
    replicas_free(node->replicas);
    mem_free(node);
}

struct now node_now(const struct node *node) { return node->config.clock.now(node->config.clock.self); }

uint32_t node_shard_of(const struct node *node, struct bytes key) {
    uint64_t hash = hash_key(&node->config.seed, hash_tag(key));
    /* The low half: a shard's table goes by the high bits. */
    return (uint32_t)((hash & UINT32_MAX) * node->config.shards >> 32);
}

uint64_t node_key_count(const struct node *node) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < node->config.shards; i++) count += shard_key_count(node->shards[i]);
    return count;
}
