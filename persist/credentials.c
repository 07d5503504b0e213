#include "persist/credentials.h"

static struct bytes trim(struct bytes text) {
    while (text.len > 0 && strchr(" \t\r", text.data[0])) text = bytes_of(text.data + 1, text.len - 1);
    while (text.len > 0 && strchr(" \t\r", text.data[text.len - 1])) text.len--;
    return text;
}

static struct bytes next_line(struct bytes *rest) {
    const uint8_t *end = memchr(rest->data, '\n', rest->len);
    struct bytes line = bytes_of(rest->data, end ? (size_t)(end - rest->data) : rest->len);
    size_t used = line.len + (end != NULL);
    *rest = bytes_of(rest->data + used, rest->len - used);
    return trim(line);
}

/* What is copied becomes part of headers: nothing but printable ASCII. */
static bool copy(struct bytes value, char *out, size_t size) {
    if (value.len >= size) return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] <= ' ' || value.data[i] > '~') return false;
    memcpy(out, value.data, value.len);
    out[value.len] = 0;
    return true;
}

bool credentials_set(struct credentials *out, struct bytes access_key_id, struct bytes secret_access_key, struct bytes session_token) {
    struct credentials set = {0};
    bool good = access_key_id.len > 0 && copy(access_key_id, set.access_key_id, sizeof set.access_key_id) && secret_access_key.len > 0 &&
                copy(secret_access_key, set.secret_access_key, sizeof set.secret_access_key) &&
                copy(session_token, set.session_token, sizeof set.session_token);
    if (good) *out = set;
    return good;
}

static bool take(struct bytes name, struct bytes value, struct credentials *out) {
    if (bytes_is(name, "aws_access_key_id")) return copy(value, out->access_key_id, sizeof out->access_key_id);
    if (bytes_is(name, "aws_secret_access_key")) return copy(value, out->secret_access_key, sizeof out->secret_access_key);
    if (bytes_is(name, "aws_session_token")) return copy(value, out->session_token, sizeof out->session_token);
    return true;
}

enum status credentials_parse(struct bytes text, struct credentials *out) {
    struct credentials found = {0};
    bool ours = true;
    while (text.len > 0) {
        struct bytes line = next_line(&text);
        if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';') continue;
        if (line.data[0] == '[') {
            ours = bytes_equal(line, bytes_str("[default]"));
            continue;
        }
        const uint8_t *equals = memchr(line.data, '=', line.len);
        if (!ours || !equals) continue;
        size_t len = (size_t)(equals - line.data);
        if (!take(trim(bytes_of(line.data, len)), trim(bytes_of(equals + 1, line.len - len - 1)), &found)) return STATUS_ERR_MALFORMED;
    }
    if (!found.access_key_id[0] || !found.secret_access_key[0]) return STATUS_ERR_NOT_FOUND;
    *out = found;
    return STATUS_OK;
}
