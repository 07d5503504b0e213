/* What the keeper's files are called, and what their records are: for the keeper, and for who looks at them from outside. */
#ifndef ANNEAL_PERSIST_KEEPER_FILES_H
#define ANNEAL_PERSIST_KEEPER_FILES_H

#include <stdint.h>

#define KEEPER_NAME_BYTES 48
/* Names that nobody else gives: what is covered by a checkpoint is removed by its name. */
#define KEEPER_LOG "anneal-log"
#define KEEPER_CHECKPOINT "anneal-checkpoint"
#define KEEPER_DAMAGE "anneal-damage"
#define KEEPER_CHECKPOINT_TMP KEEPER_CHECKPOINT ".tmp"
#define KEEPER_DOUBT "anneal-doubt" /* empty; there while a write or sync has failed, and no checkpoint made up for it */

/* "what.N", N in 20 digits. */
void keeper_file_name(char out[KEEPER_NAME_BYTES], const char *what, uint64_t number);
/* N, or 0 for any other name. */
uint64_t keeper_file_number(const char *name, const char *what);

/* Their payloads: the header is a line of text (KEEPER_HEADER), images and deltas are as of replay.h, members a table of gossip's. */
enum keeper_record { RECORD_HEADER = 1, RECORD_DELTAS, RECORD_IMAGE, RECORD_RESET, RECORD_END, RECORD_MEMBERS };
#define KEEPER_FORMAT 1u
#define KEEPER_HEADER "anneal %u, cluster %s, %u shards\n" /* the format, the cluster's name, the number of shards */

#endif
