/* Products with pair sums: both gradients of a product, as one product each.
 *
 *     dx[m, n] = sum over k of dy[m, k] w[k, n]        the anchor
 *     dw[k, n] = sum over m of dy[m, k] x[m, n]        a pair sum; x does not use the anchor's sum
 *
 * The second is a program of its own, in which the parallel axes that dw lacks are summed and k is
 * parallel; it is computed first, because the rest may store over what it reads. Each part takes
 * the schedule that is best for it, and its phases stand one behind the other.
 *
 * dy and x are read twice, which again_bytes says; cuda_joint.c reads them once where it can. */
#include "codegen/cuda_schedules.h"

enum { MAX_PARTS = 4 };

typedef struct Parts {
    Arena arena;
    int n;
    const TileProgram *part[MAX_PARTS];
    CudaSchedule schedule[MAX_PARTS];
} Parts;

/* A copy whose axes and instructions may change. */
static TileProgram *copy(Arena *arena, const TileProgram *p)
{
    TileProgram *c = ARENA_NEW(arena, TileProgram);

    *c = *p;
    c->axes.at = ARENA_ARRAY(arena, TileAxis, p->axes.len);
    memcpy(c->axes.at, p->axes.at, p->axes.len * sizeof *p->axes.at);
    c->axes.cap = p->axes.len;
    c->insts.at = ARENA_ARRAY(arena, TileInst, p->insts.len + 3);
    memcpy(c->insts.at, p->insts.at, p->insts.len * sizeof *p->insts.at);
    c->insts.cap = p->insts.len + 3;
    memset(&c->stores, 0, sizeof c->stores);
    memset(&c->reductions, 0, sizeof c->reductions);
    return c;
}

static int add_inst(Arena *arena, TileProgram *p, TileInst inst)
{
    vec_push(arena, &p->insts, inst);
    return (int)p->insts.len - 1;
}

/* The pair sum as a product that is stored. */
static TileProgram *product_of(Arena *arena, const TileProgram *p, const TileReduction *r)
{
    TileProgram *c = copy(arena, p);
    TileStore s = {.tensor = r->tensor};
    uint32_t kept = 0;

    for (int d = 0; d < p->tensors.at[r->tensor].layout.shape.rank; d++) {
        kept |= 1u << r->axis[d];
        s.index[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    }
    for (uint32_t a = 0; a < c->axes.len; a++)
        c->axes.at[a].kind = kept >> a & 1 ? TILE_PARALLEL : TILE_REDUCE;
    c->rhs = r->inst;
    s.inst = add_inst(arena, c, (TileInst){.kind = INST_ACC});
    if (r->factor != 1) {
        int factor = add_inst(arena, c, (TileInst){.kind = INST_CONST, .number = r->factor});
        s.inst = add_inst(
            arena, c, (TileInst){.kind = INST_PRIM, .prim = PRIM_MUL, .arg = {s.inst, factor, 0}});
    }
    vec_push(arena, &c->stores, s);
    return c;
}

TileProgram *cuda_without_pairs(Arena *arena, const TileProgram *p)
{
    TileProgram *c = copy(arena, p);

    c->stores = p->stores;
    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind != TILE_PAIR_SUM)
            vec_push(arena, &c->reductions, p->reductions.at[i]);
    return c;
}

/* Bytes that the program's instructions read, of those that `uses` (all: NULL) says. */
static double read_bytes(Arena *arena, const TileProgram *p, const bool *uses)
{
    TileProgram *c = copy(arena, p);
    double written = 0;

    for (uint32_t i = 0; uses && i < c->insts.len; i++)
        if (!uses[i])
            c->insts.at[i] = (TileInst){.kind = INST_CONST};
    for (uint32_t t = 0; t < c->tensors.len; t++)
        if (c->tensors.at[t].is_output)
            written += (double)tile_layout_bytes(&c->tensors.at[t].layout);
    return tile_bytes(c) - written;
}

/* What a part computes. */
static bool *used_insts(Arena *arena, const TileProgram *p)
{
    bool *used = ARENA_ARRAY(arena, bool, p->insts.len + 1);

    used[p->lhs] = used[p->rhs] = true;
    for (uint32_t i = 0; i < p->stores.len; i++)
        used[p->stores.at[i].inst] = true;
    for (uint32_t i = 0; i < p->reductions.len; i++)
        used[p->reductions.at[i].inst] = true;
    for (int i = (int)p->insts.len - 1; i >= 0; i--)
        for (int k = 0;
             used[i] && p->insts.at[i].kind == INST_PRIM && k < prim_arity(p->insts.at[i].prim);
             k++)
            used[p->insts.at[i].arg[k]] = true;
    return used;
}

/* Tensors that several parts read, and workspace that one uses behind the other. */
static double again_bytes(Parts *parts, const TileProgram *p, size_t workspace)
{
    double again = -read_bytes(&parts->arena, p, NULL) - 2 * (double)workspace;

    for (int i = 0; i < parts->n; i++) {
        const TileProgram *part = parts->part[i];
        again += read_bytes(&parts->arena, part, used_insts(&parts->arena, part));
        again += 2 * (double)parts->schedule[i].workspace_bytes + parts->schedule[i].again_bytes;
    }
    return again;
}

static bool split(Parts *parts, const TileProgram *p)
{
    int phases = 0;

    *parts = (Parts){0};
    if (p->anchor != TILE_CONTRACT)
        return false;
    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind == TILE_PAIR_SUM) {
            if (parts->n == MAX_PARTS - 1)
                return false;
            parts->part[parts->n++] = product_of(&parts->arena, p, &p->reductions.at[i]);
        }
    if (!parts->n)
        return false;
    TileProgram *rest = cuda_without_pairs(&parts->arena, p);
    if (rest->stores.len || rest->reductions.len)
        parts->part[parts->n++] = rest;
    for (int i = 0; i < parts->n; i++) {
        parts->schedule[i] = cuda_schedule(parts->part[i]);
        phases += parts->schedule[i].n_phases;
    }
    return phases <= CUDA_MAX_PHASES;
}

static bool accepts(const TileProgram *p)
{
    Parts parts;
    bool fits = split(&parts, p);

    arena_free(&parts.arena);
    return fits;
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaSchedule s = {.name = cuda_kind_pairs.name};
    Parts parts;

    split(&parts, p);
    for (int i = 0; i < parts.n; i++) {
        const CudaSchedule *part = &parts.schedule[i];
        for (int k = 0; k < part->n_phases; k++)
            s.phase[s.n_phases++] = part->phase[k];
        if (s.workspace_bytes < part->workspace_bytes)
            s.workspace_bytes = part->workspace_bytes;
    }
    s.again_bytes = again_bytes(&parts, p, s.workspace_bytes);
    arena_free(&parts.arena);
    return s;
}

static void write(CudaText *c, const CudaSchedule *s)
{
    const TileProgram *all = c->p;
    CudaValue *memo = c->memo;
    Parts parts;

    (void)s;
    split(&parts, all);
    for (int i = 0; i < parts.n; i++) {
        c->p = parts.part[i];
        c->memo = ARENA_ARRAY(c->arena, CudaValue, c->p->insts.len + 1);
        cuda_kind_of(c->p)->write(c, &parts.schedule[i]);
        c->first_phase += parts.schedule[i].n_phases;
    }
    c->first_phase = 0;
    c->p = all;
    c->memo = memo;
    arena_free(&parts.arena);
}

const CudaKind cuda_kind_pairs = {"pairs", accepts, schedule, write};
