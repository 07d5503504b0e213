/* Who is there.
 *
 * A record of a member is a lattice: its heartbeat and its flags only grow, and of two
 * processes of one node the later one (by epoch, then incarnation) takes the place of the
 * other. So tables may be sent in any order, to anybody, and repeated. Whether a member lives
 * is each node's own judgement, by how long its heartbeat stands still; since everybody's
 * tables carry it, a member that only we cannot reach does not look dead.
 *
 *   record := id address epoch heartbeat flags
 *   MEMBERS := wants-answer token answered-token record*  (the sender's own first)
 *
 * Links: one to every member that has not left, and one to every address to join until we
 * know who lives there. A member that is gone keeps its link, to be told so. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/mutant.h"
#include "gossip/state.h"

/* RECOVERED: it holds what an earlier process of its node had. */
enum { FLAG_LEFT = 1, FLAG_GONE = 2, FLAG_RECOVERED = 4, FLAGS_ALL = 7 };

void gossip_note(struct gossip *g, const char *format, ...) {
    if (!g->config.note) return;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    g->config.note(g->config.arg, text);
}

static bool id_equal(struct replica_id a, struct replica_id b) {
    return a.node == b.node && a.incarnation == b.incarnation;
}

static bool is_nobody(struct replica_id id) { return id.node == 0 && id.incarnation == 0; }

struct member *member_find(struct gossip *g, struct replica_id id) {
    for (uint32_t i = 0; i < g->member_count; i++)
        if (id_equal(g->members[i]->id, id)) return g->members[i];
    return NULL;
}

static struct member *member_of_node(struct gossip *g, uint64_t node) {
    for (uint32_t i = 0; i < g->member_count; i++)
        if (g->members[i]->id.node == node) return g->members[i];
    return NULL;
}

bool member_counts(const struct member *m) { return !m->left && !m->gone; }
bool member_may_write(const struct member *m) { return !m->silent && !m->gone; }
bool member_holds(const struct member *m) { return member_may_write(m) || !m->closed; }

enum member_status member_status_of(const struct gossip *g, const struct member *m) {
    if (m->gone) return MEMBER_GONE;
    if (m->left) return MEMBER_LEFT;
    if (m->stranger) return MEMBER_DOWN;
    int64_t silent_ms = (g->now.mono_us - m->heard_us) / MS;
    return silent_ms >= g->config.down_ms ? MEMBER_DOWN : silent_ms >= g->config.suspect_ms ? MEMBER_SUSPECT : MEMBER_UP;
}

const char *member_status_text(enum member_status status) {
    static const char *const texts[] = {"self", "up", "suspect", "down", "left", "gone"};
    assert(status <= MEMBER_GONE);
    return texts[status];
}

/* ------------------------------------------------------------------ links */

static int free_link(const struct gossip *g) {
    for (int i = 0; i < GOSSIP_LINKS; i++)
        if (!g->link_member[i] && !g->link_join[i]) return i;
    return -1;
}

static int dial(struct gossip *g, const char *address) {
    int link = free_link(g);
    if (link < 0 || !*address) return -1;
    if (g->config.transport.dial(g->config.transport.self, link, address) == STATUS_OK) return link;
    gossip_note(g, "cannot dial \"%s\": not an address host:port", address);
    return -1;
}

static void hangup_member(struct gossip *g, struct member *m) {
    if (m->link >= 0) {
        g->config.transport.hangup(g->config.transport.self, m->link);
        g->link_member[m->link] = NULL;
    }
    m->link = -1;
    m->up = false;
}

static void dial_member(struct gossip *g, struct member *m) {
    if (m->link >= 0 || m->left || m->replaced) return;
    m->link = dial(g, m->address);
    if (m->link >= 0) g->link_member[m->link] = m;
}

static void hangup_join(struct gossip *g, struct join *j) {
    if (j->link >= 0) {
        g->config.transport.hangup(g->config.transport.self, j->link);
        g->link_join[j->link] = NULL;
    }
    j->link = -1;
    j->up = false;
}

