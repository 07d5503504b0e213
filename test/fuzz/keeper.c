/* What a node keeps on its disk, and what it makes of it after bytes of it have changed, went
 * missing or were never written by us. Where nothing was touched, all that was committed is back.
 *
 * input := step*
 * step  := what, argument [bytes] */
#include "persist/keeper.h"
#include "persist/journal.h"

#include "test/fuzz/fuzz.h"
#include "test/fuzz/recount.h"

enum { FILES_MAX = 40, SHARDS = 2, STEPS_MAX = 120 };
enum what { WRITE, WRITE_MORE, STEP, SAVE, RESTART, TOUCHED, BEND = TOUCHED, CUT, RAW, RECORD, WHATS };

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
    unsigned lives;
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

/* -------------------------------------------------------------------- lives */

static void start(struct world *w) {
    struct keeper_recovery recovery;
    struct buf error = {0};
    w->replicas = replicas_new();
    struct shard_config config = {.replicas = w->replicas, .log_bytes_max = 2048};
    CHECK(replicas_intern(w->replicas, (struct replica_id){1, ++w->lives}, &config.self) == STATUS_OK);
    for (uint32_t i = 0; i < SHARDS; i++) w->shards[i] = shard_new(i, &config);
    w->keeper = keeper_new(&(struct keeper_config){
        .disk = {disk_open, disk_close, disk_append, disk_sync, disk_cut, disk_read, disk_rename, disk_remove, disk_list, w},
        .shards = w->shards,
        .shard_count = SHARDS,
        .replicas = w->replicas,
        .cluster = "fuzz",
        .logs = true,
        .sync = SYNC_ALWAYS,
        .rewrite_percent = 100,
        .rewrite_bytes_min = 4096});
    enum status status = keeper_recover(w->keeper, w->clock.wall_ms, &recovery, &error);
    CHECK(status == STATUS_OK || error.len > 0);
    w->runs = status == STATUS_OK;
    buf_fini(&error);
    for (uint32_t i = 0; i < SHARDS; i++) recount_shard(w->shards[i]);
}

static void stop(struct world *w) {
    keeper_free(w->keeper);
    for (uint32_t i = 0; i < SHARDS; i++) shard_free(w->shards[i]);
    replicas_free(w->replicas);
}

static void check_back(struct world *w, bool touched) {
    uint64_t before[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++) before[i] = shard_digest(w->shards[i]);
    bool failed = !w->runs || keeper_failure(w->keeper) != STATUS_OK;
    stop(w);
    start(w);
    for (uint32_t i = 0; i < SHARDS && !touched && !failed; i++) CHECK(shard_digest(w->shards[i]) == before[i]);
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

/* A whole record of anything, behind what is there: its checksums are right. */
static void put_record(struct world *w, uint8_t argument, struct input *in) {
    const struct disk_port disk = {disk_open, disk_close, disk_append, disk_sync, disk_cut, disk_read, disk_rename, disk_remove, disk_list, w};
    struct journal *journal = journal_new(&disk);
    const char *name = "log.00000000000000000001";
    for (int i = 0; i < w->file_count; i++)
        if (strncmp(w->files[i].name, "log.", 4) == 0) name = w->files[i].name;
    if (journal_start(journal, name, false) == STATUS_OK) {
        journal_add(journal, argument % 8, input_bytes(in, input_byte(in)));
        CHECK(journal_sync(journal) == STATUS_OK);
    }
    journal_free(journal);
}

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
    case RESTART: check_back(w, *touched); break;
    case RECORD: put_record(w, argument, in); break;
    default: touch(w, what, argument, in); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    static struct world w;
    bool touched = false;
    w = (struct world){.clock = {.wall_ms = 1700000000000, .mono_us = 1000000}};
    start(&w);
    for (int i = 0; i < STEPS_MAX && in.left; i++) step(&w, &in, &touched);
    check_back(&w, touched);
    stop(&w);
    for (int i = 0; i < w.file_count; i++) buf_fini(&w.files[i].bytes);
    return 0;
}

void fuzz_seeds(void) {
    static const enum what with[] = {STEP, RESTART, BEND, CUT, RAW, RECORD};
    for (uint8_t i = 0; i < 2 * sizeof with / sizeof *with; i++) {
        struct buf seed = {0};
        for (uint8_t k = 0; k < 24; k++) {
            buf_put(&seed, (uint8_t[]){k % 5 ? WRITE : WRITE_MORE, (uint8_t)(k * 11 + i)}, 2);
            if (k % 6 == 2 && i % 2) buf_put(&seed, (uint8_t[]){SAVE, 0}, 2);
            buf_put(&seed, (uint8_t[]){STEP, (uint8_t)(k * 20)}, 2);
            if (k % 4 == 3) buf_put(&seed, (uint8_t[]){(uint8_t)with[i / 2], k, 0, 0, 0}, with[i / 2] < TOUCHED ? 2 : 5);
            if (k % 8 == 7) buf_put(&seed, (uint8_t[]){RESTART, 0}, 2);
        }
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
