#include "persist/object.h"

#include <assert.h>
#include <endian.h>
#include <lz4.h>
#include <sodium.h>
#include <zstd.h>

#include "core/mem.h"
#include "persist/crc32c.h"

static const uint8_t MAGIC[4] = {'A', 'N', 'R', 'O'};
enum { VERSION = 1, KIND_AT = 5, FLAGS_AT = 6, CLUSTER_AT = 8, HEAD_AT = 32, BODY_AT = 36, PLAIN_AT = 44, CRC_AT = 52 };
enum { FLAG_LZ4 = 1, FLAG_SEALED = 2, FLAG_ZSTD = 4, FLAG_ALL = 7 };
static const uint8_t FLAG_OF[] = {[CODEC_NONE] = 0, [CODEC_LZ4] = FLAG_LZ4, [CODEC_ZSTD] = FLAG_ZSTD};
#define CRC_BYTES 4u
#define SEAL_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define RATIO_MAX 255u /* no LZ4 block says more than so many bytes by one of its own; Zstandard may not here */
#define ZSTD_LEVEL 1   /* two thirds of the time of 2, for 1 % more bytes */
_Static_assert(CRC_AT + CRC_BYTES == OBJECT_FIXED_BYTES, "the parts of the fixed part");

const char *object_kind_name(enum object_kind kind) {
    static const char *const names[] = {"?",
#define X(symbol, name) name,
                                        OBJECT_KINDS(X)
#undef X
    };
    return kind < OBJECT_KIND_COUNT ? names[kind] : names[0];
}

const char *object_codec_name(enum object_codec codec) {
    static const char *const names[] = {
#define X(symbol, name) name,
        OBJECT_CODECS(X)
#undef X
    };
    return names[codec];
}

