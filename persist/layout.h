/* What lies where in the store, and what heads and manifests say. All of it is made by one node and read by any.
 *
 *   claim/NODE/NUMBER, verdict/NODE/NUMBER            which process is the node (archive_claim.c)
 *   segment/NODE-INCARNATION/NUMBER                   own mutations of one process, in the order they were made
 *   checkpoint/NODE-INCARNATION/TIME/FIRST            images of some shards, from FIRST on
 *   manifest/NUMBER                                   which images make a whole, and what they cover
 *
 * NODE and INCARNATION have 16 hex digits, NUMBER and TIME (Unix milliseconds) 20 decimal ones, FIRST has 5: the order of
 * keys is that of numbers. Bodies of segments and checkpoints are records (object.h). */
#ifndef ANNEAL_PERSIST_LAYOUT_H
#define ANNEAL_PERSIST_LAYOUT_H

#include "lattice/wire.h"

#define LAYOUT_KEY_BYTES 96
#define LAYOUT_SHARDS_MAX 65536u
#define LAYOUT_PARTS_MAX 65536u /* of one manifest */
#define LAYOUT_MARKS_MAX 65536u /* likewise: as many as there are replicas */
void layout_claim_key(char out[LAYOUT_KEY_BYTES], const char *what, uint64_t node, uint64_t number);
void layout_segment_key(char out[LAYOUT_KEY_BYTES], struct replica_id writer, uint64_t number);
void layout_part_key(char out[LAYOUT_KEY_BYTES], struct replica_id writer, int64_t began_ms, uint32_t first);
void layout_manifest_key(char out[LAYOUT_KEY_BYTES], uint64_t number);
/* False: it is no such key. */
bool layout_read_claim_key(struct bytes key, const char *what, uint64_t *node, uint64_t *number);
bool layout_read_segment_key(struct bytes key, struct replica_id *writer, uint64_t *number);
bool layout_read_part_key(struct bytes key, struct replica_id *writer, int64_t *began_ms, uint32_t *first);
bool layout_read_manifest_key(struct bytes key, uint64_t *number);
/* Claims of a node, segments of a process and manifests are rows: numbered one by one. False: it is none of these. */
bool layout_read_row_key(const char *key, uint64_t *number);
void layout_row_key(char out[LAYOUT_KEY_BYTES], const char *key, uint64_t number); /* another one of its row */
bool layout_same_row(const char *x, const char *y);

/* What is in a segment's head. Its body is records; see records_* below. */
struct segment_head {
    struct replica_id writer;
    uint64_t number;
    int64_t made_ms;       /* Unix time */
    bool closed;           /* nothing follows, nor is anything in it: it ends the stream of one that is no more */
    bool by_next;          /* closed by the next process of its node, which goes on with what it left on the disk; else by others */
    uint32_t shard_count;
    uint64_t *upto;        /* owned; by shard: the writer's mutations up to here are in this segment, or in one before */
    uint64_t images_before; /* number + 1 of the last segment before this one that has images; 0: none has */
    uint32_t image_count;
    struct segment_image { /* shards of which it has a whole image */
        uint32_t shard;
        struct vclock applied;
    } *images;             /* owned */
    struct bytes members;  /* a table of gossip's, or empty; a view */
};
void segment_head_write(const struct segment_head *head, const struct replicas *replicas, struct buf *out);
/* MALFORMED; the result needs a fini only if OK. */
enum status segment_head_read(struct bytes bytes, struct replicas *replicas, struct segment_head *out) MUST_CHECK;
/* As images_before of the next one. */
static inline uint64_t segment_images_before(const struct segment_head *head) {
    return head->image_count ? head->number + 1 : head->images_before;
}
void segment_head_fini(struct segment_head *head);

/* A manifest: its body. */
struct manifest_part {
    struct bytes key; /* of a part; a view, of the manifest's text */
    uint64_t bytes;
    uint32_t first, count;  /* shards */
    struct vclock *applied; /* owned; what it covers of each of them */
};
struct manifest_mark { /* segments up to here were there when the checkpoint began: growth is what is beyond */
    struct replica_id writer;
    uint64_t number;
};
struct manifest {
    uint64_t number;
    int64_t made_ms;
    struct replica_id writer;
    uint32_t shard_count;
    uint32_t part_count;
    struct manifest_part *parts; /* owned */
    uint32_t mark_count;
    struct manifest_mark *marks; /* owned */
    struct bytes members; /* as of segments */
};
void manifest_write(const struct manifest *m, const struct replicas *replicas, struct buf *out);
enum status manifest_read(struct bytes bytes, struct replicas *replicas, struct manifest *out) MUST_CHECK;
void manifest_fini(struct manifest *m);

#endif
