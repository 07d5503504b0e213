/* What an S3 server's answer means: pure functions of status, headers and body. */
#ifndef ANNEAL_PERSIST_S3_ANSWER_H
#define ANNEAL_PERSIST_S3_ANSWER_H

#include "persist/store.h"

enum s3_kind { /* of an exchange */
    S3_PUT,
    S3_CREATE, /* PUT with If-None-Match: * */
    S3_GET,
    S3_HEAD,
    S3_DELETE,
    S3_LIST,
    S3_UPLOAD, /* begins an upload in parts */
    S3_PART,
    S3_COMPLETE,
    S3_ABORT,
};

enum s3_verdict {
    S3_GOOD,
    S3_AGAIN,     /* not carried out; try again */
    S3_UNKNOWN,   /* may have been carried out, or may yet be; try again where that does no harm */
    S3_THERE,     /* CREATE: the name is taken */
    S3_NONE,      /* no such object */
    S3_NO_UPLOAD, /* no such upload in parts: completed or aborted before */
    S3_BEYOND,    /* the range begins beyond the end */
    S3_TOO_BIG,
    S3_NO_CONDITIONS,
    S3_WHO,     /* the credentials are not good (any more) */
    S3_REFUSES, /* all else: somebody has to change something */
};

/* The texts of an <Error>; "" where there is none. */
struct s3_error {
    char code[64], message[160], region[64];
};

void s3_error_read(struct bytes body, struct s3_error *out);
enum s3_verdict s3_judge(enum s3_kind kind, long status, const char *code);

/* Whether Content-Range and what came are what was asked for: from offset, len bytes (0: to the end) or as many as there are. */
bool s3_range_right(const char *content_range, uint64_t offset, uint64_t len, uint64_t came);

/* The text of the first element of that name below the root, decoded and appended. False: none, or no XML. */
bool s3_text(struct bytes body, const char *element, struct buf *out);
/* A completed upload is told by the root of its answer: 200 comes before it is known whether it succeeds. */
bool s3_is_error(struct bytes body);

/* A page of ListObjectsV2 into the request: names of others (folders of a console, say) are passed over. `prefix` is what
 * the store puts before every key. *last: the last name there, whosever, for the next page. */
enum status s3_listing_read(struct bytes body, struct bytes prefix, struct store_request *request, struct buf *last, bool *more) MUST_CHECK;

#endif
