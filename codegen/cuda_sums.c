/* Partial sums of blocks in the workspace, and the kernel that adds them: see cuda_sums.h. */
#include "codegen/cuda_sums.h"

#include "codegen/cuda_schedules.h"

/* ---- plan ---- */

static uint32_t kept_axes(const TileProgram *p, const TileReduction *r)
{
    uint32_t kept = 0;

    for (int d = 0; d < p->tensors.at[r->tensor].layout.shape.rank; d++)
        kept |= 1u << r->axis[d];
    return kept;
}

static bool cuts_batch(const TileProgram *p)
{
    return p->session >= 0 && p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_PARALLEL;
}

uint32_t cuda_sums_groups(const TileProgram *p, int channel)
{
    uint32_t groups = cuts_batch(p) ? 1u << p->batch_axis : 0;

    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (p->reductions.at[i].kind != TILE_PAIR_SUM)
            groups |= kept_axes(p, &p->reductions.at[i]);
    return channel < 0 ? groups : groups & ~(1u << channel);
}

bool cuda_sums_fit(const TileProgram *p, int channel, uint32_t allowed)
{
    return p->reductions.len <= CUDA_MAX_SUMS && channel != p->batch_axis &&
           !(cuda_sums_groups(p, channel) & ~allowed);
}

/* Variances first, so that sums of the same value find them. */
static void gather_kind(CudaSums *s, TileReduceKind kind)
{
    const TileProgram *p = s->p;

    for (uint32_t i = 0; i < p->reductions.len; i++) {
        const TileReduction *r = &p->reductions.at[i];
        uint32_t kept = kept_axes(p, r), channel = s->channel < 0 ? 0 : 1u << s->channel;
        CudaSum *k = s->sum;
        if (r->kind != kind)
            continue;
        while (k < s->sum + s->n && (k->inst != r->inst || k->kept != (kept & ~channel) ||
                                     k->keeps_channel != !!(kept & channel) || k->n_results == 2))
            k++;
        if (k == s->sum + s->n)
            s->sum[s->n++] = (CudaSum){.inst = r->inst,
                                       .taps = 1,
                                       .moments = kind == TILE_VARIANCE,
                                       .kept = kept & ~channel,
                                       .keeps_channel = !!(kept & channel)};
        k->result[k->n_results++] = (int)i;
    }
}

static void place(CudaSums *s, CudaSum *k, size_t offset)
{
    size_t each = k->moments ? 12 : 4;

    k->records = k->keeps_channel ? k->taps * s->p->axes.at[s->channel].size : s->parts;
    k->offset = offset + s->bytes;
    s->bytes += ((size_t)(s->groups * s->slices * k->records) * each + 15) / 16 * 16;
}

CudaSums cuda_sums_plan(const TileProgram *p, int channel, int64_t slices, int64_t parts,
                        size_t offset)
{
    CudaSums s = {.p = p, .channel = channel, .groups = 1, .slices = slices, .parts = parts};
    uint32_t groups = cuda_sums_groups(p, channel);

    for (int a = 0; a < (int)p->axes.len; a++)
        if (groups >> a & 1) {
            s.group_axis[s.n_group_axes++] = a;
            s.groups *= p->axes.at[a].size;
        }
    s.cut = cuts_batch(p);
    gather_kind(&s, TILE_VARIANCE);
    gather_kind(&s, TILE_SUM);
    for (int i = 0; i < s.n; i++)
        place(&s, &s.sum[i], offset);
    return s;
}

int cuda_sums_add_taps(CudaSums *s, int reduction, const int *axes, int n, size_t offset)
{
    CudaSum *k = &s->sum[s->n];

    *k = (CudaSum){.inst = -1, .keeps_channel = true, .taps = 1, .n_tap_axes = n};
    for (int i = 0; i < n; i++) {
        k->tap_axis[i] = axes[i];
        k->taps *= (int)s->p->axes.at[axes[i]].size;
    }
    if (reduction >= 0)
        k->result[k->n_results++] = reduction;
    place(s, k, offset);
    return s->n++;
}

