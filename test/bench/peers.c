/* What a frame costs between peers, and what it costs over nng's pub and sub: one sender, one
 * or four receivers, all in this process, on loopback. CPU is of both sides together.
 *
 *   flood: as fast as the sender is let; frames that came, per second, and what was lost
 *   paced: 2000 frames a second to each; one-way latency, the time of sending is in the frame */
#define _GNU_SOURCE
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "core/clock_posix.h"
#include "net/peer.h"

#define RECEIVERS_MAX 4
#define SAMPLES_MAX 100000
#define RUN_US 2000000
#define PACE_US 500

/* One way of carrying frames: the sender's end is the sending thread's only. */
struct carrier {
    const char *name;
    int receivers;
    struct peers *from, *to[RECEIVERS_MAX];
    nng_socket pub, sub[RECEIVERS_MAX];
    int fds[RECEIVERS_MAX];
    /* frames handed over to one receiver: 0 or 1 */
    uint64_t (*send)(struct carrier *c, int receiver, struct bytes frame);
    bool (*receive)(struct carrier *c, int receiver, int64_t *sent_us);
};

struct run {
    struct carrier *carrier;
    size_t size;
    bool paced;
    atomic_bool done;
    atomic_uint_fast64_t sent;
    uint64_t came;
    int64_t latency_us[SAMPLES_MAX];
    size_t samples;
};

static int64_t cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void nap_us(long us) { nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL); }

static void must(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "cannot %s\n", what);
    exit(1);
}

static int64_t stamp_of(struct bytes frame) {
    int64_t at;
    memcpy(&at, frame.data, sizeof at);
    return at;
}

/* --- push and pull, as in net/peer_nng.c --- */

static uint64_t peers_send_one(struct carrier *c, int receiver, struct bytes frame) {
    return peers_send(c->from, receiver, frame) == STATUS_OK;
}

static bool peers_receive(struct carrier *c, int receiver, int64_t *sent_us) {
    struct peer_event e;
    while (peers_next(c->to[receiver], &e)) {
        bool frame = e.kind == PEER_FRAME;
        if (frame) *sent_us = stamp_of(e.bytes);
        peers_release(&e);
        if (frame) return true;
    }
    return false;
}

static struct peers *open_one(void) {
    struct peers_config config = PEERS_CONFIG_DEFAULT;
    enum status status;
    config.host = "127.0.0.1";
    struct peers *p = peers_open(&config, &status);
    must(p != NULL, "listen");
    return p;
}

static void peers_carrier(struct carrier *c, int receivers) {
    *c = (struct carrier){.name = "push/pull", .receivers = receivers, .send = peers_send_one, .receive = peers_receive};
    c->from = open_one();
    for (int i = 0; i < receivers; i++) {
        c->to[i] = open_one();
        c->fds[i] = peers_fd(c->to[i]);
        must(peers_dial(c->from, i, "127.0.0.1", peers_port(c->to[i])) == STATUS_OK, "dial");
    }
}

static void peers_end(struct carrier *c) {
    peers_close(c->from);
    for (int i = 0; i < c->receivers; i++) peers_close(c->to[i]);
}

/* --- pub and sub, with the queues that an earlier prototype found best --- */

static uint64_t pub_send(struct carrier *c, int receiver, struct bytes frame) {
    if (receiver) return 1; /* the first reached all */
    return nng_send(c->pub, (void *)(uintptr_t)frame.data, frame.len, 0) == 0;
}

static bool sub_receive(struct carrier *c, int receiver, int64_t *sent_us) {
    nng_msg *msg;
    if (nng_recvmsg(c->sub[receiver], &msg, NNG_FLAG_NONBLOCK)) return false;
    *sent_us = stamp_of(bytes_of(nng_msg_body(msg), nng_msg_len(msg)));
    nng_msg_free(msg);
    return true;
}

