/* Replication of one shard: exact deltas of one origin, and answers to pulls.
 *
 *   delta   := origin:hi lo clock units*           pushed by the origin, (lo, hi]
 *   unit    := n-lo kind flags name [clock value] [removed dots] [increments]
 *   answer  := scope context clock records* units* of any origin, judged by the context
 *   records := dot key-hash field-hash              what the receiver's own log must name
 *
 * Both are read in two passes: everything is parsed and bounded before anything is changed,
 * so a malformed frame leaves no trace. The rules, and why each is needed, stand in
 * README.md; the models that each broken variant fails stand in the design. */
#include <assert.h>
#include <stdlib.h>

#include "core/hlc.h"
#include "core/mutant.h"
#include "core/order.h"
#include "lattice/shard_state.h"

#define CLOCK_AHEAD_MS_MAX (5 * 60 * 1000)

enum flag {
    FLAG_NAMED = 1,      /* names, not hashes */
    FLAG_LIVE = 2,       /* the mutation's own dot lives here */
    FLAG_REMOVED = 4,    /* dots of other origins that it removed */
    FLAG_INCREMENTS = 8,
    FLAG_ALL = 15,
};

struct unit {
    uint64_t n; /* delta only */
    uint64_t flags;
    uint64_t key_hash, field_hash;
    struct bytes key, field; /* when named */
    uint32_t dots_at, dots_count;             /* siblings: a delta has at most one */
    uint32_t removed_at, removed_count;
    uint32_t increments_at, increments_count;
    struct flush *flush; /* KIND_FLUSH: owned until the log takes it */
};

static bool only_adds(const struct unit *u) {
    enum kind kind = kind_of(u->field_hash);
    return kind == KIND_STRING_INC || kind == KIND_FIELD_INC;
}

static bool may_count(enum kind kind) { return kind != KIND_EXPIRY && kind != KIND_MEMBER; }

struct payload {
    struct dot dot;
    uint64_t clock;
    struct bytes value;
};

/* All that a message says, parsed; views into the message. */
struct parsed {
    struct unit *units;
    struct payload *payloads;
    struct dot *removed_dots;
    struct increment *increments;
    size_t unit_count, unit_cap, payload_count, payload_cap, removed_dot_count, removed_dot_cap,
        increment_count, increment_cap;
    int64_t late_ms; /* our clock less the sender's, for a planted fault */
};

static void flush_free(struct flush *flush) {
    if (flush) context_fini(&flush->seen);
    mem_free(flush);
}

static void parsed_fini(struct parsed *p) {
    for (size_t i = 0; i < p->unit_count; i++) flush_free(p->units[i].flush);
    mem_free(p->units);
    mem_free(p->payloads);
    mem_free(p->removed_dots);
    mem_free(p->increments);
}

static void *one_more(void *items, size_t *count, size_t *cap, size_t size) {
    if (*count == *cap) {
        *cap = *cap ? *cap * 2 : 16;
        items = mem_realloc(items, *cap * size);
    }
    ++*count;
    return items;
}
#define MORE(p, name) \
    ((p)->name##s = one_more((p)->name##s, &(p)->name##_count, &(p)->name##_cap, sizeof *(p)->name##s), \
     &(p)->name##s[(p)->name##_count - 1])

/* Nobody knows a mutation of ours that we have not made: believing it would make our next
 * write read as seen and removed. */
static bool is_our_future(const struct shard *shard, struct dot dot) {
    uint16_t self = shard->config.self;
    return dot_replica(dot) == self && dot_counter(dot) > vclock_get(&shard->context.applied, self);
}

static bool claims_our_future(const struct shard *shard, const struct context *c) {
    uint16_t self = shard->config.self;
    bool claims = is_our_future(shard, dot_make(self, vclock_get(&c->applied, self))) ||
                  is_our_future(shard, dot_make(self, vclock_get(&c->prefix, self)));
    for (uint32_t i = 0; i < c->extra_count && !claims; i++) claims = is_our_future(shard, c->extra[i]);
    return claims;
}

/* ------------------------------------------------------------ both: writing */

static void write_increment(struct wire_writer *w, const struct increment *i) {
    wire_dot(w, dot_make(i->replica, i->n));
    wire_u64(w, i->gen);
    wire_u64(w, i->clock);
    wire_fixed(w, i->total);
    wire_u64(w, i->floor_n);
    wire_fixed(w, i->floor);
}

static void write_increments(struct wire_writer *w, const struct element *e) {
    wire_u64(w, e->increment_count);
    for (uint32_t i = 0; i < e->increment_count; i++) write_increment(w, &e->increments[i]);
}

static void write_name(struct wire_writer *w, const struct spot *spot) {
    wire_bytes(w, key_name(spot->key));
    if (spot->field) wire_bytes(w, field_name(spot->field));
}

static void write_hashes(struct wire_writer *w, uint64_t key_hash, uint64_t field_hash) {
    wire_u64(w, key_hash);
    if (kind_has_field(kind_of(field_hash))) wire_u64(w, field_hash);
}

/* What a reset has to say: the floors, and our own entry. Others' increments are not ours to
 * push: a receiver that has not applied them would see, and remove, what its vector denies. */
static void write_floors(struct wire_writer *w, const struct element *e, uint16_t self) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < e->increment_count; i++)
        count += e->increments[i].floor_n != 0 || e->increments[i].replica == self;
    wire_u64(w, count);
    for (uint32_t i = 0; i < e->increment_count; i++) {
        struct increment inc = e->increments[i];
        if (inc.replica != self && !MUTANT(push_others_increments)) inc.n = inc.gen = inc.clock = 0, inc.total = 0;
        if (inc.floor_n || inc.replica == self) write_increment(w, &inc);
    }
}

/* ------------------------------------------------------------ both: reading */

static int by_replica(const void *a, const void *b) {
    const struct increment *x = a, *y = b;
    return (x->replica > y->replica) - (x->replica < y->replica);
}

/* Their order was that of the sender's indexes; in that of ours, each that is new goes behind the last. */
static bool read_increments(const struct shard *shard, struct wire_reader *r, struct parsed *p, struct unit *u) {
    uint64_t count = wire_read_u64(r);
    if (count > UINT16_MAX || (count && !may_count(kind_of(u->field_hash)))) return false;
    u->increments_at = (uint32_t)p->increment_count;
    u->increments_count = (uint32_t)count;
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        struct dot dot = wire_read_dot(r);
        struct increment *inc = MORE(p, increment);
        *inc = (struct increment){.replica = dot_replica(dot), .n = dot_counter(dot)};
        inc->gen = wire_read_u64(r);
        inc->clock = wire_read_u64(r);
        inc->total = wire_read_fixed(r);
        inc->floor_n = wire_read_u64(r);
        inc->floor = wire_read_fixed(r);
        if (inc->gen > inc->n || inc->replica == 0 || is_our_future(shard, dot)) return false;
    }
    if (u->increments_count > 1 && !r->bad)
        qsort(p->increments + u->increments_at, u->increments_count, sizeof *p->increments, by_replica);
    return !r->bad;
}

