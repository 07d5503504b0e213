/* The server: its options, its commands, its state. */
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "net/glob.h"
#include "net/options.h"
#include "net/session.h"
#include "persist/keeper.h"

#define VERSION_AS_REDIS "7.0.15"

/* A subcommand by name, with its least and greatest argc. */
struct subcommand {
    const char *name;
    size_t least, most;
    void (*run)(struct call *);
};

static void run_subcommand(struct call *call, const char *lower, const char *upper, const struct subcommand *table, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!bytes_is(call->argv[1], table[i].name)) continue;
        char name[64];
        snprintf(name, sizeof name, "%s|%s", lower, table[i].name);
        if (call->argc < table[i].least || call->argc > table[i].most)
            reply_arity(call, name);
        else
            table[i].run(call);
        return;
    }
    reply_subcommand(call, upper);
}

/* ------------------------------------------------------------------ CONFIG */

static bool is_wanted(const struct call *call, const char *name) {
    for (size_t i = 2; i < call->argc; i++)
        if (glob_match(call->argv[i], bytes_str(name), true)) return true;
    return false;
}

static void config_get(struct call *call) {
    const struct config *config = call->session->host->config;
    size_t count, found = 0;
    const struct config_option *table = config_table(config, &count);
    for (size_t i = 0; i < count; i++) found += is_wanted(call, table[i].name);
    resp_array(call->out, 2 * found);
    for (size_t i = 0; i < count; i++) {
        if (!is_wanted(call, table[i].name)) continue;
        struct buf text = {0};
        config_text(config, (int)i, &text);
        bool told = !(table[i].flags & CONFIG_SECRET) || !text.len;
        resp_bulk(call->out, bytes_str(table[i].name));
        resp_bulk(call->out, told ? buf_bytes(&text) : bytes_str("(secret)"));
        buf_fini(&text);
    }
}

static void set_failed(struct call *call, struct bytes name, enum status status, const struct buf *why) {
    char text[300];
    int len = (int)(name.len > 64 ? 64 : name.len);
    if (status == STATUS_ERR_NOT_FOUND)
        snprintf(text, sizeof text, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'", len, (const char *)name.data);
    else
        snprintf(text, sizeof text, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %.*s", len, (const char *)name.data,
                 (int)why->len, (char *)why->data);
    resp_error(call->out, text);
}

static void config_set_command(struct call *call) {
    struct host *h = call->session->host;
    size_t count = (call->argc - 2) / 2, failed = 0;
    if (call->argc % 2) {
        reply_syntax(call);
        return;
    }
    struct config_pair *pairs = mem_alloc(count * sizeof *pairs);
    struct buf why = {0};
    for (size_t i = 0; i < count; i++) pairs[i] = (struct config_pair){call->argv[2 + 2 * i], call->argv[3 + 2 * i]};
    enum status status = config_set(h->config, pairs, count, &failed, &why);
    if (status == STATUS_OK) {
        log_level_set((enum log_level)config_integer(h->config, OPTION_LOGLEVEL));
        /* Who follows the others looks now and then; what is written after our reply counts on this one. */
        if (call->node->keeper) keeper_set_sync(call->node->keeper, (enum keeper_sync)config_integer(h->config, OPTION_APPENDFSYNC));
        resp_status(call->out, "OK");
    } else {
        set_failed(call, pairs[failed].name, status, &why);
    }
    mem_free(pairs);
    buf_fini(&why);
}

static void config_rewrite_command(struct call *call) {
    struct host *h = call->session->host;
    struct buf why = {0};
    enum status status = STATUS_ERR_INVALID;
    if (h->ports.rewrite)
        status = h->ports.rewrite(h->ports.arg, &why);
    else
        buf_put_str(&why, "the server is running without a config file");
    char text[300];
    snprintf(text, sizeof text, "ERR %.*s", (int)why.len, why.data ? (char *)why.data : "");
    if (status == STATUS_OK)
        resp_status(call->out, "OK");
    else
        resp_error(call->out, text);
    buf_fini(&why);
}

static void config_resetstat(struct call *call) {
    host_reset_stats(call->session->host);
    resp_status(call->out, "OK");
}

static void config_help_command(struct call *call) {
    static const char *const lines[] = {
        "CONFIG <subcommand> [<arg> ...]. Subcommands are:",
        "GET <pattern> [<pattern> ...] -- options and their values",
        "SET <option> <value> [<option> <value> ...] -- all of them or none",
        "RESETSTAT -- counters of INFO stats start from zero",
        "REWRITE -- writes the options to the file that the server was started with",
    };
    reply_help(call, lines, sizeof lines / sizeof *lines);
}

void cmd_config(struct call *call) {
    static const struct subcommand table[] = {{"get", 3, SIZE_MAX, config_get},
                                              {"set", 4, SIZE_MAX, config_set_command},
                                              {"rewrite", 2, 2, config_rewrite_command},
                                              {"resetstat", 2, 2, config_resetstat},
                                              {"help", 2, 2, config_help_command}};
    run_subcommand(call, "config", "CONFIG", table, sizeof table / sizeof *table);
}

/* ----------------------------------------------------------------- COMMAND */

static void put_command(struct call *call, const struct command *c) {
    static const struct {
        enum command_flag flag;
        const char *name;
    } flags[] = {{COMMAND_WRITE, "write"}, {COMMAND_READ, "readonly"}, {COMMAND_ADMIN, "admin"}, {COMMAND_NO_AUTH, "no_auth"}};
    bool moves = c->first_key == KEYS_COUNTED; /* COMMAND GETKEYS says where the keys are */
    size_t count = moves;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) count += (c->flags & flags[i].flag) != 0;
    resp_array(call->out, 6);
    resp_bulk(call->out, bytes_str(c->name));
    resp_integer(call->out, c->arity);
    resp_array(call->out, count);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (c->flags & flags[i].flag) resp_status(call->out, flags[i].name);
    if (moves) resp_status(call->out, "movablekeys");
    resp_integer(call->out, moves ? 0 : c->first_key);
    resp_integer(call->out, c->last_key);
    resp_integer(call->out, c->key_step);
}

