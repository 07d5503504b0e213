/* The cluster: ANNEAL, and WAIT, which counts peers that really have applied a write. */
#include <stdio.h>
#include <stdlib.h>

#include "net/session.h"

/* -------------------------------------------------------------------- WAIT */

/* Our counters now, of the shards that this client wrote: at or beyond its writes. */
static void take_marks(struct call *call) {
    struct session *s = call->session;
    size_t words = (call->node->shard_count + 63) / 64;
    uint64_t incarnation = gossip_self(call->node->gossip).incarnation; /* before the counters */
    s->marks = mem_alloc(call->node->shard_count * sizeof *s->marks);
    s->mark_count = 0;
    for (size_t w = 0; s->wrote && w < words; w++)
        for (uint64_t bits = s->wrote[w]; bits; bits &= bits - 1) {
            uint32_t shard = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(bits);
            shard_lock(call->node->shards[shard]);
            s->marks[s->mark_count++] = (struct gossip_mark){shard, shard_own(call->node->shards[shard]), incarnation};
            shard_unlock(call->node->shards[shard]);
        }
}

void cmd_wait(struct call *call) {
    struct session *s = call->session;
    int64_t wanted, deadline_us, now_us = node_now(call->node).mono_us;
    bool first = !s->waits;
    if (!bytes_to_i64(call->argv[1], &wanted)) {
        reply_not_integer(call);
        return;
    }
    if (!session_deadline(call, call->argv[2], now_us, &deadline_us)) return;
    if (first) take_marks(call);
    uint32_t acked = gossip_count_acked(call->node->gossip, s->marks, s->mark_count);
    if (acked >= wanted || now_us >= deadline_us) {
        mem_free(s->marks);
        s->marks = NULL;
        resp_integer(call->out, acked);
        return;
    }
    if (first) gossip_ask(call->node->gossip);
    session_park(call, deadline_us);
}

/* ------------------------------------------------------------------ ANNEAL */

static void put_text(struct call *call, const char *name, const char *value) {
    resp_bulk(call->out, bytes_str(name));
    resp_bulk(call->out, bytes_str(value));
}

static void put_number(struct call *call, const char *name, int64_t value) {
    resp_bulk(call->out, bytes_str(name));
    resp_integer(call->out, value);
}

#define MEMBERS_SHOWN 256

static size_t load_members(struct call *call, struct member_info **out) {
    *out = mem_alloc(MEMBERS_SHOWN * sizeof **out);
    size_t count = gossip_members(call->node->gossip, *out, MEMBERS_SHOWN);
    return count < MEMBERS_SHOWN ? count : MEMBERS_SHOWN;
}

static void anneal_nodes(struct call *call) {
    struct member_info *m;
    size_t count = load_members(call, &m);
    resp_array(call->out, count);
    for (size_t i = 0; i < count; i++) {
        char id[20], incarnation[20];
        snprintf(id, sizeof id, "%016llx", (unsigned long long)m[i].id.node);
        snprintf(incarnation, sizeof incarnation, "%016llx", (unsigned long long)m[i].id.incarnation);
        resp_array(call->out, 12);
        put_text(call, "node", id);
        put_text(call, "incarnation", incarnation);
        put_text(call, "address", m[i].address);
        put_text(call, "state", member_status_text(m[i].status));
        put_text(call, "link", m[i].connected ? "up" : "down");
        put_number(call, "silent-ms", m[i].silent_ms);
    }
    mem_free(m);
}

static void anneal_lag(struct call *call) {
    struct member_info *m;
    size_t count = load_members(call, &m);
    resp_array(call->out, count - 1);
    for (size_t i = 1; i < count; i++) {
        char id[20];
        snprintf(id, sizeof id, "%016llx", (unsigned long long)m[i].id.node);
        resp_array(call->out, 14);
        put_text(call, "node", id);
        put_text(call, "address", m[i].address);
        put_number(call, "ack-us", m[i].ack_us);
        put_number(call, "unacked", (int64_t)m[i].unacked);
        put_number(call, "missing", (int64_t)m[i].missing);
        put_number(call, "digest-age-ms", m[i].digest_age_ms);
        put_number(call, "outbox-bytes", (int64_t)m[i].outbox_bytes);
    }
    mem_free(m);
}

static void anneal_digest(struct call *call) {
    int64_t shard = -1;
    if (call->argc == 3 && (!bytes_to_i64(call->argv[2], &shard) || shard < 0 || shard >= call->node->shard_count)) {
        resp_error(call->out, "ERR no such shard");
        return;
    }
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)gossip_digest(call->node->gossip, shard));
    resp_bulk(call->out, bytes_str(text));
}

static void anneal_leave(struct call *call) {
    gossip_leave(call->node->gossip, node_now(call->node));
    resp_status(call->out, "OK");
}

static void anneal_forget(struct call *call) {
    char text[20] = {0}, *end = text;
    if (call->argv[2].len && call->argv[2].len <= 16) memcpy(text, call->argv[2].data, call->argv[2].len);
    uint64_t node = strtoull(text, &end, 16);
    enum status status = *text && !*end ? gossip_forget(call->node->gossip, node) : STATUS_ERR_NOT_FOUND;
    if (status == STATUS_OK)
        resp_status(call->out, "OK");
    else if (status == STATUS_ERR_BUSY)
        resp_error(call->out, "ERR that node is not down");
    else
        resp_error(call->out, "ERR no such node");
}

static void anneal_help(struct call *call) {
    static const char *const lines[] = {
        "ANNEAL <subcommand> [<arg> ...]. Subcommands are:",
        "NODES -- the members, this one first: state is self, up, suspect, down, left or gone",
        "LAG -- per peer: how long an acknowledgement takes, our mutations that it has not acknowledged, and its that we lack",
        "DIGEST [<shard>] -- equal on nodes that hold the same data",
        "LEAVE -- tells the peers that this node leaves; it goes on serving until it is stopped",
        ("FORGET <node> -- this node is down for good: it no longer holds back what may be forgotten, and if it does come back "
         "it starts over, empty"),
    };
    reply_help(call, lines, sizeof lines / sizeof *lines);
}

void cmd_anneal(struct call *call) {
    static const struct {
        const char *name;
        size_t least, most;
        void (*run)(struct call *);
    } table[] = {{"nodes", 2, 2, anneal_nodes}, {"lag", 2, 2, anneal_lag},       {"digest", 2, 3, anneal_digest},
                 {"leave", 2, 2, anneal_leave}, {"forget", 3, 3, anneal_forget}, {"help", 2, 2, anneal_help}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!bytes_is(call->argv[1], table[i].name)) continue;
        char name[64];
        snprintf(name, sizeof name, "anneal|%s", table[i].name);
        if (call->argc < table[i].least || call->argc > table[i].most)
            reply_arity(call, name);
        else
            table[i].run(call);
        return;
    }
    reply_subcommand(call, "ANNEAL");
}
