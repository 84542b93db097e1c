/* Random masks, noise and bytes of a CUDA device: made by kernels of their own
 * (codegen/cuda_random.cuh), a launch each, which stand in front of the others in the recorded
 * graph. Seed and step come with the ranges of the run, so nothing else moves. Masks that the host
 * gave are left as they are. */
#include <limits.h>

#include "runtime/device_cuda.h"
#include "data/philox.h"

enum { THREADS = 256, EACH = 4, EACH_BYTES = 16 /* elements of a thread */ };

static Status bind_drawing(CudaState *c, CudaDrawing *d, const PlanBuffer *b, Err *err)
{
    uint64_t stream = philox_stream(b->name);
    static const char *const kernel[] = {[RANDOM_MASK] = "npc_draw_mask",
                                         [RANDOM_NOISE] = "npc_draw_noise",
                                         [RANDOM_BYTES] = "npc_draw_bytes"};
    int each = b->random == RANDOM_BYTES ? EACH_BYTES : EACH;
    unsigned long long per_block = (unsigned long long)THREADS * (unsigned)each;
    d->n = (unsigned long long)shape_elems(&b->layout.shape);
    d->stream_low = (uint32_t)stream;
    d->stream_high = (uint32_t)(stream >> 32);
    d->rate = (float)b->drop_rate;
    if (d->n > INT_MAX * per_block)
        return err_set(err, NPC_ERR_DEVICE, "CUDA: %s has %llu elements, a launch makes %llu",
                       b->name, d->n, INT_MAX * per_block);
    d->blocks = (unsigned)((d->n + per_block - 1) / per_block);
    void *params[] = {&d->at, &d->n, &d->stream_low, &d->stream_high, &d->rate, &d->draw};
    memcpy(d->params, params, sizeof params);
    return cuda_state_check(
        c, c->d->module_function(&d->function, c->module[c->units.random], kernel[b->random]),
        "find a kernel in its code", err);
}

Status cuda_bind_random(CudaState *c, const DeviceImage *image, const DeviceProgram *p, Err *err)
{
    CudaProgram *own = p->own;
    own->drawing = ARENA_ARRAY(image->memory, CudaDrawing, p->plan->buffers.len + 1);
    for (uint32_t i = 0; i < p->plan->buffers.len; i++) {
        const PlanBuffer *b = &p->plan->buffers.at[i];
        CudaDrawing *d = &own->drawing[own->n_drawings];
        if (!plan_is_random(b))
            continue;
        d->at = cuda_storage(image, p, p->place[i]);
        d->draw = own->ranges + ((size_t)cuda_n_sessions(p) + 1) * 2 * sizeof(int32_t);
        NPC_TRY(bind_drawing(c, d, b, err));
        own->n_drawings++;
    }
    return NPC_OK;
}

void cuda_draw(Device *device, DeviceImage *image, int program, uint64_t seed, uint64_t step)
{
    CudaProgram *own = image->program[program].own;
    (void)device;
    own->draw = (CudaDraw){.step = (uint32_t)step, /* all that counts on the host, too */
                           .seed_low = (uint32_t)seed,
                           .seed_high = (uint32_t)(seed >> 32)};
}

Status cuda_launch_random(CudaState *c, const DeviceProgram *p, Err *err)
{
    const CudaProgram *own = p->own;
    for (int i = 0; i < own->n_drawings; i++) {
        CudaDrawing *d = &own->drawing[i];
        if (d->blocks)
            NPC_TRY(cuda_state_check(c,
                                     c->d->launch(d->function, d->blocks, 1, 1, THREADS, 1, 1, 0,
                                                  c->stream, d->params, NULL),
                                     "launch a kernel that draws masks", err));
    }
    return NPC_OK;
}
