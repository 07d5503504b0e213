/* Checkpoints and manifests.
 *
 * Every node looks from time to time how much the segments have grown since the newest manifest. Whoever finds it enough waits a
 * random while, looks again, and makes images of all its shards, some at a time. The manifest that names them also names what was
 * named before and is not covered by them. Who comes second reads the manifest of who came first, and merges or gives up. */
#include "persist/archive_state.h"

#define JITTER_US INT64_C(3000000)
#define SEGMENTS_MIN 1000u        /* so many segments are a checkpoint's worth ... */
#define SEGMENT_BYTES_MEAN 65536u /* ... or as many as there are of these in the last checkpoint */

void compact_idle(struct archive *a) {
    struct compactor *c = &a->compactor;
    int64_t poll_us = a->config.poll_us;
    c->step = COMPACT_IDLE;
    c->second_look = false;
    c->at_us = a->now.mono_us + poll_us / 2 + archive_random(a, poll_us);
}

void manifests_list(struct archive *a, struct listing *l, const struct store *store) {
    char first[LAYOUT_KEY_BYTES];
    layout_manifest_key(first, 1);
    listing_begin_row(a, l, store, first, true);
}

uint64_t manifests_newest(const struct listing *manifests) {
    uint64_t number = 0, newest = 0;
    for (size_t i = 0; i < manifests->count; i++)
        if (layout_read_manifest_key(bytes_str(manifests->keys[i].key), &number) && number > newest) newest = number;
    return newest;
}

bool manifests_fetch(struct archive *a, struct fetch *f, const struct store *store, const struct listing *manifests, size_t *left) {
    uint64_t number;
    while (*left && !layout_read_manifest_key(bytes_str(manifests->keys[*left - 1].key), &number)) --*left;
    if (!*left) return false;
    const struct listed *item = &manifests->keys[--*left];
    fetch_get(a, f, store, item->key, 0, 0, item->size);
    return true;
}

/* -------------------------------------------------------------------- when */

static void begin_checkpoint(struct archive *a);

