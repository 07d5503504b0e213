#include "lattice/due.h"

#include "core/mem.h"

void due_push(struct due_heap *h, struct due due) {
    if (h->count == h->cap) h->items = mem_realloc(h->items, (h->cap = h->cap ? h->cap + h->cap / 2 : 4) * sizeof *h->items);
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

void due_fini(struct due_heap *h) {
    mem_free(h->items);
    *h = (struct due_heap){0};
}
