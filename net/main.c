/* anneal-server: options, then a node, its peers and its clients, until a signal ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "net/clients.h"
#include "net/durable_posix.h"
#include "net/options.h"
#include "net/os_posix.h"
#include "net/replicator_nng.h"

#define VERSION "0.1.0"
#define CONFIG_FILE_BYTES_MAX (1u << 20)
#define LEAVE_MS 1000
#define FILES_OF_OURS 64 /* logs, checkpoints, objects in a directory */

struct app {
    struct config *config;
    const char *config_file; /* NULL: none */
    struct node *node;
    struct host host;
    struct replicator *replicator;
    struct clients *clients;
    struct durable *durable;
    char address[GOSSIP_ADDRESS_MAX];
    struct buf join, cluster_name;
    struct buf error;
};

/* --------------------------------------------------------------- starting */

/* Whatever had been opened ends with the process. */
static int complain(struct app *a) {
    fprintf(stderr, "anneal-server: %.*s\n", (int)a->error.len, a->error.data ? (char *)a->error.data : "");
    fflush(NULL);
    _exit(1);
}

/* Told to stop before it served anybody. */
static int give_up(struct app *a) {
    log_line(LOG_NOTICE, "bye: %.*s", (int)a->error.len, (char *)a->error.data);
    fflush(NULL);
    _exit(0);
}

static int help(struct app *a) {
    struct buf text = {0};
    config_help(a->config, &text);
    printf("anneal-server %s: a cache that many places may write to at once\n\n"
           "  anneal-server [config-file] [--name value ...]\n\n"
           "The file has one option a line, as redis.conf; options on the command line come after it.\n\n%.*s",
           VERSION, (int)text.len, (char *)text.data);
    buf_fini(&text);
    config_free(a->config);
    return 0;
}

static bool load_options(struct app *a, int argc, char **argv) {
    int first = 1;
    if (argc > 1 && strncmp(argv[1], "--", 2) != 0) {
        struct buf text = {0};
        a->config_file = argv[1];
        first = 2;
        bool loaded = os_read_file(a->config_file, CONFIG_FILE_BYTES_MAX, &text, &a->error) == STATUS_OK &&
                      config_load_text(a->config, a->config_file, buf_bytes(&text), &a->error) == STATUS_OK;
        buf_fini(&text);
        if (!loaded) return false;
    }
    return config_load_args(a->config, argc - first, argv + first, &a->error) == STATUS_OK;
}

/* A C string of an option; the caller frees. */
static char *option_text(const struct app *a, int option) {
    struct buf text = {0};
    config_string(a->config, option, &text);
    buf_put_byte(&text, 0);
    return (char *)text.data;
}

static bool is_loopback(const char *host) {
    struct in_addr v4;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || strncmp(host, "[::1]", 5) == 0 ||
           (strncmp(host, "127.", 4) == 0 && inet_pton(AF_INET, host, &v4) == 1) ||
           (strncmp(host, "127.", 4) == 0 && strchr(host, ':'));
}

static bool load_keys(struct app *a, struct keyring *keys) {
    char *path = option_text(a, OPTION_CLUSTER_KEY_FILE), *bind = option_text(a, OPTION_GOSSIP_BIND);
    bool loaded = true;
    if (*path) {
        struct buf text = {0}, why = {0};
        loaded = os_read_file(path, 1 << 16, &text, &a->error) == STATUS_OK;
        if (loaded && keyring_parse(keys, KEYRING_GOSSIP, buf_bytes(&text), &why) != STATUS_OK) {
            buf_printf(&a->error, "cluster-key-file %s, %.*s", path, (int)why.len, (char *)why.data);
            loaded = false;
        }
        if (text.data) memset(text.data, 0, text.len);
        buf_fini(&text);
        buf_fini(&why);
    } else {
        keyring_well_known(keys, KEYRING_GOSSIP);
        loaded = is_loopback(bind) && is_loopback(a->address);
        if (!loaded)
            buf_printf(&a->error, "gossip beyond loopback (%s, %s) needs a key: openssl rand -hex 32 > cluster.key, the same file on all "
                                  "nodes, and --cluster-key-file cluster.key", bind, a->address);
    }
    mem_free(path);
    mem_free(bind);
    return loaded;
}

