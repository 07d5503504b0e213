/* Two or three nodes with one shard; bytes decide who writes what, which deltas go out (ranges that
 * overlap too), what is lost, repeated and overtaken, who pulls from whom and by what, who dies and
 * comes back empty. In the end all hear all, and must hold the same.
 *
 * input := shape step*
 * step  := what and who, argument */
#include "core/mem.h"
#include "lattice/shard_state.h"
#include "test/exchange.h"
#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"

enum { NODES_MOST = 3, LIVES_MOST = 6, PACKETS_MAX = 48, PULLS_MAX = 48, STEPS_MAX = 400, GRACE_MS = 300 };
enum what {
    SET, SET_KEEP_TTL, INCR, DEL, SADD, SREM, HSET, HINCR, HDEL, EXPIRE, FLUSH, WRITES, DUE = WRITES, PUSH, DELIVER, REPEAT,
    DROP, PULL, STABLE, TIME, CRASH, WHATS
};

struct packet {
    unsigned to;
    int answers; /* which pull; -1: none, a delta */
    struct buf bytes;
};

struct world {
    unsigned nodes, lives;
    unsigned life[NODES_MOST]; /* of each node; each a replica */
    uint64_t log_bytes_max;
    struct replicas *replicas[NODES_MOST];
    struct shard *shard[NODES_MOST];
    uint64_t pushed[NODES_MOST];
    struct packet net[PACKETS_MAX];
    unsigned packets, pulls;
    struct shard_summary asked[PULLS_MAX];
    int64_t now_ms;
    struct vclock heard[NODES_MOST][NODES_MOST]; /* [at][of]: by life, what `of` had applied */
};

static struct replica_id id_of(unsigned life) { return (struct replica_id){(life + 1) * 7 % 5, life + 1}; }

static uint16_t index_at(struct world *w, unsigned at, unsigned life) {
    uint16_t index;
    CHECK(replicas_intern(w->replicas[at], id_of(life), &index) == STATUS_OK);
    return index;
}

static uint64_t applied(struct world *w, unsigned at, unsigned life) {
    return vclock_get(shard_applied(w->shard[at]), index_at(w, at, life));
}

/* Each numbers the others in an order of its own. */
static void node_start(struct world *w, unsigned node) {
    struct shard_config config = {.log_bytes_max = w->log_bytes_max, .replicas = replicas_new()};
    w->replicas[node] = config.replicas;
    w->life[node] = w->lives++;
    for (unsigned skip = 1; skip <= node; skip++) index_at(w, node, (node + skip) % w->nodes);
    config.self = index_at(w, node, w->life[node]);
    w->shard[node] = shard_new(0, &config);
    w->pushed[node] = 0;
}

static void node_stop(struct world *w, unsigned node) {
    shard_free(w->shard[node]);
    replicas_free(w->replicas[node]);
    for (unsigned i = 0; i < w->nodes; i++) vclock_fini(&w->heard[node][i]);
}

static void world_init(struct world *w, uint8_t shape) {
    *w = (struct world){.nodes = 2 + (shape & 1), .log_bytes_max = shape & 2 ? 200 : 1 << 20, .now_ms = 1000};
    for (unsigned i = 0; i < w->nodes; i++) node_start(w, i);
}

static void world_fini(struct world *w) {
    for (unsigned i = 0; i < w->nodes; i++) node_stop(w, i);
    for (unsigned i = 0; i < w->packets; i++) buf_fini(&w->net[i].bytes);
    for (unsigned i = 0; i < w->pulls; i++) shard_summary_fini(&w->asked[i]);
}

/* ----------------------------------------------------------------- writing */

static void write_one(struct world *w, enum what what, unsigned node, uint8_t argument) {
    struct shard *s = w->shard[node];
    char key = (char)('a' + argument % 4), field = (char)('f' + argument / 4 % 4), digits[24];
    struct key_ref ref = shard_ref(s, bytes_of(&key, 1));
    struct bytes name = bytes_of(&field, 1), value = bytes_of(digits, bytes_from_i64(argument / 16, digits));
    int64_t now_ms = w->now_ms + node * 500, at = argument >= 192 ? EXPIRY_NEVER : now_ms + argument * 16;
    __int128 by = fixed_from_i64(argument / 16 - 7);
    shard_lock(s);
    switch (what) {
    case SET: shard_set(s, ref, value, false, now_ms); break;
    case SET_KEEP_TTL: shard_set(s, ref, value, true, now_ms); break;
    case INCR: shard_increase(s, ref, by, now_ms); break;
    case DEL: shard_delete(s, ref, now_ms); break;
    case SADD: shard_add_member(s, ref, name, now_ms); break;
    case SREM: shard_remove_field(s, ref, KEY_SET, name, now_ms); break;
    case HSET: shard_set_field(s, ref, name, value, now_ms); break;
    case HINCR: shard_increase_field(s, ref, name, by, now_ms); break;
    case HDEL: shard_remove_field(s, ref, KEY_HASH, name, now_ms); break;
    case EXPIRE: shard_expire(s, ref, at, now_ms); break;
    default: shard_flush(s, now_ms); break;
    }
    shard_unlock(s);
}

