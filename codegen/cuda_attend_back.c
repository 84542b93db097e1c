/* The gradients of attention: see cuda_attend.c.
 *
 * The gradient of a bias is the sum of the scores' gradients over the sequences that share it. A
 * block of the kernel that gathers dq then takes its tile of queries of a share of these sequences,
 * one after the other, and adds into its rows of a slot of the workspace, [query][key] float32;
 * threads meet between two of them, so nothing is locked. A last kernel adds the slots, in their
 * order and in float64. There are as many slots as make BLOCKS_WANTED blocks: 10 of 392 x 392 for
 * each of four heads, 25 MB that stay in the second-level cache of large devices, where a step of
 * dynamic_v1fm would else write 2.4 GB of gradients of scores. */
#include "codegen/cuda_attend.h"

enum { THREADS = CUDA_ATTEND_THREADS, BLOCKS_WANTED = 512 };

/* ---- plan ---- */

static bool bias_has(const TileProgram *p, int axis)
{
    const TileResult *r = &p->result[ATTEND_DBIAS];

    for (int k = 0; k < p->tensors.at[r->tensor].layout.shape.rank; k++)
        if (r->axis[k] == axis)
            return true;
    return false;
}

void cuda_attend_plan_bias(AttendTiles *t)
{
    const TileProgram *p = t->p;
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);

    t->has_bias = cuda_attend_wants(t, ATTEND_DBIAS);
    if (!t->has_bias)
        return;
    for (int i = 0; i < n; i++)
        if (bias_has(p, axes[i]))
            t->own_axis[t->n_own++] = axes[i];
        else
            t->shared_axis[t->n_shared++] = axes[i];
    t->biases = cuda_points(p, t->own_axis, t->n_own, -1, 1);
    t->sharing = cuda_points(p, t->shared_axis, t->n_shared, -1, 1);
    int64_t blocks = t->biases * cuda_attend_tiles(t->n, t->queries);
    int64_t wanted = (BLOCKS_WANTED + blocks - 1) / blocks;
    t->slots = wanted < t->sharing ? wanted : t->sharing;
}

static bool has_query_phase(const AttendTiles *t)
{
    return cuda_attend_wants(t, ATTEND_DQ) || t->has_bias;
}

static bool has_key_phase(const AttendTiles *t)
{
    return cuda_attend_wants(t, ATTEND_DK) || cuda_attend_wants(t, ATTEND_DV);
}

void cuda_attend_schedule_back(const AttendTiles *t, CudaSchedule *s)
{
    int axes[TILE_MAX_AXES], n = cuda_axes(t->p, TILE_PARALLEL, axes);
    int64_t sequences = cuda_points(t->p, axes, n, -1, 1);
    int64_t query_tiles = cuda_attend_tiles(t->n, t->queries);
    int64_t pairs = t->biases * t->n * t->m;

    if (has_query_phase(t))
        s->phase[s->n_phases++] =
            (CudaPhase){query_tiles * (t->has_bias ? t->biases * t->slots : sequences), THREADS};
    if (has_key_phase(t))
        s->phase[s->n_phases++] =
            (CudaPhase){sequences * cuda_attend_tiles(t->m, t->keys), THREADS};
    if (!t->has_bias)
        return;
    s->phase[s->n_phases++] = (CudaPhase){(pairs + THREADS - 1) / THREADS, THREADS};
    s->workspace_bytes = (size_t)(t->slots * pairs) * sizeof(float);
}

/* ---- a tile ---- */

static void declare(CudaText *c, const AttendTiles *t, bool weights)
{
    for (int i = ATTEND_QUERY; i <= ATTEND_DY; i++)
        cuda_attend_declare(c, t, i);
    cuda_attend_declare_labels(c, t);
    cuda_attend_declare_asked(c, t);
    cuda_line(c, "NPC_SHARED float ds[%d], log_sum[%d], centre[%d];", t->queries * (t->keys + 1),
              t->queries, t->queries);
    if (weights)
        cuda_line(c, "NPC_SHARED float s[%d];", t->queries * (t->keys + 1));
}

