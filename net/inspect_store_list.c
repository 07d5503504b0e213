/* What there is: a line for each object, from its key and its head. */
#include <inttypes.h>
#include <stdio.h>

#include "core/mem.h"
#include "net/inspect_store.h"

#define KEY_COLUMN 71 /* the longest key there is */

/* The stream that is being listed. */
struct stream {
    struct replica_id writer;
    uint64_t segments, bytes, first, last; /* numbers */
    uint64_t missing, mutations;           /* in all segments up to the last one */
    int64_t from_ms, to_ms;
};
struct lister {
    struct catalog *c;
    struct stream stream;
    uint64_t count[OBJECT_KIND_COUNT], bytes[OBJECT_KIND_COUNT];
    bool damaged;
};

/* "what": and what all lines have. */
static json_t *json_of(const struct item *item) {
    json_t *line = json_pack("{s:s, s:s, s:I}", "what", object_kind_name(item->kind), "key", item->key, "bytes", (json_int_t)item->size);
    if (item->kind == OBJECT_SEGMENT || item->kind == OBJECT_PART) json_object_set_new(line, "writer", inspect_json_writer(item->writer));
    if (item->kind == OBJECT_PART) {
        json_object_set_new(line, "time", inspect_json_time((int64_t)item->number));
        json_object_set_new(line, "first_shard", json_integer(item->first));
    } else
        json_object_set_new(line, "number", json_integer((json_int_t)item->number));
    return line;
}

static void add_flags(const struct object *object, json_t *line, struct buf *text) {
    json_object_set_new(line, "codec", json_string(object_codec_name(object->codec)));
    json_object_set_new(line, "sealed", json_boolean(object->sealed));
    json_object_set_new(line, "plain_bytes", json_integer((json_int_t)object->plain_bytes));
    if (object->codec != CODEC_NONE) buf_printf(text, ", compressed from %" PRIu64 " by %s", object->plain_bytes, object_codec_name(object->codec));
    if (object->sealed) buf_put_str(text, ", sealed");
}

static void say_time(int64_t unix_ms, json_t *line, struct buf *text) {
    char time[INSPECT_TIME_BYTES];
    inspect_time(time, unix_ms);
    json_object_set_new(line, "time", json_string(time));
    buf_put_str(text, time);
}

/* ----------------------------------------------------------------- streams */

static void end_stream(struct lister *l) {
    struct stream *s = &l->stream;
    char writer[INSPECT_WRITER_BYTES], from[INSPECT_TIME_BYTES], to[INSPECT_TIME_BYTES];
    if (!s->segments) return;
    inspect_writer(writer, s->writer);
    inspect_time(from, s->from_ms);
    inspect_time(to, s->to_ms);
    if (l->c->inspect->json)
        inspect_line(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "what", "stream", "writer", writer, "segments",
                               (json_int_t)s->segments, "bytes", (json_int_t)s->bytes, "first", (json_int_t)s->first, "last",
                               (json_int_t)s->last, "absent", (json_int_t)s->missing, "mutations", (json_int_t)s->mutations, "from", from,
                               "to", to));
    inspect_say(
        l->c->inspect,
        "  stream %s: %" PRIu64 " segments, %" PRIu64 " to %" PRIu64 "%s, %" PRIu64 " bytes, mutations up to %" PRIu64 ", %s to %s\n",
        writer, s->segments, s->first, s->last, s->missing ? " (some between them are not there)" : "", s->bytes, s->mutations, from, to);
    *s = (struct stream){0};
}

