#include "test/fuzz/recount.h"

#include "lattice/shard_state.h"
#include "lattice/varint.h"
#include "test/fuzz/fuzz.h"

struct count {
    uint64_t cells[SHARD_CELLS];
    uint64_t elements, live, expiring;
    struct mem_account account;
};

static void add_piece(struct count *c, size_t bytes) {
    c->account.bytes += bytes;
    c->account.pieces++;
}

static void count_element_memory(struct count *c, const struct element *e) {
    if (e->sibling_count) add_piece(c, e->sibling_count * sizeof *e->siblings);
    for (uint32_t i = 0; i < e->sibling_count; i++) {
        CHECK((e->siblings[i].data != NULL) == (e->siblings[i].len > 0));
        CHECK(i == 0 || e->siblings[i - 1].dot.v < e->siblings[i].dot.v);
        if (e->siblings[i].len) add_piece(c, e->siblings[i].len);
    }
    if (e->increment_count) add_piece(c, e->increment_count * sizeof *e->increments);
    for (uint32_t i = 1; i < e->increment_count; i++) CHECK(e->increments[i - 1].replica < e->increments[i].replica);
}

static bool fits_one_piece(const struct element *e) {
    for (uint32_t i = 0; i < e->increment_count; i++)
        if (!e->increments[i].floor_n && e->increments[i].floor) return false;
    return e->sibling_count < 2 && e->increment_count <= PACKED_COUNTS_MAX;
}

static size_t dot_bytes(struct dot dot) { return varint_len(dot_replica(dot)) + varint_len(dot_counter(dot)) + 8; }

static size_t number_bytes(__int128 number) {
    size_t bytes = 1;
    while (bytes < 16 && (number < -((__int128)1 << (8 * bytes - 1)) || number >= (__int128)1 << (8 * bytes - 1))) bytes++;
    return 1 + bytes;
}

static size_t count_bytes(const struct increment *i) {
    return dot_bytes(dot_make(i->replica, i->n)) + varint_len(i->gen) + number_bytes(i->total) + varint_len(i->floor_n) +
           (i->floor_n ? number_bytes(i->floor) : 0);
}

/* As packed.h draws it, with no place for what was dropped; but counts that were reset where they lie have their floors of before. */
static void count_packed(struct count *c, const void *packed, struct bytes name) {
    struct view view;
    unsigned form = form_of(packed);
    size_t bytes = 1 + varint_len(name.len) + name.len, counts = 0;
    CHECK(form & FORM_PACKED && !(form & FORM_HOLES));
    CHECK(!(form & FORM_TIMED) == !(form & FORM_EXPIRY) && !(form & FORM_WRITTEN) == !(form & FORM_WRITE));
    const struct element *e = packed_view_expiry(packed, &view);
    c->expiring += e->sibling_count;
    if (e->sibling_count) bytes += EXPIRY_BYTES + dot_bytes(e->siblings->dot);
    e = packed_view(packed, &view);
    CHECK(!(form & FORM_COUNTED) == !e->increment_count && !(form & FORM_WRITE) == !e->sibling_count);
    CHECK(!(form & FORM_COUNT) == !element_has_increments(e));
    if (e->sibling_count) bytes += varint_len(e->siblings->len) + dot_bytes(e->siblings->dot) + e->siblings->len;
    for (uint32_t i = 0; i < e->increment_count; i++) counts += count_bytes(&e->increments[i]);
    if (counts) bytes += varint_len(counts) + counts;
    bool reset = form & FORM_COUNTED && !(form & FORM_COUNT);
    CHECK(reset || packed_size(packed) == bytes);
    add_piece(c, packed_size(packed));
}

static void count_spot(struct shard *shard, struct spot *spot, void *arg) {
    struct count *c = arg;
    c->cells[cell_index(spot->key_hash, spot->field_hash)] += spot_hash(shard, spot);
    c->elements += element_live(spot->element);
}

/* Slots are in the order of their tags, none before its home and none behind a gap. */
static void check_table(const struct table *t, struct count *c) {
    uint64_t count = 0;
    if (!t->slots) {
        CHECK(!t->count);
        return;
    }
    add_piece(c, table_end(t) * sizeof *t->slots);
    for (size_t at = 0; at < table_end(t); at++) {
        if (!t->slots[at]) continue;
        uint32_t tag = table_slot_tag(t->slots[at]);
        count++;
        CHECK(table_home(t, tag) <= at);
        for (size_t i = table_home(t, tag); i < at; i++) CHECK(t->slots[i] && table_slot_tag(t->slots[i]) <= tag);
    }
    CHECK(count == t->count);
}

