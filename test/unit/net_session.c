/* Sessions without a socket and with a clock of our own: what a client may do before and after
 * AUTH, how it is answered, and how its commands wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "net/options.h"
#include "net/session.h"
#include "persist/keeper.h"

static int64_t mono_us;
static struct now now(void *self) {
    (void)self;
    return (struct now){mono_us / 1000, mono_us};
}
static uint64_t entropy(void *self) {
    (void)self;
    return 1;
}

/* One node and its host, and what the host asked of the world. */
struct place_to_be {
    struct node *node;
    struct config *config;
    struct host host;
    uint64_t killed, rejected;
    int wakes, shutdowns;
};

static bool on_kill(void *arg, uint64_t id) {
    ((struct place_to_be *)arg)->killed = id;
    return true;
}
static struct process_usage on_usage(void *arg) {
    return (struct process_usage){.os = "none", .connections_rejected = ((struct place_to_be *)arg)->rejected};
}
static void on_shutdown(void *arg) { ((struct place_to_be *)arg)->shutdowns++; }
static void on_wake(void *arg) { ((struct place_to_be *)arg)->wakes++; }

static void set(struct place_to_be *p, const char *name, const char *value) {
    struct config_pair pair = {bytes_str(name), bytes_str(value)};
    struct buf error = {0};
    size_t failed;
    assert_int_equal(config_set(p->config, &pair, 1, &failed, &error), STATUS_OK);
    buf_fini(&error);
}

static struct place_to_be *open_place(const char *password) {
    struct place_to_be *p = mem_zero(1, sizeof *p);
    struct node_config config = {.clock = {.now = now, .entropy = entropy}, .shards = 16, .cluster_name = "c", .node_id = 1,
                                 .log_bytes_max = 1 << 20, .gossip = {GOSSIP_CONFIG_DEFAULT}};
    struct host_ports ports = {.kill = on_kill, .shutdown = on_shutdown, .wake = on_wake, .usage = on_usage, .arg = p};
    mono_us = 1000000;
    p->config = config_new(option_table, OPTION_COUNT);
    p->node = node_new(&config);
    set(p, "requirepass", password);
    host_init(&p->host, p->node, p->config, &ports);
    return p;
}

static void close_place(struct place_to_be *p) {
    assert_int_equal(p->host.session_count, 0);
    host_fini(&p->host);
    node_free(p->node);
    config_free(p->config);
    mem_free(p);
}

struct client {
    struct session *session;
    struct buf query, out;
};

static struct client connect_from(struct place_to_be *p, uint64_t id, const char *peer, bool local) {
    struct client c = {0};
    c.session = session_new(&p->host, id, peer, "127.0.0.1:6379", local, &c.out);
    return c;
}
static struct client connect(struct place_to_be *p) { return connect_from(p, 1, "127.0.0.1:4000", true); }

static void hang_up(struct client *c) {
    session_free(c->session);
    buf_fini(&c->query);
    buf_fini(&c->out);
}

static void hears(struct client *c, const char *want) {
    buf_put_byte(&c->out, 0);
    assert_string_equal((char *)c->out.data, want);
    c->out.len = 0;
}

/* Sends lines; true if the connection stays. */
static bool send(struct client *c, const char *lines) {
    buf_put_str(&c->query, lines);
    return session_data(c->session, &c->query, &c->out);
}

static void says(struct client *c, const char *lines, const char *want) {
    assert_true(send(c, lines));
    hears(c, want);
}

#define NOAUTH "-NOAUTH Authentication required.\r\n"
#define WRONGPASS "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

