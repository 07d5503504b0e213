/* Sessions on the epoll front end: which thread waits for what. */
#ifndef ANNEAL_NET_CLIENTS_H
#define ANNEAL_NET_CLIENTS_H

#include "net/server.h"
#include "net/session.h"

struct clients;

/* Listens and serves. host outlives it. *out is set before the first client is served. */
enum status clients_open(struct host *host, const struct server_options *options, struct clients **out) MUST_CHECK;
/* Hangs up on all and serves nobody any more. Others may go on to wake them until clients_free. */
void clients_stop(struct clients *c);
void clients_free(struct clients *c);
uint16_t clients_port(const struct clients *c);
uint64_t clients_rejected(const struct clients *c); /* for maxclients */
/* Something that sessions may wait for has happened. Any thread. */
void clients_wake(struct clients *c);
bool clients_kill(struct clients *c, uint64_t id);

#endif
