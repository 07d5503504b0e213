/* One client: its place in the protocol, what it may do, what it waits for. Sans-I/O: takes the
 * bytes that came, appends replies; the epoll front end and the simulator drive the same code.
 *
 * Parking. A command that must wait (WAIT, DEBUG SLEEP; any, while CLIENT PAUSE holds) blocks no
 * thread: it parks its session, which then takes no input. Its handler is written so:
 *
 *     if (!session->waits) ...                     first run: note what is waited for, and
 *                                                  until when; an argument's error is replied here
 *     if (it has happened || now >= session->deadline_us) append the reply
 *     else session_park(call, deadline_us)         append nothing; run again at each retry
 *
 * A handler is run again with a copy of its arguments and must append exactly one reply, in the
 * run that does not park. Its keys are locked in every run, so what it looks at is atomic with
 * its reply. What it notes (marks) belongs to the session, which frees it if the client goes.
 * A pause that begins meanwhile does not hold it: only commands that have not begun are held.
 *
 * The owner (epoll's threads, the simulator) calls session_retry when something may have
 * changed and at deadline_us, and may call it at any time; once it says true, the rest of the
 * query goes on by session_data. A parked session may be freed. */
#ifndef ANNEAL_NET_SESSION_H
#define ANNEAL_NET_SESSION_H

#include "net/command.h"
#include "net/host.h"

enum reply_mode { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIPPING };

struct session {
    struct host *host;
    uint64_t id;
    char peer[64], at[64]; /* addresses of the client, and of our end */
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
    /* Replies to commands that wrote, as (from, to) in the reply buffer: until session_settled. */
    struct buf unsettled;
    bool writes; /* the command under way has written */
    /* Parked: the command that waits, copied. */
    bool parked;
    bool waits;          /* it has begun: its handler has run */
    int64_t deadline_us; /* of the monotonic clock; INT64_MAX for none */
    struct buf waiting;
    struct bytes *waiting_argv;
    size_t waiting_argc;
    uint64_t save_number;      /* of SAVE */
    struct gossip_mark *marks; /* of WAIT */
    size_t mark_count;
    struct session *next, *prev; /* in the host's list */
};

/* Appends a refusal to out and leaves session->closing set where the client may not stay. */
struct session *session_new(struct host *host, uint64_t id, const char *peer, const char *at, bool local, struct buf *out);
void session_free(struct session *s);
/* Takes whole commands off the query. False: close once the replies are written. */
bool session_data(struct session *s, struct buf *query, struct buf *out);
/* True when it is parked no more. */
bool session_retry(struct session *s, struct buf *out);

/* Where a keeper makes writes durable before replies go out: the owner calls this once it has, for
 * each session with something unsettled. failure: the replies to what wrote become errors. */
void session_settled(struct session *s, struct buf *out, enum status failure);

/* For handlers, as above. */
void session_park(struct call *call, int64_t deadline_us);
/* Until when to wait, by a timeout in ms (0: without end) from the command's first run on. False, and an error. */
bool session_deadline(struct call *call, struct bytes timeout, int64_t now_us, int64_t *deadline_us);
/* The shard holds something that this client wrote. */
void session_wrote(struct session *s, uint32_t shard);

#endif
