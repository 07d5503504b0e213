/* Set commands: what a client sees. */
#include <stdio.h>

#include "test/unit/net_says.h"

static void members_come_and_go(void **state) {
    (void)state;
    says(n, "SADD s a b a", ":2\r\n");
    says(n, "SADD s a", ":0\r\n");
    says(n, "SCARD s", ":2\r\n");
    says(n, "SCARD none", ":0\r\n");
    says(n, "SISMEMBER s a", ":1\r\n");
    says(n, "SISMEMBER s z", ":0\r\n");
    says(n, "SISMEMBER none a", ":0\r\n");
    says(n, "SMISMEMBER s a z b", "*3\r\n:1\r\n:0\r\n:1\r\n");
    says(n, "SMISMEMBER none a", "*1\r\n:0\r\n");
    says(n, "SREM s a z a", ":1\r\n");
    says(n, "SMEMBERS s", "*1\r\n$1\r\nb\r\n");
    says(n, "SREM s b", ":1\r\n");
    says(n, "EXISTS s", ":0\r\n");
    says(n, "SMEMBERS s", NONE);
    says(n, "SREM s b", ":0\r\n");
}

static uint64_t mutations(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n->shard_count; i++) sum += shard_own(n->shards[i]);
    return sum;
}

static void adding_again_is_a_write_though_it_adds_nothing(void **state) {
    (void)state;
    says(n, "SADD s a", ":1\r\n");
    uint64_t before = mutations();
    says(n, "SADD s a", ":0\r\n");
    assert_int_equal(mutations(), before + 1);
    says(n, "SREM s z", ":0\r\n");
    assert_int_equal(mutations(), before + 1);
}

static void the_wrong_type_is_refused_and_left_alone(void **state) {
    (void)state;
    static const char *const lines[] = {"SADD x a", "SREM x a", "SMEMBERS x", "SISMEMBER x a", "SMISMEMBER x a", "SCARD x", "SPOP x", "SPOP x 1",
                                        "SRANDMEMBER x", "SRANDMEMBER x 1", "SMOVE x s a", "SMOVE s x a", "SINTER x s", "SINTER none x", "SUNION s x",
                                        "SDIFF s x", "SINTERSTORE s x s", "SUNIONSTORE s x", "SDIFFSTORE s s x", "SINTERCARD 2 s x", "SSCAN x 0"};
    says(n, "SET x 1", OK);
    says(n, "SADD s a", ":1\r\n");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) says(n, lines[i], WRONG);
    says(n, "GET x", "$1\r\n1\r\n");
    says(n, "SMEMBERS s", "*1\r\n$1\r\na\r\n");
    says(n, "GET s", WRONG);
}

static void a_member_moves_to_another_set(void **state) {
    (void)state;
    says(n, "SADD a x y", ":2\r\n");
    says(n, "SMOVE a b x", ":1\r\n");
    says(n, "SMOVE a b x", ":0\r\n");
    says(n, "SMOVE none b x", ":0\r\n");
    says(n, "SMOVE a a y", ":1\r\n");
    says(n, "SMOVE a a z", ":0\r\n");
    says(n, "SMEMBERS a", "*1\r\n$1\r\ny\r\n");
    says(n, "SMEMBERS b", "*1\r\n$1\r\nx\r\n");
    says(n, "SMOVE a b y", ":1\r\n");
    says(n, "EXISTS a", ":0\r\n");
    says(n, "SET str 1", OK);
    says(n, "SMOVE none str x", ":0\r\n");
}

static void sets_intersect_unite_and_differ(void **state) {
    (void)state;
    says(n, "SADD a 1 2 3", ":3\r\n");
    says(n, "SADD b 2", ":1\r\n");
    says(n, "SADD c 2 3", ":2\r\n");
    says(n, "SINTER a b c", "*1\r\n$1\r\n2\r\n");
    says(n, "SINTER a none", NONE);
    says(n, "SUNION b b none", "*1\r\n$1\r\n2\r\n");
    says(n, "SDIFF a c", "*1\r\n$1\r\n1\r\n");
    says(n, "SDIFF a a", NONE);
    says(n, "SDIFF none a", NONE);
    says(n, "SUNIONSTORE u a b c", ":3\r\n");
    says(n, "SINTERSTORE a a c", ":2\r\n");
    says(n, "SCARD a", ":2\r\n");
    says(n, "SDIFFSTORE b a c", ":0\r\n");
    says(n, "EXISTS b", ":0\r\n");
}

/* So many sets, of so many members each that are its own, and one that is in all. */
static void make_sets(const char *name, int sets, int members) {
    for (int i = 0; i < sets; i++) {
        struct buf line = {0}, out = {0};
        buf_printf(&line, "SADD %s%d same", name, i);
        for (int k = 0; k < members; k++) buf_printf(&line, " %d", i * members + k);
        buf_put_byte(&line, 0);
        ask(n, (char *)line.data, &out);
        buf_fini(&line);
        buf_fini(&out);
    }
}

