/* Segments: own mutations, and images of shards where there is no other way. */
#include "persist/archive_state.h"

bool stream_is_idle(struct archive *a) {
    return !a->stream.out && !a->stream.any_owed && !atomic_load(&a->any_dirty);
}

void stream_owe(struct archive *a, uint32_t shard) {
    a->stream.owed[shard / 64] |= UINT64_C(1) << (shard % 64);
    a->stream.any_owed = true;
    if (!atomic_load(&a->out_us)) atomic_store(&a->out_us, a->now.mono_us);
}

/* Own mutations of dirty shards until there are enough bytes; the rest stays dirty, as of since_us. Shards whose log does not
 * reach back are owed. */
static void gather(struct archive *a, int64_t since_us, struct buf *body) {
    struct stream *s = &a->stream;
    struct replay_deltas deltas;
    struct buf message = {0};
    bool enough = false;
    atomic_store(&a->dirty_us, 0); /* in this order: whoever finds any_dirty false sets both */
    atomic_store(&a->any_dirty, false);
    replay_deltas_begin(&deltas, &a->shards);
    for (uint32_t at = 0; at < a->config.shard_count && !enough; at += 64)
        for (uint64_t bits = atomic_exchange(&a->dirty[at / 64], 0); bits; bits &= bits - 1) {
            uint32_t index = at + (uint32_t)__builtin_ctzll(bits);
            if (enough) {
                archive_dirty(a, index);
            } else {
                uint64_t before = s->flushed[index];
                if (!replay_deltas_add(&deltas, &a->shards, index, HOLDER_STORE, &s->flushed[index])) {
                    s->flushed[index] = before;
                    stream_owe(a, index);
                }
            }
            enough = enough || deltas.wire.body.len >= a->config.segment_bytes;
        }
    if (enough) {
        atomic_store(&a->dirty_us, since_us);
        atomic_store(&a->any_dirty, true);
    }
    if (replay_deltas_end(&deltas, &message)) object_record_write(body, OBJECT_DELTAS, buf_bytes(&message));
    buf_fini(&message);
}

static void add_image(struct archive *a, uint32_t shard, struct segment_head *head, struct buf *body) {
    struct buf image = {0};
    head->images = mem_realloc(head->images, (head->image_count + 1) * sizeof *head->images);
    struct segment_image *one = &head->images[head->image_count++];
    *one = (struct segment_image){.shard = shard};
    replay_write_image(&a->shards, shard, &image, &one->applied);
    a->stream.flushed[shard] = vclock_get(&one->applied, a->self_index);
    object_record_write(body, OBJECT_IMAGE, buf_bytes(&image));
    buf_fini(&image);
}

static void gather_owed(struct archive *a, struct segment_head *head, struct buf *body) {
    struct stream *s = &a->stream;
    s->any_owed = false;
    for (uint32_t shard = 0; shard < a->config.shard_count; shard++) {
        uint64_t bit = UINT64_C(1) << (shard % 64);
        if (!(s->owed[shard / 64] & bit)) continue;
        s->any_owed = body->len >= a->config.segment_bytes;
        if (s->any_owed) return;
        s->owed[shard / 64] &= ~bit;
        add_image(a, shard, head, body);
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

static void build(struct archive *a) {
    struct stream *s = &a->stream;
    struct segment_head head = {.writer = a->config.self, .number = s->number, .made_ms = a->now.wall_ms,
                                .shard_count = a->config.shard_count, .upto = s->flushed};
    struct buf body = {0}, members = {0};
    int64_t since_us = atomic_load(&a->out_us); /* of what is owed still */
    if (!since_us) since_us = atomic_load(&a->dirty_us);
    if (!since_us) since_us = a->now.mono_us;
    atomic_store(&a->out_us, since_us);
    gather(a, since_us, &body);
    if (s->any_owed) gather_owed(a, &head, &body);
    pthread_mutex_lock(&a->lock);
    if (a->members_new) buf_put_bytes(&members, buf_bytes(&a->members));
    a->members_new = false;
    pthread_mutex_unlock(&a->lock);
    head.members = buf_bytes(&members);
    if (body.len || members.len) send(a, &head, buf_bytes(&body));
    else if (!s->any_owed) atomic_store(&a->out_us, 0);
    archive_count(a, segment_images, head.image_count);
    for (uint32_t i = 0; i < head.image_count; i++) vclock_fini(&head.images[i].applied);
    mem_free(head.images);
    buf_fini(&members);
    buf_fini(&body);
}

/* A flush hurries; what was cut off goes on at once. */
static bool is_due(struct archive *a) {
    struct stream *s = &a->stream;
    pthread_mutex_lock(&a->lock);
    bool any = a->members_new;
    pthread_mutex_unlock(&a->lock);
    if (!any && !s->any_owed && !atomic_load(&a->any_dirty)) return false;
    if (a->now.mono_us < s->next_us && !atomic_load(&a->flushing)) {
        archive_wants(a, s->next_us);
        return false;
    }
    return true;
}

void stream_step(struct archive *a) {
    struct stream *s = &a->stream;
    if (s->out) {
        if (!creation_over(a, &s->creation)) return;
        if (s->creation.state == CREATION_TAKEN) {
            archive_stop(a, "another process writes %s: two of them run from one memory image", s->creation.key);
            return;
        }
        s->out = false;
        if (!s->any_owed) atomic_store(&a->out_us, 0);
        archive_count(a, segments, 1);
        archive_count(a, segment_bytes, s->creation.object.len);
    }
    if (!is_due(a)) return;
    int64_t interval_us = atomic_load(&a->segment_us);
    build(a);
    bool more = s->any_owed || s->creation.object.len >= a->config.segment_bytes;
    s->next_us = a->now.mono_us + (more ? 0 : interval_us);
    a->progress = true;
}
