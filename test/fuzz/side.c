#include "test/fuzz/side.h"

#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"

void side_init(struct side *s, uint64_t node) {
    struct shard_config config = {.replicas = replicas_new(), .log_bytes_max = 4096};
    *s = (struct side){.replicas = config.replicas, .now_ms = 1000000};
    CHECK(replicas_intern(s->replicas, (struct replica_id){node, 1}, &config.self) == STATUS_OK);
    s->shard = shard_new(0, &config);
}

void side_fini(struct side *s) {
    shard_free(s->shard);
    replicas_free(s->replicas);
}

static struct key_ref ref_of(const struct side *s, const char *name) { return shard_ref(s->shard, bytes_str(name)); }

void side_write_some(struct side *s) {
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
    CHECK(shard_read_answer(to.shard, &reader, &nothing, to.now_ms) == STATUS_OK);
    wire_close(&reader);
    recount_shard(to.shard);
    CHECK(shard_digest(to.shard) == shard_digest(from->shard));
    buf_fini(&message);
    side_fini(&to);
}

void side_check(struct side *s) {
    struct buf text = {0};
    struct wire_writer delta;
    uint64_t own = shard_own(s->shard), upto;
    recount_shard(s->shard);
    recount_print(s->shard, s->now_ms, &text);
    buf_fini(&text);
    side_write_some(s);
    recount_shard(s->shard);
    check_told(s);
    wire_init(&delta, s->replicas);
    CHECK(shard_write_delta(s->shard, &delta, own, &upto) == STATUS_OK);
    wire_fini(&delta);
    shard_flush(s->shard, s->now_ms);
    recount_shard(s->shard);
    CHECK(shard_key_count(s->shard) == 0);
}