static void a_stranger_may_only_introduce_himself(void **state) {
    (void)state;
    struct place_to_be *p = open_place("secret");
    struct client c = connect(p);
    says(&c, "GET a\r\n", NOAUTH);
    says(&c, "SHUTDOWN\r\n", NOAUTH);
    says(&c, "CONFIG GET requirepass\r\n", NOAUTH);
    says(&c, "CLIENT PAUSE 1000\r\n", NOAUTH);
    says(&c, "DEBUG SLEEP 1\r\n", NOAUTH);
    assert_int_equal(p->shutdowns, 0);
    says(&c, "GET\r\n", "-ERR wrong number of arguments for 'get' command\r\n"); /* as Redis: before NOAUTH */
    says(&c, "AUTH wrong\r\n", WRONGPASS);
    says(&c, "AUTH bob secret\r\n", WRONGPASS);
    says(&c, "AUTH default secret2\r\n", WRONGPASS);
    says(&c, "AUTH secre\r\n", WRONGPASS);
    says(&c, "AUTH \"\"\r\n", WRONGPASS);
    says(&c, "GET a\r\n", NOAUTH);
    assert_int_equal(atomic_load(&p->host.auth_failures), 5);
    says(&c, "AUTH secret\r\nGET a\r\n", "+OK\r\n$-1\r\n");
    says(&c, "RESET\r\nGET a\r\n", "+RESET\r\n" NOAUTH);
    says(&c, "AUTH default secret\r\nGET a\r\n", "+OK\r\n$-1\r\n");
    says(&c, "AUTH wrong\r\nGET a\r\n", WRONGPASS "$-1\r\n"); /* a failure takes nothing away */
    hang_up(&c);
    close_place(p);
}

static void a_password_set_later_binds_those_who_come_later(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client early = connect(p);
    says(&early, "AUTH x\r\n", "-ERR AUTH <password> called without any password configured for the default user. "
                              "Are you sure your configuration is correct?\r\n");
    says(&early, "CONFIG SET requirepass new\r\nGET a\r\n", "+OK\r\n$-1\r\n");
    struct client late = connect_from(p, 2, "127.0.0.1:4001", true);
    says(&late, "GET a\r\n", NOAUTH);
    says(&late, "HELLO 2 AUTH default no\r\n", WRONGPASS);
    assert_true(send(&late, "HELLO 2 AUTH default new SETNAME me\r\n"));
    late.out.len = 0;
    says(&late, "CLIENT GETNAME\r\n", "$2\r\nme\r\n");
    hang_up(&early);
    hang_up(&late);
    close_place(p);
}

static void a_password_taken_away_binds_nobody_any_more(void **state) {
    (void)state;
    struct place_to_be *p = open_place("secret");
    struct client c = connect(p);
    says(&c, "GET a\r\n", NOAUTH);
    set(p, "requirepass", "");
    says(&c, "GET a\r\n", "$-1\r\n");
    says(&c, "DEL a b c d e f g h i j k\r\n*12\r\n$3\r\nDEL\r\n", ":0\r\n"); /* more than a stranger's arguments */
    hang_up(&c);
    close_place(p);
}

static void protected_mode_refuses_whom_it_should(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client far = connect_from(p, 1, "10.0.0.1:4000", false);
    assert_true(far.session->closing);
    assert_int_equal(strncmp((char *)far.out.data, "-DENIED ", 8), 0);
    far.out.len = 0;
    assert_false(send(&far, "SET a 1\r\n")); /* nothing of it is run */
    hears(&far, "");
    hang_up(&far);
    set(p, "protected-mode", "no");
    far = connect_from(p, 2, "10.0.0.1:4000", false);
    says(&far, "GET a\r\n", "$-1\r\n");
    hang_up(&far);
    set(p, "protected-mode", "yes");
    set(p, "requirepass", "x");
    far = connect_from(p, 3, "10.0.0.1:4000", false);
    says(&far, "AUTH x\r\nGET a\r\n", "+OK\r\n$-1\r\n");
    hang_up(&far);
    close_place(p);
}

static void replies_are_left_out_on_demand(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "CLIENT REPLY OFF\r\nPING\r\nFOO\r\nCLIENT REPLY SKIP\r\nPING\r\n", "");
    says(&c, "CLIENT REPLY ON\r\nPING\r\n", "+OK\r\n+PONG\r\n");
    says(&c, "CLIENT REPLY SKIP\r\nECHO a\r\nECHO b\r\n", "$1\r\nb\r\n");
    says(&c, "CLIENT REPLY perhaps\r\n", "-ERR syntax error\r\n");
    says(&c, "CLIENT REPLY OFF\r\nRESET\r\n", "+RESET\r\n");
    hang_up(&c);
    close_place(p);
}

