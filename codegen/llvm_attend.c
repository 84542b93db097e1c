/* Attention, forward and backward (ir/ops/attention.c has the formulas).
 *
 * A task computes one sequence, or a share of its queries when there are few sequences. Keys are
 * packed as [width][key], so that a vector holds the scores of neighbouring keys, and values as
 * [key][width]. Scores of a block of QUERIES queries exist in scratch only, as long as they are
 * needed: forward for all keys at once, so that the largest is known before the first exponential.
 * Backward weights are made from the logarithm of the sum instead, so keys go in blocks that leave
 * room for everything else in the second-level cache, and all three gradients are products of such
 * blocks; dq is gathered in scratch over the blocks of keys. A causal query does not see what is
 * behind it: forward, keys end at the block's last query; backward, queries begin at the block's
 * first key.
 *
 * Everything is read once per task through the ordinary loads, whatever its layout.
 *
 * Measured on one core of Zen 4 with AVX-512 (120 GFLOP/s), forward and backward: 435 keys of width
 * 48: 80 and 95 GFLOP/s; 116 of 48: 62 and 77; 324 of 80, causal: 59 and 60; 1654 of 155: 82 and
 * 101 (bench/kernel_bench attention). Short sequences pay for packing keys element by element. */
#include "codegen/llvm_micro.h"
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_space.h"
#include <math.h>

enum {
    QUERIES = 4 * MICRO_ROWS, /* of a block */
    TASKS_WANTED = 64,        /* queries are shared among tasks when there are fewer sequences */
    LEAST_QUERIES = 96,       /* of a task: packing keys and values costs as much as a few */
    CACHE_BYTES = 384 * 1024, /* of a block of keys, backward */
};

typedef struct Attend {
    const TileProgram *p;
    const TileAttend *t;
    int lanes;
    int64_t step; /* keys of a register tile */
    int64_t n, m, d, e;
    int64_t d_row, e_row; /* rows of packed operands, floats: whole vectors */
    int64_t keys;         /* of a block, a multiple of step */
    int64_t shares;       /* tasks per sequence */
    Outer outer;
    /* scratch, offsets in floats; what a direction does not have is 0 */
    int64_t q, dy, kt, vt, k, v, p_rows, ds_rows, y, dq, dk, dv, sums, floats;
} Attend;

static int64_t reserve(Attend *a, int64_t floats)
{
    int64_t at = a->floats;
    a->floats += round_up(floats, 16);
    return at;
}

static bool is_back(const Attend *a)
{
    return a->p->anchor == TILE_ATTEND_BACK;
}

/* Blocks of equal size, as large as the cache allows. */
static int64_t keys_of_block(const Attend *a)
{
    int64_t all = round_up(a->m, a->step);
    int64_t each = 4 * (a->d + a->e + 2 * a->d_row + a->e_row + 2 * QUERIES);
    int64_t most = CACHE_BYTES / each / a->step * a->step;
    if (!is_back(a))
        return all;
    most = most < a->step ? a->step : most;
    return round_up(div_up(a->m, div_up(all, most)), a->step);
}

static void place_scratch(Attend *a)
{
    int64_t rows = round_up(a->n, QUERIES), spare = MICRO_ROWS;
    a->kt = reserve(a, a->d * a->keys);
    a->p_rows = reserve(a, (QUERIES + 1) * a->keys);
    a->sums = reserve(a, QUERIES);
    if (!is_back(a)) {
        a->q = reserve(a, QUERIES * a->d_row);
        a->v = reserve(a, a->m * a->e_row);
        a->y = reserve(a, QUERIES * a->e_row);
        return;
    }
    a->q = reserve(a, rows * a->d_row);
    a->dy = reserve(a, rows * a->e_row);
    a->dq = reserve(a, rows * a->d_row);
    a->vt = reserve(a, a->e * a->keys);
    a->k = reserve(a, a->keys * a->d_row);
    a->ds_rows = reserve(a, (QUERIES + 1) * a->keys);
    a->dk = reserve(a, (a->keys + spare) * a->d_row);
    a->dv = reserve(a, (a->keys + spare) * a->e_row);
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
    outer_init(&a->outer, p, &outer);
    int64_t wanted = div_up(TASKS_WANTED, outer.elems), most = div_up(a->n, LEAST_QUERIES);
    a->shares = is_back(a) ? 1 : wanted < most ? wanted : most;
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
    outer_tasks(&a.outer, a.shares, &s, 0);
    s.scratch_bytes = (size_t)a.floats * 4;
    return s;
}

/* ---- between tensors and scratch ---- */

typedef struct AttendCx {
    Emitter *e;
    const Attend *a;
    Value sequence;
} AttendCx;

