#!/bin/sh
# Renews what is saved of each fuzz target: fuzz-save.sh BUILD target...
# Of all inputs there are, the fewest that reach what all with up to 400 bytes reach, and of those the 24
# longest, which reach most. Inputs with names of their own stay: each was a failure once.
build=$1
shift
saved=$(dirname "$0")/fuzz/corpus
for target in "$@"; do
    fresh=$(mktemp -d)
    mkdir -p "$saved/$target" "$build/corpus/$target"
    if ! nice "$build/$target" -merge=1 -max_len=400 -timeout=10 "$fresh" "$saved/$target" "$build/seeds/$target" "$build/corpus/$target" 2>"$build/logs/$target-save"; then
        echo "$target: left as it is, see $build/logs/$target-save" >&2
        rm -rf "$fresh"
        exit 1
    fi
    find "$saved/$target" -type f -regextype egrep -regex '.*/[0-9a-f]{40}' -delete
    ls -S "$fresh" | head -n 24 | while read -r name; do cp "$fresh/$name" "$saved/$target/"; done
    echo "$target: $(ls "$saved/$target" | wc -l) of $(ls "$fresh" | wc -l)"
    rm -rf "$fresh"
done
