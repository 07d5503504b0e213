/* What must hold: after each read, at intervals, and in the end. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mem.h"
#include "sim/run.h"

#define TAILS_US INT64_C(40000000) /* for what the dead left to be streamed by others */
#define SETTLE_US INT64_C(120000000)

void run_fail(struct run *r, uint32_t node, const char *format, ...) {
    if (r->failed) return;
    va_list args;
    va_start(args, format);
    printf("seed %llu: at %lld us node %u: ", (unsigned long long)r->seed, (long long)world_now_us(r->world), node);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    r->failed = true;
}

static uint32_t seen_in(const struct node *node, const struct vclock *v, struct model_seen *out) {
    uint32_t count = 0;
    for (uint32_t i = 1; i < v->count; i++) {
        if (!v->counter[i]) continue;
        assert(count < ORIGINS_MAX);
        struct replica_id id = replicas_id(node->replicas, (uint16_t)i);
        out[count++] = (struct model_seen){id.node, id.incarnation, v->counter[i]};
    }
    return count;
}

uint32_t vector_of(const struct node *node, uint32_t shard, struct model_seen *out) {
    return seen_in(node, shard_applied(node->shards[shard]), out);
}

/* By the last shard: all are changed, one after the other, before anybody hears that it starts over. */
struct replica_id self_of(const struct node *node) {
    return replicas_id(node->replicas, shard_self(node->shards[node->shard_count - 1]));
}

uint64_t applied_of(const struct node *node, uint32_t shard, struct replica_id id) {
    const struct vclock *v = shard_applied(node->shards[shard]);
    for (uint32_t i = 1; i < v->count; i++)
        if (replica_id_compare(replicas_id(node->replicas, (uint16_t)i), id) == 0) return v->counter[i];
    return 0;
}

/* ------------------------------------------------------------------- reads */

static bool read_set(struct bytes reply, uint32_t *members) {
    char text[64];
    unsigned f;
    *members = 0;
    while (next_text(&reply, text, sizeof text)) {
        if (sscanf(text, "f%u", &f) != 1 || f >= MODEL_FIELDS) return false;
        *members |= 1u << f;
    }
    return true;
}

static bool read_hash(struct bytes reply, uint32_t *fields, int64_t values[MODEL_FIELDS]) {
    char text[64];
    unsigned f;
    *fields = 0;
    memset(values, 0, MODEL_FIELDS * sizeof *values);
    while (next_text(&reply, text, sizeof text)) {
        if (sscanf(text, "f%u", &f) != 1 || f >= MODEL_FIELDS || !next_text(&reply, text, sizeof text)) return false;
        *fields |= 1u << f;
        values[f] = atoll(text);
    }
    return true;
}

static bool has_all_of(const struct run *r, uint32_t index, uint32_t other) {
    const struct node *node = world_node(r->world, index), *from = world_node(r->world, other);
    struct model_seen seen[ORIGINS_MAX];
    if (!from) return false;
    for (uint32_t s = 0; s < node->shard_count; s++)
        for (uint32_t i = vector_of(from, s, seen); i > 0; i--)
            if (applied_of(node, s, (struct replica_id){seen[i - 1].node, seen[i - 1].incarnation}) < seen[i - 1].counter) return false;
    return true;
}

/* Since it came back with less than it had, or started over beside a store, where there is more of some than of others: until it
 * has all that the store and the others have, and all of them are up. */
static bool is_behind(struct run *r, uint32_t index) {
    struct standing *s = &r->standings[index];
    const struct node *node = world_node(r->world, index);
    struct replica_id self = self_of(node);
    if (r->swarm.stores && s->self.incarnation && replica_id_compare(s->self, self) != 0) s->behind = true;
    s->self = self;
    bool level = s->behind && stored_is_here(r, node);
    for (uint32_t i = 0; i < world_node_count(r->world) && level; i++) level = has_all_of(r, index, i);
    if (level) s->behind = false;
    return s->behind;
}

