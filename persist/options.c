#include "persist/options.h"

#include <sodium.h>

enum {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) symbol,
    STORE_OPTIONS(X)
#undef X
};

static const char *text(const struct config *config, int option, struct buf *out) {
    config_string(config, option, out);
    buf_put_byte(out, 0);
    return (const char *)out->data;
}

void store_options_read(const struct config *config, int first, struct store_options *out) {
    *out = (struct store_options){.settings = STORE_SETTINGS_DEFAULT};
    struct store_settings *s = &out->settings;
    struct buf *texts = out->texts;
    text(config, first + OBJECT_STORE, &out->url);
    s->endpoint = text(config, first + OBJECT_STORE_ENDPOINT, texts++);
    s->region = text(config, first + OBJECT_STORE_REGION, texts++);
    s->access_key_id = text(config, first + OBJECT_STORE_ACCESS_KEY_ID, texts++);
    s->secret_access_key = text(config, first + OBJECT_STORE_SECRET_ACCESS_KEY, texts++);
    s->credentials_file = text(config, first + OBJECT_STORE_CREDENTIALS_FILE, texts++);
    s->ca_file = text(config, first + OBJECT_STORE_CA_FILE, texts++);
    s->addressing = (enum store_addressing)config_integer(config, first + OBJECT_STORE_ADDRESSING);
    s->concurrency = (uint32_t)config_integer(config, first + OBJECT_STORE_CONNECTIONS);
    s->deadline_ms = (uint32_t)config_integer(config, first + OBJECT_STORE_TIMEOUT_MS);
    s->try_ms = s->deadline_ms / 3; /* so that one that hangs is repeated */
    if (s->connect_ms > s->try_ms) s->connect_ms = s->try_ms;
}

void store_options_fini(struct store_options *options) {
    for (int i = 0; i < STORE_OPTION_TEXTS; i++) {
        if (options->texts[i].data) sodium_memzero(options->texts[i].data, options->texts[i].len);
        buf_fini(&options->texts[i]);
    }
    buf_fini(&options->url);
}

const char *store_options_url(const struct store_options *options) { return (const char *)options->url.data; }
