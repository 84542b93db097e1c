/* patches: a product of overlapping windows is read from what the windows were cut from.
 *
 *     contract(windows(x), w over the places in a window)
 *         ->  contract(gather(x, position of the window + place in it), w)
 *
 * and with a layer norm over the windows in between, scale g, shift s, moments m, v of a window,
 *
 *     (contract(gather(x - c), w g) - (m - c) sum(w g)) rsqrt(v + eps) + sum(w s)
 *
 * so that windows are never stored: one of ViV1T's tokens is 6125 numbers of which its neighbour
 * has nearly all (specs/performance.md 1.4, specs/viv1t.md 4.3). c is the mean of the sample's x,
 * which keeps the correction small. Moments of windows are taken axis by axis, means of means and
 *     variance = mean of the variances within + variance of the means
 * whose terms are sums of squares about a mean, so nothing cancels however flat a window is.
 *
 * Needs: x without parameters (its gradient would be stored as windows), windows at least EXPANSION
 * times as large as x. What else reads windows or their norm still does. Keeps shapes;
 * sums are taken in another order. */
#include "passes/pass.h"

#include <math.h>
#include <string.h>

enum { EXPANSION = 4, MOST_POSITIONS = 1 << 24 /* whole numbers in float32 */ };

static const char FLAT[] = "patches_flat";

/* An axis of x cut into windows: entry o * n_taps + k of the table is window o's place k. */
typedef struct Cut {
    const char *axis, *both, *window, *tap;
    int64_t n_windows, n_taps;
    const int32_t *table;
} Cut;

typedef struct Match {
    int side;              /* of the product */
    const Node *norm;      /* NULL: none */
    const char *places;    /* the summed axis, as the product calls it */
    const char *scaled;    /* as the norm's scale calls it */
    AxisList inner, outer; /* axes of the windows: what they are called, and in the product */
    AxisList parts;        /* what the summed axis is made of, outermost first */
    Cut cut[MAX_RANK];
    int n_cuts;
    Val x;
} Match;

static int find(const AxisList *list, const char *axis)
{
    for (int i = 0; i < list->n; i++)
        if (list->name[i] == axis)
            return i;
    return -1;
}

static void replace(AxisList *list, const char *from, const char *to)
{
    int i = find(list, from);
    if (i >= 0)
        list->name[i] = to;
}

/* Down through other names and orders of the axes. */
static Val strip(const Func *f, Val v, Match *m)
{
    for (const Node *n = func_node(f, v); n->op == OP_RENAME || n->op == OP_REORDER;
         n = func_node(f, v)) {
        if (n->op == OP_RENAME) {
            replace(&m->inner, n->attrs.axis2, n->attrs.axis);
            replace(&m->parts, n->attrs.axis2, n->attrs.axis);
        }
        v = n->in[0];
    }
    return v;
}

/* A norm over the summed axis alone, about the moments of what it norms. */
static bool is_own_norm(const Func *f, const Node *norm, const char *axis)
{
    const Node *mean = func_node(f, norm->in[1]), *var = func_node(f, norm->in[2]);
    const Shape *x = func_shape(f, norm->in[0]);
    double n = (double)x->size[shape_axis(x, axis)];
    bool ok = mean->op == OP_SUM && var->op == OP_VARIANCE && mean->in[0].id == norm->in[0].id &&
              var->in[0].id == norm->in[0].id && fabs(mean->attrs.k[0] * n - 1) < 1e-9 &&
              var->attrs.k[0] == 1;
    for (int i = 1; ok && i < 5; i++) {
        const AxisList *over = &func_node(f, norm->in[i])->attrs.over;
        const Shape *s = func_shape(f, norm->in[i]);
        ok = i < 3 ? over->n == 1 && over->name[0] == axis : s->rank == 1 && s->name[0] == axis;
    }
    return ok;
}

/* Takes the summed axis apart as far as merges made it. */
static Val unmerge(const Func *f, Val v, Match *m)
{
    for (;;) {
        v = strip(f, v, m);
        const Node *n = func_node(f, v);
        int i = n->op == OP_MERGE ? find(&m->parts, n->attrs.axis) : -1;
        if (i < 0 || m->parts.n == MAX_RANK)
            return v;
        for (int k = m->parts.n++; k > i + 1; k--)
            m->parts.name[k] = m->parts.name[k - 1];
        m->parts.name[i] = n->attrs.axis2;
        m->parts.name[i + 1] = n->attrs.axis3;
        v = n->in[0];
    }
}

