#include "sim/model.h"

#include <stdio.h>

#include "core/mem.h"

struct model {
    struct model_op *ops;
    size_t count, cap;
};

struct model *model_new(void) { return mem_zero(1, sizeof(struct model)); }

void model_free(struct model *m) {
    for (size_t i = 0; i < m->count; i++) mem_free(m->ops[i].seen);
    mem_free(m->ops);
    mem_free(m);
}

void model_add(struct model *m, struct model_op op) {
    if (m->count == m->cap) m->ops = mem_realloc(m->ops, (m->cap = m->cap ? m->cap * 2 : 256) * sizeof *m->ops);
    struct model_seen *seen = mem_alloc((op.seen_count + 1) * sizeof *seen);
    for (uint32_t i = 0; i < op.seen_count; i++) seen[i] = op.seen[i];
    op.seen = seen;
    m->ops[m->count++] = op;
}

static bool covers(const struct model_seen *seen, uint32_t count, const struct model_seen *at) {
    for (uint32_t i = 0; i < count; i++)
        if (seen[i].node == at->node && seen[i].incarnation == at->incarnation) return seen[i].counter >= at->counter;
    return false;
}

static bool in_cut(const struct model_op *op, const struct model_cut *cut) {
    return op->shard == cut->shard && covers(cut->seen, cut->count, &op->at);
}

static bool is_of_field(enum model_kind kind) { return kind >= MODEL_SADD; }
static bool is_of_set(enum model_kind kind) { return kind == MODEL_SADD || kind == MODEL_SREM; }

/* Does b take away what a wrote, if it saw it? */
static bool removes(const struct model_op *b, const struct model_op *a) {
    if (b->key != a->key && b->key != MODEL_KEYS) return false;
    switch (b->kind) {
    case MODEL_DEL:
    case MODEL_SET: return true;
    case MODEL_SREM: return a->kind == MODEL_SADD && a->field == b->field;
    case MODEL_HDEL:
    case MODEL_HSET: return is_of_field(a->kind) && !is_of_set(a->kind) && a->field == b->field;
    default: return false;
    }
}

static bool lives(const struct model *m, const struct model_cut *cut, const struct model_op *a) {
    if (!in_cut(a, cut)) return false;
    for (size_t i = 0; i < m->count; i++) {
        const struct model_op *b = &m->ops[i];
        if (b != a && removes(b, a) && in_cut(b, cut) && covers(b->seen, b->seen_count, &a->at)) return false;
    }
    return true;
}

/* A register with a counter: every sibling that lives, plus all increments that live. */
static bool allows_register(const struct model *m, const struct model_cut *cut, uint32_t key, enum model_kind set,
                            enum model_kind incr, uint32_t field, int64_t value, bool *exists) {
    int64_t sum = 0;
    bool added = false, is_base = false, based = false;
    for (size_t i = 0; i < m->count; i++) {
        const struct model_op *a = &m->ops[i];
        if (a->kind != incr || a->key != key || a->field != field || !lives(m, cut, a)) continue;
        sum += a->value;
        added = true;
    }
    for (size_t i = 0; i < m->count; i++) {
        const struct model_op *a = &m->ops[i];
        if (a->kind != set || a->key != key || a->field != field || !lives(m, cut, a)) continue;
        based = true;
        is_base = is_base || a->value + sum == value;
    }
    *exists = based || added;
    return based ? is_base : added && value == sum;
}

static bool has_kind(const struct model *m, const struct model_cut *cut, uint32_t key, enum model_kind kind, int field) {
    for (size_t i = 0; i < m->count; i++) {
        const struct model_op *a = &m->ops[i];
        if (a->kind == kind && a->key == key && (field < 0 || a->field == (uint32_t)field) && lives(m, cut, a)) return true;
    }
    return false;
}

bool model_allows_absent(struct model *m, const struct model_cut *cut, uint32_t key) {
    static const enum model_kind adds[] = {MODEL_SET, MODEL_INCR, MODEL_SADD, MODEL_HSET, MODEL_HINCR};
    for (size_t i = 0; i < sizeof adds / sizeof *adds; i++)
        if (has_kind(m, cut, key, adds[i], -1)) return false;
    return true;
}

bool model_allows_string(struct model *m, const struct model_cut *cut, uint32_t key, int64_t value) {
    bool exists;
    return allows_register(m, cut, key, MODEL_SET, MODEL_INCR, 0, value, &exists);
}

bool model_allows_set(struct model *m, const struct model_cut *cut, uint32_t key, uint32_t members) {
    for (int f = 0; f < MODEL_FIELDS; f++)
        if (has_kind(m, cut, key, MODEL_SADD, f) != (members >> f & 1)) return false;
    return members != 0;
}

bool model_allows_hash(struct model *m, const struct model_cut *cut, uint32_t key, uint32_t fields,
                       const int64_t values[MODEL_FIELDS]) {
    for (uint32_t f = 0; f < MODEL_FIELDS; f++) {
        bool exists, allowed = allows_register(m, cut, key, MODEL_HSET, MODEL_HINCR, f, values[f], &exists);
        if (exists != (fields >> f & 1) || (exists && !allowed)) return false;
    }
    return fields != 0;
}

void model_explain(struct model *m, const struct model_cut *cut, uint32_t key) {
    static const char *const names[] = {"SET", "INCR", "DEL", "SADD", "SREM", "HSET", "HDEL", "HINCR"};
    for (size_t i = 0; i < m->count; i++) {
        const struct model_op *a = &m->ops[i];
        if ((a->key != key && a->key != MODEL_KEYS) || !in_cut(a, cut)) continue;
        printf("  %s%s key %u field %u value %lld by n%llu/%llx:%llu having seen", lives(m, cut, a) ? "* " : "  ",
               names[a->kind], a->key, a->field, (long long)a->value, (unsigned long long)a->at.node - 1,
               (unsigned long long)a->at.incarnation >> 48, (unsigned long long)a->at.counter);
        for (uint32_t k = 0; k < a->seen_count; k++)
            printf(" n%llu/%llx:%llu", (unsigned long long)a->seen[k].node - 1,
                   (unsigned long long)a->seen[k].incarnation >> 48, (unsigned long long)a->seen[k].counter);
        printf("\n");
    }
}
