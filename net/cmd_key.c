/* Commands on keys of any type. */
#include "net/command.h"
#include "net/resp.h"

void cmd_del(struct call *call) {
    int64_t removed = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct place place = call_place(call, call->argv[i]);
        removed += shard_delete(place.shard, place.ref, call->now_ms);
    }
    resp_integer(call->out, removed);
}

/* A key that is named twice counts twice, as in Redis. */
void cmd_exists(struct call *call) {
    int64_t there = 0;
    for (size_t i = 1; i < call->argc; i++) there += call_place(call, call->argv[i]).key != NULL;
    resp_integer(call->out, there);
}

void cmd_type(struct call *call) {
    static const char *const names[] = {[KEY_NONE] = "none", [KEY_STRING] = "string", [KEY_SET] = "set", [KEY_HASH] = "hash"};
    resp_status(call->out, names[call_place(call, call->argv[1]).type]);
}

/* ---------------------------------------------------------------- expiring */

struct expire_rule {
    bool nx, xx, gt, lt;
};

static bool read_rule(struct call *call, struct expire_rule *rule) {
    for (size_t i = 3; i < call->argc; i++) {
        struct bytes word = call->argv[i];
        if (bytes_is(word, "nx"))
            rule->nx = true;
        else if (bytes_is(word, "xx"))
            rule->xx = true;
        else if (bytes_is(word, "gt"))
            rule->gt = true;
        else if (bytes_is(word, "lt"))
            rule->lt = true;
        else {
            struct buf text = {0};
            buf_printf(&text, "ERR Unsupported option %.*s", (int)(word.len > 64 ? 64 : word.len), (const char *)word.data);
            buf_put_byte(&text, 0);
            resp_error(call->out, (const char *)text.data);
            buf_fini(&text);
            return false;
        }
    }
    if (rule->nx && (rule->xx || rule->gt || rule->lt)) {
        resp_error(call->out, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (rule->gt && rule->lt) {
        resp_error(call->out, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* No expiry counts as infinitely late. */
static bool rule_allows(const struct expire_rule *rule, int64_t current, int64_t wanted) {
    bool has = current != EXPIRY_NEVER;
    return !(rule->nx && has) && !(rule->xx && !has) && !(rule->gt && (!has || wanted <= current)) &&
           !(rule->lt && has && wanted >= current);
}

static void expire(struct call *call, bool seconds, bool absolute) {
    struct expire_rule rule = {0};
    int64_t at;
    if (!read_rule(call, &rule)) return;
    if (!bytes_to_i64(call->argv[2], &at)) {
        reply_not_integer(call);
        return;
    }
    if ((seconds && __builtin_mul_overflow(at, 1000, &at)) || (!absolute && __builtin_add_overflow(at, call->now_ms, &at)) ||
        at == EXPIRY_NEVER) {
        reply_expire_time(call);
        return;
    }
    struct place place = call_place(call, call->argv[1]);
    if (!place.key || !rule_allows(&rule, key_expiry(place.key), at)) {
        resp_integer(call->out, 0);
        return;
    }
    if (at <= call->now_ms)
        shard_delete(place.shard, place.ref, call->now_ms);
    else
        shard_expire(place.shard, place.ref, at, call->now_ms);
    resp_integer(call->out, 1);
}

void cmd_expire(struct call *call) { expire(call, true, false); }
void cmd_pexpire(struct call *call) { expire(call, false, false); }
void cmd_expireat(struct call *call) { expire(call, true, true); }
void cmd_pexpireat(struct call *call) { expire(call, false, true); }

void cmd_persist(struct call *call) {
    struct place place = call_place(call, call->argv[1]);
    bool had = place.key && key_expiry(place.key) != EXPIRY_NEVER;
    if (had) shard_expire(place.shard, place.ref, EXPIRY_NEVER, call->now_ms);
    resp_integer(call->out, had);
}

/* -2: no such key; -1: it does not expire. */
static void reply_expiry(struct call *call, bool seconds, bool absolute) {
    struct place place = call_place(call, call->argv[1]);
    int64_t at = place.key ? key_expiry(place.key) : EXPIRY_NEVER;
    if (at == EXPIRY_NEVER) {
        resp_integer(call->out, place.key ? -1 : -2);
        return;
    }
    int64_t ms = absolute ? at : at - call->now_ms;
    resp_integer(call->out, seconds ? ms / 1000 + (ms % 1000 >= 500) : ms);
}

void cmd_ttl(struct call *call) { reply_expiry(call, true, false); }
void cmd_pttl(struct call *call) { reply_expiry(call, false, false); }
void cmd_expiretime(struct call *call) { reply_expiry(call, true, true); }
void cmd_pexpiretime(struct call *call) { reply_expiry(call, false, true); }

/* ----------------------------------------------------------- the key space */

void cmd_dbsize(struct call *call) { resp_integer(call->out, (int64_t)node_key_count(call->node)); }

/* Shard after shard: each is one mutation of its own, as its context is. */
void cmd_flushall(struct call *call) {
    if (call->argc > 2 || (call->argc == 2 && !bytes_is(call->argv[1], "sync") && !bytes_is(call->argv[1], "async"))) {
        reply_syntax(call);
        return;
    }
    for (uint32_t i = 0; i < call->node->shard_count; i++) {
        node_lock(call->node, i);
        shard_flush(call->node->shards[i], call->now_ms);
        call_unlock(call, i);
    }
    resp_status(call->out, "OK");
}
