/* Streams, events and captures. Work runs at once, in the order of the calls; while a stream is
 * captured it is recorded instead, into the graph. An event carries a capture from its stream to
 * one that waits for it.
 *
 *   NPC_SIM_LATE=1   work runs as late as it may: when somebody waits for its stream, for an event
 *                    behind it, or for everything. What must have been waited for and was not, an
 *                    event between two streams, pinned memory that a copy still reads, has not
 *                    happened then. Mistakes of kernels come with the call that waits. */
#include "tests/sim/driver.h"

#include <stdlib.h>
#include <time.h>

struct CUgraph_st {
    SimWork work;
    CUstream origin; /* while it is captured */
    bool is_broken;
};

struct CUgraphExec_st {
    SimWork work;
};

struct CUstream_st {
    CUgraph capture;
    SimWork queue;
    size_t done;   /* of the queue */
    bool is_apart; /* CU_STREAM_NON_BLOCKING: the default stream does not wait for it */
    CUstream next; /* of all streams */
};

struct CUevent_st {
    CUgraph capture; /* it was recorded in */
    CUstream stream;
    long long recorded, happened; /* number of the last recording */
    double ms;
};

static CUstream streams;
static int n_captures;

const SimWork *graph_work(CUgraphExec exec)
{
    return &exec->work;
}

bool stream_is_captured(CUstream stream)
{
    return stream && stream->capture;
}

/* ---- running ---- */

static void happen(CUevent event, long long number)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
    event->happened = number;
}

static CUresult run_one(CUstream stream);

static CUresult run_until(CUevent event, long long number)
{
    CUresult r = CUDA_SUCCESS;
    while (!r && event->happened < number && event->stream->done < event->stream->queue.n)
        r = run_one(event->stream);
    return r;
}

/* The first op of a queue. */
static CUresult run_one(CUstream stream)
{
    SimOp op = stream->queue.op[stream->done++];
    CUresult r = CUDA_SUCCESS;
    if (op.kind == SIM_RECORD)
        happen(op.event.event, op.event.number);
    else if (op.kind == SIM_WAIT)
        r = run_until(op.event.event, op.event.number);
    else
        r = op_run(&op);
    return r ? driver_lost(r) : CUDA_SUCCESS;
}

static void drop(CUstream stream)
{
    stream->done = 0;
    work_clear(&stream->queue);
}

CUresult stream_finish(CUstream stream)
{
    CUresult r = CUDA_SUCCESS;
    while (!r && stream->done < stream->queue.n)
        r = run_one(stream);
    drop(stream);
    return r;
}

void stream_drop_all(void)
{
    for (CUstream s = streams; s; s = s->next)
        drop(s);
}

CUresult stream_finish_all(void)
{
    CUresult r = CUDA_SUCCESS;
    for (CUstream s = streams; s; s = s->next) {
        CUresult one = stream_finish(s);
        r = r ? r : one;
    }
    return r;
}

/* What the default stream waits for. */
static CUresult finish_for_default(void)
{
    CUresult r = CUDA_SUCCESS;
    for (CUstream s = streams; s && !r; s = s->next)
        if (!s->is_apart)
            r = stream_finish(s);
    return r;
}

static CUresult run_now(SimOp op)
{
    CUresult r = CUDA_SUCCESS;
    if (op.kind == SIM_RECORD)
        happen(op.event.event, op.event.number);
    else if (op.kind != SIM_WAIT) /* nothing to wait for: all before has run */
        r = op_run(&op);
    op_free(&op);
    return r;
}

