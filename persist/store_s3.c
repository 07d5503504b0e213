/* Objects in a bucket of S3, or of what speaks its protocol.
 *
 * One thread drives up to `concurrency` calls over libcurl's multi interface; a call is a request at work. Most requests are
 * one exchange; a PUT that is larger than a part is several, each with tries of its own:
 *
 *     S3_UPLOAD -> S3_PART ... S3_PART -> S3_COMPLETE -> done
 *                     |                      |  unsure, and the upload is gone: was it completed?
 *                     v                      v
 *                  S3_ABORT <---------- S3_HEAD: our nonce is on the object, or not
 *
 * A failed upload is answered first and cleaned up after, in the same call.
 *
 *     idle -> flying -> judged --> next exchange, or answered -> idle
 *               ^         |
 *               +- waiting+   (backed off: full jitter, or what Retry-After says)
 *
 * What may be repeated: everything that was surely not carried out, and everything that does no harm when it is carried out
 * twice. That is all but a create after an answer of 5xx: its fate is unknown and may still be undecided, so it is handed to
 * the caller as it is (TRANSIENT, unsure). A create whose reply was lost is repeated, since the condition holds for the
 * repetition too; if it then finds the name taken, that may be by itself (EXISTS, unsure).
 *
 * Conditions are never put on an upload in parts: radosgw ignores them there. A create goes up in one piece. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sodium.h>

#include "core/log.h"
#include "core/mem.h"
#include "persist/credentials.h"
#include "persist/desk.h"
#include "persist/http_s3.h"
#include "persist/s3_request.h"
#include "persist/sign.h"

#define ONE_PIECE_BYTES_MAX (5ull << 30) /* S3's limit of one PUT */
#define PARTS_MAX 10000                  /* of one upload */
#define ABORT_MS 10000
#define POLL_MS 1000

enum call_state { IDLE, WAITING, FLYING };

struct call {
    struct http http;
    enum call_state state;
    struct store_request *request; /* NULL: answered, and only the upload is to be removed */
    enum s3_kind kind;
    uint32_t tries; /* of this exchange */
    int64_t deadline_us, at_us; /* at_us: WAITING until then */
    struct buf key, url, headers;
    char body_hash[SIGN_HASH_TEXT];
    uint64_t credentials; /* with which it was signed last */
    /* An upload in parts. */
    struct buf upload, parts; /* its id; what S3_COMPLETE will list */
    uint32_t part;
    char nonce[17];
    bool maybe_completed;
    /* A listing. */
    struct buf after;
};

struct s3_store {
    struct desk desk;
    struct store_settings settings; /* texts are ours */
    struct s3_place place;
    struct credentials who;
    uint64_t credentials; /* counts those read */
    CURLM *multi;
    int wake;
    _Atomic bool stop;
    pthread_t thread;
    struct call *calls;
};

static void begin(struct s3_store *s, struct call *c, enum s3_kind kind);

static int64_t now_us(const struct s3_store *s) { return s->settings.clock.now(s->settings.clock.self).mono_us; }

/* ------------------------------------------------------------------ sending */

static int64_t time_for_us(const struct s3_store *s, uint64_t bytes) {
    return (int64_t)(bytes / s->settings.bytes_per_s_min * 1000000);
}

static uint64_t bytes_of_request(const struct store_request *r) {
    if (r->op == STORE_GET) return r->len > 0 && r->len < r->bytes_max ? r->len : r->bytes_max;
    return r->body.len;
}

/* What goes up in this exchange. */
static struct bytes body_of(const struct s3_store *s, const struct call *c) {
    if (c->kind == S3_COMPLETE) return buf_bytes(&c->parts);
    if (c->kind == S3_PUT || c->kind == S3_CREATE) return c->request->body;
    if (c->kind != S3_PART) return bytes_of(NULL, 0);
    uint64_t from = (uint64_t)(c->part - 1) * s->settings.part_bytes, left = c->request->body.len - from;
    return bytes_of(c->request->body.data + from, (size_t)(left < s->settings.part_bytes ? left : s->settings.part_bytes));
}

/* Half of what is left for completing: servers take minutes for large objects, and a repetition must still be possible. */
static int64_t timeout_ms(const struct s3_store *s, const struct call *c, struct bytes body) {
    int64_t left = c->deadline_us - now_us(s), most = (int64_t)s->settings.try_ms * 1000;
    if (c->kind == S3_COMPLETE && left / 2 > most) most = left / 2;
    most += time_for_us(s, body.len + (c->kind == S3_GET ? bytes_of_request(c->request) : 0));
    return (left < most ? left : most) / 1000;
}

