/* Loads that are issued long before their values are used, and wait in registers as they come: a
 * vector of neighbours is one register array of 8, 16 or 32 bytes, opened into numbers at its use,
 * so that 16-bit storage takes half of the registers meanwhile.
 *
 * A thread keeps `count` slots of every load. At the place of a slot (axes entered, vector axis and
 * lanes set) cuda_ahead_load issues the loads; at the same place, later, cuda_ahead_take makes them
 * the values of their instructions. `slot` is an int expression that is constant once loops are
 * unrolled. */
#ifndef NPC_CODEGEN_CUDA_AHEAD_H
#define NPC_CODEGEN_CUDA_AHEAD_H

#include "codegen/cuda_emit.h"

enum { CUDA_MAX_AHEAD = 6 };

typedef struct CudaAhead {
    const char *name; /* of the registers: a prefix of their own */
    int n, inst[CUDA_MAX_AHEAD];
    int vector, lanes;
    int count;
} CudaAhead;

void cuda_ahead_declare(CudaText *c, const CudaAhead *a);
void cuda_ahead_load(CudaText *c, const CudaAhead *a, const char *slot);
void cuda_ahead_take(CudaText *c, const CudaAhead *a, const char *slot);
/* Is load i kept as a vector of so many bits? 0: as numbers. */
int cuda_ahead_bits(CudaText *c, const CudaAhead *a, int i);

#endif
