/* What a synthetic recording keeps back: noise ceilings and linear floors of its test tiers. */
#ifndef NPC_DATA_SYNTH_TRUTH_H
#define NPC_DATA_SYNTH_TRUTH_H

#include <stddef.h>

#include "data/stimulus.h"
#include "data/synth.h"

/* The test tiers stand last, in alphabetical order. */
typedef enum SynthTier {
    SYNTH_TRAIN,
    SYNTH_NONE,
    SYNTH_FINAL_BONUS,
    SYNTH_FINAL_MAIN,
    SYNTH_LIVE_BONUS,
    SYNTH_LIVE_MAIN,
    SYNTH_ORACLE,
    SYNTH_TIERS
} SynthTier;

/* "train", "final_test_bonus", ... */
const char *synth_tier_name(SynthTier tier);

typedef struct SynthTrial {
    size_t clip;
    SynthTier tier;
    StimulusKind kind;
    size_t frames; /* valid; test trials only, as the arrays */
    /* [neurons, length] noisy response, its mean, the linear prediction; one allocation */
    float *recorded, *expected, *linear;
} SynthTrial;

typedef struct SynthTruth {
    const char *folder;
    const SynthOptions *o;
    const SynthTrial *trial;
    size_t n_trials, length;
} SynthTruth;

/* Writes folder/ceiling/<tier>_<score>.npy (float64, per neuron) for leave_one_out, single_trial,
 * to_average, linear_single_trial and linear_to_average, and folder/summary.json; fills
 * summary->tier. */
Status synth_truth_write(const SynthTruth *t, SynthSummary *summary, Err *err);

#endif
