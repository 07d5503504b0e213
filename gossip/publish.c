/* Own mutations out, and those of others in.
 *
 *   DELTAS := (shard + 1, delta)* 0
 *
 * A delta covers everything since the last one of its shard, so a peer that had the last one
 * can apply it. Where nobody listens nothing is built: the next digest tells. */
#include "core/mutant.h"
#include "gossip/state.h"

#define BATCH_BYTES (64u << 10)

static bool anyone_up(const struct gossip *g) {
    for (uint32_t i = 0; i < g->member_count; i++)
        if (g->members[i]->up && member_counts(g->members[i])) return true;
    return false;
}

/* Nobody will ever ask for the log; whoever joins is compared by cells. */
static bool is_alone(const struct gossip *g) {
    for (uint32_t i = 0; i < g->member_count; i++)
        if (member_holds(g->members[i])) return false;
    return !g->holds;
}

static void batch_open(struct gossip *g, struct wire_writer *w) {
    wire_init(w, g->config.replicas);
    wire_u64(w, MESSAGE_DELTAS);
}

static void batch_send(struct gossip *g, struct wire_writer *w) {
    wire_u64(w, 0);
    transfer_broadcast(g, w);
}

void gossip_tells(struct gossip *g, uint32_t shard) {
    if (g->config.tells && !MUTANT(told_first)) g->config.tells(g->config.applied.self, shard);
}

/* A log that was cut past our last delta has nothing to say; peers will pull. Returns how many
 * mutations came since the last time. */
static uint64_t publish_shard(struct gossip *g, uint32_t index, struct wire_writer *w) {
    struct shard *shard = g->config.shards[index];
    struct shard_view *v = &g->shards[index];
    shard_lock(shard);
    uint64_t own = vclock_get(shard_applied(shard), g->config.self_index), upto = own;
    if (w && own > v->published) {
        size_t before = w->body.len;
        gossip_tells(g, index);
        wire_u64(w, index + 1);
        if (shard_write_delta(shard, w, v->published, &upto) == STATUS_OK) {
            g->stats.deltas_sent++;
        } else {
            w->body.len = before;
            upto = own;
        }
    }
    if (is_alone(g)) shard_stable(shard, shard_applied(shard));
    shard_unlock(shard);
    if (own > v->published) shard_view_changed(g, index);
    uint64_t news = own - v->published;
    v->published = upto;
    return news;
}

uint64_t publish_dirty(struct gossip *g) {
    uint64_t mutations = 0;
    if (!atomic_exchange(&g->any_dirty, false)) return 0;
    bool heard = anyone_up(g);
    struct wire_writer w;
    if (heard) batch_open(g, &w);
    size_t empty = heard ? w.body.len : 0;
    for (uint32_t at = 0; at < g->config.shard_count; at += 64) {
        uint64_t bits = atomic_load_explicit(&g->dirty[at / 64], memory_order_relaxed) ? atomic_exchange(&g->dirty[at / 64], 0) : 0;
        for (; bits; bits &= bits - 1) {
            mutations += publish_shard(g, at + (uint32_t)__builtin_ctzll(bits), heard ? &w : NULL);
            if (heard && w.body.len >= BATCH_BYTES) {
                batch_send(g, &w);
                batch_open(g, &w);
            }
        }
    }
    if (heard && w.body.len > empty)
        batch_send(g, &w);
    else if (heard)
        wire_fini(&w);
    return mutations;
}

void publish_read(struct gossip *g, struct wire_reader *r, struct member *from, struct bytes message) {
    uint64_t number;
    bool any = false;
    while (!r->bad && (number = wire_read_u64(r)) != 0) {
        if (number > g->config.shard_count) {
            r->bad = true;
            break;
        }
        uint32_t index = (uint32_t)number - 1;
        struct shard *shard = g->config.shards[index];
        g->stats.deltas_received++;
        shard_lock(shard);
        enum status status = shard_read_delta(shard, r, g->now.wall_ms);
        uint64_t have = vclock_get(shard_applied(shard), from->replica);
        if (status == STATUS_OK && g->config.applied.arriving) g->config.applied.arriving(g->config.applied.self, index);
        shard_unlock(shard);
        any = any || status == STATUS_OK;
        if (status == STATUS_OK) {
            shard_view_changed(g, index);
        } else if (status == STATUS_ERR_GAP) {
            g->stats.deltas_gap++;
            vclock_raise(&from->latest[index], from->replica, have + 1);
            shard_view_behind(g, index, 0);
        } else {
            r->bad = true;
        }
    }
    if (any && g->config.applied.deltas) g->config.applied.deltas(g->config.applied.self, message);
}
