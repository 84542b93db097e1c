/* The general schedule. Reductions come first, a block for each element of a result, because a
 * store may take the place of what they read; then every point of the parallel axes, a thread for
 * each vector along the last (each point, where there are sines). What an anchor sums is walked by
 * plain loops. */
#include "codegen/cuda_schedules.h"

enum { THREADS = 256 };

static bool accepts(const TileProgram *p)
{
    (void)p;
    return true;
}

/* Code of sines is long, most of it for large angles: NVRTC takes 15 ms for each in the text, and
 * with four to a vector the tables of positions took it 2.4 s instead of 0.8. */
static bool has_sines(const TileProgram *p)
{
    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        if (in->kind == INST_PRIM && (in->prim == PRIM_SIN || in->prim == PRIM_COS))
            return true;
    }
    return false;
}

static int vector_axis(const TileProgram *p, int *lanes)
{
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);
    int axis = n ? axes[n - 1] : -1;

    for (uint32_t i = 0; i < p->stencils.len; i++) /* input positions are those of one lane */
        if (p->stencils.at[i].out == axis || p->stencils.at[i].tap == axis)
            axis = -1;
    if (has_sines(p))
        axis = -1;
    *lanes = cuda_lanes(p, axis);
    return *lanes > 1 ? axis : -1;
}

static int64_t result_elems(const TileProgram *p, uint32_t reduction)
{
    return shape_elems(&p->tensors.at[p->reductions.at[reduction].tensor].layout.shape);
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaSchedule s = {.name = cuda_kind_points.name};
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes), lanes;
    int vector = vector_axis(p, &lanes);
    int64_t points = cuda_points(p, axes, n, vector, lanes), sums = 0;

    for (uint32_t i = 0; i < p->reductions.len; i++)
        sums += result_elems(p, i);
    if (sums)
        s.phase[s.n_phases++] = (CudaPhase){sums, THREADS};
    if (p->stores.len)
        s.phase[s.n_phases++] = (CudaPhase){(points + THREADS - 1) / THREADS, THREADS};
    return s;
}

/* ---- pieces that other schedules use ---- */

const char *cuda_outside(const CudaText *c)
{
    const TileProgram *p = c->p;
    const char *b = p->session >= 0 && p->batch_axis >= 0 ? c->axis[p->batch_axis] : NULL;

    return b ? arena_printf(c->arena, "%s < b0 || %s >= b1", b, b) : NULL;
}

void cuda_open_loops(CudaText *c, const int *axes, int n)
{
    for (int i = 0; i < n; i++) {
        const char *name = cuda_axis_name(c, axes[i]);
        bool cut = axes[i] == c->p->batch_axis && c->p->session >= 0;
        const char *size = arena_printf(c->arena, "%lld", (long long)c->p->axes.at[axes[i]].size);
        cuda_open(c, "for (int %s = %s; %s < %s; %s++)", name, cut ? "b0" : "0", name,
                  cut ? "b1" : size, name);
        c->axis[axes[i]] = name;
    }
}

/* What an earlier phase left in the workspace. */
static void take_sum(CudaText *c)
{
    const TileProgram *p = c->p;
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);
    const char *at = "0";

    for (int i = 0; i < n; i++)
        at = i ? arena_printf(c->arena, "(%s) * %lld + %s", at, (long long)p->axes.at[axes[i]].size,
                              c->axis[axes[i]])
               : c->axis[axes[i]];
    c->acc = (CudaValue){cuda_name(c, "acc"), c->lanes > 1};
    if (c->lanes > 1) {
        cuda_line(c, "float %s[%d];", c->acc.name, c->lanes);
        cuda_line(c, "npc_load%d_f32(%s, (const float *)workspace + %s);", c->lanes, c->acc.name,
                  at);
    } else {
        cuda_line(c, "const float %s = ((const float *)workspace)[%s];", c->acc.name, at);
    }
}

