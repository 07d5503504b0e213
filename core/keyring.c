#include "core/keyring.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

static void add_key(struct keyring *ring, const char *purpose, const uint8_t secret[KEYRING_KEY_BYTES]) {
    int failed = crypto_generichash(ring->key[ring->count++], KEYRING_KEY_BYTES, (const uint8_t *)purpose, strlen(purpose), secret,
                                    KEYRING_KEY_BYTES);
    assert(!failed);
    (void)failed;
}

static struct bytes trim(struct bytes line) {
    while (line.len && strchr(" \t\r", line.data[0])) line = bytes_of(line.data + 1, line.len - 1);
    while (line.len && strchr(" \t\r", line.data[line.len - 1])) line.len--;
    return line;
}

static bool read_key(struct bytes line, uint8_t secret[KEYRING_KEY_BYTES]) {
    size_t len = 0;
    const char *end;
    return line.len == 2 * KEYRING_KEY_BYTES &&
           sodium_hex2bin(secret, KEYRING_KEY_BYTES, (const char *)line.data, line.len, NULL, &len, &end) == 0 &&
           len == KEYRING_KEY_BYTES;
}

/* The words never quote the line: it may be most of a key. */
enum status keyring_parse(struct keyring *ring, const char *purpose, struct bytes text, struct buf *error) {
    if (sodium_init() < 0) return STATUS_ERR_IO;
    struct keyring read = {.tag = ring->tag};
    uint8_t secret[KEYRING_KEY_BYTES];
    unsigned number = 1;
    enum status status = STATUS_ERR_INVALID;
    for (size_t at = 0; at < text.len; number++) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - text.data) - at : text.len - at;
        struct bytes line = trim(bytes_of(text.data + at, len));
        at += len + 1;
        if (!line.len || line.data[0] == '#') continue;
        if (!read_key(line, secret)) {
            buf_printf(error, "line %u: a key is 64 hex digits; make one with: openssl rand -hex 32", number);
            goto out;
        }
        if (read.count == KEYRING_MAX) {
            buf_printf(error, "line %u: more than %d keys; drop old ones", number, KEYRING_MAX);
            goto out;
        }
        add_key(&read, purpose, secret);
    }
    if (!read.count) {
        buf_put_str(error, "no key in it; make one with: openssl rand -hex 32");
        goto out;
    }
    *ring = read;
    status = STATUS_OK;
out:
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(&read, sizeof read);
    return status;
}

void keyring_well_known(struct keyring *ring, const char *purpose) {
    int failed = sodium_init() < 0;
    assert(!failed);
    (void)failed;
    static const uint8_t nothing[KEYRING_KEY_BYTES];
    ring->count = 0;
    add_key(ring, purpose, nothing);
}

void keyring_cluster(struct keyring *ring, struct bytes name, uint32_t shards) {
    char purpose[48];
    uint8_t hash[16];
    crypto_generichash_state state;
    snprintf(purpose, sizeof purpose, "anneal cluster of %u shards", shards);
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const uint8_t *)purpose, strlen(purpose) + 1);
    if (name.len) crypto_generichash_update(&state, name.data, name.len);
    crypto_generichash_final(&state, hash, sizeof hash);
    ring->tag = 0;
    for (int i = 0; i < 8; i++) ring->tag = ring->tag << 8 | hash[i];
}
