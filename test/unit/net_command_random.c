/* What is picked at random, by the node's own entropy; and scans. */
#include <stdio.h>
#include <stdlib.h>

#include "test/unit/net_says.h"

#define MEMBERS 200

/* The numbers among a reply's bulks: our members are m0, m1, ... */
struct tally {
    unsigned seen[MEMBERS * 4];
    size_t bulks;
};

static void count_into(struct tally *t, const char *reply) {
    for (const char *at = reply; (at = strstr(at, "\r\nm")) != NULL; at++) {
        long i = strtol(at + 3, NULL, 10);
        assert_in_range(i, 0, MEMBERS * 4 - 1);
        t->seen[i]++;
        t->bulks++;
    }
}

static void tally_of(const char *line, struct tally *t) {
    struct buf out = {0};
    *t = (struct tally){0};
    ask(n, line, &out);
    count_into(t, (char *)out.data);
    buf_fini(&out);
}

static void fill(const char *command, const char *key, const char *value, int from, int upto) {
    char line[128];
    for (int i = from; i < upto; i++) {
        snprintf(line, sizeof line, "%s %s m%d %s", command, key, i, value);
        says(n, line, ":1\r\n");
    }
}

static void picks_without_repeats(void **state) {
    (void)state;
    static const int counts[] = {0, 1, 5, 66, 67, 100, 199, 200, 1000};
    struct tally t;
    char line[64];
    fill("SADD", "s", "", 0, MEMBERS);
    fill("HSET", "h", "v", 0, MEMBERS);
    for (size_t i = 0; i < 2 * sizeof counts / sizeof *counts; i++) {
        int count = counts[i / 2], want = count < MEMBERS ? count : MEMBERS;
        snprintf(line, sizeof line, i % 2 ? "SRANDMEMBER s %d" : "HRANDFIELD h %d", count);
        tally_of(line, &t);
        assert_int_equal(t.bulks, want);
        for (int m = 0; m < MEMBERS; m++) assert_true(t.seen[m] <= 1);
    }
}

static void picks_with_repeats(void **state) {
    (void)state;
    struct tally t;
    fill("SADD", "s", "", 0, 3);
    tally_of("SRANDMEMBER s -50", &t);
    assert_int_equal(t.bulks, 50);
    says(n, "SRANDMEMBER none -50", NONE);
    says(n, "SRANDMEMBER none -9223372036854775807", NONE);
    says(n, "HSET h f v", ":1\r\n");
    says(n, "HRANDFIELD h -2 WITHVALUES", "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\nf\r\n$1\r\nv\r\n");
}

static void more_repeats_than_a_client_could_be_sent_are_refused(void **state) {
    (void)state;
    struct buf value = {0};
    buf_put_str(&value, "HSET h f ");
    for (int i = 0; i < 1 << 10; i++) buf_put_byte(&value, 'x');
    buf_put_byte(&value, 0);
    says(n, (char *)value.data, ":1\r\n");
    says(n, "HRANDFIELD h -100000000 WITHVALUES", "-ERR the reply would exceed client-output-buffer-limit\r\n");
    buf_fini(&value);
}

static void every_member_has_the_same_chance(void **state) {
    (void)state;
    static const char *const lines[] = {"SRANDMEMBER s 2", "SRANDMEMBER s 8", "SRANDMEMBER s -10", "HRANDFIELD h 2", "HRANDFIELD h 8"};
    fill("SADD", "s", "", 0, 10);
    fill("HSET", "h", "v", 0, 10);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        unsigned sum[10] = {0}, all = 0;
        for (int round = 0; round < 2000; round++) {
            struct tally t;
            tally_of(lines[i], &t);
            all += (unsigned)t.bulks;
            for (int m = 0; m < 10; m++) sum[m] += t.seen[m];
        }
        for (int m = 0; m < 10; m++) assert_in_range(sum[m], all / 10 - all / 50, all / 10 + all / 50);
    }
}

