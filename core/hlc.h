/* Hybrid logical clock: 48 bits of Unix milliseconds, 16 of logic (Kulkarni et al. 2014).
 * It breaks ties between concurrent writes and nothing else. */
#ifndef ANNEAL_CORE_HLC_H
#define ANNEAL_CORE_HLC_H

#include <stdbool.h>
#include <stdint.h>

/* Moves *clock past both itself and the wall, and returns it. */
static inline uint64_t hlc_tick(uint64_t *clock, int64_t wall_ms) {
    uint64_t wall = wall_ms > 0 ? (uint64_t)wall_ms << 16 : 0;
    *clock = wall > *clock ? wall : *clock + 1;
    return *clock;
}

/* A peer's clock pulls ours, but never further than ahead_ms_max beyond our wall.
 * False if it was further than that. */
static inline bool hlc_observe(uint64_t *clock, uint64_t remote, int64_t wall_ms, int64_t ahead_ms_max) {
    uint64_t most = wall_ms + ahead_ms_max > 0 ? (uint64_t)(wall_ms + ahead_ms_max) << 16 : 0;
    bool sane = remote <= most;
    if (!sane) remote = most;
    if (remote > *clock) *clock = remote;
    return sane;
}

#endif
