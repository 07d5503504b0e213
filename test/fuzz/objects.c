/* What comes from an object store: the bytes of single objects, keys, heads and manifests; and whole archives on a store in which
 * objects of ours have been bent, cut, swapped, renamed, forged and removed, and where requests fail. Where nothing was touched, all
 * that was streamed is back. A store that lies is not asked for ever, takes no memory beyond what it holds times what compression may say,
 * and does not make a node believe to have written what it has not.
 *
 * input := flags (bytes of one thing | step*)
 * step  := what, argument [bytes] */
#include <sanitizer/allocator_interface.h>

#include "core/mem.h"
#include "persist/archive.h"
#include "persist/crc32c.h"
#include "persist/layout.h"
#include "persist/object.h"
#include "persist/replay.h"
#include "test/fuzz/bucket.h"
#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"

enum { SHARDS = 2, SITES = 2, STEPS_MAX = 60, STORED_NODE = 9 };
enum flags { SEALED = 1, SINGLE = 2, BOTH = 4, SURE = 8 };
enum what { WRITE, WRITE_MORE, RUN, SAVE, RESTART, LEAP, FAIL, BEND, CUT, RAW, RENAME, SWAP, COPY, REMOVE, LIE, BEND_INSIDE, FORGE, FORGE_MANIFEST, FORGE_SEGMENT, WHATS };
#define TOUCHED BEND
#define SECOND INT64_C(1000000)
#define REQUESTS_MAX 200000u /* of one run, of some seconds: a manifest may name 65,536 parts, and be damaged */
#define CODEC_RATIO 255u

struct site {
    struct replica_id id;
    const char *place;
    struct replicas *replicas;
    struct shard *shards[SHARDS];
    struct bucket_client client;
    struct archive *archive;
};
struct world {
    struct bucket bucket;
    struct fuzz_clock clock;
    struct keyring keys;
    struct site sites[SITES];
    unsigned site_count;
    uint64_t lives;
    bool touched, unconditional;
};

/* ------------------------------------------------------------------ memory */

/* The largest piece that was asked for since it was set to 0. */
static size_t largest;
static void on_malloc(const volatile void *at, size_t size) {
    (void)at;
    if (size > __atomic_load_n(&largest, __ATOMIC_RELAXED)) __atomic_store_n(&largest, size, __ATOMIC_RELAXED);
}
static void on_free(const volatile void *at) { (void)at; }

static void watch_memory(void) {
    static bool watches;
    if (!watches) CHECK(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0);
    watches = true;
    largest = 0;
}
/* A byte may say 255, a byte of that may be a vector or a part: so many bytes are its struct. Buffers grow by doubling. */
static void check_memory(uint64_t given) { CHECK(largest < (4u << 20) + given * CODEC_RATIO * 2 * sizeof(struct manifest_part)); }

/* ------------------------------------------------------------ single things */

static void read_key(struct bytes key) {
    char again[LAYOUT_KEY_BYTES];
    uint64_t node, number;
    int64_t began_ms;
    uint32_t first;
    struct replica_id writer;
    if (layout_read_claim_key(key, "claim", &node, &number)) {
        layout_claim_key(again, "claim", node, number);
        CHECK(bytes_equal(bytes_str(again), key));
    }
    if (layout_read_segment_key(key, &writer, &number)) {
        layout_segment_key(again, writer, number);
        CHECK(bytes_equal(bytes_str(again), key));
    }
    if (layout_read_part_key(key, &writer, &began_ms, &first)) {
        layout_part_key(again, writer, began_ms, first);
        CHECK(bytes_equal(bytes_str(again), key));
    }
    if (layout_read_manifest_key(key, &number)) {
        layout_manifest_key(again, number);
        CHECK(bytes_equal(bytes_str(again), key));
    }
}

static void read_records(struct bytes body) {
    struct buf again = {0};
    enum object_record kind;
    struct bytes payload;
    size_t at = 0;
    bool bad;
    while (object_record_next(body, &at, &kind, &payload, &bad)) object_record_write(&again, kind, payload);
    CHECK(at <= body.len);
    CHECK(bad || at == body.len);
    CHECK(bytes_equal(buf_bytes(&again), bytes_of(body.data, at)));
    buf_fini(&again);
}

