/* A node for Maelstrom (github.com/jepsen-io/maelstrom, doc/protocol.md): the shipped node behind
 * lines of JSON. Sans-I/O: it is given bytes and reads the time from its clock port; what it has
 * to say it appends to a buffer.
 *
 *     stdin ── lines ── request ── command_run ── shard
 *                    └─ frame ──── gossip_step ──┘ │
 *     stdout ─ replies, frames in base64 ──────────┘
 *
 * Clients' requests become commands of the shipped table, and nothing is replicated but by the
 * shipped gossip, whose frames travel in messages {"type": "anneal", "frame": "..."}. Values are
 * kept as their JSON text. No input is trusted: what cannot be understood is counted, and answered
 * with an error where there is somebody to answer. One thread. */
#ifndef ANNEAL_SIM_MAELSTROM_H
#define ANNEAL_SIM_MAELSTROM_H

#include "core/bytes.h"
#include "core/port.h"

/* What a `read` without a key asks for: Maelstrom's broadcast, g-set and counter workloads all
 * word it alike and want different answers. */
enum maelstrom_kind { KIND_UNKNOWN, KIND_BROADCAST, KIND_SET, KIND_COUNTER };

struct maelstrom_config {
    struct clock_port clock;
    /* KIND_UNKNOWN: what was written here last, else what peers have written, tells. */
    enum maelstrom_kind kind;
    /* One line for people; never called often. May be NULL. */
    void (*say)(const char *line);
};

struct maelstrom;
struct maelstrom *maelstrom_new(const struct maelstrom_config *config);
void maelstrom_free(struct maelstrom *m);

/* A workload's name as Maelstrom has it; false if there is none. */
bool maelstrom_kind_of(const char *workload, enum maelstrom_kind *out);

/* Takes what came, in pieces of any size. */
void maelstrom_input(struct maelstrom *m, struct bytes bytes);
/* Does what is due; to be called after input, and at the time it returned last (mono_us). */
int64_t maelstrom_tick(struct maelstrom *m);

/* What is to be written. The caller drops the front of it as it goes, then calls
 * maelstrom_written, and gives no input while maelstrom_is_full. */
struct buf *maelstrom_output(struct maelstrom *m);
void maelstrom_written(struct maelstrom *m);
bool maelstrom_is_full(const struct maelstrom *m);

/* Says all counters that are not 0. */
void maelstrom_summary(const struct maelstrom *m);

#endif
