/* The scalar code of a tile program: which instruction depends on which loop, how tensors are
 * addressed, values computed once per place.
 *
 * An element of a tensor with lane blocks lies at
 *     sum over the other axes of index * stride + (i / lanes) * block stride + i % lanes
 * where i is the index on the tensor's lane axis. Terms are added from the outermost loop to the
 * innermost, so that all but the last are invariant in the inner loop.
 *
 * A computed index is the value of an instruction; where it varies along the lanes the numbers of
 * all lanes are made at once and then taken apart. */
#include "codegen/llvm_emit.h"
#include <assert.h>
#include <string.h>

/* ---- dependence ---- */

static unsigned index_needs(const unsigned *needs, const TileIndex *x)
{
    unsigned bits = x->computed ? needs[x->computed - 1] : 0;

    for (int i = 0; i < x->n_terms; i++)
        bits |= 1u << x->axis[i];
    return bits;
}

static unsigned inst_needs(const TileProgram *p, const unsigned *needs, const TileInst *inst)
{
    unsigned bits = 0;

    switch (inst->kind) {
    case INST_CONST:
        break;
    case INST_ACC:
        bits = 1u << CODE_NEEDS_ACC;
        for (uint32_t a = 0; a < p->axes.len; a++)
            bits |= p->axes.at[a].kind == TILE_PARALLEL ? 1u << a : 0;
        break;
    case INST_LOAD:
        for (int d = 0; d < p->tensors.at[inst->tensor].layout.shape.rank; d++)
            bits |= index_needs(needs, &inst->index[d]);
        break;
    case INST_PRIM:
        for (int i = 0; i < prim_arity(inst->prim); i++)
            bits |= needs[inst->arg[i]];
        break;
    }
    return bits;
}

void code_find_needs(const TileProgram *p, unsigned *needs)
{
    for (uint32_t i = 0; i < p->insts.len; i++)
        needs[i] = inst_needs(p, needs, &p->insts.at[i]);
}

Code *code_new(Emitter *e, int lane_axis, int lanes)
{
    Code *c = ARENA_NEW(e->arena, Code);
    uint32_t n = e->program->insts.len;

    c->e = e;
    c->p = e->program;
    c->lane_axis = lane_axis;
    c->lanes = lane_axis < 0 ? 1 : lanes;
    c->needs = ARENA_ARRAY(e->arena, unsigned, n);
    c->memo = ARENA_ARRAY(e->arena, Value, n);
    c->memo_depth = ARENA_ARRAY(e->arena, int, n);
    code_find_needs(c->p, c->needs);
    return c;
}

unsigned code_needs(const Code *c, int inst)
{
    return c->needs[inst];
}

void code_enter(Code *c, int axis, Value at)
{
    assert(!c->axis[axis]);
    c->axis[axis] = at;
    c->entered[axis] = ++c->depth;
}

void code_leave(Code *c, int axis)
{
    for (uint32_t i = 0; i < c->p->insts.len; i++)
        if (c->memo[i] && c->memo_depth[i] >= c->entered[axis])
            c->memo[i] = NULL;
    c->depth = c->entered[axis] - 1;
    c->axis[axis] = NULL;
}

void code_new_acc(Code *c, Value acc)
{
    for (uint32_t i = 0; i < c->p->insts.len; i++)
        if (c->needs[i] >> CODE_NEEDS_ACC)
            c->memo[i] = NULL;
    c->acc = acc;
}

static bool determined(const Code *c, int inst)
{
    unsigned bits = c->needs[inst];

    if (bits >> CODE_NEEDS_ACC)
        return false;
    for (int a = 0; a < TILE_MAX_AXES; a++)
        if ((bits >> a & 1) && !c->axis[a])
            return false;
    return true;
}

void code_hoist(Code *c, int inst)
{
    const TileInst *in = &c->p->insts.at[inst];

    if (c->memo[inst] || in->kind == INST_CONST)
        return;
    if (determined(c, inst)) {
        code_value(c, inst);
        return;
    }
    if (in->kind == INST_PRIM)
        for (int i = 0; i < prim_arity(in->prim); i++)
            code_hoist(c, in->arg[i]);
}

/* ---- addresses ---- */

static void layout_strides(const TileLayout *l, int64_t stride[MAX_RANK])
{
    int64_t step = l->lanes;

    for (int i = l->shape.rank - 1; i >= 0; i--) {
        int d = l->order[i];
        stride[d] = step;
        step *= d == l->lane ? (l->shape.size[d] + l->lanes - 1) / l->lanes : l->shape.size[d];
    }
}

