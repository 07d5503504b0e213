/* One PULL socket listens; each link is a PUSH socket of its own, so a peer that stopped
 * reading fills only its own queue (several dialers on one PUSH would balance over them).
 *
 *   peers_send -> ring -> aio -> PUSH ~~~ tcp ~~~ PULL -> aio -> ring -> peers_next
 *
 * Each socket has one aio. A link's aio carries the frame at the head of the ring, and its
 * callback starts the next: at most one is in flight, and "sent" means that the connection
 * took it. The receiving aio is started again by its callback until the ring is full, then
 * by peers_next once half of it was read: nng holds one frame per connection meanwhile, and
 * TCP stops the senders.
 *
 * Locks. `lock` guards every field that nng's threads touch; no function of nng that could
 * call back or wait runs under it. `control` keeps the watchdog and the caller's dial and
 * hangup apart, and is held across such functions; callbacks never take it. Pipe callbacks
 * only note what happened: touching a socket in one deadlocks.
 *
 * What nng needs to be told, learnt the hard way: the length limit is per socket, unlimited
 * by default, and must be there before listen and dial; a dialer whose peer resets during the
 * handshake takes that for its own closing and never dials again, hence the watchdog;
 * a stop must go aios first, then sockets, and nothing is freed before its aio was stopped. */
#include "net/peer.h"

#include <assert.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock_posix.h"
#include "core/mem.h"
#include "core/thread_posix.h"

#define RECONNECT_MS_MIN 50
#define RECONNECT_MS_MAX 250
#define URL_BYTES 300
#define HOST_BYTES_MAX 255

_Static_assert(NNG_MAJOR_VERSION == 1 && NNG_MINOR_VERSION >= 10, "older ones abort and deadlock on hostile input");

/* A queue of messages in a fixed array. */
struct ring {
    nng_msg **slots;
    uint32_t cap, head, count;
    uint64_t bytes;
};

struct link {
    struct peers *peers;
    struct ring queue; /* its head is in flight when `busy` */
    nng_socket socket;
    nng_dialer dialer;
    nng_aio *aio;
    char url[URL_BYTES];
    int64_t lonely_since_ms; /* without a connection; 0 when it has one */
    uint32_t starting;       /* senders between taking the lock and having started the aio */
    uint32_t sent;           /* to be reported */
    nng_pipe pipe;           /* its connection; id 0 when there is none */
    bool open, closing, busy;
    bool reported_up, flapped;
    bool refused; /* a frame, since the last that was sent */
};

struct peers {
    struct peers_config config;
    pthread_mutex_t lock, control;
    pthread_cond_t started; /* a link's `starting` fell to 0; with lock */
    pthread_cond_t quiet;   /* no taker runs; with lock */
    struct bell stop;       /* for the watchdog */
    pthread_t watchdog;
    nng_socket socket;
    nng_listener listener;
    nng_aio *aio;
    struct ring received;
    struct peers_stats stats;
    uint64_t dirty[PEER_LINKS / 64]; /* links that may have something to report */
    uint32_t turn; /* the link whose events come next */
    uint16_t port;
    int fd;
    bool frames_turn;
    bool (*taker)(void *arg, struct bytes frame);
    void *taker_arg;
    bool taking;    /* the taker runs */
    bool in_hand;   /* the consumer may still be at the frame it got last */
    bool signalled; /* the eventfd is readable */
    bool paused;    /* the receiving aio rests */
    bool closing;   /* with lock */
    struct link links[PEER_LINKS];
};

static enum status translate(int error) {
    switch (error) {
    case 0: return STATUS_OK;
    case NNG_ENOMEM: return STATUS_ERR_MEMORY;
    case NNG_EINVAL:
    case NNG_EADDRINVAL: return STATUS_ERR_INVALID;
    case NNG_EADDRINUSE: return STATUS_ERR_BUSY;
    default: return STATUS_ERR_IO;
    }
}

static int64_t mono_ms(void) { return os_mono_us() / 1000; }

