#include "codegen/llvm_space.h"

enum {
    LINE_BYTES = 64,
    /* Tensors from this size on are written past the caches, whole lines at a time: nothing is
     * read before it is overwritten. On Zen 4 an expanding convolution gains 20 %, a depthwise one
     * up to 2.4 times; smaller tensors are rather found in the cache by the next kernel. */
    STREAM_BYTES = 8 << 20,
};

void flat_add(Flat *f, const TileProgram *p, int axis)
{
    if (!f->n)
        f->elems = 1;
    f->axis[f->n] = axis;
    f->size[f->n++] = p->axes.at[axis].size;
    f->elems *= p->axes.at[axis].size;
}

bool flat_has(const Flat *f, int axis)
{
    for (int i = 0; i < f->n; i++)
        if (f->axis[i] == axis)
            return true;
    return false;
}

void space_strides(const TileLayout *l, int64_t stride[MAX_RANK])
{
    int64_t s = l->lanes;
    for (int i = l->shape.rank - 1; i >= 0; i--) {
        int d = l->order[i];
        stride[d] = s;
        s *= d == l->lane ? div_up(l->shape.size[d], l->lanes) : l->shape.size[d];
    }
}

/* Distance in elements between neighbouring flat indices of an access; 0 when the access does not
 * follow the flat index alone. */
static int64_t flat_stride(const Flat *f, const TileTensor *t, const TileIndex *index)
{
    int64_t stride[MAX_RANK], of[TILE_MAX_AXES] = {0};
    space_strides(&t->layout, stride);
    for (int d = 0; d < t->layout.shape.rank; d++)
        for (int k = 0; k < index[d].n_terms; k++) {
            int a = index[d].axis[k];
            if (!flat_has(f, a))
                continue;
            if (index[d].table || index[d].n_terms != 1 || index[d].coef[0] != 1 || of[a] ||
                d == t->layout.lane)
                return 0;
            of[a] = stride[d];
        }
    int64_t unit = 0, expect = 0;
    for (int i = f->n - 1; i >= 0; i--) {
        if (f->size[i] == 1)
            continue;
        int64_t s = of[f->axis[i]];
        if (!s || (unit && s != expect))
            return 0;
        if (!unit)
            unit = s;
        expect = s * f->size[i];
    }
    return unit;
}

/* Offset of an access by the flat index, or NULL. */
static Value flat_offset(Code *c, const FlatPlace *place, const TileTensor *t,
                         const TileIndex *index)
{
    Emitter *e = c->e;
    int64_t unit = flat_stride(place->flat, t, index);
    if (!unit || code_access(c, t, index) == ACCESS_SCATTERED)
        return NULL;
    int64_t stride[MAX_RANK];
    space_strides(&t->layout, stride);
    Value offset = emit_mul_n(e, place->at, unit);
    for (int d = 0; d < t->layout.shape.rank; d++) {
        if (index[d].table || index[d].computed)
            return NULL;
        if (d == t->layout.lane && index[d].n_terms) {
            if (index[d].n_terms != 1 || index[d].axis[0] != c->lane_axis ||
                index[d].coef[0] != 1 || t->layout.lanes != c->lanes)
                return NULL;
            Value at = c->axis[c->lane_axis];
            offset = emit_add(e, offset, emit_mul_n(e, at, stride[d] / c->lanes));
            continue;
        }
        for (int k = 0; k < index[d].n_terms; k++) {
            int a = index[d].axis[k];
            if (!flat_has(place->flat, a))
                offset =
                    emit_add(e, offset, emit_mul_n(e, c->axis[a], index[d].coef[k] * stride[d]));
        }
    }
    return offset;
}

/* Distance in elements that a step of an axis makes; 0 when the access does not follow it. */
static int64_t axis_stride(const TileTensor *t, const TileIndex *index, int axis)
{
    int64_t stride[MAX_RANK], sum = 0;
    space_strides(&t->layout, stride);
    for (int d = 0; d < t->layout.shape.rank; d++)
        for (int k = 0; k < index[d].n_terms && d != t->layout.lane && !index[d].table; k++)
            sum += index[d].axis[k] == axis ? index[d].coef[k] * stride[d] : 0;
    return sum;
}

static Value flat_load(Code *c, int inst, void *context)
{
    const FlatPlace *place = context;
    const TileInst *in = &c->p->insts.at[inst];
    const TileTensor *t = &c->p->tensors.at[in->tensor];
    if (!place->at)
        return NULL;
    Value offset = flat_offset(c, place, t, in->index);
    if (!offset)
        return NULL;
    bool vector = code_access(c, t, in->index) == ACCESS_VECTOR;
    bool blocked = vector && t->layout.lanes == c->lanes;
    Value address = emit_element(c->e, c->e->tensor[in->tensor], offset, t->layout.type);
    int64_t ahead = place->rows_ahead * axis_stride(t, in->index, place->row_axis);
    if (blocked && ahead)
        emit_prefetch(c->e, emit_element(c->e, address, emit_i64(c->e, ahead), t->layout.type));
    return emit_load_stored(c->e, address, vector ? c->lanes : 1,
                            blocked ? 4U * (unsigned)c->lanes : 4, t->layout.type);
}

