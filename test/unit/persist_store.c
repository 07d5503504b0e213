/* What every store must do, whatever stands behind it. Without arguments on a directory and on the simulation's store; with
 * them on the store they name:
 *
 *     persist_store --object-store s3://bucket/prefix --object-store-endpoint http://127.0.0.1:8000 ...
 *
 * Keys begin with a random name, so a bucket may be used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/mem.h"
#include "persist/options.h"
#include "persist_wait.h"
#include "sim/store.h"

static const struct config_option option_table[] = {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) {name, kind, flags, initial, least, most, choices, help},
    STORE_OPTIONS(X)
#undef X
};

static struct store_options options;
static struct waiter waiter;
static char home[32]; /* all keys of this run begin with it */
static struct bucket_sim *bucket; /* NULL: the store is the one that the options name */

/* ----------------------------------------------------------------- opening */

static void pass(void) {
    int64_t next_us = bucket_sim_next_us(bucket);
    assert_true(next_us < INT64_MAX);
    bucket_sim_now(bucket, next_us);
}

static enum status open_for(struct waiter *w, struct store_settings *settings, struct buf *error) {
    wait_init(w, settings);
    if (!bucket) return store_open(store_options_url(&options), settings, &w->store, error);
    w->pass = pass;
    w->store = store_sim_open(bucket, settings);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ asking */

static struct bytes key_of(char out[STORE_KEY_BYTES_MAX], const char *name) {
    snprintf(out, STORE_KEY_BYTES_MAX, "%s/%s", home, name);
    return bytes_str(out);
}

static void submit(struct store_request *r) { assert_int_equal(store_submit(&waiter.store, r), STATUS_OK); }

static enum store_result ask(struct store_request *r) {
    submit(r);
    assert_ptr_equal(wait_next(&waiter), r);
    if (r->result != STORE_DONE && r->result != STORE_EXISTS && r->result != STORE_MISSING)
        print_message("%s: %s\n", store_result_text(r->result), r->why);
    return r->result;
}

static void expect(enum store_op op, const char *name, struct bytes body, enum store_result want) {
    char key[STORE_KEY_BYTES_MAX];
    struct store_request r = {.op = op, .key = key_of(key, name), .body = body, .bytes_max = 1 << 20};
    assert_int_equal(ask(&r), want);
    store_request_fini(&r);
}

static void expect_range(const char *name, uint64_t offset, uint64_t len, struct bytes want) {
    char key[STORE_KEY_BYTES_MAX];
    struct store_request r = {.op = STORE_GET, .key = key_of(key, name), .offset = offset, .len = len, .bytes_max = 64 << 20};
    assert_int_equal(ask(&r), STORE_DONE);
    assert_int_equal(r.data.len, want.len);
    assert_true(bytes_equal(buf_bytes(&r.data), want));
    store_request_fini(&r);
}

static void expect_body(const char *name, struct bytes want) {
    char key[STORE_KEY_BYTES_MAX];
    struct store_request r = {.op = STORE_HEAD, .key = key_of(key, name)};
    assert_int_equal(ask(&r), STORE_DONE);
    assert_int_equal(r.size, want.len);
    store_request_fini(&r);
    expect_range(name, 0, 0, want);
}

static struct buf noise(size_t len, uint64_t seed) {
    struct buf b = {0};
    buf_reserve(&b, len + 8);
    for (; b.len < len; b.len += 8) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t word = seed ^ seed >> 29;
        memcpy(b.data + b.len, &word, 8);
    }
    b.len = len;
    return b;
}

/* ----------------------------------------------------------------- objects */

