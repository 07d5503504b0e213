#include "lattice/dot.h"

#include <assert.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"

int replica_id_compare(struct replica_id a, struct replica_id b) {
    if (a.node != b.node) return a.node < b.node ? -1 : 1;
    return (a.incarnation > b.incarnation) - (a.incarnation < b.incarnation);
}

/* ---------------------------------------------------------------- replicas
 * Chunks never move once they are there, so a reader that got an index by a message or a
 * shard's lock may look it up while another thread adds. Slots, which find the index of an id, are read
 * and moved under the lock alone: open addressing, at most half full. */

#define CHUNK 256u

struct replicas {
    pthread_mutex_t lock;
    struct replica_id *chunks[(REPLICAS_MAX + CHUNK) / CHUNK];
    uint32_t count; /* index 0 included */
    uint16_t *slots;
    uint32_t slot_count;
};

struct replicas *replicas_new(void) {
    struct replicas *replicas = mem_zero(1, sizeof *replicas);
    pthread_mutex_init(&replicas->lock, NULL);
    replicas->chunks[0] = mem_zero(CHUNK, sizeof(struct replica_id));
    replicas->count = 1;
    return replicas;
}

void replicas_free(struct replicas *replicas) {
    for (uint32_t i = 0; i < sizeof replicas->chunks / sizeof *replicas->chunks; i++) mem_free(replicas->chunks[i]);
    mem_free(replicas->slots);
    pthread_mutex_destroy(&replicas->lock);
    mem_free(replicas);
}

struct replica_id replicas_id(const struct replicas *replicas, uint16_t index) {
    struct replica_id *chunk = __atomic_load_n(&replicas->chunks[index / CHUNK], __ATOMIC_ACQUIRE);
    assert(chunk);
    return chunk[index % CHUNK];
}

static uint16_t *slot_of(const struct replicas *replicas, struct replica_id id) {
    uint64_t state = id.node ^ id.incarnation * 0x9e3779b97f4a7c15u;
    uint32_t mask = replicas->slot_count - 1, at = (uint32_t)rng_mix(&state) & mask;
    while (replicas->slots[at] && replica_id_compare(replicas_id(replicas, replicas->slots[at]), id) != 0) at = (at + 1) & mask;
    return &replicas->slots[at];
}

static void grow_slots(struct replicas *replicas) {
    mem_free(replicas->slots);
    replicas->slot_count = replicas->slot_count ? 2 * replicas->slot_count : CHUNK;
    replicas->slots = mem_zero(replicas->slot_count, sizeof *replicas->slots);
    for (uint32_t i = 1; i < replicas->count; i++) *slot_of(replicas, replicas_id(replicas, (uint16_t)i)) = (uint16_t)i;
}

static enum status add_replica(struct replicas *replicas, struct replica_id id) {
    uint32_t at = replicas->count;
    if (at > REPLICAS_MAX) return STATUS_ERR_LIMIT;
    struct replica_id *chunk = replicas->chunks[at / CHUNK];
    if (!chunk) chunk = mem_zero(CHUNK, sizeof *chunk);
    chunk[at % CHUNK] = id;
    __atomic_store_n(&replicas->chunks[at / CHUNK], chunk, __ATOMIC_RELEASE);
    replicas->count++;
    return STATUS_OK;
}

enum status replicas_intern(struct replicas *replicas, struct replica_id id, uint16_t *index) {
    enum status status = STATUS_OK;
    pthread_mutex_lock(&replicas->lock);
    if (2 * replicas->count >= replicas->slot_count) grow_slots(replicas);
    uint16_t *slot = slot_of(replicas, id);
    if (!*slot && (status = add_replica(replicas, id)) == STATUS_OK) *slot = (uint16_t)(replicas->count - 1);
    if (status == STATUS_OK) *index = *slot;
    pthread_mutex_unlock(&replicas->lock);
    return status;
}

/* ----------------------------------------------------------------- vectors */

static void vclock_grow(struct vclock *v, uint32_t count) {
    if (count <= v->count) return;
    v->counter = mem_realloc(v->counter, count * sizeof *v->counter);
    memset(v->counter + v->count, 0, (count - v->count) * sizeof *v->counter);
    v->count = count;
}

void vclock_raise(struct vclock *v, uint16_t replica, uint64_t counter) {
    if (counter == 0) return;
    vclock_grow(v, (uint32_t)replica + 1);
    if (counter > v->counter[replica]) v->counter[replica] = counter;
}

void vclock_join(struct vclock *into, const struct vclock *from) {
    vclock_grow(into, from->count);
    for (uint32_t i = 0; i < from->count; i++)
        if (from->counter[i] > into->counter[i]) into->counter[i] = from->counter[i];
}

