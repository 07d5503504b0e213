/* An object of the store: a head that says what it is, and a body, compressed and perhaps sealed.
 *
 *   object := "ANRO" version:1 kind:1 flags:2 cluster:8 nonce:16 head-length:4 body-length:8 plain-length:8 head-crc:4
 *             head body crc:4                                                       little-endian
 *
 * `cluster` is a hash of the cluster's name and its number of shards, as in frames. The nonce is of this one object: who
 * does not know whether it was he who made it compares. head-crc (CRC-32C) is of all before it and the head, in every
 * version; crc of everything. The head is readable without keys, from the beginning of the object: which mutations are in the body, not
 * what they are. The body is compressed where that helps: by Zstandard what is written seldom and kept long (parts of
 * checkpoints), else as an LZ4 block; never to less than a 255th, so that no reader needs more memory than that. Then it is sealed if
 * there are keys (XChaCha20-Poly1305 under the first; all open; what is before it is authenticated). */
#ifndef ANNEAL_PERSIST_OBJECT_H
#define ANNEAL_PERSIST_OBJECT_H

#include "core/bytes.h"
#include "core/keyring.h"
#include "core/status.h"

#define OBJECT_FIXED_BYTES 56u
#define OBJECT_NONCE_AT 16u
#define OBJECT_NONCE_BYTES 16u
#define OBJECT_HEAD_BYTES_MAX (64u << 20)
#define OBJECT_PLAIN_BYTES_MAX ((uint64_t)1 << 32)

#define OBJECT_KINDS(X) X(SEGMENT, "segment") X(PART, "checkpoint") X(MANIFEST, "manifest") X(CLAIM, "claim") X(VERDICT, "verdict")
enum object_kind {
    OBJECT_NONE,
#define X(kind, name) OBJECT_##kind,
    OBJECT_KINDS(X)
#undef X
        OBJECT_KIND_COUNT
};
const char *object_kind_name(enum object_kind kind); /* as keys begin; never NULL */

#define OBJECT_CODECS(X) X(NONE, "none") X(LZ4, "lz4") X(ZSTD, "zstd")
enum object_codec {
#define X(codec, name) CODEC_##codec,
    OBJECT_CODECS(X)
#undef X
};
const char *object_codec_name(enum object_codec codec);

struct object {
    enum object_kind kind;
    enum object_codec codec; /* of the body */
    bool sealed;
    uint64_t cluster;
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct bytes head; /* a view */
    uint64_t plain_bytes;
};

/* Appends one. `keys` without a key seals nothing, and still says which cluster it is. */
void object_write(enum object_kind kind, const uint8_t nonce[OBJECT_NONCE_BYTES], struct bytes head, struct bytes plain,
                  const struct keyring *keys, struct buf *out);
/* Of the beginning of an object: everything but the body. MALFORMED; VERSION; CLUSTER: of another one than `keys` say, if
 * there are any (NULL: any cluster will do); GAP: more bytes are needed to see the head whole: *need of them. */
enum status object_read_head(struct bytes bytes, const struct keyring *keys, struct object *out, size_t *need) MUST_CHECK;
/* The whole; the body is appended to *plain. As above, and KEY: no key opens it. */
enum status object_read(struct bytes bytes, const struct keyring *keys, struct object *out, struct buf *plain) MUST_CHECK;

/* Records in bodies of segments and parts: images and deltas as of replay.h. */
enum object_record { OBJECT_DELTAS = 1, OBJECT_IMAGE = 2 };
void object_record_write(struct buf *body, enum object_record kind, struct bytes payload);
/* The same for a payload that is appended to the body in between. */
size_t object_record_begin(struct buf *body, enum object_record kind);
void object_record_end(struct buf *body, size_t begun);
/* The next one at *at; false at the end, and *bad if that is no end. */
bool object_record_next(struct bytes body, size_t *at, enum object_record *kind, struct bytes *payload, bool *bad);

#endif
