#include "core/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct mem_port *port; /* NULL: libc's */

void mem_use(const struct mem_port *other) { port = other; }

static void *must(void *got, size_t size) {
    if (got) return got;
    fprintf(stderr, "anneal: out of memory: %zu bytes were refused\n", size);
    abort();
}

/* Not in the way of what is shipped: one branch that is never taken. */
static bool is_replaced(void) { return __builtin_expect(port != NULL, false) != 0; }

void *mem_alloc(size_t size) {
    if (is_replaced()) return port->resize(NULL, size ? size : 1);
    return must(malloc(size ? size : 1), size);
}

void *mem_zero(size_t count, size_t size) {
    if (!count) count = 1;
    if (!size) size = 1;
    if (is_replaced()) return memset(port->resize(NULL, count * size), 0, count * size);
    return must(calloc(count, size), count * size);
}

void *mem_realloc(void *old, size_t size) {
    if (is_replaced()) return port->resize(old, size ? size : 1);
    return must(realloc(old, size ? size : 1), size);
}

void mem_free(void *old) {
    if (is_replaced()) port->free(old);
    else free(old);
}

void *mem_take(struct mem_account *account, size_t size) {
    account->bytes += size;
    account->pieces++;
    return mem_alloc(size);
}

void *mem_retake(struct mem_account *account, void *old, size_t was, size_t size) {
    assert(account->bytes >= was || !old);
    account->bytes += size - (old ? was : 0);
    account->pieces += old == NULL;
    return mem_realloc(old, size);
}

void mem_give(struct mem_account *account, void *old, size_t size) {
    if (!old) return;
    assert(account->bytes >= size);
    assert(account->pieces > 0);
    account->bytes -= size;
    account->pieces--;
    mem_free(old);
}
