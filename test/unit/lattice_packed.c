/* What is packed reads back as it was, to the last bit, whatever of it is dropped; what has no place is not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/rng.h"
#include "lattice/packed.h"

static const struct bytes NAME = {(const uint8_t *)"name", 4};

static void assert_same_count(const struct increment *a, const struct increment *b) {
    assert_int_equal(a->replica, b->replica);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->gen, b->gen);
    assert_int_equal(a->clock, b->clock);
    assert_int_equal(a->floor_n, b->floor_n);
    assert_true(a->total == b->total && a->floor == b->floor);
}

static void assert_same(const struct element *a, const struct element *b) {
    assert_int_equal(a->sibling_count, b->sibling_count);
    assert_int_equal(a->increment_count, b->increment_count);
    for (uint32_t i = 0; i < a->sibling_count; i++) {
        const struct sibling *x = &a->siblings[i], *y = &b->siblings[i];
        assert_int_equal(x->dot.v, y->dot.v);
        assert_int_equal(x->clock, y->clock);
        assert_true(bytes_equal(bytes_of(x->data, x->len), bytes_of(y->data, y->len)));
    }
    for (uint32_t i = 0; i < a->increment_count; i++) assert_same_count(&a->increments[i], &b->increments[i]);
}

/* What an item holds, and what it is to hold. */
struct held {
    struct element element, expiry;
    struct sibling write, time;
    struct increment counts[PACKED_COUNTS_MAX];
    uint8_t value[300], at[EXPIRY_BYTES];
};

static void holds(void *packed, const struct held *h) {
    struct view view;
    assert_same(packed_view(packed, &view), &h->element);
    assert_int_equal(packed_live(packed), element_live(&h->element));
    assert_same(packed_view_expiry(packed, &view), &h->expiry);
    assert_int_equal(packed_expiry(packed) != NULL, h->expiry.sibling_count);
    assert_int_equal(packed_empty(packed), !h->element.sibling_count && !h->element.increment_count && !h->expiry.sibling_count);
    assert_true(bytes_equal(packed_name(packed), NAME));
}

static __int128 some_number(struct rng *rng) {
    __int128 wide = (__int128)((unsigned __int128)rng_next(rng) << 64 | rng_next(rng));
    return wide >> rng_below(rng, 128);
}

static uint64_t some_counter(struct rng *rng) { return 1 + (rng_next(rng) >> (17 + rng_below(rng, 47))); }

static struct sibling some_sibling(struct rng *rng, uint8_t *data, uint32_t len) {
    for (uint32_t i = 0; i < len; i++) data[i] = (uint8_t)rng_next(rng);
    return (struct sibling){dot_make((uint16_t)(1 + rng_below(rng, 65535)), some_counter(rng)), rng_next(rng), data, len};
}

static void some_counts(struct rng *rng, struct held *h) {
    uint16_t replica = 0;
    h->element.increments = h->counts;
    h->element.increment_count = (uint32_t)rng_below(rng, PACKED_COUNTS_MAX + 1);
    for (uint32_t i = 0; i < h->element.increment_count; i++) {
        struct increment *one = &h->counts[i];
        replica = (uint16_t)(replica + 1 + rng_below(rng, rng_below(rng, 2) ? 3 : 8000));
        *one = (struct increment){.replica = replica, .n = some_counter(rng), .gen = some_counter(rng), .clock = rng_next(rng), .total = some_number(rng)};
        if (rng_below(rng, 2)) continue;
        one->floor_n = rng_below(rng, 2) ? one->n : some_counter(rng);
        one->floor = rng_below(rng, 2) ? one->total : some_number(rng);
    }
}

static void pick(struct rng *rng, struct held *h) {
    *h = (struct held){0};
    some_counts(rng, h);
    if (rng_below(rng, 2)) {
        h->write = some_sibling(rng, h->value, (uint32_t)rng_below(rng, sizeof h->value));
        h->element.siblings = &h->write;
        h->element.sibling_count = 1;
    }
    if (rng_below(rng, 2)) {
        h->time = some_sibling(rng, h->at, EXPIRY_BYTES);
        h->expiry.siblings = &h->time;
        h->expiry.sibling_count = 1;
    }
}

