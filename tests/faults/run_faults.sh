#!/bin/bash
# What `npc run` does when the world fails: killed processes, full disks, damaged checkpoints, two
# runs in one directory, directories that cannot be written.
#
#     tests/faults/run_faults.sh PATH_OF_NPC [kills]
#
# Prints one line per check; ends with 1 when any of them failed. NPC_RUN_FLAGS are given to every
# run, --interpret for example.
npc=$(realpath "$1")
kills=${2:-5}
flags=$NPC_RUN_FLAGS
model=$(realpath "$(dirname "$0")/../models/tiny.nm")
folder=$(mktemp -d)
failed=0
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
export XDG_CACHE_HOME=$folder/cache

ok() { # sentence, then a command that must succeed
    local sentence=$1
    shift
    if "$@"; then
        echo "ok      $sentence"
    else
        echo "FAILED  $sentence"
        failed=1
    fi
}

# In the background; $process is its number.
begin() { # run directory, further options: a run of 40 short steps
    local run=$1
    shift
    "$npc" run "$model" --train --recipe long --data data --run "$run" --set batch=2clips \
        --set epoch=6clips --progress quiet $flags "$@" &
    process=$!
}

go_on() { # run directory, further options
    "$npc" run "$1" --train --resume --progress quiet $flags "${@:2}" &
    process=$!
}

start() {
    begin "$@"
    wait $process
}

resume() {
    go_on "$@"
    wait $process
}

same() { # two runs that ended with the same bits
    cmp "$1/checkpoints/step-00000040.safetensors" "$2/checkpoints/step-00000040.safetensors" &&
        cmp "$1/checkpoints/best.safetensors" "$2/checkpoints/best.safetensors"
}

same_log() { # times differ, nothing else
    cmp <(sed 's/,"time":[^}]*//' "$1/log.jsonl") <(sed 's/,"time":[^}]*//' "$2/log.jsonl")
}

"$npc" data synth data --mice 2 --neurons 12 --trials 5 --frames 81 --height 8 --width 12 \
    --clips 1 --repeats 2 --quiet || exit 1
ok "a run ends well" start whole

# ---- killed at random moments; a run that ends before its time has come is compared and replaced --
began=$(date +%s.%N)
start killed --steps 20
long=$(awk "BEGIN { print $(date +%s.%N) - $began }")
n_killed=0
n_ended=0
code=137
while [ $n_killed -lt "$kills" ] && [ $n_ended -lt $((kills + 5)) ]; do
    go_on killed --threads $((1 + n_killed % 2)) >out 2>&1
    sleep "$(awk "BEGIN { srand($RANDOM); print rand() * $long }")"
    kill -KILL $process 2>/dev/null
    wait $process 2>/dev/null
    code=$?
    if [ $code = 137 ]; then
        n_killed=$((n_killed + 1))
    else
        n_ended=$((n_ended + 1))
        ok "a run that was killed $n_killed times changes no bit" same whole killed
        rm -rf killed
        start killed --steps 1
    fi
done
ok "a run that was killed $n_killed times goes on" resume killed
ok "killing changes no bit" same whole killed
ok "killing leaves the log as it would have been" same_log whole killed

# ---- asked to stop ----
begin asked >out 2>&1
while [ ! -e asked/checkpoints/step-00000002.safetensors ] && kill -0 $process 2>/dev/null; do
    sleep 0.05
done
kill -TERM $process
wait $process
code=$?
ok "SIGTERM ends a run with 0" test $code = 0
ok "no lock is left behind" test ! -e asked/lock
mv asked elsewhere
ok "a run that was moved goes on" resume elsewhere
ok "stopping and moving change no bit" same whole elsewhere

# ---- two at once ----
begin twice --steps 12 >out 2>&1
while [ ! -e twice/model.nm ] && kill -0 $process 2>/dev/null; do sleep 0.02; done
first=$process
resume twice >second 2>&1
code=$?
ok "a second process is refused with 2" test $code = 2
ok "it is told who writes there" grep -q "process $first" second
wait $first

# ---- a full disk: files larger than 40 KiB cannot be written ----
start full --steps 4
cp full/checkpoints/step-00000004.safetensors kept
(
    ulimit -f 40
    resume full >out 2>&1
)
code=$?
ok "a full disk ends a run with 2" test $code = 2
ok "the message names the checkpoint" grep -q "checkpoints/step-00000006.safetensors" out
ok "the earlier checkpoint is as it was" cmp full/checkpoints/step-00000004.safetensors kept
ok "nothing half written is left" test -z "$(ls full/checkpoints | grep tmp)"
ok "with room again it goes on" resume full
ok "a full disk changes no bit" same whole full

# ---- damaged checkpoints ----
start damaged --steps 8
truncate -s 1000 damaged/checkpoints/step-00000008.safetensors
ok "a run goes on from the last good checkpoint" \
    "$npc" run damaged --train --resume --progress lines $flags 2>out
ok "the damaged one is named" grep -q "step-00000008.safetensors" out
ok "a damaged checkpoint changes no bit" same whole damaged

# ---- a damaged model ----
rm -rf spoilt
start spoilt --steps 2
truncate -s 3000 spoilt/model.nm
resume spoilt >out 2>&1
code=$?
ok "a run with a damaged model is refused with 2" test $code = 2
ok "at its line" grep -q "spoilt/model.nm:[0-9]*:[0-9]*: error" out

# ---- a run that is not there ----
"$npc" run absent --train --resume >out 2>&1
code=$?
ok "a missing run is refused with 2" test $code = 2
ok "and named" grep -q "absent: no such model file or run directory" out
"$npc" run "$model" --train --resume >out 2>&1
code=$?
ok "resuming no run in particular is refused with 2" test $code = 2
ok "and says how to name one" grep -q "npc run RUN_DIR --train --resume" out

# ---- nowhere to write ----
start /proc/npc >out 2>&1
code=$?
ok "an impossible run directory is refused with 2" test $code = 2
ok "and named" grep -q "/proc/npc" out
if [ "$(id -u)" != 0 ]; then
    mkdir locked && chmod 555 locked
    start locked/run >out 2>&1
    code=$?
    ok "a read-only folder is refused with 2" test $code = 2
fi

exit $failed
