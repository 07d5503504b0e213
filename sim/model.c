#include "sim/model.h"

#include <stdio.h>

#include "core/mem.h"

/* Numbers of writes, in order, each with its slot, and those that it may take away from: most have nothing to do with most others. */
struct numbers {
    struct numbered {
        uint32_t number, slot, takes;
    } *at;
    size_t count, cap;
};

struct origin {
    uint64_t node, incarnation;
};

struct model {
    struct origin *origins;
    uint32_t origin_count;
    struct model_op *ops;
    uint32_t *gone_by; /* by whom each was found gone last, and had not been dead before: likely so again. 0: nobody */
    size_t count, cap;
    struct numbers of_key[MODEL_KEYS + 1]; /* those that touch a key, FLUSHALL too; the last: all */
};

struct model *model_new(void) { return mem_zero(1, sizeof(struct model)); }

void model_free(struct model *m) {
    for (size_t i = 0; i < m->count; i++) {
        mem_free(m->ops[i].had);
        mem_free(m->ops[i].removed);
        mem_free(m->ops[i].dead);
    }
    for (size_t k = 0; k <= MODEL_KEYS; k++) mem_free(m->of_key[k].at);
    mem_free(m->origins);
    mem_free(m->ops);
    mem_free(m->gone_by);
    mem_free(m);
}

static void numbers_add(struct numbers *n, struct numbered write) {
    if (n->count == n->cap) n->at = mem_realloc(n->at, (n->cap = n->cap ? n->cap * 2 : 64) * sizeof *n->at);
    n->at[n->count++] = write;
}

/* The place of the first beyond it. */
static size_t numbers_after(const struct numbers *n, size_t number) {
    size_t low = 0, high = n->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (n->at[middle].number > number) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* The newest are asked for most. */
static uint32_t origin_of(struct model *m, const struct model_seen *at) {
    for (uint32_t i = m->origin_count; i > 0; i--)
        if (m->origins[i - 1].incarnation == at->incarnation && m->origins[i - 1].node == at->node) return i - 1;
    m->origins = mem_realloc(m->origins, (m->origin_count + 1) * sizeof *m->origins);
    m->origins[m->origin_count] = (struct origin){at->node, at->incarnation};
    return m->origin_count++;
}

static uint64_t *by_origin(struct model *m, const struct model_seen *seen, uint32_t seen_count, uint32_t *count) {
    uint64_t *upto = mem_zero((size_t)m->origin_count + seen_count + 1, sizeof *upto);
    for (uint32_t i = 0; i < seen_count; i++) upto[origin_of(m, &seen[i])] = seen[i].counter;
    *count = m->origin_count;
    return upto;
}

struct model_cut model_cut(struct model *m, uint32_t shard, const struct model_seen *seen, uint32_t count) {
    struct model_cut cut = {.shard = shard};
    cut.upto = by_origin(m, seen, count, &cut.count);
    return cut;
}

void model_cut_fini(struct model_cut *cut) { mem_free(cut->upto); }

static bool covers(const uint64_t *upto, uint32_t count, const struct model_op *op) {
    return op->origin < count && upto[op->origin] >= op->at.counter;
}

static bool in_cut(const struct model_op *op, const struct model_cut *cut) { return op->shard == cut->shard && covers(cut->upto, cut->count, op); }
static bool had(const struct model_op *b, const struct model_op *a) { return covers(b->had, b->had_count, a); }

static bool is_of_field(enum model_kind kind) { return kind >= MODEL_SADD; }
static bool is_of_set(enum model_kind kind) { return kind == MODEL_SADD || kind == MODEL_SREM; }

/* Does b take away what a wrote, if its node showed it? */
static bool removes(const struct model_op *b, const struct model_op *a) {
    if (b->key != a->key && b->key != MODEL_KEYS) return false;
    switch (b->kind) {
    case MODEL_DEL:
    case MODEL_SET: return true;
    case MODEL_SADD: /* the member stays, by the new write */
    case MODEL_SREM: return a->kind == MODEL_SADD && a->field == b->field;
    case MODEL_HDEL:
    case MODEL_HSET: return is_of_field(a->kind) && !is_of_set(a->kind) && a->field == b->field;
    default: return false;
    }
}

/* Where a write is, as a bit: one for the string, one for each member, one for each field. */
static uint32_t slot_of(enum model_kind kind, uint32_t field) {
    if (!is_of_field(kind)) return 1;
    return 1u << (1 + field + (is_of_set(kind) ? 0 : MODEL_FIELDS));
}

/* As `removes` will have it, of writes of its key. */
static uint32_t slots_taken(const struct model_op *b) {
    if (b->kind == MODEL_DEL || b->kind == MODEL_SET) return UINT32_MAX;
    return b->kind == MODEL_INCR || b->kind == MODEL_HINCR ? 0 : slot_of(b->kind, b->field);
}

enum life { GONE, OPEN, LIVES };

static bool has_number(const uint32_t *numbers, uint32_t count, size_t number) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (numbers[middle] < number) low = middle + 1;
        else high = middle;
    }
    return low < count && numbers[low] == number;
}

