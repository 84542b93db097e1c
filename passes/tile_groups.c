/* Group to tile program.
 *
 * A value that is not stored is expanded into scalar code where it is read. The environment says,
 * per axis of the value, how its index follows from the program's axes; ops that only move data
 * (index, rename, split, merge) change the environment and emit nothing. */
#include "passes/plan.h"

typedef struct Env {
    TileIndex axis[MAX_RANK]; /* per logical axis of the value at hand */
} Env;

typedef struct Memo {
    Val val;
    Env env;
    int inst;
} Memo;

typedef struct Builder {
    Arena *arena;
    const Func *f;
    const TargetTraits *target;
    const Layouts *layouts;
    const Groups *groups;
    const Group *group;
    int group_index;
    TileProgram *p;
    VEC(Memo) memo;
    Val blocked; /* the first value that no address expresses */
} Builder;

static bool index_equal(const TileIndex *a, const TileIndex *b)
{
    if (a->n_terms != b->n_terms || a->table_len != b->table_len || a->computed != b->computed)
        return false;
    for (int i = 0; i < a->n_terms; i++)
        if (a->axis[i] != b->axis[i] || a->coef[i] != b->coef[i])
            return false;
    return a->table == b->table ||
           (a->table && b->table &&
            !memcmp(a->table, b->table, (size_t)a->table_len * sizeof *a->table));
}

static TileIndex index_axis(int axis)
{
    return (TileIndex){.n_terms = 1, .axis = {axis}, .coef = {1}};
}

static int add_axis(Builder *b, const char *name, int64_t size, TileAxisKind kind)
{
    vec_push(b->arena, &b->p->axes, (TileAxis){name, size, kind});
    return (int)b->p->axes.len - 1;
}

/* The parallel or reduced axis of that name; -1 when there is none. */
static int find_axis(const Builder *b, const char *name)
{
    for (uint32_t i = 0; i < b->p->axes.len; i++)
        if (b->p->axes.at[i].name == name && b->p->axes.at[i].kind != TILE_IN)
            return (int)i;
    return -1;
}

static int add_inst(Builder *b, TileInst inst)
{
    for (uint32_t i = 0; i < b->p->insts.len; i++) {
        const TileInst *o = &b->p->insts.at[i];
        if (o->kind != inst.kind || o->prim != inst.prim || o->tensor != inst.tensor ||
            memcmp(o->arg, inst.arg, sizeof o->arg) ||
            memcmp(&o->number, &inst.number, sizeof o->number))
            continue;
        bool same = true;
        for (int k = 0; same && inst.kind == INST_LOAD && k < MAX_RANK; k++)
            same = index_equal(&o->index[k], &inst.index[k]);
        if (same)
            return (int)i;
    }
    vec_push(b->arena, &b->p->insts, inst);
    return (int)b->p->insts.len - 1;
}

static int add_tensor(Builder *b, const TileLayout *layout, Val val, bool is_output)
{
    for (uint32_t i = 0; i < b->p->tensors.len; i++) {
        const TileTensor *t = &b->p->tensors.at[i];
        if (t->buffer == (int)val.id && t->is_output == is_output &&
            tile_layout_equal(&t->layout, layout))
            return (int)i;
    }
    vec_push(b->arena, &b->p->tensors, (TileTensor){*layout, is_output, (int)val.id});
    return (int)b->p->tensors.len - 1;
}

/* The layout under which a stored value, or a view of one, can be read; false when it is neither
 * or the view needs index arithmetic. */
static bool stored_layout(const Builder *b, Val v, TileLayout *layout, Val *base)
{
    const Node *n = func_node(b->f, v);
    if (op_lowering(n->op) == LOWER_LEAF ||
        (b->groups->materialised[v.id] && b->groups->group_of[v.id] != b->group_index)) {
        *layout = b->layouts->of[v.id];
        *base = v;
        return true;
    }
    if (op_lowering(n->op) != LOWER_VIEW)
        return false;
    TileLayout below;
    return stored_layout(b, n->in[0], &below, base) && layout_of_view(&below, n, layout);
}

