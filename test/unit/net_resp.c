/* The request parser at every split point, its limits and its errors; globs against a naive
 * matcher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/rng.h"
#include "net/glob.h"
#include "net/resp.h"

/* Every command as arguments in brackets, then the error, if any. */
static void transcript(const char *in, size_t len, size_t split, bool stranger, struct buf *out) {
    struct resp_limits limits = RESP_LIMITS_DEFAULT;
    struct resp_parser p;
    struct buf query = {0};
    resp_init(&p, &limits);
    p.stranger = stranger;
    enum resp_result r = RESP_MORE;
    for (size_t at = 0, step; at < len && r != RESP_ERROR; at += step) {
        step = split == 0 ? 1 : at == 0 && split < len ? split : len - at;
        buf_put(&query, in + at, step);
        const struct bytes *argv;
        size_t argc;
        while ((r = resp_next(&p, buf_bytes(&query), &argv, &argc)) == RESP_COMMAND) {
            for (size_t i = 0; i < argc; i++) {
                buf_put_byte(out, '[');
                buf_put_bytes(out, argv[i]);
                buf_put_byte(out, ']');
            }
            buf_put_byte(out, ';');
        }
        if (r == RESP_ERROR) buf_put_str(out, p.error);
        else buf_drop_front(&query, resp_take(&p));
    }
    buf_fini(&query);
    resp_fini(&p);
}

static void requests_read_the_same_at_every_split(void **state) {
    (void)state;
    static const struct { const char *in, *out; bool stranger; } cases[] = {
        {"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "[PING];[GET][];", false},
        {"*-2\r\n*0\r\nPING\r\n", "[PING];", false},
        {"\r\n  set  a \"b\\x41\\n\" 'c\\'d' \"\"\r\n", "[set][a][bA\n][c'd][];", false},
        {"set \"a\r\n", "Protocol error: unbalanced quotes in request", false},
        {"set \"a\"b\r\n", "Protocol error: unbalanced quotes in request", false},
        {"*x\r\n", "Protocol error: invalid multibulk length", false},
        {"*1048577\r\n", "Protocol error: invalid multibulk length", false},
        {"*1\r\n:4\r\n", "Protocol error: expected '$', got ':'", false},
        {"*1\r\n$-1\r\n", "Protocol error: invalid bulk length", false},
        {"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length", false},
        {"*11\r\n", "Protocol error: unauthenticated multibulk length", true},
        {"*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t split = 0, len = strlen(cases[i].in); split <= len; split++) {
            struct buf out = {0};
            transcript(cases[i].in, len, split, cases[i].stranger, &out);
            buf_put_byte(&out, 0);
            assert_string_equal((char *)out.data, cases[i].out);
            buf_fini(&out);
        }
}

static void a_look_ahead_sees_whole_commands_alone(void **state) {
    (void)state;
    static const struct { const char *in, *second; size_t end; } cases[] = {
        {"*1\r\n$4\r\nPING\r\n*1", "", 14},
        {"*2\r\n$3\r\nGET\r\n$2\r\nab\r\n", "ab", 21},
        {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "", 19},
        {"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nxy\r\n*", "a", 28},
        {"*2\r\n$3\r\nGET\r\n$2\r\nab\r", NULL, 0},
        {"*2\r\n$3\r\nGET\r\n$9", NULL, 0},
        {"*2\r\n$3\r\nGET\r\n:1\r\n", NULL, 0},
        {"*0\r\n", NULL, 0},
        {"*-1\r\n", NULL, 0},
        {"*17\r\n", NULL, 0},
        {"*2\r\n$9999999999999999999\r\n", NULL, 0},
        {"GET a\r\n", NULL, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t at = 0;
        struct bytes second;
        assert_int_equal(resp_peek(bytes_str(cases[i].in), &at, &second), cases[i].second != NULL);
        assert_int_equal(at, cases[i].end);
        if (cases[i].second) assert_true(bytes_equal(second, bytes_str(cases[i].second)));
    }
}

static void a_line_without_end_is_refused(void **state) {
    (void)state;
    static char in[70000];
    static const char *const errors[] = {"Protocol error: too big inline request",
                                         "Protocol error: too big mbulk count string"};
    for (int i = 0; i < 2; i++) {
        struct buf out = {0};
        memset(in, '1', sizeof in);
        if (i) in[0] = '*';
        transcript(in, sizeof in, 0, false, &out);
        buf_put_byte(&out, 0);
        assert_string_equal((char *)out.data, errors[i]);
        buf_fini(&out);
    }
}

static void random_bytes_are_survived(void **state) {
    (void)state;
    static const char set[] = "*$\r\n\r\n0123 \"'\\x-";
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        char in[48];
        for (size_t k = 0; k < sizeof in; k++) in[k] = set[rng_below(&rng, sizeof set)];
        struct buf whole = {0}, bytewise = {0};
        transcript(in, sizeof in, sizeof in, false, &whole);
        transcript(in, sizeof in, 0, false, &bytewise);
        assert_true(bytes_equal(buf_bytes(&whole), buf_bytes(&bytewise)));
        buf_fini(&whole);
        buf_fini(&bytewise);
    }
}

static bool naive(const char *p, const char *t) {
    if (!*p) return !*t;
    if (*p == '*') return naive(p + 1, t) || (*t && naive(p, t + 1));
    return *t && (*p == '?' || *p == *t) && naive(p + 1, t + 1);
}

static void globs_match_as_a_naive_matcher(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    for (int i = 0; i < 100000; i++) {
        char p[8] = {0}, t[10] = {0};
        for (size_t k = 0, n = rng_below(&rng, 8); k < n; k++) p[k] = "ab*?"[rng_below(&rng, 4)];
        for (size_t k = 0, n = rng_below(&rng, 10); k < n; k++) t[k] = "ab"[rng_below(&rng, 2)];
        assert_int_equal(glob_match(bytes_str(p), bytes_str(t), false), naive(p, t));
    }
    assert_true(glob_match(bytes_str("h[^a-d]l\\*O"), bytes_str("HeL*o"), true));
    assert_false(glob_match(bytes_str("h[^a-e]l"), bytes_str("hel"), false));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_read_the_same_at_every_split), cmocka_unit_test(a_look_ahead_sees_whole_commands_alone),
        cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(random_bytes_are_survived), cmocka_unit_test(globs_match_as_a_naive_matcher)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
