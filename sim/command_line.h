/* The options of anneal-sim, and the command that replays a seed. */
#ifndef ANNEAL_SIM_COMMAND_LINE_H
#define ANNEAL_SIM_COMMAND_LINE_H

#include "sim/swarm.h"

struct command_line {
    uint64_t seed, seeds;
    struct swarm given;
    bool verbose, shrink, speed, stop, progress, show;
    const char *watch;
};

/* False: *line is not to be run; *help tells whether that was asked for. */
bool command_line_read(int argc, char **argv, struct command_line *line, bool *help);
int command_line_usage(int code);
void command_line_replay(uint64_t seed, const struct swarm *given);

/* shrink.c: prints the smallest command with which the first seed still fails. Each try runs in a
 * process of its own, so that a try may crash or hang. Returns the exit code. */
int shrink(const struct command_line *line, bool (*fails)(const struct command_line *line, void *arg), void *arg);

#endif
