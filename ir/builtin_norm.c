/* Norms, and what differs between training and evaluation: batchnorm, drop_path, dropout. */
#include "ir/builtin.h"

static Val channel_param(OpCall *c, const char *role, double value, bool is_state)
{
    const char *axis = c->arg[0].text;
    ParamSpec p = {.op = c->def->name,
                   .label = c->label,
                   .role = role,
                   .fan_in = 1,
                   .fan_out = 1,
                   .init = {.kind = INIT_CONSTANT, .a = value},
                   .is_state = is_state,
                   .span = c->span};
    shape_add(&p.shape, axis, op_axis_size(c, axis));
    return el_param(c->el, &p);
}

/* state <- (1 - momentum) state + momentum factor batch */
static void update(OpCall *c, const char *role, Val state, Val batch, double momentum,
                   double factor)
{
    Attrs a = {.k = {1 - momentum, momentum * factor}};
    Val next = func_emit(c->el->func, OP_LERP, &a, (Val[]){state, batch}, 2);
    func_result(c->el->func, RESULT_STATE, el_path_join(c->el, c->label, role), next);
}

/* Evaluation: running moments. Training: those of the batch, over every axis but the channels'; the
 * running variance gets the unbiased one, n / (n - 1). */
Val emit_batchnorm(OpCall *c)
{
    Func *f = c->el->func;
    const Shape *s = op_shape_of(c);
    double eps = c->arg[1].real, momentum = c->arg[2].real;
    AxisList over = {0};
    double n = 1;
    for (int i = 0; i < s->rank; i++)
        if (s->name[i] != c->arg[0].text) {
            over.name[over.n++] = s->name[i];
            n *= (double)s->size[i];
        }
    Val scale = channel_param(c, "scale", 1, false), shift = channel_param(c, "shift", 0, false);
    Val mean = channel_param(c, "mean", 0, true), var = channel_param(c, "var", 1, true);
    if (c->el->is_training) {
        Val batch_mean = func_mean(f, c->x, &over), batch_var = func_variance(f, c->x, &over, 1);
        update(c, "mean", mean, batch_mean, momentum, 1);
        update(c, "var", var, batch_var, momentum, n > 1 ? n / (n - 1) : 1);
        mean = batch_mean;
        var = batch_var;
    }
    return func_emit(f, OP_BATCHNORM, &(Attrs){.k = {eps}}, (Val[]){c->x, mean, var, scale, shift},
                     5);
}

Val emit_layernorm(OpCall *c)
{
    Func *f = c->el->func;
    const Arg *axes = &c->arg[0];
    AxisList over = {.n = axes->n};
    ParamSpec p = {.op = c->def->name,
                   .label = c->label,
                   .role = "scale",
                   .fan_in = 1,
                   .fan_out = 1,
                   .init = {.kind = INIT_CONSTANT, .a = 1},
                   .span = c->span};
    for (int i = 0; i < axes->n; i++) {
        over.name[i] = axes->axis[i].axis;
        shape_add(&p.shape, over.name[i], op_axis_size(c, over.name[i]));
    }
    Val scale = el_param(c->el, &p);
    p.role = "shift";
    p.init.a = 0;
    Val shift = el_param(c->el, &p);
    Val mean = func_mean(f, c->x, &over), var = func_variance(f, c->x, &over, 1);
    return func_emit(f, OP_LAYERNORM, &(Attrs){.k = {c->arg[1].real}},
                     (Val[]){c->x, mean, var, scale, shift}, 5);
}

static Val drop(OpCall *c, double rate, const Shape *shape)
{
    Func *f = c->el->func;
    if (!c->el->is_training || rate == 0 || c->el->options->no_dropping)
        return c->x;
    Val kept = func_emit2(f, OP_MUL, c->x, func_random(f, c->label, rate, shape));
    return func_scale(f, kept, 1 / (1 - rate));
}

Val emit_drop_path(OpCall *c)
{
    Shape batch = {0};
    const Arg *per = &c->arg[1];
    const char *b = name_intern(c->el->names, "b");
    for (int i = 0; i < per->n; i++)
        shape_add(&batch, per->axis[i].axis, op_axis_size(c, per->axis[i].axis));
    if (per->n)
        return drop(c, c->arg[0].real, &batch);
    int64_t size = op_axis_size(c, b);
    if (!size) {
        el_error(c->el, DIAG_E0211, c->span, "'drop_path' needs the axis 'b' of samples");
        el_note(c->el, c->span, "the value here is %s", el_shape_text(c->el, op_shape_of(c)));
        return VAL_NONE;
    }
    shape_add(&batch, b, size);
    return drop(c, c->arg[0].real, &batch);
}

Val emit_dropout(OpCall *c)
{
    const Shape *s = op_shape_of(c);
    const Arg *shared = &c->arg[1];
    Shape own = {0};
    for (int i = 0; i < s->rank; i++) {
        bool is_shared = false;
        for (int k = 0; k < shared->n; k++)
            is_shared |= shared->axis[k].axis == s->name[i];
        if (!is_shared)
            shape_add(&own, s->name[i], s->size[i]);
    }
    return drop(c, c->arg[0].real, &own);
}
