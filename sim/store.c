#include "sim/store.h"

#include <assert.h>

#include "core/mem.h"
#include "core/rng.h"
#include "sim/memory.h"

#define NEVER INT64_MAX
#define LATENCY_US_MIN 1000
#define LATENCY_US_MAX 80000

struct object {
    struct buf key, body;
    int64_t created_us;
};

enum fate { FATE_GOOD, FATE_FAILED, FATE_LOST, FATE_REPEATED, FATE_LATE };

struct client {
    struct bucket_sim *bucket;
    struct store_queue answered;
    uint32_t requests, requests_max; /* not yet polled */
    int64_t deadline_us;
    void (*ready)(void *arg);
    void *ready_arg;
};

/* What is still to come of a request. */
struct call {
    struct call *next;
    struct client *client; /* NULL: nobody waits any more, and request is our copy */
    struct store_request *request;
    struct store_request copy;
    struct buf copied; /* key and body of it */
    enum fate fate;
    int64_t work_us, answer_us; /* NEVER: not to come, or done */
};

struct bucket_sim {
    struct object *objects; /* by key */
    size_t count, room;
    struct call *calls; /* by what is due first, then in the order of arrival */
    unsigned clients;
    int64_t now_us;
    struct rng rng;
    struct bucket_faults faults;
    struct bucket_stats stats;
};

struct bucket_sim *bucket_sim_new(uint64_t seed) {
    struct bucket_sim *b = mem_zero(1, sizeof *b);
    rng_seed(&b->rng, seed);
    return b;
}

void bucket_sim_faults(struct bucket_sim *b, const struct bucket_faults *faults) { b->faults = *faults; }

/* ------------------------------------------------------------------ objects */

