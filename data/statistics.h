/* Minimum, maximum, mean and deviation of a variable over the training trials of a recording
 * (tier `train`), NaN left out; deviations divide by n. specs/viv1t.md 5.2.
 *
 * They are read from the recording's meta/statistics, from what an earlier call kept in a folder,
 * or computed, which reads every training trial once. */
#ifndef NPC_DATA_STATISTICS_H
#define NPC_DATA_STATISTICS_H

#include "data/recording.h"

typedef enum Grain {
    GRAIN_FRAME, /* per row (pixel, neuron, value) and frame */
    GRAIN_ROW,   /* per row, over all frames */
    GRAIN_ONE,   /* one number */
} Grain;

typedef enum Stat { STAT_MEAN, STAT_STD, STAT_MIN, STAT_MAX, STAT_COUNT } Stat;

typedef struct Statistics {
    uint64_t rows, frames; /* 1 where all share them */
    float *of[STAT_COUNT]; /* [rows frames] */
} Statistics;

/* What meta/statistics has; *found is false when it is of another grain or not there. Of images any
 * shape that fits the pictures counts. */
Status statistics_stored(Statistics *out, bool *found, Arena *arena, const Recording *r, Variable v,
                         Grain grain, Err *err);
/* Computed from the trials. `keep` (may be NULL): the folder that holds what was computed before;
 * with `may_write`, what is computed now is kept there. */
Status statistics_computed(Statistics *out, Arena *arena, const Recording *r, Variable v,
                           Grain grain, const char *keep, bool may_write, Err *err);

#endif
