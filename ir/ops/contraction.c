/* contract: y[out] = sum over `over` of a * b. Axes of both operands that are not summed are batch
 * axes; the others come from one operand each. */
#include "ir/ops/rules.h"

static bool check_shared(const RuleCx *cx)
{
    const Shape *a = &rule_operand(cx, 0)->shape, *b = &rule_operand(cx, 1)->shape;
    for (int i = 0; i < a->rank; i++) {
        int p = shape_axis(b, a->name[i]);
        if (p >= 0 && b->size[p] != a->size[i])
            return rule_sizes_differ(cx, 0, 1, a->name[i]);
    }
    return true;
}

bool shape_contract(const RuleCx *cx, Shape *out)
{
    const AxisList *over = &cx->node->attrs.over;
    if (!rule_check_list(cx, over))
        return false;
    for (int i = 0; i < over->n; i++)
        if (rule_find_axis(cx, 0, over->name[i]) < 0 || rule_find_axis(cx, 1, over->name[i]) < 0)
            return false;
    if (!check_shared(cx))
        return false;
    Shape all = {0};
    for (int k = 0; k < 2; k++) {
        const Shape *s = &rule_operand(cx, k)->shape;
        for (int i = 0; i < s->rank; i++) {
            bool kept = !list_has(over, s->name[i]) && shape_axis(&all, s->name[i]) < 0;
            if (kept && !rule_add_axis(cx, &all, s->name[i], s->size[i]))
                return false;
        }
    }
    return rule_order(cx, &all, &cx->node->attrs.out, out);
}

void eval_contract(const EvalCx *cx)
{
    const Shape *a = &cx->in[0]->shape, *b = &cx->in[1]->shape;
    Walk w = {0};
    walk_axes(&w, &cx->out->shape);
    walk_axes(&w, a);
    walk_tensor(&w, a);
    walk_tensor(&w, b);
    walk_tensor(&w, &cx->out->shape);
    for (; !w.done; walk_next(&w))
        cx->out->at[w.offset[2]] += cx->in[0]->at[w.offset[0]] * cx->in[1]->at[w.offset[1]];
}

/* da = dy b, summed over the axes of b that a lacks; the same for db. Where nothing is summed it is
 * no product of its own but a factor in whatever reads it. */
void grad_contract(Func *f, const Node *y, Val dy, Val *din)
{
    for (int i = 0; i < 2; i++) {
        const Shape own = *func_shape(f, y->in[i]), other = *func_shape(f, y->in[1 - i]);
        AxisList over = shape_missing(&other, &own), out = shape_axes(&own);
        din[i] = over.n ? func_contract(f, dy, y->in[1 - i], &over, &out)
                        : func_reorder(f, func_emit2(f, OP_MUL, dy, y->in[1 - i]), &out);
    }
}

double cost_contract(const Func *f, const Node *n)
{
    const Shape *a = func_shape(f, n->in[0]);
    double elems = (double)shape_elems(&n->shape);
    for (int i = 0; i < n->attrs.over.n; i++)
        elems *= (double)a->size[shape_axis(a, n->attrs.over.name[i])];
    return 2 * elems;
}
