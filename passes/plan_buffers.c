/* Launches in order, and memory for what they read and write.
 *
 * Order: groups as formed; updates of parameters and states move up to right behind the last reader
 * of the old value, so that a gradient's memory is free again as soon as it was used.
 * Memory: every stored value lives from the launch that writes it to its last reader; offsets are
 * found largest first, each at the lowest place free of overlapping lifetimes. An element-wise
 * launch writes over an operand that dies there when both have one layout and are read and written
 * at the same places. New values of parameters and states are written where the old ones stand. */
#include "ir/tile_product.h"
#include "passes/plan.h"

typedef struct Planner {
    Arena *arena;
    const Func *f;
    Plan *plan;
    Layouts layouts;
    Groups groups;
    TileProgram **tile;  /* per group; NULL when it stores nothing */
    VEC(int) order;      /* groups in launch order */
    const char **writes; /* per value: the parameter or state it is written to, or NULL */
    bool *is_output;     /* per value: a result reads it after the last launch */
    CostOf cost;
    void *context;
} Planner;

enum { MOST_AWAITED = 2 << 20 }; /* bytes of a gradient that waits for those of other updates */

static size_t round_up(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* ---- tile programs ---- */

static void find_results(Planner *z)
{
    z->writes = ARENA_ARRAY(z->arena, const char *, z->f->nodes.len + 1);
    z->is_output = ARENA_ARRAY(z->arena, bool, z->f->nodes.len + 1);
    for (uint32_t i = 0; i < z->f->results.len; i++) {
        const Result *r = &z->f->results.at[i];
        Val v = r->val;
        if (r->role == RESULT_STATE) {
            v = layout_written(z->f, v);
            z->writes[v.id] = r->name;
            z->layouts.of[v.id] = tile_layout_plain(func_shape(z->f, v));
            continue;
        }
        z->is_output[v.id] = true;              /* and, of a view, everything below */
        z->layouts.of[v.id].type = STORAGE_F32; /* as the user wants them */
        while (op_lowering(func_node(z->f, v)->op) == LOWER_VIEW) {
            v = func_node(z->f, v)->in[0];
            z->is_output[v.id] = true;
            z->layouts.of[v.id].type = STORAGE_F32;
        }
    }
}

/* Can the value be read where it is stored, perhaps as a view of something stored? */
static bool is_readable(const Planner *z, Val v, TileLayout *layout)
{
    const Node *n = func_node(z->f, v);
    if (op_lowering(n->op) != LOWER_VIEW || z->groups.materialised[v.id]) {
        *layout = z->layouts.of[v.id];
        return true;
    }
    TileLayout below;
    return is_readable(z, n->in[0], &below) && layout_of_view(&below, n, layout);
}

static bool force_results(const Planner *z, bool *forced)
{
    bool any = false;
    for (uint32_t i = 0; i < z->f->results.len; i++) {
        TileLayout layout;
        Val v = z->f->results.at[i].val;
        if (!forced[v.id] && !is_readable(z, v, &layout))
            any = forced[v.id] = true;
    }
    return any;
}

/* Products of parameters and statistics, without samples, are small and exact. */
static MathMode math_of(const Planner *z, Val product, PrecisionMode precision)
{
    const char *batch = z->f->module->batch_axis;
    for (int i = 0; i < 2 && batch && !z->layouts.is_precise[product.id]; i++)
        if (shape_axis(func_shape(z->f, func_node(z->f, product)->in[i]), batch) >= 0)
            return precision_math(precision);
    return MATH_F32;
}

static bool is_for_library(const TileProgram *p, const LibraryTraits *l)
{
    TileProduct x;
    return l->is_there && p->flops >= l->flops && tile_product(p, &x) && x.m >= l->side &&
           x.n >= l->side && x.k >= l->side && l->is_there();
}

static void choose_libraries(Planner *z, const LibraryTraits *library)
{
    for (uint32_t i = 0; i < z->groups.at.len; i++)
        if (z->tile[i])
            z->tile[i]->by_library = is_for_library(z->tile[i], library);
}

/* Forms groups until every view in them can be expressed; each turn stores one value more. */
static void make_tiles(Planner *z, const PassOptions *options)
{
    bool *forced = ARENA_ARRAY(z->arena, bool, z->f->nodes.len + 1);
    bool again = true;
    while (again) {
        again = false;
        z->groups = groups_form(z->arena, z->f, &z->layouts, options, forced);
        z->tile = ARENA_ARRAY(z->arena, TileProgram *, z->groups.at.len + 1);
        for (uint32_t i = 0; i < z->groups.at.len; i++) {
            Val blocked = VAL_NONE;
            z->tile[i] = tile_from_group(z->arena, z->f, &options->target, &z->layouts, &z->groups,
                                         &z->groups.at.at[i], &blocked);
            if (!z->tile[i] && blocked.id && !forced[blocked.id])
                again = forced[blocked.id] = true;
            else if (z->tile[i] && !z->tile[i]->stores.len && !z->tile[i]->reductions.len &&
                     !tile_is_whole(z->tile[i]))
                z->tile[i] = NULL;
            if (z->tile[i] && z->tile[i]->anchor == TILE_CONTRACT)
                z->tile[i]->math = math_of(z, z->groups.at.at[i].anchor, options->precision);
        }
        again |= force_results(z, forced);
    }
    choose_libraries(z, &options->target.library);
}

/* ---- order ---- */

static bool is_update(const Planner *z, int g)
{
    const Group *group = &z->groups.at.at[g];
    if (group->anchor.id)
        return false;
    for (uint32_t i = 0; i < group->members.len; i++) {
        Val v = group->members.at[i];
        if (z->groups.is_stored[v.id] && !z->writes[v.id])
            return false;
    }
    return true;
}

static bool overwrites(const Planner *z, int g, const char *name)
{
    const Group *group = &z->groups.at.at[g];
    for (uint32_t i = 0; i < group->members.len; i++) {
        const char *w = z->writes[group->members.at[i].id];
        if (w && !strcmp(w, name))
            return true;
    }
    return false;
}

/* Must group g run before update u? It makes what u reads, or reads what u overwrites. */
static bool comes_before(const Planner *z, int g, int u)
{
    const TileProgram *tu = z->tile[u], *tg = z->tile[g];
    for (uint32_t i = 0; i < tu->tensors.len; i++)
        if (!tu->tensors.at[i].is_output && z->groups.group_of[tu->tensors.at[i].buffer] == g)
            return true;
    for (uint32_t i = 0; i < tg->tensors.len; i++) {
        const Node *n = func_node(z->f, (Val){(uint32_t)tg->tensors.at[i].buffer});
        if ((n->op == OP_PARAM || n->op == OP_STATE) && overwrites(z, u, n->attrs.name))
            return true;
    }
    return false;
}

/* Bytes of what an update reads and other groups make: they stay in the arena until it runs. */
static size_t awaited_bytes(const Planner *z, int u)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < z->tile[u]->tensors.len; i++) {
        const TileTensor *t = &z->tile[u]->tensors.at[i];
        if (!t->is_output && z->groups.group_of[t->buffer] >= 0 && !z->writes[t->buffer])
            bytes += tile_layout_bytes(&t->layout);
    }
    return bytes;
}

