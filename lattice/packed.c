#include "lattice/packed.h"

#include <assert.h>

#include "core/mutant.h"
#include "lattice/varint.h"

static size_t size_of(const struct parts *p) {
    return 1 + varint_len(p->name.len) + p->name.len + varint_len(p->value.len) + varint_len(dot_replica(p->dot)) +
           varint_len(dot_counter(p->dot)) + sizeof p->clock + p->value.len;
}

struct bytes packed_name(const void *packed) {
    const uint8_t *at = (const uint8_t *)packed + 1;
    size_t len = varint_take(&at);
    return bytes_of(at, len);
}

void packed_read(const void *packed, struct parts *out) {
    assert(form_of(packed) != FORM_LOOSE);
    out->name = packed_name(packed);
    const uint8_t *at = out->name.data + out->name.len;
    size_t len = varint_take(&at);
    uint16_t replica = (uint16_t)varint_take(&at);
    out->dot = dot_make(replica, varint_take(&at));
    memcpy(&out->clock, at, sizeof out->clock);
    out->value = bytes_of(at + sizeof out->clock, len);
}

static void put_write(uint8_t *at, const struct parts *p) {
    at = varint_put(at, p->value.len);
    at = varint_put(at, dot_replica(p->dot));
    at = varint_put(at, dot_counter(p->dot));
    memcpy(at, &p->clock, sizeof p->clock);
    if (p->value.len) memcpy(at + sizeof p->clock, p->value.data, p->value.len);
}

void *packed_new(const struct parts *p, struct mem_account *account) {
    uint8_t *packed = mem_take(account, size_of(p)), *at = packed;
    *at++ = FORM_PACKED;
    at = varint_put(at, p->name.len);
    if (p->name.len) memcpy(at, p->name.data, p->name.len);
    put_write(at + p->name.len, p);
    return packed;
}

static size_t packed_size(const void *packed) {
    struct parts parts;
    packed_read(packed, &parts);
    return (size_t)(parts.value.data + parts.value.len - (const uint8_t *)packed);
}

bool packed_renew(void **packed, const struct parts *p, struct mem_account *account) {
    if (packed_size(*packed) != size_of(p)) {
        void *old = *packed;
        *packed = packed_new(p, account);
        if (MUTANT(account_missed)) mem_free(old);
        else packed_free(old, account);
        return false;
    }
    *(uint8_t *)*packed = FORM_PACKED;
    put_write((uint8_t *)*packed + 1 + varint_len(p->name.len) + p->name.len, p);
    return true;
}

void packed_free(void *packed, struct mem_account *account) { mem_give(account, packed, packed_size(packed)); }

void packed_mark_gone(void *packed) {
    assert(form_of(packed) == FORM_PACKED);
    *(uint8_t *)packed = FORM_GONE;
}

const struct element *packed_view(const void *packed, struct view *view) {
    struct parts parts;
    packed_read(packed, &parts);
    view->one = (struct sibling){parts.dot, parts.clock, (uint8_t *)(uintptr_t)parts.value.data, (uint32_t)parts.value.len};
    view->element = (struct element){.siblings = &view->one, .sibling_count = form_of(packed) == FORM_PACKED};
    return &view->element;
}
