/* Every command of the table, with arguments that mean something to it: bytes choose the command,
 * how many arguments it gets, and each argument from a few words. Each command gets one reply.
 *
 * input := step*
 * step  := command count argument* | TIME by | EXPIRE
 * argument := number of a word | RAW length bytes */
#include "test/fuzz/host.h"

enum { STEP_TIME = 254, STEP_TICK = 255, ARGUMENT_RAW = 255, ARGUMENT_ANY = 192 };
enum { ARGUMENTS_MAX = 12, STEPS_MAX = 200 };

static const char *const keys[] = {"a", "b", "c", "{a}d", "{b}", "", "s1", "h1"};

/* Zeros cannot be in these: raw arguments may have them. */
static const char *const words[] = {
    /* members, values, numbers */
    "m", "n", "", "x", "7", "0", "1", "-1", "2", "3", "10", "-7", "100", "1.5", "-0.25", "1e3", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "01", " 1", "abc", "inf", "nan", "1e400", "1701411834604692317316", "-1e21",
    "0.00000000000000001", "ohmytext", "mynewtext", "\xff\r\n", "300", "1700000000", "1700000005000", "1700009999", "1699999999999",
    "9999999999999", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    /* options */
    "NX", "XX", "GT", "LT", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "LIMIT", "COUNT", "MATCH", "TYPE", "string", "set",
    "hash", "WITHVALUES", "REPLACE", "DB", "ASYNC", "SYNC", "LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN", "AUTH", "SETNAME", "default",
    /* patterns */
    "*", "?", "[a-c]*", "*1", "\\*", "[^a]",
    /* of families */
    "HELP", "ENCODING", "REFCOUNT", "IDLETIME", "FREQ", "ID", "GETNAME", "LIST", "INFO", "KILL", "ADDR", "LADDR", "SKIPME", "yes", "no",
    "REPLY", "ON", "OFF", "SKIP", "PAUSE", "UNPAUSE", "WRITE", "ALL", "NO-EVICT", "normal", "REWRITE", "RESETSTAT", "SET", "maxclients",
    "loglevel", "debug", "requirepass", "protected-mode", "timeout", "SLEEP", "OBJECT", "GOSSIP", "RESUME", "NODES", "LAG", "DIGEST",
    "LEAVE", "FORGET", "DOCS", "GETKEYS", "FILTERBY", "PATTERN", "ACLCAT", "MODULE", "server", "memory", "everything", "NOSAVE", "NOW",
    "ABORT", "127.0.0.1:1", "user", "0000000000000001"};
enum { KEYS = sizeof keys / sizeof *keys, WORDS = sizeof words / sizeof *words };
_Static_assert(WORDS < ARGUMENT_ANY, "a byte for each");

struct client {
    struct fuzz_host *host;
    struct session *session;
    struct buf query, out;
};

/* Whatever password was set: the target session is about strangers. */
static void connect(struct client *c) {
    c->session = session_new(&c->host->host, 1, "127.0.0.1:1", "127.0.0.1:2", true, &c->out);
    c->session->authenticated = true;
    c->session->parser.stranger = false;
    c->out.len = 0;
}

static void hang_up(struct client *c) {
    session_free(c->session);
    c->query.len = c->out.len = 0;
}

/* ------------------------------------------------------------ the commands */

static bool is_key(const struct command *c, int at) {
    if (c->first_key == KEYS_COUNTED) return at > 1;
    if (!c->first_key || at < c->first_key || (c->last_key >= 0 && at > c->last_key)) return false;
    return (at - c->first_key) % c->key_step == 0;
}

/* Half of what is no key's place may be a key as well: counted ones, GETKEYS. */
static void put_argument(struct input *in, bool wants_key, struct buf *query) {
    uint8_t byte = input_byte(in);
    if (byte == ARGUMENT_RAW)
        resp_bulk(query, input_bytes(in, input_below(in, 64)));
    else if ((wants_key && byte < ARGUMENT_ANY) || (!wants_key && byte >= ARGUMENT_ANY))
        resp_bulk(query, bytes_str(keys[byte % KEYS]));
    else
        resp_bulk(query, bytes_str(words[byte % WORDS]));
}

/* The low bits of the count: arguments beyond those it needs; a high one: any number of them. */
static void put_command(struct input *in, const struct command *c, struct buf *query) {
    uint8_t byte = input_byte(in);
    int least = abs(c->arity) - 1, count = c->arity > 0 ? least : least + byte % 8;
    if (byte >= 128) count = byte % (ARGUMENTS_MAX + 1);
    resp_array(query, (size_t)count + 1);
    resp_bulk(query, bytes_str(c->name));
    for (int i = 1; i <= count; i++) put_argument(in, is_key(c, i), query);
}

/* Waits as long as it says. One that waits for ever goes, and with it whatever pause held it. */
static void wait_for(struct client *c) {
    struct fuzz_clock *clock = &c->host->clock;
    int64_t us = c->session->deadline_us - clock->mono_us;
    CHECK(c->out.len == 0);
    if (us <= INT64_C(3600000000)) {
        if (us > 0) fuzz_clock_move(clock, (us + 999) / 1000);
        CHECK(session_retry(c->session, &c->out));
        return;
    }
    hang_up(c);
    host_unpause(&c->host->host);
    connect(c);
}

