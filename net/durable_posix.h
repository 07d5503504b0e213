/* What the server keeps of its node: a keeper on a directory, and the thread that steps it. */
#ifndef ANNEAL_NET_DURABLE_POSIX_H
#define ANNEAL_NET_DURABLE_POSIX_H

#include "net/host.h"

struct durable;

/* Reads what the directory has into the node, as the host's options say, and starts the thread.
 * NULL, and a line in *error. The host's `loading` stands meanwhile, for clients may be there. */
struct durable *durable_open(struct host *host, const char *dir, const char *cluster, struct buf *error);
/* Once nobody writes any more: everything is on the disk. The node forgets its keeper. */
void durable_close(struct durable *d);

#endif
