#include "net/command.h"

#include <assert.h>
#include <stdlib.h>

#include "net/resp.h"

const struct command command_table[] = {
#define X(name, arity, flags, first, last, step, handler, summary) \
    {name, arity, flags, first, last, step, handler, summary},
    COMMANDS_STRING(X)
    COMMANDS_KEY(X)
    COMMANDS_HASH(X)
#undef X
};
const size_t command_count = sizeof command_table / sizeof *command_table;

const struct command *command_find(struct bytes name) {
    for (size_t i = 0; i < command_count; i++)
        if (bytes_is(name, command_table[i].name)) return &command_table[i];
    return NULL;
}

/* -------------------------------------------------------------- dispatching */

static int by_index(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

struct locks {
    uint32_t few[16];
    uint32_t *index; /* few, or on the heap; sorted, no repeats */
    size_t count;
};

/* Always in the order of indexes, so that two commands never wait for each other. */
static void lock_keys(struct node *node, const struct command *c, const struct bytes *argv, size_t argc,
                      struct locks *locks) {
    locks->index = locks->few;
    locks->count = 0;
    if (!c->first_key) return;
    size_t last = c->last_key < 0 ? argc - (size_t)-c->last_key : (size_t)c->last_key;
    if (last >= sizeof locks->few / sizeof *locks->few) locks->index = mem_alloc((last + 1) * sizeof *locks->index);
    for (size_t i = (size_t)c->first_key; i <= last; i += (size_t)c->key_step)
        locks->index[locks->count++] = node_shard_of(node, argv[i]);
    if (locks->count > 1) qsort(locks->index, locks->count, sizeof *locks->index, by_index);
    size_t kept = 0;
    for (size_t i = 0; i < locks->count; i++)
        if (i == 0 || locks->index[i] != locks->index[i - 1]) locks->index[kept++] = locks->index[i];
    locks->count = kept;
    for (size_t i = 0; i < kept; i++) node_lock(node, locks->index[i]);
}

static void unlock_keys(struct node *node, struct locks *locks) {
    for (size_t i = locks->count; i > 0; i--) node_unlock(node, locks->index[i - 1]);
    if (locks->index != locks->few) mem_free(locks->index);
}

static void reply_unknown(const struct bytes *argv, size_t argc, struct buf *out) {
    struct buf text = {0};
    buf_printf(&text, "ERR unknown command '%.*s', with args beginning with: ", (int)(argv[0].len > 128 ? 128 : argv[0].len),
               (const char *)argv[0].data);
    for (size_t i = 1; i < argc && text.len < 160; i++)
        buf_printf(&text, "'%.*s' ", (int)(argv[i].len > 128 ? 128 : argv[i].len), (const char *)argv[i].data);
    buf_put_byte(&text, 0);
    resp_error(out, (const char *)text.data);
    buf_fini(&text);
}

void command_run(struct node *node, const struct bytes *argv, size_t argc, struct buf *out) {
    assert(argc > 0);
    const struct command *c = command_find(argv[0]);
    if (!c) {
        reply_unknown(argv, argc, out);
        return;
    }
    bool step_ok = c->key_step < 2 || (argc - (size_t)c->first_key) % (size_t)c->key_step == 0;
    if ((c->arity > 0 && argc != (size_t)c->arity) || argc < (size_t)abs(c->arity) || !step_ok) {
        char text[96];
        struct buf line = {0};
        buf_printf(&line, "ERR wrong number of arguments for '%s' command", c->name);
        memcpy(text, line.data, line.len);
        text[line.len] = 0;
        buf_fini(&line);
        resp_error(out, text);
        return;
    }
    struct call call = {node, argv, argc, out, node_now(node).wall_ms};
    struct locks locks;
    size_t before = out->len;
    lock_keys(node, c, argv, argc, &locks);
    c->handler(&call);
    unlock_keys(node, &locks);
    assert(out->len > before);
}

/* ------------------------------------------------------------- for handlers */

struct place call_place(const struct call *call, struct bytes key) {
    struct shard *shard = call->node->shards[node_shard_of(call->node, key)];
    struct place place = {.shard = shard, .ref = shard_ref(shard, key)};
    place.key = shard_find(shard, place.ref, call->now_ms);
    if (place.key) place.type = key_type(shard, place.key);
    return place;
}

bool call_expects(struct call *call, const struct place *place, enum key_type type) {
    if (!place->key || place->type == type) return true;
    resp_error(call->out, "WRONGTYPE Operation against a key holding the wrong kind of value");
    return false;
}

void reply_syntax(struct call *call) { resp_error(call->out, "ERR syntax error"); }
void reply_not_integer(struct call *call) {
    resp_error(call->out, "ERR value is not an integer or out of range");
}
