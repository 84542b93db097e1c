/* Launches on a CUDA device. The ranges of recordings lie in device memory and grids are those of
 * the full batch, so that the launches of a program are the same every time: they are recorded once
 * as a graph. Buffers that a recording's kernels may leave partly unwritten are cleared always;
 * they are written by that recording alone. Launches are timed one by one, without the graph. */
#include <limits.h>

#include "runtime/device_cuda.h"

/* ---- binding ---- */

size_t cuda_tables_bytes(const DeviceProgram *p)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < p->plan->launches.len; i++)
        bytes += cuda_table_bytes(p->plan->launches.at[i].tile);
    return bytes;
}

/* A table of the tensors in `arg` moves to the device and takes their place there. */
static Status bind_table(CudaState *c, const DeviceImage *image, const DeviceProgram *p,
                         const TileProgram *tile, CudaAddress *arg, CudaAddress *tables, Err *err)
{
    size_t bytes = cuda_table_bytes(tile);
    int64_t *table = arena_alloc(image->memory, bytes);
    cuda_table_write(tile, arg, (int)cuda_n_sessions(p), table);
    arg[0] = *tables;
    *tables += bytes;
    return cuda_state_check(c, c->d->copy_to_device(arg[0], table, bytes, c->stream),
                            "copy to the device", err);
}

static Status bind_launch(CudaState *c, const DeviceImage *image, const DeviceProgram *p, int i,
                          const CudaKernel *kernel, CudaAddress *tables, Err *err)
{
    CudaProgram *own = p->own;
    const Launch *l = &p->plan->launches.at[i];
    CudaLaunch *out = &own->launch[i];
    uint32_t n = l->tile->tensors.len;
    int pair = l->session >= 0 ? l->session : (int)cuda_n_sessions(p);
    out->schedule = kernel->schedule;
    out->arg = ARENA_ARRAY(image->memory, CudaAddress, n + 2);
    out->params = ARENA_ARRAY(image->memory, void *, n + 2);
    for (uint32_t k = 0; k < n; k++)
        out->arg[k] = cuda_storage(image, p, p->place[l->tile->tensors.at[k].buffer]);
    if (l->tile->members.len) {
        NPC_TRY(bind_table(c, image, p, l->tile, out->arg, tables, err));
        n = 1;
        pair = 0;
    }
    out->arg[n] = image->arena.device + l->workspace_offset;
    out->arg[n + 1] = own->ranges + (size_t)pair * 2 * sizeof(int32_t);
    for (uint32_t k = 0; k < n + 2; k++)
        out->params[k] = &out->arg[k];
    for (int phase = 0; phase < kernel->schedule.n_phases; phase++) {
        char name[160];
        snprintf(name, sizeof name, "%s_%d", kernel->symbol, phase);
        if (kernel->schedule.phase[phase].blocks > INT_MAX)
            return err_set(err, NPC_ERR_DEVICE, "CUDA: %s needs %lld blocks, a launch has %d", name,
                           (long long)kernel->schedule.phase[phase].blocks, INT_MAX);
        NPC_TRY(cuda_state_check(
            c, c->d->module_function(&out->function[phase], c->module[kernel->unit], name),
            "find a kernel in its code", err));
    }
    return NPC_OK;
}

Status cuda_bind(Device *device, DeviceImage *image, Err *err)
{
    CudaState *c = (CudaState *)device;
    CudaAddress ranges = c->ranges, tables = c->tables;
    int at = 0;
    NPC_TRY(cuda_state_enter(c, err));
    for (int i = 0; i < image->n; i++) {
        DeviceProgram *p = &image->program[i];
        CudaProgram *own = ARENA_NEW(image->memory, CudaProgram);
        p->own = own;
        own->launch = ARENA_ARRAY(image->memory, CudaLaunch, p->plan->launches.len + 1);
        NPC_TRY(cuda_bind_inputs(c, image, p, ranges, err));
        ranges += cuda_range_bytes(p);
        NPC_TRY(cuda_bind_random(c, image, p, err));
        NPC_TRY(cuda_bind_planes(c, image, p, err));
        for (uint32_t k = 0; k < p->plan->launches.len; k++)
            NPC_TRY(bind_launch(c, image, p, (int)k, cuda_set_get(c->set, at++), &tables, err));
        NPC_TRY(cuda_bind_products(c, p, err));
        own->event = ARENA_ARRAY(image->memory, CudaEvent, p->plan->launches.len + 1);
        for (uint32_t k = 0; k <= p->plan->launches.len; k++)
            own->event[k] = NULL;
    }
    return cuda_state_check(c, c->d->stream_wait(c->stream), "prepare the device", err);
}

void cuda_program_close(CudaState *c, CudaProgram *own, int n_launches)
{
    if (own->graph)
        c->d->graph_exec_destroy(own->graph);
    for (int i = 0; own->event && i <= n_launches; i++)
        if (own->event[i])
            c->d->event_destroy(own->event[i]);
    if (own->range)
        c->d->host_free(own->range);
}

/* ---- launching ---- */

