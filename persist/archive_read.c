/* Reading back: the newest manifest, the images that it names, then every segment there is. Objects that vanish meanwhile were
 * covered by a newer manifest: then all begins anew, with that one. */
#include "persist/archive_state.h"

static struct replay_sink sink_of(struct archive *a, struct replay_counts *counts) {
    return (struct replay_sink){.to = a->shards, .now_ms = a->now.wall_ms, .counts = counts, .changed = a->config.changed, .arg = a->config.arg};
}

static void damaged(struct archive *a, const char *key, const char *why) {
    archive_note(a, "%s is left out: %s", key, why);
    archive_count(a, read_damaged, 1);
    a->reader.broken = true;
}

/* False, and reported: some of it makes no sense. */
static bool read_body(struct archive *a, const char *key, struct bytes body) {
    struct replay_counts counts = {0};
    struct replay_sink sink = sink_of(a, &counts);
    struct replay_batch images = {0};
    enum object_record kind;
    struct bytes payload;
    size_t at = 0;
    bool bad;
    while (object_record_next(body, &at, &kind, &payload, &bad)) {
        if (kind == OBJECT_IMAGE) replay_batch_add(&images, payload);
        else if (kind == OBJECT_DELTAS) replay_read_deltas(&sink, payload);
        else counts.malformed++;
    }
    replay_batch_read(&images, &sink, a->config.threads);
    bool whole = !bad && !counts.malformed;
    if (!whole) damaged(a, key, "some records make no sense");
    if (counts.gaps) a->reader.broken = true;
    archive_count(a, read_images, counts.images);
    archive_count(a, read_messages, counts.messages);
    archive_count(a, read_gaps, counts.gaps);
    return whole;
}

static void hear(struct archive *a, struct bytes members) {
    if (members.len && a->config.heard) a->config.heard(a->config.arg, members);
}

/* ------------------------------------------------------------- the objects */

/* Opens what was fetched whole; false if there is nothing of this kind to be had. */
static bool fetched(struct archive *a, struct fetch *f, enum object_kind kind, struct object *object, struct buf *plain) {
    struct reader *r = &a->reader;
    bool got = f->request.result == STORE_DONE;
    if (f->request.result == STORE_MISSING) {
        r->vanished = true;
        archive_count(a, read_missing, 1);
    } else if (!got) {
        damaged(a, f->key, f->request.why);
    } else {
        archive_count(a, read_objects, 1);
        archive_count(a, read_bytes, f->request.data.len);
        got = archive_open(a, f->key, buf_bytes(&f->request.data), object, plain);
        r->broken = r->broken || !got;
        if (got && object->kind != kind) {
            damaged(a, f->key, "it is something else");
            got = false;
        }
    }
    return got;
}

static void visit_part(struct archive *a, const struct listed *item, struct fetch *f) {
    struct reader *r = &a->reader;
    const struct manifest_part *part = &r->manifest.parts[item - r->sweep.items.keys];
    struct object object;
    struct buf plain = {0};
    if (fetched(a, f, OBJECT_PART, &object, &plain) && read_body(a, item->key, buf_bytes(&plain))) {
        for (uint32_t s = 0; s < part->count; s++) vclock_join(&r->stored[part->first + s], &part->applied[s]);
    } else {
        r->parts_damaged = true;
    }
    buf_fini(&plain);
}

static void store_has_segment(struct archive *a, const struct segment_head *head) {
    uint16_t writer;
    if (replicas_intern(a->config.replicas, head->writer, &writer) != STATUS_OK) return;
    for (uint32_t s = 0; s < a->config.shard_count; s++) vclock_raise(&a->reader.stored[s], writer, head->upto[s]);
    for (uint32_t i = 0; i < head->image_count; i++) vclock_join(&a->reader.stored[head->images[i].shard], &head->images[i].applied);
}

static void visit_segment(struct archive *a, const struct listed *item, struct fetch *f) {
    struct object object;
    struct segment_head head;
    struct buf plain = {0};
    if (fetched(a, f, OBJECT_SEGMENT, &object, &plain)) {
        enum status status = segment_head_read(object.head, a->config.replicas, &head);
        if (status != STATUS_OK || head.shard_count != a->config.shard_count) {
            damaged(a, item->key, "its head makes no sense");
        } else if (head.made_ms <= a->config.source.until_ms) {
            if (read_body(a, item->key, buf_bytes(&plain))) store_has_segment(a, &head);
            hear(a, head.members);
        }
        if (status == STATUS_OK) segment_head_fini(&head);
    }
    buf_fini(&plain);
}

/* ---------------------------------------------------------------- the order */

/* A manifest that is not younger than asked for, and can be read: its parts are to be read. */
static bool take_manifest(struct archive *a, struct fetch *f) {
    struct reader *r = &a->reader;
    struct manifest *m = &r->manifest;
    struct object object;
    manifest_fini(m);
    r->text.len = 0;
    if (!fetched(a, f, OBJECT_MANIFEST, &object, &r->text)) return false;
    uint64_t number;
    if (manifest_read(buf_bytes(&r->text), a->config.replicas, m) != STATUS_OK || m->shard_count != a->config.shard_count ||
        !layout_read_manifest_key(bytes_str(f->key), &number) || number != m->number) {
        damaged(a, f->key, "it makes no sense");
        return false;
    }
    const struct archive_source *source = &a->config.source;
    if (source->manifest ? m->number != source->manifest : m->made_ms > source->until_ms) return false;
    for (uint32_t i = 0; i < m->part_count; i++) listing_add(&r->sweep.items, m->parts[i].key, m->parts[i].bytes);
    hear(a, m->members);
    return true;
}

