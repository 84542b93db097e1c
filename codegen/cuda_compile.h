/* Kernels for CUDA devices: texts of a plan's programs, and their machine code (cubins).
 *
 *     cuda_set_make      equal programs share a kernel; texts are written. Needs no CUDA
 *     cuda_set_compile   NVRTC makes a cubin of each unit, in processes, or the cache has them.
 *                        Kernels that the caller has already (a package's) are left out of that
 *
 * A unit is the text of a few programs behind the prelude. Its code depends on the text, the
 * architecture and the compiler (version and file), and so does the name in the cache. */
#ifndef NPC_CODEGEN_CUDA_COMPILE_H
#define NPC_CODEGEN_CUDA_COMPILE_H

#include "codegen/cache.h"
#include "codegen/cuda.h"
#include "codegen/cuda_arch.h"
#include "ir/base/arena.h"

typedef struct CudaSet CudaSet;

/* A program's kernels: symbol_0, symbol_1, .. in one unit. */
typedef struct CudaKernel {
    const char *symbol;
    const char *text; /* as cuda_write wrote it */
    int unit;         /* the cubin it is in */
    CudaSchedule schedule;
    const TileProgram *program;               /* the first that has it */
    CudaResources resources[CUDA_MAX_PHASES]; /* once compiled */
} CudaKernel;

/* The programs outlive the set. */
Status cuda_set_make(CudaSet **out, const TileProgram *const *programs, int n, Err *err);
void cuda_set_free(CudaSet *set);
/* Adds a unit of kernels that no program describes: `text` behind the prelude, in which products
 * and sums are rounded one by one. Before the set is compiled; the text outlives it. */
Status cuda_set_add(CudaSet *set, const char *text, int *added, Err *err);
/* The cubin with them. */
int cuda_set_added_unit(const CudaSet *set, int added);

/* Program i's kernels. */
const CudaKernel *cuda_set_get(const CudaSet *set, int i);
int cuda_set_n_distinct(const CudaSet *set);
const CudaKernel *cuda_set_distinct(const CudaSet *set, int i);

/* To be compiled. */
int cuda_set_n_units(const CudaSet *set);
/* Whole translation unit, prelude included. */
const char *cuda_set_text(const CudaSet *set, int unit);

typedef struct CudaCompileOptions {
    const CudaArch *arch;
    const char *cache_folder; /* NULL: no cache */
    int n_threads;            /* processes, in fact: see cuda_processes.h */
    bool line_info;           /* lines of the text in the code, for profilers */
    const void *ready; /* a file of the cache in memory, of any set for this architecture: what
                          it has is taken from there. NULL: none; it stays the caller's */
    size_t ready_bytes;
} CudaCompileOptions;

/* NPC_ERR_DEVICE: no compiler, one that does not know the architecture, an architecture without
 * what a program needs, or the compiler's first complaint with the kernel it is about. */
Status cuda_set_compile(CudaSet *set, const CudaCompileOptions *options, Err *err);
/* After cuda_set_compile; distinct kernels that were ready. Without others NVRTC is not opened. */
int cuda_set_n_ready(const CudaSet *set);
/* Those of the units and, behind them, those that were ready. */
int cuda_set_n_cubins(const CudaSet *set);
/* After cuda_set_compile; 16-byte aligned, as long as the set lives. */
const CodeObject *cuda_set_cubin(const CudaSet *set, int unit);
bool cuda_set_from_cache(const CudaSet *set);

/* PTX of all units, one after the other. */
Status cuda_set_ptx(const CudaSet *set, const CudaArch *arch, Text *out, Err *err);
/* Machine code as text, by nvdisasm or cuobjdump; after cuda_set_compile. */
Status cuda_set_sass(const CudaSet *set, Text *out, Err *err);
/* Registers, spills, shared memory and occupancy per kernel; after cuda_set_compile. */
void cuda_set_print_resources(const CudaSet *set, const CudaArch *arch, Text *out);

#endif
