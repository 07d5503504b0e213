/* The shard's state: finding, rendering and writing.
 *
 *   shard ── keys (table by key hash) ── key ── string  (element)
 *                                           ├── expiry  (element)
 *                                           ├── members (table by field hash) ── element each
 *                                           └── fields  (table by field hash) ── element each
 *
 * A mutator does four things under one hold of the lock: takes the next dot, removes every
 * dot that it sees on its element, adds its own, and appends a record to the log. Dots of
 * other origins that it removed go into the record; its own are implied (README.md).
 *
 * What can go wrong: a key whose only content is dead increments, or an expiry left over by a
 * concurrent DEL, is not visible but must stay: it is held, not counted, and the next write
 * removes the leftovers first. */
#include "lattice/shard.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#include "core/hlc.h"
#include "core/mutant.h"
#include "lattice/shard_state.h"

/* ------------------------------------------------------------------ tables
 * An item with the right tag matches by its name; by hash alone, that of a packed one is
 * computed, for it is not kept. */

struct bytes key_name(const struct key *key) {
    return form_of(key) == FORM_LOOSE ? bytes_of(key->name, key->name_len) : packed_name(key);
}
struct bytes field_name(const struct field *field) {
    return form_of(field) == FORM_LOOSE ? bytes_of(field->name, field->name_len) : packed_name(field);
}

static bool same_key(void *item, const void *arg) { return bytes_equal(key_name(item), *(const struct bytes *)arg); }
static bool same_field(void *item, const void *arg) { return bytes_equal(field_name(item), *(const struct bytes *)arg); }

struct hash_ref {
    const struct shard *shard;
    uint64_t hash;
};

struct key_record {
    const struct shard *shard;
    const struct record *record;
};

uint64_t key_hash(const struct shard *shard, const struct key *key) {
    return form_of(key) == FORM_LOOSE ? key->hash : hash_key(&shard->config.seed, packed_name(key));
}

static uint64_t field_hash(const struct shard *shard, const struct field *field, enum kind kind) {
    return form_of(field) == FORM_LOOSE ? field->hash : shard_field_hash(shard, kind, packed_name(field));
}

static bool same_key_hash(void *item, const void *arg) {
    const struct hash_ref *ref = arg;
    return key_hash(ref->shard, item) == ref->hash;
}

static bool same_field_hash(void *item, const void *arg) {
    const struct hash_ref *ref = arg;
    return field_hash(ref->shard, item, kind_of(ref->hash)) == ref->hash;
}

/* A mutation writes one element: an item that holds it needs no hash to be known again. */
static bool is_key_of(void *item, const void *arg) {
    const struct key_record *ref = arg;
    if (form_of(item) != FORM_LOOSE && packed_dot(item).v == ref->record->dot.v) return true;
    return key_hash(ref->shard, item) == ref->record->key_hash;
}

struct key_ref shard_ref(const struct shard *shard, struct bytes name) {
    return (struct key_ref){name, hash_key(&shard->config.seed, name)};
}

uint64_t shard_field_hash(const struct shard *shard, enum kind kind, struct bytes name) {
    if (!kind_has_field(kind)) return kind;
    return (hash_key(&shard->config.seed, name) & ~(uint64_t)KIND_MASK) | kind;
}

struct key *shard_key_by_hash(const struct shard *shard, uint64_t hash) {
    struct hash_ref ref = {shard, hash};
    return table_find(&shard->keys, hash, same_key_hash, &ref);
}

/* Of the few keys that share a tag, for hints. */
static bool is_any(void *item, const void *arg) {
    (void)item;
    (void)arg;
    return true;
}

struct key *shard_key_of(const struct shard *shard, const struct record *record) {
    struct key_record ref = {shard, record};
    return table_find(&shard->keys, record->key_hash, is_key_of, &ref);
}

struct key *shard_key_by_ref(const struct shard *shard, struct key_ref ref) {
    return table_find(&shard->keys, ref.hash, same_key, &ref.name);
}

void shard_hint(const struct shard *shard, uint64_t key_hash, enum shard_hint step) {
    const struct key *key;
    if (step == SHARD_HINT_PLACE) table_expect(&shard->keys, key_hash);
    if (step == SHARD_HINT_KEY) table_expect_item(&shard->keys, key_hash);
    if (step == SHARD_HINT_CONTENT && (key = table_find(&shard->keys, key_hash, is_any, NULL)) && form_of(key) == FORM_LOOSE) {
        table_fetch(key->name);
        table_fetch(key->string.increments);
        table_fetch(key->string.siblings);
    }
}

static const struct table *fields_of(const struct key *key, enum kind kind) {
    static const struct table none;
    if (form_of(key) != FORM_LOOSE) return &none;
    return kind == KIND_MEMBER ? &key->members : &key->fields;
}

/* ------------------------------------------------------- loose and packed
 * The loose form is made when an element comes to need it, and packed again by settling. */

static struct table *table_for(struct key *key, enum kind kind) {
    assert(form_of(key) == FORM_LOOSE);
    return kind == KIND_MEMBER ? &key->members : &key->fields;
}

/* What is there of a packed item becomes a sibling, and increments. */
static void unpack_into(struct shard *shard, const struct element *from, struct element *e) {
    const struct sibling *s = from->siblings;
    if (from->sibling_count) element_add(e, s->dot, s->clock, bytes_of(s->data, s->len), &shard->account);
    if (!from->increment_count) return;
    size_t bytes = from->increment_count * sizeof *from->increments;
    e->increments = memcpy(mem_take(&shard->account, bytes), from->increments, bytes);
    e->increment_count = from->increment_count;
}

/* The key in loose form: unpacked, or made if old is NULL. */
static struct key *key_loosen(struct shard *shard, struct key *old, struct key_ref ref) {
    if (old && form_of(old) == FORM_LOOSE) return old;
    struct key *key = mem_take(&shard->account, sizeof *key + ref.name.len);
    *key = (struct key){.form = FORM_LOOSE, .hash = ref.hash, .name_len = (uint32_t)ref.name.len};
    if (ref.name.len) memcpy(key->name, ref.name.data, ref.name.len);
    if (!old) {
        table_insert(&shard->keys, ref.hash, key, &shard->account);
        return key;
    }
    struct view view;
    unpack_into(shard, packed_view(old, &view), &key->string);
    unpack_into(shard, packed_view_expiry(old, &view), &key->expiry);
    table_replace(&shard->keys, ref.hash, old, key);
    packed_free(old, &shard->account);
    return key;
}

/* The same for a field; old may be NULL. */
static struct field *field_loosen(struct shard *shard, struct table *table, struct field *old, uint64_t hash,
                                  struct bytes name) {
    struct field *field = mem_take(&shard->account, sizeof *field + name.len);
    *field = (struct field){.form = FORM_LOOSE, .hash = hash, .name_len = (uint32_t)name.len};
    if (name.len) memcpy(field->name, name.data, name.len);
    if (!old) {
        table_insert(table, hash, field, &shard->account);
        return field;
    }
    struct view view;
    unpack_into(shard, packed_view(old, &view), &field->element);
    table_replace(table, hash, old, field);
    packed_free(old, &shard->account);
    return field;
}

