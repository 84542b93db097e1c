/* norm_products: products with the gradient of a batch norm behind a product, z = W x, need not
 * read z again (fact 2 of specs/performance.md, 1.2). With s = scale rstd, n elements per channel,
 * x' = x
 * - mean(x), and dz = s (dy - dshift / n - (z - mean) rstd dscale / n), of which the last term is
 * q (z - mean) = q W x':
 *
 *     dx = W' dz   ->  (s W)' dy - (W' q W) x' - W' (s dshift / n)
 *     dW = dz x'   ->  s (dy x') - q (W (x' x'))
 *
 * x' x' summed over samples and places is small, as is W' q W. The first terms wait for no sum of
 * dy; the rest reads the narrow x instead of the wide z.
 * Needs autodiff done, the norm over all axes of z but one. Keeps shapes; sums are taken in another
 * order, about the mean, so that nothing cancels. For targets that count bytes, where z has at
 * least EXPANSION times as many elements as x. */
#include "passes/pass.h"

#include <math.h>

enum { EXPANSION = 3 };

typedef struct Match {
    const Node *norm;       /* the gradient of the norm: x mean var scale dy dshift dscale */
    Val dz;                 /* as the product reads it, perhaps renamed */
    Val other;              /* the product's other factor */
    Val x, w;               /* factors of z */
    const char *e, *k;      /* channels of z and of x, as the product calls them */
    const char *own_e, *in; /* as z's product calls them */
} Match;

static Val strip(const Func *f, Val v)
{
    while (func_node(f, v)->op == OP_RENAME)
        v = func_node(f, v)->in[0];
    return v;
}

static Val renamed(Func *f, Val v, const char *from, const char *to)
{
    return from == to ? v : func_rename(f, v, from, to);
}

/* What the axis of v, perhaps renamed, is called in `again`, another renaming of the same value. */
static const char *name_in(const Func *f, Val v, const char *axis, Val again)
{
    return func_shape(f, again)->name[shape_axis(func_shape(f, v), axis)];
}

/* The norm runs over all axes of z but the one that scale has, about z's own mean. */
static bool is_plain_norm(const Func *f, const Node *norm)
{
    const Shape *z = func_shape(f, norm->in[0]), *scale = func_shape(f, norm->in[3]);
    if (scale->rank != 1 || shape_axis(z, scale->name[0]) < 0 ||
        !shape_within(func_shape(f, norm->in[4]), z) || func_shape(f, norm->in[4])->rank != z->rank)
        return false;
    double n = (double)shape_elems(z) / (double)scale->size[0];
    const Node *mean = func_node(f, norm->in[1]);
    return fabs(norm->attrs.k[1] * n - 1) < 1e-9 && mean->op == OP_SUM &&
           mean->in[0].id == norm->in[0].id && mean->attrs.over.n == z->rank - 1 &&
           fabs(mean->attrs.k[0] * n - 1) < 1e-9;
}

/* Which factor of z is `other`? 0 the activation, 1 the weight, -1 none. */
static int factor_of(const Func *f, const Node *z, Val other, const char *e, Match *m)
{
    for (int i = 0; i < 2; i++) {
        const Shape *w = func_shape(f, z->in[1 - i]);
        if (w->rank == 2 && shape_axis(w, e) >= 0 && shape_axis(func_shape(f, z->in[i]), e) < 0) {
            m->x = z->in[i];
            m->w = z->in[1 - i];
            return strip(f, other).id == strip(f, m->x).id   ? 0
                   : strip(f, other).id == strip(f, m->w).id ? 1
                                                             : -1;
        }
    }
    return -1;
}

/* Does n's factor `side` come from a norm behind a product whose other operand n has? 0: n is the
 * weight gradient, 1: the input gradient, -1: neither. */
static int match(const Func *f, const Node *n, const Val *in, int side, Match *m)
{
    Val dz = strip(f, in[side]);
    const Node *norm = func_node(f, dz);
    if (!node_is_norm_gradient(norm) || !is_plain_norm(f, norm))
        return -1;
    const Node *z = func_node(f, norm->in[0]);
    *m = (Match){norm, in[side], in[1 - side], .own_e = func_shape(f, norm->in[3])->name[0]};
    if (z->op != OP_CONTRACT || z->attrs.over.n != 1)
        return -1;
    int factor = factor_of(f, z, m->other, m->own_e, m);
    if (factor < 0 || shape_elems(&z->shape) < EXPANSION * shape_elems(func_shape(f, m->x)))
        return -1;
    m->in = z->attrs.over.name[0];
    m->e = name_in(f, dz, m->own_e, m->dz);
    m->k = name_in(f, factor ? m->w : m->x, m->in, m->other);
    int n_over = factor ? 1 : norm->shape.rank - 1;
    bool sums_e = false;
    for (int i = 0; i < n->attrs.over.n; i++)
        sums_e |= n->attrs.over.name[i] == m->e;
    return n->attrs.over.n == n_over && sums_e == (factor == 1) ? factor : -1;
}

