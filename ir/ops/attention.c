/* Attention. For every sequence (all axes but those named here):
 *
 *     s[i, j] = scale * sum over d of q[i, d] k[j, d]      of keys that i sees (AttendMask)
 *     p[i, j] = exp(s[i, j]) / sum over j of exp(s[i, j])
 *     y[i, e] = sum over j of p[i, j] v[j, e]
 *
 * With additions, s[i, j] also has bias[i, j], and ATTEND_UNLIKE where the labels of i and j
 * differ. Where the own label of i says so (attend_asks), i has no query: y[i], l[i] and dq[i] are
 * 0 and the other gradients have no term of it.
 *
 * Where weights are dropped, y is made of weights w[i, j] = p[i, j] g[i, j] instead, with g[i, j]
 * 1 / (1 - rate) or 0 as ir/drop.h says. l does not change.
 *
 * attend gives y in the order of q's axes, e where d was; attend_sum the logarithms l[i] of the
 * sums; the gradients, with c[i] = sum over e of dy[i, e] y[i, e] and
 * ds[i, j] = p[i, j] (g[i, j] times the sum over e of dy[i, e] v[j, e] - c[i]), are
 *
 *     dq[i, d] = scale * sum over j of ds[i, j] k[j, d]
 *     dk[j, d] = scale * sum over i of ds[i, j] q[i, d]
 *     dv[j, e] = sum over i of w[i, j] dy[i, e]
 *     dbias[i, j] = sum over the sequences that share it of ds[i, j]
 *
 * so that p is made again from l and neither scores nor weights are ever stored (Dao et al. 2022,
 * arXiv:2205.14135, appendix B). i is the axis `axis`, j `axis2`, d `over`; e is the axis of v that
 * is none of these and not of q. */
#include "ir/drop.h"
#include "ir/ops/rules.h"

#include <math.h>

enum { QUERY, KEY, VALUE, DY, LOG_SUM, CENTRE };
enum { BIAS, OWN, THEIRS, N_ADDITIONS }; /* behind the others */

/* Where the additions to scores stand among the operands. */
static int additions_of(const Node *n)
{
    return n->op == OP_ATTEND || n->op == OP_ATTEND_SUM ? DY : CENTRE + 1;
}

static bool drops(const Node *n)
{
    return n->attrs.k[2] > 0;
}

static bool has_additions(const Node *n)
{
    return n->n_in - drops(n) > additions_of(n);
}

/* The axis of v that neither scores nor sequences have; NULL when there is not exactly one. */
static const char *value_axis(const Shape *q, const Shape *v, const Attrs *a)
{
    const char *found = NULL;
    for (int i = 0; i < v->rank; i++) {
        if (v->name[i] == a->axis2 ||
            (shape_axis(q, v->name[i]) >= 0 && v->name[i] != a->over.name[0]))
            continue;
        if (found || v->name[i] == a->over.name[0])
            return NULL;
        found = v->name[i];
    }
    return found;
}

/* Do operands 0 and `i` have the same sequences, with `axis` of q replaced by `theirs`? */
static bool same_sequences(const RuleCx *cx, int i)
{
    const Attrs *a = &cx->node->attrs;
    const Shape *q = &rule_operand(cx, 0)->shape, *k = &rule_operand(cx, i)->shape;
    for (int d = 0; d < q->rank; d++) {
        if (q->name[d] == a->axis || list_has(&a->over, q->name[d]))
            continue;
        int p = rule_find_axis(cx, i, q->name[d]);
        if (p < 0)
            return false;
        if (k->size[p] != q->size[d])
            return rule_sizes_differ(cx, 0, i, q->name[d]);
    }
    if (k->rank == q->rank)
        return true;
    diag_error(cx->diags, DIAG_E0203, cx->node->span,
               "%s: queries and keys are of other sequences: %s and %s", op_text(cx->node->op),
               rule_operand_text(cx, 0), rule_operand_text(cx, i));
    return false;
}