static void describe_segment(struct lister *l, const struct item *item, const struct segment_head *head, json_t *line, struct buf *text) {
    struct stream *s = &l->stream;
    uint64_t upto = 0, next = s->segments ? s->last + 1 : 0;
    bool follows = item->number == next;
    for (uint32_t n = 0; n < head->shard_count; n++) upto += head->upto[n];
    say_time(head->made_ms, line, text);
    if (follows && upto > s->mutations)
        buf_printf(text, ", mutations %" PRIu64 "..%" PRIu64, s->mutations + 1, upto);
    else if (follows)
        buf_put_str(text, ", no mutations");
    else
        buf_printf(text, ", mutations up to %" PRIu64, upto);
    if (head->image_count) buf_printf(text, ", images of %u shards", head->image_count);
    if (head->members.len) buf_put_str(text, ", members");
    if (follows && upto > s->mutations) json_object_set_new(line, "first_mutation", json_integer((json_int_t)s->mutations + 1));
    json_object_set_new(line, "last_mutation", json_integer((json_int_t)upto));
    json_object_set_new(line, "images", json_integer(head->image_count));
    json_object_set_new(line, "members", json_boolean(head->members.len));
    if (!s->segments)
        *s = (struct stream){.writer = item->writer, .first = item->number, .from_ms = head->made_ms};
    else
        s->missing += item->number - next;
    s->segments++;
    s->bytes += item->size;
    s->last = item->number;
    s->mutations = upto;
    s->to_ms = head->made_ms;
}

/* ----------------------------------------------------------------- objects */

static void describe_manifest(const struct manifest *m, json_t *line, struct buf *text) {
    uint64_t bytes = 0;
    char writer[INSPECT_WRITER_BYTES];
    for (uint32_t p = 0; p < m->part_count; p++) bytes += m->parts[p].bytes;
    inspect_writer(writer, m->writer);
    say_time(m->made_ms, line, text);
    buf_printf(text, " by %s, %u parts of %u shards, %" PRIu64 " bytes, %u streams", writer, m->part_count, m->shard_count, bytes,
               m->mark_count);
    json_object_set_new(line, "writer", json_string(writer));
    json_object_set_new(line, "parts", json_integer(m->part_count));
    json_object_set_new(line, "parts_bytes", json_integer((json_int_t)bytes));
    json_object_set_new(line, "shards", json_integer(m->shard_count));
    json_object_set_new(line, "streams", json_integer(m->mark_count));
}

static void describe_text(struct bytes plain, json_t *line, struct buf *text) {
    json_object_set_new(line, "text", inspect_json(plain));
    for (size_t n = 0; n < plain.len; n++) buf_put_byte(text, plain.data[n] >= ' ' && plain.data[n] < 127 ? plain.data[n] : '?');
}

static void describe_part(const struct item *item, json_t *line, struct buf *text) {
    say_time((int64_t)item->number, line, text);
    buf_printf(text, ", images of shards from %u on", item->first);
}

/* What can be said without reading bodies that say nothing here. */
static void describe(struct lister *l, struct item *item, json_t *line, struct buf *text) {
    struct catalog *c = l->c;
    struct store_request r;
    struct object object;
    struct segment_head head;
    struct manifest m;
    struct buf plain = {0};
    bool whole = item->kind != OBJECT_SEGMENT && item->kind != OBJECT_PART;
    bool good = whole ? catalog_read(c, item, &r, &object, &plain) : catalog_read_head(c, item, &r, &object);
    if (good && item->kind == OBJECT_SEGMENT && catalog_segment(c, item, &object, &head)) {
        describe_segment(l, item, &head, line, text);
        segment_head_fini(&head);
    } else if (good && item->kind == OBJECT_MANIFEST && catalog_manifest(c, item, buf_bytes(&plain), &m)) {
        describe_manifest(&m, line, text);
        manifest_fini(&m);
    } else if (good && item->kind == OBJECT_PART) {
        describe_part(item, line, text);
    } else if (good && whole && item->kind != OBJECT_MANIFEST) {
        describe_text(buf_bytes(&plain), line, text);
    }
    if (item->state == ITEM_GOOD || item->state == ITEM_SEALED)
        add_flags(&object, line, text);
    else
        buf_put_str(text, item->why ? item->why : "gone meanwhile");
    if (item->why) json_object_set_new(line, "problem", inspect_json(bytes_str(item->why)));
    store_request_fini(&r);
    buf_fini(&plain);
}

