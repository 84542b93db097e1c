#include "ir/drop.h"
#include "tests/ops/random_graph_gen.h"

/* ---- steps: VAL_NONE when nothing in the pool suits ---- */

/* At least 0.5. */
static Val make_positive(Gen *g, Val v)
{
    Val s = func_emit(g->f, OP_SOFTPLUS, &(Attrs){.k = {1}}, &v, 1);
    return func_offset(g->f, s, 0.5);
}

/* What an operand of a pointwise row must be. */
static Val into_domain(Gen *g, Op op, int i, Val v)
{
    bool positive = op == OP_LOG || op == OP_SQRT || op == OP_RSQRT || op == OP_POISSON ||
                    (op == OP_DIV && i == 1);
    if (positive)
        return make_positive(g, v);
    return op == OP_EXP ? func_scale(g->f, v, 0.25) : v;
}

static bool is_forward_row(Op op)
{
    return op_formula(op) && op_derivative(op, 0);
}

static Val step_pointwise_row(Gen *g, Op op)
{
    Val in[MAX_OPERANDS], lead = pick(g);
    for (int i = 0; i < op_arity(op); i++)
        in[i] = into_domain(g, op, i, i ? partner(g, lead) : lead);
    if (op_arity(op) == 2 && op != OP_DIV && op != OP_POISSON && chance(g, 0.3)) {
        Val first = in[0];
        in[0] = in[1];
        in[1] = first;
    }
    Attrs at = {.k = {0.25 * (double)between(g, 1, 6), 0.25 * (double)between(g, 1, 6)}};
    if (op == OP_POISSON)
        at.k[0] = 1e-3;
    return func_emit(g->f, op, &at, in, op_arity(op));
}

static Val step_pointwise(Gen *g)
{
    int op;
    do
        op = (int)between(g, OP_NONE + 1, OP_COUNT - 1);
    while (!is_forward_row((Op)op));
    return step_pointwise_row(g, (Op)op);
}

static Val step_activation(Gen *g)
{
    static const Op often[] = {OP_SILU, OP_SOFTPLUS, OP_SIGMOID, OP_MUL, OP_ADD, OP_RELU};
    return step_pointwise_row(g, often[between(g, 0, 5)]);
}

static Val step_batchnorm(Gen *g)
{
    Val x = pick_with(g, "c");
    if (!x.id)
        return VAL_NONE;
    Shape c = {0};
    shape_add(&c, axis_name(g, "c"), size_of(g, x, "c"));
    if (shape_elems(shape_of(g, x)) < 4 * shape_elems(&c))
        return VAL_NONE;
    AxisList over = {0};
    const Shape *s = shape_of(g, x);
    for (int i = 0; i < s->rank; i++)
        if (strcmp(s->name[i], "c"))
            over.name[over.n++] = s->name[i];
    Val mean = func_mean(g->f, x, &over), var = func_variance(g->f, x, &over, 1);
    Val scale = new_param(g, &c), shift = new_param(g, &c);
    return func_emit(g->f, OP_BATCHNORM, &(Attrs){.k = {1e-3}}, (Val[]){x, mean, var, scale, shift},
                     5);
}

/* Over the channels, or over some other axes. */
static Val norm_channels(Gen *g, Val x)
{
    Shape part = {0};
    shape_add(&part, axis_name(g, "c"), size_of(g, x, "c"));
    if (chance(g, 0.3))
        part = some_axes(g, shape_of(g, x), 0.5);
    AxisList over = {.n = part.rank};
    memcpy(over.name, part.name, sizeof *over.name * (size_t)part.rank);
    if (!over.n)
        return VAL_NONE;
    Val mean = func_mean(g->f, x, &over), var = func_variance(g->f, x, &over, 1);
    Val scale = new_param(g, &part), shift = new_param(g, &part);
    return func_emit(g->f, OP_LAYERNORM, &(Attrs){.k = {1e-2}}, (Val[]){x, mean, var, scale, shift},
                     5);
}

static Val step_layernorm(Gen *g)
{
    Val x = pick_with(g, "c");
    return x.id ? norm_channels(g, x) : VAL_NONE;
}

