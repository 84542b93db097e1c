/* Compiled kernels: what the runtime launches.
 *
 * Compiling has two halves. kernel_schedule is arithmetic only: how many tasks, how much scratch
 * and workspace. It depends on the tile program and the target, never on the number of threads, so
 * that results do not either. kernel_set_compile makes machine code for all kernels of a plan in
 * one go (or loads it from the cache).
 *
 * A kernel runs as one or more phases; within a phase tasks are independent and may run on any
 * thread in any order; phases are separated by barriers. Partial results of a reduction go to the
 * workspace, one slot per task, and a later phase combines them in a fixed order. */
#ifndef NPC_CODEGEN_KERNEL_H
#define NPC_CODEGEN_KERNEL_H

#include "ir/base/status.h"
#include "ir/tile.h"

/* Vector unit that code is generated for. */
typedef enum CpuLevel { CPU_GENERIC, CPU_AVX2, CPU_AVX512, CPU_LEVEL_COUNT } CpuLevel;

typedef struct Target {
    CpuLevel cpu;
    int lanes;        /* floats per vector: 4, 8, 16 */
    const char *name; /* "generic", "avx2", "avx512" */
} Target;

/* The best level of this machine. */
CpuLevel target_host(void);
/* name NULL or "native": the host's. False when unknown or when the host cannot run it. */
bool target_find(const char *name, Target *out, Err *err);

enum { KERNEL_MAX_PHASES = 3 };

typedef struct KernelSchedule {
    int n_phases;
    int64_t tasks[KERNEL_MAX_PHASES]; /* for the full batch; fewer are run for a session's range */
    int64_t tasks_per_sample[KERNEL_MAX_PHASES]; /* != 0: tasks = (b1 - b0) * this, task 0 is the
                                                    first of sample b0; 0: always tasks[] */
    size_t scratch_bytes;                        /* per thread */
    size_t workspace_bytes; /* per launch, lives from the first phase to the last */
} KernelSchedule;

KernelSchedule kernel_schedule(const TileProgram *p, const Target *target);

struct Kernel;

typedef struct KernelCall {
    const struct Kernel *kernel; /* the one being run: the interpreter reads its program */
    float *const *tensor;        /* storage of the program's tensors */
    TileRange range;
    void *workspace; /* 64-byte aligned, as is scratch */
} KernelCall;

typedef void (*KernelPhase)(const KernelCall *call, int64_t task, void *scratch);

typedef struct Kernel {
    KernelSchedule schedule;
    KernelPhase phase[KERNEL_MAX_PHASES];
    const TileProgram *program; /* lives as long as the programs given */
} Kernel;

typedef struct KernelSet KernelSet;

typedef struct KernelSetOptions {
    const Target *target;
    const char *cache_folder; /* NULL: no cache */
    int n_threads;            /* to compile with */
    bool interpret;           /* run tile programs on the interpreter instead (no LLVM needed) */
    void (*progress)(void *context, int done, int total);
    void *context;
    Text *emit_llvm, *emit_asm; /* not NULL: receive the texts */
} KernelSetOptions;

/* Compiles the programs; equal ones share code. kernel_set_get(set, i) is programs[i]'s. The
 * programs must outlive the set when they are interpreted. A cache that cannot be written is no
 * error. */
Status kernel_set_compile(KernelSet **out, const TileProgram *const *programs, int n,
                          const KernelSetOptions *options, Err *err);
const Kernel *kernel_set_get(const KernelSet *set, int i);
int kernel_set_n_distinct(const KernelSet *set);
bool kernel_set_from_cache(const KernelSet *set);
void kernel_set_free(KernelSet *set);

/* True when the build has LLVM. */
bool kernel_have_llvm(void);

#endif