static void an_object_is_what_was_put_last(void **state) {
    (void)state;
    static const uint8_t binary[] = {0, 255, '\r', '\n', 0, '<', '&'};
    expect(STORE_GET, "a/b", bytes_str(""), STORE_MISSING);
    expect(STORE_HEAD, "a/b", bytes_str(""), STORE_MISSING);
    expect(STORE_PUT, "a/b", bytes_of(binary, sizeof binary), STORE_DONE);
    expect_body("a/b", bytes_of(binary, sizeof binary));
    expect(STORE_PUT, "a/b", bytes_str("shorter"), STORE_DONE);
    expect_body("a/b", bytes_str("shorter"));
    expect(STORE_PUT, "a/b", bytes_str(""), STORE_DONE);
    expect_body("a/b", bytes_str(""));
    expect(STORE_DELETE, "a/b", bytes_str(""), STORE_DONE);
    expect(STORE_GET, "a/b", bytes_str(""), STORE_MISSING);
    expect(STORE_DELETE, "a/b", bytes_str(""), STORE_DONE);
    expect(STORE_DELETE, "never/was", bytes_str(""), STORE_DONE);
}

static void a_folder_is_no_object(void **state) {
    (void)state;
    expect(STORE_PUT, "folder/x", bytes_str("x"), STORE_DONE);
    expect(STORE_GET, "folder", bytes_str(""), STORE_MISSING);
    expect(STORE_HEAD, "folder", bytes_str(""), STORE_MISSING);
    expect(STORE_GET, "folder/x/y", bytes_str(""), STORE_MISSING);
    expect(STORE_DELETE, "folder", bytes_str(""), STORE_DONE);
    expect_body("folder/x", bytes_str("x"));
}

static void a_range_is_what_lies_in_it(void **state) {
    (void)state;
    expect(STORE_PUT, "range", bytes_str("0123456789"), STORE_DONE);
    expect(STORE_PUT, "empty", bytes_str(""), STORE_DONE);
    expect_range("range", 0, 1, bytes_str("0"));
    expect_range("range", 3, 4, bytes_str("3456"));
    expect_range("range", 3, 0, bytes_str("3456789"));
    expect_range("range", 8, 100, bytes_str("89"));
    expect_range("range", 0, 10, bytes_str("0123456789"));
    expect_range("range", 10, 1, bytes_str(""));
    expect_range("range", 1000, 0, bytes_str(""));
    expect_range("empty", 0, 10, bytes_str(""));
    expect_range("empty", 0, 0, bytes_str(""));
}

static void what_is_larger_than_allowed_is_not_read(void **state) {
    (void)state;
    char key[STORE_KEY_BYTES_MAX];
    struct buf body = noise(100000, 1);
    expect(STORE_PUT, "large", buf_bytes(&body), STORE_DONE);
    struct store_request r = {.op = STORE_GET, .key = key_of(key, "large"), .bytes_max = 99999};
    assert_int_equal(ask(&r), STORE_TOO_LARGE);
    assert_true(r.data.len <= 99999);
    r.bytes_max = 100000;
    assert_int_equal(ask(&r), STORE_DONE);
    r.bytes_max = 10;
    r.len = 10;
    r.offset = 5;
    assert_int_equal(ask(&r), STORE_DONE);
    assert_true(bytes_equal(buf_bytes(&r.data), bytes_of(body.data + 5, 10)));
    store_request_fini(&r);
    buf_fini(&body);
}

