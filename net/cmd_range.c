/* Parts of strings: GETRANGE, SETRANGE, LCS. */
#include <stdlib.h>

#include "net/command.h"
#include "net/resp.h"

/* Redis's ends: negative ones count from the end; both are included. False: nothing is left. */
static bool clamp(int64_t *first, int64_t *last, size_t len) {
    int64_t size = (int64_t)len;
    if (*first < 0 && *last < 0 && *first > *last) return false;
    if (*first < 0) *first += size;
    if (*last < 0) *last += size;
    if (*first < 0) *first = 0;
    if (*last < 0) *last = 0;
    if (*last >= size) *last = size - 1;
    return size > 0 && *first <= *last;
}

void cmd_getrange(struct call *call) {
    int64_t first, last;
    if (!bytes_to_i64(call->argv[2], &first) || !bytes_to_i64(call->argv[3], &last)) {
        reply_not_integer(call);
        return;
    }
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    struct scratch scratch;
    struct bytes text = place.key ? key_string(place.shard, place.key, &scratch) : (struct bytes){0};
    bool some = clamp(&first, &last, text.len);
    resp_bulk(call->out, some ? bytes_of(text.data + first, (size_t)(last - first + 1)) : (struct bytes){0});
}

void cmd_setrange(struct call *call) {
    int64_t at;
    struct bytes part = call->argv[3];
    if (!bytes_to_i64(call->argv[2], &at)) {
        reply_not_integer(call);
        return;
    }
    if (at < 0) {
        resp_error(call->out, "ERR offset is out of range");
        return;
    }
    struct place place = call_place(call, call->argv[1]);
    if (!call_expects(call, &place, KEY_STRING)) return;
    struct scratch scratch;
    struct bytes old = place.key ? key_string(place.shard, place.key, &scratch) : (struct bytes){0};
    if (!part.len) {
        resp_integer(call->out, (int64_t)old.len);
        return;
    }
    if (!call_fits(call, (uint64_t)at + part.len)) return; /* of two numbers below 2^63 */
    struct buf text = {0};
    size_t end = (size_t)at + part.len, len = end > old.len ? end : old.len;
    buf_reserve(&text, len);
    memset(text.data, 0, len);
    if (old.len) memcpy(text.data, old.data, old.len);
    memcpy(text.data + at, part.data, part.len);
    text.len = len;
    shard_set(place.shard, place.ref, buf_bytes(&text), true, call->now_ms);
    resp_integer(call->out, (int64_t)len);
    buf_fini(&text);
}

/* --------------------------------------------------------------------- LCS */

#define LCS_CELLS_MAX (64u << 20) /* 256 MiB of lengths, while the command runs */

struct lcs_options {
    bool len, idx, with_len;
    int64_t least;
};

static bool read_options(struct call *call, struct lcs_options *o) {
    for (size_t i = 3; i < call->argc; i++) {
        if (bytes_is(call->argv[i], "len"))
            o->len = true;
        else if (bytes_is(call->argv[i], "idx"))
            o->idx = true;
        else if (bytes_is(call->argv[i], "withmatchlen"))
            o->with_len = true;
        else if (bytes_is(call->argv[i], "minmatchlen") && i + 1 < call->argc) {
            if (!bytes_to_i64(call->argv[++i], &o->least)) {
                reply_not_integer(call);
                return false;
            }
            if (o->least < 0) o->least = 0;
        } else {
            reply_syntax(call);
            return false;
        }
    }
    if (o->len && o->idx) resp_error(call->out, "ERR If you want both the length and indexes, please just use IDX.");
    return !(o->len && o->idx);
}

struct lcs {
    struct bytes a, b;
    uint32_t *table; /* (a.len + 1) x (b.len + 1) lengths of the prefixes' LCS */
    size_t width;
};

static uint32_t at(const struct lcs *l, size_t i, size_t j) { return l->table[i * l->width + j]; }

