/* Keeps a node's shards on its disk: a log of what was applied, compacted by checkpoints.
 *
 *   anneal-log.N          records of mutations, own and remote, in the order they were applied
 *   anneal-checkpoint.N   an image of every shard; covers all logs below N
 *
 * A record is a message of deltas, an image of one shard, a reset, or who is in the
 * cluster. All of them are joined, so
 * reading them again, in any order and any number of times, does no harm; a delta whose
 * predecessor was lost is left out and counted, and peers fill the gap.
 *
 * What the acknowledgement of a write means is up to the policy: under SYNC_ALWAYS it survives
 * the machine, under SYNC_EVERYSEC it survives the process, and the machine but for the last
 * second or two, under SYNC_NO it survives the process.
 *
 * A disk that fails: keeper_commit says so, what was to be acknowledged must not be, and no
 * write may be taken until keeper_failure is OK again. About every second keeper_step tries to
 * begin a new log with a new checkpoint; once that is on the disk, all is well. A process that ends before that leaves word
 * to the next, which begins as one whose disk has failed: what it reads back may never reach the disk.
 *
 * Threads: keeper_dirty, keeper_commit, keeper_arriving, keeper_deltas, keeper_changed, keeper_members, keeper_status and
 * keeper_save from any; keeper_step from one; never with a shard's lock, but where it says so. */
#ifndef ANNEAL_PERSIST_KEEPER_H
#define ANNEAL_PERSIST_KEEPER_H

#include <stdatomic.h>

#include "core/port.h"
#include "lattice/shard.h"
#include "persist/disk.h"

enum keeper_sync { SYNC_NO, SYNC_EVERYSEC, SYNC_ALWAYS };

struct keeper_config {
    struct disk_port disk;
    struct shard *const *shards;
    uint32_t shard_count;
    struct replicas *replicas;
    const char *cluster; /* its name: files of another one are refused */
    bool logs;           /* without it there are only the checkpoints that are asked for */
    enum keeper_sync sync;
    uint32_t threads;    /* that read images back; 0 is 1 */
    uint64_t image_bytes_max; /* of one shard; 0: as much as a record takes */
    uint64_t rewrite_percent;  /* a log that has grown by so much over the last checkpoint is compacted; 0: never */
    uint64_t rewrite_bytes_min;
    /* One line for the log; may be NULL. */
    void (*note)(void *arg, const char *text);
    void *arg;
};

struct keeper;
struct keeper *keeper_new(const struct keeper_config *config);
void keeper_free(struct keeper *k);

#define KEEPER_RECOVERY(X)                                                              \
    X(checkpoints) X(logs)   /* files */                                                \
    X(images) X(messages)    /* records that were applied */                            \
    X(gaps)                  /* deltas whose predecessors are not here */               \
    X(malformed)             /* records that no longer make sense */                    \
    X(damaged) X(damaged_bytes) X(torn_bytes) /* see journal.h */
struct keeper_recovery {
#define X(name) uint64_t name;
    KEEPER_RECOVERY(X)
#undef X
};
/* Reads everything into the shards, syncs what it read, then opens a new log. Before anyone else uses the shards.
 * ERR_CLUSTER: the files belong to another cluster, or another number of shards; none was
 * changed. Nor is one if any cannot be read to its end: what the disk refuses is no damage, and may come back. Damage is put aside
 * in a file anneal-damage.N, and does not fail. */
enum status keeper_recover(struct keeper *k, int64_t now_ms, struct keeper_recovery *out, struct buf *error) MUST_CHECK;

/* A shard has own mutations that are not logged. Cheap; with any locks. */
void keeper_dirty(struct keeper *k, uint32_t shard);
/* Before replies go out: all that is dirty is as durable as the policy says. */
enum status keeper_commit(struct keeper *k) MUST_CHECK;
/* What nobody waits for, own or remote, goes to the operating system as well. A failure is found
 * by keeper_failure. Cheap if there is nothing. */
void keeper_flush(struct keeper *k);
/* As keeper_commit, and it survives the machine, whatever the policy. ERR_NOT_FOUND if nothing is logged. */
enum status keeper_sync(struct keeper *k) MUST_CHECK;
/* Remote mutations were applied to the shard, of a message that keeper_deltas is given next. Until then who logs own mutations, and
 * syncs each commit, logs what they came upon by an image. With the shard's lock. */
void keeper_arriving(struct keeper *k, uint32_t shard);
/* The message in which they came (wire.h), a number and then (shard + 1, delta)* 0. One at a time. */
void keeper_deltas(struct keeper *k, struct bytes message);
/* The shard has changed by what no message of deltas tells: an image follows within a second, and where each commit is synced,
 * with the next own mutation. Cheap; with the shard's lock, or what is written meanwhile comes first. */
void keeper_changed(struct keeper *k, uint32_t shard);
/* Who is in the cluster: a text of gossip's own, the last of which comes back. Survives the machine. */
void keeper_members(struct keeper *k, struct bytes table);
/* What came back; as long as nothing is put into its place. */
struct bytes keeper_members_found(const struct keeper *k);
/* The shards are about to start over: until keeper_reset, by the same thread, nothing of them is logged, and who commits waits. Else
 * what is written meanwhile could count as logged by the numbers of before, or be logged in front of what voids it. */
void keeper_reset_begin(struct keeper *k);
/* They have, and are empty but for that. Survives the machine: peers must not hear of it before that. */
void keeper_reset(struct keeper *k);

/* What is due: the sync of each second, images, checkpoints. Returns the microseconds until it
 * wants to be called again at the latest. */
int64_t keeper_step(struct keeper *k, struct now now);
/* Everything is logged and synced, before the process ends. */
enum status keeper_close(struct keeper *k) MUST_CHECK;

/* A checkpoint, soon. Returns what keeper_status.saves will have reached when it has ended, well or
 * not. 0 if one is running or about to, unless it is to come after that one (`after`). */
uint64_t keeper_save(struct keeper *k, bool after);
void keeper_set_sync(struct keeper *k, enum keeper_sync sync);
void keeper_set_rewrite(struct keeper *k, uint64_t percent, uint64_t bytes_min);
/* OK, or why writes must be refused. */
enum status keeper_failure(struct keeper *k);

struct keeper_status {
    bool logs;
    bool saving;              /* a checkpoint is under way, or asked for */
    enum status failure;      /* as keeper_failure */
    enum status last_save;    /* how the last checkpoint ended */
    uint64_t saves;           /* checkpoints that ended */
    int64_t saved_at_ms;      /* when the last good one did; 0: none since the start */
    uint64_t log_bytes, checkpoint_bytes; /* of what there is to be read, also where no log is kept any more */
    uint64_t commits_failed;
    struct keeper_recovery recovery;
};
void keeper_status(struct keeper *k, struct keeper_status *out);

#endif