static bool element_empty(const struct element *e) { return !e->sibling_count && !e->increment_count; }
static void field_free(struct shard *shard, struct field *field) {
    if (form_of(field) != FORM_LOOSE) {
        packed_free(field, &shard->account);
        return;
    }
    element_fini(&field->element, &shard->account);
    mem_give(&shard->account, field, sizeof *field + field->name_len);
}

static void key_free(struct shard *shard, struct key *key) {
    if (form_of(key) != FORM_LOOSE) {
        packed_free(key, &shard->account);
        return;
    }
    element_fini(&key->string, &shard->account);
    element_fini(&key->expiry, &shard->account);
    mem_give(&shard->account, key, sizeof *key + key->name_len);
}

static bool field_empty(const struct field *field) {
    return form_of(field) == FORM_LOOSE ? element_empty(&field->element) : packed_empty(field);
}

/* Could it be smaller? */
static bool field_packs(const struct field *field) {
    return form_of(field) == FORM_LOOSE ? packed_takes(&field->element) : packed_has_slack(field);
}

static const struct element *element_in(const struct field *field, struct view *view) {
    return form_of(field) == FORM_LOOSE ? &field->element : packed_view(field, view);
}

static bool field_live(const struct field *field) {
    return form_of(field) == FORM_LOOSE ? element_live(&field->element) : packed_live(field);
}

static void note_due(struct shard *shard, const struct key *key);
static void clear_spot(struct shard *shard, struct spot *spot, void *arg);

static void field_settle(struct shard *shard, struct key *key, struct field *field, uint64_t hash) {
    struct table *table = table_for(key, kind_of(hash));
    if (field_empty(field)) {
        table_remove(table, hash, field, &shard->account);
        if (!table->count) table_fini(table, &shard->account);
    } else if (field_packs(field)) {
        struct view view;
        table_replace(table, hash, field, packed_new(field_name(field), element_in(field, &view), NULL, &shard->account));
    } else {
        return;
    }
    field_free(shard, field);
}

/* The key's register, and its expiry; reading only. */
static const struct element *string_of(const struct key *key, struct view *view) {
    return form_of(key) == FORM_LOOSE ? &key->string : packed_view(key, view);
}
static const struct element *expiry_of(const struct key *key, struct view *view) {
    return form_of(key) == FORM_LOOSE ? &key->expiry : packed_view_expiry(key, view);
}

static bool key_has_expiry(const struct key *key) {
    return form_of(key) == FORM_LOOSE ? key->expiry.sibling_count > 0 : form_of(key) & FORM_EXPIRY;
}

static bool key_empty(const struct key *key) {
    if (form_of(key) != FORM_LOOSE) return packed_empty(key);
    return element_empty(&key->string) && element_empty(&key->expiry) && !key->members.count && !key->fields.count;
}

/* Could it be smaller? */
static bool key_packs(const struct key *key) {
    if (form_of(key) != FORM_LOOSE) return packed_has_slack(key);
    return packed_takes(&key->string) && key->expiry.sibling_count <= 1 && !key->members.count && !key->fields.count;
}

bool key_live(const struct key *key) {
    if (form_of(key) != FORM_LOOSE) return packed_live(key);
    return element_live(&key->string) || key->members_live || key->fields_live;
}

bool key_may_count(const struct key *key) { return form_of(key) == FORM_LOOSE || form_of(key) & FORM_COUNTED; }

static void *pack_key(struct shard *shard, const struct key *key) {
    struct view string, expiry;
    return packed_new(key_name(key), string_of(key, &string), expiry_of(key, &expiry), &shard->account);
}

static void count_live(struct shard *shard, bool was_live, bool live) {
    if (live != was_live)
        __atomic_store_n(&shard->live, shard->live + (live ? 1u : (uint64_t)-1), __ATOMIC_RELAXED);
}

static void key_shape(struct shard *shard, struct key *key, uint64_t hash, bool was_live) {
    count_live(shard, was_live, key_live(key));
    if (was_live && !key_live(key) && key_has_expiry(key)) note_due(shard, key);
    if (key_empty(key)) {
        table_remove(&shard->keys, hash, key, &shard->account);
        if (!shard->keys.count) table_fini(&shard->keys, &shard->account);
    } else if (key_packs(key)) {
        table_replace(&shard->keys, hash, key, pack_key(shard, key));
    } else {
        return;
    }
    key_free(shard, key);
}

/* Removal moves slots, so what changes is gathered first. The last go first: nothing behind them has to move. */
static void table_settle(struct shard *shard, struct key *key, enum kind kind) {
    const struct table *table = fields_of(key, kind);
    if (!table->count) return;
    struct field **changes = mem_alloc(table->count * sizeof *changes), *field;
    size_t count = 0, at = 0;
    while ((field = table_next(table, &at))) {
        if (!field_empty(field) && !field_packs(field)) continue;
        if (MUTANT(settle_in_passing)) field_settle(shard, key, field, field_hash(shard, field, kind));
        else changes[count++] = field;
    }
    while (count--) field_settle(shard, key, changes[count], field_hash(shard, changes[count], kind));
    mem_free(changes);
}

void key_settle(struct shard *shard, struct key *key, uint64_t hash, bool was_live) {
    table_settle(shard, key, KIND_MEMBER);
    table_settle(shard, key, KIND_FIELD);
    key_shape(shard, key, hash, was_live);
}

/* ------------------------------------------------------------------- spots */

static void spot_aim(struct spot *spot) {
    enum kind kind = kind_of(spot->field_hash);
    const void *packed = NULL;
    spot->loose = NULL;
    if (kind_has_field(kind) && spot->field && form_of(spot->field) == FORM_LOOSE)
        spot->loose = &spot->field->element;
    else if (kind_has_field(kind))
        packed = spot->field;
    else if (spot->key && form_of(spot->key) == FORM_LOOSE)
        spot->loose = kind == KIND_STRING ? &spot->key->string : &spot->key->expiry;
    else
        packed = spot->key;
    spot->element = spot->loose ? spot->loose : &spot->view.element;
    if (!spot->loose && !packed) spot->view.element = (struct element){0};
    if (packed && kind == KIND_EXPIRY) packed_view_expiry(packed, &spot->view);
    else if (packed) packed_view(packed, &spot->view);
}

/* What it shows is left as it is, until it is aimed. */
static void spot_begin(struct spot *spot, struct key *key, uint64_t key_hash, uint64_t field_hash) {
    spot->key = key;
    spot->field = NULL;
    spot->key_hash = key_hash;
    spot->field_hash = field_hash;
    spot->key_name = spot->field_name = (struct bytes){0};
}

bool spot_find(struct shard *shard, struct key *key, uint64_t hash, uint64_t field, struct spot *out) {
    struct hash_ref ref = {shard, element_of(field)};
    enum kind kind = kind_of(ref.hash);
    assert(kind >= KIND_STRING);
    spot_begin(out, key, hash, ref.hash);
    if (kind == KIND_EXPIRY && !key_has_expiry(key)) return false;
    if (kind_has_field(kind)) {
        out->field = table_find(fields_of(key, kind), ref.hash, same_field_hash, &ref);
        if (!out->field) return false;
    }
    spot_aim(out);
    return true;
}

