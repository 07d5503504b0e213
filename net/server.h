/* The client-facing front end: threads, connections and buffers, without a protocol.
 *
 * Each thread has an epoll set and its own connections. One wake of a thread is:
 *
 *     read and ops.data for each ready connection -> ops.woken, ops.tick -> resumed ones
 *     -> ops.batch_end -> one write per connection that has replies -> ops.batch_done
 *
 * so what batch_end makes durable or sends to peers precedes the replies of its batch. All
 * ops of a connection run in its thread; so must every connection_* call. Every buffer has a
 * limit, and a connection that passes it is closed. */
#ifndef ANNEAL_NET_SERVER_H
#define ANNEAL_NET_SERVER_H

#include "core/bytes.h"
#include "core/status.h"

struct server;
struct connection;

/* open and data must be there; the others may be NULL. */
struct server_ops {
    void *(*open)(void *app, struct connection *c); /* the session */
    /* Takes whole requests off the front of query and appends replies to out; the rest of
     * query comes again with more behind it. Must look at connection_full between requests
     * and return when it is; what is left comes again once the client took its replies.
     * False: close once the replies are written. */
    bool (*data)(void *session, struct connection *c, struct buf *query, struct buf *out);
    void (*close)(void *session);
    void (*woken)(void *app, int thread); /* after server_wake */
    void (*tick)(void *app, int thread);  /* about every 100 ms; sooner by connection_tick_within */
    void (*batch_end)(void *app, int thread);
    void (*batch_done)(void *app, int thread); /* what can wait until the replies are out */
};

struct server_options {
    const char *host; /* numeric, IPv4 or IPv6; NULL: every IPv4 address */
    uint16_t port;    /* 0: any, see server_port */
    int threads;      /* 1 to SERVER_THREADS_MAX */
    int backlog;
    size_t clients_max;
    int64_t idle_ms;       /* 0: never */
    int keepalive_s;       /* 0: none */
    size_t query_bytes_max;
    size_t out_bytes_max; /* replies that the socket does not take; see connection_full */
    int64_t linger_ms;    /* patience with a client that reads nothing of its last, or of too
                           * many, replies; 0: 5000 */
};

#define SERVER_THREADS_MAX 128

/* Listens and starts its threads. ops is copied. *out is set before the first of them runs, so
 * that ops may use it, and NULL on failure. */
MUST_CHECK enum status server_open(const struct server_options *options, const struct server_ops *ops, void *app,
                                   struct server **out);
uint16_t server_port(const struct server *s);
size_t server_clients(const struct server *s);    /* any thread */
uint64_t server_rejected(const struct server *s); /* for clients_max; any thread */
/* Any thread: ops.woken in that thread, soon. */
void server_wake(struct server *s, int thread);
/* Any thread: closes the connection, if it is still there. False: too many at once. */
MUST_CHECK bool server_kill(struct server *s, uint64_t id);
/* Not from a thread of the server: accepts no more, writes the replies it has (for linger_ms
 * at most), closes all, joins its threads and frees. NULLs *s. */
void server_stop(struct server **s);

uint64_t connection_id(const struct connection *c); /* never reused, never 0 */
int connection_thread(const struct connection *c);
const char *connection_peer(const struct connection *c);  /* "10.0.0.1:4711" */
const char *connection_local(const struct connection *c); /* our end of it */
/* ops.tick comes in this thread within so many milliseconds, once. */
void connection_tick_within(struct connection *c, int64_t ms);
/* Where to put replies outside of ops.data; they are written at the end of this wake. */
struct buf *connection_out(struct connection *c);
/* So much may wait for this connection, if that is less than out_bytes_max. */
void connection_limit(struct connection *c, size_t out_bytes);
/* True when more replies wait than may. Such a connection is not read, and closed
 * when it takes nothing for linger_ms. Who appends without being asked must look, too. */
bool connection_full(const struct connection *c);
/* A paused connection is not read and ops.data is not called; a reset still closes it, and
 * the end of its input counts once it is resumed. ops.data must return as soon as it has
 * paused its connection. */
void connection_pause(struct connection *c);
void connection_resume(struct connection *c); /* ops.data again, in this wake or the next */
void connection_close_after_reply(struct connection *c);

#endif
