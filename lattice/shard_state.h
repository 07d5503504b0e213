/* What a shard is made of: shared by shard.c (reading, writing) and delta.c (replication),
 * included by nobody else. */
#ifndef ANNEAL_LATTICE_SHARD_STATE_H
#define ANNEAL_LATTICE_SHARD_STATE_H

#include <pthread.h>

#include "core/table.h"
#include "lattice/due.h"
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

struct field {
    uint64_t hash; /* kind in the low bits */
    struct element element;
    uint32_t name_len;
    uint8_t name[];
};

/* A key has one of two forms. Most are strings with one sibling, nothing added and no expiry:
 * such a key is *bare*, one piece of memory that is its sibling with the name behind the data.
 * Whatever else a key becomes, it is full; key_settle makes it bare again when it may. */
enum { KEY_FULL = 1, KEY_BARE = 2 };

struct key {
    uint64_t hash;
    uint32_t members_live;
    uint32_t fields_live;
    uint32_t name_len;
    uint8_t form;
    struct element string;
    struct element expiry; /* each sibling's bytes: 8, big-endian milliseconds */
    struct table members;
    struct table fields;
    uint8_t name[];
};
_Static_assert(offsetof(struct key, form) == offsetof(struct sibling, form), "either form tells which it is");
#define BARE_NAME_BYTES_MAX 255u

static inline bool key_is_bare(const struct key *key) { return key->form == KEY_BARE; }
static inline struct sibling *key_bare(const struct key *key) { return (struct sibling *)(uintptr_t)key; }

/* Dots of other origins that one mutation removed; NULL is none. */
struct dots {
    uint32_t count;
    struct dot dot[];
};

/* What FLUSHALL saw. */
struct flush {
    struct context seen;
};

struct record {
    struct dot dot;
    uint64_t key_hash;
    uint64_t field_hash;
    struct dots *removed; /* own records only */
    struct flush *flush;  /* KIND_FLUSH only */
};

/* Elements in which an increment died: names, with repeats. */
struct graves {
    struct element_name {
        uint64_t key_hash, field_hash;
    } *names;
    size_t count, cap;
};

struct shard {
    pthread_mutex_t lock;
    uint32_t index;
    struct shard_config config;
    struct table keys;
    uint64_t live; /* keys with something to be seen; relaxed atomic reads */
    struct context context;
    uint64_t clock;
    struct mem_account account;
    uint64_t cells[SHARD_CELLS];
    /* The log: records[head .. head + count) modulo cap, oldest first. */
    struct record *records;
    size_t log_head, log_count, log_cap;
    uint64_t log_bytes;
    /* Dead increments wait here for their resets to be stable: those of `settling` died before
     * `settling_at` was applied here, those of `fresh` may have died since. */
    struct graves fresh, settling;
    struct vclock settling_at;
    struct due_heap due; /* at least one hint for each key with an expiry */
    uint64_t expiring;   /* keys with one */
    struct vclock forgotten; /* per origin, the last counter whose record was dropped */
    struct dots *removed; /* scratch of the mutation under way */
    uint32_t removed_cap;
};

/* One element found or made. */
struct spot {
    struct key *key;
    struct field *field; /* NULL for STRING and EXPIRY */
    struct element *element;
    uint64_t field_hash;
    bool was_live, was_expiring;
    /* A bare key shows its sibling as an element: to be read, not to be changed. */
    struct element shown;
    struct sibling *shown_sibling;
};

uint64_t shard_field_hash(const struct shard *shard, enum kind kind, struct bytes name);
uint64_t key_hash(const struct shard *shard, const struct key *key);
/* A bare key as a full one: before anything but its only sibling is changed. */
struct key *key_inflate(struct shard *shard, struct key *key);
/* The register of a bare or absent (NULL) key becomes this sibling; value may not be its own. */
void bare_put(struct shard *shard, struct key *key, struct key_ref ref, struct dot dot, uint64_t clock, struct bytes value);
/* A bare key goes. */
void bare_remove(struct shard *shard, struct key *key);
struct key *shard_key_by_ref(const struct shard *shard, struct key_ref ref);
struct key *shard_key_by_hash(const struct shard *shard, uint64_t key_hash);
struct field *shard_field_by_hash(const struct key *key, uint64_t field_hash);
struct key *shard_key_make(struct shard *shard, struct key_ref ref); /* full */
bool key_live(const struct key *key);

/* Finds the element; with make, creates what is missing, in a full key. False if it is not there. */
bool spot_find(struct shard *shard, struct key *key, uint64_t field_hash, struct bytes field_name,
               bool make, struct spot *out);
/* Every change of an element stands between these two: they keep cells and counts. */
void spot_open(struct shard *shard, struct spot *spot);
void spot_close(struct shard *shard, struct spot *spot);
/* Frees the key's empty parts, and the key if nothing at all is left; makes it bare if it may be;
 * keeps the count. The key is not to be used after it. */
void key_settle(struct shard *shard, struct key *key, bool was_live);
/* Calls visit for every element of the key; visit may change it through spot_open/close, unless
 * the key is bare. */
void key_each(struct shard *shard, struct key *key,
              void (*visit)(struct shard *, struct spot *, void *), void *arg);

struct record *shard_log_at(const struct shard *shard, size_t at);
void shard_log_add(struct shard *shard, struct record record);

#endif