/* ----------------------------------------------------------------- the net */

static void send(struct world *w, unsigned to, int answers, struct buf *bytes) {
    if (w->packets < PACKETS_MAX)
        w->net[w->packets++] = (struct packet){to, answers, *bytes};
    else
        buf_fini(bytes);
}

/* From the end of the last delta, or from before it. */
static void push(struct world *w, unsigned from, uint8_t back) {
    uint64_t after = w->pushed[from] > back % 8u ? w->pushed[from] - back % 8u : 0, upto = 0;
    struct wire_writer writer;
    struct buf bytes = {0};
    wire_init(&writer, w->replicas[from]);
    if (shard_write_delta(w->shard[from], &writer, after, &upto) == STATUS_OK) {
        wire_finish(&writer, &bytes);
        w->pushed[from] = upto;
        for (unsigned to = 0; to < w->nodes; to++) {
            struct buf copy = {0};
            buf_put_bytes(&copy, buf_bytes(&bytes));
            if (to == from)
                buf_fini(&copy);
            else
                send(w, to, -1, &copy);
        }
    } else
        w->pushed[from] = shard_own(w->shard[from]);
    buf_fini(&bytes);
    wire_fini(&writer);
}

static void summarise(struct world *w, unsigned asker, unsigned how, struct shard_summary *out) {
    struct shard_refinement finer = {.bits = (uint8_t)(1 + how % 5)};
    for (unsigned i = 0; i < SHARD_CELLS_BYTES; i++) finer.cells[i] = (uint8_t)(0x5a5a5a5au >> (how + i) % 24);
    if (how % 3 == 2)
        shard_summarise_finely(w->shard[asker], &finer, out);
    else
        shard_summarise(w->shard[asker], how % 3 == 1, out);
}

/* By the log if it reaches back, else by cells; or everything, as if the asker had nothing. *asked is
 * what the answer answers. */
static void answer(struct world *w, unsigned asker, unsigned from, unsigned how, struct shard_summary *asked, struct buf *out) {
    static const struct shard_summary nothing;
    struct shard_summary seen;
    struct wire_writer writer;
    summarise(w, asker, how, asked);
    exchange_summary(w->replicas[asker], how % 8 == 7 ? &nothing : asked, w->replicas[from], &seen);
    wire_init(&writer, w->replicas[from]);
    enum status status = shard_write_answer(w->shard[from], &writer, &seen);
    shard_summary_fini(&seen);
    if (status == STATUS_OK) {
        wire_finish(&writer, out);
        wire_fini(&writer);
        return;
    }
    CHECK(status == STATUS_ERR_GAP && how % 3 == 0);
    wire_fini(&writer);
    shard_summary_fini(asked);
    answer(w, asker, from, how + 1, asked, out);
}

static void pull(struct world *w, unsigned asker, uint8_t argument) {
    unsigned from = argument % w->nodes;
    struct buf bytes = {0};
    if (from == asker || w->pulls == PULLS_MAX) return;
    answer(w, asker, from, argument / 4, &w->asked[w->pulls], &bytes);
    send(w, asker, (int)w->pulls++, &bytes);
}

static void receive(struct world *w, unsigned to, const struct shard_summary *asked, struct bytes bytes) {
    struct wire_reader reader;
    CHECK(wire_open(&reader, bytes, w->replicas[to]) == STATUS_OK);
    enum status status =
        asked ? shard_read_answer(w->shard[to], &reader, asked, w->now_ms) : shard_read_delta(w->shard[to], &reader, w->now_ms);
    CHECK(status == STATUS_OK || (!asked && status == STATUS_ERR_GAP));
    CHECK(reader.at == reader.end);
    wire_close(&reader);
}

static void drop(struct world *w, unsigned at) {
    buf_fini(&w->net[at].bytes);
    w->net[at] = w->net[--w->packets];
}

static void deliver(struct world *w, uint8_t which, enum what how) {
    if (!w->packets) return;
    unsigned at = which % w->packets;
    struct packet *p = &w->net[at];
    if (how != DROP) receive(w, p->to, p->answers < 0 ? NULL : &w->asked[p->answers], buf_bytes(&p->bytes));
    if (how != REPEAT) drop(w, at);
}

/* What was on its way to it is lost; what it has said may still arrive. */
static void crash(struct world *w, unsigned node) {
    if (w->lives == LIVES_MOST) return;
    for (unsigned at = w->packets; at-- > 0;)
        if (w->net[at].to == node) drop(w, at);
    node_stop(w, node);
    node_start(w, node);
    for (unsigned i = 0; i < w->nodes; i++) vclock_fini(&w->heard[i][node]);
}

