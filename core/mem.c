#include "core/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/slab.h"

void mem_exhausted(size_t size) {
    fprintf(stderr, "anneal: out of memory: %zu bytes were refused\n", size);
    abort();
}

static void *must(void *got, size_t size) {
    if (!got) mem_exhausted(size);
    return got;
}

void *mem_alloc(size_t size) { return must(malloc(size ? size : 1), size); }
void *mem_zero(size_t count, size_t size) { return must(calloc(count ? count : 1, size ? size : 1), count * size); }
void *mem_realloc(void *old, size_t size) { return must(realloc(old, size ? size : 1), size); }
void mem_free(void *old) { free(old); }

#ifdef __SANITIZE_ADDRESS__
static bool is_small(size_t size) { return (void)size, false; }
#else
static bool is_small(size_t size) { return size > 0 && size <= SLAB_BYTES_MAX; }
#endif

/* Any number will do, as long as it stays. */
static size_t stripe_of(const struct mem_account *account) { return (uintptr_t)account / 512; }

void *mem_take(struct mem_account *account, size_t size) {
    account->bytes += size;
    account->pieces++;
    return is_small(size) ? slab_take(stripe_of(account), size) : mem_alloc(size);
}

void mem_give(struct mem_account *account, void *old, size_t size) {
    if (!old) return;
    assert(account->bytes >= size);
    assert(account->pieces > 0);
    account->bytes -= size;
    account->pieces--;
    if (is_small(size))
        slab_give(stripe_of(account), old, size);
    else
        mem_free(old);
}
