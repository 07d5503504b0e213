/* Some replicas and what happens between them, step by step: rules that random runs seldom test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lattice/recount.h"
#include "lattice/shard.h"
#include "test/exchange.h"

enum { A, B, C, D, ALL };

struct cast {
    struct replicas *replicas[ALL];
    struct shard *shard[ALL];
};

static void cast_init(struct cast *c, uint64_t log_bytes) {
    for (int i = 0; i < ALL; i++) {
        struct shard_config config = {.log_bytes_max = log_bytes, .replicas = replicas_new()};
        c->replicas[i] = config.replicas;
        assert_int_equal(replicas_intern(config.replicas, (struct replica_id){(uint64_t)i + 1, 7}, &config.self), STATUS_OK);
        c->shard[i] = shard_new(0, &config);
    }
}

static void cast_fini(struct cast *c) {
    for (int i = 0; i < ALL; i++) {
        struct shard_facts facts = {0};
        assert_null(shard_recount(c->shard[i], &facts));
        shard_free(c->shard[i]);
        replicas_free(c->replicas[i]);
    }
}

static struct key_ref ref(const struct cast *c, int at, const char *name) { return shard_ref(c->shard[at], bytes_str(name)); }

static uint64_t applied(struct cast *c, int at, int of) {
    uint16_t index;
    assert_int_equal(replicas_intern(c->replicas[at], (struct replica_id){(uint64_t)of + 1, 7}, &index), STATUS_OK);
    return vclock_get(shard_applied(c->shard[at]), index);
}

/* What `from` has done that `to` lacks, as a delta. */
static void delta(struct cast *c, int from, int to, struct buf *out) {
    struct wire_writer w;
    uint64_t upto;
    wire_init(&w, c->replicas[from]);
    assert_int_equal(shard_write_delta(c->shard[from], &w, applied(c, to, from), &upto), STATUS_OK);
    wire_finish(&w, out);
    wire_fini(&w);
}

static void deliver(struct cast *c, int to, struct buf *message, int64_t now) {
    struct wire_reader r;
    assert_int_equal(wire_open(&r, buf_bytes(message), c->replicas[to]), STATUS_OK);
    assert_int_equal(shard_read_delta(c->shard[to], &r, now), STATUS_OK);
    wire_close(&r);
    buf_fini(message);
}

static void tell(struct cast *c, int from, int to, int64_t now) {
    struct buf message = {0};
    delta(c, from, to, &message);
    deliver(c, to, &message, now);
}

/* B's answer to what A had when it asked. */
static void answer(struct cast *c, int from, const struct shard_summary *asked, struct buf *out) {
    struct wire_writer w;
    struct shard_summary seen;
    exchange_summary(c->replicas[A], asked, c->replicas[from], &seen);
    wire_init(&w, c->replicas[from]);
    assert_int_equal(shard_write_answer(c->shard[from], &w, &seen), STATUS_OK);
    wire_finish(&w, out);
    wire_fini(&w);
    shard_summary_fini(&seen);
}

static void ask_by_cells(struct cast *c, int from, const struct shard_summary *asked) {
    struct buf message = {0};
    struct wire_reader r;
    answer(c, from, asked, &message);
    assert_int_equal(wire_open(&r, buf_bytes(&message), c->replicas[A]), STATUS_OK);
    assert_int_equal(shard_read_answer(c->shard[A], &r, asked, 1000), STATUS_OK);
    assert_int_equal(shard_paths(c->shard[A])->answers_cells, 1);
    wire_close(&r);
    buf_fini(&message);
}

/* As one who has nothing asks, and as an image is read: judged as if the reader had nothing. */
static void take_all(struct cast *c, int from, int to) {
    static const struct shard_summary nothing;
    struct buf message = {0};
    struct wire_writer w;
    struct wire_reader r;
    wire_init(&w, c->replicas[from]);
    assert_int_equal(shard_write_answer(c->shard[from], &w, &nothing), STATUS_OK);
    wire_finish(&w, &message);
    wire_fini(&w);
    assert_int_equal(wire_open(&r, buf_bytes(&message), c->replicas[to]), STATUS_OK);
    assert_int_equal(shard_read_answer(c->shard[to], &r, &nothing, 1000), STATUS_OK);
    wire_close(&r);
    buf_fini(&message);
}

static void forget_dead(struct cast *c, int at) {
    for (int round = 0; round < 4; round++) shard_stable(c->shard[at], shard_applied(c->shard[at]));
}

static enum key_type type_at(struct cast *c, int at, const char *name) {
    struct key *key = shard_find(c->shard[at], ref(c, at, name), 0);
    return key ? key_type(c->shard[at], key) : KEY_NONE;
}

static void of_two_types_the_later_is_seen(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("v"), false, 1000);
    shard_add_member(c.shard[B], ref(&c, B, "k"), bytes_str("m"), 2000);
    shard_set_field(c.shard[B], ref(&c, B, "l"), bytes_str("f"), bytes_str("v"), 3000);
    shard_set(c.shard[A], ref(&c, A, "l"), bytes_str("v"), false, 4000);
    tell(&c, A, B, 5000);
    tell(&c, B, A, 5000);
    for (int i = A; i <= B; i++) {
        assert_int_equal(type_at(&c, i, "k"), KEY_SET);
        assert_int_equal(type_at(&c, i, "l"), KEY_STRING);
    }
    cast_fini(&c);
}

/* Only what writes the whole key removes both. */
static void emptied_by_members_a_key_shows_the_type_behind(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_set_field(c.shard[A], ref(&c, A, "k"), bytes_str("f"), bytes_str("v"), 1000);
    shard_add_member(c.shard[B], ref(&c, B, "k"), bytes_str("m"), 2000);
    tell(&c, A, B, 3000);
    tell(&c, B, C, 3000);
    shard_add_member(c.shard[B], ref(&c, B, "k"), bytes_str("n"), 4000);
    assert_int_equal(type_at(&c, B, "k"), KEY_SET);
    assert_true(shard_remove_field(c.shard[B], ref(&c, B, "k"), KEY_SET, bytes_str("m"), 4000));
    assert_true(shard_remove_field(c.shard[B], ref(&c, B, "k"), KEY_SET, bytes_str("n"), 4000));
    assert_int_equal(type_at(&c, B, "k"), KEY_HASH);
    shard_delete(c.shard[C], ref(&c, C, "k"), 4000);
    assert_int_equal(type_at(&c, C, "k"), KEY_NONE);
    cast_fini(&c);
}

