/* The front end with the least a server can do: every request is answered +PONG. What it
 * costs per request is the front end's and the parser's own share; test/bench/ping.sh compares.
 * Ends after so many seconds. Usage: ping PORT SECONDS */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/mem.h"
#include "net/resp.h"
#include "net/server.h"

static const struct resp_limits limits = {.bulk_bytes_max = RESP_BULK_BYTES_MAX,
                                          .args_max = RESP_ARGS_MAX,
                                          .inline_bytes_max = RESP_INLINE_BYTES_MAX,
                                          .query_bytes_max = RESP_QUERY_BYTES_MAX};

static void *on_open(void *app, struct connection *c) {
    (void)app, (void)c;
    struct resp_parser *parser = mem_zero(1, sizeof *parser);
    resp_init(parser, &limits);
    return parser;
}

static void on_close(void *session) {
    resp_fini(session);
    mem_free(session);
}

static bool on_data(void *session, struct connection *c, struct buf *query, struct buf *out) {
    const struct bytes *argv;
    size_t argc;
    enum resp_result result = RESP_MORE;
    while (!connection_full(c) && (result = resp_next(session, buf_bytes(query), &argv, &argc)) == RESP_COMMAND)
        buf_put_str(out, "+PONG\r\n");
    buf_drop_front(query, resp_take(session));
    return result != RESP_ERROR;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    struct server_options options = {.host = "127.0.0.1",
                                     .port = (uint16_t)atoi(argv[1]),
                                     .threads = 1,
                                     .clients_max = 1000,
                                     .query_bytes_max = 1 << 20,
                                     .out_bytes_max = 1 << 20};
    struct server_ops ops = {.open = on_open, .data = on_data, .close = on_close};
    struct server *server;
    if (server_open(&options, &ops, NULL, &server) != STATUS_OK) return 1;
    printf("%u\n", (unsigned)server_port(server));
    fflush(stdout);
    sleep((unsigned)atoi(argv[2]));
    server_stop(&server);
    return 0;
}
