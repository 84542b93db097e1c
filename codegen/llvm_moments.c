#include "codegen/llvm_moments.h"

enum { FIELD_SUM, FIELD_SQUARES, FIELD_SHIFT, FIELD_COUNT };

static int kept_outer(const TileProgram *p, const TileReduction *r, int channel, uint32_t *bits)
{
    int rank = p->tensors.at[r->tensor].layout.shape.rank, n = 0;
    *bits = 0;
    for (int d = 0; d < rank; d++) {
        *bits |= 1U << r->axis[d];
        n += r->axis[d] != channel;
    }
    return n;
}

uint32_t moments_kept_axes(const TileProgram *p)
{
    uint32_t all = 0, bits;
    for (uint32_t i = 0; i < p->reductions.len; i++) {
        kept_outer(p, &p->reductions.at[i], -1, &bits);
        all |= bits;
    }
    return all;
}

static int moment_of(Moments *m, int inst)
{
    for (int i = 0; i < m->n; i++)
        if (m->inst[i] == inst)
            return i;
    if (m->n == MOMENTS_MAX)
        return -1;
    m->inst[m->n] = inst;
    m->shifted[m->n] = false;
    return m->n++;
}

bool moments_init(Moments *m, const TileProgram *p, const Outer *outer, int channel, int lanes,
                  int64_t parts)
{
    *m = (Moments){.p = p, .outer = outer, .channel = channel, .lanes = lanes, .parts = parts};
    m->blocks = div_up(p->axes.at[channel].size, lanes);
    for (uint32_t i = 0; i < p->reductions.len; i++) {
        const TileReduction *r = &p->reductions.at[i];
        uint32_t bits;
        int kept = kept_outer(p, r, channel, &bits), at = moment_of(m, r->inst);
        if (at < 0 || !(bits >> channel & 1) || kept > outer->flat.n)
            return false;
        for (int k = 0; k < kept; k++)
            if (!(bits >> outer->flat.axis[k] & 1))
                return false;
        m->shifted[at] |= r->kind == TILE_VARIANCE;
    }
    return true;
}

static int64_t slot_floats(const Moments *m)
{
    return (int64_t)m->n * MOMENT_FIELDS * m->lanes;
}

size_t moments_bytes(const Moments *m)
{
    int64_t samples = m->outer->others * (m->outer->ranged ? m->outer->flat.size[0] : 1);
    return (size_t)(samples * m->parts * m->blocks * slot_floats(m)) * 4;
}

Value moments_slot(Emitter *e, const Moments *m, Value sample_part, Value block)
{
    Value base = emit_at_bytes(e, e->workspace, emit_i64(e, (int64_t)m->offset));
    Value slot = emit_add(e, emit_mul_n(e, sample_part, m->blocks), block);
    return emit_at(e, base, emit_mul_n(e, slot, slot_floats(m)));
}

static Value field_at(Emitter *e, const Moments *m, Value slot, int moment, int field)
{
    return emit_at(e, slot, emit_i64(e, (int64_t)(moment * MOMENT_FIELDS + field) * m->lanes));
}

static Value field_load(Emitter *e, const Moments *m, Value slot, int moment, int field)
{
    return emit_load(e, field_at(e, m, slot, moment, field), m->lanes, 4U * (unsigned)m->lanes);
}

static void field_store(Emitter *e, const Moments *m, Value slot, int moment, int field, Value v)
{
    emit_store(e, field_at(e, m, slot, moment, field), emit_splat(e, v, m->lanes),
               4U * (unsigned)m->lanes);
}

void moments_first(Code *c, const Moments *m, Value slot, Value count)
{
    Emitter *e = c->e;
    for (int i = 0; i < m->n; i++) {
        field_store(e, m, slot, i, FIELD_SUM, emit_f32(e, 0));
        if (!m->shifted[i])
            continue;
        Value n = LLVMBuildSIToFP(e->builder, count, e->f32, "");
        field_store(e, m, slot, i, FIELD_SQUARES, emit_f32(e, 0));
        field_store(e, m, slot, i, FIELD_SHIFT, code_value(c, m->inst[i]));
        field_store(e, m, slot, i, FIELD_COUNT, n);
    }
}

int moments_begin(Emitter *e, const Moments *m, Value *carried)
{
    int n = 0;
    for (int i = 0; i < m->n; i++)
        for (int k = 0; k <= m->shifted[i]; k++)
            carried[n++] = emit_zero(e, emit_vector_type(e, e->f32, m->lanes));
    return n;
}

void moments_step(Code *c, const Moments *m, Value slot, const Value *carried, Value *next)
{
    Emitter *e = c->e;
    int n = 0;
    for (int i = 0; i < m->n; i++) {
        Value v = emit_splat(e, code_value(c, m->inst[i]), m->lanes);
        if (m->shifted[i])
            v = emit_fsub(e, v, field_load(e, m, slot, i, FIELD_SHIFT));
        next[n] = emit_fadd(e, carried[n], v);
        n++;
        if (m->shifted[i]) {
            next[n] = emit_fma(e, v, v, carried[n]);
            n++;
        }
    }
}

static void field_add(Emitter *e, const Moments *m, Value slot, int moment, int field, Value v)
{
    v = emit_fadd(e, field_load(e, m, slot, moment, field), v);
    field_store(e, m, slot, moment, field, v);
}

