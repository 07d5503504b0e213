/* Frames between nodes: an unreliable datagram service over nng, one port per node.
 *
 * A node listens on one socket and dials one of its own per peer, so a connection carries
 * frames one way and a pair of nodes has two. A link is the dialled half: a small number the
 * caller chooses, an address, a bounded queue. What is received has no link: a frame must
 * say, and prove, who sent it. Nothing here authenticates.
 *
 * Delivery: frames of one link arrive in order, at most once, or not at all: those that were
 * handed to a connection that then broke are lost without a word. A link without a connection
 * keeps its queue and redials for ever; a frame may therefore arrive late.
 *
 * Limits: a send queue holds send_frames_max frames and send_bytes_max bytes, after which
 * peers_send says ERR_BUSY; one frame more per link is in nng's hands, and the kernel buffers
 * its share. The receive queue holds recv_frames_max frames and, within one frame,
 * recv_bytes_max bytes, after which reading stops and TCP holds the senders back; each of at
 * most inbound_max connections then holds one frame more. A connection that declares a frame
 * above frame_bytes_max is dropped before a byte is allocated for it.
 *
 * Threads: peers_send from any; dialling and hanging up from one at a time, none of nng's (gossip does both under its
 * lock); every other call from the consumer's. No call waits for a peer; peers_hangup and peers_close wait for nng's own threads, some
 * milliseconds. No process may fork without exec once peers_open was called: nng aborts in
 * the child. nng's threads, once started, stay until the process ends. */
#ifndef ANNEAL_NET_PEER_H
#define ANNEAL_NET_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/status.h"

#define PEER_LINKS 256 /* links are 0 .. PEER_LINKS - 1 */

struct peers_config {
    const char *host;         /* to bind: name, IPv4 or IPv6 address; "" is every IPv4 address */
    uint16_t port;            /* 0: any free one, see peers_port */
    uint32_t frame_bytes_max; /* of one frame, both ways */
    uint32_t send_frames_max; /* per link */
    uint64_t send_bytes_max;  /* per link; at least frame_bytes_max */
    uint32_t recv_frames_max;
    uint64_t recv_bytes_max;
    uint32_t inbound_max;     /* connections accepted at one time */
    uint32_t watchdog_ms;     /* a dialler without a connection for this long is made anew */
};

#define PEERS_CONFIG_DEFAULT                                                                  \
    {                                                                                         \
        .host = "", .frame_bytes_max = 1u << 20, .send_frames_max = 64,                       \
        .send_bytes_max = 4u << 20, .recv_frames_max = 256, .recv_bytes_max = 16u << 20,      \
        .inbound_max = 1024, .watchdog_ms = 10000                                             \
    }

enum peer_event_kind {
    PEER_FRAME, /* a frame came; give it back with peers_release */
    PEER_UP,    /* the link has a connection */
    PEER_DOWN,  /* it lost it; what was in flight may be lost */
    PEER_SENT,  /* `count` more frames of the link left its queue for the connection; makes
                 * peers_fd readable only if a frame was refused with ERR_BUSY before */
};

struct peer_event {
    enum peer_event_kind kind;
    int link;           /* not for PEER_FRAME */
    uint32_t count;     /* PEER_SENT only */
    struct bytes bytes; /* PEER_FRAME only; valid until peers_release */
    void *owner;        /* PEER_FRAME only; for peers_release */
};

struct peers_stats {
    uint64_t frames_sent, bytes_sent;         /* taken by a connection */
    uint64_t frames_received, bytes_received; /* queued for the consumer, or taken */
    uint64_t pauses;                          /* times the receive queue was full */
    uint64_t inbound, inbound_refused;        /* connections now; refused for inbound_max */
    uint64_t diallers_remade;                 /* by the watchdog */
};

struct peers;

/* Listens. NULL and a status on failure: ERR_INVALID for a configuration that cannot be,
 * ERR_BUSY for a port that is taken, ERR_IO for another address that cannot be bound. Copies what it needs of the configuration. */
struct peers *peers_open(const struct peers_config *config, enum status *status) MUST_CHECK;
/* Frees all; frames that were not released must be, before. No call may run or follow. */
void peers_close(struct peers *p);
/* The port that is bound. */
uint16_t peers_port(const struct peers *p);

/* Starts to dial, and never stops until the hangup. ERR_INVALID if the link is in use or the
 * address is no address. */
enum status peers_dial(struct peers *p, int link, const char *host, uint16_t port) MUST_CHECK;
/* Drops the connection and the queue; no event of this link follows. A free link is left so. */
void peers_hangup(struct peers *p, int link);

/* Copies the frame into the link's queue. ERR_BUSY when it is full, ERR_TOO_LARGE above
 * frame_bytes_max, ERR_NOT_FOUND when the link was not dialled. Never blocks. */
enum status peers_send(struct peers *p, int link, struct bytes frame) MUST_CHECK;

/* Offers each frame to `taker` first, in a thread of the transport, while no other waits or is in
 * the consumer's hands: for what must not wait for the consumer to wake up. What it takes (true)
 * is no event. It must not block, hang up or close. NULL ends that, and returns when no taker
 * runs any more. */
void peers_take(struct peers *p, bool (*taker)(void *arg, struct bytes frame), void *arg);

/* Readable while there may be events; to be watched level-triggered, never read. */
int peers_fd(const struct peers *p);
/* The next event, or false when there is none and the descriptor was quieted. A link that
 * lost and regained its connection in between reports DOWN, then UP; sends are summed. */
bool peers_next(struct peers *p, struct peer_event *event);
/* Frees a frame; nothing for other events. The event is done with. */
void peers_release(struct peer_event *event);

void peers_stats(struct peers *p, struct peers_stats *stats);

#endif
