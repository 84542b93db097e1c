/* Which values are stored, and which are computed together.
 *
 * A value is *materialised* when it stands in storage (or, for its own group, in a register);
 * everything else is recomputed inside whatever reads it. Anchors (contractions, stencils) and
 * reductions are always materialised. A pointwise value is, when
 *   - a result needs it, or a library product, which takes no prologue; or
 *   - several kernels would otherwise load its two or more large operands each (where bytes are
 *     counted: when storing it moves fewer); or
 *   - it is much smaller than what reads it and costs a transcendental or a table look-up.
 * So bn + SiLU behind a convolution is never stored (one large operand: recomputed from the
 * convolution's output by the next kernel), while a residual sum or the gradient before a norm is.
 *
 * Groups then form in one walk in order of definition. An anchor begins a group. A pointwise value
 * or a reduction joins the group that computes what it reads, when everything else it reads was
 * there before that group (epilogue, reduction epilogue); or a later element-wise group over the
 * same space that reads the same large tensor (one pass over the data); or begins its own.
 *
 * Where the target has pairs, a weight gradient joins its input gradient (pairs.c).
 *
 * `--fuse none`: every op is stored and stands alone. `--fuse elementwise`: chains of pointwise ops
 * join, nothing else does. */
#include "passes/plan.h"

enum {
    SMALL_FACTOR = 4,
    MAX_CHAIN = 40,
    MAX_MEMBERS = 12,
    MAX_SMALL = 48, /* members of a group of small values .. */
    SMALL = 1 << 16 /* .. of at most so many elements */
};

typedef struct Fuser {
    Arena *arena;
    const Func *f;
    const Layouts *layouts;
    const TargetTraits *target;
    FuseLevel level;
    Groups *g;
    bool *live;
    VEC(Val) * users; /* per value */
    bool *is_result;
    int *chain;           /* pointwise ops that reading a value repeats */
    bool *fixed;          /* depends on parameters and states only */
    const char **updates; /* of a value written over a parameter or state: its name, or NULL */
    const bool *forced;
    Val *home; /* per materialised value: the anchor whose kernel can compute it, or none */
    Val *pair; /* of an input gradient: its weight gradient; and the other way round */
} Fuser;

typedef VEC(Val) Vals;

static bool is_inline_kind(Op op)
{
    Lowering l = op_lowering(op);
    return l == LOWER_POINTWISE || l == LOWER_INDEX || l == LOWER_VIEW;
}

static bool is_anchor_kind(Op op)
{
    Lowering l = op_lowering(op);
    return l == LOWER_CONTRACT || l == LOWER_STENCIL || l == LOWER_STENCIL_DW;
}

static void add_unique(Arena *arena, Vals *v, Val x)
{
    for (uint32_t i = 0; i < v->len; i++)
        if (v->at[i].id == x.id)
            return;
    vec_push(arena, v, x);
}

/* The stored values (and leaves) that computing `v` reads. */
static void add_sources(const Fuser *z, Val v, Vals *out)
{
    const Node *n = func_node(z->f, v);
    for (int i = 0; i < n->n_in; i++) {
        Val o = n->in[i];
        const Node *p = func_node(z->f, o);
        if (z->g->materialised[o.id] || op_lowering(p->op) == LOWER_LEAF)
            add_unique(z->arena, out, o);
        else
            add_sources(z, o, out);
    }
}

/* NULL for what is no anchor. */
static const AnchorTraits *anchor_traits(const Fuser *z, Op op)
{
    switch (op_lowering(op)) {
    case LOWER_CONTRACT:
        return &z->target->contract;
    case LOWER_STENCIL:
        return &z->target->stencil;
    case LOWER_STENCIL_DW:
        return &z->target->stencil_dw;
    default:
        return NULL;
    }
}

static bool covers(const Fuser *z, Extent extent, Val v)
{
    return extent == EVERYWHERE || (extent == FOR_VOLUMES && z->layouts->is_volume[v.id]);
}

