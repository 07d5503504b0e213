/* What a process wrote last before it died. What it streamed and did not get to gossip is read from the store by those that live.
 * What it gossiped and did not get to stream they have in memory alone: they stream images of the shards in question, lest it is
 * lost with the last of them. */
#include "persist/archive_state.h"

#define GRACE_US INT64_C(10000000) /* what is on its way may arrive; who left streams his last words */
#define LOOK_US INT64_C(5000000)
#define ASKED_US INT64_C(2000000)
#define LESS_US INT64_C(60000000) /* until a stream is read again that could not be read whole */
#define MANIFESTS_READ_MAX 4u /* of one that is damaged, or names what is, those before it are read */

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

/* With the lock. NULL: there are no more indexes. */
static struct asked *asked_about(struct archive *a, struct replica_id id) {
    struct tails *t = &a->tails;
    uint16_t index;
    if (replicas_intern(a->config.replicas, id, &index) != STATUS_OK) return NULL;
    if (index >= t->asked_count) {
        uint32_t count = index + index / 2u + 16;
        t->asked = mem_realloc(t->asked, count * sizeof *t->asked);
        memset(t->asked + t->asked_count, 0, (count - t->asked_count) * sizeof *t->asked);
        t->asked_count = count;
    }
    return &t->asked[index];
}

static bool is_answered(const struct asked *it, bool for_good) { return it->closed && (it->by_others || !for_good); }

bool archive_is_closed(struct archive *a, struct replica_id id, bool close, bool for_good) {
    int64_t now_us = a->config.clock.now(a->config.clock.self).mono_us;
    bool closed = false;
    pthread_mutex_lock(&a->lock);
    struct asked *it = asked_about(a, id);
    if (it) {
        closed = is_answered(it, for_good);
        if ((close && !it->close) || (for_good && !it->for_good)) it->at_us = 0; /* this is new */
        it->asked_us = now_us > 0 ? now_us : 1;
        it->close = close;
        it->for_good = for_good;
    }
    pthread_mutex_unlock(&a->lock);
    return closed || MUTANT(never_closed);
}

/* With the lock. */
static void note_closed(struct archive *a, struct replica_id id, bool by_others) {
    struct asked *it = asked_about(a, id);
    if (!it) return;
    it->closed = true;
    it->by_others = it->by_others || by_others;
}

void tail_was_closed(struct archive *a, struct replica_id id, bool by_others) {
    pthread_mutex_lock(&a->lock);
    note_closed(a, id, by_others);
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
    for (size_t i = 0; i < t->lost_count; i++)
        if (replica_id_compare(t->lost[i].id, lost.id) == 0) {
            t->lost[i].owes = t->lost[i].owes || lost.owes;
            return;
        }
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
        lose(t, (struct lost){id, a->now.mono_us + GRACE_US, true});
    }
    mem_free(t->sums);
    t->sums = sums;
    t->sum_count = count;
}

/* The stream has so many segments, which are looked at now. True: it had less. */
static bool note_segments(struct archive *a, struct replica_id id, uint64_t segments) {
    pthread_mutex_lock(&a->lock);
    struct asked *it = asked_about(a, id);
    bool more = it && segments > it->segments;
    if (more) it->segments = segments;
    pthread_mutex_unlock(&a->lock);
    return more;
}

void tail_was_read(struct archive *a, struct replica_id id, uint64_t segments) { note_segments(a, id, segments); }

void tail_look_at(struct archive *a, const struct listing *segments) {
    struct replica_id id;
    uint64_t number;
    for (size_t i = 0; i < segments->count; i++) {
        if (!search_is_newest(segments, i, &id, &number) || is_alive(a, id)) continue;
        if (note_segments(a, id, number + 1) && !MUTANT(late_unread)) lose(&a->tails, (struct lost){id, a->now.mono_us + GRACE_US, false});
    }
}

/* Gossip asks again and again, until it has no more use for the answer. */
static bool is_asked(const struct archive *a, const struct asked *it) {
    return it->asked_us && a->now.mono_us - it->asked_us < ASKED_US && !is_answered(it, it->for_good);
}

