#include "persist/layout.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/mem.h"

#define NUMBER "%020" PRIu64
#define ID "%016" PRIx64

/* -------------------------------------------------------------------- keys */

void layout_claim_key(char out[LAYOUT_KEY_BYTES], const char *what, uint64_t node, uint64_t number) {
    snprintf(out, LAYOUT_KEY_BYTES, "%s/" ID "/" NUMBER, what, node, number);
}
void layout_segment_key(char out[LAYOUT_KEY_BYTES], struct replica_id w, uint64_t number) {
    snprintf(out, LAYOUT_KEY_BYTES, "segment/" ID "-" ID "/" NUMBER, w.node, w.incarnation, number);
}
void layout_part_key(char out[LAYOUT_KEY_BYTES], struct replica_id w, int64_t began_ms, uint32_t first) {
    snprintf(out, LAYOUT_KEY_BYTES, "checkpoint/" ID "-" ID "/" NUMBER "/%05" PRIu32, w.node, w.incarnation, (uint64_t)began_ms, first);
}
void layout_manifest_key(char out[LAYOUT_KEY_BYTES], uint64_t number) { snprintf(out, LAYOUT_KEY_BYTES, "manifest/" NUMBER, number); }

struct cursor {
    struct bytes left;
    bool bad;
};

static void expect(struct cursor *c, const char *text) {
    size_t len = strlen(text);
    if (c->left.len < len || memcmp(c->left.data, text, len) != 0) {
        c->bad = true;
        return;
    }
    c->left = bytes_of(c->left.data + len, c->left.len - len);
}

static uint64_t digits(struct cursor *c, size_t count, unsigned base) {
    uint64_t value = 0;
    if (c->bad || c->left.len < count) {
        c->bad = true;
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t ch = c->left.data[i];
        unsigned digit = ch >= '0' && ch <= '9' ? ch - (unsigned)'0' : ch >= 'a' && ch <= 'f' ? ch - (unsigned)'a' + 10 : 16u;
        c->bad = c->bad || digit >= base || __builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value);
    }
    c->left = bytes_of(c->left.data + count, c->left.len - count);
    return value;
}

static struct replica_id writer(struct cursor *c) {
    struct replica_id id;
    id.node = digits(c, 16, 16);
    expect(c, "-");
    id.incarnation = digits(c, 16, 16);
    return id;
}

static bool done(const struct cursor *c) { return !c->bad && !c->left.len; }

#define NUMBERS UINT64_MAX /* below it, each has a next one */

bool layout_read_claim_key(struct bytes key, const char *what, uint64_t *node, uint64_t *number) {
    struct cursor c = {.left = key};
    expect(&c, what);
    expect(&c, "/");
    *node = digits(&c, 16, 16);
    expect(&c, "/");
    *number = digits(&c, 20, 10);
    return done(&c) && *number < NUMBERS;
}
bool layout_read_segment_key(struct bytes key, struct replica_id *w, uint64_t *number) {
    struct cursor c = {.left = key};
    expect(&c, "segment/");
    *w = writer(&c);
    expect(&c, "/");
    *number = digits(&c, 20, 10);
    return done(&c) && *number < NUMBERS;
}
bool layout_read_part_key(struct bytes key, struct replica_id *w, int64_t *began_ms, uint32_t *first) {
    struct cursor c = {.left = key};
    expect(&c, "checkpoint/");
    *w = writer(&c);
    expect(&c, "/");
    *began_ms = (int64_t)digits(&c, 20, 10);
    expect(&c, "/");
    *first = (uint32_t)digits(&c, 5, 10);
    return done(&c);
}
bool layout_read_manifest_key(struct bytes key, uint64_t *number) {
    struct cursor c = {.left = key};
    expect(&c, "manifest/");
    *number = digits(&c, 20, 10);
    return done(&c) && *number > 0 && *number < NUMBERS; /* 0 is none */
}
bool layout_read_row_key(const char *key, uint64_t *number) {
    struct bytes text = bytes_str(key);
    struct replica_id id;
    uint64_t node;
    return layout_read_segment_key(text, &id, number) || layout_read_manifest_key(text, number) || layout_read_claim_key(text, "claim", &node, number);
}

