#include "persist/disk_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file_posix.h"
#include "core/log.h"
#include "core/mem.h"

struct disk {
    int dir;
};

static enum status failed(const char *what, const char *name) {
    int error = errno;
    log_line(LOG_WARNING, "cannot %s %s: %s", what, name, strerror(error));
    if (error == ENOENT) return STATUS_ERR_NOT_FOUND;
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? STATUS_ERR_FULL : STATUS_ERR_IO;
}

static enum status sync_dir(const struct disk *d) { return fsync(d->dir) == 0 ? STATUS_OK : failed("sync", "the directory"); }

static enum status disk_open_file(void *self, const char *name, int *file) {
    const struct disk *d = self;
    *file = openat(d->dir, name, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (*file < 0) return failed("open", name);
    enum status status = sync_dir(d);
    if (status != STATUS_OK) close(*file);
    return status;
}

static void disk_close_file(void *self, int file) {
    (void)self;
    close(file);
}

static enum status disk_append(void *self, int file, struct bytes bytes) {
    (void)self;
    return file_write(file, bytes) ? STATUS_OK : failed("write to", "the log");
}

static enum status disk_sync(void *self, int file) {
    (void)self;
    return fdatasync(file) == 0 ? STATUS_OK : failed("sync", "the log");
}

static enum status disk_cut(void *self, int file, uint64_t size) {
    (void)self;
    return ftruncate(file, (off_t)size) == 0 ? STATUS_OK : failed("cut", "the log");
}

static enum status disk_read(void *self, int file, uint64_t at, size_t len, struct buf *out) {
    (void)self;
    return file_read(file, at, len, out) ? STATUS_OK : failed("read", "a file");
}

static enum status disk_rename(void *self, const char *from, const char *to) {
    const struct disk *d = self;
    if (renameat(d->dir, from, d->dir, to) < 0) return failed("rename", from);
    return sync_dir(d);
}

static enum status disk_remove(void *self, const char *name) {
    const struct disk *d = self;
    if (unlinkat(d->dir, name, 0) < 0 && errno != ENOENT) return failed("remove", name);
    return sync_dir(d);
}

static enum status disk_list(void *self, void (*visit)(void *arg, const char *name, uint64_t size), void *arg) {
    const struct disk *d = self;
    int copy = openat(d->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    struct dirent *entry;
    enum status status = entries ? STATUS_OK : failed("list", "the directory");
    while (status == STATUS_OK && (errno = 0, entry = readdir(entries))) {
        struct stat st;
        if (fstatat(d->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            status = errno == ENOENT ? STATUS_OK : failed("look at", entry->d_name);
        else if (S_ISREG(st.st_mode))
            visit(arg, entry->d_name, (uint64_t)st.st_size);
    }
    if (status == STATUS_OK && errno) status = failed("list", "the directory"); /* whole, or not at all: what is not seen is not read */
    if (entries) closedir(entries);
    else if (copy >= 0) close(copy);
    return status;
}

struct disk *disk_open(const char *dir, struct buf *error) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        buf_printf(error, "cannot open the directory %s: %s", dir, strerror(errno));
        return NULL;
    }
    struct disk *d = mem_zero(1, sizeof *d);
    d->dir = fd;
    return d;
}

void disk_close(struct disk *d) {
    close(d->dir);
    mem_free(d);
}

struct disk_port disk_port(struct disk *d) {
    return (struct disk_port){disk_open_file, disk_close_file, disk_append, disk_sync, disk_cut, disk_read,
                              disk_rename, disk_remove, disk_list, d};
}
