/* Opening an object store from its URL and its options.
 *
 *     file:///path           a directory, made if missing; several nodes may share it
 *     s3://bucket/prefix     a bucket of S3 or what speaks its protocol; the bucket must exist
 *
 * Credentials of S3, first found: the options; the credentials file (as of the AWS tools, its section [default]);
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the environment. The file is read again when the store
 * refuses what was read from it, so what renews short-lived keys need not tell the node.
 *
 * Time: a request is answered within deadline_ms, plus a second for each bytes_per_s_min bytes that it moves. */
#ifndef ANNEAL_PERSIST_STORE_OPEN_H
#define ANNEAL_PERSIST_STORE_OPEN_H

#include "core/port.h"
#include "persist/store.h"

enum store_addressing { STORE_ADDRESSING_AUTO, STORE_ADDRESSING_PATH, STORE_ADDRESSING_VIRTUAL };

/* Text is copied by store_open; "" or NULL is the default. */
struct store_settings {
    const char *endpoint; /* http[s]://host[:port]; default: AWS, https://s3.REGION.amazonaws.com */
    const char *region;   /* default: AWS_REGION, then us-east-1 */
    const char *access_key_id, *secret_access_key, *session_token;
    const char *credentials_file;
    const char *ca_file; /* PEM; default: the system's */
    enum store_addressing addressing; /* AUTO: virtual hosts at AWS, paths elsewhere */
    uint32_t requests_max; /* submitted and not yet polled */
    uint32_t concurrency;  /* at work: connections to S3, threads of the directory */
    uint32_t tries_max;    /* of one exchange */
    uint32_t backoff_ms, backoff_max_ms; /* a wait before a try is drawn from [0, backoff_ms * 2^n], at most backoff_max_ms */
    uint32_t connect_ms;
    uint32_t try_ms; /* of one exchange, plus the time for its bytes as above */
    uint32_t deadline_ms;
    uint32_t bytes_per_s_min;
    uint64_t part_bytes; /* larger PUTs go up in parts of this size; 5 MiB at least, but for tests */
    bool read_only; /* a directory: nothing is made or removed in it; only GET, HEAD and LIST may be asked */
    struct clock_port clock;
    /* Called when an answer comes into an empty queue, in a thread of the driver's; must not call the store. An eventfd is
     * what it is for, and whoever reads that polls until there is nothing left. NULL: none. */
    void (*ready)(void *arg);
    void *ready_arg;
};

#define STORE_SETTINGS_DEFAULT                                                                                              \
    {                                                                                                                       \
        .requests_max = 256, .concurrency = 8, .tries_max = 6, .backoff_ms = 100, .backoff_max_ms = 5000,                   \
        .connect_ms = 5000, .try_ms = 20000, .deadline_ms = 60000, .bytes_per_s_min = 256 << 10, .part_bytes = 16 << 20     \
    }

/* ERR_INVALID or ERR_IO, and why in *error. Reads the environment and files; asks nothing of the store yet. */
enum status store_open(const char *url, const struct store_settings *settings, struct store *store, struct buf *error) MUST_CHECK;

/* The drivers. */
enum status store_dir_open(const char *path, const struct store_settings *settings, struct store *store, struct buf *error) MUST_CHECK;
enum status store_s3_open(struct bytes bucket, struct bytes prefix, const struct store_settings *settings, struct store *store,
                          struct buf *error) MUST_CHECK;

#endif
