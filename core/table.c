#include "core/table.h"

#include <string.h>

#define CAP_MIN 4u
#define CAP_MAX (UINT32_MAX / 2) /* that is reserved at once */
#define SPARE_MIN 8u
#define FAR_MAX 1024u /* from home, by shrinking */
#define AHEAD 8u /* whoever goes through all finds that what comes next is on its way */

static uint64_t slot_of(uint32_t tag, const void *item) {
    uintptr_t address = (uintptr_t)item;
    assert((address & 7) == 0);
    assert(address >> 47 == 0);
    return (uint64_t)(address >> 3) << TABLE_TAG_BITS | tag;
}

static size_t slots_bytes(const struct table *t) { return table_end(t) * sizeof *t->slots; }

/* Slots keep the order of their tags, so each goes to its home or right behind the last. */
static bool move_all(const struct table *from, struct table *to) {
    size_t next = 0;
    for (size_t at = 0; at < table_end(from); at++) {
        uint64_t slot = from->slots[at];
        if (!slot) continue;
        size_t home = table_home(to, table_slot_tag(slot));
        if (home > next) next = home;
        if (next == table_end(to)) return false;
        to->slots[next++] = slot;
    }
    return true;
}

static void resize(struct table *t, uint32_t cap, uint32_t spare_least, struct mem_account *account) {
    for (uint32_t spare = spare_least;; spare *= 2) {
        struct table fresh = {.cap = cap, .spare = spare, .count = t->count};
        fresh.slots = mem_take(account, slots_bytes(&fresh));
        memset(fresh.slots, 0, slots_bytes(&fresh));
        if (move_all(t, &fresh)) {
            if (t->slots) mem_give(account, t->slots, slots_bytes(t));
            *t = fresh;
            return;
        }
        mem_give(account, fresh.slots, slots_bytes(&fresh));
    }
}

/* Items that come in the order of their hashes pile up while the table grows: the first of them have none but the first homes. */
size_t table_far(const struct table *t, size_t at, uint32_t tag) {
    size_t step = TABLE_NEAR, end = table_end(t);
    for (; at + step < end && table_below(t, at + step, tag); step *= 2) at += step;
    if (end - at > step) end = at + step;
    while (at < end) {
        size_t middle = at + (end - at) / 2;
        if (table_below(t, middle, tag)) at = middle + 1;
        else end = middle;
    }
    return at;
}

static bool put(struct table *t, uint64_t slot) {
    uint32_t tag = table_slot_tag(slot);
    size_t at = table_first(t, table_home(t, tag), tag + 1), free_at = at;
    while (free_at < table_end(t) && t->slots[free_at]) free_at++;
    if (free_at == table_end(t)) return false;
    memmove(t->slots + at + 1, t->slots + at, (free_at - at) * sizeof *t->slots);
    t->slots[at] = slot;
    return true;
}

static bool has_room(const struct table *t, uint64_t count) { return count <= (uint64_t)t->cap * 85 / 100; }

void table_reserve(struct table *t, size_t count, struct mem_account *account) {
    uint64_t cap = (uint64_t)count + count * 3 / 10 + 1;
    if (!has_room(t, count) && cap <= CAP_MAX) resize(t, cap < CAP_MIN ? CAP_MIN : (uint32_t)cap, SPARE_MIN, account);
}

void table_insert(struct table *t, uint64_t hash, void *item, struct mem_account *account) {
    uint64_t slot = slot_of(table_tag(hash), item);
    if (!has_room(t, t->count + 1))
        resize(t, t->cap < CAP_MIN ? CAP_MIN : t->cap + t->cap * 3 / 10 + 1, SPARE_MIN, account);
    /* The last cluster has reached the end. More homes would not spread equal tags. */
    while (!put(t, slot)) resize(t, t->cap, t->spare * 2, account);
    t->count++;
}

static size_t find_item(const struct table *t, uint64_t hash, const void *item) {
    uint32_t tag = table_tag(hash);
    uint64_t slot = slot_of(tag, item);
    size_t at = table_first(t, table_home(t, tag), tag);
    while (at < table_end(t) && t->slots[at] != slot) at++;
    assert(at < table_end(t));
    return at;
}

void table_replace(struct table *t, uint64_t hash, const void *old, void *fresh) {
    t->slots[find_item(t, hash, old)] = slot_of(table_tag(hash), fresh);
}

/* Would anybody be so far from home, with so few homes, that each removal before him is slow? What is removed in the order of
 * hashes leaves items that have but the last homes. */
static bool crowds(const struct table *t, uint32_t cap) {
    const struct table fewer = {.cap = cap};
    size_t next = 0;
    for (size_t at = 0; at < table_end(t); at++) {
        if (!t->slots[at]) continue;
        size_t home = table_home(&fewer, table_slot_tag(t->slots[at]));
        if (home > next) next = home;
        if (next++ - home > FAR_MAX) return true;
    }
    return false;
}

/* Looked at when there are half as many as at the last look. */
static void shrink(struct table *t, struct mem_account *account) {
    uint64_t cap = t->count * 2 > CAP_MIN * 2 ? t->count * 2 : CAP_MIN * 2;
    bool look = (t->count & (t->count - 1)) == 0;
    if (look && t->count < t->cap / 4 && cap < t->cap && !crowds(t, (uint32_t)cap)) resize(t, (uint32_t)cap, SPARE_MIN, account);
}

void table_remove(struct table *t, uint64_t hash, const void *item, struct mem_account *account) {
    size_t at = find_item(t, hash, item), last = at;
    /* Those behind it that are away from their homes come one closer. */
    while (last + 1 < table_end(t) && t->slots[last + 1] &&
           table_home(t, table_slot_tag(t->slots[last + 1])) <= last)
        last++;
    memmove(t->slots + at, t->slots + at + 1, (last - at) * sizeof *t->slots);
    t->slots[last] = 0;
    t->count--;
    shrink(t, account);
}

void *table_random(const struct table *t, struct rng *rng) {
    if (!t->count) return NULL;
    for (;;) {
        uint64_t slot = t->slots[rng_below(rng, table_end(t))];
        if (slot) return table_slot_item(slot);
    }
}

void *table_next(const struct table *t, size_t *at) {
    for (; t->slots && *at < table_end(t); ++*at) {
        if (!t->slots[*at]) continue;
        if (*at + AHEAD < table_end(t)) table_fetch_item(t->slots[*at + AHEAD]);
        return table_slot_item(t->slots[(*at)++]);
    }
    return NULL;
}

uint32_t table_scan(const struct table *t, uint32_t cursor, size_t want, void (*visit)(void *item, void *arg), void *arg) {
    if (!t->count || cursor >= TABLE_TAGS) return TABLE_TAGS;
    size_t visited = 0;
    uint32_t last = cursor;
    for (size_t at = table_home(t, cursor); at < table_end(t); at++) {
        uint64_t slot = t->slots[at];
        if (!slot || table_slot_tag(slot) < cursor) continue;
        if (visited >= want && table_slot_tag(slot) != last) return table_slot_tag(slot);
        last = table_slot_tag(slot);
        visit(table_slot_item(slot), arg);
        visited++;
    }
    return TABLE_TAGS;
}

void table_fini(struct table *t, struct mem_account *account) {
    if (t->slots) mem_give(account, t->slots, slots_bytes(t));
    *t = (struct table){0};
}
