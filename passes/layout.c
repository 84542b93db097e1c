/* Where values lie.
 *
 * Channel axes are those that some contraction with weights sums over or brings in from them, and
 * those that a depthwise convolution shares with its kernel. A value is a volume when it has a
 * channel axis and at least two axes that some convolution slides over.
 *
 * For vectors (lanes) there are three forms.
 *   - Where a function has depthwise convolutions, volumes are blocked over the channel axis: their
 *     expanded widths (hundreds to thousands) make rows of pixels too far apart when channels are
 *     innermost (specs/performance.md, 3.1).
 *   - Tokens have their channels innermost, in rows: values with at least as many positions in a
 *     sample as channels, and volumes where no convolution is depthwise. Linear layers and dense
 *     convolutions work row by row, and so do norms over channels.
 *   - Other activations (few positions, many channels: readouts) put channels first, so that
 *     products over them are plain.
 * For threads (channels last) every activation has its channels innermost, so that neighbouring
 * threads read neighbouring channels; several channel axes (groups) keep their logical order, so
 * that splits and merges are views.
 *
 * What is read or summed up at computed positions has its channels innermost everywhere: a position
 * is the same for all of them.
 *
 * What attention adds to scores, and its gradient, lies as scores are made: a matrix of queries and
 * keys for each head.
 *
 * With 16-bit storage, activations and their gradients are stored in 16 bits: values with samples,
 * channels and something more. Sums are float32, being few and long; so are the logarithms of
 * attention's, whose error is that of all weights of a query, and what precise.c finds. */
#include "passes/plan.h"

enum { MAX_NAMES = 64 };

typedef struct NameSet {
    const char *at[MAX_NAMES];
    int n;
} NameSet;

static bool has(const NameSet *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->at[i] == name)
            return true;
    return false;
}

static void add(NameSet *s, const char *name)
{
    if (!has(s, name) && s->n < MAX_NAMES)
        s->at[s->n++] = name;
}

/* The axes a product sums over, and those that its weights bring in. Weights are the operand that
 * depends on parameters only; a product of two activations makes no channels. */
static void add_channels_of_contraction(const Func *f, const Node *n, const bool *fixed,
                                        NameSet *channels)
{
    bool first = fixed[n->in[0].id], second = fixed[n->in[1].id];
    if (first == second)
        return;
    const Shape *w = func_shape(f, n->in[first ? 0 : 1]), *x = func_shape(f, n->in[first ? 1 : 0]);
    for (int i = 0; i < n->attrs.over.n; i++)
        add(channels, n->attrs.over.name[i]);
    for (int i = 0; i < w->rank; i++)
        if (shape_axis(x, w->name[i]) < 0)
            add(channels, w->name[i]);
}

/* Which values depend on parameters and states only. */
static bool *find_fixed(Arena *arena, const Func *f)
{
    bool *fixed = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        fixed[id] = op_lowering(n->op) != LOWER_LEAF || n->op == OP_PARAM || n->op == OP_STATE ||
                    n->op == OP_CONST;
        for (int i = 0; i < n->n_in; i++)
            fixed[id] &= fixed[n->in[i].id];
    }
    return fixed;
}

static bool slides_over(const Node *n, const char *name)
{
    for (int i = 0; i < n->attrs.n_stencil; i++)
        if (n->attrs.stencil[i].axis == name || n->attrs.stencil[i].tap == name)
            return true;
    return false;
}

/* One order of axes for all activations: batch-like first, in order of first appearance. */
static void add_in_order(const Shape *s, NameSet *order)
{
    for (int i = 0; i < s->rank; i++)
        add(order, s->name[i]);
}

/* What the names of axes mean in a function. */
typedef struct Roles {
    NameSet channels, space, order;
    const char *batch; /* or NULL */
    bool depthwise;    /* some convolution is */
} Roles;

/* Axes of a forward convolution: depthwise ones are shared by input, kernel and output. */
static void add_channels_of_convolution(const Func *f, const Node *n, Roles *r)
{
    const Shape *w = func_shape(f, n->in[1]), *x = func_shape(f, n->in[0]);
    for (int i = 0; i < n->attrs.n_stencil; i++)
        add(&r->space, n->attrs.stencil[i].axis);
    for (int i = 0; i < w->rank; i++) {
        if (slides_over(n, w->name[i]))
            continue;
        add(&r->channels, w->name[i]);
        r->depthwise |= shape_axis(x, w->name[i]) >= 0 && shape_axis(&n->shape, w->name[i]) >= 0;
    }
}