static void command_all(struct call *call) {
    resp_array(call->out, command_count);
    for (size_t i = 0; i < command_count; i++) put_command(call, &command_table[i]);
}

static void command_count_command(struct call *call) { resp_integer(call->out, (int64_t)command_count); }

static void command_info(struct call *call) {
    if (call->argc == 2) {
        command_all(call);
        return;
    }
    size_t start = call->out->len;
    resp_array(call->out, call->argc - 2);
    for (size_t i = 2; i < call->argc && !call_exceeds(call, start); i++) {
        const struct command *c = command_find(call->argv[i]);
        if (c)
            put_command(call, c);
        else
            resp_null(call->out);
    }
}

static void put_docs(struct call *call, const struct command *c) {
    resp_bulk(call->out, bytes_str(c->name));
    resp_array(call->out, 2);
    resp_bulk(call->out, bytes_str("summary"));
    resp_bulk(call->out, bytes_str(c->summary));
}

static void command_docs(struct call *call) {
    size_t found = call->argc == 2 ? command_count : 0;
    for (size_t i = 2; i < call->argc; i++) found += command_find(call->argv[i]) != NULL;
    size_t start = call->out->len;
    resp_array(call->out, 2 * found);
    for (size_t i = 0; call->argc == 2 && i < command_count; i++) put_docs(call, &command_table[i]);
    for (size_t i = 2; i < call->argc && !call_exceeds(call, start); i++) {
        const struct command *c = command_find(call->argv[i]);
        if (c) put_docs(call, c);
    }
}

static void command_list(struct call *call) {
    bool filtered = call->argc == 5 && bytes_is(call->argv[2], "filterby");
    bool by_pattern = filtered && bytes_is(call->argv[3], "pattern"), by_module = filtered && bytes_is(call->argv[3], "module");
    if (call->argc != 2 && !by_pattern && !by_module) {
        reply_syntax(call);
        return;
    }
    if (by_module) { /* there are no modules */
        resp_array(call->out, 0);
        return;
    }
    size_t found = 0;
    for (size_t i = 0; i < command_count; i++)
        found += !by_pattern || glob_match(call->argv[4], bytes_str(command_table[i].name), true);
    resp_array(call->out, found);
    for (size_t i = 0; i < command_count; i++)
        if (!by_pattern || glob_match(call->argv[4], bytes_str(command_table[i].name), true))
            resp_bulk(call->out, bytes_str(command_table[i].name));
}

