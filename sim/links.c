/* Links between nodes: dialled for ever, a bounded queue each, in order unless the world is hostile. */
#include <assert.h>
#include <stdio.h>

#include "sim/world_state.h"

#define QUEUE_FRAMES 64u
#define QUEUE_BYTES (4u << 20)
#define REDIAL_US_MIN 50000
#define REDIAL_US_MAX 250000
#define QUIET_LATENCY_US 500

static void plan_connect(struct sim_node *n, int link, int64_t after_us) {
    event_push(n->world, (struct event){.at_us = n->world->now_us + after_us, .kind = EVENT_CONNECT, .node = n->index,
                                        .life = n->life, .link = link, .generation = n->links[link].generation});
}

static enum status dial(void *self, int link, const char *address) {
    struct sim_node *n = self;
    unsigned target;
    char rest;
    if (sscanf(address, "n%u:1%c", &target, &rest) != 1 || target >= n->world->node_count) return STATUS_ERR_INVALID;
    struct link *l = &n->links[link];
    assert(l->target < 0);
    *l = (struct link){.target = (int)target, .generation = l->generation + 1};
    plan_connect(n, link, world_between(n->world, 100, 2000));
    return STATUS_OK;
}

static void hangup(void *self, int link) {
    struct sim_node *n = self;
    n->links[link].target = -1;
    n->links[link].connected = false;
    n->links[link].generation++;
}

static bool happens(struct world *w, int64_t percent) { return w->hostile && percent && rng_percent(&w->rng, (unsigned)percent); }

static struct buf *frame_copy(struct bytes bytes) {
    struct memory *caller = memory_become(NULL);
    struct buf *frame = mem_zero(1, sizeof *frame);
    buf_put_bytes(frame, bytes);
    memory_become(caller);
    return frame;
}

static void plan_arrival(struct sim_node *n, struct link *l, struct bytes bytes, int64_t at_us) {
    struct world *w = n->world;
    struct buf *frame = frame_copy(bytes);
    if (frame->len && happens(w, w->swarm->corrupts)) {
        size_t at = rng_below(&w->rng, frame->len);
        frame->data[at] ^= (uint8_t)(1 + rng_below(&w->rng, 255));
        w->stats.corrupted++;
    }
    event_push(w, (struct event){.at_us = at_us, .kind = EVENT_ARRIVE, .node = (uint32_t)l->target, .from = n->index,
                                 .life = l->target_life, .frame = frame});
}

static int64_t arrival_us(struct sim_node *n, struct link *l, size_t len) {
    struct world *w = n->world;
    const struct sim_node *target = &w->nodes[l->target];
    int64_t at = w->now_us + world_between(w, 30, w->hostile ? 30 + w->swarm->latency_us : QUIET_LATENCY_US) + (int64_t)(len / 1000);
    if (target->slow_us) at += world_between(w, 0, target->slow_us);
    if (at < target->stopped_until_us) at = target->stopped_until_us; /* it waits in the queue */
    bool overtakes = happens(w, w->swarm->reorders);
    if (!overtakes && at < l->last_us) at = l->last_us;
    if (overtakes) w->stats.reordered++;
    if (at > l->last_us) l->last_us = at;
    return at;
}

static enum status send(void *self, int link, struct bytes bytes) {
    struct sim_node *n = self;
    struct world *w = n->world;
    struct link *l = &n->links[link];
    if (l->target < 0 || !l->connected) return STATUS_ERR_NOT_FOUND;
    if (l->frames >= QUEUE_FRAMES || l->bytes + bytes.len > QUEUE_BYTES) {
        w->stats.refused_busy++;
        return STATUS_ERR_BUSY;
    }
    int64_t at = arrival_us(n, l, bytes.len);
    l->frames++;
    l->bytes += bytes.len;
    w->stats.frames++;
    event_push(w, (struct event){.at_us = at, .kind = EVENT_SENT, .node = n->index, .life = n->life, .link = link,
                                 .generation = l->generation, .from = (uint32_t)bytes.len});
    if (happens(w, w->swarm->loss)) {
        w->stats.lost++;
        return STATUS_OK;
    }
    plan_arrival(n, l, bytes, at);
    if (happens(w, w->swarm->duplicates)) {
        w->stats.duplicated++;
        plan_arrival(n, l, bytes, at + world_between(w, 0, 2000000));
    }
    return STATUS_OK;
}

struct transport_port links_port(struct sim_node *n) { return (struct transport_port){dial, hangup, send, n}; }

void links_clear(struct sim_node *n) {
    for (int i = 0; i < GOSSIP_LINKS; i++) {
        n->links[i].target = -1;
        n->links[i].connected = false;
        n->links[i].generation++;
    }
}

void link_connect(struct sim_node *n, int link) {
    struct world *w = n->world;
    struct link *l = &n->links[link];
    struct sim_node *target = &w->nodes[l->target];
    bool deaf = !target->node || target->stopped_until_us > w->now_us;
    if (deaf || w->cut[n->index][l->target] || w->cut[l->target][n->index]) {
        plan_connect(n, link, world_between(w, REDIAL_US_MIN, REDIAL_US_MAX));
        return;
    }
    l->connected = true;
    l->target_life = target->life;
    l->last_us = w->now_us;
    node_step(n, (struct gossip_event){.kind = GOSSIP_UP, .link = link});
}

void link_disconnect(struct sim_node *n, int link) {
    struct link *l = &n->links[link];
    if (!l->connected) return;
    l->connected = false;
    l->generation++;
    l->frames = 0;
    l->bytes = 0;
    node_step(n, (struct gossip_event){.kind = GOSSIP_DOWN, .link = link});
    if (l->target >= 0) plan_connect(n, link, world_between(n->world, REDIAL_US_MIN, REDIAL_US_MAX));
}

void links_lose(struct world *w, uint32_t target) {
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *n = &w->nodes[i];
        for (int k = 0; k < GOSSIP_LINKS && n->node; k++) {
            const struct link *l = &n->links[k];
            if (l->target != (int)target || !l->connected) continue;
            event_push(w, (struct event){.at_us = w->now_us + world_between(w, 100, 20000), .kind = EVENT_DISCONNECT, .node = i,
                                         .life = n->life, .link = k, .generation = l->generation});
        }
    }
}

void link_sent(struct sim_node *n, const struct event *e) {
    struct link *l = &n->links[e->link];
    l->frames--;
    l->bytes -= e->from;
    node_step(n, (struct gossip_event){.kind = GOSSIP_SENT, .link = e->link});
}

struct arriving {
    struct node *node;
    struct bytes frame;
    bool taken;
};

static void offer(void *arg) {
    struct arriving *a = arg;
    gossip_awake(a->node->gossip);
    a->taken = gossip_deltas(a->node->gossip, a->frame, node_now(a->node));
}

/* Nodes of odd numbers take deltas by the short cut, as threads that are not gossip's do. */
void link_arrive(struct world *w, const struct event *e) {
    struct sim_node *n = &w->nodes[e->node];
    struct arriving a = {n->node, buf_bytes(e->frame), false};
    world_trace_add(w, a.frame);
    if (e->node % 2 && !node_runs(n, &w->stats.ooms_step, offer, &a)) return;
    node_step(n, a.taken ? (struct gossip_event){.kind = GOSSIP_TICK} : (struct gossip_event){.kind = GOSSIP_FRAME, .frame = a.frame});
}