static bool took(const struct model_op *b, size_t number) { return has_number(b->removed, b->removed_count, number); }
static bool took_dead(const struct model_op *b, size_t number) { return has_number(b->dead, b->dead_count, number); }

/* Somebody whose write is in the cut, a later one, had seen it. */
static bool was_seen(const struct model *m, const struct model_cut *cut, const struct model_op *b) {
    for (size_t i = (size_t)(b - m->ops) + 1; i < m->count; i++)
        if (in_cut(&m->ops[i], cut) && had(&m->ops[i], b)) return true;
    return false;
}

static bool is_increment(enum model_kind kind) { return kind == MODEL_INCR || kind == MODEL_HINCR; }

/* Held for gone, its node may have come back with what nobody had heard of: that is void, but until it is told so it counts on from
 * what others have reset and forgotten. */
static bool is_brought_back(const struct model_op *a, const struct model_cut *cut) { return is_increment(a->kind) && a->at.node == cut->node; }

/* What b found reset, a reset had reset that was lost and is not in the cut. */
static bool lacks_reset(const struct model *m, const struct model_cut *cut, const struct model_op *b, size_t number) {
    const struct numbers *later = &m->of_key[m->ops[number].key];
    for (size_t k = numbers_after(later, number); k < later->count; k++) {
        const struct model_op *c = &m->ops[later->at[k].number];
        if (c->lost && c->shard == b->shard && took(c, number) && !in_cut(c, cut) && had(b, c)) return true;
    }
    return false;
}

/* b took it, or found it gone, and that is all that the cut has to know. */
static bool is_gone_by(const struct model *m, const struct model_cut *cut, const struct model_op *b, size_t number) {
    if (!in_cut(b, cut) || !took(b, number)) return false;
    if (cut->behind && is_brought_back(&m->ops[number], cut)) return false;
    return !took_dead(b, number) || !(cut->behind || lacks_reset(m, cut, b, number));
}

static enum life life(const struct model *m, const struct model_cut *cut, size_t number) {
    const struct model_op *a = &m->ops[number];
    enum life life = LIVES;
    if (!in_cut(a, cut)) return GONE;
    uint32_t taker = m->gone_by[number], slot = slot_of(a->kind, a->field);
    if (taker && !cut->behind && in_cut(&m->ops[taker], cut)) return GONE; /* as is_gone_by will have it */
    const struct numbers *later = &m->of_key[a->key];
    for (size_t k = numbers_after(later, number); k < later->count; k++) {
        if (!(later->at[k].takes & slot)) continue;
        const struct model_op *b = &m->ops[later->at[k].number];
        if (b->shard != a->shard || !removes(b, a)) continue;
        if (is_gone_by(m, cut, b, number)) {
            if (!took_dead(b, number)) m->gone_by[number] = later->at[k].number;
            return GONE;
        }
        /* A delta tells of its elements as they are when it is sent, so what somebody else has
         * removed of them by then is felt before that removal is in the cut. */
        if (took(b, number)) life = OPEN;
        if (life == LIVES && had(b, a) && (in_cut(b, cut) || was_seen(m, cut, b))) life = OPEN;
    }
    return life;
}

static struct model_cut before_of(const struct model_op *b) { return (struct model_cut){.shard = b->shard, .upto = b->had, .count = b->had_count}; }

static bool takes(const struct model *m, const struct model_op *b, size_t number) {
    const struct model_op *a = &m->ops[number];
    struct model_cut before = before_of(b);
    if (a->shard != b->shard || !removes(b, a) || !had(b, a)) return false;
    /* Its own earlier writes of what it writes are gone by the order of its mutations. A SET of a
     * string that has no fields writes no field. */
    bool own = a->at.node == b->at.node && a->at.incarnation == b->at.incarnation &&
               !(b->kind == MODEL_SET && is_of_field(a->kind));
    return own || is_increment(a->kind) || b->key == MODEL_KEYS || life(m, &before, number) == LIVES;
}

