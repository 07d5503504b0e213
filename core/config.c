#include "core/config.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/mem.h"

struct value {
    _Atomic int64_t number;
    struct buf text; /* STRING only; with the lock */
    bool changed;    /* since the start: for rewriting; with `setting` */
};

struct config {
    const struct config_option *table;
    size_t count;
    struct value *values;
    pthread_mutex_t lock;    /* of the texts; held for a copy only */
    pthread_mutex_t setting; /* one setter at a time, and none while rewriting */
};

/* ------------------------------------------------------------------ values */

static bool read_bool(struct bytes text, int64_t *out) {
    *out = bytes_is(text, "yes");
    return *out || bytes_is(text, "no");
}

/* As in redis.conf: k is 1000, kb is 1024, and so on. */
static bool read_size(struct bytes text, int64_t *out) {
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1000}, {"m", 1000000}, {"g", 1000000000}, {"b", 1}};
    if (!text.len) return false;
    size_t digits = 0;
    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9') digits++;
    struct bytes unit = bytes_of(text.data + digits, text.len - digits);
    int64_t factor = unit.len == 0;
    for (size_t i = 0; i < sizeof units / sizeof *units && !factor; i++)
        if (bytes_is(unit, units[i].unit)) factor = units[i].factor;
    int64_t number;
    return factor && bytes_to_i64(bytes_of(text.data, digits), &number) && !__builtin_mul_overflow(number, factor, out);
}

/* The nth of "a|b|c"; empty beyond the last. */
static struct bytes choice_at(const char *choices, int64_t n) {
    while (n-- > 0) {
        choices = strchr(choices, '|');
        if (!choices) return (struct bytes){0};
        choices++;
    }
    return bytes_of(choices, strcspn(choices, "|"));
}

static bool read_choice(const char *choices, struct bytes text, int64_t *out) {
    struct bytes choice;
    for (*out = 0; (choice = choice_at(choices, *out)).len; ++*out) {
        char word[64];
        if (choice.len >= sizeof word) continue;
        memcpy(word, choice.data, choice.len);
        word[choice.len] = 0;
        if (bytes_is(text, word)) return true;
    }
    return false;
}

static void say_choices(const char *choices, struct buf *error) {
    buf_put_str(error, "argument(s) must be one of the following: ");
    for (; *choices; choices++) {
        buf_put_byte(error, *choices == '|' ? ',' : (uint8_t)*choices);
        if (*choices == '|') buf_put_byte(error, ' ');
    }
}

static void say_range(const struct config_option *o, struct buf *error) {
    buf_printf(error, "argument must be between %lld and %lld inclusive", (long long)o->least, (long long)o->most);
}

static bool is_within(const struct config_option *o, int64_t number, struct buf *error) {
    bool is = number >= o->least && number <= o->most;
    if (!is) say_range(o, error);
    return is;
}

/* The number that stands for the text, or why it is none, in Redis's words. */
static bool judge(const struct config_option *o, struct bytes text, int64_t *out, struct buf *error) {
    *out = 0;
    switch (o->kind) {
    case CONFIG_BOOL:
        if (read_bool(text, out)) return true;
        buf_put_str(error, "argument must be 'yes' or 'no'");
        return false;
    case CONFIG_CHOICE:
        if (read_choice(o->choices, text, out)) return true;
        say_choices(o->choices, error);
        return false;
    case CONFIG_INTEGER:
        if (bytes_to_i64(text, out)) return is_within(o, *out, error);
        buf_put_str(error, "argument couldn't be parsed into an integer");
        return false;
    case CONFIG_BYTES:
        if (read_size(text, out)) return is_within(o, *out, error);
        buf_put_str(error, "argument must be a memory value");
        return false;
    case CONFIG_STRING:
        if (!text.len || !memchr(text.data, 0, text.len)) return true;
        buf_put_str(error, "argument must not hold a zero byte");
        return false;
    }
    return false;
}