static void command_getkeys(struct call *call) {
    const struct command *c = command_find(call->argv[2]);
    size_t argc = call->argc - 2, count = 0;
    if (!c) {
        resp_error(call->out, "ERR Invalid command specified");
        return;
    }
    if (!c->first_key) {
        resp_error(call->out, "ERR The command has no key arguments");
        return;
    }
    if (c->arity > 0 ? argc != (size_t)c->arity : argc < (size_t)-c->arity) {
        resp_error(call->out, "ERR Invalid number of arguments specified for command");
        return;
    }
    size_t *at = mem_alloc((argc + 1) * sizeof *at);
    count = command_keys(c, call->argv + 2, argc, at);
    if (!count) {
        resp_error(call->out, "ERR Invalid arguments specified for command");
    } else {
        resp_array(call->out, count);
        for (size_t i = 0; i < count; i++) resp_bulk(call->out, call->argv[2 + at[i]]);
    }
    mem_free(at);
}

static void command_help(struct call *call) {
    static const char *const lines[] = {
        "COMMAND <subcommand> [<arg> ...]. Subcommands are:",
        "(no subcommand) -- all commands",
        "COUNT -- how many there are",
        "LIST [FILTERBY PATTERN <pattern>] -- their names",
        "INFO [<name> ...] -- some of them",
        "DOCS [<name> ...] -- what they do",
        "GETKEYS <full command> -- which arguments are keys",
    };
    reply_help(call, lines, sizeof lines / sizeof *lines);
}

void cmd_command(struct call *call) {
    static const struct subcommand table[] = {{"count", 2, 2, command_count_command}, {"info", 2, SIZE_MAX, command_info},
                                              {"docs", 2, SIZE_MAX, command_docs},   {"list", 2, SIZE_MAX, command_list},
                                              {"getkeys", 4, SIZE_MAX, command_getkeys}, {"help", 2, 2, command_help}};
    if (call->argc == 1)
        command_all(call);
    else
        run_subcommand(call, "command", "COMMAND", table, sizeof table / sizeof *table);
}

/* -------------------------------------------------------------------- INFO */

static void info_server(struct call *call, struct buf *out) {
    struct host *h = call->session->host;
    struct process_usage usage = h->ports.usage ? h->ports.usage(h->ports.arg) : (struct process_usage){.os = "none"};
    int64_t up_s = (node_now(call->node).mono_us - h->started.mono_us) / 1000000;
    struct replica_id self = gossip_self(call->node->gossip);
    buf_printf(out, "redis_version:%s\r\nserver_name:anneal\r\nredis_mode:standalone\r\nos:%s\r\narch_bits:%zu\r\nprocess_id:%d\r\n",
               VERSION_AS_REDIS, usage.os, sizeof(void *) * 8, usage.pid);
    buf_printf(out, "run_id:%016llx%016llx\r\ntcp_port:%lld\r\nuptime_in_seconds:%lld\r\nuptime_in_days:%lld\r\n",
               (unsigned long long)h->run_id[0], (unsigned long long)h->run_id[1], (long long)atomic_load(&h->port),
               (long long)up_s, (long long)(up_s / 86400));
    buf_printf(out, "io_threads:%lld\r\nnode_id:%016llx\r\nincarnation:%016llx\r\nshards:%u\r\n", (long long)config_integer(h->config, OPTION_THREADS),
               (unsigned long long)self.node, (unsigned long long)self.incarnation, call->node->shard_count);
}

static void info_clients(struct call *call, struct buf *out) {
    struct host *h = call->session->host;
    pthread_mutex_lock(&h->lock);
    uint64_t count = h->session_count;
    pthread_mutex_unlock(&h->lock);
    buf_printf(out, "connected_clients:%llu\r\nmaxclients:%lld\r\nblocked_clients:%llu\r\n", (unsigned long long)count,
               (long long)config_integer(h->config, OPTION_MAXCLIENTS), (unsigned long long)atomic_load(&h->parked));
}

static void info_memory(struct call *call, struct buf *out) {
    struct host *h = call->session->host;
    uint64_t used = 0;
    for (uint32_t i = 0; i < call->node->shard_count; i++) {
        shard_lock(call->node->shards[i]);
        used += shard_mem_bytes(call->node->shards[i]);
        shard_unlock(call->node->shards[i]);
    }
    buf_printf(out, "used_memory:%llu\r\n", (unsigned long long)used);
    if (h->ports.usage) buf_printf(out, "used_memory_rss:%llu\r\n", (unsigned long long)h->ports.usage(h->ports.arg).rss_bytes);
    buf_printf(out, "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n");
}

