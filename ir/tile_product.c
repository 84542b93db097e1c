/* Axes of one class (m: of the left factor and the result, n, k, batch) that lie behind each other
 * in every tensor are one; then at most one of a class may be left, but for the batch, which takes
 * one of another class as well: a factor that does not follow it has stride 0. */
#include "ir/tile_product.h"

enum { LEFT, RIGHT, RESULT, TENSORS };
enum { CLASS_K = 1 << LEFT | 1 << RIGHT, CLASS_M = 1 << LEFT | 1 << RESULT };
enum { CLASS_N = 1 << RIGHT | 1 << RESULT, CLASS_BATCH = 1 << LEFT | 1 << RIGHT | 1 << RESULT };

typedef struct Axis {
    int64_t size, step[TENSORS]; /* elements between neighbours; 0: the same for all */
} Axis;

typedef struct Axes {
    Axis at[TILE_MAX_AXES];
    int n;
} Axes;

/* ---- axes ---- */

/* Adds what a tensor's axes contribute; false when one is not walked plainly. */
static bool add_steps(Axes *axes, int which, const TileProgram *p, int tensor,
                      const TileIndex *index)
{
    const TileLayout *l = &p->tensors.at[tensor].layout;
    int64_t step = 1;
    if (l->lanes > 1)
        return false;
    for (int i = l->shape.rank - 1; i >= 0; i--) {
        const TileIndex *x = &index[l->order[i]];
        if (x->table || x->computed || x->n_terms > 1 || (x->n_terms == 1 && x->coef[0] != 1))
            return false;
        if (x->n_terms)
            axes->at[x->axis[0]].step[which] += step;
        step *= l->shape.size[l->order[i]];
    }
    return true;
}

static int class_of(const Axis *a)
{
    return (a->step[LEFT] ? 1 << LEFT : 0) | (a->step[RIGHT] ? 1 << RIGHT : 0) |
           (a->step[RESULT] ? 1 << RESULT : 0);
}

static void remove_axis(Axes *axes, int i)
{
    for (axes->n--; i < axes->n; i++)
        axes->at[i] = axes->at[i + 1];
}

/* Is `outer` one step of all of `inner` everywhere? */
static bool is_behind(const Axis *outer, const Axis *inner)
{
    for (int t = 0; t < TENSORS; t++)
        if (outer->step[t] != inner->step[t] * inner->size)
            return false;
    return class_of(outer) == class_of(inner);
}

static bool join_one(Axes *axes)
{
    for (int i = 0; i < axes->n; i++)
        for (int j = 0; j < axes->n; j++)
            if (i != j && is_behind(&axes->at[i], &axes->at[j])) {
                axes->at[j].size *= axes->at[i].size;
                remove_axis(axes, i);
                return true;
            }
    return false;
}

static bool find_axes(Axes *axes, const TileProgram *p)
{
    const TileInst *left = &p->insts.at[p->lhs], *right = &p->insts.at[p->rhs];
    const TileStore *store = &p->stores.at[0];
    *axes = (Axes){.n = (int)p->axes.len};
    for (int i = 0; i < axes->n; i++)
        axes->at[i].size = p->axes.at[i].size;
    if (!add_steps(axes, LEFT, p, left->tensor, left->index) ||
        !add_steps(axes, RIGHT, p, right->tensor, right->index) ||
        !add_steps(axes, RESULT, p, store->tensor, store->index))
        return false;
    for (int i = axes->n - 1; i >= 0; i--) {
        int class = class_of(&axes->at[i]);
        if (axes->at[i].size == 1)
            remove_axis(axes, i);
        else if (class != CLASS_K && class != CLASS_M && class != CLASS_N && class != CLASS_BATCH)
            return false; /* a sum of one factor alone */
    }
    while (join_one(axes))
        ;
    return true;
}

/* ---- matrices ---- */

/* `rows` and `columns` as `which` walks them; false when neither's elements lie side by side. */
static bool take_matrix(TileMatrix *x, int which, const Axis *rows, const Axis *columns,
                        const Axis *batch)
{
    int64_t row = rows->step[which], column = columns->step[which];
    bool down = row == 1 || rows->size == 1, along = column == 1 || columns->size == 1;
    x->stride = batch->step[which];
    if (down && (columns->size == 1 || column >= rows->size)) {
        x->transposed = false;
        x->ld = columns->size == 1 ? rows->size : column;
        return true;
    }
    x->transposed = true;
    x->ld = rows->size == 1 ? columns->size : row;
    return along && (rows->size == 1 || row >= columns->size);
}

