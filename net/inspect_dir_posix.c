/* The directory of a node: its logs and checkpoints, read as keeper.c reads them, but file by file, so that what is damaged is named.
 *
 * What a damaged place held is not known, unless something follows it: deltas say of which mutations they come after, and those of
 * this node's own come without gaps. Deltas of peers may have gaps in a log that is whole: what was missing came as an image, or was
 * still awaited when the node stopped. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file_posix.h"
#include "core/mem.h"
#include "net/inspect.h"
#include "net/os_posix.h"
#include "persist/layout.h"
#include "persist/journal.h"
#include "persist/keeper_files.h"

#define NODE_ID_FILE "node-id" /* os_posix.c */
#define NAME_COLUMN 38
#define SHARDS_SAID 8 /* of those that are missing */

enum file_kind { FILE_CHECKPOINT, FILE_LOG, FILE_DAMAGE, FILE_UNFINISHED, FILE_DOUBT };

struct file {
    char name[KEEPER_NAME_BYTES];
    enum file_kind kind;
    uint64_t number, size;
    int64_t changed_ms;
    uint64_t records[RECORD_MEMBERS + 1]; /* by kind; 0: others */
    enum status status;
    struct journal_report report;
    struct tally tally;
    struct buf places; /* "at OFFSET (N bytes)", of what is damaged */
    char *header;      /* without its end; NULL: none */
    bool foreign;      /* of another cluster, or another number of shards */
};

struct directory {
    struct inspect *inspect;
    int fd;
    struct disk_port port;
    struct file *files; /* checkpoints, then logs, each by their numbers */
    size_t count;
    const struct file *newest; /* checkpoint; NULL: none */
    uint64_t covering; /* the last one that has anything in it: to the keeper, resets before it are over */
    struct state state;
    char *header;     /* what all of them should begin with */
    bool *has_image;  /* by shard: in the newest checkpoint or in what it does not cover */
    uint64_t node_id; /* 0: not known */
    struct loss own_loss;
    /* Of the file that is being read. */
    struct file *file;
    uint64_t at;
    bool look;  /* its records are not applied */
    bool print; /* they are printed instead */
};

/* ---------------------------------------------------- a disk that is only read */

static enum status port_open(void *self, const char *name, int *file) {
    const struct directory *d = self;
    *file = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*file >= 0) return STATUS_OK;
    return errno == ENOENT ? STATUS_ERR_NOT_FOUND : STATUS_ERR_IO;
}
static void port_close(void *self, int file) {
    (void)self;
    close(file);
}
static enum status port_read(void *self, int file, uint64_t at, size_t len, struct buf *out) {
    (void)self;
    return file_read(file, at, len, out) ? STATUS_OK : STATUS_ERR_IO;
}

/* ----------------------------------------------------------------- listing */

static bool is_ours(const char *name, enum file_kind *kind, uint64_t *number) {
    static const char *const names[] = {[FILE_CHECKPOINT] = KEEPER_CHECKPOINT, [FILE_LOG] = KEEPER_LOG, [FILE_DAMAGE] = KEEPER_DAMAGE};
    for (int k = 0; k < FILE_UNFINISHED; k++) {
        *kind = (enum file_kind)k;
        *number = keeper_file_number(name, names[k]);
        if (*number) return true;
    }
    *kind = strcmp(name, KEEPER_DOUBT) == 0 ? FILE_DOUBT : FILE_UNFINISHED;
    return *kind == FILE_DOUBT || strcmp(name, KEEPER_CHECKPOINT_TMP) == 0;
}

static int by_kind_and_number(const void *a, const void *b) {
    const struct file *x = a, *y = b;
    if (x->kind != y->kind) return x->kind > y->kind ? 1 : -1;
    return (x->number > y->number) - (x->number < y->number);
}