static int64_t lane_coefficient(const Code *c, const TileIndex *x)
{
    int64_t coefficient = 0;

    for (int i = 0; i < x->n_terms; i++)
        if (x->axis[i] == c->lane_axis)
            coefficient += x->coef[i];
    return coefficient;
}

/* Does the table map every vector of the lane axis to consecutive entries, which start at a
 * multiple of `step`? */
static bool table_is_blockwise(const Code *c, const TileIndex *x, int64_t step)
{
    for (int64_t i = 0; i < x->table_len; i++) {
        int64_t first = x->table[i - i % c->lanes];
        if (first < 0 || first % step || x->table[i] != first + i % c->lanes)
            return false;
    }
    return true;
}

static bool is_vector_access(const Code *c, const TileLayout *l, int d, const TileIndex *x)
{
    int64_t stride[MAX_RANK];

    layout_strides(l, stride);
    if (x->computed)
        return false;
    if (d != l->lane) {
        if (x->table)
            return stride[d] == 1 && table_is_blockwise(c, x, 1);
        return lane_coefficient(c, x) * stride[d] == 1;
    }
    if (l->lanes % c->lanes)
        return false;
    if (x->table)
        return table_is_blockwise(c, x, c->lanes);
    if (lane_coefficient(c, x) != 1)
        return false;
    for (int i = 0; i < x->n_terms; i++)
        if (x->axis[i] != c->lane_axis && x->coef[i] % c->lanes)
            return false;
    return true;
}

/* The one axis of the tensor that follows the lane axis; -1 none, -2 several. */
static int lane_dimension(const Code *c, const TileTensor *t, const TileIndex *index)
{
    int found = -1;

    for (int d = 0; c->lane_axis >= 0 && d < t->layout.shape.rank; d++)
        if (index_needs(c->needs, &index[d]) >> c->lane_axis & 1)
            found = found == -1 ? d : -2;
    return found;
}

CodeAccess code_access(const Code *c, const TileTensor *t, const TileIndex *index)
{
    int d = lane_dimension(c, t, index);

    if (d == -1)
        return ACCESS_UNIFORM;
    if (d == -2 || !is_vector_access(c, &t->layout, d, &index[d]))
        return ACCESS_SCATTERED;
    return ACCESS_VECTOR;
}

static unsigned access_align(const Code *c, const TileTensor *t, const TileIndex *index)
{
    int d = lane_dimension(c, t, index);

    return d >= 0 && d == t->layout.lane ? (unsigned)c->lanes * 4 : 4;
}

/* Terms of an address, kept in the order of their loops. */
typedef struct Terms {
    Value at[MAX_RANK * TILE_MAX_TERMS];
    int depth[MAX_RANK * TILE_MAX_TERMS];
    int n;
} Terms;

static void add_term(Terms *t, Value v, int depth)
{
    int i = t->n++;

    for (; i > 0 && t->depth[i - 1] > depth; i--) {
        t->at[i] = t->at[i - 1];
        t->depth[i] = t->depth[i - 1];
    }
    t->at[i] = v;
    t->depth[i] = depth;
}

static Value table_entry(Code *c, const TileIndex *x, Value *valid)
{
    Emitter *e = c->e;
    Value table = emit_table_i32(e, x->table, x->table_len), at = c->axis[x->axis[0]];
    bool has_holes = false;

    for (int64_t i = 0; i < x->table_len; i++)
        has_holes |= x->table[i] < 0;
    Value address = LLVMBuildInBoundsGEP2(e->builder, e->i32, table, &at, 1, "");
    Value i = LLVMBuildSExt(e->builder, emit_load_type(e, e->i32, address, 4), e->i64, "");
    if (!has_holes)
        return i;
    Value hole = emit_less(e, i, emit_i64(e, 0));
    Value inside = LLVMBuildNot(e->builder, hole, "");
    if (valid)
        *valid = *valid ? LLVMBuildAnd(e->builder, *valid, inside, "") : inside;
    return emit_select(e, hole, emit_i64(e, 0), i);
}

/* What an instruction says, as whole numbers; 0 outside of the axis. */
static Value whole_index(Emitter *e, Value v, int64_t size, Value *inside)
{
    int lanes = emit_is_vector(v) ? (int)LLVMGetVectorSize(LLVMTypeOf(v)) : 0;
    Value half = emit_f32(e, 0.5), end = emit_f32(e, (double)size);
    Value zero = emit_zero(e, LLVMTypeOf(v));
    v = emit_fadd(e, v, lanes ? emit_splat(e, half, lanes) : half);
    Value low = LLVMBuildFCmp(e->builder, LLVMRealOGE, v, zero, "");
    Value high =
        LLVMBuildFCmp(e->builder, LLVMRealOLT, v, lanes ? emit_splat(e, end, lanes) : end, "");
    *inside = LLVMBuildAnd(e->builder, low, high, "");
    v = emit_select(e, *inside, v, zero);
    Type whole = lanes ? emit_vector_type(e, e->i32, lanes) : e->i64;
    return LLVMBuildFPToSI(e->builder, v, whole, "");
}

