#!/bin/sh
# From a bare Debian 12 to a trained model: installs what is missing, builds, makes two recordings,
# trains the reduced DwiseNeuro of models/demo.nm on them, predicts the held-out clips of both and
# scores the predictions.
#
#   scripts/demo.sh [FOLDER]     default: demo
#
# FOLDER gets recordings/ and run/. An interrupted demo goes on where it stopped.
set -eu
cd "$(dirname "$0")/.."

folder=${1:-demo}
build=${BUILD:-build}
start=$(date +%s)

# What is left, as measured on two cores; training, the longest part, shows its own.
part()
{
    passed=$(($(date +%s) - start))
    printf '\n[%d:%02d] %s (%s)\n' $((passed / 60)) $((passed % 60)) "$1" "$2"
}

part '1/6 packages' 'about 8 min left, 6 when they are there'
scripts/setup.sh

part '2/6 build' 'about 6 min left'
BUILD=$build scripts/build.sh npc
npc=$build/npc

part '3/6 two recordings of 100 neurons each' 'about 5 min left'
if [ -e "$folder/recordings/truth" ]; then
    echo "$folder/recordings is there"
else
    rm -rf "$folder/recordings"
    "$npc" data synth "$folder/recordings" --mice 2 --neurons 100 --trials 150
fi

part '4/6 training' 'about 4 min left, 3 of them here'
if [ -e "$folder/run/run.json" ]; then
    "$npc" run "$folder/run" --train --resume
else
    "$npc" run models/demo.nm --train --data "$folder/recordings" --run "$folder/run"
fi

part '5/6 predictions of the held-out clips' 'under 1 min left'
"$npc" run "$folder/run" --predict --weights best --tier final_test_main

part '6/6 scores' 'seconds left'
"$npc" run "$folder/run" --score --tier final_test_main

passed=$(($(date +%s) - start))
cat <<END

Everything is in $folder/run: report.md (start there), training.png (loss and validation score),
traces.png (predicted and recorded activity), scores.json, checkpoints, predictions.
Took $((passed / 60)) min $((passed % 60)) s.
END