/* Of an addition's axes one or two are the scores', the others the sequences'. */
static bool check_addition(const RuleCx *cx, int i, bool of_query, bool of_key)
{
    const Attrs *a = &cx->node->attrs;
    const Shape *q = &rule_operand(cx, QUERY)->shape, *k = &rule_operand(cx, KEY)->shape;
    const Shape *s = &rule_operand(cx, i)->shape;
    bool fits = (!of_query || rule_find_axis(cx, i, a->axis) >= 0) &&
                (!of_key || rule_find_axis(cx, i, a->axis2) >= 0);
    for (int d = 0; fits && d < s->rank; d++) {
        bool is_key = of_key && s->name[d] == a->axis2;
        bool inner = s->name[d] == a->over.name[0] || (!of_query && s->name[d] == a->axis);
        const Shape *from = is_key ? k : q;
        int at = inner ? -1 : shape_axis(from, s->name[d]);
        if (at >= 0 && from->size[at] != s->size[d])
            return rule_sizes_differ(cx, is_key ? KEY : QUERY, i, s->name[d]);
        if (at >= 0)
            continue;
        diag_error(cx->diags, DIAG_E0211, cx->node->span, "%s: what is added to scores is %s",
                   op_text(cx->node->op), rule_operand_text(cx, i));
        return false;
    }
    return fits;
}

static bool check_additions(const RuleCx *cx)
{
    int first = additions_of(cx->node), n_in = cx->node->n_in - drops(cx->node);
    if (n_in == first && cx->node->op != OP_ATTEND_DBIAS)
        return true;
    if (n_in != first + N_ADDITIONS) {
        diag_error(cx->diags, DIAG_E0290, cx->node->span, "%s: %d operands", op_text(cx->node->op),
                   cx->node->n_in);
        return false;
    }
    return check_addition(cx, first + BIAS, true, true) &&
           check_addition(cx, first + OWN, true, false) &&
           check_addition(cx, first + THEIRS, false, true);
}

/* Bytes of a weight's sequence: their own axis is the last, the others are sequences'. */
static bool check_drop(const RuleCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    int last = cx->node->n_in - 1;
    if (!drop_is_rate(a->k[2])) {
        diag_error(cx->diags, DIAG_E0250, cx->node->span,
                   "%s: the drop rate is %g, at least 0 and less than 1 was expected",
                   op_text(cx->node->op), a->k[2]);
        return false;
    }
    if (!drops(cx->node))
        return true;
    const Shape *q = &rule_operand(cx, QUERY)->shape, *s = &rule_operand(cx, last)->shape;
    bool fits = s->rank > 0 && s->size[s->rank - 1] == DROP_BYTES &&
                shape_axis(q, s->name[s->rank - 1]) < 0 &&
                shape_axis(&rule_operand(cx, VALUE)->shape, s->name[s->rank - 1]) < 0;
    for (int d = 0; fits && d < s->rank - 1; d++) {
        int at = shape_axis(q, s->name[d]);
        fits = at >= 0 && s->name[d] != a->axis && s->name[d] != a->over.name[0];
        if (fits && q->size[at] != s->size[d])
            return rule_sizes_differ(cx, QUERY, last, s->name[d]);
    }
    if (!fits)
        diag_error(cx->diags, DIAG_E0211, cx->node->span,
                   "%s: %d random bytes of every sequence were expected, not %s",
                   op_text(cx->node->op), DROP_BYTES, rule_operand_text(cx, last));
    return fits;
}

static bool check_scores(const RuleCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    if (cx->node->n_in - drops(cx->node) < additions_of(cx->node)) {
        diag_error(cx->diags, DIAG_E0290, cx->node->span, "%s: %d operands", op_text(cx->node->op),
                   cx->node->n_in);
        return false;
    }
    if (a->over.n != 1) {
        diag_error(cx->diags, DIAG_E0211, cx->node->span,
                   "%s: scores are summed over one axis, not %d", op_text(cx->node->op), a->over.n);
        return false;
    }
    if (rule_find_axis(cx, QUERY, a->axis) < 0 || rule_find_axis(cx, KEY, a->axis2) < 0 ||
        rule_find_axis(cx, QUERY, a->over.name[0]) < 0 ||
        rule_find_axis(cx, KEY, a->over.name[0]) < 0)
        return false;
    const Shape *q = &rule_operand(cx, QUERY)->shape, *k = &rule_operand(cx, KEY)->shape;
    int d = shape_axis(q, a->over.name[0]), e = shape_axis(k, a->over.name[0]);
    if (q->size[d] != k->size[e])
        return rule_sizes_differ(cx, QUERY, KEY, a->over.name[0]);
    int64_t n_keys = k->size[shape_axis(k, a->axis2)];
    if (a->k[1] != ATTEND_SEES_ALL && q->size[shape_axis(q, a->axis)] != n_keys) {
        diag_error(cx->diags, DIAG_E0203, cx->node->span,
                   "%s: as many queries as keys were expected where queries do not see all keys: "
                   "%s and %s",
                   op_text(cx->node->op), rule_operand_text(cx, QUERY), rule_operand_text(cx, KEY));
        return false;
    }
    if (a->k[1] == ATTEND_SEES_OTHERS && n_keys == 1) {
        diag_error(cx->diags, DIAG_E0203, cx->node->span,
                   "%s: a single position does not see any other: %s", op_text(cx->node->op),
                   rule_operand_text(cx, KEY));
        return false;
    }
    return same_sequences(cx, KEY) && check_additions(cx) && check_drop(cx);
}