/* table2[index], for a table of `n` entries over the axis that `index` addresses. */
static TileIndex compose(Builder *b, const TileIndex *index, const int32_t *table2)
{
    int axis = index->axis[0];
    int64_t n = b->p->axes.at[axis].size;
    int32_t *t = ARENA_ARRAY(b->arena, int32_t, n);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = index->table ? index->table[i] : i * index->coef[0];
        t[i] = k < 0 ? -1 : table2[k];
    }
    return (TileIndex){.n_terms = 1, .axis = {axis}, .coef = {1}, .table = t, .table_len = n};
}

static bool through_index(Builder *b, const Node *n, const Node *operand, const Env *env, Env *out)
{
    *out = *env;
    int a = shape_axis(&n->shape, n->attrs.axis2), o = shape_axis(&operand->shape, n->attrs.axis);
    const TileIndex *at = &env->axis[a];
    for (int i = 0; i < operand->shape.rank; i++)
        if (i != o)
            out->axis[i] = env->axis[shape_axis(&n->shape, operand->shape.name[i])];
    if (at->n_terms != 1)
        return false;
    out->axis[o] = compose(b, at, n->attrs.table);
    return true;
}

static bool through_split(Builder *b, const Node *n, const Node *operand, const Env *env, Env *out)
{
    const TileIndex *outer = &env->axis[shape_axis(&n->shape, n->attrs.axis2)];
    const TileIndex *inner = &env->axis[shape_axis(&n->shape, n->attrs.axis3)];
    int c = shape_axis(&operand->shape, n->attrs.axis);
    int64_t inner_size = operand->shape.size[c] / n->attrs.size0;
    for (int i = 0; i < operand->shape.rank; i++)
        if (i != c)
            out->axis[i] = env->axis[shape_axis(&n->shape, operand->shape.name[i])];
    TileIndex *at = &out->axis[c];
    if (outer->n_terms == 1 && inner->n_terms == 1 && outer->axis[0] == inner->axis[0]) {
        /* both follow one axis (a shuffle): one table */
        int64_t len = b->p->axes.at[outer->axis[0]].size;
        int32_t *t = ARENA_ARRAY(b->arena, int32_t, len);
        for (int64_t i = 0; i < len; i++) {
            int64_t o = outer->table ? outer->table[i] : i * outer->coef[0];
            int64_t k = inner->table ? inner->table[i] : i * inner->coef[0];
            t[i] = o < 0 || k < 0 ? -1 : (int32_t)(o * inner_size + k);
        }
        *at = (TileIndex){
            .n_terms = 1, .axis = {outer->axis[0]}, .coef = {1}, .table = t, .table_len = len};
        return true;
    }
    if (outer->n_terms + inner->n_terms > TILE_MAX_TERMS || outer->table || inner->table ||
        outer->computed || inner->computed)
        return false;
    *at = (TileIndex){0};
    for (int i = 0; i < outer->n_terms; i++, at->n_terms++) {
        at->axis[at->n_terms] = outer->axis[i];
        at->coef[at->n_terms] = outer->coef[i] * inner_size;
    }
    for (int i = 0; i < inner->n_terms; i++, at->n_terms++) {
        at->axis[at->n_terms] = inner->axis[i];
        at->coef[at->n_terms] = inner->coef[i];
    }
    return true;
}

