/* Memory that runs out. core/mem.h promises that no allocation fails: one that is refused ends the
 * process. So for a node it is a crash like others, but in the midst of anything: of a command, of a
 * join, of a write to the disk.
 *
 * What a process allocates is registered as its own, so that all of it can be given back when the
 * process has ended where it stood. What the simulator allocates is not, be it called by a process
 * (memory_become) or not. Processes share nothing: their locks are in their memory and go with it.
 *
 * One thread. mem.h's calls are replaced while there is any `struct memory`. */
#ifndef ANNEAL_SIM_MEMORY_H
#define ANNEAL_SIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct memory; /* of a process */
struct memory *memory_new(void);
void memory_free(struct memory *m); /* all was given back */

/* Runs code of a process, not from within another's. False: it was refused memory and ended in the
 * midst of it; no code of it may run again, not even to clean up. `m` may be NULL: it never is. */
bool memory_run(struct memory *m, void (*code)(void *arg), void *arg);
/* Whoever calls is from now on `m`, or the simulator (NULL). Returns who was. */
struct memory *memory_become(struct memory *m);
/* So many allocations from now on one is refused; 0: none will be. */
void memory_arm(struct memory *m, uint64_t allocations);
void memory_spare(struct memory *m, bool spared); /* the count stands still */
/* Ends the process whose code runs, as if it were refused memory. */
_Noreturn void memory_end(void);
uint64_t memory_pieces(const struct memory *m);
/* Frees all that the process has. */
void memory_give_back(struct memory *m);

#endif
