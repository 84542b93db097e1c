/* Predictions for whole trials. A window slides over a trial one frame at a time, and the outputs
 * of all windows that hold a frame are averaged (specs/dwiseneuro.md 5.1) or stitched; or, with
 * `predict = whole` and for images, the model sees the trial at once, and what it gives are the
 * trial's last frames (specs/viv1t.md 5.4). Values are in the unit of the model's targets. */
#ifndef NPC_RUNTIME_PREDICT_H
#define NPC_RUNTIME_PREDICT_H

#include "runtime/train.h"
#include "runtime/train_state.h"
#include "runtime/inputs.h"

/* An evaluation program made ready to slide over trials of any length up to `longest`. */
typedef struct Predictor {
    Engine *engine;
    int program;
    const Module *module;
    ClipShape clip;
    uint32_t batch, longest;
    double *weight; /* [outputs] of a window's outputs; NULL: all equal */
    bool is_stitched;
    uint32_t burn_in;
    uint32_t last; /* of longer trials only so many frames are shown; 0: all */
    uint32_t *end; /* [batch] of the windows in work */
    Inputs inputs;
    float *frames; /* a trial: a sample of up to `longest` frames */
    float *cut;    /* a window of it */
    float *window; /* [batch neurons outputs] */
    SampleRange *ranges;
} Predictor;

Status predictor_open(Predictor *p, Arena *arena, Model *m, int program, const ClipShape *clip,
                      const Recipe *recipe, uint32_t longest, Err *err);
/* out [neurons frames], frames = the trial's valid length; zeros when a window does not fit,
 * and for frames that are not shown. */
Status predictor_trial(Predictor *p, uint32_t session, const TrialMap *map, float *out, Err *err);

typedef struct PredictOptions {
    const char *run_dir;
    const char *data; /* NULL: what the run was trained on */
    unsigned tiers;   /* TIER_BIT; 0: every test tier */
    WeightsKind weights;
    int64_t batch; /* windows per run; 0: the recipe's batch */
    RunMachine machine;
} PredictOptions;

/* Writes RUN/predictions/<recording>/<tier>/<trial>.npy, float32 [neurons frames]; of a trial that
 * the model sees at once only its last frames, which it predicts. */
Status predict_run(const PredictOptions *o, Err *err);

#endif
