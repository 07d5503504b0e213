/* What only a directory does: full disks, leftovers, several nodes on one. The rest is in persist_store.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "persist_wait.h"

static char folder[32];

static void open_here(struct waiter *w) {
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    struct buf error = {0};
    char url[64];
    wait_init(w, &settings);
    snprintf(url, sizeof url, "file://%s", folder);
    assert_int_equal(store_open(url, &settings, &w->store, &error), STATUS_OK);
}

static enum store_result ask(struct waiter *w, struct store_request *r) {
    assert_int_equal(store_submit(&w->store, r), STATUS_OK);
    assert_ptr_equal(wait_next(w), r);
    return r->result;
}

static enum store_result ask_for(struct waiter *w, enum store_op op, const char *key, struct bytes body) {
    struct store_request r = {.op = op, .key = bytes_str(key), .body = body, .bytes_max = 1 << 20, .limit = 10};
    enum store_result result = ask(w, &r);
    store_request_fini(&r);
    return result;
}

static void shell(const char *format) {
    char command[256];
    snprintf(command, sizeof command, format, folder);
    assert_int_equal(system(command), 0);
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/anneal-dir-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    shell("rm -r %s");
    return 0;
}

/* A limit on the size of files fails in the middle of a write, as a full disk does. */
static void a_full_disk_leaves_no_part_of_an_object(void **state) {
    (void)state;
    struct waiter w = {0};
    struct rlimit old, small;
    struct buf body = {0};
    open_here(&w);
    buf_reserve(&body, 1 << 20);
    memset(body.data, 'x', 1 << 20);
    body.len = 1 << 20;
    assert_int_equal(ask_for(&w, STORE_PUT, "a", bytes_str("old")), STORE_DONE);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){100000, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(ask_for(&w, STORE_PUT, "a", buf_bytes(&body)), STORE_TRANSIENT);
    assert_int_equal(ask_for(&w, STORE_CREATE, "b", buf_bytes(&body)), STORE_TRANSIENT);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(ask_for(&w, STORE_GET, "b", bytes_str("")), STORE_MISSING);
    struct store_request r = {.op = STORE_GET, .key = bytes_str("a"), .bytes_max = 100};
    assert_int_equal(ask(&w, &r), STORE_DONE);
    assert_true(bytes_equal(buf_bytes(&r.data), bytes_str("old")));
    store_request_fini(&r);
    shell("test -z \"$(ls -A %s/.tmp)\"");
    assert_int_equal(ask_for(&w, STORE_CREATE, "b", buf_bytes(&body)), STORE_DONE);
    store_close(&w.store);
    buf_fini(&body);
}

/* With the folder itself, or with what is not seen in it; and others may have made another by then. */
static void a_store_that_is_removed_is_one_that_is_emptied(void **state) {
    (void)state;
    static const char *const harm[] = {"rm -r %1$s", "rm -r %1$s && mkdir %1$s", "rm -r %1$s && mkdir -p %1$s/.tmp %1$s/m && echo >%1$s/m/2", "rm -r %1$s/.tmp %1$s/m"};
    for (size_t i = 0; i < sizeof harm / sizeof *harm; i++) {
        struct waiter w = {0};
        bool others = strstr(harm[i], "echo") != NULL;
        open_here(&w);
        assert_int_equal(ask_for(&w, STORE_CREATE, "m/1", bytes_str("a")), STORE_DONE);
        shell(harm[i]);
        assert_int_equal(ask_for(&w, STORE_GET, "m/1", bytes_str("")), STORE_MISSING);
        assert_int_equal(ask_for(&w, STORE_GET, "m/2", bytes_str("")), others ? STORE_DONE : STORE_MISSING);
        assert_int_equal(ask_for(&w, STORE_CREATE, "m/1", bytes_str("b")), STORE_DONE);
        shell("test -e %1$s/m/1 && rm -r %1$s/m");
        store_close(&w.store);
    }
}

