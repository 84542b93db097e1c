/* dense and conv: products with weights.
 *
 * Weights keep the order of published checkpoints, [out, in / groups, taps..]; conv leaves the
 * input axis out when every group has one channel. Groups are views: out splits into (group, each),
 * the input axis into (group, in), the product sums over `in` and keeps the group as a batch axis,
 * and (group, each) merge again. */
#include "ir/builtin.h"

/* Axis names of one product. The IR wants every role to have a name of its own. */
typedef struct Product {
    const char *out, *from; /* as the source calls them */
    int64_t n_out, n_from, groups;
    const char *in;           /* summed axis of weight and value */
    const char *group, *each; /* with groups: parts of `out` */
    bool is_depthwise;        /* one input channel per group: nothing is summed */
} Product;

static bool plan(OpCall *c, const Arg *out, const char *from, const Arg *groups, Product *p)
{
    Elaborator *el = c->el;
    if (out->n > 1) {
        el_error(el, DIAG_E0202, out->span, "'%s' makes one axis, such as [c: 64]", c->def->name);
        return false;
    }
    p->out = out->n ? out->axis[0].axis : from;
    p->from = from;
    p->n_from = op_axis_size(c, from);
    p->n_out = out->n ? out->axis[0].size : p->n_from;
    p->groups = groups->integer;
    p->in = op_axis_name(c, from, "_in");
    p->group = op_axis_name(c, p->out, "_group");
    p->each = op_axis_name(c, p->out, "_each");
    if (p->out != p->from && op_axis_size(c, p->out)) {
        el_error(el, DIAG_E0212, out->span, "the value has an axis '%s' already", p->out);
        el_note(el, c->span, "the value here is %s", el_shape_text(el, op_shape_of(c)));
        return false;
    }
    if (p->groups < 1 || p->n_from % p->groups || p->n_out % p->groups) {
        el_error(el, DIAG_E0250, groups->span,
                 "%lld groups do not divide the %lld inputs and %lld outputs", (long long)p->groups,
                 (long long)p->n_from, (long long)p->n_out);
        return false;
    }
    return true;
}

/* The input axis a product reads when none is named. */
static const char *input_axis(OpCall *c, const Arg *out)
{
    const char *channel = name_intern(c->el->names, "c");
    if (out->n && op_axis_size(c, out->axis[0].axis))
        return out->axis[0].axis;
    if (op_axis_size(c, channel))
        return channel;
    el_error(c->el, DIAG_E0211, c->span, "'%s' has no axis '%s' to read", c->def->name,
             out->n ? out->axis[0].axis : channel);
    el_note(c->el, c->span, "the value here is %s", el_shape_text(c->el, op_shape_of(c)));
    el_help(c->el, "name the axis it reads with from:");
    return NULL;
}

/* Does the tensor have the axes and sizes of the weight, in whatever order? */
static bool is_weight(OpCall *c, const Arg *given, const Shape *wanted)
{
    const Shape *s = func_shape(c->el->func, given->val);
    bool same = s->rank == wanted->rank;
    for (int i = 0; same && i < s->rank; i++) {
        int at = shape_axis(s, wanted->name[i]);
        same = at >= 0 && s->size[at] == wanted->size[i];
    }
    if (same)
        return true;
    el_error(c->el, DIAG_E0203, given->span, "'weight' of '%s' has the axes %s here", c->def->name,
             el_shape_text(c->el, wanted));
    el_note(c->el, given->span, "the value here is %s", el_shape_text(c->el, s));
    return false;
}

/* A parameter, or what the call gives instead of one. */
static Val make_weight(OpCall *c, const Product *p, const Arg *kernel, const Arg *given)
{
    ParamSpec w = {.op = c->def->name,
                   .label = c->label,
                   .role = "weight",
                   .init = {.kind = INIT_NORMAL},
                   .span = c->span};
    int64_t taps = 1;
    shape_add(&w.shape, p->out, p->n_out);
    if (!p->is_depthwise)
        shape_add(&w.shape, p->in, p->n_from / p->groups);
    for (int i = 0; kernel && i < kernel->n; i++) {
        shape_add(&w.shape, op_axis_name(c, "k", kernel->axis[i].axis), kernel->axis[i].size);
        taps *= kernel->axis[i].size;
    }
    if (given && given->given)
        return is_weight(c, given, &w.shape) ? given->val : VAL_NONE;
    w.fan_in = p->n_from / p->groups * taps;
    w.fan_out = taps * p->n_out / p->groups;
    w.init.b = __builtin_sqrt(1.0 / (double)w.fan_in);
    return el_param(c->el, &w);
}

static Val add_bias(OpCall *c, const Product *p, Val y)
{
    ParamSpec b = {.op = c->def->name,
                   .label = c->label,
                   .role = "bias",
                   .fan_in = p->n_from / p->groups,
                   .fan_out = p->n_out,
                   .span = c->span};
    shape_add(&b.shape, p->out, p->n_out);
    Val bias = el_param(c->el, &b);
    return func_emit2(c->el->func, OP_ADD, y, bias);
}

