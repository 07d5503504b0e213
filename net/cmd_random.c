/* Members and fields at random: SPOP, SRANDMEMBER, HRANDFIELD.
 *
 * Without repeats there are two ways to pick `want` of `have`. Few are drawn one by one, and
 * drawn again if they were drawn before: that costs what is wanted, however large the set.
 * Many are taken in one pass, each with the chance of (still wanted / still to come) (selection
 * sampling, Knuth 3.4.2). The border, a third, keeps the draws in vain below one in two. */
#include "net/command.h"
#include "net/resp.h"

struct pick {
    struct call *call;
    struct place place;
    struct rng rng;
    uint64_t have;
    bool values; /* fields with theirs */
};

/* False, and WRONGTYPE. */
static bool pick_from(struct call *call, enum key_type type, struct pick *p) {
    *p = (struct pick){.call = call, .place = call_place(call, call->argv[1]), .rng = call_rng(call)};
    if (!call_expects(call, &p->place, type)) return false;
    p->have = p->place.key ? key_field_count(p->place.key, type) : 0;
    return true;
}

static struct field *draw(struct pick *p) { return key_field_random(p->place.key, p->place.type, &p->rng); }

static void put(struct pick *p, const struct field *field) {
    struct scratch scratch;
    resp_bulk(p->call->out, field_name(field));
    if (p->values) resp_bulk(p->call->out, field_value(p->place.shard, field, &scratch));
}

static void put_one(struct pick *p) {
    if (p->have)
        put(p, draw(p));
    else
        resp_null(p->call->out);
}

/* Pointers by open addressing; at most half full. True if it was not there. */
static bool remember(const struct field **seen, uint64_t mask, const struct field *field) {
    uint64_t state = (uintptr_t)field, at = rng_mix(&state) & mask;
    while (seen[at] && seen[at] != field) at = (at + 1) & mask;
    bool fresh = !seen[at];
    seen[at] = field;
    return fresh;
}

static void put_few(struct pick *p, uint64_t want) {
    uint64_t slots = 16;
    while (slots < want * 2) slots *= 2;
    const struct field **seen = mem_zero(slots, sizeof *seen);
    while (want) {
        const struct field *field = draw(p);
        if (!remember(seen, slots - 1, field)) continue;
        put(p, field);
        want--;
    }
    mem_free(seen);
}

static void put_many(struct pick *p, uint64_t want) {
    uint64_t left = p->have;
    size_t at = 0;
    for (struct field *f; want && (f = key_field_next(p->place.key, p->place.type, &at)); left--) {
        if (rng_below(&p->rng, left) >= want) continue;
        put(p, f);
        want--;
    }
}

static void put_different(struct pick *p, uint64_t want) {
    if (want > p->have) want = p->have;
    resp_array(p->call->out, want * (p->values ? 2 : 1));
    if (want < p->have / 3)
        put_few(p, want);
    else
        put_many(p, want);
}

static void put_repeats(struct pick *p, uint64_t want) {
    struct buf *out = p->call->out;
    size_t start = out->len;
    if (!p->have) want = 0;
    resp_array(out, want * (p->values ? 2 : 1));
    for (; want && !call_exceeds(p->call, start); want--) put(p, draw(p));
}

/* INT64_MIN has no opposite. */
static bool read_count(struct call *call, int64_t *count) {
    bool number = bytes_to_i64(call->argv[2], count);
    if (!number)
        reply_not_integer(call);
    else if (*count == INT64_MIN)
        resp_error(call->out, "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
    return number && *count != INT64_MIN;
}

static void put_counted(struct pick *p, int64_t count) {
    if (count < 0)
        put_repeats(p, (uint64_t)-count);
    else
        put_different(p, (uint64_t)count);
}

/* SRANDMEMBER key [count] */
void cmd_srandmember(struct call *call) {
    struct pick pick;
    int64_t count = 0;
    if (call->argc > 3) {
        reply_syntax(call);
        return;
    }
    if (call->argc == 3 && !read_count(call, &count)) return;
    if (!pick_from(call, KEY_SET, &pick)) return;
    if (call->argc == 3)
        put_counted(&pick, count);
    else
        put_one(&pick);
}

/* HRANDFIELD key [count [WITHVALUES]] */
void cmd_hrandfield(struct call *call) {
    struct pick pick;
    int64_t count = 0;
    bool values = call->argc == 4 && bytes_is(call->argv[3], "withvalues");
    if (call->argc > 2 && !read_count(call, &count)) return;
    if (call->argc > 4 || (call->argc == 4 && !values)) {
        reply_syntax(call);
        return;
    }
    if (values && (count > INT64_MAX / 2 || count < -(INT64_MAX / 2))) {
        resp_error(call->out, "ERR value is out of range");
        return;
    }
    if (!pick_from(call, KEY_HASH, &pick)) return;
    pick.values = values;
    if (call->argc > 2)
        put_counted(&pick, count);
    else
        put_one(&pick);
}

/* The name is copied: removing the member frees it. */
static void pop_one(struct pick *p, struct buf *name) {
    name->len = 0;
    buf_put_bytes(name, field_name(draw(p)));
    resp_bulk(p->call->out, buf_bytes(name));
    shard_remove_field(p->place.shard, p->place.ref, KEY_SET, buf_bytes(name), p->call->now_ms);
}

static void pop_all(struct pick *p) {
    put_different(p, p->have);
    if (p->have) shard_delete(p->place.shard, p->place.ref, p->call->now_ms);
}

static void pop_many(struct pick *p, uint64_t want) {
    struct buf name = {0};
    resp_array(p->call->out, want);
    for (; want; want--) {
        pop_one(p, &name);
        p->place.key = shard_find(p->place.shard, p->place.ref, p->call->now_ms);
    }
    buf_fini(&name);
}

/* SPOP key [count] */
void cmd_spop(struct call *call) {
    struct pick pick;
    int64_t count = 1;
    if (call->argc > 3) {
        reply_syntax(call);
        return;
    }
    if (call->argc == 3 && (!bytes_to_i64(call->argv[2], &count) || count < 0)) {
        resp_error(call->out, "ERR value is out of range, must be positive");
        return;
    }
    if (!pick_from(call, KEY_SET, &pick)) return;
    struct buf name = {0};
    if (call->argc == 2 && pick.have)
        pop_one(&pick, &name);
    else if (call->argc == 2)
        resp_null(call->out);
    else if ((uint64_t)count >= pick.have)
        pop_all(&pick);
    else
        pop_many(&pick, (uint64_t)count);
    buf_fini(&name);
}
