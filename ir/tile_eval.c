/* The obviously right way to run a tile program: every point of the iteration space in turn,
 * float64 arithmetic on what is stored. Code generators are compared with it. */
#include "ir/drop.h"
#include "ir/tile.h"
#include <math.h>
#include <stdlib.h>

typedef struct Run {
    const TileProgram *p;
    void *const *tensor;
    TileRange range;
    bool *in_anchor, *in_results;        /* per instruction: needed there */
    bool *of_operand[TILE_MAX_OPERANDS]; /* the same of attention's; NULL: it is a load */
    double *value;                       /* per instruction */
    double *own; /* per reduction: a pair sum's factor at the parallel point */
    int64_t at[TILE_MAX_AXES];
} Run;

static void need(const TileProgram *p, bool *flag, int inst)
{
    if (inst < 0 || flag[inst])
        return;
    flag[inst] = true;
    if (p->insts.at[inst].kind == INST_LOAD)
        for (int d = 0; d < MAX_RANK; d++)
            need(p, flag, p->insts.at[inst].index[d].computed - 1);
    if (p->insts.at[inst].kind == INST_PRIM)
        for (int i = 0; i < prim_arity(p->insts.at[inst].prim); i++)
            need(p, flag, p->insts.at[inst].arg[i]);
}

/* False where a table or a computed position says that there is no element. */
static bool locate(const Run *r, const TileLayout *l, const TileIndex *index, int64_t *offset)
{
    int64_t at[MAX_RANK];

    for (int d = 0; d < l->shape.rank; d++) {
        const TileIndex *x = &index[d];
        at[d] = 0;
        for (int i = 0; i < x->n_terms; i++)
            at[d] += x->table ? x->table[r->at[x->axis[i]]] : x->coef[i] * r->at[x->axis[i]];
        if (x->computed) {
            double v = r->value[x->computed - 1] + 0.5;
            at[d] = v >= 0 && v < (double)l->shape.size[d] ? (int64_t)v : -1;
        }
        if (at[d] < 0)
            return false;
    }
    *offset = tile_layout_offset(l, at);
    return true;
}

static double load(const Run *r, const TileInst *in)
{
    const TileLayout *l = &r->p->tensors.at[in->tensor].layout;
    int64_t offset;

    if (!locate(r, l, in->index, &offset))
        return 0;
    return (double)storage_read(r->tensor[in->tensor], l->type, offset);
}

static void compute(Run *r, const bool *flag, double acc)
{
    for (uint32_t i = 0; i < r->p->insts.len; i++) {
        const TileInst *in = &r->p->insts.at[i];
        if (!flag[i])
            continue;
        switch (in->kind) {
        case INST_LOAD:
            r->value[i] = load(r, in);
            break;
        case INST_CONST:
            r->value[i] = in->number;
            break;
        case INST_ACC:
            r->value[i] = acc;
            break;
        case INST_PRIM: {
            double arg[3] = {0, 0, 0};
            for (int k = 0; k < prim_arity(in->prim); k++)
                arg[k] = r->value[in->arg[k]];
            r->value[i] = prim_eval(in->prim, arg[0], arg[1], arg[2]);
            break;
        }
        }
    }
}

static void axis_range(const Run *r, int a, int64_t *lo, int64_t *hi)
{
    bool cut = a == r->p->batch_axis;

    *lo = cut ? r->range.b0 : 0;
    *hi = cut ? r->range.b1 : r->p->axes.at[a].size;
}

/* First point of the axes of a kind; false when a range is empty. */
static bool first_point(Run *r, TileAxisKind kind)
{
    for (uint32_t a = 0; a < r->p->axes.len; a++) {
        int64_t lo, hi;
        if (r->p->axes.at[a].kind != kind)
            continue;
        axis_range(r, (int)a, &lo, &hi);
        if (lo >= hi)
            return false;
        r->at[a] = lo;
    }
    return true;
}

