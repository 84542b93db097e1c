/* sample: a map read at fractional positions; noise.
 *
 * A position (x, y) in [-1, 1] lies between four neighbours; -1 and 1 are the centres of the outer
 * pixels, neighbours outside of the map count 0 (specs/viv1t.md, 2.9 step 4). The neighbours are an
 * axis of their own: one gather at computed positions, and a product with their weights. With
 * `times` (features per neuron) the sum over channels is taken first, so that what was gathered is
 * a factor of a product and never stored. Features are read as [.. channels], as maps are. */
#include "ir/builtin.h"

static Val table(OpCall *c, const char *axis, const float values[4])
{
    Shape s = {0};
    float *data = ARENA_ARRAY(c->el->arena, float, 4);
    memcpy(data, values, 4 * sizeof *data);
    shape_add(&s, axis, 4);
    return func_const(c->el->func, data, &s);
}

/* Coordinate i of the positions, in pixels of an axis of that size. */
static Val pixels(OpCall *c, Val at, const char *axis, int32_t i, int64_t size)
{
    Func *f = c->el->func;
    const Shape *s = func_shape(f, at);
    AxisList over = {.n = 1, .name = {axis}};
    (void)s;
    Val one = func_sum(f, func_index(f, at, axis, axis, &i, 1), &over, 1);
    return func_scale(f, func_offset(f, one, 1), 0.5 * (double)(size - 1));
}

/* 1 - fraction for the lower neighbour, the fraction for the upper: base + sign fraction. */
static Val weight(OpCall *c, Val at, Val floor, const char *corner, const float base[4],
                  const float sign[4])
{
    Func *f = c->el->func;
    Val fraction = func_emit2(f, OP_SUB, at, floor);
    Val signed_fraction = func_emit2(f, OP_MUL, fraction, table(c, corner, sign));
    return func_emit2(f, OP_ADD, signed_fraction, table(c, corner, base));
}

static bool check_positions(OpCall *c, Val at, const char *axis)
{
    const Shape *s = func_shape(c->el->func, at);
    int k = shape_axis(s, axis);
    if (k >= 0 && s->size[k] == 2)
        return true;
    el_error(c->el, k < 0 ? DIAG_E0211 : DIAG_E0203, c->arg[0].span,
             "positions of 'sample' have an axis '%s' of two: x, then y", axis);
    el_note(c->el, c->arg[0].span, "the value here is %s", el_shape_text(c->el, s));
    return false;
}

/* Axes of the product: those of `from`, then those of `also` that it lacks, `sum` left out. */
static AxisList kept_axes(const Func *f, Val from, Val also, const char *sum)
{
    AxisList list = {0};
    const Val operand[] = {from, also};
    for (int k = 0; k < 2; k++) {
        const Shape *s = func_shape(f, operand[k]);
        for (int i = 0; i < s->rank; i++) {
            bool known = s->name[i] == sum;
            for (int j = 0; j < list.n; j++)
                known |= list.name[j] == s->name[i];
            if (!known && list.n < MAX_RANK)
                list.name[list.n++] = s->name[i];
        }
    }
    return list;
}

Val emit_sample(OpCall *c)
{
    static const float right[] = {0, 1, 0, 1}, below[] = {0, 0, 1, 1};
    static const float left_base[] = {1, 0, 1, 0}, right_sign[] = {-1, 1, -1, 1};
    static const float top_base[] = {1, 1, 0, 0}, below_sign[] = {-1, -1, 1, 1};
    static const char INDEX[] = "where(a + c > k0, -1, where(0 > a + c, -1, where(b + d > k1, -1, "
                                "where(0 > b + d, -1, (b + d) * k2 + a + c))))";
    Func *f = c->el->func;
    const Arg *over = &c->arg[1];
    const char *xy = c->arg[2].text;
    Val at = c->arg[0].val;
    if (over->n != 2) {
        el_error(c->el, DIAG_E0202, over->span, "'sample' reads over two axes: rows, then columns");
        return VAL_NONE;
    }
    if (!check_positions(c, at, xy))
        return VAL_NONE;
    const char *rows = over->axis[0].axis, *columns = over->axis[1].axis;
    int64_t h = op_axis_size(c, rows), w = op_axis_size(c, columns);
    const char *place = op_axis_name(c, rows, "_place"), *corner = op_axis_name(c, xy, "_corner");
    Val x = pixels(c, at, xy, 0, w), y = pixels(c, at, xy, 1, h);
    Val x0 = func_emit1(f, OP_FLOOR, x), y0 = func_emit1(f, OP_FLOOR, y);
    Val index = func_map(f, INDEX, (double[]){(double)(w - 1), (double)(h - 1), (double)w}, 3,
                         (Val[]){x0, y0, table(c, corner, right), table(c, corner, below)}, 4);
    Val wx = weight(c, x, x0, corner, left_base, right_sign);
    Val wy = weight(c, y, y0, corner, top_base, below_sign);
    Val weights = func_emit2(f, OP_MUL, wx, wy);
    Val map = func_merge(f, c->x, rows, columns, place);
    Val read = func_emit(f, OP_GATHER, &(Attrs){.axis = place}, (Val[]){map, index}, 2);
    if (!read.id || !weights.id)
        return VAL_NONE;
    if (c->arg[3].given) {
        const char *across = c->arg[4].given ? c->arg[4].text : name_intern(c->el->names, "c");
        const Shape *s = func_shape(f, c->arg[3].val);
        if (shape_axis(s, across) < 0 || !op_axis_size(c, across)) {
            el_error(c->el, DIAG_E0211, c->arg[3].span, "'times' and the map have no axis '%s'",
                     across);
            return VAL_NONE;
        }
        AxisList sum = {.n = 1, .name = {across}};
        AxisList order = kept_axes(f, c->arg[3].val, c->arg[3].val, across);
        order.name[order.n++] = across;
        Val times = func_reorder(f, c->arg[3].val, &order);
        AxisList out = kept_axes(f, read, times, across);
        read = func_contract(f, read, times, &sum, &out);
        if (!read.id)
            return VAL_NONE;
    }
    AxisList sum = {.n = 1, .name = {corner}};
    return func_sum(f, func_emit2(f, OP_MUL, read, weights), &sum, 1);
}

/* Normal numbers of x's axes `over` and of further ones; zeros in evaluation. */
Val emit_noise(OpCall *c)
{
    const Arg *over = &c->arg[0], *sizes = &c->arg[1];
    Shape s = {0};
    bool ok = true;
    for (int i = 0; i < over->n; i++)
        ok &= shape_add(&s, over->axis[i].axis, op_axis_size(c, over->axis[i].axis));
    for (int i = 0; i < sizes->n; i++)
        ok &= shape_add(&s, sizes->axis[i].axis, sizes->axis[i].size);
    if (!ok) {
        el_error(c->el, DIAG_E0212, c->span, "an axis of the noise stands twice");
        return VAL_NONE;
    }
    if (!c->el->is_training)
        return func_fill(c->el->func, 0, &s);
    return func_noise(c->el->func, c->label, &s);
}