static void hearing_of_a_later_clock_moves_our_own(void **state) {
    (void)state;
    struct cast c;
    struct scratch scratch;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "other"), bytes_str("x"), false, 90000);
    tell(&c, A, B, 1000);
    shard_set(c.shard[B], ref(&c, B, "k"), bytes_str("after"), false, 1000);
    shard_set(c.shard[C], ref(&c, C, "k"), bytes_str("before"), false, 50000);
    tell(&c, C, B, 1000);
    struct key *key = shard_find(c.shard[B], ref(&c, B, "k"), 0);
    assert_true(bytes_equal(key_string(c.shard[B], key, &scratch), bytes_str("after")));
    cast_fini(&c);
}

static void a_clock_that_is_far_ahead_does_not_take_ours_along(void **state) {
    (void)state;
    enum { MINUTE = 60000 };
    struct cast c;
    struct scratch scratch;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "other"), bytes_str("x"), false, INT64_C(100000) * MINUTE);
    tell(&c, A, B, MINUTE);
    shard_set(c.shard[B], ref(&c, B, "k"), bytes_str("before"), false, MINUTE);
    shard_set(c.shard[C], ref(&c, C, "k"), bytes_str("after"), false, 7 * MINUTE);
    tell(&c, C, B, 7 * MINUTE);
    struct key *key = shard_find(c.shard[B], ref(&c, B, "k"), 0);
    assert_true(bytes_equal(key_string(c.shard[B], key, &scratch), bytes_str("after")));
    cast_fini(&c);
}

static void the_last_member_takes_the_expiry_along(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_add_member(c.shard[A], ref(&c, A, "s"), bytes_str("m"), 1000);
    shard_expire(c.shard[A], ref(&c, A, "s"), 9000, 1000);
    tell(&c, A, B, 1000);
    shard_remove_field(c.shard[A], ref(&c, A, "s"), KEY_SET, bytes_str("m"), 1000);
    shard_add_member(c.shard[B], ref(&c, B, "s"), bytes_str("n"), 1000);
    tell(&c, B, A, 1000);
    tell(&c, A, B, 1000);
    for (int i = A; i <= B; i++) {
        struct key *key = shard_find(c.shard[i], ref(&c, i, "s"), 1000);
        assert_non_null(key);
        assert_int_equal(key_expiry(key), EXPIRY_NEVER);
    }
    cast_fini(&c);
}

/* A asks by cells; before B's answer it hears of a write that B had seen come and go. The cell
 * was equal, so the answer does not ship it, and claims it all the same. */
static void what_an_answer_knows_to_be_gone_goes(void **state) {
    (void)state;
    struct cast c;
    struct buf late = {0};
    struct shard_summary asked;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "own"), bytes_str("v"), false, 1000);
    shard_add_member(c.shard[C], ref(&c, C, "s"), bytes_str("m"), 1000);
    delta(&c, C, A, &late);
    tell(&c, C, B, 1000);
    shard_remove_field(c.shard[B], ref(&c, B, "s"), KEY_SET, bytes_str("m"), 1000);
    shard_stable(c.shard[B], shard_applied(c.shard[B])); /* its log is cut */
    shard_summarise(c.shard[A], true, &asked);
    deliver(&c, A, &late, 1000);
    assert_int_equal(type_at(&c, A, "s"), KEY_SET);
    ask_by_cells(&c, B, &asked);
    shard_summary_fini(&asked);
    assert_int_equal(type_at(&c, A, "s"), KEY_NONE);
    cast_fini(&c);
}

/* Whoever joins while others forget may have the increment from one who had not heard of its reset,
 * and hear of the reset from one who has forgotten both. */
static void an_answer_takes_along_what_its_sender_has_forgotten(void **state) {
    (void)state;
    struct cast c;
    struct shard_summary asked;
    cast_init(&c, 1 << 20);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(5), 1000);
    tell(&c, C, A, 1000);
    tell(&c, C, B, 1000);
    shard_delete(c.shard[B], ref(&c, B, "n"), 1000);
    for (int round = 0; round < 3; round++) shard_stable(c.shard[B], shard_applied(c.shard[B]));
    assert_int_equal(shard_paths(c.shard[B])->graves_forgotten, 1);
    shard_summarise(c.shard[A], true, &asked);
    ask_by_cells(&c, B, &asked);
    shard_summary_fini(&asked);
    assert_int_equal(type_at(&c, A, "n"), KEY_NONE);
    assert_int_equal(shard_digest(c.shard[A]), shard_digest(c.shard[B]));
    cast_fini(&c);
}

/* A range may overlap what was applied; its increments, reset and forgotten since, stay so. */
static void what_was_forgotten_stays_forgotten(void **state) {
    (void)state;
    struct cast c;
    struct buf overlaps = {0};
    cast_init(&c, 1 << 20);
    shard_increase(c.shard[A], ref(&c, A, "n"), fixed_from_i64(5), 1000);
    tell(&c, A, B, 1000);
    shard_delete(c.shard[B], ref(&c, B, "n"), 1000);
    for (int round = 0; round < 3; round++) shard_stable(c.shard[B], shard_applied(c.shard[B]));
    assert_int_equal(shard_paths(c.shard[B])->graves_forgotten, 1);
    shard_set(c.shard[A], ref(&c, A, "other"), bytes_str("v"), false, 1000);
    delta(&c, A, C, &overlaps);
    deliver(&c, B, &overlaps, 1000);
    assert_int_equal(type_at(&c, B, "other"), KEY_STRING);
    assert_int_equal(type_at(&c, B, "n"), KEY_NONE);
    cast_fini(&c);
}

