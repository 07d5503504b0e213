/* Which process is a node. Dots are safe without this: every start writes as another replica. But two processes that both
 * believe to be one node take turns in being called gone by the cluster, and an operator who copied a directory should hear of it.
 *
 *   claim/NODE/NUMBER     made by each start, with the next number; says from which place. The greatest counts: those before it are
 *                         deleted, so who has made one looks whether there is a greater
 *   verdict/NODE/NUMBER   on that claim: "taken" by who made it, after WAIT_US; or "refused" by who is the node already, and
 *                         looks for a new claim every WATCH_US. One object, so only one of them has its way
 *
 * Who claims where the last claim that was not refused came from, and was taken, need not wait: the directory is locked, so that
 * process is dead. Whoever finds that a later claim was taken has been given up for dead, and stops; likewise who finds his own deleted,
 * since a still later one was taken meanwhile. */
#include "persist/archive_state.h"

#define WATCH_US INT64_C(1000000)
#define WAIT_US INT64_C(4000000)
#define OWN_EVERY 10u /* watches: whether our own claim is still there; and after each gap in which another could be taken */

static const char TAKEN[] = "taken", REFUSED[] = "refused";

static void create(struct archive *a, const char *what, enum object_kind kind, uint64_t number, const char *text) {
    char key[LAYOUT_KEY_BYTES];
    layout_claim_key(key, what, a->config.self.node, number);
    creation_begin(a, &a->claim.creation, key, kind, (struct bytes){0}, bytes_str(text));
}

static void get(struct archive *a, const char *what, uint64_t number) {
    char key[LAYOUT_KEY_BYTES];
    layout_claim_key(key, what, a->config.self.node, number);
    fetch_get(a, &a->claim.fetch, &a->config.store, key, 0, 0, 4096);
}

/* Whether the object that was fetched says so; false too if it is gone or damaged. */
static bool says(struct archive *a, enum object_kind kind, const char *text) {
    struct object object;
    struct buf plain = {0};
    const struct fetch *f = &a->claim.fetch;
    bool same = f->request.result == STORE_DONE && archive_open(a, f->key, kind, buf_bytes(&f->request.data), &object, &plain) &&
                bytes_equal(buf_bytes(&plain), bytes_str(text));
    buf_fini(&plain);
    return same;
}

static void list(struct archive *a, bool exact) {
    char first[LAYOUT_KEY_BYTES];
    layout_claim_key(first, "claim", a->config.self.node, 1);
    listing_begin_row(a, &a->claim.listing, &a->config.store, first, exact);
}

static void wait_for_claims(struct archive *a) {
    a->claim.step = CLAIM_OURS;
    a->claim.at_us = a->now.mono_us + WATCH_US;
}

static void head(struct archive *a, uint64_t number) {
    char key[LAYOUT_KEY_BYTES];
    layout_claim_key(key, "claim", a->config.self.node, number);
    fetch_begin(a, &a->claim.fetch, &a->config.store, STORE_HEAD, key);
}

static void stop_for_another(struct archive *a) {
    archive_stop(a, "another process has become node %016llx while this one did not answer", (unsigned long long)a->config.self.node);
}

static uint64_t greatest(const struct claim *c) {
    uint64_t node, number, most = 0;
    for (size_t i = 0; i < c->listing.count; i++)
        if (layout_read_claim_key(bytes_str(c->listing.keys[i].key), "claim", &node, &number) && number > most) most = number;
    return most;
}

/* All there are, and their verdicts, are to be deleted once there is a greater one: they tell nobody anything. */
static void note_old(struct claim *c) {
    uint64_t node, number;
    sweep_begin(&c->old);
    for (size_t i = 0; i < c->listing.count; i++) {
        char verdict[LAYOUT_KEY_BYTES];
        if (!layout_read_claim_key(bytes_str(c->listing.keys[i].key), "claim", &node, &number)) continue;
        layout_claim_key(verdict, "verdict", node, number);
        listing_add(&c->old.items, bytes_str(verdict), 0);
        listing_add(&c->old.items, bytes_str(c->listing.keys[i].key), 0);
    }
}

