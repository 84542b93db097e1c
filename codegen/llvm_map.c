/* The general schedule: loops over the parallel axes, the code in the innermost, vectors along one
 * axis. It compiles every legal program: anchors are summed at each point by plain loops. */
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_sums.h"

/* ---- helpers shared with the reductions ---- */

void nest_enter_unit_axes(Code *c, const Nest *nest)
{
    for (uint32_t a = 0; a < nest->p->axes.len; a++) {
        bool looped = nest->p->axes.at[a].kind != TILE_PARALLEL;
        for (int k = 0; k < nest->n_loops; k++)
            looped |= nest->loop[k].axis == (int)a;
        if (!looped)
            code_enter(c, (int)a, emit_i64(c->e, 0));
    }
}

Value nest_mask(Code *c, const Nest *nest)
{
    int64_t size = nest->p->axes.at[nest->lane_axis].size;

    if (size % nest->lanes == 0)
        return NULL;
    return emit_lane_mask(c->e, c->axis[nest->lane_axis], size, nest->lanes);
}

/* ---- anchors ---- */

/* Enters the input axes; returns i1, is the position inside of the input? NULL when always. */
static Value enter_inputs(Code *c)
{
    Emitter *e = c->e;
    Value valid = NULL;

    for (uint32_t i = 0; i < c->p->stencils.len; i++) {
        const TileStencil *s = &c->p->stencils.at[i];
        Value out = c->axis[s->out], tap = emit_mul_n(e, c->axis[s->tap], s->dilation), in, ok;
        int64_t size = c->p->axes.at[s->in].size;
        ok = LLVMConstInt(e->i1, 1, 0);
        if (s->transposed) {
            in = emit_sub(e, emit_add_n(e, out, s->pad), tap);
            Value stride = emit_i64(e, s->stride);
            ok = LLVMBuildICmp(e->builder, LLVMIntEQ, LLVMBuildSRem(e->builder, in, stride, ""),
                               emit_i64(e, 0), "");
            in = LLVMBuildSDiv(e->builder, in, stride, "");
        } else {
            in = emit_add_n(e, emit_add(e, emit_mul_n(e, out, s->stride), tap), -s->pad);
        }
        Value low = emit_less(e, emit_i64(e, -1), in), high = emit_less(e, in, emit_i64(e, size));
        ok = LLVMBuildAnd(e->builder, ok, LLVMBuildAnd(e->builder, low, high, ""), "");
        valid = valid ? LLVMBuildAnd(e->builder, valid, ok, "") : ok;
        code_enter(c, s->in, emit_select(e, ok, in, emit_i64(e, 0)));
    }
    return valid;
}

static Value anchor_product(Code *c, Value acc)
{
    Emitter *e = c->e;
    Value valid = enter_inputs(c), a, b, product;

    a = emit_to_f64(e, code_value(c, c->p->lhs));
    b = emit_to_f64(e, code_value(c, c->p->rhs));
    product = emit_splat(e, emit_fmul(e, a, b), c->lanes);
    if (valid)
        product = emit_select(e, valid, product, emit_zero(e, LLVMTypeOf(product)));
    for (int i = (int)c->p->stencils.len - 1; i >= 0; i--)
        code_leave(c, c->p->stencils.at[i].in);
    return emit_fadd(e, acc, product);
}

/* Sum over the REDUCE axes from `axis` on. */
static Value anchor_loops(Code *c, uint32_t axis, Value acc)
{
    Emitter *e = c->e;
    EmitLoop l;

    while (axis < c->p->axes.len && c->p->axes.at[axis].kind != TILE_REDUCE)
        axis++;
    if (axis == c->p->axes.len)
        return anchor_product(c, acc);
    bool ranged = (int)axis == c->p->batch_axis;
    emit_loop_begin(e, &l, ranged ? e->b0 : emit_i64(e, 0),
                    ranged ? e->b1 : emit_i64(e, c->p->axes.at[axis].size), 1, 1, &acc);
    code_enter(c, (int)axis, l.index);
    code_hoist(c, c->p->lhs);
    code_hoist(c, c->p->rhs);
    Value next = anchor_loops(c, axis + 1, l.carried[0]);
    code_leave(c, (int)axis);
    emit_loop_end(e, &l, &next);
    return l.result[0];
}

