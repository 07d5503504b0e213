/* Hashes: each field is a register with a counter, merged like a string. */
#include "net/command.h"
#include "net/resp.h"

static struct field *field_of(const struct place *place, struct bytes name) {
    return place->key ? key_field(place->shard, place->key, KEY_HASH, name) : NULL;
}

static void reply_value(struct call *call, const struct place *place, const struct field *field) {
    struct scratch scratch;
    if (field)
        resp_bulk(call->out, field_value(place->shard, field, &scratch));
    else
        resp_null(call->out);
}

static bool hash_at(struct call *call, struct place *place) {
    *place = call_place(call, call->argv[1]);
    return call_expects(call, place, KEY_HASH);
}

static bool set_fields(struct call *call, int64_t *added) {
    struct place place;
    if (!hash_at(call, &place)) return false;
    *added = 0;
    for (size_t i = 2; i < call->argc; i += 2) {
        *added += field_of(&place, call->argv[i]) == NULL;
        shard_set_field(place.shard, place.ref, call->argv[i], call->argv[i + 1], call->now_ms);
        call_place_again(call, &place);
    }
    return true;
}

static bool pairs(struct call *call, const char *name) {
    bool fits = call->argc % 2 == 0;
    if (!fits) reply_arity(call, name);
    return fits;
}

void cmd_hset(struct call *call) {
    int64_t added;
    if (pairs(call, "hset") && set_fields(call, &added)) resp_integer(call->out, added);
}

void cmd_hmset(struct call *call) {
    int64_t added;
    if (pairs(call, "hmset") && set_fields(call, &added)) resp_status(call->out, "OK");
}

void cmd_hsetnx(struct call *call) {
    struct place place;
    if (!hash_at(call, &place)) return;
    bool there = field_of(&place, call->argv[2]) != NULL;
    if (!there) shard_set_field(place.shard, place.ref, call->argv[2], call->argv[3], call->now_ms);
    resp_integer(call->out, !there);
}

void cmd_hget(struct call *call) {
    struct place place;
    if (hash_at(call, &place)) reply_value(call, &place, field_of(&place, call->argv[2]));
}

void cmd_hmget(struct call *call) {
    struct place place;
    if (!hash_at(call, &place)) return;
    size_t start = call->out->len;
    resp_array(call->out, call->argc - 2);
    for (size_t i = 2; i < call->argc && !call_exceeds(call, start); i++) reply_value(call, &place, field_of(&place, call->argv[i]));
}

void cmd_hdel(struct call *call) {
    struct place place;
    if (!hash_at(call, &place)) return;
    int64_t removed = 0;
    for (size_t i = 2; i < call->argc; i++)
        removed += shard_remove_field(place.shard, place.ref, KEY_HASH, call->argv[i], call->now_ms);
    resp_integer(call->out, removed);
}

void cmd_hlen(struct call *call) {
    struct place place;
    if (hash_at(call, &place)) resp_integer(call->out, place.key ? (int64_t)key_field_count(place.key, KEY_HASH) : 0);
}

void cmd_hexists(struct call *call) {
    struct place place;
    if (hash_at(call, &place)) resp_integer(call->out, field_of(&place, call->argv[2]) != NULL);
}

void cmd_hstrlen(struct call *call) {
    struct place place;
    if (!hash_at(call, &place)) return;
    struct field *field = field_of(&place, call->argv[2]);
    struct scratch scratch;
    resp_integer(call->out, field ? (int64_t)field_value(place.shard, field, &scratch).len : 0);
}

static void reply_all(struct call *call, bool names, bool values) {
    struct place place;
    if (!hash_at(call, &place)) return;
    uint64_t count = place.key ? key_field_count(place.key, KEY_HASH) : 0;
    resp_array(call->out, count * ((size_t)names + (size_t)values));
    size_t at = 0;
    for (struct field *f; count && (f = key_field_next(place.key, KEY_HASH, &at));) {
        if (names) resp_bulk(call->out, field_name(f));
        if (values) reply_value(call, &place, f);
    }
}
void cmd_hgetall(struct call *call) { reply_all(call, true, true); }
void cmd_hkeys(struct call *call) { reply_all(call, true, false); }
void cmd_hvals(struct call *call) { reply_all(call, false, true); }

void cmd_hincrby(struct call *call) {
    struct place place;
    struct scratch scratch;
    int64_t by, value = 0;
    if (!bytes_to_i64(call->argv[3], &by)) {
        reply_not_integer(call);
        return;
    }
    if (!hash_at(call, &place)) return;
    struct field *field = field_of(&place, call->argv[2]);
    if (field && !bytes_to_i64(field_value(place.shard, field, &scratch), &value)) {
        resp_error(call->out, "ERR hash value is not an integer");
        return;
    }
    if (__builtin_add_overflow(value, by, &value)) {
        resp_error(call->out, "ERR increment or decrement would overflow");
        return;
    }
    shard_increase_field(place.shard, place.ref, call->argv[2], fixed_from_i64(by), call->now_ms);
    resp_integer(call->out, value);
}

void cmd_hincrbyfloat(struct call *call) {
    struct place place;
    struct scratch scratch;
    __int128 by = 0, value = 0;
    enum status old = STATUS_OK, given = call_decimal(call->argv[3], &by);
    if (given == STATUS_ERR_INVALID || call_is_infinite(call->argv[3])) {
        resp_error(call->out, given == STATUS_ERR_INVALID ? "ERR value is not a valid float" : "ERR value is NaN or Infinity");
        return;
    }
    if (!hash_at(call, &place)) return;
    struct field *field = field_of(&place, call->argv[2]);
    if (field) old = call_decimal(field_value(place.shard, field, &scratch), &value);
    if (old == STATUS_ERR_INVALID) {
        resp_error(call->out, "ERR hash value is not a float");
        return;
    }
    if (old != STATUS_OK || given != STATUS_OK || __builtin_add_overflow(value, by, &value)) {
        resp_error(call->out, "ERR increment would produce NaN or Infinity");
        return;
    }
    shard_increase_field(place.shard, place.ref, call->argv[2], by, call->now_ms);
    resp_bulk(call->out, bytes_of(scratch.text, fixed_print(value, scratch.text)));
}

void cmd_hscan(struct call *call) { call_scan_fields(call, KEY_HASH); }
