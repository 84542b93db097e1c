/* What the blocks of a model attended to in one trial, from a program PROGRAM_ATTENTION that has
 * run.
 *
 * Blocks are looked at from the last to the first, sequences in parallel; at any time the queries
 * and keys of one block are held and one sequence's weights per thread. Results have the same bits
 * for any number of threads. */
#ifndef NPC_RUNTIME_ATTENTION_TRIAL_H
#define NPC_RUNTIME_ATTENTION_TRIAL_H

#include "runtime/attention_maps.h"
#include "runtime/engine.h"
#include "runtime/workers.h"

typedef struct AttentionTrial {
    const AttentionModel *model;
    /* rollout of the places of every step [steps places]; NULL: no attention over places */
    double *space;
    /* the same over the pixels [steps map_height map_width]; NULL: places are no patches. Of films
     * over the input's pixels, each step's maximum 1; of images over those of the core, from 0 to 1
     */
    double *map;
    int64_t map_height, map_width;
    double *time; /* rollout of the steps [steps], from 0 to 1; NULL: no attention over steps */
    /* weight that a token receives, the mean over attending tokens:
     * space [steps blocks heads places], time [blocks heads steps], the mean over places, too */
    float *received[ATTENTION_KINDS];
} AttentionTrial;

typedef struct AttentionTrialOptions {
    Workers *workers; /* with attention_trial_scratch bytes */
    bool is_image;
    const char *weights_folder; /* NULL: weights are not written */
} AttentionTrialOptions;

size_t attention_trial_scratch(const AttentionModel *m);

/* Of the first sample; everything lives in the arena. With a folder, every block's weights go to
 * space_weights_<i>.npy or time_weights_<i>.npy, float32 [sequences heads kept kept]. */
Status attention_trial(AttentionTrial *out, Arena *arena, const AttentionModel *m, Engine *e,
                       int program, const AttentionTrialOptions *o, Err *err);

#endif
