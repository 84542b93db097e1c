/* Random graphs, gradients included, on generated machine code against the float64 reference: every
 * fusion level, every vector unit this machine can run. Odd seeds take some of the configurations,
 * even seeds the others, so a seed alone is checked as it is among many.
 *
 *     test_plans_compiled [first seed] [number of graphs] */
#include "tests/ops/ir_harness.h"
#include "codegen/kernel.h"
#include "tests/ops/plan_check.h"
#include "tests/ops/random_graph.h"

static uint64_t first_seed = 1, n_graphs = 70, n_compared;

typedef struct Compiled {
    Target target;
    Arena *arena;
    KernelSet *set;
    char *scratch;
} Compiled;

static KernelCost cost_of(void *context, const TileProgram *tile)
{
    return (KernelCost){kernel_schedule(tile, &((Compiled *)context)->target).workspace_bytes, 0,
                        0};
}

static Status prepare(void *context, const Plan *plan, Err *err)
{
    Compiled *c = context;
    VEC(const TileProgram *) all = {0};
    size_t scratch = 0;
    for (uint32_t i = 0; i < plan->launches.len; i++)
        vec_push(c->arena, &all, plan->launches.at[i].tile);
    KernelSetOptions o = {.target = &c->target, .n_threads = 1};
    NPC_TRY(kernel_set_compile(&c->set, all.at, (int)all.len, &o, err));
    for (uint32_t i = 0; i < all.len; i++) {
        size_t bytes = kernel_set_get(c->set, (int)i)->schedule.scratch_bytes;
        scratch = bytes > scratch ? bytes : scratch;
    }
    uintptr_t p = (uintptr_t)arena_alloc(c->arena, scratch + 128);
    c->scratch = (char *)((p + 63) & ~(uintptr_t)63);
    return NPC_OK;
}

static void run(void *context, const Plan *plan, int launch, float *const *tensor, void *workspace)
{
    Compiled *c = context;
    const Kernel *k = kernel_set_get(c->set, launch);
    const TileProgram *t = plan->launches.at[launch].tile;
    int axis = t->batch_axis;
    KernelCall call = {.kernel = k,
                       .tensor = tensor,
                       .range = {0, axis >= 0 ? t->axes.at[axis].size : 0},
                       .workspace = workspace};
    for (int p = 0; p < k->schedule.n_phases; p++) {
        int64_t per = k->schedule.tasks_per_sample[p];
        int64_t n = per ? per * call.range.b1 : k->schedule.tasks[p];
        for (int64_t i = n; i-- > 0;) /* any order will do */
            k->phase[p](&call, i, c->scratch);
    }
}

typedef enum Seeds { EVEN_SEEDS, ODD_SEEDS } Seeds;

static void check(const char *cpu, ProgramKind kind, FuseLevel fuse, Seeds seeds)
{
    Err err = {0};
    Target target;
    if (!kernel_have_llvm() || !target_find(cpu, &target, &err)) {
        print_message("skipped: %s\n", kernel_have_llvm() ? err.text : "built without LLVM");
        skip();
    }
    for (uint64_t seed = first_seed; seed < first_seed + n_graphs; seed++) {
        if (seed % 2 != (uint64_t)seeds)
            continue;
        TestFunc *t = test_func();
        Module *m = module_new(&t->arena, &t->names, &t->diags);
        random_graph(m, seed, NULL)->name = kind == PROGRAM_EVAL ? "eval" : "train";
        Compiled c = {.target = target, .arena = &t->arena};
        PlanCheck p = {.kind = kind,
                       .fuse = fuse,
                       .target = traits_cpu(target.lanes),
                       .seed = seed,
                       .run = run,
                       .prepare = prepare,
                       .cost_of = cost_of,
                       .context = &c,
                       .tolerance = 1e-4};
        const char *bad = plan_check(m, &p);
        if (bad)
            fail_msg("seed %llu, %s, fuse %s, %s: %s", (unsigned long long)seed,
                     program_kind_text(kind), fuse_level_text(fuse), target.name, bad);
        n_compared++;
        kernel_set_free(c.set);
        test_done(t);
    }
}

static void predictions_agree_on_the_baseline(void **state)
{
    (void)state;
    check("generic", PROGRAM_EVAL, FUSE_FULL, ODD_SEEDS);
}

static void gradients_agree_on_the_baseline(void **state)
{
    (void)state;
    check("generic", PROGRAM_GRAD, FUSE_FULL, EVEN_SEEDS);
}

static void gradients_agree_on_avx2(void **state)
{
    (void)state;
    check("avx2", PROGRAM_GRAD, FUSE_FULL, ODD_SEEDS);
}

static void unfused_gradients_agree_on_avx2(void **state)
{
    (void)state;
    check("avx2", PROGRAM_GRAD, FUSE_NONE, EVEN_SEEDS);
}

static void gradients_agree_on_avx512(void **state)
{
    (void)state;
    check("avx512", PROGRAM_GRAD, FUSE_FULL, ODD_SEEDS);
    check("avx512", PROGRAM_GRAD, FUSE_ELEMENTWISE, EVEN_SEEDS);
}

static void training_steps_agree_on_the_host(void **state)
{
    (void)state;
    check(NULL, PROGRAM_STEP, FUSE_FULL, EVEN_SEEDS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_agree_on_the_baseline),
        cmocka_unit_test(gradients_agree_on_the_baseline),
        cmocka_unit_test(gradients_agree_on_avx2),
        cmocka_unit_test(unfused_gradients_agree_on_avx2),
        cmocka_unit_test(gradients_agree_on_avx512),
        cmocka_unit_test(training_steps_agree_on_the_host),
    };
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_graphs = strtoull(argv[2], NULL, 10);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%llu comparisons\n", (unsigned long long)n_compared);
    return failed || (kernel_have_llvm() && !n_compared); /* agreeing on nothing is no success */
}
