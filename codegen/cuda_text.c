/* Chooses how a program is computed, and heads its text. */
#include "codegen/cuda_schedules.h"

static const CudaKind *const KINDS[] = {&cuda_kind_members, &cuda_kind_library, &cuda_kind_joint,
                                        &cuda_kind_pairs,   &cuda_kind_dots,    &cuda_kind_tiles,
                                        &cuda_kind_stencil, &cuda_kind_map,     &cuda_kind_points};

const CudaKind *cuda_kind_of(const TileProgram *p)
{
    if (tile_is_whole(p))
        return p->anchor == TILE_SCATTER ? &cuda_kind_scatter : &cuda_kind_attend;
    for (size_t i = 0; !tile_computes_positions(p) && i + 1 < sizeof KINDS / sizeof *KINDS; i++)
        if (KINDS[i]->accepts(p))
            return KINDS[i];
    return KINDS[sizeof KINDS / sizeof *KINDS - 1];
}

CudaSchedule cuda_schedule(const TileProgram *p)
{
    return cuda_kind_of(p)->schedule(p);
}

void cuda_write(Text *t, const TileProgram *p, const char *symbol)
{
    const CudaKind *kind = cuda_kind_of(p);
    CudaSchedule s = kind->schedule(p);
    CudaText c = {.p = p,
                  .symbol = symbol,
                  .arena = t->arena,
                  .tables = {.arena = t->arena},
                  .out = {.arena = t->arena},
                  .vector = -1,
                  .lanes = 1,
                  .memo = ARENA_ARRAY(t->arena, CudaValue, p->insts.len + 1)};

    kind->write(&c, &s);
    text_printf(t, "/* %s: %.4g MFLOP, %.4g MB, as %s */\n", p->name ? p->name : symbol,
                p->flops * 1e-6, tile_bytes(p) * 1e-6, kind->name);
    text_add_n(t, text_str(&c.tables), c.tables.len);
    text_add_n(t, text_str(&c.out), c.out.len);
}
