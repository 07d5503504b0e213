/* For tests of commands: a node whose clock stands still until told, and what it replies. */
#ifndef ANNEAL_TEST_NET_SAYS_H
#define ANNEAL_TEST_NET_SAYS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/command.h"
#include "net/resp.h"

static int64_t wall_ms;
static uint64_t dice; /* what entropy says next; it counts up */

static struct now now(void *self) {
    (void)self;
    return (struct now){wall_ms, wall_ms * 1000};
}
static uint64_t entropy(void *self) {
    (void)self;
    return ++dice;
}

static inline struct node *node_beside(uint64_t id) {
    struct node_config config = {.clock = {.now = now, .entropy = entropy}, .shards = 16, .cluster_name = "c", .node_id = id, .log_bytes_max = 1 << 20,
                                 .gossip = {GOSSIP_CONFIG_DEFAULT}};
    return node_new(&config);
}

static inline struct node *fresh_node(void) {
    wall_ms = 1000000;
    dice = 0;
    return node_beside(1);
}

/* A test ON_A_NODE has one of its own. */
static struct node *n;
static inline int start(void **state) {
    (void)state;
    n = fresh_node();
    return 0;
}
static inline int stop(void **state) {
    (void)state;
    node_free(n);
    return 0;
}
#define ON_A_NODE(test) cmocka_unit_test_setup_teardown(test, start, stop)

/* The reply to a line of words, which may be quoted as in redis-cli; out starts as {0}. */
static inline void ask(struct node *node, const char *line, struct buf *out) {
    static const struct resp_limits limits = RESP_LIMITS_DEFAULT;
    struct resp_parser parser;
    struct buf in = {0};
    const struct bytes *argv;
    size_t argc;
    buf_printf(&in, "%s\r\n", line);
    resp_init(&parser, &limits);
    assert_int_equal(resp_next(&parser, buf_bytes(&in), &argv, &argc), RESP_COMMAND);
    command_run(node, argv, argc, out);
    buf_put_byte(out, 0);
    resp_fini(&parser);
    buf_fini(&in);
}

static inline void says(struct node *node, const char *line, const char *reply) {
    struct buf out = {0};
    ask(node, line, &out);
    assert_string_equal((char *)out.data, reply);
    buf_fini(&out);
}

#define OK "+OK\r\n"
#define NIL "$-1\r\n"
#define NONE "*0\r\n"
#define WRONG "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define NOT_INTEGER "-ERR value is not an integer or out of range\r\n"
#define SYNTAX "-ERR syntax error\r\n"

#endif
