/* Reductions of the general schedule.
 *
 * A row gathers in scratch, per result element that it touches and per lane, float64 sums; of
 * variances the shift K (the first value seen), sum (x - K) and sum (x - K)^2. Only runs of at most
 * SUM_RUN rounds of the innermost loop are added in float32. At the end of a row the lanes are
 * brought together (unless the result keeps the lane axis). The outcome is the result itself when
 * no other row adds to it; else the row leaves it in the workspace and the second phase combines
 * rows in their order (Chan, Golub & LeVeque 1979 for variances), whatever thread computed them. */
#ifndef NPC_CODEGEN_LLVM_SUMS_H
#define NPC_CODEGEN_LLVM_SUMS_H

#include "codegen/llvm_nest.h"

enum { SUM_RUN = 64 };

typedef struct Sum {
    const TileReduction *r;
    bool variance;
    unsigned kept; /* loops (bits) whose axes the result has */
    bool keeps_lanes;
    bool direct;   /* rows write the result itself */
    bool carried;  /* the innermost loop is summed: values stay in registers along it */
    int64_t elems; /* result elements of a row, not counting lanes */
    int64_t scratch, workspace;    /* where, in bytes */
    int64_t tasks, elems_per_task; /* second phase */
} Sum;

/* Where the code of a row stands. */
typedef struct Row {
    Emitter *e;
    Code *c;
    const Nest *nest;
    const Sum *sum;
    int n_sums;
    Value number;               /* of the row, from 0 at the call's first sample */
    Value low, high;            /* rounds of the first inner loop */
    Value round[TILE_MAX_AXES]; /* per loop */
} Row;

/* Plans all reductions; *scratch and *workspace receive the bytes needed. */
Sum *sums_plan(Arena *arena, const Nest *nest, int64_t *scratch, int64_t *workspace);
int64_t sums_combine_tasks(const Sum *sum, int n);

/* Before the first inner loop. */
void sums_clear(Row *row);
/* Adds this place's value through memory. */
void sums_add(Row *row, const Sum *s);
/* The same along a loop: carried values to begin with, the next ones, and the flush after it. */
int sums_carry(Row *row, Value *carried);
void sums_step(Row *row, const Value *carried, Value *next);
void sums_flush(Row *row, const Value *carried);
/* After the last inner loop. */
void sums_finish(Row *row);

/* Body of the second phase. */
void sums_combine(Emitter *e, const Nest *nest, const Sum *sum, int n);
/* Enters axes of size 1. */
void nest_enter_unit_axes(Code *c, const Nest *nest);
/* Mask of the lane axis where its last block is not full; NULL when all blocks are. */
Value nest_mask(Code *c, const Nest *nest);

#endif
