/* Until all agree: digests, pulls, the audit, and what stability allows to forget.
 *
 *   DIGEST := heartbeat flags vector-sum root-sum count (shard vector)*
 *   PULL   := (shard + 1, token, summary)* 0
 *   ANSWER := (shard + 1, token, 0 | 1 answer)* 0           0: the log does not reach, ask by cells
 *   AUDIT  := (shard + 1, vector hash, root)* 0
 *
 * A digest says what changed in the vectors since the last one to that peer, and sums over all
 * shards, so that a lost digest shows: sums that differ for long, or while nothing moves and there is
 * nothing to pull, make us tell of every shard and ask for every shard.
 * A peer that is ahead of us gets some time to reach us by deltas; then we pull, from one peer
 * for each shard at a time. A gap in a peer's deltas pulls at once. */
#include <assert.h>

#include "core/mutant.h"
#include "gossip/state.h"

enum { WANTS_ANSWER = 1, WANTS_ALL = 2, IS_ANSWER = 4, IS_UNSURE = 8, DIGEST_FLAGS = 15 };

#define DIGEST_BUSY_MS 100
#define BEHIND_GRACE_MS 150
#define DIFFERS_MS 2000
#define PULL_TICK_MS 20
#define PULL_TIMEOUT_MS 1000
#define PULL_TIMEOUT_MS_MAX 16000
#define PULLS_MAX 32u
#define STABLE_MS 200
#define ANSWERS_BYTES (64u << 10)     /* small answers share a message */
#define ASKS_OUTBOX_BYTES (1u << 20)  /* more waits for room */

/* ------------------------------------------------------------------ views */

static uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t state = a ^ (b * 0x9e3779b97f4a7c15u);
    return rng_mix(&state);
}

/* By identity, since indexes are each node's own; a sum, since their order is too. */
static uint64_t vector_hash(const struct gossip *g, uint32_t shard, const struct vclock *v) {
    uint64_t sum = 0;
    for (uint32_t i = 1; i < v->count; i++) {
        if (!v->counter[i]) continue;
        struct replica_id id = replicas_id(g->config.replicas, (uint16_t)i);
        sum += mix(mix(mix(id.node, id.incarnation), v->counter[i]), shard);
    }
    return sum;
}

void shard_view_changed(struct gossip *g, uint32_t shard) {
    g->shards[shard].changed = ++g->change;
    g->shards[shard].stale = true;
}

static void note_came(struct shard_view *v, const struct vclock *before) {
    for (uint32_t i = 0; i < v->applied.count; i++)
        if (v->applied.counter[i] != vclock_get(before, (uint16_t)i)) vclock_raise(&v->came, (uint16_t)i, v->changed);
}

/* A planted fault: what is known of, applied or not. */
static void join_known(struct vclock *into, const struct shard *shard) {
    struct shard_summary all;
    shard_summarise(shard, false, &all);
    vclock_join(into, &all.context.prefix);
    for (uint32_t i = 0; i < all.context.extra_count; i++)
        vclock_raise(into, dot_replica(all.context.extra[i]), dot_counter(all.context.extra[i]));
    shard_summary_fini(&all);
}

void shard_view_look(struct gossip *g, uint32_t index) {
    struct shard_view *v = &g->shards[index];
    if (!v->stale) return;
    struct shard *shard = g->config.shards[index];
    struct vclock before = v->applied;
    g->vector_sum -= v->vector_hash;
    g->root_sum -= mix(v->root, index);
    shard_lock(shard);
    vclock_copy(&v->applied, shard_applied(shard));
    if (MUTANT(digest_by_context)) join_known(&v->applied, shard);
    v->root = shard_digest(shard);
    shard_unlock(shard);
    note_came(v, &before);
    vclock_fini(&before);
    v->vector_hash = vector_hash(g, index, &v->applied);
    v->stale = false;
    g->vector_sum += v->vector_hash;
    g->root_sum += mix(v->root, index);
}

static void look_at_all(struct gossip *g) {
    for (uint32_t s = 0; s < g->config.shard_count; s++) shard_view_look(g, s);
}

void shard_view_behind(struct gossip *g, uint32_t shard, int64_t grace_us) {
    struct shard_view *v = &g->shards[shard];
    int64_t at = g->now.mono_us + grace_us;
    if (!v->behind_since_us || at < v->behind_since_us) v->behind_since_us = at;
    if (v->behind_since_us < g->next_pull_us) g->next_pull_us = v->behind_since_us;
}

