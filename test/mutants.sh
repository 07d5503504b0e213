#!/bin/sh
# Plants each fault of core/mutant.h in turn: which test sees it first, and after how much?
#   UNITS="test ..." mutants.sh BUILD SEEDS [name ...]        one row a fault; exit 1 if one lives
# In order of cost: some seeds of the simulator, the unit tests, the lines of sim/seeds, more seeds.
build=$1 seeds=$2 few=30
shift 2
sim=$build/anneal-sim
table() { sed -n 's/^    X(\([a-z_]*\), "\(.*\)").*/\1 \2/p' core/mutant.h; }

run() { timeout "$seconds" "$@" >"$out/$MUTANT.out" 2>&1; }

# A fault may keep the nodes busy for ever: what takes far too long is caught as well.
by_seeds() { # first seed, how many
    run "$sim" --seed "$1" --seeds "$2" --ops 400 --stop && return 1
    seed=$(sed -n 's/^seed \([0-9]*\):.*/seed \1/p' "$out/$MUTANT.out" | head -n 1)
    by="simulator, ${seed:-no end}"
}

by_units() {
    for test in $UNITS; do
        SEEDS=$seeds run "$build/test/unit/$test" && continue
        seed=$(sed -n 's/.*last seed: SEED=\([0-9]*\).*/, seed \1/p' "$out/$MUTANT.out")
        by=$test$seed
        return 0
    done
    return 1
}

by_lines() {
    number=0
    while read -r options; do
        case $options in '' | '#'*) continue ;; esac
        number=$((number + 1))
        # shellcheck disable=SC2086
        run "$sim" $options --stop || { by="sim/seeds, line $number" && return 0; }
    done <sim/seeds
    return 1
}

try() {
    MUTANT=$1 by=nothing && export MUTANT
    seconds=20 && by_seeds 1 "$few" || { seconds=120 && false; } || by_units || by_lines || by_seeds $((few + 1)) $((seeds - few))
    printf '%-22s %-26s %s\n' "$1" "$by" "$(table | sed -n "s/^$1 //p")" >"$out/$1.row"
}

if [ "${1:-}" = --one ]; then
    out=$3
    try "$2"
    exit
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM
names=${*:-$(table | cut -d' ' -f1)}
started=$(date +%s)
# shellcheck disable=SC2086
printf '%s\n' $names | xargs -P "$(nproc)" -I {} sh "$0" "$build" "$seeds" --one {} "$out"
printf '%-22s %-26s %s\n' fault "caught by" "what it is"
for name in $names; do cat "$out/$name.row"; done
rows=$(cat "$out"/*.row | wc -l) lives=$(cat "$out"/*.row | grep -c '^[a-z_]*  *nothing  ')
echo "planted faults: $((rows - lives)) passed, $lives failed (caught and not), in $(($(date +%s) - started)) s"
[ "$lives" = 0 ] && [ "$rows" != 0 ]
