# models/v1t_macaque.nm on real single trials, area V4 of three monkeys, from the import to the scores.
#
#   NPC_MACAQUE_V4   folder of the data (../shared/data/real/macaque_v4); skipped where it is not
#   NPC_LONG=1       the whole recipe, which has to reach the floor of ridge regression that comes
#                    with the data: the median over units of the correlation with averaged responses.
#                    Else the recipe cut to two epochs, which has to get half of that.
. "$(dirname "$0")/../cli/common.sh"

from=${NPC_MACAQUE_V4:-../shared/data/real/macaque_v4}
if [ ! -d "$from" ]; then
    echo "skipped: no recording of macaque V4; NPC_MACAQUE_V4 names its folder"
    exit 77
fi
run=$dir/run
if [ -n "${NPC_LONG:-}" ]; then share=1 cut=; else share=0.5 cut="--set stage.train=2epochs"; fi

expect 0 "macaque-v4-210325: 50 neurons, 3840 trials" -- data import macaque_v4 "$from" "$dir/v4"
# shellcheck disable=SC2086
expect 0 "validation correlation" -- \
    run models/v1t_macaque.nm --train --data "$dir/v4" --run "$run" --progress lines $cut
expect 0 "mean over all neurons" -- \
    run "$run" --predict --weights best --score --tier validation --progress quiet

# above SESSION FLOOR: numbers behind the 128 bytes that begin the file, one per unit
above() {
    od -An -v -tf8 -w8 -j128 "$run/scores/macaque-v4-$1/validation_to_average.npy" | sort -g |
        awk -v name="$1" -v floor="$2" -v share=$share '{ x[NR] = $1 }
            END {
                median = (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2
                printf "%s: %d units, median %.3f, floor %.3f\n", name, NR, median, floor
                exit !(NR > 30 && median > share * floor)
            }' || complain "$1 stays below $share of its floor"
}
above 210325 0.397
above 190923 0.309
above 210621 0.287
finish