bool vclock_covers(const struct vclock *a, const struct vclock *b) {
    for (uint32_t i = 0; i < b->count; i++)
        if (b->counter[i] > vclock_get(a, (uint16_t)i)) return false;
    return true;
}

void vclock_copy(struct vclock *to, const struct vclock *from) {
    *to = (struct vclock){0};
    vclock_join(to, from);
}

void vclock_fini(struct vclock *v) {
    mem_free(v->counter);
    *v = (struct vclock){0};
}

/* ---------------------------------------------------------------- contexts */

static uint32_t extra_place(const struct context *c, struct dot dot) {
    uint32_t low = 0, high = c->extra_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c->extra[middle].v < dot.v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool context_has_extra(const struct context *c, struct dot dot) {
    uint32_t at = extra_place(c, dot);
    return at < c->extra_count && c->extra[at].v == dot.v;
}

void context_add(struct context *c, struct dot dot) {
    if (context_has(c, dot)) return;
    uint32_t at = extra_place(c, dot);
    if (c->extra_count == c->extra_cap) {
        c->extra_cap = c->extra_cap ? c->extra_cap * 2 : 8;
        c->extra = mem_realloc(c->extra, c->extra_cap * sizeof *c->extra);
    }
    memmove(c->extra + at + 1, c->extra + at, (c->extra_count - at) * sizeof *c->extra);
    c->extra[at] = dot;
    c->extra_count++;
}

int dot_compare(const void *a, const void *b) {
    uint64_t x = ((const struct dot *)a)->v, y = ((const struct dot *)b)->v;
    return (x > y) - (x < y);
}

#define FEW 8u

/* A DEL lists every dot of a large set: one by one, each would move all that is behind it. */
void context_add_all(struct context *c, const struct dot *sorted, uint32_t count) {
    for (; count && context_has(c, *sorted); sorted++) count--;
    if (count < FEW) {
        while (count--) context_add(c, *sorted++);
        return;
    }
    uint32_t cap = c->extra_count + count, kept = 0, at = 0;
    struct dot *extra = mem_alloc(cap * sizeof *extra);
    for (uint32_t i = 0; i < count; i++) {
        while (at < c->extra_count && c->extra[at].v < sorted[i].v) extra[kept++] = c->extra[at++];
        bool repeats = i > 0 && sorted[i].v == sorted[i - 1].v;
        if (!repeats && !context_has(c, sorted[i])) extra[kept++] = sorted[i];
    }
    while (at < c->extra_count) extra[kept++] = c->extra[at++];
    mem_free(c->extra);
    c->extra = extra;
    c->extra_count = kept;
    c->extra_cap = cap;
}

static void prune(struct context *c) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->extra_count; i++) {
        uint64_t counter = dot_counter(c->extra[i]);
        uint16_t replica = dot_replica(c->extra[i]);
        if (counter > vclock_get(&c->applied, replica) && counter > vclock_get(&c->prefix, replica))
            c->extra[kept++] = c->extra[i];
    }
    c->extra_count = kept;
}

/* What is known ahead may be much, and none of this replica: each own write comes here. */
void context_apply(struct context *c, uint16_t replica, uint64_t counter) {
    vclock_raise(&c->applied, replica, counter);
    if (!c->extra_count) return;
    struct dot last = dot_make(replica, vclock_get(&c->applied, replica));
    uint32_t from = extra_place(c, dot_make(replica, 0)), to = extra_place(c, last);
    to += to < c->extra_count && c->extra[to].v == last.v;
    if (to == from) return;
    memmove(c->extra + from, c->extra + to, (c->extra_count - to) * sizeof *c->extra);
    c->extra_count -= to - from;
}

void context_merge(struct context *into, const struct context *from) {
    vclock_join(&into->prefix, &from->applied);
    vclock_join(&into->prefix, &from->prefix);
    context_add_all(into, from->extra, from->extra_count);
    if (into->extra_count) prune(into);
}

void context_merge_applied(struct context *into, const struct context *from) {
    vclock_join(&into->applied, &from->applied);
    if (into->extra_count) prune(into);
}

void context_copy(struct context *to, const struct context *from) {
    *to = (struct context){0};
    vclock_copy(&to->applied, &from->applied);
    vclock_copy(&to->prefix, &from->prefix);
    if (!from->extra_count) return;
    to->extra_count = to->extra_cap = from->extra_count;
    to->extra = mem_alloc(to->extra_cap * sizeof *to->extra);
    memcpy(to->extra, from->extra, to->extra_count * sizeof *to->extra);
}

size_t context_bytes(const struct context *c) {
    return (c->applied.count + c->prefix.count) * sizeof(uint64_t) + c->extra_cap * sizeof *c->extra;
}

void context_fini(struct context *c) {
    vclock_fini(&c->applied);
    vclock_fini(&c->prefix);
    mem_free(c->extra);
    *c = (struct context){0};
}