/* Entries are a part of the window plus a part of the place. */
static bool is_separable(const Cut *c)
{
    for (int64_t i = 0; i < c->n_windows * c->n_taps; i++)
        if (c->table[i] < 0 || c->table[i] != c->table[i / c->n_taps * c->n_taps] +
                                                  c->table[i % c->n_taps] - c->table[0])
            return false;
    return true;
}

static bool read_cut(const Func *f, const Node *split, Cut *c)
{
    const Node *index = func_node(f, split->in[0]);
    if (split->op != OP_SPLIT || index->op != OP_INDEX || index->attrs.axis2 != split->attrs.axis ||
        index->attrs.axis2 == index->attrs.axis)
        return false;
    int64_t n = split->attrs.size0;
    *c = (Cut){.axis = index->attrs.axis,
               .both = index->attrs.axis2,
               .window = split->attrs.axis2,
               .tap = split->attrs.axis3,
               .n_windows = n,
               .n_taps = index->attrs.table_len / n,
               .table = index->attrs.table};
    return is_separable(c);
}

/* The value below the windows, which are cut along one axis after the other. */
static bool read_cuts(const Func *f, Val v, Match *m)
{
    for (m->n_cuts = 0; m->n_cuts < MAX_RANK; m->n_cuts++) {
        Cut *c = &m->cut[m->n_cuts];
        const Node *n = func_node(f, v);
        if (!read_cut(f, n, c))
            break;
        if (find(&m->parts, c->tap) < 0 || find(&m->inner, c->window) < 0)
            return false;
        for (int i = 0; i < m->n_cuts; i++) /* an axis that is cut twice */
            if (m->cut[i].window == c->axis || m->cut[i].tap == c->axis)
                return false;
        v = func_node(f, n->in[0])->in[0];
    }
    m->x = v;
    return m->n_cuts > 0;
}

static const Cut *cut_of(const Match *m, const char *axis)
{
    for (int i = 0; i < m->n_cuts; i++)
        if (m->cut[i].axis == axis)
            return &m->cut[i];
    return NULL;
}

/* Does reading x at one position mean one element for every sample? */
static bool is_flat(const Match *m, const char *axis)
{
    return cut_of(m, axis) || find(&m->parts, axis) >= 0;
}

/* Which values depend on something trainable. */
static bool *find_trained(Arena *arena, const Func *f)
{
    bool *on = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        on[id] = n->op == OP_PARAM;
        for (int i = 0; i < n->n_in; i++)
            on[id] |= on[n->in[i].id];
    }
    return on;
}

static bool is_possible(const Rewrite *r, const Node *n, const Match *m)
{
    const Func *f = r->from;
    const bool *trained = r->state;
    const Shape *windows = func_shape(f, n->in[m->side]), *x = func_shape(f, m->x);
    const Shape *w = func_shape(f, n->in[1 - m->side]);
    int64_t positions = 1;
    for (int i = 0; i < x->rank; i++)
        positions *= is_flat(m, x->name[i]) ? x->size[i] : 1;
    for (int i = 0; i < w->rank; i++)
        if (w->name[i] != m->places && shape_axis(windows, w->name[i]) >= 0)
            return false;
    return !trained[m->x.id] && positions <= MOST_POSITIONS &&
           shape_elems(windows) >= EXPANSION * shape_elems(x);
}

/* A name that means one axis to the windows and another to the product is no name for both. */
static bool names_agree(const Match *m)
{
    for (int i = 0; i < m->inner.n; i++) {
        for (int k = 0; k < m->outer.n; k++)
            if (i != k && m->inner.name[i] == m->outer.name[k])
                return false;
        if (m->inner.name[i] == m->places || !strcmp(m->inner.name[i], FLAT))
            return false;
    }
    return true;
}

