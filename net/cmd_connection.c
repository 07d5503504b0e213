/* The connection itself: who it is, what it may do, how it is answered. */
#include <stdio.h>
#include <stdlib.h>

#include "core/order.h"
#include "net/options.h"
#include "net/session.h"

#define VERSION_AS_REDIS "7.0.15" /* whose surface clients may expect */

void cmd_ping(struct call *call) {
    if (call->argc > 2)
        reply_arity(call, "ping");
    else if (call->argc == 2)
        resp_bulk(call->out, call->argv[1]);
    else
        resp_status(call->out, "PONG");
}

void cmd_echo(struct call *call) { resp_bulk(call->out, call->argv[1]); }

void cmd_quit(struct call *call) {
    resp_status(call->out, "OK");
    call->session->closing = true;
}

static void set_name(struct session *s, struct bytes name) {
    pthread_mutex_lock(&s->host->lock);
    s->name.len = 0;
    buf_put_bytes(&s->name, name);
    pthread_mutex_unlock(&s->host->lock);
}

void cmd_reset(struct call *call) {
    struct session *s = call->session;
    set_name(s, (struct bytes){0});
    s->reply_mode = REPLY_ON;
    s->authenticated = !host_has_password(s->host);
    s->parser.stranger = !s->authenticated;
    resp_status(call->out, "RESET");
}

void cmd_select(struct call *call) {
    if (call_database(call, call->argv[1])) resp_status(call->out, "OK");
}

/* -------------------------------------------------------------------- auth */

static bool authenticate(struct call *call, struct bytes user, struct bytes password) {
    struct session *s = call->session;
    bool is_default = bytes_equal(user, bytes_str("default"));
    if (is_default && (!host_has_password(s->host) || host_is_password(s->host, password))) {
        s->authenticated = true;
        s->parser.stranger = false;
        return true;
    }
    atomic_fetch_add(&s->host->auth_failures, 1);
    resp_error(call->out, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

void cmd_auth(struct call *call) {
    if (call->argc > 3) {
        reply_syntax(call);
    } else if (call->argc == 2 && !host_has_password(call->session->host)) {
        resp_error(call->out, "ERR AUTH <password> called without any password configured for the default user. "
                              "Are you sure your configuration is correct?");
    } else {
        struct bytes user = call->argc == 3 ? call->argv[1] : bytes_str("default");
        if (authenticate(call, user, call->argv[call->argc - 1])) resp_status(call->out, "OK");
    }
}

static bool is_name(struct bytes name) {
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] < '!' || name.data[i] > '~') return false;
    return true;
}

static void reply_hello(struct call *call) {
    static const char *const texts[][2] = {{"server", "redis"}, {"version", VERSION_AS_REDIS}};
    resp_array(call->out, 14);
    for (int i = 0; i < 2; i++) {
        resp_bulk(call->out, bytes_str(texts[i][0]));
        resp_bulk(call->out, bytes_str(texts[i][1]));
    }
    resp_bulk(call->out, bytes_str("proto"));
    resp_integer(call->out, 2);
    resp_bulk(call->out, bytes_str("id"));
    resp_integer(call->out, (int64_t)call->session->id);
    resp_bulk(call->out, bytes_str("mode"));
    resp_bulk(call->out, bytes_str("standalone"));
    resp_bulk(call->out, bytes_str("role"));
    resp_bulk(call->out, bytes_str("master"));
    resp_bulk(call->out, bytes_str("modules"));
    resp_array(call->out, 0);
}

