# Sourced by the tests of the tool: $npc is the tool, $dir an empty folder, and
#   expect CODE WORDS.. -- ARGUMENTS..   runs the tool; output and messages together must hold WORDS
#   trains NAME STEPS SETTINGS..         models/NAME.nm on $dir/films: the loss of training falls, and
#                                        predictions can be scored
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

trains() {
    local name=$1 steps=$2 run=$dir/$1 losses
    shift 2
    expect 0 -- run "models/$name.nm" --train --data "$dir/films" --run "$run" --steps "$steps" \
        --set "stage.train=${steps}steps" "$@"
    losses=$(sed -n 's/.*"train","step":\([0-9]*\),"loss":\([0-9.e+]*\).*/\1 \2/p' "$run/log.jsonl" |
        awk -v n="$steps" '$1 <= n / 4 { first += $2 } $1 > n - n / 4 { last += $2 }
                           END { print first, last }')
    echo "$name: loss of the first and the last quarter $losses"
    echo "$losses" | awk '{ exit !($1 > 0 && $2 < 0.95 * $1) }' || complain "$name: the loss does not fall"
    expect 0 "mean over all neurons" -- run "$run" --predict --score --tier oracle
}

finish() {
    exit $((failures > 0))
}