static const char *const odd_names[] = {
    "odd/a b",   "odd/a+b",  "odd/a%20b",    "odd/100%", "odd/~x",      "odd/a&b=c?d#e", "odd/<x>\"'", "odd/\xc3\xa9t\xc3\xa9",
    "odd/\xe2\x82\xac \xf0\x9f\x8e\x89", "odd/a:b;c,d", "odd/(a)*!$@",   "odd/a\\b",    "odd/-_.",  "odd/ lead",   "odd/trail ", "odd/x..y", "odd/q?uploads",
};
#define ODD_NAMES (sizeof odd_names / sizeof *odd_names)

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void odd_names_come_back_as_they_were(void **state) {
    (void)state;
    const char *sorted[ODD_NAMES];
    char prefix[STORE_KEY_BYTES_MAX], want[STORE_KEY_BYTES_MAX];
    for (size_t i = 0; i < ODD_NAMES; i++) {
        sorted[i] = odd_names[i];
        expect(STORE_CREATE, odd_names[i], bytes_str(odd_names[i]), STORE_DONE);
    }
    for (size_t i = 0; i < ODD_NAMES; i++) expect_body(odd_names[i], bytes_str(odd_names[i]));
    qsort(sorted, ODD_NAMES, sizeof *sorted, by_text);
    struct store_request r = {.op = STORE_LIST, .key = key_of(prefix, "odd/"), .limit = STORE_PAGE_MAX};
    assert_int_equal(ask(&r), STORE_DONE);
    assert_int_equal(r.count, ODD_NAMES);
    for (size_t i = 0; i < ODD_NAMES; i++) {
        assert_true(bytes_equal(r.entries[i].key, key_of(want, sorted[i])));
        assert_int_equal(r.entries[i].size, strlen(sorted[i]));
    }
    store_request_fini(&r);
    for (size_t i = 0; i < ODD_NAMES; i++) expect(STORE_DELETE, odd_names[i], bytes_str(""), STORE_DONE);
    expect(STORE_GET, odd_names[0], bytes_str(""), STORE_MISSING);
}

static void names_that_are_none_are_not_taken(void **state) {
    (void)state;
    static const char *const bad[] = {"", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", ".", ".hidden", "a/.tmp", "a\nb", "a\x7f", "\xff", "\xc0\xaf",
                                      "\xed\xa0\x80", "a\xc3", "\xc2\x85", "\xf4\x90\x80\x80"};
    char text[STORE_KEY_BYTES_MAX + 8];
    struct store_request r = {.op = STORE_PUT, .bytes_max = 1, .limit = 1};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r.key = bytes_str(bad[i]);
        assert_int_equal(store_submit(&waiter.store, &r), STATUS_ERR_INVALID);
    }
    memset(text, 'x', sizeof text);
    r.key = bytes_of(text, STORE_NAME_BYTES_MAX + 1);
    assert_int_equal(store_submit(&waiter.store, &r), STATUS_ERR_INVALID);
    assert_true(store_key_valid(bytes_of(text, STORE_NAME_BYTES_MAX)));
    text[200] = text[400] = '/';
    assert_true(store_key_valid(bytes_of(text, STORE_KEY_BYTES_MAX)));
    assert_false(store_key_valid(bytes_of(text, STORE_KEY_BYTES_MAX + 1)));
    r = (struct store_request){.op = STORE_LIST, .limit = STORE_PAGE_MAX + 1};
    assert_int_equal(store_submit(&waiter.store, &r), STATUS_ERR_INVALID);
    r = (struct store_request){.op = STORE_GET, .key = bytes_str("a")};
    assert_int_equal(store_submit(&waiter.store, &r), STATUS_ERR_INVALID);
}

/* ----------------------------------------------------------------- listing */

enum { MANY = 1037 };

/* As many at one time as the store takes. */
static void ask_all(struct store_request *requests, int count) {
    for (int sent = 0, back = 0; back < count;) {
        enum status status = sent < count ? store_submit(&waiter.store, &requests[sent]) : STATUS_ERR_BUSY;
        if (status == STATUS_OK) {
            sent++;
            continue;
        }
        assert_int_equal(status, STATUS_ERR_BUSY);
        assert_int_equal(wait_next(&waiter)->result, STORE_DONE);
        back++;
    }
}

static void put_many(const char *format) {
    static struct store_request requests[MANY];
    static char keys[MANY][64];
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], format, home, i);
        requests[i] = (struct store_request){.op = STORE_PUT, .key = bytes_str(keys[i]), .body = bytes_str(keys[i])};
    }
    ask_all(requests, MANY);
}

