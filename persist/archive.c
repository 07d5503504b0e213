#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "persist/archive_state.h"

#define NOTE_US INT64_C(10000000) /* between two words on failures */
#define STEP_US INT64_C(1000000)

/* ------------------------------------------------------------------- words */

const char *archive_phase_text(enum archive_phase phase) {
    static const char *const texts[] = {
#define X(symbol, text) text,
        ARCHIVE_PHASES(X)
#undef X
    };
    assert(phase <= ARCHIVE_STOPPED);
    return texts[phase];
}

enum archive_phase archive_phase(struct archive *a) { return (enum archive_phase)atomic_load(&a->phase); }

static void say(struct archive *a, const char *format, va_list args) {
    char text[STORE_WHY_BYTES + 128];
    vsnprintf(text, sizeof text, format, args);
    pthread_mutex_lock(&a->lock);
    memcpy(a->status.why, text, sizeof text);
    pthread_mutex_unlock(&a->lock);
    if (a->config.note) a->config.note(a->config.arg, text);
}

/* One line in a while: a store that is away fails again and again. */
void archive_note(struct archive *a, const char *format, ...) {
    va_list args;
    if (a->noted_us && a->now.mono_us - a->noted_us < NOTE_US) return;
    a->noted_us = a->now.mono_us;
    va_start(args, format);
    say(a, format, args);
    va_end(args);
}

void archive_stop(struct archive *a, const char *format, ...) {
    va_list args;
    if (archive_phase(a) == ARCHIVE_STOPPED) return;
    va_start(args, format);
    say(a, format, args);
    va_end(args);
    atomic_store(&a->phase, ARCHIVE_STOPPED);
}

void archive_wants(struct archive *a, int64_t at_us) {
    if (at_us < a->due_us) a->due_us = at_us;
}

int64_t archive_random(struct archive *a, int64_t below) {
    return below > 0 ? (int64_t)(a->config.clock.entropy(a->config.clock.self) % (uint64_t)below) : 0;
}

struct vclock *archive_applied(struct archive *a) {
    struct vclock *applied = mem_zero(a->config.shard_count, sizeof *applied);
    for (uint32_t s = 0; s < a->config.shard_count; s++) {
        shard_lock(a->config.shards[s]);
        vclock_copy(&applied[s], shard_applied(a->config.shards[s]));
        shard_unlock(a->config.shards[s]);
    }
    return applied;
}

void archive_free_vectors(struct archive *a, struct vclock *vectors) {
    for (uint32_t s = 0; vectors && s < a->config.shard_count; s++) vclock_fini(&vectors[s]);
    mem_free(vectors);
}

bool archive_open(struct archive *a, const char *key, enum object_kind kind, struct bytes bytes, struct object *out, struct buf *plain) {
    enum status status = object_read(bytes, &a->config.keys, out, plain);
    if (status == STATUS_OK && out->kind != kind) status = STATUS_ERR_MALFORMED;
    if (status == STATUS_OK) return true;
    if (archive_phase(a) == ARCHIVE_STREAMING) { /* whoever put it there, it is no reason to end what works */
        archive_note(a, "%s cannot be read: %s", key, status_text(status));
        archive_count(a, read_damaged, 1);
    } else if (status == STATUS_ERR_CLUSTER) {
        archive_stop(a, "%s belongs to another cluster-name, or another number of shards", key);
    } else if (status == STATUS_ERR_KEY) {
        archive_stop(a, "%s is sealed, and no key in object-store-key-file opens it", key);
    } else if (status == STATUS_ERR_VERSION) {
        archive_stop(a, "%s was written by a newer version of anneal", key);
    } else {
        archive_note(a, "%s is damaged, and left out", key);
        archive_count(a, read_damaged, 1);
    }
    return false;
}

