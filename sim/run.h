/* One run: a seed's world, the clients of its nodes, and what judges them. */
#ifndef ANNEAL_SIM_RUN_H
#define ANNEAL_SIM_RUN_H

#include "lattice/recount.h"
#include "net/session.h"
#include "sim/model.h"
#include "sim/world.h"

#define ORIGINS_MAX 1024

#define RUN_COUNTS(X)                                            \
    X(commands, "commands of clients answered")                  \
    X(questions, "commands by which the judge asks")             \
    X(writes, "writes that the model knows")                     \
    X(reads, "reads judged by it")                               \
    X(unmodelled, "other commands")                              \
    X(refused, "commands that were refused, and wrote nothing")  \
    X(copies, "copies compared with their originals")            \
    X(expired, "keys removed because they expired")              \
    X(flushes, "FLUSHALL")                                       \
    X(bulk, "commands that added to a large collection")         \
    X(waits, "WAITs answered honestly")                          \
    X(parked, "WAITs that had to wait")                          \
    X(leaves, "nodes that left")                                 \
    X(forgotten, "members that were declared gone by hand")      \
    X(rolled_back, "nodes that came back with less than they had told others") \
    X(wholes, "nodes that came back with all that they had applied a while before") \
    X(promises, "shards that came back with what was acknowledged") \
    X(stored, "nodes that came back with all that the store had")  \
    X(wiped, "clusters that came back from the store alone")     \
    X(in_doubt, "writes that were done, but refused: the disk failed") \
    X(unanswered, "writes that were done, but never answered: memory ran out") \
    X(recounts, "shards counted again")                          \
    X(chunks, "runs whose table of replicas grew beyond one chunk")

struct run_counts {
#define X(name, help) uint64_t name;
    RUN_COUNTS(X)
#undef X
};

/* A node's clients, and what one of them waits for. All but wait_marks is in the memory of the
 * node's process. */
struct client {
    struct config *config;
    struct host host;
    struct session *session, *waiter; /* NULL: none yet */
    struct buf query, reply, wait_query, wait_reply;
    struct replica_id wait_self; /* who it was when it was asked */
    uint64_t *wait_marks;        /* by shard */
    uint64_t wait_others[WORLD_NODES_MAX]; /* incarnations then; 0: down */
};

/* What a node had done by now, by replica: nobody may claim to have seen more. */
struct issued {
    struct replica_id id;
    uint64_t *counters; /* by shard */
};

/* All that a node has applied, by shard. */
struct whole {
    struct applied {
        struct model_seen *seen;
        uint32_t count;
    } *of;
    uint32_t shards; /* 0: nothing is known */
};

/* What a node must have when it comes back from its disk. */
struct promises {
    struct promise *list;
    uint32_t count;
    uint64_t self;    /* the incarnation that makes them now */
    struct whole had; /* when it ended; it may come back with less, */
    struct whole sure; /* but not with less than this, */
    struct whole next; /* and soon not with less than this: */
    int64_t next_us;   /* what it had then */
};

struct run {
    uint64_t seed;
    struct swarm swarm;
    struct world *world;
    struct model *model;
    struct client clients[WORLD_NODES_MAX];
    struct buf whole; /* scratch */
    struct issued issued[ORIGINS_MAX];
    uint32_t issued_count;
    struct seen_before {
        struct replica_id self;
        struct vclock *applied; /* by shard */
    } before[WORLD_NODES_MAX];
    struct standing {
        struct replica_id self;
        bool behind; /* see model.h */
    } standings[WORLD_NODES_MAX];
    struct promises promises[WORLD_NODES_MAX];
    struct stored {
        struct promise *list; /* of all there ever were; `process` counts */
        uint32_t count;
    } stored, due[WORLD_NODES_MAX]; /* now, and when a node began to read */
    int64_t next_operator_us;
    struct run_counts counts;
    struct shard_facts facts;
    struct shard_paths paths;
    struct gossip_stats gossip;
    bool failed, verbose;
    bool judging; /* what is asked is asked by the judge */
    const char *watch; /* a key to be printed whenever a node's view of it changes, or NULL */
    struct buf watched[WORLD_NODES_MAX];
};

/* Says what is wrong and where, once; the run is over. */
void run_fail(struct run *r, uint32_t node, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* client.c: commands through the shipped sessions, in fragments. The reply lasts until the next. */
bool was_in_doubt(struct bytes reply); /* done, perhaps, but the disk failed */
bool was_lost(struct bytes reply);     /* no reply at all: the node is dead; it may have been done */
struct bytes client_ask(struct run *r, uint32_t index, int argc, const char *const *argv);
/* Removes what has expired. */
void client_expires(struct run *r, uint32_t index);
void client_wait(struct run *r, uint32_t index); /* a write and a WAIT for it, judged when it answers */
void clients_retry(struct run *r);               /* those that are parked */
/* Before its node's memory is. One that died takes what its clients had along. */
void client_lost(struct run *r, uint32_t index, bool died);
/* The next bulk, integer or status of a reply; false at its end. Arrays are walked through. */
bool next_text(struct bytes *reply, char *out, size_t size);
void name_key(char *out, size_t size, char space, uint64_t number);

/* workload.c */
void client_acts(struct run *r);

/* check.c. vector_of: what a node has applied of a shard. */
uint32_t vector_of(const struct node *node, uint32_t shard, struct model_seen *out);
/* Who the node is, and what it has applied of another; without locks, so of dead nodes as well. */
struct replica_id self_of(const struct node *node);
uint64_t applied_of(const struct node *node, uint32_t shard, struct replica_id id);
void note_issued(struct run *r, const struct node *node);
void check_key(struct run *r, uint32_t index, uint32_t key);
void check_state(struct run *r, uint32_t index); /* counts again, contexts, nothing forgotten */
void check_ended(struct run *r);                 /* nobody ends who may live */
void check_settled(struct run *r);               /* heals, and waits until all agree */
void check_comes_back(struct run *r);            /* loses all machines, and the object store brings all of it back */
void checks_fini(struct run *r);
/* A hash of all that a node shows of a key. */
uint64_t dump_key(struct run *r, uint32_t index, const char *key);

/* promise.c */
void promise_made(struct run *r, uint32_t index);     /* what a node has done so far is acknowledged */
void promises_kept(struct run *r, uint32_t index, bool well); /* its keeper has made a step */
void promises_lost(struct run *r, uint32_t index, enum world_change change); /* before its memory is */
void promises_checked(struct run *r, uint32_t index); /* it is back */
void wholes_checked(struct run *r, uint32_t index);   /* likewise, without a disk: it has kept nothing that was promised */
void promises_fini(struct run *r);
/* What a node has written by now is in the object store: whoever begins to read that from now on, and is up, has it. */
void stored_promised(struct run *r, uint32_t index);
void stored_due(struct run *r, uint32_t index); /* it begins */
void stored_checked(struct run *r, uint32_t index);
bool stored_is_here(const struct run *r, const struct node *node); /* all that is known to be in the store */

/* watch.c */
void watch(struct run *r, uint32_t index, const struct gossip_event *event);

#endif
