/* Sums into computed positions. A column is all positions of one place of the other axes.
 *
 * Where there are many columns a thread takes one, clears it and adds the terms one after the
 * other, so that their order is always the same and nothing is locked. Neighbouring threads are
 * neighbouring channels, whose columns lie side by side. Sums are float32: a result of 16 bits is
 * gathered in the workspace and rounded by a second kernel.
 *
 * Few columns of many terms (the gradient of a table of relative positions: four heads, 392 x 392
 * terms) would keep few threads busy for long. There a block takes a slice of a column's terms: its
 * threads look up THREADS terms, then each goes through all of these and adds those whose position
 * is one of its own. Slices have slots in the workspace; a second kernel adds them in order. */
#include "codegen/cuda_schedules.h"

enum {
    THREADS = 128,
    MANY_COLUMNS = 4096,
    MANY_TERMS = 1024,
    BLOCKS_WANTED = 512,
};

typedef struct Scatter {
    const TileProgram *p;
    int own, n_columns, column_axis[TILE_MAX_AXES], n_terms, term_axis[TILE_MAX_AXES];
    int64_t columns, terms, positions;
    int64_t slices; /* of a column's terms; 0: a thread takes whole columns */
    bool rounded;   /* results have 16 bits */
} Scatter;

static bool accepts(const TileProgram *p)
{
    return p->anchor == TILE_SCATTER;
}

/* Clearing slots and adding them costs as much as there are positions, so a slice has at least a
 * quarter as many terms. */
static int64_t slices_of(const Scatter *s)
{
    int64_t wanted = BLOCKS_WANTED / s->columns, most = 4 * s->terms / s->positions;

    if (s->columns >= MANY_COLUMNS || s->terms < MANY_TERMS || s->terms > INT32_MAX)
        return 0;
    most = most < s->terms / THREADS ? most : s->terms / THREADS;
    wanted = wanted < most ? wanted : most;
    return wanted < 1 ? 1 : wanted;
}

static Scatter scatter_of(const TileProgram *p)
{
    Scatter s = {.p = p, .rounded = p->tensors.at[p->result[0].tensor].layout.type != STORAGE_F32};
    int axes[TILE_MAX_AXES];

    cuda_axes(p, TILE_OWN, axes);
    s.own = axes[0];
    s.n_columns = cuda_axes(p, TILE_PARALLEL, s.column_axis);
    s.n_terms = cuda_axes(p, TILE_REDUCE, s.term_axis);
    s.columns = cuda_points(p, s.column_axis, s.n_columns, -1, 1);
    s.terms = cuda_points(p, s.term_axis, s.n_terms, -1, 1);
    s.positions = p->axes.at[s.own].size;
    s.slices = slices_of(&s);
    return s;
}

static int64_t blocks_for(int64_t threads)
{
    return (threads + THREADS - 1) / THREADS;
}

static CudaSchedule schedule(const TileProgram *p)
{
    Scatter s = scatter_of(p);
    CudaSchedule out = {.name = cuda_kind_scatter.name};
    int64_t sums = s.columns * s.positions;

    if (s.slices) {
        out.phase[out.n_phases++] = (CudaPhase){s.columns * s.slices, THREADS};
        out.phase[out.n_phases++] = (CudaPhase){blocks_for(sums), THREADS};
        out.workspace_bytes = (size_t)(s.slices * sums) * sizeof(float);
        return out;
    }
    for (int i = 0; i < (s.rounded ? 2 : 1); i++)
        out.phase[out.n_phases++] = (CudaPhase){blocks_for(s.columns), THREADS};
    if (s.rounded)
        out.workspace_bytes = (size_t)sums * sizeof(float);
    return out;
}

/* ---- pieces ---- */

