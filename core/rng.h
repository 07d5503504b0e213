/* Seeded random numbers: xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64.
 * The only randomness in simulated code; never for secrets. */
#ifndef ANNEAL_CORE_RNG_H
#define ANNEAL_CORE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

static inline uint64_t rng_mix(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline void rng_seed(struct rng *rng, uint64_t seed) {
    for (int i = 0; i < 4; i++) rng->s[i] = rng_mix(&seed);
}

static inline uint64_t rng_next(struct rng *rng) {
    uint64_t *s = rng->s, r = s[1] * 5, t = s[1] << 17;
    r = ((r << 7) | (r >> 57)) * 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return r;
}

/* Uniform in [0, bound); bound > 0. */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound) {
    return (uint64_t)(((unsigned __int128)rng_next(rng) * bound) >> 64);
}

/* True once in `percent` of 100. */
static inline int rng_percent(struct rng *rng, unsigned percent) { return rng_below(rng, 100) < percent; }

#endif
