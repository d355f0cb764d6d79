#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The project's own rules: tests/tidy/tidy.sh [TREE]
#
# Prints path:line: [RULE] what and what instead; exits 1 when there is anything to print.  `tests/tidy/tidy.sh --prove`
# shows that each rule fires, on the failing sample beside it, and on nothing else there.
set -u

here=$(cd "$(dirname "$0")" && pwd)

list_sources() {
    find lib broker workers clients schemas tests systemd .ci Makefile -type f \
        \( -name '*.[ch]' -o -name '*.sh' -o -name '*.awk' -o -name '*.sql' -o -name Makefile -o -path '.ci/*' \) \
        -not -name 'sample*' 2>/dev/null | sort
}

# C and headers, one file after another.
check_code() {
    awk '
    function say(rule, text) { printf "%s:%d: [%s] %s\n", FILENAME, FNR, rule, text }

    BEGIN {
        banned["sleep"] = banned["usleep"] = banned["nanosleep"] = banned["zclock_sleep"] = \
            "wait for a condition with a deadline"
        banned["strcpy"] = banned["strcat"] = "use tally_format or memcpy with a checked size"
        banned["sprintf"] = banned["vsprintf"] = "use snprintf or tally_format"
        banned["gets"] = "use fgets"
        banned["atoi"] = banned["atol"] = banned["atoll"] = banned["atof"] = "use strtol and look at its end"
        banned["alloca"] = "use tally_alloc"
        banned["system"] = banned["popen"] = "use fork and execv"
        # Monitors and tests say so: they are made where nobody else can come.
        unbounded["zmq_bind"] = unbounded["zmq_connect"] = unbounded["zsock_bind"] = unbounded["zsock_connect"] = \
            "use tally_socket_bind or tally_socket_connect: they leave nothing to the defaults of libzmq"
        banned["zclock_time"] = "use zclock_mono or tally_clock_now_ms"
    }

    FNR == 1 {
        start = 0
        folder = FILENAME
        sub(/\/.*/, "", folder)
        is_store = FILENAME ~ /_store\.c$/ || FILENAME ~ /^lib\/db/ || folder == "tests"
        if ($0 != "// SPDX-License-Identifier: MIT") {
            say("spdx", "the first line must be: // SPDX-License-Identifier: MIT")
        }
    }
    FNR == 2 && FILENAME ~ /\.h$/ && $0 !~ /^\/\/  [a-z_0-9]+ - / {
        say("header", "the second line must say what this is: //  noun - what it guarantees")
    }
    # A test is a list, and may be a little longer.
    FNR == (folder == "tests" ? 701 : 601) { say("file-length", "too many lines: this is two nouns") }
    length($0) > 120 { say("columns", "more than 120 columns") }

    {
        code = $0
        gsub(/\\"/, "", code)
        text = code
        sub(/\/\/.*/, "", text)
        gsub(/"[^"]*"/, "\"\"", code)
        sub(/\/\/.*/, "", code)
    }

    !is_store && tolower(text) ~ /"[ (]*(select [^"]|insert into |update [a-z_."]+ set |delete from |create (table|schema|database|function|view|index|unique) |alter (table|role|database) |drop (table|schema|view|database) |with [a-z_]+ as |truncate |copy \()/ {
        say("sql", "SQL stands in *_store.c files and schemas/sql alone")
    }

    {
        rest = code
        while (match(rest, /[A-Za-z_][A-Za-z_0-9]* *\(/)) {
            name = substr(rest, RSTART, RLENGTH - 1)
            gsub(/ /, "", name)
            if (name in banned) {
                say("banned", name "(): " banned[name])
            }
            if (name in unbounded && folder != "tests" && FILENAME != "lib/socket.c" && code !~ /monitor/) {
                say("socket", name "(): " unbounded[name])
            }
            rest = substr(rest, RSTART + RLENGTH)
        }
    }

    /^ *# *include "/ {
        path = $0
        sub(/^[^"]*"/, "", path)
        sub(/".*/, "", path)
        to = path
        sub(/\/.*/, "", to)
        if (path !~ /^(lib|broker|workers|clients|tests)\//) {
            say("include", "include from the root: \"lib/wire.h\"")
        } else if (folder != "tests" && to != folder && to != "lib") {
            say("include", folder "/ may include lib/ and its own, not " to "/")
        }
    }

    FILENAME ~ /\.c$/ && /^\{/ { start = FNR }
    FILENAME ~ /\.c$/ && /^\}/ {
        if (start > 0 && FNR - start + 1 > 70) {
            printf "%s:%d: [function-length] %d lines, at most 70\n", FILENAME, start, FNR - start + 1
        }
        start = 0
    }
    ' "$@"
}

# Every text file.
check_text() {
    awk '
    # The words are put together here so that this file does not break its own rule.
    BEGIN { unfinished = "(^|[^A-Za-z_])(TO" "DO|FIX" "ME|XX" "X|HA" "CK)([^A-Za-z_]|$)" }
    FNR <= 3 && /SPDX-License-Identifier: MIT/ { licensed[FILENAME] = 1 }
    FNR == 3 && FILENAME !~ /\.(c|h|sql)$/ && !(FILENAME in licensed) {
        printf "%s:1: [spdx] one of the first lines must name the licence: SPDX-License-Identifier: MIT\n", FILENAME
    }
    $0 ~ unfinished { printf "%s:%d: [unfinished] finish it, or leave it out and say so in the issue\n", FILENAME, FNR }
    ' "$@"
}

# Keys that programs declare are explained in the sample configuration.
check_config() {
    local sample=systemd/tally.conf
    awk '
    /tally_config_key_t [a-z_]+\[\] *= *\{/ { table = 1 }
    table && match($0, /\{(\.name = )?"[a-z0-9-]+"/) {
        key = substr($0, RSTART, RLENGTH)
        gsub(/.*"(.*)$/, "&", key)
        sub(/^[^"]*"/, "", key)
        sub(/"$/, "", key)
        print FILENAME ":" FNR " " key
    }
    /^\};/ { table = 0 }
    ' "$@" | while read -r place key; do
        grep -Eqs "^#? ?$key = " "$sample" ||
            echo "$place: [config] key \"$key\" is not explained in $sample"
    done
}

check_tree() {
    local code=() text=() config=()
    while IFS= read -r path; do
        text+=("$path")
        case $path in
        *.[ch]) code+=("$path") ;;
        esac
        case $path in
        broker/*.c | workers/*.c) config+=("$path") ;;
        esac
    done < <(list_sources)
    [ ${#code[@]} -gt 0 ] && check_code "${code[@]}"
    [ ${#text[@]} -gt 0 ] && check_text "${text[@]}"
    [ ${#config[@]} -gt 0 ] && check_config "${config[@]}"
}

# The sample is one file of many: "==== path" begins each; lines of it that break a rule end in "//! rule".  A rule about
# a whole file stands on its "====" line.
prove() {
    tree=$(mktemp -d) || exit 1
    trap 'rm -rf "$tree"' EXIT
    awk -v tree="$tree" '
    /^==== / {
        path = $2
        line = 0
        folder = path
        sub(/[^\/]*$/, "", folder)
        system("mkdir -p " tree "/" folder)
        if (NF > 2) {
            print path, $3, $4 > (tree "/expected")
        }
        next
    }
    {
        line++
        repeat = 1
        if (match($0, /\/\/! .*$/)) {
            mark = substr($0, RSTART + 4)
            $0 = substr($0, 1, RSTART - 1)
            sub(/ +$/, "")
            if (mark ~ /^repeat /) {
                repeat = substr(mark, 8) + 0
            } else {
                print path, line, mark > (tree "/expected")
            }
        }
        for (i = 0; i < repeat; i++) {
            print > (tree "/" path)
        }
        line += repeat - 1
    }' "$here/sample.txt"
    (cd "$tree" && check_tree) | sed -n 's/^\([^:]*\):\([0-9]*\): \[\([a-z-]*\)\].*/\1 \2 \3/p' | sort >"$tree/found"
    sort "$tree/expected" >"$tree/wanted"
    if ! diff -u "$tree/wanted" "$tree/found"; then
        echo "tidy: the sample must be found out, line by line and nothing else"
        exit 1
    fi
    # Every rule that exists is in the sample.
    for rule in $(sed -nE 's/.*say\("([a-z-]+)".*/\1/p; s/.*: \[([a-z-]+)\] .*/\1/p' "$0" | sort -u); do
        grep -q " $rule\$" "$tree/wanted" || { echo "tidy: no sample for rule $rule"; exit 1; }
    done
    echo "tidy: every rule fires ($(cut -d' ' -f3 "$tree/wanted" | sort -u | wc -l) rules)"
}

if [ "${1:-}" = --prove ]; then
    prove
    exit 0
fi
cd "${1:-$here/../..}" || exit 1
found=$(check_tree)
if [ -n "$found" ]; then
    printf '%s\n' "$found"
    exit 1
fi
