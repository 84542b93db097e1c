/* Reductions of a program in two steps: every block of a kernel gathers what it sees and leaves it
 * in slots of the workspace; a last kernel adds the slots of each result element in a fixed order.
 *
 * The channel axis is the vector axis of the gathering kernel (or -1: none). Results may keep it or
 * not; other axes that some result keeps, and the batch axis where a recording's range cuts it,
 * are the group axes: a block stays inside of one group (one index on each of them). The points of
 * a group are split into `slices`, its channels into `parts`:
 *
 *     slot = group * slices + slice     one record per channel, or per part if channels are summed
 *
 * A record is a float (sum), or count, mean and sum of squared distances (variance; a sum of the
 * same value is taken from them, so it costs nothing beside its variance). Slots are float32: each
 * sums up what one block sees, at most some thousand values, in as many accumulators as it has
 * threads. They are added in float64; moments are joined as Chan, Golub and LeVeque (1979) do.
 * In programs without 16-bit tensors a thread also keeps what each of its additions loses (Knuth's
 * two-sum): gradients of biases can be the little that is
 * left of a sum that cancels. Where values have 8 or 11 bits this would add nothing.
 *
 * Sums of taps (pair sums of stencils, and what STENCIL_DW sums) take the same way, but the
 * schedule adds them itself: the values of tap k and lane l belong into sum[k * lanes + l] of the
 * thread.
 *
 * Bytes: 4 or 12 per slot and channel, written and read once. A schedule that lets a block see 256
 * pixels of bf16 channels (512 bytes a channel) pays 2 to 5 % for its statistics.
 *
 * Use, in a kernel where every thread of the block reaches cuda_sums_end:
 *     cuda_sums_begin    declares accumulators
 *     cuda_sums_add      at every point, where the axes are known: adds the values there
 *     cuda_sums_end      joins the threads of the block and writes the slot
 * A block of samples outside of [b0, b1) must return before it writes: the last kernel does not
 * look at its slots. All blocks of samples inside write theirs, all channels of them. */
#ifndef NPC_CODEGEN_CUDA_SUMS_H
#define NPC_CODEGEN_CUDA_SUMS_H

#include "codegen/cuda_emit.h"

enum { CUDA_MAX_SUMS = 8, CUDA_COMBINE_THREADS = 512 };

/* What is gathered: serves one reduction or, with moments, a sum and a variance. */
typedef struct CudaSum {
    int inst;
    bool moments, keeps_channel;
    uint32_t kept;            /* axes (bits) of the result, the channel axis not among them */
    int n_results, result[2]; /* indices of reductions; none: sums of the anchor */
    int taps;                 /* records per channel: 1, or taps of a kernel, tap outermost */
    int n_tap_axes, tap_axis[MAX_RANK];
    int64_t records;              /* of a slot: taps * channels, or parts */
    size_t offset;                /* in the workspace; count, mean, squares one behind the other */
    const char *sum, *shift, *sq; /* accumulators, between begin and end */
    const char *low;              /* what sums lost in rounding, or NULL */
} CudaSum;

typedef struct CudaSums {
    const TileProgram *p;
    int channel, n;
    CudaSum sum[CUDA_MAX_SUMS];
    int n_group_axes, group_axis[TILE_MAX_AXES];
    int64_t groups, slices, parts;
    bool cut;          /* the batch is a group axis, and a recording has only a range of it */
    size_t bytes;      /* of workspace */
    const char *count; /* points that a thread has seen, between begin and end */
} CudaSums;

/* Where values are in a block. Threads hold `vectors` vectors of c->lanes channels each (one in
 * most kernels); `rows` threads hold the same channels. Expressions are ints; `channel` may use u
 * (which vector) and l (the lane) and counts from the first channel of the block. cuda_sums_end
 * declares joint, slots, all, own, to, from, other, step, i, n, mean, a, b, both. */
typedef struct CudaPlace {
    int threads, rows, channels, vectors;
    const char *row, *channel;
    const char
        *is_active; /* false: the thread's row and channels mean nothing; NULL: always true */
    const char *slot, *part, *first_channel; /* of the block */
    const char *shared;                      /* a shared array of floats to use, or NULL */
    int64_t shared_floats;                   /* its size; 0: no more than is needed */
} CudaPlace;

/* Axes (bits) inside of which blocks must stay. */
uint32_t cuda_sums_groups(const TileProgram *p, int channel);
/* Few enough reductions, and the group axes are among `allowed` (bits). */
bool cuda_sums_fit(const TileProgram *p, int channel, uint32_t allowed);
/* Slots begin at `offset` of the workspace, a multiple of 16; .bytes says how far they reach. */
CudaSums cuda_sums_plan(const TileProgram *p, int channel, int64_t slices, int64_t parts,
                        size_t offset);
/* Adds sums of the taps of these axes, channels kept, to a plan that began at `offset`: of a
 * reduction, or (-1) of the anchor, for the program's stores. Returns which sum it is. */
int cuda_sums_add_taps(CudaSums *s, int reduction, const int *axes, int n, size_t offset);
/* Floats of shared memory that cuda_sums_end uses. */
int64_t cuda_sums_shared(const CudaSums *s, const CudaPlace *at);

/* Threads of a block side by side along channels, then along rows of pixels: channel vector
 * threadIdx.x % across, row threadIdx.x / across. slot, part and first_channel stay to be set. */
CudaPlace cuda_place_rows(CudaText *c, int threads, int across);

void cuda_sums_begin(CudaText *c, CudaSums *s, const CudaPlace *at);
/* `vector`: which of the thread's vectors, an expression that is constant once loops are unrolled.
 * `first`: may this be the thread's first point? (Costs a test; false spares it.) */
void cuda_sums_add(CudaText *c, CudaSums *s, const char *vector, bool first);
void cuda_sums_end(CudaText *c, CudaSums *s, const CudaPlace *at);

/* The last phase: how large, and its kernel. Nothing without reductions (blocks is 0). */
CudaPhase cuda_sums_phase(const CudaSums *s);
void cuda_sums_combine(CudaText *c, const CudaSums *s, int phase);

#endif
