/* Gossip from before its frames are opened to after: three nodes, and bytes that decide who writes,
 * which frames arrive, how they were changed by one who has the key, and what strangers say.
 *
 * Whatever is said, counts stay right and whoever asks is answered. Where nobody lied, all hold the
 * same once they hear each other.
 *
 * input := shape step*
 * step  := what and who, argument [length] [bytes] */
#include "net/command.h"
#include "test/fuzz/host.h"
#include "test/fuzz/net.h"
#include "test/fuzz/recount.h"
#include "test/fuzz/rumours.h"

enum { STEPS_MAX = 250, ROUNDS_MAX = 1200, HEADER = 32 };
enum what {
    WRITE, TICK, TIME, UP, DOWN, DELIVER, DELIVER_ALL, REPEAT, DROP, PAUSE, RAW, FORGET, LIES, BEND = LIES, CUT, FORGE,
    FORGE_KNOWN, RUMOUR, LEAVE, WHATS
};
#define TABLES 192 /* from there on */
#define FILL 255 /* what is written: a hash that is worth finer cells */

static void open_shaped(struct net *n, uint8_t shape) {
    net_open(n, shape & 1 ? 600 : 1 << 20);
    n->short_cuts = shape & 2;
}

static void run_bytes(struct node *node, size_t argc, const struct bytes *argv) {
    struct buf out = {0};
    command_run(node, argv, argc, &out);
    CHECK(fuzz_reply_count(buf_bytes(&out)) == 1);
    buf_fini(&out);
}

static void run(struct node *node, size_t argc, const char *const *words) {
    struct bytes argv[8];
    for (size_t i = 0; i < argc; i++) argv[i] = bytes_str(words[i]);
    run_bytes(node, argc, argv);
}

/* One more time, other values: one field in 64 changes. */
static void fill(struct node *node) {
    enum { FIELDS = 1100 };
    static char names[FIELDS][8];
    static struct bytes argv[2 + 2 * FIELDS];
    argv[0] = bytes_str("hset");
    argv[1] = bytes_str("full");
    for (size_t i = 0; i < FIELDS; i++) {
        snprintf(names[i], sizeof names[i], "f%zu", i);
        argv[2 + 2 * i] = argv[3 + 2 * i] = bytes_str(names[i]);
    }
    struct key_ref ref;
    struct shard *shard = node->shards[node_locate(node, argv[1], &ref)];
    bool again = shard_find(shard, ref, node_now(node).wall_ms);
    run_bytes(node, 2 + 2 * (again ? FIELDS / 64 : FIELDS), argv);
}

static void write_something(struct node *node, uint8_t argument) {
    static const char *const table[][4] = {{"set", "", "x"}, {"incr", ""},        {"sadd", "", "m"},         {"hset", "", "f", "v"},
                                           {"del", ""},      {"expire", "", "1"}, {"hincrby", "", "g", "2"}, {"srem", "", "m"},
                                           {"persist", ""},  {"flushall"}};
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};
    const char *words[4];
    size_t argc = 0;
    if (argument == FILL) {
        fill(node);
        return;
    }
    for (const char *const *word = table[argument % 10]; argc < 4 && word[argc]; argc++)
        words[argc] = *word[argc] ? word[argc] : keys[argument / 10 % 6];
    run(node, argc, words);
}

/* ------------------------------------------------------------- what is said */

/* Changes one byte inside, or takes some off the end. */
static void bend(struct net *n, unsigned at, enum what what, struct input *in) {
    struct buf plain = {0}, frame = {0};
    unsigned place = input_byte(in);
    place |= (unsigned)input_byte(in) << 8;
    uint8_t value = input_byte(in);
    net_open_frame(n, buf_bytes(&n->frames[at].bytes), &plain);
    if (what == CUT || !plain.len)
        plain.len -= place % (plain.len + 1);
    else
        plain.data[place % plain.len] = value;
    net_seal(n, buf_bytes(&plain), &frame);
    buf_fini(&n->frames[at].bytes);
    n->frames[at].bytes = frame;
    buf_fini(&plain);
}

/* By a stranger, by one who takes another's name, by one of a life that is over, by ourselves. */
static struct replica_id sender_of(struct net *n, enum what what, unsigned to, uint8_t argument) {
    struct replica_id id = gossip_self(n->nodes[(to + 1 + argument % 2u) % NET_NODES].node->gossip);
    if (what != FORGE) return id;
    if (argument % 4 == 0) return (struct replica_id){argument, argument};
    if (argument % 4 == 1) return (struct replica_id){id.node, id.incarnation + argument};
    if (argument % 4 == 2) return gossip_self(n->nodes[to].node->gossip);
    return (struct replica_id){id.node, 1};
}