/* --- rings --- */

static void ring_init(struct ring *r, uint32_t cap) { *r = (struct ring){.slots = mem_zero(cap, sizeof *r->slots), .cap = cap}; }

static void ring_push(struct ring *r, nng_msg *msg) {
    assert(r->count < r->cap);
    r->slots[(r->head + r->count++) % r->cap] = msg;
    r->bytes += nng_msg_len(msg);
}

/* The length is the caller's to know, as the message may be gone already. */
static void ring_drop(struct ring *r, size_t len) {
    assert(r->count > 0);
    assert(r->bytes >= len);
    r->slots[r->head] = NULL;
    r->head = (r->head + 1) % r->cap;
    r->count--;
    r->bytes -= len;
}

static void ring_fini(struct ring *r) {
    for (uint32_t i = 0; i < r->count; i++) {
        nng_msg *msg = r->slots[(r->head + i) % r->cap];
        if (msg) nng_msg_free(msg);
    }
    mem_free(r->slots);
    *r = (struct ring){0};
}

/* --- events; with the lock --- */

static void wake(struct peers *p) {
    if (p->signalled) return;
    p->signalled = true;
    uint64_t one = 1;
    while (write(p->fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

/* To be reported whenever the consumer looks. */
static void note(struct link *l) {
    size_t at = (size_t)(l - l->peers->links);
    l->peers->dirty[at / 64] |= UINT64_C(1) << (at % 64);
}

static void mark(struct link *l) {
    note(l);
    wake(l->peers);
}

/* One event of the link, or false when it has no more. */
static bool link_event(struct link *l, int number, struct peer_event *event) {
    bool up = l->pipe.id != 0;
    *event = (struct peer_event){.link = number};
    if (!l->open || l->closing) return false;
    if (l->sent) {
        event->kind = PEER_SENT;
        event->count = l->sent;
        l->sent = 0;
    } else if (l->reported_up && (!up || l->flapped)) {
        event->kind = PEER_DOWN;
        l->reported_up = l->flapped = false;
    } else if (!l->reported_up && up) {
        event->kind = PEER_UP;
        l->reported_up = true;
        l->flapped = false;
    } else {
        return false;
    }
    return true;
}

/* In turn from where the last one was found: no busy link hides another's events. */
static bool next_link_event(struct peers *p, struct peer_event *event) {
    for (uint32_t i = 0; i <= PEER_LINKS / 64; i++) {
        uint32_t word = (p->turn / 64 + i) % (PEER_LINKS / 64);
        uint64_t mask = i == 0 ? UINT64_MAX << (p->turn % 64) : UINT64_MAX;
        for (uint64_t set; (set = p->dirty[word] & mask) != 0; p->dirty[word] &= ~(set & -set)) {
            int number = (int)(word * 64) + __builtin_ctzll(set);
            if (!link_event(&p->links[number], number, event)) continue;
            p->turn = ((uint32_t)number + 1) % PEER_LINKS;
            return true;
        }
    }
    return false;
}

static bool next_frame(struct peers *p, struct peer_event *event) {
    if (!p->received.count) return false;
    nng_msg *msg = p->received.slots[p->received.head];
    ring_drop(&p->received, nng_msg_len(msg));
    p->in_hand = true;
    *event = (struct peer_event){
        .kind = PEER_FRAME, .link = -1, .bytes = bytes_of(nng_msg_body(msg), nng_msg_len(msg)), .owner = msg};
    return true;
}

/* --- receiving --- */

static bool recv_full(const struct peers *p) {
    return p->received.count >= p->config.recv_frames_max || p->received.bytes >= p->config.recv_bytes_max;
}

static bool recv_half_empty(const struct peers *p) {
    return p->received.count <= p->config.recv_frames_max / 2 && p->received.bytes <= p->config.recv_bytes_max / 2;
}

/* With the lock, which is let go while the taker runs. */
static bool is_taken(struct peers *p, nng_msg *msg) {
    bool (*taker)(void *arg, struct bytes frame) = p->taker;
    void *taker_arg = p->taker_arg;
    if (!taker || p->received.count || p->in_hand) return false;
    p->taking = true;
    pthread_mutex_unlock(&p->lock);
    bool taken = taker(taker_arg, bytes_of(nng_msg_body(msg), nng_msg_len(msg)));
    pthread_mutex_lock(&p->lock);
    p->taking = false;
    if (!p->taker) pthread_cond_broadcast(&p->quiet);
    return taken;
}

static void on_received(void *arg) {
    struct peers *p = arg;
    nng_msg *msg = nng_aio_result(p->aio) == 0 ? nng_aio_get_msg(p->aio) : NULL;
    nng_aio_set_msg(p->aio, NULL);
    pthread_mutex_lock(&p->lock);
    if (msg) {
        p->stats.frames_received++;
        p->stats.bytes_received += nng_msg_len(msg);
        if (is_taken(p, msg)) {
            nng_msg_free(msg);
        } else {
            ring_push(&p->received, msg);
            wake(p);
        }
    }
    p->paused = recv_full(p);
    p->stats.pauses += p->paused;
    bool more = !p->closing && !p->paused;
    pthread_mutex_unlock(&p->lock);
    if (more) nng_recv_aio(p->socket, p->aio);
}

static void on_inbound(nng_pipe pipe, nng_pipe_ev what, void *arg) {
    struct peers *p = arg;
    pthread_mutex_lock(&p->lock);
    bool refuse = false;
    if (what == NNG_PIPE_EV_ADD_PRE) {
        refuse = p->stats.inbound++ >= p->config.inbound_max;
        p->stats.inbound_refused += refuse;
    } else {
        p->stats.inbound--;
    }
    pthread_mutex_unlock(&p->lock);
    if (refuse) nng_pipe_close(pipe);
}

static void quiet(struct peers *p) {
    uint64_t count;
    if (p->signalled) while (read(p->fd, &count, sizeof count) < 0 && errno == EINTR) {}
    p->signalled = false;
}

/* Frames and other events in turn: a consumer that answers each SENT with another frame
 * would never see one that came. */
bool peers_next(struct peers *p, struct peer_event *event) {
    pthread_mutex_lock(&p->lock);
    p->in_hand = false;
    p->frames_turn = !p->frames_turn;
    bool found = p->frames_turn ? next_frame(p, event) || next_link_event(p, event)
                                : next_link_event(p, event) || next_frame(p, event);
    if (!found) quiet(p);
    bool resume = p->paused && recv_half_empty(p);
    if (resume) p->paused = false;
    pthread_mutex_unlock(&p->lock);
    if (resume) nng_recv_aio(p->socket, p->aio);
    return found;
}

void peers_take(struct peers *p, bool (*taker)(void *arg, struct bytes frame), void *arg) {
    pthread_mutex_lock(&p->lock);
    p->taker = NULL;
    while (p->taking) pthread_cond_wait(&p->quiet, &p->lock);
    p->taker_arg = arg;
    p->taker = taker;
    pthread_mutex_unlock(&p->lock);
}

void peers_release(struct peer_event *event) {
    if (event->owner) nng_msg_free(event->owner);
    event->owner = NULL;
    event->bytes = (struct bytes){0};
}

/* --- sending --- */

/* The head of the queue, to be sent; with the lock. */
static nng_msg *link_head(struct link *l) {
    l->busy = l->queue.count > 0 && !l->closing;
    return l->busy ? l->queue.slots[l->queue.head] : NULL;
}

/* Without the lock; the aio must be idle and the link unable to go away. */
static void link_start(struct link *l, nng_msg *msg) {
    nng_aio_set_msg(l->aio, msg);
    nng_send_aio(l->socket, l->aio);
}

/* The aio's byte count is what a sent message had; one that failed is still the ring's. */
static void on_sent(void *arg) {
    struct link *l = arg;
    bool taken = nng_aio_result(l->aio) == 0;
    size_t len = taken ? nng_aio_count(l->aio) : 0;
    nng_aio_set_msg(l->aio, NULL);
    pthread_mutex_lock(&l->peers->lock);
    if (taken) {
        ring_drop(&l->queue, len);
        l->peers->stats.frames_sent++;
        l->peers->stats.bytes_sent += len;
        l->sent++;
        note(l);
        if (l->refused) wake(l->peers); /* somebody waits for room */
        l->refused = false;
    }
    nng_msg *next = link_head(l);
    pthread_mutex_unlock(&l->peers->lock);
    if (next) link_start(l, next);
}

/* With the lock. An empty queue takes any frame that is not too large. */
static enum status link_room(const struct peers *p, const struct link *l, size_t len) {
    if (!l->open || l->closing) return STATUS_ERR_NOT_FOUND;
    if (l->queue.count >= p->config.send_frames_max) return STATUS_ERR_BUSY;
    if (l->queue.bytes + len > p->config.send_bytes_max) return STATUS_ERR_BUSY;
    return STATUS_OK;
}

enum status peers_send(struct peers *p, int link, struct bytes frame) {
    assert(link >= 0 && link < PEER_LINKS);
    if (frame.len > p->config.frame_bytes_max) return STATUS_ERR_TOO_LARGE;
    struct link *l = &p->links[link];
    pthread_mutex_lock(&p->lock);
    enum status status = link_room(p, l, frame.len);
    if (status == STATUS_ERR_BUSY) l->refused = true;
    nng_msg *msg = NULL, *head = NULL;
    if (status == STATUS_OK && nng_msg_alloc(&msg, frame.len) != 0) status = STATUS_ERR_MEMORY;
    if (status == STATUS_OK) {
        if (frame.len) memcpy(nng_msg_body(msg), frame.data, frame.len);
        ring_push(&l->queue, msg);
        if (!l->busy) head = link_head(l);
        if (head) l->starting++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!head) return status;

    link_start(l, head);
    pthread_mutex_lock(&p->lock);
    if (--l->starting == 0 && l->closing) pthread_cond_broadcast(&p->started);
    pthread_mutex_unlock(&p->lock);
    return STATUS_OK;
}

/* --- links --- */

/* A new connection may be there before the old one's end is told. */
static void on_link(nng_pipe pipe, nng_pipe_ev what, void *arg) {
    struct link *l = arg;
    pthread_mutex_lock(&l->peers->lock);
    if (what == NNG_PIPE_EV_ADD_POST) {
        l->flapped = l->flapped || l->pipe.id != 0;
        l->pipe = pipe;
        l->lonely_since_ms = 0;
        mark(l);
    } else if (l->pipe.id == pipe.id) {
        l->pipe.id = 0;
        l->flapped = true;
        l->lonely_since_ms = mono_ms();
        mark(l);
    }
    pthread_mutex_unlock(&l->peers->lock);
}

/* nng's form of an address; false if it cannot be one. */
static bool url_of(char url[URL_BYTES], const char *host, uint16_t port) {
    size_t len = strlen(host);
    if (len > HOST_BYTES_MAX || strpbrk(host, "/?#@% \t\r\n[]")) return false;
    const char *form = strchr(host, ':') ? "tcp://[%s]:%u" : "tcp://%s:%u";
    return snprintf(url, URL_BYTES, form, len ? host : "0.0.0.0", (unsigned)port) < URL_BYTES;
}

/* With control. */
static int link_connect(struct link *l) {
    nng_dialer dialer;
    int error = nng_dialer_create(&dialer, l->socket, l->url);
    if (error) return error;
    (void)nng_dialer_set_bool(dialer, NNG_OPT_TCP_NODELAY, true);
    (void)nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true);
    l->dialer = dialer;
    error = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    if (error) nng_dialer_close(dialer);
    return error;
}

/* A PUSH is sent nothing, so any frame from the peer is too long. */
static int push_open(struct link *l) {
    int error = nng_push0_open(&l->socket);
    if (error) return error;
    if ((error = nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ, 1)) ||
        (error = nng_socket_set_ms(l->socket, NNG_OPT_RECONNMINT, RECONNECT_MS_MIN)) ||
        (error = nng_socket_set_ms(l->socket, NNG_OPT_RECONNMAXT, RECONNECT_MS_MAX)) ||
        (error = nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_POST, on_link, l)) ||
        (error = nng_pipe_notify(l->socket, NNG_PIPE_EV_REM_POST, on_link, l)) ||
        (error = nng_aio_alloc(&l->aio, on_sent, l)))
        nng_close(l->socket);
    return error;
}