int64_t cuda_sums_shared(const CudaSums *s, const CudaPlace *at)
{
    int64_t most = 0;

    for (int i = 0; i < s->n; i++) {
        const CudaSum *k = &s->sum[i];
        int64_t n = (k->keeps_channel ? (int64_t)at->rows * at->channels : at->threads) *
                    (k->moments ? 3 : 1);
        most = n > most ? n : most;
    }
    return most;
}

/* ---- gathering ---- */

CudaPlace cuda_place_rows(CudaText *c, int threads, int across)
{
    CudaPlace at = {.threads = threads,
                    .rows = threads / across,
                    .channels = across * c->lanes,
                    .vectors = 1,
                    .row = "row",
                    .channel = arena_printf(c->arena, "column * %d + l", c->lanes),
                    .part = "0",
                    .first_channel = "0"};

    cuda_line(c, "const int column = (int)threadIdx.x %% %d, row = (int)threadIdx.x / %d;", across,
              across);
    if (at.rows * across != threads)
        at.is_active = arena_printf(c->arena, "row < %d", at.rows);
    return at;
}

/* Are values exact enough for their sums to be? */
static bool is_single(const TileProgram *p)
{
    for (uint32_t i = 0; i < p->tensors.len; i++)
        if (p->tensors.at[i].layout.type != STORAGE_F32)
            return false;
    return true;
}

void cuda_sums_begin(CudaText *c, CudaSums *s, const CudaPlace *at)
{
    int n = at->vectors * c->lanes;
    bool moments = false;

    for (int i = 0; i < s->n; i++) {
        CudaSum *k = &s->sum[i];
        k->sum = cuda_name(c, "sum");
        cuda_line(c, "float %s[%d] = {0};", k->sum, n * k->taps);
        if (!k->moments && !k->n_tap_axes && is_single(s->p)) {
            k->low = arena_printf(c->arena, "%s_low", k->sum);
            cuda_line(c, "float %s[%d] = {0};", k->low, n);
        }
        if (!k->moments)
            continue;
        moments = true;
        k->shift = arena_printf(c->arena, "%s_shift", k->sum);
        k->sq = arena_printf(c->arena, "%s_squares", k->sum);
        cuda_line(c, "float %s[%d] = {0}, %s[%d] = {0};", k->shift, n, k->sq, n);
    }
    s->count = cuda_name(c, "count");
    if (moments)
        cuda_line(c, "int %s[%d] = {0};", s->count, at->vectors);
}

static void add_moments(CudaText *c, const CudaSums *s, const CudaSum *k, const char *vector,
                        const char *at, const char *x, bool first)
{
    const char *lanes = arena_printf(c->arena, "NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);

    if (first) {
        cuda_line(c, "if (%s[%s] == 0)", s->count, vector);
        cuda_line(c, "    %s", lanes);
        cuda_line(c, "        %s[%s] = %s;", k->shift, at, x);
    }
    cuda_open(c, "%s", lanes);
    cuda_line(c, "const float d = %s - %s[%s];", x, k->shift, at);
    cuda_line(c, "%s[%s] += d;", k->sum, at);
    cuda_line(c, "%s[%s] += d * d;", k->sq, at);
    cuda_close(c);
}

void cuda_sums_add(CudaText *c, CudaSums *s, const char *vector, bool first)
{
    const char *at =
        strcmp(vector, "0") ? arena_printf(c->arena, "(%s) * %d + l", vector, c->lanes) : "l";
    bool moments = false;

    for (int i = 0; i < s->n; i++) {
        const CudaSum *k = &s->sum[i];
        if (k->n_tap_axes)
            continue;
        const char *x = cuda_at(c, cuda_value(c, k->inst), "l");
        moments |= k->moments;
        if (k->moments) {
            add_moments(c, s, k, vector, at, x, first);
            continue;
        }
        cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);
        if (k->low)
            cuda_line(c, "    npc_two_sum(&%s[%s], &%s[%s], %s);", k->sum, at, k->low, at, x);
        else
            cuda_line(c, "    %s[%s] += %s;", k->sum, at, x);
    }
    if (moments)
        cuda_line(c, "%s[%s]++;", s->count, vector);
}

