# npc data: made recordings are sound, damage is named, folds cover what has responses.
. "$(dirname "$0")/common.sh"

tiny="--mice 2 --neurons 6 --trials 4 --frames 90 --clips 1 --repeats 2 --height 12 --width 16"
expect 0 "tier" "final_test_main" -- data synth "$dir/rec" $tiny
expect 0 -- data synth "$dir/again" $tiny --quiet
[ -s "$dir/out" ] && complain "--quiet prints"
diff -r "$dir/rec" "$dir/again" >/dev/null || complain "equal options give unequal recordings"
expect 2 "not empty" -- data synth "$dir/rec" $tiny
expect 2 "mice is 0" -- data synth "$dir/none" --mice 0
expect 2 "--signal: expected a number" -- data synth "$dir/none" --signal loud

expect 0 "neurons      6" "withheld" -- data info "$dir/rec"
expect 0 '"recordings"' '"findings": []' -- data info "$dir/rec" --json
expect 2 "absent" -- data info "$dir/absent"

expect 0 "fold 6" "none" -- data folds "$dir/rec"
expect 0 '"dynamic' -- data folds "$dir/rec" --json -o "$dir/folds.json"
head -c "$(stat -c %s "$dir/folds.json")" "$dir/out" | cmp -s - "$dir/folds.json" ||
    complain "the file and the output differ"
expect 0 "fold 2" -- data folds "$dir/rec" --folds 3
grep -q "fold 3" "$dir/out" && complain "--folds 3 made a fourth fold"
expect 2 "--folds: expected 2 to 1000" -- data folds "$dir/rec" --folds 1

expect 0 "final_test" "true rate" -- data synth "$dir/pictures" --images --mice 1 --neurons 6 \
    --trials 20 --clips 3 --repeats 2 --height 8 --width 12
expect 0 "image size   8 x 12" "validation 2" -- data info "$dir/pictures"
expect 0 '"kind": "images"' -- data info "$dir/pictures" --json
expect 2 "split by its tiers" -- data folds "$dir/pictures"

expect 2 "expected allen or macaque_v4" -- data import elephant "$dir/absent" "$dir/imported"
expect 2 "no session here" -- data import macaque_v4 "$dir/absent" "$dir/imported"
expect 2 "absent" -- data import allen "$dir/absent" "$dir/imported"

first=$(find "$dir/rec" -path '*/data/responses/0.npy' -not -path '*/truth/*' | sort | head -1)
head -c 100 "$first" >"$dir/cut" && cp "$dir/cut" "$first"
expect 2 "responses/0.npy" "wrong with the recordings" -- data info "$dir/rec"
expect 2 "responses/0.npy" '"findings"' -- data info "$dir/rec" --json
finish
