/* Which values are computed together.
 *
 * Groups form in one walk in order of definition, over what fuse_store.c has materialised. An
 * anchor begins a group. A pointwise value or a reduction joins the group that computes what it
 * reads, when everything else it reads was there before that group (epilogue, reduction epilogue);
 * or a later element-wise group over the same space that reads the same large tensor (one pass over
 * the data); or begins its own.
 *
 * Attention's two results are one kernel, and so are its gradients, at every level.
 *
 * Where the target has pairs, a weight gradient joins its input gradient (pairs.c).
 *
 * `--fuse none`: every op is stored and stands alone. `--fuse elementwise`: chains of pointwise ops
 * join, nothing else does. */
#include "passes/fuse.h"

enum {
    MAX_MEMBERS = 12,
    MAX_SMALL = 48, /* members of a group of small tables .. */
    SMALL = 1 << 16 /* .. of at most so many elements */
};

static bool takes_epilogue(const Fuser *z, const Group *g)
{
    return !g->anchor.id ||
           fuse_covers(z, fuse_anchor_traits(z, func_node(z->f, g->anchor)->op)->epilogue,
                       g->anchor);
}

/* Reductions in an anchor's epilogue keep the channel axis, and at most the outermost one more. */
static bool takes_reduction(const Fuser *z, const Group *g, const Node *n)
{
    if (!g->anchor.id)
        return true;
    const TileLayout *l = &z->layouts->of[g->anchor.id];
    int channel = z->layouts->channel[g->anchor.id];
    if (!fuse_covers(z, fuse_anchor_traits(z, func_node(z->f, g->anchor)->op)->reductions,
                     g->anchor) ||
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

/* A small table that depends on parameters only: each would be a launch for next to nothing.
 * (Updates are joined by join_updates.c.) */
static bool is_small(const Fuser *z, Val v)
{
    return z->target->joins_small && !z->updates[v.id] && z->fixed[v.id] &&
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
    if (!fuse_same_space(&g->space, fuse_space_of(z->f, v)) || !takes_epilogue(z, g))
        return false;
    return op_lowering(n->op) != LOWER_REDUCE || takes_reduction(z, g, n);
}

static bool shares_large(const Fuser *z, const Group *g, const Vals *sources)
{
    for (uint32_t m = 0; m < g->members.len; m++) {
        Vals other = {0};
        fuse_add_sources(z, g->members.at[m], &other);
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
        else if (fuse_is_anchor(func_node(z->f, u)->op))
            fuse_add_unique(z->arena, out, u);
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
    Group g = {.space = *fuse_space_of(z->f, v),
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

/* The group of attention that computes the same scores in the same direction; -1. */
static int attention_group(const Fuser *z, Val v)
{
    const Node *n = func_node(z->f, v);
    for (int i = (int)z->g->at.len - 1; op_lowering(n->op) == LOWER_ATTEND && i >= 0; i--) {
        const Group *g = &z->g->at.at[i];
        const Node *a = func_node(z->f, g->anchor);
        if (!g->anchor.id || op_lowering(a->op) != LOWER_ATTEND || a->n_in != n->n_in ||
            a->session != n->session || memcmp(a->in, n->in, n->n_in * sizeof *n->in) ||
            memcmp(a->attrs.k, n->attrs.k, sizeof n->attrs.k) || a->attrs.axis != n->attrs.axis ||
            a->attrs.axis2 != n->attrs.axis2)
            continue;
        bool taken = a->op == n->op;
        for (uint32_t k = 0; k < g->members.len; k++)
            taken |= func_node(z->f, g->members.at[k])->op == n->op;
        if (!taken)
            return i;
    }
    return -1;
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

static void place(Fuser *z, Val v)
{
    Vals sources = {0};
    fuse_add_sources(z, v, &sources);
    int last = latest(z, &sources);

    if (z->level == FUSE_FULL && last >= 0) {
        Group *g = &z->g->at.at[last];
        bool ok = may_join(z, g, v);
        for (uint32_t i = 0; ok && i < sources.len; i++) {
            Val s = sources.at[i];
            if (z->g->group_of[s.id] != last)
                continue;
            ok = op_lowering(func_node(z->f, s)->op) != LOWER_REDUCE && s.id != g->pair.id &&
                 fuse_reads_in_place(z, v, s);
        }
        if (ok) {
            join(z, last, v);
            return;
        }
    }
    bool small = is_small(z, v);
    if (z->level == FUSE_FULL)
        for (int i = last + 1; i < (int)z->g->at.len; i++) {
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
        fuse_add_sources(z, (Val){id}, &sources);
        for (uint32_t i = 0; i < sources.len; i++)
            if (z->g->group_of[sources.at[i].id] != z->g->group_of[id])
                z->g->is_stored[sources.at[i].id] = true;
    }
    for (uint32_t i = 0; i < f->results.len; i++) { /* results that are views of a stored value */
        Vals sources = {0};
        Val v = f->results.at[i].val;
        if (z->g->materialised[v.id])
            continue;
        fuse_add_sources(z, v, &sources);
        for (uint32_t k = 0; k < sources.len; k++)
            z->g->is_stored[sources.at[k].id] = true;
    }
}

static void find_fixed(Fuser *z)
{
    for (uint32_t id = 1; id < z->f->nodes.len; id++) {
        const Node *n = &z->f->nodes.at[id];
        z->fixed[id] = op_lowering(n->op) != LOWER_LEAF || n->op == OP_PARAM || n->op == OP_STATE ||
                       n->op == OP_IOTA || n->op == OP_CONST;
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
    fuse_choose_stored(&z);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        if (!g.materialised[id])
            continue;
        if (!fuse_is_anchor(f->nodes.at[id].op))
            place(&z, (Val){id});
        else if (z.pair[id].id && z.pair[id].id < id)
            join_pair(&z, (Val){id});
        else if (attention_group(&z, (Val){id}) >= 0)
            join(&z, attention_group(&z, (Val){id}), (Val){id});
        else
            begin(&z, (Val){id}, true);
    }
    find_stored(&z);
    return g;
}
