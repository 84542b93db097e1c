/* The tables of rules, made from ops.def, and what the rules share. */
#include "ir/ops/rules.h"

#include <assert.h>

enum { MAX_ELEMS_LOG2 = 40 };

typedef struct Rules {
    bool (*shape)(const RuleCx *cx, Shape *out);
    void (*eval)(const EvalCx *cx);
    void (*grad)(Func *f, const Node *y, Val dy, Val *din);
    double (*cost)(const Func *f, const Node *n);
} Rules;

static const Rules RULES[OP_COUNT] = {
#define POINTWISE(id, text, arity, n_consts, formula, ...)                                         \
    [OP_##id] = {shape_pointwise, eval_pointwise, grad_pointwise, cost_pointwise},
#define OP(id, text, arity, attrs, rules, lowering)                                                \
    [OP_##id] = {shape_##rules, eval_##rules, grad_##rules, cost_##rules},
#include "ir/ops.def"
#undef POINTWISE
#undef OP
};

static bool check_sizes(const RuleCx *cx, const Shape *s)
{
    int64_t elems = 1, limit = (int64_t)1 << MAX_ELEMS_LOG2;
    for (int i = 0; i < s->rank; i++) {
        if (s->size[i] < 1) {
            diag_error(cx->diags, DIAG_E0220, cx->node->span,
                       "%s: axis '%s' has size %lld, at least 1 was expected",
                       op_text(cx->node->op), s->name[i], (long long)s->size[i]);
            return false;
        }
        if (s->size[i] > limit / elems) {
            diag_error(cx->diags, DIAG_E0004, cx->node->span,
                       "%s: the result has more than 2^%d elements", op_text(cx->node->op),
                       MAX_ELEMS_LOG2);
            return false;
        }
        elems *= s->size[i];
    }
    return true;
}

bool op_shape(const RuleCx *cx, Shape *out)
{
    memset(out, 0, sizeof *out);
    return RULES[cx->node->op].shape(cx, out) && check_sizes(cx, out);
}

void eval_node(Arena *arena, const Func *f, Val v, const EvalTensor *const in[], EvalTensor *out)
{
    const Node *n = func_node(f, v);
    out->shape = n->shape;
    out->at = ARENA_ARRAY(arena, double, (size_t)shape_elems(&n->shape));
    EvalCx cx = {arena, n, in, out};
    RULES[n->op].eval(&cx);
}

void op_gradient(Func *f, Val y, Val dy, Val din[MAX_OPERANDS])
{
    Node n = *func_node(f, y); /* emitting moves the nodes */
    Span span = f->span;
    int16_t session = f->session, part = f->part;
    f->span = n.span;
    f->session = n.session;
    f->part = n.part;
    f->of = y;
    memset(din, 0, sizeof *din * MAX_OPERANDS);
    if (dy.id)
        RULES[n.op].grad(f, &n, dy, din);
    f->span = span;
    f->session = session;
    f->part = part;
}

double op_flops(const Func *f, Val v)
{
    const Node *n = func_node(f, v);
    return RULES[n->op].cost(f, n);
}

/* ---- shapes ---- */

const char *rule_operand_text(const RuleCx *cx, int i)
{
    Text t = {.arena = cx->diags->arena};
    text_add(&t, "f32");
    shape_text(&t, &rule_operand(cx, i)->shape);
    return text_str(&t);
}

bool rule_sizes_differ(const RuleCx *cx, int i, int j, const char *axis)
{
    diag_error(cx->diags, DIAG_E0203, cx->node->span, "%s: sizes differ on axis '%s': %s and %s",
               op_text(cx->node->op), axis, rule_operand_text(cx, i), rule_operand_text(cx, j));
    diag_note(cx->diags, rule_operand(cx, j)->span, "%s comes from here", rule_operand_text(cx, j));
    return false;
}

int rule_find_axis(const RuleCx *cx, int i, const char *axis)
{
    int p = shape_axis(&rule_operand(cx, i)->shape, axis);
    if (p < 0)
        diag_error(cx->diags, DIAG_E0211, cx->node->span, "%s: there is no axis '%s' in %s",
                   op_text(cx->node->op), axis, rule_operand_text(cx, i));
    return p;
}

bool rule_add_axis(const RuleCx *cx, Shape *out, const char *axis, int64_t size)
{
    if (shape_add(out, axis, size))
        return true;
    if (shape_axis(out, axis) >= 0)
        diag_error(cx->diags, DIAG_E0212, cx->node->span,
                   "%s: axis '%s' would stand twice in the result", op_text(cx->node->op), axis);
    else
        diag_error(cx->diags, DIAG_E0004, cx->node->span,
                   "%s: the result would have more than %d axes", op_text(cx->node->op), MAX_RANK);
    return false;
}

bool list_has(const AxisList *list, const char *name)
{
    for (int i = 0; i < list->n; i++)
        if (!strcmp(list->name[i], name))
            return true;
    return false;
}

bool rule_check_list(const RuleCx *cx, const AxisList *list)
{
    for (int i = 1; i < list->n; i++) {
        AxisList before = *list;
        before.n = i;
        if (list_has(&before, list->name[i])) {
            diag_error(cx->diags, DIAG_E0212, cx->node->span, "%s: axis '%s' is named twice",
                       op_text(cx->node->op), list->name[i]);
            return false;
        }
    }
    return true;
}

/* Operand i does not fit: name the first one that it disagrees with. */
static bool report_broadcast(const RuleCx *cx, int i, const char *axis, int64_t size)
{
    for (int j = 0; j < cx->node->n_in; j++) {
        const Shape *s = &rule_operand(cx, j)->shape;
        int p = shape_axis(s, axis);
        if (p >= 0 && s->size[p] != size)
            return rule_sizes_differ(cx, i < j ? i : j, i < j ? j : i, axis);
    }
    return false;
}

bool rule_broadcast(const RuleCx *cx, Shape *out)
{
    int lead = 0;
    for (int i = 1; i < cx->node->n_in; i++)
        if (rule_operand(cx, i)->shape.rank > rule_operand(cx, lead)->shape.rank)
            lead = i;
    *out = rule_operand(cx, lead)->shape;
    for (int i = 0; i < cx->node->n_in; i++) {
        const Shape *s = &rule_operand(cx, i)->shape;
        for (int j = 0; j < s->rank; j++) {
            int p = shape_axis(out, s->name[j]);
            if (p < 0 && !rule_add_axis(cx, out, s->name[j], s->size[j]))
                return false;
            if (p >= 0 && out->size[p] != s->size[j])
                return report_broadcast(cx, i, s->name[j], s->size[j]);
        }
    }
    return true;
}

bool rule_order(const RuleCx *cx, const Shape *all, const AxisList *order, Shape *out)
{
    Text t = {.arena = cx->diags->arena};
    out->rank = 0;
    for (int i = 0; i < order->n; i++) {
        int p = shape_axis(all, order->name[i]);
        if (p < 0) {
            shape_text(&t, all);
            diag_error(cx->diags, DIAG_E0211, cx->node->span,
                       "%s: the result has no axis '%s', only %s", op_text(cx->node->op),
                       order->name[i], text_str(&t));
            return false;
        }
        if (!rule_add_axis(cx, out, order->name[i], all->size[p]))
            return false;
    }
    for (int i = 0; i < all->rank; i++)
        if (shape_axis(out, all->name[i]) < 0) {
            diag_error(cx->diags, DIAG_E0211, cx->node->span,
                       "%s: axis '%s' of the result is not in the order given",
                       op_text(cx->node->op), all->name[i]);
            return false;
        }
    return true;
}

/* ---- gradients ---- */

AxisList shape_axes(const Shape *s)
{
    AxisList list = {.n = s->rank};
    memcpy(list.name, s->name, sizeof *s->name * (size_t)s->rank);
    return list;
}

AxisList shape_missing(const Shape *s, const Shape *other)
{
    AxisList list = {0};
    for (int i = 0; i < s->rank; i++)
        if (shape_axis(other, s->name[i]) < 0)
            list.name[list.n++] = s->name[i];
    return list;
}

Val grad_fit(Func *f, Val v, const Shape *want)
{
    if (!v.id)
        return VAL_NONE;
    AxisList over = shape_missing(func_shape(f, v), want);
    if (over.n)
        v = func_sum(f, v, &over, 1);
    assert(func_shape(f, v)->rank == want->rank);
    AxisList order = shape_axes(want);
    return func_reorder(f, v, &order);
}

/* ---- walking ---- */

int walk_find(const Walk *w, const char *axis)
{
    for (int i = 0; i < w->rank; i++)
        if (!strcmp(w->name[i], axis))
            return i;
    return -1;
}

void walk_axes(Walk *w, const Shape *s)
{
    for (int i = 0; i < s->rank; i++)
        if (walk_find(w, s->name[i]) < 0) {
            assert(w->rank < WALK_RANK);
            w->name[w->rank] = s->name[i];
            w->size[w->rank++] = s->size[i];
        }
}

int walk_tensor(Walk *w, const Shape *s)
{
    int64_t stride[MAX_RANK];
    shape_strides(s, stride);
    assert(w->n_tensors < WALK_TENSORS);
    for (int i = 0; i < w->rank; i++) {
        int p = shape_axis(s, w->name[i]);
        w->stride[w->n_tensors][i] = p < 0 ? 0 : stride[p];
    }
    return w->n_tensors++;
}

void walk_next(Walk *w)
{
    for (int i = w->rank - 1; i >= 0; i--) {
        bool wraps = ++w->index[i] == w->size[i];
        for (int k = 0; k < w->n_tensors; k++)
            w->offset[k] += wraps ? -w->stride[k][i] * (w->size[i] - 1) : w->stride[k][i];
        if (!wraps)
            return;
        w->index[i] = 0;
    }
    w->done = true;
}