static bool is_ahead(struct gossip *g, const struct member *m, uint32_t shard) {
    return !vclock_covers(&g->shards[shard].applied, &m->latest[shard]);
}

/* ---------------------------------------------------------------- digests */

/* What it was not told yet: all that ever started has a counter here. And our own, which says how far we were when we had the
 * rest applied: it may be all that is left of a digest that was lost. */
static void write_news(const struct gossip *g, struct wire_writer *w, const struct shard_view *v, const struct member *m) {
    struct vclock news;
    vclock_copy(&news, &v->applied);
    for (uint32_t i = 0; i < news.count; i++)
        if (vclock_get(&v->came, (uint16_t)i) <= m->digest_change && i != g->config.self_index) news.counter[i] = 0;
    wire_vclock(w, &news);
    vclock_fini(&news);
}

static void write_digest(struct gossip *g, struct wire_writer *w, const struct member *m, uint64_t flags) {
    uint64_t count = 0;
    look_at_all(g);
    for (uint32_t s = 0; s < g->config.shard_count; s++) count += g->shards[s].changed > m->digest_change;
    wire_init(w, g->config.replicas);
    wire_u64(w, MESSAGE_DIGEST);
    wire_u64(w, g->heartbeat);
    wire_u64(w, flags);
    wire_u64(w, g->vector_sum);
    wire_u64(w, g->root_sum);
    wire_u64(w, count);
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        if (g->shards[s].changed <= m->digest_change) continue;
        wire_u64(w, s);
        write_news(g, w, &g->shards[s], m);
    }
}

static void send_digest(struct gossip *g, struct member *m, uint64_t flags) {
    struct wire_writer w;
    if (m->owes_digest) flags |= IS_ANSWER;
    if (g->config.sure && !g->config.sure(g->config.applied.self)) flags |= IS_UNSURE;
    if (flags & WANTS_ANSWER && !m->asked_us) m->asked_us = g->now.mono_us;
    write_digest(g, &w, m, flags);
    m->digest_change = g->change;
    m->digest_sent_us = g->now.mono_us;
    m->owes_digest = false;
    g->stats.digests_sent++;
    transfer_send(g, m, &w);
}

static int64_t digest_due(const struct gossip *g, const struct member *m) {
    if (m->owes_digest) return g->now.mono_us;
    return m->digest_sent_us + (g->change > m->digest_change ? DIGEST_BUSY_MS : g->config.heartbeat_ms) * MS;
}

static bool takes_digests(const struct member *m) { return m->up && member_counts(m); }

int64_t digests_due(const struct gossip *g) {
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < g->member_count; i++) {
        const struct member *m = g->members[i];
        int64_t due = takes_digests(m) ? digest_due(g, m) : INT64_MAX;
        if (due < next) next = due;
    }
    return next;
}

int64_t digests_tick(struct gossip *g) {
    bool asks = atomic_exchange(&g->ask_acks, false);
    for (uint32_t i = 0; i < g->member_count; i++) {
        struct member *m = g->members[i];
        if (!takes_digests(m)) continue;
        bool beats = g->now.mono_us - m->beat_us >= g->config.heartbeat_ms * MS;
        if (beats) m->beat_us = g->now.mono_us;
        if (beats || asks || digest_due(g, m) <= g->now.mono_us) send_digest(g, m, beats || asks ? WANTS_ANSWER : 0);
    }
    return digests_due(g);
}

static void accept_vector(struct gossip *g, struct member *m, uint32_t s) {
    if (m->unsure) return;
    uint64_t theirs = vclock_get(&m->latest[s], m->replica);
    if (!MUTANT(accept_early) && theirs > vclock_get(&g->shards[s].applied, m->replica)) return;
    vclock_fini(&m->accepted[s]);
    vclock_copy(&m->accepted[s], &m->latest[s]);
}

static void send_audit(struct gossip *g, struct member *m) {
    if (m->audited_us && g->now.mono_us - m->audited_us < g->config.heartbeat_ms * MS) return;
    m->audited_us = g->now.mono_us;
    struct wire_writer w;
    wire_init(&w, g->config.replicas);
    wire_u64(&w, MESSAGE_AUDIT);
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        wire_u64(&w, s + 1);
        wire_u64(&w, g->shards[s].vector_hash);
        wire_u64(&w, g->shards[s].root);
    }
    wire_u64(&w, 0);
    transfer_send(g, m, &w);
}

