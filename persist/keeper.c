/* Locks, outermost first: gather, shard, journal's own. `gather` orders the logging of own
 * mutations, so that each is in the log once its range says so. */
#include "persist/keeper.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/mutant.h"
#include "core/order.h"
#include "persist/journal.h"
#include "persist/keeper_files.h"
#include "persist/replay.h"

#define SYNC_US 1000000
#define RETRY_US 1000000
#define STEP_US 100000
#define NUMBER_DIGITS 20
#define NUMBERS ((uint64_t)INT64_MAX) /* nobody has counted to there: a file so named is not ours, and none of ours would come after it */
#define BATCH_BYTES (32u << 20) /* of images that are read at one time */
#define COPY_BYTES (1u << 20) /* of damage at a time */
#define SYNC_BYTES (4u << 20) /* of a checkpoint at a time, lest one long sync holds up the log's */

struct keeper {
    struct keeper_config config;
    struct replay shards;
    struct journal *log;
    uint64_t next_number; /* of the next file */
    _Atomic uint64_t found_bytes; /* of the logs that processes before have left: they count with ours until a checkpoint begins */
    struct buf header;

    pthread_mutex_t gather;
    _Atomic uint64_t *dirty, *changed, *arriving; /* bits */
    atomic_bool any_dirty, any_changed, any_arriving, gathering;
    uint64_t *logged; /* own mutations up to here; with gather */

    atomic_int sync, failure;
    _Atomic uint64_t rewrite_percent, rewrite_bytes_min;
    int64_t sync_at_us, retry_at_us;

    /* The checkpoint under way; of the thread that steps. */
    struct journal *image;
    uint64_t image_number;
    uint32_t image_shard;
    uint64_t image_synced; /* bytes */
    bool healing;

    pthread_mutex_t lock; /* of what is below */
    bool wanted;
    struct buf members;
    struct keeper_status status;
};

static void note(struct keeper *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct keeper *k, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (k->config.note) k->config.note(k->config.arg, text);
}

void keeper_file_name(char out[KEEPER_NAME_BYTES], const char *what, uint64_t number) {
    snprintf(out, KEEPER_NAME_BYTES, "%s.%0*" PRIu64, what, NUMBER_DIGITS, number);
}

struct keeper *keeper_new(const struct keeper_config *config) {
    struct keeper *k = mem_zero(1, sizeof *k);
    size_t words = (config->shard_count + 63) / 64;
    k->config = *config;
    if (!config->image_bytes_max) k->config.image_bytes_max = JOURNAL_PAYLOAD_BYTES_MAX;
    k->shards = (struct replay){config->shards, config->shard_count, config->replicas};
    k->log = journal_new(&config->disk);
    k->next_number = 1;
    buf_printf(&k->header, KEEPER_HEADER, KEEPER_FORMAT, config->cluster, config->shard_count);
    pthread_mutex_init(&k->gather, NULL);
    pthread_mutex_init(&k->lock, NULL);
    k->dirty = mem_zero(words, sizeof *k->dirty);
    k->changed = mem_zero(words, sizeof *k->changed);
    k->arriving = mem_zero(words, sizeof *k->arriving);
    k->logged = mem_zero(config->shard_count, sizeof *k->logged);
    atomic_store(&k->sync, (int)config->sync);
    keeper_set_rewrite(k, config->rewrite_percent, config->rewrite_bytes_min);
    k->status.logs = config->logs;
    return k;
}

void keeper_free(struct keeper *k) {
    journal_free(k->log);
    if (k->image) journal_free(k->image);
    buf_fini(&k->header);
    buf_fini(&k->members);
    mem_free((void *)k->dirty);
    mem_free((void *)k->changed);
    mem_free((void *)k->arriving);
    mem_free(k->logged);
    pthread_mutex_destroy(&k->gather);
    pthread_mutex_destroy(&k->lock);
    mem_free(k);
}

void keeper_set_sync(struct keeper *k, enum keeper_sync sync) { atomic_store(&k->sync, (int)sync); }
void keeper_set_rewrite(struct keeper *k, uint64_t percent, uint64_t bytes_min) {
    atomic_store(&k->rewrite_percent, percent);
    atomic_store(&k->rewrite_bytes_min, bytes_min);
}

