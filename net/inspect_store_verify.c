/* Reads all there is, as a node would (archive_read.c): the newest manifest, the images that it names, then every segment; if an
 * image is damaged, the manifest before as well. Then what no node would have read. What is damaged is judged at the end:
 *
 *   a segment    by its head, if that can still be read, else by the next head of its stream, which says what was made until then:
 *                does the manifest cover it, or do the shards in memory have it all the same? What follows a gap is left out
 *   a part       by the vectors that its manifest gives it, against what older manifests and segments brought
 *   a manifest   by which other one took its place */
#include <inttypes.h>
#include <stdio.h>

#include "core/mem.h"
#include "net/inspect_store.h"
#include "net/os_posix.h"

#define AGAIN_MAX 5 /* times that a cleaner may get ahead of us */

struct reading {
    struct catalog *c;
    struct inspect *inspect;
    struct state state;
    struct manifest *manifests; /* of all items of that kind, in order; number 0: not to be read */
    struct buf *texts;
    struct item **manifest_items;
    size_t manifest_count;
    const struct manifest *used; /* the first that was good; NULL: none */
    struct vclock *covered;      /* by it, by shard */
    uint64_t segments;           /* that were applied */
    bool blind;                  /* manifests or bodies are sealed, and there is no key */
    bool vanished;
};

/* ----------------------------------------------------------------- reading */

static void read_manifests(struct reading *r) {
    struct catalog *c = r->c;
    r->manifests = mem_zero(c->count, sizeof *r->manifests);
    r->texts = mem_zero(c->count, sizeof *r->texts);
    r->manifest_items = mem_zero(c->count, sizeof *r->manifest_items);
    for (size_t n = 0; n < c->count; n++) {
        struct store_request request;
        struct object object;
        size_t at = r->manifest_count;
        if (c->items[n].kind != OBJECT_MANIFEST) continue;
        r->manifest_items[at] = &c->items[n];
        bool good = catalog_read(c, &c->items[n], &request, &object, &r->texts[at]) &&
                    catalog_manifest(c, &c->items[n], buf_bytes(&r->texts[at]), &r->manifests[at]);
        if (!good) r->manifests[at].number = 0;
        r->blind = r->blind || c->items[n].state == ITEM_SEALED;
        r->manifest_count++;
        store_request_fini(&request);
    }
}

/* Without a manifest the first head that can be read says how many there are. */
static void learn_shards(struct catalog *c) {
    for (size_t n = 0; n < c->count && !c->shard_count; n++) {
        struct item copy = c->items[n];
        struct store_request request;
        struct object object;
        struct segment_head head;
        copy.why = NULL;
        if (copy.kind != OBJECT_SEGMENT) continue;
        if (catalog_read_head(c, &copy, &request, &object) && catalog_segment(c, &copy, &object, &head)) segment_head_fini(&head);
        store_request_fini(&request);
        mem_free(copy.why);
    }
}

/* Records are looked at in any case, and applied if there is a state to apply them to. */
static void read_body(struct reading *r, struct item *item, struct bytes body, bool apply) {
    enum object_record kind;
    struct bytes payload;
    struct tally tally = {0};
    size_t at = 0;
    bool bad;
    apply = apply && r->state.shards;
    while (object_record_next(body, &at, &kind, &payload, &bad)) {
        if (kind != OBJECT_IMAGE && kind != OBJECT_DELTAS)
            tally.malformed++;
        else if (apply && kind == OBJECT_IMAGE)
            state_image(&r->state, payload, &tally);
        else if (apply)
            state_deltas(&r->state, payload, &tally);
    }
    item->gaps = tally.gaps;
    if (bad || tally.malformed) item_damaged(item, "damaged: %" PRIu64 " of its records make no sense", tally.malformed + bad);
}

static void read_plain(struct reading *r, struct item *item, bool apply) {
    struct store_request request;
    struct object object;
    struct segment_head head;
    struct buf plain = {0};
    bool opened = catalog_read(r->c, item, &request, &object, &plain),
         has_records = item->kind == OBJECT_PART || item->kind == OBJECT_SEGMENT;
    if (opened && item->kind == OBJECT_SEGMENT) {
        opened = catalog_segment(r->c, item, &object, &head);
        if (opened) segment_head_fini(&head);
    }
    if (opened && has_records) read_body(r, item, buf_bytes(&plain), apply);
    store_request_fini(&request);
    buf_fini(&plain);
}

