/* Segments: own mutations, and images of shards where there is no other way. */
#include "persist/archive_state.h"

#define LAST_BYTES_MAX 65536u /* of a covered segment that stays */

static uint64_t bit_of(uint32_t shard) { return UINT64_C(1) << (shard % 64); }

static size_t pending_bytes(struct archive *a) {
    pthread_mutex_lock(&a->stream.lock);
    size_t bytes = a->stream.pending.wire.body.len - a->stream.pending.empty;
    pthread_mutex_unlock(&a->stream.lock);
    return bytes;
}

bool stream_is_idle(struct archive *a) {
    return !a->stream.out && !a->stream.closed && !atomic_load(&a->stream.any_owed) && !atomic_load(&a->any_dirty) && !pending_bytes(a);
}

static void owe(struct stream *s, uint32_t shard) {
    s->owed[shard / 64] |= bit_of(shard);
    atomic_store(&s->any_owed, true);
}

void stream_owe(struct archive *a, uint32_t shard) {
    pthread_mutex_lock(&a->stream.lock);
    owe(&a->stream, shard);
    pthread_mutex_unlock(&a->stream.lock);
}

/* With the shard's lock. Its own mutations since the last time wait to be sent; or the shard is owed, if its log does not reach
 * back, or too much is waiting: that costs bytes, but no memory. */
static void capture(struct archive *a, uint32_t shard, bool even_if_full) {
    struct stream *s = &a->stream;
    pthread_mutex_lock(&s->lock);
    uint64_t after = s->flushed[shard];
    bool owed = s->owed[shard / 64] & bit_of(shard), full = s->pending.wire.body.len >= a->config.waiting_bytes;
    if (!owed && after < shard_own(a->config.shards[shard])) {
        bool reached = (!full || even_if_full) && replay_deltas_add_locked(&s->pending, &a->shards, shard, HOLDER_STORE, &after);
        if (reached) s->flushed[shard] = after;
        else owe(s, shard);
    }
    pthread_mutex_unlock(&s->lock);
}

void archive_tells(struct archive *a, uint32_t shard) { capture(a, shard, false); }

/* Own mutations of dirty shards, which nobody else was told of, until there are enough bytes; the rest stays dirty, as of since_us. */
static void gather(struct archive *a, int64_t since_us) {
    size_t bytes = 0;
    bool rest = false;
    atomic_store(&a->dirty_us, 0); /* in this order: whoever finds any_dirty false sets both */
    atomic_store(&a->any_dirty, false);
    for (uint32_t at = 0; at < a->config.shard_count; at += 64)
        for (uint64_t bits = atomic_exchange(&a->dirty[at / 64], 0); bits; bits &= bits - 1) {
            uint32_t index = at + (uint32_t)__builtin_ctzll(bits);
            if (bytes >= a->config.segment_bytes) {
                archive_dirty(a, index);
                rest = true;
                continue;
            }
            shard_lock(a->config.shards[index]);
            capture(a, index, true);
            shard_unlock(a->config.shards[index]);
            bytes = pending_bytes(a);
        }
    if (rest) atomic_store(&a->dirty_us, since_us);
}

/* What waits, and what it reaches to. False: it is another replica's than this segment's. */
static bool take_pending(struct archive *a, struct segment_head *head, struct buf *body) {
    struct stream *s = &a->stream;
    size_t before = body->len;
    pthread_mutex_lock(&s->lock);
    if (atomic_load(&a->reset) && !MUTANT(reset_in_step)) {
        pthread_mutex_unlock(&s->lock);
        return false;
    }
    struct replay_deltas pending = s->pending;
    replay_deltas_begin(&s->pending, &a->shards);
    buf_reserve(&s->pending.wire.body, pending.wire.body.len); /* it will be as much again */
    memcpy(head->upto, s->flushed, a->config.shard_count * sizeof *head->upto);
    pthread_mutex_unlock(&s->lock);
    size_t begun = object_record_begin(body, OBJECT_DELTAS);
    if (replay_deltas_end(&pending, body)) object_record_end(body, begun);
    else body->len = before;
    return true;
}

