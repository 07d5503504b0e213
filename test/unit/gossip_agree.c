/* Two nodes and a wire between them that may be cut without either being told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/rng.h"
#include "gossip/gossip.h"

#define SHARDS 4u
#define FRAMES 256u

struct side {
    struct gossip *gossip;
    struct replicas *replicas;
    struct shard *shards[SHARDS];
    struct side *other;
    bool dialled[GOSSIP_LINKS], up[GOSSIP_LINKS];
    struct frame {
        struct buf bytes;
        int64_t at_ms;
    } frames[FRAMES]; /* on their way here */
    size_t frame_count;
    bool unsure;  /* it may lose what it applies */
    bool has_more; /* of members that are no more, by other ways */
    uint64_t ends; /* of some it asked that their ways be closed */
    uint64_t sent; /* frames */
    uint64_t wakes;
    uint64_t tells, sent_before; /* that it was about to tell of what it wrote; frames sent when it said so last */
    struct buf table; /* of members, that it kept last */
};

static int64_t now_ms;
static uint64_t dice;
static bool cut;
static int64_t latency_ms, jitter_ms;
static uint64_t message_bytes_max;
static int64_t gone_ms;
static int64_t clock_ahead_ms;
static bool in_short_cut;
static struct buf overheard[FRAMES]; /* by a stranger, who is not asked to stop: */
static size_t overheard_count;
static bool overhears;
static struct rng rng;

static struct now now(void *self) {
    (void)self;
    return (struct now){1000000 + clock_ahead_ms + now_ms, now_ms * 1000};
}
static uint64_t entropy(void *self) {
    (void)self;
    return ++dice;
}

static enum status dial(void *self, int link, const char *address) {
    (void)address;
    assert_false(in_short_cut);
    ((struct side *)self)->dialled[link] = true;
    return STATUS_OK;
}
static void hangup(void *self, int link) {
    struct side *s = self;
    assert_false(in_short_cut);
    s->dialled[link] = s->up[link] = false;
}
static enum status send_frame(void *self, int link, struct bytes frame) {
    struct side *to = ((struct side *)self)->other;
    ((struct side *)self)->sent++;
    (void)link;
    assert_true(to->frame_count < FRAMES);
    if (cut) return STATUS_OK;
    if (overhears && overheard_count < FRAMES) buf_put_bytes(&overheard[overheard_count++], frame);
    struct frame fresh = {.at_ms = now_ms + latency_ms + (int64_t)rng_below(&rng, (uint64_t)jitter_ms + 1)};
    size_t at = to->frame_count++;
    buf_put_bytes(&fresh.bytes, frame);
    for (; at && to->frames[at - 1].at_ms > fresh.at_ms; at--) to->frames[at] = to->frames[at - 1];
    to->frames[at] = fresh;
    return STATUS_OK;
}

static bool is_sure(void *self) { return !((struct side *)self)->unsure; }
static bool is_closed(void *self, struct replica_id id, bool close, bool for_good) {
    struct side *s = self;
    (void)id, (void)for_good;
    s->ends += s->has_more && close;
    return !s->has_more;
}

static void on_tells(void *self, uint32_t shard) {
    struct side *s = self;
    (void)shard;
    s->tells++;
    s->sent_before = s->sent;
}

static void wake(void *arg) { ((struct side *)arg)->wakes++; }

static void keep_table(void *self, struct bytes table) {
    struct buf *kept = &((struct side *)self)->table;
    kept->len = 0;
    buf_put_bytes(kept, table);
}

static void start(struct side *s, struct side *other, uint64_t node, const char *address, const char *join) {
    *s = (struct side){.other = other, .replicas = replicas_new()};
    struct gossip_config config = {.clock = {.now = now, .entropy = entropy}, .transport = {dial, hangup, send_frame, s},
                                   .replicas = s->replicas, .shards = s->shards, .shard_count = SHARDS,
                                   .self = {node, ++dice}, GOSSIP_CONFIG_DEFAULT};
    if (gone_ms) config.gone_ms = gone_ms;
    if (message_bytes_max) config.message_bytes_max = message_bytes_max;
    config.address = address;
    config.join = join;
    config.sure = is_sure;
    config.closed = is_closed;
    config.tells = on_tells;
    config.wake = wake;
    config.arg = s;
    config.applied.members = keep_table;
    config.applied.self = s;
    assert_int_equal(replicas_intern(s->replicas, config.self, &config.self_index), STATUS_OK);
    struct shard_config shard = {.replicas = s->replicas, .self = config.self_index, .log_bytes_max = 1 << 20};
    for (uint32_t i = 0; i < SHARDS; i++) s->shards[i] = shard_new(i, &shard);
    keyring_well_known(&config.keys, KEYRING_GOSSIP);
    keyring_cluster(&config.keys, bytes_str("c"), SHARDS);
    s->gossip = gossip_new(&config);
}

static void stop(struct side *s) {
    gossip_free(s->gossip);
    for (uint32_t i = 0; i < SHARDS; i++) shard_free(s->shards[i]);
    for (size_t i = 0; i < FRAMES; i++) buf_fini(&s->frames[i].bytes);
    buf_fini(&s->table);
    replicas_free(s->replicas);
}

