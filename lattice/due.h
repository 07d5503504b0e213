/* What falls due, by time: a binary heap of (time, key hash).
 *
 * Entries are hints: a key whose expiry changed has more than one, and whoever takes one looks
 * at the key. The owner renews them when they outnumber what they stand for, so memory and time
 * per command do not depend on how often expiries change. Guarded by the shard's lock. */
#ifndef ANNEAL_LATTICE_DUE_H
#define ANNEAL_LATTICE_DUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct due {
    int64_t at_ms;
    uint64_t key_hash;
};

struct due_heap {
    struct due *items;
    size_t count, cap;
};

void due_push(struct due_heap *heap, struct due due);
/* The earliest, if it is not after now. */
bool due_pop(struct due_heap *heap, int64_t now_ms, struct due *out);
/* What its owner has changed in the items is a heap again, without repeats. */
void due_order(struct due_heap *heap);
void due_fini(struct due_heap *heap);

#endif
