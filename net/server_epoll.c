/* Thread 0 accepts and deals connections out in turn: an id is sequence * threads + thread,
 * so an id names its thread and a kill needs no registry. What crosses threads is a mailbox
 * (sockets to adopt, ids to kill) under a lock, and an eventfd.
 *
 * A connection that is doomed is freed only in flush(), after every event of the wake was
 * handled, so no event and no caller meets a freed one.
 *
 * Idle connections hold no buffers: reads go to the thread's own buffer first, and only an
 * unfinished request is copied to its connection; reply buffers go back to a pool.
 * A connection is in one of two lists: of the live, in order of last activity, so that idle
 * ones are found from the front; or of those that only wait for their client to read, in
 * order of the last byte it took, so that who stopped reading is found from the front.
 *
 * The second kind are those that close after their replies, and those whose replies passed
 * their limit: such a one is neither read nor handled until enough was taken, which bounds
 * what a pipeline may make us hold without punishing a client that sends all, then reads.
 * What was left for any reason (a pause, full replies) is handled before more is read or the end of the input
 * counts, so a client may shut down its side after pipelining.
 */
#define _GNU_SOURCE /* accept4 */
#include "net/server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock_posix.h"
#include "core/mem.h"
#include "core/order.h"

#define EVENTS 256
#define READ_BYTES (64u << 10)
#define POOL 64
#define POOL_BYTES_MAX (64u << 10)
#define TICK_MS 100
#define LINGER_MS 5000

struct list {
    struct connection *first, *last;
};

struct connection {
    struct connection *prev, *next;
    struct list *in;
    struct connection *dirty_next, *resumed_next;
    struct thread *thread;
    void *session;
    uint64_t id;
    int64_t active_ms;
    struct buf query, out;
    size_t sent, out_bytes_max;
    int untaken; /* see reads; of one that lingers */
    int fd;
    uint32_t interest;
    bool dirty, resumed, paused, closing, doomed;
    bool held;  /* its replies are full */
    bool ended; /* the client sends no more */
    char peer[INET6_ADDRSTRLEN + 10], local[INET6_ADDRSTRLEN + 10];
};

struct adoption {
    int fd;
    uint64_t id;
    struct sockaddr_storage peer;
};

struct thread {
    struct server *server;
    int index, epoll, wake;
    pthread_t handle;
    struct list live, lingering;
    struct connection *dirty, *resumed;
    struct buf query, pool[POOL];
    int pooled;
    int64_t now_ms, tick_ms, stop_ms;
    pthread_mutex_t lock; /* guards the two below */
    struct buf adoptions; /* of struct adoption; bounded by clients_max */
    struct buf kills;     /* of uint64_t; likewise */
    atomic_bool woken;
};

struct server {
    struct server_options options;
    struct server_ops ops;
    void *app;
    int listener;
    bool listening; /* thread 0's: in its epoll set */
    uint16_t port;
    uint64_t sequence;
    atomic_size_t clients;
    _Atomic uint64_t rejected;
    atomic_bool stopping;
    struct thread threads[];
};

static int64_t mono_ms(void) { return os_mono_us() / 1000; }

static void ring(struct thread *t) {
    uint64_t one = 1;
    while (write(t->wake, &one, sizeof one) < 0 && errno == EINTR) {}
}

static void list_remove(struct connection *c) {
    *(c->prev ? &c->prev->next : &c->in->first) = c->next;
    *(c->next ? &c->next->prev : &c->in->last) = c->prev;
}

static void list_append(struct list *list, struct connection *c) {
    c->in = list;
    c->prev = list->last;
    c->next = NULL;
    *(list->last ? &list->last->next : &list->first) = c;
    list->last = c;
}

static void touch(struct connection *c) {
    if (c->active_ms == c->thread->now_ms) return;
    c->active_ms = c->thread->now_ms;
    if (!c->next) return;
    list_remove(c);
    list_append(c->in, c);
}

