/* What the server keeps of its node: a keeper on a directory, an archive in an object store if there is one, and the thread
 * that steps both. */
#ifndef ANNEAL_NET_DURABLE_POSIX_H
#define ANNEAL_NET_DURABLE_POSIX_H

#include "net/host.h"

struct durable;

/* Reads what the directory and the store have into the node, as the host's options say, and starts the thread. A store that does
 * not answer is waited for, unless the disk had something, until `interrupted`. The host's `loading` stands meanwhile, for clients
 * may be there. NULL, and a line in *error: then the process ends, and nothing else. */
struct durable *durable_open(struct host *host, const char *dir, const char *cluster, bool (*interrupted)(void *arg), void *arg, struct buf *error);
/* Whether the next process of this node will find anything in the directory. */
bool durable_keeps(struct durable *d);
/* Once nobody writes any more: everything is on the disk, and in the store if that answers soon. The node forgets both. False: the
 * archive had stopped for good, and said why. */
bool durable_close(struct durable *d);

#endif
