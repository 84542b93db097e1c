/* Runs a function through the passes, fusion and a tile executor, and compares every result with
 * the float64 reference. */
#ifndef NPC_TESTS_OPS_PLAN_CHECK_H
#define NPC_TESTS_OPS_PLAN_CHECK_H

#include "ir/eval.h"
#include "passes/plan.h"

typedef struct PlanCheck {
    ProgramKind kind;
    FuseLevel fuse;
    TargetTraits target;
    PrecisionMode precision;
    RecomputeMode recompute;
    uint64_t seed;
    /* Runs one launch; NULL: the tile interpreter. */
    void (*run)(void *context, const Plan *plan, int launch, float *const *tensor, void *workspace);
    Status (*prepare)(void *context, const Plan *plan, Err *err);
    CostOf cost_of;
    void *context;
    double tolerance;
} PlanCheck;

/* NULL when all results agree, or a sentence (in m's arena). The module's function "train" (or
 * "eval") is used. */
const char *plan_check(Module *m, const PlanCheck *c);

#endif
