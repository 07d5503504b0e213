/* One name with little behind it, in one piece of memory: the usual shape of a key and of a field. There is one write at most,
 * increments of a few replicas, and, of a key, one expiry.
 *
 *   form | name length | name | expiry | write | counts          of these what the form says there is place for
 *   expiry := time (8) | dot
 *   write  := value length | dot | value
 *   counts := length of what follows | count+
 *   count  := dot | gen | total | floor_n | floor                of an increment, whose n is the dot's counter; no floor if floor_n is 0
 *   dot    := replica | counter | clock (8)
 *
 * Lengths, replicas, counters, gen and floor_n are varints, totals and floors as long as they must be, so the frame of a short
 * name and value is about 15 bytes, an expiry takes 19, and a count some 23. Whatever this cannot say (concurrent writes, counts of
 * many) needs the loose form; both forms begin with their form byte. Guarded by the shard's lock. */
#ifndef ANNEAL_LATTICE_PACKED_H
#define ANNEAL_LATTICE_PACKED_H

#include "lattice/element.h"

#define PACKED_COUNTS_MAX 8u

/* Bits of the form byte; the loose form is 0. What was removed keeps its place until it is settled. */
enum form {
    FORM_LOOSE = 0,
    FORM_PACKED = 1,
    FORM_TIMED = 2,   /* there is place for an expiry, */
    FORM_EXPIRY = 4,  /* and it is there */
    FORM_WRITTEN = 8, /* there is place for a write, */
    FORM_WRITE = 16,  /* and it is there */
    FORM_COUNTED = 32, /* there is place for counts, */
    FORM_COUNT = 64,   /* and some are live; else those that read so are reset: floor_n is n, floor is total */
    FORM_HOLES = 128,  /* of some only the place is there: their replica is 0 */
};

/* First byte of either form. */
static inline unsigned form_of(const void *item) { return *(const uint8_t *)item; }

#define EXPIRY_BYTES 8 /* of a sibling: big-endian milliseconds */

struct bytes packed_name(const void *packed);
struct dot packed_dot(const void *packed); /* of its write, or its first count, or what was there; 0 if there is no place for one */
size_t packed_size(const void *packed);
static inline bool packed_live(const void *packed) { return form_of(packed) & (FORM_WRITE | FORM_COUNT); }
bool packed_empty(const void *packed); /* nothing is there any more: to be freed by whoever owns the table */
static inline bool packed_has_slack(const void *packed) {
    unsigned form = form_of(packed), places = form & (FORM_TIMED | FORM_WRITTEN);
    return form & FORM_HOLES || places << 1 != (form & (FORM_EXPIRY | FORM_WRITE));
}
const uint8_t *packed_expiry(const void *packed); /* where its milliseconds are; NULL if it is not there */

/* A floor of nothing has no place; nor does anybody of ours tell of one. */
static inline bool packed_takes_count(const struct increment *i) { return i->floor_n || !i->floor; }
/* Whether an element can be packed; an expiry can if it has one sibling. */
bool packed_takes(const struct element *e);
/* `expiry` may be NULL. */
void *packed_new(struct bytes name, const struct element *e, const struct element *expiry, struct mem_account *account);
/* Writes over *packed, in place if the size stays: true then. The name must be the same one. A value may point into *packed only if
 * neither it nor the expiry changes. */
bool packed_renew(void **packed, struct bytes name, const struct element *e, const struct element *expiry, struct mem_account *account);
void packed_free(void *packed, struct mem_account *account);

/* No longer there, or reset; in place. */
void packed_drop_expiry(void *packed);
void packed_drop_write(void *packed);
void packed_reset(void *packed);
void packed_drop_counts_if(void *packed, bool (*gone)(const struct increment *i, const void *arg), const void *arg);

/* An element that lives elsewhere: made on the stack, for reading. Starts uninitialised, and must not move. */
struct view {
    struct element element;
    struct sibling one;
    struct increment counts[PACKED_COUNTS_MAX];
};
const struct element *packed_view(const void *packed, struct view *view);
const struct element *packed_view_expiry(const void *packed, struct view *view);

#endif
