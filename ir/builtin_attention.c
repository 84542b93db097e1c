/* attention, rotary: what transformers need beside products and norms. */
#include "ir/builtin.h"
#include "ir/drop.h"
#include "ir/eval.h"

#include <math.h>

/* ---- attention ---- */

/* What says which positions ask has axes of the queries, but not that of products. */
static bool fits_queries(OpCall *c, int arg)
{
    const Shape *q = op_shape_of(c), *s = func_shape(c->el->func, c->arg[arg].val);
    for (int i = 0; i < s->rank; i++) {
        int at = s->name[i] == c->arg[3].text ? -1 : shape_axis(q, s->name[i]);
        if (at >= 0 && q->size[at] == s->size[i])
            continue;
        el_error(c->el, DIAG_E0211, c->arg[arg].span,
                 "'asking' of 'attention' needs axes of the queries without '%s', which are %s",
                 c->arg[3].text, el_shape_text(c->el, q));
        el_note(c->el, c->arg[arg].span, "the value here is %s", el_shape_text(c->el, s));
        return false;
    }
    return true;
}

/* What is added to scores: a bias of queries and keys, labels of both; zeros for what is not given.
 * The own labels say which positions ask, too. */
static bool add_additions(OpCall *c, const Val *k, const char *keys, Val *in)
{
    Func *f = c->el->func;
    const char *over = c->arg[2].text;
    if (c->arg[7].given && !c->arg[8].given) {
        el_error(c->el, DIAG_E0202, c->arg[7].span,
                 "'bias' of 'attention' needs 'keys', the name of its axis of keys");
        return false;
    }
    if (c->arg[11].given && !fits_queries(c, 11))
        return false;
    Shape pairs = {0}, line = {0};
    const Shape *s = func_shape(f, *k);
    shape_add(&pairs, over, op_axis_size(c, over));
    shape_add(&line, over, op_axis_size(c, over));
    shape_add(&pairs, keys, s->size[shape_axis(s, keys)]);
    Val bias = c->arg[7].given ? func_rename(f, c->arg[7].val, c->arg[8].text, keys)
                               : func_fill(f, 0, &pairs);
    Val labels = c->arg[9].given ? c->arg[9].val : func_fill(f, 0, &line);
    const Val chosen[2] = {labels, c->arg[11].val};
    in[0] = bias;
    in[1] = c->arg[11].given
                ? func_map(f, "where(b > 0, a, k0)", (double[]){ATTEND_UNASKED}, 1, chosen, 2)
                : labels;
    in[2] = func_rename(f, labels, over, keys);
    return true;
}

/* Which share of the positions has no query, if the model alone says which: for counts of work. */
static double share_unasked(const OpCall *c)
{
    Arena *arena = c->el->arena;
    const EvalTensor *asking =
        c->arg[11].given ? eval_constant(arena, c->el->func, c->arg[11].val) : NULL;
    if (!asking)
        return 0;
    int64_t n = shape_elems(&asking->shape), unasked = 0;
    for (int64_t i = 0; i < n; i++)
        unasked += !(asking->at[i] > 0);
    return (double)unasked / (double)n;
}

/* Random bytes of every sequence, where weights are dropped. The label, which is their name, is
 * taken in both walks. */
static Val random_bytes(OpCall *c)
{
    const Elaborator *el = c->el;
    const Shape *q = op_shape_of(c);
    Shape s = {0};
    if (!c->arg[10].given)
        return VAL_NONE;
    const char *name = c->label ? c->label : el_label(c->el, NULL, c->def->name);
    if (!el->is_training || c->arg[10].real == 0 || el->options->no_dropping)
        return VAL_NONE;
    for (int i = 0; i < q->rank; i++)
        if (q->name[i] != c->arg[2].text && q->name[i] != c->arg[3].text)
            shape_add(&s, q->name[i], q->size[i]);
    shape_add(&s, op_axis_name(c, c->arg[2].text, "_byte"), DROP_BYTES);
    return func_bytes(el->func, name, &s);
}

/* Keys and values have their axis `over` under another name, and the values' width, too: in the IR
 * every role has a name of its own. */
