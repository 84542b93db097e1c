/* Gradients of attention: the backward half of llvm_attend.c, and the gradient of a bias, which is
 * a sum over sequences. */
#include "codegen/llvm_attend_parts.h"

/* A vector of gradients of scores onto the task's sum for the bias. Rows end with whole vectors;
 * what lies behind these are keys that nobody has. */
static void add_to_bias(const AttendCx *cx, Value query, Value key, Value gradient)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    unsigned align = 4U * (unsigned)a->lanes;
    EmitIf readable;

    emit_if_begin(e, &readable, emit_less(e, key, emit_i64(e, a->bias_row)));
    Value at = attend_row_at(cx, cx->bias_sums, query, a->bias_row, key);
    emit_store(e, at, emit_fadd(e, emit_load(e, at, a->lanes, align), gradient), align);
    emit_if_end(e, &readable);
}

/* A row of scores, and of dy v, that become weights and gradients of scores. */
typedef struct Row {
    Value p, ds, query, first_key; /* where they are, who they are of */
    Value limit, own;              /* keys that the query sees, its own, counted in the row */
    Value log_sum, centre;
} Row;

/* A vector of keys from `key`; `keep`: of weights, where some are dropped. */
static void weigh_vector(const AttendCx *cx, const Row *r, Value key, Value keep)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    int lanes = a->lanes;
    unsigned align = 4U * (unsigned)lanes;
    Value gain = emit_f32(e, attend_gain(cx)),
          zero = emit_zero(e, emit_vector_type(e, e->f32, lanes));

    Value w = emit_fsub(e, attend_scores_at(cx, r->p, key, r->limit, r->own), r->log_sum);
    w = emit_prim(e, PRIM_EXP, w, NULL, NULL);
    Value left = keep ? emit_select(e, keep, emit_fmul(e, w, gain), zero) : w;
    emit_store(e, emit_at(e, r->p, key), left, align);
    Value g = emit_load(e, emit_at(e, r->ds, key), lanes, align);
    if (keep)
        g = emit_select(e, keep, emit_fmul(e, g, gain), zero);
    g = emit_fsub(e, g, r->centre);
    if (a->has_bias)
        add_to_bias(cx, r->query, emit_add(e, r->first_key, key), emit_fmul(e, w, g));
    g = emit_fmul(e, emit_fmul(e, w, emit_f32(e, a->t->scale)), g);
    emit_store(e, emit_at(e, r->ds, key), g, align);
}

/* Scores and dy v of a block become weights and gradients of scores. */
static void weigh(const AttendCx *cx, Value first_key, Value first, Value rows, Value keys)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    int vectors = a->t->drop > 0 ? 2 : 1;
    Code *c = attend_code(cx, -1);
    EmitLoop row, key;

    emit_loop_begin(e, &row, emit_i64(e, 0), rows, 1, 0, NULL);
    Row r = {.query = attend_position(cx, emit_add(e, first, row.index)), .first_key = first_key};
    code_enter(c, a->t->n, r.query);
    r.log_sum = code_value(c, a->t->operand[ATTEND_LOG_SUM]);
    r.centre = code_value(c, a->t->operand[ATTEND_CENTRE]);
    Value seen = a->t->mask == ATTEND_SEES_EARLIER ? emit_add_n(e, r.query, 1) : emit_i64(e, a->m);
    r.limit = emit_sub(e, seen, first_key);
    r.own = emit_sub(e, r.query, first_key);
    r.p = attend_row_at(cx, attend_scratch_at(cx, a->p_rows), row.index, a->keys, emit_i64(e, 0));
    r.ds = attend_row_at(cx, attend_scratch_at(cx, a->ds_rows), row.index, a->keys, emit_i64(e, 0));
    attend_complete_row(cx, r.p, first_key, keys, r.query);
    emit_loop_begin(e, &key, emit_i64(e, 0), keys, (int64_t)vectors * a->lanes, 0, NULL);
    Value keep[2] = {NULL, NULL};
    if (vectors == 2)
        attend_keeps(cx, r.query, emit_add(e, first_key, key.index), keep);
    for (int v = 0; v < vectors; v++)
        weigh_vector(cx, &r, emit_add_n(e, key.index, (int64_t)v * a->lanes), keep[v]);
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
                               .out = attend_scratch_at(cx, out),
                               .out_row = cx->a->keys,
                               .rows = n,
                               .k = emit_i64(cx->e, width),
                               .tiles = tiles});
}

