#include "persist/s3_request.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* ------------------------------------------------------------------ place */

static bool is_name(struct bytes text, const char *besides) {
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && !(c && strchr(besides, c))) return false;
    }
    return text.len > 0;
}

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* http[s]://host[:port], perhaps with a slash at its end; nothing else, credentials in it least of all. */
static bool split_endpoint(const char *endpoint, struct bytes *scheme, struct bytes *host) {
    size_t scheme_len = begins(endpoint, "https://") ? 8 : begins(endpoint, "http://") ? 7 : 0;
    if (scheme_len == 0) return false;
    size_t len = strlen(endpoint + scheme_len);
    if (len > 0 && endpoint[scheme_len + len - 1] == '/') len--;
    *scheme = bytes_of(endpoint, scheme_len);
    *host = bytes_of(endpoint + scheme_len, len);
    return is_name(*host, ".-:[]_");
}

static bool is_virtual(struct bytes bucket, const struct store_settings *settings, bool aws) {
    if (settings->addressing != STORE_ADDRESSING_AUTO) return settings->addressing == STORE_ADDRESSING_VIRTUAL;
    return aws && !memchr(bucket.data, '.', bucket.len); /* no certificate covers another dot */
}

enum status s3_place_init(struct s3_place *place, struct bytes bucket, struct bytes prefix, const struct store_settings *settings,
                          struct buf *error) {
    struct bytes scheme, host;
    char of_aws[160];
    bool aws = !settings->endpoint || !*settings->endpoint;
    *place = (struct s3_place){0};
    if (!is_name(bytes_str(settings->region), "-") || strlen(settings->region) >= sizeof place->region) {
        buf_printf(error, "object store: '%s' is no region", settings->region);
        return STATUS_ERR_INVALID;
    }
    strcpy(place->region, settings->region);
    snprintf(of_aws, sizeof of_aws, "https://s3.%s.amazonaws.com%s", place->region, begins(place->region, "cn-") ? ".cn" : "");
    if (!split_endpoint(aws ? of_aws : settings->endpoint, &scheme, &host)) {
        buf_printf(error, "object store: endpoint '%s': want http[s]://host[:port]", settings->endpoint);
        return STATUS_ERR_INVALID;
    }
    if (!is_name(bucket, ".-_") || bucket.len > 255) {
        buf_printf(error, "object store: '%.*s' is no name of a bucket", (int)bucket.len, (const char *)bucket.data);
        return STATUS_ERR_INVALID;
    }
    bool in_host = is_virtual(bucket, settings, aws);
    if (in_host) buf_printf(&place->host, "%.*s.", (int)bucket.len, (const char *)bucket.data);
    else buf_printf(&place->path, "/%.*s", (int)bucket.len, (const char *)bucket.data);
    buf_put_bytes(&place->host, host);
    buf_put_bytes(&place->origin, scheme);
    buf_put_bytes(&place->origin, buf_bytes(&place->host));
    buf_put_bytes(&place->prefix, prefix);
    if (prefix.len > 0) buf_put_byte(&place->prefix, '/');
    return STATUS_OK;
}

void s3_place_fini(struct s3_place *place) {
    buf_fini(&place->origin);
    buf_fini(&place->host);
    buf_fini(&place->path);
    buf_fini(&place->prefix);
}

/* ---------------------------------------------------------------- request */

const char *s3_method(enum s3_kind kind) {
    switch (kind) {
    case S3_PUT:
    case S3_CREATE:
    case S3_PART: return "PUT";
    case S3_GET:
    case S3_LIST: return "GET";
    case S3_HEAD: return "HEAD";
    case S3_DELETE:
    case S3_ABORT: return "DELETE";
    case S3_UPLOAD:
    case S3_COMPLETE: return "POST";
    }
    return NULL;
}

struct pairs {
    struct sign_pair of[SIGN_PAIRS_MAX];
    size_t count;
};

static void add(struct pairs *pairs, const char *name, struct bytes value) {
    assert(pairs->count < SIGN_PAIRS_MAX);
    pairs->of[pairs->count++] = (struct sign_pair){bytes_str(name), value};
}