static void list_item(struct lister *l, struct item *item) {
    struct buf text = {0};
    json_t *line = json_of(item);
    if (item->kind != OBJECT_SEGMENT || replica_id_compare(item->writer, l->stream.writer) != 0) end_stream(l);
    describe(l, item, line, &text);
    l->count[item->kind]++;
    l->bytes[item->kind] += item->size;
    l->damaged = l->damaged || item->state == ITEM_DAMAGED;
    if (l->c->inspect->json) json_incref(line), inspect_line(line);
    const char *said = (const char *)text.data;
    size_t skip = text.len > 2 && memcmp(said, ", ", 2) == 0 ? 2 : 0;
    inspect_say(l->c->inspect, "%-*s %10" PRIu64 "  %.*s\n", KEY_COLUMN, item->key, item->size, (int)(text.len - skip),
                said ? said + skip : "");
    json_decref(line);
    buf_fini(&text);
}

static void say_totals(const struct lister *l) {
    const struct foreign *foreign = &l->c->foreign;
    json_t *line = json_pack("{s:s}", "what", "total");
    for (int kind = 1; kind < OBJECT_KIND_COUNT; kind++) {
        const char *name = object_kind_name((enum object_kind)kind);
        json_object_set_new(line, name,
                            json_pack("{s:I, s:I}", "objects", (json_int_t)l->count[kind], "bytes", (json_int_t)l->bytes[kind]));
        if (l->count[kind])
            inspect_say(l->c->inspect, "%-10s %8" PRIu64 " objects %14" PRIu64 " bytes\n", name, l->count[kind], l->bytes[kind]);
    }
    json_object_set_new(line, "other", json_pack("{s:I, s:I}", "objects", (json_int_t)foreign->count, "bytes", (json_int_t)foreign->bytes));
    if (foreign->count)
        inspect_say(l->c->inspect, "%-10s %8" PRIu64 " objects %14" PRIu64 " bytes, as %s\n", "not ours", foreign->count, foreign->bytes,
                    foreign->example);
    if (l->c->inspect->json)
        inspect_line(line);
    else
        json_decref(line);
}

enum inspect_exit store_list(struct catalog *c) {
    struct lister l = {.c = c};
    for (size_t n = 0; n < c->count; n++) list_item(&l, &c->items[n]);
    end_stream(&l);
    say_totals(&l);
    if (!catalog_is_cluster(c)) return INSPECT_UNREADABLE;
    return l.damaged ? INSPECT_DAMAGED : INSPECT_WELL;
}

/* ------------------------------------------------------------- one object */

static json_t *json_segment(const struct catalog *c, const struct segment_head *head) {
    json_t *upto = json_array(), *images = json_array();
    for (uint32_t n = 0; n < head->shard_count; n++) json_array_append_new(upto, json_integer((json_int_t)head->upto[n]));
    for (uint32_t n = 0; n < head->image_count; n++)
        json_array_append_new(images, json_pack("{s:I, s:o}", "shard", (json_int_t)head->images[n].shard, "applied",
                                                inspect_json_vclock(c->replicas, &head->images[n].applied)));
    return json_pack("{s:o, s:I, s:o, s:I, s:o, s:o, s:I}", "writer", inspect_json_writer(head->writer), "number", (json_int_t)head->number,
                     "time", inspect_json_time(head->made_ms), "shards", (json_int_t)head->shard_count, "upto", upto, "images", images,
                     "members_bytes", (json_int_t)head->members.len);
}

static json_t *json_part(const struct catalog *c, const struct manifest_part *part) {
    json_t *applied = json_array();
    for (uint32_t n = 0; n < part->count; n++) json_array_append_new(applied, inspect_json_vclock(c->replicas, &part->applied[n]));
    return json_pack("{s:o, s:I, s:I, s:I, s:o}", "key", inspect_json(part->key), "bytes", (json_int_t)part->bytes, "first_shard",
                     (json_int_t)part->first, "shards", (json_int_t)part->count, "applied", applied);
}