/* Does this user take the operand as code (prologue) rather than as a stored tensor? What depends
 * on parameters only is computed once, not in every product that reads it. */
static bool takes_code(const Fuser *z, const Node *user, int operand)
{
    const AnchorTraits *a = anchor_traits(z, user->op);
    Val o = user->in[operand];
    return !a || (covers(z, a->code[operand], o) && !z->fixed[o.id]);
}

/* Does reading the value repeat more than a few cheap instructions: a transcendental, a table? */
static bool is_costly(const Fuser *z, Val v)
{
    const Node *n = func_node(z->f, v);
    const char *formula =
        op_is_pointwise(n->op) ? (n->op == OP_MAP ? n->attrs.formula : op_formula(n->op)) : NULL;
    if (formula &&
        (strstr(formula, "exp") || strstr(formula, "log") || strstr(formula, "sqrt") ||
         strstr(formula, "sin") || strstr(formula, "cos") || strstr(formula, "/") ||
         strstr(formula, "tanh") || strstr(formula, "erf") || strstr(formula, "sigmoid")))
        return true;
    if (n->op == OP_INDEX)
        return true;
    if (!is_inline_kind(n->op))
        return false;
    for (int i = 0; i < n->n_in; i++)
        if (!z->g->materialised[n->in[i].id] && is_costly(z, n->in[i]))
            return true;
    return false;
}

static bool index_reads_zero(const Node *n)
{
    for (int64_t i = 0; i < n->attrs.table_len; i++)
        if (n->attrs.table[i] < 0)
            return true;
    return false;
}

/* Is the value read through views and tables with places that give 0? f(0) is not 0, so such a
 * value must be in storage. */
static bool is_read_as_zero(const Fuser *z, Val v)
{
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        const Node *user = func_node(z->f, u);
        bool moves = user->op == OP_INDEX || op_lowering(user->op) == LOWER_VIEW;
        if ((user->op == OP_INDEX && index_reads_zero(user)) || (moves && is_read_as_zero(z, u)))
            return true;
    }
    return false;
}

static bool feeds_update(const Fuser *z, Val v)
{
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        bool is_view = op_lowering(func_node(z->f, u)->op) == LOWER_VIEW;
        if (z->updates[u.id] || (is_view && feeds_update(z, u)))
            return true;
    }
    return false;
}

/* A gradient computed inside the update of its parameter would read other parameters after their
 * updates, in whatever order those stand. */
static bool is_gradient_of_parameters(const Fuser *z, Val v)
{
    Vals sources = {0};
    if (z->updates[v.id] || !feeds_update(z, v))
        return false;
    add_sources(z, v, &sources);
    for (uint32_t i = 0; i < sources.len; i++) {
        Op op = func_node(z->f, sources.at[i])->op;
        if (op == OP_PARAM || op == OP_STATE)
            return true;
    }
    return false;
}

/* The points at which a reader computes the value. Where bytes count, an anchor's prologue is
 * computed once per tile that it loads; only weights are, for every tile of samples. */
static const Shape *repeated_over(const Fuser *z, Val v, const Node *reader)
{
    const char *batch = z->f->module->batch_axis;
    if (!z->target->counts_bytes || !is_anchor_kind(reader->op))
        return &reader->shape;
    bool is_weight = batch && shape_axis(func_shape(z->f, v), batch) < 0;
    return func_shape(z->f, is_weight ? reader->in[reader->in[0].id == v.id] : v);
}

static bool must_store_for_users(Fuser *z, Val v)
{
    const Node *n = func_node(z->f, v);
    int64_t elems = shape_elems(&n->shape);
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        const Node *user = func_node(z->f, u);
        for (int k = 0; k < user->n_in; k++)
            if (user->in[k].id == v.id && !takes_code(z, user, k))
                return true;
        if (user->session != n->session)
            return true;
        if (elems * SMALL_FACTOR <= shape_elems(repeated_over(z, v, user)) &&
            op_lowering(n->op) != LOWER_VIEW && elems > 1 && is_costly(z, v))
            return true;
    }
    return false;
}