/* Where all streams are. */
static void mark_streams(struct compactor *c) {
    struct manifest_mark last;
    c->here_count = 0;
    for (size_t i = 0; i < c->segments.count; i++) {
        if (!search_is_newest(&c->segments, i, &last.writer, &last.number) || c->here_count == LAYOUT_MARKS_MAX) continue;
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

static void know_nothing(struct archive *a) {
    struct manifest nothing = {0};
    know(a, &nothing);
}

/* Somebody emptied the store, or put back an old copy of it: what is here may be all there is. */
static void start_over(struct archive *a) {
    struct compactor *c = &a->compactor;
    if (c->known) archive_note(a, "the object store has lost manifest %llu: a checkpoint makes it whole again", (unsigned long long)c->known);
    else archive_note(a, "the object store has lost what was streamed to it: a checkpoint makes it whole again");
    know_nothing(a);
    archive_save(a);
}

static bool has_lost_manifest(const struct compactor *c) { return manifests_newest(&c->manifests) < c->known; }

/* Nobody takes away the newest segment of a stream that no manifest covers; but it may be listed late. */
static bool misses_ours(struct archive *a) {
    struct compactor *c = &a->compactor;
    struct replica_id writer;
    uint64_t number;
    if (c->known || manifests_newest(&c->manifests)) return false;
    for (size_t i = 0; c->was_stored && i < c->segments.count; i++)
        if (layout_read_segment_key(bytes_str(c->segments.keys[i].key), &writer, &number) && replica_id_compare(writer, a->config.self) == 0 &&
            number + 1 >= c->was_stored)
            return false;
    return c->was_stored > 0;
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
        compact_idle(a);
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
    c->began_at = manifests_newest(&c->manifests);
    c->began_us = a->now.mono_us;
    c->began_ms = a->now.wall_ms > c->last_began_ms ? a->now.wall_ms : c->last_began_ms + 1;
    c->last_began_ms = c->began_ms;
    c->shard = 0;
    c->self_index = a->self_index;
    c->creation.state = CREATION_IDLE;
    c->vanished = 0;
    c->step = COMPACT_PARTS;
    a->progress = true;
}

static void begin_part(struct archive *a) {
    struct compactor *c = &a->compactor;
    struct buf body = {0};
    char key[LAYOUT_KEY_BYTES] = {0};
    c->mine.parts = mem_realloc(c->mine.parts, (c->mine.part_count + 1) * sizeof *c->mine.parts);
    struct manifest_part *part = &c->mine.parts[c->mine.part_count++];
    *part = (struct manifest_part){.first = c->shard};
    part->applied = mem_zero(a->config.shard_count - c->shard, sizeof *part->applied);
    while (c->shard < a->config.shard_count && body.len < a->config.part_bytes) {
        size_t begun = object_record_begin(&body, OBJECT_IMAGE);
        replay_write_image(&a->shards, c->shard++, &body, &part->applied[part->count++]);
        object_record_end(&body, begun);
    }
    layout_part_key(key, a->config.self, c->began_ms, part->first);
    buf_put(&c->keys, key, sizeof key);
    creation_begin(a, &c->creation, key, OBJECT_PART, (struct bytes){0}, buf_bytes(&body));
    part->bytes = c->creation.object.len;
    buf_fini(&body);
}

/* True once all parts are stored. */
static bool store_parts(struct archive *a) {
    struct compactor *c = &a->compactor;
    if (c->creation.state != CREATION_IDLE) {
        if (!creation_over(a, &c->creation)) return false;
        bool slow = a->now.mono_us - c->began_us > CHECKPOINT_US;
        if (slow || c->creation.state == CREATION_TAKEN) {
            archive_note(a, "the checkpoint is given up: %s", slow ? "it took too long" : "another process stores under our name");
            compact_idle(a);
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
    manifests_list(a, &c->manifests, &a->config.store);
    c->step = COMPACT_MERGE;
}

struct vclock *compact_coverage(struct archive *a, const struct manifest *m) {
    struct vclock *covered = mem_zero(a->config.shard_count, sizeof *covered);
    for (uint32_t i = 0; i < m->part_count; i++)
        for (uint32_t s = 0; s < m->parts[i].count; s++) vclock_join(&covered[m->parts[i].first + s], &m->parts[i].applied[s]);
    return covered;
}

static bool covers_stream(struct archive *a, const struct manifest *m) {
    struct vclock *covered = compact_coverage(a, m);
    bool all = true;
    for (uint32_t s = 0; s < a->config.shard_count; s++) all = all && vclock_get(&covered[s], a->self_index) >= a->stream.stored[s];
    archive_free_vectors(a, covered);
    return all;
}

static bool is_covered(const struct manifest_part *part, const struct vclock *covered) {
    for (uint32_t s = 0; s < part->count; s++)
        if (!vclock_covers(&covered[part->first + s], &part->applied[s])) return false;
    return true;
}

/* The node has started over since, or is about to: those of whom its parts have heard may have been given up as well. */
static bool is_void(struct archive *a) {
    const struct compactor *c = &a->compactor;
    return atomic_load(&a->reset) || c->self_index != a->self_index || a->stream.closed || a->now.mono_us - c->began_us > CHECKPOINT_US;
}

/* Before the manifest is named, so that what it covers is garbage then. */
static void end_stream(struct archive *a) {
    struct compactor *c = &a->compactor;
    c->end = stream_covered(a);
    c->step = COMPACT_STREAM_END;
    a->progress = true;
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
    struct manifest m = {.number = manifests_newest(&c->manifests) + 1, .made_ms = a->now.wall_ms, .writer = a->config.self, .shard_count = a->config.shard_count};
    const struct manifest *other = c->has_newest ? &c->newest : NULL;
    struct vclock *mine, *theirs = other && other->number > c->began_at ? compact_coverage(a, other) : NULL;
    struct buf text = {0}, members = {0};
    char key[LAYOUT_KEY_BYTES];
    for (uint32_t i = 0; i < c->mine.part_count; i++) c->mine.parts[i].key = bytes_str((char *)c->keys.data + (size_t)i * LAYOUT_KEY_BYTES);
    m.parts = mem_zero(c->mine.part_count + (other ? other->part_count : 0), sizeof *m.parts);
    take_parts(&m, &c->mine, theirs); /* of two who came at once, the second names only what it knows better */
    layout_manifest_key(key, m.number);
    bool hidden = c->creation.state == CREATION_TAKEN && strcmp(c->creation.key, key) == 0; /* taken, and still not listed */
    bool any = m.part_count > 0 && !hidden;
    mine = compact_coverage(a, &m);
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

/* That could not be created so far. */
static void drop_manifest(struct archive *a) {
    know_nothing(a);
    compact_idle(a);
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
    c->has_newest = archive_open_manifest(a, &c->fetch, &c->newest_text, &c->newest);
    return c->has_newest;
}

static bool look_at_next(struct archive *a) {
    struct compactor *c = &a->compactor;
    return manifests_fetch(a, &c->fetch, &a->config.store, &c->manifests, &c->look);
}

/* With the newest that can be read: what only those before it name must not be lost with one that is damaged. */
static void merge(struct archive *a) {
    struct compactor *c = &a->compactor;
    bool vanished = c->fetch.request.result == STORE_MISSING; /* it is old already; or the store lists what is not there */
    if (vanished && c->vanished++ < VANISHED_MAX) begin_merge(a);
    else if (vanished) give_up(a);
    else if (!read_other(a) && look_at_next(a)) return;
    else if (!name_parts(a)) give_up(a);
}

/* -------------------------------------------------------------------- steps */

static void ask_for_ours(struct archive *a) {
    struct compactor *c = &a->compactor;
    char key[LAYOUT_KEY_BYTES];
    layout_segment_key(key, a->config.self, c->was_stored - 1);
    fetch_begin(a, &c->fetch, &a->config.store, STORE_HEAD, key);
    c->step = COMPACT_MISSING;
}

/* Both are listed. */
static void look_on(struct archive *a) {
    struct compactor *c = &a->compactor;
    tail_look_at(a, &c->segments);
    c->was_stored = a->stream.number - a->stream.out;
    c->look = c->manifests.count;
    if (manifests_newest(&c->manifests) != c->known && look_at_next(a)) c->step = COMPACT_READING;
    else decide(a);
}

static void named(struct archive *a) {
    struct compactor *c = &a->compactor;
    if (c->creation.state == CREATION_TAKEN) {
        archive_count(a, manifests_taken, 1);
        begin_merge(a);
        return;
    }
    archive_count(a, checkpoints, 1);
    garbage_begin(a);
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
        manifests_list(a, &c->manifests, &a->config.store);
        c->step = COMPACT_LISTING_MANIFESTS;
        break;
    case COMPACT_LISTING_MANIFESTS:
        if (!listing_over(a, &c->manifests)) break;
        if (has_lost_manifest(c)) start_over(a);
        if (misses_ours(a)) ask_for_ours(a);
        else look_on(a);
        break;
    case COMPACT_MISSING:
        if (!fetch_over(a, &c->fetch)) break;
        if (c->fetch.request.result == STORE_MISSING) start_over(a);
        look_on(a);
        break;
    case COMPACT_READING:
        if (!fetch_over(a, &c->fetch)) break;
        if (read_other(a)) {
            know(a, &c->newest);
            if (covers_stream(a, &c->newest)) stream_covered(a);
        }
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
        if (is_void(a)) compact_idle(a); /* orphans */
        else if (is_streamed(a) || MUTANT(parts_unstreamed)) end_stream(a);
        break;
    case COMPACT_STREAM_END:
        if (is_void(a)) compact_idle(a);
        else if (stream_has_stored(a, c->end)) begin_merge(a);
        break;
    case COMPACT_MERGE:
        if (!listing_over(a, &c->manifests)) break;
        if (is_void(a) && !MUTANT(void_named)) {
            compact_idle(a);
            break;
        }
        c->look = c->manifests.count;
        if (look_at_next(a)) {
            c->step = COMPACT_MERGE_READ;
        } else {
            forget_newest(c);
            if (!name_parts(a)) give_up(a);
        }
        break;
    case COMPACT_MERGE_READ:
        if (!fetch_over(a, &c->fetch)) break;
        if (is_void(a) && !MUTANT(void_named)) compact_idle(a);
        else merge(a);
        break;
    case COMPACT_NAMING:
        if (is_void(a) && c->creation.fetch.state == FETCH_DUE && !MUTANT(void_named)) drop_manifest(a);
        else if (creation_over(a, &c->creation)) named(a);
        break;
    default: garbage_step(a);
    }
}

void compact_fini(struct archive *a) {
    struct compactor *c = &a->compactor;
    garbage_fini(a);
    forget_mine(c);
    buf_fini(&c->keys);
    forget_newest(c);
    buf_fini(&c->newest_text);
    listing_fini(&c->segments);
    listing_fini(&c->manifests);
    fetch_fini(&c->fetch);
    creation_fini(&c->creation);
    mem_free(c->marks);
    mem_free(c->here);
}
