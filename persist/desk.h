/* The desk of a driver: requests come in on one side, answers go out on the other. What both drivers with threads need.
 * Any thread; locks, but starts no thread and does no I/O. */
#ifndef ANNEAL_PERSIST_DESK_H
#define ANNEAL_PERSIST_DESK_H

#include <pthread.h>

#include "core/port.h"
#include "persist/store_open.h"

struct desk {
    pthread_mutex_t lock;
    pthread_cond_t work; /* something waits, or the desk is closed */
    struct store_queue waiting, answered;
    size_t requests, requests_max; /* not yet polled */
    bool closed;
    struct clock_port clock;
    void (*ready)(void *arg);
    void *ready_arg;
};

void desk_init(struct desk *desk, const struct store_settings *settings);
void desk_fini(struct desk *desk); /* nothing may wait */
enum status desk_submit(struct desk *desk, struct store_request *request) MUST_CHECK;
struct store_request *desk_poll(struct desk *desk);
struct store_request *desk_take(struct desk *desk); /* NULL: nothing waits */
struct store_request *desk_wait(struct desk *desk); /* waits for it; NULL: the desk is closed */
/* The first of those that wait, if it was submitted before that. */
struct store_request *desk_take_late(struct desk *desk, int64_t before_us);
void desk_answer(struct desk *desk, struct store_request *request);
/* From now on nothing can be submitted; what waits is answered TRANSIENT. */
void desk_close(struct desk *desk);

#endif