static bool read_name(const struct shard *shard, struct wire_reader *r, struct unit *u) {
    enum kind kind = kind_of(u->field_hash);
    if (u->flags & FLAG_NAMED) {
        u->key = wire_read_bytes(r);
        u->key_hash = hash_key(&shard->config.seed, u->key);
        if (kind_has_field(kind)) u->field = wire_read_bytes(r);
        u->field_hash = shard_field_hash(shard, kind, u->field);
    } else {
        u->key_hash = wire_read_u64(r);
        if (kind_has_field(kind)) u->field_hash = wire_read_u64(r);
        if (kind_of(u->field_hash) != kind) return false;
    }
    return !r->bad;
}

static bool read_payload(struct wire_reader *r, struct parsed *p, struct dot dot, enum kind kind) {
    struct payload *payload = MORE(p, payload);
    *payload = (struct payload){.dot = dot};
    payload->clock = wire_read_u64(r);
    payload->value = wire_read_bytes(r);
    if (kind == KIND_EXPIRY && payload->value.len != EXPIRY_BYTES) return false;
    return !r->bad && dot_counter(dot) != 0;
}

/* --------------------------------------------------------------- the delta */

static bool has_newer_own(const struct element *e, uint16_t self, uint64_t n) {
    for (uint32_t i = 0; i < e->sibling_count; i++) {
        struct dot dot = e->siblings[i].dot;
        if (dot_replica(dot) == self && dot_counter(dot) > n) return true;
    }
    return false;
}

#define AHEAD 16u /* records whose keys are looked up together */

struct delta_writer {
    struct wire_writer *wire;
    uint64_t lo, n;
    uint16_t self;
    uint64_t *removed_keys; /* hashes, with repeats: of those that hold something all the same */
    size_t removed_key_count, removed_key_cap;
};

static void write_reset_unit(struct shard *shard, struct spot *spot, void *arg) {
    (void)shard;
    struct delta_writer *d = arg;
    if (!spot->element->increment_count) return;
    wire_u64(d->wire, d->n - d->lo);
    wire_u64(d->wire, spot->field ? KIND_FIELD_INC : KIND_STRING_INC);
    wire_u64(d->wire, FLAG_NAMED | FLAG_INCREMENTS);
    write_name(d->wire, spot);
    write_floors(d->wire, spot->element, d->self);
}

static void write_unit(struct shard *shard, struct delta_writer *d, const struct record *record) {
    enum kind kind = kind_of(record->field_hash);
    struct key *key = kind == KIND_FLUSH ? NULL : shard_key_of(shard, record);
    struct spot spot;
    bool found = key && kind >= KIND_STRING && spot_find(shard, key, record->key_hash, record->field_hash, &spot);
    bool adds = kind == KIND_STRING_INC || kind == KIND_FIELD_INC;
    const struct increment *mine = found ? element_increment(spot.element, d->self) : NULL;
    if (adds && (!mine || mine->n > d->n)) return;
    const struct sibling *live = found && !adds ? element_find(spot.element, dot_make(d->self, d->n)) : NULL;
    uint32_t removed = record->removed_count;
    if (found && !adds && !live && !removed && has_newer_own(spot.element, d->self, d->n)) return;
    bool resets = found && !adds && spot.element->increment_count > 0;

    wire_u64(d->wire, d->n - d->lo);
    wire_u64(d->wire, kind);
    wire_u64(d->wire, (found ? FLAG_NAMED : 0u) | (live ? FLAG_LIVE : 0u) | (removed ? FLAG_REMOVED : 0u) |
                          (adds || resets ? FLAG_INCREMENTS : 0u));
    if (found)
        write_name(d->wire, &spot);
    else
        write_hashes(d->wire, record->key_hash, record->field_hash);
    if (live) {
        wire_u64(d->wire, live->clock);
        wire_bytes(d->wire, bytes_of(live->data, live->len));
    }
    if (removed) {
        wire_u64(d->wire, removed);
        for (uint32_t i = 0; i < removed; i++) wire_dot(d->wire, record_removed(record, i));
    }
    if (adds) {
        wire_u64(d->wire, 1);
        write_increment(d->wire, mine);
    }
    if (resets) write_floors(d->wire, spot.element, d->self);
    if (kind == KIND_KEY && key && key_may_count(key)) *MORE(d, removed_key) = record->key_hash;
}

/* Once for each key: it may have been removed and filled again many times. */
static void write_resets(struct shard *shard, struct delta_writer *d) {
    if (d->removed_key_count) qsort(d->removed_keys, d->removed_key_count, sizeof *d->removed_keys, order_u64);
    for (size_t i = 0; i < d->removed_key_count; i++)
        if (i == 0 || d->removed_keys[i] != d->removed_keys[i - 1])
            key_each(shard, shard_key_by_hash(shard, d->removed_keys[i]), write_reset_unit, d);
    mem_free(d->removed_keys);
}

/* Nobody may have touched them lately. */
static void expect_keys(const struct shard *shard, const struct record *records, size_t count) {
    for (enum shard_hint step = SHARD_HINT_PLACE; step <= SHARD_HINT_KEY; step++)
        for (size_t i = 0; i < count; i++) shard_hint(shard, records[i].key_hash, step);
}

static void write_record(struct shard *shard, struct delta_writer *d, const struct record *record) {
    d->n = dot_counter(record->dot);
    if (!record->flush) {
        write_unit(shard, d, record);
        return;
    }
    wire_u64(d->wire, d->n - d->lo);
    wire_u64(d->wire, KIND_FLUSH);
    wire_u64(d->wire, 0);
    wire_context(d->wire, &record->flush->seen);
}

/* Some own records beyond `after`, from *at on. */
static size_t next_own(struct records_at *at, const struct delta_writer *d, struct record records[AHEAD]) {
    size_t count = 0;
    while (count < AHEAD && records_next(at, &records[count]))
        count += dot_replica(records[count].dot) == d->self && dot_counter(records[count].dot) > d->lo;
    return count;
}