static bool next_point(Run *r, TileAxisKind kind)
{
    for (int a = (int)r->p->axes.len - 1; a >= 0; a--) {
        int64_t lo, hi;
        if (r->p->axes.at[a].kind != kind)
            continue;
        axis_range(r, a, &lo, &hi);
        if (++r->at[a] < hi)
            return true;
        r->at[a] = lo;
    }
    return false;
}

/* Input positions from output positions and taps; false where the input has no such element. */
static bool derive_inputs(Run *r)
{
    for (uint32_t i = 0; i < r->p->stencils.len; i++) {
        const TileStencil *s = &r->p->stencils.at[i];
        int64_t out = r->at[s->out], tap = r->at[s->tap], in;
        if (s->transposed) {
            in = out + s->pad - tap * s->dilation;
            if (in % s->stride)
                return false;
            in /= s->stride;
        } else {
            in = out * s->stride + tap * s->dilation - s->pad;
        }
        if (in < 0 || in >= r->p->axes.at[s->in].size)
            return false;
        r->at[s->in] = in;
    }
    return true;
}

static double factor(const Run *r, int inst)
{
    double x = r->value[inst];

    if (r->p->math == MATH_F32 || r->p->anchor != TILE_CONTRACT)
        return x;
    return (double)math_round(r->p->math, (float)x);
}

static double anchor(Run *r)
{
    double acc = 0;

    if (r->p->anchor == TILE_MAP || !first_point(r, TILE_REDUCE))
        return 0;
    do {
        if (!derive_inputs(r))
            continue;
        compute(r, r->in_anchor, 0);
        acc += factor(r, r->p->lhs) * factor(r, r->p->rhs);
    } while (next_point(r, TILE_REDUCE));
    return acc;
}

static int64_t result_offset(const Run *r, const TileReduction *red)
{
    const TileLayout *l = &r->p->tensors.at[red->tensor].layout;
    int64_t at[MAX_RANK];

    for (int d = 0; d < l->shape.rank; d++)
        at[d] = r->at[red->axis[d]];
    return tile_layout_offset(l, at);
}

/* Running sums of one reduction, in the layout of its result. */
typedef struct Sums {
    double *sum, *squares;
    int64_t *count;
} Sums;

typedef void (*Visit)(Run *r, Sums *sums);

static void each_point(Run *r, Visit visit, Sums *sums)
{
    if (!first_point(r, TILE_PARALLEL))
        return;
    do {
        compute(r, r->in_results, anchor(r));
        visit(r, sums);
    } while (next_point(r, TILE_PARALLEL));
}

/* Pair sums meet lhs at every reduced point; what r->value held of the results is lost. */
static void add_up_pairs(Run *r, Sums *sums)
{
    for (uint32_t i = 0; i < r->p->reductions.len; i++)
        r->own[i] = factor(r, r->p->reductions.at[i].inst);
    if (!first_point(r, TILE_REDUCE))
        return;
    do {
        if (!derive_inputs(r))
            continue;
        compute(r, r->in_anchor, 0);
        for (uint32_t i = 0; i < r->p->reductions.len; i++)
            if (r->p->reductions.at[i].kind == TILE_PAIR_SUM)
                sums[i].sum[result_offset(r, &r->p->reductions.at[i])] +=
                    r->own[i] * factor(r, r->p->lhs);
    } while (next_point(r, TILE_REDUCE));
}

static void add_up(Run *r, Sums *sums)
{
    bool any_pairs = false;

    for (uint32_t i = 0; i < r->p->reductions.len; i++) {
        const TileReduction *red = &r->p->reductions.at[i];
        any_pairs |= red->kind == TILE_PAIR_SUM;
        if (red->kind == TILE_PAIR_SUM)
            continue;
        int64_t o = result_offset(r, red);
        sums[i].sum[o] += r->value[red->inst];
        sums[i].count[o]++;
    }
    if (any_pairs)
        add_up_pairs(r, sums);
}