/* Users, counting those behind views. */
static uint32_t count_readers(const Fuser *z, Val v)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        n += op_lowering(func_node(z->f, u)->op) == LOWER_VIEW ? count_readers(z, u) : 1;
    }
    return n;
}

/* The one reader, perhaps behind views that are not stored. */
static Val only_reader(const Fuser *z, Val v)
{
    do
        v = z->users[v.id].at[0];
    while (op_lowering(func_node(z->f, v)->op) == LOWER_VIEW && !(z->forced && z->forced[v.id]));
    return v;
}

static const Shape *space_of(const Func *f, Val v)
{
    const Node *n = func_node(f, v);
    return op_lowering(n->op) == LOWER_REDUCE ? func_shape(f, n->in[0]) : &n->shape;
}

static bool same_space(const Shape *a, const Shape *b)
{
    return a->rank == b->rank && shape_within(a, b);
}

/* Is `source` read by `v` at the point where it is computed (no index, no view in between)? */
static bool reads_in_place(const Fuser *z, Val v, Val source)
{
    const Node *n = func_node(z->f, v);
    for (int i = 0; i < n->n_in; i++) {
        Val o = n->in[i];
        const Node *p = func_node(z->f, o);
        if (o.id == source.id) {
            if (!same_space(func_shape(z->f, source), space_of(z->f, v)) || n->op == OP_INDEX ||
                op_lowering(n->op) == LOWER_VIEW)
                return false;
            continue;
        }
        if (z->g->materialised[o.id] || op_lowering(p->op) == LOWER_LEAF)
            continue;
        Vals below = {0};
        add_sources(z, o, &below);
        bool inside = false;
        for (uint32_t k = 0; k < below.len; k++)
            inside |= below.at[k].id == source.id;
        if (inside && (n->op == OP_INDEX || op_lowering(n->op) == LOWER_VIEW ||
                       !reads_in_place(z, o, source)))
            return false;
    }
    return true;
}

/* The anchor in whose epilogue the value can be computed: all else it reads was there before. */
static Val home_of(const Fuser *z, Val v, const Vals *sources)
{
    Val last = VAL_NONE;
    for (uint32_t i = 0; i < sources->len; i++)
        if (sources->at[i].id > last.id && z->g->materialised[sources->at[i].id])
            last = sources->at[i];
    Val home = z->home[last.id];
    if (!home.id || !same_space(func_shape(z->f, home), func_shape(z->f, v)) ||
        func_node(z->f, home)->session != func_node(z->f, v)->session)
        return VAL_NONE;
    for (uint32_t i = 0; i < sources->len; i++) {
        Val s = sources->at[i];
        bool own = z->home[s.id].id == home.id;
        if (own ? !reads_in_place(z, v, s) : s.id > home.id && z->g->materialised[s.id])
            return VAL_NONE;
    }
    return home;
}

enum { MAX_KERNELS = 8, MAX_VISITS = 200 };

/* The kernels that read the value, where pointwise values between are not stored: anchors, one pass
 * for all sums, results. */
static void add_kernels(const Fuser *z, Val v, Vals *out, int *visits)
{
    static const Val SUMS = {UINT32_MAX};
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        const Node *n = func_node(z->f, u);
        if (out->len >= MAX_KERNELS || ++*visits > MAX_VISITS)
            return;
        if (is_anchor_kind(n->op))
            add_unique(z->arena, out,
                       z->pair[u.id].id && z->pair[u.id].id < u.id ? z->pair[u.id] : u);
        else if (op_lowering(n->op) == LOWER_REDUCE)
            add_unique(z->arena, out, SUMS);
        else if (z->is_result[u.id])
            add_unique(z->arena, out, u);
        else
            add_kernels(z, u, out, visits);
    }
}