static void step(struct side *s) {
    for (int i = 0; i < GOSSIP_LINKS; i++) {
        if (!s->dialled[i] || s->up[i]) continue;
        s->up[i] = true;
        gossip_step(s->gossip, &(struct gossip_event){.kind = GOSSIP_UP, .link = i}, now(NULL));
    }
    size_t came = 0;
    for (; came < s->frame_count && s->frames[came].at_ms <= now_ms; came++) {
        gossip_step(s->gossip, &(struct gossip_event){.kind = GOSSIP_FRAME, .frame = buf_bytes(&s->frames[came].bytes)}, now(NULL));
        buf_fini(&s->frames[came].bytes);
    }
    s->frame_count -= came;
    memmove(s->frames, s->frames + came, s->frame_count * sizeof *s->frames);
    memset(s->frames + s->frame_count, 0, came * sizeof *s->frames);
    gossip_step(s->gossip, &(struct gossip_event){.kind = GOSSIP_TICK}, now(NULL));
}

static bool are_equal(const struct side *a, const struct side *b) { return gossip_digest(a->gossip, -1) == gossip_digest(b->gossip, -1); }

static void run(struct side *a, struct side *b, int64_t ms) {
    for (int64_t end = now_ms + ms; now_ms < end; now_ms++) {
        step(a);
        step(b);
    }
}

static int64_t run_until_equal(struct side *a, struct side *b) {
    int64_t began = now_ms;
    while (!are_equal(a, b) && now_ms < began + 60000) run(a, b, 1);
    return now_ms - began;
}

static void put(struct side *s, uint32_t shard, const char *key, struct bytes value) {
    shard_lock(s->shards[shard]);
    shard_set(s->shards[shard], shard_ref(s->shards[shard], bytes_str(key)), value, false, now(NULL).wall_ms);
    shard_unlock(s->shards[shard]);
    gossip_dirty(s->gossip, shard);
}

static void write_to(struct side *s, uint32_t shard, const char *key) { put(s, shard, key, bytes_str("v")); }

static void start_both(struct side *a, struct side *b) {
    now_ms = 1000;
    latency_ms = jitter_ms = 0;
    cut = false;
    rng_seed(&rng, 1);
    start(a, b, 1, "a", "b");
    start(b, a, 2, "b", "a");
}

/* What is known to be everywhere leaves the log. */
static bool remembers(struct side *s) {
    struct wire_writer w;
    uint64_t upto;
    wire_init(&w, s->replicas);
    shard_lock(s->shards[0]);
    enum status status = shard_write_delta(s->shards[0], &w, 0, &upto);
    shard_unlock(s->shards[0]);
    wire_fini(&w);
    return status == STATUS_OK;
}

static void who_may_lose_what_he_has_is_remembered_for(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 2000);
    b.unsure = true;
    run(&a, &b, 2000);
    write_to(&a, 0, "k");
    assert_true(run_until_equal(&a, &b) < 1000);
    run(&a, &b, 20000);
    assert_true(remembers(&a));
    b.unsure = false;
    run(&a, &b, 20000);
    assert_false(remembers(&a));
    stop(&a);
    stop(&b);
}

/* Lest others write what presupposes it before it is on its way to where it is kept. */
static void say_again(struct side *to) {
    for (size_t i = 0; i < overheard_count; i++)
        gossip_step(to->gossip, &(struct gossip_event){.kind = GOSSIP_FRAME, .frame = buf_bytes(&overheard[i])}, now(NULL));
}

static void forget_overheard(void) {
    overhears = false;
    while (overheard_count) buf_fini(&overheard[--overheard_count]);
}

/* Late, or by a stranger. */
static void who_was_sure_before_is_not_therefore_sure_now(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 2000);
    overhears = true;
    run(&a, &b, 2000);
    overhears = false;
    b.unsure = true;
    run(&a, &b, 2000);
    write_to(&a, 0, "k");
    assert_true(run_until_equal(&a, &b) < 1000);
    run(&a, &b, 3000);
    say_again(&a);
    run(&a, &b, 3000);
    assert_true(remembers(&a));
    b.unsure = false;
    run(&a, &b, 3000);
    assert_false(remembers(&a));
    forget_overheard();
    stop(&a);
    stop(&b);
}

static void what_others_will_hear_is_said_first(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 2000);
    uint64_t sent = a.sent;
    write_to(&a, 0, "k");
    step(&a);
    assert_int_equal(a.tells, 1);
    assert_int_equal(a.sent_before, sent);
    assert_true(a.sent > sent);
    assert_true(run_until_equal(&a, &b) < 10);
    stop(&a);
    stop(&b);
}

/* Whoever was about to sleep, and had something to do first, sleeps then; also whoever was about to be asked. */
static void who_goes_to_sleep_is_woken(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    write_to(&a, 0, "k");
    assert_false(gossip_may_sleep(a.gossip));
    step(&a);
    assert_int_equal(a.wakes, 0);
    write_to(&a, 0, "l");
    assert_int_equal(a.wakes, 1);
    step(&a);
    gossip_ask(a.gossip);
    assert_false(gossip_may_sleep(a.gossip));
    step(&a);
    assert_true(gossip_may_sleep(a.gossip));
    gossip_ask(a.gossip);
    assert_int_equal(a.wakes, 2);
    stop(&a);
    stop(&b);
}