static void add_file(struct directory *d, const char *name) {
    struct file f = {0};
    struct stat st;
    if (!is_ours(name, &f.kind, &f.number) || fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) return;
    memcpy(f.name, name, strlen(name)); /* ours are short */
    f.size = (uint64_t)st.st_size;
    f.changed_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    d->files = mem_realloc(d->files, (d->count + 1) * sizeof *d->files);
    d->files[d->count++] = f;
}

static bool list_files(struct directory *d) {
    int copy = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    struct dirent *entry;
    while (entries && (errno = 0, entry = readdir(entries))) add_file(d, entry->d_name);
    bool whole = entries && errno == 0;
    if (!whole) buf_printf(&d->inspect->error, "cannot list %s: %s", d->inspect->where, strerror(errno));
    if (entries) closedir(entries);
    if (!whole) return false;
    if (d->count) qsort(d->files, d->count, sizeof *d->files, by_kind_and_number);
    for (size_t n = 0; n < d->count; n++)
        if (d->files[n].kind == FILE_CHECKPOINT) d->newest = &d->files[n];
    return true;
}

static void read_node_id(struct directory *d) {
    struct buf text = {0};
    int file;
    if (port_open(d, NODE_ID_FILE, &file) != STATUS_OK) return;
    if (port_read(d, file, 0, 64, &text) == STATUS_OK) {
        buf_put_byte(&text, 0);
        d->node_id = strtoull((char *)text.data, NULL, 16);
    }
    close(file);
    buf_fini(&text);
}

/* Where somebody takes a store for a node's directory. */
static bool is_store(const struct directory *d) {
    struct stat st;
    return fstatat(d->fd, "segment", &st, 0) == 0 || fstatat(d->fd, "manifest", &st, 0) == 0 || fstatat(d->fd, "claim", &st, 0) == 0;
}

static void say_nothing_here(struct directory *d) {
    char path[PATH_MAX];
    const char *where = d->inspect->where;
    if (is_store(d) && realpath(where, path))
        buf_printf(&d->inspect->error, "%s is an object store: file://%s", where, path);
    else
        buf_printf(&d->inspect->error, "%s: there is no %s.N and no %s.N in it", where, KEEPER_LOG, KEEPER_CHECKPOINT);
}

/* ----------------------------------------------------------------- headers */

static bool look_at_header(void *arg, uint16_t kind, struct bytes payload) {
    struct file *f = arg;
    struct buf text = {0};
    if (kind != RECORD_HEADER || !payload.len) return false;
    buf_put(&text, payload.data, payload.len - 1);
    buf_put_byte(&text, 0);
    f->header = (char *)text.data;
    return false;
}

/* "anneal 1, cluster NAME, N shards" */
static uint32_t shards_of(const char *header) {
    const char *comma = strrchr(header, ',');
    return comma ? (uint32_t)strtoul(comma + 1, NULL, 10) : 0;
}

static bool is_journal(const struct file *f) { return f->kind == FILE_CHECKPOINT || f->kind == FILE_LOG; }

static void read_headers(struct directory *d) {
    for (size_t n = 0; n < d->count; n++) {
        struct file *f = &d->files[n];
        struct journal_report report = {0};
        if (is_journal(f)) f->status = journal_read(&d->port, f->name, look_at_header, NULL, f, &report);
        if (f->header && !d->header) d->header = f->header;
        f->foreign = f->header && strcmp(f->header, d->header) != 0;
    }
}

/* False: the files are of a cluster that was not asked for. */
static bool choose_shards(struct directory *d) {
    struct inspect *i = d->inspect;
    struct buf wanted = {0};
    uint32_t shards = d->header ? shards_of(d->header) : i->shards;
    if (shards > LAYOUT_SHARDS_MAX) shards = 0;
    if (d->header && i->cluster.len) {
        char *name = strndup((const char *)i->cluster.data, i->cluster.len);
        buf_printf(&wanted, KEEPER_HEADER, KEEPER_FORMAT, name, shards);
        free(name);
    }
    bool other = wanted.len && (wanted.len - 1 != strlen(d->header) || memcmp(wanted.data, d->header, wanted.len - 1) != 0);
    buf_fini(&wanted);
    if (other) buf_printf(&i->error, "%s: the files are of \"%s\"", i->where, d->header);
    d->state.now_ms = os_clock().now(NULL).wall_ms;
    if (!other && shards) {
        state_init(&d->state, shards, replicas_new());
        d->has_image = mem_zero(shards, sizeof *d->has_image);
    }
    return !other;
}

