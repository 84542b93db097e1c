#!/bin/sh
# One check that takes a build of its own; scripts/test.sh --full runs them all through CTest.
#
#   scripts/check.sh clang       everything compiles with clang, warnings are errors
#   scripts/check.sh sanitize    tests under the address and undefined-behaviour sanitizers
#   scripts/check.sh no-llvm     builds and passes its tests without LLVM
#   scripts/check.sh generated   builds without flex and bison from generated sources
#   scripts/check.sh format      every source file is formatted
#
# Exit code 77: skipped, a tool is missing.
set -eu
cd "$(dirname "$0")/.."

need()
{
    for tool in "$@"; do
        command -v "$tool" >/dev/null || {
            echo "check: skipped, $tool is not installed (scripts/setup.sh --checks)"
            exit 77
        }
    done
}

# configure FOLDER OPTIONS..
configure()
{
    folder=$1
    shift
    cmake -S . -B "$folder" -G Ninja "$@" >/dev/null
}

# run_tests FOLDER LABELS [OPTIONS..]
run_tests()
{
    folder=$1
    labels=$2
    shift 2
    ctest --test-dir "$folder" --output-on-failure --timeout 900 -j "$(nproc)" -L "$labels" "$@"
}

case "${1:-}" in
clang)
    need clang
    configure build/clang -DCMAKE_C_COMPILER=clang -DNPC_WERROR=ON
    ninja -C build/clang --quiet
    ;;
sanitize)
    # not -DNPC_WERROR: the sanitizers' own tests for NULL make gcc 12 see NULLs that are not there
    configure build/sanitize -DNPC_SANITIZE=ON
    ninja -C build/sanitize --quiet
    # gcc 12's takes what lies before a thread's variables for a header when these begin 16 bytes into a
    # page, as those of a library that is opened late may, and then dies at the end of the test
    export ASAN_OPTIONS="intercept_tls_get_addr=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
    # hundreds of compiled plans test generated code, which no sanitizer sees
    run_tests build/sanitize '^(unit|diag|golden|ops|fuzz)$' -E '^ops.plans_compiled$'
    ;;
no-llvm)
    configure build/no-llvm -DNPC_LLVM=OFF -DNPC_WERROR=ON
    ninja -C build/no-llvm --quiet
    run_tests build/no-llvm '^(unit|diag|golden)$'
    ;;
generated)
    configure build/generated -DNPC_LLVM=OFF -DNPC_GENERATED_DIR="$PWD/build/frontend" \
        -DFLEX_EXECUTABLE=/nonexistent -DBISON_EXECUTABLE=/nonexistent --no-warn-unused-cli
    ninja -C build/generated --quiet npc
    build/generated/npc fmt --check models/dwiseneuro.nm
    ;;
format)
    need clang-format
    find frontend ir passes codegen data runtime verify tool tests bench -name '*.[ch]' -print0 |
        xargs -0 clang-format --dry-run --Werror
    ;;
*)
    echo "check: expected clang, sanitize, no-llvm, generated or format, found '${1:-}'" >&2
    exit 2
    ;;
esac
