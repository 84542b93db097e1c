/* Weight gradient of convolutions that sum over channels, outputs and inputs one apart.
 *
 *     acc[n, k, tap] = sum over samples and outputs of x[samples, k, in(out, tap)] * dy[samples, n,
 * out]
 *
 * Phase 0: the work (sample, tile of outputs) is cut into SLOTS fixed ranges; a task is one of them
 * and a block of n. Of every tile the inputs are evaluated into scratch for all blocks of k
 * (llvm_region.h); for each row of outputs dy is evaluated into scratch, and for every block of k
 * and every tap V accumulators of V lanes of n run over the row in registers and are added to the
 * task's sums in the workspace ([slot][n / V][k / V][tap][V of k][V of n]). Phase 1, a task per
 * block of n, adds the slots in float64 and applies the epilogue.
 *
 * The cut depends on the range of samples only, so results do not depend on the threads. */
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_stencil_axes.h"
#include <assert.h>

enum {
    SLOTS = 8,
    MAX_INPUTS = 2 << 20, /* bytes of inputs in scratch */
};

typedef struct DenseDw {
    const TileProgram *p;
    int lanes, n, k; /* axes */
    int64_t size_n, size_k, blocks_n, blocks_k;
    Outer outer;
    Region region;
    int64_t base, step[REGION_MAX_DIMS]; /* of taps in the region, floats, by stencil */
    int64_t sums;                        /* floats of a block of n in a slot */
} DenseDw;

static bool is_single(uint32_t axes)
{
    return axes && !(axes & (axes - 1));
}

static bool find_channels(DenseDw *d, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS], out = 0, tap = 0, in = 0;
    if (p->anchor != TILE_STENCIL_DW || !p->stores.len || p->reductions.len || !p->stencils.len ||
        !space_needs(p, needs))
        return false;
    for (uint32_t i = 0; i < p->stencils.len; i++) {
        const TileStencil *s = &p->stencils.at[i];
        uint32_t seen = out | tap | in;
        if (s->transposed || s->stride != 1 || (seen >> s->out & 1) || (seen >> s->tap & 1) ||
            (seen >> s->in & 1))
            return false;
        out |= 1U << s->out;
        tap |= 1U << s->tap;
        in |= 1U << s->in;
    }
    uint32_t parallel = space_kind(p, TILE_PARALLEL), reduced = space_kind(p, TILE_REDUCE);
    uint32_t of_x = needs[p->lhs], of_dy = needs[p->rhs], own = parallel & ~tap;
    uint32_t k = own & of_x, n = own & of_dy;
    if ((parallel & tap) != tap || (reduced & out) != out || !is_single(k) || !is_single(n) ||
        k == n || own != (k | n) || (of_x & (out | tap)) || (of_dy & (in | tap)) ||
        (p->batch_axis >= 0 && (!(reduced >> p->batch_axis & 1) || (out >> p->batch_axis & 1))))
        return false;
    d->k = __builtin_ctz(k);
    d->n = __builtin_ctz(n);
    return space_stores_cover(p, parallel);
}

static bool dense_dw_plan(DenseDw *d, const TileProgram *p, const Target *target)
{
    *d = (DenseDw){.p = p, .lanes = target->lanes};
    if (!find_channels(d, p))
        return false;
    d->size_n = p->axes.at[d->n].size;
    d->size_k = p->axes.at[d->k].size;
    d->blocks_n = div_up(d->size_n, d->lanes);
    d->blocks_k = div_up(d->size_k, d->lanes);
    if (!stencil_dw_split(p, d->n, d->lanes, d->blocks_k, &d->outer, &d->region) ||
        !region_linear(&d->region, &d->base, d->step))
        return false;
    d->sums = d->blocks_k * d->region.taps * d->lanes * d->lanes;
    return d->region.floats * d->blocks_k * 4 <= MAX_INPUTS;
}

bool dense_dw_accepts(const TileProgram *p, const Target *target)
{
    DenseDw d;
    return dense_dw_plan(&d, p, target);
}

KernelSchedule dense_dw_schedule(const TileProgram *p, const Target *target)
{
    DenseDw d;
    bool legal = dense_dw_plan(&d, p, target);
    assert(legal);
    (void)legal;
    const Region *r = &d.region;
    KernelSchedule s = {.n_phases = 2, .tasks = {SLOTS * d.blocks_n, d.blocks_n}};
    s.workspace_bytes = (size_t)(SLOTS * d.blocks_n * d.sums) * 4;
    s.scratch_bytes = (size_t)(r->floats * d.blocks_k + r->dim[r->n - 1].tile * d.lanes) * 4;
    return s;
}

