#define _GNU_SOURCE /* strptime, timegm */
#include "net/archiver_posix.h"

#include <stdlib.h>
#include <time.h>

#include "core/log.h"
#include "net/options.h"
#include "net/os_posix.h"
#include "persist/options.h"
#include "persist/store_open.h"

#define KEY_FILE_BYTES_MAX (1u << 16)

struct archiver {
    struct host *host;
    struct store store, past; /* past.submit NULL: nothing is restored */
    struct archive *archive;
    struct buf place;
};

bool archiver_wanted(const struct config *config) {
    struct buf url = {0}, from = {0}, to = {0};
    config_string(config, OPTION_OBJECT_STORE, &url);
    config_string(config, OPTION_RESTORE_FROM, &from);
    config_string(config, OPTION_RESTORE_TO, &to);
    bool wanted = url.len || from.len || to.len;
    buf_fini(&url);
    buf_fini(&from);
    buf_fini(&to);
    return wanted;
}

static void say(void *arg, const char *text) {
    (void)arg;
    log_line(LOG_WARNING, "object store: %s", text);
}

/* ----------------------------------------------------------------- options */

static bool read_keys(const struct host *h, const char *cluster, struct keyring *keys, struct buf *error) {
    struct buf path = {0}, text = {0}, why = {0};
    config_string(h->config, OPTION_OBJECT_STORE_KEY_FILE, &path);
    buf_put_byte(&path, 0);
    bool read = path.len == 1;
    if (!read) {
        read = os_read_file((char *)path.data, KEY_FILE_BYTES_MAX, &text, error) == STATUS_OK;
        if (read && keyring_parse(keys, KEYRING_OBJECTS, buf_bytes(&text), &why) != STATUS_OK) {
            buf_printf(error, "object-store-key-file %s, %.*s", (char *)path.data, (int)why.len, (char *)why.data);
            read = false;
        }
        if (text.data) explicit_bzero(text.data, text.len);
    }
    keyring_cluster(keys, bytes_str(cluster), h->node->shard_count);
    buf_fini(&path);
    buf_fini(&text);
    buf_fini(&why);
    return read;
}

/* 2026-11-21T11:12:13Z, perhaps with milliseconds; false: it is no such time. */
static bool read_time(const char *text, int64_t *out_ms) {
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t ms = 0;
    if (!end) return false;
    if (*end == '.') {
        char *after;
        ms = strtol(end + 1, &after, 10);
        if (after != end + 4) return false;
        end = after;
    }
    *out_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return strcmp(end, "Z") == 0;
}

static bool read_target(const char *text, struct archive_source *source) {
    source->until_ms = INT64_MAX;
    if (!*text) return true;
    if (strspn(text, "0123456789") != strlen(text)) return read_time(text, &source->until_ms);
    source->manifest = strtoull(text, NULL, 10);
    return source->manifest != 0;
}

static bool open_past(struct archiver *r, const struct store_settings *settings, struct archive_source *source, struct buf *error) {
    struct buf from = {0}, to = {0}, home = {0};
    config_string(r->host->config, OPTION_RESTORE_FROM, &from);
    config_string(r->host->config, OPTION_RESTORE_TO, &to);
    config_string(r->host->config, OPTION_OBJECT_STORE, &home);
    bool any = from.len || to.len, good = true, same = bytes_equal(buf_bytes(&from), buf_bytes(&home));
    buf_put_byte(&from, 0);
    buf_put_byte(&to, 0);
    if (any && (from.len == 1 || !home.len || same)) {
        buf_put_str(error, "restoring needs restore-from, the store to read, and object-store, another URL or prefix, where the restored cluster "
                           "keeps its own: what came later is still in the old one, and would be joined");
        good = false;
    } else if (!read_target((char *)to.data, source)) {
        buf_printf(error, "restore-to %s: want a time as 2026-11-21T11:12:13Z, or the number of a manifest (anneal-inspect lists them)", (char *)to.data);
        good = false;
    } else if (any) {
        struct store_settings only_read = *settings;
        only_read.read_only = true;
        good = store_open((char *)from.data, &only_read, &r->past, error) == STATUS_OK;
        source->store = r->past;
    }
    buf_fini(&from);
    buf_fini(&to);
    buf_fini(&home);
    return good;
}

/* ------------------------------------------------------------------- making */

static bool open_stores(struct archiver *r, void (*ring)(void *arg), void *arg, struct archive_source *source, struct buf *error) {
    struct store_options options;
    store_options_read(r->host->config, OPTION_OBJECT_STORE, &options);
    options.settings.clock = r->host->node->clock;
    options.settings.ready = ring;
    options.settings.ready_arg = arg;
    bool opened = open_past(r, &options.settings, source, error) &&
                  store_open(store_options_url(&options), &options.settings, &r->store, error) == STATUS_OK;
    store_options_fini(&options);
    return opened;
}

static void free_archiver(struct archiver *r) {
    if (r->store.submit) store_close(&r->store);
    if (r->past.submit) store_close(&r->past);
    if (r->archive) archive_free(r->archive);
    buf_fini(&r->place);
    mem_free(r);
}

struct archiver *archiver_open(struct host *host, const char *dir, const char *cluster, void (*ring)(void *arg), void *arg, struct buf *error) {
    struct archiver *r = mem_zero(1, sizeof *r);
    struct node *node = host->node;
    struct archive_config config = {ARCHIVE_CONFIG_DEFAULT};
    r->host = host;
    if (os_place(dir, &r->place, error) != STATUS_OK || !read_keys(host, cluster, &config.keys, error) || !open_stores(r, ring, arg, &config.source, error)) {
        free_archiver(r);
        return NULL;
    }
    config.store = r->store;
    config.clock = node->clock;
    config.shards = node->shards;
    config.shard_count = node->shard_count;
    config.replicas = node->replicas;
    config.self = gossip_self(node->gossip);
    config.before = gossip_before(node->gossip);
    config.place = (char *)r->place.data;
    config.unconditional = config_bool(host->config, OPTION_OBJECT_STORE_UNCONDITIONAL);
    config.threads = (uint32_t)config_integer(host->config, OPTION_THREADS);
    config.changing = node_reads_shard;
    config.changed = node_read_shard;
    config.closed = node_was_closed;
    config.judged = node_judged;
    if (!r->past.submit) config.heard = node_heard_members; /* a new cluster does not wait for the members of the old one */
    config.note = say;
    config.arg = node;
    r->archive = archive_new(&config);
    archiver_follow_options(r);
    return r;
}

void archiver_close(struct archiver *r) { free_archiver(r); }
struct archive *archiver_archive(struct archiver *r) { return r->archive; }
bool archiver_restores(const struct archiver *r) { return r->past.submit != NULL; }

void archiver_follow_options(struct archiver *r) {
    const struct config *config = r->host->config;
    struct archive_settings settings = {
        .segment_us = config_integer(config, OPTION_SEGMENT_INTERVAL_MS) * 1000,
        .rewrite_percent = (uint64_t)config_integer(config, OPTION_REWRITE_PERCENTAGE),
        .rewrite_bytes_min = (uint64_t)config_integer(config, OPTION_REWRITE_MIN_SIZE),
        .checkpoints = (uint32_t)config_integer(config, OPTION_OBJECT_STORE_CHECKPOINTS),
        .keep_ms = config_integer(config, OPTION_OBJECT_STORE_KEEP) * 1000};
    archive_set(r->archive, &settings);
}
