/* Objects as files of a directory, with threads of its own for the calls that wait for the disk.
 *
 *     path/.tmp/5d1f...         being written
 *     path/segments/7/0001      the object segments/7/0001
 *
 * An object is written beside, made durable, and only then gets its name: by rename (PUT), which replaces, or by link
 * (CREATE), which fails where the name is taken, on every file system and between machines that share one. The name is
 * durable once its folders are. What a dead process left in .tmp is removed a day later.
 *
 * Nothing bounds the time that a file system takes: on a network mount that hangs, requests and store_close hang too. */
#define _GNU_SOURCE /* dup3 */
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
#include "core/thread_posix.h"
#include "persist/desk.h"

#define TEMPORARY ".tmp"
#define TEMPORARY_NAME_BYTES 32
#define TEMPORARY_AGE_MS (24 * 3600 * 1000LL)
#define KEY_TEXT (STORE_KEY_BYTES_MAX + 1)

struct dir_store {
    struct desk desk;
    char *path;
    bool read_only;
    int root; /* stays the same number, see find_root */
    uint32_t threads_count;
    pthread_t *threads;
};

/* By errno. A disk that is full may have room later; a name that cannot be will not. */
static void fail(struct store_request *r, const char *what) {
    int e = errno;
    bool refused = e == EACCES || e == EPERM || e == EROFS || e == ENOTDIR || e == EISDIR || e == ENAMETOOLONG || e == ELOOP;
    store_answer(r, refused ? STORE_REFUSED : STORE_TRANSIENT, "%s %.*s: %s", what, (int)r->key.len, (const char *)r->key.data,
                 strerror(e));
}

static void key_text(struct bytes key, char out[KEY_TEXT]) {
    memcpy(out, key.data, key.len);
    out[key.len] = 0;
}

/* ----------------------------------------------------------------- writing */

