/* One status for everything that can fail, and its words.
 *
 * Operating-system and library errors are translated to these once, at the edge. */
#ifndef ANNEAL_CORE_STATUS_H
#define ANNEAL_CORE_STATUS_H

#define STATUS_TABLE(X)                                             \
    X(OK, "ok")                                                     \
    X(ERR_MEMORY, "out of memory")                                  \
    X(ERR_MALFORMED, "malformed input")                             \
    X(ERR_TOO_LARGE, "larger than the limit")                       \
    X(ERR_GAP, "does not continue what was applied")                \
    X(ERR_KEY, "no cluster key opens it")                           \
    X(ERR_VERSION, "unknown version")                               \
    X(ERR_CLUSTER, "belongs to another cluster")                    \
    X(ERR_STALE, "from a member that is gone")                      \
    X(ERR_NOT_FOUND, "not found")                                   \
    X(ERR_INVALID, "invalid value")                                 \
    X(ERR_OVERFLOW, "out of range")                                 \
    X(ERR_BUSY, "busy, try again")                                  \
    X(ERR_FULL, "no space left")                                    \
    X(ERR_IO, "input/output error")                                 \
    X(ERR_LIMIT, "a limit was reached")

enum status {
#define X(name, text) STATUS_##name,
    STATUS_TABLE(X)
#undef X
        STATUS_COUNT
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Never NULL; static storage. */
const char *status_text(enum status status);

#endif
