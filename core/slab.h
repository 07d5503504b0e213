/* Small pieces of equal size, packed into pages without a header each: malloc spends 8 bytes and
 * rounds to 16, which is much beside a key of a hundred bytes.
 *
 *   page (4 KiB, aligned): header | piece | piece | ... ; a free piece holds the next one's place
 *
 * A class is a size in steps of 8; a piece is aligned to 8, and to 16 if its size is a multiple
 * of that. Stripes keep threads apart: each has its own pages and lock. A
 * page without pieces goes back to a pool that all classes share; the pool keeps what it has.
 * Built with the address sanitizer, every piece is malloc's, so that it can watch. */
#ifndef ANNEAL_CORE_SLAB_H
#define ANNEAL_CORE_SLAB_H

#include <stddef.h>

#define SLAB_BYTES_MAX 512u /* larger pieces are malloc's */

/* size is 1 to SLAB_BYTES_MAX; stripe is any number, the same when it is given back. */
void *slab_take(size_t stripe, size_t size);
void slab_give(size_t stripe, void *piece, size_t size);

#endif
