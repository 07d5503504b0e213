/* A set of pointers in the order of their hashes.
 *
 *   slot  := pointer (44 bits, 8-byte aligned below 2^47) | tag (top 20 bits of the hash)
 *   home  := tag * cap >> 20: the table is a stretched image of hash space
 *
 * Linear probing, each cluster sorted by tag, no wrap-around: a search stops at the first
 * greater tag, and halves its way if that is far, as it is while items come in the order of
 * their hashes; growing (by 1.3, to any capacity) and shrinking are one linear pass that
 * touches no item and needs no hash. Insertion shifts right, removal shifts back, so there
 * are no tombstones; of many to be removed, the last go first. A scan's cursor is a tag: a
 * place in hash space, which stays what it is whatever the capacity becomes.
 *
 * Items with equal tags are told apart by the caller's match. Starts as {0}. The items are
 * the caller's. Not thread-safe. */
#ifndef ANNEAL_CORE_TABLE_H
#define ANNEAL_CORE_TABLE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mem.h"
#include "core/rng.h"

#define TABLE_TAG_BITS 20
#define TABLE_TAGS (UINT32_C(1) << TABLE_TAG_BITS)

struct table {
    uint64_t *slots; /* cap homes, then spare ones for the last clusters; 0 is empty */
    uint32_t cap;
    uint32_t spare;
    uint64_t count;
};

static inline uint32_t table_tag(uint64_t hash) { return (uint32_t)(hash >> (64 - TABLE_TAG_BITS)); }
static inline uint32_t table_slot_tag(uint64_t slot) { return (uint32_t)(slot & (TABLE_TAGS - 1)); }
static inline void *table_slot_item(uint64_t slot) { return (void *)(uintptr_t)(slot >> TABLE_TAG_BITS << 3); }
static inline size_t table_home(const struct table *t, uint32_t tag) {
    return (size_t)((uint64_t)tag * t->cap >> TABLE_TAG_BITS);
}
static inline size_t table_end(const struct table *t) { return (size_t)t->cap + t->spare; }

/* Is there an item in this slot whose tag is below? From a tag's home on: first all are, then none. */
static inline bool table_below(const struct table *t, size_t at, uint32_t tag) {
    return t->slots[at] && table_slot_tag(t->slots[at]) < tag;
}
#define TABLE_NEAR 8u
size_t table_far(const struct table *t, size_t at, uint32_t tag); /* by halving; that at `at` is below */
/* The first slot from `at` on that is not below; `at` is the home of this tag, or of the one before. */
static inline size_t table_first(const struct table *t, size_t at, uint32_t tag) {
    for (size_t end = table_end(t), far = at + TABLE_NEAR; at < end && table_below(t, at, tag); at++)
        if (at == far) return table_far(t, at, tag);
    return at;
}

/* NULL if no item with this hash matches. */
static inline void *table_find(const struct table *t, uint64_t hash, bool (*match)(void *item, const void *arg),
                               const void *arg) {
    if (!t->count) return NULL;
    uint32_t tag = table_tag(hash);
    for (size_t at = table_first(t, table_home(t, tag), tag), end = table_end(t); at < end; at++) {
        uint64_t slot = t->slots[at];
        if (!slot || table_slot_tag(slot) > tag) return NULL;
        if (match(table_slot_item(slot), arg)) return table_slot_item(slot);
    }
    return NULL;
}

/* Hints that items with this hash will be looked for: their slots are fetched into the cache; and, when those are there, what
 * is in front of them. Many that are asked for at once arrive together. */
static inline void table_fetch(const void *at) {
    __builtin_prefetch(at);
    __asm__ volatile(""); /* gcc 12 takes loops and functions that do nothing but prefetch for empty */
}
static inline void table_fetch_item(uint64_t slot) {
    uintptr_t item = (uintptr_t)table_slot_item(slot); /* NULL if the slot is empty: a fetch harms nobody */
    table_fetch((const void *)item);
    table_fetch((const void *)(item + 64));
}
static inline void table_expect(const struct table *t, uint64_t hash) {
    if (t->count) table_fetch(&t->slots[table_home(t, table_tag(hash))]);
}
static inline void table_expect_item(const struct table *t, uint64_t hash) {
    if (!t->count) return;
    uint32_t tag = table_tag(hash);
    size_t at = table_first(t, table_home(t, tag), tag);
    if (at < table_end(t) && table_slot_tag(t->slots[at]) == tag) table_fetch_item(t->slots[at]);
}

/* Room for `count` items in all, which are about to come. */
void table_reserve(struct table *t, size_t count, struct mem_account *account);
/* The item must not be there yet. */
void table_insert(struct table *t, uint64_t hash, void *item, struct mem_account *account);
/* The item moved in memory. */
void table_replace(struct table *t, uint64_t hash, const void *old, void *fresh);
/* The item must be there. */
void table_remove(struct table *t, uint64_t hash, const void *item, struct mem_account *account);
/* Uniform; NULL when empty. */
void *table_random(const struct table *t, struct rng *rng);
/* The item at or after *at, which moves past it; NULL at the end. Not across changes. */
void *table_next(const struct table *t, size_t *at);
/* Visits items from cursor on until `want` were visited, whole tags at a time; returns the
 * next cursor, TABLE_TAGS when done. What is in the table during the whole of a scan is
 * visited, whatever changes between the calls. */
uint32_t table_scan(const struct table *t, uint32_t cursor, size_t want, void (*visit)(void *item, void *arg), void *arg);
/* Frees the slots, not the items; leaves it {0}. */
void table_fini(struct table *t, struct mem_account *account);

#endif
