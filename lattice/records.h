/* The delta log of one shard: which mutation touched which element, oldest first.
 *
 *   record := head | [replica counter] | key hash | [field hash] | [count, removed dots]
 *   head   := kind | 8 if the dot follows that of the record before | 16 if it removed dots
 *
 * Records are packed into chunks of 1 KiB, so that an own SET takes 9 bytes, and what is cut
 * goes back to malloc piece by piece. The first record of a chunk says its dot in full, so a
 * chunk is read without those before it. Guarded by the shard's lock. */
#ifndef ANNEAL_LATTICE_RECORDS_H
#define ANNEAL_LATTICE_RECORDS_H

#include <stddef.h>

#include "lattice/dot.h"

struct flush; /* what a FLUSHALL saw */

struct record {
    struct dot dot;
    uint64_t key_hash, field_hash;
    struct flush *flush;   /* of a flush only */
    const void *removed;   /* dots of other origins that it removed, unaligned; own records only */
    uint32_t removed_count;
};
struct dot record_removed(const struct record *record, uint32_t at);

struct chunk;
/* A place in the log, good until it changes. */
struct records_at {
    const struct chunk *chunk;
    size_t at;
    struct dot before;
};
#define RECORDS_MARKS 4u /* readers of own records that come again and again: peers', the disk's, the store's */
struct records {
    struct chunk *oldest, *newest;
    size_t oldest_at; /* the oldest record's place in its chunk ... */
    struct dot before; /* ... and the dot before it there */
    struct dot last;  /* the newest record's */
    uint64_t bytes;   /* of records, and of what flushes saw */
    size_t count;
    struct records_mark {
        uint64_t own; /* all own records up to it are before the place, those beyond are not */
        struct records_at place; /* no chunk: none */
    } marks[RECORDS_MARKS];
    uint32_t next_mark;
};

/* Starts as {0}. Copies what record->removed points to; takes the flush, which counts and must not change. */
void records_add(struct records *r, const struct record *record, uint16_t self);
/* Takes the oldest away; its flush is the caller's. False if there is none. `removed` is gone. */
bool records_pop(struct records *r, struct record *out);
bool records_peek(const struct records *r, struct dot *out);

struct records_at records_first(const struct records *r);
/* A place from which every own record beyond `after` will be met, not far before the first. */
struct records_at records_own_beyond(const struct records *r, uint64_t after);
bool records_next(struct records_at *at, struct record *out); /* `removed` points into the log */
/* Somebody has read all, of which `own` is the last own one, and will be back for what is beyond. */
void records_mark(struct records *r, uint64_t own);

#endif
