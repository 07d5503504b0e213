/* Commands: one table declares each, and one dispatcher locks what its keys need.
 *
 * A handler runs with the shards of all its keys locked, in the order of their indexes, so a
 * command is atomic on its node. It appends exactly one reply. Error texts are Redis 7's. */
#ifndef ANNEAL_NET_COMMAND_H
#define ANNEAL_NET_COMMAND_H

#include "core/bytes.h"
#include "net/node.h"

struct session;
struct call {
    struct node *node;
    const struct bytes *argv;
    size_t argc;
    struct buf *out;
    int64_t now_ms;
    struct session *session; /* NULL for callers that are no clients */
    /* The first key of a command with one key, or what was taken for it: located once. */
    struct key_ref first_ref;
    uint32_t first_shard;
};

enum command_flag {
    COMMAND_WRITE = 1,
    COMMAND_READ = 2,
    COMMAND_NO_AUTH = 4, /* allowed before AUTH */
    COMMAND_ALWAYS = 8,  /* not held by CLIENT PAUSE: what it takes to end one */
    COMMAND_ADMIN = 16, /* for operators */
    COMMAND_CLIENT = 32, /* needs a session */
    COMMAND_LOADING = 64, /* allowed while the node loads what it had */
};

#define KEYS_COUNTED (-1) /* as first_key: argv[1] says how many keys follow it */

struct command {
    const char *name;
    int arity; /* as Redis counts: the name included, negative for "at least" */
    unsigned flags;
    int first_key, last_key, key_step; /* 0 for none; last_key may be negative, from the end */
    void (*handler)(struct call *call);
    const char *summary;
};

/* False, and the error, if it cannot be run as it stands. c may be NULL: an unknown command. */
bool command_check(struct call *call, const struct command *c);
/* Locks, runs. The call has passed the check. */
void command_call(struct call *call, const struct command *c);
/* For callers that are no clients. */
void command_run(struct node *node, const struct bytes *argv, size_t argc, struct buf *out);
/* NULL if there is none. Case does not matter. */
const struct command *command_find(struct bytes name);
/* Where the keys are in argv, for a call whose arity fits; at holds argc of them. */
size_t command_keys(const struct command *c, const struct bytes *argv, size_t argc, size_t *at);
extern const struct command command_table[];
extern const size_t command_count;

/* For handlers: one key, whose shard is locked. */
struct place {
    struct shard *shard;
    struct key_ref ref;
    struct key *key;    /* NULL: not there */
    enum key_type type; /* KEY_NONE: not there */
};
/* For commands that go through the shards by themselves. */
void call_unlock(struct call *call, uint32_t shard);
struct place call_place(const struct call *call, struct bytes key);
/* Without a look at whether it is there: key stays NULL. */
struct place call_locate(const struct call *call, struct bytes key);
/* After a write, which may have made, moved or freed the key. */
void call_place_again(const struct call *call, struct place *place);
/* False, and the WRONGTYPE reply, if the key is there and of another type. */
bool call_expects(struct call *call, const struct place *place, enum key_type type);
/* False, and an error, unless the text is 0: the only database. */
bool call_database(struct call *call, struct bytes text);
/* Random numbers, from the node's entropy. */
struct rng call_rng(const struct call *call);
/* False, and an error, if a string may not become so long. */
bool call_fits(struct call *call, uint64_t bytes);
/* A few bytes can ask for the same answer any number of times: what no client could be sent is refused. True, and an error in place
 * of the reply that began at `start`, once that is too long; to be asked before each repeat. */
bool call_exceeds(struct call *call, size_t start);
/* A decimal as INCRBYFLOAT reads it: STATUS_ERR_INVALID is no number; STATUS_ERR_OVERFLOW one
 * that no counter reaches, infinity too. */
enum status call_decimal(struct bytes text, __int128 *out) MUST_CHECK;
bool call_is_infinite(struct bytes text);
void reply_syntax(struct call *call);
void reply_not_integer(struct call *call);

