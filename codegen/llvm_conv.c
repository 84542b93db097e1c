/* Convolutions that sum over channels as well: forward, and (transposed) their input gradient, with
 * outputs and inputs one apart.
 *
 *     acc[samples, n, out] = sum over k and taps of x[samples, k, in(out, tap)] * w[n, k, tap]
 *
 * Phase 0, a task per block of n, packs w as [n / V][k / V][tap][V of k][V of n].
 * Phase 1, a task per sample and tile of positions: the tile's inputs are evaluated into scratch
 * for all blocks of k (llvm_region.h), so that every tap is a read at a constant distance; then for
 * every panel of two blocks of n and every row along the last dimension, tiles of 2 V x TILE
 * accumulators in registers run over all k and taps, and the epilogue runs over the row's results.
 * Tiles may run beyond the end of a row; what they find and leave there is not used. Phase 2
 * combines the moments of reductions (llvm_moments.h). */
#include "codegen/llvm_moments.h"
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_stencil_axes.h"
#include <assert.h>

enum {
    PANEL = 2,            /* blocks of n in registers */
    MAX_TILE = 8,         /* outputs in registers */
    MAX_INPUTS = 2 << 20, /* bytes of inputs in scratch */
};

typedef struct Dense {
    const TileProgram *p;
    int lanes, n, k; /* axes */
    int64_t size_n, size_k, blocks_n, blocks_k, tile;
    Outer outer;
    Region region;
    Moments moments;
    int64_t base, step[REGION_MAX_DIMS]; /* of taps in the region, floats, by stencil */
    int64_t row;                         /* floats of a row of results */
} Dense;

static bool is_single(uint32_t axes)
{
    return axes && !(axes & (axes - 1));
}

static bool find_channels(Dense *d, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS];
    StencilAxes axes = stencil_axes(p);
    if (p->anchor != TILE_STENCIL || !p->stores.len || !space_needs(p, needs) || !axes.distinct)
        return false;
    for (uint32_t i = 0; i < p->stencils.len; i++)
        if (p->stencils.at[i].stride != 1)
            return false;
    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind == TILE_PAIR_SUM)
            return false;
    uint32_t of_x = needs[p->lhs], of_w = needs[p->rhs];
    uint32_t k = space_kind(p, TILE_REDUCE) & ~axes.tap, n = of_w & ~axes.tap & ~k;
    if (!is_single(k) || !is_single(n) || (of_x & (n | axes.out | axes.tap)) || !(of_x & k) ||
        !(of_w & k) || (moments_kept_axes(p) & axes.out))
        return false;
    d->k = __builtin_ctz(k);
    d->n = __builtin_ctz(n);
    return !((n | k) & (axes.out | axes.in)) && d->n != p->batch_axis && d->k != p->batch_axis &&
           p->axes.at[d->n].kind == TILE_PARALLEL &&
           (p->batch_axis < 0 || !((axes.out | axes.tap) >> p->batch_axis & 1)) &&
           space_stores_cover(p, space_kind(p, TILE_PARALLEL));
}

static bool dense_plan(Dense *d, const TileProgram *p, const Target *target)
{
    *d = (Dense){.p = p, .lanes = target->lanes};
    if (!find_channels(d, p))
        return false;
    d->size_n = p->axes.at[d->n].size;
    d->size_k = p->axes.at[d->k].size;
    d->blocks_n = div_up(d->size_n, d->lanes);
    d->blocks_k = div_up(d->size_k, d->lanes);
    if (!stencil_split(p, d->n, d->lanes, d->blocks_k, &d->outer, &d->region) ||
        !region_linear(&d->region, &d->base, d->step))
        return false;
    d->tile = d->lanes == 16 ? MAX_TILE : 6; /* 32 registers, or 16 */
    d->row = round_up(d->region.dim[d->region.n - 1].tile, d->tile) * d->lanes;
    if (d->region.floats * d->blocks_k * 4 > MAX_INPUTS ||
        !moments_init(&d->moments, p, &d->outer, d->n, d->lanes, d->region.parts))
        return false;
    int64_t packed = d->blocks_n * d->blocks_k * d->region.taps * d->lanes * d->lanes;
    d->moments.offset = (size_t)round_up(packed * 4, 64);
    return true;
}

bool dense_accepts(const TileProgram *p, const Target *target)
{
    Dense d;
    return dense_plan(&d, p, target);
}

