/* Sets. A member that is added again takes a new dot, or a concurrent SREM would win. */
#include "core/mutant.h"
#include "net/command.h"
#include "net/resp.h"

static bool set_at(struct call *call, size_t arg, struct place *place) {
    *place = call_place(call, call->argv[arg]);
    return call_expects(call, place, KEY_SET);
}

static struct field *member_of(const struct place *place, struct bytes name) {
    return place->key ? key_field(place->shard, place->key, KEY_SET, name) : NULL;
}

static uint64_t count_of(const struct place *place) { return place->key ? key_field_count(place->key, KEY_SET) : 0; }

void cmd_sadd(struct call *call) {
    struct place place;
    int64_t added = 0;
    if (!set_at(call, 1, &place)) return;
    for (size_t i = 2; i < call->argc; i++) {
        if (MUTANT(sadd_without_dot) && member_of(&place, call->argv[i])) continue;
        added += member_of(&place, call->argv[i]) == NULL;
        shard_add_member(place.shard, place.ref, call->argv[i], call->now_ms);
        call_place_again(call, &place);
    }
    resp_integer(call->out, added);
}

void cmd_srem(struct call *call) {
    struct place place;
    int64_t removed = 0;
    if (!set_at(call, 1, &place)) return;
    for (size_t i = 2; i < call->argc; i++)
        removed += shard_remove_field(place.shard, place.ref, KEY_SET, call->argv[i], call->now_ms);
    resp_integer(call->out, removed);
}

static void reply_members(struct call *call, const struct place *place) {
    size_t at = 0;
    resp_array(call->out, count_of(place));
    for (struct field *f; place->key && (f = key_field_next(place->key, KEY_SET, &at));) resp_bulk(call->out, field_name(f));
}

void cmd_smembers(struct call *call) {
    struct place place;
    if (set_at(call, 1, &place)) reply_members(call, &place);
}

void cmd_sismember(struct call *call) {
    struct place place;
    if (set_at(call, 1, &place)) resp_integer(call->out, member_of(&place, call->argv[2]) != NULL);
}

void cmd_smismember(struct call *call) {
    struct place place;
    if (!set_at(call, 1, &place)) return;
    resp_array(call->out, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) resp_integer(call->out, member_of(&place, call->argv[i]) != NULL);
}

void cmd_scard(struct call *call) {
    struct place place;
    if (set_at(call, 1, &place)) resp_integer(call->out, (int64_t)count_of(&place));
}

void cmd_smove(struct call *call) {
    struct place from, to;
    if (!set_at(call, 1, &from)) return;
    if (!from.key) {
        resp_integer(call->out, 0);
        return;
    }
    if (!set_at(call, 2, &to)) return;
    bool there = member_of(&from, call->argv[3]) != NULL;
    if (there && !bytes_equal(call->argv[1], call->argv[2])) {
        shard_remove_field(from.shard, from.ref, KEY_SET, call->argv[3], call->now_ms);
        shard_add_member(to.shard, to.ref, call->argv[3], call->now_ms);
    }
    resp_integer(call->out, there);
}

/* ----------------------------------------------------- several sets at once */

enum algebra { INTER, UNION, DIFF };

/* A result: views of the members' names, while nothing is written. What is added once is found again by its slot:
 * open addressing, at most half full, each 1 + a place in `at`. */
struct names {
    const struct hash_seed *seed;
    struct bytes *at;
    size_t count, cap;
    size_t *slots, slot_count;
};

static void names_fini(struct names *n) {
    mem_free(n->at);
    mem_free(n->slots);
}

static void names_add(struct names *n, struct bytes name) {
    if (n->count == n->cap) n->at = mem_realloc(n->at, (n->cap = n->cap ? 2 * n->cap : 16) * sizeof *n->at);
    n->at[n->count++] = name;
}

static size_t *slot_of(const struct names *n, struct bytes name) {
    size_t mask = n->slot_count - 1, at = hash_key(n->seed, name) & mask;
    while (n->slots[at] && !bytes_equal(n->at[n->slots[at] - 1], name)) at = (at + 1) & mask;
    return &n->slots[at];
}

static bool names_has(const struct names *n, struct bytes name) { return n->count && *slot_of(n, name); }

static void names_add_once(struct names *n, struct bytes name) {
    if (2 * n->count >= n->slot_count) {
        mem_free(n->slots);
        n->slot_count = n->slot_count ? 2 * n->slot_count : 64;
        n->slots = mem_zero(n->slot_count, sizeof *n->slots);
        for (size_t i = 0; i < n->count; i++) *slot_of(n, n->at[i]) = i + 1;
    }
    size_t *slot = slot_of(n, name);
    if (*slot) return;
    names_add(n, name);
    *slot = n->count;
}

/* Lets the views look at copies in *text: a write may free what they looked at. */
static void names_copy(struct names *n, struct buf *text) {
    size_t bytes = 0;
    for (size_t i = 0; i < n->count; i++) bytes += n->at[i].len;
    buf_reserve(text, bytes + 1); /* so that even an empty name has an address */
    for (size_t i = 0; i < n->count; i++) {
        const uint8_t *copy = text->data + text->len;
        buf_put_bytes(text, n->at[i]);
        n->at[i].data = copy;
    }
}

