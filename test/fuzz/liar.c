/* Messages that are well made and say what no honest node says: dots that live in two places,
 * counters of others' futures, floors ahead of everything, contexts that know what never was.
 *
 * input := step*; what a step is, and every number and name in it, is taken from bytes */
#include "lattice/shard_state.h"
#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"
#include "test/fuzz/side.h"

enum { STEPS_MAX = 40, MANY = 5 };
enum what { DELTA, ANSWER, OWN_WRITES, STABLE, EXPIRE, FLUSH, WHATS };

struct liar {
    struct side side;         /* the victim */
    struct replicas *numbers; /* the liar's own */
    uint16_t who[4];          /* in them: the victim, three others */
    struct input *in;
    struct wire_writer w;
};

/* Mostly small; else one of those at which something ends. */
static uint64_t number(struct liar *l) {
    static const uint64_t ends[] = {UINT64_MAX, DOT_COUNTER_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1,
                                    UINT32_MAX, UINT64_C(1000000) << 16, UINT64_C(2000000) << 16};
    uint8_t byte = input_byte(l->in);
    return byte < 224 ? byte % 16u : ends[byte % (sizeof ends / sizeof *ends)];
}

static __int128 fixed(struct liar *l) {
    const __int128 most = (__int128)(((unsigned __int128)1 << 127) - 1);
    const __int128 ends[] = {0, FIXED_ONE, -FIXED_ONE, most, -most, most - 1, 1, FIXED_ONE / 10};
    return ends[input_below(l->in, 8)];
}

static void put_dot(struct liar *l, bool may_be_victims) {
    uint16_t replica = l->who[may_be_victims ? input_below(l->in, 4) : 1 + input_below(l->in, 3)];
    wire_dot(&l->w, dot_make(replica, number(l)));
}

static struct bytes name(struct liar *l, bool field) {
    static const char *const keys[] = {"a", "n", "s", "h", "e", ""}, *const fields[] = {"m", "n", "f", "g"};
    return bytes_str(field ? fields[input_below(l->in, 4)] : keys[input_below(l->in, 6)]);
}

static void put_increments(struct liar *l) {
    unsigned count = input_below(l->in, MANY);
    wire_u64(&l->w, count);
    while (count--) {
        put_dot(l, true);
        wire_u64(&l->w, input_byte(l->in) & 1 ? 0 : number(l)); /* gen */
        wire_u64(&l->w, number(l));                             /* clock */
        wire_fixed(&l->w, fixed(l));
        wire_u64(&l->w, number(l)); /* floor's n */
        wire_fixed(&l->w, fixed(l));
    }
}

static void put_payload(struct liar *l, enum kind kind) {
    static const char *const values[] = {"", "1", "x", "-1.5", "1701411834604692317316"};
    uint8_t at[8] = {0, 0, 0, 0, 0, 15, 66, (uint8_t)number(l)};
    if (input_byte(l->in) & 1) memset(at, input_byte(l->in), sizeof at);
    wire_u64(&l->w, number(l)); /* clock */
    wire_bytes(&l->w, kind == KIND_EXPIRY ? bytes_of(at, sizeof at) : bytes_str(values[input_below(l->in, 5)]));
}

static void put_name(struct liar *l, enum kind kind, bool named) {
    struct bytes key = name(l, false), field = name(l, true);
    if (named)
        wire_bytes(&l->w, key);
    else
        wire_u64(&l->w, shard_ref(l->side.shard, key).hash);
    if (!kind_has_field(kind)) return;
    if (named)
        wire_bytes(&l->w, field);
    else
        wire_u64(&l->w, shard_field_hash(l->side.shard, kind, field));
}

static void put_dots(struct liar *l) {
    unsigned count = input_below(l->in, MANY);
    wire_u64(&l->w, count);
    while (count--) put_dot(l, true);
}

static void put_context(struct liar *l) {
    for (int part = 0; part < 3; part++) put_dots(l); /* applied, prefix, extra */
}

/* ---------------------------------------------------------------- messages */

static void put_delta_unit(struct liar *l) {
    enum kind kind = (enum kind)input_below(l->in, KIND_FIELD_INC + 1);
    unsigned flags = input_below(l->in, 16);
    wire_u64(&l->w, 1 + input_below(l->in, 4)); /* n, beyond lo */
    wire_u64(&l->w, kind);
    if (kind == KIND_FLUSH) flags = 0;
    wire_u64(&l->w, flags);
    if (kind == KIND_FLUSH) {
        put_context(l);
        return;
    }
    put_name(l, kind, flags & 1);
    if (flags & 2) put_payload(l, kind);
    if (flags & 4) put_dots(l);
    if (flags & 8) put_increments(l);
}