static void move_up(Planner *z, uint32_t from)
{
    int u = z->order.at[from];
    uint32_t to = from;
    while (to > 0 && !comes_before(z, z->order.at[to - 1], u))
        to--;
    for (uint32_t i = from; i > to; i--)
        z->order.at[i] = z->order.at[i - 1];
    z->order.at[to] = u;
}

static bool *find_prepared(Planner *z)
{
    bool *prepared = ARENA_ARRAY(z->arena, bool, z->groups.at.len + 1);
    for (uint32_t g = 0; z->plan->kind == PROGRAM_EVAL && g < z->groups.at.len; g++) {
        prepared[g] = z->tile[g] != NULL;
        for (uint32_t i = 0; prepared[g] && i < z->tile[g]->tensors.len; i++) {
            const TileTensor *t = &z->tile[g]->tensors.at[i];
            const Node *n = func_node(z->f, (Val){(uint32_t)t->buffer});
            int maker = z->groups.group_of[t->buffer];
            bool fixed =
                n->op == OP_PARAM || n->op == OP_STATE || n->op == OP_IOTA || n->op == OP_CONST;
            prepared[g] = t->is_output || fixed || (maker >= 0 && prepared[maker]);
        }
        prepared[g] = prepared[g] && z->groups.at.at[g].session < 0;
    }
    return prepared;
}

