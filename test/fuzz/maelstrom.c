/* Two Maelstrom nodes, and whoever else writes lines to them: clients with requests of a few words,
 * strangers with anything. What they send each other is carried, or lost, repeated, bent.
 *
 * input := kind, step*
 * step  := what and to whom, details */
#include "core/mem.h"
#include "sim/maelstrom_state.h"
#include "test/fuzz/fuzz.h"

enum { SITES = 2, STEPS_MAX = 200, MAIL_BYTES_MAX = 1 << 20 };
enum what { ASK, ASK_MORE, BYTES, LINE, MOVE, TICK, CARRY, WHATS };

struct site {
    struct maelstrom *m;
    struct buf line;  /* what it was given of the next one */
    struct buf mail;  /* lines to it */
    unsigned waiting; /* reads that are not answered yet */
};

struct world {
    struct fuzz_clock clock;
    struct site sites[SITES];
};

static const char *const names[] = {"n0", "n1", "c0", "n7"};

static json_t *parse(struct bytes line, size_t flags) { return json_loadb((const char *)line.data, line.len, JSON_ALLOW_NUL | flags, NULL); }

static bool text_is(const json_t *value, const char *text) {
    struct bytes is;
    return text_of(value, &is) && bytes_equal(is, bytes_str(text));
}

/* ------------------------------------------------------------------ answers */

/* By the protocol: what has no msg_id, is a reply, a frame, or for somebody else gets none. */
static bool wants_reply(const struct site *s, const json_t *message) {
    const json_t *body = json_object_get(message, "body"), *type = json_object_get(body, "type"), *dest = json_object_get(message, "dest");
    struct bytes to;
    if (!json_is_string(json_object_get(message, "src")) || !text_of(dest, &to) || !json_is_integer(json_object_get(body, "msg_id"))) return false;
    if (!json_is_string(type)) return true;
    if (text_is(type, "anneal") || text_is(type, "anneal_hello") || text_is(type, "error") || json_object_get(body, "in_reply_to")) return false;
    return text_is(type, "init") || !s->m->node || bytes_equal(to, buf_bytes(&s->m->peers[s->m->self].name));
}

static bool may_wait(const json_t *message) {
    const json_t *body = json_object_get(message, "body");
    return text_is(json_object_get(body, "type"), "read") && !json_object_get(body, "key");
}

static void check_error(const json_t *body) {
    static const json_int_t codes[] = {ERROR_NOT_SUPPORTED, ERROR_UNAVAILABLE, ERROR_MALFORMED, ERROR_ABORT, ERROR_NO_KEY};
    json_int_t code = json_integer_value(json_object_get(body, "code"));
    bool known = false;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) known = known || code == codes[i];
    CHECK(known);
    CHECK(json_string_length(json_object_get(body, "text")) > 0);
}

/* asked: NULL for a read that waited. */
static void check_reply(const json_t *reply, const json_t *asked) {
    const json_t *body = json_object_get(reply, "body"), *type = json_object_get(body, "type");
    const json_t *question = json_object_get(asked, "body");
    struct bytes want, is;
    CHECK(json_is_number(json_object_get(body, "in_reply_to")));
    if (!asked) {
        CHECK(text_is(type, "read_ok"));
        return;
    }
    CHECK(json_equal(json_object_get(reply, "dest"), json_object_get(asked, "src")));
    CHECK(json_is_real(json_object_get(body, "in_reply_to")) || json_equal(json_object_get(body, "in_reply_to"), json_object_get(question, "msg_id")));
    if (text_is(type, "error")) {
        check_error(body);
        return;
    }
    CHECK(text_of(json_object_get(question, "type"), &want) && text_of(type, &is));
    CHECK(is.len == want.len + 3 && memcmp(is.data, want.data, want.len) == 0 && memcmp(is.data + want.len, "_ok", 3) == 0);
    if (text_is(type, "echo_ok")) CHECK(json_equal(json_object_get(body, "echo"), json_object_get(question, "echo")));
}