static CUresult capture(CUgraph g, SimOp op)
{
    if (op.kind == SIM_RECORD || op.kind == SIM_WAIT)
        return CUDA_SUCCESS; /* what is recorded runs in its order */
    return work_add(&g->work, op) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult stream_submit(CUstream stream, SimOp op)
{
    CUresult r = CUDA_SUCCESS;
    bool launches = op.kind == SIM_LAUNCH || op.kind == SIM_GRAPH;
    if (stream_is_captured(stream))
        return capture(stream->capture, op);
    if (!stream && n_captures) {
        sim_env_say("work on the default stream while another is captured");
        r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    } else if (launches && sim_env_fails("sticky")) {
        r = driver_lost(CUDA_ERROR_LAUNCH_FAILED);
    } else if (!op_check(&op)) {
        r = CUDA_ERROR_INVALID_VALUE;
    } else if (!stream) {
        r = finish_for_default();
    }
    if (r) {
        op_free(&op);
        return r;
    }
    if (!stream || !sim_env_number("NPC_SIM_LATE", 0))
        return run_now(op);
    return work_add(&stream->queue, op) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
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

/* ---- streams ---- */

CUresult stream_use(CUresult r, CUstream stream)
{
    CUstream s = streams;
    while (s && s != stream)
        s = s->next;
    return r ? r : !stream || s ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

SIM_API CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    CUresult r = driver_begin("cuStreamCreate", CUDA_ERROR_OUT_OF_MEMORY);
    if (!r) {
        CUstream s = calloc(1, sizeof *s);
        if (s) {
            s->is_apart = flags & CU_STREAM_NON_BLOCKING;
            s->next = streams;
            *stream = streams = s;
        } else {
            r = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    return driver_end(r);
}

SIM_API CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
    (void)priority;
    return cuStreamCreate(stream, flags);
}

SIM_API CUresult cuStreamDestroy_v2(CUstream stream)
{
    CUresult r = driver_begin("cuStreamDestroy", CUDA_ERROR_INVALID_HANDLE);
    if (!stream || stream_use(CUDA_SUCCESS, stream))
        return driver_end(CUDA_ERROR_INVALID_HANDLE);
    if (!r)
        r = stream_finish(stream);
    drop(stream);
    CUstream *at = &streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    free(stream);
    return driver_end(r);
}

SIM_API CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult r = driver_begin("cuStreamSynchronize", CUDA_ERROR_LAUNCH_FAILED);
    r = stream_use(r, stream);
    if (!r && stream_is_captured(stream))
        r = stream_check_not_capturing("cuStreamSynchronize");
    if (!r)
        r = stream ? stream_finish(stream) : finish_for_default();
    return driver_end(r);
}

/* Every question lets one more thing happen, so that asking until it is done ends. */
SIM_API CUresult cuStreamQuery(CUstream stream)
{
    CUresult r = driver_begin("cuStreamQuery", CUDA_ERROR_LAUNCH_FAILED);
    r = stream_use(r, stream);
    if (!r && stream && stream->done < stream->queue.n) {
        r = run_one(stream);
        if (!r && stream->done < stream->queue.n)
            r = CUDA_ERROR_NOT_READY;
    }
    return driver_end(r);
}

SIM_API CUresult cuCtxSynchronize(void)
{
    CUresult r = driver_begin("cuCtxSynchronize", CUDA_ERROR_LAUNCH_FAILED);
    if (!r)
        r = stream_check_not_capturing("cuCtxSynchronize");
    if (!r)
        r = stream_finish_all();
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
    } else if (!r && stream_is_captured(stream)) {
        r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED; /* nothing of outside may be waited for */
    } else if (!r && event->recorded) {
        r = stream_submit(stream, (SimOp){SIM_WAIT, .event = {event, event->recorded}});
    }
    return driver_end(r);
}

/* ---- captures ---- */

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

/* The graph is the caller's, or NULL when something went wrong meanwhile. */
static CUresult end_capture(CUresult r, CUgraph g, CUgraph *graph)
{
    n_captures--;
    for (CUstream s = streams; s; s = s->next)
        if (s->capture == g)
            s->capture = NULL;
    if (!r && g->is_broken)
        r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    g->origin = NULL;
    *graph = r ? NULL : g;
    if (r) {
        work_clear(&g->work);
        free(g);
    }
    return r;
}

SIM_API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    CUresult r = driver_begin("cuStreamEndCapture", CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CUgraph g = stream && !stream_use(CUDA_SUCCESS, stream) ? stream->capture : NULL;
    if (g && g->origin == stream)
        r = end_capture(r, g, graph);
    else if (!r)
        r = g ? CUDA_ERROR_STREAM_CAPTURE_UNMATCHED : CUDA_ERROR_INVALID_VALUE;
    return driver_end(r);
}

SIM_API CUresult cuStreamIsCapturing(CUstream stream, int *status)
{
    CUresult r = driver_begin("cuStreamIsCapturing", CUDA_ERROR_INVALID_HANDLE);
    r = stream_use(r, stream);
    if (!r)
        *status = !stream_is_captured(stream) ? 0 : stream->capture->is_broken ? 2 : 1;
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
        if (e && work_copy(&e->work, &graph->work)) {
            *exec = e;
        } else {
            if (e)
                work_clear(&e->work);
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

SIM_API CUresult cuGraphUpload(CUgraphExec exec, CUstream stream)
{
    CUresult r = driver_begin("cuGraphUpload", CUDA_ERROR_OUT_OF_MEMORY);
    (void)exec;
    return driver_end(stream_use(r, stream));
}

SIM_API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    CUresult r = driver_begin("cuGraphLaunch", CUDA_ERROR_LAUNCH_FAILED);
    r = stream_use(r, stream);
    if (!r && stream_is_captured(stream))
        r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!r)
        r = stream_submit(stream, (SimOp){SIM_GRAPH, .graph = exec});
    return driver_end(r);
}

SIM_API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n)
{
    CUresult r = driver_begin("cuGraphGetNodes", CUDA_ERROR_INVALID_VALUE);
    if (!r && nodes)
        r = CUDA_ERROR_NOT_SUPPORTED; /* their number only */
    if (!r)
        *n = graph->work.n;
    return driver_end(r);
}

