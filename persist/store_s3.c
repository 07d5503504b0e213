/* Objects in a bucket of S3, or of what speaks its protocol: the thread, the port, and opening.
 *
 * One thread drives up to `concurrency` calls (call_s3.c) over libcurl's multi interface, which keeps the connections. Whoever
 * submits wakes it through an eventfd of our own: libcurl's wakeup may be swallowed by the next curl_multi_perform (8.21). */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sodium.h>

#include "core/mem.h"
#include "core/thread_posix.h"
#include "persist/call_s3.h"

#define POLL_MS 1000

struct s3_store {
    struct s3_client client;
    int wake;
    _Atomic bool stop;
    pthread_t thread;
    struct call *calls; /* concurrency of them */
};

/* ---------------------------------------------------------------------- thread */

static void take_work(struct s3_store *s) {
    for (uint32_t i = 0; i < s->client.settings.concurrency; i++) {
        struct store_request *r;
        while (s->calls[i].state == CALL_IDLE && (r = desk_take(&s->client.desk))) call_start(&s->client, &s->calls[i], r);
    }
}

/* While all calls are busy with a store that does not answer, others wait no longer than they would with a call of their own. */
static void turn_away_late(struct s3_store *s) {
    struct desk *desk = &s->client.desk;
    int64_t before_us = desk->clock.now(desk->clock.self).mono_us - (int64_t)s->client.settings.deadline_ms * 1000;
    for (struct store_request *r; (r = desk_take_late(desk, before_us));) {
        store_answer(r, STORE_TRANSIENT, "waited too long for its turn");
        desk_answer(desk, r);
    }
}

/* Those whose wait is over fly; the time until the next one's is. */
static int64_t wake_waiting(struct s3_store *s) {
    int64_t now = s->client.settings.clock.now(s->client.settings.clock.self).mono_us, next = POLL_MS * 1000;
    for (uint32_t i = 0; i < s->client.settings.concurrency; i++) {
        struct call *c = &s->calls[i];
        if (c->state != CALL_WAITING) continue;
        if (c->at_us <= now) call_fly(&s->client, c);
        else if (c->at_us - now < next) next = c->at_us - now;
    }
    return next / 1000 + 1;
}

static bool land_all(struct s3_store *s) {
    int left;
    bool any = false;
    for (CURLMsg *message; (message = curl_multi_info_read(s->client.multi, &left)); any = true) {
        struct call *c;
        CURLcode code = message->data.result; /* call_land takes the handle out, and the message with it */
        if (message->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        call_land(&s->client, c, code);
    }
    return any;
}

/* The eventfd is read before the desk is looked at, so no request is overlooked. TLS may raise SIGPIPE, which is blocked here. */
static void *drive(void *self) {
    struct s3_store *s = self;
    uint64_t count;
    while (!s->stop) {
        if (read(s->wake, &count, sizeof count) < 0 && errno != EAGAIN) break;
        int running;
        do {
            turn_away_late(s);
            take_work(s);
            curl_multi_perform(s->client.multi, &running);
        } while (land_all(s));
        struct curl_waitfd wake = {.fd = s->wake, .events = CURL_WAIT_POLLIN};
        curl_multi_poll(s->client.multi, &wake, 1, (int)wake_waiting(s), NULL);
    }
    for (uint32_t i = 0; i < s->client.settings.concurrency; i++) call_cut_off(&s->client, &s->calls[i]);
    return NULL;
}

static void wake(struct s3_store *s) {
    uint64_t one = 1;
    if (write(s->wake, &one, sizeof one) < 0) return; /* it is full, so it is awake */
}

/* ------------------------------------------------------------------------ port */

static enum status s3_submit(void *self, struct store_request *r) {
    struct s3_store *s = self;
    enum status status = desk_submit(&s->client.desk, r);
    if (status == STATUS_OK) wake(s);
    return status;
}

static struct store_request *s3_poll(void *self) { return desk_poll(&((struct s3_store *)self)->client.desk); }

static void wipe_text(const char *text) {
    if (!text) return;
    sodium_memzero((char *)text, strlen(text));
    free((char *)text);
}

static void forget(struct s3_store *s) {
    struct store_settings *settings = &s->client.settings;
    wipe_text(settings->access_key_id);
    wipe_text(settings->secret_access_key);
    wipe_text(settings->session_token);
    wipe_text(settings->credentials_file);
    wipe_text(settings->ca_file);
    s3_place_fini(&s->client.place);
    sodium_memzero(&s->client.who, sizeof s->client.who);
    mem_free(s);
}

/* What launch made. */
static void release(struct s3_store *s) {
    for (uint32_t i = 0; i < s->client.settings.concurrency; i++) call_fini(&s->calls[i]);
    curl_multi_cleanup(s->client.multi);
    if (s->wake >= 0) close(s->wake);
    mem_free(s->calls);
    desk_fini(&s->client.desk);
    forget(s);
}

static void s3_close(void *self) {
    struct s3_store *s = self;
    desk_close(&s->client.desk);
    s->stop = true;
    wake(s);
    pthread_join(s->thread, NULL);
    release(s);
}

/* ---------------------------------------------------------------------- opening */

static void init_curl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

static void keep_text(const char **text) { *text = *text ? strdup(*text) : strdup(""); }

static void keep_texts(struct store_settings *settings) {
    settings->endpoint = settings->region = NULL; /* they are in the place */
    keep_text(&settings->access_key_id);
    keep_text(&settings->secret_access_key);
    keep_text(&settings->session_token);
    keep_text(&settings->credentials_file);
    keep_text(&settings->ca_file);
}

static bool launch(struct s3_store *s) {
    struct s3_client *client = &s->client;
    desk_init(&client->desk, &client->settings);
    client->multi = curl_multi_init();
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)client->settings.concurrency);
    s->calls = mem_zero(client->settings.concurrency, sizeof *s->calls);
    for (uint32_t i = 0; i < client->settings.concurrency; i++) call_init(&s->calls[i]);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return s->wake >= 0 && thread_start(&s->thread, drive, s);
}

enum status store_s3_open(struct bytes bucket, struct bytes prefix, const struct store_settings *settings, struct store *store,
                          struct buf *error) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct s3_store *s = mem_zero(1, sizeof *s);
    pthread_once(&once, init_curl);
    s->client.settings = *settings;
    keep_texts(&s->client.settings);
    enum status status = s3_place_init(&s->client.place, bucket, prefix, settings, error);
    if (status == STATUS_OK) status = credentials_load(&s->client.settings, &s->client.who, error);
    if (status != STATUS_OK) {
        forget(s);
        return status;
    }
    if (!launch(s)) {
        buf_put_str(error, "object store: no thread can be started");
        release(s);
        return STATUS_ERR_LIMIT;
    }
    *store = (struct store){s3_submit, s3_poll, s3_close, s};
    return STATUS_OK;
}
