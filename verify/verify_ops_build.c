/* The operations that are graphs: "out" from the roles of the file. */
#include "ir/elaborate.h"
#include "verify/verify_ops_parts.h"

enum { MAX_STRIDE = 64, MAX_PADDING = 64 };

/* ---- convolutions ---- */

static Stencil stencil(OpsCase *o, const char *axis, const char *tap, double stride, double pad)
{
    return (Stencil){.axis = name_intern(&o->subject.names, axis),
                     .tap = name_intern(&o->subject.names, tap),
                     .stride = (int64_t)stride,
                     .dilation = 1,
                     .pad = (int64_t)pad};
}

static Val spatial(OpsCase *o, Val x, const char *kernel, double stride, double pad)
{
    Attrs a = {.out = ops_axes(o, "b c t h w"), .n_stencil = 2};
    a.stencil[0] = stencil(o, "h", "kh", stride, pad);
    a.stencil[1] = stencil(o, "w", "kw", stride, pad);
    return func_emit(o->f, OP_CONV, &a, (Val[]){x, ops_leaf(o, kernel, "c kh kw")}, 2);
}

static Val temporal(OpsCase *o, Val x, const char *kernel, double pad)
{
    Attrs a = {.out = ops_axes(o, "b c t h w"), .n_stencil = 1};
    a.stencil[0] = stencil(o, "t", "kt", 1, pad);
    return func_emit(o->f, OP_CONV, &a, (Val[]){x, ops_leaf(o, kernel, "c kt")}, 2);
}

static Val build_spatial(OpsCase *o)
{
    Val x = ops_leaf(o, "x", "b c t h w");
    double stride = ops_attribute(o, "stride", 1, MAX_STRIDE);
    return spatial(o, x, "kernel", stride, ops_attribute(o, "padding", 0, MAX_PADDING));
}

static Val build_temporal(OpsCase *o)
{
    Val x = ops_leaf(o, "x", "b c t h w");
    return temporal(o, x, "kernel", ops_attribute(o, "padding", 0, MAX_PADDING));
}

/* floor(taps / 2) on both sides: the padding of the models */
static double half_taps(OpsCase *o, const char *kernel, int axis)
{
    const SafetensorsEntry *e = safetensors_find(&o->c->file, ops_tensor(o, kernel));
    return e && e->rank > (uint32_t)axis ? (double)(e->shape[axis] / 2) : 0;
}

static Val build_factorised(OpsCase *o)
{
    Val x = ops_leaf(o, "x", "b c t h w");
    double stride = ops_attribute(o, "stride", 1, MAX_STRIDE);
    Val y = spatial(o, x, "spatial", stride, half_taps(o, "spatial", 1));
    return temporal(o, y, "temporal", half_taps(o, "temporal", 1));
}

/* ---- products ---- */

static Val product(OpsCase *o, Val x, Val w, const char *over, const char *out)
{
    AxisList o1 = ops_axes(o, over), o2 = ops_axes(o, out);
    return func_contract(o->f, x, w, &o1, &o2);
}

static Val build_gate(OpsCase *o)
{
    AxisList thw = ops_axes(o, "t h w");
    const char *c = name_intern(&o->subject.names, "c"), *m = name_intern(&o->subject.names, "m");
    Func *f = o->f;
    Val x = ops_leaf(o, "x", "b c t h w");
    Val z = product(o, func_mean(f, x, &thw), ops_leaf(o, "down", "r c"), "c", "b r");
    z = func_emit1(f, OP_SILU, func_emit2(f, OP_ADD, z, ops_leaf(o, "down_bias", "r")));
    Val g = product(o, z, ops_leaf(o, "up", "m r"), "r", "b m");
    g = func_emit1(f, OP_SIGMOID, func_emit2(f, OP_ADD, g, ops_leaf(o, "up_bias", "m")));
    return func_emit2(f, OP_MUL, x, func_rename(f, g, m, c));
}

