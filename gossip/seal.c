#include "gossip/seal.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

static const uint8_t MAGIC[4] = {'A', 'N', 'N', 'L'};
enum { VERSION = 1, TAG_AT = 5, NONCE_AT = 13, BODY_AT = 37 };
_Static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == 24, "the nonce of the frame");
_Static_assert(BODY_AT + crypto_aead_xchacha20poly1305_ietf_ABYTES == SEAL_OVERHEAD_BYTES, "the frame's parts");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == KEYRING_KEY_BYTES, "the key");

static void put_word(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* A purpose of its own: placement must not change with keys. */
struct hash_seed cluster_seed(struct bytes name) {
    static const char purpose[] = "anneal placement";
    struct hash_seed seed;
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof seed.bytes);
    crypto_generichash_update(&state, (const uint8_t *)purpose, sizeof purpose);
    if (name.len) crypto_generichash_update(&state, name.data, name.len);
    crypto_generichash_final(&state, seed.bytes, sizeof seed.bytes);
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
