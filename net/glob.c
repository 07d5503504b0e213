/* Only the last star need ever be tried again: what an earlier star could give up, the later
 * one can take. So one place to return to is enough, and there is no recursion. */
#include "net/glob.h"

static uint8_t fold(uint8_t c, bool nocase) { return nocase && c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c; }

/* A class from after its '['; *at moves past its ']'. An unclosed one ends with the pattern. */
static bool class_has(struct bytes p, size_t *at, uint8_t c, bool nocase) {
    size_t i = *at;
    bool negate = i < p.len && p.data[i] == '^', has = false;
    for (i += negate; i < p.len && p.data[i] != ']'; i++) {
        if (p.data[i] == '\\' && p.len - i >= 2) {
            has |= fold(p.data[++i], nocase) == c;
        } else if (p.len - i >= 3 && p.data[i + 1] == '-') {
            uint8_t a = fold(p.data[i], nocase), b = fold(p.data[i + 2], nocase);
            has |= a <= b ? a <= c && c <= b : b <= c && c <= a;
            i += 2;
        } else {
            has |= fold(p.data[i], nocase) == c;
        }
    }
    *at = i < p.len ? i + 1 : i;
    return has != negate;
}

/* One element that is not a star against one byte; *at moves past the element. */
static bool one(struct bytes p, size_t *at, uint8_t c, bool nocase) {
    c = fold(c, nocase);
    uint8_t e = p.data[(*at)++];
    if (e == '?') return true;
    if (e == '[') return class_has(p, at, c, nocase);
    if (e == '\\' && *at < p.len) e = p.data[(*at)++];
    return fold(e, nocase) == c;
}

bool glob_match(struct bytes p, struct bytes text, bool nocase) {
    size_t at = 0, t = 0, star = SIZE_MAX, star_t = 0;
    while (t < text.len) {
        if (at < p.len && p.data[at] == '*') {
            star = ++at;
            star_t = t;
            if (at == p.len) return true;
        } else if (at < p.len && one(p, &at, text.data[t], nocase)) {
            t++;
        } else if (star != SIZE_MAX) {
            at = star;
            t = ++star_t;
        } else {
            return false;
        }
    }
    while (at < p.len && p.data[at] == '*') at++;
    return at == p.len;
}
