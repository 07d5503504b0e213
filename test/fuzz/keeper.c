/* What a node keeps on its disk, and what it makes of it after bytes of it have changed, went
 * missing or were never written by us: bent where a checksum shows it, and forged where none does.
 * Where nothing was touched, all that was committed is back.
 *
 * input := step*
 * step  := what, argument [bytes] */
#include <xxhash.h>

#include "persist/journal.h"
#include "persist/keeper.h"
#include "persist/keeper_files.h"

#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"

enum { FILES_MAX = 40, SHARDS = 2, STEPS_MAX = 120 };
enum what { WRITE, WRITE_MORE, STEP, SAVE, RESTART, TOUCHED, BEND = TOUCHED, CUT, RAW, RECORD, BEND_INSIDE, WHATS };

struct file {
    char name[64];
    struct buf bytes;
};

struct world {
    struct file files[FILES_MAX];
    int file_count;
    struct fuzz_clock clock;
    struct replicas *replicas;
    struct shard *shards[SHARDS];
    struct keeper *keeper;
    struct keeper_recovery recovery; /* of this life */
    uint64_t incarnation; /* of the last life; the next one's is not near it: a byte that is bent shall not name it before it is */
    uint32_t threads; /* that read it back */
    bool runs; /* else the disk did not let it */
};

/* -------------------------------------------------------------------- disk */

static int find(const struct world *w, const char *name) {
    for (int i = 0; i < w->file_count; i++)
        if (strcmp(w->files[i].name, name) == 0) return i;
    return -1;
}

static enum status disk_open(void *self, const char *name, int *file) {
    struct world *w = self;
    *file = find(w, name);
    if (*file >= 0) return STATUS_OK;
    *file = find(w, ""); /* one that was removed */
    if (*file < 0 && w->file_count == FILES_MAX) return STATUS_ERR_IO;
    if (*file < 0) *file = w->file_count++;
    w->files[*file] = (struct file){0};
    snprintf(w->files[*file].name, sizeof w->files[*file].name, "%s", name);
    return STATUS_OK;
}

static void disk_close(void *self, int file) { CHECK(file >= 0 && file < ((struct world *)self)->file_count); }

static enum status disk_append(void *self, int file, struct bytes bytes) {
    buf_put_bytes(&((struct world *)self)->files[file].bytes, bytes);
    return STATUS_OK;
}

static enum status disk_sync(void *self, int file) {
    disk_close(self, file);
    return STATUS_OK;
}

static enum status disk_cut(void *self, int file, uint64_t size) {
    struct buf *bytes = &((struct world *)self)->files[file].bytes;
    if (size < bytes->len) bytes->len = size;
    return STATUS_OK;
}

static enum status disk_read(void *self, int file, uint64_t at, size_t len, struct buf *out) {
    const struct buf *bytes = &((struct world *)self)->files[file].bytes;
    if (at >= bytes->len) return STATUS_OK;
    size_t left = bytes->len - at;
    buf_put(out, bytes->data + at, len < left ? len : left);
    return STATUS_OK;
}

/* None that is open. */
static enum status disk_remove(void *self, const char *name) {
    struct world *w = self;
    int file = find(w, name);
    if (file < 0) return STATUS_OK;
    buf_fini(&w->files[file].bytes);
    w->files[file].name[0] = 0;
    return STATUS_OK;
}

static enum status disk_rename(void *self, const char *from, const char *to) {
    struct world *w = self;
    int file = find(w, from);
    if (file < 0) return STATUS_ERR_IO;
    disk_remove(self, to);
    snprintf(w->files[file].name, sizeof w->files[file].name, "%s", to);
    return STATUS_OK;
}

static enum status disk_list(void *self, void (*visit)(void *arg, const char *name, uint64_t size), void *arg) {
    const struct world *w = self;
    for (int i = 0; i < w->file_count; i++)
        if (w->files[i].name[0]) visit(arg, w->files[i].name, w->files[i].bytes.len);
    return STATUS_OK;
}

