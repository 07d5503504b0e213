/* The workloads' data, through the shipped commands: sets by SADD, the counter by INCRBY, registers
 * by SET and MSET. Registers share a hash tag, so a transaction is one command on one shard: peers
 * see all of it or nothing. */
#include <stdlib.h>

#include "sim/maelstrom_state.h"

static struct bytes key_of(enum maelstrom_kind kind) {
    static const char *const keys[] = {
        [KIND_UNKNOWN] = "", [KIND_BROADCAST] = "broadcast", [KIND_SET] = "g-set", [KIND_COUNTER] = "counter"};
    return bytes_str(keys[kind]);
}

/* --------------------------------------------------------- commands, replies */

static struct buf run(struct maelstrom *m, const struct bytes *argv, size_t argc) {
    struct buf reply = {0};
    command_run(m->node, argv, argc, &reply);
    return reply;
}

/* The next text of a RESP reply, arrays walked through; false at its end. NULL data: null. */
static bool next_text(struct bytes *reply, struct bytes *out) {
    while (reply->len) {
        const uint8_t *end = memchr(reply->data, '\r', reply->len);
        char kind = (char)reply->data[0];
        size_t line = (size_t)(end - reply->data), used = line + 2;
        *out = bytes_of(reply->data + 1, line - 1);
        if (kind == '$' && reply->data[1] == '-') {
            *out = (struct bytes){0};
        } else if (kind == '$') {
            *out = bytes_of(end + 2, (size_t)strtoull((const char *)reply->data + 1, NULL, 10));
            used += out->len + 2;
        }
        *reply = bytes_of(reply->data + used, reply->len - used);
        if (kind != '*') return true;
    }
    return false;
}

/* Runs what answers with no data. */
static bool succeeds(struct maelstrom *m, const struct bytes *argv, size_t argc, struct buf *error) {
    struct buf reply = run(m, argv, argc);
    bool refused = reply.data[0] == '-';
    struct bytes rest = buf_bytes(&reply), text;
    if (refused && next_text(&rest, &text)) buf_put_bytes(error, text);
    buf_fini(&reply);
    return !refused;
}

/* ------------------------------------------------------------ sets, counter */

bool store_add(struct maelstrom *m, enum maelstrom_kind kind, const json_t *member, struct buf *error) {
    struct buf text = {0};
    text_put_canonical(&text, member);
    bool added = succeeds(m, (struct bytes[]){bytes_str("SADD"), key_of(kind), buf_bytes(&text)}, 3, error);
    buf_fini(&text);
    return added;
}

bool store_increment(struct maelstrom *m, json_int_t delta, struct buf *error) {
    char text[24];
    struct bytes by = bytes_of(text, bytes_from_i64(delta, text));
    return succeeds(m, (struct bytes[]){bytes_str("INCRBY"), key_of(KIND_COUNTER), by}, 3, error);
}

static void read_set(struct maelstrom *m, enum maelstrom_kind kind, struct buf *out) {
    struct buf reply = run(m, (struct bytes[]){bytes_str("SMEMBERS"), key_of(kind)}, 2);
    struct bytes rest = buf_bytes(&reply), member;
    buf_put_byte(out, '[');
    for (bool first = true; next_text(&rest, &member); first = false) {
        if (!first) buf_put_byte(out, ',');
        buf_put_bytes(out, member);
    }
    buf_put_byte(out, ']');
    buf_fini(&reply);
}

static void read_counter(struct maelstrom *m, struct buf *out) {
    struct buf reply = run(m, (struct bytes[]){bytes_str("GET"), key_of(KIND_COUNTER)}, 2);
    struct bytes rest = buf_bytes(&reply), text;
    if (next_text(&rest, &text) && text.data) buf_put_bytes(out, text);
    else buf_put_byte(out, '0');
    buf_fini(&reply);
}

void store_read(struct maelstrom *m, enum maelstrom_kind kind, struct buf *out) {
    if (kind == KIND_COUNTER) read_counter(m, out);
    else read_set(m, kind, out);
}

enum maelstrom_kind store_kind(struct maelstrom *m) {
    for (enum maelstrom_kind kind = KIND_BROADCAST; kind <= KIND_COUNTER; kind++) {
        struct buf reply = run(m, (struct bytes[]){bytes_str("EXISTS"), key_of(kind)}, 2);
        bool exists = reply.data[1] == '1';
        buf_fini(&reply);
        if (exists) return kind;
    }
    return KIND_UNKNOWN;
}

/* ---------------------------------------------------------------- registers */

static void put_register(struct buf *out, const json_t *key) {
    buf_put_str(out, "{register}");
    text_put_canonical(out, key);
}

bool store_get(struct maelstrom *m, const json_t *key, struct buf *out) {
    struct buf name = {0};
    put_register(&name, key);
    struct buf reply = run(m, (struct bytes[]){bytes_str("GET"), buf_bytes(&name)}, 2);
    struct bytes rest = buf_bytes(&reply), text;
    bool there = next_text(&rest, &text) && text.data;
    if (there) buf_put_bytes(out, text);
    buf_fini(&reply);
    buf_fini(&name);
    return there;
}

bool store_set(struct maelstrom *m, const json_t *const *pairs, size_t count, struct buf *error) {
    struct buf *texts = mem_zero(2 * count, sizeof *texts);
    struct bytes *argv = mem_zero(2 * count + 1, sizeof *argv);
    argv[0] = bytes_str("MSET");
    for (size_t i = 0; i < 2 * count; i++) {
        if (i % 2 == 0) put_register(&texts[i], pairs[i]);
        else text_put_json(&texts[i], pairs[i]);
        argv[i + 1] = buf_bytes(&texts[i]);
    }
    bool set = succeeds(m, argv, 2 * count + 1, error);
    for (size_t i = 0; i < 2 * count; i++) buf_fini(&texts[i]);
    mem_free(texts);
    mem_free(argv);
    return set;
}