static Value scratch_at(const AttendCx *cx, int64_t place)
{
    return emit_at(cx->e, cx->e->scratch, emit_i64(cx->e, place));
}

static Value row_at(const AttendCx *cx, Value base, Value row, int64_t stride, Value column)
{
    Emitter *e = cx->e;
    return emit_at(e, base, emit_add(e, emit_mul_n(e, row, stride), column));
}

/* Scalar code inside of the sequence, with vectors along an axis of the attention (-1: none). */
static Code *code_in_sequence(const AttendCx *cx, int lane_axis)
{
    Code *c = code_new(cx->e, lane_axis, cx->a->lanes);
    outer_enter(c, &cx->a->outer, cx->a->outer.flat.n, cx->sequence);
    return c;
}

static void enter_lanes(const AttendCx *cx, Code *c, Value first)
{
    int64_t size = cx->a->p->axes.at[c->lane_axis].size;
    c->mask = size % c->lanes ? emit_lane_mask(cx->e, first, size, c->lanes) : NULL;
    code_enter(c, c->lane_axis, first);
}

/* `rows` rows of an operand from `first`, those beyond the axis being its last, vectors along
 * `column`. */
static void pack_rows(const AttendCx *cx, int operand, int row_axis, int column, Value first,
                      Value rows, Value to)
{
    Emitter *e = cx->e;
    const TileProgram *p = cx->a->p;
    int lanes = cx->a->lanes, inst = cx->a->t->operand[operand];
    int64_t width = p->axes.at[column].size, stride = round_up(width, lanes);
    Value last = emit_i64(e, p->axes.at[row_axis].size - 1);
    Code *c = code_in_sequence(cx, column);
    EmitLoop row, block;

    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    code_enter(c, row_axis, emit_min(e, emit_add(e, first, row.index), last));
    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, width), lanes, 0, NULL);
    enter_lanes(cx, c, block.index);
    emit_store(e, row_at(cx, to, row.index, stride, block.index),
               emit_splat(e, code_value(c, inst), lanes), 4U * (unsigned)lanes);
    code_leave(c, column);
    emit_loop_end(e, &block, NULL);
    code_leave(c, row_axis);
    emit_loop_end(e, &row, NULL);
}

/* An operand of keys from `first` as [column][key]; zeros behind the last key, up to `keys`. */
static void pack_keys(const AttendCx *cx, int operand, int column, Value first, Value keys,
                      Value to)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    unsigned align = 4U * (unsigned)a->lanes;
    int inst = a->t->operand[operand];
    Value left = emit_sub(e, emit_i64(e, round_up(a->m, a->lanes)), first);
    Value real = emit_min(e, keys, left);
    Value zero = emit_zero(e, emit_vector_type(e, e->f32, a->lanes));
    Code *c = code_in_sequence(cx, a->t->m);
    EmitLoop w, key, rest;

    emit_loop_begin(e, &w, emit_i64(e, 0), emit_i64(e, a->p->axes.at[column].size), 1, 0, NULL);
    code_enter(c, column, w.index);
    emit_loop_begin(e, &key, emit_i64(e, 0), real, a->lanes, 0, NULL);
    enter_lanes(cx, c, emit_add(e, first, key.index));
    emit_store(e, row_at(cx, to, w.index, a->keys, key.index),
               emit_splat(e, code_value(c, inst), a->lanes), align);
    code_leave(c, a->t->m);
    emit_loop_end(e, &key, NULL);
    code_leave(c, column);
    emit_loop_begin(e, &rest, real, keys, a->lanes, 0, NULL);
    emit_store(e, row_at(cx, to, w.index, a->keys, rest.index), zero, align);
    emit_loop_end(e, &rest, NULL);
    emit_loop_end(e, &w, NULL);
}

static void result_index(const TileProgram *p, int result, TileIndex index[MAX_RANK])
{
    const TileResult *r = &p->result[result];
    memset(index, 0, MAX_RANK * sizeof *index);
    for (int k = 0; k < p->tensors.at[r->tensor].layout.shape.rank; k++)
        index[k] = (TileIndex){.n_terms = 1, .axis = {r->axis[k]}, .coef = {1}};
}

/* Writes `rows` rows from scratch as rows `first` .. of a result; `factors`, if not NULL: one per
 * row. */