void cuda_plain_anchor(CudaText *c)
{
    const TileProgram *p = c->p;
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_REDUCE, axes);

    if (p->anchor == TILE_MAP)
        return;
    if (c->has_sums) {
        take_sum(c);
        return;
    }
    bool is_vector = c->lanes > 1;
    c->acc = (CudaValue){cuda_name(c, "acc"), is_vector};
    if (is_vector)
        cuda_line(c, "float %s[%d] = {0};", c->acc.name, c->lanes);
    else
        cuda_line(c, "float %s = 0;", c->acc.name);
    CudaScope outer = cuda_scope(c);
    cuda_open_loops(c, axes, n);
    const char *valid = cuda_enter_inputs(c);
    bool guarded = p->stencils.len > 0;
    if (guarded)
        cuda_open(c, "if (%s)", valid);
    CudaValue lhs = cuda_value(c, p->lhs), rhs = cuda_value(c, p->rhs);
    const char *a = cuda_rounded(c, cuda_at(c, lhs, "l")),
               *b = cuda_rounded(c, cuda_at(c, rhs, "l"));
    if (is_vector) {
        cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);
        cuda_line(c, "    %s[l] += %s * %s;", outer.acc.name, a, b);
    } else {
        cuda_line(c, "%s += %s * %s;", outer.acc.name, a, b);
    }
    if (guarded)
        cuda_close(c);
    for (int i = 0; i < n; i++)
        cuda_close(c);
    cuda_scope_end(c, outer);
}

/* Every value before the first store: a result may take the place of what another one reads. */
void cuda_plain_stores(CudaText *c)
{
    uint32_t n = c->p->stores.len;
    CudaValue *value = ARENA_ARRAY(c->arena, CudaValue, n + 1);

    for (uint32_t i = 0; i < n; i++)
        value[i] = cuda_value(c, c->p->stores.at[i].inst);
    for (uint32_t i = 0; i < n; i++)
        cuda_store(c, c->p->stores.at[i].tensor, c->p->stores.at[i].index, value[i]);
}

/* ---- stores ---- */

static void write_stores(CudaText *c, int phase, const CudaPhase *shape)
{
    const TileProgram *p = c->p;
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);

    cuda_kernel_begin(c, phase, shape, "a thread for each point");
    CudaScope outer = cuda_scope(c);
    c->vector = vector_axis(p, &c->lanes);
    int64_t points = cuda_points(p, axes, n, c->vector, c->lanes);
    const char *type = points > INT32_MAX ? "long long" : "int";
    cuda_line(c, "const %s point = (%s)blockIdx.x * %d + threadIdx.x;", type, type, THREADS);
    cuda_line(c, "if (point >= %lld)", (long long)points);
    cuda_line(c, "    return;");
    cuda_digits(c, "point", axes, n);
    const char *outside = cuda_outside(c);
    if (outside) {
        cuda_line(c, "if (%s)", outside);
        cuda_line(c, "    return;");
    }
    cuda_plain_anchor(c);
    cuda_plain_stores(c);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

/* ---- reductions ---- */

/* Parallel axes that a result has, in its order, and those that it lacks. */
static void split_axes(const TileProgram *p, const TileReduction *r, int kept[TILE_MAX_AXES],
                       int *n_kept, int summed[TILE_MAX_AXES], int *n_summed)
{
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);

    *n_kept = p->tensors.at[r->tensor].layout.shape.rank;
    *n_summed = 0;
    for (int d = 0; d < *n_kept; d++)
        kept[d] = r->axis[d];
    for (int i = 0; i < n; i++) {
        bool is_kept = false;
        for (int d = 0; d < *n_kept; d++)
            is_kept |= r->axis[d] == axes[i];
        if (!is_kept)
            summed[(*n_summed)++] = axes[i];
    }
}

/* Adds `each` (an expression in the value x) over all summed points of this thread to `sum`. */
static void write_loop(CudaText *c, const TileReduction *r, const int *axes, int n,
                       const char *each, const char *sum, bool counts)
{
    int64_t points = cuda_points(c->p, axes, n, -1, 1);
    CudaScope outer = cuda_scope(c);

    cuda_open(c, "for (long long point = threadIdx.x; point < %lldll; point += %d)",
              (long long)points, THREADS);
    cuda_digits(c, "point", axes, n);
    const char *outside = cuda_outside(c);
    if (outside) {
        cuda_line(c, "if (%s)", outside);
        cuda_line(c, "    continue;");
    }
    if (r->kind == TILE_PAIR_SUM) {
        if (c->p->stencils.len) {
            cuda_line(c, "if (!(%s))", cuda_enter_inputs(c));
            cuda_line(c, "    continue;");
        }
        cuda_line(c, "const double x = (double)%s * %s;",
                  cuda_rounded(c, cuda_at(c, cuda_value(c, r->inst), "0")),
                  cuda_rounded(c, cuda_at(c, cuda_value(c, c->p->lhs), "0")));
    } else {
        cuda_plain_anchor(c);
        cuda_line(c, "const double x = %s;", cuda_at(c, cuda_value(c, r->inst), "0"));
    }
    cuda_line(c, "%s += %s;", sum, each);
    if (counts)
        cuda_line(c, "n += 1;");
    cuda_close(c);
    cuda_scope_end(c, outer);
}

