/* Clients: RESP in fragments into the shipped sessions, and WAIT taken at its word. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/options.h"
#include "net/resp.h"
#include "persist/keeper.h"
#include "sim/run.h"

/* What is asked of a node's process. */
struct request {
    struct run *r;
    uint32_t index;
    bool waiter;   /* by the session that WAITs */
    bool settles;  /* its replies go out */
    bool promised; /* and what was written is acknowledged */
};

static void client_up(struct run *r, uint32_t index) {
    struct client *c = &r->clients[index];
    if (c->session) return;
    c->config = config_new(option_table, OPTION_COUNT);
    host_init(&c->host, world_node(r->world, index), c->config, NULL);
    c->session = session_new(&c->host, 1, "sim:1", "sim:2", true, &c->reply);
    c->waiter = session_new(&c->host, 2, "sim:3", "sim:2", true, &c->wait_reply);
}

static void client_free(struct client *c) {
    if (c->session) {
        session_free(c->session);
        session_free(c->waiter);
        host_fini(&c->host);
        config_free(c->config);
    }
    buf_fini(&c->query);
    buf_fini(&c->reply);
    buf_fini(&c->wait_query);
    buf_fini(&c->wait_reply);
}

void client_lost(struct run *r, uint32_t index, bool died) {
    struct client *c = &r->clients[index];
    if (!died) client_free(c);
    mem_free(c->wait_marks);
    *c = (struct client){0};
}

static void put_command(struct buf *query, int argc, const char *const *argv) {
    resp_array(query, (size_t)argc);
    for (int i = 0; i < argc; i++) resp_bulk(query, bytes_str(argv[i]));
}

/* In up to three fragments; nothing may be answered before the last. */
static void feed(struct run *r, struct session *s, struct buf *query, struct bytes whole, struct buf *reply) {
    struct rng *rng = world_rng(r->world);
    size_t at = 0, before = reply->len;
    for (uint64_t cuts = rng_below(rng, 3); cuts > 0; cuts--) {
        size_t to = at + (size_t)rng_below(rng, whole.len - at);
        buf_put(query, whole.data + at, to - at);
        session_data(s, query, reply);
        assert(reply->len == before);
        at = to;
    }
    buf_put(query, whole.data + at, whole.len - at);
    session_data(s, query, reply);
    assert(!s->closing);
    assert(query->len == 0 || s->parked);
}

/* As the server does at the end of a batch: replies go out after this. True: with a promise. */
static bool settle(struct node *node, struct session *s, struct buf *reply) {
    if (!node->keeper) return false;
    enum status status = keeper_commit(node->keeper);
    session_settled(s, reply, status);
    return status == STATUS_OK;
}

static void serve(void *arg) {
    struct request *q = arg;
    struct client *c = &q->r->clients[q->index];
    client_up(q->r, q->index);
    struct session *s = q->waiter ? c->waiter : c->session;
    struct buf *query = q->waiter ? &c->wait_query : &c->query, *reply = q->waiter ? &c->wait_reply : &c->reply;
    reply->len = 0;
    feed(q->r, s, query, buf_bytes(&q->r->whole), reply);
    struct node *node = world_node(q->r->world, q->index);
    if (q->settles) q->promised = settle(node, s, reply);
    if (q->r->swarm.writers) node_flush(node);
}

/* --verbose. Of long collections and replies the beginning. */
static void say(const struct request *q, int argc, const char *const *argv, bool served) {
    const struct client *c = &q->r->clients[q->index];
    struct bytes reply = served ? buf_bytes(q->waiter ? &c->wait_reply : &c->reply) : bytes_str("no answer");
    printf("%10lld n%u client", (long long)world_now_us(q->r->world), q->index);
    for (int i = 0; i < argc && i < 6; i++) printf(" %s", argv[i]);
    printf("%s ->", argc > 6 ? " ..." : "");
    for (size_t i = 0; i < reply.len && i < 60; i++) putchar(reply.data[i] < ' ' ? ' ' : reply.data[i]);
    printf("\n");
}

/* False: the node has died of it. */
static bool request(struct request q, int argc, const char *const *argv) {
    struct run *r = q.r;
    const struct node *node = world_node(r->world, q.index);
    if (!node) return false;
    r->whole.len = 0;
    put_command(&r->whole, argc, argv);
    bool served = world_enter(r->world, q.index, serve, &q);
    if (r->verbose && !r->judging) say(&q, argc, argv, served);
    if (served && q.promised) promise_made(r, q.index);
    note_issued(r, node);
    return served;
}

bool was_lost(struct bytes reply) { return reply.len > 5 && !memcmp(reply.data, "-LOST", 5); }
bool was_in_doubt(struct bytes reply) { return reply.len > 8 && !memcmp(reply.data, "-MISCONF", 8); }

struct bytes client_ask(struct run *r, uint32_t index, int argc, const char *const *argv) {
    bool served = request((struct request){r, index, .settles = true}, argc, argv);
    struct bytes reply = served ? buf_bytes(&r->clients[index].reply) : bytes_str("-LOST\r\n");
    assert(reply.len > 0);
    world_trace_add(r->world, reply);
    *(r->judging ? &r->counts.questions : &r->counts.commands) += served;
    return reply;
}