/* Of one who is no member any more, and whose last words are still to be read. */
static void a_floor_waits_for_what_it_resets(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_increase(c.shard[A], ref(&c, A, "n"), fixed_from_i64(5), 1000);
    tell(&c, A, C, 1000);
    shard_delete(c.shard[C], ref(&c, C, "n"), 1000);
    tell(&c, C, B, 1000);
    forget_dead(&c, B);
    tell(&c, A, B, 1000);
    assert_int_equal(type_at(&c, B, "n"), KEY_NONE);
    assert_int_equal(shard_paths(c.shard[B])->graves_forgotten, 0);
    forget_dead(&c, B);
    assert_int_equal(shard_paths(c.shard[B])->graves_forgotten, 1);
    cast_fini(&c);
}

/* What B and A show is the same, so their cells are; but B has heard of a reset of what neither has. */
static void an_answer_by_cells_brings_floors_where_all_is_equal(void **state) {
    (void)state;
    struct cast c;
    struct shard_summary asked;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[B], ref(&c, B, "other"), bytes_str("v"), false, 1000);
    tell(&c, B, A, 1000);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(5), 1000);
    tell(&c, C, D, 1000);
    shard_delete(c.shard[D], ref(&c, D, "n"), 1000);
    tell(&c, D, B, 1000);
    forget_dead(&c, B);
    shard_summarise(c.shard[A], true, &asked);
    ask_by_cells(&c, B, &asked);
    shard_summary_fini(&asked);
    tell(&c, C, A, 1000);
    assert_int_equal(type_at(&c, A, "n"), KEY_NONE);
    cast_fini(&c);
}

/* B has forgotten the increment that it saw reset; of the next, which D saw reset, it knows nothing. */
static void an_answer_leaves_floors_that_its_sender_could_not_know(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(5), 1000);
    for (int i = A; i <= D; i++)
        if (i != C) tell(&c, C, i, 1000);
    shard_delete(c.shard[B], ref(&c, B, "n"), 1000);
    forget_dead(&c, B);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(3), 1000);
    tell(&c, C, D, 1000);
    shard_delete(c.shard[D], ref(&c, D, "n"), 1000);
    tell(&c, D, A, 1000);
    take_all(&c, B, A);
    tell(&c, C, A, 1000);
    assert_int_equal(type_at(&c, A, "n"), KEY_NONE);
    cast_fini(&c);
}

/* B has forgotten both increments of C. D knows the floor of the first alone, and tells B of it again; C knows of no reset. */
static void an_old_floor_brings_nothing_back(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(5), 1000);
    tell(&c, C, A, 1000);
    shard_delete(c.shard[A], ref(&c, A, "n"), 1000);
    tell(&c, A, D, 1000);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(3), 1000);
    tell(&c, C, B, 1000);
    tell(&c, A, B, 1000);
    shard_delete(c.shard[B], ref(&c, B, "n"), 1000);
    forget_dead(&c, B);
    assert_int_equal(shard_paths(c.shard[B])->graves_forgotten, 1);
    take_all(&c, D, B);
    take_all(&c, C, B);
    assert_int_equal(type_at(&c, B, "n"), KEY_NONE);
    tell(&c, C, A, 1000);
    assert_int_equal(type_at(&c, A, "n"), KEY_STRING);
    take_all(&c, B, A);
    assert_int_equal(type_at(&c, A, "n"), KEY_NONE);
    cast_fini(&c);
}

/* B has forgotten C's first increment; A holds it still, dead, and has heard of the reset of the second, which neither has. */
static void a_floor_that_is_ahead_comes_with_what_was_forgotten(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(5), 1000);
    for (int i = A; i <= D; i++)
        if (i != C) tell(&c, C, i, 1000);
    shard_delete(c.shard[B], ref(&c, B, "n"), 1000);
    for (int i = A; i <= D; i += D) tell(&c, B, i, 1000);
    forget_dead(&c, B);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(3), 1000);
    tell(&c, C, D, 1000);
    shard_delete(c.shard[D], ref(&c, D, "n"), 1000);
    tell(&c, D, A, 1000);
    take_all(&c, A, B);
    tell(&c, C, B, 1000);
    assert_int_equal(type_at(&c, B, "n"), KEY_NONE);
    assert_int_equal(shard_digest(c.shard[B]), shard_digest(c.shard[D]));
    cast_fini(&c);
}

static void set_many(struct cast *c, int at, int count) {
    char name[16];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "k%d", i);
        shard_set(c->shard[at], ref(c, at, name), bytes_str("v"), false, 1000);
    }
}

/* The expiry of a few keys, often. */
static void put_off(struct cast *c, int at) {
    static const char *const names[] = {"k1", "k2", "k3", "gone"};
    shard_set(c->shard[at], ref(c, at, "gone"), bytes_str("v"), false, 1000);
    shard_expire(c->shard[at], ref(c, at, "gone"), 2000, 1000);
    shard_delete(c->shard[at], ref(c, at, "gone"), 1000);
    for (int i = 0; i < 30000; i++) shard_expire(c->shard[at], ref(c, at, names[i % 3]), 2000 + i / 2, 1000);
}

/* Hints are renewed from the keys of A, and from the hints of B: looking at all its keys each time would take some seconds. */
static void expiries_are_put_off_among_many_keys_as_among_few(void **state) {
    (void)state;
    struct cast c;
    int64_t next;
    cast_init(&c, 1 << 20);
    set_many(&c, A, 10);
    set_many(&c, B, 200000);
    for (int i = A; i <= B; i++) {
        put_off(&c, i);
        assert_int_equal(shard_expire_due(c.shard[i], 16997, 0, SIZE_MAX, &next), 0);
        assert_int_equal(shard_expire_due(c.shard[i], 16998, 0, SIZE_MAX, &next), 1);
        assert_int_equal(next, 16999);
        assert_int_equal(shard_expire_due(c.shard[i], 16999, 0, SIZE_MAX, &next), 2);
        assert_int_equal(next, EXPIRY_NEVER);
    }
    cast_fini(&c);
}