static void stage_queries(CudaText *c, const AttendTiles *t)
{
    const TileAttend *a = t->t;
    long long last = (long long)t->n - 1;

    cuda_attend_stage_queries(c, t);
    cuda_attend_stage(c, t, ATTEND_DY, "i0");
    cuda_open(c, "if (thread < %s)", cuda_attend_rows(c, t));
    if (a->adds)
        cuda_line(c, "const int query = place[thread];");
    else
        cuda_line(c, "const int query = i0 + thread < %lld ? i0 + thread : %lld;", last, last);
    const char *l = cuda_attend_load(c, a->operand[ATTEND_LOG_SUM], a->n, "query", a->n, "query");
    const char *centre =
        cuda_attend_load(c, a->operand[ATTEND_CENTRE], a->n, "query", a->n, "query");
    cuda_line(c, "log_sum[thread] = %s;", l);
    cuda_line(c, "centre[thread] = %s;", centre);
    cuda_close(c);
}

/* Weights and gradients of scores of a tile; the latter are added to the bias' slot, too. Where
 * weights are dropped, what they are multiplied with stands in ds before. */
static void write_weights(CudaText *c, const AttendTiles *t, bool weights, bool to_bias)
{
    int row = t->keys + 1;
    bool drops = t->t->drop > 0;

    cuda_attend_open_pairs(c, t);
    const char *score = cuda_attend_score(c, t);
    cuda_attend_dot(c, t, "change", ATTEND_DY, ATTEND_VALUE);
    const char *asks =
        t->t->adds ? "" : arena_printf(c->arena, "i0 + i < %lld && ", (long long)t->n);
    cuda_line(c, "const float weight = %s%s ? expf(%s - log_sum[i]) : 0.0f;", asks,
              cuda_attend_seen(c, t), score);
    if (drops)
        cuda_line(c, "const float gain = ds[i * %d + j];", row);
    if (weights)
        cuda_line(c, drops ? "s[i * %d + j] = weight * gain;" : "s[i * %d + j] = weight;", row);
    cuda_line(c, drops ? "const float gradient = weight * (change * gain - centre[i]);"
                       : "const float gradient = weight * (change - centre[i]);");
    cuda_line(c, "ds[i * %d + j] = gradient * %s;", row, cuda_attend_number(c, t->t->scale));
    if (to_bias) {
        cuda_line(c, "if (j0 + j < %lld)", (long long)t->m);
        cuda_line(c, "    slot[(query - i0) * %lld + j0 + j] += gradient;", (long long)t->m);
    }
    cuda_close(c);
}

/* ---- queries ---- */

/* Keys are walked, dq is gathered and stored; `leave`: how, when no query is asked. */
static void write_sequence(CudaText *c, const AttendTiles *t, const char *leave)
{
    bool dq = cuda_attend_wants(t, ATTEND_DQ);
    const char *rows = cuda_attend_rows(c, t);

    cuda_attend_find_asked(c, t, true, leave);
    if (dq)
        cuda_line(c, "float gathered[%lld] = {0};", (long long)cuda_attend_held(t->queries, t->d));
    cuda_attend_enter_sequence(c, t);
    stage_queries(c, t);
    cuda_open(c, "for (int j0 = 0; j0 < last; j0 += %d)", t->keys);
    cuda_attend_stage_keys(c, t);
    cuda_attend_gains(c, t, "ds");
    cuda_line(c, "NPC_SYNC();");
    write_weights(c, t, false, t->has_bias);
    cuda_line(c, "NPC_SYNC();");
    if (dq) {
        cuda_attend_open_held(c, t->queries, rows, t->d, "i");
        cuda_line(c, "float dq = gathered[h];");
        cuda_open(c, "for (int j = 0; j < %d; j++)", t->keys);
        const char *k = cuda_attend_element(c, t, ATTEND_KEY, "j0", "j", "w");
        cuda_line(c, "dq += ds[i * %d + j] * %s;", t->keys + 1, k);
        cuda_close(c);
        cuda_line(c, "gathered[h] = dq;");
        cuda_attend_close_held(c);
        cuda_line(c, "NPC_SYNC();");
    }
    cuda_close(c);
    if (!dq)
        return;
    cuda_attend_open_held(c, t->queries, rows, t->d, "i");
    cuda_line(c, "const int query = %s;", cuda_attend_query(c, t, "i"));
    cuda_line(c, "const float dq = gathered[h];");
    cuda_open(c, "if (query < %lld)", (long long)t->n);
    cuda_attend_store(c, t, ATTEND_DQ, t->t->n, "query", t->t->d, "w", "dq");
    cuda_close(c);
    cuda_attend_close_held(c);
}