static struct disk_port disk_of(struct world *w) {
    return (struct disk_port){disk_open, disk_close, disk_append, disk_sync, disk_cut, disk_read, disk_rename, disk_remove, disk_list, w};
}

/* -------------------------------------------------------------------- lives */

static void start(struct world *w) {
    struct buf error = {0};
    w->replicas = replicas_new();
    struct shard_config config = {.replicas = w->replicas, .log_bytes_max = 2048};
    w->incarnation = XXH3_64bits(&w->incarnation, sizeof w->incarnation);
    CHECK(replicas_intern(w->replicas, (struct replica_id){1, w->incarnation}, &config.self) == STATUS_OK);
    for (uint32_t i = 0; i < SHARDS; i++) w->shards[i] = shard_new(i, &config);
    w->keeper = keeper_new(&(struct keeper_config){
        .disk = disk_of(w),
        .shards = w->shards,
        .shard_count = SHARDS,
        .replicas = w->replicas,
        .cluster = "fuzz",
        .logs = true,
        .sync = SYNC_ALWAYS,
        .threads = w->threads,
        .rewrite_percent = 100,
        .rewrite_bytes_min = 4096});
    enum status status = keeper_recover(w->keeper, w->clock.wall_ms, &w->recovery, &error);
    CHECK(status == STATUS_OK || error.len > 0);
    w->runs = status == STATUS_OK;
    if (!w->runs) fuzz_show("does not run:", buf_bytes(&error));
    buf_fini(&error);
    for (uint32_t i = 0; i < SHARDS; i++) recount_shard(w->shards[i]);
}

static void stop(struct world *w) {
    keeper_free(w->keeper);
    for (uint32_t i = 0; i < SHARDS; i++) shard_free(w->shards[i]);
    replicas_free(w->replicas);
}

/* What was made of harm done before is made of it again. */
static void check_back(struct world *w, bool *touched) {
    uint64_t before[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++) before[i] = shard_digest(w->shards[i]);
    bool failed = !w->runs || keeper_failure(w->keeper) != STATUS_OK;
    stop(w);
    start(w);
    for (uint32_t i = 0; i < SHARDS && !*touched && !failed; i++) CHECK(shard_digest(w->shards[i]) == before[i]);
    *touched = false;
}

/* -------------------------------------------------------------------- steps */

static void write_one(struct world *w, uint8_t argument) {
    uint32_t index = argument % SHARDS;
    struct shard *s = w->shards[index];
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
    case 5: shard_expire(s, ref, now_ms + argument * 100, now_ms); break;
    case 6: shard_set(s, ref, value, false, now_ms); break;
    default:
        if (argument > 240) shard_flush(s, now_ms);
        break;
    }
    shard_unlock(s);
    keeper_dirty(w->keeper, index);
}

/* A file that is there; NULL if none is. */
static struct buf *some_file(struct world *w, uint8_t argument) {
    for (int i = 0; i < w->file_count; i++) {
        struct file *file = &w->files[(argument + i) % w->file_count];
        if (file->name[0] && file->bytes.len) return &file->bytes;
    }
    return NULL;
}

static void touch(struct world *w, enum what what, uint8_t argument, struct input *in) {
    struct buf *bytes = some_file(w, argument);
    size_t place = input_byte(in);
    place |= (size_t)input_byte(in) << 8;
    uint8_t value = input_byte(in);
    if (!bytes) return;
    if (what == BEND) bytes->data[place % bytes->len] = value;
    if (what == CUT) bytes->len -= place % (bytes->len + 1);
    if (what == RAW) buf_put_bytes(bytes, input_bytes(in, value));
}

/* ------------------------------------------------------------------ forgery */

