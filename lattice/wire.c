#include "lattice/wire.h"

#include <msgpack.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/mutant.h"

/* ------------------------------------------------------------------ writer */

static int put(void *data, const char *bytes, size_t len) {
    buf_put(data, bytes, len);
    return 0;
}

static msgpack_packer packer_of(struct buf *buf) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, buf, put);
    return packer;
}

/* Most are small, and packed as they are: that needs no call. */
static void put_u64(struct buf *buf, uint64_t value) {
    if (value < 0x80) {
        buf_put_byte(buf, (uint8_t)value);
        return;
    }
    msgpack_packer packer = packer_of(buf);
    msgpack_pack_uint64(&packer, value);
}

static void put_bin(struct buf *buf, struct bytes bytes) {
    msgpack_packer packer = packer_of(buf);
    msgpack_pack_bin(&packer, bytes.len);
    buf_put_bytes(buf, bytes);
}

void wire_init(struct wire_writer *w, const struct replicas *replicas) { *w = (struct wire_writer){.replicas = replicas}; }

void wire_fini(struct wire_writer *w) {
    buf_fini(&w->body);
    mem_free(w->ids);
    mem_free(w->places);
    *w = (struct wire_writer){0};
}

void wire_u64(struct wire_writer *w, uint64_t value) { put_u64(&w->body, value); }
void wire_bytes(struct wire_writer *w, struct bytes bytes) { put_bin(&w->body, bytes); }

static void put_words(uint8_t *out, uint64_t high, uint64_t low) {
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(high >> (56 - 8 * i));
        out[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
}

/* Zigzag, then a plain integer when it fits: most counters are small. */
void wire_fixed(struct wire_writer *w, __int128 value) {
    unsigned __int128 folded = (unsigned __int128)value << 1 ^ (unsigned __int128)(value >> 127);
    if (folded <= UINT64_MAX) {
        wire_u64(w, (uint64_t)folded);
        return;
    }
    uint8_t words[16];
    put_words(words, (uint64_t)(folded >> 64), (uint64_t)folded);
    wire_bytes(w, bytes_of(words, sizeof words));
}

/* A digest names every replica there ever was, once for each shard. */
static uint32_t dictionary_index(struct wire_writer *w, uint16_t replica) {
    if (replica >= w->place_count) {
        uint32_t count = (uint32_t)replica + 1;
        w->places = mem_realloc(w->places, count * sizeof *w->places);
        memset(w->places + w->place_count, 0, (count - w->place_count) * sizeof *w->places);
        w->place_count = count;
    }
    if (w->places[replica]) return w->places[replica] - 1u;
    w->ids = mem_realloc(w->ids, (w->id_count + 1) * sizeof *w->ids);
    w->ids[w->id_count++] = replica;
    w->places[replica] = (uint16_t)w->id_count;
    return w->id_count - 1;
}

void wire_dot(struct wire_writer *w, struct dot dot) {
    wire_u64(w, dictionary_index(w, dot_replica(dot)));
    wire_u64(w, dot_counter(dot));
}

void wire_vclock(struct wire_writer *w, const struct vclock *v) {
    uint64_t count = 0;
    for (uint32_t i = 1; i < v->count; i++) count += v->counter[i] != 0;
    wire_u64(w, count);
    for (uint32_t i = 1; i < v->count; i++)
        if (v->counter[i]) wire_dot(w, dot_make((uint16_t)i, v->counter[i]));
}

void wire_context(struct wire_writer *w, const struct context *c) {
    wire_vclock(w, &c->applied);
    wire_vclock(w, &c->prefix);
    wire_u64(w, c->extra_count);
    for (uint32_t i = 0; i < c->extra_count; i++) wire_dot(w, c->extra[i]);
}

void wire_finish(struct wire_writer *w, struct buf *out) {
    put_u64(out, w->id_count);
    for (uint32_t i = 0; i < w->id_count; i++) {
        struct replica_id id = replicas_id(w->replicas, w->ids[i]);
        uint8_t words[16];
        put_words(words, id.node, id.incarnation);
        put_bin(out, bytes_of(words, sizeof words));
    }
    buf_put_bytes(out, buf_bytes(&w->body));
}

/* ------------------------------------------------------------------ reader */

static uint64_t spoil(struct wire_reader *r) {
    r->bad = true;
    r->at = r->end;
    return 0;
}

static uint64_t read_be(struct wire_reader *r, size_t len) {
    if ((size_t)(r->end - r->at) < len) return spoil(r);
    uint64_t value = 0;
    while (len--) value = value << 8 | *r->at++;
    return value;
}

uint64_t wire_read_u64(struct wire_reader *r) {
    if (r->at == r->end) return spoil(r);
    uint8_t tag = *r->at++;
    if (tag < 0x80) return tag;
    if (tag < 0xcc || tag > 0xcf) return spoil(r);
    return read_be(r, (size_t)1 << (tag - 0xcc));
}

struct bytes wire_read_bytes(struct wire_reader *r) {
    if (r->at == r->end) {
        spoil(r);
        return (struct bytes){0};
    }
    uint8_t tag = *r->at++;
    if (tag < 0xc4 || tag > 0xc6) {
        spoil(r);
        return (struct bytes){0};
    }
    uint64_t len = read_be(r, (size_t)1 << (tag - 0xc4));
    if (r->bad || (len > (uint64_t)(r->end - r->at) && !MUTANT(trust_length))) {
        spoil(r);
        return (struct bytes){0};
    }
    struct bytes bytes = bytes_of(r->at, len);
    r->at += len;
    return bytes;
}

static uint64_t word(const uint8_t *at) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | at[i];
    return value;
}

