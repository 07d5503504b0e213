/* Byte strings and numbers as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/rng.h"

static void integers_are_read_strictly(void **state) {
    (void)state;
    static const struct { const char *text; bool ok; int64_t value; } cases[] = {
        {"0", true, 0}, {"-1", true, -1}, {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN}, {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0}, {"", false, 0}, {"-", false, 0}, {"-0", false, 0},
        {"01", false, 0}, {"+1", false, 0}, {" 1", false, 0}, {"1 ", false, 0}, {"1.0", false, 0},
        {"99999999999999999999", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 77;
        assert_int_equal(bytes_to_i64(bytes_str(cases[i].text), &value), cases[i].ok);
        assert_int_equal(value, cases[i].ok ? cases[i].value : 77);
    }
}

static void integers_survive_a_round_trip(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 100000; i++) {
        int64_t value = (int64_t)(rng_next(&rng) >> rng_below(&rng, 64)) * (rng_percent(&rng, 50) ? 1 : -1), back;
        char text[24];
        assert_true(bytes_to_i64(bytes_of(text, bytes_from_i64(value, text)), &back));
        assert_int_equal(value, back);
    }
}

static void a_buffer_keeps_what_was_put(void **state) {
    (void)state;
    struct buf buf = {0};
    for (int i = 0; i < 1000; i++) buf_printf(&buf, "%d,", i);
    buf_drop_front(&buf, 4);
    assert_memory_equal(buf.data, "2,3,4,", 6);
    buf_fini(&buf);
    assert_null(buf.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_read_strictly),
        cmocka_unit_test(integers_survive_a_round_trip),
        cmocka_unit_test(a_buffer_keeps_what_was_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