static void fly(struct s3_store *s, struct call *c) {
    struct bytes body = body_of(s, c);
    struct s3_ask ask = {.kind = c->kind, .key = buf_bytes(&c->key), .upload = buf_bytes(&c->upload), .part = c->part, .nonce = c->nonce,
                         .body_hash = c->body_hash};
    struct http_ask http = {.method = s3_method(c->kind), .body = body, .timeout_ms = timeout_ms(s, c, body),
                            .stall_ms = c->kind == S3_COMPLETE ? 0 : s->settings.try_ms / 2};
    if (c->kind == S3_GET || c->kind == S3_LIST) {
        ask.offset = c->request->offset;
        ask.len = c->request->len;
        ask.after = buf_bytes(&c->after);
        ask.limit = c->request->limit;
    }
    if (c->kind == S3_GET) {
        c->request->data.len = 0;
        http.data = &c->request->data;
        http.data_max = c->request->bytes_max;
    }
    c->url.len = c->headers.len = 0;
    s3_write(&s->place, &s->who, &ask, s->settings.clock.now(s->settings.clock.self).wall_ms, &c->url, &c->headers);
    buf_put_byte(&c->url, 0);
    http.url = (const char *)c->url.data;
    http.headers = buf_bytes(&c->headers);
    c->credentials = s->credentials;
    c->tries++;
    if (c->request) c->request->tries++;
    http_prepare(&c->http, &http, &s->settings);
    curl_easy_setopt(c->http.easy, CURLOPT_PRIVATE, c);
    curl_multi_add_handle(s->multi, c->http.easy);
    c->state = FLYING;
}

static void begin(struct s3_store *s, struct call *c, enum s3_kind kind) {
    c->kind = kind;
    c->tries = 0;
    sign_hash(body_of(s, c), c->body_hash);
    fly(s, c);
}

/* ---------------------------------------------------------------- answering */

static void rest(struct call *c) {
    c->state = IDLE;
    c->request = NULL;
    c->upload.len = c->parts.len = c->after.len = 0;
}

/* Parts that were sent cost their owner money until the upload is aborted; nobody waits for that. */
static void clean_up(struct s3_store *s, struct call *c) {
    c->request = NULL;
    if (c->upload.len == 0) return rest(c);
    c->deadline_us = now_us(s) + ABORT_MS * 1000;
    begin(s, c, S3_ABORT);
}

static void hand_back(struct s3_store *s, struct call *c) {
    struct store_request *r = c->request;
    if (r->result != STORE_DONE) {
        store_page_clear(r);
        buf_fini(&r->data);
    }
    if (r->result == STORE_DONE) r->unsure = false;
    desk_answer(&s->desk, r);
}

static void done(struct s3_store *s, struct call *c) {
    store_answer(c->request, STORE_DONE, "%s", "");
    hand_back(s, c);
    rest(c);
}

static void fail(struct s3_store *s, struct call *c, enum store_result result, const char *why) {
    store_answer(c->request, result, "%s", why);
    hand_back(s, c);
    clean_up(s, c);
}

/* ----------------------------------------------------------------- repeating */

static int64_t backoff_us(struct s3_store *s, const struct call *c) {
    uint64_t most = (uint64_t)s->settings.backoff_ms << (c->tries < 16 ? c->tries - 1 : 15);
    if (most > s->settings.backoff_max_ms) most = s->settings.backoff_max_ms;
    return (int64_t)(s->settings.clock.entropy(s->settings.clock.self) % (most * 1000 + 1));
}

/* Seconds only; the date that HTTP also allows is as good as the clocks are. */
static int64_t retry_after_us(struct call *c) {
    const char *text = http_header(&c->http, "Retry-After");
    int64_t seconds;
    if (!bytes_to_i64(bytes_str(text), &seconds) || seconds < 0 || seconds > 86400) return 0;
    return seconds * 1000000;
}

static void give_up(struct s3_store *s, struct call *c, const char *why) {
    char text[STORE_WHY_BYTES];
    if (!c->request) return rest(c);
    snprintf(text, sizeof text, "%s (after %" PRIu32 " tries)", why, c->tries);
    fail(s, c, STORE_TRANSIENT, c->tries > 1 ? text : why);
}

