/* Frames between nodes on loopback, and what strangers can do to a listener. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/clock_posix.h"
#include "net/peer.h"

static int64_t now_ms(void) { return os_mono_us() / 1000; }

static void nap_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static struct peers_config small(void) {
    struct peers_config c = PEERS_CONFIG_DEFAULT;
    c.host = "127.0.0.1";
    c.watchdog_ms = 1000;
    return c;
}

static struct peers *open_with(struct peers_config c) {
    enum status status;
    struct peers *p = peers_open(&c, &status);
    assert_int_equal(status, STATUS_OK);
    assert_non_null(p);
    assert_int_not_equal(peers_port(p), 0);
    return p;
}

/* On a port that was ours a moment ago; closing connections may still hold it. */
static struct peers *reopen(struct peers_config c, uint16_t port) {
    enum status status;
    struct peers *p = NULL;
    c.port = port;
    for (int i = 0; i < 100 && !(p = peers_open(&c, &status)); i++) nap_ms(20);
    assert_non_null(p);
    return p;
}

static void dial(struct peers *from, int link, const struct peers *to) {
    assert_int_equal(peers_dial(from, link, "127.0.0.1", peers_port(to)), STATUS_OK);
}

/* The next event within so many ms. */
static bool next_within(struct peers *p, struct peer_event *e, int ms) {
    for (int64_t end = now_ms() + ms; !peers_next(p, e);) {
        struct pollfd fd = {.fd = peers_fd(p), .events = POLLIN};
        if (now_ms() >= end) return false;
        poll(&fd, 1, (int)(end - now_ms()));
    }
    return true;
}

/* Skips and frees all else; false after 10 s. */
static bool await(struct peers *p, enum peer_event_kind kind, struct peer_event *e) {
    for (int64_t end = now_ms() + 10000; now_ms() < end;) {
        if (!next_within(p, e, 100)) continue;
        if (e->kind == kind) return true;
        peers_release(e);
    }
    return false;
}

static void await_event(struct peers *p, enum peer_event_kind kind, int link) {
    struct peer_event e;
    assert_true(await(p, kind, &e));
    assert_int_equal(e.link, link);
}

static void send_text(struct peers *p, int link, const char *text) {
    assert_int_equal(peers_send(p, link, bytes_str(text)), STATUS_OK);
}

static void expect_text(struct peers *p, const char *text) {
    struct peer_event e;
    assert_true(await(p, PEER_FRAME, &e));
    assert_int_equal(e.bytes.len, strlen(text));
    assert_memory_equal(e.bytes.data, text, e.bytes.len);
    peers_release(&e);
}

static struct peers_stats stats_of(struct peers *p) {
    struct peers_stats s;
    peers_stats(p, &s);
    return s;
}

/* Drops what comes meanwhile: a connection whose last frame nobody takes is held. */
static void await_inbound(struct peers *p, uint64_t count) {
    struct peer_event e;
    for (int64_t end = now_ms() + 10000; stats_of(p).inbound != count && now_ms() < end;)
        if (next_within(p, &e, 20)) peers_release(&e);
    assert_int_equal(stats_of(p).inbound, count);
}

/* --- between peers --- */

static size_t fill(uint8_t *frame, uint32_t number) {
    size_t len = number % 7 == 0 ? number % 70000 : number % 300;
    for (size_t i = 0; i < len; i++) frame[i] = (uint8_t)(number + i * 31);
    return len;
}

/* Sends and receives in one thread; all frames must come, in order, and be reported sent. */
static void carry(struct peers *a, int link, struct peers *b, uint32_t count) {
    static uint8_t frame[70000];
    uint32_t sent = 0, came = 0, told = 0;
    struct peer_event e;
    for (int64_t end = now_ms() + 30000; (came < count || told < count) && now_ms() < end;) {
        if (sent < count && peers_send(a, link, bytes_of(frame, fill(frame, sent))) == STATUS_OK) sent++;
        while (peers_next(a, &e)) {
            if (e.kind == PEER_SENT && e.link == link) told += e.count;
            peers_release(&e);
        }
        while (peers_next(b, &e)) {
            if (e.kind == PEER_FRAME) {
                assert_int_equal(e.bytes.len, fill(frame, came));
                assert_memory_equal(e.bytes.data, frame, e.bytes.len);
                came++;
            }
            peers_release(&e);
        }
    }
    assert_int_equal(came, count);
    assert_int_equal(told, count);
}