static int row_bytes(const char *key) { return (int)(strrchr(key, '/') + 1 - key); }

void layout_row_key(char out[LAYOUT_KEY_BYTES], const char *key, uint64_t number) {
    snprintf(out, LAYOUT_KEY_BYTES, "%.*s" NUMBER, row_bytes(key), key, number);
}
bool layout_same_row(const char *x, const char *y) { return strncmp(x, y, (size_t)row_bytes(x)) == 0; }

/* ---------------------------------------------------------------- segments */

static void write_id(struct wire_writer *w, struct replica_id id) {
    wire_u64(w, id.node);
    wire_u64(w, id.incarnation);
}
static struct replica_id read_id(struct wire_reader *r) {
    struct replica_id id;
    id.node = wire_read_u64(r);
    id.incarnation = wire_read_u64(r);
    return id;
}

/* Of things that take a byte at least: no memory is taken on the word of a number alone. */
static uint32_t read_count(struct wire_reader *r, uint32_t most) {
    uint64_t count = wire_read_u64(r);
    if (r->bad || count > (uint64_t)(r->end - r->at) || count > most) {
        r->bad = true;
        return 0;
    }
    return (uint32_t)count;
}

void segment_head_write(const struct segment_head *h, const struct replicas *replicas, struct buf *out) {
    struct wire_writer w;
    wire_init(&w, replicas);
    write_id(&w, h->writer);
    wire_u64(&w, h->number);
    wire_u64(&w, (uint64_t)h->made_ms);
    wire_u64(&w, h->closed ? 1 + h->by_next : 0);
    wire_u64(&w, h->shard_count);
    for (uint32_t s = 0; s < h->shard_count; s++) wire_u64(&w, h->upto[s]);
    wire_u64(&w, h->images_before);
    wire_u64(&w, h->image_count);
    for (uint32_t i = 0; i < h->image_count; i++) {
        wire_u64(&w, h->images[i].shard);
        wire_vclock(&w, &h->images[i].applied);
    }
    wire_bytes(&w, h->members);
    wire_finish(&w, out);
    wire_fini(&w);
}

enum status segment_head_read(struct bytes bytes, struct replicas *replicas, struct segment_head *out) {
    struct wire_reader r;
    enum status status = wire_open(&r, bytes, replicas);
    if (status != STATUS_OK) return status;
    *out = (struct segment_head){.writer = read_id(&r)};
    out->number = wire_read_u64(&r);
    out->made_ms = (int64_t)wire_read_u64(&r);
    uint64_t closed = wire_read_u64(&r);
    if (closed > 2) r.bad = true;
    out->closed = closed != 0;
    out->by_next = closed == 2;
    out->shard_count = read_count(&r, LAYOUT_SHARDS_MAX);
    out->upto = mem_zero(out->shard_count, sizeof *out->upto);
    for (uint32_t s = 0; s < out->shard_count; s++) out->upto[s] = wire_read_u64(&r);
    out->images_before = wire_read_u64(&r);
    uint32_t images = read_count(&r, out->shard_count);
    out->images = mem_zero(images, sizeof *out->images);
    for (; out->image_count < images && !r.bad; out->image_count++) {
        struct segment_image *image = &out->images[out->image_count];
        uint64_t shard = wire_read_u64(&r);
        if (shard >= out->shard_count) r.bad = true;
        image->shard = (uint32_t)shard;
        if (!r.bad) wire_read_vclock(&r, &image->applied);
    }
    out->members = wire_read_bytes(&r);
    bool bad = r.bad || r.at != r.end;
    wire_close(&r);
    if (bad) segment_head_fini(out);
    return bad ? STATUS_ERR_MALFORMED : STATUS_OK;
}

