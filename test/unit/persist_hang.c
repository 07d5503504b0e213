/* The S3 driver with a server that takes connections and never says a word. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "persist_wait.h"

enum { REQUESTS = 12 };

static int listener;
static char endpoint[64];
static struct waiter waiter;
static struct store_request requests[REQUESTS];

static int listen_only(void **state) {
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    unsetenv("http_proxy");
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 64) != 0) return -1;
    getsockname(listener, (struct sockaddr *)&address, &len);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", ntohs(address.sin_port));
    return 0;
}

static int stop_listening(void **state) {
    (void)state;
    return close(listener);
}

static void open_store(uint32_t concurrency, uint32_t deadline_ms) {
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    struct buf error = {0};
    settings.endpoint = endpoint;
    settings.access_key_id = "id";
    settings.secret_access_key = "secret";
    settings.concurrency = concurrency;
    settings.deadline_ms = deadline_ms;
    settings.try_ms = 2 * deadline_ms; /* one try each */
    wait_init(&waiter, &settings);
    assert_int_equal(store_open("s3://bucket", &settings, &waiter.store, &error), STATUS_OK);
}

static void submit(int i, enum store_op op) {
    requests[i] = (struct store_request){.op = op, .key = bytes_str("key"), .bytes_max = 1};
    assert_int_equal(store_submit(&waiter.store, &requests[i]), STATUS_OK);
}

static int64_t ms_since(int64_t *began_us) {
    int64_t now = wait_clock_now(&waiter).mono_us, ms = (now - *began_us) / 1000;
    *began_us = now;
    return ms;
}

/* Also those that never had a connection of their own. */
static void all_are_answered_in_time(void **state) {
    (void)state;
    int64_t began = wait_clock_now(&waiter).mono_us;
    open_store(2, 400);
    for (int i = 0; i < REQUESTS; i++) submit(i, i % 2 ? STORE_CREATE : STORE_HEAD);
    for (int i = 0; i < REQUESTS; i++) {
        struct store_request *r = wait_next(&waiter);
        assert_int_equal(r->result, STORE_TRANSIENT);
        assert_int_equal(r->unsure, r->op == STORE_CREATE && r->tries > 0);
    }
    assert_in_range(ms_since(&began), 300, 2500);
    store_close(&waiter.store);
}

static void closing_waits_for_nobody(void **state) {
    (void)state;
    open_store(2, 60000);
    for (int i = 0; i < REQUESTS; i++) submit(i, STORE_PUT);
    usleep(100000);
    int64_t began = wait_clock_now(&waiter).mono_us;
    store_close(&waiter.store);
    assert_in_range(ms_since(&began), 0, 1000);
    int sent = 0;
    for (int i = 0; i < REQUESTS; i++) {
        assert_int_equal(requests[i].result, STORE_TRANSIENT);
        assert_string_equal(requests[i].why, "the store was closed");
        assert_int_equal(requests[i].unsure, requests[i].tries > 0);
        sent += requests[i].unsure;
    }
    assert_int_equal(sent, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_are_answered_in_time), cmocka_unit_test(closing_waits_for_nobody)};
    return cmocka_run_group_tests(tests, listen_only, stop_listening);
}
