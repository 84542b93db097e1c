/* Generated code against the interpreter: random programs over random shapes and layouts, on every
 * vector unit of this machine. */
#include "tests/ops/random_tiles.h"
#include "tests/ops/tile_run.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Sums of up to some thousand terms of size about 1, float32 inside of short runs. */
#define TOLERANCE 2e-5

/* ---- running them ---- */

static void check_programs(const Target *target, TileProgram *const *programs, int n, Dice *d)
{
    Err err = {0};
    KernelSet *set;
    int wrong = 0;
    KernelSetOptions options = {.target = target, .n_threads = 2};

    if (kernel_set_compile(&set, (const TileProgram *const *)programs, n, &options, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < n; i++) {
        const TileProgram *p = programs[i];
        TileRange range = {0, 0};
        if (p->batch_axis >= 0) {
            range.b1 = p->axes.at[p->batch_axis].size;
            range.b0 = (int64_t)dice(d, (uint64_t)range.b1 + 1);
            range.b1 -= (int64_t)dice(d, (uint64_t)(range.b1 - range.b0) + 1);
            if (p->session < 0)
                range = (TileRange){0, p->axes.at[p->batch_axis].size};
        }
        wrong += tile_check(p, kernel_set_get(set, i), range, d, TOLERANCE) > TOLERANCE;
        if (wrong == 3)
            break;
    }
    kernel_set_free(set);
    assert_int_equal(wrong, 0);
}

typedef TileProgram *(*Make)(Arena *arena, Dice *d, int lanes);

static void check_random(Make make, int n)
{
    for (int level = 0; level <= (int)target_host(); level++) {
        static const char *const names[] = {"generic", "avx2", "avx512"};
        Arena arena = {0};
        Dice d = {(uint64_t)level + 17};
        Target target;
        Err err = {0};
        const char *seed = getenv("NPC_TEST_SEED");
        if (seed)
            d.state += strtoull(seed, NULL, 10) * 1000;
        assert_true(target_find(names[level], &target, &err));
        TileProgram **programs = ARENA_ARRAY(&arena, TileProgram *, (size_t)n);
        for (int i = 0; i < n; i++) {
            programs[i] = make(&arena, &d, target.lanes);
            const char *problem = tile_verify(programs[i], &arena);
            if (problem)
                fail_msg("%s", problem);
        }
        check_programs(&target, programs, n, &d);
        arena_free(&arena);
    }
}

static void random_maps_compute_what_the_interpreter_computes(void **state)
{
    (void)state;
    check_random(random_map, 150);
}

static void random_contractions_compute_what_the_interpreter_computes(void **state)
{
    (void)state;
    check_random(random_contraction, 60);
}

static void random_stencils_compute_what_the_interpreter_computes(void **state)
{
    (void)state;
    check_random(random_stencil, 80);
}

/* y = 2 x + z with y in the place of x. */
static void an_output_may_take_the_place_of_an_input(void **state)
{
    (void)state;
    for (int n = 1; n < 100; n += 7) {
        Arena arena = {0};
        Names names = {.arena = &arena};
        Diags diags;
        Err err = {0};
        Dice d = {1};
        KernelSet *set;
        Target target;
        Text text = {.arena = &arena};
        diags_init(&diags, &arena);
        text_printf(&text,
                    "tile session -1 batch -1 {\n axis a 3 parallel\n axis b %d parallel\n"
                    " tensor in [a=3, b=%d] order 0 1 lane 0 x 8\n tensor in [b=%d] order 0\n"
                    " tensor out [a=3, b=%d] order 0 1 lane 0 x 8\n"
                    " %%0 = load t0 [a0, a1]\n %%1 = load t1 [a1]\n %%2 = const 2\n"
                    " %%3 = mul %%0 %%2\n %%4 = add %%3 %%1\n store %%4 t2 [a0, a1]\n}\n",
                    n, n, n, n);
        const TileProgram *p =
            tile_parse(&arena, &names, &diags, "test", text_str(&text), text.len);
        assert_non_null(p);
        assert_true(target_find(NULL, &target, &err));
        KernelSetOptions options = {.target = &target, .n_threads = 1};
        assert_int_equal(kernel_set_compile(&set, &p, 1, &options, &err), NPC_OK);
        float *x = tile_buffer(&p->tensors.at[0]), *z = tile_buffer(&p->tensors.at[1]);
        for (int i = 0; i < 8 * n; i++)
            x[i] = (float)i;
        for (int i = 0; i < n; i++)
            z[i] = 1000.0f * (float)i;
        tile_run(kernel_set_get(set, 0), (float *[]){x, z, x}, (TileRange){0, 0}, &d);
        for (int i = 0; i < n; i++)
            for (int a = 0; a < 3; a++)
                assert_float_equal(x[8 * i + a], 2 * (8 * i + a) + 1000 * i, 0);
        free(x);
        free(z);
        kernel_set_free(set);
        arena_free(&arena);
    }
}

static void long_rows_are_cut_without_a_trace(void **state)
{
    (void)state;
    check_random(random_long, 8);
    check_random(random_wide, 3);
}

/* ---- mathematical functions ---- */

typedef struct Function {
    Prim prim;
    float low, high;
    double ulps;
    double absolute; /* error that is always allowed */
    double (*exact)(double);
} Function;

static double exact_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double exact_rsqrt(double x)
{
    return 1 / sqrt(x);
}

static const Function functions[] = {
    {PRIM_EXP, -86.5f, 88.7f, 2, 0, exp},
    {PRIM_EXP, -1, 1, 1.5, 0, exp},
    {PRIM_LOG, 1e-37f, 1e-30f, 2, 0, log},
    {PRIM_LOG, 1e-4f, 1e6f, 2, 0, log},
    {PRIM_LOG, 0.5f, 2, 2, 0, log},
    {PRIM_LOG1P, -0.99f, 3, 2.5, 0, log1p},
    {PRIM_LOG1P, 0, 1e-6f, 2, 0, log1p},
    {PRIM_LOG1P, 1, 1e30f, 2.5, 0, log1p},
    {PRIM_SIGMOID, -86, 86, 6, 0, exact_sigmoid},
    {PRIM_SIGMOID, -20, 20, 4, 0, exact_sigmoid},
    {PRIM_SIGMOID, -6, 6, 3.1, 0, exact_sigmoid},
    {PRIM_TANH, -10, 10, 3, 0, tanh},
    {PRIM_TANH, -0.7f, 0.7f, 3, 0, tanh},
    {PRIM_SIN, -4, 4, 2, 1e-9, sin},
    {PRIM_SIN, -1e4f, 1e4f, 2, 1e-7, sin},
    {PRIM_COS, -4, 4, 2, 1e-9, cos},
    {PRIM_COS, -1e4f, 1e4f, 2, 1e-7, cos},
    {PRIM_ERF, -5, 5, 3, 0, erf},
    {PRIM_SQRT, 1e-6f, 1e6f, 0.51, 0, sqrt},
    {PRIM_RSQRT, 1e-6f, 1e6f, 1.51, 0, exact_rsqrt},
    {PRIM_FLOOR, -100, 100, 0, 0, floor},
    {PRIM_FLOOR, -1e7f, 1e9f, 0, 0, floor},
};

enum { N_FUNCTIONS = sizeof functions / sizeof *functions, N_SAMPLES = 1 << 18 };

/* y = prim(x) over plain [n]. */
static TileProgram *function_program(Arena *arena, Prim prim, int64_t n)
{
    TileProgram *p = ARENA_NEW(arena, TileProgram);
    TileTensor t = {.buffer = -1};
    TileInst x = {.kind = INST_LOAD, .tensor = 0, .index = {along(0)}};

    *p = (TileProgram){.name = "f", .session = -1, .batch_axis = -1, .lhs = -1, .rhs = -1};
    vec_push(arena, &p->axes, (TileAxis){"n", n, TILE_PARALLEL});
    shape_add(&t.layout.shape, "n", n);
    t.layout = tile_layout_plain(&t.layout.shape);
    vec_push(arena, &p->tensors, t);
    t.is_output = true;
    vec_push(arena, &p->tensors, t);
    vec_push(arena, &p->insts, x);
    vec_push(arena, &p->insts, (TileInst){.kind = INST_PRIM, .prim = prim, .arg = {0, 0, 0}});
    TileStore s = {.inst = 1, .tensor = 1, .index = {along(0)}};
    vec_push(arena, &p->stores, s);
    return p;
}

/* Runs prim over x on every vector unit. */
static void evaluate(Prim prim, const float *x, int n, const Target *target, float *y)
{
    Arena arena = {0};
    Err err = {0};
    Dice d = {1};
    KernelSet *set;
    const TileProgram *p = function_program(&arena, prim, n);
    float *tensor[2] = {tile_buffer(&p->tensors.at[0]), tile_buffer(&p->tensors.at[1])};
    KernelSetOptions options = {.target = target, .n_threads = 1};

    memcpy(tensor[0], x, (size_t)n * 4);
    if (kernel_set_compile(&set, &p, 1, &options, &err))
        fail_msg("%s", err.text);
    tile_run(kernel_set_get(set, 0), tensor, (TileRange){0, 0}, &d);
    memcpy(y, tensor[1], (size_t)n * 4);
    kernel_set_free(set);
    free(tensor[0]);
    free(tensor[1]);
    arena_free(&arena);
}

static double ulps_off(float got, double exact, double absolute)
{
    double difference = fabs((double)got - exact);
    float size = fabsf((float)exact);
    double ulp = (double)nextafterf(size, INFINITY) - (double)size;

    return difference <= absolute ? 0 : difference / ulp;
}

static void functions_are_accurate(void **state)
{
    (void)state;
    static float x[N_SAMPLES], y[N_SAMPLES];

    for (int level = 0; level <= (int)target_host(); level++) {
        static const char *const names[] = {"generic", "avx2", "avx512"};
        Target target;
        Err err = {0};
        assert_true(target_find(names[level], &target, &err));
        for (int f = 0; f < N_FUNCTIONS; f++) {
            const Function *fn = &functions[f];
            double worst = 0;
            float at = 0;
            for (int i = 0; i < N_SAMPLES; i++)
                x[i] = fn->low + (fn->high - fn->low) * (float)i / (float)N_SAMPLES;
            evaluate(fn->prim, x, N_SAMPLES, &target, y);
            for (int i = 0; i < N_SAMPLES; i++) {
                double off = ulps_off(y[i], fn->exact((double)x[i]), fn->absolute);
                if (!(off <= worst)) {
                    worst = off;
                    at = x[i];
                }
            }
            if (!(worst <= fn->ulps))
                fail_msg("%s on %s is off by %g ulp at %.9g", prim_text(fn->prim), target.name,
                         worst, (double)at);
        }
    }
}

static void functions_have_sane_extremes(void **state)
{
    (void)state;
    const float x[] = {-INFINITY, -1e4f, -104, -88, 0, 88, 90, 1e4f, INFINITY, NAN};
    enum { N = 10 };
    const struct {
        Prim prim;
        float y[N];
    } cases[] = {
        {PRIM_SIGMOID, {0, 0, 0, -1, 0.5f, 1, 1, 1, 1, NAN}},
        {PRIM_EXP, {0, 0, 0, -1, 1, -1, INFINITY, INFINITY, INFINITY, NAN}},
        {PRIM_TANH, {-1, -1, -1, -1, 0, 1, 1, 1, 1, NAN}},
        {PRIM_ERF, {-1, -1, -1, -1, 0, 1, 1, 1, 1, NAN}},
        {PRIM_LOG, {NAN, NAN, NAN, NAN, -INFINITY, -1, -1, -1, INFINITY, NAN}},
        {PRIM_LOG1P, {NAN, NAN, NAN, NAN, 0, -1, -1, -1, INFINITY, NAN}},
        {PRIM_FLOOR, {-INFINITY, -1e4f, -104, -88, 0, 88, 90, 1e4f, INFINITY, NAN}},
    };
    float y[N];

    for (int level = 0; level <= (int)target_host(); level++) {
        static const char *const names[] = {"generic", "avx2", "avx512"};
        Target target;
        Err err = {0};
        assert_true(target_find(names[level], &target, &err));
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            evaluate(cases[c].prim, x, N, &target, y);
            for (int i = 0; i < N; i++) {
                float e = cases[c].y[i]; /* -1: not looked at, except by tanh, erf */
                bool open = e == -1 && cases[c].prim != PRIM_TANH && cases[c].prim != PRIM_ERF;
                if (!open && !(isnan(e) ? isnan(y[i]) : y[i] == e))
                    fail_msg("%s(%g) on %s is %g, not %g", prim_text(cases[c].prim), (double)x[i],
                             target.name, (double)y[i], (double)e);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_maps_compute_what_the_interpreter_computes),
        cmocka_unit_test(random_contractions_compute_what_the_interpreter_computes),
        cmocka_unit_test(random_stencils_compute_what_the_interpreter_computes),
        cmocka_unit_test(an_output_may_take_the_place_of_an_input),
        cmocka_unit_test(long_rows_are_cut_without_a_trace),
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(functions_have_sane_extremes),
    };
    if (!kernel_have_llvm())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
