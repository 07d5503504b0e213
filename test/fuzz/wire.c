/* What a shard reads of its peers: deltas, answers, summaries and what they ask for, as bytes of
 * anybody. What is refused leaves no trace; what is taken leaves a shard whose counts are right and
 * that can tell others what it holds.
 *
 * input := message*
 * message := kind, length (2 bytes), bytes as they come after opening */
#include "test/fuzz/fuzz.h"
#include "test/fuzz/side.h"

enum kind_of_message { DELTA, ANSWER, ANSWER_BY_CELLS, ANSWER_FINE, SUMMARY, REFINEMENT, CONTEXT, STABLE, EXPIRE, KINDS };
enum { MESSAGES_MAX = 24 };

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    struct side side;
    side_init(&side, 1);
    side_write_some(&side);
    for (int i = 0; i < MESSAGES_MAX && in.left; i++) {
        enum kind_of_message kind = (enum kind_of_message)input_below(&in, KINDS);
        size_t len = input_byte(&in);
        len |= (size_t)input_byte(&in) << 8;
        struct bytes bytes = fuzz_exact(input_bytes(&in, len));
        read_message(&side, kind, bytes);
        fuzz_exact_free(bytes);
    }
    side_check(&side);
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
    side_write_some(&asker);
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
    side_write_some(&from);
    for (int what = 0; what < 8; what++) {
        struct buf seed = {0};
        if (what == 1) shard_flush(from.shard, from.now_ms);
        if (what == 2) side_write_some(&from);
        if (what < 4) put_delta(&seed, &from, what == 3 ? 5 : 0);
        if (what >= 4 && what < 7) put_answer(&seed, &from, (enum kind_of_message)(ANSWER + what - 4));
        put_rest(&seed, &from);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
    side_fini(&from);
}
