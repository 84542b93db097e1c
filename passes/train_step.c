/* train_step: every gradient becomes an AdamW update of its parameter and of the two moments,
 * written in place (RESULT_STATE); the gradients are no results any more.
 *
 * Inputs it adds, scalars filled by the runtime before each step: "rate"; "bias1", "bias2"
 * (1 - beta^k, k the number of updates), and "bias1/<recording>", "bias2/<recording>" for the
 * parameters of a recording's readout, which are updated only in steps with samples of it.
 * Needs autodiff done. Where updates ride behind gradients, one whose gradient is a merge (groups
 * of channels) is computed in the parts' shape, which is the same storage. The moments are states
 * "adam_m/<parameter>" and "adam_v/<parameter>".
 *
 * With accumulation (iter_size > 1) the gradients are added to the states "grad/<parameter>"
 * instead, and a program of its own updates from these.
 *
 * In f16 the gradients come scaled by the input "loss_scale" (autodiff.c). They are divided by it
 * here, and when one of them is not finite every parameter, moment and running statistic keeps its
 * value; the output "finite" is 1 or 0, by which the runtime chooses the next scale.
 *
 * average: state "ema/<name>" of every parameter and state moves towards it. */
#include "passes/pass.h"

static const Shape SCALAR = {.rank = 0};

static const char *prefixed(const Func *f, const char *prefix, const char *name)
{
    return name_intern(f->module->names, arena_printf(f->module->arena, "%s/%s", prefix, name));
}

/* The state "<prefix>/<parameter>", zero at first. */
static Val companion(Func *f, const char *prefix, const Param *p)
{
    const char *name = prefixed(f, prefix, p->name);
    if (!module_param(f->module, name)) {
        Param s = *p;
        s.name = name;
        s.is_state = true;
        s.init = (Init){.kind = INIT_CONSTANT};
        module_add_param(f->module, s);
    }
    return func_param(f, name);
}

static Val lerp(Func *f, Op op, Val old, Val value, double keep)
{
    Attrs a = {.k = {keep, 1 - keep}};
    return func_emit(f, op, &a, (Val[]){old, value}, 2);
}

static Val bias_input(Func *f, const char *name, int session)
{
    if (session >= 0)
        name = arena_printf(f->module->arena, "%s/%s", name, f->module->sessions.at[session].name);
    return func_input(f, name_intern(f->module->names, name), &SCALAR);
}

/* 1 when every gradient is finite: 0 x is 0 or not a number. */
static Val all_finite(Func *f, const Val *grad, uint32_t n)
{
    Val total = func_fill(f, 0, &SCALAR);
    for (uint32_t i = 0; i < n; i++) {
        AxisList all = {0};
        const Node g = *func_node(f, grad[i]);
        for (int d = 0; d < g.shape.rank; d++)
            all.name[all.n++] = g.shape.name[d];
        f->session = g.session;
        f->part = g.part;
        Val own = func_scale(f, grad[i], 0);
        own = all.n ? func_sum(f, own, &all, 1) : own;
        f->session = f->part = -1;
        total = func_emit2(f, OP_ADD, total, own);
    }
    Val finite = func_map(f, "where(a > -1, 1, 0)", NULL, 0, &total, 1);
    func_result(f, RESULT_OUTPUT, name_intern(f->module->names, "finite"), finite);
    return finite;
}

/* The new value, or the old one when some gradient is not finite. */
static Val guarded(Func *f, Val value, Val old, Val finite)
{
    return finite.id ? func_map(f, "where(c > 0, a, b)", NULL, 0, (Val[]){value, old, finite}, 3)
                     : value;
}

static Val unscaled(Func *f, Val grad, Val finite)
{
    if (!finite.id)
        return grad;
    Val scale = func_input(f, name_intern(f->module->names, "loss_scale"), &SCALAR);
    return func_emit2(f, OP_DIV, grad, scale);
}

/* A parameter or moment in the shape of `merge`'s operand. */
static Val parted(Func *f, Val v, const Node *merge)
{
    const Shape *parts = func_shape(f, merge->in[0]);
    return func_split(f, v, merge->attrs.axis, merge->attrs.axis2, merge->attrs.axis3,
                      parts->size[shape_axis(parts, merge->attrs.axis2)]);
}

static bool has_parts(const PassCx *cx, const Func *f, Val grad)
{
    const Node *n = func_node(f, grad);
    if (!cx->options->target.updates_behind || n->op != OP_MERGE)
        return false;
    const Shape *s = func_shape(f, n->in[0]);
    return shape_axis(s, n->attrs.axis3) == shape_axis(s, n->attrs.axis2) + 1;
}

