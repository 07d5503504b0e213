#include <stdio.h>
#include <stdlib.h>

#include "persist/archive_state.h"

#define BACKOFF_US INT64_C(100000)
#define BACKOFF_MAX_US INT64_C(10000000)

/* ------------------------------------------------------------- one request */

void fetch_begin(struct archive *a, struct fetch *f, const struct store *store, enum store_op op, const char *key) {
    fetch_fini(f);
    snprintf(f->key, sizeof f->key, "%s", key);
    f->request = (struct store_request){.op = op, .key = bytes_str(f->key), .user = f};
    f->store = store;
    f->state = FETCH_DUE;
    f->at_us = 0;
    f->failures = 0;
    a->progress = true;
}

void fetch_get(struct archive *a, struct fetch *f, const struct store *store, const char *key, uint64_t offset, uint64_t len, uint64_t bytes_max) {
    fetch_begin(a, f, store, STORE_GET, key);
    f->request.offset = offset;
    f->request.len = len;
    f->request.bytes_max = bytes_max ? bytes_max : 1;
}

bool fetch_over(struct archive *a, struct fetch *f) {
    if (f->state == FETCH_DUE && a->now.mono_us >= f->at_us) {
        enum status status = store_submit(f->store, &f->request);
        if (status == STATUS_OK) {
            f->state = FETCH_OUT;
        } else if (status == STATUS_ERR_BUSY) {
            f->at_us = a->now.mono_us + BACKOFF_US;
        } else {
            archive_stop(a, "%s cannot be asked for: %s", f->key, status_text(status));
        }
    }
    if (f->state == FETCH_DUE) archive_wants(a, f->at_us);
    return f->state == FETCH_OVER;
}

static bool is_last_word(enum store_result result) {
    return result == STORE_DONE || result == STORE_EXISTS || result == STORE_MISSING || result == STORE_UNCONDITIONAL || result == STORE_TOO_LARGE;
}

void fetch_answered(struct archive *a, struct fetch *f) {
    a->progress = true;
    if (is_last_word(f->request.result)) {
        f->state = FETCH_OVER;
        return;
    }
    archive_count(a, failures, 1);
    archive_note(a, "%s: %s, %s", f->key, store_result_text(f->request.result), f->request.why);
    int64_t wait_us = BACKOFF_US << (f->failures < 10 ? f->failures : 10);
    if (wait_us > BACKOFF_MAX_US || f->request.result != STORE_TRANSIENT) wait_us = BACKOFF_MAX_US;
    f->failures++;
    f->at_us = a->now.mono_us + wait_us / 2 + archive_random(a, wait_us / 2);
    f->state = FETCH_DUE;
    store_request_fini(&f->request);
}

/* Not while it is out: the store has it. */
void fetch_fini(struct fetch *f) {
    if (f->state != FETCH_IDLE) store_request_fini(&f->request);
    f->state = FETCH_IDLE;
}

/* ---------------------------------------------------------------- listings */

static void next_page(struct archive *a, struct listing *l) {
    char prefix[LAYOUT_KEY_BYTES];
    snprintf(prefix, sizeof prefix, "%s", l->fetch.key);
    fetch_begin(a, &l->fetch, l->fetch.store, STORE_LIST, prefix);
    l->fetch.request.after = bytes_of(l->after, l->after_len);
    l->fetch.request.limit = STORE_PAGE_MAX;
}

static void forget_beyond(struct listing *l) {
    if (l->beyond) sweep_fini(l->beyond);
    mem_free(l->beyond);
    l->beyond = NULL;
}