/* While a member is down nobody forgets what it has not heard: the log's limit is all that ends that. */
static void what_flushes_saw_counts_as_log(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    for (int i = 0; i < 20000; i++) shard_flush(c.shard[A], 1000);
    assert_true(shard_paths(c.shard[A])->records_cut > 0);
    assert_true(shard_mem_bytes(c.shard[A]) <= 1 << 20);
    forget_dead(&c, A);
    assert_int_equal(shard_mem_bytes(c.shard[A]), 0);
    cast_fini(&c);
}

enum { LARGE = 50000 }; /* would take seconds if it went by the square */

/* By who has it, and by who has not heard of it yet; and what such a one passes on. */
static void a_large_key_is_removed(void **state) {
    (void)state;
    struct cast c;
    char name[16];
    cast_init(&c, 64 << 20);
    for (int i = 0; i < LARGE; i++) {
        snprintf(name, sizeof name, "%d", i);
        shard_add_member(c.shard[A], ref(&c, A, "k"), bytes_str(name), 1000);
    }
    tell(&c, A, B, 1000);
    shard_delete(c.shard[B], ref(&c, B, "k"), 1000);
    tell(&c, B, A, 1000);
    tell(&c, B, C, 1000);
    take_all(&c, C, D);
    for (int i = A; i < ALL; i++) assert_int_equal(type_at(&c, i, "k"), KEY_NONE);
    tell(&c, A, D, 1000);
    assert_int_equal(type_at(&c, D, "k"), KEY_NONE);
    cast_fini(&c);
}

/* Of which others hear before they hear of what was removed. */
static void many_members_are_removed(void **state) {
    (void)state;
    struct cast c;
    char name[16];
    cast_init(&c, 64 << 20);
    for (int i = 0; i < LARGE / 2; i++) {
        snprintf(name, sizeof name, "%d", i);
        shard_add_member(c.shard[A], ref(&c, A, "k"), bytes_str(name), 1000);
    }
    tell(&c, A, B, 1000);
    for (int i = 0; i < LARGE / 2; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_true(shard_remove_field(c.shard[B], ref(&c, B, "k"), KEY_SET, bytes_str(name), 1000));
    }
    tell(&c, B, C, 1000);
    tell(&c, A, C, 1000);
    assert_int_equal(type_at(&c, C, "k"), KEY_NONE);
    cast_fini(&c);
}

/* As a digest of many shards, in a cluster that has seen many starts. */
static void vectors_of_a_long_past_are_written(void **state) {
    (void)state;
    enum { STARTS = 1000, VECTORS = 1024 };
    struct replicas *replicas = replicas_new(), *others = replicas_new();
    struct vclock v = {0};
    struct wire_writer w;
    struct wire_reader r;
    struct buf bytes = {0};
    for (uint64_t i = 1; i <= STARTS; i++) {
        uint16_t index;
        assert_int_equal(replicas_intern(replicas, (struct replica_id){i % 3, i}, &index), STATUS_OK);
        vclock_raise(&v, index, i);
    }
    wire_init(&w, replicas);
    for (int i = 0; i < VECTORS; i++) wire_vclock(&w, &v);
    wire_finish(&w, &bytes);
    assert_int_equal(wire_open(&r, buf_bytes(&bytes), others), STATUS_OK);
    for (int i = 0; i < VECTORS; i++) {
        struct vclock read = {0};
        wire_read_vclock(&r, &read);
        assert_true(vclock_covers(&read, &v) && vclock_covers(&v, &read));
        vclock_fini(&read);
    }
    assert_true(!r.bad && r.at == r.end);
    wire_close(&r);
    wire_fini(&w);
    buf_fini(&bytes);
    vclock_fini(&v);
    replicas_free(others);
    replicas_free(replicas);
}

/* What B could write if it lied; A has made one mutation. */
enum lie { TRUTH, OF_ITSELF, BEYOND_ITS_END, REMOVES_OUR_NEXT, FLUSHES_OUR_NEXT, SHORT_EXPIRY, BEGINS_AFTER_ITS_END, LIES };

static void write_lie(struct wire_writer *w, enum lie lie, uint16_t ours, uint16_t theirs) {
    enum { FLUSH, KEY, INCREMENT = 3, EXPIRY, NAMED = 1, LIVE = 2, REMOVED = 4, INCREMENTS = 8 };
    struct context seen = {0};
    wire_dot(w, dot_make(lie == OF_ITSELF ? ours : theirs, 2));
    wire_u64(w, 0);
    wire_u64(w, 0); /* clock */
    wire_u64(w, lie == BEYOND_ITS_END ? 3 : 1);
    if (lie == FLUSHES_OUR_NEXT) {
        wire_u64(w, FLUSH);
        wire_u64(w, 0);
        context_apply(&seen, ours, 2);
        wire_context(w, &seen);
        context_fini(&seen);
    } else if (lie == REMOVES_OUR_NEXT) {
        wire_u64(w, KEY);
        wire_u64(w, REMOVED);
        wire_u64(w, 1); /* hash */
        wire_u64(w, 1);
        wire_dot(w, dot_make(ours, 2));
    } else if (lie == SHORT_EXPIRY) {
        wire_u64(w, EXPIRY);
        wire_u64(w, NAMED | LIVE);
        wire_bytes(w, bytes_str("k"));
        wire_u64(w, 0);
        wire_bytes(w, bytes_str("1234567"));
    } else if (lie == BEGINS_AFTER_ITS_END) {
        wire_u64(w, INCREMENT);
        wire_u64(w, NAMED | INCREMENTS);
        wire_bytes(w, bytes_str("k"));
        wire_u64(w, 1);
        wire_dot(w, dot_make(theirs, 1));
        wire_u64(w, 2); /* gen */
        wire_u64(w, 0);
        wire_fixed(w, 0);
        wire_u64(w, 0);
        wire_fixed(w, 0);
    } else {
        wire_u64(w, KEY);
        wire_u64(w, 0);
        wire_u64(w, 1);
    }
    wire_u64(w, 0);
}