static void write_rows(const AttendCx *cx, int result, int row_axis, int column, Value first,
                       Value rows, Value from, Value factors)
{
    Emitter *e = cx->e;
    const TileProgram *p = cx->a->p;
    int lanes = cx->a->lanes;
    int64_t width = p->axes.at[column].size, stride = round_up(width, lanes);
    TileIndex index[MAX_RANK];
    EmitLoop row, block;

    result_index(p, result, index);
    Code *c = code_in_sequence(cx, column);
    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    code_enter(c, row_axis, emit_add(e, first, row.index));
    Value factor = factors ? emit_load(e, emit_at(e, factors, row.index), 1, 4) : NULL;
    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, width), lanes, 0, NULL);
    enter_lanes(cx, c, block.index);
    Value v =
        emit_load(e, row_at(cx, from, row.index, stride, block.index), lanes, 4U * (unsigned)lanes);
    code_store_at(c, p->result[result].tensor, index, factor ? emit_fmul(e, v, factor) : v);
    code_leave(c, column);
    emit_loop_end(e, &block, NULL);
    code_leave(c, row_axis);
    emit_loop_end(e, &row, NULL);
}

static void fill_zeros(const AttendCx *cx, Value at, Value floats)
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
static Value scores_at(const AttendCx *cx, Value row, Value key, Value limit, Value own)
{
    Emitter *e = cx->e;
    int lanes = cx->a->lanes;
    Value s = emit_load(e, emit_at(e, row, key), lanes, 4U * (unsigned)lanes);
    Value mask = emit_lane_mask(e, emit_sub(e, key, limit), 0, lanes);
    s = emit_fmul(e, s, emit_f32(e, cx->a->t->scale));
    Value hidden = emit_splat(e, emit_f32(e, -INFINITY), lanes);
    s = emit_select(e, mask, s, hidden);
    if (cx->a->t->mask != ATTEND_SEES_OTHERS)
        return s;
    Value from_own = emit_sub(e, key, own);
    Value up_to = emit_select(e, emit_lane_mask(e, from_own, 1, lanes), hidden, s);
    return emit_select(e, emit_lane_mask(e, from_own, 0, lanes), s, up_to);
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
    Value top = emit_prim(e, PRIM_MAX, l.carried[0], scores_at(cx, row, l.index, limit, own), NULL);
    emit_loop_end(e, &l, &top);
    *largest = largest_lane(e, l.result[0]);
    emit_loop_begin(e, &l, emit_i64(e, 0), keys, lanes, 1, &zero);
    Value w = emit_fsub(e, scores_at(cx, row, l.index, limit, own), *largest);
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
    Code *c = code_in_sequence(cx, -1);
    EmitLoop row;

    if (has_sums)
        result_index(p, ATTEND_L, index);
    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    Value query = emit_add(e, first, row.index), largest;
    Value limit = a->t->mask == ATTEND_SEES_EARLIER ? emit_add_n(e, query, 1) : emit_i64(e, a->m);
    Value at = row_at(cx, scratch_at(cx, a->p_rows), row.index, a->keys, emit_i64(e, 0));
    Value sum = soften_row(cx, at, keys, limit, query, &largest);
    emit_store(e, emit_at(e, scratch_at(cx, a->sums), row.index), emit_fdiv(e, emit_f32(e, 1), sum),
               4);
    if (has_sums) {
        code_enter(c, a->t->n, query);
        code_store_at(c, p->result[ATTEND_L].tensor, index,
                      emit_fadd(e, largest, emit_prim(e, PRIM_LOG, sum, NULL, NULL)));
        code_leave(c, a->t->n);
    }
    emit_loop_end(e, &row, NULL);
}

/* Whole register tiles of keys that cover `keys` of them. */
static Value tiles_for(const AttendCx *cx, Value keys)
{
    return emit_div_n(cx->e, emit_add_n(cx->e, keys, cx->a->step - 1), cx->a->step);
}

