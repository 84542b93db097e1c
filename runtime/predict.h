/* Predictions for whole trials: the window slides over a trial one frame at a time, and the outputs
 * of all windows that hold a frame are averaged (specs/dwiseneuro.md 5.1). */
#ifndef NPC_RUNTIME_PREDICT_H
#define NPC_RUNTIME_PREDICT_H

#include "runtime/train.h"
#include "runtime/train_state.h"
#include "runtime/batch.h"

/* An evaluation program made ready for trials of any length up to `longest`. */
typedef struct Predictor {
    Engine *engine;
    int program;
    const Module *module;
    ClipShape clip;
    uint32_t batch, longest;
    double *weight; /* [clip.size] of a window's outputs; NULL: all equal */
    float *input;
    float *frames; /* [c longest h w] of a trial */
    float *window; /* [batch neurons size] */
    SampleRange *ranges;
} Predictor;

Status predictor_open(Predictor *p, Arena *arena, Model *m, int program, const ClipShape *clip,
                      RecipeBlend blend, uint32_t longest, Err *err);
/* out [neurons frames], frames = the trial's valid length; zeros when a window does not fit. */
Status predictor_trial(Predictor *p, uint32_t session, const TrialMap *map, float *out, Err *err);

typedef struct PredictOptions {
    const char *run_dir;
    const char *data; /* NULL: what the run was trained on */
    unsigned tiers;   /* TIER_BIT; 0: every test tier */
    WeightsKind weights;
    int64_t batch; /* windows per run; 0: the recipe's batch */
    RunMachine machine;
} PredictOptions;

/* Writes RUN/predictions/<recording>/<tier>/<trial>.npy, float32 [neurons frames]. */
Status predict_run(const PredictOptions *o, Err *err);

#endif
