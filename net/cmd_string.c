/* Strings and counters. A condition (NX, XX, MSETNX) is judged on this node alone; when it
 * fails, nothing is written and so nothing is replicated. */
#include "core/mutant.h"
#include "net/command.h"
#include "net/resp.h"

static struct bytes text_of(const struct place *place, struct scratch *scratch) {
    return place->key ? key_string(place->shard, place->key, scratch) : (struct bytes){0};
}

static void reply_text(struct call *call, const struct place *place) {
    struct scratch scratch;
    if (place->key)
        resp_bulk(call->out, text_of(place, &scratch));
    else
        resp_null(call->out);
}

void cmd_get(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    if (call_expects(call, &place, KEY_STRING)) reply_text(call, &place);
}

void cmd_strlen(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    struct scratch scratch;
    if (call_expects(call, &place, KEY_STRING)) resp_integer(call->out, (int64_t)text_of(&place, &scratch).len);
}

void cmd_mget(struct call *call) {
    size_t start = call->out->len;
    resp_array(call->out, call->argc - 1);
    for (size_t i = 1; i < call->argc && !call_exceeds(call, start); i++) {
        struct place place = call_place(call, call->argv[i]);
        if (place.type != KEY_STRING) place.key = NULL;
        reply_text(call, &place);
    }
}

/* -------------------------------------------------------------------- SET */

static const struct expiry_unit {
    const char *word;
    bool seconds, absolute;
} UNITS[] = {{"ex", true, false}, {"px", false, false}, {"exat", true, true}, {"pxat", false, true}};

struct set_options {
    bool nx, xx, get, keep_ttl, persist;
    const struct expiry_unit *unit; /* of time; NULL without one */
    struct bytes time;
    int64_t at_ms;
};

/* A time as a command gives it, as absolute milliseconds in at_ms. */
static bool read_expiry(struct call *call, struct set_options *o) {
    int64_t value;
    if (!bytes_to_i64(o->time, &value)) {
        reply_not_integer(call);
        return false;
    }
    bool ok = value > 0 && !(o->unit->seconds && __builtin_mul_overflow(value, 1000, &value)) &&
              !(!o->unit->absolute && __builtin_add_overflow(value, call->now_ms, &value)) && value < EXPIRY_NEVER;
    if (!ok) {
        reply_expire_time(call);
        return false;
    }
    o->at_ms = value;
    return true;
}

static bool take_condition(struct set_options *o, struct bytes word) {
    bool nx = bytes_is(word, "nx") && !o->xx, xx = bytes_is(word, "xx") && !o->nx, get = bytes_is(word, "get");
    o->nx |= nx;
    o->xx |= xx;
    o->get |= get;
    return nx || xx || get;
}

/* What becomes of the expiry: only one kind of word, but as often as one likes. */
static bool take_unit(struct set_options *o, struct bytes word, struct bytes time) {
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
        if (!bytes_is(word, UNITS[i].word)) continue;
        bool fits = !o->keep_ttl && !o->persist && (!o->unit || o->unit == &UNITS[i]);
        o->unit = &UNITS[i];
        o->time = time;
        return fits;
    }
    return false;
}

/* Of SET, and of GETEX, which has other words. All are read before any time is judged. */
static bool read_options(struct call *call, size_t from, bool getex, struct set_options *o) {
    for (size_t i = from; i < call->argc; i++) {
        struct bytes word = call->argv[i];
        if (!getex && take_condition(o, word)) continue;
        if (!o->unit && bytes_is(word, getex ? "persist" : "keepttl")) {
            *(getex ? &o->persist : &o->keep_ttl) = true;
            continue;
        }
        if (i + 1 == call->argc || !take_unit(o, word, call->argv[++i])) {
            reply_syntax(call);
            return false;
        }
    }
    return true;
}

static void write_text(struct call *call, struct place *place, struct bytes value, const struct set_options *o) {
    shard_set(place->shard, place->ref, value, o->keep_ttl, call->now_ms);
    if (o->unit) shard_expire(place->shard, place->ref, o->at_ms, call->now_ms);
}

void cmd_set(struct call *call) {
    struct set_options o = {0};
    if (!read_options(call, 3, false, &o)) return;
    if (o.unit && !read_expiry(call, &o)) return;
    bool asks = o.get || o.nx || o.xx;
    struct place place = asks ? call_place(call, call->argv[1]) : call_locate(call, call->argv[1]);
    if (o.get && !call_expects(call, &place, KEY_STRING)) return;
    bool write = !(o.nx && place.key) && !(o.xx && !place.key);
    if (o.get)
        reply_text(call, &place);
    else if (write)
        resp_status(call->out, "OK");
    else
        resp_null(call->out);
    if (write || MUTANT(refused_nx_writes)) write_text(call, &place, call->argv[2], &o);
}