static void garbage_ends_the_session_and_nothing_behind_it_is_run(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    assert_false(send(&c, "PING\r\n*1\r\nPING\r\nSET a 1\r\n"));
    hears(&c, "+PONG\r\n-ERR Protocol error: expected '$', got 'P'\r\n");
    hang_up(&c);
    c = connect(p);
    says(&c, "GET a\r\n", "$-1\r\n");
    assert_false(send(&c, "QUIT\r\nPING\r\n"));
    hears(&c, "+OK\r\n");
    hang_up(&c);
    close_place(p);
}

/* A page in a browser can make it post anything to anybody, also to us: no line of that may count. */
static void what_speaks_http_is_cut_off(void **state) {
    (void)state;
    static const char *const starts[] = {"POST / HTTP/1.1\r\nHost: localhost:6379\r\n", "GET / HTTP/1.1\r\nHost: localhost:6379\r\n",
                                         "*1\r\n$4\r\npost\r\n"};
    struct place_to_be *p = open_place("");
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct client c = connect(p);
        assert_false(send(&c, starts[i]));
        assert_false(send(&c, "Content-Type: text/plain\r\n\r\nSET a 1\r\n"));
        hang_up(&c);
        assert_int_equal(atomic_load(&p->host.protocol_errors), i + 1);
    }
    struct client c = connect(p);
    says(&c, "GET a\r\n", "$-1\r\n");
    hang_up(&c);
    close_place(p);
}

static void others_are_killed_by_what_is_known_of_them(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client a = connect(p), b = connect_from(p, 7, "127.0.0.1:4007", true);
    says(&a, "CLIENT KILL ID 7\r\n", ":1\r\n");
    assert_int_equal(p->killed, 7);
    says(&a, "CLIENT KILL ADDR 127.0.0.1:4007 ID 7 LADDR 127.0.0.1:6379 TYPE normal USER default\r\n", ":1\r\n");
    says(&a, "CLIENT KILL ADDR 127.0.0.1:4007 ID 8\r\n", ":0\r\n");
    says(&a, "CLIENT KILL LADDR 127.0.0.1:1\r\n", ":0\r\n");
    says(&a, "CLIENT KILL LADDR 127.0.0.1:6379\r\n", ":1\r\n"); /* not itself */
    says(&a, "CLIENT KILL TYPE pubsub\r\n", ":0\r\n");
    says(&a, "CLIENT KILL ID 1\r\n", ":0\r\n");
    says(&a, "CLIENT KILL ID 7 SKIPME\r\n", "-ERR syntax error\r\n");
    says(&a, "CLIENT KILL 127.0.0.1:4007\r\n", "+OK\r\n");
    assert_false(send(&a, "CLIENT KILL ID 1 SKIPME no\r\nPING\r\n"));
    hears(&a, ":1\r\n");
    hang_up(&a);
    hang_up(&b);
    close_place(p);
}

/* ----------------------------------------------------------------- parking */

static void retry(struct client *c, bool goes_on, const char *want) {
    assert_int_equal(session_retry(c->session, &c->out), goes_on);
    hears(c, want);
}

/* With many ids of nobody, and one of somebody. */
static void list_one(struct client *c) {
    struct buf line = {0};
    buf_put_str(&line, "*20004\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n$2\r\nID\r\n$1\r\n1\r\n");
    for (int i = 0; i < 20000; i++) buf_printf(&line, "$5\r\n%d\r\n", 99999 - i);
    buf_put_byte(&line, 0);
    assert_true(send(c, (char *)line.data));
    buf_put_byte(&c->out, 0);
    assert_non_null(strstr((char *)c->out.data, "\r\nid=1 "));
    assert_null(strstr((char *)c->out.data, "\nid=2 "));
    c->out.len = 0;
    buf_fini(&line);
}

static void many_ids_are_looked_up_among_many_clients(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p), crowd[500];
    list_one(&c);
    for (int i = 0; i < 500; i++) crowd[i] = connect_from(p, (uint64_t)i + 2, "127.0.0.1:4001", true);
    list_one(&c);
    for (int i = 0; i < 500; i++) hang_up(&crowd[i]);
    hang_up(&c);
    close_place(p);
}