/* ------------------------------------------------------------- the table */

/* Nothing is under way to it, or from it, any more. */
static void cut_off(struct gossip *g, struct member *m) {
    hangup_member(g, m);
    transfer_forget(g, m);
    pulls_forget(g, m->id);
}

static void member_clear(struct gossip *g, struct member *m) {
    cut_off(g, m);
    for (uint32_t i = 0; i < m->ask_count; i++) shard_summary_fini(&m->asks[i].summary);
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        vclock_fini(&m->latest[s]);
        vclock_fini(&m->accepted[s]);
    }
    mem_free(m->latest);
    mem_free(m->accepted);
}

/* One that left or is gone may make room, or a stranger, which is missed if it is; others stay. */
static bool make_room(struct gossip *g) {
    for (uint32_t i = 0; i < g->member_count && g->member_count == MEMBERS_MAX; i++) {
        struct member *m = g->members[i];
        if (member_counts(m) && !m->stranger) continue;
        member_clear(g, m);
        mem_free(m);
        g->members[i] = g->members[--g->member_count];
    }
    return g->member_count < MEMBERS_MAX;
}

struct record {
    struct replica_id id;
    uint16_t replica;
    struct bytes address;
    uint64_t epoch, heartbeat, flags;
    bool stranger; /* nobody's word: something that it wrote is here */
};

/* We may have forgotten resets that it has not applied. That holds as well if we have left since, and
 * are back: of nodes that all left, each is void to those that saw it leave, and the last to none. */
static bool is_void(const struct member *m) { return !member_counts(m); }

/* Who leaves goes on holding resets for those that leave after it: else two could each have seen the
 * other leave, and both would be void. */
static bool says_left(const struct gossip *g, const struct record *r) { return r->flags & FLAG_LEFT && !g->leaving; }

static void note_status(struct gossip *g, struct member *m) {
    m->said = member_status_of(g, m);
    if (m->stranger)
        gossip_note(g, "node %016llx, of which the object store has something and nobody tells where it is, is %s", (unsigned long long)m->id.node,
                    member_status_text(m->said));
    else
        gossip_note(g, "member %016llx at %s is %s", (unsigned long long)m->id.node, m->address, member_status_text(m->said));
}

static void member_fill(struct gossip *g, struct member *m, const struct record *r) {
    *m = (struct member){.id = r->id, .replica = r->replica, .epoch = r->epoch, .heartbeat = r->heartbeat,
                         .heard_us = g->now.mono_us, .stranger = r->stranger, .link = -1};
    if (r->address.len) memcpy(m->address, r->address.data, r->address.len);
    m->left = says_left(g, r);
    m->gone = r->flags & FLAG_GONE;
    m->recovered = r->flags & FLAG_RECOVERED;
    m->replaced = strcmp(m->address, g->config.address) == 0; /* by us */
    m->latest = mem_zero(g->config.shard_count, sizeof *m->latest);
    m->accepted = mem_zero(g->config.shard_count, sizeof *m->accepted);
    note_status(g, m);
    g->members_changed = true;
    dial_member(g, m);
}

static void member_add(struct gossip *g, const struct record *r) {
    if (!make_room(g)) {
        gossip_note(g, "more than %d members: %016llx is not taken", MEMBERS_MAX, (unsigned long long)r->id.node);
        return;
    }
    struct member *m = mem_alloc(sizeof *m);
    g->members[g->member_count++] = m;
    member_fill(g, m, r);
}

/* Nothing stays of what it was but `gone`. */
static void member_become(struct gossip *g, struct member *m, const struct record *r, bool gone) {
    member_clear(g, m);
    member_fill(g, m, r);
    m->gone = m->gone || gone;
}

