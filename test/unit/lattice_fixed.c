/* Numbers of counters as text and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "lattice/fixed.h"

static void assert_shows(__int128 value, const char *text) {
    char out[FIXED_TEXT_MAX];
    size_t len = fixed_print(value, out);
    assert_true(bytes_equal(bytes_of(out, len), bytes_str(text)));
}

static void texts_are_read_as_redis_reads_them(void **state) {
    (void)state;
    static const struct { const char *text, *shows; } good[] = {
        {"0", "0"}, {"-0", "0"}, {"10.50", "10.5"}, {"5.0e3", "5000"}, {"200e-2", "2"}, {"1e-17", "0.00000000000000001"},
        {"1e-18", "0"}, {".5", "0.5"}, {"5.", "5"}, {"+3", "3"}, {"-1.25", "-1.25"}, {"0e99999", "0"},
        {"9223372036854775807", "9223372036854775807"}, {"-9223372036854775808", "-9223372036854775808"},
        {"0.000000000000000000000000000000000000000000001", "0"}, {"1e21", "1000000000000000000000"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        __int128 value;
        assert_int_equal(fixed_parse(bytes_str(good[i].text), &value), STATUS_OK);
        assert_shows(value, good[i].shows);
    }
    static const char *const bad[] = {"", "-", ".", "e5", "1e", "1e+", " 1", "1 ", "1x", "0x10", "nan", "inf", "--1", "1.2.3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        __int128 value = 7;
        assert_int_equal(fixed_parse(bytes_str(bad[i]), &value), STATUS_ERR_INVALID);
        assert_true(value == 7);
    }
    __int128 value;
    assert_int_equal(fixed_parse(bytes_str("1e22"), &value), STATUS_ERR_OVERFLOW);
    assert_int_equal(fixed_parse(bytes_str("1e99999999999999999999"), &value), STATUS_ERR_OVERFLOW);
}

static void tenths_add_up_exactly(void **state) {
    (void)state;
    __int128 tenth, sum = 0;
    assert_int_equal(fixed_parse(bytes_str("0.1"), &tenth), STATUS_OK);
    for (int i = 0; i < 30; i++) sum = fixed_add(sum, tenth);
    assert_shows(sum, "3");
}

static void numbers_survive_a_round_trip(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < 100000; i++) {
        unsigned __int128 bits = (unsigned __int128)rng_next(&rng) << 64 | rng_next(&rng);
        __int128 value = (__int128)(bits >> (1 + rng_below(&rng, 126))), back;
        if (rng_percent(&rng, 50)) value = -value;
        char text[FIXED_TEXT_MAX];
        assert_int_equal(fixed_parse(bytes_of(text, fixed_print(value, text)), &back), STATUS_OK);
        assert_true(back == value);
    }
}

/* The ends of the range, and what saturation leaves: 39 digits. */
static void the_greatest_numbers_survive_a_round_trip(void **state) {
    (void)state;
    const __int128 most = (__int128)(((unsigned __int128)1 << 127) - 1);
    for (int less = 0; less < 20; less++)
        for (int sign = -1; sign <= 1; sign += 2) {
            char text[FIXED_TEXT_MAX];
            __int128 value = sign * (most - less), back;
            assert_int_equal(fixed_parse(bytes_of(text, fixed_print(value, text)), &back), STATUS_OK);
            assert_true(back == value);
        }
}

static void sums_stay_numbers_that_can_be_read(void **state) {
    (void)state;
    const __int128 most = (__int128)(((unsigned __int128)1 << 127) - 1);
    assert_true(fixed_add(-most, -1) == -most);
    assert_true(fixed_add(-most, -most) == -most);
    assert_true(fixed_add(most, 1) == most);
    assert_true(fixed_add(1 - most, -1) == -most);
}

static void integers_are_told_from_fractions(void **state) {
    (void)state;
    int64_t out = 5;
    assert_true(fixed_to_i64(fixed_from_i64(INT64_MIN), &out));
    assert_int_equal(out, INT64_MIN);
    assert_false(fixed_to_i64(FIXED_ONE / 2, &out));
    assert_false(fixed_to_i64(fixed_add(fixed_from_i64(INT64_MAX), FIXED_ONE), &out));
    assert_int_equal(out, INT64_MIN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_read_as_redis_reads_them),
        cmocka_unit_test(tenths_add_up_exactly),
        cmocka_unit_test(numbers_survive_a_round_trip),
        cmocka_unit_test(the_greatest_numbers_survive_a_round_trip),
        cmocka_unit_test(sums_stay_numbers_that_can_be_read),
        cmocka_unit_test(integers_are_told_from_fractions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
