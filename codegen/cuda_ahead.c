/* Loads ahead: see cuda_ahead.h. */
#include "codegen/cuda_ahead.h"

#define PRINT(...) arena_printf(c->arena, __VA_ARGS__)

static Storage type_of(const CudaText *c, const CudaAhead *a, int i)
{
    return c->p->tensors.at[c->p->insts.at[a->inst[i]].tensor].layout.type;
}

static bool follows_vector(const CudaText *c, const CudaAhead *a, int i)
{
    return a->lanes > 1 && cuda_depends(c->p, a->inst[i], a->vector);
}

int cuda_ahead_bits(CudaText *c, const CudaAhead *a, int i)
{
    const TileInst *in = &c->p->insts.at[a->inst[i]];
    CudaScope outer = cuda_scope(c);

    c->vector = a->vector;
    c->lanes = a->lanes;
    bool is_packed = a->lanes > 1 && cuda_is_contiguous(c, in->tensor, in->index);
    cuda_scope_end(c, outer);
    return is_packed && type_of(c, a, i) != STORAGE_U8
               ? 8 * (int)storage_bytes(type_of(c, a, i)) * a->lanes
               : 0;
}

void cuda_ahead_declare(CudaText *c, const CudaAhead *a)
{
    for (int i = 0; i < a->n; i++) {
        int bits = cuda_ahead_bits(c, a, i);
        if (bits)
            cuda_line(c, "NpcBits%d %s%d[%d];", bits, a->name, i, a->count);
        else if (follows_vector(c, a, i))
            cuda_line(c, "float %s%d[%d][%d];", a->name, i, a->count, a->lanes);
        else
            cuda_line(c, "float %s%d[%d];", a->name, i, a->count);
    }
}

static void load_one(CudaText *c, const CudaAhead *a, int i, const char *slot)
{
    const TileInst *in = &c->p->insts.at[a->inst[i]];
    const char *to = PRINT("%s%d[%s]", a->name, i, slot), *zero;
    int bits = cuda_ahead_bits(c, a, i);
    bool many = follows_vector(c, a, i);
    const char *from = cuda_address(c, in->tensor, in->index, many && !bits ? "l" : NULL, &zero);

    if (bits) {
        if (zero) {
            cuda_line(c, "%s = npc_zero%d();", to, bits);
            cuda_line(c, "if (!(%s))", zero);
        }
        cuda_line(c, "%s%s = *(const NpcBits%d *)(%s);", zero ? "    " : "", to, bits, from);
        return;
    }
    if (many)
        cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", a->lanes);
    cuda_line(c, "%s%s%s = %snpc_load1_%s(%s);", many ? "    " : "", to, many ? "[l]" : "",
              zero ? PRINT("%s ? 0.0f : ", zero) : "", storage_text(type_of(c, a, i)), from);
}

void cuda_ahead_load(CudaText *c, const CudaAhead *a, const char *slot)
{
    for (int i = 0; i < a->n; i++)
        load_one(c, a, i, slot);
}

void cuda_ahead_take(CudaText *c, const CudaAhead *a, const char *slot)
{
    for (int i = 0; i < a->n; i++) {
        const char *from = PRINT("%s%d[%s]", a->name, i, slot), *name = cuda_name(c, "v");
        bool many = follows_vector(c, a, i);
        c->memo[a->inst[i]] = (CudaValue){name, many};
        if (!many) {
            cuda_line(c, "const float %s = %s;", name, from);
            continue;
        }
        cuda_line(c, "float %s[%d];", name, a->lanes);
        if (!cuda_ahead_bits(c, a, i)) { /* a copy: the slot may be loaded again before its use */
            cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", a->lanes);
            cuda_line(c, "    %s[l] = %s[l];", name, from);
            continue;
        }
        cuda_line(c, "npc_open%d_%s(%s, %s);", a->lanes, storage_text(type_of(c, a, i)), name,
                  from);
    }
}
