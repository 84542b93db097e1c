#!/bin/sh
# Random graphs, many of them: the interpreter and generated code against the float64 reference.
#
#     tests/fuzz/long.sh BUILD_FOLDER FIRST_SEED COUNT [cuda]
#
# With `cuda` as CUDA kernels on the simulated GPU instead: ten seconds a graph, most of it the C
# compiler's, or one with NPC_SIM_CC=tcc, which checks neither alignment nor bounds of arrays.
#
# A process takes a batch of seeds. When one fails its seeds are tried one by one; the first that
# fails is printed with the failing test's text, which says what differs, and the script ends with
# 1. A seed is run again with BUILD_FOLDER/tests/test_plans SEED 1.
set -u

if [ $# -ne 3 ] && { [ $# -ne 4 ] || [ "$4" != cuda ]; }; then
    echo "usage: $0 BUILD_FOLDER FIRST_SEED COUNT [cuda]" >&2
    exit 2
fi
tests="test_plans test_plans_compiled"
build=$1
first=$2
count=$3
batch=200
if [ $# -eq 4 ]; then
    tests=test_plans_cuda
    batch=10
fi

for test in $tests; do
    if [ ! -x "$build/tests/$test" ]; then
        echo "$0: there is no $build/tests/$test; build it first" >&2
        exit 2
    fi
done

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

name_failure() { # test, first seed, number of seeds
    seed=$2
    while [ "$seed" -lt $(($2 + $3)) ]; do
        if ! "$build/tests/$1" "$seed" 1 >"$log" 2>&1; then
            cat "$log"
            echo "$1 fails with seed $seed"
            return
        fi
        seed=$((seed + 1))
    done
    echo "$1 fails with seeds $2 to $(($2 + $3 - 1)), but with none of them alone"
}

began=$(date +%s)
compared=0
passed=0
while [ "$passed" -lt "$count" ]; do
    n=$((count - passed < batch ? count - passed : batch))
    for test in $tests; do
        if ! "$build/tests/$test" $((first + passed)) "$n" >"$log" 2>&1; then
            cat "$log"
            name_failure "$test" $((first + passed)) "$n"
            exit 1
        fi
        [ "$passed" -gt 0 ] || sed -n "s/^skipped/$test: &/p" "$log" # no LLVM, no such vector unit
        counted=$(sed -n 's/ comparisons$//p' "$log")
        compared=$((compared + ${counted:-0}))
    done
    passed=$((passed + n))
    echo "$passed of $count, $compared comparisons, $(($(date +%s) - began)) s"
done
echo "$count seeds from $first pass"
