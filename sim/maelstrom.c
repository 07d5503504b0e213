#include "sim/maelstrom.h"

#include <assert.h>
#include <stdio.h>

#include "sim/maelstrom_state.h"

#define SHARDS 16u
#define LOG_BYTES_MAX (64u << 20)
#define LINE_BYTES_MAX (1u << 20)
#define OUT_BYTES_MAX (16u << 20) /* then no input is taken */
#define NODES_MAX 100u
/* Shorter than the server's: a partition here lasts seconds. */
#define HEARTBEAT_MS 500
#define SUSPECT_MS 2000
#define DOWN_MS 10000

_Static_assert(LINE_BYTES_MAX > GOSSIP_FRAME_BYTES_MAX * 4 / 3 + 4096, "a frame fits into a line");

bool maelstrom_kind_of(const char *workload, enum maelstrom_kind *out) {
    static const struct {
        const char *name;
        enum maelstrom_kind kind;
    } table[] = {{"broadcast", KIND_BROADCAST}, {"g-set", KIND_SET}, {"g-counter", KIND_COUNTER}, {"pn-counter", KIND_COUNTER},
                 {"echo", KIND_UNKNOWN}, {"unique-ids", KIND_UNKNOWN}, {"lin-kv", KIND_UNKNOWN}, {"lww-register", KIND_UNKNOWN},
                 {"txn-rw-register", KIND_UNKNOWN}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, workload) != 0) continue;
        *out = table[i].kind;
        return true;
    }
    return false;
}

struct maelstrom *maelstrom_new(const struct maelstrom_config *config) {
    struct maelstrom *m = mem_zero(1, sizeof *m);
    m->config = *config;
    m->kind = config->kind;
    for (int i = 0; i < GOSSIP_LINKS; i++) m->links[i].peer = -1;
    return m;
}

void maelstrom_free(struct maelstrom *m) {
    if (m->node) node_free(m->node);
    for (uint32_t i = 0; i < m->peer_count; i++) buf_fini(&m->peers[i].name);
    for (uint32_t i = 0; i < m->early_count; i++) buf_fini(&m->early[i]);
    for (uint32_t i = 0; i < m->waiting_count; i++) buf_fini(&m->waiting[i].src);
    mem_free(m->peers);
    buf_fini(&m->in);
    buf_fini(&m->out);
    mem_free(m);
}

/* ----------------------------------------------------------------- counters */

/* The 1st, 2nd, 4th, 8th ... is said: whoever floods us does not flood our log. */
void maelstrom_count(struct maelstrom *m, uint64_t *counter, const char *what) {
    char line[200];
    ++*counter;
    if (!m->config.say || (*counter & (*counter - 1))) return;
    snprintf(line, sizeof line, "%llu: %s", (unsigned long long)*counter, what);
    m->config.say(line);
}

void maelstrom_summary(const struct maelstrom *m) {
    char line[200];
    if (!m->config.say) return;
#define X(name, text)                                                                  \
    if (m->name) {                                                                     \
        snprintf(line, sizeof line, "%llu %s", (unsigned long long)m->name, text);     \
        m->config.say(line);                                                           \
    }
    MAELSTROM_COUNTERS(X)
#undef X
}

/* --------------------------------------------------------------------- init */

static void note(void *arg, const char *text) {
    const struct maelstrom *m = arg;
    if (m->config.say) m->config.say(text);
}

static void start_node(struct maelstrom *m) {
    struct node_config config = {
        .clock = m->config.clock,
        .shards = SHARDS,
        .cluster_name = "maelstrom",
        .node_id = m->self + 1,
        .log_bytes_max = LOG_BYTES_MAX,
        .gossip = {GOSSIP_CONFIG_DEFAULT, .transport = peers_port(m), .note = note, .arg = m, .flushed_by_writers = true},
    };
    size_t used = 0;
    for (uint32_t i = 0; i < m->peer_count; i++)
        if (i != m->self) used += (size_t)snprintf(m->join + used, sizeof m->join - used, "%u,", i);
    assert(used < sizeof m->join);
    snprintf(m->address, sizeof m->address, "%u", m->self);
    config.gossip.address = m->address;
    config.gossip.join = m->join;
    config.gossip.heartbeat_ms = HEARTBEAT_MS;
    config.gossip.suspect_ms = SUSPECT_MS;
    config.gossip.down_ms = DOWN_MS;
    m->node = node_new(&config);
}

/* Peers are known by their place in the list, which all nodes are given alike. */
static bool take_names(struct maelstrom *m, const json_t *id, const json_t *ids) {
    struct bytes own, name;
    size_t count = json_array_size(ids);
    bool found = false;
    if (!text_of(id, &own) || count == 0 || count > NODES_MAX) return false;
    for (size_t i = 0; i < count; i++) {
        if (!text_of(json_array_get(ids, i), &name)) return false;
        if (bytes_equal(own, name)) m->self = (uint32_t)i;
        found = found || bytes_equal(own, name);
    }
    if (!found) return false;
    m->peers = mem_zero(count, sizeof *m->peers);
    m->peer_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        if (text_of(json_array_get(ids, i), &name)) buf_put_bytes(&m->peers[i].name, name);
    return true;
}

static void take_line(struct maelstrom *m, struct bytes line);