/* All keys of a prefix, page by page: how many; each is greater than the one before. */
static int walk(const char *name, const char *after, uint32_t limit, int *pages) {
    char prefix[STORE_KEY_BYTES_MAX], last[STORE_KEY_BYTES_MAX] = "";
    if (*after) key_of(last, after);
    struct store_request r = {.op = STORE_LIST, .key = key_of(prefix, name), .limit = limit};
    int count = 0;
    for (*pages = 0;;) {
        r.after = bytes_str(last);
        assert_int_equal(ask(&r), STORE_DONE);
        (*pages)++;
        assert_true(r.count <= limit);
        for (size_t i = 0; i < r.count; i++) {
            assert_true(bytes_compare(r.entries[i].key, i > 0 ? r.entries[i - 1].key : bytes_str(last)) > 0);
            assert_true(r.entries[i].key.len >= strlen(prefix) && memcmp(r.entries[i].key.data, prefix, strlen(prefix)) == 0);
        }
        count += (int)r.count;
        if (!r.more) break;
        snprintf(last, sizeof last, "%.*s", (int)r.entries[r.count - 1].key.len, (const char *)r.entries[r.count - 1].key.data);
    }
    store_request_fini(&r);
    return count;
}

static void a_long_list_comes_in_pages_and_in_order(void **state) {
    (void)state;
    int pages;
    put_many("%s/many/%05d");
    assert_int_equal(walk("many/", "", STORE_PAGE_MAX, &pages), MANY);
    assert_int_equal(pages, 2);
    assert_int_equal(walk("many/", "", 100, &pages), MANY);
    assert_int_equal(pages, MANY / 100 + 1);
    assert_int_equal(walk("many/000", "", 7, &pages), 100);
    assert_int_equal(walk("many/00010", "", 1, &pages), 1);
    assert_int_equal(walk("many/", "many/00999", STORE_PAGE_MAX, &pages), MANY - 1000);
    assert_int_equal(walk("many/", "many/00999x", 1, &pages), MANY - 1000);
    assert_int_equal(walk("many/", "many/99999", 10, &pages), 0);
    assert_int_equal(walk("many/", "zzz", 10, &pages), 0);
    assert_int_equal(walk("many/none", "", 10, &pages), 0);
    assert_int_equal(walk("man", "", STORE_PAGE_MAX, &pages), MANY);
}

/* '-' is less than '/', which is less than '0': an order by folders would be another one. */
static void the_order_is_that_of_whole_keys(void **state) {
    (void)state;
    static const char *const names[] = {"order/a-b", "order/a-b0", "order/a/x", "order/a0", "order/b/c/d/e", "order/b/c/d0"};
    enum { NAMES = sizeof names / sizeof *names };
    char want[STORE_KEY_BYTES_MAX], prefix[STORE_KEY_BYTES_MAX];
    for (size_t i = NAMES; i-- > 0;) expect(STORE_PUT, names[i], bytes_str("x"), STORE_DONE);
    for (uint32_t limit = 1; limit <= NAMES + 1; limit++) {
        struct store_request r = {.op = STORE_LIST, .key = key_of(prefix, "order/"), .limit = limit};
        assert_int_equal(ask(&r), STORE_DONE);
        assert_int_equal(r.count, limit < NAMES ? limit : NAMES);
        assert_int_equal(r.more, limit < NAMES);
        for (size_t i = 0; i < r.count; i++) assert_true(bytes_equal(r.entries[i].key, key_of(want, names[i])));
        store_request_fini(&r);
    }
}

/* ---------------------------------------------------------------- creating */

static void what_is_there_is_not_created_again(void **state) {
    (void)state;
    expect(STORE_CREATE, "once/1", bytes_str("first"), STORE_DONE);
    expect(STORE_CREATE, "once/1", bytes_str("second"), STORE_EXISTS);
    expect_body("once/1", bytes_str("first"));
    expect(STORE_DELETE, "once/1", bytes_str(""), STORE_DONE);
    expect(STORE_CREATE, "once/1", bytes_str("third"), STORE_DONE);
    expect_body("once/1", bytes_str("third"));
}

enum { WRITERS = 10, ROUNDS = 12 };