static void who_left_is_remembered_for_while_more_may_come_of_him(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 2000);
    a.has_more = true;
    gossip_leave(b.gossip, now(NULL));
    run(&a, &b, 100);
    cut = true;
    write_to(&a, 0, "k");
    run(&a, &b, 30000);
    assert_true(remembers(&a));
    a.has_more = false;
    run(&a, &b, 10000);
    assert_false(remembers(&a));
    stop(&a);
    stop(&b);
}

/* Writes of a process that nobody here ever met, as they are read from a store. */
static void read_stranger(struct side *to, uint64_t node) {
    struct shard_config config = {.replicas = replicas_new(), .log_bytes_max = 1 << 20};
    struct wire_writer w;
    struct wire_reader r;
    struct buf message = {0};
    uint64_t upto;
    assert_int_equal(replicas_intern(config.replicas, (struct replica_id){node, ++dice}, &config.self), STATUS_OK);
    struct shard *shard = shard_new(0, &config);
    shard_set(shard, shard_ref(shard, bytes_str("other")), bytes_str("v"), false, now_ms);
    wire_init(&w, config.replicas);
    assert_int_equal(shard_write_delta(shard, &w, 0, &upto), STATUS_OK);
    wire_finish(&w, &message);
    wire_fini(&w);
    assert_int_equal(wire_open(&r, buf_bytes(&message), to->replicas), STATUS_OK);
    assert_int_equal(shard_read_delta(to->shards[0], &r, now_ms), STATUS_OK);
    wire_close(&r);
    gossip_changed(to->gossip, 0);
    buf_fini(&message);
    shard_free(shard);
    replicas_free(config.replicas);
}

static void who_was_never_met_may_still_turn_up(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 2000);
    a.has_more = true;
    read_stranger(&a, 9);
    run(&a, &b, 1000);
    write_to(&a, 0, "k");
    run(&a, &b, 30000);
    assert_true(remembers(&a));
    a.has_more = false;
    run(&a, &b, 10000);
    assert_false(remembers(&a));
    stop(&a);
    stop(&b);
}

static struct member_info other_of(struct side *s, uint64_t node) {
    struct member_info all[GOSSIP_LINKS], found = {0};
    size_t count = gossip_members(s->gossip, all, GOSSIP_LINKS);
    for (size_t i = 0; i < count; i++)
        if (all[i].id.node == node) found = all[i];
    return found;
}

/* It may live, and only be out of reach. */
static void who_was_never_met_is_not_ended(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 2000);
    a.has_more = true;
    read_stranger(&a, 9); /* of a node that nobody knows; */
    read_stranger(&a, 2); /* another process of one that is up */
    run(&a, &b, 60000);
    assert_int_equal(a.ends, 0);
    assert_int_equal(other_of(&a, 9).status, MEMBER_DOWN);
    assert_int_equal(other_of(&a, 2).status, MEMBER_UP);
    assert_int_equal(gossip_forget(a.gossip, 9), STATUS_OK);
    run(&a, &b, 1000);
    assert_true(a.ends > 0);
    stop(&a);
    stop(&b);
}

/* But not while an address to join is out of reach. */
static void who_was_never_met_is_given_up_in_time(void **state) {
    (void)state;
    for (int reached = 0; reached < 2; reached++) {
        struct side a, b;
        start_both(&a, &b);
        cut = !reached;
        a.has_more = true;
        run(&a, &b, 2000);
        read_stranger(&a, 9);
        for (int64_t end = now_ms + 90000000; now_ms < end; now_ms += 5000)
            for (int i = 0; i < 3; i++) {
                step(&a);
                step(&b);
            }
        assert_int_equal(other_of(&a, 9).status, reached ? MEMBER_GONE : MEMBER_DOWN);
        assert_int_equal(a.ends > 0, reached);
        stop(&a);
        stop(&b);
    }
}

static void who_was_met_only_in_the_store_is_met(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    cut = true;
    a.has_more = true;
    read_stranger(&a, 2);
    run(&a, &b, 1000);
    assert_int_equal(other_of(&a, 2).status, MEMBER_DOWN);
    cut = false;
    run(&a, &b, 5000);
    struct member_info it = other_of(&a, 2);
    assert_int_equal(it.status, MEMBER_UP);
    assert_string_equal(it.address, "b");
    assert_true(it.connected);
    assert_int_equal(a.ends, 0);
    write_to(&b, 0, "k");
    assert_true(run_until_equal(&a, &b) < 1000);
    stop(&a);
    stop(&b);
}

static void parts_of_a_message_may_overtake_each_other(void **state) {
    struct side a, b;
    struct buf value = {0};
    struct gossip_stats stats;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    jitter_ms = 100;
    cut = true;
    buf_reserve(&value, 3 << 20); /* 12 frames */
    memset(value.data, 'v', value.len = 3 << 20);
    put(&a, 1, "k", buf_bytes(&value));
    run(&a, &b, 400);
    cut = false;
    assert_true(run_until_equal(&a, &b) < 5000);
    gossip_stats(b.gossip, &stats);
    assert_int_equal(stats.parts_dropped, 0);
    buf_fini(&value);
    stop(&a);
    stop(&b);
}

