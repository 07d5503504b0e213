/* Checkpoints, manifests, garbage.
 *
 * Every node looks from time to time how much the segments have grown since the newest manifest. Whoever finds it enough waits a
 * random while, looks again, and makes images of all its shards, some at a time. The manifest that names them also names what was
 * named before and is not covered by them. Who comes second reads the manifest of who came first, and merges or gives up.
 *
 * Garbage is judged by vectors, not by clocks. Objects that no manifest names may be about to be named: they go when this process
 * has seen them for ORPHAN_US. */
#include "persist/archive_state.h"

#define JITTER_US INT64_C(3000000)
#define SEGMENTS_MIN 1000u        /* so many segments are a checkpoint's worth ... */
#define SEGMENT_BYTES_MEAN 65536u /* ... or as many as there are of these in the last checkpoint */

static void idle(struct archive *a) {
    struct compactor *c = &a->compactor;
    int64_t poll_us = a->config.poll_us;
    c->step = COMPACT_IDLE;
    c->second_look = false;
    c->at_us = a->now.mono_us + poll_us / 2 + archive_random(a, poll_us);
}

static uint64_t newest_of(const struct listing *manifests) {
    uint64_t number = 0, newest = 0;
    for (size_t i = 0; i < manifests->count; i++)
        if (layout_read_manifest_key(bytes_str(manifests->keys[i].key), &number) && number > newest) newest = number;
    return newest;
}

/* -------------------------------------------------------------------- when */

static void begin_checkpoint(struct archive *a);

/* Where all streams are: in the order of keys the newest segment of each is its last. */
static void mark_streams(struct compactor *c) {
    struct manifest_mark last;
    c->here_count = 0;
    for (size_t i = 0; i < c->segments.count; i++) {
        if (i + 1 < c->segments.count && search_same_stream(&c->segments.keys[i], &c->segments.keys[i + 1])) continue;
        if (!layout_read_segment_key(bytes_str(c->segments.keys[i].key), &last.writer, &last.number) || c->here_count == LAYOUT_MARKS_MAX) continue;
        c->here = mem_realloc(c->here, (c->here_count + 1) * sizeof *c->here);
        c->here[c->here_count++] = last;
    }
}

static bool is_beyond_marks(const struct compactor *c, const struct listed *item) {
    struct replica_id writer;
    uint64_t number;
    if (!layout_read_segment_key(bytes_str(item->key), &writer, &number)) return false;
    for (uint32_t i = 0; i < c->mark_count; i++)
        if (replica_id_compare(c->marks[i].writer, writer) == 0) return number > c->marks[i].number;
    return true;
}

/* What growth is counted from. */
static void know(struct archive *a, const struct manifest *m) {
    struct compactor *c = &a->compactor;
    c->known = m->number;
    c->manifest_bytes = 0;
    for (uint32_t i = 0; i < m->part_count; i++) c->manifest_bytes += m->parts[i].bytes;
    c->marks = mem_realloc(c->marks, m->mark_count * sizeof *c->marks);
    if (m->mark_count) memcpy(c->marks, m->marks, m->mark_count * sizeof *c->marks);
    c->mark_count = m->mark_count;
    pthread_mutex_lock(&a->lock);
    a->status.manifest = m->number;
    pthread_mutex_unlock(&a->lock);
}

/* Somebody emptied the store, or put back an old copy of it: what is here may be all there is. */
static void start_over(struct archive *a) {
    struct compactor *c = &a->compactor;
    struct manifest nothing = {0};
    archive_note(a, "the object store has lost manifest %llu: a checkpoint makes it whole again", (unsigned long long)c->known);
    know(a, &nothing);
    archive_save(a);
}

