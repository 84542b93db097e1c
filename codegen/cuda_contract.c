/* How a product is cut into tiles: see cuda_contract.h. */
#include "codegen/cuda_contract.h"

/* Blocks that fill any device. Tests make both numbers small, so that small programs show what
 * large ones do. */
#ifndef CONTRACT_FULL_DEVICE
#define CONTRACT_FULL_DEVICE 512
#endif
/* Bytes of a tensor that does not stay in the first-level cache. */
#ifndef CONTRACT_LARGE
#define CONTRACT_LARGE (1 << 20)
#endif

enum {
    MAX_INSTS = 1024,
    WANTED_BLOCKS = CONTRACT_FULL_DEVICE,
    FEW_BLOCKS = (CONTRACT_FULL_DEVICE + 3) / 4, /* below that tiles shrink */
    MIN_PRODUCTS = 1 << 18,                      /* below that tiles do not pay */
    MIN_SLAB_STEPS = 8,
    MAX_WALK = 8,
    MANY_RESULT_INSTS = 6,
    FREE_REGISTERS = 78,    /* of 128 */
    FREE_REGISTERS_32 = 62, /* where code and fragments take numbers of 32 bits */
    MAX_TILE = 256,
    JOINT_STEPS = 16,     /* 8 registers each */
    JOINT_MANY_STEPS = 8, /* few registers are left beside them */
    JOINT_COLUMNS = 64,
};

#define ACC_BIT (1u << 31)

typedef struct Needs {
    uint32_t at[MAX_INSTS]; /* axes (bits) that an instruction varies with; ACC_BIT: the anchor */
} Needs;

static uint32_t index_axes(const TileIndex *index, int rank)
{
    uint32_t axes = 0;

    for (int d = 0; d < rank; d++)
        for (int i = 0; i < index[d].n_terms; i++)
            axes |= 1u << index[d].axis[i];
    return axes;
}

static bool find_needs(const TileProgram *p, Needs *needs)
{
    if (p->insts.len > MAX_INSTS)
        return false;
    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        needs->at[i] = in->kind == INST_ACC ? ACC_BIT : 0;
        if (in->kind == INST_LOAD)
            needs->at[i] = index_axes(in->index, p->tensors.at[in->tensor].layout.shape.rank);
        for (int k = 0; in->kind == INST_PRIM && k < prim_arity(in->prim); k++)
            needs->at[i] |= needs->at[in->arg[k]];
    }
    return true;
}

/* Axes of size 1 have index 0 and belong nowhere. */
static uint32_t kind_axes(const TileProgram *p, TileAxisKind kind)
{
    uint32_t axes = 0;

    for (uint32_t a = 0; a < p->axes.len; a++)
        if (p->axes.at[a].kind == kind && p->axes.at[a].size > 1)
            axes |= 1u << a;
    return axes;
}

/* Distance in elements of neighbours along an axis, as a tensor is indexed; 0 when it does not
 * follow the axis. */
static int64_t distance(const TileProgram *p, int tensor, const TileIndex *index, int axis)
{
    const TileLayout *l = &p->tensors.at[tensor].layout;
    int64_t step = 1, sum = 0;

    for (int i = l->shape.rank - 1; i >= 0; i--) {
        int d = l->order[i];
        for (int k = 0; k < index[d].n_terms; k++)
            if (index[d].axis[k] == axis)
                sum += step * (index[d].table ? 1 : index[d].coef[k]);
        step *= l->shape.size[d];
    }
    return sum;
}

/* The axis (of `axes`) along which a tensor's elements lie side by side; -1. */
static int unit_axis(const TileProgram *p, int tensor, const TileIndex *index, uint32_t axes)
{
    int best = -1;
    int64_t least = 0;

    for (int a = 0; a < (int)p->axes.len; a++) {
        int64_t d = axes >> a & 1 ? distance(p, tensor, index, a) : 0;
        if (d > 0 && (best < 0 || d < least)) {
            best = a;
            least = d;
        }
    }
    return best;
}

/* ---- axes ---- */

static void flat_add(CudaFlat *f, const TileProgram *p, int axis)
{
    f->axis[f->n++] = axis;
    f->elems *= p->axes.at[axis].size;
}

