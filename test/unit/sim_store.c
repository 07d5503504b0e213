/* The simulation's object store under its faults. What it must do without them is in persist_store.c.
 *
 * Random clients write to a few keys while a model keeps what each may hold. It knows no instants, only what overlapped: a write
 * that was in flight at any time of another request may have come before or after it, and one of unknown fate is in flight for
 * ever. So what the model allows is never too little, and with no write in flight it is one value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/rng.h"
#include "sim/store.h"

enum { CLIENTS = 3, KEYS = 6, ONCE = 3, VALUES = 63, IN_FLIGHT = 6 };
enum { STEPS = 600, BURST = 50, RATE = BUCKET_RATE_ALL * 3 / 10, DEADLINE_MS = 2000 };

#define ABSENT UINT64_C(1) /* the value 0 is no object */
#define BIT(value) (UINT64_C(1) << (value))

/* A value is a number; its object has that many times seven bytes of it. Keys from ONCE on are names that matter: created only. */
struct key {
    uint64_t may;            /* values, if no write in flight changes it */
    uint64_t unknown;        /* of writes whose fate is unknown, or of a client that is gone */
    unsigned values, fixed;  /* given out; ONCE: what was seen to be there, and stays */
    unsigned created;        /* CREATEs that were DONE */
};

struct asked {
    struct store_request request;
    bool flying;
    unsigned key, value;
    uint64_t saw[KEYS];  /* may, when it was submitted, and all writes in flight since */
    uint64_t overlap;    /* the latter alone, of its key but its own */
    bool alone[KEYS];    /* no write was in flight since */
    unsigned fixed[KEYS];
    uint8_t body[VALUES * 7];
};

struct scene {
    struct rng rng;
    struct bucket_sim *bucket;
    struct store store[CLIENTS];
    unsigned readies[CLIENTS];
    struct asked asked[CLIENTS][IN_FLIGHT];
    struct key keys[KEYS];
    struct store_settings settings;
    int64_t now_us;
    uint64_t trace; /* of all answers */
};

static const char *const names[KEYS] = {"a-", "a/b", "a0", "once/x", "once/y", "z"};

static void ready(void *arg) { (*(unsigned *)arg)++; }

static void open_client(struct scene *s, int client) {
    struct store_settings settings = s->settings;
    settings.ready = ready;
    settings.ready_arg = &s->readies[client];
    s->store[client] = store_sim_open(s->bucket, &settings);
}

static void scene_init(struct scene *s, uint64_t seed, const struct bucket_faults *faults) {
    *s = (struct scene){.settings = STORE_SETTINGS_DEFAULT, .bucket = bucket_sim_new(seed)};
    s->settings.requests_max = IN_FLIGHT;
    s->settings.deadline_ms = DEADLINE_MS;
    rng_seed(&s->rng, ~seed);
    for (int i = 0; i < CLIENTS; i++) open_client(s, i);
    for (int i = 0; i < KEYS; i++) s->keys[i].may = ABSENT;
    bucket_sim_faults(s->bucket, faults);
}

static void scene_fini(struct scene *s) {
    for (int i = 0; i < CLIENTS; i++) store_close(&s->store[i]);
    for (int i = 0; i < CLIENTS; i++)
        for (int j = 0; j < IN_FLIGHT; j++) store_request_fini(&s->asked[i][j].request);
    bucket_sim_free(s->bucket);
}

static bool next(struct scene *s) {
    int64_t next_us = bucket_sim_next_us(s->bucket);
    if (next_us == INT64_MAX) return false;
    s->now_us = next_us;
    bucket_sim_now(s->bucket, next_us);
    return true;
}

/* ---------------------------------------------------------------- the model */

static bool is_write(const struct asked *a) {
    return a->flying && (a->request.op == STORE_PUT || a->request.op == STORE_CREATE || a->request.op == STORE_DELETE);
}

