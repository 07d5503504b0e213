#include "net/node.h"

#include "core/mutant.h"

#include <assert.h>

#include "persist/archive.h"
#include "persist/keeper.h"

/* A node of its own: nobody to reach. */
static enum status dial_nobody(void *self, int link, const char *address) {
    (void)self, (void)link, (void)address;
    return STATUS_OK;
}
static void hangup_nobody(void *self, int link) { (void)self, (void)link; }
static enum status send_nobody(void *self, int link, struct bytes frame) {
    (void)self, (void)link, (void)frame;
    return STATUS_ERR_NOT_FOUND;
}

static void told(void *self, uint32_t shard) {
    struct archive *archive = ((struct node *)self)->archive;
    if (archive) archive_tells(archive, shard);
}
static bool is_sure(void *self) {
    struct keeper *keeper = ((struct node *)self)->keeper;
    return !keeper || keeper_failure(keeper) == STATUS_OK;
}
static bool is_closed(void *self, struct replica_id id, bool close, bool for_good) {
    struct archive *archive = ((struct node *)self)->archive;
    return !archive || archive_is_closed(archive, id, close, for_good);
}
static void keep_arriving(void *self, uint32_t shard) {
    struct keeper *keeper = ((struct node *)self)->keeper;
    if (keeper) keeper_arriving(keeper, shard);
}
static void keep_deltas(void *self, struct bytes message) {
    struct keeper *keeper = ((struct node *)self)->keeper;
    if (keeper) keeper_deltas(keeper, message);
}
static void keep_changed(void *self, uint32_t shard) {
    struct keeper *keeper = ((struct node *)self)->keeper;
    if (keeper) keeper_changed(keeper, shard);
}
static void keep_resetting(void *self) {
    struct keeper *keeper = ((struct node *)self)->keeper;
    if (keeper) keeper_reset_begin(keeper);
}
static void keep_reset(void *self) {
    struct node *node = self;
    if (node->keeper) keeper_reset(node->keeper);
    if (node->archive) archive_reset(node->archive, replicas_id(node->replicas, shard_self(node->shards[0])));
}

static void keep_members(void *self, struct bytes table) {
    struct node *node = self;
    if (node->keeper) keeper_members(node->keeper, table);
    if (node->archive) archive_members(node->archive, table);
}

void node_keep(struct node *node, struct keeper *keeper, bool recovered) {
    node->keeper = keeper;
    if (recovered) gossip_recovered(node->gossip, keeper_members_found(keeper));
}

/* On our disk alone: if this process is lost with it, nobody shall wait for it. */
static void keep_who_we_are(struct node *node) {
    struct buf table = {0};
    gossip_table(node->gossip, &table);
    keeper_members(node->keeper, buf_bytes(&table));
    buf_fini(&table);
}

void node_stream(struct node *node, struct archive *archive) {
    node->archive = archive;
}

void node_judged(void *self) {
    struct node *node = self;
    if (node->keeper) keep_who_we_are(node);
}

void node_tell_alive(struct node *node) {
    struct member_info members[GOSSIP_LINKS];
    struct replica_id up[GOSSIP_LINKS];
    size_t count = gossip_members(node->gossip, members, GOSSIP_LINKS), ups = 0;
    for (size_t i = 0; i < count && i < GOSSIP_LINKS; i++)
        if (members[i].status == MEMBER_UP || members[i].status == MEMBER_SUSPECT) up[ups++] = members[i].id;
    if (node->archive) archive_alive(node->archive, up, ups);
}

void node_reads_shard(void *self, uint32_t shard) { keep_changed(self, shard); }
void node_read_shard(void *self, uint32_t shard) { gossip_changed(((struct node *)self)->gossip, shard); }

void node_was_closed(void *self, struct replica_id id) { gossip_declared_gone(((struct node *)self)->gossip, id); }
void node_heard_members(void *self, struct bytes table) { gossip_heard(((struct node *)self)->gossip, table); }

static struct gossip *start_gossip(struct node *node, const struct node_config *config, struct replica_id self,
                                   uint16_t index) {
    struct gossip_config gossip = config->gossip;
    gossip.clock = node->clock;
    if (!gossip.transport.send) gossip.transport = (struct transport_port){dial_nobody, hangup_nobody, send_nobody, NULL};
    gossip.replicas = node->replicas;
    gossip.shards = node->shards;
    gossip.shard_count = node->shard_count;
    gossip.tells = told;
    gossip.closed = is_closed;
    gossip.sure = is_sure;
    gossip.applied.arriving = keep_arriving;
    gossip.applied.deltas = keep_deltas;
    gossip.applied.changed = keep_changed;
    gossip.applied.resetting = keep_resetting;
    gossip.applied.reset = keep_reset;
    gossip.applied.members = keep_members;
    gossip.applied.self = node;
    gossip.self = self;
    gossip.self_index = index;
    if (!gossip.keys.count) keyring_well_known(&gossip.keys, KEYRING_GOSSIP);
    keyring_cluster(&gossip.keys, bytes_str(config->cluster_name), node->shard_count);
    return gossip_new(&gossip);
}

