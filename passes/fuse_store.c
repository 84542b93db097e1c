/* Which values are stored.
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
 */
#include "passes/fuse.h"

enum { SMALL_FACTOR = 4, MAX_CHAIN = 40 };

static bool is_inline_kind(Op op)
{
    Lowering l = op_lowering(op);
    return l == LOWER_POINTWISE || l == LOWER_INDEX || l == LOWER_GATHER || l == LOWER_VIEW;
}

bool fuse_is_anchor(Op op)
{
    Lowering l = op_lowering(op);
    return l == LOWER_CONTRACT || l == LOWER_STENCIL || l == LOWER_STENCIL_DW ||
           l == LOWER_SCATTER || l == LOWER_ATTEND;
}

void fuse_add_unique(Arena *arena, Vals *v, Val x)
{
    for (uint32_t i = 0; i < v->len; i++)
        if (v->at[i].id == x.id)
            return;
    vec_push(arena, v, x);
}

void fuse_add_sources(const Fuser *z, Val v, Vals *out)
{
    const Node *n = func_node(z->f, v);
    for (int i = 0; i < n->n_in; i++) {
        Val o = n->in[i];
        const Node *p = func_node(z->f, o);
        if (z->g->materialised[o.id] || op_lowering(p->op) == LOWER_LEAF)
            fuse_add_unique(z->arena, out, o);
        else
            fuse_add_sources(z, o, out);
    }
}

const AnchorTraits *fuse_anchor_traits(const Fuser *z, Op op)
{
    static const AnchorTraits scatter = {.code = {EVERYWHERE, EVERYWHERE}}, attend = {0};
    switch (op_lowering(op)) {
    case LOWER_CONTRACT:
        return &z->target->contract;
    case LOWER_STENCIL:
        return &z->target->stencil;
    case LOWER_STENCIL_DW:
        return &z->target->stencil_dw;
    case LOWER_SCATTER:
        return &scatter;
    case LOWER_ATTEND:
        return &attend;
    default:
        return NULL;
    }
}

bool fuse_covers(const Fuser *z, Extent extent, Val v)
{
    return extent == EVERYWHERE || (extent == FOR_VOLUMES && z->layouts->is_volume[v.id]);
}

/* Is it made of numbers that stand in the program? */
static bool is_constant(const Fuser *z, Val v)
{
    const Node *n = func_node(z->f, v);
    if (!z->fixed[v.id] || n->op == OP_PARAM || n->op == OP_STATE)
        return false;
    for (int i = 0; i < n->n_in; i++)
        if (!is_constant(z, n->in[i]))
            return false;
    return true;
}

/* A product that is no matrix product: one operand has no axis that the other lacks. */
static bool is_dot(const Fuser *z, const Node *n)
{
    const Shape *a = func_shape(z->f, n->in[0]), *b = func_shape(z->f, n->in[1]);
    return op_lowering(n->op) == LOWER_CONTRACT && (shape_within(a, b) || shape_within(b, a));
}

/* What is read at computed positions, which makes it much larger than what it is read from; NULL:
 * the value is not. */
static const Node *gather_of(const Fuser *z, Val v)
{
    const Node *n = func_node(z->f, v);
    while (op_lowering(n->op) == LOWER_VIEW)
        n = func_node(z->f, n->in[0]);
    return n->op == OP_GATHER ? n : NULL;
}

/* Is a gathered operand code? Of dot products, and of every product of overlapping windows, whose
 * positions are constants (patches.c): stored, they were the same numbers many times. */
static bool gathers(const Fuser *z, const Node *product, Val v)
{
    const Node *gather = op_lowering(product->op) == LOWER_CONTRACT ? gather_of(z, v) : NULL;
    return gather && (is_dot(z, product) || is_constant(z, gather->in[1]));
}

/* Is it a gather at constant places, perhaps with something small added, under views? Windows of
 * attention are (windows.c). */
