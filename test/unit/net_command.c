/* Commands on one node: what a client sees. */
#include <stdio.h>

#include "test/unit/net_says.h"

static void strings_are_set_and_read(void **state) {
    (void)state;
    says(n, "GET a", "$-1\r\n");
    says(n, "SET a 1", "+OK\r\n");
    says(n, "get a", "$1\r\n1\r\n");
    says(n, "SET a 2 NX", "$-1\r\n");
    says(n, "SET a 2 XX GET", "$1\r\n1\r\n");
    says(n, "SET a 2 NX XX", "-ERR syntax error\r\n");
    says(n, "SET a 2 EX 0", "-ERR invalid expire time in 'set' command\r\n");
    says(n, "SET a 2 EX x", "-ERR value is not an integer or out of range\r\n");
    says(n, "APPEND a 34", ":3\r\n");
    says(n, "STRLEN a", ":3\r\n");
    says(n, "GETSET a x", "$3\r\n234\r\n");
    says(n, "GETDEL a", "$1\r\nx\r\n");
    says(n, "SETNX a 1", ":1\r\n");
    says(n, "SETNX a 1", ":0\r\n");
    says(n, "MSET a 1 b 2 c 3", "+OK\r\n");
    says(n, "MSETNX d 1 a 2", ":0\r\n");
    says(n, "MGET a d c", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n3\r\n");
    says(n, "MSET a", "-ERR wrong number of arguments for 'mset' command\r\n");
    says(n, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");
    says(n, "NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n");
}

/* All that `from` wrote. */
static void tell(struct node *from, struct node *to) {
    for (uint32_t i = 0; i < from->shard_count; i++) {
        if (!shard_own(from->shards[i])) continue;
        struct wire_writer writer;
        struct wire_reader reader;
        struct buf bytes = {0};
        uint64_t upto;
        wire_init(&writer, from->replicas);
        shard_lock(from->shards[i]);
        assert_int_equal(shard_write_delta(from->shards[i], &writer, 0, &upto), STATUS_OK);
        shard_unlock(from->shards[i]);
        wire_finish(&writer, &bytes);
        assert_int_equal(wire_open(&reader, buf_bytes(&bytes), to->replicas), STATUS_OK);
        shard_lock(to->shards[i]);
        assert_int_equal(shard_read_delta(to->shards[i], &reader, wall_ms), STATUS_OK);
        shard_unlock(to->shards[i]);
        wire_close(&reader);
        wire_fini(&writer);
        buf_fini(&bytes);
    }
}

static void of_concurrent_writes_to_the_same_keys_one_wins_all(void **state) {
    (void)state;
    struct node *a = fresh_node(), *b = node_beside(2);
    assert_int_not_equal(node_shard_of(a, bytes_str("k")), node_shard_of(a, bytes_str("l")));
    says(a, "MSET {k}x 0 {k}y 0", OK); /* the clock of one shard runs ahead */
    says(a, "SET {k}x 1", OK);
    says(a, "MSET k 1 l 1 m 1 n 1", OK);
    says(b, "MSET n 2 m 2 l 2 k 2", OK);
    says(b, "HSET h f 1 g 1", ":2\r\n");
    says(a, "HSET h g 2 f 2", ":2\r\n");
    tell(a, b);
    tell(b, a);
    struct node *both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        says(both[i], "MGET k l m n", "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n");
        says(both[i], "HMGET h f g", "*2\r\n$1\r\n1\r\n$1\r\n1\r\n");
        node_free(both[i]);
    }
}

static void counters_count_like_redis(void **state) {
    (void)state;
    says(n, "INCR c", ":1\r\n");
    says(n, "DECR c", ":0\r\n");
    says(n, "GET c", "$1\r\n0\r\n");
    says(n, "SET c 10", "+OK\r\n");
    says(n, "INCRBY c 5", ":15\r\n");
    says(n, "DECRBY c 20", ":-5\r\n");
    says(n, "INCRBYFLOAT c 0.1", "$4\r\n-4.9\r\n");
    says(n, "INCR c", "-ERR value is not an integer or out of range\r\n");
    says(n, "SET c 9223372036854775807", "+OK\r\n");
    says(n, "INCR c", "-ERR increment or decrement would overflow\r\n");
    says(n, "DECRBY c -9223372036854775808", "-ERR decrement would overflow\r\n");
    says(n, "SET c abc", "+OK\r\n");
    says(n, "INCRBYFLOAT c 1", "-ERR value is not a valid float\r\n");
}

static void what_has_expired_is_gone(void **state) {
    (void)state;
    says(n, "SET a 1 PX 10", "+OK\r\n");
    says(n, "SETEX b 1 1", "+OK\r\n");
    wall_ms += 10;
    says(n, "GET a", "$-1\r\n");
    says(n, "GET b", "$1\r\n1\r\n");
    says(n, "INCR a", ":1\r\n");
    says(n, "SET b 2 KEEPTTL", "+OK\r\n");
    wall_ms += 1000;
    says(n, "GET b", "$-1\r\n");
    says(n, "GET a", "$1\r\n1\r\n");
}

/* Those with one {tag} are in one shard. */
static void many_keys_of_one_shard_expire_together(void **state) {
    (void)state;
    char text[64];
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "SET {k}%d v PX 100", i);
        says(n, text, OK);
    }
    says(n, "SET {k} v", OK);
    wall_ms += 200;
    for (int i = 0; i < 4; i++) node_expire(n, 0, 1);
    says(n, "DBSIZE", ":1\r\n");
}

