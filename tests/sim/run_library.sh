#!/bin/bash
# Plain products by cuBLAS, on the simulator: a published case with them, what is planned and shown,
# and a library that is too old, or missing, or fails.
#
#     tests/sim/run_library.sh PATH_OF_NPC FOLDER_OF_SIMULATOR
npc=$(realpath "$1")
root=$(realpath "$(dirname "$0")/../..")
sim=$2
folder=$(mktemp -d)
failed=0
trap 'rm -rf "$folder"' EXIT
export XDG_CACHE_HOME=$folder/cache NPC_CUDA_LIBRARIES=$sim
cd "$root" || exit 1

ok() { # sentence, then a command that must succeed
    if "${@:2}"; then
        echo "ok      $1"
    else
        echo "FAILED  $1"
        failed=1
    fi
}

verify() { # options; a case with factors to convert and results in 16 bits
    "$npc" verify models/dwiseneuro.nm tests/goldens/dwiseneuro/tiny.safetensors --device cuda \
        --precision f16 --fuse none "$@" >"$folder/out" 2>"$folder/log"
}

plan() { # options
    "$npc" compile models/dwiseneuro.nm --fuse none --emit plan "$@" >"$folder/plan" 2>"$folder/log"
}

launches() {
    grep -c '^  [0-9].* library' "$folder/plan"
}

NPC_SIM_LOG=1 verify --library all
ok "the published model's numbers come out" test $? = 0
ok "with products of the library" \
    test "$(grep -c 'npc sim: cublasGemmStridedBatchedEx' "$folder/log")" -ge 50

for call in Create SetStream SetMathMode SetWorkspace GemmStridedBatchedEx; do
    NPC_SIM_FAIL=cublas$call:1 verify --library all
    ok "a failing cublas$call ends with 1" test $? = 1
    ok "and a sentence" grep -q "^npc: CUDA: cannot .* by .*libcublas.so.13: CUBLAS_STATUS_" "$folder/log"
done

plan --device cuda --library all
ok "all plain products are the library's when asked for" test "$(launches)" -gt 30
plan --device cuda
large=$(launches)
ok "else those that are large" test "$large" -gt 3
plan --target cuda:sm_90
ok "which are the same without a device" test "$(launches)" = "$large"
plan --device cuda --library none
ok "none are when asked for" test "$(launches)" = 0
plan --device cuda --library some
ok "other words are a mistake" test $? = 2
ok "which is named" grep -q -- "--library: expected one of large.all.none, found 'some'" "$folder/log"

export NPC_SIM_BLAS_VERSION=110803
plan --device cuda --library all
ok "with a library that is too old" test $? = 0
ok "none are" test "$(launches)" = 0
ok "and one sentence says why" test "$(grep -c . "$folder/log")" = 1
ok "with the version" grep -q "is version 11.8: 12.0 or newer is needed; plain products take kernels of" \
    "$folder/log"
plan --device cuda --library none
ok "which is not said where nobody asks" test ! -s "$folder/log"
unset NPC_SIM_BLAS_VERSION

NPC_SIM_FAIL=cublasGetVersion:1 plan --device cuda --library all
ok "one that fails at once is as one that is too old" grep -q "does not tell its version" "$folder/log"

mkdir "$folder/some"
ln -s "$(realpath "$sim")"/lib{cuda,nvrtc}.so.* "$folder/some"
export NPC_CUDA_LIBRARIES=$folder/some
if ! ls /usr/local/cuda/lib64/libcublas.so.1[23] >/dev/null 2>&1 &&
    ! ldconfig -p 2>/dev/null | grep -q 'libcublas\.so\.1[23]'; then
    plan --device cuda --library all
    ok "without a library" test $? = 0
    ok "none are, either" test "$(launches)" = 0
    ok "and one sentence says so" grep -q "neither libcublas.so.13 nor libcublas.so.12 was found; " \
        "$folder/log"
fi
exit $failed
