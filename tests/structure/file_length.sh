#!/bin/sh
# A file holds one concept: none is longer than 700 lines, unless long_files.txt says why.
set -eu

reasons=$(dirname "$0")/long_files.txt
wrong=$(find frontend ir passes codegen data runtime verify tool tests bench models scripts -type f \
    \( -name '*.[chly]' -o -name '*.def' -o -name '*.nm' -o -name '*.sh' -o -name '*.cmake' \) |
    sort | while read -r file; do
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 700 ] && ! grep -q "^$file: ." "$reasons"; then
        echo "$file has $lines lines: cut it, or give the reason in $reasons"
    elif [ "$lines" -le 700 ] && grep -q "^$file:" "$reasons"; then
        echo "$file has $lines lines and needs no entry in $reasons"
    fi
done)
[ -z "$wrong" ] || {
    echo "$wrong"
    exit 1
}
