/* anneal-sim: whole clusters in one thread from one seed.
 *
 *   faults, while clients write and read on every node -> heal -> all nodes equal, and equal
 *   to what the naive model (model.h) allows
 *
 * Clients speak RESP to the shipped parser and commands. Keys m0.. are written by commands
 * that the model knows, and every read of one is judged at once against what its node has
 * applied. Keys u0.. are written by everything else: for those nodes must only agree. */
#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/command.h"
#include "net/resp.h"
#include "sim/model.h"
#include "sim/world.h"

#define OTHER_KEYS 12
#define SETTLE_US INT64_C(120000000)

struct run {
    uint64_t seed;
    uint32_t nodes, ops;
    struct world *world;
    struct model *model;
    struct resp_limits limits;
    struct resp_parser parser;
    struct buf query, reply;
    uint64_t writes, reads, errors, unmodelled, expired;
    bool failed, verbose;
    const char *watch; /* a key to be printed whenever a node's view of it changes, or NULL */
    struct buf watched[WORLD_NODES_MAX];
};

/* ----------------------------------------------------------------- a client */

static void ask(struct buf *query, int argc, const char **argv) {
    query->len = 0;
    resp_array(query, (size_t)argc);
    for (int i = 0; i < argc; i++) resp_bulk(query, bytes_str(argv[i]));
}

/* One command, by the shipped parser, in two fragments. */
static struct bytes run_command(struct run *r, struct node *node, int argc, const char **argv) {
    const struct bytes *parsed;
    size_t count;
    ask(&r->query, argc, argv);
    size_t cut = rng_below(world_rng(r->world), r->query.len);
    enum resp_result early = resp_next(&r->parser, bytes_of(r->query.data, cut), &parsed, &count);
    assert(early == RESP_MORE);
    (void)early;
    enum resp_result result = resp_next(&r->parser, buf_bytes(&r->query), &parsed, &count);
    assert(result == RESP_COMMAND);
    (void)result;
    r->reply.len = 0;
    command_run(node, parsed, count, &r->reply);
    size_t taken = resp_take(&r->parser);
    assert(taken == r->query.len);
    (void)taken;
    world_trace_add(r->world, buf_bytes(&r->reply));
    if (r->reply.data[0] == '-') r->errors++;
    return buf_bytes(&r->reply);
}

