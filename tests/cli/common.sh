# Sourced by the tests of the tool: $npc is the tool, $dir an empty folder, and
#   expect CODE WORDS.. -- ARGUMENTS..   runs the tool; output and messages together must hold WORDS
npc=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failures=0
export LC_ALL=C XDG_CACHE_HOME=$dir/cache

complain() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

expect() {
    local code=$1 words=() got
    shift
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    "$npc" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    got=$?
    [ $got = "$code" ] || complain "npc $*: exit code $got, expected $code: $(head -c 600 "$dir/err")"
    for word in "${words[@]}"; do
        cat "$dir/out" "$dir/err" | grep -qF -- "$word" ||
            complain "npc $*: expected '$word', found: $(cat "$dir/out" "$dir/err" | head -c 600)"
    done
}

finish() {
    exit $((failures > 0))
}
