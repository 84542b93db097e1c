/* Sums and variances over axes; the remaining axes keep their order. */
#include "ir/ops/rules.h"

static bool shape_reduce(const RuleCx *cx, Shape *out)
{
    const AxisList *over = &cx->node->attrs.over;
    const Shape *s = &rule_operand(cx, 0)->shape;
    if (!rule_check_list(cx, over))
        return false;
    for (int i = 0; i < over->n; i++)
        if (rule_find_axis(cx, 0, over->name[i]) < 0)
            return false;
    for (int i = 0; i < s->rank; i++)
        if (!list_has(over, s->name[i]))
            shape_add(out, s->name[i], s->size[i]);
    return true;
}

/* Slot 0: the operand, in its order; slot 1: the result. */
static Walk reduce_walk(const EvalCx *cx)
{
    Walk w = {0};
    walk_axes(&w, &cx->in[0]->shape);
    walk_tensor(&w, &cx->in[0]->shape);
    walk_tensor(&w, &cx->out->shape);
    return w;
}

/* Elements summed into one. */
static double reduced(const Shape *in, const Shape *out)
{
    return (double)shape_elems(in) / (double)shape_elems(out);
}

static void scale_all(EvalTensor *t, double factor)
{
    int64_t n = shape_elems(&t->shape);
    for (int64_t i = 0; i < n; i++)
        t->at[i] *= factor;
}

/* ---- sum: k0 times the sum ---- */

bool shape_sum(const RuleCx *cx, Shape *out)
{
    return shape_reduce(cx, out);
}

void eval_sum(const EvalCx *cx)
{
    for (Walk w = reduce_walk(cx); !w.done; walk_next(&w))
        cx->out->at[w.offset[1]] += cx->in[0]->at[w.offset[0]];
    scale_all(cx->out, cx->node->attrs.k[0]);
}

/* dx = k0 dy at every element; the constant has the operand's axes, so it gives shape and order. */
void grad_sum(Func *f, const Node *y, Val dy, Val *din)
{
    const Shape x = *func_shape(f, y->in[0]);
    din[0] = func_emit2(f, OP_MUL, func_fill(f, y->attrs.k[0], &x), dy);
}

double cost_sum(const Func *f, const Node *n)
{
    return (double)shape_elems(func_shape(f, n->in[0]));
}

/* ---- variance: k0 times the biased variance, mean of squares around the mean ---- */

bool shape_variance(const RuleCx *cx, Shape *out)
{
    return shape_reduce(cx, out);
}

void eval_variance(const EvalCx *cx)
{
    double n = reduced(&cx->in[0]->shape, &cx->out->shape);
    double *mean = ARENA_ARRAY(cx->arena, double, (size_t)shape_elems(&cx->out->shape));
    for (Walk w = reduce_walk(cx); !w.done; walk_next(&w))
        mean[w.offset[1]] += cx->in[0]->at[w.offset[0]] / n;
    for (Walk w = reduce_walk(cx); !w.done; walk_next(&w)) {
        double d = cx->in[0]->at[w.offset[0]] - mean[w.offset[1]];
        cx->out->at[w.offset[1]] += d * d;
    }
    scale_all(cx->out, cx->node->attrs.k[0] / n);
}

/* dx = 2 k0 / n (x - mean) dy */
void grad_variance(Func *f, const Node *y, Val dy, Val *din)
{
    Val x = y->in[0];
    double k = 2 * y->attrs.k[0] / reduced(func_shape(f, x), &y->shape);
    Val mean = func_mean(f, x, &y->attrs.over);
    din[0] = func_map(f, "k0 * (a - b) * c", &k, 1, (Val[]){x, mean, dy}, 3);
}

/* one pass for the mean, one for the squares: add; subtract, multiply, add */
double cost_variance(const Func *f, const Node *n)
{
    return 4 * (double)shape_elems(func_shape(f, n->in[0]));
}
