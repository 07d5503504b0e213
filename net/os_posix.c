#include "net/os_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "core/file_posix.h"

/* ----------------------------------------------------------------- process */

static uint64_t rss_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    if (f && fscanf(f, "%*u %llu", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static char os_name[3 * sizeof ((struct utsname *)NULL)->release];

static void take_os_name(void) {
    struct utsname name;
    if (uname(&name) == 0) snprintf(os_name, sizeof os_name, "%s %s %s", name.sysname, name.release, name.machine);
}

struct process_usage os_usage(void) {
    static pthread_once_t named = PTHREAD_ONCE_INIT;
    struct rusage r;
    pthread_once(&named, take_os_name);
    getrusage(RUSAGE_SELF, &r);
    return (struct process_usage){.pid = getpid(), .rss_bytes = rss_bytes(), .os = os_name,
                                  .cpu_user_s = (double)r.ru_utime.tv_sec + (double)r.ru_utime.tv_usec / 1e6,
                                  .cpu_system_s = (double)r.ru_stime.tv_sec + (double)r.ru_stime.tv_usec / 1e6};
}

/* --------------------------------------------------------------------- log */

static int log_fd = 2;

static void log_sink(enum log_level level, const char *line) {
    static const char marks[] = ".-*#";
    int64_t wall_ms = os_now().wall_ms;
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char stamp[32], text[1200];
    gmtime_r(&seconds, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    int len = snprintf(text, sizeof text, "%s.%03dZ %c %s\n", stamp, (int)(wall_ms % 1000), marks[level], line);
    if (len > (int)sizeof text) len = (int)sizeof text;
    if (write(log_fd, text, (size_t)len) < 0) return; /* nowhere left to say it */
}

static enum status failed(struct buf *error, const char *what, const char *path) {
    buf_printf(error, "cannot %s %s: %s", what, path, strerror(errno));
    return STATUS_ERR_IO;
}

enum status os_log_open(const char *path, enum log_level least, struct buf *error) {
    if (*path) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (fd < 0) return failed(error, "log to", path);
        log_fd = fd;
    }
    log_to(log_sink, least);
    return STATUS_OK;
}

/* ------------------------------------------------------------------- files */

uint64_t os_files(uint64_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return wanted;
    struct rlimit more = {limit.rlim_max < wanted ? limit.rlim_max : wanted, limit.rlim_max};
    if (limit.rlim_cur < wanted && setrlimit(RLIMIT_NOFILE, &more) == 0) limit = more;
    return limit.rlim_cur;
}

#define PATH_BYTES_MAX 4096

enum status os_read_file(const char *path, size_t max, struct buf *out, struct buf *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return failed(error, "read", path);
    enum status status = STATUS_OK;
    for (;;) {
        buf_reserve(out, 4096);
        ssize_t got = read(fd, out->data + out->len, 4096);
        if (got == 0) break;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = failed(error, "read", path);
            break;
        }
        out->len += (size_t)got;
        if (out->len > max) {
            buf_printf(error, "%s is larger than %zu bytes", path, max);
            status = STATUS_ERR_TOO_LARGE;
            break;
        }
    }
    close(fd);
    return status;
}

/* The name is durable only once its directory is. */
static bool sync_directory_of(const char *path) {
    char directory[PATH_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash - path) + 1 : 1;
    snprintf(directory, sizeof directory, "%.*s", len, slash ? path : ".");
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool synced = fsync(fd) == 0;
    close(fd);
    return synced;
}

static bool write_beside(const char *path, const char *beside, struct bytes bytes) {
    struct stat old;
    mode_t mode = stat(path, &old) == 0 ? old.st_mode & 07777 : 0600;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    bool written = file_write(fd, bytes) && fchmod(fd, mode) == 0 && fsync(fd) == 0;
    int why = errno;
    bool closed = close(fd) == 0;
    if (!written) errno = why;
    return written && closed;
}

enum status os_write_file(const char *path, struct bytes bytes, struct buf *error) {
    char beside[PATH_BYTES_MAX];
    if ((size_t)snprintf(beside, sizeof beside, "%s.%d", path, getpid()) >= sizeof beside) {
        buf_printf(error, "%s: the path is too long", path);
        return STATUS_ERR_IO;
    }
    if (write_beside(path, beside, bytes) && rename(beside, path) == 0 && sync_directory_of(path)) return STATUS_OK;
    enum status status = failed(error, "write", path);
    unlink(beside);
    return status;
}

/* The lock is held by the open file, so it ends with the process however that ends. */
enum status os_claim_dir(const char *dir, uint64_t given, uint64_t *node_id, struct buf *error) {
    char path[PATH_BYTES_MAX], text[32] = {0};
    if ((size_t)snprintf(path, sizeof path, "%s/node-id", dir) >= sizeof path) {
        buf_printf(error, "dir %s: the path is too long", dir);
        return STATUS_ERR_IO;
    }
    if (mkdir(dir, 0750) < 0 && errno != EEXIST) return failed(error, "make the directory", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return failed(error, "open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        buf_printf(error, "another process uses the directory %s; give each node its own --dir", dir);
        return STATUS_ERR_BUSY;
    }
    if (read(fd, text, sizeof text - 1) < 0) return failed(error, "read", path);
    char *end = text;
    uint64_t kept = strtoull(text, &end, 16);
    bool has = end - text == 16 && (*end == '\n' || !*end) && kept != 0;
    if (*text && !has) {
        buf_printf(error, "%s does not hold 16 hex digits; remove it to get a new node id", path);
        return STATUS_ERR_INVALID;
    }
    *node_id = given ? given : kept;
    if (has && (!given || given == kept)) return STATUS_OK;
    while (!*node_id) *node_id = os_entropy();
    snprintf(text, sizeof text, "%016" PRIx64 "\n", *node_id);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, 17, 0) != 17 || fsync(fd) < 0) return failed(error, "write", path);
    return STATUS_OK;
}

enum status os_place(const char *dir, struct buf *out, struct buf *error) {
    struct stat is;
    struct buf boot = {0};
    if (stat(dir, &is) < 0) return failed(error, "look at the directory", dir);
    enum status status = os_read_file("/proc/sys/kernel/random/boot_id", 64, &boot, error);
    size_t len = 0;
    while (len < boot.len && boot.data[len] > ' ') len++;
    if (status == STATUS_OK)
        buf_printf(out, "boot %.*s, device %llu, inode %llu", (int)len, (char *)boot.data, (unsigned long long)is.st_dev, (unsigned long long)is.st_ino);
    buf_put_byte(out, 0);
    buf_fini(&boot);
    return status;
}