/* Loops over the thread's vectors and lanes; `i` is the place in its accumulators. */
static void open_own(CudaText *c, const CudaPlace *at)
{
    cuda_open(c, "NPC_UNROLL for (int u = 0; u < %d; u++)", at->vectors);
    cuda_open(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);
    cuda_line(c, "const int i = u * %d + l;", c->lanes);
}

static void close_own(CudaText *c)
{
    cuda_close(c);
    cuda_close(c);
}

/* What accumulator i of a sum holds. */
static const char *own_sum(CudaText *c, const CudaSum *k)
{
    return k->low ? arena_printf(c->arena, "(%s[i] + %s[i])", k->sum, k->low)
                  : arena_printf(c->arena, "%s[i]", k->sum);
}

/* What accumulator i holds, as NpcMoments `name`. */
static void own_moments(CudaText *c, const CudaSums *s, const CudaSum *k, const char *name)
{
    cuda_line(c, "const float n = (float)%s[u], mean = n > 0.0f ? %s[i] / n : 0.0f;", s->count,
              k->sum);
    cuda_line(c, "const NpcMoments %s = {n, %s[i] + mean, %s[i] - mean * %s[i]};", name, k->shift,
              k->sq, k->sum);
}

/* "joint[i]" as moments, in planes of `plane` numbers. */
static const char *shared_moments(CudaText *c, const char *i, int64_t plane)
{
    return arena_printf(c->arena, "{joint[%s], joint[%s + %lld], joint[%s + %lld]}", i, i,
                        (long long)plane, i, (long long)(2 * plane));
}

static void put_moments(CudaText *c, const char *to, const char *i, int64_t plane, const char *from)
{
    cuda_line(c, "%s[%s] = %s.n;", to, i, from);
    cuda_line(c, "%s[%s + %lld] = %s.mean;", to, i, (long long)plane, from);
    cuda_line(c, "%s[%s + %lld] = %s.squares;", to, i, (long long)(2 * plane), from);
}

static void open_slots(CudaText *c, const CudaSum *k)
{
    cuda_line(c, "float *slots = (float *)(workspace + %zu);", k->offset);
}

/* Adds up the rows of channel i, from joint[at + i] on; into `all`. */
static void add_rows(CudaText *c, const CudaSum *k, const CudaPlace *at, const char *base)
{
    int64_t plane = (int64_t)at->rows * at->channels;

    if (k->moments)
        cuda_line(c, "NpcMoments all = %s;", shared_moments(c, "i", plane));
    else
        cuda_line(c, "%s all = joint[%si];", k->low ? "double" : "float", base);
    cuda_open(c, "for (int other = 1; other < %d; other++)", at->rows);
    if (k->moments) {
        cuda_line(c, "const int from = other * %d + i;", at->channels);
        cuda_line(c, "const NpcMoments more = %s;", shared_moments(c, "from", plane));
        cuda_line(c, "all = npc_moments_join(all, more);");
    } else {
        cuda_line(c, "all += joint[%sother * %d + i];", base, at->channels);
    }
    cuda_close(c);
}

/* Channels are kept: threads of the same channels leave theirs in shared memory, then a thread
 * for each channel joins the rows. */
static void join_rows(CudaText *c, const CudaSums *s, const CudaSum *k, const CudaPlace *at)
{
    int64_t plane = (int64_t)at->rows * at->channels, records = s->groups * s->slices * k->records;
    const char *wide = records > INT32_MAX / 3 ? "(long long)" : "";

    if (at->is_active)
        cuda_open(c, "if (%s)", at->is_active);
    open_own(c, at);
    cuda_line(c, "const int to = (%s) * %d + %s;", at->row, at->channels, at->channel);
    if (k->moments) {
        own_moments(c, s, k, "own");
        put_moments(c, "joint", "to", plane, "own");
    } else {
        cuda_line(c, "joint[to] = %s;", own_sum(c, k));
    }
    close_own(c);
    if (at->is_active)
        cuda_close(c);
    cuda_line(c, "NPC_SYNC();");
    cuda_open_each(c, "i", at->channels, "(int)threadIdx.x", at->threads);
    cuda_open(c, "if (%s + i < %lld)", at->first_channel, (long long)k->records);
    add_rows(c, k, at, "");
    cuda_line(c, "const %s to = %s(%s) * %lld + %s + i;", *wide ? "long long" : "int", wide,
              at->slot, (long long)k->records, at->first_channel);
    if (k->moments)
        put_moments(c, "slots", "to", records, "all");
    else
        cuda_line(c, "slots[to] = (float)all;");
    cuda_close(c);
    cuda_close(c);
}

