/* Integers and decimals: what is read is what is written, and no more than libc reads.
 *
 * input := 32 bytes for two numbers of 128 bits, then a text */
#include <ctype.h>
#include <errno.h>
#include <math.h>

#include "lattice/fixed.h"
#include "test/fuzz/fuzz.h"

#define TEXT_MAX 200

/* Redis's rule: the text is the one that printing the number gives. */
static void check_integer(struct bytes text) {
    int64_t value = 0;
    bool is = bytes_to_i64(text, &value);
    char copy[TEXT_MAX + 1] = {0}, printed[32], *end;
    if (text.len) memcpy(copy, text.data, text.len);
    errno = 0;
    long long want = strtoll(copy, &end, 10);
    snprintf(printed, sizeof printed, "%lld", want);
    CHECK(is == (errno == 0 && bytes_equal(text, bytes_str(printed))));
    if (!is) return;
    CHECK(value == want);
    char again[24];
    CHECK(bytes_equal(text, bytes_of(again, bytes_from_i64(value, again))));
}

static void check_round_trip(__int128 value) {
    char text[FIXED_TEXT_MAX];
    size_t len = fixed_print(value, text);
    __int128 again;
    CHECK(len <= FIXED_TEXT_MAX);
    CHECK(fixed_parse(bytes_of(text, len), &again) == STATUS_OK);
    CHECK(again == value);
    int64_t whole;
    if (fixed_to_i64(value, &whole)) CHECK(fixed_from_i64(whole) == value);
}

/* No spaces, infinity, nan or hex: a subset of what strtold takes. */
static bool is_decimal(const char *text, long double *value) {
    char *end;
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    *value = strtold(text, &end);
    return !*end;
}

static void check_decimal(struct bytes text) {
    char copy[TEXT_MAX + 1] = {0};
    if (text.len) memcpy(copy, text.data, text.len);
    bool whole = !text.len || !memchr(text.data, 0, text.len);
    long double want = 0;
    __int128 value = 0;
    enum status status = fixed_parse(text, &value);
    CHECK((status != STATUS_ERR_INVALID) == (whole && is_decimal(copy, &want)));
    long double most = ldexpl(1, 127) / (long double)FIXED_ONE;
    if (status == STATUS_ERR_OVERFLOW) CHECK(fabsl(want) >= most * 0.999999L);
    if (status != STATUS_OK) return;
    CHECK(fabsl((long double)value / (long double)FIXED_ONE - want) <= 1e-17L + fabsl(want) * 1e-17L);
    check_round_trip(value);
}

static __int128 number(struct input *in) {
    unsigned __int128 value = 0;
    for (int i = 0; i < 16; i++) value = value << 8 | input_byte(in);
    return (__int128)value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    __int128 a = number(&in), b = number(&in), least = (__int128)((unsigned __int128)1 << 127);
    if (a == least) a++; /* no sum gives it */
    if (b == least) b++;
    check_round_trip(a);
    CHECK(fixed_add(a, b) == fixed_add(b, a));
    check_round_trip(fixed_add(a, b));
    struct bytes text = fuzz_exact(input_bytes(&in, TEXT_MAX));
    check_integer(text);
    check_decimal(text);
    fuzz_exact_free(text);
    return 0;
}

void fuzz_seeds(void) {
    static const char *const texts[] = {"0",
                                        "-1",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "9223372036854775808",
                                        "1.5",
                                        "-.25",
                                        "1e3",
                                        "2.5E-3",
                                        "1701411834604692317316.87303715884105727",
                                        "1e400",
                                        "1e-400",
                                        "+7.",
                                        "00012",
                                        "123456789012345678901234567890e-20"};
    static const uint8_t numbers[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0xc6, 0x8a, 0xf0, 0xbb, 0x14, 0, 0, 0xff, 0xff, 0xff};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf seed = {0};
        buf_put(&seed, numbers, sizeof numbers);
        buf_put_str(&seed, texts[i]);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