static bool has(struct side *s, uint32_t shard, const char *key) {
    shard_lock(s->shards[shard]);
    bool found = shard_find(s->shards[shard], shard_ref(s->shards[shard], bytes_str(key)), now(NULL).wall_ms);
    shard_unlock(s->shards[shard]);
    return found;
}

/* B and C are members to A, and send it what has room beside nothing else: 12 frames each, B's first. */
static void start_large(struct side *a, struct side *b, struct side *c) {
    struct buf value = {0};
    message_bytes_max = 4 << 20;
    start_both(a, b);
    run(a, b, 3000);
    start(c, a, 3, "c", "a");
    a->other = c;
    run(a, c, 3000);
    message_bytes_max = 0;
    step(b);
    step(a);
    buf_reserve(&value, 3 << 20);
    memset(value.data, 'v', value.len = 3 << 20);
    put(b, 1, "b", buf_bytes(&value));
    put(c, 2, "c", buf_bytes(&value));
    step(b);
    assert_true(a->frame_count >= 12);
    buf_fini(&value);
}

/* Each takes most of the room that there is, and gives it back. */
static void large_messages_come_one_after_the_other(void **state) {
    struct side a, b;
    struct buf value = {0};
    (void)state;
    message_bytes_max = 4 << 20;
    start_both(&a, &b);
    message_bytes_max = 0;
    run(&a, &b, 3000);
    buf_reserve(&value, 3 << 20);
    memset(value.data, 'v', value.len = 3 << 20);
    for (uint32_t i = 0; i < SHARDS; i++) {
        put(&a, i, "k", buf_bytes(&value));
        assert_true(run_until_equal(&a, &b) < 5000);
    }
    buf_fini(&value);
    stop(&a);
    stop(&b);
}

static void who_stops_in_the_midst_of_a_message_keeps_nobody_out(void **state) {
    struct side a, b, c;
    (void)state;
    start_large(&a, &b, &c);
    a.frame_count -= 4;
    for (int i = 0; i < 4; i++) buf_fini(&a.frames[a.frame_count + (size_t)i].bytes);
    run(&a, &c, 30000);
    assert_true(has(&a, 2, "c"));
    stop(&a);
    stop(&b);
    stop(&c);
}

static void of_two_messages_without_room_for_both_one_arrives(void **state) {
    struct side a, b, c;
    (void)state;
    start_large(&a, &b, &c);
    size_t first = a.frame_count, at = 0;
    step(&c);
    struct frame mixed[FRAMES];
    for (size_t i = 0, k = first; i < first || k < a.frame_count; i++, k++) {
        if (i < first) mixed[at++] = a.frames[i];
        if (k < a.frame_count) mixed[at++] = a.frames[k];
    }
    memcpy(a.frames, mixed, a.frame_count * sizeof *mixed);
    step(&a);
    assert_true(has(&a, 1, "b") || has(&a, 2, "c"));
    stop(&a);
    stop(&b);
    stop(&c);
}

static void peers_that_are_far_away_agree(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    latency_ms = 1700;
    cut = true;
    for (uint32_t i = 0; i < SHARDS; i++) write_to(&a, i, "k");
    write_to(&b, 1, "l");
    run(&a, &b, 400);
    cut = false;
    assert_true(run_until_equal(&a, &b) < 20000); /* 1 + 2 s of patience are too little, 4 are enough */
    stop(&a);
    stop(&b);
}

static void what_a_short_cut_swallowed_is_found_within_two_heartbeats(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    for (int round = 0; round < 20; round++) {
        run(&a, &b, 3000 + 170 * round);
        assert_true(are_equal(&a, &b));
        cut = true; /* the delta, and the digest that would have told of it */
        write_to(&a, 1, "k");
        if (round % 2) write_to(&b, 2, "l");
        run(&a, &b, 400);
        cut = false;
        assert_true(run_until_equal(&a, &b) < 2200); /* two heartbeats, and the grace */
    }
    stop(&a);
    stop(&b);
}

/* By the short cut of other threads as by the way of all frames. */
static void what_still_comes_of_who_left_long_ago_is_dropped(void **state) {
    struct side a, b;
    struct gossip_stats before, after;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3500); /* between two heartbeats */
    latency_ms = 60000;
    write_to(&b, 1, "k");
    step(&b);
    latency_ms = 0;
    gossip_leave(b.gossip, now(NULL));
    for (int ms = 0; ms < 30000; ms++, now_ms++) step(&a);
    uint64_t digest = gossip_digest(a.gossip, -1);
    size_t late = a.frame_count; /* the delta, and a digest */
    assert_true(late > 0);
    for (size_t i = 0; i < late; i++) assert_false(gossip_deltas(a.gossip, buf_bytes(&a.frames[i].bytes), now(NULL)));
    gossip_stats(a.gossip, &before);
    now_ms += 60000;
    step(&a);
    gossip_stats(a.gossip, &after);
    assert_int_equal(a.frame_count, 0);
    assert_int_equal(after.frames_stranger, before.frames_stranger + late);
    assert_int_equal(gossip_digest(a.gossip, -1), digest);
    stop(&a);
    stop(&b);
}