static bool has_grown(struct archive *a) {
    struct compactor *c = &a->compactor;
    uint64_t bytes = 0, count = 0, percent = atomic_load(&a->rewrite_percent);
    if (!percent) return false;
    for (size_t i = 0; i < c->segments.count; i++) {
        if (!is_beyond_marks(c, &c->segments.keys[i])) continue;
        bytes += c->segments.keys[i].size;
        count++;
    }
    uint64_t many = c->manifest_bytes / SEGMENT_BYTES_MEAN;
    return count >= (many > SEGMENTS_MIN ? many : SEGMENTS_MIN) ||
           (bytes >= atomic_load(&a->rewrite_bytes_min) && bytes >= c->manifest_bytes / 100 * percent);
}

/* A look at everything, and a second one after a random while, lest all nodes begin at once. */
static void decide(struct archive *a) {
    struct compactor *c = &a->compactor;
    bool save = atomic_load(&a->save);
    if (!save && !has_grown(a)) {
        idle(a);
    } else if (save || c->second_look) {
        mark_streams(c);
        begin_checkpoint(a);
    } else {
        c->second_look = true;
        c->at_us = a->now.mono_us + archive_random(a, JITTER_US);
        c->step = COMPACT_JITTER;
        archive_wants(a, c->at_us);
    }
}

/* ------------------------------------------------------------------- parts */

static void forget_mine(struct compactor *c) {
    for (uint32_t i = 0; i < c->mine.part_count; i++) c->mine.parts[i].key = (struct bytes){0};
    manifest_fini(&c->mine);
    c->keys.len = 0;
}

static void begin_checkpoint(struct archive *a) {
    struct compactor *c = &a->compactor;
    forget_mine(c);
    atomic_store(&a->save, false);
    c->began_at = newest_of(&c->manifests);
    c->began_us = a->now.mono_us;
    c->began_ms = a->now.wall_ms > c->last_began_ms ? a->now.wall_ms : c->last_began_ms + 1;
    c->last_began_ms = c->began_ms;
    c->shard = 0;
    c->self_index = a->self_index;
    c->creation.state = CREATION_IDLE;
    c->step = COMPACT_PARTS;
    a->progress = true;
}

static void begin_part(struct archive *a) {
    struct compactor *c = &a->compactor;
    struct buf body = {0}, image = {0};
    char key[LAYOUT_KEY_BYTES] = {0};
    c->mine.parts = mem_realloc(c->mine.parts, (c->mine.part_count + 1) * sizeof *c->mine.parts);
    struct manifest_part *part = &c->mine.parts[c->mine.part_count++];
    *part = (struct manifest_part){.first = c->shard};
    part->applied = mem_zero(a->config.shard_count - c->shard, sizeof *part->applied);
    while (c->shard < a->config.shard_count && body.len < a->config.part_bytes) {
        image.len = 0;
        replay_write_image(&a->shards, c->shard++, &image, &part->applied[part->count++]);
        object_record_write(&body, OBJECT_IMAGE, buf_bytes(&image));
    }
    layout_part_key(key, a->config.self, c->began_ms, part->first);
    buf_put(&c->keys, key, sizeof key);
    creation_begin(a, &c->creation, key, OBJECT_PART, (struct bytes){0}, buf_bytes(&body));
    part->bytes = c->creation.object.len;
    buf_fini(&body);
    buf_fini(&image);
}

/* True once all parts are stored. */
static bool store_parts(struct archive *a) {
    struct compactor *c = &a->compactor;
    if (c->creation.state != CREATION_IDLE) {
        if (!creation_over(a, &c->creation)) return false;
        bool slow = a->now.mono_us - c->began_us > CHECKPOINT_US;
        if (slow || c->creation.state == CREATION_TAKEN) {
            archive_note(a, "the checkpoint is given up: %s", slow ? "it took too long" : "another process stores under our name");
            idle(a);
            return false;
        }
        archive_count(a, checkpoint_bytes, c->creation.object.len);
        c->creation.state = CREATION_IDLE;
    }
    if (c->shard == a->config.shard_count) return true;
    begin_part(a);
    return false;
}