static uint64_t writes_in_flight(const struct scene *s, unsigned key, const struct asked *but) {
    uint64_t values = s->keys[key].unknown;
    for (int i = 0; i < CLIENTS; i++)
        for (int j = 0; j < IN_FLIGHT; j++) {
            const struct asked *a = &s->asked[i][j];
            if (a != but && is_write(a) && a->key == key) values |= BIT(a->value);
        }
    return values;
}

/* A write begins: all that is in flight overlaps it. */
static void tell_others(struct scene *s, const struct asked *of) {
    for (int i = 0; i < CLIENTS; i++)
        for (int j = 0; j < IN_FLIGHT; j++) {
            struct asked *a = &s->asked[i][j];
            if (!a->flying || a == of) continue;
            a->saw[of->key] |= BIT(of->value);
            a->alone[of->key] = false;
            if (a->key == of->key) a->overlap |= BIT(of->value);
        }
}

static void begin(struct scene *s, struct asked *a) {
    a->flying = true;
    for (unsigned k = 0; k < KEYS; k++) {
        uint64_t writes = writes_in_flight(s, k, a);
        a->saw[k] = s->keys[k].may | writes;
        a->alone[k] = writes == 0;
        a->fixed[k] = s->keys[k].fixed;
    }
    a->overlap = writes_in_flight(s, a->key, a);
    if (is_write(a)) tell_others(s, a);
}

static void end_write(struct key *k, const struct asked *a) {
    const struct store_request *r = &a->request;
    bool create = r->op == STORE_CREATE;
    if (r->result == STORE_DONE) {
        assert_false(r->unsure);
        if (create) assert_true((a->saw[a->key] | a->overlap) & ABSENT);
        if (create) k->created++;
        k->may = BIT(a->value) | a->overlap;
    } else if (r->result == STORE_EXISTS) {
        assert_true(create);
        k->may |= a->overlap | (r->unsure ? BIT(a->value) : 0);
        if (!(a->overlap & ABSENT)) k->may &= ~ABSENT;
        assert_true(k->may != 0);
    } else {
        assert_true(r->result == STORE_TRANSIENT || r->result == STORE_REFUSED);
        if (r->unsure) k->unknown |= BIT(a->value);
    }
}

static void seen(struct scene *s, const struct asked *a, unsigned key, unsigned value) {
    struct key *k = &s->keys[key];
    assert_true(a->saw[key] & BIT(value));
    if (a->alone[key]) k->may = BIT(value);
    if (key < ONCE) return;
    if (a->fixed[key]) assert_int_equal(value, a->fixed[key]);
    if (value) k->fixed = value;
}

static void seen_size(struct scene *s, const struct asked *a, unsigned key, uint64_t size) {
    assert_true(size % 7 == 0 && size / 7 <= VALUES);
    seen(s, a, key, (unsigned)(size / 7));
}

static void seen_list(struct scene *s, const struct asked *a) {
    const struct store_request *r = &a->request;
    size_t at = 0;
    for (unsigned key = 0; key < KEYS; key++) { /* names are in order */
        bool there = at < r->count && bytes_equal(r->entries[at].key, bytes_str(names[key]));
        seen_size(s, a, key, there ? r->entries[at].size : 0);
        at += there;
    }
    assert_int_equal(at, r->count);
    assert_false(r->more);
}

static void end_read(struct scene *s, const struct asked *a) {
    const struct store_request *r = &a->request;
    assert_false(r->unsure);
    if (r->result == STORE_TRANSIENT || r->result == STORE_REFUSED) return;
    if (r->result == STORE_MISSING) return seen(s, a, a->key, 0);
    assert_int_equal(r->result, STORE_DONE);
    if (r->op == STORE_LIST) return seen_list(s, a);
    if (r->op == STORE_GET)
        for (size_t i = 0; i < r->data.len; i++) assert_int_equal(r->data.data[i] * 7, r->data.len);
    seen_size(s, a, a->key, r->op == STORE_GET ? r->data.len : r->size);
}

/* -------------------------------------------------------------- the clients */