__int128 wire_read_fixed(struct wire_reader *r) {
    unsigned __int128 folded;
    if (r->at < r->end && *r->at >= 0xc4 && *r->at <= 0xc6) {
        struct bytes words = wire_read_bytes(r);
        if (r->bad || words.len != 16) return (__int128)spoil(r);
        folded = (unsigned __int128)word(words.data) << 64 | word(words.data + 8);
    } else
        folded = wire_read_u64(r);
    if (folded == ~(unsigned __int128)0) return (__int128)spoil(r); /* -2^127: see fixed_add */
    return (__int128)(folded >> 1) ^ -(__int128)(folded & 1);
}

struct dot wire_read_dot(struct wire_reader *r) {
    uint64_t index = wire_read_u64(r), counter = wire_read_u64(r);
    if (r->bad || (index >= r->id_count && !MUTANT(trust_index)) || counter > DOT_COUNTER_MAX) {
        spoil(r);
        return (struct dot){0};
    }
    return dot_make(r->ids[index], counter);
}

void wire_read_vclock(struct wire_reader *r, struct vclock *v) {
    uint64_t count = wire_read_u64(r);
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        struct dot dot = wire_read_dot(r);
        if (!r->bad) vclock_raise(v, dot_replica(dot), dot_counter(dot));
    }
}

/* Each dot takes two bytes: as in wire_open. Their order was that of the sender's indexes. */
static void read_extra(struct wire_reader *r, struct context *into) {
    uint64_t count = wire_read_u64(r);
    if (r->bad || count > (uint64_t)(r->end - r->at) / 2 || count > UINT32_MAX) {
        spoil(r);
        return;
    }
    struct dot *dots = mem_alloc(count * sizeof *dots);
    for (uint64_t i = 0; i < count; i++) dots[i] = wire_read_dot(r);
    qsort(dots, count, sizeof *dots, dot_compare);
    if (!r->bad) context_add_all(into, dots, (uint32_t)count);
    mem_free(dots);
}

bool wire_read_context(struct wire_reader *r, struct context *into) {
    wire_read_vclock(r, &into->applied);
    wire_read_vclock(r, &into->prefix);
    read_extra(r, into);
    return !r->bad;
}

enum status wire_open(struct wire_reader *r, struct bytes message, struct replicas *replicas) {
    enum status status = STATUS_ERR_MALFORMED;
    if (!message.len) return status;
    *r = (struct wire_reader){.at = message.data, .end = message.data + message.len};
    uint64_t count = wire_read_u64(r);
    /* Each id takes 18 bytes, so a count that the bytes cannot hold asks for no memory. */
    if (r->bad || count > message.len / 18 || count > REPLICAS_MAX) return status;
    r->ids = mem_alloc(count * sizeof *r->ids);
    for (; r->id_count < count; r->id_count++) {
        struct bytes id = wire_read_bytes(r);
        if (r->bad || id.len != 16) goto bad;
        status = replicas_intern(replicas, (struct replica_id){word(id.data), word(id.data + 8)}, &r->ids[r->id_count]);
        if (status != STATUS_OK) goto bad;
        status = STATUS_ERR_MALFORMED;
    }
    return STATUS_OK;
bad:
    wire_close(r);
    return status;
}

void wire_close(struct wire_reader *r) {
    mem_free(r->ids);
    *r = (struct wire_reader){0};
}
