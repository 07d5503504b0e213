/* Options: what parses, what is refused and where, and that a rewrite reads back the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/config.h"
#include "core/mem.h"

enum { FLAG, PORT, SIZE, NAME, LEVEL, COUNT };
static const struct config_option table[COUNT] = {
    {"flag", CONFIG_BOOL, CONFIG_LIVE, "no", 0, 0, "", "a flag"},
    {"port", CONFIG_INTEGER, 0, "6379", 0, 65535, "", "a port"},
    {"size", CONFIG_BYTES, CONFIG_LIVE, "1mb", 1, INT64_C(1) << 40, "", "a size"},
    {"name", CONFIG_STRING, CONFIG_LIVE, "", 0, 0, "", "a name"},
    {"level", CONFIG_CHOICE, CONFIG_LIVE, "notice", 0, 0, "debug|notice|warning", "a level"},
};

static void expect_text(struct config *c, int option, const char *want) {
    struct buf text = {0};
    config_text(c, option, &text);
    buf_put_byte(&text, 0);
    assert_string_equal((char *)text.data, want);
    buf_fini(&text);
}

static void values_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int option;
        const char *want;
    } cases[] = {
        {"", PORT, "6379"}, {"port 0", PORT, "0"}, {"  port\t 65535 \r\n", PORT, "65535"}, {"PORT 1", PORT, "1"},
        {"# port 5\nport 7", PORT, "7"}, {"port 1\nport 2\n", PORT, "2"}, {"flag yes", FLAG, "yes"},
        {"size 2k", SIZE, "2000"}, {"size 2kb", SIZE, "2048"}, {"size 3MB", SIZE, "3145728"}, {"size 1g", SIZE, "1000000000"},
        {"size 17", SIZE, "17"}, {"size 5b", SIZE, "5"}, {"name abc", NAME, "abc"}, {"name \"a b\"", NAME, "a b"},
        {"name 'a\\'b\\n'", NAME, "a'b\\n"}, {"name \"\\x41\\n\\\"\"", NAME, "A\n\""}, {"name \"\"", NAME, ""},
        {"level warning", LEVEL, "warning"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = config_new(table, COUNT);
        struct buf error = {0};
        assert_int_equal(config_load_text(c, "f", bytes_str(cases[i].text), &error), STATUS_OK);
        expect_text(c, cases[i].option, cases[i].want);
        buf_fini(&error);
        config_free(c);
    }
}

static void what_is_wrong_is_refused_with_its_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"port 65536", "f:1: 'port' must be a number from 0 to 65535"}, {"\n\nport -1", "f:3: "}, {"port 1x", "f:1: "},
        {"port", "f:1: 'port' has no value"}, {"port 1 2", "f:1: 'port' has more than one value"},
        {"colour red", "f:1: unknown option 'colour'"}, {"flag maybe", "must be yes or no"}, {"level loud", "must be one of debug|notice|warning"},
        {"size 0", "must be a size"}, {"size 9999999999gb", "must be a size"}, {"size 1tb", "must be a size"},
        {"name \"abc", "unbalanced quotes"}, {"name \"a\"b", "unbalanced quotes"}, {"name \"\\x00\"", "zero byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = config_new(table, COUNT);
        struct buf error = {0};
        assert_int_equal(config_load_text(c, "f", bytes_str(cases[i].text), &error), STATUS_ERR_INVALID);
        buf_put_byte(&error, 0);
        assert_non_null(strstr((char *)error.data, cases[i].words));
        buf_fini(&error);
        config_free(c);
    }
}

static void arguments_are_read(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT);
    struct buf error = {0};
    char *good[] = {"--port", "7001", "--name", "a b"}, *no_value[] = {"--port"}, *no_dash[] = {"port", "1"};
    assert_int_equal(config_load_args(c, 4, good, &error), STATUS_OK);
    expect_text(c, PORT, "7001");
    expect_text(c, NAME, "a b");
    assert_int_equal(config_load_args(c, 1, no_value, &error), STATUS_ERR_INVALID);
    assert_int_equal(config_load_args(c, 2, no_dash, &error), STATUS_ERR_INVALID);
    buf_fini(&error);
    config_free(c);
}

static void only_live_options_change_while_running(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT);
    struct buf error = {0};
    assert_int_equal(config_set(c, bytes_str("flag"), bytes_str("yes"), &error), STATUS_OK);
    assert_true(config_bool(c, FLAG));
    assert_int_equal(config_set(c, bytes_str("port"), bytes_str("1"), &error), STATUS_ERR_INVALID);
    assert_int_equal(config_set(c, bytes_str("colour"), bytes_str("1"), &error), STATUS_ERR_NOT_FOUND);
    assert_int_equal(config_set(c, bytes_str("level"), bytes_str("loud"), &error), STATUS_ERR_INVALID);
    assert_int_equal(config_integer(c, LEVEL), 1);
    buf_fini(&error);
    config_free(c);
}

static void a_rewrite_keeps_comments_and_reads_back(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT), *again = config_new(table, COUNT);
    struct buf error = {0}, out = {0};
    const char *old = "# mine\nport 5\nname x\nport 6\n";
    assert_int_equal(config_load_text(c, "f", bytes_str(old), &error), STATUS_OK);
    assert_int_equal(config_set(c, bytes_str("name"), bytes_str("a \"b\"\n"), &error), STATUS_OK);
    assert_int_equal(config_set(c, bytes_str("size"), bytes_str("7"), &error), STATUS_OK);
    config_rewrite(c, bytes_str(old), &out);
    assert_int_equal(strncmp((char *)out.data, "# mine\nport 6\nname \"a ", 22), 0);
    assert_int_equal(config_load_text(again, "g", buf_bytes(&out), &error), STATUS_OK);
    expect_text(again, NAME, "a \"b\"\n");
    expect_text(again, SIZE, "7");
    expect_text(again, PORT, "6");
    buf_fini(&error);
    buf_fini(&out);
    config_free(c);
    config_free(again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read), cmocka_unit_test(what_is_wrong_is_refused_with_its_line),
        cmocka_unit_test(arguments_are_read), cmocka_unit_test(only_live_options_change_while_running),
        cmocka_unit_test(a_rewrite_keeps_comments_and_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
