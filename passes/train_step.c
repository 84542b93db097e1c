/* train_step: every gradient becomes an AdamW update of its parameter and of the two moments,
 * written in place (RESULT_STATE); the gradients are no results any more.
 *
 * Inputs it adds, scalars filled by the runtime before each step: "rate"; "bias1", "bias2"
 * (1 - beta^k, k the number of updates), and "bias1/<recording>", "bias2/<recording>" for the
 * parameters of a recording's readout, which are updated only in steps with samples of it.
 * Needs autodiff done. The moments are states "adam_m/<parameter>" and "adam_v/<parameter>".
 *
 * With accumulation (iter_size > 1) the gradients are added to the states "grad/<parameter>"
 * instead, and a program of its own updates from these.
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

static void update(PassCx *cx, Func *f, const char *name, Val grad)
{
    const OptimizerAttrs *o = &cx->options->optimizer;
    const Param p = *module_param(f->module, name);

    f->session = p.session;
    f->part = func_node(f, grad)->part;
    f->span = p.span;
    f->backward = true;
    Val m = lerp(f, OP_LERP, companion(f, "adam_m", &p), grad, o->beta1);
    Val v = lerp(f, OP_LERP_SQUARE, companion(f, "adam_v", &p), grad, o->beta2);
    Val rate = func_input(f, name_intern(f->module->names, "rate"), &SCALAR);
    Val in[] = {func_param(f, name),
                m,
                v,
                rate,
                bias_input(f, "bias1", p.session),
                bias_input(f, "bias2", p.session)};
    Attrs a = {.k = {p.no_decay ? 0 : o->weight_decay, o->eps}};
    Val w = func_emit(f, OP_ADAMW, &a, in, 6);

    func_result(f, RESULT_STATE, prefixed(f, "adam_m", name), m);
    func_result(f, RESULT_STATE, prefixed(f, "adam_v", name), v);
    func_result(f, RESULT_STATE, name, w);
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
    for (uint32_t i = 0; i < n; i++) {
        const Param p = m->params.at[i];
        if (p.is_state || p.frozen)
            continue;
        f->session = p.session;
        update(cx, f, p.name, companion(f, "grad", &p));
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
    for (uint32_t i = 0; i < kept.len; i++)
        vec_push(cx->arena, &f->results, kept.at[i]);
    for (uint32_t i = 0; i < grads.len; i++) {
        const Result r = grads.at[i];
        if (cx->kind == PROGRAM_STEP) {
            update(cx, f, r.name, r.val);
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