/* An increment that somebody had reset before. */
static bool finds_reset(const struct model *m, const struct model_op *b, size_t number) {
    struct model_cut before = before_of(b);
    return is_increment(m->ops[number].kind) && life(m, &before, number) != LIVES;
}

void model_add(struct model *m, struct model_op op) {
    op.had = by_origin(m, op.seen, op.seen_count, &op.had_count);
    op.origin = origin_of(m, &op.at);
    op.seen = NULL; /* it was lent */
    const struct numbers *before = &m->of_key[op.key];
    op.removed = mem_alloc((before->count + 1) * sizeof *op.removed);
    op.dead = mem_alloc((before->count + 1) * sizeof *op.dead);
    op.removed_count = op.dead_count = 0;
    for (size_t k = 0; k < before->count; k++) {
        uint32_t number = before->at[k].number;
        if (!(before->at[k].slot & slots_taken(&op)) || !takes(m, &op, number)) continue;
        op.removed[op.removed_count++] = number;
        if (finds_reset(m, &op, number)) op.dead[op.dead_count++] = number;
    }
    op.removed = mem_realloc(op.removed, (op.removed_count + 1) * sizeof *op.removed);
    op.dead = mem_realloc(op.dead, (op.dead_count + 1) * sizeof *op.dead);
    if (m->count == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 256;
        m->ops = mem_realloc(m->ops, m->cap * sizeof *m->ops);
        m->gone_by = mem_realloc(m->gone_by, m->cap * sizeof *m->gone_by);
    }
    m->gone_by[m->count] = 0;
    struct numbered write = {(uint32_t)m->count, slot_of(op.kind, op.field), slots_taken(&op)};
    for (uint32_t k = 0; k <= MODEL_KEYS; k++)
        if (op.key == MODEL_KEYS || op.key == k || k == MODEL_KEYS) numbers_add(&m->of_key[k], write);
    m->ops[m->count++] = op;
}

void model_lose(struct model *m, uint32_t shard, struct model_seen upto, uint64_t count) {
    uint32_t origin = origin_of(m, &upto);
    for (size_t i = 0; i < m->count; i++) {
        struct model_op *op = &m->ops[i];
        if (op->shard == shard && op->origin == origin && op->at.counter > count && op->at.counter <= upto.counter) op->lost = true;
    }
}

static bool is_claimed(const struct model_op *a, const struct model_seen *claims, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (claims[i].counter == a->at.counter && claims[i].incarnation == a->at.incarnation && claims[i].node == a->at.node) return true;
    return false;
}

static bool was_removed(const struct model *m, size_t number) {
    const struct model_op *a = &m->ops[number];
    const struct numbers *later = &m->of_key[a->key];
    for (size_t k = numbers_after(later, number); k < later->count; k++) {
        const struct model_op *b = &m->ops[later->at[k].number];
        if (b->shard == a->shard && removes(b, a) && had(b, a)) return true;
    }
    return false;
}

const struct model_op *model_unfounded(struct model *m, const struct model_cut *cut, const struct model_seen *claims, uint32_t count,
                                       const struct model_cut *claimed_upto) {
    for (size_t i = 0; i < m->count; i++) {
        const struct model_op *a = &m->ops[i];
        if (a->shard != cut->shard || in_cut(a, cut)) continue;
        if ((in_cut(a, claimed_upto) || is_claimed(a, claims, count)) && !was_removed(m, i)) return a;
    }
    return NULL;
}

#define OPEN_MAX 10 /* more than so many open increments: any sum is let pass */

/* What is known of a register: its bases, and the sum of its increments. */
struct known {
    int64_t bases[64], open[64], sum;
    uint32_t base_count, open_count;
    bool has, must; /* may be there; must be */
};

