/* The log: what reaches the sink, and in what shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/log.h"

static char lines[8][2048];
static enum log_level levels[8];
static int count;

static void sink(enum log_level level, const char *line) {
    assert_in_range(count, 0, 7);
    levels[count] = level;
    strcpy(lines[count++], line);
}

static void only_what_is_severe_enough_is_logged(void **state) {
    (void)state;
    count = 0;
    log_to(sink, LOG_NOTICE);
    log_line(LOG_DEBUG, "a");
    log_line(LOG_VERBOSE, "b");
    log_line(LOG_NOTICE, "c %d %s", 7, "x");
    log_line(LOG_WARNING, "d");
    log_level_set(LOG_DEBUG);
    log_line(LOG_DEBUG, "e");
    log_level_set(LOG_WARNING);
    log_line(LOG_NOTICE, "f");
    assert_int_equal(count, 3);
    assert_string_equal(lines[0], "c 7 x");
    assert_string_equal(lines[1], "d");
    assert_string_equal(lines[2], "e");
    assert_int_equal(levels[1], LOG_WARNING);
}

static void nobody_can_forge_a_line(void **state) {
    (void)state;
    count = 0;
    log_to(sink, LOG_DEBUG);
    log_line(LOG_NOTICE, "peer %s", "a\n2026 # all is well\x1b[2J\t\x7f\xc3\xa9");
    assert_string_equal(lines[0], "peer a?2026 # all is well?[2J??\xc3\xa9");
}

static void long_lines_are_cut(void **state) {
    (void)state;
    static char text[5000];
    count = 0;
    log_to(sink, LOG_DEBUG);
    memset(text, 'x', sizeof text - 1);
    log_line(LOG_NOTICE, "%s", text);
    assert_int_equal(strlen(lines[0]), 1023);
}

static void without_a_sink_nothing_happens(void **state) {
    (void)state;
    count = 0;
    log_to(NULL, LOG_DEBUG);
    log_line(LOG_WARNING, "a");
    assert_int_equal(count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_severe_enough_is_logged), cmocka_unit_test(nobody_can_forge_a_line),
        cmocka_unit_test(long_lines_are_cut), cmocka_unit_test(without_a_sink_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