Val emit_attention(OpCall *c)
{
    Func *f = c->el->func;
    const char *over = c->arg[2].text, *across = c->arg[3].text;
    const char *keys = op_axis_name(c, over, "_key"), *width = op_axis_name(c, across, "_value");
    for (int i = 0; i < 2; i++) {
        const Shape *s = func_shape(f, c->arg[i].val);
        if (shape_axis(s, over) >= 0 && shape_axis(s, across) >= 0)
            continue;
        el_error(c->el, DIAG_E0211, c->arg[i].span, "'%s' of 'attention' needs the axes %s and %s",
                 i ? "value" : "key", over, across);
        el_note(c->el, c->arg[i].span, "the value here is %s", el_shape_text(c->el, s));
        return VAL_NONE;
    }
    if (c->arg[4].truth && c->arg[6].truth) {
        el_error(c->el, DIAG_E0250, c->arg[6].span, "'attention' is either causal or of others");
        return VAL_NONE;
    }
    double d = (double)op_axis_size(c, across);
    Attrs a = {.axis = over, .axis2 = keys, .over = {.n = 1, .name = {across}}};
    a.k[0] = c->arg[5].real > 0 ? c->arg[5].real : 1 / sqrt(d);
    a.k[1] = c->arg[6].truth   ? ATTEND_SEES_OTHERS
             : c->arg[4].truth ? ATTEND_SEES_EARLIER
                               : ATTEND_SEES_ALL;
    Val in[7] = {c->x, func_rename(f, c->arg[0].val, over, keys)};
    in[2] = func_rename(f, func_rename(f, c->arg[1].val, over, keys), across, width);
    bool has_additions = c->arg[7].given || c->arg[9].given || c->arg[11].given;
    if (has_additions && !add_additions(c, &in[1], keys, in + 3))
        return VAL_NONE;
    int n = has_additions ? 6 : 3;
    in[n] = random_bytes(c);
    if (in[n].id)
        a.k[2] = c->arg[10].real, n++;
    a.k[3] = share_unasked(c);
    Val y = func_emit(f, OP_ATTEND, &a, in, n);
    return func_rename(f, y, width, across);
}

/* ---- rotary ---- */

/* Factors of position i and entry j of a head, in single precision as the published model computes
 * its tables (specs/viv1t.md, 2.7): the cosine or sine of the angle, times the growth. */
static float *rotary_table(OpCall *c, int64_t n, int64_t d, int64_t length, bool is_sine)
{
    float *t = ARENA_ARRAY(c->el->arena, float, (size_t)(n * d));
    for (int64_t i = 0; i < n * d; i++) {
        int64_t at = i / d, j = i % d % (d / 2);
        if (at >= length) { /* registers stand as they are */
            t[i] = is_sine ? 0 : 1;
            continue;
        }
        float inverse = 1.0f / powf(10000.0f, (float)(2 * j) / (float)d);
        float angle = (float)at * inverse;
        float base = ((float)(2 * j) + 0.4f * (float)d) / (1.4f * (float)d);
        float growth = powf(base, (float)(at - length / 2) / 512.0f);
        t[i] = (is_sine ? sinf(angle) : cosf(angle)) * growth;
    }
    return t;
}

/* x cos + (-second half, first half) sin, both grown; positions beyond `length - registers` of the
 * axis are registers. The growth refers to the length the table was made for. */
Val emit_rotary(OpCall *c)
{
    Func *f = c->el->func;
    const char *over = c->arg[0].text, *across = c->arg[1].text;
    int64_t n = op_axis_size(c, over), d = op_axis_size(c, across);
    int64_t length = c->arg[2].given ? c->arg[2].integer : n - c->arg[3].integer;
    int64_t rotated = n - c->arg[3].integer;
    if (d % 2 || rotated < 1 || length < rotated) {
        el_error(c->el, DIAG_E0250, c->span,
                 d % 2 ? "'rotary' needs an even number of entries along '%s', not %lld"
                       : "'rotary' of more positions than its length along '%s': %lld",
                 d % 2 ? across : over, (long long)(d % 2 ? d : rotated));
        return VAL_NONE;
    }
    Shape table = {0};
    shape_add(&table, over, n);
    shape_add(&table, across, d);
    float *cosine = rotary_table(c, rotated, d, length, false);
    float *sine = rotary_table(c, rotated, d, length, true);
    float *all[2] = {ARENA_ARRAY(c->el->arena, float, (size_t)(n * d)),
                     ARENA_ARRAY(c->el->arena, float, (size_t)(n * d))};
    int32_t *swap = ARENA_ARRAY(c->el->arena, int32_t, (size_t)d);
    for (int64_t i = 0; i < n * d; i++) {
        bool first_half = i % d < d / 2;
        all[0][i] = i < rotated * d ? cosine[i] : 1;
        all[1][i] = i < rotated * d ? (first_half ? -sine[i] : sine[i]) : 0;
    }
    for (int64_t j = 0; j < d; j++)
        swap[j] = (int32_t)((j + d / 2) % d);
    Val turned = func_index(f, c->x, across, across, swap, d);
    Val kept = func_emit2(f, OP_MUL, c->x, func_const(f, all[0], &table));
    turned = func_emit2(f, OP_MUL, turned, func_const(f, all[1], &table));
    return func_emit2(f, OP_ADD, kept, turned);
}
