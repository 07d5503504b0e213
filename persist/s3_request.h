/* A request to an S3 server as text: URL and headers, signed. Pure: the time is an argument. */
#ifndef ANNEAL_PERSIST_S3_REQUEST_H
#define ANNEAL_PERSIST_S3_REQUEST_H

#include "persist/credentials.h"
#include "persist/s3_answer.h"
#include "persist/sign.h"

/* Where the bucket is. */
struct s3_place {
    struct buf origin; /* http[s]://host[:port], the bucket's name in it with virtual addressing */
    struct buf host;   /* for the header */
    struct buf path;   /* "" or "/bucket" */
    struct buf prefix; /* of every key: "" or "some/prefix/" */
    char region[64];
};

struct s3_ask {
    enum s3_kind kind;
    struct bytes key;    /* as of the port; S3_LIST: the prefix */
    struct bytes after;  /* S3_LIST: with the place's prefix */
    uint32_t limit;      /* S3_LIST */
    uint64_t offset, len; /* S3_GET */
    struct bytes upload; /* S3_PART, S3_COMPLETE, S3_ABORT: its id */
    uint32_t part;       /* S3_PART: from 1 */
    const char *nonce;   /* S3_UPLOAD: kept with the object, to know it again */
    const char *body_hash;
};

#define S3_NONCE_HEADER "x-amz-meta-anneal-upload"

/* ERR_INVALID, and why in *error. */
enum status s3_place_init(struct s3_place *place, struct bytes bucket, struct bytes prefix, const struct store_settings *settings,
                          struct buf *error) MUST_CHECK;
void s3_place_fini(struct s3_place *place);

const char *s3_method(enum s3_kind kind);
/* Appends the URL, and header lines, each ended by a zero byte. */
void s3_write(const struct s3_place *place, const struct credentials *who, const struct s3_ask *ask, int64_t wall_ms, struct buf *url,
              struct buf *headers);

#endif
