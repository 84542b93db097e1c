#!/bin/sh
# No path of somebody's machine in sources, scripts or documents.
set -eu

wrong=$(grep -rnIE '(^|[^A-Za-z0-9_.$}])/(home|root|work|Users|mnt)/[A-Za-z0-9_]' \
    CMakeLists.txt README.md CONTRIBUTING.md docs frontend ir passes codegen data runtime verify tool models tests \
    bench scripts .ci || true)
[ -z "$wrong" ] || {
    echo "$wrong"
    exit 1
}