void spot_make(struct shard *shard, struct key_ref ref, struct key *key, uint64_t field, struct bytes name,
               struct spot *out) {
    uint64_t hash = element_of(field);
    enum kind kind = kind_of(hash);
    spot_begin(out, kind_has_field(kind) ? key_loosen(shard, key, ref) : key, ref.hash, hash);
    out->key_name = ref.name;
    out->field_name = name;
    if (kind_has_field(kind)) out->field = table_find(fields_of(out->key, kind), hash, same_field, &name);
    spot_aim(out);
}

static void *packed_of(const struct spot *spot) { return spot->field ? (void *)spot->field : spot->key; }

void spot_drop_if(struct shard *shard, struct spot *spot, bool (*gone)(struct dot dot, const void *arg), const void *arg) {
    if (spot->loose) {
        element_drop_if(spot->loose, gone, arg, &shard->account);
        return;
    }
    if (!spot->element->sibling_count || !gone(spot->element->siblings[0].dot, arg)) return;
    if (spot->field_hash == KIND_EXPIRY) packed_drop_expiry(spot->key);
    else packed_drop_write(packed_of(spot));
    spot_aim(spot);
}

/* Puts those that are alive under their floors. */
static void spot_reset_increments(struct spot *spot) {
    if (spot->loose) {
        element_reset_increments(spot->loose);
    } else if (spot->element->increment_count) {
        packed_reset(packed_of(spot));
        spot_aim(spot);
    }
}

void spot_drop_increments_if(struct shard *shard, struct spot *spot, bool (*gone)(const struct increment *i, const void *arg), const void *arg) {
    if (spot->loose) {
        element_drop_increments_if(spot->loose, gone, arg, &shard->account);
    } else if (spot->element->increment_count) {
        packed_drop_counts_if(packed_of(spot), gone, arg);
        spot_aim(spot);
    }
}

static void put_packed(struct shard *shard, struct spot *spot, const struct element *e, const struct element *expiry) {
    enum kind kind = kind_of(spot->field_hash);
    bool is_field = kind_has_field(kind);
    uint64_t hash = is_field ? spot->field_hash : spot->key_hash;
    struct bytes name = is_field ? spot->field_name : spot->key_name;
    struct table *table = is_field ? table_for(spot->key, kind) : &shard->keys;
    void *old = is_field ? (void *)spot->field : spot->key, *item = old;
    if (!old)
        table_insert(table, hash, item = packed_new(name, e, expiry, &shard->account), &shard->account);
    else if (!packed_renew(&item, name, e, expiry, &shard->account))
        table_replace(table, hash, old, item);
    if (is_field)
        spot->field = item;
    else
        spot->key = item;
    spot_aim(spot);
}

/* What the element, which is not loose, is from now on, beside what a packed key holds besides. */
static void become(struct shard *shard, struct spot *spot, const struct element *e) {
    struct view view;
    static const struct element nothing;
    if (kind_has_field(kind_of(spot->field_hash)))
        put_packed(shard, spot, e, NULL);
    else if (spot->field_hash == KIND_EXPIRY)
        put_packed(shard, spot, spot->key ? string_of(spot->key, &view) : &nothing, e);
    else
        put_packed(shard, spot, e, spot->key ? expiry_of(spot->key, &view) : NULL);
}

static struct element *spot_loosen(struct shard *shard, struct spot *spot) {
    enum kind kind = kind_of(spot->field_hash);
    if (spot->loose) return spot->loose;
    if (kind_has_field(kind))
        spot->field = field_loosen(shard, table_for(spot->key, kind), spot->field, spot->field_hash, spot->field_name);
    else
        spot->key = key_loosen(shard, spot->key, (struct key_ref){spot->key_name, spot->key_hash});
    spot_aim(spot);
    return spot->loose;
}

void spot_add(struct shard *shard, struct spot *spot, struct dot dot, uint64_t clock, struct bytes value) {
    if (spot->loose || spot->element->sibling_count) {
        element_add(spot_loosen(shard, spot), dot, clock, value, &shard->account);
        return;
    }
    struct sibling one = {dot, clock, (uint8_t *)(uintptr_t)value.data, (uint32_t)value.len};
    struct element with = *spot->element;
    with.siblings = &one;
    with.sibling_count = 1;
    become(shard, spot, &with);
}

/* Where the replica's entry is among those of an element that is not loose, or is to come; NULL: there is no place for it. */
static struct increment *packed_entry(struct spot *spot, uint16_t replica, bool *there) {
    struct increment *counts = spot->view.counts;
    uint32_t count = spot->element->increment_count, at = 0;
    while (at < count && counts[at].replica < replica) at++;
    *there = at < count && counts[at].replica == replica;
    if (!*there && count == PACKED_COUNTS_MAX) return NULL;
    return &counts[at];
}

/* One of its increments is this from now on. */
static void become_with(struct shard *shard, struct spot *spot, struct increment *entry, bool there, const struct increment *joined) {
    struct element with = *spot->element;
    with.increments = spot->view.counts;
    if (!there) memmove(entry + 1, entry, (size_t)(with.increments + with.increment_count++ - entry) * sizeof *entry);
    *entry = *joined;
    become(shard, spot, &with);
}

void spot_join_increment(struct shard *shard, struct spot *spot, const struct increment *from) {
    uint64_t applied = vclock_get(&shard->context.applied, from->replica); /* alone: what FLUSHALL saw runs ahead, and its floors are still to come */
    struct increment joined;
    bool there;
    struct increment *entry = spot->loose ? NULL : packed_entry(spot, from->replica, &there);
    if (entry && !increment_heard(there ? entry : NULL, from, applied, &joined)) return;
    if (entry && packed_takes_count(&joined)) become_with(shard, spot, entry, there, &joined);
    else element_join_increment(spot_loosen(shard, spot), from, applied, &shard->account);
}

static void spot_increase(struct shard *shard, struct spot *spot, uint64_t n, __int128 by) {
    uint16_t self = shard->config.self;
    bool there;
    struct increment *entry = spot->loose ? NULL : packed_entry(spot, self, &there);
    if (!entry) {
        element_increase(spot_loosen(shard, spot), self, n, shard->clock, by, &shard->account);
        return;
    }
    struct increment next = there ? *entry : (struct increment){.replica = self};
    increment_increase(&next, n, shard->clock, by);
    become_with(shard, spot, entry, there, &next);
}

void spot_settle(struct shard *shard, struct spot *spot, bool key_was_live) {
    if (spot->field) field_settle(shard, spot->key, spot->field, spot->field_hash);
    if (spot->key) key_shape(shard, spot->key, spot->key_hash, key_was_live);
}

static uint64_t *cell_of(struct shard *shard, const struct spot *spot) {
    return &shard->cells[cell_index(spot->key_hash, spot->field_hash)];
}

uint64_t spot_hash(const struct shard *shard, const struct spot *spot) {
    return element_hash(spot->element, shard->config.replicas, spot->key_hash, spot->field_hash);
}

static int64_t expiry_at(const uint8_t at[EXPIRY_BYTES]) {
    uint64_t big_endian;
    memcpy(&big_endian, at, sizeof big_endian);
    return (int64_t)be64toh(big_endian);
}