static void pubsub_carrier(struct carrier *c, int receivers) {
    char url[64];
    nng_listener listener;
    int port;
    *c = (struct carrier){.name = "pub/sub", .receivers = receivers, .send = pub_send, .receive = sub_receive};
    must(!nng_pub0_open(&c->pub) && !nng_socket_set_int(c->pub, NNG_OPT_SENDBUF, 256) &&
             !nng_listen(c->pub, "tcp://127.0.0.1:0", &listener, 0) &&
             !nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port),
         "publish");
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
    for (int i = 0; i < receivers; i++)
        must(!nng_sub0_open(&c->sub[i]) && !nng_socket_set(c->sub[i], NNG_OPT_SUB_SUBSCRIBE, "", 0) &&
                 !nng_socket_set_int(c->sub[i], NNG_OPT_RECVBUF, 1024) && !nng_dial(c->sub[i], url, NULL, 0) &&
                 !nng_socket_get_int(c->sub[i], NNG_OPT_RECVFD, &c->fds[i]),
             "subscribe");
}

static void pubsub_end(struct carrier *c) {
    nng_close(c->pub);
    for (int i = 0; i < c->receivers; i++) nng_close(c->sub[i]);
}

/* --- one run --- */

static void send_round(struct run *r, uint8_t *frame) {
    struct carrier *c = r->carrier;
    uint64_t sent = 0;
    int64_t at = os_mono_us();
    memcpy(frame, &at, sizeof at);
    for (int i = 0; i < c->receivers; i++) sent += c->send(c, i, bytes_of(frame, r->size));
    atomic_fetch_add(&r->sent, sent);
    if (!sent) nap_us(50);
}

static void *send_all(void *arg) {
    struct run *r = arg;
    static uint8_t frame[65536];
    int64_t next = os_mono_us(), end = next + RUN_US;
    for (; os_mono_us() < end; next += PACE_US) {
        send_round(r, frame);
        int64_t rest = next + PACE_US - os_mono_us();
        if (r->paced && rest > 0) nap_us((long)rest);
    }
    nap_us(1000000); /* for what is under way: the kernel holds thousands of small frames */
    atomic_store(&r->done, true);
    return NULL;
}

static void receive_all(struct run *r) {
    struct carrier *c = r->carrier;
    struct pollfd fds[RECEIVERS_MAX];
    for (int i = 0; i < c->receivers; i++) fds[i] = (struct pollfd){.fd = c->fds[i], .events = POLLIN};
    while (!atomic_load(&r->done)) {
        poll(fds, (nfds_t)c->receivers, 50);
        for (int i = 0; i < c->receivers; i++) {
            int64_t sent_us;
            for (int n = 0; n < 64 && c->receive(c, i, &sent_us); n++) {
                r->came++;
                if (r->samples < SAMPLES_MAX) r->latency_us[r->samples++] = os_mono_us() - sent_us;
            }
        }
    }
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void report(const struct run *r, int64_t cpu) {
    double sent = (double)atomic_load(&r->sent), came = (double)r->came;
    size_t last = r->samples ? r->samples - 1 : 0;
    printf("%-9s  %d x %5zu B  %s  %8.0f frames/s  lost %5.1f %%  cpu %6.1f us/frame  p50 %6ld us  p99 %6ld us\n",
           r->carrier->name, r->carrier->receivers, r->size, r->paced ? "paced" : "flood", came / (RUN_US / 1e6),
           sent > 0 ? 100 * (sent - came) / sent : 0, came > 0 ? (double)cpu / came : 0,
           (long)r->latency_us[last / 2], (long)r->latency_us[last * 99 / 100]);
    fflush(stdout);
}

static void run_once(struct carrier *c, size_t size, bool paced) {
    static struct run r;
    pthread_t sender;
    memset(&r, 0, sizeof r);
    r.carrier = c, r.size = size, r.paced = paced;
    int64_t cpu = cpu_us();
    must(!pthread_create(&sender, NULL, send_all, &r), "start a thread");
    receive_all(&r);
    pthread_join(sender, NULL);
    cpu = cpu_us() - cpu;
    qsort(r.latency_us, r.samples, sizeof *r.latency_us, by_value);
    report(&r, cpu);
}

int main(void) {
    static const size_t sizes[] = {128, 4096, 65536};
    static const int receivers[] = {1, 4};
    struct carrier c;
    for (size_t i = 0; i < 12; i++) {
        bool paced = i % 2 != 0;
        size_t size = sizes[i / 2 % 3];
        peers_carrier(&c, receivers[i / 6]);
        nap_us(400000);
        run_once(&c, size, paced);
        peers_end(&c);
        pubsub_carrier(&c, receivers[i / 6]);
        nap_us(400000);
        run_once(&c, size, paced);
        pubsub_end(&c);
    }
    return 0;
}
