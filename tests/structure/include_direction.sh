#!/bin/sh
# Data flows frontend -> ir -> passes -> codegen -> runtime -> verify -> tool, recordings come from data:
# a folder includes headers of its own, of folders to its left, and of ir/base. Libraries that one folder wraps stay inside of it.
set -eu

# What each folder may include, as a pattern of the first parts of the path.
allowed()
{
    case "$1" in
    ir/base/*) echo 'ir/base' ;;
    frontend/*) echo 'frontend|ir/base' ;;
    # the only files that see both the syntax tree and the graph
    ir/elaborate*|ir/comptime*|ir/builtin*|ir/recipe*) echo 'frontend|ir' ;;
    ir/*) echo 'ir' ;;
    passes/*) echo 'ir|passes' ;;
    codegen/*) echo 'ir|codegen' ;;
    data/*) echo 'ir|data' ;;
    runtime/*) echo 'frontend|ir|passes|codegen|data|runtime' ;;
    verify/*) echo 'frontend|ir|passes|codegen|data|runtime|verify' ;;
    tool/*) echo 'frontend|ir|passes|codegen|data|runtime|verify|tool' ;;
    esac
}

# The only files that may include a library's header, as a pattern of paths.
only_home()
{
    case "$1" in
    llvm-c/*) echo 'codegen/llvm_*' ;;
    cairo*) echo 'data/picture*' ;;
    *) echo '*' ;;
    esac
}

includes=$(find frontend ir passes codegen data runtime verify tool \( -name '*.[chly]' -o -name '*.def' \) \
    -exec grep -HoE '^ *# *include +["<][^">]+[">]' {} + | sort)
wrong=$(echo "$includes" | while IFS=: read -r file line; do
    header=${line#*[\"<]}
    header=${header%[\">]}
    case "$line" in
    *\"*)
        echo "$header" | grep -qE "^($(allowed "$file"))/" || echo "$file may not include $header"
        ;;
    *)
        home=$(only_home "$header")
        # shellcheck disable=SC2254 # a pattern
        case "$file" in
        $home) ;;
        *) echo "$file may not include $header: $home may" ;;
        esac
        ;;
    esac
done)

[ "$(echo "$includes" | wc -l)" -gt 100 ] || wrong="no includes found: not in the source folder?"
[ -z "$wrong" ] || {
    echo "$wrong"
    exit 1
}
