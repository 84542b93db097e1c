/* Attention, its gradients sums into and of computed positions: generated code against the
 * interpreter, over random sizes, layouts, wanted results and session ranges. */
#include "tests/ops/codegen_check.h"
#include "tests/ops/random_attention.h"

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
        cmocka_unit_test(scatters_equal_the_interpreter),
        cmocka_unit_test(sums_of_gathered_rows_equal_the_interpreter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
