#!/bin/sh
# Plants each fault of core/mutant.h in turn: which test sees it first, and after how much?
#   UNITS="test ..." mutants.sh BUILD SEEDS [name ...]        one row a fault; exit 1 if one lives
# In order of cost: some seeds of the simulator, the unit tests, the lines of sim/seeds, more seeds.
#
# First all of them without a fault: they must pass, or whatever is wrong with them would count as caught. With
# one they get four times as long at least; some faults keep nodes busy for ever. Nor is a fault caught by a test
# that does not say so: one that is not there, or that somebody killed.
build=$1 seeds=$2 few=30
shift 2
sim=$build/anneal-sim
stages="early units lines late" limit=120
table() { sed -n 's/^    X(\([a-z_]*\), "\(.*\)").*/\1 \2/p' core/mutant.h; }

# 0: it passes; 1: it fails, or has no end, and $after tells; 2: it did neither.
run() { # its words for a failure, as sed prints how much it took; the test
    words=$1
    shift
    code=0
    timeout "$limit" "$@" >"$log" 2>&1 || code=$?
    [ $code = 0 ] && return 0
    after="no end"
    [ $code = 124 ] && return 1
    after=$(sed -n "$words" "$log" | head -n 1)
    [ -n "$after" ] && return 1
    after=-
    case $code in
    125 | 126 | 127 | 137 | 143) ;; # timeout failed, cannot be run, is not there, killed
    *) [ $code -gt 128 ] && return 1 ;;
    esac
    echo "MUTANT=$MUTANT: exit $code, and no word of a failure: $*" >>"$out/spoilt"
    return 2
}

by_seeds() { # first, how many
    by=simulator
    run 's/^\(seed [0-9]*\):.*/\1/p' "$sim" --seed "$1" --seeds "$2" --ops 400 --stop
}
early() { by_seeds 1 "$few"; }
late() { by_seeds $((few + 1)) $((seeds - few)); }

units() {
    for by in $UNITS; do
        SEEDS=$seeds run 's/.*last seed: SEED=\([0-9]*\).*/seed \1/p; s/.* FAILED TEST.*/-/p' "$build/test/unit/$by" || return
    done
}

lines() {
    number=0 by=sim/seeds
    while read -r options; do
        case $options in '' | '#'*) continue ;; esac
        number=$((number + 1))
        # shellcheck disable=SC2086
        run "s/^seed [0-9]*:.*/line $number/p" "$sim" $options --stop || return
    done <sim/seeds
}

tenths() { date +%s%N | cut -c 1-11; }

try() {
    started=$(tenths) caught=0
    for stage in $stages; do
        read -r limit <"$out/$stage.limit"
        $stage || { caught=$? && break; }
    done
    [ $caught = 2 ] && return
    [ $caught = 0 ] && by=nothing after=-
    took=$(($(tenths) - started))
    printf '%-22s %-16s %-9s %5s.%s  %s\n' "$MUTANT" "$by" "$after" $((took / 10)) $((took % 10)) "$(table | sed -n "s/^$MUTANT //p")" >"$out/$MUTANT.row"
}

# Where all passes in no time, there is no need to wait long for one that does not.
control() { # stage
    started=$(tenths)
    if $1; then
        took=$((($(tenths) - started) * 4 / 10))
        echo $((took > 20 ? took : 20)) >"$out/$1.limit"
    else
        [ $? = 2 ] || echo "without a fault, within $limit s: $by fails, $after"
        tail -n 5 "$log"
    fi >>"$out/spoilt"
}

case ${1:-} in
--one) out=$2 MUTANT=$3 log=$2/$3.out && export MUTANT && try; exit ;;
--control) out=$2 MUTANT=none log=$2/$3.out && export MUTANT && control "$3"; exit ;;
esac
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM
each() { xargs -P "$(nproc)" -I {} sh "$0" "$build" "$seeds" "$1" "$out" {} || echo "xargs: exit $?" >>"$out/spoilt"; }
sure() {
    [ -s "$out/spoilt" ] || return 0
    cat "$out/spoilt"
    echo "planted faults: 0 passed, 1 failed: a test fails without one, or could not be run, so nothing is known"
    exit 1
}

names=${*:-$(table | cut -d' ' -f1)}
started=$(date +%s)
# shellcheck disable=SC2086
printf '%s\n' $stages | each --control
sure
# shellcheck disable=SC2086
printf '%s\n' $names | each --one
sure
printf '%-22s %-16s %-9s %7s  %s\n' fault "caught by" after seconds "what it is"
for name in $names; do cat "$out/$name.row"; done
rows=$(cat "$out"/*.row | wc -l) lives=$(cat "$out"/*.row | grep -c '^[a-z_]*  *nothing  ')
echo "planted faults: $((rows - lives)) passed, $lives failed (caught and not), in $(($(date +%s) - started)) s"
[ "$lives" = 0 ] && [ "$rows" = "$(echo "$names" | wc -w)" ]
