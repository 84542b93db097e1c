/* The input region of a tile of outputs: what all convolutions share.
 *
 * The positions of one channel block (all axes but samples and channels) are cut into tiles, a task
 * each. The inputs that a tile needs are evaluated once, prologue applied, into scratch, with zeros
 * where the convolution reads beyond the edge; then every tap is a read at a constant distance.
 *
 * A dimension is an output axis with a stencil, or an axis without (plain); plain axes at the end
 * of storage are walked as one. A transposed stencil of stride s is s phases: outputs r, r + s,
 * r + 2 s, .. read neighbouring inputs with the taps for which r + pad - tap * dilation is a
 * multiple of s. */
#ifndef NPC_CODEGEN_LLVM_REGION_H
#define NPC_CODEGEN_LLVM_REGION_H

#include "codegen/llvm_space.h"

enum { REGION_MAX_DIMS = 8, REGION_MAX_TAPS = 512 };

typedef struct RegionDim {
    Flat out, in;               /* axes of outputs and inputs; the same when plain */
    const TileStencil *stencil; /* NULL: plain */
    int64_t taps;               /* 1 when plain */
    int64_t tap_stride;         /* in the index over all taps */
    int64_t tile, tiles;        /* outputs of a tile; tiles */
    int64_t extent;             /* input positions of a tile's region */
    int64_t low;                /* input position where the region of tile 0 begins */
    int64_t stride;             /* of the region in scratch, floats */
} RegionDim;

typedef struct Region {
    const TileProgram *p;
    int lanes, n;
    RegionDim dim[REGION_MAX_DIMS];
    int64_t taps;   /* of all stencils: index over tap axes in the order of the stencils */
    int64_t parts;  /* tiles of all dimensions */
    int64_t floats; /* of the region in scratch, of one channel block */
    int64_t blocks; /* channel blocks that are in scratch at once */
} Region;

/* Dimensions over `axes` (output axes in the order of storage, the batch and channels left out).
 * False when there are too many. */
bool region_init(Region *r, const TileProgram *p, const Flat *axes, int lanes, int64_t blocks);

/* Where a task's tile lies. */
typedef struct RegionAt {
    Value first[REGION_MAX_DIMS], count[REGION_MAX_DIMS]; /* outputs */
    Value start[REGION_MAX_DIMS];                         /* input position of the region */
} RegionAt;

void region_place(Emitter *e, const Region *r, Value part, RegionAt *at);
Value region_outputs(Emitter *e, const Region *r, const RegionAt *at); /* how many the tile has */
/* A place along the last dimension, of outputs or inputs, whose loads fetch the next row. */
FlatPlace region_row(const Region *r, bool inputs);
/* Evaluates `inst` on the region, into `to`. The Code has entered samples and channels. */
void region_fill(Code *c, const Region *r, const RegionAt *at, int inst, Value to);

/* A tap as its phase reads it. */
typedef struct RegionTap {
    int64_t index;  /* over all taps */
    int64_t offset; /* floats, from the first output's place */
} RegionTap;

/* Phases of a dimension: 1, or the stride when transposed. */
int64_t region_phases(const RegionDim *d);
/* Taps of one phase per dimension; how many. */
int region_taps(const Region *r, const int64_t *phase, RegionTap *taps);
/* Where outputs and inputs are one apart a tap's place is linear in its index on every axis: the
 * place of the first and the step of each stencil's. False where they are not. */
bool region_linear(const Region *r, int64_t *base, int64_t step[REGION_MAX_DIMS]);
/* Distances in a phase: outputs, and floats of the region, between neighbours. */
int64_t region_out_step(const RegionDim *d);
int64_t region_in_step(const RegionDim *d);
/* How many outputs of a phase the tile has. */
Value region_phase_count(Emitter *e, const RegionDim *d, Value count, int64_t phase);

#endif