static void the_same_entropy_picks_the_same(void **state) {
    (void)state;
    static const char *const lines[] = {"SRANDMEMBER s", "SRANDMEMBER s 3", "SRANDMEMBER s 150", "SPOP s", "SPOP s 2", "HRANDFIELD h 2", "RANDOMKEY"};
    fill("SADD", "s", "", 0, MEMBERS);
    fill("HSET", "h", "v", 0, MEMBERS);
    struct buf first = {0}, second = {0};
    dice = 7;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) ask(n, lines[i], &first);
    node_free(n);
    n = fresh_node();
    fill("SADD", "s", "", 0, MEMBERS);
    fill("HSET", "h", "v", 0, MEMBERS);
    dice = 7;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) ask(n, lines[i], &second);
    assert_true(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_fini(&first);
    buf_fini(&second);
}

static void what_is_popped_is_gone(void **state) {
    (void)state;
    struct tally popped, left;
    fill("SADD", "s", "", 0, MEMBERS);
    tally_of("SPOP s 50", &popped);
    tally_of("SMEMBERS s", &left);
    assert_int_equal(popped.bulks, 50);
    assert_int_equal(left.bulks, MEMBERS - 50);
    for (int m = 0; m < MEMBERS; m++) assert_int_equal(popped.seen[m] + left.seen[m], 1);
    says(n, "SPOP s 0", NONE);
    tally_of("SPOP s 150", &popped);
    assert_int_equal(popped.bulks, 150);
    says(n, "EXISTS s", ":0\r\n");
    says(n, "SPOP s", NIL);
    says(n, "SPOP s 3", NONE);
    says(n, "SADD s m1", ":1\r\n");
    says(n, "SPOP s", "$2\r\nm1\r\n");
    says(n, "EXISTS s", ":0\r\n");
}

