/* The front end over loopback, with a protocol of one word per line:
 *
 *   PING -> "+PONG\r\n"    BIG n -> n bytes    QUIT -> "+OK\r\n" and the end
 *   BUSY n -> "+PONG\r\n" once the thread was busy for n milliseconds
 *   PAUSE -> paused until `gate` opens, then "+RESUMED\r\n"
 *   KILL n -> how many of n kills of nobody there is room for, all at once */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/clock_posix.h"
#include "net/server.h"

#define WAITING 4096

struct app {
    atomic_bool gate;
    atomic_size_t sessions, out_high, query_high;
    atomic_uint_fast64_t last_id;
    atomic_int woken;
    struct connection *waiting[WAITING]; /* of the only thread that pauses */
    size_t waiting_count;
};

struct session {
    struct app *app;
    struct connection *connection;
};

static void *on_open(void *app, struct connection *c) {
    struct session *s = mem_zero(1, sizeof *s);
    *s = (struct session){app, c};
    atomic_fetch_add(&s->app->sessions, 1);
    atomic_store(&s->app->last_id, connection_id(c));
    return s;
}

static void on_close(void *session) {
    struct session *s = session;
    for (size_t i = 0; i < s->app->waiting_count; i++)
        if (s->app->waiting[i] == s->connection) s->app->waiting[i] = NULL;
    atomic_fetch_sub(&s->app->sessions, 1);
    mem_free(s);
}

static void nap_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static void put_big(struct buf *out, size_t len) {
    buf_reserve(out, len);
    memset(out->data + out->len, 'x', len);
    out->len += len;
}

static void kill_nobody(struct buf *out, int times);

static bool obey(struct session *s, const char *line, struct buf *out) {
    if (!strcmp(line, "QUIT")) {
        buf_put_str(out, "+OK\r\n");
        return false;
    }
    if (!strncmp(line, "BIG ", 4)) {
        put_big(out, strtoul(line + 4, NULL, 10));
    } else if (!strncmp(line, "KILL ", 5)) {
        kill_nobody(out, atoi(line + 5));
    } else if (!strcmp(line, "PAUSE")) {
        s->app->waiting[s->app->waiting_count++] = s->connection;
        connection_pause(s->connection);
    } else {
        if (!strncmp(line, "BUSY ", 5)) nap_ms(strtol(line + 5, NULL, 10));
        buf_put_str(out, "+PONG\r\n");
    }
    return true;
}

static bool on_data(void *session, struct connection *c, struct buf *query, struct buf *out) {
    struct session *s = session;
    bool go = true;
    size_t used = 0, waiting = s->app->waiting_count;
    if (query->len > atomic_load(&s->app->query_high)) atomic_store(&s->app->query_high, query->len);
    while (go && s->app->waiting_count == waiting && !connection_full(c)) {
        uint8_t *end = memchr(query->data + used, '\n', query->len - used);
        if (!end) break;
        *end = 0;
        go = obey(s, (char *)query->data + used, out);
        used = (size_t)(end - query->data) + 1;
    }
    buf_drop_front(query, used);
    if (out->len > atomic_load(&s->app->out_high)) atomic_store(&s->app->out_high, out->len);
    return go;
}

static void on_tick(void *arg, int thread) {
    struct app *app = arg;
    if (thread || !atomic_load(&app->gate)) return;
    for (size_t i = 0; i < app->waiting_count; i++) {
        if (!app->waiting[i]) continue;
        buf_put_str(connection_out(app->waiting[i]), "+RESUMED\r\n");
        connection_resume(app->waiting[i]);
    }
    app->waiting_count = 0;
}

static void on_woken(void *arg, int thread) {
    (void)thread;
    atomic_fetch_add(&((struct app *)arg)->woken, 1);
}

/* --- the clients' side --- */

static struct app app;
static struct server *server;

static void kill_nobody(struct buf *out, int times) {
    int room = 0;
    for (int i = 0; i < times; i++) room += server_kill(server, 1000000);
    buf_printf(out, "%d\r\n", room);
}

static void start(struct server_options options) {
    static const struct server_ops ops = {
        .open = on_open, .data = on_data, .close = on_close, .tick = on_tick, .woken = on_woken};
    memset(&app, 0, sizeof app);
    options.host = options.host ? options.host : "127.0.0.1";
    if (!options.threads) options.threads = 1;
    if (!options.clients_max) options.clients_max = 10000;
    if (!options.query_bytes_max) options.query_bytes_max = 1 << 20;
    if (!options.out_bytes_max) options.out_bytes_max = 1 << 20;
    assert_int_equal(server_open(&options, &ops, &app, &server), STATUS_OK);
}

