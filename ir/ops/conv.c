/* Convolution over 1 to 3 axes, its input gradient and its weight gradient: one triple sum
 *
 *     sum over all axes of  x[.., i, ..] * w[.., k, ..] * y[.., o, ..]
 *     where i = o stride + k dilation - pad, and x counts as 0 outside of [0, in_size),
 *
 * of which each op leaves one factor out:
 *
 *     conv    y[o] from x, w    over = axes of x and w that y lacks (input channels)
 *     conv_dx x[i] from y, w    over = axes of y and w that x lacks (output channels)
 *     conv_dw w[k] from y, x    over = axes of y and x that w lacks (batch), save stencil axes
 *
 * A stencil axis (say h) is an axis of x and y, of sizes in_size and
 *     out_size = floor((in_size + 2 pad - dilation (taps - 1) - 1) / stride) + 1;
 * its tap axis (kh) is an axis of w alone. Taps, and for conv_dw the stencil axes, are summed
 * without being named in `over`. Other axes of both operands that are not summed are batch axes
 * (the channels of a depthwise convolution). `out` is the order of the result's axes. conv_dx needs
 * in_size and conv_dw needs taps as attributes; the shape rule fills in the ones that follow from
 * the operands, and checks them where they are given (not 0). */
#include "ir/ops/rules.h"

enum { MAX_STEP = 1 << 20 };
static const int64_t MAX_SIZE = (int64_t)1 << 40;

/* Which operand plays which part; -1 is the result. */
typedef struct Roles {
    int x, w, y;
} Roles;

static Roles roles(Op op)
{
    return op == OP_CONV      ? (Roles){.x = 0, .w = 1, .y = -1}
           : op == OP_CONV_DX ? (Roles){.x = -1, .w = 1, .y = 0}
                              : (Roles){.x = 1, .w = -1, .y = 0};
}

static bool is_axis(const Attrs *a, const char *name)
{
    for (int i = 0; i < a->n_stencil; i++)
        if (!strcmp(a->stencil[i].axis, name))
            return true;
    return false;
}

static bool is_tap(const Attrs *a, const char *name)
{
    for (int i = 0; i < a->n_stencil; i++)
        if (!strcmp(a->stencil[i].tap, name))
            return true;
    return false;
}

static int64_t out_size(const Stencil *s)
{
    int64_t last = s->in_size + 2 * s->pad - s->dilation * (s->taps - 1) - 1;
    return last < 0 ? 0 : last / s->stride + 1;
}

static bool impossible(const RuleCx *cx, const char *what, int64_t value)
{
    diag_error(cx->diags, DIAG_E0250, cx->node->span, "%s: %s is %lld", op_text(cx->node->op), what,
               (long long)value);
    return false;
}

static bool check_steps(const RuleCx *cx, const Stencil *s)
{
    if (s->stride < 1 || s->stride > MAX_STEP)
        return impossible(cx, "the stride", s->stride);
    if (s->dilation < 1 || s->dilation > MAX_STEP)
        return impossible(cx, "the dilation", s->dilation);
    if (s->pad < 0 || s->pad > MAX_STEP)
        return impossible(cx, "the padding", s->pad);
    return true;
}

/* A size that follows from operand i (when i >= 0) or must be given. */
static bool settle_size(const RuleCx *cx, int i, const char *axis, int64_t *size)
{
    if (i >= 0) {
        int p = rule_find_axis(cx, i, axis);
        if (p < 0)
            return false;
        int64_t found = rule_operand(cx, i)->shape.size[p];
        if (*size && *size != found) {
            diag_error(cx->diags, DIAG_E0203, cx->node->span,
                       "%s: axis '%s' of %s was expected to have size %lld", op_text(cx->node->op),
                       axis, rule_operand_text(cx, i), (long long)*size);
            return false;
        }
        *size = found;
    }
    if (*size >= 1 && *size <= MAX_SIZE)
        return true;
    diag_error(cx->diags, DIAG_E0220, cx->node->span, "%s: the size of axis '%s' is %lld",
               op_text(cx->node->op), axis, (long long)*size);
    return false;
}

/* The tap axis belongs to w alone, the stencil axis to x and y alone. */
static bool check_separate(const RuleCx *cx, const Stencil *s, Roles r)
{
    for (int i = 0; i < 2; i++) {
        const char *foreign = i == r.w ? s->axis : s->tap;
        if (shape_axis(&rule_operand(cx, i)->shape, foreign) >= 0) {
            diag_error(cx->diags, DIAG_E0212, cx->node->span, "%s: axis '%s' cannot stand in %s",
                       op_text(cx->node->op), foreign, rule_operand_text(cx, i));
            return false;
        }
    }
    return true;
}

