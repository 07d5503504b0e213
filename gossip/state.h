/* What gossip is made of; shared by the files of this folder, included by nobody else but a fuzz target. */
#ifndef ANNEAL_GOSSIP_STATE_H
#define ANNEAL_GOSSIP_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/mem.h"
#include "core/rng.h"
#include "gossip/gossip.h"

#define MEMBERS_MAX 200
#define JOINS_MAX 50
_Static_assert(MEMBERS_MAX + JOINS_MAX <= GOSSIP_LINKS, "a link for each");

enum message_kind { MESSAGE_MEMBERS, MESSAGE_DELTAS, MESSAGE_DIGEST, MESSAGE_PULL, MESSAGE_ANSWER, MESSAGE_AUDIT };

/* A sealed message, shared by the outboxes that hold it: frames, each behind its length. */
struct parcel {
    uint32_t refs;
    struct buf frames;
};

#define OUTBOX_PARCELS 64
#define OUTBOX_BYTES_MAX (8u << 20)
struct outbox {
    struct parcel *parcels[OUTBOX_PARCELS];
    uint32_t head, count;
    size_t at; /* in the head */
    uint64_t bytes;
};

/* A message that arrives in parts: one at a time for each sender, its newest. Parts that came
 * before their turn wait, some of them. */
#define INBOX_EARLY 16u
struct inbox {
    uint64_t number;
    uint32_t next, count; /* count 0: none under way, and number is known already */
    struct buf message;
    struct early_part {
        uint32_t index; /* 0, which is never early: a free place */
        struct buf bytes;
    } early[INBOX_EARLY];
};

/* A pull that a peer asked of us and that waits its turn. */
struct ask {
    uint32_t shard;
    uint64_t token;
    struct shard_summary summary;
};
#define ASKS_MAX 64

struct member {
    struct replica_id id;
    uint16_t replica;
    char address[GOSSIP_ADDRESS_MAX];
    uint64_t epoch;     /* among processes of one node id the greatest counts */
    uint64_t heartbeat; /* grows while it lives */
    bool left, gone, recovered;
    bool closed;        /* left or gone, and nothing of it will come by other ways than gossip */
    bool stranger;      /* what it wrote is here, and nobody has told who it is: it has no address, and counts as down */
    bool unsure;        /* it may lose what it has applied: its word does not count for stability */
    uint64_t sure_at;   /* its heartbeat when it said last whether it may */
    bool silent;        /* left, and not heard since: what still comes of it is too late */
    int64_t heard_us;   /* when its heartbeat grew last, by any way */
    enum member_status said; /* the status that was last noted */
    int64_t spoke_us;   /* when it sent something itself; 0: never */
    uint64_t newest;    /* number of the message that was; */
    uint32_t newest_index; /* and its part */
    bool lives;         /* at its address, since it spoke; another that is there now has moved in since: */
    bool replaced;      /* it is not dialled */
    int link;           /* -1: none */
    bool up;

    struct outbox outbox;
    struct inbox inbox;
    struct ask asks[ASKS_MAX];
    uint32_t ask_count;

    /* Per shard: its last word on `applied`, and the last that may count for stability. */
    struct vclock *latest, *accepted;
    int64_t digest_us;      /* when its last digest came; 0: never */
    uint64_t digest_change; /* our changes up to here were in a digest to it */
    int64_t digest_sent_us;
    int64_t beat_us, asked_us, ack_us; /* asked for acks, last and unanswered; how long an answer took */
    bool owes_digest;       /* it asked for one */
    uint64_t owed_token;    /* of its join, to be answered; 0: none */
    int64_t progress_us;    /* when a part of a long message came from it */
    int64_t patience_us;    /* with its answers to pulls; 0: the usual; */
    int64_t lost_patience_us; /* when it grew last */
    int64_t differs_since_us; /* sums over vectors differ since; 0: equal */
    uint64_t sums[2];         /* over its vectors and ours, when its last digest came; */
    int64_t still_since_us;   /* the same since */
    int64_t audited_us;
};

/* An address to join: a link of its own until we know who lives there. */
struct join {
    char address[GOSSIP_ADDRESS_MAX];
    int link;
    bool up, is_self;
    int64_t self_us; /* when it led to ourselves, last; 0: never */
    struct replica_id found; /* who answered; node 0 and incarnation 0: nobody yet */
    int64_t said_us;
};

struct pull {
    uint64_t token; /* 0: none */
    struct replica_id peer;
    int64_t asked_us;
    struct shard_summary asked;
};

/* What gossip remembers of a shard. */
struct shard_view {
    uint64_t published; /* own mutations up to here were sent */
    uint64_t changed;   /* number of the change that was last */
    struct vclock applied; /* as of the last look; */
    struct vclock came;    /* with which change each of its counters did */
    uint64_t vector_hash, root; /* likewise */
    bool stale;            /* changed since */
    int64_t behind_since_us; /* a peer is ahead of us; 0: none known */
    bool wants_cells, wants_everything;
    struct shard_refinement finer; /* of the cells wanted; no bits: none asked for yet */
    struct pull pull;
};