/* ----------------------------------------------------------------- reading */

static bool is_covered(const struct directory *d, const struct file *f) { return d->newest && f->number < d->newest->number; }

static const char *record_name(uint16_t kind) {
    static const char *const names[] = {"?", "header", "deltas", "image", "reset", "end", "members"};
    return names[kind <= RECORD_MEMBERS ? kind : 0];
}

static void print_record(const struct directory *d, uint16_t kind, struct bytes payload) {
    uint32_t shard;
    json_t *line = json_pack("{s:I, s:s, s:I}", "offset", (json_int_t)d->at, "kind", record_name(kind), "bytes", (json_int_t)payload.len);
    if (kind == RECORD_HEADER) json_object_set_new(line, "text", inspect_json(payload));
    if (kind == RECORD_IMAGE && d->state.shards && state_image_shard(&d->state, payload, &shard))
        json_object_set_new(line, "shard", json_integer(shard));
    inspect_line(line);
}

static void take_image(struct directory *d, struct bytes payload) {
    uint64_t before = d->file->tally.images;
    uint32_t shard;
    state_image(&d->state, payload, &d->file->tally);
    if (d->file->tally.images > before && !is_covered(d, d->file) && state_image_shard(&d->state, payload, &shard))
        d->has_image[shard] = true;
}

static bool take_record(void *arg, uint16_t kind, struct bytes payload) {
    struct directory *d = arg;
    struct file *f = d->file;
    f->records[kind <= RECORD_MEMBERS ? kind : 0]++;
    if (d->print) print_record(d, kind, payload);
    if (f->kind == FILE_CHECKPOINT && kind != RECORD_HEADER && kind != RECORD_MEMBERS) d->covering = f->number;
    if (!d->state.shards || f->foreign || d->look) {
    } else if (kind == RECORD_IMAGE)
        take_image(d, payload);
    else if (kind == RECORD_DELTAS)
        state_deltas(&d->state, payload, &f->tally);
    else if (kind == RECORD_RESET && f->number >= d->covering)
        state_reset(&d->state);
    d->at += JOURNAL_HEADER_BYTES + payload.len;
    return true;
}

static void note_damage(void *arg, uint64_t at, uint64_t len) {
    struct directory *d = arg;
    if (d->file->report.damaged <= 5)
        buf_printf(&d->file->places, "%sat %" PRIu64 " (%" PRIu64 " bytes)", d->file->places.len ? ", " : "", at, len);
    if (d->print) inspect_line(json_pack("{s:I, s:s, s:I}", "offset", (json_int_t)at, "kind", "damage", "bytes", (json_int_t)len));
    d->at = at + len;
}

static void read_file(struct directory *d, struct file *f) {
    d->file = f;
    d->at = 0;
    f->status = journal_read(&d->port, f->name, take_record, note_damage, d, &f->report);
    if (f->report.torn_bytes) buf_printf(&f->places, "%s%" PRIu64 " bytes at its end", f->places.len ? ", " : "", f->report.torn_bytes);
    if (f->report.torn_bytes && d->print)
        inspect_line(json_pack("{s:I, s:s, s:I}", "offset", (json_int_t)d->at, "kind", "torn", "bytes", (json_int_t)f->report.torn_bytes));
}

static void read_files(struct directory *d) {
    for (size_t n = 0; n < d->count; n++)
        if (is_journal(&d->files[n])) read_file(d, &d->files[n]);
}

