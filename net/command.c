#include "net/command.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mutant.h"
#include "net/resp.h"
#include "net/session.h"

const struct command command_table[] = {
#define X(name, arity, flags, first, last, step, handler, summary) \
    {name, arity, flags, first, last, step, handler, summary},
    COMMANDS(X)
#undef X
};
const size_t command_count = sizeof command_table / sizeof *command_table;

/* Names by hash, open addressing; built once, by whoever asks first. */
#define INDEX_SLOTS 1024u
static const struct command *name_index[INDEX_SLOTS];
static pthread_once_t indexed = PTHREAD_ONCE_INIT;
_Static_assert(sizeof command_table / sizeof *command_table < INDEX_SLOTS / 2, "the index stays sparse");

static uint32_t name_slot(struct bytes name) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.len; i++) hash = (hash ^ (name.data[i] | 0x20u)) * 16777619u;
    return (hash ^ hash >> 15) % INDEX_SLOTS;
}

static void build_index(void) {
    for (size_t i = 0; i < command_count; i++) {
        uint32_t slot = name_slot(bytes_str(command_table[i].name));
        while (name_index[slot]) slot = (slot + 1) % INDEX_SLOTS;
        name_index[slot] = &command_table[i];
    }
}

#define NAME_BYTES_MAX 32u

const struct command *command_find(struct bytes name) {
    pthread_once(&indexed, build_index);
    if (name.len > NAME_BYTES_MAX) return NULL;
    for (uint32_t slot = name_slot(name); name_index[slot]; slot = (slot + 1) % INDEX_SLOTS)
        if (bytes_is(name, name_index[slot]->name)) return name_index[slot];
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
    uint64_t lock_count; /* of all of them, when they were taken */
};

/* A count that is no number, or that the arguments do not bear out, is the handler's to refuse. */
static size_t counted_keys(const struct bytes *argv, size_t argc, size_t *at) {
    int64_t count;
    if (argc < 3 || !bytes_to_i64(argv[1], &count) || count < 1 || (uint64_t)count > argc - 2) return 0;
    for (size_t i = 0; i < (size_t)count; i++) at[i] = i + 2;
    return (size_t)count;
}

size_t command_keys(const struct command *c, const struct bytes *argv, size_t argc, size_t *at) {
    size_t count = 0;
    if (!c->first_key) return 0;
    if (c->first_key == KEYS_COUNTED) return counted_keys(argv, argc, at);
    size_t last = c->last_key < 0 ? argc - (size_t)-c->last_key : (size_t)c->last_key;
    for (size_t i = (size_t)c->first_key; i <= last && i < argc; i += (size_t)c->key_step) at[count++] = i;
    return count;
}

/* Always in the order of indexes, so that two commands never wait for each other. */
static void lock_many(struct call *call, const struct command *c, struct locks *locks) {
    size_t *at = mem_alloc((call->argc + 1) * sizeof *at), keys = command_keys(c, call->argv, call->argc, at);
    if (keys > sizeof locks->few / sizeof *locks->few) locks->index = mem_alloc(keys * sizeof *locks->index);
    for (size_t i = 0; i < keys; i++) locks->index[i] = node_shard_of(call->node, call->argv[at[i]]);
    mem_free(at);
    qsort(locks->index, keys, sizeof *locks->index, by_index);
    for (size_t i = 0; i < keys; i++)
        if (i == 0 || locks->index[i] != locks->index[i - 1]) locks->index[locks->count++] = locks->index[i];
    if (MUTANT(lock_first_alone) && locks->count) locks->count = 1;
}

static bool is_first(const struct call *call, struct bytes key) {
    return key.data && key.data == call->first_ref.name.data && key.len == call->first_ref.name.len;
}

static uint64_t lock_count_of(const struct call *call, const struct locks *locks) {
    uint64_t sum = 0;
    for (size_t i = 0; i < locks->count; i++) sum += shard_lock_count(call->node->shards[locks->index[i]]);
    return sum;
}