static void move(struct connection *c, struct list *to) {
    if (c->in == to) return;
    c->active_ms = c->thread->now_ms;
    list_remove(c);
    list_append(to, c);
}

static void make_dirty(struct connection *c) {
    if (c->dirty) return;
    c->dirty = true;
    c->dirty_next = c->thread->dirty;
    c->thread->dirty = c;
}

static void doom(struct connection *c) {
    c->doomed = true;
    make_dirty(c);
}

static void set_interest(struct connection *c) {
    uint32_t want = c->closing || c->paused || c->held || c->ended ? 0 : EPOLLIN;
    if (c->sent < c->out.len) want |= EPOLLOUT;
    if (want == c->interest) return;
    struct epoll_event e = {.events = want, .data.ptr = c};
    if (epoll_ctl(c->thread->epoll, EPOLL_CTL_MOD, c->fd, &e) < 0) c->doomed = true;
    else c->interest = want;
}

static void name_end(const struct sockaddr_storage *from, char *out, size_t size) {
    char text[INET6_ADDRSTRLEN] = "?";
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)from;
        inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof text);
        snprintf(out, size, "[%s]:%u", text, (unsigned)ntohs(a->sin6_port));
    } else {
        const struct sockaddr_in *a = (const struct sockaddr_in *)from;
        inet_ntop(AF_INET, &a->sin_addr, text, sizeof text);
        snprintf(out, size, "%s:%u", text, (unsigned)ntohs(a->sin_port));
    }
}

static void adopt(struct thread *t, const struct adoption *a) {
    struct connection *c = mem_zero(1, sizeof *c);
    *c = (struct connection){.thread = t, .fd = a->fd, .id = a->id, .active_ms = t->now_ms, .interest = EPOLLIN,
                             .out_bytes_max = t->server->options.out_bytes_max};
    struct sockaddr_storage local = {0};
    socklen_t len = sizeof local;
    (void)!getsockname(a->fd, (struct sockaddr *)&local, &len); /* of a connection that is gone: 0.0.0.0:0 */
    name_end(&a->peer, c->peer, sizeof c->peer);
    name_end(&local, c->local, sizeof c->local);
    list_append(&t->live, c);
    c->session = t->server->ops.open(t->server->app, c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0) doom(c);
}

/* Replies that are cut short end in a reset: the client shall not take it for a proper end,
 * nor the kernel keep what nobody reads. */
static void close_socket(struct connection *c) {
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (c->sent < c->out.len) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(c->fd);
}

static void destroy(struct connection *c) {
    struct server *s = c->thread->server;
    if (s->ops.close) s->ops.close(c->session);
    if (c->resumed) {
        struct connection **at = &c->thread->resumed;
        while (*at != c) at = &(*at)->resumed_next;
        *at = c->resumed_next;
    }
    list_remove(c);
    close_socket(c);
    buf_fini(&c->query);
    buf_fini(&c->out);
    mem_free(c);
    atomic_fetch_sub(&s->clients, 1);
}

static void listen_on(struct server *s, bool on) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    if (on != s->listening && !epoll_ctl(s->threads[0].epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->listener, &e))
        s->listening = on;
}