/* What a sync has failed on, later processes still read, and can sync without an error, and yet it never reaches the
 * disk: they must not take it for kept. The word is for them; if the machine stops it may be lost, as what it is about. */
static void doubt_logs(struct keeper *k) {
    struct disk_port *disk = &k->config.disk;
    int file;
    if (disk->open(disk->self, KEEPER_DOUBT, &file) == STATUS_OK) disk->close(disk->self, file);
    else note(k, "%s could not be made for sure: do not start another process before this one has healed", KEEPER_DOUBT);
}

static void trust_logs(struct keeper *k) {
    if (k->config.disk.remove(k->config.disk.self, KEEPER_DOUBT) != STATUS_OK) {} /* another checkpoint, at the next start */
}

static void set_failure(struct keeper *k, enum status failure) {
    enum status before = (enum status)atomic_exchange(&k->failure, (int)failure);
    if (failure != STATUS_OK && before == STATUS_OK) {
        doubt_logs(k);
        note(k, "the log cannot be written (%s): writes are refused until it can", status_text(failure));
    }
    if (failure == STATUS_OK && before != STATUS_OK) note(k, "the log can be written again: writes are taken");
}

enum status keeper_failure(struct keeper *k) { return (enum status)atomic_load_explicit(&k->failure, memory_order_relaxed); }

/* ----------------------------------------------------------------- logging */

static void set_bit(_Atomic uint64_t *bits, atomic_bool *any, uint32_t at) {
    uint64_t bit = UINT64_C(1) << (at % 64);
    if (!(atomic_load_explicit(&bits[at / 64], memory_order_relaxed) & bit)) atomic_fetch_or(&bits[at / 64], bit);
    if (!atomic_load(any)) atomic_store(any, true);
}

static bool has_bit(_Atomic uint64_t *bits, uint32_t at) { return atomic_load(&bits[at / 64]) >> (at % 64) & 1; }

static bool take_bit(_Atomic uint64_t *bits, uint32_t at) {
    uint64_t bit = UINT64_C(1) << (at % 64);
    return has_bit(bits, at) && atomic_fetch_and(&bits[at / 64], ~bit) & bit;
}

void keeper_dirty(struct keeper *k, uint32_t shard) {
    if (k->config.logs) set_bit(k->dirty, &k->any_dirty, shard);
}

void keeper_changed(struct keeper *k, uint32_t shard) {
    if (k->config.logs) set_bit(k->changed, &k->any_changed, shard);
}

/* Clients decide how large a shard gets: ERR_TOO_LARGE, and nothing is added, if no record can hold it. */
static enum status write_image(struct keeper *k, struct journal *to, uint32_t index) {
    struct buf image = {0};
    enum status status = STATUS_OK;
    replay_write_image(&k->shards, index, &image, NULL);
    if (image.len <= k->config.image_bytes_max) {
        journal_add(to, RECORD_IMAGE, buf_bytes(&image));
    } else {
        note(k, "the %zu bytes of shard %u do not fit into a record: remove some, or spread them over more keys and {tags}", image.len, index);
        status = STATUS_ERR_TOO_LARGE;
    }
    buf_fini(&image);
    return status;
}

/* What the log cannot be told is not acknowledged. */
static void log_image(struct keeper *k, uint32_t index) {
    enum status status = write_image(k, k->log, index);
    if (status != STATUS_OK) set_failure(k, status);
}

/* What no record tells of yet. */
static bool came_upon(struct keeper *k, uint32_t index) {
    bool arriving = has_bit(k->arriving, index) && !MUTANT(arriving_unlogged), changed = !MUTANT(came_upon_unlogged) && take_bit(k->changed, index);
    return arriving || changed;
}

/* Own mutations that are not logged yet, and what they came upon, if no record tells of it: what it had replaced is not named by
 * a DEL of it, and would be back. Where a second may be lost, that can wait for the second. Who comes while another is at it
 * waits for that one, lest it takes for logged what is only about to be. */
