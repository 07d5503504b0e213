/* What was acknowledged, and must be there when a node comes back from its disk: under every policy
 * if its process stopped, under SYNC_ALWAYS if its machine did. Counters alone are kept: that what
 * they stand for is right is judged by the model. */
#include <string.h>

#include "persist/keeper.h"
#include "sim/run.h"

struct promise {
    struct replica_id id;
    uint64_t *process, *machine; /* by shard: its mutations up to here */
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
        p->list[p->count++] = (struct promise){self, mem_zero(node->shard_count, sizeof(uint64_t)), mem_zero(node->shard_count, sizeof(uint64_t))};
    }
    struct promise *last = &p->list[p->count - 1];
    for (uint32_t s = 0; s < node->shard_count; s++) {
        last->process[s] = shard_own(node->shards[s]);
        if (r->swarm.sync == SYNC_ALWAYS) last->machine[s] = last->process[s];
    }
}

void promises_lost(struct run *r, uint32_t index) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    follow_self(p, node);
    for (uint32_t i = 0; world_lost_power(r->world, index) && i < p->count; i++)
        memcpy(p->list[i].process, p->list[i].machine, node->shard_count * sizeof(uint64_t));
    whole_take(&p->had, node);
}

void promises_checked(struct run *r, uint32_t index) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    uint32_t shard;
    if (whole_lacks(&p->had, node, &shard)) {
        r->counts.rolled_back++;
        model_rolled_back(r->model);
    }
    if (world_has_rotted(r->world, index)) forget(p);
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

void promises_fini(struct run *r) {
    for (int i = 0; i < WORLD_NODES_MAX; i++) forget(&r->promises[i]);
}