/* MATCH and COUNT (and TYPE, for SCAN alone) of a *SCAN, from argv[at] on. False, and an error. */
struct scan_options {
    struct bytes match, type;
    bool has_match, has_type;
    size_t count;
};
bool call_scan_options(struct call *call, size_t at, bool types, struct scan_options *out);
bool call_scan_cursor(struct call *call, struct bytes text, uint64_t most, uint64_t *out);
/* SSCAN and HSCAN. */
void call_scan_fields(struct call *call, enum key_type type);
/* "ERR invalid expire time in 'x' command" */
void reply_expire_time(struct call *call);

/* Handlers, by file. */
#define COMMANDS_STRING(X)                                                                               \
    X("get", 2, COMMAND_READ, 1, 1, 1, cmd_get, "the string at a key")                                   \
    X("set", -3, COMMAND_WRITE, 1, 1, 1, cmd_set, "sets a string, with conditions and expiry")           \
    X("setnx", 3, COMMAND_WRITE, 1, 1, 1, cmd_setnx, "sets a string if the key is not there")            \
    X("setex", 4, COMMAND_WRITE, 1, 1, 1, cmd_setex, "sets a string that expires after seconds")         \
    X("psetex", 4, COMMAND_WRITE, 1, 1, 1, cmd_psetex, "sets a string that expires after milliseconds")  \
    X("getset", 3, COMMAND_WRITE, 1, 1, 1, cmd_getset, "sets a string and returns the old one")          \
    X("getdel", 2, COMMAND_WRITE, 1, 1, 1, cmd_getdel, "returns a string and removes its key")           \
    X("mget", -2, COMMAND_READ, 1, -1, 1, cmd_mget, "the strings at many keys")                          \
    X("mset", -3, COMMAND_WRITE, 1, -1, 2, cmd_mset, "sets many strings at once")                        \
    X("msetnx", -3, COMMAND_WRITE, 1, -1, 2, cmd_msetnx, "sets many strings if none is there")           \
    X("append", 3, COMMAND_WRITE, 1, 1, 1, cmd_append, "adds to the end of a string")                    \
    X("strlen", 2, COMMAND_READ, 1, 1, 1, cmd_strlen, "the length of a string")                          \
    X("incr", 2, COMMAND_WRITE, 1, 1, 1, cmd_incr, "adds one to a counter")                              \
    X("decr", 2, COMMAND_WRITE, 1, 1, 1, cmd_decr, "takes one from a counter")                           \
    X("incrby", 3, COMMAND_WRITE, 1, 1, 1, cmd_incrby, "adds an integer to a counter")                   \
    X("decrby", 3, COMMAND_WRITE, 1, 1, 1, cmd_decrby, "takes an integer from a counter")                \
    X("incrbyfloat", 3, COMMAND_WRITE, 1, 1, 1, cmd_incrbyfloat, "adds a number to a counter")           \
    X("getex", -2, COMMAND_WRITE, 1, 1, 1, cmd_getex, "the string at a key, whose expiry it sets")       \
    X("getrange", 4, COMMAND_READ, 1, 1, 1, cmd_getrange, "a part of a string")                          \
    X("substr", 4, COMMAND_READ, 1, 1, 1, cmd_getrange, "a part of a string")                            \
    X("setrange", 4, COMMAND_WRITE, 1, 1, 1, cmd_setrange, "writes over a part of a string")             \
    X("lcs", -3, COMMAND_READ, 1, 2, 1, cmd_lcs, "the longest common subsequence of two strings")
