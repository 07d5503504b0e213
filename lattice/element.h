/* One element: a multi-value register and a counter, and their join.
 *
 * Register: siblings {dot, clock, bytes}. A write removes every sibling it saw; concurrent
 * writes leave several, of which the newest by (clock, replica id) is read. Losers are kept
 * until a write supersedes them: dropping one at a merge diverges.
 *   order   a state is below another if the other has seen all its dots and kept fewer of them
 *   join    a sibling both hold stays; one that one side holds stays unless the other's
 *           context has its dot (Almeida, Shoker, Baquero 2018)
 * Counter: see increments in README.md; a pointwise maximum, so idempotent, commutative and
 * associative by construction.
 *
 * Not thread-safe: guarded by the lock of the shard that owns it. */
#ifndef ANNEAL_LATTICE_ELEMENT_H
#define ANNEAL_LATTICE_ELEMENT_H

#include "core/bytes.h"
#include "core/mem.h"
#include "lattice/dot.h"
#include "lattice/fixed.h"

struct sibling {
    struct dot dot;
    uint64_t clock; /* hybrid logical clock, breaks ties between concurrent writes only */
    uint8_t *data;  /* owned, unless the element is a view; NULL when len is 0 */
    uint32_t len;
};

struct increment {
    uint16_t replica; /* the owner: only it moves n, gen and total */
    uint64_t n;       /* counter of its newest increment */
    uint64_t gen;     /* counter of the first increment of this generation */
    uint64_t clock;
    __int128 total;   /* since gen, fixed point */
    uint64_t floor_n; /* increments up to here are reset ... */
    __int128 floor;   /* ... when the total was this */
};

struct element {
    struct sibling *siblings; /* owned, sorted by dot */
    uint32_t sibling_count;
    uint32_t increment_count;
    struct increment *increments; /* sorted by replica index */
};

static inline bool increment_live(const struct increment *i) { return i->n > i->floor_n; }
/* What it adds to the value; zero when dead. */
__int128 increment_value(const struct increment *i);
/* into := join(into, from); both of one replica. True if into changed. */
bool increment_join(struct increment *into, const struct increment *from);

void element_fini(struct element *e, struct mem_account *account);

/* Anything to be seen? (A dead increment is not.) */
bool element_live(const struct element *e);
bool element_has_increments(const struct element *e); /* live ones */
/* Sum of the live increments, saturating the same way whatever the order. */
__int128 element_sum(const struct element *e);
/* The sibling that is read, NULL if none. */
const struct sibling *element_newest(const struct element *e, const struct replicas *replicas);
const struct sibling *element_find(const struct element *e, struct dot dot);
struct increment *element_increment(const struct element *e, uint16_t replica);

/* Adds a sibling; its dot must not be there yet. */
void element_add(struct element *e, struct dot dot, uint64_t clock, struct bytes value,
                 struct mem_account *account);
bool element_drop(struct element *e, struct dot dot, struct mem_account *account);
/* Drops siblings for which gone() says so; returns how many. */
uint32_t element_drop_if(struct element *e, bool (*gone)(struct dot dot, const void *arg),
                         const void *arg, struct mem_account *account);
/* Joins one increment entry. `applied` is up to where its replica's mutations are applied here: an entry from up to
 * there that is not here was dead and has been forgotten, and stays so; also where a floor has come
 * since, of an earlier reset. But a floor beyond that is kept: what it resets is still to come. */
void element_join_increment(struct element *e, const struct increment *from, uint64_t applied, struct mem_account *account);
/* What is to become of the entry of from's replica, NULL if there is none. False: there shall be none. */
bool increment_heard(const struct increment *here, const struct increment *from, uint64_t applied, struct increment *out);
/* The owner's next increment, numbered n. A dead entry starts a new generation. */
void increment_increase(struct increment *i, uint64_t n, uint64_t clock, __int128 by);
void element_increase(struct element *e, uint16_t self, uint64_t n, uint64_t clock, __int128 by,
                      struct mem_account *account);
/* SET and DEL: every increment seen is under its floor. True if any was live. */
bool element_reset_increments(struct element *e);
/* Drops increments for which gone() says so. */
void element_drop_increments_if(struct element *e, bool (*gone)(const struct increment *i, const void *arg),
                                const void *arg, struct mem_account *account);
/* Dead, and may be forgotten: only once its reset is causally stable. One whose floor is ahead of what is `applied` (a struct
 * vclock) stays, for what it resets is still to come. */
bool increment_over(const struct increment *i, const void *applied);
bool element_awaits(const struct element *e, const struct vclock *applied); /* there are such */

/* The share of this element in the shard's audit hash; 0 when nothing is live, so a node that
 * has forgotten a dead entry equals one that has not. */
uint64_t element_hash(const struct element *e, const struct replicas *replicas, uint64_t key_hash,
                      uint64_t field_hash);

#endif
