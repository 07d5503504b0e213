/* Replicas of one shard under lossy, reordered, overlapping exchange: do they settle on one
 * state, and is it the state that causality demands?
 *
 * The judge is a naive model that knows nothing of dots: a list of operations, each with what
 * its replica had applied when it was made. A write lives if no operation that removes from
 * its element had seen it; an increment counts on the same terms. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "lattice/shard.h"
#include "test/exchange.h"

enum { REPLICAS_MOST = 5, KEYS = 3, FIELDS = 3, OPS_MOST = 160, RECORDED_MOST = 4 * OPS_MOST, NET_MOST = 512, GRACE_MS = 300 };

enum what { SET, INCR, DEL, SADD, SREM, HSET, HINCR, HDEL, FLUSH, EXPIRE, DUE, WHATS };

struct op {
    int node;
    uint64_t last; /* counter of its last mutation */
    enum what what;
    int key, field;
    int64_t number;
    struct vclock seen;
};

struct packet {
    int to, answer_to; /* answer_to: index into asked, -1 for a push */
    struct buf bytes;
};

struct world {
    struct rng rng;
    int nodes;
    struct replicas *replicas[REPLICAS_MOST];
    struct shard *shard[REPLICAS_MOST];
    uint64_t pushed[REPLICAS_MOST];
    struct op ops[RECORDED_MOST];
    int op_count;
    struct packet net[NET_MOST];
    int net_count;
    struct shard_summary asked[NET_MOST];
    int asked_count;
    int64_t now;
    int by_cells;
    struct vclock heard[REPLICAS_MOST][REPLICAS_MOST]; /* [at][of]: by node, what `of` had applied */
};

static struct replica_id id_of(int node) { return (struct replica_id){(uint64_t)(node * 7 % 5), (uint64_t)node + 1}; }

/* Each node numbers the others in its own order, as real ones do. */
static void world_init(struct world *w, uint64_t seed) {
    *w = (struct world){0};
    rng_seed(&w->rng, seed);
    w->now = 1000;
    w->nodes = 2 + (int)rng_below(&w->rng, REPLICAS_MOST - 1);
    bool short_log = rng_percent(&w->rng, 40);
    for (int i = 0; i < w->nodes; i++) {
        struct shard_config config = {.log_bytes_max = short_log ? 300 : 1 << 20};
        w->replicas[i] = replicas_new();
        uint16_t index;
        for (int skip = 0; skip < i; skip++)
            assert_int_equal(replicas_intern(w->replicas[i], id_of((i + skip + 1) % w->nodes), &index), STATUS_OK);
        assert_int_equal(replicas_intern(w->replicas[i], id_of(i), &index), STATUS_OK);
        config.replicas = w->replicas[i];
        config.self = index;
        w->shard[i] = shard_new(0, &config);
    }
}

static void world_fini(struct world *w) {
    for (int i = 0; i < w->nodes; i++) {
        shard_free(w->shard[i]);
        replicas_free(w->replicas[i]);
    }
    for (int i = 0; i < w->nodes * REPLICAS_MOST; i++) vclock_fini(&w->heard[i / REPLICAS_MOST][i % REPLICAS_MOST]);
    for (int i = 0; i < w->op_count; i++) vclock_fini(&w->ops[i].seen);
    for (int i = 0; i < w->net_count; i++) buf_fini(&w->net[i].bytes);
    for (int i = 0; i < w->asked_count; i++) shard_summary_fini(&w->asked[i]);
}

/* By the first seed that makes three nodes. */
static void world_init_three(struct world *w) {
    world_init(w, 1);
    for (uint64_t seed = 2; w->nodes < 3; seed++) {
        world_fini(w);
        world_init(w, seed);
    }
}

static uint16_t index_at(struct world *w, int node, int of) {
    uint16_t index;
    assert_int_equal(replicas_intern(w->replicas[node], id_of(of), &index), STATUS_OK);
    return index;
}

static uint64_t applied(struct world *w, int node, int of) {
    return vclock_get(shard_applied(w->shard[node]), index_at(w, node, of));
}

static struct key_ref key_at(struct world *w, int node, int key, char *name) {
    name[0] = (char)('a' + key);
    return shard_ref(w->shard[node], bytes_of(name, 1));
}

static struct bytes field_at(int field, char *name) {
    name[0] = (char)('f' + field);
    return bytes_of(name, 1);
}

