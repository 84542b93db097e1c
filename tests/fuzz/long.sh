#!/bin/sh
# Random graphs, many of them: the interpreter and generated code against the float64 reference.
#
#     tests/fuzz/long.sh BUILD_FOLDER FIRST_SEED COUNT
#
# Stops at the first seed that fails and prints it; the failing test's text says what differs. A
# seed is run again with BUILD_FOLDER/tests/test_plans SEED 1.
set -u

if [ $# -ne 3 ]; then
    echo "usage: $0 BUILD_FOLDER FIRST_SEED COUNT" >&2
    exit 2
fi
build=$1
first=$2
count=$3

for test in test_plans test_plans_compiled; do
    if [ ! -x "$build/tests/$test" ]; then
        echo "$0: there is no $build/tests/$test; build it first" >&2
        exit 2
    fi
done

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

seed=$first
while [ "$seed" -lt $((first + count)) ]; do
    for test in test_plans test_plans_compiled; do
        if ! "$build/tests/$test" "$seed" 1 >"$log" 2>&1; then
            cat "$log"
            echo "$test fails with seed $seed"
            exit 1
        fi
    done
    seed=$((seed + 1))
    if [ $(((seed - first) % 100)) -eq 0 ]; then
        echo "$((seed - first)) of $count"
    fi
done
echo "$count seeds from $first pass"
