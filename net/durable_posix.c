#include "net/durable_posix.h"

#include <signal.h>
#include <time.h>

#include "core/log.h"
#include "net/options.h"
#include "persist/disk_posix.h"
#include "persist/keeper.h"

struct durable {
    struct host *host;
    struct disk *disk;
    struct keeper *keeper;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ring;
    bool stopping; /* with lock */
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
}

/* Returns early when it is to stop. */
static bool sleep_us(struct durable *d, int64_t us) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + us % 1000000 * 1000;
    until.tv_sec += us / 1000000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&d->lock);
    if (!d->stopping && us > 0) pthread_cond_timedwait(&d->ring, &d->lock, &until);
    bool stopping = d->stopping;
    pthread_mutex_unlock(&d->lock);
    return !stopping;
}

/* A checkpoint that was asked for ends parked SAVEs. */
static void *run(void *arg) {
    struct durable *d = arg;
    struct keeper_status before, after;
    int64_t due_us = 0;
    while (sleep_us(d, due_us)) {
        follow_options(d);
        keeper_status(d->keeper, &before);
        due_us = keeper_step(d->keeper, node_now(d->host->node));
        keeper_status(d->keeper, &after);
        if (after.saves != before.saves && d->host->ports.wake) d->host->ports.wake(d->host->ports.arg);
    }
    return NULL;
}

static bool start_thread(struct durable *d) {
    pthread_condattr_t monotonic;
    sigset_t all, before;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->ring, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&d->lock, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are main's */
    int error = pthread_create(&d->thread, NULL, run, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
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

static enum status recover(struct durable *d, struct buf *error) {
    struct keeper_recovery recovery;
    struct now began = node_now(d->host->node);
    enum status status = keeper_recover(d->keeper, began.wall_ms, &recovery, error);
    if (status == STATUS_OK) report(&recovery, node_now(d->host->node).mono_us - began.mono_us);
    if (status == STATUS_OK) node_keep(d->host->node, d->keeper, recovery.images || recovery.messages);
    return status;
}

struct durable *durable_open(struct host *host, const char *dir, const char *cluster, struct buf *error) {
    struct disk *disk = disk_open(dir, error);
    if (!disk) return NULL;
    struct durable *d = mem_zero(1, sizeof *d);
    d->host = host;
    d->disk = disk;
    struct keeper_config config = {
        .disk = disk_port(disk), .shards = host->node->shards, .shard_count = host->node->shard_count,
        .replicas = host->node->replicas, .cluster = cluster, .logs = config_bool(host->config, OPTION_APPENDONLY), .note = say};
    d->keeper = keeper_new(&config);
    follow_options(d);
    if (recover(d, error) == STATUS_OK) {
        if (start_thread(d)) return d;
        buf_put_str(error, "cannot start a thread");
        node_keep(host->node, NULL, false);
    }
    keeper_free(d->keeper);
    disk_close(d->disk);
    mem_free(d);
    return NULL;
}

void durable_close(struct durable *d) {
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_signal(&d->ring);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    enum status status = keeper_close(d->keeper);
    if (status != STATUS_OK) log_line(LOG_WARNING, "the last writes are not on the disk: %s", status_text(status));
    node_keep(d->host->node, NULL, false);
    keeper_free(d->keeper);
    disk_close(d->disk);
    pthread_cond_destroy(&d->ring);
    pthread_mutex_destroy(&d->lock);
    mem_free(d);
}
