/* Reading back: the newest manifest, the images that it names, then every segment there is. Objects that vanish meanwhile were
 * covered by a newer manifest: then all begins anew, with that one. Segments are listed before manifests: of what had vanished
 * by then, the newest manifest tells. */
#include "persist/archive_state.h"

static struct replay_sink sink_of(struct archive *a, struct replay_counts *counts) {
    return (struct replay_sink){.to = a->shards, .now_ms = a->now.wall_ms, .counts = counts, .changing = a->config.changing, .changed = a->config.changed,
                                .arg = a->config.arg};
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
    a->reader.gaps += counts.gaps;
    a->reader.images += counts.images;
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
        got = archive_open(a, f->key, kind, buf_bytes(&f->request.data), object, plain);
        r->broken = r->broken || !got;
    }
    return got;
}

static void store_has_part(struct archive *a, const struct manifest_part *part) {
    for (uint32_t s = 0; s < part->count; s++) vclock_join(&a->reader.stored[part->first + s], &part->applied[s]);
}

/* A part that tells nothing that was not here, from the disk, is not read. */
static bool is_here(struct archive *a, const struct manifest_part *part) {
    const struct vclock *had = a->reader.had;
    for (uint32_t s = 0; s < part->count; s++)
        if (!had || !vclock_covers(&had[part->first + s], &part->applied[s])) return false;
    store_has_part(a, part);
    return true;
}

bool read_part(struct archive *a, const struct listed *item, struct fetch *f) {
    struct object object;
    struct buf plain = {0};
    bool whole = fetched(a, f, OBJECT_PART, &object, &plain) && read_body(a, item->key, buf_bytes(&plain));
    buf_fini(&plain);
    return whole;
}

static void visit_part(struct archive *a, const struct listed *item, struct fetch *f) {
    struct reader *r = &a->reader;
    if (read_part(a, item, f)) {
        for (uint32_t i = 0; i < r->manifest.part_count; i++)
            if (bytes_equal(r->manifest.parts[i].key, bytes_str(item->key))) store_has_part(a, &r->manifest.parts[i]);
    } else {
        r->parts_damaged = true;
    }
}

static void note_end(struct reader *r, const struct segment_head *head) {
    r->ends = mem_realloc(r->ends, (r->end_count + 1) * sizeof *r->ends);
    r->ends[r->end_count++] = (struct end){head->writer, head->number, !head->by_next};
}

static void streams_were_read(struct archive *a) {
    struct reader *r = &a->reader;
    struct replica_id writer;
    uint64_t number;
    for (size_t i = 0; i < r->segments.count; i++) {
        if (!search_is_newest(&r->segments, i, &writer, &number)) continue;
        tail_was_read(a, writer, number + 1);
        for (size_t e = 0; e < r->end_count; e++)
            if (r->ends[e].number == number && replica_id_compare(r->ends[e].writer, writer) == 0) tail_was_closed(a, writer, r->ends[e].by_others);
    }
}

static void store_has_segment(struct archive *a, const struct segment_head *head) {
    uint16_t writer;
    if (replicas_intern(a->config.replicas, head->writer, &writer) != STATUS_OK) return;
    if (head->closed) note_end(&a->reader, head);
    for (uint32_t s = 0; s < a->config.shard_count; s++) vclock_raise(&a->reader.stored[s], writer, head->upto[s]);
    for (uint32_t i = 0; i < head->image_count; i++) vclock_join(&a->reader.stored[head->images[i].shard], &head->images[i].applied);
}

void read_segment(struct archive *a, const struct listed *item, struct fetch *f, void (*saw)(struct archive *a, const struct segment_head *head)) {
    struct object object;
    struct segment_head head;
    struct buf plain = {0};
    if (fetched(a, f, OBJECT_SEGMENT, &object, &plain)) {
        if (!archive_read_head(a, item->key, &object, &head)) {
            damaged(a, item->key, "its head makes no sense");
        } else {
            if (head.made_ms <= a->config.source.until_ms && read_body(a, item->key, buf_bytes(&plain))) saw(a, &head);
            if (head.made_ms <= a->config.source.until_ms) hear(a, head.members);
            segment_head_fini(&head);
        }
    }
    buf_fini(&plain);
}

