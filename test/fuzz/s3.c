/* What an S3 server answers: XML, errors, listings, ranges; and what an operator says of one:
 * credentials, places.
 *
 * input := what, details, text */
#include "core/mem.h"
#include "persist/s3_answer.h"
#include "persist/s3_request.h"
#include "persist/s3_xml.h"
#include "test/fuzz/fuzz.h"

enum what { XML, ERROR, LISTING, CREDENTIALS, RANGE, PLACE, WHATS };

/* ---------------------------------------------------------------------- XML */

/* What was decoded is escaped and decoded again. */
static void check_text(struct bytes text) {
    struct buf plain = {0}, escaped = {0}, again = {0};
    if (xml_decode(text, &plain)) {
        CHECK(plain.len <= text.len);
        for (size_t i = 0; i < plain.len; i++)
            if (plain.data[i] == '&') buf_put_str(&escaped, "&#x26;");
            else buf_put_byte(&escaped, plain.data[i]);
        CHECK(xml_decode(buf_bytes(&escaped), &again));
        CHECK(bytes_equal(buf_bytes(&plain), buf_bytes(&again)));
    }
    buf_fini(&plain);
    buf_fini(&escaped);
    buf_fini(&again);
}

/* Elements end in the order in which they began. *used: up to the end of the root. */
static enum xml_token walk(struct bytes text, size_t *used) {
    struct xml xml;
    struct bytes token, open[XML_DEPTH_MAX];
    unsigned depth = 0;
    xml_init(&xml, text);
    for (size_t steps = 0;; steps++) {
        enum xml_token kind = xml_next(&xml, &token);
        CHECK(steps <= text.len);
        if (kind == XML_OPEN) {
            CHECK(depth < XML_DEPTH_MAX);
            open[depth++] = token;
        } else if (kind == XML_CLOSE) {
            CHECK(depth > 0);
            CHECK(bytes_equal(open[--depth], token));
            if (depth == 0) *used = text.len - xml.rest.len;
        } else if (kind == XML_TEXT) {
            CHECK(depth > 0);
            check_text(token);
        } else {
            CHECK(kind == XML_BAD || depth == 0);
            CHECK(xml_next(&xml, &token) == kind);
            return kind;
        }
    }
}

static void check_xml(struct bytes text, size_t place) {
    size_t used = 0, ignored;
    if (walk(text, &used) != XML_END) return;
    CHECK(used > 0);
    CHECK(walk(bytes_of(text.data, place % used), &ignored) == XML_BAD);
}

/* ------------------------------------------------------------------ answers */

static void check_error(struct bytes text, uint8_t which) {
    static const long statuses[] = {200, 206, 301, 400, 403, 404, 408, 409, 412, 413, 416, 429, 500, 501, 503, 599};
    long status = statuses[which % (sizeof statuses / sizeof *statuses)];
    struct s3_error error;
    struct buf code = {0};
    s3_error_read(text, &error);
    CHECK(memchr(error.code, 0, sizeof error.code));
    CHECK(memchr(error.message, 0, sizeof error.message));
    CHECK(memchr(error.region, 0, sizeof error.region));
    if (s3_text(text, "Code", &code)) CHECK(code.len <= text.len);
    for (enum s3_kind kind = S3_PUT; kind <= S3_ABORT; kind++) {
        enum s3_verdict verdict = s3_judge(kind, status, error.code);
        bool good = status < 300 ? !*error.code : kind == S3_DELETE && status == 404;
        CHECK(verdict != S3_GOOD || good);
        CHECK(verdict != S3_THERE || kind == S3_CREATE); /* else a name is taken for ours that is not */
        CHECK(verdict != S3_NO_CONDITIONS || kind == S3_CREATE);
        CHECK(verdict != S3_NONE || kind == S3_GET || kind == S3_HEAD);
    }
    buf_fini(&code);
}

static bool begins(struct bytes text, struct bytes with) { return text.len >= with.len && bytes_equal(bytes_of(text.data, with.len), with); }

/* What a request may be given, whatever the server says. */
static void check_page(const struct store_request *r) {
    CHECK(r->count <= r->limit);
    for (size_t i = 0; i < r->count; i++) {
        CHECK(store_key_valid(r->entries[i].key));
        CHECK(begins(r->entries[i].key, r->key));
        CHECK(bytes_compare(i ? r->entries[i - 1].key : r->after, r->entries[i].key) < 0);
    }
}