void flat_hook(Code *c, FlatPlace *place)
{
    c->load = flat_load;
    c->context = place;
}

void flat_enter(Code *c, FlatPlace *place, Value at)
{
    Value digit[TILE_MAX_AXES];
    const Flat *f = place->flat;
    emit_digits(c->e, at, f->n, f->size, digit);
    place->at = at;
    for (int i = 0; i < f->n; i++)
        code_enter(c, f->axis[i], digit[i]);
}

void flat_leave(Code *c, FlatPlace *place)
{
    for (int i = place->flat->n - 1; i >= 0; i--)
        code_leave(c, place->flat->axis[i]);
    place->at = NULL;
}

/* Makes the store just emitted one that goes past the caches. */
static void mark_streaming(Emitter *e)
{
    Value one = LLVMConstInt(e->i32, 1, 0);
    unsigned kind = LLVMGetMDKindIDInContext(e->context, "nontemporal", 11);
    Value store = LLVMGetLastInstruction(LLVMGetInsertBlock(e->builder));
    LLVMSetMetadata(store, kind, LLVMMDNodeInContext(e->context, &one, 1));
}

/* Do vectors of an access begin at multiples of their length? Of blocks, and of plain rows that are
 * whole vectors. */
static bool is_aligned(const Code *c, const TileTensor *t)
{
    const TileLayout *l = &t->layout;
    int64_t row = l->lane >= 0 ? l->lanes : l->shape.size[l->order[l->shape.rank - 1]];
    return l->lane >= 0 ? row == c->lanes : row % c->lanes == 0;
}

void flat_store(Code *c, const FlatPlace *place, const TileStore *s, Value value)
{
    const TileTensor *t = &c->p->tensors.at[s->tensor];
    bool simple = is_aligned(c, t) && code_access(c, t, s->index) == ACCESS_VECTOR;
    Value offset = simple ? flat_offset(c, place, t, s->index) : NULL;
    if (!offset) {
        code_store(c, s, value);
        return;
    }
    /* what padding lanes receive does not matter */
    emit_store(c->e, emit_at(c->e, c->e->tensor[s->tensor], offset),
               emit_splat(c->e, value, c->lanes), 4U * (unsigned)c->lanes);
    if (4 * c->lanes == LINE_BYTES && 4 * tile_layout_elems(&t->layout) >= STREAM_BYTES)
        mark_streaming(c->e);
}

/* Streaming stores are not ordered by the ordinary release of a barrier. */
void flat_store_fence(Emitter *e)
{
    if (4 * e->target.lanes != LINE_BYTES)
        return;
    unsigned id = LLVMLookupIntrinsicID("llvm.x86.sse.sfence", 19);
    Type type = LLVMIntrinsicGetType(e->context, id, NULL, 0);
    LLVMBuildCall2(e->builder, type, LLVMGetIntrinsicDeclaration(e->module, id, NULL, 0), NULL, 0,
                   "");
}

void flat_prefetch(Code *c, const Flat *flat, int load, Value at, int64_t n)
{
    const TileInst *in = &c->p->insts.at[load];
    const TileTensor *t = &c->p->tensors.at[in->tensor];
    FlatPlace place = {.flat = flat, .at = at};
    int64_t step = flat_stride(flat, t, in->index);
    if (step < c->lanes || code_access(c, t, in->index) != ACCESS_VECTOR)
        return;
    Value offset = flat_offset(c, &place, t, in->index);
    for (int64_t i = 0; offset && i < n; i++)
        emit_prefetch(c->e, emit_element(c->e, c->e->tensor[in->tensor],
                                         emit_add_n(c->e, offset, i * step), t->layout.type));
}

void outer_init(Outer *o, const TileProgram *p, const Flat *axes)
{
    o->flat = *axes;
    o->ranged = axes->n > 0 && p->batch_axis >= 0 && axes->axis[0] == p->batch_axis;
    o->others = 1;
    for (int i = o->ranged ? 1 : 0; i < axes->n; i++)
        o->others *= axes->size[i];
}

Value outer_count(Emitter *e, const Outer *o)
{
    if (!o->ranged)
        return emit_i64(e, o->others);
    return emit_mul_n(e, emit_sub(e, e->b1, e->b0), o->others);
}

void outer_enter(Code *c, const Outer *o, int n, Value index)
{
    Value digit[TILE_MAX_AXES];
    if (!n)
        return;
    emit_digits(c->e, index, n, o->flat.size, digit);
    if (o->ranged)
        digit[0] = emit_add(c->e, digit[0], c->e->b0);
    for (int i = 0; i < n; i++)
        code_enter(c, o->flat.axis[i], digit[i]);
}

