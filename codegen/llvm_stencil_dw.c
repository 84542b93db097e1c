/* Weight gradient of depthwise convolutions.
 *
 *     acc[c, tap] = sum over samples and outputs of x[samples, c, in(out, tap)] * dy[samples, c,
 * out]
 *
 * Phase 0, a task per sample, block of channels and tile of outputs: the tile's inputs are
 * evaluated into scratch (llvm_region.h); for each row of outputs dy is evaluated into scratch, and
 * groups of taps run over the row in registers, a vector of channels each; row sums are added to
 * the task's sums in the workspace ([sample, tile][block][tap][V]).
 * Phase 1, a task per block of channels, adds up samples and tiles in float64 and applies the
 * epilogue. */
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_stencil_axes.h"
#include <assert.h>

typedef struct StencilDw {
    const TileProgram *p;
    int lanes, channel;
    int64_t blocks;
    Outer outer;
    Region region;
} StencilDw;

static bool find_channel(StencilDw *s, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS], out = 0, tap = 0, in = 0;
    if (p->anchor != TILE_STENCIL_DW || !p->stores.len || p->reductions.len || !p->stencils.len ||
        !space_needs(p, needs))
        return false;
    for (uint32_t i = 0; i < p->stencils.len; i++) {
        const TileStencil *st = &p->stencils.at[i];
        if (st->transposed || ((out | tap | in) >> st->out & 1) ||
            ((out | tap | in) >> st->tap & 1))
            return false;
        out |= 1U << st->out;
        tap |= 1U << st->tap;
        in |= 1U << st->in;
    }
    uint32_t parallel = space_kind(p, TILE_PARALLEL), reduced = space_kind(p, TILE_REDUCE);
    uint32_t channels = parallel & ~tap;
    if ((parallel & tap) != tap || (reduced & out) != out || !channels ||
        (channels & (channels - 1)) || (needs[p->lhs] & (out | tap)) ||
        (needs[p->rhs] & (in | tap)) ||
        (p->batch_axis >= 0 && (!(reduced >> p->batch_axis & 1) || (out >> p->batch_axis & 1))) ||
        (uint32_t)__builtin_popcount(in) != p->stencils.len)
        return false;
    s->channel = __builtin_ctz(channels);
    return space_stores_cover(p, parallel);
}

static bool stencil_dw_plan(StencilDw *s, const TileProgram *p, const Target *target)
{
    *s = (StencilDw){.p = p, .lanes = target->lanes};
    if (!find_channel(s, p) || !stencil_dw_split(p, s->channel, s->lanes, 1, &s->outer, &s->region))
        return false;
    s->blocks = div_up(p->axes.at[s->channel].size, s->lanes);
    return true;
}

bool stencil_dw_accepts(const TileProgram *p, const Target *target)
{
    StencilDw s;
    return stencil_dw_plan(&s, p, target);
}

KernelSchedule stencil_dw_schedule(const TileProgram *p, const Target *target)
{
    StencilDw s;
    bool legal = stencil_dw_plan(&s, p, target);
    assert(legal);
    (void)legal;
    const Region *r = &s.region;
    KernelSchedule schedule = {.n_phases = 2};
    outer_tasks(&s.outer, s.blocks * r->parts, &schedule, 0);
    schedule.tasks[1] = s.blocks;
    schedule.workspace_bytes = (size_t)(schedule.tasks[0] * r->taps * s.lanes) * 4;
    schedule.scratch_bytes = (size_t)(r->floats + r->dim[r->n - 1].tile * s.lanes) * 4;
    return schedule;
}

/* ---- the main phase ---- */

typedef struct DwCx {
    Emitter *e;
    const StencilDw *s;
    Code *dy;
    FlatPlace place; /* of dy */
    RegionAt at;
    Value inputs, row; /* scratch: region, [output of a row][V] */
    Value sums;        /* [tap][V] */
} DwCx;

/* sums[taps] += the row's products. */
static void emit_tap_group(DwCx *cx, Value base, const RegionTap *taps, int n)
{
    Emitter *e = cx->e;
    const StencilDw *s = cx->s;
    const RegionDim *last = &s->region.dim[s->region.n - 1];
    unsigned align = 4U * (unsigned)s->lanes;
    Value acc[32];
    EmitLoop l;

    for (int t = 0; t < n; t++)
        acc[t] = emit_zero(e, emit_vector_type(e, e->f32, s->lanes));
    emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[s->region.n - 1], 1, n, acc);
    Value dy = emit_load(e, emit_at(e, cx->row, emit_mul_n(e, l.index, s->lanes)), s->lanes, align);
    Value from = emit_at(e, base, emit_mul_n(e, l.index, region_in_step(last)));
    for (int t = 0; t < n; t++) {
        Value x = emit_load(e, emit_at(e, from, emit_i64(e, taps[t].offset)), s->lanes, align);
        acc[t] = emit_fma(e, x, dy, l.carried[t]);
    }
    emit_loop_end(e, &l, acc);
    for (int t = 0; t < n; t++) {
        Value address = emit_at(e, cx->sums, emit_i64(e, taps[t].index * s->lanes));
        emit_store(e, address, emit_fadd(e, emit_load(e, address, s->lanes, align), l.result[t]),
                   align);
    }
}