/* The places of argv[first ...]; NULL, and WRONGTYPE, if one is of another type. */
static struct place *places_of(struct call *call, size_t first, size_t count) {
    struct place *places = mem_alloc((count + 1) * sizeof *places);
    for (size_t i = 0; i < count; i++) {
        if (set_at(call, first + i, &places[i])) continue;
        mem_free(places);
        return NULL;
    }
    return places;
}

static bool in_all(const struct place *places, size_t count, size_t but, struct bytes name) {
    for (size_t i = 0; i < count; i++)
        if (i != but && !member_of(&places[i], name)) return false;
    return true;
}

static bool in_any(const struct place *places, size_t count, struct bytes name) {
    for (size_t i = 0; i < count; i++)
        if (member_of(&places[i], name)) return true;
    return false;
}

static struct field *member_next(const struct place *place, size_t *at) {
    return place->key ? key_field_next(place->key, KEY_SET, at) : NULL;
}

/* Goes through the smallest set. Returns how many there are, `most` at most; out may be NULL. */
static size_t intersect(const struct place *places, size_t count, size_t most, struct names *out) {
    size_t from = 0, found = 0, at = 0;
    struct field *f;
    for (size_t i = 1; i < count; i++)
        if (count_of(&places[i]) < count_of(&places[from])) from = i;
    while (found < most && (f = member_next(&places[from], &at))) {
        if (!in_all(places, count, from, field_name(f))) continue;
        found++;
        if (out) names_add(out, field_name(f));
    }
    return found;
}

static void unite(const struct place *places, size_t count, struct names *out) {
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        for (struct field *f; (f = member_next(&places[i], &at));) names_add_once(out, field_name(f));
    }
}

/* The others are united first if that is less than to look into each of them for each member. */
static void subtract(const struct place *places, size_t count, struct names *out) {
    struct names others = {.seed = out->seed};
    uint64_t members = 0;
    for (size_t i = 1; i < count; i++) members += count_of(&places[i]);
    bool united = members < count_of(places) * (count - 1);
    if (united) unite(places + 1, count - 1, &others);
    size_t at = 0;
    for (struct field *f; (f = member_next(places, &at));) {
        struct bytes name = field_name(f);
        if (united ? !names_has(&others, name) : !in_any(places + 1, count - 1, name)) names_add(out, name);
    }
    names_fini(&others);
}

static void combine(enum algebra op, const struct place *places, size_t count, struct names *out) {
    switch (op) {
    case INTER: intersect(places, count, SIZE_MAX, out); break;
    case UNION: unite(places, count, out); break;
    case DIFF: subtract(places, count, out); break;
    }
}

static void reply_combined(struct call *call, enum algebra op) {
    struct place *places = places_of(call, 1, call->argc - 1);
    if (!places) return;
    struct names names = {.seed = &call->node->seed};
    combine(op, places, call->argc - 1, &names);
    resp_array(call->out, names.count);
    for (size_t i = 0; i < names.count; i++) resp_bulk(call->out, names.at[i]);
    names_fini(&names);
    mem_free(places);
}

/* The destination becomes the result, whatever it was. */
static void store_combined(struct call *call, enum algebra op) {
    struct place *places = places_of(call, 2, call->argc - 2);
    if (!places) return;
    struct names names = {.seed = &call->node->seed};
    struct buf text = {0};
    combine(op, places, call->argc - 2, &names);
    names_copy(&names, &text);
    struct place to = call_place(call, call->argv[1]);
    if (to.key) shard_delete(to.shard, to.ref, call->now_ms);
    for (size_t i = 0; i < names.count; i++) shard_add_member(to.shard, to.ref, names.at[i], call->now_ms);
    resp_integer(call->out, (int64_t)names.count);
    buf_fini(&text);
    names_fini(&names);
    mem_free(places);
}

void cmd_sinter(struct call *call) { reply_combined(call, INTER); }
void cmd_sunion(struct call *call) { reply_combined(call, UNION); }
void cmd_sdiff(struct call *call) { reply_combined(call, DIFF); }
void cmd_sinterstore(struct call *call) { store_combined(call, INTER); }
void cmd_sunionstore(struct call *call) { store_combined(call, UNION); }
void cmd_sdiffstore(struct call *call) { store_combined(call, DIFF); }

/* SINTERCARD numkeys key ... [LIMIT limit] */
void cmd_sintercard(struct call *call) {
    int64_t keys, limit = 0;
    if (!bytes_to_i64(call->argv[1], &keys) || keys < 1) {
        resp_error(call->out, "ERR numkeys should be greater than 0");
        return;
    }
    if ((uint64_t)keys > call->argc - 2) {
        resp_error(call->out, "ERR Number of keys can't be greater than number of args");
        return;
    }
    for (size_t i = 2 + (size_t)keys; i < call->argc; i += 2) {
        if (!bytes_is(call->argv[i], "limit") || i + 1 == call->argc) {
            reply_syntax(call);
            return;
        }
        if (!bytes_to_i64(call->argv[i + 1], &limit) || limit < 0) {
            resp_error(call->out, "ERR LIMIT can't be negative");
            return;
        }
    }
    struct place *places = places_of(call, 2, (size_t)keys);
    if (!places) return;
    resp_integer(call->out, (int64_t)intersect(places, (size_t)keys, limit ? (size_t)limit : SIZE_MAX, NULL));
    mem_free(places);
}

void cmd_sscan(struct call *call) { call_scan_fields(call, KEY_SET); }
