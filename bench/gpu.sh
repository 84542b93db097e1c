#!/usr/bin/env bash
# npc on a GPU, beside PyTorch, in one go of less than nine minutes: reference numbers on the device,
# compute-sanitizer on the smallest case, kernel and step timings of the published DwiseNeuro, and
# PyTorch on the same sizes.
#
#     PEER=path/to/peer_dwiseneuro.py bench/gpu.sh [NPC]
#
#   NPC       the program; left out: build/portable/npc, which is built when it is not there
#             (needs flex, bison and libjansson; elsewhere: scripts/build.sh as below, carry it)
#   PEER      the PyTorch program; left out: npc alone
#   PYTHON    python3 with torch (python3)         BATCH   clips of a training step (32)
#   PRECISION of npc and PyTorch: bf16 or f16 (bf16)   RUNS    timed calls (10)
#   SECONDS_MAX  for everything (530)              NAME    of the result (<date>-<device>)
#   NPC_FLAGS, PEER_FLAGS  more options            OUT     folder of the results (bench/results)
#   CASES     reference numbers (tests/goldens/dwiseneuro/*.safetensors)
#   PARTS     what to do, in order: "verify bench peer sanitize"
#
# A binary for a machine without the packages:
#     BUILD=build/portable OPTIONS="-DNPC_PORTABLE=ON -DNPC_LLVM=OFF" scripts/build.sh npc
# Every part gets the time that is left; what did not fit stands in the result as missing.
# Writes OUT/NAME.json and OUT/NAME.md.
set -uo pipefail
cd "$(dirname "$0")/.."

npc=${1:-build/portable/npc}
python=${PYTHON:-python3}
batch=${BATCH:-32}
precision=${PRECISION:-bf16}
runs=${RUNS:-10}
out=${OUT:-bench/results}
cases=${CASES:-$(echo tests/goldens/dwiseneuro/*.safetensors)}
parts=${PARTS:-verify bench peer sanitize}
end=$(($(date +%s) + ${SECONDS_MAX:-530}))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

if [ ! -x "$npc" ]; then
    BUILD=build/portable OPTIONS="-DNPC_PORTABLE=ON -DNPC_LLVM=OFF" scripts/build.sh npc || exit 1
fi

left() { echo $((end - $(date +%s))); }

# run NAME LIMIT COMMAND..: output to NAME.txt, and a row of how it went to steps.tsv
run() {
    local name=$1 limit=$2 from code
    shift 2
    [ "$(left)" -lt "$limit" ] && limit=$(left)
    if [ "$limit" -lt 5 ]; then
        printf '%s\tno time left\t0\n' "$name" >>"$work/steps.tsv"
        return 1
    fi
    echo "[$(left) s left] $name" >&2
    from=$(date +%s)
    timeout "$limit" "$@" >"$work/$name.txt" 2>&1
    code=$?
    printf '%s\t%s\t%s\n' "$name" "$code" $(($(date +%s) - from)) >>"$work/steps.tsv"
    [ $code -eq 0 ] || tail -n 5 "$work/$name.txt" >&2
    return $code
}

# Reference numbers: every case in float32, the first one at every level and precision, and once more
# with every plain product by cuBLAS.
verify() {
    local first=${cases%% *} case level p
    for case in $cases; do
        run "verify.$(basename "$case" .safetensors).f32.full" 60 \
            "$npc" verify models/dwiseneuro.nm "$case" --device cuda --precision f32
    done
    for level in none elementwise full; do
        for p in f32 tf32 bf16 f16; do
            run "verify.$(basename "$first" .safetensors).$p.$level" 30 \
                "$npc" verify models/dwiseneuro.nm "$first" --device cuda --precision $p \
                --fuse $level
        done
    done
    for p in f32 tf32 bf16 f16; do
        run "verify.$(basename "$first" .safetensors).$p.none.cublas" 30 \
            "$npc" verify models/dwiseneuro.nm "$first" --device cuda --precision $p \
            --fuse none --library all
    done
}

# shellcheck disable=SC2086
time_program() { # NAME PROGRAM LIBRARY
    run "bench.$1" 120 "$npc" bench models/dwiseneuro.nm --model dwiseneuro --program "$2" \
        --batch "$batch" --fuse full,none --runs "$runs" --warm 3 --device cuda \
        --precision "$precision" --library "$3" --json "$work/bench.$1.json" ${NPC_FLAGS:-}
}

bench() {
    time_program step step large
    time_program step.own step none # without cuBLAS
    time_program predict predict large
}

# The quick settings first, so that something of everything is measured.
# shellcheck disable=SC2086
peer() {
    local amp=$precision mode
    [ -n "${PEER:-}" ] || return 0
    [ "$amp" = f16 ] && amp=fp16
    for mode in train eval; do
        run "peer.$mode.eager" 60 "$python" "$PEER" --device cuda --amp $amp --mode $mode \
            --batch "$batch" --runs "$runs" ${PEER_FLAGS:-}
        run "peer.$mode.eager-channels-last" 60 "$python" "$PEER" --device cuda --amp $amp \
            --mode $mode --batch "$batch" --runs "$runs" --channels-last ${PEER_FLAGS:-}
    done
    for mode in train eval; do
        run "peer.$mode.compiled-channels-last" 150 "$python" "$PEER" --device cuda --amp $amp \
            --mode $mode --batch "$batch" --runs "$runs" --channels-last --compile \
            --compile-mode default ${PEER_FLAGS:-}
    done
    run "peer.train.compiled" 150 "$python" "$PEER" --device cuda --amp $amp --mode train \
        --batch "$batch" --runs "$runs" --compile --compile-mode default ${PEER_FLAGS:-}
}

sanitize() {
    local first=${cases%% *} tool
    command -v compute-sanitizer >/dev/null || {
        printf 'sanitize\tno compute-sanitizer here\t0\n' >>"$work/steps.tsv"
        return 0
    }
    for tool in memcheck racecheck initcheck synccheck; do
        run "sanitize.$tool" 60 compute-sanitizer --tool $tool --error-exitcode 9 \
            "$npc" verify models/dwiseneuro.nm "$first" --device cuda --precision f32
    done
}

: >"$work/steps.tsv"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$work/gpu.txt" 2>&1
for part in $parts; do
    case $part in
    verify | bench | peer | sanitize) $part ;;
    *)
        echo "gpu: there is no part '$part': verify, bench, peer, sanitize" >&2
        exit 2
        ;;
    esac
done
"$npc" --version >"$work/version.txt"
device=$(head -n 1 "$work/gpu.txt" | cut -d, -f1 | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
name=${NAME:-$(date +%F)-${device:-gpu}}
"$python" bench/summarise_gpu.py "$work" "$out/$name" && cat "$out/$name.md"
! grep -qvP '\t(0|no .*)\t' "$work/steps.tsv"
