#include "net/durable_posix.h"

#include "core/log.h"
#include "core/thread_posix.h"
#include "net/archiver_posix.h"
#include "net/options.h"
#include "persist/disk_posix.h"
#include "persist/keeper.h"

#define WAIT_US INT64_C(100000)      /* while loading, between two looks at signals */
#define REPORT_US INT64_C(2000000)
#define ALIVE_US INT64_C(1000000)
#define LAST_WORDS_US INT64_C(5000000)

struct durable {
    struct host *host;
    struct disk *disk;
    struct keeper *keeper;
    struct archiver *archiver; /* NULL: there is no object store */
    pthread_t thread;
    int64_t alive_at_us; /* when the archive is told next who is up */
    struct bell bell; /* the store has answered, or it is over */
    atomic_bool stopping;
};

static void say(void *arg, const char *text) {
    (void)arg;
    log_line(LOG_WARNING, "%s", text);
}

static void follow_options(struct durable *d) {
    const struct config *config = d->host->config;
    keeper_set_sync(d->keeper, (enum keeper_sync)config_integer(config, OPTION_APPENDFSYNC));
    keeper_set_rewrite(d->keeper, (uint64_t)config_integer(config, OPTION_REWRITE_PERCENTAGE),
                       (uint64_t)config_integer(config, OPTION_REWRITE_MIN_SIZE));
    if (d->archiver) archiver_follow_options(d->archiver);
}

static void ring(void *arg) { bell_ring(&((struct durable *)arg)->bell); }

/* A checkpoint that was asked for ends parked SAVEs. */
static int64_t step_keeper(struct durable *d) {
    struct keeper_status before, after;
    keeper_status(d->keeper, &before);
    int64_t due_us = keeper_step(d->keeper, node_now(d->host->node));
    keeper_status(d->keeper, &after);
    if (after.saves != before.saves && d->host->ports.wake) d->host->ports.wake(d->host->ports.arg);
    return due_us;
}

/* One that must not go on ends the process. */
static int64_t step_archive(struct durable *d) {
    struct archive *archive = archiver_archive(d->archiver);
    enum archive_phase before = archive_phase(archive);
    struct now now = node_now(d->host->node);
    if (now.mono_us >= d->alive_at_us) {
        d->alive_at_us = now.mono_us + ALIVE_US;
        node_tell_alive(d->host->node);
    }
    int64_t due_us = archive_step(archive, now);
    if (archive_phase(archive) == ARCHIVE_STOPPED && before != ARCHIVE_STOPPED && d->host->ports.shutdown) d->host->ports.shutdown(d->host->ports.arg);
    return due_us;
}

static void *run(void *arg) {
    struct durable *d = arg;
    int64_t due_us = 0;
    for (; !atomic_load(&d->stopping); bell_sleep(&d->bell, due_us)) {
        follow_options(d);
        due_us = step_keeper(d);
        int64_t archive_us = d->archiver ? step_archive(d) : INT64_MAX;
        if (archive_us < due_us) due_us = archive_us;
    }
    return NULL;
}

static void report(const struct keeper_recovery *r, int64_t took_us) {
    if (!r->images && !r->messages && !r->malformed && !r->damaged && !r->torn_bytes) return;
    log_line(LOG_NOTICE, "loaded %llu images and %llu messages from %llu checkpoints and %llu logs in %.3f s",
             (unsigned long long)r->images, (unsigned long long)r->messages, (unsigned long long)r->checkpoints,
             (unsigned long long)r->logs, (double)took_us / 1e6);
    if (r->torn_bytes) log_line(LOG_NOTICE, "%llu bytes of a write that never ended were left out", (unsigned long long)r->torn_bytes);
    if (r->gaps || r->malformed || r->damaged)
        log_line(LOG_WARNING, "left out: %llu damaged places (%llu bytes), %llu records that make no sense, %llu deltas that follow what is "
                 "missing; peers will fill in what they have", (unsigned long long)r->damaged, (unsigned long long)r->damaged_bytes,
                 (unsigned long long)r->malformed, (unsigned long long)r->gaps);
}

static bool recover(struct durable *d, bool *any, struct buf *error) {
    struct keeper_recovery recovery;
    struct now began = node_now(d->host->node);
    if (keeper_recover(d->keeper, began.wall_ms, &recovery, error) != STATUS_OK) return false;
    report(&recovery, node_now(d->host->node).mono_us - began.mono_us);
    *any = recovery.images || recovery.messages;
    node_keep(d->host->node, d->keeper, *any);
    return true;
}

/* ---------------------------------------------------------- the object store */

static void report_reading(const struct archive_status *s, int64_t took_us, bool over) {
    log_line(LOG_NOTICE, "object store: %s, %llu objects (%.1f MB) in %.1f s, %llu to go", over ? "read" : archive_phase_text(s->phase),
             (unsigned long long)s->read_objects, (double)s->read_bytes / 1e6, (double)took_us / 1e6, (unsigned long long)s->to_read);
    if (over && (s->read_damaged || s->read_gaps))
        log_line(LOG_WARNING, "object store: left out: %llu objects or records that are damaged, %llu deltas that follow what is missing; peers will "
                 "fill in what they have, and a checkpoint makes the store whole again", (unsigned long long)s->read_damaged, (unsigned long long)s->read_gaps);
}