static void race(int round) {
    struct store_request requests[WRITERS] = {0};
    char key[STORE_KEY_BYTES_MAX], name[32], bodies[WRITERS][32];
    int winner = -1, won = 0;
    snprintf(name, sizeof name, "race/%d", round);
    key_of(key, name);
    for (int i = 0; i < WRITERS; i++) {
        snprintf(bodies[i], sizeof bodies[i], "writer %d", i);
        requests[i] = (struct store_request){.op = STORE_CREATE, .key = bytes_str(key), .body = bytes_str(bodies[i])};
        submit(&requests[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        struct store_request *r = wait_next(&waiter);
        assert_true(r->result == STORE_DONE || r->result == STORE_EXISTS);
        assert_false(r->unsure);
        if (r->result == STORE_DONE) winner = (int)(r - requests);
        won += r->result == STORE_DONE;
    }
    assert_int_equal(won, 1);
    expect_body(name, bytes_str(bodies[winner]));
}

static void of_ten_who_create_one_wins(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) race(round);
}

static void the_probe_finds_conditional_writes(void **state) {
    (void)state;
    struct store_probe probe;
    char key[STORE_KEY_BYTES_MAX];
    key_of(key, "probe");
    assert_int_equal(store_probe_start(&probe, &waiter.store, key), STATUS_OK);
    while (!probe.finished) {
        assert_true(store_probe_owns(&probe, wait_next(&waiter)));
        store_probe_step(&probe);
    }
    assert_int_equal(probe.result, STORE_DONE);
    expect(STORE_GET, "probe", bytes_str(""), STORE_MISSING);
}

/* ------------------------------------------------------------------- sizes */

static void forty_megabytes_come_back_as_they_were(void **state) {
    (void)state;
    struct buf body = noise((40 << 20) + 12345, 7);
    char key[STORE_KEY_BYTES_MAX];
    struct store_request r = {.op = STORE_PUT, .key = key_of(key, "big"), .body = buf_bytes(&body)};
    assert_int_equal(ask(&r), STORE_DONE);
    expect_body("big", buf_bytes(&body));
    expect_range("big", (16 << 20) - 3, 7, bytes_of(body.data + (16 << 20) - 3, 7));
    expect_range("big", body.len - 5, 0, bytes_of(body.data + body.len - 5, 5));
    expect(STORE_CREATE, "big", bytes_str("small"), STORE_EXISTS);
    r.op = STORE_CREATE; /* as one piece: not every store has a condition for parts */
    assert_int_equal(ask(&r), STORE_EXISTS);
    r.op = STORE_PUT;
    r.body.len = 16 << 20;
    assert_int_equal(ask(&r), STORE_DONE);
    expect_body("big", r.body);
    expect(STORE_DELETE, "big", bytes_str(""), STORE_DONE);
    buf_fini(&body);
}

static void no_more_is_taken_than_was_agreed(void **state) {
    (void)state;
    struct store_settings few = options.settings;
    struct waiter own = {0};
    struct store_request requests[5] = {0};
    struct buf error = {0};
    char key[STORE_KEY_BYTES_MAX];
    key_of(key, "none");
    few.requests_max = 3;
    assert_int_equal(open_for(&own, &few, &error), STATUS_OK);
    for (int i = 0; i < 5; i++) {
        requests[i] = (struct store_request){.op = STORE_HEAD, .key = bytes_str(key)};
        assert_int_equal(store_submit(&own.store, &requests[i]), i < 3 ? STATUS_OK : STATUS_ERR_BUSY);
    }
    for (int i = 0; i < 3; i++) assert_int_equal(wait_next(&own)->result, STORE_MISSING);
    assert_int_equal(store_submit(&own.store, &requests[3]), STATUS_OK);
    assert_int_equal(wait_next(&own)->result, STORE_MISSING);
    assert_true(own.readies >= 2);
    store_close(&own.store);
}

static void a_closed_store_gives_every_request_back(void **state) {
    (void)state;
    struct store_settings settings = options.settings;
    struct store_request requests[64] = {0};
    struct buf error = {0}, body = noise(1 << 20, 3);
    char keys[64][STORE_KEY_BYTES_MAX], name[32];
    struct waiter own = {0};
    assert_int_equal(open_for(&own, &settings, &error), STATUS_OK);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "closed/%d", i);
        requests[i] = (struct store_request){.op = STORE_PUT, .key = key_of(keys[i], name), .body = buf_bytes(&body)};
        assert_int_equal(store_submit(&own.store, &requests[i]), STATUS_OK);
    }
    store_close(&own.store);
    int cut_off = 0;
    for (int i = 0; i < 64; i++) {
        assert_true(requests[i].result == STORE_DONE || requests[i].result == STORE_TRANSIENT);
        cut_off += requests[i].result == STORE_TRANSIENT;
    }
    assert_true(cut_off > 0);
    buf_fini(&body);
}

