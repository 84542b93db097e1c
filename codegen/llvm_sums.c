/* Reductions of the general schedule: plan and row side. */
#include "codegen/llvm_sums.h"

enum { FIELD_SUM = 0, FIELD_SQUARES = 1, FIELD_SHIFT = 2, COMBINE_WORK = 512 };

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* ---- plan ---- */

static int64_t rounds_in_row(const Nest *nest, int k)
{
    return k == nest->n_outer ? nest->chunk : nest->loop[k].n;
}

static void plan_combine(const Nest *nest, Sum *s)
{
    int64_t groups = 1, elems = s->elems;

    for (int k = 0; k < nest->n_outer; k++)
        groups *= s->kept >> k & 1 ? nest->loop[k].n : 1;
    if (nest->n_outer < nest->n_loops && (s->kept >> nest->n_outer & 1))
        groups *= nest->n_chunks;
    int64_t each = COMBINE_WORK * groups / nest->rows;
    s->elems_per_task = each < 1 ? 1 : each > elems ? elems : each;
    s->tasks = groups * ((elems + s->elems_per_task - 1) / s->elems_per_task);
}

static Sum plan_one(const Nest *nest, const TileReduction *r)
{
    Sum s = {
        .r = r, .variance = r->kind == TILE_VARIANCE, .kept = nest_kept_loops(nest, r), .elems = 1};

    s.direct = true;
    for (int k = 0; k < nest->n_loops; k++) {
        bool kept = s.kept >> k & 1;
        bool across_rows = k < nest->n_outer || (k == nest->n_outer && nest->n_chunks > 1);
        s.direct &= kept || !across_rows || nest->loop[k].n == 1;
        s.keeps_lanes |= kept && nest->loop[k].axis == nest->lane_axis;
        if (kept && k >= nest->n_outer)
            s.elems *= rounds_in_row(nest, k);
    }
    if (nest->by_sample && !(s.kept & 1))
        s.direct = false;
    s.carried = nest->n_loops > nest->n_outer && !(s.kept >> (nest->n_loops - 1) & 1);
    if (!s.direct)
        plan_combine(nest, &s);
    return s;
}

Sum *sums_plan(Arena *arena, const Nest *nest, int64_t *scratch, int64_t *workspace)
{
    uint32_t n = nest->p->reductions.len;
    Sum *sum = ARENA_ARRAY(arena, Sum, n + 1);

    *scratch = *workspace = 0;
    for (uint32_t i = 0; i < n; i++) {
        Sum *s = &sum[i];
        *s = plan_one(nest, &nest->p->reductions.at[i]);
        int64_t fields = s->variance ? 3 : 1;
        s->scratch = *scratch;
        *scratch += round_up(s->elems * fields * nest->lanes * 8, 64);
        s->workspace = *workspace;
        if (!s->direct)
            *workspace += round_up(
                nest->rows * s->elems * fields * (s->keeps_lanes ? nest->lanes : 1) * 8, 64);
    }
    return sum;
}

int64_t sums_combine_tasks(const Sum *sum, int n)
{
    int64_t tasks = 0;

    for (int i = 0; i < n; i++)
        tasks += sum[i].tasks;
    return tasks;
}

/* ---- gathering ---- */

static Type lanes_f64(const Row *row)
{
    return emit_vector_type(row->e, row->e->f64, row->nest->lanes);
}

/* Address of a field of a slot: scratch + ((element * fields) + field) * lanes doubles. */
static Value slot_field(Row *row, const Sum *s, Value element, int field)
{
    Emitter *e = row->e;
    Value base = emit_at_bytes(e, e->scratch, emit_i64(e, s->scratch));
    Value i = emit_add_n(e, emit_mul_n(e, element, s->variance ? 3 : 1), field);

    return emit_at_f64(e, base, emit_mul_n(e, i, row->nest->lanes));
}

static unsigned slot_align(const Row *row)
{
    int bytes = row->nest->lanes * 8;
    return bytes > 64 ? 64 : (unsigned)bytes;
}

static Value load_field(Row *row, const Sum *s, Value element, int field)
{
    return emit_load_type(row->e, lanes_f64(row), slot_field(row, s, element, field),
                          slot_align(row));
}

