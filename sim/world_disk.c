/* Disks of nodes: what is kept on them, how it comes back, what they do wrong. */
#include <stdio.h>

#include "persist/keeper_files.h"
#include "sim/world_state.h"

static void note(void *arg, const char *text) {
    const struct sim_node *n = arg;
    if (n->world->verbose) printf("%10lld n%u disk: %s\n", (long long)n->world->now_us, n->index, text);
}

static void let_fail(struct sim_node *n) {
    uint32_t rate = n->world->hostile ? (uint32_t)n->world->swarm->disk_fails : 0;
    disk_sim_fail(n->disk, rate, rate);
}

static void plan_step(struct sim_node *n, int64_t after_us) {
    event_push(n->world, (struct event){.at_us = n->world->now_us + after_us, .kind = EVENT_KEEPER, .node = n->index, .life = n->life});
}

static void count_recovery(struct world *w, const struct keeper_recovery *r) {
    w->stats.recovered_images += r->images != 0;
    w->stats.recovered_messages += r->messages != 0;
    w->stats.recovered_gaps += r->gaps != 0;
    w->stats.recovered_torn += r->torn_bytes != 0;
    w->stats.recovered_damage += r->damaged != 0;
}

/* Of the machine, not of the process. */
static struct disk_sim *new_disk(struct world *w) {
    struct memory *caller = memory_become(NULL);
    struct disk_sim *disk = disk_sim_new(rng_next(&w->rng));
    memory_become(caller);
    return disk;
}

bool node_recover(struct sim_node *n) {
    struct world *w = n->world;
    struct keeper_recovery recovery;
    struct buf error = {0};
    if (!w->swarm->disks) return true;
    if (!n->disk) n->disk = new_disk(w);
    let_fail(n);
    disk_sim_holes(n->disk, (unsigned)w->swarm->holes);
    struct keeper_config config = {
        .disk = disk_sim_port(n->disk), .shards = n->node->shards, .shard_count = n->node->shard_count,
        .replicas = n->node->replicas, .cluster = "sim", .logs = true, .sync = (enum keeper_sync)w->swarm->sync,
        .rewrite_percent = 100, .rewrite_bytes_min = (uint64_t)w->swarm->rewrite_bytes, .note = note, .arg = n};
    n->keeper = keeper_new(&config);
    enum status status = keeper_recover(n->keeper, node_now(n->node).wall_ms, &recovery, &error);
    buf_fini(&error);
    if (status != STATUS_OK) {
        w->stats.starts_failed++;
        node_forget_disk(n, false);
        return false;
    }
    bool any = recovery.images || recovery.messages;
    count_recovery(w, &recovery);
    if (w->verbose)
        printf("%10lld n%u recovers %llu images, %llu messages, %llu gaps\n", (long long)w->now_us, n->index,
               (unsigned long long)recovery.images, (unsigned long long)recovery.messages, (unsigned long long)recovery.gaps);
    node_keep(n->node, n->keeper, any);
    n->incarnation = any ? gossip_self(n->node->gossip).incarnation : 0;
    n->failure = keeper_failure(n->keeper); /* a process before may have left it so */
    n->saves = 0;
    plan_step(n, 1);
    return true;
}

bool node_is_dark(const struct sim_node *n) { return n->disk && disk_sim_is_dark(n->disk); }

static void disk_ends(struct sim_node *n) {
    n->lost_doubted = n->lost_doubted || (n->lost_power && disk_sim_has(n->disk, KEEPER_DOUBT));
    n->world->stats.power_lost += n->lost_power;
    if (n->lost_power) disk_sim_crash(n->disk);
    else disk_sim_kill(n->disk);
}

void node_forget_disk(struct sim_node *n, bool power) {
    if (!n->keeper) return;
    keeper_free(n->keeper);
    n->keeper = NULL;
    n->node->keeper = NULL;
    n->lost_power = power;
    disk_ends(n);
}