/* Does a group that is no update read what update u makes? */
static bool is_awaited(const Planner *z, int u)
{
    for (uint32_t g = 0; g < z->groups.at.len; g++)
        for (uint32_t i = 0; z->tile[g] && i < z->tile[g]->tensors.len; i++) {
            const TileTensor *t = &z->tile[g]->tensors.at[i];
            if (!t->is_output && z->groups.group_of[t->buffer] == u && !is_update(z, (int)g))
                return true;
        }
    return false;
}

/* Updates that no other one has to wait for, of little that waits. */
static void join_updates(Planner *z)
{
    bool *may_join = ARENA_ARRAY(z->arena, bool, z->groups.at.len + 1);
    VEC(int) updates = {0};
    for (uint32_t g = 0; g < z->groups.at.len; g++)
        if (z->tile[g] && is_update(z, (int)g))
            vec_push(z->arena, &updates, (int)g);
    for (uint32_t i = 0; i < updates.len; i++) {
        int u = updates.at[i];
        may_join[u] = !is_awaited(z, u) && awaited_bytes(z, u) <= MOST_AWAITED;
        for (uint32_t k = 0; k < updates.len && may_join[u]; k++)
            may_join[u] = k == i || (!comes_before(z, updates.at[k], u) &&
                                     !comes_before(z, u, updates.at[k]));
    }
    updates_join(z->arena, z->f, &z->groups, z->tile, may_join);
}

/* Prepared values, then all others, updates last: then each moves up as far as it may. */
static void put_in_order(Planner *z, const bool *prepared)
{
    enum { PREPARED, ORDINARY, UPDATE, N_RANKS };
    int *rank = ARENA_ARRAY(z->arena, int, z->groups.at.len + 1);
    for (uint32_t g = 0; g < z->groups.at.len; g++)
        rank[g] = prepared[g]                                                    ? PREPARED
                  : z->tile[g] && is_update(z, (int)g) && !is_awaited(z, (int)g) ? UPDATE
                                                                                 : ORDINARY;
    for (int r = 0; r < N_RANKS; r++)
        for (uint32_t g = 0; g < z->groups.at.len; g++)
            if (z->tile[g] && rank[g] == r) {
                vec_push(z->arena, &z->order, (int)g);
                z->plan->n_prepare += r == PREPARED;
            }
    for (uint32_t i = 0; i < z->order.len; i++)
        if (is_update(z, z->order.at[i]))
            move_up(z, i);
}

/* ---- buffers ---- */

static int buffer_for(Planner *z, Val v, const TileLayout *stored)
{
    Plan *plan = z->plan;
    if (plan->buffer_of[v.id] >= 0)
        return plan->buffer_of[v.id];
    const Node *n = func_node(z->f, v);
    PlanBuffer b = {.kind = BUFFER_ARENA,
                    .val = v,
                    .layout = *stored,
                    .bytes = round_up(tile_layout_bytes(stored) + 64),
                    .first = -1,
                    .same_as = -1};
    if (n->op == OP_PARAM || n->op == OP_STATE) {
        b.kind = BUFFER_PERSISTENT;
        b.name = n->attrs.name;
    } else if (n->op == OP_INPUT || n->op == OP_RANDOM || n->op == OP_NOISE || n->op == OP_BYTES) {
        for (uint32_t i = 0; i < plan->buffers.len; i++) /* one name is one input */
            if (plan->buffers.at[i].kind == BUFFER_INPUT &&
                !strcmp(plan->buffers.at[i].name, n->attrs.name))
                return plan->buffer_of[v.id] = (int)i;
        b.kind = BUFFER_INPUT;
        b.name = n->attrs.name;
        b.drop_rate = n->op == OP_RANDOM ? n->attrs.k[0] : 0;
        b.random = n->op == OP_RANDOM  ? RANDOM_MASK
                   : n->op == OP_NOISE ? RANDOM_NOISE
                   : n->op == OP_BYTES ? RANDOM_BYTES
                                       : RANDOM_NONE;
    } else if (n->op == OP_IOTA || n->op == OP_CONST) {
        b.kind = BUFFER_CONSTANT;
    } else if (z->writes[v.id]) {
        b.kind = BUFFER_PERSISTENT;
        b.name = z->writes[v.id];
    }
    vec_push(z->arena, &plan->buffers, b);
    return plan->buffer_of[v.id] = (int)plan->buffers.len - 1;
}