/* Whatever this node shows of the key, the model must allow at what the node has applied. */
static bool key_is_allowed(struct run *r, uint32_t index, const struct model_cut *cut, uint32_t key, const char *name) {
    char type[64], text[64];
    uint32_t fields;
    int64_t values[MODEL_FIELDS];
    struct bytes reply = client_ask(r, index, 2, (const char *[]){"TYPE", name});
    r->judging = true; /* a client's read is one operation */
    if (!next_text(&reply, type, sizeof type)) return false;
    if (!strcmp(type, "none")) return model_allows_absent(r->model, cut, key);
    if (!strcmp(type, "string")) {
        reply = client_ask(r, index, 2, (const char *[]){"GET", name});
        return next_text(&reply, text, sizeof text) && model_allows_string(r->model, cut, key, atoll(text));
    }
    if (!strcmp(type, "set"))
        return read_set(client_ask(r, index, 2, (const char *[]){"SMEMBERS", name}), &fields) &&
               model_allows_set(r->model, cut, key, fields);
    return read_hash(client_ask(r, index, 2, (const char *[]){"HGETALL", name}), &fields, values) &&
           model_allows_hash(r->model, cut, key, fields, values);
}

void check_key(struct run *r, uint32_t index, uint32_t key) {
    struct node *node = world_node(r->world, index);
    struct model_seen seen[ORIGINS_MAX];
    char name[16];
    name_key(name, sizeof name, 'm', key);
    uint32_t shard = node_shard_of(node, bytes_str(name)), count = vector_of(node, shard, seen);
    struct model_cut cut = model_cut(r->model, shard, seen, count);
    cut.node = self_of(node).node;
    cut.behind = is_behind(r, index);
    bool judging = r->judging;
    r->counts.reads++;
    if (!r->failed && !key_is_allowed(r, index, &cut, key, name) && world_node(r->world, index)) {
        const struct buf *reply = &r->clients[index].reply;
        run_fail(r, index, "%s shows what no history allows:\n%.*s", name, (int)reply->len, (char *)reply->data);
        model_explain(r->model, &cut, key);
    }
    r->judging = judging;
    model_cut_fini(&cut);
}

/* ---------------------------------------------------------- what was issued */

static struct issued *issued_of(struct run *r, struct replica_id id) {
    for (uint32_t i = 0; i < r->issued_count; i++)
        if (replica_id_compare(r->issued[i].id, id) == 0) return &r->issued[i];
    return NULL;
}

void note_issued(struct run *r, const struct node *node) {
    struct replica_id self = self_of(node);
    struct issued *i = issued_of(r, self);
    if (!i) {
        assert(r->issued_count < ORIGINS_MAX);
        i = &r->issued[r->issued_count++];
        *i = (struct issued){self, mem_zero(node->shard_count, sizeof *i->counters)};
    }
    for (uint32_t s = 0; s < node->shard_count; s++)
        if (shard_own(node->shards[s]) > i->counters[s]) i->counters[s] = shard_own(node->shards[s]);
}

static bool was_issued(struct run *r, const struct node *node, uint32_t shard, struct dot dot) {
    if (!dot_counter(dot)) return true;
    struct issued *i = issued_of(r, replicas_id(node->replicas, dot_replica(dot)));
    return i && dot_counter(dot) <= i->counters[shard];
}

/* What it knows ahead of what is applied here, somebody has removed. */
static void check_ahead(struct run *r, uint32_t index, uint32_t shard, const struct context *c) {
    const struct node *node = world_node(r->world, index);
    struct model_seen seen[ORIGINS_MAX], *claims = mem_zero(c->extra_count + 1, sizeof *claims);
    struct model_cut cut = model_cut(r->model, shard, seen, seen_in(node, &c->applied, seen));
    struct model_cut claimed = model_cut(r->model, shard, seen, seen_in(node, &c->prefix, seen));
    for (uint32_t i = 0; i < c->extra_count; i++) {
        struct replica_id id = replicas_id(node->replicas, dot_replica(c->extra[i]));
        claims[i] = (struct model_seen){id.node, id.incarnation, dot_counter(c->extra[i])};
    }
    const struct model_op *a = model_unfounded(r->model, &cut, claims, c->extra_count, &claimed);
    if (a) {
        run_fail(r, index, "shard %u claims to have seen mutation %llu of n%llu/%llx, which is not applied here, and which nobody has removed", shard,
                 (unsigned long long)a->at.counter, (unsigned long long)a->at.node - 1, (unsigned long long)a->at.incarnation >> 48);
        if (a->key < MODEL_KEYS) model_explain(r->model, &cut, a->key);
    }
    model_cut_fini(&cut);
    model_cut_fini(&claimed);
    mem_free(claims);
}

