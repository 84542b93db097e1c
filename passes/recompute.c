/* recompute: a contraction whose result is at least EXPANSION times its activation operand, and
 * which the backward pass reads, is computed a second time there, so that the large result need
 * not be kept from the forward pass.
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

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    Val *again = r->state; /* new id of a forward node -> its copy for the backward pass */
    Val operand[MAX_OPERANDS];
    for (int i = 0; i < n->n_in; i++) {
        operand[i] = in[i];
        const Node *producer = &r->from->nodes.at[n->in[i].id];
        if (!n->backward || producer->backward || !expands(r->from, producer))
            continue;
        if (!again[n->in[i].id].id) {
            Node copy = *func_node(r->out, in[i]);
            copy.backward = copy.recompute = true;
            again[n->in[i].id] = func_copy(r->out, &copy, copy.in);
        }
        operand[i] = again[n->in[i].id];
    }
    return rewrite_keep(r, n, operand);
}

Func *pass_recompute(PassCx *cx, const Func *in)
{
    Val *again = ARENA_ARRAY(cx->arena, Val, in->nodes.len + 1);
    if (cx->options->recompute == RECOMPUTE_NONE)
        return (Func *)in;
    return func_rewrite(cx, in, rule, again);
}
