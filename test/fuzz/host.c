#include "test/fuzz/host.h"

#include "test/fuzz/recount.h"

static bool kill_nobody(void *arg, uint64_t id) {
    (void)arg, (void)id;
    return true;
}
static void nothing(void *arg) { (void)arg; }

void fuzz_host_open(struct fuzz_host *h, const char *options) {
    static const struct host_ports ports = {.kill = kill_nobody, .shutdown = nothing, .wake = nothing};
    struct buf error = {0};
    *h = (struct fuzz_host){.clock = {.wall_ms = 1700000000000, .mono_us = 1000000}};
    h->config = config_new(option_table, OPTION_COUNT);
    CHECK(config_load_text(h->config, "fuzz", bytes_str(options), &error) == STATUS_OK);
    h->node = node_new(&(struct node_config){.clock = fuzz_clock_port(&h->clock),
                                             .shards = FUZZ_SHARDS,
                                             .cluster_name = "fuzz",
                                             .node_id = 1,
                                             .log_bytes_max = 1 << 16,
                                             .gossip = {GOSSIP_CONFIG_DEFAULT}});
    host_init(&h->host, h->node, h->config, &ports);
    follower_init(&h->follower, h->node);
}

void fuzz_host_close(struct fuzz_host *h) {
    CHECK(h->host.session_count == 0);
    host_fini(&h->host);
    follower_fini(&h->follower);
    node_free(h->node);
    config_free(h->config);
}

void fuzz_host_tick(struct fuzz_host *h) {
    node_expire(h->node, 0, 1);
    follower_hear(&h->follower); /* before gossip, which cuts the log of one who is alone */
    gossip_flush(h->node->gossip);
    gossip_step(h->node->gossip, &(struct gossip_event){.kind = GOSSIP_TICK}, node_now(h->node));
}

/* ------------------------------------------------------------------ checks */

/* One who has nothing is told all, and then equals its source. */
static void check_answer(struct node *node, uint32_t index) {
    struct replicas *replicas = replicas_new();
    struct shard_config config = {.replicas = replicas, .seed = node->seed, .log_bytes_max = 1 << 20};
    struct shard_summary nothing_yet = {0};
    struct wire_writer writer;
    struct wire_reader reader;
    struct buf message = {0};
    CHECK(replicas_intern(replicas, (struct replica_id){2, 2}, &config.self) == STATUS_OK);
    struct shard *copy = shard_new(index, &config);
    wire_init(&writer, node->replicas);
    CHECK(shard_write_answer(node->shards[index], &writer, &nothing_yet) == STATUS_OK);
    wire_finish(&writer, &message);
    wire_fini(&writer);
    CHECK(wire_open(&reader, buf_bytes(&message), replicas) == STATUS_OK);
    CHECK(shard_read_answer(copy, &reader, &nothing_yet, node_now(node).wall_ms) == STATUS_OK);
    CHECK(reader.at == reader.end);
    wire_close(&reader);
    recount_shard(copy);
    CHECK(shard_digest(copy) == shard_digest(node->shards[index]));
    buf_fini(&message);
    shard_free(copy);
    replicas_free(replicas);
}

static void check_cleared(struct shard *shard, int64_t now_ms) {
    shard_flush(shard, now_ms);
    CHECK(shard_key_count(shard) == 0);
    for (int i = 0; i < 4; i++) shard_stable(shard, shard_applied(shard));
    recount_shard(shard);
    CHECK(shard_mem_bytes(shard) == 0);
}

void fuzz_host_check(struct fuzz_host *h) {
    recount_node(h->node);
    follower_check(&h->follower);
    for (uint32_t i = 0; i < h->node->shard_count; i++) check_answer(h->node, i);
    for (uint32_t i = 0; i < h->node->shard_count; i++) check_cleared(h->node->shards[i], h->clock.wall_ms);
}

/* ----------------------------------------------------------------- replies */

static size_t line_end(struct bytes replies, size_t at) {
    const uint8_t *cr = at < replies.len ? memchr(replies.data + at, '\r', replies.len - at) : NULL;
    size_t end = cr ? (size_t)(cr - replies.data) : replies.len;
    return end + 1 < replies.len && replies.data[end + 1] == '\n' ? end : 0;
}

static size_t bulk_end(struct bytes replies, size_t at, int64_t len) {
    if (len < 0) return len == -1 ? at : 0;
    if ((uint64_t)len + 2 > replies.len - at) return 0;
    return memcmp(replies.data + at + len, "\r\n", 2) == 0 ? at + (size_t)len + 2 : 0;
}

size_t fuzz_reply_end(struct bytes replies, size_t at) {
    int64_t number;
    size_t end = line_end(replies, at);
    if (!end) return 0;
    uint8_t type = replies.data[at];
    struct bytes text = bytes_of(replies.data + at + 1, end - at - 1);
    if (text.len && memchr(text.data, '\n', text.len)) return 0;
    if (type == '+' || type == '-') return end + 2;
    if (!bytes_to_i64(text, &number)) return 0;
    if (type == ':') return end + 2;
    if (type == '$') return bulk_end(replies, end + 2, number);
    if (type != '*' || number < -1) return 0;
    at = end + 2;
    for (int64_t i = 0; i < number && at; i++) at = fuzz_reply_end(replies, at);
    return at;
}

size_t fuzz_reply_count(struct bytes replies) {
    size_t count = 0;
    for (size_t at = 0; at < replies.len; count++) {
        at = fuzz_reply_end(replies, at);
        CHECK(at != 0);
    }
    return count;
}