static bool is_damaged(const struct file *f) {
    if (f->kind == FILE_DOUBT) return true;
    bool unended = f->kind == FILE_CHECKPOINT && !f->records[RECORD_END];
    bool headless = is_journal(f) && f->size && !f->header;
    return is_journal(f) &&
           (f->status != STATUS_OK || f->places.len || f->tally.malformed || f->records[0] || f->foreign || unended || headless);
}

/* -------------------------------------------------------------------- list */

static void describe(const struct file *f, json_t *line, struct buf *text) {
    json_object_set_new(line, "records", json_object());
    for (uint16_t k = 1; k <= RECORD_MEMBERS; k++) {
        json_object_set_new(json_object_get(line, "records"), record_name(k), json_integer((json_int_t)f->records[k]));
        bool one = k == RECORD_IMAGE || k == RECORD_RESET;
        if (k != RECORD_HEADER && k != RECORD_END && f->records[k])
            buf_printf(text, ", %" PRIu64 " %s%s", f->records[k], record_name(k), one ? "s" : "");
    }
    if (f->header) json_object_set_new(line, "header", inspect_json(bytes_str(f->header)));
    if (f->places.len) json_object_set_new(line, "damaged", inspect_json(buf_bytes(&f->places)));
    if (f->places.len) buf_printf(text, ", damaged %.*s", (int)f->places.len, (const char *)f->places.data);
    if (f->status != STATUS_OK) buf_printf(text, ", %s", status_text(f->status));
}

static void list_file(const struct directory *d, const struct file *f) {
    static const char *const names[] = {"checkpoint", "log", "damage put aside", "unfinished checkpoint", "word that the disk has failed"};
    struct buf text = {0};
    char time[INSPECT_TIME_BYTES];
    inspect_time(time, f->changed_ms);
    json_t *line =
        json_pack("{s:s, s:s, s:I, s:s}", "what", names[f->kind], "file", f->name, "bytes", (json_int_t)f->size, "changed", time);
    if (is_journal(f)) describe(f, line, &text);
    inspect_say(d->inspect, "%-*s %10" PRIu64 "  %s, %s%.*s%s\n", NAME_COLUMN, f->name, f->size, time, names[f->kind], (int)text.len,
                text.data ? (char *)text.data : "", is_journal(f) && is_covered(d, f) ? ", covered by a checkpoint" : "");
    if (d->inspect->json) json_incref(line), inspect_line(line);
    json_decref(line);
    buf_fini(&text);
}

static enum inspect_exit list_all(struct directory *d) {
    uint64_t bytes = 0;
    bool damaged = false;
    for (size_t n = 0; n < d->count; n++) {
        list_file(d, &d->files[n]);
        bytes += d->files[n].size;
        damaged = damaged || is_damaged(&d->files[n]);
    }
    inspect_say(d->inspect, "%zu files, %" PRIu64 " bytes, of \"%s\"\n", d->count, bytes, d->header ? d->header : "?");
    if (d->inspect->json)
        inspect_line(json_pack("{s:s, s:I, s:I, s:o}", "what", "total", "files", (json_int_t)d->count, "bytes", (json_int_t)bytes,
                               "header", d->header ? inspect_json(bytes_str(d->header)) : json_null()));
    return damaged ? INSPECT_DAMAGED : INSPECT_WELL;
}

/* ------------------------------------------------------------------ verify */

static void say_missing_images(const struct directory *d, struct buf *out) {
    uint32_t missing = 0;
    struct buf which = {0};
    for (uint32_t s = 0; s < d->state.shard_count; s++) {
        if (d->has_image[s]) continue;
        if (missing++ < SHARDS_SAID) buf_printf(&which, "%s%u", which.len ? ", " : "", s);
    }
    if (!missing)
        buf_put_str(out, "nothing is lost: later images have all shards");
    else
        buf_printf(out, "the images of %u shards (%.*s%s) are lost, and with them what was in those when it was made, unless peers have it",
                   missing, (int)which.len, (char *)which.data, missing > SHARDS_SAID ? ", ..." : "");
    buf_fini(&which);
}

