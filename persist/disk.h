/* The disk as a node sees it: files in one directory that belongs to it, appended to and read
 * back, never written over. The server fills this with a directory, the simulator with a
 * simulation that loses what was not synced.
 *
 * Every call may wait for the device. ERR_FULL: no space; ERR_IO: anything else; the port logs
 * what the system said. What an append that failed has left in the file is undefined until it
 * is cut. After a sync that failed nothing that was not synced before can be relied on, not even
 * if a later one succeeds: systems forget what they could not write, and still show it to readers.
 * Threads: any, but one at a time for each file, save that it may be appended to while it is synced. */
#ifndef ANNEAL_PERSIST_DISK_H
#define ANNEAL_PERSIST_DISK_H

#include "core/bytes.h"
#include "core/status.h"

struct disk_port {
    /* Made if it is not there; its name is durable once it is synced. */
    enum status (*open)(void *self, const char *name, int *file);
    void (*close)(void *self, int file);
    enum status (*append)(void *self, int file, struct bytes bytes);
    enum status (*sync)(void *self, int file);
    enum status (*cut)(void *self, int file, uint64_t size);
    /* Appends at most len bytes to out, fewer only at the end of the file. */
    enum status (*read)(void *self, int file, uint64_t at, size_t len, struct buf *out);
    /* Durable when it returns; `to` is replaced. */
    enum status (*rename)(void *self, const char *from, const char *to);
    enum status (*remove)(void *self, const char *name);
    enum status (*list)(void *self, void (*visit)(void *arg, const char *name, uint64_t size), void *arg);
    void *self;
};

#endif