/* ---- the main phase ---- */

typedef struct DwCx {
    Emitter *e;
    const DenseDw *d;
    Code *dy;
    FlatPlace place; /* of dy */
    RegionAt at;
    Value inputs, row; /* scratch: [k / V] regions, [output of a row][V] */
    Value sums;        /* of the task */
} DwCx;

/* to[steps of k] += the row's products; `x` is the region at the row's first output and a tap. */
static void emit_row(DwCx *cx, Value x, Value to, int64_t steps)
{
    Emitter *e = cx->e;
    const DenseDw *d = cx->d;
    const RegionDim *last = &d->region.dim[d->region.n - 1];
    unsigned align = 4U * (unsigned)d->lanes;
    Value acc[16];
    EmitLoop l;

    for (int64_t s = 0; s < steps; s++)
        acc[s] = emit_zero(e, emit_vector_type(e, e->f32, d->lanes));
    emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[d->region.n - 1], 1, (int)steps, acc);
    Value dy = emit_load(e, emit_at(e, cx->row, emit_mul_n(e, l.index, d->lanes)), d->lanes, align);
    Value from = emit_at(e, x, emit_mul_n(e, l.index, region_in_step(last)));
    for (int64_t s = 0; s < steps; s++) {
        Value one = emit_load(e, emit_at(e, from, emit_i64(e, s)), 1, 4);
        acc[s] = emit_fma(e, emit_splat(e, one, d->lanes), dy, l.carried[s]);
    }
    emit_loop_end(e, &l, acc);
    for (int64_t s = 0; s < steps; s++) {
        Value at = emit_at(e, to, emit_i64(e, s * d->lanes));
        emit_store(e, at, emit_fadd(e, emit_load(e, at, d->lanes, align), l.result[s]), align);
    }
}

/* The taps of the i-th stencil and those after it. */
static void emit_taps(DwCx *cx, uint32_t i, Value x, Value to, int64_t taps, int64_t steps)
{
    Emitter *e = cx->e;
    const DenseDw *d = cx->d;
    EmitLoop tap;
    if (i == d->p->stencils.len) {
        emit_row(cx, x, to, steps);
        return;
    }
    int64_t size = d->p->axes.at[d->p->stencils.at[i].tap].size;
    taps /= size;
    emit_loop_begin(e, &tap, emit_i64(e, 0), emit_i64(e, size), 1, 0, NULL);
    emit_taps(cx, i + 1, emit_at(e, x, emit_mul_n(e, tap.index, d->step[i])),
              emit_at(e, to, emit_mul_n(e, tap.index, taps * d->lanes * d->lanes)), taps, steps);
    emit_loop_end(e, &tap, NULL);
}

static void emit_blocks(DwCx *cx, Value base)
{
    Emitter *e = cx->e;
    const DenseDw *d = cx->d;
    int64_t whole = d->size_k / d->lanes, rest = d->size_k % d->lanes, taps = d->region.taps;
    int64_t each = taps * d->lanes * d->lanes;
    EmitLoop k;
    if (whole) {
        emit_loop_begin(e, &k, emit_i64(e, 0), emit_i64(e, whole), 1, 0, NULL);
        emit_taps(cx, 0, emit_at(e, base, emit_mul_n(e, k.index, d->region.floats)),
                  emit_at(e, cx->sums, emit_mul_n(e, k.index, each)), taps, d->lanes);
        emit_loop_end(e, &k, NULL);
    }
    if (rest)
        emit_taps(cx, 0, emit_at(e, base, emit_i64(e, whole * d->region.floats)),
                  emit_at(e, cx->sums, emit_i64(e, whole * each)), taps, rest);
}

/* Dimension i and those inside it; `base` is the region at their first outputs. */
static void emit_dim(DwCx *cx, int i, Value base)
{
    Emitter *e = cx->e;
    const RegionDim *dim = &cx->d->region.dim[i];
    EmitLoop l;

    if (i == cx->d->region.n - 1) {
        stencil_dw_row(cx->dy, &cx->place, &cx->d->region, &cx->at, cx->row);
        emit_blocks(cx, base);
        return;
    }
    emit_loop_begin(e, &l, emit_i64(e, 0), cx->at.count[i], 1, 0, NULL);
    code_enter(cx->dy, dim->out.axis[0], emit_add(e, cx->at.first[i], l.index));
    emit_dim(cx, i + 1, emit_at(e, base, emit_mul_n(e, l.index, region_in_step(dim))));
    code_leave(cx->dy, dim->out.axis[0]);
    emit_loop_end(e, &l, NULL);
}

