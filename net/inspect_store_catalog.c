/* The catalog: what is in the store, and how one object of it is read. */
#include "net/inspect_store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mem.h"

#define HEAD_BYTES 8192u      /* at first */
#define CLAIM_BYTES_MAX 4096u /* as a node reads them */

/* ----------------------------------------------------------------- listing */

static enum object_kind kind_of(struct bytes key, struct item *item) {
    int64_t began_ms = 0;
    if (layout_read_segment_key(key, &item->writer, &item->number)) return OBJECT_SEGMENT;
    if (layout_read_manifest_key(key, &item->number)) return OBJECT_MANIFEST;
    if (layout_read_claim_key(key, object_kind_name(OBJECT_CLAIM), &item->writer.node, &item->number)) return OBJECT_CLAIM;
    if (layout_read_claim_key(key, object_kind_name(OBJECT_VERDICT), &item->writer.node, &item->number)) return OBJECT_VERDICT;
    if (!layout_read_part_key(key, &item->writer, &began_ms, &item->first)) return OBJECT_NONE;
    item->number = (uint64_t)began_ms;
    return OBJECT_PART;
}

static void clear_items(struct catalog *c) {
    for (size_t n = 0; n < c->count; n++) mem_free(c->items[n].why);
    mem_free(c->items);
    c->items = NULL;
    c->count = 0;
    c->foreign = (struct foreign){0};
}

static void add_entry(struct catalog *c, const struct store_entry *entry, size_t *cap) {
    struct item item = {.size = entry->size};
    item.kind = kind_of(entry->key, &item);
    if (item.kind == OBJECT_NONE || entry->key.len >= sizeof item.key) {
        if (!c->foreign.count++)
            snprintf(c->foreign.example, sizeof c->foreign.example, "%.*s", (int)entry->key.len, (const char *)entry->key.data);
        c->foreign.bytes += entry->size;
        return;
    }
    memcpy(item.key, entry->key.data, entry->key.len);
    if (c->count == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        c->items = mem_realloc(c->items, *cap * sizeof *c->items);
    }
    c->items[c->count++] = item;
}

bool catalog_list(struct catalog *c) {
    char after[STORE_KEY_BYTES_MAX] = "";
    size_t after_len = 0, cap = 0;
    bool more = true, good = true;
    clear_items(c);
    c->read_objects = c->read_bytes = c->opened = c->locked = 0;
    while (more && good) {
        struct store_request r = {.op = STORE_LIST, .after = bytes_of(after, after_len), .limit = STORE_PAGE_MAX};
        remote_ask(&c->remote, &r);
        good = r.result == STORE_DONE;
        if (!good) buf_printf(&c->inspect->error, "%s: cannot be listed: %s: %s", c->inspect->where, store_result_text(r.result), r.why);
        for (size_t n = 0; n < r.count; n++) add_entry(c, &r.entries[n], &cap);
        more = r.more && r.count;
        if (more) {
            after_len = r.entries[r.count - 1].key.len;
            memcpy(after, r.entries[r.count - 1].key.data, after_len);
        }
        store_request_fini(&r);
    }
    return good;
}

static int by_key(const void *key, const void *item) { return bytes_compare(bytes_str(key), bytes_str(((const struct item *)item)->key)); }

struct item *catalog_find(struct catalog *c, const char *key) {
    return c->count ? bsearch(key, c->items, c->count, sizeof *c->items, by_key) : NULL;
}

bool catalog_open(struct catalog *c, struct inspect *i) {
    *c = (struct catalog){.inspect = i, .replicas = replicas_new(), .shard_count = i->shards};
    return remote_open(&c->remote, i) && catalog_list(c);
}

void catalog_close(struct catalog *c) {
    remote_close(&c->remote);
    clear_items(c);
    replicas_free(c->replicas);
}

/* ----------------------------------------------------------------- objects */

void item_damaged(struct item *item, const char *format, ...) {
    struct buf why = {0};
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_put(&why, text, strlen(text) + 1);
    mem_free(item->why);
    item->why = (char *)why.data;
    item->state = ITEM_DAMAGED;
}

static bool fetch(struct catalog *c, struct item *item, uint64_t len, struct store_request *r) {
    uint64_t bytes_max = len ? len : item->size > CLAIM_BYTES_MAX ? item->size : CLAIM_BYTES_MAX;
    *r = (struct store_request){.op = STORE_GET, .key = bytes_str(item->key), .len = len, .bytes_max = bytes_max};
    remote_ask(&c->remote, r);
    if (r->result == STORE_DONE) return true;
    if (r->result == STORE_MISSING)
        item->state = ITEM_MISSING;
    else
        item_damaged(item, "cannot be read: %s: %s", store_result_text(r->result), r->why);
    return false;
}

