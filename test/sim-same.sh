#!/bin/sh
# Two builds of the simulator must give the same trace: sim-same.sh BINARY BINARY
trace() { "$1" --seeds 20 --ops 500 | tail -n 1; }
one=$(trace "$1") other=$(trace "$2")
echo "$1: $one"
[ "$one" = "$other" ] && [ -n "$one" ] && exit
echo "$2: $other"
echo "the trace depends on the compiler"
exit 1
