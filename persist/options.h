/* The options of the object store, for whoever has a table of options: STORE_OPTIONS(X) has the shape of net/options.h and
 * is spliced into it; `first` below is the index of "object-store" there. */
#ifndef ANNEAL_PERSIST_OPTIONS_H
#define ANNEAL_PERSIST_OPTIONS_H

#include "core/config.h"
#include "persist/store_open.h"

/* name, symbol, kind, flags, initial, least, most, choices, help */
#define STORE_OPTIONS(X)                                                                                         \
    X("object-store", OBJECT_STORE, CONFIG_STRING, 0, "", 0, 0, "",                                              \
      "file:///path or s3://bucket/prefix; what outlives the machines; empty for none")                          \
    X("object-store-endpoint", OBJECT_STORE_ENDPOINT, CONFIG_STRING, 0, "", 0, 0, "",                            \
      "http[s]://host[:port] of an S3 server; empty for AWS")                                                    \
    X("object-store-region", OBJECT_STORE_REGION, CONFIG_STRING, 0, "", 0, 0, "",                                \
      "region of the bucket; empty for AWS_REGION, then us-east-1")                                              \
    X("object-store-access-key-id", OBJECT_STORE_ACCESS_KEY_ID, CONFIG_STRING, 0, "", 0, 0, "",                  \
      "who we are to S3; empty for the credentials file, then AWS_ACCESS_KEY_ID")                                \
    X("object-store-secret-access-key", OBJECT_STORE_SECRET_ACCESS_KEY, CONFIG_STRING, CONFIG_SECRET, "", 0, 0, "", \
      "the secret of that key; better kept in a file or the environment")                                        \
    X("object-store-credentials-file", OBJECT_STORE_CREDENTIALS_FILE, CONFIG_STRING, 0, "", 0, 0, "",            \
      "file as of the AWS tools; its section [default] is read, again whenever S3 refuses the key")              \
    X("object-store-ca-file", OBJECT_STORE_CA_FILE, CONFIG_STRING, 0, "", 0, 0, "",                              \
      "PEM file of the authorities that the endpoint's certificate may come from; empty for the system's")       \
    X("object-store-addressing", OBJECT_STORE_ADDRESSING, CONFIG_CHOICE, 0, "auto", 0, 0, "auto|path|virtual",   \
      "whether the bucket is in the path or in the host name; auto: in the host name at AWS")                    \
    X("object-store-connections", OBJECT_STORE_CONNECTIONS, CONFIG_INTEGER, 0, "8", 1, 256, "",                  \
      "most requests at one time")                                                                               \
    X("object-store-timeout-ms", OBJECT_STORE_TIMEOUT_MS, CONFIG_INTEGER, 0, "60000", 100, 3600000, "",          \
      "until a request is given up, its repetitions included; large ones get more")

#define STORE_OPTION_TEXTS 6

/* Settings whose texts it owns. */
struct store_options {
    struct buf url, texts[STORE_OPTION_TEXTS];
    struct store_settings settings;
};

/* The clock and `ready` are the caller's to set. */
void store_options_read(const struct config *config, int first, struct store_options *out);
void store_options_fini(struct store_options *options);
/* "" is no store. */
const char *store_options_url(const struct store_options *options);

#endif