void moments_end(Emitter *e, const Moments *m, Value slot, const Value *carried)
{
    int n = 0;
    for (int i = 0; i < m->n; i++) {
        field_add(e, m, slot, i, FIELD_SUM, carried[n++]);
        if (m->shifted[i])
            field_add(e, m, slot, i, FIELD_SQUARES, carried[n++]);
    }
}

static Value load_f64(Emitter *e, const Moments *m, Value slot, int moment, int field)
{
    return emit_to_f64(e, field_load(e, m, slot, moment, field));
}

static Value f64_splat(Emitter *e, const Moments *m, double x)
{
    return emit_splat(e, LLVMConstReal(e->f64, x), m->lanes);
}

/* total += sum of a slot */
static void combine_sum(Emitter *e, const Moments *m, Value slot, int i, const Value *total,
                        Value *next)
{
    Value sum = load_f64(e, m, slot, i, FIELD_SUM);
    if (m->shifted[i]) {
        Value n = load_f64(e, m, slot, i, FIELD_COUNT);
        Value shift = load_f64(e, m, slot, i, FIELD_SHIFT);
        sum = emit_fadd(e, sum, emit_fmul(e, n, shift));
    }
    next[0] = emit_fadd(e, total[0], sum);
}

/* (count, mean, squares about the mean) of what came before and a slot. */
static void combine_variance(Emitter *e, const Moments *m, Value slot, int i, const Value *total,
                             Value *next)
{
    Value n = load_f64(e, m, slot, i, FIELD_COUNT);
    Value sum = load_f64(e, m, slot, i, FIELD_SUM);
    Value off = emit_fdiv(e, sum, n);
    Value mean = emit_fadd(e, load_f64(e, m, slot, i, FIELD_SHIFT), off);
    Value squares = emit_fsub(e, load_f64(e, m, slot, i, FIELD_SQUARES), emit_fmul(e, sum, off));
    Value all = emit_fadd(e, total[0], n);
    Value delta = emit_fsub(e, mean, total[1]);
    Value part = emit_fdiv(e, n, all);
    next[0] = all;
    next[1] = emit_fadd(e, total[1], emit_fmul(e, delta, part));
    Value between = emit_fmul(e, emit_fmul(e, delta, delta), emit_fmul(e, total[0], part));
    next[2] = emit_fadd(e, emit_fadd(e, total[2], squares), between);
}

/* Sum or variance over the slots [lo, hi) of a channel block. */
static Value combine_range(Emitter *e, const Moments *m, const TileReduction *r, int moment,
                           Value block, Value lo, Value hi)
{
    Value zero = f64_splat(e, m, 0), init[3] = {zero, zero, zero}, next[3];
    bool variance = r->kind == TILE_VARIANCE;
    EmitLoop l;
    emit_loop_begin(e, &l, lo, hi, 1, variance ? 3 : 1, init);
    Value slot = moments_slot(e, m, l.index, block);
    if (variance)
        combine_variance(e, m, slot, moment, l.carried, next);
    else
        combine_sum(e, m, slot, moment, l.carried, next);
    emit_loop_end(e, &l, next);
    if (!variance)
        return l.result[0];
    Value none = LLVMBuildFCmp(e->builder, LLVMRealOEQ, l.result[0], zero, "");
    return emit_select(e, none, zero, emit_fdiv(e, l.result[2], l.result[0]));
}

static void combine_reduction(Code *c, const Moments *m, const TileReduction *r, Value block)
{
    Emitter *e = c->e;
    const Outer *o = m->outer;
    uint32_t bits;
    int kept = kept_outer(m->p, r, m->channel, &bits), moment = 0;
    TileIndex index[MAX_RANK] = {0};
    int rank = m->p->tensors.at[r->tensor].layout.shape.rank;
    for (int d = 0; d < rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    while (m->inst[moment] != r->inst)
        moment++;

    int64_t inner = m->parts; /* slots per result */
    for (int i = kept; i < o->flat.n; i++)
        if (i > 0 || !o->ranged)
            inner *= o->flat.size[i];
    Value slots = emit_mul_n(e, outer_count(e, o), m->parts);
    Value results = kept ? emit_div_n(e, slots, inner) : emit_i64(e, 1);
    EmitLoop l;
    emit_loop_begin(e, &l, emit_i64(e, 0), results, 1, 0, NULL);
    Value lo = emit_mul_n(e, l.index, inner);
    Value hi = kept ? emit_add_n(e, lo, inner) : slots;
    Value v = combine_range(e, m, r, moment, block, lo, hi);
    v = emit_fmul(e, v, f64_splat(e, m, r->factor));
    outer_enter(c, o, kept, l.index);
    code_store_at(c, r->tensor, index, emit_to_f32(e, v));
    outer_leave(c, o, kept);
    emit_loop_end(e, &l, NULL);
}

void moments_combine(Emitter *e, const Moments *m)
{
    Code *c = code_new(e, m->channel, m->lanes);
    int64_t size = m->p->axes.at[m->channel].size;
    Value at = emit_mul_n(e, e->task, m->lanes);
    if (size % m->lanes)
        c->mask = emit_lane_mask(e, at, size, m->lanes);
    code_enter(c, m->channel, at);
    for (uint32_t i = 0; i < m->p->reductions.len; i++)
        combine_reduction(c, m, &m->p->reductions.at[i], e->task);
    code_leave(c, m->channel);
}