static struct item *item_of_part(struct reading *r, const struct manifest_part *part) {
    char key[LAYOUT_KEY_BYTES];
    if (part->key.len >= sizeof key) return NULL;
    memcpy(key, part->key.data, part->key.len);
    key[part->key.len] = 0;
    return catalog_find(r->c, key);
}

/* True if they are whole. */
static bool read_parts(struct reading *r, const struct manifest *m) {
    bool whole = true;
    for (uint32_t p = 0; p < m->part_count; p++) {
        struct item *item = item_of_part(r, &m->parts[p]);
        if (item && item->state == ITEM_UNREAD) read_plain(r, item, true);
        whole = whole && item && item->state == ITEM_GOOD;
        r->blind = r->blind || (item && item->state == ITEM_SEALED);
    }
    return whole;
}

static bool is_asked_for(const struct inspect *i, const struct manifest *m) {
    return m->number && (i->manifest ? m->number == i->manifest : m->made_ms <= i->until_ms);
}

static void use(struct reading *r, const struct manifest *m) {
    r->used = m;
    for (uint32_t p = 0; p < m->part_count; p++)
        for (uint32_t s = 0; s < m->parts[p].count; s++) {
            vclock_join(&r->covered[m->parts[p].first + s], &m->parts[p].applied[s]);
            vclock_join(&r->state.stored[m->parts[p].first + s], &m->parts[p].applied[s]);
        }
}

static void read_images(struct reading *r) {
    bool whole = false;
    for (size_t n = r->manifest_count; n-- > 0 && !whole;) {
        if (!is_asked_for(r->inspect, &r->manifests[n])) continue;
        if (!r->used) use(r, &r->manifests[n]);
        whole = read_parts(r, &r->manifests[n]);
    }
}

static void expect_segment(struct reading *r, const struct segment_head *head) {
    uint16_t writer;
    if (replicas_intern(r->c->replicas, head->writer, &writer) != STATUS_OK) return;
    for (uint32_t s = 0; s < head->shard_count; s++) vclock_raise(&r->state.stored[s], writer, head->upto[s]);
    for (uint32_t n = 0; n < head->image_count; n++) vclock_join(&r->state.stored[head->images[n].shard], &head->images[n].applied);
}

/* Also of one whose body is damaged. False, and nothing is to be freed, if it cannot be read. */
static bool head_of(struct reading *r, const struct item *item, struct segment_head *out) {
    struct item copy = *item;
    struct store_request request;
    struct object object;
    copy.why = NULL;
    bool good = catalog_read_head(r->c, &copy, &request, &object) && catalog_segment(r->c, &copy, &object, out);
    if (good) out->members = (struct bytes){0}; /* they go with the request */
    store_request_fini(&request);
    mem_free(copy.why);
    return good;
}

static void read_segment(struct reading *r, struct item *item) {
    struct store_request request;
    struct object object;
    struct segment_head head;
    struct buf plain = {0};
    bool opened = catalog_read(r->c, item, &request, &object, &plain);
    bool has_head = opened || item->state == ITEM_SEALED ? catalog_segment(r->c, item, &object, &head) : head_of(r, item, &head);
    if (has_head && head.made_ms <= r->inspect->until_ms) {
        if (r->state.shards) expect_segment(r, &head);
        if (opened) read_body(r, item, buf_bytes(&plain), true);
        r->segments += opened;
    }
    if (has_head) segment_head_fini(&head);
    r->blind = r->blind || item->state == ITEM_SEALED;
    r->vanished = r->vanished || item->state == ITEM_MISSING;
    store_request_fini(&request);
    buf_fini(&plain);
}

static void read_state(struct reading *r, struct catalog *c) {
    *r = (struct reading){.c = c, .inspect = c->inspect, .state.now_ms = os_clock().now(NULL).wall_ms};
    read_manifests(r);
    learn_shards(c);
    if (c->shard_count) state_init(&r->state, c->shard_count, c->replicas);
    r->covered = mem_zero(r->state.shard_count, sizeof *r->covered);
    read_images(r);
    for (size_t n = 0; n < c->count && !c->inspect->manifest; n++)
        if (c->items[n].kind == OBJECT_SEGMENT) read_segment(r, &c->items[n]);
}

