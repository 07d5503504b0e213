/* The system as a test wants it: what is made durable, named and removed is noted, in order; and calls fail, are interrupted, or do
 * less than they were asked to. In place of libc's, for the whole test. One to a test binary, which includes it once. */
#ifndef ANNEAL_TEST_TRACED_H
#define ANNEAL_TEST_TRACED_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct traced {
    char base[PATH_MAX]; /* names are given as from here */
    char text[4096];     /* a line for each call */
    const char *fails;   /* calls whose line begins so fail with EIO; NULL: none does */
    int link_lost;       /* links that are made, and said to be there already */
    int entries_left;    /* until folders cannot be read; -1: they can */
    bool piecemeal;      /* reads and writes are interrupted every other time, and do no more than 3 bytes */
    bool read_ends;      /* files end before their size */
    unsigned turns;
} traced = {.entries_left = -1};

static pthread_mutex_t traced_lock = PTHREAD_MUTEX_INITIALIZER;

/* From the base on; "." is the base itself. What is temporary has no name of its own. */
static const char *traced_name(const char *path) {
    size_t len = strlen(traced.base);
    if (strncmp(path, traced.base, len) == 0 && (path[len] == '/' || !path[len])) path += len;
    while (*path == '/') path++;
    return !*path ? "." : strncmp(path, ".tmp/", 5) == 0 ? "TMP" : path;
}

static bool trace(const char *what, const char *one, const char *other) {
    char line[2 * PATH_MAX];
    snprintf(line, sizeof line, "%s %s%s%s\n", what, traced_name(one), other ? " " : "", other ? traced_name(other) : "");
    bool fails = traced.fails && strncmp(line, traced.fails, strlen(traced.fails)) == 0;
    pthread_mutex_lock(&traced_lock);
    size_t at = strlen(traced.text);
    snprintf(traced.text + at, sizeof traced.text - at, "%s", line);
    pthread_mutex_unlock(&traced_lock);
    if (fails) errno = EIO;
    return !fails;
}

static bool trace_file(const char *what, int fd) {
    char link[64], path[PATH_MAX] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) < 0) path[0] = 0;
    return trace(what, path, NULL);
}

static void traced_begin(const char *base) {
    traced = (struct traced){.entries_left = -1};
    if (!realpath(base, traced.base)) traced.base[0] = 0;
}

int fsync(int fd) { return trace_file("sync", fd) ? (int)syscall(SYS_fsync, fd) : -1; }
int fdatasync(int fd) { return trace_file("sync", fd) ? (int)syscall(SYS_fdatasync, fd) : -1; }
int rename(const char *from, const char *to) { return trace("rename", from, to) ? (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) : -1; }
int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    return trace("rename", from, to) ? (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0) : -1;
}
int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    if (!trace("link", from, to)) return -1;
    int made = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    if (made < 0 || traced.link_lost == 0) return made;
    traced.link_lost--;
    errno = EEXIST;
    return -1;
}
int unlinkat(int fd, const char *name, int flags) { return trace("remove", name, NULL) ? (int)syscall(SYS_unlinkat, fd, name, flags) : -1; }

/* False: this one is interrupted. */
static bool traced_turn(size_t *len) {
    if (!traced.piecemeal) return true;
    if (*len > 3) *len = 3;
    errno = EINTR;
    return traced.turns++ % 2;
}
ssize_t write(int fd, const void *bytes, size_t len) { return traced_turn(&len) ? syscall(SYS_write, fd, bytes, len) : -1; }
ssize_t pread(int fd, void *bytes, size_t len, off_t at) {
    if (traced.read_ends) return 0;
    return traced_turn(&len) ? syscall(SYS_pread64, fd, bytes, len, at) : -1;
}

struct dirent *readdir(DIR *folder) {
    struct dirent *(*original)(DIR *);
    if (traced.entries_left == 0) {
        errno = EIO;
        return NULL;
    }
    if (traced.entries_left > 0) traced.entries_left--;
    *(void **)&original = dlsym(RTLD_NEXT, "readdir");
    return original(folder);
}

#endif
