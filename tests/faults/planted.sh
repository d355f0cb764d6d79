#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Shows that the fault harness finds defects of real code: tests/faults/planted.sh BUILD [NAME...]
#
# BUILD was built with FAILPOINTS=1.  Each defect of lib/planted.h, and those of SQL that list_planted names, is built into tallyd and
# the harness (only the files that have its hook) and looked for in the profile that its line names; then the unmodified
# programs pass the same.  Prints a line per defect: what broke, after how long.  Exits 1 when one was not found.
#   SECONDS_EACH   how long faults happen in each run (default 20)
#   SEEDS          how many seeds each may take (default 2)
set -u

build=$1
shift
each=${SECONDS_EACH:-20}
seeds=${SEEDS:-2}
read -ra compile <"$build/flags"
out=$(realpath "$build")/planted-faults
mkdir -p "$out/bin"
libraries=(-lczmq -lzmq -lpq -ljansson -lsodium -lm -lpthread)

# NAME NUMBER PROFILE TEXT, a line each; those of SQL have a number of 0 and are made by make_sql.
list_planted() {
    sed -n 's!^ *PLANT_\([A-Z_]*\) = \([0-9]*\), *// \([a-z]*\): \(.*\)$!\1 \2 \3 \4!p' lib/planted.h
    echo "SETTLE_UNFENCED 0 worker tally.settle lets a worker go on whose lease is over"
}

# The migrations with a defect, as C on standard output.
make_sql() {
    local name=$1 file copies=()
    for file in schemas/sql/*.sql; do
        mkdir -p "$out/sql"
        case $name in
        SETTLE_UNFENCED)    # the first raise of settle: the lease is not there
            awk '/function tally.settle\(/ { inside = 1 }
                 inside && /if not found then/ { print; print "        return;"; inside = 0; next } { print }' "$file" ;;
        esac >"$out/sql/${file##*/}"
        copies+=("$out/sql/${file##*/}")
    done
    cmp -s "$out/sql/001_broker.sql" schemas/sql/001_broker.sql && return 1
    LC_ALL=C awk -f schemas/embed.awk "${copies[@]}"
}

# Everything that is linked differently, into $objects.
build_objects() {
    local name=$1 number=$2 source object
    objects=()
    if [ "$number" = 0 ]; then
        make_sql "$name" >"$out/migrations.c" || return 1
        "${compile[@]}" -c "$out/migrations.c" -o "$out/$name.migrations.o" || return 1
        objects=("$out/$name.migrations.o")
        return 0
    fi
    for source in $(grep -l "TALLY_PLANTED($name)" lib/*.c broker/*.c clients/*.c workers/*.c tests/faults/*.c); do
        object=$out/$name.${source//\//.}.o
        "${compile[@]}" "-DTALLY_PLANT=$number" -c "$source" -o "$object" || return 1
        objects+=("$object")
    done
    [ ${#objects[@]} -gt 0 ]
}

build_programs() {
    local name=$1 own=() broker=() others=() source
    for source in tests/faults/*.c; do
        case $source in
        */test_* | */main_*) continue ;;
        esac
        [[ " ${objects[*]} " == *" $out/$name.${source//\//.}.o "* ]] || own+=("$build/obj/${source%.c}.o")
    done
    mapfile -t broker < <(printf '%s\n' "${objects[@]}" | grep '\.\(broker\|lib\|migrations\)\.')
    mapfile -t others < <(printf '%s\n' "${objects[@]}" | grep -v '\.broker\.')
    "${compile[@]}" -pie "$build/obj/broker/tallyd.o" "${broker[@]}" "$build/broker.a" "$build/lib.a" \
        -o "$out/bin/tallyd" "${libraries[@]}" &&
        "${compile[@]}" -pie "$build/obj/tests/faults/main_faults.o" "${others[@]}" "${own[@]}" \
            "$build/obj/tests/integration/marker.o" -Wl,--start-group \
            "$build/cmd.a" "$build/clients.a" "$build/workers.a" "$build/lib.a" -Wl,--end-group \
            -o "$out/faults" "${libraries[@]}"
}

# The first thing that the run says is wrong.
first_finding() {
    sed -n 's/^\(I[0-9]* .*\) violated: .*/\1/p; s/^\(.* ended by signal [0-9]*\) .*/\1/p; s/^\(NOT HEALED\|.*NOT DRAINED\).*/\1/p
            s/.*\(Assertion .*\) failed.*/\1/p' "$1" | head -n 1
}

try() {
    local name=$1 number=$2 profile=$3 text=$4 began took seed code kept found=
    local -a objects
    if ! build_objects "$name" "$number" 2>"$out/$name.err" || ! build_programs "$name" 2>>"$out/$name.err"; then
        cat "$out/$name.err"
        printf '%-18s NOT BUILT\n' "$name"
        return 1
    fi
    began=$EPOCHREALTIME
    for seed in $(seq "$seeds"); do
        TALLY_BIN_DIR=$out/bin timeout 200 "$out/faults" --seconds "$each" --profile "$profile" --seed "$seed" \
            >"$out/$name.out" 2>&1
        code=$?
        kept=$(sed -n 's/^faults: kept \([^ ]*\) .*/\1/p' "$out/$name.out")
        [ -n "$kept" ] && rm -rf "$kept"
        [ "$code" -eq 1 ] && found=$(first_finding "$out/$name.out")
        [ -n "$found" ] && break
    done
    took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.0f", b - a }')
    rm -f "$out/$name".*.o "$out/$name.err"
    if [ -z "$found" ]; then
        printf '%-18s NOT FOUND in %s seeds, %s s (%s): %s\n' "$name" "$seeds" "$took" "$profile" "$text"
        return 1
    fi
    printf '%-18s %4s s  %-9s %-34s %s\n' "$name" "$took" "$profile" "$found" "$text"
}

missed=0
count=0
profiles=()
while read -r name number profile text; do
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    count=$((count + 1))
    [[ " ${profiles[*]-} " == *" $profile "* ]] || profiles+=("$profile")
    try "$name" "$number" "$profile" "$text" </dev/null || missed=$((missed + 1))
done < <(list_planted)
echo "found $((count - missed)) of $count"
for profile in "${profiles[@]}"; do
    if TALLY_BIN_DIR=$build/bin "$build/tests/faults/faults" --seconds "$each" --profile "$profile" >"$out/none.out" 2>&1; then
        echo "without any: nothing found ($profile)"
    else
        cat "$out/none.out"
        missed=$((missed + 1))
    fi
done
[ "$missed" -eq 0 ] && [ "$count" -gt 0 ]
