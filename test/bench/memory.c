/* What a key costs: resident bytes and time of a million string keys in 256 shards.
 *
 *   memory [keys] [name bytes] [value bytes] [cut]
 *
 * With cut = 1 the logs are cut every 10,000 writes, as on a node whose peers keep up (or that
 * has none); with 0 the records of the whole fill stay, up to the bound of 64 MiB. */
#include <stdio.h>
#include <unistd.h>

#include "test/bench/keys.h"

enum { BETWEEN_CUTS = 10000 };

struct bench {
    struct shard *shards[SHARDS];
    struct keys keys;
    bool cut;
};

static double resident(void) {
    long total, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &total, &pages) != 2) abort();
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* In an order that is not sorted. */
static struct bytes name_at(struct bench *b, uint64_t i) { return keys_name(&b->keys, i * UINT64_C(2654435761) % b->keys.count); }

static void cut_logs(struct bench *b) {
    for (int s = 0; s < SHARDS; s++) {
        struct vclock all;
        vclock_copy(&all, shard_applied(b->shards[s]));
        shard_stable(b->shards[s], &all);
        vclock_fini(&all);
    }
}

static void set_all(struct bench *b, const char *what) {
    double spent = 0, begun = seconds();
    for (uint64_t i = 0; i < b->keys.count; i++) {
        struct bytes name = name_at(b, i);
        struct shard *shard = keys_shard(&b->keys, b->shards, name);
        shard_lock(shard);
        shard_set(shard, shard_ref(shard, name), keys_value(&b->keys, i), false, (int64_t)i / 100 + 1);
        shard_unlock(shard);
        if (!b->cut || (i + 1) % BETWEEN_CUTS) continue;
        spent += seconds() - begun;
        cut_logs(b);
        begun = seconds();
    }
    spent += seconds() - begun;
    printf("%-12s %7.1f ns\n", what, spent / (double)b->keys.count * 1e9);
}

static void get_all(struct bench *b) {
    double begun = seconds();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < b->keys.count; i++) {
        struct bytes name = name_at(b, i * 7 + 3);
        struct shard *shard = keys_shard(&b->keys, b->shards, name);
        struct scratch scratch;
        shard_lock(shard);
        struct key *key = shard_find(shard, shard_ref(shard, name), 1);
        if (!key || key_type(shard, key) != KEY_STRING) abort();
        sum += key_string(shard, key, &scratch).len;
        shard_unlock(shard);
    }
    if (sum != b->keys.count * b->keys.value_len) abort();
    printf("%-12s %7.1f ns\n", "get", (seconds() - begun) / (double)b->keys.count * 1e9);
}

static void report(struct bench *b, const char *when, double before) {
    uint64_t account = 0;
    for (int s = 0; s < SHARDS; s++) account += shard_mem_bytes(b->shards[s]);
    printf("%-12s %7.1f resident bytes per key, %7.1f by our own account\n", when,
           (resident() - before) / (double)b->keys.count, (double)account / (double)b->keys.count);
}

int main(int argc, char **argv) {
    static struct bench b;
    if (!keys_init(&b.keys, argc, argv, 1)) return 2;
    b.cut = argument(argc, argv, 4, 1) != 0;
    struct replicas *replicas = replicas_new();
    struct shard_config config = {.replicas = replicas, .seed = b.keys.seed, .log_bytes_max = (64u << 20) / SHARDS};
    if (replicas_intern(replicas, (struct replica_id){1, 1}, &config.self) != STATUS_OK) return 1;
    double before = resident();
    for (uint32_t s = 0; s < SHARDS; s++) b.shards[s] = shard_new(s, &config);
    set_all(&b, "set, new");
    report(&b, "filled", before);
    get_all(&b);
    set_all(&b, "set, again");
    report(&b, "overwritten", before);
    for (int s = 0; s < SHARDS; s++) shard_free(b.shards[s]);
    replicas_free(replicas);
    return 0;
}