/* What judge has accepted. */
static void assign(struct config *c, size_t option, struct bytes text, int64_t number) {
    struct value *v = &c->values[option];
    atomic_store(&v->number, number);
    if (c->table[option].kind == CONFIG_STRING) {
        pthread_mutex_lock(&c->lock);
        v->text.len = 0;
        buf_put_bytes(&v->text, text);
        pthread_mutex_unlock(&c->lock);
    }
    v->changed = true;
}

static bool find(const struct config *c, struct bytes name, size_t *out) {
    for (*out = 0; *out < c->count; ++*out)
        if (bytes_is(name, c->table[*out].name)) return true;
    return false;
}

struct config *config_new(const struct config_option *table, size_t count) {
    struct config *c = mem_zero(1, sizeof *c);
    c->table = table;
    c->count = count;
    c->values = mem_zero(count, sizeof *c->values);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->setting, NULL);
    for (size_t i = 0; i < count; i++) {
        struct buf error = {0};
        int64_t number;
        bool good = judge(&table[i], bytes_str(table[i].initial), &number, &error);
        assert(good);
        (void)good;
        buf_fini(&error);
        assign(c, i, bytes_str(table[i].initial), number);
        c->values[i].changed = false;
    }
    return c;
}

void config_free(struct config *c) {
    for (size_t i = 0; i < c->count; i++) buf_fini(&c->values[i].text);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->setting);
    mem_free(c->values);
    mem_free(c);
}

/* ------------------------------------------------------------------- lines */

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\r'; }

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t unescape(uint8_t c) {
    return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c == 'b' ? '\b' : c == 'a' ? '\a' : c;
}

/* The part behind a quote, up to its end; false if there is none. */
static bool read_quoted(struct bytes line, size_t *at, struct buf *word) {
    uint8_t quote = line.data[(*at)++];
    for (; *at < line.len; ++*at) {
        uint8_t c = line.data[*at];
        size_t left = line.len - *at;
        if (c == quote) {
            ++*at;
            return *at == line.len || is_space(line.data[*at]);
        }
        if (c == '\\' && quote == '"' && left > 3 && line.data[*at + 1] == 'x' && hex(line.data[*at + 2]) >= 0 &&
            hex(line.data[*at + 3]) >= 0) {
            buf_put_byte(word, (uint8_t)(hex(line.data[*at + 2]) * 16 + hex(line.data[*at + 3])));
            *at += 3;
        } else if (c == '\\' && left > 1 && (quote == '"' || line.data[*at + 1] == '\'')) {
            ++*at;
            buf_put_byte(word, quote == '"' ? unescape(line.data[*at]) : line.data[*at]);
        } else {
            buf_put_byte(word, c);
        }
    }
    return false;
}

/* The next word; false at the end of the line, or with *bad. */
static bool next_word(struct bytes line, size_t *at, struct buf *word, bool *bad) {
    word->len = 0;
    while (*at < line.len && is_space(line.data[*at])) ++*at;
    if (*at == line.len) return false;
    if (line.data[*at] == '"' || line.data[*at] == '\'') {
        *bad = !read_quoted(line, at, word);
        return !*bad;
    }
    while (*at < line.len && !is_space(line.data[*at])) buf_put_byte(word, line.data[(*at)++]);
    return true;
}

static enum status load_pair(struct config *c, struct bytes name, struct bytes value, struct buf *error) {
    size_t option;
    int64_t number;
    struct buf why = {0};
    bool found = find(c, name, &option), good = found && judge(&c->table[option], value, &number, &why);
    if (good)
        assign(c, option, value, number);
    else if (found)
        buf_printf(error, "'%s': %.*s", c->table[option].name, (int)why.len, (char *)why.data);
    else
        buf_printf(error, "unknown option '%.*s'; --help lists all", (int)(name.len > 64 ? 64 : name.len), (const char *)name.data);
    buf_fini(&why);
    return good ? STATUS_OK : STATUS_ERR_INVALID;
}