/* One line of what a node says. True: a reply, which is *reply, to be let go, if that is not NULL. */
static bool take_said(struct world *w, struct site *s, struct bytes line, const json_t *asked, json_t **reply) {
    json_t *said = parse(line, 0);
    if (!said) said = parse(line, JSON_DECODE_INT_AS_REAL); /* the sum of two counters can be too big for jansson */
    const json_t *type = json_object_get(json_object_get(said, "body"), "type");
    bool frame = text_is(type, "anneal") || text_is(type, "anneal_hello");
    fuzz_show("<-", line);
    CHECK(json_is_object(said));
    CHECK(json_is_string(json_object_get(said, "src")));
    if (frame) {
        struct bytes to;
        CHECK(s->m->node);
        CHECK(text_of(json_object_get(said, "dest"), &to) && peers_find(s->m, to) >= 0);
        for (int i = 0; i < SITES; i++)
            if (bytes_equal(to, bytes_str(names[i])) && w->sites[i].mail.len < MAIL_BYTES_MAX) {
                buf_put_bytes(&w->sites[i].mail, line);
                buf_put_byte(&w->sites[i].mail, '\n');
            }
    } else {
        check_reply(said, asked);
    }
    if (reply && !frame) *reply = said;
    else json_decref(said);
    return !frame;
}

/* How many replies there were. */
static unsigned take_output(struct world *w, struct site *s, const json_t *asked, json_t **reply) {
    unsigned replies = 0;
    for (struct buf *out = maelstrom_output(s->m); out->len;) {
        struct buf said = *out;
        *out = (struct buf){0};
        maelstrom_written(s->m);
        CHECK(said.data[said.len - 1] == '\n');
        for (size_t at = 0; at < said.len;) {
            size_t len = (size_t)((const uint8_t *)memchr(said.data + at, '\n', said.len - at) - said.data) - at;
            bool is_reply = take_said(w, s, bytes_of(said.data + at, len), asked, replies ? NULL : reply);
            if (is_reply && !asked) CHECK(s->waiting-- > 0);
            replies += is_reply;
            at += len + 1;
        }
        buf_fini(&said);
    }
    return replies;
}

/* --------------------------------------------------------------------- lines */

/* A line has ended, in `bytes`. Gives the reply, to be let go, if there is one and it is asked for. */
static void give_line(struct world *w, struct site *s, struct bytes bytes, json_t **reply) {
    struct buf line = s->line;
    s->line = (struct buf){0};
    buf_put_bytes(&line, bytes_of(bytes.data, bytes.len - 1));
    json_t *message = parse(buf_bytes(&line), 0);
    bool wants = wants_reply(s, message);
    fuzz_show("->", buf_bytes(&line));
    struct bytes exact = fuzz_exact(bytes);
    maelstrom_input(s->m, exact);
    fuzz_exact_free(exact);
    unsigned replies = take_output(w, s, message ? message : json_null(), reply);
    if (wants && !replies && may_wait(message)) s->waiting++;
    else CHECK(replies == wants);
    json_decref(message);
    buf_fini(&line);
}

static void give(struct world *w, struct site *s, struct bytes bytes) {
    while (bytes.len) {
        const uint8_t *end = memchr(bytes.data, '\n', bytes.len);
        size_t len = end ? (size_t)(end - bytes.data) + 1 : bytes.len;
        if (end) {
            give_line(w, s, bytes_of(bytes.data, len), NULL);
        } else {
            buf_put_bytes(&s->line, bytes);
            maelstrom_input(s->m, bytes);
            CHECK(!maelstrom_output(s->m)->len);
        }
        bytes = bytes_of(bytes.data + len, bytes.len - len);
    }
}

/* What was written is read. */
static void check_written(struct world *w, struct site *s, const json_t *body) {
    const json_t *key = json_object_get(body, "key"), *value = json_object_get(body, "value");
    struct buf line = {0};
    json_t *reply = NULL;
    if (s->line.len || !key || !value) return;
    buf_put_str(&line, "{\"src\":\"c1\",\"dest\":");
    json_t *name = json_stringn((const char *)s->m->peers[s->m->self].name.data, s->m->peers[s->m->self].name.len);
    text_put_json(&line, name);
    buf_put_str(&line, ",\"body\":{\"type\":\"read\",\"msg_id\":1,\"key\":");
    text_put_json(&line, key);
    buf_put_str(&line, "}}\n");
    give_line(w, s, buf_bytes(&line), &reply);
    CHECK(json_equal(json_object_get(json_object_get(reply, "body"), "value"), value));
    json_decref(name);
    json_decref(reply);
    buf_fini(&line);
}

