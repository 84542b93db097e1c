/* npc compile for CUDA targets: texts and code of planned programs, without a device. */
#ifndef NPC_RUNTIME_COMPILE_CUDA_H
#define NPC_RUNTIME_COMPILE_CUDA_H

#include "codegen/cuda_compile.h"
#include "passes/plan.h"

/* Kernels that make inputs (cuda_random, cuda_planes), in numbers of cuda_set_add; -1: not there.
 */
typedef struct CudaInputUnits {
    int random, planes;
} CudaInputUnits;

/* The kernels of all plans, not yet compiled; the plans outlive it. Masks and noise are made where
 * there are some, inputs filled on request. `units` may be NULL. */
Status compile_cuda_set(CudaSet **out, const Plan *const *plans, int n_plans, bool fills,
                        CudaInputUnits *units, Err *err);
/* What --emit can show of them. */
bool compile_cuda_emits(const char *what); /* "cuda", "ptx", "sass", "resources" */
/* Shows it for one target ("cuda:sm_90"). cuda needs nothing, the others NVRTC, sass a disassembler
 * as well. */
Status compile_cuda_emit(const char *what, const char *target, const Plan *const *plans,
                         int n_plans, int n_threads, Text *out, Err *err);
/* Makes cubins of all kernels; with a folder they are kept there as the cache keeps them. */
Status compile_cuda_code(const char *target, const Plan *const *plans, int n_plans, int n_threads,
                         const char *folder, Err *err);

#endif
