/* What clients do. Keys m0.. are written by commands that the model knows; keys u0.. by everything
 * else: for those nodes must only agree; keys b0.. are large collections. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/run.h"

#define OTHER_KEYS 12
#define OTHER_VALUES 8
#define BIG_KEYS 2
#define BIG_FIELDS 4000
#define BIG_AT_ONCE 60

/* --------------------------------------------------------------- the model */

static void record_op(struct run *r, struct node *node, struct model_op op, uint64_t before, const struct model_seen *seen,
                      uint32_t count) {
    struct replica_id self = self_of(node);
    uint64_t after = shard_own(node->shards[op.shard]);
    if (after == before) return; /* nothing was written */
    op.at = (struct model_seen){self.node, self.incarnation, after};
    op.seen = seen;
    op.seen_count = count;
    model_add(r->model, op);
    r->counts.writes++;
}

static const char *const MODEL_COMMANDS[MODEL_KINDS] = {"SET", "INCRBY", "DEL", "SADD", "SREM", "HSET", "HDEL", "HINCRBY"};

/* The types of kinds, for keys that are of one type only; DEL is of all. */
enum { OF_STRING = 1, OF_SET = 2, OF_HASH = 4 };
static const unsigned MODEL_TYPES[MODEL_KINDS] = {OF_STRING, OF_STRING, 7, OF_SET, OF_SET, OF_HASH, OF_HASH, OF_HASH};

static enum model_kind pick_kind(struct run *r, uint32_t key) {
    const struct swarm *s = &r->swarm;
    unsigned type = s->typed ? 1u << key % 3 : 7;
    int64_t weights[MODEL_KINDS] = {s->strings, s->counters, s->deletes / 3, s->sets,
                                    s->sets ? s->deletes : 0, s->hashes, s->hashes ? s->deletes / 2 : 0, s->counters / 3};
    int64_t all = 0;
    for (int i = 0; i < MODEL_KINDS; i++) {
        if (!(MODEL_TYPES[i] & type)) weights[i] = 0;
        all += weights[i];
    }
    if (!all) return type & OF_STRING ? MODEL_SET : type & OF_SET ? MODEL_SADD : MODEL_HSET;
    int64_t pick = (int64_t)rng_below(world_rng(r->world), (uint64_t)all);
    int kind = 0;
    while (pick >= weights[kind]) pick -= weights[kind++];
    return (enum model_kind)kind;
}

/* What the reply says was written took a dot, or a concurrent removal would win. */
static void judge_dot(struct run *r, uint32_t index, const struct model_op *op, struct bytes reply, bool took) {
    bool removes = op->kind == MODEL_DEL || op->kind == MODEL_SREM || op->kind == MODEL_HDEL;
    bool wrote = removes ? reply.data[1] != '0' : true;
    if (reply.data[0] == '-' && took && !was_in_doubt(reply) && !was_lost(reply)) run_fail(r, index, "%s was refused and took a dot", MODEL_COMMANDS[op->kind]);
    if (reply.data[0] != '-' && wrote && !took) run_fail(r, index, "%s was done and took no dot", MODEL_COMMANDS[op->kind]);
}

static void model_write(struct run *r, uint32_t index) {
    struct rng *rng = world_rng(r->world);
    struct node *node = world_node(r->world, index);
    struct model_op op = {.key = (uint32_t)rng_below(rng, (uint64_t)r->swarm.keys)};
    op.kind = pick_kind(r, op.key);
    char key[16], field[16], value[24];
    const char *argv[4] = {MODEL_COMMANDS[op.kind], key, value, value};
    int argc = op.kind == MODEL_DEL ? 2 : 3;
    name_key(key, sizeof key, 'm', op.key);
    if (op.kind >= MODEL_SADD) {
        op.field = (uint32_t)rng_below(rng, MODEL_FIELDS);
        name_key(field, sizeof field, 'f', op.field);
        argv[2] = field;
        argc = op.kind == MODEL_HSET || op.kind == MODEL_HINCR ? 4 : 3;
    }
    if (op.kind != MODEL_SADD && op.kind != MODEL_SREM) op.value = (int64_t)rng_below(rng, 2001) - 1000;
    snprintf(value, sizeof value, "%lld", (long long)op.value);

    struct model_seen seen[ORIGINS_MAX];
    op.shard = node_shard_of(node, bytes_str(key));
    uint32_t count = vector_of(node, op.shard, seen);
    uint64_t before = shard_own(node->shards[op.shard]);
    struct bytes reply = client_ask(r, index, argc, argv);
    judge_dot(r, index, &op, reply, shard_own(node->shards[op.shard]) != before);
    bool wrote = shard_own(node->shards[op.shard]) != before;
    r->counts.in_doubt += was_in_doubt(reply) && wrote;
    r->counts.unanswered += was_lost(reply) && wrote;
    if (reply.data[0] != '-' || was_in_doubt(reply) || was_lost(reply)) record_op(r, node, op, before, seen, count);
}