static bool is_of_windows(const Fuser *z, Val v)
{
    const Node *n = func_node(z->f, v);
    while (op_lowering(n->op) == LOWER_VIEW)
        n = func_node(z->f, n->in[0]);
    for (int i = 0; n->op == OP_ADD && i < 2; i++)
        if (is_of_windows(z, n->in[i]))
            return true;
    return n->op == OP_GATHER && is_constant(z, n->in[1]);
}

/* Is it an operand that attention takes as code? */
static bool is_windows_operand(const Fuser *z, const Node *user, int operand)
{
    return z->level == FUSE_FULL && operand < op_n_rows(user->op) &&
           is_of_windows(z, user->in[operand]);
}

/* Does this user take the operand as code (prologue) rather than as a stored tensor? What depends
 * on parameters only is computed once, not in every product that reads it. */
static bool takes_code(const Fuser *z, const Node *user, int operand)
{
    const AnchorTraits *a = fuse_anchor_traits(z, user->op);
    Val o = user->in[operand];
    if (op_lowering(user->op) == LOWER_ATTEND)
        return is_windows_operand(z, user, operand);
    if (gathers(z, user, o))
        return true;
    return !a || (fuse_covers(z, a->code[operand], o) && !z->fixed[o.id]);
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
    if (n->op == OP_INDEX || n->op == OP_GATHER)
        return true;
    if (!is_inline_kind(n->op))
        return false;
    for (int i = 0; i < n->n_in; i++)
        if (!z->g->materialised[n->in[i].id] && is_costly(z, n->in[i]))
            return true;
    return false;
}

/* Does attention read the value as a tensor? */
static bool is_tensor_of_attention(const Fuser *z, const Node *user, Val v)
{
    bool reads = false;
    for (int i = 0; i < user->n_in && op_lowering(user->op) == LOWER_ATTEND; i++)
        reads |= user->in[i].id == v.id && !is_windows_operand(z, user, i);
    return reads;
}

/* Is the value read through views and tables with places that give 0, or at computed positions, or
 * by an anchor that takes tensors only? f(0) is not 0, so such a value must be in storage. */
static bool is_read_from_storage(const Fuser *z, Val v)
{
    for (uint32_t i = 0; i < z->users[v.id].len; i++) {
        Val u = z->users[v.id].at[i];
        const Node *user = func_node(z->f, u);
        bool moves = user->op == OP_INDEX || op_lowering(user->op) == LOWER_VIEW;
        if ((user->op == OP_INDEX && index_leaves_out(user)) ||
            (user->op == OP_GATHER && user->in[0].id == v.id) ||
            is_tensor_of_attention(z, user, v) || (moves && is_read_from_storage(z, u)))
            return true;
    }
    return false;
}

/* Labels of attention, which every row of scores reads: merged axes would be looked up in tables.
 */