/* The next that was asked about and is due. */
static bool take_asked(struct archive *a, struct replica_id *id, struct asked *out) {
    struct tails *t = &a->tails;
    bool any = false;
    pthread_mutex_lock(&a->lock);
    for (uint32_t i = 0; i < t->asked_count && !any; i++) {
        struct asked *it = &t->asked[i];
        if (!is_asked(a, it) || it->at_us > a->now.mono_us) continue;
        *id = replicas_id(a->config.replicas, (uint16_t)i);
        if (!it->since_us) it->since_us = a->now.mono_us;
        it->at_us = a->now.mono_us + LOOK_US;
        *out = *it;
        any = true;
    }
    pthread_mutex_unlock(&a->lock);
    return any;
}

/* The next that is due. */
static bool take_lost(struct archive *a, struct lost *out) {
    struct tails *t = &a->tails;
    if (a->now.mono_us >= t->look_at_us) {
        t->look_at_us = a->now.mono_us + LOOK_US;
        look(a);
    }
    archive_wants(a, t->lost_count && t->lost[0].at_us < t->look_at_us ? t->lost[0].at_us : t->look_at_us);
    if (!t->lost_count || a->now.mono_us < t->lost[0].at_us) return false;
    *out = t->lost[0];
    memmove(t->lost, t->lost + 1, --t->lost_count * sizeof *t->lost);
    return true;
}

/* Whether there is a shard of which more is stored than was applied here. */
static bool is_less_here(struct archive *a) {
    struct tails *t = &a->tails;
    uint16_t index;
    bool any = false;
    if (replicas_intern(a->config.replicas, t->id, &index) != STATUS_OK) return false;
    for (uint32_t s = 0; s < a->config.shard_count && !any; s++) {
        shard_lock(a->config.shards[s]);
        any = vclock_get(shard_applied(a->config.shards[s]), index) < t->stored[s];
        shard_unlock(a->config.shards[s]);
    }
    return any;
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
    if (head->number + 1 == a->tails.next) { /* what follows an end that was made in a gap, behind its writer, is no end */
        a->tails.is_closed = head->closed;
        a->tails.by_others = head->closed && !head->by_next;
        a->tails.images_before = segment_images_before(head);
    }
    for (uint32_t s = 0; s < head->shard_count; s++) store_has(a, s, head->upto[s]);
}

static void visit_segment(struct archive *a, const struct listed *item, struct fetch *f) { read_segment(a, item, f, saw_head); }

static void list_stream(struct archive *a) {
    struct tails *t = &a->tails;
    char first[LAYOUT_KEY_BYTES];
    layout_segment_key(first, t->id, 0);
    listing_begin_row(a, &t->listing, &a->config.store, first, true);
}

/* The number of the one that may follow. */
static uint64_t next_of(const struct listing *stream) {
    struct replica_id id;
    uint64_t number;
    return stream->count && layout_read_segment_key(bytes_str(stream->keys[stream->count - 1].key), &id, &number) ? number + 1 : 0;
}

static void begin(struct archive *a, struct replica_id id, bool close, bool for_good, bool owes) {
    struct tails *t = &a->tails;
    t->id = id;
    t->close = close;
    t->for_good = for_good;
    t->is_closed = t->by_others = t->collected = t->second = false;
    a->reader.vanished = false;
    t->owes = owes;
    pthread_mutex_lock(&a->lock);
    t->stale = false;
    pthread_mutex_unlock(&a->lock);
    t->stored = t->stored ? t->stored : mem_zero(a->config.shard_count, sizeof *t->stored);
    memset(t->stored, 0, a->config.shard_count * sizeof *t->stored);
    list_stream(a);
    t->step = TAIL_LISTING;
}

static bool begin_lost(struct archive *a) {
    struct lost lost;
    if (!take_lost(a, &lost)) return false;
    begin(a, lost.id, false, false, lost.owes);
    return true;
}

static bool begin_asked(struct archive *a) {
    struct replica_id id;
    struct asked asked;
    if (!take_asked(a, &id, &asked)) return false;
    begin(a, id, asked.close, asked.for_good, asked.close); /* who may live stores it himself */
    a->tails.collected = !asked.for_good && a->now.mono_us - asked.since_us >= GRACE_US;
    return true;
}

static void visit_part(struct archive *a, const struct listed *item, struct fetch *f) {
    if (!read_part(a, item, f)) a->tails.is_damaged = true;
}