void cmd_hello(struct call *call) {
    struct session *s = call->session;
    struct bytes name = {0};
    bool named = false;
    int64_t version = 2;
    if (call->argc > 1 && !bytes_to_i64(call->argv[1], &version)) {
        resp_error(call->out, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version != 2) {
        resp_error(call->out, "NOPROTO unsupported protocol version");
        return;
    }
    for (size_t i = 2; i < call->argc; i++) {
        size_t left = call->argc - i - 1;
        if (bytes_is(call->argv[i], "auth") && left >= 2) {
            if (!authenticate(call, call->argv[i + 1], call->argv[i + 2])) return;
            i += 2;
        } else if (bytes_is(call->argv[i], "setname") && left >= 1) {
            name = call->argv[++i];
            named = true;
        } else {
            char text[160];
            snprintf(text, sizeof text, "ERR Syntax error in HELLO option '%.*s'", (int)(call->argv[i].len > 64 ? 64 : call->argv[i].len),
                     (const char *)call->argv[i].data);
            resp_error(call->out, text);
            return;
        }
    }
    if (!s->authenticated) {
        resp_error(call->out, "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH "
                              "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time");
    } else if (named && !is_name(name)) {
        resp_error(call->out, "ERR Client names cannot contain spaces, newlines or special characters.");
    } else {
        if (named) set_name(s, name);
        reply_hello(call);
    }
}

/* ------------------------------------------------------------------ CLIENT */

/* With the host's lock. */
static void describe(const struct session *s, int64_t now_us, struct buf *out) {
    const struct command *last = atomic_load_explicit(&s->last, memory_order_relaxed);
    int64_t active = atomic_load_explicit(&s->active_us, memory_order_relaxed);
    buf_printf(out, "id=%llu addr=%s laddr=%s name=%.*s age=%lld idle=%lld flags=N db=0 sub=0 psub=0 multi=-1 cmd=%s user=default resp=2\n",
               (unsigned long long)s->id, s->peer, s->at, (int)s->name.len, s->name.data ? (char *)s->name.data : "",
               (long long)((now_us - s->since_us) / 1000000), (long long)((now_us - active) / 1000000), last ? last->name : "NULL");
}

/* Only normal clients exist; the other types are known, and have none. False, and an error. */
static bool read_type(struct call *call, struct bytes text, bool *normal) {
    static const char *const others[] = {"master", "replica", "slave", "pubsub"};
    *normal = bytes_is(text, "normal");
    bool known = *normal;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) known = known || bytes_is(text, others[i]);
    char error[128];
    snprintf(error, sizeof error, "ERR Unknown client type '%.*s'", (int)(text.len > 64 ? 64 : text.len), (const char *)text.data);
    if (!known) resp_error(call->out, error);
    return known;
}

/* Sorted. NULL, and an error, if one is none. */
static uint64_t *read_ids(struct call *call, size_t from) {
    uint64_t *ids = mem_alloc((call->argc - from) * sizeof *ids);
    for (size_t i = from; i < call->argc; i++) {
        int64_t id;
        if (bytes_to_i64(call->argv[i], &id)) {
            ids[i - from] = (uint64_t)id;
            continue;
        }
        resp_error(call->out, "ERR Invalid client ID");
        mem_free(ids);
        return NULL;
    }
    qsort(ids, call->argc - from, sizeof *ids, order_u64);
    return ids;
}

/* Those with one of the ids; all, if ids is NULL. */
static void put_list(struct call *call, const uint64_t *ids, size_t count) {
    struct host *h = call->session->host;
    struct buf text = {0};
    int64_t now_us = node_now(call->node).mono_us;
    pthread_mutex_lock(&h->lock);
    for (const struct session *s = h->sessions; s; s = s->next)
        if (!ids || bsearch(&s->id, ids, count, sizeof *ids, order_u64)) describe(s, now_us, &text);
    pthread_mutex_unlock(&h->lock);
    resp_bulk(call->out, buf_bytes(&text));
    buf_fini(&text);
}

/* CLIENT LIST [TYPE type] [ID id ...] */
static void client_list(struct call *call) {
    bool normal = true;
    uint64_t *ids = NULL;
    if (call->argc == 4 && bytes_is(call->argv[2], "type")) {
        if (!read_type(call, call->argv[3], &normal)) return;
    } else if (call->argc > 3 && bytes_is(call->argv[2], "id")) {
        if (!(ids = read_ids(call, 3))) return;
    } else if (call->argc != 2) {
        reply_syntax(call);
        return;
    }
    if (normal)
        put_list(call, ids, ids ? call->argc - 3 : 0);
    else
        resp_bulk(call->out, (struct bytes){0});
    mem_free(ids);
}