/* Until everything is read, or there is a reason not to wait any longer. */
static bool read_store(struct durable *d, bool any, bool (*interrupted)(void *arg), void *arg, struct buf *error) {
    struct archive *archive = archiver_archive(d->archiver);
    struct archive_status status;
    int64_t began_us = node_now(d->host->node).mono_us, reported_us = began_us;
    int64_t patience_us = config_integer(d->host->config, OPTION_OBJECT_STORE_PATIENCE_MS) * 1000;
    for (;;) {
        int64_t due_us = archive_step(archive, node_now(d->host->node)), now_us = node_now(d->host->node).mono_us;
        archive_status(archive, now_us, &status);
        if (status.phase == ARCHIVE_STOPPED) {
            buf_printf(error, "object store: %s", status.why);
            return false;
        }
        if (status.phase == ARCHIVE_STREAMING) break;
        if (now_us - reported_us >= REPORT_US) {
            report_reading(&status, now_us - began_us, false);
            reported_us = now_us;
        }
        if (any && status.failures && now_us - began_us >= patience_us) {
            log_line(LOG_WARNING, "the object store does not answer; starting with what the disk has: %s", status.why);
            return true;
        }
        if (interrupted(arg)) {
            buf_put_str(error, "stopped while loading");
            return false;
        }
        bell_sleep(&d->bell, due_us < WAIT_US ? due_us : WAIT_US);
    }
    report_reading(&status, node_now(d->host->node).mono_us - began_us, true);
    return true;
}

static bool open_archive(struct durable *d, const char *dir, const char *cluster, bool any, bool (*interrupted)(void *arg), void *arg, struct buf *error) {
    if (!archiver_wanted(d->host->config)) return true;
    d->archiver = archiver_open(d->host, dir, cluster, ring, d, error);
    if (!d->archiver) return false;
    if (any && archiver_restores(d->archiver)) {
        buf_printf(error, "restoring needs a dir without data of its own: %s has some", dir);
        return false;
    }
    node_stream(d->host->node, archiver_archive(d->archiver));
    return read_store(d, any, interrupted, arg, error);
}

/* What was written last, if the store takes it soon. */
static void close_archive(struct durable *d) {
    struct archive *archive = archiver_archive(d->archiver);
    int64_t end_us = node_now(d->host->node).mono_us + LAST_WORDS_US;
    archive_flush(archive);
    do {
        int64_t due_us = archive_step(archive, node_now(d->host->node));
        if (!archive_is_flushed(archive)) bell_sleep(&d->bell, due_us < WAIT_US ? due_us : WAIT_US);
    } while (!archive_is_flushed(archive) && node_now(d->host->node).mono_us < end_us);
    if (!archive_is_flushed(archive)) log_line(LOG_WARNING, "the last writes are not in the object store: it did not answer in time");
}

/* ------------------------------------------------------------- opening, closing */

static void free_durable(struct durable *d) {
    node_keep(d->host->node, NULL, false);
    node_stream(d->host->node, NULL);
    (void)gossip_self(d->host->node->gossip); /* takes its lock: whoever was telling them of a peer's deltas has done so */
    if (d->archiver) archiver_close(d->archiver);
    keeper_free(d->keeper);
    disk_close(d->disk);
    bell_fini(&d->bell);
    mem_free(d);
}

struct durable *durable_open(struct host *host, const char *dir, const char *cluster, bool (*interrupted)(void *arg), void *arg, struct buf *error) {
    struct disk *disk = disk_open(dir, error);
    bool any;
    if (!disk) return NULL;
    struct durable *d = mem_zero(1, sizeof *d);
    d->host = host;
    d->disk = disk;
    struct keeper_config config = {
        .disk = disk_port(disk), .shards = host->node->shards, .shard_count = host->node->shard_count,
        .replicas = host->node->replicas, .cluster = cluster, .logs = config_bool(host->config, OPTION_APPENDONLY),
        .threads = (uint32_t)config_integer(host->config, OPTION_THREADS), .note = say};
    d->keeper = keeper_new(&config);
    bell_init(&d->bell);
    follow_options(d);
    if (recover(d, &any, error) && open_archive(d, dir, cluster, any, interrupted, arg, error)) {
        if (thread_start(&d->thread, run, d)) return d;
        buf_put_str(error, "cannot start a thread");
    }
    return NULL; /* it stays: clients may be looking at what there is (INFO), until the process ends */
}

bool durable_keeps(struct durable *d) {
    struct keeper_status status;
    keeper_status(d->keeper, &status);
    return status.logs || status.log_bytes || status.checkpoint_bytes;
}

bool durable_close(struct durable *d) {
    bool well = true;
    atomic_store(&d->stopping, true);
    bell_ring(&d->bell);
    pthread_join(d->thread, NULL);
    if (d->archiver) {
        close_archive(d);
        well = archive_phase(archiver_archive(d->archiver)) != ARCHIVE_STOPPED;
    }
    enum status status = keeper_close(d->keeper);
    if (status != STATUS_OK) log_line(LOG_WARNING, "the last writes are not on the disk: %s", status_text(status));
    free_durable(d);
    return well;
}
