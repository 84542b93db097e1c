/* Products with few results, each a long sum: squeeze-and-excite, products of vectors.
 *
 * A warp takes one result: its lanes walk the summed axes side by side, the last axis fastest, and
 * join their sums by shuffles in a fixed order. So a product of 32 x 28 results of 896 terms
 * occupies 896 warps for 28 rounds instead of a block for 28 tiles. Factors are rounded as the
 * program's math says and multiplied in float32.
 *
 * Without reductions the first lane runs the code behind the anchor. With them the sums go to the
 * workspace (4 bytes each) and the general schedule goes on from there. */
#include "codegen/cuda_schedules.h"

enum { THREADS = 256, MAX_POINTS = 4096, MIN_TERMS = 32, MAX_PRODUCTS = 1 << 22 };

static int64_t elems(const TileProgram *p, TileAxisKind kind)
{
    int axes[TILE_MAX_AXES], n = cuda_axes(p, kind, axes);
    return cuda_points(p, axes, n, -1, 1);
}

static bool accepts(const TileProgram *p)
{
    int64_t terms = elems(p, TILE_REDUCE), points = elems(p, TILE_PARALLEL);

    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind == TILE_PAIR_SUM)
            return false;
    return p->anchor == TILE_CONTRACT && points <= MAX_POINTS && terms >= MIN_TERMS &&
           terms * points <= MAX_PRODUCTS;
}

static CudaSchedule schedule(const TileProgram *p)
{
    int64_t points = elems(p, TILE_PARALLEL);
    CudaSchedule rest = cuda_kind_points.schedule(p), s = {.name = cuda_kind_dots.name};

    s.phase[s.n_phases++] = (CudaPhase){(points * 32 + THREADS - 1) / THREADS, THREADS};
    if (!p->reductions.len)
        return s;
    for (int i = 0; i < rest.n_phases; i++)
        s.phase[s.n_phases++] = rest.phase[i];
    s.workspace_bytes = (size_t)points * sizeof(float);
    return s;
}

/* Reduced axes, the batch first where a range cuts it; returns where its flat index ends. */
static int reduced_axes(CudaText *c, int axes[TILE_MAX_AXES], const char **first, const char **end)
{
    const TileProgram *p = c->p;
    int all[TILE_MAX_AXES], n = cuda_axes(p, TILE_REDUCE, all), k = 0;
    bool cut =
        p->session >= 0 && p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_REDUCE;
    int64_t terms = cuda_points(p, all, n, -1, 1);

    if (cut)
        axes[k++] = p->batch_axis;
    for (int i = 0; i < n; i++)
        if (!cut || all[i] != p->batch_axis)
            axes[k++] = all[i];
    long long inner = cut ? (long long)(terms / p->axes.at[p->batch_axis].size) : 0;
    *first = cut ? arena_printf(c->arena, "b0 * %lld + ", inner) : "";
    *end = cut ? arena_printf(c->arena, "b1 * %lld", inner)
               : arena_printf(c->arena, "%lld", (long long)terms);
    return n;
}

static void write_sum(CudaText *c)
{
    int axes[TILE_MAX_AXES];
    const char *first, *end;
    int n = reduced_axes(c, axes, &first, &end);
    CudaScope outer = cuda_scope(c);

    cuda_line(c, "float sum = 0.0f;");
    cuda_open(c, "for (int term = %slane; term < %s; term += 32)", first, end);
    cuda_digits(c, "term", axes, n);
    CudaValue lhs = cuda_value(c, c->p->lhs), rhs = cuda_value(c, c->p->rhs);
    cuda_line(c, "sum += %s * %s;", cuda_rounded(c, cuda_at(c, lhs, "0")),
              cuda_rounded(c, cuda_at(c, rhs, "0")));
    cuda_close(c);
    cuda_scope_end(c, outer);
    cuda_line(c, "NPC_UNROLL for (int distance = 16; distance > 0; distance /= 2)");
    cuda_line(c, "    sum += NPC_SHUFFLE_XOR(sum, distance);");
}

static void write(CudaText *c, const CudaSchedule *s)
{
    const TileProgram *p = c->p;
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);
    CudaScope outer = cuda_scope(c);

    cuda_kernel_begin(c, 0, &s->phase[0], "a warp for each sum");
    cuda_line(c, "const int thread = threadIdx.x, lane = thread %% 32;");
    cuda_line(c, "const int point = blockIdx.x * %d + thread / 32;", THREADS / 32);
    cuda_line(c, "if (point >= %lld)", (long long)elems(p, TILE_PARALLEL));
    cuda_line(c, "    return;");
    cuda_digits(c, "point", axes, n);
    if (cuda_outside(c)) {
        cuda_line(c, "if (%s)", cuda_outside(c));
        cuda_line(c, "    return;");
    }
    write_sum(c);
    cuda_line(c, "if (lane > 0)");
    cuda_line(c, "    return;");
    if (p->reductions.len) {
        cuda_line(c, "((float *)workspace)[point] = sum;");
    } else {
        c->acc = (CudaValue){"sum", false};
        cuda_plain_stores(c);
    }
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
    if (!p->reductions.len)
        return;
    CudaSchedule rest = cuda_kind_points.schedule(p);
    c->has_sums = true;
    c->first_phase++;
    cuda_kind_points.write(c, &rest);
    c->first_phase--;
    c->has_sums = false;
}

const CudaKind cuda_kind_dots = {"dots", accepts, schedule, write};