static int64_t latest_expiry(const struct element *expiry) {
    if (!expiry->sibling_count) return EXPIRY_NEVER;
    int64_t latest = INT64_MIN;
    for (uint32_t i = 0; i < expiry->sibling_count; i++) {
        int64_t at = expiry_at(expiry->siblings[i].data);
        if (MUTANT(persist_loses) && at == EXPIRY_NEVER && expiry->sibling_count > 1) continue;
        if (MUTANT(shortest_expiry) ? i == 0 || at < latest : at > latest) latest = at;
    }
    return latest;
}

/* -------------------------------------------------------------------- ages */

int age_compare(struct age a, struct age b) {
    if (a.clock != b.clock) return a.clock < b.clock ? -1 : 1;
    return replica_id_compare(a.id, b.id);
}

static void age_raise(struct age *age, uint64_t clock, struct replica_id id) {
    struct age other = {clock, id};
    if (age_compare(other, *age) > 0) *age = other;
}

static void age_element(const struct shard *shard, struct age *age, const struct element *e) {
    const struct sibling *newest = element_newest(e, shard->config.replicas);
    if (newest) age_raise(age, newest->clock, replicas_id(shard->config.replicas, dot_replica(newest->dot)));
    for (uint32_t i = 0; i < e->increment_count; i++)
        if (increment_live(&e->increments[i]))
            age_raise(age, e->increments[i].clock, replicas_id(shard->config.replicas, e->increments[i].replica));
}

struct age shard_age(const struct shard *shard, const struct element *e) {
    struct age age = {0};
    age_element(shard, &age, e);
    return age;
}

static struct newest *newest_of(const struct shard *shard, uint64_t key_hash, enum kind kind) {
    struct clash *c = shard->clash;
    if (!c->there || c->key_hash != key_hash || !kind_has_field(kind)) return NULL;
    return kind == KIND_MEMBER ? &c->members : &c->fields;
}

static void age_goes(struct shard *shard, const struct spot *spot) {
    struct newest *newest = newest_of(shard, spot->key_hash, kind_of(spot->field_hash));
    if (newest && age_compare(shard_age(shard, spot->element), newest->age) == 0) newest->known = false;
}

static void age_comes(struct shard *shard, const struct spot *spot) {
    struct newest *newest = newest_of(shard, spot->key_hash, kind_of(spot->field_hash));
    if (!newest) return;
    struct age age = shard_age(shard, spot->element);
    if (age_compare(age, newest->age) >= 0) *newest = (struct newest){age, true};
}

/* ------------------------------------------------------------ changes */

void spot_open(struct shard *shard, struct spot *spot) {
    spot->was_live = element_live(spot->element);
    spot->was_expiring = spot->element->sibling_count > 0;
    spot->was_timed = spot->field_hash == KIND_EXPIRY && latest_expiry(spot->element) != EXPIRY_NEVER;
    *cell_of(shard, spot) -= spot_hash(shard, spot);
    age_goes(shard, spot);
}

static int by_name(const void *a, const void *b) {
    const struct element_name *x = a, *y = b;
    if (x->key_hash != y->key_hash) return x->key_hash < y->key_hash ? -1 : 1;
    return (x->field_hash > y->field_hash) - (x->field_hash < y->field_hash);
}

static void sort_graves(struct graves *g) {
    size_t kept = 0;
    if (!g->count) return;
    qsort(g->names, g->count, sizeof *g->names, by_name);
    for (size_t i = 0; i < g->count; i++)
        if (i == 0 || by_name(&g->names[i], &g->names[i - 1]) != 0) g->names[kept++] = g->names[i];
    g->count = kept;
}

static void note_grave(struct shard *shard, const struct spot *spot) {
    bool any = false;
    for (uint32_t i = 0; i < spot->element->increment_count && !any; i++)
        any = !increment_live(&spot->element->increments[i]);
    if (!any) return;
    struct graves *g = &shard->fresh;
    /* Repeats go first: while nothing settles, there are never many more than elements. */
    if (g->count == g->cap) sort_graves(g);
    if (g->count * 2 >= g->cap) {
        g->cap = g->cap ? g->cap * 2 : 8;
        g->names = mem_realloc(g->names, g->cap * sizeof *g->names);
    }
    g->names[g->count++] = (struct element_name){spot->key_hash, spot->field_hash};
}

#define HINTS_SPARE 64u /* hints beyond twice the keys before they are renewed */
#define KEYS_A_HINT 4u  /* that are looked at in the time it takes to look one up */

/* A PERSIST whose key is gone is due since it was written: nothing else would remove it. */
static int64_t key_due(const struct key *key) {
    int64_t at = key_expiry(key);
    if (at != EXPIRY_NEVER || key_live(key)) return at;
    struct view view;
    const struct element *expiry = expiry_of(key, &view);
    uint64_t clock = UINT64_MAX;
    for (uint32_t i = 0; i < expiry->sibling_count; i++)
        if (expiry->siblings[i].clock < clock) clock = expiry->siblings[i].clock;
    return expiry->sibling_count ? (int64_t)(clock >> 16) : EXPIRY_NEVER;
}

static void hint_due(struct shard *shard, const struct key *key) {
    int64_t at = key_due(key);
    if (at != EXPIRY_NEVER) due_push(&shard->due, (struct due){at, key_hash(shard, key)});
}

/* By going through all keys: as many as there are hints, or not many more. */
static void renew_from_keys(struct shard *shard) {
    size_t slot = 0;
    struct key *one;
    due_fini(&shard->due);
    while ((one = table_next(&shard->keys, &slot))) hint_due(shard, one);
}

/* By what the hints that there are stand for: whoever is due has one. */
static void renew_from_hints(struct shard *shard) {
    struct due_heap *h = &shard->due;
    size_t kept = 0;
    for (size_t i = 0; i < h->count; i++) {
        struct due hint = h->items[i];
        const struct key *key = shard_key_by_hash(shard, hint.key_hash);
        hint.at_ms = key ? key_due(key) : EXPIRY_NEVER;
        if (hint.at_ms != EXPIRY_NEVER) h->items[kept++] = hint;
    }
    h->count = kept;
    due_order(h);
}

static void note_due(struct shard *shard, const struct key *key) {
    hint_due(shard, key);
    if (shard->due.count <= 2 * shard->expiring + HINTS_SPARE) return;
    if (shard->keys.count <= KEYS_A_HINT * shard->due.count)
        renew_from_keys(shard);
    else
        renew_from_hints(shard);
}

static void close_expiry(struct shard *shard, struct spot *spot) {
    bool expiring = spot->element->sibling_count > 0, timed = latest_expiry(spot->element) != EXPIRY_NEVER;
    shard->expiring += (uint64_t)expiring - (uint64_t)spot->was_expiring;
    __atomic_store_n(&shard->timed, shard->timed + (uint64_t)timed - (uint64_t)spot->was_timed, __ATOMIC_RELAXED);
    if (expiring) note_due(shard, spot->key);
}

