/* Attention and its gradients (ir/ops/attention.c has the formulas) in tiles of queries and keys.
 *
 * Forward a block takes a tile of queries of one sequence and walks the keys once: scores of a tile
 * of keys stand in shared memory, the largest score and the sum of every query are kept, and what
 * was gathered so far is scaled when a larger score appears (Milakov and Gimelshein 2018,
 * arXiv:1805.02867). Backward one kernel gathers dq, a block per tile of queries, and another dk
 * and dv, a block per tile of keys; both make the weights again from the logarithm of the sum.
 * Nothing the size of scores is ever in device memory, and every sum has one order.
 *
 * Operands of a tile are staged in shared memory as float32 when they fit, rows an odd distance
 * apart; else they are read where they stand. Causal tiles of keys that no query of the block sees
 * are left out. */
#include "codegen/cuda_schedules.h"

enum { THREADS = 256, LARGEST_TILE = 32, SMALLEST_TILE = 8, SHARED_FLOATS = 11600 };

typedef struct Tiles {
    const TileProgram *p;
    const TileAttend *t;
    int64_t n, m, d, e;
    int queries, keys; /* of a tile */
    bool staged;
} Tiles;

static bool accepts(const TileProgram *p)
{
    return p->anchor == TILE_ATTEND || p->anchor == TILE_ATTEND_BACK;
}

static bool is_back(const Tiles *t)
{
    return t->p->anchor == TILE_ATTEND_BACK;
}

static int64_t odd(int64_t n)
{
    return n | 1;
}

static int64_t shared_floats(const Tiles *t)
{
    int64_t d = odd(t->d), e = odd(t->e), scores = (int64_t)t->queries * (t->keys + 1);
    int64_t forward = t->queries * d + t->keys * (d + e) + scores + 3 * t->queries;
    int64_t back = t->queries * (d + e) + t->keys * (d + e) + 2 * scores + 2 * t->queries;
    return is_back(t) ? back : forward;
}