static enum status load_line(struct config *c, struct bytes line, struct buf *error) {
    struct buf name = {0}, value = {0}, more = {0};
    size_t at = 0;
    bool bad = false;
    enum status status = STATUS_OK;
    bool named = next_word(line, &at, &name, &bad);
    if (named && name.len && name.data[0] == '#') goto out;
    bool valued = named && next_word(line, &at, &value, &bad);
    bool extra = valued && next_word(line, &at, &more, &bad);
    if (!named && !bad) goto out;
    status = STATUS_ERR_INVALID;
    if (bad)
        buf_put_str(error, "unbalanced quotes");
    else if (!valued)
        buf_printf(error, "'%.*s' has no value", (int)(name.len > 64 ? 64 : name.len), (char *)name.data);
    else if (extra)
        buf_printf(error, "'%.*s' has more than one value; use quotes", (int)(name.len > 64 ? 64 : name.len), (char *)name.data);
    else
        status = load_pair(c, buf_bytes(&name), buf_bytes(&value), error);
out:
    buf_fini(&name);
    buf_fini(&value);
    buf_fini(&more);
    return status;
}

static struct bytes line_at(struct bytes text, size_t at) {
    const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
    return bytes_of(text.data + at, end ? (size_t)(end - text.data) - at : text.len - at);
}

enum status config_load_text(struct config *c, const char *source, struct bytes text, struct buf *error) {
    struct buf why = {0};
    enum status status = STATUS_OK;
    unsigned number = 1;
    for (size_t at = 0; at < text.len && status == STATUS_OK; number++) {
        struct bytes line = line_at(text, at);
        status = load_line(c, line, &why);
        at += line.len + 1;
    }
    if (status != STATUS_OK) buf_printf(error, "%s:%u: %.*s", source, number - 1, (int)why.len, (char *)why.data);
    buf_fini(&why);
    return status;
}

enum status config_load_args(struct config *c, int argc, char *const *argv, struct buf *error) {
    for (int i = 0; i < argc; i += 2) {
        if (strncmp(argv[i], "--", 2) != 0) {
            buf_printf(error, "'%s': options are --name value", argv[i]);
            return STATUS_ERR_INVALID;
        }
        if (i + 1 == argc) {
            buf_printf(error, "'%s' has no value", argv[i]);
            return STATUS_ERR_INVALID;
        }
        enum status status = load_pair(c, bytes_str(argv[i] + 2), bytes_str(argv[i + 1]), error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

/* What a pair is about to change. */
struct change {
    size_t option;
    int64_t number;
};

static bool is_named_before(const struct change *changes, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (changes[j].option == changes[i].option) return true;
    return false;
}

static enum status judge_name(const struct config *c, struct bytes name, struct change *changes, size_t i, struct buf *error) {
    if (!find(c, name, &changes[i].option)) return STATUS_ERR_NOT_FOUND;
    if (!(c->table[changes[i].option].flags & CONFIG_LIVE))
        buf_put_str(error, "can't set immutable config");
    else if (is_named_before(changes, i))
        buf_put_str(error, "duplicate parameter");
    else
        return STATUS_OK;
    return STATUS_ERR_INVALID;
}

/* All names, then all values, as Redis does: which error is told depends on it. */
static enum status judge_pairs(const struct config *c, const struct config_pair *pairs, size_t count, struct change *changes,
                               size_t *failed, struct buf *error) {
    for (size_t i = 0; i < count; i++) {
        enum status status = judge_name(c, pairs[i].name, changes, i, error);
        *failed = i;
        if (status != STATUS_OK) return status;
    }
    for (size_t i = 0; i < count; i++) {
        *failed = i;
        if (!judge(&c->table[changes[i].option], pairs[i].value, &changes[i].number, error)) return STATUS_ERR_INVALID;
    }
    return STATUS_OK;
}

enum status config_set(struct config *c, const struct config_pair *pairs, size_t count, size_t *failed, struct buf *error) {
    /* More pairs than options hold a name twice or an unknown one among the first count + 1. */
    size_t judged = count > c->count + 1 ? c->count + 1 : count;
    struct change *changes = mem_zero(judged + 1, sizeof *changes);
    enum status status = judge_pairs(c, pairs, judged, changes, failed, error);
    assert(status != STATUS_OK || judged == count);
    pthread_mutex_lock(&c->setting);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) assign(c, changes[i].option, pairs[i].value, changes[i].number);
    pthread_mutex_unlock(&c->setting);
    mem_free(changes);
    return status;
}

/* ----------------------------------------------------------------- reading */

bool config_bool(const struct config *c, int option) { return config_integer(c, option) != 0; }

int64_t config_integer(const struct config *c, int option) {
    assert(option >= 0 && (size_t)option < c->count);
    return atomic_load_explicit(&c->values[option].number, memory_order_relaxed);
}

void config_string(const struct config *c, int option, struct buf *out) {
    assert(c->table[option].kind == CONFIG_STRING);
    pthread_mutex_t *lock = (pthread_mutex_t *)&c->lock;
    pthread_mutex_lock(lock);
    buf_put_bytes(out, buf_bytes(&c->values[option].text));
    pthread_mutex_unlock(lock);
}

void config_text(const struct config *c, int option, struct buf *out) {
    const struct config_option *o = &c->table[option];
    int64_t number = config_integer(c, option);
    switch (o->kind) {
    case CONFIG_STRING: config_string(c, option, out); break;
    case CONFIG_BOOL: buf_put_str(out, number ? "yes" : "no"); break;
    case CONFIG_CHOICE: buf_put_bytes(out, choice_at(o->choices, number)); break;
    case CONFIG_INTEGER:
    case CONFIG_BYTES: buf_printf(out, "%lld", (long long)number); break;
    }
}

const struct config_option *config_table(const struct config *c, size_t *count) {
    *count = c->count;
    return c->table;
}

/* --------------------------------------------------------------- rewriting */

static void put_quoted(struct buf *out, struct bytes text) {
    bool plain = text.len > 0 && text.data[0] != '#';
    for (size_t i = 0; i < text.len; i++) plain = plain && text.data[i] > ' ' && text.data[i] < 127 && !strchr("\"'\\", text.data[i]);
    if (plain) {
        buf_put_bytes(out, text);
        return;
    }
    buf_put_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < ' ' || c >= 127)
            buf_printf(out, "\\x%02x", c);
        else
            buf_put_byte(out, c);
    }
    buf_put_byte(out, '"');
}