/* The axes in the order of a tensor, outermost first, behind the batch if a range cuts it. */
static CudaFlat flat_of(const TileProgram *p, uint32_t axes, int tensor, const TileIndex *index)
{
    CudaFlat f = {.elems = 1, .inner = 1};
    int batch = p->session >= 0 ? p->batch_axis : -1;

    if (batch >= 0 && (axes >> batch & 1)) {
        flat_add(&f, p, batch);
        axes &= ~(1u << batch);
        f.cut = true;
    }
    while (axes) {
        int best = -1;
        int64_t most = -1;
        for (int a = 0; a < (int)p->axes.len; a++) {
            int64_t d = axes >> a & 1 ? tensor < 0 ? 0 : distance(p, tensor, index, a) : -1;
            if (d > most) {
                best = a;
                most = d;
            }
        }
        flat_add(&f, p, best);
        axes &= ~(1u << best);
    }
    f.inner = f.n ? f.elems / p->axes.at[f.axis[0]].size : 1;
    return f;
}

/* The load of an operand that reads most; -1. */
static int widest_load(const TileProgram *p, const Needs *needs, int inst, int best)
{
    const TileInst *in = &p->insts.at[inst];

    if (in->kind == INST_LOAD) {
        int64_t most = 0, mine = 1;
        for (int a = 0; a < (int)p->axes.len; a++)
            mine *= needs->at[inst] >> a & 1 ? p->axes.at[a].size : 1;
        for (int a = 0; best >= 0 && a < (int)p->axes.len; a++)
            most = (most ? most : 1) * (needs->at[best] >> a & 1 ? p->axes.at[a].size : 1);
        return best == inst || mine <= most ? best : inst;
    }
    for (int k = 0; in->kind == INST_PRIM && k < prim_arity(in->prim); k++)
        best = widest_load(p, needs, in->arg[k], best);
    return best;
}

/* Which operand has the axis along which the first store's elements lie side by side? */
static bool columns_are_left(const TileProgram *p, uint32_t left, uint32_t right)
{
    int axis = p->stores.len ? unit_axis(p, p->stores.at[0].tensor, p->stores.at[0].index,
                                         kind_axes(p, TILE_PARALLEL))
                             : -1;
    return axis >= 0 && (left >> axis & 1) && !(right >> axis & 1);
}

static void split_axes(CudaContract *c, const TileProgram *p, const Needs *needs)
{
    uint32_t parallel = kind_axes(p, TILE_PARALLEL), reduced = kind_axes(p, TILE_REDUCE);
    uint32_t left = needs->at[p->lhs] & parallel, right = needs->at[p->rhs] & parallel;
    bool swapped = columns_are_left(p, left, right);
    uint32_t rows = swapped ? right : left, columns = swapped ? left : right;
    int tensor = p->stores.len ? p->stores.at[0].tensor : -1;
    const TileIndex *index = p->stores.len ? p->stores.at[0].index : NULL;

    c->a = (CudaOperand){.name = "a", .inst = swapped ? p->rhs : p->lhs};
    c->b = (CudaOperand){.name = "b", .inst = swapped ? p->lhs : p->rhs};
    /* a block stays in one group of its sums; their channels are the last columns */
    CudaFlat all = flat_of(p, columns & ~rows, tensor, index);
    int channel = all.n ? all.axis[all.n - 1] : -1;
    uint32_t groups = p->reductions.len ? cuda_sums_groups(p, channel) & parallel : 0;
    uint32_t shared = (rows & columns) | groups;
    c->n = flat_of(p, columns & ~shared, tensor, index);
    c->g = flat_of(p, shared, tensor, index);
    c->m = flat_of(p, parallel & ~columns & ~shared, tensor, index);
    int load = widest_load(p, needs, c->a.inst, -1);
    if (load >= 0)
        c->k = flat_of(p, reduced, p->insts.at[load].tensor, p->insts.at[load].index);
    else
        c->k = flat_of(p, reduced, -1, NULL);
    c->a.rows = &c->m;
    c->b.rows = &c->n;
}