static void a_sleep_holds_one_connection_until_its_deadline(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p), other = connect_from(p, 2, "127.0.0.1:4001", true);
    says(&c, "DEBUG SLEEP 1\r\n", "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it "
                                 "from a local connection, otherwise you need to set this option in the configuration file, and then "
                                 "restart the server.\r\n");
    struct buf error = {0};
    assert_int_equal(config_load_text(p->config, "f", bytes_str("enable-debug-command local"), &error), STATUS_OK);
    says(&c, "PING\r\nDEBUG SLEEP 1.5\r\nPING\r\n", "+PONG\r\n");
    assert_true(c.session->parked);
    assert_int_equal(c.session->deadline_us, mono_us + 1500000);
    says(&other, "PING\r\n", "+PONG\r\n");
    memset(c.query.data, '#', c.query.cap); /* the copy is its own; what came behind is lost with this */
    mono_us += 1499999;
    retry(&c, false, "");
    retry(&c, false, "");
    mono_us += 1;
    retry(&c, true, "+OK\r\n");
    c.query.len = 0;
    says(&c, "PING\r\nDEBUG SLEEP 0\r\n", "+PONG\r\n+OK\r\n");
    hang_up(&c);
    hang_up(&other);
    close_place(p);
}

static void what_came_behind_a_parked_command_follows_it(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "WAIT 1 50\r\nSET a 1\r\nGET a\r\n", "");
    assert_int_equal(c.session->deadline_us, mono_us + 50000);
    mono_us += 50000;
    retry(&c, true, ":0\r\n");
    says(&c, "", "+OK\r\n$1\r\n1\r\n");
    hang_up(&c);
    close_place(p);
}

static void wait_answers_at_once_what_it_can(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "WAIT 0 0\r\nWAIT -1 0\r\n", ":0\r\n:0\r\n");
    says(&c, "WAIT x 0\r\n", "-ERR value is not an integer or out of range\r\n");
    says(&c, "WAIT 1 x\r\n", "-ERR timeout is not an integer or out of range\r\n");
    says(&c, "WAIT 1 -1\r\n", "-ERR timeout is negative\r\n");
    says(&c, "WAIT 1 9223372036854775807\r\n", "-ERR timeout is not an integer or out of range\r\n");
    says(&c, "SET a 1\r\nWAIT 1 0\r\n", "+OK\r\n");
    assert_int_equal(c.session->deadline_us, INT64_MAX);
    mono_us += INT64_C(1000000000000);
    retry(&c, false, "");
    hang_up(&c); /* while parked: nothing leaks */
    close_place(p);
}

static void a_pause_holds_writes_or_all_but_what_may_end_it(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client boss = connect(p), c = connect_from(p, 2, "127.0.0.1:4001", true);
    says(&boss, "CLIENT PAUSE 100 WRITE\r\n", "+OK\r\n");
    says(&c, "GET a\r\nSET a\r\nSET a 1\r\nGET a\r\n", "$-1\r\n-ERR wrong number of arguments for 'set' command\r\n");
    assert_int_equal(c.session->deadline_us, mono_us + 100000);
    retry(&c, false, "");
    says(&boss, "CLIENT PAUSE 300 ALL\r\n", "+OK\r\n");
    mono_us += 100000;
    retry(&c, false, ""); /* the longer pause holds it now */
    assert_int_equal(c.session->deadline_us, mono_us + 200000);
    says(&boss, "CLIENT PAUSE 1 WRITE\r\nCLIENT ID\r\n", "+OK\r\n:1\r\n"); /* neither shortens it nor makes it milder */
    says(&boss, "PING\r\n", "");
    mono_us += 200000;
    retry(&boss, true, "+PONG\r\n");
    retry(&c, true, "+OK\r\n");
    says(&c, "", "$1\r\n1\r\n");
    says(&boss, "CLIENT PAUSE 1000\r\n", "+OK\r\n");
    says(&c, "GET a\r\n", "");
    says(&boss, "CLIENT UNPAUSE\r\n", "+OK\r\n");
    assert_int_equal(p->wakes, 1);
    retry(&c, true, "$1\r\n1\r\n");
    hang_up(&boss);
    hang_up(&c);
    close_place(p);
}

/* A pause holds what has not begun: a WAIT that began before it times out in its time; one that
 * came during it begins after it, and has its whole time then. */
