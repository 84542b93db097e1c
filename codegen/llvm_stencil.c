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
#include "codegen/llvm_region.h"
#include "codegen/llvm_schedules.h"
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

/* Bits of the stencils' axes of one role. */
static void stencil_axes(const TileProgram *p, uint32_t *out, uint32_t *tap, uint32_t *in)
{
    *out = *tap = *in = 0;
    for (uint32_t i = 0; i < p->stencils.len; i++) {
        *out |= 1U << p->stencils.at[i].out;
        *tap |= 1U << p->stencils.at[i].tap;
        *in |= 1U << p->stencils.at[i].in;
    }
}

static bool find_channel(Stencil *s, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS], out, tap, in;
    if (p->anchor != TILE_STENCIL || !p->stores.len || !space_needs(p, needs))
        return false;
    stencil_axes(p, &out, &tap, &in);
    uint32_t of_w = needs[p->rhs], channels = of_w & ~tap;
    if (space_kind(p, TILE_REDUCE) != tap || (needs[p->lhs] & (out | tap)) || !channels ||
        (channels & (channels - 1)) || (uint32_t)__builtin_popcount(out) != p->stencils.len ||
        (uint32_t)__builtin_popcount(tap) != p->stencils.len ||
        (uint32_t)__builtin_popcount(in) != p->stencils.len || (moments_kept_axes(p) & out))
        return false;
    s->channel = __builtin_ctz(channels);
    return !(channels & (out | in)) && s->channel != p->batch_axis &&
           (p->batch_axis < 0 || !((out | tap) >> p->batch_axis & 1)) &&
           space_stores_cover(p, space_kind(p, TILE_PARALLEL));
}

static bool split_axes(Stencil *s, const TileProgram *p)
{
    uint32_t kept = moments_kept_axes(p), out, tap, in;
    int at_c = space_store_order(p, s->channel), n_axes = (int)p->axes.len;
    Flat outer = {.elems = 1}, rest = {.elems = 1};

    stencil_axes(p, &out, &tap, &in);
    if (p->batch_axis >= 0)
        flat_add(&outer, p, p->batch_axis);
    for (int pass = 0; pass < 2; pass++)
        for (int a = 0; a < n_axes; a++) {
            bool is_kept = kept >> a & 1, before = space_store_order(p, a) < at_c;
            if (p->axes.at[a].kind == TILE_PARALLEL && a != s->channel && a != p->batch_axis &&
                !(out >> a & 1) && (pass == 0 ? is_kept : !is_kept && before))
                flat_add(&outer, p, a);
        }
    for (int rank = -1; rank < MAX_RANK; rank++)
        for (int a = 0; a < n_axes; a++)
            if (p->axes.at[a].kind == TILE_PARALLEL && a != s->channel && !flat_has(&outer, a) &&
                space_store_order(p, a) == rank)
                flat_add(&rest, p, a);
    outer_init(&s->outer, p, &outer);
    return region_init(&s->region, p, &rest, s->lanes, 1);
}

static bool stencil_plan(Stencil *s, const TileProgram *p, const Target *target)
{
    *s = (Stencil){.p = p, .lanes = target->lanes};
    if (!find_channel(s, p) || !split_axes(s, p))
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
    Value digit[TILE_MAX_AXES];
    int64_t sizes[TILE_MAX_AXES];
    int n = (int)p->stencils.len;
    EmitLoop tap;

    for (int i = 0; i < n; i++)
        sizes[i] = p->axes.at[p->stencils.at[i].tap].size;
    emit_loop_begin(e, &tap, emit_i64(e, 0), emit_i64(e, cx->s->region.taps), 1, 0, NULL);
    emit_digits(e, tap.index, n, sizes, digit);
    for (int i = 0; i < n; i++)
        code_enter(code, p->stencils.at[i].tap, digit[i]);
    emit_store(e, emit_at(e, cx->taps, emit_mul_n(e, tap.index, cx->s->lanes)),
               emit_splat(e, code_value(code, p->rhs), cx->s->lanes), 4U * (unsigned)cx->s->lanes);
    for (int i = n - 1; i >= 0; i--)
        code_leave(code, p->stencils.at[i].tap);
    emit_loop_end(e, &tap, NULL);
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

static void hoist_epilogue(Code *code, const TileProgram *p)
{
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_hoist(code, p->stores.at[i].inst);
    for (uint32_t i = 0; i < p->reductions.len; i++)
        code_hoist(code, p->reductions.at[i].inst);
}

static Value tile_count(StencilCx *cx)
{
    Value n = emit_i64(cx->e, 1);
    for (int i = 0; i < cx->s->region.n; i++)
        n = emit_mul(cx->e, n, cx->at.count[i]);
    return n;
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

    hoist_epilogue(cx->epilogue, s->p);
    if (m->n && cx->is_first) {
        emit_if_begin(e, &start, cx->is_first);
        enter_result(cx, emit_i64(e, 0));
        moments_first(cx->epilogue, m, cx->slot, tile_count(cx));
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

static Code *code_at_block(Emitter *e, const Stencil *s, Value sample, Value block)
{
    Code *code = code_new(e, s->channel, s->lanes);
    Value c = emit_mul_n(e, block, s->lanes);
    int64_t size = s->p->axes.at[s->channel].size;
    if (size % s->lanes)
        code->mask = emit_lane_mask(e, c, size, s->lanes);
    outer_enter(code, &s->outer, s->outer.flat.n, sample);
    code_enter(code, s->channel, c);
    return code;
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

    emit_taps(&cx, code_at_block(e, s, sample, block));
    region_fill(code_at_block(e, s, sample, block), r, &cx.at, s->p->lhs, cx.inputs);
    cx.epilogue = code_at_block(e, s, sample, block);
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