static void write_page(const struct store_request *r, struct bytes prefix, struct buf *out) {
    buf_printf(out, "<ListBucketResult><IsTruncated>%s</IsTruncated><EncodingType>url</EncodingType>", r->more ? "true" : "false");
    for (size_t i = 0; i < r->count; i++) {
        buf_put_str(out, "<Contents><Key>");
        sign_encode(prefix, false, out);
        sign_encode(r->entries[i].key, false, out);
        buf_printf(out, "</Key><Size>%llu</Size></Contents>", (unsigned long long)r->entries[i].size);
    }
    buf_put_str(out, "</ListBucketResult>");
}

static void check_listing(struct bytes text, uint8_t details, bool again) {
    struct store_request r = {.op = STORE_LIST, .limit = 1 + details % 8, .key = bytes_str(details & 8 ? "a" : ""), .after = bytes_str(details & 16 ? "a/1" : "")};
    struct bytes prefix = bytes_str(details & 32 ? "p/" : "");
    struct buf last = {0}, page = {0};
    bool more = false;
    if (s3_listing_read(text, prefix, &r, &last, &more) == STATUS_OK) {
        CHECK(!more || last.len > 0);
        store_page_end(&r, more && r.count > 0);
        check_page(&r);
        write_page(&r, prefix, &page);
        if (again) CHECK(bytes_equal(buf_bytes(&page), text));
        else check_listing(buf_bytes(&page), details, true);
    } else {
        CHECK(!again);
        CHECK(!more && r.count == 0);
    }
    buf_fini(&last);
    buf_fini(&page);
    store_request_fini(&r);
}

/* No more than was asked for, from where it was asked for, and less only at the end. */
static void check_range(struct bytes text, uint8_t details) {
    uint64_t offset = details % 8, len = details / 8 % 4, came = details / 32;
    char *header = mem_zero(text.len + 1, 1), want[64];
    if (text.len) memcpy(header, text.data, text.len);
    if (s3_range_right(header, offset, len, came)) {
        snprintf(want, sizeof want, "bytes %d-%d/", (int)offset, (int)(offset + came - 1));
        CHECK(came > 0);
        CHECK(len == 0 || came <= len);
        CHECK(strncmp(header, want, strlen(want)) == 0);
        CHECK(came == len || strtoull(header + strlen(want), NULL, 10) == offset + came);
    }
    mem_free(header);
}

/* ---------------------------------------------------------------- operators */

/* It becomes part of headers. */
static void check_printable(struct bytes text) {
    for (size_t i = 0; i < text.len; i++) CHECK(text.data[i] > ' ' && text.data[i] <= '~');
}

static void check_credentials(struct bytes text) {
    struct credentials found = {0}, again = {0}, nothing = {0};
    struct buf file = {0};
    enum status status = credentials_parse(text, &found);
    if (status == STATUS_OK) {
        CHECK(*found.access_key_id && *found.secret_access_key);
        check_printable(bytes_str(found.access_key_id));
        check_printable(bytes_str(found.secret_access_key));
        check_printable(bytes_str(found.session_token));
        buf_printf(&file, "[default]\naws_access_key_id=%s\naws_secret_access_key=%s\naws_session_token=%s\n", found.access_key_id,
                   found.secret_access_key, found.session_token);
        CHECK(credentials_parse(buf_bytes(&file), &again) == STATUS_OK);
        CHECK(strcmp(found.access_key_id, again.access_key_id) == 0);
        CHECK(strcmp(found.secret_access_key, again.secret_access_key) == 0);
        CHECK(strcmp(found.session_token, again.session_token) == 0);
    } else {
        CHECK(status == STATUS_ERR_NOT_FOUND || status == STATUS_ERR_MALFORMED);
        CHECK(memcmp(&found, &nothing, sizeof found) == 0);
    }
    buf_fini(&file);
}

/* The next line, in memory of its own. */
static char *take_line(struct bytes *rest) {
    const uint8_t *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->data) : rest->len, used = len + (end != NULL);
    char *line = mem_zero(len + 1, 1);
    if (len) memcpy(line, rest->data, len);
    if (used) *rest = bytes_of(rest->data + used, rest->len - used);
    return line;
}

