#include "runtime/inputs.h"

/* Rows of a clip in front of those that a value fills. */
static uint32_t picture_rows(const ClipShape *s)
{
    ClipShape picture = *s;
    picture.channels &= CHANNEL_VIDEO;
    return clip_channels(&picture);
}

void inputs_plan(Engine *e, int program, const ClipShape *shape)
{
    if (clip_has(shape, INPUT_CLIP))
        engine_add_planes(e, program, input_name(INPUT_CLIP), picture_rows(shape));
}

Status inputs_find(Inputs *out, Engine *e, int program, const ClipShape *shape, Err *err)
{
    bool any = false;
    *out = (Inputs){.shape = *shape};
    out->planes = engine_planes(e, program, &out->value, &out->box);
    for (int i = 0; i < INPUT_COUNT; i++)
        if (clip_has(shape, (ModelInput)i)) {
            out->at[i] = engine_input(e, program, input_name((ModelInput)i));
            any |= out->at[i] != NULL;
        }
    return any ? NPC_OK : err_set(err, NPC_ERR_INTERNAL, "the program reads no input of the data");
}

/* The values of a clip's planes: those of a pixel outside of the box and of one inside. */
static void put_values(const Inputs *in, uint32_t k, const float *x, const CutmixBox *box)
{
    const InputPlanes *s = in->planes;
    size_t each = (size_t)s->rows * (size_t)s->frames, plane = (size_t)s->height * (size_t)s->width;
    CutmixBox b = box ? *box : (CutmixBox){0};
    bool is_empty = b.top == b.bottom || b.left == b.right;
    size_t outside = b.top || b.left ? 0 : plane - 1; /* a corner that is not in the box */
    size_t inside = is_empty ? outside : b.top * (size_t)s->width + b.left;
    float *value = in->value + 2 * k * each;
    const int32_t edges[4] = {(int32_t)b.top, (int32_t)b.bottom, (int32_t)b.left, (int32_t)b.right};
    memcpy(in->box + 4 * (size_t)k, edges, sizeof edges);
    for (size_t i = 0; i < each; i++, x += plane) {
        value[2 * i] = x[outside];
        value[2 * i + 1] = x[inside];
    }
}

void inputs_put(const Inputs *in, uint32_t k, const float *x, const CutmixBox *box)
{
    for (int i = 0; i < INPUT_COUNT; i++) {
        if (!clip_has(&in->shape, (ModelInput)i))
            continue;
        InputBlock b = clip_block(&in->shape, (ModelInput)i);
        size_t row = in->shape.size * b.plane, elems = b.rows * row, n = elems;
        if (i == INPUT_CLIP && in->planes) {
            n = (size_t)in->planes->first * row;
            put_values(in, k, x + n, box);
        }
        if (in->at[i])
            memcpy(in->at[i] + k * elems, x, n * sizeof *x);
        x += elems;
    }
}
