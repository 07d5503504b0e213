/* The parser of requests: what it makes of bytes does not depend on how they are cut.
 *
 * input := limits, then requests, whose first bytes also say how they are cut */
#include "net/resp.h"

#include "test/fuzz/fuzz.h"

/* Commands as they come, each argument behind its length; then the error, if there was one. */
static void note_command(struct buf *said, const struct bytes *argv, size_t argc) {
    CHECK(argc > 0);
    buf_printf(said, "command %zu\n", argc);
    for (size_t i = 0; i < argc; i++) {
        buf_printf(said, "%zu ", argv[i].len);
        buf_put_bytes(said, argv[i]);
    }
}

/* The next one, and what a look ahead at it said, if the parser stands where one begins. */
static enum resp_result next_peeked(struct resp_parser *p, struct bytes in, const struct bytes **argv, size_t *argc) {
    size_t end = p->pos;
    struct bytes second;
    bool peeked = !p->args_left && resp_peek(in, &end, &second);
    enum resp_result result = resp_next(p, in, argv, argc);
    if (!peeked) return result;
    CHECK(result != RESP_MORE);
    if (result == RESP_ERROR) return result; /* a limit, which it does not know */
    CHECK(p->pos == end);
    CHECK(bytes_equal(second, *argc > 1 ? (*argv)[1] : (struct bytes){0}));
    return result;
}

/* What is there is parsed; what was taken is dropped. False: an error, after which all is over. */
static bool parse(struct resp_parser *p, struct buf *query, struct buf *said) {
    const struct bytes *argv;
    size_t argc;
    enum resp_result result;
    struct bytes exact = fuzz_exact(buf_bytes(query));
    while ((result = next_peeked(p, exact, &argv, &argc)) == RESP_COMMAND) note_command(said, argv, argc);
    fuzz_exact_free(exact);
    size_t taken = resp_take(p);
    CHECK(taken <= query->len);
    buf_drop_front(query, taken);
    CHECK(result == RESP_ERROR || p->pos <= query->len);
    if (result == RESP_ERROR) buf_printf(said, "error %s\n", p->error);
    return result != RESP_ERROR;
}

/* cuts: the length of each piece, round and round; none: all at once. */
static void feed(const struct resp_limits *limits, bool stranger, struct bytes bytes, struct bytes cuts, struct buf *said) {
    struct resp_parser p;
    struct buf query = {0};
    resp_init(&p, limits);
    p.stranger = stranger;
    bool good = true;
    for (size_t at = 0, turn = 0; at < bytes.len && good; turn++) {
        size_t len = cuts.len ? cuts.data[turn % cuts.len] % 16u + 1 : bytes.len;
        if (len > bytes.len - at) len = bytes.len - at;
        buf_put(&query, bytes.data + at, len);
        at += len;
        good = parse(&p, &query, said);
    }
    resp_fini(&p);
    buf_fini(&query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    uint8_t flags = input_byte(&in);
    struct resp_limits limits = RESP_LIMITS_DEFAULT;
    bool is_small = flags & 4; /* a request that is too long by a line's end is refused or not, as it comes */
    if (flags & 2) limits = (struct resp_limits){32, 6, 24, is_small ? 64 : 1 << 20, 3, 8};
    struct bytes requests = bytes_of(in.at, in.left), cuts = bytes_of(in.at, in.left < 8 ? in.left : 8);
    struct buf whole = {0}, cut = {0}, single = {0};
    static const uint8_t ones[1] = {0};
    feed(&limits, flags & 1, requests, (struct bytes){0}, &whole);
    feed(&limits, flags & 1, requests, cuts, &cut);
    feed(&limits, flags & 1, requests, bytes_of(ones, 1), &single);
    if (!is_small) CHECK(bytes_equal(buf_bytes(&whole), buf_bytes(&cut)));
    if (!is_small) CHECK(bytes_equal(buf_bytes(&whole), buf_bytes(&single)));
    buf_fini(&whole);
    buf_fini(&cut);
    buf_fini(&single);
    return 0;
}

void fuzz_seeds(void) {
    static const char *const lines[] = {"PING\r\n",
                                        "set \"a b\\x41\\n\" 'it\\'s'\r\nget a\n",
                                        "*1\r\n$4\r\nPING\r\n*0\r\n*-1\r\n",
                                        "*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
                                        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nbc\r\n\r\n\r\nPING x\r\n",
                                        "*2\r\n$3\r\nGET\r\n+1\r\n",
                                        "*99999999999\r\n",
                                        "*1\r\n$-2\r\n",
                                        "get \"a\r\n"};
    for (int flags = 0; flags < 8; flags++)
        for (size_t i = (size_t)flags % 2; i < sizeof lines / sizeof *lines; i += 2) {
            struct buf seed = {0};
            buf_put_byte(&seed, (uint8_t)flags);
            buf_put_str(&seed, lines[i]);
            fuzz_seed(buf_bytes(&seed));
            buf_fini(&seed);
        }
}
