/* Sums into computed positions: a thread takes a column, all positions of one place of the other
 * axes, clears it and adds the terms one after the other, so that their order is always the same
 * and nothing is locked. Neighbouring threads are neighbouring channels, whose columns lie side by
 * side. Sums are float32: a result of 16 bits is gathered in the workspace and rounded by a second
 * kernel. */
#include "codegen/cuda_schedules.h"

enum { THREADS = 128 };

static bool accepts(const TileProgram *p)
{
    return p->anchor == TILE_SCATTER;
}

static int own_axis(const TileProgram *p)
{
    int axes[TILE_MAX_AXES];
    cuda_axes(p, TILE_OWN, axes);
    return axes[0];
}

static int64_t columns(const TileProgram *p)
{
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);
    return cuda_points(p, axes, n, -1, 1);
}

static bool is_rounded(const TileProgram *p)
{
    return p->tensors.at[p->result[0].tensor].layout.type != STORAGE_F32;
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaSchedule s = {.name = cuda_kind_scatter.name, .n_phases = is_rounded(p) ? 2 : 1};
    int64_t n = columns(p);

    for (int i = 0; i < s.n_phases; i++)
        s.phase[i] = (CudaPhase){(n + THREADS - 1) / THREADS, THREADS};
    if (is_rounded(p))
        s.workspace_bytes = (size_t)(n * p->axes.at[own_axis(p)].size) * sizeof(float);
    return s;
}

/* The element of the column at position `at`, as an address. */
static const char *element(CudaText *c, const char *at, bool in_result)
{
    const TileProgram *p = c->p;
    TileIndex index[MAX_RANK] = {0};

    if (!in_result)
        return arena_printf(c->arena, "(float *)workspace + (%s) * %lldll + column", at,
                            (long long)columns(p));
    for (int d = 0; d < p->tensors.at[p->result[0].tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {p->result[0].axis[d]}, .coef = {1}};
    c->axis[own_axis(p)] = at;
    const char *address = cuda_address(c, p->result[0].tensor, index, NULL, NULL);
    c->axis[own_axis(p)] = NULL;
    return address;
}

static void begin(CudaText *c, int phase, const CudaPhase *shape, const char *what)
{
    int axes[TILE_MAX_AXES], n = cuda_axes(c->p, TILE_PARALLEL, axes);
    const char *type = columns(c->p) > INT32_MAX ? "long long" : "int";

    cuda_kernel_begin(c, phase, shape, what);
    cuda_line(c, "const %s column = (%s)blockIdx.x * %d + threadIdx.x;", type, type, THREADS);
    cuda_line(c, "if (column >= %lld)", (long long)columns(c->p));
    cuda_line(c, "    return;");
    cuda_digits(c, "column", axes, n);
    const char *outside = cuda_outside(c);
    if (outside) {
        cuda_line(c, "if (%s)", outside);
        cuda_line(c, "    return;");
    }
}

static void write_sums(CudaText *c, const CudaPhase *shape)
{
    const TileProgram *p = c->p;
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_REDUCE, axes);
    long long size = (long long)p->axes.at[own_axis(p)].size;
    CudaScope outer = cuda_scope(c);

    begin(c, 0, shape, "a thread for each column of positions");
    cuda_line(c, "for (int at = 0; at < %lld; at++)", size);
    cuda_line(c, "    *(%s) = 0.0f;", element(c, "at", !is_rounded(p)));
    CudaScope inner = cuda_scope(c);
    cuda_open_loops(c, axes, n);
    CudaValue position = cuda_value(c, p->rhs);
    cuda_line(c, "const int at = npc_position(%s, %lld);", cuda_at(c, position, "0"), size);
    cuda_open(c, "if (at >= 0)");
    CudaValue term = cuda_value(c, p->lhs);
    cuda_line(c, "*(%s) += %s;", element(c, "at", !is_rounded(p)), cuda_at(c, term, "0"));
    cuda_close(c);
    for (int i = 0; i < n; i++)
        cuda_close(c);
    cuda_scope_end(c, inner);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

static void write_rounding(CudaText *c, const CudaPhase *shape)
{
    const TileProgram *p = c->p;
    Storage type = p->tensors.at[p->result[0].tensor].layout.type;
    CudaScope outer = cuda_scope(c);

    begin(c, 1, shape, "sums to 16 bits");
    cuda_line(c, "for (int at = 0; at < %lld; at++)", (long long)p->axes.at[own_axis(p)].size);
    cuda_line(c, "    npc_store1_%s(%s, *(%s));", storage_text(type), element(c, "at", true),
              element(c, "at", false));
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

static void write(CudaText *c, const CudaSchedule *s)
{
    write_sums(c, &s->phase[0]);
    if (s->n_phases > 1)
        write_rounding(c, &s->phase[1]);
}

const CudaKind cuda_kind_scatter = {"scatter", accepts, schedule, write};
