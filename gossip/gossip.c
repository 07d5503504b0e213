/* The state machine: one event in, then whatever is due. */
#include "gossip/gossip.h"

#include <assert.h>
#include <stdio.h>

#include "gossip/state.h"

struct gossip *gossip_new(const struct gossip_config *config) {
    assert(config->shard_count > 0);
    assert(config->self_index != 0);
    struct gossip *g = mem_zero(1, sizeof *g);
    g->config = *config;
    pthread_mutex_init(&g->lock, NULL);
    struct clock_port *clock = &g->config.clock;
    rng_seed(&g->rng, clock->entropy(clock->self));
    uint64_t prefix[2] = {clock->entropy(clock->self), clock->entropy(clock->self)};
    memcpy(g->sealer.prefix, prefix, sizeof prefix);
    g->now = clock->now(clock->self);
    g->epoch = g->now.wall_ms > 0 ? (uint64_t)g->now.wall_ms : 0;
    g->shards = mem_zero(config->shard_count, sizeof *g->shards);
    g->dirty = mem_zero((config->shard_count + 63) / 64, sizeof *g->dirty);
    g->next_pull_us = INT64_MAX;
    g->holds = config->closed;
    for (uint32_t s = 0; s < config->shard_count; s++) shard_view_changed(g, s);
    members_start(g);
    return g;
}

void gossip_free(struct gossip *g) {
    members_free(g);
    vclock_fini(&g->over);
    vclock_fini(&g->met);
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        vclock_fini(&g->shards[s].applied);
        vclock_fini(&g->shards[s].came);
        shard_summary_fini(&g->shards[s].pull.asked);
    }
    mem_free(g->shards);
    mem_free((void *)g->dirty);
    buf_fini(&g->opened);
    buf_fini(&g->plain);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

