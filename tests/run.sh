#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs cmocka test binaries: tests/run.sh BUILD SUITE|BINARY...
#
# Prints a line per suite, the whole output of binaries that failed, and last `N passed, N failed`.  A binary that
# crashed, ran out of time or ran no test at all counts as a failure.  Suites named `integration` run their binaries
# one after another, since each has a PostgreSQL of its own; the others two at a time.
#   TALLY_TEST_SECONDS   limit of one binary (default 120; integration 900)
#   TALLY_TEST_WRAPPER   put before each binary, such as valgrind
set -u

build=$1
shift
logs=$build/tests/logs
rm -rf "$logs"
mkdir -p "$logs"
# What was searched for bodies that show where they must not, and what was found (tests/integration/marker.h).
export TALLY_LEAKS
TALLY_LEAKS=$(realpath "$logs")/leaks
read -ra wrapper <<<"${TALLY_TEST_WRAPPER:-}"
passed=0
failed=0

# Its output goes to $logs/NAME.out, its exit code to $logs/NAME.code.
run_binary() {
    local binary=$1 seconds=$2
    local name=${binary#"$build"/tests/}
    local log=$logs/${name//\//.}
    timeout --kill-after=10 "$seconds" ${wrapper[@]+"${wrapper[@]}"} "$binary" >"$log.out" 2>&1 </dev/null
    echo $? >"$log.code"
}

count() {
    local binary=$1
    local name=${binary#"$build"/tests/}
    local log=$logs/${name//\//.}
    local code ok bad
    code=$(cat "$log.code")
    ok=$(grep -ac '^\[       OK \] ' "$log.out")
    bad=$(sed -n 's/^\[  FAILED  \] \([0-9][0-9]*\) test(s).*/\1/p' "$log.out" | tail -n 1)
    bad=${bad:-0}
    if [ "$bad" -eq 0 ] && { [ "$code" -ne 0 ] || [ "$ok" -eq 0 ]; }; then
        bad=1
    fi
    if [ "$bad" -ne 0 ]; then
        printf -- '---- %s failed (exit code %s)\n' "$name" "$code"
        cat "$log.out"
        printf -- '---- rerun: make check T=%s\n' "${name##*/test_}"
    fi
    suite_passed=$((suite_passed + ok))
    suite_failed=$((suite_failed + bad))
}

run_suite() {
    local title=$1 limit=$2 width=$3
    shift 3
    local started=$SECONDS
    suite_passed=0
    suite_failed=0
    for binary in "$@"; do
        while [ "$(jobs -rp | wc -l)" -ge "$width" ]; do
            wait -n
        done
        run_binary "$binary" "${TALLY_TEST_SECONDS:-$limit}" &
    done
    wait
    for binary in "$@"; do
        count "$binary"
    done
    printf '%-12s %4d passed %3d failed  %d s\n' "$title" "$suite_passed" "$suite_failed" $((SECONDS - started))
    passed=$((passed + suite_passed))
    failed=$((failed + suite_failed))
}

binaries=()
for what in "$@"; do
    if [ -x "$what" ] && [ -f "$what" ]; then
        binaries+=("$what")
        continue
    fi
    # Only tests whose source is still there: a build tree outlives its sources.
    suite=()
    for source in "tests/$what"/test_*.c; do
        [ -e "$source" ] && suite+=("$build/${source%.c}")
    done
    if [ ${#suite[@]} -eq 0 ]; then
        printf '%-12s no tests\n' "$what"
    elif [ "$what" = integration ]; then
        run_suite "$what" 900 1 "${suite[@]}"
    else
        run_suite "$what" 120 2 "${suite[@]}"
    fi
done
if [ ${#binaries[@]} -gt 0 ]; then
    run_suite tests 120 2 "${binaries[@]}"
fi

if [ -e "$TALLY_LEAKS" ]; then
    awk '$1 == "searched" { places++; files += $2; bytes += $3 }
        $1 == "leak" { leaks++; print }
        END { printf "bodies in logs, errors, command lines or cores: %d, of %d logs of %d servers (%.1f MB) searched\n",
            leaks, files, places, bytes / 1e6; exit leaks > 0 }' "$TALLY_LEAKS" || failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