/* A request, or what looks like one: words of the protocol, in an order that the input says. */
static void ask(struct world *w, struct site *s, struct input *in) {
    static const char *const types[] = {"init", "echo", "generate", "topology", "broadcast", "add", "read", "write",
                                        "cas", "txn", "error", "read_ok", "anneal", "anneal_hello", "none", ""};
    static const char *const fields[] = {"node_id", "node_ids", "echo", "topology", "message", "element", "delta", "key",
                                         "value", "txn", "frame", "in_reply_to", "msg_id", "type", "from", "to"};
    static const char *const values[] = {"\"n0\"", "[\"n0\",\"n1\"]", "\"n1\"", "[\"n1\",\"n1\"]", "1", "-1", "9223372036854775807", "-9223372036854775808",
                                         "1.5e300", "null", "{}", "[]", "\"\\u0000\\ud83d\\ude00\"", "[[\"w\",1,[2]],[\"r\",1,null]]", "{\"b\":[1,true],\"a\":-0.0}", "\"QU5OTA==\""};
    struct buf line = {0};
    json_t *reply = NULL;
    uint8_t who = input_byte(in), id = input_byte(in), count = input_byte(in);
    buf_printf(&line, "{\"src\":\"%s\",\"dest\":\"%s\",\"body\":{\"type\":\"%s\"", names[who % 4], names[who / 4 % 4 ? s != w->sites : who / 16 % 4], types[id % 16]);
    if (id / 16) buf_printf(&line, ",\"msg_id\":%s", id / 16 < 4 ? values[4 + id / 16] : "3");
    for (unsigned i = 0; i < count % 8u && in->left; i++) {
        uint8_t which = input_byte(in);
        buf_printf(&line, ",\"%s\":", fields[which % 16]);
        if (count & 128) buf_put_bytes(&line, input_bytes(in, input_byte(in)));
        else buf_put_str(&line, values[which / 16]);
    }
    buf_put_str(&line, "}}\n");
    bool alone = !s->line.len && memchr(line.data, '\n', line.len) == line.data + line.len - 1;
    if (alone) give_line(w, s, buf_bytes(&line), &reply);
    else give(w, s, buf_bytes(&line));
    if (text_is(json_object_get(json_object_get(reply, "body"), "type"), "write_ok")) {
        json_t *message = parse(buf_bytes(&line), 0);
        check_written(w, s, json_object_get(message, "body"));
        json_decref(message);
    }
    json_decref(reply);
    buf_fini(&line);
}

/* -------------------------------------------------------------------- steps */

static void tick(struct world *w, struct site *s) {
    int64_t next = maelstrom_tick(s->m);
    CHECK(next > w->clock.mono_us || s->m->out.len);
    take_output(w, s, NULL, NULL);
}

static void carry_all(struct world *w) {
    for (unsigned i = 0; i < SITES; i++) {
        struct buf mail = w->sites[i].mail;
        w->sites[i].mail = (struct buf){0};
        give(w, &w->sites[i], buf_bytes(&mail));
        buf_fini(&mail);
    }
}

/* The first line of its mail: lost, bent, repeated. */
static void carry(struct world *w, struct site *s, uint8_t how, struct input *in) {
    if (!s->mail.len) return;
    size_t len = (size_t)((uint8_t *)memchr(s->mail.data, '\n', s->mail.len) - s->mail.data) + 1;
    struct buf line = {0};
    buf_put(&line, s->mail.data, len);
    if (!(how & 4)) buf_drop_front(&s->mail, len);
    if (how & 2) line.data[(input_byte(in) | (size_t)input_byte(in) << 8) % len] = input_byte(in);
    if (!(how & 1)) give(w, s, buf_bytes(&line));
    buf_fini(&line);
}