/* A table added along the channels, and its whole part. */
static Val step_table(Gen *g)
{
    Val x = pick_with(g, "c");
    if (!x.id)
        return VAL_NONE;
    Shape line = {0};
    shape_add(&line, axis_name(g, "c"), size_of(g, x, "c"));
    float *data = ARENA_ARRAY(g->m->arena, float, (size_t)line.size[0]);
    for (int64_t i = 0; i < line.size[0]; i++)
        data[i] = (float)between(g, -9, 9) / 7;
    Val table = func_const(g->f, data, &line);
    return func_emit2(g->f, OP_ADD, x,
                      chance(g, 0.5) ? table
                                     : func_emit1(g->f, OP_FLOOR, func_offset(g->f, table, 0.01)));
}

static AxisList list_of(const Shape *s)
{
    AxisList list = {.n = s->rank};
    for (int i = 0; i < s->rank; i++)
        list.name[i] = s->name[i];
    return list;
}

static void replace(AxisList *list, const char *axis, const char *with)
{
    for (int i = 0; i < list->n; i++)
        if (!strcmp(list->name[i], axis))
            list->name[i] = with;
}

/* New channels that keep the value small enough. */
static int64_t new_channels(Gen *g, Val x)
{
    int64_t rest = shape_elems(shape_of(g, x)) / size_of(g, x, "c"), most = g->max_elems / rest;
    return between(g, 1, most > 40 ? 40 : most < 1 ? 1 : most);
}

static AxisList one(Gen *g, const char *axis)
{
    return (AxisList){1, {axis_name(g, axis)}};
}

/* [.. c ..] x [m, c] -> [.. m ..], called c again */
static Val dense(Gen *g, Val x)
{
    Shape w = {0};
    shape_add(&w, axis_name(g, "m"), new_channels(g, x));
    shape_add(&w, axis_name(g, "c"), size_of(g, x, "c"));
    AxisList over = one(g, "c"), out = list_of(shape_of(g, x));
    replace(&out, "c", axis_name(g, "m"));
    Val p = new_param(g, &w);
    Val y = chance(g, 0.5) ? func_contract(g->f, x, p, &over, &out)
                           : func_contract(g->f, p, x, &over, &out);
    return func_rename(g->f, y, "m", "c");
}

static Val step_dense(Gen *g)
{
    Val x = pick_with(g, "c");
    return x.id ? dense(g, x) : VAL_NONE;
}

/* A product of an input's windows, which overlap, or of their norm. */
static Val step_windows(Gen *g)
{
    static const char *const axes[] = {"t", "h"}, *const places[] = {"kt", "kh"};
    int32_t table[25];
    int64_t stride[] = {between(g, 1, 2), 1}, taps = between(g, 4, 5), n = between(g, 4, 5);
    Shape s = {0};
    shape_add(&s, axis_name(g, "b"), between(g, 1, 2));
    shape_add(&s, axis_name(g, "c"), between(g, 1, 3));
    if (shape_elems(&s) * n * n * taps * taps > g->max_elems)
        return VAL_NONE;
    for (int i = 0; i < 2; i++)
        shape_add(&s, axis_name(g, axes[i]), (n - 1) * stride[i] + taps);
    Val x = new_input(g, &s);
    for (int i = 0; i < 2; i++) {
        for (int64_t k = 0; k < n * taps; k++)
            table[k] = (int32_t)(k / taps * stride[i] + k % taps);
        x = func_index(g->f, x, axes[i], "window", table, n * taps);
        x = func_split(g->f, x, "window", axes[i], places[i], n);
    }
    x = func_merge(g->f, func_merge(g->f, x, "c", "kt", "c"), "c", "kh", "c");
    x = chance(g, 0.5) ? norm_channels(g, x) : x;
    return x.id ? dense(g, x) : VAL_NONE; /* it may have found no axis to norm over */
}

static int64_t some_divisor(Gen *g, int64_t n)
{
    int64_t d = between(g, 1, n);
    while (n % d)
        d--;
    return d;
}

/* c = (g, c); [.. g, c ..] x [g, m, c] -> [.. g, m ..]; (g, m) = c */
static Val step_grouped(Gen *g)
{
    Val x = pick_with(g, "c");
    if (!x.id || shape_of(g, x)->rank > 5)
        return VAL_NONE;
    int64_t c = size_of(g, x, "c"), groups = some_divisor(g, c), m = between(g, 1, 6);
    if (groups * m > 40 || shape_elems(shape_of(g, x)) / c * groups * m > g->max_elems)
        m = 1;
    Val parts = func_split(g->f, x, "c", "g", "c", groups);
    Shape w = {0};
    shape_add(&w, axis_name(g, "g"), groups);
    shape_add(&w, axis_name(g, "m"), m);
    shape_add(&w, axis_name(g, "c"), c / groups);
    AxisList over = one(g, "c"), out = list_of(shape_of(g, parts));
    replace(&out, "c", axis_name(g, "m"));
    Val y = func_contract(g->f, parts, new_param(g, &w), &over, &out);
    return func_merge(g->f, y, "g", "m", "c");
}