/* The same of taps, as many at once as there is shared memory for; one vector to a thread. */
static void join_taps(CudaText *c, const CudaSums *s, const CudaSum *k, const CudaPlace *at)
{
    long long plane = (long long)at->rows * at->channels, room = at->shared_floats / plane;
    long long channels = (long long)s->p->axes.at[s->channel].size;
    const char *wide = s->groups * s->slices * k->records > INT32_MAX ? "(long long)" : "";

    room = room < 1 ? 1 : room;
    for (int tap = 0; tap < k->taps; tap += (int)room) {
        int n = k->taps - tap < room ? k->taps - tap : (int)room;
        if (tap)
            cuda_line(c, "NPC_SYNC();");
        if (at->is_active)
            cuda_open(c, "if (%s)", at->is_active);
        cuda_open(c, "NPC_UNROLL for (int tap = 0; tap < %d; tap++)", n);
        cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);
        cuda_line(c, "    joint[tap * %lld + (%s) * %d + %s] = %s[(tap + %d) * %d + l];", plane,
                  at->row, at->channels, at->channel, k->sum, tap, c->lanes);
        cuda_close(c);
        if (at->is_active)
            cuda_close(c);
        cuda_line(c, "NPC_SYNC();");
        cuda_open_each(c, "to", n * at->channels, "(int)threadIdx.x", at->threads);
        cuda_line(c, "const int tap = to / %d, i = to %% %d;", at->channels, at->channels);
        add_rows(c, k, at, arena_printf(c->arena, "tap * %lld + ", plane));
        cuda_line(c, "if (%s + i < %lld)", at->first_channel, channels);
        cuda_line(c, "    slots[%s(%s) * %lld + (tap + %d) * %lld + %s + i] = all;", wide, at->slot,
                  (long long)k->records, tap, channels, at->first_channel);
        cuda_close(c);
    }
}

/* Channels are summed as well: each thread its own, then a tree over the block. */
static void join_block(CudaText *c, const CudaSums *s, const CudaSum *k, const CudaPlace *at)
{
    int half = 1;

    while (2 * half < at->threads)
        half *= 2;
    cuda_line(c, k->moments ? "NpcMoments all = {0.0f, 0.0f, 0.0f};" : "float all = 0.0f;");
    open_own(c, at);
    if (k->moments) {
        own_moments(c, s, k, "own");
        cuda_line(c, "all = npc_moments_join(all, own);");
    } else {
        cuda_line(c, "all += %s;", own_sum(c, k));
    }
    close_own(c);
    if (k->moments)
        put_moments(c, "joint", "threadIdx.x", at->threads, "all");
    else
        cuda_line(c, "joint[threadIdx.x] = all;");
    cuda_line(c, "NPC_SYNC();");
    cuda_open(c, "NPC_NO_UNROLL for (int step = %d; step > 0; step /= 2)", half);
    cuda_open(c, "if ((int)threadIdx.x < step && (int)threadIdx.x + step < %d)", at->threads);
    if (k->moments) {
        cuda_line(c, "const int i = threadIdx.x, from = i + step;");
        cuda_line(c, "const NpcMoments a = %s;", shared_moments(c, "i", at->threads));
        cuda_line(c, "const NpcMoments b = %s;", shared_moments(c, "from", at->threads));
        cuda_line(c, "const NpcMoments both = npc_moments_join(a, b);");
        put_moments(c, "joint", "i", at->threads, "both");
    } else {
        cuda_line(c, "joint[threadIdx.x] += joint[threadIdx.x + step];");
    }
    cuda_close(c);
    cuda_line(c, "NPC_SYNC();");
    cuda_close(c);
    cuda_open(c, "if (threadIdx.x == 0)");
    cuda_line(c, "const int to = (%s) * %lld + %s;", at->slot, (long long)k->records, at->part);
    if (k->moments) {
        cuda_line(c, "const NpcMoments both = %s;", shared_moments(c, "0", at->threads));
        put_moments(c, "slots", "to", s->groups * s->slices * k->records, "both");
    } else {
        cuda_line(c, "slots[to] = joint[0];");
    }
    cuda_close(c);
}

