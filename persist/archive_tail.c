/* What a process wrote last before it died. What it streamed and did not get to gossip is read from the store by those that live.
 * What it gossiped and did not get to stream they have in memory alone: they stream images of the shards in question, lest it is
 * lost with the last of them. */
#include "persist/archive_state.h"

#define GRACE_US INT64_C(10000000) /* what is on its way may arrive; who left streams his last words */
#define LOOK_US INT64_C(5000000)

void archive_alive(struct archive *a, const struct replica_id *ids, size_t count) {
    struct tails *t = &a->tails;
    pthread_mutex_lock(&a->lock);
    t->alive = mem_realloc(t->alive, count * sizeof *ids);
    if (count) memcpy(t->alive, ids, count * sizeof *ids);
    t->alive_count = count;
    pthread_mutex_unlock(&a->lock);
}

static bool is_in(const struct replica_id *ids, size_t count, struct replica_id id) {
    for (size_t i = 0; i < count; i++)
        if (replica_id_compare(ids[i], id) == 0) return true;
    return false;
}

static void add_to(struct replica_id **ids, size_t *count, struct replica_id id) {
    if (is_in(*ids, *count, id)) return;
    *ids = mem_realloc(*ids, (*count + 1) * sizeof **ids);
    (*ids)[(*count)++] = id;
}

bool archive_is_closed(struct archive *a, struct replica_id id) {
    struct tails *t = &a->tails;
    pthread_mutex_lock(&a->lock);
    bool closed = is_in(t->closed, t->closed_count, id) || MUTANT(never_closed);
    if (!closed) add_to(&t->to_close, &t->to_close_count, id);
    pthread_mutex_unlock(&a->lock);
    return closed;
}

void tail_was_closed(struct archive *a, struct replica_id id) {
    pthread_mutex_lock(&a->lock);
    add_to(&a->tails.closed, &a->tails.closed_count, id);
    pthread_mutex_unlock(&a->lock);
}

static bool is_alive(struct archive *a, struct replica_id id) {
    struct tails *t = &a->tails;
    pthread_mutex_lock(&a->lock);
    bool alive = is_in(t->alive, t->alive_count, id);
    pthread_mutex_unlock(&a->lock);
    return alive || replica_id_compare(id, a->config.self) == 0;
}

/* How many mutations of each replica are applied, over all shards. */
static uint64_t *sums_of(struct archive *a, uint32_t *count) {
    struct vclock *applied = archive_applied(a);
    *count = 0;
    for (uint32_t s = 0; s < a->config.shard_count; s++)
        if (applied[s].count > *count) *count = applied[s].count;
    uint64_t *sums = mem_zero(*count, sizeof *sums);
    for (uint32_t s = 0; s < a->config.shard_count; s++)
        for (uint32_t r = 0; r < applied[s].count; r++) sums[r] += applied[s].counter[r];
    archive_free_vectors(a, applied);
    return sums;
}

void tail_begin(struct archive *a) {
    struct tails *t = &a->tails;
    t->sums = sums_of(a, &t->sum_count);
}

static void lose(struct tails *t, struct lost lost) {
    t->lost = mem_realloc(t->lost, (t->lost_count + 1) * sizeof *t->lost);
    t->lost[t->lost_count++] = lost;
}

/* Who is not up, and of whom more has come than when we looked last. */
static void look(struct archive *a) {
    struct tails *t = &a->tails;
    uint32_t count;
    uint64_t *sums = sums_of(a, &count);
    for (uint32_t r = 1; r < count; r++) {
        uint64_t before = r < t->sum_count ? t->sums[r] : 0;
        struct replica_id id = replicas_id(a->config.replicas, (uint16_t)r);
        if (sums[r] == before) continue;
        if (is_alive(a, id)) {
            sums[r] = before;
            continue;
        }
        lose(t, (struct lost){id, a->now.mono_us + GRACE_US, false});
    }
    mem_free(t->sums);
    t->sums = sums;
    t->sum_count = count;
}

/* Of those that are to be closed the next, once those that are looked at anyhow are done. */
static bool take_to_close(struct archive *a, struct replica_id *out) {
    struct tails *t = &a->tails;
    pthread_mutex_lock(&a->lock);
    bool any = t->to_close_count > 0;
    if (any) *out = t->to_close[--t->to_close_count];
    pthread_mutex_unlock(&a->lock);
    return any;
}

