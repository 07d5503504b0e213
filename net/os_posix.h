/* What the server asks of the operating system, but for sockets and threads; its clocks are in core. */
#ifndef ANNEAL_NET_OS_POSIX_H
#define ANNEAL_NET_OS_POSIX_H

#include "core/clock_posix.h"
#include "core/log.h"
#include "net/host.h"

/* Fields of the process only. */
struct process_usage os_usage(void);

/* path "" is standard error. STATUS_ERR_IO, and why in *error. */
enum status os_log_open(const char *path, enum log_level least, struct buf *error) MUST_CHECK;

/* How many files may be open: as many as wanted, if the system lets us have them. */
uint64_t os_files(uint64_t wanted);

/* At most max bytes; STATUS_ERR_IO or STATUS_ERR_TOO_LARGE, and why in *error. */
enum status os_read_file(const char *path, size_t max, struct buf *out, struct buf *error) MUST_CHECK;
/* Whole or not at all, also if the machine fails: beside it, fsync, rename, fsync of the directory.
 * The file keeps its mode (it may hold a password); a new one is its owner's alone. */
enum status os_write_file(const char *path, struct bytes bytes, struct buf *error) MUST_CHECK;

/* Takes the directory for this process until it ends, and gives the node id that is kept there
 * (made at the first start), unless `given` is not 0. */
enum status os_claim_dir(const char *dir, uint64_t given, uint64_t *node_id, struct buf *error) MUST_CHECK;
/* A text, with its 0, that names the directory and this start of this machine: no two processes have claimed it at one time. */
enum status os_place(const char *dir, struct buf *out, struct buf *error) MUST_CHECK;

#endif
