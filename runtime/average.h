/* `npc run A B C --predict --average`: the mean of what several runs predict.
 *
 * Every run predicts into its own folder; the mean over runs of each trial's final responses (after
 * the output's nonlinearity; specs/viv1t.md 7) goes into a run directory that holds no weights, but
 * what scoring needs: the first run's model.nm, run.json with "averages", the runs' folders, and
 * predictions/. Where predictions are of different lengths the last frames that all have are
 * averaged. Sums are float64, in the order of the runs. */
#ifndef NPC_RUNTIME_AVERAGE_H
#define NPC_RUNTIME_AVERAGE_H

#include "runtime/predict.h"

typedef struct AverageOptions {
    const char *const *runs;
    int n_runs;
    const char *out;        /* run directory: a new one, or one of the same runs */
    PredictOptions predict; /* of every run; `run_dir` is not used */
} AverageOptions;

/* NPC_ERR_INPUT: runs do not fit together: other recordings, or other units of responses. */
Status average_run(const AverageOptions *o, Err *err);

#endif