/* Equal sums say it of every shard, also of those whose digest was lost. */
static void is_level(struct gossip *g, struct member *m) {
    m->differs_since_us = 0;
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        if (vclock_covers(&m->latest[s], &g->shards[s].applied)) continue;
        vclock_join(&m->latest[s], &g->shards[s].applied);
        accept_vector(g, m, s);
    }
}

static bool is_ahead_somewhere(struct gossip *g, const struct member *m) {
    for (uint32_t s = 0; s < g->config.shard_count; s++)
        if (is_ahead(g, m, s)) return true;
    return false;
}

/* A digest was lost, theirs or ours: sums differ for long; or nothing moves, though we do not know
 * of anything to pull. */
static bool lacks_word(struct gossip *g, const struct member *m, bool moved) {
    if (g->now.mono_us - m->differs_since_us >= DIFFERS_MS * MS) return true;
    return !moved && g->now.mono_us - m->still_since_us >= BEHIND_GRACE_MS * MS && !is_ahead_somewhere(g, m);
}

static void compare_sums(struct gossip *g, struct member *m, uint64_t vector_sum, uint64_t root_sum) {
    look_at_all(g);
    bool moved = m->sums[0] != vector_sum || m->sums[1] != g->vector_sum;
    m->sums[0] = vector_sum;
    m->sums[1] = g->vector_sum;
    if (moved) m->still_since_us = g->now.mono_us;
    if (vector_sum == g->vector_sum) {
        is_level(g, m);
        if (root_sum != g->root_sum) send_audit(g, m);
    } else if (!m->differs_since_us) {
        m->differs_since_us = g->now.mono_us;
    } else if (lacks_word(g, m, moved)) {
        m->differs_since_us = m->still_since_us = g->now.mono_us;
        m->digest_change = 0;
        send_digest(g, m, WANTS_ANSWER | WANTS_ALL);
    }
}

/* What it applied while it was not counts when it is again. An earlier digest may come later; of one heartbeat, who knows. */
static void now_sure(struct gossip *g, struct member *m, bool sure, uint64_t heartbeat) {
    bool was_unsure = m->unsure;
    if (heartbeat < m->sure_at || (heartbeat == m->sure_at && was_unsure)) return;
    m->sure_at = heartbeat;
    m->unsure = !sure;
    for (uint32_t s = 0; was_unsure && sure && s < g->config.shard_count; s++) accept_vector(g, m, s);
}

void digest_read(struct gossip *g, struct wire_reader *r, struct member *from) {
    uint64_t heartbeat = wire_read_u64(r), flags = wire_read_u64(r);
    uint64_t vector_sum = wire_read_u64(r), root_sum = wire_read_u64(r), count = wire_read_u64(r);
    if (flags > DIGEST_FLAGS || count > g->config.shard_count) r->bad = true;
    if (!r->bad) now_sure(g, from, !(flags & IS_UNSURE) || MUTANT(unsure_counts), heartbeat);
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        uint64_t shard = wire_read_u64(r);
        struct vclock said = {0};
        wire_read_vclock(r, &said);
        if (r->bad || shard >= g->config.shard_count) {
            vclock_fini(&said);
            r->bad = true;
            break;
        }
        vclock_join(&from->latest[shard], &said); /* an older digest may come later */
        vclock_fini(&said);
        shard_view_look(g, (uint32_t)shard);
        accept_vector(g, from, (uint32_t)shard);
        if (is_ahead(g, from, (uint32_t)shard)) shard_view_behind(g, (uint32_t)shard, BEHIND_GRACE_MS * MS);
    }
    if (r->bad) return;
    g->stats.digests_received++;
    if (heartbeat > from->heartbeat) from->heartbeat = heartbeat;
    from->digest_us = g->now.mono_us;
    if (flags & IS_ANSWER && from->asked_us) {
        from->ack_us = g->now.mono_us - from->asked_us;
        from->asked_us = 0;
    }
    if (flags & WANTS_ALL) from->digest_change = 0;
    if (flags & WANTS_ANSWER) from->owes_digest = true;
    compare_sums(g, from, vector_sum, root_sum);
    if (g->config.acked) g->config.acked(g->config.arg);
}

/* ------------------------------------------------------------------ audit */

