#include "net/host.h"

#include <sodium.h>

#include "net/options.h"

void host_init(struct host *h, struct node *node, struct config *config, const struct host_ports *ports) {
    *h = (struct host){.node = node, .config = config, .limits = RESP_LIMITS_DEFAULT, .started = node_now(node)};
    if (ports) h->ports = *ports;
    pthread_mutex_init(&h->lock, NULL);
    h->limits.bulk_bytes_max = (size_t)config_integer(config, OPTION_PROTO_MAX_BULK_LEN);
    h->limits.query_bytes_max = (size_t)config_integer(config, OPTION_CLIENT_QUERY_BUFFER_LIMIT);
    h->out_bytes_max = (size_t)config_integer(config, OPTION_CLIENT_OUTPUT_BUFFER_LIMIT);
    for (int i = 0; i < 2; i++) h->run_id[i] = node->clock.entropy(node->clock.self);
}

void host_fini(struct host *h) { pthread_mutex_destroy(&h->lock); }

bool host_has_password(const struct host *h) {
    struct buf password = {0};
    config_string(h->config, OPTION_REQUIREPASS, &password);
    bool has = password.len > 0;
    buf_fini(&password);
    return has;
}

bool host_is_password(const struct host *h, struct bytes given) {
    struct buf password = {0};
    uint8_t want[32], have[32];
    config_string(h->config, OPTION_REQUIREPASS, &password);
    crypto_generichash(want, sizeof want, password.data, password.len, NULL, 0);
    crypto_generichash(have, sizeof have, given.data, given.len, NULL, 0);
    bool is = sodium_memcmp(want, have, sizeof want) == 0;
    if (password.data) sodium_memzero(password.data, password.len);
    buf_fini(&password);
    return is;
}

void host_reset_stats(struct host *h) {
#define X(name, text) atomic_store(&h->name, 0);
    HOST_COUNTERS(X)
#undef X
    atomic_store(&h->node->expired, 0);
    if (h->ports.usage) atomic_store(&h->rejected_before, h->ports.usage(h->ports.arg).connections_rejected);
}

void host_pause(struct host *h, int64_t until_us, bool all, int64_t now_us) {
    pthread_mutex_lock(&h->lock);
    int64_t old_us = atomic_load(&h->paused_until_us);
    bool holds = old_us > now_us;
    atomic_store(&h->paused_all, all || (holds && atomic_load(&h->paused_all)));
    if (!holds || until_us > old_us) atomic_store(&h->paused_until_us, until_us);
    pthread_mutex_unlock(&h->lock);
}

void host_unpause(struct host *h) {
    pthread_mutex_lock(&h->lock);
    atomic_store(&h->paused_until_us, 0);
    pthread_mutex_unlock(&h->lock);
    if (h->ports.wake) h->ports.wake(h->ports.arg);
}
