#!/bin/sh
# Builds and runs all tests.
#
#   scripts/test.sh          release build, every test
#   scripts/test.sh --full   also the checks of scripts/check.sh: clang, sanitizers, a build without
#                            LLVM, one without flex and bison, the formatter; also with CI=true
#
# Tests that need recordings of real mice are skipped where there are none, and say so.
set -eu
cd "$(dirname "$0")/.."

full=no
[ "${CI:-}" != true ] || full=yes
case "${1:-}" in
'') ;;
--full) full=yes ;;
*)
    echo "test: expected no argument or --full, found '$1'" >&2
    exit 2
    ;;
esac

if [ "$full" = yes ]; then
    scripts/setup.sh --checks
    OPTIONS=-DNPC_WERROR=ON scripts/build.sh
    ctest --test-dir build --output-on-failure -j "$(nproc)" -C full
else
    scripts/setup.sh
    scripts/build.sh
    ctest --test-dir build --output-on-failure -j "$(nproc)"
fi
