/* What becomes of a tile's sums.
 *
 * Fragments go through shared memory, 16 rows of each warp at a time, so that the code behind the
 * anchor runs on vectors along the results' innermost axis and moves 8 or 16 bytes at once. What it
 * reads of large tensors was issued a round of rows before, of the first rows before the tile's
 * last products; what varies with columns only lies in a table. Each thread keeps its columns, so
 * that sums over rows stay in registers until the block's end (cuda_sums.h). Where k is cut into
 * slabs, sums go to the workspace as they are, one slot for each slab:
 *
 *     slot[slab][g][m][n], float32, n padded to a multiple of 4
 *
 * and a second kernel adds the slots of a vector, eight threads each every eighth slab, in float64
 * and in a fixed order, and runs the code behind the anchor. */
#include "codegen/cuda_contract.h"

#define PRINT(...) arena_printf(t->arena, __VA_ARGS__)

enum { COMBINE_VECTORS = 32, COMBINE_PARTS = CONTRACT_THREADS / COMBINE_VECTORS };

static int64_t padded_n(const CudaContract *c)
{
    return (c->n.elems + 3) / 4 * 4;
}

static int64_t slot_floats(const CudaContract *c)
{
    return c->g.elems * c->m.elems * padded_n(c);
}

size_t contract_workspace(const CudaContract *c)
{
    return c->slabs == 1 ? c->sums.bytes : (size_t)(c->slabs * slot_floats(c)) * sizeof(float);
}

static bool is_f32(const CudaContract *c)
{
    return c->p->math == MATH_F32;
}

/* Rows of fragments that a warp has, one below the other. */
static int chunks(const CudaContract *c)
{
    return c->warp_m / 16;
}

/* ---- slabs ---- */

