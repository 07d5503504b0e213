/* The hash-ordered table against a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/table.h"

enum { ITEMS = 2000 };

struct item {
    uint64_t hash;
    bool in;
    uint32_t visits;
};

static bool same(void *item, const void *arg) { return item == arg; }
static void visit(void *item, void *arg) {
    (void)arg;
    ((struct item *)item)->visits++;
}

/* Few distinct tags in some rounds, so that clusters are long and tags collide. */
static void seed_items(struct item *items, struct rng *rng, bool crowded) {
    for (int i = 0; i < ITEMS; i++)
        items[i] = (struct item){.hash = crowded ? rng_below(rng, 9) << 60 : rng_next(rng)};
}

static void toggle(struct table *t, struct item *item, struct mem_account *account) {
    if (item->in)
        table_remove(t, item->hash, item, account);
    else
        table_insert(t, item->hash, item, account);
    item->in = !item->in;
}

static void check(const struct table *t, struct item *items) {
    uint64_t count = 0, seen = 0, last = 0;
    for (int i = 0; i < ITEMS; i++) {
        count += items[i].in;
        assert_ptr_equal(table_find(t, items[i].hash, same, &items[i]), items[i].in ? &items[i] : NULL);
    }
    assert_int_equal(t->count, count);
    struct item *item;
    for (size_t at = 0; (item = table_next(t, &at)); seen++) {
        assert_true(item->in);
        assert_true(table_tag(item->hash) >= last);
        last = table_tag(item->hash);
    }
    assert_int_equal(seen, count);
}

static void it_holds_what_a_list_would_hold(void **state) {
    (void)state;
    static struct item items[ITEMS];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rng rng;
        struct table t = {0};
        struct mem_account account = {0};
        rng_seed(&rng, seed);
        seed_items(items, &rng, seed % 4 == 0);
        int range = seed % 4 == 0 ? 200 : ITEMS;
        for (int step = 0; step < 6000; step++) {
            /* Waves of growing and of shrinking. */
            struct item *item = &items[rng_below(&rng, (uint64_t)range)];
            bool grow = step / 1500 % 2 == 0;
            if (item->in == grow && !rng_percent(&rng, 20)) continue;
            toggle(&t, item, &account);
            if (step % 500 == 0) check(&t, items);
        }
        check(&t, items);
        assert_true(t.count == 0 || ((struct item *)table_random(&t, &rng))->in);
        table_fini(&t, &account);
        assert_int_equal(account.bytes, 0);
    }
}

static void a_scan_misses_nothing_that_stays(void **state) {
    (void)state;
    static struct item items[ITEMS];
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng rng;
        struct table t = {0};
        struct mem_account account = {0};
        rng_seed(&rng, seed);
        seed_items(items, &rng, seed % 5 == 0);
        int staying = seed % 5 == 0 ? 100 : 500, most = seed % 5 == 0 ? 250 : ITEMS;
        for (int i = 0; i < staying; i++) toggle(&t, &items[i], &account);
        uint32_t cursor = 0;
        do {
            cursor = table_scan(&t, cursor, 10, visit, NULL);
            for (int i = 0; i < 60; i++)
                toggle(&t, &items[(uint64_t)staying + rng_below(&rng, (uint64_t)(most - staying))], &account);
        } while (cursor != TABLE_TAGS);
        for (int i = 0; i < staying; i++) assert_true(items[i].visits > 0);
        table_fini(&t, &account);
    }
}

static void a_shard_of_items_takes_little_more_than_its_slots(void **state) {
    (void)state;
    enum { MANY = 1000000 };
    uint64_t *items = test_malloc(MANY * sizeof *items);
    struct table t = {0};
    struct mem_account account = {0};
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < MANY; i++) {
        items[i] = rng_next(&rng);
        /* One shard of 256 holds a share of them. */
        if (i % 256 == 0) table_insert(&t, items[i], &items[i], &account);
    }
    assert_true(account.bytes <= t.count * 8 * 100 / 60);
    table_fini(&t, &account);
    test_free(items);
}

/* As a copy of a table comes, or an image of a shard. Whoever looked at all that is in front of each would be at it for minutes. */
static void items_in_the_order_of_their_hashes_take_no_longer(void **state) {
    (void)state;
    enum { MANY = 400000 };
    struct item *items = test_calloc(MANY, sizeof *items);
    for (int reserved = 0; reserved < 2; reserved++) {
        struct table t = {0};
        struct mem_account account = {0};
        if (reserved) table_reserve(&t, MANY, &account);
        uint64_t bytes = account.bytes;
        for (uint64_t i = 0; i < MANY; i++) {
            items[i] = (struct item){.hash = UINT64_MAX / MANY * i};
            assert_null(table_find(&t, items[i].hash, same, &items[i]));
            toggle(&t, &items[i], &account);
        }
        for (int i = 0; i < MANY; i++) assert_ptr_equal(table_find(&t, items[i].hash, same, &items[i]), &items[i]);
        if (reserved) assert_int_equal(account.bytes, bytes);
        for (int i = MANY; i--;) toggle(&t, &items[i], &account);
        table_fini(&t, &account);
        assert_int_equal(account.bytes, 0);
    }
    test_free(items);
}

/* Names can be found whose tags are all the last one: they may not cost more than others. */
static void equal_tags_at_the_end_take_little_memory(void **state) {
    (void)state;
    static struct item items[200];
    struct table t = {0};
    struct mem_account account = {0};
    for (int i = 0; i < 200; i++) {
        items[i] = (struct item){.hash = UINT64_MAX};
        toggle(&t, &items[i], &account);
    }
    assert_true(account.bytes < 16384);
    for (int i = 0; i < 200; i++) assert_ptr_equal(table_find(&t, UINT64_MAX, same, &items[i]), &items[i]);
    for (int i = 0; i < 200; i++) toggle(&t, &items[i], &account);
    assert_int_equal(t.count, 0);
    table_fini(&t, &account);
    assert_int_equal(account.bytes, 0);
}

static size_t farthest(const struct table *t) {
    size_t far = 0;
    for (size_t at = 0; at < table_end(t); at++) {
        if (!t->slots[at]) continue;
        size_t home = table_home(t, table_slot_tag(t->slots[at]));
        if (at - home > far) far = at - home;
    }
    return far;
}

/* As SCAN and DEL do. What is left has the last homes only; if the table shrank all the same, each removal would move all of it. */
static void removal_in_the_order_of_hashes_leaves_room(void **state) {
    (void)state;
    enum { MANY = 100000 };
    struct item *items = test_calloc(MANY, sizeof *items);
    struct table t = {0};
    struct mem_account account = {0};
    for (uint64_t i = 0; i < MANY; i++) {
        items[i] = (struct item){.hash = UINT64_MAX / MANY * i};
        toggle(&t, &items[i], &account);
    }
    uint64_t most = account.bytes;
    for (int i = 0; i < MANY; i++) {
        toggle(&t, &items[i], &account);
        if (i % 1000 == 0) assert_true(farthest(&t) < 1500);
    }
    assert_true(account.bytes < most / 1000);
    table_fini(&t, &account);
    test_free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_what_a_list_would_hold),
        cmocka_unit_test(items_in_the_order_of_their_hashes_take_no_longer),
        cmocka_unit_test(removal_in_the_order_of_hashes_leaves_room),
        cmocka_unit_test(equal_tags_at_the_end_take_little_memory),
        cmocka_unit_test(a_scan_misses_nothing_that_stays),
        cmocka_unit_test(a_shard_of_items_takes_little_more_than_its_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