#define COMMANDS_KEY(X)                                                                                  \
    X("del", -2, COMMAND_WRITE, 1, -1, 1, cmd_del, "removes keys")                                       \
    X("unlink", -2, COMMAND_WRITE, 1, -1, 1, cmd_del, "removes keys")                                    \
    X("exists", -2, COMMAND_READ, 1, -1, 1, cmd_exists, "how many of the keys are there")                \
    X("touch", -2, COMMAND_READ, 1, -1, 1, cmd_exists, "how many of the keys are there")                 \
    X("type", 2, COMMAND_READ, 1, 1, 1, cmd_type, "the type of a key")                                   \
    X("expire", -3, COMMAND_WRITE, 1, 1, 1, cmd_expire, "lets a key expire after seconds")               \
    X("pexpire", -3, COMMAND_WRITE, 1, 1, 1, cmd_pexpire, "lets a key expire after milliseconds")        \
    X("expireat", -3, COMMAND_WRITE, 1, 1, 1, cmd_expireat, "lets a key expire at a Unix time")          \
    X("pexpireat", -3, COMMAND_WRITE, 1, 1, 1, cmd_pexpireat, "lets a key expire at Unix milliseconds")  \
    X("persist", 2, COMMAND_WRITE, 1, 1, 1, cmd_persist, "lets a key stay")                              \
    X("ttl", 2, COMMAND_READ, 1, 1, 1, cmd_ttl, "seconds until a key expires")                           \
    X("pttl", 2, COMMAND_READ, 1, 1, 1, cmd_pttl, "milliseconds until a key expires")                    \
    X("expiretime", 2, COMMAND_READ, 1, 1, 1, cmd_expiretime, "the Unix time at which a key expires")    \
    X("pexpiretime", 2, COMMAND_READ, 1, 1, 1, cmd_pexpiretime, "the same in milliseconds")              \
    X("dbsize", 1, COMMAND_READ, 0, 0, 0, cmd_dbsize, "how many keys there are")                         \
    X("flushall", -1, COMMAND_WRITE, 0, 0, 0, cmd_flushall, "removes all that this node has seen")       \
    X("flushdb", -1, COMMAND_WRITE, 0, 0, 0, cmd_flushall, "removes all that this node has seen")        \
    X("keys", 2, COMMAND_READ, 0, 0, 0, cmd_keys, "the keys that match a pattern")                       \
    X("scan", -2, COMMAND_READ, 0, 0, 0, cmd_scan, "the keys, some at a time")                           \
    X("randomkey", 1, COMMAND_READ, 0, 0, 0, cmd_randomkey, "some key")                                  \
    X("rename", 3, COMMAND_WRITE, 1, 2, 1, cmd_rename, "gives a key another name")                       \
    X("renamenx", 3, COMMAND_WRITE, 1, 2, 1, cmd_renamenx, "the same, unless that name is taken")        \
    X("copy", -3, COMMAND_WRITE, 1, 2, 1, cmd_copy, "copies a key")                                      \
    X("object", -2, COMMAND_READ, 2, 2, 1, cmd_object, "how a key is held; OBJECT HELP")
#define COMMANDS_HASH(X)                                                                                 \
    X("hset", -4, COMMAND_WRITE, 1, 1, 1, cmd_hset, "sets fields of a hash")                             \
    X("hmset", -4, COMMAND_WRITE, 1, 1, 1, cmd_hmset, "sets fields of a hash")                           \
    X("hsetnx", 4, COMMAND_WRITE, 1, 1, 1, cmd_hsetnx, "sets a field that is not there")                 \
    X("hget", 3, COMMAND_READ, 1, 1, 1, cmd_hget, "the value of a field")                                \
    X("hmget", -3, COMMAND_READ, 1, 1, 1, cmd_hmget, "the values of many fields")                        \
    X("hdel", -3, COMMAND_WRITE, 1, 1, 1, cmd_hdel, "removes fields")                                    \
    X("hlen", 2, COMMAND_READ, 1, 1, 1, cmd_hlen, "how many fields there are")                           \
    X("hexists", 3, COMMAND_READ, 1, 1, 1, cmd_hexists, "whether a field is there")                      \
    X("hstrlen", 3, COMMAND_READ, 1, 1, 1, cmd_hstrlen, "the length of a field's value")                 \
    X("hgetall", 2, COMMAND_READ, 1, 1, 1, cmd_hgetall, "all fields with their values")                  \
    X("hkeys", 2, COMMAND_READ, 1, 1, 1, cmd_hkeys, "all fields")                                        \
    X("hvals", 2, COMMAND_READ, 1, 1, 1, cmd_hvals, "all values")                                        \
    X("hincrby", 4, COMMAND_WRITE, 1, 1, 1, cmd_hincrby, "adds an integer to a field")                   \
    X("hincrbyfloat", 4, COMMAND_WRITE, 1, 1, 1, cmd_hincrbyfloat, "adds a number to a field")           \
    X("hrandfield", -2, COMMAND_READ, 1, 1, 1, cmd_hrandfield, "fields at random")                       \
    X("hscan", -3, COMMAND_READ, 1, 1, 1, cmd_hscan, "fields and values, some at a time")