/* ---- operands ---- */

static bool is_last(const CudaFlat *f, int axis)
{
    return f->n && f->axis[f->n - 1] == axis && !(f->cut && f->n == 1);
}

static uint32_t flat_bits(const CudaFlat *f)
{
    uint32_t bits = 0;

    for (int i = 0; i < f->n; i++)
        bits |= 1u << f->axis[i];
    return bits;
}

/* Vectors lie along what the widest load is contiguous along. */
static void choose_vectors(const CudaContract *c, CudaOperand *o, const Needs *needs)
{
    const TileProgram *p = c->p;
    int load = widest_load(p, needs, o->inst, -1), axis = -1;
    uint32_t k = flat_bits(&c->k), rows = flat_bits(o->rows);

    if (load >= 0)
        axis = unit_axis(p, p->insts.at[load].tensor, p->insts.at[load].index, k | rows);
    o->along_k = axis < 0 || (k >> axis & 1);
    o->vector = -1;
    o->lanes = 1;
    if (axis < 0 || !is_last(o->along_k ? &c->k : o->rows, axis))
        return;
    int64_t size = p->axes.at[axis].size;
    for (int lanes = c->per_word == 2 ? 8 : 4; lanes >= 4; lanes /= 2)
        if (size % lanes == 0) {
            o->vector = axis;
            o->lanes = lanes;
            return;
        }
}

static void add_once(int *list, int *n, int inst)
{
    for (int i = 0; i < *n; i++)
        if (list[i] == inst)
            return;
    list[(*n)++] = inst;
}

/* Finds what varies with rows and k; below, what varies with one of them. What does not fit into
 * the lists is computed in place. */
static void split_code(const CudaContract *c, CudaOperand *o, const Needs *needs, int inst)
{
    const TileProgram *p = c->p;
    const TileInst *in = &p->insts.at[inst];
    bool k = needs->at[inst] & flat_bits(&c->k), row = needs->at[inst] & flat_bits(o->rows);

    if (k && row && in->kind == INST_LOAD) {
        bool large = tile_layout_bytes(&p->tensors.at[in->tensor].layout) >= CONTRACT_LARGE;
        bool widest = inst == widest_load(p, needs, o->inst, -1);
        if ((large || widest) && o->ahead.n < CUDA_MAX_AHEAD)
            add_once(o->ahead.inst, &o->ahead.n, inst);
    } else if (k && row) {
        for (int i = 0; i < prim_arity(in->prim); i++)
            split_code(c, o, needs, in->arg[i]);
    } else if (k && o->n_of_k < MAX_TABLES) {
        add_once(o->of_k, &o->n_of_k, inst);
    } else if (row && o->n_of_row < MAX_TABLES) {
        add_once(o->of_row, &o->n_of_row, inst);
    }
}

/* The same behind the anchor: loads of large tensors, and values that vary with columns only. */
static void split_results(CudaContract *c, const Needs *needs, int inst)
{
    const TileProgram *p = c->p;
    const TileInst *in = &p->insts.at[inst];
    bool column = needs->at[inst] & flat_bits(&c->n);
    bool other = needs->at[inst] & (flat_bits(&c->m) | ACC_BIT);

    if (in->kind == INST_PRIM && other) {
        for (int i = 0; i < prim_arity(in->prim); i++)
            split_results(c, needs, in->arg[i]);
    } else if (in->kind == INST_LOAD && other && column) {
        bool large = tile_layout_bytes(&p->tensors.at[in->tensor].layout) >= CONTRACT_LARGE;
        if (large && c->ahead.n < CUDA_MAX_AHEAD)
            add_once(c->ahead.inst, &c->ahead.n, inst);
    } else if (column && !other && c->n_of_column < MAX_COLUMN_TABLES) {
        add_once(c->of_column, &c->n_of_column, inst);
    }
}