/* Tiles read beyond the last row of the last block. */
static int64_t input_floats(const Dense *d)
{
    return round_up(d->blocks_k * d->region.floats + d->tile * d->lanes, 16);
}

KernelSchedule dense_schedule(const TileProgram *p, const Target *target)
{
    Dense d;
    bool legal = dense_plan(&d, p, target);
    assert(legal);
    (void)legal;
    KernelSchedule s = {.n_phases = p->reductions.len ? 3 : 2};
    s.tasks[0] = d.blocks_n;
    outer_tasks(&d.outer, d.region.parts, &s, 1);
    if (p->reductions.len)
        s.tasks[2] = d.blocks_n;
    s.workspace_bytes = d.moments.offset + (p->reductions.len ? moments_bytes(&d.moments) : 0);
    s.scratch_bytes = (size_t)(input_floats(&d) + PANEL * d.row) * 4;
    return s;
}

/* ---- packing ---- */

static Value packed_at(Emitter *e, const Dense *d, Value block_n, Value block_k, Value tap, Value k)
{
    Value at = emit_add(e, emit_mul_n(e, block_n, d->blocks_k), block_k);
    at = emit_add(e, emit_mul_n(e, at, d->region.taps), tap);
    at = emit_add(e, emit_mul_n(e, at, d->lanes), k);
    return emit_at(e, e->workspace, emit_mul_n(e, at, d->lanes));
}

/* Element by element, taps inside: they are neighbours in published weights. */
static void emit_packing(Emitter *e, const Dense *d)
{
    const TileProgram *p = d->p;
    Code *code = code_new(e, -1, 1);
    Value zero = emit_i64(e, 0);
    TapLoop tap;
    EmitLoop lane, k;

    emit_loop_begin(e, &lane, zero, emit_i64(e, d->lanes), 1, 0, NULL);
    Value at = emit_add(e, emit_mul_n(e, e->task, d->lanes), lane.index);
    code_enter(code, d->n, emit_min(e, at, emit_i64(e, d->size_n - 1)));
    emit_loop_begin(e, &k, zero, emit_i64(e, d->size_k), 1, 0, NULL);
    code_enter(code, d->k, k.index);
    taps_begin(&tap, e, code, p, d->region.taps);
    Value to = packed_at(e, d, e->task, emit_div_n(e, k.index, d->lanes), tap.index,
                         emit_mod_n(e, k.index, d->lanes));
    emit_store(e, emit_at(e, to, lane.index), code_value(code, p->rhs), 4);
    taps_end(&tap, e);
    code_leave(code, d->k);
    emit_loop_end(e, &k, NULL);
    code_leave(code, d->n);
    emit_loop_end(e, &lane, NULL);
}

/* ---- the main phase ---- */

typedef struct DenseCx {
    Emitter *e;
    const Dense *d;
    RegionAt at;
    Value sample, inputs, row; /* scratch: [k / V] regions, [PANEL][output of a row][V] */
    /* of the panel */
    int panel;
    Value block; /* the first */
    Code *epilogue[PANEL];
    FlatPlace place[PANEL];
    Value slot[PANEL]; /* of the moments */
    Value is_first;    /* i1: the first row of the tile */
} DenseCx;

/* acc += w x over `steps` of k; `w` and `x` stand at the first, and at a tap. */
static void emit_steps(DenseCx *cx, Value w, Value x, int64_t steps, Value *acc)
{
    Emitter *e = cx->e;
    const Dense *d = cx->d;
    int64_t block = d->blocks_k * d->region.taps * d->lanes * d->lanes;
    for (int64_t s = 0; s < steps; s++) {
        Value column[PANEL];
        for (int b = 0; b < cx->panel; b++)
            column[b] = emit_load(e, emit_at(e, w, emit_i64(e, b * block + s * d->lanes)), d->lanes,
                                  4U * (unsigned)d->lanes);
        for (int64_t i = 0; i < d->tile; i++) {
            Value one = emit_load(e, emit_at(e, x, emit_i64(e, i * d->lanes + s)), 1, 4);
            one = emit_splat(e, one, d->lanes);
            for (int b = 0; b < cx->panel; b++)
                acc[b * d->tile + i] = emit_fma(e, column[b], one, acc[b * d->tile + i]);
        }
    }
}

