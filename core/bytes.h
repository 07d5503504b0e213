/* Byte strings: a borrowed view, and a growable buffer that owns.
 *
 * Out of memory is a programmer-visible abort (see core/mem.h): every length that comes
 * from outside is bounded before it reaches these. Not thread-safe. */
#ifndef ANNEAL_CORE_BYTES_H
#define ANNEAL_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A view; owns nothing. data may be NULL only when len is 0. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len) {
    return (struct bytes){(const uint8_t *)data, len};
}
static inline struct bytes bytes_str(const char *text) { return bytes_of(text, strlen(text)); }
static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
/* Lexicographic, shorter first on a tie: <0, 0, >0. */
int bytes_compare(struct bytes a, struct bytes b);
/* Case-insensitive comparison with a C string (ASCII). */
bool bytes_is(struct bytes a, const char *word);
/* Strict signed decimal as Redis reads it: no spaces, no leading '+' or zeros. */
bool bytes_to_i64(struct bytes a, int64_t *out);
/* Digits of value into out (at least 24 bytes, not terminated); returns their count. */
size_t bytes_from_i64(int64_t value, char *out);

/* Owned, growable; starts as {0}. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};

void buf_grow(struct buf *buf, size_t more); /* see buf_reserve */
/* Room for `more` bytes past len. */
static inline void buf_reserve(struct buf *buf, size_t more) {
    if (buf->cap - buf->len < more) buf_grow(buf, more);
}
static inline void buf_put_byte(struct buf *buf, uint8_t byte) {
    buf_reserve(buf, 1);
    buf->data[buf->len++] = byte;
}
static inline void buf_put(struct buf *buf, const void *data, size_t len) {
    if (len == 0) return;
    buf_reserve(buf, len);
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}
static inline void buf_put_bytes(struct buf *buf, struct bytes bytes) { buf_put(buf, bytes.data, bytes.len); }
void buf_put_str(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_drop_front(struct buf *buf, size_t len); /* len <= buf->len */
void buf_fini(struct buf *buf);                   /* frees, and leaves it {0} */
/* Empties it; it keeps its memory for the next use, unless that is more than `keep`. */
static inline void buf_empty(struct buf *buf, size_t keep) {
    buf->len = 0;
    if (buf->cap > keep) buf_fini(buf);
}
static inline struct bytes buf_bytes(const struct buf *buf) {
    return (struct bytes){buf->data, buf->len};
}

#endif
