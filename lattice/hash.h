/* The two hashes: keyed SipHash-2-4 for names (clients choose them, so collisions must not be
 * theirs to make), XXH3 for contents in audits. Both are the same on every node of a cluster. */
#ifndef ANNEAL_LATTICE_HASH_H
#define ANNEAL_LATTICE_HASH_H

#include <stdint.h>

#include "core/bytes.h"

struct hash_seed {
    uint8_t bytes[16]; /* of the cluster */
};

uint64_t hash_key(const struct hash_seed *seed, struct bytes name);
/* What decides the shard: the part in {braces} if there is one, as in Redis Cluster. */
struct bytes hash_tag(struct bytes name);
uint64_t hash_content(struct bytes content, uint64_t seed);

#endif
