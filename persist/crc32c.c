#include "persist/crc32c.h"

#include <pthread.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t table[256];
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        table[i] = crc;
    }
}

static uint32_t by_table(uint32_t crc, const uint8_t *at, size_t len) {
    pthread_once(&filled, fill_table);
    while (len--) crc = crc >> 8 ^ table[(crc ^ *at++) & 0xff];
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *at, size_t len) {
    uint64_t wide = crc, word;
    for (; len >= sizeof word; at += sizeof word, len -= sizeof word) {
        memcpy(&word, at, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    while (len--) crc = __builtin_ia32_crc32qi(crc, *at++);
    return crc;
}

static bool has_instruction(void) { return __builtin_cpu_supports("sse4.2"); }
#else
static uint32_t by_instruction(uint32_t crc, const uint8_t *at, size_t len) { return by_table(crc, at, len); }
static bool has_instruction(void) { return false; }
#endif

uint32_t crc32c(uint32_t crc, struct bytes bytes) {
    return ~(has_instruction() ? by_instruction : by_table)(~crc, bytes.data, bytes.len);
}
