/* Products of matrices in plain storage: readouts, forward and backward.
 *
 *     acc[m, outer, v] = sum over k of a[m, k] * b[k, outer, v]
 *
 * v is the innermost axis of the result, which vectors lie along; a has no v and is read element by
 * element, where it stands: it may be a large weight that is used once. The summed axes, the batch
 * first, are one flat k in a. An axis g of both a and b (the groups of a grouped layer) makes
 * independent products.
 * Phase 0 packs b as [g][column][k][V], where a column is a block of v at one place of the outer
 * axes (a task per column and group).
 * Phase 1, a task per TASK_ROWS rows of a group, walks groups of columns and chunks of k: V
 * accumulators, one vector each for V rows, run over the chunk and rest in scratch in between. The
 * piece of a that a chunk needs is copied into scratch first: its rows often lie a power of two
 * apart, where a few of them already exceed the ways of a cache set. Then the epilogue runs.
 *
 * A library cannot do this: it packs a, too, which for 16 columns costs as much as the product
 * (OpenBLAS 0.3.21 on Zen 4: 28 to 49 GFLOP/s for 3932 x 16 x 2048). */
#include "codegen/llvm_contract.h"
#include "codegen/llvm_space.h"
#include <assert.h>

enum {
    TASK_ROWS = 128,
    GROUP_COLUMNS = 32,
    ROW_CHUNK = 256,   /* of k, where rows of a are contiguous */
    COLUMN_CHUNK = 64, /* of k, where columns of a are */
    ROW_STRIDE = ROW_CHUNK + 16,
};

/* How a lies: contiguous along k, along m, or neither; then it is read where it stands. */
typedef enum RowsStorage { ALONG_K, ALONG_M, SCATTERED } RowsStorage;

typedef struct Rows {
    const TileProgram *p;
    int lanes;
    int a, b; /* instructions */
    int m, v; /* axes */
    int g;    /* axis of groups, -1 */
    int64_t size_m, size_v, size_g, blocks_v, row_tasks;
    int64_t columns; /* of the full batch, in one group */
    Outer outer;     /* of columns */
    Outer reduced;   /* k, entered like samples */
    Flat flat_k;
    int64_t size_k;                       /* of the full batch */
    int64_t stride_m, stride_k, stride_g; /* of a, floats */
    RowsStorage storage;
    int64_t chunk; /* of k */
    int64_t acc_floats, panel_floats;
} Rows;

/* Is it read at computed positions: perhaps overlapping windows, which packed as a whole would be
 * many times what they are read from? */
static bool is_gathered(const TileProgram *p, int inst)
{
    bool used[SPACE_MAX_INSTS], found = false;
    space_used(p, inst, used);
    for (int i = 0; i <= inst; i++)
        for (int d = 0; used[i] && p->insts.at[i].kind == INST_LOAD && d < MAX_RANK; d++)
            found |= p->insts.at[i].index[d].computed > 0;
    return found;
}

static bool find_operands(Rows *r, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS], parallel = space_kind(p, TILE_PARALLEL);
    if (p->anchor != TILE_CONTRACT || !p->stores.len || p->reductions.len ||
        !space_needs(p, needs) || !space_stores_cover(p, parallel))
        return false;
    r->v = space_lane_axis(p, parallel);
    if (r->v < 0 || r->v == p->batch_axis || p->axes.at[r->v].size * 2 < r->lanes)
        return false;
    const TileStore *s = &p->stores.at[0];
    int64_t stride[MAX_RANK];
    const TileLayout *l = &p->tensors.at[s->tensor].layout;
    space_strides(l, stride);
    for (int d = 0; d < l->shape.rank; d++)
        if (s->index[d].n_terms == 1 && s->index[d].axis[0] == r->v &&
            (l->lane == d || stride[d] != 1 || s->index[d].coef[0] != 1))
            return false;
    bool b_is_left = needs[p->lhs] >> r->v & 1;
    r->b = b_is_left ? p->lhs : p->rhs;
    r->a = b_is_left ? p->rhs : p->lhs;
    uint32_t of_a = needs[r->a], shared = of_a & parallel & needs[r->b];
    uint32_t own = of_a & parallel & ~shared;
    if ((of_a >> r->v & 1) || p->insts.at[r->a].kind != INST_LOAD || is_gathered(p, r->b) || !own ||
        (own & (own - 1)) || (shared & (shared - 1)))
        return false;
    r->m = __builtin_ctz(own);
    r->g = shared ? __builtin_ctz(shared) : -1;
    if (r->g >= 0 && r->g == p->batch_axis)
        return false;
    return r->m != p->batch_axis && !(space_kind(p, TILE_REDUCE) & ~of_a);
}

