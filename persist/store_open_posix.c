#include <stdlib.h>

#include "persist/store_open.h"

static const char *region(const struct store_settings *settings) {
    const char *of_aws = getenv("AWS_REGION"), *by_default = getenv("AWS_DEFAULT_REGION");
    if (settings->region && *settings->region) return settings->region;
    if (of_aws && *of_aws) return of_aws;
    return by_default && *by_default ? by_default : "us-east-1";
}

static enum status open_s3(const char *rest, const struct store_settings *settings, struct store *store, struct buf *error) {
    struct store_settings resolved = *settings;
    const char *slash = strchr(rest, '/');
    struct bytes bucket = bytes_of(rest, slash ? (size_t)(slash - rest) : strlen(rest)), prefix = bytes_str(slash ? slash + 1 : "");
    while (prefix.len > 0 && prefix.data[prefix.len - 1] == '/') prefix.len--;
    if (bucket.len == 0 || (prefix.len > 0 && !store_key_valid(prefix))) {
        buf_printf(error, "object store s3://%s: want s3://bucket or s3://bucket/prefix", rest);
        return STATUS_ERR_INVALID;
    }
    resolved.region = region(settings);
    return store_s3_open(bucket, prefix, &resolved, store, error);
}

enum status store_open(const char *url, const struct store_settings *settings, struct store *store, struct buf *error) {
    if (strncmp(url, "file:///", 8) == 0) return store_dir_open(url + 7, settings, store, error);
    if (strncmp(url, "s3://", 5) == 0) return open_s3(url + 5, settings, store, error);
    buf_printf(error, "object store %s: want file:///path or s3://bucket/prefix", url);
    return STATUS_ERR_INVALID;
}