/* Of the first key that is not less. */
static size_t place(const struct bucket_sim *b, struct bytes key) {
    size_t low = 0, high = b->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(buf_bytes(&b->objects[middle].key), key) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static struct object *find(const struct bucket_sim *b, struct bytes key) {
    size_t at = place(b, key);
    return at < b->count && bytes_equal(buf_bytes(&b->objects[at].key), key) ? &b->objects[at] : NULL;
}

static struct object *insert(struct bucket_sim *b, struct bytes key) {
    size_t at = place(b, key);
    if (b->count == b->room) {
        b->room = b->room ? 2 * b->room : 16;
        b->objects = mem_realloc(b->objects, b->room * sizeof *b->objects);
    }
    struct object *o = &b->objects[at];
    memmove(o + 1, o, (b->count++ - at) * sizeof *o);
    *o = (struct object){.created_us = b->now_us};
    buf_put_bytes(&o->key, key);
    return o;
}

static void forget(struct object *o) {
    buf_fini(&o->key);
    buf_fini(&o->body);
}

static void erase(struct bucket_sim *b, struct object *o) {
    forget(o);
    memmove(o, o + 1, (size_t)(b->objects + --b->count - o) * sizeof *o);
}

bool bucket_sim_rot(struct bucket_sim *b) {
    size_t from = b->count ? (size_t)rng_below(&b->rng, b->count) : 0;
    for (size_t i = 0; i < b->count; i++) {
        struct buf *body = &b->objects[(from + i) % b->count].body;
        if (body->len == 0) continue;
        body->data[rng_below(&b->rng, body->len)] ^= (uint8_t)(1u << rng_below(&b->rng, 8));
        b->stats.rots++;
        return true;
    }
    return false;
}

void bucket_sim_stats(const struct bucket_sim *b, struct bucket_stats *out) {
    *out = b->stats;
    out->objects = b->count;
    for (size_t i = 0; i < b->count; i++) out->bytes += b->objects[i].body.len;
}

/* --------------------------------------------------------------------- work */

static void answer(struct store_request *r, enum store_result result) {
    store_answer(r, result, "%.*s: %s", (int)r->key.len, r->key.data ? (const char *)r->key.data : "", store_result_text(result));
}

static void put(struct bucket_sim *b, struct store_request *r) {
    struct object *o = find(b, r->key);
    if (r->op == STORE_CREATE && b->faults.conditions == BUCKET_CONDITIONS_UNKNOWN) return answer(r, STORE_UNCONDITIONAL);
    if (r->op == STORE_CREATE && o) {
        if (b->faults.conditions == BUCKET_CONDITIONS_KEPT) return answer(r, STORE_EXISTS);
        b->stats.overwritten++;
    }
    if (!o) o = insert(b, r->key);
    o->body.len = 0;
    buf_put_bytes(&o->body, r->body);
    answer(r, STORE_DONE);
}

static void get(struct store_request *r, const struct object *o) {
    uint64_t len = o->body.len > r->offset ? o->body.len - r->offset : 0;
    if (r->len > 0 && r->len < len) len = r->len;
    if (len > r->bytes_max) return answer(r, STORE_TOO_LARGE);
    if (len > 0) buf_put(&r->data, o->body.data + r->offset, (size_t)len);
    answer(r, STORE_DONE);
}

static bool begins(struct bytes text, struct bytes with) {
    return text.len >= with.len && bytes_equal(bytes_of(text.data, with.len), with);
}

static void list(struct bucket_sim *b, struct store_request *r) {
    bool more = false;
    for (size_t i = place(b, bytes_compare(r->after, r->key) < 0 ? r->key : r->after); i < b->count && !more; i++) {
        const struct object *o = &b->objects[i];
        struct bytes key = buf_bytes(&o->key);
        if (!begins(key, r->key)) break;
        if (bytes_equal(key, r->after)) continue;
        if (b->now_us - o->created_us < b->faults.list_lag_us) {
            b->stats.hidden++;
            continue;
        }
        more = r->count == r->limit;
        if (!more) store_page_add(r, key, o->body.len);
    }
    store_page_end(r, more);
    answer(r, STORE_DONE);
}

static void carry_out(struct bucket_sim *b, struct store_request *r) {
    b->stats.out += b->faults.out;
    b->stats.refused += !b->faults.out && b->faults.refuse;
    if (b->faults.out) return answer(r, STORE_TRANSIENT);
    if (b->faults.refuse) return answer(r, STORE_REFUSED);
    if (r->op == STORE_PUT || r->op == STORE_CREATE) return put(b, r);
    if (r->op == STORE_LIST) return list(b, r);
    struct object *o = find(b, r->key);
    if (r->op == STORE_DELETE) {
        if (o) erase(b, o);
        return answer(r, STORE_DONE);
    }
    if (!o) return answer(r, STORE_MISSING);
    if (r->op == STORE_GET) return get(r, o);
    r->size = o->body.len;
    answer(r, STORE_DONE);
}

/* -------------------------------------------------------------------- calls */

static int64_t due(const struct call *c) { return c->work_us < c->answer_us ? c->work_us : c->answer_us; }

static void call_free(struct call *c) {
    buf_fini(&c->copied);
    mem_free(c);
}

/* Takes it; nothing to come ends it. */
static void keep(struct bucket_sim *b, struct call *c) {
    if (due(c) == NEVER) return call_free(c);
    struct call **at = &b->calls;
    while (*at && due(*at) <= due(c)) at = &(*at)->next;
    c->next = *at;
    *at = c;
}

static bool writes(const struct store_request *r) { return r->op == STORE_PUT || r->op == STORE_CREATE || r->op == STORE_DELETE; }

static int64_t between(struct bucket_sim *b, int64_t from, int64_t to) {
    return from + (int64_t)rng_below(&b->rng, (uint64_t)(to - from) + 1);
}

/* The request goes back to its caller; what was sent is still on its way, or lost. */
static void part(struct bucket_sim *b, struct call *c) {
    const struct store_request *r = c->request;
    int64_t deadline_us = c->client->deadline_us;
    c->client = NULL;
    if (rng_percent(&b->rng, 50)) {
        b->stats.never++;
        return;
    }
    c->work_us = between(b, b->now_us, b->now_us + deadline_us);
    buf_put_bytes(&c->copied, r->key);
    buf_put_bytes(&c->copied, r->body);
    c->copy = (struct store_request){.op = r->op, .key = bytes_of(c->copied.data, r->key.len),
                                     .body = bytes_of(c->copied.data + r->key.len, r->body.len)};
    c->request = &c->copy;
}

static void work(struct bucket_sim *b, struct call *c) {
    c->work_us = NEVER;
    carry_out(b, c->request);
    if (!c->client) b->stats.landed += c->request->result == STORE_DONE;
    if (c->fate != FATE_REPEATED) return;
    c->fate = FATE_GOOD;
    c->request->unsure = true;
    c->request->tries++;
    c->work_us = between(b, b->now_us, c->answer_us);
    b->stats.repeated++;
}

static void hand_back(struct bucket_sim *b, struct call *c) {
    struct client *client = c->client;
    struct store_request *r = c->request;
    bool first = !client->answered.first, unknown = c->fate == FATE_LOST || c->fate == FATE_LATE;
    c->answer_us = NEVER;
    b->stats.failed += c->fate == FATE_FAILED;
    b->stats.lost += c->fate == FATE_LOST;
    b->stats.late += c->fate == FATE_LATE;
    if (c->fate == FATE_LATE) part(b, c);
    if (c->fate != FATE_GOOD) answer(r, STORE_TRANSIENT);
    r->unsure = r->result != STORE_DONE && (r->unsure || unknown);
    store_queue_put(&client->answered, r);
    if (first && client->ready) client->ready(client->ready_arg);
}

int64_t bucket_sim_next_us(const struct bucket_sim *b) { return b->calls ? due(b->calls) : NEVER; }

void bucket_sim_now(struct bucket_sim *b, int64_t now_us) {
    assert(now_us >= b->now_us);
    while (b->calls && due(b->calls) <= now_us) {
        struct call *c = b->calls;
        b->calls = c->next;
        b->now_us = due(c);
        if (c->work_us <= c->answer_us) work(b, c);
        else hand_back(b, c);
        keep(b, c);
    }
    b->now_us = now_us;
}

void bucket_sim_free(struct bucket_sim *b) {
    assert(b->clients == 0);
    for (struct call *c; (c = b->calls);) {
        b->calls = c->next;
        call_free(c);
    }
    for (size_t i = 0; i < b->count; i++) forget(&b->objects[i]);
    mem_free(b->objects);
    mem_free(b);
}

/* --------------------------------------------------------------------- port */

static bool happens(struct bucket_sim *b, uint32_t rate) { return rng_below(&b->rng, BUCKET_RATE_ALL) < rate; }

static enum fate pick_fate(struct bucket_sim *b, const struct store_request *r) {
    if (happens(b, b->faults.fail)) return FATE_FAILED;
    if (happens(b, b->faults.lose)) return !writes(r) ? FATE_FAILED : rng_percent(&b->rng, 50) ? FATE_REPEATED : FATE_LOST;
    return writes(r) && happens(b, b->faults.late) ? FATE_LATE : FATE_GOOD;
}

static enum status sim_submit(void *self, struct store_request *r) {
    struct client *client = self;
    struct bucket_sim *b = client->bucket;
    if (client->requests == client->requests_max) return STATUS_ERR_BUSY;
    struct memory *caller = memory_become(NULL);
    struct call *c = mem_zero(1, sizeof *c);
    memory_become(caller);
    bool slow = happens(b, b->faults.slow);
    int64_t latest_us = slow || client->deadline_us < LATENCY_US_MAX ? client->deadline_us : LATENCY_US_MAX;
    int64_t least_us = latest_us < LATENCY_US_MIN ? latest_us : LATENCY_US_MIN;
    *c = (struct call){.client = client, .request = r, .fate = pick_fate(b, r), .work_us = NEVER};
    c->answer_us = b->now_us + between(b, least_us, latest_us);
    if (c->fate != FATE_FAILED && c->fate != FATE_LATE) c->work_us = between(b, b->now_us, c->answer_us);
    r->since_us = b->now_us;
    r->tries = 1;
    client->requests++;
    b->stats.requests++;
    b->stats.slow += slow;
    keep(b, c);
    return STATUS_OK;
}

/* The answer, in the caller's memory from now on: it must go with all else of a process that ends. */
static void hand_over(struct store_request *r) {
    struct buf data = {0};
    struct store_entry *entries = r->count ? mem_alloc(r->count * sizeof *entries) : NULL;
    buf_put_bytes(&data, buf_bytes(&r->data));
    for (size_t i = 0; i < r->count; i++) {
        entries[i] = r->entries[i];
        entries[i].key.data = data.data + (r->entries[i].key.data - r->data.data);
    }
    struct memory *caller = memory_become(NULL);
    buf_fini(&r->data);
    mem_free(r->entries);
    memory_become(caller);
    r->data = data;
    r->entries = entries;
}

static struct store_request *sim_poll(void *self) {
    struct client *client = self;
    if (!client->answered.first) return NULL;
    hand_over(client->answered.first);
    client->requests--;
    return store_queue_take(&client->answered);
}

/* What was on its way may arrive, also what was to be sent again; what was done is done. */
static void cut_off(struct bucket_sim *b, struct call *c) {
    struct store_request *r = c->request;
    bool flying = writes(r) && (c->work_us != NEVER || c->fate == FATE_LATE);
    c->answer_us = c->work_us = NEVER;
    c->fate = FATE_GOOD;
    b->stats.orphans += flying;
    if (flying) part(b, c);
    store_request_fini(r);
    answer(r, STORE_TRANSIENT);
    r->unsure = writes(r);
    keep(b, c);
}

static void sim_close(void *self) {
    struct client *client = self;
    struct bucket_sim *b = client->bucket;
    struct call *calls = b->calls;
    b->calls = NULL;
    for (struct call *c; (c = calls);) {
        calls = c->next;
        if (c->client == client) cut_off(b, c);
        else keep(b, c);
    }
    for (struct store_request *r; (r = store_queue_take(&client->answered));) store_request_fini(r);
    b->clients--;
    mem_free(client);
}

struct store store_sim_open(struct bucket_sim *b, const struct store_settings *settings) {
    struct client *client = mem_zero(1, sizeof *client);
    *client = (struct client){.bucket = b, .requests_max = settings->requests_max, .deadline_us = settings->deadline_ms * (int64_t)1000,
                              .ready = settings->ready, .ready_arg = settings->ready_arg};
    store_queue_init(&client->answered);
    b->clients++;
    return (struct store){sim_submit, sim_poll, sim_close, client};
}

int64_t store_sim_next_us(const struct store *store) {
    const struct client *client = store->self;
    int64_t next_us = client->answered.first ? client->bucket->now_us : NEVER;
    for (const struct call *c = client->bucket->calls; c; c = c->next)
        if (c->client == client && c->answer_us < next_us) next_us = c->answer_us;
    return next_us;
}
