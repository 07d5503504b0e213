/* What it costs to catch up by cells: bytes both ways between two replicas whose logs no longer
 * reach back, after a part of the keys changed at one of them.
 *
 *   repair [keys] [name bytes] [value bytes]
 *
 * The ratio is all bytes shipped to the names and values of the keys that changed. */
#include <stdio.h>

#include "test/bench/keys.h"

struct side {
    struct replicas *replicas;
    struct shard *shards[SHARDS];
};

struct bench {
    struct side a, b;
    struct keys keys;
    uint64_t asked, answered;
};

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
    struct bytes name = keys_name(&b->keys, i);
    struct shard *shard = keys_shard(&b->keys, b->a.shards, name);
    shard_set(shard, shard_ref(shard, name), keys_value(&b->keys, (uint64_t)now), false, now);
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
    for (uint64_t i = 0; i < changed; i++) set(b, i * UINT64_C(2654435761) % b->keys.count, now);
    b->asked = b->answered = 0;
    double begun = seconds();
    for (int s = 0; s < SHARDS; s++) pull(b, s);
    double payload = (double)changed * (double)(b->keys.name_len + b->keys.value_len);
    printf("%9llu changed: %10llu asked + %10llu answered, ratio %6.2f, %6.1f ms\n", (unsigned long long)changed,
           (unsigned long long)b->asked, (unsigned long long)b->answered, (double)(b->asked + b->answered) / payload,
           (seconds() - begun) * 1e3);
}

int main(int argc, char **argv) {
    static struct bench b;
    if (!keys_init(&b.keys, argc, argv, 1000)) return 2;
    side_init(&b.a, b.keys.seed, 1);
    side_init(&b.b, b.keys.seed, 2);
    change_and_catch_up(&b, b.keys.count, 1);
    change_and_catch_up(&b, b.keys.count / 1000, 2);
    change_and_catch_up(&b, b.keys.count / 100, 3);
    change_and_catch_up(&b, b.keys.count / 10, 4);
    side_fini(&b.a);
    side_fini(&b.b);
    return 0;
}
