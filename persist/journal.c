#include "persist/journal.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>

#include "core/mem.h"
#include "core/mutant.h"
#include "persist/crc32c.h"

static const uint8_t MAGIC[4] = {'A', 'N', 'R', 'L'};

struct journal {
    struct disk_port disk;
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct buf added;    /* not yet handed to the file */
    uint64_t added_end, written_end, synced_end; /* positions in all that was ever added */
    uint64_t lost_from, lost_end; /* what was in between is lost */
    enum status lost_to;          /* by this */
    uint64_t bytes;      /* of the file, whole records */
    int file;
    bool open;
    bool writing, syncing; /* one thread is at it; both may be at once */
    enum status failed;
};

/* ---------------------------------------------------------------- records */

static void put_u32(uint8_t *at, uint32_t value) {
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}
static uint32_t get_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

/* Length and kind, then their check. */
static uint32_t kind_and_check(const uint8_t *length, uint16_t kind) {
    const uint8_t kind_bytes[2] = {(uint8_t)kind, (uint8_t)(kind >> 8)};
    uint32_t crc = crc32c(crc32c(0, bytes_of(length, 4)), bytes_of(kind_bytes, 2));
    return (uint32_t)kind | crc << 16;
}

static uint32_t record_crc(const uint8_t *header, struct bytes payload) {
    return crc32c(crc32c(0, bytes_of(header + 4, 8)), payload);
}

static void put_record(struct buf *out, uint16_t kind, struct bytes payload) {
    uint8_t header[JOURNAL_HEADER_BYTES];
    memcpy(header, MAGIC, sizeof MAGIC);
    put_u32(header + 4, (uint32_t)payload.len);
    put_u32(header + 8, kind_and_check(header + 4, kind));
    put_u32(header + 12, record_crc(header, payload));
    buf_put(out, header, sizeof header);
    buf_put_bytes(out, payload);
}

/* ---------------------------------------------------------------- writing */

struct journal *journal_new(const struct disk_port *disk) {
    struct journal *j = mem_zero(1, sizeof *j);
    j->disk = *disk;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->done, NULL);
    return j;
}

static void close_file(struct journal *j) {
    if (j->open) j->disk.close(j->disk.self, j->file);
    j->open = false;
}

void journal_free(struct journal *j) {
    close_file(j);
    buf_fini(&j->added);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->done);
    mem_free(j);
}

void journal_add(struct journal *j, uint16_t kind, struct bytes payload) {
    assert(payload.len <= JOURNAL_PAYLOAD_BYTES_MAX);
    pthread_mutex_lock(&j->lock);
    if (j->open && j->failed == STATUS_OK) {
        put_record(&j->added, kind, payload);
        j->added_end += JOURNAL_HEADER_BYTES + payload.len;
    }
    pthread_mutex_unlock(&j->lock);
}

/* With the lock, which is let go meanwhile. An append that failed is cut off again, so that the
 * file ends with a whole record; if even that fails, readers skip it as torn. */
static void write_added(struct journal *j) {
    struct buf taken = j->added;
    uint64_t end = j->added_end;
    j->added = (struct buf){0};
    j->writing = true;
    pthread_mutex_unlock(&j->lock);
    enum status status = j->disk.append(j->disk.self, j->file, buf_bytes(&taken));
    if (status != STATUS_OK && j->disk.cut(j->disk.self, j->file, j->bytes) != STATUS_OK) {}
    pthread_mutex_lock(&j->lock);
    j->writing = false;
    if (status == STATUS_OK) {
        j->written_end = end;
        j->bytes += taken.len;
    } else {
        j->failed = status;
    }
    if (!j->added.cap && taken.cap <= (1u << 20)) { /* keeps its memory */
        taken.len = 0;
        j->added = taken;
    } else {
        buf_fini(&taken);
    }
    pthread_cond_broadcast(&j->done);
}

/* The same. Others may write meanwhile: a slow sync holds up nobody who need not wait for it. */
static void sync_written(struct journal *j, int file) {
    uint64_t end = j->written_end;
    j->syncing = true;
    pthread_mutex_unlock(&j->lock);
    enum status status = j->disk.sync(j->disk.self, file);
    if (status != STATUS_OK && MUTANT(sync_retried)) status = j->disk.sync(j->disk.self, file);
    pthread_mutex_lock(&j->lock);
    j->syncing = false;
    if (status == STATUS_OK)
        j->synced_end = end;
    else
        j->failed = status;
    pthread_cond_broadcast(&j->done);
}

/* With the lock. One thread works, the others wait for it and look again. */
static enum status advance(struct journal *j, bool sync) {
    uint64_t goal = j->added_end;
    while ((sync ? j->synced_end : j->written_end) < goal && j->failed == STATUS_OK) {
        bool write = j->written_end < goal;
        if (write ? j->writing : j->syncing)
            pthread_cond_wait(&j->done, &j->lock);
        else if (write)
            write_added(j);
        else
            sync_written(j, j->file);
    }
    return goal > j->lost_from && goal <= j->lost_end ? j->lost_to : j->failed;
}

enum status journal_write(struct journal *j) {
    pthread_mutex_lock(&j->lock);
    enum status status = advance(j, false);
    pthread_mutex_unlock(&j->lock);
    return status;
}

enum status journal_sync(struct journal *j) {
    pthread_mutex_lock(&j->lock);
    enum status status = advance(j, true);
    pthread_mutex_unlock(&j->lock);
    return status;
}

