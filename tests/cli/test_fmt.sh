# npc fmt: in place, --check, standard input, files with errors.
. "$(dirname "$0")/common.sh"

expect 0 -- fmt --check models/*.nm
cp models/*.nm "$dir"
expect 0 -- fmt "$dir"/*.nm
expect 0 -- fmt --check "$dir"/*.nm
cp "$dir/demo.nm" "$dir/good.nm"
sed 's/batch      = /batch=/; s/^model demo = /model   demo=/' models/demo.nm >"$dir/ugly.nm"
cp "$dir/ugly.nm" "$dir/kept.nm"
expect 1 "$dir/ugly.nm" -- fmt --check "$dir/good.nm" "$dir/ugly.nm"
cmp -s "$dir/ugly.nm" "$dir/kept.nm" || complain "--check changed a file"
"$npc" fmt - <"$dir/ugly.nm" >"$dir/stdout.nm" || complain "fmt - failed"
expect 0 -- fmt "$dir/ugly.nm"
cmp -s "$dir/ugly.nm" "$dir/stdout.nm" || complain "a file and standard input are formatted unequally"
expect 0 -- fmt --check "$dir/ugly.nm"

echo 'nm 1 model {' >"$dir/bad.nm"
cp "$dir/bad.nm" "$dir/kept.nm"
cp models/demo.nm "$dir/after.nm"
sed -i 's/^model demo = /model   demo=/' "$dir/after.nm"
expect 2 "bad.nm:1:" "error[E" -- fmt "$dir/bad.nm" "$dir/after.nm"
cmp -s "$dir/bad.nm" "$dir/kept.nm" || complain "a file with errors was changed"
expect 0 -- fmt --check "$dir/after.nm"
expect 2 "absent.nm" -- fmt "$dir/absent.nm"
finish
