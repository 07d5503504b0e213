/* Bytes of clients as they come: two sessions of one host, requests in pieces of any length, with
 * and without a password. What comes back are whole replies, and nothing else.
 *
 * input := flags, then pieces
 * piece := who and what, length, bytes */
#include "test/fuzz/host.h"

enum { CLIENTS = 2, PIECES_MAX = 300 };
enum { PIECE_BYTES = 0, PIECE_TIME = 13, PIECE_TICK = 14, PIECE_HANGUP = 15 }; /* 1 to 12 are bytes, too */

struct client {
    struct session *session;
    struct buf query, out;
    bool over; /* it was told to go */
};

static bool is_full(const void *arg) { return ((const struct client *)arg)->out.len > 1 << 16; }

static void connect(struct fuzz_host *h, struct client *c, uint64_t id, bool local) {
    *c = (struct client){0};
    c->session = session_new(&h->host, id, "10.0.0.1:4000", "127.0.0.1:6379", local, &c->out);
    c->session->is_full = is_full;
    c->session->is_full_arg = c;
    c->over = c->session->closing;
}

static void hang_up(struct client *c) {
    fuzz_reply_count(buf_bytes(&c->out));
    session_free(c->session);
    buf_fini(&c->query);
    buf_fini(&c->out);
}

/* As the server: what is left of a query waits for a parked session and for replies to be read. */
static void talk(struct client *c, struct bytes bytes) {
    if (c->over) return;
    buf_put_bytes(&c->query, bytes);
    fuzz_show("->", bytes);
    if (c->session->parked && !session_retry(c->session, &c->out)) return;
    size_t before = c->query.len;
    c->over = !session_data(c->session, &c->query, &c->out);
    CHECK(c->query.len <= before);
    CHECK(c->over == c->session->closing);
    fuzz_show("<-", buf_bytes(&c->out));
    fuzz_reply_count(buf_bytes(&c->out));
    c->out.len = 0;
}

static void step(struct fuzz_host *h, struct client *clients, struct input *in, bool local) {
    uint8_t head = input_byte(in);
    struct client *c = &clients[head % CLIENTS];
    switch (head / CLIENTS % 16) {
    case PIECE_TIME: fuzz_clock_move(&h->clock, 1 << input_below(in, 16)); break;
    case PIECE_TICK: fuzz_host_tick(h); break;
    case PIECE_HANGUP:
        hang_up(c);
        connect(h, c, (uint64_t)head % CLIENTS + 1, local);
        break;
    default: {
        struct bytes piece = fuzz_exact(input_bytes(in, input_byte(in)));
        talk(c, piece);
        fuzz_exact_free(piece);
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    uint8_t flags = input_byte(&in);
    bool local = !(flags & 2);
    struct fuzz_host host;
    struct client clients[CLIENTS];
    fuzz_host_open(&host, flags & 1 ? "requirepass x\nenable-debug-command local\nproto-max-bulk-len 1mb\n"
                                    : "enable-debug-command yes\nproto-max-bulk-len 1mb\nclient-query-buffer-limit 1mb\n");
    for (uint64_t i = 0; i < CLIENTS; i++) connect(&host, &clients[i], i + 1, local);
    for (int i = 0; i < PIECES_MAX && in.left; i++) step(&host, clients, &in, local);
    for (int i = 0; i < CLIENTS; i++) hang_up(&clients[i]);
    fuzz_host_check(&host);
    fuzz_host_close(&host);
    return 0;
}

/* Requests one after the other, to both clients by turns, cut where the turn says. */
void fuzz_seeds(void) {
    static const char *const requests[] = {
        "SET a 1\r\nGET a\r\nINCR a\r\nEXPIRE a 10\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nSADD s 1 2 3\r\nSMEMBERS s\r\nHSET h a 1\r\nHGETALL "
        "h\r\n",
        "AUTH x\r\nSET a 1\r\nRESET\r\nGET a\r\nHELLO 2 AUTH default x SETNAME me\r\nCLIENT LIST\r\nCLIENT KILL ID 2\r\n",
        "CLIENT PAUSE 10 ALL\r\nGET a\r\nCLIENT UNPAUSE\r\nWAIT 1 50\r\nPING\r\nDEBUG SLEEP 0.1\r\nECHO x\r\nCLIENT REPLY "
        "OFF\r\nPING\r\nCLIENT REPLY ON\r\nQUIT\r\n",
        "CONFIG SET requirepass x\r\nCONFIG GET *\r\nINFO\r\nCOMMAND INFO "
        "get\r\nMONITOR\r\n*3\r\n$3\r\nSET\r\n$3\r\na\r\nb\r\n$4\r\n\r\n\r\n\r\r\n*1\r\n$x"};
    for (unsigned flags = 0; flags < 4; flags++)
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
            struct buf seed = {0};
            struct input in = input_of((const uint8_t *)requests[i], strlen(requests[i]));
            buf_put_byte(&seed, (uint8_t)flags);
            for (unsigned turn = 0; in.left; turn++) {
                struct bytes piece = input_bytes(&in, 5 + 23 * (turn % 3));
                buf_put_byte(&seed, flags & 2 ? (uint8_t)(turn % 4) : 0);
                buf_put_byte(&seed, (uint8_t)piece.len);
                buf_put_bytes(&seed, piece);
            }
            fuzz_seed(buf_bytes(&seed));
            buf_fini(&seed);
        }
}