static void keys_expire_and_stay_as_told(void **state) {
    (void)state;
    says(n, "TTL a", ":-2\r\n");
    says(n, "EXPIRE a 10", ":0\r\n");
    says(n, "SET a 1", "+OK\r\n");
    says(n, "TTL a", ":-1\r\n");
    says(n, "EXPIRE a 10 XX", ":0\r\n");
    says(n, "EXPIRE a 10 GT", ":0\r\n");
    says(n, "EXPIRE a 10 LT", ":1\r\n");
    says(n, "EXPIRE a 20 NX", ":0\r\n");
    says(n, "PTTL a", ":10000\r\n");
    says(n, "PEXPIRETIME a", ":1010000\r\n");
    says(n, "EXPIRE a 5 GT", ":0\r\n");
    says(n, "EXPIRE a 10 GT", ":0\r\n"); /* it is not greater, nor less */
    says(n, "EXPIRE a 10 LT", ":0\r\n");
    says(n, "SETRANGE a 0 2", ":1\r\n"); /* what changes a part keeps it */
    says(n, "PTTL a", ":10000\r\n");
    says(n, "EXPIRE a 30 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n");
    says(n, "EXPIRE a 30 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n");
    says(n, "EXPIRE a 30 ZZ", "-ERR Unsupported option ZZ\r\n");
    says(n, "EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n");
    says(n, "PEXPIREAT a 9223372036854775807", "-ERR invalid expire time in 'pexpireat' command\r\n"); /* stands for none */
    says(n, "PERSIST a", ":1\r\n");
    says(n, "PERSIST a", ":0\r\n");
    says(n, "EXPIREAT a 1", ":1\r\n");
    says(n, "EXISTS a", ":0\r\n");
    says(n, "SET a 1", "+OK\r\n");
    says(n, "PEXPIREAT a 1000000", ":1\r\n"); /* now: it goes at once */
    says(n, "DBSIZE", ":0\r\n");
    says(n, "SET a 1 PXAT 1010499", "+OK\r\n"); /* seconds are rounded, also absolute ones */
    says(n, "TTL a", ":10\r\n");
    says(n, "EXPIRETIME a", ":1010\r\n");
    says(n, "SET a 1 PXAT 1010500", "+OK\r\n");
    says(n, "TTL a", ":11\r\n");
    says(n, "EXPIRETIME a", ":1011\r\n");
    says(n, "SET a 1 PXAT 9223372036854775806", "+OK\r\n");
    says(n, "EXPIRETIME a", ":9223372036854776\r\n");
}

static void keys_are_removed_and_counted(void **state) {
    (void)state;
    says(n, "MSET a 1 b 2 c 3 {a}d 4", "+OK\r\n");
    says(n, "DBSIZE", ":4\r\n");
    says(n, "EXISTS a a z", ":2\r\n");
    says(n, "TYPE a", "+string\r\n");
    says(n, "TYPE z", "+none\r\n");
    says(n, "DEL a z", ":1\r\n");
    says(n, "DBSIZE", ":3\r\n");
    says(n, "INCR n", ":1\r\n");
    says(n, "FLUSHALL NOW", "-ERR syntax error\r\n");
    says(n, "FLUSHALL", "+OK\r\n");
    says(n, "DBSIZE", ":0\r\n");
    says(n, "INCR n", ":1\r\n");
}