static void frames_arrive_in_order_with_their_bytes(void **state) {
    (void)state;
    struct peers *a = open_with(small()), *b = open_with(small());
    dial(a, 3, b);
    await_event(a, PEER_UP, 3);
    carry(a, 3, b, 3000);
    struct peers_stats sa = stats_of(a), sb = stats_of(b);
    assert_int_equal(sa.frames_sent, 3000);
    assert_int_equal(sb.frames_received, 3000);
    assert_int_equal(sa.bytes_sent, sb.bytes_received);
    assert_int_equal(sb.inbound, 1);
    peers_close(a);
    await_inbound(b, 0);
    peers_close(b);
}

static void five_peers_talk_each_to_each(void **state) {
    (void)state;
    struct peers *p[5];
    for (int i = 0; i < 5; i++) p[i] = open_with(small());
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            if (i != j) dial(p[i], j, p[j]);
    char text[16];
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            for (int n = 0; i != j && n < 10; n++) {
                snprintf(text, sizeof text, "%d %d %d", i, j, n);
                send_text(p[i], j, text);
            }
    for (int j = 0; j < 5; j++) {
        int next[5] = {0}, from, to, n;
        for (int k = 0; k < 40; k++) {
            struct peer_event e;
            assert_true(await(p[j], PEER_FRAME, &e));
            snprintf(text, sizeof text, "%.*s", (int)e.bytes.len, (const char *)e.bytes.data);
            assert_int_equal(sscanf(text, "%d %d %d", &from, &to, &n), 3);
            assert_int_equal(to, j);
            assert_int_equal(n, next[from]++);
            peers_release(&e);
        }
    }
    for (int i = 0; i < 5; i++) peers_close(p[i]);
}

static void a_link_waits_for_its_listener_and_finds_it_again(void **state) {
    (void)state;
    struct peers *a = open_with(small()), *b = open_with(small());
    uint16_t port = peers_port(b);
    peers_close(b);
    assert_int_equal(peers_dial(a, 0, "127.0.0.1", port), STATUS_OK);
    send_text(a, 0, "early");
    nap_ms(200);
    b = reopen(small(), port);
    await_event(a, PEER_UP, 0);
    expect_text(b, "early");
    for (int round = 0; round < 3; round++) {
        peers_close(b);
        await_event(a, PEER_DOWN, 0);
        b = reopen(small(), port);
        await_event(a, PEER_UP, 0);
        send_text(a, 0, "again");
        expect_text(b, "again");
    }
    peers_close(a), peers_close(b);
}

static void a_stopped_reader_costs_only_its_own_link(void **state) {
    (void)state;
    struct peers_config c = small();
    c.recv_frames_max = 4, c.recv_bytes_max = 1 << 20;
    struct peers *a = open_with(small()), *stopped = open_with(c), *good = open_with(small());
    dial(a, 0, stopped), dial(a, 1, good);
    static uint8_t frame[60000];
    enum status status = STATUS_OK;
    uint64_t accepted = 0;
    struct peer_event e;
    for (int64_t quiet = now_ms(); now_ms() - quiet < 300;) {
        status = peers_send(a, 0, bytes_of(frame, sizeof frame));
        if (status == STATUS_OK) accepted++, quiet = now_ms();
        else nap_ms(1);
        while (peers_next(a, &e)) peers_release(&e);
    }
    assert_int_equal(status, STATUS_ERR_BUSY);
    assert_true(accepted < 400); /* two queues and what the kernel takes */
    assert_true(stats_of(stopped).frames_received <= 4);
    carry(a, 1, good, 500);
    for (uint64_t came = 0; came < accepted; came++) { /* it wakes up: nothing was lost */
        assert_true(await(stopped, PEER_FRAME, &e));
        peers_release(&e);
    }
    peers_close(a), peers_close(stopped), peers_close(good);
}

