#!/bin/sh
# Runs fuzz targets one after the other: fuzz.sh BUILD SECONDS target...
# Each runs what is saved in test/fuzz/corpus, the seeds that our own encoders make, and what earlier
# runs kept in BUILD/corpus; then new inputs for SECONDS. "brief": 2 seconds, 1 for those that are quick to
# go through what there is; and nothing is kept.
# A slow input or one that takes much memory is a failure, as is a crash; the input is kept.
# Closes with one line: N passed, N failed.
build=$1 seconds=$2
shift 2
saved=$(dirname "$0")/fuzz/corpus corpus=$build/corpus
limits="-max_len=4096 -timeout=10 -rss_limit_mb=1536 -malloc_limit_mb=768"
ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=4:detect_leaks=1
export ASAN_OPTIONS
if [ "$seconds" = brief ]; then
    corpus=$(mktemp -d)
    trap 'rm -rf "$corpus"' EXIT INT TERM
fi

seconds_for() { # target
    case $seconds:$1 in
    brief:numbers | brief:glob | brief:texts | brief:table | brief:records | brief:resp) echo 1 ;;
    brief:*) echo 2 ;;
    *) echo "$seconds" ;;
    esac
}

run() { # target; the log
    rm -rf "${build:?}/seeds/$1"
    mkdir -p "$corpus/$1" "$build/seeds/$1" "$saved/$1"
    "$build/$1" --make-corpus "$build/seeds/$1" >"$2" 2>&1 || return 1
    nice "$build/$1" $limits -max_total_time="$(seconds_for "$1")" -print_final_stats=1 -artifact_prefix="$build/crashes/$1-" \
        "$corpus/$1" "$saved/$1" "$build/seeds/$1" >"$2" 2>&1
}

passed=0 failed=0
mkdir -p "$build/crashes" "$build/logs"
for target in "$@"; do
    log=$build/logs/$target
    run "$target" "$log" && verdict=ok || verdict=FAILED
    execs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-10s %9s execs %6s edges  %s\n' "$target" "${execs:-?}" "${edges:-?}" "$verdict"
    if [ "$verdict" = ok ]; then
        passed=$((passed + 1))
        continue
    fi
    failed=$((failed + 1))
    grep -aE '^SUMMARY|CHECK|Assertion|runtime error' "$log" | head -n 5
    sed -n "s|.*Test unit written to |replay: FUZZ_SHOW=1 $build/$target |p" "$log"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
