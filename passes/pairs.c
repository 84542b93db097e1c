/* Which weight gradient can be computed beside which input gradient (tile.h, pair sums).
 *
 * Of a depthwise convolution, conv_dx(dy, w) and conv_dw(dy, x): both walk the same pairs of
 * positions. Of a product, contract(dy, w) over r and contract(dy, x) over everything that dy and x
 * share: the same form, r kept and x at the places of the first one's result. The incoming gradient
 * may carry other names in each; places in its shape say what corresponds. */
#include "passes/plan.h"

static Val strip(const Func *f, Val v)
{
    while (func_node(f, v)->op == OP_RENAME)
        v = func_node(f, v)->in[0];
    return v;
}

static bool same_space(const Shape *a, const Shape *b)
{
    return a->rank == b->rank && shape_within(a, b);
}

static void add(PairAxes *out, const char *theirs, const char *ours)
{
    out->theirs[out->n] = theirs;
    out->ours[out->n++] = ours;
}

const char *pair_axis(const PairAxes *p, const char *theirs)
{
    for (int i = 0; i < p->n; i++)
        if (p->theirs[i] == theirs)
            return p->ours[i];
    return theirs;
}

static bool match_convolution(const Func *f, const Node *e, const Node *d, PairAxes *out)
{
    out->x = d->in[1];
    if (e->op != OP_CONV_DX || d->op != OP_CONV_DW || e->in[0].id != d->in[0].id ||
        e->attrs.over.n || e->attrs.n_stencil != d->attrs.n_stencil ||
        !same_space(&e->shape, func_shape(f, d->in[1])) ||
        !same_space(&d->shape, func_shape(f, e->in[1])))
        return false;
    for (int i = 0; i < e->attrs.n_stencil; i++) {
        const Stencil *a = &e->attrs.stencil[i], *b = &d->attrs.stencil[i];
        if (a->axis != b->axis || a->tap != b->tap || a->stride != b->stride ||
            a->dilation != b->dilation || a->pad != b->pad)
            return false;
    }
    return true;
}

static bool is_over(const Node *n, const char *axis)
{
    for (int i = 0; i < n->attrs.over.n; i++)
        if (n->attrs.over.name[i] == axis)
            return true;
    return false;
}

/* The one axis of `s` that is none of dy's; NULL when there is not exactly one. */
static const char *own_axis(const Shape *s, const Shape *dy)
{
    const char *own = NULL;
    for (int i = 0; i < s->rank; i++)
        if (shape_axis(dy, s->name[i]) < 0) {
            if (own)
                return NULL;
            own = s->name[i];
        }
    return own;
}

static bool match_product(const Func *f, const Node *e, const Node *d, PairAxes *out)
{
    if (e->op != OP_CONTRACT || d->op != OP_CONTRACT)
        return false;
    int side = strip(f, e->in[0]).id == strip(f, d->in[0]).id ? 0 : 1;
    if (strip(f, e->in[0]).id != strip(f, d->in[side]).id)
        return false;
    out->x = d->in[1 - side];
    const Shape *ours = func_shape(f, e->in[0]), *theirs = func_shape(f, d->in[side]);
    const Shape *x = func_shape(f, out->x);
    const char *k = own_axis(&e->shape, ours), *their_k = own_axis(x, theirs);
    if (!k || !their_k ||
        e->shape.size[shape_axis(&e->shape, k)] != x->size[shape_axis(x, their_k)])
        return false;
    for (int i = 0; i < ours->rank; i++) { /* summed by one, kept by the other */
        if (is_over(e, ours->name[i]) == is_over(d, theirs->name[i]) ||
            is_over(e, ours->name[i]) != (shape_axis(x, theirs->name[i]) < 0))
            return false;
        add(out, theirs->name[i], ours->name[i]);
    }
    add(out, their_k, k);
    return e->shape.rank == x->rank && d->shape.rank == e->attrs.over.n + 1;
}

/* The longest sum of a product whose partner is wanted. */
static int64_t sum_length(const Func *f, const Node *product)
{
    int64_t n = 1;
    const Shape *s = func_shape(f, product->in[0]);
    for (int i = 0; i < product->attrs.over.n; i++)
        n *= s->size[shape_axis(s, product->attrs.over.name[i])];
    return n;
}

bool pair_match(const Func *f, const TargetTraits *target, Val e, Val d, PairAxes *out)
{
    const Node *ne = func_node(f, e), *nd = func_node(f, d);
    *out = (PairAxes){0};
    if (e.id >= d.id || ne->session != nd->session || ne->backward != nd->backward)
        return false;
    bool ok = (target->pairs && match_convolution(f, ne, nd, out)) ||
              (target->pair_sum_limit && match_product(f, ne, nd, out) &&
               sum_length(f, ne) <= target->pair_sum_limit);
    return ok && strip(f, out->x).id < e.id;
}
