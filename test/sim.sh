#!/bin/sh
# Runs seeds of the simulator on all cores, and sums up what they took: sim.sh BINARY FIRST SEEDS OPS
# From 200 seeds on, a rare path that was never taken is a failure: it is claimed to be tested.
binary=$1 first=$2 seeds=$3 ops=$4
cores=$(nproc) per=$(((seeds + $(nproc) - 1) / $(nproc))) failed=0 pids=
out=$(mktemp -d)
trap 'rm -rf "$out"; [ -z "$pids" ] || kill $pids 2>/dev/null' EXIT INT TERM
at=$first
while [ "$at" -lt $((first + seeds)) ]; do
    left=$((first + seeds - at))
    "$binary" --seed "$at" --seeds $((left < per ? left : per)) --ops "$ops" --progress >"$out/$at.run" 2>"$out/$at.done" &
    pids="$pids $!"
    at=$((at + per))
done
started=$(date +%s)
while kill -0 $pids 2>/dev/null; do
    [ -t 1 ] && printf '\r%s of %s seeds on %s cores, %s s' "$(cat "$out"/*.done | tr -dc . | wc -c)" "$seeds" "$cores" $(($(date +%s) - started))
    sleep 1
done
[ -t 1 ] && echo
for pid in $pids; do wait "$pid" || failed=1; done
pids=
grep -hv ' took: \| also: \|client operations in\|seeds,.*trace' "$out"/*.run
cat "$out"/*.done | tr -d . | head -n 20
cat "$out"/*.run | awk -v seeds="$seeds" '
    / (took|also): / { n = $1; sub(/^ *[0-9]+ /, ""); if (!($0 in sum)) order[++lines] = $0; sum[$0] += n; next }
    /client operations in/ { ops += $1; seconds += $5 }
    / seeds, .* failed/ { ran += $1; bad += $3 }
    END {
        for (i = 1; i <= lines; i++) {
            line = order[i]
            printf "%14d %s%s\n", sum[line], line, sum[line] ? "" : "   <- never"
            if (!sum[line] && line ~ /^took/) never++
        }
        printf "%d seeds, %d failed: %d client operations, %d a core-second\n", ran, bad, ops, ops / (seconds ? seconds : 1)
        if (ran != seeds) { print "not all seeds ended"; exit 1 }
        if (seeds >= 200 && never) { printf "%d paths were never taken\n", never; exit 1 }
    }' || failed=1
exit $failed
