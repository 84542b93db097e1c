/* Tile programs as CUDA C.
 *
 * Like codegen/kernel.h in two halves. cuda_schedule is arithmetic: how many phases, blocks and
 * threads, how much workspace; it depends on the tile program alone, not on the device, so that
 * plans and results do not either. cuda_write writes one kernel per phase.
 *
 * The phases of a program are launched one after the other, and behind them a library's product, if
 * the program says so (TileProgram.by_library, codegen/cuda_library.h). Every kernel takes
 *     one pointer per tensor of the program, in order (storage in its layout and type),
 *     unsigned char *workspace   (workspace_bytes of it, 64-byte aligned, contents arbitrary),
 *     const int *range           ({b0, b1}, in device memory; may be anything without a session),
 * and is launched with one-dimensional blocks and grid. A kernel of a recording does nothing when
 * b0 >= b1 and, with a batch axis, leaves samples outside of [b0, b1) alone (sums count them as
 * absent); the grid is always that of the full batch, so that launches can be recorded once.
 * No float atomics: partial sums go to the workspace and are combined in a fixed order.
 *
 * The text is the part of C that CUDA and C share, over the names of cuda_prelude.cuh, so that a
 * host compiler can translate it as well (tests/sim). */
#ifndef NPC_CODEGEN_CUDA_H
#define NPC_CODEGEN_CUDA_H

#include "ir/tile.h"

enum { CUDA_MAX_PHASES = 6, CUDA_MAX_SHARED = 48 * 1024 };

typedef struct CudaPhase {
    int64_t blocks;
    int threads; /* per block, a multiple of 32 */
} CudaPhase;

typedef struct CudaSchedule {
    const char *name; /* of the way it is computed: "points", "pixels", .. */
    int n_phases;
    CudaPhase phase[CUDA_MAX_PHASES];
    size_t workspace_bytes;
    double again_bytes; /* moved beyond what tile_bytes and the workspace say: tensors that are read
                           a second time */
    size_t library_bytes; /* behind the workspace: a library's own, which multiplies behind the
                             phases (cuda_library.h) */
} CudaSchedule;

CudaSchedule cuda_schedule(const TileProgram *p);

/* Of a program with members, 0 of others: in place of its tensors the kernel takes a table in
 * device memory, and as `range` the ranges of all recordings, behind them one that is not empty. */
size_t cuda_table_bytes(const TileProgram *p);
/* tensor[i]: the address of the program's tensor i. */
void cuda_table_write(const TileProgram *p, const uint64_t *tensor, int n_recordings, int64_t *row);

/* Writes the kernels symbol_0, symbol_1, .. of the program's phases, headed by a comment that says
 * what they compute. The text follows cuda_prelude in one translation unit. */
void cuda_write(Text *t, const TileProgram *p, const char *symbol);

/* What every translation unit begins with; a string of cuda_prelude.cuh. */
extern const char cuda_prelude[];
/* Kernels that make random masks and noise; a string of cuda_random.cuh. */
extern const char cuda_random[];
/* And one that fills planes of an input; of cuda_planes.cuh. */
extern const char cuda_planes[];

#endif
