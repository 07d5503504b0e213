/* The state as it is recovered, and beside it what the files say that there is: what is missing between the two is what damage cost. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/mem.h"
#include "net/inspect.h"
#include "persist/replay.h"

#define LOG_BYTES 1 /* of a shard: nobody will ask for its deltas */

void state_init(struct state *s, uint32_t shard_count, struct replicas *replicas) {
    uint16_t self;
    /* Nobody's: nothing is written here. Names are hashed with no cluster's seed, which decides no more than their order. */
    enum status status = replicas_intern(replicas, (struct replica_id){0, 0}, &self);
    struct shard_config config = {.replicas = replicas, .self = status == STATUS_OK ? self : 0, .log_bytes_max = LOG_BYTES};
    *s = (struct state){.replicas = replicas, .shard_count = shard_count, .now_ms = s->now_ms};
    s->shards = mem_zero(shard_count, sizeof *s->shards);
    s->stored = mem_zero(shard_count, sizeof *s->stored);
    for (uint32_t n = 0; n < shard_count; n++) s->shards[n] = shard_new(n, &config);
}

void state_fini(struct state *s) {
    for (uint32_t n = 0; n < s->shard_count; n++) {
        shard_free(s->shards[n]);
        vclock_fini(&s->stored[n]);
    }
    mem_free(s->shards);
    mem_free(s->stored);
    *s = (struct state){.now_ms = s->now_ms};
}

void state_reset(struct state *s) {
    for (uint32_t n = 0; n < s->shard_count; n++) {
        shard_lock(s->shards[n]);
        shard_reset(s->shards[n], shard_self(s->shards[n]));
        shard_unlock(s->shards[n]);
        vclock_fini(&s->stored[n]);
    }
}

/* ----------------------------------------------------------------- reading */

void state_image(struct state *s, struct bytes payload, struct tally *tally) {
    struct replay_counts counts = {0};
    struct replay_sink sink = {.to = {s->shards, s->shard_count, s->replicas}, .now_ms = s->now_ms, .counts = &counts};
    replay_read_image(&sink, payload);
    tally->images += counts.images;
    tally->malformed += counts.malformed;
}

bool state_image_shard(const struct state *s, struct bytes payload, uint32_t *shard) {
    struct wire_reader reader;
    if (wire_open(&reader, payload, s->replicas) != STATUS_OK) return false;
    uint64_t number = wire_read_u64(&reader);
    bool good = !reader.bad && number >= 1 && number <= s->shard_count;
    *shard = good ? (uint32_t)(number - 1) : 0;
    wire_close(&reader);
    return good;
}

/* As replay_read_deltas, which does not tell what it leaves out: a delta begins with the last dot that it brings. */
static enum status take_delta(struct state *s, struct wire_reader *reader, uint64_t number) {
    if (number < 1 || number > s->shard_count) return STATUS_ERR_MALFORMED;
    struct shard *shard = s->shards[number - 1];
    struct wire_reader ahead = *reader; /* shares its ids, and is not closed */
    struct dot last = wire_read_dot(&ahead);
    shard_lock(shard);
    enum status status = shard_read_delta(shard, reader, s->now_ms);
    shard_unlock(shard);
    if (status == STATUS_OK || status == STATUS_ERR_GAP) vclock_raise(&s->stored[number - 1], dot_replica(last), dot_counter(last));
    return status;
}

void state_deltas(struct state *s, struct bytes payload, struct tally *tally) {
    struct wire_reader reader;
    if (wire_open(&reader, payload, s->replicas) != STATUS_OK) {
        tally->malformed++;
        return;
    }
    uint64_t number = wire_read_u64(&reader);
    while (!reader.bad && (number = wire_read_u64(&reader)) != 0) {
        enum status status = take_delta(s, &reader, number);
        tally->gaps += status == STATUS_ERR_GAP;
        if (status != STATUS_OK && status != STATUS_ERR_GAP) reader.bad = true;
    }
    *(reader.bad ? &tally->malformed : &tally->messages) += 1;
    wire_close(&reader);
}

/* ------------------------------------------------------------------ losses */

