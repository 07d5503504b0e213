#include "test/fuzz/rumours.h"

#include "gossip/state.h"

enum { WHO = NET_NODES + 3, MANY = 5 };

struct rumour {
    struct input *in;
    struct replicas *numbers;
    uint16_t who[WHO];
    struct wire_writer w;
};

/* Mostly small; else one of those at which something ends. */
static uint64_t number(struct rumour *r) {
    static const uint64_t ends[] = {UINT64_MAX, DOT_COUNTER_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT32_MAX, 1700000000000};
    uint8_t byte = input_byte(r->in);
    return byte < 224 ? byte % 24u : ends[byte % (sizeof ends / sizeof *ends)];
}

static void put(struct rumour *r, uint64_t value) { wire_u64(&r->w, value); }
static void put_number(struct rumour *r) { put(r, number(r)); }
static unsigned some(struct rumour *r) { return input_below(r->in, MANY); }
/* Which exists, mostly; as items are numbered, from 1. */
static unsigned put_shard(struct rumour *r) {
    unsigned shard = 1 + input_byte(r->in) % (NET_SHARDS + (input_byte(r->in) > 250));
    put(r, shard);
    return shard;
}
static uint16_t whom(struct rumour *r) { return r->who[input_below(r->in, WHO)]; }

static void put_vector(struct rumour *r) {
    unsigned count = some(r);
    put(r, count);
    while (count--) wire_dot(&r->w, dot_make(whom(r), number(r)));
}

static void put_members(struct rumour *r) {
    static const char *const addresses[] = {"n0:1", "n1:1", "n2:1", "n3:1", "", "nowhere", "n0:1,n1:1", "n1:"};
    unsigned count = some(r);
    for (int i = 0; i < 3; i++) put_number(r); /* wants an answer, token, answers which */
    put(r, count);
    while (count--) {
        wire_dot(&r->w, dot_make(whom(r), 0));
        wire_bytes(&r->w, bytes_str(addresses[input_below(r->in, 8)]));
        put_number(r); /* epoch */
        put_number(r); /* heartbeat */
        put(r, input_below(r->in, 4));
    }
}

/* Ranges in which nothing happened. */
static void put_deltas(struct rumour *r) {
    for (unsigned count = some(r); count > 0; count--) {
        uint64_t lo = number(r);
        put_shard(r);
        wire_dot(&r->w, dot_make(whom(r), lo + 1 + some(r)));
        put(r, lo);
        put_number(r); /* clock */
        put(r, 0);
    }
    put(r, 0);
}

static void put_digest(struct rumour *r) {
    put_number(r); /* heartbeat */
    put(r, input_below(r->in, 8));
    put_number(r); /* sums */
    put_number(r);
    unsigned count = input_below(r->in, NET_SHARDS + 1);
    put(r, count);
    while (count--) {
        put(r, input_below(r->in, NET_SHARDS));
        put_vector(r);
    }
}

static void put_sums(struct rumour *r, size_t bytes) {
    static uint8_t sums[SHARD_CELLS * 8];
    CHECK(bytes <= sizeof sums);
    memset(sums, input_byte(r->in), bytes);
    wire_bytes(&r->w, bytes_of(sums, bytes));
}

static void put_refinement(struct rumour *r, unsigned bits) {
    uint8_t cells[SHARD_CELLS_BYTES] = {0};
    cells[input_byte(r->in) % SHARD_CELLS_BYTES] = 1;
    put(r, bits);
    wire_bytes(&r->w, bytes_of(cells, sizeof cells));
}

static void put_pull(struct rumour *r) {
    for (unsigned count = some(r); count > 0; count--) {
        put_shard(r);
        put_number(r); /* token */
        put_vector(r);
        unsigned form = input_below(r->in, 3), bits = 1 + input_below(r->in, 6);
        put(r, form);
        if (form) put_sums(r, SHARD_CELLS * (form == 1 ? 8 : 4));
        if (form < 2) continue;
        put_refinement(r, bits);
        put_sums(r, (size_t)4 << bits);
    }
    put(r, 0);
}

/* To a pull that may be out, of one of them: nobody could guess its token. */
static void put_answer(struct rumour *r, struct net *n) {
    for (unsigned count = some(r); count > 0; count--) {
        unsigned form = input_below(r->in, 3), shard = put_shard(r);
        const struct gossip *g = n->nodes[input_byte(r->in) % NET_NODES].node->gossip;
        put(r, shard <= NET_SHARDS ? g->shards[shard - 1].pull.token : 0);
        put(r, form);
        if (form == 2) put_refinement(r, 1 + input_below(r->in, 12));
        if (form != 1) continue;
        put(r, 2); /* all there is */
        for (int part = 0; part < 3; part++) put_vector(r);
        put_number(r); /* clock */
        put(r, 0);     /* records */
        put(r, 0);     /* elements: nothing */
    }
    put(r, 0);
}

/* By one who sees what we see, mostly. */
static void put_audit(struct rumour *r, struct net *n) {
    for (unsigned shard = 0; shard < NET_SHARDS; shard++) {
        put(r, shard + 1);
        put(r, n->nodes[some(r) % NET_NODES].node->gossip->shards[shard].vector_hash);
        put_number(r);
    }
    put(r, 0);
}

void rumour_make(struct net *n, struct input *in, struct buf *out) {
    struct rumour r = {.in = in, .numbers = replicas_new()};
    for (unsigned i = 0; i < WHO; i++) {
        struct replica_id id = {i, i + 1};
        if (i < NET_NODES) id = gossip_self(n->nodes[i].node->gossip);
        if (i == NET_NODES) id = (struct replica_id){2, UINT64_MAX}; /* another life of one of them */
        CHECK(replicas_intern(r.numbers, id, &r.who[i]) == STATUS_OK);
    }
    wire_init(&r.w, r.numbers);
    enum message_kind kind = (enum message_kind)input_below(in, MESSAGE_AUDIT + 1);
    put(&r, kind);
    switch (kind) {
    case MESSAGE_MEMBERS: put_members(&r); break;
    case MESSAGE_DELTAS: put_deltas(&r); break;
    case MESSAGE_DIGEST: put_digest(&r); break;
    case MESSAGE_PULL: put_pull(&r); break;
    case MESSAGE_ANSWER: put_answer(&r, n); break;
    case MESSAGE_AUDIT: put_audit(&r, n); break;
    }
    wire_finish(&r.w, out);
    wire_fini(&r.w);
    replicas_free(r.numbers);
}
