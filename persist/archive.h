/* Streams a node's own mutations to an object store, and brings back what all nodes streamed: what is left when every
 * machine is lost.
 *
 *   segments      own mutations since the last one, about every segment_us; one on its way at a time. What waits does not
 *                 grow without bound: beyond waiting_bytes, or if a shard's log no longer reaches back, an image of the shard is sent
 *   checkpoints   images of all shards as objects of some MiB, by whichever node finds that segments have grown
 *   manifests     numbered; name the images that make a whole, and the vectors that they cover. A part of an older checkpoint
 *                 stays named until newer images cover it, so a node that was cut off takes nothing away
 *   garbage       what is covered by the oldest of the manifests that are kept; parts that no manifest names, after ORPHAN_US
 *   claims        who a node is: see archive_claim.c
 *   closed        streams of processes that are no more: an empty last segment, made by others. What is written there by one
 *                 that the cluster has given up would presuppose what nobody remembers; so it finds its place taken, and starts over
 *
 * What is read back is joined, so neither order nor repetition matters. An object that is damaged is reported and left out;
 * if it was an image, the manifest before is read as well. What follows a damaged segment in its stream waits for peers, or
 * for a checkpoint that covers it.
 *
 * A state machine: nothing here waits. archive_step polls the store, does what is due, and is to be called again at the time
 * it returns, or when the store has an answer.
 *
 * Failures: the store may be away for as long as it likes; everything is tried again. Stopped for good, with archive_status.why,
 * are: a store that cannot do conditional writes (unless told otherwise); objects of another cluster or under an unknown key, when
 * they are to be read at the start; another process that is this node, at any time.
 *
 * Threads: archive_step, archive_free from one; all else from any. archive_dirty with any locks; the rest without a shard's but
 * where it says otherwise. */
#ifndef ANNEAL_PERSIST_ARCHIVE_H
#define ANNEAL_PERSIST_ARCHIVE_H

#include "core/keyring.h"
#include "core/port.h"
#include "lattice/shard.h"
#include "persist/store.h"

/* What may change while it runs. */
struct archive_settings {
    int64_t segment_us;
    uint64_t rewrite_percent, rewrite_bytes_min; /* as the keeper's, but for all segments together; percent 0: no checkpoints */
    uint32_t checkpoints; /* that are kept, at least 1: with 2, any one object may rot */
    int64_t keep_ms;      /* manifests younger than this stay, and one more */
};

struct archive_config {
    struct store store;     /* outlives it; nobody else submits to it */
    struct clock_port clock; /* for its entropy */
    struct shard *const *shards;
    uint32_t shard_count;
    struct replicas *replicas;
    struct replica_id self;
    struct replica_id before; /* the process of this node that left what the shards hold; {0}: none, or who knows */
    struct keyring keys;    /* the cluster's tag; keys if objects are to be sealed */
    const char *place;      /* this directory, on this start of this machine: whoever claimed from here before is dead */
    bool unconditional;     /* the operator's word that no two nodes will ever create one object */
    struct archive_settings settings; /* at first */
    uint64_t segment_bytes; /* a segment is cut when it has grown beyond this */
    uint64_t waiting_bytes; /* of own mutations that others were told of and the store was not; beyond, images are sent */
    uint64_t part_bytes;    /* likewise a part of a checkpoint */
    uint32_t threads;       /* that read images back; 0 is 1 */
    int64_t poll_us;        /* how often to look whether segments have grown, and whether somebody else claims to be us */
    /* Reads another store, which is not written to, as it was: for starting a cluster from the past. `store` must be empty. */
    struct archive_source {
        struct store store; /* nothing: reads its own */
        uint64_t manifest;  /* no segments, just what this one names; 0: the newest that is old enough, and segments */
        int64_t until_ms;   /* Unix time; INT64_MAX: all */
    } source;
    /* Something was read into a shard; with its lock, and when it is free again. May be NULL, as all below. */
    void (*changing)(void *arg, uint32_t shard);
    void (*changed)(void *arg, uint32_t shard);
    /* What the process before us left on the disk is not void, or has been voided: from now on our next process may take us for the
     * one that left it, and not before. May be NULL. */
    void (*judged)(void *arg);
    /* Others have closed our stream, or that of the process before us, since they hold us for gone: archive_reset is to follow. */
    void (*closed)(void *arg, struct replica_id self);
    /* A table of members that some node kept; see gossip. */
    void (*heard)(void *arg, struct bytes table);
    void (*note)(void *arg, const char *text); /* one line for the log */
    void *arg;
};
#define ARCHIVE_CONFIG_DEFAULT                                                                                              \
    .settings = {.segment_us = 500000, .rewrite_percent = 100, .rewrite_bytes_min = 64u << 20, .checkpoints = 2}, .segment_bytes = 8u << 20, \
    .waiting_bytes = 64u << 20, .part_bytes = 8u << 20, .poll_us = 10000000, .source.until_ms = INT64_MAX