static bool sync_folder(int root, const char *path) {
    int fd = openat(root, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool synced = fsync(fd) == 0;
    int why = errno;
    close(fd);
    errno = why;
    return synced;
}

/* The folder that holds `key`: the text before its last slash. */
static void parent_of(const char *key, char out[KEY_TEXT]) {
    const char *slash = strrchr(key, '/');
    size_t len = slash ? (size_t)(slash - key) : 0;
    memcpy(out, key, len);
    out[len] = 0;
}

static bool make_folders(int root, const char *key) {
    char path[KEY_TEXT];
    for (const char *slash = strchr(key, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t len = (size_t)(slash - key);
        memcpy(path, key, len);
        path[len] = 0;
        if (mkdirat(root, path, 0750) < 0 && errno != EEXIST) return false;
    }
    return true;
}

/* The folder of the object and all above it: whoever made one of them may not have come to that yet. Cheap where it was done. */
static bool sync_folders(int root, const char *key) {
    char path[KEY_TEXT];
    memcpy(path, key, strlen(key) + 1);
    do {
        char *slash = strrchr(path, '/');
        *(slash ? slash : path) = 0;
        if (!sync_folder(root, path)) return false;
    } while (*path);
    return true;
}

/* Over NFS link may say EEXIST though it was this very call that made the name and only its reply was lost: the file that
 * has two names now tells. */
static bool link_new(int root, int fd, const char *temporary, const char *key) {
    struct stat s;
    if (linkat(root, temporary, root, key, 0) == 0) return true;
    if (errno != EEXIST) return false;
    bool ours = fstat(fd, &s) == 0 && s.st_nlink == 2;
    errno = EEXIST;
    return ours;
}

static bool is_folder(int root, const char *key) {
    struct stat s;
    return fstatat(root, key, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(s.st_mode);
}

/* The content is durable; now the name. */
static void publish(struct dir_store *d, struct store_request *r, int fd, const char *temporary) {
    char key[KEY_TEXT];
    key_text(r->key, key);
    if (!make_folders(d->root, key)) return fail(r, "cannot make the folders of");
    bool named = r->op == STORE_CREATE ? link_new(d->root, fd, temporary, key) : renameat(d->root, temporary, d->root, key) == 0;
    if (!named && errno == EEXIST && is_folder(d->root, key)) errno = EISDIR;
    if (!named && errno == EEXIST) return store_answer(r, STORE_EXISTS, "%s is there already", key);
    if (!named) return fail(r, "cannot name");
    if (sync_folders(d->root, key)) return store_answer(r, STORE_DONE, "%s", "");
    r->unsure = true; /* visible now, but perhaps not after a loss of power */
    fail(r, "cannot make durable the folders of");
}

static bool make_temporary(int root) { return mkdirat(root, TEMPORARY, 0750) == 0 || errno == EEXIST; }

static void put(struct dir_store *d, struct store_request *r) {
    char temporary[TEMPORARY_NAME_BYTES];
    snprintf(temporary, sizeof temporary, TEMPORARY "/%016" PRIx64, d->desk.clock.entropy(d->desk.clock.self));
    int fd = openat(d->root, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0 && errno == ENOENT && make_temporary(d->root)) /* whoever emptied the store took that along */
        fd = openat(d->root, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0) return fail(r, "cannot write");
    if (file_write(fd, r->body) && fsync(fd) == 0) publish(d, r, fd, temporary);
    else fail(r, "cannot write");
    close(fd);
    unlinkat(d->root, temporary, 0); /* after a rename there is none */
}

/* ----------------------------------------------------- reading and deleting */

static bool is_missing(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP; }

/* A folder is no object: a key that is one is not there. */
static int open_object(struct dir_store *d, struct store_request *r, struct stat *s) {
    char key[KEY_TEXT];
    key_text(r->key, key);
    int fd = openat(d->root, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && is_missing(errno)) store_answer(r, STORE_MISSING, "there is no %s", key);
    else if (fd < 0 || fstat(fd, s) < 0) fail(r, "cannot read");
    else if (!S_ISREG(s->st_mode)) store_answer(r, STORE_MISSING, "there is no %s", key);
    else return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static void read_range(struct store_request *r, int fd, uint64_t len) {
    if (!file_read(fd, r->offset, (size_t)len, &r->data)) fail(r, "cannot read");
    else if (r->data.len < len) store_answer(r, STORE_TRANSIENT, "%.*s became shorter", (int)r->key.len, (const char *)r->key.data);
    else store_answer(r, STORE_DONE, "%s", "");
}

static void get(struct dir_store *d, struct store_request *r) {
    struct stat s;
    int fd = open_object(d, r, &s);
    if (fd < 0) return;
    uint64_t size = (uint64_t)s.st_size, len = size > r->offset ? size - r->offset : 0;
    if (r->len > 0 && r->len < len) len = r->len;
    if (len > r->bytes_max) store_answer(r, STORE_TOO_LARGE, "%" PRIu64 " bytes, more than %" PRIu64, len, r->bytes_max);
    else read_range(r, fd, len);
    close(fd);
}

static void head(struct dir_store *d, struct store_request *r) {
    struct stat s;
    int fd = open_object(d, r, &s);
    if (fd < 0) return;
    r->size = (uint64_t)s.st_size;
    store_answer(r, STORE_DONE, "%s", "");
    close(fd);
}

static void remove_object(struct dir_store *d, struct store_request *r) {
    char key[KEY_TEXT], parent[KEY_TEXT];
    key_text(r->key, key);
    parent_of(key, parent);
    bool gone = unlinkat(d->root, key, 0) == 0;
    if (!gone && (is_missing(errno) || errno == EISDIR)) return store_answer(r, STORE_DONE, "%s", "");
    if (!gone || !sync_folder(d->root, parent)) return fail(r, "cannot delete");
    store_answer(r, STORE_DONE, "%s", "");
}

/* ----------------------------------------------------------------- listing
 *
 * Folders are read in any order; of the keys that are asked for the least limit + 1 are kept: the array is sorted and cut
 * whenever it is full, and from the first cut on `bound` turns away all that cannot be among them. */

struct found {
    char *key;
    uint64_t size;
};

struct walk {
    const struct store_request *request;
    struct found *found;
    size_t count, keep; /* found has room for 2 * keep */
    const char *bound;  /* NULL: none yet */
    char path[KEY_TEXT];
};

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct found *)a)->key, ((const struct found *)b)->key);
}

