#include "runtime/inputs.h"

/* The input with the pictures. */
static ModelInput picture_input(const ClipShape *s)
{
    return clip_has(s, INPUT_CLIP)    ? INPUT_CLIP
           : clip_has(s, INPUT_VIDEO) ? INPUT_VIDEO
                                      : INPUT_IMAGE;
}

/* Rows of it in front of those that a value fills. */
static uint32_t picture_rows(const ClipShape *s)
{
    ClipShape picture = *s;
    picture.channels &= CHANNEL_VIDEO;
    return clip_block(&picture, picture_input(s)).rows;
}

void inputs_plan(Engine *e, int program, const ClipShape *shape)
{
    engine_add_planes(e, program, input_name(picture_input(shape)), picture_rows(shape));
}

Status inputs_find(Inputs *out, Engine *e, int program, const ClipShape *shape, Err *err)
{
    bool any = false;
    *out = (Inputs){.shape = *shape, .filled = picture_input(shape)};
    out->planes = engine_planes(e, program, &out->host);
    for (int i = 0; i < INPUT_COUNT; i++)
        if (clip_has(shape, (ModelInput)i)) {
            out->at[i] = engine_input(e, program, input_name((ModelInput)i));
            any |= out->at[i] != NULL;
        }
    return any ? NPC_OK : err_set(err, NPC_ERR_INTERNAL, "the program reads no input of the data");
}

/* The values of a clip's last planes: those of a pixel outside of the box and of one inside. */
static void put_values(const Inputs *in, uint32_t k, const float *x, const CutmixBox *box)
{
    const InputPlanes *s = in->planes;
    size_t each = (size_t)s->values * (size_t)s->frames;
    size_t plane = (size_t)s->height * (size_t)s->width;
    CutmixBox b = box ? *box : (CutmixBox){0};
    bool is_empty = b.top == b.bottom || b.left == b.right;
    size_t outside = b.top || b.left ? 0 : plane - 1; /* a corner that is not in the box */
    size_t inside = is_empty ? outside : b.top * (size_t)s->width + b.left;
    float *value = (float *)(in->host + s->value_offset) + 2 * k * each;
    const int32_t edges[4] = {(int32_t)b.top, (int32_t)b.bottom, (int32_t)b.left, (int32_t)b.right};
    memcpy(in->host + s->box_offset + k * sizeof edges, edges, sizeof edges);
    for (size_t i = 0; i < each; i++, x += plane) {
        value[2 * i] = x[outside];
        value[2 * i + 1] = x[inside];
    }
}

/* Pictures, behind those of the sample before. */
static void put_packed(const Inputs *in, uint32_t k, const float *x, const SampleFrame *frame)
{
    const InputPlanes *s = in->planes;
    PackedPicture *p = (PackedPicture *)(in->host + s->picture_offset) + k;
    float *palette = (float *)(in->host + s->palette_offset) + k * (size_t)PALETTE;
    PictureFrame f = {(size_t)s->pictures * (size_t)s->frames, (uint32_t)s->height,
                      (uint32_t)s->width, frame->height, frame->width};
    *p = (PackedPicture){.at = k ? packed_end(s, &p[-1]) : 0,
                         .height = (int32_t)frame->height,
                         .width = (int32_t)frame->width};
    char *out = in->host + s->packed_offset + p->at;
    p->is_coded = pack_codes(x, &f, (uint8_t *)out, palette);
    if (!p->is_coded)
        pack_floats(x, &f, (float *)out);
}

void inputs_put(const Inputs *in, uint32_t k, const float *x, const SampleFrame *frame)
{
    for (int i = 0; i < INPUT_COUNT; i++) {
        if (!clip_has(&in->shape, (ModelInput)i))
            continue;
        InputBlock b = clip_block(&in->shape, (ModelInput)i);
        size_t row = in->shape.size * b.plane, elems = b.rows * row, n = elems;
        if (in->planes && i == (int)in->filled) {
            n = (size_t)in->planes->pictures * row;
            put_values(in, k, x + n, frame->box);
            if (in->planes->is_packed) {
                put_packed(in, k, x, frame);
                n = 0;
            }
        }
        if (in->at[i])
            memcpy(in->at[i] + k * elems, x, n * sizeof *x);
        x += elems;
    }
}
