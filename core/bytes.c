#include "core/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "core/mem.h"

int bytes_compare(struct bytes a, struct bytes b) {
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order != 0) return order;
    return (a.len > b.len) - (a.len < b.len);
}

bool bytes_is(struct bytes a, const char *word) {
    size_t len = strlen(word);
    return a.len == len && (len == 0 || strncasecmp((const char *)a.data, word, len) == 0);
}

bool bytes_to_i64(struct bytes a, int64_t *out) {
    if (a.len == 0 || a.len > 20) return false;
    size_t at = 0;
    bool negative = a.data[0] == '-';
    if (negative) at++;
    if (at == a.len) return false;
    if (a.data[at] == '0' && (a.len > at + 1 || negative)) return false;
    uint64_t value = 0;
    for (; at < a.len; at++) {
        unsigned digit = (unsigned)a.data[at] - '0';
        if (digit > 9) return false;
        if (__builtin_mul_overflow(value, 10u, &value)) return false;
        if (__builtin_add_overflow(value, digit, &value)) return false;
    }
    if (value > (uint64_t)INT64_MAX + (negative ? 1u : 0u)) return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

size_t bytes_from_i64(int64_t value, char *out) {
    char reversed[24];
    size_t count = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        reversed[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    size_t len = 0;
    if (value < 0) out[len++] = '-';
    while (count > 0) out[len++] = reversed[--count];
    return len;
}

void buf_grow(struct buf *buf, size_t more) {
    size_t need = buf->len + more, cap = buf->cap ? buf->cap : 64;
    while (cap < need) cap += cap / 2 + 64;
    buf->data = mem_realloc(buf->data, cap);
    buf->cap = cap;
}

void buf_put_str(struct buf *buf, const char *text) { buf_put(buf, text, strlen(text)); }

void buf_printf(struct buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        buf_reserve(buf, (size_t)len + 1);
        vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void buf_drop_front(struct buf *buf, size_t len) {
    if (len < buf->len) memmove(buf->data, buf->data + len, buf->len - len);
    buf->len -= len;
}

void buf_fini(struct buf *buf) {
    mem_free(buf->data);
    *buf = (struct buf){0};
}