/* The taps of the i-th stencil and those after it. `w` in units of taps of a block. */
static void emit_taps(DenseCx *cx, uint32_t i, Value w, Value x, int64_t taps, int64_t steps,
                      Value *acc)
{
    Emitter *e = cx->e;
    const Dense *d = cx->d;
    int n = cx->panel * (int)d->tile;
    EmitLoop tap;
    if (i == d->p->stencils.len) {
        emit_steps(cx, w, x, steps, acc);
        return;
    }
    int64_t size = d->p->axes.at[d->p->stencils.at[i].tap].size;
    taps /= size;
    emit_loop_begin(e, &tap, emit_i64(e, 0), emit_i64(e, size), 1, n, acc);
    for (int j = 0; j < n; j++)
        acc[j] = tap.carried[j];
    emit_taps(cx, i + 1, emit_at(e, w, emit_mul_n(e, tap.index, taps * d->lanes * d->lanes)),
              emit_at(e, x, emit_mul_n(e, tap.index, d->step[i])), taps, steps, acc);
    emit_loop_end(e, &tap, acc);
    for (int j = 0; j < n; j++)
        acc[j] = tap.result[j];
}

/* One tile in registers over all of k and the taps; `x` is the region at its first output. */
static void emit_tile(DenseCx *cx, Value x, Value to)
{
    Emitter *e = cx->e;
    const Dense *d = cx->d;
    int n = cx->panel * (int)d->tile;
    int64_t whole = d->size_k / d->lanes, rest = d->size_k % d->lanes, taps = d->region.taps;
    Value acc[PANEL * MAX_TILE], zero = emit_i64(e, 0);
    EmitLoop k;

    for (int i = 0; i < n; i++)
        acc[i] = emit_zero(e, emit_vector_type(e, e->f32, d->lanes));
    if (whole) {
        emit_loop_begin(e, &k, zero, emit_i64(e, whole), 1, n, acc);
        for (int i = 0; i < n; i++)
            acc[i] = k.carried[i];
        emit_taps(cx, 0, packed_at(e, d, cx->block, k.index, zero, zero),
                  emit_at(e, x, emit_mul_n(e, k.index, d->region.floats)), taps, d->lanes, acc);
        emit_loop_end(e, &k, acc);
        for (int i = 0; i < n; i++)
            acc[i] = k.result[i];
    }
    if (rest)
        emit_taps(cx, 0, packed_at(e, d, cx->block, emit_i64(e, whole), zero, zero),
                  emit_at(e, x, emit_i64(e, whole * d->region.floats)), taps, rest, acc);
    for (int b = 0; b < cx->panel; b++)
        for (int64_t i = 0; i < d->tile; i++)
            emit_store(e, emit_at(e, to, emit_i64(e, b * d->row + i * d->lanes)),
                       acc[b * d->tile + i], 4U * (unsigned)d->lanes);
}

static void enter_result(DenseCx *cx, int b, Value i)
{
    Emitter *e = cx->e;
    int lanes = cx->d->lanes, last = cx->d->region.n - 1;
    Value at = emit_add_n(e, emit_mul_n(e, i, lanes), b * cx->d->row);
    flat_enter(cx->epilogue[b], &cx->place[b], emit_add(e, cx->at.first[last], i));
    code_new_acc(cx->epilogue[b],
                 emit_load(e, emit_at(e, cx->row, at), lanes, 4U * (unsigned)lanes));
}

static void leave_result(DenseCx *cx, int b)
{
    flat_leave(cx->epilogue[b], &cx->place[b]);
    code_new_acc(cx->epilogue[b], NULL);
}

/* Of a row of one block; the Code has entered all but the last dimension. */
static void emit_epilogue(DenseCx *cx, int b)
{
    Emitter *e = cx->e;
    const Dense *d = cx->d;
    const Moments *m = &d->moments;
    Code *code = cx->epilogue[b];
    Value carried[2 * MOMENTS_MAX], next[2 * MOMENTS_MAX];
    EmitIf start;
    EmitLoop l;

    stencil_hoist(code, d->p);
    if (m->n) {
        emit_if_begin(e, &start, cx->is_first);
        enter_result(cx, b, emit_i64(e, 0));
        moments_first(code, m, cx->slot[b], region_outputs(e, &cx->d->region, &cx->at));
        leave_result(cx, b);
        emit_if_end(e, &start);
    }
    int n = moments_begin(e, m, carried);
    emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[d->region.n - 1], 1, n, carried);
    enter_result(cx, b, l.index);
    for (uint32_t i = 0; i < d->p->stores.len; i++)
        flat_store(code, &cx->place[b], &d->p->stores.at[i],
                   code_value(code, d->p->stores.at[i].inst));
    moments_step(code, m, cx->slot[b], l.carried, next);
    leave_result(cx, b);
    emit_loop_end(e, &l, next);
    moments_end(e, m, cx->slot[b], l.result);
}