static void again(struct s3_store *s, struct call *c, const char *why) {
    int64_t wait = backoff_us(s, c), asked = retry_after_us(c);
    if (wait < asked) wait = asked;
    c->at_us = now_us(s) + wait;
    if (c->tries >= s->settings.tries_max || c->at_us >= c->deadline_us) return give_up(s, c, why);
    c->state = WAITING;
}

/* The file may hold newer ones by now; or another call has read them already. */
static bool renew_credentials(struct s3_store *s, const struct call *c) {
    struct credentials fresh = {0};
    struct buf error = {0};
    if (c->credentials != s->credentials) return true;
    if (!s->settings.credentials_file || !*s->settings.credentials_file || *s->settings.access_key_id) return false;
    bool newer = credentials_load(&s->settings, &fresh, &error) == STATUS_OK && memcmp(&fresh, &s->who, sizeof fresh) != 0;
    if (error.len > 0) log_line(LOG_WARNING, "%.*s", (int)error.len, (char *)error.data);
    buf_fini(&error);
    if (!newer) return false;
    s->who = fresh;
    s->credentials++;
    sodium_memzero(&fresh, sizeof fresh);
    return true;
}

/* ------------------------------------------------------------------- judging */

static void explain_skew(struct s3_store *s, struct call *c, struct buf *out) {
    time_t theirs = curl_getdate(http_header(&c->http, "Date"), NULL);
    int64_t ahead = s->settings.clock.now(s->settings.clock.self).wall_ms / 1000 - theirs;
    if (theirs < 0) return buf_put_str(out, "this machine's clock and the store's are too far apart; set this one's");
    buf_printf(out, "this machine's clock is %" PRIi64 " s %s the store's, and S3 allows 900 s: set it", ahead < 0 ? -ahead : ahead,
               ahead < 0 ? "behind" : "ahead of");
}

/* One line for people; status 0 is curl's word. */
static void explain(struct s3_store *s, struct call *c, long status, const struct s3_error *error, struct buf *out) {
    const char *region = *error->region ? error->region : http_header(&c->http, "x-amz-bucket-region");
    if (strcmp(error->code, "RequestTimeTooSkewed") == 0) return explain_skew(s, c, out);
    buf_printf(out, "%s %.*s: %ld %s", s3_method(c->kind), (int)c->key.len, c->key.data ? (char *)c->key.data : "", status, error->code);
    if (*error->message) buf_printf(out, ": %s", error->message);
    if ((status / 100 == 3 || strcmp(error->code, "AuthorizationHeaderMalformed") == 0) && *region)
        buf_printf(out, "; the bucket is in region %s (object-store-region)", region);
}

static void end_get(struct s3_store *s, struct call *c, long status) {
    struct store_request *r = c->request;
    char want[40];
    bool ranged = r->offset > 0 || r->len > 0;
    if (ranged && r->len > 0 && r->data.len > r->len) return fail(s, c, STORE_MALFORMED, "more came than the range that was asked for");
    snprintf(want, sizeof want, "bytes %" PRIu64 "-", r->offset);
    bool right = status == 206 ? strncmp(http_header(&c->http, "Content-Range"), want, strlen(want)) == 0 : r->offset == 0;
    if (ranged && !right) return fail(s, c, STORE_MALFORMED, "another range came than was asked for");
    done(s, c);
}

static void end_list(struct s3_store *s, struct call *c) {
    bool more;
    struct buf last = {0};
    enum status status = s3_listing_read(buf_bytes(&c->http.text), buf_bytes(&s->place.prefix), c->request, &last, &more);
    if (status != STATUS_OK) {
        fail(s, c, STORE_MALFORMED, "the listing makes no sense");
    } else if (more && c->request->count == 0) { /* a page of names that are no keys of ours */
        c->after.len = 0;
        buf_put_bytes(&c->after, buf_bytes(&last));
        begin(s, c, S3_LIST);
    } else {
        store_page_end(c->request, more);
        done(s, c);
    }
    buf_fini(&last);
}

static void end_part(struct s3_store *s, struct call *c) {
    const char *tag = http_header(&c->http, "ETag");
    if (!*tag || strpbrk(tag, "<&>")) return fail(s, c, STORE_MALFORMED, "a part was taken without an ETag");
    buf_printf(&c->parts, "<Part><PartNumber>%" PRIu32 "</PartNumber><ETag>%s</ETag></Part>", c->part, tag);
    if (c->part * s->settings.part_bytes < c->request->body.len) {
        c->part++;
        return begin(s, c, S3_PART);
    }
    buf_put_str(&c->parts, "</CompleteMultipartUpload>");
    begin(s, c, S3_COMPLETE);
}