static void visit_segment(struct archive *a, const struct listed *item, struct fetch *f) { read_segment(a, item, f, store_has_segment); }

/* ---------------------------------------------------------------- the order */

/* A manifest that is not younger than asked for, and can be read: its parts are to be read. */
static bool take_manifest(struct archive *a, struct fetch *f) {
    struct reader *r = &a->reader;
    struct manifest *m = &r->manifest;
    struct object object;
    manifest_fini(m);
    r->text.len = 0;
    if (!fetched(a, f, OBJECT_MANIFEST, &object, &r->text)) return false;
    if (!archive_read_manifest(a, f->key, buf_bytes(&r->text), m)) {
        damaged(a, f->key, "it makes no sense");
        return false;
    }
    const struct archive_source *source = &a->config.source;
    if (source->manifest ? m->number != source->manifest : m->made_ms > source->until_ms) return false;
    for (uint32_t i = 0; i < m->part_count; i++)
        if (!is_here(a, &m->parts[i])) listing_add(&r->sweep.items, m->parts[i].key, m->parts[i].bytes);
    hear(a, m->members);
    return true;
}

/* What is in the shards, of the disk's or of an earlier turn. */
static void look_around(struct archive *a) {
    struct reader *r = &a->reader;
    bool any = false;
    archive_free_vectors(a, r->had);
    r->had = archive_applied(a);
    for (uint32_t s = 0; s < a->config.shard_count; s++)
        for (uint32_t i = 0; i < r->had[s].count; i++) any = any || r->had[s].counter[i];
    if (any) return;
    archive_free_vectors(a, r->had);
    r->had = NULL;
}

/* ------------------------------------------------------------ predecessors */

static void begin(struct archive *a);

/* Processes of this node before this one are dead, but a segment of theirs may still be on its way. */
static void list_own(struct archive *a) {
    char prefix[LAYOUT_KEY_BYTES], first[LAYOUT_KEY_BYTES];
    bool knows_last = a->config.before.node == a->config.self.node;
    layout_segment_key(first, knows_last ? a->config.before : a->config.self, 0);
    memcpy(prefix, first, sizeof prefix);
    *(strchr(prefix, '-') + 1) = 0;
    listing_begin_exact(a, &a->reader.manifests, a->source, prefix, knows_last ? first : NULL);
    a->reader.step = READ_LISTING_OWN;
}

static void saw_own(struct archive *a, const struct segment_head *head) {
    struct reader *r = &a->reader;
    r->is_closed = head->closed;
    r->by_others = head->closed && !head->by_next;
    r->images_before = segment_images_before(head);
    memcpy(r->upto, head->upto, a->config.shard_count * sizeof *r->upto);
}

/* The newest segment of the next stream of ours; false: there is none. Each is taken off the list once it is closed. */
static bool next_own(struct archive *a) {
    struct reader *r = &a->reader;
    struct listing *l = &r->manifests;
    uint64_t number;
    while (l->count && (!layout_read_segment_key(bytes_str(l->keys[l->count - 1].key), &r->predecessor, &number) ||
                        replica_id_compare(r->predecessor, a->config.self) == 0 || replica_id_compare(r->predecessor, r->handled) > 0))
        l->count--;
    if (!l->count) return false;
    r->is_closed = r->by_others = false;
    r->images_before = 0;
    r->upto = r->upto ? r->upto : mem_alloc(a->config.shard_count * sizeof *r->upto);
    for (uint32_t s = 0; s < a->config.shard_count; s++) r->upto[s] = DOT_COUNTER_MAX; /* if its head cannot be read, who knows */
    const struct listed *newest = &l->keys[l->count - 1];
    fetch_get(a, &r->fetch, a->source, newest->key, 0, 0, newest->size);
    r->step = READ_OWN_HEADS;
    return true;
}