static void write_slot(CudaText *t, const CudaContract *c)
{
    long long n = (long long)padded_n(c);

    cuda_line(t, "float *slot = (float *)workspace + ((long long)slab * %lld + g) * %lldll;",
              (long long)c->g.elems, (long long)c->m.elems * n);
    cuda_open(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", chunks(c));
    if (is_f32(c)) {
        cuda_open(t, "NPC_UNROLL for (int j = 0; j < %d; j++)", c->b.tile / 16);
        cuda_line(t,
                  "const int row = m + thread / 16 + 16 * i, column = n + thread %% 16 + 16 * j;");
        cuda_line(t, "if (row < m_end && column < n_end)");
        cuda_line(t, "    slot[(long long)row * %lld + column] = acc[i][j];", n);
    } else {
        cuda_open(t, "NPC_UNROLL for (int half = 0; half < 2; half++)");
        cuda_line(t, "const int row = m + warp_m + 16 * i + group + 8 * half;");
        cuda_open(t, "NPC_UNROLL for (int j = 0; j < %d; j++)", c->warp_n / 8);
        cuda_line(t, "const int column = n + warp_n + 8 * j + 2 * pair;");
        cuda_line(t, "if (row < m_end && column < n_end)");
        cuda_line(t,
                  "    npc_store2_f32(slot + (long long)row * %lld + column, "
                  "acc[i][j][2 * half], acc[i][j][2 * half + 1]);",
                  n);
        cuda_close(t);
    }
    cuda_close(t);
    cuda_close(t);
}

/* ---- the code behind the anchor ---- */

static int vector_axis(const CudaContract *c)
{
    return c->lanes > 1 ? c->n.axis[c->n.n - 1] : -1;
}

static void write_chunk(CudaText *t, const CudaContract *c)
{
    if (is_f32(c)) {
        cuda_line(t, "NPC_UNROLL for (int j = 0; j < %d; j++)", c->b.tile / 16);
        cuda_line(t, "    numbers[thread / 16 * %d + thread %% 16 + 16 * j] = acc[i][j];",
                  c->staging_row);
        return;
    }
    cuda_line(t, "float *to = numbers + (warp_m / %d * 16 + group) * %d + warp_n + 2 * pair;",
              c->warp_m, c->staging_row);
    cuda_open(t, "NPC_UNROLL for (int j = 0; j < %d; j++)", c->warp_n / 8);
    cuda_line(t, "npc_store2_f32(to + 8 * j, acc[i][j][0], acc[i][j][1]);");
    cuda_line(t, "npc_store2_f32(to + %d + 8 * j, acc[i][j][2], acc[i][j][3]);",
              8 * c->staging_row);
    cuda_close(t);
}

/* Threads side by side along a row of results, and rows at once. */
static int threads_across(const CudaContract *c)
{
    return c->b.tile / c->lanes;
}

static int rows_at_once(const CudaContract *c)
{
    return CONTRACT_THREADS / threads_across(c);
}

static int staged_rows(const CudaContract *c)
{
    return is_f32(c) ? 16 : 16 * c->warps_m;
}

static int rounds(const CudaContract *c)
{
    return (int)contract_div_up(staged_rows(c), rows_at_once(c));
}

/* NULL: all threads have a row and a column. */
static const char *active(CudaText *t, const CudaContract *c)
{
    int n = threads_across(c) * rows_at_once(c);
    return n == CONTRACT_THREADS ? NULL : PRINT("thread < %d", n);
}

/* Declares r, the thread's row in shared memory in a round of a chunk, and row, that row of the
 * results, and opens the condition that there is such a row and column. */
static void open_round(CudaText *t, const CudaContract *c, const char *chunk, const char *round)
{
    Text inside = {.arena = t->arena};

    cuda_line(t, "const int r = thread / %d + %s * %d;", threads_across(c), round, rows_at_once(c));
    if (c->warps_m > 1 && !is_f32(c))
        cuda_line(t, "const int row = m + r / 16 * %d + %s * 16 + r %% 16;", c->warp_m, chunk);
    else
        cuda_line(t, "const int row = m + %s * 16 + r;", chunk);
    if (active(t, c))
        text_printf(&inside, " && %s", active(t, c));
    if (rounds(c) * rows_at_once(c) > staged_rows(c))
        text_printf(&inside, " && r < %d", staged_rows(c));
    if (c->a.row_tail)
        text_add(&inside, " && row < m_end");
    if (c->b.row_tail)
        text_add(&inside, " && column < n_end");
    if (inside.len)
        cuda_open(t, "if (%s)", text_str(&inside) + 4);
    else
        cuda_line(t, "{"), t->indent++;
}

static void enter_vector(CudaText *t, const CudaContract *c, const char *row)
{
    t->vector = vector_axis(c);
    t->lanes = c->lanes;
    contract_enter(t, &c->m, row);
    contract_enter(t, &c->n, "column");
}

void contract_write_results_ahead(CudaText *t, const CudaContract *c)
{
    CudaScope outer = cuda_scope(t);

    open_round(t, c, "0", "0");
    enter_vector(t, c, "row");
    cuda_ahead_load(t, &c->ahead, "0");
    cuda_close(t);
    cuda_scope_end(t, outer);
}

/* Takes what was loaded ahead, and loads the same of the next round: which may have a row where
 * this one has none. */
static void write_taking(CudaText *t, const CudaContract *c)
{
    t->vector = vector_axis(c);
    t->lanes = c->lanes;
    cuda_ahead_take(t, &c->ahead, "0");
    if (!c->ahead.n || chunks(c) * rounds(c) == 1)
        return;
    CudaScope outer = cuda_scope(t);
    cuda_open(t, "if (chunk * %d + round < %d)", rounds(c), chunks(c) * rounds(c) - 1);
    cuda_line(t, "const int next_round = (round + 1) %% %d;", rounds(c));
    cuda_line(t, "const int next_chunk = chunk + (round + 1) / %d;", rounds(c));
    open_round(t, c, "next_chunk", "next_round");
    enter_vector(t, c, "row");
    cuda_ahead_load(t, &c->ahead, "0");
    cuda_close(t);
    cuda_close(t);
    cuda_scope_end(t, outer);
}

/* Results of the vector at row and column. */
static void write_vector(CudaText *t, CudaContract *c)
{
    enter_vector(t, c, "row");
    for (int j = 0; j < c->n_of_column; j++)
        contract_take(t, c->of_column[j], c->lanes,
                      PRINT("%lld + across", (long long)(c->at_columns + (int64_t)j * c->b.tile)));
    t->acc = (CudaValue){cuda_name(t, "acc"), c->lanes > 1};
    const char *from = PRINT("numbers + r * %d + across", c->staging_row);
    if (c->lanes > 1) {
        cuda_line(t, "float %s[%d];", t->acc.name, c->lanes);
        cuda_line(t, "npc_load%d_f32(%s, %s);", c->lanes, t->acc.name, from);
    } else {
        cuda_line(t, "const float %s = *(%s);", t->acc.name, from);
    }
    cuda_plain_stores(t);
    if (c->sums.n)
        cuda_sums_add(t, &c->sums, "0", true);
}

static void write_epilogue(CudaText *t, CudaContract *c)
{
    CudaScope outer = cuda_scope(t);

    cuda_open(t, "for (int chunk = 0; chunk < %d; chunk++)", chunks(c));
    cuda_line(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", chunks(c));
    cuda_open(t, "if (i == chunk)");
    write_chunk(t, c);
    cuda_close(t);
    cuda_line(t, "NPC_SYNC();");
    cuda_open(t, "NPC_NO_UNROLL for (int round = 0; round < %d; round++)", rounds(c));
    write_taking(t, c);
    open_round(t, c, "chunk", "round");
    write_vector(t, c);
    cuda_close(t);
    cuda_close(t);
    cuda_line(t, "NPC_SYNC();");
    cuda_close(t);
    cuda_scope_end(t, outer);
}

void contract_write_results(CudaText *t, CudaContract *c)
{
    if (c->slabs > 1)
        write_slot(t, c);
    else
        write_epilogue(t, c);
}

/* ---- reductions ---- */

/* The slot of a block: its group, and which part of the group it is. */
static const char *slot_of_block(CudaText *t, const CudaContract *c)
{
    const char *slot = "0";
    uint32_t groups = 0;

    for (int i = 0; i < c->sums.n_group_axes; i++) {
        int a = c->sums.group_axis[i];
        slot = PRINT("(%s * %lld + %s)", slot, (long long)c->p->axes.at[a].size, t->axis[a]);
        groups |= 1u << a;
    }
    for (int i = 0; i < c->g.n; i++)
        if (!(groups >> c->g.axis[i] & 1))
            slot = PRINT("(%s * %lld + %s)", slot, (long long)c->p->axes.at[c->g.axis[i]].size,
                         t->axis[c->g.axis[i]]);
    return PRINT("%s * %lld + walk", slot, (long long)c->walks);
}

static CudaPlace place(CudaText *t, const CudaContract *c)
{
    return (CudaPlace){.threads = CONTRACT_THREADS,
                       .rows = rows_at_once(c),
                       .channels = c->b.tile,
                       .vectors = 1,
                       .row = PRINT("thread / %d", threads_across(c)),
                       .channel = PRINT("across + l"),
                       .is_active = active(t, c),
                       .slot = slot_of_block(t, c),
                       .part = PRINT("n / %d", c->b.tile),
                       .first_channel = "n",
                       .shared = "numbers"};
}

void contract_begin_results(CudaText *t, CudaContract *c)
{
    CudaScope outer = cuda_scope(t);
    CudaPlace at = place(t, c);

    if (c->slabs > 1)
        return;
    cuda_line(t, "const int across = thread %% %d * %d, column = n + across;", threads_across(c),
              c->lanes);
    t->vector = vector_axis(c);
    t->lanes = c->lanes;
    c->ahead.name = "y_ahead";
    c->ahead.vector = t->vector;
    c->ahead.lanes = c->lanes;
    c->ahead.count = 1;
    cuda_ahead_declare(t, &c->ahead);
    if (c->sums.n)
        cuda_sums_begin(t, &c->sums, &at);
    cuda_scope_end(t, outer);
    contract_fill_table(t, &c->n, "n_end", c->of_column, c->n_of_column, c->at_columns, c->b.tile,
                        "n");
}

void contract_end_results(CudaText *t, CudaContract *c)
{
    CudaScope outer = cuda_scope(t);
    CudaPlace at = place(t, c);

    t->vector = vector_axis(c);
    t->lanes = c->lanes;
    cuda_sums_end(t, &c->sums, &at);
    cuda_scope_end(t, outer);
}

/* ---- adding slabs ---- */

static int combine_lanes(const CudaContract *c)
{
    return c->lanes > 4 ? 4 : c->lanes;
}

static int64_t combine_vectors(const CudaContract *c)
{
    return c->g.elems * c->m.elems * (c->n.elems / combine_lanes(c));
}

CudaPhase contract_combine_phase(const CudaContract *c)
{
    return (CudaPhase){contract_div_up(combine_vectors(c), COMBINE_VECTORS), CONTRACT_THREADS};
}

static void write_slot_sum(CudaText *t, const CudaContract *c)
{
    int lanes = combine_lanes(c);

    cuda_line(t, "double sum[%d] = {0};", lanes);
    cuda_line(t,
              "const float *slot = (const float *)workspace + ((long long)g * %lld + row) * %lld"
              " + column;",
              (long long)c->m.elems, (long long)padded_n(c));
    cuda_open(t, "for (int slab = part; is_inside && slab < %lld; slab += %d)", (long long)c->slabs,
              COMBINE_PARTS);
    cuda_line(t, "float x[%d];", lanes);
    if (lanes > 1)
        cuda_line(t, "npc_load%d_f32(x, slot + (long long)slab * %lldll);", lanes,
                  (long long)slot_floats(c));
    else
        cuda_line(t, "x[0] = slot[(long long)slab * %lldll];", (long long)slot_floats(c));
    cuda_line(t, "NPC_UNROLL for (int l = 0; l < %d; l++)", lanes);
    cuda_line(t, "    sum[l] += x[l];");
    cuda_close(t);
    cuda_line(t, "NPC_UNROLL for (int l = 0; l < %d; l++)", lanes);
    cuda_line(t, "    parts[part][l][thread %% %d] = sum[l];", COMBINE_VECTORS);
    cuda_line(t, "NPC_SYNC();");
    cuda_line(t, "if (part > 0 || !is_inside)");
    cuda_line(t, "    return;");
    cuda_line(t, "float acc[%d];", lanes);
    cuda_open(t, "NPC_UNROLL for (int l = 0; l < %d; l++)", lanes);
    cuda_line(t, "for (int other = 1; other < %d; other++)", COMBINE_PARTS);
    cuda_line(t, "    sum[l] += parts[other][l][thread];");
    cuda_line(t, "acc[l] = (float)sum[l];");
    cuda_close(t);
}

void contract_write_combine(CudaText *t, const CudaContract *c, int phase)
{
    CudaPhase shape = contract_combine_phase(c);
    CudaScope outer = cuda_scope(t);
    int lanes = combine_lanes(c);
    long long across = (long long)(c->n.elems / lanes), vectors = (long long)combine_vectors(c);
    const char *type = vectors > INT32_MAX ? "long long" : "int";

    cuda_kernel_begin(t, phase, &shape, "sums of all slabs");
    contract_enter_ones(t);
    cuda_line(t, "NPC_SHARED double parts[%d][%d][%d];", COMBINE_PARTS, lanes, COMBINE_VECTORS);
    cuda_line(t, "const int thread = threadIdx.x, part = thread / %d;", COMBINE_VECTORS);
    cuda_line(t, "const %s at = (%s)blockIdx.x * %d + thread %% %d;", type, type, COMBINE_VECTORS,
              COMBINE_VECTORS);
    cuda_line(t,
              "const int column = (int)(at %% %lld) * %d, row = (int)(at / %lld %% %lld), "
              "g = (int)(at / %lldll);",
              across, lanes, across, (long long)c->m.elems, across * (long long)c->m.elems);
    t->vector = vector_axis(c);
    t->lanes = lanes;
    t->acc = (CudaValue){lanes > 1 ? "acc" : "acc[0]", lanes > 1};
    contract_enter(t, &c->g, "g");
    contract_enter(t, &c->m, "row");
    contract_enter(t, &c->n, "column");
    const char *outside = cuda_outside(t);
    if (outside && c->p->axes.at[c->p->batch_axis].kind == TILE_PARALLEL)
        cuda_line(t, "const int is_inside = at < %lld && !(%s);", vectors, outside);
    else
        cuda_line(t, "const int is_inside = at < %lld;", vectors);
    write_slot_sum(t, c);
    cuda_plain_stores(t);
    cuda_scope_end(t, outer);
    cuda_kernel_end(t);
}

/* ---- the schedule ---- */

static bool accepts(const TileProgram *p)
{
    CudaContract c;
    return contract_plan(&c, p);
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaSchedule s = {.name = cuda_kind_tiles.name, .n_phases = 1};
    CudaContract c;

    contract_plan(&c, p);
    s.phase[0] = (CudaPhase){c.tiles_n * c.walks * c.g.elems * c.slabs, CONTRACT_THREADS};
    s.workspace_bytes = contract_workspace(&c);
    if (c.slabs > 1)
        s.phase[s.n_phases++] = contract_combine_phase(&c);
    if (p->reductions.len)
        s.phase[s.n_phases++] = cuda_sums_phase(&c.sums);
    return s;
}

static void write(CudaText *t, const CudaSchedule *s)
{
    CudaContract c;

    contract_plan(&c, t->p);
    contract_write_products(t, &c, &s->phase[0]);
    if (c.slabs > 1)
        contract_write_combine(t, &c, 1);
    if (c.sums.n)
        cuda_sums_combine(t, &c.sums, 1);
}

const CudaKind cuda_kind_tiles = {"tiles", accepts, schedule, write};
