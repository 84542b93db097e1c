/* Streams, events and graphs. Work runs at once, in the order of the calls; while a stream is
 * captured it is recorded instead, and cuGraphLaunch runs what was recorded, any number of times.
 * An event carries a capture from its stream to one that waits for it. */
#include "tests/sim/driver.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct CUgraph_st {
    SimOp *op;
    size_t n, room;
    CUstream origin; /* while captured */
    bool is_broken;
};

struct CUgraphExec_st {
    struct CUgraph_st work;
};

struct CUstream_st {
    CUgraph capture;
    CUstream next; /* of all streams */
};

struct CUevent_st {
    CUgraph capture; /* it was recorded in */
    double ms;
    bool is_recorded;
};

static CUstream streams;
static int n_captures;

static void op_free(SimOp *op)
{
    if (op->kind == SIM_LAUNCH)
        free(op->launch);
    else if (op->kind == SIM_HOST)
        free(op->host.data);
}

static CUresult op_run(const SimOp *op)
{
    switch (op->kind) {
    case SIM_LAUNCH:
        return launch_run(op->launch);
    case SIM_COPY:
        if (op->copy.to_device &&
            !memory_check((CUdeviceptr)(uintptr_t)op->copy.to, op->copy.bytes, "a copy to device"))
            return CUDA_ERROR_INVALID_VALUE;
        if (op->copy.from_device && !memory_check((CUdeviceptr)(uintptr_t)op->copy.from,
                                                  op->copy.bytes, "a copy from device"))
            return CUDA_ERROR_INVALID_VALUE;
        memmove(op->copy.to, op->copy.from, op->copy.bytes);
        return CUDA_SUCCESS;
    case SIM_FILL: {
        unsigned char *at = (unsigned char *)(uintptr_t)op->fill.at;
        if (!memory_check(op->fill.at, op->fill.n * (size_t)op->fill.width, "a fill"))
            return CUDA_ERROR_INVALID_VALUE;
        if (op->fill.width == 1)
            memset(at, (int)op->fill.value, op->fill.n);
        else
            for (size_t i = 0; i < op->fill.n; i++)
                memcpy(at + i * 4, &op->fill.value, 4);
        return CUDA_SUCCESS;
    }
    case SIM_HOST:
        return op->host.run(op->host.data);
    }
    return CUDA_ERROR_UNKNOWN;
}

static bool graph_add(CUgraph g, SimOp op)
{
    if (g->n == g->room) {
        size_t room = g->room ? g->room * 2 : 64;
        SimOp *larger = realloc(g->op, room * sizeof op);
        if (!larger)
            return false;
        g->op = larger;
        g->room = room;
    }
    g->op[g->n++] = op;
    return true;
}

static void graph_clear(CUgraph g)
{
    for (size_t i = 0; i < g->n; i++)
        op_free(&g->op[i]);
    free(g->op);
    g->op = NULL;
    g->n = g->room = 0;
}

/* A copy of the work. */
static bool graph_copy(CUgraph to, const struct CUgraph_st *from)
{
    for (size_t i = 0; i < from->n; i++) {
        SimOp op = from->op[i];
        if (op.kind == SIM_LAUNCH) {
            op.launch = malloc(sizeof *op.launch);
            if (!op.launch)
                return false;
            *op.launch = *from->op[i].launch;
        } else if (op.kind == SIM_HOST) {
            op.host.data = malloc(op.host.bytes);
            if (!op.host.data)
                return false;
            memcpy(op.host.data, from->op[i].host.data, op.host.bytes);
        }
        if (!graph_add(to, op)) {
            op_free(&op);
            return false;
        }
    }
    return true;
}

