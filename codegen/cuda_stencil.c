/* How a depthwise stencil is cut into blocks, threads and steps: see cuda_stencil.h. */
#include "codegen/cuda_stencil.h"

enum {
    MAX_THREADS = 256,
    RING_BYTES = 46 * 1024,
    REGISTERS = 120,    /* that a thread may be estimated to take */
    OTHERS = 30,        /* of them: addresses, indices, temporaries */
    WEIGHTS = 40,       /* weights of a thread that stay in registers */
    BLOCKS = 1056,      /* wanted at least: 8 for each of 132 multiprocessors */
    SLOT_POINTS = 4096, /* outputs that a slot sums up, where there are enough blocks */
    MAX_TAPS = 64,
    MAX_INSTS = 64
};

/* ---- what the program is ---- */

static uint32_t bit(int axis)
{
    return axis < 0 ? 0 : 1u << axis;
}

static CudaReach reach_of(const TileProgram *p, const TileStencil *s)
{
    return (CudaReach){.out = s->out,
                       .tap = s->tap,
                       .in = s->in,
                       .taps = p->axes.at[s->tap].size,
                       .stride = s->stride,
                       .dilation = s->dilation,
                       .pad = s->pad,
                       .out_size = p->axes.at[s->out].size,
                       .in_size = p->axes.at[s->in].size,
                       .transposed = s->transposed};
}

bool stencil_offset(const CudaReach *r, int64_t j, int64_t k, int *offset)
{
    int64_t at =
        r->transposed ? j + r->pad - k * r->dilation : j * r->stride + k * r->dilation - r->pad;

    if (r->transposed && at % r->stride)
        return false;
    *offset = (int)(r->transposed ? at / r->stride : at);
    return true;
}

/* False where no output of a group reads anything (strides beyond all taps). */
static bool set_each(CudaReach *r, int each)
{
    bool any = false;

    if (r->out < 0) {
        r->each = r->step = 1;
        r->low = r->high = 0;
        return each == 1;
    }
    r->each = r->transposed ? each * (int)r->stride : each;
    r->step = r->transposed ? each : each * (int)r->stride;
    for (int j = 0; j < r->each; j++)
        for (int k = 0; k < r->taps; k++) {
            int offset;
            if (!stencil_offset(r, j, k, &offset))
                continue;
            r->low = !any || offset < r->low ? offset : r->low;
            r->high = !any || offset > r->high ? offset : r->high;
            any = true;
        }
    return any;
}

static bool find_directions(CudaStencil *s)
{
    const TileProgram *p = s->p;
    uint32_t n = p->stencils.len;

    if (n < 1 || n > 2)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (p->stencils.at[i].stride > 4 || p->axes.at[p->stencils.at[i].tap].size > 16)
            return false;
    bool swapped = n == 2 && p->stencils.at[1].out < p->stencils.at[0].out;
    s->row = reach_of(p, &p->stencils.at[swapped]);
    s->apart = n == 1;
    s->column = s->apart ? (CudaReach){.out = -1, .tap = -1, .in = -1, .taps = 1, .stride = 1}
                         : reach_of(p, &p->stencils.at[!swapped]);
    return n == 1 || (s->row.out != s->column.out && s->row.tap != s->column.tap &&
                      s->row.in != s->column.in);
}

static int find_channel(const CudaStencil *s, uint32_t parallel, uint32_t taps)
{
    if (!s->is_dw)
        return cuda_channel_axis(s->p);
    uint32_t rest = parallel & ~taps;
    return rest && !(rest & (rest - 1)) ? __builtin_ctz(rest) : -1;
}

static bool find_pairs(CudaStencil *s, uint32_t taps)
{
    const TileProgram *p = s->p;

    if (s->is_dw) {
        s->pair[s->n_pairs++] = p->rhs;
        return p->reductions.len == 0;
    }
    for (uint32_t i = 0; i < p->reductions.len; i++) {
        const TileReduction *r = &p->reductions.at[i];
        uint32_t kept = 0;
        if (r->kind != TILE_PAIR_SUM)
            continue;
        for (int d = 0; d < p->tensors.at[r->tensor].layout.shape.rank; d++)
            kept |= bit(r->axis[d]);
        if (kept != (taps | bit(s->channel)) || s->n_pairs == STENCIL_MAX_PAIRS)
            return false;
        s->pair[s->n_pairs++] = r->inst;
    }
    return true;
}