static Value sums_at(Emitter *e, const DenseDw *d, Value slot, Value block)
{
    Value at = emit_add(e, emit_mul_n(e, slot, d->blocks_n), block);
    return emit_at(e, e->workspace, emit_mul_n(e, at, d->sums));
}

static void emit_main(Emitter *e, const DenseDw *d)
{
    const Region *r = &d->region;
    DwCx cx = {.e = e, .d = d, .place = region_row(r, false)};
    Value block = emit_mod_n(e, e->task, d->blocks_n), slot = emit_div_n(e, e->task, d->blocks_n);
    Value units = emit_mul_n(e, outer_count(e, &d->outer), r->parts), zero = emit_i64(e, 0);
    Value first = emit_div_n(e, emit_mul(e, units, slot), SLOTS);
    Value last = emit_div_n(e, emit_mul(e, units, emit_add_n(e, slot, 1)), SLOTS);
    EmitLoop unit, k;

    cx.inputs = e->scratch;
    cx.row = emit_at(e, e->scratch, emit_i64(e, r->floats * d->blocks_k));
    cx.sums = sums_at(e, d, slot, block);
    emit_loop_begin(e, &k, zero, emit_i64(e, d->sums), d->lanes, 0, NULL);
    emit_store(e, emit_at(e, cx.sums, k.index), emit_zero(e, emit_vector_type(e, e->f32, d->lanes)),
               4U * (unsigned)d->lanes);
    emit_loop_end(e, &k, NULL);
    emit_loop_begin(e, &unit, first, last, 1, 0, NULL);
    Value sample = emit_div_n(e, unit.index, r->parts);
    region_place(e, r, emit_mod_n(e, unit.index, r->parts), &cx.at);
    emit_loop_begin(e, &k, zero, emit_i64(e, d->blocks_k), 1, 0, NULL);
    region_fill(stencil_code(e, d->p, &d->outer, d->k, d->lanes, sample, k.index), r, &cx.at,
                d->p->lhs, emit_at(e, cx.inputs, emit_mul_n(e, k.index, r->floats)));
    emit_loop_end(e, &k, NULL);
    cx.dy = stencil_code(e, d->p, &d->outer, d->n, d->lanes, sample, block);
    flat_hook(cx.dy, &cx.place);
    emit_dim(&cx, 0, emit_at(e, cx.inputs, emit_i64(e, d->base)));
    emit_loop_end(e, &unit, NULL);
}

/* ---- the last phase ---- */

static void emit_combine(Emitter *e, const DenseDw *d)
{
    const TileProgram *p = d->p;
    Code *code = code_new(e, d->n, d->lanes);
    Value c = emit_mul_n(e, e->task, d->lanes);
    TapLoop tap;
    EmitLoop k, slot;

    if (d->size_n % d->lanes)
        code->mask = emit_lane_mask(e, c, d->size_n, d->lanes);
    code_enter(code, d->n, c);
    emit_loop_begin(e, &k, emit_i64(e, 0), emit_i64(e, d->size_k), 1, 0, NULL);
    code_enter(code, d->k, k.index);
    taps_begin(&tap, e, code, p, d->region.taps);
    Value at = emit_mul_n(e, emit_div_n(e, k.index, d->lanes), d->region.taps);
    at = emit_mul_n(e, emit_add(e, at, tap.index), d->lanes);
    at = emit_mul_n(e, emit_add(e, at, emit_mod_n(e, k.index, d->lanes)), d->lanes);
    Value zero = emit_zero(e, emit_vector_type(e, e->f64, d->lanes));
    emit_loop_begin(e, &slot, emit_i64(e, 0), emit_i64(e, SLOTS), 1, 1, &zero);
    Value part = emit_load(e, emit_at(e, sums_at(e, d, slot.index, e->task), at), d->lanes,
                           4U * (unsigned)d->lanes);
    Value sum = emit_fadd(e, slot.carried[0], emit_to_f64(e, part));
    emit_loop_end(e, &slot, &sum);
    code_new_acc(code, emit_to_f32(e, slot.result[0]));
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_store(code, &p->stores.at[i], code_value(code, p->stores.at[i].inst));
    taps_end(&tap, e);
    code_leave(code, d->k);
    emit_loop_end(e, &k, NULL);
    code_leave(code, d->n);
}

void dense_dw_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    DenseDw d;
    bool legal = dense_dw_plan(&d, p, &e->target);
    assert(legal);
    (void)legal;
    emit_function_begin(e, p, symbol[0]);
    emit_main(e, &d);
    emit_function_end(e);
    emit_function_begin(e, p, symbol[1]);
    emit_combine(e, &d);
    emit_function_end(e);
}
