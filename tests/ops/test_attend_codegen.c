/* Attention, its gradients sums into and of computed positions: generated code against the
 * interpreter, over random sizes, layouts, wanted results and session ranges. */
#include "tests/ops/codegen_check.h"
#include "tests/ops/dropped_weights.h"

static void attention_equals_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_attention, 60, 5);
}

static void gradients_of_attention_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_attention_back, 60, 6);
}

/* Results of every kind, by a kernel or, when there is none, by the interpreter. */
static void check_dropped(const TileProgram *p, const Kernel *k, const char *target)
{
    TileData data = tile_data(p, 11);
    TileRange range = {0, DROPPED_SAMPLES};
    dropped_fill(p, (void *const *)data.tensor);
    if (k)
        tile_run(k, &data, range, false);
    else
        tile_eval(p, (void *const *)data.tensor, range);
    for (int i = 0; i < tile_n_results(p); i++) {
        int wrong = p->result[i].tensor < 0 ? 0 : dropped_wrong(p, i, (void *const *)data.tensor);
        if (wrong)
            fail_msg("%s, %s, result %d: %d weights are not as the mask says", target,
                     p->anchor == TILE_ATTEND ? "forward" : "backward", i, wrong);
    }
    tile_data_free(&data);
}

static void masks_of_weights_are_the_same_everywhere(void **state)
{
    (void)state;
    static const char *const name[] = {"generic", "avx2", "avx512"};
    Arena arena = {0};
    const TileProgram *p[] = {
        dropped_program(&arena, false, "bar"), dropped_program(&arena, true, "bar"),
        dropped_program(&arena, false, "br"), dropped_program(&arena, true, "abr")};
    enum { N = sizeof p / sizeof *p };
    for (int i = 0; i < N; i++)
        check_dropped(p[i], NULL, "interpreter");
    for (int t = 0; t < 3; t++) {
        Target target;
        KernelSet *set;
        Err err = {0};
        if (!target_find(name[t], &target, &err))
            continue;
        KernelSetOptions options = {.target = &target, .n_threads = 2};
        if (kernel_set_compile(&set, p, N, &options, &err) != NPC_OK)
            fail_msg("%s", err.text);
        for (int i = 0; i < N; i++)
            check_dropped(p[i], kernel_set_get(set, i), name[t]);
        kernel_set_free(set);
    }
    arena_free(&arena);
}

static void scatters_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_scatter, 120, 7);
}

static void sums_of_gathered_rows_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_gathered, 120, 8);
}

int main(void)
{
    if (!kernel_have_llvm())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_equals_the_interpreter),
        cmocka_unit_test(gradients_of_attention_equal_the_interpreter),
        cmocka_unit_test(masks_of_weights_are_the_same_everywhere),
        cmocka_unit_test(scatters_equal_the_interpreter),
        cmocka_unit_test(sums_of_gathered_rows_equal_the_interpreter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
