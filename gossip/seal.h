/* Sealed frames: what one node sends to another, unreadable and unforgeable without the
 * cluster's key. XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha; libsodium).
 *
 *   frame := "ANNL" version:1 tag:8 nonce:24 ciphertext+mac
 *
 * `tag` is a hash of the cluster's name and its number of shards: a frame of another cluster
 * is told from one under an unknown key. Everything before the ciphertext is authenticated.
 * A nonce is 16 random bytes of this process and a count, so it does not repeat under a key.
 *
 * Threads: a sealer belongs to one thread. */
#ifndef ANNEAL_GOSSIP_SEAL_H
#define ANNEAL_GOSSIP_SEAL_H

#include "core/bytes.h"
#include "core/keyring.h"
#include "core/status.h"
#include "lattice/hash.h"

#define SEAL_OVERHEAD_BYTES (4 + 1 + 8 + 24 + 16)

/* The hash seed that all nodes of a cluster share. Not a secret of the keys: they rotate,
 * placement may not. */
struct hash_seed cluster_seed(struct bytes name);

struct sealer {
    uint8_t prefix[16];
    uint64_t count;
};
/* Appends the frame. */
void frame_seal(const struct keyring *ring, struct sealer *sealer, struct bytes plain, struct buf *out);
/* Appends what was sealed. ERR_MALFORMED, ERR_VERSION, ERR_CLUSTER, ERR_KEY; out is as it was. */
enum status frame_open(const struct keyring *ring, struct bytes frame, struct buf *out) MUST_CHECK;

#endif