static int position(const NameSet *order, const char *name)
{
    for (int i = 0; i < order->n; i++)
        if (order->at[i] == name)
            return i;
    return MAX_NAMES;
}

/* Where channels stand in the common order: all names of them where the first one does, so that
 * gradients, whose channels have names of their own, lie as the values they belong to. */
static int channel_position(const NameSet *order, const NameSet *channels)
{
    for (int i = 0; i < order->n; i++)
        if (has(channels, order->at[i]))
            return i;
    return MAX_NAMES;
}

typedef enum ChannelPlace { CHANNELS_IN_ORDER, CHANNELS_FIRST, CHANNELS_LAST } ChannelPlace;

static int place_in_order(const TileLayout *l, int axis, const Roles *r, ChannelPlace place)
{
    const char *name = l->shape.name[axis];
    if (!has(&r->channels, name))
        return position(&r->order, name);
    return place == CHANNELS_IN_ORDER ? channel_position(&r->order, &r->channels)
           : place == CHANNELS_FIRST  ? axis - MAX_RANK /* among themselves in logical order */
                                      : axis + MAX_NAMES + 1;
}

/* Sorts l->order by the common order, with the channels where `place` says. */
static void arrange(TileLayout *l, const Roles *r, ChannelPlace place)
{
    for (int i = 1; i < l->shape.rank; i++)
        for (int j = i; j > 0; j--) {
            if (place_in_order(l, l->order[j - 1], r, place) <=
                place_in_order(l, l->order[j], r, place))
                break;
            int t = l->order[j - 1];
            l->order[j - 1] = l->order[j];
            l->order[j] = t;
        }
}

/* Which values are read (behind views) or summed up at computed positions. */
static bool *find_positioned(Arena *arena, const Func *f)
{
    bool *at = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        Val v = n->op == OP_SCATTER ? (Val){id} : n->op == OP_GATHER ? n->in[0] : VAL_NONE;
        while (v.id && op_lowering(func_node(f, v)->op) == LOWER_VIEW)
            v = func_node(f, v)->in[0];
        at[v.id] = true;
    }
    return at;
}

static unsigned bit_of(const Shape *s, const char *axis)
{
    int at = shape_axis(s, axis);
    return at < 0 ? 0 : 1u << at;
}

/* Axes (bits) of what a view reads that make up `axes` of what it is. */
static unsigned through_view(const Func *f, const Node *view, unsigned axes)
{
    const Shape *from = func_shape(f, view->in[0]);
    const Attrs *a = &view->attrs;
    unsigned out = 0;
    for (int i = 0; i < view->shape.rank; i++) {
        const char *name = view->shape.name[i];
        if (!(axes >> i & 1))
            continue;
        if (view->op == OP_RENAME && name == a->axis2)
            name = a->axis;
        if (view->op == OP_SPLIT && (name == a->axis2 || name == a->axis3))
            name = a->axis;
        out |= view->op == OP_MERGE && name == a->axis
                   ? bit_of(from, a->axis2) | bit_of(from, a->axis3)
                   : bit_of(from, name);
    }
    return out;
}

/* Of what is added to scores (behind views), and of its gradient: which axes (bits) are queries and
 * keys; 0 of all other values. */
static unsigned *find_biases(Arena *arena, const Func *f)
{
    unsigned *axes = ARENA_ARRAY(arena, unsigned, f->nodes.len + 1);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        bool is_gradient = n->op == OP_ATTEND_DBIAS;
        if (!is_gradient && !(n->op == OP_ATTEND && n->n_in > 4)) /* bytes alone add nothing */
            continue;
        Val v = is_gradient ? (Val){id} : n->in[3];
        const Shape *s = func_shape(f, v);
        unsigned pair = bit_of(s, n->attrs.axis) | bit_of(s, n->attrs.axis2);
        for (axes[v.id] = pair; op_lowering(func_node(f, v)->op) == LOWER_VIEW; axes[v.id] = pair) {
            pair = through_view(f, func_node(f, v), pair);
            v = func_node(f, v)->in[0];
        }
    }
    return axes;
}

/* Queries and keys behind all other axes, both in logical order. */
static void arrange_bias(TileLayout *l, unsigned pair)
{
    int n = 0;
    for (int last = 0; last < 2; last++)
        for (int i = 0; i < l->shape.rank; i++)
            if ((pair >> i & 1) == (unsigned)last)
                l->order[n++] = i;
}

/* An activation with at least as many positions in a sample as channels? */
static bool has_rows(const Shape *s, const Roles *r)
{
    int64_t positions = 1, channels = 1;
    if (s->rank < 3 || !r->batch || shape_axis(s, r->batch) < 0)
        return false;
    for (int i = 0; i < s->rank; i++)
        if (has(&r->channels, s->name[i]))
            channels *= s->size[i];
        else if (s->name[i] != r->batch)
            positions *= s->size[i];
    return positions >= channels;
}

