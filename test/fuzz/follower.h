/* A node that hears all that another writes, by deltas while its log reaches back, else by cells. */
#ifndef ANNEAL_TEST_FUZZ_FOLLOWER_H
#define ANNEAL_TEST_FUZZ_FOLLOWER_H

#include "net/node.h"

enum { FOLLOWED_MAX = 4 };

struct follower {
    const struct node *node;
    struct replicas *replicas;
    struct shard *shards[FOLLOWED_MAX];
    uint64_t heard[FOLLOWED_MAX];
};

void follower_init(struct follower *f, const struct node *node);
void follower_fini(struct follower *f);
void follower_hear(struct follower *f);
/* Hears, and then holds what the node holds. */
void follower_check(struct follower *f);

#endif