/* A context speaks of mutations that were made. */
static void check_context(struct run *r, uint32_t index, uint32_t shard) {
    const struct node *node = world_node(r->world, index);
    struct shard_summary now;
    shard_lock(node->shards[shard]);
    shard_summarise(node->shards[shard], false, &now);
    shard_unlock(node->shards[shard]);
    const struct context *c = &now.context;
    bool right = true;
    for (uint32_t i = 1; i < c->applied.count; i++) right = right && was_issued(r, node, shard, dot_make((uint16_t)i, c->applied.counter[i]));
    for (uint32_t i = 1; i < c->prefix.count; i++) right = right && was_issued(r, node, shard, dot_make((uint16_t)i, c->prefix.counter[i]));
    for (uint32_t i = 0; i < c->extra_count; i++) right = right && was_issued(r, node, shard, c->extra[i]);
    if (!right) run_fail(r, index, "shard %u claims to have seen what nobody did", shard);
    if (!r->failed && (c->extra_count || c->prefix.count)) check_ahead(r, index, shard, c);
    shard_summary_fini(&now);
}

/* What was applied stays applied, for as long as the memory lasts. */
static void check_progress(struct run *r, uint32_t index) {
    const struct node *node = world_node(r->world, index);
    struct seen_before *b = &r->before[index];
    struct replica_id self = gossip_self(node->gossip);
    bool same = b->applied && replica_id_compare(self, b->self) == 0;
    if (!b->applied) b->applied = mem_zero(node->shard_count, sizeof *b->applied);
    b->self = self;
    for (uint32_t s = 0; s < node->shard_count; s++) {
        if (same && !vclock_covers(shard_applied(node->shards[s]), &b->applied[s]))
            run_fail(r, index, "shard %u has forgotten what it had applied", s);
        vclock_fini(&b->applied[s]);
        vclock_copy(&b->applied[s], shard_applied(node->shards[s]));
    }
}

void check_state(struct run *r, uint32_t index) {
    const struct node *node = world_node(r->world, index);
    check_progress(r, index);
    for (uint32_t s = 0; s < node->shard_count && !r->failed; s++) {
        const char *wrong = shard_recount(node->shards[s], &r->facts);
        r->counts.recounts++;
        if (wrong) run_fail(r, index, "shard %u, counted again: %s", s, wrong);
        check_context(r, index, s);
    }
}

void checks_fini(struct run *r) {
    for (uint32_t i = 0; i < r->issued_count; i++) mem_free(r->issued[i].counters);
    for (uint32_t i = 0; i < WORLD_NODES_MAX; i++) {
        for (int64_t s = 0; r->before[i].applied && s < r->swarm.shards; s++) vclock_fini(&r->before[i].applied[s]);
        mem_free(r->before[i].applied);
    }
}

/* ------------------------------------------------------------ what is shown */

static uint64_t hash_text(const char *text, uint64_t seed) { return hash_content(bytes_str(text), seed); }

/* A sum over elements, whose order is each node's own. */
static uint64_t dump_elements(struct run *r, uint32_t index, const char *command, const char *key, bool pairs) {
    struct bytes reply = client_ask(r, index, 2, (const char *[]){command, key});
    char text[128];
    uint64_t sum = 0;
    while (next_text(&reply, text, sizeof text)) {
        uint64_t one = hash_text(text, 1);
        if (pairs && next_text(&reply, text, sizeof text)) one = hash_text(text, one);
        sum += one;
    }
    return sum;
}

