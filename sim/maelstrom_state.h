/* What the Maelstrom node is made of; shared by the files sim/maelstrom*.c. */
#ifndef ANNEAL_SIM_MAELSTROM_STATE_H
#define ANNEAL_SIM_MAELSTROM_STATE_H

#include <jansson.h>

#include "net/command.h"
#include "net/node.h"
#include "sim/maelstrom.h"

/* Of Maelstrom's error codes, all of them definite: what was asked did not and will not happen. */
enum maelstrom_error {
    ERROR_NOT_SUPPORTED = 10,
    ERROR_UNAVAILABLE = 11,
    ERROR_MALFORMED = 12,
    ERROR_ABORT = 14,
    ERROR_NO_KEY = 20,
};

#define MAELSTROM_COUNTERS(X)                                           \
    X(lines_malformed, "lines that are no message")                     \
    X(lines_long, "lines longer than a message may be")                 \
    X(misdirected, "messages for somebody else")                        \
    X(replies, "replies to nothing that was asked")                     \
    X(requests_unknown, "requests of an unknown type")                  \
    X(requests_malformed, "requests with wrong or missing fields")      \
    X(requests_early, "requests before init")                           \
    X(requests_refused, "requests that the node refused")               \
    X(frames_foreign, "frames that are none, or from nobody we know")   \
    X(frames_early, "frames before init that there was no room for")    \
    X(reads_guessed, "reads answered before anybody had written")

struct peer {
    struct buf name;
    bool up;
    int64_t heard_us, hello_us; /* of it last; to it last */
};

/* What gossip has dialled. */
struct link {
    int peer; /* -1: nothing */
    bool up;  /* as gossip was told */
    bool refused; /* it was told that there is no room, and will be told of room */
};

/* A read without a key that waits until it is known what it asks for. */
struct waiting_read {
    struct buf src;
    json_int_t msg_id;
    int64_t deadline_us;
};
#define WAITING_MAX 256u

#define EARLY_LINES_MAX 256u
#define EARLY_BYTES_MAX (4u << 20)

struct maelstrom {
    struct maelstrom_config config;
    enum maelstrom_kind kind; /* as far as it is known */
    struct node *node;        /* NULL before init */
    char join[1024];
    char address[12];
    uint32_t self, peer_count; /* in peers, which are all nodes, in Maelstrom's order */
    struct peer *peers;
    struct link links[GOSSIP_LINKS];
    struct buf in, out;
    bool skips_line; /* that was too long, to its end */
    size_t looked;   /* no line ends in that much of in */
    struct buf early[EARLY_LINES_MAX];
    uint32_t early_count;
    size_t early_bytes;
    struct waiting_read waiting[WAITING_MAX];
    uint32_t waiting_count;
    uint64_t generated;
#define X(name, text) uint64_t name;
    MAELSTROM_COUNTERS(X)
#undef X
};

struct request {
    struct maelstrom *m;
    json_t *body;
    struct bytes src, dest;
    json_int_t msg_id;
    bool wants_reply; /* it has a msg_id */
};

/* maelstrom.c */
void maelstrom_count(struct maelstrom *m, uint64_t *counter, const char *what);
#define COUNT(m, counter, what) maelstrom_count(m, &(m)->counter, what)

/* maelstrom_text.c: JSON out. A reply is {type, in_reply_to} and what is put between. */
void text_put_json(struct buf *out, const json_t *value);      /* as it came */
void text_put_canonical(struct buf *out, const json_t *value); /* equal values, equal texts */
bool text_of(const json_t *value, struct bytes *out);          /* a view; false: no string */
void reply_begin(struct request *r, const char *type);
void reply_field(struct request *r, const char *name); /* then its value */
void reply_end(struct request *r);
void reply_empty(struct request *r, const char *type);
void reply_error(struct request *r, enum maelstrom_error code, const char *text);

/* maelstrom_peers.c: gossip's transport, in messages. */
struct transport_port peers_port(struct maelstrom *m);
int peers_find(const struct maelstrom *m, struct bytes name); /* -1: none */
void peers_frame(struct maelstrom *m, int peer, const json_t *body);
void peers_hello(struct maelstrom *m, int peer);
int64_t peers_tick(struct maelstrom *m, struct now now); /* when it is due again */
void peers_room(struct maelstrom *m);

/* maelstrom_store.c: the shipped commands. False: refused, *error (not terminated) says why. */
bool store_add(struct maelstrom *m, enum maelstrom_kind kind, const json_t *member, struct buf *error);
bool store_increment(struct maelstrom *m, json_int_t delta, struct buf *error);
void store_read(struct maelstrom *m, enum maelstrom_kind kind, struct buf *out); /* as JSON */
bool store_get(struct maelstrom *m, const json_t *key, struct buf *out);         /* false: no such key */
/* All or nothing: pairs of keys and values. */
bool store_set(struct maelstrom *m, const json_t *const *pairs, size_t count, struct buf *error);
/* What kind of data there is, ours or peers'. */
enum maelstrom_kind store_kind(struct maelstrom *m);

/* maelstrom_work.c: the workloads. False: no such type. */
bool work_request(struct request *r);
int64_t work_tick(struct maelstrom *m, struct now now);

#endif