void cuda_sums_end(CudaText *c, CudaSums *s, const CudaPlace *at)
{
    if (!s->n)
        return;
    cuda_open(c, "/* the block's sums */");
    if (at->shared)
        cuda_line(c, "float *joint = %s;", at->shared);
    else
        cuda_line(c, "NPC_SHARED float joint[%lld];", (long long)cuda_sums_shared(s, at));
    for (int i = 0; i < s->n; i++) {
        const CudaSum *k = &s->sum[i];
        if (i || at->shared)
            cuda_line(c, "NPC_SYNC();");
        cuda_open(c, k->n_tap_axes ? "/* of taps */" : "/* of v%d */", k->inst);
        open_slots(c, k);
        if (k->n_tap_axes)
            join_taps(c, s, k, at);
        else if (k->keeps_channel)
            join_rows(c, s, k, at);
        else
            join_block(c, s, k, at);
        cuda_close(c);
    }
    cuda_close(c);
}

/* ---- combining ---- */

static int64_t result_elems(const CudaSums *s, const CudaSum *k)
{
    int64_t elems = k->keeps_channel ? k->records : 1;

    for (int a = 0; a < (int)s->p->axes.len; a++)
        if (k->kept >> a & 1)
            elems *= s->p->axes.at[a].size;
    return elems;
}

/* Threads that share an element: some slots for each, so that few of them wait. At least eight
 * elements lie side by side in a block, whole sectors of 32 bytes. */
static int depth_of(const CudaSums *s, const CudaSum *k)
{
    int64_t slots = s->groups * s->slices * (k->keeps_channel ? 1 : s->parts);
    int depth = 1;

    if (result_elems(s, k) == 1)
        return CUDA_COMBINE_THREADS;
    for (int i = 0; i < s->n_group_axes; i++)
        if (k->kept >> s->group_axis[i] & 1)
            slots /= s->p->axes.at[s->group_axis[i]].size;
    while (depth < CUDA_COMBINE_THREADS / 8 && 4 * depth < slots)
        depth *= 2;
    return depth;
}

static int width_of(const CudaSums *s, const CudaSum *k)
{
    return CUDA_COMBINE_THREADS / depth_of(s, k);
}

static int64_t blocks_of(const CudaSums *s, const CudaSum *k)
{
    return (result_elems(s, k) + width_of(s, k) - 1) / width_of(s, k);
}

CudaPhase cuda_sums_phase(const CudaSums *s)
{
    CudaPhase phase = {0, CUDA_COMBINE_THREADS};

    for (int i = 0; i < s->n; i++)
        phase.blocks += blocks_of(s, &s->sum[i]);
    return phase;
}

/* Group axes that an element sums over, the batch outermost, since a range may cut it. */
static int summed_axes(const CudaSums *s, const CudaSum *k, int axes[TILE_MAX_AXES])
{
    int n = 0, batch = s->p->batch_axis;

    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < s->n_group_axes; i++) {
            int a = s->group_axis[i];
            if (!(k->kept >> a & 1) && (a == batch) == (pass == 0))
                axes[n++] = a;
        }
    return n;
}

/* Axes of the elements, so that neighbours lie side by side in the slots. */
static int element_axes(const CudaSums *s, const CudaSum *k, int axes[TILE_MAX_AXES])
{
    int n = 0;

    for (int a = 0; a < (int)s->p->axes.len; a++)
        if (k->kept >> a & 1)
            axes[n++] = a;
    for (int i = 0; i < k->n_tap_axes; i++)
        axes[n++] = k->tap_axis[i];
    if (k->keeps_channel)
        axes[n++] = s->channel;
    return n;
}