static Val split(OpsCase *o, Val x, const char *axis, const char *outer, const char *inner,
                 double n)
{
    Names *names = &o->subject.names;
    return func_split(o->f, x, name_intern(names, axis), name_intern(names, outer),
                      name_intern(names, inner), (int64_t)n);
}

static Val merge(OpsCase *o, Val x, const char *outer, const char *inner, const char *axis)
{
    Names *names = &o->subject.names;
    return func_merge(o->f, x, name_intern(names, outer), name_intern(names, inner),
                      name_intern(names, axis));
}

static Val build_grouped(OpsCase *o)
{
    double groups = ops_attribute(o, "groups", 1, 1 << 16);
    Val x = split(o, ops_leaf(o, "x", "b c t"), "c", "g", "c", groups);
    Val w = split(o, ops_leaf(o, "weight", "m c"), "m", "g", "m", groups);
    return merge(o, product(o, x, w, "c", "b g m t"), "g", "m", "c");
}

static Val build_shuffle(OpsCase *o)
{
    Val x = ops_leaf(o, "x", "b c t");
    Val parts = split(o, x, "c", "g", "q", ops_attribute(o, "groups", 1, 1 << 16));
    return merge(o, parts, "q", "g", "c");
}

/* ---- shortcut ---- */

static Val through(OpsCase *o, Val x, const char *axis, int32_t *table, int64_t n)
{
    axis = name_intern(&o->subject.names, axis);
    return func_index(o->f, x, axis, axis, table, n);
}