/* The name of a log, or of a checkpoint: of one that is there, or one more. */
static void some_name(struct world *w, uint8_t argument, char out[KEEPER_NAME_BYTES]) {
    const char *what = argument & 8 ? KEEPER_CHECKPOINT : KEEPER_LOG;
    uint64_t number = 0;
    for (int i = 0; i < w->file_count && !number; i++)
        number = keeper_file_number(w->files[(argument / 16 + i) % w->file_count].name, what);
    CHECK(number || argument & 8 || !w->runs); /* else its logs have other names than we think */
    keeper_file_name(out, what, argument & 128 || !number ? 1 + argument / 16 % 8 : number);
}

/* A whole record behind what is there: its checksums are right. */
static void put_record(struct world *w, uint8_t argument, uint16_t kind, struct bytes payload) {
    const struct disk_port disk = disk_of(w);
    struct journal *journal = journal_new(&disk);
    char name[KEEPER_NAME_BYTES];
    some_name(w, argument, name);
    fuzz_show(name, payload);
    if (journal_start(journal, name, false) == STATUS_OK) {
        journal_add(journal, kind, payload);
        CHECK(journal_sync(journal) == STATUS_OK);
    }
    journal_free(journal);
}

static struct bytes some_bytes(struct input *in) {
    size_t most = input_byte(in);
    return input_bytes(in, most | (size_t)input_below(in, 4) << 8);
}

struct picked {
    unsigned left;
    uint16_t kind;
    struct buf payload;
};

static bool pick(void *arg, uint16_t kind, struct bytes payload) {
    struct picked *p = arg;
    p->kind = kind;
    p->payload.len = 0;
    buf_put_bytes(&p->payload, payload);
    return p->left-- > 0;
}

/* A record that is there once more, with one byte of what is inside changed, or its end; the checksums are right. */
static void bend_inside(struct world *w, uint8_t argument, struct input *in) {
    const struct disk_port disk = disk_of(w);
    char name[KEEPER_NAME_BYTES];
    uint8_t from = input_byte(in), how = input_byte(in), place = input_byte(in), value = input_byte(in);
    struct picked p = {.left = how / 8};
    struct journal_report report = {0};
    some_name(w, from, name);
    if (journal_read(&disk, name, pick, NULL, &p, &report) != STATUS_OK) return; /* there is no room for one more file */
    size_t at = p.payload.len ? (how & 4 ? p.payload.len - 1 - place % p.payload.len : place % p.payload.len) : 0;
    if (how & 1) p.payload.len = at;
    else if (p.payload.len) p.payload.data[at] = value;
    if (how & 2) buf_put_bytes(&p.payload, input_bytes(in, value));
    put_record(w, argument, p.kind, buf_bytes(&p.payload));
    buf_fini(&p.payload);
}

/* -------------------------------------------------------------------- steps */

static void step(struct world *w, struct input *in, bool *touched) {
    enum what what = (enum what)input_below(in, WHATS);
    uint8_t argument = input_byte(in);
    if (what >= TOUCHED) *touched = true;
    switch (what) {
    case WRITE:
    case WRITE_MORE:
        for (unsigned i = 0; i < (what == WRITE ? 1u : 30u); i++) write_one(w, (uint8_t)(argument + i * 7));
        (void)!keeper_commit(w->keeper);
        break;
    case STEP:
        fuzz_clock_move(&w->clock, argument * 10);
        keeper_step(w->keeper, (struct now){w->clock.wall_ms, w->clock.mono_us});
        break;
    case SAVE: (void)keeper_save(w->keeper, argument & 1); break;
    case RESTART:
        w->threads = 1 + (argument > 250);
        check_back(w, touched);
        break;
    case RECORD: put_record(w, argument, argument % 8, some_bytes(in)); break;
    case BEND_INSIDE: bend_inside(w, argument, in); break;
    default: touch(w, what, argument, in); break;
    }
}

static void open_world(struct world *w, uint64_t incarnation) {
    *w = (struct world){.clock = {.wall_ms = 1700000000000, .mono_us = 1000000}, .incarnation = incarnation};
    start(w);
}

