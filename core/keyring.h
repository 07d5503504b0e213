/* Secret keys from a file, and the cluster that what they seal belongs to.
 *
 * The first key seals, all open, so keys rotate without downtime: add the new one last on every
 * node, then move it to the front, then drop the old one.
 * Threads: a keyring is read-only once it is filled. */
#ifndef ANNEAL_CORE_KEYRING_H
#define ANNEAL_CORE_KEYRING_H

#include "core/bytes.h"
#include "core/status.h"

#define KEYRING_MAX 16
#define KEYRING_KEY_BYTES 32

struct keyring {
    uint8_t key[KEYRING_MAX][KEYRING_KEY_BYTES]; /* derived for their purpose: never the file's */
    uint32_t count;
    uint64_t tag; /* a hash of the cluster's name and its number of shards */
};

#define KEYRING_GOSSIP "anneal gossip frame 1"
#define KEYRING_OBJECTS "anneal object 1"

/* Reads a key file: 64 hex digits a line; empty lines and '#' comments are skipped.
 * STATUS_ERR_INVALID, and in *error a line that names the file's line. */
enum status keyring_parse(struct keyring *ring, const char *purpose, struct bytes text, struct buf *error) MUST_CHECK;
/* A key that anybody can derive: keeps clusters apart by mistake, not by intent. */
void keyring_well_known(struct keyring *ring, const char *purpose);
void keyring_cluster(struct keyring *ring, struct bytes name, uint32_t shards);

#endif
