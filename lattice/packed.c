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
}

struct dot packed_dot(const void *packed) {
    struct parts parts;
    packed_read(packed, &parts);
    return parts.dot;
}

static void put_parts(uint8_t *packed, const struct parts *p) {
    uint8_t *at = packed + 1 + varint_len(p->name.len) + p->name.len;
    *packed = (uint8_t)(FORM_PACKED | FORM_WRITE | (p->timed ? FORM_TIMED | FORM_EXPIRY : 0));
    if (p->timed) {
        memcpy(at, p->expiry.at, EXPIRY_BYTES);
        at = put_dot(at + EXPIRY_BYTES, p->expiry.dot, p->expiry.clock);
    }
    at = varint_put(at, p->value.len);
    at = put_dot(at, p->dot, p->clock);
    if (p->value.len && p->value.data != at) memcpy(at, p->value.data, p->value.len);
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
    assert(what == FORM_WRITE || what == FORM_EXPIRY);
    *(uint8_t *)packed &= (uint8_t)~what;
}

const uint8_t *packed_expiry(const void *packed) {
    struct bytes name = packed_name(packed);
    return form_of(packed) & FORM_EXPIRY ? name.data + name.len : NULL;
}

const struct element *packed_view(const void *packed, enum form what, struct view *view) {
    struct parts p;
    view->element = (struct element){.siblings = &view->one, .sibling_count = (form_of(packed) & what) != 0};
    if (!view->element.sibling_count) return &view->element;
    packed_read(packed, &p);
    if (what == FORM_WRITE)
        view->one = (struct sibling){p.dot, p.clock, (uint8_t *)(uintptr_t)p.value.data, (uint32_t)p.value.len};
    else
        view->one = (struct sibling){p.expiry.dot, p.expiry.clock, (uint8_t *)(uintptr_t)packed_expiry(packed), EXPIRY_BYTES};
    return &view->element;
}