CUresult stream_submit(CUstream stream, SimOp op)
{
    CUresult r;
    if (stream && stream->capture) {
        if (graph_add(stream->capture, op))
            return CUDA_SUCCESS;
        r = CUDA_ERROR_OUT_OF_MEMORY;
    } else if (!stream && n_captures) {
        sim_env_say("work on the default stream while another is captured");
        r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    } else {
        if (op.kind == SIM_LAUNCH && sim_env_fails("sticky"))
            r = driver_lost(CUDA_ERROR_LAUNCH_FAILED);
        else
            r = op_run(&op);
    }
    op_free(&op);
    return r;
}

/* For calls that a capture forbids; breaks what is captured, as the real driver does. */
CUresult stream_check_not_capturing(const char *call)
{
    if (!n_captures)
        return CUDA_SUCCESS;
    for (CUstream s = streams; s; s = s->next)
        if (s->capture)
            s->capture->is_broken = true;
    sim_env_say("%s while a stream is captured", call);
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

/* ---- copies and fills ---- */

static SimOp copy_op(void *to, const void *from, size_t bytes, bool to_device, bool from_device)
{
    return (SimOp){SIM_COPY, .copy = {to, from, bytes, to_device, from_device}};
}

static void *device(CUdeviceptr at)
{
    return (void *)(uintptr_t)at;
}

static CUresult submit_now(const char *call, SimOp op)
{
    CUresult r = driver_begin(call, CUDA_ERROR_INVALID_VALUE);
    if (!r)
        r = stream_check_not_capturing(call);
    if (!r)
        r = stream_submit(NULL, op);
    return driver_end(r);
}

static CUresult submit(const char *call, SimOp op, CUstream stream)
{
    CUresult r = driver_begin(call, CUDA_ERROR_INVALID_VALUE);
    if (!r)
        r = stream_submit(stream, op);
    return driver_end(r);
}

SIM_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
    return submit_now("cuMemcpyHtoD", copy_op(device(to), from, bytes, true, false));
}

SIM_API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
    return submit_now("cuMemcpyDtoH", copy_op(to, device(from), bytes, false, true));
}

SIM_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return submit_now("cuMemcpyDtoD", copy_op(device(to), device(from), bytes, true, true));
}

SIM_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes,
                                      CUstream stream)
{
    return submit("cuMemcpyHtoDAsync", copy_op(device(to), from, bytes, true, false), stream);
}

SIM_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return submit("cuMemcpyDtoHAsync", copy_op(to, device(from), bytes, false, true), stream);
}

SIM_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                      CUstream stream)
{
    return submit("cuMemcpyDtoDAsync", copy_op(device(to), device(from), bytes, true, true),
                  stream);
}

static SimOp fill_op(CUdeviceptr at, unsigned value, size_t n, int width)
{
    return (SimOp){SIM_FILL, .fill = {at, value, n, width}};
}

SIM_API CUresult cuMemsetD8_v2(CUdeviceptr at, unsigned char value, size_t n)
{
    return submit_now("cuMemsetD8", fill_op(at, value, n, 1));
}

SIM_API CUresult cuMemsetD32_v2(CUdeviceptr at, unsigned value, size_t n)
{
    return submit_now("cuMemsetD32", fill_op(at, value, n, 4));
}

SIM_API CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t n, CUstream stream)
{
    return submit("cuMemsetD8Async", fill_op(at, value, n, 1), stream);
}

SIM_API CUresult cuMemsetD32Async(CUdeviceptr at, unsigned value, size_t n, CUstream stream)
{
    return submit("cuMemsetD32Async", fill_op(at, value, n, 4), stream);
}

/* ---- the stand-in of cuBLAS ---- */

CUresult npc_sim_submit(CUstream stream, CUresult (*run)(void *data), const void *data,
                        size_t bytes)
{
    CUresult r = driver_begin("npc_sim_submit", CUDA_ERROR_LAUNCH_FAILED);
    SimOp op = {SIM_HOST, .host = {run, malloc(bytes), bytes}};
    if (!op.host.data)
        return driver_end(CUDA_ERROR_OUT_OF_MEMORY);
    memcpy(op.host.data, data, bytes);
    if (r)
        op_free(&op);
    else
        r = stream_submit(stream, op);
    return driver_end(r);
}