/* Nothing more is to be done for the stream at hand. */
static void end_own(struct archive *a) {
    struct listing *l = &a->reader.manifests;
    struct listed last = l->keys[l->count - 1];
    while (l->count && search_same_stream(&l->keys[l->count - 1], &last)) l->count--;
    if (!next_own(a)) begin(a);
}

/* The cluster held the process for gone that left what is on our disk: others may have forgotten resets that it never heard of. Had
 * it been up, it would have found its stream closed, and started over; so we do. */
static void start_over(struct archive *a) {
    archive_note(a, "the stream of the process before this one was closed by others: what it left here is void");
    a->config.before = (struct replica_id){0};
    if (a->config.closed) a->config.closed(a->config.arg, a->config.self);
}

/* Whether the newest segment closes its stream; if not, it is closed behind it. */
static void judge_own(struct archive *a) {
    struct reader *r = &a->reader;
    struct object object;
    struct segment_head head;
    size_t need;
    uint64_t number = 0;
    const struct store_request *q = &r->fetch.request;
    if (q->result == STORE_DONE && object_read_head(buf_bytes(&q->data), &a->config.keys, &object, &need) == STATUS_OK &&
        archive_read_head(a, r->fetch.key, &object, &head)) {
        saw_own(a, &head);
        segment_head_fini(&head);
    }
    layout_read_segment_key(bytes_str(r->fetch.key), &r->predecessor, &number);
    if (r->by_others && replica_id_compare(r->predecessor, a->config.before) == 0 && !MUTANT(void_goes_on)) start_over(a);
    if (r->is_closed) {
        end_own(a);
        return;
    }
    close_stream(a, &r->creation, r->predecessor, number + 1, r->upto, r->images_before);
    r->step = READ_CLOSING;
    if (strcmp(r->creation.key, r->taken) != 0) return;
    archive_note(a, "%s is taken, and is not listed: that stream stays open", r->taken);
    end_own(a);
}

static void begin(struct archive *a) {
    struct reader *r = &a->reader;
    if (!r->judged && a->config.judged) a->config.judged(a->config.arg);
    r->judged = true;
    look_around(a);
    r->used = 0;
    r->parts_damaged = r->vanished = r->broken = r->second = r->is_void = false;
    r->end_count = 0;
    for (uint32_t s = 0; s < a->config.shard_count; s++) vclock_fini(&r->stored[s]);
    listing_begin_exact(a, &r->segments, a->source, "segment/", NULL);
    r->step = READ_LISTING_SEGMENTS;
}

/* Before the first manifest all is in segments, if none was deleted since: then manifests begin with 1 and each stream with 0. */
static bool reaches_back(const struct archive *a) {
    const struct reader *r = &a->reader;
    struct replica_id writer, before = {0, 0};
    uint64_t number;
    if (a->config.source.until_ms == INT64_MAX || r->used) return true;
    if (r->oldest > 1) return false;
    for (size_t i = 0; i < r->segments.count; i++) {
        if (!layout_read_segment_key(bytes_str(r->segments.keys[i].key), &writer, &number)) continue;
        if (number > 0 && replica_id_compare(before, writer) != 0) return false;
        before = writer;
    }
    return true;
}

/* Whoever restores nothing has made a mistake. */
static void check_source(struct archive *a) {
    const struct reader *r = &a->reader;
    if (a->source == &a->config.store) return;
    if (!r->used && !r->segments.count) archive_stop(a, "there is nothing in restore-from");
    else if (!reaches_back(a)) archive_stop(a, "the store of restore-from no longer reaches back to restore-to (object-store-keep says how far it shall)");
}

static void visit_stream(struct archive *a, size_t from, size_t covered, size_t to) {
    struct reader *r = &a->reader;
    (void)from;
    for (size_t i = covered; i < to; i++) {
        struct replica_id writer;
        uint64_t number;
        struct bytes key = bytes_str(r->segments.keys[i].key);
        if (layout_read_segment_key(key, &writer, &number)) listing_add(&r->sweep.items, key, r->segments.keys[i].size);
    }
}