static void cut(struct walk *w) {
    if (w->count > 0) qsort(w->found, w->count, sizeof *w->found, by_key);
    for (; w->count > w->keep; w->count--) mem_free(w->found[w->count - 1].key);
    if (w->count == w->keep) w->bound = w->found[w->keep - 1].key;
}

static bool begins(struct bytes text, struct bytes with) {
    return text.len >= with.len && bytes_equal(bytes_of(text.data, with.len), with);
}

static bool file_wanted(const struct walk *w, struct bytes key) {
    if (!begins(key, w->request->key) || bytes_compare(key, w->request->after) <= 0) return false;
    return !w->bound || bytes_compare(key, bytes_str(w->bound)) < 0;
}

/* Whether keys that begin with `folder`, slash included, can be wanted. */
static bool folder_wanted(const struct walk *w, struct bytes folder) {
    struct bytes prefix = w->request->key, after = w->request->after;
    if (!begins(folder, prefix) && !begins(prefix, folder)) return false;
    if (bytes_compare(folder, after) < 0 && !begins(after, folder)) return false;
    return !w->bound || bytes_compare(folder, bytes_str(w->bound)) < 0;
}

static void add(struct walk *w, size_t len, uint64_t size) {
    char *key = mem_alloc(len + 1);
    memcpy(key, w->path, len + 1);
    w->found[w->count++] = (struct found){key, size};
    if (w->count == 2 * w->keep) cut(w);
}

static bool walk_folder(struct walk *w, int fd, size_t len);

/* What vanishes while we look was not there; links and sockets are nobody's objects. */
static bool visit(struct walk *w, int folder, const char *name, size_t len) {
    struct stat s;
    struct bytes key = bytes_of(w->path, len);
    if (!store_key_valid(key) || fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) < 0) return true;
    if (S_ISREG(s.st_mode)) {
        if (file_wanted(w, key)) add(w, len, (uint64_t)s.st_size);
        return true;
    }
    if (!S_ISDIR(s.st_mode) || len + 1 >= KEY_TEXT) return true;
    w->path[len] = '/';
    if (!folder_wanted(w, bytes_of(w->path, len + 1))) return true;
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT;
    return walk_folder(w, fd, len + 1);
}

/* Takes fd. path[0..len) is the folder's name with its slash. */
static bool walk_folder(struct walk *w, int fd, size_t len) {
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return false;
    }
    bool good = true;
    for (struct dirent *e; good && (errno = 0, e = readdir(dir));) {
        size_t name_len = strlen(e->d_name);
        if (e->d_name[0] == '.' || len + name_len >= KEY_TEXT) continue;
        memcpy(w->path + len, e->d_name, name_len + 1);
        good = visit(w, dirfd(dir), e->d_name, len + name_len);
    }
    if (good && errno != 0) good = false;
    int why = errno;
    closedir(dir);
    errno = why;
    return good;
}

static void list(struct dir_store *d, struct store_request *r) {
    struct walk w = {.request = r, .keep = r->limit + 1u};
    int fd = openat(d->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail(r, "cannot list");
    w.found = mem_alloc(2 * w.keep * sizeof *w.found);
    if (walk_folder(&w, fd, 0)) {
        cut(&w);
        bool more = w.count > r->limit;
        for (size_t i = 0; i < w.count && i < r->limit; i++) store_page_add(r, bytes_str(w.found[i].key), w.found[i].size);
        store_page_end(r, more);
        store_answer(r, STORE_DONE, "%s", "");
    } else {
        fail(r, "cannot list");
    }
    for (size_t i = 0; i < w.count; i++) mem_free(w.found[i].key);
    mem_free(w.found);
}

/* ----------------------------------------------------------------- opening */

/* Also the name of the folder itself is durable, if it is we who made it. */
static bool make_root(const char *path) {
    char parent[PATH_MAX];
    if (mkdir(path, 0750) < 0) return errno == EEXIST;
    const char *end = path + strlen(path);
    while (end > path && end[-1] == '/') end--;
    while (end > path && end[-1] != '/') end--;
    snprintf(parent, sizeof parent, "%.*s", (int)(end - path), path);
    return sync_folder(AT_FDCWD, parent);
}

static int open_root(const char *path, bool read_only) {
    if (!read_only && !make_root(path)) return -1;
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || read_only) return root;
    if (make_temporary(root)) return root;
    int why = errno;
    close(root);
    errno = why;
    return -1;
}