static void tune(const struct server *s, int fd) {
    int one = 1, seconds = s->options.keepalive_s, step = seconds / 3 > 0 ? seconds / 3 : 1, probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (seconds <= 0) return;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step, sizeof step);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void deal(struct server *s, struct adoption *a) {
    static const char full[] = "-ERR max number of clients reached\r\n";
    if (atomic_load(&s->clients) >= s->options.clients_max) {
        (void)!send(a->fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(a->fd);
        atomic_fetch_add(&s->rejected, 1);
        return;
    }
    atomic_fetch_add(&s->clients, 1);
    tune(s, a->fd);
    a->id = s->sequence++ + (uint64_t)s->options.threads; /* never 0 */
    struct thread *t = &s->threads[a->id % (uint64_t)s->options.threads];
    if (t->index == 0) {
        adopt(t, a);
        return;
    }
    pthread_mutex_lock(&t->lock);
    buf_put(&t->adoptions, a, sizeof *a);
    pthread_mutex_unlock(&t->lock);
    ring(t);
}

static void accept_some(struct server *s) {
    for (int i = 0; i < 128; i++) {
        struct adoption a = {0};
        socklen_t len = sizeof a.peer;
        a.fd = accept4(s->listener, (struct sockaddr *)&a.peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (a.fd >= 0) {
            deal(s, &a);
            continue;
        }
        /* Out of descriptors: the listener would stay ready and spin; the next tick retries. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) listen_on(s, false);
        if (errno != EINTR && errno != ECONNABORTED) return;
    }
}

static void resume_later(struct connection *c) {
    if (c->resumed) return;
    c->resumed = true;
    c->resumed_next = c->thread->resumed;
    c->thread->resumed = c;
}

/* What the session left stays with the connection; the thread's own buffer is emptied. */
static void keep_query(struct connection *c, struct buf *query) {
    if (query != &c->query) {
        buf_put(&c->query, query->data, query->len);
        buf_empty(query, 2 * READ_BYTES);
    } else if (!c->query.len) {
        buf_fini(&c->query);
    }
}

/* Hands what was received to the session. What it left because it had to is no request that
 * is too long. */
static void handle(struct connection *c, struct buf *query) {
    struct thread *t = c->thread;
    const struct server *s = t->server;
    if (!c->out.cap && t->pooled) c->out = t->pool[--t->pooled];
    if (!s->ops.data(c->session, c, query, &c->out)) c->closing = true;
    make_dirty(c);
    c->held = connection_full(c);
    if (query->len > s->options.query_bytes_max && !c->held && !c->paused) doom(c);
    keep_query(c, query);
}

/* The end of the input is the connection's once nothing is left to be handled. */
static void end_of_input(struct connection *c) {
    c->ended = true;
    make_dirty(c);
    if (!c->held && !c->paused && !c->resumed) c->closing = true;
}

static void receive(struct connection *c) {
    struct buf *query = c->query.len ? &c->query : &c->thread->query;
    buf_reserve(query, query == &c->query ? READ_BYTES / 4 : READ_BYTES);
    ssize_t n = recv(c->fd, query->data + query->len, query->cap - query->len, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) doom(c);
    } else if (n == 0) {
        end_of_input(c);
    } else {
        query->len += (size_t)n;
        touch(c);
        handle(c, query);
    }
}

static void put_out_back(struct connection *c) {
    struct thread *t = c->thread;
    c->out.len = c->sent = 0;
    if (c->out.cap && c->out.cap <= POOL_BYTES_MAX && t->pooled < POOL) {
        t->pool[t->pooled++] = c->out;
        c->out = (struct buf){0};
    } else {
        buf_fini(&c->out);
    }
}

static void send_some(struct connection *c) {
    ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
    if (n > 0) {
        c->sent += (size_t)n;
        touch(c);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        c->doomed = true;
    }
}

/* Of what the socket has taken, what the client's has not. */
static int untaken(const struct connection *c) {
    int bytes = 0;
    return ioctl(c->fd, SIOCOUTQ, &bytes) < 0 ? 0 : bytes;
}

static void transmit(struct connection *c) {
    if (c->sent < c->out.len) send_some(c);
    if (c->sent < c->out.len) {
        /* Move only when as much is gone as is left, so that moving stays linear. */
        if (c->sent >= c->out.len - c->sent) {
            buf_drop_front(&c->out, c->sent);
            c->sent = 0;
        }
    } else {
        put_out_back(c);
        if (c->closing) c->doomed = true;
    }
    if (c->doomed) return;
    if (c->held && !connection_full(c)) resume_later(c);
    c->held = connection_full(c);
    move(c, c->held || (c->closing && c->out.len) ? &c->thread->lingering : &c->thread->live);
    if (c->in == &c->thread->lingering) c->untaken = untaken(c);
    set_interest(c);
}

static void flush(struct thread *t) {
    while (t->dirty) {
        struct connection *c = t->dirty;
        t->dirty = c->dirty_next;
        if (!c->doomed) transmit(c);
        c->dirty = false; /* only now, lest transmit puts it back */
        if (c->doomed) destroy(c);
    }
}

static void event(struct connection *c, uint32_t events) {
    if (c->doomed) return;
    if (events & (EPOLLERR | EPOLLHUP)) {
        doom(c);
    } else {
        if (events & EPOLLIN && !c->paused && !c->held && !c->resumed && !c->closing && !c->ended) receive(c);
        if (events & EPOLLOUT) make_dirty(c);
    }
}

static void kill_in(const struct list *list, const uint64_t *ids, size_t count) {
    for (struct connection *c = list->first; c; c = c->next)
        if (bsearch(&c->id, ids, count, sizeof *ids, order_u64)) doom(c);
}

/* They may be as many as the connections. */
static void kill_some(struct thread *t, struct buf *kills) {
    uint64_t *ids = (uint64_t *)(void *)kills->data;
    size_t count = kills->len / sizeof *ids;
    if (!count) return;
    qsort(ids, count, sizeof *ids, order_u64);
    kill_in(&t->live, ids, count);
    kill_in(&t->lingering, ids, count);
}

static void mail(struct thread *t) {
    uint64_t count;
    while (read(t->wake, &count, sizeof count) < 0 && errno == EINTR) {}
    struct buf adoptions, kills;
    pthread_mutex_lock(&t->lock);
    adoptions = t->adoptions;
    kills = t->kills;
    t->adoptions = t->kills = (struct buf){0};
    pthread_mutex_unlock(&t->lock);
    for (size_t i = 0; i + sizeof(struct adoption) <= adoptions.len; i += sizeof(struct adoption)) {
        struct adoption a;
        memcpy(&a, adoptions.data + i, sizeof a);
        adopt(t, &a);
    }
    kill_some(t, &kills);
    buf_fini(&adoptions);
    buf_fini(&kills);
    if (atomic_exchange(&t->woken, false) && t->server->ops.woken) t->server->ops.woken(t->server->app, t->index);
}

/* Looked at then, they had nothing to say. A paused one waits for us, not we for it. */
static void doom_idle(struct thread *t, int64_t at_ms) {
    int64_t idle_ms = t->server->options.idle_ms;
    while (idle_ms && t->live.first && at_ms - t->live.first->active_ms > idle_ms) {
        struct connection *c = t->live.first;
        if (!c->paused) doom(c);
        touch(c); /* to the end, so that the loop moves on */
    }
}

static int64_t linger_ms(const struct server *s) { return s->options.linger_ms ? s->options.linger_ms : LINGER_MS; }

/* A socket takes more only when much of what it holds is gone: that somebody reads slowly shows in what it holds. */
static bool reads(struct connection *c) {
    int before = c->untaken;
    c->untaken = untaken(c);
    if (c->untaken >= before) return false;
    touch(c);
    return true;
}

static void doom_lingering(struct thread *t, int64_t at_ms) {
    struct connection *next;
    for (struct connection *c = t->lingering.first; c && at_ms - c->active_ms > linger_ms(t->server); c = next) {
        next = c->next;
        if (!reads(c)) doom(c);
    }
}

static void tick(struct thread *t) {
    struct server *s = t->server;
    t->tick_ms = t->now_ms + TICK_MS;
    if (t->index == 0 && !atomic_load(&s->stopping)) listen_on(s, true);
    if (s->ops.tick) s->ops.tick(s->app, t->index);
}

static void resume(struct connection *c) {
    c->resumed = false;
    make_dirty(c);
    if (c->doomed || c->closing || c->paused || c->held) return;
    if (c->query.len) handle(c, &c->query);
    if (c->ended) end_of_input(c);
}

static void resume_some(struct thread *t) {
    struct connection *c = t->resumed;
    t->resumed = NULL;
    while (c) {
        struct connection *next = c->resumed_next;
        resume(c);
        c = next;
    }
}

static void wind_up_list(struct thread *t, const struct list *list) {
    for (struct connection *c = list->first; c; c = c->next) {
        c->closing = true;
        if (t->now_ms >= t->stop_ms) c->doomed = true;
        make_dirty(c);
    }
}

/* True when the thread may end. */
static bool wind_up(struct thread *t) {
    if (!t->stop_ms) t->stop_ms = t->now_ms + linger_ms(t->server);
    if (t->index == 0) listen_on(t->server, false);
    wind_up_list(t, &t->live);
    wind_up_list(t, &t->lingering);
    flush(t);
    return !t->live.first && !t->lingering.first;
}

static void *run(void *arg) {
    struct thread *t = arg;
    struct server *s = t->server;
    struct epoll_event events[EVENTS];
    bool judges = false;
    for (;;) {
        int64_t wait = t->resumed || t->dirty ? 0 : t->tick_ms - t->now_ms;
        int n = epoll_wait(t->epoll, events, EVENTS, wait > 0 ? (int)wait : 0);
        int64_t looked_ms = t->now_ms = mono_ms();
        bool mailed = false, ticks = t->now_ms >= t->tick_ms;
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == t) mailed = true;
            else if (events[i].data.ptr == s) accept_some(s);
            else event(events[i].data.ptr, events[i].events);
        }
        if (mailed) mail(t);
        if (ticks) tick(t);
        if (t->resumed) resume_some(t);
        if (s->ops.batch_end) s->ops.batch_end(s->app, t->index);
        t->now_ms = mono_ms(); /* a batch that took long is not its clients' idleness */
        flush(t);
        if (s->ops.batch_done) s->ops.batch_done(s->app, t->index);
        judges = judges || ticks;
        if (judges && n < EVENTS) { /* all were seen who had something to say */
            doom_idle(t, looked_ms);
            doom_lingering(t, looked_ms);
            judges = false;
        }
        if (atomic_load(&s->stopping) && wind_up(t)) return NULL;
    }
}

static int listener_open(const struct server_options *o, uint16_t *port) {
    struct sockaddr_storage at = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&at;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&at;
    socklen_t len = sizeof *four;
    if (inet_pton(AF_INET, o->host ? o->host : "0.0.0.0", &four->sin_addr) == 1) {
        at.ss_family = AF_INET;
        four->sin_port = htons(o->port);
    } else if (inet_pton(AF_INET6, o->host, &six->sin6_addr) == 1) {
        at.ss_family = AF_INET6;
        six->sin6_port = htons(o->port);
        len = sizeof *six;
    } else {
        return -1;
    }
    int one = 1, fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, len) || listen(fd, o->backlog > 0 ? o->backlog : 511) ||
        getsockname(fd, (struct sockaddr *)&at, &len)) {
        close(fd);
        return -1;
    }
    *port = ntohs(at.ss_family == AF_INET ? four->sin_port : six->sin6_port);
    return fd;
}

