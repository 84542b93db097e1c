/* Random graphs, gradients included, as CUDA kernels on the simulated GPU against the float64
 * reference: every fusion level, every precision.
 *
 *     test_plans_cuda [first seed] [number of graphs] */
#include "tests/ops/ir_harness.h"
#include "codegen/cuda.h"
#include "tests/ops/plan_check.h"
#include "tests/ops/random_graph.h"
#include "tests/sim/sim_run.h"

static uint64_t first_seed = 1, n_graphs = 6, n_compared;

typedef struct Simulated {
    SimRun *sim;
    SimKernels kernels;
    Arena *arena;
    const char **symbol; /* per launch */
} Simulated;

static KernelCost cost_of(void *context, const TileProgram *tile)
{
    (void)context;
    CudaSchedule s = cuda_schedule(tile);
    return (KernelCost){s.workspace_bytes, s.again_bytes, s.library_bytes};
}

static Status prepare(void *context, const Plan *plan, Err *err)
{
    Simulated *c = context;
    Text text = {.arena = c->arena};
    Map seen = {0};
    (void)err;
    c->symbol = ARENA_ARRAY(c->arena, const char *, plan->launches.len + 1);
    text_add(&text, cuda_prelude);
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        Text key = {.arena = c->arena};
        tile_print(&key, plan->launches.at[i].tile, true);
        c->symbol[i] = map_get(&seen, text_str(&key));
        if (c->symbol[i])
            continue;
        char *symbol = arena_printf(c->arena, "k%u", i);
        map_put(c->arena, &seen, text_str(&key), symbol);
        c->symbol[i] = symbol;
        cuda_write(&text, plan->launches.at[i].tile, symbol);
    }
    c->kernels = sim_compile(c->sim, text_str(&text));
    return NPC_OK;
}

/* Random graphs have no recordings. */
static void *table_of(Simulated *c, const TileProgram *t, float *const *tensor)
{
    int64_t *table = arena_alloc(c->arena, cuda_table_bytes(t));
    uint64_t *address = ARENA_ARRAY(c->arena, uint64_t, t->tensors.len);
    for (uint32_t i = 0; i < t->tensors.len; i++)
        address[i] = (uint64_t)(uintptr_t)tensor[i];
    cuda_table_write(t, address, 0, table);
    return table;
}

/* The simulator's kernels take memory of the host as it is. */
static void run(void *context, const Plan *plan, int launch, float *const *tensor, void *workspace)
{
    Simulated *c = context;
    const TileProgram *t = plan->launches.at[launch].tile;
    CudaSchedule s = cuda_schedule(t);
    int range[2] = {0, t->batch_axis >= 0 ? (int)t->axes.at[t->batch_axis].size : 1};
    int n = (int)t->tensors.len;
    void **args = ARENA_ARRAY(c->arena, void *, n + 2);
    memcpy(args, tensor, (size_t)n * sizeof *args);
    if (t->members.len) {
        args[0] = table_of(c, t, tensor);
        n = 1;
    }
    args[n] = workspace;
    args[n + 1] = range;
    for (int p = 0; p < s.n_phases; p++)
        sim_launch(c->sim, c->kernels, arena_printf(c->arena, "%s_%d", c->symbol[launch], p),
                   s.phase[p].blocks, s.phase[p].threads, args, n + 2);
}

static void check(ProgramKind kind, FuseLevel fuse, PrecisionMode precision, double tolerance)
{
    static SimRun *sim;
    if (!sim)
        sim = sim_open();
    for (uint64_t i = 0; i < n_graphs; i++) {
        uint64_t seed = first_seed + i;
        TestFunc *t = test_func();
        Module *m = module_new(&t->arena, &t->names, &t->diags);
        random_graph(m, seed, NULL)->name = kind == PROGRAM_EVAL ? "eval" : "train";
        Simulated c = {.sim = sim, .arena = &t->arena};
        PlanCheck p = {.kind = kind,
                       .fuse = fuse,
                       .target = traits_cuda(),
                       .precision = precision,
                       .seed = seed,
                       .run = run,
                       .prepare = prepare,
                       .cost_of = cost_of,
                       .context = &c,
                       .tolerance = tolerance};
        const char *bad = plan_check(m, &p);
        if (bad)
            fail_msg("seed %llu, %s, fuse %s, %s: %s", (unsigned long long)seed,
                     program_kind_text(kind), fuse_level_text(fuse), precision_text(precision),
                     bad);
        n_compared++;
        sim_unload(sim, c.kernels);
        test_done(t);
    }
}

/* Seeds that once failed: 5016 has a stencil behind a table whose -1 follows other rows. */
static void what_failed_once_agrees(void **state)
{
    static const uint64_t seeds[] = {5016};
    uint64_t first = first_seed, n = n_graphs;
    (void)state;
    n_graphs = 1;
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        first_seed = seeds[i];
        check(PROGRAM_EVAL, FUSE_FULL, PRECISION_F32, 1e-4);
    }
    first_seed = first;
    n_graphs = n;
}

static void predictions_agree(void **state)
{
    (void)state;
    check(PROGRAM_EVAL, FUSE_FULL, PRECISION_F32, 1e-4);
}

static void unfused_gradients_agree(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_NONE, PRECISION_F32, 1e-4);
}

static void elementwise_fused_gradients_agree(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_ELEMENTWISE, PRECISION_F32, 1e-4);
}

static void fused_gradients_agree(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_FULL, PRECISION_F32, 1e-4);
}

static void training_steps_agree(void **state)
{
    (void)state;
    check(PROGRAM_STEP, FUSE_FULL, PRECISION_F32, 1e-4);
}

/* A share of the largest value: a few roundings of what is stored and multiplied. */
static void fewer_bits_agree_within_their_roundings(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_FULL, PRECISION_TF32, 4e-3);
    check(PROGRAM_GRAD, FUSE_FULL, PRECISION_BF16, 3e-2);
    check(PROGRAM_GRAD, FUSE_FULL, PRECISION_F16, 4e-3);
    check(PROGRAM_EVAL, FUSE_NONE, PRECISION_BF16, 3e-2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_failed_once_agrees),
        cmocka_unit_test(predictions_agree),
        cmocka_unit_test(unfused_gradients_agree),
        cmocka_unit_test(elementwise_fused_gradients_agree),
        cmocka_unit_test(fused_gradients_agree),
        cmocka_unit_test(training_steps_agree),
        cmocka_unit_test(fewer_bits_agree_within_their_roundings),
    };
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_graphs = strtoull(argv[2], NULL, 10);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%llu comparisons\n", (unsigned long long)n_compared);
    return failed || !n_compared; /* agreeing on nothing is no success */
}
