#include "lattice/element.h"

#include <assert.h>

#include "core/mutant.h"
#include "lattice/hash.h"

/* ------------------------------------------------------------ increments */

__int128 increment_value(const struct increment *i) {
    if (!increment_live(i)) return 0;
    return i->floor_n >= i->gen || MUTANT(floor_of_before) ? fixed_add(i->total, -i->floor) : i->total;
}

bool increment_join(struct increment *into, const struct increment *from) {
    assert(into->replica == from->replica);
    bool changed = false;
    if (from->n > into->n) {
        into->n = from->n;
        into->gen = from->gen;
        into->clock = from->clock;
        into->total = from->total;
        changed = true;
    }
    if (MUTANT(floor_by_total) ? from->floor > into->floor : from->floor_n > into->floor_n) {
        into->floor_n = from->floor_n;
        into->floor = from->floor;
        changed = true;
    }
    return changed;
}

/* First entry whose replica is not below the one asked for. */
static uint32_t increment_place(const struct element *e, uint16_t replica) {
    uint32_t low = 0, high = e->increment_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (e->increments[middle].replica < replica) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct increment *element_increment(const struct element *e, uint16_t replica) {
    uint32_t at = increment_place(e, replica);
    if (at == e->increment_count || e->increments[at].replica != replica) return NULL;
    return &e->increments[at];
}

static struct increment *increment_insert(struct element *e, uint16_t replica, struct mem_account *account) {
    uint32_t at = increment_place(e, replica), count = e->increment_count;
    struct increment *grown = mem_retake(account, e->increments, count * sizeof *grown, (count + 1) * sizeof *grown);
    memmove(grown + at + 1, grown + at, (count - at) * sizeof *grown);
    grown[at] = (struct increment){.replica = replica};
    e->increments = grown;
    e->increment_count = count + 1;
    return &grown[at];
}

bool increment_heard(const struct increment *here, const struct increment *from, uint64_t applied, struct increment *out) {
    struct increment floor = {.replica = from->replica, .floor_n = from->floor_n, .floor = from->floor};
    bool known = from->n != 0 && from->n <= applied && !MUTANT(forgotten_returns);
    bool ahead = from->floor_n > applied && !MUTANT(known_floor_dropped);
    if (!here && ((known && !ahead) || (MUTANT(early_floor_dropped) && !from->n))) return false;
    *out = here ? *here : (struct increment){.replica = from->replica};
    increment_join(out, known && !MUTANT(floor_revives) ? &floor : from);
    return true;
}

void element_join_increment(struct element *e, const struct increment *from, uint64_t applied, struct mem_account *account) {
    struct increment *here = element_increment(e, from->replica), joined;
    if (increment_heard(here, from, applied, &joined)) *(here ? here : increment_insert(e, from->replica, account)) = joined;
}

void increment_increase(struct increment *i, uint64_t n, uint64_t clock, __int128 by) {
    assert(n > i->n);
    if (!increment_live(i)) {
        i->gen = n;
        i->total = 0;
    }
    i->total = fixed_add(i->total, by);
    i->n = n;
    i->clock = clock;
}

void element_increase(struct element *e, uint16_t self, uint64_t n, uint64_t clock, __int128 by,
                      struct mem_account *account) {
    struct increment *mine = element_increment(e, self);
    increment_increase(mine ? mine : increment_insert(e, self, account), n, clock, by);
}

bool element_reset_increments(struct element *e) {
    bool any = false;
    for (uint32_t i = 0; i < e->increment_count; i++) {
        struct increment *inc = &e->increments[i];
        if (!increment_live(inc) && !MUTANT(floor_lowered)) continue;
        inc->floor_n = inc->n;
        inc->floor = inc->total;
        any = true;
    }
    return any;
}

void element_drop_increments_if(struct element *e, bool (*gone)(const struct increment *i, const void *arg),
                                const void *arg, struct mem_account *account) {
    uint32_t count = e->increment_count, kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!gone(&e->increments[i], arg)) e->increments[kept++] = e->increments[i];
    if (kept == count) return;
    struct increment *fewer = kept ? mem_take(account, kept * sizeof *fewer) : NULL;
    if (kept) memcpy(fewer, e->increments, kept * sizeof *fewer);
    mem_give(account, e->increments, count * sizeof *fewer);
    e->increments = fewer;
    e->increment_count = kept;
}

static bool is_ahead(const struct increment *i, const struct vclock *applied) {
    return i->floor_n > vclock_get(applied, i->replica) && !MUTANT(floor_ahead_forgotten);
}

bool increment_over(const struct increment *i, const void *applied) { return !increment_live(i) && !is_ahead(i, applied); }

bool element_awaits(const struct element *e, const struct vclock *applied) {
    for (uint32_t i = 0; i < e->increment_count; i++)
        if (is_ahead(&e->increments[i], applied)) return true;
    return false;
}

bool element_has_increments(const struct element *e) {
    for (uint32_t i = 0; i < e->increment_count; i++)
        if (increment_live(&e->increments[i])) return true;
    return false;
}

/* Saturation does not associate, so the sum is made in two halves, what was added and what
 * was taken away: within a half, saturating addition does not depend on the order, which
 * follows the indexes that this node happened to give the replicas. */
