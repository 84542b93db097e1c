/* Programs with members: the code once, and a table in device memory that says for which member a
 * block runs it. A thread computes four neighbours, with accesses of 16 bytes: tensors begin at 64
 * and 64 bytes behind their end can be read, so only stores look where a member ends.
 *
 * A row of the table is the number of the member's first block, its elements, the place of its
 * recording's range behind `range`, the addresses of its tensors, and numbers of the code in which
 * members differ. So the text does not depend on sizes, recordings and places, and a hundred small
 * launches are one. */
#include "codegen/cuda_schedules.h"

enum { THREADS = 256, LANES = 4, PER_BLOCK = THREADS * LANES };
enum { ROW_BLOCK, ROW_SIZE, ROW_RANGE, ROW_TENSORS };

static bool accepts(const TileProgram *p)
{
    return p->members.len > 0;
}

static int64_t blocks_of(const TileMember *m)
{
    return (m->size + PER_BLOCK - 1) / PER_BLOCK;
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaSchedule s = {.name = cuda_kind_members.name, .n_phases = 1};

    s.phase[0].threads = THREADS;
    for (uint32_t i = 0; i < p->members.len; i++)
        s.phase[0].blocks += blocks_of(&p->members.at[i]);
    return s;
}

/* ---- the table ---- */

/* Do members differ in the number? */
static bool varies(const TileProgram *p, int number)
{
    for (uint32_t i = 1; i < p->members.len; i++)
        if (memcmp(&p->members.at[i].number[number], &p->members.at[0].number[number],
                   sizeof(double)))
            return true;
    return false;
}

static int words_of(const TileProgram *p)
{
    int words = ROW_TENSORS + p->members.at[0].n;

    for (int k = 0; k < tile_n_numbers(p); k++)
        words += varies(p, k);
    return words;
}

size_t cuda_table_bytes(const TileProgram *p)
{
    return p->members.len ? p->members.len * (size_t)words_of(p) * sizeof(int64_t) : 0;
}

void cuda_table_write(const TileProgram *p, const uint64_t *tensor, int n_recordings, int64_t *row)
{
    int64_t block = 0;

    for (uint32_t i = 0; i < p->members.len; i++, row += words_of(p)) {
        const TileMember *m = &p->members.at[i];
        row[ROW_BLOCK] = block;
        row[ROW_SIZE] = m->size;
        row[ROW_RANGE] = 2 * (m->session >= 0 ? m->session : n_recordings);
        for (int k = 0; k < m->n; k++)
            row[ROW_TENSORS + k] = (int64_t)tensor[m->tensor[k]];
        int word = ROW_TENSORS + m->n;
        for (int k = 0; k < tile_n_numbers(p); k++) {
            float number = (float)m->number[k];
            uint32_t bits;
            memcpy(&bits, &number, sizeof bits);
            if (varies(p, k))
                row[word++] = bits;
        }
        block += blocks_of(m);
    }
}

/* ---- the text ---- */

static const char *place_of(const CudaText *c, int tensor, const char *point)
{
    bool follows = c->p->tensors.at[tensor].layout.shape.rank > 0;

    return follows ? arena_printf(c->arena, "t%d + %s", tensor, point)
                   : arena_printf(c->arena, "t%d", tensor);
}

static CudaValue write_load(CudaText *c, int tensor)
{
    const TileLayout *l = &c->p->tensors.at[tensor].layout;
    CudaValue v = {cuda_name(c, "v"), l->shape.rank > 0};
    const char *from = place_of(c, tensor, "i"), *type = storage_text(l->type);

    if (v.is_vector) {
        cuda_line(c, "float %s[%d];", v.name, LANES);
        cuda_line(c, "npc_load%d_%s(%s, %s);", LANES, type, v.name, from);
    } else {
        cuda_line(c, "const float %s = npc_load1_%s(%s);", v.name, type, from);
    }
    return v;
}

/* Numbers that differ are in the row, behind the tensors. */
static void read_numbers(CudaText *c)
{
    int number = 0, word = ROW_TENSORS + c->p->members.at[0].n;

    for (uint32_t i = 0; i < c->p->insts.len; i++) {
        if (c->p->insts.at[i].kind != INST_CONST || !varies(c->p, number++))
            continue;
        c->memo[i] = (CudaValue){cuda_name(c, "v"), false};
        cuda_line(c, "const float %s = NPC_BITS_FLOAT((uint32_t)row[%d]);", c->memo[i].name,
                  word++);
    }
}

static void write_stores(CudaText *c, const CudaValue *value, bool is_whole)
{
    for (uint32_t i = 0; i < c->p->stores.len; i++) {
        int tensor = c->p->stores.at[i].tensor;
        const char *type = storage_text(c->p->tensors.at[tensor].layout.type);
        if (is_whole && value[i].is_vector) {
            cuda_line(c, "npc_store%d_%s(%s, %s);", LANES, type, place_of(c, tensor, "i"),
                      value[i].name);
            continue;
        }
        cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", LANES);
        cuda_line(c, "    %snpc_store1_%s(%s, %s);", is_whole ? "" : "if (i + l < n) ", type,
                  place_of(c, tensor, "i + l"), cuda_at(c, value[i], "l"));
    }
}

static void find_member(CudaText *c)
{
    cuda_line(c, "const long long *row = npc_row(table, %u, %d, (int)blockIdx.x);",
              c->p->members.len, words_of(c->p));
    cuda_line(c, "if (range[row[%d]] >= range[row[%d] + 1])", ROW_RANGE, ROW_RANGE);
    cuda_line(c, "    return;");
    cuda_line(c, "const long long n = row[%d];", ROW_SIZE);
    cuda_line(c, "const long long i = (blockIdx.x - row[%d]) * %d + threadIdx.x * %d;", ROW_BLOCK,
              PER_BLOCK, LANES);
    cuda_line(c, "if (i >= n)");
    cuda_line(c, "    return;");
    for (int k = 0; k < c->p->members.at[0].n; k++) {
        const TileTensor *t = &c->p->tensors.at[k];
        const char *type =
            arena_printf(c->arena, "%s%s", t->is_output ? "" : "const ", cuda_type(t->layout.type));
        cuda_line(c, "%s *t%d = (%s *)row[%d];", type, k, type, ROW_TENSORS + k);
    }
}

static void write(CudaText *c, const CudaSchedule *s)
{
    const TileProgram *p = c->p;
    CudaValue *value = ARENA_ARRAY(c->arena, CudaValue, p->stores.len + 1);

    cuda_kernel_begin(c, 0, &s->phase[0], "blocks find their member in a table");
    CudaScope outer = cuda_scope(c);
    c->vector = 0;
    c->lanes = LANES;
    find_member(c);
    read_numbers(c);
    for (uint32_t i = 0; i < p->insts.len; i++)
        if (p->insts.at[i].kind == INST_LOAD)
            c->memo[i] = write_load(c, p->insts.at[i].tensor);
    for (uint32_t i = 0; i < p->stores.len; i++)
        value[i] = cuda_value(c, p->stores.at[i].inst);
    cuda_open(c, "if (i + %d <= n)", LANES);
    write_stores(c, value, true);
    c->indent--;
    cuda_open(c, "} else");
    write_stores(c, value, false);
    cuda_close(c);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

const CudaKind cuda_kind_members = {"members", accepts, schedule, write};
