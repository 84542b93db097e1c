/* autodiff: appends the gradient of the loss with respect to every parameter that is not frozen,
 * reverse mode. Contributions to one value are added in the order of its users, last user first,
 * so that sums have one fixed order. The rule of each op stands with the op (ir/ops/).
 * Needs a RESULT_LOSS. Keeps all results; adds RESULT_GRAD per parameter reached. */
#include "passes/pass.h"

/* Which values depend on something trainable. */
static bool *differentiable(PassCx *cx, const Func *f)
{
    bool *on = ARENA_ARRAY(cx->arena, bool, f->nodes.len + 1);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        if (n->op == OP_PARAM) {
            const Param *p = module_param(f->module, n->attrs.name);
            on[id] = p && !p->frozen && !p->is_state;
        }
        for (int i = 0; i < n->n_in; i++)
            on[id] |= on[n->in[i].id];
    }
    return on;
}

static Val accumulate(Func *f, Val a, Val b)
{
    if (!a.id)
        return b;
    const Node *na = func_node(f, a), *nb = func_node(f, b);
    f->session = na->session == nb->session ? na->session : -1;
    f->part = na->part;
    f->span = na->span;
    return func_emit2(f, OP_ADD, a, b);
}

static Val copy(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    return rewrite_keep(r, n, in);
}

/* The gradient of the loss itself; scaled when a step is to keep small ones above the least number
 * of f16 (train_step.c divides by the scale again). */
static Val first_gradient(PassCx *cx, Func *f, Val loss)
{
    Val one = func_fill(f, cx->options->gradient_factor, func_shape(f, loss));
    if (!pass_scales_loss(cx) || cx->kind == PROGRAM_GRAD)
        return one;
    Shape scalar = {.rank = 0};
    return func_emit2(f, OP_MUL, one,
                      func_input(f, name_intern(f->module->names, "loss_scale"), &scalar));
}

Func *pass_autodiff(PassCx *cx, const Func *in)
{
    Func *f = func_rewrite(cx, in, copy, NULL);
    const Result *loss = NULL;
    for (uint32_t i = 0; i < f->results.len; i++)
        if (f->results.at[i].role == RESULT_LOSS)
            loss = &f->results.at[i];
    if (!loss) {
        diag_error(f->module->diags, DIAG_E0302, SPAN_NONE, "there is no loss to differentiate");
        return f;
    }
    uint32_t n_forward = f->nodes.len;
    const bool *on = differentiable(cx, f);
    Val *grad = ARENA_ARRAY(cx->arena, Val, n_forward);
    Val root = loss->val;

    f->backward = true;
    f->session = -1;
    f->part = func_node(f, root)->part;
    grad[root.id] = first_gradient(cx, f, root);
    for (uint32_t id = n_forward; id-- > 1;) {
        Val din[MAX_OPERANDS] = {0};
        if (!grad[id].id || !on[id])
            continue;
        Op op = f->nodes.at[id].op;
        int n_in = f->nodes.at[id].n_in;
        if (op == OP_PARAM) {
            func_result(f, RESULT_GRAD, f->nodes.at[id].attrs.name, grad[id]);
            continue;
        }
        if (!n_in)
            continue;
        f->backward = true;
        op_gradient(f, (Val){id}, grad[id], din);
        for (int i = 0; i < n_in; i++) {
            Val operand = f->nodes.at[id].in[i];
            if (din[i].id && on[operand.id])
                grad[operand.id] = accumulate(f, grad[operand.id], din[i]);
        }
    }
    f->backward = false;
    f->session = f->part = -1;
    f->span = SPAN_NONE;
    return f;
}
