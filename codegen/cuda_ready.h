/* Kernels that were compiled before: the table behind the cubins in a file of the cache, which
 * packages carry as well.
 *
 * A kernel is known by its text, whatever it was called, behind whatever prelude it had, so that
 * kernels are found again in sets of other programs. Private to codegen/cuda_*.c. */
#ifndef NPC_CODEGEN_CUDA_READY_H
#define NPC_CODEGEN_CUDA_READY_H

#include "codegen/cuda_compile.h"

enum { CUDA_SYMBOL = 96 };

/* A row of the table. */
typedef struct CudaRecord {
    CacheKey key;
    char symbol[CUDA_SYMBOL];
    int32_t unit; /* cubin of the file */
    CudaResources resources[CUDA_MAX_PHASES];
} CudaRecord;

CudaRecord cuda_record(Arena *scratch, const CudaKernel *k);

typedef struct CudaReady {
    const CodeObject *cubin;
    int n_units;
    const CudaRecord *record;
    int n;
} CudaReady;

/* The file stays the caller's. False when its table is of another version or damaged. */
bool cuda_ready_open(CudaReady *out, Arena *arena, const void *file, size_t bytes);
/* NULL: it is not there. */
const CudaRecord *cuda_ready_find(const CudaReady *ready, Arena *scratch, const CudaKernel *k);

#endif
