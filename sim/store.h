/* An object store in memory, shared by the nodes of a simulated cluster: what persist/store.h promises and no more, at its worst
 * moments.
 *
 * A request is carried out whole at one instant between its submission and its answer, both chosen at random; a write whose answer
 * was TRANSIENT and unsure, or whose client is gone, also later, or never. Time is the bucket's own and told by its caller; one
 * seed and the same calls give the same answers. One thread.
 *
 *     client -> submit -> [ call -> work -> answer ] -> poll        the calls of all clients, by what is due first
 *                             '-> answer -> work, whenever ]        late */
#ifndef ANNEAL_SIM_STORE_H
#define ANNEAL_SIM_STORE_H

#include "persist/store_open.h"

#define BUCKET_RATE_ALL 1000000 /* every request */

/* What clusters meet; the rest is for unit tests. */
#define BUCKET_RUN_STATS(X)                                           \
    X(requests, "requests to the object store")                       \
    X(failed, "requests that failed before their work")               \
    X(lost, "writes whose reply was lost")                            \
    X(repeated, "writes that were carried out again")                 \
    X(late, "writes that were answered before their work")            \
    X(slow, "requests that were slow")                                \
    X(out, "requests during an outage")                               \
    X(orphans, "writes in flight when their client was closed")       \
    X(landed, "writes carried out when nobody waited any more")       \
    X(never, "writes of unknown fate that never were")                \
    X(hidden, "objects too young to be listed")
#define BUCKET_STATS(X)                                               \
    BUCKET_RUN_STATS(X)                                               \
    X(refused, "requests that were refused")                          \
    X(overwritten, "objects overwritten by a create")                 \
    X(rots, "bits that flipped in objects")                           \
    X(objects, "objects stored") /* now */                            \
    X(bytes, "bytes stored")     /* now, without keys */

struct bucket_stats {
#define X(name, help) uint64_t name;
    BUCKET_STATS(X)
#undef X
};

/* The last two are not to be trusted with names that matter; store_probe must say so. */
enum bucket_conditions {
    BUCKET_CONDITIONS_KEPT,
    BUCKET_CONDITIONS_IGNORED, /* CREATE is PUT */
    BUCKET_CONDITIONS_UNKNOWN, /* CREATE is UNCONDITIONAL */
};

/* Rates are of a million requests; out, refuse and conditions count when a request's work is due. */
struct bucket_faults {
    uint32_t fail; /* TRANSIENT, surely not carried out */
    uint32_t lose; /* carried out, then TRANSIENT and unsure; or, half of them, repeated: a CREATE EXISTS by itself, and is unsure */
    uint32_t late; /* TRANSIENT and unsure, then carried out within another deadline; or, half of them, never */
    uint32_t slow; /* answered any time until its deadline */
    bool out;      /* all is TRANSIENT, and nothing lands */
    bool refuse;   /* all is REFUSED, and nothing lands */
    enum bucket_conditions conditions;
    int64_t list_lag_us; /* LIST hides what was created less than this ago */
};

struct bucket_sim;
struct bucket_sim *bucket_sim_new(uint64_t seed);
void bucket_sim_free(struct bucket_sim *bucket); /* its clients are closed */

/* What was due until then is done, in order; never goes back. Calls `ready` of clients. */
void bucket_sim_now(struct bucket_sim *bucket, int64_t now_us);
/* When something is due, be it only a late write; INT64_MAX: never. */
int64_t bucket_sim_next_us(const struct bucket_sim *bucket);
/* From now on; {0}: none, as at first. */
void bucket_sim_faults(struct bucket_sim *bucket, const struct bucket_faults *faults);
/* Flips a bit of a random object; false if all are empty. */
bool bucket_sim_rot(struct bucket_sim *bucket);
void bucket_sim_stats(const struct bucket_sim *bucket, struct bucket_stats *out);

/* A client. Of the settings, requests_max, deadline_ms, ready and ready_arg count. */
struct store store_sim_open(struct bucket_sim *bucket, const struct store_settings *settings);
/* When poll has something if not before: the bucket's now if it has, INT64_MAX if nothing is in flight. */
int64_t store_sim_next_us(const struct store *store);

#endif
