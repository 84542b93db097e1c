/* Tile programs written by hand, for tests and benchmarks of code generators, and their
 * comparison with the interpreter. */
#ifndef NPC_TESTS_TILE_BUILD_H
#define NPC_TESTS_TILE_BUILD_H

#include "codegen/kernel.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct Random {
    uint64_t state;
} Random;

/* In [0, n). */
static inline int64_t pick(Random *r, int64_t n)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((r->state >> 33) % (uint64_t)n);
}

static inline int64_t pick_of(Random *r, const int64_t *values, int n)
{
    return values[pick(r, n)];
}

typedef struct TileBuild {
    Arena *arena;
    TileProgram *p;
} TileBuild;

static inline TileBuild tile_build(Arena *arena, TileAnchor anchor)
{
    TileBuild b = {arena, ARENA_NEW(arena, TileProgram)};
    *b.p = (TileProgram){
        .name = "test", .session = -1, .batch_axis = -1, .anchor = anchor, .lhs = -1, .rhs = -1};
    return b;
}

static inline int tile_axis(TileBuild *b, const char *name, int64_t size, TileAxisKind kind)
{
    vec_push(b->arena, &b->p->axes, (TileAxis){name, size, kind});
    return (int)b->p->axes.len - 1;
}

/* Letters of `axes` name the program's axes by their first letter; they are the tensor's logical
 * axes. `order` is the storage, outermost first; an upper case letter there is the lane axis, cut
 * into blocks of `lanes`. */
static inline int tile_find_axis(const TileBuild *b, char letter)
{
    for (uint32_t a = 0; a < b->p->axes.len; a++)
        if (b->p->axes.at[a].name[0] == (letter | 32))
            return (int)a;
    fprintf(stderr, "no axis %c\n", letter);
    abort();
}

static inline int tile_tensor(TileBuild *b, const char *order, int lanes, bool is_output)
{
    TileTensor t = {.layout = {.lane = -1, .lanes = 1}, .is_output = is_output, .buffer = -1};
    int rank = 0;
    for (; order[rank]; rank++) {
        const TileAxis *a = &b->p->axes.at[tile_find_axis(b, order[rank])];
        t.layout.shape.size[rank] = a->size;
        t.layout.shape.name[rank] = a->name;
        t.layout.order[rank] = rank;
        if (!(order[rank] & 32)) {
            t.layout.lane = rank;
            t.layout.lanes = lanes;
        }
    }
    t.layout.shape.rank = rank;
    vec_push(b->arena, &b->p->tensors, t);
    return (int)b->p->tensors.len - 1;
}

/* Identity index of a tensor made by tile_tensor with the same letters. */
static inline void tile_identity(const TileBuild *b, const char *axes, TileIndex *index)
{
    for (int i = 0; axes[i]; i++)
        index[i] = (TileIndex){.n_terms = 1, .axis = {tile_find_axis(b, axes[i])}, .coef = {1}};
}

static inline int tile_inst(TileBuild *b, TileInst inst)
{
    vec_push(b->arena, &b->p->insts, inst);
    return (int)b->p->insts.len - 1;
}

/* A tensor stored in that order, and its load. */
static inline int tile_load(TileBuild *b, const char *order, int lanes)
{
    TileInst in = {.kind = INST_LOAD, .tensor = tile_tensor(b, order, lanes, false)};
    tile_identity(b, order, in.index);
    return tile_inst(b, in);
}

static inline int tile_prim(TileBuild *b, Prim prim, int x, int y)
{
    return tile_inst(b, (TileInst){.kind = INST_PRIM, .prim = prim, .arg = {x, y, 0}});
}

static inline int tile_acc(TileBuild *b)
{
    return tile_inst(b, (TileInst){.kind = INST_ACC});
}

static inline int tile_number(TileBuild *b, double x)
{
    return tile_inst(b, (TileInst){.kind = INST_CONST, .number = x});
}

/* silu(x * scale[axes] + shift[axes]) */
static inline int tile_norm_silu(TileBuild *b, int x, const char *axes)
{
    int scaled = tile_prim(b, PRIM_MUL, x, tile_load(b, axes, 1));
    int y = tile_prim(b, PRIM_ADD, scaled, tile_load(b, axes, 1));
    return tile_prim(b, PRIM_MUL, y, tile_prim(b, PRIM_SIGMOID, y, 0));
}

/* (x - mean[of]) * rsqrt(r[of]^2 + 1e-5) * scale[over] + shift[over]: layer normalisation, of any
 * numbers as statistics. */
static inline int tile_layer_norm(TileBuild *b, int x, const char *of, const char *over)
{
    int centred = tile_prim(b, PRIM_SUB, x, tile_load(b, of, 1)), r = tile_load(b, of, 1);
    int eps = tile_number(b, 1e-5), var = tile_prim(b, PRIM_ADD, tile_prim(b, PRIM_MUL, r, r), eps);
    int y = tile_prim(b, PRIM_MUL, centred, tile_prim(b, PRIM_RSQRT, var, 0));
    y = tile_prim(b, PRIM_MUL, y, tile_load(b, over, 1));
    return tile_prim(b, PRIM_ADD, y, tile_load(b, over, 1));
}

static inline void tile_store(TileBuild *b, int inst, const char *order, int lanes)
{
    TileStore s = {.inst = inst, .tensor = tile_tensor(b, order, lanes, true)};
    tile_identity(b, order, s.index);
    vec_push(b->arena, &b->p->stores, s);
}

