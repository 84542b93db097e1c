/* Attention and its gradients (ir/ops/attention.c has the formulas) in tiles of queries and keys.
 *
 * Forward a block takes a tile of queries of one sequence and walks the keys once: scores of a tile
 * of keys stand in shared memory, the largest score and the sum of every query are kept, and what
 * was gathered so far is scaled when a larger score appears (Milakov and Gimelshein 2018,
 * arXiv:1805.02867). Backward one kernel gathers dq, a block per tile of queries, and another dk
 * and dv, a block per tile of keys; both make the weights again from the logarithm of the sum
 * (cuda_attend_back.c). Nothing the size of scores is ever in device memory, and every sum has one
 * order.
 *
 * Operands of a tile are staged in shared memory as float32 when they fit, rows an odd distance
 * apart; else they are read where they stand. So are labels; a bias is read from where it is stored
 * by the thread that makes the score. Causal tiles of keys that no query of the block sees are left
 * out. Queries that are not asked are left out, too (cuda_asked.c). Tiles of unlike labels are not:
 * ATTEND_UNLIKE makes weights that vanish only beside scores of the ordinary size, which nothing
 * promises. */
#include "codegen/cuda_attend.h"

enum {
    THREADS = CUDA_ATTEND_THREADS,
    LARGEST_TILE = 32,
    SMALLEST_TILE = 8,
    SHARED_FLOATS = 11600,
};

static bool accepts(const TileProgram *p)
{
    return p->anchor == TILE_ATTEND || p->anchor == TILE_ATTEND_BACK;
}

static bool is_back(const AttendTiles *t)
{
    return t->p->anchor == TILE_ATTEND_BACK;
}

static int64_t odd(int64_t n)
{
    return n | 1;
}

static int64_t shared_floats(const AttendTiles *t)
{
    int64_t d = odd(t->d), e = odd(t->e), scores = (int64_t)t->queries * (t->keys + 1);
    int64_t forward = t->queries * d + t->keys * (d + e) + scores + 3 * t->queries;
    int64_t back = t->queries * (d + e) + t->keys * (d + e) + 2 * scores + 2 * t->queries;
    return (is_back(t) ? back : forward) + (t->t->adds ? t->queries + t->keys : 0);
}

static AttendTiles tiles_of(const TileProgram *p)
{
    AttendTiles t = {.p = p,
                     .t = &p->attend,
                     .n = p->axes.at[p->attend.n].size,
                     .m = p->axes.at[p->attend.m].size,
                     .d = p->axes.at[p->attend.d].size,
                     .e = p->axes.at[p->attend.e].size,
                     .queries = LARGEST_TILE,
                     .keys = LARGEST_TILE,
                     .staged = true};
    while (shared_floats(&t) > SHARED_FLOATS && t.queries > SMALLEST_TILE) {
        *(t.keys >= t.queries ? &t.keys : &t.queries) /= 2;
    }
    t.staged = shared_floats(&t) <= SHARED_FLOATS;
    if (is_back(&t))
        cuda_attend_plan_bias(&t);
    return t;
}

static CudaSchedule schedule(const TileProgram *p)
{
    AttendTiles t = tiles_of(p);
    CudaSchedule s = {.name = cuda_kind_attend.name};
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);
    int64_t sequences = cuda_points(p, axes, n, -1, 1);

    if (is_back(&t))
        cuda_attend_schedule_back(&t, &s);
    else
        s.phase[s.n_phases++] = (CudaPhase){sequences * cuda_attend_tiles(t.n, t.queries), THREADS};
    return s;
}

/* ---- operands ---- */

static const char *const NAME[] = {"q", "k", "v", "dy", "log_sum", "centre"};

static int row_axis(const AttendTiles *t, int operand)
{
    return cuda_attend_is_of_queries(operand) ? t->t->n : t->t->m;
}

int cuda_attend_column(const AttendTiles *t, int operand)
{
    return operand == ATTEND_VALUE || operand == ATTEND_DY ? t->t->e : t->t->d;
}

static long long width_of(const AttendTiles *t, int operand)
{
    return (long long)t->p->axes.at[cuda_attend_column(t, operand)].size;
}