static void read_segments(struct archive *a) {
    struct reader *r = &a->reader;
    r->gaps = r->images = 0;
    sweep_begin(&r->sweep);
    check_source(a);
    a->progress = true;
    r->step = r->had ? READ_SEARCHING : READ_SEGMENTS;
    if (r->had) search_begin(&r->search, &r->segments, a->source, r->had);
    else visit_stream(a, 0, 0, r->segments.count);
}

/* The next older manifest, or on to the segments. */
static void next_manifest(struct archive *a) {
    struct reader *r = &a->reader;
    if (!manifests_fetch(a, &r->fetch, a->source, &r->manifests, &r->next)) {
        if (a->config.source.manifest && !r->used)
            archive_stop(a, "there is no manifest %llu that could be read", (unsigned long long)a->config.source.manifest);
        read_segments(a);
        return;
    }
    r->step = READ_MANIFEST;
}

/* What the store does not have, and this node has from elsewhere. */
static void owe_rest(struct archive *a) {
    for (uint32_t s = 0; s < a->config.shard_count; s++) {
        struct shard *shard = a->config.shards[s];
        bool other_store = a->source != &a->config.store;
        shard_lock(shard);
        const struct vclock *applied = shard_applied(shard);
        static const struct vclock nothing;
        bool owed = !vclock_covers(other_store ? &nothing : &a->reader.stored[s], applied);
        shard_unlock(shard);
        if (owed && !MUTANT(rest_unowed)) stream_owe(a, s);
    }
}

static bool end(struct archive *a) {
    struct reader *r = &a->reader;
    if (r->is_void && !MUTANT(closed_still)) {
        begin(a);
        return false;
    }
    if (r->vanished && (!r->again || r->used > r->again_from)) {
        r->again = true;
        r->again_from = r->used;
        archive_count(a, read_again, 1);
        begin(a);
        return false;
    }
    if (r->vanished) damaged(a, "an object", "it is missing, and no newer manifest says why");
    if (a->source == &a->config.store) streams_were_read(a);
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
            r->handled = (struct replica_id){UINT64_MAX, UINT64_MAX};
            list_own(a);
            break;
        }
        listing_begin(a, &r->manifests, &a->config.store, "segment/");
        r->step = READ_CHECKING;
        break;
    case READ_CHECKING:
        if (listing_over(a, &r->manifests) && is_empty(a, &r->manifests)) begin(a);
        break;
    case READ_LISTING_OWN:
        if (listing_over(a, &r->manifests) && !next_own(a)) begin(a);
        break;
    case READ_OWN_HEADS:
        if (fetch_over(a, &r->fetch)) judge_own(a);
        break;
    case READ_CLOSING:
        if (!creation_over(a, &r->creation)) break;
        if (r->creation.state == CREATION_TAKEN) { /* it has arrived */
            memcpy(r->taken, r->creation.key, sizeof r->taken);
            r->handled = r->predecessor; /* they are taken from the last to the first */
            list_own(a);
            break;
        }
        archive_count(a, closed, 1);
        end_own(a);
        break;
    case READ_LISTING_SEGMENTS:
        if (!listing_over(a, &r->segments)) break;
        manifests_list(a, &r->manifests, a->source);
        r->step = READ_LISTING;
        break;
    case READ_LISTING:
        if (!listing_over(a, &r->manifests)) break;
        r->next = r->manifests.count;
        r->oldest = 0;
        for (size_t i = 0; i < r->next && !r->oldest; i++)
            if (!layout_read_manifest_key(bytes_str(r->manifests.keys[i].key), &r->oldest)) r->oldest = 0;
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
        else read_segments(a);
        break;
    case READ_SEARCHING:
        if (!search_over(a, &r->search, visit_stream, store_has_segment)) break;
        r->vanished = r->vanished || r->search.vanished;
        r->step = READ_SEGMENTS;
        a->progress = true;
        break;
    case READ_SEGMENTS:
        if (!sweep_over(a, &r->sweep, a->source, STORE_GET, visit_segment)) break;
        if (!r->gaps || !r->images || r->second) return end(a);
        r->second = true;
        read_segments(a);
        break;
    }
    return false;
}
