/* The products of a block.
 *
 * A step takes STEP_WORDS words along k (32 numbers of 16 bits, or 16 others) of both operands into
 * one of two stages of shared memory, where the warps take their fragments from. While a step is
 * multiplied, what the next one reads is already on its way in registers; its code (norm,
 * activation, gate) is applied when it is put into the other stage: one barrier a step.
 *
 * A tile holds its rows as words of k: as the matrix unit wants them, one number to a word, or two
 * neighbours along k. Operands whose memory is contiguous along k are put as [row][k]
 * (npc_tile_k), others as [k][row] (npc_tile_rows), so that both are read and written by 16 bytes;
 * both are swizzled so that neither meets a bank twice.
 *
 * Values that vary with k only (scale and shift of a norm in a pointwise convolution) are computed
 * by one warp, two steps ahead, into a table of two steps; values that vary with rows only (the
 * same norm in a weight gradient) once for a tile. So no thread computes them for each of its
 * elements, nor keeps them in registers.
 *
 * Where a block walks several tiles along m and b is small, all of b is put once and stays. */
#include "codegen/cuda_contract.h"

#define PRINT(...) arena_printf(t->arena, __VA_ARGS__)

/* What a tile's numbers are stored as. */
static const char *stored_as(const CudaContract *c)
{
    return c->per_word == 1 ? "f32" : c->p->math == MATH_BF16 ? "bf16" : "f16";
}

/* ---- axes ---- */

void contract_enter(CudaText *t, const CudaFlat *f, const char *at)
{
    int vector = t->vector, lanes = t->lanes;

    t->vector = -1; /* the index counts elements */
    t->lanes = 1;
    cuda_digits(t, at, f->axis, f->n);
    t->vector = vector;
    t->lanes = lanes;
}

const char *contract_first(CudaText *t, const CudaFlat *f)
{
    return f->cut ? PRINT("b0 * %lld", (long long)f->inner) : "0";
}

const char *contract_end(CudaText *t, const CudaFlat *f)
{
    return f->cut ? PRINT("b1 * %lld", (long long)f->inner) : PRINT("%lld", (long long)f->elems);
}

void contract_enter_ones(CudaText *t)
{
    for (uint32_t a = 0; a < t->p->axes.len; a++)
        if (t->p->axes.at[a].size == 1)
            t->axis[a] = "0";
}

/* ---- units: what a thread loads and puts at once ---- */

/* A unit is a vector along k, or one word of each row of a vector along the rows. */
static int units_across(const CudaContract *c, const CudaOperand *o)
{
    return (o->along_k ? c->step : o->tile) / o->lanes;
}

static int units(const CudaContract *c, const CudaOperand *o)
{
    return units_across(c, o) * (o->along_k ? o->tile : STEP_WORDS);
}

static int units_of_thread(const CudaContract *c, const CudaOperand *o)
{
    return (units(c, o) + CONTRACT_THREADS - 1) / CONTRACT_THREADS;
}

/* Vectors of a unit: one, or one for each number in a word. */
static int vectors(const CudaContract *c, const CudaOperand *o)
{
    return o->along_k ? 1 : c->per_word;
}

