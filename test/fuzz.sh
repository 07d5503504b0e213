#!/bin/sh
# Runs fuzz targets one after the other: fuzz.sh BUILD SECONDS CORPUS target...
# Each first runs what is saved under test/fuzz/corpus, the seeds of its own encoders and what
# CORPUS keeps of earlier runs, then new inputs for SECONDS. A slow input or one that takes much memory is a
# failure, as is a crash; the input is kept. Closes with one line: N passed, N failed.
build=$1 seconds=$2 corpus=$3
shift 3
saved=$(dirname "$0")/fuzz/corpus
limits="-max_len=4096 -timeout=10 -rss_limit_mb=1536 -malloc_limit_mb=768"
ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=1
export ASAN_OPTIONS
passed=0 failed=0
mkdir -p "$build/crashes" "$build/logs"
for target in "$@"; do
    seeds=$build/seeds/$target log=$build/logs/$target found=$build/crashes/$target-
    mkdir -p "$corpus/$target" "$seeds" "$saved/$target"
    "$build/$target" --make-corpus "$seeds" || { echo "$target: cannot make its seeds"; failed=$((failed + 1)); continue; }
    nice "$build/$target" $limits -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$found" \
        "$corpus/$target" "$saved/$target" "$seeds" >"$log" 2>&1 && verdict=ok || verdict=FAILED
    execs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-10s %10s execs %7s edges  %s\n' "$target" "${execs:-?}" "${edges:-?}" "$verdict"
    if [ "$verdict" = ok ]; then
        passed=$((passed + 1))
        continue
    fi
    failed=$((failed + 1))
    grep -E '^(SUMMARY|[^ ]*: CHECK|.*Assertion|.*runtime error)' "$log" | head -n 5
    sed -n "s|.*Test unit written to |replay: $build/$target |p" "$log"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