static bool removes(const struct op *o, enum what kind, int key, int field) {
    if (o->what == FLUSH) return true;
    if (o->key != key) return false;
    if (o->what == DEL || o->what == SET) return true;
    if (kind == EXPIRE) return o->what == EXPIRE;
    if (kind == SADD) return (o->what == SADD || o->what == SREM) && o->field == field;
    if (kind == HSET) return (o->what == HSET || o->what == HDEL) && o->field == field;
    return false;
}

/* What writes a kind's element, and what adds to it: removed by the same. */
static enum what kind_for(enum what what) { return what == INCR ? SET : what == HINCR ? HSET : what; }

static bool is_write(enum what what) {
    return what == SET || what == INCR || what == SADD || what == HSET || what == HINCR || what == EXPIRE;
}

/* Does it live in the end? */
static bool survives(const struct world *w, int at) {
    const struct op *op = &w->ops[at];
    for (int i = 0; i < w->op_count; i++) {
        const struct op *o = &w->ops[i];
        if (i != at && removes(o, kind_for(op->what), op->key, op->field) &&
            vclock_get(&o->seen, (uint16_t)op->node) >= op->last)
            return false;
    }
    return true;
}

static void record(struct world *w, struct op op) {
    assert_true(w->op_count < RECORDED_MOST);
    struct vclock seen = op.seen;
    vclock_copy(&op.seen, &seen);
    w->ops[w->op_count++] = op;
}

/* Nothing goes before its time, nothing stays beyond the grace. What went, went as by DEL. */
static void act_due(struct world *w, struct op *op, int64_t now) {
    struct shard *s = w->shard[op->node];
    bool early[KEYS];
    char name[1];
    for (int k = 0; k < KEYS; k++) early[k] = shard_find(s, key_at(w, op->node, k, name), now);
    int64_t next;
    shard_expire_due(s, now, GRACE_MS, SIZE_MAX, &next);
    assert_true(next > now);
    for (int k = 0; k < KEYS; k++) {
        struct key_ref ref = key_at(w, op->node, k, name);
        struct key *key = shard_find(s, ref, INT64_MIN);
        if (early[k]) assert_non_null(key);
        if (key) assert_true(key_expiry(key) > now - GRACE_MS);
        if (!key) shard_delete(s, ref, now); /* whatever expiry is left may be due or not */
    }
    op->what = DEL;
    op->last = applied(w, op->node, op->node);
    for (op->key = 0; op->key < KEYS; op->key++)
        if (!shard_find(s, key_at(w, op->node, op->key, name), INT64_MIN)) record(w, *op);
}

static void run_op(struct shard *s, const struct op *op, struct key_ref ref, struct bytes field, struct bytes value, int64_t now) {
    switch (op->what) {
    case SET: shard_set(s, ref, value, false, now); break;
    case INCR: shard_increase(s, ref, fixed_from_i64(op->number), now); break;
    case DEL: shard_delete(s, ref, now); break;
    case SADD: shard_add_member(s, ref, field, now); break;
    case SREM: shard_remove_field(s, ref, KEY_SET, field, now); break;
    case HSET: shard_set_field(s, ref, field, value, now); break;
    case HINCR: shard_increase_field(s, ref, field, fixed_from_i64(op->number), now); break;
    case HDEL: shard_remove_field(s, ref, KEY_HASH, field, now); break;
    case EXPIRE: shard_expire(s, ref, op->number, now); break;
    default: shard_flush(s, now); break;
    }
}

static int64_t number_for(struct world *w, enum what what) {
    if (what == SET || what == HSET) return (w->op_count + 1) * 1000000;
    if (what != EXPIRE) return (int64_t)rng_below(&w->rng, 19) - 9;
    if (rng_percent(&w->rng, 25)) return EXPIRY_NEVER;
    return w->now + (int64_t)rng_below(&w->rng, 3000);
}