static void gather(struct keeper *k) {
    if (!atomic_load(&k->any_dirty) && !atomic_load(&k->gathering)) return;
    pthread_mutex_lock(&k->gather);
    atomic_store(&k->gathering, true);
    if (atomic_exchange(&k->any_dirty, false)) {
        struct replay_deltas deltas;
        struct buf message = {0};
        bool always = atomic_load(&k->sync) == SYNC_ALWAYS;
        replay_deltas_begin(&deltas, &k->shards);
        for (uint32_t at = 0; at < k->config.shard_count; at += 64)
            for (uint64_t bits = atomic_exchange(&k->dirty[at / 64], 0); bits; bits &= bits - 1) {
                uint32_t index = at + (uint32_t)__builtin_ctzll(bits);
                bool changed = always && came_upon(k, index);
                bool reached = replay_deltas_add(&deltas, &k->shards, index, HOLDER_DISK, &k->logged[index]);
                if ((!reached && !MUTANT(gap_unlogged)) || changed) log_image(k, index);
            }
        if (replay_deltas_end(&deltas, &message)) journal_add(k->log, RECORD_DELTAS, buf_bytes(&message));
        buf_fini(&message);
    }
    atomic_store(&k->gathering, false);
    pthread_mutex_unlock(&k->gather);
}

static enum status commit(struct keeper *k, bool sync) {
    gather(k);
    if (MUTANT(commit_unwritten)) return STATUS_OK;
    enum status status = sync ? journal_sync(k->log) : journal_write(k->log);
    if (status == STATUS_OK) status = keeper_failure(k);
    if (status != STATUS_OK) {
        set_failure(k, status);
        pthread_mutex_lock(&k->lock);
        k->status.commits_failed++;
        pthread_mutex_unlock(&k->lock);
    }
    return status;
}

enum status keeper_commit(struct keeper *k) {
    return k->config.logs ? commit(k, atomic_load(&k->sync) == SYNC_ALWAYS) : STATUS_OK;
}

void keeper_flush(struct keeper *k) {
    if (!k->config.logs || keeper_failure(k) != STATUS_OK) return;
    enum status status = commit(k, false);
    (void)status; /* it is keeper_failure's now */
}

enum status keeper_sync(struct keeper *k) { return k->config.logs ? commit(k, true) : STATUS_ERR_NOT_FOUND; }

void keeper_arriving(struct keeper *k, uint32_t shard) {
    if (k->config.logs && atomic_load_explicit(&k->sync, memory_order_relaxed) == SYNC_ALWAYS) set_bit(k->arriving, &k->any_arriving, shard);
}

void keeper_deltas(struct keeper *k, struct bytes message) {
    if (k->config.logs && !MUTANT(remote_unlogged)) journal_add(k->log, RECORD_DELTAS, message);
    if (!atomic_exchange(&k->any_arriving, false)) return;
    for (uint32_t at = 0; at < k->config.shard_count; at += 64) atomic_store(&k->arriving[at / 64], 0);
}

void keeper_reset_begin(struct keeper *k) {
    if (k->config.logs && !MUTANT(reset_unheld)) pthread_mutex_lock(&k->gather);
}

void keeper_reset(struct keeper *k) {
    if (!k->config.logs) return;
    for (uint32_t s = 0; s < k->config.shard_count; s++) k->logged[s] = 0;
    journal_add(k->log, RECORD_RESET, (struct bytes){0});
    if (!MUTANT(reset_unheld)) pthread_mutex_unlock(&k->gather);
    if (commit(k, true) != STATUS_OK) {} /* it says so, and what heals it is a checkpoint */
}

static void add_members(struct keeper *k, struct journal *to) {
    pthread_mutex_lock(&k->lock);
    if (k->members.len) journal_add(to, RECORD_MEMBERS, buf_bytes(&k->members));
    pthread_mutex_unlock(&k->lock);
}

static void set_members(struct keeper *k, struct bytes table) {
    pthread_mutex_lock(&k->lock);
    k->members.len = 0;
    buf_put_bytes(&k->members, table);
    pthread_mutex_unlock(&k->lock);
}

void keeper_members(struct keeper *k, struct bytes table) {
    if (MUTANT(members_unkept)) return;
    set_members(k, table);
    if (!k->config.logs) return;
    add_members(k, k->log);
    if (commit(k, true) != STATUS_OK) {}
}

struct bytes keeper_members_found(const struct keeper *k) { return buf_bytes(&k->members); }

