/* Depthwise convolutions over any axes: forward, and (transposed) their input gradient.
 *
 *     acc[samples, c, out] = sum over taps of x[samples, c, in(out, tap)] * w[c, tap]
 *
 * Phase 0, a task per sample, block of channels and tile of positions: the tap weights become
 * vectors of channels; the tile's inputs are evaluated into scratch (llvm_region.h); each row of
 * outputs along the last dimension is summed up, four outputs at a time so that neighbours share
 * their loads, and stands in scratch while the epilogue runs over it.
 * Phase 1 combines the moments of reductions (llvm_moments.h).
 *
 * Small channel counts run on mostly empty vectors; everything else is bound by memory. */
#include "codegen/llvm_moments.h"
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_stencil_axes.h"
#include <assert.h>

enum { OUTPUTS = 4 /* in registers */ };

typedef struct Stencil {
    const TileProgram *p;
    int lanes, channel;
    int64_t blocks;
    Outer outer;
    Region region;
    Moments moments;
} Stencil;

static bool find_channel(Stencil *s, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS];
    StencilAxes axes = stencil_axes(p);
    if (p->anchor != TILE_STENCIL || !p->stores.len || !space_needs(p, needs) || !axes.distinct)
        return false;
    uint32_t of_w = needs[p->rhs], channels = of_w & ~axes.tap;
    if (space_kind(p, TILE_REDUCE) != axes.tap || (needs[p->lhs] & (axes.out | axes.tap)) ||
        !channels || (channels & (channels - 1)) || (moments_kept_axes(p) & axes.out))
        return false;
    s->channel = __builtin_ctz(channels);
    return !(channels & (axes.out | axes.in)) && s->channel != p->batch_axis &&
           (p->batch_axis < 0 || !((axes.out | axes.tap) >> p->batch_axis & 1)) &&
           space_stores_cover(p, space_kind(p, TILE_PARALLEL));
}

static bool stencil_plan(Stencil *s, const TileProgram *p, const Target *target)
{
    *s = (Stencil){.p = p, .lanes = target->lanes};
    if (!find_channel(s, p) || !stencil_split(p, s->channel, s->lanes, 1, &s->outer, &s->region))
        return false;
    s->blocks = div_up(p->axes.at[s->channel].size, s->lanes);
    return moments_init(&s->moments, p, &s->outer, s->channel, s->lanes, s->region.parts);
}

bool stencil_accepts(const TileProgram *p, const Target *target)
{
    Stencil s;
    return stencil_plan(&s, p, target);
}

KernelSchedule stencil_schedule(const TileProgram *p, const Target *target)
{
    Stencil s;
    bool legal = stencil_plan(&s, p, target);
    assert(legal);
    (void)legal;
    const Region *r = &s.region;
    KernelSchedule schedule = {.n_phases = p->reductions.len ? 2 : 1};
    outer_tasks(&s.outer, s.blocks * r->parts, &schedule, 0);
    if (p->reductions.len) {
        schedule.tasks[1] = s.blocks;
        schedule.workspace_bytes = moments_bytes(&s.moments);
    }
    schedule.scratch_bytes = (size_t)(r->floats + (r->taps + r->dim[r->n - 1].tile) * s.lanes) * 4;
    return schedule;
}

/* ---- the main phase ---- */

typedef struct StencilCx {
    Emitter *e;
    const Stencil *s;
    Code *epilogue;
    FlatPlace place; /* of the epilogue */
    RegionAt at;
    Value inputs, taps, row; /* scratch: region, [tap][V], [output of a row][V] */
    Value slot;              /* of the moments */
    Value is_first;          /* i1: the first row of the tile; NULL: surely not */
    int64_t phase[REGION_MAX_DIMS];
} StencilCx;

/* Weights as vectors of channels, one per tap. The Code stands at the channel block. */
static void emit_taps(StencilCx *cx, Code *code)
{
    Emitter *e = cx->e;
    const TileProgram *p = cx->s->p;
    TapLoop tap;

    taps_begin(&tap, e, code, p, cx->s->region.taps);
    emit_store(e, emit_at(e, cx->taps, emit_mul_n(e, tap.index, cx->s->lanes)),
               emit_splat(e, code_value(code, p->rhs), cx->s->lanes), 4U * (unsigned)cx->s->lanes);
    taps_end(&tap, e);
}