/* gossip-port 0 is port + 10000, or any where the port is any as well. */
static bool gossip_port(struct app *a, uint16_t *out) {
    int64_t port = config_integer(a->config, OPTION_GOSSIP_PORT), client = config_integer(a->config, OPTION_PORT);
    if (!port && client) port = client + 10000;
    if (port > UINT16_MAX) buf_printf(&a->error, "port %lld + 10000 is no port: set gossip-port", (long long)client);
    *out = (uint16_t)port;
    return port <= UINT16_MAX;
}

/* Of a list, as gossip takes it apart. */
static bool are_addresses(struct app *a, const char *option, const char *list) {
    for (size_t len; *list; list += len + (list[len] != 0)) {
        char address[GOSSIP_ADDRESS_MAX];
        len = strcspn(list, ", ");
        snprintf(address, sizeof address, "%.*s", (int)len, list);
        if (!len || (len < sizeof address && replicator_is_address(address))) continue;
        buf_printf(&a->error, "%s: '%.*s' is not host:port", option, (int)len, list);
        return false;
    }
    return true;
}

static bool open_peers(struct app *a) {
    char *bind = option_text(a, OPTION_GOSSIP_BIND), *advertise = option_text(a, OPTION_GOSSIP_ADVERTISE);
    struct peers_config config = PEERS_CONFIG_DEFAULT;
    enum status status = STATUS_ERR_INVALID;
    config.host = bind;
    config.frame_bytes_max = GOSSIP_FRAME_BYTES_MAX;
    bool opened = are_addresses(a, "gossip-advertise", advertise) && gossip_port(a, &config.port);
    if (opened) {
        a->replicator = replicator_open(&config, &status);
        opened = a->replicator != NULL;
        if (!opened) buf_printf(&a->error, "cannot listen for peers on %s port %u: %s", bind, config.port,
                                status == STATUS_ERR_BUSY ? "something listens there already (gossip-port)" : status_text(status));
    }
    bool any = strcmp(bind, "0.0.0.0") == 0 || !*bind || strcmp(bind, "::") == 0;
    if (opened && !*advertise && any) {
        buf_put_str(&a->error, "gossip-bind is every address: say with gossip-advertise host:port which one peers shall use");
        opened = false;
    }
    if (opened) {
        if (*advertise)
            snprintf(a->address, sizeof a->address, "%s", advertise);
        else
            snprintf(a->address, sizeof a->address, strchr(bind, ':') ? "[%s]:%u" : "%s:%u", bind, replicator_listens(a->replicator));
    }
    mem_free(bind);
    mem_free(advertise);
    return opened;
}

static void on_wake(void *arg) { replicator_wake(((struct app *)arg)->replicator); }
static void on_acked(void *arg) {
    struct app *a = arg;
    if (a->clients) clients_wake(a->clients);
}
static void on_note(void *arg, const char *text) {
    (void)arg;
    log_line(LOG_NOTICE, "%s", text);
}

static bool read_node_id(struct app *a, uint64_t *given) {
    char *text = option_text(a, OPTION_NODE_ID), *end = text;
    *given = strtoull(text, &end, 16);
    bool good = !*text || (end - text == 16 && !*end && *given);
    if (!good) buf_put_str(&a->error, "node-id must be 16 hex digits, not all zero");
    mem_free(text);
    return good;
}