static void end_upload_begun(struct s3_store *s, struct call *c) {
    c->upload.len = 0;
    if (!s3_text(buf_bytes(&c->http.text), "UploadId", &c->upload) || c->upload.len == 0 || c->upload.len > 2048) {
        c->upload.len = 0;
        return fail(s, c, STORE_MALFORMED, "an upload was begun without an id");
    }
    c->parts.len = 0;
    buf_put_str(&c->parts, "<CompleteMultipartUpload>");
    c->part = 1;
    begin(s, c, S3_PART);
}

/* After an unsure completion: what is there bears our nonce, or it is not ours. */
static void end_check(struct s3_store *s, struct call *c) {
    if (strcmp(http_header(&c->http, S3_NONCE_HEADER), c->nonce) == 0) return done(s, c);
    give_up(s, c, "the upload is gone, and what is there is another object");
}

static void end_head(struct s3_store *s, struct call *c) {
    int64_t length = http_length(&c->http);
    if (c->request->op == STORE_PUT) return end_check(s, c);
    if (length < 0) return fail(s, c, STORE_MALFORMED, "the size is missing");
    c->request->size = (uint64_t)length;
    done(s, c);
}

static void succeed(struct s3_store *s, struct call *c, long status) {
    switch (c->kind) {
    case S3_PUT:
    case S3_CREATE:
    case S3_DELETE:
    case S3_COMPLETE: return done(s, c);
    case S3_GET: return end_get(s, c, status);
    case S3_HEAD: return end_head(s, c);
    case S3_LIST: return end_list(s, c);
    case S3_UPLOAD: return end_upload_begun(s, c);
    case S3_PART: return end_part(s, c);
    case S3_ABORT: return rest(c);
    }
}

/* A sending of this exchange may have been carried out. */
static void doubt(struct call *c) {
    if (c->kind == S3_COMPLETE) c->maybe_completed = true;
    if (c->kind == S3_PUT || c->kind == S3_CREATE || c->kind == S3_COMPLETE || c->kind == S3_DELETE) c->request->unsure = true;
}

static void unknown(struct s3_store *s, struct call *c, bool answered, const char *why) {
    doubt(c);
    if (c->kind == S3_CREATE && answered) return give_up(s, c, why);
    again(s, c, why);
}

static void act(struct s3_store *s, struct call *c, enum s3_verdict verdict, long status, const char *why) {
    if (c->kind == S3_ABORT && verdict != S3_AGAIN && verdict != S3_UNKNOWN) return rest(c);
    switch (verdict) {
    case S3_GOOD: return succeed(s, c, status);
    case S3_AGAIN: return again(s, c, why);
    case S3_UNKNOWN: return unknown(s, c, status > 0, why);
    case S3_THERE: return fail(s, c, STORE_EXISTS, why);
    case S3_NONE:
        if (c->request->op == STORE_PUT) return give_up(s, c, "the upload is gone, and so is the object");
        return fail(s, c, STORE_MISSING, why);
    case S3_NO_UPLOAD:
        c->upload.len = 0;
        if (c->maybe_completed) return begin(s, c, S3_HEAD);
        return give_up(s, c, why);
    case S3_BEYOND:
        c->request->data.len = 0;
        return done(s, c);
    case S3_TOO_BIG: return fail(s, c, STORE_TOO_LARGE, why);
    case S3_NO_CONDITIONS: return fail(s, c, STORE_UNCONDITIONAL, why);
    case S3_WHO:
        if (c->tries < s->settings.tries_max && renew_credentials(s, c)) return fly(s, c);
        return fail(s, c, STORE_REFUSED, why);
    case S3_REFUSES: return fail(s, c, STORE_REFUSED, why);
    }
}

static enum s3_verdict judge_transport(struct call *c, CURLcode code) {
    if (c->http.too_large) return S3_TOO_BIG;
    if (http_hopeless(code)) return S3_REFUSES;
    return http_never_sent(code) ? S3_AGAIN : S3_UNKNOWN;
}