/* False, as above. */
static bool add_image(struct archive *a, uint32_t shard, struct segment_head *head, struct buf *body) {
    struct stream *s = &a->stream;
    head->images = mem_realloc(head->images, (head->image_count + 1) * sizeof *head->images);
    struct segment_image *one = &head->images[head->image_count++];
    *one = (struct segment_image){.shard = shard};
    size_t begun = object_record_begin(body, OBJECT_IMAGE);
    shard_lock(a->config.shards[shard]);
    replay_write_locked_image(&a->shards, shard, body, &one->applied);
    pthread_mutex_lock(&s->lock);
    bool ours = !atomic_load(&a->reset);
    if (ours) {
        s->owed[shard / 64] &= ~bit_of(shard);
        s->flushed[shard] = shard_own(a->config.shards[shard]);
    }
    pthread_mutex_unlock(&s->lock);
    if (ours) shard_hold(a->config.shards[shard], HOLDER_STORE, shard_own(a->config.shards[shard]));
    shard_unlock(a->config.shards[shard]);
    object_record_end(body, begun);
    return ours;
}

static bool is_owed(struct stream *s, uint32_t shard) {
    pthread_mutex_lock(&s->lock);
    bool owed = s->owed[shard / 64] & bit_of(shard);
    pthread_mutex_unlock(&s->lock);
    return owed;
}

static void gather_owed(struct archive *a, struct segment_head *head, struct buf *body) {
    struct stream *s = &a->stream;
    atomic_store(&s->any_owed, false);
    for (uint32_t shard = 0; shard < a->config.shard_count; shard++) {
        if (!is_owed(s, shard)) continue;
        if (body->len >= a->config.segment_bytes) {
            atomic_store(&s->any_owed, true);
            return;
        }
        if (add_image(a, shard, head, body)) continue;
        atomic_store(&s->any_owed, true);
        return;
    }
}

static void send(struct archive *a, const struct segment_head *head, struct bytes body) {
    struct stream *s = &a->stream;
    char key[LAYOUT_KEY_BYTES];
    struct buf text = {0};
    segment_head_write(head, a->config.replicas, &text);
    layout_segment_key(key, head->writer, s->number++);
    creation_begin(a, &s->creation, key, OBJECT_SEGMENT, buf_bytes(&text), body);
    s->out = true;
    buf_fini(&text);
}

uint64_t stream_covered(struct archive *a) {
    struct stream *s = &a->stream;
    s->ends = s->ends || s->bytes > LAST_BYTES_MAX;
    return s->number + s->ends;
}

bool stream_has_stored(struct archive *a, uint64_t segments) { return a->stream.number - a->stream.out >= segments; }

/* What was here at the start has been called void by now, if it is. */
static bool pays(struct archive *a) {
    return atomic_load(&a->stream.any_owed) && (a->now.mono_us >= a->settled_us || atomic_load(&a->flushing));
}

/* True: it is to be sent. */
static bool fill(struct archive *a, struct segment_head *head, struct buf *body, struct buf *members) {
    if (!take_pending(a, head, body)) return false;
    if (pays(a)) gather_owed(a, head, body);
    pthread_mutex_lock(&a->lock);
    if (a->members_new) buf_put_bytes(members, buf_bytes(&a->members));
    a->members_new = false;
    pthread_mutex_unlock(&a->lock);
    head->members = buf_bytes(members);
    return body->len || members->len || a->stream.ends;
}