static bool is_constant_of_attention(const Fuser *z, Val v)
{
    for (uint32_t i = 0; i < z->users[v.id].len; i++)
        if (op_lowering(func_node(z->f, z->users[v.id].at[i])->op) == LOWER_ATTEND)
            return is_constant(z, v);
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
    fuse_add_sources(z, v, &sources);
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
    if (!z->target->counts_bytes || !fuse_is_anchor(reader->op))
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

const Shape *fuse_space_of(const Func *f, Val v)
{
    const Node *n = func_node(f, v);
    return op_lowering(n->op) == LOWER_REDUCE ? func_shape(f, n->in[0]) : &n->shape;
}

bool fuse_same_space(const Shape *a, const Shape *b)
{
    return a->rank == b->rank && shape_within(a, b);
}

bool fuse_reads_in_place(const Fuser *z, Val v, Val source)
{
    const Node *n = func_node(z->f, v);
    for (int i = 0; i < n->n_in; i++) {
        Val o = n->in[i];
        const Node *p = func_node(z->f, o);
        if (o.id == source.id) {
            if (!fuse_same_space(func_shape(z->f, source), fuse_space_of(z->f, v)) ||
                n->op == OP_INDEX || n->op == OP_GATHER || op_lowering(n->op) == LOWER_VIEW)
                return false;
            continue;
        }
        if (z->g->materialised[o.id] || op_lowering(p->op) == LOWER_LEAF)
            continue;
        Vals below = {0};
        fuse_add_sources(z, o, &below);
        bool inside = false;
        for (uint32_t k = 0; k < below.len; k++)
            inside |= below.at[k].id == source.id;
        if (inside && (n->op == OP_INDEX || n->op == OP_GATHER ||
                       op_lowering(n->op) == LOWER_VIEW || !fuse_reads_in_place(z, o, source)))
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
    if (!home.id || !fuse_same_space(func_shape(z->f, home), func_shape(z->f, v)) ||
        func_node(z->f, home)->session != func_node(z->f, v)->session)
        return VAL_NONE;
    for (uint32_t i = 0; i < sources->len; i++) {
        Val s = sources->at[i];
        bool own = z->home[s.id].id == home.id;
        if (own ? !fuse_reads_in_place(z, v, s) : s.id > home.id && z->g->materialised[s.id])
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
        if (fuse_is_anchor(n->op))
            fuse_add_unique(z->arena, out,
                            z->pair[u.id].id && z->pair[u.id].id < u.id ? z->pair[u.id] : u);
        else if (op_lowering(n->op) == LOWER_REDUCE)
            fuse_add_unique(z->arena, out, SUMS);
        else if (z->is_result[u.id])
            fuse_add_unique(z->arena, out, u);
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
        (n->op != OP_INDEX && is_read_from_storage(z, v)))
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
    fuse_add_sources(z, v, &sources);
    for (uint32_t i = 0; i < sources.len; i++)
        n_large += 2 * bytes_of(z, sources.at[i]) >= bytes_of(z, v); /* masks are small */
    if (n_large < 2 || shape_elems(&n->shape) <= 256)
        return false;
    return !z->target->counts_bytes || home_of(z, v, &sources).id ||
           storing_moves_less(z, v, &sources);
}

static void find_home(Fuser *z, Val v)
{
    const AnchorTraits *a = fuse_anchor_traits(z, func_node(z->f, v)->op);
    Vals sources = {0};
    bool is_pair = z->pair[v.id].id && z->pair[v.id].id < v.id;
    if (a) {
        z->home[v.id] = fuse_covers(z, a->epilogue, v) && !is_pair ? v : VAL_NONE;
    } else if (op_is_pointwise(func_node(z->f, v)->op)) {
        fuse_add_sources(z, v, &sources);
        z->home[v.id] = home_of(z, v, &sources);
    }
}

/* A view can be inlined when its operand is computed in the reader or the same storage expresses
 * it; tile_groups.c falls back on index tables for the rest. */
void fuse_choose_stored(Fuser *z)
{
    for (uint32_t id = 1; id < z->f->nodes.len; id++) {
        const Node *n = &z->f->nodes.at[id];
        Lowering l = op_lowering(n->op);
        bool *m = &z->g->materialised[id];
        if (!z->live[id] || l == LOWER_LEAF)
            continue;
        if (n->op == OP_FILL) { /* a constant in whatever reads it */
            *m = z->is_result[id] || is_read_from_storage(z, (Val){id});
            continue;
        }
        for (int i = 0; i < n->n_in; i++)
            if (!z->g->materialised[n->in[i].id])
                z->chain[id] += z->chain[n->in[i].id];
        z->chain[id]++;
        if (fuse_is_anchor(n->op) || l == LOWER_REDUCE || (z->forced && z->forced[id]))
            *m = true;
        else if (l == LOWER_VIEW) /* parameters in another order are a copy: it is made once */
            *m = (n->op == OP_REORDER && z->fixed[id]) || is_constant_of_attention(z, (Val){id});
        else
            *m = z->level == FUSE_NONE || stores_pointwise(z, (Val){id});
        if (*m)
            z->chain[id] = 0;
        if (*m && z->target->counts_bytes)
            find_home(z, (Val){id});
    }
}
