#!/bin/sh
# Runs seeds of the simulator on all cores: sim.sh BINARY FIRST SEEDS OPS
binary=$1 first=$2 seeds=$3 ops=$4
cores=$(nproc) out=$(mktemp -d) per=$(( (seeds + $(nproc) - 1) / $(nproc) )) failed=0 pids=
trap 'rm -rf "$out"; [ -z "$pids" ] || kill $pids 2>/dev/null' EXIT INT TERM
for core in $(seq 0 $((cores - 1))); do
    "$binary" --seed $((first + core * per)) --seeds "$per" --ops "$ops" >"$out/$core" 2>&1 &
    pids="$pids $!"
done
started=$(date +%s)
while kill -0 $pids 2>/dev/null; do
    [ -t 1 ] && printf '\r%s seeds on %s cores, %s s' "$seeds" "$cores" $(($(date +%s) - started))
    sleep 1
done
[ -t 1 ] && echo
for pid in $pids; do wait "$pid" || failed=1; done
pids=
cat "$out"/*
exit $failed