/* The same for the lane at hand. */
static Value computed_index(Code *c, const TileIndex *x, int dim, int64_t size, Value *valid)
{
    Emitter *e = c->e;
    if (c->whole[dim])
        return LLVMBuildSExt(e->builder, emit_extract(e, c->whole[dim], c->lane), e->i64, "");
    Value inside, i = whole_index(e, code_value(c, x->computed - 1), size, &inside);
    if (valid)
        *valid = *valid ? LLVMBuildAnd(e->builder, *valid, inside, "") : inside;
    return i;
}

/* The index itself, for the tensor's lane axis, and its innermost loop. */
static Value plain_index(Code *c, const TileIndex *x, int dim, int64_t size, Value *valid,
                         int *depth)
{
    Value sum = emit_i64(c->e, 0);

    if (x->computed) {
        *depth = c->depth;
        return computed_index(c, x, dim, size, valid);
    }

    *depth = 0;
    for (int i = 0; i < x->n_terms; i++)
        if (c->entered[x->axis[i]] > *depth)
            *depth = c->entered[x->axis[i]];
    if (x->table)
        return table_entry(c, x, valid);
    for (int i = 0; i < x->n_terms; i++)
        sum = emit_add(c->e, sum, emit_mul_n(c->e, c->axis[x->axis[i]], x->coef[i]));
    return sum;
}

Value code_offset(Code *c, const TileTensor *t, const TileIndex *index, Value *valid)
{
    Emitter *e = c->e;
    const TileLayout *l = &t->layout;
    int64_t stride[MAX_RANK];
    Terms terms = {.n = 0};
    Value sum = emit_i64(e, 0);
    int depth;

    if (valid)
        *valid = NULL;
    layout_strides(l, stride);
    for (int d = 0; d < l->shape.rank; d++) {
        const TileIndex *x = &index[d];
        if (d == l->lane) {
            Value i = plain_index(c, x, d, l->shape.size[d], valid, &depth);
            add_term(&terms, emit_mul_n(e, emit_div_n(e, i, l->lanes), stride[d]), depth);
            add_term(&terms, emit_mod_n(e, i, l->lanes), depth);
        } else if (x->table || x->computed) {
            Value i = plain_index(c, x, d, l->shape.size[d], valid, &depth);
            add_term(&terms, emit_mul_n(e, i, stride[d]), depth);
        } else {
            for (int i = 0; i < x->n_terms; i++)
                add_term(&terms, emit_mul_n(e, c->axis[x->axis[i]], x->coef[i] * stride[d]),
                         c->entered[x->axis[i]]);
        }
    }
    for (int i = 0; i < terms.n; i++)
        sum = emit_add(e, sum, terms.at[i]);
    return sum;
}

/* ---- lane by lane ---- */

/* Puts the lane axis on element i of the vector; elements beyond the axis stay at its last. */
static Value lane_position(Code *c, Value first, int i)
{
    Value at = emit_add_n(c->e, first, i);
    int64_t last = c->p->axes.at[c->lane_axis].size - 1;

    return c->mask ? emit_min(c->e, at, emit_i64(c->e, last)) : at;
}

/* Computed indices that vary along the lanes, for all lanes at once: is each inside? NULL: yes. */
static Value whole_indices(Code *c, const TileTensor *t, const TileIndex *index)
{
    Value all = NULL, inside;

    for (int d = 0; d < t->layout.shape.rank; d++) /* may be loads of this kind themselves */
        if (index[d].computed)
            code_value(c, index[d].computed - 1);
    for (int d = 0; d < t->layout.shape.rank; d++) {
        Value v = index[d].computed ? code_value(c, index[d].computed - 1) : NULL;
        if (!v || !emit_is_vector(v))
            continue;
        c->whole[d] = whole_index(c->e, v, t->layout.shape.size[d], &inside);
        all = all ? LLVMBuildAnd(c->e->builder, all, inside, "") : inside;
    }
    return all;
}