void audit_read(struct gossip *g, struct wire_reader *r, struct member *from) {
    uint64_t number;
    while (!r->bad && (number = wire_read_u64(r)) != 0) {
        uint64_t vector = wire_read_u64(r), root = wire_read_u64(r);
        if (number > g->config.shard_count) r->bad = true;
        if (r->bad) return;
        uint32_t s = (uint32_t)number - 1;
        struct shard_view *v = &g->shards[s];
        shard_view_look(g, s);
        if (v->vector_hash != vector || v->root == root || v->wants_everything) continue;
        g->stats.audit_mismatches++;
        gossip_note(g, "audit: shard %u has the mutations of member %016llx but not its content; repairing", s,
                    (unsigned long long)from->id.node);
        v->wants_everything = true;
        shard_view_behind(g, s, 0);
    }
}

/* ------------------------------------------------------------------ pulls */

static void pull_end(struct gossip *g, struct shard_view *v) {
    if (v->pull.token) g->pulls_out--;
    shard_summary_fini(&v->pull.asked);
    v->pull = (struct pull){0};
}

void pulls_forget(struct gossip *g, struct replica_id peer) {
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        struct pull *p = &g->shards[s].pull;
        if (p->token && replica_id_compare(p->peer, peer) == 0) pull_end(g, &g->shards[s]);
    }
}

static int64_t patience_us(const struct member *m) { return m->patience_us ? m->patience_us : PULL_TIMEOUT_MS * MS; }

/* It may answer late, behind much else or from far away: pulls that are given up too early would
 * be answered in vain for ever, and fill the link. Once for all the pulls given up together. */
static void lose_patience(struct gossip *g, struct member *m, int64_t asked_us) {
    if (asked_us < m->lost_patience_us) return;
    m->lost_patience_us = g->now.mono_us;
    m->patience_us = 2 * patience_us(m);
    if (m->patience_us > PULL_TIMEOUT_MS_MAX * MS) m->patience_us = PULL_TIMEOUT_MS_MAX * MS;
}

static void pulls_expire(struct gossip *g) {
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        struct shard_view *v = &g->shards[s];
        if (!v->pull.token) continue;
        struct member *m = member_find(g, v->pull.peer);
        int64_t since = m && m->progress_us > v->pull.asked_us ? m->progress_us : v->pull.asked_us;
        if (m && m->up && g->now.mono_us - since < patience_us(m)) continue;
        if (m && m->up) lose_patience(g, m, v->pull.asked_us);
        g->stats.pulls_failed++;
        pull_end(g, v);
    }
}

/* Of this process alone: what was answered to an earlier one, which lacked less, may be repeated by whoever overheard it. */
static uint64_t next_token(struct gossip *g) { return mix(++g->message_number, g->config.self.incarnation) | 1; }

static void write_pull(struct gossip *g, struct wire_writer *w, uint32_t s, const struct member *m) {
    struct shard_view *v = &g->shards[s];
    struct shard *shard = g->config.shards[s];
    v->pull = (struct pull){.token = next_token(g), .peer = m->id, .asked_us = g->now.mono_us};
    g->pulls_out++;
    g->stats.pulls_sent++;
    shard_lock(shard);
    if (v->wants_cells && v->finer.bits)
        shard_summarise_finely(shard, &v->finer, &v->pull.asked);
    else
        shard_summarise(shard, v->wants_cells, &v->pull.asked);
    shard_unlock(shard);
    static const struct shard_summary nothing; /* one who has nothing is told everything */
    wire_u64(w, s + 1);
    wire_u64(w, v->pull.token);
    shard_write_summary(w, v->wants_everything ? &nothing : &v->pull.asked);
}

static bool wants_pull(struct gossip *g, uint32_t s) {
    const struct shard_view *v = &g->shards[s];
    return v->behind_since_us && v->behind_since_us <= g->now.mono_us && !v->pull.token && g->pulls_out < PULLS_MAX;
}

static void pull_from(struct gossip *g, struct member *m) {
    struct wire_writer w;
    bool open = false;
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        if (!wants_pull(g, s)) continue;
        shard_view_look(g, s);
        if (!is_ahead(g, m, s) && !g->shards[s].wants_everything) continue;
        if (!open) {
            wire_init(&w, g->config.replicas);
            wire_u64(&w, MESSAGE_PULL);
            open = true;
        }
        write_pull(g, &w, s, m);
    }
    if (!open) return;
    wire_u64(&w, 0);
    transfer_send(g, m, &w);
}

/* Nobody is ahead any more: it came by deltas. A peer that is ahead but cannot be reached now
 * is looked at again. */