/* ---- the body and the loops around it ---- */

static void hoist_all(Row *row)
{
    const TileProgram *p = row->nest->p;

    for (uint32_t i = 0; i < p->stores.len; i++)
        code_hoist(row->c, p->stores.at[i].inst);
    for (uint32_t i = 0; i < p->reductions.len; i++)
        code_hoist(row->c, p->reductions.at[i].inst);
    if (p->anchor == TILE_MAP)
        return;
    code_hoist(row->c, p->lhs);
    code_hoist(row->c, p->rhs);
}

/* All values are computed before the first store: an output may take the place of an input. */
static void emit_point(Row *row)
{
    Emitter *e = row->e;
    const TileProgram *p = row->nest->p;

    if (p->anchor != TILE_MAP) {
        Value zero = emit_zero(e, emit_vector_type(e, e->f64, row->c->lanes));
        code_new_acc(row->c, emit_to_f32(e, anchor_loops(row->c, 0, zero)));
    }
    for (uint32_t i = 0; i < p->reductions.len; i++)
        code_value(row->c, p->reductions.at[i].inst);
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_value(row->c, p->stores.at[i].inst);
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_store(row->c, &p->stores.at[i], code_value(row->c, p->stores.at[i].inst));
}

static void enter_round(Row *row, int k, Value round)
{
    const NestLoop *l = &row->nest->loop[k];

    row->round[k] = round;
    code_enter(row->c, l->axis, emit_mul_n(row->e, round, l->step));
    if (l->axis == row->nest->lane_axis)
        row->c->mask = nest_mask(row->c, row->nest);
    hoist_all(row);
}

static void leave_round(Row *row, int k)
{
    code_leave(row->c, row->nest->loop[k].axis);
    if (row->nest->loop[k].axis == row->nest->lane_axis)
        row->c->mask = NULL;
}

static void loop_bounds(Row *row, int k, Value *low, Value *high)
{
    bool cut = k == row->nest->n_outer;

    *low = cut ? row->low : emit_i64(row->e, 0);
    *high = cut ? row->high : emit_i64(row->e, row->nest->loop[k].n);
}

/* One run of the innermost loop, sums in registers along it. Full blocks have no mask. */
static void emit_run(Row *row, int k, Value low, Value high, bool full)
{
    Value carried[3 * TILE_MAX_AXES + 64], next[3 * TILE_MAX_AXES + 64];
    EmitLoop l;

    row->round[k] = low;
    int n = sums_carry(row, carried);
    emit_loop_begin(row->e, &l, low, high, 1, n, carried);
    row->round[k] = l.index;
    code_enter(row->c, row->nest->loop[k].axis,
               emit_mul_n(row->e, l.index, row->nest->loop[k].step));
    if (!full && row->nest->loop[k].axis == row->nest->lane_axis)
        row->c->mask = nest_mask(row->c, row->nest);
    emit_point(row);
    sums_step(row, l.carried, next);
    code_leave(row->c, row->nest->loop[k].axis);
    emit_loop_end(row->e, &l, next);
    sums_flush(row, l.result);
}

static void emit_runs(Row *row, int k, Value low, Value high)
{
    bool carried = false;
    EmitLoop l;

    for (int i = 0; i < row->n_sums; i++)
        carried |= row->sum[i].carried;
    if (!carried) {
        emit_run(row, k, low, high, true);
        return;
    }
    emit_loop_begin(row->e, &l, low, high, SUM_RUN, 0, NULL);
    emit_run(row, k, l.index, emit_min(row->e, emit_add_n(row->e, l.index, SUM_RUN), high), true);
    emit_loop_end(row->e, &l, NULL);
}

/* A lane axis whose last block is not full ends the loop one block early; that one is masked. */
static void emit_innermost(Row *row, int k)
{
    Emitter *e = row->e;
    const NestLoop *l = &row->nest->loop[k];
    bool lanes = l->axis == row->nest->lane_axis;
    Value low, high;
    EmitIf last;

    loop_bounds(row, k, &low, &high);
    if (!lanes || row->nest->p->axes.at[l->axis].size % row->nest->lanes == 0) {
        emit_runs(row, k, low, high);
        return;
    }
    emit_runs(row, k, low, emit_min(e, high, emit_i64(e, l->n - 1)));
    emit_if_begin(e, &last, LLVMBuildICmp(e->builder, LLVMIntEQ, high, emit_i64(e, l->n), ""));
    enter_round(row, k, emit_i64(e, l->n - 1));
    emit_point(row);
    for (int i = 0; i < row->n_sums; i++)
        sums_add(row, &row->sum[i]);
    leave_round(row, k);
    emit_if_end(e, &last);
}

