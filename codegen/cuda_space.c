/* Axes, blocks and invariants: see cuda_space.h. */
#include "codegen/cuda_space.h"

uint32_t cuda_axis_bits(const TileProgram *p, TileAxisKind kind)
{
    uint32_t bits = 0;

    for (uint32_t a = 0; a < p->axes.len; a++)
        if (p->axes.at[a].kind == kind)
            bits |= 1u << a;
    return bits;
}

static uint32_t index_bits(const TileIndex *index, int rank)
{
    uint32_t bits = 0;

    for (int d = 0; d < rank; d++)
        for (int i = 0; i < index[d].n_terms; i++)
            bits |= 1u << index[d].axis[i];
    return bits;
}

uint32_t cuda_needs(const TileProgram *p, int inst)
{
    const TileInst *in = &p->insts.at[inst];
    uint32_t bits = 0;

    if (in->kind == INST_LOAD)
        return index_bits(in->index, p->tensors.at[in->tensor].layout.shape.rank);
    if (in->kind == INST_PRIM)
        for (int k = 0; k < prim_arity(in->prim); k++)
            bits |= cuda_needs(p, in->arg[k]);
    return bits;
}

/* ---- channels ---- */

/* The axis whose neighbours are neighbours in the tensor, or -1. */
static int innermost(const TileProgram *p, int tensor, const TileIndex *index)
{
    const TileLayout *l = &p->tensors.at[tensor].layout;

    if (l->shape.rank == 0 || (l->lane >= 0 && l->lanes > 1))
        return -1;
    int i = l->shape.rank - 1;
    while (i > 0 && l->shape.size[l->order[i]] == 1)
        i--;
    const TileIndex *x = &index[l->order[i]];
    for (int k = 0; k < x->n_terms; k++)
        if (x->coef[k] == 1 && !x->table)
            return x->axis[k];
    return -1;
}

int cuda_channel_axis(const TileProgram *p)
{
    int64_t weight[TILE_MAX_AXES] = {0};
    int best = -1;

    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        int a = in->kind == INST_LOAD ? innermost(p, in->tensor, in->index) : -1;
        if (a >= 0)
            weight[a] += tile_layout_elems(&p->tensors.at[in->tensor].layout);
    }
    for (uint32_t i = 0; i < p->stores.len; i++) {
        const TileStore *s = &p->stores.at[i];
        int a = innermost(p, s->tensor, s->index);
        if (a >= 0)
            weight[a] += tile_layout_elems(&p->tensors.at[s->tensor].layout);
    }
    for (int a = 0; a < (int)p->axes.len; a++)
        if (p->axes.at[a].kind == TILE_PARALLEL && (best < 0 || weight[a] >= weight[best]))
            best = a;
    return best;
}

/* ---- blocks ---- */

CudaBlock cuda_block_shape(int64_t vectors, int threads)
{
    CudaBlock best = {0};
    double best_use = 0;

    for (int across = 1; across <= vectors && across <= 64; across++) {
        int64_t parts = (vectors + across - 1) / across;
        for (int n = threads / 2; n <= 3 * threads / 2; n += 32) {
            int rows = n / across, off = n > threads ? n - threads : threads - n;
            double use = (double)(rows * vectors) / (double)(n * parts);
            use -= 1e-4 * off;
            if (parts > 1)
                use -= across < 8 ? 0.3 : across < 16 ? 0.05 : 0;
            if (use > best_use + 1e-9) {
                best_use = use;
                best = (CudaBlock){n, across, rows, (int)parts};
            }
        }
    }
    return best;
}

/* ---- invariants ---- */

enum { MAX_VALUES = 256 };

typedef struct Hoist {
    const TileProgram *p;
    uint32_t varying;
    int n, inst[MAX_VALUES];
    bool seen[MAX_VALUES];
} Hoist;

static bool is_fixed(const Hoist *h, int inst)
{
    return !(cuda_needs(h->p, inst) & h->varying) && !cuda_uses_acc(h->p, inst);
}

/* Fixed operands of what varies. */
static void find(Hoist *h, int inst)
{
    const TileInst *in = &h->p->insts.at[inst];

    if (inst >= MAX_VALUES || h->seen[inst])
        return;
    h->seen[inst] = true;
    if (is_fixed(h, inst)) {
        if (in->kind != INST_CONST)
            h->inst[h->n++] = inst;
        return;
    }
    if (in->kind == INST_PRIM)
        for (int k = 0; k < prim_arity(in->prim); k++)
            find(h, in->arg[k]);
}

static Hoist find_all(const TileProgram *p, const int *insts, int n, uint32_t varying)
{
    Hoist h = {.p = p, .varying = varying};

    for (int i = 0; i < n; i++)
        find(&h, insts[i]);
    return h;
}

static int registers(const TileProgram *p, int inst, int vector, int lanes)
{
    return vector >= 0 && cuda_needs(p, inst) >> vector & 1 ? lanes : 1;
}

int cuda_hoist_cost(const TileProgram *p, const int *insts, int n, uint32_t varying, int vector,
                    int lanes)
{
    Hoist h = find_all(p, insts, n, varying);
    int cost = 0;

    for (int i = 0; i < h.n; i++)
        cost += registers(p, h.inst[i], vector, lanes);
    return cost;
}

void cuda_hoist(CudaText *c, const int *insts, int n, uint32_t varying, int budget)
{
    Hoist h = find_all(c->p, insts, n, varying);

    for (int pass = 0; pass < 2; pass++) /* what is computed is dearer than what is loaded */
        for (int i = 0; i < h.n; i++) {
            int cost = registers(c->p, h.inst[i], c->vector, c->lanes);
            if ((c->p->insts.at[h.inst[i]].kind == INST_PRIM) != (pass == 0) || cost > budget)
                continue;
            budget -= cost;
            cuda_value(c, h.inst[i]);
        }
}

int cuda_result_insts(const TileProgram *p, int *insts)
{
    int n = 0;
    uint32_t all = p->stores.len + p->reductions.len;

    for (uint32_t i = 0; i < all; i++) {
        int inst =
            i < p->stores.len ? p->stores.at[i].inst : p->reductions.at[i - p->stores.len].inst;
        bool known = false;
        for (int k = 0; k < n; k++)
            known |= insts[k] == inst;
        if (!known)
            insts[n++] = inst;
    }
    return n;
}