static void take_early(struct maelstrom *m) {
    for (uint32_t i = 0; i < m->early_count; i++) {
        take_line(m, buf_bytes(&m->early[i]));
        buf_fini(&m->early[i]);
    }
    m->early_count = 0;
    m->early_bytes = 0;
}

static void do_init(struct request *r) {
    struct maelstrom *m = r->m;
    if (m->node || !take_names(m, json_object_get(r->body, "node_id"), json_object_get(r->body, "node_ids"))) {
        COUNT(m, requests_malformed, "init");
        reply_error(r, ERROR_MALFORMED, m->node ? "init was here already" : "init wants a node_id, and node_ids with it among them");
        return;
    }
    start_node(m);
    reply_empty(r, "init_ok");
    take_early(m);
}

/* ---------------------------------------------------------------- messages */

/* Peers may have been started before us. What there is no room for, gossip says again. */
static void keep_early(struct maelstrom *m, struct bytes line) {
    if (m->early_count == EARLY_LINES_MAX || m->early_bytes + line.len > EARLY_BYTES_MAX) {
        COUNT(m, frames_early, "no room for a frame before init");
        return;
    }
    buf_put_bytes(&m->early[m->early_count++], line);
    m->early_bytes += line.len;
}

static void take_request(struct request *r, struct bytes type) {
    struct maelstrom *m = r->m;
    if (json_object_get(r->body, "in_reply_to") || bytes_equal(type, bytes_str("error"))) {
        COUNT(m, replies, "a reply to nothing that was asked"); /* answered, it might be answered */
    } else if (bytes_equal(type, bytes_str("init"))) {
        do_init(r);
    } else if (!m->node) {
        COUNT(m, requests_early, "a request before init");
        reply_error(r, ERROR_UNAVAILABLE, "not initialised yet");
    } else if (!bytes_equal(r->dest, buf_bytes(&m->peers[m->self].name))) {
        COUNT(m, misdirected, "a message for somebody else");
    } else if (!work_request(r)) {
        COUNT(m, requests_unknown, "a request of an unknown type");
        reply_error(r, ERROR_NOT_SUPPORTED, "no such type of request");
    }
}

static void take_frame(struct maelstrom *m, const struct request *r, bool hello) {
    int peer = peers_find(m, r->src);
    if (peer < 0) COUNT(m, frames_foreign, "a frame from nobody we know");
    else if (hello) peers_hello(m, peer);
    else peers_frame(m, peer, r->body);
}

static bool take_message(struct maelstrom *m, const json_t *message, struct bytes line) {
    struct request r = {.m = m, .body = json_object_get(message, "body")};
    struct bytes type;
    if (!text_of(json_object_get(message, "src"), &r.src) || !text_of(json_object_get(message, "dest"), &r.dest)) return false;
    const json_t *msg_id = json_object_get(r.body, "msg_id");
    r.wants_reply = json_is_integer(msg_id);
    r.msg_id = json_integer_value(msg_id);
    if (!text_of(json_object_get(r.body, "type"), &type)) {
        reply_error(&r, ERROR_MALFORMED, "a body wants a type");
        return false;
    }
    bool hello = bytes_equal(type, bytes_str("anneal_hello"));
    if (!hello && !bytes_equal(type, bytes_str("anneal"))) take_request(&r, type);
    else if (m->node) take_frame(m, &r, hello);
    else keep_early(m, line);
    return true;
}

static void take_line(struct maelstrom *m, struct bytes line) {
    json_t *message = json_loadb((const char *)line.data, line.len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(message) || !take_message(m, message, line)) COUNT(m, lines_malformed, "a line that is no message");
    json_decref(message);
}

/* ------------------------------------------------------------- in, out, time */

static bool is_blank(struct bytes line) {
    for (size_t i = 0; i < line.len; i++)
        if (!memchr(" \t\r", line.data[i], 3)) return false;
    return true;
}

void maelstrom_input(struct maelstrom *m, struct bytes bytes) {
    size_t taken = 0;
    buf_put_bytes(&m->in, bytes);
    for (const uint8_t *end; m->in.len > m->looked && (end = memchr(m->in.data + m->looked, '\n', m->in.len - m->looked));) {
        struct bytes line = bytes_of(m->in.data + taken, (size_t)(end - m->in.data) - taken);
        if (!m->skips_line && !is_blank(line)) take_line(m, line);
        m->skips_line = false;
        taken += line.len + 1;
        m->looked = taken;
    }
    buf_drop_front(&m->in, taken);
    m->looked = m->in.len;
    if (m->in.len <= LINE_BYTES_MAX) return;
    if (!m->skips_line) COUNT(m, lines_long, "a line longer than a message may be");
    m->skips_line = true;
    m->in.len = m->looked = 0;
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t maelstrom_tick(struct maelstrom *m) {
    if (!m->node) return INT64_MAX;
    struct now now = node_now(m->node);
    int64_t next = peers_tick(m, now);
    next = earlier(next, gossip_step(m->node->gossip, &(struct gossip_event){.kind = GOSSIP_TICK}, now));
    return earlier(next, work_tick(m, now));
}

struct buf *maelstrom_output(struct maelstrom *m) { return &m->out; }

void maelstrom_written(struct maelstrom *m) {
    if (m->node) peers_room(m);
}

bool maelstrom_is_full(const struct maelstrom *m) { return m->out.len >= OUT_BYTES_MAX; }
