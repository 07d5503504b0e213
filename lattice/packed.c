#include "lattice/packed.h"

#include <assert.h>

#include "core/mutant.h"
#include "lattice/varint.h"

static size_t dot_size(struct dot dot) { return varint_len(dot_replica(dot)) + varint_len(dot_counter(dot)) + sizeof(uint64_t); }

static size_t size_of(const struct parts *p) {
    return 1 + varint_len(p->name.len) + p->name.len + (p->timed ? EXPIRY_BYTES + dot_size(p->expiry.dot) : 0) +
           varint_len(p->value.len) + dot_size(p->dot) + p->value.len;
}

struct bytes packed_name(const void *packed) {
    const uint8_t *at = (const uint8_t *)packed + 1;
    size_t len = varint_take(&at);
    return bytes_of(at, len);
}

static const uint8_t *take_dot(const uint8_t *at, struct dot *dot, uint64_t *clock) {
    uint16_t replica = (uint16_t)varint_take(&at);
    *dot = dot_make(replica, varint_take(&at));
    memcpy(clock, at, sizeof *clock);
    return at + sizeof *clock;
}

static uint8_t *put_dot(uint8_t *at, struct dot dot, uint64_t clock) {
    at = varint_put(at, dot_replica(dot));
    at = varint_put(at, dot_counter(dot));
    memcpy(at, &clock, sizeof clock);
    return at + sizeof clock;
}

void packed_read(const void *packed, struct parts *out) {
    assert(form_of(packed) & FORM_PACKED);
    out->name = packed_name(packed);
    const uint8_t *at = out->name.data + out->name.len;
    out->timed = form_of(packed) & FORM_TIMED;
    if (out->timed) {
        memcpy(out->expiry.at, at, EXPIRY_BYTES);
        at = take_dot(at + EXPIRY_BYTES, &out->expiry.dot, &out->expiry.clock);
    }
    size_t len = varint_take(&at);
    at = take_dot(at, &out->dot, &out->clock);
    out->value = bytes_of(at, len);
    out->increment = NULL;
}

struct dot packed_dot(const void *packed) {
    struct parts parts;
    packed_read(packed, &parts);
    return parts.dot;
}

/* ---------------------------------------------------------------- counts */

/* A number is as few bytes as it takes, low ones first, behind a byte that says how many. */
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

static bool is_reset(const struct increment *i) { return i->floor_n == i->n && i->floor == i->total; }

bool packed_takes(const struct increment *i) { return i->n && (increment_live(i) ? i->floor_n || !i->floor : is_reset(i)); }

/* Of what is reset the floor goes without saying. */
static uint64_t floor_said(const struct increment *i) { return increment_live(i) ? i->floor_n : 0; }

struct parts packed_count(struct bytes name, const struct increment *i) {
    uint64_t floor_n = floor_said(i);
    size_t len = varint_len(i->gen) + number_len(i->total) + varint_len(floor_n) + (floor_n ? number_len(i->floor) : 0);
    return (struct parts){.name = name, .value = bytes_of(NULL, len), .dot = dot_make(i->replica, i->n), .clock = i->clock, .increment = i};
}

static void put_count(uint8_t *at, const struct increment *i) {
    uint64_t floor_n = floor_said(i);
    at = put_number(varint_put(at, i->gen), i->total);
    at = varint_put(at, floor_n);
    if (floor_n) put_number(at, i->floor);
}

static struct increment take_count(const struct parts *p, bool live) {
    const uint8_t *at = p->value.data;
    struct increment i = {.replica = dot_replica(p->dot), .n = dot_counter(p->dot), .clock = p->clock};
    i.gen = varint_take(&at);
    i.total = take_number(&at);
    i.floor_n = live ? varint_take(&at) : i.n;
    if (i.floor_n) i.floor = live ? take_number(&at) : i.total;
    return i;
}

/* ----------------------------------------------------------------- items */

static void put_parts(uint8_t *packed, const struct parts *p) {
    uint8_t *at = packed + 1 + varint_len(p->name.len) + p->name.len;
    bool live = !p->increment || increment_live(p->increment);
    *packed = (uint8_t)(FORM_PACKED | (p->increment ? FORM_COUNT : 0) | (live ? FORM_WRITE : 0) | (p->timed ? FORM_TIMED | FORM_EXPIRY : 0));
    if (p->timed) {
        memcpy(at, p->expiry.at, EXPIRY_BYTES);
        at = put_dot(at + EXPIRY_BYTES, p->expiry.dot, p->expiry.clock);
    }
    at = varint_put(at, p->value.len);
    at = put_dot(at, p->dot, p->clock);
    if (p->increment) put_count(at, p->increment);
    else if (p->value.len && p->value.data != at) memcpy(at, p->value.data, p->value.len);
}

void *packed_new(const struct parts *p, struct mem_account *account) {
    uint8_t *packed = mem_take(account, size_of(p)), *at = varint_put(packed + 1, p->name.len);
    if (p->name.len) memcpy(at, p->name.data, p->name.len);
    put_parts(packed, p);
    return packed;
}

static size_t packed_size(const void *packed) {
    struct parts parts;
    packed_read(packed, &parts);
    return (size_t)(parts.value.data + parts.value.len - (const uint8_t *)packed);
}

bool packed_renew(void **packed, const struct parts *p, struct mem_account *account) {
    if (packed_size(*packed) == size_of(p)) {
        put_parts(*packed, p);
        return true;
    }
    void *old = *packed;
    *packed = packed_new(p, account);
    if (MUTANT(account_missed)) mem_free(old);
    else packed_free(old, account);
    return false;
}

void packed_free(void *packed, struct mem_account *account) { mem_give(account, packed, packed_size(packed)); }

void packed_drop(void *packed, enum form what) {
    assert(what == FORM_WRITE || what == FORM_EXPIRY || what == FORM_COUNT);
    if (what == FORM_COUNT) packed_drop(packed, FORM_WRITE);
    *(uint8_t *)packed &= (uint8_t)~what;
}

const uint8_t *packed_expiry(const void *packed) {
    struct bytes name = packed_name(packed);
    return form_of(packed) & FORM_EXPIRY ? name.data + name.len : NULL;
}

const struct element *packed_view(const void *packed, enum form what, struct view *view) {
    struct parts p;
    unsigned form = form_of(packed);
    bool counts = what == FORM_WRITE && form & FORM_COUNT;
    view->element = (struct element){0};
    if (!counts && !(form & what)) return &view->element;
    packed_read(packed, &p);
    if (counts) {
        view->count = take_count(&p, form & FORM_WRITE);
        view->element.increments = &view->count;
        view->element.increment_count = 1;
        return &view->element;
    }
    view->element.siblings = &view->one;
    view->element.sibling_count = 1;
    if (what == FORM_WRITE)
        view->one = (struct sibling){p.dot, p.clock, (uint8_t *)(uintptr_t)p.value.data, (uint32_t)p.value.len};
    else
        view->one = (struct sibling){p.expiry.dot, p.expiry.clock, (uint8_t *)(uintptr_t)packed_expiry(packed), EXPIRY_BYTES};
    return &view->element;
}
