/* Attention, forward and backward (ir/ops/attention.c has the formulas).
 *
 * A task computes one sequence, or a share of its queries when there are few sequences. Keys are
 * packed as [width][key], so that a vector holds the scores of neighbouring keys, and values as
 * [key][width]. Scores of a block of ATTEND_BLOCK queries exist in scratch only, as long as they
 * are needed: forward for all keys at once, so that the largest is known before the first
 * exponential. Backward weights are made from the logarithm of the sum instead, so keys go in
 * blocks that leave room for everything else in the second-level cache, and all three gradients are
 * products of such blocks; dq is gathered in scratch over the blocks of keys. A causal query does
 * not see what is behind it: forward, keys end at the block's last query; backward, queries begin
 * at the block's first key.
 *
 * What is added to scores is read where they are: a bias of every query and key, ATTEND_UNLIKE by
 * labels. The gradient of such a bias is a sum over all sequences that share it; so a task then
 * computes a share of these one after the other and gathers the sum in a slot of the workspace, and
 * a second phase adds up the slots.
 *
 * Blocks hold queries that are asked (llvm_asked.c).
 *
 * Where weights are dropped their masks are made as they are needed (llvm_drop.c): forward once the
 * sum is known, backward along with the weights.
 *
 * Everything is read once per task through the ordinary loads, whatever its layout.
 *
 * Measured on one core of Zen 4 with AVX-512 (120 GFLOP/s), forward and backward: 435 keys of width
 * 48: 80 and 95 GFLOP/s; 116 of 48: 62 and 77; 324 of 80, causal: 59 and 60; 1654 of 155: 82 and
 * 101 (bench/kernel_bench attention). Short sequences pay for packing keys element by element. */
#include "codegen/llvm_attend_parts.h"
#include "codegen/llvm_schedules.h"
#include <math.h>

enum {
    TASKS_WANTED = 64,        /* queries are shared among tasks when there are fewer sequences */
    LEAST_QUERIES = 96,       /* of a task: packing keys and values costs as much as a few */
    CACHE_BYTES = 384 * 1024, /* of a block of keys, backward */
    SUMS_WANTED = 32,         /* tasks, and slots, when sequences share a bias */
};

static int64_t reserve(Attend *a, int64_t floats)
{
    int64_t at = a->floats;
    a->floats += round_up(floats, 16);
    return at;
}

/* Blocks of equal size, as large as the cache allows. */
static int64_t keys_of_block(const Attend *a)
{
    int64_t all = round_up(a->m, a->step);
    int64_t each = 4 * (a->d + a->e + 2 * a->d_row + a->e_row + 2 * ATTEND_BLOCK);
    int64_t most = CACHE_BYTES / each / a->step * a->step;
    if (!attend_is_back(a))
        return all;
    most = most < a->step ? a->step : most;
    return round_up(div_up(a->m, div_up(all, most)), a->step);
}

static void place_scratch(Attend *a)
{
    int64_t rows = round_up(a->n, ATTEND_BLOCK), spare = MICRO_ROWS;
    a->kt = reserve(a, a->d * a->keys);
    a->p_rows = reserve(a, (ATTEND_BLOCK + 1) * a->keys);
    a->sums = reserve(a, ATTEND_BLOCK);
    a->asked = reserve(a, a->t->adds ? a->n : 0);
    if (!attend_is_back(a)) {
        a->q = reserve(a, ATTEND_BLOCK * a->d_row);
        a->v = reserve(a, a->m * a->e_row);
        a->y = reserve(a, ATTEND_BLOCK * a->e_row);
        return;
    }
    a->q = reserve(a, rows * a->d_row);
    a->dy = reserve(a, rows * a->e_row);
    a->dq = reserve(a, rows * a->d_row);
    a->vt = reserve(a, a->e * a->keys);
    a->k = reserve(a, a->keys * a->d_row);
    a->ds_rows = reserve(a, (ATTEND_BLOCK + 1) * a->keys);
    a->dk = reserve(a, (a->keys + spare) * a->d_row);
    a->dv = reserve(a, (a->keys + spare) * a->e_row);
}

