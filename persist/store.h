/* The object store: named byte strings that outlive the machines. A port: a directory (store_dir_posix.c), an S3 bucket
 * (store_s3.c) or a simulation stands behind it.
 *
 * Shape: the caller fills a request and submits it; when it is answered, the driver puts it into a queue that the caller
 * polls. The request, and all that it points to, is lent to the driver from submit until poll returns it; nothing of it
 * may be touched in between. Answers are owned by the request: store_request_fini.
 *
 *     submit -> [ waiting -> at work (at most concurrency) -> answered ] -> poll
 *                            (at most requests_max in all)
 *
 * Order: none. Requests that must follow one another are submitted one after the other's answer.
 *
 * Time: every request is answered within its budget (store_open.h), whatever the store does: repetitions are the driver's
 * business, and only errors that are worth one get one. What is left over is TRANSIENT.
 *
 * Promises of every driver:
 *   - an object is seen whole or not at all
 *   - after DONE of PUT, CREATE or DELETE every later GET and HEAD shows it, and it survives a loss of power; LIST shows it in time
 *   - of all CREATEs of one key at most one is DONE, as long as nobody deletes it
 *   - LIST is in the order of bytes_compare
 * What a lost reply leaves open is said by `unsure`: an earlier try of this very request may have been carried out, or may
 * yet be. With EXISTS it means: the object there may be ours. So every object carries a nonce, and the caller reads and
 * compares. With TRANSIENT: read before you judge, and know that what was sent may still be on its way: never PUT another
 * content under a key whose last PUT was unsure.
 *
 * Memory: a driver copies no body. GET fills a buf of at most bytes_max, LIST one page; requests_max bounds the rest.
 *
 * Threads: submit and poll from any thread; neither waits for the store. close from one, when no other call is running. */
#ifndef ANNEAL_PERSIST_STORE_H
#define ANNEAL_PERSIST_STORE_H

#include "core/bytes.h"
#include "core/status.h"

#define STORE_KEY_BYTES_MAX 512 /* S3 has 1024, for the bucket's prefix too */
#define STORE_NAME_BYTES_MAX 200 /* of a key between two slashes; file systems have 255 */
#define STORE_PAGE_MAX 1000
#define STORE_WHY_BYTES 256

enum store_op {
    STORE_PUT,    /* key, body: replaces whatever was there */
    STORE_CREATE, /* key, body: only if there is nothing (If-None-Match: *) */
    STORE_GET,    /* key, offset, len, bytes_max -> data */
    STORE_HEAD,   /* key -> size */
    STORE_DELETE, /* key: DONE also if there was nothing */
    STORE_LIST,   /* key is a prefix (of the text, not of names), after, limit -> entries, more */
};

#define STORE_RESULTS(X)                                                                                 \
    X(DONE, "done")                                                                                      \
    X(EXISTS, "there is an object of this name")    /* CREATE */                                         \
    X(MISSING, "no such object")                    /* GET, HEAD */                                      \
    X(TRANSIENT, "failed for now")                  /* the same request may succeed later */             \
    X(REFUSED, "refused")                           /* until somebody changes keys, rights or names */   \
    X(UNCONDITIONAL, "no conditional writes here")  /* CREATE: the store cannot do it */                 \
    X(TOO_LARGE, "larger than the limit")           /* GET: than bytes_max; PUT, CREATE: than the store's */ \
    X(MALFORMED, "the store's answer makes no sense")

enum store_result {
#define X(name, text) STORE_##name,
    STORE_RESULTS(X)
#undef X
        STORE_RESULT_COUNT
};

const char *store_result_text(enum store_result result); /* never NULL; static storage */

struct store_entry {
    struct bytes key; /* points into the request's data */
    uint64_t size;
};