/* With the lock: nobody will ever write or sync it. */
static void lose_unsynced(struct journal *j) {
    j->lost_from = j->synced_end;
    j->lost_end = j->added_end;
    j->lost_to = j->failed;
    j->added.len = 0;
    j->failed = STATUS_OK;
    pthread_cond_broadcast(&j->done);
}

enum status journal_start(struct journal *j, const char *name, bool lose) {
    int file, old;
    enum status status = j->disk.open(j->disk.self, name, &file);
    if (status != STATUS_OK) return status;
    if (j->open && journal_sync(j) != STATUS_OK) {} /* looked at below */
    pthread_mutex_lock(&j->lock);
    while (j->writing || j->syncing) pthread_cond_wait(&j->done, &j->lock);
    if (j->failed != STATUS_OK && !lose && !MUTANT(lost_unsaid)) {
        status = j->failed;
        pthread_mutex_unlock(&j->lock);
        j->disk.close(j->disk.self, file);
        return status;
    }
    bool had = j->open, failed = j->failed != STATUS_OK;
    old = j->file;
    if (failed) lose_unsynced(j);
    j->open = true;
    j->file = file;
    j->bytes = 0;
    j->written_end = j->added_end - j->added.len;
    if (!had || failed) j->synced_end = j->written_end;
    if (MUTANT(rest_unsynced)) j->synced_end = j->written_end;
    if (j->synced_end < j->written_end) sync_written(j, old); /* what others wrote to it after the last sync */
    status = j->failed;
    pthread_mutex_unlock(&j->lock);
    if (had) j->disk.close(j->disk.self, old);
    return status;
}

enum status journal_status(struct journal *j) {
    pthread_mutex_lock(&j->lock);
    enum status status = j->failed;
    pthread_mutex_unlock(&j->lock);
    return status;
}

uint64_t journal_bytes(struct journal *j) {
    pthread_mutex_lock(&j->lock);
    uint64_t bytes = j->bytes + j->added.len;
    pthread_mutex_unlock(&j->lock);
    return bytes;
}

/* ---------------------------------------------------------------- reading */

#define READ_BYTES (1u << 20)

/* A window over the file: `buf` holds it from `start` on. */
struct reader {
    const struct disk_port *disk;
    int file;
    struct buf window;
    uint64_t start;
    size_t at; /* in the window */
    bool ended;
    enum status status;
};

/* At least `len` bytes from `at` on, if the file has them. */
static bool fill(struct reader *r, size_t len) {
    if (r->at > READ_BYTES) {
        r->start += r->at;
        buf_drop_front(&r->window, r->at);
        r->at = 0;
    }
    while (r->window.len - r->at < len && !r->ended && r->status == STATUS_OK) {
        size_t before = r->window.len, want = len > READ_BYTES ? len : READ_BYTES;
        r->status = r->disk->read(r->disk->self, r->file, r->start + before, want, &r->window);
        r->ended = r->window.len - before < want;
    }
    return r->window.len - r->at >= len;
}

static bool is_record(struct reader *r, uint16_t *kind, struct bytes *payload) {
    if (!fill(r, JOURNAL_HEADER_BYTES)) return false;
    const uint8_t *header = r->window.data + r->at;
    if (memcmp(header, MAGIC, sizeof MAGIC) != 0) return false;
    size_t len = get_u32(header + 4);
    *kind = (uint16_t)(header[8] | header[9] << 8);
    if (get_u32(header + 8) != kind_and_check(header + 4, *kind)) return false;
    if (len > JOURNAL_PAYLOAD_BYTES_MAX || !fill(r, JOURNAL_HEADER_BYTES + len)) return false;
    header = r->window.data + r->at; /* it may have moved */
    *payload = bytes_of(header + JOURNAL_HEADER_BYTES, len);
    return get_u32(header + 12) == record_crc(header, *payload);
}

static enum status read_all(struct reader *r, bool (*visit)(void *arg, uint16_t kind, struct bytes payload),
                            void (*refused)(void *arg, uint64_t at, uint64_t len), void *arg, struct journal_report *report) {
    uint64_t skipped = 0;
    uint16_t kind;
    struct bytes payload;
    bool going = true;
    while (going && fill(r, 1)) {
        if (!is_record(r, &kind, &payload)) {
            skipped++;
            r->at++;
            continue;
        }
        if (skipped) {
            report->damaged++;
            report->damaged_bytes += skipped;
            if (refused) refused(arg, r->start + r->at - skipped, skipped);
            skipped = 0;
        }
        report->records++;
        report->bytes += JOURNAL_HEADER_BYTES + payload.len;
        r->at += JOURNAL_HEADER_BYTES + payload.len;
        going = visit(arg, kind, payload);
    }
    report->torn_bytes += skipped;
    return r->status;
}

enum status journal_read(const struct disk_port *disk, const char *name,
                         bool (*visit)(void *arg, uint16_t kind, struct bytes payload),
                         void (*refused)(void *arg, uint64_t at, uint64_t len), void *arg, struct journal_report *report) {
    struct reader r = {.disk = disk};
    enum status status = disk->open(disk->self, name, &r.file);
    if (status != STATUS_OK) return status;
    status = read_all(&r, visit, refused, arg, report);
    disk->close(disk->self, r.file);
    buf_fini(&r.window);
    return status;
}