/* Distance in a of neighbours on an axis; 0 when a does not simply follow it. */
static int64_t stride_in_a(const Rows *r, int axis)
{
    const TileInst *in = &r->p->insts.at[r->a];
    const TileLayout *l = &r->p->tensors.at[in->tensor].layout;
    int64_t stride[MAX_RANK], found = 0;
    if (l->type != STORAGE_F32)
        return 0;
    space_strides(l, stride);
    for (int d = 0; d < l->shape.rank; d++)
        for (int k = 0; k < in->index[d].n_terms; k++) {
            if (in->index[d].axis[k] != axis)
                continue;
            if (found || in->index[d].table || in->index[d].n_terms != 1)
                return 0;
            found = in->index[d].coef[0] * stride[d];
        }
    return l->lane >= 0 ? 0 : found;
}

/* The summed axes as one index: outermost in a first. */
static bool flatten_k(Rows *r)
{
    const TileProgram *p = r->p;
    int axis[TILE_MAX_AXES], n = 0;
    for (int a = 0; a < (int)p->axes.len; a++)
        if (p->axes.at[a].kind == TILE_REDUCE && p->axes.at[a].size > 1)
            axis[n++] = a;
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && stride_in_a(r, axis[k]) > stride_in_a(r, axis[k - 1]); k--) {
            int other = axis[k];
            axis[k] = axis[k - 1];
            axis[k - 1] = other;
        }
    int64_t expect = 0;
    for (int i = n - 1; i >= 0; i--) {
        int64_t s = stride_in_a(r, axis[i]);
        if (s <= 0 || (expect && s != expect))
            return false;
        if (!expect)
            r->stride_k = s;
        expect = s * p->axes.at[axis[i]].size;
    }
    r->flat_k = (Flat){.elems = 1};
    bool ranged = p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_REDUCE;
    if (ranged && n && axis[0] != p->batch_axis && p->axes.at[p->batch_axis].size > 1)
        return false;
    if (ranged && (!n || axis[0] != p->batch_axis))
        flat_add(&r->flat_k, p, p->batch_axis);
    for (int i = 0; i < n; i++)
        flat_add(&r->flat_k, p, axis[i]);
    for (int a = 0; a < (int)p->axes.len; a++)
        if (p->axes.at[a].kind == TILE_REDUCE && !flat_has(&r->flat_k, a))
            flat_add(&r->flat_k, p, a);
    outer_init(&r->reduced, p, &r->flat_k);
    r->size_k = r->flat_k.elems;
    return true;
}

