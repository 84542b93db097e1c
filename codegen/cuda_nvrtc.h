/* One translation unit through NVRTC, and what its log says. Private to codegen/cuda_*.c. */
#ifndef NPC_CODEGEN_CUDA_NVRTC_H
#define NPC_CODEGEN_CUDA_NVRTC_H

#include "codegen/cuda_api.h"
#include "codegen/cuda_compile.h"

typedef struct NvrtcJob {
    const char *text, *name; /* the unit and what messages call it */
    const CudaArch *arch;
    bool ptx; /* out is PTX, not a cubin */
    bool line_info;
    bool is_exact;  /* no fused multiply-adds but those of the text */
    CodeObject out; /* from malloc */
    char *log;      /* from malloc, never NULL after a call */
} NvrtcJob;

/* May run in several threads. Fails with NPC_ERR_DEVICE; the log is there when the compiler gave
 * one. */
Status nvrtc_run(const CudaNvrtc *c, NvrtcJob *job, Err *err);
void nvrtc_job_free(NvrtcJob *job);
/* Does the compiler know the architecture? */
Status nvrtc_knows(const CudaNvrtc *c, const CudaArch *arch, Err *err);
/* Line of the log's first error in the text, 0 when there is none; `message` receives it. */
int nvrtc_first_error(const char *log, char *message, size_t size);
/* What the log says of a kernel; all zero when nothing. */
CudaResources nvrtc_resources(const char *log, const char *kernel);

#endif