/* Vectors of what is behind the anchor: short ones where they take many registers. */
static void choose_results(CudaContract *c, const Needs *needs)
{
    const TileProgram *p = c->p;
    int last = c->n.n ? c->n.axis[c->n.n - 1] : -1, n = 0;

    for (uint32_t i = 0; i < p->stores.len; i++)
        split_results(c, needs, p->stores.at[i].inst);
    for (uint32_t i = 0; i < p->reductions.len; i++)
        split_results(c, needs, p->reductions.at[i].inst);
    for (uint32_t i = 0; i < p->insts.len; i++)
        n += p->insts.at[i].kind == INST_PRIM && (needs->at[i] & ACC_BIT);
    c->lanes = is_last(&c->n, last) ? cuda_lanes(p, last) : 1;
    if (c->lanes == 8 && (p->reductions.len || n > MANY_RESULT_INSTS))
        c->lanes = 4;
}

static bool is_dear(Prim prim)
{
    return prim == PRIM_EXP || prim == PRIM_LOG || prim == PRIM_LOG1P || prim == PRIM_SIGMOID ||
           prim == PRIM_TANH || prim == PRIM_SIN || prim == PRIM_COS || prim == PRIM_ERF ||
           prim == PRIM_SQRT || prim == PRIM_RSQRT || prim == PRIM_DIV;
}

/* Instructions that an element of the operand costs, about. */
static double code_cost(const CudaContract *c, const CudaOperand *o, const Needs *needs)
{
    const TileProgram *p = c->p;
    bool used[MAX_INSTS] = {0};
    double cost = 2; /* to load and to put */

    used[o->inst] = true;
    for (int i = o->inst; i >= 0; i--) {
        const TileInst *in = &p->insts.at[i];
        bool both = (needs->at[i] & flat_bits(&c->k)) && (needs->at[i] & flat_bits(o->rows));
        if (!used[i] || !both)
            continue;
        cost += in->kind == INST_PRIM && is_dear(in->prim) ? 8 : 1;
        for (int k = 0; in->kind == INST_PRIM && k < prim_arity(in->prim); k++)
            used[in->arg[k]] = true;
    }
    return cost;
}

/* Bytes that an element of the operand is loaded from. */
static double code_bytes(const CudaContract *c, const CudaOperand *o)
{
    double bytes = 0;

    for (int j = 0; j < o->ahead.n; j++)
        bytes += (double)storage_bytes(
            c->p->tensors.at[c->p->insts.at[o->ahead.inst[j]].tensor].layout.type);
    return bytes;
}

/* ---- sizes ---- */

/* Warps side by side along m, so that their tiles are whole fragments and nearly square. */
static bool choose_warps(CudaContract *c, int m, int n)
{
    int best = 0;

    if (c->p->math == MATH_F32) { /* threads hold every 16th row and column */
        c->warps_m = 1;
        c->warp_m = m;
        c->warp_n = n;
        return true;
    }
    for (int w = 1; w <= CONTRACT_WARPS; w *= 2) {
        int wm = m / w, wn = n * w / CONTRACT_WARPS;
        if (m % (w * 16) || n * w % (CONTRACT_WARPS * 8) || (best && wm + wn >= best))
            continue;
        best = wm + wn;
        c->warps_m = w;
        c->warp_m = wm;
        c->warp_n = wn;
    }
    return best > 0;
}

static int64_t table_words(const CudaContract *c, const CudaOperand *o)
{
    return (int64_t)o->n_of_row * o->tile + (o->resident ? 0 : 2 * o->n_of_k * c->step);
}

/* Where everything lies in shared memory: two stages of tiles (a, b), which results use as well
 * when a tile is done; all of b if it is resident; tables. */
static void lay_out(CudaContract *c)
{
    int64_t stage = STEP_WORDS * (int64_t)(c->a.tile + (c->b.resident ? 0 : c->b.tile));
    int staging_rows = c->p->math == MATH_F32 ? 16 : 16 * c->warps_m;

    int64_t sums = c->p->reductions.len ? 3 * CONTRACT_THREADS * c->lanes : 0;
    c->staging_row = c->b.tile + 8;
    c->tile_words = 2 * stage;
    if (c->slabs == 1 && c->tile_words < (int64_t)staging_rows * c->staging_row)
        c->tile_words = (int64_t)staging_rows * c->staging_row;
    if (c->tile_words < sums)
        c->tile_words = sums;
    int64_t at = c->tile_words;
    c->at_columns = at;
    at += (int64_t)c->n_of_column * c->b.tile;
    c->resident_at = at;
    if (c->b.resident) {
        at += STEP_WORDS * c->steps * c->b.tile;
        c->b.n_of_k = 0; /* computed in place, once */
    }
    for (int i = 0; i < 2; i++) {
        CudaOperand *o = i ? &c->b : &c->a;
        o->at_rows = at;
        o->at_k = at + (int64_t)o->n_of_row * o->tile;
        at += table_words(c, o);
    }
    if (c->joint.is_there) {
        c->joint.at = at;
        at += c->a.tile / 2 * (int64_t)c->b.tile;
    }
    c->shared_words = at;
}