static bool is_connected(struct side *s, uint64_t node) {
    struct member_info info[4];
    size_t count = gossip_members(s->gossip, info, 4);
    for (size_t i = 0; i < count; i++)
        if (info[i].id.node == node) return info[i].connected;
    fail();
    return false;
}

static int count_links(const struct side *s) {
    int count = 0;
    for (int i = 0; i < GOSSIP_LINKS; i++) count += s->dialled[i];
    return count;
}

/* A node is lost, and another starts at its address: nobody asks the dead any more, nor does the new one dial itself. */
static void who_moves_in_replaces_who_was_there(void **state) {
    struct side a, b, c;
    (void)state;
    start_both(&a, &b);
    write_to(&b, 0, "k");
    run(&a, &b, 3000);
    assert_true(is_connected(&a, 2));
    start(&c, &a, 3, "b", "a");
    a.other = &c;
    run(&a, &c, 3000);
    assert_false(is_connected(&a, 2));
    assert_true(is_connected(&a, 3));
    assert_false(is_connected(&c, 2));
    assert_int_equal(count_links(&a), 1);
    assert_int_equal(count_links(&c), 1);
    assert_true(are_equal(&a, &c));
    run(&a, &c, 20000); /* nor later */
    assert_int_equal(count_links(&a), 1);
    assert_int_equal(count_links(&c), 1);
    stop(&a);
    stop(&b);
    stop(&c);
}

/* A stranger repeats what was answered to an earlier process, which asked for less: it had what came by then. However many
 * messages the next one has sent before it asks. */
static void an_answer_to_an_earlier_process_is_no_answer(void **state) {
    struct side a, b, next;
    (void)state;
    for (int delay = 20; delay < 60; delay++) {
        start_both(&a, &b);
        run(&a, &b, 3000);
        write_to(&b, 1, "k");
        run(&a, &b, 400);
        cut = true;
        write_to(&b, 1, "l");
        run(&a, &b, 400);
        cut = false;
        overhears = true;
        assert_true(run_until_equal(&a, &b) < 5000);
        overhears = false;
        start(&next, &b, 1, "a", "b");
        b.other = &next;
        cut = true;
        run(&next, &b, 340 * delay);
        cut = false;
        int64_t began = now_ms;
        struct gossip_stats stats = {0};
        for (uint64_t asked = 0; now_ms - began < 10000; now_ms++) {
            step(&next);
            gossip_stats(next.gossip, &stats);
            if (stats.pulls_sent > asked) say_again(&next);
            asked = stats.pulls_sent;
            step(&b);
        }
        assert_true(stats.pulls_sent > 0);
        assert_true(has(&next, 1, "k"));
        assert_true(has(&b, 1, "k"));
        forget_overheard();
        stop(&next);
        stop(&a);
        stop(&b);
    }
}

/* Threads of the transport may not hang up: who moves in with a delta, because both spoke until now, waits for the loop. */
static void nobody_moves_in_by_the_short_cut(void **state) {
    struct side a, b, c;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    write_to(&b, 0, "k");
    step(&b);
    step(&a);
    start(&c, &a, 3, "b", "a");
    a.other = &c;
    run(&a, &c, 500);
    assert_true(is_connected(&a, 2));
    now_ms += 1000;
    write_to(&c, 1, "l");
    gossip_flush(c.gossip);
    assert_true(a.frame_count > 0);
    in_short_cut = true;
    for (size_t i = 0; i < a.frame_count; i++) assert_false(gossip_deltas(a.gossip, buf_bytes(&a.frames[i].bytes), now(NULL)));
    in_short_cut = false;
    step(&a);
    assert_false(is_connected(&a, 2));
    assert_true(has(&a, 1, "l"));
    write_to(&c, 1, "m");
    gossip_flush(c.gossip);
    in_short_cut = true;
    assert_true(gossip_deltas(a.gossip, buf_bytes(&a.frames[0].bytes), now(NULL)));
    in_short_cut = false;
    assert_true(has(&a, 1, "m"));
    stop(&a);
    stop(&b);
    stop(&c);
}

static void who_is_only_repeated_is_down(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    overhears = true;
    run(&a, &b, 2000);
    overhears = false;
    cut = true;
    for (int ms = 0; ms < 20000; ms++, now_ms++) {
        if (ms % 1000 == 0) say_again(&a);
        step(&a);
    }
    assert_int_equal(other_of(&a, 2).status, MEMBER_DOWN);
    forget_overheard();
    stop(&a);
    stop(&b);
}

/* Else two halves could each take the other for gone, and both would be void. */
static void half_of_the_members_give_nobody_up(void **state) {
    struct side a, b, c;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    start(&c, &a, 3, "c", "a");
    now_ms += 2 * 86400000;
    cut = true;
    for (int ms = 0; ms < 5000; ms++, now_ms++) step(&a);
    cut = false;
    assert_int_equal(other_of(&a, 2).status, MEMBER_DOWN);
    a.other = &c;
    run(&a, &c, 5000);
    assert_int_equal(other_of(&a, 2).status, MEMBER_GONE);
    stop(&a);
    stop(&b);
    stop(&c);
}

