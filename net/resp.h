/* RESP2 (https://redis.io/docs/reference/protocol-spec): requests in, replies out. Sans-I/O.
 *
 * The parser owns no input. It is shown the bytes received and not yet dropped, remembers how
 * far it has looked, and never looks at a byte twice, however small the fragments:
 *
 *     [ returned commands | command in progress ... ]
 *     0                   start      pos            in.len
 *
 * Arguments are views into that input (of an inline command: into the parser), valid until
 * the input moves or resp_next is called again. Lengths are checked before anything is kept
 * for them. After RESP_ERROR the connection cannot be understood any more: reply and close.
 * One thread at a time. */
#ifndef ANNEAL_NET_RESP_H
#define ANNEAL_NET_RESP_H

#include "core/bytes.h"

#define RESP_ARGS_MAX (1024 * 1024)
#define RESP_BULK_BYTES_MAX (512u << 20)
#define RESP_INLINE_BYTES_MAX (64u << 10)
#define RESP_QUERY_BYTES_MAX (1u << 30)

struct resp_limits {
    size_t bulk_bytes_max;
    size_t args_max;
    size_t inline_bytes_max; /* inline requests, and the lines that hold a length */
    size_t query_bytes_max;  /* one whole command */
    /* before authentication, so that a stranger cannot make us keep much */
    size_t stranger_args_max;
    size_t stranger_bulk_bytes_max;
};

#define RESP_LIMITS_DEFAULT                                                        \
    ((struct resp_limits){.bulk_bytes_max = RESP_BULK_BYTES_MAX,                   \
                          .args_max = RESP_ARGS_MAX,                               \
                          .inline_bytes_max = RESP_INLINE_BYTES_MAX,               \
                          .query_bytes_max = RESP_QUERY_BYTES_MAX,                 \
                          .stranger_args_max = 10,                                 \
                          .stranger_bulk_bytes_max = 16384})

enum resp_result { RESP_MORE, RESP_COMMAND, RESP_ERROR };

struct resp_span {
    size_t at, len;
};

/* The fields are the parser's own, but for limits and stranger, which may change between
 * calls. limits must outlive it. */
struct resp_parser {
    const struct resp_limits *limits;
    bool stranger;         /* authentication is required and has not happened */
    size_t start, pos;     /* offsets in the input */
    size_t scan;           /* no line end in [pos, scan) */
    size_t args_left;      /* of an array in progress; 0 between commands */
    bool in_bulk;          /* a bulk's length was read: */
    size_t bulk_len;
    struct resp_span *spans; /* relative to start, or to text for an inline command */
    struct bytes *argv;
    size_t argc, cap;
    struct buf text; /* arguments of an inline command, without their quotes */
    char error[80];
};

void resp_init(struct resp_parser *p, const struct resp_limits *limits);
void resp_fini(struct resp_parser *p);

/* RESP_COMMAND: *argv has *argc >= 1 arguments. RESP_ERROR: p->error, for "-ERR %s". */
enum resp_result resp_next(struct resp_parser *p, struct bytes in, const struct bytes **argv, size_t *argc);
/* For hints: if a whole command lies at *at, plain and short, moves past it and shows its second argument (empty: it has none). */
bool resp_peek(struct bytes in, size_t *at, struct bytes *second);
/* How many bytes at the front belong to returned commands: the caller drops exactly these
 * before it calls resp_next again. */
size_t resp_take(struct resp_parser *p);
/* How many bytes are known to be missing from the command in progress (0: unknown). */
size_t resp_missing(const struct resp_parser *p, size_t in_len);

/* Replies. Texts of statuses and errors have no CR or LF; any there become spaces. */
void resp_status(struct buf *out, const char *text);
void resp_error(struct buf *out, const char *text); /* with its code: "ERR no such key" */
void resp_integer(struct buf *out, int64_t value);
void resp_bulk(struct buf *out, struct bytes bytes);
void resp_bulk_integer(struct buf *out, int64_t value);
void resp_array(struct buf *out, size_t count); /* then so many replies */
void resp_null(struct buf *out);
void resp_null_array(struct buf *out);

#endif