static void add_up_squares(Run *r, Sums *sums)
{
    for (uint32_t i = 0; i < r->p->reductions.len; i++) {
        if (r->p->reductions.at[i].kind != TILE_VARIANCE)
            continue;
        int64_t o = result_offset(r, &r->p->reductions.at[i]);
        double d =
            r->value[r->p->reductions.at[i].inst] - sums[i].sum[o] / (double)sums[i].count[o];
        sums[i].squares[o] += d * d;
    }
}

static void store_all(Run *r, Sums *sums)
{
    (void)sums;
    for (uint32_t i = 0; i < r->p->stores.len; i++) {
        const TileStore *s = &r->p->stores.at[i];
        const TileLayout *l = &r->p->tensors.at[s->tensor].layout;
        int64_t offset;
        if (locate(r, l, s->index, &offset))
            storage_write(r->tensor[s->tensor], l->type, offset, (float)r->value[s->inst]);
    }
}

/* A result whose points are all outside of the range is left alone when the batch is among its
 * axes, else it is an empty sum. */
static void write_reduction(Run *r, const TileReduction *red, const Sums *sums)
{
    const TileLayout *l = &r->p->tensors.at[red->tensor].layout;
    int64_t n = shape_elems(&l->shape), at[MAX_RANK];

    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i;
        bool outside = false;
        for (int d = l->shape.rank - 1; d >= 0; d--) {
            at[d] = rest % l->shape.size[d];
            rest /= l->shape.size[d];
            outside |=
                red->axis[d] == r->p->batch_axis && (at[d] < r->range.b0 || at[d] >= r->range.b1);
        }
        if (outside)
            continue;
        int64_t o = tile_layout_offset(l, at);
        double v = sums->sum[o];
        if (red->kind == TILE_VARIANCE)
            v = sums->count[o] ? sums->squares[o] / (double)sums->count[o] : 0;
        storage_write(r->tensor[red->tensor], l->type, o, (float)(red->factor * v));
    }
}

/* ---- anchors that write their results themselves ---- */

static void write_result(const Run *r, const TileResult *result, double value)
{
    const TileLayout *l = &r->p->tensors.at[result->tensor].layout;
    int64_t at[MAX_RANK];

    for (int d = 0; d < l->shape.rank; d++)
        at[d] = r->at[result->axis[d]];
    storage_write(r->tensor[result->tensor], l->type, tile_layout_offset(l, at), (float)value);
}

static void scatter_point(Run *r, double *sum)
{
    const TileProgram *p = r->p;
    int own = 0;

    while (p->axes.at[own].kind != TILE_OWN)
        own++;
    int64_t size = p->axes.at[own].size;
    memset(sum, 0, (size_t)size * sizeof *sum);
    if (first_point(r, TILE_REDUCE))
        do {
            compute(r, r->in_anchor, 0);
            double at = r->value[p->rhs] + 0.5;
            if (at >= 0 && at < (double)size)
                sum[(int64_t)at] += r->value[p->lhs];
        } while (next_point(r, TILE_REDUCE));
    for (int64_t i = 0; i < size; i++) {
        r->at[own] = i;
        write_result(r, &p->result[0], sum[i]);
    }
}

/* Operand k with its row and column axes at i and j. */
static double operand(Run *r, int k, int row, int64_t i, int column, int64_t j)
{
    int inst = r->p->attend.operand[k];

    r->at[row] = i;
    r->at[column] = j;
    if (!r->of_operand[k])
        return load(r, &r->p->insts.at[inst]);
    compute(r, r->of_operand[k], 0);
    return r->value[inst];
}

static double dot(Run *r, int a, int row_a, int64_t i, int b, int row_b, int64_t j, int column)
{
    double sum = 0;

    for (int64_t k = 0; k < r->p->axes.at[column].size; k++)
        sum += operand(r, a, row_a, i, column, k) * operand(r, b, row_b, j, column, k);
    return sum;
}

