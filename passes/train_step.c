/* train_step: every gradient becomes an AdamW update of its parameter and of the two moments,
 * written in place (RESULT_STATE); the gradients are no results any more.
 *
 * Inputs it adds, scalars filled by the runtime before each step: "rate"; "bias1", "bias2"
 * (1 - beta^k, k the number of updates), and "bias1/<recording>", "bias2/<recording>" for the
 * parameters of a recording's readout, which are updated only in steps with samples of it.
 * Parameters of a group (PassOptions.optimizer) have a rate and decay of their own.
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
 * The update program can limit the norm of all gradients together: input "limit", output "norm".
 *
 * Without a schedule (schedule_free below) the states are "adam_v/<parameter>" and
 * "free_z/<parameter>", which begins as a copy; further input "mix" (schedule.h).
 *
 * A parameter with a limit is brought into it before the step, as the model reads it.
 *
 * average: state "ema/<name>" of every parameter and state moves towards it; without a schedule it
 * becomes the average that parameter and free_z stand for. */
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
        s.limit = 0;
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

/* The learning rate of the parameter's group, and its decay. */
static Val rate_of(PassCx *cx, Func *f, const Param *p, double *decay)
{
    const OptimizerAttrs *o = &cx->options->optimizer;
    const RecipeGroup *group = recipe_group(o->groups, o->n_groups, p->name);
    Val rate = func_input(f, name_intern(f->module->names, "rate"), &SCALAR);
    *decay = group && group->weight_decay >= 0 ? group->weight_decay : o->weight_decay;
    *decay = p->no_decay ? 0 : *decay;
    return group && group->rate != 1 ? func_scale(f, rate, group->rate) : rate;
}

/* What an update reads and writes; tensors in the shape of the gradient's parts if it has some. */
typedef struct Update {
    PassCx *cx;
    Func *f;
    Param p;
    const Node *merge; /* NULL: the gradient is whole */
    Val finite;        /* none unless gradients are scaled */
} Update;

/* "" is the parameter itself. */
static const char *state_name(const Update *u, const char *prefix)
{
    return *prefix ? prefixed(u->f, prefix, u->p.name) : u->p.name;
}

static Val old_value(const Update *u, const char *prefix)
{
    Val old = *prefix ? companion(u->f, prefix, &u->p) : func_param(u->f, u->p.name);
    if (!*prefix && u->p.limit > 0)
        old = func_emit(u->f, OP_HOLD, &(Attrs){.k = {u->p.limit}}, &old, 1);
    return u->merge ? parted(u->f, old, u->merge) : old;
}

/* A value and what it replaces. */
typedef struct Change {
    const char *prefix;
    Val old, value;
} Change;

static void write_changes(const Update *u, const Change *change, int n)
{
    Val value[3];
    for (int i = 0; i < n; i++)
        value[i] = guarded(u->f, change[i].value, change[i].old, u->finite);
    for (int i = 0; i < n; i++) {
        if (u->merge) {
            const Attrs *at = &u->merge->attrs;
            value[i] = func_merge(u->f, value[i], at->axis2, at->axis3, at->axis);
        }
        func_result(u->f, RESULT_STATE, state_name(u, change[i].prefix), value[i]);
    }
}

static void adamw(const Update *u, Val grad)
{
    const OptimizerAttrs *o = &u->cx->options->optimizer;
    Func *f = u->f;
    double decay;
    Val old_m = old_value(u, "adam_m");
    Val m = lerp(f, OP_LERP, old_m, grad, o->beta1);
    Val old_v = old_value(u, "adam_v");
    Val v = lerp(f, OP_LERP_SQUARE, old_v, grad, o->beta2);
    Val rate = rate_of(u->cx, f, &u->p, &decay);
    Val old = old_value(u, "");
    Val in[] = {old,
                m,
                v,
                rate,
                bias_input(f, "bias1", u->p.session),
                bias_input(f, "bias2", u->p.session)};
    Attrs a = {.k = {decay, o->eps}};
    Val w = func_emit(f, OP_ADAMW, &a, in, 6);
    const Change change[] = {{"adam_m", old_m, m}, {"adam_v", old_v, v}, {"", old, w}};
    write_changes(u, change, 3);
}

/* y is the parameter, z the state that steps are made of, x = y + (z - y) (1 - 1 / beta1) their
 * average (pass_average). With u the gradient over its root mean square, and decay y:
 *     y <- (1 - mix) y + mix z + rate (beta1 (1 - mix) - 1) u,  z <- z - rate u
 * Defazio et al. 2024, arXiv:2405.15682; specs/viv1t.md 6. */