static void settle_behind(struct gossip *g, uint32_t s) {
    struct shard_view *v = &g->shards[s];
    if (!v->behind_since_us || v->pull.token || v->wants_everything) return;
    shard_view_look(g, s);
    for (uint32_t i = 0; i < g->member_count; i++)
        if (member_counts(g->members[i]) && is_ahead(g, g->members[i], s)) return;
    v->behind_since_us = 0;
}

int64_t pulls_tick(struct gossip *g) {
    if (g->now.mono_us < g->next_pull_us) return g->next_pull_us;
    pulls_expire(g);
    uint32_t first = g->member_count ? (uint32_t)rng_below(&g->rng, g->member_count) : 0;
    for (uint32_t i = 0; i < g->member_count; i++) {
        struct member *m = g->members[(first + i) % g->member_count];
        if (m->up && member_counts(m)) pull_from(g, m);
    }
    bool waiting = g->pulls_out > 0;
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        settle_behind(g, s);
        waiting = waiting || g->shards[s].behind_since_us;
    }
    g->next_pull_us = waiting ? g->now.mono_us + PULL_TICK_MS * MS : INT64_MAX;
    return g->next_pull_us;
}

/* ----------------------------------------------------------- asks, answers */

static struct ask *ask_slot(struct member *m, uint32_t shard) {
    for (uint32_t i = 0; i < m->ask_count; i++) {
        if (m->asks[i].shard != shard) continue;
        shard_summary_fini(&m->asks[i].summary);
        return &m->asks[i];
    }
    return m->ask_count < ASKS_MAX ? &m->asks[m->ask_count++] : NULL;
}

void pull_read(struct gossip *g, struct wire_reader *r, struct member *from) {
    uint64_t number;
    while (!r->bad && (number = wire_read_u64(r)) != 0) {
        uint64_t token = wire_read_u64(r);
        struct shard_summary summary;
        if (number > g->config.shard_count) r->bad = true;
        if (r->bad || !shard_read_summary(r, &summary)) break;
        struct ask *ask = ask_slot(from, (uint32_t)number - 1);
        if (ask)
            *ask = (struct ask){.shard = (uint32_t)number - 1, .token = token, .summary = summary};
        else
            shard_summary_fini(&summary);
    }
    asks_serve(g, from);
}

/* What an answer to a pull begins with. */
enum { ANSWER_NEEDS_CELLS, ANSWER_FOLLOWS, ANSWER_NEEDS_FINER };

static void write_answer(struct gossip *g, struct wire_writer *w, const struct ask *ask) {
    struct shard *shard = g->config.shards[ask->shard];
    wire_u64(w, ask->shard + 1);
    wire_u64(w, ask->token);
    size_t before = w->body.len;
    struct shard_refinement finer;
    enum status status = STATUS_OK;
    shard_lock(shard);
    if (!MUTANT(answered_first)) gossip_tells(g, ask->shard);
    bool needs_finer = shard_wants_finer(shard, &ask->summary, &finer);
    wire_u64(w, needs_finer ? ANSWER_NEEDS_FINER : ANSWER_FOLLOWS);
    if (!needs_finer) status = shard_write_answer(shard, w, &ask->summary);
    shard_unlock(shard);
    if (needs_finer) shard_write_refinement(w, &finer);
    if (status != STATUS_OK) {
        w->body.len = before;
        wire_u64(w, ANSWER_NEEDS_CELLS);
    }
    g->stats.pulls_answered++;
}

void asks_serve(struct gossip *g, struct member *m) {
    uint32_t served = 0;
    while (served < m->ask_count && m->up && m->outbox.bytes < ASKS_OUTBOX_BYTES) {
        struct wire_writer w;
        wire_init(&w, g->config.replicas);
        wire_u64(&w, MESSAGE_ANSWER);
        for (; served < m->ask_count && w.body.len < ANSWERS_BYTES; served++) {
            write_answer(g, &w, &m->asks[served]);
            shard_summary_fini(&m->asks[served].summary);
        }
        wire_u64(&w, 0);
        transfer_send(g, m, &w);
    }
    m->ask_count -= served;
    memmove(m->asks, m->asks + served, m->ask_count * sizeof *m->asks);
}