__int128 element_sum(const struct element *e) {
    unsigned __int128 up = 0, down = 0;
    const unsigned __int128 most = ((unsigned __int128)1 << 127) - 1;
    for (uint32_t i = 0; i < e->increment_count; i++) {
        __int128 value = increment_value(&e->increments[i]);
        unsigned __int128 *side = value < 0 ? &down : &up;
        unsigned __int128 size = value < 0 ? (unsigned __int128)0 - (unsigned __int128)value
                                           : (unsigned __int128)value;
        *side = size > most - *side ? most : *side + size;
    }
    return (__int128)up - (__int128)down;
}

/* -------------------------------------------------------------- siblings */

void element_add(struct element *e, struct dot dot, uint64_t clock, struct bytes value,
                 struct mem_account *account) {
    uint32_t count = e->sibling_count, at = 0;
    while (at < count && e->siblings[at].dot.v < dot.v) at++;
    assert(at == count || e->siblings[at].dot.v != dot.v);
    struct sibling fresh = {.dot = dot, .clock = clock, .len = (uint32_t)value.len};
    if (value.len) fresh.data = memcpy(mem_take(account, value.len), value.data, value.len);
    struct sibling *grown = mem_take(account, (count + 1) * sizeof *grown);
    if (at > 0) memcpy(grown, e->siblings, at * sizeof *grown);
    if (at < count) memcpy(grown + at + 1, e->siblings + at, (count - at) * sizeof *grown);
    grown[at] = fresh;
    mem_give(account, e->siblings, count * sizeof *grown);
    e->siblings = grown;
    e->sibling_count = count + 1;
}

uint32_t element_drop_if(struct element *e, bool (*gone)(struct dot dot, const void *arg),
                         const void *arg, struct mem_account *account) {
    uint32_t count = e->sibling_count, kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct sibling s = e->siblings[i];
        if (gone(s.dot, arg))
            mem_give(account, s.data, s.len);
        else
            e->siblings[kept++] = s;
    }
    if (kept == count) return 0;
    struct sibling *fewer = kept ? mem_take(account, kept * sizeof *fewer) : NULL;
    if (kept) memcpy(fewer, e->siblings, kept * sizeof *fewer);
    mem_give(account, e->siblings, count * sizeof *fewer);
    e->siblings = fewer;
    e->sibling_count = kept;
    return count - kept;
}

static bool is_dot(struct dot dot, const void *arg) { return dot.v == ((const struct dot *)arg)->v; }

bool element_drop(struct element *e, struct dot dot, struct mem_account *account) {
    return element_drop_if(e, is_dot, &dot, account) != 0;
}

const struct sibling *element_find(const struct element *e, struct dot dot) {
    for (uint32_t i = 0; i < e->sibling_count; i++)
        if (e->siblings[i].dot.v == dot.v) return &e->siblings[i];
    return NULL;
}

const struct sibling *element_newest(const struct element *e, const struct replicas *replicas) {
    const struct sibling *best = NULL;
    for (uint32_t i = 0; i < e->sibling_count; i++) {
        const struct sibling *s = &e->siblings[i];
        if (!best || s->clock > best->clock ||
            (s->clock == best->clock && !MUTANT(tie_by_arrival) &&
             replica_id_compare(replicas_id(replicas, dot_replica(s->dot)),
                                replicas_id(replicas, dot_replica(best->dot))) > 0))
            best = s;
    }
    return best;
}

/* --------------------------------------------------------------- element */

bool element_live(const struct element *e) { return e->sibling_count > 0 || element_has_increments(e); }

static bool every_dot(struct dot dot, const void *arg) {
    (void)dot;
    (void)arg;
    return true;
}

void element_fini(struct element *e, struct mem_account *account) {
    element_drop_if(e, every_dot, NULL, account);
    mem_give(account, e->increments, e->increment_count * sizeof *e->increments);
    *e = (struct element){0};
}

/* Commutative over entries (a sum), so the order of the arrays, which follows this node's
 * replica indexes, does not show. */
uint64_t element_hash(const struct element *e, const struct replicas *replicas, uint64_t key_hash,
                      uint64_t field_hash) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < e->sibling_count; i++) {
        const struct sibling *s = &e->siblings[i];
        struct replica_id id = replicas_id(replicas, dot_replica(s->dot));
        uint64_t content = hash_content(bytes_of(s->data, s->len), dot_counter(s->dot));
        uint64_t words[6] = {key_hash, field_hash, id.node, id.incarnation, s->clock, content};
        sum += hash_content(bytes_of(words, sizeof words), 1);
    }
    for (uint32_t i = 0; i < e->increment_count; i++) {
        const struct increment *inc = &e->increments[i];
        if (!increment_live(inc)) continue;
        struct replica_id id = replicas_id(replicas, inc->replica);
        __int128 value = increment_value(inc);
        uint64_t words[7] = {key_hash, field_hash, id.node, id.incarnation, inc->n,
                             (uint64_t)value, (uint64_t)((unsigned __int128)value >> 64)};
        sum += hash_content(bytes_of(words, sizeof words), 2);
    }
    return sum;
}