static bool check_values(const RuleCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    if (!check_scores(cx) || rule_find_axis(cx, VALUE, a->axis2) < 0)
        return false;
    const Shape *q = &rule_operand(cx, QUERY)->shape, *k = &rule_operand(cx, KEY)->shape,
                *v = &rule_operand(cx, VALUE)->shape;
    int m = shape_axis(k, a->axis2), n = shape_axis(v, a->axis2);
    if (k->size[m] != v->size[n])
        return rule_sizes_differ(cx, KEY, VALUE, a->axis2);
    if (!value_axis(q, v, a)) {
        diag_error(cx->diags, DIAG_E0211, cx->node->span,
                   "%s: values need one axis of their own beside '%s': %s", op_text(cx->node->op),
                   a->axis2, rule_operand_text(cx, VALUE));
        return false;
    }
    return same_sequences(cx, VALUE);
}

bool shape_attend(const RuleCx *cx, Shape *out)
{
    if (!check_values(cx))
        return false;
    const Attrs *a = &cx->node->attrs;
    const Shape *q = &rule_operand(cx, QUERY)->shape, *v = &rule_operand(cx, VALUE)->shape;
    const char *e = value_axis(q, v, a);
    for (int i = 0; i < q->rank; i++) {
        bool inner = q->name[i] == a->over.name[0];
        if (!rule_add_axis(cx, out, inner ? e : q->name[i],
                           inner ? v->size[shape_axis(v, e)] : q->size[i]))
            return false;
    }
    return true;
}

bool shape_attend_sum(const RuleCx *cx, Shape *out)
{
    if (!check_values(cx))
        return false;
    const Shape *q = &rule_operand(cx, QUERY)->shape;
    for (int i = 0; i < q->rank; i++)
        if (!list_has(&cx->node->attrs.over, q->name[i]) &&
            !rule_add_axis(cx, out, q->name[i], q->size[i]))
            return false;
    return true;
}

/* dy as attend makes it; l and c as attend_sum does, in any order of axes. */
static bool check_gradient(const RuleCx *cx)
{
    Shape y = {0}, l = {0};
    if (!shape_attend(cx, &y) || !shape_attend_sum(cx, &l))
        return false;
    for (int i = DY; i <= CENTRE; i++) {
        const Shape *want = i == DY ? &y : &l, *got = &rule_operand(cx, i)->shape;
        bool fits = got->rank == want->rank;
        for (int d = 0; fits && d < got->rank; d++) {
            int p = shape_axis(want, got->name[d]);
            fits = p >= 0 && want->size[p] == got->size[d];
        }
        if (fits)
            continue;
        diag_error(cx->diags, DIAG_E0203, cx->node->span, "%s: operand %d is %s",
                   op_text(cx->node->op), i, rule_operand_text(cx, i));
        return false;
    }
    return true;
}

#define SHAPE_OF_GRADIENT(name, operand)                                                           \
    bool shape_attend_##name(const RuleCx *cx, Shape *out)                                         \
    {                                                                                              \
        if (!check_gradient(cx))                                                                   \
            return false;                                                                          \
        *out = rule_operand(cx, operand)->shape;                                                   \
        return true;                                                                               \
    }
SHAPE_OF_GRADIENT(dq, QUERY)
SHAPE_OF_GRADIENT(dk, KEY)
SHAPE_OF_GRADIENT(dv, VALUE)
SHAPE_OF_GRADIENT(dbias, CENTRE + 1 + BIAS)

/* ---- evaluation: sequence by sequence ---- */

/* How a tensor is read: element [i, j] of the sequence at hand. */
typedef struct Matrix {
    double *at;
    int64_t row, column; /* strides */
} Matrix;

