/* Drives a node's gossip over nng: one loop, one thread, the caller's.
 *
 * It sleeps until a peer says something, a client writes after a quiet time, or something is
 * due; what comes in is handed to gossip_step one event at a time, but for deltas, which the
 * transport's threads apply themselves when the loop is idle. */
#ifndef ANNEAL_NET_REPLICATOR_NNG_H
#define ANNEAL_NET_REPLICATOR_NNG_H

#include "net/node.h"
#include "net/peer.h"

struct replicator;

/* Listens. The node comes later, since its gossip wants the port this gives. */
struct replicator *replicator_open(const struct peers_config *config, enum status *status) MUST_CHECK;
void replicator_close(struct replicator *r);
uint16_t replicator_listens(const struct replicator *r);
struct transport_port replicator_port(struct replicator *r);
/* "host:port" or "[::1]:port", as it dials. */
bool replicator_is_address(const char *address);
/* For gossip_config.wake, with the replicator as its argument. Any thread. */
void replicator_wake(struct replicator *r);
/* Runs until extra_fd is readable; -1 for none, then until deadline_us of the node's clock. */
void replicator_run(struct replicator *r, struct node *node, int extra_fd, int64_t deadline_us);
void replicator_stats(struct replicator *r, struct peers_stats *out);

#endif
