/* Commands that come next in a query, looked at before they are run: their keys are located once, and
 * what they will look up in the shards is asked of memory together, as nobody can compute ahead of it.
 * Hints only: a second argument that is no key costs a little, and changes nothing. */
#ifndef ANNEAL_NET_PIPELINE_H
#define ANNEAL_NET_PIPELINE_H

#include "net/command.h"

#define PIPELINE_AHEAD 16u /* commands whose keys are asked for together */

/* Views the query: it may not move between the two calls. */
struct pipeline {
    size_t upto; /* what lies before in the query was looked at */
    size_t count, next;
    struct key_ref refs[PIPELINE_AHEAD];
    uint32_t shards[PIPELINE_AHEAD];
};

/* Nothing was looked at; the rest is left as it is. */
static inline void pipeline_init(struct pipeline *p) { p->upto = p->count = p->next = 0; }
/* Looks at what follows in the query from there on; locks shards, one at a time. */
void pipeline_look(struct pipeline *p, struct node *node, struct bytes query, size_t from);
/* Where the call's first key is, if it was looked at. Calls come in the order of the query. */
void pipeline_take(struct pipeline *p, struct call *call);

#endif
