/* anneal-inspect: what was asked, and who answers. */
#include "net/inspect.h"

#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#include "core/log.h"
#include "core/mem.h"
#include "net/os_posix.h"
#include "persist/layout.h"

#define VERSION "0.1.0"
#define KEY_FILE_BYTES_MAX (1u << 16)

enum {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) OPTION_##symbol,
    STORE_OPTIONS(X)
#undef X
        OPTION_OBJECT_STORE_KEY_FILE,
    OPTION_KEY_FILE,
    OPTION_CLUSTER_NAME,
    OPTION_SHARDS,
    OPTION_MANIFEST,
    OPTION_UNTIL,
    OPTION_COUNT
};

static const struct config_option option_table[OPTION_COUNT] = {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) {name, kind, flags, initial, least, most, choices, help},
    STORE_OPTIONS(X)
#undef X
        {"object-store-key-file", CONFIG_STRING, 0, "", 0, 0, "",
         "the nodes' keys for objects; without them only heads can be read of what is sealed"},
    {"key-file", CONFIG_STRING, 0, "", 0, 0, "", "the same, for short"},
    {"cluster-name", CONFIG_STRING, 0, "", 0, 0, "", "refuse what is of another cluster; empty for any"},
    {"shards", CONFIG_INTEGER, 0, "0", 0, LAYOUT_SHARDS_MAX, "",
     "how many the cluster has, if the files no longer say; 0 for what they say"},
    {"manifest", CONFIG_INTEGER, 0, "0", 0, INT64_MAX, "", "only what this manifest names; 0 for the newest, and segments"},
    {"until", CONFIG_STRING, 0, "", 0, 0, "", "only what was stored by then: 2026-01-31T12:00:00Z, or Unix milliseconds"},
};

struct arguments {
    const char *words[3]; /* where, what, which */
    int word_count;
    char **options;
    int option_count;
    bool json, expired, help, version;
};

static int help(struct config *config) {
    struct buf text = {0};
    config_help(config, &text);
    printf("anneal-inspect %s: what a node or a cluster has stored, and whether it is whole. It changes nothing.\n\n"
           "  anneal-inspect URL|DIR [list]           what there is, a line each\n"
           "  anneal-inspect URL|DIR verify           reads everything; names what is damaged or missing, and what that costs\n"
           "  anneal-inspect URL|DIR dump             the keys and values as they would be recovered, a line of JSON each\n"
           "  anneal-inspect URL|DIR dump NAME        what one object, or one file, says about itself\n\n"
           "URL is file:///path or s3://bucket/prefix, an object store; DIR is the directory of a node (option dir), with its\n"
           "anneal-log.N and anneal-checkpoint.N. A node may be running meanwhile.\n\n"
           "  --json      list and verify print lines of JSON\n"
           "  --expired   dump also what has expired (by now; with --manifest or --until, by then)\n\n%.*s\n"
           "Dumped are {\"key\": K, \"type\": T, \"value\": V, \"expires_at_ms\": MS}, the last one only where there is one. V is a string "
           "B, a set\n"
           "[B, ...] or a hash [[B, B], ...]. K and B are text if their bytes are UTF-8, else {\"base64\": \"...\"}.\n\n"
           "Exit status: 0 all is well; 1 something is damaged or missing; 2 it cannot be read at all, or was asked wrongly.\n",
           VERSION, (int)text.len, (char *)text.data);
    buf_fini(&text);
    return INSPECT_WELL;
}

static int complain(const struct buf *error) {
    fprintf(stderr, "anneal-inspect: %.*s\n", (int)error->len, error->data ? (char *)error->data : "");
    return INSPECT_UNREADABLE;
}

/* --------------------------------------------------------------- arguments */

/* Options come in pairs but for the flags; words in between are what is asked. */
static bool split(int argc, char **argv, struct arguments *out, struct buf *error) {
    for (int n = 1; n < argc; n++) {
        const char *arg = argv[n];
        if (!strcmp(arg, "--json"))
            out->json = true;
        else if (!strcmp(arg, "--expired"))
            out->expired = true;
        else if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
            out->help = true;
        else if (!strcmp(arg, "--version") || !strcmp(arg, "-v"))
            out->version = true;
        else if (arg[0] == '-') {
            out->options[out->option_count++] = argv[n];
            if (n + 1 < argc) out->options[out->option_count++] = argv[++n];
        } else if (out->word_count < 3)
            out->words[out->word_count++] = arg;
        else {
            buf_printf(error, "%s is one word too many; see --help", arg);
            return false;
        }
    }
    return true;
}

