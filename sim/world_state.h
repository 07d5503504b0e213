/* What the world is made of: shared by world.c, links.c and faults.c, included by nobody else. */
#ifndef ANNEAL_SIM_WORLD_STATE_H
#define ANNEAL_SIM_WORLD_STATE_H

#include "persist/keeper.h"
#include "persist/store.h"
#include "sim/disk.h"
#include "sim/memory.h"
#include "sim/world.h"

#define MINUTE_US INT64_C(60000000)

enum event_kind { EVENT_TICK, EVENT_CONNECT, EVENT_DISCONNECT, EVENT_ARRIVE, EVENT_SENT, EVENT_START, EVENT_FAULT, EVENT_KEEPER, EVENT_ROOM,
                  EVENT_ARCHIVE, EVENT_STORE_BACK, EVENT_CRASH };

struct event {
    int64_t at_us;
    uint64_t seq;
    enum event_kind kind;
    uint32_t node, from; /* SENT: from is how many bytes */
    uint64_t life, generation; /* of the node, of the link: others are over */
    int link;
    struct buf *frame;
};

struct link {
    int target; /* -1: not dialled */
    uint64_t generation, target_life;
    bool connected;
    uint32_t frames;
    uint64_t bytes;
    int64_t last_us; /* when the last frame arrives: order is kept */
};

struct sim_node {
    struct world *world;
    uint32_t index;
    struct node *node; /* NULL: down */
    uint64_t life;
    int64_t skew_ms, drift; /* of its clock; in 1/1000 */
    int64_t stopped_until_us;
    int64_t slow_us; /* most that a frame to it takes longer */
    int64_t tick_at_us;
    char address[16];
    char join[WORLD_NODES_MAX * 8];
    struct link links[GOSSIP_LINKS];
    struct disk_sim *disk; /* NULL: it has none */
    struct keeper *keeper; /* while it is up */
    uint64_t incarnation;  /* that it recovered as; 0: with nothing */
    uint64_t rooms;        /* how often it was full */
    enum status failure;   /* of the keeper, as it last was */
    uint64_t saves;
    bool lost_power, rotten, is_void;
    bool given_up, ended_alive; /* see world_was_ended_alive */
    bool dark_power;       /* if its disk ends it, its machine stops */
    bool lost_doubted;     /* see world.h */
    struct memory *memory; /* of its process; NULL: it never runs out */
    const uint64_t *only;  /* it runs out in code of which this counts the ends; NULL: in any */
    bool dead;             /* it did, and nobody has cleared up yet */
    struct store store;      /* submit NULL: there is none */
    struct archive *archive; /* while it is up */
    int64_t archive_at_us;
    bool loading;            /* it reads from the store, and does nothing else yet */
};

struct world {
    struct rng rng;
    struct rng rare; /* for what came later: seeds without it run as they always did */
    const struct swarm *swarm;
    bool hostile;
    int64_t now_us;
    uint64_t seq;
    struct event *heap;
    size_t count, cap;
    struct sim_node nodes[WORLD_NODES_MAX];
    uint32_t node_count, dead_count;
    bool cut[WORLD_NODES_MAX][WORLD_NODES_MAX]; /* [from][to] */
    struct world_stats stats;
    uint64_t trace;
    bool verbose;
    struct world_ports ports;
    struct bucket_sim *bucket; /* the object store of all; NULL: there is none */
    bool store_out;
};

/* world.c */
void event_push(struct world *w, struct event event);
int64_t world_between(struct world *w, int64_t least, int64_t most); /* at random */
void node_start(struct sim_node *n);
void node_is_up(struct sim_node *n);
void node_step(struct sim_node *n, struct gossip_event event);
/* Runs code of the node. False: its memory has run out in the midst of it, which is counted. */
bool node_runs(struct sim_node *n, uint64_t *ends, void (*code)(void *arg), void *arg);

/* world_disk.c. False: the node cannot start. */
bool node_recover(struct sim_node *n);
void node_forget_disk(struct sim_node *n, bool power); /* before the node is freed; the process or the machine stops */
void node_throw_disk_away(struct sim_node *n);
void disk_counts(const struct disk_sim *disk, struct disk_stats *sum);
void node_forget_all(struct sim_node *n);              /* the process has ended where it stood, or the machine if lost_power */
bool node_is_dark(const struct sim_node *n);           /* its disk has ended it */
void node_keeps(struct sim_node *n);                   /* the keeper's step */
void node_recovered_step(struct sim_node *n);          /* after each of gossip's */
void disk_fills(struct world *w, struct sim_node *n);
void disk_has_room(struct sim_node *n, uint64_t times);
void disk_heals(struct sim_node *n);

/* world_store.c */
void world_store_open(struct world *w, uint64_t seed);
void world_store_close(struct world *w);
void store_faults(struct world *w);
void store_goes_out(struct world *w);
void store_is_back(struct world *w);
void node_open_archive(struct sim_node *n);
void node_forget_archive(struct sim_node *n, bool whole); /* before the node is freed; not whole: it has ended where it stood */
void node_archives(struct sim_node *n);                   /* the archive's step */

/* links.c: the transport port, and what becomes of frames. */
struct transport_port links_port(struct sim_node *n);
void links_clear(struct sim_node *n); /* of a node that starts */
void links_lose(struct world *w, uint32_t target);
void link_connect(struct sim_node *n, int link);
void link_disconnect(struct sim_node *n, int link);
void link_sent(struct sim_node *n, const struct event *e);
void link_arrive(struct world *w, const struct event *e);

/* faults.c */
void fault_happens(struct world *w);

#endif
