#include "ir/origins.h"

typedef struct Finder {
    Arena *arena;
    Origins *o;
    const Func *f;
} Finder;

const Origin *origin_of(const Origins *o, Val v, const char *axis)
{
    int p = shape_axis(func_shape(o->func, v), axis);
    return p < 0 ? NULL : o->at[(size_t)v.id * MAX_RANK + (size_t)p];
}

static OriginRange join(OriginRange a, OriginRange b)
{
    if (a.first == a.end)
        return b;
    if (b.first == b.end)
        return a;
    return (OriginRange){a.first < b.first ? a.first : b.first, a.end > b.end ? a.end : b.end};
}

/* ---- inputs ---- */

/* Entry i is entry i of the picture. */
static const Origin *of_itself(Finder *z, OriginKind kind, int64_t size)
{
    Origin *out = ARENA_NEW(z->arena, Origin);
    OriginRange *r = ARENA_ARRAY(z->arena, OriginRange, (size_t)size);
    for (int32_t i = 0; i < size; i++)
        r[i] = (OriginRange){i, i + 1};
    out->of[kind] = r;
    out->before[kind] = size;
    return out;
}

static const Origin *of_input(Finder *z, const char *axis, int64_t size)
{
    static const char *const names[ORIGIN_COUNT] = {"t", "h", "w"};
    for (OriginKind kind = ORIGIN_FRAMES; kind < ORIGIN_COUNT; kind++)
        if (!strcmp(axis, names[kind]))
            return of_itself(z, kind, size);
    return NULL;
}

static int kinds_of(const Origin *x)
{
    int n = 0;
    for (OriginKind kind = ORIGIN_FRAMES; kind < ORIGIN_COUNT; kind++)
        n += x->of[kind] != NULL;
    return n;
}

/* ---- ops ---- */

/* A table or windows of `taps` entries: entry i of the new axis is made of entries i * stride + k *
 * dilation - pad of the old one, or of entry table[i]. */
static const Origin *of_windows(Finder *z, const Origin *x, int64_t old, int64_t size,
                                const int32_t *table, const Stencil *s)
{
    Origin *out = ARENA_NEW(z->arena, Origin);
    bool is_merged = kinds_of(x) > 1;
    for (int d = 0; d < ORIGIN_COUNT; d++) {
        if (!x->of[d])
            continue;
        OriginRange *r = ARENA_ARRAY(z->arena, OriginRange, (size_t)size);
        for (int64_t i = 0; i < size; i++)
            for (int64_t k = 0; k < (table ? 1 : s->taps); k++) {
                int64_t from = table ? table[i] : i * s->stride + k * s->dilation - s->pad;
                if (from >= 0 && from < old)
                    r[i] = join(r[i], x->of[d][from]);
            }
        out->of[d] = r;
        out->before[d] = is_merged ? x->before[d] : old;
    }
    return out;
}

/* One of the two parts that an axis of outer * inner entries is taken apart into. */
static const Origin *of_part(Finder *z, const Origin *x, int64_t outer, int64_t inner,
                             bool is_outer)
{
    Origin *out = ARENA_NEW(z->arena, Origin);
    for (int d = 0; d < ORIGIN_COUNT; d++) {
        if (!x->of[d])
            continue;
        OriginRange *r = ARENA_ARRAY(z->arena, OriginRange, (size_t)(is_outer ? outer : inner));
        for (int64_t i = 0; i < outer * inner; i++) {
            OriginRange *to = &r[is_outer ? i / inner : i % inner];
            *to = join(*to, x->of[d][i]);
        }
        out->of[d] = r;
        out->before[d] = x->before[d];
    }
    return out;
}

static const Origin *of_both(Finder *z, const Origin *outer, int64_t n_outer, const Origin *inner,
                             int64_t n_inner)
{
    Origin *out = ARENA_NEW(z->arena, Origin);
    for (int d = 0; d < ORIGIN_COUNT; d++) {
        bool from_outer = outer && outer->of[d];
        const Origin *x = from_outer ? outer : inner;
        if (!x || !x->of[d])
            continue;
        OriginRange *r = ARENA_ARRAY(z->arena, OriginRange, (size_t)(n_outer * n_inner));
        for (int64_t i = 0; i < n_outer * n_inner; i++)
            r[i] = x->of[d][from_outer ? i / n_inner : i % n_inner];
        out->of[d] = r;
        out->before[d] = x->before[d];
    }
    return out;
}