static bool rows_plan(Rows *r, const TileProgram *p, const Target *target)
{
    *r = (Rows){.p = p, .lanes = target->lanes};
    if (!find_operands(r, p) || !flatten_k(r))
        return false;
    r->stride_m = stride_in_a(r, r->m);
    Flat outer = {.elems = 1};
    if (p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_PARALLEL)
        flat_add(&outer, p, p->batch_axis);
    for (int a = 0; a < (int)p->axes.len; a++)
        if (p->axes.at[a].kind == TILE_PARALLEL && a != r->m && a != r->v && a != r->g &&
            a != p->batch_axis)
            flat_add(&outer, p, a);
    outer_init(&r->outer, p, &outer);
    r->size_m = p->axes.at[r->m].size;
    r->size_v = p->axes.at[r->v].size;
    r->blocks_v = div_up(r->size_v, r->lanes);
    r->row_tasks = div_up(r->size_m, TASK_ROWS);
    r->storage = r->stride_k == 1 ? ALONG_K : r->stride_m == 1 ? ALONG_M : SCATTERED;
    r->chunk = r->storage == ALONG_M ? COLUMN_CHUNK : ROW_CHUNK;
    r->size_g = r->g >= 0 ? p->axes.at[r->g].size : 1;
    r->stride_g = r->g >= 0 ? stride_in_a(r, r->g) : 0;
    r->columns = outer.elems * r->blocks_v;
    int64_t columns = r->columns < GROUP_COLUMNS ? r->columns : GROUP_COLUMNS;
    r->acc_floats = columns * TASK_ROWS * r->lanes;
    r->panel_floats = r->storage == ALONG_M ? COLUMN_CHUNK * TASK_ROWS : ROW_STRIDE * r->lanes;
    return (r->stride_m > 0 || r->size_m == 1) && (r->stride_g > 0 || r->size_g == 1);
}

bool rows_accepts(const TileProgram *p, const Target *target)
{
    Rows r;
    return rows_plan(&r, p, target);
}

KernelSchedule rows_schedule(const TileProgram *p, const Target *target)
{
    Rows r;
    bool legal = rows_plan(&r, p, target);
    assert(legal);
    (void)legal;
    KernelSchedule s = {.n_phases = 2};
    outer_tasks(&r.outer, r.blocks_v * r.size_g, &s, 0);
    s.tasks[1] = r.row_tasks * r.size_g;
    s.workspace_bytes = (size_t)(s.tasks[0] * r.size_k * r.lanes) * 4;
    s.scratch_bytes = (size_t)(r.acc_floats + r.panel_floats) * 4;
    return s;
}

static Code *code_for(Emitter *e, const Rows *r)
{
    return code_new(e, r->v, r->lanes);
}

/* Enters a column: a block of v at a place of the outer axes. */
static void enter_column(Code *code, const Rows *r, Value column)
{
    Emitter *e = code->e;
    Value v = emit_mul_n(e, emit_mod_n(e, column, r->blocks_v), r->lanes);
    outer_enter(code, &r->outer, r->outer.flat.n, emit_div_n(e, column, r->blocks_v));
    code->mask = r->size_v % r->lanes ? emit_lane_mask(e, v, r->size_v, r->lanes) : NULL;
    code_enter(code, r->v, v);
}

static void leave_column(Code *code, const Rows *r)
{
    code_leave(code, r->v);
    outer_leave(code, &r->outer, r->outer.flat.n);
}

/* `group` NULL: there are none. */
static Value packed_at(Emitter *e, const Rows *r, Value group, Value column, Value k)
{
    if (group)
        column = emit_add(e, emit_mul_n(e, group, r->columns), column);
    Value row = emit_add(e, emit_mul_n(e, column, r->size_k), k);
    return emit_at(e, e->workspace, emit_mul_n(e, row, r->lanes));
}

static void emit_packing(Emitter *e, const Rows *r)
{
    Code *code = code_for(e, r);
    EmitLoop k;
    Value group = r->g >= 0 ? emit_mod_n(e, e->task, r->size_g) : NULL;
    Value column = r->g >= 0 ? emit_div_n(e, e->task, r->size_g) : e->task;
    if (group)
        code_enter(code, r->g, group);
    enter_column(code, r, column);
    code_hoist(code, r->b);
    emit_loop_begin(e, &k, emit_i64(e, 0), outer_count(e, &r->reduced), 1, 0, NULL);
    outer_enter(code, &r->reduced, r->flat_k.n, k.index);
    emit_store(e, packed_at(e, r, group, column, k.index),
               emit_splat(e, code_value(code, r->b), r->lanes), 4U * (unsigned)r->lanes);
    outer_leave(code, &r->reduced, r->flat_k.n);
    emit_loop_end(e, &k, NULL);
    leave_column(code, r);
    if (group)
        code_leave(code, r->g);
}

