/* Two shapes of request. An array announces its arguments and each announces its length, so
 * the parser is a counter (args_left) and a flag (in_bulk) over a position. An inline command
 * is a line, cut only when its end is there.
 *
 * What makes small fragments costly is looking for a line end again from the line's start:
 * `scan` remembers where the last look ended. A bulk's bytes are never looked at. */
#include "net/resp.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>

#include "core/mem.h"

#define KEEP_ARGS 64         /* spans kept between commands */
#define KEEP_TEXT (4u << 10) /* inline text kept between commands */

void resp_init(struct resp_parser *p, const struct resp_limits *limits) {
    *p = (struct resp_parser){.limits = limits};
}

void resp_fini(struct resp_parser *p) {
    mem_free(p->spans);
    mem_free(p->argv);
    buf_fini(&p->text);
    *p = (struct resp_parser){0};
}

size_t resp_take(struct resp_parser *p) {
    size_t taken = p->start;
    p->pos -= taken;
    p->scan = p->scan > taken ? p->scan - taken : 0;
    p->start = 0;
    return taken;
}

size_t resp_missing(const struct resp_parser *p, size_t in_len) {
    if (!p->in_bulk) return 0;
    size_t end = p->pos + p->bulk_len + 2;
    return end > in_len ? end - in_len : 0;
}

static enum resp_result fail(struct resp_parser *p, const char *text) {
    snprintf(p->error, sizeof p->error, "Protocol error: %s", text);
    return RESP_ERROR;
}

/* Grows with arguments that arrived, never with a number that was announced. */
static void add(struct resp_parser *p, size_t at, size_t len) {
    if (p->argc == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 8;
        p->spans = mem_realloc(p->spans, p->cap * sizeof *p->spans);
        p->argv = mem_realloc(p->argv, p->cap * sizeof *p->argv);
    }
    p->spans[p->argc++] = (struct resp_span){at, len};
}

static void begin(struct resp_parser *p) {
    p->argc = 0;
    if (p->cap > KEEP_ARGS) {
        mem_free(p->spans);
        mem_free(p->argv);
        p->spans = NULL;
        p->argv = NULL;
        p->cap = 0;
    }
    buf_empty(&p->text, KEEP_TEXT);
}

static enum resp_result finish(struct resp_parser *p, const uint8_t *base, const struct bytes **argv, size_t *argc) {
    for (size_t i = 0; i < p->argc; i++) p->argv[i] = bytes_of(base + p->spans[i].at, p->spans[i].len);
    p->start = p->scan = p->pos;
    *argv = p->argv;
    *argc = p->argc;
    return RESP_COMMAND;
}

/* The number on the line that starts at pos with its type byte. RESP_COMMAND: *value, and pos
 * is past the line. As in Redis the byte after CR is taken for LF. */
static enum resp_result length_line(struct resp_parser *p, struct bytes in, int64_t *value, const char *long_text,
                                    const char *bad_text) {
    size_t from = p->scan > p->pos ? p->scan : p->pos;
    const uint8_t *cr = memchr(in.data + from, '\r', in.len - from);
    size_t end = cr ? (size_t)(cr - in.data) : in.len;
    p->scan = end;
    if (end - p->pos > p->limits->inline_bytes_max) return fail(p, long_text);
    if (end + 2 > in.len) return RESP_MORE;
    if (!bytes_to_i64(bytes_of(in.data + p->pos + 1, end - p->pos - 1), value)) return fail(p, bad_text);
    p->pos = p->scan = end + 2;
    return RESP_COMMAND;
}

static enum resp_result array_header(struct resp_parser *p, struct bytes in) {
    int64_t count = 0;
    enum resp_result r = length_line(p, in, &count, "too big mbulk count string", "invalid multibulk length");
    if (r != RESP_COMMAND) return r;
    if (count > 0 && (uint64_t)count > p->limits->args_max) return fail(p, "invalid multibulk length");
    if (p->stranger && count > 0 && (uint64_t)count > p->limits->stranger_args_max)
        return fail(p, "unauthenticated multibulk length");
    /* None or fewer is no command at all, and no error. */
    if (count <= 0) p->start = p->pos;
    p->args_left = count > 0 ? (size_t)count : 0;
    return RESP_COMMAND;
}