bool npc_sim_check(CUdeviceptr at, size_t bytes, const char *what)
{
    return memory_check(at, bytes, what);
}

/* ---- streams ---- */

static bool is_stream(CUstream stream)
{
    CUstream s = streams;
    while (s && s != stream)
        s = s->next;
    return !stream || s;
}

SIM_API CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    CUresult r = driver_begin("cuStreamCreate", CUDA_ERROR_OUT_OF_MEMORY);
    (void)flags;
    if (!r) {
        CUstream s = calloc(1, sizeof *s);
        if (s) {
            s->next = streams;
            *stream = streams = s;
        } else {
            r = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    return driver_end(r);
}

static CUresult stream_use(CUresult r, CUstream stream)
{
    return r ? r : is_stream(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

SIM_API CUresult cuStreamDestroy_v2(CUstream stream)
{
    CUresult r = driver_begin("cuStreamDestroy", CUDA_ERROR_INVALID_HANDLE);
    r = stream_use(r, stream);
    if (!r && !stream)
        r = CUDA_ERROR_INVALID_HANDLE;
    if (!r) {
        CUstream *at = &streams;
        while (*at != stream)
            at = &(*at)->next;
        *at = stream->next;
        free(stream);
    }
    return driver_end(r);
}

SIM_API CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult r = driver_begin("cuStreamSynchronize", CUDA_ERROR_LAUNCH_FAILED);
    r = stream_use(r, stream);
    if (!r && stream && stream->capture)
        r = stream_check_not_capturing("cuStreamSynchronize");
    return driver_end(r);
}

SIM_API CUresult cuStreamQuery(CUstream stream)
{
    CUresult r = driver_begin("cuStreamQuery", CUDA_ERROR_LAUNCH_FAILED);
    r = stream_use(r, stream);
    return driver_end(r);
}

SIM_API CUresult cuCtxSynchronize(void)
{
    CUresult r = driver_begin("cuCtxSynchronize", CUDA_ERROR_LAUNCH_FAILED);
    if (!r)
        r = stream_check_not_capturing("cuCtxSynchronize");
    return driver_end(r);
}

SIM_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    CUresult r = driver_begin("cuStreamWaitEvent", CUDA_ERROR_INVALID_HANDLE);
    (void)flags;
    r = stream_use(r, stream);
    if (!r && event->capture) {
        if (!stream || (stream->capture && stream->capture != event->capture))
            r = CUDA_ERROR_STREAM_CAPTURE_MERGE;
        else
            stream->capture = event->capture;
    }
    return driver_end(r);
}

SIM_API CUresult cuStreamBeginCapture_v2(CUstream stream, int mode)
{
    CUresult r = driver_begin("cuStreamBeginCapture", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    (void)mode;
    r = stream_use(r, stream);
    if (!r && (!stream || stream->capture))
        r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!r) {
        CUgraph g = calloc(1, sizeof *g);
        if (g) {
            g->origin = stream;
            stream->capture = g;
            n_captures++;
        } else {
            r = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    return driver_end(r);
}

SIM_API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    CUresult r = driver_begin("cuStreamEndCapture", CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CUgraph g = stream && is_stream(stream) ? stream->capture : NULL;
    if (g && g->origin == stream) {
        n_captures--;
        for (CUstream s = streams; s; s = s->next)
            if (s->capture == g)
                s->capture = NULL;
        if (!r && g->is_broken)
            r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        g->origin = NULL;
        *graph = r ? NULL : g;
        if (r) {
            graph_clear(g);
            free(g);
        }
    } else if (!r) {
        r = g ? CUDA_ERROR_STREAM_CAPTURE_UNMATCHED : CUDA_ERROR_INVALID_VALUE;
    }
    return driver_end(r);
}

SIM_API CUresult cuStreamIsCapturing(CUstream stream, int *status)
{
    CUresult r = driver_begin("cuStreamIsCapturing", CUDA_ERROR_INVALID_HANDLE);
    r = stream_use(r, stream);
    if (!r)
        *status = !stream || !stream->capture ? 0 : stream->capture->is_broken ? 2 : 1;
    return driver_end(r);
}

/* ---- graphs ---- */

SIM_API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph,
                                             unsigned long long flags)
{
    CUresult r = driver_begin("cuGraphInstantiate", CUDA_ERROR_OUT_OF_MEMORY);
    (void)flags;
    if (!r) {
        CUgraphExec e = calloc(1, sizeof *e);
        if (e && graph_copy(&e->work, graph)) {
            *exec = e;
        } else {
            if (e)
                graph_clear(&e->work);
            free(e);
            r = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    return driver_end(r);
}

SIM_API CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
SIM_API CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    return cuGraphInstantiateWithFlags(exec, graph, flags);
}

SIM_API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    CUresult r = driver_begin("cuGraphLaunch", CUDA_ERROR_LAUNCH_FAILED);
    r = stream_use(r, stream);
    if (!r && stream && stream->capture)
        r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!r && sim_env_fails("sticky"))
        r = driver_lost(CUDA_ERROR_LAUNCH_FAILED);
    for (size_t i = 0; !r && i < exec->work.n; i++)
        r = op_run(&exec->work.op[i]);
    return driver_end(r);
}

SIM_API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n)
{
    CUresult r = driver_begin("cuGraphGetNodes", CUDA_ERROR_INVALID_VALUE);
    if (!r && nodes)
        r = CUDA_ERROR_NOT_SUPPORTED; /* their number only */
    if (!r)
        *n = graph->n;
    return driver_end(r);
}