typedef struct Attention {
    Walk walk; /* over sequences */
    const EvalCx *cx;
    int64_t n, m, d, e;
    double scale;
    AttendMask mask;
    double *weight; /* [m]: a row of p */
    double *gain;   /* [m]: a row of g, which p is multiplied with */
} Attention;

static int64_t stride_of(const Shape *s, const char *axis)
{
    int64_t stride[MAX_RANK];
    int at = axis ? shape_axis(s, axis) : -1;
    shape_strides(s, stride);
    return at < 0 ? 0 : stride[at];
}

static Attention attention_begin(const EvalCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    const Shape *q = &cx->in[QUERY]->shape, *k = &cx->in[KEY]->shape;
    Attention t = {.cx = cx, .scale = a->k[0], .mask = (AttendMask)a->k[1]};
    Shape sequences = {0};
    for (int i = 0; i < q->rank; i++)
        if (q->name[i] != a->axis && q->name[i] != a->over.name[0])
            shape_add(&sequences, q->name[i], q->size[i]);
    walk_axes(&t.walk, &sequences);
    for (int i = 0; i < cx->node->n_in; i++)
        walk_tensor(&t.walk, &cx->in[i]->shape);
    walk_tensor(&t.walk, &cx->out->shape);
    t.n = q->size[shape_axis(q, a->axis)];
    t.m = k->size[shape_axis(k, a->axis2)];
    t.d = q->size[shape_axis(q, a->over.name[0])];
    const Shape *v = &cx->in[VALUE]->shape;
    t.e = v->size[shape_axis(v, value_axis(q, v, a))];
    t.weight = ARENA_ARRAY(cx->arena, double, (size_t)t.m);
    t.gain = ARENA_ARRAY(cx->arena, double, (size_t)t.m);
    return t;
}

/* Operand i, or the result when i is n_in, at the sequence at hand. */
static Matrix matrix(const Attention *t, int i, const char *row, const char *column)
{
    const EvalTensor *x = i < t->cx->node->n_in ? t->cx->in[i] : t->cx->out;
    return (Matrix){x->at + t->walk.offset[i], stride_of(&x->shape, row),
                    stride_of(&x->shape, column)};
}

static double dot(const Matrix *a, int64_t i, const Matrix *b, int64_t j, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += a->at[i * a->row + k * a->column] * b->at[j * b->row + k * b->column];
    return sum;
}

/* The keys up to which query i sees; its own may be hidden among them. */
static int64_t keys_of(const Attention *t, int64_t i)
{
    return t->mask == ATTEND_SEES_EARLIER ? i + 1 : t->m;
}

static double addition(const Attention *t, int64_t i, int64_t j)
{
    const Node *node = t->cx->node;
    const Attrs *a = &node->attrs;
    int first = additions_of(node);
    if (!has_additions(node))
        return 0;
    Matrix bias = matrix(t, first + BIAS, a->axis, a->axis2),
           own = matrix(t, first + OWN, a->axis, NULL),
           theirs = matrix(t, first + THEIRS, a->axis2, NULL);
    bool alike = own.at[i * own.row] == theirs.at[j * theirs.row];
    return bias.at[i * bias.row + j * bias.column] + (alike ? 0 : ATTEND_UNLIKE);
}

static bool asks(const Attention *t, int64_t i)
{
    const Node *node = t->cx->node;
    if (!has_additions(node))
        return true;
    Matrix own = matrix(t, additions_of(node) + OWN, node->attrs.axis, NULL);
    return attend_asks(own.at[i * own.row]);
}

/* gain = g[i, .] */
static void drop(Attention *t, int64_t i)
{
    double rate = t->cx->node->attrs.k[2];
    uint32_t word[4] = {0}, limit = drop_limit(rate);
    if (drops(t->cx->node)) {
        const EvalTensor *x = t->cx->in[t->cx->node->n_in - 1];
        Matrix bytes = matrix(t, t->cx->node->n_in - 1, NULL, x->shape.name[x->shape.rank - 1]);
        for (int b = 0; b < DROP_BYTES; b++)
            word[b / 4] |= (uint32_t)bytes.at[b * bytes.column] << b % 4 * 8;
    }
    for (int64_t j = 0; j < t->m; j++)
        t->gain[j] = !limit || drop_keeps(word, limit, i, j) ? 1 / (1 - rate) : 0;
}