/* One at a time under the lock: who logs own mutations finds the bit, or the image in the log. */
static void log_changed(struct keeper *k) {
    if (!atomic_exchange(&k->any_changed, false)) return;
    for (uint32_t at = 0; at < k->config.shard_count; at++) {
        if (!has_bit(k->changed, at)) continue;
        pthread_mutex_lock(&k->gather);
        if (take_bit(k->changed, at)) log_image(k, at);
        pthread_mutex_unlock(&k->gather);
    }
}

enum status keeper_close(struct keeper *k) {
    if (!k->config.logs) return STATUS_OK;
    log_changed(k);
    return commit(k, true);
}

/* -------------------------------------------------------------- checkpoints */

/* `lose`: what the old one lacks is known to be missing, see journal_start. Nothing in the new one is acknowledged then: if it
 * fails as well it goes, or a disk that is full for a day would have a file for each second of it. */
static enum status start_log(struct keeper *k, bool lose) {
    struct disk_port *disk = &k->config.disk;
    char name[KEEPER_NAME_BYTES];
    keeper_file_name(name, KEEPER_LOG, k->next_number++);
    enum status status = journal_start(k->log, name, lose);
    if (status == STATUS_OK) {
        journal_add(k->log, RECORD_HEADER, buf_bytes(&k->header));
        add_members(k, k->log); /* each log begins with them, so the last log has the last ones */
        status = journal_sync(k->log);
    }
    if (status != STATUS_OK && lose && disk->remove(disk->self, name) != STATUS_OK) {} /* the next checkpoint does */
    return status;
}

struct covered {
    struct keeper *k;
    struct buf names; /* each with its 0 */
};

uint64_t keeper_file_number(const char *name, const char *what) {
    size_t len = strlen(what);
    if (strncmp(name, what, len) != 0 || name[len] != '.' || strspn(name + len + 1, "0123456789") != NUMBER_DIGITS) return 0;
    uint64_t number = name[len + 1 + NUMBER_DIGITS] ? 0 : strtoull(name + len + 1, NULL, 10);
    return number < NUMBERS ? number : 0;
}

static void note_covered(void *arg, const char *name, uint64_t size) {
    struct covered *c = arg;
    (void)size;
    uint64_t log = keeper_file_number(name, KEEPER_LOG), checkpoint = keeper_file_number(name, KEEPER_CHECKPOINT);
    if ((log && log < c->k->image_number) || (checkpoint && checkpoint < c->k->image_number))
        buf_put(&c->names, name, strlen(name) + 1);
}

/* What stays is removed by the next checkpoint. */
static void remove_all(struct keeper *k, const struct buf *names) {
    struct disk_port *disk = &k->config.disk;
    for (size_t at = 0; at < names->len; at += strlen((char *)names->data + at) + 1)
        if (disk->remove(disk->self, (char *)names->data + at) != STATUS_OK) return;
}

static void remove_covered(struct keeper *k) {
    struct covered c = {.k = k};
    if (k->config.disk.list(k->config.disk.self, note_covered, &c) == STATUS_OK) remove_all(k, &c.names);
    buf_fini(&c.names);
}

static void end_checkpoint(struct keeper *k, enum status status, int64_t now_ms) {
    uint64_t bytes = journal_bytes(k->image);
    journal_free(k->image);
    k->image = NULL;
    if (status != STATUS_OK) {
        note(k, "the checkpoint failed: %s", status_text(status));
        if (k->config.disk.remove(k->config.disk.self, KEEPER_CHECKPOINT_TMP) != STATUS_OK) {} /* the next one writes over it */
    }
    pthread_mutex_lock(&k->lock);
    k->status.saving = false;
    k->status.saves++;
    k->status.last_save = status;
    if (status == STATUS_OK) {
        k->status.saved_at_ms = now_ms;
        k->status.checkpoint_bytes = bytes;
    }
    pthread_mutex_unlock(&k->lock);
    if (status == STATUS_OK && k->healing && journal_status(k->log) == STATUS_OK) {
        trust_logs(k);
        set_failure(k, STATUS_OK);
    }
    k->healing = false;
}