/* What it covers is stored; and what is missing here is read from there: segments that it covers are deleted. */
static void take_part(struct archive *a, const struct manifest_part *part, uint16_t index) {
    struct tails *t = &a->tails;
    bool more = false;
    for (uint32_t s = 0; s < part->count; s++) {
        uint64_t there = vclock_get(&part->applied[s], index);
        store_has(a, part->first + s, there);
        more = more || there > vclock_get(&t->had[part->first + s], index);
    }
    if (more && !MUTANT(collected_unread)) listing_add(&t->sweep.items, part->key, part->bytes);
}

/* False: what was fetched is none. */
static bool read_manifest(struct archive *a) {
    struct tails *t = &a->tails;
    struct manifest m;
    struct buf text = {0};
    uint16_t index;
    bool good = archive_open_manifest(a, &t->fetch, &text, &m);
    a->reader.vanished = a->reader.vanished || t->fetch.request.result == STORE_MISSING;
    archive_free_vectors(a, t->had);
    t->had = archive_applied(a);
    sweep_begin(&t->sweep);
    if (good && replicas_intern(a->config.replicas, t->id, &index) == STATUS_OK)
        for (uint32_t i = 0; i < m.part_count; i++) take_part(a, &m.parts[i], index);
    if (good) manifest_fini(&m);
    buf_fini(&text);
    return good;
}

static bool look_at_next(struct archive *a) {
    struct tails *t = &a->tails;
    t->is_damaged = false;
    if (t->manifests.count - t->look >= MANIFESTS_READ_MAX) return false;
    if (!manifests_fetch(a, &t->fetch, &a->config.store, &t->manifests, &t->look)) return false;
    t->step = TAIL_MANIFEST;
    return true;
}

static void is_over(struct archive *a) {
    a->tails.step = TAIL_IDLE;
    a->progress = true;
}

/* But what was read before we started over is here no more. */
static void now_closed(struct archive *a) {
    struct tails *t = &a->tails;
    pthread_mutex_lock(&a->lock);
    if (!t->stale) note_closed(a, t->id, t->by_others);
    pthread_mutex_unlock(&a->lock);
    is_over(a);
}

void close_stream(struct archive *a, struct creation *c, struct replica_id writer, uint64_t number, const uint64_t *upto, uint64_t images_before) {
    char key[LAYOUT_KEY_BYTES];
    struct buf text = {0};
    struct segment_head head = {.writer = writer, .number = number, .made_ms = a->now.wall_ms, .closed = true, .by_next = writer.node == a->config.self.node,
                                .shard_count = a->config.shard_count, .images_before = images_before};
    head.upto = (uint64_t *)(uintptr_t)upto; /* it is only read */
    segment_head_write(&head, a->config.replicas, &text);
    layout_segment_key(key, writer, number);
    creation_begin(a, c, key, OBJECT_SEGMENT, buf_bytes(&text), (struct bytes){0});
    buf_fini(&text);
}

/* Whether to look again, since something was missing that a newer manifest should tell of; what is missing for ever is lost. */
static bool looks_again(struct archive *a, bool missing) {
    pthread_mutex_lock(&a->lock);
    struct asked *it = asked_about(a, a->tails.id);
    bool again = missing && it && it->vanished < VANISHED_MAX;
    if (it) it->vanished = again ? it->vanished + 1 : missing ? VANISHED_MAX : 0;
    pthread_mutex_unlock(&a->lock);
    return again;
}

static void put_off(struct archive *a) {
    pthread_mutex_lock(&a->lock);
    struct asked *it = asked_about(a, a->tails.id);
    if (it && it->close == a->tails.close && it->for_good == a->tails.for_good) it->at_us = a->now.mono_us + LESS_US;
    pthread_mutex_unlock(&a->lock);
}

/* All there is was read; what is here and not there is owed. Objects that are gone meanwhile are covered by a newer manifest. */
static void end(struct archive *a) {
    struct tails *t = &a->tails;
    bool less = is_less_here(a);
    if (looks_again(a, (a->reader.vanished || t->search.vanished) && (less || !t->listing.count))) {
        lose(t, (struct lost){t->id, a->now.mono_us + GRACE_US, t->owes});
        is_over(a);
        return;
    }
    if (less) put_off(a);
    if (t->owes && is_more_here(a, true)) archive_count(a, tails, 1);
    if (t->close && (t->for_good ? !t->by_others : !t->is_closed && t->next)) {
        close_stream(a, &t->creation, t->id, t->next, t->stored, t->images_before);
        t->step = TAIL_CLOSING;
    } else if (t->is_closed || (t->collected && !t->next)) {
        now_closed(a);
    } else {
        is_over(a);
    }
}