static bool through_merge(Builder *b, const Node *n, const Node *operand, const Env *env, Env *out)
{
    const TileIndex *at = &env->axis[shape_axis(&n->shape, n->attrs.axis)];
    int o = shape_axis(&operand->shape, n->attrs.axis2),
        k = shape_axis(&operand->shape, n->attrs.axis3);
    int64_t outer_size = operand->shape.size[o], inner_size = operand->shape.size[k];
    for (int i = 0; i < operand->shape.rank; i++)
        if (i != o && i != k)
            out->axis[i] = env->axis[shape_axis(&n->shape, operand->shape.name[i])];
    if (at->n_terms == 2 && !at->table && at->coef[0] == inner_size && at->coef[1] == 1 &&
        b->p->axes.at[at->axis[1]].size <= inner_size) {
        out->axis[o] = index_axis(at->axis[0]);
        out->axis[k] = index_axis(at->axis[1]);
        return true;
    }
    if (at->n_terms != 1)
        return false;
    int32_t *outer = ARENA_ARRAY(b->arena, int32_t, outer_size * inner_size);
    int32_t *inner = ARENA_ARRAY(b->arena, int32_t, outer_size * inner_size);
    for (int64_t i = 0; i < outer_size * inner_size; i++) {
        outer[i] = (int32_t)(i / inner_size);
        inner[i] = (int32_t)(i % inner_size);
    }
    out->axis[o] = compose(b, at, outer);
    out->axis[k] = compose(b, at, inner);
    return true;
}

static bool through(Builder *b, const Node *n, const Node *operand, const Env *env, Env *out)
{
    memset(out, 0, sizeof *out);
    switch (n->op) {
    case OP_INDEX:
        return through_index(b, n, operand, env, out);
    case OP_SPLIT:
        return through_split(b, n, operand, env, out);
    case OP_MERGE:
        return through_merge(b, n, operand, env, out);
    case OP_RENAME:
        *out = *env;
        return true;
    default: /* reorder, and operands of pointwise ops and positions: by name */
        for (int i = 0; i < operand->shape.rank; i++)
            out->axis[i] = env->axis[shape_axis(&n->shape, operand->shape.name[i])];
        return true;
    }
}

static int expand(Builder *b, Val v, const Env *env);

static int expand_formula(Builder *b, const Node *n, const Env *env)
{
    const char *error = NULL, *text = n->op == OP_MAP ? n->attrs.formula : op_formula(n->op);
    const Formula *f = formula_compile(b->arena, text, &error);
    int arg[MAX_OPERANDS] = {0};
    for (int i = 0; i < n->n_in; i++) {
        Env e;
        through(b, n, func_node(b->f, n->in[i]), env, &e);
        arg[i] = expand(b, n->in[i], &e);
        if (arg[i] < 0)
            return -1;
    }
    int *at = ARENA_ARRAY(b->arena, int, f->n + 1);
    for (int i = 0; i < f->n; i++) {
        const FormulaInst *s = &f->inst[i];
        TileInst t = {.kind = INST_CONST};
        switch (s->kind) {
        case FORMULA_VAR:
            at[i] = arg[s->arg[0]];
            continue;
        case FORMULA_ATTR:
            t.number = n->attrs.k[s->arg[0]];
            break;
        case FORMULA_NUMBER:
            t.number = s->number;
            break;
        case FORMULA_PRIM:
            t.kind = INST_PRIM;
            t.prim = s->prim;
            for (int k = 0; k < prim_arity(s->prim); k++)
                t.arg[k] = at[s->arg[k]];
            break;
        }
        at[i] = add_inst(b, t);
    }
    return at[f->n - 1];
}

/* The operand at the positions that the index has here. */
static int expand_gather(Builder *b, const Node *n, const Env *env)
{
    const Node *x = func_node(b->f, n->in[0]), *index = func_node(b->f, n->in[1]);
    Env at, below = {0};
    through(b, n, index, env, &at);
    int inst = expand(b, n->in[1], &at);
    if (inst < 0)
        return -1;
    for (int i = 0; i < x->shape.rank; i++)
        below.axis[i] = x->shape.name[i] == n->attrs.axis
                            ? (TileIndex){.computed = inst + 1}
                            : env->axis[shape_axis(&n->shape, x->shape.name[i])];
    return expand(b, n->in[0], &below);
}

static bool is_anchor_point(const Builder *b, Val v, const Env *env)
{
    const Shape *s = func_shape(b->f, v);
    for (int i = 0; i < s->rank; i++) {
        TileIndex own = index_axis(find_axis(b, s->name[i]));
        if (!index_equal(&own, &env->axis[i]))
            return false;
    }
    return true;
}