/* -------------------------------------------------------------------- main */

static int remove_all(void **state) {
    (void)state;
    static struct store_request gone[STORE_PAGE_MAX];
    struct store_request r = {.op = STORE_LIST, .key = bytes_str(home), .limit = STORE_PAGE_MAX};
    do {
        assert_int_equal(ask(&r), STORE_DONE);
        for (size_t i = 0; i < r.count; i++) gone[i] = (struct store_request){.op = STORE_DELETE, .key = r.entries[i].key};
        ask_all(gone, (int)r.count);
    } while (r.count > 0);
    store_request_fini(&r);
    return 0;
}

static bool open_store(int argc, char **argv, struct buf *error) {
    struct config *config = config_new(option_table, sizeof option_table / sizeof *option_table);
    bool good = config_load_args(config, argc - 1, argv + 1, error) == STATUS_OK;
    store_options_read(config, 0, &options);
    config_free(config);
    options.settings.requests_max = 64;
    snprintf(home, sizeof home, "t%016llx", (unsigned long long)os_entropy());
    return good && open_for(&waiter, &options.settings, error) == STATUS_OK;
}

static int suite(const char *name) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_is_what_was_put_last), cmocka_unit_test(a_folder_is_no_object),
        cmocka_unit_test(a_range_is_what_lies_in_it), cmocka_unit_test(what_is_larger_than_allowed_is_not_read),
        cmocka_unit_test(odd_names_come_back_as_they_were), cmocka_unit_test(names_that_are_none_are_not_taken),
        cmocka_unit_test(a_long_list_comes_in_pages_and_in_order), cmocka_unit_test(the_order_is_that_of_whole_keys),
        cmocka_unit_test(what_is_there_is_not_created_again), cmocka_unit_test(of_ten_who_create_one_wins),
        cmocka_unit_test(the_probe_finds_conditional_writes), cmocka_unit_test(forty_megabytes_come_back_as_they_were),
        cmocka_unit_test(no_more_is_taken_than_was_agreed), cmocka_unit_test(a_closed_store_gives_every_request_back),
    };
    int failed = cmocka_run_group_tests_name(name, tests, NULL, remove_all);
    store_close(&waiter.store);
    return failed;
}

static int suite_on_simulation(void) {
    struct buf none = {0};
    bucket = bucket_sim_new(1);
    if (open_for(&waiter, &options.settings, &none) != STATUS_OK) return 1;
    int failed = suite("simulation");
    bucket_sim_free(bucket);
    return failed;
}

int main(int argc, char **argv) {
    char folder[64], url[80], remove[80], *own[] = {argv[0], "--object-store", url};
    struct buf error = {0};
    bool on_folder = argc == 1;
    snprintf(folder, sizeof folder, "%s/anneal-store-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"); /* no disk to wait for */
    if (on_folder && !mkdtemp(folder)) return 1;
    snprintf(url, sizeof url, "file://%s", folder);
    snprintf(remove, sizeof remove, "rm -r %s", folder);
    if (!open_store(on_folder ? 3 : argc, on_folder ? own : argv, &error)) {
        fprintf(stderr, "%.*s\n", (int)error.len, (char *)error.data);
        return 1;
    }
    int failed = suite(store_options_url(&options));
    if (on_folder && system(remove) != 0) return 1;
    if (on_folder) failed += suite_on_simulation();
    store_options_fini(&options);
    return failed;
}