static bool make_node(struct app *a) {
    uint64_t given, id;
    char *dir = option_text(a, OPTION_DIR);
    bool good = read_node_id(a, &given) && os_claim_dir(dir, given, &id, &a->error) == STATUS_OK;
    mem_free(dir);
    struct node_config config = {.gossip = {GOSSIP_CONFIG_DEFAULT}};
    config_string(a->config, OPTION_CLUSTER_NAME, &a->cluster_name);
    config_string(a->config, OPTION_JOIN, &a->join);
    buf_put_byte(&a->cluster_name, 0);
    buf_put_byte(&a->join, 0);
    if (!good || !load_keys(a, &config.gossip.keys) || !are_addresses(a, "join", (char *)a->join.data)) return false;
    config.clock = os_clock();
    config.shards = (uint32_t)config_integer(a->config, OPTION_SHARDS);
    config.cluster_name = (char *)a->cluster_name.data;
    config.node_id = id;
    config.log_bytes_max = (uint64_t)config_integer(a->config, OPTION_GOSSIP_LOG_BYTES);
    config.gossip.transport = replicator_port(a->replicator);
    config.gossip.address = a->address;
    config.gossip.join = (char *)a->join.data;
    config.gossip.batch_us = config_integer(a->config, OPTION_GOSSIP_BATCH_US);
    config.gossip.gone_ms = config_integer(a->config, OPTION_GOSSIP_GONE_MS);
    config.gossip.wake = on_wake;
    config.gossip.flushed_by_writers = true;
    config.gossip.acked = on_acked;
    config.gossip.note = on_note;
    config.gossip.arg = a;
    a->node = node_new(&config);
    return true;
}

/* ---------------------------------------------------------------- running */

static bool port_kill(void *arg, uint64_t id) { return clients_kill(((struct app *)arg)->clients, id); }
static void port_shutdown(void *arg) {
    (void)arg;
    kill(getpid(), SIGTERM);
}
static struct process_usage port_usage(void *arg) {
    struct process_usage usage = os_usage();
    usage.connections_rejected = clients_rejected(((struct app *)arg)->clients);
    return usage;
}
static void port_wake(void *arg) { clients_wake(((struct app *)arg)->clients); }

static enum status port_rewrite(void *arg, struct buf *error) {
    struct app *a = arg;
    if (!a->config_file) {
        buf_put_str(error, "The server is running without a config file");
        return STATUS_ERR_INVALID;
    }
    struct buf old = {0}, fresh = {0};
    enum status status = os_read_file(a->config_file, CONFIG_FILE_BYTES_MAX, &old, error);
    if (status == STATUS_OK) {
        config_rewrite(a->config, buf_bytes(&old), &fresh);
        status = os_write_file(a->config_file, buf_bytes(&fresh), error);
    }
    buf_fini(&old);
    buf_fini(&fresh);
    return status;
}

static bool is_interrupted(void *signals) {
    struct pollfd fd = {.fd = *(int *)signals, .events = POLLIN};
    return poll(&fd, 1, 0) > 0;
}

/* Clients are there already, and told to wait; if this fails, until the end. */
static bool load(struct app *a, int signals) {
    char *dir = option_text(a, OPTION_DIR);
    a->durable = durable_open(&a->host, dir, (char *)a->cluster_name.data, is_interrupted, &signals, &a->error);
    mem_free(dir);
    if (a->durable) atomic_store(&a->host.loading, false);
    return a->durable != NULL;
}

