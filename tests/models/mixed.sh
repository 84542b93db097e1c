# Models whose parts come from several files are built of these parts, train and predict.
. "$(dirname "$0")/../cli/common.sh"

"$npc" data synth "$dir/films" --mice 2 --neurons 9 --trials 8 --frames 81 --clips 1 --repeats 2 --quiet

# mixed NAME STEPS SETTINGS..: the loss of training falls, and predictions can be scored
mixed() {
    local name=$1 steps=$2 run=$dir/$1 losses
    shift 2
    expect 0 -- run models/$name.nm --train --data "$dir/films" --run "$run" --steps $steps \
        --set stage.train=${steps}steps "$@"
    losses=$(sed -n 's/.*"train","step":\([0-9]*\),"loss":\([0-9.e+]*\).*/\1 \2/p' "$run/log.jsonl" |
        awk -v n=$steps '$1 <= n / 4 { first += $2 } $1 > n - n / 4 { last += $2 }
                         END { print first, last }')
    echo "$name: loss of the first and the last quarter $losses"
    echo "$losses" | awk '{ exit !($1 > 0 && $2 < 0.95 * $1) }' || complain "$name: the loss does not fall"
    expect 0 "mean over all neurons" -- run "$run" --predict --score --tier oracle
}

expect 0 "core" "readout" -- compile models/mix_dwiseneuro_gaussian.nm --neurons 5,7 --interpret
expect 0 "core.space.0" "cortex" "readout" -- compile models/mix_viv1t_cortex.nm --neurons 5,7 --interpret
mixed mix_dwiseneuro_gaussian 40 --set widths=[8,16] --set strides=[4,2] --set batch=4clips
mixed mix_viv1t_cortex 20 --set dim=16 --set ff_dim=24 --set t=40 --set data.clip.frames=40frames
finish
