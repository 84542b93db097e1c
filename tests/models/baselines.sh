# The reduced baselines train, and an ensemble of two seeds predicts the mean of both.
. "$(dirname "$0")/../cli/common.sh"

"$npc" data synth "$dir/films" --mice 2 --neurons 9 --trials 8 --frames 81 --clips 1 --repeats 2 --quiet

if MEMBERS=$dir/none scripts/ensemble.sh models/factorised.nm "$dir/films" "$dir/none.runs" 2>"$dir/said"; then
    complain "an ensemble without its list of models goes on"
fi
grep -q "none: the list of models cannot be read" "$dir/said" || complain "ensemble: $(cat "$dir/said")"
[ ! -e "$dir/none.runs" ] || complain "an ensemble without its list of models leaves a folder"

small_film="--set channels=[4,4] --set space_kernels=[5,3] --set time_kernels=[3,3]"
# rates begin above the means, as published: a few steps show that these are learned
short_clips="--set batch=2clips --set t=16 --set data.clip.frames=16frames --set below=0"
# shellcheck disable=SC2086
trains factorised_demo 12 $short_clips $small_film
# shellcheck disable=SC2086
trains gru_demo 8 $short_clips --set channels=2 --set state_channels=8 --set input_kernel=5 --set hidden_kernel=3 \
    --set sparsity=1e-3

# two steps each; again, with nothing left to train
ensemble() {
    # shellcheck disable=SC2086
    NPC=$npc SEEDS="8 16" scripts/ensemble.sh models/factorised_demo.nm "$dir/films" "$dir/ensemble" \
        $small_film --set stage.train=2steps --set batch=2clips >"$dir/out" 2>&1 ||
        complain "the ensemble ends with $?: $(tail -c 600 "$dir/out")"
}
ensemble
[ -e "$dir/ensemble/mean/scores.json" ] || complain "the mean of the ensemble has no scores"
cmp -s "$dir/ensemble/seed8/checkpoints/best.safetensors" "$dir/ensemble/seed16/checkpoints/best.safetensors" &&
    complain "two seeds give the same weights"
cp "$dir/ensemble/mean/scores.json" "$dir/scores.json"
rm -r "$dir/ensemble/mean"
NPC=$npc SEEDS="8 16" scripts/ensemble.sh models/factorised_demo.nm "$dir/films" "$dir/ensemble" >"$dir/out" 2>&1 ||
    complain "the ensemble cannot go on: $(tail -c 600 "$dir/out")"
cmp "$dir/ensemble/mean/scores.json" "$dir/scores.json" || complain "the ensemble differs when it goes on"
finish