/* Keys' sums += transposed weights or gradients of scores, times rows of queries. */
static void add_to_keys(const AttendCx *cx, int64_t weights, Value rows, int64_t row, int64_t out,
                        Value keys, Value n)
{
    emit_micro(cx->e, &(Micro){.a = attend_scratch_at(cx, weights),
                               .a_row = 1,
                               .a_k = cx->a->keys,
                               .b = rows,
                               .b_k = row,
                               .out = attend_scratch_at(cx, out),
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
    Value rows = emit_min(e, emit_sub(e, cx->n_asked, first), emit_i64(e, ATTEND_BLOCK));
    Value tiles = attend_tiles_for(cx, keys), zero = emit_i64(e, 0);
    Value q = attend_row_at(cx, attend_scratch_at(cx, a->q), first, a->d_row, zero);
    Value dy = attend_row_at(cx, attend_scratch_at(cx, a->dy), first, a->e_row, zero);

    emit_scores(cx, q, a->d_row, attend_scratch_at(cx, a->kt), a->d, a->p_rows, rows, tiles);
    emit_scores(cx, dy, a->e_row, attend_scratch_at(cx, a->vt), a->e, a->ds_rows, rows, tiles);
    weigh(cx, first_key, first, rows, emit_mul_n(e, tiles, a->step));
    if (result[ATTEND_DQ].tensor >= 0)
        emit_micro(e, &(Micro){.a = attend_scratch_at(cx, a->ds_rows),
                               .a_row = a->keys,
                               .a_k = 1,
                               .b = attend_scratch_at(cx, a->k),
                               .b_k = a->d_row,
                               .out = attend_row_at(cx, attend_scratch_at(cx, a->dq), first,
                                                    a->d_row, zero),
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

void attend_emit_back(const AttendCx *cx)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    const TileResult *result = a->p->result;
    Value zero = emit_i64(e, 0), n = cx->n_asked, m = emit_i64(e, a->m);
    Value blocks = emit_div_n(e, emit_add_n(e, n, ATTEND_BLOCK - 1), ATTEND_BLOCK);
    Value padded = emit_mul_n(e, blocks, ATTEND_BLOCK);
    EmitLoop block, query;

    attend_pack_rows(cx, ATTEND_QUERY, a->t->n, a->t->d, zero, padded, attend_scratch_at(cx, a->q));
    attend_pack_rows(cx, ATTEND_DY, a->t->n, a->t->e, zero, padded, attend_scratch_at(cx, a->dy));
    attend_fill_zeros(cx, attend_scratch_at(cx, a->dq), emit_mul_n(e, padded, a->d_row));
    emit_loop_begin(e, &block, zero, m, a->keys, 0, NULL);
    Value keys = emit_min(e, emit_sub(e, m, block.index), emit_i64(e, a->keys));
    Value whole = emit_mul_n(e, attend_tiles_for(cx, keys), a->step);
    attend_pack_keys(cx, ATTEND_KEY, a->t->d, block.index, whole, attend_scratch_at(cx, a->kt));
    attend_pack_keys(cx, ATTEND_VALUE, a->t->e, block.index, whole, attend_scratch_at(cx, a->vt));
    attend_pack_rows(cx, ATTEND_KEY, a->t->m, a->t->d, block.index, keys,
                     attend_scratch_at(cx, a->k));
    attend_fill_zeros(cx, attend_scratch_at(cx, a->dk), emit_i64(e, a->keys * a->d_row));
    attend_fill_zeros(cx, attend_scratch_at(cx, a->dv), emit_i64(e, a->keys * a->e_row));
    Value from = a->t->mask == ATTEND_SEES_EARLIER && !a->t->adds
                     ? emit_mul_n(e, emit_div_n(e, block.index, ATTEND_BLOCK), ATTEND_BLOCK)
                     : zero;
    emit_loop_begin(e, &query, from, n, ATTEND_BLOCK, 0, NULL);
    emit_queries(cx, block.index, keys, query.index);
    emit_loop_end(e, &query, NULL);
    if (result[ATTEND_DK].tensor >= 0)
        attend_write_rows(cx, ATTEND_DK, a->t->m, a->t->d, block.index, keys,
                          attend_scratch_at(cx, a->dk), NULL);
    if (result[ATTEND_DV].tensor >= 0)
        attend_write_rows(cx, ATTEND_DV, a->t->m, a->t->e, block.index, keys,
                          attend_scratch_at(cx, a->dv), NULL);
    emit_loop_end(e, &block, NULL);
    attend_clear_unasked(cx, ATTEND_DQ, a->t->d, zero, emit_i64(e, a->n));
    if (result[ATTEND_DQ].tensor >= 0)
        attend_write_rows(cx, ATTEND_DQ, a->t->n, a->t->d, zero, n, attend_scratch_at(cx, a->dq),
                          NULL);
}

/* ---- backward, with the gradient of a bias ---- */

/* Biases are counted over the samples in the call's range, where each has its own. */
static Value slot_at(const AttendCx *cx, Value bias, Value slot)
{
    const Attend *a = cx->a;
    Value i = emit_add(cx->e, emit_mul_n(cx->e, bias, a->slots), slot);
    return emit_at(cx->e, cx->e->workspace, emit_mul_n(cx->e, i, a->n * a->bias_row));
}

/* A slot's share of the sequences that have one bias. */
void attend_emit_back_share(AttendCx *cx)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    Value bias = emit_div_n(e, e->task, a->slots), slot = emit_mod_n(e, e->task, a->slots);
    Value sample = emit_div_n(e, bias, a->biases.elems), own = emit_mod_n(e, bias, a->biases.elems);
    Value all = a->by_sample ? emit_i64(e, a->shared.elems)
                             : emit_div_n(e, outer_count(e, &a->outer), a->biases.elems);
    Value first = emit_mul_n(e, sample, a->shared.elems);
    Value from = emit_div_n(e, emit_mul(e, all, slot), a->slots);
    Value to = emit_div_n(e, emit_mul(e, all, emit_add_n(e, slot, 1)), a->slots);
    EmitLoop l;

    cx->bias_sums = slot_at(cx, bias, slot);
    attend_fill_zeros(cx, cx->bias_sums, emit_i64(e, a->n * a->bias_row));
    emit_loop_begin(e, &l, from, to, 1, 0, NULL);
    Value sequence = emit_add(e, first, l.index);
    attend_enter_sequence(cx, emit_add(e, emit_mul_n(e, sequence, a->biases.elems), own));
    attend_emit_back(cx);
    emit_loop_end(e, &l, NULL);
}

/* Adds up the slots of some rows of a bias. */
void attend_emit_bias(const AttendCx *cx)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    int64_t blocks = div_up(a->n, ATTEND_SUM_ROWS);
    Value bias = emit_div_n(e, e->task, blocks), digit[TILE_MAX_AXES];
    Value first = emit_mul_n(e, emit_mod_n(e, e->task, blocks), ATTEND_SUM_ROWS);
    Value last = emit_min(e, emit_add_n(e, first, ATTEND_SUM_ROWS), emit_i64(e, a->n));
    TileIndex index[MAX_RANK];
    EmitLoop row, key, slot;

    attend_result_index(a->p, ATTEND_DBIAS, index);
    Code *c = code_new(e, a->t->m, a->lanes);
    if (a->by_sample)
        code_enter(c, a->p->batch_axis, emit_add(e, e->b0, emit_div_n(e, bias, a->biases.elems)));
    emit_digits(e, emit_mod_n(e, bias, a->biases.elems), a->biases.n, a->biases.size, digit);
    for (int i = 0; i < a->biases.n; i++)
        code_enter(c, a->biases.axis[i], digit[i]);
    emit_loop_begin(e, &row, first, last, 1, 0, NULL);
    code_enter(c, a->t->n, row.index);
    emit_loop_begin(e, &key, emit_i64(e, 0), emit_i64(e, a->m), a->lanes, 0, NULL);
    attend_enter_lanes(cx, c, key.index);
    Value zero = emit_zero(e, emit_vector_type(e, e->f64, a->lanes));
    emit_loop_begin(e, &slot, emit_i64(e, 0), emit_i64(e, a->slots), 1, 1, &zero);
    Value at = attend_row_at(cx, slot_at(cx, bias, slot.index), row.index, a->bias_row, key.index);
    Value part = emit_load(e, at, a->lanes, 4U * (unsigned)a->lanes);
    Value sum = emit_fadd(e, slot.carried[0], emit_to_f64(e, part));
    emit_loop_end(e, &slot, &sum);
    code_store_at(c, a->p->result[ATTEND_DBIAS].tensor, index, emit_to_f32(e, slot.result[0]));
    code_leave(c, a->t->m);
    emit_loop_end(e, &key, NULL);
    code_leave(c, a->t->n);
    emit_loop_end(e, &row, NULL);
    for (int i = a->biases.n - 1; i >= 0; i--)
        code_leave(c, a->biases.axis[i]);
    if (a->by_sample)
        code_leave(c, a->p->batch_axis);
}
