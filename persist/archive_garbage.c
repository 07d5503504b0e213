/* What nobody needs any more: segments and parts that the oldest of the manifests that are kept covers.
 *
 * Judged by vectors, not by clocks. Objects that no manifest names may be about to be named: they go when this process has seen
 * them for ORPHAN_US. */
#include "persist/archive_state.h"

#define LIST_AGAIN_US INT64_C(1000000)
#define LISTED_US INT64_C(60000000) /* a store that takes longer keeps its garbage */

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

void garbage_begin(struct archive *a) {
    struct compactor *c = &a->compactor;
    forget_garbage(a);
    c->at_us = a->now.mono_us;
    c->until_us = a->now.mono_us + LISTED_US;
    c->step = GARBAGE_WAITING;
    a->progress = true;
}

static void read_manifests(struct archive *a) {
    struct compactor *c = &a->compactor;
    sweep_begin(&c->sweep);
    for (size_t i = 0; i < c->manifests.count; i++) listing_add(&c->sweep.items, bytes_str(c->manifests.keys[i].key), c->manifests.keys[i].size);
    c->all = mem_zero(c->sweep.items.count, sizeof *c->all);
    c->texts = mem_zero(c->sweep.items.count, sizeof *c->texts);
    c->all_count = c->sweep.items.count;
    c->step = GARBAGE_MANIFESTS;
    a->progress = true;
}

/* Those before the one that was just made are how others find it, until it is listed itself. */
static void look_whether_listed(struct archive *a) {
    struct compactor *c = &a->compactor;
    if (manifests_newest(&c->manifests) >= c->known || MUTANT(unlisted_relied_on)) {
        read_manifests(a);
    } else if (a->now.mono_us < c->until_us && !atomic_load(&a->save)) {
        c->at_us = a->now.mono_us + LIST_AGAIN_US;
        c->step = GARBAGE_WAITING;
    } else {
        archive_note(a, "manifest %llu is not listed yet: what it covers stays until the next checkpoint", (unsigned long long)c->known);
        compact_idle(a);
    }
}

static void visit_manifest(struct archive *a, const struct listed *item, struct fetch *f) {
    struct compactor *c = &a->compactor;
    size_t i = (size_t)(item - c->sweep.items.keys);
    if (!archive_open_manifest(a, f, &c->texts[i], &c->all[i])) c->all[i].number = 0;
}

/* The newest that enough others follow and that is old enough; what it covers is kept there. SIZE_MAX: none. */
static size_t base_of(struct archive *a) {
    struct compactor *c = &a->compactor;
    int64_t keep_ms = atomic_load(&a->keep_ms);
    uint32_t followed = 1 + MUTANT(newest_is_base), checkpoints = atomic_load(&a->checkpoints);
    for (size_t i = c->all_count; i-- > 0;) {
        if (!c->all[i].number || followed++ < checkpoints) continue;
        if (!keep_ms || c->all[i].made_ms <= a->now.wall_ms - keep_ms) return i;
    }
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

static void saw_head(struct archive *a, const struct segment_head *head) {
    struct compactor *c = &a->compactor;
    if (!head->closed || c->search.asked + 1 != c->search.to) return;
    c->closed = head->writer;
    c->by_next = head->by_next || MUTANT(end_collected);
}

/* The newest of a stream is its writer's place, until his next process has closed it; and if others ended it there, that one is to
 * find it, whenever it comes. The one before an end may be an end as well, in the place of what its writer sent last: that may still
 * be on its way, and is not to find the place free. */
static bool is_garbage(struct archive *a, const struct listed *item, size_t behind, bool closed) {
    if (behind > 1 || (behind == 1 && (!closed || MUTANT(end_freed)))) return true;
    return (behind == 1 || (closed && a->compactor.by_next)) && has_waited(a, item->key);
}

static void visit_stream(struct archive *a, size_t from, size_t covered, size_t to) {
    struct compactor *c = &a->compactor;
    struct replica_id writer = {0};
    uint64_t number;
    bool known = layout_read_segment_key(bytes_str(c->segments.keys[from].key), &writer, &number);
    bool closed = known && replica_id_compare(writer, c->closed) == 0;
    for (size_t i = from; i < covered; i++)
        if (is_garbage(a, &c->segments.keys[i], to - 1 - i, closed)) doom(c, &c->segments.keys[i]);
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
        compact_idle(a);
        return;
    }
    c->covered = compact_coverage(a, &c->all[c->base]);
    c->closed = (struct replica_id){0};
    sweep_begin(&c->doomed);
    listing_begin(a, &c->segments, &a->config.store, "segment/");
    c->step = GARBAGE_SEGMENTS;
}

static void visit_deleted(struct archive *a, const struct listed *item, struct fetch *f) {
    (void)item;
    if (f->request.result == STORE_DONE) archive_count(a, deleted, 1);
}

void garbage_step(struct archive *a) {
    struct compactor *c = &a->compactor;
    switch (c->step) {
    case GARBAGE_WAITING:
        archive_wants(a, c->at_us);
        if (a->now.mono_us < c->at_us) break;
        listing_begin(a, &c->manifests, &a->config.store, "manifest/");
        c->step = GARBAGE_LISTED;
        break;
    case GARBAGE_LISTED:
        if (listing_over(a, &c->manifests)) look_whether_listed(a);
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
        if (!search_over(a, &c->search, visit_stream, saw_head)) break;
        listing_begin(a, &c->parts, &a->config.store, "checkpoint/");
        c->step = GARBAGE_PARTS;
        break;
    case GARBAGE_PARTS:
        if (listing_over(a, &c->parts)) doom_parts_and_manifests(a);
        break;
    case GARBAGE_DELETING:
        if (!sweep_over(a, &c->doomed, &a->config.store, STORE_DELETE, visit_deleted)) break;
        forget_garbage(a);
        compact_idle(a);
        break;
    default: break;
    }
}

void garbage_fini(struct archive *a) {
    struct compactor *c = &a->compactor;
    forget_garbage(a);
    listing_fini(&c->parts);
    fetch_fini(&c->search.fetch);
    sweep_fini(&c->sweep);
    sweep_fini(&c->doomed);
    mem_free(c->seen);
}