static bool bias_has(const TileProgram *p, int axis)
{
    const TileResult *r = &p->result[ATTEND_DBIAS];
    for (int k = 0; k < p->tensors.at[r->tensor].layout.shape.rank; k++)
        if (r->axis[k] == axis)
            return true;
    return false;
}

/* Sequences with the axes that the bias has last (samples are always first), so that those that
 * share one are equally far apart. */
static void plan_bias(Attend *a, Flat *outer)
{
    const TileProgram *p = a->p;
    Flat axes = *outer;
    a->has_bias = attend_is_back(a) && p->result[ATTEND_DBIAS].tensor >= 0;
    if (!a->has_bias)
        return;
    a->biases = a->shared = *outer = (Flat){.elems = 1};
    for (int i = 0; i < axes.n; i++) {
        bool has = bias_has(p, axes.axis[i]);
        a->by_sample |= has && axes.axis[i] == p->batch_axis;
        if (axes.axis[i] != p->batch_axis || !has)
            flat_add(has ? &a->biases : &a->shared, p, axes.axis[i]);
        else
            flat_add(outer, p, axes.axis[i]);
    }
    for (int i = 0; i < a->shared.n; i++)
        flat_add(outer, p, a->shared.axis[i]);
    for (int i = 0; i < a->biases.n; i++)
        flat_add(outer, p, a->biases.axis[i]);
    int64_t wanted = div_up(SUMS_WANTED, a->biases.elems);
    a->slots = wanted < a->shared.elems ? wanted : a->shared.elems;
    a->bias_row = round_up(a->m, a->lanes);
}

static void attend_plan(Attend *a, const TileProgram *p, const Target *target)
{
    Flat outer = {.elems = 1};
    *a = (Attend){.p = p, .t = &p->attend, .lanes = target->lanes};
    a->step = (int64_t)micro_vectors(target) * target->lanes;
    a->n = p->axes.at[a->t->n].size;
    a->m = p->axes.at[a->t->m].size;
    a->d = p->axes.at[a->t->d].size;
    a->e = p->axes.at[a->t->e].size;
    a->d_row = round_up(a->d, a->lanes);
    a->e_row = round_up(a->e, a->lanes);
    if (p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_PARALLEL)
        flat_add(&outer, p, p->batch_axis);
    for (int i = 0; i < (int)p->axes.len; i++)
        if (p->axes.at[i].kind == TILE_PARALLEL && i != p->batch_axis)
            flat_add(&outer, p, i);
    plan_bias(a, &outer);
    outer_init(&a->outer, p, &outer);
    int64_t wanted = div_up(TASKS_WANTED, outer.elems), most = div_up(a->n, LEAST_QUERIES);
    a->shares = attend_is_back(a) ? 1 : wanted < most ? wanted : most;
    a->keys = keys_of_block(a);
    place_scratch(a);
}

bool attend_accepts(const TileProgram *p, const Target *target)
{
    (void)target;
    return p->anchor == TILE_ATTEND || p->anchor == TILE_ATTEND_BACK;
}

KernelSchedule attend_schedule(const TileProgram *p, const Target *target)
{
    Attend a;
    KernelSchedule s = {.n_phases = 1};
    attend_plan(&a, p, target);
    s.scratch_bytes = (size_t)a.floats * 4;
    if (!a.has_bias) {
        outer_tasks(&a.outer, a.shares, &s, 0);
        return s;
    }
    const int64_t each[] = {a.biases.elems * a.slots,
                            a.biases.elems * div_up(a.n, ATTEND_SUM_ROWS)};
    int64_t samples = a.by_sample ? p->axes.at[p->batch_axis].size : 1;
    s.n_phases = 2;
    for (int i = 0; i < 2; i++) {
        s.tasks[i] = samples * each[i];
        s.tasks_per_sample[i] = a.by_sample ? each[i] : 0;
    }
    s.workspace_bytes = (size_t)(samples * each[0] * a.n * a.bias_row) * 4;
    return s;
}

/* ---- between tensors and scratch ---- */

Value attend_scratch_at(const AttendCx *cx, int64_t place)
{
    return emit_at(cx->e, cx->e->scratch, emit_i64(cx->e, place));
}

void attend_enter_sequence(AttendCx *cx, Value sequence)
{
    cx->sequence = sequence;
    attend_find_asked(cx);
    attend_find_words(cx);
}

