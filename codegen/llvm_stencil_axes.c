#include "codegen/llvm_stencil_axes.h"
#include "codegen/llvm_moments.h"

/* ---- axes ---- */

StencilAxes stencil_axes(const TileProgram *p)
{
    StencilAxes a = {0};
    for (uint32_t i = 0; i < p->stencils.len; i++) {
        const TileStencil *s = &p->stencils.at[i];
        a.out |= 1U << s->out;
        a.tap |= 1U << s->tap;
        a.in |= 1U << s->in;
    }
    uint32_t n = p->stencils.len;
    a.distinct = (uint32_t)__builtin_popcount(a.out) == n &&
                 (uint32_t)__builtin_popcount(a.tap) == n &&
                 (uint32_t)__builtin_popcount(a.in) == n;
    return a;
}

bool stencil_split(const TileProgram *p, int channel, int lanes, int64_t blocks, Outer *outer,
                   Region *region)
{
    uint32_t kept = moments_kept_axes(p), out = stencil_axes(p).out;
    int at_c = space_store_order(p, channel), n_axes = (int)p->axes.len;
    Flat tasks = {.elems = 1}, rest = {.elems = 1};

    if (p->batch_axis >= 0)
        flat_add(&tasks, p, p->batch_axis);
    for (int pass = 0; pass < 2; pass++)
        for (int a = 0; a < n_axes; a++) {
            bool is_kept = kept >> a & 1, before = space_store_order(p, a) < at_c;
            if (p->axes.at[a].kind == TILE_PARALLEL && a != channel && a != p->batch_axis &&
                !(out >> a & 1) && (pass == 0 ? is_kept : !is_kept && before))
                flat_add(&tasks, p, a);
        }
    for (int rank = -1; rank < MAX_RANK; rank++)
        for (int a = 0; a < n_axes; a++)
            if (p->axes.at[a].kind == TILE_PARALLEL && a != channel && !flat_has(&tasks, a) &&
                space_store_order(p, a) == rank)
                flat_add(&rest, p, a);
    outer_init(outer, p, &tasks);
    return region_init(region, p, &rest, lanes, blocks);
}

/* The load of dy's code that varies with most axes; -1 when there is none. */
static int widest_load(const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS];
    bool used[SPACE_MAX_INSTS];
    int best = -1;
    space_needs(p, needs);
    space_used(p, p->rhs, used);
    for (int i = 0; i <= p->rhs; i++)
        if (used[i] && p->insts.at[i].kind == INST_LOAD &&
            (best < 0 || __builtin_popcount(needs[i]) > __builtin_popcount(needs[best])))
            best = i;
    return best;
}

/* Position of an axis in the storage that dy is read from; -1 when absent. */
static int order_in_dy(const TileProgram *p, int axis)
{
    int load = widest_load(p);
    if (load < 0)
        return -1;
    const TileInst *in = &p->insts.at[load];
    const TileLayout *l = &p->tensors.at[in->tensor].layout;
    for (int i = 0; i < l->shape.rank; i++)
        for (int k = 0; k < in->index[l->order[i]].n_terms; k++)
            if (in->index[l->order[i]].axis[k] == axis)
                return i;
    return -1;
}

bool stencil_dw_split(const TileProgram *p, int channel, int lanes, int64_t blocks, Outer *outer,
                      Region *region)
{
    uint32_t out = stencil_axes(p).out;
    int at_c = order_in_dy(p, channel), n_axes = (int)p->axes.len;
    Flat tasks = {.elems = 1}, rest = {.elems = 1};

    if (p->batch_axis >= 0)
        flat_add(&tasks, p, p->batch_axis);
    for (int rank = -1; rank < MAX_RANK; rank++)
        for (int a = 0; a < n_axes; a++)
            if (p->axes.at[a].kind == TILE_REDUCE && a != p->batch_axis &&
                order_in_dy(p, a) == rank)
                flat_add(rank < at_c && !(out >> a & 1) ? &tasks : &rest, p, a);
    outer_init(outer, p, &tasks);
    return region_init(region, p, &rest, lanes, blocks);
}

/* ---- code ---- */

Code *stencil_code(Emitter *e, const TileProgram *p, const Outer *outer, int axis, int lanes,
                   Value sample, Value block)
{
    Code *code = code_new(e, axis, lanes);
    Value c = emit_mul_n(e, block, lanes);
    int64_t size = p->axes.at[axis].size;
    if (size % lanes)
        code->mask = emit_lane_mask(e, c, size, lanes);
    outer_enter(code, outer, outer->flat.n, sample);
    code_enter(code, axis, c);
    return code;
}

void taps_begin(TapLoop *l, Emitter *e, Code *code, const TileProgram *p, int64_t taps)
{
    int n = (int)p->stencils.len;
    Value digit[TILE_MAX_AXES];
    int64_t sizes[TILE_MAX_AXES];

    l->code = code;
    l->p = p;
    for (int i = 0; i < n; i++)
        sizes[i] = p->axes.at[p->stencils.at[i].tap].size;
    emit_loop_begin(e, &l->loop, emit_i64(e, 0), emit_i64(e, taps), 1, 0, NULL);
    l->index = l->loop.index;
    emit_digits(e, l->index, n, sizes, digit);
    for (int i = 0; i < n; i++)
        code_enter(code, p->stencils.at[i].tap, digit[i]);
}

void taps_end(TapLoop *l, Emitter *e)
{
    for (int i = (int)l->p->stencils.len - 1; i >= 0; i--)
        code_leave(l->code, l->p->stencils.at[i].tap);
    emit_loop_end(e, &l->loop, NULL);
}

void stencil_dw_row(Code *dy, FlatPlace *place, const Region *r, const RegionAt *at, Value row)
{
    Emitter *e = dy->e;
    int last = r->n - 1, inst = r->p->rhs;
    EmitLoop l;

    code_hoist(dy, inst);
    emit_loop_begin(e, &l, emit_i64(e, 0), at->count[last], 1, 0, NULL);
    flat_enter(dy, place, emit_add(e, at->first[last], l.index));
    emit_store(e, emit_at(e, row, emit_mul_n(e, l.index, r->lanes)),
               emit_splat(e, code_value(dy, inst), r->lanes), 4U * (unsigned)r->lanes);
    flat_leave(dy, place);
    emit_loop_end(e, &l, NULL);
}

void stencil_hoist(Code *code, const TileProgram *p)
{
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_hoist(code, p->stores.at[i].inst);
    for (uint32_t i = 0; i < p->reductions.len; i++)
        code_hoist(code, p->reductions.at[i].inst);
}
