/* Threads that hear no signals, and how they sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <unistd.h>

#include "core/thread_posix.h"

#define LONG_US (60 * INT64_C(1000000))

static void *look_at_mask(void *arg) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    *(bool *)arg = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGPIPE) && !sigismember(&mask, SIGSEGV);
    return NULL;
}

static void a_thread_hears_no_signals_and_its_starter_does(void **state) {
    (void)state;
    bool good = false;
    pthread_t thread;
    sigset_t mask;
    assert_true(thread_start(&thread, look_at_mask, &good));
    pthread_join(thread, NULL);
    assert_true(good);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGTERM));
}

static void a_ring_before_the_sleep_is_heard_once(void **state) {
    (void)state;
    struct bell bell;
    bell_init(&bell);
    assert_false(bell_sleep(&bell, 0));
    bell_ring(&bell);
    bell_ring(&bell);
    assert_true(bell_sleep(&bell, LONG_US));
    assert_false(bell_sleep(&bell, 2000));
    bell_ring(&bell);
    assert_true(bell_sleep(&bell, 0));
    assert_false(bell_sleep(&bell, -1));
    bell_fini(&bell);
}

static void *ring_later(void *arg) {
    usleep(20000);
    bell_ring(arg);
    return NULL;
}

static void a_ring_ends_the_sleep(void **state) {
    (void)state;
    struct bell bell;
    pthread_t thread;
    bell_init(&bell);
    assert_true(thread_start(&thread, ring_later, &bell));
    assert_true(bell_sleep(&bell, LONG_US));
    pthread_join(thread, NULL);
    bell_fini(&bell);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_hears_no_signals_and_its_starter_does),
        cmocka_unit_test(a_ring_before_the_sleep_is_heard_once),
        cmocka_unit_test(a_ring_ends_the_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