static void make_launches(Planner *z, const bool *prepared)
{
    Plan *plan = z->plan;
    for (uint32_t i = 0; i < z->order.len; i++) {
        int g = z->order.at[i];
        const Group *group = &z->groups.at.at[g];
        TileProgram *t = z->tile[g];
        Launch l = {.tile = t,
                    .session = group->session,
                    .part = group->part,
                    .backward = group->backward,
                    .is_prepare = prepared[g]};
        if (group->anchor.id)
            vec_push(z->arena, &l.values, group->anchor);
        if (group->pair.id)
            vec_push(z->arena, &l.values, group->pair);
        for (uint32_t k = 0; k < group->members.len; k++)
            vec_push(z->arena, &l.values, group->members.at[k]);
        for (uint32_t k = 0; k < t->tensors.len; k++) {
            TileTensor *tensor = &t->tensors.at[k];
            Val v = {(uint32_t)tensor->buffer};
            int b = buffer_for(z, v, &z->layouts.of[v.id]);
            PlanBuffer *pb = &plan->buffers.at[b];
            tensor->buffer = b;
            if (tensor->is_output && prepared[g] && pb->kind == BUFFER_ARENA)
                pb->kind = BUFFER_PREPARED;
            if (pb->first < 0)
                pb->first = (int)i;
            pb->last = (int)i;
        }
        KernelCost cost = z->cost ? z->cost(z->context, t) : (KernelCost){0};
        l.workspace_bytes = cost.workspace_bytes + cost.library_bytes;
        l.bytes = tile_bytes(t) + 2 * (double)cost.workspace_bytes + cost.again_bytes;
        vec_push(z->arena, &plan->launches, l);
        if (!prepared[g]) {
            plan->flops += t->flops;
            plan->bytes += l.bytes;
        }
    }
}

/* The recording without whose samples tensor k is not read; -1: none. */
static int reader_session(const Launch *l, int k)
{
    const TileProgram *p = l->tile;
    for (uint32_t i = 0; i < p->members.len; i++)
        for (int j = 0; j < p->members.at[i].n; j++)
            if (p->members.at[i].tensor[j] == k)
                return p->members.at[i].session;
    return l->session;
}

/* What a recording's kernels write and shared ones read is zero where its samples are not. */
static void find_clears(Planner *z)
{
    Plan *plan = z->plan;
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const Launch *l = &plan->launches.at[i];
        for (uint32_t k = 0; k < l->tile->tensors.len; k++) {
            const TileTensor *t = &l->tile->tensors.at[k];
            const PlanBuffer *b = &plan->buffers.at[t->buffer];
            int maker = z->groups.group_of[b->val.id];
            if (t->is_output || maker < 0 || b->kind != BUFFER_ARENA)
                continue;
            int session = z->groups.at.at[maker].session;
            if (session < 0 || session == reader_session(l, (int)k))
                continue;
            Launch *m = &plan->launches.at[b->first];
            bool known = false;
            for (uint32_t c = 0; c < m->clear.len; c++)
                known |= m->clear.at[c] == t->buffer;
            if (!known)
                vec_push(z->arena, &m->clear, t->buffer);
        }
    }
}

/* ---- in place ---- */