static void a_frame_too_large_is_refused_before_it_leaves(void **state) {
    (void)state;
    struct peers_config c = small();
    c.frame_bytes_max = 1000;
    struct peers *a = open_with(c), *b = open_with(c);
    uint8_t frame[1001] = {1};
    assert_int_equal(peers_send(a, 0, bytes_of(frame, 10)), STATUS_ERR_NOT_FOUND);
    dial(a, 0, b);
    assert_int_equal(peers_send(a, 0, bytes_of(frame, 1001)), STATUS_ERR_TOO_LARGE);
    assert_int_equal(peers_send(a, 0, bytes_of(frame, 1000)), STATUS_OK);
    assert_int_equal(peers_send(a, 0, bytes_of(NULL, 0)), STATUS_OK);
    struct peer_event e;
    assert_true(await(b, PEER_FRAME, &e));
    assert_int_equal(e.bytes.len, 1000);
    peers_release(&e);
    expect_text(b, "");
    peers_close(a), peers_close(b);
}

static void connections_above_the_limit_are_refused(void **state) {
    (void)state;
    struct peers_config c = small();
    c.inbound_max = 2;
    struct peers *b = open_with(c), *a[5];
    for (int i = 0; i < 5; i++) {
        a[i] = open_with(small());
        dial(a[i], 0, b);
    }
    for (int i = 0; i < 300 && stats_of(b).inbound_refused < 10; i++) {
        nap_ms(20);
        assert_true(stats_of(b).inbound <= 5); /* refused ones count until they are gone */
    }
    assert_true(stats_of(b).inbound_refused >= 3);
    for (int i = 0; i < 5; i++) peers_close(a[i]);
    await_inbound(b, 0);
    a[0] = open_with(small());
    dial(a[0], 0, b);
    send_text(a[0], 0, "room again");
    expect_text(b, "room again");
    peers_close(a[0]), peers_close(b);
}

static void what_cannot_be_an_address_is_refused(void **state) {
    (void)state;
    enum status status;
    struct peers_config c = small();
    struct peers *a = open_with(c);
    assert_int_equal(peers_dial(a, 0, "", 1), STATUS_ERR_INVALID);
    assert_int_equal(peers_dial(a, 0, "127.0.0.1", 0), STATUS_ERR_INVALID);
    assert_int_equal(peers_dial(a, 0, "a/b", 1), STATUS_ERR_INVALID);
    assert_int_equal(peers_dial(a, 0, "127.0.0.1", 1), STATUS_OK); /* nobody there, perhaps later */
    assert_int_equal(peers_dial(a, 0, "127.0.0.1", 2), STATUS_ERR_INVALID);
    peers_hangup(a, 0);
    peers_hangup(a, 0);
    c.port = peers_port(a);
    assert_null(peers_open(&c, &status));
    assert_int_equal(status, STATUS_ERR_BUSY);
    c.host = "192.0.2.1", c.port = 0; /* not ours */
    assert_null(peers_open(&c, &status));
    assert_int_not_equal(status, STATUS_OK);
    c.host = "not an address";
    assert_null(peers_open(&c, &status));
    assert_int_equal(status, STATUS_ERR_INVALID);
    peers_close(a);
}

#define SLOW_MS 4000

/* In place of libc's, also for nng: some names take their time, and are none then. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
    int (*libc)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&libc = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!name || !strstr(name, "slow")) return libc(name, service, hints, out);
    nap_ms(SLOW_MS);
    return EAI_AGAIN;
}

static void names_that_are_slow_to_resolve_hold_no_other_link_up(void **state) {
    (void)state;
    struct peers *a = open_with(small()), *b = open_with(small());
    int64_t began = now_ms();
    for (int link = 0; link < 4; link++) assert_int_equal(peers_dial(a, link, "slow.example", 1), STATUS_OK);
    dial(a, 4, b);
    await_event(a, PEER_UP, 4);
    assert_true(now_ms() - began < SLOW_MS / 2);
    peers_close(a), peers_close(b);
}

static void version_six_addresses_work(void **state) {
    (void)state;
    enum status status;
    struct peers_config c = small();
    c.host = "::1";
    struct peers *b = peers_open(&c, &status), *a;
    if (!b) skip();
    a = open_with(small());
    assert_int_equal(peers_dial(a, 0, "::1", peers_port(b)), STATUS_OK);
    send_text(a, 0, "six");
    expect_text(b, "six");
    peers_close(a), peers_close(b);
}

/* --- strangers --- */

static int raw_listener(uint16_t *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    *port = ntohs(at.sin_port);
    return fd;
}

static int raw_dial(const struct peers *p) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(peers_port(p))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 15};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void reset(int fd) {
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
}

