/* What the special schedules ask about a program: which axis are its channels, how a block covers
 * channels and pixels, and what can be computed once before a loop. */
#ifndef NPC_CODEGEN_CUDA_SPACE_H
#define NPC_CODEGEN_CUDA_SPACE_H

#include "codegen/cuda_emit.h"

/* Bits of all axes of a kind. */
uint32_t cuda_axis_bits(const TileProgram *p, TileAxisKind kind);
/* Axes (bits) that an instruction depends on through its loads; INST_ACC depends on none. */
uint32_t cuda_needs(const TileProgram *p, int inst);
/* The parallel axis along which most elements lie side by side in memory; -1 without axes. */
int cuda_channel_axis(const TileProgram *p);

/* A block of threads: `across` vectors of channels by `rows`; `parts` blocks cover all channels. */
typedef struct CudaBlock {
    int threads, across, rows, parts;
} CudaBlock;

/* For `vectors` vectors of channels: about `threads` threads, as few of them idle as possible. Few
 * vectors across, 16 if there are so many, so that a block sees many pixels of its channels. */
CudaBlock cuda_block_shape(int64_t vectors, int threads);

/* Writes what the instructions compute out of loads that do not depend on the `varying` axes
 * (bits), if loads of other instructions stand between: the values that a loop over these axes
 * would compute again and again. At most `budget` registers are taken, dearest values first. */
void cuda_hoist(CudaText *c, const int *insts, int n, uint32_t varying, int budget);
/* Registers that it would take without a budget, with that many lanes along the vector axis. */
int cuda_hoist_cost(const TileProgram *p, const int *insts, int n, uint32_t varying, int vector,
                    int lanes);

/* Instructions whose values the program's stores and reductions use, each once; their number. */
int cuda_result_insts(const TileProgram *p, int *insts);

#endif