static bool fits(CudaContract *c)
{
    lay_out(c);
    return c->shared_words * 4 <= CUDA_MAX_SHARED;
}

static void choose_walk(CudaContract *c)
{
    int64_t blocks = c->tiles_m * c->tiles_n * c->g.elems;

    int64_t least = c->p->reductions.len ? 2 * WANTED_BLOCKS : 4 * WANTED_BLOCKS;

    c->walk = 1;
    if (c->slabs == 1 && !c->k.cut && !c->a.n_of_row)
        while (c->walk < MAX_WALK && blocks / (2 * c->walk) >= least)
            c->walk *= 2;
    c->walks = contract_div_up(c->tiles_m, c->walk);
    c->b.resident = c->walk > 1;
    int n_of_k = c->b.n_of_k;
    if (c->b.resident && !fits(c)) {
        c->b.resident = false;
        c->b.n_of_k = n_of_k;
    }
}

/* Slabs of k, so that the device is full, as long as writing and reading their sums stays below a
 * tenth of what they read; a device half full is worth more than that. */
static void choose_slabs(CudaContract *c)
{
    int64_t tiles = c->tiles_m * c->tiles_n * c->g.elems;
    int64_t most = contract_div_up(c->steps, MIN_SLAB_STEPS);
    int64_t wanted = contract_div_up(WANTED_BLOCKS, tiles),
            few = contract_div_up(FEW_BLOCKS, tiles);
    double m = (double)c->m.elems, n = (double)c->n.elems;
    double bytes = c->p->math == MATH_BF16 || c->p->math == MATH_F16 ? 2 : 4;
    int64_t cheap = (int64_t)(0.1 * (double)c->k.elems * (m + n) * bytes / (8 * m * n));

    c->slabs = wanted < cheap ? wanted : cheap > few ? cheap : few;
    if (c->slabs > wanted)
        c->slabs = wanted;
    if (c->slabs > most)
        c->slabs = most;
    if (c->slabs < 1 || c->p->reductions.len)
        c->slabs = 1;
}

static void set_tiles(CudaContract *c, int m, int n)
{
    c->a.tile = m;
    c->b.tile = n;
    c->tiles_m = contract_div_up(c->m.elems, m);
    c->tiles_n = contract_div_up(c->n.elems, n);
    c->slabs = 1;
    c->walk = 1;
    c->walks = c->tiles_m;
    c->b.resident = false;
}

/* Sums of a tile, at most, for two blocks to have their registers on a multiprocessor. */
static bool is_large(int m, int n)
{
    return m * n > 128 * 64;
}

/* Registers of a thread that hold sums, loads on their way and sums of results, about: beside these
 * two blocks of a multiprocessor leave a thread what its code needs. */
static double registers(const CudaContract *c)
{
    const TileProgram *p = c->p;
    double n = (double)(c->a.tile * c->b.tile) / CONTRACT_THREADS;

    if (c->a.lanes == 1 || c->b.lanes == 1) /* a register for each element, and addresses */
        return 2 * FREE_REGISTERS;
    for (int i = 0; i < 2; i++) {
        const CudaOperand *o = i ? &c->b : &c->a;
        n += code_bytes(c, o) * o->tile * c->step / (4 * CONTRACT_THREADS);
    }
    for (int i = 0; i < c->ahead.n; i++)
        n +=
            (double)storage_bytes(p->tensors.at[p->insts.at[c->ahead.inst[i]].tensor].layout.type) /
            4 * c->lanes;
    for (uint32_t i = 0; i < p->reductions.len; i++)
        n += p->reductions.at[i].kind == TILE_VARIANCE ? 2 * c->lanes : c->lanes;
    return n;
}