static void reading_fini(struct reading *r) {
    for (size_t n = 0; n < r->manifest_count; n++) {
        if (r->manifests[n].number) manifest_fini(&r->manifests[n]);
        buf_fini(&r->texts[n]);
    }
    for (uint32_t s = 0; s < r->state.shard_count; s++) vclock_fini(&r->covered[s]);
    mem_free(r->covered);
    mem_free(r->manifests);
    mem_free(r->texts);
    mem_free(r->manifest_items);
    if (r->state.shards) state_fini(&r->state);
}

/* What no node would read now, but in another case. */
static void read_rest(struct reading *r) {
    for (size_t n = 0; n < r->c->count; n++)
        if (r->c->items[n].state == ITEM_UNREAD) read_plain(r, &r->c->items[n], false);
}

/* ---------------------------------------------------------------- segments */

static bool same_stream(const struct item *a, const struct item *b) {
    return a->kind == OBJECT_SEGMENT && b->kind == OBJECT_SEGMENT && replica_id_compare(a->writer, b->writer) == 0;
}

static bool is_covered(const struct reading *r, const struct segment_head *head) {
    uint16_t writer;
    if (!r->used || replicas_intern(r->c->replicas, head->writer, &writer) != STATUS_OK) return false;
    for (uint32_t s = 0; s < head->shard_count; s++)
        if (vclock_get(&r->covered[s], writer) < head->upto[s]) return false;
    for (uint32_t n = 0; n < head->image_count; n++)
        if (!vclock_covers(&r->covered[head->images[n].shard], &head->images[n].applied)) return false;
    return true;
}

/* Of what the head says, beyond what was stored before, and beyond what the manifest covers: of that its parts are in charge. */
static struct loss loss_of(const struct reading *r, const struct segment_head *head, const struct segment_head *before) {
    struct loss loss = {0};
    uint16_t writer;
    if (replicas_intern(r->c->replicas, head->writer, &writer) != STATUS_OK) return loss;
    for (uint32_t s = 0; s < head->shard_count; s++) {
        uint64_t has = vclock_get(shard_applied(r->state.shards[s]), writer);
        if (before && before->upto[s] > has) has = before->upto[s];
        if (vclock_get(&r->covered[s], writer) > has) has = vclock_get(&r->covered[s], writer);
        if (head->upto[s] <= has) continue;
        loss.mutations += head->upto[s] - has;
        loss.shards++;
    }
    for (uint32_t n = 0; n < head->image_count; n++)
        if (head->upto[head->images[n].shard] <= vclock_get(shard_applied(r->state.shards[head->images[n].shard]), writer))
            state_lacks(&r->state, head->images[n].shard, &head->images[n].applied, &loss);
    return loss;
}

/* The nearest head in the stream that can be read, from `at` on in steps of +1 or -1. */
static bool nearest_head(struct reading *r, size_t at, bool forward, struct segment_head *out) {
    const struct item *items = r->c->items;
    for (size_t n = at; forward ? ++n < r->c->count : n-- > 0;) {
        if (!same_stream(&items[n], &items[at])) return false;
        if (head_of(r, &items[n], out)) return true;
    }
    return false;
}

/* Which ones come after it, and could not be applied whole. */
static void say_followers(const struct reading *r, size_t at, struct buf *out) {
    uint64_t segments = 0, deltas = 0, first = 0, last = 0;
    for (size_t n = at + 1; n < r->c->count && same_stream(&r->c->items[n], &r->c->items[at]); n++) {
        if (!r->c->items[n].gaps) continue;
        if (!segments++) first = r->c->items[n].number;
        last = r->c->items[n].number;
        deltas += r->c->items[n].gaps;
    }
    if (segments == 1)
        buf_printf(out, "; segment %" PRIu64 " of the stream follows the gap", first);
    else if (segments)
        buf_printf(out, "; %" PRIu64 " segments of the stream, %" PRIu64 " to %" PRIu64 ", follow the gap", segments, first, last);
    if (segments) buf_printf(out, ": %" PRIu64 " deltas are left out until a node that has what is missing makes a checkpoint", deltas);
}