static void a_pause_does_not_stretch_a_wait(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client boss = connect(p), before = connect_from(p, 2, "a", true), during = connect_from(p, 3, "b", true);
    says(&before, "WAIT 1 50\r\n", "");
    says(&boss, "CLIENT PAUSE 100 ALL\r\n", "+OK\r\n");
    says(&during, "WAIT 1 50\r\n", "");
    mono_us += 50000;
    retry(&before, true, ":0\r\n");
    retry(&during, false, "");
    mono_us += 50000;
    retry(&during, false, "");
    assert_int_equal(during.session->deadline_us, mono_us + 50000);
    mono_us += 50000;
    retry(&during, true, ":0\r\n");
    hang_up(&boss);
    hang_up(&before);
    hang_up(&during);
    close_place(p);
}

static void a_pause_without_end_is_one(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "CLIENT PAUSE 9223372036854775807\r\nPING\r\n", "+OK\r\n");
    mono_us += INT64_C(1000000000000000);
    retry(&c, false, "");
    hang_up(&c);
    close_place(p);
}

static void a_held_command_keeps_its_place_in_reply_modes(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "CLIENT PAUSE 10\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO a\r\n", "+OK\r\n");
    mono_us += 10000;
    retry(&c, true, "");
    says(&c, "", "$1\r\na\r\n");
    hang_up(&c);
    close_place(p);
}

static void shutdown_is_asked_for_once_it_is_understood(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "SHUTDOWN FOO\r\nSHUTDOWN SAVE NOSAVE\r\nSHUTDOWN ABORT NOW\r\n", "-ERR syntax error\r\n-ERR syntax error\r\n-ERR syntax error\r\n");
    says(&c, "SHUTDOWN ABORT\r\n", "-ERR No shutdown in progress.\r\n");
    says(&c, "SHUTDOWN SAVE\r\n", "-ERR this node keeps nothing: it has no directory\r\n");
    assert_int_equal(p->shutdowns, 0);
    assert_false(send(&c, "SHUTDOWN NOSAVE NOW FORCE\r\nPING\r\n"));
    hears(&c, "");
    assert_int_equal(p->shutdowns, 1);
    hang_up(&c);
    close_place(p);
}

/* In a pipeline the word behind the command's name is looked up ahead as a key, which here it is not. */
/* Of what is there already one may ask; and change how it goes on. */
static void while_a_node_loads_data_wait(void **state) {
    (void)state;
    static const char *const wait[] = {"GET a", "SET a 1", "PING", "SAVE", "BGSAVE", "BGREWRITEAOF", "WAIT 0 0"};
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    char line[64];
    atomic_store(&p->host.loading, true);
    for (size_t i = 0; i < sizeof wait / sizeof *wait; i++) {
        snprintf(line, sizeof line, "%s\r\n", wait[i]);
        says(&c, line, "-LOADING anneal is loading the dataset in memory\r\n");
    }
    says(&c, "CONFIG SET loglevel notice\r\nSELECT 0\r\nLASTSAVE\r\n", "+OK\r\n+OK\r\n:1\r\n");
    atomic_store(&p->host.loading, false);
    says(&c, "GET a\r\nSAVE\r\n", "$-1\r\n-ERR this node keeps nothing: it has no directory\r\n");
    atomic_store(&p->host.loading, true);
    assert_false(send(&c, "SHUTDOWN SAVE\r\n")); /* there is nothing yet that would be lost */
    hears(&c, "");
    assert_int_equal(p->shutdowns, 1);
    hang_up(&c);
    close_place(p);
}

static void strings_grow_to_what_one_argument_may_be(void **state) {
    (void)state;
    static const char refused[] = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    p->host.limits.bulk_bytes_max = 8;
    says(&c, "APPEND a 12345\r\nAPPEND a 678\r\n", ":5\r\n:8\r\n");
    says(&c, "APPEND a 9\r\n", refused);
    says(&c, "SETRANGE a 7 89\r\n", refused);
    says(&c, "SETRANGE a 7 9\r\nGET a\r\n", ":8\r\n$8\r\n12345679\r\n");
    hang_up(&c);
    close_place(p);
}

static void informs(struct client *c, const char *name, int value) {
    char want[64];
    snprintf(want, sizeof want, "\r\n%s:%d\r\n", name, value);
    assert_true(send(c, "INFO\r\n"));
    buf_put_byte(&c->out, 0);
    assert_non_null(strstr((char *)c->out.data, want));
    c->out.len = 0;
}

