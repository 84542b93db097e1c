/* Planes of an input on a CUDA device: packed pictures, values and boxes move, a kernel in front of
 * the others in the recorded graph fills (codegen/cuda_planes.cuh). */
#include <assert.h>
#include <limits.h>

#include "runtime/device_cuda.h"

enum { THREADS = 256 };

Status cuda_bind_planes(CudaState *c, const DeviceImage *image, const DeviceProgram *p, Err *err)
{
    CudaPlanes *d = &((CudaProgram *)p->own)->planes;
    const InputPlanes *s = &p->planes;
    int64_t blocks = s->samples * (s->pictures + s->values) * s->frames;
    if (!blocks)
        return NPC_OK;
    assert(c->units.planes >= 0);
    if (blocks > INT_MAX)
        return err_set(err, NPC_ERR_DEVICE, "CUDA: an input of %lld planes, a launch fills %d",
                       (long long)blocks, INT_MAX);
    *d = (CudaPlanes){.x = cuda_storage(image, p, p->place[s->buffer]),
                      .value = p->inputs.device + s->value_offset,
                      .box = p->inputs.device + s->box_offset,
                      .picture = p->inputs.device + s->picture_offset,
                      .palette = p->inputs.device + s->palette_offset,
                      .packed = p->inputs.device + s->packed_offset,
                      .pictures = s->pictures,
                      .values = s->values,
                      .frames = s->frames,
                      .height = s->height,
                      .width = s->width,
                      .blocks = (unsigned)blocks};
    void *params[] = {&d->x,        &d->value,  &d->box,    &d->picture, &d->palette, &d->packed,
                      &d->pictures, &d->values, &d->frames, &d->height,  &d->width};
    memcpy(d->params, params, sizeof params);
    return cuda_state_check(
        c, c->d->module_function(&d->function, c->module[c->units.planes], "npc_fill_planes"),
        "find a kernel in its code", err);
}

Status cuda_launch_planes(CudaState *c, const DeviceProgram *p, Err *err)
{
    CudaPlanes *d = &((CudaProgram *)p->own)->planes;
    if (!d->blocks)
        return NPC_OK;
    return cuda_state_check(
        c, c->d->launch(d->function, d->blocks, 1, 1, THREADS, 1, 1, 0, c->stream, d->params, NULL),
        "launch the kernel that fills planes", err);
}