static void member_merge(struct gossip *g, struct member *m, const struct record *r) {
    if (m->stranger) {
        member_become(g, m, r, m->gone);
        return;
    }
    if (r->heartbeat > m->heartbeat) {
        m->heartbeat = r->heartbeat;
        m->heard_us = g->now.mono_us;
    }
    bool counted = member_counts(m);
    if (r->flags & FLAG_GONE) m->gone = true;
    if (says_left(g, r)) m->left = true;
    if (counted != member_counts(m)) g->members_changed = true;
    if (!member_counts(m)) pulls_forget(g, m->id);
}

static bool is_later(const struct record *r, uint64_t epoch, struct replica_id id) {
    return r->epoch != epoch ? r->epoch > epoch : r->id.incarnation > id.incarnation;
}

static bool is_closed(struct gossip *g, struct replica_id id, bool close, bool for_good) {
    return !g->config.closed || g->config.closed(g->config.applied.self, id, close, for_good);
}

/* The node is, and its newest process, if that lives, would have been heard of by now. */
static bool is_given_up(struct gossip *g, const struct member *m, uint16_t replica) {
    if (member_may_write(m)) return false;
    if (!vclock_get(&g->met, replica)) vclock_raise(&g->met, replica, (uint64_t)g->now.mono_us);
    return g->now.mono_us - (int64_t)vclock_get(&g->met, replica) >= g->config.down_ms * MS;
}

#define STRANGERS_MAX 32u /* of more is known that there are some, and that is enough */

static uint32_t count_strangers(const struct gossip *g) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->member_count; i++) count += g->members[i]->stranger;
    return count;
}

/* Of one that is no member. Its own next process sees to what it left, and that, or whatever is known of its node, is a member and
 * holds what it may not have seen: so nobody ends what may live. A node that nobody told of, nor of its next process, is waited
 * for as for one that is down. */
static bool is_over(struct gossip *g, uint16_t replica) {
    struct replica_id id = replicas_id(g->config.replicas, replica);
    struct member *m = member_of_node(g, id.node);
    if (replica == g->config.self_index || vclock_get(&g->over, replica) || (m && id_equal(m->id, id))) return true;
    bool ours = id.node == g->config.self.node, unknown = !ours && !m;
    bool close = ours || (m && is_given_up(g, m, replica)) || MUTANT(strangers_closed);
    if (is_closed(g, id, close, unknown)) {
        if (unknown) vclock_raise(&g->over, replica, 1);
        return true;
    }
    if (unknown && count_strangers(g) < STRANGERS_MAX) member_add(g, &(struct record){.id = id, .replica = replica, .stranger = true});
    return false;
}

static void member_look(struct gossip *g, struct member *m) {
    if (m->closed) return;
    if (!member_may_write(m)) m->closed = is_closed(g, m->id, true, true);
    else if (m->stranger && is_closed(g, m->id, false, true)) m->gone = m->closed = g->members_changed = true; /* others gave it up */
}

/* Also of processes that nobody here ever met, but in what others had of them: what is read of them later may go on with
 * increments whose reset was forgotten. Where nothing of one is applied, nothing of it is forgotten. */
bool members_hold(struct gossip *g) {
    struct vclock known = {0};
    g->holds = false;
    for (uint32_t i = 0; i < g->member_count; i++) member_look(g, g->members[i]);
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        shard_view_look(g, s);
        vclock_join(&known, &g->shards[s].applied);
    }
    for (uint32_t r = 1; r < known.count && !MUTANT(strangers_hold_nothing); r++)
        if (known.counter[r] && !is_over(g, (uint16_t)r)) g->holds = true;
    vclock_fini(&known);
    return g->holds;
}

/* What was read of those that are no more went with all else. */
static void forget_over(struct gossip *g) {
    vclock_fini(&g->over);
    for (uint32_t i = 0; i < g->member_count; i++) g->members[i]->closed = false;
}