static uint16_t index_of(struct cast *c, int at, int of) {
    uint16_t index;
    assert_int_equal(replicas_intern(c->replicas[at], (struct replica_id){(uint64_t)of + 1, 7}, &index), STATUS_OK);
    return index;
}

static void what_no_honest_replica_says_is_refused(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "own"), bytes_str("v"), false, 1000);
    uint64_t digest = shard_digest(c.shard[A]);
    for (int lie = LIES - 1; lie >= TRUTH; lie--) {
        struct wire_writer w;
        struct wire_reader r;
        struct buf message = {0};
        wire_init(&w, c.replicas[B]);
        write_lie(&w, (enum lie)lie, index_of(&c, B, A), index_of(&c, B, B));
        wire_finish(&w, &message);
        wire_fini(&w);
        assert_int_equal(wire_open(&r, buf_bytes(&message), c.replicas[A]), STATUS_OK);
        assert_int_equal(shard_read_delta(c.shard[A], &r, 1000), lie == TRUTH ? STATUS_OK : STATUS_ERR_MALFORMED);
        assert_int_equal(applied(&c, A, A), 1);
        assert_int_equal(applied(&c, A, B), lie == TRUTH ? 2 : 0);
        assert_int_equal(shard_digest(c.shard[A]), digest);
        wire_close(&r);
        buf_fini(&message);
    }
    cast_fini(&c);
}

/* It would make our next write read as seen and removed. */
static void an_answer_that_knows_our_next_write_is_refused(void **state) {
    (void)state;
    struct cast c;
    struct context context = {0};
    struct shard_summary asked;
    struct wire_writer w;
    struct wire_reader r;
    struct buf message = {0};
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "own"), bytes_str("v"), false, 1000);
    context_apply(&context, index_of(&c, B, A), 2);
    wire_init(&w, c.replicas[B]);
    wire_u64(&w, 2); /* all */
    wire_context(&w, &context);
    for (int i = 0; i < 3; i++) wire_u64(&w, 0); /* clock, records, elements */
    wire_finish(&w, &message);
    wire_fini(&w);
    context_fini(&context);
    shard_summarise(c.shard[A], false, &asked);
    assert_int_equal(wire_open(&r, buf_bytes(&message), c.replicas[A]), STATUS_OK);
    assert_int_equal(shard_read_answer(c.shard[A], &r, &asked, 1000), STATUS_ERR_MALFORMED);
    assert_int_equal(type_at(&c, A, "own"), KEY_STRING);
    assert_int_equal(applied(&c, A, A), 1);
    wire_close(&r);
    shard_summary_fini(&asked);
    buf_fini(&message);
    cast_fini(&c);
}

static void has_text(struct cast *c, int at, const char *name, const char *text) {
    struct scratch scratch;
    struct key *key = shard_find(c->shard[at], ref(c, at, name), 0);
    assert_non_null(key);
    assert_true(bytes_equal(key_string(c->shard[at], key, &scratch), bytes_str(text)));
}

/* Not by the order in which types are looked at. */
static void of_two_types_of_one_moment_all_see_the_same(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("v"), false, 1000);
    shard_add_member(c.shard[B], ref(&c, B, "k"), bytes_str("m"), 1000);
    shard_add_member(c.shard[C], ref(&c, C, "l"), bytes_str("m"), 1000);
    shard_set(c.shard[D], ref(&c, D, "l"), bytes_str("v"), false, 1000);
    for (int from = A; from < ALL; from++)
        for (int to = A; to < ALL; to++)
            if (from != to) tell(&c, from, to, 1000);
    for (int i = A; i < ALL; i++) {
        assert_int_equal(type_at(&c, i, "k"), KEY_SET);
        assert_int_equal(type_at(&c, i, "l"), KEY_STRING);
    }
    cast_fini(&c);
}

static void the_last_member_leaves_a_string_behind_it(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("v"), false, 1000);
    shard_add_member(c.shard[B], ref(&c, B, "k"), bytes_str("m"), 2000);
    tell(&c, B, A, 3000);
    assert_true(shard_remove_field(c.shard[A], ref(&c, A, "k"), KEY_SET, bytes_str("m"), 3000));
    assert_int_equal(type_at(&c, A, "k"), KEY_STRING);
    cast_fini(&c);
}

static void a_set_that_keeps_the_expiry_keeps_that_of_another_type(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_add_member(c.shard[A], ref(&c, A, "k"), bytes_str("m"), 1000);
    shard_expire(c.shard[A], ref(&c, A, "k"), 9000, 1000);
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("v"), true, 1000);
    assert_int_equal(type_at(&c, A, "k"), KEY_STRING);
    assert_int_equal(key_expiry(shard_find(c.shard[A], ref(&c, A, "k"), 1000)), 9000);
    cast_fini(&c);
}

/* Whoever looks with a clock that is behind must not see it. */
static void what_is_expired_is_removed_by_the_next_write(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    for (int i = A; i <= B; i++) {
        shard_set(c.shard[i], ref(&c, i, "k"), bytes_str("5"), false, 1000);
        shard_expire(c.shard[i], ref(&c, i, "k"), 2000, 1000);
    }
    assert_false(shard_delete(c.shard[A], ref(&c, A, "k"), 3000));
    assert_int_equal(type_at(&c, A, "k"), KEY_NONE);
    shard_increase(c.shard[B], ref(&c, B, "k"), fixed_from_i64(1), 3000);
    has_text(&c, B, "k", "1");
    assert_int_equal(key_expiry(shard_find(c.shard[B], ref(&c, B, "k"), 3000)), EXPIRY_NEVER);
    cast_fini(&c);
}