/* Whatever bucket, region, endpoint, prefix and key say, it is one URL and one line for each header. */
static void check_request(const struct s3_place *place, struct bytes key, uint8_t details) {
    static const struct credentials who = {"id", "secret", "token"};
    struct s3_ask ask = {.kind = (enum s3_kind)(details % (S3_ABORT + 1)), .key = key, .after = key, .limit = 1, .offset = details, .len = details / 16,
                         .upload = key, .part = 1, .nonce = "nonce", .body_hash = "hash"};
    struct buf url = {0}, headers = {0};
    s3_write(place, &who, &ask, 1700000000000, &url, &headers);
    check_printable(buf_bytes(&url));
    CHECK(begins(buf_bytes(&url), buf_bytes(&place->origin)));
    for (size_t i = 0; i < headers.len; i++) CHECK(headers.data[i] == 0 || (headers.data[i] >= ' ' && headers.data[i] <= '~'));
    CHECK(headers.data[headers.len - 1] == 0);
    buf_fini(&url);
    buf_fini(&headers);
}

static void check_place(struct bytes text, uint8_t details) {
    char *endpoint = take_line(&text), *region = take_line(&text), *bucket = take_line(&text), *prefix = take_line(&text);
    struct store_settings settings = {.endpoint = endpoint, .region = region, .addressing = (enum store_addressing)(details / 64 % 3)};
    struct s3_place place;
    struct buf error = {0};
    enum status status = s3_place_init(&place, bytes_str(bucket), bytes_str(prefix), &settings, &error);
    CHECK(status == STATUS_OK || status == STATUS_ERR_INVALID);
    CHECK((status == STATUS_OK) == (error.len == 0));
    if (status == STATUS_OK) check_request(&place, text, details);
    s3_place_fini(&place);
    buf_fini(&error);
    mem_free(endpoint);
    mem_free(region);
    mem_free(bucket);
    mem_free(prefix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    enum what what = (enum what)input_below(&in, WHATS);
    uint8_t details = input_byte(&in);
    struct bytes text = fuzz_exact(bytes_of(in.at, in.left));
    switch (what) {
    case XML: check_xml(text, details); break;
    case ERROR: check_error(text, details); break;
    case LISTING: check_listing(text, details, false); break;
    case CREDENTIALS: check_credentials(text); break;
    case RANGE: check_range(text, details); break;
    default: check_place(text, details); break;
    }
    fuzz_exact_free(text);
    return 0;
}

static void seed(enum what what, uint8_t details, const char *text) {
    struct buf bytes = {0};
    buf_put(&bytes, (uint8_t[]){(uint8_t)what, details}, 2);
    buf_put_str(&bytes, text);
    fuzz_seed(buf_bytes(&bytes));
    buf_fini(&bytes);
}

void fuzz_seeds(void) {
    static const char error[] = "<?xml version='1.0'?><Error><Code>A&amp;B</Code><Message>m&#x263a;</Message><X><Code>not this</Code></X><Region>eu-west-1</Region></Error>";
    static const char listing[] =
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>p/</Prefix>"
        "<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><Contents><Key>p/a%2F2</Key><Size>5</Size></Contents>"
        "<Contents><Key>p/a%2F3+c</Key><Size>0</Size><Owner><ID>x</ID></Owner></Contents></ListBucketResult>";
    seed(XML, 9, error);
    seed(XML, 99, listing);
    seed(XML, 7, "<!-- c --><s:a b='>' c=\"<\"><b/>&lt;&gt;&quot;&apos;&amp;&#65;</s:a>\n");
    seed(ERROR, 3, error);
    seed(ERROR, 12, "<Error><Code>InternalError</Code></Error>");
    seed(ERROR, 0, "<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>abc&#65;</UploadId></InitiateMultipartUploadResult>");
    for (uint8_t details = 0; details < 64; details = (uint8_t)(details + 9)) seed(LISTING, details, listing);
    seed(LISTING, 7, "<ListBucketResult><Contents><Key>&lt;a</Key></Contents><Contents><Key>b</Key><Size>7</Size></Contents></ListBucketResult>");
    seed(CREDENTIALS, 0, "[default]\naws_access_key_id = AK\naws_secret_access_key=SK\n# c\n[other]\naws_session_token = x\n");
    seed(CREDENTIALS, 0, "aws_secret_access_key = S=K/+\r\nAWS_ACCESS_KEY_ID =AK\naws_session_token=t\n");
    seed(RANGE, 5 + 8 * 3 + 32 * 3, "bytes 5-7/100");
    seed(RANGE, 5 + 32 * 3, "bytes 5-7/8");
    for (uint8_t kind = 0; kind <= S3_ABORT; kind++)
        seed(PLACE, (uint8_t)(kind + 64 * (kind % 3)), "http://host:9000/\neu-west-1\nbucket.b\np/q\nsegment/1 \xc3\xa4");
    seed(PLACE, 2, "\ncn-north-1\nbucket\n\nkey");
}