static void emit_forward(const AttendCx *cx, Value first, Value last)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    EmitLoop block;
    Value all = emit_i64(e, a->m);

    pack_keys(cx, ATTEND_KEY, a->t->d, emit_i64(e, 0), emit_i64(e, a->keys), scratch_at(cx, a->kt));
    pack_rows(cx, ATTEND_VALUE, a->t->m, a->t->e, emit_i64(e, 0), all, scratch_at(cx, a->v));
    emit_loop_begin(e, &block, first, last, QUERIES, 0, NULL);
    Value rows = emit_min(e, emit_sub(e, last, block.index), emit_i64(e, QUERIES));
    Value keys =
        a->t->mask == ATTEND_SEES_EARLIER ? emit_min(e, emit_add(e, block.index, rows), all) : all;
    Value tiles = tiles_for(cx, keys);
    pack_rows(cx, ATTEND_QUERY, a->t->n, a->t->d, block.index, emit_i64(e, QUERIES),
              scratch_at(cx, a->q));
    emit_micro(e, &(Micro){.a = scratch_at(cx, a->q),
                           .a_row = a->d_row,
                           .a_k = 1,
                           .b = scratch_at(cx, a->kt),
                           .b_k = a->keys,
                           .out = scratch_at(cx, a->p_rows),
                           .out_row = a->keys,
                           .rows = rows,
                           .k = emit_i64(e, a->d),
                           .tiles = tiles});
    soften(cx, block.index, rows, emit_mul_n(e, tiles, a->step));
    emit_micro(e, &(Micro){.a = scratch_at(cx, a->p_rows),
                           .a_row = a->keys,
                           .a_k = 1,
                           .b = scratch_at(cx, a->v),
                           .b_k = a->e_row,
                           .out = scratch_at(cx, a->y),
                           .out_row = a->e_row,
                           .rows = rows,
                           .k = keys,
                           .vectors = a->e_row / a->lanes});
    if (a->p->result[ATTEND_Y].tensor >= 0)
        write_rows(cx, ATTEND_Y, a->t->n, a->t->e, block.index, rows, scratch_at(cx, a->y),
                   scratch_at(cx, a->sums));
    emit_loop_end(e, &block, NULL);
}

/* ---- backward ---- */

/* Scores and dy v of a block become weights and gradients of scores. */
static void weigh(const AttendCx *cx, Value first_key, Value first, Value rows, Value keys)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    int lanes = a->lanes;
    unsigned align = 4U * (unsigned)lanes;
    Code *c = code_in_sequence(cx, -1);
    EmitLoop row, key;

    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    Value query = emit_add(e, first, row.index);
    code_enter(c, a->t->n, query);
    Value log_sum = code_value(c, a->t->operand[ATTEND_LOG_SUM]);
    Value centre = code_value(c, a->t->operand[ATTEND_CENTRE]);
    Value seen = a->t->mask == ATTEND_SEES_EARLIER ? emit_add_n(e, query, 1) : emit_i64(e, a->m);
    Value limit = emit_sub(e, seen, first_key), own = emit_sub(e, query, first_key);
    Value p = row_at(cx, scratch_at(cx, a->p_rows), row.index, a->keys, emit_i64(e, 0));
    Value ds = row_at(cx, scratch_at(cx, a->ds_rows), row.index, a->keys, emit_i64(e, 0));
    emit_loop_begin(e, &key, emit_i64(e, 0), keys, lanes, 0, NULL);
    Value w = emit_fsub(e, scores_at(cx, p, key.index, limit, own), log_sum);
    w = emit_prim(e, PRIM_EXP, w, NULL, NULL);
    emit_store(e, emit_at(e, p, key.index), w, align);
    Value g = emit_fsub(e, emit_load(e, emit_at(e, ds, key.index), lanes, align), centre);
    g = emit_fmul(e, emit_fmul(e, w, emit_f32(e, a->t->scale)), g);
    emit_store(e, emit_at(e, ds, key.index), g, align);
    emit_loop_end(e, &key, NULL);
    code_leave(c, a->t->n);
    emit_loop_end(e, &row, NULL);
}

/* Scores of the block: rows of q or dy with packed keys or values. */
static void emit_scores(const AttendCx *cx, Value rows, int64_t row, Value packed, int64_t width,
                        int64_t out, Value n, Value tiles)
{
    emit_micro(cx->e, &(Micro){.a = rows,
                               .a_row = row,
                               .a_k = 1,
                               .b = packed,
                               .b_k = cx->a->keys,
                               .out = scratch_at(cx, out),
                               .out_row = cx->a->keys,
                               .rows = n,
                               .k = emit_i64(cx->e, width),
                               .tiles = tiles});
}

/* Keys' sums += transposed weights or gradients of scores, times rows of queries. */
static void add_to_keys(const AttendCx *cx, int64_t weights, Value rows, int64_t row, int64_t out,
                        Value keys, Value n)
{
    emit_micro(cx->e, &(Micro){.a = scratch_at(cx, weights),
                               .a_row = 1,
                               .a_k = cx->a->keys,
                               .b = rows,
                               .b_k = row,
                               .out = scratch_at(cx, out),
                               .out_row = row,
                               .rows = keys,
                               .k = n,
                               .vectors = row / cx->a->lanes,
                               .adds = true});
}

