#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What the built programs, libtally.so and the units must be: tests/hardening.sh [BUILD]
#
# Prints FILE: [RULE] what is wrong, and exits 1 when there is anything to print.  --prove builds a weak program and shows
# that each rule fires on it.  Read from the files themselves, not from the flags that should have made them.
set -u

# Every unit was compiled with these; the compiler notes it in the debugging information.
flags=(-fstack-protector-strong -fstack-clash-protection -fcf-protection=full -ftrivial-auto-var-init=zero)

# Functions of ours that others can jump to and that do not begin with endbr64.
unmarked_functions() {
    nm --defined-only -g "$1" | awk '$2 == "T" && $3 ~ /^(tally_|main$)/ { print $3 }' >"$scratch/names"
    [ -s "$scratch/names" ] || nm -D --defined-only "$1" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' >"$scratch/names"
    objdump -d --no-show-raw-insn "$1" | awk '
        NR == FNR { wanted[$1]; next }
        /^[0-9a-f]+ <.*>:$/ { name = $2; gsub(/[<>:]/, "", name); first = name in wanted; next }
        first { if ($2 != "endbr64") { print name } first = 0 }' "$scratch/names" -
}

check() {
    local file=$1 header segments dynamic symbols found=0
    say() { echo "$file: [$1] $2"; found=1; }
    header=$(readelf -hW "$file") && segments=$(readelf -lW "$file") && dynamic=$(readelf -dW "$file") || return 1
    symbols=$(nm -D --undefined-only "$file" | awk '{ sub(/@.*/, "", $2); print $2 }')
    if grep -qx '__asan_init' <<<"$symbols"; then
        return 0    # sanitizers need what hardening takes from them
    fi

    grep -q 'Type:  *DYN' <<<"$header" || say pie "it is loaded at a fixed address"
    if grep -q INTERP <<<"$segments"; then
        grep -q 'FLAGS_1.*PIE' <<<"$dynamic" || say pie "it is not a position independent executable"
    fi
    grep -q GNU_RELRO <<<"$segments" || say relro "no part of it is read-only after relocation"
    grep -q 'FLAGS).*BIND_NOW\|FLAGS_1.*NOW' <<<"$dynamic" || say relro "symbols are bound late: its table stays writable"
    grep -q 'GNU_STACK .* RW ' <<<"$segments" || say stack "its stack may be executed"
    ! grep -q 'RWE' <<<"$segments" || say stack "memory that is written and executed"
    ! grep -q '(RPATH)\|(RUNPATH)' <<<"$dynamic" || say rpath "it looks for libraries at a path of its own"
    ! grep -q '(TEXTREL)' <<<"$dynamic" || say textrel "its code is written at start"
    grep -qx '__stack_chk_fail' <<<"$symbols" || say canary "no function has a stack protector"
    grep -q '^__.*_chk$' <<<"$symbols" || say fortify "no call is fortified"
    grep -qx '__assert_fail' <<<"$symbols" || say asserts "assertions are off"

    local units unit flag
    units=$(readelf -p .debug_str "$file" 2>/dev/null | grep -o 'GNU C[0-9][0-9]* .*' | sort -u)
    [ -n "$units" ] || say units "it has no debugging information to tell how it was compiled"
    while IFS= read -r unit; do
        for flag in "${flags[@]}"; do
            [[ -z "$unit" || "$unit" == *" $flag"* ]] || say units "a part of it was compiled without $flag"
        done
    done <<<"$units"

    if grep -q 'X86-64' <<<"$header"; then
        local unmarked
        unmarked=$(unmarked_functions "$file" | head -n 3 | tr '\n' ' ')
        [ -z "$unmarked" ] || say cet "functions without endbr64: $unmarked"
        # The linker notes it only when the system's own start-up files are marked (Debian 12's are not).
        if readelf -nW "$(gcc -print-file-name=crti.o)" | grep -q 'IBT' && ! readelf -nW "$file" | grep -q 'IBT.*SHSTK'; then
            say cet "it is not marked for IBT and SHSTK"
        fi
    fi
    return $found
}

# A program that breaks every rule that one program can break at once.
prove() {
    cat >"$scratch/weak.c" <<'END'
#include <stdio.h>
void tally_weak(char *text);
void tally_weak(char *text) { char small[16]; snprintf(small, sizeof small, "%s", text); puts(small); }
int main(int argc, char **argv) { tally_weak(argv[argc - 1]); return 0; }
END
    gcc -g -O2 -U_FORTIFY_SOURCE -fno-stack-protector -fno-stack-clash-protection -fcf-protection=none -fno-pie -no-pie \
        -Wl,-z,norelro,-z,lazy,-z,execstack -Wl,-rpath,/tmp -Wl,--disable-new-dtags \
        -o "$scratch/weak" "$scratch/weak.c" || return 1
    check "$scratch/weak" >"$scratch/said"
    local rule failed=0
    for rule in pie relro stack rpath canary fortify asserts units cet; do
        grep -q "\[$rule\]" "$scratch/said" || { echo "hardening: [$rule] does not fire"; failed=1; }
    done
    return $failed
}

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
if [ "${1:-}" = --prove ]; then
    prove
    exit
fi
build=${1:-build}
failed=0
count=0
for file in "$build"/bin/* "$build"/lib/libtally.so; do
    [ -f "$file" ] || continue
    count=$((count + 1))
    check "$file" || failed=1
done
for unit in systemd/*.service; do
    grep -qx 'LimitCORE=0' "$unit" || { echo "$unit: [core] it may leave a core"; failed=1; }
done
[ "$count" -gt 1 ] || { echo "hardening: nothing is built in $build"; exit 1; }
exit $failed