bool archive_read_head(struct archive *a, const char *key, const struct object *object, struct segment_head *out) {
    struct replica_id writer;
    uint64_t number;
    if (object->kind != OBJECT_SEGMENT || segment_head_read(object->head, a->config.replicas, out) != STATUS_OK) return false;
    if (out->shard_count == a->config.shard_count && layout_read_segment_key(bytes_str(key), &writer, &number) &&
        replica_id_compare(writer, out->writer) == 0 && number == out->number)
        return true;
    segment_head_fini(out);
    return false;
}

bool archive_read_manifest(struct archive *a, const char *key, struct bytes text, struct manifest *out) {
    uint64_t number;
    if (manifest_read(text, a->config.replicas, out) != STATUS_OK) return false;
    if (out->shard_count == a->config.shard_count && layout_read_manifest_key(bytes_str(key), &number) && number == out->number) return true;
    manifest_fini(out);
    return false;
}

bool archive_open_manifest(struct archive *a, const struct fetch *f, struct buf *text, struct manifest *out) {
    struct object object;
    text->len = 0;
    return f->request.result == STORE_DONE && archive_open(a, f->key, OBJECT_MANIFEST, buf_bytes(&f->request.data), &object, text) &&
           archive_read_manifest(a, f->key, buf_bytes(text), out);
}

/* -------------------------------------------------------------------- made */

struct archive *archive_new(const struct archive_config *config) {
    struct archive *a = mem_zero(1, sizeof *a);
    size_t words = (config->shard_count + 63) / 64;
    a->config = *config;
    a->shards = (struct replay){config->shards, config->shard_count, config->replicas};
    a->source = config->source.store.submit ? &a->config.source.store : &a->config.store;
    a->dirty = mem_zero(words, sizeof *a->dirty);
    a->stream.owed = mem_zero(words, sizeof *a->stream.owed);
    a->stream.flushed = mem_zero(config->shard_count, sizeof *a->stream.flushed);
    a->stream.sending = mem_zero(config->shard_count, sizeof *a->stream.sending);
    a->stream.stored = mem_zero(config->shard_count, sizeof *a->stream.stored);
    a->reader.stored = mem_zero(config->shard_count, sizeof *a->reader.stored);
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->stream.lock, NULL);
    replay_deltas_begin(&a->stream.pending, &a->shards);
    archive_set(a, &config->settings);
    if (replicas_intern(config->replicas, config->self, &a->self_index) != STATUS_OK) assert(false);
    for (uint32_t s = 0; s < config->shard_count; s++) {
        shard_lock(config->shards[s]);
        shard_hold(config->shards[s], HOLDER_STORE, 0);
        shard_unlock(config->shards[s]);
    }
    return a;
}

static void free_reader(struct archive *a) {
    struct reader *r = &a->reader;
    listing_fini(&r->manifests);
    listing_fini(&r->segments);
    fetch_fini(&r->fetch);
    sweep_fini(&r->sweep);
    manifest_fini(&r->manifest);
    buf_fini(&r->text);
    fetch_fini(&r->search.fetch);
    creation_fini(&r->creation);
    mem_free(r->upto);
    archive_free_vectors(a, r->had);
    archive_free_vectors(a, r->stored);
    mem_free(r->ends);
    *r = (struct reader){0};
}

void archive_free(struct archive *a) {
    free_reader(a);
    compact_fini(a);
    tail_fini(a);
    store_request_fini(&a->probe.request);
    listing_fini(&a->claim.listing);
    fetch_fini(&a->claim.fetch);
    creation_fini(&a->claim.creation);
    sweep_fini(&a->claim.old);
    creation_fini(&a->stream.creation);
    fetch_fini(&a->stream.fetch);
    wire_fini(&a->stream.pending.wire);
    buf_fini(&a->stream.body);
    pthread_mutex_destroy(&a->stream.lock);
    mem_free(a->stream.owed);
    mem_free(a->stream.flushed);
    mem_free(a->stream.sending);
    mem_free(a->stream.stored);
    mem_free((void *)a->dirty);
    buf_fini(&a->members);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
}

/* ------------------------------------------------------------- from outside */

