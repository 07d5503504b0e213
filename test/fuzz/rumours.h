/* Messages of gossip that are well made, with what bytes choose in them. */
#ifndef ANNEAL_TEST_FUZZ_RUMOURS_H
#define ANNEAL_TEST_FUZZ_RUMOURS_H

#include "test/fuzz/net.h"

/* One message about the nodes of the net and some that are none, as the frames carry it. */
void rumour_make(struct net *n, struct input *in, struct buf *out);

#endif