static void nobody_is_gone_before_he_is_down(void **state) {
    struct side a, b;
    (void)state;
    gone_ms = 1000;
    start_both(&a, &b);
    gone_ms = 0;
    run(&a, &b, 3000);
    cut = true;
    for (int ms = 0; ms < 5000; ms++, now_ms++) step(&a);
    assert_int_equal(other_of(&a, 2).status, MEMBER_SUSPECT);
    for (int ms = 0; ms < 15000; ms++, now_ms++) step(&a);
    assert_int_equal(other_of(&a, 2).status, MEMBER_DOWN);
    stop(&a);
    stop(&b);
}

/* A name may have several addresses, of which one is ours: others may be reached by it later. */
static void a_name_that_led_to_ourselves_is_tried_again(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    stop(&a);
    stop(&b);
    start(&a, &a, 1, "a", "name");
    start(&b, &a, 2, "b", "");
    run(&a, &b, 3000);
    assert_int_equal(count_links(&a), 0);
    a.other = &b;
    run(&a, &b, 30000);
    assert_true(is_connected(&a, 2));
    stop(&a);
    stop(&b);
}

/* Others may have forgotten resets since that it has not seen. */
static void what_the_next_process_of_a_gone_node_brings_back_is_void(void **state) {
    (void)state;
    for (int brings = 0; brings < 2; brings++) {
        struct side a, b, next;
        start_both(&a, &b);
        run(&a, &b, 3000);
        cut = true;
        for (int ms = 0; ms < 20000; ms++, now_ms++) step(&a);
        cut = false;
        assert_int_equal(gossip_forget(a.gossip, 2), STATUS_OK);
        assert_int_equal(other_of(&a, 2).status, MEMBER_GONE);
        start(&next, &a, 2, "b", "a");
        a.other = &next;
        if (brings) gossip_recovered(next.gossip, (struct bytes){0});
        struct replica_id self = gossip_self(next.gossip);
        run(&a, &next, 10000);
        assert_int_equal(replica_id_compare(gossip_self(next.gossip), self) != 0, brings);
        assert_int_equal(other_of(&a, 2).status, MEMBER_UP);
        stop(&a);
        stop(&b);
        stop(&next);
    }
}

/* Also of one who has met nobody; and who starts over is another from then on. */
static void the_next_process_knows_who_was_before_it(void **state) {
    (void)state;
    struct side a, b, next;
    start_both(&a, &b);
    cut = true;
    gossip_table(a.gossip, &a.table);
    for (int round = 0; round < 2; round++) {
        if (round) gossip_declared_gone(a.gossip, gossip_self(a.gossip));
        start(&next, &b, 1, "a", "b");
        struct replica_id before = gossip_before(next.gossip);
        assert_int_equal(before.incarnation, 0);
        gossip_recovered(next.gossip, buf_bytes(&a.table));
        before = gossip_before(next.gossip);
        assert_int_equal(replica_id_compare(before, gossip_self(a.gossip)), 0);
        stop(&next);
    }
    stop(&a);
    stop(&b);
}

static uint64_t pulls_of(struct side *s) {
    struct gossip_stats stats;
    gossip_stats(s->gossip, &stats);
    return stats.pulls_sent;
}

/* There is room for so many; those of before are not answered any more, nor waited for. */
static void who_starts_over_asks_as_if_it_never_had(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    for (uint32_t i = 0; i < SHARDS; i++) write_to(&b, i, "k");
    run(&a, &b, 3000);
    latency_ms = 20;
    for (int round = 0; round < 40; round++) {
        gossip_declared_gone(a.gossip, gossip_self(a.gossip));
        uint64_t asked = pulls_of(&a);
        for (int64_t end = now_ms + 60000; pulls_of(&a) == asked && now_ms < end;) run(&a, &b, 1);
        assert_true(pulls_of(&a) > asked);
    }
    assert_true(run_until_equal(&a, &b) < 60000);
    assert_true(has(&a, 0, "k"));
    stop(&a);
    stop(&b);
}

/* Of what was answered nothing is waited for either. */
static void who_was_answered_may_ask_again(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    for (int round = 0; round < 60; round++) {
        cut = true;
        write_to(&b, 1, "k");
        run(&a, &b, 10);
        cut = false;
        assert_true(run_until_equal(&a, &b) < 5000);
    }
    assert_true(pulls_of(&a) >= 60);
    stop(&a);
    stop(&b);
}

static void who_was_gone_in_an_earlier_life_stays(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    write_to(&a, 0, "k");
    run(&a, &b, 3000);
    struct replica_id before = gossip_self(a.gossip);
    gossip_declared_gone(a.gossip, before);
    assert_true(run_until_equal(&a, &b) < 60000);
    struct replica_id self = gossip_self(a.gossip);
    gossip_declared_gone(a.gossip, before);
    assert_int_equal(replica_id_compare(gossip_self(a.gossip), self), 0);
    assert_true(has(&a, 0, "k"));
    stop(&a);
    stop(&b);
}

