#include "sim/command_line.h"

#include <getopt.h>
#include <stdlib.h>

void command_line_replay(uint64_t seed, const struct swarm *given) {
    printf("replay: build/anneal-sim --seed %llu", (unsigned long long)seed);
    swarm_print(given);
    printf("\n");
    fflush(stdout);
}

int command_line_usage(int code) {
    printf("anneal-sim: a cluster of the shipped code in a simulated world\n\n"
           "  --seed N     first seed (1)\n"
           "  --seeds N    how many (1)\n"
           "  --shrink     of the first seed, which fails: the smallest command that still does\n"
           "  --stop       after the first seed that fails\n"
           "  --speed      20 seeds of three nodes, networks, crashes and clocks with faults, no disks; memory that runs out, damaged\n"
           "               frames and object stores as each picks them: client operations a second\n"
           "  --watch KEY  print what each node shows for a key whenever it changes\n"
           "  --show       print what each seed picked\n"
           "  --progress   a byte to standard error for each seed\n"
           "  --verbose    print what happens to nodes and network, and what clients do\n\n"
           "What the seed picks, unless it is given:\n");
    for (int i = 0; i < swarm_count; i++)
        printf("  --%-13s %s (%lld to %lld)\n", swarm_table[i].name, swarm_table[i].help, (long long)swarm_table[i].least,
               (long long)swarm_table[i].most);
    return code;
}

/* Exactly three nodes with some of every fault of networks, processes and clocks, so that the number can be compared. No disks, no
 * large collections; memory that runs out, damage and object stores are up to the seeds. */
static void set_speed(struct command_line *line) {
    struct swarm *s = &line->given;
    line->seeds = 20;
    s->nodes = 3;
    s->loss = s->duplicates = s->reorders = 5;
    s->cuts = s->crashes = s->jumps = 5;
    s->skew_ms = 10000;
    s->latency_us = 1000;
    s->big = s->disks = 0;
}

static bool read_number(const char *text, int64_t least, int64_t most, int64_t *out) {
    char *end;
    *out = strtoll(text, &end, 10);
    return *text && !*end && *out >= least && *out <= most;
}

enum { OPT_SEED = 1000, OPT_SEEDS, OPT_SHRINK, OPT_STOP, OPT_SPEED, OPT_WATCH, OPT_SHOW, OPT_PROGRESS, OPT_VERBOSE, OPT_HELP };

static bool take_option(struct command_line *line, int c, const char *text) {
    int64_t number = 0;
    switch (c) {
    case OPT_SEED: line->seed = strtoull(text, NULL, 10); return true;
    case OPT_SEEDS: line->seeds = strtoull(text, NULL, 10); return line->seeds > 0;
    case OPT_SHRINK: return line->shrink = true;
    case OPT_STOP: return line->stop = true;
    case OPT_SPEED: set_speed(line); return line->speed = true;
    case OPT_WATCH: line->watch = text; return true;
    case OPT_SHOW: return line->show = true;
    case OPT_PROGRESS: return line->progress = true;
    case OPT_VERBOSE: return line->verbose = true;
    default:
        if (c < 0 || c >= swarm_count || !read_number(text, swarm_table[c].least, swarm_table[c].most, &number)) return false;
        *swarm_at(&line->given, c) = number;
        return true;
    }
}

bool command_line_read(int argc, char **argv, struct command_line *line, bool *help) {
    *line = (struct command_line){.seed = 1, .seeds = 1};
    *help = false;
    swarm_unset(&line->given);
    static const struct option fixed[] = {
        {"seed", 1, 0, OPT_SEED}, {"seeds", 1, 0, OPT_SEEDS}, {"shrink", 0, 0, OPT_SHRINK}, {"stop", 0, 0, OPT_STOP},
        {"speed", 0, 0, OPT_SPEED}, {"watch", 1, 0, OPT_WATCH}, {"show", 0, 0, OPT_SHOW}, {"progress", 0, 0, OPT_PROGRESS},
        {"verbose", 0, 0, OPT_VERBOSE}, {"help", 0, 0, OPT_HELP}};
    enum { FIXED = sizeof fixed / sizeof *fixed };
    struct option options[128] = {{0}};
    char names[64][32];
    for (int i = 0; i < FIXED; i++) options[i] = fixed[i];
    for (int i = 0; i < swarm_count; i++) {
        snprintf(names[i], sizeof names[i], "%s", swarm_table[i].name);
        options[FIXED + i] = (struct option){names[i], 1, 0, i};
    }
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        *help = c == OPT_HELP;
        if (*help || !take_option(line, c, optarg)) return false;
    }
    return optind == argc;
}