/* out[i] (over `row` and `column`) from a table of sums. */
static void write_table(Run *r, int which, int row, int column, const double *sum)
{
    int64_t n = r->p->axes.at[row].size, width = r->p->axes.at[column].size;

    if (r->p->result[which].tensor < 0)
        return;
    for (int64_t i = 0; i < n * width; i++) {
        r->at[row] = i / width;
        r->at[column] = i % width;
        write_result(r, &r->p->result[which], sum[i]);
    }
}

/* Adds `factor` times row j of operand k to row i of a table. */
static void add_row(Run *r, double *table, int64_t i, double factor, int k, int row, int64_t j,
                    int column)
{
    int64_t width = r->p->axes.at[column].size;

    for (int64_t w = 0; w < width; w++)
        table[i * width + w] += factor * operand(r, k, row, j, column, w);
}

/* What is added to the score of query i and key j. */
static double addition(Run *r, int64_t i, int64_t j)
{
    const TileAttend *t = &r->p->attend;
    int first = tile_additions(r->p);

    if (!t->adds)
        return 0;
    double own = operand(r, first + ATTEND_OWN, t->n, i, t->m, j);
    double theirs = operand(r, first + ATTEND_THEIRS, t->n, i, t->m, j);
    return operand(r, first + ATTEND_BIAS, t->n, i, t->m, j) + (own == theirs ? 0 : ATTEND_UNLIKE);
}

/* Has position i a query? */
static bool asks(Run *r, int64_t i)
{
    const TileAttend *t = &r->p->attend;

    return !t->adds || attend_asks(operand(r, tile_additions(r->p) + ATTEND_OWN, t->n, i, t->m, 0));
}

/* The random words of the sequence at hand, where weights are dropped. */
static void read_words(Run *r, uint32_t word[4])
{
    const TileAttend *t = &r->p->attend;

    memset(word, 0, 4 * sizeof *word);
    for (int b = 0; t->drop > 0 && b < DROP_BYTES; b++) {
        double byte = operand(r, tile_n_operands(r->p) - 1, t->byte, b, t->n, 0);
        word[b / 4] |= (uint32_t)byte << b % 4 * 8;
    }
}

/* What the weight of query i and key j is multiplied with. */
static double gain(const TileAttend *t, const uint32_t word[4], int64_t i, int64_t j)
{
    if (!(t->drop > 0))
        return 1;
    return drop_keeps(word, drop_limit(t->drop), i, j) ? 1 / (1 - t->drop) : 0;
}

/* The element of a result at the point at hand, in logical order. */
static int64_t result_place(const Run *r, const TileResult *result)
{
    const Shape *s = &r->p->tensors.at[result->tensor].layout.shape;
    int64_t at = 0;

    for (int k = 0; k < s->rank; k++)
        at = at * s->size[k] + r->at[result->axis[k]];
    return at;
}

/* The bias' gradient, from sums in logical order. */
static void write_bias(Run *r, const double *sum)
{
    const TileResult *result = &r->p->result[ATTEND_DBIAS];
    const Shape *s = &r->p->tensors.at[result->tensor].layout.shape;
    bool has_samples = false;

    for (int k = 0; k < s->rank; k++)
        has_samples |= result->axis[k] == r->p->batch_axis;
    for (int64_t i = 0; i < shape_elems(s); i++) {
        int64_t rest = i;
        for (int k = s->rank - 1; k >= 0; k--) {
            r->at[result->axis[k]] = rest % s->size[k];
            rest /= s->size[k];
        }
        int64_t sample = r->p->batch_axis >= 0 ? r->at[r->p->batch_axis] : 0;
        bool inside = sample >= r->range.b0 && sample < r->range.b1;
        if (inside || !has_samples)
            write_result(r, result, sum[i]);
    }
}