static void act(struct world *w) {
    static const enum what table[] = {SET,  SET,  INCR, INCR,  INCR,  DEL,  SADD,   SADD,   SREM, HSET,
                                      HSET, HINCR, HINCR, HDEL, EXPIRE, EXPIRE, EXPIRE, DUE, DUE};
    struct op op = {.node = (int)rng_below(&w->rng, (uint64_t)w->nodes)};
    op.what = rng_percent(&w->rng, 2) ? FLUSH : table[rng_below(&w->rng, sizeof table / sizeof *table)];
    op.key = (int)rng_below(&w->rng, KEYS);
    op.field = (int)rng_below(&w->rng, FIELDS);
    op.number = number_for(w, op.what);
    for (int i = 0; i < w->nodes; i++) vclock_raise(&op.seen, (uint16_t)i, applied(w, op.node, i));
    struct shard *s = w->shard[op.node];
    char key_name[1], field_name[1], text[24];
    struct key_ref ref = key_at(w, op.node, op.key, key_name);
    struct bytes field = field_at(op.field, field_name), value = bytes_of(text, bytes_from_i64(op.number, text));
    w->now += (int64_t)rng_below(&w->rng, 3);
    int64_t skewed = w->now + op.node * 500;
    uint64_t before = applied(w, op.node, op.node);
    /* A write to what has expired removes it first. */
    bool clears = op.what != EXPIRE && is_write(op.what) && !shard_find(s, ref, skewed);
    shard_lock(s);
    if (op.what == DUE)
        act_due(w, &op, skewed);
    else
        run_op(s, &op, ref, field, value, skewed);
    shard_unlock(s);
    op.last = applied(w, op.node, op.node);
    struct op cleared = op;
    cleared.what = DEL;
    if (clears) record(w, cleared);
    /* The last field takes the key with it. */
    if ((op.what == SREM || op.what == HDEL) && !shard_find(s, ref, INT64_MIN)) op.what = DEL;
    if (op.last != before && op.key < KEYS) record(w, op);
    vclock_fini(&op.seen);
}

static void send(struct world *w, int to, int answer_to, struct buf *bytes) {
    if (w->net_count == NET_MOST || rng_percent(&w->rng, 30)) {
        buf_fini(bytes);
        return;
    }
    w->net[w->net_count++] = (struct packet){to, answer_to, *bytes};
}

static void push(struct world *w, int from) {
    uint64_t upto = w->pushed[from];
    for (int to = 0; to < w->nodes; to++) {
        struct wire_writer writer;
        struct buf bytes = {0};
        wire_init(&writer, w->replicas[from]);
        enum status status = shard_write_delta(w->shard[from], &writer, w->pushed[from], &upto);
        if (status == STATUS_ERR_GAP) upto = applied(w, from, from);
        if (status == STATUS_OK && to != from) {
            wire_finish(&writer, &bytes);
            send(w, to, -1, &bytes);
        }
        wire_fini(&writer);
    }
    w->pushed[from] = upto;
}

/* Cells, and often finer ones of some, differing or not: any partition must do. */
static void summarise_by_cells(struct world *w, int asker, struct shard_summary *out) {
    struct shard_refinement refinement = {.bits = (uint8_t)(1 + rng_below(&w->rng, 3))};
    w->by_cells++;
    if (rng_percent(&w->rng, 40)) {
        shard_summarise(w->shard[asker], true, out);
        return;
    }
    for (unsigned i = 0; i < SHARD_CELLS_BYTES; i++) refinement.cells[i] = (uint8_t)rng_next(&w->rng);
    shard_summarise_finely(w->shard[asker], &refinement, out);
}

static void write_answer(struct world *w, int asker, int from, struct shard_summary *asked, struct buf *out) {
    struct shard_summary seen;
    exchange_summary(w->replicas[asker], asked, w->replicas[from], &seen);
    struct wire_writer writer;
    wire_init(&writer, w->replicas[from]);
    enum status status = shard_write_answer(w->shard[from], &writer, &seen);
    shard_summary_fini(&seen);
    if (status == STATUS_ERR_GAP) {
        assert_false(asked->has_cells);
        shard_summary_fini(asked);
        summarise_by_cells(w, asker, asked);
        wire_fini(&writer);
        write_answer(w, asker, from, asked, out);
        return;
    }
    assert_int_equal(status, STATUS_OK);
    wire_finish(&writer, out);
    wire_fini(&writer);
}

static void pull(struct world *w, int asker, int from) {
    if (w->asked_count == NET_MOST) return;
    struct shard_summary *asked = &w->asked[w->asked_count];
    shard_summarise(w->shard[asker], false, asked);
    struct buf bytes = {0};
    write_answer(w, asker, from, asked, &bytes);
    send(w, asker, w->asked_count++, &bytes);
}

static void receive(struct world *w, int to, struct shard_summary *asked, struct bytes bytes) {
    struct wire_reader reader;
    assert_int_equal(wire_open(&reader, bytes, w->replicas[to]), STATUS_OK);
    enum status status = asked ? shard_read_answer(w->shard[to], &reader, asked, w->now)
                               : shard_read_delta(w->shard[to], &reader, w->now);
    assert_true(status == STATUS_OK || (!asked && status == STATUS_ERR_GAP));
    wire_close(&reader);
}