void spot_close(struct shard *shard, struct spot *spot) {
    note_grave(shard, spot);
    if (!(MUTANT(cell_missed) && spot->field_hash == KIND_EXPIRY)) *cell_of(shard, spot) += spot_hash(shard, spot);
    if (spot->field_hash == KIND_EXPIRY) close_expiry(shard, spot);
    bool live = element_live(spot->element);
    shard->elements += (uint64_t)live - (uint64_t)spot->was_live;
    if (!spot->field) return;
    age_comes(shard, spot);
    uint32_t *count = kind_of(spot->field_hash) == KIND_MEMBER ? &spot->key->members_live
                                                               : &spot->key->fields_live;
    if (live && !spot->was_live) ++*count;
    if (!live && spot->was_live) {
        assert(*count > 0);
        --*count;
    }
}

static void each_field(struct shard *shard, struct key *key, uint64_t hash, enum kind kind,
                       void (*visit)(struct shard *, struct spot *, void *), void *arg) {
    size_t at = 0;
    struct field *field;
    while ((field = table_next(fields_of(key, kind), &at))) {
        if (visit == clear_spot && !field_live(field)) continue; /* there may be many, and their hashes cost more than a look */
        struct spot spot;
        spot_begin(&spot, key, hash, field_hash(shard, field, kind));
        spot.field = field;
        spot_aim(&spot);
        visit(shard, &spot, arg);
    }
}

void key_each(struct shard *shard, struct key *key,
              void (*visit)(struct shard *, struct spot *, void *), void *arg) {
    uint64_t hash = key_hash(shard, key);
    struct spot spot;
    if (spot_find(shard, key, hash, KIND_STRING, &spot)) visit(shard, &spot, arg);
    if (spot_find(shard, key, hash, KIND_EXPIRY, &spot)) visit(shard, &spot, arg);
    each_field(shard, key, hash, KIND_MEMBER, visit, arg);
    each_field(shard, key, hash, KIND_FIELD, visit, arg);
}

/* --------------------------------------------------------------- life time */

struct shard *shard_new(uint32_t index, const struct shard_config *config) {
    struct shard *shard = mem_zero(1, sizeof *shard);
    shard->index = index;
    shard->config = *config;
    shard->clash = mem_zero(1, sizeof *shard->clash);
    pthread_mutex_init(&shard->lock, NULL);
    return shard;
}

static void free_fields(struct shard *shard, struct table *table) {
    size_t at = 0;
    struct field *field;
    while ((field = table_next(table, &at))) field_free(shard, field);
    table_fini(table, &shard->account);
}

static void log_drop_oldest(struct shard *shard) {
    struct record oldest;
    if (!records_pop(&shard->log, &oldest)) return;
    if (!MUTANT(cut_is_not_forgotten)) vclock_raise(&shard->forgotten, dot_replica(oldest.dot), dot_counter(oldest.dot));
    if (!oldest.flush) return;
    context_fini(&oldest.flush->seen);
    mem_free(oldest.flush);
}

static void shard_clear(struct shard *shard) {
    size_t at = 0;
    struct key *key;
    while ((key = table_next(&shard->keys, &at))) {
        if (form_of(key) == FORM_LOOSE) {
            free_fields(shard, &key->members);
            free_fields(shard, &key->fields);
        }
        key_free(shard, key);
    }
    table_fini(&shard->keys, &shard->account);
    assert(shard->account.bytes == 0);
    while (shard->log.count) log_drop_oldest(shard);
    mem_free(shard->removed);
    mem_free(shard->fresh.names);
    mem_free(shard->settling.names);
    due_fini(&shard->due);
    vclock_fini(&shard->settling_at);
    vclock_fini(&shard->forgotten);
    context_fini(&shard->context);
    *shard->clash = (struct clash){0};
}

void shard_free(struct shard *shard) {
    shard_clear(shard);
    pthread_mutex_destroy(&shard->lock);
    mem_free(shard->clash);
    mem_free(shard);
}

void shard_reset(struct shard *shard, uint16_t self) {
    shard_assert_held(shard);
    uint64_t clock = shard->clock;
    bool holds[SHARD_HOLDERS];
    memcpy(holds, shard->holds, sizeof holds);
    shard_clear(shard);
    memset(&shard->keys, 0, sizeof *shard - offsetof(struct shard, keys));
    shard->clock = clock;
    memcpy(shard->holds, holds, sizeof holds);
    shard->config.self = self;
}

#ifdef LOCKS_CHECKED
static _Thread_local char of_this_thread;

static void note_holder(struct shard *shard, bool held) {
    shard->lock_count += held;
    __atomic_store_n(&shard->holder, held ? &of_this_thread : NULL, __ATOMIC_RELAXED);
}

void shard_assert_held(const struct shard *shard) {
    assert(!shard->config.shared || __atomic_load_n(&shard->holder, __ATOMIC_RELAXED) == &of_this_thread);
}

uint64_t shard_lock_count(const struct shard *shard) {
    shard_assert_held(shard);
    return shard->lock_count;
}
#else
static void note_holder(const struct shard *shard, bool held) { (void)shard, (void)held; }
#endif

void shard_lock(struct shard *shard) {
    pthread_mutex_lock(&shard->lock);
    note_holder(shard, true);
}

void shard_unlock(struct shard *shard) {
    shard_assert_held(shard);
    if (!MUTANT(clock_kept)) shard->clock_held = false;
    note_holder(shard, false);
    pthread_mutex_unlock(&shard->lock);
}

/* --------------------------------------------------------------------- log */

void shard_log_add(struct shard *shard, const struct record *record) {
    records_add(&shard->log, record, shard->config.self);
    for (; shard->log.bytes > shard->config.log_bytes_max; shard->paths.records_cut++) log_drop_oldest(shard);
}

/* ----------------------------------------------------------------- reading */

int64_t key_expiry(const struct key *key) {
    if (form_of(key) != FORM_LOOSE) {
        const uint8_t *at = packed_expiry(key);
        return at ? expiry_at(at) : EXPIRY_NEVER;
    }
    return latest_expiry(&key->expiry);
}

static bool key_visible(const struct key *key, int64_t now_ms) {
    return key_live(key) && key_expiry(key) > now_ms;
}

struct key *shard_find(struct shard *shard, struct key_ref ref, int64_t now_ms) {
    shard_assert_held(shard);
    struct key *key = shard_key_by_ref(shard, ref);
    return key && key_visible(key, now_ms) ? key : NULL;
}

static struct age age_of(const struct shard *shard, const struct key *key, enum key_type type) {
    struct age age = {0};
    struct view view;
    if (type == KEY_STRING) return shard_age(shard, string_of(key, &view));
    enum kind kind = type == KEY_SET ? KIND_MEMBER : KIND_FIELD;
    uint64_t hash = key_hash(shard, key);
    struct newest *newest = newest_of(shard, hash, kind);
    if (!newest) {
        static const struct newest at_most = {.age = {UINT64_MAX, {UINT64_MAX, UINT64_MAX}}};
        *shard->clash = (struct clash){true, hash, at_most, at_most};
        newest = newest_of(shard, hash, kind);
    }
    if (newest->known) return newest->age;
    size_t at = 0;
    struct field *field;
    while ((field = table_next(fields_of(key, kind), &at))) age_element(shard, &age, element_in(field, &view));
    *newest = (struct newest){age, true};
    return age;
}

