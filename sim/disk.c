#include "sim/disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/mem.h"
#include "sim/memory.h"

#define FILES_MAX 256
#define NAME_MAX_BYTES 64
#define TORN_BYTES_MAX 64
#define SECTOR_BYTES 512

struct span {
    size_t from, to;
};

struct file {
    char name[NAME_MAX_BYTES]; /* "": removed, but open */
    struct buf data;
    size_t synced;
    struct buf doomed; /* struct span, in order: a sync of them failed, and none will be tried again */
    int opened;
    bool used;
};

struct disk_sim {
    struct file files[FILES_MAX];
    struct rng rng, rare; /* the other is for what came later: seeds without it run as they always did */
    uint32_t append_fails, sync_fails;
    unsigned holes;
    uint64_t until_dark; /* operations; 0: it stays on */
    bool last, dark;     /* the process ends after this operation; it has ended */
    uint64_t limit;
    struct disk_stats stats;
};

struct disk_sim *disk_sim_new(uint64_t seed) {
    struct disk_sim *d = mem_zero(1, sizeof *d);
    rng_seed(&d->rng, seed);
    rng_seed(&d->rare, seed ^ 0x4a4e);
    d->limit = UINT64_MAX;
    return d;
}

static void forget(struct file *f) {
    buf_fini(&f->data);
    buf_fini(&f->doomed);
    *f = (struct file){0};
}

void disk_sim_free(struct disk_sim *d) {
    for (int i = 0; i < FILES_MAX; i++) forget(&d->files[i]);
    mem_free(d);
}

uint64_t disk_sim_bytes(const struct disk_sim *d) {
    uint64_t bytes = 0;
    for (int i = 0; i < FILES_MAX; i++) bytes += d->files[i].data.len;
    return bytes;
}

void disk_sim_stats(const struct disk_sim *d, struct disk_stats *out) { *out = d->stats; }

static struct file *find(struct disk_sim *d, const char *name) {
    for (int i = 0; i < FILES_MAX; i++)
        if (d->files[i].used && strcmp(d->files[i].name, name) == 0) return &d->files[i];
    return NULL;
}

bool disk_sim_has(const struct disk_sim *d, const char *name) { return find((struct disk_sim *)(uintptr_t)d, name) != NULL; }

/* A file that is removed lives on until it is closed. */
static void unlink_file(struct file *f) {
    f->name[0] = 0;
    if (!f->opened) forget(f);
}

static enum status sim_open(void *self, const char *name, int *file) {
    struct disk_sim *d = self;
    struct file *f = find(d, name);
    for (int i = 0; i < FILES_MAX && !f; i++)
        if (!d->files[i].used) f = &d->files[i];
    if (!f) return STATUS_ERR_IO;
    if (!f->used) snprintf(f->name, sizeof f->name, "%s", name);
    f->used = true;
    f->opened++;
    *file = (int)(f - d->files);
    return STATUS_OK;
}

static void sim_close(void *self, int file) {
    struct file *f = &((struct disk_sim *)self)->files[file];
    if (--f->opened == 0 && !f->name[0]) forget(f);
}

static enum status sim_append(void *self, int file, struct bytes bytes) {
    struct disk_sim *d = self;
    uint64_t used = disk_sim_bytes(d);
    enum status status = STATUS_OK;
    if (rng_below(&d->rng, 1000000) < d->append_fails) status = STATUS_ERR_IO;
    if (used + bytes.len > d->limit) status = STATUS_ERR_FULL;
    d->stats.appends_failed += status == STATUS_ERR_IO;
    d->stats.full += status == STATUS_ERR_FULL;
    uint64_t room = d->limit > used ? d->limit - used : 0, part = bytes.len < room ? bytes.len : room;
    if (status != STATUS_OK) bytes.len = (size_t)rng_below(&d->rng, part + 1);
    struct memory *caller = memory_become(NULL);
    buf_put_bytes(&d->files[file].data, bytes);
    memory_become(caller);
    return status;
}

/* What is behind `end` is not there, or in another span. */
static void cut_doomed(struct file *f, size_t end) {
    struct span *spans = (struct span *)(void *)f->doomed.data;
    size_t count = f->doomed.len / sizeof *spans;
    while (count && spans[count - 1].from >= end) count--;
    if (count && spans[count - 1].to > end) spans[count - 1].to = end;
    f->doomed.len = count * sizeof *spans;
}

static void doom_unsynced(struct file *f) {
    struct span span = {f->synced, f->data.len};
    cut_doomed(f, f->synced);
    if (span.from == span.to) return;
    struct memory *caller = memory_become(NULL);
    buf_put(&f->doomed, &span, sizeof span);
    memory_become(caller);
}

/* One that fails leaves what it was to write marked as written, as Linux does: readers still see it, and later
 * syncs do not try it again. */
static enum status sim_sync(void *self, int file) {
    struct disk_sim *d = self;
    struct file *f = &d->files[file];
    if (rng_below(&d->rng, 1000000) < d->sync_fails) {
        doom_unsynced(f);
        d->stats.syncs_failed++;
        return STATUS_ERR_IO;
    }
    f->synced = f->data.len;
    return STATUS_OK;
}

static enum status sim_cut(void *self, int file, uint64_t size) {
    struct file *f = &((struct disk_sim *)self)->files[file];
    if (size < f->data.len) f->data.len = (size_t)size;
    if (f->synced > f->data.len) f->synced = f->data.len;
    cut_doomed(f, f->data.len);
    return STATUS_OK;
}

static enum status sim_read(void *self, int file, uint64_t at, size_t len, struct buf *out) {
    const struct file *f = &((struct disk_sim *)self)->files[file];
    if (at >= f->data.len) return STATUS_OK;
    size_t left = f->data.len - (size_t)at;
    buf_put(out, f->data.data + at, left < len ? left : len);
    return STATUS_OK;
}