struct kill {
    int64_t id; /* 0: any */
    struct bytes addr, at;
    bool has_addr, has_at, keep_me, none;
};

/* One filter. False, and an error. */
static bool read_filter(struct call *call, struct bytes what, struct bytes value, struct kill *k) {
    char error[128];
    bool normal = true, is_yes = bytes_is(value, "yes");
    if (bytes_is(what, "id")) {
        if (bytes_to_i64(value, &k->id) && k->id > 0) return true;
        resp_error(call->out, "ERR client-id should be greater than 0");
    } else if (bytes_is(what, "addr")) {
        k->addr = value;
        return k->has_addr = true;
    } else if (bytes_is(what, "laddr")) {
        k->at = value;
        return k->has_at = true;
    } else if (bytes_is(what, "skipme") && (is_yes || bytes_is(value, "no"))) {
        k->keep_me = is_yes;
        return true;
    } else if (bytes_is(what, "user")) {
        if (bytes_equal(value, bytes_str("default"))) return true;
        snprintf(error, sizeof error, "ERR No such user '%.*s'", (int)(value.len > 64 ? 64 : value.len), (const char *)value.data);
        resp_error(call->out, error);
    } else if (bytes_is(what, "type")) {
        if (!read_type(call, value, &normal)) return false;
        k->none = k->none || !normal;
        return true;
    } else {
        reply_syntax(call);
    }
    return false;
}

static bool read_kill(struct call *call, struct kill *k) {
    k->keep_me = true;
    for (size_t i = 2; i < call->argc; i += 2) {
        if (i + 1 == call->argc) {
            reply_syntax(call);
            return false;
        }
        if (!read_filter(call, call->argv[i], call->argv[i + 1], k)) return false;
    }
    return true;
}

static bool is_meant(const struct kill *k, const struct session *s) {
    return !k->none && (!k->id || s->id == (uint64_t)k->id) && (!k->has_addr || bytes_equal(k->addr, bytes_str(s->peer))) &&
           (!k->has_at || bytes_equal(k->at, bytes_str(s->at)));
}

static int64_t kill_all(struct call *call, const struct kill *k) {
    struct host *h = call->session->host;
    int64_t killed = 0;
    pthread_mutex_lock(&h->lock);
    for (struct session *s = h->sessions; s; s = s->next) {
        if (!is_meant(k, s)) continue;
        if (s == call->session) {
            if (k->keep_me) continue;
            s->closing = true;
        } else if (!h->ports.kill || !h->ports.kill(h->ports.arg, s->id)) {
            continue;
        }
        killed++;
    }
    pthread_mutex_unlock(&h->lock);
    return killed;
}

static void client_kill(struct call *call) {
    struct kill k = {0};
    if (call->argc == 3) { /* the old form */
        k = (struct kill){.addr = call->argv[2], .has_addr = true};
        if (kill_all(call, &k))
            resp_status(call->out, "OK");
        else
            resp_error(call->out, "ERR No such client");
    } else if (read_kill(call, &k)) {
        resp_integer(call->out, kill_all(call, &k));
    }
}

static void client_reply(struct call *call) {
    struct session *s = call->session;
    if (bytes_is(call->argv[2], "on")) {
        s->reply_mode = REPLY_ON;
        resp_status(call->out, "OK");
    } else if (bytes_is(call->argv[2], "off")) {
        s->reply_mode = REPLY_OFF;
    } else if (bytes_is(call->argv[2], "skip")) {
        if (s->reply_mode != REPLY_OFF) s->reply_mode = REPLY_SKIP_NEXT;
    } else {
        reply_syntax(call);
    }
}

