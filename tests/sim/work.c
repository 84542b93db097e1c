/* Work of streams and graphs: launches, copies, fills, functions of the host. */
#include "tests/sim/driver.h"

#include <stdlib.h>
#include <string.h>

void op_free(SimOp *op)
{
    if (op->kind == SIM_LAUNCH)
        free(op->launch);
    else if (op->kind == SIM_HOST)
        free(op->host.data);
    else if (op->kind == SIM_COPY)
        free(op->copy.own);
}

static CUdeviceptr address(const void *at)
{
    return (CUdeviceptr)(uintptr_t)at;
}

bool op_check(const SimOp *op)
{
    if (op->kind == SIM_COPY)
        return (!op->copy.to_device ||
                memory_check(address(op->copy.to), op->copy.bytes, "a copy to device")) &&
               (!op->copy.from_device ||
                memory_check(address(op->copy.from), op->copy.bytes, "a copy from device"));
    if (op->kind == SIM_FILL)
        return memory_check(op->fill.at, op->fill.n * (size_t)op->fill.width, "a fill");
    return true;
}

static void fill(CUdeviceptr to, unsigned value, size_t n, int width)
{
    unsigned char *at = (unsigned char *)(uintptr_t)to;
    if (width == 1)
        memset(at, (int)value, n);
    else
        for (size_t i = 0; i < n; i++)
            memcpy(at + i * 4, &value, 4);
}

CUresult op_run(const SimOp *op)
{
    CUresult r = CUDA_SUCCESS;
    if (!op_check(op))
        return CUDA_ERROR_INVALID_VALUE;
    switch (op->kind) {
    case SIM_LAUNCH:
        r = launch_run(op->launch);
        break;
    case SIM_COPY:
        memmove(op->copy.to, op->copy.from, op->copy.bytes);
        if (op->copy.to_device)
            check_written(address(op->copy.to), op->copy.bytes);
        break;
    case SIM_FILL:
        fill(op->fill.at, op->fill.value, op->fill.n, op->fill.width);
        check_written(op->fill.at, op->fill.n * (size_t)op->fill.width);
        break;
    case SIM_HOST:
        r = op->host.run(op->host.data);
        break;
    case SIM_GRAPH: {
        const SimWork *w = graph_work(op->graph);
        for (size_t i = 0; !r && i < w->n; i++)
            r = op_run(&w->op[i]);
        break;
    }
    case SIM_RECORD:
    case SIM_WAIT:
        break;
    }
    return r;
}

bool work_add(SimWork *w, SimOp op)
{
    if (w->n == w->room) {
        size_t room = w->room ? w->room * 2 : 64;
        SimOp *larger = realloc(w->op, room * sizeof op);
        if (!larger) {
            op_free(&op);
            return false;
        }
        w->op = larger;
        w->room = room;
    }
    w->op[w->n++] = op;
    return true;
}

void work_clear(SimWork *w)
{
    for (size_t i = 0; i < w->n; i++)
        op_free(&w->op[i]);
    free(w->op);
    *w = (SimWork){0};
}

static void *copy_of(const void *from, size_t bytes)
{
    void *to = malloc(bytes);
    return to ? memcpy(to, from, bytes) : NULL;
}

bool work_copy(SimWork *to, const SimWork *from)
{
    for (size_t i = 0; i < from->n; i++) {
        SimOp op = from->op[i];
        bool ok = true;
        if (op.kind == SIM_LAUNCH)
            ok = (op.launch = copy_of(op.launch, sizeof *op.launch)) != NULL;
        else if (op.kind == SIM_HOST)
            ok = (op.host.data = copy_of(op.host.data, op.host.bytes)) != NULL;
        else if (op.kind == SIM_COPY && op.copy.own)
            ok = (op.copy.from = op.copy.own = copy_of(op.copy.own, op.copy.bytes)) != NULL;
        if (!ok || !work_add(to, op))
            return false;
    }
    return true;
}
