/* One object store for all nodes: what they stream to it, how they start from it, what it does wrong. */
#include <stdio.h>

#include "persist/archive.h"
#include "sim/memory.h"
#include "sim/store.h"
#include "sim/world_state.h"

#define DEADLINE_MS 5000

static void note(void *arg, const char *text) {
    const struct sim_node *n = arg;
    if (n->world->verbose) printf("%10lld n%u store: %s\n", (long long)n->world->now_us, n->index, text);
}

void world_store_open(struct world *w, uint64_t seed) {
    if (w->swarm->stores) w->bucket = bucket_sim_new(seed);
}

void world_store_close(struct world *w) {
    if (w->bucket) bucket_sim_free(w->bucket);
    w->bucket = NULL;
}

void store_faults(struct world *w) {
    struct bucket_faults faults = {0};
    uint32_t rate = w->hostile ? (uint32_t)w->swarm->store_fails : 0;
    if (!w->bucket) return;
    faults.fail = faults.lose = faults.late = faults.slow = rate;
    faults.list_lag_us = w->hostile ? w->swarm->list_lag_ms * 1000 : 0;
    faults.out = w->hostile && w->store_out;
    bucket_sim_faults(w->bucket, &faults);
}

void store_goes_out(struct world *w) {
    w->store_out = true;
    store_faults(w);
    event_push(w, (struct event){.at_us = w->now_us + world_between(w, 100000, 20000000), .kind = EVENT_STORE_BACK});
}

void store_is_back(struct world *w) {
    w->store_out = false;
    store_faults(w);
}

/* ------------------------------------------------------------------- nodes */

static void plan_step(struct sim_node *n, int64_t at_us) {
    if (at_us <= n->world->now_us) at_us = n->world->now_us + 1;
    n->archive_at_us = at_us;
    event_push(n->world, (struct event){.at_us = at_us, .kind = EVENT_ARCHIVE, .node = n->index, .life = n->life});
}

static void reads_shard(void *arg, uint32_t shard) { node_reads_shard(((struct sim_node *)arg)->node, shard); }
static void shard_read(void *arg, uint32_t shard) { node_read_shard(((struct sim_node *)arg)->node, shard); }
static void was_closed(void *arg, struct replica_id self) {
    struct sim_node *n = arg;
    n->is_void = n->is_void || n->loading;
    n->ended_alive = n->ended_alive || !n->given_up;
    node_was_closed(n->node, self);
}
static void judged(void *arg) { node_judged(((struct sim_node *)arg)->node); }
static void members_heard(void *arg, struct bytes table) { node_heard_members(((struct sim_node *)arg)->node, table); }

void node_open_archive(struct sim_node *n) {
    struct world *w = n->world;
    const struct swarm *s = w->swarm;
    if (!w->bucket) return;
    struct store_settings settings = STORE_SETTINGS_DEFAULT;
    settings.deadline_ms = DEADLINE_MS;
    struct memory *caller = memory_become(NULL);
    n->store = store_sim_open(w->bucket, &settings);
    memory_become(caller);
    struct archive_config config = {ARCHIVE_CONFIG_DEFAULT};
    config.store = n->store;
    config.clock = n->node->clock;
    config.shards = n->node->shards;
    config.shard_count = n->node->shard_count;
    config.replicas = n->node->replicas;
    config.self = gossip_self(n->node->gossip);
    config.before = gossip_before(n->node->gossip);
    config.place = n->address;
    config.settings.segment_us = s->segment_ms * 1000;
    config.segment_bytes = 4000;
    config.waiting_bytes = (uint64_t)s->waiting_bytes;
    config.part_bytes = 3000;
    config.poll_us = 2000000;
    config.settings.rewrite_bytes_min = (uint64_t)s->rewrite_bytes;
    keyring_cluster(&config.keys, bytes_str("sim"), config.shard_count);
    config.changing = reads_shard;
    config.changed = shard_read;
    config.heard = members_heard;
    config.closed = was_closed;
    config.judged = judged;
    config.note = note;
    config.arg = n;
    n->archive = archive_new(&config);
    node_stream(n->node, n->archive);
    n->loading = true;
    plan_step(n, w->now_us);
    caller = memory_become(NULL);
    if (w->ports.loads) w->ports.loads(w->ports.arg, n->index);
    memory_become(caller);
}

void node_forget_archive(struct sim_node *n, bool whole) {
    n->loading = false;
    if (!n->store.submit) return;
    struct memory *caller = memory_become(NULL);
    store_close(&n->store);
    memory_become(caller);
    if (whole) {
        node_stream(n->node, NULL);
        archive_free(n->archive);
    }
    n->archive = NULL;
}

struct stepping {
    struct sim_node *n;
    int64_t next_us;
};

static void step(void *arg) {
    struct stepping *s = arg;
    node_tell_alive(s->n->node);
    s->next_us = archive_step(s->n->archive, node_now(s->n->node));
}

static void count(struct world *w, const struct archive_status *before, const struct archive_status *now) {
    w->stats.segments += now->segments - before->segments;
    w->stats.store_images += now->segment_images - before->segment_images;
    w->stats.store_tails += now->tails - before->tails;
    w->stats.store_checkpoints += now->checkpoints - before->checkpoints;
    w->stats.store_merged += now->manifests_taken - before->manifests_taken;
    w->stats.store_given_up += now->checkpoints_lost - before->checkpoints_lost;
    w->stats.store_deleted += now->deleted - before->deleted;
    w->stats.store_compared += now->compared - before->compared;
    w->stats.store_again += now->read_again - before->read_again;
    w->stats.store_read += now->read_objects - before->read_objects;
}

void node_archives(struct sim_node *n) {
    struct world *w = n->world;
    struct stepping s = {.n = n};
    struct archive_status before, now;
    bucket_sim_now(w->bucket, w->now_us);
    archive_status(n->archive, 0, &before);
    if (!node_runs(n, &w->stats.ooms_archive, step, &s)) return;
    archive_status(n->archive, 0, &now);
    count(w, &before, &now);
    if (now.phase == ARCHIVE_STOPPED) {
        if (w->ports.stopped) w->ports.stopped(w->ports.arg, n->index, now.why);
        return;
    }
    if (n->loading && now.phase == ARCHIVE_STREAMING) {
        n->loading = false;
        node_is_up(n);
    }
    if (!n->loading && w->ports.stored && archive_is_flushed(n->archive)) w->ports.stored(w->ports.arg, n->index);
    int64_t answer_us = store_sim_next_us(&n->store), next_us = w->now_us + s.next_us;
    plan_step(n, answer_us < next_us ? answer_us : next_us);
}

void world_flush(struct world *w) {
    for (uint32_t i = 0; i < w->node_count; i++)
        if (w->nodes[i].archive) archive_flush(w->nodes[i].archive);
}

bool world_is_flushed(struct world *w) {
    for (uint32_t i = 0; i < w->node_count; i++)
        if (!w->nodes[i].archive || !archive_is_flushed(w->nodes[i].archive)) return false;
    return true;
}
