/* The packed log against a list of what was put into it.
 *
 * input := step*
 * step  := what, replica, argument */
#include "lattice/records.h"

#include "core/mem.h"
#include "lattice/shard_state.h"
#include "test/fuzz/fuzz.h"

enum { RECORDS_MAX = 500, STEPS_MAX = 1000, REPLICAS = 4, SELF = 1, REMOVED_MAX = 400 };
#define MARKS 8u
enum what { ADD, ADD_NEXT, ADD_REMOVING, POP, LOOK, LOOK_BEYOND, MARK, LOOK_BEYOND_MARK, WHATS };

struct kept {
    struct record record;
    struct dot removed[REMOVED_MAX];
};

struct world {
    struct records log;
    struct kept *kept; /* a queue */
    unsigned first, last;
    uint64_t counter[REPLICAS + 1];
};

/* It is asked only for its size. */
static struct flush saw = {.seen = {.applied.count = 3, .prefix.count = 2, .extra_cap = 5}};

static void add(struct world *w, enum what what, uint16_t replica, uint8_t argument) {
    if (w->last == RECORDS_MAX) return;
    struct kept *k = &w->kept[w->last++];
    enum kind kind = (enum kind)(argument % 8);
    w->counter[replica] += what == ADD ? 1 + (uint64_t)argument * argument * argument : 1;
    k->record = (struct record){.dot = dot_make(replica, w->counter[replica]), .key_hash = (uint64_t)argument * 0x9e3779b97f4a7c15u};
    k->record.field_hash = kind_has_field(kind) ? (k->record.key_hash & ~(uint64_t)KIND_MASK) | kind : kind;
    if (kind == KIND_FLUSH) {
        k->record.flush = &saw;
        k->record.key_hash = 0;
    }
    if (what == ADD_REMOVING) k->record.removed_count = argument * argument % REMOVED_MAX;
    for (uint32_t i = 0; i < k->record.removed_count; i++) k->removed[i] = dot_make((uint16_t)(i + 1), argument + i);
    k->record.removed = k->record.removed_count ? k->removed : NULL;
    records_add(&w->log, &k->record, SELF);
}

static void check_same(const struct record *r, const struct kept *k) {
    CHECK(r->dot.v == k->record.dot.v);
    CHECK(r->key_hash == k->record.key_hash);
    CHECK(r->field_hash == k->record.field_hash);
    CHECK(r->flush == k->record.flush);
}

static void pop(struct world *w) {
    struct record r;
    struct dot dot;
    bool any = w->first < w->last;
    CHECK(records_peek(&w->log, &dot) == any);
    CHECK(records_pop(&w->log, &r) == any);
    if (!any) return;
    CHECK(dot.v == r.dot.v);
    check_same(&r, &w->kept[w->first++]);
}

static void look(const struct world *w) {
    struct record r;
    unsigned at = w->first;
    for (struct records_at place = records_first(&w->log); records_next(&place, &r); at++) {
        CHECK(at < w->last);
        check_same(&r, &w->kept[at]);
        CHECK(r.removed_count == w->kept[at].record.removed_count);
        for (uint32_t i = 0; i < r.removed_count; i++) CHECK(record_removed(&r, i).v == w->kept[at].removed[i].v);
    }
    CHECK(at == w->last);
    CHECK(w->log.count == w->last - w->first);
}

/* Every own record beyond, in order; others may come in between. */
static void look_beyond(const struct world *w, uint64_t after) {
    struct record r;
    unsigned at = w->first;
    for (struct records_at place = records_own_beyond(&w->log, after); records_next(&place, &r);) {
        if (dot_replica(r.dot) != SELF || dot_counter(r.dot) <= after) continue;
        while (at < w->last && (dot_replica(w->kept[at].record.dot) != SELF || dot_counter(w->kept[at].record.dot) <= after)) at++;
        CHECK(at < w->last);
        check_same(&r, &w->kept[at++]);
    }
    for (; at < w->last; at++) CHECK(dot_replica(w->kept[at].record.dot) != SELF || dot_counter(w->kept[at].record.dot) <= after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    static struct kept kept[RECORDS_MAX];
    struct world w = {.kept = kept};
    uint64_t marked[MARKS] = {0};
    unsigned mark = 0;
    for (int i = 0; i < STEPS_MAX && in.left; i++) {
        enum what what = (enum what)input_below(&in, WHATS);
        uint16_t replica = (uint16_t)(1 + input_below(&in, REPLICAS));
        uint8_t argument = input_byte(&in);
        if (what == POP)
            for (unsigned n = 0; n <= argument % 64u; n++) pop(&w);
        else if (what == LOOK)
            look(&w);
        else if (what == LOOK_BEYOND)
            look_beyond(&w, w.counter[SELF] * argument / 256);
        else if (what == MARK)
            records_mark(&w.log, marked[mark++ % MARKS] = w.counter[SELF]);
        else if (what == LOOK_BEYOND_MARK)
            look_beyond(&w, marked[argument % MARKS]);
        else
            add(&w, what, replica, argument);
    }
    look(&w);
    while (w.first < w.last) pop(&w);
    CHECK(w.log.bytes == 0 && w.log.count == 0);
    return 0;
}

void fuzz_seeds(void) {
    for (uint8_t i = 0; i < 6; i++) {
        struct buf seed = {0};
        for (unsigned k = 0; k < 300; k++)
            buf_put(&seed, (uint8_t[]){(uint8_t)(k % 11 == 10 ? POP + i % 5 : i % 3), (uint8_t)(i < 3 ? 0 : k / 5), (uint8_t)(k * 13)}, 3);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
