/* The disk port over a directory. */
#ifndef ANNEAL_PERSIST_DISK_POSIX_H
#define ANNEAL_PERSIST_DISK_POSIX_H

#include "persist/disk.h"

/* NULL, and a line in *error, if the directory cannot be opened. It must be there. */
struct disk *disk_open(const char *dir, struct buf *error);
void disk_close(struct disk *disk);
struct disk_port disk_port(struct disk *disk);

#endif