void archive_dirty(struct archive *a, uint32_t shard) {
    uint64_t bit = UINT64_C(1) << (shard % 64);
    if (!(atomic_load_explicit(&a->dirty[shard / 64], memory_order_relaxed) & bit)) atomic_fetch_or(&a->dirty[shard / 64], bit);
    if (atomic_load(&a->any_dirty)) return;
    if (!atomic_load(&a->dirty_us)) atomic_store(&a->dirty_us, a->config.clock.now(a->config.clock.self).mono_us);
    atomic_store(&a->any_dirty, true);
}

void archive_members(struct archive *a, struct bytes table) {
    pthread_mutex_lock(&a->lock);
    a->members.len = 0;
    buf_put_bytes(&a->members, table);
    a->members_new = true;
    pthread_mutex_unlock(&a->lock);
}

void archive_reset(struct archive *a, struct replica_id self) {
    pthread_mutex_lock(&a->lock);
    a->next_self = self;
    for (uint32_t i = 0; i < a->tails.asked_count; i++) {
        struct asked *it = &a->tails.asked[i];
        if (!MUTANT(closed_still)) it->closed = it->by_others = false;
        it->segments = 0;
    }
    a->tails.stale = true;
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_lock(&a->stream.lock);
    atomic_store(&a->reset, true);
    memset(a->stream.flushed, 0, a->config.shard_count * sizeof *a->stream.flushed);
    memset(a->stream.owed, 0, (a->config.shard_count + 63) / 64 * sizeof *a->stream.owed);
    atomic_store(&a->stream.any_owed, false);
    wire_fini(&a->stream.pending.wire); /* what that was is void */
    replay_deltas_begin(&a->stream.pending, &a->shards);
    pthread_mutex_unlock(&a->stream.lock);
}

void archive_save(struct archive *a) { atomic_store(&a->save, true); }
void archive_flush(struct archive *a) { atomic_store(&a->flushing, true); }

void archive_set(struct archive *a, const struct archive_settings *settings) {
    atomic_store(&a->segment_us, settings->segment_us);
    atomic_store(&a->rewrite_percent, settings->rewrite_percent);
    atomic_store(&a->rewrite_bytes_min, settings->rewrite_bytes_min);
    atomic_store(&a->checkpoints, settings->checkpoints);
    atomic_store(&a->keep_ms, settings->keep_ms);
}

bool archive_is_flushed(struct archive *a) {
    enum archive_phase phase = archive_phase(a);
    return phase == ARCHIVE_STOPPED || (phase == ARCHIVE_STREAMING && stream_is_idle(a));
}

void archive_status(struct archive *a, int64_t now_us, struct archive_status *out) {
    int64_t dirty_us = atomic_load(&a->dirty_us), out_us = atomic_load(&a->out_us);
    pthread_mutex_lock(&a->lock);
    *out = a->status;
    pthread_mutex_unlock(&a->lock);
    out->phase = archive_phase(a);
    int64_t since_us = out_us ? out_us : dirty_us;
    bool waits = since_us || atomic_load(&a->any_dirty) || atomic_load(&a->stream.any_owed);
    if (waits) out->behind_us = since_us && now_us > since_us ? now_us - since_us : 1;
}

/* -------------------------------------------------------------------- steps */

static void become(struct archive *a) {
    if (!atomic_exchange(&a->reset, false)) return;
    pthread_mutex_lock(&a->lock);
    a->members_new = true;
    struct replica_id self = a->next_self;
    pthread_mutex_unlock(&a->lock);
    uint16_t index;
    if (replicas_intern(a->config.replicas, self, &index) != STATUS_OK) return;
    a->config.self = self;
    a->self_index = index;
    a->stream.number = a->stream.images_before = a->stream.bytes = 0;
    a->stream.closed = a->stream.ends = false;
    a->reader.is_void = true;
    a->compactor.was_stored = 0;
    a->stream.stale = a->stream.out;
    memset(a->stream.stored, 0, a->config.shard_count * sizeof *a->stream.stored);
    for (uint32_t s = 0; s < a->config.shard_count; s++) archive_dirty(a, s); /* what was written meanwhile was not found new */
}

