/* What every op's rules are given, and what they share.
 *
 * A row of ops.def with the stem `sum` asks for shape_sum, eval_sum, grad_sum and cost_sum; a
 * missing one is a link error. Pointwise rows have the stem `pointwise`. The tables are in rules.c.
 *
 *   shape_  derives the node's shape from its operands; false after a diagnostic. May fill in
 *           attributes that follow from the operands (sizes of a stencil).
 *   eval_   the value in float64; cx->out->at is zeroed.
 *   grad_   emits the operands' gradients for an incoming dy of the shape of y, which is the value
 *           f->of; din[] starts as VAL_NONE.
 *   cost_   floating-point operations, a multiply-add counted as two. */
#ifndef NPC_IR_OPS_RULES_H
#define NPC_IR_OPS_RULES_H

#include "ir/eval.h"

typedef struct RuleCx {
    Diags *diags;
    const Func *func;
    Node *node; /* its shape is not known yet, except where it is given (leaves) */
} RuleCx;

typedef struct EvalCx {
    Arena *arena;
    const Node *node;
    const EvalTensor *const *in;
    EvalTensor *out;
} EvalCx;

#define POINTWISE(id, text, arity, n_consts, formula, ...)
#define OP(id, text, arity, attrs, rules, lowering)                                                \
    bool shape_##rules(const RuleCx *cx, Shape *out);                                              \
    void eval_##rules(const EvalCx *cx);                                                           \
    void grad_##rules(Func *f, const Node *y, Val dy, Val *din);                                   \
    double cost_##rules(const Func *f, const Node *n);
OP(, , , , pointwise, )
#include "ir/ops.def"
#undef POINTWISE
#undef OP

/* Derives the shape and checks what holds for every op. */
bool op_shape(const RuleCx *cx, Shape *out);
/* y = (x - mean) * (scale * rsqrt(var + eps)) + shift, see norm.c. */
void grad_batchnorm(Func *f, const Node *y, Val dy, Val *din);
void grad_layernorm(Func *f, const Node *y, Val dy, Val *din);

/* ---- for shape rules ---- */

static inline const Node *rule_operand(const RuleCx *cx, int i)
{
    return func_node(cx->func, cx->node->in[i]);
}
/* "f32[b=2, c=3]" of operand i. */
const char *rule_operand_text(const RuleCx *cx, int i);
/* E0203: operands i and j differ in size on `axis`. Returns false. */
bool rule_sizes_differ(const RuleCx *cx, int i, int j, const char *axis);
/* Position of the axis in operand i; E0211 and -1 when it is not there. */
int rule_find_axis(const RuleCx *cx, int i, const char *axis);
/* Appends an axis; E0212 when it stands already, E0004 beyond the rank limit. */
bool rule_add_axis(const RuleCx *cx, Shape *out, const char *axis, int64_t size);
/* Are the names of `list` distinct? E0212 otherwise. */
bool rule_check_list(const RuleCx *cx, const AxisList *list);
bool list_has(const AxisList *list, const char *name);
/* Union of the operands' axes in the order of the first operand of highest rank. */
bool rule_broadcast(const RuleCx *cx, Shape *out);
/* The axes of `all` in the order of `order`, which must name each of them once. */
bool rule_order(const RuleCx *cx, const Shape *all, const AxisList *order, Shape *out);

/* ---- for gradient rules ---- */

/* Sums over the axes that `want` lacks and brings the rest into its order. */
Val grad_fit(Func *f, Val v, const Shape *want);
/* The axes of a shape, as a list. */
AxisList shape_axes(const Shape *s);
/* The axes of `s` that `other` lacks. */
AxisList shape_missing(const Shape *s, const Shape *other);

/* ---- for evaluation: every point of a box of named axes, in row-major order ---- */

enum { WALK_RANK = 3 * MAX_RANK, WALK_TENSORS = MAX_OPERANDS + 1 };

typedef struct Walk {
    int rank, n_tensors;
    const char *name[WALK_RANK];
    int64_t size[WALK_RANK], index[WALK_RANK];
    int64_t stride[WALK_TENSORS][WALK_RANK]; /* a rule may change them before the first step */
    int64_t offset[WALK_TENSORS];            /* where the point lies in each tensor */
    bool done;
} Walk;

/* Adds the axes of the shape that are not there yet. */
void walk_axes(Walk *w, const Shape *s);
int walk_find(const Walk *w, const char *axis); /* -1 when absent */
/* A dense tensor that follows the axes of its names; after all axes are added. Returns its slot. */
int walk_tensor(Walk *w, const Shape *s);
void walk_next(Walk *w);

#endif
