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

static void forget(struct promises *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        mem_free(p->list[i].process);
        mem_free(p->list[i].machine);
    }
    mem_free(p->list);
    *p = (struct promises){0};
}

/* One that was declared gone has started over, and no longer has to keep anything. */
static void follow_self(struct promises *p, const struct node *node) {
    struct replica_id self = gossip_self(node->gossip);
    if (p->self && p->self != self.incarnation) forget(p);
    p->self = self.incarnation;
}

void promise_made(struct run *r, uint32_t index) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    struct replica_id self = gossip_self(node->gossip);
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
}

void promises_checked(struct run *r, uint32_t index) {
    struct promises *p = &r->promises[index];
    const struct node *node = world_node(r->world, index);
    if (world_has_rotted(r->world, index)) forget(p);
    for (uint32_t i = 0; i < p->count; i++) {
        uint16_t replica;
        const struct promise *one = &p->list[i];
        if (replicas_intern(node->replicas, one->id, &replica) != STATUS_OK) continue;
        for (uint32_t s = 0; s < node->shard_count; s++) {
            uint64_t has = vclock_get(shard_applied(node->shards[s]), replica);
            r->counts.promises += one->process[s] != 0;
            if (has < one->process[s])
                run_fail(r, index, "shard %u comes back with %llu of the %llu mutations that were acknowledged", s,
                         (unsigned long long)has, (unsigned long long)one->process[s]);
        }
    }
    p->self = gossip_self(node->gossip).incarnation;
}

void promises_fini(struct run *r) {
    for (int i = 0; i < WORLD_NODES_MAX; i++) forget(&r->promises[i]);
}
