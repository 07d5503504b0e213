#include "core/slab.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/mem.h"

#define PAGE_BYTES 4096u
#define CHUNK_PAGES 256u
#define STEP 8u
#define CLASSES (SLAB_BYTES_MAX / STEP)
#define STRIPES 8u
#define NO_PIECE UINT16_MAX

struct page {
    struct page *next, *prev; /* in the list of pages with room; next also in the pool */
    uint16_t free;            /* offset of the first free piece; NO_PIECE for none */
    uint16_t fresh;           /* offset of the first piece that was never used */
    uint16_t used;
    uint16_t unused[5];
};
_Static_assert(sizeof(struct page) % 16 == 0, "pieces of 16, 32, ... bytes are aligned to 16");

struct stripe {
    pthread_mutex_t lock;
    struct page *room[CLASSES + 1];
};

static struct stripe stripes[STRIPES] = {
    [0 ... STRIPES - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER},
};
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct page *pool;
static uint8_t *chunk; /* what is left of it was never used */
static unsigned chunk_left;

static size_t class_of(size_t size) {
    assert(size > 0);
    assert(size <= SLAB_BYTES_MAX);
    return (size + STEP - 1) / STEP;
}

/* ------------------------------------------------------------------- pages */

/* With the pool's lock. */
static struct page *page_of_chunk(void) {
    if (!chunk_left) {
        chunk = aligned_alloc(PAGE_BYTES, (size_t)CHUNK_PAGES * PAGE_BYTES);
        if (!chunk) mem_exhausted((size_t)CHUNK_PAGES * PAGE_BYTES);
        chunk_left = CHUNK_PAGES;
    }
    return (struct page *)(void *)(chunk + (size_t)(CHUNK_PAGES - chunk_left--) * PAGE_BYTES);
}

static struct page *page_take(void) {
    pthread_mutex_lock(&pool_lock);
    struct page *page = pool ? pool : page_of_chunk();
    if (page == pool) pool = page->next;
    pthread_mutex_unlock(&pool_lock);
    *page = (struct page){.free = NO_PIECE, .fresh = sizeof *page};
    return page;
}

static void page_give(struct page *page) {
    pthread_mutex_lock(&pool_lock);
    page->next = pool;
    pool = page;
    pthread_mutex_unlock(&pool_lock);
}

static bool page_has_room(const struct page *page, size_t bytes) {
    return page->free != NO_PIECE || page->fresh + bytes <= PAGE_BYTES;
}

static void list_add(struct page **list, struct page *page) {
    page->prev = NULL;
    page->next = *list;
    if (*list) (*list)->prev = page;
    *list = page;
}

static void list_drop(struct page **list, struct page *page) {
    if (page->prev) page->prev->next = page->next;
    else *list = page->next;
    if (page->next) page->next->prev = page->prev;
}

/* ------------------------------------------------------------------ pieces */

static void *page_piece(struct page *page, size_t bytes) {
    uint8_t *base = (uint8_t *)page;
    uint16_t at = page->free;
    if (at != NO_PIECE) {
        page->free = *(uint16_t *)(void *)(base + at);
    } else {
        at = page->fresh;
        page->fresh = (uint16_t)(at + bytes);
    }
    page->used++;
    return base + at;
}

void *slab_take(size_t stripe, size_t size) {
    size_t class = class_of(size), bytes = class * STEP;
    struct stripe *s = &stripes[stripe % STRIPES];
    pthread_mutex_lock(&s->lock);
    struct page *page = s->room[class];
    if (!page) list_add(&s->room[class], page = page_take());
    void *piece = page_piece(page, bytes);
    if (!page_has_room(page, bytes)) list_drop(&s->room[class], page);
    pthread_mutex_unlock(&s->lock);
    return piece;
}

void slab_give(size_t stripe, void *piece, size_t size) {
    size_t class = class_of(size), bytes = class * STEP;
    struct stripe *s = &stripes[stripe % STRIPES];
    struct page *page = (struct page *)((uintptr_t)piece & ~(uintptr_t)(PAGE_BYTES - 1));
    pthread_mutex_lock(&s->lock);
    bool had_room = page_has_room(page, bytes);
    assert(page->used > 0);
    *(uint16_t *)piece = page->free;
    page->free = (uint16_t)((uint8_t *)piece - (uint8_t *)page);
    page->used--;
    if (!had_room) list_add(&s->room[class], page);
    if (!page->used) list_drop(&s->room[class], page);
    bool empty = !page->used;
    pthread_mutex_unlock(&s->lock);
    if (empty) page_give(page);
}
