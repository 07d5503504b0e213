/* A store with somebody who waits for its answers: for tests only. Its clock is the machine's, off by a skew. */
#ifndef ANNEAL_TEST_PERSIST_WAIT_H
#define ANNEAL_TEST_PERSIST_WAIT_H

#include <pthread.h>

#include "core/clock_posix.h"
#include "persist/store_open.h"

struct waiter {
    struct store store;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    unsigned readies;
    int64_t skew_ms;
    void (*pass)(void); /* a store without threads: lets its time pass until something happens */
};

static struct now wait_clock_now(void *self) {
    struct now now = os_now();
    now.wall_ms += ((struct waiter *)self)->skew_ms;
    return now;
}

static uint64_t wait_clock_entropy(void *self) {
    (void)self;
    return os_entropy();
}

static void wait_ready(void *arg) {
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    w->readies++;
    pthread_cond_broadcast(&w->answered);
    pthread_mutex_unlock(&w->lock);
}

/* Settings get the clock and the call for answers. */
static void wait_init(struct waiter *w, struct store_settings *settings) {
    *w = (struct waiter){.skew_ms = w->skew_ms};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->answered, NULL);
    settings->clock = (struct clock_port){wait_clock_now, wait_clock_entropy, w};
    settings->ready = wait_ready;
    settings->ready_arg = w;
}

/* The next answer, whosever it is; `ready` is told once for several. */
static struct store_request *wait_next(struct waiter *w) {
    struct store_request *r;
    if (w->pass) {
        while (!(r = store_poll(&w->store))) w->pass();
        return r;
    }
    pthread_mutex_lock(&w->lock);
    while (!(r = store_poll(&w->store))) pthread_cond_wait(&w->answered, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return r;
}

#endif
