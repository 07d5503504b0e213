#include "net/session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mutant.h"
#include "net/options.h"
#include "net/pipeline.h"
#include "net/resp.h"
#include "persist/keeper.h"

static const char PROTECTED[] =
    "DENIED anneal is running in protected mode because no password is set and this client is not on the "
    "loopback interface. Set one with: CONFIG SET requirepass <password> from loopback, or 'requirepass' in the "
    "configuration file; or switch the protection off with 'protected-mode no'.";

struct session *session_new(struct host *host, uint64_t id, const char *peer, const char *at, bool local, struct buf *out) {
    struct session *s = mem_zero(1, sizeof *s);
    s->host = host;
    s->id = id;
    s->local = local;
    snprintf(s->peer, sizeof s->peer, "%s", peer);
    snprintf(s->at, sizeof s->at, "%s", at);
    resp_init(&s->parser, &host->limits);
    bool has_password = host_has_password(host);
    s->authenticated = !has_password;
    s->parser.stranger = has_password;
    s->since_us = node_now(host->node).mono_us;
    atomic_store(&s->active_us, s->since_us);
    atomic_fetch_add(&host->connections_received, 1);
    if (!local && !has_password && config_bool(host->config, OPTION_PROTECTED_MODE)) {
        resp_error(out, PROTECTED);
        atomic_fetch_add(&host->protected_refused, 1);
        s->closing = true;
    }
    pthread_mutex_lock(&host->lock);
    s->next = host->sessions;
    if (s->next) s->next->prev = s;
    host->sessions = s;
    host->session_count++;
    pthread_mutex_unlock(&host->lock);
    return s;
}

static void forget_waiting(struct session *s) {
    if (s->waiting_argv) atomic_fetch_sub(&s->host->parked, 1);
    buf_fini(&s->waiting);
    mem_free(s->waiting_argv);
    mem_free(s->marks);
    s->waiting_argv = NULL;
    s->marks = NULL;
    s->waiting_argc = s->mark_count = 0;
    s->parked = s->waits = false;
}

void session_free(struct session *s) {
    struct host *h = s->host;
    pthread_mutex_lock(&h->lock);
    if (s->prev) s->prev->next = s->next;
    else h->sessions = s->next;
    if (s->next) s->next->prev = s->prev;
    h->session_count--;
    pthread_mutex_unlock(&h->lock);
    resp_fini(&s->parser);
    forget_waiting(s);
    buf_fini(&s->name);
    buf_fini(&s->unsettled);
    mem_free(s->wrote);
    mem_free(s);
}

/* ----------------------------------------------------------------- parking */

/* The query will move, so the arguments are copied; a retry has them already. */
static void keep_arguments(struct session *s, const struct call *call) {
    if (s->waiting_argv == call->argv) return;
    atomic_fetch_add(&s->host->parked, 1);
    size_t total = 0;
    for (size_t i = 0; i < call->argc; i++) total += call->argv[i].len;
    buf_reserve(&s->waiting, total + 1);
    s->waiting_argv = mem_alloc(call->argc * sizeof *s->waiting_argv);
    s->waiting_argc = call->argc;
    for (size_t i = 0; i < call->argc; i++) {
        s->waiting_argv[i] = bytes_of(s->waiting.data + s->waiting.len, call->argv[i].len);
        buf_put_bytes(&s->waiting, call->argv[i]);
    }
}

static void park(struct session *s, const struct call *call, int64_t deadline_us) {
    s->parked = true;
    s->deadline_us = deadline_us;
    keep_arguments(s, call);
}

void session_park(struct call *call, int64_t deadline_us) {
    assert(!call->session->parked);
    call->session->waits = true;
    park(call->session, call, deadline_us);
}

bool session_deadline(struct call *call, struct bytes timeout, int64_t now_us, int64_t *deadline_us) {
    int64_t timeout_ms;
    if (!bytes_to_i64(timeout, &timeout_ms) || timeout_ms > INT64_MAX / 4000) {
        resp_error(call->out, "ERR timeout is not an integer or out of range");
        return false;
    }
    if (timeout_ms < 0) {
        resp_error(call->out, "ERR timeout is negative");
        return false;
    }
    *deadline_us = call->session->waits ? call->session->deadline_us : timeout_ms ? now_us + timeout_ms * 1000 : INT64_MAX;
    return true;
}

/* By CLIENT PAUSE. */
static bool is_held(const struct session *s, const struct command *c, int64_t now_us) {
    const struct host *h = s->host;
    if (atomic_load_explicit(&h->paused_until_us, memory_order_relaxed) <= now_us) return false;
    if (s->waits || c->flags & COMMAND_ALWAYS) return false;
    return atomic_load(&h->paused_all) || c->flags & COMMAND_WRITE;
}

/* ----------------------------------------------------------------- commands */

void session_wrote(struct session *s, uint32_t shard) {
    s->writes = true;
    if (!s->wrote) s->wrote = mem_zero((s->host->node->shard_count + 63) / 64, sizeof *s->wrote);
    s->wrote[shard / 64] |= UINT64_C(1) << (shard % 64);
}

static void count_reply(struct session *s, struct buf *out, size_t before) {
    if (out->len > before && out->data[before] == '-') atomic_fetch_add_explicit(&s->host->errors_replied, 1, memory_order_relaxed);
    if (s->reply_mode == REPLY_OFF || s->reply_mode == REPLY_SKIPPING) out->len = before;
    if (s->reply_mode == REPLY_SKIPPING) s->reply_mode = REPLY_ON;
    if (s->reply_mode == REPLY_SKIP_NEXT) s->reply_mode = REPLY_SKIPPING;
}

