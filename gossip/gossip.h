/* Replication as a state machine: gossip_step(event, now) and a port to send through.
 *
 * Nothing here waits, reads a clock or opens a socket. The transport may lose, repeat, delay
 * and reorder frames; whatever it does, nodes that can hear each other settle.
 *
 *   dissemination   own mutations, at once when quiet and at most every batch_us when busy,
 *                   as exact deltas to every peer. Nobody waits for anybody: a peer whose
 *                   link is full misses them and pulls.
 *   digests         what changed in `applied`, by shard, and sums over all shards; they are
 *                   heartbeats and acks as well.
 *   pulls           what a peer has and we lack: by its log, or by cells where the log no
 *                   longer reaches.
 *   audit           equal vectors must mean equal hash roots.
 *   stability       what all members have applied: logs are cut, floors forgotten.
 *   membership      heartbeat counters spread by everyone, the greatest wins (van Renesse,
 *                   Minsky, Hayden 1998): a member whose counter stands still is suspect, then
 *                   down, and only a majority may declare it gone.
 *
 * Threads: every call takes the gossip's own lock, and under it the locks of shards, one at a
 * time; so no caller may hold a shard's lock, except for gossip_dirty, which takes none. */
#ifndef ANNEAL_GOSSIP_GOSSIP_H
#define ANNEAL_GOSSIP_GOSSIP_H

#include "core/port.h"
#include "gossip/seal.h"
#include "lattice/shard.h"

#define GOSSIP_LINKS 256     /* peers and addresses to join, together */
#define GOSSIP_ADDRESS_MAX 270 /* "host:port" and its end */
#define GOSSIP_FRAME_BYTES_MAX (256u << 10)

/* The way out. Called with the gossip's lock held; must not call back. */
struct transport_port {
    /* Starts to dial for ever. ERR_INVALID: no address. */
    enum status (*dial)(void *self, int link, const char *address);
    void (*hangup)(void *self, int link);
    /* ERR_BUSY: the link's queue is full; GOSSIP_SENT will tell of room. Never blocks. */
    enum status (*send)(void *self, int link, struct bytes frame);
    void *self;
};

struct gossip_config {
    struct clock_port clock;
    struct transport_port transport;
    struct replicas *replicas;
    struct shard **shards; /* outlive it */
    uint32_t shard_count;
    struct replica_id self;
    uint16_t self_index; /* of self in replicas */
    struct keyring keys;
    const char *address; /* where peers reach us */
    const char *join;    /* comma-separated, "" for none */
    int64_t batch_us;
    int64_t heartbeat_ms, suspect_ms, down_ms, gone_ms;
    uint64_t message_bytes_max; /* of all messages that arrive in parts, together */
    /* May be NULL. Any thread: there is something to publish, and nobody knows. */
    void (*wake)(void *arg);
    /* Whoever calls gossip_dirty calls gossip_flush soon: nobody is woken before that. */
    bool flushed_by_writers;
    /* Own mutations of a shard are about to be told to others, who may then write what presupposes them. May be NULL. With the
     * gossip's lock and the shard's; its argument is applied.self. */
    void (*tells)(void *self, uint32_t shard);
    /* Whether what was applied here will still be here after a restart. While it is not, others remember what we have not surely
     * got. NULL: it is, or nothing is kept anyhow. With the gossip's lock. */
    bool (*sure)(void *self);
    /* Whether all that may ever turn up of a process by other ways than gossip is here. Until then what it may not have seen is
     * remembered. Its node may go on as another process with what it had; `for_good`: nobody can do that and not hear that it is
     * void. `close`: if it is not so, that is seen to, even if the process lives: for those that are held for gone. NULL: there are
     * no such ways. With the gossip's lock; asked again and again. */
    bool (*closed)(void *self, struct replica_id id, bool close, bool for_good);
    /* What was applied of others, for whoever keeps it; each may be NULL. With the gossip's lock held. */
    struct {
        void (*arriving)(void *self, uint32_t shard);     /* by a delta of a message that is told of next; with the shard's lock as well */
        void (*deltas)(void *self, struct bytes message); /* a message of deltas, some of them applied */
        void (*changed)(void *self, uint32_t shard);      /* by an answer; with the shard's lock as well */
        void (*resetting)(void *self);                    /* all shards are about to start over: until reset nothing of them is kept */
        void (*reset)(void *self);                        /* they have */
        void (*members)(void *self, struct bytes table);  /* somebody came, left, is gone */
        void *self;
    } applied;
    /* A peer acknowledged something. With the gossip's lock held. */
    void (*acked)(void *arg);
    /* One line for the log. */
    void (*note)(void *arg, const char *text);
    void *arg;
};
#define GOSSIP_CONFIG_DEFAULT                                                             \
    .address = "", .join = "", .batch_us = 2000, .heartbeat_ms = 1000, .suspect_ms = 3500, \
    .down_ms = 10000, .gone_ms = 86400000, .message_bytes_max = UINT64_C(5) << 28

struct gossip;
struct gossip *gossip_new(const struct gossip_config *config);
void gossip_free(struct gossip *g);

enum gossip_event_kind {
    GOSSIP_TICK,  /* time passed, or gossip_dirty asked to be heard */
    GOSSIP_FRAME, /* from anybody */
    GOSSIP_UP,    /* a link has a connection */
    GOSSIP_DOWN,  /* it lost it */
    GOSSIP_SENT,  /* there is room in its queue; needed only after ERR_BUSY */
};
struct gossip_event {
    enum gossip_event_kind kind;
    int link;           /* UP, DOWN, SENT */
    struct bytes frame; /* FRAME */
};
/* Returns when it wants the next TICK at the latest, in the clock's mono_us. */
int64_t gossip_step(struct gossip *g, const struct gossip_event *event, struct now now);

