/* What must be there when a node comes back from its disk. Counters alone are kept: that what they
 * stand for is right is judged by the model.
 *
 *   what it wrote itself and acknowledged   if its process stopped; under SYNC_ALWAYS if its machine did
 *   all that it had applied, of anybody     if it was stopped well; else
 *   all that it had applied a while before  if its process stopped; under all but SYNC_NO if its machine did
 *
 * A while: the keeper writes, and syncs if it ever does, what was applied until then at the first of its
 * steps that comes a second after the last time. So what was there after one step is safe after any
 * later one that is a second away, if no step in between found the log failing.
 *
 * What a process reads at its start is safe from the machine before it is up, unless a process before had failed to sync it. */
#include <string.h>

#include "persist/keeper.h"
#include "sim/run.h"

struct promise {
    struct replica_id id;
    uint64_t *process, *machine; /* by shard: its mutations up to here */
    int64_t since_us; /* in the store: since when there is any */
};

/* ------------------------------------------------------------------- wholes */

static void whole_fini(struct whole *w) {
    for (uint32_t s = 0; s < w->shards; s++) mem_free(w->of[s].seen);
    mem_free(w->of);
    *w = (struct whole){0};
}

static void whole_take(struct whole *w, const struct node *node) {
    struct model_seen seen[ORIGINS_MAX];
    whole_fini(w);
    w->shards = node->shard_count;
    w->of = mem_alloc(w->shards * sizeof *w->of);
    for (uint32_t s = 0; s < w->shards; s++) {
        struct applied *a = &w->of[s];
        a->count = vector_of(node, s, seen);
        a->seen = mem_alloc(a->count * sizeof *seen);
        memcpy(a->seen, seen, a->count * sizeof *seen);
    }
}

/* What the node lacks of it, or NULL; the shard. */
static const struct model_seen *whole_lacks(const struct whole *w, const struct node *node, uint32_t *shard) {
    for (*shard = 0; *shard < w->shards; ++*shard)
        for (uint32_t i = 0; i < w->of[*shard].count; i++) {
            const struct model_seen *seen = &w->of[*shard].seen[i];
            if (applied_of(node, *shard, (struct replica_id){seen->node, seen->incarnation}) < seen->counter) return seen;
        }
    return NULL;
}

/* ----------------------------------------------------------------- promises */

static void forget(struct promises *p) {
    whole_fini(&p->had);
    whole_fini(&p->sure);
    whole_fini(&p->next);
    for (uint32_t i = 0; i < p->count; i++) {
        mem_free(p->list[i].process);
        mem_free(p->list[i].machine);
    }
    mem_free(p->list);
    *p = (struct promises){0};
}

/* One that was declared gone has started over, and no longer has to keep anything. */
static void follow_self(struct promises *p, const struct node *node) {
    struct replica_id self = self_of(node);
    if (p->self && p->self != self.incarnation) forget(p);
    p->self = self.incarnation;
}

void promise_made(struct run *r, uint32_t index) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    struct replica_id self = self_of(node);
    follow_self(p, node);
    if (!p->count || replica_id_compare(p->list[p->count - 1].id, self) != 0) {
        p->list = mem_realloc(p->list, (p->count + 1) * sizeof *p->list);
        p->list[p->count++] = (struct promise){.id = self, .process = mem_zero(node->shard_count, sizeof(uint64_t)),
                                               .machine = mem_zero(node->shard_count, sizeof(uint64_t))};
    }
    struct promise *last = &p->list[p->count - 1];
    for (uint32_t s = 0; s < node->shard_count; s++) {
        last->process[s] = shard_own(node->shards[s]);
        if (r->swarm.sync == SYNC_ALWAYS) last->machine[s] = last->process[s];
    }
}

#define WRITTEN_US 1000000

void promises_kept(struct run *r, uint32_t index, bool well) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    follow_self(p, node);
    if (!well) whole_fini(&p->next);
    if (!well || (p->next.shards && world_now_us(r->world) - p->next_us < WRITTEN_US)) return;
    if (p->next.shards) {
        whole_fini(&p->sure);
        p->sure = p->next;
        p->next = (struct whole){0};
    }
    whole_take(&p->next, node);
    p->next_us = world_now_us(r->world);
}

/* What it had, and has no more. */
static void note_lost(struct run *r, uint32_t index) {
    const struct whole *had = &r->promises[index].had;
    const struct node *node = world_node(r->world, index);
    bool less = false;
    for (uint32_t s = 0; s < had->shards; s++)
        for (uint32_t i = 0; i < had->of[s].count; i++) {
            struct model_seen seen = had->of[s].seen[i];
            uint64_t has = applied_of(node, s, (struct replica_id){seen.node, seen.incarnation});
            if (has >= seen.counter) continue;
            model_lose(r->model, s, seen, has);
            less = true;
        }
    r->counts.rolled_back += less;
    r->standings[index].behind = r->standings[index].behind || less;
}

