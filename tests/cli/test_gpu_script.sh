# bench/gpu.sh on the simulated GPU: reference numbers, both levels, a peer that only prints.
. "$(dirname "$0")/common.sh"

if ! command -v python3 >/dev/null; then
    echo "no python3: nothing to test"
    exit 0
fi
cat >"$dir/peer.py" <<'END'
import json, sys
assert sys.argv[sys.argv.index("--amp") + 1] == "bf16"
print(json.dumps({"torch": "0.0", "median_s": 0.25, "min_s": 0.125, "max_s": 0.5, "peak_bytes": 4e9}))
END
small="--set widths=[8] --set strides=[2] --set expansion=2 --set se_ratio=2
       --set cortex_widths=[8,6] --neurons 5 --bind h=4 --bind w=4 --bind t=2"
NPC_CUDA_LIBRARIES="$(dirname "$npc")/sim" PEER="$dir/peer.py" NPC_FLAGS=$small BATCH=1 RUNS=5 \
    CASES=none.safetensors PARTS="bench peer" OUT="$dir/results" NAME=tiny \
    bench/gpu.sh "$npc" >"$dir/out" 2>"$dir/err" ||
    complain "bench/gpu.sh failed: $(tail -c 600 "$dir/err")"
for words in "## Training step" "## Evaluation" "npc, fuse full" "npc, fuse none" \
    "npc, fuse none, no cuBLAS" \
    "PyTorch 0.0, eager | 250.00 | 125.00 - 500.00 | 4.0" "slowest kernels, fuse full" \
    "| bench.step | ok |" "| peer.train.compiled | ok |"; do
    grep -qF -- "$words" "$dir/results/tiny.md" || complain "the table lacks '$words'"
done
# what fails is in the table, and the script says so
NPC_CUDA_LIBRARIES="$(dirname "$npc")/sim" CASES=none.safetensors PARTS="verify" OUT="$dir/results" \
    NAME=failed bench/gpu.sh "$npc" >"$dir/out" 2>"$dir/err" && complain "a failed case is no failure"
grep -qF "| none.f32.full | exit code 2 |" "$dir/results/failed.md" || complain "the failure is not there"
finish
