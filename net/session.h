/* One client: its place in the protocol, what it may do, what it waits for. Sans-I/O: takes the
 * bytes that came, appends replies; the epoll front end and the simulator drive the same code.
 *
 * Parking: a command that must wait (WAIT; any, while CLIENT PAUSE holds) parks its session.
 * A parked session takes no input. Its owner calls session_retry when something may have
 * changed, and at least every 100 ms; once that says true, the rest of the query goes on. */
#ifndef ANNEAL_NET_SESSION_H
#define ANNEAL_NET_SESSION_H

#include "net/command.h"
#include "net/host.h"

enum reply_mode { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIPPING };

struct session {
    struct host *host;
    uint64_t id;
    char peer[64];
    bool local; /* on loopback */
    bool authenticated;
    bool closing; /* once the replies are written */
    /* More replies wait than a client may leave unread; NULL where nothing waits. */
    bool (*is_full)(const void *arg);
    const void *is_full_arg;
    enum reply_mode reply_mode;
    struct resp_parser parser;
    struct buf name;
    int64_t since_us;
    _Atomic int64_t active_us;
    _Atomic(const struct command *) last;
    /* Shards written through this session, for WAIT; NULL until there is one. */
    uint64_t *wrote;
    /* Parked: the command that waits, copied, and since when. */
    bool parked;
    struct buf waiting;
    struct bytes *waiting_argv;
    size_t waiting_argc;
    int64_t wait_deadline_us; /* of WAIT; INT64_MAX for none */
    struct gossip_mark *marks;
    size_t mark_count;
    struct session *next, *prev; /* in the host's list */
};

/* Appends a refusal to out and leaves session->closing set where the client may not stay. */
struct session *session_new(struct host *host, uint64_t id, const char *peer, bool local, struct buf *out);
void session_free(struct session *s);
/* Takes whole commands off the query. False: close once the replies are written. */
bool session_data(struct session *s, struct buf *query, struct buf *out);
/* True when it is parked no more. */
bool session_retry(struct session *s, struct buf *out);

/* For handlers. Parks the session: its command runs again at each retry, until it does not park. */
void session_park(struct call *call);
/* The shard holds something that this client wrote. */
void session_wrote(struct session *s, uint32_t shard);

#endif
