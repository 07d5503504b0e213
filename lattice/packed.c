#include "lattice/packed.h"

#include <assert.h>

#include "core/mutant.h"
#include "lattice/varint.h"

/* --------------------------------------------------------------- numbers */

/* As few bytes as it takes, low ones first, behind a byte that says how many. */
static size_t number_len(__int128 number) {
    unsigned __int128 size = (unsigned __int128)(number < 0 ? ~number : number);
    uint64_t high = (uint64_t)(size >> 64), low = (uint64_t)size;
    unsigned bits = high ? 128u - (unsigned)__builtin_clzll(high) : low ? 64u - (unsigned)__builtin_clzll(low) : 0;
    return 1 + bits / 8 + 1; /* with one for the sign */
}

static uint8_t *put_number(uint8_t *at, __int128 number) {
    size_t len = number_len(number);
    *at = (uint8_t)(len - 1);
    memcpy(at + 1, &number, len - 1);
    return at + len;
}

static __int128 take_number(const uint8_t **at) {
    size_t len = **at;
    unsigned above = 128 - 8 * (unsigned)len;
    unsigned __int128 number = 0;
    memcpy(&number, *at + 1, len);
    *at += 1 + len;
    return (__int128)(number << above) >> above; /* the sign goes up */
}

/* ------------------------------------------------------------------ dots */

static size_t dot_size(uint16_t replica, uint64_t counter) { return varint_len(replica) + varint_len(counter) + sizeof(uint64_t); }

static uint8_t *put_dot(uint8_t *at, uint16_t replica, uint64_t counter, uint64_t clock) {
    at = varint_put(varint_put(at, replica), counter);
    memcpy(at, &clock, sizeof clock);
    return at + sizeof clock;
}

static struct dot take_dot(const uint8_t **at, uint64_t *clock) {
    uint16_t replica = (uint16_t)varint_take(at);
    struct dot dot = dot_make(replica, varint_take(at));
    memcpy(clock, *at, sizeof *clock);
    *at += sizeof *clock;
    return dot;
}

/* ---------------------------------------------------------------- counts */

static size_t count_size(const struct increment *i) {
    return dot_size(i->replica, i->n) + varint_len(i->gen) + number_len(i->total) + varint_len(i->floor_n) +
           (i->floor_n ? number_len(i->floor) : 0);
}

static uint8_t *put_count(uint8_t *at, const struct increment *i) {
    at = put_dot(at, i->replica, i->n, i->clock);
    at = varint_put(put_number(varint_put(at, i->gen), i->total), i->floor_n);
    return i->floor_n ? put_number(at, i->floor) : at;
}

static void take_count(const uint8_t **at, bool reset, struct increment *out) {
    struct dot dot = take_dot(at, &out->clock);
    out->replica = dot_replica(dot);
    out->n = dot_counter(dot);
    out->gen = varint_take(at);
    out->total = take_number(at);
    out->floor_n = varint_take(at);
    out->floor = out->floor_n ? take_number(at) : 0;
    if (!reset || !increment_live(out)) return;
    out->floor_n = out->n;
    out->floor = MUTANT(packed_floor) ? 0 : out->total;
}

static size_t counts_size(const struct element *e) {
    size_t size = 0;
    for (uint32_t i = 0; i < e->increment_count; i++) size += count_size(&e->increments[i]);
    return size;
}

/* --------------------------------------------------------------- reading */

struct bytes packed_name(const void *packed) {
    assert(form_of(packed) & FORM_PACKED);
    const uint8_t *at = (const uint8_t *)packed + 1;
    size_t len = varint_take(&at);
    return bytes_of(at, len);
}

static const uint8_t *skip_expiry(const void *packed) {
    struct bytes name = packed_name(packed);
    const uint8_t *at = name.data + name.len;
    uint64_t clock;
    if (!(form_of(packed) & FORM_TIMED)) return at;
    at += EXPIRY_BYTES;
    take_dot(&at, &clock);
    return at;
}

