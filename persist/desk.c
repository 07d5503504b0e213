#include "persist/desk.h"

#include <assert.h>

void desk_init(struct desk *desk, const struct store_settings *settings) {
    *desk = (struct desk){.requests_max = settings->requests_max, .clock = settings->clock, .ready = settings->ready,
                          .ready_arg = settings->ready_arg};
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->work, NULL);
    store_queue_init(&desk->waiting);
    store_queue_init(&desk->answered);
}

void desk_fini(struct desk *desk) {
    assert(!desk->waiting.first);
    pthread_cond_destroy(&desk->work);
    pthread_mutex_destroy(&desk->lock);
}

enum status desk_submit(struct desk *desk, struct store_request *request) {
    request->since_us = desk->clock.now(desk->clock.self).mono_us;
    pthread_mutex_lock(&desk->lock);
    bool taken = !desk->closed && desk->requests < desk->requests_max;
    if (taken) {
        desk->requests++;
        store_queue_put(&desk->waiting, request);
        pthread_cond_signal(&desk->work);
    }
    pthread_mutex_unlock(&desk->lock);
    return taken ? STATUS_OK : STATUS_ERR_BUSY;
}

struct store_request *desk_poll(struct desk *desk) {
    pthread_mutex_lock(&desk->lock);
    struct store_request *request = store_queue_take(&desk->answered);
    if (request) desk->requests--;
    pthread_mutex_unlock(&desk->lock);
    return request;
}

struct store_request *desk_take(struct desk *desk) {
    pthread_mutex_lock(&desk->lock);
    struct store_request *request = store_queue_take(&desk->waiting);
    pthread_mutex_unlock(&desk->lock);
    return request;
}

struct store_request *desk_take_late(struct desk *desk, int64_t before_us) {
    pthread_mutex_lock(&desk->lock);
    struct store_request *first = desk->waiting.first;
    struct store_request *late = first && first->since_us < before_us ? store_queue_take(&desk->waiting) : NULL;
    pthread_mutex_unlock(&desk->lock);
    return late;
}

struct store_request *desk_wait(struct desk *desk) {
    pthread_mutex_lock(&desk->lock);
    while (!desk->waiting.first && !desk->closed) pthread_cond_wait(&desk->work, &desk->lock);
    struct store_request *request = store_queue_take(&desk->waiting);
    pthread_mutex_unlock(&desk->lock);
    return request;
}

void desk_answer(struct desk *desk, struct store_request *request) {
    pthread_mutex_lock(&desk->lock);
    bool first = !desk->answered.first;
    store_queue_put(&desk->answered, request);
    pthread_mutex_unlock(&desk->lock);
    if (first && desk->ready) desk->ready(desk->ready_arg);
}

void desk_close(struct desk *desk) {
    pthread_mutex_lock(&desk->lock);
    desk->closed = true;
    pthread_cond_broadcast(&desk->work);
    for (struct store_request *r; (r = store_queue_take(&desk->waiting));) {
        store_answer(r, STORE_TRANSIENT, "the store was closed");
        store_queue_put(&desk->answered, r);
    }
    pthread_mutex_unlock(&desk->lock);
}