uint64_t dump_key(struct run *r, uint32_t index, const char *key) {
    char type[64] = "", until[64] = "";
    bool judging = r->judging;
    r->judging = true;
    struct bytes reply = client_ask(r, index, 2, (const char *[]){"TYPE", key});
    next_text(&reply, type, sizeof type);
    reply = client_ask(r, index, 2, (const char *[]){"PEXPIRETIME", key});
    next_text(&reply, until, sizeof until);
    uint64_t hash = hash_text(until, hash_text(type, 1));
    if (!strcmp(type, "string")) hash += dump_elements(r, index, "GET", key, false);
    if (!strcmp(type, "set")) hash += dump_elements(r, index, "SMEMBERS", key, false);
    if (!strcmp(type, "hash")) hash += dump_elements(r, index, "HGETALL", key, true);
    r->judging = judging;
    return hash;
}

static uint64_t dump_node(struct run *r, uint32_t index) {
    struct buf keys = {0};
    char key[64];
    uint64_t sum = 0;
    buf_put_bytes(&keys, client_ask(r, index, 2, (const char *[]){"KEYS", "*"}));
    for (struct bytes rest = buf_bytes(&keys); next_text(&rest, key, sizeof key);)
        sum += hash_text(key, dump_key(r, index, key));
    buf_fini(&keys);
    return sum;
}

/* ------------------------------------------------------------------ the end */

static bool all_agree(struct run *r) {
    uint32_t nodes = world_node_count(r->world);
    for (uint32_t i = 0; i < nodes; i++)
        if (!world_node(r->world, i)) return false; /* it still reads from the object store */
    uint64_t first = gossip_digest(world_node(r->world, 0)->gossip, -1);
    for (uint32_t i = 0; i < nodes; i++) {
        struct member_info info[WORLD_NODES_MAX + 1];
        struct node *node = world_node(r->world, i);
        if (gossip_digest(node->gossip, -1) != first) return false;
        size_t count = gossip_members(node->gossip, info, WORLD_NODES_MAX + 1);
        if (count != nodes) return false;
        for (size_t k = 0; k < count; k++)
            if (info[k].missing || info[k].unacked) return false;
        if (r->swarm.stores && !stored_is_here(r, node)) return false;
    }
    return true;
}

static void explain_shards(struct run *r, uint32_t index) {
    const struct node *node = world_node(r->world, index), *first = world_node(r->world, 0);
    struct model_seen seen[ORIGINS_MAX];
    for (uint32_t s = 0; s < node->shard_count; s++) {
        if (gossip_digest(node->gossip, s) == gossip_digest(first->gossip, s)) continue;
        printf("     shard %u differs from n0's:", s);
        uint32_t count = vector_of(node, s, seen);
        for (uint32_t i = 0; i < count; i++)
            printf(" n%llu/%llx:%llu", (unsigned long long)seen[i].node - 1, (unsigned long long)seen[i].incarnation >> 48,
                   (unsigned long long)seen[i].counter);
        printf("\n");
    }
}

static void explain_disagreement(struct run *r) {
    run_fail(r, 0, "nodes do not agree %lld s after the network healed", (long long)(SETTLE_US / 1000000));
    for (uint32_t i = 0; i < world_node_count(r->world); i++) {
        struct node *node = world_node(r->world, i);
        if (!node || !world_node(r->world, 0)) {
            printf("  n%u is not up\n", i);
            continue;
        }
        struct member_info info[WORLD_NODES_MAX + 1];
        size_t count = gossip_members(node->gossip, info, WORLD_NODES_MAX + 1);
        printf("  n%u digest %016llx\n", i, (unsigned long long)gossip_digest(node->gossip, -1));
        explain_shards(r, i);
        for (size_t k = 1; k < count && k < WORLD_NODES_MAX + 1; k++)
            printf("     %s %s%s unacked %llu missing %llu digest %lld ms ago\n", info[k].address,
                   member_status_text(info[k].status), info[k].connected ? "" : " not connected",
                   (unsigned long long)info[k].unacked, (unsigned long long)info[k].missing, (long long)info[k].digest_age_ms);
    }
}

/* Runs until all nodes agree. */
static void settle(struct run *r) {
    int64_t end = world_now_us(r->world) + SETTLE_US;
    do {
        world_run(r->world, world_now_us(r->world) + 500000);
        clients_retry(r);
    } while (!r->failed && !all_agree(r) && world_now_us(r->world) < end);
    if (!r->failed && !all_agree(r)) explain_disagreement(r);
}

