#include "core/clock_posix.h"

#include <stddef.h>
#include <sys/random.h>
#include <time.h>

int64_t os_mono_us(void) {
    struct timespec mono;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    return (int64_t)mono.tv_sec * 1000000 + mono.tv_nsec / 1000;
}

struct now os_now(void) {
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct now){(int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000, os_mono_us()};
}

uint64_t os_entropy(void) {
    uint64_t value;
    while (getrandom(&value, sizeof value, 0) != sizeof value) {}
    return value;
}

static struct now clock_now(void *self) {
    (void)self;
    return os_now();
}

static uint64_t clock_entropy(void *self) {
    (void)self;
    return os_entropy();
}

struct clock_port os_clock(void) { return (struct clock_port){clock_now, clock_entropy, NULL}; }