/* Starts as {0} but for what is asked. */
struct store_request {
    /* What is asked: the caller's, and not changed by the driver. */
    enum store_op op;
    struct bytes key;
    struct bytes body;
    uint64_t offset, len; /* GET: a range; len 0 is to the end; one that begins beyond the end gives nothing */
    uint64_t bytes_max;   /* GET: more than this is TOO_LARGE */
    struct bytes after;   /* LIST: only keys greater than this; "" is from the first */
    uint32_t limit;       /* LIST: most entries, 1 to STORE_PAGE_MAX */
    void *user;
    /* The answer. */
    enum store_result result;
    bool unsure;
    uint32_t tries;
    char why[STORE_WHY_BYTES]; /* one line for the log, unless DONE; no secrets */
    struct buf data;           /* GET: the bytes */
    uint64_t size;             /* HEAD: of the object */
    struct store_entry *entries; /* LIST */
    size_t count;
    bool more; /* LIST: there are keys beyond the last entry; then count > 0 */
    /* The driver's. */
    struct store_request *next;
    int64_t since_us; /* when it was submitted */
};

struct store {
    /* ERR_BUSY: requests_max are not polled yet. The caller then still owns the request. */
    enum status (*submit)(void *self, struct store_request *request);
    struct store_request *(*poll)(void *self); /* an answered request; NULL: none now */
    /* Ends what is at work; waits for no network. Every request is the caller's again, also those that poll did not return:
     * they are TRANSIENT. Frees self. */
    void (*close)(void *self);
    void *self;
};

/* ERR_INVALID, and nothing happens, for a request that cannot be: see store_key_valid; a limit or bytes_max of 0. */
enum status store_submit(const struct store *store, struct store_request *request) MUST_CHECK;
static inline struct store_request *store_poll(const struct store *store) { return store->poll(store->self); }
static inline void store_close(struct store *store) {
    store->close(store->self);
    *store = (struct store){0};
}

/* Frees the answer; what was asked stays, so it can be submitted again. */
void store_request_fini(struct store_request *request);

/* Names divided by single slashes, 1 to STORE_NAME_BYTES_MAX bytes each; UTF-8 without control characters; no name begins
 * with a dot, so "..", "." and hidden files are none. No key may be the folder of another ("a" beside "a/b"): a directory
 * refuses the second. */
bool store_key_valid(struct bytes key);

/* ---- for drivers ---- */

/* First in, first out; guarded by its holder. */
struct store_queue {
    struct store_request *first, **last;
    size_t count;
};

void store_queue_init(struct store_queue *queue);
void store_queue_put(struct store_queue *queue, struct store_request *request);
struct store_request *store_queue_take(struct store_queue *queue); /* NULL: empty */

/* Sets result, and the text where it is no success. */
void store_answer(struct store_request *request, enum store_result result, const char *why, ...) __attribute__((format(printf, 3, 4)));
/* A page is built entry by entry, in order; store_page_end makes the keys point to where they came to lie. */
void store_page_add(struct store_request *request, struct bytes key, uint64_t size);
void store_page_end(struct store_request *request, bool more);
void store_page_clear(struct store_request *request);

/* ---- probing ---- */

/* Whether CREATE is to be trusted: a store that ignores the condition answers DONE twice. Three or four requests, one after
 * the other, on an object that is removed at the end.
 *
 *     store_probe_start(&probe, store, "probe/<something unique>");
 *     ... request = store_poll(store): if (store_probe_owns(&probe, request)) store_probe_step(&probe) ...
 *     until probe.finished; then probe.result is DONE, UNCONDITIONAL, or why it could not be found out. */
struct store_probe {
    const struct store *store;
    struct store_request request;
    char key[STORE_KEY_BYTES_MAX];
    unsigned step;
    bool finished;
    enum store_result result;
    char why[STORE_WHY_BYTES];
};

enum status store_probe_start(struct store_probe *probe, const struct store *store, const char *key) MUST_CHECK;
static inline bool store_probe_owns(const struct store_probe *probe, const struct store_request *request) {
    return request == &probe->request;
}
void store_probe_step(struct store_probe *probe);

#endif
