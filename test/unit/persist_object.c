/* Objects, heads and manifests come back as they were written; what is damaged is refused. */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/rng.h"
#include "persist/crc32c.h"
#include "persist/layout.h"
#include "persist/object.h"

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define KEY_B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"

static const uint8_t NONCE[OBJECT_NONCE_BYTES] = {7, 1};

static struct keyring keys_of(const char *text, const char *cluster) {
    struct keyring keys = {0};
    struct buf error = {0};
    if (*text) assert_int_equal(keyring_parse(&keys, KEYRING_OBJECTS, bytes_str(text), &error), STATUS_OK);
    keyring_cluster(&keys, bytes_str(cluster), 4);
    return keys;
}

static void round_trip(enum object_kind kind, const struct keyring *keys, struct bytes plain, enum object_codec codec) {
    struct buf object = {0}, back = {0};
    struct object o;
    struct bytes head = bytes_str("head");
    size_t need;
    buf_put_str(&object, "before"); /* it is appended */
    object_write(kind, NONCE, head, plain, keys, &object);
    struct bytes whole = bytes_of(object.data + 6, object.len - 6);
    assert_int_equal(object_read(whole, keys, &o, &back), STATUS_OK);
    assert_true(bytes_equal(buf_bytes(&back), plain));
    assert_true(bytes_equal(o.head, head));
    assert_int_equal(o.kind, kind);
    assert_int_equal(o.codec, codec);
    assert_int_equal(o.sealed, keys->count > 0);
    assert_memory_equal(o.nonce, NONCE, sizeof NONCE);
    assert_int_equal(object_read_head(bytes_of(whole.data, 10), keys, &o, &need), STATUS_ERR_GAP);
    assert_int_equal(need, OBJECT_FIXED_BYTES);
    assert_int_equal(object_read_head(bytes_of(whole.data, need), keys, &o, &need), STATUS_ERR_GAP);
    assert_int_equal(object_read_head(bytes_of(whole.data, need), keys, &o, &need), STATUS_OK);
    buf_fini(&object);
    buf_fini(&back);
}

static void come_back(void **state) {
    (void)state;
    struct keyring open = keys_of("", "c"), sealed = keys_of(KEY_A KEY_B, "c");
    struct buf same = {0}, random = {0}, text = {0};
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 100000; i++) buf_put_byte(&same, 'x');
    for (int i = 0; i < 1000; i++) buf_put_byte(&random, (uint8_t)rng_next(&rng));
    for (int i = 0; i < 100000; i++) buf_printf(&text, "%d,", i);
    const struct keyring *both[] = {&open, &sealed};
    for (int i = 0; i < 2; i++) {
        round_trip(OBJECT_SEGMENT, both[i], (struct bytes){0}, CODEC_NONE);
        round_trip(OBJECT_SEGMENT, both[i], buf_bytes(&text), CODEC_LZ4);
        round_trip(OBJECT_SEGMENT, both[i], buf_bytes(&same), CODEC_LZ4);
        round_trip(OBJECT_SEGMENT, both[i], buf_bytes(&random), CODEC_NONE);
        round_trip(OBJECT_PART, both[i], (struct bytes){0}, CODEC_NONE);
        round_trip(OBJECT_PART, both[i], buf_bytes(&text), CODEC_ZSTD);
        round_trip(OBJECT_PART, both[i], buf_bytes(&same), CODEC_LZ4); /* nothing may say so much by so little */
        round_trip(OBJECT_PART, both[i], buf_bytes(&random), CODEC_NONE);
    }
    buf_fini(&same);
    buf_fini(&text);
    buf_fini(&random);
}

static void damage_is_found(void **state) {
    (void)state;
    struct keyring keys[] = {keys_of("", "c"), keys_of(KEY_A, "c")};
    for (int k = 0; k < 2; k++) {
        struct buf object = {0}, back = {0};
        struct object o;
        object_write(OBJECT_MANIFEST, NONCE, bytes_str("some head"), bytes_str("body body body body body body"), &keys[k], &object);
        for (size_t bit = 0; bit < object.len * 8; bit++) {
            object.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(object_read(buf_bytes(&object), &keys[k], &o, &back), STATUS_OK);
            object.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t len = 0; len < object.len; len++)
            assert_int_equal(object_read(bytes_of(object.data, len), &keys[k], &o, &back), STATUS_ERR_MALFORMED);
        assert_int_equal(object_read(buf_bytes(&object), &keys[k], &o, &back), STATUS_OK);
        buf_fini(&object);
        buf_fini(&back);
    }
}

