/* Results of both functions: the sessions' predictions, and in training the loss. With p predicted
 * and y true, for every session
 *
 *     weight * sum over b, n, t of share[b] (p - y log(p + eps))       eps perhaps added to p, y
 *     + weight * sum over b, n, t of share[b] (p - y)^2
 *     + scale * weight * sum over n of (1 - correlation of p and y over the batch's b and t)
 *     + penalty * weight * sum of magnitudes, per l1(..) of the recipe and parameter
 *     + penalty * what a penalty(..) of the model adds
 *
 * where a parameter that sessions share has the penalties of all of them, and one of a session,
 * where it counts in every batch, its own as often as there are sessions (rounds take a batch of
 * each). Numbers that depend on the batch are inputs (runtime/loss_factors.h): "share/<session>"
 * [b]; "mean/<session>" [b], what a sample's frames count in means over the session's batch; the
 * scalars "scale/<session>", "penalty/<session>" and "penalty", their sum. Those are there that the
 * recipe needs. */
#include "ir/elaborate_state.h"

/* A prediction with its axes in the order [b n t], t:1 for images; VAL_NONE after an error. */
static Val prediction(Elaborator *el, int session)
{
    static const char *const order[] = {"b", "n", "t"};
    const Value *v = &el->session_result[session];
    AxisList list = {.n = 3};
    if (v->kind == VALUE_ERROR)
        return VAL_NONE;
    if (v->kind != VALUE_TENSOR) {
        el_error(el, DIAG_E0201, v->span, "a model returns a tensor per session, not %s",
                 value_kind_text(v));
        return VAL_NONE;
    }
    el->func->session = (int16_t)session;
    el->func->span = v->span;
    Val y = v->val;
    const Shape *s = func_shape(el->func, y);
    if (s->rank == 2 && shape_axis(s, "b") >= 0 && shape_axis(s, "n") >= 0) { /* of images */
        const char *n = name_intern(el->names, "n"), *t = name_intern(el->names, "t");
        y = func_split(el->func, y, n, n, t, s->size[shape_axis(s, "n")]);
        s = func_shape(el->func, y);
    }
    for (int i = 0; i < 3; i++) {
        list.name[i] = name_intern(el->names, order[i]);
        if (s->rank == 3 && shape_axis(s, order[i]) >= 0)
            continue;
        el_error(el, DIAG_E0211, v->span, "a model returns [b n t] per session, or [b n]");
        el_note(el, v->span, "the value here is %s", el_shape_text(el, s));
        return VAL_NONE;
    }
    if (s->size[shape_axis(s, "n")] != el->module->sessions.at[session].neurons) {
        el_error(el, DIAG_E0203, v->span,
                 "the prediction has %lld neurons, the session %s has %lld",
                 (long long)s->size[shape_axis(s, "n")], el->module->sessions.at[session].name,
                 (long long)el->module->sessions.at[session].neurons);
        return VAL_NONE;
    }
    return func_reorder(el->func, y, &list);
}

static Val named_input(Elaborator *el, const char *what, const char *session, const Shape *shape)
{
    const char *name = session ? arena_printf(el->arena, "%s/%s", what, session) : what;
    return func_input(el->func, name_intern(el->names, name), shape);
}

static AxisList axes_of(const Shape *s, int first, int n)
{
    AxisList out = {.n = n};
    for (int i = 0; i < n; i++)
        out.name[i] = s->name[first + i];
    return out;
}

/* weight * sum of share * term; p and y [b n t]. */
static Val poisson_part(Func *f, const Recipe *recipe, Val p, Val y, Val share)
{
    bool everywhere = recipe->loss_added == RECIPE_ADDED_EVERYWHERE;
    double eps = recipe->loss_eps;
    y = everywhere ? func_offset(f, y, eps) : y;
    Val terms = func_emit(f, OP_POISSON, &(Attrs){.k = {eps}}, (Val[]){p, y}, 2);
    terms = everywhere ? func_offset(f, terms, eps) : terms;
    AxisList all = axes_of(func_shape(f, p), 0, 3);
    return func_sum(f, func_emit2(f, OP_MUL, terms, share), &all, recipe->loss_weight);
}

static Val squares_part(Func *f, const Recipe *recipe, Val p, Val y, Val share)
{
    Val square = func_emit1(f, OP_SQUARE, func_emit2(f, OP_SUB, p, y));
    AxisList all = axes_of(func_shape(f, p), 0, 3);
    return func_sum(f, func_emit2(f, OP_MUL, square, share), &all, recipe->squares_weight);
}

/* Sum of count * x over samples and frames, [n]. */
static Val batch_mean(Func *f, Val x, Val count)
{
    const Shape *s = func_shape(f, x);
    AxisList over = {.n = 2, .name = {s->name[0], s->name[2]}};
    return func_sum(f, func_emit2(f, OP_MUL, x, count), &over, 1);
}

/* A variance below this counts as none: its root, 1e-12, is far below every eps, and has no
 * gradient. */
#define LEAST_VARIANCE 1e-24

