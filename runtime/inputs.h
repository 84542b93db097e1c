/* The inputs of a compiled program, by name, and samples on their way into them. */
#ifndef NPC_RUNTIME_INPUTS_H
#define NPC_RUNTIME_INPUTS_H

#include "runtime/batch.h"
#include "runtime/cutmix.h"
#include "runtime/engine.h"

typedef struct Inputs {
    ClipShape shape;
    float *at[INPUT_COUNT];    /* the host's sides; NULL: the program reads no such input */
    const InputPlanes *planes; /* of the input that the device fills; NULL: all are written whole */
    ModelInput filled;         /* which one that is */
    char *host;                /* what it is filled from is here */
} Inputs;

/* What is known of a sample beside its numbers. */
typedef struct SampleFrame {
    uint32_t height, width; /* of the recording's pictures */
    const CutmixBox *box;   /* where another clip was pasted; NULL: nowhere */
} SampleFrame;

/* Before engine_ready: a clip, or the pictures of a model without one, are left to the device. */
void inputs_plan(Engine *e, int program, const ClipShape *shape);
/* NPC_ERR_INTERNAL: the program reads none of the inputs of the shape. */
Status inputs_find(Inputs *out, Engine *e, int program, const ClipShape *shape, Err *err);
/* Sample `x` (batch.h) becomes sample k of the program's batch. Of a program whose input the device
 * fills they come in the order of k, each with its frame; else that may be NULL. */
void inputs_put(const Inputs *in, uint32_t k, const float *x, const SampleFrame *frame);

#endif