static void strangers_are_told_apart(void **state) {
    (void)state;
    struct keyring a = keys_of(KEY_A, "c"), b = keys_of(KEY_B, "c"), both = keys_of(KEY_B KEY_A, "c"), none = keys_of("", "c"),
                   other = keys_of(KEY_A, "d");
    struct buf object = {0}, back = {0};
    struct object o;
    object_write(OBJECT_CLAIM, NONCE, bytes_str("h"), bytes_str("b"), &a, &object);
    assert_int_equal(object_read(buf_bytes(&object), &b, &o, &back), STATUS_ERR_KEY);
    assert_int_equal(object_read(buf_bytes(&object), &none, &o, &back), STATUS_ERR_KEY);
    assert_int_equal(object_read(buf_bytes(&object), &other, &o, &back), STATUS_ERR_CLUSTER);
    assert_int_equal(object_read(buf_bytes(&object), NULL, &o, &back), STATUS_ERR_KEY);
    assert_int_equal(object_read(buf_bytes(&object), &both, &o, &back), STATUS_OK);
    buf_fini(&object);
    buf_fini(&back);
}

static void heads_come_back(void **state) {
    (void)state;
    struct replicas *here = replicas_new(), *there = replicas_new();
    struct replica_id ids[] = {{1, 2}, {3, 4}};
    uint16_t a, b, skipped, x;
    assert_int_equal(replicas_intern(here, ids[0], &a), STATUS_OK);
    assert_int_equal(replicas_intern(here, ids[1], &b), STATUS_OK);
    assert_int_equal(replicas_intern(there, (struct replica_id){9, 9}, &skipped), STATUS_OK);
    struct segment_image image = {.shard = 2};
    vclock_raise(&image.applied, a, 5);
    vclock_raise(&image.applied, b, 70000);
    uint64_t upto[3] = {0, 1, UINT64_C(1) << 40};
    struct segment_head head = {.writer = ids[0], .number = 12, .made_ms = 1234567, .shard_count = 3, .upto = upto, .image_count = 1,
                                .images = &image, .members = bytes_str("table")}, back;
    struct buf text = {0};
    segment_head_write(&head, here, &text);
    assert_int_equal(segment_head_read(buf_bytes(&text), there, &back), STATUS_OK);
    assert_int_equal(replica_id_compare(back.writer, ids[0]), 0);
    assert_int_equal(back.number, 12);
    assert_int_equal(back.made_ms, 1234567);
    assert_memory_equal(back.upto, upto, sizeof upto);
    assert_int_equal(back.image_count, 1);
    assert_int_equal(replicas_intern(there, ids[1], &x), STATUS_OK);
    assert_int_equal(vclock_get(&back.images[0].applied, x), 70000);
    assert_true(bytes_equal(back.members, head.members));
    segment_head_fini(&back);
    for (size_t len = 0; len < text.len; len++) assert_int_equal(segment_head_read(bytes_of(text.data, len), there, &back), STATUS_ERR_MALFORMED);
    for (unsigned how = 0; how < 3; how++) { /* closed or not, and by whom */
        struct buf end = {0};
        head.closed = how > 0;
        head.by_next = how > 1;
        segment_head_write(&head, here, &end);
        assert_int_equal(segment_head_read(buf_bytes(&end), there, &back), STATUS_OK);
        assert_int_equal(back.closed, head.closed);
        assert_int_equal(back.by_next, head.by_next);
        assert_memory_equal(back.upto, upto, sizeof upto);
        segment_head_fini(&back);
        buf_fini(&end);
    }

    struct vclock applied[2] = {image.applied, {0}};
    struct manifest_part part = {.key = bytes_str("checkpoint/0123456789abcdef-0000000000000001/00000000000000000005/00001"), .bytes = 99, .first = 1, .count = 2, .applied = applied};
    struct manifest m = {.number = 4, .made_ms = 5, .writer = ids[1], .shard_count = 3, .part_count = 1, .parts = &part, .members = bytes_str("")}, other;
    text.len = 0;
    manifest_write(&m, here, &text);
    assert_int_equal(manifest_read(buf_bytes(&text), there, &other), STATUS_OK);
    assert_int_equal(other.number, 4);
    assert_int_equal(other.part_count, 1);
    assert_true(bytes_equal(other.parts[0].key, part.key));
    assert_int_equal(other.parts[0].count, 2);
    assert_int_equal(vclock_get(&other.parts[0].applied[0], x), 70000);
    manifest_fini(&other);
    for (size_t len = 0; len < text.len; len++) assert_int_equal(manifest_read(bytes_of(text.data, len), there, &other), STATUS_ERR_MALFORMED);
    vclock_fini(&image.applied);
    buf_fini(&text);
    replicas_free(here);
    replicas_free(there);
}