static const uint8_t *take_write(const uint8_t *at, struct sibling *out) {
    out->len = (uint32_t)varint_take(&at);
    out->dot = take_dot(&at, &out->clock);
    out->data = (uint8_t *)(uintptr_t)at;
    return at + out->len;
}

/* Where the counts are, if there is place for them; else the end. */
static const uint8_t *skip_write(const void *packed) {
    const uint8_t *at = skip_expiry(packed);
    struct sibling one;
    return form_of(packed) & FORM_WRITTEN ? take_write(at, &one) : at;
}

size_t packed_size(const void *packed) {
    const uint8_t *at = skip_write(packed);
    size_t len = form_of(packed) & FORM_COUNTED ? varint_take(&at) : 0;
    return (size_t)(at - (const uint8_t *)packed) + len;
}

struct dot packed_dot(const void *packed) {
    const uint8_t *at = skip_expiry(packed);
    uint64_t clock;
    if (!(form_of(packed) & (FORM_WRITTEN | FORM_COUNTED))) return (struct dot){0};
    varint_take(&at);
    return take_dot(&at, &clock);
}

const uint8_t *packed_expiry(const void *packed) {
    struct bytes name = packed_name(packed);
    return form_of(packed) & FORM_EXPIRY ? name.data + name.len : NULL;
}

static void take_counts(const uint8_t *at, bool reset, struct view *view) {
    size_t len = varint_take(&at);
    view->element.increments = view->counts;
    for (const uint8_t *end = at + len; at < end;) {
        struct increment *next = &view->counts[view->element.increment_count];
        take_count(&at, reset, next);
        if (next->replica) view->element.increment_count++;
    }
}

const struct element *packed_view(const void *packed, struct view *view) {
    unsigned form = form_of(packed);
    const uint8_t *at = skip_expiry(packed);
    view->element = (struct element){.siblings = &view->one, .sibling_count = (form & FORM_WRITE) != 0};
    if (form & FORM_WRITTEN) at = take_write(at, &view->one);
    if (form & FORM_COUNTED) take_counts(at, !(form & FORM_COUNT), view);
    return &view->element;
}

const struct element *packed_view_expiry(const void *packed, struct view *view) {
    const uint8_t *at = packed_expiry(packed);
    view->element = (struct element){0};
    if (!at) return &view->element;
    view->one.data = (uint8_t *)(uintptr_t)at;
    view->one.len = EXPIRY_BYTES;
    at += EXPIRY_BYTES;
    view->one.dot = take_dot(&at, &view->one.clock);
    view->element.siblings = &view->one;
    view->element.sibling_count = 1;
    return &view->element;
}

bool packed_empty(const void *packed) {
    unsigned form = form_of(packed);
    struct view view;
    if (form & (FORM_WRITE | FORM_COUNT | FORM_EXPIRY)) return false;
    return !(form & FORM_COUNTED) || (form & FORM_HOLES && !packed_view(packed, &view)->increment_count);
}

/* --------------------------------------------------------------- writing */

bool packed_takes(const struct element *e) {
    for (uint32_t i = 0; i < e->increment_count && i < PACKED_COUNTS_MAX; i++)
        if (!packed_takes_count(&e->increments[i])) return false;
    return e->sibling_count <= 1 && e->increment_count <= PACKED_COUNTS_MAX;
}

static size_t size_of(struct bytes name, const struct element *e, const struct element *expiry) {
    size_t size = 1 + varint_len(name.len) + name.len, counts = counts_size(e);
    for (uint32_t i = 0; expiry && i < expiry->sibling_count; i++)
        size += EXPIRY_BYTES + dot_size(dot_replica(expiry->siblings[i].dot), dot_counter(expiry->siblings[i].dot));
    for (uint32_t i = 0; i < e->sibling_count; i++)
        size += varint_len(e->siblings[i].len) + dot_size(dot_replica(e->siblings[i].dot), dot_counter(e->siblings[i].dot)) + e->siblings[i].len;
    return counts ? size + varint_len(counts) + counts : size;
}

