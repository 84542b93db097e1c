/* Validation: per neuron the correlation of prediction and response over all held-out frames.
 *
 * Every trial of the held-out set is cut into disjoint spans from its first frame
 * (specs/dwiseneuro.md 3.9); or, where trials are predicted whole, it is seen at once and its first
 * `burn_in` frames do not count (specs/viv1t.md 6). The score of a recording is the mean over its
 * neurons, the score of all the mean over recordings. The loss is the mean over clips of sum over
 * neurons and frames of prediction - target log(prediction + eps). corr = mean((a - mean a)(b -
 * mean b)) /
 * ((sd a + eps) (sd b + eps)). */
#ifndef NPC_RUNTIME_VALIDATE_H
#define NPC_RUNTIME_VALIDATE_H

#include "runtime/lengths.h"
#include "runtime/loader.h"

typedef struct NeuronSums NeuronSums;

/* Clips of one shape and the program that sees them. */
typedef struct ValidationPart {
    int program;
    Sampler sampler;
    LoaderConfig config;
    Clip *clips;
    uint32_t n_clips;
    uint32_t skipped; /* outputs at a clip's start that do not count */
    Inputs inputs;
} ValidationPart;

typedef struct Validation {
    Engine *engine;
    const Recipe *recipe;
    const SamplerSession *sessions;
    uint32_t n_sessions;
    ValidationPart *part;
    uint32_t n_parts;
    uint32_t n_clips; /* of all parts */
    float *out;
    SampleRange *ranges;
    NeuronSums **sums; /* per session [neurons] */
    uint64_t *frames;  /* per session */
    /* results of the last run */
    double *score;     /* per session; NaN without a clip */
    double mean, loss; /* mean over the sessions that have clips */
} Validation;

/* The clips are listed here (each trial's length is read). `program` is an EVAL program of the
 * model for clips of the shape `clip`; with `lengths`, their programs are used instead. */
Status validation_open(Validation *v, Arena *arena, Model *m, int program,
                       const SamplerSession *sessions, const ClipShape *clip,
                       const Lengths *lengths, uint32_t threads, Err *err);
/* Uses the parameters as they stand in the engine. `stop` (may be NULL) is asked between batches;
 * when it says so, *stopped is set and the results are as they were. */
Status validation_run(Validation *v, bool (*stop)(void), bool *stopped, Err *err);

#endif