static inline void tile_reduce(TileBuild *b, TileReduceKind kind, int inst, const char *axes,
                               double factor)
{
    TileReduction r = {.kind = kind, .inst = inst, .factor = factor};
    r.tensor = tile_tensor(b, axes, 1, true);
    for (int i = 0; axes[i]; i++)
        r.axis[i] = tile_find_axis(b, axes[i]);
    vec_push(b->arena, &b->p->reductions, r);
}

/* 1 / the number of points that a reduction to `axes` sums. */
static inline double tile_mean_factor(const TileBuild *b, const char *axes)
{
    double n = 1;
    for (uint32_t a = 0; a < b->p->axes.len; a++)
        if (b->p->axes.at[a].kind == TILE_PARALLEL && !strchr(axes, b->p->axes.at[a].name[0]))
            n *= (double)b->p->axes.at[a].size;
    return 1 / n;
}

/* ---- storage ---- */

typedef struct TileData {
    int n;
    float **tensor;
} TileData;

static inline float *tile_floats(int64_t n)
{
    bool large = n > 1 << 20;
    size_t unit = large ? 2 << 20 : 64, bytes = ((size_t)n * 4 + 128 + unit - 1) / unit * unit;
    float *at = aligned_alloc(unit, bytes);
    if (!at)
        abort();
    if (large)
        madvise(at, bytes, MADV_HUGEPAGE); /* as the runtime does */
    for (size_t i = 0; i < bytes / 4; i++)
        at[i] = NAN; /* padding holds anything */
    return at;
}

/* Inputs random in [-1, 1), bytes in 0 .. 255; NaN in padding and, as a mark, in outputs. */
static inline TileData tile_data(const TileProgram *p, uint64_t seed)
{
    TileData d = {(int)p->tensors.len, calloc(p->tensors.len, sizeof(float *))};
    uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < d.n; i++) {
        const TileLayout *l = &p->tensors.at[i].layout;
        d.tensor[i] = tile_floats(tile_layout_elems(l));
        int64_t at[MAX_RANK] = {0}, n = shape_elems(&l->shape);
        for (int64_t k = 0; k < n; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            float x = (float)((double)(state >> 40) / (1 << 23) - 1);
            if (l->type == STORAGE_U8)
                storage_write(d.tensor[i], STORAGE_U8, tile_layout_offset(l, at),
                              (float)(state >> 40 & 255));
            else if (!p->tensors.at[i].is_output)
                d.tensor[i][tile_layout_offset(l, at)] = x;
            for (int a = l->shape.rank - 1; a >= 0 && ++at[a] == l->shape.size[a]; a--)
                at[a] = 0;
        }
    }
    return d;
}

static inline void tile_data_free(TileData *d)
{
    for (int i = 0; i < d->n; i++)
        free(d->tensor[i]);
    free(d->tensor);
}

/* ---- running ---- */

static inline void *tile_bytes_of(size_t bytes)
{
    size_t rounded = (bytes + 64 + 63) / 64 * 64;
    void *at = aligned_alloc(64, rounded);
    if (!at)
        abort();
    memset(at, 0xFF, rounded); /* NaN everywhere */
    return at;
}

static inline void tile_check_end(const void *at, size_t bytes, const char *what)
{
    const unsigned char *end = (const unsigned char *)at + bytes;
    for (int i = 0; i < 64; i++)
        if (end[i] != 0xFF) {
            fprintf(stderr, "a kernel wrote beyond its %s of %zu bytes\n", what, bytes);
            abort();
        }
}

/* Runs all phases in this thread, tasks backwards if asked. */
static inline void tile_run(const Kernel *k, const TileData *d, TileRange range, bool backwards)
{
    const KernelSchedule *s = &k->schedule;
    void *scratch = tile_bytes_of(s->scratch_bytes);
    void *workspace = tile_bytes_of(s->workspace_bytes);
    KernelCall call = {.kernel = k, .tensor = d->tensor, .range = range, .workspace = workspace};
    for (int i = 0; i < s->n_phases; i++) {
        int64_t each = s->tasks_per_sample[i];
        int64_t n = each ? (range.b1 - range.b0) * each : s->tasks[i];
        for (int64_t t = 0; t < n; t++)
            k->phase[i](&call, backwards ? n - 1 - t : t, scratch);
    }
    tile_check_end(scratch, s->scratch_bytes, "scratch");
    tile_check_end(workspace, s->workspace_bytes, "workspace");
    free(scratch);
    free(workspace);
}

/* Largest difference of the outputs, relative to 1 + the value where that is larger; infinite
 * where one is NaN and the other is not. */
static inline double tile_difference(const TileProgram *p, const TileData *a, const TileData *b)
{
    double worst = 0;
    for (int i = 0; i < a->n; i++) {
        const TileLayout *l = &p->tensors.at[i].layout;
        int64_t at[MAX_RANK] = {0}, n = shape_elems(&l->shape);
        if (!p->tensors.at[i].is_output)
            continue;
        for (int64_t k = 0; k < n; k++) {
            int64_t o = tile_layout_offset(l, at);
            double x = (double)a->tensor[i][o], y = (double)b->tensor[i][o];
            double d = isnan(x) || isnan(y) ? (isnan(x) && isnan(y) ? 0 : INFINITY)
                                            : fabs(x - y) / (1 + fabs(y));
            worst = d > worst ? d : worst;
            for (int s = l->shape.rank - 1; s >= 0 && ++at[s] == l->shape.size[s]; s--)
                at[s] = 0;
        }
    }
    return worst;
}

#endif