static void poll(struct archive *a, const struct store *store) {
    struct store_request *request;
    while (store->submit && (request = store_poll(store))) {
        if (store_probe_owns(&a->probe, request)) store_probe_step(&a->probe);
        else fetch_answered(a, request->user);
        a->progress = true;
    }
}

static void enter(struct archive *a, enum archive_phase phase) {
    if (archive_phase(a) == ARCHIVE_STOPPED) return;
    atomic_store(&a->phase, (int)phase);
    a->progress = true;
}

static void begin_probe(struct archive *a) {
    char key[64];
    a->probing = true;
    snprintf(key, sizeof key, "probe/%016" PRIx64, a->config.clock.entropy(a->config.clock.self));
    if (store_probe_start(&a->probe, &a->config.store, key) != STATUS_OK) {
        a->probing = false;
        a->probe_at_us = a->now.mono_us + STEP_US;
    }
}

static void probe(struct archive *a) {
    if (a->config.unconditional) {
        enter(a, ARCHIVE_CLAIMING);
    } else if (!a->probing) {
        archive_wants(a, a->probe_at_us);
        if (a->now.mono_us >= a->probe_at_us) begin_probe(a);
    } else if (a->probe.finished) {
        a->probing = false;
        if (a->probe.result == STORE_DONE) {
            enter(a, ARCHIVE_CLAIMING);
        } else if (a->probe.result == STORE_UNCONDITIONAL) {
            archive_stop(a, "the object store cannot create an object only if there is none (If-None-Match): two nodes could overwrite each "
                            "other's manifests. If only one node will ever use it, say object-store-unconditional yes");
        } else {
            archive_count(a, failures, 1);
            archive_note(a, "the object store cannot be used yet: %s, %s", store_result_text(a->probe.result), a->probe.why);
            a->probe_at_us = a->now.mono_us + STEP_US;
        }
    }
}

static void read_back(struct archive *a) {
    bool over = read_step(a);
    uint64_t left = a->reader.sweep.items.count - a->reader.sweep.visited;
    pthread_mutex_lock(&a->lock);
    a->status.to_read = left;
    pthread_mutex_unlock(&a->lock);
    if (!over) return;
    free_reader(a);
    tail_begin(a);
    bool own_rest = atomic_load(&a->stream.any_owed) && a->source == &a->config.store;
    a->settled_us = a->now.mono_us + (own_rest && !MUTANT(void_passed_on) ? SETTLE_US : 0);
    enter(a, ARCHIVE_STREAMING);
}

static void show(struct archive *a) {
    pthread_mutex_lock(&a->lock);
    a->status.checkpointing = a->compactor.step >= COMPACT_PARTS && a->compactor.step <= COMPACT_NAMING;
    pthread_mutex_unlock(&a->lock);
}

int64_t archive_step(struct archive *a, struct now now) {
    a->now = now;
    a->due_us = now.mono_us + STEP_US;
    become(a);
    do {
        a->progress = false;
        poll(a, &a->config.store);
        if (a->source != &a->config.store) poll(a, a->source);
        switch (archive_phase(a)) {
        case ARCHIVE_PROBING: probe(a); break;
        case ARCHIVE_CLAIMING:
            if (claim_step(a)) enter(a, ARCHIVE_READING);
            break;
        case ARCHIVE_READING: read_back(a); break;
        case ARCHIVE_STREAMING:
            stream_step(a);
            tail_step(a);
            claim_watch(a);
            if (now.mono_us >= a->settled_us) compact_step(a);
            show(a);
            archive_wants(a, now.mono_us + atomic_load(&a->segment_us) / 2);
            break;
        case ARCHIVE_STOPPED: break;
        }
    } while (a->progress);
    return a->due_us > now.mono_us ? a->due_us - now.mono_us : 0;
}