static void say_gaps(const struct directory *d, const struct file *from, struct buf *out) {
    uint64_t gaps = 0;
    for (const struct file *f = from; f < d->files + d->count && f->kind == FILE_LOG; f++) gaps += f->tally.gaps;
    if (!gaps) return;
    buf_printf(out, "; %" PRIu64 " later deltas follow what is missing and are left out", gaps);
    if (d->own_loss.mutations) {
        buf_put_str(out, ": of this node's own ");
        state_cost(&d->own_loss, out);
    }
}

static void cost_of(const struct directory *d, const struct file *f, struct buf *out) {
    if (f->kind == FILE_DOUBT)
        buf_put_str(out, "what the logs hold may never reach the disk; the next start takes no writes until it has made a checkpoint of it");
    else if (f->foreign)
        buf_printf(out, "the node does not start: other files are of \"%s\"", d->header);
    else if (f->kind == FILE_LOG && is_covered(d, f))
        buf_printf(out, "nothing is lost if %s is whole: it covers this one", d->newest->name);
    else if (f->kind == FILE_CHECKPOINT && f != d->newest)
        buf_printf(out, "nothing is lost if %s is whole: it is newer", d->newest->name);
    else if (!d->state.shards)
        buf_put_str(out, "what that costs cannot be told: nothing says how many shards there are; --shards may");
    else if (f->kind == FILE_CHECKPOINT)
        say_missing_images(d, out);
    else if (f->report.torn_bytes && !f->report.damaged && !f->tally.malformed)
        buf_put_str(
            out, "a write that never ended, which appendfsync always had not acknowledged; or damage to the last records, which are lost");
    else
        buf_put_str(out, "the records there are lost, unless a later image has what they brought, or peers do");
    if (f->kind == FILE_LOG && !f->foreign && !is_covered(d, f)) say_gaps(d, f, out);
}

static void judge(struct directory *d, const struct file *f) {
    struct buf what = {0}, cost = {0};
    if (f->kind == FILE_DOUBT)
        buf_put_str(&what, "a write or sync had failed when the process ended");
    else if (f->foreign)
        buf_printf(&what, "of \"%s\"", f->header);
    else if (f->status != STATUS_OK)
        buf_printf(&what, "cannot be read whole: %s", status_text(f->status));
    else if (f->places.len)
        buf_printf(&what, "damaged: %.*s", (int)f->places.len, (char *)f->places.data);
    else if (f->tally.malformed || f->records[0])
        buf_printf(&what, "%" PRIu64 " records make no sense", f->tally.malformed + f->records[0]);
    else if (!f->header)
        buf_put_str(&what, "its header is missing");
    else
        buf_put_str(&what, "it ends early");
    buf_put_byte(&what, 0);
    cost_of(d, f, &cost);
    buf_put_byte(&cost, 0);
    inspect_found(d->inspect, f->name, (char *)what.data, (char *)cost.data);
    buf_fini(&what);
    buf_fini(&cost);
}

static void take_own_loss(void *arg, struct replica_id writer, struct loss loss) {
    struct directory *d = arg;
    if (writer.node != d->node_id) return;
    d->own_loss.mutations += loss.mutations;
    d->own_loss.shards += loss.shards;
}

static void sum_up(struct directory *d, const struct loss *loss) {
    struct inspect *i = d->inspect;
    uint64_t bytes = 0, records = 0, keys = d->state.shards ? state_keys(&d->state, d->state.now_ms) : 0;
    for (size_t n = 0; n < d->count; n++) {
        bytes += d->files[n].report.bytes;
        records += d->files[n].report.records;
    }
    inspect_say(i, "%" PRIu64 " records read, %" PRIu64 " bytes: %" PRIu64 " files damaged\n", records, bytes, i->found);
    if (loss->mutations)
        inspect_say(i,
                    "%" PRIu64 " mutations in %u shards are not to be had from here: %" PRIu64
                    " of this node's own; the others are peers' to send again\n",
                    loss->mutations, loss->shards, d->own_loss.mutations);
    if (d->state.shards) inspect_say(i, "the state is %" PRIu64 " keys in %u shards\n", keys, d->state.shard_count);
    if (i->json)
        inspect_line(json_pack("{s:s, s:I, s:I, s:I, s:o, s:I, s:I}", "what", "summary", "records", (json_int_t)records, "bytes",
                               (json_int_t)bytes, "found", (json_int_t)i->found, "keys",
                               d->state.shards ? json_integer((json_int_t)keys) : json_null(), "lost_mutations",
                               (json_int_t)loss->mutations, "lost_own_mutations", (json_int_t)d->own_loss.mutations));
}