static void cost_of_segment(struct reading *r, size_t at, struct buf *out) {
    struct segment_head head, before;
    bool exact = head_of(r, &r->c->items[at], &head), known = exact || nearest_head(r, at, true, &head);
    if (!known) {
        buf_put_str(out, "it is the last of its stream that there is: what was in it is lost, unless a node or a checkpoint has it");
        return;
    }
    if (exact && head.made_ms > r->inspect->until_ms) {
        buf_put_str(out, "nothing is lost by then: it is newer");
    } else if (is_covered(r, &head)) {
        buf_printf(out, "nothing is lost: manifest %" PRIu64 " covers it", r->used->number);
    } else {
        bool has_before = nearest_head(r, at, false, &before);
        struct loss loss = loss_of(r, &head, has_before ? &before : NULL);
        if (has_before) segment_head_fini(&before);
        if (loss.mutations && !exact) buf_put_str(out, "its head is damaged as well; by the next one, at most ");
        state_cost(&loss, out);
        if (!loss.mutations) buf_put_str(out, ": other objects have what was in it");
        say_followers(r, at, out);
    }
    segment_head_fini(&head);
}

/* Numbers between two segments, or before the first, that should be there. What the manifest covers may be gone. */
static void judge_hole(struct reading *r, size_t at) {
    const struct item *item = &r->c->items[at], *last = at ? item - 1 : NULL;
    bool follows = last && same_stream(last, item);
    uint64_t expected = follows ? last->number + 1 : 0;
    struct segment_head head, before;
    if (item->number == expected || item->state != ITEM_GOOD || !head_of(r, item, &head)) return;
    bool has_before = nearest_head(r, at, false, &before);
    struct loss loss = loss_of(r, &head, has_before ? &before : NULL);
    bool newer = head.made_ms > r->inspect->until_ms;
    if (has_before) segment_head_fini(&before);
    segment_head_fini(&head);
    if (!loss.mutations || newer) return;
    struct buf cost = {0};
    char key[LAYOUT_KEY_BYTES], what[80];
    layout_segment_key(key, item->writer, expected);
    snprintf(what, sizeof what, "missing, with all up to number %" PRIu64, item->number - 1);
    state_cost(&loss, &cost);
    if (item->gaps) buf_printf(&cost, "; segment %" PRIu64 " follows the gap", item->number);
    say_followers(r, at, &cost);
    buf_put_byte(&cost, 0);
    inspect_found(r->inspect, key, expected + 1 == item->number ? "missing" : what, (char *)cost.data);
    buf_fini(&cost);
}

/* ------------------------------------------------------- parts and manifests */

static const struct manifest_part *part_in(const struct manifest *m, const char *key) {
    for (uint32_t p = 0; m && p < m->part_count; p++)
        if (bytes_equal(m->parts[p].key, bytes_str(key))) return &m->parts[p];
    return NULL;
}

static void cost_of_used_part(const struct reading *r, const struct manifest_part *part, struct buf *out) {
    struct loss loss = {0};
    for (uint32_t s = 0; s < part->count; s++) state_lacks(&r->state, part->first + s, &part->applied[s], &loss);
    if (part->count == 1)
        buf_printf(out, "of shard %u ", part->first);
    else
        buf_printf(out, "of shards %u to %u ", part->first, part->first + part->count - 1);
    state_cost(&loss, out);
    buf_put_str(out, loss.mutations ? "; what an older manifest and the segments have of them is there"
                                    : ": an older manifest and the segments have the same");
}

static void cost_of_part(const struct reading *r, const char *key, struct buf *out) {
    const struct manifest_part *part = part_in(r->used, key);
    if (part) {
        cost_of_used_part(r, part, out);
        return;
    }
    for (size_t n = 0; n < r->manifest_count; n++)
        if (part_in(&r->manifests[n], key)) {
            buf_printf(out, "nothing is lost: only older manifests name it, as %" PRIu64 "; from those nothing can be restored whole",
                       r->manifests[n].number);
            return;
        }
    buf_put_str(out, "nothing is lost: no manifest names it");
}