static void run(struct client *c, struct input *in, const struct command *command) {
    c->query.len = 0;
    put_command(in, command, &c->query);
    enum reply_mode mode = c->session->reply_mode;
    fuzz_show("->", buf_bytes(&c->query));
    bool stays = session_data(c->session, &c->query, &c->out), waited = c->session->parked;
    CHECK(c->query.len == 0 || c->session->closing); /* RESET makes strangers, who may say less */
    if (waited) wait_for(c);
    fuzz_show("<-", buf_bytes(&c->out));
    size_t replies = fuzz_reply_count(buf_bytes(&c->out));
    CHECK(replies <= 1);
    bool answers = mode == REPLY_ON && c->session->reply_mode == REPLY_ON && !c->session->closing; /* SHUTDOWN does not */
    if (answers && !waited) CHECK(replies == 1);
    c->out.len = 0;
    if (stays && !c->session->closing) return;
    hang_up(c);
    connect(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = input_of(data, size);
    struct fuzz_host host;
    fuzz_host_open(&host, "enable-debug-command yes\nproto-max-bulk-len 1mb\nclient-query-buffer-limit 1mb\n");
    struct client c = {.host = &host};
    connect(&c);
    for (int i = 0; i < STEPS_MAX && in.left; i++) {
        uint8_t step = input_byte(&in);
        if (step == STEP_TIME)
            fuzz_clock_move(&host.clock, 1 << input_below(&in, 16));
        else if (step == STEP_TICK)
            fuzz_host_tick(&host);
        else
            run(&c, &in, &command_table[step % command_count]);
    }
    hang_up(&c);
    buf_fini(&c.query);
    buf_fini(&c.out);
    fuzz_host_check(&host);
    fuzz_host_close(&host);
    return 0;
}

/* ------------------------------------------------------------------- seeds */

static void put_word(struct buf *seed, const char *word, bool key_place) {
    for (size_t i = 0; i < KEYS && key_place; i++)
        if (strcmp(keys[i], word) == 0) {
            buf_put_byte(seed, (uint8_t)i);
            return;
        }
    for (size_t i = 0; i < WORDS && !key_place; i++)
        if (strcmp(words[i], word) == 0) {
            buf_put_byte(seed, (uint8_t)i);
            return;
        }
    buf_put_byte(seed, ARGUMENT_RAW);
    buf_put_byte(seed, (uint8_t)strlen(word));
    buf_put_str(seed, word);
}

/* One line, its words between single spaces. */
static void put_line(struct buf *seed, const char *line) {
    char copy[256];
    snprintf(copy, sizeof copy, "%s", line);
    char *rest = copy, *name = strsep(&rest, " ");
    const struct command *c = command_find(bytes_str(name));
    CHECK(c);
    int count = 0;
    for (const char *at = rest; at; at = strchr(at + 1, ' ')) count++;
    buf_put_byte(seed, (uint8_t)(c - command_table));
    int beyond = count - (abs(c->arity) - 1);
    CHECK(beyond >= 0 && beyond < 8);
    buf_put_byte(seed, (uint8_t)beyond);
    for (int i = 1; rest; i++) put_word(seed, strsep(&rest, " "), is_key(c, i));
}

void fuzz_seeds(void) {
    static const char *const scripts[][10] = {{"set a 1 EX 10 GET", "incr a", "incrbyfloat a 1.5", "append a x", "getex a PERSIST",
                                               "setrange a 300 m", "lcs a b IDX", "getrange a 0 -1"},
                                              {"sadd a m n x", "sadd b n 7", "sinterstore c a b", "sunion a b", "sdiff a b", "smove a b m",
                                               "spop b 2", "sscan a 0 COUNT 10", "sintercard 2 a b LIMIT 1"},
                                              {"hset a m 7 n x", "hincrby a m 10", "hincrbyfloat a m 1.5", "hgetall a",
                                               "hrandfield a -7 WITHVALUES", "hdel a m n", "hsetnx a m x", "hscan a 0 MATCH *"},
                                              {"mset a 1 b x", "expire a 100 NX", "pexpireat b 1700000005000", "copy a c REPLACE",
                                               "rename c b", "object ENCODING b", "keys *", "scan 0 COUNT 10", "del a b"},
                                              {"client LIST", "client PAUSE 100 WRITE", "set a 1", "client REPLY SKIP",
                                               "config SET requirepass x", "auth x", "hello 2", "debug SLEEP 1", "wait 1 100"},
                                              {"anneal NODES", "anneal DIGEST", "info everything", "command GETKEYS mset a 1",
                                               "config GET *", "flushall", "incr a", "del a", "incr a"}};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct buf seed = {0};
        for (size_t k = 0; k < 10 && scripts[i][k]; k++) put_line(&seed, scripts[i][k]);
        buf_put(&seed, (uint8_t[]){STEP_TIME, 12, STEP_TICK}, 3);
        fuzz_seed(buf_bytes(&seed));
        buf_fini(&seed);
    }
}
