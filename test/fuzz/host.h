/* A node with its host in this process, a clock that is moved by hand, and nobody else. */
#ifndef ANNEAL_TEST_FUZZ_HOST_H
#define ANNEAL_TEST_FUZZ_HOST_H

#include "net/host.h"
#include "net/options.h"
#include "net/session.h"
#include "test/fuzz/follower.h"
#include "test/fuzz/fuzz.h"

#define FUZZ_SHARDS 3

struct fuzz_host {
    struct fuzz_clock clock;
    struct config *config;
    struct node *node;
    struct host host;
    struct follower follower;
};

/* options: lines of a configuration file. */
void fuzz_host_open(struct fuzz_host *h, const char *options);
void fuzz_host_close(struct fuzz_host *h); /* after its sessions */
/* Removes what has expired, tells the follower, and lets gossip do what is due. */
void fuzz_host_tick(struct fuzz_host *h);
/* What is counted is right; the follower holds the same; what is held can be told to one who has
 * nothing; cleared, nothing is held. */
void fuzz_host_check(struct fuzz_host *h);

/* The end of the reply that begins at `at`; 0 if it is none. */
size_t fuzz_reply_end(struct bytes replies, size_t at);
/* Whole replies only; how many. */
size_t fuzz_reply_count(struct bytes replies);

#endif