static void expire(void *arg) {
    struct request *q = arg;
    q->r->counts.expired += node_expire(world_node(q->r->world, q->index), 0, 1);
}

void client_expires(struct run *r, uint32_t index) {
    const struct node *node = world_node(r->world, index);
    struct request q = {r, index, false, false, false};
    world_enter(r->world, index, expire, &q);
    note_issued(r, node);
}

/* -------------------------------------------------------------------- WAIT */

static bool has_marked(const struct client *c, const struct node *node) {
    for (uint32_t s = 0; s < node->shard_count; s++)
        if (applied_of(node, s, c->wait_self) < c->wait_marks[s]) return false;
    return true;
}

/* Whoever counted has it, or had it and has lost its memory since. */
static void judge_wait(struct run *r, uint32_t index, uint32_t claimed) {
    struct client *c = &r->clients[index];
    uint32_t could = 0;
    for (uint32_t i = 0; i < world_node_count(r->world); i++) {
        struct node *node = world_node(r->world, i);
        bool same = node && gossip_self(node->gossip).incarnation == c->wait_others[i];
        if (i != index) could += !same || has_marked(c, node);
    }
    r->counts.waits++;
    if (claimed > could) run_fail(r, index, "WAIT counts %u peers, but only %u can have applied the write", claimed, could);
}

static void answered(struct run *r, uint32_t index) {
    struct client *c = &r->clients[index];
    world_trace_add(r->world, buf_bytes(&c->wait_reply));
    assert(c->wait_reply.len && c->wait_reply.data[0] == ':');
    buf_put_byte(&c->wait_reply, 0);
    judge_wait(r, index, (uint32_t)atoi((const char *)c->wait_reply.data + 1));
    mem_free(c->wait_marks);
    c->wait_marks = NULL;
}

static void take_marks(struct run *r, struct client *c, struct node *node) {
    c->wait_self = gossip_self(node->gossip);
    c->wait_marks = mem_zero(node->shard_count, sizeof *c->wait_marks);
    for (uint32_t s = 0; s < node->shard_count; s++)
        if (c->waiter->wrote && c->waiter->wrote[s / 64] >> (s % 64) & 1) c->wait_marks[s] = shard_own(node->shards[s]);
    for (uint32_t i = 0; i < world_node_count(r->world); i++) {
        struct node *other = world_node(r->world, i);
        c->wait_others[i] = other ? gossip_self(other->gossip).incarnation : 0;
    }
}

static void be_up(void *arg) {
    const struct request *q = arg;
    client_up(q->r, q->index);
}

void client_wait(struct run *r, uint32_t index) {
    struct rng *rng = world_rng(r->world);
    struct client *c = &r->clients[index];
    char key[16], peers[16], timeout[16];
    struct request q = {r, index, .waiter = true, .settles = true};
    if (!world_enter(r->world, index, be_up, &q) || c->waiter->parked) return;
    name_key(key, sizeof key, 'w', rng_below(rng, 4));
    snprintf(peers, sizeof peers, "%u", 1 + (unsigned)rng_below(rng, world_node_count(r->world)));
    snprintf(timeout, sizeof timeout, "%u", 1 + (unsigned)rng_below(rng, 3000));
    if (!request(q, 3, (const char *[]){"SET", key, "1"})) return;
    take_marks(r, c, world_node(r->world, index));
    q.settles = false;
    if (!request(q, 3, (const char *[]){"WAIT", peers, timeout})) return;
    r->counts.parked += c->waiter->parked;
    if (!c->waiter->parked) answered(r, index);
}

static void retry(void *arg) {
    const struct request *q = arg;
    struct client *c = &q->r->clients[q->index];
    session_retry(c->waiter, &c->wait_reply);
}

void clients_retry(struct run *r) {
    for (uint32_t i = 0; i < world_node_count(r->world); i++) {
        const struct client *c = &r->clients[i];
        struct request q = {r, i, .waiter = true};
        bool waits = world_node(r->world, i) && c->waiter && c->waiter->parked;
        if (waits && world_enter(r->world, i, retry, &q) && !c->waiter->parked) answered(r, i);
    }
}

/* ----------------------------------------------------------------- replies */

bool next_text(struct bytes *reply, char *out, size_t size) {
    while (reply->len) {
        const char *end = memchr(reply->data, '\r', reply->len);
        assert(end);
        size_t line = (size_t)(end - (const char *)reply->data);
        char kind = (char)reply->data[0];
        long long number = atoll((const char *)reply->data + 1);
        const char *text = (const char *)reply->data + 1;
        size_t len = line - 1, used = line + 2;
        if (kind == '$' && number >= 0) {
            text = end + 2;
            len = (size_t)number;
            used += len + 2;
        }
        *reply = bytes_of(reply->data + used, reply->len - used);
        if (kind == '*' || (kind == '$' && number < 0)) continue;
        snprintf(out, size, "%.*s", (int)len, text);
        return true;
    }
    return false;
}

void name_key(char *out, size_t size, char space, uint64_t number) {
    snprintf(out, size, "%c%llu", space, (unsigned long long)number);
}