static struct asked *free_place(struct scene *s, int client) {
    for (int i = 0; i < IN_FLIGHT; i++)
        if (!s->asked[client][i].flying) return &s->asked[client][i];
    return NULL;
}

/* No content twice, and none other after an unsure PUT; names that matter are created only. */
static enum store_op allowed(struct scene *s, unsigned key, enum store_op op) {
    const struct key *k = &s->keys[key];
    bool writes = op == STORE_PUT || op == STORE_CREATE;
    if (key >= ONCE && (op == STORE_PUT || op == STORE_DELETE)) return STORE_CREATE;
    if (key < ONCE && op == STORE_PUT && k->unknown) return STORE_HEAD;
    return writes && k->values == VALUES ? STORE_GET : op;
}

static void ask(struct scene *s, int client) {
    struct asked *a = free_place(s, client);
    if (!a) {
        struct store_request one_more = {.op = STORE_HEAD, .key = bytes_str("z")};
        assert_int_equal(store_submit(&s->store[client], &one_more), STATUS_ERR_BUSY);
        return;
    }
    unsigned key = (unsigned)rng_below(&s->rng, KEYS);
    enum store_op op = allowed(s, key, (enum store_op)rng_below(&s->rng, STORE_LIST + 1));
    bool content = op == STORE_PUT || op == STORE_CREATE;
    a->key = key;
    a->value = content ? ++s->keys[key].values : 0;
    if (content) memset(a->body, (int)a->value, a->value * 7);
    a->request = (struct store_request){.op = op, .key = bytes_str(op == STORE_LIST ? "" : names[key]), .limit = KEYS,
                                        .body = bytes_of(a->body, a->value * 7), .bytes_max = sizeof a->body};
    begin(s, a);
    assert_int_equal(store_submit(&s->store[client], &a->request), STATUS_OK);
}

static void note(struct scene *s, const struct store_request *r) {
    s->trace = (s->trace ^ (uint64_t)r->since_us ^ r->result ^ (uint64_t)r->unsure << 8) * UINT64_C(0x9e3779b97f4a7c15);
}

static void hear(struct scene *s, int client) {
    for (struct store_request *r; (r = store_poll(&s->store[client]));) {
        struct asked *a = (struct asked *)r; /* its first member */
        assert_true(s->now_us <= r->since_us + DEADLINE_MS * 1000);
        if (is_write(a)) end_write(&s->keys[a->key], a);
        else end_read(s, a);
        a->flying = false;
        note(s, r);
        store_request_fini(r);
    }
    for (unsigned key = ONCE; key < KEYS; key++) assert_true(s->keys[key].created <= 1);
}

/* A process dies: what it wrote may land, while its memory is used by another. */
static void die(struct scene *s, int client) {
    store_close(&s->store[client]);
    for (int i = 0; i < IN_FLIGHT; i++) {
        struct asked *a = &s->asked[client][i];
        if (!a->flying) continue;
        assert_int_equal(a->request.result, STORE_TRANSIENT);
        if (is_write(a)) end_write(&s->keys[a->key], a);
        a->flying = false;
        memset(a->body, 0xee, sizeof a->body);
    }
    open_client(s, client);
}

static void step(struct scene *s, const struct bucket_faults *faults, bool harm, bool busy) {
    int client = (int)rng_below(&s->rng, CLIENTS);
    struct bucket_faults now = *faults;
    if (rng_percent(&s->rng, busy ? 90 : 10)) ask(s, client);
    if (harm && rng_percent(&s->rng, 1)) die(s, client);
    if (harm && rng_percent(&s->rng, 10)) {
        now.out = rng_percent(&s->rng, 20);
        now.refuse = rng_percent(&s->rng, 20);
        bucket_sim_faults(s->bucket, &now);
    }
    next(s);
    for (int i = 0; i < CLIENTS; i++) hear(s, i);
}

