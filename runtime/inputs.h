/* The inputs of a compiled program, by name, and samples on their way into them. */
#ifndef NPC_RUNTIME_INPUTS_H
#define NPC_RUNTIME_INPUTS_H

#include "runtime/batch.h"
#include "runtime/cutmix.h"
#include "runtime/engine.h"

typedef struct Inputs {
    ClipShape shape;
    float *at[INPUT_COUNT];    /* the host's sides; NULL: the program reads no such input */
    const InputPlanes *planes; /* of the clip; NULL: it is written whole */
    float *value;              /* of the planes.. */
    int32_t *box;              /* ..and the box in them */
} Inputs;

/* Before engine_ready: the values of a clip, which fill planes, are left to the device. */
void inputs_plan(Engine *e, int program, const ClipShape *shape);
/* NPC_ERR_INTERNAL: the program reads none of the inputs of the shape. */
Status inputs_find(Inputs *out, Engine *e, int program, const ClipShape *shape, Err *err);
/* Sample `x` (batch.h) becomes sample k of the program's batch. `box`: where another clip was
 * pasted into it; NULL: nowhere. */
void inputs_put(const Inputs *in, uint32_t k, const float *x, const CutmixBox *box);

#endif
