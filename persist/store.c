#include "persist/store.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/mem.h"

const char *store_result_text(enum store_result result) {
    static const char *const texts[] = {
#define X(name, text) text,
        STORE_RESULTS(X)
#undef X
    };
    return (unsigned)result < STORE_RESULT_COUNT ? texts[result] : "unknown result";
}

/* -------------------------------------------------------------------- keys */

/* Length of the UTF-8 character there, 0 if it is none (overlong, a surrogate, beyond Unicode) or a control character. */
static size_t character(const uint8_t *at, size_t left) {
    if (at[0] < 0x80) return at[0] >= 0x20 && at[0] != 0x7f;
    size_t len = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left < len) return 0;
    uint32_t c = at[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (at[i] & 0x3fu);
    }
    bool overlong = (len == 3 && c < 0x800) || (len == 4 && c < 0x10000);
    return overlong || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff || c < 0xa0 ? 0 : len;
}

static bool name_valid(const uint8_t *name, size_t len) {
    if (len == 0 || len > STORE_NAME_BYTES_MAX || name[0] == '.') return false;
    for (size_t at = 0, step; at < len; at += step)
        if ((step = character(name + at, len - at)) == 0) return false;
    return true;
}

bool store_key_valid(struct bytes key) {
    if (key.len > STORE_KEY_BYTES_MAX) return false;
    size_t from = 0;
    for (size_t i = 0; i < key.len; i++) {
        if (key.data[i] != '/') continue;
        if (!name_valid(key.data + from, i - from)) return false;
        from = i + 1;
    }
    return from < key.len && name_valid(key.data + from, key.len - from);
}

/* A prefix may end anywhere: it is right if some key begins with it. */
static bool prefix_valid(struct bytes prefix) {
    if (prefix.len == 0) return true;
    bool whole = prefix.data[prefix.len - 1] != '/';
    return store_key_valid(bytes_of(prefix.data, whole ? prefix.len : prefix.len - 1));
}

/* ---------------------------------------------------------------- requests */

static bool request_valid(const struct store_request *r) {
    switch (r->op) {
    case STORE_PUT:
    case STORE_CREATE: return store_key_valid(r->key) && (r->body.data || r->body.len == 0);
    case STORE_GET: return store_key_valid(r->key) && r->bytes_max > 0 && r->len <= UINT64_MAX - r->offset;
    case STORE_HEAD:
    case STORE_DELETE: return store_key_valid(r->key);
    case STORE_LIST: return prefix_valid(r->key) && r->after.len <= STORE_KEY_BYTES_MAX && r->limit > 0 && r->limit <= STORE_PAGE_MAX;
    }
    return false;
}

enum status store_submit(const struct store *store, struct store_request *request) {
    if (!request_valid(request)) return STATUS_ERR_INVALID;
    store_request_fini(request);
    return store->submit(store->self, request);
}

void store_request_fini(struct store_request *request) {
    store_page_clear(request);
    buf_fini(&request->data);
    request->result = STORE_DONE;
    request->unsure = false;
    request->tries = 0;
    request->why[0] = 0;
    request->size = 0;
    request->next = NULL;
}

void store_queue_init(struct store_queue *queue) { *queue = (struct store_queue){.last = &queue->first}; }

void store_queue_put(struct store_queue *queue, struct store_request *request) {
    request->next = NULL;
    *queue->last = request;
    queue->last = &request->next;
    queue->count++;
}

struct store_request *store_queue_take(struct store_queue *queue) {
    struct store_request *request = queue->first;
    if (!request) return NULL;
    queue->first = request->next;
    if (!queue->first) queue->last = &queue->first;
    request->next = NULL;
    queue->count--;
    return request;
}