enum status shard_write_delta(struct shard *shard, struct wire_writer *writer, uint64_t after,
                              uint64_t *upto) {
    shard_assert_held(shard);
    uint16_t self = shard->config.self;
    uint64_t hi = vclock_get(&shard->context.applied, self);
    if (hi <= after) return STATUS_ERR_NOT_FOUND;
    if (vclock_get(&shard->forgotten, self) > after) return STATUS_ERR_GAP;
    wire_dot(writer, dot_make(self, hi));
    wire_u64(writer, after);
    wire_u64(writer, shard->clock);
    struct delta_writer d = {.wire = writer, .lo = after, .self = self};
    struct records_at at = records_own_beyond(&shard->log, after);
    struct record records[AHEAD];
    for (size_t count; (count = next_own(&at, &d, records));) {
        expect_keys(shard, records, count);
        for (size_t i = 0; i < count; i++) write_record(shard, &d, &records[i]);
    }
    write_resets(shard, &d);
    wire_u64(writer, 0); /* no unit has n = lo: this ends them */
    if (MUTANT(context_of_delta)) wire_context(writer, &shard->context);
    *upto = hi;
    records_mark(&shard->log, hi);
    return STATUS_OK;
}

struct delta {
    uint16_t origin;
    uint64_t lo, hi, clock;
    struct parsed parsed;
    struct context whole; /* of the sender, which a planted fault tells */
};

static bool read_unit(const struct shard *shard, struct wire_reader *r, struct delta *d, uint64_t past) {
    struct unit *u = MORE(&d->parsed, unit);
    *u = (struct unit){.n = d->lo + past};
    uint64_t kind = wire_read_u64(r);
    u->flags = wire_read_u64(r);
    if (r->bad || kind > KIND_FIELD_INC || u->flags & ~(uint64_t)FLAG_ALL || u->n > d->hi) return false;
    u->field_hash = kind;
    if (kind == KIND_FLUSH) {
        u->flush = mem_zero(1, sizeof *u->flush);
        return wire_read_context(r, &u->flush->seen) && !claims_our_future(shard, &u->flush->seen);
    }
    if (!read_name(shard, r, u)) return false;
    if (u->flags & (FLAG_LIVE | FLAG_INCREMENTS) && (!(u->flags & FLAG_NAMED) || kind == KIND_KEY)) return false;
    if (u->flags & FLAG_LIVE && only_adds(u)) return false;
    if (u->flags & FLAG_LIVE) {
        u->dots_at = (uint32_t)d->parsed.payload_count;
        u->dots_count = 1;
        if (!read_payload(r, &d->parsed, dot_make(d->origin, u->n), (enum kind)kind)) return false;
    }
    if (u->flags & FLAG_REMOVED) {
        uint64_t count = wire_read_u64(r);
        u->removed_at = (uint32_t)d->parsed.removed_dot_count;
        for (uint64_t i = 0; i < count && !r->bad; i++) {
            struct dot dot = wire_read_dot(r);
            if (is_our_future(shard, dot)) return false;
            *MORE(&d->parsed, removed_dot) = dot;
        }
        u->removed_count = (uint32_t)(d->parsed.removed_dot_count - u->removed_at);
        if (u->removed_count > 1) qsort(d->parsed.removed_dots + u->removed_at, u->removed_count, sizeof(struct dot), dot_compare);
    }
    if (u->flags & FLAG_INCREMENTS && !read_increments(shard, r, &d->parsed, u)) return false;
    return !r->bad;
}

static bool parse_delta(const struct shard *shard, struct wire_reader *r, struct delta *d) {
    struct dot end = wire_read_dot(r);
    d->origin = dot_replica(end);
    d->hi = dot_counter(end);
    d->lo = wire_read_u64(r);
    d->clock = wire_read_u64(r);
    if (r->bad || d->origin == 0 || d->lo >= d->hi || d->origin == shard->config.self) return false;
    for (;;) {
        uint64_t past = wire_read_u64(r);
        if (r->bad) return false;
        if (past == 0) return !MUTANT(context_of_delta) || wire_read_context(r, &d->whole);
        if (!read_unit(shard, r, d, past)) return false;
    }
}

/* ------------------------------------------------------------ applying both */

struct judge {
    bool (*gone)(struct dot dot, const void *arg);
    const void *arg;
    bool (*dead)(const struct increment *i, const void *judged); /* a struct judged; NULL: none is */
};

struct judged {
    const struct spot *spot;
    const void *arg;
};

static void judge_spot(struct shard *shard, struct spot *spot, void *arg) {
    const struct judge *judge = arg;
    bool counts = judge->dead && !MUTANT(forgotten_kept) && spot->element->increment_count;
    if (!spot->element->sibling_count && !counts) return;
    spot_open(shard, spot);
    spot_drop_if(shard, spot, judge->gone, judge->arg);
    if (counts) spot_drop_increments_if(shard, spot, judge->dead, &(struct judged){spot, judge->arg});
    spot_close(shard, spot);
}

/* Lets judge look at what the unit names: one element, or all of a key. */
static void judge_unit(struct shard *shard, const struct unit *u, struct judge *judge) {
    struct key *key = shard_key_by_hash(shard, u->key_hash);
    if (!key) return;
    bool was_live = key_live(key);
    struct spot spot;
    if (kind_of(u->field_hash) == KIND_KEY) {
        key_each(shard, key, judge_spot, judge);
        key_settle(shard, key, u->key_hash, was_live);
    } else if (spot_find(shard, key, u->key_hash, u->field_hash, &spot)) {
        judge_spot(shard, &spot, judge);
        spot_settle(shard, &spot, was_live);
    }
}

static void judge_shard(struct shard *shard, struct judge *judge,
                        bool (*in_scope)(const struct spot *, const void *), const void *scope);

/* Does it say that anything lives which our context lacks? */
static bool has_new_dot(const struct shard *shard, const struct parsed *p, const struct unit *u) {
    for (uint32_t i = 0; i < u->dots_count; i++)
        if (!context_has(&shard->context, p->payloads[u->dots_at + i].dot)) return true;
    return false;
}

/* A planted fault, of two. */
static void drop_loser(struct shard *shard, struct element *e) {
    const struct sibling *newest = element_newest(e, shard->config.replicas);
    element_drop(e, e->siblings[newest == e->siblings].dot, &shard->account);
}

/* As it came, but for planted faults: rounded to seconds, or told as what was left of it. */
static struct bytes expiry_heard(const struct parsed *p, struct bytes at, uint8_t heard[EXPIRY_BYTES]) {
    uint64_t ms = 0;
    for (int i = 0; i < 8; i++) ms = ms << 8 | at.data[i];
    if (ms == EXPIRY_NEVER || !(MUTANT(ttl_rounded) || MUTANT(ttl_relative))) return at;
    ms = MUTANT(ttl_rounded) ? ms - ms % 1000 : ms + (uint64_t)p->late_ms;
    for (int i = 0; i < 8; i++) heard[i] = (uint8_t)(ms >> (56 - 8 * i));
    return bytes_of(heard, EXPIRY_BYTES);
}