struct node *node_new(const struct node_config *config) {
    assert(config->shards >= 1);
    assert(config->shards <= NODE_SHARDS_MAX);
    struct node *node = mem_zero(1, sizeof *node);
    node->clock = config->clock;
    node->seed = cluster_seed(bytes_str(config->cluster_name));
    node->shard_count = config->shards;
    node->replicas = replicas_new();
    /* Fresh at every start: a dot that repeats would read as seen and removed. */
    struct replica_id self = {config->node_id, MUTANT(same_incarnation) ? 1 : node->clock.entropy(node->clock.self)};
    uint16_t index;
    if (replicas_intern(node->replicas, self, &index) != STATUS_OK) assert(false);
    struct shard_config shard = {node->replicas, node->seed, index, config->log_bytes_max / config->shards, true};
    node->shards = mem_zero(config->shards, sizeof *node->shards);
    node->locked_at = mem_zero(config->shards, sizeof *node->locked_at);
    for (uint32_t i = 0; i < config->shards; i++) node->shards[i] = shard_new(i, &shard);
    node->gossip = start_gossip(node, config, self, index);
    return node;
}

void node_free(struct node *node) {
    gossip_free(node->gossip);
    for (uint32_t i = 0; i < node->shard_count; i++) shard_free(node->shards[i]);
    mem_free(node->shards);
    mem_free(node->locked_at);
    replicas_free(node->replicas);
    mem_free(node);
}

void node_flush(struct node *node) {
    gossip_flush(node->gossip);
    if (node->keeper) keeper_flush(node->keeper);
}

struct now node_now(const struct node *node) { return node->clock.now(node->clock.self); }

/* The low half: a shard's table goes by the high bits. */
static uint32_t shard_of_hash(const struct node *node, uint64_t hash) {
    return (uint32_t)((hash & UINT32_MAX) * node->shard_count >> 32);
}

uint32_t node_shard_of(const struct node *node, struct bytes key) {
    return shard_of_hash(node, hash_key(&node->seed, hash_tag(key)));
}

uint32_t node_locate(const struct node *node, struct bytes key, struct key_ref *ref) {
    struct bytes tag = hash_tag(key);
    *ref = (struct key_ref){key, hash_key(&node->seed, key)};
    return tag.len == key.len ? shard_of_hash(node, ref->hash) : shard_of_hash(node, hash_key(&node->seed, tag));
}

uint64_t node_key_count(const struct node *node) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < node->shard_count; i++) count += shard_key_count(node->shards[i]);
    return count;
}

uint64_t node_expiring_count(const struct node *node) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < node->shard_count; i++) count += shard_expiring_count(node->shards[i]);
    return count;
}

void node_lock(struct node *node, uint32_t shard) {
    shard_lock(node->shards[shard]);
    node->locked_at[shard] = shard_own(node->shards[shard]);
}

bool node_unlock(struct node *node, uint32_t shard) {
    bool wrote = shard_own(node->shards[shard]) != node->locked_at[shard] && !(MUTANT(unlock_unseen) && node->locked_at[shard]);
    shard_unlock(node->shards[shard]);
    if (!wrote) return false;
    if (node->keeper) keeper_dirty(node->keeper, shard);
    if (node->archive) archive_dirty(node->archive, shard);
    gossip_dirty(node->gossip, shard);
    return true;
}

#define EXPIRE_GRACE_MS 5000 /* before we remove what another node should have */
#define EXPIRE_AT_ONCE 128   /* keys of one shard, under one hold of its lock */
#define EXPIRE_A_STEP 8192   /* keys, but for one hold of each shard: all with one {tag} are in one */

size_t node_expire(struct node *node, uint32_t first, uint32_t step) {
    int64_t now_ms = node_now(node).wall_ms, next_ms;
    size_t removed = 0;
    for (uint32_t i = first; i < node->shard_count; i += step) {
        size_t of_shard = 0;
        do {
            node_lock(node, i);
            removed += of_shard = shard_expire_due(node->shards[i], now_ms, EXPIRE_GRACE_MS, EXPIRE_AT_ONCE, &next_ms);
            node_unlock(node, i);
        } while (of_shard == EXPIRE_AT_ONCE && removed < EXPIRE_A_STEP);
    }
    if (removed) atomic_fetch_add(&node->expired, removed);
    return removed;
}
