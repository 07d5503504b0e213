/* One name with one write, or with the increments of one replica, in one piece of memory: the usual shape of a key and of a
 * field. A key may have one expiry besides.
 *
 *   form | name length | name | expiry | value length | replica | counter | clock (8) | value
 *   expiry := nothing | time (8) | clock (8) | replica | counter
 *   value  := bytes | gen | total | floor_n | floor          of an increment, whose n is the counter; no floor if floor_n is 0
 *
 * Lengths, replica and counters (gen, floor_n) are varints, totals and floors as long as they must, so the frame of a short name
 * and value is about 15 bytes, an expiry takes 19, and what counts some 13. Whatever this cannot say (concurrent writes, counts of several replicas) needs
 * the loose form; both forms begin with their form byte. Guarded by the shard's lock. */
#ifndef ANNEAL_LATTICE_PACKED_H
#define ANNEAL_LATTICE_PACKED_H

#include "lattice/element.h"

/* Bits of the form byte; the loose form is 0. What was removed keeps its place until it is
 * settled; a packed item without WRITE, COUNT and EXPIRY is to be freed by whoever owns the table. */
enum form {
    FORM_LOOSE = 0,
    FORM_PACKED = 1,
    FORM_WRITE = 2,  /* the write is there, or the increments live */
    FORM_TIMED = 4,  /* there is place for an expiry, */
    FORM_EXPIRY = 8, /* and it is there */
    FORM_COUNT = 16, /* it is increments that are there; without FORM_WRITE all of them are reset: floor_n is n, floor is total */
};

/* First byte of either form. */
static inline unsigned form_of(const void *item) { return *(const uint8_t *)item; }

#define EXPIRY_BYTES 8 /* of a sibling: big-endian milliseconds */

/* Views into the item, but for the expiry. */
struct parts {
    struct bytes name, value;
    struct dot dot; /* of the write, or of the newest increment */
    uint64_t clock;
    const struct increment *increment; /* to be packed: dot and clock are its, and what is in value; NULL: a write; or read back */
    bool timed;
    struct {
        uint8_t at[EXPIRY_BYTES];
        struct dot dot;
        uint64_t clock;
    } expiry; /* if timed */
};
void packed_read(const void *packed, struct parts *out);
struct bytes packed_name(const void *packed);
struct dot packed_dot(const void *packed); /* of what is there; else of an earlier one, or 0 */

/* Whether an increment can be packed; its parts. */
bool packed_takes(const struct increment *i);
struct parts packed_count(struct bytes name, const struct increment *i);

/* All that the parts say is there then. */
void *packed_new(const struct parts *parts, struct mem_account *account);
/* Writes over *packed, in place if the size stays: true then. The name must be the same one,
 * and the value may point into *packed only if it does not change. */
bool packed_renew(void **packed, const struct parts *parts, struct mem_account *account);
void packed_free(void *packed, struct mem_account *account);
/* FORM_WRITE: the write is no longer there, the increments are reset. FORM_EXPIRY, FORM_COUNT: no longer there. */
void packed_drop(void *packed, enum form what);
/* Where the milliseconds of the expiry are; NULL if it is not there. */
const uint8_t *packed_expiry(const void *packed);

/* An element that lives elsewhere: made on the stack, for reading. */
struct view {
    struct element element;
    union {
        struct sibling one;
        struct increment count;
    };
};
/* FORM_WRITE, or what counts in its place, or FORM_EXPIRY. Nothing in it when it is not there. The view must not move. */
const struct element *packed_view(const void *packed, enum form what, struct view *view);

#endif
