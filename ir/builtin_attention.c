/* attention, rotary: what transformers need beside products and norms. */
#include "ir/builtin.h"

#include <math.h>

/* ---- attention ---- */

/* 1 where two positions of an axis agree, else 0: of `value` (along whatever axes) and the numbers
 * 0 .. n - 1 along `axis`. */
static Val agrees(Func *f, Val value, const char *axis, int64_t n)
{
    Shape line = {0};
    shape_add(&line, axis, n);
    Val in[] = {value, func_emit_leaf(f, OP_IOTA, NULL, &line)};
    return func_map(f, "1 - min(abs(a - b), 1)", NULL, 0, in, 2);
}

/* `other` behind x along the axis; x has all axes. */
static Val append(Func *f, Val x, Val other, const char *axis)
{
    const Val part[] = {x, other};
    const Shape *a = func_shape(f, x), *b = func_shape(f, other);
    const int64_t size[] = {a->size[shape_axis(a, axis)], b->size[shape_axis(b, axis)]};
    Val sum = VAL_NONE;
    for (int k = 0; k < 2; k++) {
        int32_t *table = ARENA_ARRAY(f->module->arena, int32_t, (size_t)(size[0] + size[1]));
        for (int64_t i = 0; i < size[0] + size[1]; i++) {
            int64_t at = k ? i - size[0] : i;
            table[i] = at >= 0 && at < size[k] ? (int32_t)at : -1;
        }
        Val wide = func_index(f, part[k], axis, axis, table, size[0] + size[1]);
        sum = sum.id ? func_emit2(f, OP_ADD, sum, wide) : wide;
    }
    return sum;
}

enum { LABELS = 27, UNLIKE = -100 };

/* Scores with additions are products that are wider: of a query's row of the bias with the unit
 * vector of a key, of the unit vector of a query's label with the labels that a key does not have.
 */
static void widen(OpCall *c, Val *q, Val *k, const char *keys)
{
    Func *f = c->el->func;
    const char *over = c->arg[2].text, *across = c->arg[3].text;
    int64_t m = func_shape(f, *k)->size[shape_axis(func_shape(f, *k), keys)];
    if (c->arg[7].given) {
        Shape line = {0};
        shape_add(&line, keys, m);
        Val position = func_emit_leaf(f, OP_IOTA, NULL, &line);
        *q = append(f, *q, func_rename(f, c->arg[7].val, c->arg[8].text, across), across);
        *k = append(f, *k, agrees(f, position, across, m), across);
    }
    if (c->arg[9].given) {
        Val labels = c->arg[9].val;
        Val own = agrees(f, labels, across, LABELS);
        Val theirs = agrees(f, func_rename(f, labels, over, keys), across, LABELS);
        theirs = func_offset(f, func_scale(f, theirs, -1), 1);
        *q = append(f, *q, func_scale(f, own, UNLIKE), across);
        *k = append(f, *k, theirs, across);
    }
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
    Val q = c->x, k = func_rename(f, c->arg[0].val, over, keys);
    if (c->arg[7].given || c->arg[9].given) {
        q = func_scale(f, q, a.k[0]);
        a.k[0] = 1;
        widen(c, &q, &k, keys);
    }
    Val v = func_rename(f, func_rename(f, c->arg[1].val, over, keys), across, width);
    Val y = func_emit(f, OP_ATTEND, &a, (Val[]){q, k, v}, 3);
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
