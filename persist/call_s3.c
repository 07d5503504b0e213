/* The way of a request. Most are one exchange; a PUT that is larger than a part is several, each with tries of its own:
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
 * repetition too; if it then finds the name taken, that may be by itself (EXISTS, unsure). libcurl repeats too, on a kept
 * connection that turns out to be dead: http.sends counts that.
 *
 * Conditions are never put on an upload in parts: radosgw ignores them there. A create goes up in one piece. */
#include "persist/call_s3.h"

#include <inttypes.h>
#include <stdio.h>

#include <sodium.h>

#include "core/log.h"
#include "persist/sign.h"

#define ONE_PIECE_BYTES_MAX (5ull << 30) /* S3's limit of one PUT */
#define PARTS_MAX 10000                  /* of one upload */
#define ABORT_MS 10000
#define KEPT_BYTES_MAX 65536 /* of an answer's memory, from one request to the next */

static void begin(struct s3_client *s, struct call *c, enum s3_kind kind);

static int64_t now_us(const struct s3_client *s) { return s->settings.clock.now(s->settings.clock.self).mono_us; }

void call_init(struct call *c) {
    *c = (struct call){.state = CALL_IDLE};
    http_init(&c->http);
}

void call_fini(struct call *c) {
    http_fini(&c->http);
    struct buf *bufs[] = {&c->key, &c->url, &c->headers, &c->upload, &c->parts, &c->after};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_fini(bufs[i]);
}

/* ------------------------------------------------------------------ sending */

static int64_t time_for_us(const struct s3_client *s, uint64_t bytes) {
    return (int64_t)(bytes / s->settings.bytes_per_s_min * 1000000);
}

static uint64_t bytes_of_request(const struct store_request *r) {
    if (r->op == STORE_GET) return r->len > 0 && r->len < r->bytes_max ? r->len : r->bytes_max;
    return r->body.len;
}

/* What goes up in this exchange. */
static struct bytes body_of(const struct s3_client *s, const struct call *c) {
    if (c->kind == S3_COMPLETE) return buf_bytes(&c->parts);
    if (c->kind == S3_PUT || c->kind == S3_CREATE) return c->request->body;
    if (c->kind != S3_PART) return bytes_of(NULL, 0);
    uint64_t from = (uint64_t)(c->part - 1) * s->settings.part_bytes, left = c->request->body.len - from;
    return bytes_of(c->request->body.data + from, (size_t)(left < s->settings.part_bytes ? left : s->settings.part_bytes));
}

/* Half of what is left for completing: servers take minutes for large objects, and a repetition must still be possible. */
static int64_t timeout_ms(const struct s3_client *s, const struct call *c, struct bytes body) {
    int64_t left = c->deadline_us - now_us(s), most = (int64_t)s->settings.try_ms * 1000;
    if (c->kind == S3_COMPLETE && left / 2 > most) most = left / 2;
    most += time_for_us(s, body.len + (c->kind == S3_GET ? bytes_of_request(c->request) : 0));
    return (left < most ? left : most) / 1000;
}

void call_fly(struct s3_client *s, struct call *c) {
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
    c->state = CALL_FLYING;
}

static void begin(struct s3_client *s, struct call *c, enum s3_kind kind) {
    c->kind = kind;
    c->tries = 0;
    sign_hash(body_of(s, c), c->body_hash);
    call_fly(s, c);
}

/* ---------------------------------------------------------------- answering */

static void rest(struct call *c) {
    c->state = CALL_IDLE;
    c->request = NULL;
    c->upload.len = c->parts.len = c->after.len = 0;
    if (c->http.text.cap > KEPT_BYTES_MAX) buf_fini(&c->http.text);
}

/* Parts that were sent cost their owner money until the upload is aborted; nobody waits for that. */
static void clean_up(struct s3_client *s, struct call *c) {
    c->request = NULL;
    if (c->upload.len == 0) return rest(c);
    c->deadline_us = now_us(s) + ABORT_MS * 1000;
    begin(s, c, S3_ABORT);
}

static void hand_back(struct s3_client *s, struct call *c) {
    struct store_request *r = c->request;
    if (r->result != STORE_DONE) {
        store_page_clear(r);
        buf_fini(&r->data);
    }
    if (r->result == STORE_DONE) r->unsure = false;
    desk_answer(&s->desk, r);
}

static void done(struct s3_client *s, struct call *c) {
    store_answer(c->request, STORE_DONE, "%s", "");
    hand_back(s, c);
    rest(c);
}

static void fail(struct s3_client *s, struct call *c, enum store_result result, const char *why) {
    store_answer(c->request, result, "%s", why);
    hand_back(s, c);
    clean_up(s, c);
}

/* ----------------------------------------------------------------- repeating */

