/* Everything that a shard keeps count of, counted again by looking at all it holds. */
#ifndef ANNEAL_TEST_FUZZ_RECOUNT_H
#define ANNEAL_TEST_FUZZ_RECOUNT_H

#include "net/node.h"

/* Aborts where a count is wrong: sums of cells, live keys and elements, expiries and their hints,
 * bytes and pieces; or where something is held in a form that it should have left. */
void recount_shard(struct shard *shard);
void recount_node(struct node *node);
/* All that is to be seen at now_ms: keys in the order of their names, types, values, expiries. */
void recount_print(struct shard *shard, int64_t now_ms, struct buf *out);

#endif
