/* Element-wise programs with sums, in one pass over the data: every value is loaded once, stored
 * and summed where it is.
 *
 * If some result keeps the channel axis (statistics, bias gradients), a block covers a range of
 * channels: thread (row, column) owns `lanes` channels, keeps what depends on channels alone in
 * registers (the norm's factors) and walks every rows-th pixel of its slice. Else (losses, sums
 * over channels) the threads walk the vectors of a slice side by side.
 *
 * Slices: about BLOCKS blocks in all, eight to each of 132 multiprocessors, so that each sees many
 * pixels and few slots are written. Bytes: every tensor once, and 4 or 12 per block, channel and
 * sum, twice. Phase 1 adds the blocks' sums (cuda_sums.h). */
#include "codegen/cuda_schedules.h"
#include "codegen/cuda_space.h"
#include "codegen/cuda_sums.h"

enum {
    THREADS = 256,
    BLOCKS = 1056,
    MIN_ROUNDS = 4,
    HOIST = 48,     /* registers for what depends on channels alone */
    REGISTERS = 80, /* of a thread, about: three blocks to a multiprocessor hide the loads */
    MAX_RESULTS = 64,
    MAX_WORKSPACE = 1 << 30
};

typedef struct MapPlan {
    int channel, lanes;
    bool by_channel; /* a thread stays with its channels */
    CudaBlock block;
    int n_rest, rest[TILE_MAX_AXES]; /* axes that are walked */
    int64_t points, per_slice;       /* of a group */
    CudaSums sums;
} MapPlan;

/* Registers of a thread with that many channels, about. */
static int estimate(const TileProgram *p, int channel, uint32_t walked, int lanes)
{
    int insts[MAX_RESULTS], n = cuda_result_insts(p, insts), per_lane = 1;

    for (uint32_t i = 0; i < p->reductions.len; i++)
        per_lane += p->reductions.at[i].kind == TILE_VARIANCE ? 3 : 1;
    for (uint32_t i = 0; i < p->insts.len; i++)
        per_lane += p->insts.at[i].kind == INST_LOAD && cuda_needs(p, (int)i) & walked;
    return 24 + cuda_hoist_cost(p, insts, n, walked, channel, lanes) + per_lane * lanes;
}

static int pick_lanes(const TileProgram *p, int channel, bool by_channel, uint32_t walked)
{
    int lanes = cuda_lanes(p, channel);

    if (lanes == 8 && by_channel && estimate(p, channel, walked, lanes) > REGISTERS)
        lanes = 4;
    return lanes;
}

static bool keeps(const TileProgram *p, int axis)
{
    for (uint32_t i = 0; i < p->reductions.len; i++) {
        const TileReduction *r = &p->reductions.at[i];
        for (int d = 0; d < p->tensors.at[r->tensor].layout.shape.rank; d++)
            if (r->axis[d] == axis)
                return true;
    }
    return false;
}

static bool plan(MapPlan *m, const TileProgram *p)
{
    *m = (MapPlan){.channel = cuda_channel_axis(p)};
    if (p->anchor != TILE_MAP || !p->reductions.len || m->channel < 0 ||
        p->stores.len + p->reductions.len > MAX_RESULTS || !cuda_sums_fit(p, m->channel, ~0u))
        return false;
    uint32_t groups = cuda_sums_groups(p, m->channel);
    m->by_channel = keeps(p, m->channel);
    for (int a = 0; a < (int)p->axes.len; a++)
        if (!(groups >> a & 1) && a != m->channel)
            m->rest[m->n_rest++] = a;
    uint32_t walked = 0;
    for (int i = 0; i < m->n_rest; i++)
        walked |= 1u << m->rest[i];
    m->lanes = pick_lanes(p, m->channel, m->by_channel, walked);
    int64_t vectors = p->axes.at[m->channel].size / m->lanes;
    if (!m->by_channel)
        m->rest[m->n_rest++] = m->channel;
    m->points = cuda_points(p, m->rest, m->n_rest, m->channel, m->lanes);
    m->block =
        m->by_channel ? cuda_block_shape(vectors, THREADS) : (CudaBlock){THREADS, 1, THREADS, 1};
    m->sums = cuda_sums_plan(p, m->channel, 1, m->block.parts, 0);
    int64_t blocks = m->sums.groups * m->block.parts;
    int64_t rounds = (m->points + m->block.rows - 1) / m->block.rows;
    int64_t slices = BLOCKS / blocks, most = (rounds + MIN_ROUNDS - 1) / MIN_ROUNDS;
    slices = slices > most ? most : slices < 1 ? 1 : slices;
    m->per_slice = (rounds + slices - 1) / slices * m->block.rows;
    slices = (m->points + m->per_slice - 1) / m->per_slice;
    m->sums = cuda_sums_plan(p, m->channel, slices, m->block.parts, 0);
    return m->points <= INT32_MAX / 2 && blocks * slices <= INT32_MAX &&
           m->sums.bytes <= MAX_WORKSPACE;
}