void outer_leave(Code *c, const Outer *o, int n)
{
    for (int i = n - 1; i >= 0; i--)
        code_leave(c, o->flat.axis[i]);
}

void outer_tasks(const Outer *o, int64_t each, KernelSchedule *s, int phase)
{
    int64_t per = o->others * each;
    s->tasks[phase] = o->ranged ? per * o->flat.size[0] : per;
    s->tasks_per_sample[phase] = o->ranged ? per : 0;
}

uint32_t space_axes_of_index(const TileIndex *index, int rank)
{
    uint32_t bits = 0;
    for (int d = 0; d < rank; d++)
        for (int k = 0; k < index[d].n_terms; k++)
            bits |= 1U << index[d].axis[k];
    return bits;
}

bool space_needs(const TileProgram *p, uint32_t *needs)
{
    if (p->insts.len > SPACE_MAX_INSTS)
        return false;
    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        needs[i] = 0;
        if (in->kind == INST_LOAD) {
            needs[i] = space_axes_of_index(in->index, p->tensors.at[in->tensor].layout.shape.rank);
            for (int d = 0; d < MAX_RANK; d++)
                needs[i] |= in->index[d].computed ? needs[in->index[d].computed - 1] : 0;
        } else if (in->kind == INST_ACC)
            needs[i] = 1U << CODE_NEEDS_ACC;
        else if (in->kind == INST_PRIM)
            for (int k = 0; k < prim_arity(in->prim); k++)
                needs[i] |= needs[in->arg[k]];
    }
    return true;
}

void space_used(const TileProgram *p, int inst, bool used[SPACE_MAX_INSTS])
{
    memset(used, 0, SPACE_MAX_INSTS * sizeof *used);
    used[inst] = true;
    for (int i = inst; i >= 0; i--) {
        const TileInst *in = &p->insts.at[i];
        for (int k = 0; used[i] && in->kind == INST_PRIM && k < prim_arity(in->prim); k++)
            used[in->arg[k]] = true;
        for (int d = 0; used[i] && in->kind == INST_LOAD && d < MAX_RANK; d++)
            if (in->index[d].computed)
                used[in->index[d].computed - 1] = true;
    }
}

uint32_t space_kind(const TileProgram *p, TileAxisKind kind)
{
    uint32_t bits = 0;
    for (uint32_t a = 0; a < p->axes.len; a++)
        if (p->axes.at[a].kind == kind)
            bits |= 1U << a;
    return bits;
}

bool space_stores_cover(const TileProgram *p, uint32_t axes)
{
    for (uint32_t i = 0; i < p->stores.len; i++) {
        const TileStore *s = &p->stores.at[i];
        uint32_t has = space_axes_of_index(s->index, p->tensors.at[s->tensor].layout.shape.rank);
        for (uint32_t a = 0; a < p->axes.len; a++)
            if ((axes >> a & 1) && !(has >> a & 1) && p->axes.at[a].size > 1)
                return false;
    }
    return true;
}

int space_store_order(const TileProgram *p, int axis)
{
    const TileStore *s = &p->stores.at[0];
    const TileLayout *l = &p->tensors.at[s->tensor].layout;
    for (int i = 0; i < l->shape.rank; i++) {
        const TileIndex *x = &s->index[l->order[i]];
        for (int k = 0; k < x->n_terms; k++)
            if (x->axis[k] == axis)
                return i;
    }
    return -1;
}

int space_lane_axis(const TileProgram *p, uint32_t axes)
{
    if (!p->stores.len)
        return -1;
    const TileStore *s = &p->stores.at[0];
    const TileLayout *l = &p->tensors.at[s->tensor].layout;
    if (l->lane >= 0 && s->index[l->lane].n_terms == 1 && (axes >> s->index[l->lane].axis[0] & 1))
        return s->index[l->lane].axis[0];
    int best = -1, place = -1;
    for (uint32_t a = 0; a < p->axes.len; a++) {
        int at = axes >> a & 1 ? space_store_order(p, (int)a) : -1;
        if (at > place) {
            place = at;
            best = (int)a;
        }
    }
    return best;
}

CodeAccess space_worst_access(const TileProgram *p, int axis, int lanes)
{
    unsigned needs[SPACE_MAX_INSTS];
    Code c = {.p = p, .lane_axis = axis, .lanes = lanes, .needs = needs};
    bool used[SPACE_MAX_INSTS], also[SPACE_MAX_INSTS];
    CodeAccess worst = ACCESS_UNIFORM;

    code_find_needs(p, needs);
    space_used(p, p->lhs, used);
    space_used(p, p->rhs, also);
    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        bool reads = ((int)i <= p->lhs && used[i]) || ((int)i <= p->rhs && also[i]);
        if (!reads || in->kind != INST_LOAD)
            continue;
        CodeAccess a = code_access(&c, &p->tensors.at[in->tensor], in->index);
        worst = a > worst ? a : worst;
    }
    return worst;
}