static void store_field(Row *row, const Sum *s, Value element, int field, Value v)
{
    emit_store(row->e, slot_field(row, s, element, field), v, slot_align(row));
}

void sums_clear(Row *row)
{
    for (int i = 0; i < row->n_sums; i++) {
        const Sum *s = &row->sum[i];
        EmitLoop l;
        emit_loop_begin(row->e, &l, emit_i64(row->e, 0), emit_i64(row->e, s->elems), 1, 0, NULL);
        for (int f = 0; f < (s->variance ? 3 : 1); f++)
            store_field(row, s, l.index, f, emit_zero(row->e, lanes_f64(row)));
        emit_loop_end(row->e, &l, NULL);
    }
}

static Value round_from_row(Row *row, int k)
{
    bool cut = k == row->nest->n_outer;
    return cut ? emit_sub(row->e, row->round[k], row->low) : row->round[k];
}

/* The slot of the place: digits of the kept inner loops. */
static Value element_here(Row *row, const Sum *s)
{
    Value at = emit_i64(row->e, 0);

    for (int k = row->nest->n_outer; k < row->nest->n_loops; k++)
        if (s->kept >> k & 1)
            at = emit_add(row->e, emit_mul_n(row->e, at, rounds_in_row(row->nest, k)),
                          round_from_row(row, k));
    return at;
}

/* i1: is this the first place of the row that adds to its slot? Loops [from, to) are looked at. */
static Value is_first(Row *row, const Sum *s, int to)
{
    Value first = LLVMConstInt(row->e->i1, 1, 0);

    for (int k = row->nest->n_outer; k < to; k++) {
        if (s->kept >> k & 1)
            continue;
        Value here = LLVMBuildICmp(row->e->builder, LLVMIntEQ, round_from_row(row, k),
                                   emit_i64(row->e, 0), "");
        first = LLVMBuildAnd(row->e->builder, first, here, "");
    }
    return first;
}

static Value value_here(Row *row, const Sum *s)
{
    return emit_splat(row->e, code_value(row->c, s->r->inst), row->nest->lanes);
}

/* Lanes beyond the axis add nothing, unless the result keeps the lanes and drops them later. */
static Value without_padding(Row *row, const Sum *s, Value v)
{
    if (s->keeps_lanes || !row->c->mask)
        return v;
    return emit_select(row->e, row->c->mask, v, emit_zero(row->e, LLVMTypeOf(v)));
}

static void add_to_field(Row *row, const Sum *s, Value element, int field, Value v)
{
    Value old = load_field(row, s, element, field);
    store_field(row, s, element, field, emit_fadd(row->e, old, emit_to_f64(row->e, v)));
}

void sums_add(Row *row, const Sum *s)
{
    Emitter *e = row->e;
    Value element = element_here(row, s), v = value_here(row, s);

    if (!s->variance) {
        add_to_field(row, s, element, FIELD_SUM, without_padding(row, s, v));
        return;
    }
    Value shift = emit_to_f32(e, load_field(row, s, element, FIELD_SHIFT));
    shift = emit_select(e, is_first(row, s, row->nest->n_loops), v, shift);
    store_field(row, s, element, FIELD_SHIFT, emit_to_f64(e, shift));
    Value d = without_padding(row, s, emit_fsub(e, v, shift));
    add_to_field(row, s, element, FIELD_SUM, d);
    add_to_field(row, s, element, FIELD_SQUARES, emit_fmul(e, d, d));
}

int sums_carry(Row *row, Value *carried)
{
    Emitter *e = row->e;
    Value zero = emit_zero(e, emit_vector_type(e, e->f32, row->nest->lanes));
    int n = 0;

    for (int i = 0; i < row->n_sums; i++) {
        const Sum *s = &row->sum[i];
        if (!s->carried)
            continue;
        carried[n++] = zero;
        if (!s->variance)
            continue;
        carried[n++] = zero;
        carried[n++] = emit_to_f32(e, load_field(row, s, element_here(row, s), FIELD_SHIFT));
    }
    return n;
}