/* From where the victim is, or from a little before. */
static void put_delta(struct liar *l) {
    uint16_t replica = l->who[1 + input_below(l->in, 3)], index;
    CHECK(replicas_intern(l->side.replicas, replicas_id(l->numbers, replica), &index) == STATUS_OK);
    uint64_t applied = vclock_get(shard_applied(l->side.shard), index), back = input_below(l->in, 3);
    uint64_t lo = applied > back ? applied - back : 0;
    wire_dot(&l->w, dot_make(replica, lo + 1 + input_below(l->in, 6)));
    wire_u64(&l->w, lo);
    wire_u64(&l->w, number(l)); /* clock */
    for (unsigned count = input_below(l->in, MANY); count > 0; count--) put_delta_unit(l);
    wire_u64(&l->w, 0);
}

static void put_answer_unit(struct liar *l) {
    static const enum kind kinds[] = {KIND_STRING, KIND_EXPIRY, KIND_MEMBER, KIND_FIELD};
    enum kind kind = kinds[input_below(l->in, 4)];
    wire_u64(&l->w, kind);
    wire_u64(&l->w, 1); /* named */
    put_name(l, kind, true);
    unsigned count = input_below(l->in, MANY);
    wire_u64(&l->w, count);
    while (count--) {
        put_dot(l, true);
        put_payload(l, kind);
    }
    if (kind == KIND_STRING || kind == KIND_FIELD)
        put_increments(l);
    else
        wire_u64(&l->w, 0);
}

static void put_answer(struct liar *l) {
    unsigned scope = input_below(l->in, 3);
    wire_u64(&l->w, scope);
    put_context(l);
    wire_u64(&l->w, number(l)); /* clock */
    uint8_t mask[SHARD_CELLS_BYTES];
    memset(mask, input_byte(l->in), sizeof mask);
    if (scope == 1) wire_bytes(&l->w, bytes_of(mask, sizeof mask));
    unsigned records = input_below(l->in, MANY);
    wire_u64(&l->w, records);
    while (records--) {
        enum kind kind = (enum kind)input_below(l->in, KIND_FIELD_INC + 1);
        put_dot(l, true);
        wire_u64(&l->w, shard_ref(l->side.shard, name(l, false)).hash);
        wire_u64(&l->w, shard_field_hash(l->side.shard, kind, name(l, true)));
    }
    for (unsigned count = input_below(l->in, MANY); count > 0; count--) put_answer_unit(l);
    wire_u64(&l->w, 0);
}

static enum status hear(struct liar *l, enum what what, struct bytes message) {
    struct side *s = &l->side;
    struct wire_reader r;
    struct shard_summary asked;
    CHECK(wire_open(&r, message, s->replicas) == STATUS_OK);
    shard_summarise(s->shard, true, &asked);
    enum status status = what == DELTA ? shard_read_delta(s->shard, &r, s->now_ms) : shard_read_answer(s->shard, &r, &asked, s->now_ms);
    shard_summary_fini(&asked);
    wire_close(&r);
    return status;
}

static void tell(struct liar *l, enum what what) {
    struct buf message = {0};
    wire_init(&l->w, l->numbers);
    if (what == DELTA)
        put_delta(l);
    else
        put_answer(l);
    wire_finish(&l->w, &message);
    wire_fini(&l->w);
    uint64_t before = shard_digest(l->side.shard);
    if (hear(l, what, buf_bytes(&message)) != STATUS_OK) CHECK(shard_digest(l->side.shard) == before);
    recount_shard(l->side.shard);
    buf_fini(&message);
}

static void step(struct liar *l) {
    struct side *s = &l->side;
    enum what what = (enum what)input_below(l->in, WHATS);
    int64_t next;
    switch (what) {
    case DELTA:
    case ANSWER: tell(l, what); break;
    case OWN_WRITES: side_write_some(s); break;
    case STABLE: shard_stable(s->shard, shard_applied(s->shard)); break;
    case EXPIRE:
        s->now_ms += input_byte(l->in) * 10;
        shard_expire_due(s->shard, s->now_ms, 100, 10, &next);
        break;
    default: shard_flush(s->shard, s->now_ms); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    struct liar l = {.in = &in, .numbers = replicas_new()};
    side_init(&l.side, 1);
    for (unsigned i = 0; i < 4; i++) CHECK(replicas_intern(l.numbers, (struct replica_id){(i + 3) % 4 + 2, 1}, &l.who[i]) == STATUS_OK);
    CHECK(replicas_intern(l.numbers, (struct replica_id){1, 1}, &l.who[0]) == STATUS_OK);
    side_write_some(&l.side);
    for (int i = 0; i < STEPS_MAX && in.left; i++) step(&l);
    recount_shard(l.side.shard);
    side_check(&l.side);
    side_fini(&l.side);
    replicas_free(l.numbers);
    return 0;
}

void fuzz_seeds(void) {
    for (uint8_t what = 0; what < WHATS; what++) {
        struct buf seed = {0};
        for (unsigned k = 0; k < 250; k++) buf_put_byte(&seed, k % 25 ? (uint8_t)(k * k * 7 + what * 31) : what);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