static bool is_picked(const struct increment *i, const void *mask) { return *(const uint64_t *)mask >> (i->replica % 64) & 1; }

static void drop_some_counts(struct rng *rng, void *packed, struct held *h) {
    uint64_t mask = rng_next(rng);
    uint32_t kept = 0;
    packed_drop_counts_if(packed, is_picked, &mask);
    for (uint32_t i = 0; i < h->element.increment_count; i++)
        if (!is_picked(&h->counts[i], &mask)) h->counts[kept++] = h->counts[i];
    h->element.increment_count = kept;
}

static void drop_something(struct rng *rng, void *packed, struct held *h) {
    switch (rng_below(rng, 4)) {
    case 0:
        if (h->element.sibling_count) packed_drop_write(packed);
        h->element.sibling_count = 0;
        break;
    case 1:
        if (h->expiry.sibling_count) packed_drop_expiry(packed);
        h->expiry.sibling_count = 0;
        break;
    case 2:
        packed_reset(packed);
        element_reset_increments(&h->element);
        break;
    default: drop_some_counts(rng, packed, h);
    }
}

static void what_is_packed_reads_back_whatever_is_dropped(void **state) {
    (void)state;
    struct rng rng;
    struct held h;
    rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        struct mem_account account = {0};
        struct view view, expiry;
        pick(&rng, &h);
        assert_true(packed_takes(&h.element));
        void *packed = packed_new(NAME, &h.element, &h.expiry, &account);
        assert_int_equal(packed_size(packed), account.bytes);
        assert_false(packed_has_slack(packed));
        holds(packed, &h);
        for (uint64_t drops = rng_below(&rng, 4); drops; drops--) {
            drop_something(&rng, packed, &h);
            holds(packed, &h);
            assert_int_equal(packed_size(packed), account.bytes);
        }
        if (packed_has_slack(packed)) { /* again, without what was dropped */
            void *smaller = packed_new(NAME, packed_view(packed, &view), packed_view_expiry(packed, &expiry), &account);
            packed_free(packed, &account);
            packed = smaller;
            assert_false(packed_has_slack(packed));
            holds(packed, &h);
        }
        pick(&rng, &h);
        packed_renew(&packed, NAME, &h.element, &h.expiry, &account);
        holds(packed, &h);
        assert_true(packed_renew(&packed, NAME, &h.element, &h.expiry, &account)); /* where it lies */
        holds(packed, &h);
        packed_free(packed, &account);
        assert_int_equal(account.bytes, 0);
        assert_int_equal(account.pieces, 0);
    }
}

static void numbers_of_any_size_read_back(void **state) {
    (void)state;
    struct mem_account account = {0};
    for (int bit = 0; bit <= 127; bit++)
        for (int near = -1; near <= 1; near++)
            for (int sign = -1; sign <= 1; sign += 2) {
                unsigned __int128 size = ((unsigned __int128)1 << bit) + (unsigned __int128)near;
                struct increment one = {.replica = 1, .n = 7, .gen = 3, .clock = 9, .total = (__int128)(sign < 0 ? -size : size)};
                struct element e = {.increments = &one, .increment_count = 1};
                struct view view;
                void *packed = packed_new(NAME, &e, NULL, &account);
                assert_same(packed_view(packed, &view), &e);
                packed_free(packed, &account);
            }
    assert_int_equal(account.bytes, 0);
}

static void what_has_no_place_is_not_taken(void **state) {
    (void)state;
    struct sibling two[2] = {{.dot = dot_make(1, 1)}, {.dot = dot_make(2, 1)}};
    struct increment many[PACKED_COUNTS_MAX + 1] = {{.replica = 1, .n = 3, .total = 5, .floor = 4}};
    assert_false(packed_takes(&(struct element){.siblings = two, .sibling_count = 2}));
    assert_false(packed_takes(&(struct element){.increments = many, .increment_count = 1}));
    assert_true(packed_takes(&(struct element){.increments = many + 1, .increment_count = PACKED_COUNTS_MAX}));
    many[0].floor = 0;
    assert_false(packed_takes(&(struct element){.increments = many, .increment_count = PACKED_COUNTS_MAX + 1}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_reads_back_whatever_is_dropped),
        cmocka_unit_test(numbers_of_any_size_read_back),
        cmocka_unit_test(what_has_no_place_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