static void forge(struct net *n, unsigned to, enum what what, uint8_t argument, struct input *in) {
    size_t len = input_byte(in);
    len |= (size_t)input_byte(in) << 8;
    net_say(n, to, sender_of(n, what, to, argument), input_bytes(in, len));
}

static void spread_rumour(struct net *n, unsigned to, uint8_t argument, struct input *in) {
    struct buf message = {0};
    struct bytes said = input_bytes(in, input_byte(in));
    struct input choices = input_of(said.data, said.len);
    rumour_make(n, &choices, &message);
    net_say(n, to, sender_of(n, RUMOUR, to, argument), buf_bytes(&message));
    buf_fini(&message);
}

static void send_raw(struct net *n, unsigned to, struct input *in) {
    struct bytes frame = fuzz_exact(input_bytes(in, input_byte(in)));
    net_hear(n, to, frame);
    fuzz_exact_free(frame);
}

/* What a disk or a bucket says of who is in the cluster: another's table, bent, or anything. */
static void read_table(struct net *n, unsigned to, bool starts, struct input *in) {
    struct gossip *gossip = n->nodes[to].node->gossip;
    struct buf table = {0};
    if (input_byte(in) & 1) gossip_table(n->nodes[(to + 1) % NET_NODES].node->gossip, &table);
    size_t place = input_byte(in);
    uint8_t value = input_byte(in);
    if (table.len) table.data[place % table.len] = value;
    buf_put_bytes(&table, input_bytes(in, input_byte(in)));
    struct bytes exact = fuzz_exact(buf_bytes(&table));
    if (starts) gossip_recovered(gossip, exact);
    else gossip_heard(gossip, exact);
    fuzz_exact_free(exact);
    buf_fini(&table);
}

static void pass_frame(struct net *n, enum what what, uint8_t argument, struct input *in) {
    if (!n->frame_count) return;
    unsigned at = argument % n->frame_count;
    if (what == BEND || what == CUT)
        bend(n, at, what, in);
    else if (what != DROP)
        net_deliver(n, at);
    if (what == DELIVER || what == DROP) net_drop(n, at);
}

/* An operator's word, which holds only of those that are down. */
static void forget(struct node *node, uint8_t argument) {
    char id[20];
    snprintf(id, sizeof id, "%x", argument % NET_NODES + 1);
    run(node, 3, (const char *const[]){"anneal", "forget", id});
}

static void deliver_all(struct net *n) {
    for (unsigned some = NET_FRAMES_MAX; n->frame_count && some; some--) {
        net_deliver(n, 0);
        net_drop(n, 0);
    }
}

static enum what step(struct net *n, struct input *in) {
    uint8_t head = input_byte(in), argument = input_byte(in);
    enum what what = (enum what)(head % WHATS);
    unsigned who = head / WHATS % NET_NODES;
    struct node *node = n->nodes[who].node;
    switch (what) {
    case WRITE: write_something(node, argument); break;
    case TICK: net_tick(n, who); break;
    case TIME: net_move_clocks(n, 1 << argument % 14); break;
    case UP:
    case DOWN: net_connect(n, who, what == UP); break;
    case DELIVER_ALL: deliver_all(n); break;
    case PAUSE: gossip_pause(node->gossip, argument & 1); break;
    case RUMOUR: spread_rumour(n, who, argument, in); break;
    case RAW:
        if (argument < TABLES) {
            send_raw(n, who, in);
            break;
        }
        read_table(n, who, false, in);
        return BEND; /* it may have been a lie */
    case FORGET: forget(node, argument); break;
    case LEAVE: run(node, 2, (const char *const[]){"anneal", "leave"}); break;
    case FORGE:
    case FORGE_KNOWN: forge(n, who, what, argument, in); break;
    default: pass_frame(n, what, argument, in); break;
    }
    return what;
}

/* ------------------------------------------------------------------ judging */

static void check_settled(struct net *n) {
    for (unsigned i = 0; i < NET_NODES; i++) gossip_pause(n->nodes[i].node->gossip, false);
    net_round(n);
    unsigned rounds = 0;
    for (unsigned level = 0; level < 3; level = net_is_level(n) ? level + 1 : 0) { /* expiries follow */
        net_round(n);
        CHECK(++rounds < ROUNDS_MAX);
    }
}