static void stop(void) {
    server_stop(&server);
    assert_null(server);
    assert_int_equal(app.sessions, 0);
}

static int64_t now_ms(void) { return os_mono_us() / 1000; }

static int dial_with(int receive_bytes) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(server_port(server))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (receive_bytes) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static int dial(void) { return dial_with(0); }

static void say(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void expect(int fd, const char *text) {
    char got[256] = {0};
    size_t have = 0, want = strlen(text);
    while (have < want) {
        ssize_t n = recv(fd, got + have, want - have, 0);
        if (n <= 0) break;
        have += (size_t)n;
    }
    assert_string_equal(got, text);
}

/* How many bytes come before the connection ends; -1 when it does not in 10 s. */
static long until_end(int fd) {
    static char sink[1 << 16];
    long total = 0;
    for (;;) {
        ssize_t n = recv(fd, sink, sizeof sink, 0);
        if (n > 0) total += n;
        else if (n == 0 || errno == ECONNRESET) return total;
        else return -1;
    }
}

static bool ended_within(int fd, int64_t ms) {
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, (int)ms) == 1;
}

/* Sends the text so many times at one go; how many times it was taken whole. */
static size_t stuff(int fd, const char *text, size_t times) {
    struct buf all = {0};
    for (size_t i = 0; i < times; i++) buf_put_str(&all, text);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    size_t sent = 0;
    for (ssize_t n; sent < all.len; sent += (size_t)n)
        if ((n = send(fd, all.data + sent, all.len - sent, MSG_NOSIGNAL)) <= 0) break;
    buf_fini(&all);
    return sent / strlen(text);
}

/* --- tests --- */

static void a_paused_connection_waits_and_goes_on(void **state) {
    (void)state;
    start((struct server_options){0});
    int fd = dial();
    say(fd, "PING\nPAUSE\nPING\nPING\n");
    expect(fd, "+PONG\r\n");
    nap_ms(250);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    say(fd, "PING\n"); /* comes while it is paused */
    atomic_store(&app.gate, true);
    expect(fd, "+RESUMED\r\n+PONG\r\n+PONG\r\n+PONG\r\n");
    say(fd, "PAUSE\nPAUSE\nPING\n");
    expect(fd, "+RESUMED\r\n+RESUMED\r\n+PONG\r\n");
    close(fd);
    stop();
}

static void a_paused_client_may_shut_down_its_side(void **state) {
    (void)state;
    start((struct server_options){0});
    int fd = dial();
    say(fd, "PAUSE\nPING\n");
    nap_ms(20);
    say(fd, "PING\n");
    shutdown(fd, SHUT_WR);
    nap_ms(50);
    atomic_store(&app.gate, true);
    expect(fd, "+RESUMED\r\n+PONG\r\n+PONG\r\n");
    assert_int_equal(until_end(fd), 0);
    close(fd);
    stop();
}

/* What waits while it is paused is a pipeline, not one request that is too long. */
static void a_paused_client_may_have_sent_more_than_one_request_may_be(void **state) {
    (void)state;
    start((struct server_options){.query_bytes_max = 1000});
    int fd = dial();
    struct buf all = {0};
    buf_put_str(&all, "PAUSE\n");
    for (int i = 0; i < 400; i++) buf_put_str(&all, "PING\n");
    buf_put_byte(&all, 0);
    say(fd, (const char *)all.data);
    nap_ms(50);
    assert_int_equal(server_clients(server), 1);
    atomic_store(&app.gate, true);
    expect(fd, "+RESUMED\r\n");
    for (int i = 0; i < 400; i++) expect(fd, "+PONG\r\n");
    buf_fini(&all);
    close(fd);
    stop();
}

static void a_paused_client_that_resets_is_forgotten(void **state) {
    (void)state;
    start((struct server_options){0});
    int fd = dial();
    say(fd, "PAUSE\n");
    nap_ms(50);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
    for (int i = 0; i < 100 && server_clients(server); i++) nap_ms(10);
    assert_int_equal(server_clients(server), 0);
    stop();
}

static void kill_ends_the_one_with_that_id(void **state) {
    (void)state;
    start((struct server_options){.threads = 3});
    int fds[6];
    uint64_t ids[6];
    for (int i = 0; i < 6; i++) {
        fds[i] = dial();
        say(fds[i], "PING\n");
        expect(fds[i], "+PONG\r\n");
        ids[i] = atomic_load(&app.last_id);
    }
    assert_true(server_kill(server, ids[4]));
    assert_true(server_kill(server, 999999)); /* nobody */
    assert_int_equal(until_end(fds[4]), 0);
    for (int i = 0; i < 6; i++) {
        if (i != 4) {
            say(fds[i], "PING\n");
            expect(fds[i], "+PONG\r\n");
        }
        close(fds[i]);
    }
    stop();
}

