/* anneal-maelstrom: standard input and output, time, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/os_posix.h"
#include "sim/maelstrom.h"

static void say(const char *line) { fprintf(stderr, "anneal-maelstrom: %s\n", line); }

static int usage(int code) {
    printf("anneal-maelstrom: a node for Maelstrom, on standard input and output\n\n"
           "  --workload NAME  what a read without a key asks for: broadcast, g-set, g-counter, pn-counter;\n"
           "                   by default what Maelstrom was told by -w, else what is written tells\n");
    return code;
}

/* Maelstrom starts us with no word on the workload, but what it was started with itself can be seen:
 * "... test -w g-set ...", in the command line of our parent. Whatever else is there tells nothing. */
static void ask_parent(enum maelstrom_kind *kind) {
    char path[32];
    struct buf line = {0}, error = {0};
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)getppid());
    bool known = os_read_file(path, 1 << 20, &line, &error) == STATUS_OK;
    buf_put_byte(&line, 0);
    bool tests = false, names = false;
    for (size_t at = 0; known && at < line.len; at += strlen((char *)line.data + at) + 1) {
        const char *word = (char *)line.data + at;
        if (names && maelstrom_kind_of(word, kind)) break;
        tests = tests || !strcmp(word, "test");
        names = tests && (!strcmp(word, "-w") || !strcmp(word, "--workload"));
    }
    buf_fini(&line);
    buf_fini(&error);
}

/* False: nobody reads any more. */
static bool write_some(struct maelstrom *m) {
    struct buf *out = maelstrom_output(m);
    ssize_t n = write(STDOUT_FILENO, out->data, out->len);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    buf_drop_front(out, (size_t)n);
    maelstrom_written(m);
    return true;
}

/* False: it is over. */
static bool read_some(struct maelstrom *m) {
    uint8_t bytes[64 << 10];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    maelstrom_input(m, bytes_of(bytes, (size_t)n));
    return n > 0;
}

static int ms_until(int64_t due_us, int64_t now_us) {
    if (due_us <= now_us) return 0;
    int64_t ms = (due_us - now_us + 999) / 1000;
    return ms > 1000 ? 1000 : (int)ms;
}

static void serve(struct maelstrom *m, struct clock_port clock) {
    for (;;) {
        int64_t due_us = maelstrom_tick(m);
        bool has_output = maelstrom_output(m)->len > 0;
        struct pollfd fds[] = {{maelstrom_is_full(m) ? -1 : STDIN_FILENO, POLLIN, 0}, {has_output ? STDOUT_FILENO : -1, POLLOUT, 0}};
        if (poll(fds, 2, ms_until(due_us, clock.now(clock.self).mono_us)) < 0 && errno != EINTR) return;
        if (fds[1].revents && !write_some(m)) return;
        if (fds[0].revents && !read_some(m)) break;
    }
}

/* What input had asked for is answered though it ended. */
static void finish(struct maelstrom *m) {
    maelstrom_tick(m);
    struct pollfd fd = {STDOUT_FILENO, POLLOUT, 0};
    while (maelstrom_output(m)->len && poll(&fd, 1, 1000) > 0 && write_some(m)) {}
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"workload", 1, 0, 'w'}, {"help", 0, 0, 'h'}, {0}};
    struct maelstrom_config config = {.clock = os_clock(), .say = say};
    ask_parent(&config.kind);
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (c != 'w' || !maelstrom_kind_of(optarg, &config.kind)) return usage(c == 'h' ? 0 : 1);
    if (optind != argc) return usage(1);
    if (sodium_init() < 0 || fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK) < 0) return 1;
    struct maelstrom *m = maelstrom_new(&config);
    serve(m, config.clock);
    finish(m);
    maelstrom_summary(m);
    maelstrom_free(m);
    return 0;
}