static bool match(const Rewrite *r, const Node *n, int side, Match *m)
{
    const Func *f = r->from;
    const Shape *s = func_shape(f, n->in[side]);
    *m = (Match){.side = side};
    if (n->op != OP_CONTRACT || n->attrs.over.n != 1)
        return false;
    m->places = n->attrs.over.name[0];
    for (int i = 0; i < s->rank; i++)
        if (s->name[i] != m->places)
            m->inner.name[m->inner.n++] = s->name[i];
    m->outer = m->inner;
    m->parts = (AxisList){1, {m->places}};
    Val v = strip(f, n->in[side], m);
    if (func_node(f, v)->op == OP_LAYERNORM) {
        m->norm = func_node(f, v);
        m->scaled = m->parts.name[0];
        if (!is_own_norm(f, m->norm, m->scaled))
            return false;
        v = m->norm->in[0];
    }
    v = unmerge(f, v, m);
    return read_cuts(f, v, m) && names_agree(m) && is_possible(r, n, m);
}

/* ---- what stands instead ---- */

static const char *outer_name(const Match *m, const char *inner)
{
    int i = find(&m->inner, inner);
    return i < 0 ? inner : m->outer.name[i];
}

static Val renamed(Func *f, Val v, const char *from, const char *to)
{
    bool differs = from != to && shape_axis(func_shape(f, v), from) >= 0;
    return differs ? func_rename(f, v, from, to) : v;
}

/* Windows keep their names while moments are taken; then they get the product's. */
static Val with_outer_names(Func *f, const Match *m, Val v)
{
    for (int i = 0; i < m->inner.n; i++)
        v = renamed(f, v, m->inner.name[i], m->outer.name[i]);
    return v;
}

static Val cut_along(Func *f, Val v, const Cut *c)
{
    v = func_index(f, v, c->axis, c->both, c->table, c->n_windows * c->n_taps);
    return func_split(f, v, c->both, c->window, c->tap, c->n_windows);
}

typedef struct Moments {
    Val mean, variance; /* no variance yet: none */
} Moments;

/* Of `within`, whose entries along the axis have moments of their own. */
static Moments along(Func *f, Val mean, Val variance, const char *axis)
{
    AxisList over = {1, {axis}};
    Val between = func_variance(f, mean, &over, 1);
    return (Moments){func_mean(f, mean, &over),
                     variance.id ? func_emit2(f, OP_ADD, func_mean(f, variance, &over), between)
                                 : between};
}

static Moments window_moments(Func *f, const Match *m, Val x)
{
    Moments of = {x, VAL_NONE};
    for (int i = 0; i < m->n_cuts; i++) {
        const Cut *c = &m->cut[i];
        of = along(f, cut_along(f, of.mean, c),
                   of.variance.id ? cut_along(f, of.variance, c) : VAL_NONE, c->tap);
    }
    for (int i = 0; i < m->parts.n; i++)
        if (shape_axis(func_shape(f, of.mean), m->parts.name[i]) >= 0)
            of = along(f, of.mean, of.variance, m->parts.name[i]);
    return (Moments){with_outer_names(f, m, of.mean), with_outer_names(f, m, of.variance)};
}

static Val line(Func *f, const char *axis, int64_t n, const float *data)
{
    Shape s = {0};
    shape_add(&s, axis, n);
    return func_const(f, data, &s);
}

/* Distance in flat x of neighbours along an axis. */
static int64_t stride_of(const Match *m, const Shape *x, const char *axis)
{
    int64_t stride = 1;
    for (int i = shape_axis(x, axis) + 1; i < x->rank; i++)
        stride *= is_flat(m, x->name[i]) ? x->size[i] : 1;
    return stride;
}

/* Where places stand from a window's first entry, along the summed axis. */
static Val place_positions(Func *f, const Match *m, const Shape *x, int64_t n)
{
    float *at = ARENA_ARRAY(f->module->arena, float, (size_t)n);
    int64_t inside = n;
    for (int i = 0; i < m->parts.n; i++) {
        const Cut *c = NULL;
        for (int k = 0; k < m->n_cuts; k++)
            c = m->cut[k].tap == m->parts.name[i] ? &m->cut[k] : c;
        const char *axis = c ? c->axis : m->parts.name[i];
        int64_t stride = stride_of(m, x, axis);
        int64_t size = c ? c->n_taps : x->size[shape_axis(x, axis)];
        inside /= size;
        for (int64_t j = 0; j < n; j++) {
            int64_t digit = j / inside % size;
            at[j] += (float)((c ? c->table[digit] - c->table[0] : digit) * stride);
        }
    }
    return line(f, m->places, n, at);
}

