#include "lattice/due.h"

#include <stdlib.h>

#include "core/mem.h"

#define CAP_MIN 4u

void due_push(struct due_heap *h, struct due due) {
    if (h->count == h->cap) h->items = mem_realloc(h->items, (h->cap = h->cap ? h->cap + h->cap / 2 : CAP_MIN) * sizeof *h->items);
    size_t at = h->count++;
    for (; at && due.at_ms < h->items[(at - 1) / 2].at_ms; at = (at - 1) / 2) h->items[at] = h->items[(at - 1) / 2];
    h->items[at] = due;
}

static void sink(struct due_heap *h, struct due due) {
    size_t at = 0, child;
    while ((child = 2 * at + 1) < h->count) {
        if (child + 1 < h->count && h->items[child + 1].at_ms < h->items[child].at_ms) child++;
        if (h->items[child].at_ms >= due.at_ms) break;
        h->items[at] = h->items[child];
        at = child;
    }
    h->items[at] = due;
}

bool due_pop(struct due_heap *h, int64_t now_ms, struct due *out) {
    if (!h->count || h->items[0].at_ms > now_ms) return false;
    *out = h->items[0];
    struct due last = h->items[--h->count];
    if (h->count)
        sink(h, last);
    else
        due_fini(h);
    return true;
}

static int by_time(const void *a, const void *b) {
    const struct due *x = a, *y = b;
    if (x->at_ms != y->at_ms) return x->at_ms < y->at_ms ? -1 : 1;
    return (x->key_hash > y->key_hash) - (x->key_hash < y->key_hash);
}

/* What is sorted is a heap. */
void due_order(struct due_heap *h) {
    size_t kept = 0;
    if (h->count) qsort(h->items, h->count, sizeof *h->items, by_time);
    for (size_t i = 0; i < h->count; i++)
        if (i == 0 || by_time(&h->items[i], &h->items[i - 1]) != 0) h->items[kept++] = h->items[i];
    h->count = kept;
    h->cap = kept > CAP_MIN ? kept : CAP_MIN;
    h->items = mem_realloc(h->items, h->cap * sizeof *h->items);
}

void due_fini(struct due_heap *h) {
    mem_free(h->items);
    *h = (struct due_heap){0};
}