/* Loads of x's code that change from step to step. */
static bool find_loads(CudaStencil *s, int inst)
{
    const TileInst *in = &s->p->insts.at[inst];

    if (in->kind == INST_PRIM)
        for (int k = 0; k < prim_arity(in->prim); k++)
            if (!find_loads(s, in->arg[k]))
                return false;
    if (in->kind != INST_LOAD || !(cuda_needs(s->p, inst) & stencil_input_walk(s)))
        return true;
    for (int i = 0; i < s->n_loads; i++)
        if (s->load[i] == inst)
            return true;
    if (s->n_loads == STENCIL_MAX_LOADS)
        return false;
    s->load[s->n_loads++] = inst;
    return true;
}

static bool find(CudaStencil *s)
{
    const TileProgram *p = s->p;
    uint32_t parallel = cuda_axis_bits(p, TILE_PARALLEL), reduced = cuda_axis_bits(p, TILE_REDUCE);

    s->is_dw = p->anchor == TILE_STENCIL_DW;
    if ((p->anchor != TILE_STENCIL && !s->is_dw) || p->insts.len > MAX_INSTS || !find_directions(s))
        return false;
    uint32_t taps = bit(s->row.tap) | bit(s->column.tap),
             outs = bit(s->row.out) | bit(s->column.out);
    uint32_t positions = s->is_dw ? reduced : parallel;
    s->channel = find_channel(s, parallel, taps);
    uint32_t channel = bit(s->channel);
    if (s->channel < 0 || (channel & (taps | outs)) || s->channel == p->batch_axis ||
        (positions & outs) != outs || (s->is_dw ? (parallel & taps) != taps : reduced != taps) ||
        (p->batch_axis >= 0 && (bit(p->batch_axis) & (outs | taps))) ||
        (cuda_needs(p, p->lhs) & (outs | taps)) ||
        (cuda_needs(p, p->rhs) & ~(s->is_dw ? positions | channel : channel | taps)) ||
        !find_pairs(s, taps) || !find_loads(s, p->lhs))
        return false;
    /* groups: what a block must not leave */
    uint32_t groups = s->is_dw ? (p->session >= 0 ? bit(p->batch_axis) & positions : 0)
                               : cuda_sums_groups(p, s->channel);
    if ((groups & outs) || (!s->is_dw && !cuda_sums_fit(p, s->channel, positions & ~outs)))
        return false;
    s->columns = s->apart ? 1 : s->column.out_size;
    s->outer_elems = 1;
    for (int a = 0; a < (int)p->axes.len; a++) {
        if (!(positions >> a & 1) || ((groups | outs | channel) >> a & 1))
            continue;
        if (s->apart) {
            s->flat[s->n_flat++] = a;
            s->columns *= p->axes.at[a].size;
        } else {
            s->outer[s->n_outer++] = a;
            s->outer_elems *= p->axes.at[a].size;
        }
    }
    return s->columns <= INT32_MAX / 2 && s->outer_elems <= INT32_MAX / 2;
}

/* ---- registers ---- */

uint32_t stencil_input_walk(const CudaStencil *s)
{
    return bit(s->row.in) | bit(s->column.in);
}

uint32_t stencil_output_walk(const CudaStencil *s)
{
    return bit(s->row.out) | bit(s->column.out);
}

int stencil_output_insts(const CudaStencil *s, int *insts)
{
    int n = s->is_dw ? 0 : cuda_result_insts(s->p, insts);

    for (int i = 0; i < s->n_pairs; i++)
        insts[n++] = s->pair[i];
    return n;
}

static int64_t taps_of(const CudaStencil *s)
{
    return s->row.taps * s->column.taps;
}

