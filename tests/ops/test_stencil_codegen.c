/* Depthwise convolutions, their input and weight gradients: generated code against the
 * interpreter, over random shapes, strides, layouts, prologues, epilogues and session ranges. */
#include "tests/ops/codegen_check.h"
#include "tests/ops/random_stencils.h"

static void depthwise_convolutions_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_depthwise, 150, 3);
}

static void depthwise_weight_gradients_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_depthwise_dw, 100, 4);
}

static void convolutions_over_channels_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_dense, 40, 5);
}

static void their_weight_gradients_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(random_dense_dw, 40, 6);
}

int main(void)
{
    if (!kernel_have_llvm())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depthwise_convolutions_equal_the_interpreter),
        cmocka_unit_test(convolutions_over_channels_equal_the_interpreter),
        cmocka_unit_test(their_weight_gradients_equal_the_interpreter),
        cmocka_unit_test(depthwise_weight_gradients_equal_the_interpreter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
