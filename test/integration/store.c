/* A store on the command line: its options as arguments, requests on standard input, an answer a line.
 *
 *     put KEY SIZE SEED | create KEY SIZE SEED | get KEY [OFFSET LEN] | head KEY | delete KEY | list PREFIX AFTER LIMIT
 *     | probe KEY      "-" is an empty PREFIX or AFTER
 *
 * Bodies are made of their seed. The answer: RESULT unsure tries size hash why. A list's size is its count of keys, and hash
 * says whether there is more. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mem.h"
#include "persist/options.h"
#include "persist/sign.h"
#include "test/unit/persist_wait.h"

enum {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) OPTION_##symbol,
    STORE_OPTIONS(X)
#undef X
        OPTION_SKEW_MS,
    OPTION_PART_BYTES,
    OPTION_BYTES_MAX,
};

static const struct config_option option_table[] = {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) {name, kind, flags, initial, least, most, choices, help},
    STORE_OPTIONS(X)
#undef X
    {"skew-ms", CONFIG_INTEGER, 0, "0", INT64_MIN, INT64_MAX, "", ""},
    {"part-bytes", CONFIG_BYTES, 0, "16mb", 1, INT64_MAX, "", ""},
    {"bytes-max", CONFIG_BYTES, 0, "64mb", 1, INT64_MAX, "", ""},
};

static struct waiter waiter;
static uint64_t bytes_max;

static void print_answer(const char *result, bool unsure, uint32_t tries, uint64_t size, const char *hash, const char *why) {
    printf("%s %d %" PRIu32 " %" PRIu64 " %s %s\n", result, unsure, tries, size, hash, why);
    fflush(stdout);
}

static const char *const names[] = {
#define X(name, text) #name,
    STORE_RESULTS(X)
#undef X
};

static struct buf body_of(size_t len, uint64_t seed) {
    struct buf b = {0};
    buf_reserve(&b, len + 8);
    for (; b.len < len; b.len += 8) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        memcpy(b.data + b.len, &seed, 8);
    }
    b.len = len;
    return b;
}

static void probe(const char *key) {
    struct store_probe p;
    if (store_probe_start(&p, &waiter.store, key) != STATUS_OK) return print_answer("BUSY", false, 0, 0, "-", "");
    while (!p.finished) {
        wait_next(&waiter);
        store_probe_step(&p);
    }
    print_answer(names[p.result], false, 0, 0, "-", p.why);
}

static void carry_out(struct store_request *r) {
    char hash[SIGN_HASH_TEXT];
    if (store_submit(&waiter.store, r) != STATUS_OK) return print_answer("INVALID", false, 0, 0, "-", "");
    wait_next(&waiter);
    sign_hash(r->op == STORE_GET ? buf_bytes(&r->data) : r->body, hash);
    hash[16] = 0;
    uint64_t size = r->op == STORE_GET ? r->data.len : r->op == STORE_LIST ? r->count : r->size;
    print_answer(names[r->result], r->unsure, r->tries, size, r->op == STORE_LIST ? (r->more ? "more" : "end") : hash, r->why);
    store_request_fini(r);
}

static bool read_request(char *words[4], struct store_request *r, struct buf *body) {
    static const char *const ops[] = {"put", "create", "get", "head", "delete", "list"};
    size_t op = 0;
    while (op < 6 && strcmp(words[0], ops[op]) != 0) op++;
    if (op == 6) return false;
    *r = (struct store_request){.op = (enum store_op)op, .key = bytes_str(words[1]), .bytes_max = bytes_max};
    if (r->op == STORE_PUT || r->op == STORE_CREATE) *body = body_of(strtoull(words[2], NULL, 10), strtoull(words[3], NULL, 10));
    r->body = buf_bytes(body);
    if (r->op == STORE_GET) {
        r->offset = strtoull(words[2], NULL, 10);
        r->len = strtoull(words[3], NULL, 10);
    }
    if (r->op == STORE_LIST) {
        if (strcmp(words[1], "-") == 0) r->key.len = 0;
        r->after = bytes_str(strcmp(words[2], "-") == 0 ? "" : words[2]);
        r->limit = (uint32_t)strtoul(words[3], NULL, 10);
    }
    return true;
}

static int complain(const struct buf *error) {
    fprintf(stderr, "%.*s\n", (int)error->len, (char *)error->data);
    return 1;
}

int main(int argc, char **argv) {
    struct config *config = config_new(option_table, sizeof option_table / sizeof *option_table);
    struct store_options options;
    struct buf error = {0};
    if (config_load_args(config, argc - 1, argv + 1, &error) != STATUS_OK) return complain(&error);
    store_options_read(config, 0, &options);
    options.settings.part_bytes = (uint64_t)config_integer(config, OPTION_PART_BYTES);
    options.settings.backoff_ms = 20; /* a test has no time to lose */
    bytes_max = (uint64_t)config_integer(config, OPTION_BYTES_MAX);
    waiter.skew_ms = config_integer(config, OPTION_SKEW_MS);
    config_free(config);
    wait_init(&waiter, &options.settings);
    if (store_open(store_options_url(&options), &options.settings, &waiter.store, &error) != STATUS_OK) {
        print_answer("UNOPENED", false, 0, 0, "-", "");
        return complain(&error);
    }
    for (char line[2048]; fgets(line, sizeof line, stdin);) {
        char *words[4] = {0}, none[] = "";
        for (int i = 0; i < 4; i++) words[i] = strtok(i == 0 ? line : NULL, " \n");
        for (int i = 0; i < 4; i++) words[i] = words[i] ? words[i] : none;
        struct store_request request;
        struct buf body = {0};
        if (strcmp(words[0], "probe") == 0) probe(words[1]);
        else if (read_request(words, &request, &body)) carry_out(&request);
        buf_fini(&body);
    }
    store_close(&waiter.store);
    store_options_fini(&options);
    buf_fini(&error);
    return 0;
}