static Val deviation(Func *f, Val centred, Val count, double eps)
{
    Val var = batch_mean(f, func_emit1(f, OP_SQUARE, centred), count);
    Val least = func_fill(f, LEAST_VARIANCE, func_shape(f, var));
    return func_offset(f, func_emit1(f, OP_SQRT, func_emit2(f, OP_MAXIMUM, var, least)), eps);
}

/* sum over n of 1 - cov(p, y) / ((sd p + eps) (sd y + eps)), p and y [b n t]; the samples count as
 * `count` [b] says. */
static Val correlation_part(Func *f, const Recipe *recipe, Val p, Val y, Val count)
{
    double eps = recipe->correlation_eps;
    AxisList neurons = axes_of(func_shape(f, p), 1, 1);
    Val dp = func_emit2(f, OP_SUB, p, batch_mean(f, p, count));
    Val dy = func_emit2(f, OP_SUB, y, batch_mean(f, y, count));
    Val cov = batch_mean(f, func_emit2(f, OP_MUL, dp, dy), count);
    Val sds = func_emit2(f, OP_MUL, deviation(f, dp, count, eps), deviation(f, dy, count, eps));
    Val away = func_offset(f, func_scale(f, func_emit2(f, OP_DIV, cov, sds), -1), 1);
    return func_sum(f, away, &neurons, recipe->correlation_weight);
}

static Val plus(Func *f, Val a, Val b)
{
    return a.id && b.id ? func_emit2(f, OP_ADD, a, b) : a.id ? a : b;
}

/* Penalties of a session, or of what sessions share (-1); VAL_NONE when there is none. */
static Val penalties(Elaborator *el, const Recipe *recipe, int session)
{
    Func *f = el->func;
    Val total = VAL_NONE;
    for (uint32_t i = 0; i < el->module->params.len; i++) {
        const Param p = el->module->params.at[i];
        AxisList all = axes_of(&p.shape, 0, p.shape.rank);
        for (int64_t k = 0; k < recipe->n_penalties; k++) {
            const RecipePenalty *penalty = &recipe->penalties[k];
            if (p.is_state || p.frozen || p.session != session || penalty->weight == 0 ||
                !recipe_selects(penalty->which.of, p.name))
                continue;
            Val size = func_emit1(f, OP_ABS, func_param(f, p.name));
            bool counts_often = session >= 0 && penalty->counts == RECIPE_COUNTS_EVERY;
            double weight = penalty->weight * (counts_often ? el->module->sessions.len : 1);
            size = all.n ? func_sum(f, size, &all, weight) : func_scale(f, size, weight);
            total = plus(f, total, size);
        }
    }
    for (uint32_t i = 0; i < el->penalties.len; i++)
        if (el->penalties.at[i].session == session)
            total = plus(f, total, el->penalties.at[i].val);
    if (!total.id)
        return total;
    const char *name = session < 0 ? NULL : el->module->sessions.at[session].name;
    return func_emit2(f, OP_MUL, total, named_input(el, "penalty", name, &(Shape){.rank = 0}));
}

static Val session_loss(Elaborator *el, const Recipe *recipe, int session, Val p)
{
    Func *f = el->func;
    const char *name = el->module->sessions.at[session].name;
    const Shape shape = *func_shape(f, p);
    Shape batch = {0};
    shape_add(&batch, shape.name[0], shape.size[0]);
    Val y = named_input(el, "target", name, &shape);
    Val share = VAL_NONE, total = VAL_NONE;
    if (recipe->loss_weight > 0 || recipe->squares_weight > 0)
        share = named_input(el, "share", name, &batch);
    if (recipe->loss_weight > 0)
        total = poisson_part(f, recipe, p, y, share);
    if (recipe->squares_weight > 0)
        total = plus(f, total, squares_part(f, recipe, p, y, share));
    if (recipe->correlation_weight > 0) {
        Val part = correlation_part(f, recipe, p, y, named_input(el, "mean", name, &batch));
        Val scale = named_input(el, "scale", name, &(Shape){.rank = 0});
        total = plus(f, total, func_emit2(f, OP_MUL, part, scale));
    }
    return plus(f, total, penalties(el, recipe, session));
}

void el_build_loss(Elaborator *el, const Recipe *recipe)
{
    Func *f = el->func;
    Val total = VAL_NONE;
    for (uint32_t i = 0; i < el->module->sessions.len; i++) {
        const char *name = el->module->sessions.at[i].name;
        Val y = prediction(el, (int)i);
        if (!y.id)
            continue;
        if (!el->is_training || el->options->probes)
            func_result(f, RESULT_OUTPUT, name, y);
        if (!el->is_training)
            continue;
        f->part = module_part(el->module, "loss");
        Val part = session_loss(el, recipe, (int)i, y);
        func_result(f, RESULT_OUTPUT, arena_printf(el->arena, "loss/%s", name), part);
        f->session = -1;
        total = plus(f, total, part);
        f->part = -1;
    }
    f->session = -1;
    if (el->is_training && total.id) {
        f->part = module_part(el->module, "loss");
        total = plus(f, total, penalties(el, recipe, -1));
        f->part = -1;
    }
    func_result(f, RESULT_LOSS, "loss", total);
}