static void flush_all(struct run *r, uint32_t index) {
    struct node *node = world_node(r->world, index);
    struct model_seen seen[ORIGINS_MAX];
    struct { uint64_t before; uint32_t count; struct model_seen *seen; } *at = mem_zero(node->shard_count, sizeof *at);
    for (uint32_t s = 0; s < node->shard_count; s++) {
        at[s].count = vector_of(node, s, seen);
        at[s].before = shard_own(node->shards[s]);
        at[s].seen = mem_alloc((at[s].count + 1) * sizeof *seen);
        memcpy(at[s].seen, seen, at[s].count * sizeof *seen);
    }
    client_ask(r, index, 1, (const char *[]){"FLUSHALL"});
    for (uint32_t s = 0; s < node->shard_count; s++) {
        record_op(r, node, (struct model_op){.kind = MODEL_DEL, .key = MODEL_KEYS, .shard = s}, at[s].before, at[s].seen, at[s].count);
        mem_free(at[s].seen);
    }
    mem_free(at);
    r->counts.flushes++;
}

/* ---------------------------------------------------------- everything else */

/* IF: a nil or a 0 says that nothing was written. COPIES: what the second key shows is what the
 * first one showed. TIMED: makes keys expire. */
enum { IF = 1, COPIES = 2, TIMED = 4 };
static const struct other {
    int flags;
    const char *words[6];
} OTHERS[] = {
    {TIMED, {"SET", "K", "V", "PX", "N"}}, {TIMED, {"SETEX", "K", "S", "V"}}, {IF, {"SET", "K", "V", "NX"}},
    {IF, {"SET", "K", "V", "XX", "GET"}}, {0, {"SET", "K", "V", "KEEPTTL"}}, {0, {"GETSET", "K", "V"}}, {IF, {"GETDEL", "K"}},
    {0, {"APPEND", "K", "V"}}, {0, {"MSET", "K", "V", "K", "V"}}, {IF, {"MSETNX", "K", "V", "K", "V"}}, {0, {"INCR", "K"}},
    {0, {"DECRBY", "K", "N"}}, {0, {"INCRBYFLOAT", "K", "0.1"}}, {IF | TIMED, {"EXPIRE", "K", "S"}},
    {IF | TIMED, {"PEXPIRE", "K", "N", "GT"}}, {IF | TIMED, {"EXPIRE", "K", "1000000"}}, {IF | TIMED, {"PERSIST", "K"}},
    {0, {"DEL", "K", "K"}}, {0, {"SADD", "K", "V", "V"}}, {IF, {"SREM", "K", "V"}}, {0, {"HSET", "K", "V", "V"}},
    {0, {"HINCRBYFLOAT", "K", "V", "1.5"}}, {IF, {"HDEL", "K", "V", "V"}}, {IF, {"HSETNX", "K", "V", "V"}}, {IF, {"SPOP", "K"}},
    {IF, {"SMOVE", "K", "K", "V"}}, {0, {"SUNIONSTORE", "K", "K", "K"}}, {0, {"SINTERSTORE", "K", "K", "K"}},
    {0, {"SDIFFSTORE", "K", "K", "K"}}, {COPIES, {"RENAME", "K", "K"}}, {IF | COPIES, {"COPY", "K", "K", "REPLACE"}},
    {0, {"SETRANGE", "K", "3", "V"}}, {TIMED, {"GETEX", "K", "PX", "N"}}, {IF | COPIES, {"RENAMENX", "K", "K"}},
};
#define OTHER_FORMS (sizeof OTHERS / sizeof *OTHERS)

static const struct other *pick_other(struct run *r) {
    struct rng *rng = world_rng(r->world);
    bool timed = rng_percent(rng, (unsigned)r->swarm.expiries);
    const struct other *form;
    do form = &OTHERS[rng_below(rng, OTHER_FORMS)];
    while (!!(form->flags & TIMED) != timed);
    return form;
}

static int fill_in(struct rng *rng, const struct other *form, char texts[6][32], const char *argv[6]) {
    int argc = 0;
    for (; argc < 6 && form->words[argc]; argc++) {
        char *text = texts[argc], word = form->words[argc][1] ? 0 : form->words[argc][0];
        argv[argc] = word >= 'A' ? text : form->words[argc];
        if (word == 'K') name_key(text, 32, 'u', rng_below(rng, OTHER_KEYS));
        if (word == 'V') name_key(text, 32, 'v', rng_below(rng, OTHER_VALUES));
        if (word == 'N') snprintf(text, 32, "%u", 1 + (unsigned)rng_below(rng, 20000));
        if (word == 'S') snprintf(text, 32, "%u", 1 + (unsigned)rng_below(rng, 60));
    }
    return argc;
}

static uint64_t own_mutations(const struct node *node) {
    uint64_t sum = 0;
    for (uint32_t s = 0; s < node->shard_count; s++) sum += shard_own(node->shards[s]);
    return sum;
}

