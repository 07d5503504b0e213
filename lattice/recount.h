/* The same facts twice: what a shard keeps up with each write, counted again from all it holds.
 *
 * A shard keeps sums of cells, counts of what is live and an account of its memory, each changed a
 * little by every mutation; a path that forgets one of them shows long after, on another node.
 * Looks at everything; for tests and the simulator. The shard's lock must be held. */
#ifndef ANNEAL_LATTICE_RECOUNT_H
#define ANNEAL_LATTICE_RECOUNT_H

#include "lattice/shard.h"

/* What is held just now. */
#define SHARD_FACTS(X)                                                      \
    X(packed, "keys and fields in packed form")                             \
    X(loose, "keys and fields in loose form")                               \
    X(concurrent, "elements with concurrent writes")                        \
    X(clashes, "keys of several types at once")                             \
    X(dead_increments, "increments that are reset and kept")                \
    X(early_floors, "floors that came before what they reset")              \
    X(leftovers, "expiries that outlived their keys")                       \
    X(early_dots, "dots known ahead of their mutations")

struct shard_facts {
#define X(name, help) uint64_t name;
    SHARD_FACTS(X)
#undef X
};

/* NULL if all is as it should be, else what is not. Facts are added to *facts. */
const char *shard_recount(struct shard *shard, struct shard_facts *facts);

#endif
