/* One HTTP exchange at a time on a libcurl handle, for a loop that drives many of them. One thread. */
#ifndef ANNEAL_PERSIST_HTTP_S3_H
#define ANNEAL_PERSIST_HTTP_S3_H

#include <curl/curl.h>

#include "persist/store_open.h"

#define HTTP_TEXT_BYTES_MAX (4u << 20) /* a page of 1000 keys, each byte of them escaped, takes 2 MiB */

struct http_ask {
    const char *method;
    const char *url;
    struct bytes headers; /* lines, each ended by a zero byte */
    struct bytes body;    /* sent with PUT and POST; lent until the exchange is over */
    struct buf *data;     /* where the body of a 2xx goes; NULL: to `text`, as that of all others */
    uint64_t data_max;
    int64_t timeout_ms;
    int64_t stall_ms; /* without a KiB a second for so long it is over; 0: no such limit */
};

struct http {
    CURL *easy;
    struct curl_slist *lines;
    char error[CURL_ERROR_SIZE];
    struct bytes body;
    size_t sent;
    struct buf *data;
    uint64_t data_max;
    struct buf text; /* at most HTTP_TEXT_BYTES_MAX; the rest is dropped */
    bool too_large;  /* data_max was not enough */
    unsigned sends;  /* 0: the server has seen nothing. curl repeats by itself what a kept connection, dead by then, did not answer */
};

void http_init(struct http *http);
void http_fini(struct http *http); /* not while it is in a multi handle */
/* The handle is then ready for curl_multi_add_handle. */
void http_prepare(struct http *http, const struct http_ask *ask, const struct store_settings *settings);
long http_status(struct http *http); /* 0: there was no answer */
/* "" if it is not there; valid until the next http_prepare. */
const char *http_header(struct http *http, const char *name);
int64_t http_length(struct http *http); /* as announced; -1: it was not */
/* Errors that no repetition will mend: a certificate, an address that is none. */
bool http_hopeless(CURLcode code);

#endif