static void whole_check(struct run *r, uint32_t index) {
    struct promises *p = &r->promises[index];
    uint32_t shard;
    const struct model_seen *lacks = whole_lacks(&p->sure, world_node(r->world, index), &shard);
    r->counts.wholes += p->sure.shards != 0;
    if (lacks)
        run_fail(r, index, "shard %u comes back without mutation %llu of n%llu/%llx, which it had applied a while before", shard,
                 (unsigned long long)lacks->counter, (unsigned long long)lacks->node - 1, (unsigned long long)lacks->incarnation >> 48);
}

static void machine_lost(const struct run *r, struct promises *p) {
    for (uint32_t i = 0; i < p->count; i++) memcpy(p->list[i].process, p->list[i].machine, (size_t)r->swarm.shards * sizeof(uint64_t));
    if (r->swarm.sync == SYNC_NO) whole_fini(&p->sure);
}

void promises_lost(struct run *r, uint32_t index, enum world_change change) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    follow_self(p, node);
    if (world_lost_power(r->world, index)) machine_lost(r, p);
    if (change == WORLD_STOPPED) whole_take(&p->sure, node);
    whole_fini(&p->next);
    whole_take(&p->had, node);
}

void wholes_checked(struct run *r, uint32_t index) { note_lost(r, index); }

void promises_checked(struct run *r, uint32_t index) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    note_lost(r, index);
    if (world_has_rotted(r->world, index)) {
        r->standings[index].behind = true;
        forget(p);
    }
    if (world_is_void(r->world, index)) forget(p);
    if (world_lost_doubted(r->world, index)) machine_lost(r, p);
    whole_check(r, index);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct promise *one = &p->list[i];
        for (uint32_t s = 0; s < node->shard_count; s++) {
            uint64_t has = applied_of(node, s, one->id);
            r->counts.promises += one->process[s] != 0;
            if (has < one->process[s])
                run_fail(r, index, "shard %u comes back with %llu of the %llu mutations that were acknowledged", s,
                         (unsigned long long)has, (unsigned long long)one->process[s]);
        }
    }
    p->self = self_of(node).incarnation;
}

static void stored_fini(struct stored *s) {
    for (uint32_t i = 0; i < s->count; i++) mem_free(s->list[i].process);
    mem_free(s->list);
    *s = (struct stored){0};
}

void promises_fini(struct run *r) {
    for (int i = 0; i < WORLD_NODES_MAX; i++) forget(&r->promises[i]);
    stored_fini(&r->stored);
    for (int i = 0; i < WORLD_NODES_MAX; i++) stored_fini(&r->due[i]);
}

/* ------------------------------------------------------------ the object store */

static struct promise *stored_of(struct stored *s, struct replica_id id, uint32_t shards) {
    for (uint32_t i = 0; i < s->count; i++)
        if (replica_id_compare(s->list[i].id, id) == 0) return &s->list[i];
    s->list = mem_realloc(s->list, (s->count + 1) * sizeof *s->list);
    s->list[s->count] = (struct promise){.id = id, .process = mem_zero(shards, sizeof(uint64_t))};
    return &s->list[s->count++];
}

void stored_promised(struct run *r, uint32_t index) {
    const struct node *node = world_node(r->world, index);
    struct promise *p = stored_of(&r->stored, self_of(node), node->shard_count);
    for (uint32_t s = 0; s < node->shard_count; s++) {
        p->process[s] = shard_own(node->shards[s]);
        if (p->process[s] && !p->since_us) p->since_us = world_now_us(r->world);
    }
}

void stored_due(struct run *r, uint32_t index) {
    uint32_t shards = (uint32_t)r->swarm.shards;
    stored_fini(&r->due[index]);
    for (uint32_t i = 0; i < r->stored.count; i++) {
        const struct promise *p = &r->stored.list[i];
        if (world_now_us(r->world) - p->since_us < r->swarm.list_lag_ms * 1000) continue; /* a stream of which nothing is listed is found later */
        memcpy(stored_of(&r->due[index], p->id, shards)->process, p->process, shards * sizeof(uint64_t));
    }
}

bool stored_is_here(const struct run *r, const struct node *node) {
    for (uint32_t i = 0; i < r->stored.count; i++)
        for (uint32_t s = 0; s < node->shard_count; s++)
            if (applied_of(node, s, r->stored.list[i].id) < r->stored.list[i].process[s]) return false;
    return true;
}

void stored_checked(struct run *r, uint32_t index) {
    const struct node *node = world_node(r->world, index);
    for (uint32_t i = 0; i < r->due[index].count; i++)
        for (uint32_t s = 0; s < node->shard_count; s++) {
            const struct promise *p = &r->due[index].list[i];
            uint64_t has = applied_of(node, s, p->id);
            if (has < p->process[s])
                run_fail(r, index, "shard %u starts from the store with %llu of the %llu mutations of n%llu/%llx that were in it", s,
                         (unsigned long long)has, (unsigned long long)p->process[s], (unsigned long long)p->id.node - 1,
                         (unsigned long long)p->id.incarnation >> 48);
        }
    r->counts.stored += r->due[index].count > 0;
}