static void deliver(struct world *w) {
    int at = (int)rng_below(&w->rng, (uint64_t)w->net_count);
    struct packet *p = &w->net[at];
    receive(w, p->to, p->answer_to < 0 ? NULL : &w->asked[p->answer_to], buf_bytes(&p->bytes));
    if (rng_percent(&w->rng, 15)) return; /* and once more, later */
    buf_fini(&p->bytes);
    w->net[at] = w->net[--w->net_count];
}

/* A member's vector counts once all that it had done by then is applied here. */
static void stabilise(struct world *w, int at) {
    struct vclock stable = {0};
    for (int of = 0; of < w->nodes; of++) {
        if (applied(w, at, of) < applied(w, of, of)) continue;
        for (int r = 0; r < w->nodes; r++) vclock_raise(&w->heard[at][of], (uint16_t)r, applied(w, of, r));
    }
    for (int r = 0; r < w->nodes; r++)
        vclock_raise(&stable, index_at(w, at, r), exchange_stable(w->heard[at], (size_t)w->nodes, (uint16_t)r));
    shard_stable(w->shard[at], &stable);
    vclock_fini(&stable);
}

static void heal(struct world *w) {
    for (int round = 0; round < 3; round++)
        for (int to = 0; to < w->nodes; to++)
            for (int from = 0; from < w->nodes; from++) {
                if (from == to) continue;
                struct shard_summary asked;
                struct buf bytes = {0};
                shard_summarise(w->shard[to], false, &asked);
                write_answer(w, to, from, &asked, &bytes);
                receive(w, to, &asked, buf_bytes(&bytes));
                buf_fini(&bytes);
                shard_summary_fini(&asked);
            }
}

/* ------------------------------------------------------------- the model */

struct truth {
    int writes;
    bool increments;
    int64_t sum;
};

static struct truth truth_of(struct world *w, enum what write, enum what add, int key, int field, int64_t base, bool *base_ok) {
    struct truth truth = {0};
    *base_ok = false;
    for (int i = 0; i < w->op_count; i++) {
        const struct op *op = &w->ops[i];
        if (op->key != key || (write != SET && op->field != field) || (op->what != write && op->what != add)) continue;
        if (!survives(w, i)) continue;
        if (op->what == add) {
            truth.increments = true;
            truth.sum += op->number;
        } else {
            truth.writes++;
            if (op->number == base) *base_ok = true;
        }
    }
    return truth;
}

static int64_t number_of(struct bytes text) {
    int64_t value;
    assert_true(bytes_to_i64(text, &value));
    return value;
}

/* The rendered number is one of the surviving writes plus all surviving increments. */
static void judge_number(struct world *w, enum what write, enum what add, int key, int field, bool there, int64_t shown) {
    bool base_ok;
    struct truth truth = truth_of(w, write, add, key, field, 0, &base_ok);
    assert_int_equal(there, truth.writes > 0 || truth.increments);
    if (!there) return;
    truth = truth_of(w, write, add, key, field, shown - truth.sum, &base_ok);
    if (truth.writes)
        assert_true(base_ok);
    else
        assert_int_equal(shown, truth.sum);
}

static int64_t expiry_of(const struct world *w, int key) {
    int64_t latest = INT64_MIN;
    for (int i = 0; i < w->op_count; i++) {
        const struct op *op = &w->ops[i];
        if (op->key == key && op->what == EXPIRE && op->number > latest && survives(w, i)) latest = op->number;
    }
    return latest == INT64_MIN ? EXPIRY_NEVER : latest;
}

static void judge(struct world *w, int node) {
    struct shard *s = w->shard[node];
    for (int k = 0; k < KEYS; k++) {
        char key_name[1], field_name[1];
        struct scratch scratch;
        struct key *key = shard_find(s, key_at(w, node, k, key_name), INT64_MIN); /* expired or not */
        enum key_type type = key ? key_type(s, key) : KEY_NONE;
        bool string = false, base_ok;
        struct truth text = truth_of(w, SET, INCR, k, 0, 0, &base_ok);
        string = text.writes > 0 || text.increments;
        if (type == KEY_STRING) judge_number(w, SET, INCR, k, 0, true, number_of(key_string(s, key, &scratch)));
        if (!key) assert_false(string);
        if (key) assert_int_equal(key_expiry(key), expiry_of(w, k));
        for (int f = 0; f < FIELDS; f++) {
            struct bytes name = field_at(f, field_name);
            struct field *member = key ? key_field(s, key, KEY_SET, name) : NULL;
            struct truth in = truth_of(w, SADD, WHATS, k, f, 0, &base_ok);
            assert_int_equal(member != NULL, in.writes > 0);
            struct field *field = key ? key_field(s, key, KEY_HASH, name) : NULL;
            judge_number(w, HSET, HINCR, k, f, field != NULL, field ? number_of(field_value(s, field, &scratch)) : 0);
        }
    }
}

