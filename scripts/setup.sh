#!/bin/sh
# Installs what npc needs on Debian 12, only what is missing.
#
#   scripts/setup.sh            to build, run and test
#   scripts/setup.sh --checks   also clang, its sanitizers and clang-format (scripts/test.sh --full)
#
# Needs root, or sudo, only when something is missing. Without LLVM 19 in the archive it says so and
# goes on: the build then runs models on the slow interpreter.
set -eu

build='gcc libc6-dev cmake ninja-build pkg-config flex bison libjansson-dev libxxhash-dev'
pictures='libcairo2-dev'
imports='libhdf5-dev'
tests='libcmocka-dev'
checks='clang libclang-rt-14-dev clang-format'
llvm='llvm-19-dev'

wanted="$build $pictures $imports $tests"
case "${1:-}" in
'') ;;
--checks) wanted="$wanted $checks" ;;
*)
    echo "setup: expected no argument or --checks, found '$1'" >&2
    exit 2
    ;;
esac

is_installed()
{
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

missing()
{
    for package in "$@"; do
        is_installed "$package" || printf '%s ' "$package"
    done
}

as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        echo "setup: not root and no sudo: run as root: $*" >&2
        exit 1
    fi
}

if ! command -v dpkg-query >/dev/null; then
    echo "setup: not a Debian system; npc needs: $wanted $llvm" >&2
    exit 1
fi

# shellcheck disable=SC2086 # lists of names
needed=$(missing $wanted $llvm)
if [ -z "$needed" ]; then
    echo "setup: everything is there"
    exit 0
fi
echo "setup: installing $needed"
as_root apt-get -qq update
if ! is_installed "$llvm" && ! apt-cache show "$llvm" >/dev/null 2>&1; then
    echo "setup: $llvm is not in this system's package archive (Debian 12 has it)." >&2
    echo "setup: building without it: models run on the interpreter, about 1000 times slower." >&2
    # shellcheck disable=SC2086
    needed=$(missing $wanted)
fi
# shellcheck disable=SC2086
[ -z "$needed" ] || as_root apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends -y \
    $needed >/dev/null
echo "setup: done"
