#!/bin/sh
# Runs the simulator with each line of sim/seeds: sim-seeds.sh BINARY
binary=$1 failed=0 count=0
while read -r options; do
    case $options in '' | '#'*) continue ;; esac
    count=$((count + 1))
    # shellcheck disable=SC2086
    out=$("$binary" $options) || { failed=$((failed + 1)) && echo "$out" | grep -v 'took:\|also:'; }
done <"$(dirname "$0")/../sim/seeds"
echo "kept seeds: $((count - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$count" != 0 ]
