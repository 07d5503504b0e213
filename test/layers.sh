#!/bin/sh
# Prints every include that points up (see the table of layers in README.md); exit 1 if any.
bad=0
check() { # folder, folders it must not include
    for up in $2; do
        grep -n "#include \"$up/" "$1"/*.[ch] 2>/dev/null && bad=1
    done
}
check core "lattice gossip persist net sim test"
check lattice "gossip persist net sim test"
check gossip "persist net sim test"
check persist "gossip net sim test"
check net "sim test"
exit $bad