static Val shrink(OpsCase *o, Val x, const char *axis, int64_t stride)
{
    if (!x.id || stride == 1)
        return x;
    const Shape *s = func_shape(o->f, x);
    int64_t source = s->size[shape_axis(s, name_intern(&o->subject.names, axis))];
    int64_t n = (source + stride - 1) / stride;
    int32_t *table = ARENA_ARRAY(&o->subject.arena, int32_t, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        table[i] = resize_nearest(i, source, n);
    return through(o, x, axis, table, n);
}

static Val build_shortcut(OpsCase *o)
{
    Val x = ops_leaf(o, "x", "b c t h w");
    int64_t stride = (int64_t)ops_attribute(o, "stride", 1, MAX_STRIDE);
    int64_t channels = (int64_t)ops_attribute(o, "channels", 1, 1 << 20);
    x = shrink(o, shrink(o, x, "h", stride), "w", stride);
    if (!x.id)
        return VAL_NONE;
    int64_t source = func_shape(o->f, x)->size[1];
    int32_t *table = ARENA_ARRAY(&o->subject.arena, int32_t, (size_t)channels);
    for (int64_t i = 0; i < channels; i++)
        table[i] = (int32_t)(i % source);
    return through(o, x, "c", table, channels);
}

/* ---- positions ---- */

/* n waves [k, axis] at channels first.. of [c, axis], zeros elsewhere. */
static Val place(OpsCase *o, Val wave, int64_t first, int64_t n, int64_t channels)
{
    int32_t *table = ARENA_ARRAY(&o->subject.arena, int32_t, (size_t)channels);
    for (int64_t j = 0; j < channels; j++)
        table[j] = j >= first && j < first + n ? (int32_t)(j - first) : -1;
    return func_index(o->f, wave, name_intern(&o->subject.names, "k"),
                      name_intern(&o->subject.names, "c"), table, channels);
}

static bool read_extent(OpsCase *o, Shape *out)
{
    static const char *const axes[] = {"t", "h", "w"};
    const json_t *extent = json_object_get(o->attributes, "extent");
    for (size_t i = 0; i < 3 && o->status == NPC_OK; i++) {
        json_int_t n = json_integer_value(json_array_get(extent, i));
        if (n < 1 || n > 1 << 16)
            o->status = err_set(o->err, NPC_ERR_INPUT,
                                "%s: attribute 'extent' of %s is not a list of three sizes",
                                o->c->path, o->name);
        else
            shape_add(out, name_intern(&o->subject.names, axes[i]), n);
    }
    return o->status == NPC_OK;
}

static Val build_position(OpsCase *o)
{
    Func *f = o->f;
    Shape all = {0};
    Val freq = ops_leaf(o, "frequencies", "k");
    int64_t channels = (int64_t)ops_attribute(o, "channels", 1, 1 << 16);
    shape_add(&all, name_intern(&o->subject.names, "c"), channels);
    if (!read_extent(o, &all))
        return VAL_NONE;
    int64_t n = func_shape(f, freq)->size[0];
    Val code = func_fill(f, 0, &all);
    for (int axis = 0; axis < 3 && 2 * n * axis < channels; axis++) {
        Shape line = {0};
        shape_add(&line, all.name[axis + 1], all.size[axis + 1]);
        Val angle = func_emit2(f, OP_MUL, freq, func_emit_leaf(f, OP_IOTA, NULL, &line));
        Val sines = place(o, func_emit1(f, OP_SIN, angle), 2 * n * axis, n, channels);
        Val cosines = place(o, func_emit1(f, OP_COS, angle), 2 * n * axis + n, n, channels);
        code = func_emit2(f, OP_ADD, code, func_emit2(f, OP_ADD, sines, cosines));
    }
    return code;
}

/* ---- element by element ---- */

/* Names for the axes of an x of any rank. */
static const char *any_axes(OpsCase *o)
{
    static const char *const axes[] = {"c", "c", "b c", "b c t", "b c h w", "b c t h w"};
    const SafetensorsEntry *e = safetensors_find(&o->c->file, ops_tensor(o, "x"));
    return axes[e && e->rank < 6 ? e->rank : 1];
}

static Val build_softplus(OpsCase *o)
{
    Val x = ops_leaf(o, "x", any_axes(o));
    ops_attribute(o, "linear_above", 20, 20); /* the op has this knee and no other */
    Attrs a = {.k = {ops_attribute(o, "beta", 1e-6, 1e6)}};
    return func_emit(o->f, OP_SOFTPLUS, &a, &x, 1);
}

static Val build_silu(OpsCase *o)
{
    return func_emit1(o->f, OP_SILU, ops_leaf(o, "x", any_axes(o)));
}

static Val drop(OpsCase *o, const char *axes, const char *mask)
{
    Val x = ops_leaf(o, "x", axes);
    double rate = ops_attribute(o, "rate", 0, 0.999999);
    AxisList kept = ops_axes(o, mask);
    Shape s = {0};
    for (int i = 0; x.id && i < kept.n; i++)
        shape_add(&s, kept.name[i], func_shape(o->f, x)->size[i]);
    if (!x.id)
        return VAL_NONE;
    const char *stream = name_intern(&o->subject.names, "keep");
    Val y = func_emit2(o->f, OP_MUL, x, func_random(o->f, stream, rate, &s));
    return func_scale(o->f, y, 1 / (1 - rate));
}

static Val build_drop_path(OpsCase *o)
{
    return drop(o, "b c t h w", "b");
}

static Val build_drop_channels(OpsCase *o)
{
    return drop(o, "b c t", "b c");
}

const OpsRow VERIFY_OPS_GRAPH[] = {
    {.operation = "drop_channels", .build = build_drop_channels},
    {.operation = "drop_path", .build = build_drop_path},
    {.operation = "factorised", .build = build_factorised},
    {.operation = "grouped_pointwise", .build = build_grouped},
    {.operation = "position", .build = build_position},
    {.operation = "shortcut", .build = build_shortcut},
    {.operation = "shuffle", .build = build_shuffle},
    {.operation = "silu", .build = build_silu},
    {.operation = "softplus", .build = build_softplus},
    {.operation = "spatial_depthwise", .build = build_spatial},
    {.operation = "squeeze_gate", .build = build_gate},
    {.operation = "temporal_depthwise", .build = build_temporal},
    {0},
};