static void take_event(struct gossip *g, const struct gossip_event *event) {
    switch (event->kind) {
    case GOSSIP_TICK: break;
    case GOSSIP_FRAME:
        if (!atomic_load(&g->paused)) transfer_frame(g, event->frame);
        break;
    case GOSSIP_UP: members_link(g, event->link, true); break;
    case GOSSIP_DOWN: members_link(g, event->link, false); break;
    case GOSSIP_SENT: {
        struct member *m = g->link_member[event->link];
        if (m) transfer_flush(g, m);
        if (m) asks_serve(g, m);
        break;
    }
    }
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

/* What a batch saves is a frame a mutation, so the next waits QUIET_US for each mutation of the
 * last but one. Slower writers than that are never made to wait; faster ones soon wait for the
 * whole batch_us. */
#define QUIET_US 100

static void publish_at(struct gossip *g, struct now now) {
    g->now = now;
    uint64_t mutations = publish_dirty(g), most = (uint64_t)g->config.batch_us / QUIET_US + 1;
    if (mutations > most) mutations = most;
    int64_t wait_us = mutations > 1 ? (int64_t)(mutations - 1) * QUIET_US : 0;
    g->publish_not_before_us = now.mono_us + earlier(wait_us, g->config.batch_us);
}

static int64_t do_what_is_due(struct gossip *g) {
    int64_t next = INT64_MAX;
    members_keep(g);
    if (atomic_load(&g->any_dirty) && g->now.mono_us >= g->publish_not_before_us) publish_at(g, g->now);
    members_tick(g);
    members_keep(g);
    stable_tick(g);
    next = earlier(next, pulls_tick(g));
    next = earlier(next, digests_tick(g));
    if (atomic_load(&g->any_dirty)) next = earlier(next, g->publish_not_before_us);
    return earlier(next, earlier(g->next_heartbeat_us, g->next_stable_us));
}

#define PAUSED_MS 100

int64_t gossip_step(struct gossip *g, const struct gossip_event *event, struct now now) {
    pthread_mutex_lock(&g->lock);
    g->now = now;
    take_event(g, event);
    int64_t next = atomic_load(&g->paused) ? now.mono_us + PAUSED_MS * MS : do_what_is_due(g);
    g->planned_us = next;
    pthread_mutex_unlock(&g->lock);
    return next;
}

void gossip_recovered(struct gossip *g, struct bytes table) {
    pthread_mutex_lock(&g->lock);
    g->recovered = true;
    g->before = members_owner(g, table);
    g->now = g->config.clock.now(g->config.clock.self);
    members_restore(g, table);
    for (uint32_t s = 0; s < g->config.shard_count; s++) shard_view_changed(g, s);
    pthread_mutex_unlock(&g->lock);
}

struct replica_id gossip_before(struct gossip *g) {
    pthread_mutex_lock(&g->lock);
    struct replica_id before = g->before;
    pthread_mutex_unlock(&g->lock);
    return before;
}

void gossip_table(struct gossip *g, struct buf *out) {
    pthread_mutex_lock(&g->lock);
    members_write(g, out);
    pthread_mutex_unlock(&g->lock);
}

void gossip_heard(struct gossip *g, struct bytes table) {
    pthread_mutex_lock(&g->lock);
    g->now = g->config.clock.now(g->config.clock.self);
    members_restore(g, table);
    pthread_mutex_unlock(&g->lock);
}

void gossip_declared_gone(struct gossip *g, struct replica_id self) {
    pthread_mutex_lock(&g->lock);
    g->now = g->config.clock.now(g->config.clock.self);
    if (replica_id_compare(g->config.self, self) == 0) {
        members_start_over(g);
        members_keep(g);
    }
    pthread_mutex_unlock(&g->lock);
}

void gossip_changed(struct gossip *g, uint32_t shard) {
    pthread_mutex_lock(&g->lock);
    shard_view_changed(g, shard);
    pthread_mutex_unlock(&g->lock);
}

static void wake_sleeper(struct gossip *g) {
    if (atomic_load(&g->sleeping) && atomic_exchange(&g->sleeping, false) && g->config.wake) g->config.wake(g->config.arg);
}

bool gossip_deltas(struct gossip *g, struct bytes frame, struct now now) {
    if (pthread_mutex_trylock(&g->lock) != 0) return false;
    g->now = now;
    bool taken = !atomic_load(&g->paused) && transfer_deltas(g, frame);
    bool sooner = taken && earlier(g->next_pull_us, digests_due(g)) < g->planned_us;
    pthread_mutex_unlock(&g->lock);
    if (sooner) wake_sleeper(g);
    return taken;
}

/* The bit first, then the flag that leads to it; a sleeper sets `sleeping` and then looks at
 * the flag, so one of the two sees the other. Who found it set still sleeps after a step. */
void gossip_dirty(struct gossip *g, uint32_t shard) {
    _Atomic uint64_t *word = &g->dirty[shard / 64];
    uint64_t bit = UINT64_C(1) << (shard % 64);
    if (!(atomic_load_explicit(word, memory_order_relaxed) & bit)) atomic_fetch_or(word, bit);
    if (!atomic_load_explicit(&g->any_dirty, memory_order_relaxed)) atomic_store(&g->any_dirty, true);
    if (!g->config.flushed_by_writers) wake_sleeper(g);
}

void gossip_flush(struct gossip *g) {
    if (!atomic_load_explicit(&g->any_dirty, memory_order_relaxed)) return;
    if (pthread_mutex_trylock(&g->lock) == 0) {
        struct now now = g->config.clock.now(g->config.clock.self);
        bool due = !atomic_load(&g->paused) && now.mono_us >= g->publish_not_before_us;
        if (due) publish_at(g, now);
        pthread_mutex_unlock(&g->lock);
        if (due) return;
    }
    wake_sleeper(g);
}

bool gossip_may_sleep(struct gossip *g) {
    atomic_store(&g->sleeping, true);
    return !atomic_load(&g->any_dirty) && !atomic_load(&g->ask_acks);
}

void gossip_awake(struct gossip *g) { atomic_store(&g->sleeping, false); }

void gossip_leave(struct gossip *g, struct now now) {
    pthread_mutex_lock(&g->lock);
    g->now = now;
    if (!atomic_load(&g->paused)) {
        publish_dirty(g);
        g->leaving = g->members_changed = true;
        members_keep(g);
        for (uint32_t i = 0; i < g->member_count; i++)
            if (g->members[i]->up) members_send(g, g->members[i], false);
    }
    pthread_mutex_unlock(&g->lock);
}

void gossip_pause(struct gossip *g, bool pause) {
    pthread_mutex_lock(&g->lock);
    bool was = atomic_exchange(&g->paused, pause);
    for (uint32_t i = 0; i < g->member_count && was != pause; i++) {
        struct member *m = g->members[i];
        transfer_forget(g, m);
        m->digest_change = 0;
        m->owes_digest = true;
    }
    pthread_mutex_unlock(&g->lock);
    wake_sleeper(g);
}

bool gossip_paused(const struct gossip *g) { return atomic_load(&g->paused); }

/* ----------------------------------------------------------------- looking */

uint64_t gossip_digest(struct gossip *g, int64_t shard) {
    uint64_t sum = 0;
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        if (shard >= 0 && shard != s) continue;
        shard_lock(g->config.shards[s]);
        uint64_t state = shard_digest(g->config.shards[s]) ^ (s + 1) * UINT64_C(0x9e3779b97f4a7c15);
        shard_unlock(g->config.shards[s]);
        sum += rng_mix(&state);
    }
    return sum;
}