static void lock_keys(struct call *call, const struct command *c, struct locks *locks) {
    locks->index = locks->few;
    locks->count = locks->lock_count = 0;
    if (!c->first_key) return;
    if (c->first_key == c->last_key && (size_t)c->first_key < call->argc) {
        if (MUTANT(lock_of_another) ? !call->first_ref.name.data : !is_first(call, call->argv[c->first_key]))
            call->first_shard = node_locate(call->node, call->argv[c->first_key], &call->first_ref);
        locks->few[0] = call->first_shard;
        locks->count = 1;
    } else {
        lock_many(call, c, locks);
    }
    for (size_t i = 0; i < locks->count; i++) node_lock(call->node, locks->index[i]);
    locks->lock_count = lock_count_of(call, locks);
}

/* Of two concurrent commands that write the same keys, one wins all of them: its writes carry one
 * clock, though every shard has its own. */
static void hold_clock(const struct call *call, const struct command *c, const struct locks *locks) {
    uint64_t clock = 0;
    if (!(c->flags & COMMAND_WRITE)) return;
    for (size_t i = 0; i < locks->count; i++) {
        uint64_t tick = shard_tick(call->node->shards[locks->index[i]], call->now_ms);
        if (tick > clock) clock = tick;
    }
    for (size_t i = 0; i < locks->count; i++) shard_write_at(call->node->shards[locks->index[i]], clock);
}

void call_unlock(struct call *call, uint32_t shard) {
    if (node_unlock(call->node, shard) && call->session) session_wrote(call->session, shard);
}

static void unlock_keys(struct call *call, struct locks *locks) {
    assert(locks->lock_count == lock_count_of(call, locks)); /* nobody came in between */
    for (size_t i = locks->count; i > 0; i--) call_unlock(call, locks->index[i - 1]);
    if (locks->index != locks->few) mem_free(locks->index);
}

#define SHOWN_BYTES_MAX 128u /* of the name, and of all arguments together */

static void reply_unknown(const struct bytes *argv, size_t argc, struct buf *out) {
    struct buf text = {0};
    buf_printf(&text, "ERR unknown command '%.*s', with args beginning with: ",
               (int)(argv[0].len > SHOWN_BYTES_MAX ? SHOWN_BYTES_MAX : argv[0].len), (const char *)argv[0].data);
    size_t end = text.len + SHOWN_BYTES_MAX;
    for (size_t i = 1; i < argc && text.len < end; i++)
        buf_printf(&text, "'%.*s' ", (int)(argv[i].len > end - text.len ? end - text.len : argv[i].len), (const char *)argv[i].data);
    buf_put_byte(&text, 0);
    resp_error(out, (const char *)text.data);
    buf_fini(&text);
}

static bool arity_fits(const struct command *c, size_t argc) {
    bool steps = c->key_step < 2 || (argc - (size_t)c->first_key) % (size_t)c->key_step == 0;
    return steps && (c->arity > 0 ? argc == (size_t)c->arity : argc >= (size_t)-c->arity);
}

bool command_check(struct call *call, const struct command *c) {
    assert(call->argc > 0);
    if (!c)
        reply_unknown(call->argv, call->argc, call->out);
    else if (!arity_fits(c, call->argc))
        reply_arity(call, c->name);
    else if (c->flags & COMMAND_CLIENT && !call->session)
        resp_error(call->out, "ERR this command needs a connection");
    else
        return true;
    return false;
}

void command_call(struct call *call, const struct command *c) {
    struct locks locks;
    lock_keys(call, c, &locks);
    hold_clock(call, c, &locks);
    c->handler(call);
    unlock_keys(call, &locks);
}

void command_run(struct node *node, const struct bytes *argv, size_t argc, struct buf *out) {
    struct call call = {.node = node, .argv = argv, .argc = argc, .out = out, .now_ms = node_now(node).wall_ms};
    size_t before = out->len;
    const struct command *c = command_find(argv[0]);
    if (command_check(&call, c)) command_call(&call, c);
    assert(out->len > before);
}

/* ------------------------------------------------------------- for handlers */

