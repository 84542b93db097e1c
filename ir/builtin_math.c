/* Pointwise functions and reductions. */
#include "ir/builtin.h"

/* The op of the IR that has the same name. */
Val emit_pointwise(OpCall *c)
{
    return func_emit1(c->el->func, op_find(c->def->name, strlen(c->def->name)), c->x);
}

Val emit_softplus(OpCall *c)
{
    const Arg *beta = &c->arg[0];
    if (!(beta->real > 0)) {
        el_error(c->el, DIAG_E0250, beta->span, "'beta' of softplus is above 0");
        return VAL_NONE;
    }
    return func_emit(c->el->func, OP_SOFTPLUS, &(Attrs){.k = {beta->real}}, &c->x, 1);
}

Val emit_clamp(OpCall *c)
{
    Func *f = c->el->func;
    const Shape scalar = {.rank = 0};
    double low = c->arg[0].real, high = c->arg[1].real;
    if (!(low <= high)) {
        el_error(c->el, DIAG_E0250, c->span, "'low' of clamp is not above 'high'");
        return VAL_NONE;
    }
    Val x = func_emit2(f, OP_MAXIMUM, c->x, func_fill(f, low, &scalar));
    return func_emit2(f, OP_MINIMUM, x, func_fill(f, high, &scalar));
}

static AxisList named_axes(const Arg *a)
{
    AxisList list = {.n = a->n};
    for (int i = 0; i < a->n; i++)
        list.name[i] = a->axis[i].axis;
    return list;
}

Val emit_mean(OpCall *c)
{
    AxisList over = named_axes(&c->arg[0]);
    return func_mean(c->el->func, c->x, &over);
}

Val emit_sum(OpCall *c)
{
    AxisList over = named_axes(&c->arg[0]);
    return func_sum(c->el->func, c->x, &over, 1);
}

/* A scalar, kept for the loss (elaborate_loss.c). */
Val emit_penalty(OpCall *c)
{
    Elaborator *el = c->el;
    const Shape *s = op_shape_of(c);
    AxisList all = {.n = s->rank};
    if (op_axis_size(c, name_intern(el->names, "b"))) {
        el_error(el, DIAG_E0211, c->span,
                 "a penalty is of parameters, not of samples: no axis 'b'");
        el_note(el, c->span, "the value here is %s", el_shape_text(el, s));
        return VAL_NONE;
    }
    for (int i = 0; i < s->rank; i++)
        all.name[i] = s->name[i];
    double weight = c->arg[0].real;
    Val y = all.n ? func_sum(el->func, c->x, &all, weight) : func_scale(el->func, c->x, weight);
    if (el->is_training && y.id)
        vec_push(el->arena, &el->penalties, (Penalty){y, el->session});
    return y;
}
