/* Files, the directory's lock, and the clock, on the real operating system. */
#define _GNU_SOURCE /* asprintf, RTLD_NEXT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/os_posix.h"
#include "traced.h"

static char directory[64], path[128];

static int make_directory(void **state) {
    (void)state;
    strcpy(directory, "/tmp/anneal-os-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    return 0;
}

static int remove_directory(void **state) {
    (void)state;
    char id[128];
    snprintf(id, sizeof id, "%s/node-id", directory);
    unlink(path);
    unlink(id);
    return rmdir(directory); /* fails if something was left beside */
}

static void expect_file(const char *want, mode_t mode) {
    struct buf text = {0}, error = {0};
    struct stat s;
    assert_int_equal(os_read_file(path, 1 << 20, &text, &error), STATUS_OK);
    assert_true(bytes_equal(buf_bytes(&text), bytes_str(want)));
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 07777, mode);
    buf_fini(&text);
    buf_fini(&error);
}

static void a_file_is_replaced_whole_and_keeps_its_mode(void **state) {
    (void)state;
    struct buf error = {0};
    assert_int_equal(os_write_file(path, bytes_str("one"), &error), STATUS_OK);
    expect_file("one", 0600);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(os_write_file(path, bytes_str("2"), &error), STATUS_OK);
    expect_file("2", 0644);
    assert_int_equal(os_write_file(path, bytes_str(""), &error), STATUS_OK);
    expect_file("", 0644);
    assert_int_equal(error.len, 0);
}

static void a_write_that_fails_leaves_nothing_and_says_why(void **state) {
    (void)state;
    struct buf error = {0};
    assert_int_equal(os_write_file("/no/such/directory/file", bytes_str("x"), &error), STATUS_ERR_IO);
    buf_put_byte(&error, 0);
    assert_string_equal((char *)error.data, "cannot write /no/such/directory/file: No such file or directory");
    error.len = 0;
    assert_int_equal(os_write_file(directory, bytes_str("x"), &error), STATUS_ERR_IO); /* a directory is in its place */
    assert_int_not_equal(error.len, 0);
    char *beside;
    assert_true(asprintf(&beside, "%s.%d", directory, getpid()) > 0);
    assert_int_not_equal(access(beside, F_OK), 0);
    free(beside);
    buf_fini(&error);
}

static void a_file_is_durable_before_it_has_its_name_and_its_name_before_that_is_said(void **state) {
    (void)state;
    struct buf error = {0};
    char calls[128];
    assert_int_equal(os_write_file(path, bytes_str("old"), &error), STATUS_OK);
    snprintf(calls, sizeof calls, "sync file.%1$d\nrename file.%1$d file\nsync .\n", getpid());
    traced_begin(directory);
    assert_int_equal(os_write_file(path, bytes_str("new"), &error), STATUS_OK);
    assert_string_equal(traced.text, calls);
    static const char *const fails[] = {"sync file", "rename", "sync ."};
    for (size_t i = 0; i < 3; i++) {
        traced.fails = fails[i];
        assert_int_equal(os_write_file(path, bytes_str("newer"), &error), STATUS_ERR_IO);
        traced.fails = NULL;
        expect_file(i < 2 ? "new" : "newer", 0600);
    } /* and nothing is left beside: remove_directory would fail */
    buf_fini(&error);
}

static void reading_is_bounded(void **state) {
    (void)state;
    struct buf text = {0}, error = {0};
    static uint8_t large[10000];
    assert_int_equal(os_write_file(path, bytes_of(large, sizeof large), &error), STATUS_OK);
    assert_int_equal(os_read_file(path, 10000, &text, &error), STATUS_OK);
    assert_int_equal(text.len, 10000);
    text.len = 0;
    assert_int_equal(os_read_file(path, 9999, &text, &error), STATUS_ERR_TOO_LARGE);
    text.len = 0;
    assert_int_equal(os_read_file("/dev/zero", 9999, &text, &error), STATUS_ERR_TOO_LARGE);
    assert_in_range(text.len, 1, 20000);
    assert_int_equal(os_read_file("/no/such", 1, &text, &error), STATUS_ERR_IO);
    buf_fini(&text);
    buf_fini(&error);
}

