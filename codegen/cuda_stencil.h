/* Depthwise convolutions, their input and weight gradients, and both gradients at once:
 *
 *     acc[c, out]   = sum over taps of x[c, in(out, tap)] * w[c, tap]              (STENCIL)
 *     pair[c, tap]  = sum over outputs of x[c, in(out, tap)] * a[c, out]           (pair sums)
 *     acc[c, tap]   = sum over outputs of x[c, in(out, tap)] * dy[c, out]          (STENCIL_DW)
 *
 * All are one walk. A block takes some channels and a plane of positions and goes down its rows.
 * The rows of x that a step needs stand in shared memory, as float32 and behind the prologue, in a
 * ring: a step adds the rows that are new, so that every element is loaded once from memory and its
 * prologue (norm, activation) is computed once per block, not once per tap. Loads for the next step
 * are issued before the sums of this one. A thread owns `lanes` channels and a strip of columns; it
 * computes `row.each` rows by `column.each` columns at a time, so that a number from shared memory
 * meets several outputs. The code behind the anchor runs where the sums are, in registers.
 *
 *     rows      the first stencil's axis (h of a spatial, t of a temporal convolution)
 *     columns   the second stencil's axis (w); with one stencil all other positions, flattened
 *
 * Bytes from memory: x once (neighbouring tiles of wide planes meet in a column or two, which the
 * L2 cache holds), what the epilogue reads and writes once, and 4 or 12 per channel, sum and block.
 * Shared memory reads per output for 3 x 3 taps: 36 bytes at 1 x 1 outputs, 24 at 1 x 2, 16 at
 * 2 x 2. Of bf16 4 to 8 bytes per output come from memory. A multiprocessor of an H100 reads 128
 * bytes a clock of shared memory, and about 14.5 is its share of what the memory moves at 3.35
 * TB/s, so that 4 bytes hide 35 bytes of the one and 35 instructions of each lane.
 *
 * Instructions of a step, counted in the PTX of the published model (a sixth of them moves that
 * vanish), by output, and how many its bytes hide:
 *     3 x 3 forward            39 of 35        5 forward             27 of 35
 *     3 x 3 both gradients     65 of 70        5 both gradients      67 of 70
 *     3 x 3 both, stride 2     39 of 44        3 x 3 forward, stride 2   134 of 88, a third of them
 *                                              in a column that one warp of four has
 * Neither was timed. Threads take at most 128 registers: 16 warps to a multiprocessor.
 *
 * cuda_stencil.c says how a program is cut, cuda_stencil_text.c writes it. */
#ifndef NPC_CODEGEN_CUDA_STENCIL_H
#define NPC_CODEGEN_CUDA_STENCIL_H

#include "codegen/cuda_schedules.h"
#include "codegen/cuda_space.h"
#include "codegen/cuda_sums.h"

enum { STENCIL_MAX_LOADS = 6, STENCIL_MAX_PAIRS = 2, STENCIL_MAX_RAW = 64 };

/* One direction. Outputs come in groups of `each`; group q reads inputs q * step + low .. high. */
typedef struct CudaReach {
    int out, tap, in; /* axes; -1: there is no stencil in this direction */
    int64_t taps, stride, dilation, pad, out_size, in_size;
    bool transposed;
    int each, step, low, high;
} CudaReach;

typedef struct CudaStencil {
    const TileProgram *p;
    int channel, lanes;
    bool apart; /* no stencil along columns: a thread's column is its own */
    bool is_dw;
    CudaReach row, column;
    int n_flat, flat[TILE_MAX_AXES];     /* apart: axes of a column, flattened */
    int n_outer, outer[TILE_MAX_AXES];   /* other axes that are walked */
    int64_t columns, tiles, outer_elems; /* columns of outputs, blocks of columns */
    int64_t planes, planes_per_block;    /* outer_elems * tiles */
    int threads, across, strips, parts;
    int width, first_loaded, n_loaded;    /* columns in the ring; those that are loaded at all */
    int loads_per_thread;                 /* of a row */
    int slots;                            /* rows in the ring */
    int64_t ring;                         /* floats */
    int n_loads, load[STENCIL_MAX_LOADS]; /* of x's code, which change from step to step */
    int n_pairs, pair[STENCIL_MAX_PAIRS]; /* instructions; rhs of STENCIL_DW */
    int pair_sum[STENCIL_MAX_PAIRS];      /* in sums */
    bool weights_in_registers;
    CudaSums sums;
} CudaStencil;

/* False when the program is none or has a form that only the general schedule takes. */
bool stencil_plan(CudaStencil *s, const TileProgram *p);
/* Does output j of a group read through tap k, and which input of the group's? */
bool stencil_offset(const CudaReach *r, int64_t j, int64_t k, int *offset);
/* Axes (bits) that change while a thread walks a plane: those of x's code, of results. */
uint32_t stencil_input_walk(const CudaStencil *s);
uint32_t stencil_output_walk(const CudaStencil *s);
/* Instructions that results need at outputs; their number. */
int stencil_output_insts(const CudaStencil *s, int *insts);

void stencil_write(CudaText *c, const CudaStencil *s, const CudaPhase *shape);

#endif
