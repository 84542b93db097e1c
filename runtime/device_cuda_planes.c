/* Planes of an input on a CUDA device: the values and boxes move, a kernel in front of the others
 * in the recorded graph fills (codegen/cuda_planes.cuh). */
#include <assert.h>

#include "runtime/device_cuda.h"

enum { THREADS = 256 };

Status cuda_bind_planes(CudaState *c, const DeviceImage *image, const DeviceProgram *p, Err *err)
{
    CudaPlanes *d = &((CudaProgram *)p->own)->planes;
    const InputPlanes *s = &p->planes;
    if (!s->rows)
        return NPC_OK;
    assert(c->units.planes >= 0);
    *d = (CudaPlanes){.x = cuda_storage(image, p, p->place[s->buffer]),
                      .value = p->inputs.device + s->value_offset,
                      .box = p->inputs.device + s->box_offset,
                      .first = s->first,
                      .rows = s->rows,
                      .frames = s->frames,
                      .height = s->height,
                      .width = s->width,
                      .blocks = (unsigned)(s->samples * s->rows * s->frames)};
    void *params[] = {&d->x,    &d->value,  &d->box,    &d->first,
                      &d->rows, &d->frames, &d->height, &d->width};
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
