#!/bin/bash
# Training on a device that fails in the middle: a message, whole checkpoints, and resuming ends
# with the same bits as a run that nothing happened to. Runs on the simulator.
#
#     tests/faults/run_device.sh PATH_OF_NPC FOLDER_OF_SIMULATOR
npc=$(realpath "$1")
model=$(realpath "$(dirname "$0")/../models/tiny.nm")
folder=$(mktemp -d)
failed=0
trap 'rm -rf "$folder"' EXIT
export XDG_CACHE_HOME=$folder/cache

ok() { # sentence, then a command that must succeed
    if "${@:2}"; then
        echo "ok      $1"
    else
        echo "FAILED  $1"
        failed=1
    fi
}

train() { # run directory, further options
    "$npc" run "$model" --train --recipe long --data data --run "$1" --set batch=2clips \
        --set epoch=6clips --steps 10 --progress quiet "${@:2}" 2>"$1.log"
}

cd "$folder" || exit 1
"$npc" data synth data --mice 2 --neurons 12 --trials 5 --frames 81 --height 8 --width 12 \
    --clips 1 --repeats 2 --quiet || exit 1

# nothing is there: one sentence, and everything else works
if ! ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1'; then
    train none --device cuda
    ok "without a driver --device cuda ends with 1" test $? = 1
    ok "and says what is missing" grep -q "libcuda.so.1 was not found" none.log
    train none --device auto
    ok "auto takes the CPU" test $? = 0
    ok "and says nothing of it" test ! -s none.log
fi

export NPC_CUDA_LIBRARIES=$2
train whole --device auto
ok "auto takes the device" test $? = 0
ok "and says so in one line" test "$(grep -c '^device: .*cuda:0' whole.log)" = 1

# the inputs of a step are sent while the step before runs
NPC_SIM_LATE=1 train late --device cuda
ok "work that happens as late as it may ends with the same bits" \
    cmp whole/checkpoints/step-00000010.safetensors late/checkpoints/step-00000010.safetensors

# late enough that something was saved
for launch in 40 48 56 64 72 80 100 120 140; do
    rm -rf broken
    NPC_SIM_FAIL=sticky:$launch train broken --device cuda
    code=$?
    if [ $code = 0 ] || ls broken/checkpoints/step-* >/dev/null 2>&1; then break; fi
done
ok "a lost device ends the run with 1" test $code = 1
ok "with a message" grep -q "training stopped behind step [0-9]*, the checkpoints" broken.log
ok "which says how to go on" grep -q -- "--resume" broken.log
ok "checkpoints from before are there" test -n "$(ls broken/checkpoints/step-*.safetensors)"
ok "the run had not ended" test ! -e broken/checkpoints/step-00000010.safetensors
"$npc" run broken --train --resume --steps 10 --progress quiet --device cuda 2>broken.log
ok "it can be resumed" test $? = 0
ok "and ends with the same bits" cmp whole/checkpoints/step-00000010.safetensors \
    broken/checkpoints/step-00000010.safetensors

# f16: the first scales of the loss are too large; what was learned of that is in the checkpoint
train half --device cuda --precision f16
ok "f16 trains" test $? = 0
ok "and skips steps that overflow" grep -aq '"skipped\\":[1-9]' \
    half/checkpoints/step-00000010.safetensors
rm -rf part
NPC_SIM_FAIL=sticky:$launch train part --device cuda --precision f16
"$npc" run part --train --resume --steps 10 --progress quiet --device cuda --precision f16 2>part.log
ok "f16 ends with the same bits when resumed" cmp half/checkpoints/step-00000010.safetensors \
    part/checkpoints/step-00000010.safetensors
exit $failed
