/* The server's options; names as in redis.conf wherever Redis has one. */
#ifndef ANNEAL_NET_OPTIONS_H
#define ANNEAL_NET_OPTIONS_H

#include "core/config.h"
#include "persist/options.h"

/* name, symbol, kind, flags, initial, least, most, choices, help */
#define OPTIONS(X)                                                                                              \
    X("port", PORT, CONFIG_INTEGER, 0, "6379", 0, 65535, "", "TCP port for clients")                            \
    X("bind", BIND, CONFIG_STRING, 0, "127.0.0.1", 0, 0, "", "numeric address to listen on for clients")                \
    X("threads", THREADS, CONFIG_INTEGER, 0, "2", 1, 128, "", "threads that serve clients")                     \
    X("tcp-backlog", TCP_BACKLOG, CONFIG_INTEGER, 0, "511", 1, 65535, "", "connections that may wait for accept") \
    X("dir", DIR, CONFIG_STRING, 0, ".", 0, 0, "", "directory of this node's files")                            \
    X("logfile", LOGFILE, CONFIG_STRING, 0, "", 0, 0, "", "file to log to; empty for standard error")           \
    X("loglevel", LOGLEVEL, CONFIG_CHOICE, CONFIG_LIVE, "notice", 0, 0, "debug|verbose|notice|warning",         \
      "least severity that is logged")                                                                         \
    X("requirepass", REQUIREPASS, CONFIG_STRING, CONFIG_LIVE, "", 0, 0, "",                                     \
      "password that AUTH must give; empty for none")                                                          \
    X("protected-mode", PROTECTED_MODE, CONFIG_BOOL, CONFIG_LIVE, "yes", 0, 0, "",                              \
      "refuse clients from elsewhere while there is no password")                                              \
    X("maxclients", MAXCLIENTS, CONFIG_INTEGER, 0, "10000", 1, 1000000, "", "most clients at one time; fewer where too few files may be open") \
    X("timeout", TIMEOUT, CONFIG_INTEGER, 0, "0", 0, 1000000000, "", "seconds until an idle client is closed; 0 for never") \
    X("tcp-keepalive", TCP_KEEPALIVE, CONFIG_INTEGER, 0, "300", 0, 86400, "", "seconds between TCP keepalives; 0 for none") \
    X("client-query-buffer-limit", CLIENT_QUERY_BUFFER_LIMIT, CONFIG_BYTES, 0, "1gb", 1 << 20, INT64_MAX, "",   \
      "most bytes of one request")                                                                             \
    X("client-output-buffer-limit", CLIENT_OUTPUT_BUFFER_LIMIT, CONFIG_BYTES, 0, "1gb", 1 << 20, INT64_MAX, "", \
      "most bytes of replies that wait for a client")                                                          \
    X("proto-max-bulk-len", PROTO_MAX_BULK_LEN, CONFIG_BYTES, 0, "512mb", 1 << 20, 1LL << 30, "",               \
      "most bytes of one argument")                                                                            \
    X("enable-debug-command", ENABLE_DEBUG_COMMAND, CONFIG_CHOICE, 0, "no", 0, 0, "no|yes|local",               \
      "who may use DEBUG: no one, all, or clients on loopback")                                                \
    X("node-id", NODE_ID, CONFIG_STRING, 0, "", 0, 0, "", "16 hex digits that name this node; empty for the one kept in dir") \
    X("cluster-name", CLUSTER_NAME, CONFIG_STRING, 0, "anneal", 0, 0, "", "nodes of other clusters are refused") \
    X("shards", SHARDS, CONFIG_INTEGER, 0, "256", 1, 4096, "", "parts of the key space; the same on all nodes")  \
    X("gossip-bind", GOSSIP_BIND, CONFIG_STRING, 0, "127.0.0.1", 0, 0, "", "address to listen on for peers")    \
    X("gossip-port", GOSSIP_PORT, CONFIG_INTEGER, 0, "0", 0, 65535, "", "TCP port for peers; 0 for port + 10000") \
    X("gossip-advertise", GOSSIP_ADVERTISE, CONFIG_STRING, 0, "", 0, 0, "",                                     \
      "host:port at which peers reach this node; empty for gossip-bind and gossip-port")                       \
    X("join", JOIN, CONFIG_STRING, 0, "", 0, 0, "", "host:port of nodes to join, comma-separated; they may start later") \
    X("cluster-key-file", CLUSTER_KEY_FILE, CONFIG_STRING, 0, "", 0, 0, "",                                     \
      "32 bytes in hex a line; the first seals, all open; needed beyond loopback")                             \
    X("appendonly", APPENDONLY, CONFIG_BOOL, 0, "no", 0, 0, "", "keep a log of all that is applied, in dir")     \
    X("appendfsync", APPENDFSYNC, CONFIG_CHOICE, CONFIG_LIVE, "everysec", 0, 0, "no|everysec|always",           \
      "when the log is synced: before each reply, each second, or when the system likes")                      \
    X("auto-aof-rewrite-percentage", REWRITE_PERCENTAGE, CONFIG_INTEGER, CONFIG_LIVE, "100", 0, 1000000, "",    \
      "growth of the log over the last checkpoint that makes a new one; 0 for never")                          \
    X("auto-aof-rewrite-min-size", REWRITE_MIN_SIZE, CONFIG_BYTES, CONFIG_LIVE, "64mb", 1 << 20, INT64_MAX, "", \
      "a shorter log makes no checkpoint")                                                                     \
    STORE_OPTIONS(X)                                                                                            \
    X("object-store-key-file", OBJECT_STORE_KEY_FILE, CONFIG_STRING, 0, "", 0, 0, "",                           \
      "32 bytes in hex a line; objects are sealed with the first, all open; empty for none")                   \
    X("object-store-checkpoints", OBJECT_STORE_CHECKPOINTS, CONFIG_INTEGER, CONFIG_LIVE, "2", 1, 100, "",       \
      "that are kept: with 2 any one object may be damaged, 1 takes half the room")                            \
    X("object-store-keep", OBJECT_STORE_KEEP, CONFIG_INTEGER, CONFIG_LIVE, "0", 0, 1000000000, "",              \
      "seconds back to which restore-to shall be able to go; 0 for what is needed to start")                   \
    X("object-store-unconditional", OBJECT_STORE_UNCONDITIONAL, CONFIG_BOOL, 0, "no", 0, 0, "",                 \
      "use a store without conditional writes; only if no other node uses it")                                 \
    X("object-store-patience-ms", OBJECT_STORE_PATIENCE_MS, CONFIG_INTEGER, 0, "10000", 0, 86400000, "",        \
      "a node with data on its disk starts without a store that is silent for so long")                        \
    X("segment-interval-ms", SEGMENT_INTERVAL_MS, CONFIG_INTEGER, CONFIG_LIVE, "500", 10, 3600000, "",          \
      "a write is on its way to the object store after so long")                                               \
    X("restore-from", RESTORE_FROM, CONFIG_STRING, 0, "", 0, 0, "",                                             \
      "object store of another cluster, or of this one's past, to start from; it is not written to")           \
    X("restore-to", RESTORE_TO, CONFIG_STRING, 0, "", 0, 0, "",                                                 \
      "as it was then: a time as 2026-11-21T11:12:13Z, or a manifest's number; empty for as it is")            \
    X("gossip-batch-us", GOSSIP_BATCH_US, CONFIG_INTEGER, 0, "2000", 0, 1000000, "",                            \
      "least microseconds between two sends to peers while busy; when quiet a write is sent at once")          \
    X("gossip-log-bytes", GOSSIP_LOG_BYTES, CONFIG_BYTES, 0, "64mb", 1 << 20, 1LL << 40, "",                    \
      "most bytes of delta logs; a peer that is further behind is compared by cells")                          \
    X("gossip-gone-ms", GOSSIP_GONE_MS, CONFIG_INTEGER, 0, "86400000", 1000, INT64_MAX, "",                     \
      "a member that is silent for so long no longer holds memory, and must rejoin empty")

enum option {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) OPTION_##symbol,
    OPTIONS(X)
#undef X
        OPTION_COUNT
};

extern const struct config_option option_table[OPTION_COUNT];

#endif
