# npc bench: tables and JSON on a small model.
. "$(dirname "$0")/common.sh"

model=models/dwiseneuro.nm
small="--interpret --set widths=[4,8] --set strides=[2,1] --set expansion=2 --set se_ratio=2
       --set cortex_widths=[8,6] --neurons 5,7 --batch 2 --bind h=8 --bind w=8 --bind t=4
       --warm 1 --threads 2"

expect 0 "program predict, batch 2" "program step, batch 2" "taking turns" "core.block1" \
    "(backward)" "slowest" "GB/s read" -- bench $model $small --json "$dir/bench.json"
expect 0 '"peak_flops_per_second"' '"roof_share"' -- \
    bench $model $small --program predict --fuse full,elementwise,none --json -
if command -v python3 >/dev/null; then
    python3 - "$dir/bench.json" <<'END' || complain "the JSON does not add up"
import json, sys
with open(sys.argv[1]) as f:
    report = json.load(f)
for program in report["programs"]:
    full, none = program["levels"]
    assert (full["fuse"], none["fuse"]) == ("full", "none")
    assert 0 < full["kernels"] < none["kernels"] and full["bytes"] < none["bytes"]
    for level in program["levels"]:
        t = level["seconds"]
        assert len(level["runs"]) == program["timed_runs"] == 5
        assert 0 < t["min"] <= t["median"] <= t["max"]
        assert len(level["launches"]) == level["kernels"]
        assert abs(sum(l["bytes"] for l in level["launches"]) - level["bytes"]) <= 1e-9 * level["bytes"]
        assert sum(l["seconds"]["min"] for l in level["launches"]) <= t["max"]
END
fi
expect 2 "--fuse: expected" -- bench $model --fuse full,nothing
expect 2 "--runs: expected 5" -- bench $model --runs 1
expect 2 "--program: expected one of predict|step|both" -- bench $model --program train
expect 2 "absent/x.json: cannot create" -- bench $model $small --program predict --json "$dir/absent/x.json"
mkdir "$dir/room"
(
    trap '' XFSZ
    ulimit -f 1
    exec "$npc" bench $model $small --program predict --cache "$dir/cache" \
        --json "$dir/room/x.json" >/dev/null 2>&1
)
[ $? = 2 ] || complain "a report without room does not end with 2"
[ -z "$(ls "$dir/room")" ] || complain "a report without room left $(ls "$dir/room")"
finish
