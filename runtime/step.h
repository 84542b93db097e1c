/* One optimizer step: runs the training program on the chunks of a batch (feed.h) and updates.
 *
 * In f16 the loss is scaled, and a step with a gradient that is not finite updates nothing
 * (loss_scale.h). Nothing is allocated after stepper_ready. */
#ifndef NPC_RUNTIME_STEP_H
#define NPC_RUNTIME_STEP_H

#include "runtime/feed.h"
#include "runtime/train_state.h"

/* What the optimizer takes from the steps before; NULL: the program needs none. */
typedef struct StepFactors {
    float *rate, *bias1, *bias2;
    float *mix, *limit;           /* of schedule_free; of the gradients' norm */
    float *loss_scale;            /* f16 */
    float **bias1_of, **bias2_of; /* per session */
} StepFactors;

typedef struct Stepper {
    Engine *engine;
    const Recipe *recipe;
    const Session *sessions;
    uint32_t n_sessions, chunks;
    double chunk_factor;          /* of each chunk's loss in that of the step */
    int program, update, average; /* numbers in the engine; -1: none */
    Feed feed;
    StepFactors in, in_update;
    SampleRange *whole; /* per session: of the step */
    const char **sums;  /* names of accumulated gradients */
    size_t n_sums;
} Stepper;

/* Adds the programs of a step to the model. */
Status stepper_add(Stepper *s, Model *m, const ClipShape *clip, Err *err);
/* After model_ready. `sessions`: what each recording is trained on. */
Status stepper_ready(Stepper *s, Arena *arena, Model *m, const ClipShape *clip,
                     const SamplerSession *sessions, Err *err);
/* Runs a step on the next batch; counters in `state`, the loss among them, advance.
 * NPC_ERR_DEVICE: they do not, and what is in the engine is not to be saved. */
Status stepper_run(Stepper *s, TrainState *state, double rate, Err *err);

/* Brings an average up to date that is not made with every step (schedule_free). */
Status stepper_average(Stepper *s, Err *err);

#endif