/* Who writes to the store may write anything: no shard that is not there, and no more than was announced. */
static void heads_that_lie_are_refused(void **state) {
    (void)state;
    struct replicas *replicas = replicas_new();
    struct segment_head back;
    struct manifest other;
    uint16_t a;
    assert_int_equal(replicas_intern(replicas, (struct replica_id){1, 2}, &a), STATUS_OK);
    for (uint32_t shard = 2; shard <= 3; shard++) {
        struct segment_image image = {.shard = shard};
        struct buf text = {0};
        uint64_t upto[3] = {0};
        vclock_raise(&image.applied, a, 5);
        struct segment_head head = {.writer = {1, 2}, .number = 1, .shard_count = 3, .upto = upto, .image_count = 1, .images = &image};
        segment_head_write(&head, replicas, &text);
        assert_int_equal(segment_head_read(buf_bytes(&text), replicas, &back), shard < 3 ? STATUS_OK : STATUS_ERR_MALFORMED);
        if (shard < 3) segment_head_fini(&back);
        buf_put_byte(&text, 0);
        assert_int_equal(segment_head_read(buf_bytes(&text), replicas, &back), STATUS_ERR_MALFORMED);
        vclock_fini(&image.applied);
        buf_fini(&text);
    }
    static const struct {
        uint32_t first, count;
        bool right;
    } parts[] = {{0, 3, true}, {2, 1, true}, {3, 0, false}, {2, 2, false}, {3, 1, false}, {1, 3, false}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct vclock applied[3] = {0};
        struct manifest_part part = {.key = bytes_str("checkpoint/0123456789abcdef-0000000000000001/00000000000000000005/00001"), .bytes = 99,
                                     .first = parts[i].first, .count = parts[i].count, .applied = applied};
        struct manifest m = {.number = 4, .shard_count = 3, .part_count = 1, .parts = &part};
        struct buf text = {0};
        manifest_write(&m, replicas, &text);
        assert_int_equal(manifest_read(buf_bytes(&text), replicas, &other), parts[i].right ? STATUS_OK : STATUS_ERR_MALFORMED);
        if (parts[i].right) manifest_fini(&other);
        buf_put_byte(&text, 0);
        assert_int_equal(manifest_read(buf_bytes(&text), replicas, &other), STATUS_ERR_MALFORMED);
        buf_fini(&text);
    }
    replicas_free(replicas);
}