/* Nothing calls back any more when this returns. */
static void push_close(struct link *l) {
    nng_aio_stop(l->aio);
    nng_close(l->socket);
    nng_aio_free(l->aio);
    ring_fini(&l->queue);
}

/* `open` comes last: until then peers_send finds no link. */
enum status peers_dial(struct peers *p, int link, const char *host, uint16_t port) {
    assert(link >= 0 && link < PEER_LINKS);
    struct link *l = &p->links[link];
    char url[URL_BYTES];
    if (l->open || !*host || !port || !url_of(url, host, port)) return STATUS_ERR_INVALID;

    pthread_mutex_lock(&p->control);
    pthread_mutex_lock(&p->lock);
    *l = (struct link){.peers = p, .lonely_since_ms = mono_ms()};
    memcpy(l->url, url, sizeof url);
    ring_init(&l->queue, p->config.send_frames_max);
    pthread_mutex_unlock(&p->lock);
    int error = push_open(l);
    if (error) ring_fini(&l->queue);
    else if ((error = link_connect(l))) push_close(l);
    if (!error) {
        pthread_mutex_lock(&p->lock);
        l->open = true;
        mark(l); /* it may be up already */
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_unlock(&p->control);
    return translate(error);
}

void peers_hangup(struct peers *p, int link) {
    assert(link >= 0 && link < PEER_LINKS);
    struct link *l = &p->links[link];
    pthread_mutex_lock(&p->control);
    pthread_mutex_lock(&p->lock);
    bool open = l->open;
    l->closing = true;
    while (l->starting) pthread_cond_wait(&p->started, &p->lock);
    pthread_mutex_unlock(&p->lock);
    if (open) push_close(l);
    pthread_mutex_lock(&p->lock);
    l->open = false;
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->control);
}

