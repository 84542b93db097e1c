/* recompute: a contraction whose result is at least EXPANSION times its activation operand, and
 * which the backward pass reads, is computed a second time there, so that the large result need
 * not be kept from the forward pass. So are views and element-wise functions of it. The sums of an
 * attention stay with its forward kernel, which has them at no cost, and are kept: a row each.
 * Needs autodiff done. Keeps values bit for bit; costs the contraction's FLOPs once more and saves
 * its bytes (specs/performance.md, 1.2). Off unless asked for: on a CPU the expansion is most of
 * the arithmetic. */
#include "passes/pass.h"

enum { EXPANSION = 3 };

static bool expands(const Func *f, const Node *n)
{
    if (n->op != OP_CONTRACT || n->backward)
        return false;
    int64_t out = shape_elems(&n->shape), in = 0;
    for (int i = 0; i < 2; i++) {
        int64_t e = shape_elems(func_shape(f, n->in[i]));
        in = e > in ? e : in;
    }
    return n->shape.rank >= 4 && out >= EXPANSION * in;
}

/* The value as the backward pass reads it: `old` in the function as it was, `kept` in the new one.
 */
static Val renewed(Rewrite *r, Val old, Val kept)
{
    Val *again = r->state; /* old id of a forward value -> what the backward pass reads */
    const Node *n = &r->from->nodes.at[old.id];
    Lowering l = op_lowering(n->op);
    Val operand[MAX_OPERANDS];
    bool changed = expands(r->from, n);

    if (n->backward || (!changed && l != LOWER_VIEW && l != LOWER_POINTWISE))
        return kept;
    if (again[old.id].id)
        return again[old.id];
    for (int i = 0; i < n->n_in; i++) {
        Val in = r->to[n->in[i].id];
        operand[i] = expands(r->from, n) ? in : renewed(r, n->in[i], in);
        changed |= operand[i].id != in.id;
    }
    again[old.id] = kept;
    if (changed) {
        Node copy = *func_node(r->out, kept);
        copy.backward = copy.recompute = true;
        again[old.id] = func_copy(r->out, &copy, operand);
    }
    return again[old.id];
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    Val operand[MAX_OPERANDS];
    bool again = n->backward && n->op != OP_ATTEND_SUM;
    for (int i = 0; i < n->n_in; i++)
        operand[i] = again ? renewed(r, n->in[i], in[i]) : in[i];
    return rewrite_keep(r, n, operand);
}

Func *pass_recompute(PassCx *cx, const Func *in)
{
    Val *again = ARENA_ARRAY(cx->arena, Val, in->nodes.len + 1);
    if (cx->options->recompute == RECOMPUTE_NONE)
        return (Func *)in;
    return func_rewrite(cx, in, rule, again);
}