/* The next that is due. */
static bool take_lost(struct archive *a, struct replica_id *out) {
    struct tails *t = &a->tails;
    if (a->now.mono_us >= t->look_at_us) {
        t->look_at_us = a->now.mono_us + LOOK_US;
        look(a);
    }
    archive_wants(a, t->lost_count && t->lost[0].at_us < t->look_at_us ? t->lost[0].at_us : t->look_at_us);
    if (!t->lost_count || a->now.mono_us < t->lost[0].at_us) return false;
    *out = t->lost[0].id;
    memmove(t->lost, t->lost + 1, --t->lost_count * sizeof *t->lost);
    return true;
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

static void visit_stream(struct archive *a, size_t from, size_t covered, size_t to) {
    struct tails *t = &a->tails;
    (void)from;
    for (size_t i = covered; i < to; i++) listing_add(&t->sweep.items, bytes_str(t->listing.keys[i].key), t->listing.keys[i].size);
}

static void saw_head(struct archive *a, const struct segment_head *head) {
    a->tails.is_closed = a->tails.is_closed || head->closed;
    if (head->number + 1 == a->tails.next) a->tails.images_before = segment_images_before(head);
    for (uint32_t s = 0; s < head->shard_count; s++) store_has(a, s, head->upto[s]);
}

static void visit_segment(struct archive *a, const struct listed *item, struct fetch *f) { read_segment(a, item, f, saw_head); }

static void begin(struct archive *a, struct replica_id id, bool close) {
    struct tails *t = &a->tails;
    char key[LAYOUT_KEY_BYTES];
    t->id = id;
    t->close = close;
    t->is_closed = false;
    pthread_mutex_lock(&a->lock);
    t->stale = false;
    pthread_mutex_unlock(&a->lock);
    t->stored = t->stored ? t->stored : mem_zero(a->config.shard_count, sizeof *t->stored);
    memset(t->stored, 0, a->config.shard_count * sizeof *t->stored);
    layout_segment_key(key, id, 0);
    *(strrchr(key, '/') + 1) = 0;
    listing_begin(a, &t->listing, &a->config.store, key);
    t->step = TAIL_LISTING;
}

static void read_manifest(struct archive *a) {
    struct tails *t = &a->tails;
    struct manifest m;
    struct buf text = {0};
    uint16_t index;
    bool good = archive_open_manifest(a, &t->fetch, &text, &m);
    if (good && replicas_intern(a->config.replicas, t->id, &index) == STATUS_OK)
        for (uint32_t i = 0; i < m.part_count; i++)
            for (uint32_t s = 0; s < m.parts[i].count; s++) store_has(a, m.parts[i].first + s, vclock_get(&m.parts[i].applied[s], index));
    if (good) manifest_fini(&m);
    buf_fini(&text);
}

static void is_over(struct archive *a) {
    a->tails.step = TAIL_IDLE;
    a->progress = true;
}

/* But what was read before we started over is here no more. */
static void now_closed(struct archive *a) {
    struct tails *t = &a->tails;
    pthread_mutex_lock(&a->lock);
    if (!t->stale) add_to(&t->closed, &t->closed_count, t->id);
    pthread_mutex_unlock(&a->lock);
    is_over(a);
}

void close_stream(struct archive *a, struct creation *c, struct replica_id writer, uint64_t number, const uint64_t *upto, uint64_t images_before) {
    char key[LAYOUT_KEY_BYTES];
    struct buf text = {0};
    struct segment_head head = {.writer = writer, .number = number, .made_ms = a->now.wall_ms, .closed = true, .shard_count = a->config.shard_count, .images_before = images_before};
    head.by_next = writer.node == a->config.self.node;
    head.upto = (uint64_t *)(uintptr_t)upto; /* it is only read */
    segment_head_write(&head, a->config.replicas, &text);
    layout_segment_key(key, writer, number);
    creation_begin(a, c, key, OBJECT_SEGMENT, buf_bytes(&text), (struct bytes){0});
    buf_fini(&text);
}

/* All there is was read; what is here and not there is owed. */
static void end(struct archive *a) {
    struct tails *t = &a->tails;
    if (is_more_here(a, true)) archive_count(a, tails, 1);
    if (t->is_closed) {
        now_closed(a);
    } else if (!t->close) {
        is_over(a);
    } else {
        close_stream(a, &t->creation, t->id, t->next, t->stored, t->images_before);
        t->step = TAIL_CLOSING;
    }
}

void tail_step(struct archive *a) {
    struct tails *t = &a->tails;
    struct replica_id id;
    switch (t->step) {
    case TAIL_IDLE:
        if (take_lost(a, &id)) begin(a, id, false);
        else if (take_to_close(a, &id)) begin(a, id, true);
        break;
    case TAIL_LISTING:
        if (!listing_over(a, &t->listing)) break;
        t->next = t->images_before = 0;
        if (t->listing.count && layout_read_segment_key(bytes_str(t->listing.keys[t->listing.count - 1].key), &id, &t->next)) t->next++;
        archive_free_vectors(a, t->had);
        t->had = archive_applied(a);
        sweep_begin(&t->sweep);
        search_begin(&t->search, &t->listing, &a->config.store, t->had);
        t->step = TAIL_SEARCHING;
        a->progress = true;
        break;
    case TAIL_SEARCHING:
        if (!search_over(a, &t->search, visit_stream, saw_head)) break;
        t->step = TAIL_READING;
        a->progress = true;
        break;
    case TAIL_READING:
        if (!sweep_over(a, &t->sweep, &a->config.store, STORE_GET, visit_segment)) break;
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
    case TAIL_CLOSING:
        if (!creation_over(a, &t->creation)) break;
        if (t->creation.state == CREATION_TAKEN) { /* by a segment that came late, or by another who closes it */
            bool again = strcmp(t->taken, t->creation.key) == 0; /* and is not listed: gossip will ask again */
            memcpy(t->taken, t->creation.key, sizeof t->taken);
            if (again) is_over(a);
            else begin(a, t->id, true);
            break;
        }
        archive_count(a, closed, 1);
        now_closed(a);
        break;
    }
}

void tail_fini(struct archive *a) {
    struct tails *t = &a->tails;
    listing_fini(&t->listing);
    fetch_fini(&t->fetch);
    fetch_fini(&t->search.fetch);
    sweep_fini(&t->sweep);
    creation_fini(&t->creation);
    mem_free(t->alive);
    mem_free(t->closed);
    mem_free(t->to_close);
    mem_free(t->lost);
    mem_free(t->stored);
    mem_free(t->sums);
    archive_free_vectors(a, t->had);
}