void store_answer(struct store_request *request, enum store_result result, const char *why, ...) {
    va_list args;
    va_start(args, why);
    vsnprintf(request->why, sizeof request->why, why, args);
    va_end(args);
    for (char *c = request->why; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?'; /* parts of it come from a server */
    request->result = result;
    if (result == STORE_DONE) request->why[0] = 0;
}

/* Keys are written one behind the other; while data grows they have a length and no place. */
void store_page_add(struct store_request *request, struct bytes key, uint64_t size) {
    assert(request->count < request->limit);
    if (!request->entries) request->entries = mem_alloc(request->limit * sizeof *request->entries);
    buf_put_bytes(&request->data, key);
    request->entries[request->count++] = (struct store_entry){{NULL, key.len}, size};
}

void store_page_end(struct store_request *request, bool more) {
    size_t at = 0;
    for (size_t i = 0; i < request->count; i++) {
        request->entries[i].key.data = request->data.data + at;
        at += request->entries[i].key.len;
    }
    assert(at == request->data.len);
    assert(!more || request->count > 0);
    request->more = more;
}

void store_page_clear(struct store_request *request) {
    mem_free(request->entries);
    request->entries = NULL;
    request->count = 0;
    request->more = false;
    request->data.len = 0;
}

/* ----------------------------------------------------------------- probing */

enum { PROBE_CREATE, PROBE_AGAIN, PROBE_READ, PROBE_REMOVE };

static const char first_body[] = "anneal probes conditional writes: first";
static const char second_body[] = "anneal probes conditional writes: second";

/* A request that cannot be had now is an answer as well. */
static void ask(struct store_probe *probe, unsigned step) {
    struct store_request *r = &probe->request;
    static const enum store_op ops[] = {STORE_CREATE, STORE_CREATE, STORE_GET, STORE_DELETE};
    store_request_fini(r);
    probe->step = step;
    r->op = ops[step];
    r->key = bytes_str(probe->key);
    r->body = bytes_str(step == PROBE_AGAIN ? second_body : first_body);
    r->bytes_max = sizeof second_body;
    enum status status = store_submit(probe->store, r);
    if (status == STATUS_OK) return;
    probe->finished = true;
    probe->result = STORE_TRANSIENT;
    snprintf(probe->why, sizeof probe->why, "%s", status_text(status));
}

enum status store_probe_start(struct store_probe *probe, const struct store *store, const char *key) {
    *probe = (struct store_probe){.store = store};
    if (strlen(key) >= sizeof probe->key || !store_key_valid(bytes_str(key))) return STATUS_ERR_INVALID;
    strcpy(probe->key, key);
    ask(probe, PROBE_CREATE);
    if (!probe->finished) return STATUS_OK;
    return STATUS_ERR_BUSY;
}

static void judge(struct store_probe *probe, enum store_result result, const char *why) {
    probe->result = result;
    snprintf(probe->why, sizeof probe->why, "%s", why);
    ask(probe, PROBE_REMOVE);
}

/* EXISTS alone proves little: what counts is that the first body is still there. */
void store_probe_step(struct store_probe *probe) {
    struct store_request *r = &probe->request;
    bool stored = r->result == STORE_DONE, kept = r->result == STORE_EXISTS;
    switch (probe->step) {
    case PROBE_CREATE:
        if (stored || (kept && r->unsure)) return ask(probe, PROBE_AGAIN);
        return judge(probe, r->result, kept ? "the probe's object was there before" : r->why);
    case PROBE_AGAIN:
        if (kept) return ask(probe, PROBE_READ);
        if (stored) return judge(probe, STORE_UNCONDITIONAL, "the store ignores If-None-Match: a second create was accepted");
        return judge(probe, r->result, r->why);
    case PROBE_READ:
        if (!stored) return judge(probe, r->result, r->why);
        if (bytes_equal(buf_bytes(&r->data), bytes_str(first_body))) return judge(probe, STORE_DONE, "");
        return judge(probe, STORE_UNCONDITIONAL, "the store said that the object exists, and overwrote it");
    default:
        store_request_fini(r);
        probe->finished = true;
    }
}
