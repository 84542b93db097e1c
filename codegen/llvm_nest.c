/* Choosing the loops: which axis vectors lie along, the order, what makes a task. */
#include "codegen/llvm_nest.h"

/* Work of a task, in vector operations: a few microseconds at least, so that handing it out is
 * cheap; at most a share of the whole, so that many threads find work. */
enum { TASK_WORK_MIN = 16 * 1024, TASK_WORK_MAX = 512 * 1024, TASKS_WANTED = 128 };

static double prim_work(Prim prim)
{
    switch (prim) {
    case PRIM_EXP:
    case PRIM_SIGMOID:
    case PRIM_TANH:
    case PRIM_SIN:
    case PRIM_COS:
    case PRIM_ERF:
    case PRIM_LOG:
    case PRIM_LOG1P:
        return 20;
    case PRIM_DIV:
    case PRIM_SQRT:
    case PRIM_RSQRT:
        return 5;
    default:
        return 1;
    }
}

static double access_work(const Code *c, int tensor, const TileIndex *index)
{
    switch (code_access(c, &c->p->tensors.at[tensor], index)) {
    case ACCESS_UNIFORM:
        return 0.5;
    case ACCESS_VECTOR:
        return 1;
    default:
        return 2.0 * c->lanes;
    }
}

/* Operations of one round of the body with vectors along an axis. */
static double body_work(const TileProgram *p, const unsigned *needs, int lane_axis, int lanes)
{
    Code c = {.p = p, .lane_axis = lane_axis, .lanes = lanes, .needs = (unsigned *)needs};
    double work = 2.0 * p->reductions.len;

    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        if (in->kind == INST_LOAD)
            work += access_work(&c, in->tensor, in->index);
        else if (in->kind == INST_PRIM)
            work += prim_work(in->prim);
    }
    for (uint32_t i = 0; i < p->stores.len; i++)
        work += 2 * access_work(&c, p->stores.at[i].tensor, p->stores.at[i].index);
    if (p->anchor != TILE_MAP)
        for (uint32_t a = 0; a < p->axes.len; a++)
            work *= p->axes.at[a].kind == TILE_REDUCE ? (double)p->axes.at[a].size : 1;
    return work;
}

static bool ranged_batch(const TileProgram *p)
{
    return p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_PARALLEL;
}

static bool can_hold_lanes(const TileProgram *p, int axis)
{
    const TileAxis *a = &p->axes.at[axis];

    if (a->kind != TILE_PARALLEL || a->size == 1 || axis == p->batch_axis)
        return false;
    for (uint32_t i = 0; i < p->stencils.len; i++)
        if (p->stencils.at[i].out == axis || p->stencils.at[i].tap == axis)
            return false;
    return true;
}

static void choose_lanes(Nest *nest, const unsigned *needs, const Target *target)
{
    const TileProgram *p = nest->p;
    double best = body_work(p, needs, -1, 1);

    nest->lane_axis = -1;
    nest->lanes = 1;
    for (int a = (int)p->axes.len - 1; a >= 0; a--) {
        if (!can_hold_lanes(p, a))
            continue;
        int64_t size = p->axes.at[a].size, n = (size + target->lanes - 1) / target->lanes;
        double work = body_work(p, needs, a, target->lanes) * (double)n / (double)size;
        if (work < best * 0.999) {
            best = work;
            nest->lane_axis = a;
            nest->lanes = target->lanes;
        }
    }
}

/* ---- order ---- */

static void add_loop(Nest *nest, int axis)
{
    const TileAxis *a = &nest->p->axes.at[axis];
    bool ranged = axis == nest->p->batch_axis;

    if (a->kind != TILE_PARALLEL || (a->size == 1 && !ranged))
        return;
    for (int i = 0; i < nest->n_loops; i++)
        if (nest->loop[i].axis == axis)
            return;
    int64_t step = axis == nest->lane_axis ? nest->lanes : 1;
    nest->loop[nest->n_loops++] = (NestLoop){axis, (a->size + step - 1) / step, step};
}

/* Loops in the order that a tensor's storage is walked in. */
static void add_tensor_loops(Nest *nest, int tensor, const TileIndex *index)
{
    const TileLayout *l = &nest->p->tensors.at[tensor].layout;

    for (int i = 0; i < l->shape.rank; i++) {
        const TileIndex *x = &index[l->order[i]];
        if (x->n_terms == 2 && x->coef[0] < x->coef[1])
            add_loop(nest, x->axis[1]);
        for (int k = 0; k < x->n_terms; k++)
            add_loop(nest, x->axis[k]);
    }
}

