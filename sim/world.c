/* Time, nodes and the order of events. */
#include "sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/world_state.h"

#define BASE_WALL_MS INT64_C(1700000000000)

/* ------------------------------------------------------------------ events */

static bool is_before(const struct event *a, const struct event *b) {
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void event_push(struct world *w, struct event event) {
    event.seq = w->seq++;
    if (w->count == w->cap) {
        struct memory *caller = memory_become(NULL);
        w->heap = mem_realloc(w->heap, (w->cap = w->cap ? 2 * w->cap : 64) * sizeof *w->heap);
        memory_become(caller);
    }
    size_t at = w->count++;
    for (; at && is_before(&event, &w->heap[(at - 1) / 2]); at = (at - 1) / 2) w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = event;
}

static struct event event_pop(struct world *w) {
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

int64_t world_between(struct world *w, int64_t least, int64_t most) {
    return least + (int64_t)rng_below(&w->rng, (uint64_t)(most - least) + 1);
}

void world_trace_add(struct world *w, struct bytes bytes) { w->trace = hash_content(bytes, w->trace ^ (uint64_t)w->now_us); }

/* ------------------------------------------------------------------- nodes */

static struct now node_clock(void *self) {
    const struct sim_node *n = self;
    int64_t now_ms = n->world->now_us / 1000;
    return (struct now){BASE_WALL_MS + now_ms + now_ms * n->drift / 1000 + n->skew_ms, n->world->now_us};
}

static uint64_t entropy(void *self) { return rng_next(&((struct sim_node *)self)->world->rng); }

static void schedule_tick(struct sim_node *n, int64_t at_us) {
    if (at_us >= n->tick_at_us) return;
    n->tick_at_us = at_us;
    event_push(n->world, (struct event){.at_us = at_us, .kind = EVENT_TICK, .node = n->index, .life = n->life});
}

static void wake(void *arg) {
    struct sim_node *n = arg;
    schedule_tick(n, n->world->now_us);
}

/* "member ID at ADDRESS is gone", and the like. */
static void hear_of_the_gone(struct world *w, const char *text) {
    size_t len = strlen(text);
    const char *id = strstr(text, "member ") == text ? text + 7 : strstr(text, "node ") == text ? text + 5 : NULL;
    if (!id || len < 8 || (strcmp(text + len - 8, " is gone") != 0 && strcmp(text + len - 8, " is left") != 0)) return;
    uint64_t node = strtoull(id, NULL, 16);
    if (node >= 1 && node <= w->node_count) world_gives_up(w, (uint32_t)node - 1);
}

static void note(void *arg, const char *text) {
    const struct sim_node *n = arg;
    hear_of_the_gone(n->world, text);
    if (n->world->verbose) printf("%10lld n%u %s\n", (long long)n->world->now_us, n->index, text);
}

/* A cluster with a past: ids of replicas that are long gone, each node's own numbers for them. */
static void remember_past(struct sim_node *n) {
    struct world *w = n->world;
    int64_t count = w->swarm->past ? world_between(w, w->swarm->past / 2, w->swarm->past) : 0;
    for (int64_t i = 0; i < count; i++) {
        uint16_t index;
        struct replica_id id = {.node = 1 + rng_below(&w->rng, w->node_count)};
        id.incarnation = rng_next(&w->rng);
        if (replicas_intern(n->node->replicas, id, &index) != STATUS_OK) assert(false);
    }
}

static bool runs(struct sim_node *n, uint64_t *ends, void (*code)(void *arg), void *arg) {
    if (n->memory) memory_spare(n->memory, n->only && n->only != ends);
    if (memory_run(n->memory, code, arg)) return true;
    bool dark = node_is_dark(n);
    ++*(dark ? &n->world->stats.blackouts : ends);
    if (n->world->verbose && dark) printf("%10lld n%u ends in the midst of writing%s\n", (long long)n->world->now_us, n->index, n->dark_power ? ", machine and all" : "");
    else if (n->world->verbose) printf("%10lld n%u has run out of memory\n", (long long)n->world->now_us, n->index);
    return false;
}

struct starting {
    struct sim_node *n;
    const struct node_config *config;
};

static void start(void *arg) {
    const struct starting *s = arg;
    struct sim_node *n = s->n;
    n->node = node_new(s->config);
    remember_past(n);
    if (node_recover(n)) {
        node_open_archive(n);
        return;
    }
    node_free(n->node);
    n->node = NULL;
}

void node_is_up(struct sim_node *n) {
    struct world *w = n->world;
    schedule_tick(n, w->now_us);
    if (w->ports.restart) w->ports.restart(w->ports.arg, n->index, WORLD_UP);
    n->is_void = n->lost_doubted = false;
}

void node_start(struct sim_node *n) {
    struct world *w = n->world;
    const struct swarm *s = w->swarm;
    struct node_config config = {
        .clock = {node_clock, entropy, n},
        .shards = (uint32_t)s->shards,
        .cluster_name = "sim",
        .node_id = n->index + 1,
        .log_bytes_max = (uint64_t)(s->log_bytes * s->shards),
        .gossip = {GOSSIP_CONFIG_DEFAULT, .transport = links_port(n), .wake = wake, .note = note, .arg = n},
    };
    config.gossip.address = n->address;
    config.gossip.join = n->join;
    config.gossip.batch_us = s->batch_us;
    config.gossip.flushed_by_writers = s->writers;
    config.gossip.heartbeat_ms = s->heartbeat_ms;
    config.gossip.suspect_ms = s->heartbeat_ms * 7 / 2;
    config.gossip.down_ms = s->heartbeat_ms * 10;
    config.gossip.gone_ms = s->gone_ms;
    n->life++;
    n->tick_at_us = INT64_MAX;
    n->stopped_until_us = 0;
    links_clear(n);
    struct starting starting = {n, &config};
    if (!runs(n, &w->stats.ooms_start, start, &starting)) {
        n->lost_power = node_is_dark(n) && n->dark_power;
        n->lost_doubted = n->lost_doubted || n->lost_power;
        node_forget_all(n);
    }
    if (!n->node) { /* tries again */
        n->life++;
        event_push(w, (struct event){.at_us = w->now_us + 1000000, .kind = EVENT_START, .node = n->index});
        return;
    }
    if (!n->loading) node_is_up(n);
}

struct stepping {
    struct sim_node *n;
    struct gossip_event event;
    int64_t next_us;
};

static void step(void *arg) {
    struct stepping *s = arg;
    struct sim_node *n = s->n;
    gossip_awake(n->node->gossip);
    s->next_us = gossip_step(n->node->gossip, &s->event, node_clock(n));
    if (!gossip_may_sleep(n->node->gossip)) s->next_us = gossip_step(n->node->gossip, &(struct gossip_event){0}, node_clock(n));
    if (n->incarnation) node_recovered_step(n);
}

void node_step(struct sim_node *n, struct gossip_event event) {
    struct world *w = n->world;
    struct stepping s = {n, event, 0};
    if (n->loading) return; /* it has not begun to gossip */
    if (!node_runs(n, &w->stats.ooms_step, step, &s)) return;
    if (w->ports.step) w->ports.step(w->ports.arg, n->index, &event);
    schedule_tick(n, s.next_us <= w->now_us ? w->now_us + 1 : s.next_us);
}

static void is_down(struct world *w, uint32_t index, int64_t down_us) {
    w->nodes[index].life++;
    links_lose(w, index);
    event_push(w, (struct event){.at_us = w->now_us + down_us, .kind = EVENT_START, .node = index});
}

static void node_stop(struct world *w, uint32_t index, int64_t down_us, enum world_change how, bool power) {
    struct sim_node *n = &w->nodes[index];
    if (w->verbose) printf("%10lld n%u crashes for %lld us%s\n", (long long)w->now_us, index, (long long)down_us, power ? ", machine and all" : "");
    n->lost_power = power;
    if (w->ports.restart && !n->loading) w->ports.restart(w->ports.arg, index, how);
    node_forget_archive(n, true);
    node_forget_disk(n, power);
    node_free(n->node);
    n->node = NULL;
    assert(!n->memory || memory_pieces(n->memory) == 0);
    w->stats.crashes++;
    is_down(w, index, down_us);
}

bool node_runs(struct sim_node *n, uint64_t *ends, void (*code)(void *arg), void *arg) {
    if (runs(n, ends, code, arg)) return true;
    n->dead = true;
    n->world->dead_count++;
    return false;
}

bool world_enter(struct world *w, uint32_t index, void (*code)(void *arg), void *arg) {
    return world_node(w, index) && node_runs(&w->nodes[index], &w->stats.ooms_command, code, arg);
}

void world_clear_up(struct world *w) {
    for (uint32_t i = 0; i < w->node_count && w->dead_count; i++) {
        struct sim_node *n = &w->nodes[i];
        if (!n->dead) continue;
        n->dead = false;
        w->dead_count--;
        n->lost_power = node_is_dark(n) && n->dark_power;
        if (w->ports.restart && !n->loading) w->ports.restart(w->ports.arg, i, WORLD_DIED);
        node_forget_all(n);
        is_down(w, i, world_between(w, 1000, rng_percent(&w->rng, 50) ? 1000000 : 20000000));
    }
}

void world_crash(struct world *w, uint32_t index, int64_t down_us) {
    if (w->nodes[index].node) node_stop(w, index, down_us, WORLD_DOWN, w->swarm->disks && rng_percent(&w->rng, (unsigned)w->swarm->power));
}

struct closing {
    struct keeper *keeper;
    bool closed;
};

static void close_keeper(void *arg) {
    struct closing *c = arg;
    c->closed = keeper_close(c->keeper) == STATUS_OK;
}

void world_stop(struct world *w, uint32_t index, int64_t down_us) {
    struct sim_node *n = &w->nodes[index];
    struct closing closing = {n->keeper, false};
    if (!world_node(w, index) || (n->keeper && !node_runs(n, &w->stats.ooms_keeper, close_keeper, &closing))) return;
    w->stats.disk_stops += closing.closed;
    node_stop(w, index, down_us, closing.closed ? WORLD_STOPPED : WORLD_DOWN, false);
}

/* ------------------------------------------------------------------ running */

static void run_event(struct world *w, const struct event *e) {
    struct sim_node *n = &w->nodes[e->node];
    bool same_life = n->node && n->life == e->life;
    bool same_link = same_life && n->links[e->link].generation == e->generation;
    switch (e->kind) {
    case EVENT_TICK:
        if (!same_life || n->tick_at_us != e->at_us) break;
        n->tick_at_us = INT64_MAX;
        node_step(n, (struct gossip_event){.kind = GOSSIP_TICK});
        break;
    case EVENT_CONNECT:
        if (same_link) link_connect(n, e->link);
        break;
    case EVENT_DISCONNECT:
        if (same_link) link_disconnect(n, e->link);
        break;
    case EVENT_ARRIVE:
        if (same_life && !w->cut[e->from][e->node]) link_arrive(w, e);
        break;
    case EVENT_SENT:
        if (same_link) link_sent(n, e);
        break;
    case EVENT_START:
        if (!n->node) node_start(n);
        break;
    case EVENT_FAULT: fault_happens(w); break;
    case EVENT_KEEPER:
        if (same_life) node_keeps(n);
        break;
    case EVENT_ROOM: disk_has_room(n, e->generation); break;
    case EVENT_ARCHIVE:
        if (same_life && n->archive && n->archive_at_us == e->at_us) node_archives(n);
        break;
    case EVENT_CRASH:
        if (w->hostile) world_crash(w, e->node, e->from);
        break;
    case EVENT_STORE_BACK: store_is_back(w); break;
    }
}

static void frame_free(struct buf *frame) {
    if (frame) buf_fini(frame);
    mem_free(frame);
}

/* Who reads from the object store hears of his links when he is through. */
static bool is_early(const struct sim_node *n, const struct event *e) {
    return n->loading && (e->kind == EVENT_CONNECT || e->kind == EVENT_DISCONNECT || e->kind == EVENT_SENT);
}

/* A node that stands still has it all before it when it goes on. */
static bool postpone(struct world *w, const struct event *e) {
    struct sim_node *n = &w->nodes[e->node];
    if (n->node && n->life == e->life && is_early(n, e)) {
        struct event later = *e;
        later.at_us = w->now_us + 10000;
        event_push(w, later);
        return true;
    }
    if (e->kind == EVENT_FAULT || e->kind == EVENT_ROOM || e->kind == EVENT_STORE_BACK || !n->node || n->life != e->life || n->stopped_until_us <= w->now_us) return false;
    struct event later = *e;
    later.at_us = n->stopped_until_us;
    if (e->kind == EVENT_TICK && n->tick_at_us == e->at_us) n->tick_at_us = later.at_us;
    if (e->kind == EVENT_ARCHIVE && n->archive_at_us == e->at_us) n->archive_at_us = later.at_us;
    event_push(w, later);
    return true;
}

void world_run(struct world *w, int64_t until_us) {
    world_clear_up(w);
    while (w->count && w->heap[0].at_us <= until_us) {
        struct event e = event_pop(w);
        assert(e.at_us >= w->now_us);
        w->now_us = e.at_us;
        w->stats.events++;
        if (postpone(w, &e)) continue;
        run_event(w, &e);
        frame_free(e.frame);
        world_clear_up(w);
    }
    w->now_us = until_us;
}

static void node_init(struct world *w, uint32_t i, bool ring) {
    struct sim_node *n = &w->nodes[i];
    uint32_t nodes = w->node_count, late = (uint32_t)w->swarm->late;
    n->world = w;
    n->index = i;
    n->memory = w->swarm->ooms || w->swarm->blackouts ? memory_new() : NULL;
    snprintf(n->address, sizeof n->address, "n%u:1", i);
    /* A ring of joins, or all to the first: both must become one cluster. */
    snprintf(n->join, sizeof n->join, "n%u:1,n%u:1", ring ? (i + 1) % nodes : 0, ring ? i : 1 % nodes);
    if (i + late < nodes) {
        node_start(n);
        return;
    }
    w->stats.joins++;
    event_push(w, (struct event){.at_us = world_between(w, 1000000, 20000000), .kind = EVENT_START, .node = i});
}

struct world *world_new(uint64_t seed, const struct swarm *swarm, const struct world_ports *ports) {
    assert(swarm->nodes >= 1);
    assert(swarm->nodes <= WORLD_NODES_MAX);
    struct world *w = mem_zero(1, sizeof *w);
    rng_seed(&w->rng, seed);
    rng_seed(&w->rare, seed ^ 0x4a4e);
    w->swarm = swarm;
    w->node_count = (uint32_t)swarm->nodes;
    world_store_open(w, seed);
    bool ring = rng_percent(&w->rng, 50);
    for (uint32_t i = 0; i < w->node_count; i++) node_init(w, i, ring);
    w->ports = *ports;
    return w;
}

void world_free(struct world *w) {
    for (size_t i = 0; i < w->count; i++) frame_free(w->heap[i].frame);
    mem_free(w->heap);
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *n = &w->nodes[i];
        if (n->node) node_forget_archive(n, true);
        if (n->node) node_forget_disk(n, false);
        if (n->node) node_free(n->node);
        node_throw_disk_away(n);
        if (n->memory) memory_free(n->memory);
    }
    world_store_close(w);
    mem_free(w);
}

struct node *world_node(struct world *w, uint32_t index) { return w->nodes[index].dead || w->nodes[index].loading ? NULL : w->nodes[index].node; }
bool world_lost_power(const struct world *w, uint32_t index) { return w->nodes[index].lost_power; }
void world_gives_up(struct world *w, uint32_t index) { w->nodes[index].given_up = true; }
bool world_was_ended_alive(const struct world *w, uint32_t index) { return w->nodes[index].ended_alive; }
bool world_is_void(const struct world *w, uint32_t index) { return w->nodes[index].is_void; }
bool world_lost_doubted(const struct world *w, uint32_t index) { return w->nodes[index].lost_doubted; }
bool world_has_rotted(const struct world *w, uint32_t index) { return w->nodes[index].rotten; }
bool world_stands_still(const struct world *w, uint32_t index) { return w->nodes[index].stopped_until_us > w->now_us; }
uint32_t world_node_count(const struct world *w) { return w->node_count; }
struct rng *world_rng(struct world *w) { return &w->rng; }
int64_t world_now_us(const struct world *w) { return w->now_us; }

void world_stats(const struct world *w, struct world_stats *out) {
    *out = w->stats;
    for (uint32_t i = 0; i < w->node_count; i++)
        if (w->nodes[i].disk) disk_counts(w->nodes[i].disk, &out->disks);
    if (w->bucket) bucket_sim_stats(w->bucket, &out->bucket);
}

uint64_t world_trace_hash(const struct world *w) { return w->trace; }
void world_verbose(struct world *w, bool verbose) { w->verbose = verbose; }