static double bytes_of(const Fuser *z, Val v)
{
    return (double)tile_layout_bytes(&z->layouts->of[v.id]);
}

/* Does storing the value, in a pass of its own, move fewer bytes than loading its sources wherever
 * it is read? */
static bool storing_moves_less(const Fuser *z, Val v, const Vals *sources)
{
    Vals kernels = {0};
    int visits = 0;
    double once = 0, own = bytes_of(z, v);
    add_kernels(z, v, &kernels, &visits);
    for (uint32_t i = 0; i < sources->len; i++)
        once += bytes_of(z, sources->at[i]);
    return once + (1 + kernels.len) * own < kernels.len * once;
}

static bool stores_pointwise(Fuser *z, Val v)
{
    const Node *n = func_node(z->f, v);
    if (z->is_result[v.id] || is_gradient_of_parameters(z, v) || must_store_for_users(z, v) ||
        (n->op != OP_INDEX && is_read_as_zero(z, v)))
        return true;
    if (z->chain[v.id] > MAX_CHAIN)
        return true;
    if (z->level == FUSE_ELEMENTWISE) {
        if (count_readers(z, v) > 1)
            return true;
        const Node *reader = func_node(z->f, only_reader(z, v));
        return !is_inline_kind(reader->op);
    }
    if (count_readers(z, v) <= 1)
        return false;
    Vals sources = {0};
    int n_large = 0;
    add_sources(z, v, &sources);
    for (uint32_t i = 0; i < sources.len; i++)
        n_large += 2 * shape_elems(func_shape(z->f, sources.at[i])) >= shape_elems(&n->shape);
    if (n_large < 2 || shape_elems(&n->shape) <= 256)
        return false;
    return !z->target->counts_bytes || home_of(z, v, &sources).id ||
           storing_moves_less(z, v, &sources);
}

static void find_home(Fuser *z, Val v)
{
    const AnchorTraits *a = anchor_traits(z, func_node(z->f, v)->op);
    Vals sources = {0};
    bool is_pair = z->pair[v.id].id && z->pair[v.id].id < v.id;
    if (a) {
        z->home[v.id] = covers(z, a->epilogue, v) && !is_pair ? v : VAL_NONE;
    } else if (op_is_pointwise(func_node(z->f, v)->op)) {
        add_sources(z, v, &sources);
        z->home[v.id] = home_of(z, v, &sources);
    }
}

/* A view can be inlined when its operand is computed in the reader or the same storage expresses
 * it; tile_groups.c falls back on index tables for the rest. */
static void choose_materialised(Fuser *z)
{
    for (uint32_t id = 1; id < z->f->nodes.len; id++) {
        const Node *n = &z->f->nodes.at[id];
        Lowering l = op_lowering(n->op);
        bool *m = &z->g->materialised[id];
        if (!z->live[id] || l == LOWER_LEAF)
            continue;
        if (n->op == OP_FILL) { /* a constant in whatever reads it */
            *m = z->is_result[id] || is_read_as_zero(z, (Val){id});
            continue;
        }
        for (int i = 0; i < n->n_in; i++)
            if (!z->g->materialised[n->in[i].id])
                z->chain[id] += z->chain[n->in[i].id];
        z->chain[id]++;
        if (is_anchor_kind(n->op) || l == LOWER_REDUCE || (z->forced && z->forced[id]))
            *m = true;
        else if (l == LOWER_VIEW)
            *m = false;
        else
            *m = z->level == FUSE_NONE || stores_pointwise(z, (Val){id});
        if (*m)
            z->chain[id] = 0;
        if (*m && z->target->counts_bytes)
            find_home(z, (Val){id});
    }
}

/* ---- groups ---- */

static bool takes_epilogue(const Fuser *z, const Group *g)
{
    return !g->anchor.id ||
           covers(z, anchor_traits(z, func_node(z->f, g->anchor)->op)->epilogue, g->anchor);
}

