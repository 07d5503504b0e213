/* What a shard is made of: shared by shard.c (reading, writing) and delta.c (replication),
 * included by nobody else but the fuzz targets, which count it all again. */
#ifndef ANNEAL_LATTICE_SHARD_STATE_H
#define ANNEAL_LATTICE_SHARD_STATE_H

#include <pthread.h>

#include "core/table.h"
#include "lattice/due.h"
#include "lattice/packed.h"
#include "lattice/records.h"
#include "lattice/shard.h"

/* Low bits of a field hash: what a record or a unit is about. */
enum kind {
    KIND_FLUSH,      /* the whole shard */
    KIND_KEY,        /* every element of a key */
    KIND_STRING,     /* its register, and a reset of its increments */
    KIND_STRING_INC, /* its increments only */
    KIND_EXPIRY,
    KIND_MEMBER,
    KIND_FIELD,
    KIND_FIELD_INC,
};
#define KIND_MASK 7u

static inline enum kind kind_of(uint64_t field_hash) { return (enum kind)(field_hash & KIND_MASK); }
/* The element that a record touched: increments live in the element they add to. */
static inline uint64_t element_of(uint64_t field_hash) {
    enum kind kind = kind_of(field_hash);
    return kind == KIND_STRING_INC || kind == KIND_FIELD_INC ? field_hash - 1 : field_hash;
}
static inline bool kind_has_field(enum kind kind) { return kind >= KIND_MEMBER; }

/* A key and a field with no more than a packed item takes (packed.h) are packed: then these pointers lead to such items, and form_of
 * tells. What is below is the loose form. */
struct field {
    uint8_t form;
    uint32_t name_len;
    uint64_t hash; /* kind in the low bits */
    struct element element;
    uint8_t name[];
};

struct key {
    uint8_t form;
    uint32_t name_len;
    uint64_t hash;
    struct element string;
    struct element expiry; /* each sibling's bytes: EXPIRY_BYTES */
    struct table members;
    struct table fields;
    uint32_t members_live;
    uint32_t fields_live;
    uint8_t name[];
};

/* Dots of other origins that the mutation under way removed. */
struct dots {
    uint32_t count;
    struct dot dot[];
};

/* What FLUSHALL saw. */
struct flush {
    struct context seen;
};

/* Elements in which an increment died: names, with repeats. */
struct graves {
    struct element_name {
        uint64_t key_hash, field_hash;
    } *names;
    size_t count, cap;
};

/* How new something is: by clock, then replica; {0} when nothing is live. */
struct age {
    uint64_t clock;
    struct replica_id id;
};

/* Of the key of two types that was asked for last, how new they are: that takes a look at each member and field, and every
 * command asks. */
struct clash {
    bool there;
    uint64_t key_hash;
    struct newest {
        struct age age; /* nothing is newer; */
        bool known;     /* and something is as new */
    } members, fields;
};

struct shard {
    pthread_mutex_t lock;
#ifdef LOCKS_CHECKED
    const void *holder; /* of the lock: something of its thread's */
    uint64_t lock_count;
#endif
    uint32_t index;
    struct shard_config config;
    struct clash *clash;
    struct table keys;
    uint64_t live; /* keys with something to be seen; relaxed atomic reads */
    uint64_t elements; /* live ones */
    struct context context;
    uint64_t clock;
    bool clock_held; /* until the lock is given back */
    struct mem_account account;
    struct shard_paths paths;
    uint64_t cells[SHARD_CELLS];
    struct records log;
    /* Dead increments wait here for their resets to be stable: those of `settling` died before
     * `settling_at` was applied here, those of `fresh` may have died since. */
    struct graves fresh, settling;
    struct vclock settling_at;
    struct due_heap due; /* at least one hint for each key with an expiry */
    uint64_t expiring;   /* keys with one */
    uint64_t timed;      /* of these, not counting those that were persisted */
    struct vclock forgotten; /* per origin, the last counter whose record was dropped */
    bool holds[SHARD_HOLDERS]; /* own records beyond `held` stay in the log */
    uint64_t held[SHARD_HOLDERS];
    struct dots *removed; /* scratch of the mutation under way */
    uint32_t removed_cap;
};