/* The value and the weight with their axes in the roles of the product. */
static void split_roles(OpCall *c, const Product *p, Val *x, Val *w)
{
    Func *f = c->el->func;
    if (p->groups == 1) {
        *x = func_rename(f, *x, p->from, p->in);
        return;
    }
    *w = func_split(f, *w, p->out, p->group, p->each, p->groups);
    *x = p->is_depthwise ? func_rename(f, *x, p->from, p->group)
                         : func_split(f, *x, p->from, p->group, p->in, p->groups);
}

/* The value's axes with `from` replaced by what the product makes of it. */
static AxisList result_axes(const OpCall *c, const Product *p)
{
    const Shape *s = op_shape_of(c);
    AxisList list = {0};
    for (int i = 0; i < s->rank; i++) {
        if (s->name[i] != p->from) {
            list.name[list.n++] = s->name[i];
        } else if (p->groups == 1) {
            list.name[list.n++] = p->out;
        } else {
            list.name[list.n++] = p->group;
            if (list.n < MAX_RANK)
                list.name[list.n++] = p->each;
        }
    }
    return list;
}

static bool fits_rank(OpCall *c)
{
    if (op_shape_of(c)->rank < MAX_RANK)
        return true;
    el_error(c->el, DIAG_E0004, c->span, "'%s' of a tensor of more than %d axes", c->def->name,
             MAX_RANK - 1);
    return false;
}

static Val join_groups(OpCall *c, const Product *p, Val y)
{
    return p->groups == 1 ? y : func_merge(c->el->func, y, p->group, p->each, p->out);
}

Val emit_dense(OpCall *c)
{
    Product p = {0};
    const Arg *out = &c->arg[0], *from = &c->arg[1];
    const char *axis = from->given ? from->text : input_axis(c, out);
    if (!axis || !fits_rank(c) || !plan(c, out, axis, &c->arg[2], &p))
        return VAL_NONE;
    Val x = c->x, w = make_weight(c, &p, NULL, NULL), y;
    AxisList over = {.n = 1, .name = {p.in}}, order = result_axes(c, &p);
    split_roles(c, &p, &x, &w);
    y = join_groups(c, &p, func_contract(c->el->func, x, w, &over, &order));
    return c->arg[3].truth ? add_bias(c, &p, y) : y;
}

/* ---- conv ---- */

static bool fits(OpCall *c, const AxisArg *k, int64_t pad)
{
    int64_t size = op_axis_size(c, k->axis);
    if (size + 2 * pad >= k->size)
        return true;
    el_error(c->el, DIAG_E0250, k->span,
             "a kernel of %lld is longer than axis '%s' of %lld with %lld of padding on both sides",
             (long long)k->size, k->axis, (long long)size, (long long)pad);
    return false;
}

static bool make_stencils(OpCall *c, Attrs *a)
{
    const Arg *kernel = &c->arg[1], *stride = &c->arg[2], *pad = &c->arg[3];
    if (kernel->n > MAX_STENCIL) {
        el_error(c->el, DIAG_E0004, kernel->span, "a kernel of more than %d axes", MAX_STENCIL);
        return false;
    }
    if (!op_check_steps(c, kernel, stride) || !op_check_steps(c, kernel, pad))
        return false;
    for (int i = 0; i < kernel->n; i++) {
        const AxisArg *k = &kernel->axis[i], *step = op_step(stride, k->axis),
                      *edge = op_step(pad, k->axis);
        int64_t edges = edge ? edge->size : k->size / 2;
        if (!fits(c, k, edges))
            return false;
        a->stencil[a->n_stencil++] = (Stencil){.axis = k->axis,
                                               .tap = op_axis_name(c, "k", k->axis),
                                               .stride = step ? step->size : 1,
                                               .dilation = 1,
                                               .pad = edges};
    }
    return true;
}

Val emit_conv(OpCall *c)
{
    Product p = {0};
    Attrs a = {0};
    const char *axis = input_axis(c, &c->arg[0]);
    if (!axis || !fits_rank(c) || !make_stencils(c, &a) ||
        !plan(c, &c->arg[0], axis, &c->arg[4], &p))
        return VAL_NONE;
    p.is_depthwise = p.groups > 1 && p.groups == p.n_from;
    Val x = c->x, w = make_weight(c, &p, &c->arg[1], &c->arg[6]), y;
    if (!w.id)
        return VAL_NONE;
    if (p.is_depthwise && p.n_out == p.n_from && p.out == p.from) {
        const Shape *s = op_shape_of(c);
        for (int i = 0; i < s->rank; i++)
            a.out.name[a.out.n++] = s->name[i];
        y = func_emit(c->el->func, OP_CONV, &a, (Val[]){x, w}, 2);
    } else {
        split_roles(c, &p, &x, &w);
        a.over = (AxisList){.n = !p.is_depthwise, .name = {p.in}};
        a.out = result_axes(c, &p);
        y = join_groups(c, &p, func_emit(c->el->func, OP_CONV, &a, (Val[]){x, w}, 2));
    }
    return c->arg[5].truth ? add_bias(c, &p, y) : y;
}