void node_forget_all(struct sim_node *n) {
    node_forget_archive(n, false);
    n->keeper = NULL;
    n->node = NULL;
    if (n->disk) disk_ends(n);
    memory_give_back(n->memory);
}

/* What a disk does when it dies: it fails, its node ends, is back, and ends again, all before it could make up for the failure. */
static void disk_dies(struct sim_node *n) {
    struct world *w = n->world;
    int64_t at_us = w->now_us;
    if (!w->hostile || !w->swarm->dying || !rng_percent(&w->rare, (unsigned)w->swarm->dying)) return;
    for (uint64_t times = 1 + rng_below(&w->rare, 3); times > 0; times--) {
        uint32_t down_us = (uint32_t)rng_below(&w->rare, 20000);
        at_us += 1 + (int64_t)rng_below(&w->rare, UINT64_C(1) << rng_below(&w->rare, 19));
        event_push(w, (struct event){.at_us = at_us, .kind = EVENT_CRASH, .node = n->index, .from = down_us});
        at_us += down_us;
    }
    w->stats.dying++;
}

struct keeping {
    struct sim_node *n;
    int64_t next_us;
};

static void keep(void *arg) {
    struct keeping *k = arg;
    k->next_us = keeper_step(k->n->keeper, node_now(k->n->node));
}

void node_keeps(struct sim_node *n) {
    struct world *w = n->world;
    struct keeper_status now;
    struct keeping step = {.n = n};
    if (!node_runs(n, &w->stats.ooms_keeper, keep, &step)) return;
    keeper_status(n->keeper, &now);
    if (now.saves != n->saves) ++*(now.last_save == STATUS_OK ? &w->stats.checkpoints : &w->stats.checkpoints_failed);
    if (n->failure == STATUS_OK && now.failure != STATUS_OK) {
        w->stats.disk_failures++;
        disk_dies(n);
    }
    if (n->failure != STATUS_OK && now.failure == STATUS_OK) w->stats.disk_heals++;
    n->saves = now.saves;
    n->failure = now.failure;
    if (w->ports.kept && !n->loading) w->ports.kept(w->ports.arg, n->index, now.failure == STATUS_OK);
    plan_step(n, step.next_us ? step.next_us : 1 + world_between(w, 0, 20000));
}

void node_recovered_step(struct sim_node *n) {
    if (!n->incarnation || gossip_self(n->node->gossip).incarnation == n->incarnation) return;
    n->incarnation = 0;
    n->world->stats.recovered_gone++;
}

void disk_counts(const struct disk_sim *disk, struct disk_stats *sum) {
    struct disk_stats one;
    disk_sim_stats(disk, &one);
#define X(name, help) sum->name += one.name;
    DISK_STATS(X)
#undef X
}

void node_throw_disk_away(struct sim_node *n) {
    if (!n->disk) return;
    disk_counts(n->disk, &n->world->stats.disks);
    disk_sim_free(n->disk);
    n->disk = NULL;
}

void world_lose(struct world *w, uint32_t index, int64_t down_us) {
    struct sim_node *n = &w->nodes[index];
    world_crash(w, index, down_us);
    if (!n->disk) return;
    node_throw_disk_away(n);
    n->rotten = true;
    w->stats.disks_lost++;
}

void disk_fills(struct world *w, struct sim_node *n) {
    if (!n->disk) return;
    disk_sim_limit(n->disk, disk_sim_bytes(n->disk) + rng_below(&w->rng, 2000));
    w->stats.fulls++;
    event_push(w, (struct event){.at_us = w->now_us + world_between(w, 1000, 10000000), .kind = EVENT_ROOM, .node = n->index,
                                 .generation = ++n->rooms});
}

void disk_has_room(struct sim_node *n, uint64_t times) {
    if (n->disk && times == n->rooms) disk_sim_limit(n->disk, UINT64_MAX);
}

void disk_heals(struct sim_node *n) {
    if (!n->disk) return;
    disk_sim_limit(n->disk, UINT64_MAX);
    disk_sim_dark(n->disk, 0);
    let_fail(n);
}