static int64_t backoff_us(struct s3_client *s, const struct call *c) {
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

static void give_up(struct s3_client *s, struct call *c, const char *why) {
    char text[STORE_WHY_BYTES];
    if (!c->request) return rest(c);
    snprintf(text, sizeof text, "%s (after %" PRIu32 " tries)", why, c->tries);
    fail(s, c, STORE_TRANSIENT, c->tries > 1 ? text : why);
}

static void again(struct s3_client *s, struct call *c, const char *why) {
    int64_t wait = backoff_us(s, c), asked = retry_after_us(c);
    if (wait < asked) wait = asked;
    c->at_us = now_us(s) + wait;
    if (c->tries >= s->settings.tries_max || c->at_us >= c->deadline_us) return give_up(s, c, why);
    c->state = CALL_WAITING;
}

/* The file may hold newer ones by now; or another call has read them already. */
static bool renew_credentials(struct s3_client *s, const struct call *c) {
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

static void explain_skew(struct s3_client *s, struct call *c, struct buf *out) {
    time_t theirs = curl_getdate(http_header(&c->http, "Date"), NULL);
    int64_t ahead = s->settings.clock.now(s->settings.clock.self).wall_ms / 1000 - theirs;
    if (theirs < 0) return buf_put_str(out, "this machine's clock and the store's are too far apart; set this one's");
    buf_printf(out, "this machine's clock is %" PRIi64 " s %s the store's, and S3 allows 900 s: set it", ahead < 0 ? -ahead : ahead,
               ahead < 0 ? "behind" : "ahead of");
}

/* One line for people; status 0 is curl's word. */
static void explain(struct s3_client *s, struct call *c, long status, const struct s3_error *error, struct buf *out) {
    const char *region = *error->region ? error->region : http_header(&c->http, "x-amz-bucket-region");
    if (strcmp(error->code, "RequestTimeTooSkewed") == 0) return explain_skew(s, c, out);
    buf_printf(out, "%s %.*s: %ld %s", s3_method(c->kind), (int)c->key.len, c->key.data ? (char *)c->key.data : "", status, error->code);
    if (*error->message) buf_printf(out, ": %s", error->message);
    if ((status / 100 == 3 || strcmp(error->code, "AuthorizationHeaderMalformed") == 0) && *region)
        buf_printf(out, "; the bucket is in region %s (object-store-region)", region);
    const char *id = http_header(&c->http, "x-amz-request-id");
    if (*id) buf_printf(out, " [%s]", id); /* what the store's own support asks for first */
}

static void end_get(struct s3_client *s, struct call *c, long status) {
    struct store_request *r = c->request;
    bool ranged = r->offset > 0 || r->len > 0;
    bool right = status == 206 ? s3_range_right(http_header(&c->http, "Content-Range"), r->offset, r->len, r->data.len)
                               : r->offset == 0 && r->data.len <= r->len; /* ignored, and just as well */
    if (ranged && !right) return fail(s, c, STORE_MALFORMED, "another range came than was asked for");
    done(s, c);
}

static void end_list(struct s3_client *s, struct call *c) {
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

static void end_part(struct s3_client *s, struct call *c) {
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

static void end_upload_begun(struct s3_client *s, struct call *c) {
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
static void end_check(struct s3_client *s, struct call *c) {
    if (strcmp(http_header(&c->http, S3_NONCE_HEADER), c->nonce) == 0) return done(s, c);
    give_up(s, c, "the upload is gone, and what is there is another object");
}

static void end_head(struct s3_client *s, struct call *c) {
    int64_t length = http_length(&c->http);
    if (c->request->op == STORE_PUT) return end_check(s, c);
    if (length < 0) return fail(s, c, STORE_MALFORMED, "the size is missing");
    c->request->size = (uint64_t)length;
    done(s, c);
}

static void succeed(struct s3_client *s, struct call *c, long status) {
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

static void unknown(struct s3_client *s, struct call *c, bool answered, const char *why) {
    doubt(c);
    if (c->kind == S3_CREATE && answered) return give_up(s, c, why);
    again(s, c, why);
}

static void act(struct s3_client *s, struct call *c, enum s3_verdict verdict, long status, const char *why) {
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
        if (c->tries < s->settings.tries_max && renew_credentials(s, c)) return call_fly(s, c);
        return fail(s, c, STORE_REFUSED, why);
    case S3_REFUSES: return fail(s, c, STORE_REFUSED, why);
    }
}

static enum s3_verdict judge_transport(struct call *c, CURLcode code) {
    if (c->http.too_large) return S3_TOO_BIG;
    if (http_hopeless(code)) return S3_REFUSES;
    return c->http.sends == 0 ? S3_AGAIN : S3_UNKNOWN;
}

void call_land(struct s3_client *s, struct call *c, CURLcode code) {
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

static void start_put(struct s3_client *s, struct call *c) {
    struct store_request *r = c->request;
    bool parts = r->op == STORE_PUT && r->body.len > s->settings.part_bytes;
    if (!parts && r->body.len > ONE_PIECE_BYTES_MAX) return fail(s, c, STORE_TOO_LARGE, "more than S3 takes in one piece");
    if (parts && r->body.len > PARTS_MAX * s->settings.part_bytes) return fail(s, c, STORE_TOO_LARGE, "more than S3 takes in parts");
    if (!parts) return begin(s, c, r->op == STORE_CREATE ? S3_CREATE : S3_PUT);
    snprintf(c->nonce, sizeof c->nonce, "%016" PRIx64, s->settings.clock.entropy(s->settings.clock.self));
    begin(s, c, S3_UPLOAD);
}

void call_start(struct s3_client *s, struct call *c, struct store_request *r) {
    c->request = r;
    c->deadline_us = r->since_us + (int64_t)s->settings.deadline_ms * 1000 + time_for_us(s, bytes_of_request(r));
    c->maybe_completed = false;
    c->key.len = c->upload.len = c->after.len = 0;
    buf_put_bytes(&c->key, r->key);
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

/* -------------------------------------------------------------------- the end */

void call_cut_off(struct s3_client *s, struct call *c) {
    if (c->state == CALL_FLYING) curl_multi_remove_handle(s->multi, c->http.easy);
    if (c->state != CALL_IDLE && c->request) {
        enum store_op op = c->request->op;
        c->request->unsure = op == STORE_PUT || op == STORE_CREATE || op == STORE_DELETE;
        store_answer(c->request, STORE_TRANSIENT, "the store was closed");
        hand_back(s, c);
    }
    rest(c);
}