static void client_pause(struct call *call) {
    int64_t ms, until_us, now_us = node_now(call->node).mono_us;
    bool writes = call->argc == 4 && bytes_is(call->argv[3], "write");
    if (call->argc > 4) {
        reply_subcommand_or_arity(call, "CLIENT");
    } else if (call->argc == 4 && !writes && !bytes_is(call->argv[3], "all")) {
        resp_error(call->out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
    } else if (!bytes_to_i64(call->argv[2], &ms)) {
        resp_error(call->out, "ERR timeout is not an integer or out of range");
    } else if (ms < 0) {
        resp_error(call->out, "ERR timeout is negative");
    } else {
        if (__builtin_mul_overflow(ms, 1000, &until_us) || __builtin_add_overflow(until_us, now_us, &until_us)) until_us = INT64_MAX;
        host_pause(call->session->host, until_us, !writes, now_us);
        resp_status(call->out, "OK");
    }
}

static void client_getname(struct call *call) {
    struct session *s = call->session;
    if (s->name.len)
        resp_bulk(call->out, buf_bytes(&s->name));
    else
        resp_null(call->out);
}

static void client_setname(struct call *call) {
    if (!is_name(call->argv[2])) {
        resp_error(call->out, "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    set_name(call->session, call->argv[2]);
    resp_status(call->out, "OK");
}

static void client_id(struct call *call) { resp_integer(call->out, (int64_t)call->session->id); }

static void client_info(struct call *call) {
    struct buf text = {0};
    pthread_mutex_lock(&call->session->host->lock);
    describe(call->session, node_now(call->node).mono_us, &text);
    pthread_mutex_unlock(&call->session->host->lock);
    resp_bulk(call->out, buf_bytes(&text));
    buf_fini(&text);
}

/* There is no eviction of clients, so nobody is ever evicted. */
static void client_no_evict(struct call *call) {
    if (bytes_is(call->argv[2], "on") || bytes_is(call->argv[2], "off"))
        resp_status(call->out, "OK");
    else
        reply_syntax(call);
}

static void client_unpause(struct call *call) {
    host_unpause(call->session->host);
    resp_status(call->out, "OK");
}

static void client_help(struct call *call) {
    static const char *const lines[] = {
        "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
        "GETNAME -- the name of this connection",
        "SETNAME <name> -- names this connection",
        "ID -- the id of this connection",
        "INFO -- this connection, as in LIST",
        "LIST [ID <id> ... | TYPE normal] -- all connections, or some",
        "KILL <addr> | KILL [ID <id>] [ADDR <addr>] [LADDR <addr>] [TYPE normal] [USER default] [SKIPME yes|no] -- closes connections",
        "NO-EVICT (ON|OFF) -- accepted: connections are never evicted",
        "PAUSE <milliseconds> [WRITE|ALL] -- holds commands of all connections back, but those that may end it",
        "UNPAUSE -- ends it",
        "REPLY (ON|OFF|SKIP) -- whether this connection is answered",
    };
    reply_help(call, lines, sizeof lines / sizeof *lines);
}

void cmd_client(struct call *call) {
    static const struct {
        const char *name;
        int arity;
        void (*run)(struct call *);
    } table[] = {
        {"id", 2, client_id}, {"getname", 2, client_getname}, {"setname", 3, client_setname}, {"list", -2, client_list},
        {"info", 2, client_info}, {"kill", -3, client_kill}, {"no-evict", 3, client_no_evict}, {"reply", 3, client_reply},
        {"pause", -3, client_pause}, {"unpause", 2, client_unpause}, {"help", 2, client_help},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!bytes_is(call->argv[1], table[i].name)) continue;
        int arity = table[i].arity;
        if (arity > 0 ? call->argc != (size_t)arity : call->argc < (size_t)-arity) {
            char name[64];
            snprintf(name, sizeof name, "client|%s", table[i].name);
            reply_arity(call, name);
        } else {
            table[i].run(call);
        }
        return;
    }
    reply_subcommand(call, "CLIENT");
}