static json_t *json_manifest(const struct catalog *c, const struct manifest *m) {
    json_t *parts = json_array(), *marks = json_object();
    char writer[INSPECT_WRITER_BYTES];
    for (uint32_t n = 0; n < m->part_count; n++) json_array_append_new(parts, json_part(c, &m->parts[n]));
    for (uint32_t n = 0; n < m->mark_count; n++) {
        inspect_writer(writer, m->marks[n].writer);
        json_object_set_new(marks, writer, json_integer((json_int_t)m->marks[n].number));
    }
    return json_pack("{s:o, s:I, s:o, s:I, s:o, s:o, s:I}", "writer", inspect_json_writer(m->writer), "number", (json_int_t)m->number,
                     "time", inspect_json_time(m->made_ms), "shards", (json_int_t)m->shard_count, "parts", parts, "last_segments", marks,
                     "members_bytes", (json_int_t)m->members.len);
}

/* Records of a body: how many there are, and their bytes. */
static json_t *json_records(struct item *item, struct bytes body) {
    enum object_record kind;
    struct bytes payload;
    size_t at = 0;
    bool bad;
    json_t *list = json_array();
    while (object_record_next(body, &at, &kind, &payload, &bad))
        json_array_append_new(list, json_pack("{s:s, s:I}", "kind",
                                              kind == OBJECT_IMAGE    ? "image"
                                              : kind == OBJECT_DELTAS ? "deltas"
                                                                      : "?",
                                              "bytes", (json_int_t)payload.len));
    if (bad) item_damaged(item, "damaged: its records do not end where they should");
    return list;
}

static void add_body(struct catalog *c, struct item *item, struct bytes plain, json_t *line) {
    struct manifest m;
    if (item->kind == OBJECT_SEGMENT || item->kind == OBJECT_PART) {
        json_object_set_new(line, "records", json_records(item, plain));
    } else if (item->kind == OBJECT_MANIFEST) {
        if (!catalog_manifest(c, item, plain, &m)) return;
        json_object_set_new(line, "body", json_manifest(c, &m));
        manifest_fini(&m);
    } else
        json_object_set_new(line, "text", inspect_json(plain));
}

static void add_head(struct catalog *c, struct item *item, const struct object *object, json_t *line) {
    struct segment_head head;
    struct buf ignored = {0};
    char nonce[2 * OBJECT_NONCE_BYTES + 1];
    add_flags(object, line, &ignored);
    buf_fini(&ignored);
    for (size_t n = 0; n < OBJECT_NONCE_BYTES; n++) snprintf(nonce + 2 * n, 3, "%02x", object->nonce[n]);
    json_object_set_new(line, "nonce", json_string(nonce));
    json_object_set_new(line, "cluster", json_sprintf("%016" PRIx64, object->cluster));
    if (item->kind != OBJECT_SEGMENT || !catalog_segment(c, item, object, &head)) return;
    json_object_set_new(line, "head", json_segment(c, &head));
    segment_head_fini(&head);
}

/* Of one whose body is damaged the head may still be good. */
enum inspect_exit store_one(struct catalog *c) {
    struct inspect *i = c->inspect;
    struct item *item = catalog_find(c, i->object);
    struct store_request r;
    struct object object;
    struct buf plain = {0};
    if (!item) {
        buf_printf(&i->error, "%s: there is no object %s", i->where, i->object);
        return INSPECT_UNREADABLE;
    }
    json_t *line = json_of(item);
    bool body = catalog_read(c, item, &r, &object, &plain), head = body || item->state == ITEM_SEALED;
    if (body) add_body(c, item, buf_bytes(&plain), line);
    if (!head && item->state == ITEM_DAMAGED) {
        struct item copy = *item;
        copy.why = NULL;
        store_request_fini(&r);
        if (catalog_read_head(c, &copy, &r, &object)) add_head(c, &copy, &object, line);
        mem_free(copy.why);
    } else if (head)
        add_head(c, item, &object, line);
    if (item->state == ITEM_SEALED) json_object_set_new(line, "body", json_null());
    if (item->state == ITEM_DAMAGED) inspect_found(i, item->key, item->why, "");
    enum inspect_exit code = item->state == ITEM_DAMAGED ? INSPECT_DAMAGED : INSPECT_WELL;
    inspect_line(line);
    store_request_fini(&r);
    buf_fini(&plain);
    return code;
}