/* Others believe it to be the process before until it has heard of that one. */
static void who_comes_back_with_a_clock_behind_is_the_later(void **state) {
    struct side a, b, next;
    (void)state;
    uint64_t rolled = dice;
    dice += 1000;
    clock_ahead_ms = 50000;
    start_both(&a, &b);
    clock_ahead_ms = 0;
    run(&a, &b, 3000);
    dice = rolled;
    start(&next, &b, 1, "a", "b");
    b.other = &next;
    dice += 2000;
    write_to(&next, 0, "k");
    run(&next, &b, 10000);
    assert_true(has(&b, 0, "k"));
    assert_int_equal(other_of(&b, 1).status, MEMBER_UP);
    assert_int_equal(other_of(&b, 1).id.incarnation, gossip_self(next.gossip).incarnation);
    stop(&a);
    stop(&b);
    stop(&next);
}

/* It is not told by deltas: whoever leaves at once has no time for more. */
static void who_leaves_tells_first_what_it_wrote(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    write_to(&a, 0, "k");
    gossip_leave(a.gossip, now(NULL));
    step(&b);
    assert_true(has(&b, 0, "k"));
    stop(&a);
    stop(&b);
}

/* Nor do writers and threads of the transport speak or hear in its place. */
static void who_is_paused_neither_speaks_nor_hears(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    gossip_pause(a.gossip, true);
    uint64_t sent = a.sent;
    write_to(&a, 0, "k");
    gossip_flush(a.gossip);
    step(&a);
    assert_int_equal(a.sent, sent);
    write_to(&b, 1, "l");
    gossip_flush(b.gossip);
    assert_true(a.frame_count > 0);
    for (size_t i = 0; i < a.frame_count; i++) assert_false(gossip_deltas(a.gossip, buf_bytes(&a.frames[i].bytes), now(NULL)));
    step(&a);
    assert_false(has(&a, 1, "l"));
    gossip_pause(a.gossip, false);
    assert_true(run_until_equal(&a, &b) < 5000);
    assert_true(has(&a, 1, "l"));
    assert_true(has(&b, 0, "k"));
    stop(&a);
    stop(&b);
}

static void set_silently(struct side *s, uint32_t shard, const char *key) {
    shard_lock(s->shards[shard]);
    shard_set(s->shards[shard], shard_ref(s->shards[shard], bytes_str(key)), bytes_str("v"), false, now(NULL).wall_ms);
    shard_unlock(s->shards[shard]);
}

/* Though it was looked at before, while it was read. */
static void what_a_disk_had_is_told_of(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    set_silently(&a, 2, "k");
    gossip_recovered(a.gossip, (struct bytes){0});
    assert_true(run_until_equal(&a, &b) < 5000);
    assert_true(has(&b, 2, "k"));
    stop(&a);
    stop(&b);
}

/* What was not pushed yet is told by an answer as well. */
static void what_an_answer_tells_is_said_first(void **state) {
    struct side a, b;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    set_silently(&a, 2, "k");
    gossip_changed(a.gossip, 2);
    assert_int_equal(a.tells, 0);
    for (int64_t end = now_ms + 5000; !has(&b, 2, "k") && now_ms < end;) run(&a, &b, 1);
    assert_true(has(&b, 2, "k"));
    assert_true(a.tells > 0);
    stop(&a);
    stop(&b);
}

static struct gossip_mark mark_of(struct side *s, uint32_t shard) {
    shard_lock(s->shards[shard]);
    struct gossip_mark mark = {shard, shard_own(s->shards[shard]), gossip_self(s->gossip).incarnation};
    shard_unlock(s->shards[shard]);
    return mark;
}

/* Whoever waits is answered by the way there and back, not by the next heartbeat. Who left is not counted, nor who never spoke. */
static void who_has_applied_a_write_says_so_when_asked(void **state) {
    struct side a, b, next;
    (void)state;
    start_both(&a, &b);
    run(&a, &b, 3000);
    for (uint32_t i = SHARDS; i > 0; i--) { /* told of the first unasked, it waits before it tells again */
        write_to(&a, i - 1, "k");
        assert_true(run_until_equal(&a, &b) < 10);
        run(&a, &b, 5);
    }
    struct gossip_mark mark = mark_of(&a, 0);
    gossip_ask(a.gossip);
    run(&a, &b, 5);
    assert_int_equal(gossip_count_acked(a.gossip, &mark, 1), 1);
    gossip_leave(b.gossip, now(NULL));
    step(&a);
    assert_int_equal(gossip_count_acked(a.gossip, &mark, 1), 0);
    assert_int_equal(gossip_count_acked(a.gossip, NULL, 0), 0);
    start(&next, &a, 1, "a", "");
    cut = true;
    gossip_table(a.gossip, &a.table);
    stop(&b);
    start(&b, &a, 4, "d", "");
    gossip_table(b.gossip, &b.table);
    gossip_recovered(next.gossip, buf_bytes(&b.table));
    step(&next);
    assert_int_equal(other_of(&next, 4).status, MEMBER_UP);
    assert_int_equal(gossip_count_acked(next.gossip, NULL, 0), 0);
    stop(&a);
    stop(&b);
    stop(&next);
}