void sums_step(Row *row, const Value *carried, Value *next)
{
    Emitter *e = row->e;
    int n = 0;

    for (int i = 0; i < row->n_sums; i++) {
        const Sum *s = &row->sum[i];
        if (!s->carried) {
            sums_add(row, s);
            continue;
        }
        Value v = value_here(row, s);
        if (!s->variance) {
            next[n] = emit_fadd(e, carried[n], without_padding(row, s, v));
            n++;
            continue;
        }
        Value shift = emit_select(e, is_first(row, s, row->nest->n_loops), v, carried[n + 2]);
        Value d = without_padding(row, s, emit_fsub(e, v, shift));
        next[n] = emit_fadd(e, carried[n], d);
        next[n + 1] = emit_fma(e, d, d, carried[n + 1]);
        next[n + 2] = shift;
        n += 3;
    }
}

void sums_flush(Row *row, const Value *carried)
{
    int n = 0;

    for (int i = 0; i < row->n_sums; i++) {
        const Sum *s = &row->sum[i];
        if (!s->carried)
            continue;
        Value element = element_here(row, s);
        add_to_field(row, s, element, FIELD_SUM, carried[n++]);
        if (!s->variance)
            continue;
        add_to_field(row, s, element, FIELD_SQUARES, carried[n++]);
        store_field(row, s, element, FIELD_SHIFT, emit_to_f64(row->e, carried[n++]));
    }
}

/* ---- end of a row ---- */

static Value to_f64(Row *row, Value whole)
{
    return LLVMBuildSIToFP(row->e->builder, whole, row->e->f64, "");
}

static Value rounds_here(Row *row, int k)
{
    if (k == row->nest->n_outer)
        return emit_sub(row->e, row->high, row->low);
    return emit_i64(row->e, row->nest->loop[k].n);
}

/* Values that went into each lane of a slot, <lanes x f64>. */
static Value count_here(Row *row, const Sum *s)
{
    Emitter *e = row->e;
    const Nest *nest = row->nest;
    Value others = emit_i64(e, 1), blocks = emit_i64(e, 1), cut = NULL;
    bool lane_loop_inside = false;

    for (int k = nest->n_outer; k < nest->n_loops; k++) {
        if (s->kept >> k & 1)
            continue;
        if (nest->loop[k].axis != nest->lane_axis) {
            others = emit_mul(e, others, rounds_here(row, k));
            continue;
        }
        blocks = rounds_here(row, k);
        lane_loop_inside = true;
        cut = k == nest->n_outer ? row->high : emit_i64(e, nest->loop[k].n);
        cut = LLVMBuildICmp(e->builder, LLVMIntEQ, cut, emit_i64(e, nest->loop[k].n), "");
    }
    Value full = emit_splat(e, to_f64(row, emit_mul(e, others, blocks)), nest->lanes);
    if (s->keeps_lanes || nest->lane_axis < 0)
        return full;
    int64_t size = nest->p->axes.at[nest->lane_axis].size, rest = size % nest->lanes;
    if (rest == 0)
        return full;
    if (!lane_loop_inside)
        return emit_select(e, row->c->mask, full, emit_zero(e, lanes_f64(row)));
    /* the last block, when in the row, has `rest` lanes */
    Value fewer = emit_sub(e, blocks, emit_select(e, cut, emit_i64(e, 1), emit_i64(e, 0)));
    fewer = emit_splat(e, to_f64(row, emit_mul(e, others, fewer)), nest->lanes);
    return emit_select(e, emit_lane_mask(e, emit_i64(e, 0), rest, nest->lanes), full, fewer);
}

static Value at_least_one(Emitter *e, Value count)
{
    Value one = emit_splat(e, LLVMConstReal(e->f64, 1), emit_width(count));
    Value less = LLVMBuildFCmp(e->builder, LLVMRealOLT, count, one, "");
    return emit_select(e, less, one, count);
}

