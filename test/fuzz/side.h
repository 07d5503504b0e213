/* One shard, its own numbering of replicas, and a clock: one side of an exchange. */
#ifndef ANNEAL_TEST_FUZZ_SIDE_H
#define ANNEAL_TEST_FUZZ_SIDE_H

#include "lattice/shard.h"

struct side {
    struct replicas *replicas;
    struct shard *shard;
    int64_t now_ms;
};

void side_init(struct side *s, uint64_t node);
void side_fini(struct side *s);
/* Something of every kind. */
void side_write_some(struct side *s);
/* Whatever it was told: its counts are right, it can be written to, and can tell another all of it. */
void side_check(struct side *s);

#endif
