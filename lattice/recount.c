#include "lattice/recount.h"

#include "lattice/shard_state.h"

struct recount {
    struct shard *shard;
    struct shard_facts *facts;
    const char *wrong; /* the first that was found */
    uint64_t cells[SHARD_CELLS];
    uint64_t bytes, pieces, live, elements, expiring, timed;
    uint64_t members_live, fields_live; /* of the key at hand */
    bool newest_member, newest_field;   /* as new as is remembered */
};

static void must(struct recount *r, bool right, const char *wrong) {
    if (!right && !r->wrong) r->wrong = wrong;
}

static void add_piece(struct recount *r, size_t bytes) {
    r->bytes += bytes;
    r->pieces += bytes != 0;
}

static void add_table(struct recount *r, const struct table *t) {
    add_piece(r, t->slots ? table_end(t) * sizeof *t->slots : 0);
    must(r, t->count || !t->slots, "a table is empty and still there");
}

static void add_packed(struct recount *r, const void *packed) {
    add_piece(r, packed_size(packed));
    must(r, !packed_empty(packed), "what is gone is still in its table");
    r->facts->packed++;
}

static void add_loose(struct recount *r, const struct element *e) {
    add_piece(r, e->sibling_count * sizeof *e->siblings);
    add_piece(r, e->increment_count * sizeof *e->increments);
    for (uint32_t i = 0; i < e->sibling_count; i++) add_piece(r, e->siblings[i].len);
}

static void look_at_increments(struct recount *r, const struct spot *spot) {
    const struct element *e = spot->element;
    for (uint32_t i = 0; i < e->increment_count; i++) {
        const struct increment *inc = &e->increments[i];
        struct dot dot = dot_make(inc->replica, inc->n);
        must(r, i == 0 || e->increments[i - 1].replica < inc->replica, "increments are not in order");
        must(r, !inc->n || context_has(&r->shard->context, dot), "an increment is here that the context lacks");
        r->facts->dead_increments += !increment_live(inc);
        r->facts->early_floors += inc->floor_n > inc->n;
    }
}

/* Nothing is newer than what is remembered; what is said to be there is. */
static void look_at_age(struct recount *r, const struct spot *spot) {
    struct clash *c = r->shard->clash;
    enum kind kind = kind_of(spot->field_hash);
    if (!c->there || c->key_hash != spot->key_hash || !kind_has_field(kind)) return;
    struct age age = shard_age(r->shard, spot->element);
    int order = age_compare(age, kind == KIND_MEMBER ? c->members.age : c->fields.age);
    must(r, order <= 0, "something is newer than the newest of its type");
    if (order == 0) *(kind == KIND_MEMBER ? &r->newest_member : &r->newest_field) = true;
}

static void look_at(struct shard *shard, struct spot *spot, void *arg) {
    struct recount *r = arg;
    const struct element *e = spot->element;
    bool live = element_live(e);
    r->cells[cell_index(spot->key_hash, spot->field_hash)] += spot_hash(shard, spot);
    r->elements += live;
    r->members_live += live && kind_of(spot->field_hash) == KIND_MEMBER;
    r->fields_live += live && kind_of(spot->field_hash) == KIND_FIELD;
    r->facts->concurrent += e->sibling_count > 1;
    for (uint32_t i = 0; i < e->sibling_count; i++) {
        must(r, i == 0 || e->siblings[i - 1].dot.v < e->siblings[i].dot.v, "siblings are not in order");
        must(r, context_has(&shard->context, e->siblings[i].dot), "a dot is here that the context lacks");
    }
    look_at_increments(r, spot);
    look_at_age(r, spot);
    if (spot->field && spot->loose) {
        add_piece(r, sizeof *spot->field + spot->field->name_len);
        must(r, e->sibling_count || e->increment_count, "a field is empty and still there");
        r->facts->loose++;
    } else if (spot->field) {
        add_packed(r, spot->field);
    }
    if (spot->loose) add_loose(r, spot->loose);
}

static void look_at_key(struct recount *r, struct key *key) {
    struct shard *shard = r->shard;
    r->members_live = r->fields_live = 0;
    key_each(shard, key, look_at, r);
    r->live += key_live(key);
    r->timed += key_expiry(key) != EXPIRY_NEVER;
    if (form_of(key) != FORM_LOOSE) {
        bool expiring = form_of(key) & FORM_EXPIRY;
        must(r, expiring || !(form_of(key) & FORM_TIMED), "a packed key keeps a place for an expiry");
        add_packed(r, key);
        r->expiring += expiring;
        r->facts->leftovers += expiring && !key_live(key);
        return;
    }
    must(r, key->members_live == r->members_live, "the count of members");
    must(r, key->fields_live == r->fields_live, "the count of fields");
    must(r, key->string.sibling_count || key->string.increment_count || key->expiry.sibling_count || key->members.count || key->fields.count,
         "a key is empty and still there");
    add_piece(r, sizeof *key + key->name_len);
    add_table(r, &key->members);
    add_table(r, &key->fields);
    r->expiring += key->expiry.sibling_count > 0;
    r->facts->leftovers += key->expiry.sibling_count && !key_live(key);
    r->facts->clashes += element_live(&key->string) + (key->members_live > 0) + (key->fields_live > 0) > 1;
    r->facts->loose++;
}

static void look_at_clash(struct recount *r) {
    const struct clash *c = r->shard->clash;
    static const struct age nothing;
    must(r, !c->there || !c->members.known || r->newest_member || age_compare(c->members.age, nothing) == 0, "the newest member");
    must(r, !c->there || !c->fields.known || r->newest_field || age_compare(c->fields.age, nothing) == 0, "the newest field");
}

static void look_at_context(struct recount *r) {
    const struct context *c = &r->shard->context;
    r->facts->early_dots += c->extra_count;
    for (uint32_t i = 0; i < c->extra_count; i++) {
        uint64_t counter = dot_counter(c->extra[i]);
        uint16_t replica = dot_replica(c->extra[i]);
        must(r, i == 0 || c->extra[i - 1].v < c->extra[i].v, "dots of the context are not in order");
        must(r, counter > vclock_get(&c->applied, replica) && counter > vclock_get(&c->prefix, replica),
             "the context lists a dot that its vectors cover");
    }
}

static void look_at_log(struct recount *r) {
    struct record record;
    size_t count = 0;
    for (struct records_at at = records_first(&r->shard->log); records_next(&at, &record);) {
        must(r, context_has(&r->shard->context, record.dot), "the log names what the context lacks");
        count++;
    }
    must(r, count == r->shard->log.count, "the count of records");
}

const char *shard_recount(struct shard *shard, struct shard_facts *facts) {
    struct recount r = {.shard = shard, .facts = facts};
    struct key *key;
    for (size_t at = 0; (key = table_next(&shard->keys, &at));) look_at_key(&r, key);
    add_table(&r, &shard->keys);
    must(&r, memcmp(r.cells, shard->cells, sizeof r.cells) == 0, "the sum of a cell");
    must(&r, r.live == shard->live, "the count of keys");
    must(&r, r.elements == shard->elements, "the count of elements");
    must(&r, r.expiring == shard->expiring, "the count of keys with an expiry");
    must(&r, r.timed == shard->timed, "the count of keys that expire");
    must(&r, r.bytes == shard->account.bytes, "the account's bytes");
    must(&r, r.pieces == shard->account.pieces, "the account's pieces");
    look_at_clash(&r);
    look_at_context(&r);
    look_at_log(&r);
    return r.wrong;
}