/* What was computed at another row. */
static void forget(CudaText *c)
{
    for (uint32_t i = 0; i < c->p->insts.len; i++)
        c->memo[i].name = NULL;
}

const char *cuda_attend_load(CudaText *c, int inst, int row_axis, const char *row, int column_axis,
                             const char *column)
{
    c->axis[row_axis] = row;
    c->axis[column_axis] = column;
    forget(c);
    CudaValue v = cuda_value(c, inst);
    const char *text = cuda_at(c, v, "0");
    forget(c);
    return text;
}

static const char *load(CudaText *c, const AttendTiles *t, int operand, const char *row,
                        const char *column)
{
    return cuda_attend_load(c, t->t->operand[operand], row_axis(t, operand), row,
                            cuda_attend_column(t, operand), column);
}

void cuda_attend_declare(CudaText *c, const AttendTiles *t, int operand)
{
    int rows = cuda_attend_is_of_queries(operand) ? t->queries : t->keys;

    if (t->staged)
        cuda_line(c, "NPC_SHARED float %s[%lld];", NAME[operand],
                  rows * (long long)odd(width_of(t, operand)));
}

void cuda_attend_declare_labels(CudaText *c, const AttendTiles *t)
{
    if (t->t->adds)
        cuda_line(c, "NPC_SHARED float own[%d], theirs[%d];", t->queries, t->keys);
}

void cuda_attend_stage(CudaText *c, const AttendTiles *t, int operand, const char *first)
{
    bool is_asked = cuda_attend_is_of_queries(operand) && t->t->adds;
    int rows = cuda_attend_is_of_queries(operand) ? t->queries : t->keys;
    long long width = width_of(t, operand);
    long long size = (long long)t->p->axes.at[row_axis(t, operand)].size;

    if (!t->staged)
        return;
    if (is_asked) {
        cuda_open(c, "for (int x = thread; x < rows * %lld; x += %d)", width, THREADS);
        cuda_line(c, "const int r = x / %lld, w = x %% %lld, row = place[r];", width, width);
        const char *v = load(c, t, operand, "row", "w");
        cuda_line(c, "%s[r * %lld + w] = %s;", NAME[operand], (long long)odd(width), v);
        cuda_close(c);
        return;
    }
    cuda_open(c, "for (int x = thread; x < %lld; x += %d)", rows * width, THREADS);
    cuda_line(c, "const int r = x / %lld, w = x %% %lld, row = %s + r;", width, width, first);
    cuda_line(c, "const int inside = row < %lld ? row : %lld;", size, size - 1);
    const char *v = load(c, t, operand, "inside", "w");
    cuda_line(c, "%s[r * %lld + w] = row < %lld ? %s : 0.0f;", NAME[operand], (long long)odd(width),
              size, v);
    cuda_close(c);
}

/* The label of each row of the tile; behind the last key its own. */
static void stage_labels(CudaText *c, const AttendTiles *t, int which)
{
    bool own = which == ATTEND_OWN;
    int axis = own ? t->t->n : t->t->m;
    long long last = (long long)t->m - 1;

    if (!t->t->adds)
        return;
    if (own) {
        cuda_open(c, "if (thread < rows)");
        cuda_line(c, "const int row = place[thread];");
    } else {
        cuda_open(c, "if (thread < %d)", t->keys);
        cuda_line(c, "const int row = j0 + thread < %lld ? j0 + thread : %lld;", last, last);
    }
    const char *v =
        cuda_attend_load(c, t->t->operand[tile_additions(t->p) + which], axis, "row", axis, "row");
    cuda_line(c, "%s[thread] = %s;", own ? "own" : "theirs", v);
    cuda_close(c);
}

void cuda_attend_stage_queries(CudaText *c, const AttendTiles *t)
{
    cuda_attend_stage(c, t, ATTEND_QUERY, "i0");
    stage_labels(c, t, ATTEND_OWN);
}

