#include "net/pipeline.h"

#include "net/resp.h"

#define NEAR_KEYS 50000u /* in memory that is near, whatever is asked for */

void pipeline_look(struct pipeline *p, struct node *node, struct bytes query, size_t from) {
    struct bytes key;
    p->upto = from;
    p->count = p->next = 0;
    while (p->count < PIPELINE_AHEAD && resp_peek(query, &p->upto, &key)) {
        if (!key.len) continue;
        p->shards[p->count] = node_locate(node, key, &p->refs[p->count]);
        p->count++;
    }
    if (p->count < 2 || shard_key_count(node->shards[p->shards[0]]) * node->shard_count < NEAR_KEYS) return;
    for (enum shard_hint step = 0; step < SHARD_HINTS; step++)
        for (size_t i = 0; i < p->count; i++) {
            struct shard *shard = node->shards[p->shards[i]];
            shard_lock(shard);
            shard_hint(shard, p->refs[i].hash, step);
            shard_unlock(shard);
        }
}

void pipeline_take(struct pipeline *p, struct call *call) {
    if (call->argc < 2) return;
    const uint8_t *key = call->argv[1].data;
    while (p->next < p->count && p->refs[p->next].name.data < key) p->next++;
    if (p->next == p->count || p->refs[p->next].name.data != key) return;
    call->first_ref = p->refs[p->next];
    call->first_shard = p->shards[p->next];
}
