#!/bin/sh
# Runs cmocka binaries and closes with one line: N passed, N failed.
LSAN_OPTIONS=suppressions=$(dirname "$0")/nng-leaks.supp:print_suppressions=0
export LSAN_OPTIONS
passed=0 failed=0
for binary in "$@"; do
    out=$("$binary" 2>&1) && code=0 || code=$?
    p=$(echo "$out" | grep -c '^\[       OK \]')
    f=$(echo "$out" | grep '^\[  FAILED  \] [a-z_0-9]*$' | sort -u | wc -l)
    [ "$code" != 0 ] && [ "$f" = 0 ] && f=1
    [ "$f" != 0 ] && echo "$out"
    echo "$(basename "$binary"): $p passed, $f failed"
    passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