/* Dimension i and those inside it; `base` is the region at their first outputs. */
static void emit_dim(DenseCx *cx, int i, Value base)
{
    Emitter *e = cx->e;
    const Region *r = &cx->d->region;
    const RegionDim *dim = &r->dim[i];
    Value was_first = cx->is_first;
    EmitLoop l;

    if (i == r->n - 1) {
        emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[i], cx->d->tile, 0, NULL);
        emit_tile(cx, emit_at(e, base, emit_mul_n(e, l.index, region_in_step(dim))),
                  emit_at(e, cx->row, emit_mul_n(e, l.index, cx->d->lanes)));
        emit_loop_end(e, &l, NULL);
        for (int b = 0; b < cx->panel; b++)
            emit_epilogue(cx, b);
        return;
    }
    emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[i], 1, 0, NULL);
    Value zero = LLVMBuildICmp(e->builder, LLVMIntEQ, l.index, emit_i64(e, 0), "");
    cx->is_first = LLVMBuildAnd(e->builder, was_first, zero, "");
    for (int b = 0; b < cx->panel; b++)
        code_enter(cx->epilogue[b], dim->out.axis[0], emit_add(e, cx->at.first[i], l.index));
    emit_dim(cx, i + 1, emit_at(e, base, emit_mul_n(e, l.index, region_in_step(dim))));
    for (int b = cx->panel - 1; b >= 0; b--)
        code_leave(cx->epilogue[b], dim->out.axis[0]);
    emit_loop_end(e, &l, NULL);
    cx->is_first = was_first;
}

static void emit_panel(DenseCx *cx, int panel, Value block, Value part)
{
    Emitter *e = cx->e;
    const Dense *d = cx->d;
    const Region *r = &d->region;
    cx->panel = panel;
    cx->block = block;
    cx->is_first = LLVMConstInt(e->i1, 1, 0);
    for (int b = 0; b < panel; b++) {
        Value here = emit_add_n(e, block, b);
        cx->place[b] = region_row(r, false);
        cx->epilogue[b] = stencil_code(e, d->p, &d->outer, d->n, d->lanes, cx->sample, here);
        cx->slot[b] = moments_slot(e, &d->moments,
                                   emit_add(e, emit_mul_n(e, cx->sample, r->parts), part), here);
        flat_hook(cx->epilogue[b], &cx->place[b]);
    }
    emit_dim(cx, 0, emit_at(e, cx->inputs, emit_i64(e, d->base)));
}

static void emit_main(Emitter *e, const Dense *d)
{
    const Region *r = &d->region;
    DenseCx cx = {.e = e, .d = d};
    Value part = emit_mod_n(e, e->task, r->parts);
    int64_t whole = d->blocks_n / PANEL * PANEL;
    EmitLoop block;

    cx.sample = emit_div_n(e, e->task, r->parts);
    cx.inputs = e->scratch;
    cx.row = emit_at(e, e->scratch, emit_i64(e, input_floats(d)));
    region_place(e, r, part, &cx.at);
    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, d->blocks_k), 1, 0, NULL);
    region_fill(stencil_code(e, d->p, &d->outer, d->k, d->lanes, cx.sample, block.index), r, &cx.at,
                d->p->lhs, emit_at(e, cx.inputs, emit_mul_n(e, block.index, r->floats)));
    emit_loop_end(e, &block, NULL);
    if (whole) {
        emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, whole), PANEL, 0, NULL);
        emit_panel(&cx, PANEL, block.index, part);
        emit_loop_end(e, &block, NULL);
    }
    if (whole < d->blocks_n)
        emit_panel(&cx, 1, emit_i64(e, whole), part);
}

void dense_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Dense d;
    bool legal = dense_plan(&d, p, &e->target);
    assert(legal);
    (void)legal;
    emit_function_begin(e, p, symbol[0]);
    emit_packing(e, &d);
    emit_function_end(e);
    emit_function_begin(e, p, symbol[1]);
    emit_main(e, &d);
    flat_store_fence(e);
    emit_function_end(e);
    if (!p->reductions.len)
        return;
    emit_function_begin(e, p, symbol[2]);
    moments_combine(e, &d.moments);
    emit_function_end(e);
}