static void begin_checkpoint(struct keeper *k, int64_t now_ms) {
    struct disk_port *disk = &k->config.disk;
    pthread_mutex_lock(&k->lock);
    k->wanted = false;
    k->status.saving = true;
    pthread_mutex_unlock(&k->lock);
    k->healing = k->config.logs && keeper_failure(k) != STATUS_OK;
    k->image_shard = 0;
    k->image_synced = 0;
    /* What was applied before the new log began is in the images, which are taken later. That of a try that failed will do. */
    bool begun = k->healing && journal_status(k->log) == STATUS_OK;
    enum status status = k->config.logs && !begun ? start_log(k, k->healing) : STATUS_OK, log = journal_status(k->log);
    if (!k->config.logs) k->next_number++;
    k->image_number = k->next_number - 1;
    if (status == STATUS_OK) atomic_store(&k->found_bytes, 0);
    if (log != STATUS_OK) set_failure(k, log);
    if (MUTANT(covered_early)) remove_covered(k);
    if (MUTANT(heal_early) && status == STATUS_OK) set_failure(k, STATUS_OK);
    if (status == STATUS_OK) status = disk->remove(disk->self, KEEPER_CHECKPOINT_TMP);
    k->image = journal_new(disk);
    if (status == STATUS_OK) status = journal_start(k->image, KEEPER_CHECKPOINT_TMP, false);
    journal_add(k->image, RECORD_HEADER, buf_bytes(&k->header));
    add_members(k, k->image);
    if (status != STATUS_OK) end_checkpoint(k, status, now_ms);
}

static void go_on_with_checkpoint(struct keeper *k, int64_t now_ms) {
    struct disk_port *disk = &k->config.disk;
    char name[KEEPER_NAME_BYTES];
    enum status status;
    if (k->image_shard < k->config.shard_count) {
        status = write_image(k, k->image, k->image_shard++);
        bool enough = journal_bytes(k->image) - k->image_synced >= SYNC_BYTES;
        if (enough) k->image_synced = journal_bytes(k->image);
        if (status == STATUS_OK) status = enough ? journal_sync(k->image) : journal_write(k->image);
        if (status != STATUS_OK) end_checkpoint(k, status, now_ms);
        return;
    }
    journal_add(k->image, RECORD_END, (struct bytes){0});
    status = journal_sync(k->image);
    keeper_file_name(name, KEEPER_CHECKPOINT, k->image_number);
    if (status == STATUS_OK) status = disk->rename(disk->self, KEEPER_CHECKPOINT_TMP, name);
    if (status == STATUS_OK) remove_covered(k);
    end_checkpoint(k, status, now_ms);
}

static uint64_t log_bytes(struct keeper *k) { return atomic_load(&k->found_bytes) + journal_bytes(k->log); }

static bool is_log_long(struct keeper *k) {
    uint64_t percent = atomic_load(&k->rewrite_percent), bytes = log_bytes(k);
    if (!k->config.logs || !percent || bytes < atomic_load(&k->rewrite_bytes_min)) return false;
    return bytes >= k->status.checkpoint_bytes / 100 * percent;
}

static bool wants_checkpoint(struct keeper *k, int64_t now_us) {
    pthread_mutex_lock(&k->lock);
    bool wanted = k->wanted, failing = keeper_failure(k) != STATUS_OK;
    bool failed = k->status.last_save != STATUS_OK;
    pthread_mutex_unlock(&k->lock);
    if (wanted) return true;
    if (!failing && !is_log_long(k)) return false;
    if ((failing || failed) && now_us < k->retry_at_us) return false;
    k->retry_at_us = now_us + RETRY_US;
    return true;
}

uint64_t keeper_save(struct keeper *k, bool after) {
    pthread_mutex_lock(&k->lock);
    bool busy = k->status.saving || k->wanted;
    uint64_t number = busy && !after ? 0 : k->status.saves + 1 + k->status.saving;
    if (number) k->wanted = true;
    pthread_mutex_unlock(&k->lock);
    return number;
}

int64_t keeper_step(struct keeper *k, struct now now) {
    if (k->config.logs && now.mono_us >= k->sync_at_us) {
        k->sync_at_us = now.mono_us + SYNC_US;
        log_changed(k);
        if (keeper_failure(k) == STATUS_OK && commit(k, atomic_load(&k->sync) != SYNC_NO) != STATUS_OK)
            k->retry_at_us = now.mono_us + RETRY_US;
    }
    if (k->image)
        go_on_with_checkpoint(k, now.wall_ms);
    else if (wants_checkpoint(k, now.mono_us))
        begin_checkpoint(k, now.wall_ms);
    return k->image ? 0 : STEP_US;
}

