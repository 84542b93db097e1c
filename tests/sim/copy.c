/* Copies, fills, and what the stand-in of cuBLAS hands over. As on a GPU, a copy from memory that
 * is not pinned has read it when the call returns, and one to such memory has written it. */
#include "tests/sim/driver.h"

#include <stdlib.h>
#include <string.h>

static SimOp copy_op(void *to, const void *from, size_t bytes, bool to_device, bool from_device)
{
    return (SimOp){SIM_COPY, .copy = {to, from, bytes, to_device, from_device, NULL}};
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

/* The copy reads what is there now. */
static bool read_now(SimOp *op)
{
    op->copy.own = malloc(op->copy.bytes ? op->copy.bytes : 1);
    if (!op->copy.own)
        return false;
    op->copy.from = memcpy(op->copy.own, op->copy.from, op->copy.bytes);
    return true;
}

static CUresult submit(const char *call, SimOp op, CUstream stream)
{
    CUresult r = driver_begin(call, CUDA_ERROR_INVALID_VALUE);
    r = stream_use(r, stream);
    bool is_copy = op.kind == SIM_COPY, is_late = stream && !stream_is_captured(stream);
    if (!r && is_copy && is_late && !op.copy.from_device && !memory_is_pinned(op.copy.from) &&
        !read_now(&op))
        r = CUDA_ERROR_OUT_OF_MEMORY;
    if (!r)
        r = stream_submit(stream, op);
    if (!r && is_copy && is_late && !op.copy.to_device && !memory_is_pinned(op.copy.to))
        r = stream_finish(stream);
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
    r = stream_use(r, stream);
    if (!r && !op.host.data)
        r = CUDA_ERROR_OUT_OF_MEMORY;
    if (r) {
        op_free(&op);
        return driver_end(r);
    }
    memcpy(op.host.data, data, bytes);
    return driver_end(stream_submit(stream, op));
}

bool npc_sim_check(CUdeviceptr at, size_t bytes, const char *what)
{
    return memory_check(at, bytes, what);
}

void npc_sim_written(CUdeviceptr at, size_t bytes)
{
    check_written(at, bytes);
}
