/* What outlives a machine that stops is decided by what is synced, and in which order: nothing shows that but the calls themselves.
 * Of the node's own disk, and of a store that is a directory. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/file_posix.h"
#include "persist/disk_posix.h"
#include "persist_wait.h"
#include "traced.h"

static char folder[32];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/anneal-sync-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void expect(const char *calls) {
    assert_string_equal(traced.text, calls);
    traced.text[0] = 0;
}

/* ------------------------------------------------------------------- store */

static void open_here(struct waiter *w, const char *below) {
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    struct buf error = {0};
    char url[64];
    *w = (struct waiter){0};
    wait_init(w, &settings);
    snprintf(url, sizeof url, "file://%s%s", folder, below);
    assert_int_equal(store_open(url, &settings, &w->store, &error), STATUS_OK);
}

static enum store_result ask(struct waiter *w, struct store_request *r) {
    assert_int_equal(store_submit(&w->store, r), STATUS_OK);
    assert_ptr_equal(wait_next(w), r);
    return r->result;
}

static enum store_result ask_for(struct waiter *w, enum store_op op, const char *key, const char *body) {
    struct store_request r = {.op = op, .key = bytes_str(key), .body = bytes_str(body), .bytes_max = 1 << 20, .limit = 10};
    enum store_result result = ask(w, &r);
    store_request_fini(&r);
    return result;
}

static void an_object_is_durable_before_it_has_its_name_and_its_name_before_that_is_said(void **state) {
    (void)state;
    struct waiter w;
    open_here(&w, "");
    traced_begin(folder);
    assert_int_equal(ask_for(&w, STORE_CREATE, "a/b/c", "1"), STORE_DONE);
    expect("sync TMP\nlink TMP a/b/c\nsync a/b\nsync a\nsync .\nremove TMP\n");
    assert_int_equal(ask_for(&w, STORE_PUT, "a/b/c", "2"), STORE_DONE);
    expect("sync TMP\nrename TMP a/b/c\nsync a/b\nsync a\nsync .\nremove TMP\n");
    assert_int_equal(ask_for(&w, STORE_DELETE, "a/b/c", ""), STORE_DONE);
    expect("remove a/b/c\nsync a/b\n");
    assert_int_equal(ask_for(&w, STORE_CREATE, "d", "3"), STORE_DONE);
    expect("sync TMP\nlink TMP d\nsync .\nremove TMP\n");
    store_close(&w.store);
}

static void the_folder_of_a_new_store_is_durable(void **state) {
    (void)state;
    static const char *const below[] = {"/new", "/other/"};
    for (size_t i = 0; i < 2; i++) {
        struct waiter w;
        traced_begin(folder);
        open_here(&w, below[i]);
        expect("sync .\n");
        store_close(&w.store);
        open_here(&w, below[i]);
        expect("");
        store_close(&w.store);
    }
}

static void what_cannot_be_made_durable_is_not_said_to_be(void **state) {
    (void)state;
    struct waiter w;
    open_here(&w, "");
    traced_begin(folder);
    traced.fails = "sync TMP";
    assert_int_equal(ask_for(&w, STORE_CREATE, "a/b", "1"), STORE_TRANSIENT);
    assert_int_equal(ask_for(&w, STORE_PUT, "a/b", "1"), STORE_TRANSIENT);
    traced.fails = NULL;
    assert_int_equal(ask_for(&w, STORE_GET, "a/b", ""), STORE_MISSING);
    static const char *const folders[] = {"sync a\n", "sync .\n"};
    for (size_t i = 0; i < 2; i++) {
        struct store_request r = {.op = STORE_CREATE, .key = bytes_str(i ? "a/c" : "a/b"), .body = bytes_str("1")};
        traced.fails = folders[i];
        assert_int_equal(ask(&w, &r), STORE_TRANSIENT);
        assert_true(r.unsure); /* others see it, and if the machine stays up they always will */
    }
    traced.fails = "sync a\n";
    assert_int_equal(ask_for(&w, STORE_DELETE, "a/b", ""), STORE_TRANSIENT);
    traced.fails = NULL;
    store_close(&w.store);
}

/* As NFS does when the reply is lost; who really comes second is told so all the same. */
static void a_link_that_was_made_and_said_to_be_there_is_ours(void **state) {
    (void)state;
    struct waiter w;
    open_here(&w, "");
    traced_begin(folder);
    traced.link_lost = 1;
    assert_int_equal(ask_for(&w, STORE_CREATE, "a/b", "1"), STORE_DONE);
    assert_int_equal(traced.link_lost, 0);
    assert_int_equal(ask_for(&w, STORE_CREATE, "a/b", "2"), STORE_EXISTS);
    store_close(&w.store);
}