void cuda_attend_stage_keys(CudaText *c, const AttendTiles *t)
{
    cuda_attend_stage(c, t, ATTEND_KEY, "j0");
    cuda_attend_stage(c, t, ATTEND_VALUE, "j0");
    stage_labels(c, t, ATTEND_THEIRS);
}

const char *cuda_attend_element(CudaText *c, const AttendTiles *t, int operand, const char *first,
                                const char *r, const char *w)
{
    long long size = (long long)t->p->axes.at[row_axis(t, operand)].size;

    if (t->staged)
        return arena_printf(c->arena, "%s[%s * %lld + %s]", NAME[operand], r,
                            (long long)odd(width_of(t, operand)), w);
    const char *row = cuda_name(c, "row");
    if (cuda_attend_is_of_queries(operand) && t->t->adds)
        cuda_line(c, "const int %s = place[%s];", row, r);
    else
        cuda_line(c, "const int %s = %s + %s < %lld ? %s + %s : %lld;", row, first, r, size, first,
                  r, size - 1);
    return load(c, t, operand, row, w);
}

/* ---- scores ---- */

void cuda_attend_open_pairs(CudaText *c, const AttendTiles *t)
{
    if (t->t->adds)
        cuda_open(c, "for (int x = thread; x < rows * %d; x += %d)", t->keys, THREADS);
    else
        cuda_open(c, "for (int x = thread; x < %d; x += %d)", t->queries * t->keys, THREADS);
    cuda_line(c, "const int i = x / %d, j = x %% %d;", t->keys, t->keys);
}

/* Large scores leave few bits to the exponential, so no term is rounded on its own. */
void cuda_attend_dot(CudaText *c, const AttendTiles *t, const char *name, int query, int key)
{
    cuda_line(c, "float %s = 0.0f;", name);
    cuda_open(c, "for (int w = 0; w < %lld; w++)", width_of(t, key));
    const char *a = cuda_attend_element(c, t, query, "i0", "i", "w");
    const char *b = cuda_attend_element(c, t, key, "j0", "j", "w");
    cuda_line(c, "%s = fmaf(%s, %s, %s);", name, a, b, name);
    cuda_close(c);
}

const char *cuda_attend_number(CudaText *c, double x)
{
    char text[DOUBLE_TEXT];
    double_text(text, (double)(float)x);
    return arena_printf(c->arena, "%s%sf", text, strpbrk(text, ".e") ? "" : ".0");
}

/* Of the pair at hand; the bias is asked for before the products, which hide the wait. */
static void declare_addition(CudaText *c, const AttendTiles *t)
{
    long long keys = (long long)t->m;

    cuda_line(c, "const int query = place[i];");
    cuda_line(c, "const int key = j0 + j < %lld ? j0 + j : %lld;", keys, keys - 1);
    const char *bias = cuda_attend_load(c, t->t->operand[tile_additions(t->p) + ATTEND_BIAS],
                                        t->t->n, "query", t->t->m, "key");
    cuda_line(c, "const float added = %s + (own[i] == theirs[j] ? 0.0f : %s);", bias,
              cuda_attend_number(c, ATTEND_UNLIKE));
}

const char *cuda_attend_score(CudaText *c, const AttendTiles *t)
{
    const char *scale = cuda_attend_number(c, t->t->scale);

    if (t->t->adds)
        declare_addition(c, t);
    cuda_attend_dot(c, t, "score", ATTEND_QUERY, ATTEND_KEY);
    return arena_printf(c->arena, t->t->adds ? "fmaf(score, %s, added)" : "score * %s", scale);
}

const char *cuda_attend_seen(CudaText *c, const AttendTiles *t)
{
    const char *own = cuda_attend_query(c, t, "i");

    if (t->t->mask == ATTEND_SEES_ALL)
        return arena_printf(c->arena, "j0 + j < %lld", (long long)t->m);
    return arena_printf(c->arena, "j0 + j < %lld && j0 + j %s %s", (long long)t->m,
                        t->t->mask == ATTEND_SEES_EARLIER ? "<=" : "!=", own);
}