/* One element, found or about to be made. It is read through `element`; while it is packed or
 * not there, that is a view, and `loose` is NULL. Must not be copied. */
struct spot {
    struct key *key;     /* NULL: not there yet */
    struct field *field; /* NULL for STRING and EXPIRY, or not there yet */
    uint64_t key_hash, field_hash;
    struct bytes key_name, field_name; /* to make it with; of made spots only */
    const struct element *element;
    struct element *loose;
    struct view view;
    bool was_live, was_expiring, was_timed;
};

/* Whoever calls has the lock. */
#ifdef LOCKS_CHECKED
void shard_assert_held(const struct shard *shard);
#else
static inline void shard_assert_held(const struct shard *shard) { (void)shard; }
#endif

uint64_t shard_field_hash(const struct shard *shard, enum kind kind, struct bytes name);
/* Where an element's cell is: the high 8 bits; those below them cut it finer. */
static inline uint64_t cell_bits(uint64_t key_hash, uint64_t field_hash) {
    return (key_hash ^ element_of(field_hash)) * 0x9e3779b97f4a7c15u;
}
static inline unsigned cell_index(uint64_t key_hash, uint64_t field_hash) {
    return (unsigned)(cell_bits(key_hash, field_hash) >> 56);
}
uint64_t spot_hash(const struct shard *shard, const struct spot *spot); /* its share of the cell's sum */
struct key *shard_key_by_ref(const struct shard *shard, struct key_ref ref);
struct key *shard_key_by_hash(const struct shard *shard, uint64_t key_hash);
struct key *shard_key_of(const struct shard *shard, const struct record *record); /* that the record is of */
uint64_t key_hash(const struct shard *shard, const struct key *key);
bool key_live(const struct key *key); /* not for NULL */
bool key_may_count(const struct key *key); /* false: it has no increments, dead or live */

/* False if the element is not there. */
bool spot_find(struct shard *shard, struct key *key, uint64_t key_hash, uint64_t field_hash, struct spot *out);
/* The same, or the place where it will be; key as looked up, NULL if it is not there. The names
 * must outlive the spot. */
void spot_make(struct shard *shard, struct key_ref ref, struct key *key, uint64_t field_hash, struct bytes field_name,
               struct spot *out);
/* Every change of an element stands between these two: they keep cells and counts. */
void spot_open(struct shard *shard, struct spot *spot);
void spot_close(struct shard *shard, struct spot *spot);
/* Changes. Adding and joining are for made spots: they move the item. */
void spot_drop_if(struct shard *shard, struct spot *spot, bool (*gone)(struct dot dot, const void *arg), const void *arg);
void spot_drop_increments_if(struct shard *shard, struct spot *spot, bool (*gone)(const struct increment *i, const void *arg), const void *arg);
void spot_add(struct shard *shard, struct spot *spot, struct dot dot, uint64_t clock, struct bytes value);
void spot_join_increment(struct shard *shard, struct spot *spot, const struct increment *from); /* see element.h */
/* After the last change: frees what is empty, packs what may be packed, keeps the count. */
void spot_settle(struct shard *shard, struct spot *spot, bool key_was_live);

int age_compare(struct age a, struct age b);
struct age shard_age(const struct shard *shard, const struct element *e);

/* Calls visit for every element of the key; visit may drop from it through spot_open/close. */
void key_each(struct shard *shard, struct key *key,
              void (*visit)(struct shard *, struct spot *, void *), void *arg);
/* After key_each: frees the key's empty fields, packs what may be packed, and settles it. */
void key_settle(struct shard *shard, struct key *key, uint64_t hash, bool was_live);

void shard_log_add(struct shard *shard, const struct record *record);

#endif
