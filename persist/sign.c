/* The signature is an HMAC over a text that client and server must both arrive at: method, path, query,
 * headers, hash of the body. All the difficulty is in the order and spelling of that text:
 *
 *   - names of a query are compared as they are encoded, and name by name before value by value: comparing
 *     whole "name=value" strings puts "a-b=" before "a=", since '-' is less than '='
 *   - a parameter without a value is signed as "name="
 *   - hex digits of escapes are capitals
 *   - a header that comes twice is signed once, its values joined by commas; blanks are folded
 *
 * So the query is spelled here once, and what is signed is what is sent. */
#include "persist/sign.h"

#include <assert.h>
#include <openssl/sha.h>
#include <sodium.h>
#include <time.h>

static bool is_unreserved(uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

void sign_encode(struct bytes text, bool keep_slash, struct buf *out) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (is_unreserved(c) || (c == '/' && keep_slash)) {
            buf_put_byte(out, c);
        } else {
            buf_put_byte(out, '%');
            buf_put_byte(out, (uint8_t)digits[c >> 4]);
            buf_put_byte(out, (uint8_t)digits[c & 15]);
        }
    }
}

/* Insertion sort, stable: of equal headers the order is part of what is signed. */
static void sort_pairs(struct sign_pair *pairs, size_t count, bool by_value) {
    for (size_t i = 1; i < count; i++) {
        struct sign_pair pair = pairs[i];
        size_t at = i;
        for (; at > 0; at--) {
            int order = bytes_compare(pairs[at - 1].name, pair.name);
            if (order == 0 && by_value) order = bytes_compare(pairs[at - 1].value, pair.value);
            if (order <= 0) break;
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = pair;
    }
}

void sign_query(const struct sign_pair *pairs, size_t count, struct buf *out) {
    assert(count <= SIGN_PAIRS_MAX);
    struct buf text[2 * SIGN_PAIRS_MAX] = {0};
    struct sign_pair sorted[SIGN_PAIRS_MAX];
    for (size_t i = 0; i < count; i++) {
        sign_encode(pairs[i].name, false, &text[2 * i]);
        sign_encode(pairs[i].value, false, &text[2 * i + 1]);
        sorted[i] = (struct sign_pair){buf_bytes(&text[2 * i]), buf_bytes(&text[2 * i + 1])};
    }
    sort_pairs(sorted, count, true);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buf_put_byte(out, '&');
        buf_put_bytes(out, sorted[i].name);
        buf_put_byte(out, '=');
        buf_put_bytes(out, sorted[i].value);
    }
    for (size_t i = 0; i < 2 * count; i++) buf_fini(&text[i]);
}

void sign_hash(struct bytes body, char out[SIGN_HASH_TEXT]) {
    uint8_t hash[SHA256_DIGEST_LENGTH];
    SHA256(body.data, body.len, hash);
    sodium_bin2hex(out, SIGN_HASH_TEXT, hash, sizeof hash);
}

void sign_date(int64_t wall_ms, char out[SIGN_DATE_TEXT]) {
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    if (strftime(out, SIGN_DATE_TEXT, "%Y%m%dT%H%M%SZ", &tm) == 0) out[0] = 0; /* a year of five digits */
}

/* Without blanks at its ends, and one where there were several. */
static void put_folded(struct bytes value, struct buf *out) {
    bool blank = false, begun = false;
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (c == ' ' || c == '\t') {
            blank = true;
            continue;
        }
        if (blank && begun) buf_put_byte(out, ' ');
        buf_put_byte(out, c);
        blank = false;
        begun = true;
    }
}

static void put_headers(const struct sign_pair *sorted, size_t count, struct buf *out) {
    for (size_t i = 0; i < count; i++) {
        bool again = i > 0 && bytes_equal(sorted[i].name, sorted[i - 1].name);
        if (again) {
            out->len--; /* the line's end */
            buf_put_byte(out, ',');
        } else {
            buf_put_bytes(out, sorted[i].name);
            buf_put_byte(out, ':');
        }
        put_folded(sorted[i].value, out);
        buf_put_byte(out, '\n');
    }
}

static void put_header_names(const struct sign_pair *sorted, size_t count, struct buf *out) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && bytes_equal(sorted[i].name, sorted[i - 1].name)) continue;
        if (i > 0) buf_put_byte(out, ';');
        buf_put_bytes(out, sorted[i].name);
    }
}

static void canonical_hash(const struct sign_request *r, const struct sign_pair *sorted, struct bytes names, char out[SIGN_HASH_TEXT]) {
    struct buf text = {0};
    buf_put_str(&text, r->method);
    buf_put_byte(&text, '\n');
    buf_put_bytes(&text, r->path);
    buf_put_byte(&text, '\n');
    buf_put_bytes(&text, r->query);
    buf_put_byte(&text, '\n');
    put_headers(sorted, r->headers_count, &text);
    buf_put_byte(&text, '\n');
    buf_put_bytes(&text, names);
    buf_put_byte(&text, '\n');
    buf_put_str(&text, r->body_hash);
    sign_hash(buf_bytes(&text), out);
    buf_fini(&text);
}

static void hmac(const uint8_t *key, size_t key_len, struct bytes text, uint8_t out[crypto_auth_hmacsha256_BYTES]) {
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, key_len);
    crypto_auth_hmacsha256_update(&state, text.data, text.len);
    crypto_auth_hmacsha256_final(&state, out);
}

/* A key for one day, region and service; what it signs tells nothing about the secret. */
static void signing_key(const struct sign_key *key, const char *date, uint8_t out[crypto_auth_hmacsha256_BYTES]) {
    struct buf secret = {0};
    buf_put_str(&secret, "AWS4");
    buf_put_str(&secret, key->secret_access_key);
    hmac(secret.data, secret.len, bytes_of(date, 8), out);
    hmac(out, crypto_auth_hmacsha256_BYTES, bytes_str(key->region), out);
    hmac(out, crypto_auth_hmacsha256_BYTES, bytes_str(key->service), out);
    hmac(out, crypto_auth_hmacsha256_BYTES, bytes_str("aws4_request"), out);
    sodium_memzero(secret.data, secret.len);
    buf_fini(&secret);
}

void sign_authorization(const struct sign_key *key, const struct sign_request *request, struct buf *out) {
    assert(request->headers_count <= SIGN_PAIRS_MAX);
    struct sign_pair sorted[SIGN_PAIRS_MAX];
    struct buf names = {0}, scope = {0}, text = {0};
    char hash[SIGN_HASH_TEXT], signature[SIGN_HASH_TEXT];
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    for (size_t i = 0; i < request->headers_count; i++) sorted[i] = request->headers[i];
    sort_pairs(sorted, request->headers_count, false);
    put_header_names(sorted, request->headers_count, &names);
    buf_printf(&scope, "%.8s/%s/%s/aws4_request", request->date, key->region, key->service);
    canonical_hash(request, sorted, buf_bytes(&names), hash);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%.*s\n%s", request->date, (int)scope.len, (char *)scope.data, hash);
    signing_key(key, request->date, mac);
    hmac(mac, sizeof mac, buf_bytes(&text), mac);
    sodium_bin2hex(signature, sizeof signature, mac, sizeof mac);
    buf_printf(out, "AWS4-HMAC-SHA256 Credential=%s/%.*s, SignedHeaders=%.*s, Signature=%s", key->access_key_id, (int)scope.len,
               (char *)scope.data, (int)names.len, (char *)names.data, signature);
    buf_fini(&names);
    buf_fini(&scope);
    buf_fini(&text);
}