static void put_option(const struct config *c, size_t option, struct buf *out) {
    struct buf text = {0};
    config_text(c, (int)option, &text);
    buf_printf(out, "%s ", c->table[option].name);
    put_quoted(out, buf_bytes(&text));
    buf_put_byte(out, '\n');
    buf_fini(&text);
}

/* Which option a line sets; false for comments and what is not ours. */
static bool option_of_line(const struct config *c, struct bytes line, size_t *option) {
    struct buf name = {0};
    size_t at = 0;
    bool bad = false, found = next_word(line, &at, &name, &bad) && find(c, buf_bytes(&name), option);
    buf_fini(&name);
    return found;
}

void config_rewrite(const struct config *c, struct bytes old, struct buf *out) {
    bool *done = mem_zero(c->count, sizeof *done);
    pthread_mutex_t *setting = (pthread_mutex_t *)&c->setting;
    pthread_mutex_lock(setting);
    for (size_t at = 0; at < old.len;) {
        struct bytes line = line_at(old, at);
        size_t option;
        at += line.len + 1;
        if (!option_of_line(c, line, &option)) {
            buf_put_bytes(out, line);
            buf_put_byte(out, '\n');
        } else if (!done[option]) {
            put_option(c, option, out);
            done[option] = true;
        }
    }
    for (size_t i = 0; i < c->count; i++)
        if (c->values[i].changed && !done[i]) put_option(c, i, out);
    pthread_mutex_unlock(setting);
    mem_free(done);
}

void config_help(const struct config *c, struct buf *out) {
    for (size_t i = 0; i < c->count; i++) {
        const struct config_option *o = &c->table[i];
        buf_printf(out, "  --%-28s %s", o->name, o->help);
        if (*o->choices) buf_printf(out, " (%s)", o->choices);
        buf_printf(out, " [%s]\n", *o->initial ? o->initial : "empty");
    }
}
