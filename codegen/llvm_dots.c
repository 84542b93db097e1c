/* Products without a matrix: many results, each a dot product along an axis that vectors lie along.
 *
 *     acc[point] = sum over k of a[point, k] * b[point, k]
 *
 * as of what a point readout gathers with the features of its neuron. Every element of one operand
 * is used once or a few times, so nothing is packed: both are read where they stand (or computed),
 * vectors along k, and the lanes are added up at the end of each result.
 *
 * A task is a part of the results of a sample: a range of the flat index over the parallel axes in
 * the order of the first store. Programs whose loads are contiguous along the store's innermost
 * axis are left to the general loops. */
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_space.h"
#include <assert.h>

enum { PART = 2048 /* results of a task */ };

typedef struct Dots {
    const TileProgram *p;
    int lanes, k;        /* k: the summed axis of the vectors */
    Outer outer;         /* the batch axis, if any */
    Flat points, others; /* the other parallel axes; the other summed axes */
    int64_t parts;
} Dots;

static bool dots_plan(Dots *d, const TileProgram *p, const Target *target)
{
    uint32_t parallel = space_kind(p, TILE_PARALLEL);
    Flat outer = {.elems = 1};

    *d = (Dots){.p = p, .lanes = target->lanes, .k = -1};
    if (p->anchor != TILE_CONTRACT || !p->stores.len || p->reductions.len ||
        p->insts.len > SPACE_MAX_INSTS || !space_stores_cover(p, parallel) ||
        (p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_REDUCE))
        return false;
    for (int a = 0; a < (int)p->axes.len; a++)
        if (p->axes.at[a].kind == TILE_REDUCE && p->axes.at[a].size >= target->lanes &&
            space_worst_access(p, a, target->lanes) == ACCESS_VECTOR)
            d->k = a;
    int inner = space_lane_axis(p, parallel);
    if (d->k < 0 || (inner >= 0 && space_worst_access(p, inner, target->lanes) != ACCESS_SCATTERED))
        return false;

    d->points = d->others = (Flat){.elems = 1};
    if (p->batch_axis >= 0)
        flat_add(&outer, p, p->batch_axis);
    for (int rank = 0; rank <= MAX_RANK; rank++)
        for (int a = 0; a < (int)p->axes.len; a++)
            if (p->axes.at[a].kind == TILE_PARALLEL && a != p->batch_axis &&
                space_store_order(p, a) == rank)
                flat_add(&d->points, p, a);
    for (int a = 0; a < (int)p->axes.len; a++)
        if (p->axes.at[a].kind == TILE_REDUCE && a != d->k)
            flat_add(&d->others, p, a);
    outer_init(&d->outer, p, &outer);
    d->parts = div_up(d->points.elems, PART);
    return true;
}

bool dots_accepts(const TileProgram *p, const Target *target)
{
    Dots d;
    return dots_plan(&d, p, target);
}

KernelSchedule dots_schedule(const TileProgram *p, const Target *target)
{
    Dots d;
    KernelSchedule s = {.n_phases = 1};
    bool legal = dots_plan(&d, p, target);
    assert(legal);
    (void)legal;
    outer_tasks(&d.outer, d.parts, &s, 0);
    return s;
}

static void enter_all(Code *c, const Flat *f, Value flat)
{
    Value digit[TILE_MAX_AXES];
    emit_digits(c->e, flat, f->n, f->size, digit);
    for (int i = 0; i < f->n; i++)
        code_enter(c, f->axis[i], digit[i]);
    code_hoist(c, c->p->lhs);
    code_hoist(c, c->p->rhs);
}

static void leave_all(Code *c, const Flat *f)
{
    for (int i = f->n - 1; i >= 0; i--)
        code_leave(c, f->axis[i]);
}

/* acc + the products of one vector of k. */
static Value emit_step(Code *c, const Dots *d, Value at, bool whole, Value acc)
{
    Emitter *e = c->e;
    c->mask = whole ? NULL : emit_lane_mask(e, at, d->p->axes.at[d->k].size, d->lanes);
    code_enter(c, d->k, at);
    Value a = emit_splat(e, code_value(c, d->p->lhs), d->lanes);
    Value b = emit_splat(e, code_value(c, d->p->rhs), d->lanes);
    Value sum = emit_fma(e, a, b, acc);
    if (c->mask)
        sum = emit_select(e, c->mask, sum, acc);
    code_leave(c, d->k);
    c->mask = NULL;
    return sum;
}

/* The sum over all summed axes at the point entered. */
static Value emit_dot(Code *c, const Dots *d)
{
    Emitter *e = c->e;
    int64_t size = d->p->axes.at[d->k].size, whole = size - size % d->lanes;
    Value acc = emit_zero(e, emit_vector_type(e, e->f32, d->lanes));
    EmitLoop other, k;

    emit_loop_begin(e, &other, emit_i64(e, 0), emit_i64(e, d->others.elems), 1, 1, &acc);
    enter_all(c, &d->others, other.index);
    emit_loop_begin(e, &k, emit_i64(e, 0), emit_i64(e, whole), d->lanes, 1, other.carried);
    Value next = emit_step(c, d, k.index, true, k.carried[0]);
    emit_loop_end(e, &k, &next);
    next = k.result[0];
    if (whole < size)
        next = emit_step(c, d, emit_i64(e, whole), false, next);
    leave_all(c, &d->others);
    emit_loop_end(e, &other, &next);
    return emit_sum_lanes(e, other.result[0]);
}

void dots_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Dots d;
    EmitLoop point;
    bool legal = dots_plan(&d, p, &e->target);
    assert(legal);
    (void)legal;

    emit_function_begin(e, p, symbol[0]);
    Code *c = code_new(e, d.k, d.lanes), *epilogue = code_new(e, -1, 1);
    Value sample = emit_div_n(e, e->task, d.parts), part = emit_mod_n(e, e->task, d.parts);
    Value low = emit_mul_n(e, part, PART);
    Value high = emit_min(e, emit_add_n(e, low, PART), emit_i64(e, d.points.elems));
    outer_enter(c, &d.outer, d.outer.flat.n, sample);
    outer_enter(epilogue, &d.outer, d.outer.flat.n, sample);
    emit_loop_begin(e, &point, low, high, 1, 0, NULL);
    enter_all(c, &d.points, point.index);
    Value dot = emit_dot(c, &d);
    leave_all(c, &d.points);
    Value digit[TILE_MAX_AXES];
    emit_digits(e, point.index, d.points.n, d.points.size, digit);
    for (int i = 0; i < d.points.n; i++)
        code_enter(epilogue, d.points.axis[i], digit[i]);
    code_new_acc(epilogue, dot);
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_value(epilogue, p->stores.at[i].inst);
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_store(epilogue, &p->stores.at[i], code_value(epilogue, p->stores.at[i].inst));
    leave_all(epilogue, &d.points);
    code_new_acc(epilogue, NULL);
    emit_loop_end(e, &point, NULL);
    outer_leave(epilogue, &d.outer, d.outer.flat.n);
    outer_leave(c, &d.outer, d.outer.flat.n);
    emit_function_end(e);
}