static uint64_t run(uint64_t seed, const struct bucket_faults *faults, bool harm, struct bucket_stats *total) {
    static struct scene s;
    struct bucket_stats stats;
    scene_init(&s, seed, faults);
    for (int i = 0; i < STEPS; i++) step(&s, faults, harm, i / BURST % 2 == 0);
    bucket_sim_stats(s.bucket, &stats);
#define X(name, help) total->name += stats.name;
    BUCKET_STATS(X)
#undef X
    scene_fini(&s);
    return s.trace;
}

/* ----------------------------------------------------------------- promises */

static void promises_hold_without_faults(void **state) {
    (void)state;
    struct bucket_faults none = {0};
    struct bucket_stats t = {0};
    for (uint64_t seed = 1; seed <= 50; seed++) run(seed, &none, false, &t);
    assert_true(t.requests > 0 && t.objects > 0 && t.bytes > 0);
    assert_int_equal(t.failed + t.lost + t.repeated + t.late + t.slow + t.out + t.refused + t.landed + t.never, 0);
}

static void promises_hold_under_faults(void **state) {
    (void)state;
    static const struct bucket_faults faults[] = {
        {.fail = RATE}, {.lose = RATE}, {.late = RATE}, {.slow = RATE}, {.fail = RATE, .lose = RATE, .late = RATE, .slow = RATE},
    };
    struct bucket_stats t = {0};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (uint64_t seed = 1; seed <= 100; seed++) run(seed, &faults[i], seed % 2 == 0, &t);
    assert_true(t.failed && t.lost && t.repeated && t.late && t.slow && t.out && t.refused && t.orphans && t.landed && t.never);
    assert_int_equal(t.overwritten + t.hidden + t.rots, 0);
}

static void a_seed_gives_the_same_answers(void **state) {
    (void)state;
    struct bucket_faults faults = {.fail = RATE, .lose = RATE, .late = RATE, .slow = RATE};
    struct bucket_stats once = {0}, again = {0};
    uint64_t trace = run(7, &faults, true, &once);
    assert_true(trace == run(7, &faults, true, &again));
    assert_memory_equal(&once, &again, sizeof once);
    assert_true(trace != run(8, &faults, true, &again));
}

/* ------------------------------------------------------------- fault by fault */

static struct store_request *answer(struct scene *s, int client) {
    struct store_request *r;
    while (!(r = store_poll(&s->store[client]))) assert_true(next(s));
    return r;
}

static enum store_result result_of(struct scene *s, enum store_op op, const char *key, const char *body, struct store_request *r) {
    store_request_fini(r);
    *r = (struct store_request){.op = op, .key = bytes_str(key), .body = bytes_str(body), .bytes_max = 100, .limit = 10};
    assert_int_equal(store_submit(&s->store[0], r), STATUS_OK);
    assert_ptr_equal(answer(s, 0), r);
    return r->result;
}

static enum store_result probe(uint64_t seed, const struct bucket_faults *faults) {
    static struct scene s;
    struct store_probe probe;
    scene_init(&s, seed, faults);
    assert_int_equal(store_probe_start(&probe, &s.store[0], "probe/x"), STATUS_OK);
    while (!probe.finished) {
        assert_true(store_probe_owns(&probe, answer(&s, 0)));
        store_probe_step(&probe);
    }
    scene_fini(&s);
    return probe.result;
}

static void the_probe_tells_stores_without_conditions(void **state) {
    (void)state;
    static const enum store_result right[] = {STORE_DONE, STORE_UNCONDITIONAL, STORE_UNCONDITIONAL};
    for (unsigned conditions = BUCKET_CONDITIONS_KEPT; conditions <= BUCKET_CONDITIONS_UNKNOWN; conditions++) {
        struct bucket_faults faults = {.conditions = (enum bucket_conditions)conditions};
        assert_int_equal(probe(1, &faults), right[conditions]);
        faults.fail = faults.lose = faults.late = faults.slow = RATE;
        for (uint64_t seed = 1; seed <= 300; seed++) {
            enum store_result result = probe(seed, &faults);
            assert_true(result == right[conditions] || result == STORE_TRANSIENT);
        }
    }
}

