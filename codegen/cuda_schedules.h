/* The ways a tile program becomes kernels, each a row of cuda_text.c's table, tried in order.
 *
 *   accepts   can it be computed this way, and is that good?
 *   schedule  phases and workspace. Arithmetic only, as accepts.
 *   write     the kernels of all phases */
#ifndef NPC_CODEGEN_CUDA_SCHEDULES_H
#define NPC_CODEGEN_CUDA_SCHEDULES_H

#include "codegen/cuda_emit.h"

typedef struct CudaKind {
    const char *name;
    bool (*accepts)(const TileProgram *p);
    CudaSchedule (*schedule)(const TileProgram *p);
    void (*write)(CudaText *c, const CudaSchedule *s);
} CudaKind;

/* The first that accepts the program. */
const CudaKind *cuda_kind_of(const TileProgram *p);

/* Every legal program: a thread per point (or vector of points), plain loops over what is summed.
 */
extern const CudaKind cuda_kind_points;
/* Maps with members. */
extern const CudaKind cuda_kind_members;
/* Plain products that a library computes (cuda_library.h). */
extern const CudaKind cuda_kind_library;
/* Products with one pair sum, both gradients by one kernel. */
extern const CudaKind cuda_kind_joint;
/* Products with pair sums, as several programs. */
extern const CudaKind cuda_kind_pairs;
/* The program without its pair sums; instructions and tensors keep their numbers. */
TileProgram *cuda_without_pairs(Arena *arena, const TileProgram *p);
/* Products with few results and long sums: a warp for each. */
extern const CudaKind cuda_kind_dots;
/* Products in tiles, on matrix units where the program's math allows (cuda_contract.h). */
extern const CudaKind cuda_kind_tiles;
/* Depthwise convolutions and their gradients (cuda_stencil.h). */
extern const CudaKind cuda_kind_stencil;
/* Attention and its gradients, in tiles of queries and keys. */
extern const CudaKind cuda_kind_attend;
/* Sums into computed positions. */
extern const CudaKind cuda_kind_scatter;
/* Maps with reductions, in one pass. */
extern const CudaKind cuda_kind_map;

/* The anchor's sum at the point at hand, by plain loops, or from the workspace if it is there
 * (c->has_sums); sets c->acc. Nothing for a map. */
void cuda_plain_anchor(CudaText *c);
/* Stores of the program at the point at hand. */
void cuda_plain_stores(CudaText *c);
/* A loop for each of the axes, within the recording's samples where these are one of them. */
void cuda_open_loops(CudaText *c, const int *axes, int n);
/* Where a recording's samples cut the batch axis: the condition under which the point at hand is
 * outside; NULL when there is none. */
const char *cuda_outside(const CudaText *c);

#endif
