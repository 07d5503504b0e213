/* What the benches of shards work on: numbered keys, all with values of one size, in 256 shards. */
#ifndef ANNEAL_TEST_BENCH_KEYS_H
#define ANNEAL_TEST_BENCH_KEYS_H

#include <stdlib.h>

#include "core/clock_posix.h"
#include "lattice/shard.h"

enum { SHARDS = 256, NAME_MOST = 4096, VALUE_MOST = 1 << 20 };

struct keys {
    struct hash_seed seed;
    uint64_t count, name_len, value_len;
    uint8_t name[NAME_MOST], value[VALUE_MOST];
};

static inline uint64_t argument(int argc, char **argv, int at, uint64_t otherwise) {
    return at < argc ? strtoull(argv[at], NULL, 10) : otherwise;
}

/* By the arguments [keys] [name bytes] [value bytes]. */
static inline bool keys_init(struct keys *k, int argc, char **argv, uint64_t least) {
    k->count = argument(argc, argv, 1, 1000000);
    k->name_len = argument(argc, argv, 2, 16);
    k->value_len = argument(argc, argv, 3, 64);
    if (k->count < least || k->name_len > NAME_MOST || k->value_len > VALUE_MOST) return false;
    memset(k->value, 'v', k->value_len);
    return true;
}

/* Digits at the end of a name of the wanted length; until the next one is asked for. */
static inline struct bytes keys_name(struct keys *k, uint64_t n) {
    memset(k->name, 'k', k->name_len);
    for (size_t at = k->name_len; at > 0 && n; n /= 10) k->name[--at] = (uint8_t)('0' + n % 10);
    return bytes_of(k->name, k->name_len);
}

/* Begins with the stamp; likewise. */
static inline struct bytes keys_value(struct keys *k, uint64_t stamp) {
    memcpy(k->value, &stamp, k->value_len < sizeof stamp ? k->value_len : sizeof stamp);
    return bytes_of(k->value, k->value_len);
}

static inline struct shard *keys_shard(const struct keys *k, struct shard *const shards[SHARDS], struct bytes name) {
    return shards[(hash_key(&k->seed, name) & UINT32_MAX) * SHARDS >> 32];
}

static inline double seconds(void) { return (double)os_mono_us() / 1e6; }

#endif