static bool same_places(const TileProgram *p, const TileStore *s, int tensor)
{
    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *n = &p->insts.at[i];
        if (n->kind != INST_LOAD || n->tensor != tensor)
            continue;
        for (int k = 0; k < MAX_RANK; k++) {
            const TileIndex *a = &n->index[k], *b = &s->index[k];
            if (a->n_terms != b->n_terms || a->table || a->computed ||
                (a->n_terms && (a->axis[0] != b->axis[0] || a->coef[0] != b->coef[0])))
                return false;
        }
    }
    return true;
}

/* Is the buffer read through one tensor only? */
static bool is_read_once(const TileProgram *p, uint32_t tensor)
{
    for (uint32_t i = 0; i < p->tensors.len; i++)
        if (i != tensor && p->tensors.at[i].buffer == p->tensors.at[tensor].buffer)
            return false;
    return true;
}

static void find_in_place(Planner *z, int index)
{
    Plan *plan = z->plan;
    const Launch *l = &plan->launches.at[index];
    const TileProgram *p = l->tile;
    bool *taken = ARENA_ARRAY(z->arena, bool, p->tensors.len + 1);
    if (p->anchor != TILE_MAP || l->clear.len)
        return;
    for (uint32_t i = 0; i < p->stores.len; i++) {
        const TileStore *s = &p->stores.at[i];
        PlanBuffer *out = &plan->buffers.at[p->tensors.at[s->tensor].buffer];
        if (out->kind != BUFFER_ARENA || out->same_as >= 0)
            continue;
        for (uint32_t t = 0; t < p->tensors.len; t++) {
            int b = p->tensors.at[t].buffer;
            const PlanBuffer *in = &plan->buffers.at[b];
            if (taken[t] || p->tensors.at[t].is_output || in->kind != BUFFER_ARENA ||
                in->last != index || z->is_output[in->val.id] || !is_read_once(p, t) ||
                !tile_layout_equal(&p->tensors.at[t].layout, &p->tensors.at[s->tensor].layout) ||
                !same_places(p, s, (int)t))
                continue;
            out->same_as = b;
            taken[t] = true;
            break;
        }
    }
}

/* ---- offsets ---- */

typedef struct Block {
    size_t bytes, offset;
    int first, last;
    int buffer; /* or -1 - launch: that launch's workspace */
} Block;

static void place(Planner *z, Block *block, int n, size_t *total)
{
    int *by_size = ARENA_ARRAY(z->arena, int, n + 1);
    int *near = ARENA_ARRAY(z->arena, int, n + 1);
    for (int i = 0; i < n; i++) {
        int k = i;
        for (; k > 0 && block[by_size[k - 1]].bytes < block[i].bytes; k--)
            by_size[k] = by_size[k - 1];
        by_size[k] = i;
    }
    for (int i = 0; i < n; i++) { /* near: placed blocks alive at the same time, by offset */
        Block *b = &block[by_size[i]];
        int n_near = 0;
        for (int k = 0; k < i; k++) {
            Block *o = &block[by_size[k]];
            if (o->last < b->first || o->first > b->last)
                continue;
            int p = n_near++;
            for (; p > 0 && block[near[p - 1]].offset > o->offset; p--)
                near[p] = near[p - 1];
            near[p] = by_size[k];
        }
        size_t at = 0;
        for (int k = 0; k < n_near; k++) {
            const Block *o = &block[near[k]];
            if (at + b->bytes <= o->offset)
                break;
            if (o->offset + o->bytes > at)
                at = o->offset + o->bytes;
        }
        b->offset = at;
        if (at + b->bytes > *total)
            *total = at + b->bytes;
    }
}

static int root_of(const Plan *plan, int b)
{
    while (plan->buffers.at[b].same_as >= 0)
        b = plan->buffers.at[b].same_as;
    return b;
}

