/* The part of CUDA's driver interface that the simulator stands in for: types and numbers as in
 * cuda.h, which a machine without CUDA does not have. */
#ifndef NPC_SIM_CUDA_API_H
#define NPC_SIM_CUDA_API_H

#include <stddef.h>

typedef unsigned long long CUdeviceptr;
typedef int CUdevice;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUgraphNode_st *CUgraphNode;

/* RESULT(name, number, sentence) */
#define CUDA_RESULTS                                                                               \
    RESULT(CUDA_SUCCESS, 0, "no error")                                                            \
    RESULT(CUDA_ERROR_INVALID_VALUE, 1, "invalid argument")                                        \
    RESULT(CUDA_ERROR_OUT_OF_MEMORY, 2, "out of memory")                                           \
    RESULT(CUDA_ERROR_NOT_INITIALIZED, 3, "initialization error")                                  \
    RESULT(CUDA_ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                        \
    RESULT(CUDA_ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                               \
    RESULT(CUDA_ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")                        \
    RESULT(CUDA_ERROR_INVALID_CONTEXT, 201, "invalid device context")                              \
    RESULT(CUDA_ERROR_NO_BINARY_FOR_GPU, 209,                                                      \
           "no kernel image is available for execution on the device")                             \
    RESULT(CUDA_ERROR_INVALID_PTX, 218, "a PTX JIT compilation failed")                            \
    RESULT(CUDA_ERROR_OPERATING_SYSTEM, 304, "OS call failed or operation not supported")          \
    RESULT(CUDA_ERROR_INVALID_HANDLE, 400, "invalid resource handle")                              \
    RESULT(CUDA_ERROR_NOT_FOUND, 500, "named symbol not found")                                    \
    RESULT(CUDA_ERROR_NOT_READY, 600, "device not ready")                                          \
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")            \
    RESULT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")     \
    RESULT(CUDA_ERROR_ILLEGAL_INSTRUCTION, 715, "an illegal instruction was encountered")          \
    RESULT(CUDA_ERROR_MISALIGNED_ADDRESS, 716, "misaligned address")                               \
    RESULT(CUDA_ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                            \
    RESULT(CUDA_ERROR_NOT_SUPPORTED, 801, "operation not supported")                               \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900,                                             \
           "operation not permitted when stream is capturing")                                     \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901,                                             \
           "operation failed due to a previous error during capture")                              \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_MERGE, 902,                                                   \
           "operation would result in a merge of separate capture sequences")                      \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, 903,                                               \
           "capture was not ended in the same stream as it began")                                 \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, 904, "capturing stream has unjoined work")          \
    RESULT(CUDA_ERROR_CAPTURED_EVENT, 907,                                                         \
           "operation not permitted on an event last recorded in a capturing stream")              \
    RESULT(CUDA_ERROR_UNKNOWN, 999, "unknown error")

typedef enum CUresult {
#define RESULT(name, number, text) name = number,
    CUDA_RESULTS
#undef RESULT
} CUresult;

enum {
    CU_CTX_SCHED_AUTO = 0,
    CU_STREAM_DEFAULT = 0,
    CU_STREAM_NON_BLOCKING = 1,
    CU_STREAM_CAPTURE_MODE_GLOBAL = 0,
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
    CU_STREAM_CAPTURE_MODE_RELAXED = 2,
};

/* Of a function. */
enum {
    CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
    CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
    CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES = 2,
    CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3,
    CU_FUNC_ATTRIBUTE_NUM_REGS = 4,
    CU_FUNC_ATTRIBUTE_PTX_VERSION = 5,
    CU_FUNC_ATTRIBUTE_BINARY_VERSION = 6,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT = 9,
};

CUresult cuInit(unsigned flags);
CUresult cuDriverGetVersion(int *version);
CUresult cuGetErrorString(CUresult error, const char **text);
CUresult cuGetErrorName(CUresult error, const char **text);
CUresult cuDeviceGetCount(int *count);
CUresult cuDeviceGet(CUdevice *device, int ordinal);
CUresult cuDeviceGetName(char *name, int len, CUdevice device);
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device);
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device);
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuCtxGetCurrent(CUcontext *context);
CUresult cuCtxSynchronize(void);
CUresult cuMemGetInfo_v2(size_t *free, size_t *total);
CUresult cuMemAlloc_v2(CUdeviceptr *at, size_t bytes);
CUresult cuMemFree_v2(CUdeviceptr at);
CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags);
CUresult cuMemAllocHost_v2(void **at, size_t bytes);
CUresult cuMemFreeHost(void *at);
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes);
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes);
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream);
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream);
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
CUresult cuMemsetD8_v2(CUdeviceptr at, unsigned char value, size_t n);
CUresult cuMemsetD32_v2(CUdeviceptr at, unsigned value, size_t n);
CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t n, CUstream stream);
CUresult cuMemsetD32Async(CUdeviceptr at, unsigned value, size_t n, CUstream stream);
CUresult cuStreamCreate(CUstream *stream, unsigned flags);
CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority);
CUresult cuStreamDestroy_v2(CUstream stream);
CUresult cuStreamSynchronize(CUstream stream);
CUresult cuStreamQuery(CUstream stream);
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph);
CUresult cuStreamIsCapturing(CUstream stream, int *status);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
CUresult cuGraphUpload(CUgraphExec exec, CUstream stream);
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);
CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n);
CUresult cuGraphDestroy(CUgraph graph);
CUresult cuGraphExecDestroy(CUgraphExec exec);
CUresult cuEventCreate(CUevent *event, unsigned flags);
CUresult cuEventRecord(CUevent event, CUstream stream);
CUresult cuEventQuery(CUevent event);
CUresult cuEventSynchronize(CUevent event);
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end);
CUresult cuEventDestroy_v2(CUevent event);
CUresult cuModuleLoadData(CUmodule *module, const void *image);
CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned n_options, int *options,
                            void **values);
CUresult cuModuleUnload(CUmodule module);
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function);
CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value);
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n_blocks, CUfunction function,
                                                     int threads, size_t dynamic_shared_bytes);
CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CUstream stream, void **params, void **extra);

#endif