/* Reductions in an anchor's epilogue keep the channel axis, and at most the outermost one more. */
static bool takes_reduction(const Fuser *z, const Group *g, const Node *n)
{
    if (!g->anchor.id)
        return true;
    const TileLayout *l = &z->layouts->of[g->anchor.id];
    int channel = z->layouts->channel[g->anchor.id];
    if (!covers(z, anchor_traits(z, func_node(z->f, g->anchor)->op)->reductions, g->anchor) ||
        channel < 0 || shape_axis(&n->shape, l->shape.name[channel]) < 0)
        return false;
    return n->shape.rank == 1 ||
           (n->shape.rank == 2 && shape_axis(&n->shape, l->shape.name[l->order[0]]) >= 0);
}

/* Is everything behind the value's readers made before `anchor`? */
static bool readers_before(const Fuser *z, Val v, Val anchor, const char *name)
{
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        const char *updates = z->updates[u.id];
        if (updates && !strcmp(updates, name))
            continue;
        if (z->g->materialised[u.id] ? u.id >= anchor.id : !readers_before(z, u, anchor, name))
            return false;
    }
    return true;
}

/* May the kernel of a product, which makes a gradient, update the parameter as well? Nothing after
 * it reads the old value, itself included. */
static bool may_update(const Fuser *z, const Group *g, Val v)
{
    const char *name = z->updates[v.id];
    if (!z->target->updates_behind || !g->anchor.id || z->updates[g->anchor.id])
        return false;
    for (uint32_t id = 1; id < z->f->nodes.len; id++) {
        const Node *n = &z->f->nodes.at[id];
        bool is_old = (n->op == OP_PARAM || n->op == OP_STATE) && !strcmp(n->attrs.name, name);
        if (z->live[id] && is_old && !readers_before(z, (Val){id}, g->anchor, name))
            return false;
    }
    return true;
}

/* Small updates that only updates read, and what depends on parameters only: each would be a launch
 * for next to nothing. */
static bool is_small(const Fuser *z, Val v)
{
    bool awaited = false;
    for (uint32_t i = 0; i < z->users[v.id].len; i++)
        awaited |= !z->updates[z->users[v.id].at[i].id];
    return z->target->joins_small && (z->updates[v.id] ? !awaited : z->fixed[v.id]) &&
           shape_elems(func_shape(z->f, v)) <= SMALL;
}

static bool may_join(const Fuser *z, const Group *g, Val v)
{
    const Node *n = func_node(z->f, v);
    Val first = g->anchor.id ? g->anchor : g->members.at[0];
    uint32_t most = is_small(z, v) ? MAX_SMALL : MAX_MEMBERS;
    if (g->session != n->session || g->members.len >= most || g->backward != n->backward)
        return false;
    if (z->fixed[first.id] != z->fixed[v.id]) /* what depends on parameters only is prepared once */
        return false;
    bool is_update = z->updates[v.id] != NULL;
    if (is_update != (z->updates[first.id] != NULL) && !(is_update && may_update(z, g, v)))
        return false; /* updates wait for readers of the old value */
    if (is_update && !g->anchor.id && is_small(z, first) != is_small(z, v))
        return false;
    if (!same_space(&g->space, space_of(z->f, v)) || !takes_epilogue(z, g))
        return false;
    return op_lowering(n->op) != LOWER_REDUCE || takes_reduction(z, g, n);
}

static bool shares_large(const Fuser *z, const Group *g, const Vals *sources)
{
    for (uint32_t m = 0; m < g->members.len; m++) {
        Vals other = {0};
        add_sources(z, g->members.at[m], &other);
        for (uint32_t i = 0; i < sources->len; i++)
            for (uint32_t k = 0; k < other.len; k++)
                if (sources->at[i].id == other.at[k].id &&
                    2 * shape_elems(func_shape(z->f, other.at[k])) >= shape_elems(&g->space))
                    return true;
    }
    return false;
}

