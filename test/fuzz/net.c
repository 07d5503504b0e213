#include "test/fuzz/net.h"

/* ------------------------------------------------------------------- ports */

static enum status dial(void *self, int link, const char *address) {
    struct net_node *node = self;
    unsigned target;
    char rest;
    CHECK(link >= 0 && link < GOSSIP_LINKS && node->links[link].target < 0);
    if (sscanf(address, "n%u:1%c", &target, &rest) != 1 || target >= NET_NODES) return STATUS_ERR_INVALID;
    node->links[link] = (struct net_link){.target = (int)target};
    return STATUS_OK;
}

static void hangup(void *self, int link) {
    struct net_node *node = self;
    CHECK(link >= 0 && link < GOSSIP_LINKS && node->links[link].target >= 0);
    node->links[link] = (struct net_link){.target = -1};
}

static enum status send(void *self, int link, struct bytes bytes) {
    struct net_node *node = self;
    struct net *n = node->net;
    CHECK(link >= 0 && link < GOSSIP_LINKS);
    CHECK(bytes.len <= GOSSIP_FRAME_BYTES_MAX);
    if (node->links[link].target < 0 || !node->links[link].up) return STATUS_ERR_NOT_FOUND;
    if (n->frame_count == NET_FRAMES_MAX) return STATUS_ERR_BUSY;
    struct net_frame *frame = &n->frames[n->frame_count++];
    *frame = (struct net_frame){.to = (unsigned)node->links[link].target};
    buf_put_bytes(&frame->bytes, bytes);
    return STATUS_OK;
}

static void node_open(struct net *n, unsigned index, uint64_t log_bytes_max) {
    struct net_node *node = &n->nodes[index];
    node->net = n;
    node->index = index;
    node->clock =
        (struct fuzz_clock){.wall_ms = 1700000000000 + index * 700, .mono_us = 1000000, .dice = (index + 1) * UINT64_C(0x100000000)};
    snprintf(node->address, sizeof node->address, "n%u:1", index);
    for (int i = 0; i < GOSSIP_LINKS; i++) node->links[i].target = -1;
    struct node_config config = {.clock = fuzz_clock_port(&node->clock),
                                 .shards = NET_SHARDS,
                                 .cluster_name = "fuzz",
                                 .node_id = index + 1,
                                 .log_bytes_max = log_bytes_max,
                                 .gossip = {GOSSIP_CONFIG_DEFAULT}};
    config.gossip.transport = (struct transport_port){dial, hangup, send, node};
    config.gossip.address = node->address;
    config.gossip.join = "n0:1,n1:1";
    config.gossip.message_bytes_max = 1 << 20;
    config.gossip.gone_ms = 30000;
    node->node = node_new(&config);
}

void net_open(struct net *n, uint64_t log_bytes_max) {
    *n = (struct net){0};
    keyring_well_known(&n->keys, KEYRING_GOSSIP);
    keyring_cluster(&n->keys, bytes_str("fuzz"), NET_SHARDS);
    for (unsigned i = 0; i < NET_NODES; i++) node_open(n, i, log_bytes_max);
}

void net_close(struct net *n) {
    for (unsigned i = 0; i < NET_NODES; i++) node_free(n->nodes[i].node);
    while (n->frame_count) net_drop(n, n->frame_count - 1);
}

/* ------------------------------------------------------------------ events */

void net_event(struct net *n, unsigned node, const struct gossip_event *event) {
    struct node *it = n->nodes[node].node;
    gossip_step(it->gossip, event, node_now(it));
}

void net_hear(struct net *n, unsigned node, struct bytes frame) {
    struct node *it = n->nodes[node].node;
    if (n->short_cuts && gossip_deltas(it->gossip, frame, node_now(it))) return;
    net_event(n, node, &(struct gossip_event){.kind = GOSSIP_FRAME, .frame = frame});
}

void net_tick(struct net *n, unsigned node) {
    node_expire(n->nodes[node].node, 0, 1);
    net_event(n, node, &(struct gossip_event){.kind = GOSSIP_TICK});
}

void net_move_clocks(struct net *n, int64_t ms) {
    for (unsigned i = 0; i < NET_NODES; i++) fuzz_clock_move(&n->nodes[i].clock, ms);
}

void net_connect(struct net *n, unsigned node, bool up) {
    for (int link = 0; link < GOSSIP_LINKS; link++) {
        struct net_link *l = &n->nodes[node].links[link];
        if (l->target < 0 || l->up == up) continue;
        l->up = up;
        net_event(n, node, &(struct gossip_event){.kind = up ? GOSSIP_UP : GOSSIP_DOWN, .link = link});
    }
}

void net_deliver(struct net *n, unsigned at) {
    CHECK(at < n->frame_count);
    unsigned to = n->frames[at].to;
    struct bytes frame = fuzz_exact(buf_bytes(&n->frames[at].bytes));
    net_hear(n, to, frame);
    fuzz_exact_free(frame);
}

/* Keeps the order of the others, and tells of the room. */
void net_drop(struct net *n, unsigned at) {
    CHECK(at < n->frame_count);
    buf_fini(&n->frames[at].bytes);
    n->frame_count--;
    memmove(n->frames + at, n->frames + at + 1, (n->frame_count - at) * sizeof *n->frames);
}

/* ------------------------------------------------------------------ frames */

void net_open_frame(struct net *n, struct bytes frame, struct buf *plain) { CHECK(frame_open(&n->keys, frame, plain) == STATUS_OK); }

void net_seal(struct net *n, struct bytes plain, struct buf *frame) { frame_seal(&n->keys, &n->sealer, plain, frame); }

static void put_be(struct buf *out, uint64_t value, unsigned len) {
    while (len--) buf_put_byte(out, (uint8_t)(value >> (8 * len)));
}

void net_say(struct net *n, unsigned to, struct replica_id sender, struct bytes message) {
    struct buf plain = {0}, frame = {0};
    put_be(&plain, sender.node, 8);
    put_be(&plain, sender.incarnation, 8);
    put_be(&plain, n->sealer.count, 8);
    put_be(&plain, 0, 4);
    put_be(&plain, 1, 4);
    buf_put_bytes(&plain, message);
    net_seal(n, buf_bytes(&plain), &frame);
    net_hear(n, to, buf_bytes(&frame));
    buf_fini(&plain);
    buf_fini(&frame);
}

/* ---------------------------------------------------------------- settling */

bool net_is_level(struct net *n) {
    uint64_t digest = gossip_digest(n->nodes[0].node->gossip, -1);
    for (unsigned i = 1; i < NET_NODES; i++)
        if (gossip_digest(n->nodes[i].node->gossip, -1) != digest) return false;
    return true;
}

static void tell_of_room(struct net *n) {
    for (unsigned i = 0; i < NET_NODES; i++)
        for (int link = 0; link < GOSSIP_LINKS; link++)
            if (n->nodes[i].links[link].up) net_event(n, i, &(struct gossip_event){.kind = GOSSIP_SENT, .link = link});
}

void net_round(struct net *n) {
    net_move_clocks(n, 50);
    for (unsigned i = 0; i < NET_NODES; i++) {
        net_connect(n, i, true);
        net_tick(n, i);
    }
    for (unsigned some = 4 * NET_FRAMES_MAX; n->frame_count && some; some--) {
        net_deliver(n, 0);
        net_drop(n, 0);
    }
    tell_of_room(n);
}
