/* The table against a list: what is in it is found, in the order of tags, and a scan visits what was
 * there all the while, however the table grows and shrinks meanwhile.
 *
 * input := spread step*
 * step  := what, argument [2 bytes of a hash] */
#include "core/table.h"

#include "test/fuzz/fuzz.h"

enum { ITEMS_MAX = 300, STEPS_MAX = 500 };
enum what { INSERT, INSERT_MANY, REMOVE, REMOVE_MANY, REPLACE, SCAN, SCAN_AGAIN, RANDOM, WHATS };

struct item {
    uint64_t hash;
    bool since_start, visited; /* of the scan under way */
};

struct world {
    struct table table;
    struct mem_account account;
    struct item *items[ITEMS_MAX];
    unsigned count, spread;
    uint32_t cursor;
};

static bool is_item(void *item, const void *arg) { return item == arg; }

static void insert(struct world *w, uint64_t place) {
    if (w->count == ITEMS_MAX) return;
    struct item *item = mem_zero(1, sizeof *item);
    /* Wide, or many in the same places; also at the very end. */
    item->hash = w->spread < 48 ? place << (63 - w->spread) : UINT64_MAX - (place & 3);
    table_insert(&w->table, item->hash, item, &w->account);
    w->items[w->count++] = item;
}

static void take_out(struct world *w, unsigned at) {
    struct item *item = w->items[at];
    table_remove(&w->table, item->hash, item, &w->account);
    w->items[at] = w->items[--w->count];
    mem_free(item);
}

static void replace(struct world *w, unsigned at) {
    struct item *old = w->items[at], *fresh = mem_alloc(sizeof *fresh);
    *fresh = *old;
    table_replace(&w->table, old->hash, old, fresh);
    w->items[at] = fresh;
    mem_free(old);
}

static void visit(void *item, void *arg) {
    ((struct item *)item)->visited = true;
    ++*(unsigned *)arg;
}

static void start_scan(struct world *w) {
    w->cursor = 0;
    for (unsigned i = 0; i < w->count; i++) w->items[i]->since_start = true, w->items[i]->visited = false;
}

static void scan(struct world *w, unsigned want) {
    unsigned visited = 0;
    uint32_t next = table_scan(&w->table, w->cursor, want, visit, &visited);
    CHECK(next > w->cursor || next == TABLE_TAGS || want == 0);
    CHECK(visited >= want || next == TABLE_TAGS);
    w->cursor = next;
    if (next != TABLE_TAGS) return;
    for (unsigned i = 0; i < w->count; i++) CHECK(w->items[i]->visited || !w->items[i]->since_start);
    start_scan(w);
}

static void check(const struct world *w) {
    size_t at = 0;
    unsigned count = 0;
    uint32_t tag = 0;
    struct item *item;
    while ((item = table_next(&w->table, &at))) {
        CHECK(table_tag(item->hash) >= tag);
        tag = table_tag(item->hash);
        count++;
    }
    CHECK(count == w->count && count == w->table.count);
    for (unsigned i = 0; i < w->count; i++) CHECK(table_find(&w->table, w->items[i]->hash, is_item, w->items[i]) == w->items[i]);
    CHECK(!table_find(&w->table, 0x123456789abcdef0u, is_item, w));
}

static void step(struct world *w, struct input *in, struct rng *rng) {
    enum what what = (enum what)input_below(in, WHATS);
    unsigned argument = input_byte(in);
    uint64_t place;
    switch (what) {
    case INSERT: insert(w, argument << 8 | input_byte(in)); break;
    case INSERT_MANY:
        if (argument % 2) table_reserve(&w->table, w->count + argument, &w->account);
        for (place = input_byte(in); argument--; place += 257) insert(w, place * place);
        break;
    case REMOVE:
        if (w->count) take_out(w, argument % w->count);
        break;
    case REMOVE_MANY:
        while (argument-- && w->count) take_out(w, (argument * 7) % w->count);
        break;
    case REPLACE:
        if (w->count) replace(w, argument % w->count);
        break;
    case RANDOM: CHECK((table_random(&w->table, rng) != NULL) == (w->count > 0)); break;
    default: scan(w, argument % 32); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    struct world w = {.spread = input_below(&in, 64)};
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < STEPS_MAX && in.left; i++) {
        step(&w, &in, &rng);
        if (i % 32 == 0) check(&w);
    }
    check(&w);
    while (w.count) take_out(&w, w.count - 1);
    table_fini(&w.table, &w.account);
    CHECK(w.account.bytes == 0 && w.account.pieces == 0);
    return 0;
}

void fuzz_seeds(void) {
    static const uint8_t spreads[] = {0, 7, 15, 23, 47, 63};
    for (size_t i = 0; i < sizeof spreads; i++) {
        struct buf seed = {0};
        buf_put_byte(&seed, spreads[i]);
        for (unsigned k = 0; k < 40; k++) {
            buf_put(&seed, (uint8_t[]){(uint8_t)(k % 5 ? INSERT : INSERT_MANY), (uint8_t)(k * 5), (uint8_t)(k * 11)}, 3);
            buf_put(&seed, (uint8_t[]){SCAN, (uint8_t)k, (uint8_t)(k % 7 ? REMOVE : REMOVE_MANY), (uint8_t)(k * 3)}, 4);
        }
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