enum key_type key_type(const struct shard *shard, const struct key *key) {
    shard_assert_held(shard);
    if (form_of(key) != FORM_LOOSE) return key_live(key) ? KEY_STRING : KEY_NONE;
    bool has[4] = {[KEY_STRING] = element_live(&key->string),
                   [KEY_SET] = key->members_live > 0,
                   [KEY_HASH] = key->fields_live > 0};
    enum key_type only = KEY_NONE;
    int count = 0;
    for (enum key_type type = KEY_STRING; type <= KEY_HASH; type++)
        if (has[type]) only = type, count++;
    if (count <= 1 || MUTANT(clash_by_kind)) return only;
    struct age best = {0};
    for (enum key_type type = KEY_STRING; type <= KEY_HASH; type++) {
        if (!has[type]) continue;
        struct age age = age_of(shard, key, type);
        if (age_compare(age, best) > 0) best = age, only = type;
    }
    return only;
}

static struct bytes element_render(const struct shard *shard, const struct element *e, struct scratch *scratch) {
    const struct sibling *base = element_newest(e, shard->config.replicas);
    struct bytes text = base ? bytes_of(base->data, base->len) : bytes_of("0", 1);
    if (!element_has_increments(e)) return text;
    __int128 number = 0;
    if (fixed_parse(text, &number) != STATUS_OK) return text;
    return bytes_of(scratch->text, fixed_print(fixed_add(number, element_sum(e)), scratch->text));
}

struct bytes key_string(const struct shard *shard, const struct key *key, struct scratch *scratch) {
    shard_assert_held(shard);
    struct view view;
    return element_render(shard, string_of(key, &view), scratch);
}

struct bytes field_value(const struct shard *shard, const struct field *field, struct scratch *scratch) {
    shard_assert_held(shard);
    struct view view;
    return element_render(shard, element_in(field, &view), scratch);
}

uint64_t key_field_count(const struct key *key, enum key_type type) {
    if (form_of(key) != FORM_LOOSE) return 0;
    return type == KEY_SET ? key->members_live : key->fields_live;
}

static enum kind kind_for(enum key_type type) { return type == KEY_SET ? KIND_MEMBER : KIND_FIELD; }

struct field *key_field(const struct shard *shard, const struct key *key, enum key_type type, struct bytes name) {
    shard_assert_held(shard);
    uint64_t hash = shard_field_hash(shard, kind_for(type), name);
    struct field *field = table_find(fields_of(key, kind_for(type)), hash, same_field, &name);
    return field && field_live(field) ? field : NULL;
}

struct field *key_field_next(const struct key *key, enum key_type type, size_t *at) {
    struct field *field;
    while ((field = table_next(fields_of(key, kind_for(type)), at)))
        if (field_live(field)) return field;
    return NULL;
}

uint64_t shard_key_count(const struct shard *shard) { return __atomic_load_n(&shard->live, __ATOMIC_RELAXED); }
uint64_t shard_expiring_count(const struct shard *shard) { return __atomic_load_n(&shard->timed, __ATOMIC_RELAXED); }

struct key *shard_key_next(struct shard *shard, size_t *at, int64_t now_ms) {
    shard_assert_held(shard);
    struct key *key;
    while ((key = table_next(&shard->keys, at)))
        if (key_visible(key, now_ms)) return key;
    return NULL;
}

#define RANDOM_TRIES 32

struct key *shard_key_random(struct shard *shard, struct rng *rng, int64_t now_ms) {
    shard_assert_held(shard);
    for (int i = 0; i < RANDOM_TRIES; i++) {
        struct key *key = table_random(&shard->keys, rng);
        if (key && key_visible(key, now_ms)) return key;
    }
    size_t at = shard->keys.count ? (size_t)rng_below(rng, table_end(&shard->keys)) : 0;
    struct key *key = shard_key_next(shard, &at, now_ms);
    at = 0;
    return key ? key : shard_key_next(shard, &at, now_ms);
}

struct field *key_field_random(const struct key *key, enum key_type type, struct rng *rng) {
    const struct table *table = fields_of(key, kind_for(type));
    for (int i = 0; i < RANDOM_TRIES; i++) {
        struct field *field = table_random(table, rng);
        if (field && field_live(field)) return field;
    }
    size_t at = table->count ? (size_t)rng_below(rng, table_end(table)) : 0;
    struct field *field = key_field_next(key, type, &at);
    at = 0;
    return field ? field : key_field_next(key, type, &at);
}

struct key_visit {
    void (*visit)(struct key *key, void *arg);
    void *arg;
    int64_t now_ms;
};

static void visit_visible(void *item, void *arg) {
    const struct key_visit *v = arg;
    if (key_visible(item, v->now_ms)) v->visit(item, v->arg);
}

uint32_t shard_key_scan(struct shard *shard, uint32_t cursor, size_t want, int64_t now_ms,
                        void (*visit)(struct key *key, void *arg), void *arg) {
    shard_assert_held(shard);
    struct key_visit v = {visit, arg, now_ms};
    return table_scan(&shard->keys, cursor, want, visit_visible, &v);
}

struct field_visit {
    void (*visit)(struct field *field, void *arg);
    void *arg;
};

static void visit_live(void *item, void *arg) {
    const struct field_visit *v = arg;
    struct field *field = item;
    if (field_live(field)) v->visit(field, v->arg);
}

uint32_t key_field_scan(const struct key *key, enum key_type type, uint32_t cursor, size_t want,
                        void (*visit)(struct field *field, void *arg), void *arg) {
    struct field_visit v = {visit, arg};
    return table_scan(fields_of(key, kind_for(type)), cursor, want, visit_live, &v);
}

/* ----------------------------------------------------------------- writing */

static uint16_t self_of(const struct shard *shard) { return shard->config.self; }

uint64_t shard_tick(struct shard *shard, int64_t now_ms) {
    shard_assert_held(shard);
    return hlc_tick(&shard->clock, now_ms);
}

void shard_write_at(struct shard *shard, uint64_t clock) {
    shard_assert_held(shard);
    assert(clock >= shard->clock);
    shard->clock = clock;
    shard->clock_held = true;
}

static uint64_t next_dot(struct shard *shard, int64_t now_ms) {
    shard_assert_held(shard);
    uint64_t n = vclock_get(&shard->context.applied, self_of(shard)) + 1;
    context_apply(&shard->context, self_of(shard), n);
    if (!shard->clock_held) hlc_tick(&shard->clock, now_ms);
    if (shard->removed) shard->removed->count = 0;
    return n;
}

static bool see_and_remove(struct dot dot, const void *arg) {
    struct shard *shard = *(struct shard *const *)arg;
    if (dot_replica(dot) == self_of(shard)) return true;
    uint32_t count = shard->removed ? shard->removed->count : 0;
    if (count == shard->removed_cap) {
        shard->removed_cap = shard->removed_cap ? shard->removed_cap * 2 : 8;
        shard->removed = mem_realloc(shard->removed, sizeof *shard->removed + shard->removed_cap * sizeof(struct dot));
    }
    shard->removed->dot[count] = dot;
    shard->removed->count = count + 1;
    return true;
}