/* Long after, whatever could expire is gone everywhere, and nothing waits any more. */
static void expire_all(struct world *w) {
    int64_t next = 0;
    char name[1];
    w->now += 1000000000;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < w->nodes; i++) shard_expire_due(w->shard[i], w->now, GRACE_MS, SIZE_MAX, &next);
        heal(w);
    }
    for (int i = 0; i < w->nodes; i++) {
        assert_int_equal(shard_expire_due(w->shard[i], w->now, GRACE_MS, SIZE_MAX, &next), 0);
        assert_int_equal(next, EXPIRY_NEVER);
        for (int k = 0; k < KEYS; k++) {
            struct key *key = shard_find(w->shard[i], key_at(w, i, k, name), INT64_MIN);
            if (key) assert_int_equal(key_expiry(key), EXPIRY_NEVER);
        }
        assert_int_equal(shard_digest(w->shard[i]), shard_digest(w->shard[0]));
    }
}

static int run(uint64_t seed) {
    struct world *w = test_malloc(sizeof *w);
    world_init(w, seed);
    int ops = 20 + (int)rng_below(&w->rng, OPS_MOST - 20);
    while (ops-- > 0) {
        act(w);
        for (int i = 0; i < w->nodes; i++)
            if (rng_percent(&w->rng, 40)) push(w, i);
        if (rng_percent(&w->rng, 30)) {
            int asker = (int)rng_below(&w->rng, (uint64_t)w->nodes), from = (int)rng_below(&w->rng, (uint64_t)w->nodes);
            if (asker != from) pull(w, asker, from);
        }
        stabilise(w, (int)rng_below(&w->rng, (uint64_t)w->nodes));
        for (int i = 0; i < 3 && w->net_count; i++)
            if (rng_percent(&w->rng, 60)) deliver(w);
    }
    while (w->net_count) deliver(w);
    heal(w);
    for (int i = 0; i < w->nodes; i++) {
        assert_int_equal(shard_digest(w->shard[i]), shard_digest(w->shard[0]));
        assert_int_equal(shard_key_count(w->shard[i]), shard_key_count(w->shard[0]));
        judge(w, i);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < w->nodes; i++) stabilise(w, i);
    for (int i = 0; i < w->nodes; i++) judge(w, i);
    expire_all(w);
    /* Cleared, and settled everywhere: nothing at all is left. */
    shard_flush(w->shard[0], w->now + 5000);
    heal(w);
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < w->nodes; i++) stabilise(w, i);
    for (int i = 0; i < w->nodes; i++) assert_int_equal(shard_mem_bytes(w->shard[i]), 0);
    int by_cells = w->by_cells;
    world_fini(w);
    test_free(w);
    return by_cells;
}

static uint64_t seed_now;
static bool seed_runs;

static void replicas_settle_on_what_causality_demands(void **state) {
    (void)state;
    int by_cells = 0;
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, count = one ? 1 : many ? strtoull(many, NULL, 10) : 3000;
    for (seed_now = first; seed_now < first + count; seed_now++) {
        if (one) print_message("seed %llu\n", (unsigned long long)seed_now);
        seed_runs = true;
        by_cells += run(seed_now);
        seed_runs = false;
    }
    if (!one) assert_true(by_cells > 0);
}

/* A shard with something of every type, and the delta that tells of it. */
static void fill(struct world *w, struct buf *delta, struct buf *answer) {
    world_init(w, 44); /* a seed with a long log, so that the delta reaches back to 0 */
    for (int i = 0; i < 120 && w->op_count < OPS_MOST; i++) act(w);
    struct wire_writer writer;
    uint64_t upto;
    wire_init(&writer, w->replicas[1]);
    assert_int_equal(shard_write_delta(w->shard[1], &writer, 0, &upto), STATUS_OK);
    wire_finish(&writer, delta);
    wire_fini(&writer);
    struct shard_summary asked;
    shard_summarise(w->shard[0], true, &asked);
    write_answer(w, 0, 1, &asked, answer);
    shard_summary_fini(&asked);
}

