/* Both gradients of a product by one kernel, which reads everything once:
 *
 *     dx[m, n] = sum over k of dz[m, k] w[k, n]        the anchor
 *     dw[k, n] = sum over m of dz[m, k] x[m, n]        its pair sum
 *
 * The products of cuda_contract_tile.c with a second one beside them. A block keeps 64 columns n
 * and walks over tiles along m; a step's tile of dz, put into shared memory once, is multiplied by
 * w for dx and, transposed, by x for dw. All of dw's k stay in registers meanwhile: 8 numbers of a
 * thread for a step of 32, so k is at most 512. x of a tile (rows of a block, 64 columns) is put
 * when the tile begins, its large loads issued a step before. At its end a block leaves dw in a
 * slot of the workspace,
 *
 *     slot[g][walk][k][n], float32
 *
 * and a second kernel adds the slots in a fixed order, in float64.
 *
 * The transposed fragments. A matrix unit takes pairs along what is summed, here m, and dz lies in
 * pairs along k. Which row a pair of k becomes, and which m stand together, is free as long as both
 * factors agree: words of rows m and m + 2 are zipped into those of k and k + 1, row `group` of a
 * fragment is the even k of word `group`, row group + 8 the odd one, and word w of x holds rows
 *     8 (w / 4) + {0, 1, 4, 5}[w % 4]   and the second after it,
 * so that no load of a fragment meets a bank twice. */
#include "codegen/cuda_contract.h"

#define PRINT(...) arena_printf(t->arena, __VA_ARGS__)

enum { COMBINE_ELEMS = 32, COMBINE_PARTS = CONTRACT_THREADS / COMBINE_ELEMS };

/* Words of rows whose fragments a thread holds at once: 32 registers, or 16 where dw has 120 and
 * more. They are loaded for whatever step it is, so that nothing but a step's products is written
 * out for each step. */
static int words_at_once(const CudaContract *c)
{
    return c->steps > 14 ? 16 : 32;
}

/* ---- x ---- */

static int units_across(const CudaContract *c)
{
    return c->b.tile / c->joint.lanes;
}

static int units_of_thread(const CudaContract *c)
{
    return (int)contract_div_up(units_across(c) * c->a.tile / 2, CONTRACT_THREADS);
}

