#include "persist/s3_answer.h"

#include <stdlib.h>

#include "persist/s3_xml.h"

/* ----------------------------------------------------------------- errors */

static void copy_text(struct bytes text, char *out, size_t size) {
    struct buf decoded = {0};
    if (!xml_decode(text, &decoded)) decoded.len = 0;
    size_t len = decoded.len < size ? decoded.len : size - 1;
    if (len > 0) memcpy(out, decoded.data, len);
    out[len] = 0;
    buf_fini(&decoded);
}

/* The text that came is the element's own, and not behind another one in it. */
static bool is_in(const struct xml *xml, const char *element) { return bytes_equal(xml->open[xml->depth - 1], bytes_str(element)); }

/* Whatever can be read is read: it is for people, and for s3_judge. */
void s3_error_read(struct bytes body, struct s3_error *out) {
    struct xml xml;
    struct bytes text;
    xml_init(&xml, body);
    *out = (struct s3_error){0};
    for (enum xml_token token; (token = xml_next(&xml, &text)) != XML_END && token != XML_BAD;) {
        if (token != XML_TEXT || xml.depth != 2) continue;
        if (is_in(&xml, "Code")) copy_text(text, out->code, sizeof out->code);
        if (is_in(&xml, "Message")) copy_text(text, out->message, sizeof out->message);
        if (is_in(&xml, "Region")) copy_text(text, out->region, sizeof out->region);
    }
}

bool s3_is_error(struct bytes body) {
    struct xml xml;
    struct bytes name;
    xml_init(&xml, body);
    return xml_next(&xml, &name) == XML_OPEN && bytes_equal(name, bytes_str("Error"));
}

bool s3_text(struct bytes body, const char *element, struct buf *out) {
    struct xml xml;
    struct bytes text;
    xml_init(&xml, body);
    for (enum xml_token token; (token = xml_next(&xml, &text)) != XML_END && token != XML_BAD;)
        if (token == XML_TEXT && xml.depth == 2 && is_in(&xml, element)) return xml_decode(text, out);
    return false;
}

/* Codes say more than the status, and some come with any: first of all what a code means, whatever came with it. */
static const struct {
    const char *code;
    enum s3_verdict verdict;
} codes[] = {
    {"NoSuchUpload", S3_NO_UPLOAD},
    {"NoSuchBucket", S3_REFUSES},
    {"SlowDown", S3_AGAIN},
    {"ServiceUnavailable", S3_AGAIN},
    {"Throttling", S3_AGAIN},
    {"RequestTimeout", S3_AGAIN}, /* the server's: the body did not come in time */
    {"RequestTimeTooSkewed", S3_REFUSES},
    {"BadDigest", S3_AGAIN}, /* damaged on the way */
    {"XAmzContentSHA256Mismatch", S3_AGAIN},
    {"IncompleteBody", S3_AGAIN},
    {"OperationAborted", S3_AGAIN},
    {"ConditionalRequestConflict", S3_AGAIN},
    {"InternalError", S3_UNKNOWN},
    {"EntityTooLarge", S3_TOO_BIG},
    {"ExpiredToken", S3_WHO},
    {"InvalidToken", S3_WHO},
    {"TokenRefreshRequired", S3_WHO},
};

enum s3_verdict s3_judge(enum s3_kind kind, long status, const char *code) {
    bool good = status >= 200 && status < 300;
    if (good && !*code) return S3_GOOD;
    if (kind == S3_CREATE && (status == 501 || strcmp(code, "NotImplemented") == 0)) return S3_NO_CONDITIONS;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(code, codes[i].code) == 0) return codes[i].verdict;
    switch (status) {
    case 401:
    case 403: return S3_WHO;
    case 404:
        if (kind == S3_DELETE) return S3_GOOD;
        return kind == S3_GET || kind == S3_HEAD ? S3_NONE : kind == S3_PART || kind == S3_COMPLETE ? S3_NO_UPLOAD : S3_REFUSES;
    case 408: return S3_UNKNOWN;
    case 409:
    case 429:
    case 503: return S3_AGAIN;
    case 412: return kind == S3_CREATE ? S3_THERE : S3_REFUSES;
    case 413: return S3_TOO_BIG;
    case 416: return kind == S3_GET ? S3_BEYOND : S3_REFUSES;
    case 501: return S3_REFUSES;
    }
    return status >= 500 || good ? S3_UNKNOWN : S3_REFUSES;
}

static bool number(const char **at, char end, uint64_t *out) {
    const char *stop = strchr(*at, end);
    int64_t value;
    if (!stop || !bytes_to_i64(bytes_of(*at, (size_t)(stop - *at)), &value) || value < 0) return false;
    *at = stop + (end != 0);
    *out = (uint64_t)value;
    return true;
}