/* The increment of C that D saw reset is still to come to B, which writes the key meanwhile. */
static void a_reset_leaves_floors_that_are_ahead(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_increase(c.shard[C], ref(&c, C, "n"), fixed_from_i64(5), 1000);
    tell(&c, C, D, 1000);
    shard_delete(c.shard[D], ref(&c, D, "n"), 1000);
    tell(&c, D, B, 1000);
    shard_set(c.shard[B], ref(&c, B, "n"), bytes_str("1"), false, 2000);
    tell(&c, C, B, 2000);
    has_text(&c, B, "n", "1");
    cast_fini(&c);
}

/* Commands on several keys give all their shards one clock, for as long as they hold them. */
static void a_clock_is_held_until_the_lock_is_given_back(void **state) {
    (void)state;
    struct cast c;
    cast_init(&c, 1 << 20);
    shard_lock(c.shard[A]);
    shard_write_at(c.shard[A], shard_tick(c.shard[A], 1000));
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("1"), false, 1000);
    shard_unlock(c.shard[A]);
    shard_lock(c.shard[A]);
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("later"), false, 5000);
    shard_unlock(c.shard[A]);
    shard_set(c.shard[C], ref(&c, C, "k"), bytes_str("before"), false, 3000);
    tell(&c, C, A, 5000);
    has_text(&c, A, "k", "later");
    cast_fini(&c);
}

/* What it wrote as another lives on with the others, and what it writes now is later. */
static void who_starts_over_does_not_put_its_clock_back(void **state) {
    (void)state;
    struct cast c;
    uint16_t again;
    cast_init(&c, 1 << 20);
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("1"), false, 90000);
    assert_int_equal(replicas_intern(c.replicas[A], (struct replica_id){1, 8}, &again), STATUS_OK);
    shard_reset(c.shard[A], again);
    shard_set(c.shard[A], ref(&c, A, "k"), bytes_str("later"), false, 1000);
    shard_set(c.shard[C], ref(&c, C, "k"), bytes_str("before"), false, 50000);
    tell(&c, C, A, 1000);
    has_text(&c, A, "k", "later");
    cast_fini(&c);
}

/* Even where all have applied it, and with those that started over: a log on the disk or in a store lacks it. */
static void what_is_not_written_is_not_forgotten(void **state) {
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct cast c;
        uint16_t again;
        struct buf message = {0};
        struct wire_writer w;
        struct wire_reader r;
        uint64_t upto;
        cast_init(&c, 1 << 20);
        shard_hold(c.shard[A], HOLDER_DISK, 9);
        shard_hold(c.shard[A], HOLDER_STORE, 0);
        assert_int_equal(replicas_intern(c.replicas[A], (struct replica_id){1, 8}, &again), STATUS_OK);
        if (over) shard_reset(c.shard[A], again);
        if (over) shard_hold(c.shard[A], HOLDER_DISK, 9);
        shard_increase(c.shard[A], ref(&c, A, "n"), fixed_from_i64(5), 1000);
        shard_delete(c.shard[A], ref(&c, A, "n"), 1000);
        forget_dead(&c, A);
        assert_int_equal(shard_paths(c.shard[A])->graves_forgotten, 0);
        wire_init(&w, c.replicas[A]);
        assert_int_equal(shard_write_delta(c.shard[A], &w, 0, &upto), STATUS_OK);
        wire_finish(&w, &message);
        wire_fini(&w);
        assert_int_equal(wire_open(&r, buf_bytes(&message), c.replicas[B]), STATUS_OK);
        assert_int_equal(shard_read_delta(c.shard[B], &r, 1000), STATUS_OK);
        wire_close(&r);
        buf_fini(&message);
        shard_hold(c.shard[A], HOLDER_STORE, upto);
        forget_dead(&c, A);
        assert_int_equal(shard_paths(c.shard[A])->graves_forgotten, 1);
        cast_fini(&c);
    }
}

/* Two members are removed in two places, and one of these says PERSIST: nobody may ever write to that key again. */
static void an_expiry_left_over_is_removed_in_time(void **state) {
    (void)state;
    struct cast c;
    int64_t next;
    cast_init(&c, 1 << 20);
    shard_add_member(c.shard[A], ref(&c, A, "k"), bytes_str("m"), 1000);
    shard_add_member(c.shard[A], ref(&c, A, "k"), bytes_str("n"), 1000);
    for (int i = B; i <= D; i++) tell(&c, A, i, 1000);
    shard_remove_field(c.shard[B], ref(&c, B, "k"), KEY_SET, bytes_str("m"), 1000);
    shard_expire(c.shard[C], ref(&c, C, "k"), EXPIRY_NEVER, 1000);
    shard_remove_field(c.shard[C], ref(&c, C, "k"), KEY_SET, bytes_str("n"), 1000);
    tell(&c, C, D, 1000);
    assert_int_equal(type_at(&c, D, "k"), KEY_SET);
    tell(&c, B, D, 1000);
    assert_int_equal(type_at(&c, D, "k"), KEY_NONE);
    assert_int_equal(shard_expire_due(c.shard[D], 9000, 0, SIZE_MAX, &next), 1);
    cast_fini(&c);
}

static void counters_of_several_saturate_together(void **state) {
    (void)state;
    __int128 most = (__int128)(((unsigned __int128)1 << 127) - 1);
    for (int sign = -1; sign <= 1; sign += 2) {
        struct cast c;
        struct scratch one, two;
        cast_init(&c, 1 << 20);
        for (int i = A; i <= C; i++) shard_increase(c.shard[i], ref(&c, i, "n"), sign * most, 1000);
        tell(&c, B, A, 1000);
        struct bytes alone = key_string(c.shard[C], shard_find(c.shard[C], ref(&c, C, "n"), 1000), &one);
        struct bytes together = key_string(c.shard[A], shard_find(c.shard[A], ref(&c, A, "n"), 1000), &two);
        assert_true(bytes_equal(alone, together));
        cast_fini(&c);
    }
}