/* encoding-type: names may hold what XML cannot. */
static void put_query(const struct s3_place *place, const struct s3_ask *ask, struct buf *out) {
    struct pairs query = {0};
    struct buf prefix = {0};
    char limit[16], part[16];
    if (ask->kind == S3_LIST) {
        buf_put_bytes(&prefix, buf_bytes(&place->prefix));
        buf_put_bytes(&prefix, ask->key);
        snprintf(limit, sizeof limit, "%" PRIu32, ask->limit);
        add(&query, "list-type", bytes_str("2"));
        add(&query, "encoding-type", bytes_str("url"));
        add(&query, "max-keys", bytes_str(limit));
        add(&query, "prefix", buf_bytes(&prefix));
        if (ask->after.len > 0) add(&query, "start-after", ask->after);
    }
    if (ask->kind == S3_UPLOAD) add(&query, "uploads", bytes_str(""));
    if (ask->kind == S3_PART) {
        snprintf(part, sizeof part, "%" PRIu32, ask->part);
        add(&query, "partNumber", bytes_str(part));
    }
    if (ask->kind == S3_PART || ask->kind == S3_COMPLETE || ask->kind == S3_ABORT) add(&query, "uploadId", ask->upload);
    sign_query(query.of, query.count, out);
    buf_fini(&prefix);
}

static void put_range(const struct s3_ask *ask, char *out, size_t size) {
    if (ask->len > 0) snprintf(out, size, "bytes=%" PRIu64 "-%" PRIu64, ask->offset, ask->offset + ask->len - 1);
    else snprintf(out, size, "bytes=%" PRIu64 "-", ask->offset);
}

static void put_path(const struct s3_place *place, const struct s3_ask *ask, struct buf *out) {
    buf_put_bytes(out, buf_bytes(&place->path));
    if (ask->kind == S3_LIST && out->len > 0) return;
    buf_put_byte(out, '/');
    if (ask->kind == S3_LIST) return;
    sign_encode(buf_bytes(&place->prefix), true, out);
    sign_encode(ask->key, true, out);
}

void s3_write(const struct s3_place *place, const struct credentials *who, const struct s3_ask *ask, int64_t wall_ms, struct buf *url,
              struct buf *headers) {
    struct sign_key key = {who->access_key_id, who->secret_access_key, place->region, "s3"};
    struct buf path = {0}, query = {0}, authorization = {0};
    struct pairs signed_headers = {0};
    char date[SIGN_DATE_TEXT], range[64];
    sign_date(wall_ms, date);
    add(&signed_headers, "host", buf_bytes(&place->host));
    add(&signed_headers, "x-amz-date", bytes_str(date));
    add(&signed_headers, "x-amz-content-sha256", bytes_str(ask->body_hash));
    if (*who->session_token) add(&signed_headers, "x-amz-security-token", bytes_str(who->session_token));
    if (ask->kind == S3_CREATE) add(&signed_headers, "if-none-match", bytes_str("*"));
    if (ask->kind == S3_UPLOAD) add(&signed_headers, S3_NONCE_HEADER, bytes_str(ask->nonce));
    if (ask->kind == S3_GET && (ask->offset > 0 || ask->len > 0)) {
        put_range(ask, range, sizeof range);
        add(&signed_headers, "range", bytes_str(range));
    }
    put_path(place, ask, &path);
    put_query(place, ask, &query);
    struct sign_request request = {s3_method(ask->kind), buf_bytes(&path), buf_bytes(&query), signed_headers.of, signed_headers.count,
                                   ask->body_hash, date};
    sign_authorization(&key, &request, &authorization);
    add(&signed_headers, "authorization", buf_bytes(&authorization));
    for (size_t i = 0; i < signed_headers.count; i++) {
        buf_put_bytes(headers, signed_headers.of[i].name);
        buf_put_str(headers, ": ");
        buf_put_bytes(headers, signed_headers.of[i].value);
        buf_put_byte(headers, 0);
    }
    buf_put_bytes(url, buf_bytes(&place->origin));
    buf_put_bytes(url, buf_bytes(&path));
    if (query.len > 0) buf_printf(url, "?%.*s", (int)query.len, (char *)query.data);
    buf_fini(&path);
    buf_fini(&query);
    buf_fini(&authorization);
}