/* Products of activations with batch axes: [b c t] -> attention over t, [b t s] -> [b c t] */
static Val step_attention(Gen *g)
{
    Val x = pick_with(g, "c");
    if (!x.id || !has(g, x, "t") || !has(g, x, "b"))
        return VAL_NONE;
    AxisList over = {0};
    const Shape *s = shape_of(g, x);
    for (int i = 0; i < s->rank; i++)
        if (strcmp(s->name[i], "b") && strcmp(s->name[i], "c") && strcmp(s->name[i], "t"))
            over.name[over.n++] = s->name[i];
    Val q = over.n ? func_mean(g->f, x, &over) : x;
    Val k = func_rename(g->f, q, "t", "s");
    AxisList sum = one(g, "c"),
             scores = {3, {axis_name(g, "b"), axis_name(g, "t"), axis_name(g, "s")}};
    Val a = func_emit1(g->f, OP_TANH, func_contract(g->f, q, k, &sum, &scores));
    AxisList over_s = one(g, "s"),
             out = {3, {axis_name(g, "t"), axis_name(g, "c"), axis_name(g, "b")}};
    return func_contract(g->f, a, k, &over_s, &out);
}

/* A bias of pairs of steps, perhaps another one in every sample or row, and as labels the steps'
 * numbers, from 2 on all the same; every third step, in every row others, may have no query. */
static void add_to_scores(Gen *g, Val x, Val *in)
{
    static const char *const axes[] = {"b", "h"};
    Shape pairs = {0}, line = {0};
    int64_t n = size_of(g, x, "t");
    for (int i = 0; i < 2; i++)
        if (has(g, x, axes[i]) && chance(g, 0.3))
            shape_add(&pairs, axis_name(g, axes[i]), size_of(g, x, axes[i]));
    shape_add(&pairs, axis_name(g, "t"), n);
    shape_add(&pairs, axis_name(g, "s"), n);
    shape_add(&line, axis_name(g, "t"), n);
    Val step = func_emit_leaf(g->f, OP_IOTA, NULL, &line);
    in[0] = new_param(g, &pairs);
    in[1] = func_map(g->f, "min(a, 2)", NULL, 0, &step, 1);
    in[2] = func_rename(g->f, in[1], "t", "s");
    if (!chance(g, 0.5))
        return;
    Shape rows = {0};
    if (has(g, x, "h")) {
        shape_add(&rows, axis_name(g, "h"), size_of(g, x, "h"));
        step = func_emit2(g->f, OP_ADD, step, func_emit_leaf(g->f, OP_IOTA, NULL, &rows));
    }
    in[1] = func_map(g->f, "where(floor(a / 3) * 3 - a > -0.5, k0, b)", (double[]){ATTEND_UNASKED},
                     1, (Val[]){step, in[1]}, 2);
}

/* Random bytes of the sequences of steps. */
static Val bytes_of(Gen *g, Val x)
{
    Shape s = {0};
    for (int i = 0; i < shape_of(g, x)->rank; i++)
        if (strcmp(shape_of(g, x)->name[i], "t") && strcmp(shape_of(g, x)->name[i], "c"))
            shape_add(&s, shape_of(g, x)->name[i], shape_of(g, x)->size[i]);
    shape_add(&s, axis_name(g, "byte"), DROP_BYTES);
    return func_bytes(g->f, arena_printf(g->arena, "bytes%d", g->n_masks++), &s);
}

/* x turned along t and cut off, with a bias behind: what windows of attention are made of. */
static Val turned(Gen *g, Val x)
{
    int64_t n = size_of(g, x, "t"), by = between(g, 0, (int)n - 1), end = between(g, 1, (int)n);
    int32_t *table = ARENA_ARRAY(g->arena, int32_t, (size_t)n);
    Shape line = {0};
    for (int64_t i = 0; i < n; i++)
        table[i] = (i + by) % n < end ? (int32_t)((i + by) % n) : -1;
    shape_add(&line, axis_name(g, "c"), size_of(g, x, "c"));
    x = func_index(g->f, x, axis_name(g, "t"), axis_name(g, "t"), table, n);
    return chance(g, 0.7) ? func_emit2(g->f, OP_ADD, x, new_param(g, &line)) : x;
}

