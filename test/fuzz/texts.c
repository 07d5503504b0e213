/* Text that an operator writes: configuration files, which are read, written again and read once
 * more; single settings; key files.
 *
 * input := what, text */
#include "gossip/seal.h"
#include "net/options.h"
#include "test/fuzz/fuzz.h"

static void check_equal(const struct config *a, const struct config *b) {
    for (int option = 0; option < OPTION_COUNT; option++) {
        struct buf x = {0}, y = {0};
        config_text(a, option, &x);
        config_text(b, option, &y);
        CHECK(bytes_equal(buf_bytes(&x), buf_bytes(&y)));
        buf_fini(&x);
        buf_fini(&y);
    }
}

/* False, and one line that says why. */
static bool load(struct config *config, struct bytes text) {
    struct buf error = {0};
    enum status status = config_load_text(config, "fuzz.conf", text, &error);
    CHECK((status == STATUS_OK) == (error.len == 0));
    CHECK(status == STATUS_OK || (status == STATUS_ERR_INVALID && memcmp(error.data, "fuzz.conf:", 10) == 0));
    buf_fini(&error);
    return status == STATUS_OK;
}

/* What is written again says the same, and writing that again changes nothing. */
static void check_file(struct bytes text) {
    struct config *config = config_new(option_table, OPTION_COUNT), *again = config_new(option_table, OPTION_COUNT);
    struct buf once = {0}, twice = {0}, fresh = {0};
    if (load(config, text)) {
        config_rewrite(config, text, &once);
        CHECK(load(again, buf_bytes(&once)));
        check_equal(config, again);
        config_rewrite(again, buf_bytes(&once), &twice);
        CHECK(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
        config_rewrite(config, (struct bytes){0}, &fresh);
        config_free(again);
        again = config_new(option_table, OPTION_COUNT);
        CHECK(load(again, buf_bytes(&fresh)));
        check_equal(config, again);
    }
    buf_fini(&once);
    buf_fini(&twice);
    buf_fini(&fresh);
    config_free(config);
    config_free(again);
}

/* "name value" lines as pairs of one CONFIG SET: all or none. */
static void check_setting(struct bytes text) {
    struct config *config = config_new(option_table, OPTION_COUNT), *untouched = config_new(option_table, OPTION_COUNT);
    struct config_pair pairs[OPTION_COUNT + 4];
    struct buf error = {0};
    size_t count = 0, failed = SIZE_MAX;
    for (size_t at = 0; at < text.len && count < OPTION_COUNT + 4; count++) {
        const uint8_t *line = text.data + at, *end = memchr(line, '\n', text.len - at);
        size_t len = end ? (size_t)(end - line) : text.len - at;
        const uint8_t *space = len ? memchr(line, ' ', len) : NULL;
        size_t name = space ? (size_t)(space - line) : len, value = space ? name + 1 : len;
        pairs[count] = (struct config_pair){bytes_of(line, name), bytes_of(line + value, len - value)};
        at += len + 1;
    }
    if (config_set(config, pairs, count, &failed, &error) != STATUS_OK) {
        CHECK(failed < count);
        check_equal(config, untouched);
    }
    buf_fini(&error);
    config_free(config);
    config_free(untouched);
}

static void check_keys(struct bytes text) {
    struct keyring ring = {0}, before = {0};
    struct buf error = {0};
    enum status status = keyring_parse(&ring, KEYRING_GOSSIP, text, &error);
    CHECK((status == STATUS_OK) == (error.len == 0));
    CHECK(ring.count <= KEYRING_MAX);
    if (status == STATUS_OK)
        CHECK(ring.count > 0);
    else
        CHECK(memcmp(&ring, &before, sizeof ring) == 0);
    buf_fini(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    unsigned what = input_below(&in, 3);
    struct bytes text = fuzz_exact(bytes_of(in.at, in.left));
    if (what == 0) check_file(text);
    if (what == 1) check_setting(text);
    if (what == 2) check_keys(text);
    fuzz_exact_free(text);
    return 0;
}

static void seed(uint8_t what, const char *text) {
    struct buf bytes = {0};
    buf_put_byte(&bytes, what);
    buf_put_str(&bytes, text);
    fuzz_seed(buf_bytes(&bytes));
    buf_fini(&bytes);
}

void fuzz_seeds(void) {
    struct config *config = config_new(option_table, OPTION_COUNT);
    struct buf all = {0};
    for (int option = 0; option < OPTION_COUNT; option++) {
        buf_printf(&all, "%s \"", option_table[option].name);
        config_text(config, option, &all);
        buf_put_str(&all, "\"\n");
    }
    buf_put_byte(&all, 0);
    seed(0, (char *)all.data);
    seed(
        0,
        "# comment\n\n  port 7000 \r\ndir '/tmp/it\\'s'\nrequirepass \"a\\x41\\n\\\"\"\nport 7001\nloglevel Debug\nproto-max-bulk-len 2mb");
    seed(0, "port 70000\n");
    seed(0, "dir \"a");
    seed(1, "loglevel debug\nrequirepass x y");
    seed(1, "loglevel debug\nport 1");
    seed(2, "# old\n000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\n "
            "FF0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f \r\n");
    seed(2, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1");
    buf_fini(&all);
    config_free(config);
}