/* A part may name no own mutation that is not in our stream: if that is closed before it gets there, it is void. */
static bool is_streamed(struct archive *a) {
    const struct compactor *c = &a->compactor;
    for (uint32_t i = 0; i < c->mine.part_count; i++)
        for (uint32_t s = 0; s < c->mine.parts[i].count; s++)
            if (vclock_get(&c->mine.parts[i].applied[s], a->self_index) > a->stream.stored[c->mine.parts[i].first + s]) return false;
    return true;
}

/* ---------------------------------------------------------------- manifests */

static void begin_merge(struct archive *a) {
    struct compactor *c = &a->compactor;
    listing_begin(a, &c->manifests, &a->config.store, "manifest/");
    c->step = COMPACT_MERGE;
}

/* What a manifest covers, by shard; the caller frees each, and the array. */
static struct vclock *coverage(struct archive *a, const struct manifest *m) {
    struct vclock *covered = mem_zero(a->config.shard_count, sizeof *covered);
    for (uint32_t i = 0; i < m->part_count; i++)
        for (uint32_t s = 0; s < m->parts[i].count; s++) vclock_join(&covered[m->parts[i].first + s], &m->parts[i].applied[s]);
    return covered;
}

static bool is_covered(const struct manifest_part *part, const struct vclock *covered) {
    for (uint32_t s = 0; s < part->count; s++)
        if (!vclock_covers(&covered[part->first + s], &part->applied[s])) return false;
    return true;
}

static bool read_manifest(struct archive *a, const struct fetch *f, struct buf *text, struct manifest *out) {
    struct object object;
    text->len = 0;
    if (f->request.result != STORE_DONE || !archive_open(a, f->key, OBJECT_MANIFEST, buf_bytes(&f->request.data), &object, text)) return false;
    if (manifest_read(buf_bytes(text), a->config.replicas, out) != STATUS_OK) return false;
    uint64_t number;
    if (out->shard_count == a->config.shard_count && layout_read_manifest_key(bytes_str(f->key), &number) && number == out->number) return true;
    manifest_fini(out);
    return false;
}

/* Everything in `from` that `covered` does not cover, into `to`; its vectors are lent. */
static void take_parts(struct manifest *to, const struct manifest *from, const struct vclock *covered) {
    for (uint32_t i = 0; i < from->part_count; i++) {
        if (covered && is_covered(&from->parts[i], covered) && !MUTANT(parts_forgotten)) continue;
        if (MUTANT(parts_forgotten) && covered) continue;
        to->parts[to->part_count++] = from->parts[i];
    }
}

/* Names our parts, and what of the newest manifest they do not cover. False: they say nothing new, or there is no number for it. */
static bool name_parts(struct archive *a) {
    struct compactor *c = &a->compactor;
    struct manifest m = {.number = newest_of(&c->manifests) + 1, .made_ms = a->now.wall_ms, .writer = a->config.self, .shard_count = a->config.shard_count};
    const struct manifest *other = c->has_newest ? &c->newest : NULL;
    struct vclock *mine, *theirs = other && other->number > c->began_at ? coverage(a, other) : NULL;
    struct buf text = {0}, members = {0};
    char key[LAYOUT_KEY_BYTES];
    for (uint32_t i = 0; i < c->mine.part_count; i++) c->mine.parts[i].key = bytes_str((char *)c->keys.data + (size_t)i * LAYOUT_KEY_BYTES);
    m.parts = mem_zero(c->mine.part_count + (other ? other->part_count : 0), sizeof *m.parts);
    take_parts(&m, &c->mine, theirs); /* of two who came at once, the second names only what it knows better */
    layout_manifest_key(key, m.number);
    bool hidden = c->creation.state == CREATION_TAKEN && strcmp(c->creation.key, key) == 0; /* taken, and still not listed */
    bool any = m.part_count > 0 && !hidden;
    mine = coverage(a, &m);
    if (other) take_parts(&m, other, mine);
    if (any) {
        pthread_mutex_lock(&a->lock);
        buf_put_bytes(&members, buf_bytes(&a->members));
        pthread_mutex_unlock(&a->lock);
        m.members = buf_bytes(&members);
        m.marks = c->here;
        m.mark_count = c->here_count;
        know(a, &m);
        manifest_write(&m, a->config.replicas, &text);
        creation_begin(a, &c->creation, key, OBJECT_MANIFEST, (struct bytes){0}, buf_bytes(&text));
        c->step = COMPACT_NAMING;
    }
    archive_free_vectors(a, mine);
    archive_free_vectors(a, theirs);
    mem_free(m.parts);
    buf_fini(&text);
    buf_fini(&members);
    return any;
}