/* dy with the names that the product gives dz. */
static Val dy_of(Func *f, const Match *m)
{
    Val dy = m->norm->in[4];
    const Shape *own = &m->norm->shape;
    for (int i = 0; i < own->rank; i++)
        dy = renamed(f, dy, own->name[i], func_shape(f, m->dz)->name[i]);
    return dy;
}

/* s, s dshift / n, and q, over the axis e. */
static Val per_channel(Func *f, const Match *m, const char *formula, Val sum)
{
    Val in[] = {m->norm->in[3], m->norm->in[2], sum};
    return renamed(f, func_map(f, formula, m->norm->attrs.k, 2, in, sum.id ? 3 : 2), m->own_e,
                   m->e);
}

#define SCALE "a * rsqrt(b + k0)"
#define SHIFT "a * rsqrt(b + k0) * (k1 * c)"
#define SLOPE "a * rsqrt(b + k0) * rsqrt(b + k0) * (k1 * c)"

/* x - mean(x), its channels called `name`: part of the forward pass. */
static Val centred(Func *f, const Match *m, const char *name)
{
    Val x = strip(f, m->x);
    const char *channel = name_in(f, m->x, m->in, x);
    AxisList over = {0};
    for (int i = 0; i < func_shape(f, x)->rank; i++)
        if (func_shape(f, x)->name[i] != channel)
            over.name[over.n++] = func_shape(f, x)->name[i];
    bool backward = f->backward;
    f->backward = func_node(f, x)->backward;
    Val d = func_emit2(f, OP_SUB, x, func_mean(f, x, &over));
    for (int i = 0; i < func_shape(f, x)->rank; i++) /* names of z's product, then this one's */
        d = renamed(f, d, func_shape(f, x)->name[i],
                    func_shape(f, x)->name[i] == channel ? name : func_shape(f, m->x)->name[i]);
    f->backward = backward;
    return d;
}

static const char *second_name(Func *f, const char *axis)
{
    return name_intern(f->module->names, arena_printf(f->module->arena, "%s_gram", axis));
}

static Val weight(Func *f, const Match *m, const char *k)
{
    Val w = renamed(f, m->w, m->in, k);
    return renamed(f, w, m->own_e, m->e);
}

static AxisList axes(const char *a, const char *b)
{
    return (AxisList){b ? 2 : 1, {a, b}};
}

static Val input_gradient(Func *f, const Node *n, const Match *m)
{
    const char *j = second_name(f, m->k);
    AxisList e = axes(m->e, NULL), over = axes(j, NULL), kj = axes(m->k, j), k = axes(m->k, NULL);
    Val w = m->other, x = centred(f, m, j);
    Val scaled = func_emit2(f, OP_MUL, w, per_channel(f, m, SCALE, VAL_NONE));
    Val first = func_contract(f, dy_of(f, m), scaled, &e, &n->attrs.out);
    Val sloped = func_emit2(f, OP_MUL, w, per_channel(f, m, SLOPE, m->norm->in[6]));
    Val square = func_contract(f, sloped, weight(f, m, j), &e, &kj);
    Val shift = func_contract(f, w, per_channel(f, m, SHIFT, m->norm->in[5]), &e, &k);
    Val second = func_contract(f, x, square, &over, &n->attrs.out);
    return func_map(f, "a - b - c", NULL, 0, (Val[]){first, second, shift}, 3);
}

static Val weight_gradient(Func *f, const Node *n, const Match *m)
{
    const char *j = second_name(f, m->k);
    AxisList over = axes(j, NULL), jk = axes(j, m->k);
    Val x = centred(f, m, m->k);
    Val first = func_contract(f, dy_of(f, m), x, &n->attrs.over, &n->attrs.out);
    Val gram = func_contract(f, centred(f, m, j), x, &n->attrs.over, &jk);
    Val second = func_contract(f, weight(f, m, j), gram, &over, &n->attrs.out);
    Val in[] = {first, per_channel(f, m, SCALE, VAL_NONE), second,
                per_channel(f, m, SLOPE, m->norm->in[6])};
    return func_map(f, "a * b - c * d", NULL, 0, in, 4);
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    Func *f = r->out;
    for (int side = 0; n->op == OP_CONTRACT && side < 2; side++) {
        Match m;
        int factor = match(f, n, in, side, &m);
        if (factor < 0)
            continue;
        const Node norm = *m.norm; /* nodes move while others are added */
        m.norm = &norm;
        return factor ? input_gradient(f, n, &m) : weight_gradient(f, n, &m);
    }
    return rewrite_keep(r, n, in);
}

Func *pass_norm_products(PassCx *cx, const Func *in)
{
    if (!cx->options->target.counts_bytes || cx->options->fuse != FUSE_FULL)
        return (Func *)in;
    return func_rewrite(cx, in, rule, NULL);
}