/* Adds what the unit says lives, if our context lacks it. */
static void add_unit(struct shard *shard, const struct parsed *p, const struct unit *u) {
    if (!u->increments_count && !has_new_dot(shard, p, u)) return;
    struct spot spot;
    struct key_ref ref = {u->key, u->key_hash};
    spot_make(shard, ref, shard_key_by_ref(shard, ref), u->field_hash, u->field, &spot);
    bool was_live = spot.key && key_live(spot.key);
    spot_open(shard, &spot);
    for (uint32_t i = 0; i < u->dots_count; i++) {
        const struct payload *payload = &p->payloads[u->dots_at + i];
        /* One answer may name an element twice: by its key and by itself. */
        if (context_has(&shard->context, payload->dot) || element_find(spot.element, payload->dot)) continue;
        uint8_t heard[EXPIRY_BYTES];
        bool expires = spot.field_hash == KIND_EXPIRY;
        spot_add(shard, &spot, payload->dot, payload->clock, expires ? expiry_heard(p, payload->value, heard) : payload->value);
        if (MUTANT(drop_loser) && spot.element->sibling_count > 1) drop_loser(shard, spot.loose);
    }
    for (uint32_t i = 0; i < u->increments_count; i++) {
        const struct increment *inc = &p->increments[u->increments_at + i];
        spot_join_increment(shard, &spot, inc);
    }
    spot_close(shard, &spot);
    spot_settle(shard, &spot, was_live);
}

/* As expect_keys. */
static void expect_units(const struct shard *shard, const struct parsed *p, size_t from) {
    size_t to = p->unit_count - from < AHEAD ? p->unit_count : from + AHEAD;
    for (enum shard_hint step = SHARD_HINT_PLACE; step <= SHARD_HINT_KEY; step++)
        for (size_t i = from; i < to; i++) shard_hint(shard, p->units[i].key_hash, step);
}

struct superseded {
    uint16_t origin;
    uint64_t n;
    const struct dot *removed; /* sorted */
    uint32_t count;
};

static bool is_superseded(struct dot dot, const void *arg) {
    const struct superseded *s = arg;
    if (dot_replica(dot) == s->origin) return dot_counter(dot) < s->n - (MUTANT(keep_before) ? 1 : 0);
    return s->count && bsearch(&dot, s->removed, s->count, sizeof dot, dot_compare);
}

static bool is_seen(struct dot dot, const void *arg) { return context_has(arg, dot); }

static void apply_flush(struct shard *shard, struct unit *u) {
    struct judge judge = {is_seen, &u->flush->seen, NULL};
    judge_shard(shard, &judge, NULL, NULL);
    if (!MUTANT(flush_elements_only)) context_merge(&shard->context, &u->flush->seen);
    shard->paths.flushes_heard++;
}

static void apply_delta_unit(struct shard *shard, struct delta *d, struct unit *u) {
    if (u->flush) {
        apply_flush(shard, u);
        return;
    }
    struct superseded s = {d->origin, u->n, u->removed_count ? d->parsed.removed_dots + u->removed_at : NULL, u->removed_count};
    struct judge judge = {is_superseded, &s, NULL};
    if (!only_adds(u)) judge_unit(shard, u, &judge);
    add_unit(shard, &d->parsed, u);
    for (uint32_t i = 0; i < s.count && (MUTANT(applied_by_context) || MUTANT(context_of_part)); i++) {
        if (MUTANT(applied_by_context)) context_apply(&shard->context, dot_replica(s.removed[i]), dot_counter(s.removed[i]));
        if (MUTANT(context_of_part)) vclock_raise(&shard->context.prefix, dot_replica(s.removed[i]), dot_counter(s.removed[i]));
    }
}

/* Our own log must name what was learned, so that we can tell others. */
static void log_unit(struct shard *shard, const struct delta *d, struct unit *u) {
    struct record record = {.dot = dot_make(d->origin, u->n), .key_hash = u->key_hash,
                            .field_hash = u->field_hash, .flush = u->flush};
    u->flush = NULL;
    shard_log_add(shard, &record);
}

static void observe(struct shard *shard, uint64_t clock, int64_t now_ms) {
    if (!MUTANT(clock_not_moved)) hlc_observe(&shard->clock, clock, now_ms, MUTANT(clock_unbounded) ? INT64_C(1) << 44 : CLOCK_AHEAD_MS_MAX);
}

/* Of all units at once: none of them asks for what another removed, and in the middle of many dots each would move what is
 * behind it. */
static void add_removed(struct shard *shard, struct parsed *p) {
    if (!p->removed_dot_count || MUTANT(forget_unseen)) return;
    qsort(p->removed_dots, p->removed_dot_count, sizeof *p->removed_dots, dot_compare);
    context_add_all(&shard->context, p->removed_dots, (uint32_t)p->removed_dot_count);
}

enum status shard_read_delta(struct shard *shard, struct wire_reader *reader, int64_t now_ms) {
    shard_assert_held(shard);
    struct delta d = {0};
    enum status status = STATUS_OK;
    if (!parse_delta(shard, reader, &d)) {
        status = STATUS_ERR_MALFORMED;
        goto out;
    }
    uint64_t applied = vclock_get(&shard->context.applied, d.origin);
    d.parsed.late_ms = now_ms - (int64_t)(d.clock >> 16);
    bool gap = applied < d.lo && !MUTANT(ignore_gap);
    if (gap) status = STATUS_ERR_GAP;
    if (gap || applied >= d.hi) goto out;
    for (size_t i = 0; i < d.parsed.unit_count; i++) {
        if (i % AHEAD == 0) expect_units(shard, &d.parsed, i);
        apply_delta_unit(shard, &d, &d.parsed.units[i]);
        if (d.parsed.units[i].n > applied) log_unit(shard, &d, &d.parsed.units[i]);
    }
    add_removed(shard, &d.parsed);
    context_apply(&shard->context, d.origin, d.hi);
    if (MUTANT(context_of_delta)) context_merge(&shard->context, &d.whole);
    observe(shard, d.clock, now_ms);
out:
    context_fini(&d.whole);
    parsed_fini(&d.parsed);
    return status;
}

/* ------------------------------------------------------------------- pulls */

enum scope { SCOPE_NAMED, SCOPE_CELLS, SCOPE_ALL };
static bool vclock_empty(const struct vclock *v) {
    for (uint32_t i = 0; i < v->count; i++)
        if (v->counter[i]) return false;
    return true;
}

/* By names, if the log reaches back to what the asker has. A flush in between is not told apart
 * from what it removed: then all is told. */
