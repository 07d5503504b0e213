/* Three nodes that reach each other through a queue of frames, which the target orders, loses,
 * repeats and changes. Clocks are moved by hand. */
#ifndef ANNEAL_TEST_FUZZ_NET_H
#define ANNEAL_TEST_FUZZ_NET_H

#include "net/node.h"
#include "test/fuzz/fuzz.h"

enum { NET_NODES = 3, NET_SHARDS = 2, NET_FRAMES_MAX = 128 };

struct net_link {
    int target; /* -1: not dialled */
    bool up;
};

struct net;
struct net_node {
    struct net *net;
    unsigned index;
    struct fuzz_clock clock;
    struct node *node;
    char address[16];
    struct net_link links[GOSSIP_LINKS];
};

struct net_frame {
    unsigned to;
    struct buf bytes;
};

struct net {
    struct net_node nodes[NET_NODES];
    struct net_frame frames[NET_FRAMES_MAX];
    unsigned frame_count;
    bool short_cuts;     /* frames go the way of threads that are not gossip's first */
    struct keyring keys; /* of the cluster */
    struct sealer sealer;
};

void net_open(struct net *n, uint64_t log_bytes_max);
void net_close(struct net *n);
void net_event(struct net *n, unsigned node, const struct gossip_event *event);
void net_hear(struct net *n, unsigned node, struct bytes frame);
void net_tick(struct net *n, unsigned node);
void net_move_clocks(struct net *n, int64_t ms);
/* Every link that was dialled gets its connection, or loses it. */
void net_connect(struct net *n, unsigned node, bool up);
void net_deliver(struct net *n, unsigned at); /* it stays in the queue */
void net_drop(struct net *n, unsigned at);
/* What is inside a frame, and a frame of something. */
void net_open_frame(struct net *n, struct bytes frame, struct buf *plain);
void net_seal(struct net *n, struct bytes plain, struct buf *frame);
/* One message, whole, as the node `sender` would send it. */
void net_say(struct net *n, unsigned to, struct replica_id sender, struct bytes message);
bool net_is_level(struct net *n); /* all hold the same */
/* One round of all that is due, everybody connected, nothing lost. */
void net_round(struct net *n);

#endif