/* Sums `what` of all threads of the block, in a fixed order; every thread gets the sum. */
static void write_block_sum(CudaText *c, const char *what)
{
    cuda_line(c, "NPC_SYNC();");
    cuda_line(c, "part[threadIdx.x] = %s;", what);
    cuda_line(c, "NPC_SYNC();");
    cuda_open(c, "NPC_NO_UNROLL for (int step = %d; step > 0; step /= 2)", THREADS / 2);
    cuda_line(c, "if (threadIdx.x < step)");
    cuda_line(c, "    part[threadIdx.x] += part[threadIdx.x + step];");
    cuda_line(c, "NPC_SYNC();");
    cuda_close(c);
    cuda_line(c, "%s = part[0];", what);
}

static void write_reduction(CudaText *c, uint32_t index, int64_t first_block)
{
    const TileProgram *p = c->p;
    const TileReduction *r = &p->reductions.at[index];
    const TileLayout *l = &p->tensors.at[r->tensor].layout;
    int kept[TILE_MAX_AXES], summed[TILE_MAX_AXES], n_kept, n_summed;
    int64_t elems = result_elems(p, index);
    CudaScope outer = cuda_scope(c);
    TileIndex at[MAX_RANK] = {0};

    split_axes(p, r, kept, &n_kept, summed, &n_summed);
    cuda_open(c, "if ((int)blockIdx.x >= %lld && (int)blockIdx.x < %lld)", (long long)first_block,
              (long long)(first_block + elems));
    cuda_digits(c, arena_printf(c->arena, "(int)blockIdx.x - %lld", (long long)first_block), kept,
                n_kept);
    const char *outside = cuda_outside(c);
    if (outside) {
        cuda_line(c, "if (%s)", outside);
        cuda_line(c, "    return;");
    }
    cuda_line(c, r->kind == TILE_VARIANCE ? "double sum = 0, n = 0;" : "double sum = 0;");
    write_loop(c, r, summed, n_summed, "x", "sum", r->kind == TILE_VARIANCE);
    write_block_sum(c, "sum");
    if (r->kind == TILE_VARIANCE) {
        write_block_sum(c, "n");
        cuda_line(c, "const double mean = n > 0 ? sum / n : 0;");
        cuda_line(c, "double squares = 0;");
        write_loop(c, r, summed, n_summed, "(x - mean) * (x - mean)", "squares", false);
        write_block_sum(c, "squares");
        cuda_line(c, "sum = n > 0 ? squares / n : 0;");
    }
    for (int d = 0; d < l->shape.rank; d++)
        at[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    char factor[DOUBLE_TEXT];
    double_text(factor, r->factor);
    cuda_line(c, "if (threadIdx.x == 0)");
    cuda_line(c, "    npc_store1_%s(%s, (float)(%s * sum));", storage_text(l->type),
              cuda_address(c, r->tensor, at, NULL, NULL), factor);
    cuda_close(c);
    cuda_scope_end(c, outer);
}

static void write_reductions(CudaText *c, const CudaPhase *shape)
{
    int64_t first = 0;

    cuda_kernel_begin(c, 0, shape, "a block for each element of a sum");
    cuda_line(c, "NPC_SHARED double part[%d];", THREADS);
    for (uint32_t i = 0; i < c->p->reductions.len; i++) {
        write_reduction(c, i, first);
        first += result_elems(c->p, i);
    }
    cuda_kernel_end(c);
}

static void write(CudaText *c, const CudaSchedule *s)
{
    if (c->p->reductions.len)
        write_reductions(c, &s->phase[0]);
    if (c->p->stores.len)
        write_stores(c, s->n_phases - 1, &s->phase[s->n_phases - 1]);
}

const CudaKind cuda_kind_points = {"points", accepts, schedule, write};