static enum scope answer_scope(const struct shard *shard, const struct shard_summary *asker) {
    const struct vclock *theirs = &asker->context.applied;
    struct record record;
    if (vclock_empty(theirs)) return SCOPE_ALL;
    for (struct records_at at = records_first(&shard->log); records_next(&at, &record);)
        if (record.flush && !MUTANT(flush_by_names) && dot_counter(record.dot) > vclock_get(theirs, dot_replica(record.dot))) return SCOPE_ALL;
    return vclock_covers(theirs, &shard->forgotten) ? SCOPE_NAMED : SCOPE_CELLS;
}

static bool bit_in(const uint8_t *mask, size_t at) { return mask[at / 8] >> (at % 8) & 1; }
static void set_bit(uint8_t *mask, size_t at) { mask[at / 8] |= (uint8_t)(1u << (at % 8)); }

void shard_summarise(const struct shard *shard, bool cells, struct shard_summary *out) {
    shard_assert_held(shard);
    *out = (struct shard_summary){.has_cells = cells};
    context_copy(&out->context, &shard->context);
    if (cells) memcpy(out->cells, shard->cells, sizeof out->cells);
}

void shard_summary_fini(struct shard_summary *summary) {
    context_fini(&summary->context);
    mem_free(summary->fine);
    *summary = (struct shard_summary){0};
}

/* ------------------------------------------------------------- finer cells
 * The parts of the cells refined, one cell after the other, are numbered through. */

static size_t refined_count(const struct shard_refinement *r, unsigned before) {
    size_t count = 0;
    for (unsigned i = 0; i < before / 8; i++) count += (size_t)__builtin_popcount(r->cells[i]);
    return before % 8 ? count + (size_t)__builtin_popcount(r->cells[before / 8] & ((1u << (before % 8)) - 1)) : count;
}

static size_t parts_count(const struct shard_refinement *r) {
    return r->bits ? refined_count(r, SHARD_CELLS) << r->bits : 0;
}

/* The number of the part that an element is in; false if its cell is not refined. */
static bool part_of(const struct shard_refinement *r, uint64_t key_hash, uint64_t field_hash, size_t *out) {
    unsigned cell = cell_index(key_hash, field_hash);
    if (!r->bits || !bit_in(r->cells, cell)) return false;
    uint64_t below = cell_bits(key_hash, field_hash) << 8 >> (64 - r->bits);
    *out = (refined_count(r, cell) << r->bits) + (size_t)below;
    return true;
}

struct part_sums {
    const struct shard_refinement *refinement;
    uint32_t *sums;
};

static void add_to_part(struct shard *shard, struct spot *spot, void *arg) {
    struct part_sums *p = arg;
    size_t part;
    if (part_of(p->refinement, spot->key_hash, spot->field_hash, &part)) p->sums[part] += (uint32_t)spot_hash(shard, spot);
}

static uint32_t *sum_parts(struct shard *shard, const struct shard_refinement *r) {
    struct part_sums p = {r, mem_zero(parts_count(r), sizeof *p.sums)};
    size_t at = 0;
    struct key *key;
    while ((key = table_next(&shard->keys, &at))) key_each(shard, key, add_to_part, &p);
    return p.sums;
}

void shard_summarise_finely(struct shard *shard, const struct shard_refinement *refinement, struct shard_summary *out) {
    shard_summarise(shard, true, out);
    if (!parts_count(refinement)) return;
    out->refinement = *refinement;
    out->fine = sum_parts(shard, refinement);
}

#define ELEMENTS_A_CELL_LEAST 4u /* below, finer cells are not worth another round */

bool shard_wants_finer(struct shard *shard, const struct shard_summary *asker, struct shard_refinement *out) {
    shard_assert_held(shard);
    *out = (struct shard_refinement){0};
    if (!asker->has_cells || asker->refinement.bits) return false;
    if (shard->elements < ELEMENTS_A_CELL_LEAST * SHARD_CELLS || answer_scope(shard, asker) != SCOPE_CELLS) return false;
    while (SHARD_CELLS << out->bits < shard->elements && out->bits < SHARD_FINE_BITS_MOST) out->bits++;
    for (unsigned i = 0; i < SHARD_CELLS; i++)
        if (asker->cells[i] != shard->cells[i]) set_bit(out->cells, i);
    return parts_count(out) > 0;
}

void shard_write_refinement(struct wire_writer *w, const struct shard_refinement *refinement) {
    wire_u64(w, refinement->bits);
    wire_bytes(w, bytes_of(refinement->cells, sizeof refinement->cells));
}

bool shard_read_refinement(struct wire_reader *r, struct shard_refinement *out) {
    *out = (struct shard_refinement){0};
    uint64_t bits = wire_read_u64(r);
    struct bytes cells = wire_read_bytes(r);
    if (bits == 0 || bits > SHARD_FINE_BITS_MOST || cells.len != sizeof out->cells) r->bad = true;
    if (r->bad) return false;
    out->bits = (uint8_t)bits;
    memcpy(out->cells, cells.data, cells.len);
    return true;
}

/* Sums travel as bytes, the lowest first. */
static void write_sums(struct wire_writer *w, const void *sums, size_t count, size_t size) {
    struct buf bytes = {0};
    buf_reserve(&bytes, count * size);
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = size == 8 ? ((const uint64_t *)sums)[i] : ((const uint32_t *)sums)[i];
        for (size_t k = 0; k < size; k++) buf_put_byte(&bytes, (uint8_t)(sum >> (8 * k)));
    }
    wire_bytes(w, buf_bytes(&bytes));
    buf_fini(&bytes);
}

static uint64_t sum_at(struct bytes sums, size_t at, size_t size) {
    uint64_t sum = 0;
    for (size_t k = size; k > 0; k--) sum = sum << 8 | sums.data[at * size + k - 1];
    return sum;
}

void shard_write_summary(struct wire_writer *w, const struct shard_summary *summary) {
    wire_vclock(w, &summary->context.applied);
    wire_u64(w, !summary->has_cells ? 0 : summary->refinement.bits ? 2 : 1);
    if (!summary->has_cells) return;
    if (!summary->refinement.bits) {
        write_sums(w, summary->cells, SHARD_CELLS, sizeof *summary->cells);
        return;
    }
    uint32_t high[SHARD_CELLS];
    for (unsigned i = 0; i < SHARD_CELLS; i++) high[i] = (uint32_t)(summary->cells[i] >> 32);
    write_sums(w, high, SHARD_CELLS, sizeof *high);
    shard_write_refinement(w, &summary->refinement);
    write_sums(w, summary->fine, parts_count(&summary->refinement), sizeof *summary->fine);
}

static void read_cells(struct wire_reader *r, struct shard_summary *out, size_t size) {
    struct bytes sums = wire_read_bytes(r);
    if (sums.len != SHARD_CELLS * size) r->bad = true;
    for (unsigned i = 0; i < SHARD_CELLS && !r->bad; i++) out->cells[i] = sum_at(sums, i, size) << (64 - 8 * size);
}

