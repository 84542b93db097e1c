/* Runs tile programs as CUDA kernels on the simulator and compares them with the interpreter. */
#ifndef NPC_SIM_TILE_H
#define NPC_SIM_TILE_H

#include "tests/ops/tile_build.h"
#include "tests/sim/sim_test.h"

/* Storage of a program's tensors in their types: inputs random in [-1, 1), outputs NaN. */
typedef struct TypedData {
    int n;
    void **tensor;
    size_t *bytes;
} TypedData;

static inline TypedData typed_data(const TileProgram *p, uint64_t seed)
{
    TypedData d = {(int)p->tensors.len, calloc(p->tensors.len, sizeof(void *)),
                   calloc(p->tensors.len, sizeof(size_t))};
    uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < d.n; i++) {
        const TileLayout *l = &p->tensors.at[i].layout;
        int64_t n = tile_layout_elems(l);
        d.bytes[i] = tile_layout_bytes(l);
        d.tensor[i] = malloc(d.bytes[i]);
        for (int64_t k = 0; k < n; k++)
            storage_write(d.tensor[i], l->type, k,
                          p->tensors.at[i].is_output ? NAN : random_float(&state));
    }
    return d;
}

static inline void typed_data_free(TypedData *d)
{
    for (int i = 0; i < d->n; i++)
        free(d->tensor[i]);
    free(d->tensor);
    free(d->bytes);
}

/* All phases; outputs come back into d. */
static inline void sim_tile_run(const TileProgram *p, SimKernels k, const char *symbol,
                                TypedData *d, TileRange range)
{
    CudaSchedule s = cuda_schedule(p);
    void *args[SIM_RUN_MAX];
    int ends[2] = {(int)range.b0, (int)range.b1};
    for (int i = 0; i < d->n; i++)
        args[i] = sim_upload(sim, d->tensor[i], d->bytes[i]);
    args[d->n] = sim_alloc(sim, s.workspace_bytes);
    args[d->n + 1] = sim_upload(sim, ends, sizeof ends);
    for (int i = 0; i < s.n_phases; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%d", symbol, i);
        sim_launch(sim, k, name, s.phase[i].blocks, s.phase[i].threads, args, d->n + 2);
    }
    for (int i = 0; i < d->n; i++)
        if (p->tensors.at[i].is_output)
            sim_download(sim, d->tensor[i], args[i], d->bytes[i]);
    sim_free_all(sim);
}

/* Largest difference of the outputs, relative to 1 + the value where that is larger; infinite
 * where one is NaN and the other is not. */
static inline double typed_difference(const TileProgram *p, const TypedData *a, const TypedData *b)
{
    double worst = 0;
    for (int i = 0; i < a->n; i++) {
        const TileLayout *l = &p->tensors.at[i].layout;
        int64_t n = tile_layout_elems(l);
        if (!p->tensors.at[i].is_output)
            continue;
        for (int64_t k = 0; k < n; k++) {
            double x = (double)storage_read(a->tensor[i], l->type, k);
            double y = (double)storage_read(b->tensor[i], l->type, k);
            double d = isnan(x) || isnan(y) ? (isnan(x) && isnan(y) ? 0 : INFINITY)
                                            : fabs(x - y) / (1 + fabs(y));
            worst = d > worst ? d : worst;
        }
    }
    return worst;
}

/* Half a unit in the last place of a number in [0.5, 1) as products take it, or as it is stored. */
static inline double math_ulp(MathMode m)
{
    static const double ulp[] = {
        [MATH_F32] = 0x1p-24, [MATH_TF32] = 0x1p-11, [MATH_BF16] = 0x1p-8, [MATH_F16] = 0x1p-11};
    return ulp[m];
}

static inline double storage_ulp(const TileProgram *p)
{
    double ulp = 0;
    for (uint32_t i = 0; i < p->tensors.len; i++) {
        Storage s = p->tensors.at[i].layout.type;
        double u = s == STORAGE_BF16 ? 0x1p-8 : s == STORAGE_F16 ? 0x1p-11 : 0;
        ulp = p->tensors.at[i].is_output && u > ulp ? u : ulp;
    }
    return ulp;
}

/* Inputs are below 1: rounding of a sum of `terms`, doubled, and of a few functions; a unit of the
 * storage; and for a few factors a unit of what products round to, because a function in float32
 * and one in float64 may fall to different sides. */
static inline double sim_tile_tolerance(const TileProgram *p, int64_t terms)
{
    return 2e-6 * (4 + (double)terms) + 2 * storage_ulp(p) +
           (p->math == MATH_F32 ? 0 : 4 * math_ulp(p->math));
}

/* Compiles and runs the program for a random range, twice; fails with its text. */
static inline void sim_tile_check(const TileProgram *p, Random *r, int64_t terms)
{
    Arena arena = {0};
    Text text = {.arena = &arena}, code = {.arena = &arena};
    TileRange range = {0, 0};
    if (p->batch_axis >= 0) {
        int64_t n = p->axes.at[p->batch_axis].size;
        range.b1 = n;
        if (p->session >= 0) {
            range.b0 = pick(r, 2) ? 0 : pick(r, n);
            range.b1 = pick(r, 2) ? n : range.b0 + 1 + pick(r, n - range.b0);
        }
    }
    uint64_t seed = (uint64_t)pick(r, 1 << 30);
    TypedData expected = typed_data(p, seed), found = typed_data(p, seed),
              again = typed_data(p, seed);
    cuda_write(&code, p, "k");
    SimKernels k = compile(text_str(&code));
    tile_eval(p, expected.tensor, range);
    sim_tile_run(p, k, "k", &found, range);
    sim_tile_run(p, k, "k", &again, range);
    sim_unload(sim, k);
    double d = typed_difference(p, &found, &expected), allowed = sim_tile_tolerance(p, terms);
    if (d > allowed || typed_difference(p, &again, &found) != 0) {
        tile_print(&text, p, false);
        print_error("as %s, [%lld, %lld): difference %g, allowed %g\n%s", cuda_schedule(p).name,
                    (long long)range.b0, (long long)range.b1, d, allowed, text_str(&text));
        if (getenv("NPC_TEST_CODE"))
            print_error("%s", text_str(&code));
        fail();
    }
    typed_data_free(&expected);
    typed_data_free(&found);
    typed_data_free(&again);
    arena_free(&arena);
}

#endif
