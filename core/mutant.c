#include "core/mutant.h"

#ifdef MUTANTS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum mutant find(const char *name) {
    static const char *const names[] = {"none",
#define X(name, what) #name,
                                        MUTANT_TABLE(X)
#undef X
    };
    for (int i = 0; i < MUTANT_COUNT; i++)
        if (strcmp(names[i], name ? name : "none") == 0) return (enum mutant)i;
    fprintf(stderr, "MUTANT=%s: there is no such fault\n", name);
    exit(2);
}

enum mutant mutant_selected;

__attribute__((constructor)) static void select_mutant(void) { mutant_selected = find(getenv("MUTANT")); }
#endif