/* Loops over the thread's words of x and the two rows h of each, inside of the tensor. */
static void open_units(CudaText *t, const CudaContract *c)
{
    int n = units_across(c) * c->a.tile / 2, across = units_across(c);

    cuda_open(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", units_of_thread(c));
    cuda_line(t, "const int unit = thread + i * %d;", CONTRACT_THREADS);
    cuda_line(t, "const int word = unit / %d, at_column = unit %% %d * %d;", across, across,
              c->joint.lanes);
    cuda_open(t, "if (unit < %d)", n);
}

static void close_units(CudaText *t)
{
    cuda_close(t);
    cuda_close(t);
}

static void open_row(CudaText *t, const CudaContract *c, const char *row)
{
    cuda_open(t, "NPC_UNROLL for (int h = 0; h < 2; h++)");
    cuda_line(t,
              "const int x_row = %s + word / 4 * 8 + word %% 2 + word %% 4 / 2 * 4 + 2 * h, "
              "x_column = n + at_column;",
              row);
    cuda_open(t, "if (x_row < m_end && x_column < n_end)");
    t->vector = c->n.axis[c->n.n - 1];
    t->lanes = c->joint.lanes;
    contract_enter(t, &c->m, "x_row");
    contract_enter(t, &c->n, "x_column");
}

static void close_row(CudaText *t)
{
    cuda_close(t);
    cuda_close(t);
}

void contract_joint_ahead(CudaText *t, const CudaContract *c, const char *row)
{
    CudaScope outer = cuda_scope(t);

    if (!c->joint.ahead.n)
        return;
    cuda_open(t, "if (next %% %lld == 0)", (long long)c->steps);
    open_units(t, c);
    open_row(t, c, row);
    cuda_ahead_load(t, &c->joint.ahead, "i * 2 + h");
    close_row(t);
    close_units(t);
    cuda_close(t);
    cuda_scope_end(t, outer);
}

void contract_joint_put(CudaText *t, const CudaContract *c, const char *row)
{
    CudaScope outer = cuda_scope(t);
    int lanes = c->joint.lanes;
    const char *math = math_text(c->p->math);

    if (!c->joint.is_there)
        return;
    cuda_open(t, "if (next %% %lld == 0)", (long long)c->steps);
    open_units(t, c);
    cuda_line(t, "float x[2][%d] = {{0}};", lanes);
    open_row(t, c, row);
    cuda_ahead_take(t, &c->joint.ahead, "i * 2 + h");
    for (int j = 0; j < c->n_of_column; j++)
        contract_take(
            t, c->of_column[j], lanes,
            PRINT("%lld + at_column", (long long)(c->at_columns + (int64_t)j * c->b.tile)));
    const char *v = cuda_at(t, cuda_value(t, c->joint.x), "l");
    cuda_line(t, "NPC_UNROLL for (int l = 0; l < %d; l++)", lanes);
    cuda_line(t, "    x[h][l] = %s;", v);
    close_row(t);
    cuda_line(t, "uint32_t pairs[%d];", lanes);
    cuda_line(t, "NPC_UNROLL for (int l = 0; l < %d; l++)", lanes);
    cuda_line(t, "    pairs[l] = npc_pack_%s(x[0][l], x[1][l]);", math);
    cuda_line(t, "npc_put%d(shared + %lld + npc_tile_rows(%d, at_column, word), pairs);", lanes,
              (long long)c->joint.at, c->b.tile);
    close_units(t);
    cuda_close(t);
    cuda_scope_end(t, outer);
}

/* ---- the product ---- */

void contract_joint_begin(CudaText *t, CudaContract *c)
{
    long long steps = (long long)c->steps;

    if (!c->joint.is_there)
        return;
    c->joint.ahead.name = "x_ahead";
    c->joint.ahead.vector = c->n.axis[c->n.n - 1];
    c->joint.ahead.lanes = c->joint.lanes;
    c->joint.ahead.count = 2 * units_of_thread(c);
    cuda_ahead_declare(t, &c->joint.ahead);
    cuda_line(t,
              "const int dw_word = thread / 128 * 8 + group, dw_column = thread / 32 %% 4 * 16;");
    cuda_line(t, "float dw[%lld][2][4];", steps);
    cuda_line(t, "NPC_UNROLL for (int s = 0; s < %lld; s++)", steps);
    cuda_line(t, "    NPC_UNROLL for (int j = 0; j < 8; j++)");
    cuda_line(t, "        dw[s][j / 4][j %% 4] = 0.0f;");
}

void contract_joint_products(CudaText *t, const CudaContract *c)
{
    int words = words_at_once(c);

    if (!c->joint.is_there)
        return;
    cuda_line(t, "const uint32_t *x_tile = shared + %lld;", (long long)c->joint.at);
    cuda_line(t, "const int step = it %% %lld;", (long long)c->steps);
    cuda_open(t, "NPC_NO_UNROLL for (int some = 0; some < %d; some += %d)", c->a.tile / 2, words);
    cuda_line(t, "uint32_t x[%d][4], y[%d][2][2];", words / 8, words / 8);
    cuda_open(t, "NPC_UNROLL for (int p = 0; p < %d; p++)", words / 8);
    cuda_line(t, "uint32_t z[4];");
    cuda_line(t, "const int part = some + p * 8, z_row = 2 * part + pair %% 2 + pair / 2 * 4;");
    cuda_line(t, "NPC_UNROLL for (int q = 0; q < 4; q++)");
    cuda_line(t, "    z[q] = a_tile[npc_tile_k(z_row + q %% 2 * 2 + q / 2 * 8, dw_word)];");
    cuda_line(t, "npc_zip2(x[p], z[0], z[1]);");
    cuda_line(t, "npc_zip2(x[p] + 2, z[2], z[3]);");
    cuda_line(t, "NPC_UNROLL for (int j = 0; j < 2; j++)");
    cuda_line(t, "    NPC_UNROLL for (int q = 0; q < 2; q++)");
    cuda_line(
        t,
        "        y[p][j][q] = x_tile[npc_tile_rows(%d, dw_column + j * 8 + group, part + pair "
        "+ q * 4)];",
        c->b.tile);
    cuda_close(t);
    cuda_line(t, "NPC_UNROLL for (int s = 0; s < %lld; s++)", (long long)c->steps);
    cuda_open(t, "if (s == step)");
    cuda_line(t, "NPC_UNROLL for (int p = 0; p < %d; p++)", words / 8);
    cuda_line(t, "    NPC_UNROLL for (int j = 0; j < 2; j++)");
    cuda_line(t, "        npc_mma_%s(dw[s][j], x[p], y[p][j]);", math_text(c->p->math));
    cuda_close(t);
    cuda_close(t);
}

void contract_joint_end(CudaText *t, const CudaContract *c)
{
    long long n = (long long)c->n.elems, k = (long long)c->k.elems;

    if (!c->joint.is_there)
        return;
    cuda_line(t,
              "float *slot = (float *)(workspace + %zu) + ((long long)g * %lld + walk) * %lldll;",
              c->joint.offset, (long long)c->walks, k * n);
    cuda_open(t, "NPC_UNROLL for (int s = 0; s < %lld; s++)", (long long)c->steps);
    cuda_open(t, "NPC_UNROLL for (int half = 0; half < 2; half++)");
    cuda_line(t, "const int k = s * %d + 2 * dw_word + half;", c->step);
    cuda_open(t, "NPC_UNROLL for (int j = 0; j < 2; j++)");
    cuda_line(t, "const int dw_n = n + dw_column + 8 * j + 2 * pair;");
    cuda_line(t, "if (k < %lld && dw_n < n_end)", k);
    cuda_line(t,
              "    npc_store2_f32(slot + k * %lld + dw_n, dw[s][j][2 * half], dw[s][j][2 * half + "
              "1]);",
              n);
    cuda_close(t);
    cuda_close(t);
    cuda_close(t);
}

/* ---- adding the slots ---- */

static int64_t slot_floats(const CudaContract *c)
{
    return c->k.elems * c->n.elems;
}

static int64_t slots(const CudaContract *c)
{
    return c->g.elems * c->walks;
}

static CudaPhase combine_phase(const CudaContract *c)
{
    return (CudaPhase){contract_div_up(slot_floats(c), COMBINE_ELEMS), CONTRACT_THREADS};
}

static void write_combine(CudaText *t, const CudaContract *c, const TileReduction *r)
{
    CudaPhase shape = combine_phase(c);
    CudaScope outer = cuda_scope(t);
    TileIndex index[MAX_RANK] = {{0}};
    long long floats = (long long)slot_floats(c);

    cuda_kernel_begin(t, 1, &shape, "the second product of all blocks");
    contract_enter_ones(t);
    cuda_line(t, "NPC_SHARED double parts[%d][%d];", COMBINE_PARTS, COMBINE_ELEMS);
    cuda_line(t, "const int thread = threadIdx.x, part = thread / %d, lane = thread %% %d;",
              COMBINE_ELEMS, COMBINE_ELEMS);
    cuda_line(t, "const int at = (int)blockIdx.x * %d + lane;", COMBINE_ELEMS);
    cuda_line(t, "const float *slot = (const float *)(workspace + %zu) + at;", c->joint.offset);
    cuda_line(t, "double sum = 0.0;");
    cuda_line(t, "for (int s = part; at < %lld && s < %lld; s += %d)", floats, (long long)slots(c),
              COMBINE_PARTS);
    cuda_line(t, "    sum += slot[(long long)s * %lldll];", floats);
    cuda_line(t, "parts[part][lane] = sum;");
    cuda_line(t, "NPC_SYNC();");
    cuda_line(t, "if (part > 0 || at >= %lld)", floats);
    cuda_line(t, "    return;");
    cuda_line(t, "for (int other = 1; other < %d; other++)", COMBINE_PARTS);
    cuda_line(t, "    sum += parts[other][lane];");
    cuda_line(t, "const float dw = (float)(sum * %.17g);", r->factor);
    cuda_line(t, "const int k = at / %lld, n = at %% %lld;", (long long)c->n.elems,
              (long long)c->n.elems);
    t->vector = -1;
    t->lanes = 1;
    contract_enter(t, &c->k, "k");
    contract_enter(t, &c->n, "n");
    for (int d = 0; d < t->p->tensors.at[r->tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    cuda_store(t, r->tensor, index, (CudaValue){"dw", false});
    cuda_scope_end(t, outer);
    cuda_kernel_end(t);
}

/* ---- the schedule ---- */

/* Every axis of the result is one of k or n, and every one of those is there. */
static bool result_fits(const CudaContract *c, const TileReduction *r)
{
    const TileProgram *p = c->p;
    uint32_t kept = 0, wanted = 0;

    for (int d = 0; d < p->tensors.at[r->tensor].layout.shape.rank; d++)
        kept |= p->axes.at[r->axis[d]].size > 1 ? 1u << r->axis[d] : 0;
    for (int i = 0; i < c->k.n; i++)
        wanted |= 1u << c->k.axis[i];
    for (int i = 0; i < c->n.n; i++)
        wanted |= 1u << c->n.axis[i];
    return kept == wanted;
}

/* The program without its only pair sum, *r, and how it is cut; NULL when there is not one. */
static TileProgram *plan(Arena *arena, CudaContract *c, const TileProgram *p,
                         const TileReduction **r)
{
    int n = 0;

    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind == TILE_PAIR_SUM) {
            *r = &p->reductions.at[i];
            n++;
        }
    if (n != 1 || p->anchor != TILE_CONTRACT)
        return NULL;
    TileProgram *rest = cuda_without_pairs(arena, p);
    return contract_plan_joint(c, rest, (*r)->inst) && result_fits(c, *r) ? rest : NULL;
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaSchedule s = {.name = cuda_kind_joint.name, .n_phases = 2};
    const TileReduction *r;
    Arena arena = {0};
    CudaContract c;

    plan(&arena, &c, p, &r);
    s.phase[0] = (CudaPhase){c.tiles_n * c.walks * c.g.elems, CONTRACT_THREADS};
    s.phase[1] = combine_phase(&c);
    if (c.sums.n)
        s.phase[s.n_phases++] = cuda_sums_phase(&c.sums);
    s.workspace_bytes = c.joint.offset + (size_t)(slots(&c) * slot_floats(&c)) * sizeof(float);
    arena_free(&arena);
    return s;
}

/* Slots may be more bytes than what two products read again. */
static bool accepts(const TileProgram *p)
{
    const TileReduction *r;
    Arena arena = {0};
    CudaContract c;
    bool fits = plan(&arena, &c, p, &r);

    arena_free(&arena);
    if (!fits || slot_floats(&c) > INT32_MAX || !cuda_kind_pairs.accepts(p))
        return fits && slot_floats(&c) <= INT32_MAX;
    CudaSchedule one = schedule(p), two = cuda_kind_pairs.schedule(p);
    return 2 * (double)one.workspace_bytes < 2 * (double)two.workspace_bytes + two.again_bytes;
}

static void write(CudaText *t, const CudaSchedule *s)
{
    const TileProgram *all = t->p;
    const TileReduction *r;
    CudaContract c;

    t->p = plan(t->arena, &c, all, &r);
    contract_write_products(t, &c, &s->phase[0]);
    write_combine(t, &c, r);
    if (c.sums.n)
        cuda_sums_combine(t, &c.sums, 2);
    t->p = all;
}

const CudaKind cuda_kind_joint = {"joint", accepts, schedule, write};
