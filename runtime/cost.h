/* What a model costs, from its plans alone: nothing runs, nothing is allocated. */
#ifndef NPC_RUNTIME_COST_H
#define NPC_RUNTIME_COST_H

#include "runtime/model.h"

/* Multiply-adds of one clip in evaluation, all recordings' readouts included: one for every use of
 * a weight by a product or convolution, padded taps included, element-wise work and reductions
 * left out. part: index into Module.parts; -1 all. Source: specs/dwiseneuro.md, section 7. */
int64_t cost_multiply_adds(const Model *m, int part);
/* Numbers in the parameters of a part, those of the parts inside of it left out. */
int64_t cost_parameters(const Model *m, int part);

/* Bytes that stay allocated for a program and its batch. */
typedef struct CostMemory {
    int64_t parameters, states; /* learned; running statistics and the like */
    int64_t optimizer, average; /* moments; moving average of parameters and states */
    int64_t activations;        /* the arena, workspace of the kernels included */
    int64_t workspace;          /* the largest kernel's part of it */
    int64_t prepared, inputs;   /* weights in another form; clips, targets, random masks */
    int64_t total;
} CostMemory;

/* training: with the optimizer's moments and the average. */
CostMemory cost_memory(const Model *m, const Plan *plan, bool training);

/* Launches of every call that a library computes, and their share of the arithmetic. */
int cost_library(const Plan *plan, double *flops);
/* Kernels that share no code. */
int cost_distinct_kernels(const Plan *plan);

#endif
