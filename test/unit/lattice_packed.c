/* What is packed reads back as it was, to the last bit; what cannot be packed is not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "lattice/packed.h"

#define MOST ((__int128)(((unsigned __int128)1 << 127) - 1))

static const struct bytes NAME = {(const uint8_t *)"name", 4};

static void assert_same(const struct increment *a, const struct increment *b) {
    assert_int_equal(a->replica, b->replica);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->gen, b->gen);
    assert_int_equal(a->clock, b->clock);
    assert_int_equal(a->floor_n, b->floor_n);
    assert_true(a->total == b->total && a->floor == b->floor);
}

static void comes_back(const struct increment *i) {
    struct mem_account account = {0};
    struct view view;
    struct parts parts = packed_count(NAME, i);
    assert_true(packed_takes(i));
    void *packed = packed_new(&parts, &account);
    const struct element *e = packed_view(packed, FORM_WRITE, &view);
    assert_int_equal(e->increment_count, 1);
    assert_int_equal(e->sibling_count, 0);
    assert_same(e->increments, i);
    assert_true(bytes_equal(packed_name(packed), NAME));
    assert_int_equal(packed_dot(packed).v, dot_make(i->replica, i->n).v);
    assert_int_equal((form_of(packed) & FORM_WRITE) != 0, increment_live(i));
    assert_null(packed_expiry(packed));
    if (increment_live(i)) { /* reset where it lies */
        struct increment reset = *i;
        reset.floor_n = reset.n;
        reset.floor = reset.total;
        packed_drop(packed, FORM_WRITE);
        assert_same(packed_view(packed, FORM_WRITE, &view)->increments, &reset);
    }
    packed_drop(packed, FORM_COUNT);
    assert_int_equal(packed_view(packed, FORM_WRITE, &view)->increment_count, 0);
    packed_free(packed, &account);
    assert_int_equal(account.bytes, 0);
}

static __int128 some_number(struct rng *rng) {
    __int128 wide = (__int128)((unsigned __int128)rng_next(rng) << 64 | rng_next(rng));
    return wide >> rng_below(rng, 128);
}

static void counts_come_back(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int bit = 0; bit < 127; bit++)
        for (int near = -1; near <= 1; near++)
            for (int sign = -1; sign <= 1; sign += 2) {
                __int128 total = sign * (((__int128)1 << bit) + near);
                comes_back(&(struct increment){.replica = 1, .n = 7, .gen = 3, .clock = 9, .total = total});
            }
    comes_back(&(struct increment){.replica = 1, .n = 1, .total = MOST});
    comes_back(&(struct increment){.replica = 1, .n = 1, .total = -MOST - 1});
    for (int i = 0; i < 20000; i++) {
        struct increment one = {.replica = (uint16_t)(1 + rng_below(&rng, 65535)), .n = 1 + (rng_next(&rng) >> (17 + rng_below(&rng, 47))),
                                .gen = rng_next(&rng) >> rng_below(&rng, 64), .clock = rng_next(&rng), .total = some_number(&rng)};
        if (rng_below(&rng, 3) == 0) {
            one.floor_n = rng_below(&rng, one.n);
            if (one.floor_n) one.floor = some_number(&rng);
        } else if (rng_below(&rng, 3) == 0) {
            one.floor_n = one.n;
            one.floor = one.total;
        }
        comes_back(&one);
    }
}

/* A floor that is ahead, or what no increment of ours could be: its bits have no place. */
static void what_has_no_place_is_not_taken(void **state) {
    (void)state;
    const struct increment none[] = {
        {.replica = 1},
        {.replica = 1, .n = 3, .total = 5, .floor_n = 4, .floor = 5},
        {.replica = 1, .n = 3, .total = 5, .floor_n = 3, .floor = 4},
        {.replica = 1, .n = 3, .total = 5, .floor = 4},
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_false(packed_takes(&none[i]));
}

static void a_write_and_an_expiry_come_back(void **state) {
    (void)state;
    struct mem_account account = {0};
    struct view view;
    struct increment count = {.replica = 2, .n = 300, .gen = 1, .clock = 5, .total = 77};
    struct parts parts = {.name = NAME, .value = bytes_of("value", 5), .dot = dot_make(3, 400), .clock = 6, .timed = true};
    parts.expiry.dot = dot_make(4, 500);
    parts.expiry.clock = 7;
    memcpy(parts.expiry.at, "12345678", EXPIRY_BYTES);
    void *packed = packed_new(&parts, &account);
    for (int counts = 0; counts < 2; counts++) {
        const struct element *expiry = packed_view(packed, FORM_EXPIRY, &view);
        assert_int_equal(expiry->sibling_count, 1);
        assert_int_equal(expiry->siblings->dot.v, dot_make(4, 500).v);
        assert_memory_equal(expiry->siblings->data, "12345678", EXPIRY_BYTES);
        const struct element *e = packed_view(packed, FORM_WRITE, &view);
        assert_int_equal(e->sibling_count, !counts);
        assert_int_equal(e->increment_count, counts);
        if (counts) assert_same(e->increments, &count);
        else assert_true(bytes_equal(bytes_of(e->siblings->data, e->siblings->len), bytes_of("value", 5)));
        struct parts other = packed_count(NAME, &count);
        other.timed = true;
        other.expiry = parts.expiry;
        packed_renew(&packed, &other, &account); /* a write becomes a count; and once more, where it lies */
    }
    packed_drop(packed, FORM_EXPIRY);
    assert_int_equal(packed_view(packed, FORM_EXPIRY, &view)->sibling_count, 0);
    assert_same(packed_view(packed, FORM_WRITE, &view)->increments, &count);
    packed_free(packed, &account);
    assert_int_equal(account.bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_come_back),
        cmocka_unit_test(what_has_no_place_is_not_taken),
        cmocka_unit_test(a_write_and_an_expiry_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