/* The thread that would do them is at something else. */
static void kills_wait_in_bounds(void **state) {
    (void)state;
    start((struct server_options){.clients_max = 5});
    int fd = dial();
    say(fd, "KILL 100\n"), expect(fd, "5\r\n");
    say(fd, "PING\n"), expect(fd, "+PONG\r\n");
    say(fd, "KILL 3\n"), expect(fd, "3\r\n"); /* there is room again */
    close(fd);
    stop();
}

static void idle_clients_are_closed_and_busy_ones_not(void **state) {
    (void)state;
    start((struct server_options){.idle_ms = 400});
    int idle = dial(), busy = dial(), paused = dial();
    say(paused, "PAUSE\n");
    int64_t begin = now_ms();
    while (now_ms() - begin < 900) {
        say(busy, "PING\n");
        expect(busy, "+PONG\r\n");
        nap_ms(50);
    }
    assert_true(ended_within(idle, 0));
    assert_false(ended_within(busy, 0));
    assert_false(ended_within(paused, 0));
    close(idle), close(busy), close(paused);
    stop();
}

static void what_keeps_the_thread_busy_is_nobody_s_idleness(void **state) {
    (void)state;
    start((struct server_options){.idle_ms = 1500});
    int a = dial(), b = dial(), idle = dial();
    say(b, "PING\n");
    expect(b, "+PONG\r\n");
    say(a, "BUSY 2000\n");
    nap_ms(200);
    say(b, "PING\n");
    expect(a, "+PONG\r\n");
    expect(b, "+PONG\r\n");
    nap_ms(300); /* three ticks */
    assert_false(ended_within(a, 0));
    assert_false(ended_within(b, 0));
    assert_true(ended_within(idle, 5000));
    close(a), close(b), close(idle);
    stop();
}

/* Redis: an interaction is a read as well as a write that the socket took. */
static void a_client_that_reads_slowly_is_not_idle(void **state) {
    (void)state;
    start((struct server_options){.idle_ms = 900, .out_bytes_max = 64 << 20});
    int fd = dial_with(1 << 18);
    say(fd, "BIG 60000000\nPING\n");
    static char sink[200000];
    size_t total = 0;
    for (int64_t begin = now_ms(); now_ms() - begin < 2000;) {
        ssize_t n = recv(fd, sink, sizeof sink, MSG_DONTWAIT);
        if (n > 0) total += (size_t)n;
        assert_true(n != 0);
        nap_ms(20);
    }
    assert_true(total > 0);
    assert_true(total < 60000000);
    assert_int_equal(server_clients(server), 1);
    int stuck = dial_with(4096);
    say(stuck, "BIG 12000000\n");
    for (int i = 0; i < 200 && server_clients(server) > 0; i++) nap_ms(10);
    assert_int_equal(server_clients(server), 0); /* neither reads now */
    close(fd), close(stuck);
    stop();
}

static void one_client_too_many_is_told_so(void **state) {
    (void)state;
    start((struct server_options){.clients_max = 2});
    int a = dial(), b = dial();
    say(a, "PING\n"), expect(a, "+PONG\r\n");
    say(b, "PING\n"), expect(b, "+PONG\r\n");
    int c = dial();
    expect(c, "-ERR max number of clients reached\r\n");
    assert_int_equal(until_end(c), 0);
    close(c);
    close(a);
    for (int i = 0; i < 100 && server_clients(server) > 1; i++) nap_ms(10);
    c = dial();
    say(c, "PING\n"), expect(c, "+PONG\r\n");
    assert_int_equal(server_rejected(server), 1);
    close(b), close(c);
    stop();
}

static void a_request_without_end_is_cut_off(void **state) {
    (void)state;
    start((struct server_options){.query_bytes_max = 100000});
    int fd = dial();
    char part[1001];
    memset(part, 'p', 1000);
    part[1000] = 0;
    size_t sent = 0;
    for (; sent < 10000; sent++)
        if (send(fd, part, 1000, MSG_NOSIGNAL) != 1000) break;
    assert_true(sent < 10000);
    close(fd);
    stop();
}

