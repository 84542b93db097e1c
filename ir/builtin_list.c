/* split and stack: a tensor's places along an axis as a list, and back.
 *
 * Recurrent models walk over frames: each step reads one and makes one. Both ops are trees that
 * take FAN parts at a time, so that neither reading n places nor joining them moves more than
 * log(n) / log(FAN) times the tensor, forward and (a part's gradient is padded to the whole and
 * added) backward. */
#include "ir/builtin.h"

enum { FAN = 8 };

/* Entries first .. first + n - 1 of an axis; with `whole` the other way: n entries at `first` of a
 * longer axis, zeros elsewhere. */
static Val part(OpCall *c, Val x, const char *axis, int64_t first, int64_t n, int64_t whole)
{
    int64_t len = whole ? whole : n;
    int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)len);
    for (int64_t i = 0; i < len; i++)
        table[i] = !whole                        ? (int32_t)(first + i)
                   : i < first || i >= first + n ? -1
                                                 : (int32_t)(i - first);
    return func_index(c->el->func, x, axis, axis, table, len);
}

/* Size of the parts of n places: a power of FAN, so that all trees of one length look alike. */
static int64_t part_size(int64_t n)
{
    int64_t size = 1;
    while (size * FAN < n)
        size *= FAN;
    return size;
}

static void split(OpCall *c, Val x, const char *axis, int64_t n, Value *out)
{
    int64_t size = part_size(n);
    if (n == 1) {
        *out = (Value){.kind = VALUE_TENSOR, .val = x, .span = c->span};
        return;
    }
    for (int64_t i = 0; i < n; i += size) {
        int64_t here = n - i < size ? n - i : size;
        split(c, part(c, x, axis, i, here, 0), axis, here, out + i);
    }
}

Value emit_split(OpCall *c)
{
    const char *axis = c->arg[0].text;
    int64_t n = op_axis_size(c, axis);
    if (n > COMPTIME_LIST_LIMIT)
        return el_error(c->el, DIAG_E0004, c->span, "a list of more than %d items",
                        COMPTIME_LIST_LIMIT);
    Value *item = ARENA_ARRAY(c->el->arena, Value, (size_t)n);
    split(c, c->x, axis, n, item);
    return value_list(item, (uint32_t)n);
}

static int64_t length(OpCall *c, const Value *item, int64_t n, const char *axis)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const Shape *s = func_shape(c->el->func, item[i].val);
        sum += s->size[shape_axis(s, axis)];
    }
    return sum;
}

static Val stack(OpCall *c, const Value *item, int64_t n, const char *axis)
{
    int64_t size = part_size(n), whole = length(c, item, n, axis);
    Val sum = VAL_NONE;
    if (n == 1)
        return item->val;
    for (int64_t i = 0, at = 0; i < n; i += size) {
        int64_t here = n - i < size ? n - i : size, len = length(c, item + i, here, axis);
        Val x = part(c, stack(c, item + i, here, axis), axis, at, len, whole);
        sum = sum.id ? func_emit2(c->el->func, OP_ADD, sum, x) : x;
        at += len;
    }
    return sum;
}

/* Every tensor has the axes of the first, and their sizes but along `axis`. */
static bool are_alike(OpCall *c, const char *axis)
{
    const Shape *first = op_shape_of(c);
    for (uint32_t i = 1; i < c->n_items; i++) {
        const Shape *s = func_shape(c->el->func, c->item[i].val);
        bool same = s->rank == first->rank;
        for (int k = 0; same && k < s->rank; k++) {
            int at = shape_axis(s, first->name[k]);
            same = at >= 0 && (first->name[k] == axis || s->size[at] == first->size[k]);
        }
        if (same)
            continue;
        el_error(c->el, DIAG_E0203, c->span, "tensor %u of the list is %s, the first %s", i,
                 el_shape_text(c->el, s), el_shape_text(c->el, first));
        return false;
    }
    return true;
}

Val emit_stack(OpCall *c)
{
    const char *axis = c->arg[0].text;
    return are_alike(c, axis) ? stack(c, c->item, c->n_items, axis) : VAL_NONE;
}
