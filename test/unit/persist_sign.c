/* The signer against what AWS publishes: its test suite for Signature Version 4, and the examples of the S3 documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "persist/sign.h"

struct vector {
    const char *name, *method, *path;
    const char *query[10];   /* name, value, ... */
    const char *headers[10]; /* besides host and x-amz-date */
    const char *body, *signed_headers, *signature;
};

static const struct sign_key suite = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service"};
static const struct sign_key s3 = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "s3"};

static size_t pairs_of(const char *const *words, struct sign_pair *pairs) {
    size_t count = 0;
    for (; words[2 * count]; count++) pairs[count] = (struct sign_pair){bytes_str(words[2 * count]), bytes_str(words[2 * count + 1])};
    return count;
}

static void expect_signature(const struct vector *v, const struct sign_key *key, const char *host, int64_t wall_ms, bool hash_is_header) {
    struct sign_pair headers[SIGN_PAIRS_MAX], query[SIGN_PAIRS_MAX];
    struct buf path = {0}, query_text = {0}, got = {0}, want = {0};
    char date[SIGN_DATE_TEXT], hash[SIGN_HASH_TEXT];
    sign_date(wall_ms, date);
    sign_hash(bytes_str(v->body), hash);
    sign_encode(bytes_str(v->path), true, &path);
    sign_query(query, pairs_of(v->query, query), &query_text);
    size_t count = pairs_of(v->headers, headers);
    headers[count++] = (struct sign_pair){bytes_str("x-amz-date"), bytes_str(date)};
    headers[count++] = (struct sign_pair){bytes_str("host"), bytes_str(host)};
    if (hash_is_header) headers[count++] = (struct sign_pair){bytes_str("x-amz-content-sha256"), bytes_str(hash)};
    struct sign_request request = {v->method, buf_bytes(&path), buf_bytes(&query_text), headers, count, hash, date};
    sign_authorization(key, &request, &got);
    buf_printf(&want, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s", key->access_key_id, date,
               key->region, key->service, v->signed_headers, v->signature);
    buf_put_byte(&got, 0);
    buf_put_byte(&want, 0);
    print_message("%s\n", v->name);
    assert_string_equal((char *)got.data, (char *)want.data);
    buf_fini(&path);
    buf_fini(&query_text);
    buf_fini(&got);
    buf_fini(&want);
}

#define UNRESERVED "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static void the_published_suite_is_signed_as_published(void **state) {
    (void)state;
    static const struct vector vectors[] = {
        {"get-vanilla", "GET", "/", {0}, {0}, "", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        {"post-vanilla", "POST", "/", {0}, {0}, "", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
        {"get-vanilla-query-order-key-case", "GET", "/", {"Param2", "value2", "Param1", "value1"}, {0}, "", "host;x-amz-date",
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        {"get-vanilla-empty-query-key", "GET", "/", {"Param1", "value1"}, {0}, "", "host;x-amz-date",
         "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
        {"get-vanilla-query-unreserved", "GET", "/", {UNRESERVED, UNRESERVED}, {0}, "", "host;x-amz-date",
         "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
        {"get-vanilla-utf8-query", "GET", "/", {"\xe1\x88\xb4", "bar"}, {0}, "", "host;x-amz-date",
         "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
        {"get-unreserved", "GET", "/" UNRESERVED, {0}, {0}, "", "host;x-amz-date",
         "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
        {"get-utf8", "GET", "/\xe1\x88\xb4", {0}, {0}, "", "host;x-amz-date",
         "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
        {"get-header-key-duplicate", "GET", "/", {0}, {"my-header1", "value2", "my-header1", "value2", "my-header1", "value1"}, "",
         "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
        {"get-header-value-order", "GET", "/", {0}, {"my-header1", "value4", "my-header1", "value1", "my-header1", "value3", "my-header1", "value2"}, "",
         "host;my-header1;x-amz-date", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
        {"get-header-value-trim", "GET", "/", {0}, {"my-header1", " value1", "my-header2", " \"a   b   c\""}, "",
         "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
        {"post-x-www-form-urlencoded", "POST", "/", {0}, {"content-type", "application/x-www-form-urlencoded"}, "Param1=value1",
         "content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        expect_signature(&vectors[i], &suite, "example.amazonaws.com", 1440938160000, false); /* 2015-08-30 12:36:00 */
}

static void the_examples_of_s3_are_signed_as_published(void **state) {
    (void)state;
    static const struct vector vectors[] = {
        {"GET object", "GET", "/test.txt", {0}, {"range", "bytes=0-9"}, "", "host;range;x-amz-content-sha256;x-amz-date",
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
        {"PUT object", "PUT", "/test$file.text", {0}, {"date", "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class", "REDUCED_REDUNDANCY"},
         "Welcome to Amazon S3.", "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
        {"GET bucket lifecycle", "GET", "/", {"lifecycle", ""}, {0}, "", "host;x-amz-content-sha256;x-amz-date",
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
        {"GET bucket, list objects", "GET", "/", {"prefix", "J", "max-keys", "2"}, {0}, "", "host;x-amz-content-sha256;x-amz-date",
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        expect_signature(&vectors[i], &s3, "examplebucket.s3.amazonaws.com", 1369353600000, true); /* 2013-05-24 */
}

static void expect_query(const char *const *words, const char *want) {
    struct sign_pair pairs[SIGN_PAIRS_MAX];
    struct buf out = {0};
    sign_query(pairs, pairs_of(words, pairs), &out);
    buf_put_byte(&out, 0);
    assert_string_equal((char *)out.data, want);
    buf_fini(&out);
}

static void a_query_is_ordered_as_it_is_encoded(void **state) {
    (void)state;
    expect_query((const char *const[]){"a-b", "1", "a", "2", NULL}, "a=2&a-b=1");
    expect_query((const char *const[]){"z", "1", "\xc3\xa9", "2", NULL}, "%C3%A9=2&z=1");
    expect_query((const char *const[]){"a", "2", "a", "10", "a", "1", NULL}, "a=1&a=10&a=2");
    expect_query((const char *const[]){"k y", "a+b/c", "uploads", "", NULL}, "k%20y=a%2Bb%2Fc&uploads=");
    expect_query((const char *const[]){NULL}, "");
}

static void dates_are_those_of_the_calendar(void **state) {
    (void)state;
    static const struct {
        int64_t s;
        const char *text;
    } dates[] = {{0, "19700101T000000Z"}, {951782399, "20000228T235959Z"}, {951782400, "20000229T000000Z"}, {951868800, "20000301T000000Z"},
                 {1735689599, "20241231T235959Z"}, {4107542400, "21000301T000000Z"}, {1709164800, "20240229T000000Z"}};
    char date[SIGN_DATE_TEXT];
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        sign_date(dates[i].s * 1000 + 999, date);
        assert_string_equal(date, dates[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_suite_is_signed_as_published), cmocka_unit_test(the_examples_of_s3_are_signed_as_published),
        cmocka_unit_test(a_query_is_ordered_as_it_is_encoded), cmocka_unit_test(dates_are_those_of_the_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
