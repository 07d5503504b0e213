/* msgpack, as this project speaks it: a writer, and a bounded reader of untrusted bytes.
 *
 * A message is a dictionary of 16-byte replica ids and a body in which a dot is (index in the
 * dictionary, counter): indexes of one node mean nothing to another. The writer packs with
 * msgpack-c. The reader is a cursor of our own, because msgpack-c reserves memory by the
 * counts that a message declares; it allocates nothing by what is declared, and its `bad`
 * flag is sticky: read on, then look once. */
#ifndef ANNEAL_LATTICE_WIRE_H
#define ANNEAL_LATTICE_WIRE_H

#include "core/bytes.h"
#include "core/status.h"
#include "lattice/dot.h"

struct wire_writer {
    const struct replicas *replicas;
    struct buf body;
    uint16_t *ids; /* replica indexes in the order of the dictionary */
    uint32_t id_count;
    uint16_t *places; /* by replica index, its place in ids, from 1; 0: none */
    uint32_t place_count;
};

void wire_init(struct wire_writer *writer, const struct replicas *replicas);
void wire_fini(struct wire_writer *writer);
void wire_u64(struct wire_writer *writer, uint64_t value);
void wire_bytes(struct wire_writer *writer, struct bytes bytes);
void wire_fixed(struct wire_writer *writer, __int128 value);
void wire_dot(struct wire_writer *writer, struct dot dot);
void wire_vclock(struct wire_writer *writer, const struct vclock *v);
void wire_context(struct wire_writer *writer, const struct context *context);
/* Appends dictionary and body to out. */
void wire_finish(struct wire_writer *writer, struct buf *out);

struct wire_reader {
    const uint8_t *at, *end;
    bool bad;
    uint16_t *ids; /* owned: our index of each entry of the dictionary */
    uint32_t id_count;
};

/* Views into message, which must outlive the reader. STATUS_ERR_MALFORMED, or
 * STATUS_ERR_LIMIT when our table of replicas is full; the reader needs no fini then. */
enum status wire_open(struct wire_reader *reader, struct bytes message, struct replicas *replicas) MUST_CHECK;
void wire_close(struct wire_reader *reader);
/* Each gives 0 or empty and sets bad when it does not read what it should. */
uint64_t wire_read_u64(struct wire_reader *reader);
struct bytes wire_read_bytes(struct wire_reader *reader);
__int128 wire_read_fixed(struct wire_reader *reader);
struct dot wire_read_dot(struct wire_reader *reader); /* never of replica 0 */
void wire_read_vclock(struct wire_reader *reader, struct vclock *into); /* raises into */
/* into must be {0}; false, and bad, if it is malformed. */
bool wire_read_context(struct wire_reader *reader, struct context *into);

#endif
