#!/usr/bin/env bash
# Trains several models of one file and takes the mean of what they predict: the baselines' ensemble of
# 14 seeds, the 31 models of Dynamic-V1FM, any list.
#
#     scripts/ensemble.sh models/factorised.nm RECORDINGS RUNS [more options of npc run --train]
#     MEMBERS=models/dynamic_v1fm_members.txt WEIGHTS=raw \
#         scripts/ensemble.sh models/dynamic_v1fm.nm RECORDINGS RUNS
#
#   NPC     the tool (build/npc)
#   SEEDS   others than the published ones, "1 2 3"; the published last one is 1048576 in one place
#           of the paper and 104857 in another
#   MEMBERS instead of seeds: a file with a line for every model, its name and what it sets without
#           blanks inside, `mean_2_16 levels=[2,16] fusion="mean"`; # begins a comment
#   WEIGHTS that predict: best, average or raw (best)
#   RUNS    folder: a run for every seed or model, RUNS/mean with predictions and scores of the mean
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
if [ -n "${MEMBERS:-}" ] && [ ! -r "$MEMBERS" ]; then
    echo "ensemble: $MEMBERS: the list of models cannot be read" >&2
    exit 2
fi
mkdir -p "$runs"
if [ -n "${MEMBERS:-}" ]; then
    list=$(sed 's/#.*//; /^[[:space:]]*$/d' "$MEMBERS")
else
    list=$(for seed in $seeds; do echo "seed$seed seed=$seed"; done)
fi
while read -r name settings; do
    run=$runs/$name
    folders+=("$run")
    if [ -e "$run/checkpoints" ]; then
        "$npc" run "$run" --train --resume "$@" </dev/null
    else
        sets=()
        for setting in $settings; do sets+=(--set "$setting"); done
        "$npc" run "$model" --train --data "$data" --run "$run" "${sets[@]}" "$@" </dev/null
    fi
done <<<"$list"
"$npc" run "${folders[@]}" --predict --average --weights "${WEIGHTS:-best}" --run "$runs/mean" --score