static void put_le(uint8_t *at, uint64_t value, size_t len) {
    for (size_t i = 0; i < len; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static uint64_t get_le(const uint8_t *at, size_t len) {
    uint64_t value = 0;
    while (len--) value = value << 8 | at[len];
    return value;
}
static void put_crc(struct buf *out, size_t from) {
    uint8_t crc[CRC_BYTES];
    put_le(crc, crc32c(0, bytes_of(out->data + from, out->len - from)), sizeof crc);
    buf_put(out, crc, sizeof crc);
}

/* A nonce of 24 bytes from that of the object, which no other object has. */
static void seal_nonce(const uint8_t nonce[OBJECT_NONCE_BYTES], uint8_t out[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES]) {
    memset(out, 0, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
    memcpy(out, nonce, OBJECT_NONCE_BYTES);
}

/* ----------------------------------------------------------------- writing */

/* Each appends less than `plain` that says the same; false: it would not be less, and nothing was appended. */
static bool pack_lz4(struct bytes plain, struct buf *out) {
    if (plain.len > LZ4_MAX_INPUT_SIZE) return false;
    buf_reserve(out, (size_t)LZ4_compressBound((int)plain.len));
    int len = LZ4_compress_default((const char *)plain.data, (char *)out->data + out->len, (int)plain.len, LZ4_compressBound((int)plain.len));
    if (len <= 0 || (size_t)len >= plain.len) return false;
    out->len += (size_t)len;
    return true;
}

static bool pack_zstd(struct bytes plain, struct buf *out) {
    buf_reserve(out, ZSTD_compressBound(plain.len));
    size_t len = ZSTD_compress(out->data + out->len, ZSTD_compressBound(plain.len), plain.data, plain.len, ZSTD_LEVEL);
    if (ZSTD_isError(len) || len >= plain.len || plain.len / RATIO_MAX >= len) return false;
    out->len += len;
    return true;
}

static enum object_codec put_body(enum object_kind kind, struct bytes plain, struct buf *out) {
    if (plain.len && kind == OBJECT_PART && pack_zstd(plain, out)) return CODEC_ZSTD;
    if (plain.len && pack_lz4(plain, out)) return CODEC_LZ4;
    buf_put_bytes(out, plain);
    return CODEC_NONE;
}

/* What lies from body_at on, where it is; what lies before it is authenticated. */
static void seal(struct buf *out, size_t start, size_t body_at, const uint8_t nonce[OBJECT_NONCE_BYTES], const uint8_t *key) {
    uint8_t full[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    seal_nonce(nonce, full);
    buf_reserve(out, SEAL_BYTES);
    uint8_t *body = out->data + body_at;
    crypto_aead_xchacha20poly1305_ietf_encrypt(body, NULL, body, out->len - body_at, out->data + start, body_at - start, NULL, full, key);
    out->len += SEAL_BYTES;
}

void object_write(enum object_kind kind, const uint8_t nonce[OBJECT_NONCE_BYTES], struct bytes head, struct bytes plain,
                  const struct keyring *keys, struct buf *out) {
    bool sealed = keys->count > 0;
    uint8_t fixed[OBJECT_FIXED_BYTES] = {0};
    assert(head.len <= OBJECT_HEAD_BYTES_MAX && plain.len <= OBJECT_PLAIN_BYTES_MAX);
    size_t start = out->len;
    buf_put(out, fixed, sizeof fixed); /* filled in when all is known */
    buf_put_bytes(out, head);
    size_t body_at = out->len;
    enum object_codec codec = put_body(kind, plain, out);
    size_t body_bytes = out->len - body_at;
    memcpy(fixed, MAGIC, sizeof MAGIC);
    fixed[4] = VERSION;
    fixed[KIND_AT] = (uint8_t)kind;
    put_le(fixed + FLAGS_AT, FLAG_OF[codec] | (sealed ? FLAG_SEALED : 0u), 2);
    put_le(fixed + CLUSTER_AT, keys->tag, 8);
    memcpy(fixed + OBJECT_NONCE_AT, nonce, OBJECT_NONCE_BYTES);
    put_le(fixed + HEAD_AT, head.len, 4);
    put_le(fixed + BODY_AT, body_bytes + (sealed ? SEAL_BYTES : 0), 8);
    put_le(fixed + PLAIN_AT, plain.len, 8);
    put_le(fixed + CRC_AT, crc32c(crc32c(0, bytes_of(fixed, CRC_AT)), head), CRC_BYTES);
    memcpy(out->data + start, fixed, sizeof fixed);
    if (sealed) seal(out, start, body_at, nonce, keys->key[0]);
    put_crc(out, start);
}

/* ----------------------------------------------------------------- reading */

enum status object_read_head(struct bytes bytes, const struct keyring *keys, struct object *out, size_t *need) {
    *need = OBJECT_FIXED_BYTES;
    if (bytes.len < OBJECT_FIXED_BYTES) return STATUS_ERR_GAP;
    const uint8_t *at = bytes.data;
    if (memcmp(at, MAGIC, sizeof MAGIC) != 0) return STATUS_ERR_MALFORMED;
    uint64_t flags = get_le(at + FLAGS_AT, 2), head = get_le(at + HEAD_AT, 4);
    if (head > OBJECT_HEAD_BYTES_MAX) return STATUS_ERR_MALFORMED;
    *need = OBJECT_FIXED_BYTES + head;
    if (bytes.len < *need) return STATUS_ERR_GAP;
    *out = (struct object){.kind = (enum object_kind)at[KIND_AT],
                           .codec = flags & FLAG_ZSTD ? CODEC_ZSTD : flags & FLAG_LZ4 ? CODEC_LZ4 : CODEC_NONE,
                           .sealed = flags & FLAG_SEALED,
                           .cluster = get_le(at + CLUSTER_AT, 8),
                           .head = bytes_of(at + OBJECT_FIXED_BYTES, head),
                           .plain_bytes = get_le(at + PLAIN_AT, 8)};
    memcpy(out->nonce, at + OBJECT_NONCE_AT, OBJECT_NONCE_BYTES);
    if (get_le(at + CRC_AT, CRC_BYTES) != crc32c(crc32c(0, bytes_of(at, CRC_AT)), out->head)) return STATUS_ERR_MALFORMED;
    if (at[4] != VERSION || flags > FLAG_ALL) return STATUS_ERR_VERSION;
    if (at[KIND_AT] == OBJECT_NONE || at[KIND_AT] >= OBJECT_KIND_COUNT || (flags & FLAG_LZ4 && flags & FLAG_ZSTD)) return STATUS_ERR_MALFORMED;
    return keys && keys->tag != out->cluster ? STATUS_ERR_CLUSTER : STATUS_OK;
}

static enum status unseal(const struct object *o, struct bytes before, struct bytes body, const struct keyring *keys, struct buf *out) {
    uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    if (body.len < SEAL_BYTES) return STATUS_ERR_MALFORMED;
    seal_nonce(o->nonce, nonce);
    buf_reserve(out, body.len);
    for (uint32_t i = 0; keys && i < keys->count; i++)
        if (crypto_aead_xchacha20poly1305_ietf_decrypt(out->data, NULL, NULL, body.data, body.len, before.data, before.len, nonce, keys->key[i]) == 0) {
            out->len = body.len - SEAL_BYTES;
            return STATUS_OK;
        }
    return STATUS_ERR_KEY;
}

/* Appends what `body` says, if it is as long as `len`. */
static bool unpack(enum object_codec codec, struct bytes body, size_t len, struct buf *plain) {
    if (codec == CODEC_LZ4 && (len > LZ4_MAX_INPUT_SIZE || body.len > LZ4_MAX_INPUT_SIZE)) return false;
    buf_reserve(plain, len);
    uint8_t *to = plain->data + plain->len;
    size_t got = codec == CODEC_ZSTD ? ZSTD_decompress(to, len, body.data, body.len)
                                     : (size_t)LZ4_decompress_safe((const char *)body.data, (char *)to, (int)body.len, (int)len);
    if (got != len) return false; /* an error is no such length: it is negative */
    plain->len += len;
    return true;
}

static enum status expand(const struct object *o, struct bytes body, struct buf *plain) {
    if (o->codec == CODEC_NONE) {
        if (body.len != o->plain_bytes) return STATUS_ERR_MALFORMED;
        buf_put_bytes(plain, body);
        return STATUS_OK;
    }
    if (o->plain_bytes > body.len * RATIO_MAX || o->plain_bytes > OBJECT_PLAIN_BYTES_MAX) return STATUS_ERR_MALFORMED;
    return unpack(o->codec, body, o->plain_bytes, plain) ? STATUS_OK : STATUS_ERR_MALFORMED;
}

enum status object_read(struct bytes bytes, const struct keyring *keys, struct object *out, struct buf *plain) {
    size_t need;
    struct buf opened = {0};
    enum status status = object_read_head(bytes, keys, out, &need);
    if (status == STATUS_ERR_GAP) return STATUS_ERR_MALFORMED; /* cut off */
    if (status != STATUS_OK) return status;
    uint64_t body_bytes = get_le(bytes.data + BODY_AT, 8);
    if (bytes.len < need + CRC_BYTES || body_bytes != bytes.len - need - CRC_BYTES) return STATUS_ERR_MALFORMED;
    if (get_le(bytes.data + bytes.len - CRC_BYTES, CRC_BYTES) != crc32c(0, bytes_of(bytes.data, bytes.len - CRC_BYTES))) return STATUS_ERR_MALFORMED;
    struct bytes body = bytes_of(bytes.data + need, body_bytes);
    if (out->sealed) {
        status = unseal(out, bytes_of(bytes.data, need), body, keys, &opened);
        body = buf_bytes(&opened);
    }
    if (status == STATUS_OK) status = expand(out, body, plain);
    buf_fini(&opened);
    return status;
}

/* ----------------------------------------------------------------- records */

#define RECORD_BYTES 5u /* kind, length */

size_t object_record_begin(struct buf *body, enum object_record kind) {
    uint8_t header[RECORD_BYTES] = {(uint8_t)kind};
    buf_put(body, header, sizeof header);
    return body->len;
}

void object_record_end(struct buf *body, size_t begun) {
    assert(body->len - begun <= UINT32_MAX);
    put_le(body->data + begun - RECORD_BYTES + 1, body->len - begun, 4);
}

void object_record_write(struct buf *body, enum object_record kind, struct bytes payload) {
    size_t begun = object_record_begin(body, kind);
    buf_put_bytes(body, payload);
    object_record_end(body, begun);
}

bool object_record_next(struct bytes body, size_t *at, enum object_record *kind, struct bytes *payload, bool *bad) {
    *bad = false;
    if (*at == body.len) return false;
    size_t left = body.len - *at;
    uint64_t len = left >= RECORD_BYTES ? get_le(body.data + *at + 1, 4) : 0;
    *bad = left < RECORD_BYTES || len > left - RECORD_BYTES;
    if (*bad) return false;
    *kind = (enum object_record)body.data[*at];
    *payload = bytes_of(body.data + *at + RECORD_BYTES, len);
    *at += RECORD_BYTES + len;
    return true;
}
