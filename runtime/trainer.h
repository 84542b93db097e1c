/* Inside of training: what train_open.c puts together and train.c runs. */
#ifndef NPC_RUNTIME_TRAINER_H
#define NPC_RUNTIME_TRAINER_H

#include "runtime/dataset.h"
#include "runtime/folds.h"
#include "runtime/log.h"
#include "runtime/run_dir.h"
#include "runtime/plateau.h"
#include "runtime/schedule.h"
#include "runtime/step.h"
#include "runtime/tensorboard.h"
#include "runtime/train.h"
#include "runtime/validate.h"

typedef struct Trainer {
    const TrainOptions *o;
    FILE *out;
    Arena arena;
    RunDir dir;
    bool created;           /* this call made the run directory */
    char checkpoints[4096]; /* folder */
    const char *hash;       /* of model.nm */
    Model *model;
    const Recipe *recipe;
    Dataset data;
    ClipShape clip;
    Split split;
    Stepper stepper;
    Teacher teacher;
    bool is_whole;   /* whole trials are validated and predicted: */
    Lengths lengths; /* ..by the programs of their lengths, else */
    int evaluate;    /* ..clips by this one */
    TrainState state;
    Sampler sampler;
    Loader *loader;
    Validation validation;
    ScheduleStage schedule[RECIPE_MAX_STAGES];
    uint64_t epoch_steps, total, limit; /* limit: where this call stops */
    Log log;
    TensorBoard board;
    Progress progress;
    double started;
} Trainer;

/* Everything up to the first step. Nothing is trained and nothing in an existing run changes when
 * it fails. */
Status trainer_open(Trainer *t, Err *err);
void trainer_close(Trainer *t);
/* After trainer_open failed: a run directory that it made is removed again. */
void trainer_abandon(Trainer *t);
/* For CheckpointWarn and other notes: `user` is the Trainer. */
void trainer_note(void *user, const char *text);

#endif
