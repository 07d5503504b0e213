/* What every fuzz target has: bytes that decide, seeds that our own encoders make, and checks
 * that stay in whatever the build.
 *
 * A target defines LLVMFuzzerTestOneInput (https://llvm.org/docs/LibFuzzer.html) and fuzz_seeds.
 * Run with --make-corpus DIR it writes its seeds there, and ends. */
#ifndef ANNEAL_TEST_FUZZ_H
#define ANNEAL_TEST_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/port.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define CHECK(what)                                                             \
    do {                                                                        \
        if (!(what)) {                                                          \
            fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #what); \
            abort();                                                            \
        }                                                                       \
    } while (0)

/* By the target: each of its seeds, to fuzz_seed. */
void fuzz_seeds(void);
void fuzz_seed(struct bytes bytes);

/* The input, taken from its front; zeros and nothing once it is used up. */
struct input {
    const uint8_t *at;
    size_t left;
};
static inline struct input input_of(const uint8_t *data, size_t size) { return (struct input){data, size}; }
static inline uint8_t input_byte(struct input *in) {
    if (!in->left) return 0;
    in->left--;
    return *in->at++;
}
static inline unsigned input_below(struct input *in, unsigned bound) { return input_byte(in) % bound; }
static inline struct bytes input_bytes(struct input *in, size_t most) {
    struct bytes bytes = bytes_of(in->at, most < in->left ? most : in->left);
    in->at += bytes.len;
    in->left -= bytes.len;
    return bytes;
}

/* A copy in memory of its exact size, so that the sanitizer sees one byte too many. */
struct bytes fuzz_exact(struct bytes bytes);
void fuzz_exact_free(struct bytes copy);

/* With FUZZ_SHOW in the environment: what it is, and its bytes, to standard error. */
void fuzz_show(const char *what, struct bytes bytes);

/* A clock that stands still until it is moved; entropy counts up, so that runs repeat. */
struct fuzz_clock {
    int64_t wall_ms, mono_us;
    uint64_t dice;
};
struct clock_port fuzz_clock_port(struct fuzz_clock *clock);
void fuzz_clock_move(struct fuzz_clock *clock, int64_t ms);

#endif