static struct known known_of(const struct model *m, const struct model_cut *cut, uint32_t key, enum model_kind set,
                             enum model_kind incr, uint32_t field) {
    struct known k = {0};
    bool base_must = false;
    for (size_t n = 0; n < m->of_key[key].count; n++) {
        if (m->of_key[key].at[n].slot != slot_of(set, field)) continue;
        size_t i = m->of_key[key].at[n].number;
        const struct model_op *a = &m->ops[i];
        if (a->key != key || a->field != field || (a->kind != set && a->kind != incr)) continue;
        enum life l = life(m, cut, i);
        if (l == GONE) continue;
        k.has = true;
        k.must = k.must || l == LIVES;
        if (a->kind == set) {
            base_must = base_must || l == LIVES;
            if (k.base_count < 64) k.bases[k.base_count++] = a->value;
        } else if (l == LIVES) {
            k.sum += a->value;
        } else if (k.open_count < 64) {
            k.open[k.open_count++] = a->value;
        }
    }
    if (!base_must) k.bases[k.base_count < 64 ? k.base_count++ : 63] = 0;
    return k;
}

static bool is_value(const struct known *k, int64_t value) {
    if (k->open_count > OPEN_MAX) return true;
    for (uint32_t subset = 0; subset < 1u << k->open_count; subset++) {
        int64_t sum = k->sum;
        for (uint32_t i = 0; i < k->open_count; i++)
            if (subset >> i & 1) sum += k->open[i];
        for (uint32_t i = 0; i < k->base_count; i++)
            if (k->bases[i] + sum == value) return true;
    }
    return false;
}

static enum life life_of_member(const struct model *m, const struct model_cut *cut, uint32_t key, uint32_t field) {
    enum life best = GONE;
    for (size_t n = 0; n < m->of_key[key].count; n++) {
        if (m->of_key[key].at[n].slot != slot_of(MODEL_SADD, field)) continue;
        size_t i = m->of_key[key].at[n].number;
        const struct model_op *a = &m->ops[i];
        if (a->kind != MODEL_SADD || a->key != key || a->field != field) continue;
        enum life l = life(m, cut, i);
        if (l > best) best = l;
    }
    return best;
}

bool model_allows_absent(const struct model *m, const struct model_cut *cut, uint32_t key) {
    for (size_t n = 0; n < m->of_key[key].count; n++) {
        size_t i = m->of_key[key].at[n].number;
        enum model_kind kind = m->ops[i].kind;
        bool adds = kind != MODEL_DEL && kind != MODEL_SREM && kind != MODEL_HDEL;
        if (adds && m->ops[i].key == key && life(m, cut, i) == LIVES) return false;
    }
    return true;
}

bool model_allows_string(const struct model *m, const struct model_cut *cut, uint32_t key, int64_t value) {
    struct known k = known_of(m, cut, key, MODEL_SET, MODEL_INCR, 0);
    return k.has && is_value(&k, value);
}

bool model_allows_set(const struct model *m, const struct model_cut *cut, uint32_t key, uint32_t members) {
    for (uint32_t f = 0; f < MODEL_FIELDS; f++) {
        enum life l = life_of_member(m, cut, key, f);
        if (l != OPEN && (l == LIVES) != (members >> f & 1)) return false;
    }
    return members != 0;
}

bool model_allows_hash(const struct model *m, const struct model_cut *cut, uint32_t key, uint32_t fields,
                       const int64_t values[MODEL_FIELDS]) {
    for (uint32_t f = 0; f < MODEL_FIELDS; f++) {
        struct known k = known_of(m, cut, key, MODEL_HSET, MODEL_HINCR, f);
        bool shown = fields >> f & 1;
        if (shown ? !k.has || !is_value(&k, values[f]) : k.must) return false;
    }
    return fields != 0;
}

void model_explain(const struct model *m, const struct model_cut *cut, uint32_t key) {
    static const char *const names[] = {"SET", "INCR", "DEL", "SADD", "SREM", "HSET", "HDEL", "HINCR"};
    for (size_t i = 0; i < m->count; i++) {
        const struct model_op *a = &m->ops[i];
        if ((a->key != key && a->key != MODEL_KEYS) || !in_cut(a, cut)) continue;
        printf("  %s%s key %u field %u value %lld by n%llu/%llx:%llu having seen", (const char *[]){"  ", "? ", "* "}[life(m, cut, i)],
               names[a->kind], a->key, a->field, (long long)a->value, (unsigned long long)a->at.node - 1,
               (unsigned long long)a->at.incarnation >> 48, (unsigned long long)a->at.counter);
        for (uint32_t k = 0; k < a->had_count; k++)
            if (a->had[k])
                printf(" n%llu/%llx:%llu", (unsigned long long)m->origins[k].node - 1, (unsigned long long)m->origins[k].incarnation >> 48,
                       (unsigned long long)a->had[k]);
        printf("\n");
    }
}
