/* Going through keys, members and fields.
 *
 * SCAN's cursor is shard * TABLE_TAGS + place in the shard's hash space. One shard is locked at
 * a time, and a table is ordered by hash, so whatever is there during the whole of a scan is
 * seen, however the tables grow meanwhile. KEYS and RANDOMKEY go shard by shard as well. */
#include <stdio.h>
#include <stdlib.h>

#include "net/command.h"
#include "net/glob.h"
#include "net/resp.h"

#define COUNT_DEFAULT 10
#define COUNT_MAX (1u << 20) /* of one call: more comes with the next cursor */

/* As strtoul reads it, which Redis uses: 64 bits, a sign, nothing at all for 0. */
bool call_scan_cursor(struct call *call, struct bytes text, uint64_t most, uint64_t *out) {
    uint64_t value = 0;
    bool sign = text.len && (text.data[0] == '-' || text.data[0] == '+'), good = text.len != 1 || !sign;
    for (size_t i = sign; i < text.len && good; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        good = digit <= 9 && !__builtin_mul_overflow(value, 10u, &value) && !__builtin_add_overflow(value, digit, &value);
    }
    if (!good) resp_error(call->out, "ERR invalid cursor");
    if (sign && text.data[0] == '-') value = 0 - value;
    *out = value < most ? value : most;
    return good;
}

bool call_scan_options(struct call *call, size_t at, bool types, struct scan_options *o) {
    *o = (struct scan_options){.count = COUNT_DEFAULT};
    for (; at < call->argc; at += 2) {
        bool valued = at + 1 < call->argc;
        int64_t count;
        if (valued && bytes_is(call->argv[at], "match")) {
            o->match = call->argv[at + 1];
            o->has_match = true;
        } else if (valued && bytes_is(call->argv[at], "count")) {
            if (!bytes_to_i64(call->argv[at + 1], &count)) {
                reply_not_integer(call);
                return false;
            }
            if (count < 1) {
                reply_syntax(call);
                return false;
            }
            o->count = (uint64_t)count < COUNT_MAX ? (size_t)count : COUNT_MAX;
        } else if (valued && types && bytes_is(call->argv[at], "type")) {
            o->type = call->argv[at + 1];
            o->has_type = true;
        } else {
            reply_syntax(call);
            return false;
        }
    }
    return true;
}

/* What a scan has found: replies, without the head that says how many. */
struct found {
    struct call *call;
    const struct scan_options *options;
    struct shard *shard;
    enum key_type type;
    struct buf replies;
    size_t count, seen;
};

static bool matches(const struct scan_options *o, struct bytes name) { return !o->has_match || glob_match(o->match, name, false); }

static const char *const TYPES[] = {"none", "string", "set", "hash"};

static void visit_key(struct key *key, void *arg) {
    struct found *f = arg;
    f->seen++;
    if (!matches(f->options, key_name(key))) return;
    if (f->options->has_type && !bytes_is(f->options->type, TYPES[key_type(f->shard, key)])) return;
    resp_bulk(&f->replies, key_name(key));
    f->count++;
}

static void visit_field(struct field *field, void *arg) {
    struct found *f = arg;
    f->seen++;
    if (!matches(f->options, field_name(field))) return;
    resp_bulk(&f->replies, field_name(field));
    f->count++;
    if (f->type != KEY_HASH) return;
    struct scratch scratch;
    resp_bulk(&f->replies, field_value(f->shard, field, &scratch));
    f->count++;
}

static void reply_found(struct call *call, struct found *f, uint64_t cursor) {
    char digits[24];
    resp_array(call->out, 2);
    resp_bulk(call->out, bytes_of(digits, bytes_from_i64((int64_t)cursor, digits)));
    resp_array(call->out, f->count);
    buf_put_bytes(call->out, buf_bytes(&f->replies));
    buf_fini(&f->replies);
}

void cmd_scan(struct call *call) {
    struct scan_options options;
    uint64_t cursor, end = (uint64_t)call->node->shard_count * TABLE_TAGS;
    if (!call_scan_cursor(call, call->argv[1], end, &cursor) || !call_scan_options(call, 2, true, &options)) return;
    struct found found = {.call = call, .options = &options};
    while (cursor < end && found.seen < options.count) {
        uint32_t index = (uint32_t)(cursor / TABLE_TAGS);
        found.shard = call->node->shards[index];
        node_lock(call->node, index);
        uint32_t next = shard_key_scan(found.shard, (uint32_t)(cursor % TABLE_TAGS), options.count - found.seen, call->now_ms, visit_key, &found);
        call_unlock(call, index);
        cursor = (uint64_t)index * TABLE_TAGS + next;
    }
    reply_found(call, &found, cursor >= end ? 0 : cursor);
}

/* key cursor [MATCH pattern] [COUNT count] */
void call_scan_fields(struct call *call, enum key_type type) {
    struct scan_options options;
    uint64_t cursor;
    if (!call_scan_cursor(call, call->argv[2], TABLE_TAGS, &cursor)) return;
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, type)) return;
    struct found found = {.call = call, .options = &options, .shard = place.shard, .type = type};
    uint32_t next = TABLE_TAGS;
    if (place.key) { /* Redis looks at the options of a key that is there only */
        if (!call_scan_options(call, 3, false, &options)) return;
        next = key_field_scan(place.key, type, (uint32_t)cursor, options.count, visit_field, &found);
    }
    reply_found(call, &found, next >= TABLE_TAGS ? 0 : next);
}

void cmd_keys(struct call *call) {
    struct scan_options options = {.match = call->argv[1], .has_match = true};
    struct found found = {.call = call, .options = &options};
    for (uint32_t i = 0; i < call->node->shard_count; i++) {
        size_t at = 0;
        struct key *key;
        found.shard = call->node->shards[i];
        node_lock(call->node, i);
        while ((key = shard_key_next(found.shard, &at, call->now_ms))) visit_key(key, &found);
        call_unlock(call, i);
    }
    resp_array(call->out, found.count);
    buf_put_bytes(call->out, buf_bytes(&found.replies));
    buf_fini(&found.replies);
}

/* The shard by its share of the keys, then a key of it; a neighbour where all of them expired. */
void cmd_randomkey(struct call *call) {
    struct rng rng = call_rng(call);
    uint64_t keys = node_key_count(call->node), pick = keys ? rng_below(&rng, keys) : 0;
    uint32_t first = 0, shards = call->node->shard_count;
    while (first < shards - 1 && pick >= shard_key_count(call->node->shards[first])) pick -= shard_key_count(call->node->shards[first++]);
    for (uint32_t i = 0; keys && i < shards; i++) {
        uint32_t index = (first + i) % shards;
        node_lock(call->node, index);
        struct key *key = shard_key_random(call->node->shards[index], &rng, call->now_ms);
        if (key) resp_bulk(call->out, key_name(key));
        call_unlock(call, index);
        if (key) return;
    }
    resp_null(call->out);
}
