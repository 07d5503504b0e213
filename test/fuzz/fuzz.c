#include "test/fuzz/fuzz.h"

#include <sys/stat.h>

#include "core/mem.h"

static const char *seed_dir;
static unsigned seed_count;

void fuzz_seed(struct bytes bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%02u", seed_dir, seed_count++);
    FILE *file = fopen(path, "wb");
    CHECK(file);
    CHECK(fwrite(bytes.data, 1, bytes.len, file) == bytes.len);
    CHECK(fclose(file) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    if (*argc != 3 || strcmp((*argv)[1], "--make-corpus") != 0) return 0;
    seed_dir = (*argv)[2];
    mkdir(seed_dir, 0777);
    fuzz_seeds();
    exit(0);
}

struct bytes fuzz_exact(struct bytes bytes) {
    if (!bytes.len) return (struct bytes){0};
    return bytes_of(memcpy(mem_alloc(bytes.len), bytes.data, bytes.len), bytes.len);
}
void fuzz_exact_free(struct bytes copy) { mem_free((void *)(uintptr_t)copy.data); }

void fuzz_show(const char *what, struct bytes bytes) {
    if (!getenv("FUZZ_SHOW")) return;
    fprintf(stderr, "%s ", what);
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        if (c >= ' ' && c < 127)
            fputc(c, stderr);
        else
            fprintf(stderr, "\\x%02x", c);
    }
    fputc('\n', stderr);
}

static struct now clock_now(void *self) {
    const struct fuzz_clock *clock = self;
    return (struct now){clock->wall_ms, clock->mono_us};
}
static uint64_t clock_entropy(void *self) { return ++((struct fuzz_clock *)self)->dice; }

struct clock_port fuzz_clock_port(struct fuzz_clock *clock) {
    return (struct clock_port){clock_now, clock_entropy, clock};
}

void fuzz_clock_move(struct fuzz_clock *clock, int64_t ms) {
    clock->wall_ms += ms;
    clock->mono_us += ms * 1000;
}
