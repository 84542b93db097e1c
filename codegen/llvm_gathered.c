/* Sums of rows that are read at computed positions, as the gradient of what every neuron of a point
 * readout multiplies with:
 *
 *     acc[point, v] = sum over k of a[point, k] * b[position(point, k), v]
 *
 * Vectors lie along v, and a group of them stays in registers over the whole of k, so positions and
 * factors are computed once for the group; the general loops compute them again for every vector.
 *
 * A task is a part of the points of a sample: a range of the flat index over the other parallel
 * axes in the order of the first store. Sums that contain samples run over those in the call's
 * range. Sums are float32: of k, few terms. */
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_space.h"
#include <assert.h>

enum {
    PART = 512,       /* points of a task */
    MOST_VECTORS = 8, /* of a group */
    MOST_TERMS = 1024,
};

typedef struct Gathered {
    const TileProgram *p;
    int lanes, v;
    Outer samples, sum;
    Flat points;
    int64_t parts;
    int64_t vectors, group; /* along v; those in registers at a time */
} Gathered;

/* Is a used tensor read at positions that are the same all along v? */
static bool reads_rows(const TileProgram *p, int v)
{
    unsigned needs[SPACE_MAX_INSTS];
    bool left[SPACE_MAX_INSTS], right[SPACE_MAX_INSTS], found = false;

    code_find_needs(p, needs);
    space_used(p, p->lhs, left);
    space_used(p, p->rhs, right);
    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        bool used = ((int)i <= p->lhs && left[i]) || ((int)i <= p->rhs && right[i]);
        for (int d = 0; used && in->kind == INST_LOAD && d < MAX_RANK; d++)
            found |= in->index[d].computed && !(needs[in->index[d].computed - 1] >> v & 1) &&
                     needs[i] >> v & 1;
    }
    return found;
}

static bool gathered_plan(Gathered *g, const TileProgram *p, const Target *target)
{
    uint32_t parallel = space_kind(p, TILE_PARALLEL);
    Flat samples = {.elems = 1}, sum = {.elems = 1};

    *g = (Gathered){.p = p, .lanes = target->lanes};
    if (p->anchor != TILE_CONTRACT || !p->stores.len || p->reductions.len ||
        p->insts.len > SPACE_MAX_INSTS || !space_stores_cover(p, parallel))
        return false;
    g->v = space_lane_axis(p, parallel);
    if (g->v < 0 || g->v == p->batch_axis || p->axes.at[g->v].size < g->lanes ||
        space_worst_access(p, g->v, g->lanes) == ACCESS_SCATTERED || !reads_rows(p, g->v))
        return false;

    g->points = (Flat){.elems = 1};
    if (p->batch_axis >= 0)
        flat_add(p->axes.at[p->batch_axis].kind == TILE_REDUCE ? &sum : &samples, p, p->batch_axis);
    for (int rank = 0; rank <= MAX_RANK; rank++)
        for (int a = 0; a < (int)p->axes.len; a++)
            if (p->axes.at[a].kind == TILE_PARALLEL && a != p->batch_axis && a != g->v &&
                space_store_order(p, a) == rank)
                flat_add(&g->points, p, a);
    for (int a = 0; a < (int)p->axes.len; a++)
        if (p->axes.at[a].kind == TILE_REDUCE && a != p->batch_axis)
            flat_add(&sum, p, a);
    outer_init(&g->samples, p, &samples);
    outer_init(&g->sum, p, &sum);
    g->parts = div_up(g->points.elems, PART);
    g->vectors = div_up(p->axes.at[g->v].size, g->lanes);
    g->group = div_up(g->vectors, div_up(g->vectors, MOST_VECTORS));
    return sum.elems <= MOST_TERMS;
}

bool gathered_accepts(const TileProgram *p, const Target *target)
{
    Gathered g;
    return gathered_plan(&g, p, target);
}