/* --- the watchdog --- */

static bool link_is_lonely(struct peers *p, struct link *l) {
    pthread_mutex_lock(&p->lock);
    int64_t now = mono_ms();
    bool lonely = l->open && l->lonely_since_ms && now - l->lonely_since_ms >= p->config.watchdog_ms;
    if (lonely) {
        l->lonely_since_ms = now;
        p->stats.diallers_remade++;
    }
    pthread_mutex_unlock(&p->lock);
    return lonely;
}

/* A failure is tried again after another watchdog_ms. */
static void *watch(void *arg) {
    struct peers *p = arg;
    do {
        pthread_mutex_lock(&p->control);
        for (int i = 0; i < PEER_LINKS; i++) {
            if (!link_is_lonely(p, &p->links[i])) continue;
            nng_dialer_close(p->links[i].dialer);
            (void)link_connect(&p->links[i]);
        }
        pthread_mutex_unlock(&p->control);
    } while (!bell_sleep(&p->stop, (p->config.watchdog_ms / 4 + 1) * INT64_C(1000)));
    return NULL;
}

/* --- open and close --- */

/* By default nng starts two threads per core for each of its duties. Every dial waits for one that resolves, also of a plain
 * address; a name whose servers do not answer keeps one for half a minute, and is asked for again at once. */
