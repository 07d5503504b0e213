#!/bin/sh
# Plants each fault of core/mutant.h in turn: does any test see it?
#   mutants.sh BUILD SEEDS [name ...]        one row a fault; exit 1 if one lives
build=$1 seeds=$2
shift 2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM
table() { sed -n 's/^    X(\([a-z_]*\), "\(.*\)").*/\1 \2/p' core/mutant.h; }

# The sum of two columns tells at a glance which tool would miss the fault: each runs alone.
try() {
    MUTANT=$1 && export MUTANT
    timeout 120 "$build/anneal-sim" --seeds "$seeds" --ops 400 --stop --progress >"$out/$1.sim" 2>"$out/$1.dots" &&
        sim=- || sim=$(($(tr -dc . <"$out/$1.dots" | wc -c) + $(grep -c ': signal' "$out/$1.sim")))
    unit=
    for test in lattice_shard net_command net_session; do
        SEEDS=$seeds timeout 120 "$build/test/unit/$test" >"$out/$1.unit" 2>&1 && continue
        unit=$test$(sed -n 's/.*last seed: SEED=\([0-9]*\).*/ \1/p' "$out/$1.unit") && break
    done
    printf '%-22s %6s  %-18s %s\n' "$1" "$sim" "${unit:--}" "$(table | sed -n "s/^$1 //p")" >"$out/$1.row"
}

if [ "${1:-}" = --one ]; then
    out=$3 && trap - EXIT
    try "$2"
    exit
fi
names=${*:-$(table | cut -d' ' -f1)}
started=$(date +%s)
printf '%-22s %6s  %-18s %s\n' fault "sim" "unit test" "what it is"
# shellcheck disable=SC2086
printf '%s\n' $names | xargs -P "$(nproc)" -I {} sh "$0" "$build" "$seeds" --one {} "$out"
for name in $names; do cat "$out/$name.row"; done
rows=$(cat "$out"/*.row | wc -l) lives=$(cat "$out"/*.row | grep -c '^[a-z_]* *-  - ')
echo "$rows faults planted, $((rows - lives)) caught, $lives not, in $(($(date +%s) - started)) s (sim: after how many seeds of $seeds; unit test: at which seed)"
[ "$lives" = 0 ] && [ "$rows" != 0 ]