static void a_create_may_find_itself(void **state) {
    (void)state;
    struct bucket_faults faults = {.lose = BUCKET_RATE_ALL};
    struct store_request r = {0};
    static struct scene s;
    unsigned exists = 0, transient = 0;
    scene_init(&s, 1, &faults);
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof key, "c/%d", i);
        bool found = result_of(&s, STORE_CREATE, key, "x", &r) == STORE_EXISTS;
        assert_true(found || r.result == STORE_TRANSIENT);
        assert_true(r.unsure);
        exists += found;
        transient += !found;
    }
    struct bucket_stats t;
    bucket_sim_stats(s.bucket, &t);
    assert_int_equal(t.objects, 50);
    assert_true(exists > 0 && transient > 0);
    scene_fini(&s);
}

/* Submits a write, which `leave` ends with unknown fate: when it is there, if ever, in microseconds after that. */
static int64_t lands_after(uint64_t seed, const struct bucket_faults *faults, void (*leave)(struct scene *s)) {
    static struct scene s;
    struct bucket_stats t;
    char key[] = "k/late", body[] = "late";
    struct store_request r = {.op = STORE_PUT, .key = bytes_str(key), .body = bytes_str(body)};
    scene_init(&s, seed, faults);
    assert_int_equal(store_submit(&s.store[0], &r), STATUS_OK);
    leave(&s);
    assert_int_equal(r.result, STORE_TRANSIENT);
    assert_true(r.unsure);
    int64_t left_us = s.now_us, landed_us = -1;
    memset(key, 'x', sizeof key); /* it was given back */
    memset(body, 'x', sizeof body);
    bucket_sim_stats(s.bucket, &t);
    assert_int_equal(t.objects, 0);
    if (next(&s)) landed_us = s.now_us - left_us;
    assert_false(next(&s));
    if (landed_us >= 0) {
        struct bucket_faults none = {0};
        bucket_sim_faults(s.bucket, &none);
        assert_int_equal(result_of(&s, STORE_GET, "k/late", "", &r), STORE_DONE);
        assert_true(bytes_equal(buf_bytes(&r.data), bytes_str("late")));
        store_request_fini(&r);
    }
    scene_fini(&s);
    return landed_us;
}

static void wait_for_it(struct scene *s) { answer(s, 0); }
static void close_first(struct scene *s) {
    store_close(&s->store[0]);
    open_client(s, 0);
}

static void expect_landings(const struct bucket_faults *faults, void (*leave)(struct scene *s)) {
    unsigned landed = 0, never = 0, later = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        int64_t after_us = lands_after(seed, faults, leave);
        assert_true(after_us <= DEADLINE_MS * 1000);
        landed += after_us >= 0;
        never += after_us < 0;
        later += after_us > DEADLINE_MS * 1000 / 2;
    }
    assert_true(landed > 30 && never > 30 && later > 10);
}

static void what_was_answered_unsure_may_land_later(void **state) {
    (void)state;
    expect_landings(&(struct bucket_faults){.late = BUCKET_RATE_ALL}, wait_for_it);
}

static void what_a_closed_client_sent_may_land_later(void **state) {
    (void)state;
    expect_landings(&(struct bucket_faults){0}, close_first);
}

static void during_an_outage_nothing_happens(void **state) {
    (void)state;
    struct bucket_faults out = {.out = true}, refuse = {.refuse = true}, none = {0};
    struct store_request r = {0};
    static struct scene s;
    scene_init(&s, 1, &out);
    for (int op = STORE_PUT; op <= STORE_LIST; op++) {
        bucket_sim_faults(s.bucket, &out);
        assert_int_equal(result_of(&s, (enum store_op)op, "a", "x", &r), STORE_TRANSIENT);
        assert_false(r.unsure);
        bucket_sim_faults(s.bucket, &refuse);
        assert_int_equal(result_of(&s, (enum store_op)op, "a", "x", &r), STORE_REFUSED);
    }
    bucket_sim_faults(s.bucket, &none);
    assert_int_equal(result_of(&s, STORE_HEAD, "a", "", &r), STORE_MISSING);
    scene_fini(&s);
}

