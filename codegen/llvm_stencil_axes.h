/* What the schedules of convolutions share (llvm_stencil.c, llvm_conv.c and their weight
 * gradients): which axes become tasks and which a tile's region covers, code at a block of
 * channels, loops over taps. */
#ifndef NPC_CODEGEN_LLVM_STENCIL_AXES_H
#define NPC_CODEGEN_LLVM_STENCIL_AXES_H

#include "codegen/llvm_region.h"

/* Bits of the stencils' axes of one role. */
typedef struct StencilAxes {
    uint32_t out, tap, in;
    bool distinct; /* no two stencils share one of a role */
} StencilAxes;

StencilAxes stencil_axes(const TileProgram *p);

/* Splits all axes but `channel` for a program that stores outputs, or for a weight gradient:
 * samples, axes that moments keep and axes stored outside of channels go to `outer`, the rest to
 * the region, with `blocks` channel blocks in scratch. False when the region has too many
 * dimensions. */
bool stencil_split(const TileProgram *p, int channel, int lanes, int64_t blocks, Outer *outer,
                   Region *region);
bool stencil_dw_split(const TileProgram *p, int channel, int lanes, int64_t blocks, Outer *outer,
                      Region *region);

/* A new Code at a block of `axis` of a sample; lanes beyond the axis are masked. */
Code *stencil_code(Emitter *e, const TileProgram *p, const Outer *outer, int axis, int lanes,
                   Value sample, Value block);

/* A loop over all taps, each of which the Code enters; `index` counts them. */
typedef struct TapLoop {
    EmitLoop loop;
    Code *code;
    const TileProgram *p;
    Value index;
} TapLoop;

void taps_begin(TapLoop *l, Emitter *e, Code *code, const TileProgram *p, int64_t taps);
void taps_end(TapLoop *l, Emitter *e);

/* Evaluates a row of output gradients (p->rhs) along the region's last dimension into `row`, a
 * vector each. */
void stencil_dw_row(Code *dy, FlatPlace *place, const Region *r, const RegionAt *at, Value row);

/* What the epilogue has in common over a row, before its loop. */
void stencil_hoist(Code *code, const TileProgram *p);

#endif