/* `table`: sums of every result, that of the bias over all points; `weight`: a row of scores. */
static void attend_point(Run *r, double *const *table, double *weight)
{
    const TileAttend *t = &r->p->attend;
    int64_t n = r->p->axes.at[t->n].size, m = r->p->axes.at[t->m].size;
    int64_t d = r->p->axes.at[t->d].size, e = r->p->axes.at[t->e].size;
    bool back = r->p->anchor == TILE_ATTEND_BACK;
    uint32_t word[4];

    read_words(r, word);
    memset(table[0], 0, (size_t)(n * (back ? d : e)) * sizeof **table);
    if (back) {
        memset(table[ATTEND_DK], 0, (size_t)(m * d) * sizeof **table);
        memset(table[ATTEND_DV], 0, (size_t)(m * e) * sizeof **table);
    }
    if (!back)
        memset(table[ATTEND_L], 0, (size_t)n * sizeof **table);
    for (int64_t i = 0; i < n; i++) {
        int64_t keys = t->mask == ATTEND_SEES_EARLIER ? i + 1 : m;
        if (!asks(r, i))
            continue;
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < keys; j++) {
            bool hidden = t->mask == ATTEND_SEES_OTHERS && j == i;
            weight[j] = hidden
                            ? -INFINITY
                            : t->scale * dot(r, ATTEND_QUERY, t->n, i, ATTEND_KEY, t->m, j, t->d) +
                                  addition(r, i, j);
            top = weight[j] > top ? weight[j] : top;
        }
        if (!back) {
            for (int64_t j = 0; j < keys; j++)
                sum += weight[j] = exp(weight[j] - top);
            for (int64_t j = 0; j < keys; j++)
                add_row(r, table[ATTEND_Y], i, weight[j] / sum * gain(t, word, i, j), ATTEND_VALUE,
                        t->m, j, t->e);
            table[ATTEND_L][i] = top + log(sum);
            continue;
        }
        double log_sum = operand(r, ATTEND_LOG_SUM, t->n, i, t->d, 0);
        double centre = operand(r, ATTEND_CENTRE, t->n, i, t->d, 0);
        for (int64_t j = 0; j < keys; j++) {
            double w = exp(weight[j] - log_sum), g = gain(t, word, i, j);
            double ds = g * dot(r, ATTEND_DY, t->n, i, ATTEND_VALUE, t->m, j, t->e) - centre;
            ds *= w;
            r->at[t->n] = i;
            r->at[t->m] = j;
            if (r->p->result[ATTEND_DBIAS].tensor >= 0)
                table[ATTEND_DBIAS][result_place(r, &r->p->result[ATTEND_DBIAS])] += ds;
            ds *= t->scale;
            add_row(r, table[ATTEND_DQ], i, ds, ATTEND_KEY, t->m, j, t->d);
            add_row(r, table[ATTEND_DK], j, ds, ATTEND_QUERY, t->n, i, t->d);
            add_row(r, table[ATTEND_DV], j, w * g, ATTEND_DY, t->n, i, t->e);
        }
    }
    if (back) {
        write_table(r, ATTEND_DQ, t->n, t->d, table[ATTEND_DQ]);
        write_table(r, ATTEND_DK, t->m, t->d, table[ATTEND_DK]);
        write_table(r, ATTEND_DV, t->m, t->e, table[ATTEND_DV]);
        return;
    }
    write_table(r, ATTEND_Y, t->n, t->e, table[ATTEND_Y]);
    for (int64_t i = 0; r->p->result[ATTEND_L].tensor >= 0 && i < n; i++) {
        r->at[t->n] = i;
        write_result(r, &r->p->result[ATTEND_L], table[ATTEND_L][i]);
    }
}

/* Operands of attention that are more than a load. */
static void find_operands(Run *r, Arena *arena)
{
    const TileProgram *p = r->p;

    for (int i = 0; i < tile_n_operands(p); i++) {
        const TileInst *in = &p->insts.at[p->attend.operand[i]];
        bool is_load = in->kind == INST_LOAD;
        for (int d = 0; is_load && d < MAX_RANK; d++)
            is_load = !in->index[d].computed;
        r->of_operand[i] = is_load ? NULL : ARENA_ARRAY(arena, bool, p->insts.len);
        if (!is_load)
            need(p, r->of_operand[i], p->attend.operand[i]);
    }
}

