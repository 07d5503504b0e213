/* Key files: what is a key, how many, and which cluster they are for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/keyring.h"

static void put_keys(struct buf *text, int count) {
    for (int i = 0; i < count; i++) buf_printf(text, "%064x\n", i + 1);
}

static void as_many_keys_are_read_as_there_is_room_for(void **state) {
    (void)state;
    for (int count = 1; count <= KEYRING_MAX + 1; count++) {
        struct {
            struct keyring ring;
            uint8_t beyond[KEYRING_KEY_BYTES];
        } read = {.ring.count = 7};
        struct buf text = {0}, error = {0};
        put_keys(&text, count);
        bool fits = count <= KEYRING_MAX;
        assert_int_equal(keyring_parse(&read.ring, KEYRING_GOSSIP, buf_bytes(&text), &error), fits ? STATUS_OK : STATUS_ERR_INVALID);
        assert_int_equal(read.ring.count, fits ? count : 7); /* what cannot be read changes nothing */
        for (int i = 0; fits && i < count; i++)
            for (int j = 0; j < i; j++) assert_memory_not_equal(read.ring.key[i], read.ring.key[j], KEYRING_KEY_BYTES);
        buf_put_byte(&error, 0);
        if (!fits) assert_non_null(strstr((char *)error.data, "line 17: more than 16 keys"));
        buf_fini(&text);
        buf_fini(&error);
    }
}

static void a_secret_serves_each_purpose_with_another_key(void **state) {
    (void)state;
    struct keyring gossip = {0}, objects = {0}, nothing = {.count = 3};
    struct buf text = {0}, error = {0};
    buf_printf(&text, "%064d\n", 0);
    assert_int_equal(keyring_parse(&gossip, KEYRING_GOSSIP, buf_bytes(&text), &error), STATUS_OK);
    assert_int_equal(keyring_parse(&objects, KEYRING_OBJECTS, buf_bytes(&text), &error), STATUS_OK);
    assert_memory_not_equal(gossip.key[0], objects.key[0], KEYRING_KEY_BYTES);
    keyring_well_known(&nothing, KEYRING_GOSSIP); /* what is known to all is a secret of zeros */
    assert_int_equal(nothing.count, 1);
    assert_memory_equal(gossip.key[0], nothing.key[0], KEYRING_KEY_BYTES);
    buf_fini(&text);
}

static void clusters_are_told_apart_by_name_and_shards(void **state) {
    (void)state;
    struct keyring ring = {0};
    struct buf text = {0}, error = {0};
    keyring_cluster(&ring, bytes_str("c"), 4);
    uint64_t tag = ring.tag;
    put_keys(&text, 1);
    assert_int_equal(keyring_parse(&ring, KEYRING_GOSSIP, buf_bytes(&text), &error), STATUS_OK);
    assert_true(ring.tag == tag); /* whichever is read first */
    keyring_cluster(&ring, bytes_str("c"), 8);
    assert_true(ring.tag != tag);
    keyring_cluster(&ring, bytes_str("d"), 4);
    assert_true(ring.tag != tag);
    keyring_cluster(&ring, bytes_str(""), 4);
    assert_true(ring.tag != tag);
    keyring_cluster(&ring, bytes_str("c"), 4);
    assert_true(ring.tag == tag);
    buf_fini(&text);
}

static void what_is_no_key_is_named_by_its_line(void **state) {
    (void)state;
    static const char *const ends[] = {"0", "g", " 00", "0 0"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct keyring ring = {0};
        struct buf text = {0}, error = {0};
        put_keys(&text, 1);
        buf_printf(&text, "# a comment\n%0*d%s\n", i == 0 ? 62 : 64 - (int)strlen(ends[i]), 0, ends[i]);
        assert_int_equal(keyring_parse(&ring, KEYRING_GOSSIP, buf_bytes(&text), &error), STATUS_ERR_INVALID);
        buf_put_byte(&error, 0);
        assert_non_null(strstr((char *)error.data, "line 3: "));
        assert_int_equal(ring.count, 0);
        buf_fini(&text);
        buf_fini(&error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_keys_are_read_as_there_is_room_for), cmocka_unit_test(a_secret_serves_each_purpose_with_another_key),
        cmocka_unit_test(clusters_are_told_apart_by_name_and_shards), cmocka_unit_test(what_is_no_key_is_named_by_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
