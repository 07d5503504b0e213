#include "core/thread_posix.h"

#include <signal.h>
#include <time.h>

bool thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before); /* the new thread inherits it */
    int error = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

void bell_init(struct bell *bell) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&bell->rings, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&bell->lock, NULL);
    bell->rung = false;
}

void bell_fini(struct bell *bell) {
    pthread_cond_destroy(&bell->rings);
    pthread_mutex_destroy(&bell->lock);
}

void bell_ring(struct bell *bell) {
    pthread_mutex_lock(&bell->lock);
    bell->rung = true;
    pthread_cond_signal(&bell->rings);
    pthread_mutex_unlock(&bell->lock);
}

static struct timespec after(int64_t us) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + us % 1000000 * 1000;
    t.tv_sec += (time_t)(us / 1000000 + ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    return t;
}

bool bell_sleep(struct bell *bell, int64_t us) {
    struct timespec until = after(us > 0 ? us : 0);
    pthread_mutex_lock(&bell->lock);
    while (!bell->rung && us > 0 && pthread_cond_timedwait(&bell->rings, &bell->lock, &until) == 0) {}
    bool rung = bell->rung;
    bell->rung = false;
    pthread_mutex_unlock(&bell->lock);
    return rung;
}
