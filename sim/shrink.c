/* What of a failing seed can be left out? */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/command_line.h"

#define SHRINK_SECONDS 60 /* a try that takes longer counts as a failure: nothing may hang */

typedef bool fails_fn(const struct command_line *line, void *arg);

static bool still_fails(const struct command_line *line, const struct swarm *given, fails_fn *fails, void *arg) {
    pid_t child = fork();
    if (child == 0) {
        struct command_line one = *line;
        one.given = *given;
        one.verbose = false;
        one.watch = NULL;
        if (!freopen("/dev/null", "w", stdout)) _exit(2);
        alarm(SHRINK_SECONDS);
        _exit(fails(&one, arg));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return false;
    return !WIFEXITED(status) || WEXITSTATUS(status) == 1;
}

/* Sets the field to the value if the seed still fails with it. */
static bool try_value(const struct command_line *line, struct swarm *given, int field, int64_t value, fails_fn *fails, void *arg) {
    struct swarm trial = *given;
    *swarm_at(&trial, field) = value;
    if (!still_fails(line, &trial, fails, arg)) return false;
    *given = trial;
    return true;
}

/* Everything that can be left out, then ever smaller numbers of what cannot. */
static bool shrink_once(const struct command_line *line, struct swarm *given, fails_fn *fails, void *arg) {
    bool any = false;
    struct swarm now;
    for (int f = 0; f < swarm_count; f++) {
        swarm_pick(line->seed, given, &now);
        int64_t least = swarm_table[f].least, value = *swarm_at(&now, f);
        if (value > least && try_value(line, given, f, least, fails, arg)) {
            any = true;
            continue;
        }
        for (int64_t gap = (value - least) / 2; gap > 0 && value - least > value / 20; gap /= 2)
            while (value - gap > least && try_value(line, given, f, value - gap, fails, arg)) {
                value -= gap;
                any = true;
            }
    }
    return any;
}

int shrink(const struct command_line *line, fails_fn *fails, void *arg) {
    struct swarm given = line->given;
    if (!still_fails(line, &given, fails, arg)) {
        printf("seed %llu does not fail\n", (unsigned long long)line->seed);
        return 1;
    }
    for (int rounds = 0; rounds < 4 && shrink_once(line, &given, fails, arg); rounds++) command_line_replay(line->seed, &given);
    printf("smallest ");
    command_line_replay(line->seed, &given);
    return 0;
}
