/* A disk in memory that does what disks do: forgets what was not synced when the machine stops,
 * tears the last write, fills up, fails, and for good: what a sync that failed was to write, no later one does.
 *
 * Names are durable at once, which is what the port promises of rename and open-then-sync. */
#ifndef ANNEAL_SIM_DISK_H
#define ANNEAL_SIM_DISK_H

#include "core/rng.h"
#include "persist/disk.h"

#define DISK_STATS(X)                                             \
    X(appends_failed, "appends that failed")                      \
    X(syncs_failed, "syncs that failed")                          \
    X(full, "appends to full disks")                              \
    X(unsynced, "files that lost what was not synced")            \
    X(holes, "files that lost a part, and kept what was written behind it") \
    X(doomed, "files that lost what a sync had failed on")

struct disk_stats {
#define X(name, help) uint64_t name;
    DISK_STATS(X)
#undef X
};

struct disk_sim;
struct disk_sim *disk_sim_new(uint64_t seed);
void disk_sim_free(struct disk_sim *disk);
struct disk_port disk_sim_port(struct disk_sim *disk);

/* The machine stops: of what was not synced an arbitrary part stays, and the last bytes of that may be
 * garbage, or parts of it missing; what a sync had failed on is zeros, were it synced since or not. Files that were open are closed. */
void disk_sim_crash(struct disk_sim *disk);
/* Only the process stops: what was written stays. */
void disk_sim_kill(struct disk_sim *disk);
/* Of so many in a million calls; an append that fails may have done a part of its work. */
void disk_sim_fail(struct disk_sim *disk, uint32_t appends, uint32_t syncs);
/* Of so many percent of the files that are not synced when the machine stops any 512 bytes may be zeros, not only the last. */
void disk_sim_holes(struct disk_sim *disk, unsigned percent);
/* The process that uses it ends (memory_end) at so many operations from now on, before or after that one is carried out; 0: it
 * does not. Not those that only read. After that disk_sim_is_dark, until disk_sim_crash or disk_sim_kill. */
void disk_sim_dark(struct disk_sim *disk, uint64_t operations);
bool disk_sim_is_dark(const struct disk_sim *disk);
/* No byte more than these, in all files; UINT64_MAX for no limit. */
void disk_sim_limit(struct disk_sim *disk, uint64_t bytes);
/* Flips a bit somewhere; false if there are no bytes. */
bool disk_sim_rot(struct disk_sim *disk);
bool disk_sim_has(const struct disk_sim *disk, const char *name);
uint64_t disk_sim_bytes(const struct disk_sim *disk);
void disk_sim_stats(const struct disk_sim *disk, struct disk_stats *out);

#endif
