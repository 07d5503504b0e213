/* A call: one request on its way through the exchanges that it takes. call_s3.c says what becomes of it; store_s3.c has the
 * loop that drives them. All in the thread of the store. */
#ifndef ANNEAL_PERSIST_CALL_S3_H
#define ANNEAL_PERSIST_CALL_S3_H

#include "persist/credentials.h"
#include "persist/desk.h"
#include "persist/http_s3.h"
#include "persist/s3_request.h"

/* What all calls of a store share. */
struct s3_client {
    struct desk desk;
    struct store_settings settings;
    struct s3_place place;
    struct credentials who;
    uint64_t credentials; /* counts how often they were renewed */
    CURLM *multi;
};

enum call_state {
    CALL_IDLE,
    CALL_WAITING, /* until at_us; then call_fly */
    CALL_FLYING,  /* libcurl has it; then call_land */
};

struct call {
    struct http http;
    enum call_state state;
    struct store_request *request; /* NULL: answered, and only the upload is to be removed */
    enum s3_kind kind;
    uint32_t tries; /* of this exchange */
    int64_t deadline_us, at_us;
    struct buf key, url, headers;
    char body_hash[SIGN_HASH_TEXT];
    uint64_t credentials; /* those it was signed with last */
    /* An upload in parts. */
    struct buf upload, parts; /* its id; what S3_COMPLETE will list */
    uint32_t part;
    char nonce[17];
    bool maybe_completed;
    /* A listing. */
    struct buf after;
};

void call_init(struct call *call);
void call_fini(struct call *call); /* idle */
void call_start(struct s3_client *client, struct call *call, struct store_request *request); /* idle before */
void call_fly(struct s3_client *client, struct call *call);
void call_land(struct s3_client *client, struct call *call, CURLcode code);
void call_cut_off(struct s3_client *client, struct call *call); /* whatever it is doing; idle after */

#endif
