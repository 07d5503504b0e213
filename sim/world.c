#include "sim/world.h"

#include <assert.h>
#include <stdio.h>

#define BASE_WALL_MS INT64_C(1700000000000)
#define QUEUE_FRAMES 64u
#define QUEUE_BYTES (4u << 20)
#define REDIAL_US_MIN 50000
#define REDIAL_US_MAX 250000
#define MINUTE_US INT64_C(60000000)

enum event_kind { EVENT_TICK, EVENT_CONNECT, EVENT_DISCONNECT, EVENT_ARRIVE, EVENT_SENT, EVENT_RESTART, EVENT_FAULT };

struct event {
    int64_t at_us;
    uint64_t seq;
    enum event_kind kind;
    uint32_t node, from; /* SENT: from is how many bytes */
    uint64_t life, generation; /* of the node, of the link: others are over */
    int link;
    struct buf *frame;
};

struct link {
    int target; /* -1: not dialled */
    uint64_t generation, target_life;
    bool connected;
    uint32_t frames;
    uint64_t bytes;
    int64_t last_us; /* when the last frame arrives: order is kept */
};

struct sim_node {
    struct world *world;
    uint32_t index;
    struct node *node;
    uint64_t life;
    int64_t skew_ms;
    int64_t tick_at_us;
    char address[16];
    char join[WORLD_NODES_MAX * 8];
    struct link links[GOSSIP_LINKS];
};

struct world {
    struct rng rng;
    int64_t now_us;
    uint64_t seq;
    struct event *heap;
    size_t count, cap;
    struct sim_node nodes[WORLD_NODES_MAX];
    uint32_t node_count, shards;
    uint64_t log_bytes_max;
    bool cut[WORLD_NODES_MAX][WORLD_NODES_MAX];
    struct world_faults faults;
    struct world_stats stats;
    uint64_t trace;
    bool verbose;
    void (*on_restart)(void *, uint32_t, bool);
    void *on_restart_arg;
    void (*on_step)(void *, uint32_t, const struct gossip_event *);
    void *on_step_arg;
};

/* ------------------------------------------------------------------ events */

