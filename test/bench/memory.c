/* What a key costs: resident bytes and time of a million string keys in 256 shards.
 *
 *   memory [keys] [name bytes] [value bytes] [cut]
 *
 * With cut = 1 the logs are cut every 10,000 writes, as on a node whose peers keep up (or that
 * has none); with 0 the records of the whole fill stay, up to the bound of 64 MiB. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lattice/shard.h"

enum { SHARDS = 256, BETWEEN_CUTS = 10000, NAME_MOST = 4096, VALUE_MOST = 1 << 20 };

struct bench {
    struct shard *shards[SHARDS];
    struct hash_seed seed;
    uint64_t keys, name_len, value_len;
    bool cut;
    uint8_t name[NAME_MOST], value[VALUE_MOST];
};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double resident(void) {
    long total, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &total, &pages) != 2) abort();
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* Digits at the end of a name of the wanted length; visited in an order that is not sorted. */
static struct bytes name_at(struct bench *b, uint64_t i) {
    uint64_t n = i * UINT64_C(2654435761) % b->keys;
    memset(b->name, 'k', b->name_len);
    for (size_t at = b->name_len; at > 0 && n; n /= 10) b->name[--at] = (uint8_t)('0' + n % 10);
    return bytes_of(b->name, b->name_len);
}

static struct shard *shard_of(struct bench *b, struct bytes name) {
    return b->shards[(hash_key(&b->seed, name) & UINT32_MAX) * SHARDS >> 32];
}

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
    for (uint64_t i = 0; i < b->keys; i++) {
        struct bytes name = name_at(b, i);
        struct shard *shard = shard_of(b, name);
        memcpy(b->value, &i, b->value_len < sizeof i ? b->value_len : sizeof i);
        shard_lock(shard);
        shard_set(shard, shard_ref(shard, name), bytes_of(b->value, b->value_len), false, (int64_t)i / 100 + 1);
        shard_unlock(shard);
        if (!b->cut || (i + 1) % BETWEEN_CUTS) continue;
        spent += seconds() - begun;
        cut_logs(b);
        begun = seconds();
    }
    spent += seconds() - begun;
    printf("%-12s %7.1f ns\n", what, spent / (double)b->keys * 1e9);
}

static void get_all(struct bench *b) {
    double begun = seconds();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < b->keys; i++) {
        struct bytes name = name_at(b, i * 7 + 3);
        struct shard *shard = shard_of(b, name);
        struct scratch scratch;
        shard_lock(shard);
        struct key *key = shard_find(shard, shard_ref(shard, name), 1);
        if (!key || key_type(shard, key) != KEY_STRING) abort();
        sum += key_string(shard, key, &scratch).len;
        shard_unlock(shard);
    }
    if (sum != b->keys * b->value_len) abort();
    printf("%-12s %7.1f ns\n", "get", (seconds() - begun) / (double)b->keys * 1e9);
}

static void report(struct bench *b, const char *when, double before) {
    uint64_t account = 0;
    for (int s = 0; s < SHARDS; s++) account += shard_mem_bytes(b->shards[s]);
    printf("%-12s %7.1f resident bytes per key, %7.1f by our own account\n", when,
           (resident() - before) / (double)b->keys, (double)account / (double)b->keys);
}

static uint64_t argument(int argc, char **argv, int at, uint64_t otherwise) {
    return at < argc ? strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    static struct bench b;
    b.keys = argument(argc, argv, 1, 1000000);
    b.name_len = argument(argc, argv, 2, 16);
    b.value_len = argument(argc, argv, 3, 64);
    b.cut = argument(argc, argv, 4, 1) != 0;
    if (!b.keys || b.name_len > NAME_MOST || b.value_len > VALUE_MOST) return 2;
    memset(b.value, 'v', b.value_len);
    struct replicas *replicas = replicas_new();
    struct shard_config config = {.replicas = replicas, .seed = b.seed, .log_bytes_max = (64u << 20) / SHARDS};
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
