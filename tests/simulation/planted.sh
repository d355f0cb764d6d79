#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Shows that the simulator finds defects: tests/simulation/planted.sh BUILD [NAME...]
#
# Builds each defect of broker/planted.h and tests/simulation/planted.h (only the files that have its hook) against the
# objects of BUILD, and lets the simulator look for it; then the unmodified simulator passes the same seeds.  Prints a
# line per defect: the rule that broke, in which of the seeds, after how long.  Exits 1 when one was not found.
#   SEEDS   how many seeds each may take (default 3000)
set -u

build=$1
shift
seeds=${SEEDS:-3000}
read -ra compile <"$build/flags"
mkdir -p "$build/planted"

# NAME NUMBER TEXT, a line each.
list_planted() {
    sed -n 's!^ *PLANT_\([A-Z_]*\) = \([0-9]*\), *// \(.*\)$!\1 \2 \3!p' broker/planted.h tests/simulation/planted.h
}

# The simulator with one defect.
build_planted() {
    local name=$1 number=$2 target=$3
    local objects=() source object
    for source in broker/*.c tests/simulation/*.c tests/unit/fake_store*.c; do
        if grep -q "TALLY_PLANTED($name)" "$source"; then
            object=$target.${source//\//.}.o
            "${compile[@]}" "-DTALLY_PLANT=$number" -c "$source" -o "$object" || return 1
            objects=("$object" "${objects[@]+"${objects[@]}"}")
        elif [[ $source == tests/* && $source != */test_* ]]; then
            objects+=("$build/obj/${source%.c}.o")
        fi
    done
    "${compile[@]}" -pie "${objects[@]}" "$build/broker.a" "$build/lib.a" -o "$target" \
        -lczmq -lzmq -lpq -ljansson -lsodium -lm -lpthread || return 1
    rm -f "$target".*.o
}

try() {
    local name=$1 number=$2 text=$3
    local target=$build/planted/$name
    local began seed rule took
    if ! build_planted "$name" "$number" "$target" 2>"$target.err"; then
        cat "$target.err"
        printf '%-20s NOT BUILT\n' "$name"
        return 1
    fi
    began=$EPOCHREALTIME
    timeout 600 "$target" --seeds "$seeds" --jobs 1 --quiet >"$target.out" 2>&1
    took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    seed=$(sed -n 's/^seed \([0-9]*\) broke a rule: .*/\1/p' "$target.out" | head -n 1)
    rule=$(sed -n 's/^seed [0-9]* broke a rule: \([^:]*\):.*/\1/p' "$target.out" | head -n 1)
    rm -f "$target" "$target.err"
    if [ -z "$seed" ]; then
        printf '%-20s NOT FOUND in %s seeds, %s s: %s\n' "$name" "$seeds" "$took" "$text"
        return 1
    fi
    printf '%-20s %4d seeds %6s s  %-30s %s\n' "$name" "$seed" "$took" "$rule" "$text"
}

missed=0
count=0
while read -r name number text; do
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    count=$((count + 1))
    try "$name" "$number" "$text" || missed=$((missed + 1))
done < <(list_planted)
echo "found $((count - missed)) of $count"
"$build/tests/simulation/simulate" --seeds "$seeds" --quiet || missed=$((missed + 1))
[ "$missed" -eq 0 ] && [ "$count" -gt 0 ]
