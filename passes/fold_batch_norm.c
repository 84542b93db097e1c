/* fold_batch_norm: batchnorm(f(x, w), mean, var, scale, shift) -> f(x, w g) + (shift - mean g),
 * g = scale / sqrt(var + eps), for a contraction or convolution f linear in its weight w, when the
 * statistics are stored (evaluation) and w carries every axis of the norm.
 * Needs: the convolution's result used by the norm alone. Keeps shapes and names.
 * w g and shift - mean g depend on parameters only, so they are computed once per set of weights.
 */
#include "passes/pass.h"

static bool from_parameters(const Func *f, Val v)
{
    const Node *n = func_node(f, v);
    if (n->op == OP_PARAM || n->op == OP_STATE)
        return true;
    if (n->n_in == 0 || op_lowering(n->op) == LOWER_LEAF)
        return false;
    for (int i = 0; i < n->n_in; i++)
        if (!from_parameters(f, n->in[i]))
            return false;
    return true;
}

/* The operand of f that carries the norm's axes and depends on parameters only, or -1. */
static int weight_of(const Func *f, const Node *linear, const Shape *norm)
{
    for (int i = 1; i >= 0; i--)
        if (from_parameters(f, linear->in[i]) && shape_within(norm, func_shape(f, linear->in[i])))
            return i;
    return -1;
}

static Val fold(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    if (n->op != OP_BATCHNORM)
        return rewrite_keep(r, n, in);
    Func *f = r->out;
    const Node linear = *func_node(f, in[0]);
    bool is_linear = linear.op == OP_CONTRACT || linear.op == OP_CONV;
    if (!is_linear || r->uses[n->in[0].id] != 1)
        return rewrite_keep(r, n, in);
    for (int i = 1; i < 5; i++)
        if (!from_parameters(f, in[i]))
            return rewrite_keep(r, n, in);
    int w = weight_of(f, &linear, func_shape(f, in[3]));
    if (w < 0)
        return rewrite_keep(r, n, in);

    Val gain =
        func_emit2(f, OP_MUL, in[3], func_emit1(f, OP_RSQRT, func_offset(f, in[2], n->attrs.k[0])));
    Val offset = func_emit2(f, OP_SUB, in[4], func_emit2(f, OP_MUL, in[1], gain));
    Val operand[2] = {linear.in[0], linear.in[1]};
    operand[w] = func_emit2(f, OP_MUL, linear.in[w], gain);
    return func_emit2(f, OP_ADD, func_copy(f, &linear, operand), offset);
}

Func *pass_fold_batch_norm(PassCx *cx, const Func *in)
{
    return func_rewrite(cx, in, fold, NULL);
}