static void emit_inner(Row *row, int k)
{
    Value low, high;
    EmitLoop l;

    if (k == row->nest->n_loops) {
        emit_point(row);
        for (int i = 0; i < row->n_sums; i++)
            sums_add(row, &row->sum[i]);
        return;
    }
    if (k == row->nest->n_loops - 1) {
        emit_innermost(row, k);
        return;
    }
    loop_bounds(row, k, &low, &high);
    emit_loop_begin(row->e, &l, low, high, 1, 0, NULL);
    enter_round(row, k, l.index);
    emit_inner(row, k + 1);
    leave_round(row, k);
    emit_loop_end(row->e, &l, NULL);
}

/* The task's digits: outer loops, then the piece of the first inner loop. */
static void enter_row(Row *row)
{
    Emitter *e = row->e;
    const Nest *nest = row->nest;
    int64_t size[TILE_MAX_AXES + 1];
    Value digit[TILE_MAX_AXES + 1];
    int n = nest->n_outer;

    for (int k = 0; k < n; k++)
        size[k] = nest->loop[k].n;
    if (n < nest->n_loops)
        size[n] = nest->n_chunks;
    emit_digits(e, e->task, n + (n < nest->n_loops), size, digit);
    for (int k = 0; k < n; k++)
        enter_round(row, k, k == 0 && nest->by_sample ? emit_add(e, digit[0], e->b0) : digit[k]);
    if (n == nest->n_loops)
        return;
    row->low = emit_mul_n(e, digit[n], nest->chunk);
    row->high = emit_add_n(e, row->low, nest->chunk);
    if (nest->loop[n].n % nest->chunk)
        row->high = emit_min(e, row->high, emit_i64(e, nest->loop[n].n));
}

static void emit_rows(Emitter *e, const Nest *nest, const Sum *sum)
{
    Row row = {.e = e,
               .c = code_new(e, nest->lane_axis, nest->lanes),
               .nest = nest,
               .sum = sum,
               .n_sums = (int)nest->p->reductions.len,
               .number = e->task};

    nest_enter_unit_axes(row.c, nest);
    hoist_all(&row);
    enter_row(&row);
    sums_clear(&row);
    emit_inner(&row, nest->n_outer);
    sums_finish(&row);
}

/* ---- the schedule ---- */

KernelSchedule map_schedule(const TileProgram *p, const Target *target)
{
    Arena arena = {0};
    Nest nest;
    int64_t scratch, workspace;
    KernelSchedule s = {.n_phases = 1};

    nest_plan(&arena, &nest, nest_merge_axes(&arena, p), target);
    const Sum *sum = sums_plan(&arena, &nest, &scratch, &workspace);
    s.tasks[0] = nest.rows;
    if (nest.by_sample)
        s.tasks_per_sample[0] = nest.rows / nest.loop[0].n;
    s.tasks[1] = sums_combine_tasks(sum, (int)p->reductions.len);
    s.n_phases = s.tasks[1] > 0 ? 2 : 1;
    s.scratch_bytes = (size_t)scratch;
    s.workspace_bytes = (size_t)workspace;
    arena_free(&arena);
    return s;
}

void map_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Nest nest;
    int64_t scratch, workspace;

    nest_plan(e->arena, &nest, nest_merge_axes(e->arena, p), &e->target);
    const Sum *sum = sums_plan(e->arena, &nest, &scratch, &workspace);
    emit_function_begin(e, nest.p, symbol[0]);
    emit_rows(e, &nest, sum);
    emit_function_end(e);
    if (sums_combine_tasks(sum, (int)p->reductions.len) == 0)
        return;
    emit_function_begin(e, nest.p, symbol[1]);
    sums_combine(e, &nest, sum, (int)p->reductions.len);
    emit_function_end(e);
}
