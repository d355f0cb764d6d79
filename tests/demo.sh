#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A private instance at work, checked at every step: make demo
#
# Submits, counts, recomputes, exports, kills the worker that counts and shows the next one go on with exact numbers;
# stops cleanly and leaves nothing.  Ends with 1 at the first number that is not what it must be.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
bin=${TALLY_BIN_DIR:-$root/build/bin}
data=$root/tests/data
count=5000
more=1000
elected_within=10       # seconds; the promise is 2, the machine may be busy

home=$(mktemp -d /tmp/tally-demo-XXXXXX)
chmod 711 "$home"       # as root the database server, another user, must be able to pass
export TALLY_DIR=$home/instance
unset TALLY_BROKER TALLY_TENANT

check() {
    /usr/bin/env python3 "$root/tests/demo_data.py" "$@"
}

say() {
    printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi
}

# Shows the command, then runs it.
show() {
    printf '$ tally %s\n' "$*"
    "$bin/tally" "$@"
}

fail() {
    printf '\ndemo: FAILED: %s\n' "$*" >&2
    tail -n 5 "$TALLY_DIR"/log/*.log >&2 || true
    exit 1
}

ended=0
clean_up() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [ -d "$TALLY_DIR" ] && [ "$ended" = 0 ]; then
        "$bin/tally" down --dir "$TALLY_DIR" >/dev/null 2>&1 || true
    fi
    # Nothing is left when all is well; this is for when it is not.
    for proc in /proc/[0-9]*; do
        if [ "${proc#/proc/}" != $$ ] && tr '\0' ' ' 2>/dev/null <"$proc/cmdline" | grep -qF "$TALLY_DIR/"; then
            kill -9 "${proc#/proc/}" 2>/dev/null || true
            echo "demo: had to kill process ${proc#/proc/}" >&2
            code=1
        fi
    done
    rm -rf "$home"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What is shown of a survey is what was submitted, to 1e-9.
exact() {
    local tenant=$1 slug=$2 responses=$3 survey=$4
    check expect "$responses" "$survey" >"$home/expected.json"
    "$bin/tally" statistics show -t "$tenant" -s "$slug" --json >"$home/shown.json"
    check compare "$home/expected.json" "$home/shown.json" || fail "statistics of $slug for $tenant are not exact"
    echo "exact: $slug for $tenant"
}

holder() {
    "$bin/tally" worker ls --json >"$home/workers.json" && check term "$home/workers.json" statistics "$1"
}

say "1. One command: PostgreSQL, broker, workers"
show up --statistics-window 600

say "2. Eleven responses to six surveys"
for survey in "$data"/*.survey.json; do
    "$bin/tally" survey put "$survey" -t demo --quiet
done
show survey ls -t demo | tee "$home/surveys"
[ "$(grep -c '^[a-z]*-[a-z]* ' "$home/surveys")" = 6 ] || fail "survey ls does not name the six surveys"
show submit "$data/eleven.responses.ndjson" -t demo
show statistics refresh -t demo --wait
show statistics show -t demo -s travel-feedback
for survey in "$data"/*.survey.json; do
    slug=$(basename "$survey" .survey.json)
    exact demo "$slug" "$data/eleven.responses.ndjson" "$survey"
done

say "3. The same numbers by MapReduce, in blocks of three"
show statistics recompute -t demo --block 3 --trace --wait
"$bin/tally" statistics recompute -t demo --block 3 --trace --wait --json >"$home/trace.json"
check trace "$data/eleven.trace.txt" "$home/trace.json" || fail "the trace is not that of the eleven responses"
echo "exact: every phase of the trace"

say "4. $count responses for each of two tenants, at once"
for tenant in acme borealis; do
    mkdir "$home/$tenant"
    check generate "$home/$tenant" lunch 1 $count ${#tenant}
    "$bin/tally" survey put "$home/$tenant/lunch.survey.json" -t $tenant --quiet
done
"$bin/tally" submit "$home/borealis/lunch.responses.ndjson" -t borealis --quiet &
other=$!
show submit "$home/acme/lunch.responses.ndjson" -t acme
wait $other || fail "the submit for borealis"
show statistics refresh -t acme --wait
"$bin/tally" statistics refresh -t borealis --wait --quiet
show statistics show -t acme -s lunch
exact acme lunch "$home/acme/lunch.responses.ndjson" "$home/acme/lunch.survey.json"
exact borealis lunch "$home/borealis/lunch.responses.ndjson" "$home/borealis/lunch.survey.json"

say "5. Exports: a file, and a table in PostgreSQL"
show export lunch -t acme --format ndjson --wait
file=$(find "$TALLY_DIR/exports" -name '*.ndjson' | head -n 1)
[ -n "$file" ] || fail "there is no exported file"
check same-responses "$home/acme/lunch.responses.ndjson" "$file" || fail "the export is not what was submitted"
echo "exact: $(wc -l <"$file") exported responses, each once, equal value by value"
show export lunch -t borealis --format table --wait
show export ls -t borealis

say "6. The workers and their terms; then the holder of acme's term is killed"
show worker ls
read -r name epoch < <(holder acme) || fail "nobody holds the term of acme"
check generate "$home/acme" lunch $((count + 1)) $more 7
"$bin/tally" submit "$home/acme/lunch.more.ndjson" -t acme --quiet &
submit=$!
pid=$(<"$TALLY_DIR/pid/$name.pid")
kill -9 "$pid"
started=${EPOCHREALTIME/[.,]/}
echo "killed $name (process $pid), which held the term with epoch $epoch"
until read -r next next_epoch < <(holder acme) && [ "$next_epoch" -gt "$epoch" ]; do
    [ $((${EPOCHREALTIME/[.,]/} - started)) -lt $((elected_within * 1000000)) ] ||
        fail "nobody was elected within $elected_within s"
done
echo "elected $next with epoch $next_epoch after $(((${EPOCHREALTIME/[.,]/} - started) / 1000)) ms"
wait $submit || fail "the submit while the worker died"
show statistics refresh -t acme --wait
exact acme lunch "$home/acme/lunch.responses.ndjson" "$home/acme/lunch.survey.json"
show worker ls

say "7. Down, in order"
show down
ended=1
printf '\ndemo: all numbers exact\n'
