/* What a shard reads of its peers: deltas, answers, summaries and what they ask for, as bytes of
 * anybody. What is refused leaves no trace; what is taken leaves a shard whose counts are right and
 * that can tell others what it holds.
 *
 * input := message*
 * message := kind, length (2 bytes), bytes as they come after opening */
#include "lattice/shard.h"

#include "core/mem.h"
#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"

enum kind_of_message { DELTA, ANSWER, ANSWER_BY_CELLS, ANSWER_FINE, SUMMARY, REFINEMENT, CONTEXT, STABLE, EXPIRE, KINDS };
enum { MESSAGES_MAX = 24, NOW_MS = 1000000 };

/* One shard, its own numbering of replicas, and a clock. */
struct side {
    struct replicas *replicas;
    struct shard *shard;
    int64_t now_ms;
};

static void side_init(struct side *s, uint64_t node) {
    struct shard_config config = {.replicas = replicas_new(), .log_bytes_max = 4096};
    *s = (struct side){.replicas = config.replicas, .now_ms = NOW_MS};
    CHECK(replicas_intern(s->replicas, (struct replica_id){node, 1}, &config.self) == STATUS_OK);
    s->shard = shard_new(0, &config);
}

static void side_fini(struct side *s) {
    shard_free(s->shard);
    replicas_free(s->replicas);
}

static struct key_ref ref_of(const struct side *s, const char *name) { return shard_ref(s->shard, bytes_str(name)); }

/* Something of every kind. */
static void write_some(struct side *s) {
    shard_set(s->shard, ref_of(s, "a"), bytes_str("1"), false, s->now_ms);
    shard_increase(s->shard, ref_of(s, "a"), FIXED_ONE / 2, s->now_ms);
    shard_increase(s->shard, ref_of(s, "n"), FIXED_ONE, s->now_ms);
    shard_delete(s->shard, ref_of(s, "n"), s->now_ms);
    shard_add_member(s->shard, ref_of(s, "s"), bytes_str("m"), s->now_ms);
    shard_add_member(s->shard, ref_of(s, "s"), bytes_str("n"), s->now_ms);
    shard_remove_field(s->shard, ref_of(s, "s"), KEY_SET, bytes_str("n"), s->now_ms);
    shard_set_field(s->shard, ref_of(s, "h"), bytes_str("f"), bytes_str("x"), s->now_ms);
    shard_increase_field(s->shard, ref_of(s, "h"), bytes_str("g"), -FIXED_ONE, s->now_ms);
    shard_set(s->shard, ref_of(s, "e"), bytes_str("x"), false, s->now_ms);
    shard_expire(s->shard, ref_of(s, "e"), s->now_ms + 1000, s->now_ms);
}

/* ----------------------------------------------------------------- reading */

static void summarise(struct side *s, enum kind_of_message kind, struct shard_summary *out) {
    struct shard_refinement finer = {.bits = 3, .cells = {0xff, 0x0f, 0, 1}};
    if (kind == ANSWER_FINE)
        shard_summarise_finely(s->shard, &finer, out);
    else
        shard_summarise(s->shard, kind == ANSWER_BY_CELLS, out);
}

static enum status read_answer(struct side *s, struct wire_reader *r, enum kind_of_message kind) {
    struct shard_summary asked;
    summarise(s, kind, &asked);
    enum status status = shard_read_answer(s->shard, r, &asked, s->now_ms);
    shard_summary_fini(&asked);
    return status;
}

/* Whoever asks is answered, whatever it says that it has. */
static void read_summary(struct side *s, struct wire_reader *r) {
    struct shard_summary asker;
    struct shard_refinement finer;
    struct wire_writer writer;
    struct buf message = {0};
    if (!shard_read_summary(r, &asker)) return;
    wire_init(&writer, s->replicas);
    if (shard_wants_finer(s->shard, &asker, &finer)) shard_write_refinement(&writer, &finer);
    enum status status = shard_write_answer(s->shard, &writer, &asker);
    CHECK(status == STATUS_OK || (status == STATUS_ERR_GAP && !asker.has_cells));
    shard_write_summary(&writer, &asker);
    wire_finish(&writer, &message);
    wire_fini(&writer);
    buf_fini(&message);
    shard_summary_fini(&asker);
}

static void read_context(struct wire_reader *r) {
    struct context context = {0};
    wire_read_context(r, &context);
    for (uint32_t i = 1; i < context.extra_count; i++) CHECK(context.extra[i - 1].v < context.extra[i].v);
    context_fini(&context);
}

/* More than what is applied here is stable nowhere. */
static void read_stable(struct side *s, struct wire_reader *r) {
    struct vclock stable = {0};
    wire_read_vclock(r, &stable);
    for (uint32_t i = 0; i < stable.count; i++) {
        uint64_t applied = vclock_get(shard_applied(s->shard), (uint16_t)i);
        if (stable.counter[i] > applied) stable.counter[i] = applied;
    }
    if (!r->bad) shard_stable(s->shard, &stable);
    vclock_fini(&stable);
}

static void read_message(struct side *s, enum kind_of_message kind, struct bytes bytes) {
    struct wire_reader r;
    struct shard_refinement finer;
    uint64_t before = shard_digest(s->shard);
    int64_t next;
    enum status status = STATUS_OK;
    if (kind == EXPIRE) {
        s->now_ms += bytes.len;
        shard_expire_due(s->shard, s->now_ms, 100, 10, &next);
        return;
    }
    if (wire_open(&r, bytes, s->replicas) != STATUS_OK) return;
    switch (kind) {
    case DELTA: status = shard_read_delta(s->shard, &r, s->now_ms); break;
    case SUMMARY: read_summary(s, &r); break;
    case REFINEMENT: (void)shard_read_refinement(&r, &finer); break;
    case CONTEXT: read_context(&r); break;
    case STABLE: read_stable(s, &r); break;
    default: status = read_answer(s, &r, kind); break;
    }
    CHECK(r.at <= r.end);
    if (status != STATUS_OK) CHECK(shard_digest(s->shard) == before);
    wire_close(&r);
}