static Status launch(CudaState *c, const DeviceImage *image, const DeviceProgram *p, uint32_t i,
                     Err *err)
{
    const CudaProgram *own = p->own;
    const Launch *l = &p->plan->launches.at[i];
    CudaLaunch *k = &own->launch[i];
    for (uint32_t b = 0; b < l->clear.len; b++) {
        int buffer = l->clear.at[b];
        NPC_TRY(cuda_state_check(c,
                                 c->d->fill(cuda_storage(image, p, p->place[buffer]), 0,
                                            p->plan->buffers.at[buffer].bytes, c->stream),
                                 "clear a buffer", err));
    }
    for (int phase = 0; phase < k->schedule.n_phases; phase++) {
        const CudaPhase *shape = &k->schedule.phase[phase];
        if (!shape->blocks)
            continue;
        CudaResult r = c->d->launch(k->function[phase], (unsigned)shape->blocks, 1, 1,
                                    (unsigned)shape->threads, 1, 1, 0, c->stream, k->params, NULL);
        if (r) {
            char what[300];
            snprintf(what, sizeof what, "launch the kernel of %.200s",
                     l->tile->name ? l->tile->name : "a program");
            return cuda_state_check(c, r, what, err);
        }
    }
    return l->tile->by_library ? cuda_multiply(c, l->tile, k, err) : NPC_OK;
}

/* Launches that prepare stand first. */
static Status launch_all(CudaState *c, const DeviceImage *image, const DeviceProgram *p,
                         uint32_t from, uint32_t to, Err *err)
{
    for (uint32_t i = from; i < to; i++)
        NPC_TRY(launch(c, image, p, i, err));
    return NPC_OK;
}

static Status make_inputs(CudaState *c, const DeviceProgram *p, Err *err)
{
    NPC_TRY(cuda_launch_random(c, p, err));
    return cuda_launch_planes(c, p, err);
}

static Status record(CudaState *c, const DeviceImage *image, const DeviceProgram *p, Err *err)
{
    CudaProgram *own = p->own;
    CudaGraph graph = NULL;
    NPC_TRY(cuda_state_check(c, c->d->capture_begin(c->stream, CUDA_CAPTURE_THREAD_LOCAL),
                             "begin to record the launches", err));
    Status s = make_inputs(c, p, err);
    if (s == NPC_OK)
        s = launch_all(c, image, p, (uint32_t)p->plan->n_prepare, p->plan->launches.len, err);
    CudaResult r = c->d->capture_end(c->stream, &graph); /* also after a failure */
    if (s == NPC_OK)
        s = cuda_state_check(c, r, "record the launches", err);
    if (s == NPC_OK) {
        r = c->d->graph_instantiate(&own->graph, graph, 0);
        if (r)
            own->graph = NULL;
        s = cuda_state_check(c, r, "make a graph of the launches", err);
    }
    if (graph)
        c->d->graph_destroy(graph);
    return s;
}

static Status make_events(CudaState *c, const DeviceProgram *p, Err *err)
{
    CudaProgram *own = p->own;
    for (uint32_t i = 0; i <= p->plan->launches.len; i++) {
        if (own->event[i])
            continue;
        CudaResult r = c->d->event_create(&own->event[i], 0);
        if (r)
            own->event[i] = NULL;
        NPC_TRY(cuda_state_check(c, r, "make an event", err));
    }
    return NPC_OK;
}

static Status launch_timed(CudaState *c, const DeviceImage *image, const DeviceProgram *p,
                           uint32_t from, Err *err)
{
    const CudaProgram *own = p->own;
    uint32_t n = p->plan->launches.len;
    NPC_TRY(make_events(c, p, err));
    NPC_TRY(make_inputs(c, p, err));
    for (uint32_t i = from; i < n; i++) {
        NPC_TRY(cuda_state_check(c, c->d->event_record(own->event[i], c->stream), "record an event",
                                 err));
        NPC_TRY(launch(c, image, p, i, err));
    }
    NPC_TRY(
        cuda_state_check(c, c->d->event_record(own->event[n], c->stream), "record an event", err));
    NPC_TRY(cuda_state_check(c, c->d->event_wait(own->event[n]), "finish a run", err));
    for (uint32_t i = from; i < n; i++) {
        float ms = 0;
        NPC_TRY(cuda_state_check(c, c->d->event_ms(&ms, own->event[i], own->event[i + 1]),
                                 "time a launch", err));
        p->seconds[i] += (double)ms * 1e-3;
    }
    return NPC_OK;
}

/* ---- running ---- */

Status cuda_run(Device *device, DeviceImage *image, int program, const SampleRange *ranges,
                bool prepare, Err *err)
{
    CudaState *c = (CudaState *)device;
    DeviceProgram *p = &image->program[program];
    CudaProgram *own = p->own;
    uint32_t n_prepare = (uint32_t)p->plan->n_prepare, n = p->plan->launches.len;
    NPC_TRY(cuda_state_enter(c, err));
    NPC_TRY(cuda_move_inputs(c, image, program, ranges, err));
    if (p->is_timed)
        return launch_timed(c, image, p, prepare ? 0 : n_prepare, err);
    if (prepare)
        NPC_TRY(launch_all(c, image, p, 0, n_prepare, err));
    if (!own->graph && n > n_prepare)
        NPC_TRY(record(c, image, p, err));
    if (own->graph)
        NPC_TRY(cuda_state_check(c, c->d->graph_launch(own->graph, c->stream),
                                 "launch a recorded program", err));
    return cuda_state_check(c, c->d->event_wait(c->moved), "copy inputs to the device", err);
}
