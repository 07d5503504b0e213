/* What a process wrote last, gossiped, and did not get to stream before it died. Those that live have it in memory alone: they
 * stream images of the shards in question, lest it is lost with the last of them. */
#include <inttypes.h>
#include <stdio.h>

#include "persist/archive_state.h"

#define GRACE_US INT64_C(10000000) /* what is on its way may arrive; who left streams his last words */

static bool id_equal(struct replica_id a, struct replica_id b) { return replica_id_compare(a, b) == 0; }

void archive_alive(struct archive *a, const struct replica_id *ids, size_t count, int64_t now_us) {
    struct tails *t = &a->tails;
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < t->alive_count; i++) {
        bool still = false;
        for (size_t k = 0; k < count; k++) still = still || id_equal(ids[k], t->alive[i]);
        if (still) continue;
        t->lost = mem_realloc(t->lost, (t->lost_count + 1) * sizeof *t->lost);
        t->lost[t->lost_count++] = (struct lost){t->alive[i], now_us + GRACE_US};
    }
    t->alive = mem_realloc(t->alive, count * sizeof *ids);
    if (count) memcpy(t->alive, ids, count * sizeof *ids);
    t->alive_count = count;
    pthread_mutex_unlock(&a->lock);
}

/* The next that is due. */
static bool take_lost(struct archive *a, struct replica_id *out) {
    struct tails *t = &a->tails;
    bool due = false;
    pthread_mutex_lock(&a->lock);
    if (t->lost_count) {
        due = a->now.mono_us >= t->lost[0].at_us;
        archive_wants(a, t->lost[0].at_us);
        *out = t->lost[0].id;
    }
    if (due) memmove(t->lost, t->lost + 1, --t->lost_count * sizeof *t->lost);
    pthread_mutex_unlock(&a->lock);
    return due;
}

/* Shards of which more was applied here than is stored; true if there are any. */
static bool is_more_here(struct archive *a, bool owe) {
    struct tails *t = &a->tails;
    uint16_t index;
    bool any = false;
    if (replicas_intern(a->config.replicas, t->id, &index) != STATUS_OK) return false;
    for (uint32_t s = 0; s < a->config.shard_count; s++) {
        shard_lock(a->config.shards[s]);
        bool more = vclock_get(shard_applied(a->config.shards[s]), index) > t->stored[s];
        shard_unlock(a->config.shards[s]);
        any = any || more;
        if (more && owe) stream_owe(a, s);
    }
    return any;
}

static void store_has(struct archive *a, uint32_t shard, uint64_t counter) {
    if (counter > a->tails.stored[shard]) a->tails.stored[shard] = counter;
}

static void visit_stream(struct archive *a, size_t from, size_t covered, size_t to) { (void)a, (void)from, (void)covered, (void)to; }

static void saw_head(struct archive *a, const struct segment_head *head) {
    for (uint32_t s = 0; s < head->shard_count; s++) store_has(a, s, head->upto[s]);
}

static void begin(struct archive *a, struct replica_id id) {
    struct tails *t = &a->tails;
    char key[LAYOUT_KEY_BYTES];
    t->id = id;
    t->stored = t->stored ? t->stored : mem_zero(a->config.shard_count, sizeof *t->stored);
    memset(t->stored, 0, a->config.shard_count * sizeof *t->stored);
    layout_segment_key(key, id, 0);
    *(strrchr(key, '/') + 1) = 0;
    listing_begin(a, &t->listing, &a->config.store, key);
    t->step = TAIL_LISTING;
}

static void read_manifest(struct archive *a) {
    struct tails *t = &a->tails;
    struct object object;
    struct manifest m;
    struct buf text = {0};
    uint16_t index;
    const struct store_request *r = &t->fetch.request;
    bool good = r->result == STORE_DONE && archive_open(a, t->fetch.key, buf_bytes(&r->data), &object, &text) &&
                manifest_read(buf_bytes(&text), a->config.replicas, &m) == STATUS_OK;
    if (good && m.shard_count == a->config.shard_count && replicas_intern(a->config.replicas, t->id, &index) == STATUS_OK)
        for (uint32_t i = 0; i < m.part_count; i++)
            for (uint32_t s = 0; s < m.parts[i].count; s++) store_has(a, m.parts[i].first + s, vclock_get(&m.parts[i].applied[s], index));
    if (good) manifest_fini(&m);
    buf_fini(&text);
}

static void end(struct archive *a) {
    if (is_more_here(a, true)) archive_count(a, tails, 1);
    a->tails.step = TAIL_IDLE;
    a->progress = true;
}

void tail_step(struct archive *a) {
    struct tails *t = &a->tails;
    struct replica_id id;
    switch (t->step) {
    case TAIL_IDLE:
        if (take_lost(a, &id)) begin(a, id);
        break;
    case TAIL_LISTING:
        if (!listing_over(a, &t->listing)) break;
        t->nothing = t->nothing ? t->nothing : mem_zero(a->config.shard_count, sizeof *t->nothing);
        if (t->listing.count > 1) t->listing.keys[0] = t->listing.keys[t->listing.count - 1]; /* the newest tells of all before */
        t->listing.count = t->listing.count > 0;
        search_begin(&t->search, &t->listing, &a->config.store, t->nothing);
        t->step = TAIL_HEAD;
        a->progress = true;
        break;
    case TAIL_HEAD:
        if (!search_over(a, &t->search, visit_stream, saw_head)) break;
        if (!is_more_here(a, false)) {
            end(a);
            break;
        }
        listing_begin(a, &t->listing, &a->config.store, "manifest/");
        t->step = TAIL_MANIFESTS;
        break;
    case TAIL_MANIFESTS:
        if (!listing_over(a, &t->listing)) break;
        if (!t->listing.count) {
            end(a);
            break;
        }
        const struct listed *newest = &t->listing.keys[t->listing.count - 1];
        fetch_get(a, &t->fetch, &a->config.store, newest->key, 0, 0, newest->size);
        t->step = TAIL_MANIFEST;
        break;
    case TAIL_MANIFEST:
        if (!fetch_over(a, &t->fetch)) break;
        read_manifest(a);
        end(a);
        break;
    }
}

void tail_fini(struct archive *a) {
    struct tails *t = &a->tails;
    listing_fini(&t->listing);
    fetch_fini(&t->fetch);
    fetch_fini(&t->search.fetch);
    mem_free(t->alive);
    mem_free(t->lost);
    mem_free(t->stored);
    mem_free(t->nothing);
}
