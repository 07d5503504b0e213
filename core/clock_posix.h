/* The machine's clocks and its entropy. Any thread. */
#ifndef ANNEAL_CORE_CLOCK_POSIX_H
#define ANNEAL_CORE_CLOCK_POSIX_H

#include "core/port.h"

int64_t os_mono_us(void);
struct now os_now(void);
uint64_t os_entropy(void);
struct clock_port os_clock(void);

#endif