/* Dimension i and those inside it; `base` is the region at their first outputs. */
static void emit_dim(DwCx *cx, int i, Value base)
{
    Emitter *e = cx->e;
    const Region *r = &cx->s->region;
    const RegionDim *d = &r->dim[i];
    RegionTap taps[REGION_MAX_TAPS];
    int64_t phase[REGION_MAX_DIMS] = {0};
    EmitLoop l;

    if (i == r->n - 1) {
        int n = region_taps(r, phase, taps), most = cx->s->lanes == 16 ? 24 : 12;
        stencil_dw_row(cx->dy, &cx->place, r, &cx->at, cx->row);
        int groups = (int)div_up(n, most);
        int each = (int)div_up(n, groups);
        for (int t = 0; t < n; t += each)
            emit_tap_group(cx, base, taps + t, n - t < each ? n - t : each);
        return;
    }
    emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[i], 1, 0, NULL);
    code_enter(cx->dy, d->out.axis[0], emit_add(e, cx->at.first[i], l.index));
    emit_dim(cx, i + 1, emit_at(e, base, emit_mul_n(e, l.index, region_in_step(d))));
    code_leave(cx->dy, d->out.axis[0]);
    emit_loop_end(e, &l, NULL);
}

/* Sums of (sample, tile) and block. */
static Value sums_at(Emitter *e, const StencilDw *s, Value sample_part, Value block)
{
    Value at = emit_add(e, emit_mul_n(e, sample_part, s->blocks), block);
    return emit_at(e, e->workspace, emit_mul_n(e, at, s->region.taps * s->lanes));
}

static void emit_main(Emitter *e, const StencilDw *s)
{
    const Region *r = &s->region;
    DwCx cx = {.e = e, .s = s, .place = region_row(r, false)};
    Value part = emit_mod_n(e, e->task, r->parts), rest = emit_div_n(e, e->task, r->parts);
    Value block = emit_mod_n(e, rest, s->blocks), sample = emit_div_n(e, rest, s->blocks);
    EmitLoop tap;

    cx.inputs = e->scratch;
    cx.row = emit_at(e, e->scratch, emit_i64(e, r->floats));
    cx.sums = sums_at(e, s, emit_add(e, emit_mul_n(e, sample, r->parts), part), block);
    region_place(e, r, part, &cx.at);
    emit_loop_begin(e, &tap, emit_i64(e, 0), emit_i64(e, r->taps), 1, 0, NULL);
    emit_store(e, emit_at(e, cx.sums, emit_mul_n(e, tap.index, s->lanes)),
               emit_zero(e, emit_vector_type(e, e->f32, s->lanes)), 4U * (unsigned)s->lanes);
    emit_loop_end(e, &tap, NULL);
    region_fill(stencil_code(e, s->p, &s->outer, s->channel, s->lanes, sample, block), r, &cx.at,
                s->p->lhs, cx.inputs);
    cx.dy = stencil_code(e, s->p, &s->outer, s->channel, s->lanes, sample, block);
    flat_hook(cx.dy, &cx.place);
    emit_dim(&cx, 0, cx.inputs);
}

/* ---- the last phase ---- */

static void emit_combine(Emitter *e, const StencilDw *s)
{
    const TileProgram *p = s->p;
    Code *code = code_new(e, s->channel, s->lanes);
    Value c = emit_mul_n(e, e->task, s->lanes);
    int64_t size = p->axes.at[s->channel].size;
    TapLoop tap;
    EmitLoop slot;

    if (size % s->lanes)
        code->mask = emit_lane_mask(e, c, size, s->lanes);
    code_enter(code, s->channel, c);
    taps_begin(&tap, e, code, p, s->region.taps);
    Value slots = emit_mul_n(e, outer_count(e, &s->outer), s->region.parts);
    Value zero = emit_zero(e, emit_vector_type(e, e->f64, s->lanes));
    emit_loop_begin(e, &slot, emit_i64(e, 0), slots, 1, 1, &zero);
    Value at = emit_at(e, sums_at(e, s, slot.index, e->task), emit_mul_n(e, tap.index, s->lanes));
    Value part = emit_load(e, at, s->lanes, 4U * (unsigned)s->lanes);
    Value sum = emit_fadd(e, slot.carried[0], emit_to_f64(e, part));
    emit_loop_end(e, &slot, &sum);
    code_new_acc(code, emit_to_f32(e, slot.result[0]));
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_store(code, &p->stores.at[i], code_value(code, p->stores.at[i].inst));
    taps_end(&tap, e);
    code_leave(code, s->channel);
}

void stencil_dw_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    StencilDw s;
    bool legal = stencil_dw_plan(&s, p, &e->target);
    assert(legal);
    (void)legal;
    emit_function_begin(e, p, symbol[0]);
    emit_main(e, &s);
    emit_function_end(e);
    emit_function_begin(e, p, symbol[1]);
    emit_combine(e, &s);
    emit_function_end(e);
}