static void hashes_hold_fields_and_counters(void **state) {
    (void)state;
    says(n, "HSET h a 1 b 2", ":2\r\n");
    says(n, "HSET h a 3 c", "-ERR wrong number of arguments for 'hset' command\r\n");
    says(n, "HSET h a 3", ":0\r\n");
    says(n, "HGET h a", "$1\r\n3\r\n");
    says(n, "HMGET h a z", "*2\r\n$1\r\n3\r\n$-1\r\n");
    says(n, "HSETNX h a 9", ":0\r\n");
    says(n, "HLEN h", ":2\r\n");
    says(n, "HINCRBY h a -5", ":-2\r\n");
    says(n, "HINCRBYFLOAT h a 0.5", "$4\r\n-1.5\r\n");
    says(n, "HINCRBY h a 1", "-ERR hash value is not an integer\r\n");
    says(n, "HSTRLEN h a", ":4\r\n");
    says(n, "HDEL h b z", ":1\r\n");
    says(n, "HGETALL h", "*2\r\n$1\r\na\r\n$4\r\n-1.5\r\n");
    says(n, "GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    says(n, "INCR h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    says(n, "EXPIRE h 100", ":1\r\n");
    says(n, "HDEL h a", ":1\r\n");
    says(n, "EXISTS h", ":0\r\n");
    says(n, "HSET h a 1", ":1\r\n");
    says(n, "TTL h", ":-1\r\n");
    says(n, "SET h x", "+OK\r\n");
    says(n, "HGETALL h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
}

/* As much of the arguments as Redis shows: 128 bytes in all, whatever the name takes. */
static void an_unknown_command_is_told_with_what_follows_it(void **state) {
    (void)state;
    char name[129] = {0}, first[101] = {0}, line[512], reply[512];
    memset(name, 'n', sizeof name - 1);
    memset(first, 'f', sizeof first - 1);
    snprintf(line, sizeof line, "%s %s 0123456789012345678901234567890 more", name, first);
    snprintf(reply, sizeof reply, "-ERR unknown command '%s', with args beginning with: '%s' '0123456789012345678901234' \r\n", name, first);
    says(n, line, reply);
}

static void commands_are_described(void **state) {
    (void)state;
    says(n, "COMMAND INFO mget no", "*2\r\n*6\r\n$4\r\nmget\r\n:-2\r\n*1\r\n+readonly\r\n:1\r\n:-1\r\n:1\r\n$-1\r\n");
    says(n, "COMMAND INFO sintercard", "*1\r\n*6\r\n$10\r\nsintercard\r\n:-3\r\n*2\r\n+readonly\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n");
    says(n, "COMMAND GETKEYS sintercard 2 a b", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
}

/* A node that was declared gone counts from 1 again, as another replica. */
static void what_is_written_after_starting_over_is_told(void **state) {
    (void)state;
    uint16_t index;
    uint32_t shard = node_shard_of(n, bytes_str("a"));
    says(n, "SET a 1", "+OK\r\n");
    assert_int_equal(replicas_intern(n->replicas, (struct replica_id){1, 77}, &index), STATUS_OK);
    shard_lock(n->shards[shard]);
    shard_reset(n->shards[shard], index);
    shard_unlock(n->shards[shard]);
    node_lock(n, shard);
    shard_set(n->shards[shard], shard_ref(n->shards[shard], bytes_str("a")), bytes_str("2"), false, wall_ms);
    assert_true(node_unlock(n, shard));
    node_lock(n, shard);
    assert_false(node_unlock(n, shard));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ON_A_NODE(strings_are_set_and_read),
        cmocka_unit_test(of_concurrent_writes_to_the_same_keys_one_wins_all),
        ON_A_NODE(counters_count_like_redis),
        ON_A_NODE(what_has_expired_is_gone),
        ON_A_NODE(many_keys_of_one_shard_expire_together),
        ON_A_NODE(keys_expire_and_stay_as_told),
        ON_A_NODE(keys_are_removed_and_counted),
        ON_A_NODE(hashes_hold_fields_and_counters),
        ON_A_NODE(an_unknown_command_is_told_with_what_follows_it),
        ON_A_NODE(commands_are_described),
        ON_A_NODE(what_is_written_after_starting_over_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
