/* Everything a training run needs to go on as if it had never stopped: the tensors that outlive a
 * step (parameters, running statistics, moments, averages) and the counters. Random numbers need no
 * state: they are functions of seed and step. */
#ifndef NPC_RUNTIME_TRAIN_STATE_H
#define NPC_RUNTIME_TRAIN_STATE_H

#include "runtime/checkpoint.h"
#include "runtime/loss_scale.h"
#include "runtime/model.h"
#include "runtime/norms.h"
#include "runtime/plateau.h"
#include "runtime/schedule.h"

typedef struct AveragePair {
    float *value, *average;
    size_t elems;
} AveragePair;

typedef struct TrainState {
    uint64_t step;      /* finished steps */
    uint64_t skipped;   /* of them without an update: in f16 a gradient was not finite */
    LossScale scale;    /* f16 */
    uint64_t validated; /* finished steps at the last validation; UINT64_MAX: none yet */
    double score, best; /* validation scores: the last one and the best; NaN: none */
    double loss;        /* of the last step */
    ScheduleFree free;  /* of an optimizer without a schedule */
    Plateau plateau;    /* of a stage that lowers its rate */
    Norms norms;        /* of gradients, where they are limited by those before */
    Engine *engine;     /* that holds the tensors */
    const Session *sessions;
    uint32_t n_sessions;
    uint64_t *updates; /* [n_sessions] of each readout */

    SafetensorsEntry *entry; /* [n] what a checkpoint holds */
    CheckpointTarget *target;
    CheckpointTarget *weights; /* the same without what belongs to the optimizer */
    size_t n;
    AveragePair *average; /* [n_average]; 0 without a weight average */
    size_t n_average;
} TrainState;

/* After model_ready. Lives in the arena. `steps`: of the whole run. */
void train_state_init(TrainState *s, Arena *arena, const Model *m, uint64_t steps);
/* NPC_ERR_IO, NPC_ERR_DEVICE: the earlier checkpoints are as they were. `counts_as_best`: the score
 * decides whether this one becomes best.safetensors. */
Status train_state_save(const TrainState *s, const char *folder, const char *model_hash,
                        bool counts_as_best, uint32_t keep_last, Err *err);
/* Newest undamaged checkpoint of the folder. */
Status train_state_restore(TrainState *s, const char *folder, const char *model_hash,
                           CheckpointWarn warn, void *user, Err *err);
/* Puts the weights of best.safetensors back, with running statistics and averages, and leaves the
 * optimizer's moments. *step: finished ones when they were saved; UINT64_MAX: there are none. */
Status train_state_reload_best(TrainState *s, const char *folder, const char *model_hash,
                               uint64_t *step, Err *err);
/* Exchanges the weights with their average; twice is as before, bit for bit. */
Status train_state_swap_average(TrainState *s, Err *err);

typedef enum WeightsKind {
    WEIGHTS_AVERAGE, /* of the newest checkpoint; the raw ones when there is no average */
    WEIGHTS_RAW,     /* of the newest checkpoint */
    WEIGHTS_BEST,    /* average of the checkpoint with the best validation score */
} WeightsKind;

bool weights_find(const char *text, WeightsKind *out); /* "average", "raw", "best" */
/* Loads parameters and states of a model from a run folder's checkpoints. `model_hash` NULL: not
 * compared. `step` (may be NULL): finished steps of what was loaded. */
Status weights_load(Model *m, const char *run_dir, WeightsKind kind, const char *model_hash,
                    uint64_t *step, CheckpointWarn warn, void *user, Err *err);

#endif