/* False: the rest of the message is of no use. */
static bool read_answer(struct gossip *g, struct wire_reader *r, uint32_t s, uint64_t token, struct member *from) {
    struct shard_view *v = &g->shards[s];
    struct shard *shard = g->config.shards[s];
    uint64_t form = wire_read_u64(r);
    struct shard_refinement finer = {0};
    bool asked = v->pull.token == token && token && replica_id_compare(v->pull.peer, from->id) == 0;
    if (MUTANT(answer_of_another)) asked = v->pull.token != 0;
    if (form > ANSWER_NEEDS_FINER) r->bad = true;
    if (form == ANSWER_NEEDS_FINER && !shard_read_refinement(r, &finer)) return false;
    if (r->bad) return false;
    if (!asked) {
        g->stats.answers_late++;
        return form != ANSWER_FOLLOWS;
    }
    int64_t took_us = g->now.mono_us - v->pull.asked_us;
    from->patience_us = 2 * took_us > PULL_TIMEOUT_MS * MS ? 2 * took_us : 0;
    if (form != ANSWER_FOLLOWS) {
        pull_end(g, v);
        v->wants_cells = true;
        v->finer = finer;
        shard_view_behind(g, s, 0);
        return true;
    }
    shard_lock(shard);
    enum status status = shard_read_answer(shard, r, &v->pull.asked, g->now.wall_ms);
    if (status == STATUS_OK && g->config.applied.changed) g->config.applied.changed(g->config.applied.self, s);
    shard_unlock(shard);
    pull_end(g, v);
    if (status != STATUS_OK) {
        r->bad = true;
        return false;
    }
    g->stats.answers_received++;
    v->wants_cells = v->wants_everything = false;
    v->finer = (struct shard_refinement){0};
    if (!MUTANT(answer_unseen)) shard_view_changed(g, s);
    return true;
}

void answer_read(struct gossip *g, struct wire_reader *r, struct member *from) {
    uint64_t number;
    while (!r->bad && (number = wire_read_u64(r)) != 0) {
        uint64_t token = wire_read_u64(r);
        if (number > g->config.shard_count) r->bad = true;
        if (r->bad || !read_answer(g, r, (uint32_t)number - 1, token, from)) break;
    }
    g->next_pull_us = g->now.mono_us; /* there may be room for the next */
}

/* -------------------------------------------------------------- stability */

/* What every member has applied, by its word that counts. */
static void stable_vector(struct gossip *g, uint32_t s, struct vclock *out) {
    shard_view_look(g, s);
    vclock_copy(out, &g->shards[s].applied);
    for (uint32_t i = 0; i < g->member_count; i++) {
        struct member *m = g->members[i];
        if (!member_holds(m) || MUTANT(ack_own_only) || (MUTANT(left_holds_nothing) && m->left)) continue;
        accept_vector(g, m, s);
        for (uint32_t k = 0; k < out->count; k++) {
            uint64_t theirs = vclock_get(&m->accepted[s], (uint16_t)k);
            if (theirs < out->counter[k]) out->counter[k] = theirs;
        }
    }
}

static bool remembers(struct shard *shard) {
    shard_lock(shard);
    bool any = shard_remembers(shard);
    shard_unlock(shard);
    return any;
}

void stable_tick(struct gossip *g) {
    if (g->now.mono_us < g->next_stable_us) return;
    g->next_stable_us = g->now.mono_us + STABLE_MS * MS;
    if (members_hold(g)) return;
    for (uint32_t s = 0; s < g->config.shard_count; s++) {
        struct vclock stable;
        if (!remembers(g->config.shards[s])) continue;
        stable_vector(g, s, &stable);
        shard_lock(g->config.shards[s]);
        shard_stable(g->config.shards[s], &stable);
        shard_unlock(g->config.shards[s]);
        vclock_fini(&stable);
    }
}

/* ------------------------------------------------------------------- acks */

uint32_t gossip_count_acked(struct gossip *g, const struct gossip_mark *marks, size_t count) {
    uint32_t acked = 0;
    pthread_mutex_lock(&g->lock);
    for (uint32_t i = 0; i < g->member_count; i++) {
        const struct member *m = g->members[i];
        bool all = member_counts(m) && m->digest_us;
        for (size_t k = 0; k < count && all; k++)
            all = (MUTANT(ack_of_another_life) || marks[k].incarnation == g->config.self.incarnation) &&
                  (MUTANT(ack_before_apply) || vclock_get(&m->latest[marks[k].shard], g->config.self_index) >= marks[k].counter);
        acked += all;
    }
    pthread_mutex_unlock(&g->lock);
    return acked;
}

void gossip_ask(struct gossip *g) {
    atomic_store(&g->ask_acks, true);
    if (atomic_exchange(&g->sleeping, false) && g->config.wake) g->config.wake(g->config.arg);
}