/* Products and stencils that read the value, perhaps renamed. */
static void add_anchors(const Fuser *z, Val v, Vals *out)
{
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        if (func_node(z->f, u)->op == OP_RENAME)
            add_anchors(z, u, out);
        else if (is_anchor_kind(func_node(z->f, u)->op))
            add_unique(z->arena, out, u);
    }
}

static void find_pairs(Fuser *z)
{
    for (uint32_t id = 1; id < z->f->nodes.len; id++) {
        Vals anchors = {0};
        PairAxes axes;
        if (!z->live[id] || z->f->nodes.at[id].op == OP_RENAME)
            continue;
        add_anchors(z, (Val){id}, &anchors);
        for (uint32_t i = 0; i < anchors.len; i++)
            for (uint32_t k = 0; k < anchors.len; k++) {
                Val e = anchors.at[i], d = anchors.at[k];
                if (z->pair[e.id].id || z->pair[d.id].id ||
                    !pair_match(z->f, z->target, e, d, &axes))
                    continue;
                z->pair[d.id] = e;
                z->pair[e.id] = d;
            }
    }
}

static void join(Fuser *z, int group, Val v)
{
    vec_push(z->arena, &z->g->at.at[group].members, v);
    z->g->group_of[v.id] = group;
}

static int begin(Fuser *z, Val v, bool is_anchor)
{
    const Node *n = func_node(z->f, v);
    Group g = {.space = *space_of(z->f, v),
               .session = n->session,
               .part = n->part,
               .backward = n->backward};
    if (is_anchor)
        g.anchor = v;
    vec_push(z->arena, &z->g->at, g);
    int index = (int)z->g->at.len - 1;
    z->g->group_of[v.id] = index;
    if (!is_anchor)
        vec_push(z->arena, &z->g->at.at[index].members, v);
    return index;
}

static void join_pair(Fuser *z, Val v)
{
    int group = z->g->group_of[z->pair[v.id].id];
    z->g->at.at[group].pair = v;
    z->g->group_of[v.id] = group;
}

/* The latest group among the sources' groups. */
static int latest(const Fuser *z, const Vals *sources)
{
    int last = -1;
    for (uint32_t i = 0; i < sources->len; i++) {
        int g = z->g->group_of[sources->at[i].id];
        last = g > last ? g : last;
    }
    return last;
}

/* The latest group among the sources that are updates. Only these bind a small update: updates run
 * last, among themselves in order (plan_buffers.c). */
static int latest_update(const Fuser *z, const Vals *sources)
{
    int last = -1;
    for (uint32_t i = 0; i < sources->len; i++) {
        int g = z->g->group_of[sources->at[i].id];
        last = z->updates[sources->at[i].id] && g > last ? g : last;
    }
    return last;
}

static void place(Fuser *z, Val v)
{
    Vals sources = {0};
    add_sources(z, v, &sources);
    int last = latest(z, &sources);

    if (z->level == FUSE_FULL && last >= 0) {
        Group *g = &z->g->at.at[last];
        bool ok = may_join(z, g, v);
        for (uint32_t i = 0; ok && i < sources.len; i++) {
            Val s = sources.at[i];
            if (z->g->group_of[s.id] != last)
                continue;
            ok = op_lowering(func_node(z->f, s)->op) != LOWER_REDUCE && s.id != g->pair.id &&
                 reads_in_place(z, v, s);
        }
        if (ok) {
            join(z, last, v);
            return;
        }
    }
    bool small = is_small(z, v);
    int from = small && z->updates[v.id] ? latest_update(z, &sources) + 1 : last + 1;
    if (z->level == FUSE_FULL)
        for (int i = from; i < (int)z->g->at.len; i++) {
            const Group *g = &z->g->at.at[i];
            if (!g->anchor.id && may_join(z, g, v) && (small || shares_large(z, g, &sources))) {
                join(z, i, v);
                return;
            }
        }
    begin(z, v, false);
}