static bool is_before(const struct event *a, const struct event *b) {
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void push(struct world *w, struct event event) {
    event.seq = w->seq++;
    if (w->count == w->cap) w->heap = mem_realloc(w->heap, (w->cap = w->cap ? 2 * w->cap : 64) * sizeof *w->heap);
    size_t at = w->count++;
    for (; at && is_before(&event, &w->heap[(at - 1) / 2]); at = (at - 1) / 2) w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = event;
}

static struct event pop(struct world *w) {
    struct event top = w->heap[0], last = w->heap[--w->count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < w->count) {
        if (child + 1 < w->count && is_before(&w->heap[child + 1], &w->heap[child])) child++;
        if (!is_before(&w->heap[child], &last)) break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return top;
}

static int64_t between(struct world *w, int64_t least, int64_t most) {
    return least + (int64_t)rng_below(&w->rng, (uint64_t)(most - least) + 1);
}

void world_trace_add(struct world *w, struct bytes bytes) { w->trace = hash_content(bytes, w->trace ^ (uint64_t)w->now_us); }

/* ------------------------------------------------------------------- ports */

static struct now node_clock(void *self) {
    const struct sim_node *n = self;
    return (struct now){BASE_WALL_MS + n->world->now_us / 1000 + n->skew_ms, n->world->now_us};
}
static uint64_t entropy(void *self) { return rng_next(&((struct sim_node *)self)->world->rng); }

static void schedule_tick(struct sim_node *n, int64_t at_us) {
    if (at_us >= n->tick_at_us) return;
    n->tick_at_us = at_us;
    push(n->world, (struct event){.at_us = at_us, .kind = EVENT_TICK, .node = n->index, .life = n->life});
}

static void wake(void *arg) {
    struct sim_node *n = arg;
    schedule_tick(n, n->world->now_us);
}

static void note(void *arg, const char *text) {
    const struct sim_node *n = arg;
    if (n->world->verbose) printf("%10lld n%u %s\n", (long long)n->world->now_us, n->index, text);
}

static void plan_connect(struct sim_node *n, int link, int64_t after_us) {
    push(n->world, (struct event){.at_us = n->world->now_us + after_us, .kind = EVENT_CONNECT, .node = n->index,
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
    plan_connect(n, link, between(n->world, 100, 2000));
    return STATUS_OK;
}

static void hangup(void *self, int link) {
    struct sim_node *n = self;
    n->links[link].target = -1;
    n->links[link].connected = false;
    n->links[link].generation++;
}

static struct buf *frame_copy(struct bytes bytes) {
    struct buf *frame = mem_zero(1, sizeof *frame);
    buf_put_bytes(frame, bytes);
    return frame;
}

static void plan_arrival(struct sim_node *n, struct link *l, struct bytes bytes, int64_t at_us) {
    struct world *w = n->world;
    struct buf *frame = frame_copy(bytes);
    if (frame->len && rng_percent(&w->rng, w->faults.corrupt_percent)) {
        frame->data[rng_below(&w->rng, frame->len)] ^= (uint8_t)(1 + rng_below(&w->rng, 255));
        w->stats.corrupted++;
    }
    push(w, (struct event){.at_us = at_us, .kind = EVENT_ARRIVE, .node = (uint32_t)l->target, .from = n->index,
                           .life = l->target_life, .frame = frame});
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
    int64_t at = w->now_us + between(w, w->faults.latency_us_min, w->faults.latency_us_max) + (int64_t)(bytes.len / 1000);
    bool overtakes = rng_percent(&w->rng, w->faults.reorder_percent);
    if (!overtakes && at < l->last_us) at = l->last_us;
    if (overtakes) w->stats.reordered++;
    if (at > l->last_us) l->last_us = at;
    l->frames++;
    l->bytes += bytes.len;
    w->stats.frames++;
    push(w, (struct event){.at_us = at, .kind = EVENT_SENT, .node = n->index, .life = n->life, .link = link,
                           .generation = l->generation, .from = (uint32_t)bytes.len});
    if (rng_percent(&w->rng, w->faults.loss_percent)) {
        w->stats.lost++;
        return STATUS_OK;
    }
    plan_arrival(n, l, bytes, at);
    if (rng_percent(&w->rng, w->faults.duplicate_percent)) {
        w->stats.duplicated++;
        plan_arrival(n, l, bytes, at + between(w, 0, 2000000));
    }
    return STATUS_OK;
}

/* ------------------------------------------------------------------- nodes */

static void node_start(struct sim_node *n) {
    struct world *w = n->world;
    struct node_config config = {
        .clock = {node_clock, entropy, n},
        .shards = w->shards,
        .cluster_name = "sim",
        .node_id = n->index + 1,
        .log_bytes_max = w->log_bytes_max,
        .gossip = {GOSSIP_CONFIG_DEFAULT, .transport = {dial, hangup, send, n}, .wake = wake, .note = note, .arg = n},
    };
    config.gossip.address = n->address;
    config.gossip.join = n->join;
    n->life++;
    n->tick_at_us = INT64_MAX;
    for (int i = 0; i < GOSSIP_LINKS; i++) {
        n->links[i].target = -1;
        n->links[i].connected = false;
        n->links[i].generation++;
    }
    n->node = node_new(&config);
    schedule_tick(n, w->now_us);
    if (w->on_restart) w->on_restart(w->on_restart_arg, n->index, true);
}

static void step(struct sim_node *n, struct gossip_event event) {
    gossip_awake(n->node->gossip);
    int64_t next = gossip_step(n->node->gossip, &event, node_clock(n));
    if (!gossip_may_sleep(n->node->gossip)) next = gossip_step(n->node->gossip, &(struct gossip_event){0}, node_clock(n));
    if (n->world->on_step) n->world->on_step(n->world->on_step_arg, n->index, &event);
    schedule_tick(n, next <= n->world->now_us ? n->world->now_us + 1 : next);
}

static void disconnect(struct sim_node *n, int link) {
    struct link *l = &n->links[link];
    if (!l->connected) return;
    l->connected = false;
    l->generation++;
    l->frames = 0;
    l->bytes = 0;
    step(n, (struct gossip_event){.kind = GOSSIP_DOWN, .link = link});
    if (l->target >= 0) plan_connect(n, link, between(n->world, REDIAL_US_MIN, REDIAL_US_MAX));
}

static void cut_links_to(struct world *w, uint32_t target) {
    for (uint32_t i = 0; i < w->node_count; i++)
        for (int k = 0; k < GOSSIP_LINKS && w->nodes[i].node; k++)
            if (w->nodes[i].links[k].target == (int)target && w->nodes[i].links[k].connected)
                push(w, (struct event){.at_us = w->now_us + between(w, 100, 20000), .kind = EVENT_DISCONNECT, .node = i,
                                       .life = w->nodes[i].life, .link = k, .generation = w->nodes[i].links[k].generation});
}

void world_crash(struct world *w, uint32_t index, int64_t down_us) {
    struct sim_node *n = &w->nodes[index];
    if (!n->node) return;
    if (w->on_restart) w->on_restart(w->on_restart_arg, index, false);
    if (w->verbose) printf("%10lld n%u crashes\n", (long long)w->now_us, index);
    node_free(n->node);
    n->node = NULL;
    n->life++;
    w->stats.crashes++;
    cut_links_to(w, index);
    push(w, (struct event){.at_us = w->now_us + down_us, .kind = EVENT_RESTART, .node = index});
}

/* ------------------------------------------------------------------- faults */

static void random_partition(struct world *w) {
    w->stats.partitions++;
    bool heal = rng_percent(&w->rng, 40);
    bool one_way = rng_percent(&w->rng, 30);
    bool side[WORLD_NODES_MAX];
    for (uint32_t i = 0; i < w->node_count; i++) side[i] = rng_percent(&w->rng, 50);
    for (uint32_t a = 0; a < w->node_count; a++)
        for (uint32_t b = 0; b < w->node_count; b++)
            w->cut[a][b] = !heal && side[a] != side[b] && (!one_way || side[a]);
    if (w->verbose) printf("%10lld %s\n", (long long)w->now_us, heal ? "network heals" : "network is cut");
}

static void random_fault(struct world *w) {
    unsigned all = w->faults.partitions + w->faults.crashes + w->faults.clock_jumps;
    if (!all) return;
    uint64_t pick = rng_below(&w->rng, all);
    struct sim_node *n = &w->nodes[rng_below(&w->rng, w->node_count)];
    if (pick < w->faults.partitions) {
        random_partition(w);
    } else if (pick < w->faults.partitions + w->faults.crashes) {
        world_crash(w, n->index, between(w, 10000, 20000000));
    } else {
        w->stats.jumps++;
        n->skew_ms = between(w, -w->faults.skew_ms_max, w->faults.skew_ms_max);
    }
    push(w, (struct event){.at_us = w->now_us + between(w, 1, 2 * MINUTE_US / all), .kind = EVENT_FAULT});
}

void world_faults(struct world *w, const struct world_faults *faults) {
    w->faults = *faults;
    for (uint32_t i = 0; i < w->node_count; i++)
        w->nodes[i].skew_ms = faults->skew_ms_max ? between(w, -faults->skew_ms_max, faults->skew_ms_max) : 0;
    push(w, (struct event){.at_us = w->now_us + between(w, 1, 5000000), .kind = EVENT_FAULT});
}

void world_heal(struct world *w) {
    memset(w->cut, 0, sizeof w->cut);
    w->faults = (struct world_faults){.latency_us_min = 50, .latency_us_max = 500};
    for (uint32_t i = 0; i < w->node_count; i++) {
        w->nodes[i].skew_ms = 0;
        if (!w->nodes[i].node) node_start(&w->nodes[i]);
    }
}

/* ------------------------------------------------------------------ running */

static void connect_link(struct sim_node *n, int link) {
    struct world *w = n->world;
    struct link *l = &n->links[link];
    struct sim_node *target = &w->nodes[l->target];
    if (!target->node || w->cut[n->index][l->target] || w->cut[l->target][n->index]) {
        plan_connect(n, link, between(w, REDIAL_US_MIN, REDIAL_US_MAX));
        return;
    }
    l->connected = true;
    l->target_life = target->life;
    l->last_us = w->now_us;
    step(n, (struct gossip_event){.kind = GOSSIP_UP, .link = link});
}

static void arrive(struct world *w, const struct event *e) {
    struct sim_node *n = &w->nodes[e->node];
    if (!n->node || n->life != e->life || w->cut[e->from][e->node]) return;
    world_trace_add(w, buf_bytes(e->frame));
    step(n, (struct gossip_event){.kind = GOSSIP_FRAME, .frame = buf_bytes(e->frame)});
}

static void sent(struct sim_node *n, const struct event *e) {
    struct link *l = &n->links[e->link];
    l->frames--;
    l->bytes -= e->from;
    step(n, (struct gossip_event){.kind = GOSSIP_SENT, .link = e->link});
}

static void run_event(struct world *w, const struct event *e) {
    struct sim_node *n = &w->nodes[e->node];
    bool same_life = n->node && n->life == e->life;
    bool same_link = same_life && n->links[e->link].generation == e->generation;
    w->stats.events++;
    switch (e->kind) {
    case EVENT_TICK:
        if (!same_life || n->tick_at_us != e->at_us) break;
        n->tick_at_us = INT64_MAX;
        step(n, (struct gossip_event){.kind = GOSSIP_TICK});
        break;
    case EVENT_CONNECT:
        if (same_link) connect_link(n, e->link);
        break;
    case EVENT_DISCONNECT:
        if (same_link) disconnect(n, e->link);
        break;
    case EVENT_ARRIVE: arrive(w, e); break;
    case EVENT_SENT:
        if (same_link) sent(n, e);
        break;
    case EVENT_RESTART:
        if (!n->node) node_start(n);
        break;
    case EVENT_FAULT: random_fault(w); break;
    }
    if (e->frame) {
        buf_fini(e->frame);
        mem_free(e->frame);
    }
}

void world_run(struct world *w, int64_t until_us) {
    while (w->count && w->heap[0].at_us <= until_us) {
        struct event e = pop(w);
        assert(e.at_us >= w->now_us);
        w->now_us = e.at_us;
        run_event(w, &e);
    }
    w->now_us = until_us;
}

struct world *world_new(uint64_t seed, uint32_t nodes, uint32_t shards, uint64_t log_bytes_max) {
    assert(nodes >= 1);
    assert(nodes <= WORLD_NODES_MAX);
    struct world *w = mem_zero(1, sizeof *w);
    rng_seed(&w->rng, seed);
    w->node_count = nodes;
    w->shards = shards;
    w->log_bytes_max = log_bytes_max;
    w->faults = (struct world_faults){.latency_us_min = 50, .latency_us_max = 500};
    bool ring = rng_percent(&w->rng, 50);
    for (uint32_t i = 0; i < nodes; i++) {
        struct sim_node *n = &w->nodes[i];
        n->world = w;
        n->index = i;
        snprintf(n->address, sizeof n->address, "n%u:1", i);
        /* A ring of joins, or all to the first: both must become one cluster. */
        snprintf(n->join, sizeof n->join, "n%u:1,n%u:1", ring ? (i + 1) % nodes : 0, ring ? i : 1 % nodes);
    }
    for (uint32_t i = 0; i < nodes; i++) node_start(&w->nodes[i]);
    return w;
}

void world_free(struct world *w) {
    for (size_t i = 0; i < w->count; i++) {
        if (!w->heap[i].frame) continue;
        buf_fini(w->heap[i].frame);
        mem_free(w->heap[i].frame);
    }
    mem_free(w->heap);
    for (uint32_t i = 0; i < w->node_count; i++)
        if (w->nodes[i].node) node_free(w->nodes[i].node);
    mem_free(w);
}

struct node *world_node(struct world *w, uint32_t index) { return w->nodes[index].node; }
uint32_t world_node_count(const struct world *w) { return w->node_count; }
struct rng *world_rng(struct world *w) { return &w->rng; }
int64_t world_now_us(const struct world *w) { return w->now_us; }
void world_stats(const struct world *w, struct world_stats *out) { *out = w->stats; }
uint64_t world_trace_hash(const struct world *w) { return w->trace; }
void world_verbose(struct world *w, bool verbose) { w->verbose = verbose; }
void world_on_restart(struct world *w, void (*fn)(void *, uint32_t, bool), void *arg) {
    w->on_restart = fn;
    w->on_restart_arg = arg;
}
void world_on_step(struct world *w, void (*fn)(void *, uint32_t, const struct gossip_event *), void *arg) {
    w->on_step = fn;
    w->on_step_arg = arg;
}