/* Index of the instruction that holds the value, or -1 when some view cannot be expressed. */
static int expand(Builder *b, Val v, const Env *env)
{
    const Node *n = func_node(b->f, v);
    for (uint32_t i = 0; i < b->memo.len; i++) {
        const Memo *m = &b->memo.at[i];
        bool same = m->val.id == v.id;
        for (int k = 0; same && k < n->shape.rank; k++)
            same = index_equal(&m->env.axis[k], &env->axis[k]);
        if (same)
            return m->inst;
    }
    int inst = -1;
    TileLayout layout;
    Val base;
    if (v.id == b->group->anchor.id) {
        inst = is_anchor_point(b, v, env) ? add_inst(b, (TileInst){.kind = INST_ACC}) : -1;
    } else if (n->op == OP_FILL &&
               (!b->groups->materialised[v.id] || b->groups->group_of[v.id] == b->group_index)) {
        inst = add_inst(b, (TileInst){.kind = INST_CONST, .number = n->attrs.k[0]});
    } else if (stored_layout(b, v, &layout, &base)) {
        TileInst load = {.kind = INST_LOAD, .tensor = add_tensor(b, &layout, base, false)};
        for (int i = 0; i < n->shape.rank; i++)
            load.index[i] = env->axis[i];
        inst = add_inst(b, load);
    } else if (op_is_pointwise(n->op)) {
        inst = expand_formula(b, n, env);
    } else if (n->op == OP_GATHER) {
        inst = expand_gather(b, n, env);
    } else {
        Env below;
        if (through(b, n, func_node(b->f, n->in[0]), env, &below))
            inst = expand(b, n->in[0], &below);
        else if (!b->blocked.id)
            b->blocked = v;
    }
    if (inst >= 0)
        vec_push(b->arena, &b->memo, (Memo){v, *env, inst});
    return inst;
}

/* Every axis of the value is the program's axis of the same name. */
static Env env_of(const Builder *b, Val v)
{
    const Shape *s = func_shape(b->f, v);
    Env e = {0};
    for (int i = 0; i < s->rank; i++)
        e.axis[i] = index_axis(find_axis(b, s->name[i]));
    return e;
}

static const Stencil *stencil_of(const Node *n, const char *axis)
{
    for (int i = 0; i < n->attrs.n_stencil; i++)
        if (n->attrs.stencil[i].axis == axis)
            return &n->attrs.stencil[i];
    return NULL;
}

static void add_over(Builder *b, const Node *n)
{
    for (int i = 0; i < n->attrs.over.n; i++) {
        const char *name = n->attrs.over.name[i];
        const Shape *s = func_shape(b->f, n->in[0]);
        int a = shape_axis(s, name);
        if (a < 0) {
            s = func_shape(b->f, n->in[1]);
            a = shape_axis(s, name);
        }
        if (find_axis(b, name) < 0)
            add_axis(b, name, s->size[a], TILE_REDUCE);
    }
}

/* Input positions: one IN axis per stencil axis; returns the environment of the operand read there.
 */
static Env add_stencils(Builder *b, const Node *n, Val read, bool transposed)
{
    const Shape *s = func_shape(b->f, read);
    Env e = {0};
    for (int i = 0; i < s->rank; i++) {
        const Stencil *st = stencil_of(n, s->name[i]);
        if (!st) {
            e.axis[i] = index_axis(find_axis(b, s->name[i]));
            continue;
        }
        int in = add_axis(b, arena_printf(b->arena, "%s_in", s->name[i]), s->size[i], TILE_IN);
        TileStencil t = {find_axis(b, st->axis),
                         find_axis(b, st->tap),
                         in,
                         st->stride,
                         st->dilation,
                         st->pad,
                         transposed};
        vec_push(b->arena, &b->p->stencils, t);
        e.axis[i] = index_axis(in);
    }
    return e;
}

static bool is_attention(const Builder *b, Val v)
{
    return v.id && op_lowering(func_node(b->f, v)->op) == LOWER_ATTEND;
}