static void write_query_gradient(CudaText *c, const AttendTiles *t, int phase,
                                 const CudaPhase *shape)
{
    CudaScope outer = cuda_scope(c);

    cuda_attend_begin(c, phase, shape, "queries: a block for each tile of them", "i0", t->n,
                      t->queries);
    declare(c, t, false);
    cuda_attend_last_key(c, t);
    write_sequence(c, t, "return");
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

/* Is the sample at hand one of the recording's? Else `leave` says what to do. */
static void skip_outside(CudaText *c, const char *leave)
{
    const char *outside = cuda_outside(c);

    if (!outside)
        return;
    cuda_line(c, "if (%s)", outside);
    cuda_line(c, "    %s;", leave);
}

/* The block's rows of its slot, all 0; threads meet before they add. */
static void clear_slot(CudaText *c, const AttendTiles *t)
{
    long long n = (long long)t->n, m = (long long)t->m;

    cuda_line(c,
              "float *slot = (float *)workspace + (((long long)bias * %lld + share) * %lld + "
              "i0) * %lld;",
              (long long)t->slots, n, m);
    cuda_line(c, "const int elements = (%lld - i0 < %d ? %lld - i0 : %d) * %lld;", n, t->queries, n,
              t->queries, m);
    cuda_line(c, "for (int x = thread; x < elements; x += %d)", THREADS);
    cuda_line(c, "    slot[x] = 0.0f;");
}

static void write_query_and_bias(CudaText *c, const AttendTiles *t, int phase,
                                 const CudaPhase *shape)
{
    long long tiles = (long long)cuda_attend_tiles(t->n, t->queries), slots = (long long)t->slots;
    CudaScope outer = cuda_scope(c);

    cuda_kernel_begin(c, phase, shape, "queries and bias: a tile of a share of the sequences");
    cuda_line(c, "const int thread = threadIdx.x, i0 = blockIdx.x %% %lld * %d;", tiles,
              t->queries);
    cuda_line(c, "const int share = blockIdx.x / %lld %% %lld, bias = blockIdx.x / %lld;", tiles,
              slots, tiles * slots);
    cuda_digits(c, "bias", t->own_axis, t->n_own);
    skip_outside(c, "return");
    declare(c, t, false);
    clear_slot(c, t);
    cuda_attend_last_key(c, t);
    cuda_line(c, "const int end = (int)((share + 1ll) * %lld / %lld);", (long long)t->sharing,
              slots);
    cuda_open(c, "for (int at = (int)((long long)share * %lld / %lld); at < end; at++)",
              (long long)t->sharing, slots);
    cuda_digits(c, "at", t->shared_axis, t->n_shared);
    skip_outside(c, "continue");
    write_sequence(c, t, "continue");
    cuda_close(c);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

/* ---- keys and values ---- */

/* dk from gradients of scores and queries, dv from weights and dy. */
static void gather_keys(CudaText *c, const AttendTiles *t, int result, const char *factor,
                        int operand)
{
    int64_t width = t->p->axes.at[cuda_attend_column(t, operand)].size;
    const char *name = result == ATTEND_DK ? "dk" : "dv";
    const char *keys = arena_printf(c->arena, "%d", t->keys);

    if (!cuda_attend_wants(t, result))
        return;
    cuda_attend_open_held(c, t->keys, keys, width, "j");
    cuda_line(c, "float sum = %s[h];", name);
    cuda_open(c, "for (int i = 0; i < %s; i++)", cuda_attend_rows(c, t));
    const char *x = cuda_attend_element(c, t, operand, "i0", "i", "w");
    cuda_line(c, "sum += %s[i * %d + j] * %s;", factor, t->keys + 1, x);
    cuda_close(c);
    cuda_line(c, "%s[h] = sum;", name);
    cuda_attend_close_held(c);
}

static void store_keys(CudaText *c, const AttendTiles *t, int result, int column)
{
    const char *name = result == ATTEND_DK ? "dk" : "dv";

    if (!cuda_attend_wants(t, result))
        return;
    const char *keys = arena_printf(c->arena, "%d", t->keys);
    cuda_attend_open_held(c, t->keys, keys, t->p->axes.at[column].size, "j");
    cuda_line(c, "const int key = j0 + j;");
    cuda_line(c, "const float sum = %s[h];", name);
    cuda_open(c, "if (key < %lld)", (long long)t->m);
    cuda_attend_store(c, t, result, t->t->m, "key", column, "w", "sum");
    cuda_close(c);
    cuda_attend_close_held(c);
}

static void write_key_gradients(CudaText *c, const AttendTiles *t, int phase,
                                const CudaPhase *shape)
{
    bool dv = cuda_attend_wants(t, ATTEND_DV);
    CudaScope outer = cuda_scope(c);

    cuda_attend_begin(c, phase, shape, "keys and values: a block for each tile of them", "j0", t->m,
                      t->keys);
    declare(c, t, dv);
    if (cuda_attend_wants(t, ATTEND_DK))
        cuda_line(c, "float dk[%lld] = {0};", (long long)cuda_attend_held(t->keys, t->d));
    if (dv)
        cuda_line(c, "float dv[%lld] = {0};", (long long)cuda_attend_held(t->keys, t->e));
    cuda_attend_enter_sequence(c, t);
    cuda_attend_stage_keys(c, t);
    cuda_line(c, "const int first = %s;",
              t->t->mask == ATTEND_SEES_EARLIER
                  ? arena_printf(c->arena, "j0 / %d * %d", t->queries, t->queries)
                  : "0");
    cuda_open(c, "for (int i0 = first; i0 < %lld; i0 += %d)", (long long)t->n, t->queries);
    cuda_attend_find_asked(c, t, false, "continue");
    stage_queries(c, t);
    cuda_attend_gains(c, t, "ds");
    cuda_line(c, "NPC_SYNC();");
    write_weights(c, t, dv, false);
    cuda_line(c, "NPC_SYNC();");
    gather_keys(c, t, ATTEND_DK, "ds", ATTEND_QUERY);
    gather_keys(c, t, ATTEND_DV, "s", ATTEND_DY);
    cuda_line(c, "NPC_SYNC();");
    cuda_close(c);
    store_keys(c, t, ATTEND_DK, t->t->d);
    store_keys(c, t, ATTEND_DV, t->t->e);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

/* ---- the bias ---- */

static void write_bias(CudaText *c, const AttendTiles *t, int phase, const CudaPhase *shape)
{
    long long pairs = (long long)(t->n * t->m);
    int axes[TILE_MAX_AXES];
    CudaScope outer = cuda_scope(c);

    memcpy(axes, t->own_axis, sizeof axes);
    axes[t->n_own] = t->t->n;
    axes[t->n_own + 1] = t->t->m;
    cuda_kernel_begin(c, phase, shape, "the bias: adds the slots of its elements");
    cuda_line(c, "const int element = blockIdx.x * %d + threadIdx.x;", THREADS);
    cuda_line(c, "if (element >= %lld)", (long long)t->biases * pairs);
    cuda_line(c, "    return;");
    cuda_digits(c, "element", axes, t->n_own + 2);
    skip_outside(c, "return");
    cuda_line(c,
              "const float *slot = (const float *)workspace + (long long)(element / %lld) * "
              "%lld + element %% %lld;",
              pairs, (long long)t->slots * pairs, pairs);
    cuda_line(c, "double sum = 0;");
    cuda_line(c, "for (int share = 0; share < %lld; share++)", (long long)t->slots);
    cuda_line(c, "    sum += slot[share * %lldll];", pairs);
    cuda_line(c, "const float gradient = (float)sum;");
    cuda_attend_store(c, t, ATTEND_DBIAS, t->t->n, c->axis[t->t->n], t->t->m, c->axis[t->t->m],
                      "gradient");
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

void cuda_attend_write_back(CudaText *c, const AttendTiles *t, const CudaSchedule *s)
{
    int phase = 0;

    if (t->has_bias)
        write_query_and_bias(c, t, phase, &s->phase[phase]);
    else if (has_query_phase(t))
        write_query_gradient(c, t, phase, &s->phase[phase]);
    phase += has_query_phase(t);
    if (has_key_phase(t)) {
        write_key_gradients(c, t, phase, &s->phase[phase]);
        phase++;
    }
    if (t->has_bias)
        write_bias(c, t, phase, &s->phase[phase]);
}
