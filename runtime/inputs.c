#include "runtime/inputs.h"

Status inputs_find(Inputs *out, Engine *e, int program, const ClipShape *shape, Err *err)
{
    bool any = false;
    *out = (Inputs){.shape = *shape};
    for (int i = 0; i < INPUT_COUNT; i++)
        if (clip_has(shape, (ModelInput)i)) {
            out->at[i] = engine_input(e, program, input_name((ModelInput)i));
            any |= out->at[i] != NULL;
        }
    return any ? NPC_OK : err_set(err, NPC_ERR_INTERNAL, "the program reads no input of the data");
}

void inputs_put(const Inputs *in, uint32_t k, const float *x)
{
    for (int i = 0; i < INPUT_COUNT; i++) {
        if (!clip_has(&in->shape, (ModelInput)i))
            continue;
        InputBlock b = clip_block(&in->shape, (ModelInput)i);
        size_t elems = b.rows * in->shape.size * b.plane;
        if (in->at[i])
            memcpy(in->at[i] + k * elems, x, elems * sizeof *x);
        x += elems;
    }
}
