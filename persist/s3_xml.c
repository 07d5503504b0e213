#define _GNU_SOURCE /* memmem */
#include "persist/s3_xml.h"

static void skip(struct xml *xml, size_t len) { xml->rest = bytes_of(xml->rest.data + len, xml->rest.len - len); }

static bool begins(struct bytes text, const char *with) {
    size_t len = strlen(with);
    return text.len >= len && memcmp(text.data, with, len) == 0;
}

/* Past the next `end`; false: there is none. */
static bool skip_past(struct xml *xml, const char *end) {
    const void *at = xml->rest.len > 0 ? memmem(xml->rest.data, xml->rest.len, end, strlen(end)) : NULL;
    if (!at) return false;
    skip(xml, (size_t)((const uint8_t *)at - xml->rest.data) + strlen(end));
    return true;
}

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* The length of a tag's inside: up to the '>' that is in no quotes; SIZE_MAX: there is none. */
static size_t tag_length(struct bytes text) {
    uint8_t quote = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (quote) quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'') quote = c;
        else if (c == '<') return SIZE_MAX;
        else if (c == '>') return i;
    }
    return SIZE_MAX;
}

static struct bytes name_of(struct bytes tag) {
    size_t len = 0, from = 0;
    for (; len < tag.len && !is_space(tag.data[len]) && tag.data[len] != '/'; len++)
        if (tag.data[len] == ':') from = len + 1;
    return bytes_of(tag.data + from, len - from);
}

static enum xml_token close_element(struct xml *xml, struct bytes name, struct bytes *out) {
    if (xml->depth == 0 || !bytes_equal(xml->open[xml->depth - 1], name)) return XML_BAD;
    *out = xml->open[--xml->depth];
    return XML_CLOSE;
}

static enum xml_token read_tag(struct xml *xml, struct bytes *out) {
    skip(xml, 1);
    size_t len = tag_length(xml->rest);
    if (len == SIZE_MAX || len == 0) return XML_BAD;
    struct bytes tag = bytes_of(xml->rest.data, len);
    skip(xml, len + 1);
    if (tag.data[0] == '/') return close_element(xml, name_of(bytes_of(tag.data + 1, len - 1)), out);
    struct bytes name = name_of(tag);
    if (name.len == 0 || xml->depth == XML_DEPTH_MAX || (xml->depth == 0 && xml->seen)) return XML_BAD;
    xml->open[xml->depth++] = name;
    xml->seen = true;
    xml->closing = tag.data[len - 1] == '/';
    *out = name;
    return XML_OPEN;
}

/* Comments and instructions mean nothing to us; a declaration that begins with "<!" is refused. */
static bool skip_misc(struct xml *xml) {
    for (;;) {
        if (xml->depth == 0)
            while (xml->rest.len > 0 && is_space(xml->rest.data[0])) skip(xml, 1);
        if (begins(xml->rest, "<?")) {
            if (!skip_past(xml, "?>")) return false;
        } else if (begins(xml->rest, "<!--")) {
            if (!skip_past(xml, "-->")) return false;
        } else {
            return !begins(xml->rest, "<!");
        }
    }
}

static enum xml_token next(struct xml *xml, struct bytes *out) {
    if (xml->closing) {
        xml->closing = false;
        return close_element(xml, xml->open[xml->depth - 1], out);
    }
    if (!skip_misc(xml)) return XML_BAD;
    if (xml->rest.len == 0) return xml->depth == 0 && xml->seen ? XML_END : XML_BAD;
    if (xml->rest.data[0] == '<') return read_tag(xml, out);
    if (xml->depth == 0) return XML_BAD;
    const uint8_t *end = memchr(xml->rest.data, '<', xml->rest.len);
    if (!end) return XML_BAD;
    *out = bytes_of(xml->rest.data, (size_t)(end - xml->rest.data));
    skip(xml, out->len);
    return XML_TEXT;
}

enum xml_token xml_next(struct xml *xml, struct bytes *out) {
    enum xml_token token = next(xml, out);
    if (token == XML_BAD) *xml = (struct xml){.seen = false}; /* nothing is left, and no root was there: BAD again */
    return token;
}

/* ---------------------------------------------------------------- entities */

static void put_character(uint32_t c, struct buf *out) {
    if (c < 0x80) return buf_put_byte(out, (uint8_t)c);
    if (c >= 0x10000) buf_put_byte(out, (uint8_t)(0xf0 | c >> 18));
    if (c >= 0x10000) buf_put_byte(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
    else if (c >= 0x800) buf_put_byte(out, (uint8_t)(0xe0 | c >> 12));
    if (c >= 0x800) buf_put_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    else buf_put_byte(out, (uint8_t)(0xc0 | c >> 6));
    buf_put_byte(out, (uint8_t)(0x80 | (c & 0x3f)));
}

/* "#65" or "#x41". */
static bool put_number(struct bytes text, struct buf *out) {
    bool hex = text.len > 1 && (text.data[1] == 'x' || text.data[1] == 'X');
    uint32_t c = 0;
    size_t from = hex ? 2 : 1;
    if (text.len <= from || text.len > from + 7) return false;
    for (size_t i = from; i < text.len; i++) {
        uint8_t d = text.data[i], lower = d | 0x20;
        if (d >= '0' && d <= '9') c = c * (hex ? 16 : 10) + (uint32_t)(d - '0');
        else if (hex && lower >= 'a' && lower <= 'f') c = c * 16 + (uint32_t)(lower - 'a' + 10);
        else return false;
    }
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return false;
    put_character(c, out);
    return true;
}

static bool put_entity(struct bytes name, struct buf *out) {
    static const struct {
        const char *name;
        char c;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    if (name.len > 0 && name.data[0] == '#') return put_number(name, out);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!bytes_equal(name, bytes_str(known[i].name))) continue;
        buf_put_byte(out, (uint8_t)known[i].c);
        return true;
    }
    return false;
}

bool xml_decode(struct bytes text, struct buf *out) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '&') {
            buf_put_byte(out, text.data[i]);
            continue;
        }
        const uint8_t *end = memchr(text.data + i, ';', text.len - i);
        if (!end || !put_entity(bytes_of(text.data + i + 1, (size_t)(end - text.data) - i - 1), out)) return false;
        i = (size_t)(end - text.data);
    }
    return true;
}
