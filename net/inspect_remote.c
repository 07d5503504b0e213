/* The store port is asynchronous; here is one request at a time, and who waits for it. */
#include "net/inspect_store.h"
#include "net/os_posix.h"

static void on_ready(void *arg) {
    struct remote *r = arg;
    pthread_mutex_lock(&r->lock);
    pthread_cond_signal(&r->answered);
    pthread_mutex_unlock(&r->lock);
}

bool remote_open(struct remote *r, struct inspect *i) {
    struct store_settings *settings = &i->store.settings;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->answered, NULL);
    settings->clock = os_clock();
    settings->ready = on_ready;
    settings->ready_arg = r;
    settings->concurrency = 1;
    settings->read_only = true;
    return store_open(i->where, settings, &r->store, &i->error) == STATUS_OK;
}

void remote_close(struct remote *r) {
    if (r->store.self) store_close(&r->store);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->answered);
}

void remote_ask(struct remote *r, struct store_request *request) {
    if (store_submit(&r->store, request) != STATUS_OK) {
        store_answer(request, STORE_REFUSED, "it is no key, or asks for nothing");
        return;
    }
    pthread_mutex_lock(&r->lock);
    while (!store_poll(&r->store)) pthread_cond_wait(&r->answered, &r->lock); /* it is the only one */
    pthread_mutex_unlock(&r->lock);
}