static void add_result(Builder *b, int which, Val v)
{
    const Shape *s = func_shape(b->f, v);
    TileResult *r = &b->p->result[which];
    r->tensor = add_tensor(b, &b->layouts->of[v.id], v, true);
    for (int i = 0; i < s->rank; i++)
        r->axis[i] = find_axis(b, s->name[i]);
}

static int attention_result(Op op)
{
    bool is_back = op >= OP_ATTEND_DQ; /* both in the order of ops.def */
    return is_back ? (int)op - OP_ATTEND_DQ + ATTEND_DQ : (int)op - OP_ATTEND + ATTEND_Y;
}

/* Operands are loads, but for windows: what would be code is stored first. */
static bool add_attention(Builder *b)
{
    const Node *n = func_node(b->f, b->group->anchor);
    TileAttend *t = &b->p->attend;
    b->p->anchor = n->op == OP_ATTEND || n->op == OP_ATTEND_SUM ? TILE_ATTEND : TILE_ATTEND_BACK;
    t->drop = n->attrs.k[2];
    t->adds = n->n_in - (t->drop > 0) > tile_additions(b->p);
    t->scale = n->attrs.k[0];
    t->mask = (AttendMask)n->attrs.k[1];
    for (int i = 0; i < n->n_in; i++) {
        Env e = env_of(b, n->in[i]);
        t->operand[i] = expand(b, n->in[i], &e);
        if (t->operand[i] < 0)
            return false;
        if (i >= op_n_rows(n->op) && b->p->insts.at[t->operand[i]].kind != INST_LOAD) {
            b->blocked = n->in[i];
            return false;
        }
    }
    add_result(b, attention_result(n->op), b->group->anchor);
    return true;
}

static bool add_scatter(Builder *b)
{
    const Node *n = func_node(b->f, b->group->anchor);
    b->p->anchor = TILE_SCATTER;
    add_over(b, n);
    Env e = env_of(b, n->in[0]), at = env_of(b, n->in[1]);
    b->p->lhs = expand(b, n->in[0], &e);
    b->p->rhs = expand(b, n->in[1], &at);
    add_result(b, 0, b->group->anchor);
    return b->p->lhs >= 0 && b->p->rhs >= 0;
}

static bool add_anchor(Builder *b)
{
    const Node *n = func_node(b->f, b->group->anchor);
    if (op_lowering(n->op) == LOWER_ATTEND)
        return add_attention(b);
    if (op_lowering(n->op) == LOWER_SCATTER)
        return add_scatter(b);
    Val x = n->in[0], w = n->in[1];
    Env ex, ew;
    switch (op_lowering(n->op)) {
    case LOWER_CONTRACT:
        b->p->anchor = TILE_CONTRACT;
        add_over(b, n);
        ex = env_of(b, x);
        ew = env_of(b, w);
        break;
    case LOWER_STENCIL: { /* the kernel's taps are summed */
        const Shape *k = func_shape(b->f, w);
        b->p->anchor = TILE_STENCIL;
        for (int i = 0; i < n->attrs.n_stencil; i++) {
            const char *tap = n->attrs.stencil[i].tap;
            add_axis(b, tap, k->size[shape_axis(k, tap)], TILE_REDUCE);
        }
        add_over(b, n);
        ex = add_stencils(b, n, x, n->op == OP_CONV_DX);
        ew = env_of(b, w);
        break;
    }
    default: { /* conv_dw(dy, x): x is read on input positions, dy on output positions */
        const Shape *dy = func_shape(b->f, x);
        b->p->anchor = TILE_STENCIL_DW;
        for (int i = 0; i < dy->rank; i++)
            if (find_axis(b, dy->name[i]) < 0)
                add_axis(b, dy->name[i], dy->size[i], TILE_REDUCE);
        add_over(b, n);
        ex = add_stencils(b, n, w, false);
        ew = env_of(b, x);
        Val t = x;
        x = w;
        w = t;
        break;
    }
    }
    b->p->lhs = expand(b, x, &ex);
    b->p->rhs = expand(b, w, &ew);
    return b->p->lhs >= 0 && b->p->rhs >= 0;
}