static bool thread_init(struct server *s, int index) {
    struct thread *t = &s->threads[index];
    t->server = s;
    t->index = index;
    pthread_mutex_init(&t->lock, NULL);
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    t->now_ms = mono_ms();
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = t};
    return t->epoll >= 0 && t->wake >= 0 && !epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &e);
}

static void thread_fini(struct thread *t) {
    for (size_t i = 0; i + sizeof(struct adoption) <= t->adoptions.len; i += sizeof(struct adoption)) {
        struct adoption a;
        memcpy(&a, t->adoptions.data + i, sizeof a);
        close(a.fd);
    }
    buf_fini(&t->adoptions);
    buf_fini(&t->kills);
    buf_fini(&t->query);
    while (t->pooled) buf_fini(&t->pool[--t->pooled]);
    if (t->epoll >= 0) close(t->epoll);
    if (t->wake >= 0) close(t->wake);
    pthread_mutex_destroy(&t->lock);
}

static void end(struct server *s, int made, int started) {
    atomic_store(&s->stopping, true);
    for (int i = 0; i < started; i++) ring(&s->threads[i]);
    for (int i = 0; i < started; i++) pthread_join(s->threads[i].handle, NULL);
    for (int i = 0; i < made; i++) thread_fini(&s->threads[i]);
    if (s->listener >= 0) close(s->listener);
    mem_free(s);
}

