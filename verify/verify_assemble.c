/* Inputs of a case from recorded arrays, through the code that training uses: arrays in memory
 * stand where the files of a trial would be mapped. */
#include "runtime/batch.h"
#include "verify/verify_parts.h"

static Npy array(const float *at, uint32_t rank, const uint64_t *shape)
{
    Npy a = {.data = (const unsigned char *)at};
    NpyHeader *h = &a.head;
    *h = (NpyHeader){.type = NPY_F32, .item_bytes = 4, .rank = rank, .elems = 1};
    for (uint32_t i = rank; i-- > 0;) {
        h->shape[i] = shape[i];
        h->stride[i] = h->elems;
        h->elems *= shape[i];
    }
    h->data_bytes = h->elems * h->item_bytes;
    return a;
}

Status verify_assemble(VerifyCase *c, const RecordedArrays *r, float *x, Err *err)
{
    Recording recording = {.name = c->path,
                           .path = c->path,
                           .n_trials = 1,
                           .height = (uint32_t)r->rows,
                           .width = (uint32_t)r->columns};
    TrialMap map = {.recording = &recording, .valid = (uint32_t)r->frames};
    ClipShape shape = {.channels = CHANNEL_ALL,
                       .height = (uint32_t)r->height,
                       .width = (uint32_t)r->width,
                       .size = 1,
                       .step = 1};
    uint64_t frames = (uint64_t)r->frames;
    map.var[VAR_VIDEO] =
        array(r->video, 3, (uint64_t[]){(uint64_t)r->rows, (uint64_t)r->columns, frames});
    map.var[VAR_BEHAVIOR] = array(r->behavior, 2, (uint64_t[]){2, frames});
    map.var[VAR_PUPIL] = array(r->pupil, 2, (uint64_t[]){2, frames});
    NPC_TRY(clip_check(&shape, &recording, err));
    return clip_frames(&map, &shape, 0, (uint32_t)r->frames, x, err);
}
