/* roll, regions, offsets: what attention inside of displaced windows needs beside pads and
 * rearrangements (Liu et al. 2021, arXiv:2103.14030; specs/dynamic-v1fm.md, 1.4).
 *
 * Regions and offsets are small tables per axis, or per position of a window; what has an entry for
 * each pair of positions is computed from them where it is read. */
#include "ir/builtin.h"

/* Position i holds what was at i + amount, counted round. */
Val emit_roll(OpCall *c)
{
    Func *f = c->el->func;
    Val x = c->x;
    for (int k = 0; k < c->arg[0].n && x.id; k++) {
        const AxisArg *a = &c->arg[0].axis[k];
        int64_t n = op_axis_size(c, a->axis);
        int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)n);
        for (int64_t i = 0; i < n; i++)
            table[i] = (int32_t)((i + a->size) % n);
        if (a->size % n)
            x = func_index(f, x, a->axis, a->axis, table, n);
    }
    return x;
}

static int64_t size_of(const Arg *sizes, const char *axis)
{
    for (int i = 0; i < sizes->n; i++)
        if (sizes->axis[i].axis == axis)
            return sizes->axis[i].size;
    return 0;
}

/* 0 for the first n - window positions of an axis that was moved, 1 for the next, 2 for the last
 * `moves`; times 3 for every axis behind it. */
Val emit_regions(OpCall *c)
{
    Func *f = c->el->func;
    const Arg *window = &c->arg[0], *moves = &c->arg[1];
    Val sum = VAL_NONE;
    for (int k = 0; k < window->n; k++) {
        const AxisArg *a = &window->axis[k];
        int64_t n = op_axis_size(c, a->axis), move = size_of(moves, a->axis);
        float *label = ARENA_ARRAY(c->el->arena, float, (size_t)n);
        Shape line = {0};
        if (a->size < 1 || a->size > n || move >= a->size) {
            el_error(c->el, DIAG_E0250, a->span,
                     "a window of %lld, moved by %lld, on axis '%s' of %lld: move < window <= axis",
                     (long long)a->size, (long long)move, a->axis, (long long)n);
            return VAL_NONE;
        }
        for (int64_t i = 0; i < n; i++)
            label[i] = !move || i < n - a->size ? 0 : i < n - move ? 1 : 2;
        shape_add(&line, a->axis, n);
        Val own = func_const(f, label, &line);
        sum = sum.id ? func_emit2(f, OP_ADD, func_scale(f, sum, 3), own) : own;
    }
    return sum;
}

/* With coordinates (a, b, c) of position i and row(i) = (a (2h - 1) + b) (2w - 1) + c, the row of
 * positions i and j is row(i) - row(j), counted from the middle of the table. */
Val emit_offsets(OpCall *c)
{
    Func *f = c->el->func;
    const Arg *window = &c->arg[0], *to = &c->arg[2];
    const char *over = c->arg[1].text;
    int64_t rows = 1, positions = 1;
    for (int k = 0; k < window->n; k++) {
        rows *= 2 * window->axis[k].size - 1;
        positions *= window->axis[k].size;
    }
    if (to->n != 2 || to->axis[0].size > positions || to->axis[1].size > positions ||
        op_axis_size(c, over) != rows) {
        el_error(c->el, DIAG_E0250, c->span,
                 "a window of %lld positions has %lld offsets: 'offsets' needs as many entries "
                 "along '%s' and two axes of positions",
                 (long long)positions, (long long)rows, over);
        el_note(c->el, c->span, "the value here is %s", el_shape_text(c->el, op_shape_of(c)));
        return VAL_NONE;
    }
    Val line[2];
    for (int end = 0; end < 2; end++) {
        const AxisArg *a = &to->axis[end];
        Shape s = {0};
        float *row = ARENA_ARRAY(c->el->arena, float, (size_t)a->size);
        for (int64_t i = 0; i < a->size; i++) {
            int64_t rest = i, step = 1, sum = 0;
            for (int k = window->n - 1; k >= 0; k--) {
                sum += rest % window->axis[k].size * step;
                rest /= window->axis[k].size;
                step *= 2 * window->axis[k].size - 1;
            }
            row[i] = (float)sum;
        }
        shape_add(&s, a->axis, a->size);
        line[end] = func_const(f, row, &s);
    }
    Val index = func_map(f, "a - b + k0", (double[]){(double)((rows - 1) / 2)}, 1, line, 2);
    return func_emit(f, OP_GATHER, &(Attrs){.axis = over}, (Val[]){c->x, index}, 2);
}