void listing_begin(struct archive *a, struct listing *l, const struct store *store, const char *prefix) {
    forget_beyond(l);
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

/* What may follow the last of each row. */
static void look_beyond(struct archive *a, struct listing *l) {
    struct listing *asked = &l->beyond->items;
    char next[LAYOUT_KEY_BYTES];
    sweep_begin(l->beyond);
    if (!l->count && *l->first) listing_add(asked, bytes_str(l->first), 0);
    for (size_t i = 0; i < l->count; i++) {
        if (!layout_next_key(l->keys[i].key, next)) continue;
        size_t row = (size_t)(strrchr(next, '/') + 1 - next);
        if (i + 1 == l->count || memcmp(l->keys[i + 1].key, next, row) != 0) listing_add(asked, bytes_str(next), 0);
    }
    a->progress = true;
}

static int compare_listed(const void *x, const void *y) { return strcmp(((const struct listed *)x)->key, ((const struct listed *)y)->key); }

/* Takes what was found, and is to ask for what follows that; false: there is nothing. */
static bool look_further(struct listing *l) {
    struct sweep *s = l->beyond;
    size_t found = 0;
    for (size_t i = 0; i < s->items.count; i++) {
        const struct listed *item = &s->items.keys[i];
        if (item->size == SWEEP_MISSING) continue;
        listing_add(l, bytes_str(item->key), item->size);
        found += layout_next_key(item->key, s->items.keys[found].key);
    }
    if (found) qsort(l->keys, l->count, sizeof *l->keys, compare_listed);
    s->items.count = found;
    s->asked = s->visited = 0;
    return found > 0;
}

bool listing_over(struct archive *a, struct listing *l) {
    if (l->paging && !pages_over(a, l)) return false;
    if (l->paging && l->beyond && !MUTANT(lists_trusted)) look_beyond(a, l);
    l->paging = false;
    do {
        if (l->beyond && !sweep_over(a, l->beyond, l->fetch.store, STORE_HEAD, NULL)) return false;
    } while (l->beyond && look_further(l));
    return true;
}

bool listing_has(const struct listing *l, const char *key) {
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->keys[i].key, key) == 0) return true;
    return false;
}

void listing_fini(struct listing *l) {
    forget_beyond(l);
    fetch_fini(&l->fetch);
    mem_free(l->keys);
    *l = (struct listing){0};
}

/* --------------------------------------------------------------- creations */

static void send(struct archive *a, struct creation *c) {
    c->state = CREATION_SENDING;
    fetch_begin(a, &c->fetch, &a->config.store, a->config.unconditional ? STORE_PUT : STORE_CREATE, c->key);
    c->fetch.request.body = buf_bytes(&c->object);
}

static void look(struct archive *a, struct creation *c) {
    if (!a->config.unconditional) {
        send(a, c);
        return;
    }
    c->state = CREATION_LOOKING;
    fetch_begin(a, &c->fetch, &a->config.store, STORE_HEAD, c->key);
}

void creation_begin(struct archive *a, struct creation *c, const char *key, enum object_kind kind, struct bytes head, struct bytes plain) {
    uint64_t nonce[2];
    snprintf(c->key, sizeof c->key, "%s", key);
    for (int i = 0; i < 2; i++) nonce[i] = a->config.clock.entropy(a->config.clock.self);
    memcpy(c->nonce, nonce, sizeof c->nonce);
    buf_empty(&c->object, KEPT_SEGMENTS * a->config.segment_bytes);
    object_write(kind, c->nonce, head, plain, &a->config.keys, &c->object);
    look(a, c);
}

/* There is an object of the name: ours, if an earlier try did its work and its answer was lost. */
static void compare(struct archive *a, struct creation *c) {
    c->state = CREATION_COMPARING;
    archive_count(a, compared, 1);
    fetch_get(a, &c->fetch, &a->config.store, c->key, OBJECT_NONCE_AT, OBJECT_NONCE_BYTES, OBJECT_NONCE_BYTES);
}

bool creation_over(struct archive *a, struct creation *c) {
    while (c->state != CREATION_MADE && c->state != CREATION_TAKEN) {
        if (!fetch_over(a, &c->fetch)) return false;
        const struct store_request *r = &c->fetch.request;
        bool there = r->result == STORE_DONE || r->result == STORE_EXISTS;
        if (c->state == CREATION_SENDING && r->result == STORE_DONE) {
            c->state = CREATION_MADE;
        } else if (c->state == CREATION_COMPARING && r->result == STORE_DONE) {
            bool ours = bytes_equal(buf_bytes(&r->data), bytes_of(c->nonce, sizeof c->nonce));
            c->state = ours && !MUTANT(nonce_ignored) ? CREATION_MADE : CREATION_TAKEN;
        } else if (c->state != CREATION_COMPARING && there) {
            compare(a, c);
        } else if (c->state == CREATION_LOOKING && r->result == STORE_MISSING) {
            send(a, c);
        } else if (c->state == CREATION_COMPARING && r->result == STORE_MISSING) {
            look(a, c); /* deleted in between */
        } else {
            archive_stop(a, "%s cannot be created: %s, %s", c->key, store_result_text(r->result), r->why);
            return false;
        }
    }
    return true;
}

void creation_fini(struct creation *c) {
    fetch_fini(&c->fetch);
    buf_fini(&c->object);
    *c = (struct creation){0};
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
