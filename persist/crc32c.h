/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), by the processor's instruction where it has one. */
#ifndef ANNEAL_PERSIST_CRC32C_H
#define ANNEAL_PERSIST_CRC32C_H

#include "core/bytes.h"

/* Of a then b is crc32c(crc32c(0, a), b). */
uint32_t crc32c(uint32_t crc, struct bytes bytes);

#endif
