/* Options: one table declares each, and parsing, --help, CONFIG GET, SET and REWRITE follow
 * from it. The form is redis.conf's: "name value" a line, '#' comments, "quoted values" with
 * escapes as in redis-cli; on the command line "--name value". An unknown name or a bad value
 * is an error that names the source and the line.
 *
 * Threads: config_new and the loads come before any thread. After that any thread may read, set
 * and rewrite: numbers are atomic, strings are copied out under a lock, setters take turns. */
#ifndef ANNEAL_CORE_CONFIG_H
#define ANNEAL_CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/status.h"

enum config_kind {
    CONFIG_BOOL,    /* yes | no */
    CONFIG_INTEGER, /* within [least, most] */
    CONFIG_BYTES,   /* the same, with k, kb, m, mb, g, gb as in redis.conf */
    CONFIG_STRING,
    CONFIG_CHOICE,  /* one of `choices`, "debug|verbose|notice"; its number is its index */
};

enum config_flag {
    CONFIG_LIVE = 1,   /* may be set while running */
    CONFIG_SECRET = 2, /* never logged, nor told to clients */
};

struct config_option {
    const char *name;
    enum config_kind kind;
    unsigned flags;
    const char *initial; /* in the text form */
    int64_t least, most;
    const char *choices;
    const char *help;
};

struct config;

/* The table outlives it. An initial value that does not parse is a programmer's error. */
struct config *config_new(const struct config_option *table, size_t count);
void config_free(struct config *config);

/* Failure: ERR_INVALID and one line of explanation in *error ("anneal.conf:12: ..."). Later
 * values win. Repeating a name within one source is allowed, as in redis.conf. */
enum status config_load_text(struct config *config, const char *source, struct bytes text, struct buf *error) MUST_CHECK;
/* "--name value ..." ; argv holds the arguments only. */
enum status config_load_args(struct config *config, int argc, char *const *argv, struct buf *error) MUST_CHECK;
struct config_pair {
    struct bytes name, value;
};
/* While running, all or none: everything is judged before anything is assigned, so no reader ever
 * sees a value that is then taken back. ERR_NOT_FOUND for an unknown name; ERR_INVALID for a bad
 * value, an option that is not live, or one named twice, and why in *error. *failed: which pair. */
enum status config_set(struct config *config, const struct config_pair *pairs, size_t count, size_t *failed,
                       struct buf *error) MUST_CHECK;

/* By index in the table. */
bool config_bool(const struct config *config, int option);
int64_t config_integer(const struct config *config, int option); /* also BYTES, CHOICE */
void config_string(const struct config *config, int option, struct buf *out); /* appends */
/* Any kind, in the text form, appended (CONFIG GET). */
void config_text(const struct config *config, int option, struct buf *out);
const struct config_option *config_table(const struct config *config, size_t *count);

/* The file `old` with each changed option's line replaced or added; comments stay. */
void config_rewrite(const struct config *config, struct bytes old, struct buf *out);
/* Name, default and help of every option, aligned, for --help. */
void config_help(const struct config *config, struct buf *out);

#endif
