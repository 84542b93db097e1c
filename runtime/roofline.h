/* What this machine can do: the roof that kernels are measured against.
 *
 * peak  multiply-adds on registers, all threads at once, counted as two operations
 * read  summing arrays far larger than the caches
 * copy  copying them; bytes read and bytes written both count
 *
 * The roof of a kernel is min(peak, operations per byte * bandwidth), bandwidth being the better of
 * read and copy. A kernel whose data stay in the caches can be above it. About a second; the best
 * of several tries counts, since other work on the machine only takes away. */
#ifndef NPC_RUNTIME_ROOFLINE_H
#define NPC_RUNTIME_ROOFLINE_H

#include "codegen/kernel.h"
#include "passes/traits.h"
#include "runtime/workers.h"

typedef struct Roofline {
    int threads;
    double peak;       /* operations per second */
    double read, copy; /* bytes per second */
    char device[128];  /* name of the CUDA device it is of; "": the processor */
} Roofline;

Status roofline_measure(Roofline *out, Workers *workers, CpuLevel level, Err *err);
/* Of a CUDA device: the peak is that of products in this precision; read is not measured apart. */
Status roofline_measure_cuda(Roofline *out, int ordinal, PrecisionMode precision, Err *err);
/* Least seconds for that much work. */
double roofline_seconds(const Roofline *r, double flops, double bytes);

#endif