#define COMMANDS_SET(X)                                                                                  \
    X("sadd", -3, COMMAND_WRITE, 1, 1, 1, cmd_sadd, "adds members to a set")                             \
    X("srem", -3, COMMAND_WRITE, 1, 1, 1, cmd_srem, "removes members")                                   \
    X("smembers", 2, COMMAND_READ, 1, 1, 1, cmd_smembers, "all members")                                 \
    X("sismember", 3, COMMAND_READ, 1, 1, 1, cmd_sismember, "whether a member is there")                 \
    X("smismember", -3, COMMAND_READ, 1, 1, 1, cmd_smismember, "which of the members are there")         \
    X("scard", 2, COMMAND_READ, 1, 1, 1, cmd_scard, "how many members there are")                        \
    X("spop", -2, COMMAND_WRITE, 1, 1, 1, cmd_spop, "removes members at random")                         \
    X("srandmember", -2, COMMAND_READ, 1, 1, 1, cmd_srandmember, "members at random")                    \
    X("smove", 4, COMMAND_WRITE, 1, 2, 1, cmd_smove, "moves a member to another set")                    \
    X("sinter", -2, COMMAND_READ, 1, -1, 1, cmd_sinter, "members of all the sets")                       \
    X("sinterstore", -3, COMMAND_WRITE, 1, -1, 1, cmd_sinterstore, "keeps the intersection of sets")     \
    X("sintercard", -3, COMMAND_READ, KEYS_COUNTED, 0, 0, cmd_sintercard, "how many members all the sets have in common") \
    X("sunion", -2, COMMAND_READ, 1, -1, 1, cmd_sunion, "members of any of the sets")                    \
    X("sunionstore", -3, COMMAND_WRITE, 1, -1, 1, cmd_sunionstore, "keeps the union of sets")            \
    X("sdiff", -2, COMMAND_READ, 1, -1, 1, cmd_sdiff, "members of the first set alone")                  \
    X("sdiffstore", -3, COMMAND_WRITE, 1, -1, 1, cmd_sdiffstore, "keeps the difference of sets")         \
    X("sscan", -3, COMMAND_READ, 1, 1, 1, cmd_sscan, "members, some at a time")

#define COMMANDS_CONNECTION(X)                                                                           \
    X("ping", -1, COMMAND_READ, 0, 0, 0, cmd_ping, "PONG, or what was given")                            \
    X("echo", 2, COMMAND_READ, 0, 0, 0, cmd_echo, "what was given")                                      \
    X("quit", -1, COMMAND_NO_AUTH | COMMAND_ALWAYS | COMMAND_CLIENT, 0, 0, 0, cmd_quit, "closes the connection") \
    X("reset", 1, COMMAND_NO_AUTH | COMMAND_ALWAYS | COMMAND_CLIENT, 0, 0, 0, cmd_reset, "the connection as it was when it was new") \
    X("hello", -1, COMMAND_NO_AUTH | COMMAND_ALWAYS | COMMAND_CLIENT, 0, 0, 0, cmd_hello, "says who the server is; RESP2 only") \
    X("auth", -2, COMMAND_NO_AUTH | COMMAND_ALWAYS | COMMAND_CLIENT, 0, 0, 0, cmd_auth, "gives the password") \
    X("select", 2, COMMAND_READ | COMMAND_LOADING, 0, 0, 0, cmd_select, "database 0, the only one")                        \
    X("client", -2, COMMAND_ALWAYS | COMMAND_CLIENT, 0, 0, 0, cmd_client, "about connections; CLIENT HELP")