static bool settle_stencil(const RuleCx *cx, Stencil *s, Roles r)
{
    if (!check_steps(cx, s) || !settle_size(cx, r.x, s->axis, &s->in_size) ||
        !settle_size(cx, r.w, s->tap, &s->taps) || !check_separate(cx, s, r))
        return false;
    int64_t out = out_size(s);
    if (out < 1) {
        diag_error(cx->diags, DIAG_E0250, cx->node->span,
                   "%s: a kernel of %lld taps (dilation %lld) is longer than axis '%s' of size "
                   "%lld with %lld of padding on both sides",
                   op_text(cx->node->op), (long long)s->taps, (long long)s->dilation, s->axis,
                   (long long)s->in_size, (long long)s->pad);
        return false;
    }
    return r.y < 0 || settle_size(cx, r.y, s->axis, &out);
}

/* Axes of both operands agree in size; those of `over` are axes of both and no stencil axes. */
static bool check_axes(const RuleCx *cx)
{
    const Attrs *at = &cx->node->attrs;
    const Shape *a = &rule_operand(cx, 0)->shape, *b = &rule_operand(cx, 1)->shape;
    if (!rule_check_list(cx, &at->over))
        return false;
    for (int i = 0; i < at->over.n; i++) {
        const char *name = at->over.name[i];
        if (rule_find_axis(cx, 0, name) < 0 || rule_find_axis(cx, 1, name) < 0)
            return false;
        if (is_axis(at, name) || is_tap(at, name)) {
            diag_error(cx->diags, DIAG_E0212, cx->node->span,
                       "%s: '%s' cannot be a stencil axis and a summed axis", op_text(cx->node->op),
                       name);
            return false;
        }
    }
    for (int i = 0; i < a->rank; i++) {
        int p = is_axis(at, a->name[i]) ? -1 : shape_axis(b, a->name[i]);
        if (p >= 0 && b->size[p] != a->size[i])
            return rule_sizes_differ(cx, 0, 1, a->name[i]);
    }
    return true;
}

static bool add_others(const RuleCx *cx, const Shape *s, Shape *all)
{
    const Attrs *at = &cx->node->attrs;
    for (int i = 0; i < s->rank; i++) {
        const char *name = s->name[i];
        bool skip = is_axis(at, name) || is_tap(at, name) || list_has(&at->over, name);
        if (!skip && shape_axis(all, name) < 0 && !rule_add_axis(cx, all, name, s->size[i]))
            return false;
    }
    return true;
}

static bool shape_any(const RuleCx *cx, Shape *out)
{
    Attrs *at = &cx->node->attrs;
    Roles r = roles(cx->node->op);
    Shape all = {0}, axes = {0};
    if (at->n_stencil < 1)
        return impossible(cx, "the number of axes", at->n_stencil);
    for (int i = 0; i < at->n_stencil; i++) {
        Stencil *s = &at->stencil[i];
        if (!rule_add_axis(cx, &axes, s->axis, 1) || !rule_add_axis(cx, &axes, s->tap, 1) ||
            !settle_stencil(cx, s, r))
            return false;
        const char *name = r.w < 0 ? s->tap : s->axis;
        int64_t size = r.w < 0 ? s->taps : r.x < 0 ? s->in_size : out_size(s);
        if (!rule_add_axis(cx, &all, name, size))
            return false;
    }
    return check_axes(cx) && add_others(cx, &rule_operand(cx, 0)->shape, &all) &&
           add_others(cx, &rule_operand(cx, 1)->shape, &all) && rule_order(cx, &all, &at->out, out);
}

/* ---- evaluation: the triple sum ---- */

/* The points (.., o, .., k, ..): all axes of y, then the others of w and of x. */
static void conv_axes(Walk *w, const Attrs *at, const Shape *x, const Shape *kernel, const Shape *y)
{
    walk_axes(w, y);
    walk_axes(w, kernel);
    for (int i = 0; i < x->rank; i++)
        if (!is_axis(at, x->name[i]) && walk_find(w, x->name[i]) < 0)
            walk_axes(w, &(Shape){.rank = 1, .size = {x->size[i]}, .name = {x->name[i]}});
}

/* Offset into x added by the stencil axes at the point, or -1 outside of x. */
static int64_t input_offset(const Walk *w, const Attrs *at, const int64_t *step, const int *axis,
                            const int *tap)
{
    int64_t offset = 0;
    for (int s = 0; s < at->n_stencil; s++) {
        const Stencil *st = &at->stencil[s];
        int64_t i = w->index[axis[s]] * st->stride + w->index[tap[s]] * st->dilation - st->pad;
        if (i < 0 || i >= st->in_size)
            return -1;
        offset += i * step[s];
    }
    return offset;
}

