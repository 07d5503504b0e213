#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#include "persist/credentials.h"

#define FILE_BYTES_MAX 65536

static bool given(const char *text) { return text && *text; }

static enum status from_texts(const char *id, const char *secret, const char *token, const char *source, struct credentials *out,
                              struct buf *error) {
    if (credentials_set(out, bytes_str(id ? id : ""), bytes_str(secret ? secret : ""), bytes_str(token ? token : ""))) return STATUS_OK;
    if (!given(id) || !given(secret)) buf_printf(error, "object store: %s: an access key id and its secret are needed", source);
    else buf_printf(error, "object store: %s: these are no keys", source);
    return STATUS_ERR_INVALID;
}

static enum status from_file(const char *path, struct credentials *out, struct buf *error) {
    uint8_t text[FILE_BYTES_MAX];
    FILE *f = fopen(path, "re");
    if (!f) {
        buf_printf(error, "object store: cannot read %s: %s", path, strerror(errno));
        return STATUS_ERR_IO;
    }
    size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    enum status status = len < sizeof text ? credentials_parse(bytes_of(text, len), out) : STATUS_ERR_TOO_LARGE;
    sodium_memzero(text, len);
    if (status == STATUS_ERR_NOT_FOUND) buf_printf(error, "object store: no key and secret in section [default] of %s", path);
    else if (status != STATUS_OK) buf_printf(error, "object store: %s: %s", path, status_text(status));
    return status;
}

enum status credentials_load(const struct store_settings *s, struct credentials *out, struct buf *error) {
    if (given(s->access_key_id) || given(s->secret_access_key))
        return from_texts(s->access_key_id, s->secret_access_key, s->session_token, "options", out, error);
    if (given(s->credentials_file)) return from_file(s->credentials_file, out, error);
    return from_texts(getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN"),
                      "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment", out, error);
}
