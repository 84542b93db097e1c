/* index: one axis read through a constant table. y[.., i, ..] = x[.., table[i], ..], 0 where
 * table[i] is -1. Serves resizing by nearest neighbour, shifts with zero fill, repetition and
 * shuffling of channels. */
#include "ir/ops/rules.h"

bool shape_index(const RuleCx *cx, Shape *out)
{
    const Attrs *a = &cx->node->attrs;
    const Shape *s = &rule_operand(cx, 0)->shape;
    int p = rule_find_axis(cx, 0, a->axis);
    if (p < 0)
        return false;
    for (int64_t i = 0; i < a->table_len; i++)
        if (a->table[i] < -1 || a->table[i] >= s->size[p]) {
            diag_error(cx->diags, DIAG_E0231, cx->node->span,
                       "index: entry %lld of the table is %d, but axis '%s' of %s was expected to "
                       "have that index",
                       (long long)i, (int)a->table[i], a->axis, rule_operand_text(cx, 0));
            return false;
        }
    for (int i = 0; i < s->rank; i++)
        if (!rule_add_axis(cx, out, i == p ? a->axis2 : s->name[i],
                           i == p ? a->table_len : s->size[i]))
            return false;
    return true;
}

void eval_index(const EvalCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    const Shape *x = &cx->in[0]->shape;
    int64_t stride[MAX_RANK];
    shape_strides(x, stride);
    int64_t step = stride[shape_axis(x, a->axis)];
    Walk w = {0};
    walk_axes(&w, &cx->out->shape);
    int slot = walk_tensor(&w, x), axis = walk_find(&w, a->axis2);
    w.stride[slot][axis] = 0;
    for (int64_t o = 0; !w.done; walk_next(&w), o++) {
        int32_t i = a->table[w.index[axis]];
        cx->out->at[o] = i < 0 ? 0 : cx->in[0]->at[w.offset[slot] + i * step];
    }
}

/* An element read by several results gets the sum of their gradients: gradient r reads the r-th
 * result of each element, or nothing. */
void grad_index(Func *f, const Node *y, Val dy, Val *din)
{
    const Attrs *a = &y->attrs;
    const Shape x = *func_shape(f, y->in[0]);
    int64_t n = x.size[shape_axis(&x, a->axis)];
    int32_t *table = ARENA_ARRAY(f->module->arena, int32_t, (size_t)n);
    int32_t *next =
        ARENA_ARRAY(f->module->arena, int32_t, (size_t)n); /* first result not yet read */
    Val sum = VAL_NONE;
    for (;;) {
        bool any = false;
        for (int64_t j = 0; j < n; j++) {
            while (next[j] < a->table_len && a->table[next[j]] != j)
                next[j]++;
            table[j] = next[j] < a->table_len ? next[j]++ : -1;
            any |= table[j] >= 0;
        }
        if (!any)
            break;
        Val part = func_index(f, dy, a->axis2, a->axis, table, n);
        sum = sum.id ? func_emit2(f, OP_ADD, sum, part) : part;
    }
    din[0] = sum.id ? sum : func_fill(f, 0, &x);
}

double cost_index(const Func *f, const Node *n)
{
    (void)f, (void)n;
    return 0;
}
