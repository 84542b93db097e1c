#!/bin/sh
# Configures and builds: scripts/build.sh [TARGET..]   (default: everything)
#
#   BUILD=DIR     build folder, default build
#   OPTIONS=..    further options for cmake
#
# Without LLVM 19 the build has no code generator (NPC_LLVM=OFF).
set -eu
cd "$(dirname "$0")/.."

build=${BUILD:-build}
options=${OPTIONS:-}
llvm=OFF
for config in llvm-config-19 llvm-config; do
    case "$("$config" --version 2>/dev/null || true)" in
    19.*) llvm=ON ;;
    esac
done
[ "$llvm" = ON ] || echo "build: LLVM 19 not found, models will run on the interpreter" >&2

mkdir -p "$build"
# shellcheck disable=SC2086 # a list of options
cmake -S . -B "$build" -G Ninja -DNPC_LLVM="$llvm" $options >"$build/configure.log" 2>&1 || {
    cat "$build/configure.log" >&2
    exit 1
}
NINJA_STATUS='build %p (%f of %t files, %e s) ' ninja -C "$build" "$@"
