/* resize, tile, take, pad, rename: one axis after the other through an index table. */
#include "ir/builtin.h"

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

Val emit_resize(OpCall *c)
{
    const Arg *sizes = &c->arg[0], *by = &c->arg[1];
    Val x = c->x;
    if (strcmp(by->text, "nearest")) {
        el_error(c->el, DIAG_E0250, by->span, "'by' of 'resize' can only be nearest");
        return VAL_NONE;
    }
    for (int i = 0; i < sizes->n && x.id; i++) {
        const AxisArg *a = &sizes->axis[i];
        if (!has_axis(c, a))
            return VAL_NONE;
        int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)a->size);
        for (int64_t k = 0; k < a->size; k++)
            table[k] = resize_nearest(k, op_axis_size(c, a->axis), a->size);
        x = through_table(c, x, a->axis, table, a->size);
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

Val emit_pad(OpCall *c)
{
    const Arg *amount = &c->arg[0];
    Val x = c->x;
    for (int i = 0; i < amount->n && x.id; i++) {
        const AxisArg *a = &amount->axis[i];
        int64_t size = op_axis_size(c, a->axis), n = size + 2 * a->size;
        int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)n);
        for (int64_t k = 0; k < n; k++)
            table[k] = k < a->size || k >= a->size + size ? -1 : (int32_t)(k - a->size);
        x = through_table(c, x, a->axis, table, n);
    }
    return x;
}

Val emit_rename(OpCall *c)
{
    const char *from = c->arg[0].text, *to = c->arg[1].text;
    return from == to ? c->x : func_rename(c->el->func, c->x, from, to);
}
