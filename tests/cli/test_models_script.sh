# bench/models.py: trains, scores and tabulates models of films and of images on small recordings.
. "$(dirname "$0")/common.sh"

if ! command -v python3 >/dev/null; then
    echo "no python3: nothing to test"
    exit 77
fi
FILMS="--mice 2 --neurons 7 --trials 6 --frames 81 --clips 2 --repeats 2" \
    IMAGES="--images --mice 1 --neurons 7 --trials 20 --clips 3 --repeats 3" \
    MODELS="models/viv1t_demo.nm models/v1t_demo.nm" WORK="$dir/work" OUT="$dir/results" NAME=tiny \
    TRAIN="--set stage.train=3steps" python3 bench/models.py "$npc" >"$dir/out" 2>"$dir/err" ||
    complain "bench/models.py failed: $(tail -c 600 "$dir/err")"
for words in '| `viv1t_demo` | films |' '| `v1t_demo` | images |' "![score over time of a step](tiny.svg)"; do
    grep -qF -- "$words" "$dir/results/tiny.md" || complain "the table lacks '$words'"
done
grep -qF "linear, images" "$dir/results/tiny.svg" || complain "the picture lacks a floor"
python3 - "$dir/results/tiny.json" <<'END' || complain "the JSON does not add up"
import json, sys, xml.dom.minidom
rows = json.load(open(sys.argv[1]))["models"]
assert [r["model"] for r in rows] == ["viv1t_demo", "v1t_demo"]
assert all(r["step_ms"] > 0 and r["peak_mb"] > 10 and r["parameters"] > 20000 for r in rows)
assert all(-1 <= r["single_trial"] <= 1 for r in rows)
xml.dom.minidom.parse(sys.argv[1][:-4] + "svg")
END
finish
