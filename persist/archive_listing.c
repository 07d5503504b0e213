/* Many objects: listings, and what is asked of all in one. A store may list late: the end of each row is looked for by name, in steps that
 * double and then halve, so that who writes on meanwhile is not run after. What was there when a listing began is in it; later objects
 * may be. */
#include <stdio.h>
#include <stdlib.h>

#include "persist/archive_state.h"

struct row {
    char key[LAYOUT_KEY_BYTES]; /* of one of it */
    uint64_t begin, next;       /* [begin, next) are there, and are not listed */
    uint64_t missing;           /* this one is not; UINT64_MAX: who knows */
    uint64_t step;
};

struct rows {
    struct row *rows;
    size_t count, cap;
    struct sweep sweep;
    bool ends_known; /* now sizes are asked for */
};

static void forget_rows(struct listing *l) {
    if (l->beyond) sweep_fini(&l->beyond->sweep);
    if (l->beyond) mem_free(l->beyond->rows);
    mem_free(l->beyond);
    l->beyond = NULL;
}

/* ------------------------------------------------------------------- pages */

static void next_page(struct archive *a, struct listing *l) {
    char prefix[LAYOUT_KEY_BYTES];
    snprintf(prefix, sizeof prefix, "%s", l->fetch.key);
    fetch_begin(a, &l->fetch, l->fetch.store, STORE_LIST, prefix);
    l->fetch.request.after = bytes_of(l->after, l->after_len);
    l->fetch.request.limit = STORE_PAGE_MAX;
}

void listing_begin(struct archive *a, struct listing *l, const struct store *store, const char *prefix) {
    forget_rows(l);
    l->count = l->after_len = 0;
    l->paging = true;
    snprintf(l->fetch.key, sizeof l->fetch.key, "%s", prefix);
    l->fetch.store = store;
    next_page(a, l);
}

void listing_begin_exact(struct archive *a, struct listing *l, const struct store *store, const char *prefix, const char *first) {
    listing_begin(a, l, store, prefix);
    l->beyond = mem_zero(1, sizeof *l->beyond);
    snprintf(l->first, sizeof l->first, "%s", first ? first : "");
}

void listing_begin_row(struct archive *a, struct listing *l, const struct store *store, const char *first, bool exact) {
    char prefix[LAYOUT_KEY_BYTES];
    snprintf(prefix, sizeof prefix, "%s", first);
    *(strrchr(prefix, '/') + 1) = 0;
    if (exact) listing_begin_exact(a, l, store, prefix, first);
    else listing_begin(a, l, store, prefix);
}

/* Names longer than any of ours are somebody else's. */
void listing_add(struct listing *l, struct bytes key, uint64_t size) {
    if (key.len >= LAYOUT_KEY_BYTES) return;
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->keys = mem_realloc(l->keys, l->cap * sizeof *l->keys);
    }
    struct listed *item = &l->keys[l->count++];
    memcpy(item->key, key.data, key.len);
    item->key[key.len] = 0;
    item->size = size;
}

static bool pages_over(struct archive *a, struct listing *l) {
    while (fetch_over(a, &l->fetch)) {
        const struct store_request *r = &l->fetch.request;
        for (size_t i = 0; r->result == STORE_DONE && i < r->count; i++) listing_add(l, r->entries[i].key, r->entries[i].size);
        if (r->result != STORE_DONE || !r->more || !r->count) return true;
        struct bytes last = r->entries[r->count - 1].key;
        l->after_len = last.len;
        memcpy(l->after, last.data, last.len);
        next_page(a, l);
    }
    return false;
}

/* -------------------------------------------------------------------- rows */

/* Keys come in order, so the last of a row is the one that counts, whatever else lies between or behind. */
static void add_row(struct rows *b, const char *key, uint64_t begin) {
    if (b->count && layout_same_row(b->rows[b->count - 1].key, key)) b->count--;
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->rows = mem_realloc(b->rows, b->cap * sizeof *b->rows);
    }
    struct row *row = &b->rows[b->count++];
    *row = (struct row){.begin = begin, .next = begin, .missing = UINT64_MAX, .step = 1};
    snprintf(row->key, sizeof row->key, "%s", key);
}

static void find_rows(struct listing *l) {
    bool first_listed = !*l->first;
    uint64_t number;
    for (size_t i = 0; i < l->count; i++) {
        const char *key = l->keys[i].key;
        if (!layout_read_row_key(key, &number)) continue;
        first_listed = first_listed || layout_same_row(key, l->first);
        add_row(l->beyond, key, number + 1);
    }
    if (!first_listed && layout_read_row_key(l->first, &number)) add_row(l->beyond, l->first, number);
}

