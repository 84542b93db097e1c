# npc run --attention: files, pictures and a table; what is said when it cannot be.
. "$(dirname "$0")/common.sh"

expect 0 -- data synth "$dir/rec" --mice 2 --neurons 6 --trials 4 --frames 81 --clips 1 --repeats 2 \
    --height 8 --width 12 --quiet
expect 0 -- run tests/models/watcher.nm --train --recipe films --data "$dir/rec" --run "$dir/run" \
    --progress quiet
expect 0 "| recording | tier | trials | pupil x | pupil y | running |" "± " "final_test_main" -- \
    run "$dir/run" --attention "$dir/seen" --trials 1
trial=$(find "$dir/seen" -path '*/final_test_main/*' -type d | sort | head -1)
for name in frames space_rollout space_map space_attention time_rollout time_attention; do
    [ -s "$trial/$name.npy" ] || complain "there is no $trial/$name.npy"
done
[ -e "$trial/space_weights_0.npy" ] && complain "weights were written without --attention-weights"
if ldd "$npc" | grep -q cairo; then
    [ "$(head -c 4 "$trial/attention.png" | tail -c 3)" = PNG ] || complain "there is no picture"
fi
grep -q "a definition of npc's" "$dir/seen/attention.md" || complain "the report hides whose it is"
grep -q '"running"' "$dir/seen/attention.json" || complain "attention.json has no running"

expect 0 -- run "$dir/run" --attention "$dir/seen" --trials 1 --attention-weights --tier oracle \
    --progress quiet
[ -s "$(find "$dir/seen" -path '*/oracle/*/time_weights_1.npy' | head -1)" ] ||
    complain "--attention-weights writes no weights"

expect 2 "--attention needs a folder" -- run "$dir/run" --attention ""
expect 2 "not --average" -- run "$dir/run" "$dir/run" --average --predict --attention "$dir/x"
expect 2 "go with --attention" -- run "$dir/run" --predict --attention-weights
expect 2 "go with --attention" -- run "$dir/run" --predict --trials 3
expect 2 "need a run directory" -- run tests/models/watcher.nm --attention "$dir/x"
: >"$dir/file"
expect 2 "$dir/file: exists, not a folder" -- run "$dir/run" --attention "$dir/file"
expect 2 "$dir/file/x" "Not a directory" -- run "$dir/run" --attention "$dir/file/x"
expect 0 -- run tests/models/tiny.nm --train --data "$dir/rec" --run "$dir/plain" --steps 1 --progress quiet
expect 2 "the model '" "has no attention" -- run "$dir/plain" --attention "$dir/x"
[ -e "$dir/x" ] && complain "a refused run leaves a folder"
finish
