#include "lattice/fixed.h"

typedef unsigned __int128 wide;
static const wide most = ((wide)1 << 127) - 1;

__int128 fixed_add(__int128 a, __int128 b) {
    __int128 sum, end = (__int128)most;
    if (__builtin_add_overflow(a, b, &sum)) return b > 0 ? end : -end;
    return sum < -end ? -end : sum;
}

bool fixed_to_i64(__int128 value, int64_t *out) {
    if (value % FIXED_ONE != 0) return false;
    __int128 whole = value / FIXED_ONE;
    if (whole > INT64_MAX || whole < INT64_MIN) return false;
    *out = (int64_t)whole;
    return true;
}

static bool digit(struct bytes text, size_t at, unsigned *out) {
    if (at >= text.len) return false;
    *out = (unsigned)text.data[at] - '0';
    return *out <= 9;
}

/* Reads the exponent that starts at `at`; false if it is none. Far ones are clamped: what
 * they mean, zero or overflow, does not depend on how far. */
static bool read_exponent(struct bytes text, size_t at, int *out) {
    bool negative = false;
    unsigned d;
    if (at < text.len && (text.data[at] == '-' || text.data[at] == '+')) negative = text.data[at++] == '-';
    if (at == text.len) return false;
    int exponent = 0;
    for (; digit(text, at, &d); at++)
        if (exponent < 10000) exponent = exponent * 10 + (int)d;
    *out = negative ? -exponent : exponent;
    return at == text.len;
}

/* size := digits * 10^shift, cut toward zero. */
static bool scale(wide digits, int shift, wide *size) {
    if (digits == 0) shift = 0;
    for (; shift > 0; shift--)
        if (__builtin_mul_overflow(digits, (wide)10, &digits)) return false;
    for (; shift < 0 && digits; shift++) digits /= 10;
    *size = digits;
    return digits <= most;
}

enum status fixed_parse(struct bytes text, __int128 *out) {
    size_t at = 0;
    unsigned d;
    bool negative = false, any = false;
    if (at < text.len && (text.data[at] == '-' || text.data[at] == '+')) negative = text.data[at++] == '-';
    wide digits = 0;
    int shift = FIXED_DECIMALS, exponent = 0;
    const wide room = (~(wide)0 - 9) / 10; /* more than most / 10, so that what is printed is read whole */
    for (; digit(text, at, &d); at++, any = true) {
        if (digits <= room)
            digits = digits * 10 + d;
        else
            shift++;
    }
    if (at < text.len && text.data[at] == '.')
        for (at++; digit(text, at, &d); at++, any = true) {
            if (digits > room) continue;
            digits = digits * 10 + d;
            shift--;
        }
    if (!any) return STATUS_ERR_INVALID;
    if (at < text.len) {
        if (text.data[at] != 'e' && text.data[at] != 'E') return STATUS_ERR_INVALID;
        if (!read_exponent(text, at + 1, &exponent)) return STATUS_ERR_INVALID;
    }
    wide size;
    if (!scale(digits, shift + exponent, &size)) return STATUS_ERR_OVERFLOW;
    *out = negative ? -(__int128)size : (__int128)size;
    return STATUS_OK;
}

size_t fixed_print(__int128 value, char *out) {
    char reversed[FIXED_TEXT_MAX];
    size_t count = 0, len = 0;
    wide size = value < 0 ? (wide)0 - (wide)value : (wide)value;
    wide whole = size / (wide)FIXED_ONE, rest = size % (wide)FIXED_ONE;
    do {
        reversed[count++] = (char)('0' + (int)(whole % 10));
        whole /= 10;
    } while (whole);
    if (value < 0) out[len++] = '-';
    while (count) out[len++] = reversed[--count];
    if (!rest) return len;
    out[len++] = '.';
    for (wide unit = (wide)FIXED_ONE / 10; rest; unit /= 10) {
        out[len++] = (char)('0' + (int)(rest / unit));
        rest %= unit;
    }
    return len;
}
