/* Maelstrom's workloads (its doc/workloads.md): each type of request, and the reply that its schema
 * names, with no field more. Every request is answered from this node's memory, at once.
 *
 * But for one: a read without a key, while nobody has written. A counter is 0, a g-set [], and a
 * broadcast answers in another field; what is asked for shows only by what is written. Such a read
 * waits for the first write, here or at a peer, and when none comes is answered as a counter's.
 * `--workload` spares the wait. */
#include "sim/maelstrom_state.h"

#define KIND_WAIT_MS 2000
#define TXN_OPS_MAX 1024u

static void malformed(struct request *r, const char *text) {
    COUNT(r->m, requests_malformed, text);
    reply_error(r, ERROR_MALFORMED, text);
}

/* A command that fails has done nothing. */
static void refused(struct request *r, struct buf *error) {
    buf_put_byte(error, 0);
    COUNT(r->m, requests_refused, (const char *)error->data);
    reply_error(r, ERROR_ABORT, (const char *)error->data);
}

/* Replies type, or the error; and frees it. */
static void done(struct request *r, bool ok, const char *type, struct buf *error) {
    if (ok) reply_empty(r, type);
    else refused(r, error);
    buf_fini(error);
}

static void learn(struct maelstrom *m, enum maelstrom_kind kind) {
    if (m->config.kind == KIND_UNKNOWN) m->kind = kind;
}

/* ------------------------------------------------------------ echo, generate */

static void do_echo(struct request *r) {
    json_t *value = json_object_get(r->body, "echo");
    if (!value) {
        malformed(r, "echo wants a field echo");
        return;
    }
    if (!r->wants_reply) return;
    reply_begin(r, "echo_ok");
    reply_field(r, "echo");
    text_put_json(&r->m->out, value);
    reply_end(r);
}

/* A replica id is never used again, so nothing need be agreed upon. */
static void do_generate(struct request *r) {
    struct replica_id self = gossip_self(r->m->node->gossip);
    r->m->generated++;
    if (!r->wants_reply) return;
    reply_begin(r, "generate_ok");
    reply_field(r, "id");
    buf_printf(&r->m->out, "\"%llu-%016llx-%llu\"", (unsigned long long)self.node, (unsigned long long)self.incarnation,
               (unsigned long long)r->m->generated);
    reply_end(r);
}

/* ------------------------------------------------------------- sets, counter */

static void do_topology(struct request *r) {
    if (!json_is_object(json_object_get(r->body, "topology"))) {
        malformed(r, "topology wants an object topology");
        return;
    }
    learn(r->m, KIND_BROADCAST); /* and no more: gossip reaches everybody by itself */
    reply_empty(r, "topology_ok");
}

static void do_broadcast(struct request *r) {
    json_t *message = json_object_get(r->body, "message");
    struct buf error = {0};
    if (!message) {
        malformed(r, "broadcast wants a field message");
        return;
    }
    learn(r->m, KIND_BROADCAST);
    done(r, store_add(r->m, KIND_BROADCAST, message, &error), "broadcast_ok", &error);
}

static void do_add(struct request *r) {
    json_t *element = json_object_get(r->body, "element"), *delta = json_object_get(r->body, "delta");
    struct buf error = {0};
    if (element && !delta) {
        learn(r->m, KIND_SET);
        done(r, store_add(r->m, KIND_SET, element, &error), "add_ok", &error);
    } else if (json_is_integer(delta) && !element) {
        learn(r->m, KIND_COUNTER);
        done(r, store_increment(r->m, json_integer_value(delta), &error), "add_ok", &error);
    } else {
        malformed(r, "add wants either an element or an integer delta");
    }
}

/* ---------------------------------------------------------------- registers */

static void read_register(struct request *r, const json_t *key) {
    struct buf value = {0};
    if (!store_get(r->m, key, &value)) {
        reply_error(r, ERROR_NO_KEY, "no such key here");
    } else if (r->wants_reply) {
        reply_begin(r, "read_ok");
        reply_field(r, "value");
        buf_put_bytes(&r->m->out, buf_bytes(&value));
        reply_end(r);
    }
    buf_fini(&value);
}

static void do_write(struct request *r) {
    const json_t *pair[] = {json_object_get(r->body, "key"), json_object_get(r->body, "value")};
    struct buf error = {0};
    if (pair[0] && pair[1]) done(r, store_set(r->m, pair, 1, &error), "write_ok", &error);
    else malformed(r, "write wants a key and a value");
}

static void do_cas(struct request *r) {
    COUNT(r->m, requests_refused, "cas");
    reply_error(r, ERROR_NOT_SUPPORTED, "cas is unsupported: without consensus no node may compare and set for all");
}

/* ------------------------------------------------------------- transactions */

struct txn {
    struct request *r;
    json_t *ops;
    const json_t **pairs; /* written: keys and values, in order */
    size_t writes;
};

static bool op_is(const json_t *op, const char *name) {
    struct bytes text;
    return text_of(json_array_get(op, 0), &text) && bytes_equal(text, bytes_str(name));
}

static const char *txn_fault(const json_t *ops) {
    if (!json_is_array(ops) || json_array_size(ops) > TXN_OPS_MAX) return "txn wants an array of at most 1024 operations";
    for (size_t i = 0; i < json_array_size(ops); i++) {
        const json_t *op = json_array_get(ops, i);
        bool known = op_is(op, "r") || op_is(op, "w");
        if (json_array_size(op) != 3 || !known) return "an operation is [\"r\", key, null] or [\"w\", key, value]";
    }
    return NULL;
}