SIM_API CUresult cuGraphDestroy(CUgraph graph)
{
    CUresult r = driver_begin("cuGraphDestroy", CUDA_ERROR_INVALID_VALUE);
    graph_clear(graph);
    free(graph);
    return driver_end(r);
}

SIM_API CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    CUresult r = driver_begin("cuGraphExecDestroy", CUDA_ERROR_INVALID_VALUE);
    graph_clear(&exec->work);
    free(exec);
    return driver_end(r);
}

/* ---- events ---- */

SIM_API CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    CUresult r = driver_begin("cuEventCreate", CUDA_ERROR_OUT_OF_MEMORY);
    (void)flags;
    if (!r && !(*event = calloc(1, sizeof **event)))
        r = CUDA_ERROR_OUT_OF_MEMORY;
    return driver_end(r);
}

SIM_API CUresult cuEventRecord(CUevent event, CUstream stream)
{
    CUresult r = driver_begin("cuEventRecord", CUDA_ERROR_INVALID_HANDLE);
    r = stream_use(r, stream);
    if (!r) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        event->ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
        event->capture = stream ? stream->capture : NULL;
        event->is_recorded = true;
    }
    return driver_end(r);
}

static CUresult event_wait(const char *call, CUevent event)
{
    CUresult r = driver_begin(call, CUDA_ERROR_LAUNCH_FAILED);
    if (!r && event->capture)
        r = CUDA_ERROR_CAPTURED_EVENT;
    return driver_end(r);
}

SIM_API CUresult cuEventQuery(CUevent event)
{
    return event_wait("cuEventQuery", event);
}

SIM_API CUresult cuEventSynchronize(CUevent event)
{
    return event_wait("cuEventSynchronize", event);
}

SIM_API CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
    CUresult r = driver_begin("cuEventElapsedTime", CUDA_ERROR_INVALID_HANDLE);
    if (!r && (!start->is_recorded || !end->is_recorded))
        r = CUDA_ERROR_INVALID_HANDLE;
    if (!r)
        *ms = (float)(end->ms - start->ms);
    return driver_end(r);
}

SIM_API CUresult cuEventDestroy_v2(CUevent event)
{
    CUresult r = driver_begin("cuEventDestroy", CUDA_ERROR_INVALID_HANDLE);
    free(event);
    return driver_end(r);
}