static void two_nodes_on_one_folder_see_each_other(void **state) {
    (void)state;
    struct waiter a = {0}, b = {0};
    open_here(&a);
    open_here(&b);
    assert_int_equal(ask_for(&a, STORE_CREATE, "m/1", bytes_str("a")), STORE_DONE);
    assert_int_equal(ask_for(&b, STORE_CREATE, "m/1", bytes_str("b")), STORE_EXISTS);
    assert_int_equal(ask_for(&b, STORE_DELETE, "m/1", bytes_str("")), STORE_DONE);
    assert_int_equal(ask_for(&a, STORE_GET, "m/1", bytes_str("")), STORE_MISSING);
    store_close(&a.store);
    store_close(&b.store);
}

static void what_a_dead_process_left_goes_a_day_later(void **state) {
    (void)state;
    struct waiter w = {0};
    open_here(&w);
    store_close(&w.store);
    shell("cd %s/.tmp && echo half >new && echo half >old && touch -d '2 days ago' old");
    struct store_settings only_read = STORE_SETTINGS_DEFAULT;
    struct buf error = {0};
    char url[64];
    only_read.read_only = true;
    wait_init(&w, &only_read);
    snprintf(url, sizeof url, "file://%s", folder);
    assert_int_equal(store_open(url, &only_read, &w.store, &error), STATUS_OK);
    store_close(&w.store);
    shell("test -e %s/.tmp/old"); /* who only reads changes nothing */
    open_here(&w);
    shell("cd %s/.tmp && test -e new && ! test -e old");
    struct store_request r = {.op = STORE_LIST, .limit = 10};
    assert_int_equal(ask(&w, &r), STORE_DONE);
    assert_int_equal(r.count, 0);
    store_close(&w.store);
}

static void strangers_in_the_folder_are_passed_over(void **state) {
    (void)state;
    struct waiter w = {0};
    open_here(&w);
    shell("cd %s && echo x >seen && ln -s /etc/passwd link && ln -s /etc dirlink && mkfifo fifo && mkdir d && echo x >d/.hidden");
    struct store_request r = {.op = STORE_LIST, .limit = 10};
    assert_int_equal(ask(&w, &r), STORE_DONE);
    assert_int_equal(r.count, 1);
    assert_true(bytes_equal(r.entries[0].key, bytes_str("seen")));
    assert_int_equal(ask_for(&w, STORE_GET, "link", bytes_str("")), STORE_MISSING);
    assert_int_equal(ask_for(&w, STORE_GET, "fifo", bytes_str("")), STORE_MISSING);
    assert_int_equal(ask_for(&w, STORE_PUT, "d", bytes_str("")), STORE_REFUSED);
    assert_int_equal(ask_for(&w, STORE_CREATE, "d", bytes_str("")), STORE_REFUSED);
    assert_int_equal(ask_for(&w, STORE_PUT, "seen/x", bytes_str("")), STORE_REFUSED);
    store_request_fini(&r);
    store_close(&w.store);
}

static void what_cannot_be_opened_is_named(void **state) {
    (void)state;
    static const char *const urls[][2] = {{"file:///proc/none/here", "/proc/none/here"}, {"file://relative", "want file:///path"},
                                          {"", "want file:///path"}, {"s3://", "want s3://bucket"}, {"s3://b/../c", "want s3://bucket"},
                                          {"http://b", "want file:///path"}};
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    struct waiter w = {0};
    wait_init(&w, &settings);
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct buf error = {0};
        assert_int_not_equal(store_open(urls[i][0], &settings, &w.store, &error), STATUS_OK);
        buf_put_byte(&error, 0);
        assert_non_null(strstr((char *)error.data, urls[i][1]));
        buf_fini(&error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_no_part_of_an_object, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_store_that_is_removed_is_one_that_is_emptied, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(two_nodes_on_one_folder_see_each_other, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_a_dead_process_left_goes_a_day_later, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(strangers_in_the_folder_are_passed_over, make_folder, remove_folder),
        cmocka_unit_test(what_cannot_be_opened_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