static void txn_write(struct txn *t, const json_t *op) {
    t->pairs[2 * t->writes] = json_array_get(op, 1);
    t->pairs[2 * t->writes + 1] = json_array_get(op, 2);
    t->writes++;
}

/* Its own writes first, the last of them. */
static void txn_read(struct txn *t, const json_t *key, struct buf *out) {
    for (size_t i = t->writes; i > 0; i--)
        if (json_equal(t->pairs[2 * i - 2], key)) {
            text_put_json(out, t->pairs[2 * i - 1]);
            return;
        }
    if (!store_get(t->r->m, key, out)) buf_put_str(out, "null");
}

static void txn_run(struct txn *t, struct buf *result) {
    for (size_t i = 0; i < json_array_size(t->ops); i++) {
        const json_t *op = json_array_get(t->ops, i);
        if (i) buf_put_byte(result, ',');
        if (op_is(op, "w")) {
            txn_write(t, op);
            text_put_json(result, op);
        } else {
            buf_put_str(result, "[\"r\",");
            text_put_json(result, json_array_get(op, 1));
            buf_put_byte(result, ',');
            txn_read(t, json_array_get(op, 1), result);
            buf_put_byte(result, ']');
        }
    }
}

/* Nothing else runs between the reads and the one MSET. */
static void do_txn(struct request *r) {
    struct txn t = {.r = r, .ops = json_object_get(r->body, "txn")};
    struct buf result = {0}, error = {0};
    const char *fault = txn_fault(t.ops);
    if (fault) {
        malformed(r, fault);
        return;
    }
    t.pairs = mem_zero(2 * json_array_size(t.ops) + 1, sizeof *t.pairs);
    txn_run(&t, &result);
    if (t.writes && !store_set(r->m, t.pairs, t.writes, &error)) {
        refused(r, &error);
    } else if (r->wants_reply) {
        reply_begin(r, "txn_ok");
        reply_field(r, "txn");
        buf_put_byte(&r->m->out, '[');
        buf_put_bytes(&r->m->out, buf_bytes(&result));
        buf_put_byte(&r->m->out, ']');
        reply_end(r);
    }
    mem_free(t.pairs);
    buf_fini(&result);
    buf_fini(&error);
}

/* ------------------------------------------------------- reads without a key */

static void read_all(struct request *r, enum maelstrom_kind kind) {
    if (!r->wants_reply) return;
    reply_begin(r, "read_ok");
    reply_field(r, kind == KIND_BROADCAST ? "messages" : "value");
    store_read(r->m, kind, &r->m->out);
    reply_end(r);
}

static enum maelstrom_kind known_kind(struct maelstrom *m) {
    if (m->kind == KIND_UNKNOWN) m->kind = store_kind(m);
    return m->kind;
}

static void read_guess(struct request *r) {
    COUNT(r->m, reads_guessed, "a read before anything was written, taken for a counter's");
    read_all(r, KIND_COUNTER);
}

static void do_read(struct request *r) {
    struct maelstrom *m = r->m;
    const json_t *key = json_object_get(r->body, "key");
    if (key) {
        read_register(r, key);
    } else if (known_kind(m) != KIND_UNKNOWN) {
        read_all(r, m->kind);
    } else if (m->waiting_count == WAITING_MAX) {
        read_guess(r);
    } else if (r->wants_reply) {
        struct waiting_read *w = &m->waiting[m->waiting_count++];
        *w = (struct waiting_read){.msg_id = r->msg_id, .deadline_us = node_now(m->node).mono_us + KIND_WAIT_MS * 1000};
        buf_put_bytes(&w->src, r->src);
    }
}

int64_t work_tick(struct maelstrom *m, struct now now) {
    if (!m->waiting_count) return INT64_MAX;
    bool known = known_kind(m) != KIND_UNKNOWN;
    uint32_t answered = 0;
    for (; answered < m->waiting_count; answered++) {
        struct waiting_read *w = &m->waiting[answered];
        struct request r = {.m = m, .src = buf_bytes(&w->src), .msg_id = w->msg_id, .wants_reply = true};
        if (!known && w->deadline_us > now.mono_us) break;
        if (known) read_all(&r, m->kind);
        else read_guess(&r);
        buf_fini(&w->src);
    }
    m->waiting_count -= answered;
    memmove(m->waiting, m->waiting + answered, m->waiting_count * sizeof *m->waiting);
    return m->waiting_count ? m->waiting[0].deadline_us : INT64_MAX;
}

/* ---------------------------------------------------------------- the table */

#define REQUESTS(X)                                                                                                     \
    X("echo", do_echo) X("generate", do_generate) X("topology", do_topology) X("broadcast", do_broadcast) X("add", do_add) \
    X("read", do_read) X("write", do_write) X("cas", do_cas) X("txn", do_txn)

bool work_request(struct request *r) {
    static const struct {
        const char *type;
        void (*run)(struct request *r);
    } table[] = {
#define X(type, run) {type, run},
        REQUESTS(X)
#undef X
    };
    struct bytes type;
    if (!text_of(json_object_get(r->body, "type"), &type)) return false;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!bytes_equal(type, bytes_str(table[i].type))) continue;
        table[i].run(r);
        return true;
    }
    return false;
}
