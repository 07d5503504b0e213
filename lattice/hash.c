#include "lattice/hash.h"

#include <sodium/crypto_shorthash.h>
#include <xxhash.h>

_Static_assert(sizeof(struct hash_seed) == crypto_shorthash_KEYBYTES, "a SipHash key");

uint64_t hash_key(const struct hash_seed *seed, struct bytes name) {
    uint8_t out[crypto_shorthash_BYTES];
    crypto_shorthash(out, name.data, name.len, seed->bytes);
    uint64_t hash = 0;
    for (int i = 7; i >= 0; i--) hash = hash << 8 | out[i];
    return hash;
}

struct bytes hash_tag(struct bytes name) {
    const uint8_t *open = name.len ? memchr(name.data, '{', name.len) : NULL;
    if (!open) return name;
    size_t left = name.len - (size_t)(open + 1 - name.data);
    const uint8_t *close = left ? memchr(open + 1, '}', left) : NULL;
    if (!close || close == open + 1) return name;
    return bytes_of(open + 1, (size_t)(close - open - 1));
}

uint64_t hash_content(struct bytes content, uint64_t seed) { return XXH3_64bits_withSeed(content.data, content.len, seed); }