/* What is written of what was read reads as the same: a second writing has the bytes of the first. */
static void read_head(struct bytes bytes) {
    struct replicas *replicas = replicas_new();
    struct segment_head head;
    struct buf first = {0}, second = {0};
    if (segment_head_read(bytes, replicas, &head) == STATUS_OK) {
        segment_head_write(&head, replicas, &first);
        segment_head_fini(&head);
        CHECK(segment_head_read(buf_bytes(&first), replicas, &head) == STATUS_OK);
        segment_head_write(&head, replicas, &second);
        segment_head_fini(&head);
    }
    CHECK(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_fini(&first);
    buf_fini(&second);
    replicas_free(replicas);
}

static void read_manifest(struct bytes bytes) {
    struct replicas *replicas = replicas_new();
    struct manifest m;
    struct buf first = {0}, second = {0};
    if (manifest_read(bytes, replicas, &m) == STATUS_OK) {
        for (uint32_t i = 0; i < m.part_count; i++) CHECK(m.parts[i].first + m.parts[i].count <= m.shard_count);
        manifest_write(&m, replicas, &first);
        manifest_fini(&m);
        CHECK(manifest_read(buf_bytes(&first), replicas, &m) == STATUS_OK);
        manifest_write(&m, replicas, &second);
        manifest_fini(&m);
    }
    CHECK(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_fini(&first);
    buf_fini(&second);
    replicas_free(replicas);
}

static void put_le32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

/* Makes the checksums right, wherever the head's length says that they are. */
static void correct(uint8_t *at, size_t len) {
    if (len < OBJECT_FIXED_BYTES + 4) return;
    uint32_t head = at[32] | (uint32_t)at[33] << 8;
    if (head > len - OBJECT_FIXED_BYTES - 4) head = (uint32_t)(len - OBJECT_FIXED_BYTES - 4);
    put_le32(at + 32, head);
    put_le32(at + 52, crc32c(crc32c(0, bytes_of(at, 52)), bytes_of(at + OBJECT_FIXED_BYTES, head)));
    put_le32(at + len - 4, crc32c(0, bytes_of(at, len - 4)));
}

static void read_object(struct bytes bytes, const struct keyring *keys) {
    struct object head, whole, again;
    struct buf plain = {0}, text = {0}, plain_again = {0};
    size_t need;
    enum status status = object_read_head(bytes, NULL, &head, &need);
    if (status == STATUS_ERR_GAP) CHECK(need > bytes.len && need <= OBJECT_FIXED_BYTES + OBJECT_HEAD_BYTES_MAX);
    enum status of_whole = object_read(bytes, keys, &whole, &plain);
    if (of_whole == STATUS_OK) {
        CHECK(status == STATUS_OK);
        CHECK(whole.plain_bytes == plain.len);
        CHECK(bytes_equal(head.head, whole.head));
        object_write(whole.kind, whole.nonce, whole.head, buf_bytes(&plain), keys, &text);
        CHECK(object_read(buf_bytes(&text), keys, &again, &plain_again) == STATUS_OK);
        CHECK(again.kind == whole.kind);
        CHECK(bytes_equal(again.head, whole.head));
        CHECK(bytes_equal(buf_bytes(&plain), buf_bytes(&plain_again)));
        read_head(whole.head);
        read_records(buf_bytes(&plain));
        read_manifest(buf_bytes(&plain));
    } else {
        CHECK(plain.len == 0);
    }
    buf_fini(&plain);
    buf_fini(&text);
    buf_fini(&plain_again);
}

static void read_single(struct world *w, uint8_t flags, struct bytes given) {
    struct bytes bytes = fuzz_exact(given);
    watch_memory();
    read_key(bytes);
    for (size_t cut = 0; cut < 8 && cut <= bytes.len; cut++) { /* and where it ends too early */
        struct bytes shorter = fuzz_exact(bytes_of(bytes.data, bytes.len - cut));
        read_records(shorter);
        read_head(shorter);
        read_manifest(shorter);
        fuzz_exact_free(shorter);
    }
    if (flags & SURE) correct((uint8_t *)(uintptr_t)bytes.data, bytes.len);
    read_object(bytes, &w->keys);
    check_memory(bytes.len);
    fuzz_exact_free(bytes);
}

/* -------------------------------------------------------------------- lives */

static struct now now_of(const struct world *w) { return (struct now){w->clock.wall_ms, w->clock.mono_us}; }

static void start(struct world *w, struct site *n, uint64_t node, const char *place) {
    uint16_t self;
    n->id = (struct replica_id){node, ++w->lives};
    n->replicas = replicas_new();
    CHECK(replicas_intern(n->replicas, n->id, &self) == STATUS_OK);
    struct shard_config shard = {.replicas = n->replicas, .self = self, .log_bytes_max = 1000}; /* so that images are needed */
    for (uint32_t i = 0; i < SHARDS; i++) n->shards[i] = shard_new(i, &shard);
    struct archive_config config = {ARCHIVE_CONFIG_DEFAULT,
                                    .store = bucket_open(&w->bucket, &n->client),
                                    .clock = fuzz_clock_port(&w->clock),
                                    .shards = n->shards,
                                    .shard_count = SHARDS,
                                    .replicas = n->replicas,
                                    .self = n->id,
                                    .keys = w->keys,
                                    .place = place,
                                    .unconditional = w->unconditional};
    config.settings.segment_us = SECOND / 2;
    config.segment_bytes = 500;
    config.part_bytes = 100;
    config.poll_us = SECOND;
    config.settings.rewrite_bytes_min = 3000;
    n->place = place;
    n->archive = archive_new(&config);
}

static void stop(struct site *n) {
    while (store_queue_take(&n->client.answered)) continue;
    archive_free(n->archive);
    for (uint32_t i = 0; i < SHARDS; i++) shard_free(n->shards[i]);
    replicas_free(n->replicas);
}

static void step_archive(struct world *w, struct site *n, int64_t *wait_us) {
    uint64_t own[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++) own[i] = shard_own(n->shards[i]);
    *wait_us = archive_step(n->archive, now_of(w));
    for (uint32_t i = 0; i < SHARDS; i++) CHECK(shard_own(n->shards[i]) == own[i]);
}

static void run(struct world *w, struct site *n, int64_t us) {
    int64_t end_us = w->clock.mono_us + us;
    w->bucket.requests_most = w->bucket.requests + REQUESTS_MAX;
    unsigned at_once = 0;
    do {
        int64_t wait_us;
        do step_archive(w, n, &wait_us);
        while (n->client.answered.count); /* as if a bell rang */
        at_once = wait_us > 0 ? 0 : at_once + 1;
        CHECK(at_once < 1000);
        if (wait_us < 1000) wait_us = 1000;
        if (wait_us > end_us - w->clock.mono_us) wait_us = end_us - w->clock.mono_us;
        w->clock.mono_us += wait_us;
        w->clock.wall_ms = 1700000000000 + w->clock.mono_us / 1000;
    } while (w->clock.mono_us < end_us);
    for (uint32_t i = 0; i < SHARDS; i++) recount_shard(n->shards[i]);
}

static bool reaches(struct world *w, struct site *n, enum archive_phase phase) {
    for (int i = 0; i < 120 && archive_phase(n->archive) != phase && archive_phase(n->archive) != ARCHIVE_STOPPED; i++) run(w, n, SECOND / 2);
    return archive_phase(n->archive) == phase;
}

static bool flushes(struct world *w, struct site *n) {
    archive_flush(n->archive);
    for (int i = 0; i < 120 && !archive_is_flushed(n->archive); i++) run(w, n, SECOND / 2);
    return archive_is_flushed(n->archive);
}

/* As somebody of another place waits for us, we are to be asked as well; so all others go on meanwhile. */
static void restart(struct world *w, struct site *n, const char *place) {
    uint64_t node = n->id.node;
    stop(n);
    start(w, n, node, place);
    bool streams = reaches(w, n, ARCHIVE_STREAMING);
    CHECK(streams || w->touched || w->bucket.full);
}

/* ---------------------------------------------------------------- the judge */

static void join(struct world *w, struct site *from, struct replay *to) {
    struct replay source = {from->shards, SHARDS, from->replicas};
    struct replay_counts counts = {0};
    struct replay_sink sink = {.to = *to, .now_ms = w->clock.wall_ms, .counts = &counts};
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct buf image = {0};
        replay_write_image(&source, i, &image, NULL);
        replay_read_image(&sink, buf_bytes(&image));
        buf_fini(&image);
    }
    CHECK(counts.images == SHARDS);
}

/* Whoever reads the store now has what all that live have. */
static void check_back(struct world *w) {
    struct site reader;
    struct shard *shards[SHARDS];
    struct replicas *replicas = replicas_new();
    struct replay all = {shards, SHARDS, replicas};
    struct shard_config config = {.replicas = replicas};
    CHECK(replicas_intern(replicas, (struct replica_id){99, 1}, &config.self) == STATUS_OK);
    for (uint32_t i = 0; i < SHARDS; i++) shards[i] = shard_new(i, &config);
    start(w, &reader, STORED_NODE, "reader");
    CHECK(reaches(w, &reader, ARCHIVE_STREAMING));
    for (unsigned i = 0; i < w->site_count; i++) join(w, &w->sites[i], &all);
    for (uint32_t i = 0; i < SHARDS; i++) CHECK(shard_digest(shards[i]) == shard_digest(reader.shards[i]));
    stop(&reader);
    for (uint32_t i = 0; i < SHARDS; i++) shard_free(shards[i]);
    replicas_free(replicas);
}

static void check_end(struct world *w) {
    w->bucket.fails = 0;
    for (unsigned i = 0; i < w->site_count; i++) {
        bool fine = reaches(w, &w->sites[i], ARCHIVE_STREAMING) && flushes(w, &w->sites[i]);
        CHECK(fine || w->touched || w->bucket.full);
    }
    if (!w->touched && !w->bucket.full) check_back(w);
    for (unsigned i = 0; i < w->site_count; i++) { /* whatever it is told, it does not ask without end */
        uint64_t requests = w->bucket.requests;
        run(w, &w->sites[i], 5 * SECOND);
        CHECK(w->bucket.requests - requests <= REQUESTS_MAX);
    }
}

/* ------------------------------------------------------------------- writes */

static void write_one(struct world *w, struct shard *s, uint8_t argument) {
    char name = (char)('a' + argument / 2 % 4), digits[24];
    struct key_ref ref = shard_ref(s, bytes_of(&name, 1));
    struct bytes value = bytes_of(digits, bytes_from_i64(argument * 1000, digits));
    int64_t now_ms = w->clock.wall_ms;
    shard_lock(s);
    switch (argument / 8 % 8) {
    case 0: shard_set(s, ref, value, true, now_ms); break;
    case 1: shard_increase(s, ref, FIXED_ONE, now_ms); break;
    case 2: shard_add_member(s, ref, value, now_ms); break;
    case 3: shard_set_field(s, ref, value, value, now_ms); break;
    case 4: shard_delete(s, ref, now_ms); break;
    case 5: shard_expire(s, ref, now_ms + argument * 10000, now_ms); break;
    case 6: shard_set(s, ref, value, false, now_ms); break;
    default:
        if (argument > 240) shard_flush(s, now_ms);
        break;
    }
    shard_unlock(s);
}

static void write_some(struct world *w, struct site *n, uint8_t argument, unsigned count) {
    for (unsigned i = 0; i < count; i++, argument = (uint8_t)(argument + 7)) {
        write_one(w, n->shards[argument % SHARDS], argument);
        archive_dirty(n->archive, argument % SHARDS);
    }
}

/* ------------------------------------------------------------------- damage */

static struct bucket_object *some_object(struct world *w, uint8_t argument) { return w->bucket.count ? &w->bucket.objects[argument % w->bucket.count] : NULL; }

static size_t some_place(struct input *in, size_t len) {
    size_t place = input_byte(in);
    place |= (size_t)input_byte(in) << 8;
    return len ? place % len : 0;
}

static void put(struct world *w, struct bytes key, struct buf *bytes) {
    if (!bucket_put(&w->bucket, key, bytes)) buf_fini(bytes);
}

/* A key of one of our kinds, or what the input says. */
static struct bytes some_key(struct world *w, struct input *in, char out[LAYOUT_KEY_BYTES]) {
    static const uint64_t numbers[] = {0, 1, 2, 3, 5, 10, UINT64_MAX - 1, UINT64_MAX};
    uint8_t kind = input_byte(in), argument = input_byte(in);
    uint64_t number = numbers[argument % 8];
    const struct site *n = &w->sites[argument / 8 % w->site_count];
    switch (kind % 8) {
    case 0: layout_claim_key(out, "claim", n->id.node, number); break;
    case 1: layout_claim_key(out, "verdict", n->id.node, number); break;
    case 2: layout_segment_key(out, n->id, number); break;
    case 3: layout_part_key(out, n->id, (int64_t)number, argument / 8); break;
    case 4: layout_manifest_key(out, number); break;
    case 5: return input_bytes(in, argument);
    default: {
        static const char *const prefixes[] = {"segment/", "manifest/", "checkpoint/", "claim/"};
        struct bytes rest = input_bytes(in, argument % 64);
        snprintf(out, LAYOUT_KEY_BYTES, "%s%.*s", prefixes[kind / 8 % 4], (int)rest.len, rest.len ? (const char *)rest.data : "");
    }
    }
    return bytes_str(out);
}

static void rename_object(struct world *w, struct bucket_object *object, bool copy, struct input *in) {
    char out[LAYOUT_KEY_BYTES];
    struct buf bytes = {0};
    buf_put_bytes(&bytes, buf_bytes(&object->bytes));
    struct bytes key = some_key(w, in, out);
    if (!copy) bucket_remove(&w->bucket, object);
    if (store_key_valid(key)) put(w, key, &bytes);
    buf_fini(&bytes);
}

/* One byte of what is inside, or what is put in there; the checksums are right. */
static void bend_inside(struct world *w, struct bucket_object *object, struct input *in) {
    struct object o;
    struct buf plain = {0}, head = {0}, bytes = {0};
    uint8_t how = input_byte(in), value = input_byte(in);
    if (object_read(buf_bytes(&object->bytes), &w->keys, &o, &plain) == STATUS_OK) {
        buf_put_bytes(&head, o.head);
        struct buf *part = how & 1 ? &head : &plain;
        size_t place = some_place(in, part->len);
        if (how & 2) part->len = place;
        else if (part->len) part->data[place] = value;
        if (how & 4) buf_put_bytes(part, input_bytes(in, value));
        object_write(how & 8 ? (enum object_kind)(1 + how / 16 % (OBJECT_KIND_COUNT - 1)) : o.kind, o.nonce, buf_bytes(&head), buf_bytes(&plain), &w->keys, &bytes);
        put(w, buf_bytes(&object->key), &bytes);
    }
    buf_fini(&plain);
    buf_fini(&head);
}

static void touch(struct world *w, enum what what, uint8_t argument, struct input *in) {
    struct bucket_object *object = some_object(w, argument);
    if (!object) return;
    fuzz_show("touches", buf_bytes(&object->key));
    struct buf *bytes = &object->bytes;
    size_t before = bytes->len;
    switch (what) {
    case BEND:
        if (bytes->len) bytes->data[some_place(in, bytes->len)] ^= input_byte(in);
        break;
    case CUT: bytes->len -= some_place(in, bytes->len + 1); break;
    case RAW:
        if (input_byte(in) & 1) bytes->len = 0;
        buf_put_bytes(bytes, input_bytes(in, input_byte(in)));
        break;
    case SWAP: {
        struct bucket_object *other = some_object(w, input_byte(in));
        struct buf bytes_of_other = other->bytes;
        other->bytes = *bytes;
        *bytes = bytes_of_other;
        return;
    }
    case REMOVE: bucket_remove(&w->bucket, object); return;
    case BEND_INSIDE: bend_inside(w, object, in); return;
    default: rename_object(w, object, what == COPY, in); return;
    }
    w->bucket.bytes += bytes->len - before;
}

/* ------------------------------------------------------------------ forgery */

static const uint8_t NONCE[OBJECT_NONCE_BYTES] = {7};

static void forge(struct world *w, uint8_t argument, struct input *in) {
    char out[LAYOUT_KEY_BYTES];
    struct buf bytes = {0}, body = {0};
    struct bytes key = some_key(w, in, out), head = input_bytes(in, input_byte(in)), text = input_bytes(in, input_byte(in));
    if (argument & 1) object_record_write(&body, argument & 2 ? OBJECT_IMAGE : OBJECT_DELTAS, text);
    else buf_put_bytes(&body, text);
    object_write((enum object_kind)(1 + argument / 4 % (OBJECT_KIND_COUNT - 1)), NONCE, head, buf_bytes(&body), &w->keys, &bytes);
    if (store_key_valid(key)) put(w, key, &bytes);
    buf_fini(&bytes);
    buf_fini(&body);
}

static uint64_t some_number(struct input *in) {
    uint8_t byte = input_byte(in);
    return byte < 248 ? byte : UINT64_MAX >> (8 * (byte - 248));
}

static void forge_manifest(struct world *w, uint8_t argument, struct input *in) {
    struct replicas *replicas = replicas_new();
    struct manifest_part parts[4] = {0};
    struct manifest_mark mark = {w->sites[0].id, some_number(in)};
    struct manifest m = {.number = some_number(in), .made_ms = (int64_t)some_number(in), .writer = w->sites[0].id, .shard_count = SHARDS + (argument > 250),
                         .part_count = argument % 5, .parts = parts, .mark_count = argument / 8 % 2, .marks = &mark};
    struct buf text = {0}, bytes = {0};
    char key[LAYOUT_KEY_BYTES], out[4][LAYOUT_KEY_BYTES];
    uint16_t index;
    CHECK(replicas_intern(replicas, w->sites[argument % w->site_count].id, &index) == STATUS_OK);
    for (uint32_t i = 0; i < m.part_count; i++) {
        const struct bucket_object *object = some_object(w, input_byte(in));
        uint8_t how = input_byte(in);
        parts[i] = (struct manifest_part){.first = how % 4 % 3, .count = how / 8 % 4, .bytes = some_number(in)}; /* some of them cannot be */
        parts[i].key = object && how & 32 ? buf_bytes(&object->key) : some_key(w, in, out[i]);
        if (object && how & 64) parts[i].bytes = object->bytes.len;
        parts[i].applied = mem_zero(4, sizeof *parts[i].applied);
        vclock_raise(&parts[i].applied[0], index, some_number(in) & DOT_COUNTER_MAX);
    }
    manifest_write(&m, replicas, &text);
    layout_manifest_key(key, argument & 64 ? m.number / 2 : m.number); /* perhaps under another name than it says */
    object_write(OBJECT_MANIFEST, NONCE, (struct bytes){0}, buf_bytes(&text), &w->keys, &bytes);
    put(w, bytes_str(key), &bytes);
    for (uint32_t i = 0; i < m.part_count; i++) {
        vclock_fini(&parts[i].applied[0]);
        mem_free(parts[i].applied);
    }
    buf_fini(&text);
    replicas_free(replicas);
}

/* Mutations of a living process that it never made, as deltas or as an image. */
static void forge_segment(struct world *w, uint8_t argument, struct input *in) {
    const struct site *n = &w->sites[argument % w->site_count];
    struct replicas *replicas = replicas_new();
    struct shard_config config = {.replicas = replicas, .log_bytes_max = 10000};
    struct shard *shards[SHARDS];
    struct replay source = {shards, SHARDS, replicas};
    struct segment_image image = {.shard = argument / 2 % SHARDS};
    uint64_t upto[SHARDS] = {some_number(in), some_number(in)}, number = some_number(in), after = 0;
    struct segment_head head = {.writer = n->id, .number = number, .made_ms = w->clock.wall_ms, .shard_count = argument > 230 ? 1 : SHARDS, .upto = upto, .images = &image};
    struct buf message = {0}, body = {0}, text = {0}, bytes = {0};
    char key[LAYOUT_KEY_BYTES];
    struct replay_deltas deltas;
    CHECK(replicas_intern(replicas, (struct replica_id){n->id.node, n->id.incarnation + argument / 64}, &config.self) == STATUS_OK);
    for (uint32_t i = 0; i < SHARDS; i++) {
        shards[i] = shard_new(i, &config);
        shard_hold(shards[i], HOLDER_STORE, 0);
    }
    for (unsigned i = 0; i < 1 + argument / 4 % 8u; i++) write_one(w, shards[image.shard], input_byte(in));
    if (argument & 4) {
        head.image_count = 1;
        replay_write_image(&source, image.shard, &message, &image.applied);
    } else {
        replay_deltas_begin(&deltas, &source);
        (void)replay_deltas_add(&deltas, &source, image.shard, HOLDER_STORE, &after); /* a log that was cut gives none */
        replay_deltas_end(&deltas, &message);
    }
    object_record_write(&body, argument & 4 ? OBJECT_IMAGE : OBJECT_DELTAS, buf_bytes(&message));
    segment_head_write(&head, replicas, &text);
    layout_segment_key(key, n->id, number);
    object_write(OBJECT_SEGMENT, NONCE, buf_bytes(&text), buf_bytes(&body), &w->keys, &bytes);
    put(w, bytes_str(key), &bytes);
    vclock_fini(&image.applied);
    for (uint32_t i = 0; i < SHARDS; i++) shard_free(shards[i]);
    replicas_free(replicas);
    buf_fini(&message);
    buf_fini(&body);
    buf_fini(&text);
}

/* -------------------------------------------------------------------- steps */

static void fail(struct world *w, uint8_t argument, bool lie, struct input *in) {
    static const enum store_result lies[] = {STORE_MISSING, STORE_EXISTS, STORE_REFUSED, STORE_UNCONDITIONAL, STORE_TOO_LARGE, STORE_MALFORMED, STORE_DONE};
    w->bucket.fails = argument % 16;
    w->bucket.failure = lie ? lies[input_byte(in) % (sizeof lies / sizeof *lies)] : STORE_TRANSIENT;
    w->bucket.carried_out = argument & 16;
}

static void step(struct world *w, struct input *in) {
    enum what what = (enum what)input_below(in, WHATS);
    uint8_t argument = input_byte(in);
    struct site *n = &w->sites[argument % w->site_count];
    w->touched = w->touched || what >= TOUCHED;
    switch (what) {
    case WRITE:
    case WRITE_MORE: write_some(w, n, argument, what == WRITE ? 1 : 30); break;
    case RUN: run(w, n, argument * (SECOND / 50)); break;
    case SAVE:
        archive_save(n->archive);
        run(w, n, SECOND / 2);
        break;
    case RESTART: restart(w, n, argument & 2 ? n->place : argument & 4 ? "elsewhere" : "here"); break;
    case LEAP:
        w->clock.mono_us += argument * 60 * SECOND;
        run(w, n, SECOND / 10);
        break;
    case FAIL:
    case LIE: fail(w, argument, what == LIE, in); break;
    case FORGE: forge(w, argument, in); break;
    case FORGE_MANIFEST: forge_manifest(w, argument, in); break;
    case FORGE_SEGMENT: forge_segment(w, argument, in); break;
    default: touch(w, what, argument, in); break;
    }
}

static void open_world(struct world *w, uint8_t flags) {
    struct buf error = {0};
    *w = (struct world){.site_count = flags & BOTH ? 2 : 1, .unconditional = flags & SURE};
    w->clock.mono_us = SECOND;
    w->clock.wall_ms = 1700000001000;
    static const char secret[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    if (flags & SEALED) CHECK(keyring_parse(&w->keys, KEYRING_OBJECTS, bytes_str(secret), &error) == STATUS_OK);
    keyring_cluster(&w->keys, bytes_str("fuzz"), SHARDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    static struct world w;
    uint8_t flags = input_byte(&in);
    open_world(&w, flags);
    if (flags & SINGLE) {
        read_single(&w, flags, input_bytes(&in, in.left));
        return 0;
    }
    watch_memory();
    for (unsigned i = 0; i < w.site_count; i++) start(&w, &w.sites[i], i + 1, "here");
    for (unsigned i = 0; i < w.site_count; i++) CHECK(reaches(&w, &w.sites[i], ARCHIVE_STREAMING));
    for (int i = 0; i < STEPS_MAX && in.left; i++) step(&w, &in);
    check_end(&w);
    check_memory(BUCKET_BYTES_MAX / 64 + w.bucket.bytes + size);
    for (unsigned i = 0; i < w.site_count; i++) stop(&w.sites[i]);
    bucket_fini(&w.bucket);
    return 0;
}

/* -------------------------------------------------------------------- seeds */

/* Each object that a short life leaves in the store, as it is, and what is in it. */
static void single_seeds(uint8_t flags) {
    static struct world w;
    open_world(&w, flags);
    start(&w, &w.sites[0], 1, "here");
    CHECK(reaches(&w, &w.sites[0], ARCHIVE_STREAMING));
    write_some(&w, &w.sites[0], 3, 40);
    run(&w, &w.sites[0], SECOND);
    archive_save(w.sites[0].archive);
    run(&w, &w.sites[0], SECOND);
    for (size_t i = 0; i < w.bucket.count; i++) {
        struct buf seed = {0};
        struct object object;
        buf_put_byte(&seed, (uint8_t)(flags | SINGLE | SURE));
        buf_put_bytes(&seed, buf_bytes(&w.bucket.objects[i].bytes));
        fuzz_seed(buf_bytes(&seed));
        seed.len = 1;
        CHECK(object_read(buf_bytes(&w.bucket.objects[i].bytes), &w.keys, &object, &seed) == STATUS_OK);
        fuzz_seed(buf_bytes(&seed));
        seed.len = 1;
        buf_put_bytes(&seed, object.head.len ? object.head : buf_bytes(&w.bucket.objects[i].key));
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
    stop(&w.sites[0]);
    bucket_fini(&w.bucket);
}

void fuzz_seeds(void) {
    for (uint8_t what = 0; what < WHATS; what++)
        for (uint8_t flags = 0; flags < 16; flags = (uint8_t)(flags + (what < TOUCHED ? 5 : 7))) {
            struct buf seed = {0};
            if (flags & SINGLE) continue;
            buf_put_byte(&seed, flags);
            for (uint8_t k = 0; k < 8; k++) {
                buf_put(&seed, (uint8_t[]){k % 3 ? WRITE : WRITE_MORE, (uint8_t)(k * 11 + what), RUN, (uint8_t)(k * 20)}, 4);
                if (k % 3 == 2) buf_put(&seed, (uint8_t[]){SAVE, k}, 2);
                if (k % 2) buf_put(&seed, (uint8_t[]){what, (uint8_t)(k * 7)}, 2);
                if (k % 2 && what >= TOUCHED) buf_put(&seed, (uint8_t[]){k, 1, 4, 2, 9, k, 3, 2, 1, 5}, 10);
                if (k % 4 == 3) buf_put(&seed, (uint8_t[]){RESTART, k}, 2);
            }
            fuzz_seed(buf_bytes(&seed));
            buf_fini(&seed);
        }
    single_seeds(0);
    single_seeds(SEALED);
}