static Tiles tiles_of(const TileProgram *p)
{
    Tiles t = {.p = p,
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
    return t;
}

static int64_t sequences(const TileProgram *p)
{
    int axes[TILE_MAX_AXES], n = cuda_axes(p, TILE_PARALLEL, axes);
    return cuda_points(p, axes, n, -1, 1);
}

static int64_t tiles(int64_t n, int size)
{
    return (n + size - 1) / size;
}

static bool is_wanted(const TileProgram *p, int result)
{
    return p->result[result].tensor >= 0;
}

static CudaSchedule schedule(const TileProgram *p)
{
    Tiles t = tiles_of(p);
    CudaSchedule s = {.name = cuda_kind_attend.name};
    int64_t by_query = sequences(p) * tiles(t.n, t.queries);

    if (!is_back(&t) || is_wanted(p, ATTEND_DQ))
        s.phase[s.n_phases++] = (CudaPhase){by_query, THREADS};
    if (is_back(&t) && (is_wanted(p, ATTEND_DK) || is_wanted(p, ATTEND_DV)))
        s.phase[s.n_phases++] = (CudaPhase){sequences(p) * tiles(t.m, t.keys), THREADS};
    return s;
}

/* ---- pieces ---- */

static const char *const NAME[TILE_MAX_OPERANDS] = {"q", "k", "v", "dy", "log_sum", "centre"};

static bool of_queries(int operand)
{
    return operand != ATTEND_KEY && operand != ATTEND_VALUE;
}

static int row_axis(const Tiles *t, int operand)
{
    return of_queries(operand) ? t->t->n : t->t->m;
}

static int column_axis(const Tiles *t, int operand)
{
    return operand == ATTEND_VALUE || operand == ATTEND_DY ? t->t->e : t->t->d;
}

/* The operand at a row and a column of its axes, loaded here. */
static const char *load(CudaText *c, const Tiles *t, int operand, const char *row,
                        const char *column)
{
    c->axis[row_axis(t, operand)] = row;
    c->axis[column_axis(t, operand)] = column;
    c->memo[t->t->operand[operand]].name = NULL;
    CudaValue v = cuda_value(c, t->t->operand[operand]);
    c->memo[t->t->operand[operand]].name = NULL;
    return cuda_at(c, v, "0");
}

static void declare(CudaText *c, const Tiles *t, int operand)
{
    int rows = of_queries(operand) ? t->queries : t->keys;
    long long width = (long long)odd(t->p->axes.at[column_axis(t, operand)].size);

    if (t->staged)
        cuda_line(c, "NPC_SHARED float %s[%lld];", NAME[operand], rows * width);
}

/* Rows first .. of an operand to shared memory, zeros behind the last. */
static void stage(CudaText *c, const Tiles *t, int operand, const char *first)
{
    int rows = of_queries(operand) ? t->queries : t->keys;
    long long width = (long long)t->p->axes.at[column_axis(t, operand)].size;
    long long size = (long long)t->p->axes.at[row_axis(t, operand)].size;

    if (!t->staged)
        return;
    cuda_open(c, "for (int x = thread; x < %lld; x += %d)", rows * width, THREADS);
    cuda_line(c, "const int r = x / %lld, w = x %% %lld, row = %s + r;", width, width, first);
    cuda_line(c, "const int inside = row < %lld ? row : %lld;", size, size - 1);
    const char *v = load(c, t, operand, "inside", "w");
    cuda_line(c, "%s[r * %lld + w] = row < %lld ? %s : 0.0f;", NAME[operand], (long long)odd(width),
              size, v);
    cuda_close(c);
}

/* An operand's element in the tile: row r (a name) of it, column w; `first` is the tile's. */
static const char *element(CudaText *c, const Tiles *t, int operand, const char *first,
                           const char *r, const char *w)
{
    long long width = (long long)odd(t->p->axes.at[column_axis(t, operand)].size);
    long long size = (long long)t->p->axes.at[row_axis(t, operand)].size;

    if (t->staged)
        return arena_printf(c->arena, "%s[%s * %lld + %s]", NAME[operand], r, width, w);
    const char *row = cuda_name(c, "row");
    cuda_line(c, "const int %s = %s + %s < %lld ? %s + %s : %lld;", row, first, r, size, first, r,
              size - 1);
    return load(c, t, operand, row, w);
}

/* float `name` = the product of two rows. Large scores leave few bits to the exponential, so no
 * term is rounded on its own. */
static void write_dot(CudaText *c, const Tiles *t, const char *name, int query, int key)
{
    cuda_line(c, "float %s = 0.0f;", name);
    cuda_open(c, "for (int w = 0; w < %lld; w++)",
              (long long)t->p->axes.at[column_axis(t, key)].size);
    const char *a = element(c, t, query, "i0", "i", "w");
    const char *b = element(c, t, key, "j0", "j", "w");
    cuda_line(c, "%s = fmaf(%s, %s, %s);", name, a, b, name);
    cuda_close(c);
}

/* Enters a block: its sequence, and the first query or key of its tile. */
static void begin(CudaText *c, const Tiles *t, int phase, const CudaPhase *shape, const char *what,
                  const char *first, int64_t n, int size)
{
    int axes[TILE_MAX_AXES], n_axes = cuda_axes(c->p, TILE_PARALLEL, axes);
    long long each = (long long)tiles(n, size);

    (void)t;
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

/* Which pairs count: keys that exist and that the query sees. */
static const char *seen(CudaText *c, const Tiles *t)
{
    return arena_printf(c->arena, "j0 + j < %lld%s", (long long)t->m,
                        t->t->mask == ATTEND_SEES_EARLIER  ? " && j0 + j <= i0 + i"
                        : t->t->mask == ATTEND_SEES_OTHERS ? " && j0 + j != i0 + i"
                                                           : "");
}

static const char *number(CudaText *c, double x)
{
    char text[DOUBLE_TEXT];
    double_text(text, (double)(float)x);
    return arena_printf(c->arena, "%s%sf", text, strpbrk(text, ".e") ? "" : ".0");
}

/* Gathered results of a thread: elements thread, thread + THREADS, .. of rows x columns. */
static int64_t held(int rows, int64_t columns)
{
    return (rows * columns + THREADS - 1) / THREADS;
}

static void open_held(CudaText *c, int rows, int64_t columns, const char *row)
{
    cuda_open(c, "NPC_UNROLL for (int h = 0; h < %lld; h++)", (long long)held(rows, columns));
    cuda_line(c, "const int x = thread + h * %d, %s = x / %lld, w = x %% %lld;", THREADS, row,
              (long long)columns, (long long)columns);
    cuda_open(c, "if (x < %lld)", (long long)(rows * columns));
}

static void close_held(CudaText *c)
{
    cuda_close(c);
    cuda_close(c);
}

static void store(CudaText *c, const Tiles *t, int result, int row, int column, const char *at,
                  const char *value)
{
    const TileResult *r = &t->p->result[result];
    TileIndex index[MAX_RANK] = {0};

    for (int d = 0; d < t->p->tensors.at[r->tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    c->axis[row] = at;
    if (column >= 0)
        c->axis[column] = "w";
    cuda_store(c, r->tensor, index, (CudaValue){value, false});
}

/* ---- forward ---- */

static void write_softmax(CudaText *c, const Tiles *t)
{
    int row = t->keys + 1;

    cuda_open(c, "if (thread < %d)", t->queries);
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

static void write_forward(CudaText *c, const Tiles *t, const CudaPhase *shape)
{
    const TileProgram *p = t->p;
    int row = t->keys + 1;
    CudaScope outer = cuda_scope(c);

    begin(c, t, 0, shape, "a block for each tile of queries", "i0", t->n, t->queries);
    declare(c, t, ATTEND_QUERY);
    declare(c, t, ATTEND_KEY);
    declare(c, t, ATTEND_VALUE);
    cuda_line(c, "NPC_SHARED float s[%d], top[%d], sum[%d], factor[%d];", t->queries * row,
              t->queries, t->queries, t->queries);
    cuda_line(c, "float gathered[%lld] = {0};", (long long)held(t->queries, t->e));
    cuda_open(c, "if (thread < %d)", t->queries);
    cuda_line(c, "top[thread] = NPC_BITS_FLOAT(0xff800000u);");
    cuda_line(c, "sum[thread] = 0.0f;");
    cuda_close(c);
    stage(c, t, ATTEND_QUERY, "i0");
    if (t->t->mask == ATTEND_SEES_EARLIER)
        cuda_line(c, "const int last = i0 + %d < %lld ? i0 + %d : %lld;", t->queries,
                  (long long)t->m, t->queries, (long long)t->m);
    else
        cuda_line(c, "const int last = %lld;", (long long)t->m);
    cuda_open(c, "for (int j0 = 0; j0 < last; j0 += %d)", t->keys);
    stage(c, t, ATTEND_KEY, "j0");
    stage(c, t, ATTEND_VALUE, "j0");
    cuda_line(c, "NPC_SYNC();");
    cuda_open(c, "for (int x = thread; x < %d; x += %d)", t->queries * t->keys, THREADS);
    cuda_line(c, "const int i = x / %d, j = x %% %d;", t->keys, t->keys);
    write_dot(c, t, "score", ATTEND_QUERY, ATTEND_KEY);
    cuda_line(c, "s[i * %d + j] = %s ? score * %s : NPC_BITS_FLOAT(0xff800000u);", row, seen(c, t),
              number(c, t->t->scale));
    cuda_close(c);
    cuda_line(c, "NPC_SYNC();");
    write_softmax(c, t);
    cuda_line(c, "NPC_SYNC();");
    open_held(c, t->queries, t->e, "i");
    cuda_line(c, "float y = gathered[h] * factor[i];");
    cuda_open(c, "for (int j = 0; j < %d; j++)", t->keys);
    const char *v = element(c, t, ATTEND_VALUE, "j0", "j", "w");
    cuda_line(c, "y += s[i * %d + j] * %s;", row, v);
    cuda_close(c);
    cuda_line(c, "gathered[h] = y;");
    close_held(c);
    cuda_line(c, "NPC_SYNC();");
    cuda_close(c);
    if (is_wanted(p, ATTEND_Y)) {
        open_held(c, t->queries, t->e, "i");
        cuda_line(c, "const int query = i0 + i;");
        cuda_line(c, "const float y = gathered[h] / sum[i];");
        cuda_open(c, "if (query < %lld)", (long long)t->n);
        store(c, t, ATTEND_Y, t->t->n, t->t->e, "query", "y");
        cuda_close(c);
        close_held(c);
    }
    if (is_wanted(p, ATTEND_L)) {
        cuda_line(c, "const int query = i0 + thread;");
        cuda_open(c, "if (thread < %d && query < %lld)", t->queries, (long long)t->n);
        cuda_line(c, "const float log_sum = top[thread] + logf(sum[thread]);");
        store(c, t, ATTEND_L, t->t->n, -1, "query", "log_sum");
        cuda_close(c);
    }
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

/* ---- backward ---- */

static void declare_back(CudaText *c, const Tiles *t, bool weights)
{
    for (int i = ATTEND_QUERY; i <= ATTEND_DY; i++)
        declare(c, t, i);
    cuda_line(c, "NPC_SHARED float ds[%d], log_sum[%d], centre[%d];", t->queries * (t->keys + 1),
              t->queries, t->queries);
    if (weights)
        cuda_line(c, "NPC_SHARED float s[%d];", t->queries * (t->keys + 1));
}

static void stage_queries(CudaText *c, const Tiles *t)
{
    long long last = (long long)t->n - 1;

    stage(c, t, ATTEND_QUERY, "i0");
    stage(c, t, ATTEND_DY, "i0");
    cuda_open(c, "if (thread < %d)", t->queries);
    cuda_line(c, "const int query = i0 + thread < %lld ? i0 + thread : %lld;", last, last);
    const char *l = load(c, t, ATTEND_LOG_SUM, "query", "0");
    const char *centre = load(c, t, ATTEND_CENTRE, "query", "0");
    cuda_line(c, "log_sum[thread] = %s;", l);
    cuda_line(c, "centre[thread] = %s;", centre);
    cuda_close(c);
}

/* Weights and gradients of scores of a tile. */
static void write_weights(CudaText *c, const Tiles *t, bool weights)
{
    int row = t->keys + 1;

    cuda_open(c, "for (int x = thread; x < %d; x += %d)", t->queries * t->keys, THREADS);
    cuda_line(c, "const int i = x / %d, j = x %% %d;", t->keys, t->keys);
    write_dot(c, t, "score", ATTEND_QUERY, ATTEND_KEY);
    write_dot(c, t, "change", ATTEND_DY, ATTEND_VALUE);
    cuda_line(c, "const float weight = i0 + i < %lld && %s ? expf(score * %s - log_sum[i]) : 0.0f;",
              (long long)t->n, seen(c, t), number(c, t->t->scale));
    if (weights)
        cuda_line(c, "s[i * %d + j] = weight;", row);
    cuda_line(c, "ds[i * %d + j] = weight * %s * (change - centre[i]);", row,
              number(c, t->t->scale));
    cuda_close(c);
}

static void write_query_gradient(CudaText *c, const Tiles *t, int phase, const CudaPhase *shape)
{
    CudaScope outer = cuda_scope(c);

    begin(c, t, phase, shape, "queries: a block for each tile of them", "i0", t->n, t->queries);
    declare_back(c, t, false);
    cuda_line(c, "float gathered[%lld] = {0};", (long long)held(t->queries, t->d));
    stage_queries(c, t);
    if (t->t->mask == ATTEND_SEES_EARLIER)
        cuda_line(c, "const int last = i0 + %d < %lld ? i0 + %d : %lld;", t->queries,
                  (long long)t->m, t->queries, (long long)t->m);
    else
        cuda_line(c, "const int last = %lld;", (long long)t->m);
    cuda_open(c, "for (int j0 = 0; j0 < last; j0 += %d)", t->keys);
    stage(c, t, ATTEND_KEY, "j0");
    stage(c, t, ATTEND_VALUE, "j0");
    cuda_line(c, "NPC_SYNC();");
    write_weights(c, t, false);
    cuda_line(c, "NPC_SYNC();");
    open_held(c, t->queries, t->d, "i");
    cuda_line(c, "float dq = gathered[h];");
    cuda_open(c, "for (int j = 0; j < %d; j++)", t->keys);
    const char *k = element(c, t, ATTEND_KEY, "j0", "j", "w");
    cuda_line(c, "dq += ds[i * %d + j] * %s;", t->keys + 1, k);
    cuda_close(c);
    cuda_line(c, "gathered[h] = dq;");
    close_held(c);
    cuda_line(c, "NPC_SYNC();");
    cuda_close(c);
    open_held(c, t->queries, t->d, "i");
    cuda_line(c, "const int query = i0 + i;");
    cuda_line(c, "const float dq = gathered[h];");
    cuda_open(c, "if (query < %lld)", (long long)t->n);
    store(c, t, ATTEND_DQ, t->t->n, t->t->d, "query", "dq");
    cuda_close(c);
    close_held(c);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}

/* dk from gradients of scores and queries, dv from weights and dy. */
static void gather_keys(CudaText *c, const Tiles *t, int result, const char *factor, int operand)
{
    int64_t width = t->p->axes.at[column_axis(t, operand)].size;
    const char *name = result == ATTEND_DK ? "dk" : "dv";

    if (!is_wanted(t->p, result))
        return;
    open_held(c, t->keys, width, "j");
    cuda_line(c, "float sum = %s[h];", name);
    cuda_open(c, "for (int i = 0; i < %d; i++)", t->queries);
    const char *x = element(c, t, operand, "i0", "i", "w");
    cuda_line(c, "sum += %s[i * %d + j] * %s;", factor, t->keys + 1, x);
    cuda_close(c);
    cuda_line(c, "%s[h] = sum;", name);
    close_held(c);
}

static void store_keys(CudaText *c, const Tiles *t, int result, int column)
{
    const char *name = result == ATTEND_DK ? "dk" : "dv";

    if (!is_wanted(t->p, result))
        return;
    open_held(c, t->keys, t->p->axes.at[column].size, "j");
    cuda_line(c, "const int key = j0 + j;");
    cuda_line(c, "const float sum = %s[h];", name);
    cuda_open(c, "if (key < %lld)", (long long)t->m);
    store(c, t, result, t->t->m, column, "key", "sum");
    cuda_close(c);
    close_held(c);
}

static void write_key_gradients(CudaText *c, const Tiles *t, int phase, const CudaPhase *shape)
{
    bool dv = is_wanted(t->p, ATTEND_DV);
    CudaScope outer = cuda_scope(c);

    begin(c, t, phase, shape, "keys and values: a block for each tile of them", "j0", t->m,
          t->keys);
    declare_back(c, t, dv);
    if (is_wanted(t->p, ATTEND_DK))
        cuda_line(c, "float dk[%lld] = {0};", (long long)held(t->keys, t->d));
    if (dv)
        cuda_line(c, "float dv[%lld] = {0};", (long long)held(t->keys, t->e));
    stage(c, t, ATTEND_KEY, "j0");
    stage(c, t, ATTEND_VALUE, "j0");
    cuda_line(c, "const int first = %s;",
              t->t->mask == ATTEND_SEES_EARLIER
                  ? arena_printf(c->arena, "j0 / %d * %d", t->queries, t->queries)
                  : "0");
    cuda_open(c, "for (int i0 = first; i0 < %lld; i0 += %d)", (long long)t->n, t->queries);
    stage_queries(c, t);
    cuda_line(c, "NPC_SYNC();");
    write_weights(c, t, dv);
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

static void write(CudaText *c, const CudaSchedule *s)
{
    Tiles t = tiles_of(c->p);
    int phase = 0;

    if (!is_back(&t)) {
        write_forward(c, &t, &s->phase[0]);
        return;
    }
    if (is_wanted(c->p, ATTEND_DQ)) {
        write_query_gradient(c, &t, phase, &s->phase[phase]);
        phase++;
    }
    if (phase < s->n_phases)
        write_key_gradients(c, &t, phase, &s->phase[phase]);
}

const CudaKind cuda_kind_attend = {"attend", accepts, schedule, write};