static const char *slot_of(CudaText *c, const CudaSums *s)
{
    const char *slot = "0";

    for (int i = 0; i < s->n_group_axes; i++) {
        int a = s->group_axis[i];
        slot = i ? arena_printf(c->arena, "(%s) * %lld + %s", slot,
                                (long long)s->p->axes.at[a].size, c->axis[a])
                 : c->axis[a];
    }
    return slot;
}

/* In the slot, of the element at hand; parts are digits of j. */
static const char *record_of(CudaText *c, const CudaSums *s, const CudaSum *k)
{
    const char *record = "0";

    if (!k->keeps_channel)
        return arena_printf(c->arena, "j %% %lld", (long long)s->parts);
    for (int i = 0; i < k->n_tap_axes; i++)
        record =
            arena_printf(c->arena, "(%s) * %lld + %s", record,
                         (long long)s->p->axes.at[k->tap_axis[i]].size, c->axis[k->tap_axis[i]]);
    if (!k->n_tap_axes)
        return c->axis[s->channel];
    return arena_printf(c->arena, "(%s) * %lld + %s", record,
                        (long long)s->p->axes.at[s->channel].size, c->axis[s->channel]);
}

/* Over all slots of the element, a thread every depth-th. */
static void add_slots(CudaText *c, const CudaSums *s, const CudaSum *k, int depth)
{
    const TileProgram *p = s->p;
    int axes[TILE_MAX_AXES], n = summed_axes(s, k, axes);
    int64_t inner = s->slices * (k->keeps_channel ? 1 : s->parts);
    int64_t records = s->groups * s->slices * k->records, each = inner;
    bool cut = n && axes[0] == p->batch_axis && s->cut;
    const char *wide = records > INT32_MAX / 3 ? "(long long)" : "";

    for (int i = cut ? 1 : 0; i < n; i++)
        each *= p->axes.at[axes[i]].size;
    cuda_line(c, "const int n_slots = inside ? %lld%s : 0;", (long long)each,
              cut ? " * (b1 - b0)" : "");
    CudaScope outer = cuda_scope(c);
    cuda_open(c, "for (int j = threadIdx.x / %d; j < n_slots; j += %d)", width_of(s, k), depth);
    if (n) {
        const char *flat = arena_printf(c->arena, "j / %lld", (long long)inner);
        if (cut)
            flat = arena_printf(c->arena, "j / %lld + b0 * %lld", (long long)inner,
                                (long long)(each / inner));
        cuda_digits(c, flat, axes, n);
    }
    cuda_line(c, "const int slice = j %% %lld / %lld;", (long long)inner,
              (long long)(inner / s->slices));
    const char *record = record_of(c, s, k);
    cuda_line(c, "const float *at = slots + (%s(%s) * %lld + slice) * %lld + %s;", wide,
              slot_of(c, s), (long long)s->slices, (long long)k->records, record);
    if (k->moments) {
        cuda_line(c, "const NpcMoments more = {at[0], at[%lld], at[%lld]};", (long long)records,
                  (long long)(2 * records));
        cuda_line(c, "all = npc_moments_join(all, more);");
    } else {
        cuda_line(c, "all += at[0];");
    }
    cuda_close(c);
    cuda_scope_end(c, outer);
}

static void join_slots(CudaText *c, const CudaSum *k, int width, int depth)
{
    if (k->moments)
        put_moments(c, "joint", "threadIdx.x", CUDA_COMBINE_THREADS, "all");
    else
        cuda_line(c, "joint[threadIdx.x] = all;");
    cuda_line(c, "NPC_SYNC();");
    cuda_open(c, "NPC_NO_UNROLL for (int step = %d; step > 0; step /= 2)", depth / 2);
    cuda_open(c, "if ((int)threadIdx.x < step * %d)", width);
    cuda_line(c, "const int i = threadIdx.x, from = i + step * %d;", width);
    if (k->moments) {
        cuda_line(c, "const NpcMoments a = %s;", shared_moments(c, "i", CUDA_COMBINE_THREADS));
        cuda_line(c, "const NpcMoments b = %s;", shared_moments(c, "from", CUDA_COMBINE_THREADS));
        cuda_line(c, "all = npc_moments_join(a, b);");
        put_moments(c, "joint", "i", CUDA_COMBINE_THREADS, "all");
    } else {
        cuda_line(c, "joint[i] += joint[from];");
    }
    cuda_close(c);
    cuda_line(c, "NPC_SYNC();");
    cuda_close(c);
}