/* Removes every dot seen on the element, and puts its increments under their floors. What is dead as it is, and there may be
 * much of it while a member is down, is left to be forgotten by its first reset. */
static void clear_spot(struct shard *shard, struct spot *spot, void *arg) {
    (void)arg;
    if (!element_live(spot->element)) return;
    spot_open(shard, spot);
    spot_drop_if(shard, spot, see_and_remove, &shard);
    if (!(MUTANT(reset_keeps_fields) && spot->field)) spot_reset_increments(spot);
    spot_close(shard, spot);
}

static void log_mutation(struct shard *shard, uint64_t n, uint64_t key_hash, uint64_t field_hash) {
    struct record record = {.dot = dot_make(self_of(shard), n), .key_hash = key_hash, .field_hash = field_hash};
    if (shard->removed) {
        record.removed = shard->removed->dot;
        record.removed_count = shard->removed->count;
    }
    shard_log_add(shard, &record);
}

/* One mutation that removes all that is seen of the key. The key may be gone afterwards. */
static void clear_key(struct shard *shard, struct key *key, int64_t now_ms) {
    bool was_live = key_live(key);
    uint64_t hash = key_hash(shard, key), n = MUTANT(dot_twice) ? shard_own(shard) : next_dot(shard, now_ms);
    key_each(shard, key, clear_spot, NULL);
    log_mutation(shard, n, hash, KIND_KEY);
    key_settle(shard, key, hash, was_live);
}

static bool key_has_leftovers(const struct key *key) {
    if (form_of(key) != FORM_LOOSE) return form_of(key) & (FORM_WRITE | FORM_COUNT | FORM_EXPIRY);
    return key->expiry.sibling_count || key->string.sibling_count || key->members.count || key->fields.count;
}

/* The key to write to, NULL if it is not there. What is expired or left over is removed as
 * observed first; dead increments may stay. */
static struct key *key_for_write(struct shard *shard, struct key_ref ref, int64_t now_ms) {
    struct key *key = shard_key_by_ref(shard, ref);
    if (!key || key_visible(key, now_ms) || !key_has_leftovers(key)) return key;
    clear_key(shard, key, now_ms);
    return shard_key_by_ref(shard, ref);
}

/* Replaces the element's register by one sibling. */
static void write_spot(struct shard *shard, struct key_ref ref, struct key *key, uint64_t field_hash, struct bytes field,
                       struct bytes value, int64_t now_ms) {
    uint64_t n = next_dot(shard, now_ms);
    struct spot spot;
    spot_make(shard, ref, key, field_hash, field, &spot);
    bool was_live = spot.key && key_live(spot.key);
    clear_spot(shard, &spot, NULL);
    spot_open(shard, &spot);
    spot_add(shard, &spot, dot_make(self_of(shard), n), shard->clock, value);
    spot_close(shard, &spot);
    log_mutation(shard, n, ref.hash, field_hash);
    spot_settle(shard, &spot, was_live);
}

static void write_expiry(struct shard *shard, struct key_ref ref, int64_t at_ms, int64_t now_ms) {
    uint8_t text[EXPIRY_BYTES];
    for (int i = 0; i < 8; i++) text[i] = (uint8_t)((uint64_t)at_ms >> (56 - 8 * i));
    write_spot(shard, ref, shard_key_by_ref(shard, ref), KIND_EXPIRY, (struct bytes){0}, bytes_of(text, sizeof text), now_ms);
}

void shard_set(struct shard *shard, struct key_ref ref, struct bytes value, bool keep_ttl, int64_t now_ms) {
    struct key *key = key_for_write(shard, ref, now_ms);
    int64_t at = key ? key_expiry(key) : EXPIRY_NEVER;
    bool others = key && form_of(key) == FORM_LOOSE && (key->members.count || key->fields.count);
    bool has_expiry = key && key_has_expiry(key);
    if (others || (has_expiry && !keep_ttl && !MUTANT(set_keeps_ttl))) {
        clear_key(shard, key, now_ms);
        key = shard_key_by_ref(shard, ref);
    }
    write_spot(shard, ref, key, KIND_STRING, (struct bytes){0}, value, now_ms);
    if (others && keep_ttl && has_expiry) write_expiry(shard, ref, at, now_ms);
}

static void increase(struct shard *shard, struct key_ref ref, enum kind kind, struct bytes field, __int128 by,
                     int64_t now_ms) {
    struct key *key = key_for_write(shard, ref, now_ms);
    uint64_t n = next_dot(shard, now_ms), hash = shard_field_hash(shard, kind, field);
    struct spot spot;
    spot_make(shard, ref, key, hash, field, &spot);
    bool was_live = spot.key && key_live(spot.key);
    spot_open(shard, &spot);
    spot_increase(shard, &spot, n, by);
    spot_close(shard, &spot);
    log_mutation(shard, n, ref.hash, hash);
    spot_settle(shard, &spot, was_live);
}

void shard_increase(struct shard *shard, struct key_ref ref, __int128 by, int64_t now_ms) {
    increase(shard, ref, KIND_STRING_INC, (struct bytes){0}, by, now_ms);
}

void shard_increase_field(struct shard *shard, struct key_ref ref, struct bytes field, __int128 by, int64_t now_ms) {
    increase(shard, ref, KIND_FIELD_INC, field, by, now_ms);
}

void shard_add_member(struct shard *shard, struct key_ref ref, struct bytes member, int64_t now_ms) {
    write_spot(shard, ref, key_for_write(shard, ref, now_ms), shard_field_hash(shard, KIND_MEMBER, member), member,
               (struct bytes){0}, now_ms);
}

void shard_set_field(struct shard *shard, struct key_ref ref, struct bytes field, struct bytes value, int64_t now_ms) {
    write_spot(shard, ref, key_for_write(shard, ref, now_ms), shard_field_hash(shard, KIND_FIELD, field), field, value,
               now_ms);
}

bool shard_remove_field(struct shard *shard, struct key_ref ref, enum key_type type, struct bytes name,
                        int64_t now_ms) {
    struct key *key = shard_find(shard, ref, now_ms);
    if (!key || !key_field(shard, key, type, name)) return false;
    /* The last one takes the key with it, and its expiry: Redis's rule. */
    uint64_t left = (uint64_t)element_live(&key->string) + key->members_live + key->fields_live;
    if (left == 1 && !MUTANT(expiry_stays)) {
        clear_key(shard, key, now_ms);
        return true;
    }
    uint64_t n = next_dot(shard, now_ms), hash = shard_field_hash(shard, kind_for(type), name);
    struct spot spot;
    if (!spot_find(shard, key, ref.hash, hash, &spot)) assert(false);
    clear_spot(shard, &spot, NULL);
    log_mutation(shard, n, ref.hash, hash);
    spot_settle(shard, &spot, true);
    return true;
}

void shard_expire(struct shard *shard, struct key_ref ref, int64_t at_ms, int64_t now_ms) {
    if (shard_find(shard, ref, now_ms)) write_expiry(shard, ref, at_ms, now_ms);
}