/* What a row knows of one element: SUM: {sum}; VARIANCE: {count, mean, sum of squares about it}. */
static void row_outcome(Row *row, const Sum *s, Value element, Value out[3])
{
    Emitter *e = row->e;
    Value sum = load_field(row, s, element, FIELD_SUM);

    if (!s->variance) {
        out[0] = s->keeps_lanes ? sum : emit_sum_lanes(e, sum);
        return;
    }
    Value count = count_here(row, s), divisor = at_least_one(e, count);
    Value part = emit_fdiv(e, sum, divisor);
    Value mean = emit_fadd(e, load_field(row, s, element, FIELD_SHIFT), part);
    Value squares = load_field(row, s, element, FIELD_SQUARES);
    squares = emit_fsub(e, squares, emit_fmul(e, sum, part));
    out[0] = count;
    out[1] = mean;
    out[2] = squares;
    if (s->keeps_lanes || row->nest->lanes == 1)
        return;
    Value zero = emit_zero(e, lanes_f64(row));
    Value any = LLVMBuildFCmp(e->builder, LLVMRealOGT, count, zero, "");
    mean = emit_select(e, any, mean, zero);
    out[0] = emit_sum_lanes(e, count);
    out[1] = emit_fdiv(e, emit_sum_lanes(e, emit_fmul(e, count, mean)), at_least_one(e, out[0]));
    Value off = emit_fsub(e, mean, emit_splat(e, out[1], row->nest->lanes));
    off = emit_fmul(e, emit_fmul(e, off, off), count);
    squares = emit_select(e, any, emit_fadd(e, squares, off), zero);
    out[2] = emit_sum_lanes(e, squares);
}