static void store_results(CudaText *c, const CudaSums *s, const CudaSum *k, int width)
{
    cuda_open(c, "if (inside && (int)threadIdx.x < %d)", width);
    if (!k->moments)
        cuda_line(c, "all = joint[threadIdx.x];");
    if (!k->n_results) {
        cuda_line(c, "const float acc = (float)all;");
        c->acc = (CudaValue){"acc", false};
        cuda_plain_stores(c);
    }
    for (int i = 0; i < k->n_results; i++) {
        const TileReduction *r = &s->p->reductions.at[k->result[i]];
        const TileLayout *l = &s->p->tensors.at[r->tensor].layout;
        TileIndex at[MAX_RANK] = {0};
        char factor[DOUBLE_TEXT];
        double_text(factor, r->factor);
        for (int d = 0; d < l->shape.rank; d++)
            at[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
        const char *value = !k->moments ? "all"
                            : r->kind == TILE_SUM
                                ? "((double)all.n * all.mean)"
                                : "(all.n > 0.0f ? (double)all.squares / all.n : 0.0)";
        cuda_line(c, "npc_store1_%s(%s, (float)(%s * %s));", storage_text(l->type),
                  cuda_address(c, r->tensor, at, NULL, NULL), factor, value);
    }
    cuda_close(c);
}

static void combine_one(CudaText *c, const CudaSums *s, const CudaSum *k, int64_t first_block)
{
    const TileProgram *p = s->p;
    int axes[TILE_MAX_AXES], n = element_axes(s, k, axes);
    int width = width_of(s, k), depth = depth_of(s, k);
    int64_t elems = result_elems(s, k);
    CudaScope outer = cuda_scope(c);

    cuda_open(c, "if ((int)blockIdx.x >= %lld && (int)blockIdx.x < %lld)", (long long)first_block,
              (long long)(first_block + blocks_of(s, k)));
    open_slots(c, k);
    cuda_line(c, "const int element = ((int)blockIdx.x - %lld) * %d + (int)threadIdx.x %% %d;",
              (long long)first_block, width, width);
    cuda_digits(c, "element", axes, n);
    Text inside = {.arena = c->arena};
    text_printf(&inside, "element < %lld", (long long)elems);
    if (s->cut && k->kept >> p->batch_axis & 1)
        text_printf(&inside, " && %s >= b0 && %s < b1", c->axis[p->batch_axis],
                    c->axis[p->batch_axis]);
    cuda_line(c, "const int inside = %s;", text_str(&inside));
    cuda_line(c, k->moments ? "float *joint = moments;" : "double *joint = sums;");
    cuda_line(c, k->moments ? "NpcMoments all = {0.0f, 0.0f, 0.0f};" : "double all = 0;");
    add_slots(c, s, k, depth);
    join_slots(c, k, width, depth);
    store_results(c, s, k, width);
    cuda_close(c);
    cuda_scope_end(c, outer);
}

void cuda_sums_combine(CudaText *c, const CudaSums *s, int phase)
{
    CudaPhase shape = cuda_sums_phase(s);
    int64_t first = 0;
    bool any[2] = {false, false};

    if (!s->n)
        return;
    for (int i = 0; i < s->n; i++)
        any[s->sum[i].moments] = true;
    cuda_kernel_begin(c, phase, &shape, "adds the blocks' sums");
    if (any[true])
        cuda_line(c, "NPC_SHARED float moments[%d];", 3 * CUDA_COMBINE_THREADS);
    if (any[false])
        cuda_line(c, "NPC_SHARED double sums[%d];", CUDA_COMBINE_THREADS);
    CudaScope outer = cuda_scope(c);
    c->vector = -1;
    c->lanes = 1;
    for (int i = 0; i < s->n; i++) {
        combine_one(c, s, &s->sum[i], first);
        first += blocks_of(s, &s->sum[i]);
    }
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}