void keeper_status(struct keeper *k, struct keeper_status *out) {
    pthread_mutex_lock(&k->lock);
    *out = k->status;
    out->saving = out->saving || k->wanted;
    pthread_mutex_unlock(&k->lock);
    out->failure = keeper_failure(k);
    out->log_bytes = log_bytes(k);
}

/* ----------------------------------------------------------------- recovery */

struct recovering {
    struct keeper *k;
    struct keeper_recovery *report;
    struct buf *error;
    struct replay_sink sink;
    struct replay_counts counts;
    struct replay_batch batch;
    struct buf waiting; /* the images of the batch: payloads live during their visit only */
    uint64_t *logs, *checkpoints, *damages; /* numbers; of damages 0 for what was put aside anew */
    size_t log_count, checkpoint_count, damage_count;
    char name[KEEPER_NAME_BYTES]; /* of the file at hand */
    uint64_t number;              /* as well */
    uint64_t covering; /* the last checkpoint that has anything in it */
    bool covered; /* the file at hand, by that one */
    struct buf empty; /* names of logs to be removed once there is a new one, each with its 0 */
    bool useful;  /* it has more than what every log begins with */
    bool ended;   /* as every checkpoint does: it has its name only then */
    bool doubted; /* logs, by a process before */
    enum status status;
};

static void take_reset(struct keeper *k) {
    for (uint32_t s = 0; s < k->config.shard_count; s++) {
        shard_lock(k->config.shards[s]);
        shard_reset(k->config.shards[s], shard_self(k->config.shards[s]));
        shard_unlock(k->config.shards[s]);
    }
}

static bool take_header(struct recovering *r, struct bytes payload) {
    if (bytes_equal(payload, buf_bytes(&r->k->header))) return true;
    buf_printf(r->error, "the files here are of \"%.*s\", this is \"%.*s\"", (int)(payload.len ? payload.len - 1 : 0),
               (const char *)payload.data, (int)r->k->header.len - 1, (const char *)r->k->header.data);
    r->status = STATUS_ERR_CLUSTER;
    return false;
}

static void read_waiting(struct recovering *r) {
    if (r->batch.count) replay_batch_read(&r->batch, &r->sink, r->k->config.threads);
    r->waiting.len = 0;
}

/* Several threads read some at a time; whatever else comes finds those before it read. */
static void take_image(struct recovering *r, struct bytes payload) {
    if (r->waiting.len + payload.len > BATCH_BYTES) read_waiting(r);
    if (r->k->config.threads < 2 || payload.len > BATCH_BYTES) {
        replay_read_image(&r->sink, payload);
        return;
    }
    if (!r->waiting.cap) buf_reserve(&r->waiting, BATCH_BYTES); /* from now on it does not move */
    size_t at = r->waiting.len;
    buf_put_bytes(&r->waiting, payload);
    replay_batch_add(&r->batch, bytes_of(r->waiting.data + at, payload.len));
}

static bool take_record(void *arg, uint16_t kind, struct bytes payload) {
    struct recovering *r = arg;
    if (kind != RECORD_IMAGE) read_waiting(r);
    r->useful = r->useful || (kind != RECORD_HEADER && kind != RECORD_MEMBERS);
    switch (kind) {
    case RECORD_HEADER: return take_header(r, payload);
    case RECORD_IMAGE: take_image(r, payload); break;
    case RECORD_DELTAS: replay_read_deltas(&r->sink, payload); break;
    case RECORD_RESET: /* a checkpoint that covers this log came after it */
        if (!r->covered) take_reset(r->k);
        break;
    case RECORD_MEMBERS: set_members(r->k, payload); break;
    case RECORD_END: r->ended = true; break;
    default: r->counts.malformed++;
    }
    return true;
}

/* Nothing but the header is looked at. */
static bool look_at_header(void *arg, uint16_t kind, struct bytes payload) {
    struct recovering *r = arg;
    if (kind == RECORD_HEADER) take_header(r, payload);
    return false;
}