static void few_threads(void) {
    nng_init_set_parameter(NNG_INIT_NUM_TASK_THREADS, 2);
    nng_init_set_parameter(NNG_INIT_NUM_EXPIRE_THREADS, 1);
    nng_init_set_parameter(NNG_INIT_NUM_POLLER_THREADS, 1);
    nng_init_set_parameter(NNG_INIT_NUM_RESOLVER_THREADS, 16);
}

static bool config_is_sane(const struct peers_config *c) {
    return c->host && c->frame_bytes_max && c->send_frames_max && c->send_bytes_max >= c->frame_bytes_max &&
           c->recv_frames_max && c->recv_bytes_max && c->inbound_max && c->watchdog_ms;
}

static int pull_listen(struct peers *p, const char *url) {
    int error, port = 0;
    if ((error = nng_socket_set_size(p->socket, NNG_OPT_RECVMAXSZ, p->config.frame_bytes_max)) ||
        (error = nng_pipe_notify(p->socket, NNG_PIPE_EV_ADD_PRE, on_inbound, p)) ||
        (error = nng_pipe_notify(p->socket, NNG_PIPE_EV_REM_POST, on_inbound, p)) ||
        (error = nng_listener_create(&p->listener, p->socket, url)))
        return error;
    (void)nng_listener_set_bool(p->listener, NNG_OPT_TCP_NODELAY, true);
    (void)nng_listener_set_bool(p->listener, NNG_OPT_TCP_KEEPALIVE, true);
    if ((error = nng_listener_start(p->listener, 0))) return error;
    if ((error = nng_listener_get_int(p->listener, NNG_OPT_TCP_BOUND_PORT, &port))) return error;
    p->port = (uint16_t)port;
    return 0;
}

