/* What all clients of a node share: the node, its options, who is connected, counters. Sans-I/O:
 * what only the operating system can do comes as functions, absent in the simulator.
 *
 * Threads: the counters are atomic; the list of sessions has its lock; the rest is constant. */
#ifndef ANNEAL_NET_HOST_H
#define ANNEAL_NET_HOST_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/config.h"
#include "net/node.h"
#include "net/resp.h"

struct process_usage {
    int pid;
    uint64_t rss_bytes;
    double cpu_user_s, cpu_system_s;
    const char *os; /* as uname names it */
    uint64_t connections_rejected;
};

struct host_ports {
    bool (*kill)(void *arg, uint64_t session_id); /* closes a connection, soon */
    void (*shutdown)(void *arg);                  /* the process, soon */
    void (*wake)(void *arg); /* what parked sessions wait for may have happened */
    /* Writes the options to the file they came from; *error says why not. */
    enum status (*rewrite)(void *arg, struct buf *error);
    struct process_usage (*usage)(void *arg);
    void *arg;
};

#define HOST_COUNTERS(X)                                                             \
    X(connections_received, "total_connections_received")                           \
    X(commands_processed, "total_commands_processed")                               \
    X(errors_replied, "total_error_replies")                                        \
    X(protocol_errors, "protocol_errors")                                           \
    X(auth_failures, "acl_access_denied_auth")                                      \
    X(protected_refused, "protected_mode_refused")

struct session;
struct host {
    struct node *node;
    struct config *config;
    struct host_ports ports;
    struct resp_limits limits;
    size_t out_bytes_max;
    struct now started;
    atomic_bool loading; /* what the node had before: most commands are refused */
    uint64_t run_id[2];
    _Atomic uint16_t port; /* that clients are served on; 0: none */
    pthread_mutex_t lock; /* of sessions and their names */
    struct session *sessions;
    uint64_t session_count;
    _Atomic uint64_t parked; /* sessions that wait */
    /* CLIENT PAUSE; changed with the lock. */
    _Atomic int64_t paused_until_us;
    atomic_bool paused_all;
#define X(name, text) _Atomic uint64_t name;
    HOST_COUNTERS(X)
#undef X
    _Atomic uint64_t rejected_before; /* what counted connections_rejected when the counters were reset */
};

/* node and config outlive it. */
void host_init(struct host *h, struct node *node, struct config *config, const struct host_ports *ports);
void host_fini(struct host *h);
bool host_has_password(const struct host *h);
/* In time that does not depend on where they differ. */
bool host_is_password(const struct host *h, struct bytes given);
void host_reset_stats(struct host *h);
/* CLIENT PAUSE: writes, or all commands, of all clients. One that is under way is never shortened
 * nor made milder. */
void host_pause(struct host *h, int64_t until_us, bool all, int64_t now_us);
void host_unpause(struct host *h);

#endif