/* -------------------------------------------------------------- afterwards */

static void check_told(struct side *from) {
    struct side to;
    struct shard_summary nothing = {0};
    struct wire_writer writer;
    struct wire_reader reader;
    struct buf message = {0};
    side_init(&to, 99);
    wire_init(&writer, from->replicas);
    CHECK(shard_write_answer(from->shard, &writer, &nothing) == STATUS_OK);
    wire_finish(&writer, &message);
    wire_fini(&writer);
    CHECK(wire_open(&reader, buf_bytes(&message), to.replicas) == STATUS_OK);
    CHECK(shard_read_answer(to.shard, &reader, &nothing, NOW_MS) == STATUS_OK);
    wire_close(&reader);
    recount_shard(to.shard);
    CHECK(shard_digest(to.shard) == shard_digest(from->shard));
    buf_fini(&message);
    side_fini(&to);
}

static void check(struct side *s) {
    struct buf text = {0};
    recount_shard(s->shard);
    recount_print(s->shard, s->now_ms, &text);
    buf_fini(&text);
    uint64_t own = shard_own(s->shard), upto;
    write_some(s);
    recount_shard(s->shard);
    check_told(s);
    struct wire_writer delta;
    wire_init(&delta, s->replicas);
    CHECK(shard_write_delta(s->shard, &delta, own, &upto) == STATUS_OK);
    wire_fini(&delta);
    shard_flush(s->shard, s->now_ms);
    recount_shard(s->shard);
    CHECK(shard_key_count(s->shard) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    struct side side;
    side_init(&side, 1);
    write_some(&side);
    for (int i = 0; i < MESSAGES_MAX && in.left; i++) {
        enum kind_of_message kind = (enum kind_of_message)input_below(&in, KINDS);
        size_t len = input_byte(&in);
        len |= (size_t)input_byte(&in) << 8;
        struct bytes bytes = fuzz_exact(input_bytes(&in, len));
        read_message(&side, kind, bytes);
        fuzz_exact_free(bytes);
    }
    check(&side);
    side_fini(&side);
    return 0;
}

/* ------------------------------------------------------------------- seeds */

static void put_message(struct buf *seed, enum kind_of_message kind, struct wire_writer *writer) {
    struct buf message = {0};
    wire_finish(writer, &message);
    wire_fini(writer);
    buf_put_byte(seed, (uint8_t)kind);
    buf_put_byte(seed, (uint8_t)message.len);
    buf_put_byte(seed, (uint8_t)(message.len >> 8));
    buf_put_bytes(seed, buf_bytes(&message));
    buf_fini(&message);
}

static void put_delta(struct buf *seed, struct side *from, uint64_t after) {
    struct wire_writer writer;
    uint64_t upto;
    wire_init(&writer, from->replicas);
    CHECK(shard_write_delta(from->shard, &writer, after, &upto) == STATUS_OK);
    put_message(seed, DELTA, &writer);
}

static void put_answer(struct buf *seed, struct side *from, enum kind_of_message kind) {
    struct side asker;
    struct wire_writer writer;
    struct shard_summary asked;
    side_init(&asker, 1);
    write_some(&asker);
    if (kind != ANSWER) shard_stable(from->shard, shard_applied(from->shard)); /* the log does not reach: by cells */
    summarise(&asker, kind, &asked);
    if (kind == ANSWER) context_fini(&asked.context); /* all of it */
    wire_init(&writer, from->replicas);
    CHECK(shard_write_answer(from->shard, &writer, &asked) == STATUS_OK);
    put_message(seed, kind, &writer);
    wire_init(&writer, asker.replicas);
    shard_write_summary(&writer, &asked);
    put_message(seed, SUMMARY, &writer);
    shard_summary_fini(&asked);
    side_fini(&asker);
}

static void put_rest(struct buf *seed, struct side *from) {
    struct wire_writer writer;
    struct shard_summary summary;
    struct shard_refinement finer = {.bits = 5, .cells = {3, 1}};
    shard_summarise(from->shard, false, &summary);
    wire_init(&writer, from->replicas);
    wire_context(&writer, &summary.context);
    put_message(seed, CONTEXT, &writer);
    wire_init(&writer, from->replicas);
    wire_vclock(&writer, &summary.context.applied);
    put_message(seed, STABLE, &writer);
    wire_init(&writer, from->replicas);
    shard_write_refinement(&writer, &finer);
    put_message(seed, REFINEMENT, &writer);
    buf_put(seed, (uint8_t[]){EXPIRE, 200, 0}, 3);
    shard_summary_fini(&summary);
}

void fuzz_seeds(void) {
    struct side from;
    side_init(&from, 2);
    write_some(&from);
    for (int what = 0; what < 8; what++) {
        struct buf seed = {0};
        if (what == 1) shard_flush(from.shard, NOW_MS);
        if (what == 2) write_some(&from);
        if (what < 4) put_delta(&seed, &from, what == 3 ? 5 : 0);
        if (what >= 4 && what < 7) put_answer(&seed, &from, (enum kind_of_message)(ANSWER + what - 4));
        put_rest(&seed, &from);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
    side_fini(&from);
}