enum status server_open(const struct server_options *options, const struct server_ops *ops, void *app,
                        struct server **out) {
    if (options->threads < 1 || options->threads > SERVER_THREADS_MAX) return STATUS_ERR_INVALID;
    struct server *s = mem_zero(1, sizeof *s + (size_t)options->threads * sizeof s->threads[0]);
    s->options = *options;
    s->ops = *ops;
    s->app = app;
    *out = s;
    int made = 0, started = 0;
    s->listener = listener_open(options, &s->port);
    if (s->listener < 0) goto fail;
    while (made < options->threads)
        if (!thread_init(s, made++)) goto fail;
    listen_on(s, true);
    for (; started < options->threads; started++)
        if (pthread_create(&s->threads[started].handle, NULL, run, &s->threads[started])) goto fail;
    return STATUS_OK;
fail:
    end(s, made, started);
    *out = NULL;
    return STATUS_ERR_IO;
}

uint16_t server_port(const struct server *s) { return s->port; }
size_t server_clients(const struct server *s) { return atomic_load(&((struct server *)(uintptr_t)s)->clients); }

uint64_t server_rejected(const struct server *s) { return atomic_load(&((struct server *)(uintptr_t)s)->rejected); }

void server_wake(struct server *s, int thread) {
    if (!atomic_exchange(&s->threads[thread].woken, true)) ring(&s->threads[thread]);
}

