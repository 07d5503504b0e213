#include "gossip/seal.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

static const uint8_t MAGIC[4] = {'A', 'N', 'N', 'L'};
enum { VERSION = 1, TAG_AT = 5, NONCE_AT = 13, BODY_AT = 37 };
_Static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == 24, "the nonce of the frame");
_Static_assert(BODY_AT + crypto_aead_xchacha20poly1305_ietf_ABYTES == SEAL_OVERHEAD_BYTES, "the frame's parts");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == SEAL_KEY_BYTES, "the key");

static void put_word(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* ------------------------------------------------------------------- keys */

static void add_key(struct keyring *ring, const uint8_t secret[SEAL_KEY_BYTES]) {
    static const char purpose[] = "anneal gossip frame 1";
    int failed = crypto_generichash(ring->key[ring->count++], SEAL_KEY_BYTES, (const uint8_t *)purpose,
                                    sizeof purpose - 1, secret, SEAL_KEY_BYTES);
    assert(!failed);
    (void)failed;
}

static struct bytes trim(struct bytes line) {
    while (line.len && strchr(" \t\r", line.data[0])) line = bytes_of(line.data + 1, line.len - 1);
    while (line.len && strchr(" \t\r", line.data[line.len - 1])) line.len--;
    return line;
}

static bool read_key(struct bytes line, uint8_t secret[SEAL_KEY_BYTES]) {
    size_t len = 0;
    const char *end;
    return line.len == 2 * SEAL_KEY_BYTES &&
           sodium_hex2bin(secret, SEAL_KEY_BYTES, (const char *)line.data, line.len, NULL, &len, &end) == 0 &&
           len == SEAL_KEY_BYTES;
}

/* The words never quote the line: it may be most of a key. */
enum status keyring_parse(struct keyring *ring, struct bytes text, struct buf *error) {
    if (sodium_init() < 0) return STATUS_ERR_IO;
    struct keyring read = {.tag = ring->tag};
    uint8_t secret[SEAL_KEY_BYTES];
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
        add_key(&read, secret);
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

void keyring_well_known(struct keyring *ring) {
    int failed = sodium_init() < 0;
    assert(!failed);
    (void)failed;
    static const uint8_t nothing[SEAL_KEY_BYTES];
    ring->count = 0;
    add_key(ring, nothing);
}

static void hash_name(uint8_t out[16], const char *purpose, struct bytes name) {
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, 16);
    crypto_generichash_update(&state, (const uint8_t *)purpose, strlen(purpose) + 1);
    if (name.len) crypto_generichash_update(&state, name.data, name.len);
    crypto_generichash_final(&state, out, 16);
}

void keyring_cluster(struct keyring *ring, struct bytes name, uint32_t shards) {
    char purpose[48];
    uint8_t hash[16];
    snprintf(purpose, sizeof purpose, "anneal cluster of %u shards", shards);
    hash_name(hash, purpose, name);
    ring->tag = 0;
    for (int i = 0; i < 8; i++) ring->tag = ring->tag << 8 | hash[i];
}

struct hash_seed cluster_seed(struct bytes name) {
    struct hash_seed seed;
    hash_name(seed.bytes, "anneal placement", name);
    return seed;
}

/* ----------------------------------------------------------------- frames */

void frame_seal(const struct keyring *ring, struct sealer *sealer, struct bytes plain, struct buf *out) {
    assert(ring->count > 0);
    buf_reserve(out, SEAL_OVERHEAD_BYTES + plain.len);
    uint8_t *frame = out->data + out->len;
    memcpy(frame, MAGIC, sizeof MAGIC);
    frame[4] = VERSION;
    put_word(frame + TAG_AT, ring->tag);
    memcpy(frame + NONCE_AT, sealer->prefix, sizeof sealer->prefix);
    put_word(frame + NONCE_AT + 16, sealer->count++);
    crypto_aead_xchacha20poly1305_ietf_encrypt(frame + BODY_AT, NULL, plain.data, plain.len, frame, NONCE_AT, NULL,
                                               frame + NONCE_AT, ring->key[0]);
    out->len += SEAL_OVERHEAD_BYTES + plain.len;
}

enum status frame_open(const struct keyring *ring, struct bytes frame, struct buf *out) {
    if (frame.len < SEAL_OVERHEAD_BYTES || memcmp(frame.data, MAGIC, sizeof MAGIC) != 0) return STATUS_ERR_MALFORMED;
    if (frame.data[4] != VERSION) return STATUS_ERR_VERSION;
    uint8_t tag[8];
    put_word(tag, ring->tag);
    if (memcmp(frame.data + TAG_AT, tag, sizeof tag) != 0) return STATUS_ERR_CLUSTER;
    buf_reserve(out, frame.len - SEAL_OVERHEAD_BYTES + 1);
    for (uint32_t i = 0; i < ring->count; i++) {
        if (crypto_aead_xchacha20poly1305_ietf_decrypt(out->data + out->len, NULL, NULL, frame.data + BODY_AT,
                                                       frame.len - BODY_AT, frame.data, NONCE_AT,
                                                       frame.data + NONCE_AT, ring->key[i]) == 0) {
            out->len += frame.len - SEAL_OVERHEAD_BYTES;
            return STATUS_OK;
        }
    }
    return STATUS_ERR_KEY;
}