/* Of any length, little by little. */
static enum status copy_part(struct disk_port *disk, int from, uint64_t at, uint64_t len, int to) {
    struct buf part = {0};
    enum status status = STATUS_OK;
    while (len && status == STATUS_OK) {
        part.len = 0;
        status = disk->read(disk->self, from, at, len < COPY_BYTES ? (size_t)len : COPY_BYTES, &part);
        if (status == STATUS_OK && !part.len) status = STATUS_ERR_IO; /* somebody else cuts it */
        if (status == STATUS_OK) status = disk->append(disk->self, to, buf_bytes(&part));
        at += part.len;
        len -= part.len;
    }
    buf_fini(&part);
    return status;
}

/* What a start before has put aside of the same file is still in that: it takes its own place. */
static enum status put_aside(struct recovering *r, uint64_t at, uint64_t len, const char *name) {
    struct disk_port *disk = &r->k->config.disk;
    int from, to;
    enum status status = disk->open(disk->self, r->name, &from);
    if (status != STATUS_OK) return status;
    status = disk->open(disk->self, name, &to);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < r->damage_count && status == STATUS_OK; i++) {
            if (r->damages[i] != r->number) continue;
            r->damages[i] = 0;
            status = disk->cut(disk->self, to, 0);
        }
        if (status == STATUS_OK) status = copy_part(disk, from, at, len, to);
        if (status == STATUS_OK) status = disk->sync(disk->self, to);
        disk->close(disk->self, to);
    }
    disk->close(disk->self, from);
    return status;
}

static void keep_damage(void *arg, uint64_t at, uint64_t len) {
    struct recovering *r = arg;
    char name[KEEPER_NAME_BYTES];
    keeper_file_name(name, KEEPER_DAMAGE, r->number);
    enum status status = put_aside(r, at, len, name);
    if (status == STATUS_OK) note(r->k, "%" PRIu64 " damaged bytes of %s were left out; they are in %s", len, r->name, name);
    else note(r->k, "%" PRIu64 " damaged bytes of %s were left out, and could not be put aside: %s", len, r->name, status_text(status));
}

static void add_number(uint64_t **numbers, size_t *count, uint64_t number) {
    *numbers = mem_realloc(*numbers, (*count + 1) * sizeof **numbers);
    (*numbers)[(*count)++] = number;
}

static void note_file(void *arg, const char *name, uint64_t size) {
    struct recovering *r = arg;
    uint64_t log = keeper_file_number(name, KEEPER_LOG), checkpoint = keeper_file_number(name, KEEPER_CHECKPOINT), damage = keeper_file_number(name, KEEPER_DAMAGE);
    uint64_t greatest = log > checkpoint ? log : checkpoint;
    if (strcmp(name, KEEPER_DOUBT) == 0) r->doubted = true;
    if (log) add_number(&r->logs, &r->log_count, log);
    if (log) r->k->found_bytes += size;
    if (checkpoint) add_number(&r->checkpoints, &r->checkpoint_count, checkpoint);
    if (damage) add_number(&r->damages, &r->damage_count, damage);
    if (checkpoint) r->k->status.checkpoint_bytes = size;
    if (damage > greatest) greatest = damage;
    if (greatest >= r->k->next_number) r->k->next_number = greatest + 1;
}

/* Whoever may not read it, or cannot now, is not to take it for damage: the next checkpoint would cover it, and remove it. */
static void refuse_unread(struct recovering *r, enum status status) {
    buf_printf(r->error, "cannot read %s: %s; make it readable (a copy by dd conv=noerror,sync has what the disk still gives), or move it away to "
               "start without what it holds", r->name, status_text(status));
    r->status = status;
}

static void read_file(struct recovering *r, const char *what, uint64_t number, bool (*visit)(void *, uint16_t, struct bytes)) {
    struct journal_report report = {0};
    bool all = visit == take_record, is_checkpoint = strcmp(what, KEEPER_CHECKPOINT) == 0;
    keeper_file_name(r->name, what, number);
    r->number = number;
    r->useful = r->ended = false;
    r->covered = number < r->covering;
    enum status status = journal_read(&r->k->config.disk, r->name, visit, all ? keep_damage : NULL, r, &report);
    read_waiting(r);
    if (status != STATUS_OK && r->status == STATUS_OK) refuse_unread(r, status);
    if (!all || r->status != STATUS_OK) return;
    bool cut = is_checkpoint && !r->ended;
    if (cut) note(r->k, "%s ends early: what is missing of it is lost, unless peers have it", r->name);
    if (r->useful && is_checkpoint) r->covering = number;
    ++*(is_checkpoint ? &r->report->checkpoints : &r->report->logs);
    r->report->damaged += report.damaged + cut;
    r->report->damaged_bytes += report.damaged_bytes;
    *(cut ? &r->report->damaged_bytes : &r->report->torn_bytes) += report.torn_bytes;
    /* Many starts that wrote nothing shall not leave many files. */
    if (!r->useful && !report.damaged && !report.torn_bytes) buf_put(&r->empty, r->name, strlen(r->name) + 1);
}