static void order_loops(Nest *nest)
{
    const TileProgram *p = nest->p;
    int largest = -1;
    int64_t elems = -1;

    if (ranged_batch(p))
        add_loop(nest, p->batch_axis);
    nest->by_sample = ranged_batch(p);
    if (p->stores.len > 0)
        add_tensor_loops(nest, p->stores.at[0].tensor, p->stores.at[0].index);
    for (uint32_t i = 0; i < p->insts.len; i++) {
        if (p->insts.at[i].kind != INST_LOAD)
            continue;
        int64_t n = tile_layout_elems(&p->tensors.at[p->insts.at[i].tensor].layout);
        if (n > elems) {
            elems = n;
            largest = (int)i;
        }
    }
    if (largest >= 0)
        add_tensor_loops(nest, p->insts.at[largest].tensor, p->insts.at[largest].index);
    for (uint32_t a = 0; a < p->axes.len; a++)
        add_loop(nest, (int)a);
}

/* ---- rows ---- */

static void choose_rows(Nest *nest, const unsigned *needs)
{
    double row = body_work(nest->p, needs, nest->lane_axis, nest->lanes), wanted;
    int k = 0;

    for (int i = 0; i < nest->n_loops; i++)
        row *= (double)nest->loop[i].n;
    wanted = row / TASKS_WANTED;
    wanted = wanted < TASK_WORK_MIN ? TASK_WORK_MIN : wanted;
    wanted = wanted > TASK_WORK_MAX ? TASK_WORK_MAX : wanted;
    nest->rows = nest->n_chunks = nest->chunk = 1;
    while (k < nest->n_loops) {
        int64_t n = nest->loop[k].n;
        bool last = k == nest->n_loops - 1, forced = k == 0 && nest->by_sample;
        int64_t fit = (int64_t)(wanted / (row / (double)n));
        fit = fit < 1 ? 1 : fit;
        if (!forced && (fit >= n || fit > 1 || last)) {
            nest->chunk = fit < n ? fit : n;
            break;
        }
        nest->rows *= n;
        row /= (double)n;
        k++;
    }
    nest->n_outer = k;
    if (k < nest->n_loops)
        nest->n_chunks = (nest->loop[k].n + nest->chunk - 1) / nest->chunk;
    nest->rows *= nest->n_chunks;
}

/* ---- partial results ---- */

/* More than this in partial results of rows is worth another order of the loops. */
#define PARTIAL_BYTES_MAX ((double)(16 << 20))

enum { LAST_ROUNDS_MAX = 2048 };

unsigned nest_kept_loops(const Nest *nest, const TileReduction *r)
{
    unsigned bits = 0;

    for (int k = 0; k < nest->n_loops; k++)
        for (int d = 0; d < nest->p->tensors.at[r->tensor].layout.shape.rank; d++)
            bits |= r->axis[d] == nest->loop[k].axis ? 1u << k : 0;
    return bits;
}

/* Bytes that all rows leave for the second phase. */
static double partial_bytes(const Nest *nest)
{
    double bytes = 0;

    for (uint32_t i = 0; i < nest->p->reductions.len; i++) {
        unsigned kept = nest_kept_loops(nest, &nest->p->reductions.at[i]);
        double elems = 8;
        bool crossed = nest->n_chunks > 1 && !(kept >> nest->n_outer & 1);
        for (int k = 0; k < nest->n_loops; k++) {
            bool is_kept = kept >> k & 1;
            crossed |= k < nest->n_outer && !is_kept;
            if (k >= nest->n_outer && is_kept)
                elems *= (double)(k == nest->n_outer ? nest->chunk : nest->loop[k].n);
            if (is_kept && nest->loop[k].axis == nest->lane_axis)
                elems *= nest->lanes;
        }
        bytes += crossed ? elems * (double)nest->rows : 0;
    }
    return bytes;
}

/* Loops that results keep come first, so that a row owns its results. The innermost stays where it
 * is, for the sake of memory, unless its results would not fit a cache. */
static void put_kept_first(Nest *nest)
{
    NestLoop loop[TILE_MAX_AXES];
    unsigned kept = 0;
    int n = 0, first = nest->by_sample, last = nest->n_loops - 1;

    for (uint32_t i = 0; i < nest->p->reductions.len; i++)
        kept |= nest_kept_loops(nest, &nest->p->reductions.at[i]);
    if (nest->loop[last].n > LAST_ROUNDS_MAX)
        last = nest->n_loops;
    for (int pass = 0; pass < 2; pass++)
        for (int k = first; k < last && k < nest->n_loops; k++)
            if ((kept >> k & 1) != (unsigned)pass)
                loop[n++] = nest->loop[k];
    memcpy(nest->loop + first, loop, (size_t)n * sizeof *loop);
}

void nest_plan(Arena *arena, Nest *nest, const TileProgram *merged, const Target *target)
{
    unsigned *needs = ARENA_ARRAY(arena, unsigned, merged->insts.len + 1);

    code_find_needs(merged, needs);
    *nest = (Nest){.p = merged};
    choose_lanes(nest, needs, target);
    order_loops(nest);
    choose_rows(nest, needs);
    if (partial_bytes(nest) > PARTIAL_BYTES_MAX) {
        put_kept_first(nest);
        choose_rows(nest, needs);
    }
}