void cuda_attend_last_key(CudaText *c, const AttendTiles *t)
{
    if (t->t->mask == ATTEND_SEES_EARLIER)
        cuda_line(c, "const int last = i0 + %d < %lld ? i0 + %d : %lld;", t->queries,
                  (long long)t->m, t->queries, (long long)t->m);
    else
        cuda_line(c, "const int last = %lld;", (long long)t->m);
}

/* ---- kernels ---- */

void cuda_attend_begin(CudaText *c, int phase, const CudaPhase *shape, const char *what,
                       const char *first, int64_t n, int size)
{
    int axes[TILE_MAX_AXES], n_axes = cuda_axes(c->p, TILE_PARALLEL, axes);
    long long each = (long long)cuda_attend_tiles(n, size);

    cuda_kernel_begin(c, phase, shape, what);
    cuda_line(c, "const int thread = threadIdx.x;");
    cuda_line(c, "const int sequence = blockIdx.x / %lld, %s = blockIdx.x %% %lld * %d;", each,
              first, each, size);
    cuda_digits(c, "sequence", axes, n_axes);
    const char *outside = cuda_outside(c);
    if (outside) {
        cuda_line(c, "if (%s)", outside);
        cuda_line(c, "    return;");
    }
}

int64_t cuda_attend_held(int rows, int64_t columns)
{
    return (rows * columns + THREADS - 1) / THREADS;
}

void cuda_attend_open_held(CudaText *c, int rows, const char *filled, int64_t columns,
                           const char *row)
{
    cuda_open(c, "NPC_UNROLL for (int h = 0; h < %lld; h++)",
              (long long)cuda_attend_held(rows, columns));
    cuda_line(c, "const int x = thread + h * %d, %s = x / %lld, w = x %% %lld;", THREADS, row,
              (long long)columns, (long long)columns);
    cuda_open(c, "if (x < %s * %lld)", filled, (long long)columns);
}

void cuda_attend_close_held(CudaText *c)
{
    cuda_close(c);
    cuda_close(c);
}