static int estimate(const CudaStencil *s)
{
    const TileProgram *p = s->p;
    int insts[3 * MAX_INSTS], n = stencil_output_insts(s, insts), per_lane = 2;
    int outputs = s->row.each * s->column.each;

    if (s->weights_in_registers)
        per_lane += (int)taps_of(s);
    per_lane += (int)taps_of(s) * s->n_pairs + outputs * (s->n_pairs + (s->is_dw ? 0 : 1));
    for (uint32_t i = 0; i < p->reductions.len; i++)
        per_lane += p->reductions.at[i].kind == TILE_VARIANCE ? 3
                    : p->reductions.at[i].kind == TILE_SUM    ? 1
                                                              : 0;
    int raw = 0;
    for (int i = 0; i < s->n_loads; i++)
        raw += s->row.step * s->loads_per_thread *
               (int)(((size_t)s->lanes *
                          storage_bytes(p->tensors.at[p->insts.at[s->load[i]].tensor].layout.type) +
                      3) /
                     4);
    int window = s->row.high - s->row.low; /* where rows of the ring begin */
    if (outputs > 4)                       /* places of each */
        raw += 2 * outputs;
    return OTHERS + window + raw + per_lane * s->lanes +
           cuda_hoist_cost(p, &p->lhs, 1, stencil_input_walk(s), s->channel, s->lanes) +
           cuda_hoist_cost(p, insts, n, stencil_output_walk(s), s->channel, s->lanes);
}

/* ---- shape of a block ---- */

/* Columns of the ring that are loaded: the others lie outside of every tile's input. */
static void set_ring(CudaStencil *s)
{
    int window = s->row.high - s->row.low + 1, step = s->row.step;

    s->width = (s->strips - 1) * s->column.step + s->column.high - s->column.low + 1;
    s->first_loaded = 0;
    s->n_loaded = s->width;
    if (!s->apart && s->tiles == 1) {
        int end = (int)s->column.in_size - s->column.low;
        s->first_loaded = s->column.low < 0 ? -s->column.low : 0;
        s->first_loaded = s->first_loaded > s->width ? s->width : s->first_loaded;
        end = end > s->width ? s->width : end;
        s->n_loaded = end > s->first_loaded ? end - s->first_loaded : 0;
    }
    s->loads_per_thread = (s->n_loaded + s->strips - 1) / s->strips;
    s->slots = (window + step + step - 1) / step * step;
    s->ring = (int64_t)s->slots * s->width * s->across * s->lanes;
}

/* Work that this shape does in relation to what is needed, and how badly it loads. */
static double cost_of(const CudaStencil *s, int64_t vectors)
{
    const TileTensor *x = &s->p->tensors.at[s->p->insts.at[s->n_loads ? s->load[0] : 0].tensor];
    size_t bytes = (size_t)(s->across * s->lanes) * storage_bytes(x->layout.type);
    double cost = (double)(s->parts * s->across) / (double)vectors;

    cost *= (double)s->threads / (double)(s->across * s->strips);
    cost *= (double)(s->tiles * s->strips * s->column.each) / (double)s->columns;
    cost *= 0.6 + 0.4 * s->width / (double)(s->strips * s->column.step);
    if (s->parts > 1)
        cost *= bytes < 32 ? 2 : bytes < 64 ? 1.3 : bytes < 128 ? 1.02 : 1;
    return s->threads < 128 ? cost * (1 + (128 - s->threads) / 128.0) : cost;
}

static bool shape_block(CudaStencil *s)
{
    int64_t vectors = s->p->axes.at[s->channel].size / s->lanes;
    int64_t all = (s->columns + s->column.each - 1) / s->column.each;
    CudaStencil best = {0};
    double best_cost = 0;

    for (int across = 1; across <= vectors && across <= 64; across++)
        for (int strips = 1; strips <= all && across * strips <= MAX_THREADS; strips++) {
            s->across = across;
            s->strips = strips;
            s->parts = (int)((vectors + across - 1) / across);
            s->tiles = (all + strips - 1) / strips;
            s->threads = (across * strips + 31) / 32 * 32;
            set_ring(s);
            if (s->ring * 4 > RING_BYTES)
                break;
            double cost = cost_of(s, vectors);
            if (best.across == 0 || cost < best_cost) {
                best = *s;
                best_cost = cost;
            }
        }
    if (best.across == 0)
        return false;
    *s = best;
    return true;
}

/* Outputs of a thread: as many as registers allow; channels before outputs, since they carry the
 * instructions that are spent per access. */