static void finds(const char *command, const char *name, int sets, int found) {
    struct buf line = {0}, out = {0};
    char want[16];
    buf_put_str(&line, command);
    for (int i = 0; i < sets; i++) buf_printf(&line, " %s%d", name, i);
    buf_put_byte(&line, 0);
    ask(n, (char *)line.data, &out);
    snprintf(want, sizeof want, "*%d\r\n", found);
    assert_memory_equal(out.data, want, strlen(want));
    buf_fini(&line);
    buf_fini(&out);
}

/* To look for each member in each set would take minutes. */
static void many_sets_are_united_and_subtracted(void **state) {
    (void)state;
    make_sets("few", 3, 10000);
    make_sets("many", 1000, 300);
    finds("SUNION", "few", 3, 30001);
    finds("SUNION", "many", 1000, 300001);
    finds("SDIFF few2", "few", 2, 10000);
    finds("SDIFF few2", "many", 1000, 0);
}

static void storing_a_result_replaces_the_key_and_its_expiry(void **state) {
    (void)state;
    says(n, "SADD a 1", ":1\r\n");
    says(n, "SET d x EX 100", OK);
    says(n, "SUNIONSTORE d a", ":1\r\n");
    says(n, "TTL d", ":-1\r\n");
    says(n, "TYPE d", "+set\r\n");
    says(n, "SET d x", OK);
    says(n, "SINTERSTORE d a none", ":0\r\n");
    says(n, "EXISTS d", ":0\r\n");
}

static void the_empty_name_is_a_member_like_others(void **state) {
    (void)state;
    says(n, "SADD s \"\"", ":1\r\n");
    says(n, "SINTERSTORE copy s", ":1\r\n");
    says(n, "SMOVE s copy \"\"", ":1\r\n");
    says(n, "SMEMBERS copy", "*1\r\n$0\r\n\r\n");
    says(n, "EXISTS s", ":0\r\n");
    says(n, "RENAME copy other", OK);
    says(n, "SMEMBERS other", "*1\r\n$0\r\n\r\n");
}

static void intersections_are_counted_up_to_a_limit(void **state) {
    (void)state;
    says(n, "SADD a 1 2 3", ":3\r\n");
    says(n, "SADD b 1 2 3 4", ":4\r\n");
    says(n, "SINTERCARD 2 a b", ":3\r\n");
    says(n, "SINTERCARD 2 a b LIMIT 2", ":2\r\n");
    says(n, "SINTERCARD 2 a b limit 0", ":3\r\n");
    says(n, "SINTERCARD 1 a LIMIT 1 LIMIT 9", ":3\r\n");
    says(n, "SINTERCARD 0 a b", "-ERR numkeys should be greater than 0\r\n");
    says(n, "SINTERCARD x a b", "-ERR numkeys should be greater than 0\r\n");
    says(n, "SINTERCARD 3 a b", "-ERR Number of keys can't be greater than number of args\r\n");
    says(n, "SINTERCARD 2 a b LIMIT", SYNTAX);
    says(n, "SINTERCARD 1 a b", SYNTAX);
    says(n, "SINTERCARD 2 a b LIMIT -1", "-ERR LIMIT can't be negative\r\n");
    says(n, "SINTERCARD 2 a b LIMIT x", "-ERR LIMIT can't be negative\r\n");
    says(n, "SINTERCARD 2", "-ERR wrong number of arguments for 'sintercard' command\r\n");
}

static void wrong_arity(void **state) {
    (void)state;
    static const char *const names[] = {"sadd", "srem", "sismember", "smismember", "smove", "sinterstore", "sunionstore", "sdiffstore", "sintercard",
                                        "sscan", "smembers", "scard", "spop", "srandmember", "sinter", "sunion", "sdiff"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buf reply = {0};
        buf_printf(&reply, "-ERR wrong number of arguments for '%s' command\r\n", names[i]);
        buf_put_byte(&reply, 0);
        says(n, names[i], (char *)reply.data);
        buf_fini(&reply);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ON_A_NODE(members_come_and_go),
        ON_A_NODE(adding_again_is_a_write_though_it_adds_nothing),
        ON_A_NODE(the_wrong_type_is_refused_and_left_alone),
        ON_A_NODE(a_member_moves_to_another_set),
        ON_A_NODE(sets_intersect_unite_and_differ),
        ON_A_NODE(many_sets_are_united_and_subtracted),
        ON_A_NODE(storing_a_result_replaces_the_key_and_its_expiry),
        ON_A_NODE(the_empty_name_is_a_member_like_others),
        ON_A_NODE(intersections_are_counted_up_to_a_limit),
        ON_A_NODE(wrong_arity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