static void eval_any(const EvalCx *cx)
{
    const Attrs *at = &cx->node->attrs;
    Roles r = roles(cx->node->op);
    const EvalTensor *x = r.x < 0 ? cx->out : cx->in[r.x], *k = r.w < 0 ? cx->out : cx->in[r.w],
                     *y = r.y < 0 ? cx->out : cx->in[r.y];
    int64_t step[MAX_STENCIL], stride[MAX_RANK];
    int axis[MAX_STENCIL], tap[MAX_STENCIL];
    Walk w = {0};
    conv_axes(&w, at, &x->shape, &k->shape, &y->shape);
    int sx = walk_tensor(&w, &x->shape), sk = walk_tensor(&w, &k->shape),
        sy = walk_tensor(&w, &y->shape);
    shape_strides(&x->shape, stride);
    for (int s = 0; s < at->n_stencil; s++) {
        axis[s] = walk_find(&w, at->stencil[s].axis);
        tap[s] = walk_find(&w, at->stencil[s].tap);
        step[s] = stride[shape_axis(&x->shape, at->stencil[s].axis)];
        w.stride[sx][axis[s]] = 0;
    }
    for (; !w.done; walk_next(&w)) {
        int64_t in = input_offset(&w, at, step, axis, tap);
        if (in < 0)
            continue;
        double *px = x->at + w.offset[sx] + in, *pk = k->at + w.offset[sk],
               *py = y->at + w.offset[sy];
        if (r.y < 0)
            *py += *px * *pk;
        else if (r.x < 0)
            *px += *py * *pk;
        else
            *pk += *px * *py;
    }
}

/* ---- gradients: each factor from the two others ---- */

static Val emit_factor(Func *f, Op op, const Node *y, Val a, Val b, const Shape *result)
{
    Attrs at = {.n_stencil = y->attrs.n_stencil, .out = shape_axes(result)};
    memcpy(at.stencil, y->attrs.stencil, sizeof at.stencil);
    const Shape *sa = func_shape(f, a), *sb = func_shape(f, b);
    for (int i = 0; i < sa->rank; i++) {
        const char *name = sa->name[i];
        if (shape_axis(sb, name) >= 0 && shape_axis(result, name) < 0 && !is_axis(&at, name))
            at.over.name[at.over.n++] = name;
    }
    return func_emit(f, op, &at, (Val[]){a, b}, 2);
}

void grad_conv(Func *f, const Node *y, Val dy, Val *din)
{
    Val x = y->in[0], w = y->in[1];
    const Shape xs = *func_shape(f, x), ws = *func_shape(f, w);
    din[0] = emit_factor(f, OP_CONV_DX, y, dy, w, &xs);
    din[1] = emit_factor(f, OP_CONV_DW, y, dy, x, &ws);
}

/* z = conv_dx(g, w) */
void grad_conv_dx(Func *f, const Node *z, Val dz, Val *din)
{
    Val g = z->in[0], w = z->in[1];
    const Shape gs = *func_shape(f, g), ws = *func_shape(f, w);
    din[0] = emit_factor(f, OP_CONV, z, dz, w, &gs);
    din[1] = emit_factor(f, OP_CONV_DW, z, g, dz, &ws);
}

/* v = conv_dw(g, x) */
void grad_conv_dw(Func *f, const Node *v, Val dv, Val *din)
{
    Val g = v->in[0], x = v->in[1];
    const Shape gs = *func_shape(f, g), xs = *func_shape(f, x);
    din[0] = emit_factor(f, OP_CONV, v, x, dv, &gs);
    din[1] = emit_factor(f, OP_CONV_DX, v, g, dv, &xs);
}

/* Taps that fall outside of the input are counted. */
static double cost_any(const Func *f, const Node *n)
{
    Roles r = roles(n->op);
    const Shape *x = r.x < 0 ? &n->shape : func_shape(f, n->in[r.x]),
                *k = r.w < 0 ? &n->shape : func_shape(f, n->in[r.w]),
                *y = r.y < 0 ? &n->shape : func_shape(f, n->in[r.y]);
    Walk w = {0};
    conv_axes(&w, &n->attrs, x, k, y);
    double points = 1;
    for (int i = 0; i < w.rank; i++)
        points *= (double)w.size[i];
    return 2 * points;
}

#define CONV_RULES(rules)                                                                          \
    bool shape_##rules(const RuleCx *cx, Shape *out)                                               \
    {                                                                                              \
        return shape_any(cx, out);                                                                 \
    }                                                                                              \
    void eval_##rules(const EvalCx *cx)                                                            \
    {                                                                                              \
        eval_any(cx);                                                                              \
    }                                                                                              \
    double cost_##rules(const Func *f, const Node *n)                                              \
    {                                                                                              \
        return cost_any(f, n);                                                                     \
    }

CONV_RULES(conv)
CONV_RULES(conv_dx)
CONV_RULES(conv_dw)
