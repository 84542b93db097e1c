/* `npc run RUN --attention OUT`: what the transformers of a trained model attend to, trial by
 * trial, and how that goes along with pupil and running (attention_behaviour.h).
 *
 *   OUT/attention.md, attention.json          correlations per recording and tier
 *   OUT/<recording>/<tier>/<trial>/
 *       frames.npy           int64 [steps]: the last frame that a step sees; responses are of that
 *       space_rollout.npy    [steps places]         space_map.npy  [steps height width]
 *       time_rollout.npy     [steps], from 0 to 1
 *       space_attention.npy  [steps blocks heads places]: weight that a place receives, the mean
 * over those that attend time_attention.npy   [blocks heads steps]: the same of a step, the mean
 * over places space_weights_<block>.npy [steps heads n n], time_weights_<block>.npy [places heads n
 * n]: all weights, when asked for; of a published model many GB per trial attention.png        maps
 * over the pictures, and steps beside running speed; of the first trials of a tier
 *
 * float32 unless said. A trial is seen whole, in evaluation, one at a time; a recording of images
 * has one step. Memory: the queries and keys of all blocks (the program's results) and little more.
 * Numbers: attention_trial.h. Frames before the recipe's burn-in are written, but neither drawn nor
 * correlated. */
#ifndef NPC_RUNTIME_ATTENTION_RUN_H
#define NPC_RUNTIME_ATTENTION_RUN_H

#include "runtime/train.h"
#include "runtime/train_state.h"

typedef struct AttentionOptions {
    const char *run_dir, *out;
    const char *data; /* NULL: what the run was trained on */
    unsigned tiers;   /* TIER_BIT; 0: every test tier */
    uint32_t trials;  /* of every recording and tier at most; 0: all */
    bool keep_weights;
    WeightsKind weights;
    RunMachine machine;
} AttentionOptions;

/* NPC_ERR_INPUT: the model has no attention, or one that this cannot show. Prints the table of
 * attention.md to standard output. */
Status attention_run(const AttentionOptions *o, Err *err);

#endif
