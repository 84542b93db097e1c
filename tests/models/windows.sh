# The reduced Dynamic-V1FM trains, and two of the published combinations of levels predict their mean.
. "$(dirname "$0")/../cli/common.sh"

"$npc" data synth "$dir/films" --mice 2 --neurons 18 --trials 8 --frames 81 --clips 1 --repeats 2 --quiet
grep -E '^(mean_2_16|plain) ' models/dynamic_v1fm_members.txt >"$dir/members"
[ "$(grep -vc '^#' models/dynamic_v1fm_members.txt)" = 31 ] || complain "the published models are not 31"

MEMBERS=$dir/members WEIGHTS=raw NPC=$npc scripts/ensemble.sh models/dynamic_v1fm_demo.nm "$dir/films" \
    "$dir/runs" --set stage.warmup=2steps --set stage.steady=2steps --set stage.fall=16steps \
    --set batch=2clips --set width=8 --set hidden=12 >"$dir/out" 2>&1 ||
    complain "the ensemble ends with $?: $(tail -c 600 "$dir/out")"
for name in mean_2_16 plain; do
    losses=$(sed -n 's/.*"train","step":\([0-9]*\),"loss":\([0-9.e+]*\).*/\1 \2/p' "$dir/runs/$name/log.jsonl" |
        awk '$1 <= 4 { first += $2 } $1 > 16 { last += $2 } END { print first, last }')
    echo "$name: loss of the first and the last four steps $losses"
    echo "$losses" | awk '{ exit !($1 > 0 && $2 < $1) }' || complain "$name: the loss does not fall"
done
grep -q '"mean"' "$dir/runs/mean_2_16/"*.nm || complain "the member's settings are not in its run"
[ -e "$dir/runs/mean/scores.json" ] || complain "the mean of the two has no scores"

# of 16 x 21 x 35 positions 16 x 18 x 30 are tokens and have queries: 3120 of 11760 have none
"$npc" compile models/dynamic_v1fm.nm --neurons 35 --program step --emit after:all >"$dir/step"
for op in attend attend_sum attend_dq attend_dk attend_dv attend_dbias; do
    all=$(grep -c " $op " "$dir/step")
    told=$(grep " $op " "$dir/step" | grep -c 'unasked=0.2653061224489')
    [ "$all" -ge 4 ] && [ "$told" = "$all" ] || complain "$op: $told of $all know which queries are asked"
done

# no volume of 16 x 21 x 35 with channels is stored, and of windows what attention itself writes
"$npc" compile models/dynamic_v1fm.nm --neurons 35 --program step --emit tiles >"$dir/tiles"
grep -q 'tensor out .*t=16, h=21, w=35' "$dir/tiles" || complain "there are no labels of the turned volume"
grep 'tensor out .*t=16, h=21, w=35' "$dir/tiles" | grep -q 'b=' && complain "a turned volume is stored"
grep 'tensor out .*\(s=30, n\|tt=8\)' "$dir/tiles" | grep -v 'a=4' | grep -q 'b=' &&
    complain "windows are stored in front of attention"
finish