/* Attention over t, every other axis but the channels independent. */
static Val step_attend(Gen *g)
{
    Val x = pick_with(g, "c");
    if (!x.id || !has(g, x, "t") || !has(g, x, "b"))
        return VAL_NONE;
    Attrs a = {.axis = axis_name(g, "t"), .axis2 = axis_name(g, "s"), .over = one(g, "c")};
    a.k[0] = 1 / sqrt((double)size_of(g, x, "c"));
    bool hides = size_of(g, x, "t") > 1 && chance(g, 0.3);
    a.k[1] = hides ? ATTEND_SEES_OTHERS : chance(g, 0.5) ? ATTEND_SEES_EARLIER : ATTEND_SEES_ALL;
    bool has_windows = chance(g, 0.4);
    Val from[3] = {x, chance(g, 0.3) ? new_param(g, shape_of(g, x)) : x, x};
    for (int i = 0; i < 3 && has_windows; i++)
        from[i] = turned(g, from[i]);
    x = from[0];
    Val k = func_rename(g->f, from[1], "t", "s");
    Val v = func_rename(g->f, func_rename(g->f, from[2], "t", "s"), "c", "e");
    Val in[7] = {x, k, v};
    int n = 3;
    if (chance(g, 0.4)) {
        add_to_scores(g, x, in + 3);
        a.k[3] = chance(g, 0.5) ? 0.25 : 0; /* any share: it is for counts only */
        n = 6;
    }
    if (chance(g, 0.3)) {
        a.k[2] = 0.1 * between(g, 1, 6);
        in[n++] = bytes_of(g, x);
    }
    return func_rename(g->f, func_emit(g->f, OP_ATTEND, &a, in, n), "e", "c");
}

/* An axis read at positions that are whole numbers, some of them outside, in every sample others.
 */
static Val step_gather(Gen *g)
{
    static const char *const axes[] = {"t", "h", "w"};
    const char *axis = axes[between(g, 0, 2)];
    Val x = pick_with(g, axis);
    if (!x.id || !has(g, x, "b"))
        return VAL_NONE;
    int64_t n = size_of(g, x, axis), most = g->max_elems / (shape_elems(shape_of(g, x)) / n);
    Shape line = {0}, batch = {0};
    shape_add(&line, axis_name(g, "n"), between(g, 1, most > 9 ? 9 : most < 1 ? 1 : most));
    shape_add(&batch, axis_name(g, "b"), size_of(g, x, "b"));
    Val at =
        func_offset(g->f, func_emit_leaf(g->f, OP_IOTA, NULL, &line), (double)-between(g, 0, 2));
    if (chance(g, 0.5))
        at = func_emit2(g->f, OP_ADD, at, func_emit_leaf(g->f, OP_IOTA, NULL, &batch));
    Attrs a = {.axis = axis_name(g, axis)};
    return func_rename(g->f, func_emit(g->f, OP_GATHER, &a, (Val[]){x, at}, 2), "n", axis);
}

/* A stencil over the axis of x with at least one output. */
static Stencil some_stencil(Gen *g, Val x, const char *axis)
{
    Stencil s = {.axis = axis_name(g, axis)};
    int64_t n = size_of(g, x, axis);
    s.tap = axis_name(g, arena_printf(g->arena, "k%s", axis));
    s.taps = between(g, 1, 5);
    s.stride = chance(g, 0.6) ? 1 : between(g, 2, 3);
    s.dilation = chance(g, 0.8) ? 1 : 2;
    s.pad = between(g, 0, s.dilation * (s.taps - 1) / 2 + 1);
    while (n + 2 * s.pad < s.dilation * (s.taps - 1) + 1)
        s.pad++;
    return s;
}