static void who_never_reads_is_cut_off_near_the_limit(void **state) {
    (void)state;
    start((struct server_options){.out_bytes_max = 1 << 20, .linger_ms = 300});
    int fd = dial_with(4096);
    stuff(fd, "BIG 100000\n", 5000); /* 500 MB of replies */
    assert_true(ended_within(fd, 5000));
    /* up to as much again was sent and not yet moved away */
    assert_true(atomic_load(&app.out_high) <= 2 * ((1 << 20) + 100000));
    close(fd);
    stop();
}

static void who_reads_gets_more_than_the_limit(void **state) {
    (void)state;
    start((struct server_options){.out_bytes_max = 64 << 10});
    int fd = dial();
    size_t asked = stuff(fd, "BIG 50000\n", 300); /* 15 MB */
    shutdown(fd, SHUT_WR);
    assert_int_equal(asked, 300);
    assert_int_equal(until_end(fd), 15000000);
    assert_true(atomic_load(&app.out_high) <= 3 * (64 << 10) + 50000);
    close(fd);
    stop();
}

/* Their replies fill up again and again: what they have sent meanwhile waits where it is. */
static void who_asks_for_more_than_he_reads_is_read_no_faster(void **state) {
    (void)state;
    start((struct server_options){.out_bytes_max = 4096, .query_bytes_max = 1 << 18});
    int fd = dial();
    struct buf asks = {0};
    static char sink[1 << 16];
    size_t sent = 0, got = 0;
    for (int i = 0; i < 200000; i++) buf_put_str(&asks, "BIG 500\n");
    while (got < 200000 * 500) {
        ssize_t n = send(fd, asks.data + sent, asks.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) sent += (size_t)n;
        n = recv(fd, sink, sizeof sink, sent < asks.len ? MSG_DONTWAIT : 0);
        assert_true(n > 0 || (n < 0 && sent < asks.len));
        if (n > 0) got += (size_t)n;
    }
    assert_true(atomic_load(&app.query_high) <= 1 << 18);
    buf_fini(&asks);
    close(fd);
    stop();
}

static void last_replies_that_nobody_reads_have_a_deadline(void **state) {
    (void)state;
    start((struct server_options){.out_bytes_max = 64 << 20, .linger_ms = 1000});
    int quits = dial_with(4096), ends = dial_with(4096), reads = dial();
    say(quits, "BIG 20000000\nQUIT\n");
    say(ends, "BIG 20000000\n");
    shutdown(ends, SHUT_WR);
    say(reads, "BIG 20000000\nQUIT\n");
    assert_int_equal(until_end(reads), 20000000 + 5);
    for (int i = 0; i < 500 && server_clients(server); i++) nap_ms(10);
    assert_int_equal(server_clients(server), 0);
    close(quits), close(ends), close(reads);
    stop();
}

/* The socket takes more only when much of what it holds is gone, which says nothing about the client. */
static void last_replies_that_are_read_slowly_arrive(void **state) {
    (void)state;
    start((struct server_options){.out_bytes_max = 64 << 20, .linger_ms = 1000});
    int fd = dial_with(1 << 18);
    static char sink[10000];
    long total = 0;
    say(fd, "BIG 20000000\n");
    shutdown(fd, SHUT_WR);
    for (int64_t begin = now_ms(); now_ms() - begin < 4000; nap_ms(20)) {
        ssize_t n = recv(fd, sink, sizeof sink, 0);
        assert_true(n > 0);
        total += n;
    }
    assert_int_equal(total + until_end(fd), 20000000);
    close(fd);
    stop();
}

static void a_half_closed_client_gets_its_replies(void **state) {
    (void)state;
    start((struct server_options){.out_bytes_max = 8 << 20});
    int fd = dial();
    size_t sent = stuff(fd, "PING\n", 20000);
    assert_int_equal(sent, 20000);
    shutdown(fd, SHUT_WR);
    assert_int_equal(until_end(fd), (long)sent * 7);
    close(fd);
    fd = dial();
    say(fd, "BIG 3000000\nBIG 3000000\nPING\nhalf a requ");
    shutdown(fd, SHUT_WR);
    assert_int_equal(until_end(fd), 6000007);
    close(fd);
    stop();
}

static void requests_may_come_byte_by_byte(void **state) {
    (void)state;
    start((struct server_options){0});
    int fd = dial();
    for (int round = 0; round < 20; round++) {
        for (const char *at = "PING\nPING\n"; *at; at++) {
            assert_int_equal(send(fd, at, 1, MSG_NOSIGNAL), 1);
            if (round % 2) nap_ms(1);
        }
        expect(fd, "+PONG\r\n+PONG\r\n");
    }
    close(fd);
    stop();
}

