/* Scores of the predictions in a run directory, as the competition computes them
 * (specs/dataset.md, sections 4 and 6).
 *
 * Frames from `burn_in` on count; images have one. Responses are divided by the recording's
 * per-frame statistic, as the starter kit does, and predictions with them; a trial ends at the
 * first frame where a normalised variable is not finite. Without statistics values are compared as
 * they are. */
#ifndef NPC_RUNTIME_SCORE_H
#define NPC_RUNTIME_SCORE_H

#include "runtime/train.h"
#include "data/recording.h"

/* The rows of a score: files, JSON and tables. The last three need films or images that
 * are repeated. */
typedef enum ScoreKind {
    SCORE_SINGLE_TRIAL,
    SCORE_TO_AVERAGE,
    SCORE_CEILING,    /* of noise, each trial with the mean of its film's others */
    SCORE_NORMALISED, /* by the power of the signal, Schoppe et al. 2016; not of images. NaN for a
                         neuron without one; the mean is over the others */
    SCORE_EXPLAINED,  /* FEVE, share of the variance that is not noise; of images only; NaN for a
                         neuron that is mostly noise */
    SCORE_KINDS,
} ScoreKind;

const char *score_kind_text(ScoreKind kind); /* "single_trial" .. */

typedef struct TierScore {
    const char *recording, *tier;
    uint32_t n_neurons, n_trials, n_clips; /* distinct films */
    uint32_t shortest, longest;            /* scored trials' lengths in frames */
    bool has_ceiling, is_normalised, is_from_truth;
    double of_all[SCORE_KINDS];     /* means over neurons; NaN: there is no such number */
    double *of_neuron[SCORE_KINDS]; /* the same per neuron; NULL: none */
} TierScore;

typedef struct ScoreRules {
    uint32_t burn_in; /* frames at the start of a trial that do not count */
    uint32_t last;    /* of longer trials only so many frames count; 0: all */
    bool is_scaled;   /* predictions were made in units of the per-frame statistic already */
    bool as_recorded; /* never normalise: what statistics of few trials are worth little for */
} ScoreRules;

typedef struct ScoreOptions {
    const char *run_dir;
    const char *data;  /* NULL: what the run was trained on */
    const char *truth; /* held-back responses and film numbers; NULL: DATA/truth if it is there */
    unsigned tiers;    /* 0: every tier with predictions */
    bool json;         /* scores.json to stdout instead of the table */
    bool as_recorded;  /* as in ScoreRules */
    RunMachine machine;
} ScoreOptions;

/* Scores one tier of a recording from the folder `predictions`. *found is false when there is
 * nothing to score: no predictions, or withheld responses (a note says so). In the arena. */
Status score_tier(TierScore *out, bool *found, Arena *arena, const Recording *r, Tier tier,
                  const char *predictions, const char *truth, const ScoreRules *rules,
                  Progress *notes, Err *err);
/* Writes report.md, scores.json and scores/<recording>/<tier>_*.npy into the run directory. */
Status score_run(const ScoreOptions *o, Err *err);

#endif