/* One by one by somebody whose order is another, and whose word comes first. */
static void many_members_are_written_again(void **state) {
    (void)state;
    enum { MEMBERS = 1 << 16 };
    struct cast c;
    char name[16];
    cast_init(&c, 64 << 20);
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof name, "%u", i);
        shard_add_member(c.shard[A], ref(&c, A, "k"), bytes_str(name), 1000);
    }
    tell(&c, A, B, 1000);
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof name, "%u", i * 7919u % MEMBERS);
        shard_add_member(c.shard[B], ref(&c, B, "k"), bytes_str(name), 1000);
    }
    tell(&c, B, C, 1000);
    for (unsigned i = 0; i < 10000; i++) shard_set(c.shard[C], ref(&c, C, "meanwhile"), bytes_str("v"), false, 1000);
    tell(&c, A, C, 1000);
    assert_int_equal(key_field_count(shard_find(c.shard[C], ref(&c, C, "k"), 1000), KEY_SET), MEMBERS);
    cast_fini(&c);
}

/* Each command asks which of the two is seen. */
static void of_two_large_types_the_later_is_seen(void **state) {
    (void)state;
    enum { MEMBERS = 100000, WRITES = 20000 };
    struct cast c;
    char name[16];
    cast_init(&c, 64 << 20);
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof name, "%d", i);
        shard_add_member(c.shard[A], ref(&c, A, "k"), bytes_str(name), 1000);
        shard_set_field(c.shard[B], ref(&c, B, "k"), bytes_str(name), bytes_str("v"), 2000);
    }
    tell(&c, A, B, 2000);
    tell(&c, B, A, 2000);
    for (int i = 0; i < WRITES; i++) {
        assert_int_equal(type_at(&c, A, "k"), KEY_HASH);
        snprintf(name, sizeof name, "%d", i);
        if (i % 2) shard_set_field(c.shard[A], ref(&c, A, "k"), bytes_str(name), bytes_str("w"), 2000);
        else assert_true(shard_remove_field(c.shard[A], ref(&c, A, "k"), KEY_HASH, bytes_str(name), 2000));
    }
    tell(&c, A, B, 2000);
    assert_int_equal(type_at(&c, B, "k"), KEY_HASH);
    shard_add_member(c.shard[B], ref(&c, B, "k"), bytes_str("late"), 3000);
    assert_int_equal(type_at(&c, B, "k"), KEY_SET);
    tell(&c, B, A, 3000);
    assert_int_equal(type_at(&c, A, "k"), KEY_SET);
    assert_true(shard_remove_field(c.shard[A], ref(&c, A, "k"), KEY_SET, bytes_str("late"), 3000));
    assert_int_equal(type_at(&c, A, "k"), KEY_HASH);
    cast_fini(&c);
}

/* As nodes learn of each other: not in one order. */
static void replicas_are_known_again_in_any_order(void **state) {
    (void)state;
    enum { STARTS = 60000 };
    struct replicas *replicas = replicas_new();
    uint16_t index;
    for (int round = 0; round < 3; round++)
        for (uint64_t i = 0; i < STARTS; i++) {
            uint64_t start = round ? i * 7919 % STARTS : i;
            assert_int_equal(replicas_intern(replicas, (struct replica_id){start % 7, start + 1}, &index), STATUS_OK);
            assert_int_equal(index, start + 1);
        }
    for (uint64_t i = STARTS + 1; i <= REPLICAS_MAX; i++)
        assert_int_equal(replicas_intern(replicas, (struct replica_id){9, i}, &index), STATUS_OK);
    assert_int_equal(replicas_intern(replicas, (struct replica_id){9, 1}, &index), STATUS_ERR_LIMIT);
    assert_int_equal(replicas_intern(replicas, (struct replica_id){3, 4}, &index), STATUS_OK);
    assert_int_equal(index, 4);
    replicas_free(replicas);
}

/* As a node that is new in a cluster of many starts hears of it, in an order that is not its own. */
static void a_counter_of_many_replicas_is_heard(void **state) {
    (void)state;
    enum { STARTS = 40000, SCOPE_ALL = 2, STRING = 2, NAMED = 1 };
    static const struct shard_summary nothing;
    struct cast c;
    struct replicas *others = replicas_new();
    struct context context = {0};
    struct wire_writer w;
    struct wire_reader r;
    struct buf message = {0};
    struct scratch scratch;
    uint16_t index;
    cast_init(&c, 1 << 20);
    for (uint64_t i = 1; i <= STARTS; i++) {
        assert_int_equal(replicas_intern(others, (struct replica_id){100, i}, &index), STATUS_OK);
        context_apply(&context, index, 1);
    }
    for (uint64_t i = 0; i < STARTS; i++) {
        struct replica_id id = {100, i * 7919 % STARTS + 1};
        assert_int_equal(replicas_intern(c.replicas[A], id, &index), STATUS_OK);
    }
    wire_init(&w, others);
    wire_u64(&w, SCOPE_ALL);
    wire_context(&w, &context);
    wire_u64(&w, 1000 << 16);
    wire_u64(&w, 0);
    wire_u64(&w, STRING);
    wire_u64(&w, NAMED);
    wire_bytes(&w, bytes_str("n"));
    wire_u64(&w, 0);
    wire_u64(&w, STARTS);
    for (uint64_t i = 1; i <= STARTS; i++) {
        wire_dot(&w, dot_make((uint16_t)i, 1));
        wire_u64(&w, 1);
        wire_u64(&w, 1000 << 16);
        wire_fixed(&w, fixed_from_i64(1));
        wire_u64(&w, 0);
        wire_fixed(&w, 0);
    }
    wire_u64(&w, 0);
    wire_finish(&w, &message);
    assert_int_equal(wire_open(&r, buf_bytes(&message), c.replicas[A]), STATUS_OK);
    assert_int_equal(shard_read_answer(c.shard[A], &r, &nothing, 1000), STATUS_OK);
    struct key *key = shard_find(c.shard[A], ref(&c, A, "n"), 1000);
    assert_non_null(key);
    assert_true(bytes_equal(key_string(c.shard[A], key, &scratch), bytes_str("40000")));
    wire_close(&r);
    wire_fini(&w);
    buf_fini(&message);
    context_fini(&context);
    replicas_free(others);
    cast_fini(&c);
}

