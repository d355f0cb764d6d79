#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs the fuzz targets: tests/fuzz/fuzz.sh BUILD SECONDS [NAME...]     (make fuzz [SECONDS=60] [T=NAME])
#                        tests/fuzz/fuzz.sh --minimise BUILD [NAME...]  what was found goes into tests/fuzz/corpus
#
# Builds with clang into BUILD/fuzz, under AddressSanitizer and UBSan, and again for coverage.  Prints for each target
# how often it ran, how many inputs are worth keeping, which part of its code (the files that it says it covers) the
# inputs reach; fails when one crashed, leaked, hung or took too much memory.  The input is in BUILD/fuzz/NAME/ then.
set -u

here=tests/fuzz
minimise=
if [ "${1:-}" = --minimise ]; then
    minimise=1
    shift
fi
build=${1:?BUILD is missing}
shift
seconds=0
if [ -z "$minimise" ]; then
    seconds=${1:?SECONDS is missing}
    shift
fi
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for source in "$here"/fuzz_*.c; do
        name=${source##*/fuzz_}
        names+=("${name%.c}")
    done
fi
root=$build/fuzz

tests/deps.sh fuzz || exit 69

make_fuzzers() {
    local tree=$1 code=$2 link=$3
    mkdir -p "$tree"
    make --no-print-directory BUILD="$tree" CC=clang AR=llvm-ar SANITIZE=1 WARNINGS='-Wall -Wextra -Werror' \
        CODE="$code" LINK="$link" fuzzers >"$tree/make.log" 2>&1 || { cat "$tree/make.log"; return 1; }
}
sanitize=-fsanitize=address,undefined
make_fuzzers "$root" "-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link $sanitize -fno-sanitize-recover=all" \
    "-fsanitize=fuzzer $sanitize" || exit 1
make_fuzzers "$root/coverage" "-O1 -g -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping" \
    "-fsanitize=fuzzer -fprofile-instr-generate" || exit 1

# The vectors of the protocol as bare frames: seeds that are not kept twice.
mkdir -p "$root/wire/vectors"
python3 - "$root/wire/vectors" <<'END' || exit 1
import json, pathlib, sys

def frame_of(value):
    if isinstance(value, str):
        return bytes.fromhex(value)
    if isinstance(value, dict):
        return frame_of(value["repeat"]) * value["times"]
    return b"".join(map(frame_of, value))

for path in pathlib.Path("schemas/vectors").glob("*.json"):
    frame = frame_of(json.loads(path.read_text())["frame"])
    if len(frame) <= 4096:
        (pathlib.Path(sys.argv[1]) / path.stem).write_bytes(frame)
END

folders_of() {
    printf '%s\n' "$root/$1/corpus" "$here/corpus/$1"
    [ ! -d "$root/$1/vectors" ] || printf '%s\n' "$root/$1/vectors"
}

# Longer inputs find little and cost much.
length_of() {
    case $1 in
    core) echo 1500 ;;
    *) echo 4096 ;;
    esac
}

if [ -n "$minimise" ]; then
    for name in "${names[@]}"; do
        mapfile -t folders < <(folders_of "$name")
        rm -rf "$root/$name/small"
        mkdir -p "$root/$name/small" "$root/$name/corpus" "$here/corpus/$name"
        "$root/tests/fuzz/fuzz_$name" -set_cover_merge=1 -use_counters=0 -max_len="$(length_of "$name")" "$root/$name/small" \
            "${folders[@]}" >"$root/$name/minimise.log" 2>&1 || { cat "$root/$name/minimise.log"; exit 1; }
        rm -f "$here/corpus/$name"/*
        # Vectors are seeds already.
        for input in "$root/$name/small"/*; do
            cmp -s "$input" "$root/$name/vectors/"* 2>/dev/null || cp "$input" "$here/corpus/$name/"
        done
        printf '%-10s %5d inputs\n' "$name" "$(find "$here/corpus/$name" -type f | wc -l)"
    done
    exit 0
fi

# ---- running ---------------------------------------------------------------------------------------------

stat_of() {
    sed -n "s/^stat::$2: *//p" "$root/$1/log"
}

# Lines and branches of the files that the target covers, of all inputs there are.
coverage_of() {
    local name=$1 binary=$root/coverage/tests/fuzz/fuzz_$1 files folders
    read -ra files < <(sed -n 's!^//  covers: !!p' "$here/fuzz_$name.c" | tr '\n' ' ')
    mapfile -t folders < <(folders_of "$name")
    rm -f "$root/$name"/*.profraw
    LLVM_PROFILE_FILE=$root/$name/%p.profraw "$binary" -runs=0 "${folders[@]}" >/dev/null 2>&1 || return 1
    llvm-profdata merge -sparse -o "$root/$name/profile" "$root/$name"/*.profraw || return 1
    llvm-cov report -instr-profile="$root/$name/profile" "$binary" "${files[@]}" >"$root/$name/coverage"
    awk '/^TOTAL/ { print $10, $13 }' "$root/$name/coverage"
}

failed=0
printf '%-10s %12s %9s %8s %8s %8s  %s\n' target executions exec/s inputs lines branches result
for name in "${names[@]}"; do
    mkdir -p "$root/$name/corpus"
    mapfile -t folders < <(folders_of "$name")
    dictionary=()
    [ ! -e "$here/$name.dict" ] || dictionary=("-dict=$here/$name.dict")
    result=ok
    "$root/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -max_len="$(length_of "$name")" -print_final_stats=1 ${dictionary[@]+"${dictionary[@]}"} \
        -artifact_prefix="$root/$name/" "${folders[@]}" >"$root/$name/log" 2>&1 </dev/null || result=FAILED
    read -r lines branches < <(coverage_of "$name") || { lines=? branches=?; result=FAILED; }
    printf '%-10s %12s %9s %8s %8s %8s  %s\n' "$name" "$(stat_of "$name" number_of_executed_units)" \
        "$(stat_of "$name" average_exec_per_sec)" "$(find "${folders[@]}" -type f | wc -l)" "$lines" "$branches" "$result"
    if [ "$result" != ok ]; then
        failed=1
        grep -A 40 -m 1 'ERROR\|runtime error\|Assertion' "$root/$name/log" | head -n 60
        echo "---- inputs and log: $root/$name/; again: $root/tests/fuzz/fuzz_$name INPUT"
    fi
done
exit $failed