/* A member's vector counts once all that it had done by then is applied here. */
static void stabilise(struct world *w, unsigned at) {
    struct vclock stable = {0};
    for (unsigned of = 0; of < w->nodes; of++) {
        if (applied(w, at, w->life[of]) < shard_own(w->shard[of])) continue;
        for (unsigned r = 0; r < w->lives; r++) vclock_raise(&w->heard[at][of], (uint16_t)r, applied(w, of, r));
    }
    for (unsigned r = 0; r < w->lives; r++)
        vclock_raise(&stable, index_at(w, at, r), exchange_stable(w->heard[at], w->nodes, (uint16_t)r));
    shard_stable(w->shard[at], &stable);
    vclock_fini(&stable);
}

static void heal(struct world *w) {
    for (unsigned round = 0; round < 3; round++)
        for (unsigned to = 0; to < w->nodes; to++)
            for (unsigned from = 0; from < w->nodes; from++) {
                struct shard_summary asked;
                struct buf bytes = {0};
                if (from == to) continue;
                answer(w, to, from, 0, &asked, &bytes);
                receive(w, to, &asked, buf_bytes(&bytes));
                buf_fini(&bytes);
                shard_summary_fini(&asked);
            }
}

/* ------------------------------------------------------------------ judging */

static void check_equal(struct world *w) {
    struct buf first = {0};
    recount_print(w->shard[0], INT64_MIN, &first);
    fuzz_show("==", buf_bytes(&first));
    for (unsigned i = 0; i < w->nodes; i++) {
        struct buf text = {0};
        recount_shard(w->shard[i]);
        recount_print(w->shard[i], INT64_MIN, &text);
        CHECK(bytes_equal(buf_bytes(&first), buf_bytes(&text)));
        CHECK(shard_digest(w->shard[i]) == shard_digest(w->shard[0]));
        buf_fini(&text);
    }
    buf_fini(&first);
}

/* A floor that waits for increments which are lost: whoever had them has crashed. */
static void check_floor(struct shard *shard, struct spot *spot, void *arg) {
    const struct element *e = spot->element;
    (void)arg;
    CHECK(e->sibling_count == 0);
    for (uint32_t i = 0; i < e->increment_count; i++) CHECK(e->increments[i].floor_n > vclock_get(shard_applied(shard), e->increments[i].replica));
}

static void check_empty(const struct world *w, struct shard *shard) {
    struct key *key;
    CHECK(shard_mem_bytes(shard) == 0 || w->lives > w->nodes);
    for (size_t at = 0; (key = table_next(&shard->keys, &at));) key_each(shard, key, check_floor, NULL);
}

/* Stable, they forget what they may, and show the same; cleared, they hold nothing, but for floors of what nobody has any more. */
static void check_end(struct world *w) {
    while (w->packets) deliver(w, 0, DELIVER);
    heal(w);
    check_equal(w);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < w->nodes; i++) stabilise(w, i);
    check_equal(w);
    shard_flush(w->shard[w->nodes - 1], w->now_ms);
    heal(w);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < w->nodes; i++) stabilise(w, i);
    check_equal(w);
    for (unsigned i = 0; i < w->nodes; i++) check_empty(w, w->shard[i]);
}

static void step(struct world *w, struct input *in) {
    uint8_t head = input_byte(in), argument = input_byte(in);
    enum what what = (enum what)(head % WHATS);
    unsigned node = head / WHATS % w->nodes;
    int64_t next;
    switch (what) {
    case DUE: shard_expire_due(w->shard[node], w->now_ms + node * 500, GRACE_MS, argument, &next); break;
    case PUSH: push(w, node, argument); break;
    case DELIVER:
    case REPEAT:
    case DROP: deliver(w, argument, what); break;
    case PULL: pull(w, node, argument); break;
    case STABLE: stabilise(w, node); break;
    case CRASH: crash(w, node); break;
    case TIME: w->now_ms += argument * 10; break;
    default: write_one(w, what, node, argument); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    struct world w;
    world_init(&w, input_byte(&in));
    for (int i = 0; i < STEPS_MAX && in.left; i++) step(&w, &in);
    check_end(&w);
    world_fini(&w);
    return 0;
}

void fuzz_seeds(void) {
    static const uint8_t turns[][8] = {{SET, INCR, PUSH, DELIVER, DEL, PUSH, DELIVER, STABLE},
                                       {SADD, HSET, HINCR, PULL, REPEAT, SREM, PULL, DELIVER},
                                       {SET, EXPIRE, PUSH, DROP, TIME, DUE, PULL, CRASH},
                                       {INCR, FLUSH, PUSH, SET_KEEP_TTL, PUSH, HDEL, DELIVER, DELIVER}};
    for (uint8_t shape = 0; shape < 4; shape++)
        for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
            struct buf seed = {0};
            buf_put_byte(&seed, shape);
            for (unsigned k = 0; k < 48; k++) {
                buf_put_byte(&seed, (uint8_t)(turns[i][k % 8] + WHATS * (k / 5 % 3)));
                buf_put_byte(&seed, (uint8_t)(k * 37));
            }
            fuzz_seed(buf_bytes(&seed));
            buf_fini(&seed);
        }
}