static void give_up(struct archive *a) {
    struct compactor *c = &a->compactor;
    archive_count(a, checkpoints_lost, 1);
    sweep_begin(&c->doomed);
    for (uint32_t i = 0; i < c->mine.part_count; i++) listing_add(&c->doomed.items, bytes_str((char *)c->keys.data + (size_t)i * LAYOUT_KEY_BYTES), 0);
    c->step = GARBAGE_DELETING;
    a->progress = true;
}

static void forget_newest(struct compactor *c) {
    if (c->has_newest) manifest_fini(&c->newest);
    c->has_newest = false;
}

/* What was fetched, if it can be read, is `newest`. */
static bool read_other(struct archive *a) {
    struct compactor *c = &a->compactor;
    forget_newest(c);
    c->has_newest = read_manifest(a, &c->fetch, &c->newest_text, &c->newest);
    return c->has_newest;
}

/* Fetches the newest of the manifests that are left; false: there is none. Whatever else is listed there is not ours. */
static bool look_at_next(struct archive *a) {
    struct compactor *c = &a->compactor;
    uint64_t number;
    while (c->look && !layout_read_manifest_key(bytes_str(c->manifests.keys[c->look - 1].key), &number)) c->look--;
    if (!c->look) return false;
    const struct listed *item = &c->manifests.keys[--c->look];
    fetch_get(a, &c->fetch, &a->config.store, item->key, 0, 0, item->size);
    return true;
}

/* With the newest that can be read: what only those before it name must not be lost with one that is damaged. */
static void merge(struct archive *a) {
    struct compactor *c = &a->compactor;
    bool vanished = c->fetch.request.result == STORE_MISSING; /* it is old already */
    if (vanished) begin_merge(a);
    else if (!read_other(a) && look_at_next(a)) return;
    else if (!name_parts(a)) give_up(a);
}

/* ----------------------------------------------------------------- garbage */

static void forget_garbage(struct archive *a) {
    struct compactor *c = &a->compactor;
    for (size_t i = 0; i < c->all_count; i++) {
        if (c->all[i].number) manifest_fini(&c->all[i]);
        buf_fini(&c->texts[i]);
    }
    mem_free(c->all);
    mem_free(c->texts);
    archive_free_vectors(a, c->covered);
    c->all = NULL;
    c->texts = NULL;
    c->covered = NULL;
    c->all_count = 0;
}

static void begin_garbage(struct archive *a) {
    struct compactor *c = &a->compactor;
    forget_garbage(a);
    sweep_begin(&c->sweep);
    for (size_t i = 0; i < c->manifests.count; i++) listing_add(&c->sweep.items, bytes_str(c->manifests.keys[i].key), c->manifests.keys[i].size);
    char key[LAYOUT_KEY_BYTES];
    layout_manifest_key(key, c->known);
    listing_add(&c->sweep.items, bytes_str(key), c->creation.object.len); /* the one that was just made */
    c->all = mem_zero(c->sweep.items.count, sizeof *c->all);
    c->texts = mem_zero(c->sweep.items.count, sizeof *c->texts);
    c->all_count = c->sweep.items.count;
    c->step = GARBAGE_MANIFESTS;
    a->progress = true;
}

static void visit_manifest(struct archive *a, const struct listed *item, struct fetch *f) {
    struct compactor *c = &a->compactor;
    size_t i = (size_t)(item - c->sweep.items.keys);
    if (!read_manifest(a, f, &c->texts[i], &c->all[i])) c->all[i].number = 0;
}

