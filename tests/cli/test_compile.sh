# npc compile: the report, every stage, packages, mistakes.
. "$(dirname "$0")/common.sh"

model=models/dwiseneuro.nm
small="--interpret --set widths=[4,8] --set strides=[2,1] --set expansion=2 --set se_ratio=2
       --set cortex_widths=[8,6] --neurons 5,7 --batch 2 --bind h=8 --bind w=8 --bind t=4"

expect 0 "multiply-adds  16 931 237 888 per clip" "170 656 070 in 200 tensors" \
    -- compile $model --model dwiseneuro --batch 4
expect 0 '"multiply_adds_per_clip": 16931237888' '"readout": 2584018944' '"kernels":' \
    '"optimizer":' -- compile $model --model dwiseneuro --batch 4 --json
expect 0 "2 recordings, batch 2" "time (s)" "elaborate" -- compile $model $small --time

for stage in ast source ir plan tiles after:simplify after:all; do
    expect 0 -- compile $model $small --emit $stage
    [ -s "$dir/out" ] || complain "--emit $stage prints nothing"
    cp "$dir/out" "$dir/first"
    expect 0 -- compile $model $small --emit $stage
    cmp -s "$dir/first" "$dir/out" || complain "--emit $stage is not deterministic"
done
expect 0 "plan step" "adam_m/" -- compile $model $small --emit plan --program step
expect 0 "program: predict, after: fold_batch_norm" -- \
    compile $model $small --emit after:fold_batch_norm
expect 0 -- compile $model $small --emit plan -o "$dir/plan.txt"
grep -q "^plan predict" "$dir/plan.txt" || complain "--output does not take the text"

# What --emit source prints is the same model, with nothing left to override.
"$npc" compile $model $small --emit plan >"$dir/plan.txt"
"$npc" compile $model $small --emit source >"$dir/resolved.nm"
expect 0 "plan predict" -- compile "$dir/resolved.nm" --interpret --batch 2 --emit plan
cmp -s "$dir/plan.txt" "$dir/out" || complain "the resolved source has another plan"

expect 0 "wrote $dir/m.npk" -- compile $model $small -o "$dir/m.npk"
expect 0 "format           npk 1" "batch            2" "plan/step" "tiles/predict" -- \
    compile "$dir/m.npk"
expect 0 "plan step" -- compile "$dir/m.npk" --emit plan/step
expect 2 "has no entry 'nothing'" -- compile "$dir/m.npk" --emit nothing
cp "$dir/m.npk" "$dir/bad.npk"
printf X | dd of="$dir/bad.npk" bs=1 seek=$(($(stat -c %s "$dir/bad.npk") - 9)) conv=notrunc 2>/dev/null
expect 2 "is damaged" -- compile "$dir/bad.npk"
head -c 1000 "$dir/m.npk" >"$dir/short.npk"
expect 2 "short.npk" -- compile "$dir/short.npk"

expect 2 "did you mean 'expansion'?" -- compile $model --set expansio=3
expect 2 "error[E" -- compile $model --model nobody
expect 2 "absent.nm" -- compile absent.nm
# the published sizes of the transformers (specs/viv1t.md 4.1, v1t.md 1.5)
expect 0 "parameters     12 278 365 in" -- compile models/viv1t.nm --model viv1t --interpret --batch 1 \
    --bind t=40
expect 0 "parameters     13 014 933 in" -- compile models/viv1t.nm --interpret --batch 1 --bind t=20
expect 0 "parameters     2 442 984 in" "4 278 302 560" -- compile models/v1t.nm --neurons 174 --batch 1 \
    --interpret --set behaviour_mode=0 --set shift_mode=0 --set resize=no --bind h=36 --bind w=64
# ten mice in both variants, one mouse (specs/dynamic-v1fm.md 6: core, shifter, readout F)
expect 0 "parameters     36 906 001 in" -- compile models/dynamic_v1fm.nm --interpret --batch 1
expect 0 "parameters     36 907 361 in" -- compile models/dynamic_v1fm.nm --interpret --batch 1 \
    --set 'fusion="adaptive"'
# the 31 published models of one mouse: levels and fusions exist whether they are in use or not
for levels in 2 4 8 16 2,4 2,8 2,16 4,8 4,16 8,16 2,4,8 2,4,16 2,8,16 4,8,16 2,4,8,16; do
    for fusion in mean adaptive; do
        count="5 726 727"
        [ $fusion = adaptive ] && count="5 726 863"
        expect 0 "parameters     $count in" -- compile models/dynamic_v1fm.nm --interpret --batch 1 \
            --neurons 7863 --set "levels=[$levels]" --set "fusion=\"$fusion\""
    done
done
expect 0 "parameters     5 726 863 in" -- compile models/dynamic_v1fm.nm --interpret --batch 1 \
    --neurons 7863 --set "levels=[]" --set 'fusion="adaptive"'

# those of the baselines (specs/baselines.md 8)
expect 0 "parameters     5 707 743 in" -- compile models/factorised.nm --interpret --batch 1
expect 0 "parameters     4 798 583 in" -- compile models/gru.nm --interpret --batch 1

# CUDA targets need no device; a compiler only for machine code
expect 0 "NPC_KERNEL(" "MFLOP" "readout softplus" -- \
    compile $model $small --target cuda:sm_90 --emit cuda
expect 0 "for cuda:sm_80" -- compile $model $small --target cuda:sm_80
expect 2 "there is no target 'cuda:sm_91'" -- compile $model --target cuda:sm_91
expect 2 "needs a target" -- compile $model --emit ptx
expect 2 "leave out --target" -- compile $model --target cuda:sm_90 --emit asm
expect 1 "sm_75 has no products of bf16" -- \
    compile $model $small --precision bf16 --target cuda:sm_75 --emit resources

expect 2 "there is no pass 'simplfy'" -- compile $model --emit after:simplfy
expect 2 "there is no pass 'nothing'" -- compile $model --pass-off nothing
expect 2 "--emit: expected ast" -- compile $model --emit everything
expect 2 "there is no program 'stepp'" -- compile $model --program stepp
expect 2 "--bind: expected an axis" -- compile $model --bind t=x
expect 2 "--neurons: expected" -- compile $model --neurons 5,,6
expect 2 "--batch: expected 1 to 4096" -- compile $model --batch 0
printf 'nm 1\n\nsessions = ["a": 5]\nmodel m(clip: [b c:4 t:3]) -> per s in sessions [b n:s.neurons t] {\n  return y\n}\n' >"$dir/bad.nm"
expect 2 "bad.nm:5:10: error[E" -- compile "$dir/bad.nm"
expect 2 '"file":' '"line": 5' -- compile "$dir/bad.nm" --json

# a code generator that is there but cannot be opened is named, not replaced by the interpreter
if "$npc" compile $model --emit asm >/dev/null 2>&1; then
    mkdir "$dir/broken" && cp "$npc" "$dir/broken/npc" && echo none >"$dir/broken/libnpc_llvm.so"
    npc=$dir/broken/npc expect 1 "code generator cannot be loaded" -- compile $model --emit asm
fi
# ViV1T's centre crop: 0.7 of 36 x 64 is 25 x 44, brought back to full size
expect 0 "h=25, w=44" "h=36, w=64" -- compile models/viv1t.nm --model viv1t --set crop=0.7 --neurons 5,7 --program predict \
    --emit after:elaborate
finish
