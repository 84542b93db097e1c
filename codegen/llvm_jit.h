/* What the rest of the program knows of LLVM.
 *
 * LLVM is a large library: everything that touches it stands in a module of its own, npc_llvm,
 * opened when the first kernels are needed (kernel_set.c), so that starting the tool stays quick.
 * The module exports one function, which returns this table. */
#ifndef NPC_CODEGEN_LLVM_JIT_H
#define NPC_CODEGEN_LLVM_JIT_H

#include "codegen/cache.h"
#include "codegen/kernel.h"

/* Programs compiled together. */
typedef struct LlvmUnit {
    const TileProgram *const *programs;
    int n;
    int number;            /* of the unit: names its symbols */
    Text *llvm, *assembly; /* not NULL: receive the texts */
    CodeObject object;     /* out: an object file, from malloc */
} LlvmUnit;

typedef struct LlvmCode LlvmCode;

typedef struct LlvmApi {
    /* Version of LLVM and processor that code is tuned for: part of the cache's key. */
    void (*describe)(Text *t);
    KernelSchedule (*schedule)(const TileProgram *p, const Target *target);
    /* May run in several threads at once. */
    Status (*compile)(LlvmUnit *unit, const Target *target, Err *err);
    /* Links the objects of units 0..n_units-1; phase[i] receives unit i's functions,
     * KERNEL_MAX_PHASES per program, NULL for phases that a program does not have. */
    Status (*load)(LlvmCode **out, const CodeObject *objects, int n_units,
                   const KernelPhase **phase, Err *err);
    void (*unload)(LlvmCode *code);
} LlvmApi;

#define LLVM_API_SYMBOL "npc_llvm_api"
typedef const LlvmApi *(*LlvmApiFunction)(void);

#endif