/* "bytes 5-9/100": the last byte is named, not the one after it. */
bool s3_range_right(const char *content_range, uint64_t offset, uint64_t len, uint64_t came) {
    uint64_t first, last, size;
    if (strncmp(content_range, "bytes ", 6) != 0) return false;
    const char *at = content_range + 6;
    if (!number(&at, '-', &first) || !number(&at, '/', &last) || !number(&at, 0, &size)) return false;
    if (first != offset || last < first || last >= size || last - first + 1 != came) return false;
    return len == 0 ? last + 1 == size : came == len || (came < len && last + 1 == size);
}

/* ---------------------------------------------------------------- listings */

struct page {
    struct store_request *request;
    struct bytes prefix;
    struct buf key, *last;
    uint64_t size;
    bool urls, truncated;
};

/* AWS writes a blank as '+' here, others as %20; a plus is %2B with all of them. */
static bool decode_url(struct buf *text) {
    size_t to = 0;
    for (size_t i = 0; i < text->len; i++) {
        uint8_t c = text->data[i];
        if (c == '+') c = ' ';
        if (c == '%') {
            char digits[3] = {0}, *end;
            if (text->len - i < 3) return false;
            memcpy(digits, text->data + i + 1, 2);
            c = (uint8_t)strtoul(digits, &end, 16);
            if (end != digits + 2 || digits[0] == '+' || digits[0] == '-' || digits[0] == ' ') return false;
            i += 2;
        }
        text->data[to++] = c;
    }
    text->len = to;
    return true;
}

/* One <Contents>, complete. The order is checked, since the next page begins where this one ends. */
static bool end_entry(struct page *p) {
    if (p->urls && !decode_url(&p->key)) return false;
    struct bytes key = buf_bytes(&p->key);
    if (key.len <= p->prefix.len || !bytes_equal(bytes_of(key.data, p->prefix.len), p->prefix)) return false;
    if (bytes_compare(key, buf_bytes(p->last)) <= 0) return false;
    p->last->len = 0;
    buf_put_bytes(p->last, key);
    key = bytes_of(key.data + p->prefix.len, key.len - p->prefix.len);
    struct bytes asked = p->request->key;
    if (key.len < asked.len || !bytes_equal(bytes_of(key.data, asked.len), asked)) return false;
    if (bytes_compare(key, p->request->after) <= 0) return false;
    if (!store_key_valid(key)) return true;
    if (p->request->count == p->request->limit) return false;
    store_page_add(p->request, key, p->size);
    return true;
}

static bool take_text(struct page *p, bool in_contents, const struct xml *xml, struct bytes text) {
    int64_t number;
    if (in_contents && is_in(xml, "Key")) return xml_decode(text, &p->key);
    if (in_contents && is_in(xml, "Size")) {
        if (!bytes_to_i64(text, &number) || number < 0) return false;
        p->size = (uint64_t)number;
    }
    if (!in_contents && is_in(xml, "IsTruncated")) p->truncated = bytes_is(text, "true");
    return true;
}

static bool read_page(struct page *p, struct bytes body) {
    struct xml xml;
    struct bytes text;
    enum xml_token token;
    bool in_contents = false;
    xml_init(&xml, body);
    if (xml_next(&xml, &text) != XML_OPEN || !bytes_equal(text, bytes_str("ListBucketResult"))) return false;
    while ((token = xml_next(&xml, &text)) != XML_END && token != XML_BAD) {
        if (token == XML_OPEN && xml.depth == 2) {
            in_contents = bytes_equal(text, bytes_str("Contents"));
            p->key.len = 0;
            p->size = 0;
        }
        if (token == XML_TEXT && xml.depth == (in_contents ? 3 : 2) && !take_text(p, in_contents, &xml, text)) return false;
        if (token == XML_CLOSE && xml.depth == 1 && in_contents && !end_entry(p)) return false;
    }
    return token == XML_END;
}

enum status s3_listing_read(struct bytes body, struct bytes prefix, struct store_request *request, struct buf *last, bool *more) {
    struct buf encoding = {0};
    struct page page = {.request = request, .prefix = prefix, .last = last};
    page.urls = s3_text(body, "EncodingType", &encoding) && bytes_is(buf_bytes(&encoding), "url");
    last->len = 0;
    store_page_clear(request);
    bool good = read_page(&page, body) && (!page.truncated || last->len > 0);
    if (!good) store_page_clear(request);
    *more = good && page.truncated;
    buf_fini(&encoding);
    buf_fini(&page.key);
    return good ? STATUS_OK : STATUS_ERR_MALFORMED;
}