static bool choose(CudaStencil *s)
{
    static const int apart[][2] = {{4, 1}, {2, 1}, {1, 1}}, both[][2] = {{2, 2}, {1, 2}, {1, 1}};
    const int(*each)[2] = s->apart ? apart : both;
    int64_t channels = s->p->axes.at[s->channel].size;
    CudaStencil last = {0};

    for (int lanes = 4; lanes >= 1; lanes /= 2)
        for (int i = 0; i < 3 && channels % lanes == 0; i++) {
            CudaStencil t = *s;
            t.lanes = lanes;
            t.weights_in_registers = !s->is_dw && taps_of(s) * lanes <= WEIGHTS;
            if (!set_each(&t.row, each[i][0]) || !set_each(&t.column, each[i][1]) ||
                !shape_block(&t) || t.row.step * t.loads_per_thread * t.n_loads > STENCIL_MAX_RAW)
                continue;
            last = t;
            if (estimate(&t) <= REGISTERS) {
                *s = t;
                return true;
            }
        }
    *s = last;
    return last.across > 0;
}

static void plan_sums(CudaStencil *s)
{
    const TileProgram *p = s->p;
    int64_t slices = (s->planes + s->planes_per_block - 1) / s->planes_per_block;
    int taps[2] = {s->row.tap, s->column.tap}, n_taps = s->apart ? 1 : 2;

    s->sums = cuda_sums_plan(p, s->channel, slices, s->parts, 0);
    if (s->is_dw && p->session >= 0 && p->batch_axis >= 0 &&
        p->axes.at[p->batch_axis].kind == TILE_REDUCE) {
        s->sums.groups = p->axes.at[p->batch_axis].size;
        s->sums.group_axis[s->sums.n_group_axes++] = p->batch_axis;
        s->sums.cut = true;
    }
    int k = 0;
    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind == TILE_PAIR_SUM)
            s->pair_sum[k++] = cuda_sums_add_taps(&s->sums, (int)i, taps, n_taps, 0);
    if (s->is_dw)
        s->pair_sum[0] = cuda_sums_add_taps(&s->sums, -1, taps, n_taps, 0);
}

bool stencil_plan(CudaStencil *s, const TileProgram *p)
{
    *s = (CudaStencil){.p = p};
    if (!find(s) || taps_of(s) > MAX_TAPS || !choose(s))
        return false;
    s->planes = s->outer_elems * s->tiles;
    s->planes_per_block = 1;
    plan_sums(s);
    if (s->sums.n) { /* fewer slots where there are many blocks */
        int64_t points = (int64_t)s->strips * s->column.each * s->row.out_size;
        int64_t most = s->sums.groups * s->parts * s->planes / BLOCKS;
        int64_t want = (SLOT_POINTS + points - 1) / points;
        s->planes_per_block = want < most ? want : most < 1 ? 1 : most;
        if (s->planes_per_block > s->planes)
            s->planes_per_block = s->planes;
        plan_sums(s);
    }
    CudaPlace at = {.threads = s->threads, .rows = s->strips, .channels = s->across * s->lanes};
    int64_t joint = cuda_sums_shared(&s->sums, &at);
    s->ring = joint > s->ring ? joint : s->ring;
    return s->ring * 4 + (s->is_dw ? 0 : taps_of(s) * at.channels * 4) <= CUDA_MAX_SHARED &&
           s->sums.groups * s->sums.slices * s->parts <= INT32_MAX &&
           s->sums.bytes <= (size_t)1 << 30;
}

static bool accepts(const TileProgram *p)
{
    CudaStencil s;

    return stencil_plan(&s, p);
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaStencil s;
    CudaSchedule r = {.name = cuda_kind_stencil.name, .n_phases = 1};

    stencil_plan(&s, p);
    r.phase[0] = (CudaPhase){s.sums.groups * s.sums.slices * s.parts, s.threads};
    r.workspace_bytes = s.sums.bytes;
    if (s.sums.n)
        r.phase[r.n_phases++] = cuda_sums_phase(&s.sums);
    return r;
}

static void write(CudaText *c, const CudaSchedule *schedule)
{
    CudaStencil s;

    stencil_plan(&s, c->p);
    stencil_write(c, &s, &schedule->phase[0]);
    cuda_sums_combine(c, &s.sums, 1);
}

const CudaKind cuda_kind_stencil = {"stencil", accepts, schedule, write};