KernelSchedule gathered_schedule(const TileProgram *p, const Target *target)
{
    Gathered g;
    KernelSchedule s = {.n_phases = 1};
    bool legal = gathered_plan(&g, p, target);
    assert(legal);
    (void)legal;
    outer_tasks(&g.samples, g.parts, &s, 0);
    return s;
}

static void enter_vector(Code *c, const Gathered *g, Value first, int i)
{
    int64_t size = g->p->axes.at[g->v].size;
    Value at = emit_add_n(c->e, first, (int64_t)i * g->lanes);
    c->mask = size % g->lanes ? emit_lane_mask(c->e, at, size, g->lanes) : NULL;
    code_enter(c, g->v, at);
}

static void leave_vector(Code *c, const Gathered *g)
{
    code_leave(c, g->v);
    c->mask = NULL;
}

/* `n` vectors of results from `first` at the point entered. */
static void emit_group(Code *c, const Gathered *g, Value first, int n)
{
    Emitter *e = c->e;
    const TileProgram *p = g->p;
    Value acc[MOST_VECTORS];
    EmitLoop k;

    for (int i = 0; i < n; i++)
        acc[i] = emit_zero(e, emit_vector_type(e, e->f32, g->lanes));
    emit_loop_begin(e, &k, emit_i64(e, 0), outer_count(e, &g->sum), 1, n, acc);
    outer_enter(c, &g->sum, g->sum.flat.n, k.index);
    code_hoist(c, p->lhs);
    code_hoist(c, p->rhs);
    for (int i = 0; i < n; i++) {
        enter_vector(c, g, first, i);
        Value a = emit_splat(e, code_value(c, p->lhs), g->lanes);
        Value b = emit_splat(e, code_value(c, p->rhs), g->lanes);
        acc[i] = emit_fma(e, a, b, k.carried[i]);
        leave_vector(c, g);
    }
    outer_leave(c, &g->sum, g->sum.flat.n);
    emit_loop_end(e, &k, acc);
    for (int i = 0; i < n; i++) {
        enter_vector(c, g, first, i);
        code_new_acc(c, k.result[i]);
        for (uint32_t s = 0; s < p->stores.len; s++)
            code_store(c, &p->stores.at[s], code_value(c, p->stores.at[s].inst));
        leave_vector(c, g);
        code_new_acc(c, NULL);
    }
}

void gathered_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Gathered g;
    EmitLoop point, group;
    Value digit[TILE_MAX_AXES];
    bool legal = gathered_plan(&g, p, &e->target);
    assert(legal);
    (void)legal;

    emit_function_begin(e, p, symbol[0]);
    Code *c = code_new(e, g.v, g.lanes);
    Value sample = emit_div_n(e, e->task, g.parts), part = emit_mod_n(e, e->task, g.parts);
    Value low = emit_mul_n(e, part, PART);
    Value high = emit_min(e, emit_add_n(e, low, PART), emit_i64(e, g.points.elems));
    int64_t rest = g.vectors % g.group, whole = (g.vectors - rest) * g.lanes;
    outer_enter(c, &g.samples, g.samples.flat.n, sample);
    emit_loop_begin(e, &point, low, high, 1, 0, NULL);
    emit_digits(e, point.index, g.points.n, g.points.size, digit);
    for (int i = 0; i < g.points.n; i++)
        code_enter(c, g.points.axis[i], digit[i]);
    emit_loop_begin(e, &group, emit_i64(e, 0), emit_i64(e, whole), g.group * g.lanes, 0, NULL);
    emit_group(c, &g, group.index, (int)g.group);
    emit_loop_end(e, &group, NULL);
    if (rest)
        emit_group(c, &g, emit_i64(e, whole), (int)rest);
    for (int i = g.points.n - 1; i >= 0; i--)
        code_leave(c, g.points.axis[i]);
    emit_loop_end(e, &point, NULL);
    outer_leave(c, &g.samples, g.samples.flat.n);
    emit_function_end(e);
}
