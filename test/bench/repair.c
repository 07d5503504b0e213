/* What it costs to catch up by cells: bytes both ways between two replicas whose logs no longer
 * reach back, after a part of the keys changed at one of them.
 *
 *   repair [keys] [name bytes] [value bytes]
 *
 * The ratio is all bytes shipped to the names and values of the keys that changed. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lattice/shard.h"

enum { SHARDS = 256, NAME_MOST = 4096, VALUE_MOST = 1 << 20 };

struct side {
    struct replicas *replicas;
    struct shard *shards[SHARDS];
};

struct bench {
    struct side a, b;
    struct hash_seed seed;
    uint64_t keys, name_len, value_len, asked, answered;
    uint8_t name[NAME_MOST], value[VALUE_MOST];
};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void side_init(struct side *side, struct hash_seed seed, uint64_t id) {
    side->replicas = replicas_new();
    struct shard_config config = {.replicas = side->replicas, .seed = seed};
    if (replicas_intern(side->replicas, (struct replica_id){id, 1}, &config.self) != STATUS_OK) abort();
    for (uint32_t s = 0; s < SHARDS; s++) side->shards[s] = shard_new(s, &config);
}

static void side_fini(struct side *side) {
    for (int s = 0; s < SHARDS; s++) shard_free(side->shards[s]);
    replicas_free(side->replicas);
}

static void set(struct bench *b, uint64_t i, int64_t now) {
    memset(b->name, 'k', b->name_len);
    for (size_t at = b->name_len; at > 0 && i; i /= 10) b->name[--at] = (uint8_t)('0' + i % 10);
    memcpy(b->value, &now, b->value_len < sizeof now ? b->value_len : sizeof now);
    struct bytes name = bytes_of(b->name, b->name_len);
    struct shard *shard = b->a.shards[(hash_key(&b->seed, name) & UINT32_MAX) * SHARDS >> 32];
    shard_set(shard, shard_ref(shard, name), bytes_of(b->value, b->value_len), false, now);
}

/* A message as it travels: written by one side, read by the other. */
static void finish(struct wire_writer *w, struct buf *message, struct wire_reader *r, struct replicas *to) {
    wire_finish(w, message);
    wire_fini(w);
    if (wire_open(r, buf_bytes(message), to) != STATUS_OK) abort();
}

/* Asks once; returns what the other side has to say, to be read by the asker. */
static enum status ask(struct bench *b, int s, const struct shard_summary *summary, struct buf *message, struct wire_reader *r,
                       bool *finer) {
    struct wire_writer w;
    struct shard_summary seen;
    wire_init(&w, b->b.replicas);
    shard_write_summary(&w, summary);
    finish(&w, message, r, b->a.replicas);
    if (!shard_read_summary(r, &seen)) abort();
    wire_close(r);
    b->asked += message->len;
    message->len = 0;
    wire_init(&w, b->a.replicas);
    struct shard_refinement refinement;
    enum status status = STATUS_OK;
    *finer = shard_wants_finer(b->a.shards[s], &seen, &refinement);
    if (*finer)
        shard_write_refinement(&w, &refinement);
    else
        status = shard_write_answer(b->a.shards[s], &w, &seen);
    shard_summary_fini(&seen);
    finish(&w, message, r, b->b.replicas);
    b->answered += message->len;
    return status;
}

static void pull(struct bench *b, int s) {
    struct shard *shard = b->b.shards[s];
    struct shard_summary summary;
    struct shard_refinement refinement;
    struct buf message = {0};
    struct wire_reader r;
    bool finer;
    shard_summarise(shard, true, &summary);
    enum status status = ask(b, s, &summary, &message, &r, &finer);
    if (finer) {
        if (!shard_read_refinement(&r, &refinement)) abort();
        wire_close(&r);
        shard_summary_fini(&summary);
        message.len = 0;
        shard_summarise_finely(shard, &refinement, &summary);
        status = ask(b, s, &summary, &message, &r, &finer);
    }
    if (status != STATUS_OK || shard_read_answer(shard, &r, &summary, 1) != STATUS_OK) abort();
    if (shard_digest(shard) != shard_digest(b->a.shards[s])) abort();
    wire_close(&r);
    buf_fini(&message);
    shard_summary_fini(&summary);
}

static void change_and_catch_up(struct bench *b, uint64_t changed, int64_t now) {
    for (uint64_t i = 0; i < changed; i++) set(b, i * UINT64_C(2654435761) % b->keys, now);
    b->asked = b->answered = 0;
    double begun = seconds();
    for (int s = 0; s < SHARDS; s++) pull(b, s);
    double payload = (double)changed * (double)(b->name_len + b->value_len);
    printf("%9llu changed: %10llu asked + %10llu answered, ratio %6.2f, %6.1f ms\n", (unsigned long long)changed,
           (unsigned long long)b->asked, (unsigned long long)b->answered, (double)(b->asked + b->answered) / payload,
           (seconds() - begun) * 1e3);
}

static uint64_t argument(int argc, char **argv, int at, uint64_t otherwise) {
    return at < argc ? strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    static struct bench b;
    b.keys = argument(argc, argv, 1, 1000000);
    b.name_len = argument(argc, argv, 2, 16);
    b.value_len = argument(argc, argv, 3, 64);
    if (b.keys < 1000 || b.name_len > NAME_MOST || b.value_len > VALUE_MOST) return 2;
    memset(b.value, 'v', b.value_len);
    side_init(&b.a, b.seed, 1);
    side_init(&b.b, b.seed, 2);
    change_and_catch_up(&b, b.keys, 1);
    change_and_catch_up(&b, b.keys / 1000, 2);
    change_and_catch_up(&b, b.keys / 100, 3);
    change_and_catch_up(&b, b.keys / 10, 4);
    side_fini(&b.a);
    side_fini(&b.b);
    return 0;
}