/* ---- the main phase ---- */

typedef struct RowsCx {
    Emitter *e;
    const Rows *r;
    Value a;     /* where k = 0 of row 0 of the call's range lies */
    Value group; /* or NULL */
    Value m_first, m_last;
    Value column_first, column_last;
    Value k_first, k_last, k_count; /* the chunk; all of k */
} RowsCx;

/* Scratch of `V` rows from `row` of the task and a column: [column][row][V]. */
static Value acc_at(RowsCx *cx, Value column, Value row)
{
    Emitter *e = cx->e;
    Value at = emit_mul_n(e, emit_sub(e, column, cx->column_first), TASK_ROWS);
    at = emit_add(e, at, emit_sub(e, row, cx->m_first));
    return emit_at(e, e->scratch, emit_mul_n(e, at, cx->r->lanes));
}

static Value panel_base(RowsCx *cx)
{
    return emit_at(cx->e, cx->e->scratch, emit_i64(cx->e, cx->r->acc_floats));
}

/* `n` floats, rounded up to whole vectors, from a to scratch: reads at most 64 bytes too far. */
static void emit_copy(RowsCx *cx, Value from, Value to, Value n)
{
    Emitter *e = cx->e;
    int lanes = cx->r->lanes;
    EmitLoop l;
    emit_loop_begin(e, &l, emit_i64(e, 0), n, lanes, 0, NULL);
    emit_store(e, emit_at(e, to, l.index), emit_load(e, emit_at(e, from, l.index), lanes, 4), 4);
    emit_loop_end(e, &l, NULL);
}

/* Rows m .. m + n of the chunk of k, ROW_STRIDE apart. */
static void copy_rows(RowsCx *cx, Value m, int n)
{
    Emitter *e = cx->e;
    Value count = emit_sub(e, cx->k_last, cx->k_first);
    Value from = emit_at(e, cx->a, emit_mul_n(e, m, cx->r->stride_m));
    EmitLoop row;
    emit_loop_begin(e, &row, emit_i64(e, 0), emit_i64(e, n), 1, 0, NULL);
    Value at = emit_add(e, emit_mul_n(e, row.index, cx->r->stride_m), cx->k_first);
    emit_copy(cx, emit_at(e, from, at),
              emit_at(e, panel_base(cx), emit_mul_n(e, row.index, ROW_STRIDE)), count);
    emit_loop_end(e, &row, NULL);
}

/* All rows of the task, for each k of the chunk, TASK_ROWS apart. */
static void copy_columns(RowsCx *cx)
{
    Emitter *e = cx->e;
    Value count = emit_sub(e, cx->m_last, cx->m_first);
    EmitLoop k;
    emit_loop_begin(e, &k, cx->k_first, cx->k_last, 1, 0, NULL);
    Value at = emit_add(e, emit_mul_n(e, k.index, cx->r->stride_k), cx->m_first);
    Value to = emit_mul_n(e, emit_sub(e, k.index, cx->k_first), TASK_ROWS);
    emit_copy(cx, emit_at(e, cx->a, at), emit_at(e, panel_base(cx), to), count);
    emit_loop_end(e, &k, NULL);
}

/* a[m, k_first], wherever the chunk is read, and its distances. */
static Value tile_source(RowsCx *cx, Value m, int64_t *stride_m, int64_t *stride_k)
{
    Emitter *e = cx->e;
    const Rows *r = cx->r;
    *stride_m = r->stride_m;
    *stride_k = r->stride_k;
    if (r->storage == SCATTERED) {
        Value at =
            emit_add(e, emit_mul_n(e, m, r->stride_m), emit_mul_n(e, cx->k_first, r->stride_k));
        return emit_at(e, cx->a, at);
    }
    if (r->storage == ALONG_K) {
        *stride_m = ROW_STRIDE;
        return panel_base(cx);
    }
    *stride_k = TASK_ROWS;
    return emit_at(e, panel_base(cx), emit_sub(e, m, cx->m_first));
}