Value attend_row_at(const AttendCx *cx, Value base, Value row, int64_t stride, Value column)
{
    Emitter *e = cx->e;
    return emit_at(e, base, emit_add(e, emit_mul_n(e, row, stride), column));
}

/* Scalar code inside of the sequence, with vectors along an axis of the attention (-1: none). */
Code *attend_code(const AttendCx *cx, int lane_axis)
{
    Code *c = code_new(cx->e, lane_axis, cx->a->lanes);
    outer_enter(c, &cx->a->outer, cx->a->outer.flat.n, cx->sequence);
    return c;
}

void attend_enter_lanes(const AttendCx *cx, Code *c, Value first)
{
    int64_t size = cx->a->p->axes.at[c->lane_axis].size;
    c->mask = size % c->lanes ? emit_lane_mask(cx->e, first, size, c->lanes) : NULL;
    code_enter(c, c->lane_axis, first);
}

void attend_pack_rows(const AttendCx *cx, int operand, int row_axis, int column, Value first,
                      Value rows, Value to)
{
    Emitter *e = cx->e;
    const TileProgram *p = cx->a->p;
    int lanes = cx->a->lanes, inst = cx->a->t->operand[operand];
    int64_t width = p->axes.at[column].size, stride = round_up(width, lanes);
    bool is_key = row_axis == cx->a->t->m;
    Value last = emit_add_n(e, is_key ? emit_i64(e, cx->a->m) : cx->n_asked, -1);
    Code *c = attend_code(cx, column);
    EmitLoop row, block;

    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    Value number = emit_add(e, first, row.index);
    number = emit_min(e, number, last);
    code_enter(c, row_axis, is_key ? number : attend_position(cx, number));
    code_hoist(c, inst);
    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, width), lanes, 0, NULL);
    attend_enter_lanes(cx, c, block.index);
    emit_store(e, attend_row_at(cx, to, row.index, stride, block.index),
               emit_splat(e, code_value(c, inst), lanes), 4U * (unsigned)lanes);
    code_leave(c, column);
    emit_loop_end(e, &block, NULL);
    code_leave(c, row_axis);
    emit_loop_end(e, &row, NULL);
}

/* An operand of keys from `first` as [column][key]; zeros behind the last key, up to `keys`. */
void attend_pack_keys(const AttendCx *cx, int operand, int column, Value first, Value keys,
                      Value to)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    unsigned align = 4U * (unsigned)a->lanes;
    int inst = a->t->operand[operand];
    Value left = emit_sub(e, emit_i64(e, round_up(a->m, a->lanes)), first);
    Value real = emit_min(e, keys, left);
    Value zero = emit_zero(e, emit_vector_type(e, e->f32, a->lanes));
    Code *c = attend_code(cx, a->t->m);
    EmitLoop w, key, rest;

    emit_loop_begin(e, &w, emit_i64(e, 0), emit_i64(e, a->p->axes.at[column].size), 1, 0, NULL);
    code_enter(c, column, w.index);
    emit_loop_begin(e, &key, emit_i64(e, 0), real, a->lanes, 0, NULL);
    attend_enter_lanes(cx, c, emit_add(e, first, key.index));
    emit_store(e, attend_row_at(cx, to, w.index, a->keys, key.index),
               emit_splat(e, code_value(c, inst), a->lanes), align);
    code_leave(c, a->t->m);
    emit_loop_end(e, &key, NULL);
    code_leave(c, column);
    emit_loop_begin(e, &rest, real, keys, a->lanes, 0, NULL);
    emit_store(e, attend_row_at(cx, to, w.index, a->keys, rest.index), zero, align);
    emit_loop_end(e, &rest, NULL);
    emit_loop_end(e, &w, NULL);
}

void attend_result_index(const TileProgram *p, int result, TileIndex index[MAX_RANK])
{
    const TileResult *r = &p->result[result];
    memset(index, 0, MAX_RANK * sizeof *index);
    for (int k = 0; k < p->tensors.at[r->tensor].layout.shape.rank; k++)
        index[k] = (TileIndex){.n_terms = 1, .axis = {r->axis[k]}, .coef = {1}};
}

