/* resize, crop, tile, take, pad, concat, unfold, rename: one axis after the other through an index
 * table.
 */
#include "ir/builtin.h"

#include <math.h>

/* Applies a table of n source positions (-1: zero) along an axis; none where nothing changes. */
static Val through_table(OpCall *c, Val x, const char *axis, const int32_t *table, int64_t n)
{
    const Shape *s = func_shape(c->el->func, x);
    bool is_same = n == s->size[shape_axis(s, axis)];
    for (int64_t i = 0; is_same && i < n; i++)
        is_same = table[i] == i;
    return is_same ? x : func_index(c->el->func, x, axis, axis, table, n);
}

static bool has_axis(OpCall *c, const AxisArg *a)
{
    if (op_axis_size(c, a->axis))
        return true;
    el_error(c->el, DIAG_E0211, a->span, "'%s' has no axis '%s'", c->def->name, a->axis);
    el_note(c->el, a->span, "the value here is %s", el_shape_text(c->el, op_shape_of(c)));
    return false;
}

int32_t resize_nearest(int64_t i, int64_t source, int64_t target)
{
    float ratio = (float)source / (float)target;
    float at = (float)i * ratio;
    int64_t down = (int64_t)at;
    return (int32_t)(down < source ? down : source - 1);
}

/* Between the two source positions nearest to (i + 0.5) r - 0.5, r = source / target, at the edges
 * the outermost; no smoothing where it gets smaller. */
static Val resize_linear(OpCall *c, Val x, const char *axis, int64_t target)
{
    Func *f = c->el->func;
    const Shape *s = func_shape(f, x);
    int64_t source = s->size[shape_axis(s, axis)];
    Shape line = {0};
    int32_t *low = ARENA_ARRAY(c->el->arena, int32_t, (size_t)target);
    int32_t *high = ARENA_ARRAY(c->el->arena, int32_t, (size_t)target);
    float *left = ARENA_ARRAY(c->el->arena, float, (size_t)target);
    float *right = ARENA_ARRAY(c->el->arena, float, (size_t)target);
    if (source == target)
        return x;
    for (int64_t i = 0; i < target; i++) {
        double at = ((double)i + 0.5) * (double)source / (double)target - 0.5;
        at = at < 0 ? 0 : at;
        low[i] = (int32_t)at < source - 1 ? (int32_t)at : (int32_t)source - 1;
        high[i] = low[i] < source - 1 ? low[i] + 1 : low[i];
        right[i] = (float)(at - low[i]);
        left[i] = 1 - right[i];
    }
    shape_add(&line, axis, target);
    Val a = func_index(f, x, axis, axis, low, target),
        b = func_index(f, x, axis, axis, high, target);
    return func_emit2(f, OP_ADD, func_emit2(f, OP_MUL, a, func_const(f, left, &line)),
                      func_emit2(f, OP_MUL, b, func_const(f, right, &line)));
}

Val emit_resize(OpCall *c)
{
    const Arg *sizes = &c->arg[0], *by = &c->arg[1];
    Val x = c->x;
    bool linear = !strcmp(by->text, "bilinear");
    if (!linear && strcmp(by->text, "nearest")) {
        el_error(c->el, DIAG_E0250, by->span, "'by' of 'resize' is nearest or bilinear");
        return VAL_NONE;
    }
    for (int i = 0; i < sizes->n && x.id; i++) {
        const AxisArg *a = &sizes->axis[i];
        if (!has_axis(c, a))
            return VAL_NONE;
        if (linear) {
            x = resize_linear(c, x, a->axis, a->size);
            continue;
        }
        int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)a->size);
        for (int64_t k = 0; k < a->size; k++)
            table[k] = resize_nearest(k, op_axis_size(c, a->axis), a->size);
        x = through_table(c, x, a->axis, table, a->size);
    }
    return x;
}

/* ---- crop ---- */

/* Position i of n from -span to span, in single precision, as the published model keeps its grid.
 */
static float grid_position(int64_t i, int64_t n, double span)
{
    double step = n > 1 ? 2 * span / (double)(n - 1) : 0;
    return (float)(i < n / 2 || n == 1 ? step * (double)i - span
                                       : span - step * (double)(n - 1 - i));
}

static Val crop_fixed(OpCall *c, Val x, const char *axis, int64_t n, double span)
{
    int64_t size = op_axis_size(c, axis);
    int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        double at = (grid_position(i, n, span) + 1.0) / 2 * (double)(size - 1);
        double nearest = nearbyint(at); /* of two as near the even one */
        table[i] = nearest < 0 || nearest > (double)(size - 1) ? -1 : (int32_t)nearest;
    }
    return through_table(c, x, axis, table, n);
}