/* Declared gone: what we hold may miss resets that nobody remembers. Start over, empty. */
void members_start_over(struct gossip *g) {
    struct clock_port *clock = &g->config.clock;
    struct replica_id id = {g->config.self.node, clock->entropy(clock->self)};
    uint16_t index;
    if (replicas_intern(g->config.replicas, id, &index) != STATUS_OK) {
        gossip_note(g, "declared gone, and no replica id is free: restart this node");
        return;
    }
    gossip_note(g, "declared gone by the cluster: starting over, empty");
    g->stats.resets++;
    forget_over(g);
    g->config.self = id;
    g->config.self_index = index;
    g->epoch++;
    g->recovered = false;
    g->members_changed = true; /* who we are is kept with them */
    if (g->config.applied.resetting) g->config.applied.resetting(g->config.applied.self);
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        struct shard_view *v = &g->shards[s];
        shard_lock(g->config.shards[s]);
        shard_reset(g->config.shards[s], index);
        shard_unlock(g->config.shards[s]);
        if (v->pull.token && !MUTANT(pulls_out_for_ever)) g->pulls_out--;
        shard_summary_fini(&v->pull.asked);
        v->pull = (struct pull){0};
        v->published = 0;
        shard_view_changed(g, s);
    }
    if (g->config.applied.reset) g->config.applied.reset(g->config.applied.self);
    for (uint32_t i = 0; i < g->member_count; i++) {
        g->members[i]->digest_change = 0;
        g->members[i]->owes_digest = true;
    }
}

/* A record that names our node. */
static void read_own(struct gossip *g, const struct record *r, struct replica_id sender) {
    if (id_equal(r->id, g->config.self)) {
        if (r->epoch > g->epoch) g->epoch = r->epoch;
        if (r->flags & FLAG_GONE && !MUTANT(gone_stays)) members_start_over(g);
        return;
    }
    if (id_equal(r->id, sender) && g->stats.twins++ % 100 == 0)
        gossip_note(g, "another process claims the node id %016llx, from %.*s: give one of them another node-id",
                    (unsigned long long)r->id.node, (int)r->address.len, (const char *)r->address.data);
    if (is_later(r, g->epoch, g->config.self)) g->epoch = r->epoch + (MUTANT(epoch_of_before) ? 0 : 1);
}

static void read_record(struct gossip *g, const struct record *r, struct replica_id sender) {
    if (r->id.node == g->config.self.node) {
        read_own(g, r, sender);
        return;
    }
    struct member *m = member_of_node(g, r->id.node);
    if (!m) {
        member_add(g, r);
    } else if (id_equal(m->id, r->id)) {
        member_merge(g, m, r);
    } else if (m->stranger || is_later(r, m->epoch, m->id)) {
        /* What was declared gone, or has left, no longer holds resets: if its next process brings
         * its state back, that is void. */
        member_become(g, m, r, !MUTANT(gone_returns) && is_void(m) && r->flags & FLAG_RECOVERED);
    } else if (m->left && id_equal(r->id, sender) && !(r->flags & FLAG_LEFT)) {
        /* Back with a clock that is behind: nobody dials one that left, so nobody would tell it
         * to take a later epoch. */
        struct record later = *r;
        later.epoch = m->epoch + 1;
        member_become(g, m, &later, is_void(m) && r->flags & FLAG_RECOVERED);
    }
}

/* Its node was lost, and a new one started in its place: what is sent to it there reaches nobody who would answer. */
static void replace(struct gossip *g, struct member *m) {
    m->lives = false;
    m->replaced = true;
    cut_off(g, m);
}

/* Who speaks lives at its address, unless another did until now. */
static void move_in(struct gossip *g, struct member *m) {
    m->lives = true;
    for (uint32_t i = 0; i < g->member_count; i++) {
        struct member *other = g->members[i];
        if (other == m || strcmp(other->address, m->address) != 0) continue;
        if (other->spoke_us && g->now.mono_us - other->spoke_us < g->config.heartbeat_ms * MS) m->lives = false;
        else if (!other->replaced) replace(g, other);
    }
    if (!m->lives) return;
    m->replaced = false;
    dial_member(g, m);
}