void cmd_setnx(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    if (!place.key) write_text(call, &place, call->argv[2], &(struct set_options){0});
    resp_integer(call->out, place.key == NULL);
}

static void set_expiring(struct call *call, const struct expiry_unit *unit) {
    struct set_options o = {.unit = unit, .time = call->argv[2]};
    if (!read_expiry(call, &o)) return;
    struct place place = call_place(call, call->argv[1]);
    write_text(call, &place, call->argv[3], &o);
    resp_status(call->out, "OK");
}
void cmd_setex(struct call *call) { set_expiring(call, &UNITS[0]); }
void cmd_psetex(struct call *call) { set_expiring(call, &UNITS[1]); }

void cmd_getset(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    reply_text(call, &place);
    write_text(call, &place, call->argv[2], &(struct set_options){0});
}

void cmd_getdel(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    reply_text(call, &place);
    if (place.key) shard_delete(place.shard, place.ref, call->now_ms);
}

/* GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST] */
void cmd_getex(struct call *call) {
    struct set_options o = {.at_ms = EXPIRY_NEVER};
    if (!read_options(call, 2, true, &o)) return;
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    if (place.key && o.unit && !read_expiry(call, &o)) return;
    reply_text(call, &place);
    if (!place.key) return;
    if (o.at_ms <= call->now_ms)
        shard_delete(place.shard, place.ref, call->now_ms);
    else if (o.unit || (o.persist && key_expiry(place.key) != EXPIRY_NEVER))
        shard_expire(place.shard, place.ref, o.at_ms, call->now_ms);
}

static void set_many(struct call *call) {
    for (size_t i = 1; i < call->argc; i += 2) {
        struct place place = call_locate(call, call->argv[i]);
        write_text(call, &place, call->argv[i + 1], &(struct set_options){0});
    }
}

void cmd_mset(struct call *call) {
    set_many(call);
    resp_status(call->out, "OK");
}

void cmd_msetnx(struct call *call) {
    for (size_t i = 1; i < call->argc; i += 2)
        if (call_place(call, call->argv[i]).key) {
            resp_integer(call->out, 0);
            return;
        }
    set_many(call);
    resp_integer(call->out, 1);
}

void cmd_append(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    struct scratch scratch;
    struct bytes old = text_of(&place, &scratch);
    if (!call_fits(call, old.len + call->argv[2].len)) return;
    struct buf joined = {0};
    buf_put_bytes(&joined, old);
    buf_put_bytes(&joined, call->argv[2]);
    write_text(call, &place, buf_bytes(&joined), &(struct set_options){.keep_ttl = true});
    resp_integer(call->out, (int64_t)joined.len);
    buf_fini(&joined);
}

/* --------------------------------------------------------------- counters */

static void add_integer(struct call *call, int64_t by) {
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    struct scratch scratch;
    int64_t value = 0;
    if (place.key && !bytes_to_i64(text_of(&place, &scratch), &value)) {
        reply_not_integer(call);
        return;
    }
    if (__builtin_add_overflow(value, by, &value)) {
        resp_error(call->out, "ERR increment or decrement would overflow");
        return;
    }
    shard_increase(place.shard, place.ref, fixed_from_i64(by), call->now_ms);
    resp_integer(call->out, value);
}

void cmd_incr(struct call *call) { add_integer(call, 1); }
void cmd_decr(struct call *call) { add_integer(call, -1); }

void cmd_incrby(struct call *call) {
    int64_t by;
    if (bytes_to_i64(call->argv[2], &by))
        add_integer(call, by);
    else
        reply_not_integer(call);
}

void cmd_decrby(struct call *call) {
    int64_t by;
    if (!bytes_to_i64(call->argv[2], &by))
        reply_not_integer(call);
    else if (by == INT64_MIN)
        resp_error(call->out, "ERR decrement would overflow");
    else
        add_integer(call, -by);
}

void cmd_incrbyfloat(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    struct scratch scratch;
    __int128 value = 0, by = 0;
    enum status old = place.key ? call_decimal(text_of(&place, &scratch), &value) : STATUS_OK, given = call_decimal(call->argv[2], &by);
    if (old == STATUS_ERR_INVALID || given == STATUS_ERR_INVALID) {
        resp_error(call->out, "ERR value is not a valid float");
        return;
    }
    if (old != STATUS_OK || given != STATUS_OK || __builtin_add_overflow(value, by, &value)) {
        resp_error(call->out, "ERR increment would produce NaN or Infinity");
        return;
    }
    shard_increase(place.shard, place.ref, by, call->now_ms);
    resp_bulk(call->out, bytes_of(scratch.text, fixed_print(value, scratch.text)));
}