static enum resp_result bulk_header(struct resp_parser *p, struct bytes in) {
    if (p->pos == in.len) return RESP_MORE;
    uint8_t type = in.data[p->pos];
    if (type != '$') {
        char text[32];
        snprintf(text, sizeof text, "expected '$', got '%c'", isprint(type) ? type : '?');
        return fail(p, text);
    }
    int64_t len = 0;
    enum resp_result r = length_line(p, in, &len, "too big bulk count string", "invalid bulk length");
    if (r != RESP_COMMAND) return r;
    if (len < 0 || (uint64_t)len > p->limits->bulk_bytes_max) return fail(p, "invalid bulk length");
    if (p->stranger && (uint64_t)len > p->limits->stranger_bulk_bytes_max)
        return fail(p, "unauthenticated bulk length");
    if (p->pos - p->start + (size_t)len > p->limits->query_bytes_max) return fail(p, "too big request");
    p->in_bulk = true;
    p->bulk_len = (size_t)len;
    return RESP_COMMAND;
}

static enum resp_result array_args(struct resp_parser *p, struct bytes in) {
    while (p->args_left) {
        if (!p->in_bulk) {
            enum resp_result r = bulk_header(p, in);
            if (r != RESP_COMMAND) return r;
        }
        if (in.len - p->pos < p->bulk_len + 2) return RESP_MORE;
        add(p, p->pos - p->start, p->bulk_len);
        p->pos += p->bulk_len + 2;
        p->scan = p->pos;
        p->in_bulk = false;
        p->args_left--;
    }
    return RESP_COMMAND;
}

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t unescape(uint8_t c) {
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
    }
}

/* From after the opening quote to after the closing one; NULL if it does not close, or closes
 * with something other than space behind it. */
static const uint8_t *quoted(struct buf *text, const uint8_t *s, const uint8_t *end, uint8_t quote) {
    for (; s < end; s++) {
        if (*s == quote) return s + 1 == end || isspace(s[1]) ? s + 1 : NULL;
        uint8_t c = *s;
        if (quote == '"' && c == '\\' && end - s > 3 && s[1] == 'x' && hex(s[2]) >= 0 && hex(s[3]) >= 0) {
            c = (uint8_t)(hex(s[2]) * 16 + hex(s[3]));
            s += 3;
        } else if (quote == '"' && c == '\\' && end - s > 1) {
            c = unescape(*++s);
        } else if (quote == '\'' && c == '\\' && end - s > 1 && s[1] == '\'') {
            c = *++s;
        }
        buf_put_byte(text, c);
    }
    return NULL;
}

static bool split(struct resp_parser *p, const uint8_t *s, const uint8_t *end) {
    for (;;) {
        while (s < end && isspace(*s)) s++;
        if (s == end) return true;
        size_t at = p->text.len;
        while (s < end && !isspace(*s)) {
            if (*s == '"' || *s == '\'') {
                s = quoted(&p->text, s + 1, end, *s);
                if (!s) return false;
                break; /* a closing quote ends the argument */
            }
            buf_put_byte(&p->text, *s++);
        }
        add(p, at, p->text.len - at);
    }
}

static enum resp_result inline_line(struct resp_parser *p, struct bytes in) {
    size_t from = p->scan > p->pos ? p->scan : p->pos;
    const uint8_t *lf = memchr(in.data + from, '\n', in.len - from);
    size_t end = lf ? (size_t)(lf - in.data) : in.len;
    p->scan = end;
    if (end - p->pos > p->limits->inline_bytes_max) return fail(p, "too big inline request");
    if (!lf) return RESP_MORE;
    size_t stop = end > p->pos && in.data[end - 1] == '\r' ? end - 1 : end;
    buf_reserve(&p->text, stop - p->pos + 1); /* so that even empty arguments have an address */
    if (!split(p, in.data + p->pos, in.data + stop)) return fail(p, "unbalanced quotes in request");
    p->pos = p->scan = end + 1;
    if (!p->argc) p->start = p->pos;
    return RESP_COMMAND;
}