/* If the folder was removed, what has its name now is the store: emptied, perhaps filled by others since. Those at work have either. */
static void find_root(struct dir_store *d) {
    struct stat s;
    if (fstat(d->root, &s) == 0 && s.st_nlink > 0) return;
    int root = open_root(d->path, d->read_only);
    if (root < 0) return;
    dup3(root, d->root, O_CLOEXEC);
    close(root);
}

/* -------------------------------------------------------------------- port */

static void carry_out(struct dir_store *d, struct store_request *r) {
    r->tries = 1;
    find_root(d);
    switch (r->op) {
    case STORE_PUT:
    case STORE_CREATE: return put(d, r);
    case STORE_GET: return get(d, r);
    case STORE_HEAD: return head(d, r);
    case STORE_DELETE: return remove_object(d, r);
    case STORE_LIST: return list(d, r);
    }
}

static void *worker(void *self) {
    struct dir_store *d = self;
    for (struct store_request *r; (r = desk_wait(&d->desk));) {
        carry_out(d, r);
        desk_answer(&d->desk, r);
    }
    return NULL;
}

static enum status dir_submit(void *self, struct store_request *r) { return desk_submit(&((struct dir_store *)self)->desk, r); }
static struct store_request *dir_poll(void *self) { return desk_poll(&((struct dir_store *)self)->desk); }

static void dir_close(void *self) {
    struct dir_store *d = self;
    desk_close(&d->desk);
    for (uint32_t i = 0; i < d->threads_count; i++) pthread_join(d->threads[i], NULL);
    desk_fini(&d->desk);
    close(d->root);
    free(d->path);
    mem_free(d->threads);
    mem_free(d);
}

/* Others may write here now: only what is old goes. */
static void remove_leftovers(int root, int64_t wall_ms) {
    int fd = openat(root, TEMPORARY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct stat s;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        bool old = fstatat(fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode) &&
                   (int64_t)s.st_mtim.tv_sec * 1000 < wall_ms - TEMPORARY_AGE_MS;
        if (old) unlinkat(fd, e->d_name, 0);
    }
    if (dir) closedir(dir);
    else if (fd >= 0) close(fd);
}

enum status store_dir_open(const char *path, const struct store_settings *settings, struct store *store, struct buf *error) {
    int root = open_root(path, settings->read_only);
    if (root < 0) {
        buf_printf(error, "object store %s: %s", path, strerror(errno));
        return STATUS_ERR_IO;
    }
    if (!settings->read_only) remove_leftovers(root, settings->clock.now(settings->clock.self).wall_ms);
    struct dir_store *d = mem_zero(1, sizeof *d);
    desk_init(&d->desk, settings);
    d->root = root;
    d->path = strdup(path);
    d->read_only = settings->read_only;
    d->threads = mem_zero(settings->concurrency, sizeof *d->threads);
    uint32_t *count = &d->threads_count;
    while (*count < settings->concurrency && thread_start(&d->threads[*count], worker, d)) (*count)++;
    if (d->threads_count == 0) {
        dir_close(d);
        buf_printf(error, "object store %s: no thread can be started", path);
        return STATUS_ERR_LIMIT;
    }
    *store = (struct store){dir_submit, dir_poll, dir_close, d};
    return STATUS_OK;
}