#define COMMANDS_SERVER(X)                                                                               \
    X("config", -2, COMMAND_ADMIN | COMMAND_CLIENT | COMMAND_LOADING, 0, 0, 0, cmd_config, "options; CONFIG HELP")         \
    X("command", -1, COMMAND_READ | COMMAND_LOADING, 0, 0, 0, cmd_command, "about commands; COMMAND HELP")                 \
    X("info", -1, COMMAND_READ | COMMAND_CLIENT | COMMAND_LOADING, 0, 0, 0, cmd_info, "the state of this node")            \
    X("time", 1, COMMAND_READ, 0, 0, 0, cmd_time, "seconds and microseconds of this node's clock")       \
    X("save", 1, COMMAND_ADMIN | COMMAND_CLIENT, 0, 0, 0, cmd_save, "writes a checkpoint, and waits for it")  \
    X("bgsave", -1, COMMAND_ADMIN | COMMAND_CLIENT, 0, 0, 0, cmd_bgsave, "writes a checkpoint")           \
    X("bgrewriteaof", 1, COMMAND_ADMIN | COMMAND_CLIENT, 0, 0, 0, cmd_bgrewriteaof, "writes a checkpoint, after which older logs go") \
    X("lastsave", 1, COMMAND_READ | COMMAND_CLIENT | COMMAND_LOADING, 0, 0, 0, cmd_lastsave, "when the last checkpoint was done, in Unix seconds") \
    X("waitaof", 4, COMMAND_CLIENT, 0, 0, 0, cmd_waitaof, "waits until what this client wrote is on the disk") \
    X("shutdown", -1, COMMAND_ADMIN | COMMAND_ALWAYS | COMMAND_CLIENT, 0, 0, 0, cmd_shutdown, "leaves the cluster and stops") \
    X("debug", -2, COMMAND_ADMIN | COMMAND_ALWAYS | COMMAND_CLIENT, 0, 0, 0, cmd_debug, "for experiments; DEBUG HELP")
#define COMMANDS_CLUSTER(X)                                                                              \
    X("wait", 3, COMMAND_CLIENT, 0, 0, 0, cmd_wait, "waits until peers have applied what this client wrote") \
    X("anneal", -2, COMMAND_READ, 0, 0, 0, cmd_anneal, "the cluster; ANNEAL HELP")

/* A checkpoint. True when it is there; else the command is parked, or has its error. While another
 * is written that is an error, or comes after it. */
bool call_save(struct call *call, bool after);
void info_persistence(struct call *call, struct buf *out);

/* "ERR unknown subcommand", as Redis words it; family is in upper case. */
void reply_subcommand(struct call *call, const char *family);
void reply_arity(struct call *call, const char *name);
/* The same where a family does not tell one from the other. */
void reply_subcommand_or_arity(struct call *call, const char *family);
/* A *HELP reply: one line each. */
void reply_help(struct call *call, const char *const *lines, size_t count);

#define COMMANDS(X)                                                                                      \
    COMMANDS_STRING(X) COMMANDS_KEY(X) COMMANDS_HASH(X) COMMANDS_SET(X) COMMANDS_CONNECTION(X) COMMANDS_SERVER(X)        \
    COMMANDS_CLUSTER(X)
#define X(name, arity, flags, first, last, step, handler, summary) void handler(struct call *call);
COMMANDS(X)
#undef X

#endif