void members_heard(struct gossip *g, struct member *m) {
    m->heard_us = m->spoke_us = g->now.mono_us;
    if (!m->lives && !MUTANT(dead_still_asked)) move_in(g, m);
}

/* -------------------------------------------------------------- messages */

static void write_record(struct wire_writer *w, uint16_t replica, const char *address, uint64_t epoch,
                         uint64_t heartbeat, uint64_t flags) {
    wire_dot(w, dot_make(replica, 0));
    wire_bytes(w, bytes_str(address));
    wire_u64(w, epoch);
    wire_u64(w, heartbeat);
    wire_u64(w, flags);
}

/* But strangers, of which there is nothing to tell. */
static void write_others(struct gossip *g, struct wire_writer *w) {
    for (uint32_t i = 0; i < g->member_count; i++) {
        const struct member *m = g->members[i];
        if (!m->stranger) write_record(w, m->replica, m->address, m->epoch, m->heartbeat,
                     (m->left ? FLAG_LEFT : 0u) | (m->gone ? FLAG_GONE : 0u) | (m->recovered ? FLAG_RECOVERED : 0u));
    }
}

static void write_all(struct gossip *g, struct wire_writer *w) {
    uint64_t known = 1;
    for (uint32_t i = 0; i < g->member_count; i++) known += !g->members[i]->stranger;
    wire_u64(w, known);
    write_record(w, g->config.self_index, g->config.address, g->epoch, g->heartbeat, (g->leaving ? FLAG_LEFT : 0u) | (g->recovered ? FLAG_RECOVERED : 0u));
    write_others(g, w);
}

static void write_members(struct gossip *g, struct wire_writer *w, bool wants_answer, uint64_t token, uint64_t answered) {
    wire_init(w, g->config.replicas);
    wire_u64(w, MESSAGE_MEMBERS);
    wire_u64(w, wants_answer);
    wire_u64(w, token);
    wire_u64(w, answered);
    write_all(g, w);
}

void members_send(struct gossip *g, struct member *m, bool wants_answer) {
    struct wire_writer w;
    write_members(g, &w, wants_answer, 0, m->owed_token);
    m->owed_token = 0;
    transfer_send(g, m, &w);
}

static bool parse_record(struct gossip *g, struct wire_reader *r, struct record *out) {
    *out = (struct record){.replica = dot_replica(wire_read_dot(r))};
    out->address = wire_read_bytes(r);
    out->epoch = wire_read_u64(r);
    out->heartbeat = wire_read_u64(r);
    out->flags = wire_read_u64(r);
    if (out->address.len >= GOSSIP_ADDRESS_MAX || out->flags > FLAGS_ALL || out->epoch > INT64_MAX ||
        (out->address.len && memchr(out->address.data, 0, out->address.len)))
        r->bad = true;
    if (!r->bad) out->id = replicas_id(g->config.replicas, out->replica);
    return !r->bad;
}

static void token_answered(struct gossip *g, uint64_t token, struct replica_id sender) {
    if (!token || token > g->join_count) return;
    struct join *j = &g->joins[token - 1];
    j->found = sender;
    if (id_equal(sender, g->config.self)) {
        j->self_us = g->now.mono_us;
        hangup_join(g, j);
    }
}

void members_read(struct gossip *g, struct wire_reader *r, struct replica_id sender) {
    uint64_t wants_answer = wire_read_u64(r), token = wire_read_u64(r), answered = wire_read_u64(r);
    uint64_t count = wire_read_u64(r);
    if (id_equal(sender, g->config.self)) { /* we dialled ourselves */
        token_answered(g, token, sender);
        g->stats.frames_own++;
        return;
    }
    if (count > MEMBERS_MAX + 1) r->bad = true;
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        struct record record;
        if (parse_record(g, r, &record)) read_record(g, &record, sender);
    }
    if (r->bad) return;
    token_answered(g, answered, sender);
    struct member *m = member_find(g, sender);
    if (!m) return;
    if (token) m->owed_token = token;
    if (m->up && (wants_answer || m->owed_token)) members_send(g, m, false);
}