static void find_stored(Fuser *z)
{
    const Func *f = z->f;
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        if (!z->g->materialised[id])
            continue;
        z->g->is_stored[id] |= z->is_result[id] || op_lowering(f->nodes.at[id].op) == LOWER_REDUCE;
        Vals sources = {0};
        add_sources(z, (Val){id}, &sources);
        for (uint32_t i = 0; i < sources.len; i++)
            if (z->g->group_of[sources.at[i].id] != z->g->group_of[id])
                z->g->is_stored[sources.at[i].id] = true;
    }
    for (uint32_t i = 0; i < f->results.len; i++) { /* results that are views of a stored value */
        Vals sources = {0};
        Val v = f->results.at[i].val;
        if (z->g->materialised[v.id])
            continue;
        add_sources(z, v, &sources);
        for (uint32_t k = 0; k < sources.len; k++)
            z->g->is_stored[sources.at[k].id] = true;
    }
}

static void find_fixed(Fuser *z)
{
    for (uint32_t id = 1; id < z->f->nodes.len; id++) {
        const Node *n = &z->f->nodes.at[id];
        z->fixed[id] = op_lowering(n->op) != LOWER_LEAF || n->op == OP_PARAM || n->op == OP_STATE ||
                       n->op == OP_IOTA;
        for (int i = 0; i < n->n_in; i++)
            z->fixed[id] &= z->fixed[n->in[i].id];
    }
}

Groups groups_form(Arena *arena, const Func *f, const Layouts *layouts, const PassOptions *options,
                   const bool *forced)
{
    uint32_t n = f->nodes.len + 1;
    Groups g = {.group_of = ARENA_ARRAY(arena, int, n),
                .materialised = ARENA_ARRAY(arena, bool, n),
                .is_stored = ARENA_ARRAY(arena, bool, n)};
    Fuser z = {.arena = arena,
               .f = f,
               .layouts = layouts,
               .target = &options->target,
               .level = options->fuse,
               .g = &g,
               .live = func_live(arena, f),
               .users = arena_array(arena, n, sizeof *z.users),
               .is_result = ARENA_ARRAY(arena, bool, n),
               .chain = ARENA_ARRAY(arena, int, n),
               .fixed = ARENA_ARRAY(arena, bool, n),
               .updates = ARENA_ARRAY(arena, const char *, n),
               .forced = forced,
               .home = ARENA_ARRAY(arena, Val, n),
               .pair = ARENA_ARRAY(arena, Val, n)};
    for (uint32_t id = 1; id < f->nodes.len; id++)
        for (int i = 0; z.live[id] && i < f->nodes.at[id].n_in; i++)
            vec_push(arena, &z.users[f->nodes.at[id].in[i].id], (Val){id});
    for (uint32_t i = 0; i < f->results.len; i++) {
        Val v = f->results.at[i].val; /* of a view, what it shows */
        if (f->results.at[i].role == RESULT_STATE)
            z.updates[layout_written(f, v).id] = f->results.at[i].name;
        while (!(forced && forced[v.id]) && op_lowering(func_node(f, v)->op) == LOWER_VIEW)
            v = func_node(f, v)->in[0];
        z.is_result[v.id] = true;
    }
    find_fixed(&z);
    for (uint32_t i = 0; i < n; i++)
        g.group_of[i] = -1;

    if (options->fuse == FUSE_FULL && (options->target.pairs || options->target.pair_sum_limit))
        find_pairs(&z);
    choose_materialised(&z);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        if (!g.materialised[id])
            continue;
        if (!is_anchor_kind(f->nodes.at[id].op))
            place(&z, (Val){id});
        else if (z.pair[id].id && z.pair[id].id < id)
            join_pair(&z, (Val){id});
        else
            begin(&z, (Val){id}, true);
    }
    find_stored(&z);
    return g;
}