/* Tries tiles and takes those that take the fewest cycles of a multiprocessor: products at 1024 a
 * cycle (128 in float32), code at 128 instructions, 40 bytes from the second-level cache, and some
 * for each step. Nothing overlaps as well where one block is alone. */
static bool choose_tiles(CudaContract *c, const Needs *needs)
{
    double rate = c->p->math == MATH_F32 ? 128 : 1024, best = 0;
    double code_a = code_cost(c, &c->a, needs), code_b = code_cost(c, &c->b, needs);
    double bytes_a = code_bytes(c, &c->a), bytes_b = code_bytes(c, &c->b);
    int best_m = 0, best_n = 0;
    bool f32 = c->p->math == MATH_F32;

    for (int m = 32; m <= MAX_TILE; m += f32 && m >= 64 ? 64 : 32)
        for (int n = 32; n <= MAX_TILE; n += f32 && n >= 64 ? 64 : 32) {
            if (m * n > 128 * 128 || m + n > 320 || (f32 && (m > 128 || n > 128)))
                continue;
            set_tiles(c, m, n);
            if (!choose_warps(c, m, n) || !fits(c))
                continue;
            double tiles = (double)(c->tiles_m * c->tiles_n * c->g.elems);
            double step = (m * code_a + n * code_b) / 128 + m * n / rate +
                          (m * bytes_a + n * bytes_b) / 40 + 1;
            step *= is_large(m, n) ? 1.4 : 1;
            /* a device that is not full, and k cannot fill it */
            double blocks = tiles * (double)contract_div_up(c->steps, MIN_SLAB_STEPS);
            double full = blocks < FEW_BLOCKS ? FEW_BLOCKS / blocks : 1;
            double cost = tiles * step * full;
            if (best_m && cost >= best * 0.999)
                continue;
            best = cost;
            best_m = m;
            best_n = n;
        }
    if (!best_m)
        return false;
    set_tiles(c, best_m, best_n);
    choose_warps(c, best_m, best_n);
    c->min_blocks = registers(c) > (c->per_word == 2 ? FREE_REGISTERS : FREE_REGISTERS_32) ? 1 : 2;
    return true;
}

static bool has_lanes(const TileProgram *p)
{
    for (uint32_t i = 0; i < p->tensors.len; i++)
        if (p->tensors.at[i].layout.lane >= 0 && p->tensors.at[i].layout.lanes > 1)
            return true;
    return false;
}

/* Is every element of a store written by one point? */
static bool stores_cover(const TileProgram *p)
{
    uint32_t parallel = kind_axes(p, TILE_PARALLEL);

    for (uint32_t i = 0; i < p->stores.len; i++) {
        const TileStore *s = &p->stores.at[i];
        if (parallel & ~index_axes(s->index, p->tensors.at[s->tensor].layout.shape.rank))
            return false;
    }
    return p->stores.len > 0;
}

static bool has_pair_sum(const TileProgram *p)
{
    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind == TILE_PAIR_SUM)
            return true;
    return false;
}

/* Sums of blocks: their channels are the only axis of columns. */
static bool sums_fit(const CudaContract *c)
{
    int channel = c->n.n ? c->n.axis[c->n.n - 1] : -1;

    return !c->p->reductions.len || (c->n.n <= 1 && cuda_sums_fit(c->p, channel, ~0u));
}

static void plan_sums(CudaContract *c)
{
    int64_t slices = c->walks;
    int channel = c->n.n ? c->n.axis[0] : -1;
    uint32_t groups = cuda_sums_groups(c->p, channel);

    if (!c->p->reductions.len)
        return;
    for (int i = 0; i < c->g.n; i++)
        if (!(groups >> c->g.axis[i] & 1))
            slices *= c->p->axes.at[c->g.axis[i]].size;
    c->sums = cuda_sums_plan(c->p, channel, slices, c->tiles_n, 0);
}

