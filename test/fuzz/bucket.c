#include "test/fuzz/bucket.h"

#include "test/fuzz/fuzz.h"

void bucket_fini(struct bucket *b) {
    while (b->count) bucket_remove(b, &b->objects[b->count - 1]);
}

/* The first whose key is not less. */
static size_t place_of(const struct bucket *b, struct bytes key) {
    size_t i = 0;
    while (i < b->count && bytes_compare(buf_bytes(&b->objects[i].key), key) < 0) i++;
    return i;
}

struct bucket_object *bucket_find(struct bucket *b, struct bytes key) {
    size_t i = place_of(b, key);
    return i < b->count && bytes_equal(buf_bytes(&b->objects[i].key), key) ? &b->objects[i] : NULL;
}

bool bucket_put(struct bucket *b, struct bytes key, struct buf *bytes) {
    struct bucket_object *old = bucket_find(b, key), fresh = {.bytes = *bytes};
    if (b->bytes + bytes->len > BUCKET_BYTES_MAX || (!old && b->count == BUCKET_OBJECTS_MAX)) {
        b->full = true;
        return false;
    }
    buf_put_bytes(&fresh.key, key); /* a copy: it may be that of the old one */
    if (old) bucket_remove(b, old);
    size_t i = place_of(b, buf_bytes(&fresh.key));
    memmove(&b->objects[i + 1], &b->objects[i], (b->count++ - i) * sizeof *b->objects);
    b->objects[i] = fresh;
    b->bytes += fresh.bytes.len;
    *bytes = (struct buf){0};
    return true;
}

void bucket_remove(struct bucket *b, struct bucket_object *object) {
    size_t i = (size_t)(object - b->objects);
    CHECK(i < b->count);
    b->bytes -= object->bytes.len;
    buf_fini(&object->key);
    buf_fini(&object->bytes);
    memmove(&b->objects[i], &b->objects[i + 1], (--b->count - i) * sizeof *b->objects);
}

/* -------------------------------------------------------------- a request */

static enum store_result write_object(struct bucket *b, struct store_request *r) {
    struct buf copy = {0};
    if (r->op == STORE_CREATE && bucket_find(b, r->key)) return STORE_EXISTS;
    buf_put_bytes(&copy, r->body);
    if (bucket_put(b, r->key, &copy)) return STORE_DONE;
    buf_fini(&copy);
    return STORE_TRANSIENT;
}

static enum store_result get(struct bucket *b, struct store_request *r) {
    const struct bucket_object *object = bucket_find(b, r->key);
    if (!object) return STORE_MISSING;
    size_t from = r->offset < object->bytes.len ? r->offset : object->bytes.len, len = object->bytes.len - from;
    if (r->len && r->len < len) len = r->len;
    if (len > r->bytes_max) return STORE_TOO_LARGE;
    if (len) buf_put(&r->data, object->bytes.data + from, len);
    return STORE_DONE;
}

static enum store_result list(struct bucket *b, struct store_request *r) {
    bool more = false;
    for (size_t i = 0; i < b->count && !more; i++) {
        struct bytes key = buf_bytes(&b->objects[i].key);
        if (key.len < r->key.len || memcmp(key.data, r->key.data, r->key.len) != 0 || bytes_compare(key, r->after) <= 0) continue;
        more = r->count == BUCKET_PAGE || r->count == r->limit;
        if (!more) store_page_add(r, key, b->objects[i].bytes.len);
    }
    store_page_end(r, more);
    return STORE_DONE;
}

static enum store_result carry_out(struct bucket *b, struct store_request *r) {
    struct bucket_object *object = bucket_find(b, r->key);
    switch (r->op) {
    case STORE_PUT:
    case STORE_CREATE: return write_object(b, r);
    case STORE_GET: return get(b, r);
    case STORE_HEAD:
        if (object) r->size = object->bytes.len;
        return object ? STORE_DONE : STORE_MISSING;
    case STORE_DELETE:
        if (object) bucket_remove(b, object);
        return STORE_DONE;
    case STORE_LIST: return list(b, r);
    }
    return STORE_MALFORMED;
}

/* ----------------------------------------------------------------- a client */

static enum status submit(void *self, struct store_request *r) {
    struct bucket_client *client = self;
    struct bucket *b = client->bucket;
    bool fails = b->fails > 0;
    CHECK(b->requests++ < b->requests_most);
    b->fails -= fails;
    enum store_result result = fails && !b->carried_out ? b->failure : carry_out(b, r);
    if (fails) {
        store_request_fini(r);
        r->unsure = b->carried_out;
        result = b->failure;
    }
    store_answer(r, result, "%s", fails ? "as it was told to" : "");
    store_queue_put(&client->answered, r);
    return STATUS_OK;
}

static struct store_request *poll(void *self) { return store_queue_take(&((struct bucket_client *)self)->answered); }

static void close_client(void *self) {
    while (poll(self)) continue;
}

struct store bucket_open(struct bucket *b, struct bucket_client *client) {
    client->bucket = b;
    store_queue_init(&client->answered);
    return (struct store){submit, poll, close_client, client};
}
