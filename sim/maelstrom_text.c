/* JSON out. Replies are put together as text: values are kept as JSON text already, and a set of
 * thousands need not be parsed to be sent. */
#include "sim/maelstrom_state.h"

static int put(const char *data, size_t len, void *arg) {
    buf_put(arg, data, len);
    return 0;
}

#define FLAGS (JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17))

void text_put_json(struct buf *out, const json_t *value) { json_dump_callback(value, put, out, FLAGS); }

void text_put_canonical(struct buf *out, const json_t *value) { json_dump_callback(value, put, out, FLAGS | JSON_SORT_KEYS); }

bool text_of(const json_t *value, struct bytes *out) {
    if (!json_is_string(value)) return false;
    *out = bytes_of(json_string_value(value), json_string_length(value));
    return true;
}

static void put_string(struct buf *out, struct bytes text) {
    json_t *string = json_stringn((const char *)text.data, text.len);
    text_put_json(out, string);
    json_decref(string);
}

/* Before init a request tells us who we are: it is addressed to us. */
static struct bytes own_name(const struct request *r) {
    const struct maelstrom *m = r->m;
    return m->node ? buf_bytes(&m->peers[m->self].name) : r->dest;
}

void reply_begin(struct request *r, const char *type) {
    struct buf *out = &r->m->out;
    buf_put_str(out, "{\"src\":");
    put_string(out, own_name(r));
    buf_put_str(out, ",\"dest\":");
    put_string(out, r->src);
    buf_printf(out, ",\"body\":{\"type\":\"%s\",\"in_reply_to\":%" JSON_INTEGER_FORMAT, type, r->msg_id);
}

void reply_field(struct request *r, const char *name) { buf_printf(&r->m->out, ",\"%s\":", name); }

void reply_end(struct request *r) { buf_put_str(&r->m->out, "}}\n"); }

void reply_empty(struct request *r, const char *type) {
    if (!r->wants_reply) return;
    reply_begin(r, type);
    reply_end(r);
}

void reply_error(struct request *r, enum maelstrom_error code, const char *text) {
    if (!r->wants_reply) return;
    reply_begin(r, "error");
    buf_printf(&r->m->out, ",\"code\":%d,\"text\":", (int)code);
    put_string(&r->m->out, bytes_str(text));
    reply_end(r);
}