/* What is reset is said once in a delta, however often its key was removed. */
static void a_large_key_is_removed_and_filled_again_and_again(void **state) {
    (void)state;
    enum { FIELDS = 3000, TIMES = 3000 };
    struct cast c;
    struct scratch scratch;
    struct buf message = {0};
    char name[16];
    cast_init(&c, 64 << 20);
    for (int i = 0; i < FIELDS; i++) {
        snprintf(name, sizeof name, "%d", i);
        shard_increase_field(c.shard[A], ref(&c, A, "k"), bytes_str(name), fixed_from_i64(1), 1000);
    }
    tell(&c, A, B, 1000);
    shard_increase_field(c.shard[B], ref(&c, B, "k"), bytes_str("7"), fixed_from_i64(5), 1000);
    for (int i = 0; i < TIMES; i++) {
        assert_true(shard_delete(c.shard[A], ref(&c, A, "k"), 1000));
        shard_increase_field(c.shard[A], ref(&c, A, "k"), bytes_str("f"), fixed_from_i64(2), 1000);
        shard_set_field(c.shard[A], ref(&c, A, "k"), bytes_str("g"), bytes_str("v"), 1000);
    }
    delta(&c, A, B, &message);
    assert_true(message.len < FIELDS * 128);
    deliver(&c, B, &message, 1000);
    tell(&c, B, A, 1000);
    for (int i = A; i <= B; i++) {
        struct key *key = shard_find(c.shard[i], ref(&c, i, "k"), 1000);
        assert_int_equal(key_field_count(key, KEY_HASH), 3);
        assert_true(bytes_equal(field_value(c.shard[i], key_field(c.shard[i], key, KEY_HASH, bytes_str("f")), &scratch), bytes_str("2")));
        assert_true(bytes_equal(field_value(c.shard[i], key_field(c.shard[i], key, KEY_HASH, bytes_str("7")), &scratch), bytes_str("5")));
    }
    cast_fini(&c);
}

/* While a member is down they are kept. */
static void dead_counters_are_not_touched_again(void **state) {
    (void)state;
    enum { FIELDS = 4000, TIMES = 3000 };
    struct cast c;
    struct shard_facts facts = {0};
    char name[16];
    cast_init(&c, 64 << 20);
    for (int i = 0; i < FIELDS; i++) {
        snprintf(name, sizeof name, "%d", i);
        shard_increase_field(c.shard[A], ref(&c, A, "k"), bytes_str(name), fixed_from_i64(1), 1000);
    }
    for (int i = 0; i < TIMES; i++) {
        assert_true(shard_delete(c.shard[A], ref(&c, A, "k"), 1000));
        shard_set_field(c.shard[A], ref(&c, A, "k"), bytes_str("f"), bytes_str("v"), 1000);
    }
    tell(&c, A, B, 1000);
    assert_null(shard_recount(c.shard[A], &facts));
    assert_int_equal(facts.dead_increments, FIELDS);
    forget_dead(&c, A);
    facts = (struct shard_facts){0};
    assert_null(shard_recount(c.shard[A], &facts));
    assert_int_equal(facts.dead_increments, 0);
    assert_int_equal(key_field_count(shard_find(c.shard[B], ref(&c, B, "k"), 1000), KEY_HASH), 1);
    cast_fini(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_two_types_the_later_is_seen),
        cmocka_unit_test(emptied_by_members_a_key_shows_the_type_behind),
        cmocka_unit_test(hearing_of_a_later_clock_moves_our_own),
        cmocka_unit_test(a_clock_that_is_far_ahead_does_not_take_ours_along),
        cmocka_unit_test(the_last_member_takes_the_expiry_along),
        cmocka_unit_test(what_an_answer_knows_to_be_gone_goes),
        cmocka_unit_test(what_was_forgotten_stays_forgotten),
        cmocka_unit_test(a_floor_that_is_ahead_comes_with_what_was_forgotten),
        cmocka_unit_test(an_answer_takes_along_what_its_sender_has_forgotten),
        cmocka_unit_test(a_floor_waits_for_what_it_resets),
        cmocka_unit_test(an_answer_by_cells_brings_floors_where_all_is_equal),
        cmocka_unit_test(an_answer_leaves_floors_that_its_sender_could_not_know),
        cmocka_unit_test(an_old_floor_brings_nothing_back),
        cmocka_unit_test(expiries_are_put_off_among_many_keys_as_among_few),
        cmocka_unit_test(what_flushes_saw_counts_as_log),
        cmocka_unit_test(a_large_key_is_removed),
        cmocka_unit_test(many_members_are_removed),
        cmocka_unit_test(vectors_of_a_long_past_are_written),
        cmocka_unit_test(what_no_honest_replica_says_is_refused),
        cmocka_unit_test(an_answer_that_knows_our_next_write_is_refused),
        cmocka_unit_test(an_expiry_left_over_is_removed_in_time),
        cmocka_unit_test(counters_of_several_saturate_together),
        cmocka_unit_test(of_two_types_of_one_moment_all_see_the_same),
        cmocka_unit_test(the_last_member_leaves_a_string_behind_it),
        cmocka_unit_test(a_set_that_keeps_the_expiry_keeps_that_of_another_type),
        cmocka_unit_test(what_is_expired_is_removed_by_the_next_write),
        cmocka_unit_test(a_reset_leaves_floors_that_are_ahead),
        cmocka_unit_test(a_clock_is_held_until_the_lock_is_given_back),
        cmocka_unit_test(who_starts_over_does_not_put_its_clock_back),
        cmocka_unit_test(what_is_not_written_is_not_forgotten),
        cmocka_unit_test(many_members_are_written_again),
        cmocka_unit_test(of_two_large_types_the_later_is_seen),
        cmocka_unit_test(replicas_are_known_again_in_any_order),
        cmocka_unit_test(a_counter_of_many_replicas_is_heard),
        cmocka_unit_test(a_large_key_is_removed_and_filled_again_and_again),
        cmocka_unit_test(dead_counters_are_not_touched_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