/* Writes `rows` rows from scratch as rows `first` .. of a result; `factors`, if not NULL: one per
 * row. */
void attend_write_rows(const AttendCx *cx, int result, int row_axis, int column, Value first,
                       Value rows, Value from, Value factors)
{
    Emitter *e = cx->e;
    const TileProgram *p = cx->a->p;
    int lanes = cx->a->lanes;
    int64_t width = p->axes.at[column].size, stride = round_up(width, lanes);
    TileIndex index[MAX_RANK];
    EmitLoop row, block;

    attend_result_index(p, result, index);
    Code *c = attend_code(cx, column);
    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    Value number = emit_add(e, first, row.index);
    code_enter(c, row_axis, row_axis == cx->a->t->m ? number : attend_position(cx, number));
    Value factor = factors ? emit_load(e, emit_at(e, factors, row.index), 1, 4) : NULL;
    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, width), lanes, 0, NULL);
    attend_enter_lanes(cx, c, block.index);
    Value v = emit_load(e, attend_row_at(cx, from, row.index, stride, block.index), lanes,
                        4U * (unsigned)lanes);
    code_store_at(c, p->result[result].tensor, index, factor ? emit_fmul(e, v, factor) : v);
    code_leave(c, column);
    emit_loop_end(e, &block, NULL);
    code_leave(c, row_axis);
    emit_loop_end(e, &row, NULL);
}

void attend_fill_zeros(const AttendCx *cx, Value at, Value floats)
{
    Emitter *e = cx->e;
    EmitLoop l;
    emit_loop_begin(e, &l, emit_i64(e, 0), floats, cx->a->lanes, 0, NULL);
    emit_store(e, emit_at(e, at, l.index), emit_zero(e, emit_vector_type(e, e->f32, cx->a->lanes)),
               4U * (unsigned)cx->a->lanes);
    emit_loop_end(e, &l, NULL);
}

/* ---- forward ---- */

static Value largest_lane(Emitter *e, Value v)
{
    Value top = emit_extract(e, v, 0);
    for (int i = 1; i < emit_width(v); i++)
        top = emit_prim(e, PRIM_MAX, top, emit_extract(e, v, i), NULL);
    return top;
}

/* Scaled scores of a vector of keys from `key`; -inf from `limit` on, and of the key `own` where a
 * query does not see its own. */
Value attend_scores_at(const AttendCx *cx, Value row, Value key, Value limit, Value own)
{
    Emitter *e = cx->e;
    int lanes = cx->a->lanes;
    Value s = emit_load(e, emit_at(e, row, key), lanes, 4U * (unsigned)lanes);
    Value mask = emit_lane_mask(e, emit_sub(e, key, limit), 0, lanes);
    if (!cx->a->t->adds) /* else the row is complete */
        s = emit_fmul(e, s, emit_f32(e, cx->a->t->scale));
    Value hidden = emit_splat(e, emit_f32(e, -INFINITY), lanes);
    s = emit_select(e, mask, s, hidden);
    if (cx->a->t->mask != ATTEND_SEES_OTHERS)
        return s;
    Value from_own = emit_sub(e, key, own);
    Value up_to = emit_select(e, emit_lane_mask(e, from_own, 1, lanes), hidden, s);
    return emit_select(e, emit_lane_mask(e, from_own, 0, lanes), s, up_to);
}

/* ---- additions ---- */

/* What is added to the scores of a query with a vector of keys from `key` (of all). */
static Value additions_at(const AttendCx *cx, Code *c, Value key)
{
    Emitter *e = cx->e;
    const int *operand = cx->a->t->operand + tile_additions(cx->a->p);
    attend_enter_lanes(cx, c, key);
    Value own = code_value(c, operand[ATTEND_OWN]), theirs = code_value(c, operand[ATTEND_THEIRS]);
    Value bias = code_value(c, operand[ATTEND_BIAS]);
    Value alike = LLVMBuildFCmp(e->builder, LLVMRealOEQ, emit_splat(e, own, c->lanes),
                                emit_splat(e, theirs, c->lanes), "");
    Value unlike = emit_select(e, alike, emit_splat(e, emit_f32(e, 0), c->lanes),
                               emit_splat(e, emit_f32(e, ATTEND_UNLIKE), c->lanes));
    code_leave(c, c->lane_axis);
    return emit_fadd(e, emit_splat(e, bias, c->lanes), unlike);
}

