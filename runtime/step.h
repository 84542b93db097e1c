/* One optimizer step: fills the inputs of the training program from a batch and runs it.
 *
 * A batch is computed in `chunks` equal parts (recipe.accumulate); chunk j takes the samples j, j +
 * chunks, .. of the batch, so that it holds every recording of it. In rounds each recording's clips
 * are so cut, one recording after the other; where the last clips do not fill a chunk they are
 * there repeatedly, which only a batch norm sees. With a teacher, predictions of its averaged
 * weights are the targets of the recordings a sample does not come from
 * (specs/dwiseneuro.md 3.4-3.7). In f16 the loss is scaled, and a step with a gradient that is not
 * finite updates nothing (loss_scale.h). Nothing is allocated after stepper_ready. */
#ifndef NPC_RUNTIME_STEP_H
#define NPC_RUNTIME_STEP_H

#include "runtime/inputs.h"
#include "runtime/loader.h"
#include "runtime/loss_factors.h"
#include "runtime/train_state.h"

/* A trained model whose predictions are targets. */
typedef struct Teacher {
    Model *model;
    int program;
    Inputs inputs;
    float *prediction; /* of the largest session */
    double ratio;
} Teacher;

/* Where a batch goes in a program. */
typedef struct StepInputs {
    Inputs inputs;
    float **target, **share;             /* per session */
    float **mean, **scale, **penalty_of; /* per session, and.. */
    float *penalty;                      /* ..of all; NULL: not needed (loss_factors.h) */
    float *rate, *bias1, *bias2;         /* NULL: the program needs none */
    float *mix, *limit;                  /* of schedule_free; of the gradients' norm */
    float *loss_scale;                   /* f16, else NULL */
    float **bias1_of, **bias2_of;        /* per session */
} StepInputs;

typedef struct Stepper {
    Engine *engine;
    const Recipe *recipe;
    ClipShape clip;
    const Session *sessions;
    uint32_t n_sessions, batch, chunks; /* clips of a chunk, chunks of a step */
    double chunk_factor;                /* of each chunk's loss in that of the step */
    LossCounts *counts;                 /* per session; clips are filled in for each chunk */
    int program, update, average;       /* numbers in the engine; -1: none */
    StepInputs in, in_update;
    float *weight;                     /* [batch sessions] of a chunk */
    SampleRange *ranges, *whole, *all; /* per session: of a chunk, of the step, everything */
    const char **sums;                 /* names of accumulated gradients */
    size_t n_sums;
    Teacher *teacher; /* NULL: no distillation */
} Stepper;

/* Adds the programs of a step to the model. */
Status stepper_add(Stepper *s, Model *m, Err *err);
/* After model_ready. `sessions`: what each recording is trained on. */
Status stepper_ready(Stepper *s, Arena *arena, Model *m, const ClipShape *clip,
                     const SamplerSession *sessions, Err *err);
/* Runs a step on a batch of the loader; counters in `state`, the loss among them, advance.
 * NPC_ERR_DEVICE: they do not, and what is in the engine is not to be saved. */
Status stepper_run(Stepper *s, TrainState *state, const Batch *batch, double rate, Err *err);

/* Brings an average up to date that is not made with every step (schedule_free). */
Status stepper_average(Stepper *s, Err *err);

/* Opens the teacher's run folder for a student of these sessions; `options` give the machine. */
Status teacher_open(Teacher *t, Arena *arena, const ModelOptions *options, const char *run_dir,
                    const Model *student, const ClipShape *clip, double ratio, Err *err);
void teacher_close(Teacher *t);

#endif