static void schedule_free(const Update *u, Val grad)
{
    const OptimizerAttrs *o = &u->cx->options->optimizer;
    Func *f = u->f;
    double decay;
    Val old_v = old_value(u, "adam_v");
    Val v = lerp(f, OP_LERP_SQUARE, old_v, grad, o->beta2);
    Val rate = rate_of(u->cx, f, &u->p, &decay);
    Val y = old_value(u, ""), z = old_value(u, "free_z");
    Val mix = func_input(f, name_intern(f->module->names, "mix"), &SCALAR);
    Val in[] = {grad, v, bias_input(f, "bias2", u->p.session), y};
    Val step =
        func_map(f, "a / (sqrt(b) / sqrt(c) + k0) + k1 * d", (double[]){o->eps, decay}, 2, in, 4);
    Val new_y = func_map(f, "(1 - c) * a + c * b + d * (k0 * (1 - c) - 1) * e", &o->beta1, 1,
                         (Val[]){y, z, mix, rate, step}, 5);
    Val new_z = func_map(f, "a - b * c", NULL, 0, (Val[]){z, rate, step}, 3);
    const Change change[] = {{"adam_v", old_v, v}, {"", y, new_y}, {"free_z", z, new_z}};
    write_changes(u, change, 3);
}

/* `clip`: what the gradient is multiplied by; none: nothing. */
static void update(PassCx *cx, Func *f, const char *name, Val grad, Val finite, Val clip)
{
    Update u = {.cx = cx, .f = f, .p = *module_param(f->module, name), .finite = finite};
    const Node merge = *func_node(f, grad);
    f->session = u.p.session;
    f->part = merge.part;
    f->span = u.p.span;
    f->backward = true;
    if (has_parts(cx, f, grad)) {
        u.merge = &merge;
        grad = merge.in[0];
    }
    grad = unscaled(f, grad, finite);
    grad = clip.id ? func_emit2(f, OP_MUL, grad, clip) : grad;
    if (cx->options->optimizer.schedule_free)
        schedule_free(&u, grad);
    else
        adamw(&u, grad);
}

static Val copy(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    return rewrite_keep(r, n, in);
}

/* Sum over everything; a scalar stays. */
static Val total_of(Func *f, Val a)
{
    AxisList all = {0};
    const Shape *s = func_shape(f, a);
    for (int d = 0; d < s->rank; d++)
        all.name[all.n++] = s->name[d];
    return all.n ? func_sum(f, a, &all, 1) : a;
}

/* The norm of all gradients together, an output, and what brings it below the input "limit". */
static Val clip_factor(Func *f, const Val *grad, uint32_t n, Val finite)
{
    Val total = VAL_NONE;
    for (uint32_t i = 0; i < n; i++) {
        f->session = func_node(f, grad[i])->session;
        f->part = func_node(f, grad[i])->part;
        Val own = total_of(f, func_emit1(f, OP_SQUARE, unscaled(f, grad[i], finite)));
        f->session = f->part = -1;
        total = total.id ? func_emit2(f, OP_ADD, total, own) : own;
    }
    Val norm = func_emit1(f, OP_SQRT, total);
    func_result(f, RESULT_OUTPUT, name_intern(f->module->names, "norm"), norm);
    Val limit = func_input(f, name_intern(f->module->names, "limit"), &SCALAR);
    return func_map(f, "min(1, a / (b + 0.000001))", NULL, 0, (Val[]){limit, norm}, 2);
}

/* Gradients as read from the accumulated states. */
static void update_all(PassCx *cx, Func *f)
{
    Module *m = f->module;
    uint32_t n = m->params.len; /* companions are appended meanwhile */
    VEC(Val) grads = {0};
    VEC(const char *) names = {0};
    f->backward = true;
    for (uint32_t i = 0; i < n; i++) {
        const Param p = m->params.at[i];
        if (p.is_state || p.frozen)
            continue;
        f->session = p.session;
        vec_push(cx->arena, &names, p.name);
        vec_push(cx->arena, &grads, companion(f, "grad", &p));
    }
    Val finite = pass_scales_loss(cx) ? all_finite(f, grads.at, grads.len) : VAL_NONE;
    Val clip = VAL_NONE;
    if (cx->options->optimizer.clips && grads.len)
        clip = clip_factor(f, grads.at, grads.len, finite);
    for (uint32_t i = 0; i < grads.len; i++)
        update(cx, f, names.at[i], grads.at[i], finite, clip);
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
            update(cx, f, r.name, r.val, finite, VAL_NONE);
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
    static const char *PREFIX[] = {"adam_m/", "adam_v/", "free_z/", "grad/", "ema/"};
    for (int i = 0; i < 5; i++)
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

/* Parameters alone: running statistics are no part of it. */
static void average_free(PassCx *cx, Func *f, const Param *p)
{
    double part = 1 - 1 / cx->options->optimizer.beta1;
    Val z = companion(f, "free_z", p), y = func_param(f, p->name);
    companion(f, "ema", p);
    func_result(f, RESULT_STATE, prefixed(f, "ema", p->name),
                func_map(f, "a + (b - a) * k0", &part, 1, (Val[]){y, z}, 2));
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
        if (cx->options->optimizer.schedule_free) {
            if (!p.is_state && !p.frozen)
                average_free(cx, f, &p);
            continue;
        }
        Attrs a = {.k = {keep, move}};
        Val moved =
            func_emit(f, OP_LERP, &a, (Val[]){companion(f, "ema", &p), func_param(f, p.name)}, 2);
        func_result(f, RESULT_STATE, prefixed(f, "ema", p.name), moved);
    }
    return f;
}
