/* Architectures that code is made for, and what a multiprocessor of each can hold. */
#ifndef NPC_CODEGEN_CUDA_ARCH_H
#define NPC_CODEGEN_CUDA_ARCH_H

#include <stdbool.h>

#include "ir/base/status.h"
#include "ir/tile.h"

typedef struct CudaArch {
    const char *name;    /* "sm_90" */
    int number;          /* 90 */
    int threads, blocks; /* of a multiprocessor, at most */
    int shared_bytes;    /* of a multiprocessor */
    int shared_reserved; /* taken by the system, per block */
    bool has_bf16;       /* products of bf16 and tf32 */
} CudaArch;

enum {
    CUDA_REGISTERS = 65536,     /* of a multiprocessor, all architectures here */
    CUDA_THREAD_REGISTERS = 255 /* most of one thread */
};

extern const CudaArch CUDA_ARCHS[];
int cuda_arch_count(void);
/* "sm_90" or "cuda:sm_90"; NPC_ERR_USAGE lists what there is. */
Status cuda_arch_find(const char *text, const CudaArch **out, Err *err);
/* The newest one whose code runs on a device of this capability (9.0: 90); NULL: none. */
const CudaArch *cuda_arch_of(int capability);

/* What the compiler says of a kernel; all zero when it says nothing. */
typedef struct CudaResources {
    int registers;    /* of a thread */
    int spill_bytes;  /* of a thread, stores and loads together */
    int stack_bytes;  /* of a thread, arrays that are no registers */
    int shared_bytes; /* of a block */
} CudaResources;

/* Share of a multiprocessor's threads that blocks of this size can fill, 0 to 1; an estimate from
 * registers, shared memory and the numbers above. 0: not one block fits. */
double cuda_occupancy(const CudaArch *arch, const CudaResources *r, int threads);

/* Can the architecture compute this program? NPC_ERR_DEVICE says what it lacks. */
Status cuda_arch_accepts(const CudaArch *arch, const TileProgram *p, Err *err);

#endif
