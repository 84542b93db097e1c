# Help, version and mistakes on the command line.
. "$(dirname "$0")/common.sh"

expect 0 "usage: npc VERB" "compile" "examples:" -- --help
expect 0 "usage: npc VERB" -- help
expect 0 "npc 0." -- --version
expect 2 "usage: npc VERB" --
expect 2 "npc: there is no verb 'bensh'; did you mean 'bench'?" -- bensh
expect 2 "npc: there is no verb 'zzz'; see 'npc --help'" -- zzz
for verb in compile run verify bench fmt; do
    expect 0 "usage: npc $verb" "--help" "examples:" "npc $verb " -- $verb --help
    expect 2 "npc: " "--frobnicate" -- $verb --frobnicate
    expect 2 "npc: " -- $verb
done
for verb in synth info folds; do
    expect 0 "usage: npc data $verb" "examples:" -- data $verb --help
    expect 2 "npc: data $verb: " -- data $verb
done
expect 0 "usage: npc data VERB" -- data --help
expect 2 "usage: npc data VERB" -- data
expect 2 "did you mean 'info'?" -- data inof
expect 2 "did you mean '--batch'?" -- compile --bacth 3 x.nm
expect 2 "--gradients: expected 0 or more, found -1" -- verify x.nm y.safetensors --gradients=-1

# Every line of help fits a terminal of 100 columns.
for verb in compile run verify bench fmt "data synth"; do
    # shellcheck disable=SC2086
    "$npc" $verb --help | awk 'length > 100 { bad = 1 } END { exit bad }' ||
        complain "npc $verb --help has a line beyond 100 columns"
done

# What is printed to a full disk is not printed.
if [ -w /dev/full ]; then
    for arguments in --help "compile models/demo.nm --neurons 3 --emit source" "fmt -"; do
        # shellcheck disable=SC2086
        "$npc" $arguments <models/demo.nm >/dev/full 2>"$dir/err"
        [ $? = 2 ] || complain "npc $arguments to a full disk does not end with 2"
        [ "$(sed 's/: No space.*//' "$dir/err")" = "npc: cannot write to standard output" ] ||
            complain "npc $arguments to a full disk says: $(cat "$dir/err")"
    done
fi

# Nothing heavy at the start: help many times takes less than 20 ms each, ten times as much with a
# sanitizer in between.
start=$(date +%s%N)
for _ in 1 2 3 4 5 6 7 8 9 10; do
    "$npc" --help >/dev/null
done
ms=$((($(date +%s%N) - start) / 10000000))
[ $ms -lt 200 ] || complain "npc --help takes $ms ms"
finish