static void run_whole(Run *r, Arena *arena)
{
    const TileProgram *p = r->p;
    size_t longest = 1, widest = 1;
    double *table[TILE_MAX_RESULTS];

    for (uint32_t a = 0; a < p->axes.len; a++) {
        size_t size = p->axes.at[a].kind == TILE_OWN ? (size_t)p->axes.at[a].size : 0;
        bool is_width =
            p->anchor != TILE_SCATTER && ((int)a == p->attend.d || (int)a == p->attend.e);
        size_t *most = is_width ? &widest : &longest;
        *most = size > *most ? size : *most;
    }
    for (int i = 0; i < TILE_MAX_RESULTS; i++)
        table[i] = ARENA_ARRAY(arena, double, longest *widest);
    bool has_bias = p->anchor == TILE_ATTEND_BACK && p->result[ATTEND_DBIAS].tensor >= 0;
    if (has_bias) {
        const Shape *s = &p->tensors.at[p->result[ATTEND_DBIAS].tensor].layout.shape;
        table[ATTEND_DBIAS] = ARENA_ARRAY(arena, double, (size_t)shape_elems(s));
    }
    double *weight = ARENA_ARRAY(arena, double, longest);
    find_operands(r, arena);
    if (!first_point(r, TILE_PARALLEL))
        return;
    do {
        if (p->anchor == TILE_SCATTER)
            scatter_point(r, table[0]);
        else
            attend_point(r, table, weight);
    } while (next_point(r, TILE_PARALLEL));
    if (has_bias)
        write_bias(r, table[ATTEND_DBIAS]);
}

static void run_members(const TileProgram *p, void *const *tensor)
{
    Arena arena = {0};

    for (uint32_t i = 0; i < p->members.len; i++) {
        const TileMember *m = &p->members.at[i];
        void **own = ARENA_ARRAY(&arena, void *, (size_t)m->n);
        for (int k = 0; k < m->n; k++)
            own[k] = tensor[m->tensor[k]];
        tile_eval(tile_member(&arena, p, i), own, (TileRange){0});
    }
    arena_free(&arena);
}

void tile_eval(const TileProgram *p, void *const *tensor, TileRange range)
{
    if (p->members.len) {
        run_members(p, tensor);
        return;
    }
    Arena arena = {0};
    uint32_t n = p->insts.len, n_red = p->reductions.len;
    Run run = {.p = p,
               .tensor = tensor,
               .range = range,
               .in_anchor = ARENA_ARRAY(&arena, bool, n),
               .in_results = ARENA_ARRAY(&arena, bool, n),
               .value = ARENA_ARRAY(&arena, double, n),
               .own = ARENA_ARRAY(&arena, double, n_red)};
    Sums *sums = ARENA_ARRAY(&arena, Sums, n_red);
    bool any_variance = false;

    need(p, run.in_anchor, p->lhs);
    need(p, run.in_anchor, p->rhs);
    for (uint32_t i = 0; i < p->stores.len; i++)
        need(p, run.in_results, p->stores.at[i].inst);
    for (uint32_t i = 0; i < n_red; i++) {
        const TileReduction *red = &p->reductions.at[i];
        size_t elems = (size_t)tile_layout_elems(&p->tensors.at[red->tensor].layout);
        need(p, run.in_results, red->inst);
        sums[i].sum = ARENA_ARRAY(&arena, double, elems);
        sums[i].squares = ARENA_ARRAY(&arena, double, elems);
        sums[i].count = ARENA_ARRAY(&arena, int64_t, elems);
        any_variance |= red->kind == TILE_VARIANCE;
    }
    if (tile_is_whole(p)) {
        run_whole(&run, &arena);
        arena_free(&arena);
        return;
    }
    /* sums before stores: an output may take the place of an input */
    if (n_red > 0)
        each_point(&run, add_up, sums);
    if (any_variance)
        each_point(&run, add_up_squares, sums);
    each_point(&run, store_all, sums);
    for (uint32_t i = 0; i < n_red; i++)
        write_reduction(&run, &p->reductions.at[i], &sums[i]);
    arena_free(&arena);
}