static void feed(struct world *w, struct bytes bytes, bool is_answer) {
    struct wire_reader reader;
    uint64_t before = shard_digest(w->shard[0]);
    if (wire_open(&reader, bytes, w->replicas[0]) != STATUS_OK) return;
    struct shard_summary asked;
    shard_summarise(w->shard[0], true, &asked);
    enum status status = is_answer ? shard_read_answer(w->shard[0], &reader, &asked, w->now)
                                   : shard_read_delta(w->shard[0], &reader, w->now);
    if (status != STATUS_OK) assert_int_equal(shard_digest(w->shard[0]), before);
    shard_summary_fini(&asked);
    wire_close(&reader);
}

/* The message is copied to its exact size, so that a sanitizer sees one byte too many. */
static void damaged_messages_are_refused_whole(void **state) {
    (void)state;
    for (int is_answer = 0; is_answer < 2; is_answer++) {
        struct world *w = test_malloc(sizeof *w);
        struct buf delta = {0}, answer = {0};
        fill(w, &delta, &answer);
        const struct buf *good = is_answer ? &answer : &delta;
        for (size_t len = 0; len < good->len; len++) {
            uint8_t *cut = test_malloc(len + 1);
            memcpy(cut + 1, good->data, len);
            feed(w, bytes_of(cut + 1, len), is_answer);
            test_free(cut);
        }
        for (int i = 0; i < 20000; i++) {
            uint8_t *bent = test_malloc(good->len);
            memcpy(bent, good->data, good->len);
            for (uint64_t n = 1 + rng_below(&w->rng, 3); n > 0; n--) bent[rng_below(&w->rng, good->len)] = (uint8_t)rng_next(&w->rng);
            feed(w, bytes_of(bent, good->len), is_answer);
            test_free(bent);
        }
        buf_fini(&delta);
        buf_fini(&answer);
        world_fini(w);
        test_free(w);
    }
}

static void expiries_follow_the_table(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    world_init_three(w);
    char name[1];
    struct key_ref ref = key_at(w, 0, 0, name);
    int64_t now = 1000;
    shard_set(w->shard[0], ref, bytes_str("v"), false, now);
    heal(w);
    /* EXPIRE 10 beside EXPIRE 50 beside PERSIST: no expiry. */
    shard_expire(w->shard[0], ref, now + 10, now);
    shard_expire(w->shard[1], ref, now + 50, now);
    shard_expire(w->shard[2], ref, EXPIRY_NEVER, now);
    assert_null(shard_find(w->shard[0], ref, now + 10));
    heal(w);
    for (int i = 0; i < w->nodes; i++)
        assert_int_equal(key_expiry(shard_find(w->shard[i], ref, now + 99)), EXPIRY_NEVER);
    /* A later one may shorten; SET clears; what is expired is not there, and can be made anew. */
    shard_expire(w->shard[1], ref, now + 5, now);
    heal(w);
    for (int i = 0; i < w->nodes; i++) assert_int_equal(key_expiry(shard_find(w->shard[i], ref, now)), now + 5);
    shard_add_member(w->shard[2], ref, bytes_str("m"), now + 6);
    heal(w);
    for (int i = 0; i < w->nodes; i++) {
        struct key *key = shard_find(w->shard[i], ref, now + 6);
        assert_int_equal(key_type(w->shard[i], key), KEY_SET);
        assert_int_equal(key_expiry(key), EXPIRY_NEVER);
    }
    world_fini(w);
    test_free(w);
}

static size_t expire_at(struct world *w, int node, int64_t now) {
    int64_t next;
    return shard_expire_due(w->shard[node], now, GRACE_MS, SIZE_MAX, &next);
}

static void who_wrote_the_expiry_removes_first(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    world_init(w, 1);
    char name[1];
    struct key_ref ref = key_at(w, 0, 0, name);
    shard_set(w->shard[0], ref, bytes_str("v"), false, 1000);
    shard_expire(w->shard[0], ref, 2000, 1000);
    heal(w);
    assert_int_equal(expire_at(w, 0, 1999), 0);
    assert_int_equal(expire_at(w, 1, 2000 + GRACE_MS - 1), 0);
    assert_int_equal(expire_at(w, 0, 2000), 1);
    assert_int_equal(expire_at(w, 1, 2000 + GRACE_MS), 1); /* it has not heard */
    /* A PERSIST beside a DEL outlives its key; its origin removes it. */
    shard_set(w->shard[0], ref, bytes_str("v"), false, 3000);
    heal(w);
    shard_expire(w->shard[0], ref, EXPIRY_NEVER, 3000);
    shard_delete(w->shard[1], ref, 3000);
    heal(w);
    assert_null(shard_find(w->shard[0], ref, INT64_MIN));
    assert_true(shard_mem_bytes(w->shard[0]) > 0);
    assert_int_equal(expire_at(w, 1, 3000), 0);
    assert_int_equal(expire_at(w, 0, 4000), 1);
    heal(w);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < w->nodes; i++) stabilise(w, i);
    for (int i = 0; i < w->nodes; i++) assert_int_equal(shard_mem_bytes(w->shard[i]), 0);
    world_fini(w);
    test_free(w);
}

