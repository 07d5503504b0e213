#include "test/fuzz/follower.h"

#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"

void follower_init(struct follower *f, const struct node *node) {
    CHECK(node->shard_count <= FOLLOWED_MAX);
    *f = (struct follower){.node = node, .replicas = replicas_new()};
    struct shard_config config = {.replicas = f->replicas, .seed = node->seed, .log_bytes_max = 1 << 20};
    CHECK(replicas_intern(f->replicas, (struct replica_id){99, 1}, &config.self) == STATUS_OK);
    for (uint32_t i = 0; i < node->shard_count; i++) f->shards[i] = shard_new(i, &config);
}

void follower_fini(struct follower *f) {
    for (uint32_t i = 0; i < f->node->shard_count; i++) shard_free(f->shards[i]);
    replicas_free(f->replicas);
}

static void receive(struct follower *f, uint32_t i, struct wire_writer *writer, const struct shard_summary *asked) {
    struct wire_reader reader;
    struct buf message = {0};
    int64_t now_ms = node_now(f->node).wall_ms;
    wire_finish(writer, &message);
    CHECK(wire_open(&reader, buf_bytes(&message), f->replicas) == STATUS_OK);
    if (asked)
        CHECK(shard_read_answer(f->shards[i], &reader, asked, now_ms) == STATUS_OK);
    else
        CHECK(shard_read_delta(f->shards[i], &reader, now_ms) == STATUS_OK);
    CHECK(reader.at == reader.end);
    wire_close(&reader);
    buf_fini(&message);
}

static void pull(struct follower *f, uint32_t i) {
    struct shard_summary asked, seen;
    struct wire_writer writer;
    struct wire_reader reader;
    struct buf message = {0};
    shard_summarise(f->shards[i], true, &asked);
    wire_init(&writer, f->replicas);
    shard_write_summary(&writer, &asked);
    wire_finish(&writer, &message);
    wire_fini(&writer);
    CHECK(wire_open(&reader, buf_bytes(&message), f->node->replicas) == STATUS_OK);
    CHECK(shard_read_summary(&reader, &seen));
    wire_close(&reader);
    wire_init(&writer, f->node->replicas);
    CHECK(shard_write_answer(f->node->shards[i], &writer, &seen) == STATUS_OK);
    receive(f, i, &writer, &asked);
    wire_fini(&writer);
    shard_summary_fini(&asked);
    shard_summary_fini(&seen);
    buf_fini(&message);
}

void follower_hear(struct follower *f) {
    for (uint32_t i = 0; i < f->node->shard_count; i++) {
        struct wire_writer writer;
        wire_init(&writer, f->node->replicas);
        enum status status = shard_write_delta(f->node->shards[i], &writer, f->heard[i], &f->heard[i]);
        if (status == STATUS_OK) receive(f, i, &writer, NULL);
        wire_fini(&writer);
        if (status == STATUS_ERR_GAP) pull(f, i);
        if (status == STATUS_ERR_GAP) f->heard[i] = shard_own(f->node->shards[i]);
    }
}

void follower_check(struct follower *f) {
    follower_hear(f);
    for (uint32_t i = 0; i < f->node->shard_count; i++) {
        struct buf ours = {0}, theirs = {0};
        recount_shard(f->shards[i]);
        recount_print(f->node->shards[i], INT64_MIN, &ours);
        recount_print(f->shards[i], INT64_MIN, &theirs);
        CHECK(bytes_equal(buf_bytes(&ours), buf_bytes(&theirs)));
        CHECK(shard_digest(f->shards[i]) == shard_digest(f->node->shards[i]));
        buf_fini(&ours);
        buf_fini(&theirs);
    }
}
