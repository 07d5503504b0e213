/* What the keys may be, by the definition and nothing else.
 *
 * Every write is kept, with what its node had seen. The state at a cut (a set of writes, given
 * as a vector) follows from two rules: a write that removes takes away exactly what its node
 * showed; everything else of the cut is there. No joins, no contexts, no logs: this shares no
 * code with lattice/, which it judges. Where concurrent registers leave a choice to clocks, any
 * of them is allowed.
 *
 * "Showed", not "had seen": what an earlier write had removed already is that write's to remove,
 * and a cut may lack it, as deltas of different origins may overtake each other. What such a
 * write, seen by one of the cut but not in it, removes may be there or not. Once every write
 * that was seen is in the cut, which is so when nodes agree, nothing is left open. A delta tells
 * of its elements as they are when it is sent, so a removal may be felt before it is in the cut:
 * what any write took is open until that write is in it. */
#ifndef ANNEAL_SIM_MODEL_H
#define ANNEAL_SIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_KEYS 24
#define MODEL_FIELDS 6

enum model_kind { MODEL_SET, MODEL_INCR, MODEL_DEL, MODEL_SADD, MODEL_SREM, MODEL_HSET, MODEL_HDEL, MODEL_HINCR, MODEL_KINDS };

struct model_seen {
    uint64_t node, incarnation, counter;
};

struct model_op {
    enum model_kind kind;
    uint32_t key;   /* MODEL_KEYS: all keys of the shard */
    uint32_t field; /* member or field */
    int64_t value;  /* of SET, HSET; amount of INCR, HINCR */
    uint32_t shard;
    struct model_seen at;          /* the counter that it took last */
    const struct model_seen *seen; /* what its node had applied before */
    uint32_t seen_count;
    /* Filled in by the model: */
    uint32_t origin;   /* the number of at's node and incarnation */
    uint64_t *had;     /* seen, by origin */
    uint32_t had_count;
    uint32_t *removed; /* numbers of writes, in order */
    uint32_t removed_count;
    uint32_t *dead; /* those of them that had been removed already; likewise */
    uint32_t dead_count;
    bool lost; /* see model_lose */
};

struct model;
struct model *model_new(void);
void model_free(struct model *m);
/* seen is only read. */
void model_add(struct model *m, struct model_op op);

/* A node that had applied what `upto` made of a shard now has no more of it than `count`. Others may have forgotten
 * that increments were reset there, so a later reset by one who had seen that does not tell of it again: what
 * such a write found reset is open in every cut that has not got the reset back. */
void model_lose(struct model *m, uint32_t shard, struct model_seen upto, uint64_t count);

/* A cut of one shard. */
struct model_cut {
    uint32_t shard, count;
    uint64_t *upto; /* counters, by origin */
    uint64_t node;  /* whose it is; counts if it is behind */
    /* Its node may lack what others take it to have, or to do without: whatever a write found reset is open
     * until that reset is in the cut. */
    bool behind;
};
struct model_cut model_cut(struct model *m, uint32_t shard, const struct model_seen *seen, uint32_t count);
void model_cut_fini(struct model_cut *cut);
bool model_allows_absent(const struct model *m, const struct model_cut *cut, uint32_t key);
bool model_allows_string(const struct model *m, const struct model_cut *cut, uint32_t key, int64_t value);
/* Bits of the fields that are there; the type's other forms must not be the only ones. */
bool model_allows_set(const struct model *m, const struct model_cut *cut, uint32_t key, uint32_t members);
bool model_allows_hash(const struct model *m, const struct model_cut *cut, uint32_t key, uint32_t fields,
                       const int64_t values[MODEL_FIELDS]);
/* Writes that a node claims to have seen though they are not in its cut: somebody must have removed each, having seen it. That
 * removal may be felt before it is in the cut as well. NULL, or one that nobody removed. */
const struct model_op *model_unfounded(struct model *m, const struct model_cut *cut, const struct model_seen *claims, uint32_t count,
                                       const struct model_cut *claimed_upto);
/* Prints the writes of a key that are in the cut. */
void model_explain(const struct model *m, const struct model_cut *cut, uint32_t key);

#endif
