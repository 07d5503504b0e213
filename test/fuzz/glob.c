/* glob_match against a matcher of another make: one row of a table for each element of the
 * pattern, which says after how many bytes of the text one can be there.
 *
 * input := nocase, pattern length, pattern, text */
#include "net/glob.h"

#include <ctype.h>

#include "test/fuzz/fuzz.h"

#define TEXT_MAX 256

static bool equal(uint8_t a, uint8_t b, bool nocase) { return nocase ? tolower(a) == tolower(b) : a == b; }

/* The end of the class that begins at p[at], behind its bracket, and whether c is in it. */
static size_t read_class(struct bytes p, size_t at, uint8_t c, bool nocase, bool *in) {
    bool negated = at < p.len && p.data[at] == '^', found = false;
    if (negated) at++;
    while (at < p.len && p.data[at] != ']') {
        uint8_t from = p.data[at], to = from;
        if (from == '\\' && at + 1 < p.len) {
            from = to = p.data[at + 1];
            at += 2;
        } else if (at + 2 < p.len && p.data[at + 1] == '-') {
            to = p.data[at + 2];
            at += 3;
        } else {
            at++;
        }
        int low = nocase ? tolower(from) : from, high = nocase ? tolower(to) : to, it = nocase ? tolower(c) : c;
        found = found || (low <= it && it <= high) || (high <= it && it <= low);
    }
    *in = found != negated;
    return at < p.len ? at + 1 : at;
}

/* The element at p[at]: where the next begins, and whether it takes c. */
static size_t read_one(struct bytes p, size_t at, uint8_t c, bool nocase, bool *in) {
    if (p.data[at] == '[') return read_class(p, at + 1, c, nocase, in);
    if (p.data[at] == '\\' && at + 1 < p.len)
        at++;
    else if (p.data[at] == '?') {
        *in = true;
        return at + 1;
    }
    *in = equal(p.data[at], c, nocase);
    return at + 1;
}

static bool matches(struct bytes p, struct bytes text, bool nocase) {
    bool here[TEXT_MAX + 1] = {true}, next[TEXT_MAX + 1];
    for (size_t at = 0, end = 0; at < p.len; at = end) {
        bool in;
        memset(next, 0, sizeof next);
        if (p.data[at] == '*') {
            end = at + 1;
            next[0] = here[0];
            for (size_t i = 1; i <= text.len; i++) next[i] = next[i - 1] || here[i];
        } else {
            end = read_one(p, at, 0, nocase, &in);
            for (size_t i = 0; i < text.len; i++) {
                read_one(p, at, text.data[i], nocase, &in);
                next[i + 1] = here[i] && in;
            }
        }
        memcpy(here, next, sizeof here);
    }
    return here[text.len];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    bool nocase = input_byte(&in) & 1;
    size_t len = input_byte(&in);
    struct bytes pattern = fuzz_exact(input_bytes(&in, len)), text = fuzz_exact(input_bytes(&in, TEXT_MAX));
    CHECK(glob_match(pattern, text, nocase) == matches(pattern, text, nocase));
    fuzz_exact_free(pattern);
    fuzz_exact_free(text);
    return 0;
}

void fuzz_seeds(void) {
    static const char *const pairs[][2] = {{"*", "abc"},
                                           {"h?llo", "hello"},
                                           {"h[a-e]llo", "hello"},
                                           {"h[^e]llo", "hallo"},
                                           {"a*b*c*d", "axbxcxd"},
                                           {"\\*\\?", "*?"},
                                           {"[\\]a-]*", "]-"},
                                           {"[z-a]x[", "mx"},
                                           {"*aaaa*aaab", "aaaaaaaaaaaaaaaaaaaaaaab"},
                                           {"USER:[0-9]*", "user:12"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct buf seed = {0};
        buf_put_byte(&seed, (uint8_t)i);
        buf_put_byte(&seed, (uint8_t)strlen(pairs[i][0]));
        buf_put_str(&seed, pairs[i][0]);
        buf_put_str(&seed, pairs[i][1]);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