/* A reset that saw the greatest total, beside increments down to the least. */
static void counters_saturate_the_same_everywhere(void **state) {
    (void)state;
    const __int128 most = (__int128)(((unsigned __int128)1 << 127) - 1);
    struct world *w = test_malloc(sizeof *w);
    world_init(w, 1);
    char name[1], text[FIXED_TEXT_MAX];
    struct key_ref ref = key_at(w, 0, 0, name);
    shard_increase(w->shard[0], ref, most, 1000);
    heal(w);
    shard_delete(w->shard[1], ref, 1000);
    shard_increase(w->shard[0], ref, -most, 1000);
    shard_increase(w->shard[0], ref, -most, 1000);
    heal(w);
    for (int i = 0; i < w->nodes; i++) {
        struct scratch scratch;
        struct bytes shown = key_string(w->shard[i], shard_find(w->shard[i], ref, 1000), &scratch);
        assert_true(bytes_equal(shown, bytes_of(text, fixed_print(-most, text))));
        assert_int_equal(shard_digest(w->shard[i]), shard_digest(w->shard[0]));
    }
    world_fini(w);
    test_free(w);
}

/* All that `from` holds, told to one who says that it has nothing. */
static void tell_everything(struct world *w, int to, int from) {
    static const struct shard_summary nothing;
    struct shard_summary asked;
    struct wire_writer writer;
    struct buf bytes = {0};
    shard_summarise(w->shard[to], false, &asked);
    wire_init(&writer, w->replicas[from]);
    assert_int_equal(shard_write_answer(w->shard[from], &writer, &nothing), STATUS_OK);
    wire_finish(&writer, &bytes);
    wire_fini(&writer);
    receive(w, to, &asked, buf_bytes(&bytes));
    buf_fini(&bytes);
    shard_summary_fini(&asked);
}

/* Node 2 has seen two writes of a field; one of them goes by a DEL of node 1, which has not seen the other. */
static void a_field_that_keeps_one_write_is_packed_again(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    world_init_three(w);
    char name[1];
    struct key_ref ref = key_at(w, 0, 0, name);
    for (int i = 0; i < 2; i++) shard_set_field(w->shard[i], ref, bytes_str("f"), bytes_str("v"), 1000);
    for (int i = 0; i < 2; i++) tell_everything(w, 2, i);
    shard_delete(w->shard[1], ref, 1000);
    tell_everything(w, 0, 1);
    struct wire_writer writer;
    struct buf delta = {0};
    uint64_t upto;
    wire_init(&writer, w->replicas[1]);
    assert_int_equal(shard_write_delta(w->shard[1], &writer, 0, &upto), STATUS_OK);
    wire_finish(&writer, &delta);
    wire_fini(&writer);
    receive(w, 2, NULL, buf_bytes(&delta));
    buf_fini(&delta);
    assert_int_equal(shard_digest(w->shard[2]), shard_digest(w->shard[0]));
    for (int i = 0; i < 3; i++) shard_stable(w->shard[i], shard_applied(w->shard[i])); /* no logs */
    assert_int_equal(shard_mem_bytes(w->shard[2]), shard_mem_bytes(w->shard[0]));
    world_fini(w);
    test_free(w);
}

