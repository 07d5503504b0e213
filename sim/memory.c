#include "sim/memory.h"

#include <assert.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mem.h"

struct memory {
    uint64_t pieces; /* that it has */
    uint64_t left;   /* allocations until one is refused; 0: none will be */
    bool spared;     /* it stands still */
    bool running;    /* and may be ended: */
    jmp_buf end;
};

static struct memory *current; /* whose code runs; NULL: the simulator's */
static uint32_t processes;

/* --------------------------------------------------------- who has a piece
 * A table by address, open addressing with linear probing. Addresses differ from run to run, and so
 * does the order in it: nothing may follow from that. */

struct piece {
    void *at; /* NULL: free */
    struct memory *owner;
};
static struct {
    struct piece *places;
    size_t count, cap; /* cap: a power of two */
} table;

static void *must(void *got) {
    if (got) return got;
    fprintf(stderr, "the simulator itself has run out of memory\n");
    abort();
}

static size_t place_of(const void *at) { return (size_t)((uintptr_t)at * UINT64_C(0x9e3779b97f4a7c15) >> 24) & (table.cap - 1); }

static void put(void *at, struct memory *owner) {
    size_t i = place_of(at);
    while (table.places[i].at) i = (i + 1) & (table.cap - 1);
    table.places[i] = (struct piece){at, owner};
    table.count++;
}

/* Moves all to a table of that size, but what `without` has, which is freed. */
static void rebuild(size_t cap, const struct memory *without) {
    struct piece *old = table.places;
    size_t old_cap = table.cap;
    table.places = must(calloc(cap, sizeof *table.places));
    table.cap = cap;
    table.count = 0;
    for (size_t i = 0; i < old_cap; i++) {
        if (!old[i].at) continue;
        if (old[i].owner == without) free(old[i].at);
        else put(old[i].at, old[i].owner);
    }
    free(old);
}

static void own(void *at, struct memory *owner) {
    if (!owner) return;
    if (2 * (table.count + 1) > table.cap) rebuild(table.cap ? 2 * table.cap : 1024, NULL);
    put(at, owner);
    owner->pieces++;
}

/* What is behind a place that became free moves up, unless it would come before where it belongs. */
static void close_gap(size_t gap) {
    for (size_t i = (gap + 1) & (table.cap - 1); table.places[i].at; i = (i + 1) & (table.cap - 1)) {
        size_t wants = place_of(table.places[i].at);
        if (((i - wants) & (table.cap - 1)) < ((i - gap) & (table.cap - 1))) continue;
        table.places[gap] = table.places[i];
        gap = i;
    }
    table.places[gap] = (struct piece){0};
}

/* Nobody has it any more. Returns who had; NULL: the simulator. */
static struct memory *disown(const void *at) {
    if (!table.cap) return NULL;
    size_t i = place_of(at);
    while (table.places[i].at != at)
        if (!table.places[i].at) return NULL;
        else i = (i + 1) & (table.cap - 1);
    struct memory *owner = table.places[i].owner;
    close_gap(i);
    table.count--;
    owner->pieces--;
    return owner;
}

/* ---------------------------------------------------------- in place of libc */

static bool is_refused(struct memory *m) { return m->running && !m->spared && m->left && --m->left == 0; }

_Noreturn void memory_end(void) {
    assert(current);
    assert(current->running);
    longjmp(current->end, 1);
}

static void *resize(void *old, size_t size) {
    if (current && is_refused(current)) memory_end();
    struct memory *owner = old ? disown(old) : current;
    void *piece = must(realloc(old, size));
    own(piece, owner);
    return piece;
}

static void release(void *old) {
    if (old) disown(old);
    free(old);
}

struct memory *memory_new(void) {
    static const struct mem_port port = {resize, release};
    if (!processes++) mem_use(&port);
    return must(calloc(1, sizeof(struct memory)));
}

void memory_free(struct memory *m) {
    assert(m->pieces == 0);
    free(m);
    if (--processes) return;
    assert(table.count == 0);
    free(table.places);
    table.places = NULL;
    table.cap = 0;
    mem_use(NULL);
}

/* ----------------------------------------------------------------- processes */

static void leave(struct memory *m) {
    m->running = false;
    current = NULL;
}

bool memory_run(struct memory *m, void (*code)(void *arg), void *arg) {
    assert(!current);
    if (!m) {
        code(arg);
        return true;
    }
    if (setjmp(m->end) != 0) {
        leave(m);
        return false;
    }
    m->running = true;
    current = m;
    code(arg);
    assert(current == m);
    leave(m);
    return true;
}

struct memory *memory_become(struct memory *m) {
    struct memory *was = current;
    current = m;
    return was;
}

void memory_arm(struct memory *m, uint64_t allocations) { m->left = allocations; }
void memory_spare(struct memory *m, bool spared) { m->spared = spared; }
uint64_t memory_pieces(const struct memory *m) { return m->pieces; }

void memory_give_back(struct memory *m) {
    assert(!current);
    if (m->pieces) rebuild(table.cap, m);
    m->pieces = 0;
    m->left = 0;
}