void members_write(struct gossip *g, struct buf *out) {
    struct wire_writer w;
    wire_init(&w, g->config.replicas);
    write_all(g, &w);
    wire_finish(&w, out);
    wire_fini(&w);
}

/* Who is kept outlives us: whoever comes back and believes that it is alone takes everything for
 * stable, and forgets what others have not seen. */
void members_keep(struct gossip *g) {
    struct buf table = {0};
    if (!g->members_changed || !g->config.applied.members) return;
    g->members_changed = false;
    members_write(g, &table);
    g->config.applied.members(g->config.applied.self, buf_bytes(&table));
    buf_fini(&table);
}

struct replica_id members_owner(struct gossip *g, struct bytes table) {
    struct wire_reader r;
    struct record record = {0};
    if (!table.len || wire_open(&r, table, g->config.replicas) != STATUS_OK) return record.id;
    bool any = wire_read_u64(&r) && parse_record(g, &r, &record);
    wire_close(&r);
    return any && record.id.node == g->config.self.node ? record.id : (struct replica_id){0};
}

void members_restore(struct gossip *g, struct bytes table) {
    struct wire_reader r;
    if (!table.len || wire_open(&r, table, g->config.replicas) != STATUS_OK) return;
    uint64_t count = wire_read_u64(&r);
    for (uint64_t i = 0; i < count && i < MEMBERS_MAX && !r.bad; i++) {
        struct record record;
        if (parse_record(g, &r, &record) && record.id.node != g->config.self.node) read_record(g, &record, g->config.self);
    }
    wire_close(&r);
}

/* -------------------------------------------------------------- time, links */

void members_link(struct gossip *g, int link, bool up) {
    assert(link >= 0);
    assert(link < GOSSIP_LINKS);
    struct member *m = g->link_member[link];
    struct join *j = g->link_join[link];
    if (m) {
        m->up = up;
        if (up) {
            members_send(g, m, true);
            m->digest_change = 0;
            m->owes_digest = true;
        } else {
            transfer_forget(g, m);
        }
        m->asked_us = m->patience_us = 0;
    }
    if (j) {
        j->up = up;
        j->said_us = 0;
    }
}

/* Whoever lives at the address is a member that we can reach, or it is ours. One that led to ourselves may lead to others
 * later: a name can have several addresses. */
static bool is_settled(struct gossip *g, const struct join *j) {
    struct member *m = is_nobody(j->found) ? NULL : member_find(g, j->found);
    if (j->self_us && g->now.mono_us - j->self_us < g->config.down_ms * MS) return true;
    return j->is_self || (m && member_counts(m) && (m->up || member_status_of(g, m) < MEMBER_DOWN));
}

static void join_tick(struct gossip *g, struct join *j) {
    if (is_settled(g, j)) {
        hangup_join(g, j);
        return;
    }
    j->found = (struct replica_id){0};
    if (j->link < 0) {
        j->link = dial(g, j->address);
        if (j->link >= 0) g->link_join[j->link] = j;
    }
    if (!j->up || (j->said_us && g->now.mono_us - j->said_us < g->config.heartbeat_ms * MS)) return;
    j->said_us = g->now.mono_us;
    struct wire_writer w;
    write_members(g, &w, true, (uint64_t)(j - g->joins) + 1, 0);
    transfer_send_link(g, j->link, &w);
}

static bool has_majority(const struct gossip *g) {
    uint32_t alive = 1, all = 1;
    for (uint32_t i = 0; i < g->member_count; i++) {
        if (!member_counts(g->members[i]) || g->members[i]->stranger) continue;
        all++;
        alive += member_status_of(g, g->members[i]) < MEMBER_DOWN;
    }
    return alive * 2 > all - (MUTANT(half_is_enough) ? 1 : 0);
}

