/* slice_products: index(contract(x, w), part of an axis of w alone) -> contract(x, index(w, part)).
 * Needs: w depends on parameters only; everything that reads the product takes such a part, and the
 * parts together are no larger than the axis. Keeps values and shapes.
 * Models write queries, keys, values and the feed-forward's input as one product, since checkpoints
 * have one weight, and take it apart. As products of their own each part is a plain tensor that the
 * next kernel reads and whose gradient is a factor as it stands; the product as a whole would be
 * written once more, part by part, forward and backward. */
#include "passes/pass.h"

/* Does `v` depend on parameters only, so that its slices cost nothing? */
static bool *find_fixed(Arena *arena, const Func *f)
{
    bool *fixed = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        fixed[id] = n->op == OP_PARAM || (n->n_in > 0 && op_lowering(n->op) == LOWER_VIEW);
        for (int i = 0; i < n->n_in; i++)
            fixed[id] &= fixed[n->in[i].id];
    }
    return fixed;
}

/* The operand that brings the axis into a product, when it is weights and alone has it; else -1. */
static int owner_of(const Func *f, const Node *product, const char *axis, const bool *fixed)
{
    for (int i = 0; i < 2; i++)
        if (fixed[product->in[i].id] && shape_axis(func_shape(f, product->in[i]), axis) >= 0 &&
            shape_axis(func_shape(f, product->in[1 - i]), axis) < 0)
            return i;
    return -1;
}

static bool has_holes(const Node *index)
{
    for (int64_t i = 0; i < index->attrs.table_len; i++)
        if (index->attrs.table[i] < 0)
            return true;
    return false;
}

typedef struct Slices {
    const char **axis;  /* per product: that all its readers take parts of; NULL: not all do */
    int64_t *taken;     /* entries of the axis that they take */
    uint32_t *n_slices; /* readers that do */
    const bool *fixed;
} Slices;

static void add_slice(Slices *s, const Func *f, const Node *n)
{
    uint32_t product = n->n_in ? n->in[0].id : 0;
    const Node *p = &f->nodes.at[product];
    if (n->op != OP_INDEX || p->op != OP_CONTRACT || has_holes(n) ||
        owner_of(f, p, n->attrs.axis, s->fixed) < 0)
        return;
    if (s->n_slices[product] && s->axis[product] != n->attrs.axis)
        return;
    s->axis[product] = n->attrs.axis;
    s->taken[product] += n->attrs.table_len;
    s->n_slices[product]++;
}

static bool is_sliced(const Rewrite *r, Val product)
{
    const Slices *s = r->state;
    const Shape *shape = func_shape(r->from, product);
    return s->n_slices[product.id] && s->n_slices[product.id] == r->uses[product.id] &&
           s->taken[product.id] <= shape->size[shape_axis(shape, s->axis[product.id])];
}

static Val slice(Rewrite *r, const Node *n)
{
    const Slices *s = r->state;
    const Node *p = func_node(r->from, n->in[0]);
    int owner = owner_of(r->from, p, n->attrs.axis, s->fixed);
    Val in[2] = {r->to[p->in[0].id], r->to[p->in[1].id]};
    Attrs a = p->attrs;
    in[owner] = func_emit(r->out, OP_INDEX, &n->attrs, &in[owner], 1);
    for (int i = 0; i < a.out.n; i++)
        if (a.out.name[i] == n->attrs.axis)
            a.out.name[i] = n->attrs.axis2;
    r->out->span = p->span;
    return func_emit(r->out, OP_CONTRACT, &a, in, 2);
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    if (n->op == OP_INDEX && func_node(r->from, n->in[0])->op == OP_CONTRACT &&
        is_sliced(r, n->in[0]))
        return slice(r, n);
    return rewrite_keep(r, n, in);
}

Func *pass_slice_products(PassCx *cx, const Func *in)
{
    uint32_t n = in->nodes.len + 1;
    const bool *live = func_live(cx->arena, in);
    Slices s = {ARENA_ARRAY(cx->arena, const char *, n), ARENA_ARRAY(cx->arena, int64_t, n),
                ARENA_ARRAY(cx->arena, uint32_t, n), find_fixed(cx->arena, in)};
    if (cx->options->fuse != FUSE_FULL)
        return (Func *)in;
    for (uint32_t id = 1; id < in->nodes.len; id++)
        if (live[id])
            add_slice(&s, in, &in->nodes.at[id]);
    return func_rewrite(cx, in, rule, &s);
}
