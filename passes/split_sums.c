/* split_sums: a sum whose terms have factors without some of the summed axes becomes sums over
 * these axes, and the factors meet them afterwards:
 *
 *     sum_{b, x} h(g s + m)  ->  sum_b (s sum_x h(g) + m sum_x h(1)),   h linear, s and m without x
 *
 * when s or m are made of g's own sums (a squeeze-excite gate's gradient), so that the sum would
 * read everything behind g again, while the parts are there when g is (fact 3 of
 * specs/performance.md, 1.2).
 * Needs autodiff done. Keeps shapes; sums are taken in another order. For targets that count bytes.
 */
#include "passes/pass.h"

enum { MAX_TERMS = 4, MAX_DEPTH = 16 };

/* factor * value; the factor lacks the inner axes, none is 1. */
typedef struct Term {
    Val factor, value;
} Term;

typedef struct Terms {
    int n;
    Term at[MAX_TERMS];
    bool failed;
} Terms;

typedef struct Splitter {
    Rewrite *r;
    AxisList inner, outer; /* summed axes: those that late values lack, the others */
    Val last;              /* the latest large result among what the sum reads: g */
    bool is_late;          /* something it reads is made after that */
} Splitter;

static bool lacks_all(const Shape *s, const AxisList *axes)
{
    for (int i = 0; i < axes->n; i++)
        if (shape_axis(s, axes->name[i]) >= 0)
            return false;
    return true;
}

static bool has_all(const Shape *s, const AxisList *axes)
{
    for (int i = 0; i < axes->n; i++)
        if (shape_axis(s, axes->name[i]) < 0)
            return false;
    return true;
}

static const char *formula_of(const Node *n)
{
    return !op_is_pointwise(n->op) ? NULL : n->op == OP_MAP ? n->attrs.formula : op_formula(n->op);
}

static bool is_code(Op op)
{
    Lowering l = op_lowering(op);
    return l == LOWER_POINTWISE || l == LOWER_VIEW || l == LOWER_INDEX;
}

static bool is_product(const char *formula)
{
    return !strcmp(formula, "a * b") || !strcmp(formula, "b * a");
}

static void collect(Splitter *z, Val v, Terms *out, int depth);

/* Is any operand part of the backward pass? What is not can be computed in the forward pass. */
static bool reads_backward(const Func *f, const Val *in, int n)
{
    bool any = false;
    for (int i = 0; i < n; i++)
        any |= func_node(f, in[i])->backward && func_node(f, in[i])->op != OP_FILL;
    return any;
}

/* h(.., term, ..) for every term of operand i, in which h is linear. */
static void collect_linear(Splitter *z, const Node *n, int i, Terms *out, int depth)
{
    Func *f = z->r->out;
    Terms below = {0};
    collect(z, n->in[i], &below, depth + 1);
    out->failed |= below.failed || out->n + below.n > MAX_TERMS;
    for (int k = 0; !out->failed && k < below.n; k++) {
        Val in[MAX_OPERANDS];
        memcpy(in, n->in, sizeof in);
        in[i] = below.at[k].value;
        f->backward = reads_backward(f, in, n->n_in);
        Val h = func_emit(f, n->op, &n->attrs, in, n->n_in);
        out->at[out->n++] = (Term){below.at[k].factor, h};
    }
}

/* Does any operand's term have a factor, or are there several? Without emitting anything. */
static bool has_structure(const Splitter *z, Val v, int depth)
{
    const Func *f = z->r->out;
    const Node *n = func_node(f, v);
    const char *formula = formula_of(n), *error;
    if (!formula || depth > MAX_DEPTH || !n->n_in)
        return false;
    if (is_product(formula))
        for (int i = 0; i < 2; i++)
            if (lacks_all(func_shape(f, n->in[i]), &z->inner) && has_all(&n->shape, &z->inner))
                return n->in[i].id > z->last.id || has_structure(z, n->in[1 - i], depth + 1) ||
                       func_shape(f, n->in[i])->rank > 1;
    if (n->op == OP_ADD)
        return has_structure(z, n->in[0], depth + 1) || has_structure(z, n->in[1], depth + 1);
    const Formula *code = formula_compile(z->r->cx->arena, formula, &error);
    for (int i = 0; i < n->n_in; i++)
        if (formula_is_linear(code, i) && has_structure(z, n->in[i], depth + 1))
            return true;
    return false;
}