static Val window_positions(Func *f, const Match *m, const Shape *x)
{
    Val sum = VAL_NONE;
    for (int i = 0; i < m->n_cuts; i++) {
        const Cut *c = &m->cut[i];
        float *at = ARENA_ARRAY(f->module->arena, float, (size_t)c->n_windows);
        for (int64_t o = 0; o < c->n_windows; o++)
            at[o] = (float)(c->table[o * c->n_taps] * stride_of(m, x, c->axis));
        Val own = line(f, outer_name(m, c->window), c->n_windows, at);
        sum = sum.id ? func_emit2(f, OP_ADD, sum, own) : own;
    }
    return sum;
}

static Val read_windows(Func *f, const Match *m, Val x, int64_t n_places)
{
    const Shape s = *func_shape(f, x);
    const char *flat = name_intern(f->module->names, FLAT);
    Val at = func_emit2(f, OP_ADD, window_positions(f, m, &s), place_positions(f, m, &s, n_places));
    AxisList axes = {0};
    for (int i = 0; i < s.rank; i++)
        if (is_flat(m, s.name[i]))
            axes.name[axes.n++] = s.name[i];
    Val in[] = {func_flatten(f, x, &axes, flat), at};
    Val read = func_emit(f, OP_GATHER, &(Attrs){.axis = flat}, in, 2);
    return with_outer_names(f, m, read);
}

static Val product(Func *f, const Node *n, const Match *m, Val windows, Val w)
{
    Val in[] = {windows, w};
    if (m->side == 1) {
        in[0] = w;
        in[1] = windows;
    }
    return func_emit(f, OP_CONTRACT, &n->attrs, in, 2);
}

static Val normed_product(Rewrite *r, const Node *n, const Match *m, Val w, int64_t n_places)
{
    Func *f = r->out;
    Val x = r->to[m->x.id], vector[2];
    const Shape s = *func_shape(f, x);
    AxisList flat = {0}, places = {1, {m->places}};
    for (int i = 0; i < s.rank; i++)
        if (is_flat(m, s.name[i]))
            flat.name[flat.n++] = s.name[i];
    for (int i = 0; i < 2; i++)
        vector[i] = renamed(f, r->to[m->norm->in[3 + i].id], m->scaled, m->places);
    x = func_emit2(f, OP_SUB, x, func_mean(f, x, &flat));
    Moments of = window_moments(f, m, x);
    Val scaled = func_emit2(f, OP_MUL, w, vector[0]);
    Val y = product(f, n, m, read_windows(f, m, x, n_places), scaled);
    Val correction = func_emit2(f, OP_MUL, of.mean, func_sum(f, scaled, &places, 1));
    Val scale = func_emit1(f, OP_RSQRT, func_offset(f, of.variance, m->norm->attrs.k[0]));
    Val shift = func_sum(f, func_emit2(f, OP_MUL, w, vector[1]), &places, 1);
    y = func_emit2(f, OP_MUL, func_emit2(f, OP_SUB, y, correction), scale);
    return func_emit2(f, OP_ADD, y, shift);
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    for (int side = 0; n->op == OP_CONTRACT && side < 2; side++) {
        Match m;
        if (!match(r, n, side, &m))
            continue;
        const Shape *s = func_shape(r->from, n->in[side]);
        int64_t n_places = s->size[shape_axis(s, m.places)];
        if (m.norm)
            return normed_product(r, n, &m, in[1 - side], n_places);
        Val windows = read_windows(r->out, &m, r->to[m.x.id], n_places);
        return product(r->out, n, &m, windows, in[1 - side]);
    }
    return rewrite_keep(r, n, in);
}

Func *pass_patches(PassCx *cx, const Func *in)
{
    if (cx->options->fuse != FUSE_FULL)
        return (Func *)in;
    return func_rewrite(cx, in, rule, find_trained(cx->arena, in));
}