static TileLayout choose(const Func *f, Val v, const PassOptions *o, const Roles *r,
                         bool is_positioned, unsigned pair, bool *is_volume, int *channel)
{
    const Node *n = func_node(f, v);
    TileLayout l = tile_layout_plain(&n->shape);
    *channel = -1;
    if (n->op == OP_RANDOM || n->op == OP_BYTES)
        l.type = STORAGE_U8;
    if (op_lowering(n->op) == LOWER_LEAF || n->op == OP_REORDER)
        return l;

    int lane = -1, n_lane = 0, n_space = 0;
    for (int i = 0; i < n->shape.rank; i++) {
        n_space += has(&r->space, n->shape.name[i]);
        if (has(&r->channels, n->shape.name[i])) {
            lane = i;
            n_lane++;
        }
    }
    bool has_batch = r->batch && shape_axis(&n->shape, r->batch) >= 0;
    *is_volume = n_lane == 1 && n_space >= 2 && !pair;
    if (pair) {
        arrange_bias(&l, pair);
    } else if (is_positioned && n_lane == 1) {
        *is_volume = false;
        *channel = o->target.channels_last ? lane : -1;
        arrange(&l, r, CHANNELS_LAST);
    } else if (o->target.channels_last) {
        *channel = n_lane == 1 ? lane : -1;
        if (n_lane && (has_batch || n_space))
            arrange(&l, r, CHANNELS_LAST);
    } else if (n_lane && (*is_volume ? !r->depthwise : has_rows(&n->shape, r))) {
        *is_volume = n_lane == 1 && n_space != 1; /* what slides along one axis has no schedule */
        *channel = n_lane == 1 ? lane : -1;
        arrange(&l, r, CHANNELS_LAST);
    } else if (*is_volume || (n_lane == 1 && n->shape.rank <= 2)) {
        l.lane = *channel = lane;
        l.lanes = o->target.lanes;
        arrange(&l, r, CHANNELS_IN_ORDER);
    } else if (n_lane >= 1 && n->shape.rank >= 3) {
        arrange(&l, r, CHANNELS_FIRST);
    }
    if (n_lane && has_batch && n->shape.rank >= 3 && op_lowering(n->op) != LOWER_REDUCE &&
        n->op != OP_ATTEND_SUM)
        l.type = precision_storage(o->precision);
    return l;
}

/* Axes that only a split makes (groups, heads), and what is renamed to them: they lead like
 * channels do. Not of gradients: the gradient of a split that takes channels out of the frames'
 * axis is a merge of both, and frames are none.
 */
static void add_split_axes(const Func *f, NameSet *channels)
{
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        if (n->backward)
            continue;
        if (n->op == OP_SPLIT && has(channels, n->attrs.axis)) {
            add(channels, n->attrs.axis2);
            add(channels, n->attrs.axis3);
        }
        if (n->op == OP_RENAME && has(channels, n->attrs.axis2))
            add(channels, n->attrs.axis);
        if (n->op == OP_MERGE && (has(channels, n->attrs.axis2) || has(channels, n->attrs.axis3))) {
            add(channels, n->attrs.axis);
            add(channels, n->attrs.axis2);
            add(channels, n->attrs.axis3);
        }
    }
}

Layouts layouts_choose(Arena *arena, const Func *f, const PassOptions *options)
{
    Layouts l = {.of = ARENA_ARRAY(arena, TileLayout, f->nodes.len + 1),
                 .is_volume = ARENA_ARRAY(arena, bool, f->nodes.len + 1),
                 .channel = ARENA_ARRAY(arena, int, f->nodes.len + 1),
                 .is_precise = find_precise(arena, f)};
    Roles r = {.batch = f->module->batch_axis};
    const bool *fixed = find_fixed(arena, f), *positioned = find_positioned(arena, f);
    const unsigned *pair = find_biases(arena, f);

    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        if (n->op == OP_CONTRACT && !n->backward)
            add_channels_of_contraction(f, n, fixed, &r.channels);
        if (n->op == OP_CONV && !n->backward)
            add_channels_of_convolution(f, n, &r);
        if (n->op == OP_RENAME && has(&r.channels, n->attrs.axis2))
            add(&r.channels, n->attrs.axis);
        if (n->op == OP_INPUT || n->shape.rank >= 4)
            add_in_order(&n->shape, &r.order);
    }
    add_split_axes(f, &r.channels);
    for (uint32_t id = 1; id < f->nodes.len; id++)
        add_in_order(&f->nodes.at[id].shape, &r.order);
    for (uint32_t id = 1; id < f->nodes.len; id++)
        l.of[id] = choose(f, (Val){id}, options, &r, positioned[id], pair[id], &l.is_volume[id],
                          &l.channel[id]);
    for (uint32_t id = 1; id < f->nodes.len; id++)
        if (l.is_precise[id] && l.of[id].type == precision_storage(options->precision))
            l.of[id].type = STORAGE_F32;
    return l;
}