static void a_directory_is_one_process_s_and_keeps_its_node_id(void **state) {
    (void)state;
    struct buf error = {0};
    uint64_t first, other;
    assert_int_equal(os_claim_dir(directory, 0, &first, &error), STATUS_OK);
    assert_int_not_equal(first, 0);
    assert_int_equal(os_claim_dir(directory, 0, &other, &error), STATUS_ERR_BUSY); /* ours still holds it */
    assert_int_equal(os_claim_dir("/proc/no", 0, &other, &error), STATUS_ERR_IO);
    char *deep = calloc(1, 5000);
    memset(deep, 'a', 4999);
    assert_int_equal(os_claim_dir(deep, 0, &other, &error), STATUS_ERR_IO);
    free(deep);
    buf_fini(&error);
}

/* In a process of its own: the directory stays with who has claimed it. */
static enum status claim(uint64_t given, uint64_t *id) {
    struct claimed {
        enum status status;
        uint64_t id;
    } claimed = {0};
    int ends[2], ended;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct buf error = {0};
        claimed.status = os_claim_dir(directory, given, &claimed.id, &error);
        _exit(write(ends[1], &claimed, sizeof claimed) != sizeof claimed);
    }
    assert_int_equal(read(ends[0], &claimed, sizeof claimed), sizeof claimed);
    assert_int_equal(waitpid(child, &ended, 0), child);
    close(ends[0]);
    close(ends[1]);
    *id = claimed.id;
    return claimed.status;
}

static void the_node_id_is_the_one_that_was_given_last(void **state) {
    (void)state;
    uint64_t first, id;
    assert_int_equal(claim(0, &first), STATUS_OK);
    assert_int_equal(claim(0, &id), STATUS_OK);
    assert_true(id == first);
    assert_int_equal(claim(first + 1, &id), STATUS_OK);
    assert_true(id == first + 1);
    assert_int_equal(claim(0, &id), STATUS_OK);
    assert_true(id == first + 1);
}

static void what_is_no_node_id_is_not_taken_for_one(void **state) {
    (void)state;
    static const char *const texts[] = {"1234\n", "0000000000000000\n", "123456789abcdef01\n", "123456789abcdef0x", "node\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf error = {0};
        uint64_t id;
        char file[128];
        snprintf(file, sizeof file, "%s/node-id", directory);
        assert_int_equal(os_write_file(file, bytes_str(texts[i]), &error), STATUS_OK);
        assert_int_equal(claim(0, &id), STATUS_ERR_INVALID);
        assert_int_equal(claim(7, &id), STATUS_ERR_INVALID);
        assert_int_equal(os_write_file(file, bytes_str("123456789abcdef0"), &error), STATUS_OK);
        assert_int_equal(claim(0, &id), STATUS_OK);
        assert_true(id == UINT64_C(0x123456789abcdef0));
    }
}

static void the_monotonic_clock_does_not_go_back(void **state) {
    (void)state;
    struct clock_port clock = os_clock();
    struct now before = clock.now(clock.self), after;
    for (int i = 0; i < 100000; i++) {
        after = clock.now(clock.self);
        assert_true(after.mono_us >= before.mono_us);
        before = after;
    }
    assert_true(before.wall_ms > INT64_C(1600000000000));
    assert_true(clock.entropy(clock.self) != clock.entropy(clock.self));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_replaced_whole_and_keeps_its_mode, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_write_that_fails_leaves_nothing_and_says_why, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_file_is_durable_before_it_has_its_name_and_its_name_before_that_is_said, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(reading_is_bounded, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_directory_is_one_process_s_and_keeps_its_node_id, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(the_node_id_is_the_one_that_was_given_last, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(what_is_no_node_id_is_not_taken_for_one, make_directory, remove_directory),
        cmocka_unit_test(the_monotonic_clock_does_not_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
