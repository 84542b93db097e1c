#!/bin/sh
# No path of somebody's machine in sources, scripts or documents.
set -eu

found=0
wrong=$(grep -rnIE '(^|[^A-Za-z0-9_.$}])/(home|root|work|Users|mnt)/[A-Za-z0-9_]' \
    CMakeLists.txt README.md CONTRIBUTING.md docs frontend ir passes codegen data runtime verify tool models tests \
    bench scripts .ci) || found=$?
[ $found -le 1 ] || exit 1 # a folder that cannot be read
[ -z "$wrong" ] || {
    echo "$wrong"
    exit 1
}
