#include "lattice/records.h"

#include <assert.h>
#include <string.h>

#include "core/mutant.h"
#include "lattice/shard_state.h"
#include "lattice/varint.h"

#define CHUNK_BYTES 1024u
enum { HEAD_NEXT = 8, HEAD_REMOVED = 16 };

struct chunk {
    struct chunk *newer, *older;
    uint64_t own_last; /* counter of the newest own record here or in older ones */
    uint32_t used, cap;
    uint8_t data[];
};

struct dot record_removed(const struct record *record, uint32_t at) {
    struct dot dot;
    assert(at < record->removed_count);
    memcpy(&dot, (const uint8_t *)record->removed + at * sizeof dot, sizeof dot);
    return dot;
}

static uint8_t *put_word(uint8_t *at, uint64_t word) { return (uint8_t *)memcpy(at, &word, sizeof word) + sizeof word; }

static uint64_t take_word(const uint8_t **at) {
    uint64_t word;
    memcpy(&word, *at, sizeof word);
    *at += sizeof word;
    return word;
}

/* What a record takes at most, beside its removed dots. */
#define FRAME_MOST (1 + 3 + 7 + 8 + 8 + 5)

static size_t write_record(uint8_t *to, const struct record *record, struct dot before) {
    enum kind kind = kind_of(record->field_hash);
    bool next = before.v && record->dot.v == before.v + 1;
    uint8_t *at = to;
    *at++ = (uint8_t)(kind | (next ? HEAD_NEXT : 0) | (record->removed_count ? HEAD_REMOVED : 0));
    if (!next) at = varint_put(varint_put(at, dot_replica(record->dot)), dot_counter(record->dot));
    at = put_word(at, kind == KIND_FLUSH ? (uint64_t)(uintptr_t)record->flush : record->key_hash);
    if (kind_has_field(kind)) at = put_word(at, record->field_hash);
    if (record->removed_count) {
        size_t bytes = record->removed_count * sizeof(struct dot);
        at = varint_put(at, record->removed_count);
        memcpy(at, record->removed, bytes);
        at += bytes;
    }
    return (size_t)(at - to);
}

static const uint8_t *read_record(const uint8_t *at, struct dot before, struct record *out) {
    uint8_t head = *at++;
    enum kind kind = (enum kind)(head & KIND_MASK);
    *out = (struct record){.dot.v = before.v + 1, .field_hash = kind};
    if (!(head & HEAD_NEXT)) {
        uint16_t replica = (uint16_t)varint_take(&at);
        out->dot = dot_make(replica, varint_take(&at));
    }
    uint64_t word = take_word(&at);
    if (kind == KIND_FLUSH)
        out->flush = (struct flush *)(uintptr_t)word;
    else
        out->key_hash = word;
    if (kind_has_field(kind)) out->field_hash = take_word(&at);
    if (head & HEAD_REMOVED) {
        out->removed_count = (uint32_t)varint_take(&at);
        out->removed = at;
        at += out->removed_count * sizeof(struct dot);
    }
    return at;
}

/* Beside its bytes here: what a flush saw has an entry for each replica there ever was. */
static size_t bytes_held(const struct record *record) {
    return record->flush ? sizeof *record->flush + context_bytes(&record->flush->seen) : 0;
}

static void add_chunk(struct records *r, size_t most) {
    size_t size = sizeof(struct chunk) + most > CHUNK_BYTES ? sizeof(struct chunk) + most : CHUNK_BYTES;
    struct chunk *chunk = mem_alloc(size);
    *chunk = (struct chunk){.older = r->newest, .cap = (uint32_t)(size - sizeof *chunk)};
    if (r->newest) {
        chunk->own_last = r->newest->own_last;
        r->newest->newer = chunk;
    } else {
        r->oldest = chunk;
        r->oldest_at = 0;
        r->before = (struct dot){0};
    }
    r->newest = chunk;
    if (!MUTANT(chunk_continues)) r->last = (struct dot){0};
}

void records_add(struct records *r, const struct record *record, uint16_t self) {
    size_t most = FRAME_MOST + record->removed_count * sizeof(struct dot);
    if (!r->newest || r->newest->used + most > r->newest->cap) add_chunk(r, most);
    struct chunk *chunk = r->newest;
    size_t len = write_record(chunk->data + chunk->used, record, r->last);
    assert(len <= most);
    chunk->used += (uint32_t)len;
    if (dot_replica(record->dot) == self) chunk->own_last = dot_counter(record->dot);
    r->last = record->dot;
    r->bytes += len + bytes_held(record);
    r->count++;
}

static void drop_chunk(struct records *r) {
    struct chunk *chunk = r->oldest;
    for (uint32_t i = 0; i < RECORDS_MARKS; i++)
        if (r->marks[i].place.chunk == chunk) r->marks[i] = (struct records_mark){0};
    r->oldest = chunk->newer;
    r->oldest_at = 0;
    r->before = (struct dot){0};
    if (r->oldest)
        r->oldest->older = NULL;
    else
        r->newest = NULL;
    mem_free(chunk);
}

bool records_peek(const struct records *r, struct dot *out) {
    struct records_at at = records_first(r);
    struct record record;
    if (!records_next(&at, &record)) return false;
    *out = record.dot;
    return true;
}

bool records_pop(struct records *r, struct record *out) {
    if (!r->count) return false;
    const uint8_t *from = r->oldest->data + r->oldest_at;
    size_t len = (size_t)(read_record(from, r->before, out) - from);
    out->removed = NULL;
    out->removed_count = 0;
    r->before = out->dot;
    r->oldest_at += len;
    r->bytes -= len + bytes_held(out);
    r->count--;
    if (r->oldest_at == r->oldest->used) drop_chunk(r);
    return true;
}

struct records_at records_first(const struct records *r) { return (struct records_at){r->oldest, r->oldest_at, r->before}; }

void records_mark(struct records *r, uint64_t own) {
    if (r->newest) r->marks[r->next_mark++ % RECORDS_MARKS] = (struct records_mark){own, {r->newest, r->newest->used, r->last}};
}

/* What was cut since may be beyond the mark. */
static bool is_cut(const struct records *r, const struct records_at *place) { return place->chunk == r->oldest && place->at < r->oldest_at; }

struct records_at records_own_beyond(const struct records *r, uint64_t after) {
    for (uint32_t i = 0; i < RECORDS_MARKS; i++)
        if (r->marks[i].own == after && r->marks[i].place.chunk && !is_cut(r, &r->marks[i].place)) return r->marks[i].place;
    const struct chunk *chunk = r->newest;
    while (chunk && chunk->older && chunk->older->own_last > after) chunk = chunk->older;
    return chunk == r->oldest ? records_first(r) : (struct records_at){.chunk = chunk};
}

bool records_next(struct records_at *at, struct record *out) {
    while (at->chunk && at->at == at->chunk->used) *at = (struct records_at){.chunk = at->chunk->newer};
    if (!at->chunk) return false;
    at->at = (size_t)(read_record(at->chunk->data + at->at, at->before, out) - at->chunk->data);
    at->before = out->dot;
    return true;
}