void check_ended(struct run *r) {
    for (uint32_t i = 0; i < world_node_count(r->world); i++)
        if (world_was_ended_alive(r->world, i)) run_fail(r, i, "others have ended its stream in the object store, and nobody held it for gone");
}

void check_settled(struct run *r) {
    uint32_t nodes = world_node_count(r->world);
    r->judging = true;
    world_heal(r->world);
    for (uint32_t i = 0; i < nodes; i++)
        if (world_node(r->world, i)) client_expires(r, i);
    settle(r);
    uint64_t first = r->failed ? 0 : dump_node(r, 0);
    for (uint32_t i = 0; i < nodes && !r->failed; i++) {
        for (uint32_t key = 0; key < r->swarm.keys; key++) check_key(r, i, key);
        check_state(r, i);
        if (i && !r->failed && dump_node(r, i) != first) run_fail(r, i, "shows another state than node 0");
    }
}

/* A shard, before all machines were lost. */
struct was {
    uint64_t digest;
    struct model_seen *seen;
    uint32_t count;
};

static void remember(struct run *r, struct was *was) {
    const struct node *node = world_node(r->world, 0);
    struct model_seen seen[ORIGINS_MAX];
    for (uint32_t s = 0; s < node->shard_count; s++) {
        was[s].digest = gossip_digest(node->gossip, s);
        was[s].count = vector_of(node, s, seen);
        was[s].seen = mem_alloc(was[s].count * sizeof *seen);
        memcpy(was[s].seen, seen, was[s].count * sizeof *seen);
    }
}

/* All of it is there, no more, and the same; but expired keys have gone meanwhile. */
static void compare(struct run *r, const struct was *was, uint32_t shard) {
    const struct node *node = world_node(r->world, 0);
    struct model_seen seen[ORIGINS_MAX];
    uint64_t before = 0, now = 0;
    uint32_t count = vector_of(node, shard, seen);
    for (uint32_t i = 0; i < count; i++) now += seen[i].counter;
    for (uint32_t i = 0; i < was->count; i++) {
        uint64_t has = applied_of(node, shard, (struct replica_id){was->seen[i].node, was->seen[i].incarnation});
        before += was->seen[i].counter;
        if (has < was->seen[i].counter)
            run_fail(r, 0, "shard %u comes back from the object store with %llu of %llu mutations of n%llu/%llx", shard, (unsigned long long)has,
                     (unsigned long long)was->seen[i].counter, (unsigned long long)was->seen[i].node - 1, (unsigned long long)was->seen[i].incarnation >> 48);
    }
    if (now > before) run_fail(r, 0, "shard %u comes back from the object store with what nobody had read there", shard);
    if (now == before && !r->swarm.expiries && gossip_digest(node->gossip, shard) != was->digest)
        run_fail(r, 0, "shard %u comes back from the object store with other content", shard);
}

void check_comes_back(struct run *r) {
    uint32_t nodes = world_node_count(r->world);
    world_run(r->world, world_now_us(r->world) + TAILS_US);
    int64_t end = world_now_us(r->world) + SETTLE_US;
    world_flush(r->world);
    while (!r->failed && !world_is_flushed(r->world) && world_now_us(r->world) < end) world_run(r->world, world_now_us(r->world) + 100000);
    if (!world_is_flushed(r->world)) run_fail(r, 0, "not everything is in the object store %lld s after all is well", (long long)(SETTLE_US / 1000000));
    if (r->failed) return;
    struct was *was = mem_zero((size_t)r->swarm.shards, sizeof *was);
    remember(r, was);
    for (uint32_t i = 0; i < nodes; i++) world_lose(r->world, i, 1000);
    settle(r);
    for (uint32_t s = 0; s < r->swarm.shards; s++) {
        if (!r->failed) compare(r, &was[s], s);
        mem_free(was[s].seen);
    }
    mem_free(was);
    for (uint32_t i = 0; i < nodes && !r->failed; i++) check_state(r, i);
    r->counts.wiped++;
}
