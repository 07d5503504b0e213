#!/bin/sh
# Runs fuzz targets one after the other: fuzz.sh BUILD SECONDS target...
# Each runs what is saved in test/fuzz/corpus, the seeds that our own encoders make, and what earlier
# runs kept in BUILD/corpus; then new inputs, until SECONDS have passed. "brief": what is saved, then about a minute
# of new inputs in all, most of it for those whose inputs take long; and nothing is kept.
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

share_of() { # target
    case $1 in
    liar | settle | keeper | objects | gossip) echo 7 ;;
    session | commands | wire | maelstrom) echo 4 ;;
    *) echo 2 ;;
    esac
}

run_for() { # seconds, target, the log
    nice "$build/$2" $limits -max_total_time="$1" -print_final_stats=1 -artifact_prefix="$build/crashes/$2-" \
        "$corpus/$2" "$saved/$2" "$build/seeds/$2" >"$3" 2>&1
}

# libFuzzer's time begins before it has gone through what there is: in brief that is done once more, by itself, to see what it takes.
run() { # target, the log
    rm -rf "${build:?}/seeds/$1"
    mkdir -p "$corpus/$1" "$build/seeds/$1" "$saved/$1"
    "$build/$1" --make-corpus "$build/seeds/$1" >"$2" 2>&1 || return 1
    if [ "$seconds" != brief ]; then
        run_for "$seconds" "$1" "$2"
        return
    fi
    began=$(date +%s)
    nice "$build/$1" $limits -runs=0 -artifact_prefix="$build/crashes/$1-" "$saved/$1" "$build/seeds/$1" >"$2" 2>&1 || return 1
    run_for $(($(share_of "$1") + $(date +%s) - began)) "$1" "$2"
}

passed=0 failed=0
mkdir -p "$build/crashes" "$build/logs"
for target in "$@"; do
    log=$build/logs/$target
    run "$target" "$log" && verdict=ok || verdict=FAILED
    execs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    known=$(sed -n 's/^#\([0-9]*\)[^0-9]*INITED .*/\1/p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-10s %6s inputs, %9s new  %6s edges  %s\n' "$target" "${known:-?}" "$((${execs:-0} - ${known:-0}))" "${edges:-?}" "$verdict"
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