/* Keys of a row that vectors of operands may be read for: rows of scores are longer. */
static Value readable_keys(const AttendCx *cx, Value keys, Value first_key)
{
    Value end = emit_i64(cx->e, round_up(cx->a->m, cx->a->lanes));
    return emit_min(cx->e, keys, emit_sub(cx->e, end, first_key));
}

/* Scores of a query with `keys` keys from `first_key` become complete in place: scaled and added
 * to. */
void attend_complete_row(const AttendCx *cx, Value row, Value first_key, Value keys, Value query)
{
    Emitter *e = cx->e;
    const TileAttend *t = cx->a->t;
    int lanes = cx->a->lanes;
    EmitLoop l;

    if (!t->adds)
        return;
    Code *c = attend_code(cx, t->m);
    code_enter(c, t->n, query);
    code_hoist(c, t->operand[tile_additions(cx->a->p) + ATTEND_OWN]);
    emit_loop_begin(e, &l, emit_i64(e, 0), readable_keys(cx, keys, first_key), lanes, 0, NULL);
    Value at = emit_at(e, row, l.index);
    Value s = emit_load(e, at, lanes, 4U * (unsigned)lanes);
    Value added = additions_at(cx, c, emit_add(e, first_key, l.index));
    s = emit_fma(e, s, emit_splat(e, emit_f32(e, t->scale), lanes), added);
    emit_store(e, at, s, 4U * (unsigned)lanes);
    emit_loop_end(e, &l, NULL);
    code_leave(c, t->n);
}

/* exp(score - largest) over a row in place; returns the sum and the largest score. */
static Value soften_row(const AttendCx *cx, Value row, Value keys, Value limit, Value own,
                        Value *largest)
{
    Emitter *e = cx->e;
    int lanes = cx->a->lanes;
    Value low = emit_splat(e, emit_f32(e, -INFINITY), lanes),
          zero = emit_splat(e, emit_f32(e, 0), lanes);
    EmitLoop l;

    emit_loop_begin(e, &l, emit_i64(e, 0), keys, lanes, 1, &low);
    Value top =
        emit_prim(e, PRIM_MAX, l.carried[0], attend_scores_at(cx, row, l.index, limit, own), NULL);
    emit_loop_end(e, &l, &top);
    *largest = largest_lane(e, l.result[0]);
    emit_loop_begin(e, &l, emit_i64(e, 0), keys, lanes, 1, &zero);
    Value w = emit_fsub(e, attend_scores_at(cx, row, l.index, limit, own), *largest);
    w = emit_prim(e, PRIM_EXP, w, NULL, NULL);
    emit_store(e, emit_at(e, row, l.index), w, 4U * (unsigned)lanes);
    Value sum = emit_fadd(e, l.carried[0], w);
    emit_loop_end(e, &l, &sum);
    return emit_sum_lanes(e, l.result[0]);
}

static void soften(const AttendCx *cx, Value first, Value rows, Value keys)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    const TileProgram *p = a->p;
    bool has_sums = p->result[ATTEND_L].tensor >= 0;
    TileIndex index[MAX_RANK];
    Code *c = attend_code(cx, -1);
    EmitLoop row;

    if (has_sums)
        attend_result_index(p, ATTEND_L, index);
    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    Value query = attend_position(cx, emit_add(e, first, row.index)), largest;
    Value limit = a->t->mask == ATTEND_SEES_EARLIER ? emit_add_n(e, query, 1) : emit_i64(e, a->m);
    Value at =
        attend_row_at(cx, attend_scratch_at(cx, a->p_rows), row.index, a->keys, emit_i64(e, 0));
    attend_complete_row(cx, at, emit_i64(e, 0), keys, query);
    Value sum = soften_row(cx, at, keys, limit, query, &largest);
    attend_drop_row(cx, at, keys, query);
    emit_store(e, emit_at(e, attend_scratch_at(cx, a->sums), row.index),
               emit_fdiv(e, emit_f32(e, attend_gain(cx)), sum), 4);
    if (has_sums) {
        code_enter(c, a->t->n, query);
        code_store_at(c, p->result[ATTEND_L].tensor, index,
                      emit_fadd(e, largest, emit_prim(e, PRIM_LOG, sum, NULL, NULL)));
        code_leave(c, a->t->n);
    }
    emit_loop_end(e, &row, NULL);
}