/* Of one that is known, whatever became of it. */
static bool is_somebodys(const struct gossip *g, const char *address) {
    for (uint32_t i = 0; i < g->member_count; i++)
        if (!g->members[i]->stranger && strcmp(g->members[i]->address, address) == 0) return true;
    return false;
}

/* Nobody is gone before it is down: who is not down counts as alive for the majority, and two halves
 * could declare each other gone. */
static bool is_gone(struct gossip *g, const struct member *m) {
    int64_t silent_ms = (g->now.mono_us - m->heard_us) / MS;
    if (!member_counts(m) || silent_ms < g->config.gone_ms || (silent_ms < g->config.down_ms && !MUTANT(gone_before_down))) return false;
    for (uint32_t i = 0; i < g->join_count && m->stranger; i++)
        if (!is_settled(g, &g->joins[i]) && !is_somebodys(g, g->joins[i].address)) return false; /* it may be there */
    return has_majority(g);
}

static void member_judge(struct gossip *g, struct member *m) {
    if (is_gone(g, m)) m->gone = g->members_changed = true;
    if (m->left && g->now.mono_us - m->heard_us >= g->config.suspect_ms * MS) m->silent = true;
    if (m->left && m->link >= 0) hangup_member(g, m);
    if (!m->left) dial_member(g, m);
    /* It stopped in the midst of a message, whose room others need. */
    if (g->now.mono_us - m->progress_us >= g->config.down_ms * MS) transfer_give_up(g, m);
    if (member_status_of(g, m) != m->said) note_status(g, m);
}

#define TABLES_TO_ALL 8u
#define TABLES_AT_ONCE 3u

static void send_tables(struct gossip *g) {
    bool all = g->member_count <= TABLES_TO_ALL;
    for (uint32_t i = 0; i < (all ? g->member_count : TABLES_AT_ONCE); i++) {
        struct member *m = g->members[all ? i : rng_below(&g->rng, g->member_count)];
        if (m->up) members_send(g, m, false);
    }
    for (uint32_t i = 0; i < g->member_count && !all; i++)
        if (g->members[i]->gone && g->members[i]->up) members_send(g, g->members[i], false);
}

void members_tick(struct gossip *g) {
    for (uint32_t i = 0; i < g->join_count; i++) join_tick(g, &g->joins[i]);
    if (g->now.mono_us < g->next_heartbeat_us) return;
    g->next_heartbeat_us = g->now.mono_us + g->config.heartbeat_ms * MS;
    g->heartbeat++;
    for (uint32_t i = 0; i < g->member_count; i++) member_judge(g, g->members[i]);
    if (g->member_count) send_tables(g);
}

void members_start(struct gossip *g) {
    const char *at = g->config.join;
    while (*at) {
        size_t len = strcspn(at, ", ");
        if (len && len < GOSSIP_ADDRESS_MAX && g->join_count < JOINS_MAX) {
            struct join *j = &g->joins[g->join_count++];
            *j = (struct join){.link = -1};
            memcpy(j->address, at, len);
            j->is_self = strcmp(j->address, g->config.address) == 0;
        }
        at += len + (at[len] != 0);
    }
}

void members_free(struct gossip *g) {
    for (uint32_t i = 0; i < g->member_count; i++) {
        member_clear(g, g->members[i]);
        mem_free(g->members[i]);
    }
    for (uint32_t i = 0; i < g->join_count; i++) hangup_join(g, &g->joins[i]);
}

enum status gossip_forget(struct gossip *g, uint64_t node) {
    pthread_mutex_lock(&g->lock);
    struct member *m = member_of_node(g, node);
    enum status status = !m ? STATUS_ERR_NOT_FOUND : member_status_of(g, m) < MEMBER_DOWN ? STATUS_ERR_BUSY : STATUS_OK;
    if (status == STATUS_OK) m->gone = g->members_changed = true;
    if (status == STATUS_OK) pulls_forget(g, m->id);
    pthread_mutex_unlock(&g->lock);
    return status;
}
