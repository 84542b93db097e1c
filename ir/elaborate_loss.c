/* Results of both functions: the sessions' predictions, and in training the loss.
 *
 *     loss = sum over sessions, b, n, t of share[b] * (prediction - target log(prediction + eps))
 */
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

static Val session_loss(Elaborator *el, const Recipe *recipe, const char *name, Val y)
{
    Func *f = el->func;
    const Shape shape = *func_shape(f, y);
    Shape batch = {0};
    AxisList all = {.n = 3, .name = {shape.name[0], shape.name[1], shape.name[2]}};
    shape_add(&batch, shape.name[0], shape.size[0]);
    Val target = func_input(f, arena_printf(el->arena, "target/%s", name), &shape);
    Val share = func_input(f, arena_printf(el->arena, "share/%s", name), &batch);
    Val terms = func_emit(f, OP_POISSON, &(Attrs){.k = {recipe->loss_eps}}, (Val[]){y, target}, 2);
    return func_sum(f, func_emit2(f, OP_MUL, terms, share), &all, 1);
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
        Val part = session_loss(el, recipe, name, y);
        func_result(f, RESULT_OUTPUT, arena_printf(el->arena, "loss/%s", name), part);
        f->session = -1;
        total = total.id ? func_emit2(f, OP_ADD, total, part) : part;
        f->part = -1;
    }
    f->session = -1;
    func_result(f, RESULT_LOSS, "loss", total);
}