static void fill(struct lcs *l) {
    l->width = l->b.len + 1;
    l->table = mem_zero((l->a.len + 1) * l->width, sizeof *l->table);
    for (size_t i = 1; i <= l->a.len; i++)
        for (size_t j = 1; j <= l->b.len; j++) {
            uint32_t left = at(l, i, j - 1), up = at(l, i - 1, j);
            l->table[i * l->width + j] = l->a.data[i - 1] == l->b.data[j - 1] ? at(l, i - 1, j - 1) + 1 : left > up ? left : up;
        }
}

/* A run of the subsequence that is contiguous in both, by its last bytes. */
struct match {
    size_t a_end, b_end, len;
};

/* Walks back from the ends, so that runs and bytes come last first, as Redis gives them. */
static size_t walk(const struct lcs *l, uint8_t *text, struct match *matches) {
    size_t i = l->a.len, j = l->b.len, left = at(l, i, j), count = 0;
    struct match run = {0};
    while (i && j) {
        if (l->a.data[i - 1] == l->b.data[j - 1]) {
            text[--left] = l->a.data[i - 1];
            if (run.len && run.a_end - run.len == i - 1 && run.b_end - run.len == j - 1) {
                run.len++;
            } else {
                if (run.len) matches[count++] = run;
                run = (struct match){i - 1, j - 1, 1};
            }
            i--, j--;
        } else if (at(l, i - 1, j) > at(l, i, j - 1)) {
            i--;
        } else {
            j--;
        }
    }
    if (run.len) matches[count++] = run;
    return count;
}

static void put_range(struct call *call, size_t end, size_t len) {
    resp_array(call->out, 2);
    resp_integer(call->out, (int64_t)(end + 1 - len));
    resp_integer(call->out, (int64_t)end);
}

static void reply_matches(struct call *call, const struct match *matches, size_t count, const struct lcs_options *o, uint32_t len) {
    size_t shown = 0;
    for (size_t i = 0; i < count; i++) shown += (int64_t)matches[i].len >= o->least;
    resp_array(call->out, 4);
    resp_bulk(call->out, bytes_str("matches"));
    resp_array(call->out, shown);
    for (size_t i = 0; i < count; i++) {
        if ((int64_t)matches[i].len < o->least) continue;
        resp_array(call->out, 2 + (size_t)o->with_len);
        put_range(call, matches[i].a_end, matches[i].len);
        put_range(call, matches[i].b_end, matches[i].len);
        if (o->with_len) resp_integer(call->out, (int64_t)matches[i].len);
    }
    resp_bulk(call->out, bytes_str("len"));
    resp_integer(call->out, len);
}

static void reply_lcs(struct call *call, struct lcs *l, const struct lcs_options *o) {
    fill(l);
    uint32_t len = at(l, l->a.len, l->b.len);
    if (o->len) {
        resp_integer(call->out, len);
    } else {
        uint8_t *text = mem_alloc(len + 1u);
        struct match *matches = mem_alloc((len + 1u) * sizeof *matches);
        size_t count = walk(l, text, matches);
        if (o->idx)
            reply_matches(call, matches, count, o, len);
        else
            resp_bulk(call->out, bytes_of(text, len));
        mem_free(text);
        mem_free(matches);
    }
    mem_free(l->table);
}

void cmd_lcs(struct call *call) {
    struct lcs_options o = {0};
    struct place a = call_place(call, call->argv[1]), b = call_place(call, call->argv[2]);
    struct scratch a_scratch, b_scratch;
    if ((a.key && a.type != KEY_STRING) || (b.key && b.type != KEY_STRING)) {
        resp_error(call->out, "ERR The specified keys must contain string values");
        return;
    }
    if (!read_options(call, &o)) return;
    struct lcs l = {.a = a.key ? key_string(a.shard, a.key, &a_scratch) : (struct bytes){0},
                    .b = b.key ? key_string(b.shard, b.key, &b_scratch) : (struct bytes){0}};
    if ((uint64_t)(l.a.len + 1) * (l.b.len + 1) > LCS_CELLS_MAX)
        resp_error(call->out, "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    else
        reply_lcs(call, &l, &o);
}
