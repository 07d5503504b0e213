/* An object store that answers at once, in pages of a few entries: what it holds, and when it fails, is in its owner's hands. */
#ifndef ANNEAL_TEST_FUZZ_BUCKET_H
#define ANNEAL_TEST_FUZZ_BUCKET_H

#include "persist/store.h"

enum { BUCKET_OBJECTS_MAX = 160, BUCKET_PAGE = 7, BUCKET_BYTES_MAX = 1 << 20 };

struct bucket_object {
    struct buf key, bytes;
};
struct bucket {
    struct bucket_object objects[BUCKET_OBJECTS_MAX]; /* in the order of their keys */
    size_t count;
    uint64_t bytes, requests;  /* of all objects; so far */
    uint64_t requests_most;    /* one more, and whoever asks does so without end: aborts */
    bool full;                 /* it was once, and refused */
    unsigned fails;            /* so many requests, from now on, get ... */
    enum store_result failure; /* ... this, */
    bool carried_out;          /* and are done all the same */
};
void bucket_fini(struct bucket *b);
struct bucket_object *bucket_find(struct bucket *b, struct bytes key); /* NULL: there is none */
/* Takes what is in *bytes; false if there is no room. */
bool bucket_put(struct bucket *b, struct bytes key, struct buf *bytes);
void bucket_remove(struct bucket *b, struct bucket_object *object);

/* One client of it; in place, until its store is closed. */
struct bucket_client {
    struct bucket *bucket;
    struct store_queue answered;
};
struct store bucket_open(struct bucket *b, struct bucket_client *client);

#endif