struct unsettled {
    size_t from, to;
};

static void note_unsettled(struct session *s, size_t from, size_t to) {
    if (s->writes && s->host->node->keeper && to > from) buf_put(&s->unsettled, &(struct unsettled){from, to}, sizeof(struct unsettled));
    s->writes = false;
}

static void reply_misconf(struct buf *out, enum status failure) {
    char text[128];
    snprintf(text, sizeof text, "MISCONF Errors writing to the AOF file: %s", status_text(failure));
    resp_error(out, text);
}

/* From the back, so that what is still to do stays where it is. */
static void refuse_unsettled(const struct session *s, struct buf *out, enum status failure) {
    struct buf error = {0}, tail = {0};
    reply_misconf(&error, failure);
    for (size_t at = s->unsettled.len; at > 0; at -= sizeof(struct unsettled)) {
        struct unsettled u;
        memcpy(&u, s->unsettled.data + at - sizeof u, sizeof u);
        tail.len = 0;
        buf_put(&tail, out->data + u.to, out->len - u.to);
        out->len = u.from;
        buf_put_bytes(out, buf_bytes(&error));
        buf_put_bytes(out, buf_bytes(&tail));
    }
    buf_fini(&error);
    buf_fini(&tail);
}

void session_settled(struct session *s, struct buf *out, enum status failure) {
    if (failure != STATUS_OK) refuse_unsettled(s, out, failure);
    s->unsettled.len = 0;
}

/* Why writes are refused; STATUS_OK: they are not. */
static enum status write_failure(const struct host *h) { return h->node->keeper ? keeper_failure(h->node->keeper) : STATUS_OK; }

/* Nothing behind this is run. */
static void cut_off(struct session *s, const char *why, struct buf *out) {
    char text[128];
    snprintf(text, sizeof text, "ERR %s", why);
    resp_error(out, text);
    atomic_fetch_add(&s->host->protocol_errors, 1);
    s->closing = true;
}

/* A browser, which any page may make post any lines to us: they are not its user's commands. */
static bool is_http(struct bytes name) { return bytes_is(name, "post") || bytes_is(name, "host:"); }

/* A password that was taken away binds nobody any more. */
static bool is_authenticated(struct session *s) {
    if (s->authenticated || host_has_password(s->host)) return s->authenticated;
    s->parser.stranger = false;
    return s->authenticated = true;
}

/* In the order of Redis: what cannot be run at all, who may not, what must wait. */
static void run(struct session *s, const struct bytes *argv, size_t argc, struct now now, struct pipeline *pipeline, struct buf *out) {
    struct host *h = s->host;
    const struct command *c = command_find(argv[0]);
    struct call call = {.node = h->node, .argv = argv, .argc = argc, .out = out, .now_ms = now.wall_ms, .session = s};
    size_t before = out->len;
    enum status failure;
    if (pipeline) pipeline_take(pipeline, &call);
    if (argv != s->waiting_argv) atomic_store_explicit(&s->active_us, now.mono_us, memory_order_relaxed);
    atomic_store_explicit(&s->last, c, memory_order_relaxed);
    s->parked = false;
    if (!c && is_http(argv[0])) {
        cut_off(s, "Protocol error: HTTP is not spoken here", out);
    } else if (command_check(&call, c)) {
        if (!(c->flags & COMMAND_NO_AUTH) && !is_authenticated(s))
            resp_error(out, "NOAUTH Authentication required.");
        else if (atomic_load_explicit(&h->loading, memory_order_relaxed) && !(c->flags & (COMMAND_ALWAYS | COMMAND_LOADING)))
            resp_error(out, "LOADING anneal is loading the dataset in memory");
        else if (c->flags & COMMAND_WRITE && (failure = write_failure(h)) != STATUS_OK)
            reply_misconf(out, failure);
        else if (is_held(s, c, now.mono_us))
            park(s, &call, atomic_load(&h->paused_until_us));
        else
            command_call(&call, c);
    }
    if (!s->parked) count_reply(s, out, before);
    note_unsettled(s, before, out->len);
}

static bool is_full(const struct session *s) { return s->is_full && s->is_full(s->is_full_arg); }

#define NOW_COMMANDS 64 /* of a pipeline for which one look at the clock will do */

bool session_data(struct session *s, struct buf *query, struct buf *out) {
    const struct bytes *argv;
    size_t argc;
    uint64_t commands = 0;
    struct now now = {0};
    struct pipeline pipeline;
    pipeline_init(&pipeline);
    enum resp_result r = RESP_MORE;
    while (!s->closing && !s->parked && !is_full(s) && (r = resp_next(&s->parser, buf_bytes(query), &argv, &argc)) == RESP_COMMAND) {
        if (commands % NOW_COMMANDS == 0) now = node_now(s->host->node);
        run(s, argv, argc, now, &pipeline, out);
        commands++;
        if (s->parser.pos >= pipeline.upto) pipeline_look(&pipeline, s->host->node, buf_bytes(query), s->parser.pos);
    }
    if (commands) atomic_fetch_add_explicit(&s->host->commands_processed, commands, memory_order_relaxed);
    buf_drop_front(query, MUTANT(fragment_lost) ? query->len : resp_take(&s->parser));
    if (r == RESP_ERROR) cut_off(s, s->parser.error, out);
    return !s->closing;
}

bool session_retry(struct session *s, struct buf *out) {
    assert(s->parked);
    run(s, s->waiting_argv, s->waiting_argc, node_now(s->host->node), NULL, out);
    if (s->parked) return false;
    forget_waiting(s);
    return true;
}