/* nng's greeting of a PUSH socket, then a frame that claims to be so long. */
static void claim(const struct peers *p, uint64_t len, bool ends) {
    uint8_t bytes[16 + 8] = {0, 'S', 'P', 0, 0, 0x50, 0, 0};
    for (int i = 0; i < 8; i++) bytes[8 + i] = (uint8_t)(len >> (56 - 8 * i));
    int fd = raw_dial(p);
    assert_int_equal(send(fd, bytes, 16, MSG_NOSIGNAL), 16);
    char sink[64];
    ssize_t n = 1;
    while (ends && (n = recv(fd, sink, sizeof sink, 0)) > 0) {}
    if (ends) assert_true(n == 0 || errno == ECONNRESET);
    close(fd);
}

static void still_alive(struct peers *b) {
    struct peers *a = open_with(small());
    dial(a, 0, b);
    send_text(a, 0, "alive");
    expect_text(b, "alive");
    peers_close(a);
}

static void absurd_lengths_end_only_their_connection(void **state) {
    (void)state;
    struct peers *b = open_with(small());
    const uint64_t lengths[] = {(1u << 20) + 1, UINT32_MAX, UINT64_C(1) << 40, INT64_MAX, UINT64_C(1) << 63,
                                UINT64_MAX - 31, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) claim(b, lengths[i], true);
    claim(b, 1 << 20, false); /* allowed, but never comes */
    await_inbound(b, 0);
    still_alive(b);
    await_inbound(b, 0);
    peers_close(b);
}

static void strangers_do_not_stop_the_listener(void **state) {
    (void)state;
    struct peers *b = open_with(small());
    int silent[200];
    for (int i = 0; i < 200; i++) {
        reset(raw_dial(b));
        close(raw_dial(b));
        int fd = raw_dial(b);
        shutdown(fd, SHUT_WR);
        reset(fd);
        fd = raw_dial(b);
        (void)!send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
        close(fd);
        silent[i] = raw_dial(b);
    }
    still_alive(b);
    await_inbound(b, 0);
    for (int i = 0; i < 200; i++) close(silent[i]);
    peers_close(b);
}

/* nng never dials again after a reset in its handshake; the watchdog must. */
static void a_dialler_that_was_reset_is_made_anew(void **state) {
    (void)state;
    uint16_t port;
    int listener = raw_listener(&port);
    struct peers *a = open_with(small());
    assert_int_equal(peers_dial(a, 0, "127.0.0.1", port), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        if (poll(&ready, 1, 5000) == 1) reset(accept(listener, NULL, NULL));
    }
    close(listener);
    struct peers *b = reopen(small(), port);
    await_event(a, PEER_UP, 0);
    send_text(a, 0, "back");
    expect_text(b, "back");
    peers_close(a), peers_close(b);
}

/* --- many threads --- */

struct sender {
    struct peers *peers;
    int link;
    atomic_bool *stop;
    pthread_t thread;
    uint64_t accepted;
};

static void *send_on(void *arg) {
    struct sender *s = arg;
    static const uint8_t frame[2000] = {7};
    while (!atomic_load(s->stop)) {
        enum status status = peers_send(s->peers, s->link, bytes_of(frame, sizeof frame));
        s->accepted += status == STATUS_OK;
        if (status != STATUS_OK) nap_ms(1);
    }
    return NULL;
}

static void senders_start(struct sender s[3], struct peers *p, atomic_bool *end) {
    atomic_store(end, false);
    for (int i = 0; i < 3; i++) {
        s[i] = (struct sender){.peers = p, .stop = end};
        assert_int_equal(pthread_create(&s[i].thread, NULL, send_on, &s[i]), 0);
    }
}

static uint64_t senders_stop(struct sender s[3], atomic_bool *end) {
    uint64_t accepted = 0;
    atomic_store(end, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(s[i].thread, NULL);
        accepted += s[i].accepted;
    }
    return accepted;
}

static uint64_t drain(struct peers *p, int ms) {
    uint64_t frames = 0;
    struct peer_event e;
    for (int64_t end = now_ms() + ms; now_ms() < end;) {
        if (!next_within(p, &e, 5)) continue;
        frames += e.kind == PEER_FRAME;
        peers_release(&e);
    }
    return frames;
}

static void threads_that_send_at_once_lose_nothing(void **state) {
    (void)state;
    struct peers *a = open_with(small()), *b = open_with(small());
    dial(a, 0, b);
    atomic_bool end;
    struct sender s[3];
    senders_start(s, a, &end);
    uint64_t came = drain(b, 500), accepted = senders_stop(s, &end);
    came += drain(b, 500);
    assert_true(accepted > 100);
    assert_int_equal(came, accepted);
    peers_close(a), peers_close(b);
}