static bool rename_layout(TileLayout *l, const Node *view)
{
    int a = shape_axis(&l->shape, view->attrs.axis);
    if (a < 0)
        return false;
    l->shape.name[a] = view->attrs.axis2;
    return true;
}

static int place_of(const TileLayout *l, int axis)
{
    for (int i = 0; i < l->shape.rank; i++)
        if (l->order[i] == axis)
            return i;
    return -1;
}

/* c -> (outer, inner): the inner part must hold whole blocks when c is the lane axis. */
static bool split_layout(TileLayout *l, const Node *view)
{
    int a = shape_axis(&l->shape, view->attrs.axis);
    int64_t inner = a < 0 ? 0 : l->shape.size[a] / view->attrs.size0;
    if (a < 0 || l->shape.rank == MAX_RANK)
        return false;
    if (l->lane == a && inner % l->lanes)
        return false;
    TileLayout r = *l;
    int p = place_of(l, a);
    r.shape = view->shape;
    for (int i = 0; i < r.shape.rank; i++) /* logical axes behind `a` move up by one */
        if (i <= p)
            r.order[i] = l->order[i] > a ? l->order[i] + 1 : l->order[i];
        else
            r.order[i] = i == p + 1            ? a + 1
                         : l->order[i - 1] > a ? l->order[i - 1] + 1
                                               : l->order[i - 1];
    if (l->lane >= 0)
        r.lane = l->lane >= a ? l->lane + 1 : l->lane;
    *l = r;
    return r.shape.name[a] == view->attrs.axis2 && r.shape.name[a + 1] == view->attrs.axis3;
}

/* (outer, inner) -> c: the two must be neighbours in storage. */
static bool merge_layout(TileLayout *l, const Node *view)
{
    int o = shape_axis(&l->shape, view->attrs.axis2), in = shape_axis(&l->shape, view->attrs.axis3);
    if (o < 0 || in < 0 || l->lane == o || l->lane == in || place_of(l, in) != place_of(l, o) + 1)
        return false;
    TileLayout r = *l;
    int n = 0;
    r.shape = view->shape;
    int c = shape_axis(&r.shape, view->attrs.axis);
    for (int i = 0; i < l->shape.rank; i++) {
        int axis = l->order[i];
        if (axis == in)
            continue;
        const char *name = axis == o ? view->attrs.axis : l->shape.name[axis];
        r.order[n++] = axis == o ? c : shape_axis(&r.shape, name);
    }
    if (l->lane >= 0)
        r.lane = shape_axis(&r.shape, l->shape.name[l->lane]);
    *l = r;
    return true;
}

bool layout_of_view(const TileLayout *stored, const Node *view, TileLayout *out)
{
    TileLayout l = *stored;
    bool ok = view->op == OP_RENAME  ? rename_layout(&l, view)
              : view->op == OP_SPLIT ? split_layout(&l, view)
              : view->op == OP_MERGE ? merge_layout(&l, view)
                                     : view->op == OP_REORDER;
    if (!ok || l.shape.rank != view->shape.rank)
        return false;
    /* the same axes, perhaps in another logical order */
    TileLayout r = l;
    r.shape = view->shape;
    for (int i = 0; i < r.shape.rank; i++) {
        int axis = shape_axis(&view->shape, l.shape.name[l.order[i]]);
        if (axis < 0 || view->shape.size[axis] != l.shape.size[l.order[i]])
            return false;
        r.order[i] = axis;
    }
    r.lane = l.lane < 0 ? -1 : shape_axis(&view->shape, l.shape.name[l.lane]);
    *out = r;
    return true;
}

Val layout_written(const Func *f, Val v)
{
    const Node *n = func_node(f, v);
    while (n->op == OP_MERGE) {
        const Shape *s = func_shape(f, n->in[0]);
        if (shape_axis(s, n->attrs.axis3) != shape_axis(s, n->attrs.axis2) + 1)
            break;
        v = n->in[0];
        n = func_node(f, v);
    }
    return v;
}
