/* The libraries of CUDA that we call, declared by ourselves: types and numbers as in cuda.h,
 * nvrtc.h and cublas_api.h, which a machine without CUDA does not have. Nothing is linked; a
 * library is opened when it is first wanted, from the folder NPC_CUDA_LIBRARIES if that has it,
 * else from where the system finds it, and stays open.
 *
 * A missing library, one that is too old, or one without a function that we need is NPC_ERR_DEVICE
 * with a sentence that names it, what was found and what is needed. */
#ifndef NPC_CODEGEN_CUDA_API_H
#define NPC_CODEGEN_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

#include "ir/base/status.h"

/* ---- the driver, libcuda.so.1 ---- */

typedef uint64_t CudaAddress;
typedef int CudaResult; /* 0: well */
typedef int CudaDevice;
typedef struct CUctx_st *CudaContext;
typedef struct CUmod_st *CudaModule;
typedef struct CUfunc_st *CudaFunction;
typedef struct CUstream_st *CudaStream;
typedef struct CUevent_st *CudaEvent;
typedef struct CUgraph_st *CudaGraph;
typedef struct CUgraphExec_st *CudaGraphExec;

enum {
    CUDA_OUT_OF_MEMORY = 2,
    CUDA_NO_DEVICE = 100,

    CUDA_ATTRIBUTE_CAPABILITY_MAJOR = 75,
    CUDA_ATTRIBUTE_CAPABILITY_MINOR = 76,
    CUDA_STREAM_NON_BLOCKING = 1,
    CUDA_CAPTURE_THREAD_LOCAL = 1,
    CUDA_DRIVER_LEAST = 12000, /* 12.0 */
};

/* CALL(member, symbol, arguments) */
#define CUDA_DRIVER_CALLS                                                                          \
    CALL(init, cuInit, (unsigned flags))                                                           \
    CALL(driver_version, cuDriverGetVersion, (int *version))                                       \
    CALL(error_string, cuGetErrorString, (CudaResult error, const char **text))                    \
    CALL(device_count, cuDeviceGetCount, (int *count))                                             \
    CALL(device_get, cuDeviceGet, (CudaDevice * device, int ordinal))                              \
    CALL(device_name, cuDeviceGetName, (char *name, int len, CudaDevice device))                   \
    CALL(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, CudaDevice device))   \
    CALL(context_retain, cuDevicePrimaryCtxRetain, (CudaContext * context, CudaDevice device))     \
    CALL(context_release, cuDevicePrimaryCtxRelease_v2, (CudaDevice device))                       \
    CALL(context_use, cuCtxSetCurrent, (CudaContext context))                                      \
    CALL(memory_info, cuMemGetInfo_v2, (size_t * free, size_t * total))                            \
    CALL(memory_alloc, cuMemAlloc_v2, (CudaAddress * at, size_t bytes))                            \
    CALL(memory_free, cuMemFree_v2, (CudaAddress at))                                              \
    CALL(host_alloc, cuMemHostAlloc, (void **at, size_t bytes, unsigned flags))                    \
    CALL(host_free, cuMemFreeHost, (void *at))                                                     \
    CALL(copy_to_device, cuMemcpyHtoDAsync_v2,                                                     \
         (CudaAddress to, const void *from, size_t bytes, CudaStream stream))                      \
    CALL(copy_to_host, cuMemcpyDtoHAsync_v2,                                                       \
         (void *to, CudaAddress from, size_t bytes, CudaStream stream))                            \
    CALL(copy_on_device, cuMemcpyDtoDAsync_v2,                                                     \
         (CudaAddress to, CudaAddress from, size_t bytes, CudaStream stream))                      \
    CALL(fill, cuMemsetD8Async,                                                                    \
         (CudaAddress at, unsigned char value, size_t n, CudaStream stream))                       \
    CALL(stream_create, cuStreamCreate, (CudaStream * stream, unsigned flags))                     \
    CALL(stream_destroy, cuStreamDestroy_v2, (CudaStream stream))                                  \
    CALL(stream_wait, cuStreamSynchronize, (CudaStream stream))                                    \
    CALL(stream_after, cuStreamWaitEvent, (CudaStream stream, CudaEvent event, unsigned flags))    \
    CALL(capture_begin, cuStreamBeginCapture_v2, (CudaStream stream, int mode))                    \
    CALL(capture_end, cuStreamEndCapture, (CudaStream stream, CudaGraph * graph))                  \
    CALL(graph_instantiate, cuGraphInstantiateWithFlags,                                           \
         (CudaGraphExec * exec, CudaGraph graph, unsigned long long flags))                        \
    CALL(graph_launch, cuGraphLaunch, (CudaGraphExec exec, CudaStream stream))                     \
    CALL(graph_destroy, cuGraphDestroy, (CudaGraph graph))                                         \
    CALL(graph_exec_destroy, cuGraphExecDestroy, (CudaGraphExec exec))                             \
    CALL(event_create, cuEventCreate, (CudaEvent * event, unsigned flags))                         \
    CALL(event_record, cuEventRecord, (CudaEvent event, CudaStream stream))                        \
    CALL(event_wait, cuEventSynchronize, (CudaEvent event))                                        \
    CALL(event_ms, cuEventElapsedTime, (float *ms, CudaEvent start, CudaEvent end))                \
    CALL(event_destroy, cuEventDestroy_v2, (CudaEvent event))                                      \
    CALL(module_load, cuModuleLoadData, (CudaModule * module, const void *image))                  \
    CALL(module_unload, cuModuleUnload, (CudaModule module))                                       \
    CALL(module_function, cuModuleGetFunction,                                                     \
         (CudaFunction * function, CudaModule module, const char *name))                           \
    CALL(launch, cuLaunchKernel,                                                                   \
         (CudaFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,                \
          unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,             \
          CudaStream stream, void **params, void **extra))

