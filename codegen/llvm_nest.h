/* Loop nests of the general schedule.
 *
 * The parallel axes become loops, outermost first in the order of the main tensor's storage, one of
 * them (the lane axis) in steps of a vector. The first n_outer loops, and pieces of the next where
 * that is cut, make rows: a row is a task. What is inside a row are the inner loops.
 *
 * Axes that always go together are merged first, so that a program over equal plain tensors is one
 * long loop. */
#ifndef NPC_CODEGEN_LLVM_NEST_H
#define NPC_CODEGEN_LLVM_NEST_H

#include "codegen/llvm_emit.h"

typedef struct NestLoop {
    int axis;
    int64_t n;    /* rounds */
    int64_t step; /* of the axis per round */
} NestLoop;

typedef struct Nest {
    const TileProgram *p;
    int lane_axis, lanes; /* -1, 1: scalar code */
    int n_loops, n_outer;
    NestLoop loop[TILE_MAX_AXES];
    int64_t chunk;    /* rounds of loop[n_outer] in a row */
    int64_t n_chunks; /* 1: not cut */
    bool by_sample;   /* loop[0] is the batch axis and runs over the call's range only */
    int64_t rows;     /* product of the outer loops and n_chunks, for the full batch */
} Nest;

/* The program with merged axes; a merged axis keeps the number of its outer part, the inner part
 * stays as an axis of size 1. */
const TileProgram *nest_merge_axes(Arena *arena, const TileProgram *p);
/* Loops (bits) whose axes a reduction's result has. */
unsigned nest_kept_loops(const Nest *nest, const TileReduction *r);
void nest_plan(Arena *arena, Nest *nest, const TileProgram *merged, const Target *target);

#endif
