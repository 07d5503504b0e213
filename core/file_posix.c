#include "core/file_posix.h"

#include <errno.h>
#include <unistd.h>

bool file_write(int fd, struct bytes bytes) {
    for (size_t at = 0; at < bytes.len;) {
        ssize_t put = write(fd, bytes.data + at, bytes.len - at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        at += (size_t)put;
    }
    return true;
}

bool file_read(int fd, uint64_t at, size_t len, struct buf *out) {
    buf_reserve(out, len);
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(fd, out->data + out->len, len - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        if (n == 0) break;
        out->len += (size_t)n;
        got += (size_t)n;
    }
    return true;
}
