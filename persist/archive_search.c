/* How far streams are covered: their segments are searched by halves, by their heads alone. */
#include "persist/archive_state.h"

#define HEAD_BYTES 8192u /* that are asked for at first */

bool search_same_stream(const struct listed *x, const struct listed *y) {
    struct replica_id a, b;
    uint64_t number;
    return layout_read_segment_key(bytes_str(x->key), &a, &number) && layout_read_segment_key(bytes_str(y->key), &b, &number) &&
           replica_id_compare(a, b) == 0;
}

bool search_is_newest(const struct listing *l, size_t i, struct replica_id *writer, uint64_t *number) {
    return layout_read_segment_key(bytes_str(l->keys[i].key), writer, number) && (i + 1 == l->count || !search_same_stream(&l->keys[i], &l->keys[i + 1]));
}

void search_begin(struct search *s, const struct listing *segments, const struct store *store, const struct vclock *covered) {
    fetch_fini(&s->fetch);
    s->segments = segments;
    s->store = store;
    s->covered = covered;
    s->from = s->to = s->low = s->high = 0;
    s->covers = false;
    s->vanished = false;
}

/* [low, high) is still open. */
static bool begin_stream(struct search *s, size_t from) {
    const struct listing *l = s->segments;
    struct replica_id writer;
    uint64_t number;
    while (from < l->count && !layout_read_segment_key(bytes_str(l->keys[from].key), &writer, &number)) from++;
    s->from = s->low = s->to = from;
    while (s->to < l->count && search_same_stream(&l->keys[from], &l->keys[s->to])) s->to++;
    s->high = s->to;
    return from < l->count;
}

static void ask_head(struct archive *a, struct search *s, size_t which, uint64_t bytes) {
    s->asked = which;
    fetch_get(a, &s->fetch, s->store, s->segments->keys[which].key, 0, bytes, bytes);
}

/* The newest first: of a process that is no more, all are covered. */
static void ask_middle(struct archive *a, struct search *s) {
    s->middle = s->low == s->from && s->high == s->to ? s->high - 1 : s->low + (s->high - s->low) / 2;
    ask_head(a, s, s->middle, HEAD_BYTES);
}

static bool covers(struct archive *a, const struct vclock *covered, const struct segment_head *head) {
    uint16_t writer;
    if (replicas_intern(a->config.replicas, head->writer, &writer) != STATUS_OK) return false;
    for (uint32_t s = 0; s < head->shard_count; s++)
        if (vclock_get(&covered[s], writer) < head->upto[s]) return false;
    for (uint32_t i = 0; i < head->image_count; i++)
        if (!vclock_covers(&covered[head->images[i].shard], &head->images[i].applied)) return false;
    return true;
}

/* The segment of that number - 1, if it is beyond what is known to be covered, is what is asked for next. */
static bool find_images(struct search *s, uint64_t before) {
    struct replica_id writer;
    uint64_t number;
    for (size_t i = s->low; before && i < s->asked; i++)
        if (layout_read_segment_key(bytes_str(s->segments->keys[i].key), &writer, &number) && number + 1 == before) {
            s->asked = i;
            return true;
        }
    return false;
}

/* Of deltas, who has the last of a stream has all before it; of images each must be looked at. One that cannot be read is like
 * the next one. */
static void judge(struct archive *a, struct search *s, void (*saw)(struct archive *a, const struct segment_head *head)) {
    const struct store_request *r = &s->fetch.request;
    struct object object;
    struct segment_head head;
    size_t need = 0;
    bool covered = r->result == STORE_MISSING; /* another has deleted it */
    s->vanished = s->vanished || covered;
    enum status status = r->result == STORE_DONE ? object_read_head(buf_bytes(&r->data), &a->config.keys, &object, &need) : STATUS_ERR_MALFORMED;
    if (status == STATUS_ERR_GAP && need > r->bytes_max && r->data.len == r->bytes_max) {
        ask_head(a, s, s->asked, need);
        return;
    }
    uint64_t before = 0;
    if (status == STATUS_OK && archive_read_head(a, s->segments->keys[s->asked].key, &object, &head)) {
        covered = covers(a, s->covered, &head);
        before = head.images_before;
        if (saw) saw(a, &head);
        segment_head_fini(&head);
    } else if (!covered && !s->covers && s->asked + 1 < s->high) {
        ask_head(a, s, s->asked + 1, HEAD_BYTES);
        return;
    }
    if (covered && !s->covers) s->reached = s->asked + 1;
    if (covered && find_images(s, before)) {
        s->covers = true;
        ask_head(a, s, s->asked, HEAD_BYTES);
        return;
    }
    s->covers = false;
    if (covered) s->low = s->reached;
    else s->high = s->middle;
    fetch_fini(&s->fetch);
}

bool search_over(struct archive *a, struct search *s, void (*visit)(struct archive *a, size_t from, size_t covered, size_t to),
                 void (*saw)(struct archive *a, const struct segment_head *head)) {
    for (;;) {
        if (s->fetch.state != FETCH_IDLE) {
            if (!fetch_over(a, &s->fetch)) return false;
            judge(a, s, saw);
        } else if (s->low < s->high) {
            ask_middle(a, s);
        } else {
            if (s->to > s->from) visit(a, s->from, s->low, s->to);
            if (!begin_stream(s, s->to)) return true;
        }
    }
}