static void fill_counts(struct gossip *g, const struct member *m, struct member_info *out) {
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        shard_view_look(g, s);
        const struct vclock *ours = &g->shards[s].applied, *theirs = &m->latest[s];
        out->unacked += vclock_get(ours, g->config.self_index) - vclock_get(theirs, g->config.self_index);
        for (uint32_t k = 1; k < theirs->count; k++) {
            uint64_t have = vclock_get(ours, (uint16_t)k);
            if (theirs->counter[k] > have) out->missing += theirs->counter[k] - have;
        }
    }
}

static void fill_info(struct gossip *g, const struct member *m, int64_t mono_us, struct member_info *out) {
    *out = (struct member_info){.id = m->id, .status = member_status_of(g, m), .connected = m->up,
                                .silent_ms = (mono_us - m->heard_us) / MS,
                                .digest_age_ms = m->digest_us ? (mono_us - m->digest_us) / MS : -1,
                                .ack_us = m->ack_us, .outbox_bytes = m->outbox.bytes};
    memcpy(out->address, m->address, sizeof out->address);
    fill_counts(g, m, out);
}

size_t gossip_members(struct gossip *g, struct member_info *out, size_t max) {
    pthread_mutex_lock(&g->lock);
    g->now = g->config.clock.now(g->config.clock.self);
    size_t count = 1 + g->member_count;
    if (max) {
        out[0] = (struct member_info){.id = g->config.self, .status = MEMBER_SELF, .connected = true};
        snprintf(out[0].address, sizeof out[0].address, "%s", g->config.address);
    }
    for (size_t i = 1; i < count && i < max; i++) fill_info(g, g->members[i - 1], g->now.mono_us, &out[i]);
    pthread_mutex_unlock(&g->lock);
    return count;
}

struct replica_id gossip_self(struct gossip *g) {
    pthread_mutex_lock(&g->lock);
    struct replica_id id = g->config.self;
    pthread_mutex_unlock(&g->lock);
    return id;
}

void gossip_stats(struct gossip *g, struct gossip_stats *out) {
    pthread_mutex_lock(&g->lock);
    *out = g->stats;
    pthread_mutex_unlock(&g->lock);
}
