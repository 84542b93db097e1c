/* Validation: every trial of the held-out set is cut into disjoint spans from its first frame; per
 * neuron, one correlation over all clips of its recording laid end to end; then means over neurons
 * and recordings. The loss is the mean over clips of sum over neurons and frames of
 * prediction - target log(prediction + eps). specs/dwiseneuro.md 3.9. */
#ifndef NPC_RUNTIME_VALIDATE_H
#define NPC_RUNTIME_VALIDATE_H

#include "runtime/loader.h"
#include "runtime/model.h"

typedef struct NeuronSums NeuronSums;

typedef struct Validation {
    Engine *engine;
    int program;
    const Recipe *recipe;
    Sampler sampler;
    LoaderConfig config;
    Clip *clips;
    uint32_t n_clips;
    float *input, *out;
    SampleRange *ranges;
    NeuronSums **sums; /* per session [neurons] */
    uint64_t *frames;  /* per session */
    /* results of the last run */
    double *score;     /* per session; NaN without a clip */
    double mean, loss; /* mean over the sessions that have clips */
} Validation;

/* The clips are listed here (each trial's length is read). `program` is an EVAL program of the
 * model; its batch is the number of clips per run. */
Status validation_open(Validation *v, Arena *arena, Model *m, int program,
                       const SamplerSession *sessions, const ClipShape *clip, uint32_t threads,
                       Err *err);
/* Uses the parameters as they stand in the engine. `stop` (may be NULL) is asked between batches;
 * when it says so, *stopped is set and the results are as they were. */
Status validation_run(Validation *v, bool (*stop)(void), bool *stopped, Err *err);

#endif
