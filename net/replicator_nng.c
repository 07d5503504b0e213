#define _GNU_SOURCE /* ppoll */
#include "net/replicator_nng.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 256 /* between two looks at what is due */

struct replicator {
    struct peers *peers;
    int wake_fd;
};

_Static_assert(GOSSIP_LINKS <= PEER_LINKS, "a link of the transport for each of gossip's");

static bool read_address(const char *address, char host[GOSSIP_ADDRESS_MAX], uint16_t *port) {
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address) return false;
    size_t len = (size_t)(colon - address);
    bool bracketed = address[0] == '[' && address[len - 1] == ']';
    snprintf(host, GOSSIP_ADDRESS_MAX, "%.*s", (int)(bracketed ? len - 2 : len), address + bracketed);
    char *end;
    unsigned long number = strtoul(colon + 1, &end, 10);
    *port = (uint16_t)number;
    return colon[1] && !*end && number > 0 && number <= UINT16_MAX;
}

bool replicator_is_address(const char *address) {
    char host[GOSSIP_ADDRESS_MAX];
    uint16_t port;
    return read_address(address, host, &port) && *host;
}

static enum status dial(void *self, int link, const char *address) {
    char host[GOSSIP_ADDRESS_MAX];
    uint16_t port;
    if (!read_address(address, host, &port)) return STATUS_ERR_INVALID;
    return peers_dial(((struct replicator *)self)->peers, link, host, port);
}

static void hangup(void *self, int link) { peers_hangup(((struct replicator *)self)->peers, link); }

static enum status send_frame(void *self, int link, struct bytes frame) {
    return peers_send(((struct replicator *)self)->peers, link, frame);
}

struct transport_port replicator_port(struct replicator *r) {
    return (struct transport_port){dial, hangup, send_frame, r};
}

struct replicator *replicator_open(const struct peers_config *config, enum status *status) {
    struct replicator *r = mem_zero(1, sizeof *r);
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->peers = r->wake_fd >= 0 ? peers_open(config, status) : NULL;
    if (r->peers) return r;
    if (r->wake_fd >= 0) close(r->wake_fd);
    else *status = STATUS_ERR_IO;
    mem_free(r);
    return NULL;
}

void replicator_close(struct replicator *r) {
    peers_close(r->peers);
    close(r->wake_fd);
    mem_free(r);
}

uint16_t replicator_listens(const struct replicator *r) { return peers_port(r->peers); }
void replicator_stats(struct replicator *r, struct peers_stats *out) { peers_stats(r->peers, out); }

void replicator_wake(struct replicator *r) {
    uint64_t one = 1;
    while (write(r->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

static struct gossip_event event_of(const struct peer_event *e) {
    static const enum gossip_event_kind kinds[] = {
        [PEER_FRAME] = GOSSIP_FRAME, [PEER_UP] = GOSSIP_UP, [PEER_DOWN] = GOSSIP_DOWN, [PEER_SENT] = GOSSIP_SENT};
    return (struct gossip_event){.kind = kinds[e->kind], .link = e->link, .frame = e->bytes};
}

/* Returns when gossip wants to be called again. */
static int64_t take_events(struct replicator *r, struct node *node) {
    struct peer_event e;
    for (int i = 0; i < EVENTS_AT_ONCE && peers_next(r->peers, &e); i++) {
        struct gossip_event event = event_of(&e);
        gossip_step(node->gossip, &event, node_now(node));
        peers_release(&e);
    }
    return gossip_step(node->gossip, &(struct gossip_event){.kind = GOSSIP_TICK}, node_now(node));
}

/* False: the extra descriptor is readable. */
static bool sleep_until(struct replicator *r, int64_t due_us, int64_t now_us, int extra_fd) {
    int64_t left_us = due_us > now_us ? due_us - now_us : 0;
    struct timespec left = {left_us / 1000000, left_us % 1000000 * 1000};
    struct pollfd fds[] = {{peers_fd(r->peers), POLLIN, 0}, {r->wake_fd, POLLIN, 0}, {extra_fd, POLLIN, 0}};
    if (ppoll(fds, 3, &left, NULL) <= 0) return true;
    uint64_t count;
    if (fds[1].revents & POLLIN && read(r->wake_fd, &count, sizeof count) < 0) return true;
    return !(fds[2].revents & (POLLIN | POLLHUP | POLLERR));
}

/* Deltas need not wait for the loop to wake up. */
static bool take_deltas(void *arg, struct bytes frame) {
    struct node *node = arg;
    return gossip_deltas(node->gossip, frame, node_now(node));
}

void replicator_run(struct replicator *r, struct node *node, int extra_fd, int64_t deadline_us) {
    bool going = true;
    peers_take(r->peers, take_deltas, node);
    while (going) {
        int64_t due_us = take_events(r, node);
        if (!gossip_may_sleep(node->gossip))
            due_us = gossip_step(node->gossip, &(struct gossip_event){.kind = GOSSIP_TICK}, node_now(node));
        int64_t now_us = node_now(node).mono_us;
        going = sleep_until(r, due_us < deadline_us ? due_us : deadline_us, now_us, extra_fd) &&
                node_now(node).mono_us < deadline_us;
        gossip_awake(node->gossip);
    }
    peers_take(r->peers, NULL, NULL);
}