/* What a newer version writes says so, however else it looks; with its checks right, as that one would have it. */
static void newer_versions_are_told_from_damage(void **state) {
    (void)state;
    enum { VERSION_AT = 4, FLAGS_AT = 6, BODY_AT = 36, PLAIN_AT = 44, HEAD_CRC_AT = 52 };
    static const struct {
        size_t at;
        uint8_t byte;
        enum status want;
    } cases[] = {{VERSION_AT, 1, STATUS_OK}, {VERSION_AT, 2, STATUS_ERR_VERSION}, {VERSION_AT, 0, STATUS_ERR_VERSION}, {FLAGS_AT, 8, STATUS_ERR_VERSION},
                 {FLAGS_AT + 1, 1, STATUS_ERR_VERSION}, {FLAGS_AT, 5, STATUS_ERR_MALFORMED}, {BODY_AT, 3, STATUS_ERR_MALFORMED},
                 {BODY_AT, 5, STATUS_ERR_MALFORMED}, {PLAIN_AT, 3, STATUS_ERR_MALFORMED}};
    struct keyring keys = keys_of("", "c");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf object = {0}, back = {0};
        struct object o;
        object_write(OBJECT_CLAIM, NONCE, (struct bytes){0}, bytes_str("body"), &keys, &object);
        object.data[cases[i].at] = cases[i].byte;
        uint32_t head = htole32(crc32c(0, bytes_of(object.data, HEAD_CRC_AT)));
        memcpy(object.data + HEAD_CRC_AT, &head, sizeof head);
        uint32_t all = htole32(crc32c(0, bytes_of(object.data, object.len - sizeof all)));
        memcpy(object.data + object.len - sizeof all, &all, sizeof all);
        assert_int_equal(object_read(buf_bytes(&object), &keys, &o, &back), cases[i].want);
        buf_fini(&object);
        buf_fini(&back);
    }
}

static void keys_come_back(void **state) {
    (void)state;
    char key[LAYOUT_KEY_BYTES];
    struct replica_id id = {0x0123456789abcdef, UINT64_MAX}, back;
    uint64_t node, number;
    int64_t ms;
    uint32_t first;
    layout_segment_key(key, id, 17);
    assert_string_equal(key, "segment/0123456789abcdef-ffffffffffffffff/00000000000000000017");
    assert_true(layout_read_segment_key(bytes_str(key), &back, &number));
    assert_int_equal(replica_id_compare(id, back), 0);
    assert_int_equal(number, 17);
    layout_segment_key(key, id, UINT64_MAX); /* has no next one */
    assert_false(layout_read_segment_key(bytes_str(key), &back, &number));
    layout_part_key(key, id, 1700000000000, 255);
    assert_true(layout_read_part_key(bytes_str(key), &back, &ms, &first));
    assert_int_equal(ms, 1700000000000);
    assert_int_equal(first, 255);
    layout_manifest_key(key, UINT64_MAX - 1);
    assert_true(layout_read_manifest_key(bytes_str(key), &number));
    assert_true(number == UINT64_MAX - 1);
    layout_manifest_key(key, UINT64_MAX);
    assert_false(layout_read_manifest_key(bytes_str(key), &number));
    layout_claim_key(key, "verdict", 5, 6);
    assert_true(layout_read_claim_key(bytes_str(key), "verdict", &node, &number));
    assert_int_equal(node, 5);
    layout_claim_key(key, "claim", 5, UINT64_MAX);
    assert_false(layout_read_claim_key(bytes_str(key), "claim", &node, &number));
    static const char *const bad[] = {"manifest/1", "manifest/99999999999999999999", "manifest/0000000000000000001x", "manifest/000000000000000000011",
                                      "manifests/00000000000000000001", "manifest/0000000000000000000A", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(layout_read_manifest_key(bytes_str(bad[i]), &number));
}

static void records_come_back(void **state) {
    (void)state;
    struct buf body = {0};
    size_t at = 0;
    enum object_record kind;
    struct bytes payload;
    bool bad;
    object_record_write(&body, OBJECT_IMAGE, bytes_str("one"));
    object_record_write(&body, OBJECT_DELTAS, bytes_str(""));
    assert_true(object_record_next(buf_bytes(&body), &at, &kind, &payload, &bad));
    assert_int_equal(kind, OBJECT_IMAGE);
    assert_true(bytes_equal(payload, bytes_str("one")));
    assert_true(object_record_next(buf_bytes(&body), &at, &kind, &payload, &bad));
    assert_false(object_record_next(buf_bytes(&body), &at, &kind, &payload, &bad));
    assert_false(bad);
    at = 0;
    assert_false(object_record_next(bytes_of(body.data, 7), &at, &kind, &payload, &bad));
    assert_true(bad);
    buf_fini(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(come_back),       cmocka_unit_test(damage_is_found), cmocka_unit_test(strangers_are_told_apart),
                                       cmocka_unit_test(heads_come_back), cmocka_unit_test(heads_that_lie_are_refused),
                                       cmocka_unit_test(newer_versions_are_told_from_damage), cmocka_unit_test(keys_come_back),  cmocka_unit_test(records_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