static void begin_search(struct archive *a) {
    struct tails *t = &a->tails;
    archive_free_vectors(a, t->had);
    t->had = archive_applied(a);
    sweep_begin(&t->sweep);
    search_begin(&t->search, &t->listing, &a->config.store, t->had);
    t->step = TAIL_SEARCHING;
    a->progress = true;
}

void tail_step(struct archive *a) {
    struct tails *t = &a->tails;
    switch (t->step) {
    case TAIL_IDLE: /* in turns, lest those that write on without us keep us from those that are asked about */
        t->turn = !t->turn;
        if (t->turn ? !begin_lost(a) : !begin_asked(a)) t->turn ? begin_asked(a) : begin_lost(a);
        break;
    case TAIL_LISTING:
        if (!listing_over(a, &t->listing)) break;
        t->next = next_of(&t->listing);
        t->images_before = 0;
        note_segments(a, t->id, t->next);
        begin_search(a);
        break;
    case TAIL_SEARCHING:
        if (!search_over(a, &t->search, visit_stream, saw_head)) break;
        t->step = TAIL_READING;
        a->progress = true;
        break;
    case TAIL_READING:
        if (!sweep_over(a, &t->sweep, &a->config.store, STORE_GET, visit_segment)) break;
        if (t->second) {
            if (!t->is_damaged || !is_less_here(a) || !look_at_next(a)) end(a);
        } else if (!t->listing.count || is_less_here(a) || (t->owes && is_more_here(a, false))) {
            manifests_list(a, &t->manifests, &a->config.store);
            t->step = TAIL_MANIFESTS;
        } else {
            end(a);
        }
        break;
    case TAIL_MANIFESTS:
        if (!listing_over(a, &t->manifests)) break;
        t->look = t->manifests.count;
        if (!look_at_next(a)) end(a);
        break;
    case TAIL_MANIFEST:
        if (!fetch_over(a, &t->fetch)) break;
        if (!read_manifest(a) && look_at_next(a)) break;
        t->step = TAIL_PARTS;
        a->progress = true;
        break;
    case TAIL_PARTS:
        if (!sweep_over(a, &t->sweep, &a->config.store, STORE_GET, visit_part)) break;
        if (!t->sweep.items.count) {
            end(a);
            break;
        }
        t->second = true;
        begin_search(a);
        break;
    case TAIL_CLOSING:
        if (!creation_over(a, &t->creation)) break;
        if (t->creation.state == CREATION_TAKEN) { /* by a segment that came late, or by another who closes it */
            bool again = strcmp(t->taken, t->creation.key) == 0; /* and is not listed: gossip will ask again */
            memcpy(t->taken, t->creation.key, sizeof t->taken);
            if (again) is_over(a);
            else begin(a, t->id, true, t->for_good, t->owes);
            break;
        }
        list_stream(a);
        t->step = TAIL_CLOSED;
        break;
    case TAIL_CLOSED: /* its writer may have gone on, while we stood still and others deleted what we had listed */
        if (!listing_over(a, &t->listing)) break;
        if (next_of(&t->listing) > t->next + 1 && !MUTANT(end_in_a_gap)) {
            begin(a, t->id, true, t->for_good, t->owes);
            break;
        }
        archive_count(a, closed, 1);
        t->by_others = t->by_others || t->id.node != a->config.self.node;
        now_closed(a);
        break;
    }
}

void tail_fini(struct archive *a) {
    struct tails *t = &a->tails;
    listing_fini(&t->listing);
    listing_fini(&t->manifests);
    fetch_fini(&t->fetch);
    fetch_fini(&t->search.fetch);
    sweep_fini(&t->sweep);
    creation_fini(&t->creation);
    mem_free(t->alive);
    mem_free(t->asked);
    mem_free(t->lost);
    mem_free(t->stored);
    mem_free(t->sums);
    archive_free_vectors(a, t->had);
}
