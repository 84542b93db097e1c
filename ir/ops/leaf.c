/* Values without operands: inputs, parameters and states, constants, random masks. */
#include "ir/ops/rules.h"

/* The shape is given: only its form is checked. */
bool shape_leaf(const RuleCx *cx, Shape *out)
{
    const Shape *given = &cx->node->shape;
    for (int i = 0; i < given->rank; i++)
        if (!rule_add_axis(cx, out, given->name[i], given->size[i]))
            return false;
    return true;
}

bool shape_fill(const RuleCx *cx, Shape *out)
{
    return shape_leaf(cx, out);
}

bool shape_const(const RuleCx *cx, Shape *out)
{
    return shape_leaf(cx, out);
}

bool shape_iota(const RuleCx *cx, Shape *out)
{
    if (cx->node->shape.rank != 1) {
        diag_error(cx->diags, DIAG_E0250, cx->node->span, "iota has one axis, not %d",
                   cx->node->shape.rank);
        return false;
    }
    return shape_leaf(cx, out);
}

bool shape_random(const RuleCx *cx, Shape *out)
{
    double rate = cx->node->attrs.k[0];
    if (!(rate >= 0 && rate < 1)) {
        diag_error(cx->diags, DIAG_E0250, cx->node->span,
                   "random: the drop rate is %g, at least 0 and less than 1 was expected", rate);
        return false;
    }
    return shape_leaf(cx, out);
}

/* Filled in by the caller of eval_func. */
void eval_leaf(const EvalCx *cx)
{
    (void)cx;
}

void eval_random(const EvalCx *cx)
{
    (void)cx;
}

void eval_fill(const EvalCx *cx)
{
    int64_t n = shape_elems(&cx->out->shape);
    for (int64_t i = 0; i < n; i++)
        cx->out->at[i] = cx->node->attrs.k[0];
}

void eval_const(const EvalCx *cx)
{
    int64_t n = shape_elems(&cx->out->shape);
    for (int64_t i = 0; i < n; i++)
        cx->out->at[i] = (double)cx->node->attrs.data[i];
}

void eval_iota(const EvalCx *cx)
{
    int64_t n = shape_elems(&cx->out->shape);
    for (int64_t i = 0; i < n; i++)
        cx->out->at[i] = (double)i;
}

#define NO_OPERANDS(rules)                                                                         \
    void grad_##rules(Func *f, const Node *y, Val dy, Val *din)                                    \
    {                                                                                              \
        (void)f, (void)y, (void)dy, (void)din;                                                     \
    }                                                                                              \
    double cost_##rules(const Func *f, const Node *n)                                              \
    {                                                                                              \
        (void)f, (void)n;                                                                          \
        return 0;                                                                                  \
    }

NO_OPERANDS(leaf)
NO_OPERANDS(fill)
NO_OPERANDS(iota)
NO_OPERANDS(const)
NO_OPERANDS(random)