static void a_link_may_be_hung_up_and_dialled_under_traffic(void **state) {
    (void)state;
    struct peers *a = open_with(small()), *b = open_with(small());
    atomic_bool end;
    struct sender s[3];
    senders_start(s, a, &end);
    for (int i = 0; i < 60; i++) {
        dial(a, 0, b);
        drain(b, i % 12);
        drain(a, 1);
        peers_hangup(a, 0);
    }
    assert_true(senders_stop(s, &end) > 0);
    struct peer_event e;
    while (peers_next(a, &e)) fail();
    await_inbound(b, 0);
    peers_close(a), peers_close(b);
}

static void closing_under_traffic_ends(void **state) {
    (void)state;
    struct peers *b = open_with(small());
    for (int i = 0; i < 100; i++) {
        struct peers *a = open_with(small());
        dial(a, 0, b), dial(b, 0, a);
        for (int n = 0; n < 40; n++) {
            static const uint8_t frame[20000] = {9};
            (void)!peers_send(a, 0, bytes_of(frame, sizeof frame));
            (void)!peers_send(b, 0, bytes_of(frame, sizeof frame));
        }
        drain(b, i % 10);
        int64_t begin = now_ms();
        peers_close(a);
        assert_true(now_ms() - begin < 2000);
        peers_hangup(b, 0);
    }
    await_inbound(b, 0);
    peers_close(b);
}

/* --- who takes frames at once --- */

struct taker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wants, stays; /* takes; does not come back until told */
    bool inside;
    int taken, left;
};

static void let_go(struct taker *t) {
    pthread_mutex_lock(&t->lock);
    t->stays = false;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static bool on_take(void *arg, struct bytes frame) {
    struct taker *t = arg;
    (void)frame;
    pthread_mutex_lock(&t->lock);
    t->inside = true;
    pthread_cond_broadcast(&t->changed);
    while (t->stays) pthread_cond_wait(&t->changed, &t->lock);
    bool wants = t->wants;
    t->taken += wants;
    t->left += !wants;
    t->inside = false;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return wants;
}

static void await_received(struct peers *p, uint64_t count) {
    for (int i = 0; i < 1000 && stats_of(p).frames_received < count; i++) nap_ms(10);
    assert_int_equal(stats_of(p).frames_received, count);
}

/* None is taken while another waits, or is in the consumer's hands. */
static void no_frame_overtakes_another(void **state) {
    (void)state;
    struct taker t = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct peers *a = open_with(small()), *b = open_with(small());
    struct peer_event e;
    peers_take(b, on_take, &t);
    dial(a, 0, b);
    send_text(a, 0, "one");
    pthread_mutex_lock(&t.lock);
    while (!t.left) pthread_cond_wait(&t.changed, &t.lock);
    t.wants = true;
    pthread_mutex_unlock(&t.lock);
    send_text(a, 0, "two");
    await_received(b, 2);
    expect_text(b, "one");
    assert_true(await(b, PEER_FRAME, &e)); /* two, and stays in hand */
    assert_int_equal(e.bytes.len, 3);
    send_text(a, 0, "three");
    await_received(b, 3);
    peers_release(&e);
    expect_text(b, "three");
    assert_int_equal(t.taken, 0);
    assert_false(peers_next(b, &e));
    send_text(a, 0, "four");
    await_received(b, 4);
    peers_take(b, NULL, NULL);
    assert_int_equal(t.taken, 1);
    assert_false(peers_next(b, &e));
    peers_close(a), peers_close(b);
}

struct ender {
    struct peers *peers;
    struct taker *taker;
    bool ran; /* still, when it should no more */
};

static void *end_taking(void *arg) {
    struct ender *e = arg;
    peers_take(e->peers, NULL, NULL);
    pthread_mutex_lock(&e->taker->lock);
    e->ran = e->taker->inside;
    pthread_mutex_unlock(&e->taker->lock);
    return NULL;
}

static void nobody_takes_any_more_once_that_was_ended(void **state) {
    (void)state;
    struct taker t = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .wants = true, .stays = true};
    struct peers *a = open_with(small()), *b = open_with(small());
    struct ender e = {.peers = b, .taker = &t};
    pthread_t thread;
    peers_take(b, on_take, &t);
    dial(a, 0, b);
    send_text(a, 0, "one");
    pthread_mutex_lock(&t.lock);
    while (!t.inside) pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
    assert_int_equal(pthread_create(&thread, NULL, end_taking, &e), 0);
    nap_ms(100);
    let_go(&t);
    pthread_join(thread, NULL);
    assert_false(e.ran);
    send_text(a, 0, "two");
    expect_text(b, "two");
    assert_int_equal(t.taken, 1);
    peers_close(a), peers_close(b);
}