static void landed(struct s3_store *s, struct call *c, CURLcode code) {
    struct buf why = {0};
    enum s3_verdict verdict;
    long status = code == CURLE_OK ? http_status(&c->http) : 0;
    curl_multi_remove_handle(s->multi, c->http.easy);
    if (c->http.sends > 1 && c->request) {
        c->request->tries += c->http.sends - 1;
        doubt(c);
    }
    if (status == 0) {
        verdict = judge_transport(c, code);
        if (c->http.too_large) buf_printf(&why, "more than %" PRIu64 " bytes", c->request->bytes_max);
        else buf_printf(&why, "%s %.*s: %s", s3_method(c->kind), (int)c->key.len, c->key.data ? (char *)c->key.data : "",
                        *c->http.error ? c->http.error : curl_easy_strerror(code));
    } else {
        struct s3_error error = {0};
        struct bytes text = buf_bytes(&c->http.text);
        if (status >= 300 || (c->kind == S3_COMPLETE && s3_is_error(text))) s3_error_read(text, &error);
        verdict = s3_judge(c->kind, status, error.code);
        explain(s, c, status, &error, &why);
    }
    buf_put_byte(&why, 0);
    act(s, c, verdict, status, (char *)why.data);
    buf_fini(&why);
}

/* -------------------------------------------------------------------- starting */

static void start_put(struct s3_store *s, struct call *c) {
    struct store_request *r = c->request;
    bool parts = r->op == STORE_PUT && r->body.len > s->settings.part_bytes;
    if (!parts && r->body.len > ONE_PIECE_BYTES_MAX) return fail(s, c, STORE_TOO_LARGE, "more than S3 takes in one piece");
    if (parts && r->body.len > PARTS_MAX * s->settings.part_bytes) return fail(s, c, STORE_TOO_LARGE, "more than S3 takes in parts");
    if (!parts) return begin(s, c, r->op == STORE_CREATE ? S3_CREATE : S3_PUT);
    snprintf(c->nonce, sizeof c->nonce, "%016" PRIx64, s->settings.clock.entropy(s->settings.clock.self));
    begin(s, c, S3_UPLOAD);
}

static void start(struct s3_store *s, struct call *c, struct store_request *r) {
    c->request = r;
    c->deadline_us = r->since_us + (int64_t)s->settings.deadline_ms * 1000 + time_for_us(s, bytes_of_request(r));
    c->maybe_completed = false;
    c->key.len = c->upload.len = c->after.len = 0;
    buf_put_bytes(&c->key, r->key);
    if (now_us(s) >= c->deadline_us) return fail(s, c, STORE_TRANSIENT, "waited too long for its turn");
    switch (r->op) {
    case STORE_PUT:
    case STORE_CREATE: return start_put(s, c);
    case STORE_GET: return begin(s, c, S3_GET);
    case STORE_HEAD: return begin(s, c, S3_HEAD);
    case STORE_DELETE: return begin(s, c, S3_DELETE);
    case STORE_LIST:
        if (r->after.len > 0) {
            buf_put_bytes(&c->after, buf_bytes(&s->place.prefix));
            buf_put_bytes(&c->after, r->after);
        }
        return begin(s, c, S3_LIST);
    }
}

/* ---------------------------------------------------------------------- thread */

static void take_work(struct s3_store *s) {
    for (uint32_t i = 0; i < s->settings.concurrency; i++) {
        struct store_request *r;
        while (s->calls[i].state == IDLE && (r = desk_take(&s->desk))) start(s, &s->calls[i], r);
    }
}

/* Those whose wait is over fly; the time until the next one's is. */
static int64_t wake_waiting(struct s3_store *s) {
    int64_t now = now_us(s), next = POLL_MS * 1000;
    for (uint32_t i = 0; i < s->settings.concurrency; i++) {
        struct call *c = &s->calls[i];
        if (c->state != WAITING) continue;
        if (c->at_us <= now) fly(s, c);
        else if (c->at_us - now < next) next = c->at_us - now;
    }
    return next / 1000 + 1;
}