/* Declares at_row, at_k: where in the tile the thread's unit i begins. */
static void open_units(CudaText *t, const CudaContract *c, const CudaOperand *o)
{
    int across = units_across(c, o), n = units(c, o);

    cuda_open(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", units_of_thread(c, o));
    cuda_line(t, "const int unit = thread + i * %d;", CONTRACT_THREADS);
    if (o->along_k)
        cuda_line(t, "const int at_row = unit / %d, at_k = unit %% %d * %d;", across, across,
                  o->lanes);
    else
        cuda_line(t, "const int at_row = unit %% %d * %d, at_k = unit / %d * %d;", across, o->lanes,
                  across, c->per_word);
    if (n % CONTRACT_THREADS)
        cuda_open(t, "if (unit < %d)", n);
}

static void close_units(CudaText *t, const CudaContract *c, const CudaOperand *o)
{
    if (units(c, o) % CONTRACT_THREADS)
        cuda_close(t);
    cuda_close(t);
}

static bool has_tail(const CudaContract *c, const CudaOperand *o)
{
    return o->row_tail || c->k_tail;
}

/* Loops over the vectors of a unit; declares row and k of the vector and, where some may be outside
 * of the operand, opens the condition that it is inside. */
static void open_vector(CudaText *t, const CudaContract *c, const CudaOperand *o, const char *row,
                        const char *k)
{
    const char *end = o == &c->a ? "m_end" : "n_end";

    cuda_open(t, "NPC_UNROLL for (int h = 0; h < %d; h++)", vectors(c, o));
    cuda_line(t, "const int row = %s + at_row, k = %s + at_k + h;", row, k);
    if (has_tail(c, o))
        cuda_open(t, "if (%s%s)",
                  !o->row_tail ? "k < k_end"
                  : !c->k_tail ? PRINT("row < %s", end)
                               : PRINT("row < %s && k < k_end", end),
                  "");
}

static void enter_vector(CudaText *t, const CudaContract *c, const CudaOperand *o)
{
    t->vector = o->vector;
    t->lanes = o->lanes;
    contract_enter(t, o->rows, "row");
    contract_enter(t, &c->k, "k");
}

static void close_vector(CudaText *t, const CudaContract *c, const CudaOperand *o)
{
    if (has_tail(c, o))
        cuda_close(t);
    cuda_close(t);
}

/* ---- loads ahead ---- */

/* "i * 2 + h": the slot of the vector at hand. */
static const char *slot_of(CudaText *t, const CudaContract *c, const CudaOperand *o)
{
    return vectors(c, o) == 1 ? "i" : PRINT("i * %d + h", vectors(c, o));
}

static void declare_ahead(CudaText *t, const CudaContract *c, CudaOperand *o)
{
    o->ahead.name = PRINT("%s_ahead", o->name);
    o->ahead.vector = o->vector;
    o->ahead.lanes = o->lanes;
    o->ahead.count = units_of_thread(c, o) * vectors(c, o);
    cuda_ahead_declare(t, &o->ahead);
}

/* The loads of the step whose first k is `k`, of the tile whose first row is `row`. */
static void write_ahead(CudaText *t, const CudaContract *c, const CudaOperand *o, const char *row,
                        const char *k)
{
    CudaScope outer = cuda_scope(t);

    if (!o->ahead.n)
        return;
    open_units(t, c, o);
    open_vector(t, c, o, row, k);
    enter_vector(t, c, o);
    cuda_ahead_load(t, &o->ahead, slot_of(t, c, o));
    close_vector(t, c, o);
    close_units(t, c, o);
    cuda_scope_end(t, outer);
}

/* ---- tables ---- */

void contract_fill_table(CudaText *t, const CudaFlat *rows, const char *end, const int *insts,
                         int n, int64_t at, int tile, const char *first)
{
    CudaScope outer = cuda_scope(t);

    if (!n)
        return;
    cuda_open_each(t, "at", tile, "thread", CONTRACT_THREADS);
    cuda_line(t, "const int row = %s + at;", first);
    cuda_open(t, "if (row < %s)", end);
    contract_enter(t, rows, "row");
    for (int j = 0; j < n; j++)
        cuda_line(t, "numbers[%lld + at] = %s;", (long long)(at + (int64_t)j * tile),
                  cuda_at(t, cuda_value(t, insts[j]), "0"));
    cuda_close(t);
    cuda_close(t);
    cuda_scope_end(t, outer);
}

/* Values that vary with rows only, for the tile at `first`. */
static void write_row_table(CudaText *t, const CudaContract *c, const CudaOperand *o,
                            const char *first)
{
    contract_fill_table(t, o->rows, o == &c->a ? "m_end" : "n_end", o->of_row, o->n_of_row,
                        o->at_rows, o->tile, first);
}

static bool has_k_tables(const CudaContract *c)
{
    return c->a.n_of_k || c->b.n_of_k;
}

/* Where the step that `step` counts begins. */
static const char *step_k(CudaText *t, const CudaContract *c, const char *step)
{
    if (c->walk == 1)
        return PRINT("k_first + %s * %d", step, c->step);
    return PRINT("%s %% %lld * %d", step, (long long)c->steps, c->step);
}

/* A warp computes the values of k for the step after the next. */
static void write_k_table(CudaText *t, const CudaContract *c, const CudaOperand *o, int warp)
{
    CudaScope outer = cuda_scope(t);

    if (!o->n_of_k)
        return;
    cuda_open(t, "if (later < total && thread >= %d && thread < %d)", 32 * warp,
              32 * warp + c->step);
    cuda_line(t, "const int at = thread - %d, k = %s + at;", 32 * warp, step_k(t, c, "later"));
    if (c->k_tail)
        cuda_open(t, "if (k < k_end)");
    contract_enter(t, &c->k, "k");
    for (int j = 0; j < o->n_of_k; j++)
        cuda_line(t, "numbers[%lld + (later & 1) * %d + at] = %s;",
                  (long long)(o->at_k + (int64_t)j * c->step), o->n_of_k * c->step,
                  cuda_at(t, cuda_value(t, o->of_k[j]), "0"));
    if (c->k_tail)
        cuda_close(t);
    cuda_close(t);
    cuda_scope_end(t, outer);
}

void contract_take(CudaText *t, int inst, int lanes, const char *at)
{
    const char *name = cuda_name(t, "v");

    if (lanes > 1) {
        cuda_line(t, "float %s[%d];", name, lanes);
        cuda_line(t, "npc_load%d_f32(%s, numbers + %s);", lanes, name, at);
    } else {
        cuda_line(t, "const float %s = numbers[%s];", name, at);
    }
    t->memo[inst] = (CudaValue){name, lanes > 1};
}

/* ---- putting ---- */

/* x[h][..] = the operand's value at row and k. */
static void write_code(CudaText *t, const CudaContract *c, const CudaOperand *o)
{
    enter_vector(t, c, o);
    cuda_ahead_take(t, &o->ahead, slot_of(t, c, o));
    for (int j = 0; j < o->n_of_row; j++)
        contract_take(t, o->of_row[j], o->along_k ? 1 : o->lanes,
                      PRINT("%lld + at_row", (long long)(o->at_rows + (int64_t)j * o->tile)));
    for (int j = 0; j < o->n_of_k; j++)
        contract_take(t, o->of_k[j], o->along_k ? o->lanes : 1,
                      PRINT("%lld + (next & 1) * %d + at_k + h",
                            (long long)(o->at_k + (int64_t)j * c->step), o->n_of_k * c->step));
    CudaValue v = cuda_value(t, o->inst);
    const char *x = cuda_at(t, v, "l");
    cuda_line(t, "NPC_UNROLL for (int l = 0; l < %d; l++)", o->lanes);
    cuda_line(t, "    x[h][l] = %s;", c->p->math == MATH_TF32 ? PRINT("npc_round_tf32(%s)", x) : x);
}

/* Writes x, or the words of it, to where they belong in the tile `to`. */
static void write_put(CudaText *t, const CudaContract *c, const CudaOperand *o, const char *to)
{
    int lanes = o->lanes;

    if (o->along_k) {
        const char *at = PRINT("%s + npc_tile_k(at_row, at_k / %d)", to, c->per_word);
        cuda_line(t, "npc_store%d_%s((%s *)(%s)%s, x[0]%s);", lanes, stored_as(c),
                  c->per_word == 2 ? "uint16_t" : "float", at,
                  lanes == 1 && c->per_word == 2 ? " + at_k % 2" : "", lanes == 1 ? "[0]" : "");
        return;
    }
    const char *at = PRINT("%s + npc_tile_rows(%d, at_row, at_k / %d)", to, o->tile, c->per_word);
    if (c->per_word == 1) {
        cuda_line(t, "npc_store%d_f32((float *)(%s), x[0]%s);", lanes, at, lanes == 1 ? "[0]" : "");
        return;
    }
    cuda_line(t, "uint32_t word[%d];", lanes);
    cuda_line(t, "NPC_UNROLL for (int l = 0; l < %d; l++)", lanes);
    cuda_line(t, "    word[l] = npc_pack_%s(x[0][l], x[1][l]);", stored_as(c));
    cuda_line(t, "npc_put%d(%s, word);", lanes, at);
}

/* Values that are stored as the matrix unit wants them are copied. */
static void write_bare(CudaText *t, const CudaOperand *o, const char *to)
{
    int bits = cuda_ahead_bits(t, &o->ahead, 0);

    if (o->along_k) {
        cuda_line(t, "*(NpcBits%d *)(%s + npc_tile_k(at_row, at_k / 2)) = x[0];", bits, to);
        return;
    }
    cuda_line(t, "uint32_t word[%d];", o->lanes);
    cuda_line(t, "npc_zip%d(word, x[0], x[1]);", o->lanes);
    cuda_line(t, "npc_put%d(%s + npc_tile_rows(%d, at_row, at_k / 2), word);", o->lanes, to,
              o->tile);
}

/* Puts the operand's step into the tile `to`. */
static void write_operand(CudaText *t, const CudaContract *c, const CudaOperand *o, const char *row,
                          const char *k, const char *to)
{
    int bits = o->bare ? cuda_ahead_bits(t, &o->ahead, 0) : 0;
    CudaScope outer = cuda_scope(t);

    open_units(t, c, o);
    if (bits)
        cuda_line(t, "NpcBits%d x[%d]%s;", bits, vectors(c, o), has_tail(c, o) ? " = {{0}}" : "");
    else
        cuda_line(t, "float x[%d][%d]%s;", vectors(c, o), o->lanes,
                  has_tail(c, o) ? " = {{0}}" : "");
    open_vector(t, c, o, row, k);
    if (bits)
        cuda_line(t, "x[h] = %s0[%s];", o->ahead.name, slot_of(t, c, o));
    else
        write_code(t, c, o);
    close_vector(t, c, o);
    if (bits)
        write_bare(t, o, to);
    else
        write_put(t, c, o, to);
    close_units(t, c, o);
    cuda_scope_end(t, outer);
}

/* ---- products ---- */

static const char *tile_word(CudaText *t, const CudaOperand *o, const char *row, const char *word)
{
    return o->along_k ? PRINT("npc_tile_k(%s, %s)", row, word)
                      : PRINT("npc_tile_rows(%d, %s, %s)", o->tile, row, word);
}

static void write_fma(CudaText *t, const CudaContract *c)
{
    int m = c->a.tile / 16, n = c->b.tile / 16;

    cuda_open(t, "for (int four = 0; four < %d; four += 4)", STEP_WORDS);
    cuda_open(t, "NPC_UNROLL for (int one = 0; one < 4; one++)");
    cuda_line(t, "const int word = four + one;");
    cuda_line(t, "float x[%d], y[%d];", m, n);
    cuda_line(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", m);
    cuda_line(t, "    x[i] = NPC_BITS_FLOAT(a_tile[%s]);",
              tile_word(t, &c->a, "thread / 16 + 16 * i", "word"));
    cuda_line(t, "NPC_UNROLL for (int j = 0; j < %d; j++)", n);
    cuda_line(t, "    y[j] = NPC_BITS_FLOAT(b_tile[%s]);",
              tile_word(t, &c->b, "thread % 16 + 16 * j", "word"));
    cuda_line(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", m);
    cuda_line(t, "    NPC_UNROLL for (int j = 0; j < %d; j++)", n);
    cuda_line(t, "        acc[i][j] += x[i] * y[j];");
    cuda_close(t);
    cuda_close(t);
}

/* Fragments of a step of 8 words: see npc_mma. */
static void write_mma(CudaText *t, const CudaContract *c)
{
    int m = c->warp_m / 16, n = c->warp_n / 8;
    const char *row = PRINT("warp_m + i * 16 + group + q %% 2 * 8");
    const char *column = PRINT("warp_n + j * 8 + group");

    cuda_open(t, "NPC_NO_UNROLL for (int part = 0; part < %d; part += 8)", STEP_WORDS);
    cuda_line(t, "const int word = part + pair;");
    cuda_line(t, "uint32_t x[%d][4], y[%d][2];", m, n);
    cuda_line(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", m);
    cuda_line(t, "    NPC_UNROLL for (int q = 0; q < 4; q++)");
    cuda_line(t, "        x[i][q] = a_tile[%s];", tile_word(t, &c->a, row, "word + q / 2 * 4"));
    cuda_line(t, "NPC_UNROLL for (int j = 0; j < %d; j++)", n);
    cuda_line(t, "    NPC_UNROLL for (int q = 0; q < 2; q++)");
    cuda_line(t, "        y[j][q] = b_tile[%s];", tile_word(t, &c->b, column, "word + q * 4"));
    cuda_line(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", m);
    cuda_line(t, "    NPC_UNROLL for (int j = 0; j < %d; j++)", n);
    cuda_line(t, "        npc_mma_%s(acc[i][j], x[i], y[j]);", math_text(c->p->math));
    cuda_close(t);
}

static void write_products(CudaText *t, const CudaContract *c)
{
    int stage = STEP_WORDS * (c->a.tile + (c->b.resident ? 0 : c->b.tile));

    cuda_line(t, "const uint32_t *a_tile = shared + (it & 1) * %d;", stage);
    if (c->b.resident)
        cuda_line(t, "const uint32_t *b_tile = shared + %lld + it %% %lld * %d;",
                  (long long)c->resident_at, (long long)c->steps, STEP_WORDS * c->b.tile);
    else
        cuda_line(t, "const uint32_t *b_tile = a_tile + %d;", STEP_WORDS * c->a.tile);
    if (c->p->math == MATH_F32)
        write_fma(t, c);
    else
        write_mma(t, c);
    contract_joint_products(t, c);
}

/* ---- the kernel ---- */

/* m_first, n, k_first, steps, total; the indices of g; returns early where there is nothing. */
static void write_place(CudaText *t, const CudaContract *c)
{
    long long tile_m = c->a.tile, tile_n = c->b.tile;

    cuda_line(t, "int block = blockIdx.x;");
    cuda_line(t, "const int n = block %% %lld * %lld + %s, n_end = %s;", (long long)c->tiles_n,
              tile_n, contract_first(t, &c->n), contract_end(t, &c->n));
    cuda_line(t, "block /= %lld;", (long long)c->tiles_n);
    cuda_line(t, "const int walk = block %% %lld, m_first = walk * %lld + %s, m_end = %s;",
              (long long)c->walks, tile_m * (long long)c->walk, contract_first(t, &c->m),
              contract_end(t, &c->m));
    cuda_line(t, "block /= %lld;", (long long)c->walks);
    cuda_line(t, "const int g = block %% %lld;", (long long)c->g.elems);
    contract_enter(t, &c->g, "g");
    if (c->m.cut || c->n.cut || c->g.cut) {
        const char *b = c->g.cut ? t->axis[c->g.axis[0]] : NULL;
        cuda_line(t, "if (%s)",
                  b ? PRINT("%s < b0 || %s >= b1", b, b) : "m_first >= m_end || n >= n_end");
        cuda_line(t, "    return;");
    }
    cuda_line(t, "const int k_end = %s;", contract_end(t, &c->k));
    if (c->slabs == 1 && !c->k.cut) {
        cuda_line(t, "const int k_first = 0, steps = %lld;", (long long)c->steps);
    } else {
        cuda_line(t, "const int slab = block / %lld;", (long long)c->g.elems);
        cuda_line(t, "const int all = (k_end - %s + %d) / %d, share = (all + %lld) / %lld;",
                  PRINT("(%s)", contract_first(t, &c->k)), c->step - 1, c->step,
                  (long long)c->slabs - 1, (long long)c->slabs);
        cuda_line(t, "const int k_first = %s + slab * share * %d;", contract_first(t, &c->k),
                  c->step);
        cuda_line(t, "const int rest = all - slab * share;");
        cuda_line(t, "const int steps = rest < 0 ? 0 : rest < share ? rest : share;");
    }
    if (c->walk > 1) {
        cuda_line(t, "const int left = (m_end - m_first + %lld) / %lld;", tile_m - 1, tile_m);
        cuda_line(t, "const int total = (left < %lld ? left : %lld) * steps;", (long long)c->walk,
                  (long long)c->walk);
    } else {
        cuda_line(t, "const int m = m_first, total = steps;");
    }
}

static void write_variables(CudaText *t, const CudaContract *c)
{
    cuda_line(t, "NPC_SHARED uint32_t shared[%lld];", (long long)c->shared_words);
    cuda_line(t, "float *numbers = (float *)shared;");
    cuda_line(t, "const int thread = threadIdx.x;");
    if (c->p->math != MATH_F32) {
        int across = CONTRACT_WARPS / c->warps_m;
        cuda_line(t, "const int group = thread %% 32 / 4, pair = thread %% 4;");
        cuda_line(t, "const int warp_m = thread / %d * %d, warp_n = thread / 32 %% %d * %d;",
                  32 * across, c->warp_m, across, c->warp_n);
    }
}

static void clear_sums(CudaText *t, const CudaContract *c, bool declare)
{
    bool f32 = c->p->math == MATH_F32;
    int m = f32 ? c->a.tile / 16 : c->warp_m / 16, n = f32 ? c->b.tile / 16 : c->warp_n / 8;

    if (declare)
        cuda_line(t, f32 ? "float acc[%d][%d];" : "float acc[%d][%d][4];", m, n);
    cuda_line(t, "NPC_UNROLL for (int i = 0; i < %d; i++)", m);
    cuda_line(t, "    NPC_UNROLL for (int j = 0; j < %d; j++)", n);
    if (f32)
        cuda_line(t, "        acc[i][j] = 0.0f;");
    else
        cuda_line(t, "        acc[i][j][0] = acc[i][j][1] = acc[i][j][2] = acc[i][j][3] = 0.0f;");
}

/* All of b, before the loop. */
static void write_resident(CudaText *t, const CudaContract *c)
{
    CudaScope outer = cuda_scope(t);

    cuda_open(t, "for (int part = 0; part < %lld; part++)", (long long)c->steps);
    const char *k = PRINT("part * %d", c->step);
    write_ahead(t, c, &c->b, "n", k);
    write_operand(
        t, c, &c->b, "n", k,
        PRINT("shared + %lld + part * %d", (long long)c->resident_at, STEP_WORDS * c->b.tile));
    cuda_close(t);
    cuda_scope_end(t, outer);
}

static void write_step(CudaText *t, CudaContract *c)
{
    const char *row = c->walk > 1
                          ? PRINT("(m_first + next / %lld * %d)", (long long)c->steps, c->a.tile)
                          : "m_first";
    int stage = STEP_WORDS * (c->a.tile + (c->b.resident ? 0 : c->b.tile));
    bool tables = has_k_tables(c);
    const char *guard = tables ? "next >= 0 && next < total" : "next < total";

    cuda_open(t, "for (int it = %d; it < total; it++)", tables ? -2 : -1);
    cuda_line(t, "const int next = it + 1%s;", tables ? ", later = it + 2" : "");
    cuda_line(t, "const int k_next = %s;", step_k(t, c, "next"));
    cuda_open(t, "if (%s)", guard);
    write_ahead(t, c, &c->a, row, "k_next");
    if (!c->b.resident)
        write_ahead(t, c, &c->b, "n", "k_next");
    contract_joint_ahead(t, c, row);
    cuda_close(t);
    cuda_open(t, "if (it >= 0)");
    const char *last =
        c->walk == 1 ? "it == total - 1"
                     : PRINT("it %% %lld == %lld", (long long)c->steps, (long long)c->steps - 1);
    if (c->walk > 1)
        cuda_line(t, "const int m = m_first + it / %lld * %d;", (long long)c->steps, c->a.tile);
    if (c->ahead.n) {
        cuda_open(t, "if (%s)", last);
        contract_write_results_ahead(t, c);
        cuda_close(t);
    }
    write_products(t, c);
    if (c->walk > 1) {
        cuda_open(t, "if (%s)", last);
        cuda_line(t, "NPC_SYNC();");
        contract_write_results(t, c);
        clear_sums(t, c, false);
        cuda_close(t);
    }
    cuda_close(t);
    write_k_table(t, c, &c->a, 0);
    write_k_table(t, c, &c->b, CONTRACT_WARPS - 1);
    cuda_open(t, "if (%s)", guard);
    contract_joint_put(t, c, row);
    cuda_line(t, "uint32_t *to = shared + (next & 1) * %d;", stage);
    write_operand(t, c, &c->a, row, "k_next", "to");
    if (!c->b.resident)
        write_operand(t, c, &c->b, "n", "k_next", PRINT("to + %d", STEP_WORDS * c->a.tile));
    cuda_close(t);
    cuda_line(t, "NPC_SYNC();");
    cuda_close(t);
}

void contract_write_products(CudaText *t, CudaContract *c, const CudaPhase *shape)
{
    CudaScope outer = cuda_scope(t);

    t->min_blocks = c->min_blocks;
    cuda_kernel_begin(t, 0, shape,
                      PRINT("tiles of %d x %d, warps %d x %d, %d of k a step%s%s%s", c->a.tile,
                            c->b.tile, c->warp_m, c->warp_n, c->step,
                            c->walk > 1 ? PRINT(", %lld of them in turn", (long long)c->walk) : "",
                            c->b.resident ? ", b resident" : "",
                            c->slabs > 1 ? PRINT(", %lld slabs of k", (long long)c->slabs) : ""));
    contract_enter_ones(t);
    write_variables(t, c);
    write_place(t, c);
    declare_ahead(t, c, &c->a);
    declare_ahead(t, c, &c->b);
    clear_sums(t, c, true);
    write_row_table(t, c, &c->a, "m_first");
    write_row_table(t, c, &c->b, "n");
    contract_begin_results(t, c);
    contract_joint_begin(t, c);
    if (c->a.n_of_row || c->b.n_of_row || c->joint.is_there)
        cuda_line(t, "NPC_SYNC();");
    if (c->b.resident)
        write_resident(t, c);
    write_step(t, c);
    if (c->walk == 1)
        contract_write_results(t, c);
    contract_joint_end(t, c);
    contract_end_results(t, c);
    cuda_scope_end(t, outer);
    cuda_kernel_end(t);
}