/* Dense (c to m channels), depthwise (a kernel for each c), or one kernel for all channels. */
static Val step_conv(Gen *g)
{
    static const char *const axes[] = {"t", "h", "w"};
    Val x = pick_with(g, "c");
    if (!x.id)
        return VAL_NONE;
    Attrs at = {.out = list_of(shape_of(g, x))};
    Shape w = {0};
    bool dense = chance(g, 0.3), shared = !dense && chance(g, 0.1);
    int64_t m = dense ? between(g, 1, 6) : 1;
    if (dense && m > new_channels(g, x))
        m = 1;
    if (dense)
        shape_add(&w, axis_name(g, "m"), m);
    if (!shared)
        shape_add(&w, axis_name(g, "c"), size_of(g, x, "c"));
    for (int i = 0; i < 3; i++)
        if (has(g, x, axes[i]) && chance(g, 0.6)) {
            Stencil s = some_stencil(g, x, axes[i]);
            shape_add(&w, s.tap, s.taps);
            at.stencil[at.n_stencil++] = s;
        }
    if (!at.n_stencil)
        return VAL_NONE;
    if (dense) {
        at.over = one(g, "c");
        replace(&at.out, "c", axis_name(g, "m"));
    }
    Val y = func_emit(g->f, OP_CONV, &at, (Val[]){x, new_param(g, &w)}, 2);
    if (shape_elems(shape_of(g, y)) > 2 * g->max_elems)
        return VAL_NONE;
    return dense ? func_rename(g->f, y, "m", "c") : y;
}

/* Resizing, shifts with zeros, repetition, shuffling, or anything: tables over an axis of n. */
static int64_t fill_table(Gen *g, int32_t *table, int64_t n, int64_t most)
{
    int64_t kind = between(g, 0, 4), len = kind == 2 || kind == 3 ? n : between(g, 1, most);
    int64_t groups = some_divisor(g, n), shift = between(g, -2, 2);
    for (int64_t i = 0; i < len; i++) {
        int64_t from = kind == 0   ? i * n / len
                       : kind == 1 ? i % n
                       : kind == 2 ? i + shift
                       : kind == 3 ? i % groups * (n / groups) + i / groups
                                   : between(g, -1, n - 1);
        table[i] = (int32_t)(from < 0 || from >= n ? -1 : from);
    }
    return len;
}

static Val step_index(Gen *g)
{
    static const char *const axes[] = {"c", "c", "t", "h", "w"};
    const char *axis = axes[between(g, 0, 4)];
    Val x = pick_with(g, axis);
    if (!x.id)
        return VAL_NONE;
    int64_t n = size_of(g, x, axis), rest = shape_elems(shape_of(g, x)) / n;
    int64_t most = g->max_elems / rest, limit = *axis == 'c' ? 40 : 9;
    int32_t table[64];
    int64_t len = fill_table(g, table, n, most > limit ? limit : most < 1 ? 1 : most);
    return func_index(g->f, x, axis, axis, table, len);
}

/* The moments of a value over some axes; often used at once, broadcast back. */
static Val step_reduce(Gen *g)
{
    Val x = pick(g);
    Shape part = some_axes(g, shape_of(g, x), 0.05);
    if (!part.rank)
        return VAL_NONE;
    AxisList over = list_of(&part);
    double n = (double)shape_elems(&part);
    Val r = chance(g, 0.2)   ? func_variance(g->f, x, &over, 0.5 * (double)between(g, 1, 3))
            : chance(g, 0.5) ? func_mean(g->f, x, &over)
                             : func_sum(g->f, x, &over, 2 / sqrt(n));
    if (chance(g, 0.3))
        return r;
    r = offer(g, r);
    return func_emit2(g->f, chance(g, 0.5) ? OP_SUB : OP_MUL, x, r);
}

static Val step_mask(Gen *g)
{
    Val x = pick(g);
    Shape part = some_axes(g, shape_of(g, x), 0.5);
    const char *name = arena_printf(g->arena, "drop%d", g->n_masks++);
    if (chance(g, 0.3))
        return func_emit2(g->f, OP_ADD, x, func_noise(g->f, name, &part));
    double rate = 0.125 * (double)between(g, 0, 5);
    Val mask = func_random(g->f, name, rate, &part);
    return func_scale(g->f, func_emit2(g->f, OP_MUL, x, mask), 1 / (1 - rate));
}

/* A wave along time: the position as a value. */
static Val step_position(Gen *g)
{
    Val x = pick_with(g, "t");
    if (!x.id)
        return VAL_NONE;
    Shape t = {0};
    shape_add(&t, axis_name(g, "t"), size_of(g, x, "t"));
    Val at = func_scale(g->f, func_emit_leaf(g->f, OP_IOTA, NULL, &t), 0.37);
    return func_emit2(g->f, OP_ADD, x, func_emit1(g->f, chance(g, 0.5) ? OP_SIN : OP_COS, at));
}

