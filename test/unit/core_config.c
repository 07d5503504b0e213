/* Options: what parses, what is refused and where, and that a rewrite reads back the same. */
#include <pthread.h>
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
        {"level warning", LEVEL, "warning"}, {"name \"\\x4\"", NAME, "x4"}, {"name \"\\x4g\"", NAME, "x4g"},
        {"size 1099511627776", SIZE, "1099511627776"},
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
        {"port 65536", "f:1: 'port': argument must be between 0 and 65535 inclusive"}, {"\n\nport -1", "f:3: "}, {"port 1x", "f:1: 'port': argument couldn't be parsed into an integer"},
        {"\"\" x", "f:1: unknown option ''"}, {"\"\"", "f:1: '' has no value"}, {"size \"\"", "f:1: 'size': argument must be a memory value"},
        {"port", "f:1: 'port' has no value"}, {"port 1 2", "f:1: 'port' has more than one value"},
        {"colour red", "f:1: unknown option 'colour'"}, {"flag maybe", "'flag': argument must be 'yes' or 'no'"}, {"level loud", "must be one of the following: debug, notice, warning"},
        {"size 0", "'size': argument must be between 1 and 1099511627776"}, {"size 9999999999gb", "'size': argument must be a memory value"}, {"size 1tb", "'size': argument must be a memory value"},
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

/* Words in pairs; the pair that failed, or -1. */
static int set(struct config *c, const char *words, enum status want, const char *why) {
    struct config_pair pairs[16];
    struct buf error = {0};
    size_t count = 0, failed = 0;
    for (const char *at = words; *at; count++) {
        const char *value = strchr(at, ' ') + 1, *end = strchr(value, ' ');
        size_t len = end ? (size_t)(end - value) : strlen(value);
        pairs[count] = (struct config_pair){bytes_of(at, (size_t)(value - at) - 1), bytes_of(value, len)};
        at = value + len + (end != NULL);
    }
    assert_int_equal(config_set(c, pairs, count, &failed, &error), want);
    buf_put_byte(&error, 0);
    assert_string_equal((char *)error.data, why);
    buf_fini(&error);
    return want == STATUS_OK ? -1 : (int)failed;
}

static void only_live_options_change_while_running(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT);
    set(c, "flag yes", STATUS_OK, "");
    assert_true(config_bool(c, FLAG));
    set(c, "port 1", STATUS_ERR_INVALID, "can't set immutable config");
    set(c, "colour 1", STATUS_ERR_NOT_FOUND, "");
    set(c, "level loud", STATUS_ERR_INVALID, "argument(s) must be one of the following: debug, notice, warning");
    assert_int_equal(config_integer(c, LEVEL), 1);
    config_free(c);
}

static void many_options_are_set_together_or_not_at_all(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT);
    assert_int_equal(set(c, "flag yes name a level debug", STATUS_OK, ""), -1);
    assert_int_equal(set(c, "flag no name b level loud", STATUS_ERR_INVALID,
                         "argument(s) must be one of the following: debug, notice, warning"), 2);
    assert_int_equal(set(c, "flag no colour b", STATUS_ERR_NOT_FOUND, ""), 1);
    assert_int_equal(set(c, "flag no name b FLAG no", STATUS_ERR_INVALID, "duplicate parameter"), 2);
    assert_int_equal(set(c, "flag maybe colour b", STATUS_ERR_NOT_FOUND, ""), 1); /* names come first */
    assert_int_equal(set(c, "flag no flag no flag no flag no flag no flag no flag no", STATUS_ERR_INVALID, "duplicate parameter"), 1);
    assert_int_equal(set(c, "flag maybe name b", STATUS_ERR_INVALID, "argument must be 'yes' or 'no'"), 0);
    assert_int_equal(set(c, "name b flag maybe level debug", STATUS_ERR_INVALID, "argument must be 'yes' or 'no'"), 1);
    expect_text(c, FLAG, "yes");
    expect_text(c, NAME, "a");
    expect_text(c, LEVEL, "debug");
    config_free(c);
}

struct setter {
    struct config *c;
    const char *words;
};

static void *set_often(void *arg) {
    struct setter *s = arg;
    for (int i = 0; i < 2000; i++) set(s->c, s->words, STATUS_OK, "");
    return NULL;
}

/* For SAN=thread; without it, that the last setter's values are those of one of them. */
static void setters_take_turns(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT);
    struct setter setters[2] = {{c, "name aaaaaaaaaaaaaaaaaaaaaaaa level debug"}, {c, "name b level warning"}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, set_often, &setters[i]), 0);
    for (int i = 0; i < 200; i++) {
        struct buf out = {0};
        config_rewrite(c, bytes_str(""), &out);
        buf_put_byte(&out, 0);
        const char *name = strstr((char *)out.data, "name a"), *level = strstr((char *)out.data, "level debug");
        assert_int_equal(name != NULL, level != NULL);
        buf_fini(&out);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    config_free(c);
}

static void help_names_every_option(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT);
    struct buf out = {0};
    config_help(c, &out);
    buf_put_byte(&out, 0);
    for (int i = 0; i < COUNT; i++) assert_non_null(strstr((char *)out.data, table[i].name));
    assert_non_null(strstr((char *)out.data, "a level (debug|notice|warning) [notice]\n"));
    assert_non_null(strstr((char *)out.data, "a name [empty]\n"));
    buf_fini(&out);
    config_free(c);
}

static void a_rewrite_keeps_comments_and_reads_back(void **state) {
    (void)state;
    struct config *c = config_new(table, COUNT), *again = config_new(table, COUNT);
    struct buf error = {0}, out = {0};
    const char *old = "# mine\nport 5\nname x\nport 6\n";
    assert_int_equal(config_load_text(c, "f", bytes_str(old), &error), STATUS_OK);
    const struct config_pair pairs[] = {{bytes_str("name"), bytes_str("a \"b\"\n")}, {bytes_str("size"), bytes_str("7")}};
    size_t failed;
    assert_int_equal(config_set(c, pairs, 2, &failed, &error), STATUS_OK);
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

static void a_rewrite_adds_what_was_changed_alone(void **state) {
    (void)state;
    static const char *const names[] = {"", "#a", "a#", "a b", "'", "\\", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct config *c = config_new(table, COUNT), *again = config_new(table, COUNT);
        struct buf error = {0}, out = {0};
        const struct config_pair pair = {bytes_str("name"), bytes_str(names[i])};
        size_t failed, lines = 0;
        assert_int_equal(config_set(c, &pair, 1, &failed, &error), STATUS_OK);
        config_rewrite(c, bytes_str(""), &out);
        for (size_t at = 0; at < out.len; at++) lines += out.data[at] == '\n';
        assert_int_equal(lines, 1);
        assert_int_equal(config_load_text(again, "g", buf_bytes(&out), &error), STATUS_OK);
        expect_text(again, NAME, names[i]);
        buf_fini(&error);
        buf_fini(&out);
        config_free(c);
        config_free(again);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read), cmocka_unit_test(what_is_wrong_is_refused_with_its_line),
        cmocka_unit_test(arguments_are_read), cmocka_unit_test(only_live_options_change_while_running),
        cmocka_unit_test(many_options_are_set_together_or_not_at_all),
        cmocka_unit_test(setters_take_turns), cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(a_rewrite_keeps_comments_and_reads_back), cmocka_unit_test(a_rewrite_adds_what_was_changed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
