#include "persist/http_s3.h"

/* Bodies are sent from where the caller holds them. */
static size_t give(char *out, size_t size, size_t count, void *self) {
    struct http *h = self;
    size_t len = size * count, left = h->body.len - h->sent;
    if (len > left) len = left;
    if (len > 0) memcpy(out, h->body.data + h->sent, len);
    h->sent += len;
    return len;
}

/* Before each sending. The server may have carried out the request on the connection that died. */
static int count_sends(void *self, char *ip, char *local_ip, int port, int local_port) {
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    ((struct http *)self)->sends++;
    return CURL_PREREQFUNC_OK;
}

static int rewind_to(void *self, curl_off_t offset, int origin) {
    struct http *h = self;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > h->body.len) return CURL_SEEKFUNC_CANTSEEK;
    h->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t take(char *bytes, size_t size, size_t count, void *self) {
    struct http *h = self;
    size_t len = size * count, kept = len;
    long status = http_status(h);
    if (h->data && status >= 200 && status < 300) {
        if (len > h->data_max - h->data->len) {
            h->too_large = true;
            return 0;
        }
        int64_t announced = h->data->len == 0 ? http_length(h) : 0;
        if (announced > 0 && (uint64_t)announced <= h->data_max) buf_reserve(h->data, (size_t)announced);
        buf_put(h->data, bytes, len);
        return len;
    }
    if (kept > HTTP_TEXT_BYTES_MAX - h->text.len) kept = HTTP_TEXT_BYTES_MAX - h->text.len;
    buf_put(&h->text, bytes, kept);
    return len;
}

void http_init(struct http *http) {
    *http = (struct http){.easy = curl_easy_init()};
}

void http_fini(struct http *http) {
    curl_easy_cleanup(http->easy);
    curl_slist_free_all(http->lines);
    buf_fini(&http->text);
    *http = (struct http){0};
}

static void set_headers(struct http *h, struct bytes headers) {
    curl_slist_free_all(h->lines);
    h->lines = curl_slist_append(NULL, "Expect:"); /* servers that do not know it cost a second each */
    for (size_t at = 0; at < headers.len; at += strlen((const char *)headers.data + at) + 1)
        h->lines = curl_slist_append(h->lines, (const char *)headers.data + at);
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->lines);
}

static void set_method(struct http *h, const char *method) {
    bool has_body = strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0;
    if (strcmp(method, "HEAD") == 0) curl_easy_setopt(h->easy, CURLOPT_NOBODY, 1L);
    else curl_easy_setopt(h->easy, CURLOPT_CUSTOMREQUEST, method);
    if (!has_body) return;
    curl_easy_setopt(h->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(h->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)h->body.len);
    curl_easy_setopt(h->easy, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(h->easy, CURLOPT_READDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_SEEKFUNCTION, rewind_to);
    curl_easy_setopt(h->easy, CURLOPT_SEEKDATA, h);
}

static void set_times(struct http *h, const struct http_ask *ask, const struct store_settings *settings) {
    long stall_s = (long)((ask->stall_ms + 999) / 1000);
    curl_easy_setopt(h->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)settings->connect_ms);
    curl_easy_setopt(h->easy, CURLOPT_TIMEOUT_MS, (long)(ask->timeout_ms > 0 ? ask->timeout_ms : 1));
    curl_easy_setopt(h->easy, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(h->easy, CURLOPT_LOW_SPEED_TIME, stall_s);
    curl_easy_setopt(h->easy, CURLOPT_TCP_KEEPALIVE, 1L);
}

/* No redirection is followed: it would go to a host that the signature does not name. */
void http_prepare(struct http *h, const struct http_ask *ask, const struct store_settings *settings) {
    curl_easy_reset(h->easy);
    h->body = ask->body;
    h->sent = 0;
    h->data = ask->data;
    h->data_max = ask->data_max;
    h->text.len = 0;
    h->too_large = false;
    h->sends = 0;
    h->error[0] = 0;
    set_headers(h, ask->headers);
    set_method(h, ask->method);
    set_times(h, ask, settings);
    curl_easy_setopt(h->easy, CURLOPT_URL, ask->url);
    curl_easy_setopt(h->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(h->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h->easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h->easy, CURLOPT_USERAGENT, "anneal");
    curl_easy_setopt(h->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->easy, CURLOPT_QUICK_EXIT, 1L); /* closing does not wait for a name server */
    curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_PREREQFUNCTION, count_sends);
    curl_easy_setopt(h->easy, CURLOPT_PREREQDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(h->easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
    if (settings->ca_file && *settings->ca_file) curl_easy_setopt(h->easy, CURLOPT_CAINFO, settings->ca_file);
}

long http_status(struct http *http) {
    long status = 0;
    curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

const char *http_header(struct http *http, const char *name) {
    struct curl_header *header;
    return curl_easy_header(http->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value : "";
}

int64_t http_length(struct http *http) {
    curl_off_t length = -1;
    curl_easy_getinfo(http->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return length;
}

bool http_hopeless(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT ||
           code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_CERTPROBLEM;
}
