/* What the server streams of its node: a store and its archive, opened as the options say. Stepped by who owns the thread. */
#ifndef ANNEAL_NET_ARCHIVER_POSIX_H
#define ANNEAL_NET_ARCHIVER_POSIX_H

#include "net/host.h"
#include "persist/archive.h"

struct archiver;

/* Whether there is an object store at all. */
bool archiver_wanted(const struct config *config);
/* `ring` is called, in any thread, when the store has answered. NULL, and a line in *error. */
struct archiver *archiver_open(struct host *host, const char *dir, const char *cluster, void (*ring)(void *arg), void *arg, struct buf *error);
void archiver_close(struct archiver *r);
struct archive *archiver_archive(struct archiver *r);
bool archiver_restores(const struct archiver *r); /* from the past: there must be nothing else to start from */
void archiver_follow_options(struct archiver *r);

#endif
