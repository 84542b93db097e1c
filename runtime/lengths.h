/* Evaluation programs for whole trials: one for every length that occurs.
 *
 * Shapes are numbers when a program is made, so a model that sees a trial at once needs a program
 * per length; all of them share the parameters in the engine. Outputs are the trial's last frames.
 * Recordings of images have one length, 1, and the model's own program does for it. */
#ifndef NPC_RUNTIME_LENGTHS_H
#define NPC_RUNTIME_LENGTHS_H

#include "runtime/dataset.h"
#include "runtime/inputs.h"
#include "runtime/model.h"
#include "runtime/sampler.h"

typedef struct Length {
    uint32_t frames; /* of a trial */
    int program;
    uint32_t batch; /* trials of one run */
    ClipShape clip; /* the trial as a window */
    Inputs inputs;
    const Module *module; /* of the program */
} Length;

typedef struct Lengths {
    Length *at; /* ascending */
    uint32_t n;
} Lengths;

/* Adds a program of the kind to the model for every number of valid frames above `least` among the
 * trials of `sessions` (a NULL recording has none); before model_ready. Reads trials for their
 * lengths. */
Status lengths_add(Lengths *out, Arena *arena, Model *m, ProgramKind kind, const Dataset *d,
                   const SamplerSession *sessions, uint32_t n, uint32_t least, Err *err);
/* The one length of `clip` with a program that stands already. */
void lengths_single(Lengths *out, Arena *arena, const Model *m, int program, const ClipShape *clip);
/* After model_ready. */
Status lengths_ready(Lengths *l, Model *m, Err *err);
const Length *lengths_find(const Lengths *l, uint32_t frames); /* NULL: none of that length */

#endif