/* weight = p[i, .]; returns the logarithm of the sum. */
static double weigh(Attention *t, int64_t i)
{
    const Attrs *a = &t->cx->node->attrs;
    const char *d = a->over.name[0];
    Matrix q = matrix(t, QUERY, a->axis, d), k = matrix(t, KEY, a->axis2, d);
    int64_t n = keys_of(t, i);
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        bool hidden = t->mask == ATTEND_SEES_OTHERS && j == i;
        t->weight[j] = hidden ? -INFINITY : t->scale * dot(&q, i, &k, j, t->d) + addition(t, i, j);
        top = t->weight[j] > top ? t->weight[j] : top;
    }
    for (int64_t j = 0; j < n; j++)
        sum += t->weight[j] = exp(t->weight[j] - top);
    for (int64_t j = 0; j < n; j++)
        t->weight[j] /= sum;
    return top + log(sum);
}

void eval_attend(const EvalCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    Attention t = attention_begin(cx);
    const char *e = value_axis(&cx->in[QUERY]->shape, &cx->in[VALUE]->shape, a);
    for (; !t.walk.done; walk_next(&t.walk)) {
        Matrix v = matrix(&t, VALUE, a->axis2, e), y = matrix(&t, cx->node->n_in, a->axis, e);
        for (int64_t i = 0; i < t.n; i++) {
            if (!asks(&t, i))
                continue;
            weigh(&t, i);
            drop(&t, i);
            for (int64_t c = 0; c < t.e; c++)
                for (int64_t j = 0; j < keys_of(&t, i); j++)
                    y.at[i * y.row + c * y.column] +=
                        t.weight[j] * t.gain[j] * v.at[j * v.row + c * v.column];
        }
    }
}

void eval_attend_sum(const EvalCx *cx)
{
    Attention t = attention_begin(cx);
    for (; !t.walk.done; walk_next(&t.walk)) {
        Matrix l = matrix(&t, cx->node->n_in, cx->node->attrs.axis, NULL);
        for (int64_t i = 0; i < t.n; i++)
            l.at[i * l.row] = asks(&t, i) ? weigh(&t, i) : 0;
    }
}

/* Which factor a gradient adds up, for every query and key. */
static void eval_gradient(const EvalCx *cx, int which)
{
    const Attrs *a = &cx->node->attrs;
    Attention t = attention_begin(cx);
    const char *d = a->over.name[0];
    const char *e = value_axis(&cx->in[QUERY]->shape, &cx->in[VALUE]->shape, a);
    for (; !t.walk.done; walk_next(&t.walk)) {
        Matrix v = matrix(&t, VALUE, a->axis2, e), dy = matrix(&t, DY, a->axis, e),
               c = matrix(&t, CENTRE, a->axis, NULL), q = matrix(&t, QUERY, a->axis, d),
               k = matrix(&t, KEY, a->axis2, d);
        Matrix out = which == QUERY ? matrix(&t, cx->node->n_in, a->axis, d)
                     : which == KEY ? matrix(&t, cx->node->n_in, a->axis2, d)
                                    : matrix(&t, cx->node->n_in, a->axis2, e);
        const Matrix *from = which == QUERY ? &k : which == KEY ? &q : &dy;
        int64_t width = which == VALUE ? t.e : t.d;
        for (int64_t i = 0; i < t.n; i++) {
            if (!asks(&t, i))
                continue;
            weigh(&t, i);
            drop(&t, i);
            for (int64_t j = 0; j < keys_of(&t, i); j++) {
                double change = t.gain[j] * dot(&dy, i, &v, j, t.e) - c.at[i * c.row];
                double factor = t.weight[j] * (which == VALUE ? t.gain[j] : t.scale * change);
                int64_t to = which == QUERY ? i : j, of = which == QUERY ? j : i;
                for (int64_t w = 0; w < width; w++)
                    out.at[to * out.row + w * out.column] +=
                        factor * from->at[of * from->row + w * from->column];
            }
        }
    }
}