static bool land_all(struct s3_store *s) {
    int left;
    bool any = false;
    for (CURLMsg *message; (message = curl_multi_info_read(s->multi, &left)); any = true) {
        struct call *c;
        CURLcode code = message->data.result; /* landed takes the handle out, and the message with it */
        if (message->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        landed(s, c, code);
    }
    return any;
}

static void cut_off(struct s3_store *s) {
    for (uint32_t i = 0; i < s->settings.concurrency; i++) {
        struct call *c = &s->calls[i];
        if (c->state == FLYING) curl_multi_remove_handle(s->multi, c->http.easy);
        if (c->state != IDLE && c->request) {
            c->request->unsure = c->request->op != STORE_GET && c->request->op != STORE_HEAD && c->request->op != STORE_LIST;
            store_answer(c->request, STORE_TRANSIENT, "the store was closed");
            hand_back(s, c);
        }
        rest(c);
    }
}

/* The eventfd is read before the desk is looked at, so no request is overlooked. */
static void *drive(void *self) {
    struct s3_store *s = self;
    uint64_t count;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL); /* SIGPIPE among them, which TLS may raise */
    while (!s->stop) {
        if (read(s->wake, &count, sizeof count) < 0 && errno != EAGAIN) break;
        int running;
        do {
            take_work(s);
            curl_multi_perform(s->multi, &running);
        } while (land_all(s));
        struct curl_waitfd wake = {.fd = s->wake, .events = CURL_WAIT_POLLIN};
        curl_multi_poll(s->multi, &wake, 1, (int)wake_waiting(s), NULL);
    }
    cut_off(s);
    return NULL;
}

static void wake(struct s3_store *s) {
    uint64_t one = 1;
    if (write(s->wake, &one, sizeof one) < 0) return; /* it is full, so it is awake */
}

/* ------------------------------------------------------------------------ port */

static enum status s3_submit(void *self, struct store_request *r) {
    struct s3_store *s = self;
    enum status status = desk_submit(&s->desk, r);
    if (status == STATUS_OK) wake(s);
    return status;
}

static struct store_request *s3_poll(void *self) { return desk_poll(&((struct s3_store *)self)->desk); }

static void forget(struct s3_store *s) {
    const char *texts[] = {s->settings.access_key_id, s->settings.secret_access_key, s->settings.session_token, s->settings.credentials_file,
                           s->settings.ca_file};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!texts[i]) continue;
        sodium_memzero((char *)texts[i], strlen(texts[i]));
        free((char *)texts[i]);
    }
    s3_place_fini(&s->place);
    sodium_memzero(&s->who, sizeof s->who);
    mem_free(s);
}

static void s3_close(void *self) {
    struct s3_store *s = self;
    desk_close(&s->desk);
    s->stop = true;
    wake(s);
    pthread_join(s->thread, NULL);
    for (uint32_t i = 0; i < s->settings.concurrency; i++) {
        struct call *c = &s->calls[i];
        http_fini(&c->http);
        struct buf *bufs[] = {&c->key, &c->url, &c->headers, &c->upload, &c->parts, &c->after};
        for (size_t j = 0; j < sizeof bufs / sizeof *bufs; j++) buf_fini(bufs[j]);
    }
    curl_multi_cleanup(s->multi);
    close(s->wake);
    mem_free(s->calls);
    desk_fini(&s->desk);
    forget(s);
}

/* ---------------------------------------------------------------------- opening */

static void init_curl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

static void keep_text(const char **text) { *text = *text ? strdup(*text) : strdup(""); }

static void keep_texts(struct store_settings *settings) {
    settings->endpoint = settings->region = NULL; /* they are in the place */
    keep_text(&settings->access_key_id);
    keep_text(&settings->secret_access_key);
    keep_text(&settings->session_token);
    keep_text(&settings->credentials_file);
    keep_text(&settings->ca_file);
}

static enum status launch(struct s3_store *s, struct buf *error) {
    desk_init(&s->desk, &s->settings);
    s->multi = curl_multi_init();
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)s->settings.concurrency);
    s->calls = mem_zero(s->settings.concurrency, sizeof *s->calls);
    for (uint32_t i = 0; i < s->settings.concurrency; i++) http_init(&s->calls[i].http);
    if (s->wake >= 0 && pthread_create(&s->thread, NULL, drive, s) == 0) return STATUS_OK;
    buf_printf(error, "object store: no thread can be started: %s", strerror(errno));
    return STATUS_ERR_LIMIT;
}

enum status store_s3_open(struct bytes bucket, struct bytes prefix, const struct store_settings *settings, struct store *store,
                          struct buf *error) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct s3_store *s = mem_zero(1, sizeof *s);
    pthread_once(&once, init_curl);
    s->settings = *settings;
    enum status status = s3_place_init(&s->place, bucket, prefix, settings, error);
    keep_texts(&s->settings);
    if (status == STATUS_OK) status = credentials_load(&s->settings, &s->who, error);
    if (status == STATUS_OK) status = launch(s, error);
    if (status == STATUS_OK) *store = (struct store){s3_submit, s3_poll, s3_close, s};
    else forget(s);
    return status;
}