struct archive;
struct archive *archive_new(const struct archive_config *config);
void archive_free(struct archive *a); /* what is on its way may still arrive, or never */

/* Microseconds until it wants to be called again at the latest. */
int64_t archive_step(struct archive *a, struct now now);

#define ARCHIVE_PHASES(X)                                                                    \
    X(PROBING, "probing the store")                                                          \
    X(CLAIMING, "making sure that nobody else is this node")                                 \
    X(READING, "reading")                                                                    \
    X(STREAMING, "streaming")                                                                \
    X(STOPPED, "stopped")
enum archive_phase {
#define X(symbol, text) ARCHIVE_##symbol,
    ARCHIVE_PHASES(X)
#undef X
};
const char *archive_phase_text(enum archive_phase phase);
enum archive_phase archive_phase(struct archive *a);

/* A shard has own mutations that were not streamed. Cheap. */
void archive_dirty(struct archive *a, uint32_t shard);
/* Others are about to be told of the shard's own mutations, and may then write what presupposes them: so they are captured now, as
 * they are. Later they would be seen as what others have made of them, and if that is lost, so were they. With the shard's lock. */
void archive_tells(struct archive *a, uint32_t shard);
void archive_members(struct archive *a, struct bytes table);
/* The shards have started over, empty, and write as another replica. */
void archive_reset(struct archive *a, struct replica_id self);
/* The processes that are up, but for this one. Of others, what is here and they did not get to stream is streamed by us, and what
 * they streamed and is not here is read. */
void archive_alive(struct archive *a, const struct replica_id *ids, size_t count);
/* Whether all that a process ever streamed is here, and no more can come. If that is not known, its stream is read to its end.
 * `close`: and closed there, so that it cannot go on even if it still lives. `for_good`: closed by others than its node's next
 * process, which goes on with what it left on the disk: that one, too, will then find that this is void. */
bool archive_is_closed(struct archive *a, struct replica_id id, bool close, bool for_good);
/* A checkpoint, soon, however little has grown. */
void archive_save(struct archive *a);
void archive_set(struct archive *a, const struct archive_settings *settings);
/* From here on nothing waits for segment_us. */
void archive_flush(struct archive *a);
/* Everything that was written before archive_flush is in the store. */
bool archive_is_flushed(struct archive *a);

#define ARCHIVE_COUNTS(X)                                               \
    X(segments, "segments stored")                                      \
    X(segment_bytes, "their bytes")                                     \
    X(segment_images, "shards of which an image was streamed")          \
    X(closed, "streams of others that were closed")                     \
    X(tails, "processes that died before they had streamed all")        \
    X(checkpoints, "checkpoints stored")                                \
    X(checkpoint_bytes, "bytes of their objects")                       \
    X(checkpoints_lost, "checkpoints given up, somebody else's was better") \
    X(manifests_taken, "numbers of manifests that somebody else took first") \
    X(deleted, "objects deleted")                                       \
    X(failures, "requests that failed")                                 \
    X(compared, "objects found in our place and compared with ours")    \
    X(read_objects, "objects read back")                                \
    X(read_bytes, "their bytes")                                        \
    X(read_images, "images applied")                                    \
    X(read_messages, "messages of deltas applied")                      \
    X(read_gaps, "deltas left out whose predecessors are missing")      \
    X(read_damaged, "objects left out, damaged")                        \
    X(read_missing, "objects that vanished while being read")           \
    X(read_again, "times that reading began anew")

struct archive_status {
    enum archive_phase phase;
    char why[STORE_WHY_BYTES + 128]; /* STOPPED: why; else the last failure */
    uint64_t to_read;       /* objects still to be read, as far as known */
    uint64_t manifest;      /* the newest known; 0: none */
    int64_t behind_us;      /* how long the oldest own mutation has been waiting, at least 1; 0: none waits, if STREAMING */
    bool checkpointing;
#define X(name, help) uint64_t name;
    ARCHIVE_COUNTS(X)
#undef X
};
void archive_status(struct archive *a, int64_t now_us, struct archive_status *out);

#endif
