#!/usr/bin/env bash
# npc beside PyTorch on this machine, in one go: the published DwiseNeuro (expansion 7, ten
# recordings, float32), evaluation of one clip and a training step of four.
#
#     PEER=path/to/peer_dwiseneuro.py bench/cpu.sh [BUILD_FOLDER]
#
#   PEER      the PyTorch program; left out: npc alone
#   PYTHON    python3 with torch (python3)       THREADS  of both (all cores)
#   ROUNDS    npc and PyTorch take turns (2)     RUNS     timed calls of each turn (5)
#   BATCH     clips of a training step (4)       NAME     of the result (<date>-cpu)
#   NPC_FLAGS, PEER_FLAGS  more options, for example sizes that fit a small machine
#   LAYOUTS   of PyTorch's tensors: "plain channels-last" (both)
#   OUT       folder of the results (bench/results)
#
# Needs about 14 GB of memory for the unfused step. Every turn is a process of its own, so peak
# memory is the program's; the first turn of npc finds an empty cache of generated code (cold), the
# later ones find it filled. Writes OUT/NAME.json and OUT/NAME.md.
set -euo pipefail
cd "$(dirname "$0")/.."

npc=${1:-build}/npc
python=${PYTHON:-python3}
threads=${THREADS:-$(nproc)}
rounds=${ROUNDS:-2}
runs=${RUNS:-5}
batch=${BATCH:-4}
out=${OUT:-bench/results}
name=${NAME:-$(date +%F)-cpu}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# turn ROUND MODE LEVEL: one process of npc
turn() {
    local program=predict size=1
    [ "$2" = train ] && program=step size=$batch
    echo "round $1: npc $program, fuse $3, batch $size" >&2
    # shellcheck disable=SC2086
    "$npc" bench models/dwiseneuro.nm --model dwiseneuro --program $program --batch "$size" \
        --fuse "$3" --runs "$runs" --warm 2 --threads "$threads" --cache "$work/cache" \
        --json - ${NPC_FLAGS:-} >"$work/npc.$1.$2.$3.json"
}

# peer ROUND MODE LAYOUT: one process of PyTorch, with an allocator that keeps its memory
peer() {
    local size=1 layout=
    [ "$2" = train ] && size=$batch
    [ "$3" = channels-last ] && layout=--channels-last
    echo "round $1: PyTorch $2, $3, batch $size" >&2
    # shellcheck disable=SC2086
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=1000000000 \
        "$python" "$PEER" --mode "$2" --batch "$size" --threads "$threads" --warm 2 \
        --runs "$runs" $layout ${PEER_FLAGS:-} >"$work/peer.$1.$2.$3.json"
}

mkdir "$work/cache"
for ((round = 1; round <= rounds; round++)); do
    for mode in eval train; do
        turn $round $mode full
        for layout in ${LAYOUTS:-plain channels-last}; do
            [ -n "${PEER:-}" ] && peer $round $mode "$layout"
        done
        turn $round $mode none
    done
done

# shellcheck disable=SC2086
"$npc" compile models/dwiseneuro.nm --model dwiseneuro --batch "$batch" --json ${NPC_FLAGS:-} \
    >"$work/compile.json"
"$python" bench/summarise.py "$work" "$out/$name" "$("$npc" --version)"
cat "$out/$name.md"
