/* Pieces of all sizes, taken and given back in any order, never overlap and keep their bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "core/slab.h"

#define PIECES 4000

struct piece {
    uint8_t *at;
    size_t size;
    uint8_t mark;
};

static void churn(uint64_t seed, size_t stripe) {
    static _Thread_local struct piece pieces[PIECES];
    struct rng rng;
    rng_seed(&rng, seed);
    memset(pieces, 0, sizeof pieces);
    for (int i = 0; i < 200000; i++) {
        struct piece *p = &pieces[rng_below(&rng, PIECES)];
        if (p->at) {
            for (size_t k = 0; k < p->size; k++) assert_int_equal(p->at[k], p->mark);
            slab_give(stripe, p->at, p->size);
            p->at = NULL;
        } else {
            *p = (struct piece){NULL, 1 + (size_t)rng_below(&rng, rng_percent(&rng, 50) ? 512 : 16), (uint8_t)rng_next(&rng)};
            p->at = slab_take(stripe, p->size);
            assert_int_equal((uintptr_t)p->at % (p->size % 16 ? 8 : 16), 0);
            memset(p->at, p->mark, p->size);
        }
    }
    for (int i = 0; i < PIECES; i++)
        if (pieces[i].at) slab_give(stripe, pieces[i].at, pieces[i].size);
}

static void pieces_keep_their_bytes(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed < 4; seed++) churn(seed, (size_t)seed);
}

static void *churn_in_thread(void *arg) {
    churn((uint64_t)(uintptr_t)arg, (uintptr_t)arg % 2);
    return NULL;
}

static void threads_may_share_stripes(void **state) {
    (void)state;
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, churn_in_thread, (void *)(i + 10)), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void what_is_given_back_is_used_again(void **state) {
    (void)state;
    void *first = slab_take(0, 100), *second = slab_take(0, 100);
    slab_give(0, first, 100);
    assert_ptr_equal(slab_take(0, 97), first);
    slab_give(0, first, 97);
    slab_give(0, second, 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_keep_their_bytes), cmocka_unit_test(threads_may_share_stripes),
                                       cmocka_unit_test(what_is_given_back_is_used_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