static Value tap_vector(StencilCx *cx, const RegionTap *tap)
{
    Emitter *e = cx->e;
    int lanes = cx->s->lanes;
    return emit_load(e, emit_at(e, cx->taps, emit_i64(e, tap->index * lanes)), lanes,
                     4U * (unsigned)lanes);
}

/* Sums of `n` outputs from the j-th of the phase, to the row. */
static void emit_outputs(StencilCx *cx, Value base, Value j, int n, const RegionTap *taps,
                         Value *weights, int n_taps)
{
    Emitter *e = cx->e;
    const RegionDim *last = &cx->s->region.dim[cx->s->region.n - 1];
    int lanes = cx->s->lanes;
    unsigned align = 4U * (unsigned)lanes;
    int64_t step = region_in_step(last), phase = cx->phase[cx->s->region.n - 1];
    Value acc[OUTPUTS], from = emit_at(e, base, emit_mul_n(e, j, step));

    for (int i = 0; i < n; i++)
        acc[i] = emit_zero(e, emit_vector_type(e, e->f32, lanes));
    for (int t = 0; t < n_taps; t++) {
        Value w = weights ? weights[t] : tap_vector(cx, &taps[t]);
        for (int i = 0; i < n; i++) {
            Value address = emit_at(e, from, emit_i64(e, taps[t].offset + i * step));
            acc[i] = emit_fma(e, emit_load(e, address, lanes, align), w, acc[i]);
        }
    }
    int64_t out_step = region_out_step(last) * lanes;
    Value to = emit_at(e, cx->row, emit_add_n(e, emit_mul_n(e, j, out_step), phase * lanes));
    for (int i = 0; i < n; i++)
        emit_store(e, emit_at(e, to, emit_i64(e, i * out_step)), acc[i], align);
}

/* One phase of a row: `base` is the region at the row's first output. */
static void emit_row_phase(StencilCx *cx, Value base)
{
    Emitter *e = cx->e;
    const Region *r = &cx->s->region;
    const RegionDim *last = &r->dim[r->n - 1];
    RegionTap taps[REGION_MAX_TAPS];
    Value held[REGION_MAX_TAPS], zero = emit_i64(e, 0);
    int n_taps = region_taps(r, cx->phase, taps), registers = cx->s->lanes == 16 ? 25 : 9;
    Value *weights = n_taps <= registers ? held : NULL;
    Value count = region_phase_count(e, last, cx->at.count[r->n - 1], cx->phase[r->n - 1]);
    EmitLoop many, single;

    for (int t = 0; weights && t < n_taps; t++)
        held[t] = tap_vector(cx, &taps[t]);
    Value whole = emit_mul_n(e, emit_div_n(e, count, OUTPUTS), OUTPUTS);
    emit_loop_begin(e, &many, zero, whole, OUTPUTS, 0, NULL);
    emit_outputs(cx, base, many.index, OUTPUTS, taps, weights, n_taps);
    emit_loop_end(e, &many, NULL);
    emit_loop_begin(e, &single, whole, count, 1, 0, NULL);
    emit_outputs(cx, base, single.index, 1, taps, weights, n_taps);
    emit_loop_end(e, &single, NULL);
}

static void enter_result(StencilCx *cx, Value i)
{
    Emitter *e = cx->e;
    int lanes = cx->s->lanes, last = cx->s->region.n - 1;
    flat_enter(cx->epilogue, &cx->place, emit_add(e, cx->at.first[last], i));
    code_new_acc(cx->epilogue, emit_load(e, emit_at(e, cx->row, emit_mul_n(e, i, lanes)), lanes,
                                         4U * (unsigned)lanes));
}

static void leave_result(StencilCx *cx)
{
    flat_leave(cx->epilogue, &cx->place);
    code_new_acc(cx->epilogue, NULL);
}