/* Where the sum of position `at` of the column at hand is stored. */
static const char *result_at(CudaText *c, const Scatter *s, const char *at)
{
    const TileResult *r = &s->p->result[0];
    TileIndex index[MAX_RANK] = {0};

    for (int d = 0; d < s->p->tensors.at[r->tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    c->axis[s->own] = at;
    const char *address = cuda_address(c, r->tensor, index, NULL, NULL);
    c->axis[s->own] = NULL;
    return address;
}

static const char *result_type(const Scatter *s)
{
    return storage_text(s->p->tensors.at[s->p->result[0].tensor].layout.type);
}

static const char *index_type(int64_t n)
{
    return n > INT32_MAX ? "long long" : "int";
}

/* Leaves a column, or whatever `leave` says, of samples that are not the recording's. */
static void skip_outside(CudaText *c, const char *leave)
{
    const char *outside = cuda_outside(c);

    if (!outside)
        return;
    cuda_line(c, "if (%s)", outside);
    cuda_line(c, "    %s;", leave);
}

/* ---- a thread for each column ---- */

/* The sum of a position while it is gathered. */
static const char *gathered_at(CudaText *c, const Scatter *s, const char *at)
{
    if (!s->rounded)
        return result_at(c, s, at);
    return arena_printf(c->arena, "(float *)workspace + (%s) * %lldll + column", at,
                        (long long)s->columns);
}

static void begin(CudaText *c, const Scatter *s, int phase, const CudaPhase *shape,
                  const char *what)
{
    const char *type = index_type(s->columns);

    cuda_kernel_begin(c, phase, shape, what);
    cuda_line(c, "const %s column = (%s)blockIdx.x * %d + threadIdx.x;", type, type, THREADS);
    cuda_line(c, "if (column >= %lld)", (long long)s->columns);
    cuda_line(c, "    return;");
    cuda_digits(c, "column", s->column_axis, s->n_columns);
    skip_outside(c, "return");
}

static void write_sums(CudaText *c, const Scatter *s, const CudaPhase *shape)
{
    const TileProgram *p = s->p;
    CudaScope outer = cuda_scope(c);

    begin(c, s, 0, shape, "a thread for each column of positions");
    cuda_line(c, "for (int at = 0; at < %lld; at++)", (long long)s->positions);
    cuda_line(c, "    *(%s) = 0.0f;", gathered_at(c, s, "at"));
    CudaScope inner = cuda_scope(c);
    cuda_open_loops(c, s->term_axis, s->n_terms);
    CudaValue position = cuda_value(c, p->rhs);
    cuda_line(c, "const int at = npc_position(%s, %lld);", cuda_at(c, position, "0"),
              (long long)s->positions);
    cuda_open(c, "if (at >= 0)");
    CudaValue term = cuda_value(c, p->lhs);
    cuda_line(c, "*(%s) += %s;", gathered_at(c, s, "at"), cuda_at(c, term, "0"));
    cuda_close(c);
    for (int i = 0; i < s->n_terms; i++)
        cuda_close(c);
    cuda_scope_end(c, inner);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

static void write_rounding(CudaText *c, const Scatter *s, const CudaPhase *shape)
{
    CudaScope outer = cuda_scope(c);

    begin(c, s, 1, shape, "sums to 16 bits");
    cuda_line(c, "for (int at = 0; at < %lld; at++)", (long long)s->positions);
    cuda_line(c, "    npc_store1_%s(%s, *(%s));", result_type(s), result_at(c, s, "at"),
              gathered_at(c, s, "at"));
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

/* ---- a block for each slice of a column's terms ---- */

/* The thread's term of those that the block looks up together. */
static void look_up(CudaText *c, const Scatter *s)
{
    const TileProgram *p = s->p;
    CudaScope outer = cuda_scope(c);

    cuda_line(c, "const int term = first + thread;");
    cuda_line(c, "int at = -1;");
    cuda_line(c, "float x = 0.0f;");
    cuda_open(c, "if (term < last)");
    cuda_digits(c, "term", s->term_axis, s->n_terms);
    const char *outside = cuda_outside(c);
    cuda_open(c, "if (%s)", outside ? arena_printf(c->arena, "!(%s)", outside) : "1");
    CudaValue position = cuda_value(c, p->rhs);
    cuda_line(c, "at = npc_position(%s, %lld);", cuda_at(c, position, "0"),
              (long long)s->positions);
    CudaValue value = cuda_value(c, p->lhs);
    cuda_line(c, "x = %s;", cuda_at(c, value, "0"));
    cuda_close(c);
    cuda_close(c);
    cuda_line(c, "place[thread] = at;");
    cuda_line(c, "value[thread] = x;");
    cuda_scope_end(c, outer);
}

static void write_slices(CudaText *c, const Scatter *s, const CudaPhase *shape)
{
    long long columns = (long long)s->columns, slices = (long long)s->slices;
    long long positions = (long long)s->positions, terms = (long long)s->terms;
    CudaScope outer = cuda_scope(c);

    cuda_kernel_begin(c, 0, shape, "a block for each slice of a column's terms");
    cuda_line(c, "NPC_SHARED int place[%d];", THREADS);
    cuda_line(c, "NPC_SHARED float value[%d];", THREADS);
    cuda_line(c, "const int thread = threadIdx.x, column = blockIdx.x %% %lld;", columns);
    cuda_line(c, "const int slice = blockIdx.x / %lld;", columns);
    cuda_digits(c, "column", s->column_axis, s->n_columns);
    skip_outside(c, "return");
    cuda_line(c, "float *slot = (float *)workspace + slice * %lldll + column;",
              positions * columns);
    cuda_line(c, "for (int at = thread; at < %lld; at += %d)", positions, THREADS);
    cuda_line(c, "    slot[at * %lldll] = 0.0f;", columns);
    cuda_line(c, "const int last = (int)((slice + 1ll) * %lld / %lld);", terms, slices);
    cuda_open(c,
              "for (int first = (int)((long long)slice * %lld / %lld); first < last; first += %d)",
              terms, slices, THREADS);
    look_up(c, s);
    cuda_line(c, "NPC_SYNC();");
    cuda_open(c, "for (int i = 0; i < %d; i++)", THREADS);
    cuda_line(c, "if (place[i] %% %d == thread)", THREADS);
    cuda_line(c, "    slot[place[i] * %lldll] += value[i];", columns);
    cuda_close(c);
    cuda_line(c, "NPC_SYNC();");
    cuda_close(c);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

static void write_slots(CudaText *c, const Scatter *s, const CudaPhase *shape)
{
    long long sums = (long long)(s->columns * s->positions), columns = (long long)s->columns;
    const char *type = index_type(sums);
    CudaScope outer = cuda_scope(c);

    cuda_kernel_begin(c, 1, shape, "adds the slots of every position");
    cuda_line(c, "const %s sum = (%s)blockIdx.x * %d + threadIdx.x;", type, type, THREADS);
    cuda_line(c, "if (sum >= %lld)", sums);
    cuda_line(c, "    return;");
    cuda_line(c, "const int column = (int)(sum %% %lld), at = (int)(sum / %lld);", columns,
              columns);
    cuda_digits(c, "column", s->column_axis, s->n_columns);
    skip_outside(c, "return");
    cuda_line(c, "double all = 0;");
    cuda_line(c, "for (int slice = 0; slice < %lld; slice++)", (long long)s->slices);
    cuda_line(c, "    all += ((const float *)workspace)[slice * %lldll + sum];", sums);
    cuda_line(c, "npc_store1_%s(%s, (float)all);", result_type(s), result_at(c, s, "at"));
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

static void write(CudaText *c, const CudaSchedule *schedule)
{
    Scatter s = scatter_of(c->p);

    if (s.slices) {
        write_slices(c, &s, &schedule->phase[0]);
        write_slots(c, &s, &schedule->phase[1]);
        return;
    }
    write_sums(c, &s, &schedule->phase[0]);
    if (s.rounded)
        write_rounding(c, &s, &schedule->phase[1]);
}

const CudaKind cuda_kind_scatter = {"scatter", accepts, schedule, write};
