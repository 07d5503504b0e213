/* Keys as a whole: RENAME, COPY, OBJECT.
 *
 * A copy is written as its value shows on this node: a counter becomes a new base with nothing
 * added, a set and a hash element by element, and the expiry goes along. */
#include <stdio.h>
#include <stdlib.h>

#include "core/mutant.h"
#include "net/command.h"
#include "net/resp.h"

/* Names and values, copied: writing one key may move the other. */
static void collect(const struct place *from, struct buf *text, size_t **lens, size_t *count) {
    size_t at = 0, cap = (size_t)key_field_count(from->key, from->type) * 2;
    struct field *f;
    struct scratch scratch;
    *lens = mem_alloc((cap + 1) * sizeof **lens);
    *count = 0;
    while (*count < cap && (f = key_field_next(from->key, from->type, &at))) {
        struct bytes value = from->type == KEY_HASH ? field_value(from->shard, f, &scratch) : (struct bytes){0};
        (*lens)[(*count)++] = field_name(f).len;
        (*lens)[(*count)++] = value.len;
        buf_put_bytes(text, field_name(f));
        buf_put_bytes(text, value);
    }
}

static void write_fields(struct call *call, const struct place *from, const struct place *to) {
    struct buf text = {0};
    size_t *lens, count, at = 0;
    enum key_type type = from->type;
    buf_reserve(&text, 1); /* so that even an empty name has an address */
    collect(from, &text, &lens, &count);
    if (to->key) shard_delete(to->shard, to->ref, call->now_ms);
    for (size_t i = 0; i < count; i += 2) {
        if (MUTANT(lock_given_back)) shard_unlock(to->shard), shard_lock(to->shard);
        struct bytes name = bytes_of(text.data + at, lens[i]), value = bytes_of(text.data + at + lens[i], lens[i + 1]);
        if (type == KEY_SET)
            shard_add_member(to->shard, to->ref, name, call->now_ms);
        else
            shard_set_field(to->shard, to->ref, name, value, call->now_ms);
        at += lens[i] + lens[i + 1];
    }
    buf_fini(&text);
    mem_free(lens);
}

static void copy_key(struct call *call, const struct place *from, const struct place *to) {
    int64_t expiry = key_expiry(from->key);
    if (from->type == KEY_STRING) {
        struct scratch scratch;
        struct buf value = {0};
        buf_put_bytes(&value, key_string(from->shard, from->key, &scratch));
        shard_set(to->shard, to->ref, buf_bytes(&value), false, call->now_ms);
        __int128 number;
        if (MUTANT(rename_counts_twice) && fixed_parse(buf_bytes(&value), &number) == STATUS_OK)
            shard_increase(to->shard, to->ref, number, call->now_ms);
        buf_fini(&value);
    } else {
        write_fields(call, from, to);
    }
    if (expiry != EXPIRY_NEVER) shard_expire(to->shard, to->ref, expiry, call->now_ms);
}

/* False: it was not done, and the reply says so. */
static bool rename_key(struct call *call, bool unless_there) {
    struct place from = call_place(call, call->argv[1]), to = call_place(call, call->argv[2]);
    if (!from.key) {
        resp_error(call->out, "ERR no such key");
        return false;
    }
    bool same = bytes_equal(call->argv[1], call->argv[2]);
    if (unless_there && to.key) {
        resp_integer(call->out, 0);
        return false;
    }
    if (same) return true;
    copy_key(call, &from, &to);
    shard_delete(from.shard, from.ref, call->now_ms);
    return true;
}

void cmd_rename(struct call *call) {
    if (rename_key(call, false)) resp_status(call->out, "OK");
}

void cmd_renamenx(struct call *call) {
    if (rename_key(call, true)) resp_integer(call->out, 1);
}

/* COPY source destination [DB 0] [REPLACE] */
void cmd_copy(struct call *call) {
    bool replace = false;
    for (size_t i = 3; i < call->argc; i++) {
        if (bytes_is(call->argv[i], "replace")) {
            replace = true;
        } else if (bytes_is(call->argv[i], "db") && i + 1 < call->argc) {
            if (!call_database(call, call->argv[++i])) return;
        } else {
            reply_syntax(call);
            return;
        }
    }
    if (bytes_equal(call->argv[1], call->argv[2])) {
        resp_error(call->out, "ERR source and destination objects are the same");
        return;
    }
    struct place from = call_place(call, call->argv[1]), to = call_place(call, call->argv[2]);
    bool done = from.key && (replace || !to.key);
    if (done) copy_key(call, &from, &to);
    resp_integer(call->out, done);
}

/* ------------------------------------------------------------------ OBJECT */

#define EMBEDDED_BYTES_MAX 44 /* Redis's border between embstr and raw */

static void object_encoding(struct call *call, const struct place *place) {
    struct scratch scratch;
    int64_t number;
    const char *name = "hashtable";
    if (place->type == KEY_STRING) {
        struct bytes text = key_string(place->shard, place->key, &scratch);
        name = bytes_to_i64(text, &number) ? "int" : text.len <= EMBEDDED_BYTES_MAX ? "embstr" : "raw";
    }
    resp_bulk(call->out, bytes_str(name));
}

static void object_refcount(struct call *call, const struct place *place) {
    (void)place;
    resp_integer(call->out, 1);
}

static void object_freq(struct call *call, const struct place *place) {
    (void)place;
    resp_error(call->out, "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
                          "between policies at runtime LRU and LFU data will take some time to adjust.");
}

static void object_idletime(struct call *call, const struct place *place) {
    (void)place;
    resp_error(call->out, "ERR this server does not track when keys were accessed");
}

void cmd_object(struct call *call) {
    static const char *const help[] = {
        "OBJECT <subcommand> [<arg> ...]. Subcommands are:",
        "ENCODING <key> -- int, embstr, raw or hashtable",
        "FREQ <key> -- an error: how often keys are accessed is not tracked",
        "IDLETIME <key> -- an error: when keys were accessed is not tracked",
        "REFCOUNT <key> -- 1",
    };
    static const struct {
        const char *name;
        void (*run)(struct call *, const struct place *);
    } table[] = {{"encoding", object_encoding}, {"freq", object_freq}, {"idletime", object_idletime}, {"refcount", object_refcount}};
    if (bytes_is(call->argv[1], "help") && call->argc == 2) {
        reply_help(call, help, sizeof help / sizeof *help);
        return;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!bytes_is(call->argv[1], table[i].name)) continue;
        char name[32];
        snprintf(name, sizeof name, "object|%s", table[i].name);
        struct place place = {0};
        if (call->argc != 3)
            reply_arity(call, name);
        else if ((place = call_place(call, call->argv[2])).key)
            table[i].run(call, &place);
        else
            resp_null(call->out);
        return;
    }
    reply_subcommand(call, "OBJECT");
}
