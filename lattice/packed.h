/* One name with one write, in one piece of memory: the usual shape of a key and of a field.
 *
 *   form | name length | name | value length | replica | counter | clock (8) | value
 *
 * Lengths, replica and counter are varints, so the frame of a short name and value is about 15
 * bytes. Whatever one write cannot say (concurrent writes, increments, an expiry) needs the
 * loose form; both forms begin with their form byte. Guarded by the shard's lock. */
#ifndef ANNEAL_LATTICE_PACKED_H
#define ANNEAL_LATTICE_PACKED_H

#include "lattice/element.h"

enum form {
    FORM_LOOSE,
    FORM_PACKED,
    FORM_GONE, /* packed, its write was removed: to be freed by whoever owns the table */
};

/* First byte of either form. */
static inline enum form form_of(const void *item) { return (enum form) * (const uint8_t *)item; }

/* Views into the item. */
struct parts {
    struct bytes name, value;
    struct dot dot;
    uint64_t clock;
};
void packed_read(const void *packed, struct parts *out);
struct bytes packed_name(const void *packed);

void *packed_new(const struct parts *parts, struct mem_account *account);
/* Writes over *packed, in place if the size stays: true then. The name must be the same one,
 * and the value may not point into *packed. */
bool packed_renew(void **packed, const struct parts *parts, struct mem_account *account);
void packed_free(void *packed, struct mem_account *account);
void packed_mark_gone(void *packed);

/* An element that lives elsewhere: made on the stack, for reading. */
struct view {
    struct element element;
    struct sibling one;
};
/* No sibling when it is gone. The view must not move. */
const struct element *packed_view(const void *packed, struct view *view);

#endif