/* The newest that another follows and that is old enough; what it covers is kept there. SIZE_MAX: none. */
static size_t base_of(struct archive *a) {
    struct compactor *c = &a->compactor;
    int64_t keep_ms = atomic_load(&a->keep_ms);
    for (size_t i = c->all_count - 1 + MUTANT(newest_is_base); i-- > 0;)
        if (c->all[i].number && (!keep_ms || c->all[i].made_ms <= a->now.wall_ms - keep_ms)) return i;
    return SIZE_MAX;
}

static bool is_named(const struct compactor *c, const char *key, size_t from, size_t to) {
    struct bytes name = bytes_str(key);
    for (size_t i = from; i < to; i++)
        for (uint32_t p = 0; c->all[i].number && p < c->all[i].part_count; p++)
            if (bytes_equal(c->all[i].parts[p].key, name)) return true;
    return false;
}

/* Whether this process has seen it, as something that nobody needs, for long enough. */
static bool has_waited(struct archive *a, const char *key) {
    struct compactor *c = &a->compactor;
    for (size_t i = 0; i < c->seen_count; i++)
        if (strcmp(c->seen[i].key, key) == 0) {
            c->seen[i].round = c->round;
            return a->now.mono_us - c->seen[i].since_us >= ORPHAN_US;
        }
    c->seen = mem_realloc(c->seen, (c->seen_count + 1) * sizeof *c->seen);
    memcpy(c->seen[c->seen_count].key, key, LAYOUT_KEY_BYTES);
    c->seen[c->seen_count].round = c->round;
    c->seen[c->seen_count++].since_us = a->now.mono_us;
    return false;
}

static void doom(struct compactor *c, const struct listed *item) { listing_add(&c->doomed.items, bytes_str(item->key), item->size); }

/* What was not seen in this round is gone, or named. */
static void forget_seen(struct compactor *c) {
    size_t kept = 0;
    for (size_t i = 0; i < c->seen_count; i++)
        if (c->seen[i].round == c->round) c->seen[kept++] = c->seen[i];
    c->seen_count = kept;
    c->round++;
}

/* The newest of a stream may be its writer's place. */
static void visit_stream(struct archive *a, size_t from, size_t covered, size_t to) {
    struct compactor *c = &a->compactor;
    for (size_t i = from; i < covered; i++)
        if (i + 1 < to || has_waited(a, c->segments.keys[i].key)) doom(c, &c->segments.keys[i]);
}

static void doom_parts_and_manifests(struct archive *a) {
    struct compactor *c = &a->compactor;
    for (size_t i = 0; i < c->parts.count; i++) {
        const char *key = c->parts.keys[i].key;
        if (is_named(c, key, c->base, c->all_count)) continue;
        if (is_named(c, key, 0, c->base) || has_waited(a, key)) doom(c, &c->parts.keys[i]);
    }
    forget_seen(c);
    for (size_t i = 0; i < c->base; i++) listing_add(&c->doomed.items, bytes_str(c->sweep.items.keys[i].key), 0);
    c->step = GARBAGE_DELETING;
    a->progress = true;
}

static void begin_search(struct archive *a) {
    struct compactor *c = &a->compactor;
    c->base = base_of(a);
    if (c->base == SIZE_MAX) {
        idle(a);
        return;
    }
    c->covered = coverage(a, &c->all[c->base]);
    sweep_begin(&c->doomed);
    listing_begin(a, &c->segments, &a->config.store, "segment/");
    c->step = GARBAGE_SEGMENTS;
}

static void visit_deleted(struct archive *a, const struct listed *item, struct fetch *f) {
    (void)item;
    if (f->request.result == STORE_DONE) archive_count(a, deleted, 1);
}

/* -------------------------------------------------------------------- steps */

static void named(struct archive *a) {
    struct compactor *c = &a->compactor;
    if (c->creation.state == CREATION_TAKEN) {
        archive_count(a, manifests_taken, 1);
        begin_merge(a);
        return;
    }
    archive_count(a, checkpoints, 1);
    begin_garbage(a);
}