static void counts_are_judged_like_redis(void **state) {
    (void)state;
    says(n, "SADD s a", ":1\r\n");
    says(n, "HSET h a 1", ":1\r\n");
    says(n, "SPOP s -1", "-ERR value is out of range, must be positive\r\n");
    says(n, "SPOP s x", "-ERR value is out of range, must be positive\r\n");
    says(n, "SPOP s 1 2", SYNTAX);
    says(n, "SRANDMEMBER s", "$1\r\na\r\n");
    says(n, "SRANDMEMBER none", NIL);
    says(n, "SRANDMEMBER s 1 2", SYNTAX);
    says(n, "SRANDMEMBER s x", NOT_INTEGER);
    says(n, "SRANDMEMBER s -9223372036854775808",
         "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n");
    says(n, "HRANDFIELD h", "$1\r\na\r\n");
    says(n, "HRANDFIELD none", NIL);
    says(n, "HRANDFIELD none 2", NONE);
    says(n, "HRANDFIELD h 9 WITHVALUES", "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    says(n, "HRANDFIELD h x y", NOT_INTEGER);
    says(n, "HRANDFIELD h 1 y", SYNTAX);
    says(n, "HRANDFIELD h 1 WITHVALUES 1", SYNTAX);
    says(n, "HRANDFIELD h 9223372036854775807 WITHVALUES", "-ERR value is out of range\r\n");
    says(n, "HRANDFIELD s", WRONG);
}

static void a_random_key_is_one_that_is_there(void **state) {
    (void)state;
    says(n, "RANDOMKEY", NIL);
    says(n, "SET a 1 PX 10", OK);
    says(n, "SET b 1", OK);
    wall_ms += 10;
    for (int i = 0; i < 20; i++) says(n, "RANDOMKEY", "$1\r\nb\r\n");
}

/* ------------------------------------------------------------------- scans */

/* One call; returns the next cursor as text. */
static void scan_step(const char *head, char *cursor, const char *tail, struct tally *t) {
    char line[128];
    struct buf out = {0};
    snprintf(line, sizeof line, "%s %s %s", head, cursor, tail);
    ask(n, line, &out);
    const char *reply = (char *)out.data, *text = strchr(reply + 4, '\n') + 1;
    assert_memory_equal(reply, "*2\r\n$", 5);
    size_t len = strcspn(text, "\r");
    memcpy(cursor, text, len);
    cursor[len] = 0;
    count_into(t, text + len);
    buf_fini(&out);
}

static void a_scan_sees_what_stays_while_tables_grow_and_shrink(void **state) {
    (void)state;
    static const struct {
        const char *head, *add, *remove, *key, *value;
    } kinds[] = {{"SCAN", "SETNX", "DEL", "", "v"}, {"SSCAN s", "SADD", "SREM", "s", ""}, {"HSCAN h", "HSET", "HDEL", "h", "v"}};
    for (size_t k = 0; k < 3; k++) {
        struct tally t = {0};
        char cursor[32] = "0", line[64];
        int next = MEMBERS;
        fill(kinds[k].add, kinds[k].key, kinds[k].value, 0, MEMBERS);
        do {
            scan_step(kinds[k].head, cursor, "COUNT 3", &t);
            for (int i = 0; i < 4 && next < MEMBERS * 3; i++, next++) fill(kinds[k].add, kinds[k].key, kinds[k].value, next, next + 1);
            snprintf(line, sizeof line, "%s %s m%d", kinds[k].remove, kinds[k].key, MEMBERS + (next - MEMBERS) / 2);
            struct buf ignored = {0};
            ask(n, line, &ignored);
            buf_fini(&ignored);
        } while (strcmp(cursor, "0") != 0);
        assert_true(next > MEMBERS);
        for (int m = 0; m < MEMBERS; m++) assert_int_equal(t.seen[m], 1);
        says(n, "FLUSHALL", OK);
    }
}

static void scans_filter_and_judge_their_options(void **state) {
    (void)state;
    says(n, "SADD s m1 m2 n1", ":3\r\n");
    says(n, "HSET h m1 x", ":1\r\n");
    says(n, "SET m3 x", OK);
    says(n, "SSCAN s 0 MATCH n*", "*2\r\n$1\r\n0\r\n*1\r\n$2\r\nn1\r\n");
    says(n, "HSCAN h 0", "*2\r\n$1\r\n0\r\n*2\r\n$2\r\nm1\r\n$1\r\nx\r\n");
    says(n, "HSCAN none 0", "*2\r\n$1\r\n0\r\n*0\r\n");
    says(n, "SCAN 0 COUNT 100 TYPE hash", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nh\r\n");
    says(n, "SCAN 0 COUNT 100 MATCH m* TYPE STRING", "*2\r\n$1\r\n0\r\n*1\r\n$2\r\nm3\r\n");
    says(n, "SCAN 0 COUNT 100 TYPE zset", "*2\r\n$1\r\n0\r\n*0\r\n");
    says(n, "SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n");
    says(n, "SCAN x", "-ERR invalid cursor\r\n");
    says(n, "SCAN 18446744073709551616", "-ERR invalid cursor\r\n");
    says(n, "SCAN 0 COUNT 0", SYNTAX);
    says(n, "SCAN 0 COUNT x", NOT_INTEGER);
    says(n, "SCAN 0 COUNT", SYNTAX);
    says(n, "SSCAN s 0 TYPE set", SYNTAX);
    says(n, "HSCAN s 0", WRONG);
    says(n, "SSCAN h 0", WRONG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ON_A_NODE(picks_without_repeats),
        ON_A_NODE(picks_with_repeats),
        ON_A_NODE(more_repeats_than_a_client_could_be_sent_are_refused),
        ON_A_NODE(every_member_has_the_same_chance),
        ON_A_NODE(the_same_entropy_picks_the_same),
        ON_A_NODE(what_is_popped_is_gone),
        ON_A_NODE(counts_are_judged_like_redis),
        ON_A_NODE(a_random_key_is_one_that_is_there),
        ON_A_NODE(a_scan_sees_what_stays_while_tables_grow_and_shrink),
        ON_A_NODE(scans_filter_and_judge_their_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
