/* What more than one layer asks of files. */
#ifndef ANNEAL_CORE_FILE_POSIX_H
#define ANNEAL_CORE_FILE_POSIX_H

#include "core/bytes.h"
#include "core/status.h"

/* All of it, however many writes that takes. False, and why in errno: some of it may be there. */
bool file_write(int fd, struct bytes bytes) MUST_CHECK;

#endif