void eval_attend_dbias(const EvalCx *cx)
{
    const Attrs *a = &cx->node->attrs;
    Attention t = attention_begin(cx);
    const char *e = value_axis(&cx->in[QUERY]->shape, &cx->in[VALUE]->shape, a);
    for (; !t.walk.done; walk_next(&t.walk)) {
        Matrix v = matrix(&t, VALUE, a->axis2, e), dy = matrix(&t, DY, a->axis, e),
               c = matrix(&t, CENTRE, a->axis, NULL),
               out = matrix(&t, cx->node->n_in, a->axis, a->axis2);
        for (int64_t i = 0; i < t.n; i++) {
            if (!asks(&t, i))
                continue;
            weigh(&t, i);
            drop(&t, i);
            for (int64_t j = 0; j < keys_of(&t, i); j++)
                out.at[i * out.row + j * out.column] +=
                    t.weight[j] * (t.gain[j] * dot(&dy, i, &v, j, t.e) - c.at[i * c.row]);
        }
    }
}

void eval_attend_dq(const EvalCx *cx)
{
    eval_gradient(cx, QUERY);
}

void eval_attend_dk(const EvalCx *cx)
{
    eval_gradient(cx, KEY);
}

void eval_attend_dv(const EvalCx *cx)
{
    eval_gradient(cx, VALUE);
}

/* ---- gradients ---- */

void grad_attend(Func *f, const Node *y, Val dy, Val *din)
{
    const Shape q = *func_shape(f, y->in[QUERY]), v = *func_shape(f, y->in[VALUE]);
    AxisList e = {.n = 1, .name = {value_axis(&q, &v, &y->attrs)}};
    Val log_sum = func_emit(f, OP_ATTEND_SUM, &y->attrs, y->in, y->n_in);
    Val centre = func_sum(f, func_emit2(f, OP_MUL, dy, f->of), &e, 1);
    Val in[MAX_OPERANDS] = {y->in[QUERY], y->in[KEY], y->in[VALUE], dy, log_sum, centre};
    int n = y->n_in - DY + CENTRE + 1;
    for (int i = CENTRE + 1; i < n; i++)
        in[i] = y->in[i - CENTRE - 1 + DY];
    din[QUERY] = func_emit(f, OP_ATTEND_DQ, &y->attrs, in, n);
    din[KEY] = func_emit(f, OP_ATTEND_DK, &y->attrs, in, n);
    din[VALUE] = func_emit(f, OP_ATTEND_DV, &y->attrs, in, n);
    if (has_additions(y))
        din[DY + BIAS] = func_emit(f, OP_ATTEND_DBIAS, &y->attrs, in, n);
}

/* Gradients of gradients are not needed by any model. */
#define NO_GRADIENT(name)                                                                          \
    void grad_attend_##name(Func *f, const Node *y, Val dy, Val *din)                              \
    {                                                                                              \
        (void)f, (void)y, (void)dy, (void)din;                                                     \
    }
NO_GRADIENT(sum)
NO_GRADIENT(dq)
NO_GRADIENT(dk)
NO_GRADIENT(dv)
NO_GRADIENT(dbias)

/* Multiply-adds, for queries that are asked, of `d_products` products as wide as queries and
 * `e_products` as wide as values. */
static double cost(const Func *f, const Node *n, int d_products, int e_products)
{
    const Attrs *a = &n->attrs;
    const Shape *q = func_shape(f, n->in[QUERY]), *k = func_shape(f, n->in[KEY]);
    const Shape *v = func_shape(f, n->in[VALUE]);
    double d = (double)q->size[shape_axis(q, a->over.name[0])];
    double e = (double)v->size[shape_axis(v, value_axis(q, v, a))];
    double pairs = (double)shape_elems(q) / d * (double)k->size[shape_axis(k, a->axis2)];
    return 2 * pairs * (1 - a->k[3]) * (a->k[1] == ATTEND_SEES_EARLIER ? 0.5 : 1) *
           (d_products * d + e_products * e);
}

double cost_attend(const Func *f, const Node *n)
{
    return cost(f, n, 1, 1);
}

/* Computed along with attend. */
double cost_attend_sum(const Func *f, const Node *n)
{
    (void)f, (void)n;
    return 0;
}

/* One kernel computes all gradients: scores and dy v once, then a product each. */
double cost_attend_dq(const Func *f, const Node *n)
{
    return cost(f, n, 2, 1);
}

double cost_attend_dk(const Func *f, const Node *n)
{
    return cost(f, n, 1, 0);
}

double cost_attend_dv(const Func *f, const Node *n)
{
    return cost(f, n, 0, 1);
}

/* A sum of what the others have. */
double cost_attend_dbias(const Func *f, const Node *n)
{
    return cost(f, n, 0, 0);
}
