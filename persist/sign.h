/* AWS Signature Version 4, as S3 wants it: one encoding of the path, no normalisation.
 *
 * Shapes: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. Everything is
 * computed from the arguments: no clock, no environment. Results are appended to a buf of the caller's.
 * Any thread. */
#ifndef ANNEAL_PERSIST_SIGN_H
#define ANNEAL_PERSIST_SIGN_H

#include "core/bytes.h"

#define SIGN_HASH_TEXT 65  /* SHA-256 in hex, and its end */
#define SIGN_DATE_TEXT 17  /* 20130524T000000Z, and its end */
#define SIGN_PAIRS_MAX 16  /* of a query; of headers */

struct sign_pair {
    struct bytes name, value; /* headers: names in lower case */
};

struct sign_key {
    const char *access_key_id, *secret_access_key, *region, *service;
};

struct sign_request {
    const char *method;
    struct bytes path;  /* as sent: encoded, beginning with '/' */
    struct bytes query; /* as sent: from sign_query */
    const struct sign_pair *headers; /* all that are to be signed, `host` among them; at most SIGN_PAIRS_MAX */
    size_t headers_count;
    const char *body_hash; /* sign_hash of the body */
    const char *date;      /* sign_date; the same as in the header x-amz-date */
};

/* Percent-encodes all but A-Z a-z 0-9 - . _ ~, and '/' where keep_slash says so. */
void sign_encode(struct bytes text, bool keep_slash, struct buf *out);
/* A query in canonical order, encoded; count at most SIGN_PAIRS_MAX. */
void sign_query(const struct sign_pair *pairs, size_t count, struct buf *out);
void sign_hash(struct bytes body, char out[SIGN_HASH_TEXT]);
void sign_date(int64_t wall_ms, char out[SIGN_DATE_TEXT]);
/* The value of the header Authorization. */
void sign_authorization(const struct sign_key *key, const struct sign_request *request, struct buf *out);

#endif