static int64_t axis_size(const Finder *z, Val v, const char *axis)
{
    const Shape *s = func_shape(z->f, v);
    return s->size[shape_axis(s, axis)];
}

static const Stencil *stencil_of(const Node *n, const char *axis)
{
    for (int i = 0; i < n->attrs.n_stencil; i++)
        if (n->attrs.stencil[i].axis == axis)
            return &n->attrs.stencil[i];
    return NULL;
}

/* The origin that an axis of the same name and size has in some operand. */
static const Origin *of_operands(const Finder *z, const Node *n, const char *axis, int64_t size)
{
    for (int i = 0; i < n->n_in; i++) {
        const Origin *x = origin_of(z->o, n->in[i], axis);
        if (x && axis_size(z, n->in[i], axis) == size)
            return x;
    }
    return NULL;
}

/* A picture read at positions that are known when the program runs is the picture from there on. */
static const Origin *of_gathered(Finder *z, const Node *n, int64_t size)
{
    const Origin *x = origin_of(z->o, n->in[0], n->attrs.axis);
    for (OriginKind kind = ORIGIN_FRAMES; x && kinds_of(x) == 1 && kind < ORIGIN_COUNT; kind++)
        if (x->of[kind])
            return of_itself(z, kind, size);
    return NULL;
}

static const Origin *of_axis(Finder *z, const Node *n, const char *axis, int64_t size)
{
    const Attrs *a = &n->attrs;
    const Origin *x;
    switch (op_attrs(n->op)) {
    case ATTR_NAME:
        return n->op == OP_INPUT ? of_input(z, axis, size) : NULL;
    case ATTR_RENAME:
        return origin_of(z->o, n->in[0], axis == a->axis2 ? a->axis : axis);
    case ATTR_SPLIT:
        if (axis != a->axis2 && axis != a->axis3)
            break;
        x = origin_of(z->o, n->in[0], a->axis);
        return x ? of_part(z, x, a->size0, axis_size(z, n->in[0], a->axis) / a->size0,
                           axis == a->axis2)
                 : NULL;
    case ATTR_MERGE: {
        if (axis != a->axis)
            break;
        const Origin *outer = origin_of(z->o, n->in[0], a->axis2);
        const Origin *inner = origin_of(z->o, n->in[0], a->axis3);
        return outer || inner ? of_both(z, outer, axis_size(z, n->in[0], a->axis2), inner,
                                        axis_size(z, n->in[0], a->axis3))
                              : NULL;
    }
    case ATTR_INDEX:
        if (axis != a->axis2)
            break;
        x = origin_of(z->o, n->in[0], a->axis);
        return x ? of_windows(z, x, axis_size(z, n->in[0], a->axis), size, a->table, NULL) : NULL;
    case ATTR_GATHER:
        if (shape_axis(func_shape(z->f, n->in[0]), axis) >= 0)
            break;
        return of_gathered(z, n, size);
    case ATTR_CONV: {
        const Stencil *s = stencil_of(n, axis);
        if (n->op != OP_CONV || !s)
            break;
        x = origin_of(z->o, n->in[0], axis);
        return x ? of_windows(z, x, s->in_size, size, NULL, s) : NULL;
    }
    default:
        break;
    }
    return of_operands(z, n, axis, size);
}

Origins origins_find(Arena *arena, const Func *f)
{
    Origins o = {ARENA_ARRAY(arena, const Origin *, (size_t)f->nodes.len *MAX_RANK), f};
    Finder z = {arena, &o, f};
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        for (int i = 0; i < n->shape.rank; i++)
            o.at[(size_t)id * MAX_RANK + (size_t)i] =
                of_axis(&z, n, n->shape.name[i], n->shape.size[i]);
    }
    return o;
}
