#!/usr/bin/env bash
# The competition's ensemble: one model trained with 14 seeds, and the mean of what they predict.
#
#     scripts/ensemble.sh models/factorised.nm RECORDINGS RUNS [more options of npc run --train]
#
#   NPC     the tool (build/npc)
#   SEEDS   others than the published ones, "1 2 3"; the published last one is 1048576 in one place
#           of the paper and 104857 in another
#   RUNS    folder: a run for every seed, RUNS/mean with predictions and scores of the mean
#
# Started again it goes on where it was: finished runs stay, an interrupted one is resumed.
set -euo pipefail
if (($# < 3)); then
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
npc=${NPC:-build/npc}
model=$1 data=$2 runs=$3
shift 3
seeds=${SEEDS:-8 16 42 64 128 512 1024 2048 4096 16384 32768 131072 262144 1048576}
folders=()
mkdir -p "$runs"
for seed in $seeds; do
    run=$runs/seed$seed
    folders+=("$run")
    if [ -e "$run/checkpoints" ]; then
        "$npc" run "$run" --train --resume "$@"
    else
        "$npc" run "$model" --train --data "$data" --run "$run" --set seed="$seed" "$@"
    fi
done
"$npc" run "${folders[@]}" --predict --average --weights best --run "$runs/mean" --score
