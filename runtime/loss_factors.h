/* The numbers of a loss that depend on the batch: inputs of the training programs, filled here and
 * nowhere else.
 *
 * With S trials of recording m to train on (D of every tier), M recordings, B clips of it in the
 * step's batch (B0 in a full one) of which `here` are in this chunk, its loss is multiplied by
 *
 *   share      1 / clips of all recordings in the chunk; the mean over chunks is taken
 *   none       1
 *   trials     sqrt(S / B)         specs/viv1t.md 6 (2023), v1t.md 2
 *   recorded   sqrt(D / B)         specs/baselines.md 5
 *   balanced   w / (M B0), w = (sum of all S) / (S M)           specs/viv1t.md 6 (2025)
 *
 * and chunks are added up (but with `share`). Penalties count `here` / B. */
#ifndef NPC_RUNTIME_LOSS_FACTORS_H
#define NPC_RUNTIME_LOSS_FACTORS_H

#include "ir/recipe.h"

/* One recording in one chunk of a step's batch. */
typedef struct LossCounts {
    uint64_t here, chunk, batch, full; /* clips: its own in the chunk, all in it, B, B0 */
    uint64_t trials, all_trials;       /* S, D */
    uint64_t sum_trials, recordings;   /* sum of all S, M */
    uint64_t outputs;                  /* frames of a clip that have targets */
} LossCounts;

typedef struct LossFactors {
    double scale;   /* "scale/<recording>", and of its samples in "share/<recording>" */
    double mean;    /* of its samples in "mean/<recording>" */
    double penalty; /* "penalty/<recording>"; "penalty" is the sum */
} LossFactors;

/* All 0 when nothing of the recording is here. */
LossFactors loss_factors(const Recipe *r, const LossCounts *c);
/* Chunks that a step of M recordings is computed in, and what their gradients are multiplied by. */
uint32_t loss_chunks(const Recipe *r, uint32_t recordings);
double loss_chunk_factor(const Recipe *r, uint32_t recordings);

#endif