struct place call_locate(const struct call *call, struct bytes key) {
    struct place place = {.ref = call->first_ref};
    uint32_t index = call->first_shard;
    if (!is_first(call, key)) index = node_locate(call->node, key, &place.ref);
    place.shard = call->node->shards[index];
    return place;
}

struct place call_place(const struct call *call, struct bytes key) {
    struct place place = call_locate(call, key);
    place.key = shard_find(place.shard, place.ref, call->now_ms);
    if (place.key) place.type = key_type(place.shard, place.key);
    return place;
}

void call_place_again(const struct call *call, struct place *place) {
    place->key = shard_find(place->shard, place->ref, call->now_ms);
    place->type = place->key ? key_type(place->shard, place->key) : KEY_NONE;
}

bool call_expects(struct call *call, const struct place *place, enum key_type type) {
    if (!place->key || place->type == type) return true;
    resp_error(call->out, "WRONGTYPE Operation against a key holding the wrong kind of value");
    return false;
}

bool call_fits(struct call *call, uint64_t bytes) {
    bool fits = bytes <= (call->session ? call->session->host->limits.bulk_bytes_max : RESP_BULK_BYTES_MAX);
    if (!fits) resp_error(call->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return fits;
}

#define REPLY_BYTES_MAX (512u << 20) /* where no client sets a limit */

bool call_exceeds(struct call *call, size_t start) {
    size_t most = call->session ? call->session->host->out_bytes_max : REPLY_BYTES_MAX;
    if (call->out->len - start <= most) return false;
    call->out->len = start;
    resp_error(call->out, "ERR the reply would exceed client-output-buffer-limit");
    return true;
}

struct rng call_rng(const struct call *call) {
    struct rng rng;
    rng_seed(&rng, call->node->clock.entropy(call->node->clock.self));
    return rng;
}

bool call_database(struct call *call, struct bytes text) {
    int64_t index;
    if (!bytes_to_i64(text, &index))
        reply_not_integer(call);
    else if (index < INT32_MIN || index > INT32_MAX)
        resp_error(call->out, "ERR value is out of range, value must between -2147483648 and 2147483647");
    else if (index != 0)
        resp_error(call->out, "ERR DB index is out of range");
    else
        return true;
    return false;
}

bool call_is_infinite(struct bytes text) {
    bool sign = text.len && (text.data[0] == '-' || text.data[0] == '+');
    struct bytes word = sign ? bytes_of(text.data + 1, text.len - 1) : text;
    return bytes_is(word, "inf") || bytes_is(word, "infinity");
}

enum status call_decimal(struct bytes text, __int128 *out) {
    return call_is_infinite(text) ? STATUS_ERR_OVERFLOW : fixed_parse(text, out);
}

void reply_syntax(struct call *call) { resp_error(call->out, "ERR syntax error"); }
void reply_not_integer(struct call *call) {
    resp_error(call->out, "ERR value is not an integer or out of range");
}

void reply_arity(struct call *call, const char *name) {
    char text[128];
    snprintf(text, sizeof text, "ERR wrong number of arguments for '%s' command", name);
    resp_error(call->out, text);
}

void reply_subcommand(struct call *call, const char *family) {
    char text[256];
    snprintf(text, sizeof text, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)(call->argv[1].len > 128 ? 128 : call->argv[1].len),
             (const char *)call->argv[1].data, family);
    resp_error(call->out, text);
}

void reply_subcommand_or_arity(struct call *call, const char *family) {
    char text[256];
    snprintf(text, sizeof text, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
             (int)(call->argv[1].len > 128 ? 128 : call->argv[1].len), (const char *)call->argv[1].data, family);
    resp_error(call->out, text);
}

void reply_help(struct call *call, const char *const *lines, size_t count) {
    resp_array(call->out, count);
    for (size_t i = 0; i < count; i++) resp_status(call->out, lines[i]);
}

void reply_expire_time(struct call *call) {
    const struct command *c = command_find(call->argv[0]);
    char text[96];
    snprintf(text, sizeof text, "ERR invalid expire time in '%s' command", c ? c->name : "");
    resp_error(call->out, text);
}