void compact_step(struct archive *a) {
    struct compactor *c = &a->compactor;
    switch (c->step) {
    case COMPACT_IDLE:
        if (a->now.mono_us < c->at_us && !atomic_load(&a->save)) {
            archive_wants(a, c->at_us);
            break;
        }
        listing_begin(a, &c->segments, &a->config.store, "segment/");
        c->step = COMPACT_LISTING;
        break;
    case COMPACT_LISTING:
        if (!listing_over(a, &c->segments)) break;
        listing_begin(a, &c->manifests, &a->config.store, "manifest/");
        c->step = COMPACT_LISTING_MANIFESTS;
        break;
    case COMPACT_LISTING_MANIFESTS:
        if (!listing_over(a, &c->manifests)) break;
        if (newest_of(&c->manifests) < c->known) start_over(a);
        c->look = c->manifests.count;
        if (newest_of(&c->manifests) != c->known && look_at_next(a)) c->step = COMPACT_READING;
        else decide(a);
        break;
    case COMPACT_READING:
        if (!fetch_over(a, &c->fetch)) break;
        if (read_other(a)) know(a, &c->newest);
        decide(a);
        break;
    case COMPACT_JITTER:
        archive_wants(a, c->at_us);
        if (a->now.mono_us < c->at_us) break;
        listing_begin(a, &c->segments, &a->config.store, "segment/");
        c->step = COMPACT_LISTING;
        break;
    case COMPACT_PARTS:
        if (!store_parts(a)) break;
        c->step = COMPACT_STREAM;
        a->progress = true;
        break;
    case COMPACT_STREAM:
        if (c->self_index != a->self_index || a->stream.closed || a->now.mono_us - c->began_us > CHECKPOINT_US) idle(a); /* orphans */
        else if (is_streamed(a) || MUTANT(parts_unstreamed)) begin_merge(a);
        break;
    case COMPACT_MERGE:
        if (!listing_over(a, &c->manifests)) break;
        c->look = c->manifests.count;
        if (look_at_next(a)) {
            c->step = COMPACT_MERGE_READ;
        } else {
            forget_newest(c);
            if (!name_parts(a)) give_up(a);
        }
        break;
    case COMPACT_MERGE_READ:
        if (fetch_over(a, &c->fetch)) merge(a);
        break;
    case COMPACT_NAMING:
        if (creation_over(a, &c->creation)) named(a);
        break;
    case GARBAGE_MANIFESTS:
        if (sweep_over(a, &c->sweep, &a->config.store, STORE_GET, visit_manifest)) begin_search(a);
        break;
    case GARBAGE_SEGMENTS:
        if (!listing_over(a, &c->segments)) break;
        search_begin(&c->search, &c->segments, &a->config.store, c->covered);
        c->step = GARBAGE_HEADS;
        a->progress = true;
        break;
    case GARBAGE_HEADS:
        if (!search_over(a, &c->search, visit_stream, NULL)) break;
        listing_begin(a, &c->parts, &a->config.store, "checkpoint/");
        c->step = GARBAGE_PARTS;
        break;
    case GARBAGE_PARTS:
        if (listing_over(a, &c->parts)) doom_parts_and_manifests(a);
        break;
    case GARBAGE_DELETING:
        if (!sweep_over(a, &c->doomed, &a->config.store, STORE_DELETE, visit_deleted)) break;
        forget_garbage(a);
        idle(a);
        break;
    }
}

void compact_fini(struct archive *a) {
    struct compactor *c = &a->compactor;
    forget_garbage(a);
    forget_mine(c);
    buf_fini(&c->keys);
    forget_newest(c);
    buf_fini(&c->newest_text);
    listing_fini(&c->segments);
    listing_fini(&c->manifests);
    listing_fini(&c->parts);
    fetch_fini(&c->fetch);
    fetch_fini(&c->search.fetch);
    creation_fini(&c->creation);
    sweep_fini(&c->sweep);
    sweep_fini(&c->doomed);
    mem_free(c->marks);
    mem_free(c->here);
    mem_free(c->seen);
}