static void half_of_what_is_there_is_no_answer(void **state) {
    (void)state;
    struct waiter w;
    open_here(&w, "");
    traced_begin(folder);
    for (int i = 0; i < 4; i++) {
        char key[] = {'a', '/', (char)('0' + i), 0};
        assert_int_equal(ask_for(&w, STORE_CREATE, key, "some bytes"), STORE_DONE);
    }
    for (traced.entries_left = 0; traced.entries_left < 9; traced.entries_left++) {
        int left = traced.entries_left;
        assert_int_equal(ask_for(&w, STORE_LIST, "", ""), STORE_TRANSIENT);
        traced.entries_left = left;
    }
    traced.entries_left = -1;
    traced.read_ends = true;
    assert_int_equal(ask_for(&w, STORE_GET, "a/1", ""), STORE_TRANSIENT);
    traced.read_ends = false;
    assert_int_equal(ask_for(&w, STORE_GET, "a/1", ""), STORE_DONE);
    store_close(&w.store);
}

/* -------------------------------------------------------------------- disk */

static void names_on_the_disk_are_durable(void **state) {
    (void)state;
    struct buf error = {0};
    struct disk *d = disk_open(folder, &error);
    struct disk_port disk = disk_port(d);
    int file;
    traced_begin(folder);
    assert_int_equal(disk.open(disk.self, "log", &file), STATUS_OK);
    expect("sync .\n");
    assert_int_equal(disk.append(disk.self, file, bytes_str("x")), STATUS_OK);
    expect("");
    assert_int_equal(disk.sync(disk.self, file), STATUS_OK);
    expect("sync log\n");
    assert_int_equal(disk.rename(disk.self, "log", "checkpoint"), STATUS_OK);
    expect("rename log checkpoint\nsync .\n");
    assert_int_equal(disk.remove(disk.self, "none"), STATUS_OK); /* perhaps it was removed, and that was not synced */
    expect("remove none\nsync .\n");
    traced.fails = "sync";
    int other;
    assert_int_equal(disk.sync(disk.self, file), STATUS_ERR_IO);
    assert_int_equal(disk.open(disk.self, "another", &other), STATUS_ERR_IO);
    assert_int_equal(disk.rename(disk.self, "checkpoint", "log"), STATUS_ERR_IO);
    assert_int_equal(disk.remove(disk.self, "log"), STATUS_ERR_IO);
    traced.fails = "r";
    assert_int_equal(disk.rename(disk.self, "another", "log"), STATUS_ERR_IO);
    assert_int_equal(disk.remove(disk.self, "another"), STATUS_ERR_IO);
    traced.fails = NULL;
    assert_int_equal(disk.remove(disk.self, "another"), STATUS_OK);
    disk.close(disk.self, file);
    disk_close(d);
}

/* Signals interrupt it, and a disk that is nearly full takes a part. */
static void calls_that_do_less_than_they_were_asked_to_are_gone_on_with(void **state) {
    (void)state;
    struct buf error = {0}, back = {0};
    struct disk *d = disk_open(folder, &error);
    struct disk_port disk = disk_port(d);
    int file;
    traced_begin(folder);
    assert_int_equal(disk.open(disk.self, "log", &file), STATUS_OK);
    traced.piecemeal = true;
    assert_int_equal(disk.append(disk.self, file, bytes_str("0123456789")), STATUS_OK);
    assert_int_equal(disk.append(disk.self, file, bytes_str("abc")), STATUS_OK);
    assert_int_equal(disk.read(disk.self, file, 1, 100, &back), STATUS_OK);
    traced.piecemeal = false;
    assert_true(bytes_equal(buf_bytes(&back), bytes_str("123456789abc")));
    buf_fini(&back);
    disk.close(disk.self, file);
    disk_close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_object_is_durable_before_it_has_its_name_and_its_name_before_that_is_said, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_folder_of_a_new_store_is_durable, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_cannot_be_made_durable_is_not_said_to_be, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_link_that_was_made_and_said_to_be_there_is_ours, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(half_of_what_is_there_is_no_answer, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(names_on_the_disk_are_durable, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(calls_that_do_less_than_they_were_asked_to_are_gone_on_with, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
