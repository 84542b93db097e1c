#!/bin/sh
# Every number of ir/base/diag.def is expected by some test, and tests expect no number that is not
# there.
set -eu

numbers_in()
{
    grep -rhoE '\<(DIAG_)?E[0-9]{4}\>' "$@" | sed 's/DIAG_//' | sort -u
}

rows=$(sed -n 's/^DIAG(\(E[0-9]*\),.*/\1/p' ir/base/diag.def | sort)
tested=$(numbers_in tests --include='*.c' --include='*.h' --include='*.nm')
wrong=$(
    for number in $rows; do
        echo "$tested" | grep -qx "$number" || echo "no test expects $number"
    done
    for number in $tested; do
        echo "$rows" | grep -qx "$number" || echo "$number is expected, but not in diag.def"
    done
)
[ -n "$rows" ] || wrong="ir/base/diag.def has no rows"
[ -z "$wrong" ] || {
    echo "$wrong"
    exit 1
}
