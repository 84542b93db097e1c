/* What compiled kernels and the simulator's driver know of each other. Stands at the head of every
 * translation unit (sim_device.h) and is included by the driver; needs nothing, not even headers.
 */
#ifndef NPC_SIM_ABI_H
#define NPC_SIM_ABI_H

enum { SIM_ABI = 1 };

typedef struct SimDim {
    unsigned x, y, z;
} SimDim;

typedef enum SimShuffle { SIM_SHUFFLE_XOR, SIM_SHUFFLE_DOWN, SIM_SHUFFLE_UP } SimShuffle;
typedef enum SimMma { SIM_MMA_BF16, SIM_MMA_F16, SIM_MMA_TF32 } SimMma;

/* Filled in by the driver. `line` is that of the CUDA text. */
typedef struct SimHooks {
    void (*sync)(int line);
    unsigned (*shuffle)(unsigned bits, int distance, SimShuffle kind, int line);
    void (*mma)(SimMma kind, float *d, const unsigned *a, const unsigned *b, int line);
    /* Mistakes that the compiler's checks have found; do not return. */
    void (*misaligned)(unsigned line, unsigned long address);
    void (*outside)(unsigned line, unsigned long index); /* of an array */
    /* Every access, if the unit was translated so. */
    void (*access)(unsigned long at, unsigned bytes, int writes, void *instruction);
} SimHooks;

typedef struct SimKernel {
    const char *name;
    void (*run)(void **params); /* one thread; params[i] points to the i-th argument */
    const unsigned char *param_bytes;
    int n_params;
    int max_threads; /* of a block */
    unsigned char *shared, *shared_end;
} SimKernel;

typedef struct SimUnit {
    unsigned abi; /* SIM_ABI */
    int n_kernels;
    const SimKernel *kernel;
    unsigned char *shared, *shared_end; /* that of functions which several kernels call */
    /* set by the driver */
    const SimHooks *hooks;
    SimDim thread, block, n_threads, n_blocks;
} SimUnit;

/* The only symbol of a compiled unit. */
#define SIM_UNIT_SYMBOL "npc_sim_unit"
typedef SimUnit *SimUnitFunction(void);

#endif
