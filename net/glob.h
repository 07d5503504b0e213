/* Glob patterns as KEYS, SCAN MATCH and CONFIG GET read them: * ? [abc] [^a-z] and \ before
 * a byte that stands for itself. Bytes, not characters. Time is at most the product of both
 * lengths, never exponential. */
#ifndef ANNEAL_NET_GLOB_H
#define ANNEAL_NET_GLOB_H

#include "core/bytes.h"

bool glob_match(struct bytes pattern, struct bytes text, bool nocase);

#endif
