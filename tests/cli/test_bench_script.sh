# bench/cpu.sh: takes turns with a peer (here one that only prints) and writes table and JSON.
. "$(dirname "$0")/common.sh"

if ! command -v python3 >/dev/null; then
    echo "no python3: nothing to test"
    exit 0
fi
cat >"$dir/peer.py" <<'END'
import json, os, sys
assert os.environ["MALLOC_MMAP_MAX_"] == "0"
train = sys.argv[sys.argv.index("--mode") + 1] == "train"
assert sys.argv[sys.argv.index("--batch") + 1] == ("2" if train else "1")
print(json.dumps({"torch": "0.0", "median_s": 0.25, "min_s": 0.125, "max_s": 0.5, "peak_bytes": 4000000}))
END
small="--interpret --set widths=[4,8] --set strides=[2,1] --set expansion=2 --set se_ratio=2
       --set cortex_widths=[8,6] --neurons 5,7 --bind h=8 --bind w=8 --bind t=4"
PEER="$dir/peer.py" NPC_FLAGS=$small BATCH=2 ROUNDS=1 OUT="$dir/results" NAME=tiny \
    bench/cpu.sh "$(dirname "$npc")" >"$dir/out" 2>"$dir/err" ||
    complain "bench/cpu.sh failed: $(tail -c 600 "$dir/err")"
for words in "## Evaluation, batch 1" "## Training step, batch 2" "npc, fuse full" "npc, fuse none" \
    "PyTorch, channels-last | 250.0 | 125.0 - 500.0 | 4 |" "PyTorch, plain" "| cold s |"; do
    grep -qF -- "$words" "$dir/results/tiny.md" || complain "the table lacks '$words'"
done
python3 - "$dir/results/tiny.json" <<'END' || complain "the JSON does not add up"
import json, sys
report = json.load(open(sys.argv[1]))
assert len(report["results"]) == 8 and all(len(r["turns"]) == 1 for r in report["results"])
END
finish
