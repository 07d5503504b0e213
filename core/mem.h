/* Allocation, in one place.
 *
 * Plain calls never return NULL: a cache that cannot have 100 bytes cannot keep a promise,
 * so the process says so and aborts. What comes from outside is bounded by its own limit
 * long before. Data that a shard holds is counted in the shard's account. */
#ifndef ANNEAL_CORE_MEM_H
#define ANNEAL_CORE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);            /* uninitialised */
void *mem_zero(size_t count, size_t size); /* zeroed */
void *mem_realloc(void *old, size_t size);
void mem_free(void *old);

/* In place of libc's, for whoever simulates processes that run out of memory. `resize` is as realloc
 * with a size of at least 1 and never returns NULL; it need not return at all, and then has not touched
 * `old`. `free` takes NULL. Both must also take what libc gave. */
struct mem_port {
    void *(*resize)(void *old, size_t size);
    void (*free)(void *old);
};
/* NULL: libc's. While there is one thread. */
void mem_use(const struct mem_port *port);

/* What a holder of data has in use: bytes as asked for, and how many pieces.
 * Guarded by the lock of its holder. */
struct mem_account {
    uint64_t bytes;
    uint64_t pieces;
};

void *mem_take(struct mem_account *account, size_t size); /* uninitialised, counted */
/* `old`, of `was` bytes or NULL, as mem_realloc gives it back. */
void *mem_retake(struct mem_account *account, void *old, size_t was, size_t size);
void mem_give(struct mem_account *account, void *old, size_t size);

#endif