void cuda_attend_store(CudaText *c, const AttendTiles *t, int result, int row_axis, const char *row,
                       int column_axis, const char *column, const char *value)
{
    const TileResult *r = &t->p->result[result];
    TileIndex index[MAX_RANK] = {0};

    for (int d = 0; d < t->p->tensors.at[r->tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    c->axis[row_axis] = row;
    c->axis[column_axis] = column;
    cuda_store(c, r->tensor, index, (CudaValue){value, false});
}

/* ---- forward ---- */

static void write_softmax(CudaText *c, const AttendTiles *t)
{
    int row = t->keys + 1;

    cuda_open(c, "if (thread < %s)", cuda_attend_rows(c, t));
    cuda_line(c, "const float before = top[thread];");
    cuda_line(c, "float now = before, add = 0.0f;");
    cuda_open(c, "for (int j = 0; j < %d; j++)", t->keys);
    cuda_line(c, "const float score = s[thread * %d + j];", row);
    cuda_line(c, "now = score > now ? score : now;");
    cuda_close(c);
    cuda_line(c, "const float keep = expf(before - now); /* 0 at first: before is -inf */");
    cuda_open(c, "for (int j = 0; j < %d; j++)", t->keys);
    cuda_line(c, "const float weight = expf(s[thread * %d + j] - now);", row);
    cuda_line(c, "s[thread * %d + j] = weight;", row);
    cuda_line(c, "add += weight;");
    cuda_close(c);
    cuda_line(c, "sum[thread] = sum[thread] * keep + add;");
    cuda_line(c, "top[thread] = now;");
    cuda_line(c, "factor[thread] = keep;");
    cuda_close(c);
}

static void begin_forward(CudaText *c, const AttendTiles *t, const CudaPhase *shape)
{
    cuda_attend_begin(c, 0, shape, "a block for each tile of queries", "i0", t->n, t->queries);
    for (int i = ATTEND_QUERY; i <= ATTEND_VALUE; i++)
        cuda_attend_declare(c, t, i);
    cuda_attend_declare_labels(c, t);
    cuda_attend_declare_asked(c, t);
    cuda_line(c, "NPC_SHARED float s[%d], top[%d], sum[%d], factor[%d];",
              t->queries * (t->keys + 1), t->queries, t->queries, t->queries);
    cuda_line(c, "float gathered[%lld] = {0};", (long long)cuda_attend_held(t->queries, t->e));
    cuda_open(c, "if (thread < %d)", t->queries);
    cuda_line(c, "top[thread] = NPC_BITS_FLOAT(0xff800000u);");
    cuda_line(c, "sum[thread] = 0.0f;");
    cuda_close(c);
}

/* Scores of a tile of keys, their weights, and what the values add to what was gathered. */
static void write_keys(CudaText *c, const AttendTiles *t)
{
    int row = t->keys + 1;

    cuda_attend_open_pairs(c, t);
    const char *score = cuda_attend_score(c, t);
    cuda_line(c, "s[i * %d + j] = %s ? %s : NPC_BITS_FLOAT(0xff800000u);", row,
              cuda_attend_seen(c, t), score);
    cuda_close(c);
    cuda_line(c, "NPC_SYNC();");
    write_softmax(c, t);
    cuda_line(c, "NPC_SYNC();");
    cuda_attend_drop(c, t, "s");
    cuda_attend_open_held(c, t->queries, cuda_attend_rows(c, t), t->e, "i");
    cuda_line(c, "float y = gathered[h] * factor[i];");
    cuda_open(c, "for (int j = 0; j < %d; j++)", t->keys);
    const char *v = cuda_attend_element(c, t, ATTEND_VALUE, "j0", "j", "w");
    cuda_line(c, "y += s[i * %d + j] * %s;", row, v);
    cuda_close(c);
    cuda_line(c, "gathered[h] = y;");
    cuda_attend_close_held(c);
    cuda_line(c, "NPC_SYNC();");
}

static void store_forward(CudaText *c, const AttendTiles *t)
{
    int n = t->t->n, e = t->t->e;
    const char *rows = cuda_attend_rows(c, t);

    if (cuda_attend_wants(t, ATTEND_Y)) {
        cuda_attend_open_held(c, t->queries, rows, t->e, "i");
        cuda_line(c, "const int query = %s;", cuda_attend_query(c, t, "i"));
        if (t->t->drop > 0)
            cuda_line(c, "const float y = gathered[h] / sum[i] * %s;",
                      cuda_attend_number(c, 1 / (1 - t->t->drop)));
        else
            cuda_line(c, "const float y = gathered[h] / sum[i];");
        cuda_open(c, "if (query < %lld)", (long long)t->n);
        cuda_attend_store(c, t, ATTEND_Y, n, "query", e, "w", "y");
        cuda_close(c);
        cuda_attend_close_held(c);
    }
    if (cuda_attend_wants(t, ATTEND_L)) {
        cuda_open(c, "if (thread < %s && i0 + thread < %lld)", rows, (long long)t->n);
        cuda_line(c, "const int query = %s;", cuda_attend_query(c, t, "thread"));
        cuda_line(c, "const float log_sum = top[thread] + logf(sum[thread]);");
        cuda_attend_store(c, t, ATTEND_L, n, "query", n, "query", "log_sum");
        cuda_close(c);
    }
}

static void write_forward(CudaText *c, const AttendTiles *t, const CudaPhase *shape)
{
    CudaScope outer = cuda_scope(c);

    begin_forward(c, t, shape);
    cuda_attend_enter_sequence(c, t);
    cuda_attend_find_asked(c, t, true, "return");
    cuda_attend_stage_queries(c, t);
    cuda_attend_last_key(c, t);
    cuda_open(c, "for (int j0 = 0; j0 < last; j0 += %d)", t->keys);
    cuda_attend_stage_keys(c, t);
    cuda_line(c, "NPC_SYNC();");
    write_keys(c, t);
    cuda_close(c);
    store_forward(c, t);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

static void write(CudaText *c, const CudaSchedule *s)
{
    AttendTiles t = tiles_of(c->p);

    if (is_back(&t))
        cuda_attend_write_back(c, &t, s);
    else
        write_forward(c, &t, &s->phase[0]);
}

const CudaKind cuda_kind_attend = {"attend", accepts, schedule, write};