static bool accepts(const TileProgram *p)
{
    MapPlan m;

    return plan(&m, p);
}

static CudaSchedule schedule(const TileProgram *p)
{
    MapPlan m;
    CudaSchedule s = {.name = cuda_kind_map.name, .n_phases = 2};

    plan(&m, p);
    s.phase[0] = (CudaPhase){m.sums.groups * m.sums.slices * m.block.parts, m.block.threads};
    s.phase[1] = cuda_sums_phase(&m.sums);
    s.workspace_bytes = m.sums.bytes;
    return s;
}

/* Indices of the block: part, slice and the group's axes. */
static void enter_block(CudaText *c, const MapPlan *m, CudaPlace *at)
{
    long long parts = m->block.parts, slices = m->sums.slices;

    cuda_line(c, "const int part = (int)blockIdx.x %% %lld;", parts);
    cuda_line(c, "const int slot = (int)blockIdx.x / %lld;", parts);
    cuda_digits(c, arena_printf(c->arena, "slot / %lld", slices), m->sums.group_axis,
                m->sums.n_group_axes);
    const char *outside = cuda_outside(c);
    if (outside) {
        cuda_line(c, "if (%s)", outside);
        cuda_line(c, "    return;");
    }
    cuda_line(c, "const int first = slot %% %lld * %lld;", slices, (long long)m->per_slice);
    cuda_line(c, "const int end = first + %lld < %lld ? first + %lld : %lld;",
              (long long)m->per_slice, (long long)m->points, (long long)m->per_slice,
              (long long)m->points);
    at->slot = "slot";
    at->part = "part";
}

static CudaPlace enter_threads(CudaText *c, const MapPlan *m)
{
    if (m->by_channel)
        return cuda_place_rows(c, m->block.threads, m->block.across);
    cuda_line(c, "const int row = (int)threadIdx.x;");
    return (CudaPlace){.threads = m->block.threads,
                       .rows = m->block.threads,
                       .channels = m->lanes,
                       .vectors = 1,
                       .row = "row",
                       .channel = "l",
                       .first_channel = "0"};
}

static void open_columns(CudaText *c, const MapPlan *m, CudaPlace *at)
{
    const char *name = cuda_axis_name(c, m->channel);
    int64_t size = c->p->axes.at[m->channel].size;
    Text inside = {.arena = c->arena};

    cuda_line(c, "const int first_channel = part * %d;", at->channels);
    cuda_line(c, "const int %s = first_channel + column * %d;", name, m->lanes);
    at->first_channel = "first_channel";
    c->axis[m->channel] = name;
    if (at->is_active)
        text_add(&inside, at->is_active);
    if ((int64_t)at->channels * m->block.parts > size)
        text_printf(&inside, "%s%s < %lld", inside.len ? " && " : "", name, (long long)size);
    cuda_open(c, "if (%s)", inside.len ? text_str(&inside) : "1");
    int *insts = ARENA_ARRAY(c->arena, int, c->p->stores.len + c->p->reductions.len);
    int n = cuda_result_insts(c->p, insts);
    uint32_t walked = 0;
    for (int i = 0; i < m->n_rest; i++)
        walked |= 1u << m->rest[i];
    cuda_hoist(c, insts, n, walked, HOIST);
}

static void write(CudaText *c, const CudaSchedule *s)
{
    MapPlan m;

    plan(&m, c->p);
    c->min_blocks = 3 * THREADS / m.block.threads;
    cuda_kernel_begin(c, 0, &s->phase[0],
                      m.by_channel ? "threads own channels and walk pixels"
                                   : "threads walk vectors side by side");
    CudaScope outer = cuda_scope(c);
    c->vector = m.lanes > 1 ? m.channel : -1;
    c->lanes = m.lanes;
    CudaPlace at = enter_threads(c, &m);
    enter_block(c, &m, &at);
    cuda_sums_begin(c, &m.sums, &at);
    CudaScope before = cuda_scope(c);
    if (m.by_channel)
        open_columns(c, &m, &at);
    cuda_open(c, "for (int point = first + row; point < end; point += %d)", m.block.rows);
    cuda_digits(c, "point", m.rest, m.n_rest);
    cuda_sums_add(c, &m.sums, "0", true);
    cuda_plain_stores(c);
    cuda_close(c);
    if (m.by_channel)
        cuda_close(c);
    cuda_scope_end(c, before);
    cuda_sums_end(c, &m.sums, &at);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
    cuda_sums_combine(c, &m.sums, 1);
}

const CudaKind cuda_kind_map = {"map", accepts, schedule, write};