static void step(struct world *w, struct input *in) {
    uint8_t head = input_byte(in);
    struct site *s = &w->sites[head % SITES];
    switch ((enum what)(head / SITES % WHATS)) {
    case ASK:
    case ASK_MORE: ask(w, s, in); break;
    case BYTES: give(w, s, input_bytes(in, input_byte(in))); break;
    case LINE:
        give(w, s, input_bytes(in, input_byte(in)));
        give(w, s, bytes_str("\n"));
        break;
    case MOVE: fuzz_clock_move(&w->clock, 1 << input_below(in, 14)); break;
    case TICK: tick(w, s); break;
    default: {
        uint8_t how = input_byte(in);
        if (how & 8) carry_all(w);
        else carry(w, s, how, in);
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    struct world w = {.clock = {.wall_ms = 1700000000000, .mono_us = 1000000}};
    const struct maelstrom_config config = {.clock = fuzz_clock_port(&w.clock), .kind = (enum maelstrom_kind)input_below(&in, 4)};
    json_object_seed(1);
    for (int i = 0; i < SITES; i++) w.sites[i].m = maelstrom_new(&config);
    for (int i = 0; i < STEPS_MAX && in.left; i++) step(&w, &in);
    fuzz_clock_move(&w.clock, 10000);
    for (int i = 0; i < SITES; i++) {
        tick(&w, &w.sites[i]);
        CHECK(!w.sites[i].waiting);
    }
    for (int i = 0; i < SITES; i++) {
        maelstrom_free(w.sites[i].m);
        buf_fini(&w.sites[i].line);
        buf_fini(&w.sites[i].mail);
    }
    return 0;
}

/* -------------------------------------------------------------------- seeds */

static void put_line(struct buf *seed, unsigned to, const char *src, const char *body) {
    char line[256];
    int len = snprintf(line, sizeof line, "{\"src\":\"%s\",\"dest\":\"n%u\",\"body\":%s}", src, to, body);
    CHECK(len < 256);
    buf_put(seed, (uint8_t[]){(uint8_t)(LINE * SITES + to), (uint8_t)len}, 2);
    buf_put(seed, line, (size_t)len);
}

/* Both nodes are there; everybody hears everybody. */
static void put_start(struct buf *seed, uint8_t kind) {
    buf_put_byte(seed, kind);
    put_line(seed, 0, "c0", "{\"type\":\"init\",\"msg_id\":1,\"node_id\":\"n0\",\"node_ids\":[\"n0\",\"n1\"]}");
    put_line(seed, 1, "c0", "{\"type\":\"init\",\"msg_id\":1,\"node_id\":\"n1\",\"node_ids\":[\"n0\",\"n1\"]}");
}

static void put_rounds(struct buf *seed, unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++)
        buf_put(seed, (uint8_t[]){TICK * SITES, TICK * SITES + 1, CARRY * SITES, 8, MOVE * SITES, 8}, 6);
}

void fuzz_seeds(void) {
    static const char *const bodies[] = {
        "{\"type\":\"echo\",\"echo\":{\"a\":[1,null]}}", "{\"type\":\"generate\"}", "{\"type\":\"topology\",\"topology\":{}}", "{\"type\":\"broadcast\",\"message\":7}",
        "{\"type\":\"add\",\"element\":[4]}", "{\"type\":\"add\",\"delta\":-3}", "{\"type\":\"read\"}", "{\"type\":\"write\",\"key\":1,\"value\":{\"x\":2.5}}",
        "{\"type\":\"read\",\"key\":1}", "{\"type\":\"cas\",\"key\":1,\"from\":2,\"to\":3}", "{\"type\":\"txn\",\"txn\":[[\"r\",1,null],[\"w\",1,[2]],[\"r\",1,null]]}",
        "{\"type\":\"anneal\",\"frame\":\"QU5OTA==\"}", "{\"type\":\"none\"}", "7"};
    for (uint8_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct buf seed = {0};
        char body[200];
        put_start(&seed, i % 4);
        snprintf(body, sizeof body, bodies[i][0] == '{' ? "{\"msg_id\":%d,%s" : "%.0d%s", i, bodies[i] + (bodies[i][0] == '{'));
        put_line(&seed, i % 2, "c0", body);
        put_rounds(&seed, 4);
        put_line(&seed, 1, "c0", "{\"type\":\"read\",\"msg_id\":9}");
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
    for (uint8_t i = 0; i < 16; i++) { /* a word each */
        struct buf seed = {0};
        put_start(&seed, 0);
        for (uint8_t k = 0; k < 16; k++) buf_put(&seed, (uint8_t[]){k % 2, (uint8_t)(2 + 4 * (k % 3)), (uint8_t)(16 * 4 + i), 2, (uint8_t)(k + 16 * i), (uint8_t)(16 * k + 7)}, 6);
        put_rounds(&seed, 1);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