static void read_files(struct recovering *r, const char *what, const uint64_t *numbers, size_t count, bool (*visit)(void *, uint16_t, struct bytes)) {
    for (size_t i = 0; i < count && r->status == STATUS_OK; i++) read_file(r, what, numbers[i], visit);
}

/* Each by their numbers; whose they are is known of all of them before any is taken. */
static void read_directory(struct recovering *r) {
    if (r->checkpoint_count) qsort(r->checkpoints, r->checkpoint_count, sizeof *r->checkpoints, order_u64);
    if (r->log_count) qsort(r->logs, r->log_count, sizeof *r->logs, order_u64);
    read_files(r, KEEPER_CHECKPOINT, r->checkpoints, r->checkpoint_count, look_at_header);
    read_files(r, KEEPER_LOG, r->logs, r->log_count, look_at_header);
    read_files(r, KEEPER_CHECKPOINT, r->checkpoints, r->checkpoint_count, take_record);
    read_files(r, KEEPER_LOG, r->logs, r->log_count, take_record);
}

/* What a killed process had written and not synced is taken for kept from here on, unless it is in doubt. */
static enum status sync_logs(struct recovering *r) {
    struct disk_port *disk = &r->k->config.disk;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < r->log_count && status == STATUS_OK && !MUTANT(recovered_unsynced); i++) {
        char name[KEEPER_NAME_BYTES];
        int file;
        keeper_file_name(name, KEEPER_LOG, r->logs[i]);
        status = disk->open(disk->self, name, &file);
        if (status != STATUS_OK) break;
        status = disk->sync(disk->self, file);
        disk->close(disk->self, file);
    }
    if (status != STATUS_OK) {
        doubt_logs(r->k);
        buf_printf(r->error, "cannot sync a log: %s", status_text(status));
    }
    return status;
}

static void hold_logs(struct keeper *k) {
    for (uint32_t s = 0; s < k->config.shard_count; s++) {
        shard_lock(k->config.shards[s]);
        shard_hold(k->config.shards[s], HOLDER_DISK, 0);
        shard_unlock(k->config.shards[s]);
    }
}

enum status keeper_recover(struct keeper *k, int64_t now_ms, struct keeper_recovery *out, struct buf *error) {
    struct disk_port *disk = &k->config.disk;
    struct recovering r = {.k = k, .report = out, .error = error};
    r.sink = (struct replay_sink){.to = k->shards, .now_ms = now_ms, .counts = &r.counts};
    *out = (struct keeper_recovery){0};
    r.status = disk->list(disk->self, note_file, &r);
    if (r.status != STATUS_OK) buf_put_str(error, "cannot list the directory");
    read_directory(&r);
    if (r.status == STATUS_OK) r.status = sync_logs(&r);
    buf_fini(&r.waiting);
    mem_free(r.logs);
    mem_free(r.checkpoints);
    mem_free(r.damages);
    out->images = r.counts.images;
    out->messages = r.counts.messages;
    out->gaps = r.counts.gaps;
    out->malformed = r.counts.malformed;
    k->status.recovery = *out;
    if (r.status == STATUS_OK && k->config.logs) {
        hold_logs(k);
        r.status = start_log(k, false);
        if (r.status != STATUS_OK) buf_printf(error, "cannot begin a log: %s", status_text(r.status));
        else remove_all(k, &r.empty);
        if (r.doubted) {
            note(k, "a process before could not write its log: writes are refused until there is a checkpoint");
            atomic_store(&k->failure, STATUS_ERR_IO);
        }
    }
    buf_fini(&r.empty);
    return r.status;
}