static bool read_action(const struct arguments *args, struct inspect *i) {
    static const char *const names[] = {[INSPECT_LIST] = "list", [INSPECT_VERIFY] = "verify", [INSPECT_DUMP] = "dump"};
    const char *word = args->word_count > 1 ? args->words[1] : names[INSPECT_LIST];
    int action = 0;
    while (action <= INSPECT_DUMP && strcmp(word, names[action]) != 0) action++;
    i->action = (enum inspect_action)action;
    i->object = args->word_count > 2 ? args->words[2] : NULL;
    if (action > INSPECT_DUMP)
        buf_printf(&i->error, "%s is none of list, verify, dump; see --help", word);
    else if (i->object && action != INSPECT_DUMP)
        buf_printf(&i->error, "%s: only dump is of one object", i->object);
    return !i->error.len;
}

static bool read_keys(const struct config *config, struct inspect *i) {
    struct buf path = {0}, text = {0}, why = {0};
    config_string(config, OPTION_KEY_FILE, &path);
    if (!path.len) config_string(config, OPTION_OBJECT_STORE_KEY_FILE, &path);
    bool none = !path.len;
    buf_put_byte(&path, 0);
    bool good = none || os_read_file((char *)path.data, KEY_FILE_BYTES_MAX, &text, &i->error) == STATUS_OK;
    if (good && !none && keyring_parse(&i->keys, KEYRING_OBJECTS, buf_bytes(&text), &why) != STATUS_OK) {
        buf_printf(&i->error, "key-file %s, %.*s", (char *)path.data, (int)why.len, (char *)why.data);
        good = false;
    }
    if (text.data) sodium_memzero(text.data, text.len);
    buf_fini(&path);
    buf_fini(&text);
    buf_fini(&why);
    return good;
}

static bool read_until(const struct config *config, struct inspect *i) {
    struct buf text = {0};
    config_string(config, OPTION_UNTIL, &text);
    bool any = text.len > 0;
    buf_put_byte(&text, 0);
    bool good = !any || inspect_read_time((char *)text.data, &i->until_ms);
    if (!good) buf_printf(&i->error, "until %s: want 2026-01-31T12:00:00Z, or Unix milliseconds", (char *)text.data);
    if (good && any && i->manifest) buf_put_str(&i->error, "until and manifest: want one of them");
    buf_fini(&text);
    return !i->error.len;
}

static bool read_options(const struct config *config, struct inspect *i) {
    store_options_read(config, OPTION_OBJECT_STORE, &i->store);
    config_string(config, OPTION_CLUSTER_NAME, &i->cluster);
    i->shards = (uint32_t)config_integer(config, OPTION_SHARDS);
    i->manifest = (uint64_t)config_integer(config, OPTION_MANIFEST);
    i->until_ms = INT64_MAX;
    return read_keys(config, i) && read_until(config, i);
}

/* The words, then --object-store, as the server would have it. */
static bool read_where(const struct arguments *args, struct inspect *i) {
    i->where = args->word_count ? args->words[0] : store_options_url(&i->store);
    if (!*i->where) buf_put_str(&i->error, "which URL or directory? See --help");
    return *i->where;
}

static void log_to_stderr(enum log_level level, const char *line) {
    (void)level;
    fprintf(stderr, "anneal-inspect: %s\n", line);
}

static int run(const struct arguments *args, struct config *config, struct inspect *i) {
    bool good = config_load_args(config, args->option_count, args->options, &i->error) == STATUS_OK && read_options(config, i) &&
                read_action(args, i) && read_where(args, i);
    i->json = args->json;
    i->expired = args->expired;
    if (!good) return complain(&i->error);
    enum inspect_exit code = strstr(i->where, "://") ? inspect_store(i) : inspect_dir(i);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        buf_put_str(&i->error, "standard output cannot be written to");
        code = INSPECT_UNREADABLE;
    }
    return code == INSPECT_UNREADABLE ? complain(&i->error) : (int)code;
}

int main(int argc, char **argv) {
    struct config *config = config_new(option_table, OPTION_COUNT);
    struct arguments args = {.options = mem_zero((size_t)argc + 1, sizeof *args.options)};
    struct inspect i = {0};
    int code;
    log_to(log_to_stderr, LOG_WARNING);
    if (sodium_init() < 0 || !split(argc, argv, &args, &i.error))
        code = complain(&i.error);
    else if (args.help)
        code = help(config);
    else if (args.version)
        code = printf("anneal-inspect %s\n", VERSION) < 0;
    else
        code = run(&args, config, &i);
    store_options_fini(&i.store);
    sodium_memzero(&i.keys, sizeof i.keys);
    buf_fini(&i.cluster);
    buf_fini(&i.error);
    mem_free(args.options);
    config_free(config);
    return code;
}
