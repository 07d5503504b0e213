/* A file of records that survives what disks do: torn ends, bytes that rot.
 *
 *   record := "ANRL" length:4 kind:2 check:2 crc:4 payload    little-endian; length is the payload's
 *
 * `check` is of length and kind, so that no reader trusts a length that rotted; `crc` (CRC-32C)
 * is of them and the payload. A reader that meets something else looks for the next whole
 * record: what it skips before one is damage, what it skips to the end is the torn tail of a
 * write that never finished.
 *
 * Writing has three steps, so that many clients share a sync: add (memory), write (to the
 * operating system: survives the process), sync (survives the machine). Steps that several
 * threads ask for at once are done by one of them for all.
 * A step that fails leaves the journal failed: it takes nothing more until journal_start, after
 * which the caller, who must know of the failure, must put all that it wants to keep into other files. */
#ifndef ANNEAL_PERSIST_JOURNAL_H
#define ANNEAL_PERSIST_JOURNAL_H

#include "persist/disk.h"

#define JOURNAL_HEADER_BYTES 16u
#define JOURNAL_PAYLOAD_BYTES_MAX ((size_t)1 << 31)

struct journal;
/* The port is copied. */
struct journal *journal_new(const struct disk_port *disk);
void journal_free(struct journal *j); /* what was only added is lost */

/* Goes on in a new file; what was written to the old one is synced, what was only added goes to the new one. If it cannot be synced,
 * the journal has failed, and does not go on unless the caller knows (`lose`) and makes up for it: then it is lost, and said to be to
 * those who wait for it. By one thread at a time. */
enum status journal_start(struct journal *j, const char *name, bool lose) MUST_CHECK;
/* Any thread. Dropped while no file is open or the journal has failed. */
void journal_add(struct journal *j, uint16_t kind, struct bytes payload);
/* Any thread. All that was added before the call is written, and synced. */
enum status journal_write(struct journal *j) MUST_CHECK;
enum status journal_sync(struct journal *j) MUST_CHECK;
/* Any thread. */
enum status journal_status(struct journal *j);
uint64_t journal_bytes(struct journal *j); /* of the file, with what is only added */

struct journal_report {
    uint64_t records, bytes; /* whole ones */
    uint64_t damaged, damaged_bytes; /* places where something was skipped */
    uint64_t torn_bytes;
};
/* Visits every whole record in order; `refused` (may be NULL) is told where something was skipped, before the
 * record behind it. Payloads live during the visit. False from a visit ends the reading. An error that is the
 * disk's: what is behind it was not read, and is not damage. */
enum status journal_read(const struct disk_port *disk, const char *name,
                         bool (*visit)(void *arg, uint16_t kind, struct bytes payload),
                         void (*refused)(void *arg, uint64_t at, uint64_t len), void *arg,
                         struct journal_report *report) MUST_CHECK;

#endif
