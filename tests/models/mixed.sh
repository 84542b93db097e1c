# Models whose parts come from several files are built of these parts, train and predict.
. "$(dirname "$0")/../cli/common.sh"

"$npc" data synth "$dir/films" --mice 2 --neurons 9 --trials 8 --frames 81 --clips 1 --repeats 2 --quiet

expect 0 "core" "readout" -- compile models/mix_dwiseneuro_gaussian.nm --neurons 5,7 --interpret
expect 0 "core.space.0" "cortex" "readout" -- compile models/mix_viv1t_cortex.nm --neurons 5,7 --interpret
trains mix_dwiseneuro_gaussian 40 --set widths=[8,16] --set strides=[4,2] --set batch=4clips
trains mix_viv1t_cortex 20 --set dim=16 --set ff_dim=24 --set t=40 --set data.clip.frames=40frames
finish