/* Whole register tiles of keys that cover `keys` of them. */
Value attend_tiles_for(const AttendCx *cx, Value keys)
{
    return emit_div_n(cx->e, emit_add_n(cx->e, keys, cx->a->step - 1), cx->a->step);
}

static void emit_forward(const AttendCx *cx, Value first, Value last)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    EmitLoop block;
    Value all = emit_i64(e, a->m);
    bool is_cut = a->t->mask == ATTEND_SEES_EARLIER && !a->t->adds; /* keys end with the block */

    attend_clear_unasked(cx, ATTEND_Y, a->t->e, first, last);
    attend_clear_unasked(cx, ATTEND_L, -1, first, last);
    last = emit_min(e, last, cx->n_asked);
    attend_pack_keys(cx, ATTEND_KEY, a->t->d, emit_i64(e, 0), emit_i64(e, a->keys),
                     attend_scratch_at(cx, a->kt));
    attend_pack_rows(cx, ATTEND_VALUE, a->t->m, a->t->e, emit_i64(e, 0), all,
                     attend_scratch_at(cx, a->v));
    emit_loop_begin(e, &block, first, last, ATTEND_BLOCK, 0, NULL);
    Value rows = emit_min(e, emit_sub(e, last, block.index), emit_i64(e, ATTEND_BLOCK));
    Value keys = is_cut ? emit_min(e, emit_add(e, block.index, rows), all) : all;
    Value tiles = attend_tiles_for(cx, keys);
    attend_pack_rows(cx, ATTEND_QUERY, a->t->n, a->t->d, block.index, emit_i64(e, ATTEND_BLOCK),
                     attend_scratch_at(cx, a->q));
    emit_micro(e, &(Micro){.a = attend_scratch_at(cx, a->q),
                           .a_row = a->d_row,
                           .a_k = 1,
                           .b = attend_scratch_at(cx, a->kt),
                           .b_k = a->keys,
                           .out = attend_scratch_at(cx, a->p_rows),
                           .out_row = a->keys,
                           .rows = rows,
                           .k = emit_i64(e, a->d),
                           .tiles = tiles});
    soften(cx, block.index, rows, emit_mul_n(e, tiles, a->step));
    emit_micro(e, &(Micro){.a = attend_scratch_at(cx, a->p_rows),
                           .a_row = a->keys,
                           .a_k = 1,
                           .b = attend_scratch_at(cx, a->v),
                           .b_k = a->e_row,
                           .out = attend_scratch_at(cx, a->y),
                           .out_row = a->e_row,
                           .rows = rows,
                           .k = keys,
                           .vectors = a->e_row / a->lanes});
    if (a->p->result[ATTEND_Y].tensor >= 0)
        attend_write_rows(cx, ATTEND_Y, a->t->n, a->t->e, block.index, rows,
                          attend_scratch_at(cx, a->y), attend_scratch_at(cx, a->sums));
    emit_loop_end(e, &block, NULL);
}

void attend_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Attend a;
    attend_plan(&a, p, &e->target);
    emit_function_begin(e, p, symbol[0]);
    AttendCx cx = {.e = e, .a = &a};
    if (!a.has_bias)
        attend_enter_sequence(&cx, emit_div_n(e, e->task, a.shares));
    if (a.has_bias) {
        attend_emit_back_share(&cx);
        emit_function_end(e);
        emit_function_begin(e, p, symbol[1]);
        attend_emit_bias(&cx);
    } else if (p->anchor == TILE_ATTEND_BACK) {
        attend_emit_back(&cx);
    } else {
        int64_t each = round_up(div_up(a.n, a.shares), ATTEND_BLOCK);
        Value first = emit_mul_n(e, emit_mod_n(e, e->task, a.shares), each);
        Value last = emit_min(e, emit_add_n(e, first, each), emit_i64(e, a.n));
        emit_forward(&cx, first, last);
    }
    emit_function_end(e);
}