/* The same objects, told apart by what is wrong with them. */
static bool judge(struct catalog *c, struct item *item, const struct object *object, enum status status) {
    item->state = ITEM_GOOD;
    if (status == STATUS_ERR_MALFORMED || status == STATUS_ERR_GAP)
        item_damaged(item, "damaged: its bytes are not what was written");
    else if (status == STATUS_ERR_VERSION)
        item_damaged(item, "of a version that this program does not know");
    else if (status == STATUS_ERR_KEY && !c->inspect->keys.count)
        item->state = ITEM_SEALED;
    else if (status == STATUS_ERR_KEY)
        item_damaged(item, "sealed, and no key of the key-file opens it");
    else if (status != STATUS_OK)
        item_damaged(item, "cannot be read: %s", status_text(status));
    if (status != STATUS_OK && status != STATUS_ERR_KEY) return false;
    if (!c->has_cluster) c->cluster = object->cluster;
    c->has_cluster = true;
    if (object->kind != item->kind)
        item_damaged(item, "damaged: it is a %s by its contents", object_kind_name(object->kind));
    else if (object->cluster != c->cluster)
        item_damaged(item, "it is of another cluster than the other objects, or of another number of shards");
    return item->state == ITEM_GOOD;
}

bool catalog_read(struct catalog *c, struct item *item, struct store_request *r, struct object *object, struct buf *plain) {
    size_t need;
    struct keyring keys = c->inspect->keys;
    plain->len = 0;
    *object = (struct object){0};
    if (!fetch(c, item, 0, r)) return false;
    c->read_objects++;
    c->read_bytes += r->data.len;
    struct bytes bytes = buf_bytes(&r->data);
    enum status status = object_read_head(bytes, NULL, object, &need);
    keys.tag = object->cluster; /* judged below: the name of the cluster is not known */
    if (status == STATUS_OK) status = object_read(bytes, &keys, object, plain);
    c->opened += status == STATUS_OK && object->sealed;
    c->locked += status == STATUS_ERR_KEY;
    return judge(c, item, object, status);
}

bool catalog_read_head(struct catalog *c, struct item *item, struct store_request *r, struct object *object) {
    size_t need = HEAD_BYTES;
    enum status status = STATUS_ERR_GAP;
    *object = (struct object){0};
    for (int tries = 0; tries < 3 && status == STATUS_ERR_GAP; tries++) {
        if (tries) store_request_fini(r);
        if (!fetch(c, item, need, r)) return false;
        bool all = r->data.len < need;
        status = object_read_head(buf_bytes(&r->data), NULL, object, &need);
        if (status == STATUS_ERR_GAP && all) break;
    }
    return judge(c, item, object, status);
}

static bool has_shards(struct catalog *c, struct item *item, uint32_t shard_count) {
    if (!c->shard_count) c->shard_count = shard_count;
    if (shard_count && c->shard_count == shard_count) return true;
    item_damaged(item, "it has %u shards where others have %u", shard_count, c->shard_count);
    return false;
}

bool catalog_segment(struct catalog *c, struct item *item, const struct object *object, struct segment_head *head) {
    if (segment_head_read(object->head, c->replicas, head) != STATUS_OK) {
        item_damaged(item, "damaged: its head makes no sense");
        return false;
    }
    bool same = replica_id_compare(head->writer, item->writer) == 0 && head->number == item->number;
    if (!same) item_damaged(item, "damaged: its head is of another segment");
    if (same && has_shards(c, item, head->shard_count)) return true;
    segment_head_fini(head);
    return false;
}

bool catalog_manifest(struct catalog *c, struct item *item, struct bytes plain, struct manifest *m) {
    if (manifest_read(plain, c->replicas, m) != STATUS_OK) {
        item_damaged(item, "damaged: it makes no sense");
        return false;
    }
    if (m->number != item->number) item_damaged(item, "damaged: its body is of manifest %llu", (unsigned long long)m->number);
    if (m->number == item->number && has_shards(c, item, m->shard_count)) return true;
    manifest_fini(m);
    return false;
}

bool catalog_is_cluster(struct catalog *c) {
    struct inspect *i = c->inspect;
    struct keyring keys;
    if (!i->cluster.len || !c->has_cluster || !c->shard_count) return true;
    keyring_cluster(&keys, buf_bytes(&i->cluster), c->shard_count);
    bool is = keys.tag == c->cluster;
    if (!is)
        buf_printf(&i->error, "%s: the objects are not of a cluster named %.*s with %u shards", i->where, (int)i->cluster.len,
                   (const char *)i->cluster.data, c->shard_count);
    return is;
}