void segment_head_fini(struct segment_head *h) {
    for (uint32_t i = 0; i < h->image_count; i++) vclock_fini(&h->images[i].applied);
    mem_free(h->images);
    mem_free(h->upto);
    *h = (struct segment_head){0};
}

/* --------------------------------------------------------------- manifests */

void manifest_write(const struct manifest *m, const struct replicas *replicas, struct buf *out) {
    struct wire_writer w;
    wire_init(&w, replicas);
    write_id(&w, m->writer);
    wire_u64(&w, m->number);
    wire_u64(&w, (uint64_t)m->made_ms);
    wire_u64(&w, m->shard_count);
    wire_u64(&w, m->part_count);
    for (uint32_t i = 0; i < m->part_count; i++) {
        const struct manifest_part *part = &m->parts[i];
        wire_bytes(&w, part->key);
        wire_u64(&w, part->bytes);
        wire_u64(&w, part->first);
        wire_u64(&w, part->count);
        for (uint32_t s = 0; s < part->count; s++) wire_vclock(&w, &part->applied[s]);
    }
    wire_u64(&w, m->mark_count);
    for (uint32_t i = 0; i < m->mark_count; i++) {
        write_id(&w, m->marks[i].writer);
        wire_u64(&w, m->marks[i].number);
    }
    wire_bytes(&w, m->members);
    wire_finish(&w, out);
    wire_fini(&w);
}

static void read_part(struct wire_reader *r, uint32_t shard_count, struct manifest_part *part) {
    part->key = wire_read_bytes(r);
    part->bytes = wire_read_u64(r);
    uint64_t first = wire_read_u64(r);
    struct replica_id by;
    int64_t began_ms;
    uint32_t named;
    if (!layout_read_part_key(part->key, &by, &began_ms, &named)) r->bad = true;
    uint32_t count = read_count(r, shard_count);
    if (first >= shard_count || count > shard_count - first) r->bad = true;
    if (r->bad) return;
    part->first = (uint32_t)first;
    part->count = count;
    part->applied = mem_zero(count, sizeof *part->applied);
    for (uint32_t s = 0; s < count; s++) wire_read_vclock(r, &part->applied[s]);
}

enum status manifest_read(struct bytes bytes, struct replicas *replicas, struct manifest *out) {
    struct wire_reader r;
    enum status status = wire_open(&r, bytes, replicas);
    if (status != STATUS_OK) return status;
    *out = (struct manifest){.writer = read_id(&r)};
    out->number = wire_read_u64(&r);
    out->made_ms = (int64_t)wire_read_u64(&r);
    uint64_t shards = wire_read_u64(&r);
    uint32_t parts = read_count(&r, LAYOUT_PARTS_MAX);
    if (shards > LAYOUT_SHARDS_MAX) r.bad = true;
    out->shard_count = (uint32_t)shards;
    out->parts = mem_zero(parts, sizeof *out->parts);
    for (; out->part_count < parts && !r.bad; out->part_count++) read_part(&r, out->shard_count, &out->parts[out->part_count]);
    out->mark_count = read_count(&r, LAYOUT_MARKS_MAX);
    out->marks = mem_zero(out->mark_count, sizeof *out->marks);
    for (uint32_t i = 0; i < out->mark_count; i++) {
        out->marks[i].writer = read_id(&r);
        out->marks[i].number = wire_read_u64(&r);
    }
    out->members = wire_read_bytes(&r);
    bool bad = r.bad || r.at != r.end;
    wire_close(&r);
    if (bad) manifest_fini(out);
    return bad ? STATUS_ERR_MALFORMED : STATUS_OK;
}

void manifest_fini(struct manifest *m) {
    for (uint32_t i = 0; i < m->part_count; i++) {
        for (uint32_t s = 0; m->parts[i].applied && s < m->parts[i].count; s++) vclock_fini(&m->parts[i].applied[s]);
        mem_free(m->parts[i].applied);
    }
    mem_free(m->parts);
    mem_free(m->marks);
    *m = (struct manifest){0};
}