/* The next bulk or status of a reply; false at its end. Arrays are walked through. */
static bool next_text(struct bytes *reply, char *out, size_t size) {
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

/* --------------------------------------------------------------- the model */

static uint32_t vector_of(const struct node *node, uint32_t shard, struct model_seen *out, uint32_t max) {
    const struct vclock *v = shard_applied(node->shards[shard]);
    uint32_t count = 0;
    for (uint32_t i = 1; i < v->count; i++) {
        if (!v->counter[i]) continue;
        assert(count < max);
        struct replica_id id = replicas_id(node->replicas, (uint16_t)i);
        out[count++] = (struct model_seen){id.node, id.incarnation, v->counter[i]};
    }
    return count;
}

#define ORIGINS_MAX 512

static void name_key(char *out, size_t size, char space, uint64_t number) {
    snprintf(out, size, "%c%llu", space, (unsigned long long)number);
}

static void record_op(struct run *r, struct node *node, struct model_op op, uint64_t before, const struct model_seen *seen,
                      uint32_t count) {
    struct replica_id self = gossip_self(node->gossip);
    uint64_t after = shard_own(node->shards[op.shard]);
    if (after == before) return; /* nothing was written */
    op.at = (struct model_seen){self.node, self.incarnation, after};
    op.seen = (struct model_seen *)(uintptr_t)seen;
    op.seen_count = count;
    model_add(r->model, op);
    r->writes++;
}

static const char *const MODEL_COMMANDS[MODEL_KINDS] = {"SET", "INCRBY", "DEL", "SADD", "SREM", "HSET", "HDEL", "HINCRBY"};

static void model_write(struct run *r, struct node *node) {
    struct rng *rng = world_rng(r->world);
    static const unsigned weights[MODEL_KINDS] = {12, 30, 6, 16, 10, 12, 5, 9};
    unsigned pick = (unsigned)rng_below(rng, 100), kind = 0;
    while (pick >= weights[kind]) pick -= weights[kind++];
    struct model_op op = {.kind = (enum model_kind)kind, .key = (uint32_t)rng_below(rng, MODEL_KEYS)};
    char key[16], field[16], value[24];
    const char *argv[4] = {MODEL_COMMANDS[kind], key, value, value};
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
    uint32_t count = vector_of(node, op.shard, seen, ORIGINS_MAX);
    uint64_t before = shard_own(node->shards[op.shard]);
    struct bytes reply = run_command(r, node, argc, argv);
    if (reply.data[0] == '-') return;
    record_op(r, node, op, before, seen, count);
}

static void flush_all(struct run *r, struct node *node) {
    struct model_seen seen[ORIGINS_MAX];
    struct { uint64_t before; uint32_t count; struct model_seen *seen; } *at = mem_zero(node->shard_count, sizeof *at);
    for (uint32_t s = 0; s < node->shard_count; s++) {
        at[s].count = vector_of(node, s, seen, ORIGINS_MAX);
        at[s].before = shard_own(node->shards[s]);
        at[s].seen = mem_alloc((at[s].count + 1) * sizeof *seen);
        memcpy(at[s].seen, seen, at[s].count * sizeof *seen);
    }
    run_command(r, node, 1, (const char *[]){"FLUSHALL"});
    for (uint32_t s = 0; s < node->shard_count; s++) {
        record_op(r, node, (struct model_op){.kind = MODEL_DEL, .key = MODEL_KEYS, .shard = s}, at[s].before, at[s].seen, at[s].count);
        mem_free(at[s].seen);
    }
    mem_free(at);
}

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

/* Whatever this node shows of the key, the model must allow at what the node has applied. */
static bool key_is_allowed(struct run *r, struct node *node, const struct model_cut *cut, uint32_t key, const char *name) {
    char type[64];
    uint32_t fields;
    int64_t values[MODEL_FIELDS];
    struct bytes reply = run_command(r, node, 2, (const char *[]){"TYPE", name});
    if (!next_text(&reply, type, sizeof type)) return false;
    if (!strcmp(type, "none")) return model_allows_absent(r->model, cut, key);
    if (!strcmp(type, "string")) {
        char text[64];
        reply = run_command(r, node, 2, (const char *[]){"GET", name});
        return next_text(&reply, text, sizeof text) && model_allows_string(r->model, cut, key, atoll(text));
    }
    if (!strcmp(type, "set"))
        return read_set(run_command(r, node, 2, (const char *[]){"SMEMBERS", name}), &fields) &&
               model_allows_set(r->model, cut, key, fields);
    return read_hash(run_command(r, node, 2, (const char *[]){"HGETALL", name}), &fields, values) &&
           model_allows_hash(r->model, cut, key, fields, values);
}

static void check_key(struct run *r, uint32_t index, uint32_t key) {
    struct node *node = world_node(r->world, index);
    struct model_seen seen[ORIGINS_MAX];
    char name[16];
    name_key(name, sizeof name, 'm', key);
    struct model_cut cut = {.shard = node_shard_of(node, bytes_str(name)), .seen = seen};
    cut.count = vector_of(node, cut.shard, seen, ORIGINS_MAX);
    r->reads++;
    if (key_is_allowed(r, node, &cut, key, name)) return;
    printf("seed %llu: at %lld us node %u shows for %s what no history allows:\n%.*s\n", (unsigned long long)r->seed,
           (long long)world_now_us(r->world), index, name, (int)r->reply.len, (char *)r->reply.data);
    model_explain(r->model, &cut, key);
    r->failed = true;
}

/* ------------------------------------------------------------------ watching */

static const char *const READS[][2] = {{"string", "GET"}, {"set", "SMEMBERS"}, {"hash", "HGETALL"}};

static void put_texts(struct run *r, struct node *node, const char *command, const char *key, struct buf *out) {
    struct buf reply = {0};
    struct bytes argv[] = {bytes_str(command), bytes_str(key)};
    command_run(node, argv, 2, &reply);
    struct bytes rest = buf_bytes(&reply);
    char text[64];
    while (next_text(&rest, text, sizeof text)) buf_printf(out, " %s", text);
    buf_fini(&reply);
    (void)r;
}

static void watch(void *arg, uint32_t index, const struct gossip_event *event) {
    struct run *r = arg;
    struct node *node = world_node(r->world, index);
    struct model_seen seen[ORIGINS_MAX];
    struct buf line = {0};
    put_texts(r, node, "TYPE", r->watch, &line);
    for (size_t i = 0; i < sizeof READS / sizeof *READS; i++)
        if (line.len == strlen(READS[i][0]) + 1 && !memcmp(line.data + 1, READS[i][0], line.len - 1)) {
            put_texts(r, node, READS[i][1], r->watch, &line);
            break;
        }
    uint32_t count = vector_of(node, node_shard_of(node, bytes_str(r->watch)), seen, ORIGINS_MAX);
    buf_put_str(&line, " |");
    for (uint32_t i = 0; i < count; i++)
        buf_printf(&line, " n%llu:%llu", (unsigned long long)seen[i].node - 1, (unsigned long long)seen[i].counter);
    if (!bytes_equal(buf_bytes(&line), buf_bytes(&r->watched[index]))) {
        static const char *const kinds[] = {"tick", "frame", "up", "down", "sent"};
        printf("%10lld n%u %-5s%.*s\n", (long long)world_now_us(r->world), index, kinds[event->kind], (int)line.len, (char *)line.data);
        r->watched[index].len = 0;
        buf_put_bytes(&r->watched[index], buf_bytes(&line));
    }
    buf_fini(&line);
}

/* ---------------------------------------------------------- everything else */

static const char *const OTHERS[][6] = {
    {"SET", "K", "V", "PX", "N"}, {"SETEX", "K", "S", "V"}, {"SET", "K", "V", "NX"}, {"SET", "K", "V", "XX", "GET"},
    {"SET", "K", "V", "KEEPTTL"}, {"GETSET", "K", "V"}, {"GETDEL", "K"}, {"APPEND", "K", "V"}, {"MSET", "K", "V", "K", "V"},
    {"MSETNX", "K", "V", "K", "V"}, {"INCR", "K"}, {"DECRBY", "K", "N"}, {"INCRBYFLOAT", "K", "0.1"}, {"EXPIRE", "K", "S"},
    {"PEXPIRE", "K", "N", "GT"}, {"EXPIRE", "K", "100000"}, {"PERSIST", "K"}, {"DEL", "K", "K"}, {"SADD", "K", "V", "V"},
    {"SREM", "K", "V"}, {"HSET", "K", "V", "V"}, {"HINCRBYFLOAT", "K", "V", "1.5"}, {"HDEL", "K", "V", "V"},
    {"HSETNX", "K", "V", "V"}, {"SPOP", "K"}, {"SMOVE", "K", "K", "V"}, {"SUNIONSTORE", "K", "K", "K"},
    {"SINTERSTORE", "K", "K", "K"}, {"SDIFFSTORE", "K", "K", "K"}, {"RENAME", "K", "K"}, {"COPY", "K", "K", "REPLACE"},
    {"SETRANGE", "K", "3", "V"}, {"GETEX", "K", "PX", "N"}, {"RENAMENX", "K", "K"},
};

static void other_write(struct run *r, struct node *node) {
    struct rng *rng = world_rng(r->world);
    const char *const *form = OTHERS[rng_below(rng, sizeof OTHERS / sizeof *OTHERS)];
    char texts[6][32];
    const char *argv[6];
    int argc = 0;
    for (; argc < 6 && form[argc]; argc++) {
        argv[argc] = form[argc];
        char *text = texts[argc];
        if (!strcmp(form[argc], "K")) name_key(text, 32, 'u', rng_below(rng, OTHER_KEYS));
        else if (!strcmp(form[argc], "V")) name_key(text, 32, 'v', rng_below(rng, 8));
        else if (!strcmp(form[argc], "N")) snprintf(text, 32, "%u", 1 + (unsigned)rng_below(rng, 20000));
        else if (!strcmp(form[argc], "S")) snprintf(text, 32, "%u", 1 + (unsigned)rng_below(rng, 60));
        else continue;
        argv[argc] = text;
    }
    run_command(r, node, argc, argv);
    r->unmodelled++;
}

static void client_acts(struct run *r) {
    struct rng *rng = world_rng(r->world);
    uint32_t index = (uint32_t)rng_below(rng, r->nodes);
    struct node *node = world_node(r->world, index);
    if (!node) return;
    uint64_t pick = rng_below(rng, 1000);
    if (pick < 60) r->expired += node_expire(node, 0, 1);
    if (pick < 2) flush_all(r, node);
    else if (pick < 550) model_write(r, node);
    else if (pick < 750) check_key(r, index, (uint32_t)rng_below(rng, MODEL_KEYS));
    else other_write(r, node);
}

/* -------------------------------------------------------------------- a run */

static struct world_faults random_faults(struct rng *rng) {
    struct world_faults f = {.latency_us_min = 30, .latency_us_max = 100 + (int64_t)rng_below(rng, rng_percent(rng, 30) ? 300000 : 3000)};
    if (rng_percent(rng, 50)) f.loss_percent = 1 + (unsigned)rng_below(rng, 30);
    if (rng_percent(rng, 40)) f.duplicate_percent = 1 + (unsigned)rng_below(rng, 30);
    if (rng_percent(rng, 40)) f.reorder_percent = 1 + (unsigned)rng_below(rng, 50);
    if (rng_percent(rng, 20)) f.corrupt_percent = 1 + (unsigned)rng_below(rng, 5);
    if (rng_percent(rng, 60)) f.partitions = 1 + (unsigned)rng_below(rng, 30);
    if (rng_percent(rng, 40)) f.crashes = 1 + (unsigned)rng_below(rng, 8);
    if (rng_percent(rng, 40)) {
        f.clock_jumps = 1 + (unsigned)rng_below(rng, 10);
        f.skew_ms_max = (int64_t)1 << rng_below(rng, 24);
    }
    return f;
}

static bool all_agree(struct run *r) {
    uint64_t first = gossip_digest(world_node(r->world, 0)->gossip, -1);
    for (uint32_t i = 0; i < r->nodes; i++) {
        struct member_info info[WORLD_NODES_MAX + 1];
        struct node *node = world_node(r->world, i);
        if (gossip_digest(node->gossip, -1) != first) return false;
        size_t count = gossip_members(node->gossip, info, WORLD_NODES_MAX + 1);
        if (count != r->nodes) return false;
        for (size_t k = 0; k < count; k++)
            if (info[k].missing || info[k].unacked) return false;
    }
    return true;
}

static void explain_disagreement(struct run *r) {
    printf("seed %llu: nodes do not agree %lld s after the network healed\n", (unsigned long long)r->seed,
           (long long)(SETTLE_US / 1000000));
    for (uint32_t i = 0; i < r->nodes; i++) {
        struct node *node = world_node(r->world, i);
        struct member_info info[WORLD_NODES_MAX + 1];
        size_t count = gossip_members(node->gossip, info, WORLD_NODES_MAX + 1);
        printf("  n%u digest %016llx\n", i, (unsigned long long)gossip_digest(node->gossip, -1));
        for (size_t k = 1; k < count && k < WORLD_NODES_MAX + 1; k++)
            printf("     %s %s%s unacked %llu missing %llu digest %lld ms ago\n", info[k].address,
                   member_status_text(info[k].status), info[k].connected ? "" : " not connected",
                   (unsigned long long)info[k].unacked, (unsigned long long)info[k].missing, (long long)info[k].digest_age_ms);
    }
    r->failed = true;
}

static void settle(struct run *r) {
    world_heal(r->world);
    for (uint32_t i = 0; i < r->nodes; i++) r->expired += node_expire(world_node(r->world, i), 0, 1);
    int64_t end = world_now_us(r->world) + SETTLE_US;
    do world_run(r->world, world_now_us(r->world) + 500000);
    while (!all_agree(r) && world_now_us(r->world) < end);
    if (!all_agree(r)) explain_disagreement(r);
}

static void check_audits(struct run *r, struct gossip_stats *sum) {
    for (uint32_t i = 0; i < r->nodes; i++) {
        struct gossip_stats s = {0};
        if (world_node(r->world, i)) gossip_stats(world_node(r->world, i)->gossip, &s);
#define X(name, help) sum->name += s.name;
        GOSSIP_STATS(X)
#undef X
    }
    if (!sum->audit_mismatches) return;
    printf("seed %llu: an audit found equal vectors with unequal content\n", (unsigned long long)r->seed);
    r->failed = true;
}

static void run_seed(struct run *r, struct gossip_stats *sum) {
    struct rng setup;
    rng_seed(&setup, r->seed ^ 0x5eed);
    uint32_t shards = 1u << rng_below(&setup, 4);
    r->world = world_new(r->seed, r->nodes, shards, rng_percent(&setup, 50) ? 1024 * shards : 1 << 24);
    r->model = model_new();
    r->limits = RESP_LIMITS_DEFAULT;
    resp_init(&r->parser, &r->limits);
    world_verbose(r->world, r->verbose);
    if (r->watch) world_on_step(r->world, watch, r);
    world_run(r->world, 500000);
    struct world_faults faults = random_faults(&setup);
    world_faults(r->world, &faults);
    int64_t pause_us = 1 + (int64_t)rng_below(&setup, 40000);
    for (uint32_t i = 0; i < r->ops && !r->failed; i++) {
        client_acts(r);
        world_run(r->world, world_now_us(r->world) + (int64_t)rng_below(world_rng(r->world), (uint64_t)pause_us));
    }
    if (!r->failed) settle(r);
    for (uint32_t i = 0; i < r->nodes && !r->failed; i++)
        for (uint32_t key = 0; key < MODEL_KEYS && !r->failed; key++) check_key(r, i, key);
    check_audits(r, sum);
}

static void run_free(struct run *r) {
    for (int i = 0; i < WORLD_NODES_MAX; i++) buf_fini(&r->watched[i]);
    resp_fini(&r->parser);
    buf_fini(&r->query);
    buf_fini(&r->reply);
    world_free(r->world);
    model_free(r->model);
}

static int usage(int code) {
    printf("anneal-sim: a cluster of the shipped code in a simulated world\n\n"
           "  --seed N     first seed (1)\n"
           "  --seeds N    how many (1)\n"
           "  --nodes N    1 to %d; by default the seed picks\n"
           "  --ops N      commands that clients send (2000)\n"
           "  --watch KEY  print what each node shows for a key whenever it changes\n"
           "  --verbose    print what happens to nodes and network\n",
           WORLD_NODES_MAX);
    return code;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"seed", 1, 0, 's'}, {"seeds", 1, 0, 'c'}, {"nodes", 1, 0, 'n'}, {"ops", 1, 0, 'o'},
                                            {"verbose", 0, 0, 'v'}, {"watch", 1, 0, 'w'}, {"help", 0, 0, 'h'}, {0}};
    uint64_t seed = 1, seeds = 1;
    uint32_t nodes = 0, ops = 2000;
    bool verbose = false;
    const char *watched = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 's') seed = strtoull(optarg, NULL, 10);
        else if (c == 'c') seeds = strtoull(optarg, NULL, 10);
        else if (c == 'n') nodes = (uint32_t)atoi(optarg);
        else if (c == 'o') ops = (uint32_t)atoi(optarg);
        else if (c == 'v') verbose = true;
        else if (c == 'w') watched = optarg;
        else return usage(c == 'h' ? 0 : 1);
    }
    if (optind != argc || nodes > WORLD_NODES_MAX || seeds == 0) return usage(1);
    uint64_t failed = 0, writes = 0, reads = 0, unmodelled = 0, expired = 0, trace = 0;
    struct gossip_stats sum = {0};
    struct world_stats world = {0};
    for (uint64_t i = 0; i < seeds; i++) {
        struct run run = {.seed = seed + i, .nodes = nodes, .ops = ops, .verbose = verbose, .watch = watched};
        uint64_t pick = run.seed;
        if (!nodes) run.nodes = 2 + (uint32_t)(rng_mix(&pick) % 4);
        run_seed(&run, &sum);
        if (run.failed) {
            failed++;
            printf("replay: build/anneal-sim --seed %llu --nodes %u --ops %u\n", (unsigned long long)run.seed, run.nodes, ops);
        }
        struct world_stats s;
        world_stats(run.world, &s);
        uint64_t *total = (uint64_t *)&world, *one = (uint64_t *)&s;
        for (size_t k = 0; k < sizeof s / sizeof *one; k++) total[k] += one[k];
        writes += run.writes;
        reads += run.reads;
        unmodelled += run.unmodelled;
        expired += run.expired;
        trace ^= world_trace_hash(run.world);
        run_free(&run);
    }
    printf("%llu seeds, %llu failed: %llu modelled writes, %llu judged reads, %llu other commands, %llu keys expired, trace %016llx\n",
           (unsigned long long)seeds, (unsigned long long)failed, (unsigned long long)writes, (unsigned long long)reads,
           (unsigned long long)unmodelled, (unsigned long long)expired, (unsigned long long)trace);
    printf("world: %llu events, %llu frames, %llu lost, %llu repeated, %llu overtook, %llu corrupted, %llu busy, %llu cuts, %llu crashes, %llu clock jumps\n",
           (unsigned long long)world.events, (unsigned long long)world.frames, (unsigned long long)world.lost,
           (unsigned long long)world.duplicated, (unsigned long long)world.reordered, (unsigned long long)world.corrupted,
           (unsigned long long)world.refused_busy, (unsigned long long)world.partitions, (unsigned long long)world.crashes,
           (unsigned long long)world.jumps);
#define X(name, help) \
    if (sum.name) printf("%12llu %s\n", (unsigned long long)sum.name, help);
    GOSSIP_STATS(X)
#undef X
    return failed != 0;
}