static void cost_of_manifest(const struct reading *r, const struct item *item, struct buf *out) {
    if (!r->used) {
        buf_put_str(out, "there is no other: what its checkpoint had is lost, but for what segments have");
    } else if (r->used->number > item->number) {
        buf_printf(out, "nothing is lost: manifest %" PRIu64 " is newer; from this one nothing can be restored", r->used->number);
    } else {
        struct loss loss = state_losses(&r->state, NULL, NULL);
        buf_printf(out, "manifest %" PRIu64 " takes its place, with the segments since: ", r->used->number);
        state_cost(&loss, out);
    }
}

/* Objects that a manifest names and that are not there. */
static void judge_missing(struct reading *r) {
    for (size_t n = r->manifest_count; n-- > 0;) {
        const struct manifest *m = &r->manifests[n];
        for (uint32_t p = 0; m->number && p < m->part_count; p++) {
            struct item *item = item_of_part(r, &m->parts[p]);
            struct buf key = {0}, cost = {0};
            bool again = false;
            buf_put_bytes(&key, m->parts[p].key);
            buf_put_byte(&key, 0);
            for (size_t newer = n + 1; newer < r->manifest_count; newer++) again = again || part_in(&r->manifests[newer], (char *)key.data);
            if ((!item || item->state == ITEM_MISSING) && !again) {
                char what[64];
                snprintf(what, sizeof what, "missing, and named by manifest %" PRIu64, m->number);
                cost_of_part(r, (char *)key.data, &cost);
                buf_put_byte(&cost, 0);
                inspect_found(r->inspect, (char *)key.data, what, (char *)cost.data);
            }
            buf_fini(&key);
            buf_fini(&cost);
        }
    }
}

/* --------------------------------------------------------------- judgement */

static void cost_of(struct reading *r, size_t at, struct buf *out) {
    const struct item *item = &r->c->items[at];
    if (item->kind == OBJECT_CLAIM || item->kind == OBJECT_VERDICT)
        buf_printf(out, "nothing is lost: the next start of node %016" PRIx64 " may have to wait some seconds", item->writer.node);
    else if (r->blind)
        buf_put_str(out, "what that costs cannot be told without --key-file");
    else if (!r->state.shards)
        buf_put_str(out, "what that costs cannot be told: nothing says how many shards there are; --shards may");
    else if (item->kind == OBJECT_SEGMENT && r->inspect->manifest)
        buf_put_str(out, "it is not read together with --manifest");
    else if (item->kind == OBJECT_SEGMENT)
        cost_of_segment(r, at, out);
    else if (item->kind == OBJECT_PART)
        cost_of_part(r, item->key, out);
    else
        cost_of_manifest(r, item, out);
}

static void judge_all(struct reading *r) {
    bool replayed = r->state.shards && !r->blind;
    for (size_t n = 0; n < r->c->count; n++) {
        struct item *item = &r->c->items[n];
        bool gone = item->state == ITEM_MISSING && item->kind != OBJECT_PART; /* parts: below */
        if (item->kind == OBJECT_SEGMENT && replayed && !r->inspect->manifest) judge_hole(r, n);
        if (item->state != ITEM_DAMAGED && !gone) continue;
        struct buf cost = {0};
        cost_of(r, n, &cost);
        buf_put_byte(&cost, 0);
        inspect_found(r->inspect, item->key, gone ? "vanished while it was read" : item->why, (char *)cost.data);
        buf_fini(&cost);
    }
    if (replayed) judge_missing(r);
}

static void say_loss(void *arg, struct replica_id writer, struct loss loss) {
    const struct reading *r = arg;
    char name[INSPECT_WRITER_BYTES];
    inspect_writer(name, writer);
    if (r->inspect->json)
        inspect_line(json_pack("{s:s, s:s, s:I, s:I}", "what", "loss", "writer", name, "mutations", (json_int_t)loss.mutations, "shards",
                               (json_int_t)loss.shards));
    inspect_say(r->inspect, "of writer %s %" PRIu64 " mutations in %u shards are stored, or were, and not to be had from here\n", name,
                loss.mutations, loss.shards);
}

static uint64_t count_sealed(const struct catalog *c) {
    uint64_t sealed = 0;
    for (size_t n = 0; n < c->count; n++) sealed += c->items[n].state == ITEM_SEALED;
    return sealed;
}