static void info_stats(struct call *call, struct buf *out) {
    struct host *h = call->session->host;
#define X(name, text) buf_printf(out, text ":%llu\r\n", (unsigned long long)atomic_load(&h->name));
    HOST_COUNTERS(X)
#undef X
    buf_printf(out, "expired_keys:%llu\r\n", (unsigned long long)atomic_load(&call->node->expired));
    if (h->ports.usage)
        buf_printf(out, "rejected_connections:%llu\r\n",
                   (unsigned long long)(h->ports.usage(h->ports.arg).connections_rejected - atomic_load(&h->rejected_before)));
}

static void info_replication(struct call *call, struct buf *out) {
    struct member_info *m = mem_alloc(256 * sizeof *m);
    size_t count = gossip_members(call->node->gossip, m, 256), up = 0;
    if (count > 256) count = 256;
    for (size_t i = 1; i < count; i++) up += m[i].status == MEMBER_UP && m[i].connected;
    buf_printf(out, "role:master\r\nconnected_slaves:0\r\npeers:%zu\r\npeers_up:%zu\r\n", count - 1, up);
    for (size_t i = 1; i < count; i++)
        buf_printf(out, "peer%zu:node=%016llx,address=%s,state=%s,link=%s,ack_us=%lld,unacked=%llu,missing=%llu\r\n", i - 1,
                   (unsigned long long)m[i].id.node, m[i].address, member_status_text(m[i].status), m[i].connected ? "up" : "down",
                   (long long)m[i].ack_us, (unsigned long long)m[i].unacked, (unsigned long long)m[i].missing);
    mem_free(m);
}

static void info_gossip(struct call *call, struct buf *out) {
    struct gossip_stats s;
    gossip_stats(call->node->gossip, &s);
    buf_printf(out, "gossip_paused:%d\r\n", gossip_paused(call->node->gossip));
#define X(name, help) buf_printf(out, "gossip_" #name ":%llu\r\n", (unsigned long long)s.name);
    GOSSIP_STATS(X)
#undef X
}

static void info_cpu(struct call *call, struct buf *out) {
    struct host *h = call->session->host;
    struct process_usage usage = h->ports.usage ? h->ports.usage(h->ports.arg) : (struct process_usage){0};
    buf_printf(out, "used_cpu_sys:%.6f\r\nused_cpu_user:%.6f\r\n", usage.cpu_system_s, usage.cpu_user_s);
}

static void info_keyspace(struct call *call, struct buf *out) {
    uint64_t keys = node_key_count(call->node);
    if (keys) buf_printf(out, "db0:keys=%llu,expires=%llu\r\n", (unsigned long long)keys, (unsigned long long)node_expiring_count(call->node));
}

static const struct {
    const char *name, *title;
    void (*write)(struct call *, struct buf *);
} SECTIONS[] = {{"server", "Server", info_server}, {"clients", "Clients", info_clients}, {"memory", "Memory", info_memory},
                {"persistence", "Persistence", info_persistence}, {"stats", "Stats", info_stats},    {"replication", "Replication", info_replication},
                {"gossip", "Gossip", info_gossip}, {"cpu", "CPU", info_cpu}, {"keyspace", "Keyspace", info_keyspace}};

static bool is_section_wanted(const struct call *call, const char *name) {
    if (call->argc == 1) return true;
    for (size_t i = 1; i < call->argc; i++)
        if (bytes_is(call->argv[i], name) || bytes_is(call->argv[i], "all") || bytes_is(call->argv[i], "default") ||
            bytes_is(call->argv[i], "everything"))
            return true;
    return false;
}

void cmd_info(struct call *call) {
    struct buf text = {0};
    for (size_t i = 0; i < sizeof SECTIONS / sizeof *SECTIONS; i++) {
        if (!is_section_wanted(call, SECTIONS[i].name)) continue;
        buf_printf(&text, "%s# %s\r\n", text.len ? "\r\n" : "", SECTIONS[i].title);
        SECTIONS[i].write(call, &text);
    }
    resp_bulk(call->out, buf_bytes(&text));
    buf_fini(&text);
}

/* ------------------------------------------------------- TIME, SHUTDOWN, DEBUG */

void cmd_time(struct call *call) {
    int64_t ms = node_now(call->node).wall_ms;
    resp_array(call->out, 2);
    resp_bulk_integer(call->out, ms / 1000);
    resp_bulk_integer(call->out, ms % 1000 * 1000);
}

/* NOSAVE, SAVE, NOW, FORCE, ABORT. False, and an error. The log is closed properly in any case;
 * stopping is not a state that could be aborted. */
