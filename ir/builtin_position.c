/* sincos_position: a fixed code of the position is added (specs/dwiseneuro.md, 1.4).
 *
 * For C channels and n axes, each axis owns m = 2 ceil(C / 2n) consecutive channels: the sines
 * sin(f_k p) of the position p, then the cosines, with f_k = 10000^(-2k/m); what lies beyond C is
 * cut. Every channel belongs to one axis, so the code is added as one small [c, axis] tensor per
 * axis with zeros elsewhere: no tensor of the input's size is made, and the sum is exact. */
#include "ir/builtin.h"

#include <math.h>

/* Frequencies in float32, as the published implementation computes them. */
static Init frequencies(Arena *arena, int64_t n, int64_t per_axis)
{
    float *f = ARENA_ARRAY(arena, float, (size_t)n);
    for (int64_t k = 0; k < n; k++)
        f[k] = 1.0f / powf(10000.0f, (float)(2 * k) / (float)per_axis);
    return (Init){.kind = INIT_DATA, .data = f};
}

/* `n` waves [k, axis] moved to channels first .. first + n - 1 of C: [c, axis]. */
static Val place(OpCall *c, Val wave, const char *k, int64_t first, int64_t n, int64_t channels)
{
    int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)channels);
    for (int64_t j = 0; j < channels; j++)
        table[j] = j >= first && j < first + n ? (int32_t)(j - first) : -1;
    return func_index(c->el->func, wave, k, c->arg[1].text, table, channels);
}

static Val code_of_axis(OpCall *c, Val freq, const char *k, const char *axis, int64_t first,
                        int64_t n, int64_t channels)
{
    Func *f = c->el->func;
    Shape line = {0};
    shape_add(&line, axis, op_axis_size(c, axis));
    Val angle = func_emit2(f, OP_MUL, freq, func_emit_leaf(f, OP_IOTA, NULL, &line));
    Val sines = place(c, func_emit1(f, OP_SIN, angle), k, first, n, channels);
    if (first + n >= channels)
        return sines;
    Val cosines = place(c, func_emit1(f, OP_COS, angle), k, first + n, n, channels);
    return func_emit2(f, OP_ADD, sines, cosines);
}

Val emit_sincos_position(OpCall *c)
{
    Func *f = c->el->func;
    const Arg *over = &c->arg[0];
    const char *axis = c->arg[1].text, *k = op_axis_name(c, axis, "_wave");
    int64_t channels = op_axis_size(c, axis);
    int64_t n = (channels + 2 * over->n - 1) / (2 * over->n); /* frequencies per axis */
    ParamSpec p = {.op = c->def->name,
                   .label = c->label,
                   .role = "frequencies",
                   .fan_in = 1,
                   .fan_out = 1,
                   .init = frequencies(c->el->arena, n, 2 * n),
                   .is_state = true,
                   .span = c->span};
    for (int i = 0; i < over->n; i++)
        if (over->axis[i].axis == axis) {
            el_error(c->el, DIAG_E0250, over->axis[i].span,
                     "the channels' axis has no position code of its own");
            return VAL_NONE;
        }
    shape_add(&p.shape, k, n);
    Val freq = el_param(c->el, &p), x = c->x;
    for (int i = 0; i < over->n && x.id && freq.id; i++) {
        if (2 * n * i >= channels)
            break; /* its channels are all cut */
        Val code = code_of_axis(c, freq, k, over->axis[i].axis, 2 * n * i, n, channels);
        x = func_emit2(f, OP_ADD, x, code);
    }
    return x;
}

/* ---- sinusoids ---- */

/* Columns of a table of positions: sines in even, cosines in odd channels (specs/viv1t.md, 2.6). */
static void write_line(float *t, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < n * d; i++) {
        int64_t j = i % d / 2 * 2;
        float rate = expf((float)j * (float)(-log(10000.0) / (double)d));
        float angle = (float)(i / d) * rate;
        t[i] = i % d % 2 ? cosf(angle) : sinf(angle);
    }
}

/* Half of the channels for the column, half for the row, of each half the sines first. */
static void write_grid(float *t, int64_t n, int64_t d, int64_t columns)
{
    int64_t quarter = d / 4;
    for (int64_t i = 0; i < n * d; i++) {
        int64_t k = i % d, place = i / d;
        int64_t at = k < 2 * quarter ? place % columns : place / columns;
        int64_t j = k % (2 * quarter) % quarter;
        float rate = 1.0f / powf(10000.0f, (float)j / (float)quarter);
        float angle = (float)at * rate;
        t[i] = k % (2 * quarter) < quarter ? sinf(angle) : cosf(angle);
    }
}

Val emit_sinusoids(OpCall *c)
{
    const char *over = c->arg[0].text, *axis = c->arg[1].text;
    int64_t n = op_axis_size(c, over), d = op_axis_size(c, axis), columns = c->arg[2].integer;
    float *t = ARENA_ARRAY(c->el->arena, float, (size_t)(n * d));
    Shape s = {0};
    if (columns < 0 || (columns > 0 && d % 4)) {
        el_error(c->el, DIAG_E0250, c->span,
                 "'sinusoids' of columns need channels in whole quarters, not %lld", (long long)d);
        return VAL_NONE;
    }
    if (columns)
        write_grid(t, n, d, columns);
    else
        write_line(t, n, d);
    shape_add(&s, over, n);
    shape_add(&s, axis, d);
    return func_emit2(c->el->func, OP_ADD, c->x, func_const(c->el->func, t, &s));
}