bool claim_step(struct archive *a) {
    struct claim *c = &a->claim;
    uint64_t next;
    switch (c->step) {
    case CLAIM_BEGIN:
        list(a, true);
        c->step = CLAIM_LISTING;
        break;
    case CLAIM_LISTING:
        if (!listing_over(a, &c->listing)) break;
        note_old(c);
        next = greatest(c) + 1;
        if (c->creation.state == CREATION_TAKEN && next <= c->number) { /* it is there, and is not listed, or the last of all numbers */
            archive_stop(a, "%s is taken, and claims of node %016llx end before it: delete them, and its verdicts", c->creation.key, (unsigned long long)a->config.self.node);
            break;
        }
        c->number = next;
        c->before = c->number - 1;
        get(a, "claim", c->before); /* of number 0 there is none */
        c->step = CLAIM_LOOKING;
        break;
    case CLAIM_LOOKING:
        if (!fetch_over(a, &c->fetch)) break;
        c->from_here = says(a, OBJECT_CLAIM, a->config.place);
        get(a, "verdict", c->before);
        c->step = CLAIM_LOOKING_CLOSER;
        break;
    case CLAIM_LOOKING_CLOSER:
        if (!fetch_over(a, &c->fetch)) break;
        if (says(a, OBJECT_VERDICT, REFUSED)) {
            get(a, "claim", --c->before);
            c->step = CLAIM_LOOKING;
            break;
        }
        c->at_once = c->number == 1 || (c->from_here && says(a, OBJECT_VERDICT, TAKEN));
        create(a, "claim", OBJECT_CLAIM, c->number, a->config.place);
        c->step = CLAIM_MAKING;
        break;
    case CLAIM_MAKING:
        if (!creation_over(a, &c->creation)) break;
        a->progress = true;
        c->step = CLAIM_BEGIN;
        if (c->creation.state == CREATION_TAKEN) break;
        list(a, true);
        c->step = CLAIM_CHECKING;
        break;
    case CLAIM_CHECKING: /* while we stood still the number may have been another's, and deleted */
        if (!listing_over(a, &c->listing)) break;
        a->progress = true;
        c->step = greatest(c) > c->number && !MUTANT(claim_unchecked) ? CLAIM_BEGIN : CLAIM_WAITING;
        if (c->step == CLAIM_BEGIN) break;
        c->at_us = c->at_once ? 0 : a->now.mono_us + WAIT_US;
        if (!c->at_once) archive_note(a, "node %016llx was last claimed from elsewhere: waiting whether it still lives", (unsigned long long)a->config.self.node);
        break;
    case CLAIM_WAITING:
        archive_wants(a, c->at_us);
        if (a->now.mono_us < c->at_us) break;
        c->asked_us = a->now.mono_us;
        create(a, "verdict", OBJECT_VERDICT, c->number, TAKEN);
        c->step = CLAIM_JUDGING;
        break;
    case CLAIM_JUDGING:
        if (!creation_over(a, &c->creation)) break;
        if (c->creation.state == CREATION_TAKEN) {
            get(a, "verdict", c->number);
            c->step = CLAIM_READING_VERDICT;
            break;
        }
        c->watched = c->number + 1;
        c->watched_us = c->asked_us;
        wait_for_claims(a);
        return true;
    case CLAIM_READING_VERDICT:
        if (!fetch_over(a, &c->fetch)) break;
        archive_stop(a, "another process is node %016llx: give this one a directory and a node-id of its own", (unsigned long long)a->config.self.node);
        break;
    default: break;
    }
    return false;
}

/* Nobody was the node but us when we asked. */
static void all_is_well(struct archive *a) {
    struct claim *c = &a->claim;
    c->watched_us = c->asked_us;
    if (c->old.items.count) {
        list(a, false);
        c->step = CLAIM_LISTING_OURS;
    } else {
        wait_for_claims(a);
    }
}

bool claim_is_fresh(const struct archive *a) { return a->now.mono_us - a->claim.watched_us < ORPHAN_US / 2; }

void claim_watch(struct archive *a) {
    struct claim *c = &a->claim;
    switch (c->step) {
    case CLAIM_LISTING_OURS: /* those before it are how our next process finds it, until it is listed itself */
        if (!listing_over(a, &c->listing)) break;
        if (greatest(c) >= c->number || MUTANT(unlisted_relied_on)) c->step = CLAIM_SWEEPING;
        else wait_for_claims(a);
        a->progress = true;
        break;
    case CLAIM_SWEEPING:
        if (!sweep_over(a, &c->old, &a->config.store, STORE_DELETE, NULL)) break;
        sweep_begin(&c->old);
        wait_for_claims(a);
        break;
    case CLAIM_OURS:
        archive_wants(a, c->at_us);
        if (a->now.mono_us < c->at_us) break;
        c->asked_us = a->now.mono_us;
        head(a, c->watched);
        c->step = CLAIM_WATCHING;
        break;
    case CLAIM_WATCHING:
        if (!fetch_over(a, &c->fetch)) break;
        if (c->fetch.request.result == STORE_DONE) {
            create(a, "verdict", OBJECT_VERDICT, c->watched, REFUSED);
            c->step = CLAIM_OBJECTING;
        } else if ((++c->watches % OWN_EVERY == 0 || c->asked_us - c->watched_us >= WAIT_US) && !MUTANT(claim_unchecked)) {
            head(a, c->number);
            c->step = CLAIM_LOOKING_FOR_OURS;
        } else {
            all_is_well(a);
        }
        break;
    case CLAIM_LOOKING_FOR_OURS:
        if (!fetch_over(a, &c->fetch)) break;
        if (c->fetch.request.result == STORE_DONE) {
            all_is_well(a);
        } else {
            list(a, true);
            c->step = CLAIM_LISTING_GREATER;
        }
        break;
    case CLAIM_LISTING_GREATER: /* or somebody has emptied the store */
        if (!listing_over(a, &c->listing)) break;
        if (greatest(c) > c->number) stop_for_another(a);
        else all_is_well(a);
        a->progress = true;
        break;
    case CLAIM_OBJECTING:
        if (!creation_over(a, &c->creation)) break;
        if (c->creation.state == CREATION_MADE) {
            archive_note(a, "another process that claims to be this node was refused");
            c->watched++;
            wait_for_claims(a);
        } else {
            get(a, "verdict", c->watched);
            c->step = CLAIM_READING_ANSWER;
        }
        break;
    case CLAIM_READING_ANSWER:
        if (!fetch_over(a, &c->fetch)) break;
        if (says(a, OBJECT_VERDICT, TAKEN)) stop_for_another(a);
        c->watched++;
        wait_for_claims(a);
        break;
    default: break;
    }
}