bool server_kill(struct server *s, uint64_t id) {
    struct thread *t = &s->threads[id % (uint64_t)s->options.threads];
    pthread_mutex_lock(&t->lock);
    bool room = t->kills.len / sizeof id < s->options.clients_max;
    if (room) buf_put(&t->kills, &id, sizeof id);
    pthread_mutex_unlock(&t->lock);
    if (room) ring(t);
    return room;
}

void server_stop(struct server **s) {
    struct server *old = *s;
    *s = NULL;
    end(old, old->options.threads, old->options.threads);
}

uint64_t connection_id(const struct connection *c) { return c->id; }
int connection_thread(const struct connection *c) { return c->thread->index; }
const char *connection_peer(const struct connection *c) { return c->peer; }
const char *connection_local(const struct connection *c) { return c->local; }

void connection_tick_within(struct connection *c, int64_t ms) {
    struct thread *t = c->thread;
    if (t->now_ms + ms < t->tick_ms) t->tick_ms = t->now_ms + ms;
}

struct buf *connection_out(struct connection *c) {
    make_dirty(c);
    return &c->out;
}

void connection_pause(struct connection *c) {
    c->paused = true;
    make_dirty(c);
}

void connection_resume(struct connection *c) {
    if (!c->paused) return;
    c->paused = false;
    make_dirty(c);
    resume_later(c);
}

void connection_limit(struct connection *c, size_t out_bytes) {
    size_t most = c->thread->server->options.out_bytes_max;
    c->out_bytes_max = out_bytes < most ? out_bytes : most;
}

bool connection_full(const struct connection *c) { return c->out.len - c->sent > c->out_bytes_max; }

void connection_close_after_reply(struct connection *c) {
    c->closing = true;
    make_dirty(c);
}