/* `finite`: none unless gradients are scaled. */
static void update(PassCx *cx, Func *f, const char *name, Val grad, Val finite)
{
    const OptimizerAttrs *o = &cx->options->optimizer;
    const Param p = *module_param(f->module, name);

    f->session = p.session;
    f->part = func_node(f, grad)->part;
    f->span = p.span;
    f->backward = true;
    const bool in_parts = has_parts(cx, f, grad);
    const Node merge = *func_node(f, grad);
    grad = unscaled(f, in_parts ? merge.in[0] : grad, finite);
    Val old_m = companion(f, "adam_m", &p);
    old_m = in_parts ? parted(f, old_m, &merge) : old_m;
    Val m = lerp(f, OP_LERP, old_m, grad, o->beta1);
    Val old_v = companion(f, "adam_v", &p);
    old_v = in_parts ? parted(f, old_v, &merge) : old_v;
    Val v = lerp(f, OP_LERP_SQUARE, old_v, grad, o->beta2);
    Val rate = func_input(f, name_intern(f->module->names, "rate"), &SCALAR);
    Val old = func_param(f, name);
    old = in_parts ? parted(f, old, &merge) : old;
    Val in[] = {
        old, m, v, rate, bias_input(f, "bias1", p.session), bias_input(f, "bias2", p.session)};
    Attrs a = {.k = {p.no_decay ? 0 : o->weight_decay, o->eps}};
    Val w = func_emit(f, OP_ADAMW, &a, in, 6);

    const char *to[] = {prefixed(f, "adam_m", name), prefixed(f, "adam_v", name), name};
    Val value[] = {guarded(f, m, old_m, finite), guarded(f, v, old_v, finite),
                   guarded(f, w, old, finite)};
    for (int i = 0; i < 3; i++) {
        const Attrs *at = &merge.attrs;
        if (in_parts)
            value[i] = func_merge(f, value[i], at->axis2, at->axis3, at->axis);
        func_result(f, RESULT_STATE, to[i], value[i]);
    }
}

static Val copy(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    return rewrite_keep(r, n, in);
}

/* Gradients as read from the accumulated states. */
static void update_all(PassCx *cx, Func *f)
{
    Module *m = f->module;
    uint32_t n = m->params.len; /* companions are appended meanwhile */
    VEC(Val) grads = {0};
    for (uint32_t i = 0; pass_scales_loss(cx) && i < n; i++) {
        const Param p = m->params.at[i];
        f->session = p.session;
        if (!p.is_state && !p.frozen)
            vec_push(cx->arena, &grads, companion(f, "grad", &p));
    }
    Val finite = pass_scales_loss(cx) ? all_finite(f, grads.at, grads.len) : VAL_NONE;
    for (uint32_t i = 0; i < n; i++) {
        const Param p = m->params.at[i];
        if (p.is_state || p.frozen)
            continue;
        f->session = p.session;
        update(cx, f, p.name, companion(f, "grad", &p), finite);
    }
}

Func *pass_train_step(PassCx *cx, const Func *in)
{
    Func *f = func_rewrite(cx, in, copy, NULL);
    if (cx->kind == PROGRAM_UPDATE) {
        update_all(cx, f);
        return f;
    }
    VEC(Result) kept = {0}, grads = {0};
    for (uint32_t i = 0; i < f->results.len; i++) {
        const Result r = f->results.at[i];
        if (r.role == RESULT_GRAD)
            vec_push(cx->arena, &grads, r);
        else
            vec_push(cx->arena, &kept, r);
    }
    f->results.len = 0;
    Val finite = VAL_NONE;
    if (cx->kind == PROGRAM_STEP && pass_scales_loss(cx)) {
        Val *val = ARENA_ARRAY(cx->arena, Val, grads.len + 1);
        for (uint32_t i = 0; i < grads.len; i++)
            val[i] = grads.at[i].val;
        f->backward = true;
        finite = all_finite(f, val, grads.len);
    }
    for (uint32_t i = 0; i < kept.len; i++) {
        Result r = kept.at[i];
        if (finite.id && r.role == RESULT_STATE) /* running statistics */
            r.val = guarded(f, r.val, func_param(f, r.name), finite);
        vec_push(cx->arena, &f->results, r);
    }
    for (uint32_t i = 0; i < grads.len; i++) {
        const Result r = grads.at[i];
        if (cx->kind == PROGRAM_STEP) {
            update(cx, f, r.name, r.val, finite);
            continue;
        }
        const Param p = *module_param(f->module, r.name);
        f->session = p.session;
        Val sum = func_emit2(f, OP_ADD, companion(f, "grad", &p), r.val);
        func_result(f, RESULT_STATE, prefixed(f, "grad", r.name), sum);
    }
    f->session = f->part = -1;
    f->backward = false;
    return f;
}

static bool is_companion(const char *name)
{
    static const char *PREFIX[] = {"adam_m/", "adam_v/", "grad/", "ema/"};
    for (int i = 0; i < 4; i++)
        if (!strncmp(name, PREFIX[i], strlen(PREFIX[i])))
            return true;
    return false;
}

/* Volatile, because gcc 12 at -O2 drops the rounding of two such values side by side. */
static double as_float32(double x)
{
    volatile float rounded = (float)x;
    return rounded;
}

Func *pass_average(PassCx *cx, const Func *in)
{
    Func *f = func_rewrite(cx, in, copy, NULL);
    Module *m = f->module;
    /* the factors are those of float32 arithmetic (specs/dwiseneuro.md, 3.7) */
    double decay = cx->options->optimizer.ema_decay;
    double keep = as_float32(decay), move = as_float32(1 - decay);
    f->session = f->part = -1;
    uint32_t n = m->params.len;
    for (uint32_t i = 0; i < n; i++) {
        const Param p = m->params.at[i];
        if (is_companion(p.name))
            continue;
        Attrs a = {.k = {keep, move}};
        Val moved =
            func_emit(f, OP_LERP, &a, (Val[]){companion(f, "ema", &p), func_param(f, p.name)}, 2);
        func_result(f, RESULT_STATE, prefixed(f, "ema", p.name), moved);
    }
    return f;
}
