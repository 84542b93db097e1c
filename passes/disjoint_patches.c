/* disjoint_patches: conv(x, w) whose windows lie side by side -> contract(patches of x, w).
 *
 * Needs: dense, stride = taps, no padding, windows that cover x. Keeps values and shapes.
 * A patch embedding is a product whose summed axis is a patch, input channels first and taps as the
 * kernel has them; as a product it takes the schedules of products, forward and backward. */
#include "passes/pass.h"

static bool is_disjoint(const Func *f, const Node *n)
{
    const Attrs *a = &n->attrs;
    if (n->op != OP_CONV || !a->n_stencil || a->over.n != 1)
        return false;
    for (int i = 0; i < a->n_stencil; i++) {
        const Stencil *s = &a->stencil[i];
        const Shape *y = &n->shape;
        if (s->stride != s->taps || s->dilation != 1 || s->pad ||
            s->in_size != s->taps * y->size[shape_axis(y, s->axis)])
            return false;
    }
    const Shape *x = func_shape(f, n->in[0]), *w = func_shape(f, n->in[1]);
    for (int i = 0; i < w->rank; i++) /* groups */
        if (w->name[i] != a->over.name[0] && shape_axis(x, w->name[i]) >= 0)
            return false;
    return x->rank + a->n_stencil <= MAX_RANK;
}

/* Channels and taps as one axis. */
static Val flat(Func *f, Val v, const Attrs *a, const char *axis)
{
    const char *last = a->over.name[0];
    for (int i = 0; i < a->n_stencil; i++) {
        v = func_merge(f, v, last, a->stencil[i].tap, axis);
        last = axis;
    }
    return v;
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    if (!is_disjoint(r->from, n))
        return rewrite_keep(r, n, in);
    const Attrs *a = &n->attrs;
    const char *axis = name_intern(r->out->module->names, "patch");
    AxisList over = {1, {axis}};
    Val x = in[0];
    for (int i = 0; i < a->n_stencil; i++) {
        const Stencil *s = &a->stencil[i];
        x = func_split(r->out, x, s->axis, s->axis, s->tap, s->in_size / s->taps);
    }
    return func_contract(r->out, flat(r->out, x, a, axis), flat(r->out, in[1], a, axis), &over,
                         &a->out);
}

Func *pass_disjoint_patches(PassCx *cx, const Func *in)
{
    return cx->options->fuse == FUSE_FULL ? func_rewrite(cx, in, rule, NULL) : (Func *)in;
}
