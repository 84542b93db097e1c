#!/bin/bash
# Code of a package instead of compiling, on the simulator: the same bits, and a sentence that says
# what fitted.
#
#     tests/sim/run_package.sh PATH_OF_NPC FOLDER_OF_SIMULATOR
npc=$(realpath "$1")
model=$(realpath "$(dirname "$0")/../models/tiny.nm")
folder=$(mktemp -d)
failed=0
trap 'rm -rf "$folder"' EXIT
export NPC_CUDA_LIBRARIES=$(realpath "$2")

ok() { # sentence, then a command that must succeed
    if "${@:2}"; then
        echo "ok      $1"
    else
        echo "FAILED  $1"
        failed=1
    fi
}

settings=(--recipe long --set batch=2clips --set epoch=6clips)
train() { # run directory, further options
    "$npc" run "$model" --train "${settings[@]}" --data data --run "$1" --steps 2 \
        --progress quiet --no-cache "${@:2}" 2>"$1.log"
}

cd "$folder" || exit 1
"$npc" data synth data --mice 2 --neurons 12 --trials 5 --frames 81 --height 8 --width 12 \
    --clips 1 --repeats 2 --quiet || exit 1
"$npc" compile "$model" "${settings[@]}" --neurons 12,12 --target cuda:sm_90 --output m.npk >/dev/null
ok "a package is made" test $? = 0

train plain --device cuda
ok "a run without a package" test $? = 0
NPC_SIM_FAIL=nvrtcCompileProgram:1 train packed --device cuda --package m.npk
ok "a run with its code does not compile" test $? = 0
ok "and says so" grep -q "^package: m.npk has all [0-9]* kernels: none is compiled" packed.log
ok "and has the same bits" cmp plain/checkpoints/step-00000002.safetensors \
    packed/checkpoints/step-00000002.safetensors

predict() { # log, further options
    "$npc" run packed --predict --device cuda --no-cache --tier oracle "${@:2}" >/dev/null 2>"$1.log"
}
NPC_SIM_FAIL=nvrtcCompileProgram:1 predict same --package m.npk
ok "neither does a prediction" test $? = 0
predict other --batch 1 --package m.npk
ok "a prediction of another batch" test $? = 0
ok "compiles what is missing" grep -q "^package: m.npk has [0-9]* of [0-9]* kernels" other.log
NPC_SIM_SM=80 predict old --package m.npk
ok "a device of another architecture" test $? = 0
ok "compiles everything" grep -q "^package: m.npk has no code for sm_80" old.log
head -c 1000 m.npk >cut.npk
predict cut --package cut.npk
ok "a damaged package ends it with 2" test $? = 2
ok "and is named" grep -q "cut.npk" cut.log
predict none --device cpu --package m.npk
ok "the CPU says that it takes none" grep -q "^package: its code is for CUDA devices" none.log
predict cpu_cut --device cpu --package cut.npk
ok "and refuses a damaged one all the same" test $? = 2
[ $failed = 0 ] || head -n 3 *.log
exit $failed