static uint32_t count_fields(struct count *c, const struct table *t, unsigned kind) {
    uint32_t live = 0;
    size_t at = 0;
    struct field *field;
    check_table(t, c);
    while ((field = table_next(t, &at))) {
        if (form_of(field) != FORM_LOOSE) {
            count_packed(c, field, field_name(field));
            live += packed_live(field);
            continue;
        }
        const struct element *e = &field->element;
        CHECK((field->hash & KIND_MASK) == kind);
        CHECK(e->sibling_count || e->increment_count);
        CHECK(!fits_one_piece(e));
        add_piece(c, sizeof *field + field->name_len);
        count_element_memory(c, e);
        live += element_live(e);
    }
    return live;
}

static bool has_hint(const struct shard *shard, uint64_t key_hash) {
    for (size_t i = 0; i < shard->due.count; i++)
        if (shard->due.items[i].key_hash == key_hash) return true;
    return false;
}

static void count_loose(struct count *c, const struct key *key) {
    bool has_more = key->expiry.sibling_count > 1 || key->members.count || key->fields.count;
    CHECK(has_more || !fits_one_piece(&key->string));
    CHECK(!key->expiry.increment_count);
    add_piece(c, sizeof *key + key->name_len);
    count_element_memory(c, &key->string);
    count_element_memory(c, &key->expiry);
    CHECK(count_fields(c, &key->members, KIND_MEMBER) == key->members_live);
    CHECK(count_fields(c, &key->fields, KIND_FIELD) == key->fields_live);
    c->expiring += key->expiry.sibling_count > 0;
}

void recount_shard(struct shard *shard) {
    struct count c = {0};
    size_t at = 0;
    struct key *key;
    check_table(&shard->keys, &c);
    while ((key = table_next(&shard->keys, &at))) {
        uint64_t hash = key_hash(shard, key);
        CHECK(shard_ref(shard, key_name(key)).hash == hash);
        CHECK(shard_key_by_hash(shard, hash) == key);
        uint64_t expiring = c.expiring;
        c.live += key_live(key);
        if (form_of(key) == FORM_LOOSE)
            count_loose(&c, key);
        else
            count_packed(&c, key, key_name(key));
        bool is_left_over = !key_live(key) && c.expiring > expiring;
        if (key_expiry(key) != EXPIRY_NEVER || is_left_over) CHECK(has_hint(shard, hash));
        key_each(shard, key, count_spot, &c);
    }
    CHECK(memcmp(c.cells, shard->cells, sizeof c.cells) == 0);
    CHECK(c.live == shard->live);
    CHECK(c.elements == shard->elements);
    CHECK(c.expiring == shard->expiring);
    CHECK(c.account.bytes == shard->account.bytes);
    CHECK(c.account.pieces == shard->account.pieces);
}

void recount_node(struct node *node) {
    for (uint32_t i = 0; i < node->shard_count; i++) {
        shard_lock(node->shards[i]);
        recount_shard(node->shards[i]);
        shard_unlock(node->shards[i]);
    }
}

/* ---------------------------------------------------------------- printing */

static int by_text(const void *a, const void *b) { return bytes_compare(buf_bytes(a), buf_bytes(b)); }

/* Frees the lines. */
static void put_sorted(struct buf *lines, size_t count, struct buf *out) {
    if (count) qsort(lines, count, sizeof *lines, by_text);
    for (size_t i = 0; i < count; i++) {
        buf_put_bytes(out, buf_bytes(&lines[i]));
        buf_fini(&lines[i]);
    }
    mem_free(lines);
}

static void print_fields(struct shard *shard, const struct key *key, enum key_type type, struct buf *out) {
    uint64_t count = key_field_count(key, type);
    struct buf *lines = mem_zero(count, sizeof *lines);
    struct field *field;
    size_t at = 0, n = 0;
    while ((field = key_field_next(key, type, &at))) {
        struct scratch scratch;
        CHECK(n < count);
        buf_put_bytes(&lines[n], field_name(field));
        buf_put_str(&lines[n], " = ");
        if (type == KEY_HASH) buf_put_bytes(&lines[n], field_value(shard, field, &scratch));
        buf_put_byte(&lines[n++], '\n');
    }
    CHECK(n == count);
    put_sorted(lines, n, out);
}

static void print_key(struct shard *shard, const struct key *key, struct buf *out) {
    struct scratch scratch;
    enum key_type type = key_type(shard, key);
    buf_put_bytes(out, key_name(key));
    buf_printf(out, " of type %d until %lld\n", (int)type, (long long)key_expiry(key));
    if (type == KEY_STRING)
        buf_put_bytes(out, key_string(shard, key, &scratch));
    else
        print_fields(shard, key, type, out);
    buf_put_byte(out, '\n');
}

void recount_print(struct shard *shard, int64_t now_ms, struct buf *out) {
    struct buf *lines = mem_zero(shard->keys.count, sizeof *lines);
    struct key *key;
    size_t at = 0, n = 0;
    while ((key = shard_key_next(shard, &at, now_ms))) print_key(shard, key, &lines[n++]);
    put_sorted(lines, n, out);
}
