/* Ports: what a node needs of the world, as small tables that the server fills with the
 * operating system and the simulator with a simulation. */
#ifndef ANNEAL_CORE_PORT_H
#define ANNEAL_CORE_PORT_H

#include <stdint.h>

/* One reading of both clocks. */
struct now {
    int64_t wall_ms; /* Unix time in milliseconds; may jump either way */
    int64_t mono_us; /* never goes back; origin unspecified */
};

struct clock_port {
    struct now (*now)(void *self);
    /* 64 bits that no other process start will see (replica incarnations, tokens). */
    uint64_t (*entropy)(void *self);
    void *self;
};

#endif