/* As exporters read it. */
static void keys_that_expire_are_counted(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "INFO keyspace\r\n", "$12\r\n# Keyspace\r\n\r\n");
    says(&c, "MSET a 1 b 1\r\nSET c 1 EX 10\r\nEXPIRE a 10\r\n", "+OK\r\n+OK\r\n:1\r\n");
    says(&c, "INFO keyspace\r\n", "$34\r\n# Keyspace\r\ndb0:keys=3,expires=2\r\n\r\n");
    says(&c, "PERSIST a\r\nSET c 2\r\nSET b 2 EX 10\r\n", ":1\r\n+OK\r\n+OK\r\n");
    says(&c, "INFO keyspace\r\n", "$34\r\n# Keyspace\r\ndb0:keys=3,expires=1\r\n\r\n");
    says(&c, "DEL b\r\n", ":1\r\n");
    says(&c, "INFO keyspace\r\n", "$34\r\n# Keyspace\r\ndb0:keys=2,expires=0\r\n\r\n");
    hang_up(&c);
    close_place(p);
}

static void counters_start_from_zero_when_told(void **state) {
    (void)state;
    static const char *const names[] = {"total_connections_received", "total_error_replies", "expired_keys", "rejected_connections"};
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    says(&c, "SET a 1 PX 1\r\nFOO\r\n", "+OK\r\n-ERR unknown command 'FOO', with args beginning with: \r\n");
    mono_us += 2000;
    assert_int_equal(node_expire(p->node, 0, 1), 1);
    p->rejected++;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) informs(&c, names[i], 1);
    says(&c, "CONFIG RESETSTAT\r\n", "+OK\r\n");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) informs(&c, names[i], 0);
    p->rejected++;
    informs(&c, "rejected_connections", 1);
    hang_up(&c);
    close_place(p);
}

/* redis-cli --stat shows how many. */
static void who_waits_is_counted(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p), waits = connect_from(p, 2, "127.0.0.1:4001", true), held = connect_from(p, 3, "127.0.0.1:4002", true);
    informs(&c, "blocked_clients", 0);
    says(&waits, "WAIT 1 1000\r\n", "");
    says(&c, "CLIENT PAUSE 1000 WRITE\r\n", "+OK\r\n");
    says(&held, "SET a 1\r\n", "");
    informs(&c, "blocked_clients", 2);
    assert_false(session_retry(waits.session, &waits.out));
    informs(&c, "blocked_clients", 2);
    mono_us += 1000000;
    assert_true(session_retry(waits.session, &waits.out));
    informs(&c, "blocked_clients", 1);
    hang_up(&held); /* in the midst of it */
    informs(&c, "blocked_clients", 0);
    hang_up(&waits);
    hang_up(&c);
    close_place(p);
}

/* A few bytes can ask for the same many bytes again and again. */
static void what_no_client_could_be_sent_is_refused(void **state) {
    (void)state;
    static const char *const asks[] = {"MGET", "HMGET h", "COMMAND INFO", "COMMAND DOCS"};
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    char value[400] = {0};
    memset(value, 'v', sizeof value - 1);
    p->host.out_bytes_max = 4096;
    assert_true(send(&c, "MSET get ") && send(&c, value) && send(&c, "\r\nHSET h get ") && send(&c, value) && send(&c, "\r\n"));
    hears(&c, "+OK\r\n:1\r\n");
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        assert_true(send(&c, asks[i]) && send(&c, " get get\r\n"));
        assert_int_equal(c.out.data[0], '*');
        c.out.len = 0;
        assert_true(send(&c, asks[i]));
        for (int k = 0; k < 200; k++) assert_true(send(&c, " get"));
        says(&c, "\r\n", "-ERR the reply would exceed client-output-buffer-limit\r\n");
    }
    hang_up(&c);
    close_place(p);
}