static void build(struct archive *a) {
    struct stream *s = &a->stream;
    struct segment_head head = {.writer = a->config.self, .number = s->number, .made_ms = a->now.wall_ms, .shard_count = a->config.shard_count,
                                .images_before = s->images_before};
    struct buf *body = &s->body, members = {0};
    int64_t since_us = atomic_load(&a->out_us); /* of what is owed still */
    if (!since_us) since_us = atomic_load(&a->dirty_us);
    if (!since_us) since_us = a->now.mono_us;
    atomic_store(&a->out_us, since_us);
    head.upto = mem_alloc(a->config.shard_count * sizeof *head.upto);
    gather(a, since_us);
    if (fill(a, &head, body, &members)) {
        send(a, &head, buf_bytes(body));
        memcpy(s->sending, head.upto, a->config.shard_count * sizeof *s->sending);
        s->images_before = segment_images_before(&head);
        s->ends = false;
    } else if (!atomic_load(&s->any_owed)) {
        atomic_store(&a->out_us, 0);
    }
    archive_count(a, segment_images, head.image_count);
    head.members = (struct bytes){0};
    segment_head_fini(&head);
    buf_fini(&members);
    buf_empty(body, KEPT_SEGMENTS * a->config.segment_bytes);
}

/* A flush hurries, and much that waits; what was cut off goes on at once. */
static bool is_due(struct archive *a) {
    struct stream *s = &a->stream;
    pthread_mutex_lock(&a->lock);
    bool any = a->members_new;
    pthread_mutex_unlock(&a->lock);
    if (s->ends) return true;
    size_t pending = pending_bytes(a);
    if (!any && !pending && !atomic_load(&a->any_dirty) && !pays(a)) return false;
    if (a->now.mono_us < s->next_us && !atomic_load(&a->flushing) && pending < a->config.segment_bytes) {
        archive_wants(a, s->next_us);
        return false;
    }
    return true;
}

/* Somebody else's object is in our place: the cluster's, that holds us for gone, or that of a twin. */
static void judge(struct archive *a) {
    struct stream *s = &a->stream;
    struct object object;
    struct segment_head head;
    size_t need;
    const struct store_request *r = &s->fetch.request;
    bool closed = false;
    if (r->result == STORE_DONE && object_read_head(buf_bytes(&r->data), &a->config.keys, &object, &need) == STATUS_OK &&
        archive_read_head(a, s->creation.key, &object, &head)) {
        closed = head.closed;
        segment_head_fini(&head);
    }
    if (!closed) {
        archive_stop(a, "another process writes %s: two of them run from one memory image", s->creation.key);
        return;
    }
    s->closed = true; /* until archive_reset */
    s->out = false;
    archive_note(a, "our stream was closed by others: the cluster holds this node for gone");
    if (a->config.closed) a->config.closed(a->config.arg, a->config.self);
}

/* What was on its way has arrived. */
static bool is_sent(struct archive *a) {
    struct stream *s = &a->stream;
    if (s->fetch.state != FETCH_IDLE) {
        if (!fetch_over(a, &s->fetch)) return false;
        if (!s->stale) judge(a);
        fetch_fini(&s->fetch);
    } else if (!creation_over(a, &s->creation)) {
        return false;
    } else if (s->creation.state == CREATION_TAKEN && !s->stale) {
        fetch_get(a, &s->fetch, &a->config.store, s->creation.key, 0, 0, OBJECT_HEAD_BYTES_MAX);
        return false;
    } else if (!s->stale) {
        memcpy(s->stored, s->sending, a->config.shard_count * sizeof *s->stored);
        archive_count(a, segments, 1);
        archive_count(a, segment_bytes, s->creation.object.len);
        s->bytes = s->creation.object.len;
    }
    s->out = s->stale = false;
    atomic_store(&a->out_us, 0);
    return true;
}

void stream_step(struct archive *a) {
    struct stream *s = &a->stream;
    if ((s->out && !is_sent(a)) || s->closed || !claim_is_fresh(a) || !is_due(a)) return;
    int64_t interval_us = atomic_load(&a->segment_us);
    build(a);
    bool more = pays(a) || s->creation.object.len >= a->config.segment_bytes;
    s->next_us = a->now.mono_us + (more ? 0 : interval_us);
    a->progress = true;
}