static void sum_up(struct reading *r) {
    struct inspect *i = r->inspect;
    struct catalog *c = r->c;
    bool replayed = r->state.shards && !r->blind;
    uint64_t sealed = count_sealed(c), keys = replayed ? state_keys(&r->state, r->state.now_ms) : 0,
             manifest = r->used ? r->used->number : 0;
    struct loss loss = {0};
    if (replayed) loss = state_losses(&r->state, say_loss, r);
    if (loss.mutations && !i->found) inspect_found(i, i->where, "something is missing", "");
    inspect_say(i, "%" PRIu64 " objects read, %" PRIu64 " bytes: %" PRIu64 " damaged or missing\n", c->read_objects, c->read_bytes,
                i->found);
    if (sealed)
        inspect_say(i,
                    "%" PRIu64 " bodies are sealed and were not opened, for want of --key-file; their bytes are those that were written\n",
                    sealed);
    if (replayed && manifest)
        inspect_say(i, "the state is %" PRIu64 " keys in %u shards, from manifest %" PRIu64 " and %" PRIu64 " segments\n", keys,
                    c->shard_count, manifest, r->segments);
    else if (replayed)
        inspect_say(i, "the state is %" PRIu64 " keys in %u shards, from %" PRIu64 " segments\n", keys, c->shard_count, r->segments);
    if (!i->json) return;
    json_t *line = json_pack("{s:s, s:I, s:I, s:I, s:I}", "what", "summary", "objects", (json_int_t)c->read_objects, "bytes",
                             (json_int_t)c->read_bytes, "found", (json_int_t)i->found, "unopened", (json_int_t)sealed);
    json_object_set_new(line, "keys", replayed ? json_integer((json_int_t)keys) : json_null());
    json_object_set_new(line, "lost_mutations", replayed ? json_integer((json_int_t)loss.mutations) : json_null());
    json_object_set_new(line, "manifest", manifest ? json_integer((json_int_t)manifest) : json_null());
    json_object_set_new(line, "segments", json_integer((json_int_t)r->segments));
    inspect_line(line);
}

static enum inspect_exit refuse(struct inspect *i, const char *why) {
    buf_printf(&i->error, "%s: %s", i->where, why);
    return INSPECT_UNREADABLE;
}

static enum inspect_exit conclude(struct reading *r) {
    struct inspect *i = r->inspect;
    if (!catalog_is_cluster(r->c)) return INSPECT_UNREADABLE;
    if (i->keys.count && r->c->locked && !r->c->opened) return refuse(i, "what is sealed here is opened by no key of the key-file");
    if (i->manifest && !r->used && !r->blind) {
        buf_printf(&i->error, "%s: there is no manifest %" PRIu64 " that can be read", i->where, i->manifest);
        return INSPECT_UNREADABLE;
    }
    if (i->action == INSPECT_DUMP && r->blind) return refuse(i, "the bodies are sealed: --key-file is needed to open them");
    if (i->action == INSPECT_DUMP && !r->state.shards) return refuse(i, "no segment and no manifest can be read");
    if (i->action == INSPECT_VERIFY) read_rest(r);
    judge_all(r);
    int64_t then_ms = i->manifest && r->used ? r->used->made_ms : i->until_ms;
    if (i->action == INSPECT_VERIFY)
        sum_up(r);
    else
        state_dump(&r->state, i->expired ? INT64_MIN : then_ms < r->state.now_ms ? then_ms : r->state.now_ms);
    return i->found ? INSPECT_DAMAGED : INSPECT_WELL;
}

/* A cleaner got ahead of us: what it took away is in a newer manifest. */
static bool has_vanished(const struct reading *r) {
    bool vanished = r->vanished;
    for (size_t n = 0; n < r->c->count; n++) vanished = vanished || r->c->items[n].state == ITEM_MISSING;
    return vanished;
}

enum inspect_exit store_verify(struct catalog *c) {
    struct reading r;
    read_state(&r, c);
    for (int again = 0; again < AGAIN_MAX && has_vanished(&r); again++) {
        reading_fini(&r);
        if (!catalog_list(c)) return INSPECT_UNREADABLE;
        read_state(&r, c);
    }
    enum inspect_exit code = conclude(&r);
    reading_fini(&r);
    return code;
}