typedef struct CudaDriver {
    char path[512]; /* as it was opened */
    int version;    /* 13000: 13.0 */
#define CALL(member, symbol, arguments) CudaResult(*member) arguments;
    CUDA_DRIVER_CALLS
#undef CALL
} CudaDriver;

/* Opens and initialises it. Fails also when there is no device. */
Status cuda_driver_open(const CudaDriver **out, Err *err);
/* CudaResult to Status; `what` was tried: "cannot <what>: out of memory (CUDA error 2)". */
Status cuda_check(const CudaDriver *d, CudaResult r, const char *what, Err *err);

/* ---- products of matrices, libcublas ---- */

typedef int BlasResult; /* 0: well */
typedef struct cublasContext *BlasHandle;

enum {
    BLAS_ALLOC_FAILED = 3,
    BLAS_LEAST = 120000, /* 12.0 */

    BLAS_AS_IS = 0, /* operations */
    BLAS_TRANSPOSED = 1,
    BLAS_F32 = 0, /* types */
    BLAS_F16 = 2,
    BLAS_BF16 = 14,
    BLAS_SUMS_F32 = 68, /* what is multiplied; sums are float32 */
    BLAS_FACTORS_F16 = 74,
    BLAS_FACTORS_BF16 = 75,
    BLAS_FACTORS_TF32 = 77,
    BLAS_NO_ROUNDED_SUMS = 16, /* modes: parts of a sum are not stored as the result is */
    BLAS_ALGORITHM = -1,       /* which one is a function of sizes and device */
};

#define CUDA_BLAS_CALLS                                                                            \
    CALL(create, cublasCreate_v2, (BlasHandle * handle))                                           \
    CALL(destroy, cublasDestroy_v2, (BlasHandle handle))                                           \
    CALL(version, cublasGetVersion_v2, (BlasHandle handle, int *version))                          \
    CALL(use_stream, cublasSetStream_v2, (BlasHandle handle, CudaStream stream))                   \
    CALL(use_workspace, cublasSetWorkspace_v2, (BlasHandle handle, void *at, size_t bytes))        \
    CALL(use_mode, cublasSetMathMode, (BlasHandle handle, int mode))                               \
    CALL(multiply, cublasGemmStridedBatchedEx,                                                     \
         (BlasHandle handle, int op_a, int op_b, int m, int n, int k, const void *alpha,           \
          const void *a, int type_a, int ld_a, long long stride_a, const void *b, int type_b,      \
          int ld_b, long long stride_b, const void *beta, void *c, int type_c, int ld_c,           \
          long long stride_c, int batch, int compute, int algorithm))

typedef struct CudaBlas {
    char path[512];
#define CALL(member, symbol, arguments) BlasResult(*member) arguments;
    CUDA_BLAS_CALLS
#undef CALL
    const char *(*error_string)(BlasResult error);
} CudaBlas;

/* Asks nothing of a device: only whether the library is there and new enough. */
Status cuda_blas_open(const CudaBlas **out, Err *err);

/* ---- the compiler, libnvrtc ---- */

typedef int NvrtcResult; /* 0: well */
typedef struct _nvrtcProgram *NvrtcProgram;

enum { NVRTC_LEAST = 12000 /* 12.0 */ };

#define CUDA_NVRTC_CALLS                                                                           \
    CALL(version, nvrtcVersion, (int *major, int *minor))                                          \
    CALL(n_archs, nvrtcGetNumSupportedArchs, (int *n))                                             \
    CALL(archs, nvrtcGetSupportedArchs, (int *archs))                                              \
    CALL(create, nvrtcCreateProgram,                                                               \
         (NvrtcProgram * program, const char *text, const char *name, int n_headers,               \
          const char *const *headers, const char *const *names))                                   \
    CALL(compile, nvrtcCompileProgram,                                                             \
         (NvrtcProgram program, int n_options, const char *const *options))                        \
    CALL(log_size, nvrtcGetProgramLogSize, (NvrtcProgram program, size_t * bytes))                 \
    CALL(log, nvrtcGetProgramLog, (NvrtcProgram program, char *log))                               \
    CALL(cubin_size, nvrtcGetCUBINSize, (NvrtcProgram program, size_t * bytes))                    \
    CALL(cubin, nvrtcGetCUBIN, (NvrtcProgram program, char *cubin))                                \
    CALL(ptx_size, nvrtcGetPTXSize, (NvrtcProgram program, size_t * bytes))                        \
    CALL(ptx, nvrtcGetPTX, (NvrtcProgram program, char *ptx))                                      \
    CALL(destroy, nvrtcDestroyProgram, (NvrtcProgram * program))

typedef struct CudaNvrtc {
    char path[512];
    int version_number; /* 13000: 13.0 */
    char identity[600]; /* of the file: two compilers of one version may differ, as the simulator's
                           does */
#define CALL(member, symbol, arguments) NvrtcResult(*member) arguments;
    CUDA_NVRTC_CALLS
#undef CALL
    const char *(*error_string)(NvrtcResult error);
} CudaNvrtc;

Status cuda_nvrtc_open(const CudaNvrtc **out, Err *err);

#endif
