/* The objects of a store, one after the other; shared by inspect_store*.c, included by nobody else. */
#ifndef ANNEAL_NET_INSPECT_STORE_H
#define ANNEAL_NET_INSPECT_STORE_H

#include <pthread.h>

#include "net/inspect.h"
#include "persist/layout.h"
#include "persist/object.h"

/* ---- inspect_remote.c: a store that is waited for ---- */

struct remote {
    struct store store;
    pthread_mutex_t lock;
    pthread_cond_t answered;
};
bool remote_open(struct remote *r, struct inspect *i);
void remote_close(struct remote *r);
/* The request is answered when it returns; store_request_fini is the caller's. */
void remote_ask(struct remote *r, struct store_request *request);

/* ---- inspect_store_catalog.c: what is in it ---- */

struct item {
    char key[LAYOUT_KEY_BYTES];
    uint64_t size;
    enum object_kind kind;    /* as its key says */
    struct replica_id writer; /* segments, parts; claims and verdicts have a node only */
    uint64_t number;          /* of parts: the time in ms */
    uint32_t first;           /* of parts: the shard */
    enum { ITEM_UNREAD, ITEM_GOOD, ITEM_SEALED, ITEM_DAMAGED, ITEM_MISSING } state;
    char *why;     /* DAMAGED; owned */
    uint64_t gaps; /* segments: deltas that do not follow what was applied */
};
struct foreign {
    uint64_t count, bytes; /* of objects under other names */
    char example[LAYOUT_KEY_BYTES];
};
struct catalog {
    struct inspect *inspect;
    struct remote remote;
    struct replicas *replicas;
    struct item *items; /* in the order of keys */
    size_t count;
    struct foreign foreign;
    uint64_t cluster; /* tag of the first object; all others must have it */
    bool has_cluster;
    uint32_t shard_count;              /* 0: not known yet */
    uint64_t opened, locked;           /* sealed bodies that a key opens, and others */
    uint64_t read_objects, read_bytes; /* whole, since the listing */
};
bool catalog_open(struct catalog *c, struct inspect *i);
void catalog_close(struct catalog *c);
/* All keys, anew. */
bool catalog_list(struct catalog *c);
struct item *catalog_find(struct catalog *c, const char *key);
/* Fetches an object and opens it: `request` has its bytes, `plain` gets the body, `object` views both. Says in item->state what
 * came of it; true if its body is there. What is not listed is an item of the caller's. */
bool catalog_read(struct catalog *c, struct item *item, struct store_request *request, struct object *object, struct buf *plain);
/* Enough of its beginning for the head, likewise. */
bool catalog_read_head(struct catalog *c, struct item *item, struct store_request *request, struct object *object);
/* The head of a segment that was read; false, and the item is damaged, if it is none of its own. */
bool catalog_segment(struct catalog *c, struct item *item, const struct object *object, struct segment_head *head);
bool catalog_manifest(struct catalog *c, struct item *item, struct bytes plain, struct manifest *m);
/* False: the name that was asked for is not that of the objects. */
bool catalog_is_cluster(struct catalog *c);
void item_damaged(struct item *item, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- what inspect_store.c does with it; each returns how the process ends ---- */

enum inspect_exit store_list(struct catalog *c);   /* inspect_store_list.c */
enum inspect_exit store_one(struct catalog *c);    /* inspect_store_list.c: one object's head */
enum inspect_exit store_verify(struct catalog *c); /* inspect_store_verify.c: also what is dumped */

#endif