static void rot_flips_one_bit(void **state) {
    (void)state;
    struct bucket_faults none = {0};
    struct store_request r = {0};
    static struct scene s;
    scene_init(&s, 1, &none);
    assert_false(bucket_sim_rot(s.bucket));
    assert_int_equal(result_of(&s, STORE_PUT, "empty", "", &r), STORE_DONE);
    assert_false(bucket_sim_rot(s.bucket));
    assert_int_equal(result_of(&s, STORE_PUT, "full", "0123456789", &r), STORE_DONE);
    assert_true(bucket_sim_rot(s.bucket));
    assert_int_equal(result_of(&s, STORE_GET, "full", "", &r), STORE_DONE);
    assert_int_equal(r.data.len, 10);
    int flipped = 0;
    for (size_t i = 0; i < 10; i++) flipped += __builtin_popcount(r.data.data[i] ^ (unsigned)"0123456789"[i]);
    assert_int_equal(flipped, 1);
    store_request_fini(&r);
    scene_fini(&s);
}

static void a_list_may_lag_where_it_is_told_to(void **state) {
    (void)state;
    struct bucket_faults lag = {.list_lag_us = 10 * 1000000};
    struct store_request r = {0};
    static struct scene s;
    scene_init(&s, 1, &lag);
    assert_int_equal(result_of(&s, STORE_CREATE, "l/1", "x", &r), STORE_DONE);
    assert_int_equal(result_of(&s, STORE_LIST, "l/", "", &r), STORE_DONE);
    assert_int_equal(r.count, 0);
    assert_int_equal(result_of(&s, STORE_GET, "l/1", "", &r), STORE_DONE);
    bucket_sim_now(s.bucket, s.now_us + lag.list_lag_us);
    assert_int_equal(result_of(&s, STORE_LIST, "l/", "", &r), STORE_DONE);
    assert_int_equal(r.count, 1);
    store_request_fini(&r);
    scene_fini(&s);
}

static void it_is_known_when_an_answer_is_due(void **state) {
    (void)state;
    struct bucket_faults none = {0};
    struct store_request r[2] = {{.op = STORE_HEAD, .key = bytes_str("a")}, {.op = STORE_HEAD, .key = bytes_str("b")}};
    static struct scene s;
    scene_init(&s, 1, &none);
    assert_true(store_sim_next_us(&s.store[0]) == INT64_MAX);
    for (int i = 0; i < 2; i++) assert_int_equal(store_submit(&s.store[0], &r[i]), STATUS_OK);
    for (unsigned i = 0; i < 2; i++) {
        int64_t due_us = store_sim_next_us(&s.store[0]);
        bucket_sim_now(s.bucket, due_us - 1);
        assert_null(store_poll(&s.store[0]));
        assert_int_equal(s.readies[0], i);
        bucket_sim_now(s.bucket, due_us);
        assert_int_equal(s.readies[0], i + 1);
        assert_true(store_sim_next_us(&s.store[0]) == due_us);
        assert_non_null(store_poll(&s.store[0]));
    }
    assert_true(store_sim_next_us(&s.store[0]) == INT64_MAX);
    assert_true(store_sim_next_us(&s.store[1]) == INT64_MAX);
    scene_fini(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promises_hold_without_faults),
        cmocka_unit_test(promises_hold_under_faults),
        cmocka_unit_test(a_seed_gives_the_same_answers),
        cmocka_unit_test(the_probe_tells_stores_without_conditions),
        cmocka_unit_test(a_create_may_find_itself),
        cmocka_unit_test(what_was_answered_unsure_may_land_later),
        cmocka_unit_test(what_a_closed_client_sent_may_land_later),
        cmocka_unit_test(during_an_outage_nothing_happens),
        cmocka_unit_test(rot_flips_one_bit),
        cmocka_unit_test(a_list_may_lag_where_it_is_told_to),
        cmocka_unit_test(it_is_known_when_an_answer_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