static void add_store(Builder *b, Val v, int inst)
{
    TileStore s = {.inst = inst, .tensor = add_tensor(b, &b->layouts->of[v.id], v, true)};
    Env e = env_of(b, v);
    memcpy(s.index, e.axis, sizeof s.index);
    vec_push(b->arena, &b->p->stores, s);
}

/* The weight gradient beside the anchor: x, read where the anchor's result lies, times lhs. */
static bool add_pair(Builder *b, Val v)
{
    const Node *n = func_node(b->f, v);
    PairAxes axes;
    pair_match(b->f, b->target, b->group->anchor, v, &axes);
    const Shape *x = func_shape(b->f, axes.x);
    Env e = {0};
    for (int i = 0; i < x->rank; i++)
        e.axis[i] = index_axis(find_axis(b, pair_axis(&axes, x->name[i])));
    TileReduction r = {.kind = TILE_PAIR_SUM,
                       .inst = expand(b, axes.x, &e),
                       .tensor = add_tensor(b, &b->layouts->of[v.id], v, true),
                       .factor = 1};
    for (int i = 0; i < n->shape.rank; i++)
        r.axis[i] = find_axis(b, pair_axis(&axes, n->shape.name[i]));
    vec_push(b->arena, &b->p->reductions, r);
    return r.inst >= 0;
}

static bool add_reduction(Builder *b, Val v)
{
    const Node *n = func_node(b->f, v);
    Env e = env_of(b, n->in[0]);
    TileReduction r = {.kind = n->op == OP_VARIANCE ? TILE_VARIANCE : TILE_SUM,
                       .inst = expand(b, n->in[0], &e),
                       .tensor = add_tensor(b, &b->layouts->of[v.id], v, true),
                       .factor = n->attrs.k[0]};
    for (int i = 0; i < n->shape.rank; i++)
        r.axis[i] = find_axis(b, n->shape.name[i]);
    vec_push(b->arena, &b->p->reductions, r);
    return r.inst >= 0;
}

static bool add_member(Builder *b, Val v)
{
    if (is_attention(b, v)) {
        add_result(b, attention_result(func_node(b->f, v)->op), v);
        return true;
    }
    if (op_lowering(func_node(b->f, v)->op) == LOWER_REDUCE)
        return add_reduction(b, v);
    Env e = env_of(b, v);
    int inst = expand(b, v, &e);
    if (inst >= 0 && b->groups->is_stored[v.id])
        add_store(b, v, inst);
    return inst >= 0;
}

/* The axes that an anchor walks itself: where a scatter adds, what attention calls its own. */
static bool is_own(const Builder *b, const char *name)
{
    const Node *n = func_node(b->f, b->group->anchor);
    Lowering l = b->group->anchor.id ? op_lowering(n->op) : LOWER_POINTWISE;
    if (l == LOWER_SCATTER)
        return name == n->attrs.axis;
    if (l != LOWER_ATTEND)
        return false;
    const Shape *q = func_shape(b->f, n->in[0]);
    return name == n->attrs.axis || name == n->attrs.over.name[0] || shape_axis(q, name) < 0;
}

static void add_own(Builder *b)
{
    const Node *n = func_node(b->f, b->group->anchor);
    TileAttend *t = &b->p->attend;
    if (op_lowering(n->op) == LOWER_SCATTER) {
        add_axis(b, n->attrs.axis, n->attrs.size0, TILE_OWN);
        return;
    }
    const Shape *q = func_shape(b->f, n->in[0]), *v = func_shape(b->f, n->in[2]);
    t->n = add_axis(b, n->attrs.axis, q->size[shape_axis(q, n->attrs.axis)], TILE_OWN);
    t->m = add_axis(b, n->attrs.axis2, v->size[shape_axis(v, n->attrs.axis2)], TILE_OWN);
    t->d =
        add_axis(b, n->attrs.over.name[0], q->size[shape_axis(q, n->attrs.over.name[0])], TILE_OWN);
    for (int i = 0; i < v->rank; i++)
        if (is_own(b, v->name[i]) && v->name[i] != n->attrs.axis2)
            t->e = add_axis(b, v->name[i], v->size[i], TILE_OWN);
    const Shape *last = func_shape(b->f, n->in[n->n_in - 1]); /* bytes, if weights are dropped */
    if (n->attrs.k[2] > 0)
        t->byte = add_axis(b, last->name[last->rank - 1], last->size[last->rank - 1], TILE_OWN);
}