static void close_world(struct world *w) {
    stop(w);
    for (int i = 0; i < w->file_count; i++) buf_fini(&w->files[i].bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    static struct world w;
    bool touched = false;
    open_world(&w, XXH3_64bits(data, size));
    for (int i = 0; i < STEPS_MAX && in.left; i++) step(&w, &in, &touched);
    check_back(&w, &touched);
    close_world(&w);
    return 0;
}

/* -------------------------------------------------------------------- seeds */

/* What is forged is read: else there would be nothing to fuzz. */
static void check_reached(uint8_t to) {
    static struct world w;
    bool touched = true;
    open_world(&w, 1);
    put_record(&w, to, 7, bytes_str("of no kind"));
    check_back(&w, &touched);
    CHECK(w.recovery.malformed == 1);
    close_world(&w);
}

/* Each record of a short life, to be put into a log and into a checkpoint once more. */
static bool record_seed(void *arg, uint16_t kind, struct bytes payload) {
    (void)arg;
    for (uint8_t to = 0; to <= 8; to += 8) {
        struct buf seed = {0};
        buf_put(&seed, (uint8_t[]){WRITE_MORE, 3, RECORD, (uint8_t)(to | kind), (uint8_t)payload.len, (uint8_t)(payload.len >> 8)}, 6);
        buf_put_bytes(&seed, payload);
        buf_put(&seed, (uint8_t[]){RESTART, 0, BEND_INSIDE, to, to, (uint8_t)(kind * 8), 0, 0, RESTART, (uint8_t)(kind * 51)}, 10);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
    return true;
}

static void seed_files(struct world *w) {
    const struct disk_port disk = disk_of(w);
    struct journal_report report = {0};
    for (int i = 0; i < w->file_count; i++)
        if (w->files[i].name[0]) CHECK(journal_read(&disk, w->files[i].name, record_seed, NULL, NULL, &report) == STATUS_OK);
    CHECK(report.records >= 5);
}

static void record_seeds(void) {
    static struct world w;
    open_world(&w, 1);
    for (uint8_t i = 0; i < 8; i++) write_one(&w, (uint8_t)(i * 9));
    CHECK(keeper_commit(w.keeper) == STATUS_OK);
    keeper_members(w.keeper, bytes_str("members"));
    keeper_reset_begin(w.keeper);
    keeper_reset(w.keeper);
    for (uint8_t i = 0; i < 4; i++) write_one(&w, (uint8_t)(i * 17));
    CHECK(keeper_commit(w.keeper) == STATUS_OK);
    seed_files(&w);
    (void)keeper_save(w.keeper, false);
    for (int i = 0; i <= SHARDS + 1; i++) keeper_step(w.keeper, (struct now){w.clock.wall_ms, w.clock.mono_us});
    seed_files(&w);
    close_world(&w);
}

static void harm_seed(enum what what, uint8_t i) {
    struct buf seed = {0};
    for (uint8_t k = 0; k < 24; k++) {
        buf_put(&seed, (uint8_t[]){k % 5 ? WRITE : WRITE_MORE, (uint8_t)(k * 11 + i)}, 2);
        if (k % 6 == 2 && i % 2) buf_put(&seed, (uint8_t[]){SAVE, 0}, 2);
        buf_put(&seed, (uint8_t[]){STEP, (uint8_t)(k * 20)}, 2);
        if (k % 4 == 3) buf_put(&seed, (uint8_t[]){(uint8_t)what, k, k, k, 0, 0}, what < TOUCHED ? 2 : what == BEND_INSIDE ? 6 : 5);
        if (k % 8 == 7) buf_put(&seed, (uint8_t[]){RESTART, 0}, 2);
    }
    fuzz_seed(buf_bytes(&seed));
    buf_fini(&seed);
}

void fuzz_seeds(void) {
    static const enum what with[] = {STEP, RESTART, BEND, CUT, RAW, BEND_INSIDE};
    for (uint8_t i = 0; i < 2 * sizeof with / sizeof *with; i++) harm_seed(with[i / 2], i);
    check_reached(0);
    check_reached(8);
    record_seeds();
}