static void a_key_that_comes_later_is_found_in_a_pipeline_too(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    for (char key = 'a'; key <= 'd'; key++) {
        char lines[128];
        snprintf(lines, sizeof lines, "*3\r\n$3\r\nSET\r\n$1\r\n%c\r\n$1\r\n1\r\n*3\r\n$6\r\nOBJECT\r\n$8\r\nENCODING\r\n$1\r\n%c\r\n", key, key);
        says(&c, lines, "+OK\r\n$3\r\nint\r\n");
    }
    hang_up(&c);
    close_place(p);
}

/* A disk that takes all and keeps nothing. */
static enum status take_open(void *self, const char *name, int *file) {
    (void)self, (void)name;
    *file = 0;
    return STATUS_OK;
}
static void take_close(void *self, int file) { (void)self, (void)file; }
static enum status take_append(void *self, int file, struct bytes bytes) {
    (void)self, (void)file, (void)bytes;
    return STATUS_OK;
}
static enum status take_sync(void *self, int file) {
    (void)file;
    ++*(int *)self;
    return STATUS_OK;
}
static enum status take_list(void *self, void (*visit)(void *arg, const char *name, uint64_t size), void *arg) {
    (void)self, (void)visit, (void)arg;
    return STATUS_OK;
}

static void appendfsync_holds_from_its_reply_on(void **state) {
    (void)state;
    struct place_to_be *p = open_place("");
    struct client c = connect(p);
    int syncs = 0;
    struct keeper_recovery recovery;
    struct buf error = {0};
    struct keeper_config config = {
        .disk = {.open = take_open, .close = take_close, .append = take_append, .sync = take_sync, .list = take_list, .self = &syncs},
        .shards = p->node->shards, .shard_count = p->node->shard_count, .replicas = p->node->replicas, .cluster = "c", .logs = true, .sync = SYNC_NO};
    struct keeper *keeper = keeper_new(&config);
    assert_int_equal(keeper_recover(keeper, 0, &recovery, &error), STATUS_OK);
    node_keep(p->node, keeper, false);
    syncs = 0;
    says(&c, "SET a 1\r\n", "+OK\r\n");
    assert_int_equal(keeper_commit(keeper), STATUS_OK);
    assert_int_equal(syncs, 0);
    says(&c, "CONFIG SET appendfsync always\r\nSET a 2\r\n", "+OK\r\n+OK\r\n");
    assert_int_equal(keeper_commit(keeper), STATUS_OK);
    assert_int_equal(syncs, 1);
    hang_up(&c);
    node_keep(p->node, NULL, false);
    keeper_free(keeper);
    close_place(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stranger_may_only_introduce_himself),
        cmocka_unit_test(a_password_set_later_binds_those_who_come_later),
        cmocka_unit_test(a_password_taken_away_binds_nobody_any_more),
        cmocka_unit_test(protected_mode_refuses_whom_it_should),
        cmocka_unit_test(replies_are_left_out_on_demand),
        cmocka_unit_test(garbage_ends_the_session_and_nothing_behind_it_is_run),
        cmocka_unit_test(what_speaks_http_is_cut_off),
        cmocka_unit_test(others_are_killed_by_what_is_known_of_them),
        cmocka_unit_test(many_ids_are_looked_up_among_many_clients),
        cmocka_unit_test(a_sleep_holds_one_connection_until_its_deadline),
        cmocka_unit_test(what_came_behind_a_parked_command_follows_it),
        cmocka_unit_test(wait_answers_at_once_what_it_can),
        cmocka_unit_test(a_pause_holds_writes_or_all_but_what_may_end_it),
        cmocka_unit_test(a_pause_does_not_stretch_a_wait),
        cmocka_unit_test(a_pause_without_end_is_one),
        cmocka_unit_test(a_held_command_keeps_its_place_in_reply_modes),
        cmocka_unit_test(shutdown_is_asked_for_once_it_is_understood),
        cmocka_unit_test(while_a_node_loads_data_wait),
        cmocka_unit_test(strings_grow_to_what_one_argument_may_be),
        cmocka_unit_test(keys_that_expire_are_counted),
        cmocka_unit_test(counters_start_from_zero_when_told),
        cmocka_unit_test(who_waits_is_counted),
        cmocka_unit_test(what_no_client_could_be_sent_is_refused),
        cmocka_unit_test(a_key_that_comes_later_is_found_in_a_pipeline_too),
        cmocka_unit_test(appendfsync_holds_from_its_reply_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