/* Before the first step: the shards hold what earlier processes of this node had, which is void
 * if the cluster has declared the node gone since. `table`: the last one that applied.members was
 * given, or empty: nothing is stable until those members have said what they hold. */
void gossip_recovered(struct gossip *g, struct bytes table);
/* Which process that was, as the table says; {0} if it does not. */
struct replica_id gossip_before(struct gossip *g);
/* Appends the table as applied.members would be given it, also if there is nobody in it but us: our next process may ask who it was. */
void gossip_table(struct gossip *g, struct buf *out);
/* The cluster has declared this node gone, and said so by another way. */
void gossip_declared_gone(struct gossip *g, struct replica_id self);
/* A table that another node kept: who is in it may hold what nobody else remembers, until he has been heard, or is gone. */
void gossip_heard(struct gossip *g, struct bytes table);
/* Something was joined into a shard that no message brought. Not with the shard's lock. */
void gossip_changed(struct gossip *g, uint32_t shard);

/* A short cut for any thread: takes the frame if it holds deltas and nobody is at the gossip.
 * False: it is for gossip_step. Wakes a sleeper if something is due earlier now. */
bool gossip_deltas(struct gossip *g, struct bytes frame, struct now now);

/* A shard has new mutations of ours. Any thread, any locks; cheap. */
void gossip_dirty(struct gossip *g, uint32_t shard);
/* Publishes in the caller's thread if that is due and nobody else is at it; else sees to it that
 * somebody is awake. Cheap when nothing is dirty. Not with the lock of a shard. */
void gossip_flush(struct gossip *g);
/* The caller is about to sleep: from here on gossip_dirty calls wake. False: there is work, so a step comes before. */
bool gossip_may_sleep(struct gossip *g);
void gossip_awake(struct gossip *g);

/* Tells the peers that we leave, after all that we wrote. */
void gossip_leave(struct gossip *g, struct now now);
/* Stops and resumes gossip, both ways. */
void gossip_pause(struct gossip *g, bool pause);
bool gossip_paused(const struct gossip *g);

/* Acks. A mark is our counter in a shard at some time; the count is of peers that have
 * applied all of them. gossip_ask asks the peers to say so now. */
struct gossip_mark {
    uint32_t shard;
    uint64_t counter;
    uint64_t incarnation; /* ours then: who started over since has lost it, and counts anew */
};
uint32_t gossip_count_acked(struct gossip *g, const struct gossip_mark *marks, size_t count);
void gossip_ask(struct gossip *g);

/* A digest of the whole state, or of one shard: equal where the data is. */
uint64_t gossip_digest(struct gossip *g, int64_t shard);

enum member_status { MEMBER_SELF, MEMBER_UP, MEMBER_SUSPECT, MEMBER_DOWN, MEMBER_LEFT, MEMBER_GONE };
const char *member_status_text(enum member_status status);
struct member_info {
    struct replica_id id;
    char address[GOSSIP_ADDRESS_MAX];
    enum member_status status;
    bool connected;        /* our link to it */
    int64_t silent_ms;     /* since anyone heard it last */
    int64_t digest_age_ms; /* since its last digest; -1 for never */
    int64_t ack_us;        /* from asking to its word that it has all we had; 0: none yet */
    uint64_t unacked;      /* our mutations that it has not said to have */
    uint64_t missing;      /* mutations it has and we lack */
    uint64_t outbox_bytes; /* what waits for its link */
};
/* Up to max of them; returns how many there are. */
size_t gossip_members(struct gossip *g, struct member_info *out, size_t max);
struct replica_id gossip_self(struct gossip *g);
/* An operator's word that a member will not come back with what it has. */
enum status gossip_forget(struct gossip *g, uint64_t node) MUST_CHECK;

#define GOSSIP_STATS(X)                                                                   \
    X(frames_sent, "frames handed to links")                                              \
    X(bytes_sent, "bytes of them")                                                        \
    X(frames_received, "frames that came")                                                \
    X(bytes_received, "bytes of them")                                                    \
    X(frames_malformed, "frames that are none of ours")                                   \
    X(frames_version, "frames of an unknown version")                                     \
    X(frames_cluster, "frames of another cluster, or another number of shards")           \
    X(frames_key, "frames that no key opens")                                             \
    X(frames_stranger, "frames of nodes that are no members")                             \
    X(frames_own, "frames of our own, come back")                                         \
    X(parts_dropped, "parts of messages that had a gap or were too large")                \
    X(messages_malformed, "messages that could not be read")                              \
    X(outbox_dropped, "messages not sent because a peer's outbox was full")               \
    X(deltas_sent, "deltas published, one per shard and batch")                           \
    X(deltas_received, "deltas that came")                                                \
    X(deltas_gap, "deltas that did not continue what was applied")                        \
    X(pulls_sent, "pulls asked")                                                          \
    X(pulls_answered, "pulls answered")                                                   \
    X(pulls_failed, "pulls without an answer in time")                                    \
    X(answers_received, "answers applied")                                                \
    X(answers_late, "answers to nothing we still ask")                                    \
    X(audit_mismatches, "shards whose vectors agree and whose content does not")          \
    X(digests_sent, "digests")                                                            \
    X(digests_received, "digests that came")                                              \
    X(resets, "times this node was declared gone and started over")                       \
    X(twins, "times another process claimed this node's id")
struct gossip_stats {
#define X(name, help) uint64_t name;
    GOSSIP_STATS(X)
#undef X
};
void gossip_stats(struct gossip *g, struct gossip_stats *out);

#endif