/* The left factor's axis `m` along the columns of c. */
static bool take_matrices(TileProduct *x, const Axis *m, const Axis *n, const Axis *k,
                          const Axis *batch, int left, int right)
{
    x->m = m->size;
    x->n = n->size;
    x->k = k->size;
    x->batch = batch->size;
    return take_matrix(&x->c, RESULT, m, n, batch) && !x->c.transposed &&
           take_matrix(&x->a, left, m, k, batch) && take_matrix(&x->b, right, k, n, batch);
}

static bool fits(const TileProduct *x)
{
    const int64_t all[] = {x->m, x->n, x->k, x->batch, x->a.ld, x->b.ld, x->c.ld};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] > INT32_MAX)
            return false;
    return true;
}

/* With axes m and n (-1: none) and all others as the batch. */
static bool try_axes(TileProduct *out, const Axes *axes, int m, int n)
{
    static const Axis one = {.size = 1};
    const Axis *k = &one, *batch = &one, *row = m < 0 ? &one : &axes->at[m],
               *column = n < 0 ? &one : &axes->at[n];
    TileProduct x = *out, turned;
    for (int i = 0; i < axes->n; i++) {
        const Axis **place = class_of(&axes->at[i]) == CLASS_K ? &k : &batch;
        if (i == m || i == n)
            continue;
        if (*place != &one)
            return false;
        *place = &axes->at[i];
    }
    turned = x;
    turned.a = x.b;
    turned.b = x.a;
    if (take_matrices(&x, row, column, k, batch, LEFT, RIGHT) && fits(&x))
        *out = x;
    else if (take_matrices(&turned, column, row, k, batch, RIGHT, LEFT) && fits(&turned))
        *out = turned;
    else
        return false;
    return true;
}

static bool take_axes(TileProduct *out, const Axes *axes)
{
    TileProduct start = *out;
    bool found = false;
    for (int m = -1; m < axes->n; m++)
        for (int n = -1; n < axes->n; n++) {
            TileProduct x = start;
            bool fit = (m < 0 || class_of(&axes->at[m]) == CLASS_M) &&
                       (n < 0 || class_of(&axes->at[n]) == CLASS_N);
            if (!fit || !try_axes(&x, axes, m, n) || (found && x.m * x.n <= out->m * out->n))
                continue;
            *out = x;
            found = true;
        }
    return found;
}

/* ---- types ---- */

/* What is multiplied: numbers as `math` rounds them, or as both are stored when that has no more
 * bits. */
static bool take_types(TileProduct *x, MathMode math)
{
    Storage a = x->a.type, b = x->b.type;
    Storage rounded = math == MATH_BF16  ? STORAGE_BF16
                      : math == MATH_F16 ? STORAGE_F16
                                         : STORAGE_F32;
    x->factor = a == b ? a : a == STORAGE_F32 ? b : a;
    bool known = (a == x->factor || a == STORAGE_F32) && (b == x->factor || b == STORAGE_F32) &&
                 (x->factor == STORAGE_F32 || storage_has_16_bits(x->factor));
    bool exact = x->factor == rounded ||
                 (a == b && (x->factor == STORAGE_F32 || math == MATH_F32 || math == MATH_TF32));
    return known && exact && (x->c.type == STORAGE_F32 || x->c.type == x->factor);
}

static TileMatrix matrix_of(const TileProgram *p, int tensor)
{
    return (TileMatrix){.tensor = tensor, .type = p->tensors.at[tensor].layout.type};
}

bool tile_product(const TileProgram *p, TileProduct *out)
{
    Axes axes;
    if (p->anchor != TILE_CONTRACT || p->session >= 0 || p->members.len || p->reductions.len ||
        p->stores.len != 1 || p->insts.at[p->lhs].kind != INST_LOAD ||
        p->insts.at[p->rhs].kind != INST_LOAD || p->insts.at[p->stores.at[0].inst].kind != INST_ACC)
        return false;
    *out = (TileProduct){.a = matrix_of(p, p->insts.at[p->lhs].tensor),
                         .b = matrix_of(p, p->insts.at[p->rhs].tensor),
                         .c = matrix_of(p, p->stores.at[0].tensor)};
    return take_types(out, p->math) && find_axes(&axes, p) && take_axes(out, &axes);
}