static uint64_t lacks_of(const struct state *s, uint32_t shard, const struct vclock *of, uint16_t writer) {
    uint64_t has = vclock_get(shard_applied(s->shards[shard]), writer), should = vclock_get(of, writer);
    return should > has ? should - has : 0;
}

void state_lacks(const struct state *s, uint32_t shard, const struct vclock *of, struct loss *loss) {
    uint64_t mutations = 0;
    for (uint32_t w = 0; w < of->count; w++) mutations += lacks_of(s, shard, of, (uint16_t)w);
    loss->mutations += mutations;
    loss->shards += mutations > 0;
}

struct loss state_losses(const struct state *s, void (*say)(void *arg, struct replica_id writer, struct loss loss), void *arg) {
    struct loss all = {0};
    uint32_t writers = 0;
    for (uint32_t n = 0; n < s->shard_count; n++) {
        state_lacks(s, n, &s->stored[n], &all);
        if (s->stored[n].count > writers) writers = s->stored[n].count;
    }
    for (uint32_t w = 1; w < writers && all.mutations; w++) {
        struct loss one = {0};
        for (uint32_t n = 0; n < s->shard_count; n++) {
            uint64_t mutations = lacks_of(s, n, &s->stored[n], (uint16_t)w);
            one.mutations += mutations;
            one.shards += mutations > 0;
        }
        if (one.mutations && say) say(arg, replicas_id(s->replicas, (uint16_t)w), one);
    }
    return all;
}

void state_cost(const struct loss *loss, struct buf *out) {
    if (!loss->mutations)
        buf_put_str(out, "nothing is lost");
    else
        buf_printf(out, "%" PRIu64 " mutations in %u shards are not to be had from here", loss->mutations, loss->shards);
}

/* ------------------------------------------------------------------ values */

uint64_t state_keys(const struct state *s, int64_t now_ms) {
    uint64_t count = 0;
    for (uint32_t n = 0; n < s->shard_count; n++) {
        shard_lock(s->shards[n]);
        for (size_t at = 0; shard_key_next(s->shards[n], &at, now_ms);) count++;
        shard_unlock(s->shards[n]);
    }
    return count;
}

static int by_name(const void *a, const void *b) {
    return bytes_compare(field_name(*(struct field *const *)a), field_name(*(struct field *const *)b));
}

/* Members, or pairs of fields and values, in the order of their names. */
static json_t *fields_of(const struct shard *shard, const struct key *key, enum key_type type) {
    json_t *list = json_array();
    uint64_t count = key_field_count(key, type), got = 0;
    struct field **fields = mem_zero(count, sizeof *fields), *field;
    for (size_t at = 0; got < count && (field = key_field_next(key, type, &at));) fields[got++] = field;
    if (got) qsort(fields, got, sizeof *fields, by_name);
    for (uint64_t n = 0; n < got; n++) {
        struct scratch scratch;
        json_t *name = inspect_json(field_name(fields[n]));
        json_array_append_new(list,
                              type == KEY_SET ? name : json_pack("[o, o]", name, inspect_json(field_value(shard, fields[n], &scratch))));
    }
    mem_free(fields);
    return list;
}

static void dump_key(const struct shard *shard, const struct key *key) {
    static const char *const names[] = {[KEY_STRING] = "string", [KEY_SET] = "set", [KEY_HASH] = "hash"};
    enum key_type type = key_type(shard, key);
    struct scratch scratch;
    json_t *value = type == KEY_STRING ? inspect_json(key_string(shard, key, &scratch)) : fields_of(shard, key, type);
    json_t *line = json_pack("{s:o, s:s, s:o}", "key", inspect_json(key_name(key)), "type", names[type], "value", value);
    if (key_expiry(key) != EXPIRY_NEVER) json_object_set_new(line, "expires_at_ms", json_integer(key_expiry(key)));
    inspect_line(line);
}

void state_dump(const struct state *s, int64_t now_ms) {
    for (uint32_t n = 0; n < s->shard_count; n++) {
        struct key *key;
        shard_lock(s->shards[n]);
        for (size_t at = 0; (key = shard_key_next(s->shards[n], &at, now_ms));) dump_key(s->shards[n], key);
        shard_unlock(s->shards[n]);
    }
}