/* Whoever was refused is told, by the descriptor alone, when there is room. */
static void who_was_refused_hears_of_room(void **state) {
    (void)state;
    struct peers_config c = small();
    c.recv_frames_max = 4, c.recv_bytes_max = 1 << 20;
    c.send_frames_max = 1000, c.send_bytes_max = 1 << 20;
    struct peers *a = open_with(c), *b = open_with(c);
    static uint8_t frame[60000];
    struct peer_event e;
    dial(a, 0, b);
    await_event(a, PEER_UP, 0);
    int refused = 0;
    while (refused < 30) { /* for so long that nothing moves any more */
        if (peers_send(a, 0, bytes_of(frame, sizeof frame)) == STATUS_OK) refused = 0;
        else refused++, nap_ms(10);
        while (peers_next(a, &e)) peers_release(&e);
    }
    while (peers_send(a, 0, bytes_of(frame, sizeof frame)) != STATUS_ERR_BUSY) {}
    uint64_t sent = stats_of(a).frames_sent;
    struct pollfd fd = {.fd = peers_fd(a), .events = POLLIN};
    while (stats_of(a).frames_sent == sent) {
        assert_true(await(b, PEER_FRAME, &e));
        peers_release(&e);
    }
    assert_int_equal(poll(&fd, 1, 10000), 1);
    await_event(a, PEER_SENT, 0);
    peers_close(a), peers_close(b);
}

/* As many bytes as are allowed wait, and what the kernel takes. */
static void what_waits_for_nobody_is_bounded_in_bytes(void **state) {
    (void)state;
    struct peers_config c = small();
    c.send_frames_max = 1000, c.send_bytes_max = 1 << 20;
    struct peers *a = open_with(c);
    uint16_t port;
    int listener = raw_listener(&port);
    static uint8_t frame[60000];
    uint64_t accepted = 0;
    close(listener); /* nobody is there */
    assert_int_equal(peers_dial(a, 0, "127.0.0.1", port), STATUS_OK);
    for (int i = 0; i < 100; i++) accepted += peers_send(a, 0, bytes_of(frame, sizeof frame)) == STATUS_OK;
    assert_int_equal(accepted, (1 << 20) / sizeof frame);
    peers_close(a);
}

int main(void) {
    alarm(300); /* a hang is a failure */
    if (getenv("ONLY")) cmocka_set_test_filter(getenv("ONLY"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_in_order_with_their_bytes),
        cmocka_unit_test(five_peers_talk_each_to_each),
        cmocka_unit_test(a_link_waits_for_its_listener_and_finds_it_again),
        cmocka_unit_test(a_stopped_reader_costs_only_its_own_link),
        cmocka_unit_test(a_frame_too_large_is_refused_before_it_leaves),
        cmocka_unit_test(connections_above_the_limit_are_refused),
        cmocka_unit_test(what_cannot_be_an_address_is_refused),
        cmocka_unit_test(version_six_addresses_work),
        cmocka_unit_test(names_that_are_slow_to_resolve_hold_no_other_link_up),
        cmocka_unit_test(absurd_lengths_end_only_their_connection),
        cmocka_unit_test(strangers_do_not_stop_the_listener),
        cmocka_unit_test(a_dialler_that_was_reset_is_made_anew),
        cmocka_unit_test(threads_that_send_at_once_lose_nothing),
        cmocka_unit_test(a_link_may_be_hung_up_and_dialled_under_traffic),
        cmocka_unit_test(closing_under_traffic_ends),
        cmocka_unit_test(no_frame_overtakes_another),
        cmocka_unit_test(nobody_takes_any_more_once_that_was_ended),
        cmocka_unit_test(who_was_refused_hears_of_room),
        cmocka_unit_test(what_waits_for_nobody_is_bounded_in_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