/* Other views of the same elements, always back to the usual names. */
static Val step_view(Gen *g)
{
    Val x = pick(g);
    const Shape s = *shape_of(g, x);
    if (chance(g, 0.5) && s.rank > 1) {
        AxisList order = list_of(&s);
        for (int i = s.rank - 1; i > 0; i--) {
            int64_t j = between(g, 0, i);
            const char *keep = order.name[i];
            order.name[i] = order.name[j];
            order.name[j] = keep;
        }
        return func_reorder(g->f, x, &order);
    }
    if (shape_axis(&s, "c") < 0 || s.rank == MAX_RANK)
        return VAL_NONE;
    Val parts = func_split(g->f, x, "c", "g", "q", some_divisor(g, size_of(g, x, "c")));
    return chance(g, 0.5) ? func_merge(g->f, parts, "q", "g", "c")
                          : func_merge(g->f, parts, "g", "q", "c");
}

/* A volume of odd sizes; channels up to 40. */
static Val step_input(Gen *g)
{
    Shape s = {0};
    int64_t rest;
    shape_add(&s, axis_name(g, "b"), between(g, 1, 3));
    shape_add(&s, axis_name(g, "c"), chance(g, 0.5) ? between(g, 1, 8) : between(g, 9, 40));
    rest = g->max_elems / shape_elems(&s);
    static const char *const axes[] = {"t", "h", "w"};
    for (int i = 0; i < 3; i++) {
        int64_t n = between(g, 1, 7);
        n = n > rest ? 1 : n;
        if (i && chance(g, 0.1))
            continue;
        shape_add(&s, axis_name(g, axes[i]), n);
        rest /= n;
    }
    return new_input(g, &s);
}

typedef Val (*Step)(Gen *g);
static const struct {
    Step step;
    int weight;
} STEPS[] = {
    {step_pointwise, 8}, {step_activation, 5}, {step_batchnorm, 5}, {step_dense, 5},
    {step_grouped, 3},   {step_attention, 1},  {step_conv, 6},      {step_index, 4},
    {step_reduce, 4},    {step_mask, 2},       {step_position, 1},  {step_view, 3},
    {step_input, 1},     {step_attend, 2},     {step_gather, 2},    {step_layernorm, 3},
    {step_table, 1},     {step_windows, 2},
};
enum { N_STEPS = sizeof STEPS / sizeof *STEPS };

static Val some_step(Gen *g)
{
    int total = 0, i = 0;
    for (int k = 0; k < N_STEPS; k++)
        total += STEPS[k].weight;
    for (int64_t r = between(g, 0, total - 1); r >= STEPS[i].weight; i++)
        r -= STEPS[i].weight;
    return STEPS[i].step(g);
}

/* ---- results ---- */

Val random_graph_loss(Func *f, Val v)
{
    const Shape s = *func_shape(f, v);
    AxisList all = list_of(&s);
    return func_mean(f, func_emit1(f, OP_SQUARE, v), &all);
}

static bool is_used(const Func *f, Val v)
{
    for (uint32_t i = v.id + 1; i < f->nodes.len; i++)
        for (int k = 0; k < f->nodes.at[i].n_in; k++)
            if (f->nodes.at[i].in[k].id == v.id)
                return true;
    return false;
}

/* Every value that nothing uses becomes an output and a term of the loss. */
static void add_results(Gen *g)
{
    Func *f = g->f;
    uint32_t n = f->nodes.len;
    int n_outputs = 0;
    Val loss = VAL_NONE;
    for (uint32_t i = 1; i < n; i++) {
        Val v = {i};
        if (is_used(f, v))
            continue;
        func_result(f, RESULT_OUTPUT, arena_printf(g->arena, "y%d", n_outputs++), v);
        Val term = random_graph_loss(f, v);
        loss = loss.id ? func_emit2(f, OP_ADD, loss, term) : term;
    }
    func_result(f, RESULT_LOSS, "loss", loss);
}

Func *random_graph(Module *m, uint64_t seed, const RandomGraphOptions *o)
{
    int min = o && o->max_ops ? o->min_ops : 5, max = o && o->max_ops ? o->max_ops : 40;
    Arena arena = {0};
    Gen g = {.m = m, .arena = &arena, .seed = seed, .state = seed};
    g.max_elems = o && o->max_elems ? o->max_elems : 6000;
    g.f = module_add_func(m, "forward");
    offer(&g, step_input(&g));
    int64_t n = between(&g, min, max);
    for (int64_t i = 0; i < n; i++) {
        Val v = some_step(&g);
        if (v.id)
            offer(&g, v);
    }
    add_results(&g);
    arena_free(&arena);
    return g.f;
}