static void other_write(struct run *r, uint32_t index) {
    const struct other *form = pick_other(r);
    const struct node *node = world_node(r->world, index);
    char texts[6][32];
    const char *argv[6];
    int argc = fill_in(world_rng(r->world), form, texts, argv);
    bool copies = form->flags & COPIES;
    uint64_t from = copies ? dump_key(r, index, argv[1]) : 0, before = own_mutations(node);
    struct bytes reply = client_ask(r, index, argc, argv);
    bool nothing = reply.data[0] == ':' ? reply.data[1] == '0' : reply.data[0] == '$' && reply.data[1] == '-';
    bool refused = reply.data[0] == '-' || (form->flags & IF && nothing);
    r->counts.unmodelled++;
    r->counts.refused += refused;
    if (refused && !was_in_doubt(reply) && !was_lost(reply) && own_mutations(node) != before) run_fail(r, index, "%s %s was refused and wrote", argv[0], argv[1]);
    if (refused || !copies) return;
    r->counts.copies++;
    if (dump_key(r, index, argv[2]) != from && world_node(r->world, index)) run_fail(r, index, "%s %s %s did not copy", argv[0], argv[1], argv[2]);
}

/* Enough elements that repair by cells cuts them finer. */
static void add_to_large(struct run *r, uint32_t index) {
    struct rng *rng = world_rng(r->world);
    char key[16], fields[BIG_AT_ONCE][16];
    const char *argv[2 + 2 * BIG_AT_ONCE] = {"SADD", key};
    uint64_t number = rng_below(rng, BIG_KEYS);
    bool hash = number & 1, removes = rng_percent(rng, 20);
    int argc = 2;
    name_key(key, sizeof key, 'b', number);
    argv[0] = hash ? (removes ? "HDEL" : "HSET") : removes ? "SREM" : "SADD";
    uint64_t first = rng_below(rng, BIG_FIELDS);
    for (int i = 0; i < BIG_AT_ONCE; i++) {
        name_key(fields[i], sizeof fields[i], 'f', first + (uint64_t)i);
        argv[argc++] = fields[i];
        if (hash && !removes) argv[argc++] = "1";
    }
    client_ask(r, index, argc, argv);
    r->counts.bulk++;
}

/* ---------------------------------------------------------------- operators */

static void leave(struct run *r) {
    struct rng *rng = world_rng(r->world);
    uint32_t index = (uint32_t)rng_below(rng, world_node_count(r->world));
    if (!world_node(r->world, index) || world_stands_still(r->world, index)) return;
    world_gives_up(r->world, index);
    if (was_lost(client_ask(r, index, 2, (const char *[]){"ANNEAL", "LEAVE"}))) return;
    world_run(r->world, world_now_us(r->world) + (int64_t)rng_below(rng, 100000));
    world_stop(r->world, index, 1000 + (int64_t)rng_below(rng, 10000000));
    r->counts.leaves++;
}

static void forget(struct run *r) {
    struct rng *rng = world_rng(r->world);
    uint32_t index = (uint32_t)rng_below(rng, world_node_count(r->world));
    char id[20];
    snprintf(id, sizeof id, "%016x", 1 + (unsigned)rng_below(rng, world_node_count(r->world)));
    if (!world_node(r->world, index) || world_stands_still(r->world, index)) return;
    struct bytes reply = client_ask(r, index, 3, (const char *[]){"ANNEAL", "FORGET", id});
    if (reply.data[0] != '+') return;
    r->counts.forgotten++;
    world_gives_up(r->world, (uint32_t)strtoul(id, NULL, 16) - 1);
}

static void operator_acts(struct run *r) {
    struct rng *rng = world_rng(r->world);
    int64_t leaves = r->swarm.leaves, all = leaves + r->swarm.forgets, now = world_now_us(r->world);
    if (!all || now < r->next_operator_us) return;
    if (r->next_operator_us && (int64_t)rng_below(rng, (uint64_t)all) < leaves)
        leave(r);
    else if (r->next_operator_us)
        forget(r);
    r->next_operator_us = now + (int64_t)rng_below(rng, (uint64_t)(2 * 60000000 / all));
}

void client_acts(struct run *r) {
    const struct swarm *s = &r->swarm;
    struct rng *rng = world_rng(r->world);
    operator_acts(r);
    clients_retry(r);
    uint32_t index = (uint32_t)rng_below(rng, world_node_count(r->world));
    if (!world_node(r->world, index) || world_stands_still(r->world, index)) return;
    if (rng_percent(rng, 6)) client_expires(r, index);
    if (!world_node(r->world, index)) return;
    if (rng_percent(rng, 2)) check_state(r, index);
    if ((int64_t)rng_below(rng, 1000) < s->flushes) flush_all(r, index);
    else if (rng_percent(rng, (unsigned)s->waits)) client_wait(r, index);
    else if (rng_percent(rng, (unsigned)s->big)) add_to_large(r, index);
    else if (rng_percent(rng, (unsigned)s->others)) other_write(r, index);
    else if (rng_percent(rng, 25)) check_key(r, index, (uint32_t)rng_below(rng, (uint64_t)s->keys));
    else model_write(r, index);
}