static enum status sim_rename(void *self, const char *from, const char *to) {
    struct file *f = find(self, from), *old = find(self, to);
    if (!f) return STATUS_ERR_NOT_FOUND;
    if (old) unlink_file(old);
    snprintf(f->name, sizeof f->name, "%s", to);
    return STATUS_OK;
}

static enum status sim_remove(void *self, const char *name) {
    struct file *f = find(self, name);
    if (f) unlink_file(f);
    return STATUS_OK;
}

static enum status sim_list(void *self, void (*visit)(void *arg, const char *name, uint64_t size), void *arg) {
    const struct disk_sim *d = self;
    for (int i = 0; i < FILES_MAX; i++)
        if (d->files[i].used && d->files[i].name[0]) visit(arg, d->files[i].name, d->files[i].data.len);
    return STATUS_OK;
}

/* ------------------------------------------------------- in the midst of it */

static void end(struct disk_sim *d) {
    d->dark = true;
    d->last = false;
    memory_end();
}

static void before(struct disk_sim *d) {
    if (!d->until_dark || --d->until_dark) return;
    d->last = rng_percent(&d->rare, 50);
    if (!d->last) end(d);
}

static enum status after(struct disk_sim *d, enum status status) {
    if (d->last) end(d);
    return status;
}

static enum status port_open(void *self, const char *name, int *file) {
    before(self);
    return after(self, sim_open(self, name, file));
}
static enum status port_append(void *self, int file, struct bytes bytes) {
    before(self);
    return after(self, sim_append(self, file, bytes));
}
static enum status port_sync(void *self, int file) {
    before(self);
    return after(self, sim_sync(self, file));
}
static enum status port_cut(void *self, int file, uint64_t size) {
    before(self);
    return after(self, sim_cut(self, file, size));
}
static enum status port_rename(void *self, const char *from, const char *to) {
    before(self);
    return after(self, sim_rename(self, from, to));
}
static enum status port_remove(void *self, const char *name) {
    before(self);
    return after(self, sim_remove(self, name));
}

void disk_sim_dark(struct disk_sim *d, uint64_t operations) { d->until_dark = operations; }
bool disk_sim_is_dark(const struct disk_sim *d) { return d->dark; }

struct disk_port disk_sim_port(struct disk_sim *d) {
    return (struct disk_port){port_open, sim_close, port_append, port_sync, port_cut, sim_read, port_rename, port_remove, sim_list, d};
}

static void close_all(struct disk_sim *d) {
    d->until_dark = 0;
    d->dark = false;
    for (int i = 0; i < FILES_MAX; i++) {
        struct file *f = &d->files[i];
        f->opened = 0;
        if (f->used && !f->name[0]) forget(f);
    }
}

void disk_sim_kill(struct disk_sim *d) { close_all(d); }

static void tear_end(struct disk_sim *d, struct file *f) {
    if (f->data.len == f->synced) return;
    f->data.len = f->synced + (size_t)rng_below(&d->rng, f->data.len - f->synced + 1);
    d->stats.unsynced++;
    size_t torn = (size_t)rng_below(&d->rng, TORN_BYTES_MAX);
    for (size_t at = f->data.len; at > f->synced && torn > 0; at--, torn--) f->data.data[at - 1] = (uint8_t)rng_below(&d->rng, 256);
}

/* Sectors are written in any order: a later one may be there, and one before it not. */
static void make_holes(struct disk_sim *d, struct file *f) {
    if (f->data.len == f->synced || !d->holes || !rng_percent(&d->rare, d->holes)) return;
    unsigned share = 5 + (unsigned)rng_below(&d->rare, 90);
    bool any = false, behind = false;
    for (size_t at = f->synced, end; at < f->data.len; at = end) {
        end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        if (end > f->data.len) end = f->data.len;
        bool hole = rng_percent(&d->rare, share);
        behind = behind || (any && !hole);
        any = any || hole;
        if (hole) memset(f->data.data + at, 0, end - at);
    }
    d->stats.holes += behind;
}

static void lose_doomed(struct disk_sim *d, struct file *f) {
    cut_doomed(f, f->data.len);
    const struct span *spans = (const struct span *)(const void *)f->doomed.data;
    d->stats.doomed += f->doomed.len != 0;
    for (size_t i = 0; i < f->doomed.len / sizeof *spans; i++) memset(f->data.data + spans[i].from, 0, spans[i].to - spans[i].from);
    f->doomed.len = 0;
}

void disk_sim_crash(struct disk_sim *d) {
    close_all(d);
    for (int i = 0; i < FILES_MAX; i++) {
        struct file *f = &d->files[i];
        tear_end(d, f);
        make_holes(d, f);
        lose_doomed(d, f);
        f->synced = f->data.len;
    }
}

void disk_sim_fail(struct disk_sim *d, uint32_t appends, uint32_t syncs) {
    d->append_fails = appends;
    d->sync_fails = syncs;
}

void disk_sim_holes(struct disk_sim *d, unsigned percent) { d->holes = percent; }

void disk_sim_limit(struct disk_sim *d, uint64_t bytes) { d->limit = bytes; }

bool disk_sim_rot(struct disk_sim *d) {
    uint64_t bytes = disk_sim_bytes(d);
    if (!bytes) return false;
    uint64_t at = rng_below(&d->rng, bytes);
    for (int i = 0; i < FILES_MAX; i++) {
        struct file *f = &d->files[i];
        if (at < f->data.len) {
            f->data.data[at] ^= (uint8_t)(1u << rng_below(&d->rng, 8));
            return true;
        }
        at -= f->data.len;
    }
    return false;
}
