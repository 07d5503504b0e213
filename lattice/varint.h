/* Unsigned integers in memory of our own, 7 bits a byte, low ones first: trusted bytes only. */
#ifndef ANNEAL_LATTICE_VARINT_H
#define ANNEAL_LATTICE_VARINT_H

#include <stddef.h>
#include <stdint.h>

static inline size_t varint_len(uint64_t value) {
    size_t len = 1;
    while (value >>= 7) len++;
    return len;
}

static inline uint8_t *varint_put(uint8_t *at, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

static inline uint64_t varint_take(const uint8_t **at) {
    uint64_t byte = *(*at)++, value = byte & 0x7f;
    for (unsigned shift = 7; byte & 0x80; shift += 7) {
        byte = *(*at)++;
        value |= (byte & 0x7f) << shift;
    }
    return value;
}

#endif