/* What one write each of many processes that are no more leaves. */
static void hear_of_starts(struct side *s, uint64_t starts) {
    for (uint64_t i = 0; i < starts * SHARDS; i++) {
        uint16_t index;
        struct wire_writer w;
        struct wire_reader r;
        struct buf message = {0};
        assert_int_equal(replicas_intern(s->replicas, (struct replica_id){100, i / SHARDS + 1}, &index), STATUS_OK);
        wire_init(&w, s->replicas);
        wire_dot(&w, dot_make(index, 1));
        for (int k = 0; k < 3; k++) wire_u64(&w, 0); /* from the first on; no clock; nothing that is still there */
        wire_finish(&w, &message);
        wire_fini(&w);
        assert_int_equal(wire_open(&r, buf_bytes(&message), s->replicas), STATUS_OK);
        shard_lock(s->shards[i % SHARDS]);
        assert_int_equal(shard_read_delta(s->shards[i % SHARDS], &r, now(NULL).wall_ms), STATUS_OK);
        shard_unlock(s->shards[i % SHARDS]);
        wire_close(&r);
        buf_fini(&message);
    }
    for (uint32_t i = 0; i < SHARDS; i++) gossip_changed(s->gossip, i);
}

static uint64_t bytes_of_both(struct side *a, struct side *b) {
    struct gossip_stats ours, theirs;
    gossip_stats(a->gossip, &ours);
    gossip_stats(b->gossip, &theirs);
    return ours.bytes_sent + theirs.bytes_sent;
}

/* However many starts there were: what has not changed is not said again. One that is lost is said when sums differ for long. */
static void digests_say_what_is_new(void **state) {
    (void)state;
    static struct side a, b;
    start_both(&a, &b);
    run(&a, &b, 500);
    hear_of_starts(&a, 10000);
    put(&a, 0, "first", bytes_str("v"));
    assert_true(run_until_equal(&a, &b) < 10000);
    run(&a, &b, 30000);
    assert_false(remembers(&a));
    assert_false(remembers(&b));
    uint64_t before = bytes_of_both(&a, &b);
    for (uint32_t i = 0; i < 100; i++) {
        put(&a, i % SHARDS, "k", bytes_str("v"));
        run(&a, &b, 20);
    }
    assert_true(bytes_of_both(&a, &b) - before < 100000);
    cut = true;
    put(&a, 1, "k", bytes_str("lost"));
    run(&a, &b, 300);
    cut = false;
    assert_true(run_until_equal(&a, &b) < 5000);
    run(&a, &b, 3000);
    assert_false(remembers(&a));
    stop(&a);
    stop(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_lose_what_he_has_is_remembered_for), cmocka_unit_test(who_was_sure_before_is_not_therefore_sure_now),
        cmocka_unit_test(who_left_is_remembered_for_while_more_may_come_of_him),
        cmocka_unit_test(who_was_never_met_may_still_turn_up), cmocka_unit_test(who_was_never_met_is_not_ended),
        cmocka_unit_test(what_others_will_hear_is_said_first),
        cmocka_unit_test(who_was_met_only_in_the_store_is_met), cmocka_unit_test(who_was_never_met_is_given_up_in_time),
        cmocka_unit_test(what_a_short_cut_swallowed_is_found_within_two_heartbeats),
        cmocka_unit_test(peers_that_are_far_away_agree),
        cmocka_unit_test(parts_of_a_message_may_overtake_each_other),
        cmocka_unit_test(large_messages_come_one_after_the_other),
        cmocka_unit_test(who_stops_in_the_midst_of_a_message_keeps_nobody_out),
        cmocka_unit_test(of_two_messages_without_room_for_both_one_arrives),
        cmocka_unit_test(what_still_comes_of_who_left_long_ago_is_dropped),
        cmocka_unit_test(who_moves_in_replaces_who_was_there),
        cmocka_unit_test(nobody_moves_in_by_the_short_cut),
        cmocka_unit_test(who_goes_to_sleep_is_woken),
        cmocka_unit_test(half_of_the_members_give_nobody_up),
        cmocka_unit_test(nobody_is_gone_before_he_is_down),
        cmocka_unit_test(who_is_only_repeated_is_down),
        cmocka_unit_test(a_name_that_led_to_ourselves_is_tried_again),
        cmocka_unit_test(an_answer_to_an_earlier_process_is_no_answer),
        cmocka_unit_test(the_next_process_knows_who_was_before_it),
        cmocka_unit_test(what_the_next_process_of_a_gone_node_brings_back_is_void),
        cmocka_unit_test(who_starts_over_asks_as_if_it_never_had),
        cmocka_unit_test(who_was_answered_may_ask_again),
        cmocka_unit_test(who_was_gone_in_an_earlier_life_stays),
        cmocka_unit_test(who_comes_back_with_a_clock_behind_is_the_later),
        cmocka_unit_test(who_leaves_tells_first_what_it_wrote),
        cmocka_unit_test(who_is_paused_neither_speaks_nor_hears),
        cmocka_unit_test(what_a_disk_had_is_told_of),
        cmocka_unit_test(what_an_answer_tells_is_said_first),
        cmocka_unit_test(who_has_applied_a_write_says_so_when_asked),

        cmocka_unit_test(digests_say_what_is_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