static void emit_queries(const AttendCx *cx, Value first_key, Value keys, Value first)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    const TileResult *result = a->p->result;
    Value rows = emit_min(e, emit_sub(e, emit_i64(e, a->n), first), emit_i64(e, QUERIES));
    Value tiles = tiles_for(cx, keys), zero = emit_i64(e, 0);
    Value q = row_at(cx, scratch_at(cx, a->q), first, a->d_row, zero);
    Value dy = row_at(cx, scratch_at(cx, a->dy), first, a->e_row, zero);

    emit_scores(cx, q, a->d_row, scratch_at(cx, a->kt), a->d, a->p_rows, rows, tiles);
    emit_scores(cx, dy, a->e_row, scratch_at(cx, a->vt), a->e, a->ds_rows, rows, tiles);
    weigh(cx, first_key, first, rows, emit_mul_n(e, tiles, a->step));
    if (result[ATTEND_DQ].tensor >= 0)
        emit_micro(e, &(Micro){.a = scratch_at(cx, a->ds_rows),
                               .a_row = a->keys,
                               .a_k = 1,
                               .b = scratch_at(cx, a->k),
                               .b_k = a->d_row,
                               .out = row_at(cx, scratch_at(cx, a->dq), first, a->d_row, zero),
                               .out_row = a->d_row,
                               .rows = rows,
                               .k = keys,
                               .vectors = a->d_row / a->lanes,
                               .adds = true});
    if (result[ATTEND_DK].tensor >= 0)
        add_to_keys(cx, a->ds_rows, q, a->d_row, a->dk, keys, rows);
    if (result[ATTEND_DV].tensor >= 0)
        add_to_keys(cx, a->p_rows, dy, a->e_row, a->dv, keys, rows);
}

static void emit_backward(const AttendCx *cx)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    const TileResult *result = a->p->result;
    Value zero = emit_i64(e, 0), n = emit_i64(e, a->n), m = emit_i64(e, a->m);
    Value padded = emit_i64(e, round_up(a->n, QUERIES));
    EmitLoop block, query;

    pack_rows(cx, ATTEND_QUERY, a->t->n, a->t->d, zero, padded, scratch_at(cx, a->q));
    pack_rows(cx, ATTEND_DY, a->t->n, a->t->e, zero, padded, scratch_at(cx, a->dy));
    fill_zeros(cx, scratch_at(cx, a->dq), emit_mul_n(e, padded, a->d_row));
    emit_loop_begin(e, &block, zero, m, a->keys, 0, NULL);
    Value keys = emit_min(e, emit_sub(e, m, block.index), emit_i64(e, a->keys));
    Value whole = emit_mul_n(e, tiles_for(cx, keys), a->step);
    pack_keys(cx, ATTEND_KEY, a->t->d, block.index, whole, scratch_at(cx, a->kt));
    pack_keys(cx, ATTEND_VALUE, a->t->e, block.index, whole, scratch_at(cx, a->vt));
    pack_rows(cx, ATTEND_KEY, a->t->m, a->t->d, block.index, keys, scratch_at(cx, a->k));
    fill_zeros(cx, scratch_at(cx, a->dk), emit_i64(e, a->keys * a->d_row));
    fill_zeros(cx, scratch_at(cx, a->dv), emit_i64(e, a->keys * a->e_row));
    Value from = a->t->mask == ATTEND_SEES_EARLIER
                     ? emit_mul_n(e, emit_div_n(e, block.index, QUERIES), QUERIES)
                     : zero;
    emit_loop_begin(e, &query, from, n, QUERIES, 0, NULL);
    emit_queries(cx, block.index, keys, query.index);
    emit_loop_end(e, &query, NULL);
    if (result[ATTEND_DK].tensor >= 0)
        write_rows(cx, ATTEND_DK, a->t->m, a->t->d, block.index, keys, scratch_at(cx, a->dk), NULL);
    if (result[ATTEND_DV].tensor >= 0)
        write_rows(cx, ATTEND_DV, a->t->m, a->t->e, block.index, keys, scratch_at(cx, a->dv), NULL);
    emit_loop_end(e, &block, NULL);
    if (result[ATTEND_DQ].tensor >= 0)
        write_rows(cx, ATTEND_DQ, a->t->n, a->t->d, zero, n, scratch_at(cx, a->dq), NULL);
}

void attend_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Attend a;
    attend_plan(&a, p, &e->target);
    emit_function_begin(e, p, symbol[0]);
    AttendCx cx = {e, &a, emit_div_n(e, e->task, a.shares)};
    if (p->anchor == TILE_ATTEND_BACK) {
        emit_backward(&cx);
    } else {
        int64_t each = round_up(div_up(a.n, a.shares), QUERIES);
        Value first = emit_mul_n(e, emit_mod_n(e, e->task, a.shares), each);
        Value last = emit_min(e, emit_add_n(e, first, each), emit_i64(e, a.n));
        emit_forward(&cx, first, last);
    }
    emit_function_end(e);
}
