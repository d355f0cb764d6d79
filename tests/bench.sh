#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `tally bench` on a private instance of its own, durable, which is removed afterwards: make bench [ARGS='--body 1024']
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
bin=${TALLY_BIN_DIR:-$root/build/bin}
home=$(mktemp -d "${TALLY_BENCH_DIR:-/tmp}/tally-bench-XXXXXX")
chmod 711 "$home"
export TALLY_DIR=$home/instance
unset TALLY_BROKER
trap '"$bin/tally" down >/dev/null 2>&1 || true; rm -rf "$home"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

"$bin/tally" up --workers heartbeat=0 >/dev/null
"$bin/tally" bench "$@"