/* Behind the name. */
static void put_rest(uint8_t *packed, const struct element *e, const struct element *expiry) {
    struct bytes name = packed_name(packed);
    uint8_t *at = (uint8_t *)(uintptr_t)name.data + name.len;
    unsigned form = FORM_PACKED;
    if (expiry && expiry->sibling_count) {
        const struct sibling *s = expiry->siblings;
        form |= FORM_TIMED | FORM_EXPIRY;
        memcpy(at, s->data, EXPIRY_BYTES);
        at = put_dot(at + EXPIRY_BYTES, dot_replica(s->dot), dot_counter(s->dot), s->clock);
    }
    if (e->sibling_count) {
        const struct sibling *s = e->siblings;
        form |= FORM_WRITTEN | FORM_WRITE;
        at = put_dot(varint_put(at, s->len), dot_replica(s->dot), dot_counter(s->dot), s->clock);
        if (s->len && s->data != at) memcpy(at, s->data, s->len);
        at += s->len;
    }
    if (e->increment_count) {
        form |= FORM_COUNTED | (element_has_increments(e) ? FORM_COUNT : 0);
        at = varint_put(at, counts_size(e));
        for (uint32_t i = 0; i < e->increment_count; i++) at = put_count(at, &e->increments[i]);
    }
    *packed = (uint8_t)form;
}

void *packed_new(struct bytes name, const struct element *e, const struct element *expiry, struct mem_account *account) {
    uint8_t *packed = mem_take(account, size_of(name, e, expiry)), *at = varint_put(packed + 1, name.len);
    *packed = FORM_PACKED;
    if (name.len) memcpy(at, name.data, name.len);
    put_rest(packed, e, expiry);
    return packed;
}

bool packed_renew(void **packed, struct bytes name, const struct element *e, const struct element *expiry, struct mem_account *account) {
    if (packed_size(*packed) == size_of(name, e, expiry)) {
        put_rest(*packed, e, expiry);
        return true;
    }
    void *old = *packed;
    *packed = packed_new(name, e, expiry, account);
    if (MUTANT(account_missed)) mem_free(old);
    else packed_free(old, account);
    return false;
}

void packed_free(void *packed, struct mem_account *account) { mem_give(account, packed, packed_size(packed)); }

static void drop(void *packed, unsigned what) { *(uint8_t *)packed &= (uint8_t)~what; }

void packed_drop_expiry(void *packed) { drop(packed, FORM_EXPIRY); }
void packed_drop_write(void *packed) { drop(packed, FORM_WRITE); }
void packed_reset(void *packed) { drop(packed, FORM_COUNT); }

/* Replica 0, in as many bytes as it had. */
static void make_hole(uint8_t *at) {
    for (; *at & 0x80; at++) *at = 0x80;
    *at = 0;
}

void packed_drop_counts_if(void *packed, bool (*gone)(const struct increment *i, const void *arg), const void *arg) {
    uint8_t *counts = (uint8_t *)packed + (skip_write(packed) - (const uint8_t *)packed), *end = (uint8_t *)packed + packed_size(packed);
    const uint8_t *at = counts;
    bool live = false, reset = !(form_of(packed) & FORM_COUNT);
    if (at == end) return;
    varint_take(&at);
    while (at < end) {
        struct increment one;
        uint8_t *begins = counts + (at - counts);
        take_count(&at, reset, &one);
        if (!one.replica) continue;
        if (gone(&one, arg)) {
            make_hole(begins);
            *(uint8_t *)packed |= FORM_HOLES;
        } else {
            live = live || increment_live(&one);
        }
    }
    if (!live) packed_reset(packed);
}