static enum inspect_exit verify(struct directory *d) {
    struct inspect *i = d->inspect;
    struct loss loss = {0};
    if (i->action == INSPECT_DUMP && !d->state.shards) {
        buf_printf(&i->error, "%s: no header can be read; --shards may say how many there are", i->where);
        return INSPECT_UNREADABLE;
    }
    if (d->state.shards) loss = state_losses(&d->state, take_own_loss, d);
    for (size_t n = 0; n < d->count; n++)
        if (is_damaged(&d->files[n])) judge(d, &d->files[n]);
    if (!i->found && d->own_loss.mutations)
        inspect_found(i, i->where, "mutations of this node's own are missing: a log that was here is not", "");
    if (i->action == INSPECT_VERIFY)
        sum_up(d, &loss);
    else
        state_dump(&d->state, i->expired ? INT64_MIN : d->state.now_ms);
    return i->found ? INSPECT_DAMAGED : INSPECT_WELL;
}

static enum inspect_exit dump_file(struct directory *d) {
    for (size_t n = 0; n < d->count; n++) {
        struct file *f = &d->files[n];
        if (strcmp(f->name, d->inspect->object) != 0 || !(is_journal(f) || f->kind == FILE_UNFINISHED)) continue;
        d->look = d->print = true;
        read_file(d, f);
        return is_damaged(f) ? INSPECT_DAMAGED : INSPECT_WELL;
    }
    buf_printf(&d->inspect->error, "%s: there is no log or checkpoint %s", d->inspect->where, d->inspect->object);
    return INSPECT_UNREADABLE;
}

/* ------------------------------------------------------------------- whole */

static void directory_fini(struct directory *d) {
    struct replicas *replicas = d->state.replicas;
    for (size_t n = 0; n < d->count; n++) {
        buf_fini(&d->files[n].places);
        mem_free(d->files[n].header);
    }
    mem_free(d->files);
    mem_free(d->has_image);
    if (d->state.shards) state_fini(&d->state);
    if (replicas) replicas_free(replicas);
    if (d->fd >= 0) close(d->fd);
}

static enum inspect_exit look(struct directory *d) {
    struct inspect *i = d->inspect;
    if (i->manifest || i->until_ms != INT64_MAX) {
        buf_put_str(&i->error, "--manifest and --until are for object stores: a node's directory has no past");
        return INSPECT_UNREADABLE;
    }
    if (!list_files(d)) return INSPECT_UNREADABLE;
    if (!d->count) {
        say_nothing_here(d);
        return INSPECT_UNREADABLE;
    }
    read_node_id(d);
    read_headers(d);
    if (!choose_shards(d)) return INSPECT_UNREADABLE;
    if (i->object) return dump_file(d);
    d->look = i->action == INSPECT_LIST;
    read_files(d);
    return d->look ? list_all(d) : verify(d);
}

enum inspect_exit inspect_dir(struct inspect *i) {
    struct directory d = {.inspect = i, .fd = open(i->where, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    d.port = (struct disk_port){.open = port_open, .close = port_close, .read = port_read, .self = &d};
    if (d.fd < 0) {
        buf_printf(&i->error, "cannot open %s: %s", i->where, strerror(errno));
        return INSPECT_UNREADABLE;
    }
    enum inspect_exit code = look(&d);
    directory_fini(&d);
    return code;
}
