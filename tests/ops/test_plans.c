/* Random graphs through every program kind, fusion level and vector width, on the tile interpreter:
 * passes, fusion, layouts and the memory plan against the float64 reference.
 *
 *     test_plans [first seed] [number of graphs] */
#include "tests/ops/ir_harness.h"
#include "tests/ops/plan_check.h"
#include "tests/ops/random_graph.h"

static uint64_t first_seed = 1, n_graphs = 60;

static void check(ProgramKind kind, FuseLevel fuse, int lanes, RecomputeMode recompute)
{
    for (uint64_t i = 0; i < n_graphs; i++) {
        uint64_t seed = first_seed + i;
        TestFunc *t = test_func();
        Module *m = module_new(&t->arena, &t->names, &t->diags);
        random_graph(m, seed, NULL)->name = kind == PROGRAM_EVAL ? "eval" : "train";
        PlanCheck c = {.kind = kind,
                       .fuse = fuse,
                       .lanes = lanes,
                       .recompute = recompute,
                       .seed = seed,
                       .tolerance = 1e-4};
        const char *bad = plan_check(m, &c);
        if (bad)
            fail_msg("seed %llu, %s, fuse %s, %d lanes: %s", (unsigned long long)seed,
                     program_kind_text(kind), fuse_level_text(fuse), lanes, bad);
        test_done(t);
    }
}

static void unfused_predictions_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_EVAL, FUSE_NONE, 4, RECOMPUTE_NONE);
}

static void fused_predictions_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_EVAL, FUSE_FULL, 8, RECOMPUTE_NONE);
}

static void unfused_gradients_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_NONE, 16, RECOMPUTE_NONE);
}

static void elementwise_fused_gradients_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_ELEMENTWISE, 8, RECOMPUTE_NONE);
}

static void fused_gradients_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_FULL, 4, RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, 16, RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, 16, RECOMPUTE_EXPAND);
}

static void training_steps_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_STEP, FUSE_FULL, 16, RECOMPUTE_NONE);
    check(PROGRAM_STEP, FUSE_NONE, 8, RECOMPUTE_EXPAND);
    check(PROGRAM_ACCUMULATE, FUSE_FULL, 8, RECOMPUTE_NONE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unfused_predictions_agree_with_the_reference),
        cmocka_unit_test(fused_predictions_agree_with_the_reference),
        cmocka_unit_test(unfused_gradients_agree_with_the_reference),
        cmocka_unit_test(elementwise_fused_gradients_agree_with_the_reference),
        cmocka_unit_test(fused_gradients_agree_with_the_reference),
        cmocka_unit_test(training_steps_agree_with_the_reference),
    };
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_graphs = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