/* All but the sizes. */
static bool begin(CudaContract *c, const TileProgram *p, Needs *needs)
{
    *c = (CudaContract){.p = p};
    if (p->anchor != TILE_CONTRACT || has_lanes(p) || !stores_cover(p) || has_pair_sum(p) ||
        !find_needs(p, needs))
        return false;
    c->per_word = p->math == MATH_BF16 || p->math == MATH_F16 ? 2 : 1;
    c->step = STEP_WORDS * c->per_word;
    split_axes(c, p, needs);
    if (c->m.elems > INT32_MAX / 2 || c->n.elems > INT32_MAX / 2 || c->k.elems > INT32_MAX / 2 ||
        (double)c->m.elems * (double)c->n.elems * (double)c->k.elems * (double)c->g.elems <
            MIN_PRODUCTS)
        return false;
    c->steps = contract_div_up(c->k.elems, c->step);
    for (int i = 0; i < 2; i++) {
        CudaOperand *o = i ? &c->b : &c->a;
        choose_vectors(c, o, needs);
        split_code(c, o, needs, o->inst);
    }
    choose_results(c, needs);
    return sums_fit(c);
}

/* What follows from the sizes. */
static void finish(CudaContract *c)
{
    const TileProgram *p = c->p;

    lay_out(c);
    c->k_tail = c->k.cut || c->k.elems % c->step;
    for (int i = 0; i < 2; i++) {
        CudaOperand *o = i ? &c->b : &c->a;
        const TileInst *in = &p->insts.at[o->inst];
        Storage same = p->math == MATH_BF16 ? STORAGE_BF16 : STORAGE_F16;
        o->row_tail = o->rows->cut || o->rows->elems % o->tile;
        o->bare = c->per_word == 2 && in->kind == INST_LOAD && o->ahead.n &&
                  p->tensors.at[in->tensor].layout.type == same;
    }
    plan_sums(c);
}

bool contract_plan(CudaContract *c, const TileProgram *p)
{
    Needs needs;

    if (!begin(c, p, &needs) || !choose_tiles(c, &needs))
        return false;
    choose_slabs(c);
    if (c->slabs > 1)
        c->n_of_column = c->ahead.n = 0; /* the combining kernel has neither */
    choose_walk(c);
    finish(c);
    return true;
}

bool contract_plan_joint(CudaContract *c, const TileProgram *p, int x)
{
    Needs needs;

    if (!begin(c, p, &needs) || c->per_word != 2 || c->a.inst != p->lhs || !c->a.along_k ||
        c->m.cut || c->g.cut || !c->n.n || c->steps > JOINT_STEPS)
        return false;
    int last = c->n.axis[c->n.n - 1];
    c->joint = (CudaJoint){.is_there = true, .x = x, .lanes = cuda_lanes(p, last)};
    if (c->joint.lanes == 1 || (needs.at[x] & (ACC_BIT | flat_bits(&c->k))))
        return false;
    CudaAhead results = c->ahead; /* x has loads ahead of its own, and the same columns */
    c->ahead.n = 0;
    split_results(c, &needs, x);
    c->joint.ahead = c->ahead;
    c->ahead = results;
    c->a.n_of_row = 0; /* of one tile only */
    bool many = c->steps >= JOINT_MANY_STEPS;
    int m = many ? 64 : 128;
    if (many)
        c->joint.ahead.n = 0;
    set_tiles(c, m, JOINT_COLUMNS);
    c->joint.at = 0;
    while (c->n_of_column && !fits(c))
        c->n_of_column--;
    if (!choose_warps(c, m, JOINT_COLUMNS) || !fits(c))
        return false;
    int64_t others = c->tiles_n * c->g.elems;
    if (c->tiles_m * others < FEW_BLOCKS)
        return false;
    c->min_blocks = 1;
    c->walk = contract_div_up(c->tiles_m * others, FEW_BLOCKS + 4);
    if (c->walk > c->tiles_m)
        c->walk = c->tiles_m;
    c->walks = contract_div_up(c->tiles_m, c->walk);
    finish(c);
    c->joint.offset = c->sums.bytes;
    return true;
}
