#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Checks that Debian's packages for building, testing and the demo are here, and installs what is missing: as root
# with apt-get, else through `sudo -n`, else it prints the command and exits 69.  Works offline when nothing is missing.
#   tests/deps.sh fuzz      what fuzzing needs besides
set -u

packages=(gcc make pkgconf binutils libzmq3-dev libczmq-dev libpq-dev libjansson-dev libsodium-dev libcmocka-dev
    postgresql-client python3 faketime)

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if [ "${1:-}" = fuzz ]; then
    packages+=(clang llvm libclang-rt-14-dev)
fi

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not Debian; these packages' equivalents are needed: ${packages[*]} postgresql (server)"
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    # pkg-config itself was a package before pkgconf took its place
    [ "$package" = pkgconf ] && command -v pkg-config >/dev/null && continue
    [ "$package" = postgresql-client ] && command -v psql >/dev/null && continue
    installed "$package" || missing+=("$package")
done
if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    missing+=(postgresql)
fi
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

command=(apt-get install -y --no-install-recommends "${missing[@]}")
echo "deps: missing: ${missing[*]}"
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "deps: install them, then try again:"
    echo "    sudo ${command[*]}"
    exit 69
fi
export DEBIAN_FRONTEND=noninteractive
${as_root[@]+"${as_root[@]}"} "${command[@]}" ||
    { ${as_root[@]+"${as_root[@]}"} apt-get update && ${as_root[@]+"${as_root[@]}"} "${command[@]}"; } ||
    { echo "deps: could not install; by hand: sudo ${command[*]}"; exit 69; }
