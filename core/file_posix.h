/* What more than one layer asks of files. */
#ifndef ANNEAL_CORE_FILE_POSIX_H
#define ANNEAL_CORE_FILE_POSIX_H

#include "core/bytes.h"
#include "core/status.h"

/* All of it, however many writes that takes. False, and why in errno: some of it may be there. */
bool file_write(int fd, struct bytes bytes) MUST_CHECK;
/* Appends `len` bytes from `at` on, or fewer: those that there are. False, and why in errno: some may be there. */
bool file_read(int fd, uint64_t at, size_t len, struct buf *out) MUST_CHECK;

#endif