/* The epilogue has entered all but the last dimension. */
static void emit_epilogue(StencilCx *cx)
{
    Emitter *e = cx->e;
    const Stencil *s = cx->s;
    const Moments *m = &s->moments;
    Value carried[2 * MOMENTS_MAX], next[2 * MOMENTS_MAX];
    EmitIf start;
    EmitLoop l;

    stencil_hoist(cx->epilogue, s->p);
    if (m->n && cx->is_first) {
        emit_if_begin(e, &start, cx->is_first);
        enter_result(cx, emit_i64(e, 0));
        moments_first(cx->epilogue, m, cx->slot, region_outputs(e, &cx->s->region, &cx->at));
        leave_result(cx);
        emit_if_end(e, &start);
    }
    int n = moments_begin(e, m, carried);
    emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[s->region.n - 1], 1, n, carried);
    enter_result(cx, l.index);
    for (uint32_t i = 0; i < s->p->stores.len; i++)
        flat_store(cx->epilogue, &cx->place, &s->p->stores.at[i],
                   code_value(cx->epilogue, s->p->stores.at[i].inst));
    moments_step(cx->epilogue, m, cx->slot, l.carried, next);
    leave_result(cx);
    emit_loop_end(e, &l, next);
    moments_end(e, m, cx->slot, l.result);
}

/* Dimension i and those inside it; `base` is the region at their first outputs. */
static void emit_dim(StencilCx *cx, int i, Value base)
{
    Emitter *e = cx->e;
    const Region *r = &cx->s->region;
    const RegionDim *d = &r->dim[i];
    Value was_first = cx->is_first;
    EmitLoop l;

    for (int64_t phase = 0; phase < region_phases(d); phase++) {
        cx->phase[i] = phase;
        if (i == r->n - 1) {
            emit_row_phase(cx, base);
            continue;
        }
        emit_loop_begin(e, &l, emit_i64(e, 0), region_phase_count(e, d, cx->at.count[i], phase), 1,
                        0, NULL);
        Value out = emit_add_n(e, emit_mul_n(e, l.index, region_out_step(d)), phase);
        Value zero = LLVMBuildICmp(e->builder, LLVMIntEQ, l.index, emit_i64(e, 0), "");
        cx->is_first = phase || !was_first ? NULL : LLVMBuildAnd(e->builder, was_first, zero, "");
        code_enter(cx->epilogue, d->out.axis[0], emit_add(e, cx->at.first[i], out));
        emit_dim(cx, i + 1, emit_at(e, base, emit_mul_n(e, l.index, region_in_step(d))));
        code_leave(cx->epilogue, d->out.axis[0]);
        emit_loop_end(e, &l, NULL);
    }
    cx->is_first = was_first;
    if (i == r->n - 1)
        emit_epilogue(cx);
}

static Code *at_block(Emitter *e, const Stencil *s, Value sample, Value block)
{
    return stencil_code(e, s->p, &s->outer, s->channel, s->lanes, sample, block);
}

static void emit_main(Emitter *e, const Stencil *s)
{
    const Region *r = &s->region;
    StencilCx cx = {.e = e, .s = s, .place = region_row(r, false)};
    Value part = emit_mod_n(e, e->task, r->parts), rest = emit_div_n(e, e->task, r->parts);
    Value block = emit_mod_n(e, rest, s->blocks), sample = emit_div_n(e, rest, s->blocks);

    cx.inputs = e->scratch;
    cx.taps = emit_at(e, e->scratch, emit_i64(e, r->floats));
    cx.row = emit_at(e, cx.taps, emit_i64(e, r->taps * s->lanes));
    region_place(e, r, part, &cx.at);
    cx.slot =
        moments_slot(e, &s->moments, emit_add(e, emit_mul_n(e, sample, r->parts), part), block);
    cx.is_first = LLVMConstInt(e->i1, 1, 0);

    emit_taps(&cx, at_block(e, s, sample, block));
    region_fill(at_block(e, s, sample, block), r, &cx.at, s->p->lhs, cx.inputs);
    cx.epilogue = at_block(e, s, sample, block);
    flat_hook(cx.epilogue, &cx.place);
    emit_dim(&cx, 0, cx.inputs);
}

void stencil_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Stencil s;
    bool legal = stencil_plan(&s, p, &e->target);
    assert(legal);
    (void)legal;
    emit_function_begin(e, p, symbol[0]);
    emit_main(e, &s);
    flat_store_fence(e);
    emit_function_end(e);
    if (!p->reductions.len)
        return;
    emit_function_begin(e, p, symbol[1]);
    moments_combine(e, &s.moments);
    emit_function_end(e);
}