/* Parallel axes in the physical order of what is written, outermost first. */
static void add_parallel(Builder *b)
{
    const Group *g = b->group;
    Val first = g->anchor.id ? g->anchor : g->members.at[0];
    bool reduces = op_lowering(func_node(b->f, first)->op) == LOWER_REDUCE;
    if (reduces)
        first = func_node(b->f, first)->in[0];
    if (func_node(b->f, first)->op == OP_ATTEND_DBIAS) /* a sum over sequences */
        first = func_node(b->f, first)->in[0];
    const TileLayout *l = &b->layouts->of[first.id];
    for (int i = 0; i < l->shape.rank; i++)
        if (!is_own(b, l->shape.name[l->order[i]]))
            add_axis(b, l->shape.name[l->order[i]], l->shape.size[l->order[i]], TILE_PARALLEL);
}

static double flops_of(const Builder *b)
{
    const Group *g = b->group;
    double n = g->anchor.id ? op_flops(b->f, g->anchor) : 0, points = 1;
    n += g->pair.id ? op_flops(b->f, g->pair) : 0;
    for (uint32_t i = 0; i < g->members.len; i++)
        n += is_attention(b, g->members.at[i]) ? op_flops(b->f, g->members.at[i]) : 0;
    for (uint32_t i = 0; i < b->p->axes.len; i++)
        if (b->p->axes.at[i].kind == TILE_PARALLEL)
            points *= (double)b->p->axes.at[i].size;
    for (uint32_t i = 0; i < b->p->insts.len; i++)
        n += b->p->insts.at[i].kind == INST_PRIM ? points : 0;
    return n + points * b->p->reductions.len;
}

TileProgram *tile_from_group(Arena *arena, const Func *f, const TargetTraits *target,
                             const Layouts *layouts, const Groups *groups, const Group *g,
                             Val *blocked)
{
    Builder b = {.arena = arena,
                 .f = f,
                 .target = target,
                 .layouts = layouts,
                 .groups = groups,
                 .group = g,
                 .group_index = (int)(g - groups->at.at),
                 .p = ARENA_NEW(arena, TileProgram)};
    TileProgram *p = b.p;
    p->session = g->session;
    p->batch_axis = p->lhs = p->rhs = -1;
    for (int i = 0; i < TILE_MAX_RESULTS; i++)
        p->result[i].tensor = -1;
    p->span = func_node(f, g->anchor.id ? g->anchor : g->members.at[0])->span;
    add_parallel(&b);
    if (g->anchor.id && op_lowering(func_node(f, g->anchor)->op) >= LOWER_SCATTER)
        add_own(&b);
    bool ok = !g->anchor.id || add_anchor(&b);
    if (ok && g->anchor.id && !tile_is_whole(p) && groups->is_stored[g->anchor.id]) {
        Env e = env_of(&b, g->anchor);
        add_store(&b, g->anchor, expand(&b, g->anchor, &e));
    }
    if (ok && g->pair.id)
        ok = add_pair(&b, g->pair);
    for (uint32_t i = 0; ok && i < g->members.len; i++)
        ok = add_member(&b, g->members.at[i]);
    *blocked = b.blocked;
    if (!ok)
        return NULL;
    if (g->session >= 0 && f->module->batch_axis)
        p->batch_axis = find_axis(&b, f->module->batch_axis);
    p->name = group_name(arena, f, g);
    p->place = group_place(arena, f, g);
    p->flops = flops_of(&b);
    return p;
}