static void read_parts(struct wire_reader *r, struct shard_summary *out) {
    if (!shard_read_refinement(r, &out->refinement)) return;
    struct bytes sums = wire_read_bytes(r);
    size_t count = parts_count(&out->refinement);
    if (count == 0 || sums.len != count * sizeof *out->fine) r->bad = true;
    if (r->bad) return;
    out->fine = mem_alloc(sums.len);
    for (size_t i = 0; i < count; i++) out->fine[i] = (uint32_t)sum_at(sums, i, sizeof *out->fine);
}

bool shard_read_summary(struct wire_reader *r, struct shard_summary *out) {
    *out = (struct shard_summary){0};
    wire_read_vclock(r, &out->context.applied);
    uint64_t form = wire_read_u64(r);
    if (form > 2) r->bad = true;
    out->has_cells = form != 0;
    if (form) read_cells(r, out, form == 1 ? sizeof(uint64_t) : sizeof(uint32_t));
    if (form == 2 && !r->bad) read_parts(r, out);
    if (r->bad) shard_summary_fini(out);
    return !r->bad;
}

/* ----------------------------------------------------------------- answers */

static int by_element(const void *a, const void *b) {
    const struct record *x = a, *y = b;
    if (x->key_hash != y->key_hash) return x->key_hash < y->key_hash ? -1 : 1;
    if (x->field_hash != y->field_hash) return x->field_hash < y->field_hash ? -1 : 1;
    return x->dot.v < y->dot.v ? -1 : x->dot.v > y->dot.v;
}

/* Records beyond the asker's vector, one for each element and origin, the newest. */
static struct record *records_beyond(const struct shard *shard, const struct vclock *asker, size_t *count) {
    struct record *found = mem_alloc((shard->log.count + 1) * sizeof *found), record;
    size_t n = 0, kept = 0;
    for (struct records_at at = records_first(&shard->log); records_next(&at, &record);) {
        if (dot_counter(record.dot) <= vclock_get(asker, dot_replica(record.dot)) + (MUTANT(pull_skips_first) ? 1 : 0)) continue;
        record.field_hash = element_of(record.field_hash);
        found[n++] = record;
    }
    qsort(found, n, sizeof *found, by_element);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n || found[i + 1].key_hash != found[i].key_hash ||
                    found[i + 1].field_hash != found[i].field_hash ||
                    dot_replica(found[i + 1].dot) != dot_replica(found[i].dot);
        if (last) found[kept++] = found[i];
    }
    *count = kept;
    return found;
}

/* What an answer by cells ships: a bit for each cell that is not refined, and for each part. */
struct mask {
    const struct shard_refinement *refinement;
    uint8_t *bits; /* SHARD_CELLS, then the parts */
};

static size_t mask_bytes(const struct shard_refinement *r) { return SHARD_CELLS_BYTES + (parts_count(r) + 7) / 8; }

static bool mask_has(const struct mask *mask, uint64_t key_hash, uint64_t field_hash) {
    size_t part;
    if (part_of(mask->refinement, key_hash, field_hash, &part)) return bit_in(mask->bits, SHARD_CELLS + part);
    return bit_in(mask->bits, cell_index(key_hash, field_hash));
}

static bool cell_differs(const struct shard *shard, const struct shard_summary *asker, unsigned cell) {
    if (!asker->refinement.bits) return asker->cells[cell] != shard->cells[cell];
    return asker->cells[cell] >> 32 != shard->cells[cell] >> 32;
}

/* Sums of parts are short: where no part of a cell differs and the cell does, all of it goes. */
static void mask_parts(const struct shard *shard, const struct shard_summary *asker, const uint32_t *fine, struct mask *mask) {
    size_t per = (size_t)1 << asker->refinement.bits, first = 0;
    for (unsigned cell = 0; cell < SHARD_CELLS; cell++) {
        if (!bit_in(asker->refinement.cells, cell)) continue;
        bool any = false;
        for (size_t i = first; i < first + per; i++) any = any || asker->fine[i] != fine[i];
        bool all = !any && cell_differs(shard, asker, cell);
        for (size_t i = first; i < first + per; i++)
            if (all || asker->fine[i] != fine[i]) set_bit(mask->bits, SHARD_CELLS + i);
        first += per;
    }
}

/* Judged now: by the state that the answer shows. */
static struct mask mask_new(struct shard *shard, const struct shard_summary *asker) {
    struct mask mask = {&asker->refinement, mem_zero(1, mask_bytes(&asker->refinement))};
    for (unsigned cell = 0; cell < SHARD_CELLS; cell++)
        if (!(asker->refinement.bits && bit_in(asker->refinement.cells, cell)) && cell_differs(shard, asker, cell))
            set_bit(mask.bits, cell);
    if (!asker->refinement.bits) return mask;
    uint32_t *fine = sum_parts(shard, &asker->refinement);
    mask_parts(shard, asker, fine, &mask);
    mem_free(fine);
    return mask;
}

static bool has_floors(const struct element *e) {
    for (uint32_t i = 0; i < e->increment_count; i++)
        if (e->increments[i].floor_n) return true;
    return false;
}

struct answer_writer {
    struct wire_writer *wire;
    const struct mask *mask; /* SCOPE_CELLS: what differs */
};

static void write_whole(struct shard *shard, struct spot *spot, void *arg) {
    (void)shard;
    struct answer_writer *a = arg;
    const struct element *e = spot->element;
    if (!e->sibling_count && !e->increment_count) return;
    /* Floors that the asker may lack do not show in a cell: they always go. */
    if (a->mask && (MUTANT(cells_skip_floors) || !has_floors(e)) && !mask_has(a->mask, spot->key_hash, spot->field_hash)) return;
    wire_u64(a->wire, kind_of(spot->field_hash));
    wire_u64(a->wire, FLAG_NAMED);
    write_name(a->wire, spot);
    wire_u64(a->wire, e->sibling_count);
    for (uint32_t i = 0; i < e->sibling_count; i++) {
        const struct sibling *s = &e->siblings[i];
        wire_dot(a->wire, s->dot);
        wire_u64(a->wire, s->clock);
        wire_bytes(a->wire, bytes_of(s->data, s->len));
    }
    write_increments(a->wire, e);
}

static void write_everything(struct shard *shard, struct answer_writer *a) {
    size_t at = 0;
    struct key *key;
    while ((key = table_next(&shard->keys, &at))) key_each(shard, key, write_whole, a);
}