static void store_result(Code *c, const Sum *s, const Value outcome[3])
{
    Emitter *e = c->e;
    Value v = outcome[0];
    TileIndex index[MAX_RANK] = {0};

    if (s->variance)
        v = emit_fdiv(e, outcome[2], at_least_one(e, outcome[0]));
    v = emit_fmul(e, v, emit_splat(e, LLVMConstReal(e->f64, s->r->factor), emit_width(v)));
    for (int d = 0; d < c->p->tensors.at[s->r->tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {s->r->axis[d]}, .coef = {1}};
    code_store_at(c, s->r->tensor, index, emit_to_f32(e, v));
}

/* Address of field 0 of a row's element in the workspace. */
static Value partial_at(Emitter *e, const Nest *nest, const Sum *s, Value row, Value element)
{
    int64_t values = (s->variance ? 3 : 1) * (s->keeps_lanes ? nest->lanes : 1);
    Value at = emit_mul_n(e, emit_add(e, emit_mul_n(e, row, s->elems), element), values);

    return emit_at_f64(e, emit_at_bytes(e, e->workspace, emit_i64(e, s->workspace)), at);
}

/* Enters the kept inner axes at an element; the cut loop starts at round `low`. */
static void enter_element(Code *c, const Nest *nest, const Sum *s, Value element, Value low)
{
    Value round[TILE_MAX_AXES];
    int64_t size[TILE_MAX_AXES] = {0};
    int loop[TILE_MAX_AXES], n = 0;

    for (int k = nest->n_outer; k < nest->n_loops; k++)
        if (s->kept >> k & 1) {
            loop[n] = k;
            size[n++] = rounds_in_row(nest, k);
        }
    emit_digits(c->e, element, n, size, round);
    for (int i = 0; i < n; i++) {
        const NestLoop *l = &nest->loop[loop[i]];
        Value at = loop[i] == nest->n_outer ? emit_add(c->e, round[i], low) : round[i];
        code_enter(c, l->axis, emit_mul_n(c->e, at, l->step));
        if (l->axis == nest->lane_axis)
            c->mask = nest_mask(c, nest);
    }
}

static void leave_element(Code *c, const Nest *nest, const Sum *s)
{
    for (int k = nest->n_loops - 1; k >= nest->n_outer; k--)
        if (s->kept >> k & 1)
            code_leave(c, nest->loop[k].axis);
}

/* Elements that exist in a row: fewer in the last where the cut loop is kept. */
static Value elements_here(Emitter *e, const Nest *nest, const Sum *s, Value low, Value high)
{
    if (nest->n_outer == nest->n_loops || !(s->kept >> nest->n_outer & 1))
        return emit_i64(e, s->elems);
    return emit_mul_n(e, emit_sub(e, high, low), s->elems / nest->chunk);
}

void sums_finish(Row *row)
{
    Emitter *e = row->e;
    Value outcome[3];

    for (int i = 0; i < row->n_sums; i++) {
        const Sum *s = &row->sum[i];
        Value mask = row->c->mask;
        EmitLoop l;
        emit_loop_begin(e, &l, emit_i64(e, 0), elements_here(e, row->nest, s, row->low, row->high),
                        1, 0, NULL);
        row_outcome(row, s, l.index, outcome);
        if (s->direct) {
            enter_element(row->c, row->nest, s, l.index, row->low);
            store_result(row->c, s, outcome);
            leave_element(row->c, row->nest, s);
            row->c->mask = mask;
        } else {
            Value at = partial_at(e, row->nest, s, row->number, l.index);
            int width = s->keeps_lanes ? row->nest->lanes : 1;
            for (int f = 0; f < (s->variance ? 3 : 1); f++)
                emit_store(e, emit_at_f64(e, at, emit_i64(e, f * width)), outcome[f], 8);
        }
        emit_loop_end(e, &l, NULL);
    }
}

/* ---- second phase ---- */

/* The digits of a row number: the outer loops, then the piece of the cut loop. */
typedef struct Digits {
    int n;
    int64_t size[TILE_MAX_AXES + 1], stride[TILE_MAX_AXES + 1];
    bool kept[TILE_MAX_AXES + 1];
} Digits;

static Digits row_digits(const Nest *nest, const Sum *s)
{
    Digits d = {.n = nest->n_outer};
    int64_t stride = 1;

    for (int k = 0; k < nest->n_outer; k++) {
        d.size[k] = nest->loop[k].n;
        d.kept[k] = s->kept >> k & 1;
    }
    if (nest->n_outer < nest->n_loops) {
        d.size[d.n] = nest->n_chunks;
        d.kept[d.n++] = s->kept >> nest->n_outer & 1;
    }
    for (int k = d.n - 1; k >= 0; k--) {
        d.stride[k] = stride;
        stride *= d.size[k];
    }
    return d;
}

/* Adds one row's outcome to what is known. */
static void join(Emitter *e, const Sum *s, const Value known[3], const Value more[3], Value out[3])
{
    if (!s->variance) {
        out[0] = emit_fadd(e, known[0], more[0]);
        return;
    }
    Value off = emit_fsub(e, more[1], known[1]);
    out[0] = emit_fadd(e, known[0], more[0]);
    Value share = emit_fdiv(e, more[0], at_least_one(e, out[0]));
    Value step = emit_fmul(e, off, share);
    out[1] = emit_fadd(e, known[1], step);
    out[2] = emit_fadd(e, known[2], more[2]);
    out[2] = emit_fadd(e, out[2], emit_fmul(e, emit_fmul(e, off, step), known[0]));
}

/* Sums an element over the rows that differ in digits not kept. */
static void combine_element(Emitter *e, const Nest *nest, const Sum *s, const Digits *d,
                            Value first_row, Value element, Value outcome[3])
{
    int n = s->variance ? 3 : 1, width = s->keeps_lanes ? nest->lanes : 1, n_digits = 0;
    Type type = emit_vector_type(e, e->f64, width);
    Value count = emit_i64(e, 1), digit[TILE_MAX_AXES + 1], next[3], more[3];
    Value zero[3] = {emit_zero(e, type), emit_zero(e, type), emit_zero(e, type)};
    int64_t size[TILE_MAX_AXES + 1], stride[TILE_MAX_AXES + 1];
    EmitLoop l;

    for (int k = 0; k < d->n; k++) {
        if (d->kept[k])
            continue;
        bool ranged = k == 0 && nest->by_sample;
        count = emit_mul(e, count, ranged ? emit_sub(e, e->b1, e->b0) : emit_i64(e, d->size[k]));
        size[n_digits] = d->size[k];
        stride[n_digits++] = d->stride[k];
    }
    emit_loop_begin(e, &l, emit_i64(e, 0), count, 1, n, zero);
    Value row = first_row;
    emit_digits(e, l.index, n_digits, size, digit);
    for (int k = 0; k < n_digits; k++)
        row = emit_add(e, row, emit_mul_n(e, digit[k], stride[k]));
    Value at = partial_at(e, nest, s, row, element);
    for (int f = 0; f < n; f++)
        more[f] = emit_load_type(e, type, emit_at_f64(e, at, emit_i64(e, f * width)), 8);
    join(e, s, l.carried, more, next);
    emit_loop_end(e, &l, next);
    for (int f = 0; f < n; f++)
        outcome[f] = l.result[f];
}

/* Enters the kept outer axes and returns the first row of the group. */
static Value enter_group(Code *c, const Nest *nest, const Digits *d, const Value *digit)
{
    Emitter *e = c->e;
    Value row = emit_i64(e, 0);
    int i = 0;

    for (int k = 0; k < d->n; k++) {
        if (!d->kept[k])
            continue;
        row = emit_add(e, row, emit_mul_n(e, digit[i], d->stride[k]));
        if (k < nest->n_outer) {
            Value at = emit_mul_n(e, digit[i], nest->loop[k].step);
            at = k == 0 && nest->by_sample ? emit_add(e, at, e->b0) : at;
            code_enter(c, nest->loop[k].axis, at);
            if (nest->loop[k].axis == nest->lane_axis)
                c->mask = nest_mask(c, nest);
        }
        i++;
    }
    return row;
}

static void leave_group(Code *c, const Nest *nest, const Sum *s)
{
    for (int k = nest->n_outer - 1; k >= 0; k--)
        if (s->kept >> k & 1)
            code_leave(c, nest->loop[k].axis);
}

static void combine_task(Code *c, const Nest *nest, const Sum *s, Value task)
{
    Emitter *e = c->e;
    Digits d = row_digits(nest, s);
    int64_t size[TILE_MAX_AXES + 2];
    Value digit[TILE_MAX_AXES + 2], outcome[3], low = emit_i64(e, 0), high = emit_i64(e, 0);
    int n = 0;
    EmitLoop l;
    EmitIf inside;

    for (int k = 0; k < d.n; k++)
        if (d.kept[k])
            size[n++] = d.size[k];
    size[n] = (s->elems + s->elems_per_task - 1) / s->elems_per_task;
    emit_digits(e, task, n + 1, size, digit);
    bool ranged = nest->by_sample && d.kept[0];
    if (ranged)
        emit_if_begin(e, &inside, emit_less(e, digit[0], emit_sub(e, e->b1, e->b0)));
    Value row = enter_group(c, nest, &d, digit);
    if (nest->n_outer < nest->n_loops && d.kept[d.n - 1]) {
        low = emit_mul_n(e, digit[n - 1], nest->chunk);
        high =
            emit_min(e, emit_add_n(e, low, nest->chunk), emit_i64(e, nest->loop[nest->n_outer].n));
    }
    Value from = emit_mul_n(e, digit[n], s->elems_per_task);
    Value to =
        emit_min(e, emit_add_n(e, from, s->elems_per_task), elements_here(e, nest, s, low, high));
    emit_loop_begin(e, &l, from, to, 1, 0, NULL);
    combine_element(e, nest, s, &d, row, l.index, outcome);
    Value mask = c->mask;
    enter_element(c, nest, s, l.index, low);
    store_result(c, s, outcome);
    leave_element(c, nest, s);
    c->mask = mask;
    emit_loop_end(e, &l, NULL);
    leave_group(c, nest, s);
    c->mask = NULL;
    if (ranged)
        emit_if_end(e, &inside);
}

void sums_combine(Emitter *e, const Nest *nest, const Sum *sum, int n)
{
    Code *c = code_new(e, nest->lane_axis, nest->lanes);
    int64_t base = 0;

    nest_enter_unit_axes(c, nest);
    for (int i = 0; i < n; i++) {
        EmitIf mine;
        if (sum[i].direct)
            continue;
        Value task = emit_sub(e, e->task, emit_i64(e, base));
        Value below = emit_less(e, task, emit_i64(e, sum[i].tasks));
        Value above = emit_less(e, emit_i64(e, -1), task);
        emit_if_begin(e, &mine, LLVMBuildAnd(e->builder, below, above, ""));
        combine_task(c, nest, &sum[i], task);
        emit_if_end(e, &mine);
        base += sum[i].tasks;
    }
}