static void collect(Splitter *z, Val v, Terms *out, int depth)
{
    Func *f = z->r->out;
    const Node n = *func_node(f, v);
    const char *formula = formula_of(&n), *error;
    if (!has_structure(z, v, depth)) {
        out->failed |= out->n == MAX_TERMS || !has_all(&n.shape, &z->inner);
        if (!out->failed)
            out->at[out->n++] = (Term){VAL_NONE, v};
        return;
    }
    if (is_product(formula))
        for (int i = 0; i < 2; i++) {
            if (!lacks_all(func_shape(f, n.in[i]), &z->inner))
                continue;
            Terms below = {0};
            collect(z, n.in[1 - i], &below, depth + 1);
            out->failed |= below.failed || out->n + below.n > MAX_TERMS;
            for (int k = 0; !out->failed && k < below.n; k++) {
                Val own = below.at[k].factor;
                own = own.id ? func_emit2(f, OP_MUL, own, n.in[i]) : n.in[i];
                out->at[out->n++] = (Term){own, below.at[k].value};
            }
            return;
        }
    if (n.op == OP_ADD) {
        collect(z, n.in[0], out, depth + 1);
        collect(z, n.in[1], out, depth + 1);
        return;
    }
    const Formula *code = formula_compile(z->r->cx->arena, formula, &error);
    for (int i = 0; i < n.n_in; i++)
        if (formula_is_linear(code, i) && has_structure(z, n.in[i], depth + 1)) {
            collect_linear(z, &n, i, out, depth);
            return;
        }
}

/* Calls on everything that reading the value loads. */
typedef void (*Visit)(Splitter *z, Val v);

static void each_source(Splitter *z, Val v, Visit visit, int depth)
{
    const Node *n = func_node(z->r->out, v);
    if (op_lowering(n->op) == LOWER_LEAF || depth > MAX_DEPTH)
        return;
    if (!is_code(n->op)) {
        visit(z, v);
        return;
    }
    for (int i = 0; i < n->n_in; i++)
        each_source(z, n->in[i], visit, depth + 1);
}

static void find_last(Splitter *z, Val v)
{
    const Node *n = func_node(z->r->out, v);
    if (op_lowering(n->op) != LOWER_REDUCE && v.id > z->last.id && has_all(&n->shape, &z->inner))
        z->last = v;
}

/* Takes the axes of a late value away from the inner ones. */
static void find_inner(Splitter *z, Val v)
{
    const Shape *s = func_shape(z->r->out, v);
    if (v.id <= z->last.id)
        return;
    z->is_late = true;
    for (int i = 0; i < z->inner.n;)
        if (shape_axis(s, z->inner.name[i]) >= 0) {
            z->outer.name[z->outer.n++] = z->inner.name[i];
            z->inner.n--;
            memmove(&z->inner.name[i], &z->inner.name[i + 1],
                    (size_t)(z->inner.n - i) * sizeof *z->inner.name);
        } else {
            i++;
        }
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    Func *f = r->out;
    Val total = VAL_NONE;
    if (n->op != OP_SUM)
        return rewrite_keep(r, n, in);
    Splitter z = {.r = r, .inner = n->attrs.over};
    each_source(&z, in[0], find_last, 0);
    each_source(&z, in[0], find_inner, 0);
    if (!z.last.id || !z.is_late || !z.inner.n || !has_structure(&z, in[0], 0))
        return rewrite_keep(r, n, in);
    uint32_t n_before = f->nodes.len;
    Terms t = {0};
    collect(&z, in[0], &t, 0);
    z.is_late = false;
    for (int i = 0; i < t.n; i++) /* nothing late may be left inside */
        each_source(&z, t.at[i].value, find_inner, 0);
    if (t.failed || t.n < 2 || z.is_late) {
        f->nodes.len = n_before;
        return rewrite_keep(r, n, in);
    }
    for (int i = 0; i < t.n; i++) {
        f->backward = n->backward && reads_backward(f, &t.at[i].value, 1);
        Val part = func_sum(f, t.at[i].value, &z.inner, 1);
        f->backward = n->backward;
        part = t.at[i].factor.id ? func_emit2(f, OP_MUL, t.at[i].factor, part) : part;
        total = total.id ? func_emit2(f, OP_ADD, total, part) : part;
    }
    return z.outer.n ? func_sum(f, total, &z.outer, n->attrs.k[0])
                     : func_scale(f, total, n->attrs.k[0]);
}

Func *pass_split_sums(PassCx *cx, const Func *in)
{
    if (!cx->options->target.counts_bytes || cx->options->fuse != FUSE_FULL)
        return (Func *)in;
    return func_rewrite(cx, in, rule, NULL);
}
