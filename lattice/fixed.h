/* Numbers of counters: signed 128-bit fixed point, 17 decimals.
 *
 * INCRBY and INCRBYFLOAT are one sum that is exact, and so commutes and associates, which
 * binary floats do not; 17 decimals are what Redis prints. Range: about +-1.7e21. */
#ifndef ANNEAL_LATTICE_FIXED_H
#define ANNEAL_LATTICE_FIXED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/status.h"

#define FIXED_DECIMALS 17
#define FIXED_ONE ((__int128)100000000000000000)
#define FIXED_TEXT_MAX 48

/* Digits with an optional sign, point and exponent; no spaces, inf, nan or hex. Decimals
 * beyond the 17th are cut. STATUS_ERR_INVALID, or STATUS_ERR_OVERFLOW. */
enum status fixed_parse(struct bytes text, __int128 *out) MUST_CHECK;
/* At most FIXED_TEXT_MAX characters, not terminated; returns how many. */
size_t fixed_print(__int128 value, char *out);
/* Saturates, at the greatest number and its negative: -2^127 is no number. */
__int128 fixed_add(__int128 a, __int128 b);
static inline __int128 fixed_from_i64(int64_t value) { return (__int128)value * FIXED_ONE; }
bool fixed_to_i64(__int128 value, int64_t *out); /* false if not whole or out of range */

#endif