/* Whether it is there says where the end is. */
static uint64_t probe_of(const struct row *row) {
    return row->missing == UINT64_MAX ? row->next + (row->step - 1) : row->next + (row->missing - row->next) / 2;
}

static void ask(struct rows *b, const struct row *row, uint64_t number) {
    char key[LAYOUT_KEY_BYTES];
    layout_row_key(key, row->key, number);
    listing_add(&b->sweep.items, bytes_str(key), 0);
}

/* One for each row whose end is not known; false: there is none. */
static bool ask_for_ends(struct archive *a, struct rows *b) {
    sweep_begin(&b->sweep);
    for (size_t i = 0; i < b->count; i++)
        if (b->rows[i].next < b->rows[i].missing) ask(b, &b->rows[i], probe_of(&b->rows[i]));
    a->progress = true;
    return b->sweep.items.count > 0;
}

static void take_answers(struct rows *b) {
    const struct listed *answer = b->sweep.items.keys;
    for (size_t i = 0; i < b->count; i++) {
        struct row *row = &b->rows[i];
        if (row->next >= row->missing) continue;
        uint64_t number = probe_of(row);
        if (answer++->size == SWEEP_MISSING) {
            row->missing = number;
        } else {
            row->next = number + 1;
            row->step *= 2;
        }
    }
}

static void ask_for_sizes(struct archive *a, struct rows *b) {
    sweep_begin(&b->sweep);
    for (size_t i = 0; i < b->count; i++)
        for (uint64_t number = b->rows[i].begin; number < b->rows[i].next; number++) ask(b, &b->rows[i], number);
    b->ends_known = true;
    a->progress = true;
}

static int compare_listed(const void *x, const void *y) { return strcmp(((const struct listed *)x)->key, ((const struct listed *)y)->key); }

static void take_sizes(struct listing *l) {
    const struct listing *found = &l->beyond->sweep.items;
    for (size_t i = 0; i < found->count; i++)
        if (found->keys[i].size != SWEEP_MISSING) listing_add(l, bytes_str(found->keys[i].key), found->keys[i].size);
    if (l->count) qsort(l->keys, l->count, sizeof *l->keys, compare_listed);
}

bool listing_over(struct archive *a, struct listing *l) {
    struct rows *b = l->beyond;
    if (l->paging && !pages_over(a, l)) return false;
    if (l->paging && b && !MUTANT(lists_trusted)) {
        find_rows(l);
        if (!ask_for_ends(a, b)) forget_rows(l);
    }
    l->paging = false;
    while ((b = l->beyond) && sweep_over(a, &b->sweep, l->fetch.store, STORE_HEAD, NULL)) {
        if (!b->ends_known) take_answers(b);
        if (b->ends_known) {
            take_sizes(l);
            forget_rows(l);
        } else if (!ask_for_ends(a, b)) {
            ask_for_sizes(a, b);
        }
    }
    return !l->beyond;
}

void listing_fini(struct listing *l) {
    forget_rows(l);
    fetch_fini(&l->fetch);
    mem_free(l->keys);
    *l = (struct listing){0};
}

/* ------------------------------------------------------------------ sweeps */

void sweep_begin(struct sweep *s) { s->items.count = s->asked = s->visited = 0; }

bool sweep_over(struct archive *a, struct sweep *s, const struct store *store, enum store_op op,
                void (*visit)(struct archive *a, const struct listed *item, struct fetch *f)) {
    for (; s->visited < s->items.count; s->visited++) {
        for (; s->asked < s->items.count && s->asked < s->visited + AT_ONCE; s->asked++) {
            const struct listed *item = &s->items.keys[s->asked];
            struct fetch *f = &s->slots[s->asked % AT_ONCE];
            if (op == STORE_GET) fetch_get(a, f, store, item->key, 0, 0, item->size);
            else fetch_begin(a, f, store, op, item->key);
        }
        for (size_t i = s->visited; i < s->asked; i++) fetch_over(a, &s->slots[i % AT_ONCE]);
        struct fetch *f = &s->slots[s->visited % AT_ONCE];
        if (!fetch_over(a, f)) return false;
        if (op == STORE_HEAD) s->items.keys[s->visited].size = f->request.result == STORE_DONE ? f->request.size : SWEEP_MISSING;
        if (visit) visit(a, &s->items.keys[s->visited], f);
        fetch_fini(f);
    }
    return true;
}

void sweep_fini(struct sweep *s) {
    for (uint32_t i = 0; i < AT_ONCE; i++) fetch_fini(&s->slots[i]);
    listing_fini(&s->items);
}