/* Who wrote the expiry that counts. */
static uint16_t expiry_origin(const struct key *key) {
    struct view view;
    const struct element *expiry = expiry_of(key, &view);
    int64_t at = key_expiry(key);
    for (uint32_t i = 0; i < expiry->sibling_count; i++)
        if (expiry_at(expiry->siblings[i].data) == at) return dot_replica(expiry->siblings[i].dot);
    return 0;
}

size_t shard_expire_due(struct shard *shard, int64_t now_ms, int64_t grace_ms, size_t max, int64_t *next_ms) {
    shard_assert_held(shard);
    struct due due;
    size_t removed = 0;
    while (removed < max && due_pop(&shard->due, now_ms, &due)) {
        struct key *key = shard_key_by_hash(shard, due.key_hash);
        int64_t at = key ? key_due(key) : EXPIRY_NEVER;
        if (at > now_ms) continue; /* gone, or put off: then there is a later hint */
        if (expiry_origin(key) == self_of(shard) || now_ms - grace_ms >= at) {
            clear_key(shard, key, now_ms);
            removed++;
        } else {
            if (!MUTANT(hint_lost)) due_push(&shard->due, (struct due){at + grace_ms, due.key_hash});
        }
    }
    *next_ms = shard->due.count ? shard->due.items[0].at_ms : EXPIRY_NEVER;
    return removed;
}

bool shard_delete(struct shard *shard, struct key_ref ref, int64_t now_ms) {
    shard_assert_held(shard);
    struct key *key = shard_key_by_ref(shard, ref);
    if (!key) return false;
    bool visible = key_visible(key, now_ms);
    if (visible || key_has_leftovers(key)) clear_key(shard, key, now_ms);
    return visible;
}

/* Dead ones too: whoever has not heard yet what reset them must hear it with the flush. */
static bool counts(const struct key *key) {
    size_t at = 0;
    struct field *field;
    struct view view;
    if (MUTANT(flush_live_only)) return element_has_increments(string_of(key, &view));
    if (!key_may_count(key)) return false;
    if (string_of(key, &view)->increment_count) return true;
    while ((field = table_next(fields_of(key, KIND_FIELD), &at)))
        if (element_in(field, &view)->increment_count) return true;
    return false;
}

/* Increments are reset by floors, which only a DEL of their key carries; all else goes at
 * once, by context. */
void shard_flush(struct shard *shard, int64_t now_ms) {
    size_t count = 0, at = 0;
    struct key **keys = mem_alloc((shard->keys.count + 1) * sizeof *keys), *key;
    while ((key = table_next(&shard->keys, &at))) keys[count++] = key;
    struct flush *flush = mem_zero(1, sizeof *flush);
    for (size_t i = 0; i < count; i++)
        if (counts(keys[i])) {
            clear_key(shard, keys[i], now_ms);
            keys[i] = NULL;
            shard->paths.flush_resets++;
        }
    uint64_t n = next_dot(shard, now_ms);
    while (count--) { /* the last go first: nothing behind them has to move */
        if (!keys[count]) continue;
        bool was_live = key_live(keys[count]);
        uint64_t hash = key_hash(shard, keys[count]);
        key_each(shard, keys[count], clear_spot, NULL);
        key_settle(shard, keys[count], hash, was_live);
    }
    mem_free(keys);
    context_copy(&flush->seen, &shard->context);
    shard_log_add(shard, &(struct record){.dot = dot_make(self_of(shard), n), .field_hash = KIND_FLUSH, .flush = flush});
}

/* --------------------------------------------------------------- replication */

uint64_t shard_own(const struct shard *shard) { return vclock_get(&shard->context.applied, shard->config.self); }
const struct vclock *shard_applied(const struct shard *shard) { return &shard->context.applied; }
const struct shard_paths *shard_paths(const struct shard *shard) { return &shard->paths; }
uint64_t shard_mem_bytes(const struct shard *shard) { return shard->account.bytes + shard->log.bytes; }

uint64_t shard_digest(const struct shard *shard) {
    shard_assert_held(shard);
    return hash_content(bytes_of(shard->cells, sizeof shard->cells), shard->index);
}

static bool in_graves(const struct graves *g, const struct element_name *name) {
    return g->count && bsearch(name, g->names, g->count, sizeof *name, by_name);
}

/* False: not all of it. */
static bool forget_grave(struct shard *shard, const struct element_name *name) {
    struct key *key = shard_key_by_hash(shard, name->key_hash);
    struct spot spot;
    if (!key || !spot_find(shard, key, name->key_hash, name->field_hash, &spot) || !spot.element->increment_count) return true;
    bool was_live = key_live(key);
    spot_drop_increments_if(shard, &spot, increment_over, &shard->context.applied);
    bool all = !element_awaits(spot.element, &shard->context.applied);
    shard->paths.graves_forgotten += all;
    spot_settle(shard, &spot, was_live);
    return all;
}

void shard_hold(struct shard *shard, enum shard_holder holder, uint64_t counter) {
    shard_assert_held(shard);
    shard->holds[holder] = true;
    shard->held[holder] = counter;
}

/* Own records up to here are written by all who hold some. */
static uint64_t written(const struct shard *shard) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < SHARD_HOLDERS; i++)
        if (shard->holds[i] && shard->held[i] < least) least = shard->held[i];
    return least;
}

/* A delta that is still to be written shows what it reset only while that is known here; where the log
 * no longer reaches, an image is written, which needs no memory of it. */
static bool is_reset_unwritten(const struct shard *shard) {
    uint64_t upto = written(shard);
    return vclock_get(&shard->settling_at, shard->config.self) > upto && vclock_get(&shard->forgotten, shard->config.self) <= upto;
}

/* What died before settling_at, and has not been touched since, is dead everywhere: whoever
 * could have raised it has applied its reset, and all that they did before is applied here. */
static void forget_settled(struct shard *shard, const struct vclock *stable) {
    if (!MUTANT(floor_forgotten_early) && !vclock_covers(stable, &shard->settling_at)) return;
    if (is_reset_unwritten(shard)) return;
    sort_graves(&shard->fresh);
    struct graves over = shard->settling;
    size_t kept = 0;
    for (size_t i = 0; i < over.count; i++)
        if ((MUTANT(forget_touched) || !in_graves(&shard->fresh, &over.names[i])) && !forget_grave(shard, &over.names[i]))
            over.names[kept++] = over.names[i];
    over.count = kept;
    shard->settling = shard->fresh;
    shard->fresh = over;
    vclock_fini(&shard->settling_at);
    vclock_copy(&shard->settling_at, &shard->context.applied);
}

bool shard_remembers(const struct shard *shard) {
    shard_assert_held(shard);
    return shard->log.count || shard->fresh.count || shard->settling.count;
}

uint16_t shard_self(const struct shard *shard) { return shard->config.self; }

void shard_stable(struct shard *shard, const struct vclock *stable) {
    shard_assert_held(shard);
    uint64_t upto = written(shard);
    struct dot dot;
    forget_settled(shard, stable);
    while (records_peek(&shard->log, &dot) && (dot_replica(dot) != self_of(shard) || dot_counter(dot) <= upto) &&
           vclock_get(stable, dot_replica(dot)) >= dot_counter(dot))
        log_drop_oldest(shard);
}