static bool read_shutdown(struct call *call, bool *save) {
    static const char *const words[] = {"nosave", "save", "now", "force", "abort"};
    enum { NOSAVE = 1, SAVE = 2, ABORT = 16 };
    unsigned given = 0;
    for (size_t i = 1; i < call->argc; i++) {
        unsigned word = 0;
        while (word < 5 && !bytes_is(call->argv[i], words[word])) word++;
        given |= 1u << word;
    }
    bool bad = given >= 32 || (given & NOSAVE && given & SAVE) || (given & ABORT && given != ABORT);
    if (bad)
        reply_syntax(call);
    else if (given & ABORT)
        resp_error(call->out, "ERR No shutdown in progress.");
    else
        *save = given & SAVE;
    return !bad && !(given & ABORT);
}

void cmd_shutdown(struct call *call) {
    struct host *h = call->session->host;
    bool save;
    if (!read_shutdown(call, &save)) return;
    if (save && !atomic_load(&h->loading) && !call_save(call, true)) return; /* what is being loaded is kept already */
    if (!h->ports.shutdown) {
        resp_error(call->out, "ERR Errors trying to SHUTDOWN. Check logs.");
        return;
    }
    h->ports.shutdown(h->ports.arg);
    call->session->closing = true;
}

#define SLEEP_S_MAX 3600

/* Redis stops all clients; here other connections are not to suffer from it. */
static void debug_sleep(struct call *call) {
    struct session *s = call->session;
    char text[32] = {0}, *end = text;
    int64_t now_us = node_now(call->node).mono_us;
    if (call->argv[2].len < sizeof text) memcpy(text, call->argv[2].data, call->argv[2].len);
    double seconds = strtod(text, &end);
    if (!*text || *end || !(seconds >= 0 && seconds <= SLEEP_S_MAX)) {
        resp_error(call->out, "ERR value is not a valid float");
        return;
    }
    int64_t deadline_us = s->waits ? s->deadline_us : now_us + (int64_t)(seconds * 1e6);
    if (now_us >= deadline_us)
        resp_status(call->out, "OK");
    else
        session_park(call, deadline_us);
}

static void debug_gossip(struct call *call) {
    bool pause = bytes_is(call->argv[2], "pause");
    if (!pause && !bytes_is(call->argv[2], "resume")) {
        reply_syntax(call);
        return;
    }
    gossip_pause(call->node->gossip, pause);
    resp_status(call->out, "OK");
}

static void debug_object(struct call *call) {
    uint32_t shard = node_shard_of(call->node, call->argv[2]);
    char text[200] = {0};
    node_lock(call->node, shard);
    struct place place = call_place(call, call->argv[2]);
    struct scratch scratch;
    static const char *const types[] = {"none", "string", "set", "hash"};
    if (place.key)
        snprintf(text, sizeof text, "Value at:%p refcount:1 type:%s shard:%u serializedlength:%llu", (void *)place.key, types[place.type],
                 shard, (unsigned long long)(place.type == KEY_STRING ? key_string(place.shard, place.key, &scratch).len
                                                                       : key_field_count(place.key, place.type)));
    node_unlock(call->node, shard);
    if (*text)
        resp_status(call->out, text);
    else
        resp_error(call->out, "ERR no such key");
}

static void debug_help(struct call *call) {
    static const char *const lines[] = {
        "DEBUG <subcommand> [<arg> ...]. Subcommands are:",
        "SLEEP <seconds> -- holds this connection back, and no other",
        "OBJECT <key> -- what is held for a key",
        "GOSSIP PAUSE|RESUME -- stops and resumes this node's gossip, both ways",
    };
    reply_help(call, lines, sizeof lines / sizeof *lines);
}

void cmd_debug(struct call *call) {
    static const struct subcommand table[] = {
        {"sleep", 3, 3, debug_sleep}, {"object", 3, 3, debug_object}, {"gossip", 3, 3, debug_gossip}, {"help", 2, 2, debug_help}};
    enum { NO, YES, LOCAL };
    int64_t allowed = config_integer(call->session->host->config, OPTION_ENABLE_DEBUG_COMMAND);
    if (allowed == NO || (allowed == LOCAL && !call->session->local)) {
        resp_error(call->out, "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from "
                              "a local connection, otherwise you need to set this option in the configuration file, and then restart the server.");
        return;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!bytes_is(call->argv[1], table[i].name) || call->argc < table[i].least || call->argc > table[i].most) continue;
        table[i].run(call);
        return;
    }
    reply_subcommand_or_arity(call, "DEBUG");
}