static void lay_out(Planner *z)
{
    Plan *plan = z->plan;
    int n = 0, n_launches = (int)plan->launches.len;
    Block *block = ARENA_ARRAY(z->arena, Block, plan->buffers.len + plan->launches.len + 1);
    int *of = ARENA_ARRAY(z->arena, int, plan->buffers.len + 1);

    for (uint32_t i = 0; i < plan->buffers.len; i++) {
        PlanBuffer *b = &plan->buffers.at[i];
        if (z->is_output[b->val.id])
            b->last = n_launches;
        if (b->kind == BUFFER_PREPARED) {
            b->offset = plan->prepared_bytes;
            plan->prepared_bytes += b->bytes;
        } else if (b->kind == BUFFER_INPUT || b->kind == BUFFER_CONSTANT) {
            b->offset = plan->input_bytes;
            plan->input_bytes += b->bytes;
        } else if (b->kind == BUFFER_ARENA && b->same_as < 0) {
            of[i] = n;
            block[n++] = (Block){b->bytes, 0, b->first, b->last, (int)i};
        }
    }
    for (uint32_t i = 0; i < plan->buffers.len; i++) { /* whoever shares prolongs the life */
        const PlanBuffer *b = &plan->buffers.at[i];
        if (b->kind == BUFFER_ARENA && b->same_as >= 0) {
            Block *r = &block[of[root_of(plan, (int)i)]];
            r->last = b->last > r->last ? b->last : r->last;
        }
    }
    for (int i = 0; i < n_launches; i++)
        if (plan->launches.at[i].workspace_bytes)
            block[n++] = (Block){round_up(plan->launches.at[i].workspace_bytes), 0, i, i, -1 - i};
    place(z, block, n, &plan->arena_bytes);
    for (int i = 0; i < n; i++) {
        if (block[i].buffer >= 0)
            plan->buffers.at[block[i].buffer].offset = block[i].offset;
        else
            plan->launches.at[-1 - block[i].buffer].workspace_offset = block[i].offset;
    }
    for (uint32_t i = 0; i < plan->buffers.len; i++) {
        PlanBuffer *b = &plan->buffers.at[i];
        if (b->kind == BUFFER_ARENA && b->same_as >= 0)
            b->offset = plan->buffers.at[root_of(plan, (int)i)].offset;
    }
}

/* Results that no launch touches (a view of an input, a parameter itself) need a buffer too. */
static void add_untouched(Planner *z)
{
    for (uint32_t id = 1; id < z->f->nodes.len; id++)
        if (z->is_output[id] && op_lowering(func_node(z->f, (Val){id})->op) == LOWER_LEAF)
            buffer_for(z, (Val){id}, &z->layouts.of[id]);
}

static int count_ops(Arena *arena, const Func *f)
{
    const bool *live = func_live(arena, f);
    int n = 0;
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        Lowering l = op_lowering(f->nodes.at[id].op);
        n += live[id] && l != LOWER_LEAF && l != LOWER_VIEW && f->nodes.at[id].op != OP_FILL;
    }
    return n;
}

static const char *sample_axis(const Func *f)
{
    for (uint32_t id = 1; id < f->nodes.len; id++)
        if (f->nodes.at[id].op == OP_INPUT && f->nodes.at[id].shape.rank >= 2)
            return f->nodes.at[id].shape.name[0];
    return NULL;
}

Plan *plan_build(Arena *arena, const Func *f, ProgramKind kind, const PassOptions *options,
                 CostOf cost, void *context)
{
    Planner z = {.arena = arena, .f = f, .cost = cost, .context = context};
    if (!f->module->batch_axis)
        f->module->batch_axis = sample_axis(f);
    z.plan = ARENA_NEW(arena, Plan);
    *z.plan = (Plan){.f = f, .kind = kind, .fuse = options->fuse};
    z.plan->buffer_of = ARENA_ARRAY(arena, int, f->nodes.len + 1);
    for (uint32_t i = 0; i < f->nodes.len; i++)
        z.plan->buffer_of[i] = -1;
    z.plan->n_ops = count_ops(arena, f);

    z.layouts = layouts_choose(arena, f, options);
    find_results(&z);
    make_tiles(&z, options);
    if (options->fuse == FUSE_FULL && options->target.joins_small)
        join_updates(&z);
    bool *prepared = find_prepared(&z);
    put_in_order(&z, prepared);
    make_launches(&z, prepared);
    add_untouched(&z);
    find_clears(&z);
    for (uint32_t i = 0; i < z.plan->launches.len; i++)
        find_in_place(&z, (int)i);
    lay_out(&z);
    return z.plan;
}
