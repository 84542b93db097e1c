/* The reference: every op in plain C over float64, slow and obviously right. Everything fast is
 * compared with it. Values are dense arrays in logical row-major order. */
#ifndef NPC_IR_EVAL_H
#define NPC_IR_EVAL_H

#include "ir/base/status.h"
#include "ir/func.h"

typedef struct EvalTensor {
    Shape shape;
    double *at;
} EvalTensor;

/* Gives the value of a leaf (input, param, state, random) in logical order, or returns false:
 * fill `at` (shape_elems elements). */
typedef bool (*EvalLeaf)(void *context, const Node *leaf, double *at);

/* Values of all nodes of `f`, indexed by Val.id, allocated from `arena`. A leaf that is not given
 * is an error that names it. Sessions' sample ranges do not matter here: every sample is computed,
 * and weights of zero remove what does not count. */
Status eval_func(Arena *arena, const Func *f, EvalLeaf leaf, void *context, EvalTensor **values,
                 Err *err);

/* The same of samples that are sorted by recording: what nodes of a recording make of samples
 * outside of its range [first, first + count) is zero where shared nodes read it, as in plans.
 * `ranges` has one entry per session. */
typedef struct EvalRange {
    int64_t first, count;
} EvalRange;
Status eval_func_ranged(Arena *arena, const Func *f, EvalLeaf leaf, void *context,
                        const EvalRange *ranges, EvalTensor **values, Err *err);

/* One value that depends on constants only; NULL when it does not. */
const EvalTensor *eval_constant(Arena *arena, const Func *f, Val v);

/* One node from its operands' values. */
void eval_node(Arena *arena, const Func *f, Val v, const EvalTensor *const in[], EvalTensor *out);

#endif