/* Fetches one line of what is copied next, another one at each k (from 0) of the tile at m. */
static void emit_fetch_ahead(RowsCx *cx, Value m, Value k)
{
    Emitter *e = cx->e;
    const Rows *r = cx->r;
    Value row, column;
    if (r->storage == ALONG_K) { /* the next panel: 16 floats of each of its rows in turn */
        row = emit_add(e, emit_add_n(e, m, r->lanes), emit_div_n(e, k, 16));
        column = emit_add(e, cx->k_first, emit_mul_n(e, emit_mod_n(e, k, 16), 16));
    } else { /* these rows of the next chunk */
        row = m;
        column = emit_add(e, cx->k_last, k);
    }
    Value at = emit_add(e, emit_mul_n(e, row, r->stride_m), emit_mul_n(e, column, r->stride_k));
    emit_prefetch(e, emit_at(e, cx->a, at));
}

/* acc += a[m .., k] b[k, column] for `n` rows from m over the chunk. */
static void emit_tile(RowsCx *cx, Value m, Value column, int n)
{
    Emitter *e = cx->e;
    const Rows *r = cx->r;
    unsigned align = 4U * (unsigned)r->lanes;
    Value acc[64], at = acc_at(cx, column, m);
    Value is_start = LLVMBuildICmp(e->builder, LLVMIntEQ, cx->k_first, emit_i64(e, 0), "");
    Value zero = emit_zero(e, emit_vector_type(e, e->f32, r->lanes));
    Value b = packed_at(e, r, cx->group, column, cx->k_first);
    int64_t stride_m, stride_k;
    Value row = tile_source(cx, m, &stride_m, &stride_k);
    EmitLoop k;

    for (int i = 0; i < n; i++) {
        Value before = emit_load(e, emit_at(e, at, emit_i64(e, i * r->lanes)), r->lanes, align);
        acc[i] = emit_select(e, is_start, zero, before);
    }
    emit_loop_begin(e, &k, emit_i64(e, 0), emit_sub(e, cx->k_last, cx->k_first), 1, n, acc);
    Value vector = emit_load(e, emit_at(e, b, emit_mul_n(e, k.index, r->lanes)), r->lanes, align);
    Value from = emit_at(e, row, emit_mul_n(e, k.index, stride_k));
    for (int i = 0; i < n; i++) {
        Value one = emit_load(e, emit_at(e, from, emit_i64(e, i * stride_m)), 1, 4);
        acc[i] = emit_fma(e, vector, emit_splat(e, one, r->lanes), k.carried[i]);
    }
    if (r->storage != SCATTERED && n > 1)
        emit_fetch_ahead(cx, m, k.index);
    emit_loop_end(e, &k, acc);
    for (int i = 0; i < n; i++)
        emit_store(e, emit_at(e, at, emit_i64(e, i * r->lanes)), k.result[i], align);
}

/* `n` rows at a time from `first` to `last`, for the chunk of k and the group of columns. */
static void emit_panels(RowsCx *cx, Value first, Value last, int n)
{
    Emitter *e = cx->e;
    EmitLoop m, column;

    emit_loop_begin(e, &m, first, last, n, 0, NULL);
    if (cx->r->storage == ALONG_K)
        copy_rows(cx, m.index, n);
    emit_loop_begin(e, &column, cx->column_first, cx->column_last, 1, 0, NULL);
    emit_tile(cx, m.index, column.index, n);
    emit_loop_end(e, &column, NULL);
    emit_loop_end(e, &m, NULL);
}

