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