static void a_thousand_clients_are_served(void **state) {
    (void)state;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2100) skip();
    start((struct server_options){.threads = 4});
    static int fds[1000];
    for (int i = 0; i < 1000; i++) fds[i] = dial();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) say(fds[i], "PING\nPING\n");
        for (int i = 0; i < 1000; i++) expect(fds[i], "+PONG\r\n+PONG\r\n");
    }
    assert_int_equal(server_clients(server), 1000);
    for (int i = 0; i < 1000; i++) close(fds[i]);
    for (int i = 0; i < 500 && server_clients(server); i++) nap_ms(10);
    assert_int_equal(server_clients(server), 0);
    stop();
}

static void stop_ends_while_clients_are_stuck(void **state) {
    (void)state;
    start((struct server_options){.threads = 2, .out_bytes_max = 64 << 20, .linger_ms = 1000});
    int stuck[4], paused = dial(), idle = dial();
    for (int i = 0; i < 4; i++) {
        stuck[i] = dial_with(4096);
        say(stuck[i], "BIG 20000000\n");
    }
    say(idle, "PING\n"), expect(idle, "+PONG\r\n");
    nap_ms(100);
    int64_t begin = now_ms();
    stop();
    assert_true(now_ms() - begin < 3000);
    for (int i = 0; i < 4; i++) close(stuck[i]);
    close(paused), close(idle);
}

static void *read_all(void *arg) {
    int fd = *(int *)arg;
    return (void *)(intptr_t)until_end(fd);
}

static void stop_writes_the_replies_it_has(void **state) {
    (void)state;
    start((struct server_options){.out_bytes_max = 64 << 20});
    int fd = dial_with(65536);
    say(fd, "BIG 20000000\n");
    nap_ms(100);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, &fd), 0);
    stop();
    void *got;
    pthread_join(reader, &got);
    assert_int_equal((intptr_t)got, 20000000);
    close(fd);
}

static void wake_reaches_every_thread(void **state) {
    (void)state;
    start((struct server_options){.threads = 3});
    for (int i = 0; i < 3; i++) server_wake(server, i);
    for (int i = 0; i < 200 && atomic_load(&app.woken) < 3; i++) nap_ms(5);
    assert_int_equal(atomic_load(&app.woken), 3);
    stop();
}

static void what_cannot_be_opened_is_refused(void **state) {
    (void)state;
    static const struct server_ops ops = {.open = on_open, .data = on_data, .close = on_close};
    struct server *other = NULL;
    start((struct server_options){0});
    struct server_options o = {.host = "127.0.0.1", .port = server_port(server), .threads = 1, .clients_max = 1};
    assert_int_equal(server_open(&o, &ops, &app, &other), STATUS_ERR_IO);
    o.host = "no address";
    assert_int_equal(server_open(&o, &ops, &app, &other), STATUS_ERR_IO);
    o.threads = 0;
    assert_int_equal(server_open(&o, &ops, &app, &other), STATUS_ERR_INVALID);
    assert_null(other);
    stop();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paused_connection_waits_and_goes_on),
        cmocka_unit_test(a_paused_client_may_shut_down_its_side),
        cmocka_unit_test(a_paused_client_may_have_sent_more_than_one_request_may_be),
        cmocka_unit_test(a_paused_client_that_resets_is_forgotten),
        cmocka_unit_test(kill_ends_the_one_with_that_id),
        cmocka_unit_test(kills_wait_in_bounds),
        cmocka_unit_test(idle_clients_are_closed_and_busy_ones_not),
        cmocka_unit_test(what_keeps_the_thread_busy_is_nobody_s_idleness),
        cmocka_unit_test(a_client_that_reads_slowly_is_not_idle),
        cmocka_unit_test(one_client_too_many_is_told_so),
        cmocka_unit_test(a_request_without_end_is_cut_off),
        cmocka_unit_test(who_never_reads_is_cut_off_near_the_limit),
        cmocka_unit_test(who_reads_gets_more_than_the_limit),
        cmocka_unit_test(who_asks_for_more_than_he_reads_is_read_no_faster),
        cmocka_unit_test(last_replies_that_nobody_reads_have_a_deadline),
        cmocka_unit_test(last_replies_that_are_read_slowly_arrive),
        cmocka_unit_test(a_half_closed_client_gets_its_replies),
        cmocka_unit_test(requests_may_come_byte_by_byte),
        cmocka_unit_test(a_thousand_clients_are_served),
        cmocka_unit_test(stop_ends_while_clients_are_stuck),
        cmocka_unit_test(stop_writes_the_replies_it_has),
        cmocka_unit_test(wake_reaches_every_thread),
        cmocka_unit_test(what_cannot_be_opened_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