static bool is_numeric(const char *host) {
    struct in6_addr address; /* or a shorter one */
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* Clients that only sit there shall not take the files that the log, the object store and peers need. */
static bool fit_clients(struct app *a) {
    uint64_t clients = (uint64_t)config_integer(a->config, OPTION_MAXCLIENTS), threads = (uint64_t)config_integer(a->config, OPTION_THREADS);
    uint64_t ours = FILES_OF_OURS + 2 * GOSSIP_LINKS + 2 * threads + (uint64_t)config_integer(a->config, OPTION_OBJECT_STORE_CONNECTIONS);
    uint64_t files = os_files(clients + ours);
    if (ours > files / 2) ours = files / 2;
    if (clients <= files - ours) return true;
    char most[24];
    char *args[] = {"--maxclients", most};
    snprintf(most, sizeof most, "%llu", (unsigned long long)(files - ours));
    log_line(LOG_WARNING, "maxclients is %s, not %llu: %llu files may be open (ulimit -n), and the log, the object store and peers need some of them",
             most, (unsigned long long)clients, (unsigned long long)files);
    return config_load_args(a->config, 2, args, &a->error) == STATUS_OK;
}

static bool open_clients(struct app *a) {
    char *bind = option_text(a, OPTION_BIND);
    struct host_ports ports = {.kill = port_kill, .shutdown = port_shutdown, .wake = port_wake, .rewrite = port_rewrite,
                               .usage = port_usage, .arg = a};
    host_init(&a->host, a->node, a->config, &ports);
    atomic_store(&a->host.loading, true);
    struct server_options options = {
        .host = bind,
        .port = (uint16_t)config_integer(a->config, OPTION_PORT),
        .threads = (int)config_integer(a->config, OPTION_THREADS),
        .backlog = (int)config_integer(a->config, OPTION_TCP_BACKLOG),
        .clients_max = (size_t)config_integer(a->config, OPTION_MAXCLIENTS),
        .idle_ms = config_integer(a->config, OPTION_TIMEOUT) * 1000,
        .keepalive_s = (int)config_integer(a->config, OPTION_TCP_KEEPALIVE),
        .query_bytes_max = a->host.limits.query_bytes_max,
        .out_bytes_max = a->host.out_bytes_max,
    };
    enum status status = clients_open(&a->host, &options, &a->clients);
    if (status != STATUS_OK && !is_numeric(bind))
        buf_printf(&a->error, "bind: '%s' is not a numeric address", bind);
    else if (status != STATUS_OK)
        buf_printf(&a->error, "cannot listen for clients on %s port %u: %s", bind, options.port, strerror(errno));
    mem_free(bind);
    return status == STATUS_OK;
}

/* Before any thread is started, so that all of them leave signals to us. A terminal that is closed ends us as Ctrl-C does, but under
 * nohup. A file that may not grow (ulimit -f) is a disk that is full. */
static int take_signals(void) {
    sigset_t set;
    struct sigaction hup;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Peers that can hear us get what we wrote. One that keeps nothing says farewell; one that will come back with what it keeps, a
 * log or a checkpoint, is expected, and resets are held for it: ANNEAL LEAVE is for those who go for good. */
static void leave(struct app *a) {
    int64_t end_us = node_now(a->node).mono_us + LEAVE_MS * 1000;
    if (!durable_keeps(a->durable)) gossip_leave(a->node->gossip, node_now(a->node));
    gossip_ask(a->node->gossip);
    bool owed = true;
    while (owed && node_now(a->node).mono_us < end_us) {
        struct member_info members[64];
        replicator_run(a->replicator, a->node, -1, node_now(a->node).mono_us + 20000);
        size_t count = gossip_members(a->node->gossip, members, 64);
        owed = false;
        for (size_t i = 1; i < count && i < 64; i++)
            owed = owed || (members[i].connected && (members[i].unacked || members[i].outbox_bytes));
    }
}

static int serve(struct app *a, int signals) {
    log_line(LOG_NOTICE, "anneal %s: clients on port %u, peers on %s, node %016llx, %u shards", VERSION, clients_port(a->clients), a->address,
             (unsigned long long)gossip_self(a->node->gossip).node, a->node->shard_count);
    replicator_run(a->replicator, a->node, signals, INT64_MAX);
    log_line(LOG_NOTICE, "stopping: clients first, then the cluster is told");
    clients_stop(a->clients);
    leave(a);
    bool well = durable_close(a->durable);
    clients_free(a->clients); /* until here there is somebody who may wake them */
    log_line(LOG_NOTICE, "bye");
    return well ? 0 : 1;
}

int main(int argc, char **argv) {
    struct app a = {.config = config_new(option_table, OPTION_COUNT)};
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) return help(&a);
    if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-v"))) return printf("anneal-server %s\n", VERSION) < 0;
    if (!load_options(&a, argc, argv)) return complain(&a);
    char *logfile = option_text(&a, OPTION_LOGFILE);
    if (os_log_open(logfile, (enum log_level)config_integer(a.config, OPTION_LOGLEVEL), &a.error) != STATUS_OK) return complain(&a);
    mem_free(logfile);
    int signals = take_signals();
    if (signals < 0 || !open_peers(&a) || !make_node(&a) || !fit_clients(&a) || !open_clients(&a)) return complain(&a);
    if (!load(&a, signals)) return is_interrupted(&signals) ? give_up(&a) : complain(&a);
    int code = serve(&a, signals);
    host_fini(&a.host);
    node_free(a.node);
    replicator_close(a.replicator);
    config_free(a.config);
    buf_fini(&a.join);
    buf_fini(&a.cluster_name);
    buf_fini(&a.error);
    close(signals);
    return code;
}
