/* What replicas of a shard tell each other, for tests that play the network between them. What honest replicas never do ends
 * the test. */
#ifndef ANNEAL_TEST_EXCHANGE_H
#define ANNEAL_TEST_EXCHANGE_H

#include <assert.h>

#include "lattice/shard.h"

/* The asker's summary as the other side reads it. */
static inline void exchange_summary(struct replicas *asker, const struct shard_summary *asked, struct replicas *other, struct shard_summary *out) {
    struct wire_writer writer;
    struct wire_reader reader;
    struct buf bytes = {0};
    wire_init(&writer, asker);
    shard_write_summary(&writer, asked);
    wire_finish(&writer, &bytes);
    wire_fini(&writer);
    enum status status = wire_open(&reader, buf_bytes(&bytes), other);
    assert(status == STATUS_OK);
    bool read = shard_read_summary(&reader, out);
    assert(read);
    assert(reader.at == reader.end);
    wire_close(&reader);
    buf_fini(&bytes);
}

/* What all members have said to have applied of a replica: heard has a vector of each. */
static inline uint64_t exchange_stable(const struct vclock *heard, size_t members, uint16_t replica) {
    uint64_t least = UINT64_MAX;
    for (size_t of = 0; of < members; of++) {
        uint64_t one = vclock_get(&heard[of], replica);
        if (one < least) least = one;
    }
    return least;
}

#endif
