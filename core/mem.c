#include "core/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void *must(void *got, size_t size) {
    if (got) return got;
    fprintf(stderr, "anneal: out of memory: %zu bytes were refused\n", size);
    abort();
}

void *mem_alloc(size_t size) { return must(malloc(size ? size : 1), size); }
void *mem_zero(size_t count, size_t size) { return must(calloc(count ? count : 1, size ? size : 1), count * size); }
void *mem_realloc(void *old, size_t size) { return must(realloc(old, size ? size : 1), size); }
void mem_free(void *old) { free(old); }

void *mem_take(struct mem_account *account, size_t size) {
    account->bytes += size;
    account->pieces++;
    return mem_alloc(size);
}

void mem_give(struct mem_account *account, void *old, size_t size) {
    if (!old) return;
    assert(account->bytes >= size);
    assert(account->pieces > 0);
    account->bytes -= size;
    account->pieces--;
    mem_free(old);
}
