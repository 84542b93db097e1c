/* Views: the same elements under other axes. */
#include "ir/ops/rules.h"

/* The operand's shape with axis p replaced by one or two others. */
static bool replace_axis(const RuleCx *cx, int p, int n_new, const char *const *name,
                         const int64_t *size, Shape *out)
{
    const Shape *s = &rule_operand(cx, 0)->shape;
    for (int i = 0; i < s->rank; i++) {
        if (i != p && !rule_add_axis(cx, out, s->name[i], s->size[i]))
            return false;
        for (int j = 0; i == p && j < n_new; j++)
            if (!rule_add_axis(cx, out, name[j], size[j]))
                return false;
    }
    return true;
}

static void copy(const EvalCx *cx)
{
    memcpy(cx->out->at, cx->in[0]->at, sizeof *cx->out->at * (size_t)shape_elems(&cx->out->shape));
}

/* Copies along a walk over the operand whose slot 0 is the operand and slot 1 the result. */
static void scatter(const EvalCx *cx, Walk *w)
{
    for (; !w->done; walk_next(w))
        cx->out->at[w->offset[1]] = cx->in[0]->at[w->offset[0]];
}

/* ---- rename: axis -> axis2 ---- */

bool shape_rename(const RuleCx *cx, Shape *out)
{
    const Attrs *a = &cx->node->attrs;
    int p = rule_find_axis(cx, 0, a->axis);
    if (p < 0)
        return false;
    return replace_axis(cx, p, 1, (const char *[]){a->axis2},
                        (int64_t[]){rule_operand(cx, 0)->shape.size[p]}, out);
}

void eval_rename(const EvalCx *cx)
{
    copy(cx);
}

void grad_rename(Func *f, const Node *y, Val dy, Val *din)
{
    din[0] = func_rename(f, dy, y->attrs.axis2, y->attrs.axis);
}

/* ---- split: axis -> axis2 (outer, size0), axis3 (inner) ---- */

bool shape_split(const RuleCx *cx, Shape *out)
{
    const Attrs *a = &cx->node->attrs;
    int p = rule_find_axis(cx, 0, a->axis);
    if (p < 0)
        return false;
    int64_t size = rule_operand(cx, 0)->shape.size[p];
    if (a->size0 < 1 || size % a->size0) {
        diag_error(cx->diags, DIAG_E0250, cx->node->span,
                   "split: axis '%s' of %s cannot be cut into %lld equal parts", a->axis,
                   rule_operand_text(cx, 0), (long long)a->size0);
        return false;
    }
    return replace_axis(cx, p, 2, (const char *[]){a->axis2, a->axis3},
                        (int64_t[]){a->size0, size / a->size0}, out);
}

void eval_split(const EvalCx *cx)
{
    copy(cx);
}

void grad_split(Func *f, const Node *y, Val dy, Val *din)
{
    din[0] = func_merge(f, dy, y->attrs.axis2, y->attrs.axis3, y->attrs.axis);
}

/* ---- merge: axis2 (outer), axis3 (inner) -> axis, where axis2 stood ---- */

bool shape_merge(const RuleCx *cx, Shape *out)
{
    const Attrs *a = &cx->node->attrs;
    int outer = rule_find_axis(cx, 0, a->axis2), inner = rule_find_axis(cx, 0, a->axis3);
    if (outer < 0 || inner < 0)
        return false;
    if (outer == inner) {
        diag_error(cx->diags, DIAG_E0212, cx->node->span, "merge: axis '%s' is named twice",
                   a->axis2);
        return false;
    }
    const Shape *s = &rule_operand(cx, 0)->shape;
    for (int i = 0; i < s->rank; i++) {
        const char *name = i == outer ? a->axis : s->name[i];
        int64_t size = i == outer ? s->size[outer] * s->size[inner] : s->size[i];
        if (i != inner && !rule_add_axis(cx, out, name, size))
            return false;
    }
    return true;
}

void eval_merge(const EvalCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    const Shape *x = &cx->in[0]->shape;
    Walk w = {0};
    walk_axes(&w, x);
    walk_tensor(&w, x);
    int slot = walk_tensor(&w, &cx->out->shape);
    int64_t stride[MAX_RANK];
    shape_strides(&cx->out->shape, stride);
    int64_t merged = stride[shape_axis(&cx->out->shape, a->axis)];
    int outer = shape_axis(x, a->axis2), inner = shape_axis(x, a->axis3);
    w.stride[slot][outer] = merged * x->size[inner];
    w.stride[slot][inner] = merged;
    scatter(cx, &w);
}

void grad_merge(Func *f, const Node *y, Val dy, Val *din)
{
    const Attrs *a = &y->attrs;
    const Shape x = *func_shape(f, y->in[0]);
    AxisList order = shape_axes(&x);
    Val parts = func_split(f, dy, a->axis, a->axis2, a->axis3, x.size[shape_axis(&x, a->axis2)]);
    din[0] = func_reorder(f, parts, &order);
}

/* ---- reorder: the same axes in the order `out` ---- */

bool shape_reorder(const RuleCx *cx, Shape *out)
{
    return rule_order(cx, &rule_operand(cx, 0)->shape, &cx->node->attrs.out, out);
}

void eval_reorder(const EvalCx *cx)
{
    Walk w = {0};
    walk_axes(&w, &cx->in[0]->shape);
    walk_tensor(&w, &cx->in[0]->shape);
    walk_tensor(&w, &cx->out->shape);
    scatter(cx, &w);
}

void grad_reorder(Func *f, const Node *y, Val dy, Val *din)
{
    AxisList order = shape_axes(func_shape(f, y->in[0]));
    din[0] = func_reorder(f, dy, &order);
}

#define NO_COST(rules)                                                                             \
    double cost_##rules(const Func *f, const Node *n)                                              \
    {                                                                                              \
        (void)f, (void)n;                                                                          \
        return 0;                                                                                  \
    }

NO_COST(rename)
NO_COST(split)
NO_COST(merge)
NO_COST(reorder)
