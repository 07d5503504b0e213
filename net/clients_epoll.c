#include "net/clients.h"

#include <assert.h>
#include <pthread.h>

#include "persist/keeper.h"

/* A parked session waits in the list of its thread, which alone touches it. */
struct client {
    struct clients *clients;
    struct session *session;
    struct connection *connection;
    struct client *next_parked, *next_unsettled;
    bool listed, unsettled;
};

struct clients {
    struct host *host;
    struct server *server;
    int threads;
    pthread_mutex_t waking; /* whoever wakes finds the server alive, or stopped */
    bool stopped;
    atomic_uint parked;
    struct client *lists[SERVER_THREADS_MAX];
    struct client *unsettled[SERVER_THREADS_MAX]; /* wrote in this batch */
};

static bool is_local(const char *peer) {
    static const char *const prefixes[] = {"127.", "[::1]:", "[::ffff:127."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(peer, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

#define STRANGER_OUT_BYTES_MAX (64u << 10) /* before authentication, as RESP's limits on requests */

static bool is_full(const void *arg) {
    const struct client *client = arg;
    connection_limit(client->connection, client->session->authenticated ? SIZE_MAX : STRANGER_OUT_BYTES_MAX);
    return connection_full(client->connection);
}

static void *on_open(void *app, struct connection *connection) {
    struct clients *c = app;
    struct client *client = mem_zero(1, sizeof *client);
    const char *peer = connection_peer(connection);
    client->clients = c;
    client->connection = connection;
    client->session = session_new(c->host, connection_id(connection), peer, connection_local(connection), is_local(peer),
                                  connection_out(connection));
    client->session->is_full = is_full;
    client->session->is_full_arg = client;
    if (client->session->closing) connection_close_after_reply(connection);
    return client;
}

static void list_add(struct client *client) {
    struct client **list = &client->clients->lists[connection_thread(client->connection)];
    client->next_parked = *list;
    *list = client;
    client->listed = true;
    atomic_fetch_add(&client->clients->parked, 1);
}

static void list_drop(struct client *client) {
    struct client **at = &client->clients->lists[connection_thread(client->connection)];
    while (*at != client) at = &(*at)->next_parked;
    *at = client->next_parked;
    client->listed = false;
    atomic_fetch_sub(&client->clients->parked, 1);
}

/* A deadline is met to the millisecond, not to the tick. */
static void wait_for_it(struct client *client) {
    int64_t left_us = client->session->deadline_us - node_now(client->clients->host->node).mono_us;
    connection_tick_within(client->connection, left_us > 0 ? left_us / 1000 + 1 : 0);
}

static void note_unsettled(struct client *client) {
    if (client->unsettled || !client->session->unsettled.len) return;
    struct client **list = &client->clients->unsettled[connection_thread(client->connection)];
    client->next_unsettled = *list;
    *list = client;
    client->unsettled = true;
}

static bool on_data(void *session, struct connection *connection, struct buf *query, struct buf *out) {
    struct client *client = session;
    bool stays = session_data(client->session, query, out);
    note_unsettled(client);
    if (stays && client->session->parked) {
        connection_pause(connection);
        list_add(client);
        wait_for_it(client);
    }
    return stays;
}

static void on_close(void *session) {
    struct client *client = session;
    if (client->listed) list_drop(client);
    session_free(client->session);
    mem_free(client);
}

static void retry_parked(void *app, int thread) {
    struct clients *c = app;
    struct client *next;
    for (struct client *client = c->lists[thread]; client; client = next) {
        next = client->next_parked;
        bool done = session_retry(client->session, connection_out(client->connection));
        note_unsettled(client);
        if (!done) {
            wait_for_it(client);
            continue;
        }
        list_drop(client);
        connection_resume(client->connection);
        if (client->session->closing) connection_close_after_reply(client->connection);
    }
}

static void on_tick(void *app, int thread) {
    struct clients *c = app;
    if (!atomic_load(&c->host->loading)) node_expire(c->host->node, (uint32_t)thread, (uint32_t)c->threads);
    retry_parked(app, thread);
}

/* Replies wait for this. Every connection is alive: they are freed after the replies are out. */
static void on_batch_end(void *app, int thread) {
    struct clients *c = app;
    struct client *client = c->unsettled[thread];
    if (!client) return;
    enum status status = keeper_commit(c->host->node->keeper);
    c->unsettled[thread] = NULL;
    for (; client; client = client->next_unsettled) {
        client->unsettled = false;
        session_settled(client->session, connection_out(client->connection), status);
    }
}

static void on_batch_done(void *app, int thread) {
    (void)thread;
    node_flush(((struct clients *)app)->host->node);
}

enum status clients_open(struct host *host, const struct server_options *options, struct clients **out) {
    static const struct server_ops ops = {
        .open = on_open, .data = on_data, .close = on_close, .woken = retry_parked, .tick = on_tick,
        .batch_end = on_batch_end, .batch_done = on_batch_done};
    struct clients *c = mem_zero(1, sizeof *c);
    c->host = host;
    c->threads = options->threads;
    pthread_mutex_init(&c->waking, NULL);
    *out = c;
    enum status status = server_open(options, &ops, c, &c->server);
    if (status != STATUS_OK) {
        *out = NULL;
        pthread_mutex_destroy(&c->waking);
        mem_free(c);
    } else {
        atomic_store(&host->port, server_port(c->server));
    }
    return status;
}

void clients_stop(struct clients *c) {
    pthread_mutex_lock(&c->waking);
    c->stopped = true;
    pthread_mutex_unlock(&c->waking);
    struct server *server = c->server; /* its threads still ask about it */
    server_stop(&server);
    assert(atomic_load(&c->parked) == 0);
}

void clients_free(struct clients *c) {
    assert(c->stopped);
    pthread_mutex_destroy(&c->waking);
    mem_free(c);
}

uint16_t clients_port(const struct clients *c) { return server_port(c->server); }

void clients_wake(struct clients *c) {
    if (!atomic_load(&c->parked)) return;
    pthread_mutex_lock(&c->waking);
    for (int i = 0; i < c->threads && !c->stopped; i++) server_wake(c->server, i);
    pthread_mutex_unlock(&c->waking);
}

uint64_t clients_rejected(const struct clients *c) { return server_rejected(c->server); }

bool clients_kill(struct clients *c, uint64_t id) { return server_kill(c->server, id); }
