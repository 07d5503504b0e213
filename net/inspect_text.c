#define _GNU_SOURCE /* strptime, timegm */
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/mem.h"
#include "net/inspect.h"

void inspect_say(const struct inspect *i, const char *format, ...) {
    va_list args;
    if (i->json) return;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

void inspect_found(struct inspect *i, const char *object, const char *what, const char *cost) {
    i->found++;
    if (i->action == INSPECT_VERIFY && i->json) {
        inspect_line(
            json_pack("{s:s, s:o, s:o, s:o}", "what", "problem", "object", inspect_json(bytes_str(object)), "problem",
                      inspect_json(bytes_str(what)), "cost", inspect_json(bytes_str(cost))));
        return;
    }
    fprintf(i->action == INSPECT_VERIFY ? stdout : stderr, "%s: %s%s%s\n", object, what, *cost ? "\n    " : "", cost);
}

void inspect_line(json_t *value) {
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(value);
}

json_t *inspect_json(struct bytes bytes) {
    json_t *text = json_stringn(bytes.len ? (const char *)bytes.data : "", bytes.len);
    if (text) return text;
    size_t size = sodium_base64_ENCODED_LEN(bytes.len, sodium_base64_VARIANT_ORIGINAL);
    char *encoded = mem_alloc(size);
    sodium_bin2base64(encoded, size, bytes.data, bytes.len, sodium_base64_VARIANT_ORIGINAL);
    json_t *value = json_pack("{s:s}", "base64", encoded);
    mem_free(encoded);
    return value;
}

void inspect_writer(char out[INSPECT_WRITER_BYTES], struct replica_id writer) {
    snprintf(out, INSPECT_WRITER_BYTES, "%016" PRIx64 "-%016" PRIx64, writer.node, writer.incarnation);
}

json_t *inspect_json_writer(struct replica_id writer) {
    char text[INSPECT_WRITER_BYTES];
    inspect_writer(text, writer);
    return json_string(text);
}

json_t *inspect_json_vclock(const struct replicas *replicas, const struct vclock *v) {
    json_t *object = json_object();
    char text[INSPECT_WRITER_BYTES];
    for (uint32_t r = 1; r < v->count; r++) {
        if (!v->counter[r]) continue;
        inspect_writer(text, replicas_id(replicas, (uint16_t)r));
        json_object_set_new(object, text, json_integer((json_int_t)v->counter[r]));
    }
    return object;
}

void inspect_time(char out[INSPECT_TIME_BYTES], int64_t unix_ms) {
    int64_t ms = (unix_ms % 1000 + 1000) % 1000;
    time_t seconds = (time_t)((unix_ms - ms) / 1000);
    struct tm tm;
    size_t len = gmtime_r(&seconds, &tm) ? strftime(out, INSPECT_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    if (len && len + 6 <= INSPECT_TIME_BYTES)
        snprintf(out + len, INSPECT_TIME_BYTES - len, ".%03dZ", (int)ms);
    else
        snprintf(out, INSPECT_TIME_BYTES, "%" PRId64 " ms", unix_ms); /* no year that a calendar has */
}

json_t *inspect_json_time(int64_t unix_ms) {
    char text[INSPECT_TIME_BYTES];
    inspect_time(text, unix_ms);
    return json_string(text);
}

/* ".5", ".123": milliseconds; what is finer is cut off. */
static const char *read_fraction(const char *at, int64_t *ms) {
    int64_t unit = 100;
    if (*at != '.') return at;
    for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10) *ms += (*at - '0') * unit;
    return at;
}

bool inspect_read_time(const char *text, int64_t *unix_ms) {
    struct tm tm = {0};
    int64_t ms = 0;
    if (bytes_to_i64(bytes_str(text), unix_ms)) return true;
    const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!at) return false;
    at = read_fraction(at, &ms);
    *unix_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return strcmp(at, "Z") == 0 || !*at;
}