static Value load_scattered(Code *c, const TileTensor *t, const TileIndex *index, Value base)
{
    Emitter *e = c->e;
    Value first = c->axis[c->lane_axis];
    Value v = emit_undef(e, emit_vector_type(e, e->f32, c->lanes));
    Value all_inside = whole_indices(c, t, index), valid;

    for (int i = 0; i < c->lanes; i++) {
        c->lane = i;
        c->axis[c->lane_axis] = lane_position(c, first, i);
        Value at = emit_element(e, base, code_offset(c, t, index, &valid), t->layout.type);
        Value x = emit_load_stored(e, at, 1, 4, t->layout.type);
        if (valid)
            x = emit_select(e, valid, x, emit_f32(e, 0));
        v = emit_insert(e, v, x, i);
    }
    c->axis[c->lane_axis] = first;
    memset(c->whole, 0, sizeof c->whole);
    return all_inside ? emit_select(e, all_inside, v, emit_zero(e, LLVMTypeOf(v))) : v;
}

static void store_scattered(Code *c, const TileTensor *t, const TileIndex *index, Value base,
                            Value value)
{
    Emitter *e = c->e;
    Value first = c->axis[c->lane_axis];
    EmitIf inside;

    for (int i = 0; i < c->lanes; i++) {
        if (c->mask)
            emit_if_begin(e, &inside, emit_extract(e, c->mask, i));
        c->axis[c->lane_axis] = emit_add_n(e, first, i);
        Value at = emit_at(e, base, code_offset(c, t, index, NULL));
        emit_store(e, at, emit_extract(e, value, i), 4);
        if (c->mask)
            emit_if_end(e, &inside);
    }
    c->axis[c->lane_axis] = first;
}

/* ---- values ---- */

static Value load(Code *c, int inst)
{
    Emitter *e = c->e;
    const TileInst *in = &c->p->insts.at[inst];
    const TileTensor *t = &c->p->tensors.at[in->tensor];
    Value base = e->tensor[in->tensor], valid;
    CodeAccess access = code_access(c, t, in->index);
    bool wide = access == ACCESS_VECTOR;

    if (access == ACCESS_SCATTERED)
        return load_scattered(c, t, in->index, base);
    Value at = emit_element(e, base, code_offset(c, t, in->index, &valid), t->layout.type);
    Value v = emit_load_stored(e, at, wide ? c->lanes : 1, wide ? access_align(c, t, in->index) : 4,
                               t->layout.type);
    return valid ? emit_select(e, valid, v, emit_zero(e, LLVMTypeOf(v))) : v;
}

Value code_value(Code *c, int inst)
{
    const TileInst *in = &c->p->insts.at[inst];
    Value v = NULL, arg[3] = {NULL, NULL, NULL};

    if (c->memo[inst])
        return c->memo[inst];
    switch (in->kind) {
    case INST_CONST:
        return emit_f32(c->e, in->number);
    case INST_ACC:
        return c->acc;
    case INST_LOAD:
        if (c->load)
            v = c->load(c, inst, c->context);
        if (!v)
            v = load(c, inst);
        break;
    case INST_PRIM:
        for (int i = 0; i < prim_arity(in->prim); i++)
            arg[i] = code_value(c, in->arg[i]);
        v = emit_prim(c->e, in->prim, arg[0], arg[1], arg[2]);
        break;
    }
    c->memo[inst] = v;
    c->memo_depth[inst] = c->depth;
    return v;
}

/* ---- stores ---- */

/* Padding lanes may take anything, so a blocked tensor that the store covers needs no mask. */
static bool covers_padding(const Code *c, const TileLayout *l, const TileIndex *index)
{
    const TileIndex *x = &index[l->lane];

    return !x->table && x->n_terms == 1 && x->axis[0] == c->lane_axis && x->coef[0] == 1 &&
           l->shape.size[l->lane] == c->p->axes.at[c->lane_axis].size;
}

void code_store_at(Code *c, int tensor, const TileIndex *index, Value value)
{
    Emitter *e = c->e;
    const TileTensor *t = &c->p->tensors.at[tensor];
    Value base = e->tensor[tensor];
    CodeAccess access = code_access(c, t, index);

    if (access == ACCESS_UNIFORM) {
        Value at = emit_at(e, base, code_offset(c, t, index, NULL));
        emit_store(e, at, emit_extract(e, value, 0), 4);
        return;
    }
    value = emit_splat(e, value, c->lanes);
    if (access == ACCESS_SCATTERED) {
        store_scattered(c, t, index, base, value);
        return;
    }
    Value at = emit_at(e, base, code_offset(c, t, index, NULL));
    unsigned align = access_align(c, t, index);
    bool padded = lane_dimension(c, t, index) == t->layout.lane;
    if (c->mask && !(padded && covers_padding(c, &t->layout, index)))
        emit_store_masked(e, at, value, c->mask, align);
    else
        emit_store(e, at, value, align);
}

void code_store(Code *c, const TileStore *s, Value value)
{
    code_store_at(c, s->tensor, s->index, value);
}