static void write_named(struct shard *shard, struct answer_writer *a, const struct record *records, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &records[i];
        if (i % AHEAD == 0) expect_keys(shard, r, count - i < AHEAD ? count - i : AHEAD);
        if (i > 0 && records[i - 1].key_hash == r->key_hash && records[i - 1].field_hash == r->field_hash) continue;
        struct key *key = shard_key_of(shard, r);
        struct spot spot;
        if (!key) continue;
        if (kind_of(r->field_hash) == KIND_KEY)
            key_each(shard, key, write_whole, a);
        else if (spot_find(shard, key, r->key_hash, r->field_hash, &spot))
            write_whole(shard, &spot, a);
    }
}

enum status shard_write_answer(struct shard *shard, struct wire_writer *w, const struct shard_summary *asker) {
    shard_assert_held(shard);
    enum scope scope = answer_scope(shard, asker);
    if (scope == SCOPE_CELLS && !asker->has_cells) return STATUS_ERR_GAP;
    size_t count = 0;
    struct record *records = scope == SCOPE_NAMED ? records_beyond(shard, &asker->context.applied, &count) : NULL;
    struct mask mask = {0};
    if (scope == SCOPE_CELLS) mask = mask_new(shard, asker);
    wire_u64(w, scope);
    wire_context(w, &shard->context);
    wire_u64(w, shard->clock);
    struct answer_writer a = {w, mask.bits ? &mask : NULL};
    if (mask.bits) wire_bytes(w, bytes_of(mask.bits, mask_bytes(mask.refinement)));
    wire_u64(w, count);
    for (size_t i = 0; i < count; i++) {
        wire_dot(w, records[i].dot);
        wire_u64(w, records[i].key_hash);
        wire_u64(w, records[i].field_hash);
    }
    if (scope == SCOPE_NAMED)
        write_named(shard, &a, records, count);
    else
        write_everything(shard, &a);
    wire_u64(w, 0); /* KIND_FLUSH names no element: this ends them */
    mem_free(mask.bits);
    mem_free(records);
    return STATUS_OK;
}

struct answer {
    uint64_t scope, clock;
    struct context context;
    struct bytes mask;
    struct record *records;
    size_t record_count, record_cap;
    struct parsed parsed;
    struct dot *sent; /* all dots of all units, sorted: a dot lives in one element only */
    struct entry {
        uint64_t key_hash, field_hash, n;
        uint16_t replica;
    } *entries; /* whose increments were sent, and up to where, sorted */
    const struct shard_summary *asked;
};

static bool read_whole(const struct shard *shard, struct wire_reader *r, struct parsed *p, uint64_t kind) {
    if (kind < KIND_STRING || kind > KIND_FIELD_INC || only_adds(&(struct unit){.field_hash = kind})) return false;
    struct unit *u = MORE(p, unit);
    *u = (struct unit){.field_hash = kind};
    u->flags = wire_read_u64(r);
    if (u->flags != FLAG_NAMED || !read_name(shard, r, u)) return false;
    uint64_t count = wire_read_u64(r);
    u->dots_at = (uint32_t)p->payload_count;
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        struct dot dot = wire_read_dot(r);
        if (r->bad || is_our_future(shard, dot) || !read_payload(r, p, dot, (enum kind)kind)) return false;
    }
    u->dots_count = (uint32_t)(p->payload_count - u->dots_at);
    return !r->bad && read_increments(shard, r, p, u);
}

/* Of what the sender has applied, and of an element or a key: else it could neither be judged nor logged. */
static bool read_answer_record(const struct shard *shard, struct wire_reader *r, struct answer *a) {
    struct record *record = MORE(a, record);
    *record = (struct record){.dot = wire_read_dot(r)};
    record->key_hash = wire_read_u64(r);
    record->field_hash = wire_read_u64(r);
    return !r->bad && kind_of(record->field_hash) != KIND_FLUSH && element_of(record->field_hash) == record->field_hash &&
           dot_counter(record->dot) <= vclock_get(&a->context.applied, dot_replica(record->dot)) && !is_our_future(shard, record->dot);
}

static bool parse_answer(const struct shard *shard, struct wire_reader *r, struct answer *a) {
    a->scope = wire_read_u64(r);
    if (r->bad || a->scope > SCOPE_ALL || !wire_read_context(r, &a->context)) return false;
    a->clock = wire_read_u64(r);
    if (a->scope == SCOPE_CELLS) a->mask = wire_read_bytes(r);
    if (r->bad || (a->scope == SCOPE_CELLS && a->mask.len != mask_bytes(&a->asked->refinement))) return false;
    uint64_t records = wire_read_u64(r);
    for (uint64_t i = 0; i < records && !r->bad; i++)
        if (!read_answer_record(shard, r, a)) return false;
    uint64_t kind;
    while (!r->bad && (kind = wire_read_u64(r)) != 0)
        if (!read_whole(shard, r, &a->parsed, kind)) return false;
    return !r->bad;
}

static int by_entry(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->key_hash != y->key_hash) return x->key_hash < y->key_hash ? -1 : 1;
    if (x->field_hash != y->field_hash) return x->field_hash < y->field_hash ? -1 : 1;
    return (x->replica > y->replica) - (x->replica < y->replica);
}

static void collect_sent(struct answer *a) {
    a->sent = mem_alloc((a->parsed.payload_count + 1) * sizeof *a->sent);
    for (size_t i = 0; i < a->parsed.payload_count; i++) a->sent[i] = a->parsed.payloads[i].dot;
    qsort(a->sent, a->parsed.payload_count, sizeof *a->sent, dot_compare);
    a->entries = mem_alloc((a->parsed.increment_count + 1) * sizeof *a->entries);
    for (size_t i = 0; i < a->parsed.unit_count; i++) {
        const struct unit *u = &a->parsed.units[i];
        for (uint32_t k = u->increments_at; k < u->increments_at + u->increments_count; k++)
            a->entries[k] = (struct entry){u->key_hash, element_of(u->field_hash), a->parsed.increments[k].n, a->parsed.increments[k].replica};
    }
    qsort(a->entries, a->parsed.increment_count, sizeof *a->entries, by_entry);
}

/* The sender knows it, and has it no more. */
static bool is_unsent(struct dot dot, const void *arg) {
    const struct answer *a = arg;
    return context_has(&a->context, dot) &&
           !bsearch(&dot, a->sent, a->parsed.payload_count, sizeof dot, dot_compare);
}

/* In a cell that was equal when we asked: what we have learned since, and the sender had
 * removed by then, must go; what we had then, the sender has too. */
static bool is_learned_late(struct dot dot, const void *arg) {
    const struct answer *a = arg;
    return !context_has(&a->asked->context, dot) && is_unsent(dot, arg);
}

/* The sender has applied it and holds no entry of its replica, or one that was made anew for the floor of
 * an earlier reset: it was reset, and forgotten because all members that the sender knew had applied the reset.
 * We need not have been one of them yet.
 * A floor beyond what the sender has applied is of a reset that it knows nothing of. */