static void check_node(struct net *n, unsigned i) {
    static const char *const looks[][2] = {{"anneal", "nodes"}, {"anneal", "lag"}, {"anneal", "digest"}, {"keys", "*"}};
    struct node *node = n->nodes[i].node;
    for (size_t k = 0; k < sizeof looks / sizeof *looks; k++) run(node, 2, looks[k]);
    recount_node(node);
    for (uint32_t s = 0; s < node->shard_count; s++) {
        struct shard_summary nothing = {0};
        struct wire_writer writer;
        wire_init(&writer, node->replicas);
        CHECK(shard_write_answer(node->shards[s], &writer, &nothing) == STATUS_OK);
        wire_fini(&writer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    static struct net n;
    uint8_t shape = input_byte(&in);
    bool lied = shape & 4;
    open_shaped(&n, shape);
    if (shape & 4) read_table(&n, 2, true, &in);
    for (int i = 0; i < STEPS_MAX && in.left; i++)
        if (step(&n, &in) >= LIES) lied = true;
    if (!lied) check_settled(&n);
    for (unsigned i = 0; i < NET_NODES; i++) check_node(&n, i);
    net_close(&n);
    return 0;
}

/* ------------------------------------------------------------------- seeds */

static void put(struct buf *seed, enum what what, unsigned who, uint8_t argument) {
    buf_put_byte(seed, (uint8_t)(what + WHATS * who));
    buf_put_byte(seed, argument);
}

static void put_meeting(struct buf *seed) {
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < NET_NODES; i++) put(seed, TICK, i, 0);
        for (unsigned i = 0; i < NET_NODES; i++) put(seed, UP, i, 0);
        put(seed, TIME, 0, 10);
        for (unsigned i = 0; i < NET_NODES; i++) put(seed, TICK, i, 0);
        put(seed, DELIVER_ALL, 0, 0);
    }
}

static void put_talk(struct buf *seed, enum what with) {
    for (uint8_t turn = 0; turn < 12; turn++) {
        put(seed, WRITE, turn % NET_NODES, (uint8_t)(turn * 7));
        put(seed, TIME, 0, turn);
        put(seed, TICK, turn % NET_NODES, 0);
        put(seed, with, turn % NET_NODES, (uint8_t)(with == RAW ? TABLES + turn : turn));
        if (with == RAW) buf_put(seed, (uint8_t[]){1, (uint8_t)(turn * 9), turn, 0}, 4);
        if (with == RUMOUR) buf_put_byte(seed, 30);
        for (uint8_t i = 0; i < 30 && with == RUMOUR; i++) buf_put_byte(seed, i ? (uint8_t)(i * turn) : turn);
        if (with == BEND || with == CUT) buf_put(seed, (uint8_t[]){(uint8_t)(HEADER + turn * 5), 0, turn}, 3);
        if (turn % 3 == 2) put(seed, DELIVER_ALL, 0, 0);
    }
    put(seed, TIME, 0, 11);
    for (unsigned i = 0; i < NET_NODES; i++) put(seed, TICK, i, 0);
    put(seed, DELIVER_ALL, 0, 0);
}

/* Runs a seed, and says what is still on its way again, as forged messages. */
static void put_forged(struct buf *seed) {
    static struct net n;
    struct input in = input_of(seed->data, seed->len);
    open_shaped(&n, input_byte(&in));
    while (in.left > 2) step(&n, &in); /* all but the last: the deliveries */
    for (unsigned i = 0; i < n.frame_count; i++) {
        struct buf plain = {0};
        net_open_frame(&n, buf_bytes(&n.frames[i].bytes), &plain);
        size_t len = plain.len - HEADER;
        put(seed, FORGE_KNOWN, n.frames[i].to, (uint8_t)i);
        buf_put_byte(seed, (uint8_t)len);
        buf_put_byte(seed, (uint8_t)(len >> 8));
        buf_put(seed, plain.data + HEADER, len);
        buf_fini(&plain);
    }
    net_close(&n);
}

/* Two that meet again when their logs no longer reach, with much in common; one that was given up. */
static void put_apart(void) {
    for (unsigned who = 0; who < NET_NODES; who++) {
        struct buf seed = {0};
        buf_put_byte(&seed, 1);
        put_meeting(&seed);
        put(&seed, WRITE, 0, FILL);
        for (int i = 0; i < 3; i++) put_meeting(&seed);
        for (unsigned i = 0; i < NET_NODES; i++) put(&seed, DOWN, i, 0);
        for (unsigned i = 0; i < NET_NODES; i++) put(&seed, WRITE, i, i == who ? FILL : 0);
        if (who == 2) {
            for (int i = 0; i < 3; i++) put(&seed, TIME, 0, 13);
            put(&seed, TICK, 0, 0);
            put(&seed, FORGET, 0, 1);
        }
        for (int i = 0; i < 5; i++) put_meeting(&seed);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}

void fuzz_seeds(void) {
    static const enum what with[] = {DELIVER, REPEAT, DROP, DOWN, PAUSE, RAW, BEND, CUT, RUMOUR};
    put_apart();
    for (uint8_t i = 0; i < 4 * sizeof with / sizeof *with; i++) {
        struct buf seed = {0};
        buf_put_byte(&seed, i % 4);
        put_meeting(&seed);
        put_talk(&seed, with[i / 4]);
        if (i / 4 < 4) put_forged(&seed);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
