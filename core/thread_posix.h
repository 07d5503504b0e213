/* Threads of our own, and how they sleep. */
#ifndef ANNEAL_CORE_THREAD_POSIX_H
#define ANNEAL_CORE_THREAD_POSIX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* With signals blocked: they are for the thread that waits for them. But for those that tell of our own faults, which reports
 * are made of. */
bool thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg) MUST_CHECK;

/* What one thread sleeps by and others wake it with. A ring while it is awake is not lost: its next sleep ends at once. */
struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rings;
    bool rung;
};

void bell_init(struct bell *bell);
void bell_fini(struct bell *bell); /* nobody sleeps by it */
void bell_ring(struct bell *bell);
/* Until it rings (true), or so many microseconds of the monotonic clock have passed; 0 or less only asks. */
bool bell_sleep(struct bell *bell, int64_t us);

#endif
