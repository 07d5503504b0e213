/* What outlives the process: SAVE and its kin, WAITAOF, and INFO's part. A checkpoint is what
 * Redis calls a snapshot and an AOF rewrite: here these are the same. */
#include <stdio.h>

#include "net/options.h"
#include "net/resp.h"
#include "net/session.h"
#include "persist/archive.h"
#include "persist/keeper.h"

static struct keeper *keeper_of(struct call *call) {
    if (!call->node->keeper) resp_error(call->out, "ERR this node keeps nothing: it has no directory");
    return call->node->keeper;
}

/* The object store gets one as well, in its own time. */
static void also_archive(struct call *call) {
    if (call->node->archive) archive_save(call->node->archive);
}

bool call_save(struct call *call, bool after) {
    struct session *s = call->session;
    struct keeper *keeper = keeper_of(call);
    struct keeper_status status;
    if (!keeper) return false;
    if (!s->waits) {
        s->save_number = keeper_save(keeper, after);
        also_archive(call);
    }
    if (!s->save_number) {
        resp_error(call->out, "ERR Background save already in progress");
        return false;
    }
    keeper_status(keeper, &status);
    if (status.saves < s->save_number) {
        session_park(call, INT64_MAX);
        return false;
    }
    if (status.last_save == STATUS_OK) return true;
    char text[96];
    snprintf(text, sizeof text, "ERR the checkpoint failed: %s", status_text(status.last_save));
    resp_error(call->out, text);
    return false;
}

void cmd_save(struct call *call) {
    if (call_save(call, false)) resp_status(call->out, "OK");
}

/* BGSAVE [SCHEDULE] */
void cmd_bgsave(struct call *call) {
    bool schedule = call->argc == 2 && bytes_is(call->argv[1], "schedule");
    struct keeper *keeper;
    if (call->argc > 2 || (call->argc == 2 && !schedule)) {
        reply_syntax(call);
        return;
    }
    if (!(keeper = keeper_of(call))) return;
    also_archive(call);
    if (keeper_save(keeper, false))
        resp_status(call->out, "Background saving started");
    else if (schedule && keeper_save(keeper, true))
        resp_status(call->out, "Background saving scheduled");
    else
        resp_error(call->out, "ERR Background save already in progress");
}

void cmd_bgrewriteaof(struct call *call) {
    struct keeper *keeper = keeper_of(call);
    if (!keeper) return;
    resp_status(call->out, keeper_save(keeper, false) ? "Background append only file rewriting started"
                           : keeper_save(keeper, true) ? "Background append only file rewriting scheduled" : "");
}

/* The start counts, as with Redis: what was there then is what is loaded. */
void cmd_lastsave(struct call *call) {
    struct keeper_status status = {0};
    if (call->node->keeper) keeper_status(call->node->keeper, &status);
    resp_integer(call->out, (status.saved_at_ms ? status.saved_at_ms : call->session->host->started.wall_ms) / 1000);
}

/* False, and the error. */
static bool read_waitaof(struct call *call, int64_t now_us, int64_t *replicas, int64_t *deadline_us) {
    int64_t local;
    if (!bytes_to_i64(call->argv[1], &local) || local < 0 || local > 1)
        resp_error(call->out, "ERR value is out of range, must be between 0 and 1");
    else if (!bytes_to_i64(call->argv[2], replicas) || *replicas < 0)
        resp_error(call->out, "ERR value is out of range, must be positive");
    else if (!session_deadline(call, call->argv[3], now_us, deadline_us))
        return false;
    else if (local && !config_bool(call->session->host->config, OPTION_APPENDONLY))
        resp_error(call->out, "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
    else
        return true;
    return false;
}

/* WAITAOF numlocal numreplicas timeout. Peers do not say what they have synced, so none are
 * counted: who waits for some gets all the time given, and 0. */
void cmd_waitaof(struct call *call) {
    int64_t replicas, deadline_us, now_us = node_now(call->node).mono_us;
    if (!read_waitaof(call, now_us, &replicas, &deadline_us)) return;
    if (replicas && now_us < deadline_us) {
        session_park(call, deadline_us);
        return;
    }
    bool synced = call->node->keeper && keeper_sync(call->node->keeper) == STATUS_OK;
    resp_array(call->out, 2);
    resp_integer(call->out, synced);
    resp_integer(call->out, 0);
}

static void info_store(struct call *call, struct buf *out) {
    struct archive *archive = call->node->archive;
    struct archive_status s;
    buf_printf(out, "object_store_enabled:%d\r\n", archive != NULL);
    if (!archive) return;
    archive_status(archive, node_now(call->node).mono_us, &s);
    buf_printf(out, "object_store_state:%s\r\nobject_store_behind_ms:%lld\r\nobject_store_manifest:%llu\r\nobject_store_to_read:%llu\r\n",
               archive_phase_text(s.phase), (long long)((s.behind_us + 999) / 1000), (unsigned long long)s.manifest, (unsigned long long)s.to_read);
    buf_printf(out, "object_store_checkpoint_in_progress:%d\r\nobject_store_last_error:%s\r\n", s.checkpointing, s.why);
#define X(name, help) buf_printf(out, "object_store_" #name ":%llu\r\n", (unsigned long long)s.name);
    ARCHIVE_COUNTS(X)
#undef X
}

void info_persistence(struct call *call, struct buf *out) {
    struct keeper_status s = {0};
    struct host *h = call->session->host;
    if (call->node->keeper) keeper_status(call->node->keeper, &s);
    bool ok = s.last_save == STATUS_OK;
    buf_printf(out, "loading:%d\r\nrdb_bgsave_in_progress:%d\r\nrdb_last_save_time:%lld\r\nrdb_last_bgsave_status:%s\r\n",
               atomic_load(&h->loading), s.saving, (long long)((s.saved_at_ms ? s.saved_at_ms : h->started.wall_ms) / 1000), ok ? "ok" : "err");
    buf_printf(out, "rdb_saves:%llu\r\naof_enabled:%d\r\naof_rewrite_in_progress:%d\r\naof_last_bgrewrite_status:%s\r\naof_last_write_status:%s\r\n",
               (unsigned long long)s.saves, s.logs, s.saving, ok ? "ok" : "err", s.failure == STATUS_OK ? "ok" : "err");
    if (s.logs)
        buf_printf(out, "aof_current_size:%llu\r\naof_base_size:%llu\r\naof_commits_failed:%llu\r\n", (unsigned long long)(s.log_bytes + s.checkpoint_bytes),
                   (unsigned long long)s.checkpoint_bytes, (unsigned long long)s.commits_failed);
#define X(name) buf_printf(out, "recovery_" #name ":%llu\r\n", (unsigned long long)s.recovery.name);
    KEEPER_RECOVERY(X)
#undef X
    info_store(call, out);
}
