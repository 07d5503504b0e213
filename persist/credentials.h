/* Who we are to S3: see store_open.h for where that comes from. */
#ifndef ANNEAL_PERSIST_CREDENTIALS_H
#define ANNEAL_PERSIST_CREDENTIALS_H

#include "persist/store_open.h"

struct credentials {
    char access_key_id[132], secret_access_key[260];
    char session_token[4100]; /* "" for none */
};

/* False, and nothing is set, for what can be none: too long, empty (but for the token), or not printable. */
bool credentials_set(struct credentials *out, struct bytes access_key_id, struct bytes secret_access_key, struct bytes session_token);
/* The text of a credentials file: "name = value" lines, of which those of the section [default] count. ERR_NOT_FOUND if
 * it has no key, ERR_MALFORMED if a value can be none. */
enum status credentials_parse(struct bytes text, struct credentials *out) MUST_CHECK;

/* Reads the file or the environment. Failure: why in *error. */
enum status credentials_load(const struct store_settings *settings, struct credentials *out, struct buf *error) MUST_CHECK;

#endif