static bool is_forgotten(const struct increment *i, const void *arg) {
    const struct judged *judged = arg;
    const struct answer *a = judged->arg;
    struct entry entry = {judged->spot->key_hash, judged->spot->field_hash, i->n, i->replica};
    uint64_t theirs = vclock_get(&a->context.applied, i->replica);
    if (!i->n || i->n > theirs || (i->floor_n > theirs && !MUTANT(floor_ahead_dropped))) return false;
    const struct entry *sent = bsearch(&entry, a->entries, a->parsed.increment_count, sizeof entry, by_entry);
    return !sent || (sent->n < i->n && !MUTANT(floor_revives));
}

/* In a cell that was equal: what was live when we asked, the sender has. */
static bool is_forgotten_late(const struct increment *i, const void *arg) {
    const struct answer *a = ((const struct judged *)arg)->arg;
    return i->n > vclock_get(&a->asked->context.applied, i->replica) && is_forgotten(i, arg);
}

static void count_answer(struct shard *shard, const struct answer *a) {
    struct shard_paths *p = &shard->paths;
    p->answers_named += a->scope == SCOPE_NAMED;
    p->answers_whole += a->scope == SCOPE_ALL;
    p->answers_cells += a->scope == SCOPE_CELLS;
    p->answers_finer += a->scope == SCOPE_CELLS && a->asked->refinement.bits;
}

static bool in_mask(const struct spot *spot, const void *arg) {
    const struct answer *a = arg;
    struct mask mask = {&a->asked->refinement, (uint8_t *)(uintptr_t)a->mask.data};
    return mask_has(&mask, spot->key_hash, spot->field_hash);
}
static bool off_mask(const struct spot *spot, const void *arg) { return !in_mask(spot, arg); }

struct shard_judge {
    struct judge *judge;
    bool (*in_scope)(const struct spot *, const void *);
    const void *scope;
};

static void judge_in_scope(struct shard *shard, struct spot *spot, void *arg) {
    struct shard_judge *j = arg;
    if (!j->in_scope || j->in_scope(spot, j->scope)) judge_spot(shard, spot, j->judge);
}

static void judge_shard(struct shard *shard, struct judge *judge,
                        bool (*in_scope)(const struct spot *, const void *), const void *scope) {
    struct shard_judge j = {judge, in_scope, scope};
    size_t count = 0, at = 0;
    struct key **keys = mem_alloc((shard->keys.count + 1) * sizeof *keys), *key;
    while ((key = table_next(&shard->keys, &at))) keys[count++] = key;
    while (count--) { /* the last go first: nothing behind them has to move */
        bool was_live = key_live(keys[count]);
        uint64_t hash = key_hash(shard, keys[count]);
        key_each(shard, keys[count], judge_in_scope, &j);
        key_settle(shard, keys[count], hash, was_live);
    }
    mem_free(keys);
}

static void judge_answer(struct shard *shard, struct answer *a) {
    if (!shard->keys.count) return;
    collect_sent(a);
    struct judge unsent = {is_unsent, a, is_forgotten}, late = {is_learned_late, a, is_forgotten_late};
    if (a->scope == SCOPE_ALL) judge_shard(shard, &unsent, NULL, NULL);
    if (a->scope == SCOPE_CELLS) {
        judge_shard(shard, &unsent, in_mask, a);
        uint64_t before = shard->elements;
        if (!MUTANT(keep_learned_late)) judge_shard(shard, MUTANT(context_of_cells) ? &unsent : &late, off_mask, a);
        shard->paths.learned_late += before - shard->elements;
    }
    for (size_t i = 0; i < a->record_count && !MUTANT(unnamed_kept); i++) {
        struct unit named = {.key_hash = a->records[i].key_hash, .field_hash = a->records[i].field_hash};
        judge_unit(shard, &named, &unsent);
    }
}

/* Whether there is something of its key when it has been added. */
static bool makes_key(const struct shard *shard, const struct parsed *p, const struct unit *u) {
    struct increment made;
    for (uint32_t i = 0; i < u->increments_count; i++) {
        const struct increment *inc = &p->increments[u->increments_at + i];
        if (increment_heard(NULL, inc, vclock_get(&shard->context.applied, inc->replica), &made)) return true;
    }
    return has_new_dot(shard, p, u);
}

/* They come in the order of their hashes. */
static void reserve_keys(struct shard *shard, const struct parsed *p) {
    size_t count = 0;
    uint64_t last = 0;
    for (size_t i = 0; i < p->unit_count; i++) {
        const struct unit *u = &p->units[i];
        if (u->key_hash == last || !makes_key(shard, p, u)) continue;
        last = u->key_hash;
        count++;
    }
    if (count > shard->keys.count) table_reserve(&shard->keys, count, &shard->account);
}

static void log_answer(struct shard *shard, const struct answer *a) {
    for (size_t i = 0; i < a->record_count; i++) {
        struct dot dot = a->records[i].dot;
        if (dot_counter(dot) > vclock_get(&shard->context.applied, dot_replica(dot))) shard_log_add(shard, &a->records[i]);
    }
    if (a->scope == SCOPE_NAMED || MUTANT(answer_not_forgotten)) return;
    /* Nothing names what came: whoever asks us for it is compared by cells. */
    for (uint32_t i = 1; i < a->context.applied.count; i++) {
        uint64_t counter = a->context.applied.counter[i];
        if (counter > vclock_get(&shard->context.applied, (uint16_t)i)) vclock_raise(&shard->forgotten, (uint16_t)i, counter);
    }
}

enum status shard_read_answer(struct shard *shard, struct wire_reader *reader, const struct shard_summary *asked,
                              int64_t now_ms) {
    shard_assert_held(shard);
    struct answer a = {.asked = asked};
    enum status status = STATUS_OK;
    if (!parse_answer(shard, reader, &a) || claims_our_future(shard, &a.context)) {
        status = STATUS_ERR_MALFORMED;
        goto out;
    }
    a.parsed.late_ms = now_ms - (int64_t)(a.clock >> 16);
    count_answer(shard, &a);
    judge_answer(shard, &a);
    reserve_keys(shard, &a.parsed);
    for (size_t i = 0; i < a.parsed.unit_count; i += MUTANT(half_answer) ? 2 : 1) add_unit(shard, &a.parsed, &a.parsed.units[i]);
    log_answer(shard, &a);
    context_merge(&shard->context, &a.context);
    context_merge_applied(&shard->context, &a.context);
    observe(shard, a.clock, now_ms);
out:
    context_fini(&a.context);
    parsed_fini(&a.parsed);
    mem_free(a.records);
    mem_free(a.sent);
    mem_free(a.entries);
    return status;
}
