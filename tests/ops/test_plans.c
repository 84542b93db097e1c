/* Random graphs through every program kind, fusion level and target, on the tile interpreter:
 * passes, fusion, layouts and the memory plan against the float64 reference.
 *
 *     test_plans [first seed] [number of graphs] */
#include "tests/ops/ir_harness.h"
#include "tests/ops/plan_check.h"
#include "tests/ops/random_graph.h"

static uint64_t first_seed = 1, n_graphs = 60, n_compared;

typedef struct Setting {
    TargetTraits target;
    PrecisionMode precision;
    double tolerance;
} Setting;

static Setting lanes(int n)
{
    return (Setting){traits_cpu(n), PRECISION_F32, 1e-4};
}

/* A share of the largest value: a few roundings. */
static Setting cuda(PrecisionMode precision)
{
    static const double tolerance[PRECISION_COUNT] = {
        [PRECISION_F32] = 1e-4,
        [PRECISION_TF32] = 4e-3,
        [PRECISION_BF16] = 3e-2,
        [PRECISION_F16] = 4e-3,
    };
    return (Setting){traits_cuda(), precision, tolerance[precision]};
}

static void check(ProgramKind kind, FuseLevel fuse, Setting s, RecomputeMode recompute)
{
    for (uint64_t i = 0; i < n_graphs; i++) {
        uint64_t seed = first_seed + i;
        TestFunc *t = test_func();
        Module *m = module_new(&t->arena, &t->names, &t->diags);
        random_graph(m, seed, NULL)->name = kind == PROGRAM_EVAL ? "eval" : "train";
        PlanCheck c = {.kind = kind,
                       .fuse = fuse,
                       .target = s.target,
                       .precision = s.precision,
                       .recompute = recompute,
                       .seed = seed,
                       .tolerance = s.tolerance};
        const char *bad = plan_check(m, &c);
        if (bad)
            fail_msg("seed %llu, %s, fuse %s, %s, %s: %s", (unsigned long long)seed,
                     program_kind_text(kind), fuse_level_text(fuse),
                     s.target.channels_last ? "channels last"
                                            : arena_printf(&t->arena, "%d lanes", s.target.lanes),
                     precision_text(s.precision), bad);
        n_compared++;
        test_done(t);
    }
}

static void unfused_predictions_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_EVAL, FUSE_NONE, lanes(4), RECOMPUTE_NONE);
}

static void fused_predictions_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_EVAL, FUSE_FULL, lanes(8), RECOMPUTE_NONE);
}

static void unfused_gradients_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_NONE, lanes(16), RECOMPUTE_NONE);
}

static void elementwise_fused_gradients_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_ELEMENTWISE, lanes(8), RECOMPUTE_NONE);
}

static void fused_gradients_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_GRAD, FUSE_FULL, lanes(4), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, lanes(16), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, lanes(16), RECOMPUTE_EXPAND);
}

static void training_steps_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_STEP, FUSE_FULL, lanes(16), RECOMPUTE_NONE);
    check(PROGRAM_STEP, FUSE_NONE, lanes(8), RECOMPUTE_EXPAND);
    check(PROGRAM_ACCUMULATE, FUSE_FULL, lanes(8), RECOMPUTE_NONE);
}

static void channels_last_agree_with_the_reference(void **state)
{
    (void)state;
    check(PROGRAM_EVAL, FUSE_FULL, cuda(PRECISION_F32), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_NONE, cuda(PRECISION_F32), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_ELEMENTWISE, cuda(PRECISION_F32), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, cuda(PRECISION_F32), RECOMPUTE_NONE);
    check(PROGRAM_STEP, FUSE_FULL, cuda(PRECISION_F32), RECOMPUTE_EXPAND);
    check(PROGRAM_ACCUMULATE, FUSE_FULL, cuda(PRECISION_F32), RECOMPUTE_NONE);
}

static void sixteen_bit_storage_agrees_within_its_roundings(void **state)
{
    (void)state;
    check(PROGRAM_EVAL, FUSE_FULL, cuda(PRECISION_BF16), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_NONE, cuda(PRECISION_BF16), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, cuda(PRECISION_BF16), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, cuda(PRECISION_F16), RECOMPUTE_NONE);
    check(PROGRAM_GRAD, FUSE_FULL, cuda(PRECISION_TF32), RECOMPUTE_NONE);
    check(PROGRAM_STEP, FUSE_FULL, cuda(PRECISION_BF16), RECOMPUTE_NONE);
    check(PROGRAM_STEP, FUSE_FULL, cuda(PRECISION_F16), RECOMPUTE_NONE);
    check(PROGRAM_UPDATE, FUSE_FULL, cuda(PRECISION_F16), RECOMPUTE_NONE);
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
        cmocka_unit_test(channels_last_agree_with_the_reference),
        cmocka_unit_test(sixteen_bit_storage_agrees_within_its_roundings),
    };
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_graphs = strtoull(argv[2], NULL, 10);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%llu comparisons\n", (unsigned long long)n_compared);
    return failed || !n_compared; /* agreeing on nothing is no success */
}