/* An answer of one unit: an increment of a member, or of an expiry. */
static void increments_are_refused_where_nothing_counts(void **state) {
    (void)state;
    for (uint64_t kind = 4; kind <= 5; kind++) {
        struct world *w = test_malloc(sizeof *w);
        struct wire_writer writer;
        struct wire_reader reader;
        struct shard_summary asked;
        struct buf bytes = {0};
        world_init(w, 1);
        wire_init(&writer, w->replicas[1]);
        wire_u64(&writer, 2); /* all */
        wire_context(&writer, &(struct context){0});
        wire_u64(&writer, 0); /* clock */
        wire_u64(&writer, 0); /* records */
        wire_u64(&writer, kind);
        wire_u64(&writer, 1); /* named */
        wire_bytes(&writer, bytes_str("key"));
        if (kind == 5) wire_bytes(&writer, bytes_str("member"));
        wire_u64(&writer, 0); /* siblings */
        wire_u64(&writer, 1); /* increments */
        wire_dot(&writer, dot_make(index_at(w, 1, 1), 1));
        for (int i = 0; i < 5; i++) wire_u64(&writer, 0); /* gen clock total floor-n floor */
        wire_u64(&writer, 0);
        wire_finish(&writer, &bytes);
        wire_fini(&writer);
        shard_summarise(w->shard[0], false, &asked);
        assert_int_equal(wire_open(&reader, buf_bytes(&bytes), w->replicas[0]), STATUS_OK);
        assert_int_equal(shard_read_answer(w->shard[0], &reader, &asked, 1000), STATUS_ERR_MALFORMED);
        wire_close(&reader);
        shard_summary_fini(&asked);
        buf_fini(&bytes);
        world_fini(w);
        test_free(w);
    }
}

/* Node 0 is told, by name, of one mutation of node 1: of something at the key that it holds. */
static enum status tell_record(struct world *w, uint64_t applied_there, uint64_t counter, uint64_t field_hash) {
    struct wire_writer writer;
    struct wire_reader reader;
    struct shard_summary asked;
    struct buf bytes = {0};
    char name[1];
    uint16_t one = index_at(w, 1, 1);
    struct context context = {0};
    context_apply(&context, one, applied_there);
    shard_summarise(w->shard[0], false, &asked);
    wire_init(&writer, w->replicas[1]);
    wire_u64(&writer, 0); /* by names */
    wire_context(&writer, &context);
    wire_u64(&writer, 0); /* clock */
    wire_u64(&writer, 1); /* records */
    wire_dot(&writer, dot_make(one, counter));
    wire_u64(&writer, key_at(w, 0, 0, name).hash);
    wire_u64(&writer, field_hash);
    wire_u64(&writer, 0);
    wire_finish(&writer, &bytes);
    assert_int_equal(wire_open(&reader, buf_bytes(&bytes), w->replicas[0]), STATUS_OK);
    enum status status = shard_read_answer(w->shard[0], &reader, &asked, 1000);
    wire_close(&reader);
    wire_fini(&writer);
    context_fini(&context);
    shard_summary_fini(&asked);
    buf_fini(&bytes);
    return status;
}

static void an_answer_names_elements_and_what_its_sender_applied(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    char name[1];
    world_init(w, 1);
    shard_set(w->shard[0], key_at(w, 0, 0, name), bytes_str("v"), false, 1000);
    assert_int_equal(tell_record(w, 2, 1, 0), STATUS_ERR_MALFORMED);  /* no element, and no key */
    assert_int_equal(tell_record(w, 2, 1, 3), STATUS_ERR_MALFORMED);  /* increments have no element of their own */
    assert_int_equal(tell_record(w, 2, 3, 2), STATUS_ERR_MALFORMED);  /* not applied there */
    assert_int_equal(tell_record(w, 2, 1, 1), STATUS_OK);             /* the key */
    assert_int_equal(tell_record(w, 2, 2, 2), STATUS_OK);             /* its string */
    assert_non_null(shard_find(w->shard[0], key_at(w, 0, 0, name), 1000));
    world_fini(w);
    test_free(w);
}

/* Only a seed that failed is still under way here. */
static int tell_seed(void **state) {
    (void)state;
    if (seed_runs) print_message("last seed: SEED=%llu replays it\n", (unsigned long long)seed_now);
    seed_runs = false;
    return 0;
}

static void on_abort(int number) {
    tell_seed(NULL);
    signal(number, SIG_DFL);
    raise(number);
}

int main(void) {
    signal(SIGABRT, on_abort); /* an assertion of the shipped code */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(replicas_settle_on_what_causality_demands, tell_seed),
        cmocka_unit_test(damaged_messages_are_refused_whole),
        cmocka_unit_test(expiries_follow_the_table),
        cmocka_unit_test(who_wrote_the_expiry_removes_first),
        cmocka_unit_test(counters_saturate_the_same_everywhere),
        cmocka_unit_test(a_field_that_keeps_one_write_is_packed_again),
        cmocka_unit_test(increments_are_refused_where_nothing_counts),
        cmocka_unit_test(an_answer_names_elements_and_what_its_sender_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