static struct peers *peers_new(const struct peers_config *config) {
    struct peers *p = mem_zero(1, sizeof *p);
    p->config = *config;
    p->config.host = NULL; /* the caller's */
    bell_init(&p->stop);
    pthread_cond_init(&p->started, NULL);
    pthread_cond_init(&p->quiet, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->control, NULL);
    ring_init(&p->received, config->recv_frames_max);
    return p;
}

static void peers_free(struct peers *p) {
    ring_fini(&p->received);
    pthread_mutex_destroy(&p->control);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->started);
    pthread_cond_destroy(&p->quiet);
    bell_fini(&p->stop);
    mem_free(p);
}

static void pull_close(struct peers *p) {
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_mutex_unlock(&p->lock);
    nng_aio_stop(p->aio);
    nng_close(p->socket);
    nng_aio_free(p->aio);
}

struct peers *peers_open(const struct peers_config *config, enum status *status) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char url[URL_BYTES];
    *status = STATUS_ERR_INVALID;
    if (!config_is_sane(config) || !url_of(url, config->host, config->port)) return NULL;
    pthread_once(&once, few_threads);

    struct peers *p = peers_new(config);
    int error = NNG_ENOFILES;
    if ((p->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) goto no_fd;
    if ((error = nng_aio_alloc(&p->aio, on_received, p))) goto no_aio;
    if ((error = nng_pull0_open(&p->socket))) goto no_socket;
    if ((error = pull_listen(p, url))) goto no_listener;
    error = NNG_ENOMEM;
    if (!thread_start(&p->watchdog, watch, p)) goto no_listener;
    nng_recv_aio(p->socket, p->aio);
    *status = STATUS_OK;
    return p;

no_listener:
    nng_close(p->socket);
no_socket:
    nng_aio_free(p->aio);
no_aio:
    close(p->fd);
no_fd:
    peers_free(p);
    *status = translate(error);
    return NULL;
}

void peers_close(struct peers *p) {
    bell_ring(&p->stop);
    pthread_join(p->watchdog, NULL);
    for (int i = 0; i < PEER_LINKS; i++) peers_hangup(p, i);
    pull_close(p);
    close(p->fd);
    peers_free(p);
}

uint16_t peers_port(const struct peers *p) { return p->port; }
int peers_fd(const struct peers *p) { return p->fd; }

void peers_stats(struct peers *p, struct peers_stats *stats) {
    pthread_mutex_lock(&p->lock);
    *stats = p->stats;
    pthread_mutex_unlock(&p->lock);
}