static void emit_chunk(RowsCx *cx)
{
    Emitter *e = cx->e;
    int lanes = cx->r->lanes;
    Value rows = emit_sub(e, cx->m_last, cx->m_first);
    Value whole = emit_mul_n(e, emit_div_n(e, rows, lanes), lanes);
    whole = emit_add(e, cx->m_first, whole);
    if (cx->r->storage == ALONG_M)
        copy_columns(cx);
    emit_panels(cx, cx->m_first, whole, lanes);
    emit_panels(cx, whole, cx->m_last, 1);
}

static void emit_epilogue(RowsCx *cx, Code *code)
{
    Emitter *e = cx->e;
    const Rows *r = cx->r;
    EmitLoop m, column;

    if (cx->group)
        code_enter(code, r->g, cx->group);
    emit_loop_begin(e, &m, cx->m_first, cx->m_last, 1, 0, NULL);
    code_enter(code, r->m, m.index);
    for (uint32_t i = 0; i < r->p->stores.len; i++)
        code_hoist(code, r->p->stores.at[i].inst);
    emit_loop_begin(e, &column, cx->column_first, cx->column_last, 1, 0, NULL);
    enter_column(code, r, column.index);
    code_new_acc(
        code, emit_load(e, acc_at(cx, column.index, m.index), r->lanes, 4U * (unsigned)r->lanes));
    for (uint32_t i = 0; i < r->p->stores.len; i++)
        code_store(code, &r->p->stores.at[i], code_value(code, r->p->stores.at[i].inst));
    leave_column(code, r);
    code_new_acc(code, NULL);
    emit_loop_end(e, &column, NULL);
    code_leave(code, r->m);
    emit_loop_end(e, &m, NULL);
    if (cx->group)
        code_leave(code, r->g);
}

static void emit_main(Emitter *e, const Rows *r)
{
    RowsCx cx = {.e = e, .r = r};
    const TileInst *a = &r->p->insts.at[r->a];
    Value columns = emit_mul_n(e, outer_count(e, &r->outer), r->blocks_v);
    EmitLoop group, k;

    cx.a = e->tensor[a->tensor];
    if (r->reduced.ranged)
        cx.a = emit_at(e, cx.a, emit_mul_n(e, e->b0, r->reduced.others * r->stride_k));
    Value rows = e->task;
    if (r->g >= 0) {
        cx.group = emit_div_n(e, e->task, r->row_tasks);
        rows = emit_mod_n(e, e->task, r->row_tasks);
        cx.a = emit_at(e, cx.a, emit_mul_n(e, cx.group, r->stride_g));
    }
    cx.m_first = emit_mul_n(e, rows, TASK_ROWS);
    cx.m_last = emit_min(e, emit_add_n(e, cx.m_first, TASK_ROWS), emit_i64(e, r->size_m));
    cx.k_count = outer_count(e, &r->reduced);
    emit_loop_begin(e, &group, emit_i64(e, 0), columns, GROUP_COLUMNS, 0, NULL);
    cx.column_first = group.index;
    cx.column_last = emit_min(e, emit_add_n(e, group.index, GROUP_COLUMNS), columns);
    emit_loop_begin(e, &k, emit_i64(e, 0), cx.k_count, r->chunk, 0, NULL);
    cx.k_first = k.index;
    cx.k_last = emit_min(e, emit_add_n(e, k.index, r->chunk), cx.k_count);
    emit_chunk(&cx);
    emit_loop_end(e, &k, NULL);
    emit_epilogue(&cx, code_for(e, r));
    emit_loop_end(e, &group, NULL);
}

void rows_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Rows r;
    bool legal = rows_plan(&r, p, &e->target);
    assert(legal);
    (void)legal;
    emit_function_begin(e, p, symbol[0]);
    emit_packing(e, &r);
    emit_function_end(e);
    emit_function_begin(e, p, symbol[1]);
    emit_main(e, &r);
    emit_function_end(e);
}
