#include <stdio.h>

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
