/* Dots and causal contexts.
 *
 * A dot names one mutation: (replica, counter). A context is the set of dots whose fate is
 * known. `applied` is the gapless prefix of mutations applied here (digests, acks and stability
 * speak of it); `prefix` and `extra` hold dots known ahead of it: what FLUSHALL saw, and removed
 * dots that have not arrived. Joins ask the union. Dotted version vectors: Almeida, Baquero,
 * Gonçalves, Preguiça, Fonte 2014.
 *
 * Threads: replicas may be read without a lock and added to from any thread; vectors and
 * contexts are guarded by the lock of their shard. */
#ifndef ANNEAL_LATTICE_DOT_H
#define ANNEAL_LATTICE_DOT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* One start of one node: never used again after it. */
struct replica_id {
    uint64_t node;
    uint64_t incarnation;
};
int replica_id_compare(struct replica_id a, struct replica_id b);

#define REPLICAS_MAX 65535u

/* Identities seen by this node, numbered from 1 in the order they came; 0 is nobody. */
struct replicas;
struct replicas *replicas_new(void);
void replicas_free(struct replicas *replicas);
enum status replicas_intern(struct replicas *replicas, struct replica_id id, uint16_t *index) MUST_CHECK;
struct replica_id replicas_id(const struct replicas *replicas, uint16_t index);

struct dot {
    uint64_t v; /* replica index << 48 | counter; 0 is no dot */
};
_Static_assert(sizeof(struct dot) == 8, "a dot is held by every element");

#define DOT_COUNTER_MAX ((UINT64_C(1) << 48) - 1)
static inline struct dot dot_make(uint16_t replica, uint64_t counter) {
    return (struct dot){(uint64_t)replica << 48 | (counter & DOT_COUNTER_MAX)};
}
static inline uint16_t dot_replica(struct dot dot) { return (uint16_t)(dot.v >> 48); }
static inline uint64_t dot_counter(struct dot dot) { return dot.v & DOT_COUNTER_MAX; }

/* A counter for each replica index; what is missing is 0. Starts as {0}. */
struct vclock {
    uint64_t *counter;
    uint32_t count;
};
static inline uint64_t vclock_get(const struct vclock *v, uint16_t replica) {
    return replica < v->count ? v->counter[replica] : 0;
}
void vclock_raise(struct vclock *v, uint16_t replica, uint64_t counter); /* to the maximum */
void vclock_join(struct vclock *into, const struct vclock *from);
bool vclock_covers(const struct vclock *a, const struct vclock *b); /* a >= b everywhere */
void vclock_copy(struct vclock *to, const struct vclock *from);     /* to is overwritten, not freed */
void vclock_fini(struct vclock *v);

struct context {
    struct vclock applied;
    struct vclock prefix;
    struct dot *extra; /* sorted, all beyond applied and prefix */
    uint32_t extra_count, extra_cap;
};
bool context_has_extra(const struct context *c, struct dot dot);
static inline bool context_has(const struct context *c, struct dot dot) {
    uint16_t replica = dot_replica(dot);
    uint64_t counter = dot_counter(dot);
    return counter <= vclock_get(&c->applied, replica) || counter <= vclock_get(&c->prefix, replica) ||
           (c->extra_count && context_has_extra(c, dot));
}
/* The dot's fate is known, ahead of its mutation. */
void context_add(struct context *c, struct dot dot);
void context_add_all(struct context *c, const struct dot *sorted, uint32_t count); /* may repeat */
int dot_compare(const void *a, const void *b); /* of dots, for qsort and bsearch */
/* Every mutation of the replica up to counter is applied. */
void context_apply(struct context *c, uint16_t replica, uint64_t counter);
/* Knows what `from` knows; `applied` stays. */
void context_merge(struct context *into, const struct context *from);
void context_merge_applied(struct context *into, const struct context *from);
void context_copy(struct context *to, const struct context *from); /* to is overwritten, not freed */
size_t context_bytes(const struct context *c); /* that it points to */
void context_fini(struct context *c);

#endif