enum resp_result resp_next(struct resp_parser *p, struct bytes in, const struct bytes **argv, size_t *argc) {
    assert(p->start <= p->pos);
    assert(p->pos <= in.len);
    enum resp_result r = RESP_COMMAND;
    while (r == RESP_COMMAND) {
        if (!p->args_left) {
            if (p->pos == in.len) return RESP_MORE;
            begin(p);
            if (in.data[p->pos] != '*') {
                r = inline_line(p, in);
                if (r == RESP_COMMAND && p->argc) return finish(p, p->text.data, argv, argc);
                continue;
            }
            r = array_header(p, in);
            if (r != RESP_COMMAND || !p->args_left) continue;
        }
        r = array_args(p, in);
        if (r == RESP_COMMAND) return finish(p, in.data + p->start, argv, argc);
    }
    if (r == RESP_MORE && in.len - p->start > p->limits->query_bytes_max) return fail(p, "too big request");
    return r;
}

#define PEEK_ARGS 16u

/* "type digits CR LF" at *at, of at most six digits. */
static bool peek_length(struct bytes in, size_t *at, uint8_t type, size_t *out) {
    if (in.len - *at < 4 || in.data[*at] != type) return false;
    size_t from = *at + 1, i = from, value = 0;
    for (; i < in.len && i - from < 6 && (uint8_t)(in.data[i] - '0') < 10; i++) value = value * 10 + (size_t)(in.data[i] - '0');
    if (i == from || in.len - i < 2 || in.data[i] != '\r') return false;
    *at = i + 2;
    *out = value;
    return true;
}

bool resp_peek(struct bytes in, size_t *at, struct bytes *second) {
    size_t pos = *at, argc, len;
    *second = (struct bytes){0};
    if (pos >= in.len || !peek_length(in, &pos, '*', &argc) || argc == 0 || argc > PEEK_ARGS) return false;
    for (size_t i = 0; i < argc; i++) {
        if (pos >= in.len || !peek_length(in, &pos, '$', &len) || in.len - pos < len + 2) return false;
        if (i == 1) *second = bytes_of(in.data + pos, len);
        pos += len + 2;
    }
    *at = pos;
    return true;
}

/* Type byte, digits, CR LF into reserved room: what every length and number is. */
static void head(struct buf *out, char type, int64_t value) {
    buf_reserve(out, 32);
    char *at = (char *)out->data + out->len;
    size_t digits = 1;
    at[0] = type;
    if (value >= 0 && value < 10) at[1] = (char)('0' + value);
    else digits = bytes_from_i64(value, at + 1);
    memcpy(at + 1 + digits, "\r\n", 2);
    out->len += digits + 3;
}

static void line(struct buf *out, char type, const char *text) {
    size_t len = strlen(text);
    buf_reserve(out, len + 3);
    uint8_t *at = out->data + out->len;
    *at++ = (uint8_t)type;
    for (size_t i = 0; i < len; i++) *at++ = (uint8_t)(text[i] == '\r' || text[i] == '\n' ? ' ' : text[i]);
    memcpy(at, "\r\n", 2);
    out->len += len + 3;
}

void resp_status(struct buf *out, const char *text) { line(out, '+', text); }
void resp_error(struct buf *out, const char *text) { line(out, '-', text); }
void resp_integer(struct buf *out, int64_t value) { head(out, ':', value); }
void resp_array(struct buf *out, size_t count) { head(out, '*', (int64_t)count); }
void resp_null(struct buf *out) { buf_put(out, "$-1\r\n", 5); }
void resp_null_array(struct buf *out) { buf_put(out, "*-1\r\n", 5); }

void resp_bulk(struct buf *out, struct bytes bytes) {
    buf_reserve(out, bytes.len + 34);
    head(out, '$', (int64_t)bytes.len);
    uint8_t *at = out->data + out->len;
    if (bytes.len) memcpy(at, bytes.data, bytes.len);
    memcpy(at + bytes.len, "\r\n", 2);
    out->len += bytes.len + 2;
}

void resp_bulk_integer(struct buf *out, int64_t value) {
    char digits[24];
    resp_bulk(out, bytes_of(digits, bytes_from_i64(value, digits)));
}