/* Moved by coordinate k of `by`: positions are known when the program runs. */
static Val crop_moved(OpCall *c, Val x, const char *axis, int64_t n, double span, int32_t k)
{
    Func *f = c->el->func;
    const char *xy = c->arg[3].text, *from = op_axis_name(c, axis, "_from");
    double last = (double)(op_axis_size(c, axis) - 1);
    AxisList over = {.n = 1, .name = {xy}};
    Shape line = {0};
    float *grid = ARENA_ARRAY(c->el->arena, float, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        grid[i] = grid_position(i, n, span);
    shape_add(&line, axis, n);
    Val by = func_sum(f, func_index(f, c->arg[2].val, xy, xy, &k, 1), &over, 1);
    Val at = func_emit2(f, OP_ADD, by, func_const(f, grid, &line));
    Val index = func_map(f, "floor((a + 1) * k0 + 0.5)", (double[]){0.5 * last}, 1, &at, 1);
    x = func_rename(f, x, axis, from);
    return func_emit(f, OP_GATHER, &(Attrs){.axis = from}, (Val[]){x, index}, 2);
}

static bool check_shift(OpCall *c)
{
    const Shape *s = func_shape(c->el->func, c->arg[2].val);
    int at = c->arg[3].given ? shape_axis(s, c->arg[3].text) : -1;
    if (at >= 0 && s->size[at] == c->arg[0].n)
        return true;
    el_error(c->el, DIAG_E0203, c->arg[2].span,
             "'by' of 'crop' needs an axis 'xy' with a number for each of the %d axes",
             c->arg[0].n);
    el_note(c->el, c->arg[2].span, "the value here is %s", el_shape_text(c->el, s));
    return false;
}

Val emit_crop(OpCall *c)
{
    const Arg *sizes = &c->arg[0];
    double span = c->arg[1].real;
    Val x = c->x;
    if (!(span > 0 && span <= 1)) {
        el_error(c->el, DIAG_E0250, c->arg[1].span, "'span' of 'crop' is above 0 and at most 1");
        return VAL_NONE;
    }
    if (c->arg[2].given && !check_shift(c))
        return VAL_NONE;
    for (int i = 0; i < sizes->n && x.id; i++) {
        const AxisArg *a = &sizes->axis[i];
        if (!has_axis(c, a))
            return VAL_NONE;
        x = c->arg[2].given ? crop_moved(c, x, a->axis, a->size, span, (int32_t)(sizes->n - 1 - i))
                            : crop_fixed(c, x, a->axis, a->size, span);
    }
    return x;
}

Val emit_tile(OpCall *c)
{
    const Arg *sizes = &c->arg[0];
    Val x = c->x;
    for (int i = 0; i < sizes->n && x.id; i++) {
        const AxisArg *a = &sizes->axis[i];
        if (!has_axis(c, a))
            return VAL_NONE;
        int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)a->size);
        for (int64_t k = 0; k < a->size; k++)
            table[k] = (int32_t)(k % op_axis_size(c, a->axis));
        x = through_table(c, x, a->axis, table, a->size);
    }
    return x;
}

Val emit_take(OpCall *c)
{
    const Arg *ranges = &c->arg[0];
    Val x = c->x;
    for (int i = 0; i < ranges->n && x.id; i++) {
        const AxisArg *a = &ranges->axis[i];
        int64_t n = a->end - a->size;
        int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)n);
        for (int64_t k = 0; k < n; k++)
            table[k] = (int32_t)(a->size + k);
        x = through_table(c, x, a->axis, table, n);
    }
    return x;
}

/* Zeros before and after an axis. */
static Val padded(OpCall *c, Val x, const char *axis, int64_t before, int64_t after)
{
    const Shape *s = func_shape(c->el->func, x);
    int64_t size = s->size[shape_axis(s, axis)], n = size + before + after;
    int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)n);
    for (int64_t k = 0; k < n; k++)
        table[k] = k < before || k >= before + size ? -1 : (int32_t)(k - before);
    return through_table(c, x, axis, table, n);
}

Val emit_pad(OpCall *c)
{
    Val x = c->x;
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < c->arg[k].n && x.id; i++) {
            const AxisArg *a = &c->arg[k].axis[i];
            x = padded(c, x, a->axis, k < 2 ? a->size : 0, k != 1 ? a->size : 0);
        }
    return x;
}

/* Both are padded to the common length and added: zeros where the other one stands. */
Val emit_concat(OpCall *c)
{
    Func *f = c->el->func;
    const char *axis = c->arg[1].text;
    Val other = c->arg[0].val;
    const Shape *s = func_shape(f, other);
    int at = shape_axis(s, axis);
    if (at < 0) {
        el_error(c->el, DIAG_E0211, c->arg[0].span, "there is no axis '%s' to join along", axis);
        el_note(c->el, c->arg[0].span, "the value here is %s", el_shape_text(c->el, s));
        return VAL_NONE;
    }
    int64_t n = op_axis_size(c, axis), m = s->size[at];
    return func_emit2(f, OP_ADD, padded(c, c->x, axis, 0, m), padded(c, other, axis, n, 0));
}

/* Position o and place k of a window read o * stride + k. */
Val emit_unfold(OpCall *c)
{
    const Arg *kernel = &c->arg[0], *stride = &c->arg[1];
    Val x = c->x;
    if (!op_check_steps(c, kernel, stride))
        return VAL_NONE;
    for (int i = 0; i < kernel->n && x.id; i++) {
        const AxisArg *k = &kernel->axis[i], *every = op_step(stride, k->axis);
        int64_t size = op_axis_size(c, k->axis), step = every ? every->size : 1;
        if (size < k->size) {
            el_error(c->el, DIAG_E0250, k->span,
                     "a window of %lld is longer than axis '%s' of %lld", (long long)k->size,
                     k->axis, (long long)size);
            return VAL_NONE;
        }
        int64_t n = (size - k->size) / step + 1;
        const char *both = op_axis_name(c, k->axis, "_window");
        int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)(n * k->size));
        for (int64_t o = 0; o < n * k->size; o++)
            table[o] = (int32_t)(o / k->size * step + o % k->size);
        x = func_index(c->el->func, x, k->axis, both, table, n * k->size);
        x = func_split(c->el->func, x, both, k->axis, op_axis_name(c, "k", k->axis), n);
    }
    return x;
}

Val emit_rename(OpCall *c)
{
    const char *from = c->arg[0].text, *to = c->arg[1].text;
    return from == to ? c->x : func_rename(c->el->func, c->x, from, to);
}
