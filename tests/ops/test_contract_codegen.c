/* Products: generated code against the interpreter, over random shapes, layouts, prologues,
 * epilogues, reductions and session ranges. */
#include "tests/ops/codegen_check.h"
#include "tests/ops/random_products.h"

static ProductStyle blocked(int lanes)
{
    static const int64_t channels[] = {1, 3, 5, 7, 8, 16, 18, 32, 33, 40};
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 13};
    static const int64_t rows[] = {1, 5, 16, 40, 130, 150};
    return (ProductStyle){.lanes = lanes,
                          .reductions = true,
                          .n_channels = 10,
                          .n_sizes = 7,
                          .n_rows = 6,
                          .channels = channels,
                          .sizes = sizes,
                          .rows = rows};
}

static TileProgram *conv(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    ProductStyle style = blocked(lanes);
    return random_conv(arena, r, &style, terms);
}

static TileProgram *weight_gradient(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    ProductStyle style = blocked(lanes);
    return random_weight_gradient(arena, r, &style, terms);
}

/* Rows of channels: many positions, channels innermost and in no blocks. */
static ProductStyle tokens(int lanes)
{
    static const int64_t channels[] = {1, 3, 8, 11, 16, 18, 32, 39, 48, 70};
    ProductStyle style = blocked(lanes);
    style.channels = channels;
    style.channels_last = style.layer_norm = true;
    return style;
}

static TileProgram *linear(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    ProductStyle style = tokens(lanes);
    return random_conv(arena, r, &style, terms);
}

static TileProgram *linear_gradient(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    ProductStyle style = tokens(lanes);
    return random_weight_gradient(arena, r, &style, terms);
}

static TileProgram *matrices(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    ProductStyle style = blocked(lanes);
    return random_matrices(arena, r, &style, terms);
}

static void plain_matrices_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(matrices, 100, 5);
}

static void pointwise_convolutions_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(conv, 150, 1);
}

static void weight_gradients_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(weight_gradient, 100, 2);
}

static void linear_layers_of_tokens_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(linear, 150, 3);
}

static void weight_gradients_of_tokens_equal_the_interpreter(void **state)
{
    (void)state;
    check_random_programs(linear_gradient, 100, 4);
}

int main(void)
{
    if (!kernel_have_llvm())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointwise_convolutions_equal_the_interpreter),
        cmocka_unit_test(plain_matrices_equal_the_interpreter),
        cmocka_unit_test(weight_gradients_equal_the_interpreter),
        cmocka_unit_test(linear_layers_of_tokens_equal_the_interpreter),
        cmocka_unit_test(weight_gradients_of_tokens_equal_the_interpreter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