SIM_API CUresult cuGraphDestroy(CUgraph graph)
{
    CUresult r = driver_begin("cuGraphDestroy", CUDA_ERROR_INVALID_VALUE);
    work_clear(&graph->work);
    free(graph);
    return driver_end(r);
}

SIM_API CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    CUresult r = driver_begin("cuGraphExecDestroy", CUDA_ERROR_INVALID_VALUE);
    if (!r)
        r = stream_finish_all();
    work_clear(&exec->work);
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
        event->capture = stream ? stream->capture : NULL;
        if (!event->capture) {
            event->stream = stream;
            event->recorded++;
        }
        r = stream_submit(stream, (SimOp){SIM_RECORD, .event = {event, event->recorded}});
    }
    return driver_end(r);
}

SIM_API CUresult cuEventQuery(CUevent event)
{
    CUresult r = driver_begin("cuEventQuery", CUDA_ERROR_LAUNCH_FAILED);
    if (!r && event->capture)
        r = CUDA_ERROR_CAPTURED_EVENT;
    if (!r && event->happened < event->recorded) {
        r = run_one(event->stream);
        if (!r && event->happened < event->recorded)
            r = CUDA_ERROR_NOT_READY;
    }
    return driver_end(r);
}

SIM_API CUresult cuEventSynchronize(CUevent event)
{
    CUresult r = driver_begin("cuEventSynchronize", CUDA_ERROR_LAUNCH_FAILED);
    if (!r && event->capture)
        r = CUDA_ERROR_CAPTURED_EVENT;
    if (!r && event->happened < event->recorded)
        r = run_until(event, event->recorded);
    return driver_end(r);
}

SIM_API CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
    CUresult r = driver_begin("cuEventElapsedTime", CUDA_ERROR_INVALID_HANDLE);
    if (!r && (!start->recorded || !end->recorded))
        r = CUDA_ERROR_INVALID_HANDLE;
    if (!r && (start->happened < start->recorded || end->happened < end->recorded))
        r = CUDA_ERROR_NOT_READY;
    if (!r)
        *ms = (float)(end->ms - start->ms);
    return driver_end(r);
}

SIM_API CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end);
SIM_API CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end)
{
    return cuEventElapsedTime(ms, start, end);
}

SIM_API CUresult cuEventDestroy_v2(CUevent event)
{
    CUresult r = driver_begin("cuEventDestroy", CUDA_ERROR_INVALID_HANDLE);
    if (!r)
        r = stream_finish_all();
    free(event);
    return driver_end(r);
}