static void begin(struct archive *a) {
    struct reader *r = &a->reader;
    r->used = 0;
    r->parts_damaged = r->vanished = r->broken = false;
    for (uint32_t s = 0; s < a->config.shard_count; s++) vclock_fini(&r->stored[s]);
    listing_begin(a, &r->manifests, a->source, "manifest/");
    r->step = READ_LISTING;
}

static void list_segments(struct archive *a) {
    listing_begin(a, &a->reader.manifests, a->source, "segment/");
    a->reader.step = READ_LISTING_SEGMENTS;
}

/* The next older manifest, or on to the segments. */
static void next_manifest(struct archive *a) {
    struct reader *r = &a->reader;
    uint64_t number;
    while (r->next && !layout_read_manifest_key(bytes_str(r->manifests.keys[r->next - 1].key), &number)) r->next--;
    if (!r->next) {
        if (a->config.source.manifest && !r->used)
            archive_stop(a, "there is no manifest %llu that could be read", (unsigned long long)a->config.source.manifest);
        list_segments(a);
        return;
    }
    const struct listed *item = &r->manifests.keys[--r->next];
    fetch_get(a, &r->fetch, a->source, item->key, 0, 0, item->size);
    r->step = READ_MANIFEST;
}

/* What the store does not have, and this node has from elsewhere. */
static void owe_rest(struct archive *a) {
    struct stream *stream = &a->stream;
    for (uint32_t s = 0; s < a->config.shard_count; s++) {
        struct shard *shard = a->config.shards[s];
        bool other_store = a->source != &a->config.store;
        shard_lock(shard);
        const struct vclock *applied = shard_applied(shard);
        static const struct vclock nothing;
        bool owed = !vclock_covers(other_store ? &nothing : &a->reader.stored[s], applied);
        shard_unlock(shard);
        if (!owed || MUTANT(rest_unowed)) continue;
        stream->owed[s / 64] |= UINT64_C(1) << (s % 64);
        stream->any_owed = true;
    }
}

static bool end(struct archive *a) {
    struct reader *r = &a->reader;
    if (r->vanished && (!r->again || r->used > r->again_from)) {
        r->again = true;
        r->again_from = r->used;
        archive_count(a, read_again, 1);
        begin(a);
        return false;
    }
    if (r->vanished) damaged(a, "an object", "it is missing, and no newer manifest says why");
    owe_rest(a);
    if (r->broken) archive_save(a); /* what is here is whole again with its checkpoint */
    return true;
}

/* A store to be written to from the past must be nobody's. */
static bool is_empty(struct archive *a, const struct listing *l) {
    if (!l->count) return true;
    archive_stop(a, "the object store that is to be written to has objects already (%s): restoring needs another URL or prefix", l->keys[0].key);
    return false;
}

bool read_step(struct archive *a) {
    struct reader *r = &a->reader;
    switch (r->step) {
    case READ_BEGIN:
        if (a->source == &a->config.store) {
            begin(a);
            break;
        }
        listing_begin(a, &r->manifests, &a->config.store, "segment/");
        r->step = READ_CHECKING;
        break;
    case READ_CHECKING:
        if (listing_over(a, &r->manifests) && is_empty(a, &r->manifests)) begin(a);
        break;
    case READ_LISTING:
        if (!listing_over(a, &r->manifests)) break;
        r->next = r->manifests.count;
        next_manifest(a);
        break;
    case READ_MANIFEST:
        if (!fetch_over(a, &r->fetch)) break;
        sweep_begin(&r->sweep);
        if (!take_manifest(a, &r->fetch)) {
            next_manifest(a);
            break;
        }
        if (!r->used) r->used = r->manifest.number;
        r->parts_damaged = false;
        r->step = READ_PARTS;
        a->progress = true;
        break;
    case READ_PARTS:
        if (!sweep_over(a, &r->sweep, a->source, STORE_GET, visit_part)) break;
        if (r->parts_damaged && !r->vanished) next_manifest(a);
        else if (a->config.source.manifest) return end(a);
        else list_segments(a);
        break;
    case READ_LISTING_SEGMENTS:
        if (!listing_over(a, &r->manifests)) break;
        sweep_begin(&r->sweep);
        for (size_t i = 0; i < r->manifests.count; i++) {
            struct replica_id writer;
            uint64_t number;
            struct bytes key = bytes_str(r->manifests.keys[i].key);
            if (layout_read_segment_key(key, &writer, &number)) listing_add(&r->sweep.items, key, r->manifests.keys[i].size);
        }
        r->step = READ_SEGMENTS;
        a->progress = true;
        break;
    case READ_SEGMENTS:
        if (sweep_over(a, &r->sweep, a->source, STORE_GET, visit_segment)) return end(a);
        break;
    }
    return false;
}
