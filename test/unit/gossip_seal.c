/* Frames: what was sealed opens, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "gossip/seal.h"

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static struct keyring ring_of(const char *text, const char *cluster) {
    struct keyring ring = {0};
    struct buf error = {0};
    assert_int_equal(keyring_parse(&ring, KEYRING_GOSSIP, bytes_str(text), &error), STATUS_OK);
    keyring_cluster(&ring, bytes_str(cluster), 16);
    return ring;
}

static void what_was_sealed_opens(void **state) {
    (void)state;
    struct keyring ring = ring_of(KEY_A "\n", "c");
    struct sealer sealer = {.prefix = {1}};
    for (size_t len = 0; len < 300; len += 37) {
        uint8_t plain[300];
        memset(plain, (int)len, sizeof plain);
        struct buf frame = {0}, opened = {0};
        frame_seal(&ring, &sealer, bytes_of(plain, len), &frame);
        assert_int_equal(frame.len, len + SEAL_OVERHEAD_BYTES);
        assert_int_equal(frame_open(&ring, buf_bytes(&frame), &opened), STATUS_OK);
        assert_true(bytes_equal(buf_bytes(&opened), bytes_of(plain, len)));
        buf_fini(&frame);
        buf_fini(&opened);
    }
}

static void any_changed_byte_is_refused(void **state) {
    (void)state;
    struct keyring ring = ring_of(KEY_A, "c");
    struct sealer sealer = {0};
    struct buf frame = {0}, opened = {0};
    frame_seal(&ring, &sealer, bytes_str("the words"), &frame);
    for (size_t i = 0; i < frame.len; i++) {
        frame.data[i] ^= 0x10;
        assert_int_not_equal(frame_open(&ring, buf_bytes(&frame), &opened), STATUS_OK);
        frame.data[i] ^= 0x10;
    }
    for (size_t len = 0; len < frame.len; len++)
        assert_int_not_equal(frame_open(&ring, bytes_of(frame.data, len), &opened), STATUS_OK);
    assert_int_equal(opened.len, 0);
    buf_fini(&frame);
    buf_fini(&opened);
}

static void clusters_keys_and_versions_are_told_apart(void **state) {
    (void)state;
    struct keyring a = ring_of(KEY_A, "c"), other_key = ring_of(KEY_B, "c"), other_name = ring_of(KEY_A, "d");
    struct sealer sealer = {0};
    struct buf frame = {0}, opened = {0};
    frame_seal(&a, &sealer, bytes_str("x"), &frame);
    assert_int_equal(frame_open(&other_key, buf_bytes(&frame), &opened), STATUS_ERR_KEY);
    assert_int_equal(frame_open(&other_name, buf_bytes(&frame), &opened), STATUS_ERR_CLUSTER);
    frame.data[4]++;
    assert_int_equal(frame_open(&a, buf_bytes(&frame), &opened), STATUS_ERR_VERSION);
    assert_int_equal(frame_open(&a, bytes_str("GET / HTTP/1.1\r\nHost: a.example\r\nAccept: everything there is\r\n\r\n"), &opened),
                     STATUS_ERR_MALFORMED);
    buf_fini(&frame);
    buf_fini(&opened);
}

static void keys_rotate(void **state) {
    (void)state;
    struct keyring old = ring_of(KEY_A, "c"), both = ring_of("# new last\n" KEY_A "\n\n  " KEY_B " \r\n", "c"),
                   turned = ring_of(KEY_B "\n" KEY_A, "c");
    assert_int_equal(both.count, 2);
    struct keyring *rings[] = {&old, &both, &turned};
    for (int from = 0; from < 3; from++)
        for (int to = from ? from - 1 : 0; to <= from + 1 && to < 3; to++) {
            struct sealer sealer = {0};
            struct buf frame = {0}, opened = {0};
            frame_seal(rings[from], &sealer, bytes_str("x"), &frame);
            enum status want = from == 2 && to == 0 ? STATUS_ERR_KEY : STATUS_OK;
            assert_int_equal(frame_open(rings[to], buf_bytes(&frame), &opened), want);
            buf_fini(&frame);
            buf_fini(&opened);
        }
}

static void bad_key_files_say_where(void **state) {
    (void)state;
    struct {
        const char *text, *words;
    } bad[] = {{"", "no key"}, {"# only\n", "no key"}, {KEY_A "\nabc\n", "line 2"}, {"zz" KEY_A, "line 1"}, {KEY_A "0", "line 1"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct keyring ring = {0};
        struct buf error = {0};
        assert_int_equal(keyring_parse(&ring, KEYRING_GOSSIP, bytes_str(bad[i].text), &error), STATUS_ERR_INVALID);
        buf_put_byte(&error, 0);
        assert_non_null(strstr((char *)error.data, bad[i].words));
        assert_null(strstr((char *)error.data, "0102"));
        buf_fini(&error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_opens),   cmocka_unit_test(any_changed_byte_is_refused),
        cmocka_unit_test(clusters_keys_and_versions_are_told_apart), cmocka_unit_test(keys_rotate),
        cmocka_unit_test(bad_key_files_say_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