struct gossip {
    pthread_mutex_t lock;
    struct gossip_config config;
    struct rng rng;
    struct sealer sealer;
    uint64_t message_number;
    struct now now; /* of the step under way */
    struct member *members[MEMBERS_MAX]; /* others; packed */
    uint32_t member_count;
    struct join joins[JOINS_MAX];
    uint32_t join_count;
    struct member *link_member[GOSSIP_LINKS];
    struct join *link_join[GOSSIP_LINKS];
    uint64_t epoch, heartbeat;
    bool leaving;
    struct vclock over; /* 1: of this replica, which is no member, nothing more can come */
    struct vclock met;  /* since when, mono_us, it is known that this replica is another process of a member's node */
    bool holds;         /* of some other it can; as of the last look */
    bool members_changed; /* since they were last kept */
    bool recovered; /* we hold what an earlier process of this node had: */
    struct replica_id before;
    atomic_bool paused;

    struct shard_view *shards;
    uint64_t change;      /* numbers changes */
    uint64_t vector_sum, root_sum; /* over shards, as of their last look */
    uint32_t pulls_out;
    uint64_t inbox_bytes;

    _Atomic uint64_t *dirty; /* bits */
    atomic_bool any_dirty, ask_acks, sleeping;
    int64_t publish_not_before_us, planned_us; /* the next TICK, as gossip_step said */
    int64_t next_heartbeat_us, next_stable_us, next_pull_us;
    struct buf opened, plain; /* scratch */
    struct gossip_stats stats;
};

#define MS INT64_C(1000)

/* transfer.c: messages to frames and back. */
void transfer_send(struct gossip *g, struct member *m, struct wire_writer *message);
/* To every peer with a connection; finishes and frees the message. */
void transfer_broadcast(struct gossip *g, struct wire_writer *message);
void transfer_send_link(struct gossip *g, int link, struct wire_writer *message);
void transfer_flush(struct gossip *g, struct member *m); /* there may be room */
void transfer_forget(struct gossip *g, struct member *m);
void transfer_give_up(struct gossip *g, struct member *m); /* the message of it that is under way here */
void transfer_frame(struct gossip *g, struct bytes frame);
/* False: it holds no deltas, or is not for us to judge; nothing happened. */
bool transfer_deltas(struct gossip *g, struct bytes frame);

/* members.c */
struct member *member_find(struct gossip *g, struct replica_id id);
enum member_status member_status_of(const struct gossip *g, const struct member *m);
bool member_counts(const struct member *m); /* it is talked to */
/* Mutations of it may be on their way: nothing may be forgotten that they might touch. */
bool member_may_write(const struct member *m);
bool member_holds(const struct member *m); /* or something of it that others have not seen may still turn up */
void members_read(struct gossip *g, struct wire_reader *r, struct replica_id sender);
void members_send(struct gossip *g, struct member *m, bool wants_answer);
void members_tick(struct gossip *g);
void members_heard(struct gossip *g, struct member *m);
void members_link(struct gossip *g, int link, bool up);
void members_keep(struct gossip *g);
void members_write(struct gossip *g, struct buf *out); /* the table, as it is kept */
struct replica_id members_owner(struct gossip *g, struct bytes table); /* who kept it */
void members_restore(struct gossip *g, struct bytes table);
void members_start(struct gossip *g);
bool members_hold(struct gossip *g); /* more may turn up of one that is no member, and was */
void members_start_over(struct gossip *g); /* declared gone: as another replica, empty */
void members_free(struct gossip *g);
void gossip_note(struct gossip *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* publish.c: own mutations out, and theirs in. */
/* Returns how many mutations there were. */
uint64_t publish_dirty(struct gossip *g);
void gossip_tells(struct gossip *g, uint32_t shard); /* with the shard's lock */
void publish_read(struct gossip *g, struct wire_reader *r, struct member *from, struct bytes message);

/* agree.c: digests, pulls, audit, stability. The ticks return when they are due again. */
void shard_view_changed(struct gossip *g, uint32_t shard);
void shard_view_look(struct gossip *g, uint32_t shard);
void shard_view_behind(struct gossip *g, uint32_t shard, int64_t grace_us);
void digest_read(struct gossip *g, struct wire_reader *r, struct member *from);
int64_t digests_due(const struct gossip *g);
int64_t digests_tick(struct gossip *g);
void audit_read(struct gossip *g, struct wire_reader *r, struct member *from);
int64_t pulls_tick(struct gossip *g);
void pull_read(struct gossip *g, struct wire_reader *r, struct member *from);
void answer_read(struct gossip *g, struct wire_reader *r, struct member *from);
void asks_serve(struct gossip *g, struct member *m);
void pulls_forget(struct gossip *g, struct replica_id peer);
void stable_tick(struct gossip *g);

#endif
