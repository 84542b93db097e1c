/* Compiling units in processes. NVRTC compiles one unit at a time within a process, whatever the
 * number of threads (34 s of processor time in 29 to 34 s on two cores, NVRTC 13.0), so copies of
 * the process take units as well and hand their results over in files in memory. */
#ifndef NPC_CODEGEN_CUDA_PROCESSES_H
#define NPC_CODEGEN_CUDA_PROCESSES_H

#include "codegen/cache.h"

typedef struct CudaWork {
    int n_units;
    /* Compiles a unit: its code, and what else is known of it, both from malloc. */
    Status (*compile)(void *context, int unit, CodeObject *out, CodeObject *note, Err *err);
    /* Takes over what some process made; `out` is the callee's, `note` is not. */
    void (*take)(void *context, int unit, CodeObject out, CodeObject note);
    void *context;
} CudaWork;

/* Compiles all units with n processes, this one among them. What a copy fails at, or dies of, this
 * process tries again, so that its error is the one that is reported. */
Status cuda_processes_run(const CudaWork *work, int n, Err *err);

#endif
