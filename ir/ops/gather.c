/* gather: y[.., j.., ..] = x[.., index[.., j..], ..]: an axis of x read at positions computed at
 * run time. The axes of index that x lacks take the place of the axis; those of both are met by
 * name. scatter: y[.., p, ..] = sum over the axes `over` of those a for which index is p.
 *
 * Positions are rounded to the nearest whole number; outside of the axis gather reads 0 and
 * scatter drops. The two are each other's gradient; positions have none. */
#include "ir/ops/rules.h"

static bool check_shared(const RuleCx *cx, const char *except)
{
    const Shape *x = &rule_operand(cx, 0)->shape, *index = &rule_operand(cx, 1)->shape;
    for (int i = 0; i < index->rank; i++) {
        int p = shape_axis(x, index->name[i]);
        if (p < 0)
            continue;
        if (index->name[i] == except) {
            diag_error(cx->diags, DIAG_E0212, cx->node->span,
                       "%s: the positions on axis '%s' have that axis themselves",
                       op_text(cx->node->op), except);
            return false;
        }
        if (x->size[p] != index->size[i])
            return rule_sizes_differ(cx, 0, 1, index->name[i]);
    }
    return true;
}

bool shape_gather(const RuleCx *cx, Shape *out)
{
    const Shape *x = &rule_operand(cx, 0)->shape, *index = &rule_operand(cx, 1)->shape;
    int at = rule_find_axis(cx, 0, cx->node->attrs.axis);
    if (at < 0 || !check_shared(cx, x->name[at]))
        return false;
    for (int i = 0; i < x->rank; i++) {
        if (i != at && !rule_add_axis(cx, out, x->name[i], x->size[i]))
            return false;
        for (int k = 0; i == at && k < index->rank; k++)
            if (shape_axis(x, index->name[k]) < 0 &&
                !rule_add_axis(cx, out, index->name[k], index->size[k]))
                return false;
    }
    return true;
}

bool shape_scatter(const RuleCx *cx, Shape *out)
{
    const Attrs *a = &cx->node->attrs;
    const Shape *x = &rule_operand(cx, 0)->shape, *index = &rule_operand(cx, 1)->shape;
    bool placed = false;
    if (!rule_check_list(cx, &a->over) || !check_shared(cx, a->axis))
        return false;
    for (int i = 0; i < a->over.n; i++)
        if (rule_find_axis(cx, 0, a->over.name[i]) < 0)
            return false;
    for (int i = 0; i < index->rank; i++)
        if (rule_find_axis(cx, 0, index->name[i]) < 0)
            return false;
    for (int i = 0; i < x->rank; i++) {
        bool summed = list_has(&a->over, x->name[i]);
        if (summed && placed)
            continue;
        if (!rule_add_axis(cx, out, summed ? a->axis : x->name[i], summed ? a->size0 : x->size[i]))
            return false;
        placed |= summed;
    }
    return placed || rule_add_axis(cx, out, a->axis, a->size0);
}

/* The stride of the axis in a tensor, its size, and the walk over everything with that axis fixed.
 */
typedef struct Positions {
    Walk walk;
    int64_t step, size;
    int dense, wide, index; /* slots: the tensor without the axis, the one with it, positions */
} Positions;

static Positions begin(const Shape *dense, const Shape *wide, const Shape *index, const char *axis)
{
    Positions p = {0};
    int64_t stride[MAX_RANK];
    int at = shape_axis(wide, axis);
    shape_strides(wide, stride);
    p.step = stride[at];
    p.size = wide->size[at];
    walk_axes(&p.walk, dense);
    p.dense = walk_tensor(&p.walk, dense);
    p.wide = walk_tensor(&p.walk, wide);
    p.index = walk_tensor(&p.walk, index);
    return p;
}

/* Where the element of `wide` lies; -1 outside. */
static int64_t locate(const Positions *p, const double *index)
{
    double at = index[p->walk.offset[p->index]] + 0.5;
    return at >= 0 && at < (double)p->size ? p->walk.offset[p->wide] + (int64_t)at * p->step : -1;
}

void eval_gather(const EvalCx *cx)
{
    const EvalTensor *x = cx->in[0], *index = cx->in[1];
    Positions p = begin(&cx->out->shape, &x->shape, &index->shape, cx->node->attrs.axis);
    for (; !p.walk.done; walk_next(&p.walk)) {
        int64_t from = locate(&p, index->at);
        cx->out->at[p.walk.offset[p.dense]] = from < 0 ? 0 : x->at[from];
    }
}

void eval_scatter(const EvalCx *cx)
{
    const EvalTensor *x = cx->in[0], *index = cx->in[1];
    Positions p = begin(&x->shape, &cx->out->shape, &index->shape, cx->node->attrs.axis);
    for (; !p.walk.done; walk_next(&p.walk)) {
        int64_t to = locate(&p, index->at);
        if (to >= 0)
            cx->out->at[to] += x->at[p.walk.offset[p.dense]];
    }
}

void grad_gather(Func *f, const Node *y, Val dy, Val *din)
{
    const Shape x = *func_shape(f, y->in[0]), index = *func_shape(f, y->in[1]);
    Attrs a = {.axis = y->attrs.axis,
               .size0 = x.size[shape_axis(&x, y->attrs.axis)],
               .over = shape_missing(&index, &x)};
    din[0] = grad_fit(f, func_emit(f, OP_SCATTER, &a, (Val[]){dy, y->in[1]}, 2), &x);
}

void grad_scatter(Func *f, const Node *y, Val dy, Val *din)
{
    const Shape x = *func_shape(f, y->in[0]);
    Attrs a = {.axis = y->attrs.axis};
    din[0] = grad_fit(f, func_emit(f, OP_GATHER, &a, (Val[]){dy, y->in[1]}, 2), &x);
}

double cost_gather(const Func *f, const Node *n)
{
    (void)f, (void)n;
    return 0;
}

double cost_scatter(const Func *f, const Node *n)
{
    return (double)shape_elems(func_shape(f, n->in[0]));
}
